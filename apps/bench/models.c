#include "models.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const bench_shape bench_3b = {2560, 32, 20, 6912, 100096, 27};
const bench_shape bench_small = {256, 2, 4, 512, 100096, 1};

/* SigLIP so400m-patch14-384 has 27 layers of */
enum { TILE_PX = 384, PATCH_PX = 14, PATCHES = 27 * 27, WIDTH = 1152, HEADS = 16 };
enum { FFN = 4304, TOKENS = 14 * 14, MERGED = 4 * WIDTH };

uint64_t bench_llm_linear_values(const bench_shape *s)
{
    uint64_t e = s->n_embd;
    return s->n_layer * (4 * e * e + 3 * e * s->n_ff) + e * s->n_vocab;
}

uint64_t bench_tile_products(const bench_shape *s)
{
    uint64_t n_embd = s->n_embd;
    uint64_t linear = 4ull * WIDTH * WIDTH + 2ull * WIDTH * FFN;
    uint64_t attention = 2ull * PATCHES * WIDTH; /* a query with every key, and with values */
    uint64_t patch = 3ull * PATCH_PX * PATCH_PX * WIDTH;
    uint64_t projector = MERGED * n_embd + n_embd * n_embd;
    return PATCHES * (s->vision_layers * (linear + attention) + patch) + TOKENS * projector;
}

/* ---- Writing GGUF ------------------------------------------------------------------ */

typedef struct bench_tensor {
    char name[64];
    uint64_t ne[4];
    uint32_t n_dims, type;
    float value; /* standard deviation of a matrix's weights; a vector's constant */
} bench_tensor;

typedef struct bench_writer {
    FILE *file;
    uint64_t keys, keys_at; /* counted; where the counts are written at the end */
    bench_tensor *tensors;
    uint32_t tensor_count;
    uint64_t random;
} bench_writer;

static void bench_u32(bench_writer *w, uint32_t v)
{
    fwrite(&v, sizeof v, 1, w->file);
}

static void bench_u64(bench_writer *w, uint64_t v)
{
    fwrite(&v, sizeof v, 1, w->file);
}

static void bench_string(bench_writer *w, const char *text)
{
    bench_u64(w, strlen(text));
    fwrite(text, 1, strlen(text), w->file);
}

static void bench_key(bench_writer *w, const char *key, uint32_t type)
{
    bench_string(w, key);
    bench_u32(w, type);
    w->keys++;
}

static void bench_key_u32(bench_writer *w, const char *key, uint32_t value)
{
    bench_key(w, key, 4);
    bench_u32(w, value);
}

static void bench_key_f32(bench_writer *w, const char *key, float value)
{
    bench_key(w, key, 6);
    fwrite(&value, sizeof value, 1, w->file);
}

static void bench_key_true(bench_writer *w, const char *key)
{
    bench_key(w, key, 7);
    fputc(1, w->file);
}

static void bench_key_string(bench_writer *w, const char *key, const char *value)
{
    bench_key(w, key, 8);
    bench_string(w, value);
}

static void bench_add(bench_writer *w, const char *name, uint32_t type, float value,
                      uint64_t ne0, uint64_t ne1)
{
    bench_tensor *t = &w->tensors[w->tensor_count++];
    *t = (bench_tensor){
        .ne = {ne0, ne1, 1, 1}, .n_dims = ne1 == 1 ? 1 : 2, .type = type, .value = value};
    snprintf(t->name, sizeof t->name, "%s", name);
}

/* A matrix whose outputs have about the size of its inputs. A row length that the type's
 * blocks do not divide becomes F16, as in converted files. */
static void bench_matrix(bench_writer *w, const char *prefix, int layer, const char *name,
                         uint32_t type, uint64_t cols, uint64_t rows)
{
    char full[64];
    float deviation = 1.0f;
    uint64_t block = type == BENCH_Q4_K ? 256 : type == BENCH_F16 ? 1 : 32;
    for (uint64_t n = 1; n < cols; n *= 4)
        deviation *= 0.5f; /* near 1/sqrt(cols) */
    if (layer >= 0)
        snprintf(full, sizeof full, "%s.%d.%s", prefix, layer, name);
    else
        snprintf(full, sizeof full, "%s", name);
    bench_add(w, full, cols % block ? BENCH_F16 : type, deviation, cols, rows);
}

static void bench_vector(bench_writer *w, const char *prefix, int layer, const char *name,
                         uint64_t n, float value)
{
    char full[64];
    if (layer >= 0)
        snprintf(full, sizeof full, "%s.%d.%s", prefix, layer, name);
    else
        snprintf(full, sizeof full, "%s", name);
    bench_add(w, full, BENCH_F32, value, n, 1);
}

static uint64_t bench_random(bench_writer *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

/* f16 of a normal positive number. */
static uint16_t bench_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(((bits >> 23) - 112) << 10 | ((bits >> 13) & 0x3FF));
}

typedef struct bench_block {
    uint32_t values, bytes;
} bench_block;

static bench_block bench_block_of(uint32_t type)
{
    switch (type) {
    case BENCH_Q4_0:
        return (bench_block){32, 18};
    case BENCH_Q8_0:
        return (bench_block){32, 34};
    case BENCH_Q4_K:
        return (bench_block){256, 144};
    case BENCH_F16:
        return (bench_block){1, 2};
    default:
        return (bench_block){1, 4};
    }
}

static uint64_t bench_tensor_bytes(const bench_tensor *t)
{
    bench_block block = bench_block_of(t->type);
    return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3] / block.values * block.bytes;
}

/* Gives random bytes the scales that make weights of the wanted deviation. Q4 nibbles
 * deviate by 4.6, int8 by 74. */
static void bench_scale_blocks(const bench_tensor *t, uint8_t *data, uint64_t bytes)
{
    uint32_t step = bench_block_of(t->type).bytes;
    for (uint64_t at = 0; at < bytes; at += step) {
        uint16_t scale;
        switch (t->type) {
        case BENCH_Q4_0:
            scale = bench_f16(t->value / 4.6f);
            break;
        case BENCH_Q8_0:
            scale = bench_f16(t->value / 74.0f);
            break;
        case BENCH_Q4_K:
            scale = bench_f16(t->value / 170.0f);
            break;
        default: /* F16: a sign and 10 bits of one octave around the deviation */
            memcpy(&scale, data + at, sizeof scale);
            scale = (uint16_t)((scale & 0x83FF) | (bench_f16(t->value) & 0x7C00));
            break;
        }
        memcpy(data + at, &scale, sizeof scale);
        if (t->type == BENCH_Q4_K) { /* the mins' scale: 8 q make up for the mean */
            scale = bench_f16(t->value / 170.0f * 7.5f);
            memcpy(data + at + 2, &scale, sizeof scale);
        }
    }
}

static int bench_write_tensor(bench_writer *w, const bench_tensor *t)
{
    static uint64_t part[9 * 1024]; /* a multiple of every block: 18, 34 x 72 .. */
    uint64_t left = bench_tensor_bytes(t), room = sizeof part;
    uint32_t step = bench_block_of(t->type).bytes;
    room -= room % step;
    while (left) {
        uint64_t bytes = left < room ? left : room;
        if (t->type == BENCH_F32) {
            for (uint64_t i = 0; i < bytes / sizeof(float); i++)
                ((float *)(void *)part)[i] = t->value;
        } else {
            for (uint64_t i = 0; i < (bytes + 7) / 8; i++)
                part[i] = bench_random(w);
            bench_scale_blocks(t, (uint8_t *)part, bytes);
        }
        if (fwrite(part, 1, (size_t)bytes, w->file) != bytes) return -1;
        left -= bytes;
    }
    while (ftell(w->file) % 32)
        fputc(0, w->file);
    return 0;
}

static int bench_start(bench_writer *w, const char *path, uint32_t most_tensors)
{
    memset(w, 0, sizeof *w);
    w->random = 0x9E3779B97F4A7C15u;
    w->tensors = calloc(most_tensors, sizeof *w->tensors);
    w->file = fopen(path, "wb");
    if (!w->tensors || !w->file) return -1;
    fwrite("GGUF", 1, 4, w->file);
    bench_u32(w, 3);
    w->keys_at = (uint64_t)ftell(w->file);
    bench_u64(w, 0);
    bench_u64(w, 0);
    return 0;
}

/* Writes the tensor table, the data and the counts, and gives the file its name. */
static int bench_finish(bench_writer *w, const char *part_path, const char *path)
{
    uint64_t offset = 0;
    int failed = 0;
    for (uint32_t i = 0; i < w->tensor_count; i++) {
        const bench_tensor *t = &w->tensors[i];
        bench_string(w, t->name);
        bench_u32(w, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims; d++)
            bench_u64(w, t->ne[d]);
        bench_u32(w, t->type);
        bench_u64(w, offset);
        offset += (bench_tensor_bytes(t) + 31) / 32 * 32;
    }
    while (ftell(w->file) % 32)
        fputc(0, w->file);
    for (uint32_t i = 0; i < w->tensor_count && !failed; i++)
        failed = bench_write_tensor(w, &w->tensors[i]);
    fseek(w->file, (long)w->keys_at, SEEK_SET);
    bench_u64(w, w->tensor_count);
    bench_u64(w, w->keys);
    free(w->tensors);
    failed |= ferror(w->file);
    failed |= fclose(w->file);
    return failed ? -1 : rename(part_path, path);
}

/* ---- The two files ------------------------------------------------------------------- */

static void bench_vocabulary(bench_writer *w, uint32_t n_vocab)
{
    char piece[32];
    bench_key_string(w, "tokenizer.ggml.model", "llama");
    bench_key(w, "tokenizer.ggml.tokens", 9);
    bench_u32(w, 8);
    bench_u64(w, n_vocab);
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (i >= 3 && i < 259)
            snprintf(piece, sizeof piece, "<0x%02X>", i - 3);
        else
            snprintf(piece, sizeof piece,
                     i == 0   ? "<unk>"
                     : i == 1 ? "<s>"
                     : i == 2 ? "</s>"
                              : "t%u",
                     i);
        bench_string(w, piece);
    }
    bench_key(w, "tokenizer.ggml.scores", 9);
    bench_u32(w, 6);
    bench_u64(w, n_vocab);
    for (uint32_t i = 0; i < n_vocab; i++)
        bench_u32(w, 0);
    bench_key(w, "tokenizer.ggml.token_type", 9);
    bench_u32(w, 5);
    bench_u64(w, n_vocab);
    for (uint32_t i = 0; i < n_vocab; i++)
        bench_u32(w, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    bench_key_u32(w, "tokenizer.ggml.bos_token_id", 1);
    bench_key_u32(w, "tokenizer.ggml.eos_token_id", 2);
    bench_key_u32(w, "tokenizer.ggml.unknown_token_id", 0);
}

static void bench_llm_layer(bench_writer *w, const bench_shape *s, int i, uint32_t type)
{
    bench_vector(w, "blk", i, "attn_norm.weight", s->n_embd, 1);
    bench_matrix(w, "blk", i, "attn_q.weight", type, s->n_embd, s->n_embd);
    bench_matrix(w, "blk", i, "attn_k.weight", type, s->n_embd, s->n_embd);
    bench_matrix(w, "blk", i, "attn_v.weight", type, s->n_embd, s->n_embd);
    bench_matrix(w, "blk", i, "attn_output.weight", type, s->n_embd, s->n_embd);
    bench_vector(w, "blk", i, "ffn_norm.weight", s->n_embd, 1);
    bench_matrix(w, "blk", i, "ffn_gate.weight", type, s->n_embd, s->n_ff);
    bench_matrix(w, "blk", i, "ffn_up.weight", type, s->n_embd, s->n_ff);
    bench_matrix(w, "blk", i, "ffn_down.weight", type, s->n_ff, s->n_embd);
}

int bench_make_llm(const char *path, const bench_shape *s, uint32_t type)
{
    char part[512];
    bench_writer w;
    if (access(path, R_OK) == 0) return 0;
    snprintf(part, sizeof part, "%s.part", path);
    if (bench_start(&w, part, 9 * s->n_layer + 3)) return -1;
    bench_key_string(&w, "general.architecture", "llama");
    bench_key_string(&w, "general.name", "random weights");
    bench_key_u32(&w, "llama.context_length", 4096);
    bench_key_u32(&w, "llama.embedding_length", s->n_embd);
    bench_key_u32(&w, "llama.block_count", s->n_layer);
    bench_key_u32(&w, "llama.feed_forward_length", s->n_ff);
    bench_key_u32(&w, "llama.attention.head_count", s->n_head);
    bench_key_u32(&w, "llama.attention.head_count_kv", s->n_head);
    bench_key_u32(&w, "llama.rope.dimension_count", s->n_embd / s->n_head);
    bench_key_u32(&w, "llama.vocab_size", s->n_vocab);
    bench_key_f32(&w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    bench_vocabulary(&w, s->n_vocab);
    bench_matrix(&w, "", -1, "token_embd.weight", type, s->n_embd, s->n_vocab);
    for (uint32_t i = 0; i < s->n_layer; i++)
        bench_llm_layer(&w, s, (int)i, type);
    bench_vector(&w, "", -1, "output_norm.weight", s->n_embd, 1);
    bench_matrix(&w, "", -1, "output.weight", type, s->n_embd, s->n_vocab);
    return bench_finish(&w, part, path);
}

static void bench_vision_layer(bench_writer *w, int i, uint32_t type)
{
    static const char *const square[] = {"attn_q", "attn_k", "attn_v", "attn_out"};
    static const char *const norms[] = {"ln1", "ln2"};
    char name[32];
    for (uint32_t n = 0; n < 2; n++) {
        snprintf(name, sizeof name, "%s.weight", norms[n]);
        bench_vector(w, "v.blk", i, name, WIDTH, 1);
        snprintf(name, sizeof name, "%s.bias", norms[n]);
        bench_vector(w, "v.blk", i, name, WIDTH, 0);
    }
    for (uint32_t n = 0; n < 4; n++) {
        snprintf(name, sizeof name, "%s.weight", square[n]);
        bench_matrix(w, "v.blk", i, name, type, WIDTH, WIDTH);
        snprintf(name, sizeof name, "%s.bias", square[n]);
        bench_vector(w, "v.blk", i, name, WIDTH, 0);
    }
    bench_matrix(w, "v.blk", i, "ffn_up.weight", type, WIDTH, FFN);
    bench_vector(w, "v.blk", i, "ffn_up.bias", FFN, 0);
    bench_matrix(w, "v.blk", i, "ffn_down.weight", type, FFN, WIDTH);
    bench_vector(w, "v.blk", i, "ffn_down.bias", WIDTH, 0);
}

int bench_make_mmproj(const char *path, const bench_shape *s, uint32_t type)
{
    uint32_t layers = s->vision_layers, n_embd = s->n_embd;
    char part[512];
    bench_writer w;
    if (access(path, R_OK) == 0) return 0;
    snprintf(part, sizeof part, "%s.part", path);
    if (bench_start(&w, part, 16 * layers + 9)) return -1;
    bench_key_string(&w, "general.architecture", "clip");
    bench_key_true(&w, "clip.has_vision_encoder");
    bench_key_true(&w, "clip.use_gelu");
    bench_key_string(&w, "clip.projector_type", "lfm2");
    bench_key_u32(&w, "clip.vision.image_size", TILE_PX);
    bench_key_u32(&w, "clip.vision.patch_size", PATCH_PX);
    bench_key_u32(&w, "clip.vision.embedding_length", WIDTH);
    bench_key_u32(&w, "clip.vision.feed_forward_length", FFN);
    bench_key_u32(&w, "clip.vision.block_count", layers);
    bench_key_u32(&w, "clip.vision.attention.head_count", HEADS);
    bench_key_u32(&w, "clip.vision.projection_dim", n_embd);
    bench_key_u32(&w, "clip.vision.projector.scale_factor", 2);
    bench_key_f32(&w, "clip.vision.attention.layer_norm_epsilon", 1e-6f);
    bench_matrix(&w, "", -1, "v.patch_embd.weight", BENCH_F16, PATCH_PX, PATCH_PX);
    w.tensors[0].n_dims = 4;
    w.tensors[0].ne[2] = 3;
    w.tensors[0].ne[3] = WIDTH;
    w.tensors[0].value = 0.04f;
    bench_vector(&w, "", -1, "v.patch_embd.bias", WIDTH, 0);
    bench_add(&w, "v.position_embd.weight", BENCH_F32, 0.01f, WIDTH, PATCHES);
    for (uint32_t i = 0; i < layers; i++)
        bench_vision_layer(&w, (int)i, type);
    bench_vector(&w, "", -1, "v.post_ln.weight", WIDTH, 1);
    bench_vector(&w, "", -1, "v.post_ln.bias", WIDTH, 0);
    bench_matrix(&w, "", -1, "mm.1.weight", type, MERGED, n_embd);
    bench_vector(&w, "", -1, "mm.1.bias", n_embd, 0);
    bench_matrix(&w, "", -1, "mm.2.weight", type, n_embd, n_embd);
    bench_vector(&w, "", -1, "mm.2.bias", n_embd, 0);
    return bench_finish(&w, part, path);
}
