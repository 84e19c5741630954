"""Each command that reads rows reads them in each form that people have: forms.py DIR, from forms.sh. A folder with a
file of every form, a pattern, a pipe and columns by other names give the bytes of one file of JSON Lines, and what is
no file of rows is called what it is, by every command."""
import gzip
import json
import os
import shutil
import subprocess
import sys

GRAM, TINY, HEAD, WRITE_TABLE = (os.environ[k] for k in ("GRAM", "TINY", "HEAD", "WRITE_TABLE"))
TABLES = bool(os.environ.get("GRAM_DUCKDB"))
ZSTD = shutil.which("zstd")
os.chdir(sys.argv[1])

TEXTS = ["plain", "äß 日本", "a \"quoted\", text", "x", "y", "007", "true", "a \"b\", c\nd", "2024-01-01",
         "two\nlines", "1.50"]
PAIRS = [{"id": f"{i:03}", "prompt": f"q{i} {t}", "chosen": t, "rejected": f"{t} no"} for i, t in enumerate(TEXTS)]
GROUPS = [{"id": r["id"], "prompt": r["prompt"], "responses": [r["chosen"], r["rejected"], "other"]} for r in PAIRS]
PROMPTS = [{"id": r["id"], "prompt": r["prompt"]} for r in PAIRS]
FORMS = ["jsonl", "ndjson", "json", "jsonl.gz", "jsonl.zst", "csv", "tsv", "csv.gz", "parquet", "arrow", "arrows"]
WRITE = ["--n", "2", "--max-new-tokens", "2", "--seed", "3"]
TRAIN = ["--steps", "1", "--batch-rows", "4", "--out", "out"]
LEARN = TRAIN + ["--judge", HEAD, "--samples", "2", "--rollout-prompts", "4", "--max-new-tokens", "2"]

# What is read, the command with the rows in the place of @, and what it writes that is compared.
COMMANDS = [
    ("pairs", ["score", HEAD, "@", "--out", "out"], "out"),
    ("groups", ["rank", TINY, "@", "--out", "out"], "out"),
    ("pairs", ["generate", TINY, "@", "--out", "out", *WRITE], "out"),
    ("pairs", ["prove", TINY, "@", "--out", "out", "--k", "2", "--max-new-tokens", "2"], "out"),
    ("groups", ["bon", "@", "--judge", HEAD, "--out", "out"], "out"),
    ("prompts", ["bon", TINY, "@", "--judge", HEAD, "--out", "out", *WRITE], "out"),
    ("pairs", ["evalpolicy", TINY, "@", "--judge", HEAD, "--baseline-column", "chosen", "--out", "out", *WRITE[2:]],
     "out/rows.jsonl"),
    ("pairs", ["finetune", TINY, "@", "--loss", "bt", *TRAIN], "out/model.safetensors"),
    ("groups", ["pretrain", TINY, "@", *TRAIN], "out/model.safetensors"),
    ("prompts", ["raft", TINY, "@", *LEARN], "out/model.safetensors"),
]


def lines(rows):
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def write_form(path, form, row):
    """False: this form cannot be written here."""
    if form in ("jsonl", "ndjson"):
        write(path, lines([row]))
    elif form == "json":
        write(path, json.dumps([row], indent=1).encode())
    elif form == "jsonl.gz":
        write(path, gzip.compress(lines([row])))
    elif form == "jsonl.zst":
        if not ZSTD:
            return False
        write(path, subprocess.run([ZSTD, "-qc"], input=lines([row]), stdout=subprocess.PIPE, check=True).stdout)
    else:
        if not TABLES:
            return False
        write("row.jsonl", lines([row]))
        subprocess.run([WRITE_TABLE, "row.jsonl", path], check=True)
    return True


def make(name, rows):
    """NAME.jsonl; NAME.d, whose files have a row each, each in a form of its own; NAME.arrows; NAME.other.jsonl."""
    forms = [f for f in FORMS if "sv" not in f] if name == "groups" else FORMS      # CSV has no lists
    os.mkdir(f"{name}.d")
    whole = [r for k, (form, r) in enumerate(zip(forms, rows)) if write_form(f"{name}.d/f{k:02}.{form}", form, r)]
    write(f"{name}.d/README.md", b"no rows\n")
    write(f"{name}.jsonl", lines(whole))
    write(f"{name}.other.jsonl", lines([{"question" if k == "prompt" else k: v for k, v in r.items()} for r in whole]))
    if TABLES:
        subprocess.run([WRITE_TABLE, f"{name}.jsonl", f"{name}.arrows"], check=True)


def run(command, rows, *more, stdin=None):
    shutil.rmtree("out", ignore_errors=True)
    if os.path.exists("out"):
        os.remove("out")
    args = [GRAM, *[rows if a == "@" else a for a in command], *more, "-q"]
    return subprocess.run(args, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def written(what, command, result, out):
    if result.returncode:
        sys.exit(f"{what}: {command}: {result.stderr.decode()}")
    with open(out, "rb") as f:
        return f.read()


def check(name, command, out):
    want = written("one file", command, run(command, f"{name}.jsonl"), out)
    path = f"{name}.d" if command[0] != "score" else f"{name}.d/f[0-9]*.*"
    found = {"a folder, or a pattern": written("a folder", command, run(command, path), out),
             "columns": written("columns", command,
                                run(command, f"{name}.other.jsonl", "--columns", "prompt=question"), out)}
    if command[0] != "evalpolicy":          # which reads its rows again
        found["a pipe"] = piped(name, command, out)
    for what, data in found.items():
        if data != want:
            sys.exit(f"{what}: other bytes than of one file: {command}")


def piped(name, command, out):
    source = subprocess.Popen(["cat", f"{name}.arrows" if TABLES else f"{name}.jsonl"], stdout=subprocess.PIPE)
    data = written("a pipe", command, run(command, "-", stdin=source.stdout), out)
    source.stdout.close()
    source.wait()
    return data


WRONG = {"lfs.jsonl": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "a Git LFS pointer"),
         "lfs.parquet": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "a Git LFS pointer"),
         "utf16.jsonl": ("{\"prompt\":\"q\"}\n".encode("utf-16"), "UTF-16"),
         "page.csv.jsonl": (b"<!DOCTYPE html>\n<html>Log in</html>\n", "a page of HTML")}


def refuse(command):
    for path, (data, why) in WRONG.items():
        write(path, data)
        r = run(command, path, "--skip-bad")
        if r.returncode != 1 or why not in r.stderr.decode() or r.stdout:
            sys.exit(f"{path}: {command}: status {r.returncode}, {r.stderr.decode()}")


def evaluate():
    """An evaluation tells its files apart, and takes a folder for benchmarks: the files are named."""
    files = [p for p in sorted(os.listdir("pairs.d")) if p != "README.md"]
    command = ["eval", HEAD, "@", "--rows", "out"]
    want = written("one file", command, run(command, "pairs.jsonl"), "out")
    found = written("files", command, run(["eval", HEAD, *[f"pairs.d/{f}" for f in files], "--rows", "out"], ""), "out")

    def numbers(data):
        return [{k: v for k, v in json.loads(line).items() if k != "file"} for line in data.splitlines()]
    if numbers(want) != numbers(found):
        sys.exit("eval: other numbers of other forms")
    refuse(command)


for name, rows in (("pairs", PAIRS), ("groups", GROUPS), ("prompts", PROMPTS)):
    make(name, rows)
for name, command, out in COMMANDS:
    check(name, command, out)
    refuse(command)
evaluate()
