"""Measures what the paper (arXiv 2411.10640) claims, through the C library, and writes docs/study.md's tables and plots.

    make study                           all of it
    make study ARGS="grids fig8"         some of it
    make study ARGS=--render             only tables and plots, from the CSV files that are there

Each experiment writes docs/study/NAME.csv; plots and tables come from these files alone. Experiments named fig5, fig6,
fig7, fig8, speed and table5 are about time: run them on a quiet machine. The others give the same figures anywhere."""
import array
import json
import math
import os
import sys

import plot
from runs import (DEMO, DOCS, Missing, ask, large_pair, load, median, names_of, picture, plan, program, read_csv,
                  run, table, watch, write_csv, write_svg)
import runs

RUNS = int(os.environ.get("STUDY_RUNS", "3"))
SIZES = (768, 1536)  # the paper's picture


# ---- Section 5.1: grids -------------------------------------------------------------------

def grids():
    lines = run([program("study/grids"), os.environ.get("STUDY_SIZES", "1000000")])
    os.makedirs(runs.DATA, exist_ok=True)
    with open(os.path.join(runs.DATA, "grids.csv"), "w", encoding="utf-8") as f:
        f.write(lines)


def show_grids(rows):
    populations = list(dict.fromkeys(r["population"] for r in rows))
    of = {(r["population"], r["rule"], round(r["alpha"], 3)): r for r in rows}
    series = [(p, [(r["alpha"], r["mean_tokens"]) for r in rows if r["population"] == p and r["rule"] == "relaxed"])
              for p in populations]
    write_svg("grids-tokens", plot.lines("Image tokens by alpha of the relaxed rule", "alpha", "mean tokens of a picture", series))
    series = [(p, [(r["alpha"], 100 * r["pixels_kept"]) for r in rows if r["population"] == p and r["rule"] == "relaxed"])
              for p in populations]
    write_svg("grids-pixels", plot.lines("Pixels that the grid keeps", "alpha", "% of the picture's own", series))
    out = []
    for p in populations:
        relaxed, llava, other = of[p, "relaxed", 0.1], of[p, "llava-next", 0], of[p, "internvl", 0]
        for r in (llava, other):
            n = r["sizes"]
            out.append((p, r["rule"], *("%.1f %%" % (100 * r["relaxed_" + k] / n) for k in ("smaller", "equal", "larger")),
                        "%.0f" % relaxed["mean_tokens"], "%.0f" % r["mean_tokens"],
                        "%+.1f %%" % (100 * (relaxed["mean_tokens"] / r["mean_tokens"] - 1)),
                        "%.1f / %.1f %%" % (100 * relaxed["pixels_kept"], 100 * r["pixels_kept"])))
    return table(("sizes of", "beside", "relaxed: smaller", "equal", "larger", "tokens, relaxed", "tokens, other", "tokens saved",
                  "pixels kept, relaxed / other"), out)


# ---- Figure 7: batches of tiles -----------------------------------------------------------

def encode_ms(pair, options, count=1):
    rows = ask(pair, [(picture(*SIZES), "")] * count, ("-c", "2560", *options), "encode")
    return median([r["image_us"] for r in rows]) / 1e3


def fig7():
    rows, large = [], large_pair()
    for name, pair, count in (("demo", DEMO, 20), ("so400m Q8_0", large, 1)):
        for threads in ("1", "2"):
            batches = (1, 2, 4, 6)
            times = {b: [] for b in batches}
            for turn in range(RUNS):
                for b in batches if turn % 2 == 0 else batches[::-1]:
                    times[b].append(encode_ms(pair, ("--tile-batch", str(b), "-t", threads), count))
            for b in batches:
                need = plan(pair, "-c", "2560", "--tile-batch", str(b))["memory"]
                rows.append({"model": name, "threads": threads, "batch": b, "encode_ms": "%.1f" % median(times[b]),
                             "vision_phase_bytes": need["vision_phase"], "load": load()})
    write_csv("fig7", rows)


def show_fig7(rows):
    series = []
    for model, threads in dict.fromkeys((r["model"], r["threads"]) for r in rows):
        mine = [r for r in rows if (r["model"], r["threads"]) == (model, threads)]
        series.append(("%s, %d thread%s" % (model, threads, "s" * (threads > 1)),
                       [(r["batch"], r["encode_ms"] / mine[0]["encode_ms"]) for r in mine]))
    write_svg("fig7", plot.lines("Encoding 768 x 1536 by tiles in a batch", "tiles in a batch", "time, batch of 1 = 1", series))
    return table(("model", "threads", "batch", "encode 768 x 1536", "vision phase", "load"),
                 [(r["model"], r["threads"], r["batch"], "%.0f ms" % r["encode_ms"], "%.1f MB" % (r["vision_phase_bytes"] / 1e6),
                   r["load"]) for r in rows])


def passes():
    lines = run([program("study/passes"), "3"])
    with open(os.path.join(runs.DATA, "passes.csv"), "w", encoding="utf-8") as f:
        f.write(lines)


def show_passes(rows):
    return table(("tiles", "tile after tile", "one pass for all", "gained", "activations now", "activations then"),
                 [(r["tiles"], "%.0f ms a tile" % r["ms_per_tile_apart"], "%.0f ms a tile" % r["ms_per_tile_together"],
                   "%+.1f %%" % r["gain_percent"], "%.0f MB" % r["activations_mb_apart"],
                   "%.0f MB" % r["activations_mb_together"]) for r in rows])


# ---- Figure 5: pipelining -----------------------------------------------------------------

def fig5():
    rows, large = [], large_pair()
    ways = {"off": (), "beside": ("--overlap",)}
    for name, pair, count in (("demo", DEMO, 20), ("so400m Q8_0", large, 1)):
        for threads in ("1", "2"):
            for batch in ("1", "4"):
                times = {w: [] for w in ways}
                for turn in range(RUNS):
                    for w in list(ways)[::1 if turn % 2 else -1]:
                        times[w].append(encode_ms(pair, ("--tile-batch", batch, "-t", threads, *ways[w]), count))
                rows += [{"model": name, "threads": threads, "batch": batch, "overlap": w,
                          "encode_ms": "%.1f" % median(times[w]), "load": load()} for w in ways]
    write_csv("fig5", rows)


def show_fig5(rows):
    key = lambda r: (r["model"], r["threads"], r["batch"])
    of = {(key(r), r["overlap"]): r for r in rows}
    out = []
    for k in dict.fromkeys(map(key, rows)):
        off, on = of[k, "off"]["encode_ms"], of[k, "beside"]["encode_ms"]
        out.append((k[0], k[1], k[2], "%.0f ms" % off, "%.0f ms" % on, "%+.1f %%" % (100 * (on / off - 1)), of[k, "off"]["load"]))
    return table(("model", "threads", "batch", "one after another", "embedding beside", "time", "load"), out)


# ---- Figure 8: chunks ------------------------------------------------------------------------

def fig8():
    rows, large = [], large_pair()
    chunks = (32, 128, 512, 2048)
    for threads in ("1", "2"):
        times = {c: [] for c in chunks}
        for turn in range(2):
            for c in chunks if turn % 2 == 0 else chunks[::-1]:
                r = ask(large, [("+2047", "")], ("-c", "2048", "--chunk", str(c), "-t", threads, "-n", "1"))[0]
                times[c].append(r["prefill_us"] / 1e3)
        for c in chunks:
            need = plan(large[:2], "-c", "2048", "--chunk", str(c))["memory"]
            rows.append({"threads": threads, "chunk": c, "prefill_ms": "%.0f" % min(times[c]),
                         "language_phase_bytes": need["language_phase"], "total_bytes": need["total"], "load": load()})
    write_csv("fig8", rows)


def show_fig8(rows):
    series = [("%d thread%s" % (t, "s" * (t > 1)), [(r["chunk"], r["prefill_ms"] / 1e3) for r in rows if r["threads"] == t])
              for t in sorted({r["threads"] for r in rows})]
    write_svg("fig8", plot.lines("2,047 tokens of prompt by chunk, 3.05 B in Q4_0", "tokens in a chunk", "seconds", series, log_x=True))
    return table(("threads", "chunk", "time", "tokens/s", "language phase", "arena", "load"),
                 [(r["threads"], r["chunk"], "%.1f s" % (r["prefill_ms"] / 1e3), "%.0f" % (2047e3 / r["prefill_ms"]),
                   "%.1f MB" % (r["language_phase_bytes"] / 1e6), "%.0f MB" % (r["total_bytes"] / 1e6), r["load"]) for r in rows])


# ---- Figure 6: from the last word to the first token --------------------------------------

WORDS = "What does the sign in the middle of this picture say, and what colour are its letters?"


def fig6():
    rows = []
    for name, pair, path, count in (("demo", DEMO, "demo/images/tall.png", 10), ("3.05 B, so400m", large_pair(), picture(*SIZES), 1)):
        for threads in ("1", "2"):
            for wait in ("coupled", "decoupled", "prefilled"):
                done = ask(pair, [(path, WORDS)] * count, ("-c", "2560" if count == 1 else "2048", "-n", "1", "-t", threads), wait)
                rows.append({"model": name, "threads": threads, "way": wait, "image_tokens": done[0]["image_tokens"],
                             "wait_ms": "%.1f" % median([r["wait_us"] / 1e3 for r in done]), "load": load()})
    write_csv("fig6", rows)


def show_fig6(rows):
    return table(("model", "threads", "way", "image tokens", "last word to first token", "load"),
                 [(r["model"], r["threads"], r["way"], r["image_tokens"], "%.1f ms" % r["wait_ms"], r["load"]) for r in rows])


# ---- Table 2: accuracy by tiling, and section 3.4: precision ------------------------------

def picture_set():
    """Which of `make eval`'s sets of pictures is asked about."""
    return os.environ.get("STUDY_SET", "scenes")


def caption(rows):
    return "%d questions of `make eval`, its set `%s`.\n\n" % (max(r["asked"] for r in rows), rows[0]["set"])


def questions(count):
    """(group, kind, picture, question, answer) of `make eval`'s pictures: every n-th, so that all groups are there."""
    path = os.path.join(runs.BUILD, "eval", picture_set(), "questions.tsv")
    if not os.path.exists(path):
        raise Missing("the pictures of `make eval` are not in %s" % os.path.dirname(path))
    with open(path, encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    step = max(1, len(rows) // count)
    picked = rows[::step][:count]
    return [(r[1], r[2], r[0] if os.path.isabs(r[0]) else os.path.join(os.path.dirname(path), os.path.basename(r[0])), r[4], r[5])
            for r in picked]


def same(given, right):
    return given.strip().rstrip(".").casefold() == right.rstrip(".").casefold()


def interval(right, asked):
    """Wilson's 95 % interval of a share, in per cent."""
    z, p = 1.959964, right / asked
    middle = (p + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z / (1 + z * z / asked) * math.sqrt(p * (1 - p) / asked + z * z / (4 * asked * asked))
    return 100 * (middle - half), 100 * (middle + half)


def table2():
    asked = questions(int(os.environ.get("STUDY_QUESTIONS", "800")))
    ways = [("relaxed", a) for a in ("0.000001", "0.05", "0.1", "0.2", "0.3", "0.4", "0.5")]
    ways += [("llava-next", ""), ("internvl", ""), ("single", "")]
    rows = []
    for rule, alpha in ways:
        options = ("--tiling", rule, *(("--alpha", alpha) if alpha else ()), "-n", "48", "--max-image-width", "4096")
        done = ask(DEMO, [(q[2], q[3]) for q in asked], options)
        for group in [None] + sorted({q[0] for q in asked}):
            mine = [(d, q) for d, q in zip(done, asked) if group in (None, q[0])]
            right = sum(same(d["answer"], q[4]) for d, q in mine)
            rows.append({"set": picture_set(), "rule": rule, "alpha": alpha, "group": group or "all", "asked": len(mine), "right": right,
                         "mean_tokens": "%.1f" % (sum(d["image_tokens"] for d, _ in mine) / len(mine)),
                         "mean_encode_ms": "%.2f" % (sum(d["image_us"] for d, _ in mine) / len(mine) / 1e3), "load": load()})
    write_csv("table2", rows)


def show_table2(rows):
    groups = list(dict.fromkeys(r["group"] for r in rows))
    relaxed = [r for r in rows if r["rule"] == "relaxed" and r["group"] in groups]
    series = [(g, [(float(r["alpha"]), 100 * r["right"] / r["asked"]) for r in relaxed if r["group"] == g]) for g in groups]
    write_svg("table2", plot.lines("Right answers of the demo model by alpha", "alpha", "% right", series))
    out = []
    for r in rows:
        low, high = interval(r["right"], r["asked"])
        name = r["rule"] + (" %g" % round(r["alpha"], 3) if r["alpha"] != "" else "")
        out.append((name, r["group"], r["asked"], "%.1f %%" % (100 * r["right"] / r["asked"]), "%.1f to %.1f" % (low, high),
                    "%.0f" % r["mean_tokens"], "%.1f ms" % r["mean_encode_ms"]))
    return caption(rows) + table(("rule", "pictures", "asked", "right", "95 % interval", "tokens", "encode"), out)


def read_logits(path, count):
    values = array.array("f")
    with open(path, "rb") as f:
        values.frombytes(f.read())
    n = len(values) // count
    return [values[i * n:(i + 1) * n] for i in range(count)]


def log_softmax(logits):
    top = max(logits)
    total = top + math.log(sum(math.exp(v - top) for v in logits))
    return [v - total for v in logits]


def divergence(reference, logits):
    """KL(reference || other) of the next token, in nats."""
    other = log_softmax(logits)
    return sum(math.exp(p) * (p - q) for p, q in zip(reference, other) if p > -40)


def precisions():
    """(weights, cache, activations, vision weights, vision activations): what is compared, the reference first."""
    acts, vision = names_of("--act"), names_of("--vision-act")
    ways = [("f32", "f16", "", "f32", ""), ("f32", "int8", "", "f32", "")]
    for weights in ("q8_0", "q4_0"):
        ways += [(weights, cache, act, "f32", "") for cache in ("f16", "int8") for act in acts]
    ways += [("f32", "f16", "", "f32", v) for v in vision if v == "int8"]  # floats rounded on their way in
    ways += [("f32", "f16", "", "q8_0", v) for v in vision or acts]
    ways += [("q4_0", "int8", act, "q8_0", v) for act in acts for v in vision or [""]]
    return ways


def sec34():
    import weights
    asked = questions(int(os.environ.get("STUDY_QUESTIONS", "300")))
    pairs = [(q[2], q[3]) for q in asked]
    files = {kind: weights.demo_as(kind) for kind in ("f32", "q8_0", "q4_0")}
    has_vision_act = bool(names_of("--vision-act"))
    rows, reference, told = [], None, None
    path = os.path.join(runs.BUILD, "study", "logits.f32")
    for llm, cache, act, tower, vision in precisions():
        options = ["--kv", cache, "-n", "48", "--max-image-width", "4096"]
        options += ["--act", act] if act else []
        options += ["--vision-act" if has_vision_act else "--act", vision] if vision and (has_vision_act or not act) else []
        done = ask(["-m", files[llm][0], "--mmproj", files[tower][1]], pairs, options, logits=path)
        logits = [log_softmax(v) for v in read_logits(path, len(pairs))]
        reference, told = reference or logits, told or done
        apart = [sum(math.exp(p) * (p - q) for p, q in zip(a, b) if p > -40) for a, b in zip(reference, logits)]
        rows.append({"set": picture_set(), "weights": llm, "cache": cache, "activations": act or "-", "vision_weights": tower,
                     "vision_activations": vision or "-", "asked": len(pairs),
                     "right": sum(same(d["answer"], q[4]) for d, q in zip(done, asked)),
                     "same_as_reference": sum(d["answer"] == t["answer"] for d, t in zip(done, told)),
                     "mean_kl": "%.3e" % (sum(apart) / len(apart)), "max_kl": "%.3e" % max(apart)})
    write_csv("sec34", rows)


def show_sec34(rows):
    return caption(rows) + table(("weights", "cache", "activations", "vision weights", "vision activations", "right", "as the reference", "KL, mean", "KL, worst"),
                 [(r["weights"], r["cache"], r["activations"], r["vision_weights"], r["vision_activations"],
                   "%.1f %%" % (100 * r["right"] / r["asked"]), "%.1f %%" % (100 * r["same_as_reference"] / r["asked"]),
                   "%.1e" % r["mean_kl"], "%.1e" % r["max_kl"]) for r in rows])


def speed():
    """Section 3.4's other half: what the precisions cost, 3.05 B Q4_0 and a tile of so400m Q8_0."""
    rows, large = [], large_pair()
    vision = names_of("--vision-act")
    for threads in ("1", "2"):
        for act in names_of("--act"):
            for cache in ("f16", "int8"):
                options = ("-c", "256", "--act", act, "--kv", cache, "-t", threads, "-n", "33")
                done = ask(large, [("+128", "")] * RUNS, options)
                prefill = median([r["prefill_tokens"] * 1e6 / r["prefill_us"] for r in done])
                decode = median([r["decode_tokens"] * 1e6 / max(r["decode_us"], 1) for r in done])
                rows.append({"what": "3.05 B Q4_0", "threads": threads, "activations": act, "cache": cache,
                             "prefill_128": "%.1f" % prefill, "decode": "%.2f" % decode, "tile_ms": "", "load": load()})
        for act in vision or names_of("--act"):
            options = ("-c", "256", "--vision-act" if vision else "--act", act, "-t", threads, "--tiling", "single")
            done = ask(large, [(picture(384, 384), "")] * RUNS, options, "encode")
            rows.append({"what": "so400m Q8_0", "threads": threads, "activations": act, "cache": "", "prefill_128": "", "decode": "",
                         "tile_ms": "%.1f" % median([r["image_us"] / 1e3 for r in done]), "load": load()})
    write_csv("speed", rows)


def show_speed(rows):
    return table(("what", "threads", "activations", "cache", "prefill 128", "decode", "a tile", "load"),
                 [(r["what"], r["threads"], r["activations"], r["cache"], "%s token/s" % r["prefill_128"] if r["prefill_128"] else "",
                   "%s token/s" % r["decode"] if r["decode"] else "", "%s ms" % r["tile_ms"] if r["tile_ms"] else "", r["load"])
                  for r in rows])


# ---- Memory, and table 5 ------------------------------------------------------------------

def memory():
    """Resident memory over time, the encoder kept or released, 2,048 tokens of context filled to the end."""
    rows, large = [], large_pair()
    for way, option in (("kept", ()), ("released", ("--release-vision",))):
        command = [program("bluelm"), "run", *large, "-c", "2048", "--image", picture(*SIZES), "-p", WORDS, "--temp", "1", "--seed", "1",
                   "--max-image-tokens", "1764", "--json", "-q", *option, "-t", "2"]
        points, out = watch(command)
        answer = json.loads(out)
        used = answer.get("prefill_tokens", 0) + answer.get("decode_tokens", 0)
        most = max(b for _, b in points)
        while points[-1][1] < 0.5 * most:  # the process is being taken down
            points.pop()
        last = points[-1][0]
        rows += [{"encoder": way, "part": "%.3f" % (t / last), "resident_bytes": b, "tokens": used}
                 for t, b in points[::max(1, len(points) // 60)] + [max(points, key=lambda p: p[1]), points[-1]]]
    write_csv("memory", rows)


def show_memory(rows):
    ways = list(dict.fromkeys(r["encoder"] for r in rows))
    mine = {w: sorted((r["part"], r["resident_bytes"]) for r in rows if r["encoder"] == w) for w in ways}
    write_svg("memory", plot.lines("Resident memory, 3.05 B Q4_0 and so400m Q8_0, 2,048 tokens", "part of the run", "GB",
                                   [(w, [(t, b / 1e9) for t, b in mine[w]]) for w in ways]))
    out = []
    for w in ways:
        tokens = next(r["tokens"] for r in rows if r["encoder"] == w)
        out.append((w, tokens, "%.2f GB" % (max(b for _, b in mine[w]) / 1e9), "%.2f GB" % (max(b for t, b in mine[w] if t >= 0.95) / 1e9)))
    return table(("the encoder is", "tokens at the end", "peak resident", "at the end"), out)


def table5():
    rows, large = [], large_pair()
    for threads in ("1", "2"):
        done = json.loads(run([program("bluelm"), "run", *large, "-c", "2048", "--image", picture(*SIZES), "-p", WORDS, "-n", "65",
                               "--max-image-tokens", "1764", "--release-vision", "--json", "-q", "-t", threads]))
        rows.append({"threads": threads, "load_s": "%.3f" % (done["load_us"] / 1e6), "encode_s": "%.2f" % (done["image_us"] / 1e6),
                     "prompt_tokens": done["prefill_tokens"], "prefill_s": "%.2f" % (done["prefill_us"] / 1e6),
                     "decode_per_s": "%.2f" % (done["decode_tokens"] * 1e6 / done["decode_us"]), "load": load()})
    write_csv("table5", rows)


def show_table5(rows):
    peak = [r["resident_bytes"] for r in read_csv("memory") if r["encoder"] == "released"]
    paper = ("BlueLM-V-3B, 2.7 B, Dimensity 9300 (the paper)", "0.47 s", "2.06 s", "2.7 s", "24.4 token/s", "2.2 GB", "")
    other = ("MiniCPM-V 2.5, 8 B, llama.cpp, CPU (the paper)", "", "4.0 s", "13.9 s", "4.9 token/s", "", "")
    ours = [("bluelm, 3.05 B of random weights, %d thread%s" % (r["threads"], "s" * (r["threads"] > 1)), "%.2f s" % r["load_s"],
             "%.2f s" % r["encode_s"], "%.1f s (%d tokens)" % (r["prefill_s"], r["prompt_tokens"]), "%.1f token/s" % r["decode_per_s"],
             "%.2f GB" % (max(peak) / 1e9) if peak else "", r["load"]) for r in rows]
    return table(("who, where", "load", "encode 768 x 1536", "prefill", "decode", "peak memory", "load of the machine"), [paper, other] + ours)


# ---- All of it ---------------------------------------------------------------------------------

EXPERIMENTS = {"grids": (grids, show_grids), "table2": (table2, show_table2), "fig7": (fig7, show_fig7), "passes": (passes, show_passes),
               "fig5": (fig5, show_fig5), "fig8": (fig8, show_fig8), "fig6": (fig6, show_fig6), "sec34": (sec34, show_sec34),
               "speed": (speed, show_speed), "memory": (memory, show_memory), "table5": (table5, show_table5)}


PLOTS = {"grids": ("grids-tokens", "grids-pixels"), "table2": ("table2",), "fig7": ("fig7",), "fig8": ("fig8",),
         "memory": ("memory",)}


def render():
    """Puts the tables between their marks in docs/study.md and draws the plots."""
    path = os.path.join(DOCS, "study.md")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for name, (_, show) in EXPERIMENTS.items():
        rows = read_csv(name)
        begin, end = "<!-- %s -->\n" % name, "<!-- /%s -->" % name
        if begin in text and end in text:
            made = show(rows) if rows else "Not measured yet: `make study ARGS=%s`." % name
            for drawn in PLOTS.get(name, ()) if rows else ():
                made += "\n\n![%s](study/%s.svg)" % (drawn, drawn)
            text = text[:text.index(begin) + len(begin)] + made + "\n" + text[text.index(end):]
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    runs.BUILD = sys.argv[1]
    os.makedirs(os.path.join(runs.BUILD, "study"), exist_ok=True)
    wanted = sys.argv[2:] or list(EXPERIMENTS)
    if wanted != ["--render"]:
        for name in wanted:
            if name not in EXPERIMENTS:
                sys.exit("study: there are %s" % ", ".join(EXPERIMENTS))
            print(name, file=sys.stderr)
            try:
                EXPERIMENTS[name][0]()
            except Missing as missing:
                print("  left out: %s" % missing, file=sys.stderr)
    render()


if __name__ == "__main__":
    main()
