#include "projector.h"

#define BLM_PROJECTOR_NORM_EPS 1e-5f

static int blm_projector_kind(blm_projector *p, const blm_gguf *g, bluelm_error *err)
{
    static const char *const names[] = {"lfm2", "idefics3", "mlp"};
    static const char title[] = "mmproj: clip.projector_type ";
    blm_string name = {"mlp", 3};
    int found = blm_gguf_string(g, "clip.projector_type", &name, err);
    if (found < 0) return found;
    for (uint32_t i = 0; i < BLM_COUNT_OF(names); i++) {
        if (blm_string_is(name, names[i])) {
            p->type = (blm_projector_type)i;
            return BLUELM_OK;
        }
    }
    char subject[64];
    size_t at = sizeof title - 1, n = (size_t)BLM_MIN(name.bytes, sizeof subject - 1 - at);
    memcpy(subject, title, at);
    memcpy(subject + at, name.text, n);
    subject[at + n] = 0;
    return blm_fail(err, BLUELM_E_UNSUPPORTED, subject, 0, 0, 0);
}

/* Two matrices with biases around a GELU; the sides of `hidden` and n_embd are the file's. */
static int blm_projector_two_layers(blm_projector *p, const blm_tensor_place *at,
                                    const char *const names[4], bluelm_error *err)
{
    int code;
    if ((code = blm_tensor_matrix(at, names[0], p->merged, 0, &p->first, err)) < 0 ||
        (code = blm_tensor_maybe_vector(at, names[1], p->first.ne[1], &p->first_bias, err)) <
            0 ||
        (code = blm_tensor_matrix(at, names[2], p->first.ne[1], 0, &p->second, err)) < 0 ||
        (code = blm_tensor_maybe_vector(at, names[3], p->second.ne[1], &p->second_bias, err)) <
            0)
        return code;
    return BLUELM_OK;
}

static int blm_projector_tensors(blm_projector *p, const blm_gguf *g, bluelm_error *err)
{
    static const char *const lfm2[] = {"mm.1.weight", "mm.1.bias", "mm.2.weight", "mm.2.bias"};
    static const char *const mlp[] = {"mm.0.weight", "mm.0.bias", "mm.2.weight", "mm.2.bias"};
    const blm_tensor_place at = {g, "", BLM_NO_LAYER};
    int code;
    switch (p->type) {
    case BLM_PROJECTOR_IDEFICS3:
        return blm_tensor_matrix(&at, "mm.model.fc.weight", p->merged, 0, &p->first, err);
    case BLM_PROJECTOR_MLP:
        return blm_projector_two_layers(p, &at, mlp, err);
    case BLM_PROJECTOR_LFM2:
    default:
        if ((code = blm_tensor_maybe_vector(&at, "mm.input_norm.weight", p->merged, &p->norm,
                                            err)) < 0 ||
            (p->norm.data && (code = blm_tensor_vector(&at, "mm.input_norm.bias", p->merged,
                                                       &p->norm_bias, err)) < 0))
            return code;
        return blm_projector_two_layers(p, &at, lfm2, err);
    }
}

BLM_PRIVATE int blm_projector_open(blm_projector *p, const blm_gguf *g, uint32_t patches_side,
                                   uint32_t width, bluelm_error *err)
{
    memset(p, 0, sizeof *p);
    int code = blm_projector_kind(p, g, err);
    if (code < 0) return code;
    p->patches_side = patches_side;
    p->width = width;
    p->scale = p->type == BLM_PROJECTOR_MLP ? 1 : 2;
    if (p->type != BLM_PROJECTOR_MLP &&
        (code = blm_key_maybe_u32(g, "clip.vision.projector", ".scale_factor", 1, 16, &p->scale,
                                  err)) < 0)
        return code;
    p->tokens_side = (patches_side + p->scale - 1) / p->scale;
    p->tokens = p->tokens_side * p->tokens_side;
    p->merged = width * p->scale * p->scale;
    if ((code = blm_projector_tensors(p, g, err)) < 0) return code;
    uint64_t last = p->second.data ? p->second.ne[1] : p->first.ne[1];
    if (p->first.ne[1] == 0 || p->first.ne[1] > (1u << 20) || last == 0 || last > (1u << 20))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: projector rows", 1u << 20,
                        BLM_MAX(p->first.ne[1], last), 0);
    p->hidden = (uint32_t)p->first.ne[1];
    p->n_embd = (uint32_t)last;
    blm_tensor *const matrices[] = {&p->first, &p->second};
    p->narrow_cols = blm_linear_narrow(matrices, p->second.data ? 2 : 1);
    return BLUELM_OK;
}

BLM_PRIVATE void blm_projector_take(blm_projector_work *w, blm_arena *arena,
                                    const blm_projector *p, const blm_compute *c)
{
    w->merged = (float *)blm_arena_take(arena, p->tokens, (uint64_t)p->merged * sizeof(float));
    w->hidden = (float *)blm_arena_take(arena, p->tokens, (uint64_t)p->hidden * sizeof(float));
    w->out = (float *)blm_arena_take(arena, p->tokens, (uint64_t)p->n_embd * sizeof(float));
    blm_linear_take(&w->linear, arena, c, p->tokens, BLM_MAX(p->merged, p->hidden),
                    p->narrow_cols);
}

/* merged[token][(dy * scale + dx) * width ..] = patch (token_y * scale + dy, ...). */
static void blm_projector_merge(const blm_projector *p, const float *patches, float *merged)
{
    uint32_t side = p->patches_side;
    for (uint32_t token = 0; token < p->tokens; token++) {
        uint32_t y0 = token / p->tokens_side * p->scale, x0 = token % p->tokens_side * p->scale;
        for (uint32_t i = 0; i < p->scale * p->scale; i++, merged += p->width) {
            uint32_t y = y0 + i / p->scale, x = x0 + i % p->scale;
            if (y < side && x < side)
                memcpy(merged, patches + ((size_t)y * side + x) * p->width,
                       p->width * sizeof(float));
            else
                memset(merged, 0, p->width * sizeof(float));
        }
    }
}

BLM_PRIVATE void blm_projector_run(const blm_projector *p, const blm_projector_work *w,
                                   const blm_compute *c, const float *patches)
{
    const blm_kernels *k = &c->kernels;
    blm_projector_merge(p, patches, w->merged);
    if (p->norm.data)
        for (uint32_t t = 0; t < p->tokens; t++) {
            float *x = w->merged + (size_t)t * p->merged;
            k->layer_norm(x, p->norm.data, p->norm_bias.data, BLM_PROJECTOR_NORM_EPS, p->merged,
                          x);
        }
    if (!p->second.data) {
        const blm_product only = {&p->first, NULL, w->out, p->n_embd};
        blm_linear_run(&w->linear, c, w->merged, p->merged, p->tokens, p->merged, &only, 1);
        return;
    }
    const blm_product first = {&p->first, &p->first_bias, w->hidden, p->hidden};
    const blm_product second = {&p->second, &p->second_bias, w->out, p->n_embd};
    blm_linear_run(&w->linear, c, w->merged, p->merged, p->tokens, p->merged, &first, 1);
    k->gelu_tanh(w->hidden, (size_t)p->tokens * p->hidden);
    blm_linear_run(&w->linear, c, w->hidden, p->hidden, p->tokens, p->hidden, &second, 1);
}
