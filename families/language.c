#include "language.h"

#define BLM_MAX_WIDTH  65536u
#define BLM_MAX_LAYERS 1024u

static int blm_language_refuse(const blm_gguf *g, const char *arch, const char *name,
                               const char *subject, uint32_t allowed, bluelm_error *err)
{
    uint32_t value = allowed;
    int code = blm_key_maybe_u32(g, arch, name, 0, UINT32_MAX, &value, err);
    if (code == BLUELM_OK && value != allowed)
        code = blm_fail(err, BLUELM_E_UNSUPPORTED, subject, allowed, value, 0);
    return code;
}

static int blm_language_arch(blm_language *m, const blm_gguf *g, const char **arch,
                             bluelm_error *err)
{
    blm_string name = {"", 0};
    int found = blm_gguf_string(g, "general.architecture", &name, err);
    if (found < 0) return found;
    m->rope_halves = 0;
    *arch = "llama";
    if (blm_string_is(name, "llama")) return BLUELM_OK;
    m->rope_halves = 1;
    *arch = "qwen2";
    if (blm_string_is(name, "qwen2")) return BLUELM_OK;
    return blm_fail_value(err, BLUELM_E_UNSUPPORTED, "llm: architecture ", name, 0, 0);
}

static int blm_language_sizes(blm_language *m, const blm_gguf *g, const char *arch,
                              bluelm_error *err)
{
    int code;
    m->trained_context_tokens = 2048;
    m->norm_eps = 1e-5f;
    if ((code = blm_key_need_u32(g, arch, ".embedding_length", 1, BLM_MAX_WIDTH, &m->n_embd,
                                 err)) < 0 ||
        (code = blm_key_need_u32(g, arch, ".block_count", 1, BLM_MAX_LAYERS, &m->n_layer,
                                 err)) < 0 ||
        (code = blm_key_need_u32(g, arch, ".feed_forward_length", 1, 16 * BLM_MAX_WIDTH,
                                 &m->n_ff, err)) < 0 ||
        (code = blm_key_need_u32(g, arch, ".attention.head_count", 1, BLM_MAX_WIDTH, &m->n_head,
                                 err)) < 0 ||
        (code = blm_key_maybe_u32(g, arch, ".context_length", 1, UINT32_MAX,
                                  &m->trained_context_tokens, err)) < 0 ||
        (code = blm_key_maybe_f32(g, arch, ".attention.layer_norm_rms_epsilon", &m->norm_eps,
                                  err)) < 0)
        return code;
    m->n_head_kv = m->n_head;
    m->head_dim = m->n_embd / m->n_head;
    if ((code = blm_key_maybe_u32(g, arch, ".attention.head_count_kv", 1, m->n_head,
                                  &m->n_head_kv, err)) < 0 ||
        (code = blm_key_maybe_u32(g, arch, ".attention.key_length", 1, 1024, &m->head_dim,
                                  err)) < 0)
        return code;
    if (m->n_head % m->n_head_kv || m->head_dim == 0 || m->head_dim > 1024)
        return blm_fail(err, BLUELM_E_FORMAT, "llm: head_count does not fit", m->n_head,
                        m->head_dim ? m->n_head_kv : 0, 0);
    m->n_rot = m->head_dim;
    code = blm_key_maybe_u32(g, arch, ".rope.dimension_count", 2, m->head_dim, &m->n_rot, err);
    if (code == BLUELM_OK && m->n_rot % 2)
        code = blm_fail(err, BLUELM_E_FORMAT, "llm: rope.dimension_count is odd", m->n_rot + 1,
                        m->n_rot, 0);
    return code;
}

/* What a file of the right architecture may still ask for that is not run. */
static int blm_language_limits(const blm_language *m, const blm_gguf *g, const char *arch,
                               int *rope_linear, bluelm_error *err)
{
    int code;
    if ((code = blm_language_refuse(g, arch, ".expert_count", "llm: mixture of experts", 0,
                                    err)) < 0 ||
        (code = blm_language_refuse(g, arch, ".attention.value_length",
                                    "llm: value_length other than key_length", m->head_dim,
                                    err)) < 0)
        return code;
    blm_string scaling = {"none", 4};
    int found = blm_gguf_string(
        g, arch[0] == 'l' ? "llama.rope.scaling.type" : "qwen2.rope.scaling.type", &scaling,
        err);
    if (found < 0) return found;
    *rope_linear = blm_string_is(scaling, "linear");
    if (!*rope_linear && !blm_string_is(scaling, "none"))
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "llm: rope.scaling.type (none, linear run)",
                        0, 0, 0);
    return BLUELM_OK;
}

static int blm_layer_read(blm_layer *l, const blm_language *m, const blm_gguf *g,
                          uint32_t index, bluelm_error *err)
{
    const blm_tensor_place at = {g, "blk.", (int32_t)index};
    uint64_t e = m->n_embd, f = m->n_ff;
    uint64_t q = (uint64_t)m->n_head * m->head_dim, kv = (uint64_t)m->n_head_kv * m->head_dim;
    int code;
    if ((code = blm_tensor_vector(&at, "attn_norm.weight", e, &l->attn_norm, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "attn_q.weight", e, q, &l->q, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "attn_k.weight", e, kv, &l->k, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "attn_v.weight", e, kv, &l->v, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "attn_output.weight", q, e, &l->o, err)) < 0 ||
        (code = blm_tensor_maybe_vector(&at, "attn_q.bias", q, &l->q_bias, err)) < 0 ||
        (code = blm_tensor_maybe_vector(&at, "attn_k.bias", kv, &l->k_bias, err)) < 0 ||
        (code = blm_tensor_maybe_vector(&at, "attn_v.bias", kv, &l->v_bias, err)) < 0 ||
        (code = blm_tensor_vector(&at, "ffn_norm.weight", e, &l->ffn_norm, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "ffn_gate.weight", e, f, &l->gate, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "ffn_up.weight", e, f, &l->up, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "ffn_down.weight", f, e, &l->down, err)) < 0)
        return code;
    return BLUELM_OK;
}

/* Radians per position of each rotated pair: base^(-2i / n_rot), divided by the file's
 * factors (rope_freqs.weight, and linear scaling). */
static int blm_language_rope(blm_language *m, const blm_gguf *g, const char *arch, int linear,
                             bluelm_error *err)
{
    const blm_tensor_place at = {g, "", BLM_NO_LAYER};
    blm_tensor factors;
    float base = 10000.0f, scale = 1.0f;
    int code;
    if ((code = blm_key_maybe_f32(g, arch, ".rope.freq_base", &base, err)) < 0 ||
        (linear &&
         (code = blm_key_maybe_f32(g, arch, ".rope.scaling.factor", &scale, err)) < 0) ||
        (code = blm_tensor_maybe_vector(&at, "rope_freqs.weight", m->n_rot / 2, &factors,
                                        err)) < 0)
        return code;
    for (uint32_t i = 0; m->rope_frequency && i < m->n_rot / 2; i++) {
        double frequency = blm_pow((double)base, -2.0 * i / m->n_rot) / (double)scale;
        if (factors.data) frequency /= (double)blm_load_f32(factors.data + i * sizeof(float));
        m->rope_frequency[i] = frequency;
    }
    return BLUELM_OK;
}

BLM_PRIVATE int blm_language_open(blm_language *m, const blm_gguf *g, blm_arena *arena,
                                  bluelm_error *err)
{
    const blm_tensor_place at = {g, "", BLM_NO_LAYER};
    const char *arch;
    int code, rope_linear;
    memset(m, 0, sizeof *m);
    if ((code = blm_language_arch(m, g, &arch, err)) < 0 ||
        (code = blm_language_sizes(m, g, arch, err)) < 0 ||
        (code = blm_language_limits(m, g, arch, &rope_linear, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "token_embd.weight", m->n_embd, 0, &m->token_embd,
                                  err)) < 0)
        return code;
    if (m->token_embd.ne[1] == 0 || m->token_embd.ne[1] > (1u << 24))
        return blm_fail(err, BLUELM_E_FORMAT, "llm: token_embd.weight rows", 1u << 24,
                        m->token_embd.ne[1], 0);
    m->n_vocab = (uint32_t)m->token_embd.ne[1];
    m->output = m->token_embd;
    int untied = blm_tensor_present(&at, "output.weight", err);
    if (untied < 0 ||
        (code = blm_tensor_vector(&at, "output_norm.weight", m->n_embd, &m->output_norm, err)) <
            0 ||
        (untied && (code = blm_tensor_matrix(&at, "output.weight", m->n_embd, m->n_vocab,
                                             &m->output, err)) < 0))
        return untied < 0 ? untied : code;

    m->layers = (blm_layer *)blm_arena_take(arena, m->n_layer, sizeof(blm_layer));
    m->rope_frequency = (double *)blm_arena_take(arena, m->n_rot / 2, sizeof(double));
    for (uint32_t i = 0; i < m->n_layer; i++) {
        blm_layer layer;
        if ((code = blm_layer_read(&layer, m, g, i, err)) < 0) return code;
        if (m->layers) m->layers[i] = layer;
    }
    return blm_language_rope(m, g, arch, rope_linear, err);
}
