"""Asks the demo model about pictures that training never saw and prints the share of exact answers per category.

    python3 evaluate.py                      # through build/bluelm, one process a question
    python3 evaluate.py --torch              # through the network with the exported weights, in f32

Pictures are drawn from a seed of their own and written as PNG with questions.tsv (file, category, question, answer) to
--dir; a picture gets one question of each category that fits it. One picture in eight needs several tiles.
"""
import argparse
import os
import subprocess
import sys

import numpy as np
from PIL import Image

from batches import GRIDS, draw_for
from questions import CATEGORIES, ask

SEED = 20261121
MULTI_SHARE, WORD_SHARE = 0.125, 0.2


def draw_set(folder, count):
    """Draws the pictures and writes them with their questions; returns rows (file, category, question, answer, tiles)."""
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(SEED)
    rows = []
    for number in range(count):
        grid = GRIDS[int(rng.integers(len(GRIDS)))] if rng.random() < MULTI_SHARE else (1, 1)
        picture = draw_for(rng, grid, WORD_SHARE)
        file = os.path.join(folder, "%04d.png" % number)
        Image.fromarray(picture.pixels).save(file)
        for category, name in enumerate(CATEGORIES):
            found = ask(rng, picture, category)
            if found:
                rows.append((file, name, *found, grid[0] * grid[1]))
    with open(os.path.join(folder, "questions.tsv"), "w", encoding="utf-8") as f:
        f.writelines("\t".join(map(str, r)) + "\n" for r in rows)
    return rows


def through_program(binary, demo):
    """A function (file, question) -> answer that runs the C program."""
    def run(file, question):
        command = [binary, "run", "-m", os.path.join(demo, "bluelm-demo.gguf"), "--mmproj",
                   os.path.join(demo, "bluelm-demo-mmproj.gguf"), "--image", file, "-p", question, "--temp", "0"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            sys.exit("%s\n%s" % (" ".join(command), done.stderr.decode("utf-8", "replace")))
        return done.stdout.decode("utf-8", "replace").strip()
    return run


def through_network(demo):
    """A function (file, question) -> answer that runs the network."""
    from answer import answer
    from export import load
    model = load(demo)
    return lambda file, question: answer(model, np.asarray(Image.open(file).convert("RGB")), question)


def table(results):
    """Exact answers per category, over all pictures, those of one tile, and those of several."""
    lines = ["%-10s %15s %15s %15s" % ("", "all", "one tile", "several tiles")]
    for name in CATEGORIES:
        mine = [(tiles, right) for category, tiles, right in results if category == name]
        cells = []
        for keep in (mine, [m for m in mine if m[0] == 1], [m for m in mine if m[0] > 1]):
            right = sum(m[1] for m in keep)
            cells.append("%5.1f %% of %4d" % (100 * right / max(1, len(keep)), len(keep)))
        lines.append("%-10s %s" % (name, " ".join("%15s" % c for c in cells)))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--dir", default="../../build/train/eval")
    parser.add_argument("--demo", default="../../demo")
    parser.add_argument("--binary", default="../../build/bluelm")
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--wrong", action="store_true", help="print the wrong answers too")
    options = parser.parse_args()
    rows = draw_set(options.dir, options.pictures)
    run = through_network(options.demo) if options.torch else through_program(options.binary, options.demo)
    results = []
    for file, category, question, right, tiles in rows:
        given = run(file, question)
        results.append((category, tiles, given == right))
        if options.wrong and given != right:
            print(file, question, "|", given, "| right:", right)
    print(table(results))


if __name__ == "__main__":
    main()
