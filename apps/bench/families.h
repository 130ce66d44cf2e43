/* The shapes of the models that people run, and what their files hold. */
#ifndef BLUELM_BENCH_FAMILIES_H
#define BLUELM_BENCH_FAMILIES_H

#include "gguf.h"

/* What a language model has besides what all have. */
enum {
    BENCH_ATTENTION = 1 << 0, /* a layer of this kind */
    BENCH_CONVOLUTION = 1 << 1,
    BENCH_DELTA = 1 << 2,
    BENCH_BIASES = 1 << 3, /* of queries, keys and values */
    BENCH_HEAD_NORMS = 1 << 4,
    BENCH_FFN_NORM = 1 << 5,
    BENCH_POST_NORM = 1 << 6, /* after attention */
    BENCH_POST_FFN_NORM = 1 << 7,
    BENCH_UNTIED = 1 << 8,
    BENCH_GATED_QUERIES = 1 << 9,
    BENCH_PURE = 1 << 10,     /* every matrix has the one type */
    BENCH_JOINED = 1 << 11,   /* queries, keys, values in one matrix, gate and up in another */
    BENCH_ONE_NORM = 1 << 12, /* a LayerNorm for both parts, biases everywhere, no gates */
    BENCH_STORES = 1 << 13    /* a layer whose keys and values are its own */
};

/* What an encoder has. */
enum {
    BENCH_CLASS = 1 << 0,
    BENCH_PRE_NORM = 1 << 1,
    BENCH_POST_LN = 1 << 2,
    BENCH_POSITIONS = 1 << 3,
    BENCH_PATCH_BIAS = 1 << 4,
    BENCH_TWO_KERNELS = 1 << 5,
    BENCH_FUSED = 1 << 6, /* queries, keys and values */
    BENCH_APART = 1 << 7,
    BENCH_NORM_BIAS = 1 << 8,
    BENCH_GATED = 1 << 9,
    BENCH_LAYER_SCALE = 1 << 10,
    BENCH_QUICK_GELU = 1 << 11,
    BENCH_BARE = 1 << 12,   /* no biases anywhere, a norm before the blocks, gated */
    BENCH_GEMMA4 = 1 << 13, /* no biases, norms before and behind parts, of heads, bounds */
    BENCH_SIGLIP =
        BENCH_POST_LN | BENCH_POSITIONS | BENCH_PATCH_BIAS | BENCH_APART | BENCH_NORM_BIAS
};

enum bench_words { BENCH_LLAMA_WORDS, BENCH_GEMMA_WORDS, BENCH_GEMMA4_WORDS, BENCH_BYTE_WORDS };
enum bench_pixels { BENCH_HALVES, BENCH_IMAGENET, BENCH_CLIP, BENCH_PLAIN };

typedef struct bench_language {
    const char *arch;
    uint32_t features;
    uint32_t n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_vocab, context;
    float rope_base, eps;
    uint32_t sections[4];      /* of RoPE; all 0: none */
    uint32_t deepstack_layers; /* that take a picture's rows of their own */
    uint32_t window;           /* of attention */
    float rope_factor;         /* linear scaling; 0: none */
    uint64_t attention_layers; /* bit by bit where others are convolutions */
    uint32_t full_interval;    /* every so many layers are attention, the others delta nets */
    uint32_t state_size, delta_heads, rope_dim;
    uint32_t global_every; /* others have windows and heads of head_local; 0: no pattern */
    uint32_t head_local;
    uint32_t sharing, sharing_ff; /* last layers that store nothing, and their n_ff */
    uint32_t own;                 /* values of a layer's own embedding */
    float logit_cap;
    float scales[4]; /* of embeddings, residuals, attention and logits; all 0: none */
    enum bench_words words;
    const char *pre;       /* tokenizer.ggml.pre */
    const char *specials;  /* tokens; "<row_%u_col_%u>:6" stands for 6 x 6 of them */
    const char *bos, *eos; /* names of special tokens */
    const char *chat;      /* tokenizer.chat_template */
} bench_language;

typedef struct bench_tower {
    const char *projector;
    uint32_t features;
    uint32_t image_px, patch_px, width, n_layer, n_head, n_ff;
    uint32_t merge;  /* patches a side that become a token */
    uint32_t hidden; /* of the projector, where it is neither width's nor the model's; a
                      * resampler's queries */
    uint32_t table;  /* side of the table of positions, where it is not the picture's */
    uint32_t window_pattern;
    uint32_t deepstack[3]; /* layers, counted from 1; 0: none */
    uint32_t taps[4];      /* layers that the projector reads; all 0: the last but one */
    uint32_t grid_tiles;   /* llava-next: all grids up to so many, and a token for rows */
    enum bench_pixels pixels;
    float eps;
} bench_tower;

typedef struct bench_family {
    const char *name, *title; /* as people type it; as people know it */
    const bench_language *language;
    const bench_tower *tower;
    const char *llm, *mmproj; /* types of the files that people have, "q8_0,q4_k_m" */
    const char *departs;      /* from what its authors do */
} bench_family;

/* NULL: no such family. */
const bench_family *bench_family_named(const char *name);

/* One after another, the default first; NULL after the last. */
const bench_family *bench_family_at(uint32_t index);

/* Whether it is the default, or the small one that stands for it. */
int bench_family_is_default(const bench_family *f);

/* The number of a file type's name, such as q4_k_m; -1: no such name. */
int bench_file_type(const char *name);

/* Writes a file. Returns 0, or -1 with errno.
 *   type    of bench_file_type
 *   hollow  1: headers alone, as long as the whole file */
int bench_write_llm(const char *path, const bench_family *f, int type, int hollow);
int bench_write_mmproj(const char *path, const bench_family *f, int type, int hollow);

/* Values of the matrices that every token of a prompt passes, and bytes of those that a token
 * of an answer does: all but the embedding table, unless it is the output as well. */
uint64_t bench_llm_linear_values(const bench_family *f);
uint64_t bench_llm_linear_bytes(const bench_family *f, int type);

/* Bytes that a token of context takes in an int8 cache. */
uint64_t bench_llm_cache_bytes(const bench_family *f);

/* Multiply-adds of one tile, or of a picture of image_px: in BlueLM-V-3B 300 G in patch
 * embedding and linear layers, 33 G in attention, 4 G in the projector. */
uint64_t bench_tile_products(const bench_family *f);

#endif
