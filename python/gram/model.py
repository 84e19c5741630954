"""Models: scores, rewards, rankings, text, evaluation. Numbers that are many come as NumPy arrays."""
import datetime
import decimal
import functools
import json
import os
import sys
import tempfile
import uuid
from dataclasses import dataclass
from typing import Any, Callable, List, Mapping, Optional, Sequence, Union

import numpy as np

from gram._native import Call, GramError, answer, ffi, lib, prompt, release, take, text

__all__ = ["Model", "Verdict", "Verdicts", "Ranking", "Rewards", "Answer", "inspect", "compare",
           "fetch", "shipped_judge"]

Conversation = Union[str, Sequence[Mapping[str, Any]]]
Progress = Union[None, bool, Callable[[int, int], Any]]


@dataclass(frozen=True)
class Verdict:
    """One pair: preference is P(a beats b), both orders averaged; see gram_verdict in include/gram/gram.h. reward and
    sigma, of a and of b, are None unless a reward head judged."""
    preference: float
    p_forward: float
    p_swapped: float
    logit_margin: float
    consistent: bool
    truncated: bool
    dropped: bool
    tokens: int
    reward: Optional[tuple] = None
    sigma: Optional[tuple] = None


@dataclass(frozen=True)
class Verdicts:
    """Many pairs: each field is an array with a number for each; reward and sigma are [n, 2] or None."""
    preference: np.ndarray
    p_forward: np.ndarray
    p_swapped: np.ndarray
    logit_margin: np.ndarray
    consistent: np.ndarray
    truncated: np.ndarray
    dropped: np.ndarray
    tokens: np.ndarray
    reward: Optional[np.ndarray] = None
    sigma: Optional[np.ndarray] = None

    def __len__(self):
        return len(self.preference)

    def __getitem__(self, i) -> Verdict:
        two = [None if x is None else tuple(float(v) for v in x[i]) for x in (self.reward, self.sigma)]
        return Verdict(float(self.preference[i]), float(self.p_forward[i]), float(self.p_swapped[i]),
                       float(self.logit_margin[i]), bool(self.consistent[i]), bool(self.truncated[i]),
                       bool(self.dropped[i]), int(self.tokens[i]), *two)


@dataclass(frozen=True)
class Ranking:
    """order: indices, best first. score: a number a response, higher is better. preference[i, j]: P(i beats j), NaN
    where the method did not ask. reward and sigma: of a reward head, else None."""
    order: np.ndarray
    score: np.ndarray
    preference: np.ndarray
    reward: Optional[np.ndarray]
    sigma: Optional[np.ndarray]
    intransitive: bool
    truncated: bool
    comparisons: int
    tokens: int
    tokens_computed: int


class Rewards(np.ndarray):
    """One number a response, NaN where there is none; error[i] then says why, and is None elsewhere."""
    error: List[Optional[str]]

    def __array_finalize__(self, other):
        self.error = getattr(other, "error", [])


@dataclass(frozen=True)
class Answer:
    """text of an answer, and of each token its id, its log-probability, and the same under z / temperature."""
    text: str
    finish: str                     # "stop", "stop_string", "length", "failed"
    ids: np.ndarray
    logprobs: np.ndarray
    tempered: np.ndarray
    prompt_tokens: int
    seed: int
    products: str                   # "few", "tiles", "tiles of bytes": with these the seed writes the same bits alone
    error: Optional[str] = None


_DTYPES = {"auto": "GRAM_DTYPE_AUTO", "f32": "GRAM_F32", "bf16": "GRAM_BF16", "int8": "GRAM_INT8",
           "int8-fast": "GRAM_INT8_FAST"}
_PRODUCTS = {"auto": "GRAM_PRODUCTS_AUTO", "few": "GRAM_PRODUCTS_FEW", "tiles": "GRAM_PRODUCTS_TILES"}
_TRUNCATE = {"error": "GRAM_TRUNCATE_ERROR", "balanced": "GRAM_TRUNCATE_BALANCED", "drop": "GRAM_TRUNCATE_DROP"}


def _choice(name, value, known):
    if value not in known:
        raise GramError(f"{name} must be one of {', '.join(known)}, found {value!r}", "EARG")
    return getattr(lib, known[value])


def _known(who, given, names):
    """An argument that nobody knows is told by its name, beside those that there are."""
    if other := sorted(given.keys() - set(names)):
        raise TypeError(f"{who} takes no {', '.join(other)}: wanted some of {', '.join(names)}")


def _settled(what, given):
    """Of what is open already nothing is opened again: arguments that say how would be heeded by nobody."""
    if given:
        raise TypeError(f"{what} is open already, and {', '.join(sorted(given))} would change nothing of it")


def _options(call, o, *, threads=0, device=None, dtype="auto", max_tokens=None, truncate="error", batch_tokens=0,
             single_order=False, judge_prompt=None, labels=None, pointwise=False, scale=None, chat_template=None,
             chat_args=None, base=None, lambda_=0.0, reward_token=None, reward_weights=None, note=None):
    """Fills a gram_options with what Model takes."""
    o.threads, o.dtype, o.max_tokens = threads, _choice("dtype", dtype, _DTYPES), max_tokens or 0
    o.truncate, o.batch_tokens = _choice("truncate", truncate, _TRUNCATE), batch_tokens
    o.single_order, o.pointwise, o.scale = single_order, pointwise, call.string(scale, "scale")
    setattr(o, "lambda", lambda_)       # a keyword of Python's
    o.judge_prompt, o.chat_template = call.string(judge_prompt), call.string(chat_template)
    if labels is not None:
        a, b = labels
        o.label_a, o.label_b = call.string(a), call.string(b)
    o.chat_args = call.string(json.dumps(chat_args)) if chat_args else ffi.NULL
    o.device = call.string(device)
    o.base, o.reward_token = call.string(base), call.string(None if reward_token is None else str(reward_token))
    if reward_weights is not None:
        o.reward_weights = call.string(",".join(repr(float(w)) for w in reward_weights))
    if note is not None:
        o.note = call.callback("gram_warn_fn", lambda arg, s: note(text(s)))


def _bar(progress, what):
    """progress as (fn(done, total), end())."""
    if callable(progress):
        return progress, lambda: None
    if not progress:
        return None, lambda: None
    from tqdm.auto import tqdm
    bar = tqdm(unit=what)

    def show(done, total):
        bar.total = total or None
        bar.update(done - bar.n)
    return show, bar.close


def _array(p, n, dtype):
    """A copy of n values of C memory."""
    if n == 0:
        return np.empty(0, dtype)
    return np.frombuffer(ffi.buffer(p, n * np.dtype(dtype).itemsize), dtype=dtype).copy()


def shipped_judge() -> str:
    """The directory of the judge that comes with gram, or that GRAM_JUDGE names."""
    call, out = Call(), ffi.new("char **")
    call.check(lib.gram_shipped_judge(out, call.err))
    return take(out[0])


def fetch(directory: Union[str, os.PathLike, None] = None, progress: Progress = None) -> str:
    """Gets the base model of the judge that comes with gram, as `gram fetch` does, and says where it is."""
    call, out = Call(), ffi.new("char **")
    fn, end = _bar(progress, "B")
    show = call.callback("gram_progress_fn", lambda _, done, total: int(fn(done, total) is False)) if fn else ffi.NULL
    try:
        call.check(lib.gram_fetch(call.string(directory, "a directory"), show, ffi.NULL, out, ffi.NULL, call.err))
    finally:
        end()
    return take(out[0])


def _ids(ids) -> np.ndarray:
    """Token ids as the library takes them; what is no list of whole numbers would be other ids."""
    given = np.asarray(ids)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise TypeError(f"token ids must be a list of whole numbers, found {ids!r:.80}")
    if given.size and (given.min() < 0 or given.max() > 2**31 - 1):
        raise GramError("a token id is below 0 or beyond 31 bits", "EARG")
    return np.ascontiguousarray(given, dtype=np.int32)


def _list(items, what) -> list:
    """A text is a list of its letters, which nobody means, and a set has no order."""
    if isinstance(items, (str, bytes, Mapping, set, frozenset)):
        raise TypeError(f"{what} must be a list, found {items!r:.80}")
    return list(items)


def _closes(getpid=os.getpid, ends=sys.is_finalizing, close=lib.gram_close):
    """What frees a model, in this process alone, when nothing uses it any more."""
    pid = getpid()
    return lambda m: close(m) if getpid() == pid and not ends() else None


class Model:
    """An open model. Threads may share it: their calls wait for each other, and the interpreter's lock is free while
    one computes. It does not survive a fork. Keywords are those of the command line: threads, device ("cpu", "cuda:0",
    "auto"), dtype ("auto", "f32", "bf16", "int8", "int8-fast"), max_tokens, truncate ("error", "balanced", "drop"),
    batch_tokens, single_order, judge_prompt (the text), labels (two texts), pointwise, scale ("0-10"), chat_template,
    chat_args (a dict), base, lambda_, reward_token, reward_weights, note (called with a sentence). Without a path it is
    the judge that comes with gram, over the base that fetch() gets."""

    def __init__(self, path: Union[str, os.PathLike, None] = None, **options):
        _known("Model()", options, _options.__kwdefaults__)
        self._m, self._pointwise = ffi.NULL, bool(options.get("pointwise"))
        self._lambda, self._base = options.get("lambda_", 0.0), options.get("base")
        self._life = Call()                     # a note may come later than the opening
        o = ffi.new("gram_options *")
        _options(self._life, o, **options)
        out = ffi.new("gram_model **")
        path = shipped_judge() if path is None else os.fspath(path)
        self._life.check(lib.gram_open(out, self._life.string(path), o, self._life.err))
        self._m, self._pid, self.path = ffi.gc(out[0], _closes()), os.getpid(), path

    def _model(self):
        if self._m == ffi.NULL:
            raise GramError("the model is closed", "EARG")
        if self._pid != os.getpid():
            raise GramError("a model does not survive a fork: open it in the process that uses it, or start processes "
                            "by \"spawn\"", "EUNSUPPORTED")
        return self._m

    def _tokenizer(self, call):
        """The model, to be held as long as its tokenizer is used, and that. It never changes: a fork may use it."""
        model, out = self._m, ffi.new("const gram_tokenizer **")
        if model == ffi.NULL:
            raise GramError("the model is closed", "EARG")
        call.check(lib.gram_tokenizer_of(out, model, call.err))
        return model, out[0]

    def close(self):
        """Calls from now on fail. What another thread computes ends as it would have, and the memory is freed then."""
        self._m = ffi.NULL

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<gram.Model {self.path}{' (closed)' if self._m == ffi.NULL else ''}>"

    @property
    def head(self) -> str:
        """What it ends in: "vocabulary", or of a reward model "reward" or "purm"."""
        return text(lib.gram_head(self._model()))

    @property
    def arithmetic(self) -> str:
        """What its weights are multiplied in, such as "float32" or "bfloat16, sums in float32"."""
        return text(lib.gram_arithmetic(self._model()))

    @property
    def temperature(self) -> Optional[float]:
        """That its probabilities are calibrated with, from judge.json; None: there is none."""
        return lib.gram_temperature(self._model()) or None

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows."""
        return lib.gram_vocabulary(self._model())

    # ---- Judging -----------------------------------------------------------------------------------------------------

    def score(self, prompt: Conversation, a, b) -> Verdict:
        """One pair."""
        return self.score_pairs([(prompt, a, b)])[0]

    def score_pairs(self, pairs: Sequence) -> Verdicts:
        """Pairs (prompt, a, b), judged together; the numbers do not depend on which stand together."""
        call, pairs = Call(), _list(pairs, "pairs")
        pair, out = ffi.new("gram_pair[]", len(pairs)), ffi.new("gram_verdict[]", len(pairs))
        for i, one in enumerate(pairs):
            if isinstance(one, (str, bytes, Mapping)) or len(one) != 3:     # whose keys or letters are texts
                raise TypeError(f"pair {i} must be (prompt, a, b), found {one!r:.80}; score_rows() takes dicts")
            p, a, b = one
            pair[i].prompt = prompt(call, p)
            pair[i].a, pair[i].b = call.string(answer(a), f"a of pair {i}"), call.string(answer(b), f"b of pair {i}")
        if pairs:
            call.check(lib.gram_score(self._model(), pair, len(pairs), out, call.err))

        def field(name, dtype):
            return np.array([getattr(v, name) for v in out], dtype=dtype)
        rewarded = bool(pairs) and all(v.rewarded or v.dropped for v in out) and any(v.rewarded for v in out)
        two = [np.array([[getattr(v.reward[k], x) if v.rewarded else np.nan for k in range(2)] for v in out])
               if rewarded else None for x in ("mean", "sigma")]
        spread = rewarded and any(v.spread for v in out)
        dropped = field("dropped", bool)
        real = {n: np.where(dropped, np.nan, field(n, np.float64))
                for n in ("preference", "p_forward", "p_swapped", "logit_margin")}
        return Verdicts(consistent=field("consistent", bool), truncated=field("truncated", bool), dropped=dropped,
                        tokens=field("tokens", np.int64), reward=two[0], sigma=two[1] if spread else None, **real)

    def rank(self, prompt: Conversation, responses: Sequence, method: Optional[str] = None, reference=None) -> Ranking:
        """method: "linear", "tournament", "all-pairs", or "reference" with one; without a method the last of them where
        a reference is given, and otherwise all pairs."""
        method = method or ("all-pairs" if reference is None else "reference")
        call, responses = Call(), _list(responses, "responses")
        how, out, n = ffi.new("gram_rank_method *"), ffi.new("gram_ranking *"), len(responses)
        call.check(lib.gram_rank_method_parse(call.string(method), how, call.err))
        call.check(lib.gram_rank(self._model(), _prompt(call, prompt), call.strings([answer(r) for r in responses]), n,
                                 how[0], call.string(None if reference is None else answer(reference)), out, call.err))
        reward = sigma = None
        if out.reward != ffi.NULL:
            reward = np.array([out.reward[i].mean for i in range(n)])
            sigma = np.array([out.reward[i].sigma for i in range(n)])
        made = Ranking(_array(out.order, n, np.uintp).astype(np.int64), _array(out.score, n, np.float64),
                       _array(out.preference, n * n, np.float64).reshape(n, n), reward, sigma, bool(out.intransitive),
                       bool(out.truncated), out.comparisons, out.tokens, out.tokens_computed)
        lib.gram_ranking_clear(out)
        return made

    def rewards(self, prompt: Conversation, responses: Sequence, *, scheme: Optional[str] = None,
                unit: Optional[str] = None, reference=None, lambda_: Optional[float] = None) -> Rewards:
        """One number a response, measured within the group: of a reward head what it gives (PURM: mean - lambda_ u,
        with the lambda_ that the model was opened with where none is given); of a judge by `scheme` ("all-pairs", or
        "reference" where there is one; "tournament", "linear", "circular"), both orders, in units of "preference" or
        "margin". A response that cannot be judged has NaN and an error; the others keep their numbers."""
        call, texts, odd, model = Call(), [], {}, self._model()
        for i, r in enumerate(_list(responses, "responses")):
            try:
                texts.append(call.string(answer(r), "the response"))
            except (GramError, TypeError) as e:     # no text: it fails alone
                odd[i] = str(e)
        whole = Rewards((len(texts) + len(odd),))
        whole[:], whole.error = np.nan, [odd.get(i) for i in range(len(whole))]
        if not texts and odd:
            return whole
        o, j, g = ffi.new("gram_judge_options *"), ffi.new("gram_judge **"), ffi.new("gram_group *")
        out = ffi.new("gram_judged_group *")
        if reference is not None and scheme not in (None, "reference"):
            raise GramError(f"a reference answer goes with scheme reference, and {scheme} was asked for", "EARG")
        scheme = scheme or ("reference" if reference is not None else None)
        unit = unit or ("preference" if self.head == "vocabulary" and not self._pointwise else None)
        if unit:
            call.check(lib.gram_unit_parse(call.string(unit), ffi.addressof(o, "unit"), call.err))
        if scheme:
            call.check(lib.gram_scheme_parse(call.string(scheme), ffi.addressof(o, "scheme"), call.err))
        setattr(o, "lambda", self._lambda if lambda_ is None else lambda_)
        g.prompt, g.n = _prompt(call, prompt), len(texts)
        g.response = call.keep(ffi.new("char *[]", texts))
        g.reference = call.string(None if reference is None else answer(reference))
        call.check(lib.gram_judge_over(j, model, o, call.err))
        try:
            call.check(lib.gram_judge_group(j[0], g, out, call.err))
            for k, i in enumerate(i for i in range(len(whole)) if i not in odd):
                whole[i], whole.error[i] = out.reward[k], text(out.error[k])
        finally:
            lib.gram_judged_group_clear(out)
            lib.gram_judge_close(j[0])
        return whole

    # ---- Writing -----------------------------------------------------------------------------------------------------

    def generate(self, prompts: Sequence[Conversation], *, n: int = 1, max_new_tokens: int = 256,
                 temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0,
                 repetition_penalty: float = 1.0, presence_penalty: float = 0.0, frequency_penalty: float = 0.0,
                 min_new_tokens: int = 0, stop: Sequence[str] = (), stop_ids: Sequence[int] = (), seed: int = 0,
                 products: str = "auto", speculate: int = 0, progress: Progress = None) -> List[List[Answer]]:
        """n answers to each prompt. temperature 0 is greedy. Answer k of prompt i is that of a run of its own with the
        seed and the products that it says: "few", "tiles" or, by the number of answers, "auto". speculate: so many
        tokens are guessed from what the text says earlier, which changes speed alone."""
        call, prompts = Call(), _list(prompts, "prompts")
        g = _generation(call, stop, stop_ids, n=n, max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k,
                        top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty,
                        presence_penalty=presence_penalty, frequency_penalty=frequency_penalty,
                        min_new_tokens=min_new_tokens, seed=seed, speculate=speculate,
                        products=_choice("products", products, _PRODUCTS))
        asked = ffi.new("gram_prompt[]", max(1, len(prompts)))
        for i, p in enumerate(prompts):
            asked[i] = prompt(call, p)
        made = [[None] * n for _ in prompts]
        show, end = _bar(progress, "answer")
        done = [0]

        def keep(_, a):
            made[a.prompt][a.k] = Answer(
                ffi.buffer(a.text, a.bytes)[:].decode("utf-8", "replace") if a.bytes else "",
                text(lib.gram_finish_name(a.finish)), _array(a.id, a.tokens, np.int32),
                _array(a.logprob, a.tokens, np.float32), _array(a.tempered, a.tokens, np.float32), a.prompt_tokens,
                a.seed, text(lib.gram_products_name(a.products)),
                text(a.error) if a.finish == lib.GRAM_FINISH_FAILED else None)
            done[0] += 1
            return 1 if show and show(done[0], n * len(prompts)) is False else 0
        fn = call.callback("gram_answer_fn", keep)
        try:
            if prompts:
                call.check(lib.gram_generate(self._model(), asked, len(prompts), g, fn, ffi.NULL, call.err))
        finally:
            end()
        return made

    def go_on(self, ids: Sequence[int], *, max_new_tokens: int = 256, stop: Sequence[str] = (),
              stop_ids: Sequence[int] = (), **settings) -> str:
        """The text that goes on behind token ids as they stand; settings as of generate(), for one answer."""
        if other := settings.keys() & {"n", "products", "speculate"}:
            raise TypeError(f"go_on() writes one answer, token by token, and takes no {', '.join(sorted(other))}")
        _known("go_on()", settings, [k for k in Model.generate.__kwdefaults__
                                     if k not in ("n", "products", "speculate", "progress")])
        call, made, model = Call(), [], self._model()
        w, more, ids = ffi.new("gram_writer **"), ffi.new("bool *"), ffi.new("int32_t[]", _ids(ids).tolist())
        g = _generation(call, stop, stop_ids, max_new_tokens=max_new_tokens, **settings)
        asked = ffi.new("gram_writing *", {"id": ids, "n_ids": len(ids), "how": g})

        def keep(_, t, err):
            if t.ended and t.finish == lib.GRAM_FINISH_FAILED:
                raise GramError(text(t.error), "EARG")
            made.append(ffi.buffer(t.more, t.more_bytes)[:] if t.more_bytes else b"")
            return 0
        fn = call.callback("gram_written_fn", keep)
        call.check(lib.gram_writer_open(w, model, asked, call.err))
        try:
            more[0] = True
            while more[0]:
                call.check(lib.gram_writer_next(w[0], fn, ffi.NULL, more, call.err))
        finally:
            lib.gram_writer_close(w[0])
        return b"".join(made).decode("utf-8", "replace")

    # ---- Files and rows ----------------------------------------------------------------------------------------------

    def _file_options(self, call, o, show, columns, skip_bad, resume, warn, shard=None):
        o.resume, o.skip_bad = resume, skip_bad
        if shard is not None:
            o.share, o.shares = shard
            if o.shares < 1:                # which would be all rows
                raise GramError("shard must be (i, n) with i from 0 to n - 1, found n = 0", "EARG")
        if columns:
            o.columns = call.string(columns if isinstance(columns, str)
                                    else ",".join(f"{k}={v}" for k, v in columns.items()))
        if show:
            o.progress = call.callback("gram_progress_fn", lambda _, d, t: 1 if show(d, t) is False else 0)
        if warn:
            o.warn = call.callback("gram_warn_fn", lambda _, s: warn(text(s)))

    def _file(self, what, source, out, *rest, columns=None, skip_bad=False, resume=False, progress=None, warn=None,
              shard=None):
        call = Call()
        o, report = ffi.new("gram_file_options *"), ffi.new("gram_file_report *")
        show, end = _bar(progress, "row")
        self._file_options(call, o, show, columns, skip_bad, resume, warn, shard)
        try:
            call.check(what(self._model(), call.string(source), call.string(out), *rest, o, report, call.err))
        finally:
            end()
        return {k: getattr(report, k) for k in ("rows", "bad", "dropped", "truncated", "resumed", "seconds")}

    def score_file(self, source, out, **options) -> dict:
        """`gram score SOURCE --out OUT`: any form and format of rows (docs/formats.md). Options: columns, skip_bad,
        resume, progress, warn, shard (one share (i, n) of the rows, to OUT.shard-i-of-n; gram.merge_shards() joins
        them). Returns the counts."""
        _known("score_file()", options, self._file.__kwdefaults__)
        return self._file(lib.gram_score_file, source, out, **options)

    def rank_file(self, source, out, method="all-pairs", **options) -> dict:
        """The same for groups: `gram rank`."""
        _known("rank_file()", options, self._file.__kwdefaults__)
        call, how = Call(), ffi.new("gram_rank_method *")
        call.check(lib.gram_rank_method_parse(call.string(method), how, call.err))
        return self._file(lib.gram_rank_file, source, out, how[0], **options)

    def score_rows(self, rows, **options):
        """Rows (dicts in any form of docs/formats.md, or a datasets.Dataset) to a list of verdicts, as dicts; of a
        Dataset a Dataset with the verdicts' columns beside its own."""
        return _over_rows(rows, lambda source, out: self.score_file(source, out, **options))

    def rank_rows(self, rows, method="all-pairs", **options):
        """The same for rows of a prompt and its responses."""
        return _over_rows(rows, lambda source, out: self.rank_file(source, out, method, **options))

    def eval(self, files, *, rules: Optional[str] = None, report: Optional[str] = None, rows: Optional[str] = None,
             columns=None, skip_bad=False, resume=False, progress: Progress = None, warn=None, shard=None) -> dict:
        """Labelled files to all numbers, as the dict that `gram eval --json` writes (docs/eval.md). Of one share (i, n)
        of the rows there are the counts alone; the same call with resume and without shard gives the numbers of all."""
        call = Call()
        files = [files] if isinstance(files, (str, os.PathLike)) else list(files)
        o, summary = ffi.new("gram_eval_options *"), ffi.new("gram_eval_summary *")
        show, end = _bar(progress, "pair")
        with tempfile.TemporaryDirectory() as dir:
            json_path = os.path.join(dir, "numbers.json")
            self._file_options(call, o.file, show, columns, skip_bad, resume, warn, shard)
            o.rules, o.json, o.report_dir = call.string(rules), call.string(json_path), call.string(report)
            if shard and not rows:
                raise GramError("runs that share the rows join them by their lines: rows has to name a file", "EARG")
            o.rows = call.string(rows or os.path.join(dir, "rows.jsonl"))
            try:
                call.check(lib.gram_eval(self._model(), call.strings(files), len(files), o, summary, ffi.NULL,
                                         call.err))
            finally:
                end()
            if shard:
                return {k: getattr(summary, k) for k in ("rows", "bad", "resumed", "seconds")}
            with open(json_path, encoding="utf-8") as f:
                return json.load(f)

    # ---- What the model sees -----------------------------------------------------------------------------------------

    def show_prompt(self, prompt: Conversation, a, b, swapped: bool = False) -> str:
        """The text of one order as the model reads it."""
        call, out, pair = Call(), ffi.new("char **"), ffi.new("gram_pair *")
        pair.prompt, pair.a, pair.b = _prompt(call, prompt), call.string(answer(a)), call.string(answer(b))
        call.check(lib.gram_show_prompt(self._model(), pair, swapped, out, call.err))
        return take(out[0])

    def show_chat(self, prompt: Conversation) -> str:
        """The conversation in the chat template, up to where the assistant's answer begins."""
        call, out = Call(), ffi.new("char **")
        call.check(lib.gram_show_chat(self._model(), _prompt(call, prompt), out, call.err))
        return take(out[0])

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Next-token logits [T, vocabulary] of T token ids; no BOS is added."""
        call, ids = Call(), _ids(ids)
        out = np.empty((len(ids), self.vocabulary), np.float32)
        call.check(lib.gram_logits(self._model(), ffi.cast("int32_t *", ids.ctypes.data), len(ids),
                                   ffi.cast("float *", out.ctypes.data), call.err))
        return out

    def tokenize(self, string: str, bos: bool = False) -> np.ndarray:
        """Token ids of a text, special tokens written in it as such; bos: behind the one that the checkpoint puts in
        front of a text, where it does."""
        call, out, n, data = Call(), ffi.new("int32_t **"), ffi.new("size_t *"), string.encode()
        model, t = self._tokenizer(call)
        if bos:
            call.check(lib.gram_tokenize_prompt(t, data, len(data), out, n, call.err))
        else:
            call.check(lib.gram_tokenize(t, data, len(data), True, out, n, call.err))
        ids = _array(out[0], n[0], np.int32)
        release(out[0])
        return ids

    def detokenize(self, ids: Sequence[int], special: bool = True) -> str:
        """The text of token ids; special: special tokens are written out, and otherwise left out. A character that
        they cut is U+FFFD."""
        call, out, n, ids = Call(), ffi.new("char **"), ffi.new("size_t *"), _ids(ids)
        model, t = self._tokenizer(call)
        call.check(lib.gram_detokenize(t, ffi.cast("int32_t *", ids.ctypes.data), len(ids), special, out, n, call.err))
        string = bytes(ffi.buffer(out[0], n[0])).decode()
        release(out[0])
        return string

    def bos_id(self) -> Optional[int]:
        """The token that the checkpoint calls BOS, whether it puts it in front of texts or not; None: it has none."""
        model, t = self._tokenizer(Call())
        bos = lib.gram_tokenizer_bos(t)
        return None if bos < 0 else bos

    def logprobs(self, ids: Sequence[int]):
        """Of T token ids as they stand, with no BOS added: the log-probability of each behind those before it (of the
        first NaN), and which id is the likeliest in its place (of the first -1)."""
        call, at = Call(), [0]
        ids = _ids(ids)
        logprob, likeliest = np.full(len(ids), np.nan, np.float32), np.full(len(ids), -1, np.int32)

        def keep(_, t, err):
            logprob[at[0]] = t.logprob
            likeliest[at[0]] = t.top[0].id if t.n_top else -1
            at[0] += 1
            return 0
        fn = call.callback("gram_written_fn", keep)
        call.check(lib.gram_text_logprobs(self._model(), ffi.cast("int32_t *", ids.ctypes.data), len(ids), 1, fn,
                                          ffi.NULL, call.err))
        return logprob, likeliest

    def end_ids(self) -> np.ndarray:
        """The ids that end this model's answers."""
        call, out, n = Call(), ffi.new("int32_t **"), ffi.new("size_t *")
        call.check(lib.gram_end_ids(self._model(), out, n, call.err))
        ids = _array(out[0], n[0], np.int32)
        release(out[0])
        return ids

    def text_rewards(self, texts: Sequence[str]) -> np.ndarray:
        """The reward head's number of each text as it stands, rendered by the checkpoint's own template already."""
        call, texts = Call(), _list(texts, "texts")
        asked, out = ffi.new("gram_text[]", max(1, len(texts))), ffi.new("gram_reward[]", max(1, len(texts)))
        bad = ffi.new("size_t *")
        for i, t in enumerate(texts):
            asked[i].text, asked[i].bytes = call.string(t, f"text {i}"), len(t.encode())
        if texts:
            call.check(lib.gram_text_rewards(self._model(), asked, len(texts), out, bad, call.err))
        return np.array([out[i].mean for i in range(len(texts))])


def _generation(call, stop, stop_ids, **settings):
    g = call.keep(ffi.new("gram_generation *"))
    lib.gram_generation_init(g)
    for name, value in settings.items():
        setattr(g, name, value)
    stop, stop_ids = [stop] if isinstance(stop, str) else list(stop), list(stop_ids)
    g.stop, g.n_stop = call.strings(stop, "a stop text"), len(stop)
    g.stop_ids, g.n_stop_ids = call.keep(ffi.new("int32_t[]", stop_ids)), len(stop_ids)
    return g


_prompt = prompt                    # methods have a parameter of this name


def _json(value):
    """What json.dumps() does not know, as a table would give it: NumPy's numbers and lists, times and paths as texts.
    Of all else an object without a text in it, which is no value for any key that is read: str() of bytes or of a
    missing value would be judged as if somebody had written it."""
    if isinstance(value, np.generic):
        value = value.item()
        return value if isinstance(value, (str, int, float, bool, type(None))) else _json(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (datetime.date, datetime.time, decimal.Decimal, uuid.UUID)):
        return str(value)
    return {"a Python object": [type(value).__name__]}


def write_rows(rows, path):
    """Dicts, or a datasets.Dataset, as JSON Lines."""
    with open(path, "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, default=_json) + "\n")


_opened = functools.lru_cache(maxsize=None)(Model)


def from_environment():
    """The model that GRAM_JUDGE names, for trainers that load a file of functions; each is opened once."""
    if not os.environ.get("GRAM_JUDGE"):
        raise GramError("GRAM_JUDGE names no judge", "EARG")
    return _opened(os.environ["GRAM_JUDGE"])


def _over_rows(rows, run):
    dataset = rows if type(rows).__module__.partition(".")[0] == "datasets" else None
    with tempfile.TemporaryDirectory() as dir:
        source, out = os.path.join(dir, "rows.jsonl"), os.path.join(dir, "out.jsonl")
        write_rows(({"id": str(i), **row} for i, row in enumerate(rows)), source)
        try:
            run(source, out)
        except GramError as e:          # of a file that nobody knows
            raise GramError(str(e).replace(source, "rows"), e.status) from None
        with open(out, encoding="utf-8") as f:
            made = [json.loads(line) for line in f]
    if dataset is None:
        return made
    import datasets
    if len(made) != len(dataset):
        raise GramError(f"{len(made)} lines for {len(dataset)} rows: rows that were skipped or that hold several pairs "
                        "have no place in a Dataset; give them as a list", "EARG")
    taken = set(dataset.column_names)
    keys = sorted({k for line in made for k in line if k != "id"})
    columns = {("gram_" + k if k in taken else k): [line.get(k) for line in made] for k in keys}
    return datasets.concatenate_datasets([dataset, datasets.Dataset.from_dict(columns)], axis=1)


def inspect(path=None, **options) -> dict:
    """What a model is, without loading it: architecture, parameters, template, head, memory. Without a path: the judge
    that comes with gram."""
    _known("inspect()", options, _options.__kwdefaults__)
    call, o, out = Call(), ffi.new("gram_options *"), ffi.new("gram_info *")
    _options(call, o, **options)
    call.check(lib.gram_inspect(call.string(path), o, out, call.err))
    return plain(out)


def plain(c):
    """A struct as a dict; a list of structs in it is counted by the field that is called like it with an s."""
    made, kind = {}, ffi.typeof(c)
    for name, field in (kind.item if kind.kind == "pointer" else kind).fields:
        value, shape = getattr(c, name), field.type
        if shape.kind == "primitive":
            made[name] = value
        elif shape.kind == "array" and shape.item.kind == "struct":
            made[name] = [plain(value[i]) for i in range(getattr(c, name + "s"))]
        else:
            made[name] = text(value)
    return made


def merge_shards(out) -> int:
    """Joins what runs with shard=(i, n) wrote for `out`; returns its lines (docs/many-machines.md)."""
    call, rows = Call(), ffi.new("uint64_t *")
    call.check(lib.gram_merge_shards(call.string(out), rows, call.err))
    return rows[0]


def compare(a, b, rows=None) -> dict:
    """Which of two evaluated judges is better: files of rows, JSON or report folders of Model.eval or `gram eval`."""
    call = Call()
    with tempfile.TemporaryDirectory() as dir:
        path = os.path.join(dir, "d.json")
        call.check(lib.gram_eval_compare(call.string(a), call.string(b), call.string(path), call.string(rows), ffi.NULL,
                                         ffi.NULL, call.err))
        with open(path, encoding="utf-8") as f:
            return json.load(f)
