#!/usr/bin/env python3
"""Writes tests/data/tile_sizes.txt and tests/data/tile_bytes.txt: what the models' own
processors make of pictures, as far as tests/test_tiles_reference.c needs it.

Usage: tile_reference.py FOLDER OUT, where FOLDER holds sizes.json and tiles/tiles.json with
the results' bytes, and OUT is tests/data.

tile_sizes.txt: a line `= RULE`, then for each picture
    width height columns rows tile_width tile_height thumb_width thumb_height tokens step_w step_h
where the step is the size after the longest-edge step (SmolVLM), else 0; or
    width height refused
tile_bytes.txt: a line for each case
    FAMILY SOURCE width height bytes hash
with the 64-bit FNV-1a hash of all tiles, one after another.
"""
import json
import os
import shutil
import sys


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def size_line(row):
    if row.get("refused"):
        return f"{row['w']} {row['h']} refused"
    columns, rows = row.get("grid", [1, 1])
    if "canvas" in row:
        tile = [row["canvas"][0] // columns, row["canvas"][1] // rows]
    else:
        tile = row["size"]
    thumb = row.get("thumb") or (tile if row["tiles"] > columns * rows else [0, 0])
    numbers = [row["w"], row["h"], columns, rows, *tile, *thumb, row["tokens"],
               *row.get("edge", [0, 0])]
    return " ".join(map(str, numbers))


def main():
    folder, out = sys.argv[1:3]
    with open(os.path.join(folder, "sizes.json")) as f:
        sizes = json.load(f)
    with open(os.path.join(out, "tile_sizes.txt"), "w") as f:
        for rule, table in sizes.items():
            print("=", rule, file=f)
            for row in table["rows"]:
                print(size_line(row), file=f)
    tiles = os.path.join(folder, "tiles")
    with open(os.path.join(tiles, "tiles.json")) as f:
        cases = json.load(f)
    with open(os.path.join(out, "tile_bytes.txt"), "w") as f:
        for case in cases:
            with open(os.path.join(tiles, case["file"]), "rb") as pixels:
                data = pixels.read()
            print(case["family"], case["source"], case["w"], case["h"], len(data),
                  f"{fnv1a(data):016x}", file=f)
    for source in sorted({case["source"] for case in cases}):
        shutil.copyfile(os.path.join(tiles, source + ".rgb"), os.path.join(out, source + ".rgb"))


if __name__ == "__main__":
    main()
