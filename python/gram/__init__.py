"""gram - score, rank and train generative reward models, in process.

    import gram
    model = gram.Model("my-judge")                                  # a directory, a .gguf file or a LoRA adapter
    model.score("Why is the sky blue?", "Rayleigh scattering.", "It is painted.").preference
    model.rewards("1+1?", ["2", "3", "11"])                         # an array of one number each
    model.rank("1+1?", ["2", "3", "11"]).order
    model.generate(["Say hello."], max_new_tokens=16)[0][0].text
    gram.finetune("my-model", "pairs.jsonl", "out", lora_rank=16)

The functions are those of libgram (include/gram/*.h), which is in the package; an error is a GramError with its
sentence. gram.client speaks to a `gram serve` instead and needs the standard library alone; gram.trl, gram.openrlhf
and gram.verl are what those trainers call, gram.lm_eval what lm-eval does.
"""
import importlib

_FROM = {
    "model": ["Model", "Verdict", "Verdicts", "Ranking", "Rewards", "Answer", "inspect", "compare",
              "merge_shards", "fetch", "shipped_judge"],
    "training": ["finetune", "pretrain", "merge", "convert", "train_options"],
    "client": ["GramError"],
    "_native": ["version"],
}
_HOME = {name: home for home, names in _FROM.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name):                  # gram.client does not need what the rest needs
    if name == "__version__":
        return importlib.import_module("gram._native").version()
    if name in ("client", "trl", "openrlhf", "verl", "lm_eval", "model", "training"):
        return importlib.import_module("gram." + name)
    if name not in _HOME:
        raise AttributeError(f"module 'gram' has no attribute '{name}'")
    return getattr(importlib.import_module("gram." + _HOME[name]), name)


def __dir__():
    return __all__ + ["client", "trl", "openrlhf", "verl", "lm_eval", "__version__"]
