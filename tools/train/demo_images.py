"""Draws the demo's pictures and writes their questions with the right answers.

    python3 demo_images.py --demo ../../demo             # three plain pictures, five scenes
"""
import argparse
import os

import numpy as np
from PIL import Image

from pictures import draw_picture
from scenes import draw_scene
from world import TILE

# File, seed, columns, rows, share of words, and the questions with their answers. Training uses other seeds.
PICTURES = (
    ("shapes.png", 314, 1, 1, 0.0, (("How many red shapes are there?", "3"), ("What colour is the square?", "brown"))),
    ("tall.png", 202, 2, 3, 0.0, (("What colour is the diamond?", "blue"), ("Where is the pink square?", "bottom"))),
    ("word.png", 301, 1, 1, 1.0, (("What word is written?", "FISH"), ("What shape is at the bottom right?", "diamond"))),
)
# Kind, seed, width and height (no multiples of a tile), and which of its questions are asked; training has other seeds.
SCENES = (
    ("sign", 401, 90, 103, ("Read the sign.", "What shape is on the sign?")),
    ("card", 414, 262, 171, ("Read the second line.", "What colour is the star?")),
    ("receipt", 498, 178, 281, ("What is the first item?", "What is the total?")),
    ("screen", 400, 187, 394, ("Describe the picture.", "What does it say below the diamond?")),
    ("chart", 401, 283, 188, ("Which bar is the tallest?", "Count the bars.")),
)


def draw_plain(folder):
    """Writes the plain pictures; returns their lines of questions.txt."""
    lines = []
    for file, seed, columns, rows, words, questions in PICTURES:
        picture = draw_picture(np.random.default_rng(seed), columns * TILE, rows * TILE, words)
        Image.fromarray(picture.pixels).save(os.path.join(folder, file))
        lines += ["images/%s\t%s\t%s\n" % (file, *q) for q in questions]
    return lines


def draw_scenes(folder):
    """Writes the scenes; returns their lines of questions.txt."""
    lines = []
    for kind, seed, width, height, questions in SCENES:
        picture = draw_scene(np.random.default_rng(seed), kind, width, height, 1.0)
        Image.fromarray(picture.pixels).save(os.path.join(folder, kind + ".png"))
        answers = {question: answer for _, question, answer in picture.asked}
        lines += ["images/%s.png\t%s\t%s\n" % (kind, question, answers[question]) for question in questions]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", default="../../demo")
    options = parser.parse_args()
    folder = os.path.join(options.demo, "images")
    os.makedirs(folder, exist_ok=True)
    lines = draw_plain(folder) + draw_scenes(folder)
    with open(os.path.join(options.demo, "questions.txt"), "w", encoding="utf-8") as f:
        f.writelines(lines)


if __name__ == "__main__":
    main()
