"""Training: gram.finetune() and gram.pretrain() with the options of `gram finetune` and `gram pretrain` by name."""
import os
import tempfile
from contextlib import contextmanager

from gram._native import Call, ffi, lib, text
from gram.model import _bar, _choice, plain, write_rows

__all__ = ["finetune", "pretrain", "merge", "convert", "train_options"]

_STORE = {t: "GRAM_STORE_" + t.upper() for t in ("f32", "bf16", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0",
                                             "int8")}


def train_options(stage: str = "finetune") -> dict:
    """Name (with underscores) to what the option is: its help, choices and usual value, of one stage."""
    bit = _choice("stage", stage, {"pretrain": "GRAM_STAGE_PRETRAIN", "finetune": "GRAM_STAGE_FINETUNE"})
    made, i = {}, 0
    while True:
        o = lib.gram_train_option(i)
        i += 1
        if o == ffi.NULL:
            return made
        if o.stages & (1 << int(bit)):
            made[text(o.name).replace("-", "_")] = {"help": text(o.help), "choices": text(o.choices),
                                                    "usual": text(o.usual[int(bit)])}


@contextmanager
def _rows_file(rows):
    """A path as it is; rows (dicts, a datasets.Dataset) as a file for the while."""
    if isinstance(rows, (str, os.PathLike)):
        yield os.fspath(rows)
        return
    with tempfile.TemporaryDirectory() as dir:
        path = os.path.join(dir, "rows.jsonl")
        write_rows(rows, path)
        yield path


def _word(value):
    if hasattr(value, "tolist"):            # NumPy's, whose repr() names its type
        value = value.tolist()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(str(v) for v in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return repr(value) if isinstance(value, float) else str(value)


def _train(stage, run, model, rows, out, on_step, on_held, progress, note, resume, options):
    call, o, report = Call(), ffi.new("gram_train_options *"), ffi.new("gram_train_report *")
    lib.gram_train_options_init(o, stage)
    given = {k.replace("_", "-"): v for k, v in options.items() if v is not None}
    for name in sorted(given, key=lambda k: k != "loss"):      # the loss sets the defaults of its parameters
        call.check(lib.gram_train_options_set(o, call.string(name), call.string(_word(given[name]), name), call.err))
    for name in given:
        call.check(lib.gram_train_option_used(o, stage, call.string(name), call.err))
    o.resume = resume
    show, end = _bar(progress, "step")

    def stepped(_, s):
        stop = on_step(plain(s)) is False if on_step else False
        if show:
            show(s.step, s.steps)
        return 1 if stop else 0
    o.progress = call.callback("gram_train_fn", stepped)
    if on_held:
        o.held = call.callback("gram_held_fn", lambda _, h: on_held(plain(h)))
    if note:
        o.note = call.callback("gram_warn_fn", lambda _, s: note(text(s)))
    try:
        with _rows_file(rows) as path:
            call.check(run(call.string(model), call.string(path), call.string(out), o, report, call.err))
    finally:
        end()
    made = {name: getattr(report, name) for name, f in ffi.typeof("gram_train_report").fields
            if f.type.kind == "primitive"}
    made["before"], made["after"] = ((r.value, r.low, r.high) for r in (report.before, report.after))
    return made


def finetune(model, pairs, out, *, on_step=None, on_held=None, progress=None, note=None, resume=False,
             **options) -> dict:
    """`gram finetune MODEL PAIRS --out OUT`: pairs are a file, a list of dicts or a datasets.Dataset. Options are the
    command's, with underscores: loss="bt", lora_rank=16, lr=2e-5, steps=100, eval_file="dev.jsonl", ...;
    train_options() lists them. on_step gets a dict after each step, and False from it stops with a checkpoint
    (GramError ESTOPPED); progress=True shows a bar. Returns the run's report."""
    return _train(lib.GRAM_STAGE_FINETUNE, lib.gram_finetune, model, pairs, out, on_step, on_held, progress, note,
                  resume, options)


def pretrain(model, unlabeled, out, *, on_step=None, on_held=None, progress=None, note=None, resume=False,
             **options) -> dict:
    """The same for stage 1: rows of a prompt and two or more responses."""
    return _train(lib.GRAM_STAGE_PRETRAIN, lib.gram_pretrain, model, unlabeled, out, on_step, on_held, progress, note,
                  resume, options)


def merge(adapter, out, *, base=None, dtype="f32") -> None:
    """A LoRA adapter and its base as one model."""
    call = Call()
    kind = _choice("dtype", dtype, {"f32": "GRAM_F32", "bf16": "GRAM_BF16"})
    call.check(lib.gram_merge(call.string(adapter), call.string(base), call.string(out), kind, call.err))


def convert(model, out, *, dtype="f32", note=None) -> dict:
    """To a .gguf file or to a directory."""
    call, o, report = Call(), ffi.new("gram_convert_options *"), ffi.new("gram_convert_report *")
    o.dtype = _choice("dtype", dtype, _STORE)
    if note:
        o.note = call.callback("gram_warn_fn", lambda _, s: note(text(s)))
    call.check(lib.gram_convert(call.string(model), call.string(out), o, report, call.err))
    return {"tensors": report.tensors, "bytes": report.bytes}
