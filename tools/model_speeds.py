#!/usr/bin/env python3
"""Measures families with the benchmark, one thread, and writes docs/models.csv, which `make models` shows.

    tools/model_speeds.py BUILD FAMILY [FAMILY ...]     # BUILD/bench --help lists families; files of GBs in BUILD/models

Other families' lines stay as they are. A quiet machine is asked for.
"""
import csv
import json
import os
import subprocess
import sys

PATH = "docs/models.csv"
HEAD = ("family", "prefill_128_per_s", "decode_per_s", "picture_s")
RUNS = os.environ.get("SPEED_RUNS", "3")


def figure(build, family, only):
    """The first figure that the benchmark prints for the family's first pair of files."""
    command = [build + "/bench", build + "/models", "--family", family, "--threads", "1", "--runs", RUNS, "--json", "--only", only]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)["pairs"][0]["figures"][0]["values"][0]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    rows = {}
    if os.path.exists(PATH):
        with open(PATH, newline="", encoding="utf-8") as f:
            rows = {row[0]: row for row in list(csv.reader(f))[1:]}
    for family in sys.argv[2:]:
        rows[family] = [family] + ["%.4g" % figure(sys.argv[1], family, only) for only in ("prefill 128", "decode 128", "picture")]
        print(",".join(rows[family]), flush=True)
        with open(PATH, "w", newline="", encoding="utf-8") as f:
            csv.writer(f, lineterminator="\n").writerows([HEAD] + list(rows.values()))


main()
