"""What the experiments share: programs, pictures, CSV files, tables."""
import csv
import json
import os
import struct
import subprocess
import sys
import time
import zlib

BUILD = "build"
DOCS = os.environ.get("STUDY_DOCS", "docs")
DATA = os.path.join(DOCS, "study")
DEMO = ["-m", "demo/bluelm-demo.gguf", "--mmproj", "demo/bluelm-demo-mmproj.gguf"]


class Missing(Exception):
    """What an experiment needs is not there."""


def program(name):
    return os.path.join(BUILD, name)


def run(command, text=None, more=None):
    """Runs a program; returns its standard output."""
    environment = dict(os.environ, **(more or {}))
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit("%s\n%s" % (" ".join(command), done.stderr[-2000:]))
    return done.stdout


FIELDS = ("tiles", "image_tokens", "image_us", "prefill_tokens", "prefill_us", "decode_tokens", "decode_us", "wait_us")


def ask(pair, questions, options=(), wait="coupled", logits=None):
    """Asks (picture, text) pairs of one engine; a list of dicts with FIELDS and the answer."""
    more = {"STUDY_WAIT": wait, **({"STUDY_LOGITS": logits} if logits else {})}
    command = [program("study/ask"), "run", *pair, "--quiet", *options]
    out = run(command, "".join("%s\t%s\n" % q for q in questions), more)
    rows = []
    for line in out.splitlines():
        parts = line.split("\t")
        rows.append({**dict(zip(FIELDS, map(int, parts))), "answer": json.loads(parts[len(FIELDS)])})
    return rows


def names_of(option):
    """The values that the command knows for an option: ["int8", "int16"]."""
    lines = run([program("bluelm"), "run", "--help"]).splitlines()
    at = next((i for i, line in enumerate(lines) if line.split()[:1] == [option]), None)
    return lines[at + 1].strip().split(",") if at is not None else []


def plan(pair, *options):
    return json.loads(run([program("bluelm"), "plan", *pair[:4], "--json", *options]))


def large_pair():
    """The pair of 3.05 B and so400m that `make bench` writes; it has no chat template of its own."""
    folder = os.environ.get("STUDY_MODELS", os.path.join(BUILD, "models"))
    llm, mmproj = os.path.join(folder, "llm-q4_0.gguf"), os.path.join(folder, "mmproj-q8_0.gguf")
    if not (os.path.exists(llm) and os.path.exists(mmproj)):
        print("writing the large models to %s" % folder, file=sys.stderr)
        run([program("bench"), folder, "--write-models"])
    return ["-m", llm, "--mmproj", mmproj, "--chat-template", "vicuna"]


def picture(width, height):
    """A PNG of that size with something on it, written once."""
    path = os.path.join(BUILD, "study", "%dx%d.png" % (width, height))
    if os.path.exists(path):
        return path
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        rows += bytes(v for x in range(width) for v in ((x * 5 + y) & 255, (x ^ y) & 255, (x * y >> 6) & 255))

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows), 6)) + chunk(b"IEND", b""))
    return path


def load():
    """How busy the machine is, for those who read the times."""
    return "%.1f" % os.getloadavg()[0]


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def write_csv(name, rows):
    os.makedirs(DATA, exist_ok=True)
    with open(os.path.join(DATA, name + ".csv"), "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(name):
    """The rows of a CSV, numbers as numbers; [] where there is none."""
    path = os.path.join(DATA, name + ".csv")
    if not os.path.exists(path):
        return []

    def value(text):
        try:
            return float(text) if "." in text or "e" in text else int(text)
        except ValueError:
            return text
    with open(path, encoding="utf-8") as f:
        return [{k: value(v) for k, v in row.items()} for row in csv.DictReader(f)]


def write_svg(name, text):
    with open(os.path.join(DATA, name + ".svg"), "w", encoding="utf-8") as f:
        f.write(text)


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def watch(command):
    """Runs a command and watches its resident memory; returns [(seconds, bytes)] and its standard output."""
    begun, points = time.monotonic(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                with open("/proc/%d/status" % process.pid, encoding="ascii") as f:
                    kb = next((int(line.split()[1]) for line in f if line.startswith("VmRSS")), 0)
            except OSError:
                break
            if kb:
                points.append((time.monotonic() - begun, kb * 1024))
            time.sleep(0.02)
        out, complaint = process.communicate()
    if process.returncode:
        sys.exit("%s\n%s" % (" ".join(command), complaint[-2000:]))
    return points, out
