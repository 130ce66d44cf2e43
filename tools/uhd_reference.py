#!/usr/bin/env python3
"""Writes tests/data/uhd_sizes.txt and tests/data/uhd_bytes.txt: what MiniCPM-V's image
processor makes of pictures, in the form of tile_sizes.txt and tile_bytes.txt
(tools/tile_reference.py). A rewrite from the processor's rules, with Python's own doubles,
rounding and logarithms; bytes come from Pillow.

Usage: uhd_reference.py OUT, where OUT is tests/data and holds tile_sizes.txt, src-*.rgb.
"""
import math
import os
import re
import sys

from PIL import Image

MOST = 9


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def whole_steps(length, step):
    return max(round(length / step) * step, step)


def grid_of(width, height, tile):
    about = min(math.ceil(width * height / (tile * tile)), MOST)
    if about <= 1:
        return None
    shapes = [(m, n // m) for n in (about - 1, about, about + 1) if n != 1 and n <= MOST
              for m in range(1, n + 1) if n % m == 0]
    shape = math.log(width / height)
    return min(shapes, key=lambda g: abs(shape - math.log(g[0] / g[1])))


def size_of(width, height, tile, step):
    ratio = width / height
    tall = int(tile / math.sqrt(ratio))
    return whole_steps(int(tall * ratio), step), whole_steps(tall, step)


def pieces(width, height, tile, step):
    """The whole picture's size, the grid or None, a slice's size."""
    whole, grid = size_of(width, height, tile, step), grid_of(width, height, tile)
    if grid is None:
        return whole, None, whole
    part = [whole_steps(side, n) / n for side, n in zip((width, height), grid)]
    return whole, grid, size_of(*part, tile, step)


def size_line(width, height, tile, step, tokens):
    whole, grid, slice_ = pieces(width, height, tile, step)
    count = (lambda s: tokens) if tokens else (lambda s: s[0] * s[1] // (step * step))
    columns, rows = grid or (1, 1)
    total = columns * rows * count(slice_) + (count(whole) if grid else 0)
    thumb = whole if grid else (0, 0)
    return " ".join(map(str, [width, height, columns, rows, *slice_, *thumb, total, 0, 0]))


def sizes(out):
    """Those of the other rules, then what is square, on the edge of a tile, or tied."""
    found = []
    with open(os.path.join(out, "tile_sizes.txt")) as f:
        for line in f.read().split("= ")[1].splitlines()[1:]:
            found.append(tuple(map(int, line.split()[:2])))
    found += [(448, 448), (449, 448), (447, 449), (896, 224), (224, 896), (14, 448), (448, 14)]
    for across, down in ((1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (4, 1), (1, 4), (9, 1), (1, 6)):
        found += [(across * k, down * k) for k in range(100, 3200, 155)]
    found += [(1 + 7919 * i % 3000, 1 + 104729 * i % 2300) for i in range(200)]
    return [s for s in found if max(s) <= 16 * min(s)]


def tiles_of(image, tile, step):
    whole, grid, slice_ = pieces(*image.size, tile, step)
    result = [image.resize(whole, Image.BICUBIC)]
    if grid:
        canvas = image.resize((slice_[0] * grid[0], slice_[1] * grid[1]), Image.BICUBIC)
        for y in range(grid[1]):
            for x in range(grid[0]):
                box = (x * slice_[0], y * slice_[1], (x + 1) * slice_[0], (y + 1) * slice_[1])
                result.append(canvas.crop(box))
    return b"".join(t.tobytes() for t in result)


def main():
    out = sys.argv[1]
    with open(os.path.join(out, "uhd_sizes.txt"), "w") as f:
        for name, step, tokens in (("minicpmv", 14, 64), ("minicpmv4.6", 56, 0)):
            print("=", name, file=f)
            for width, height in sizes(out):
                print(size_line(width, height, 448, step, tokens), file=f)
    with open(os.path.join(out, "uhd_bytes.txt"), "w") as f:
        for name in sorted(os.listdir(out)):
            found = re.fullmatch(r"(src-(\d+)x(\d+))\.rgb", name)
            if not found:
                continue
            size = int(found[2]), int(found[3])
            with open(os.path.join(out, name), "rb") as pixels:
                image = Image.frombytes("RGB", size, pixels.read())
            for family, tile, step in (("minicpmv", 28, 7), ("minicpmv4.6", 32, 8)):
                data = tiles_of(image, tile, step)
                print(family, found[1], *size, len(data), f"{fnv1a(data):016x}", file=f)


if __name__ == "__main__":
    main()
