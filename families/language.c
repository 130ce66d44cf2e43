#include "language.h"

#include "rope.h"

#define BLM_MAX_WIDTH  65536u
#define BLM_MAX_LAYERS 1024u
#define BLM_MAX_HEAD   1024u
#define BLM_MAX_FFN    (16 * BLM_MAX_WIDTH)

/* ---- The families ---------------------------------------------------------------------- */

typedef struct blm_architecture {
    const char *name;       /* general.architecture, and what its keys begin with       */
    const char *ffn_norm;   /* NULL: ffn_norm.weight                                    */
    const char *final_norm; /* NULL: output_norm.weight                                 */
    blm_sections sections;
    blm_mixer mixer;          /* of the layers that have no attention                    */
    uint32_t global_every;    /* windowed: but every Nth layer; 0: all are               */
    uint32_t rests_every;     /* RoPE rotates nothing in every Nth layer; 0: in none       */
    unsigned halves : 1;      /* RoPE rotates (i, i + n/2), else (2i, 2i + 1)              */
    unsigned head_norms : 1;  /* of each head's query and key                            */
    unsigned sandwich : 1;    /* norms behind the mixer and the feed-forward             */
    unsigned gelu : 1;        /* in place of SiLU                                        */
    unsigned gated : 1;       /* attention's queries come with gates                     */
    unsigned root_scale : 1;  /* embeddings of tokens times sqrt(n_embd)                 */
    unsigned scales : 1;      /* embedding, residual, attention and logit scales are keys */
    unsigned windowed : 1;    /* where the file has a sliding_window                     */
    unsigned local_rope : 1;  /* windowed layers have a base of RoPE of their own        */
    unsigned two_way : 1;     /* the tokens of a picture see each other                  */
    unsigned unscaled : 1;    /* attention: queries are not divided                      */
    unsigned value_norm : 1;  /* of each head's value, without weights                   */
    unsigned own : 1;         /* layers have embeddings of their own, where the file has */
    unsigned first_sees : 1;  /* and the first token sees the picture right behind it     */
    unsigned layer_norms : 1; /* LayerNorm with biases in place of RMS norms             */
    unsigned one_norm : 1;    /* the feed-forward reads what attention reads              */
    unsigned ungated : 1;     /* feed-forward                                            */
} blm_architecture;

static const blm_architecture blm_architectures[] = {
    {.name = "llama"},
    {.name = "internlm2"},
    {.name = "mistral3"},
    {.name = "smollm3", .rests_every = 4},
    {.name = "qwen2", .halves = 1},
    {.name = "qwen2vl", .halves = 1, .sections = BLM_SECTIONS_RUNS},
    {.name = "paddleocr", .halves = 1, .sections = BLM_SECTIONS_RUNS},
    {.name = "qwen3", .halves = 1, .head_norms = 1},
    {.name = "qwen3vl", .halves = 1, .head_norms = 1, .sections = BLM_SECTIONS_THIRDS},
    {.name = "qwen35",
     .halves = 1,
     .head_norms = 1,
     .gated = 1,
     .sections = BLM_SECTIONS_THIRDS,
     .mixer = BLM_MIX_DELTA,
     .ffn_norm = "post_attention_norm.weight"},
    {.name = "lfm2",
     .halves = 1,
     .head_norms = 1,
     .windowed = 1,
     .mixer = BLM_MIX_CONVOLUTION,
     .final_norm = "token_embd_norm.weight"},
    {.name = "gemma", .halves = 1, .gelu = 1, .root_scale = 1},
    {.name = "gemma3",
     .halves = 1,
     .head_norms = 1,
     .sandwich = 1,
     .gelu = 1,
     .root_scale = 1,
     .windowed = 1,
     .global_every = 6,
     .local_rope = 1,
     .two_way = 1},
    {.name = "gemma4",
     .halves = 1,
     .head_norms = 1,
     .sandwich = 1,
     .gelu = 1,
     .root_scale = 1,
     .windowed = 1,
     .local_rope = 1,
     .unscaled = 1,
     .value_norm = 1,
     .own = 1},
    {.name = "phi3", .halves = 1, .windowed = 1},
    {.name = "granite", .scales = 1},
    {.name = "phi2",
     .halves = 1,
     .gelu = 1,
     .ungated = 1,
     .layer_norms = 1,
     .one_norm = 1,
     .two_way = 1,
     .first_sees = 1},
};

/* ---- Keys -------------------------------------------------------------------------------- */

/* A number for each layer, or one for all. */
typedef struct blm_per_layer {
    blm_array array;
    uint32_t bytes; /* of an element, 0: there is no array */
    uint32_t one;   /* then it is this                     */
} blm_per_layer;

/* A file on its way into a blm_language. */
typedef struct blm_language_file {
    const blm_gguf *g;
    const blm_architecture *row;
    blm_per_layer kv_heads, ffn;
    blm_per_layer marked; /* layers that are recurrent, or windowed: no family has both */
    uint32_t n_sharing;   /* last layers that store no keys and values */
    uint32_t full_every;  /* delta net: every Nth layer is attention */
} blm_language_file;

static const char *blm_language_key(const blm_language_file *f, const char *name, blm_name *key)
{
    return blm_name_add(blm_name_start(key, f->row->name), name)->text;
}

static int blm_language_u32(const blm_language_file *f, const char *name, uint32_t low,
                            uint32_t high, uint32_t *out, bluelm_error *err)
{
    return blm_key_maybe_u32(f->g, f->row->name, name, low, high, out, err);
}

static int blm_language_f32(const blm_language_file *f, const char *name, float *out,
                            bluelm_error *err)
{
    return blm_key_maybe_f32(f->g, f->row->name, name, out, err);
}

/* As blm_language_f32, but 0 is as good as no key. */
static int blm_language_positive(const blm_language_file *f, const char *name, float *out,
                                 bluelm_error *err)
{
    float value = 0;
    blm_name key;
    int found = blm_gguf_f32(f->g, blm_language_key(f, name, &key), &value, err);
    if (found <= 0 || value == 0) return found < 0 ? found : BLUELM_OK;
    return blm_language_f32(f, name, out, err);
}

/* Fails about a key of the file: "llm: " key what. */
BLM_COLD static int blm_language_fail(const blm_language_file *f, int code, const char *name,
                                      const char *what, uint64_t need, uint64_t have,
                                      bluelm_error *err)
{
    blm_subject subject;
    blm_subject_add(blm_subject_add(blm_subject_start(&subject, "llm: "), f->row->name), name);
    return blm_fail(err, code, blm_subject_add(&subject, what)->text, need, have, 0);
}

/* An array of as many elements as there are layers, or one number, which otherwise stays. */
static int blm_language_per_layer(const blm_language_file *f, const char *name, uint32_t layers,
                                  uint32_t low, uint32_t high, blm_per_layer *out,
                                  bluelm_error *err)
{
    static const uint8_t types[][2] = {
        {BLM_GGUF_I32, 4}, {BLM_GGUF_U32, 4}, {BLM_GGUF_BOOL, 1}};
    blm_name key;
    blm_language_key(f, name, &key);
    for (uint32_t i = 0; i < BLM_COUNT_OF(types); i++) {
        if (blm_gguf_array(f->g, key.text, types[i][0], &out->array, NULL) != 1) continue;
        if (out->array.count < layers)
            return blm_language_fail(f, BLUELM_E_FORMAT, name, " elements", layers,
                                     out->array.count, err);
        out->bytes = types[i][1];
        return BLUELM_OK;
    }
    return blm_language_u32(f, name, low, high, &out->one, err);
}

static uint32_t blm_per_layer_at(const blm_per_layer *p, uint32_t layer)
{
    if (!p->bytes) return p->one;
    const uint8_t *at = p->array.data + (size_t)layer * p->bytes;
    return p->bytes == 1 ? *at : blm_load_u32(at);
}

/* A number that must be the one that is run. */
BLM_COLD static int blm_language_only(const blm_language_file *f, const char *name,
                                      uint32_t allowed, bluelm_error *err)
{
    uint32_t value = allowed;
    int code = blm_language_u32(f, name, 0, UINT32_MAX, &value, err);
    if (code < 0 || value == allowed) return code;
    return blm_language_fail(f, BLUELM_E_UNSUPPORTED, name, "", allowed, value, err);
}

BLM_COLD static int blm_language_row(blm_language_file *f, bluelm_error *err)
{
    blm_string name = {"", 0};
    int found = blm_gguf_string(f->g, "general.architecture", &name, err);
    if (found < 0) return found;
    for (uint32_t i = 0; i < BLM_COUNT_OF(blm_architectures); i++) {
        f->row = &blm_architectures[i];
        if (blm_string_is(name, f->row->name)) return BLUELM_OK;
    }
    return blm_fail_value(err, BLUELM_E_UNSUPPORTED, "llm: architecture ", name);
}

/* ---- Sizes ------------------------------------------------------------------------------- */

/* Layers beyond the model proper, which guess further tokens, are not run. */
static int blm_language_layers(blm_language *m, const blm_language_file *f, bluelm_error *err)
{
    uint32_t ahead = 0;
    int code;
    if ((code = blm_key_need_u32(f->g, f->row->name, ".block_count", 1, BLM_MAX_LAYERS,
                                 &m->n_layer, err)) < 0 ||
        (code = blm_language_u32(f, ".nextn_predict_layers", 0, m->n_layer - 1, &ahead, err)) <
            0)
        return code;
    m->n_layer -= ahead;
    return BLUELM_OK;
}

/* Every attention layer has the same number of heads of keys; 0 is a layer without. */
static int blm_language_kv_heads(blm_language *m, blm_language_file *f, bluelm_error *err)
{
    f->kv_heads.one = m->n_head;
    int code = blm_language_per_layer(f, ".attention.head_count_kv", m->n_layer, 1, m->n_head,
                                      &f->kv_heads, err);
    if (code < 0) return code;
    for (uint32_t i = 0; i < m->n_layer; i++) {
        uint32_t heads = blm_per_layer_at(&f->kv_heads, i);
        if (!heads && f->row->mixer == BLM_MIX_CONVOLUTION) continue;
        if (!m->n_head_kv) m->n_head_kv = heads;
        if (!heads || heads > m->n_head || heads != m->n_head_kv)
            return blm_language_fail(f, BLUELM_E_UNSUPPORTED, ".attention.head_count_kv",
                                     " of a layer", m->n_head_kv, heads, err);
    }
    if (!m->n_head_kv) m->n_head_kv = 1; /* no attention at all */
    return BLUELM_OK;
}

/* Values of a head that RoPE turns: a number of pairs, all of the head without a key. */
static int blm_language_rotates(const blm_language_file *f, const char *name, uint32_t head_dim,
                                uint32_t *n_rot, bluelm_error *err)
{
    *n_rot = head_dim;
    int code = blm_language_u32(f, name, 2, head_dim, n_rot, err);
    if (code < 0 || *n_rot % 2 == 0) return code;
    return blm_language_fail(f, BLUELM_E_FORMAT, name, " is odd", *n_rot + 1, *n_rot, err);
}

/* Heads of windowed layers may be smaller. */
static int blm_language_local_heads(blm_language *m, const blm_language_file *f,
                                    bluelm_error *err)
{
    int code = blm_language_u32(f, ".attention.key_length_swa", 1, m->head_dim,
                                &m->window_head_dim, err);
    if (code < 0 || m->window_head_dim == m->head_dim) return code;
    code = blm_language_only(f, ".attention.value_length_swa", m->window_head_dim, err);
    if (code < 0) return code;
    return blm_language_rotates(f, ".rope.dimension_count_swa",
                                BLM_MIN(m->window_head_dim, m->n_rot), &m->window_n_rot, err);
}

static int blm_language_heads(blm_language *m, blm_language_file *f, bluelm_error *err)
{
    int code;
    m->head_dim = m->n_embd / m->n_head;
    if ((code = blm_language_kv_heads(m, f, err)) < 0 ||
        (code = blm_language_u32(f, ".attention.key_length", 1, BLM_MAX_HEAD, &m->head_dim,
                                 err)) < 0)
        return code;
    if (m->n_head % m->n_head_kv || m->head_dim == 0 || m->head_dim > BLM_MAX_HEAD)
        return blm_fail(err, BLUELM_E_FORMAT, "llm: head_count does not fit", m->n_head,
                        m->head_dim ? m->n_head_kv : 0, 0);
    code = blm_language_rotates(f, ".rope.dimension_count", m->head_dim, &m->n_rot, err);
    if (code < 0) return code;
    m->window_head_dim = m->head_dim;
    m->window_n_rot = m->n_rot;
    return f->row->local_rope ? blm_language_local_heads(m, f, err) : BLUELM_OK;
}

/* The width of the feed-forward part, or of each layer's. */
static int blm_language_ffn(blm_language *m, blm_language_file *f, bluelm_error *err)
{
    static const char name[] = ".feed_forward_length";
    int code = blm_language_per_layer(f, name, m->n_layer, 1, BLM_MAX_FFN, &f->ffn, err);
    if (code < 0) return code;
    for (uint32_t i = 0; i < m->n_layer; i++) {
        uint32_t width = blm_per_layer_at(&f->ffn, i);
        if (width < 1 || width > BLM_MAX_FFN)
            return blm_language_fail(f, BLUELM_E_FORMAT, name, width ? "" : " is missing",
                                     width ? BLM_MAX_FFN : 1, width, err);
        m->n_ff = BLM_MAX(m->n_ff, width);
    }
    return BLUELM_OK;
}

BLM_COLD static int blm_language_sizes(blm_language *m, blm_language_file *f, bluelm_error *err)
{
    const char *arch = f->row->name;
    const char *eps = f->row->layer_norms ? ".attention.layer_norm_epsilon"
                                          : ".attention.layer_norm_rms_epsilon";
    int code;
    m->trained_context_tokens = 2048;
    m->norm_eps = 1e-5f;
    if ((code = blm_key_need_u32(f->g, arch, ".embedding_length", 1, BLM_MAX_WIDTH, &m->n_embd,
                                 err)) < 0 ||
        (code = blm_language_layers(m, f, err)) < 0 ||
        (code = blm_language_ffn(m, f, err)) < 0 ||
        (code = blm_key_need_u32(f->g, arch, ".attention.head_count", 1, BLM_MAX_WIDTH,
                                 &m->n_head, err)) < 0 ||
        (code = blm_language_u32(f, ".context_length", 1, UINT32_MAX,
                                 &m->trained_context_tokens, err)) < 0 ||
        (code = blm_language_f32(f, eps, &m->norm_eps, err)) < 0 ||
        (code = blm_language_u32(f, ".n_deepstack_layers", 0, m->n_layer, &m->n_deepstack,
                                 err)) < 0)
        return code;
    return blm_language_heads(m, f, err);
}

/* What the row says of the whole model, and the scales it has keys for. */
BLM_COLD static int blm_language_traits(blm_language *m, const blm_language_file *f,
                                        bluelm_error *err)
{
    const blm_architecture *row = f->row;
    int code = BLUELM_OK;
    m->architecture = row->name;
    m->rope_halves = row->halves;
    m->planar = row->sections != BLM_NO_SECTIONS;
    m->two_way = row->two_way;
    m->first_sees = row->first_sees;
    m->ungated = row->ungated;
    m->gated = row->gated;
    m->gelu = row->gelu;
    m->image_scale = m->residual_scale = m->logit_scale = 1.0f;
    m->token_scale = row->root_scale ? blm_sqrtf((float)m->n_embd) : 1.0f;
    m->attention_scale = row->unscaled ? 1.0f : 1.0f / blm_sqrtf((float)m->head_dim);
    m->value_norm = row->value_norm;
    if ((code = blm_language_positive(f, ".final_logit_softcapping", &m->logit_cap, err)) < 0 ||
        (code = blm_language_positive(f, ".attention.temperature_scale", &m->temperature,
                                      err)) < 0 ||
        !row->scales)
        return code;
    if ((code = blm_language_f32(f, ".embedding_scale", &m->token_scale, err)) < 0 ||
        (code = blm_language_f32(f, ".residual_scale", &m->residual_scale, err)) < 0 ||
        (code = blm_language_f32(f, ".attention.scale", &m->attention_scale, err)) < 0 ||
        (code = blm_language_f32(f, ".logit_scale", &m->logit_scale, err)) < 0)
        return code;
    m->image_scale = m->token_scale; /* a picture's rows go through the same multiplier */
    return code;
}

BLM_COLD static int blm_language_windows(blm_language *m, blm_language_file *f,
                                         bluelm_error *err)
{
    int code;
    m->n_storing = m->n_layer;
    if (!f->row->windowed) return BLUELM_OK;
    f->marked.one = f->row->global_every;
    if ((code = blm_language_u32(f, ".attention.sliding_window", 0, UINT32_MAX, &m->window,
                                 err)) < 0 ||
        (code = blm_language_per_layer(f, ".attention.sliding_window_pattern", m->n_layer, 0,
                                       BLM_MAX_LAYERS, &f->marked, err)) < 0 ||
        (code = blm_language_u32(f, ".attention.shared_kv_layers", 0, m->n_layer - 1,
                                 &f->n_sharing, err)) < 0)
        return code;
    m->n_storing = m->n_layer - f->n_sharing;
    return BLUELM_OK;
}

static int blm_language_is_windowed(const blm_language *m, const blm_language_file *f,
                                    uint32_t layer)
{
    if (!m->window) return 0;
    uint32_t every = f->marked.one;
    if (f->marked.bytes) return blm_per_layer_at(&f->marked, layer) != 0;
    return every == 0 || (layer + 1) % every != 0;
}

/* Whether a layer reads keys and values that an earlier one stored. */
static int blm_language_shares(const blm_language *m, const blm_language_file *f,
                               uint32_t layer)
{
    return layer >= m->n_layer - f->n_sharing;
}

static int blm_language_rests(const blm_language_file *f, uint32_t layer)
{
    uint32_t every = f->row->rests_every;
    return every && (layer + 1) % every == 0;
}

/* Sizes of the mixers that are no attention. */
BLM_COLD static int blm_language_recurrent(blm_language *m, blm_language_file *f,
                                           bluelm_error *err)
{
    const char *arch = f->row->name;
    uint32_t inner = 0;
    int code;
    if (f->row->mixer == BLM_MIX_CONVOLUTION) {
        m->channels = m->n_embd;
        return blm_key_need_u32(f->g, arch, ".shortconv.l_cache", 2, BLM_MAX_TAPS, &m->taps,
                                err);
    }
    if (f->row->mixer != BLM_MIX_DELTA) return BLUELM_OK;
    f->full_every = 4;
    if ((code = blm_key_need_u32(f->g, arch, ".ssm.conv_kernel", 2, BLM_MAX_TAPS, &m->taps,
                                 err)) < 0 ||
        (code = blm_key_need_u32(f->g, arch, ".ssm.state_size", 1, BLM_MAX_HEAD, &m->state_dim,
                                 err)) < 0 ||
        (code = blm_key_need_u32(f->g, arch, ".ssm.group_count", 1, 4096, &m->k_heads, err)) <
            0 ||
        (code = blm_key_need_u32(f->g, arch, ".ssm.time_step_rank", 1, 4096, &m->v_heads,
                                 err)) < 0 ||
        (code = blm_key_need_u32(f->g, arch, ".ssm.inner_size", 1, UINT32_MAX, &inner, err)) <
            0 ||
        (code = blm_language_u32(f, ".full_attention_interval", 1, BLM_MAX_LAYERS,
                                 &f->full_every, err)) < 0 ||
        (code = blm_language_per_layer(f, ".attention.recurrent_layers", m->n_layer, 0, 1,
                                       &f->marked, err)) < 0)
        return code;
    if (inner != m->v_heads * m->state_dim || m->v_heads % m->k_heads)
        return blm_language_fail(f, BLUELM_E_UNSUPPORTED, ".ssm.inner_size", "",
                                 (uint64_t)m->v_heads * m->state_dim, inner, err);
    m->channels = (2 * m->k_heads + m->v_heads) * m->state_dim;
    return BLUELM_OK;
}

static blm_mixer blm_language_mixer(const blm_language_file *f, uint32_t layer)
{
    int attention = 1;
    if (f->row->mixer == BLM_MIX_CONVOLUTION)
        attention = blm_per_layer_at(&f->kv_heads, layer) != 0;
    if (f->row->mixer == BLM_MIX_DELTA)
        attention = f->marked.bytes ? !blm_per_layer_at(&f->marked, layer)
                                    : (layer + 1) % f->full_every == 0;
    return attention ? BLM_MIX_ATTENTION : f->row->mixer;
}

/* ---- RoPE -------------------------------------------------------------------------------- */

BLM_COLD static int blm_language_rope(blm_language *m, const blm_language_file *f,
                                      blm_arena *arena, bluelm_error *err)
{
    const blm_rope_kind kind = {
        .arch = f->row->name,
        .local = m->window && f->row->local_rope,
        .may_rest = f->row->scales,
        .some_rest = f->row->rests_every != 0,
        .sections = f->row->sections,
    };
    int code = blm_rope_read(m, f->g, &kind, arena, err);
    m->temperature_tokens = m->temperature > 0 ? m->original_context_tokens : 0;
    return code;
}

/* What would change every result and is not run. */
BLM_COLD static int blm_language_refuse(const blm_language *m, const blm_language_file *f,
                                        bluelm_error *err)
{
    float cap = 0;
    int causal = 1, code;
    blm_name key;
    if ((code = blm_language_only(f, ".expert_count", 0, err)) < 0 ||
        (code = blm_language_only(f, ".attention.value_length", m->head_dim, err)) < 0 ||
        (code = blm_language_positive(f, ".attn_logit_softcapping", &cap, err)) < 0 ||
        (code = blm_gguf_bool(f->g, blm_language_key(f, ".attention.causal", &key), &causal,
                              err)) < 0)
        return code;
    if (cap > 0)
        return blm_language_fail(f, BLUELM_E_UNSUPPORTED, ".attn_logit_softcapping", "", 0, 1,
                                 err);
    if (!causal)
        return blm_language_fail(f, BLUELM_E_UNSUPPORTED, ".attention.causal", "", 1, 0, err);
    return BLUELM_OK;
}

/* ---- Layers ------------------------------------------------------------------------------ */

/* Queries, keys and values that lie as one matrix, with one bias or three. */
static int blm_attention_fused(blm_attention *a, const blm_tensor_place *at, uint64_t e,
                               uint64_t q, uint64_t kv, bluelm_error *err)
{
    blm_tensor all;
    blm_vector bias;
    int code = blm_tensor_matrix(at, "attn_qkv.weight", e, q + 2 * kv, &all, err);
    if (code < 0 ||
        (code = blm_tensor_maybe_vector(at, "attn_qkv.bias", q + 2 * kv, &bias, err)) < 0)
        return code;
    a->q = blm_tensor_rows(&all, 0, q);
    a->k = blm_tensor_rows(&all, q, kv);
    a->v = blm_tensor_rows(&all, q + kv, kv);
    if (!bias.data) return BLUELM_OK;
    a->q_bias = bias;
    a->k_bias.data = bias.data + q * sizeof(float);
    a->v_bias.data = bias.data + (q + kv) * sizeof(float);
    return BLUELM_OK;
}

static int blm_attention_apart(blm_attention *a, const blm_tensor_place *at, uint64_t e,
                               uint64_t q, uint64_t kv, bluelm_error *err)
{
    int code;
    if ((code = blm_tensor_matrix(at, "attn_q.weight", e, q, &a->q, err)) < 0 || !kv ||
        (code = blm_tensor_matrix(at, "attn_k.weight", e, kv, &a->k, err)) < 0)
        return code;
    return blm_tensor_matrix(at, "attn_v.weight", e, kv, &a->v, err);
}

static int blm_attention_biases(blm_attention *a, const blm_tensor_place *at, uint64_t e,
                                uint64_t q, uint64_t kv, bluelm_error *err)
{
    int code;
    if (!a->q_bias.data &&
        ((code = blm_tensor_maybe_vector(at, "attn_q.bias", q, &a->q_bias, err)) < 0 ||
         (code = blm_tensor_maybe_vector(at, "attn_k.bias", kv, &a->k_bias, err)) < 0 ||
         (code = blm_tensor_maybe_vector(at, "attn_v.bias", kv, &a->v_bias, err)) < 0))
        return code;
    return blm_tensor_maybe_vector(at, "attn_output.bias", e, &a->o_bias, err);
}

/* Keys and values of a layer that reads those of an earlier one: files may hold them. */
static int blm_attention_share(blm_attention *a, const blm_tensor_place *at, bluelm_error *err)
{
    static const char *const unused[] = {"attn_k.weight", "attn_v.weight",
                                         "attn_k_norm.weight"};
    int code = BLUELM_OK;
    for (uint32_t i = 0; code >= 0 && i < BLM_COUNT_OF(unused); i++)
        code = blm_tensor_present(at, unused[i], err);
    a->k.data = a->v.data = NULL;
    return code < 0 ? code : BLUELM_OK;
}

static int blm_attention_read(blm_attention *a, const blm_language *m, uint32_t head_dim,
                              const blm_language_file *f, const blm_tensor_place *at,
                              bluelm_error *err)
{
    uint64_t heads = (uint64_t)m->n_head * head_dim, e = m->n_embd;
    uint64_t q = heads * (m->gated ? 2 : 1), kv = (uint64_t)m->n_head_kv * head_dim;
    const int shares = blm_language_shares(m, f, (uint32_t)at->layer);
    int code = blm_tensor_present(at, "attn_qkv.weight", err);
    if (code < 0 ||
        (code = code ? blm_attention_fused(a, at, e, q, kv, err)
                     : blm_attention_apart(a, at, e, q, shares ? 0 : kv, err)) < 0 ||
        (code = blm_attention_biases(a, at, e, q, kv, err)) < 0 ||
        (code = blm_tensor_matrix(at, "attn_output.weight", heads, e, &a->o, err)) < 0 ||
        (shares && (code = blm_attention_share(a, at, err)) < 0) || !f->row->head_norms ||
        (code = blm_tensor_vector(at, "attn_q_norm.weight", head_dim, &a->q_norm, err)) < 0 ||
        shares)
        return code;
    return blm_tensor_vector(at, "attn_k_norm.weight", head_dim, &a->k_norm, err);
}

/* A convolution's weights: F32, a row for each channel. */
static int blm_taps_read(blm_tensor *taps, const char *name, const blm_language *m,
                         const blm_tensor_place *at, bluelm_error *err)
{
    int code = blm_tensor_matrix(at, name, m->taps, m->channels, taps, err);
    if (code < 0 || taps->type == BLM_F32) return code;
    return blm_fail(err, BLUELM_E_UNSUPPORTED, "llm: type of a convolution's weights", BLM_F32,
                    taps->type, 0);
}

static int blm_convolution_read(blm_convolution *c, const blm_language *m,
                                const blm_tensor_place *at, bluelm_error *err)
{
    uint64_t e = m->n_embd;
    int code;
    if ((code = blm_tensor_matrix(at, "shortconv.in_proj.weight", e, 3 * e, &c->in, err)) < 0 ||
        (code = blm_taps_read(&c->taps, "shortconv.conv.weight", m, at, err)) < 0)
        return code;
    return blm_tensor_matrix(at, "shortconv.out_proj.weight", e, e, &c->out, err);
}

static int blm_delta_read(blm_delta *d, const blm_language *m, const blm_tensor_place *at,
                          bluelm_error *err)
{
    uint64_t e = m->n_embd, heads = m->v_heads, inner = heads * m->state_dim;
    int code;
    if ((code = blm_tensor_matrix(at, "attn_qkv.weight", e, m->channels, &d->qkv, err)) < 0 ||
        (code = blm_tensor_matrix(at, "attn_gate.weight", e, inner, &d->gate, err)) < 0 ||
        (code = blm_tensor_matrix(at, "ssm_beta.weight", e, heads, &d->beta, err)) < 0 ||
        (code = blm_tensor_matrix(at, "ssm_alpha.weight", e, heads, &d->alpha, err)) < 0 ||
        (code = blm_taps_read(&d->taps, "ssm_conv1d.weight", m, at, err)) < 0 ||
        (code = blm_tensor_vector(at, "ssm_dt.bias", heads, &d->step, err)) < 0 ||
        (code = blm_tensor_vector(at, "ssm_a", heads, &d->decay, err)) < 0 ||
        (code = blm_tensor_vector(at, "ssm_norm.weight", m->state_dim, &d->norm, err)) < 0)
        return code;
    return blm_tensor_matrix(at, "ssm_out.weight", inner, e, &d->out, err);
}

/* The place of a layer's keys and values: its own, or that of the last layer of its kind
 * that has some. */
static int blm_attention_place(blm_layer *l, blm_language *m, const blm_language_file *f,
                               uint32_t layer, bluelm_error *err)
{
    uint32_t *layers = l->windowed ? &m->n_window : &m->n_context;
    l->ordinal = *layers;
    if (!blm_language_shares(m, f, layer)) {
        ++*layers;
        return BLUELM_OK;
    }
    if (!*layers)
        return blm_language_fail(f, BLUELM_E_FORMAT, ".attention.shared_kv_layers",
                                 ": none before layer", 1, layer, err);
    l->ordinal--;
    return BLUELM_OK;
}

/* The layer's kind of mixer, its tensors, and its place among the layers of its state. */
static int blm_layer_mixer(blm_layer *l, blm_language *m, const blm_language_file *f,
                           const blm_tensor_place *at, bluelm_error *err)
{
    uint32_t index = (uint32_t)at->layer;
    l->mixer = blm_language_mixer(f, index);
    switch (l->mixer) {
    case BLM_MIX_CONVOLUTION:
        l->ordinal = m->n_convolution++;
        return blm_convolution_read(&l->mix.convolution, m, at, err);
    case BLM_MIX_DELTA:
        l->ordinal = m->n_delta++;
        return blm_delta_read(&l->mix.delta, m, at, err);
    case BLM_MIX_ATTENTION:
        break;
    }
    l->windowed = (uint32_t)blm_language_is_windowed(m, f, index);
    l->rope = l->windowed || blm_language_rests(f, index) ? m->n_rope - 1 : 0;
    l->head_dim = l->windowed ? m->window_head_dim : m->head_dim;
    l->n_rot = l->windowed ? m->window_n_rot : m->n_rot;
    int code = blm_attention_place(l, m, f, index, err);
    if (code < 0) return code;
    return blm_attention_read(&l->mix.attention, m, l->head_dim, f, at, err);
}

static int blm_layer_norms(blm_layer *l, const blm_language *m, const blm_language_file *f,
                           const blm_tensor_place *at, bluelm_error *err)
{
    const char *ffn_norm = f->row->ffn_norm ? f->row->ffn_norm : "ffn_norm.weight";
    uint64_t e = m->n_embd;
    int code;
    if ((code = blm_tensor_vector(at, "attn_norm.weight", e, &l->attn_norm, err)) < 0 ||
        (f->row->layer_norms &&
         (code = blm_tensor_vector(at, "attn_norm.bias", e, &l->attn_norm_bias, err)) < 0) ||
        (!f->row->one_norm &&
         (code = blm_tensor_vector(at, ffn_norm, e, &l->ffn_norm, err)) < 0) ||
        !f->row->sandwich ||
        (code = blm_tensor_vector(at, "post_attention_norm.weight", e, &l->mixed_norm, err)) <
            0)
        return code;
    return blm_tensor_vector(at, "post_ffw_norm.weight", e, &l->fed_norm, err);
}

/* Gate and up, which lie as one matrix where there is no ffn_gate; or up alone. */
static int blm_layer_gate_up(blm_layer *l, uint64_t e, uint64_t n, int ungated,
                             const blm_tensor_place *at, bluelm_error *err)
{
    blm_tensor both;
    int code = ungated ? 0 : blm_tensor_present(at, "ffn_gate.weight", err);
    if (code < 0) return code;
    if (code) {
        if ((code = blm_tensor_matrix(at, "ffn_gate.weight", e, n, &l->gate, err)) < 0 ||
            (code = blm_tensor_maybe_vector(at, "ffn_gate.bias", n, &l->gate_bias, err)) < 0 ||
            (code = blm_tensor_maybe_vector(at, "ffn_up.bias", n, &l->up_bias, err)) < 0)
            return code;
        return blm_tensor_matrix(at, "ffn_up.weight", e, n, &l->up, err);
    }
    if (ungated) {
        code = blm_tensor_matrix(at, "ffn_up.weight", e, n, &l->up, err);
        return code < 0 ? code
                        : blm_tensor_maybe_vector(at, "ffn_up.bias", n, &l->up_bias, err);
    }
    if ((code = blm_tensor_matrix(at, "ffn_up.weight", e, 0, &both, err)) < 0) return code;
    if (both.ne[1] != 2 * n)
        return blm_tensor_matrix(at, "ffn_gate.weight", e, n, &l->gate, err);
    l->gate = blm_tensor_rows(&both, 0, n);
    l->up = blm_tensor_rows(&both, n, n);
    return BLUELM_OK;
}

static int blm_layer_feed_forward(blm_layer *l, const blm_language *m,
                                  const blm_language_file *f, const blm_tensor_place *at,
                                  bluelm_error *err)
{
    uint64_t e = m->n_embd, n = blm_per_layer_at(&f->ffn, (uint32_t)at->layer);
    int code;
    l->n_ff = (uint32_t)n;
    if ((code = blm_layer_gate_up(l, e, n, m->ungated, at, err)) < 0 ||
        (code = blm_tensor_maybe_vector(at, "ffn_down.bias", e, &l->down_bias, err)) < 0)
        return code;
    return blm_tensor_matrix(at, "ffn_down.weight", n, e, &l->down, err);
}

/* What a layer does with embeddings of its own, and the scale of what it gives. While the arena
 * is only counted the layer is not kept, and its tensors lend their places. */
static int blm_layer_own(blm_layer *l, const blm_language *m, const blm_language_file *f,
                         const blm_tensor_place *at, bluelm_error *err)
{
    blm_own *own = m->own ? &m->own[at->layer] : NULL;
    blm_vector scale, *norm = own ? &own->norm : &l->fed_norm;
    blm_tensor *gate = own ? &own->gate : &l->gate, *up = own ? &own->up : &l->up;
    int code;
    l->scale = 1;
    if (!f->row->own) return BLUELM_OK;
    if ((code = blm_tensor_maybe_vector(at, "layer_output_scale.weight", 1, &scale, err)) < 0)
        return code;
    if (scale.data) l->scale = blm_load_f32(scale.data);
    if (!m->n_own ||
        (code = blm_tensor_matrix(at, "inp_gate.weight", m->n_embd, m->n_own, gate, err)) < 0 ||
        (code = blm_tensor_matrix(at, "proj.weight", m->n_own, m->n_embd, up, err)) < 0)
        return code;
    return blm_tensor_vector(at, "post_norm.weight", m->n_embd, norm, err);
}

/* Not within its caller: a layer's tensors take room on the stack. */
BLM_COLD static int blm_language_read_layers(blm_language *m, const blm_language_file *f,
                                             blm_arena *arena, bluelm_error *err)
{
    m->layers = (blm_layer *)blm_arena_take(arena, m->n_layer, sizeof(blm_layer));
    if (m->n_own) m->own = (blm_own *)blm_arena_take(arena, m->n_layer, sizeof(blm_own));
    for (uint32_t i = 0; i < m->n_layer; i++) {
        const blm_tensor_place at = {f->g, "blk.", (int32_t)i};
        blm_layer layer;
        int code;
        memset(&layer, 0, sizeof layer);
        if ((code = blm_layer_norms(&layer, m, f, &at, err)) < 0 ||
            (code = blm_layer_mixer(&layer, m, f, &at, err)) < 0 ||
            (code = blm_layer_feed_forward(&layer, m, f, &at, err)) < 0 ||
            (code = blm_layer_own(&layer, m, f, &at, err)) < 0 ||
            (code = blm_tensors_all_known(f->g, err)) < 0)
            return code;
        if (m->layers) m->layers[i] = layer;
    }
    return BLUELM_OK;
}

/* Embeddings, the last norm and the output. */
BLM_COLD static int blm_language_ends(blm_language *m, const blm_language_file *f,
                                      bluelm_error *err)
{
    const blm_tensor_place at = {f->g, "", BLM_NO_LAYER};
    const char *final_norm = f->row->final_norm ? f->row->final_norm : "output_norm.weight";
    int code, untied;
    if ((code = blm_tensor_matrix(&at, "token_embd.weight", m->n_embd, 0, &m->token_embd,
                                  err)) < 0)
        return code;
    if (m->token_embd.ne[1] == 0 || m->token_embd.ne[1] > (1u << 24))
        return blm_fail(err, BLUELM_E_FORMAT, "llm: token_embd.weight rows", 1u << 24,
                        m->token_embd.ne[1], 0);
    m->n_vocab = (uint32_t)m->token_embd.ne[1];
    m->output = m->token_embd;
    if ((untied = blm_tensor_present(&at, "output.weight", err)) < 0) return untied;
    if ((code = blm_tensor_vector(&at, final_norm, m->n_embd, &m->output_norm, err)) < 0 ||
        (f->row->layer_norms && (code = blm_tensor_vector(&at, "output_norm.bias", m->n_embd,
                                                          &m->output_norm_bias, err)) < 0) ||
        (code = blm_tensor_maybe_vector(&at, "output.bias", m->n_vocab, &m->output_bias, err)) <
            0 ||
        !untied)
        return code;
    return blm_tensor_matrix(&at, "output.weight", m->n_embd, m->n_vocab, &m->output, err);
}

/* The embeddings that layers have of their own: a row holds a share for each layer, which
 * must be whole blocks, as it is read by itself. */
BLM_COLD static int blm_language_own(blm_language *m, const blm_language_file *f,
                                     bluelm_error *err)
{
    static const char name[] = ".embedding_length_per_layer_input";
    const blm_tensor_place at = {f->g, "", BLM_NO_LAYER};
    uint64_t all;
    uint32_t values, bytes;
    int code;
    if (!f->row->own) return BLUELM_OK;
    if ((code = blm_language_u32(f, name, 0, BLM_MAX_WIDTH, &m->n_own, err)) < 0 || !m->n_own)
        return code;
    all = (uint64_t)m->n_own * m->n_layer;
    if ((code = blm_tensor_matrix(&at, "per_layer_token_embd.weight", all, m->n_vocab,
                                  &m->own_embd, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "per_layer_model_proj.weight", m->n_embd, all,
                                  &m->own_proj, err)) < 0 ||
        (code = blm_tensor_vector(&at, "per_layer_proj_norm.weight", m->n_own, &m->own_norm,
                                  err)) < 0)
        return code;
    blm_type_block(m->own_embd.type, &values, &bytes);
    if (m->n_own % values)
        return blm_language_fail(f, BLUELM_E_UNSUPPORTED, name, " in whole blocks", values,
                                 m->n_own, err);
    return BLUELM_OK;
}

BLM_PRIVATE int blm_language_open(blm_language *m, const blm_gguf *g, blm_arena *arena,
                                  bluelm_error *err)
{
    blm_language_file f;
    int code;
    memset(m, 0, sizeof *m);
    memset(&f, 0, sizeof f);
    f.g = g;
    if ((code = blm_file_whole(g, err)) < 0 || (code = blm_language_row(&f, err)) < 0 ||
        (code = blm_language_sizes(m, &f, err)) < 0 ||
        (code = blm_language_refuse(m, &f, err)) < 0 ||
        (code = blm_language_traits(m, &f, err)) < 0 ||
        (code = blm_language_windows(m, &f, err)) < 0 ||
        (code = blm_language_recurrent(m, &f, err)) < 0 ||
        (code = blm_language_ends(m, &f, err)) < 0 ||
        (code = blm_language_own(m, &f, err)) < 0 ||
        (code = blm_language_rope(m, &f, arena, err)) < 0)
        return code;
    return blm_language_read_layers(m, &f, arena, err);
}
