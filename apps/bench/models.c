/* What the files of a family hold: keys and tensors, named as llama.cpp's converters do. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "families.h"
#include "vocabulary.h"

/* ---- Types of files -------------------------------------------------------------------------- */

/* A file's types: of matrices; of the output (or the table that is both); of matrices that
 * deserve more bits; what stands in for a K type where its 256 values do not fit. */
static const struct {
    const char *name;
    uint32_t matrix, output, better;
} bench_file_types[] = {
    {"q4_0", BENCH_Q4_0, BENCH_Q6_K, BENCH_Q4_0},
    {"q4_k", BENCH_Q4_K, BENCH_Q4_K, BENCH_Q4_K},
    {"q8_0", BENCH_Q8_0, BENCH_Q8_0, BENCH_Q8_0},
    {"f16", BENCH_F16, BENCH_F16, BENCH_F16},
    {"q4_k_m", BENCH_Q4_K, BENCH_Q6_K, BENCH_Q6_K},
};

int bench_file_type(const char *name)
{
    for (int i = 0; i < (int)(sizeof bench_file_types / sizeof *bench_file_types); i++)
        if (!strcmp(bench_file_types[i].name, name)) return i;
    return -1;
}

/* What rows of such a length can be. */
static uint32_t bench_fitting_type(uint32_t type, uint64_t cols)
{
    if (bench_block_of(type).values == 256 && cols % 256)
        type = type == BENCH_Q4_K ? BENCH_Q5_0 : type == BENCH_Q5_K ? BENCH_Q5_1 : BENCH_Q8_0;
    return cols % bench_block_of(type).values ? BENCH_F16 : type;
}

/* Of n layers those of the first and last eighth, and every third between. */
static int bench_deserves_more(uint32_t i, uint32_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

/* ---- Tables of tensors ------------------------------------------------------------------------- */

/* Sizes that tensors have, by name; the last are those of a language model alone. */
enum bench_size {
    S_ONE,
    S_EMBD,
    S_WIDTH,
    S_FFN,
    S_QUERY,
    S_HEADS,
    S_KV,
    S_HEAD,
    S_VOCAB,
    S_EMBD3,
    S_WIDTH3,
    S_MERGED,
    S_HIDDEN,
    S_POSITIONS,
    S_CONV,
    S_TAPS,
    S_INNER,
    S_DELTA_HEADS,
    S_STATE,
    S_QKV,
    S_FFN2,
    S_OWN,
    S_OWN_ALL,
    S_PAIRS,
    S_SIZES
};

/* What becomes of a tensor in a file. */
enum bench_role {
    R_MATRIX,
    R_BETTER,
    R_FUSED,
    R_VECTOR,
    R_FLOATS,
    R_HALVES,
    R_OUTPUT,
    R_TABLE /* as the output, and read a row at a time */
};

typedef struct bench_spec {
    const char *name;
    uint32_t when; /* features, all of which it takes */
    uint8_t cols, rows, role;
    float value; /* of vectors and floats */
} bench_spec;

#define VECTOR(name, when, n, value)                                                           \
    {                                                                                          \
        name, when, n, S_ONE, R_VECTOR, value                                                  \
    }
#define MATRIX(name, when, cols, rows)                                                         \
    {                                                                                          \
        name, when, cols, rows, R_MATRIX, 0                                                    \
    }
#define BIASED(name, when, cols, rows)                                                         \
    MATRIX(name ".weight", when, cols, rows), VECTOR(name ".bias", when, rows, 0)
#define NORM(name, when, n) VECTOR(name ".weight", when, n, 1), VECTOR(name ".bias", when, n, 0)
#define COUNT(table)        (sizeof(table) / sizeof *(table))

static const bench_spec bench_block_specs[] = {
    VECTOR("attn_norm.weight", 0, S_EMBD, 1),
    MATRIX("attn_q.weight", BENCH_ATTENTION, S_EMBD, S_QUERY),
    VECTOR("attn_q.bias", BENCH_ATTENTION | BENCH_BIASES, S_QUERY, 0),
    MATRIX("attn_k.weight", BENCH_STORES, S_EMBD, S_KV),
    VECTOR("attn_k.bias", BENCH_STORES | BENCH_BIASES, S_KV, 0),
    {"attn_v.weight", BENCH_STORES, S_EMBD, S_KV, R_BETTER, 0},
    VECTOR("attn_v.bias", BENCH_STORES | BENCH_BIASES, S_KV, 0),
    VECTOR("attn_q_norm.weight", BENCH_ATTENTION | BENCH_HEAD_NORMS, S_HEAD, 1),
    VECTOR("attn_k_norm.weight", BENCH_STORES | BENCH_HEAD_NORMS, S_HEAD, 1),
    MATRIX("attn_output.weight", BENCH_ATTENTION, S_HEADS, S_EMBD),
    MATRIX("shortconv.in_proj.weight", BENCH_CONVOLUTION, S_EMBD, S_EMBD3),
    {"shortconv.conv.weight", BENCH_CONVOLUTION, S_TAPS, S_EMBD, R_FLOATS, 0.3f},
    MATRIX("shortconv.out_proj.weight", BENCH_CONVOLUTION, S_EMBD, S_EMBD),
    {"attn_qkv.weight", BENCH_DELTA, S_EMBD, S_CONV, R_FUSED, 0},
    MATRIX("attn_gate.weight", BENCH_DELTA, S_EMBD, S_INNER),
    {"ssm_conv1d.weight", BENCH_DELTA, S_TAPS, S_CONV, R_FLOATS, 0.25f},
    VECTOR("ssm_dt.bias", BENCH_DELTA, S_DELTA_HEADS, 0.5f),
    VECTOR("ssm_a", BENCH_DELTA, S_DELTA_HEADS, -1),
    MATRIX("ssm_alpha.weight", BENCH_DELTA, S_EMBD, S_DELTA_HEADS),
    MATRIX("ssm_beta.weight", BENCH_DELTA, S_EMBD, S_DELTA_HEADS),
    VECTOR("ssm_norm.weight", BENCH_DELTA, S_STATE, 1),
    MATRIX("ssm_out.weight", BENCH_DELTA, S_INNER, S_EMBD),
    VECTOR("post_attention_norm.weight", BENCH_POST_NORM, S_EMBD, 1),
    VECTOR("ffn_norm.weight", BENCH_FFN_NORM, S_EMBD, 1),
    MATRIX("ffn_gate.weight", 0, S_EMBD, S_FFN),
    MATRIX("ffn_up.weight", 0, S_EMBD, S_FFN),
    {"ffn_down.weight", 0, S_FFN, S_EMBD, R_BETTER, 0},
    VECTOR("post_ffw_norm.weight", BENCH_POST_FFN_NORM, S_EMBD, 1),
};

/* Of layers that have embeddings of their own, and of the model that does. */
static const bench_spec bench_own_specs[] = {
    {"inp_gate.weight", 0, S_EMBD, S_OWN, R_MATRIX, 0},
    {"proj.weight", 0, S_OWN, S_EMBD, R_MATRIX, 0},
    VECTOR("post_norm.weight", 0, S_EMBD, 1),
    VECTOR("layer_output_scale.weight", 0, S_ONE, 1),
};
static const bench_spec bench_own_tables[] = {
    {"per_layer_token_embd.weight", 0, S_OWN_ALL, S_VOCAB, R_TABLE, 0},
    {"per_layer_model_proj.weight", 0, S_EMBD, S_OWN_ALL, R_HALVES, 0},
    VECTOR("per_layer_proj_norm.weight", 0, S_OWN, 1),
    VECTOR("rope_freqs.weight", 0, S_PAIRS, 1),
};

/* Of a model whose matrices are joined. */
static const bench_spec bench_joined_specs[] = {
    VECTOR("attn_norm.weight", 0, S_EMBD, 1),
    {"attn_qkv.weight", 0, S_EMBD, S_QKV, R_FUSED, 0},
    MATRIX("attn_output.weight", 0, S_HEADS, S_EMBD),
    VECTOR("ffn_norm.weight", 0, S_EMBD, 1),
    MATRIX("ffn_up.weight", 0, S_EMBD, S_FFN2),
    {"ffn_down.weight", 0, S_FFN, S_EMBD, R_BETTER, 0},
};

/* Of a model whose two parts read the same. */
static const bench_spec bench_one_norm_specs[] = {
    NORM("attn_norm", 0, S_EMBD),          {"attn_qkv.weight", 0, S_EMBD, S_QKV, R_FUSED, 0},
    VECTOR("attn_qkv.bias", 0, S_QKV, 0),  BIASED("attn_output", 0, S_HEADS, S_EMBD),
    BIASED("ffn_up", 0, S_EMBD, S_FFN),    {"ffn_down.weight", 0, S_FFN, S_EMBD, R_BETTER, 0},
    VECTOR("ffn_down.bias", 0, S_EMBD, 0),
};

static const bench_spec bench_vision_specs[] = {
    NORM("ln1", BENCH_NORM_BIAS, S_WIDTH),
    BIASED("attn_qkv", BENCH_FUSED, S_WIDTH, S_WIDTH3),
    BIASED("attn_q", BENCH_APART, S_WIDTH, S_WIDTH),
    BIASED("attn_k", BENCH_APART, S_WIDTH, S_WIDTH),
    BIASED("attn_v", BENCH_APART, S_WIDTH, S_WIDTH),
    BIASED("attn_out", 0, S_WIDTH, S_WIDTH),
    VECTOR("ls1.weight", BENCH_LAYER_SCALE, S_WIDTH, 0.1f),
    VECTOR("ls2.weight", BENCH_LAYER_SCALE, S_WIDTH, 0.1f),
    NORM("ln2", BENCH_NORM_BIAS, S_WIDTH),
    VECTOR("ln1.weight", BENCH_GATED, S_WIDTH, 1),
    VECTOR("ln2.weight", BENCH_GATED, S_WIDTH, 1),
    BIASED("ffn_gate", BENCH_GATED, S_WIDTH, S_FFN),
    BIASED("ffn_up", 0, S_WIDTH, S_FFN),
    BIASED("ffn_down", 0, S_FFN, S_WIDTH),
};

/* Of a tower without biases. */
static const bench_spec bench_bare_specs[] = {
    VECTOR("ln1.weight", 0, S_WIDTH, 1),
    MATRIX("attn_q.weight", 0, S_WIDTH, S_WIDTH),
    MATRIX("attn_k.weight", 0, S_WIDTH, S_WIDTH),
    MATRIX("attn_v.weight", 0, S_WIDTH, S_WIDTH),
    MATRIX("attn_out.weight", 0, S_WIDTH, S_WIDTH),
    VECTOR("ln2.weight", 0, S_WIDTH, 1),
    MATRIX("ffn_gate.weight", 0, S_WIDTH, S_FFN),
    MATRIX("ffn_up.weight", 0, S_WIDTH, S_FFN),
    MATRIX("ffn_down.weight", 0, S_FFN, S_WIDTH),
};

/* Behind the bare ones; bounds, four of each matrix, are as many numbers. */
#define BOUNDS(name)                                                                           \
    VECTOR(name ".input_min", 0, S_ONE, -100), VECTOR(name ".input_max", 0, S_ONE, 100),       \
        VECTOR(name ".output_min", 0, S_ONE, -100), VECTOR(name ".output_max", 0, S_ONE, 100)
static const bench_spec bench_gemma4_block_specs[] = {
    VECTOR("attn_post_norm.weight", 0, S_WIDTH, 1),
    VECTOR("ffn_post_norm.weight", 0, S_WIDTH, 1),
    VECTOR("attn_q_norm.weight", 0, S_HEAD, 1),
    VECTOR("attn_k_norm.weight", 0, S_HEAD, 1),
    BOUNDS("attn_q"),
    BOUNDS("attn_k"),
    BOUNDS("attn_v"),
    BOUNDS("attn_out"),
    BOUNDS("ffn_gate"),
    BOUNDS("ffn_up"),
    BOUNDS("ffn_down"),
};

static const bench_spec bench_before_specs[] = {
    VECTOR("v.pre_ln.weight", BENCH_BARE, S_WIDTH, 1),
    VECTOR("v.patch_embd.bias", BENCH_PATCH_BIAS, S_WIDTH, 0),
    VECTOR("v.class_embd", BENCH_CLASS, S_WIDTH, 0.02f),
    {"v.position_embd.weight", BENCH_POSITIONS, S_WIDTH, S_POSITIONS, R_FLOATS, 0.01f},
    NORM("v.pre_ln", BENCH_PRE_NORM, S_WIDTH),
};

static const bench_spec bench_after_specs[] = {
    VECTOR("v.post_ln.weight", BENCH_POST_LN, S_WIDTH, 1),
    VECTOR("v.post_ln.bias", BENCH_POST_LN | BENCH_NORM_BIAS, S_WIDTH, 0),
};

static const bench_spec bench_deepstack_specs[] = {
    NORM("norm", 0, S_MERGED),
    BIASED("fc1", 0, S_MERGED, S_MERGED),
    BIASED("fc2", 0, S_MERGED, S_EMBD),
};

/* BlueLM's and LFM2's share a name; only the latter has a width of its own between. */
static const bench_spec bench_bluelm_specs[] = {BIASED("mm.1", 0, S_MERGED, S_EMBD),
                                                BIASED("mm.2", 0, S_EMBD, S_EMBD)};
static const bench_spec bench_lfm2_specs[] = {NORM("mm.input_norm", 0, S_MERGED),
                                              BIASED("mm.1", 0, S_MERGED, S_HIDDEN),
                                              BIASED("mm.2", 0, S_HIDDEN, S_EMBD)};
static const bench_spec bench_idefics3_specs[] = {
    MATRIX("mm.model.fc.weight", 0, S_MERGED, S_EMBD)};
static const bench_spec bench_internvl_specs[] = {NORM("mm.model.mlp.0", 0, S_MERGED),
                                                  BIASED("mm.model.mlp.1", 0, S_MERGED, S_EMBD),
                                                  BIASED("mm.model.mlp.3", 0, S_EMBD, S_EMBD)};
static const bench_spec bench_qwen_specs[] = {BIASED("mm.0", 0, S_MERGED, S_MERGED),
                                              BIASED("mm.2", 0, S_MERGED, S_EMBD)};
static const bench_spec bench_gemma3_specs[] = {
    {"mm.input_projection.weight", 0, S_EMBD, S_WIDTH, R_HALVES, 0},
    VECTOR("mm.soft_emb_norm.weight", 0, S_WIDTH, 1)};
static const bench_spec bench_gemma4_specs[] = {
    MATRIX("mm.input_projection.weight", 0, S_WIDTH, S_EMBD)};
static const bench_spec bench_mlp_specs[] = {BIASED("mm.0", 0, S_MERGED, S_EMBD),
                                             BIASED("mm.2", 0, S_EMBD, S_EMBD)};

static const bench_spec bench_wide_mlp_specs[] = {BIASED("mm.0", 0, S_MERGED, S_HIDDEN),
                                                  BIASED("mm.2", 0, S_HIDDEN, S_EMBD)};
static const bench_spec bench_paddleocr_specs[] = {NORM("mm.input_norm", 0, S_WIDTH),
                                                   BIASED("mm.1", 0, S_MERGED, S_MERGED),
                                                   BIASED("mm.2", 0, S_MERGED, S_EMBD)};
static const bench_spec bench_dotsocr_specs[] = {
    VECTOR("mm.post_norm.weight", 0, S_WIDTH, 1), NORM("mm.input_norm", 0, S_WIDTH),
    BIASED("mm.0", 0, S_MERGED, S_MERGED), BIASED("mm.2", 0, S_MERGED, S_EMBD)};

static const bench_spec bench_pixtral_specs[] = {
    VECTOR("mm.input_norm.weight", 0, S_WIDTH, 1),
    MATRIX("mm.patch_merger.weight", 0, S_MERGED, S_WIDTH),
    MATRIX("mm.1.weight", 0, S_WIDTH, S_EMBD), MATRIX("mm.2.weight", 0, S_EMBD, S_EMBD)};

static const bench_spec bench_resampler_specs[] = {
    {"resampler.query", 0, S_EMBD, S_HIDDEN, R_FLOATS, 1},
    MATRIX("resampler.kv.weight", 0, S_WIDTH, S_EMBD),
    BIASED("resampler.attn.q", 0, S_EMBD, S_EMBD),
    BIASED("resampler.attn.k", 0, S_EMBD, S_EMBD),
    BIASED("resampler.attn.v", 0, S_EMBD, S_EMBD),
    BIASED("resampler.attn.out", 0, S_EMBD, S_EMBD),
    NORM("resampler.ln_q", 0, S_EMBD),
    NORM("resampler.ln_kv", 0, S_EMBD),
    NORM("resampler.ln_post", 0, S_EMBD),
    MATRIX("resampler.proj.weight", 0, S_EMBD, S_EMBD)};
static const bench_spec bench_minicpmv46_specs[] = {
    NORM("v.vit_merger.ln1", 0, S_WIDTH),
    BIASED("v.vit_merger.attn_q", 0, S_WIDTH, S_WIDTH),
    BIASED("v.vit_merger.attn_k", 0, S_WIDTH, S_WIDTH),
    BIASED("v.vit_merger.attn_v", 0, S_WIDTH, S_WIDTH),
    BIASED("v.vit_merger.attn_out", 0, S_WIDTH, S_WIDTH),
    NORM("v.vit_merger.ds_ln", 0, S_MERGED),
    BIASED("v.vit_merger.ds_ffn_up", 0, S_MERGED, S_HIDDEN),
    BIASED("v.vit_merger.ds_ffn_down", 0, S_HIDDEN, S_WIDTH),
    NORM("mm.input_norm", 0, S_MERGED),
    BIASED("mm.up", 0, S_MERGED, S_MERGED),
    BIASED("mm.down", 0, S_MERGED, S_EMBD)};

typedef struct bench_list {
    const bench_spec *at;
    size_t count;
} bench_list;

static bench_list bench_projector_specs(const bench_tower *t)
{
    static const struct {
        const char *name;
        bench_list list;
    } lists[] = {
        {"resampler", {bench_resampler_specs, COUNT(bench_resampler_specs)}},
        {"minicpmv4_6", {bench_minicpmv46_specs, COUNT(bench_minicpmv46_specs)}},
        {"idefics3", {bench_idefics3_specs, COUNT(bench_idefics3_specs)}},
        {"internvl", {bench_internvl_specs, COUNT(bench_internvl_specs)}},
        {"qwen2vl_merger", {bench_qwen_specs, COUNT(bench_qwen_specs)}},
        {"qwen2.5vl_merger", {bench_qwen_specs, COUNT(bench_qwen_specs)}},
        {"qwen3vl_merger", {bench_qwen_specs, COUNT(bench_qwen_specs)}},
        {"gemma3", {bench_gemma3_specs, COUNT(bench_gemma3_specs)}},
        {"gemma4v", {bench_gemma4_specs, COUNT(bench_gemma4_specs)}},
        {"pixtral", {bench_pixtral_specs, COUNT(bench_pixtral_specs)}},
        {"lightonocr", {bench_pixtral_specs, COUNT(bench_pixtral_specs)}},
        {"mlp", {bench_mlp_specs, COUNT(bench_mlp_specs)}},
        {"paddleocr", {bench_paddleocr_specs, COUNT(bench_paddleocr_specs)}},
        {"dots_ocr", {bench_dotsocr_specs, COUNT(bench_dotsocr_specs)}},
    };
    if (t->hidden && !strcmp(t->projector, "mlp"))
        return (bench_list){bench_wide_mlp_specs, COUNT(bench_wide_mlp_specs)};
    for (size_t i = 0; i < COUNT(lists); i++)
        if (!strcmp(lists[i].name, t->projector)) return lists[i].list;
    return t->hidden ? (bench_list){bench_lfm2_specs, COUNT(bench_lfm2_specs)}
                     : (bench_list){bench_bluelm_specs, COUNT(bench_bluelm_specs)};
}

/* ---- Tensors of a file ---------------------------------------------------------------------------- */

typedef struct bench_file {
    const bench_family *family;
    uint32_t size[S_SIZES], type, pure;
    int every_token; /* 1: only of layers that run for each token of a prompt */
    void (*take)(struct bench_file *file, const char *name, const bench_spec *spec,
                 uint32_t type);
    bench_writer writer;    /* of a take that writes */
    uint64_t values, bytes; /* of a take that counts */
} bench_file;

static uint32_t bench_role_type(const bench_file *f, const bench_spec *spec, int better)
{
    uint32_t type = bench_file_types[f->type].matrix;
    switch (spec->role) {
    case R_VECTOR:
    case R_FLOATS:
        return BENCH_F32;
    case R_HALVES:
        return BENCH_F16;
    case R_OUTPUT:
    case R_TABLE:
        if (!f->pure) type = bench_file_types[f->type].output;
        break;
    case R_BETTER:
        if (!f->pure && better) type = bench_file_types[f->type].better;
        break;
    case R_FUSED:
        if (!f->pure && bench_file_types[f->type].better == BENCH_Q6_K) type = BENCH_Q5_K;
        break;
    default:
        break;
    }
    return bench_fitting_type(type, f->size[spec->cols]);
}

/* Takes those of a table that a file with these features has, as prefix.name. */
static void bench_take_specs(bench_file *f, const char *prefix, const bench_spec *specs,
                             size_t count, uint32_t features, int better)
{
    char name[64];
    for (size_t i = 0; i < count; i++) {
        if ((specs[i].when & features) != specs[i].when) continue;
        snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "." : "", specs[i].name);
        f->take(f, name, &specs[i], bench_role_type(f, &specs[i], better));
    }
}

static uint32_t bench_layer_kind(const bench_language *l, uint32_t i)
{
    if (l->attention_layers)
        return l->attention_layers >> i & 1 ? BENCH_ATTENTION | BENCH_STORES
                                            : BENCH_CONVOLUTION;
    if (l->full_interval)
        return (i + 1) % l->full_interval ? BENCH_DELTA : BENCH_ATTENTION | BENCH_STORES;
    return BENCH_ATTENTION | (i < l->n_layer - l->sharing ? BENCH_STORES : 0);
}

static int bench_is_local(const bench_language *l, uint32_t i)
{
    return l->global_every && (i + 1) % l->global_every;
}

static void bench_llm_sizes(bench_file *f)
{
    const bench_language *l = f->family->language;
    uint32_t heads = l->n_head * l->head_dim, inner = l->delta_heads * l->state_size;
    const uint32_t sizes[S_SIZES] = {[S_ONE] = 1,
                                     [S_EMBD] = l->n_embd,
                                     [S_FFN] = l->n_ff,
                                     [S_HEADS] = heads,
                                     [S_QUERY] = heads
                                                 << (l->features & BENCH_GATED_QUERIES ? 1 : 0),
                                     [S_KV] = l->n_head_kv * l->head_dim,
                                     [S_HEAD] = l->head_dim,
                                     [S_VOCAB] = l->n_vocab,
                                     [S_EMBD3] = 3 * l->n_embd,
                                     [S_TAPS] = l->full_interval ? 4 : 3,
                                     [S_CONV] = 3 * inner,
                                     [S_INNER] = inner,
                                     [S_DELTA_HEADS] = l->delta_heads,
                                     [S_STATE] = l->state_size,
                                     [S_QKV] = heads + 2 * l->n_head_kv * l->head_dim,
                                     [S_FFN2] = 2 * l->n_ff,
                                     [S_OWN] = l->own,
                                     [S_OWN_ALL] = l->own * l->n_layer,
                                     [S_PAIRS] = l->head_dim / 2};
    memcpy(f->size, sizes, sizeof sizes);
    f->pure = l->features & BENCH_PURE;
}

/* Where layers differ in size. */
static void bench_layer_sizes(bench_file *f, uint32_t i)
{
    const bench_language *l = f->family->language;
    uint32_t head = bench_is_local(l, i) && l->head_local ? l->head_local : l->head_dim;
    if (!l->own) return;
    f->size[S_HEAD] = head;
    f->size[S_HEADS] = f->size[S_QUERY] = l->n_head * head;
    f->size[S_KV] = l->n_head_kv * head;
    f->size[S_FFN] = i < l->n_layer - l->sharing ? l->n_ff : l->sharing_ff;
}

static void bench_take_llm(bench_file *f)
{
    static const bench_spec table = {"token_embd.weight", 0, S_EMBD, S_VOCAB, R_MATRIX, 0};
    static const bench_spec both = {"token_embd.weight", 0, S_EMBD, S_VOCAB, R_OUTPUT, 0};
    static const bench_spec output = {"output.weight", 0, S_EMBD, S_VOCAB, R_OUTPUT, 0};
    const bench_language *l = f->family->language;
    const bench_spec norm = VECTOR(
        l->attention_layers ? "token_embd_norm.weight" : "output_norm.weight", 0, S_EMBD, 1);
    const int untied = (l->features & BENCH_UNTIED) != 0;
    static const bench_spec biases[] = {VECTOR("output_norm.bias", 0, S_EMBD, 0),
                                        VECTOR("output.bias", 0, S_VOCAB, 0)};
    const bench_list block =
        l->features & BENCH_ONE_NORM
            ? (bench_list){bench_one_norm_specs, COUNT(bench_one_norm_specs)}
        : l->features & BENCH_JOINED
            ? (bench_list){bench_joined_specs, COUNT(bench_joined_specs)}
            : (bench_list){bench_block_specs, COUNT(bench_block_specs)};
    char prefix[24];
    bench_llm_sizes(f);
    bench_take_specs(f, "", untied ? &table : &both, 1, 0, 0);
    for (uint32_t i = 0; i < l->n_layer - (f->every_token ? l->sharing : 0); i++) {
        snprintf(prefix, sizeof prefix, "blk.%u", (unsigned)i);
        bench_layer_sizes(f, i);
        bench_take_specs(f, prefix, block.at, block.count, l->features | bench_layer_kind(l, i),
                         bench_deserves_more(i, l->n_layer));
        if (l->own) bench_take_specs(f, prefix, bench_own_specs, COUNT(bench_own_specs), 0, 0);
    }
    if (l->own) bench_take_specs(f, "", bench_own_tables, COUNT(bench_own_tables), 0, 0);
    bench_take_specs(f, "", &norm, 1, 0, 0);
    if (untied) bench_take_specs(f, "", &output, 1, 0, 0);
    if (l->features & BENCH_ONE_NORM) bench_take_specs(f, "", biases, COUNT(biases), 0, 0);
}

/* Layers whose outputs the projector reads together. */
static uint32_t bench_taps(const bench_tower *t)
{
    uint32_t count = 0;
    while (count < 4 && t->taps[count])
        count++;
    return count ? count : 1;
}

static void bench_mmproj_sizes(bench_file *f)
{
    const bench_tower *t = f->family->tower;
    uint32_t side = t->table ? t->table : t->image_px / t->patch_px;
    const uint32_t sizes[S_SIZES] = {
        [S_ONE] = 1,
        [S_EMBD] = f->family->language->n_embd,
        [S_WIDTH] = t->width,
        [S_FFN] = t->n_ff,
        [S_WIDTH3] = 3 * t->width,
        [S_HIDDEN] = t->hidden,
        [S_MERGED] = t->merge * t->merge * t->width * bench_taps(t),
        [S_HEAD] = t->width / t->n_head,
        [S_POSITIONS] = t->features & BENCH_GEMMA4
                            ? 2 * 10240
                            : side * side + (t->features & BENCH_CLASS ? 1 : 0)};
    memcpy(f->size, sizes, sizeof sizes);
    f->pure = 1;
}

static void bench_take_deepstack(bench_file *f)
{
    const bench_tower *t = f->family->tower;
    char prefix[32];
    for (uint32_t i = 0; i < 3 && t->deepstack[i]; i++) {
        snprintf(prefix, sizeof prefix, "v.deepstack.%u", (unsigned)(t->deepstack[i] - 1));
        bench_take_specs(f, prefix, bench_deepstack_specs, COUNT(bench_deepstack_specs), 0, 0);
    }
}

/* All but the patch kernels, which have four dimensions. */
static void bench_take_mmproj(bench_file *f)
{
    static const bench_spec newline = VECTOR("model.image_newline", 0, S_EMBD, 0.1f);
    static const bench_spec line_end = VECTOR("v.token_embd.img_break", 0, S_EMBD, 0.1f);
    const bench_tower *t = f->family->tower;
    bench_list projector = bench_projector_specs(t);
    const bench_list block = t->features & (BENCH_BARE | BENCH_GEMMA4)
                                 ? (bench_list){bench_bare_specs, COUNT(bench_bare_specs)}
                                 : (bench_list){bench_vision_specs, COUNT(bench_vision_specs)};
    char prefix[24];
    bench_mmproj_sizes(f);
    bench_take_specs(f, "", bench_before_specs, COUNT(bench_before_specs), t->features, 0);
    for (uint32_t i = 0; i < t->n_layer; i++) {
        snprintf(prefix, sizeof prefix, "v.blk.%u", (unsigned)i);
        bench_take_specs(f, prefix, block.at, block.count, t->features, 0);
        if (t->features & BENCH_GEMMA4)
            bench_take_specs(f, prefix, bench_gemma4_block_specs,
                             COUNT(bench_gemma4_block_specs), 0, 0);
    }
    bench_take_specs(f, "", bench_after_specs, COUNT(bench_after_specs), t->features, 0);
    bench_take_deepstack(f);
    bench_take_specs(f, "", projector.at, projector.count, t->features, 0);
    if (t->grid_tiles) bench_take_specs(f, "", &newline, 1, 0, 0);
    if (!strcmp(t->projector, "pixtral")) bench_take_specs(f, "", &line_end, 1, 0, 0);
}

/* ---- Writing ----------------------------------------------------------------------------------------- */

/* Outputs of a matrix have about the size of its inputs. */
static float bench_deviation(uint64_t cols)
{
    float deviation = 1.0f;
    for (uint64_t n = 1; n < cols; n *= 4)
        deviation *= 0.5f; /* near 1/sqrt(cols) */
    return deviation;
}

static void bench_take_writing(bench_file *f, const char *name, const bench_spec *spec,
                               uint32_t type)
{
    uint64_t cols = f->size[spec->cols];
    float value =
        spec->role == R_VECTOR || spec->role == R_FLOATS ? spec->value : bench_deviation(cols);
    bench_add(&f->writer, name, type, value, cols, f->size[spec->rows]);
}

static void bench_add_kernels(bench_file *f)
{
    static const char *const names[] = {"v.patch_embd.weight", "v.patch_embd.weight.1"};
    const bench_tower *t = f->family->tower;
    for (int i = 0; i < (t->features & BENCH_TWO_KERNELS ? 2 : 1); i++) {
        bench_tensor *kernel =
            bench_add(&f->writer, names[i], BENCH_F16, 0.04f, t->patch_px, t->patch_px);
        kernel->n_dims = 4;
        kernel->ne[2] = 3;
        kernel->ne[3] = t->width;
    }
}

static void bench_llm_u32(bench_file *f, const char *key, uint32_t value)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", f->family->language->arch, key);
    if (value) bench_key_u32(&f->writer, name, value);
}

static void bench_llm_f32(bench_file *f, const char *key, float value)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", f->family->language->arch, key);
    if (value > 0) bench_key_f32(&f->writer, name, value);
}

/* One number for all layers, or one for each where some have no attention. */
static void bench_write_kv_heads(bench_file *f)
{
    const bench_language *l = f->family->language;
    char name[64];
    if (!l->attention_layers) {
        bench_llm_u32(f, "attention.head_count_kv", l->n_head_kv);
        return;
    }
    snprintf(name, sizeof name, "%s.attention.head_count_kv", l->arch);
    bench_key_array(&f->writer, name, BENCH_I32S, l->n_layer);
    for (uint32_t i = 0; i < l->n_layer; i++)
        bench_put_u32(&f->writer, bench_layer_kind(l, i) & BENCH_ATTENTION ? l->n_head_kv : 0);
    bench_llm_u32(f, "shortconv.l_cache", 3);
}

static void bench_write_delta_keys(bench_file *f)
{
    const bench_language *l = f->family->language;
    if (!l->full_interval) return;
    bench_llm_u32(f, "ssm.conv_kernel", 4);
    bench_llm_u32(f, "ssm.state_size", l->state_size);
    bench_llm_u32(f, "ssm.group_count", l->delta_heads);
    bench_llm_u32(f, "ssm.time_step_rank", l->delta_heads);
    bench_llm_u32(f, "ssm.inner_size", l->delta_heads * l->state_size);
    bench_llm_u32(f, "full_attention_interval", l->full_interval);
}

static void bench_write_rope_keys(bench_file *f)
{
    const bench_language *l = f->family->language;
    char name[64];
    bench_llm_u32(f, "rope.dimension_count", l->rope_dim ? l->rope_dim : l->head_dim);
    bench_llm_f32(f, "rope.freq_base", l->rope_base);
    if (l->rope_factor > 0) {
        snprintf(name, sizeof name, "%s.rope.scaling.type", l->arch);
        bench_key_string(&f->writer, name, "linear");
        bench_llm_f32(f, "rope.scaling.factor", l->rope_factor);
    }
    if (!l->sections[0]) return;
    snprintf(name, sizeof name, "%s.rope.dimension_sections", l->arch);
    bench_key_array(&f->writer, name, BENCH_I32S, 4);
    for (int i = 0; i < 4; i++)
        bench_put_u32(&f->writer, l->sections[i]);
}

/* Widths of the feed-forward part, one for all layers or one for each. */
static void bench_write_ffn(bench_file *f)
{
    const bench_language *l = f->family->language;
    char name[64];
    if (!l->sharing_ff) {
        bench_llm_u32(f, "feed_forward_length", l->n_ff);
        return;
    }
    snprintf(name, sizeof name, "%s.feed_forward_length", l->arch);
    bench_key_array(&f->writer, name, BENCH_I32S, l->n_layer);
    for (uint32_t i = 0; i < l->n_layer; i++)
        bench_put_u32(&f->writer, i < l->n_layer - l->sharing ? l->n_ff : l->sharing_ff);
}

static void bench_write_own_keys(bench_file *f)
{
    const bench_language *l = f->family->language;
    char name[64];
    if (!l->own) return;
    snprintf(name, sizeof name, "%s.attention.sliding_window_pattern", l->arch);
    bench_key_array(&f->writer, name, BENCH_BOOLS, l->n_layer);
    for (uint32_t i = 0; i < l->n_layer; i++)
        bench_put_bool(&f->writer, bench_is_local(l, i));
    bench_llm_u32(f, "attention.key_length_swa", l->head_local);
    bench_llm_u32(f, "attention.value_length_swa", l->head_local);
    bench_llm_u32(f, "rope.dimension_count_swa", l->head_local);
    bench_llm_f32(f, "rope.freq_base_swa", 10000);
    bench_llm_u32(f, "attention.shared_kv_layers", l->sharing);
    bench_llm_u32(f, "embedding_length_per_layer_input", l->own);
    bench_llm_f32(f, "final_logit_softcapping", l->logit_cap);
}

static void bench_write_llm_keys(bench_file *f)
{
    const bench_language *l = f->family->language;
    bench_key_string(&f->writer, "general.architecture", l->arch);
    bench_key_string(&f->writer, "general.name", "random weights");
    bench_llm_u32(f, "context_length", l->context);
    bench_llm_u32(f, "embedding_length", l->n_embd);
    bench_llm_u32(f, "block_count", l->n_layer);
    bench_write_ffn(f);
    bench_llm_u32(f, "attention.head_count", l->n_head);
    bench_write_kv_heads(f);
    if (l->n_head * l->head_dim != l->n_embd || l->features & BENCH_HEAD_NORMS) {
        bench_llm_u32(f, "attention.key_length", l->head_dim);
        bench_llm_u32(f, "attention.value_length", l->head_dim);
    }
    bench_llm_u32(f, "attention.sliding_window", l->window);
    bench_llm_f32(f,
                  l->features & BENCH_ONE_NORM ? "attention.layer_norm_epsilon"
                                               : "attention.layer_norm_rms_epsilon",
                  l->eps);
    bench_write_rope_keys(f);
    bench_llm_f32(f, "embedding_scale", l->scales[0]);
    bench_llm_f32(f, "residual_scale", l->scales[1]);
    bench_llm_f32(f, "attention.scale", l->scales[2]);
    bench_llm_f32(f, "logit_scale", l->scales[3]);
    bench_llm_u32(f, "n_deepstack_layers", l->deepstack_layers);
    bench_write_delta_keys(f);
    bench_write_own_keys(f);
    bench_llm_u32(f, "vocab_size", l->n_vocab);
}

int bench_write_llm(const char *path, const bench_family *family, int type, int hollow)
{
    bench_file f = {.family = family, .type = (uint32_t)type, .take = bench_take_writing};
    if (bench_start(&f.writer, path, hollow)) return -1;
    bench_write_llm_keys(&f);
    bench_write_vocabulary(&f.writer, family->language);
    bench_take_llm(&f);
    return bench_finish(&f.writer);
}

static void bench_write_pixels(bench_file *f)
{
    static const float values[][2][3] = {
        [BENCH_HALVES] = {{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}},
        [BENCH_IMAGENET] = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}},
        [BENCH_CLIP] = {{0.48145466f, 0.4578275f, 0.40821073f},
                        {0.26862954f, 0.26130258f, 0.27577711f}},
        [BENCH_PLAIN] = {{0, 0, 0}, {1, 1, 1}}};
    static const char *const keys[] = {"clip.vision.image_mean", "clip.vision.image_std"};
    for (int k = 0; k < 2; k++) {
        bench_key_array(&f->writer, keys[k], BENCH_F32S, 3);
        for (int c = 0; c < 3; c++)
            bench_put_f32(&f->writer, values[f->family->tower->pixels][k][c]);
    }
}

static void bench_write_deepstack_key(bench_file *f)
{
    const bench_tower *t = f->family->tower;
    bench_key_array(&f->writer, "clip.vision.is_deepstack_layers", BENCH_BOOLS, t->n_layer);
    for (uint32_t i = 1; i <= t->n_layer; i++)
        bench_put_bool(&f->writer,
                       i == t->deepstack[0] || i == t->deepstack[1] || i == t->deepstack[2]);
}

/* The grids as pairs of pixels, and the layers, where a file names them. */
static void bench_write_grids(bench_file *f)
{
    const bench_tower *t = f->family->tower;
    uint32_t count = 0, most = t->grid_tiles;
    if (t->taps[0]) {
        bench_key_array(&f->writer, "clip.vision.feature_layer", BENCH_I32S, bench_taps(t));
        for (uint32_t i = 0; i < bench_taps(t); i++)
            bench_put_u32(&f->writer, t->taps[i]);
    }
    if (!most) return;
    for (uint32_t rows = 1; rows <= most; rows++)
        count += most / rows;
    bench_key_array(&f->writer, "clip.vision.image_grid_pinpoints", BENCH_I32S, 2 * count);
    for (uint32_t rows = 1; rows <= most; rows++)
        for (uint32_t columns = 1; columns <= most / rows; columns++) {
            bench_put_u32(&f->writer, columns * t->image_px);
            bench_put_u32(&f->writer, rows * t->image_px);
        }
    bench_key_string(&f->writer, "clip.vision.mm_patch_merge_type", "spatial_unpad");
}

/* What a projector reads besides. */
static void bench_write_projector_keys(bench_file *f)
{
    const bench_tower *t = f->family->tower;
    bench_writer *w = &f->writer;
    if (!strncmp(t->projector, "qwen", 4) || t->features & BENCH_BARE)
        bench_key_u32(w, "clip.vision.spatial_merge_size", t->merge);
    else if (!strcmp(t->projector, "minicpmv4_6")) {
        bench_key_u32(w, "clip.vision.projector.scale_factor", 2 * t->merge);
        bench_key_array(w, "clip.vision.wa_layer_indexes", BENCH_I32S, 1);
        bench_put_u32(w, 6);
    } else if (t->merge > 1 && strcmp(t->projector, "gemma3"))
        bench_key_u32(w, "clip.vision.projector.scale_factor", t->merge);
    if (!strcmp(t->projector, "resampler")) bench_key_u32(w, "clip.minicpmv_version", 6);
    if (!strcmp(t->projector, "qwen3vl_merger")) bench_write_deepstack_key(f);
    if (t->window_pattern) bench_key_u32(w, "clip.vision.n_wa_pattern", t->window_pattern);
    if (!strcmp(t->projector, "mlp")) bench_key_bool(w, "clip.has_llava_projector", 1);
    bench_write_grids(f);
}

static void bench_write_mmproj_keys(bench_file *f)
{
    const bench_tower *t = f->family->tower;
    bench_writer *w = &f->writer;
    bench_key_string(w, "general.architecture", "clip");
    bench_key_string(w, "general.type", "mmproj");
    bench_key_bool(w, "clip.has_vision_encoder", 1);
    bench_key_string(
        w, t->features & BENCH_GEMMA4 ? "clip.vision.projector_type" : "clip.projector_type",
        t->projector);
    if (!(t->features & BENCH_GEMMA4)) /* which names no activation */
        bench_key_bool(
            w, t->features & (BENCH_GATED | BENCH_BARE) ? "clip.use_silu" : "clip.use_gelu",
            !(t->features & BENCH_QUICK_GELU));
    bench_key_u32(w, "clip.vision.image_size", t->image_px);
    bench_key_u32(w, "clip.vision.patch_size", t->patch_px);
    bench_key_u32(w, "clip.vision.embedding_length", t->width);
    bench_key_u32(w, "clip.vision.feed_forward_length", t->n_ff);
    bench_key_u32(w, "clip.vision.block_count", t->n_layer);
    bench_key_u32(w, "clip.vision.attention.head_count", t->n_head);
    bench_key_u32(w, "clip.vision.projection_dim", f->family->language->n_embd);
    bench_key_f32(w, "clip.vision.attention.layer_norm_epsilon", t->eps);
    bench_write_pixels(f);
    bench_write_projector_keys(f);
}

int bench_write_mmproj(const char *path, const bench_family *family, int type, int hollow)
{
    bench_file f = {.family = family, .type = (uint32_t)type, .take = bench_take_writing};
    if (bench_start(&f.writer, path, hollow)) return -1;
    bench_write_mmproj_keys(&f);
    bench_add_kernels(&f);
    bench_take_mmproj(&f);
    return bench_finish(&f.writer);
}

/* ---- Counting ------------------------------------------------------------------------------------------ */

static void bench_take_counting(bench_file *f, const char *name, const bench_spec *spec,
                                uint32_t type)
{
    bench_tensor t = {.ne = {f->size[spec->cols], f->size[spec->rows], 1, 1}, .type = type};
    (void)name;
    if (spec->role == R_VECTOR || spec->role == R_FLOATS || spec->role == R_TABLE) return;
    f->values += t.ne[0] * t.ne[1];
    f->bytes += bench_tensor_bytes(&t);
}

static bench_file bench_count_llm(const bench_family *family, int type, int every_token)
{
    static const bench_spec table = {"", 0, S_EMBD, S_VOCAB, R_MATRIX, 0};
    bench_file f = {.family = family, .type = (uint32_t)type, .take = bench_take_counting};
    bench_file unread = f;
    f.every_token = every_token;
    bench_take_llm(&f);
    if (!(family->language->features & BENCH_UNTIED)) return f;
    bench_llm_sizes(&unread);
    bench_take_specs(&unread, "", &table, 1, 0, 0);
    f.values -= unread.values;
    f.bytes -= unread.bytes;
    return f;
}

uint64_t bench_llm_linear_values(const bench_family *family)
{
    return bench_count_llm(family, 0, 1).values;
}

uint64_t bench_llm_linear_bytes(const bench_family *family, int type)
{
    return bench_count_llm(family, type, 0).bytes;
}

uint64_t bench_llm_cache_bytes(const bench_family *family)
{
    const bench_language *l = family->language;
    uint64_t layers = 0; /* their heads, added up */
    for (uint32_t i = 0; i < l->n_layer; i++)
        if (bench_layer_kind(l, i) & BENCH_STORES)
            layers += (bench_is_local(l, i) && l->head_local ? l->head_local : l->head_dim) + 2;
    return 2 * layers * l->n_head_kv;
}

uint64_t bench_tile_products(const bench_family *family)
{
    const bench_tower *t = family->tower;
    bench_list projector = bench_projector_specs(t);
    bench_file layer = {.family = family, .take = bench_take_counting}, last = layer;
    uint64_t side = t->image_px / t->patch_px, patches = side * side;
    uint64_t tokens = (side + t->merge - 1) / t->merge * ((side + t->merge - 1) / t->merge);
    uint64_t attention = 2 * patches * t->width; /* a query with every key, and with values */
    uint64_t kernel = 3ull * t->patch_px * t->patch_px * t->width;
    bench_mmproj_sizes(&layer);
    bench_mmproj_sizes(&last);
    if (t->features & BENCH_GEMMA4)
        bench_take_specs(&layer, "", bench_bare_specs, COUNT(bench_bare_specs), 0, 0);
    else
        bench_take_specs(&layer, "", bench_vision_specs, COUNT(bench_vision_specs), t->features,
                         0);
    bench_take_specs(&last, "", projector.at, projector.count, t->features, 0);
    return patches * (t->n_layer * (layer.values + attention) + kernel) + tokens * last.values;
}
