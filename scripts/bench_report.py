#!/usr/bin/env python3
"""bench_report.py - the tables of docs/gpu.md, of what scripts/device_check.sh wrote.

    bench_report.py CHECK.json [DOC]

Prints them, or puts them into DOC between its two marks. What an emulated GPU gave is printed, and put nowhere: its
times say nothing.
"""
import json
import pathlib
import re
import sys

# Dense products of bfloat16 with sums in float32, 1e12 a second, as NVIDIA's data sheets have them.
PEAK = (("H200", 989), ("H100 PCIe", 756), ("H100", 989), ("GH200", 989), ("B200", 2250), ("B100", 1750),
        ("A100", 312), ("A10G", 70), ("A10", 125), ("L40S", 362), ("L40", 181), ("L4", 121), ("RTX 5090", 209),
        ("RTX 4090", 165), ("RTX 3090", 71))
# Bytes of its memory, 1e9 a second, as they have it too.
MEMORY = (("H200", 4800), ("H100 PCIe", 2000), ("H100", 3350), ("GH200", 4000), ("B200", 8000), ("B100", 8000),
          ("A100", 2039), ("A10G", 600), ("A10", 600), ("L40S", 864), ("L40", 864), ("L4", 300), ("RTX 5090", 1792),
          ("RTX 4090", 1008), ("RTX 3090", 936))
MARKS = "<!-- device check -->", "<!-- end of device check -->"


def peak_of(gpu, table=PEAK):
    return next((p for name, p in table if re.search(rf"\b{name}\b", gpu)), None)


def share(row, peak):
    """Of the peak, what the products of these tokens take."""
    done = row["tokens_per_s"] * row["flops_a_token"] / row.get("processes", 1)
    return f"{100 * done / (peak * 1e12):.0f} %" if peak else "peak not known"


def cells(row, number, peak):
    if not row:
        return ["-", "-"]
    if "error" in row:
        return [row["error"].replace("|", "/"), "-"]
    return [f"{row[number]:,.4g}" if row[number] < 1e4 else f"{row[number]:,.0f}", share(row, peak)]


def shapes(check):
    peak = peak_of(check["gpu"])
    yield ("| Qwen3's shape | pairs/s | of the peak | by wgmma, pairs/s | of the peak | training, tokens/s | "
           "of the peak | on several, tokens/s | of theirs |")
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, s in check["shapes"].items():
        row = [name]
        for what, number in (("score", "pairs_per_s"), ("wgmma", "pairs_per_s"), ("train", "tokens_per_s"),
                             ("share", "tokens_per_s")):
            row += cells(s[what], number, peak)
        yield "| " + " | ".join(row) + " |"


def of_limit(number, limit):
    return f"{100 * number / limit:.0f} %" if limit else "limit not known"


def tflops(side, peak):
    """At each number of rows, and what part of the peak the last is."""
    found = [v for k, v in side.items() if k.startswith("tflops")]
    return " ".join(f"{v:g}" for v in found) + (f" ({of_limit(found[-1], peak)})" if peak and found else "")


def products(bench, peak):
    yield "| product | type | other bits in | forward, TFLOP/s at 2,048 and 16,384 rows (of the peak) | dx |"
    yield "|---|---|---|---|---|"
    for p in bench["products"]:
        other, of = (p["forward"][n] + p["dx"][n] for n in ("other_bits", "of"))
        limit = peak if p["dtype"] == "bf16" else None
        yield (f"| {p['of']} [{p['N']}, {p['K']}] | {p['dtype']} | {other} of {of} | {tflops(p['forward'], limit)} | "
               f"{tflops(p['dx'], limit)} |")


def kernels(check):
    """Each beside its limit: the peak of products, or the memory's."""
    wgmma = {k["of"]: k for k in (check["wgmma"]["kernels"] or {"kernels": []})["kernels"]}
    yield "| kernel | | of the limit | where wgmma is asked for | of the limit |"
    yield "|---|---|---|---|---|"
    for k in check["kernels"]["kernels"]:
        row = [k["of"]]
        for one in (k, wgmma.get(k["of"])):
            unit, table, name = (("tflops", PEAK, "TFLOP/s") if "tflops" in k else ("gb_s", MEMORY, "GB/s"))
            row += [f"{one[unit]:g} {name}", of_limit(one[unit], peak_of(check["gpu"], table))] if one else ["-", "-"]
        yield "| " + " | ".join(row) + " |"


def hopper(wgmma):
    """Whether GRAM_CUDA_WGMMA=1 may be set there, of what the check has seen."""
    bits = sum(p["forward"]["other_bits"] for p in (wgmma["bench"] or {"products": []})["products"])
    if wgmma["right"] is None:
        return "It is no Hopper: GRAM_CUDA_WGMMA changes nothing there."
    if wgmma["right"] and not bits:
        return ("Products and attention by wgmma were right there, and a row's bits the same in any number of rows: "
                "`GRAM_CUDA_WGMMA=1` may be set where it is faster.")
    return (f"By wgmma not all was right there ({bits} shapes with other bits; the steps above): `GRAM_CUDA_WGMMA` is "
            "to stay unset.")


def report(check):
    failed = [name for name, s in check["steps"].items() if s["status"]]
    seconds = sum(s["milliseconds"] for s in check["steps"].values()) / 1000
    yield f"{check['gpu']}; commit {check['commit']}; {seconds:.0f} s."
    yield ""
    yield f"Failed: {', '.join(failed)}." if failed else f"All {len(check['steps'])} steps passed."
    yield ""
    yield hopper(check["wgmma"])
    peak = peak_of(check["gpu"])
    for there, table in ((check["shapes"], lambda: shapes(check)), (check["kernels"], lambda: kernels(check)),
                         (check["bench"], lambda: products(check["bench"], peak)),
                         (check["wgmma"]["bench"], lambda: products(check["wgmma"]["bench"], peak))):
        if there:
            yield ""
            yield from (["By wgmma:", ""] if there is check["wgmma"]["bench"] else [])
            yield from table()


def main(source, doc=None):
    check = json.loads(pathlib.Path(source).read_text())
    text = "\n".join(report(check)) + "\n"
    if not doc:
        sys.stdout.write(text)
        return
    if "emulated" in check["gpu"]:
        sys.exit(f"{source}: it is of an emulated GPU, whose times say nothing: {doc} stays as it is")
    whole = pathlib.Path(doc).read_text()
    before, mark, rest = whole.partition(MARKS[0])
    if not mark or MARKS[1] not in rest:
        sys.exit(f"{doc}: wanted the marks {MARKS[0]} and {MARKS[1]}")
    pathlib.Path(doc).write_text(f"{before}{mark}\n{text}{MARKS[1]}{rest.partition(MARKS[1])[2]}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
