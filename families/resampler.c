/* MiniCPM-V's resampler: keys and tensor names. */
#include "../network/resampler.h"

#include "vision.h"

/* MiniCPM-V 2.6, MiniCPM-o 2.6, MiniCPM-V 4.0, MiniCPM-V 4.5, MiniCPM-o 4.5. */
static const uint32_t blm_resampler_versions[] = {3, 4, 5, 6, 100045};

static int blm_resampler_version(const blm_gguf *g, bluelm_error *err)
{
    static const char key[] = "clip.minicpmv_version";
    uint32_t version = 0;
    int code = blm_gguf_u32(g, key, &version, err);
    for (uint32_t i = 0; i < BLM_COUNT_OF(blm_resampler_versions) && code >= 0; i++)
        if (version == blm_resampler_versions[i]) return BLUELM_OK;
    return code < 0 ? code
                    : blm_fail(err, BLUELM_E_UNSUPPORTED, key, blm_resampler_versions[0],
                               version, 0);
}

/* The queries, which say how wide it is, and the matrix that makes patches as wide. */
static int blm_resampler_widths(blm_projector *p, blm_resampler *s, const blm_tensor_place *at,
                                bluelm_error *err)
{
    static const char query[] = "resampler.query";
    uint32_t named = 0;
    int code = blm_tensor_matrix(at, "resampler.kv.weight", p->width, 0, &s->kv, err);
    if (code < 0) return code;
    if (!s->kv.ne[1] || s->kv.ne[1] % BLM_RESAMPLER_HEAD || s->kv.ne[1] > (1u << 16))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: resampler.kv.weight rows, a multiple of",
                        BLM_RESAMPLER_HEAD, s->kv.ne[1], 0);
    p->hidden = (uint32_t)s->kv.ne[1];
    if ((code = blm_tensor_matrix(at, query, p->hidden, 0, &s->query, err)) < 0 ||
        (code = blm_gguf_u32(at->file, "clip.minicpmv_query_num", &named, err)) < 0)
        return code;
    if (s->query.ne[1] < 1 || s->query.ne[1] > 1024)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: resampler.query rows", 1024,
                        s->query.ne[1], 0);
    p->queries = p->tokens = (uint32_t)s->query.ne[1];
    if (named && named != p->queries)
        return blm_fail(err, BLUELM_E_FORMAT, "clip.minicpmv_query_num", p->queries, named, 0);
    return BLUELM_OK;
}

static int blm_resampler_norms(const blm_projector *p, blm_resampler *s,
                               const blm_tensor_place *at, float eps, bluelm_error *err)
{
    static const char *const names[3][2] = {
        {"resampler.ln_q.weight", "resampler.ln_q.bias"},
        {"resampler.ln_kv.weight", "resampler.ln_kv.bias"},
        {"resampler.ln_post.weight", "resampler.ln_post.bias"}};
    blm_norm *const norms[] = {&s->query_norm, &s->kv_norm, &s->out_norm};
    for (uint32_t i = 0; i < BLM_COUNT_OF(norms); i++) {
        norms[i]->kind = BLM_NORM_LAYER;
        norms[i]->eps = eps;
        int code = blm_tensor_vector(at, names[i][0], p->hidden, &norms[i]->weight, err);
        if (code >= 0)
            code = blm_tensor_vector(at, names[i][1], p->hidden, &norms[i]->bias, err);
        if (code < 0) return code;
    }
    return BLUELM_OK;
}

static int blm_resampler_attention(const blm_projector *p, blm_resampler *s,
                                   const blm_tensor_place *at, bluelm_error *err)
{
    static const char *const names[4][2] = {
        {"resampler.attn.q.weight", "resampler.attn.q.bias"},
        {"resampler.attn.k.weight", "resampler.attn.k.bias"},
        {"resampler.attn.v.weight", "resampler.attn.v.bias"},
        {"resampler.attn.out.weight", "resampler.attn.out.bias"}};
    blm_tensor *const matrices[] = {&s->q, &s->k, &s->v, &s->o};
    blm_vector *const biases[] = {&s->q_bias, &s->k_bias, &s->v_bias, &s->o_bias};
    for (uint32_t i = 0; i < BLM_COUNT_OF(matrices); i++) {
        int code = blm_tensor_matrix(at, names[i][0], p->hidden, p->hidden, matrices[i], err);
        if (code >= 0)
            code = blm_tensor_maybe_vector(at, names[i][1], p->hidden, biases[i], err);
        if (code < 0) return code;
    }
    return BLUELM_OK;
}

BLM_PRIVATE int blm_resampler_open(blm_projector *p, const blm_vision *m,
                                   const blm_projector_row *row, const blm_gguf *g,
                                   blm_arena *arena, float norm_eps, bluelm_error *err)
{
    const blm_tensor_place at = {g, "", BLM_NO_LAYER};
    blm_resampler s;
    blm_tensor *const matrices[] = {&s.kv, &s.q, &s.k, &s.v, &s.o, &s.out};
    int code;
    memset(&s, 0, sizeof s);
    p->name = row->name;
    p->width = m->width;
    p->tokens_side = 0;
    p->round_floats = m->round_floats;
    if ((code = blm_resampler_version(g, err)) < 0 ||
        (code = blm_resampler_widths(p, &s, &at, err)) < 0 ||
        (code = blm_resampler_norms(p, &s, &at, norm_eps, err)) < 0 ||
        (code = blm_resampler_attention(p, &s, &at, err)) < 0 ||
        (code = blm_tensor_matrix(&at, "resampler.proj.weight", p->hidden, 0, &s.out, err)) < 0)
        return code;
    if (s.out.ne[1] < 1 || s.out.ne[1] > (1u << 20))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: projector rows", 1u << 20, s.out.ne[1],
                        0);
    p->n_embd = (uint32_t)s.out.ne[1];
    p->rounded_cols = blm_linear_round(matrices, BLM_COUNT_OF(matrices), p->round_floats);
    p->resampler = (blm_resampler *)blm_arena_take(arena, 1, sizeof s);
    if (p->resampler) *p->resampler = s;
    return BLUELM_OK;
}
