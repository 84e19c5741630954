#!/usr/bin/env python3
"""The table of a judge's card: judge_table.py NUMBERS.json, which `gram eval --json` wrote."""
import json
import sys


def percent(x):
    return f"{100 * x:.1f}"


def line(name, sum_, accuracy, longer, flips):
    cells = [name, f"{percent(accuracy['value'])} [{percent(accuracy['low'])}, {percent(accuracy['high'])}]",
             percent(longer)]
    return "| " + " | ".join(cells + ([percent(sum_["flip_rate"]["value"])] if flips else [])) + " |"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1]) as f:
        numbers = json.load(f)
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
