#!/usr/bin/env python3
"""Counts the instructions of a function's inner loops, from its disassembly.

    tools/count_loop.py OBJECT FUNCTION [--weights N] [--objdump PROGRAM] [--show]

A loop is what lies between a backward branch and its target, and holds no other loop.
With --weights, the weights that one turn of each loop works on, the count is also given
per 32 weights. --show prints the instructions.

    tools/count_loop.py build/arm/neon.o blm_neon_matmul8_q4_0 --weights 512
"""
import argparse
import collections
import re
import subprocess

LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
BRANCH = re.compile(r"(?:^|[ ,])(?:0x)?([0-9a-f]+) <")


def function(objdump, path, name):
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", path], check=True,
                          stdout=subprocess.PIPE, universal_newlines=True).stdout
    lines, inside = [], False
    for line in text.splitlines():
        if line.endswith(">:"):
            inside = line.split("<")[1][:-2] == name
        match = LINE.match(line) if inside else None
        if match:
            lines.append((int(match[1], 16), match[2], match[3]))
    if not lines:
        raise SystemExit(f"{path}: no function {name}")
    return lines


def innermost_loops(lines):
    loops = []
    for address, name, operands in lines:
        match = BRANCH.search(operands)
        if match and re.match(r"(b$|b\.|cb|tb|j)", name) and int(match[1], 16) <= address:
            loops.append((int(match[1], 16), address))
    return [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1]
                                        for b in loops)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("object")
    parser.add_argument("function")
    parser.add_argument("--weights", type=int)
    parser.add_argument("--objdump", default="aarch64-linux-gnu-objdump")
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    lines = function(args.objdump, args.object, args.function)
    for first, last in sorted(innermost_loops(lines)):
        body = [line for line in lines if first <= line[0] <= last]
        rate = f", {len(body) * 32 / args.weights:.2f} per 32 weights" if args.weights else ""
        names = collections.Counter(name for _, name, _ in body).most_common()
        print(f"{first:x}-{last:x}: {len(body)} instructions{rate}")
        print("    " + ", ".join(f"{count} {name}" for name, count in names))
        for address, name, operands in body if args.show else []:
            print(f"    {address:x}: {name} {operands}")


if __name__ == "__main__":
    main()
