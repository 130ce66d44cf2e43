"""Writes a few pictures with what the network makes of them, for checking the C library.

    python3 sample.py --demo ../../demo --out ../../build/train/sample

Per sample N: N.png; N.prompt.i32 (token ids, -1 for each image token); N.tiles.u8 [n, 96, 96, 3] (the thumbnail first);
N.image.f32 [n, 36, 192] projected tokens; N.logits.f32 [vocabulary] after the prompt; and in samples.tsv the grid, the
question and the greedy answer. Weights are those of the exported files, dequantised; arithmetic is f32.
"""
import argparse
import os

import numpy as np
import torch
from PIL import Image

from answer import image_tokens, reply
from batches import draw_plain_for
from export import load
from questions import SHAPE_CATEGORIES, ask

SEED = 7
SAMPLE_GRIDS = ((1, 1), (1, 1), (1, 1), (2, 1), (2, 2), (2, 3))


def write_sample(model, tokenizer, rng, number, grid, out):
    """Writes one sample; returns its line of samples.tsv."""
    picture = draw_plain_for(rng, grid, 0.3)
    found = None
    while found is None:
        found = ask(rng, picture, int(rng.integers(len(SHAPE_CATEGORIES))))
    question, right = found
    grid, tiles, image = image_tokens(model, picture.pixels)
    prompt, ids = reply(model, tokenizer, grid, image, question)
    with torch.no_grad():
        row = torch.tensor([prompt])
        states = model.read(row, image.flatten(0, 1), torch.zeros_like(row), torch.zeros(1, dtype=torch.bool),
                            torch.arange(len(prompt))[None])
        logits = model.decoder.output(states[0, -1])
    stem = os.path.join(out, str(number))
    Image.fromarray(picture.pixels).save(stem + ".png")
    np.array(prompt, "<i4").tofile(stem + ".prompt.i32")
    tiles.tofile(stem + ".tiles.u8")
    image.numpy().astype("<f4").tofile(stem + ".image.f32")
    logits.numpy().astype("<f4").tofile(stem + ".logits.f32")
    return "%d\t%dx%d\t%s\t%s\t%s\n" % (number, *grid, question, tokenizer.decode(ids), right)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", default="../../demo")
    parser.add_argument("--out", default="../../build/train/sample")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    (model, tokenizer), rng = load(options.demo), np.random.default_rng(SEED)
    with open(os.path.join(options.out, "samples.tsv"), "w", encoding="utf-8") as f:
        f.write("number\tcolumns x rows\tquestion\tgreedy answer\tright answer\n")
        f.writelines(write_sample(model, tokenizer, rng, i, g, options.out) for i, g in enumerate(SAMPLE_GRIDS))


if __name__ == "__main__":
    main()
