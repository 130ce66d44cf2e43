#include "language.h"

/* ---- Scratch --------------------------------------------------------------------- */

static float *blm_take_floats(blm_arena *arena, uint64_t rows, uint64_t cols)
{
    return (float *)blm_arena_take(arena, rows, cols * sizeof(float));
}

BLM_PRIVATE void blm_language_take(blm_language_work *w, blm_arena *arena,
                                   const blm_language *m, const blm_compute *c,
                                   uint32_t chunk_tokens, uint32_t context_tokens)
{
    uint64_t n = chunk_tokens, kv = (uint64_t)m->n_head_kv * m->head_dim;
    uint64_t q = (uint64_t)m->n_head * m->head_dim, wide = BLM_MAX(q, m->n_embd);
    w->chunk_tokens = chunk_tokens;
    w->context_tokens = context_tokens;
    w->attend_bytes = blm_attend_scratch_bytes(chunk_tokens, context_tokens, m->head_dim);
    w->x = blm_take_floats(arena, n, m->n_embd);
    w->in = blm_take_floats(arena, n, wide);
    w->out = blm_take_floats(arena, n, m->n_embd);
    w->cos = blm_take_floats(arena, n, m->n_rot / 2);
    w->sin = blm_take_floats(arena, n, m->n_rot / 2);
    w->attend = (uint8_t *)blm_arena_take(arena, c->workers.count, w->attend_bytes);
    blm_linear_take(&w->linear, arena, c, chunk_tokens,
                    (uint32_t)BLM_MAX(BLM_MAX(q, m->n_embd), m->n_ff), 0);

    /* q, k, v are done with before gate and up begin: they share one place. */
    uint64_t heads_count = n * (q + 2 * kv), ffn_count = 2 * n * m->n_ff;
    float *shared = blm_take_floats(arena, BLM_MAX(heads_count, ffn_count), 1);
    w->q = w->gate = shared;
    w->k = shared ? shared + n * q : NULL;
    w->v = shared ? w->k + n * kv : NULL;
    w->up = shared ? shared + n * m->n_ff : NULL;
}

/* ---- The network ------------------------------------------------------------------- */

BLM_PRIVATE void blm_chunk_set_token(const blm_chunk *c, uint32_t index, uint32_t token)
{
    const blm_tensor *e = &c->model->token_embd;
    float *x = c->work->x + (size_t)index * c->model->n_embd;
    c->compute->kernels.dequantize[e->type](e->data + (size_t)(token * e->row_bytes), x,
                                            c->model->n_embd);
}

BLM_PRIVATE void blm_chunk_set_image(const blm_chunk *c, uint32_t index,
                                     const uint16_t *embedding)
{
    float *x = c->work->x + (size_t)index * c->model->n_embd;
    c->compute->kernels.f32_from_f16(x, embedding, c->model->n_embd);
}

BLM_PRIVATE void blm_chunk_begin(const blm_chunk *c)
{
    uint32_t pairs = c->model->n_rot / 2;
    for (uint32_t t = 0; t < c->count; t++) {
        for (uint32_t i = 0; i < pairs; i++) {
            double angle = (double)(c->position + t) * c->model->rope_frequency[i];
            c->work->cos[(size_t)t * pairs + i] = (float)blm_cos(angle);
            c->work->sin[(size_t)t * pairs + i] = (float)blm_sin(angle);
        }
    }
}

/* One worker's tokens of the chunk. */
static void blm_chunk_tokens(const blm_chunk *c, uint32_t part, uint32_t *first, uint32_t *end)
{
    uint64_t a, b;
    blm_workers_share(c->count, 1, part, c->compute->workers.count, &a, &b);
    *first = (uint32_t)a;
    *end = (uint32_t)b;
}

static void blm_chunk_norm(const blm_chunk *c, const blm_tensor *norm, uint32_t part)
{
    const blm_language *m = c->model;
    uint32_t first, end;
    blm_chunk_tokens(c, part, &first, &end);
    for (uint32_t t = first; t < end; t++)
        c->compute->kernels.rms_norm(c->work->x + (size_t)t * m->n_embd, norm->data,
                                     m->norm_eps, m->n_embd,
                                     c->work->in + (size_t)t * m->n_embd);
}

static void blm_chunk_attn_norm(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    blm_chunk_norm(c, &c->model->layers[c->layer].attn_norm, part);
}

static void blm_chunk_ffn_norm(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    blm_chunk_norm(c, &c->model->layers[c->layer].ffn_norm, part);
}

/* Rotates queries and keys, scales the queries, and files keys and values away. */
static void blm_chunk_rope_store(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    const blm_kernels *k = &c->compute->kernels;
    float scale = 1.0f / blm_sqrtf((float)m->head_dim);
    uint32_t first, end;
    blm_chunk_tokens(c, part, &first, &end);
    for (uint32_t t = first; t < end; t++) {
        const float *cos = w->cos + (size_t)t * (m->n_rot / 2);
        const float *sin = w->sin + (size_t)t * (m->n_rot / 2);
        for (uint32_t h = 0; h < m->n_head; h++) {
            float *q = w->q + ((size_t)t * m->n_head + h) * m->head_dim;
            k->rope(q, cos, sin, m->n_rot, (int)m->rope_halves);
            for (uint32_t i = 0; i < m->head_dim; i++)
                q[i] *= scale;
        }
        for (uint32_t h = 0; h < m->n_head_kv; h++) {
            size_t at = ((size_t)t * m->n_head_kv + h) * m->head_dim;
            k->rope(w->k + at, cos, sin, m->n_rot, (int)m->rope_halves);
            blm_kv_cache_store(c->kv, k, c->layer, h, c->position + t, w->k + at, w->v + at);
        }
    }
}

/* One head with the chunk's tokens; or, with a single token, up to BLM_ATTEND_GROUP heads that
 * share keys and values, which are then read once for them. */
static void blm_chunk_attend(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    uint32_t group = m->n_head / m->n_head_kv;
    uint32_t heads = c->count == 1 ? BLM_MIN(group, BLM_ATTEND_GROUP) : 1;
    uint32_t calls = (group + heads - 1) / heads; /* for one head of keys and values */
    uint64_t first, end;
    blm_workers_share((uint64_t)m->n_head_kv * calls, 1, part, c->compute->workers.count,
                      &first, &end);
    for (uint32_t i = (uint32_t)first; i < (uint32_t)end; i++) {
        uint32_t in_group = i % calls * heads, head = i / calls * group + in_group;
        size_t at = (size_t)head * m->head_dim, row = (size_t)m->n_head * m->head_dim;
        blm_attend_args args = {
            .q = w->q + at,
            .q_stride = c->count == 1 ? m->head_dim : row,
            .queries = c->count == 1 ? BLM_MIN(heads, group - in_group) : c->count,
            .keys = c->position + 1,
            .keys_step = c->count == 1 ? 0 : 1,
            .scratch = (float *)(void *)(w->attend + part * w->attend_bytes),
            .out = w->in + at,
            .out_stride = c->count == 1 ? m->head_dim : row,
        };
        blm_kv_cache_attend(c->kv, &c->compute->kernels, c->layer, i / calls, &args);
    }
}

static void blm_chunk_add(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    uint64_t first, end;
    blm_workers_share((uint64_t)c->count * c->model->n_embd, 16, part,
                      c->compute->workers.count, &first, &end);
    c->compute->kernels.add(c->work->x + first, c->work->out + first, (size_t)(end - first));
}

static void blm_chunk_silu_mul(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    uint64_t first, end;
    blm_workers_share((uint64_t)c->count * c->model->n_ff, 16, part, c->compute->workers.count,
                      &first, &end);
    c->compute->kernels.silu_mul(c->work->gate + first, c->work->up + first,
                                 (size_t)(end - first));
}

static void blm_chunk_linear(const blm_chunk *c, const float *x, uint32_t cols,
                             const blm_product *products, uint32_t count)
{
    blm_linear_run(&c->work->linear, c->compute, x, cols, c->count, cols, products, count);
}

static void blm_chunk_attention(blm_chunk *c)
{
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    const blm_layer *l = &m->layers[c->layer];
    uint32_t q_cols = m->n_head * m->head_dim, kv_cols = m->n_head_kv * m->head_dim;
    const blm_product qkv[] = {{&l->q, &l->q_bias, w->q, q_cols},
                               {&l->k, &l->k_bias, w->k, kv_cols},
                               {&l->v, &l->v_bias, w->v, kv_cols}};
    const blm_product o = {&l->o, NULL, w->out, m->n_embd};
    blm_workers_run(&c->compute->workers, blm_chunk_attn_norm, c);
    blm_chunk_linear(c, w->in, m->n_embd, qkv, 3);
    blm_workers_run(&c->compute->workers, blm_chunk_rope_store, c);
    blm_workers_run(&c->compute->workers, blm_chunk_attend, c);
    blm_chunk_linear(c, w->in, q_cols, &o, 1);
    blm_workers_run(&c->compute->workers, blm_chunk_add, c);
}

static void blm_chunk_feed_forward(blm_chunk *c)
{
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    const blm_layer *l = &m->layers[c->layer];
    const blm_product gate_up[] = {{&l->gate, NULL, w->gate, m->n_ff},
                                   {&l->up, NULL, w->up, m->n_ff}};
    const blm_product down = {&l->down, NULL, w->out, m->n_embd};
    blm_workers_run(&c->compute->workers, blm_chunk_ffn_norm, c);
    blm_chunk_linear(c, w->in, m->n_embd, gate_up, 2);
    blm_workers_run(&c->compute->workers, blm_chunk_silu_mul, c);
    blm_chunk_linear(c, w->gate, m->n_ff, &down, 1);
    blm_workers_run(&c->compute->workers, blm_chunk_add, c);
}

BLM_PRIVATE void blm_chunk_layer(blm_chunk *c, uint32_t layer)
{
    c->layer = layer;
    blm_chunk_attention(c);
    blm_chunk_feed_forward(c);
}

BLM_PRIVATE void blm_chunk_logits(const blm_chunk *c, float *logits)
{
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    const blm_product output = {&m->output, NULL, logits, m->n_vocab};
    c->compute->kernels.rms_norm(w->x + (size_t)(c->count - 1) * m->n_embd, m->output_norm.data,
                                 m->norm_eps, m->n_embd, w->in);
    blm_linear_run(&w->linear, c->compute, w->in, m->n_embd, 1, m->n_embd, &output, 1);
}
