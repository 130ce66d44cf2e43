/* The tiny language models, of every family. */
#include "tiny_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tiny_llm_config tiny_llm_default(void)
{
    tiny_llm_config c;
    memset(&c, 0, sizeof c);
    c.arch = "llama";
    c.n_embd = 64, c.n_layer = 2, c.n_head = 4, c.n_head_kv = 2, c.n_ff = 96;
    c.n_ctx = 256, c.n_vocab = 384;
    c.rope_base = 10000, c.rms_eps = 1e-5f;
    c.seed = 1;
    return c;
}

static void arch_u32(tiny_writer *w, const char *arch, const char *key, uint32_t value)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    tiny_key_u32(w, name, value);
}

static void arch_f32(tiny_writer *w, const char *arch, const char *key, float value)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    tiny_key_f32(w, name, value);
}

/* What a family has beyond a Llama, or in place of it. In small models every second layer is
 * attention (lfm2, qwen35) or sees the whole context (gemma3, gemma4). */
typedef struct tiny_family {
    const char *arch, *ffn_norm, *final_norm;
    int head_norms, sandwich, windows, gated, fused, scales;
    int runs, thirds; /* sections of RoPE's pairs             */
    int deepstack;    /* rows of pictures for so many layers  */
    int convolution, delta;
    int own;   /* embeddings of layers, small local heads, two of four layers share */
    int plain; /* LayerNorm, one for both parts; one matrix for queries, keys, values; no gates */
} tiny_family;

enum { OWN = 32 };
enum { TAPS = 3, DELTA_K_HEADS = 2, DELTA_V_HEADS = 4, DELTA_SIZE = 16, WINDOW = 16 };

static const tiny_family families[] = {
    {.arch = "llama"},
    {.arch = "qwen2vl", .runs = 1},
    {.arch = "paddleocr", .runs = 1},
    {.arch = "qwen3", .head_norms = 1},
    {.arch = "qwen3vl", .head_norms = 1, .thirds = 1, .deepstack = 1},
    {.arch = "qwen35",
     .head_norms = 1,
     .thirds = 1,
     .gated = 1,
     .delta = 1,
     .ffn_norm = "post_attention_norm.weight"},
    {.arch = "lfm2", .head_norms = 1, .convolution = 1, .final_norm = "token_embd_norm.weight"},
    {.arch = "gemma3", .head_norms = 1, .sandwich = 1, .windows = 1},
    {.arch = "gemma4", .head_norms = 1, .sandwich = 1, .windows = 1, .own = 1},
    {.arch = "phi3", .fused = 1},
    {.arch = "granite", .scales = 1},
    {.arch = "phi2", .plain = 1},
};

static const tiny_family *family_of(const tiny_llm_config *c)
{
    size_t i;
    for (i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].arch, c->arch) == 0) return &families[i];
    return &families[0]; /* any other name: as a Llama is */
}

static uint32_t rotated(const tiny_llm_config *c, uint32_t head_dim)
{
    return c->n_rot != 0 ? c->n_rot : head_dim;
}

/* Last layers that read keys and values of earlier ones. */
static uint32_t sharing(const tiny_llm_config *c)
{
    return family_of(c)->own && c->n_layer >= 4 ? 2 : 0;
}

static void family_keys(tiny_writer *w, const tiny_llm_config *c, uint32_t head_dim)
{
    const tiny_family *f = family_of(c);
    uint32_t pairs = rotated(c, head_dim) / 2, share = f->runs ? pairs / 4 : pairs / 3;
    char name[64];
    if (f->runs || f->thirds) {
        snprintf(name, sizeof name, "%s.rope.dimension_sections", c->arch);
        tiny_key_array(w, name, TINY_KEY_I32, 4);
        tiny_put_u32(&w->keys, pairs - 2 * share);
        tiny_put_u32(&w->keys, share);
        tiny_put_u32(&w->keys, share);
        tiny_put_u32(&w->keys, 0);
    }
    if (f->deepstack) arch_u32(w, c->arch, "n_deepstack_layers", (uint32_t)f->deepstack);
    if (f->windows) {
        arch_u32(w, c->arch, "attention.sliding_window", WINDOW);
        arch_u32(w, c->arch, "attention.sliding_window_pattern", 2);
    }
    if (f->own) {
        arch_u32(w, c->arch, "attention.key_length_swa", head_dim / 2);
        arch_u32(w, c->arch, "attention.value_length_swa", head_dim / 2);
        arch_u32(w, c->arch, "rope.dimension_count_swa", head_dim / 2);
        arch_u32(w, c->arch, "attention.shared_kv_layers", sharing(c));
        arch_u32(w, c->arch, "embedding_length_per_layer_input", OWN);
        arch_f32(w, c->arch, "final_logit_softcapping", 30);
    }
    if (f->scales) {
        arch_f32(w, c->arch, "embedding_scale", 3);
        arch_f32(w, c->arch, "residual_scale", 0.5f);
        arch_f32(w, c->arch, "attention.scale", 0.2f);
        arch_f32(w, c->arch, "logit_scale", 2);
    }
    if (f->convolution) arch_u32(w, c->arch, "shortconv.l_cache", TAPS);
    if (!f->delta) return;
    arch_u32(w, c->arch, "full_attention_interval", 2);
    arch_u32(w, c->arch, "ssm.conv_kernel", TAPS);
    arch_u32(w, c->arch, "ssm.state_size", DELTA_SIZE);
    arch_u32(w, c->arch, "ssm.group_count", DELTA_K_HEADS);
    arch_u32(w, c->arch, "ssm.time_step_rank", DELTA_V_HEADS);
    arch_u32(w, c->arch, "ssm.inner_size", DELTA_V_HEADS * DELTA_SIZE);
}

static void kv_heads_key(tiny_writer *w, const tiny_llm_config *c)
{
    char name[64];
    uint32_t i;
    if (!family_of(c)->convolution) {
        arch_u32(w, c->arch, "attention.head_count_kv", c->n_head_kv);
        return;
    }
    snprintf(name, sizeof name, "%s.attention.head_count_kv", c->arch);
    tiny_key_array(w, name, TINY_KEY_I32, c->n_layer);
    for (i = 0; i < c->n_layer; i++)
        tiny_put_u32(&w->keys, i % 2 ? c->n_head_kv : 0);
}

static void llm_keys(tiny_writer *w, const tiny_llm_config *c, uint32_t head_dim)
{
    tiny_key_string(w, "general.architecture", c->arch);
    tiny_key_string(w, "general.name", "tiny");
    tiny_key_u32(w, "general.alignment", w->alignment);
    arch_u32(w, c->arch, "vocab_size", c->n_vocab);
    arch_u32(w, c->arch, "context_length", c->n_ctx);
    arch_u32(w, c->arch, "embedding_length", c->n_embd);
    arch_u32(w, c->arch, "block_count", c->n_layer);
    arch_u32(w, c->arch, "feed_forward_length", c->n_ff);
    arch_u32(w, c->arch, "rope.dimension_count", rotated(c, head_dim));
    arch_u32(w, c->arch, "attention.head_count", c->n_head);
    kv_heads_key(w, c);
    if (c->head_dim != 0) {
        arch_u32(w, c->arch, "attention.key_length", head_dim);
        arch_u32(w, c->arch, "attention.value_length", head_dim);
    }
    arch_f32(w, c->arch,
             family_of(c)->plain ? "attention.layer_norm_epsilon"
                                 : "attention.layer_norm_rms_epsilon",
             c->rms_eps);
    arch_f32(w, c->arch, "rope.freq_base", c->rope_base);
    family_keys(w, c, head_dim);
    if (!c->no_template) tiny_key_string(w, "bluelm.chat.template", "bluelm");
}

static void llm_attention(tiny_writer *w, const tiny_llm_config *c, uint32_t block,
                          uint32_t head_dim)
{
    const tiny_family *f = family_of(c);
    const int shares = block >= c->n_layer - sharing(c);
    if (f->own && block % 2 == 0) head_dim /= 2;
    uint32_t q = c->n_head * head_dim, kv = c->n_head_kv * head_dim, e = c->n_embd;
    uint32_t q_rows = f->gated ? 2 * q : q;
    char n[64];
    if (f->plain) vector(w, block_name(n, "blk", block, "attn_qkv.bias"), q + 2 * kv, 0);
    if (f->fused || f->plain) {
        matrix(w, block_name(n, "blk", block, "attn_qkv.weight"), c->attn_type, e, q + 2 * kv,
               1);
    } else {
        matrix(w, block_name(n, "blk", block, "attn_q.weight"), c->attn_type, e, q_rows, 1);
    }
    if (!f->fused && !f->plain && !shares) {
        matrix(w, block_name(n, "blk", block, "attn_k.weight"), c->attn_type, e, kv, 1);
        matrix(w, block_name(n, "blk", block, "attn_v.weight"), c->attn_type, e, kv, 1);
    }
    matrix(w, block_name(n, "blk", block, "attn_output.weight"), c->attn_type, q, e, 1);
    if (c->qkv_bias) {
        vector(w, block_name(n, "blk", block, "attn_q.bias"), q_rows, 0);
        vector(w, block_name(n, "blk", block, "attn_k.bias"), kv, 0);
        vector(w, block_name(n, "blk", block, "attn_v.bias"), kv, 0);
    }
    if (!f->head_norms) return;
    vector(w, block_name(n, "blk", block, "attn_q_norm.weight"), head_dim, 1);
    if (!shares) vector(w, block_name(n, "blk", block, "attn_k_norm.weight"), head_dim, 1);
}

/* What a layer does with embeddings of its own. */
static void llm_own(tiny_writer *w, const tiny_llm_config *c, uint32_t block)
{
    char n[64];
    matrix(w, block_name(n, "blk", block, "inp_gate.weight"), c->ffn_type, c->n_embd, OWN, 1);
    matrix(w, block_name(n, "blk", block, "proj.weight"), c->ffn_type, OWN, c->n_embd, 1);
    vector(w, block_name(n, "blk", block, "post_norm.weight"), c->n_embd, 1);
    vector(w, block_name(n, "blk", block, "layer_output_scale.weight"), 1, 1);
}

static void llm_convolution(tiny_writer *w, const tiny_llm_config *c, uint32_t block)
{
    uint32_t e = c->n_embd;
    char n[64];
    matrix(w, block_name(n, "blk", block, "shortconv.in_proj.weight"), c->attn_type, e, 3 * e,
           1);
    matrix(w, block_name(n, "blk", block, "shortconv.conv.weight"), TINY_F32, TAPS, e, 1);
    matrix(w, block_name(n, "blk", block, "shortconv.out_proj.weight"), c->attn_type, e, e, 1);
}

static void llm_delta(tiny_writer *w, const tiny_llm_config *c, uint32_t block)
{
    uint32_t e = c->n_embd, inner = DELTA_V_HEADS * DELTA_SIZE;
    uint32_t channels = 2 * DELTA_K_HEADS * DELTA_SIZE + inner;
    char n[64];
    matrix(w, block_name(n, "blk", block, "attn_qkv.weight"), c->attn_type, e, channels, 1);
    matrix(w, block_name(n, "blk", block, "attn_gate.weight"), c->attn_type, e, inner, 1);
    matrix(w, block_name(n, "blk", block, "ssm_beta.weight"), c->attn_type, e, DELTA_V_HEADS,
           1);
    matrix(w, block_name(n, "blk", block, "ssm_alpha.weight"), c->attn_type, e, DELTA_V_HEADS,
           1);
    matrix(w, block_name(n, "blk", block, "ssm_conv1d.weight"), TINY_F32, TAPS, channels, 1);
    vector(w, block_name(n, "blk", block, "ssm_dt.bias"), DELTA_V_HEADS, 0);
    vector(w, block_name(n, "blk", block, "ssm_a"), DELTA_V_HEADS, -1);
    vector(w, block_name(n, "blk", block, "ssm_norm.weight"), DELTA_SIZE, 1);
    matrix(w, block_name(n, "blk", block, "ssm_out.weight"), c->attn_type, inner, e, 1);
}

static void llm_feed_forward(tiny_writer *w, const tiny_llm_config *c, uint32_t block)
{
    const tiny_family *f = family_of(c);
    const char *norm = f->ffn_norm != NULL ? f->ffn_norm : "ffn_norm.weight";
    uint32_t e = c->n_embd, up = f->fused ? 2 * c->n_ff : c->n_ff;
    char n[64];
    if (!f->plain) vector(w, block_name(n, "blk", block, norm), e, 1);
    if (!f->fused && !f->plain)
        matrix(w, block_name(n, "blk", block, "ffn_gate.weight"), c->ffn_type, e, c->n_ff, 1);
    matrix(w, block_name(n, "blk", block, "ffn_up.weight"), c->ffn_type, e, up, 1);
    matrix(w, block_name(n, "blk", block, "ffn_down.weight"), c->down_type, c->n_ff, e, 1);
    if (f->sandwich) vector(w, block_name(n, "blk", block, "post_ffw_norm.weight"), e, 1);
}

static void llm_block(tiny_writer *w, const tiny_llm_config *c, uint32_t block,
                      uint32_t head_dim)
{
    const tiny_family *f = family_of(c);
    char n[64];
    vector(w, block_name(n, "blk", block, "attn_norm.weight"), c->n_embd, 1);
    if (f->plain) vector(w, block_name(n, "blk", block, "attn_norm.bias"), c->n_embd, 0);
    if (f->convolution && block % 2 == 0)
        llm_convolution(w, c, block);
    else if (f->delta && block % 2 == 0)
        llm_delta(w, c, block);
    else
        llm_attention(w, c, block, head_dim);
    if (f->sandwich)
        vector(w, block_name(n, "blk", block, "post_attention_norm.weight"), c->n_embd, 1);
    llm_feed_forward(w, c, block);
    if (f->own) llm_own(w, c, block);
}

/* Factors that slow each pair of a head down, 1 for the fastest, as in llama 3. */
static void rope_factors(tiny_writer *w, uint32_t n_rot)
{
    float *values = malloc(n_rot / 2 * sizeof *values);
    uint64_t ne[1];
    uint32_t i;
    tiny_must(values != NULL, "no memory");
    for (i = 0; i < n_rot / 2; i++)
        values[i] = 1 + 7 * (float)i / (float)(n_rot / 2);
    ne[0] = n_rot / 2;
    tiny_tensor(w, "rope_freqs.weight", TINY_F32, 1, ne, values);
    free(values);
}

tiny_file tiny_llm(const tiny_llm_config *c)
{
    uint32_t head_dim = c->head_dim != 0 ? c->head_dim : c->n_embd / c->n_head, i;
    const char *norm = family_of(c)->final_norm;
    tiny_writer w;
    tiny_must(c->n_vocab >= TINY_MIN_VOCAB && c->n_head > 0 && head_dim > 1, "a tiny_llm");
    tiny_start(&w, c->seed);
    llm_keys(&w, c, head_dim);
    if (c->byte_bpe) {
        tiny_bpe_vocabulary(&w, c->n_vocab, c->markers);
    } else {
        tiny_spm_vocabulary(&w, c->n_vocab);
    }
    matrix(&w, "token_embd.weight", c->embd_type, c->n_embd, c->n_vocab, 4);
    vector(&w, norm != NULL ? norm : "output_norm.weight", c->n_embd, 1);
    if (family_of(c)->plain) vector(&w, "output_norm.bias", c->n_embd, 0);
    if (!c->tied) matrix(&w, "output.weight", c->output_type, c->n_embd, c->n_vocab, 2);
    if (family_of(c)->own) {
        matrix(&w, "per_layer_token_embd.weight", c->embd_type, OWN * c->n_layer, c->n_vocab,
               1);
        matrix(&w, "per_layer_model_proj.weight", c->ffn_type, c->n_embd, OWN * c->n_layer, 1);
        vector(&w, "per_layer_proj_norm.weight", OWN, 1);
    }
    if (c->rope_freqs) rope_factors(&w, rotated(c, head_dim));
    for (i = 0; i < c->n_layer; i++)
        llm_block(&w, c, i, head_dim);
    if (c->extra != NULL) c->extra(&w, c->extra_user);
    return tiny_finish(&w);
}
