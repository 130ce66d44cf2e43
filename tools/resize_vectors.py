#!/usr/bin/env python3
"""Writes tests/data/resize_vectors.h: what Pillow makes of generated pictures.

Pictures come from a generator that tests/test_resize.c has too, so only their size,
kind and seed are kept, and a 64-bit FNV-1a hash of Pillow's result; the smallest
results are kept whole. Usage: resize_vectors.py [random cases, 60] > resize_vectors.h
Made with Pillow 9.4.0; Image.resize has not changed its 8-bit results since 4.3.
"""
import random
import sys

from PIL import Image

FILTERS = (Image.BICUBIC, Image.BILINEAR)

# source width, height, resized width, height
SHAPES = [
    (1, 1, 1, 1), (1, 1, 7, 5), (7, 5, 1, 1), (2, 1, 3, 1), (1, 2, 1, 3), (3, 2, 5, 4),
    (5, 4, 3, 2), (16, 16, 16, 16), (16, 16, 16, 9), (16, 16, 9, 16), (17, 13, 60, 60),
    (60, 60, 17, 13), (64, 48, 60, 45), (60, 45, 61, 46), (61, 46, 60, 45), (100, 1, 60, 1),
    (1, 100, 1, 60), (100, 1, 60, 60), (1, 100, 60, 60), (240, 160, 60, 40),
    (240, 160, 120, 80), (241, 163, 60, 60), (30, 20, 240, 160), (384, 96, 48, 48),
    (96, 384, 48, 48), (1000, 9, 60, 60), (9, 1000, 60, 60), (65535, 2, 24, 3),
    (2, 65535, 3, 24), (65535, 1, 1, 1), (1, 65535, 1, 1), (3, 3, 300, 1), (3, 3, 1, 300),
    (394, 390, 384, 381), (380, 76, 384, 384), (333, 211, 384, 244), (500, 102, 384, 79),
]


def picture(width, height, kind, seed):
    """Bytes of a linear congruential generator; kind 1 keeps only black and white."""
    out = bytearray(width * height * 3)
    state = seed
    for i in range(len(out)):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        value = state >> 24
        out[i] = (255 if value >= 128 else 0) if kind else value
    return Image.frombytes("RGB", (width, height), bytes(out))


def fnv1a(data):
    state = 0xCBF29CE484222325
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    rng = random.Random(7)
    shapes = SHAPES + [tuple(rng.randint(1, 160) for _ in range(4)) for _ in range(count)]
    whole = []
    print("/* Made by tools/resize_vectors.py with Pillow; do not edit. */")
    print("static const test_vector test_vectors[] = {")
    for n, shape in enumerate(shapes):
        for which, kernel in enumerate(FILTERS):
            kind, seed = n % 2, 1000 + 2 * n + which
            width, height, to_width, to_height = shape
            data = picture(width, height, kind, seed).resize((to_width, to_height), kernel)
            data = data.tobytes()
            at = -1
            if len(data) <= 150 and n < len(SHAPES):
                at = len(whole)
                whole.extend(data)
            print("    {%d, %d, %d, %d, %d, %d, %d, %d, 0x%016XULL}," %
                  (*shape, which, kind, seed, at, fnv1a(data)))
    print("};")
    print("static const unsigned char test_whole[] = {")
    for i in range(0, len(whole), 20):
        print("    " + ", ".join(map(str, whole[i:i + 20])) + ",")
    print("};")


if __name__ == "__main__":
    main()
