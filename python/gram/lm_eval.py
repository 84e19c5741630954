"""Tasks of EleutherAI's lm-eval over a model of gram's, by lm-eval's own program or in Python:

    python -m gram.lm_eval --model gram --model_args path=my-model.gguf --tasks lambada_openai
    lm_eval.simple_evaluate(model=gram.lm_eval.GramLM("my-model"), tasks=["lambada_openai"])

model_args are those of gram.Model besides path, max_length, max_gen_toks and add_bos_token, as lm-eval's own "hf" has
them. Judges on preference benchmarks are another thing: Model.eval(files, rules="rewardbench") and docs/eval.md."""
import sys

from lm_eval import utils
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from tqdm import tqdm

from gram.model import GramError, Model, _settled, inspect

__all__ = ["GramLM"]

MOST = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")       # the first of them counts
SETTINGS = {"top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "min_new_tokens"}


@register_model("gram")
class GramLM(TemplateLM):
    def __init__(self, path=None, batch_size=None, max_batch_size=None, max_length=None, max_gen_toks=256, device=None,
                 add_bos_token=False, **options):
        super().__init__()
        if device not in (None, "cpu"):                 # lm-eval's "cpu" is what gram calls no device
            options["device"] = device
        if isinstance(path, Model):
            _settled("the model", options)
        self.model = path if isinstance(path, Model) else Model(path, **options)
        self.max_length = int(max_length or inspect(self.model.path, base=self.model._base)["context"])
        self.max_gen_toks, self.add_bos_token = int(max_gen_toks), add_bos_token
        two, one = (self.tok_encode(s, add_special_tokens=False) for s in ("b a", "b"))
        self._puts_space = two[len(one):] == self.tok_encode("a", add_special_tokens=False)

    # ---- Tokens

    @property
    def eot_token_id(self):
        return int(self.model.end_ids()[0])

    @property
    def prefix_token_id(self):
        front, bos = self.model.tokenize("", bos=True), self.model.bos_id()
        return int(front[0]) if len(front) else self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self):
        return str(self.model.path).replace("/", "__")

    def tok_encode(self, string, add_special_tokens=None, **_):
        bos = self.add_bos_token if add_special_tokens is None else add_special_tokens
        return [int(i) for i in self.model.tokenize(string, bos=bool(bos))]

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        if not add_generation_prompt:
            raise GramError("a conversation is rendered to where an answer begins, and not in its middle",
                            "EUNSUPPORTED")
        return self.model.show_chat(chat_history)

    # ---- What tasks ask for

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, **_):
        made = []
        for _, context, continuation in tqdm(requests, disable=disable_tqdm, desc="log-likelihoods"):
            ids = (context + continuation)[-self.max_length:]
            logprob, likeliest = self.model.logprobs(ids)
            n = min(len(continuation), len(ids) - 1)
            made.append((float(logprob[len(ids) - n:].sum(dtype=float)),
                         bool((likeliest[len(ids) - n:] == ids[len(ids) - n:]).all())))
        return made

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        made = []
        for request in tqdm(requests, disable=disable_tqdm, desc="log-likelihoods"):
            windows = map(utils.make_disjoint_window, utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]), prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length - 1, context_len=1))
            parts = self._loglikelihood_tokens([(None, a, b) for a, b in windows], disable_tqdm=True)
            made.append(sum(p for p, _ in parts))
        return made

    def _settings(self, given):
        """What a request says of its answer, as lm-eval's own models take it: the texts that end it, the most tokens,
        and the settings of go_on()."""
        how = {k: v for k, v in given.items() if v is not None}
        until, sample = how.pop("until", []), how.pop("do_sample", None)
        most = [int(how.pop(k)) for k in MOST if k in how] or [self.max_gen_toks]
        temperature = float(how.pop("temperature", 1.0 if sample else 0.0))
        if how.pop("num_beams", 1) != 1:
            raise GramError("num_beams: gram searches no beams", "EUNSUPPORTED")
        if other := how.keys() - SETTINGS:
            raise GramError(f"{', '.join(sorted(other))}: no setting of gram's, and it might change an answer",
                            "EUNSUPPORTED")
        return ([until] if isinstance(until, str) else list(until), most[0],
                {**how, "temperature": temperature if sample is not False else 0.0})

    def generate_until(self, requests, disable_tqdm=False):
        made = []
        for i, request in enumerate(tqdm(requests, disable=disable_tqdm, desc="answers")):
            stop, most, settings = self._settings(request.args[1])
            ids = self.tok_encode(request.args[0])[-max(1, self.max_length - most):]
            # Each has a seed of its own, so that a task which repeats a request gets several samples.
            text = self.model.go_on(ids, max_new_tokens=most, stop=[s for s in stop if s], seed=i, **settings)
            # lm-eval's own models decode new tokens as a text of their own, without the space that begins texts there.
            made.append(text[1:] if self._puts_space and text.startswith(" ") else text)
        return made


def main():
    from lm_eval.__main__ import cli_evaluate
    return cli_evaluate()


if __name__ == "__main__":
    sys.modules["gram.lm_eval"] = sys.modules["__main__"]       # one class under the name, not two
    sys.exit(main())
