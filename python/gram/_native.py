"""libgram through cffi: the library, its errors, and what turns values of one side into the other's.

The library releases nothing that Python holds: cffi gives the interpreter's lock back while a call computes, and
takes it for a callback. Its threads do not live on in a forked child, so a model is refused there.
"""
import os
import sys

import cffi

from gram.client import GramError

__all__ = ["version"]

ffi = cffi.FFI()
_HERE = os.path.dirname(os.path.abspath(__file__))


def _declarations():
    try:
        from gram._cdef import CDEF
        return CDEF
    except ImportError:                 # run from the source tree
        sys.path.insert(0, os.path.dirname(_HERE))
        import make_cdef
        return make_cdef.declarations(os.path.join(_HERE, "..", "..", "include"))


def _library():
    named = os.environ.get("GRAM_LIBRARY")
    places = [named] if named else [os.path.join(_HERE, "lib", "libgram.so"),
                                    os.path.join(_HERE, "..", "..", "build", "libgram.so"), "libgram.so.0"]
    for place in places:
        if os.path.sep not in place or os.path.exists(place) or place == named:
            return ffi.dlopen(place)
    raise ImportError("libgram.so is not in the package, nor anywhere else that was looked at: " + ", ".join(places))


ffi.cdef(_declarations())
lib = _library()


_STATUS = {int(value): name[len("GRAM_"):] for value, name in ffi.typeof("gram_status").elements.items()}


def version():
    """Of the library."""
    return text(lib.gram_version())


def text(p):
    """A C string, or None."""
    return None if p == ffi.NULL else ffi.string(p).decode("utf-8", "replace")


_libc = cffi.FFI()
_libc.cdef("void free(void *p);")
_c = _libc.dlopen(None)


def release(p):
    """Frees what C allocated for us."""
    _c.free(_libc.cast("void *", int(ffi.cast("uintptr_t", p))))


def take(p):
    """A malloc'ed C string that becomes ours."""
    value = text(p)
    release(p)
    return value


class Call:
    """The memory of one call: strings that C reads until it is over, and its error."""

    def __init__(self):
        self.kept = []
        self.err = ffi.new("gram_err *")
        self.raised = None

    def keep(self, p):
        self.kept.append(p)
        return p

    def string(self, s, what="text"):
        if s is None:
            return ffi.NULL
        if not isinstance(s, (str, bytes, os.PathLike)):
            raise TypeError(f"{what} must be text, found {type(s).__name__}")
        data = s if isinstance(s, bytes) else os.fspath(s)
        if isinstance(data, str):
            try:
                data = data.encode()
            except UnicodeEncodeError:
                raise GramError(f"{what} holds half of a surrogate pair, which is no character", "EARG") from None
        if b"\0" in data:
            raise GramError(f"{what} holds U+0000", "EARG")
        return self.keep(ffi.new("char[]", data))

    def strings(self, items, what="text"):
        """NULL-terminated too."""
        return self.keep(ffi.new("char *[]", [self.string(s, what) for s in items] + [ffi.NULL]))

    def callback(self, signature, fn, default=0):
        """fn as a C function. What it raises stops the call where the call can be stopped, and is raised behind it."""
        def guarded(*args):
            if self.raised is not None:
                return 1
            try:
                return fn(*args)
            except BaseException as e:          # KeyboardInterrupt too
                self.raised = e
                return 1
        return self.keep(ffi.callback(signature, guarded))

    def check(self, status):
        if self.raised is not None:
            raise self.raised
        if status:
            raise GramError(text(self.err.text) or "failed", _STATUS.get(int(status), str(status)))


# ---- Conversations ---------------------------------------------------------------------------------------------------

def _content(message):
    import json
    content, extra = message.get("content"), {k: v for k, v in message.items() if k not in ("role", "content")}
    if content is None:
        if not extra.get("tool_calls") and not extra.get("function_call"):
            raise GramError("a message has no \"content\", and calls no tool", "EARG")
        extra["content"] = None
        content = ""
    elif isinstance(content, list):             # parts, as chat APIs have them
        parts = [p.get("text") if isinstance(p, dict) and p.get("type", "text") == "text" else None for p in content]
        if any(not isinstance(p, str) for p in parts):
            raise GramError("a message has a part that is no text", "EUNSUPPORTED")
        content = "".join(parts)
    return content, json.dumps(extra) if extra else None


def prompt(call, conversation, tools=None):
    """A text, or a list of messages {"role", "content", ...}, as a gram_prompt."""
    import json
    messages = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else list(conversation)
    turn = call.keep(ffi.new("gram_message[]", len(messages)))
    for i, m in enumerate(messages):
        if not isinstance(m, dict) or not isinstance(m.get("role"), str):
            raise TypeError(f"message {i} must be a dict with a \"role\", found {m!r:.80}")
        content, extra = _content(m)
        turn[i].role = call.string(m["role"], "a role")
        turn[i].content = call.string(content, "a message")
        turn[i].extra = call.string(extra)
    p = call.keep(ffi.new("gram_prompt *"))
    p.turn, p.n = turn, len(messages)
    p.tools = call.string(json.dumps(tools)) if tools else ffi.NULL
    return p[0]


def answer(item):
    """The text of an answer, which may be the one message of the assistant that TRL gives."""
    if isinstance(item, str):
        return item
    if isinstance(item, list) and len(item) == 1 and isinstance(item[0], dict):
        item = item[0]
    if isinstance(item, dict) and isinstance(item.get("content"), str) and set(item) <= {"role", "content"} \
            and item.get("role", "assistant") in ("assistant", "model"):
        return item["content"]
    raise TypeError("an answer must be a text, or one message of the assistant with content alone, found "
                    f"{item!r:.80}")
