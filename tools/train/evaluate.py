"""Asks a model about pictures that training never saw and prints each kind's share of exact answers with its 95 % interval.

    python3 evaluate.py                      # scenes, through build/bluelm: what `make eval` runs
    python3 evaluate.py --set plain          # the first demo model's pictures: shapes in nine places, a 5x7 font
    python3 evaluate.py --torch              # through the network with the exported weights, in f32

Pictures are drawn from seeds of their own and written as PNG with questions.tsv (file, group, kind, tiles, question,
answer) to --dir; a picture gets one question of each kind that fits it. Of the scenes a quarter has fonts, sizes and
ratios that training never has: their figures stand apart. One picture in eight of the plain ones and four in ten of the
scenes need several tiles. Any model may be asked: an answer counts where, without its last full stop and in whatever
case, it is the right one.
"""
import argparse
import csv
import json
import math
import os
import subprocess
import sys

import numpy as np
from PIL import Image

from batches import FEWER_TILES, KIND_SHARES, KINDS, PLAIN_GRIDS, SEVERAL, choose_size, draw_plain_for
from questions import CATEGORIES, SHAPE_CATEGORIES, ask
from scenes import ITEMS, LABELS, draw_scene
from world import WORDS

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
KNOWN = frozenset((*WORDS, *ITEMS, *LABELS))
SEEDS = {"plain": 20261121, "scenes": 20261122}
PLAIN_SEVERAL, PLAIN_WORDS = 0.125, 0.2
SCENE_SEVERAL, OTHER_SHARE = 0.4, 0.25
GROUPS = {"plain": ("one tile", "several tiles"),
          "scenes": ("one tile", "several tiles", "other fonts, sizes, ratios")}


def draw_plain(rng):
    """A picture of the first kind, and its group."""
    several = rng.random() < PLAIN_SEVERAL
    grid = PLAIN_GRIDS[int(rng.integers(len(PLAIN_GRIDS)))] if several else (1, 1)
    return draw_plain_for(rng, grid, PLAIN_WORDS), "several tiles" if grid != (1, 1) else "one tile", grid


def draw_other(rng):
    """A scene, and its group."""
    while True:
        grid, other = (1, 1), rng.random() < OTHER_SHARE
        if rng.random() < SCENE_SEVERAL:
            grid = SEVERAL[int(rng.choice(len(SEVERAL), p=FEWER_TILES / FEWER_TILES.sum()))]
        kind = KINDS[int(rng.choice(len(KINDS), p=KIND_SHARES))]
        size = choose_size(rng, grid, "relaxed", *((0.6, 1.8) if other else (0.7, 1.45)))
        picture = draw_scene(rng, kind, *size, other)
        if picture:
            group = GROUPS["scenes"][2 if other else grid != (1, 1)]
            return picture, group, grid


def draw_set(name, folder, count):
    """Draws the pictures and writes them with their questions; returns rows (file, group, kind, tiles, question, answer)."""
    os.makedirs(folder, exist_ok=True)
    rng, rows = np.random.default_rng(SEEDS[name]), []
    for number in range(count):
        picture, group, grid = (draw_plain if name == "plain" else draw_other)(rng)
        file = os.path.join(folder, "%04d.png" % number)
        Image.fromarray(picture.pixels).save(file)
        for category, kind in enumerate(SHAPE_CATEGORIES if name == "plain" else CATEGORIES):
            found = ask(rng, picture, category)
            if found:
                rows.append((file, group, kind, grid[0] * grid[1], *found))
    with open(os.path.join(folder, "questions.tsv"), "w", encoding="utf-8") as f:
        f.writelines("\t".join(map(str, r)) + "\n" for r in rows)
    return rows


def through_program(options, rows):
    """The answers of the C program, which is asked one question after another, each in a new conversation."""
    command = [options.binary, "chat", "-m", options.model, "--mmproj", options.mmproj, "--temp", "0", "--json", "--quiet",
               "-n", "64", "--max-image-width", "2048", "--threads", str(options.threads), *options.more]
    asked = "".join("/reset\n/image %s\n%s\n" % (os.path.abspath(r[0]), r[4]) for r in rows)
    done = subprocess.run(command, input=asked.encode("utf-8"), capture_output=True, check=False)
    answers = [json.loads(line) for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
    if len(answers) != len(rows) or any("answer" not in a for a in answers):
        sys.exit("%s\n%d answers to %d questions\n%s" % (" ".join(command), len(answers), len(rows),
                                                         done.stderr.decode("utf-8", "replace")[-2000:]))
    return [a["answer"] for a in answers]


def through_network(options, rows):
    """The answers of the network in f32."""
    from answer import answer
    from export import load
    model, tokenizer = load(os.path.dirname(options.model))
    return [answer(model, tokenizer, np.asarray(Image.open(r[0]).convert("RGB")), r[4]) for r in rows]


def same(given, right):
    """Whether an answer is the right one: small and capital letters, spaces around it and a full stop do not count."""
    return given.strip().rstrip(".").casefold() == right.rstrip(".").casefold()


def interval(right, asked):
    """Wilson's 95 % interval of a share, in per cent."""
    if not asked:
        return 0.0, 100.0
    z, p = 1.959964, right / asked
    middle = (p + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z / (1 + z * z / asked) * math.sqrt(p * (1 - p) / asked + z * z / (4 * asked * asked))
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def is_word(row, known=None):
    """Whether a question is about one word of up to eight capital letters that is to be read: a known one of the list that
    pictures draw from, or one of letters at random, which nothing but reading tells; or either."""
    one = row[2] in ("word", "line") and row[5].isalpha() and row[5].isupper() and len(row[5]) <= 8
    return one and known in (None, row[5] in KNOWN)


def tally(name, rows, right):
    """(group, kind, right, asked) for each group and kind, and for all."""
    kinds = [(k, lambda r, k=k: r[2] == k) for k in (SHAPE_CATEGORIES if name == "plain" else CATEGORIES)]
    if name != "plain":
        kinds += [("one word", is_word), ("  known", lambda r: is_word(r, True)), ("  random", lambda r: is_word(r, False))]
    for group in GROUPS[name]:
        for kind, fits in kinds:
            mine = [ok for row, ok in zip(rows, right) if row[1] == group and fits(row)]
            yield group, kind, sum(mine), len(mine)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=tuple(SEEDS), default="scenes")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--dir", default=os.path.join(ROOT, "build/train/eval"), help="a folder for the pictures")
    parser.add_argument("--model", "-m", default=os.path.join(ROOT, "demo/bluelm-demo.gguf"))
    parser.add_argument("--mmproj", default=os.path.join(ROOT, "demo/bluelm-demo-mmproj.gguf"))
    parser.add_argument("--binary", default=os.path.join(ROOT, "build/bluelm"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--csv", help="a file that the table is added to")
    parser.add_argument("--wrong", action="store_true", help="print the wrong answers too")
    parser.add_argument("more", nargs="*", help="options of bluelm, after --: such as -- --tiling internvl")
    options = parser.parse_args()
    rows = draw_set(options.set, os.path.join(options.dir, options.set), options.pictures)
    given = (through_network if options.torch else through_program)(options, rows)
    right = [same(g, r[5]) for g, r in zip(given, rows)]
    if options.wrong:
        for row, answer, ok in zip(rows, given, right):
            if not ok:
                print(*row[:4], row[4], "|", answer, "| right:", row[5])
    group_before = None
    for group, kind, hits, asked in tally(options.set, rows, right):
        if group != group_before:
            print("%s\n%-10s %8s %6s   %s" % (group, "", "right", "asked", "95 % interval"))
        group_before = group
        if asked:
            print("%-10s %6.1f %% %6d   %5.1f to %5.1f %%" % (kind, 100 * hits / asked, asked, *interval(hits, asked)))
        if options.csv:
            with open(options.csv, "a", newline="", encoding="utf-8") as f:
                csv.writer(f).writerow([options.set, group, kind, hits, asked, *("%.2f" % v for v in interval(hits, asked))])


if __name__ == "__main__":
    main()
