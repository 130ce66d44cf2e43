#include "projector.h"

#define BLM_PROJECTOR_NORM_EPS 1e-5f

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
