#!/usr/bin/env python3
"""Rows whose label is half a teacher's: judge_distil.py ROWS VERDICTS... OUT.

ROWS are pairs with a chosen answer, VERDICTS what `gram score` wrote of them, one file a judge. OUT gets the rows with
`soft`, the mean of 1, which the label says, and the probability that the judges together give the chosen answer: the
logistic function of the mean of their log-odds, each after its own temperature."""
import json
import math
import sys


def read(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


def log_odds(verdict):
    p = min(max(verdict["preference"], 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    rows, teachers = read(sys.argv[1]), [read(path) for path in sys.argv[2:-1]]
    for path, verdicts in zip(sys.argv[2:], teachers):
        if [v["id"] for v in verdicts] != [r["id"] for r in rows]:
            sys.exit(f"judge_distil.py: {path}: wanted the verdicts on the rows of {sys.argv[1]}, in their order")
    right = 0
    with open(sys.argv[-1], "w") as f:
        for row, verdicts in zip(rows, zip(*teachers)):
            z = sum(map(log_odds, verdicts)) / len(verdicts)
            right += z > 0
            f.write(json.dumps({**row, "soft": 0.5 + 0.5 / (1 + math.exp(-z))}) + "\n")
    print(f"{right} of {len(rows)} are right of the judges together")


if __name__ == "__main__":
    main()
