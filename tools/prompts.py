#!/usr/bin/env python3
"""Makes tests/data/prompts.txt from rendered conversations (prompts.json): a line a thing,
line breaks written \\n, the place of a picture \\p.

    M MARKER               a special token that some template writes
    T NAME BOS             a template and its BOS
    C NAME                 a conversation, in turns:
    s, u, a                a turn of the system, the user, the assistant begins
    t TEXT   i             text, a picture
    P PROMPT               what the model's own template makes of it

    tools/prompts.py prompts.json > tests/data/prompts.txt
"""
import json
import re
import sys

PICTURES = ("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>", "<start_of_image>",
            "<|image|>", "<image>", "[IMG]")
LONG = 900  # bytes of a prompt: default system turns that no row of a table should hold


def line(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def prompt_of(text):
    for mark in PICTURES:
        text = text.replace(mark, "\0")
    return line(text).replace("\0", "\\p")


def main():
    templates = json.load(open(sys.argv[1]))["templates"]
    markers = set()
    for t in templates.values():
        for c in t["conversations"].values():
            bare = c["prompt"]
            for mark in PICTURES:
                bare = bare.replace(mark, "")
            markers |= set(re.findall(r"<[^<>\s\\]{1,40}>|\[/?[A-Z_]+\]", bare))
    for marker in sorted(markers):
        print("M", marker)
    for name, t in templates.items():
        print("T", name, t["bos_token"] or "-")
        for title, c in t["conversations"].items():
            if len(c["prompt"]) > LONG:
                continue
            print("C", title)
            for message in c["messages"]:
                print(message["role"][0])
                for part in message["content"]:
                    print("i" if part["type"] == "image" else "t " + line(part["text"]))
            print("P", prompt_of(c["prompt"]))


main()
