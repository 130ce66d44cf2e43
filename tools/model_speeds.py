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
HEAD = ("family", "prefill_128_per_s", "decode_per_s", "picture_s", "picture_int8_s")
FIGURES = (("prefill 128",), ("decode 128",), ("picture",), ("picture", "--mmproj", "f16", "--vision-act", "int8"))
RUNS = os.environ.get("SPEED_RUNS", "3")


def has_f16(build, family):
    """Whether the family's encoder is published in F16 alone."""
    return os.path.exists("%s/models/%s/mmproj-f16.gguf" % (build, family))


def figure(build, family, only, *more):
    """The first figure that the benchmark prints for the family's first pair of files."""
    command = [build + "/bench", build + "/models", "--family", family, "--threads", "1", "--runs", RUNS, "--json", "--only", only]
    command += more
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
        rows[family] = [family] + ["%.4g" % figure(sys.argv[1], family, *f) for f in FIGURES[:3]]
        if has_f16(sys.argv[1], family):
            rows[family].append("%.4g" % figure(sys.argv[1], family, *FIGURES[3]))
        print(",".join(rows[family]), flush=True)
        with open(PATH, "w", newline="", encoding="utf-8") as f:
            csv.writer(f, lineterminator="\n").writerows([HEAD] + list(rows.values()))


main()
