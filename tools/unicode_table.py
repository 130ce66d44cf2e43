#!/usr/bin/env python3
"""Writes text/unicode_table.h: which characters are letters, numbers, punctuation and marks.

Runs of equal class follow one another from U+0000, each one number `length << 3 | class` in groups of seven bits, low
group first, the top bit set when another group follows. Every STEP runs an index entry tells where in the stream a run
begins and at which character, so that a lookup is a binary search and a few steps.

    python3 tools/unicode_table.py > text/unicode_table.h
"""
import unicodedata

STEP = 32
CLASSES = {"L": 1, "N": 2, "P": 3, "M": 4}
LIMIT = 0x110000


def runs():
    """(first character, length, class) of every run up to the last character with a class."""
    found, first = [], 0
    kinds = [CLASSES.get(unicodedata.category(chr(c))[0], 0) for c in range(LIMIT)]
    for c in range(1, LIMIT + 1):
        if c == LIMIT or kinds[c] != kinds[first]:
            found.append((first, c - first, kinds[first]))
            first = c
    return found[:-1] if found[-1][2] == 0 else found


def encode(number):
    """The bytes of one number."""
    out = []
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return out + [number]


def table(name, kind, items, per_line):
    """One C array."""
    print("static const %s %s[] = {" % (kind, name))
    for i in range(0, len(items), per_line):
        print("    " + ", ".join(items[i:i + per_line]) + ",")
    print("};\n")


def main():
    stream, firsts, places = [], [], []
    all_runs = runs()
    for i, (first, length, kind) in enumerate(all_runs):
        if i % STEP == 0:
            firsts.append(first)
            places.append(len(stream))
        stream += encode(length << 3 | kind)
    print("/* Made by tools/unicode_table.py from Unicode %s; do not edit.\n *" % unicodedata.unidata_version)
    print(" * blm_unicode_runs: length << 3 | class of runs of characters that follow one another,")
    print(" * in groups of seven bits, low group first. Class 1 letter, 2 number, 3 punctuation, 4")
    print(" * mark, 0 the rest. Run %d * i starts at character blm_unicode_first[i] and at byte" % STEP)
    print(" * blm_unicode_place[i]. */")
    print("#ifndef BLM_UNICODE_TABLE_H\n#define BLM_UNICODE_TABLE_H\n\n#include <stdint.h>\n")
    print("/* clang-format off */\n")
    print("#define BLM_UNICODE_STEP %d" % STEP)
    print("#define BLM_UNICODE_LIMIT 0x%x /* characters from here on are of class 0 */\n"
          % (all_runs[-1][0] + all_runs[-1][1]))
    table("blm_unicode_first", "uint32_t", ["0x%05x" % f for f in firsts], 10)
    table("blm_unicode_place", "uint16_t", [str(p) for p in places], 14)
    table("blm_unicode_runs", "uint8_t", [str(b) for b in stream], 18)
    print("#endif")


if __name__ == "__main__":
    main()
