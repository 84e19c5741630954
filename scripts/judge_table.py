#!/usr/bin/env python3
"""The table of a judge's card: judge_table.py NUMBERS.json, which `gram eval --json` wrote.

Of several, judge_table.py A.json B.json ..., which are one recipe's seeds on the same rows: the accuracy of each, the
mean, and its 95 % interval over seeds (Student's t)."""
import json
import statistics
import sys

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}         # by how many there are, two-sided


def percent(x):
    return f"{100 * x:.1f}"


def line(name, sum_, accuracy, longer, flips):
    cells = [name, f"{percent(accuracy['value'])} [{percent(accuracy['low'])}, {percent(accuracy['high'])}]",
             percent(longer)]
    return "| " + " | ".join(cells + ([percent(sum_["flip_rate"]["value"])] if flips else [])) + " |"


def seeds_line(name, values, interval):
    mean, off = statistics.mean(values), STUDENT[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    last = percent(mean) + (f" [{percent(mean - off)}, {percent(mean + off)}]" if interval else "")
    return "| " + " | ".join([name] + [percent(v) for v in values] + [last]) + " |"


def seeds(runs):
    sets = [[f["name"] for f in r["files"]] for r in runs]
    if len(runs) not in STUDENT or any(names != sets[0] for names in sets):
        sys.exit("judge_table.py: wanted 2 to 5 runs over the same sets")
    print("| set | " + " | ".join(f"seed {i + 1}" for i in range(len(runs))) + " | mean |")
    print("| --- |" + " ---: |" * (len(runs) + 1))
    for k, name in enumerate(sets[0]):
        print(seeds_line(name, [r["files"][k]["accuracy"]["value"] for r in runs], False))
    print(seeds_line("mean of the sets", [r["summary"]["macro_accuracy"]["value"] for r in runs], True))
    flips = [r["summary"]["flip_rate"]["value"] for r in runs]
    if None not in flips:
        print(seeds_line("flips", flips, True))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    runs = [json.load(open(path)) for path in sys.argv[1:]]
    if len(runs) > 1:
        return seeds(runs)
    numbers = runs[0]
    whole, files = numbers["summary"], numbers["files"]
    flips = whole["flip_rate"]["value"] is not None         # a reward model has none
    print("| set | accuracy | the longer one |" + (" flips |" if flips else ""))
    print("| --- | ---: | ---: |" + (" ---: |" if flips else ""))
    for f in files:
        print(line(f["name"], f, f["accuracy"], f["longer_baseline"]["value"], flips))
    longer = sum(f["longer_baseline"]["value"] for f in files) / len(files)
    print(line("mean of the sets", whole, whole["macro_accuracy"], longer, flips))
    print(f"\n{whole['rows']} rows, in {numbers['facts']['dtype']}; calibration error {percent(whole['ece'])}")


main()
