#!/usr/bin/env python3
"""Writes small Gemma 4 models with random weights, as llama.cpp's converter lays them out, and
what they give: a rewrite in double precision that shares no code with the library.

Usage: gemma4_reference.py OUT [--type TYPE] [--tokens FILE.i32 ...]

OUT/gemma4-TYPE.gguf and OUT/gemma4-TYPE.N.exact.f32, the logits after the last of N tokens. With
OUT/image_before.i32 and image_after.i32 there also OUT/gemma4-TYPE.image.rows.f32, the rows of a
picture, and OUT/gemma4-TYPE.image.exact.f32. TYPE is f32 or q8_0 (whose table of embeddings of
layers is Q4_0). Needs numpy and the gguf package of llama.cpp (PYTHONPATH=llama.cpp/gguf-py).
"""
import argparse
import os

import gguf
import numpy as np
from gguf import quants

TYPES = {"f32": gguf.GGMLQuantizationType.F32, "q8_0": gguf.GGMLQuantizationType.Q8_0}
WORDS = 384
# Five of seven layers have a window; the last three share keys and values.
WINDOWED = [1, 1, 0, 1, 0, 1, 0]
SHARING = 2
SHAPE = dict(embd=64, heads=4, kv=2, head=64, head_local=32, ffn=96, own=32, window=32)
EPS = 1e-6
CAP = 30.0
BASE, BASE_LOCAL = 1e6, 1e4
PICTURE = 54


def pieces():
    """Markers, bytes, characters and what is joined of them."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|tool>", "<tool|>", "<|turn>",
               "<turn|>", "<|image>", "<image|>", "<|image|>", "<|think|>", "<|channel>",
               "<channel|>"]
    tokens = [(s, gguf.TokenType.CONTROL) for s in special]
    tokens[3] = ("<unk>", gguf.TokenType.UNKNOWN)
    tokens[13] = ("<|channel>", gguf.TokenType.USER_DEFINED)
    tokens[14] = ("<channel|>", gguf.TokenType.USER_DEFINED)
    tokens += [(f"<0x{b:02X}>", gguf.TokenType.BYTE) for b in range(256)]
    normal = ["\n", "\n\n", "\u2581", "\u2581\u2581"] + list("abcdefghijklmnopqrstuvwxyz.,?!:'-")
    normal += list("ABCDEFGHIKLMNOPSTUWY0123456789") + ["\u00e9", "\u00fc"]
    joined = ["th", "the", "\u2581the", "in", "er", "an", "\u2581a", "ou", "\u2581o", "re",
              "on", "\u2581th", "at", "en", "\u2581w", "is", "us", "user", "mo", "mod", "el",
              "model", "\u2581in", "\u2581s", "he", "st", "or", "ing", "\u2581c", "ed"]
    tokens += [(s, gguf.TokenType.NORMAL) for s in normal + joined]
    while len(tokens) < WORDS:
        tokens.append((f"<unused{len(tokens)}>", gguf.TokenType.UNUSED))
    assert len(tokens) == WORDS, len(tokens)
    merges = ["\n \n", "\u2581 \u2581", "t h", "th e", "\u2581 the", "i n", "e r", "a n",
              "\u2581 a", "o u", "\u2581 o", "r e", "o n", "\u2581 th", "a t", "e n", "\u2581 w",
              "i s", "u s", "us er", "m o", "mo d", "e l", "mod el", "\u2581 in", "\u2581 s",
              "h e", "s t", "o r", "in g", "\u2581 c", "e d"]
    return tokens, merges


class Model:
    """Weights as the file holds them, and as they read back."""

    def __init__(self, path, kind):
        self.random = np.random.default_rng(4)
        self.kind = kind
        self.w = gguf.GGUFWriter(path, "gemma4")
        self.read = {}

    def add(self, name, shape, kind=None, scale=None, around=0.0):
        x = self.random.standard_normal(shape)
        x = (around + x * (scale or shape[-1] ** -0.5)).astype(np.float32)
        kind = TYPES["f32"] if len(shape) == 1 else (kind or self.kind)
        data = x if kind == TYPES["f32"] else quants.quantize(x, kind)
        self.w.add_tensor(name, data, raw_dtype=kind)
        self.read[name] = quants.dequantize(data, kind).astype(np.float64).reshape(shape)

    def fix(self, name, values):
        self.w.add_tensor(name, np.array(values, dtype=np.float32))
        self.read[name] = np.array(values, dtype=np.float64)


def write(path, kind):
    s = SHAPE
    m = Model(path, TYPES[kind])
    w, n = m.w, len(WINDOWED)
    w.add_name("gemma4 of random weights")
    w.add_context_length(4096)
    w.add_block_count(n)
    w.add_embedding_length(s["embd"])
    w.add_feed_forward_length([s["ffn"] * (2 if i >= n - SHARING else 1) for i in range(n)])
    w.add_head_count(s["heads"])
    w.add_head_count_kv(s["kv"])
    w.add_layer_norm_rms_eps(EPS)
    w.add_rope_freq_base(BASE)
    w.add_rope_freq_base_swa(BASE_LOCAL)
    w.add_sliding_window(s["window"])
    w.add_sliding_window_pattern([bool(x) for x in WINDOWED])
    w.add_shared_kv_layers(SHARING)
    w.add_embedding_length_per_layer_input(s["own"])
    w.add_final_logit_softcapping(CAP)
    w.add_key_length(s["head"])
    w.add_value_length(s["head"])
    w.add_key_length_swa(s["head_local"])
    w.add_value_length_swa(s["head_local"])
    w.add_rope_dimension_count(s["head"])
    w.add_rope_dimension_count_swa(s["head_local"])
    tokens, merges = pieces()
    w.add_tokenizer_model("gemma4")
    w.add_token_list([t for t, _ in tokens])
    w.add_token_scores([-1000.0] * WORDS)
    w.add_token_types([t for _, t in tokens])
    w.add_token_merges(merges)
    w.add_pad_token_id(0)
    w.add_eos_token_id(1)
    w.add_bos_token_id(2)
    w.add_unk_token_id(3)
    w.add_add_space_prefix(False)
    w.add_add_bos_token(True)

    table = gguf.GGMLQuantizationType.Q4_0 if kind == "q8_0" else None
    turned = s["head"] // 8  # a quarter of the pairs
    m.fix("rope_freqs.weight", [1.0] * turned + [1e30] * (s["head"] // 2 - turned))
    m.add("token_embd.weight", (WORDS, s["embd"]), scale=1.0)
    m.add("per_layer_token_embd.weight", (WORDS, n * s["own"]), table, 0.3)
    m.add("per_layer_model_proj.weight", (n * s["own"], s["embd"]), scale=1.0)
    m.add("per_layer_proj_norm.weight", (s["own"],), scale=0.1, around=1)
    m.add("output_norm.weight", (s["embd"],), scale=0.1, around=1)
    for i in range(n):
        b = f"blk.{i}."
        head = s["head_local"] if WINDOWED[i] else s["head"]
        ffn = s["ffn"] * (2 if i >= n - SHARING else 1)
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm",
                     "post_norm"):
            m.add(f"{b}{name}.weight", (s["embd"],), scale=0.1, around=1)
        m.add(b + "attn_q.weight", (s["heads"] * head, s["embd"]))
        m.add(b + "attn_q_norm.weight", (head,), scale=0.1, around=0.5)
        # Published files may hold these in sharing layers, too: they are not used there.
        if i < n - SHARING or i == n - 1:
            m.add(b + "attn_k.weight", (s["kv"] * head, s["embd"]))
            m.add(b + "attn_v.weight", (s["kv"] * head, s["embd"]))
            m.add(b + "attn_k_norm.weight", (head,), scale=0.1, around=0.5)
        m.add(b + "attn_output.weight", (s["embd"], s["heads"] * head))
        m.add(b + "ffn_gate.weight", (ffn, s["embd"]))
        m.add(b + "ffn_up.weight", (ffn, s["embd"]))
        m.add(b + "ffn_down.weight", (s["embd"], ffn))
        m.add(b + "inp_gate.weight", (s["own"], s["embd"]))
        m.add(b + "proj.weight", (s["embd"], s["own"]))
        m.fix(b + "layer_output_scale.weight", [0.8 + 0.05 * i])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return m.read


def rms(x, weight=None):
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS)
    return x if weight is None else x * weight


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))


def turn(x, base, divisors):
    """Halves of the last axis, by the place of a row in the first."""
    half = x.shape[-1] // 2
    rate = base ** (-np.arange(half) / half) / divisors
    angle = np.arange(x.shape[0])[:, None, None] * rate
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle),
                           b * np.cos(angle) + a * np.sin(angle)], -1)


def attend(q, k, v, window):
    """[n][heads][d] against [n][kv][d]; no scale."""
    n, heads, d = q.shape
    place = np.arange(n)
    seen = place[None, :] <= place[:, None]
    if window:
        seen &= place[:, None] - place[None, :] < window
    out = np.empty_like(q)
    for h in range(heads):
        g = h * k.shape[1] // heads
        score = np.where(seen, q[:, h] @ k[:, g].T, -np.inf)
        score = np.exp(score - score.max(-1, keepdims=True))
        out[:, h] = score / score.sum(-1, keepdims=True) @ v[:, g]
    return out.reshape(n, heads * d)


def logits(w, ids, rows=None, at=0):
    """ids with None where the rows of a picture stand."""
    s, n = SHAPE, len(ids)
    text = np.array([0 if i is None else i for i in ids])
    x = w["token_embd.weight"][text] * np.sqrt(s["embd"])
    for place in [p for p in range(n) if ids[p] is None]:
        x[place] = rows[place - at]
    layers = len(WINDOWED)
    own = (x @ w["per_layer_model_proj.weight"].T / np.sqrt(s["embd"])).reshape(n, layers, -1)
    own = rms(own, w["per_layer_proj_norm.weight"])
    table = w["per_layer_token_embd.weight"][text].reshape(n, layers, -1)
    own = (own + table * np.sqrt(s["own"])) / np.sqrt(2)
    kept = {}
    for i in range(layers):
        def t(name):
            return w[f"blk.{i}.{name}.weight"]
        local = WINDOWED[i]
        head = s["head_local"] if local else s["head"]
        base = BASE_LOCAL if local else BASE
        divisors = 1.0 if local else w["rope_freqs.weight"]
        y = rms(x, t("attn_norm"))
        q = (y @ t("attn_q").T).reshape(n, s["heads"], head)
        q = turn(rms(q, t("attn_q_norm")), base, divisors)
        if i < layers - SHARING:
            k = (y @ t("attn_k").T).reshape(n, s["kv"], head)
            v = (y @ t("attn_v").T).reshape(n, s["kv"], head)
            kept[local] = (turn(rms(k, t("attn_k_norm")), base, divisors), rms(v))
        y = attend(q, *kept[local], s["window"] if local else 0) @ t("attn_output").T
        x = x + rms(y, t("post_attention_norm"))
        y = rms(x, t("ffn_norm"))
        y = (gelu(y @ t("ffn_gate").T) * (y @ t("ffn_up").T)) @ t("ffn_down").T
        x = x + rms(y, t("post_ffw_norm"))
        y = (gelu(x @ t("inp_gate").T) * own[:, i]) @ t("proj").T
        x = (x + rms(y, t("post_norm"))) * t("layer_output_scale")[0]
    out = rms(x[-1], w["output_norm.weight"]) @ w["token_embd.weight"].T
    return CAP * np.tanh(out / CAP)


def save(path, values):
    np.asarray(values, dtype="<f4").tofile(path)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--type", default="q8_0", choices=TYPES)
    p.add_argument("--tokens", nargs="*", default=[])
    a = p.parse_args()
    name = os.path.join(a.out, f"gemma4-{a.type}")
    weights = write(name + ".gguf", a.type)
    for path in a.tokens:
        ids = np.fromfile(path, dtype="<i4").tolist()
        save(f"{name}.{len(ids)}.exact.f32", logits(weights, ids))
    around = [os.path.join(a.out, f"image_{side}.i32") for side in ("before", "after")]
    if all(map(os.path.exists, around)):
        before, after = (np.fromfile(path, dtype="<i4").tolist() for path in around)
        rows = np.random.default_rng(54).standard_normal((PICTURE, SHAPE["embd"]))
        rows = rows.astype(np.float16).astype(np.float64)
        save(name + ".image.rows.f32", rows)
        ids = before + [None] * PICTURE + after
        save(name + ".image.exact.f32", logits(weights, ids, rows, len(before)))


if __name__ == "__main__":
    main()
