"""Writes the demo model's two GGUF files from a checkpoint, and loads such files back into the network.

    python3 export.py --checkpoint ../../build/train/checkpoint.pt --demo ../../demo
"""
import argparse
import os

import torch

import gguf
from gguf import ARRAY, BOOL, F16, F32, F32_VALUE, I32, Q4_0, Q8_0, STRING, U32
from network import (BLOCKS, D_BLOCKS, D_FFN, D_HEAD, D_HEADS, D_KV_HEADS, D_WIDTH, FFN, HEADS, RMS_EPS, ROPE_BASE,
                     WIDTH, Model)
from tokenizer import BOS, EOS, IMAGE_BEGIN, IMAGE_END, ROW_END, THUMBNAIL, TILE_MARK, UNK, Tokenizer
from world import ALPHA, MAX_COLUMNS, MAX_ROWS, PATCH, TILE

LLM_FILE, MMPROJ_FILE = "bluelm-demo.gguf", "bluelm-demo-mmproj.gguf"
CONTEXT = 2048


def language_tensors(model):
    """(GGUF name, view of the parameter, stored kind) of every decoder tensor."""
    decoder, kv = model.decoder, D_KV_HEADS * D_HEAD
    out = [("token_embd.weight", decoder.embedding, Q8_0), ("output_norm.weight", decoder.norm.weight, F32),
           ("output.weight", decoder.output.weight, Q8_0)]
    for i, block in enumerate(decoder.blocks):
        q, k, v = block.qkv.weight.split([D_WIDTH, kv, kv])
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
    out = pair("v.patch_embd", encoder.patch.weight.view(WIDTH, 3, PATCH, PATCH), encoder.patch.bias, F16)
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


def language_keys(tokenizer):
    """Metadata of the language model."""
    return common_keys("llama", "BlueLM demo", "model") + [
        ("general.file_type", U32, 2),
        ("llama.vocab_size", U32, len(tokenizer.tokens)),
        ("llama.context_length", U32, CONTEXT),
        ("llama.embedding_length", U32, D_WIDTH),
        ("llama.block_count", U32, D_BLOCKS),
        ("llama.feed_forward_length", U32, D_FFN),
        ("llama.attention.head_count", U32, D_HEADS),
        ("llama.attention.head_count_kv", U32, D_KV_HEADS),
        ("llama.attention.layer_norm_rms_epsilon", F32_VALUE, RMS_EPS),
        ("llama.rope.freq_base", F32_VALUE, ROPE_BASE),
        ("llama.rope.dimension_count", U32, D_HEAD),
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
        ("bluelm.chat.template", STRING, "bluelm"),
    ]


def vision_keys():
    """Metadata of the encoder, the projector and the tiler."""
    return common_keys("clip", "BlueLM demo vision", "mmproj") + [
        ("general.file_type", U32, 7),
        ("clip.has_vision_encoder", BOOL, True),
        ("clip.projector_type", STRING, "lfm2"),
        ("clip.use_gelu", BOOL, True),
        ("clip.vision.image_size", U32, TILE),
        ("clip.vision.patch_size", U32, PATCH),
        ("clip.vision.embedding_length", U32, WIDTH),
        ("clip.vision.feed_forward_length", U32, FFN),
        ("clip.vision.projection_dim", U32, D_WIDTH),
        ("clip.vision.block_count", U32, BLOCKS),
        ("clip.vision.attention.head_count", U32, HEADS),
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


def load(demo):
    """The network with the weights of exported files, dequantised, computing in f32."""
    model = Model(len(Tokenizer().tokens)).eval()
    for file, entries in ((LLM_FILE, language_tensors(model)), (MMPROJ_FILE, vision_tensors(model))):
        _, tensors = gguf.read(os.path.join(demo, file))
        with torch.no_grad():
            for name, view, _ in entries:
                view.copy_(torch.from_numpy(tensors[name].copy()))
    model.use_tanh()
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="../../build/train/checkpoint.pt")
    parser.add_argument("--demo", default="../../demo")
    options = parser.parse_args()
    tokenizer = Tokenizer()
    model = Model(len(tokenizer.tokens))
    model.load_state_dict(torch.load(options.checkpoint, map_location="cpu")["model"])
    write_file(os.path.join(options.demo, LLM_FILE), language_keys(tokenizer), language_tensors(model))
    write_file(os.path.join(options.demo, MMPROJ_FILE), vision_keys(), vision_tensors(model))


if __name__ == "__main__":
    main()
