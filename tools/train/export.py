"""Writes the demo model's two GGUF files from a checkpoint, and loads such files back into the network.

    python3 export.py --checkpoint ../../build/train/checkpoint.pt --demo ../../demo
    python3 export.py --float --demo ../../build/train/float
"""
import argparse
import os

import torch

import gguf
from gguf import ARRAY, BOOL, F16, F32, F32_VALUE, I32, Q4_0, Q8_0, STRING, U32
from network import RMS_EPS, ROPE_BASE, SIZES, Model, Size
from tokenizer import BOS, EOS, IMAGE_BEGIN, IMAGE_END, ROW_END, THUMBNAIL, TILE_MARK, UNK, Tokenizer
from world import ALPHA, MAX_COLUMNS, MAX_ROWS, PATCH, TILE

LLM_FILE, MMPROJ_FILE = "bluelm-demo.gguf", "bluelm-demo-mmproj.gguf"
CONTEXT = 2048
# What bluelm.chat.template names, for programs that run templates. Every turn begins with a token of its own.
CHAT_TEMPLATE = ("{% for message in messages %}{% if message['role'] == 'assistant' %}[|AI|]:{{ message['content'] }}</s>"
                 "{% else %}{{ '[|SYSTEM|]:' if message['role'] == 'system' else '[|Human|]:' }}{{ message['content'] }}{% endif %}"
                 "{% endfor %}"
                 "{% if add_generation_prompt %}[|AI|]:{% endif %}")


def language_tensors(model):
    """(GGUF name, view of the parameter, stored kind) of every decoder tensor."""
    decoder, width, kv = model.decoder, model.size.d_width, model.size.d_kv_heads * model.size.d_head
    out = [("token_embd.weight", decoder.embedding, Q8_0), ("output_norm.weight", decoder.norm.weight, F32),
           ("output.weight", decoder.output.weight, Q8_0)]
    for i, block in enumerate(decoder.blocks):
        q, k, v = block.qkv.weight.split([width, kv, kv])
        gate, up = block.gate_up.weight.chunk(2)
        parts = (("attn_norm", block.norm1.weight, F32), ("attn_q", q, Q4_0), ("attn_k", k, Q4_0), ("attn_v", v, Q4_0),
                 ("attn_output", block.out.weight, Q4_0), ("ffn_norm", block.norm2.weight, F32), ("ffn_gate", gate, Q4_0),
                 ("ffn_up", up, Q4_0), ("ffn_down", block.down.weight, Q4_0))
        out += [("blk.%d.%s.weight" % (i, name), view, kind) for name, view, kind in parts]
    return out


def pair(name, weight, bias, kind):
    """A weight with its bias, which stays F32."""
    return [(name + ".weight", weight, kind), (name + ".bias", bias, F32)]


def vision_tensors(model):
    """(GGUF name, view of the parameter, stored kind) of every encoder and projector tensor."""
    encoder, projector = model.encoder, model.projector
    out = pair("v.patch_embd", encoder.patch.weight.view(model.size.width, 3, PATCH, PATCH), encoder.patch.bias, F16)
    out += [("v.position_embd.weight", encoder.positions, F32)]
    for i, block in enumerate(encoder.blocks):
        at = "v.blk.%d." % i
        out += pair(at + "ln1", block.ln1.weight, block.ln1.bias, F32)
        for letter, weight, bias in zip("qkv", block.qkv.weight.chunk(3), block.qkv.bias.chunk(3)):
            out += pair(at + "attn_" + letter, weight, bias, Q8_0)
        out += pair(at + "attn_out", block.out.weight, block.out.bias, Q8_0)
        out += pair(at + "ln2", block.ln2.weight, block.ln2.bias, F32)
        out += pair(at + "ffn_up", block.up.weight, block.up.bias, Q8_0)
        out += pair(at + "ffn_down", block.down.weight, block.down.bias, Q8_0)
    out += pair("v.post_ln", encoder.post.weight, encoder.post.bias, F32)
    out += pair("mm.input_norm", projector.norm.weight, projector.norm.bias, F32)
    out += pair("mm.1", projector.first.weight, projector.first.bias, Q8_0)
    return out + pair("mm.2", projector.second.weight, projector.second.bias, Q8_0)


def common_keys(architecture, name, kind):
    """What both files begin with."""
    return [("general.architecture", STRING, architecture), ("general.type", STRING, kind), ("general.name", STRING, name),
            ("general.alignment", U32, gguf.ALIGNMENT), ("general.quantization_version", U32, 2)]


def language_keys(tokenizer, size):
    """Metadata of the language model."""
    return common_keys("llama", "BlueLM demo", "model") + [
        ("general.file_type", U32, 2),
        ("llama.vocab_size", U32, len(tokenizer.tokens)),
        ("llama.context_length", U32, CONTEXT),
        ("llama.embedding_length", U32, size.d_width),
        ("llama.block_count", U32, size.d_blocks),
        ("llama.feed_forward_length", U32, size.d_ffn),
        ("llama.attention.head_count", U32, size.d_heads),
        ("llama.attention.head_count_kv", U32, size.d_kv_heads),
        ("llama.attention.layer_norm_rms_epsilon", F32_VALUE, RMS_EPS),
        ("llama.rope.freq_base", F32_VALUE, ROPE_BASE),
        ("llama.rope.dimension_count", U32, size.d_head),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", (ARRAY, STRING), tokenizer.tokens),
        ("tokenizer.ggml.scores", (ARRAY, F32_VALUE), tokenizer.scores),
        ("tokenizer.ggml.token_type", (ARRAY, I32), tokenizer.types),
        ("tokenizer.ggml.bos_token_id", U32, BOS),
        ("tokenizer.ggml.eos_token_id", U32, EOS),
        ("tokenizer.ggml.unknown_token_id", U32, UNK),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
        ("tokenizer.ggml.add_space_prefix", BOOL, True),
        ("tokenizer.chat_template", STRING, CHAT_TEMPLATE),
        ("bluelm.chat.template", STRING, "bluelm"),
    ]


def vision_keys(size):
    """Metadata of the encoder, the projector and the tiler."""
    return common_keys("clip", "BlueLM demo vision", "mmproj") + [
        ("general.file_type", U32, 7),
        ("clip.has_vision_encoder", BOOL, True),
        ("clip.projector_type", STRING, "lfm2"),
        ("clip.use_gelu", BOOL, True),
        ("clip.vision.image_size", U32, TILE),
        ("clip.vision.patch_size", U32, PATCH),
        ("clip.vision.embedding_length", U32, size.width),
        ("clip.vision.feed_forward_length", U32, size.ffn),
        ("clip.vision.projection_dim", U32, size.d_width),
        ("clip.vision.block_count", U32, size.blocks),
        ("clip.vision.attention.head_count", U32, size.heads),
        ("clip.vision.attention.layer_norm_epsilon", F32_VALUE, 1e-6),
        ("clip.vision.image_mean", (ARRAY, F32_VALUE), [0.5] * 3),
        ("clip.vision.image_std", (ARRAY, F32_VALUE), [0.5] * 3),
        ("clip.vision.projector.scale_factor", U32, 2),
        ("bluelm.image.begin", STRING, IMAGE_BEGIN),
        ("bluelm.image.end", STRING, IMAGE_END),
        ("bluelm.image.tile", STRING, TILE_MARK),
        ("bluelm.image.thumbnail", STRING, THUMBNAIL),
        ("bluelm.image.row_end", STRING, ROW_END),
        ("bluelm.tiling.rule", STRING, "relaxed"),
        ("bluelm.tiling.alpha", F32_VALUE, ALPHA),
        ("bluelm.tiling.max_columns", U32, MAX_COLUMNS),
        ("bluelm.tiling.max_rows", U32, MAX_ROWS),
        ("bluelm.tiling.thumbnail", STRING, "first"),
        ("bluelm.tiling.thumbnail_single", BOOL, False),
        ("bluelm.tiling.fit", STRING, "pad"),
        ("bluelm.tiling.pad_color", U32, 0),
        ("bluelm.tiling.resize_filter", STRING, "bicubic"),
    ]


def write_file(path, keys, entries):
    """Writes a file beside the old one, then takes its place."""
    tensors = [(name, view.detach().float().numpy(), kind) for name, view, kind in entries]
    gguf.write(path + ".part", keys, tensors)
    os.replace(path + ".part", path)
    print(path, os.path.getsize(path), "bytes")


def read_pair(demo):
    """Keys and tensors of both files, joined, and the shapes that they say."""
    keys, tensors = {}, {}
    for file in (LLM_FILE, MMPROJ_FILE):
        more_keys, more_tensors = gguf.read(os.path.join(demo, file))
        keys.update(more_keys)
        tensors.update(more_tensors)
    vision = [keys["clip.vision." + k] for k in ("embedding_length", "block_count", "attention.head_count",
                                                 "feed_forward_length")]
    language = [keys["llama." + k] for k in ("embedding_length", "block_count", "attention.head_count",
                                             "attention.head_count_kv", "feed_forward_length")]
    return keys, tensors, Size(*vision, tensors["mm.1.weight"].shape[0], *language)


def load(demo):
    """The network with the weights of exported files, dequantised, computing in f32; and its tokenizer."""
    keys, tensors, size = read_pair(demo)
    tokenizer = Tokenizer(*(keys["tokenizer.ggml." + k] for k in ("tokens", "token_type", "scores")))
    model = Model(len(tokenizer.tokens), size).eval()
    with torch.no_grad():
        for name, view, _ in language_tensors(model) + vision_tensors(model):
            view.copy_(torch.from_numpy(tensors[name].copy()))
    model.use_tanh()
    return model, tokenizer


def load_pair(model, demo):
    """Weights of exported files of the same shapes to begin with. Pieces that their vocabulary lacks begin as the mean
    of the pieces that there are within them."""
    keys, tensors, size = read_pair(demo)
    if size != model.size:
        raise SystemExit("%s has other shapes: %s, not %s" % (demo, size, model.size))
    tokenizer, row_of = Tokenizer(), {t: i for i, t in enumerate(keys["tokenizer.ggml.tokens"])}
    with torch.no_grad():
        for name, view, _ in language_tensors(model) + vision_tensors(model):
            known = torch.from_numpy(tensors[name].copy())
            if name not in ("token_embd.weight", "output.weight"):
                view.copy_(known)
                continue
            for i, piece in enumerate(tokenizer.tokens):
                rows = [row_of[piece]] if piece in row_of else [row_of[c] for c in piece if c in row_of]
                view[i] = known[rows].mean(0) if rows else known.mean(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="../../build/train/checkpoint.pt")
    parser.add_argument("--demo", default="../../demo")
    parser.add_argument("--float", action="store_true", help="weights as training left them, not rounded: what the study compares with")
    options = parser.parse_args()
    tokenizer = Tokenizer()
    saved = torch.load(options.checkpoint, map_location="cpu")
    model = Model(len(tokenizer.tokens), SIZES[saved["size"]])
    model.load_state_dict(saved["model"])
    os.makedirs(options.demo, exist_ok=True)
    for file, keys, entries in ((LLM_FILE, language_keys(tokenizer, model.size), language_tensors(model)),
                                (MMPROJ_FILE, vision_keys(model.size), vision_tensors(model))):
        if options.float:
            entries = [(name, view, F32) for name, view, _ in entries]
        write_file(os.path.join(options.demo, file), keys, entries)


if __name__ == "__main__":
    main()
