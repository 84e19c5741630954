"""gram.client - rewards from `gram serve`, for Python programs and RL trainers. Standard library only.

    from gram.client import Gram
    gram = Gram("http://127.0.0.1:8080")                    # key="..." or GRAM_API_KEY where the server has one
    gram.score("Why is the sky blue?", "Rayleigh scattering.", "It is painted.")["preference"]
    gram.rank("1+1?", ["2", "3", "11"])["results"]
    gram.reward("1+1?", ["2", "3", "11"])                    # -> [float, ...], measured within the group

In a trainer:

    TRL         GRPOTrainer(reward_funcs=[trl_reward("http://127.0.0.1:8080")], ...)
    OpenRLHF    --remote_rm_url gram/client.py               (reads GRAM_URL), or the server's own /get_reward
    verl        custom_reward_function.path=gram/client.py custom_reward_function.name=compute_score

A request that fails raises GramError; nothing here makes up a score.
"""
import http.client
import json
import numbers
import os
import threading
import time
from urllib.parse import urlsplit

__all__ = ["Gram", "GramError", "trl_reward", "reward_func", "compute_score", "compute_score_batch"]


class GramError(Exception):
    """What failed, in a sentence. status: of a server the HTTP status, 0 where no answer came; of the library in
    process "EARG", "EFORMAT", "ELIMIT", ..., as in gram/error.h. param: the field of a request that was wrong, or None;
    items: where elements of it are at fault by themselves, [{"index", "param", "message"}, ...]."""

    def __init__(self, message, status=0, param=None, items=()):
        super().__init__(message)
        self.status, self.param, self.items = status, param, list(items)


class Gram:
    """One server. Threads may share it: each keeps a connection of its own."""

    def __init__(self, url=None, key=None, timeout=300, tries=5):
        self.url = url or os.environ.get("GRAM_URL", "http://127.0.0.1:8080")
        self.key = key or os.environ.get("GRAM_API_KEY")
        self.timeout, self.tries = timeout, tries
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.url}: wanted http://HOST:PORT")
        self._parts, self._local = parts, threading.local()

    def _connection(self):
        c = getattr(self._local, "connection", None)
        if c is None:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            c = self._local.connection = kind(self._parts.hostname, self._parts.port, timeout=self.timeout)
        return c

    def _drop(self):
        c = getattr(self._local, "connection", None)
        if c is not None:
            c.close()
        self._local.connection = None

    def post(self, path, body):
        """The answer to one request. Waits and asks again where the server is busy, loading, or gone for a moment."""
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = "Bearer " + self.key
        for left in range(self.tries - 1, -1, -1):
            wait = 1.0
            try:
                c = self._connection()
                c.request("POST", self._parts.path.rstrip("/") + path, data, headers)
                r = c.getresponse()
                text = r.read()
            except (OSError, http.client.HTTPException) as e:
                self._drop()
                if left == 0:
                    raise GramError(f"{self.url}: {e}") from e
            else:
                if r.status == 200:
                    return self._json(text)
                if r.getheader("Connection", "").lower() == "close":
                    self._drop()
                error = self._error(r.status, text)
                if r.status not in (429, 503) or left == 0:
                    raise error
                seconds = r.getheader("Retry-After", "")        # of a proxy it may be a date
                wait = float(seconds) if seconds.isdecimal() else 1.0
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _ask(self, path, body, more):
        if more.get("stream"):
            raise ValueError("stream: this client reads whole answers")
        return self.post(path, {**body, **more})

    def _json(self, text):
        try:
            return json.loads(text)
        except ValueError:
            raise GramError(f"{self.url}: what answers there is not gram: it gave no JSON", 200) from None

    @staticmethod
    def _error(status, text):
        try:
            e = json.loads(text)["error"]
            return GramError(e["message"], status, e["param"], e.get("items", ()))
        except (ValueError, KeyError, TypeError):
            return GramError(f"HTTP status {status}", status)

    # more: further fields of the request, as criteria="Be brief.", or rationale=True, votes=4, seed=1 for verdicts
    # behind reasons that the judge writes first (docs/serve.md).

    def score(self, prompt, a, b, explain=False, **more):
        """A verdict: preference, p_forward, p_swapped, logit_margin, logits, flipped, tokens, truncated."""
        return self._ask("/v1/score", {"prompt": prompt, "a": a, "b": b, "explain": explain}, more)

    def score_pairs(self, pairs, **more):
        """Verdicts for [(prompt, a, b), ...], in their order; {"index", "error"} for a pair that cannot be judged."""
        body = {"pairs": [{"prompt": p, "a": a, "b": b} for p, a, b in pairs]}
        data = self._ask("/v1/score", body, more)["data"]
        if len(data) != len(pairs):
            raise GramError(f"{len(data)} verdicts for {len(pairs)} pairs")
        return data

    def rank(self, prompt, responses, method=None, reference=None, **more):
        """The ranking by "linear", "tournament", "all-pairs" or "reference"; without a method the last of them where a
        reference answer is given, and otherwise all pairs."""
        body = {"prompt": prompt, "responses": list(responses)}
        if method is not None:
            body["method"] = method
        if reference is not None:
            body["reference"] = reference
        return self._ask("/v1/rank", body, more)

    def reward(self, prompt, responses, reference=None, partial=False, **more):
        """One number a response: its preference over the reference; without one, what the model's reward head gives
        it, or of a judge its mean preference over the others. With partial, None for a response that cannot be judged
        (it is too long, or no text) beside the others' numbers; without, such a response raises GramError."""
        body = {"prompt": prompt, "responses": list(responses), "partial": partial}
        if reference is not None:
            body["reference"] = reference
        rewards = self._ask("/v1/reward", body, more)["rewards"]
        if len(rewards) != len(body["responses"]):
            raise GramError(f"{len(rewards)} rewards for {len(body['responses'])} responses")
        return rewards

    def healthy(self):
        try:
            c = self._connection()
            c.request("GET", "/health")
            r = c.getresponse()
            r.read()
            return r.status == 200
        except (OSError, http.client.HTTPException):
            self._drop()
            return False


def _runs(items):
    """[start, end) of neighbours that are equal."""
    start = 0
    for i in range(1, len(items) + 1):
        if i == len(items) or items[i] != items[start]:
            yield start, i
            start = i


def trl_reward(url=None, reference_column=None, gram=None, fields=None, **options):
    """A reward function for TRL's GRPO, RLOO and the like. A prompt's completions stand side by side and are measured
    against each other, or each against the data set's column of reference answers where that is named; a model with a
    reward head measures them by itself. None, which TRL reads as "not applicable", is given for a completion that
    cannot be judged: it is too long, or no text (U+0000, half of a surrogate pair), or calls tools that the model's
    template does not write; and where a prompt has one completion, nothing to compare it with, and a model without a
    head. fields: what each request says besides, as {"rationale": True, "votes": 4}."""
    if gram and (url or options):
        raise TypeError(f"gram is a client already: {', '.join(['url'] * bool(url) + sorted(options))} would change "
                        "nothing of it")
    gram = gram or Gram(url, **options)

    def gram_reward(prompts, completions, **columns):
        references = columns[reference_column] if reference_column else [None] * len(prompts)
        out = []
        for start, end in _runs([(p, r) for p, r in zip(prompts, references)]):
            try:
                out.extend(gram.reward(prompts[start], completions[start:end], references[start], partial=True,
                                       **(fields or {})))
            except GramError as e:
                if len(e.items) < end - start:              # not the completions, each of them, but the request
                    raise
                out.extend([None] * (end - start))
        return out

    return gram_reward


_shared = None


def _default():
    global _shared
    _shared = _shared or Gram()
    return _shared


def reward_func(queries, prompts, labels, **_):
    """OpenRLHF's custom reward function (--remote_rm_url FILE.py). The server reads the chat template's text."""
    import torch                                            # OpenRLHF brings it
    answer = _default().post("/get_reward", {"query": list(queries), "prompts": list(prompts), "labels": list(labels)})
    as_tensor = {name: torch.tensor(values) for name, values in answer["extra_logs"].items()}
    return {"rewards": torch.tensor(answer["rewards"]), "scores": torch.tensor(answer["scores"]),
            "extra_logs": as_tensor}


def _verl_prompt(extra_info):
    for name in ("raw_prompt", "prompt", "question"):
        if extra_info and extra_info.get(name) is not None:
            prompt = extra_info[name]
            return prompt if isinstance(prompt, str) else list(prompt)
    raise GramError("extra_info holds no raw_prompt, prompt or question")


def _reference(ground_truth, status=0):
    """A reference answer: a text, or a number as it is written. What else a data set has there (a dict of targets, a
    list, a missing value) is no answer, and str() of it would be judged as one."""
    if isinstance(ground_truth, str):
        return ground_truth
    if isinstance(ground_truth, numbers.Number) and ground_truth == ground_truth:
        return str(ground_truth)
    raise GramError("ground_truth must be the reference answer, a text or a number, found "
                    f"{ground_truth!r:.80}", status)


def compute_score(data_source, solution_str, ground_truth, extra_info=None, reward_router_address=None, **_):
    """verl's reward for one response: its preference over ground_truth, the reference answer; where that is None, what
    the server measures a lone response by."""
    gram = Gram("http://" + reward_router_address) if reward_router_address else _default()
    if ground_truth is None:
        return {"score": gram.reward(_verl_prompt(extra_info), [solution_str])[0]}
    verdict = gram.score(_verl_prompt(extra_info), solution_str, _reference(ground_truth))
    return {"score": verdict["preference"], "margin": verdict["logit_margin"], "flipped": float(verdict["flipped"])}


def compute_score_batch(data_sources, solution_strs, ground_truths, extra_infos, **_):
    """The same for verl's batch reward manager: all responses in one request."""
    if any(g is None for g in ground_truths):
        return [compute_score(d, s, g, e)["score"] for d, s, g, e in zip(data_sources, solution_strs, ground_truths,
                                                                         extra_infos)]
    pairs = [(_verl_prompt(e), s, _reference(g)) for s, g, e in zip(solution_strs, ground_truths, extra_infos)]
    verdicts = _default().score_pairs(pairs)
    for v in verdicts:
        if "error" in v:
            raise GramError(v["error"]["message"], v["error"]["code"], v["error"]["param"])
    return [v["preference"] for v in verdicts]
