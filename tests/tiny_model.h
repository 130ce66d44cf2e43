/* Small models with random weights, written as GGUF files into memory, for the tests: a
 * language model (tiny_llm.c), an mmproj (tiny_mmproj.c), and the writer they are made with
 * (tiny_writer.c), which tests of damaged files use as well. All memory comes from malloc in
 * the exact size of the file, so that AddressSanitizer sees the first byte read past its
 * end. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include <stddef.h>
#include <stdint.h>

typedef struct tiny_file {
    uint8_t *data; /* free with tiny_free */
    size_t bytes;
} tiny_file;

void tiny_free(tiny_file *file);

/* Says what should not happen while a test is being set up, and aborts, unless it is true. */
void tiny_must(int truth, const char *what);

/* ---- Random numbers: the same on every machine ------------------------------ */

typedef struct tiny_random {
    uint64_t state; /* any seed */
} tiny_random;

uint64_t tiny_next(tiny_random *r);
double tiny_uniform(tiny_random *r); /* [0, 1) */
double tiny_normal(tiny_random *r);  /* mean 0, deviation 1, at most 6 */

/* The seed to begin with: BLUELM_SEED where it is set, which repeats a run, else `seed`.
 * Prints it. */
uint64_t tiny_seed(uint64_t seed);

/* ---- The writer --------------------------------------------------------------- */

typedef struct tiny_buffer {
    uint8_t *data;
    size_t bytes, room;
} tiny_buffer;

void tiny_put(tiny_buffer *b, const void *data, size_t bytes);
void tiny_put_u32(tiny_buffer *b, uint32_t value);
void tiny_put_u64(tiny_buffer *b, uint64_t value);
void tiny_put_f32(tiny_buffer *b, float value);
void tiny_put_string(tiny_buffer *b, const char *text); /* u64 length, bytes */

/* Keys, tensor table and data grow apart from each other; counts may be changed by hand
 * to write a broken file. */
typedef struct tiny_writer {
    tiny_buffer keys, tensors, data;
    uint64_t key_count, tensor_count;
    uint32_t version;   /* 3 */
    uint32_t alignment; /* 32; the key general.alignment is the caller's to write */
    tiny_random random;
} tiny_writer;

void tiny_start(tiny_writer *w, uint64_t seed);

/* GGUF's numbers of the types of keys. */
enum {
    TINY_KEY_U32 = 4,
    TINY_KEY_I32 = 5,
    TINY_KEY_F32 = 6,
    TINY_KEY_BOOL = 7,
    TINY_KEY_STRING = 8,
    TINY_KEY_ARRAY = 9
};

/* Begins a key: the caller puts the value's bytes into w->keys. */
void tiny_key(tiny_writer *w, const char *key, uint32_t type);
void tiny_key_u32(tiny_writer *w, const char *key, uint32_t value);
void tiny_key_f32(tiny_writer *w, const char *key, float value);
void tiny_key_bool(tiny_writer *w, const char *key, int value);
void tiny_key_string(tiny_writer *w, const char *key, const char *value);
/* Begins an array key; `count` elements follow in w->keys. */
void tiny_key_array(tiny_writer *w, const char *key, uint32_t element_type, uint64_t count);

/* Adds a tensor of `values` (product of ne) packed as `type`: 0 F32, 1 F16, 2 Q4_0, 8 Q8_0,
 * 12 Q4_K, 14 Q6_K, 30 BF16. Where the type's block does not divide the row it becomes F16,
 * as with other programs that make such files. */
void tiny_tensor(tiny_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                 const uint64_t *ne, const float *values);

/* Joins the parts and frees them. */
tiny_file tiny_finish(tiny_writer *w);

/* ---- Models -------------------------------------------------------------------- */

enum {
    TINY_F32 = 0,
    TINY_F16 = 1,
    TINY_Q4_0 = 2,
    TINY_Q8_0 = 8,
    TINY_Q4_K = 12,
    TINY_Q6_K = 14,
    TINY_BF16 = 30
};

/* Called before a file is finished, to add keys or tensors of a test's own. */
typedef void (*tiny_extra)(tiny_writer *w, void *user);

typedef struct tiny_llm_config {
    const char *arch; /* of any family of families/language.c; from two layers on, every
                         kind of layer that it has is there                       */
    uint32_t n_embd, n_layer, n_head, n_head_kv, n_ff, n_ctx;
    uint32_t head_dim;    /* 0: n_embd / n_head, and no key_length in the file       */
    uint32_t n_rot;       /* values of a head that RoPE turns; 0: head_dim           */
    uint32_t n_vocab;     /* at least TINY_MIN_VOCAB                                 */
    uint32_t embd_type;   /* token_embd                                              */
    uint32_t attn_type;   /* attn_q, attn_k, attn_v, attn_output                     */
    uint32_t ffn_type;    /* ffn_gate, ffn_up                                        */
    uint32_t down_type;   /* ffn_down                                                */
    uint32_t output_type; /* output                                                  */
    float rope_base, rms_eps;
    int tied;       /* no output.weight                                              */
    int qkv_bias;   /* as in qwen2                                                   */
    int rope_freqs; /* as in llama 3                                                 */
    int byte_bpe;   /* a gpt2 vocabulary, pre = qwen2, instead of SentencePiece      */
    const char *const
        *markers;    /* byte_bpe: control tokens behind the others, a NULL ends them */
    int no_template; /* leave out bluelm.chat.template                               */
    uint64_t seed;
    tiny_extra extra;
    void *extra_user;
} tiny_llm_config;

/* Ids of the tiny vocabularies. SentencePiece: 3..258 are the bytes. */
enum {
    TINY_UNK = 0,
    TINY_BOS = 1,
    TINY_EOS = 2,
    TINY_BYTE0 = 3,
    TINY_HUMAN = 259,   /* [|Human|]:  */
    TINY_AI = 260,      /* [|AI|]:     */
    TINY_IMG = 261,     /* <img>       */
    TINY_IMG_END = 262, /* </img>      */
    TINY_SYSTEM = 263,  /* [|SYSTEM|]: */
    TINY_PIECES = 264,  /* first ordinary piece */
    TINY_MIN_VOCAB = 264,
    /* byte_bpe: 0..255 are the bytes in their own order, then */
    TINY_BPE_END = 256,      /* <|endoftext|> */
    TINY_BPE_IM_START = 257, /* <|im_start|>  */
    TINY_BPE_IM_END = 258,   /* <|im_end|>    */
    TINY_BPE_MARKERS = 276   /* the configuration's markers */
};

/* llama, 2 layers, width 64, 4 heads (2 for keys), FFN 96, vocabulary 384, all F32. */
tiny_llm_config tiny_llm_default(void);
tiny_file tiny_llm(const tiny_llm_config *config);

typedef enum tiny_projector {
    TINY_LFM2,
    TINY_IDEFICS3,
    TINY_MLP,
    TINY_INTERNVL,
    TINY_QWEN2VL,
    TINY_QWEN25VL,
    TINY_QWEN25O,
    TINY_QWEN3VL,
    TINY_GEMMA3,
    TINY_PIXTRAL,
    TINY_LIGHTONOCR,
    TINY_JANUS,
    TINY_GEMMA4,
    TINY_RESAMPLER,
    TINY_MINICPMV46,
    TINY_PADDLEOCR,
    TINY_DOTSOCR,
    TINY_PROJECTORS
} tiny_projector;
typedef enum tiny_activation { TINY_GELU, TINY_SILU, TINY_QUICK_GELU } tiny_activation;

typedef struct tiny_vision_config {
    uint32_t image_px, patch_px; /* patch_px divides image_px or not: floor, as in SigLIP */
    uint32_t width, n_head, n_layer, n_ff;
    uint32_t n_embd;     /* width of the language model                               */
    uint32_t hidden;     /* of the two-layer projectors; 0: n_embd                    */
    uint32_t merge;      /* patches joined along a side; 0: 2, mlp always 1. pixtral: 1 has
                             no matrix for what is joined                            */
    uint32_t type;       /* attention, ffn_up and projector matrices                  */
    uint32_t down_type;  /* ffn_down                                                  */
    uint32_t patch_type; /* v.patch_embd: F32 or F16                                  */
    tiny_projector projector;
    tiny_activation activation;
    int input_norm; /* mm.input_norm, lfm2 and pixtral                                */
    int clip;       /* as in CLIP: a class embedding, a norm before the blocks and none
                       after them, no bias of the patches                             */
    int old_names;  /* ffn_up is named ffn_down and the other way round               */
    int fused;      /* attn_qkv in place of attn_q, attn_k, attn_v                    */
    uint32_t window_pattern; /* clip.vision.n_wa_pattern, 0: no key                   */
    uint32_t deepstack;      /* bit i: layer i, TINY_QWEN3VL only                     */
    int32_t features[4];     /* clip.vision.feature_layer                             */
    uint32_t feature_count;  /* 0: no key                                             */
    uint32_t queries;        /* of a resampler; 0: 4                                  */
    uint32_t named_queries;  /* that its key says; 0: as many as there are            */
    uint32_t version;        /* of MiniCPM-V; 0: 5                                    */
    uint32_t joint_layer;    /* behind which TINY_MINICPMV46 joins patches            */
    uint32_t named_scale;    /* patches a side of its token; 0: 4                     */
    int blind;               /* clip.has_vision_encoder is false                      */
    int uneven_pixels;       /* mean and std differ between the channels; else 0.5          */
    float eps;
    uint64_t seed;
    tiny_extra extra;
    void *extra_user;
} tiny_vision_config;

/* 24 px in patches of 8 (3x3, padded to 4x4, 4 tokens), 2 layers, width 48, 3 heads, FFN 80,
 * lfm2 with its norm, tanh GELU, into width 64, all F32. The other projectors bring their own
 * tower along: heads of a multiple of 4 for Qwen's. */
tiny_vision_config tiny_vision_default(void);
tiny_file tiny_mmproj(const tiny_vision_config *config);

/* ---- Reading back ------------------------------------------------------------------ */

/* The values of a tensor as doubles (dequant.c): a parser and unpackers of their own, which
 * share nothing with the library, for trusted files only.
 *   ne  out, unused dimensions are 1; may be NULL
 * Returns malloc'ed values in the file's order, or NULL when there is no such tensor. */
double *test_tensor_to_double(const void *file, size_t bytes, const char *name, uint64_t ne[4]);

/* The value of a key, if it is there and a number: a truth value is 0 or 1, of an array it
 * is the element at `index` (else 0). Returns 1, or 0 and leaves *value alone. */
int test_key_to_double(const void *file, size_t bytes, const char *key, size_t index,
                       double *value);

/* Whether the file has that key with that text. */
int test_key_is(const void *file, size_t bytes, const char *key, const char *text);

#endif
