#!/usr/bin/env python3
"""Writes small Gemma 4 models with random weights, as llama.cpp's converter lays them out, and
what they give: a rewrite in double precision that shares no code with the library.

Usage: gemma4_reference.py OUT [--type TYPE] [--tokens FILE.i32 ...] [--tower]

OUT/gemma4-TYPE.gguf and OUT/gemma4-TYPE.N.exact.f32, the logits after the last of N tokens. With
OUT/image_before.i32 and image_after.i32 there also OUT/gemma4-TYPE.image.rows.f32, the rows of a
picture, and OUT/gemma4-TYPE.image.exact.f32. TYPE is f32, f16 or q8_0 (whose table of embeddings of
layers is Q4_0). With --tower there is OUT/gemma4v-TYPE.gguf, OUT/pic-WxH.rgb and
OUT/gemma4v-TYPE.WxH.exact.f32 instead, the image tokens of a picture. Needs numpy and the gguf package of llama.cpp (PYTHONPATH=llama.cpp/gguf-py).
"""
import argparse
import os

import gguf
import numpy as np
from gguf import quants

TYPES = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16,
         "q8_0": gguf.GGMLQuantizationType.Q8_0}
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

    def __init__(self, path, kind, architecture="gemma4"):
        self.random = np.random.default_rng(4)
        self.kind = kind
        self.w = gguf.GGUFWriter(path, architecture)
        self.read = {}

    def add(self, name, shape, kind=None, scale=None, around=0.0):
        x = self.random.standard_normal(shape)
        x = (around + x * (scale or shape[-1] ** -0.5)).astype(np.float32)
        kind = TYPES["f32"] if len(shape) == 1 else (self.kind if kind is None else kind)
        data = x if kind == TYPES["f32"] else quants.quantize(x, kind)
        self.w.add_tensor(name, data, raw_dtype=kind)
        self.read[name] = quants.dequantize(data, kind).astype(np.float64).reshape(shape)

    def close(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()
        return self.read

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
    return m.close()


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


# ---- The tower ----------------------------------------------------------------------------------

TOWER = dict(patch=8, width=64, heads=4, ffn=96, layers=2, side=48, pool=3, out=64)
PICTURES = [(96, 72), (48, 144)]
PARTS = ["attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_gate", "ffn_down"]


def write_tower(path, kind):
    s = TOWER
    m = Model(path, TYPES[kind], "clip")
    w = m.w
    w.add_type(gguf.GGUFType.MMPROJ)
    w.add_clip_has_vision_encoder(True)
    # Another implementation takes the model's own activation only where it is named, and looks
    # for more of the audio tower than its name.
    peer = "PEER" in os.environ
    w.add_clip_has_audio_encoder(not peer)
    if peer:
        w.add_vision_use_gelu(True)
    w.add_string("clip.vision.projector_type", "gemma4v")
    w.add_string("clip.audio.projector_type", "gemma4a")
    w.add_vision_projection_dim(s["out"])
    w.add_vision_image_size(224)  # as the converter writes, and nobody reads
    w.add_vision_patch_size(s["patch"])
    w.add_vision_embedding_length(s["width"])
    w.add_vision_feed_forward_length(s["ffn"])
    w.add_vision_block_count(s["layers"])
    w.add_vision_head_count(s["heads"])
    w.add_vision_attention_layernorm_eps(EPS)
    w.add_vision_image_mean([0.0, 0.0, 0.0])
    w.add_vision_image_std([1.0, 1.0, 1.0])
    width, head = s["width"], s["width"] // s["heads"]
    f32 = TYPES["f32"]
    m.add("v.patch_embd.weight", (width, 3, s["patch"], s["patch"]), f32,
          (3 * s["patch"] ** 2) ** -0.5)
    m.add("v.position_embd.weight", (2, s["side"], width), f32, 0.5)
    m.add("v.std_bias", (width,), scale=0.5)
    m.add("v.std_scale", (width,), scale=0.2, around=1)
    m.add("mm.input_projection.weight", (s["out"], width))
    for i in range(s["layers"]):
        b = f"v.blk.{i}."
        for name in ("ln1", "attn_post_norm", "ln2", "ffn_post_norm"):
            m.add(f"{b}{name}.weight", (width,), scale=0.2, around=1)
        for name in ("attn_q_norm", "attn_k_norm"):
            m.add(f"{b}{name}.weight", (head,), scale=0.1, around=0.5)
        for name in PARTS:
            rows, cols = (s["ffn"], width) if name in ("ffn_up", "ffn_gate") else \
                (width, s["ffn"]) if name == "ffn_down" else (width, width)
            m.add(f"{b}{name}.weight", (rows, cols))
            # Queries and keys are cut alike, values otherwise; in layer 1 nothing is cut on
            # the way into the feed-forward part.
            narrow = 1.6 if name == "attn_v" else 1.2
            if not (i == 1 and name in ("ffn_up", "ffn_gate")):
                m.fix(f"{b}{name}.input_min", [-narrow])
                m.fix(f"{b}{name}.input_max", [narrow + 0.1])
            m.fix(f"{b}{name}.output_min", [-1.9])
            m.fix(f"{b}{name}.output_max", [2.0])
    # What of the audio tower is beside it.
    m.add("a.blk.0.attn_q.weight", (32, 32), f32)
    m.add("mm.a.input_projection.weight", (32, 32), f32)
    return m.close()


def part(w, layer, name, x):
    """x times a matrix, cut on both sides."""
    b = f"v.blk.{layer}.{name}."
    low, high = w.get(b + "input_min", [-np.inf])[0], w.get(b + "input_max", [np.inf])[0]
    y = np.clip(x, low, high) @ w[b + "weight"].T
    return np.clip(y, w[b + "output_min"][0], w[b + "output_max"][0])


def turn_axis(x, place):
    """Halves of the last axis, by a coordinate of each row."""
    half = x.shape[-1] // 2
    angle = place[:, None, None] * 100.0 ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle),
                           b * np.cos(angle) + a * np.sin(angle)], -1)


def see(w, rgb):
    s = TOWER
    p, width = s["patch"], s["width"]
    rows, columns = rgb.shape[0] // p, rgb.shape[1] // p
    x = 2 * (rgb / 255.0) - 1
    x = x.reshape(rows, p, columns, p, 3).transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1)
    x = x @ w["v.patch_embd.weight"].reshape(width, -1).T
    across, down = np.tile(np.arange(columns), rows), np.repeat(np.arange(rows), columns)
    x = x + w["v.position_embd.weight"][0][across] + w["v.position_embd.weight"][1][down]
    heads, head = s["heads"], width // s["heads"]
    for i in range(s["layers"]):
        def t(name):
            return w[f"v.blk.{i}.{name}.weight"]
        y = rms(x, t("ln1"))
        q, k, v = (part(w, i, f"attn_{c}", y).reshape(-1, heads, head) for c in "qkv")
        q, k = rms(q, t("attn_q_norm")), rms(k, t("attn_k_norm"))
        q, k = (np.concatenate([turn_axis(z[..., :head // 2], across),
                                turn_axis(z[..., head // 2:], down)], -1) for z in (q, k))
        v = rms(v)
        out = np.empty_like(q)
        for h in range(heads):
            score = q[:, h] @ k[:, h].T
            score = np.exp(score - score.max(-1, keepdims=True))
            out[:, h] = score / score.sum(-1, keepdims=True) @ v[:, h]
        y = part(w, i, "attn_out", out.reshape(-1, width))
        x = x + rms(y, t("attn_post_norm"))
        y = rms(x, t("ln2"))
        y = part(w, i, "ffn_down", gelu(part(w, i, "ffn_gate", y)) * part(w, i, "ffn_up", y))
        x = x + rms(y, t("ffn_post_norm"))
    n = s["pool"]
    x = x.reshape(rows // n, n, columns // n, n, width).mean((1, 3)).reshape(-1, width)
    x = (x * np.sqrt(width) - w["v.std_bias"]) * w["v.std_scale"]
    return rms(x) @ w["mm.input_projection.weight"].T


def tower(out, kind):
    name = os.path.join(out, f"gemma4v-{kind}")
    weights = write_tower(name + ".gguf", kind)
    for columns, rows in PICTURES:
        random = np.random.default_rng(columns)
        y, x = np.mgrid[0:rows, 0:columns]
        waves = [np.sin(x * a + y * b) for a, b in random.uniform(-0.4, 0.4, (3, 2))]
        rgb = np.stack(waves, -1) * 90 + 128 + random.uniform(-30, 30, (rows, columns, 3))
        rgb = rgb.clip(0, 255).astype(np.uint8)
        rgb.tofile(os.path.join(out, f"pic-{columns}x{rows}.rgb"))
        save(f"{name}.{columns}x{rows}.exact.f32", see(weights, rgb.astype(np.float64)))


def save(path, values):
    np.asarray(values, dtype="<f4").tofile(path)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--type", default="q8_0", choices=TYPES)
    p.add_argument("--tokens", nargs="*", default=[])
    p.add_argument("--tower", action="store_true")
    a = p.parse_args()
    if a.tower:
        tower(a.out, a.type)
        return
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
