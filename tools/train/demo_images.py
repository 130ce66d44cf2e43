"""Draws the demo's three pictures and writes their questions with the right answers.

    python3 demo_images.py --demo ../../demo
"""
import argparse
import os

import numpy as np
from PIL import Image

from pictures import draw_picture
from world import TILE

# File, seed, columns, rows, share of words, and the questions with their answers. Training uses other seeds.
PICTURES = (
    ("shapes.png", 103, 1, 1, 0.0, (("How many red shapes are there?", "3"), ("What colour is the square?", "green"))),
    ("tall.png", 202, 2, 3, 0.0, (("What colour is the diamond?", "blue"), ("Where is the pink square?", "bottom"))),
    ("word.png", 301, 1, 1, 1.0, (("What word is written?", "FISH"), ("What shape is at the bottom right?", "diamond"))),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", default="../../demo")
    options = parser.parse_args()
    os.makedirs(os.path.join(options.demo, "images"), exist_ok=True)
    lines = []
    for file, seed, columns, rows, words, questions in PICTURES:
        picture = draw_picture(np.random.default_rng(seed), columns * TILE, rows * TILE, words)
        Image.fromarray(picture.pixels).save(os.path.join(options.demo, "images", file))
        lines += ["images/%s\t%s\t%s\n" % (file, *q) for q in questions]
    with open(os.path.join(options.demo, "questions.txt"), "w", encoding="utf-8") as f:
        f.writelines(lines)


if __name__ == "__main__":
    main()
