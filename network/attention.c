#include "attention.h"

/* Floats of a query, its gate included. */
static uint32_t blm_attention_step(const blm_language *m, uint32_t head_dim)
{
    return head_dim * (m->gated ? 2 : 1);
}

BLM_PRIVATE uint64_t blm_attention_floats(const blm_language *m)
{
    return (uint64_t)m->n_head * blm_attention_step(m, m->head_dim) +
           2 * (uint64_t)m->n_head_kv * m->head_dim;
}

static const blm_layer *blm_attention_layer(const blm_chunk *c)
{
    return &c->model->layers[c->layer];
}

static float *blm_attention_q(const blm_chunk *c, uint32_t token, uint32_t head)
{
    const blm_language *m = c->model;
    size_t step = blm_attention_step(m, blm_attention_layer(c)->head_dim);
    return c->work->part + ((size_t)token * m->n_head + head) * step;
}

static float *blm_attention_k(const blm_chunk *c, uint32_t token, uint32_t head)
{
    return blm_attention_q(c, c->work->chunk_tokens, 0) +
           ((size_t)token * c->model->n_head_kv + head) * blm_attention_layer(c)->head_dim;
}

static float *blm_attention_v(const blm_chunk *c, uint32_t token, uint32_t head)
{
    return blm_attention_k(c, c->work->chunk_tokens, 0) +
           (blm_attention_k(c, token, head) - blm_attention_k(c, 0, 0));
}

static blm_kv_cache *blm_attention_cache(const blm_chunk *c)
{
    return blm_attention_layer(c)->windowed ? &c->state->window : &c->state->context;
}

/* One head's query or key: its norm, then its rotation. */
static void blm_attention_rotate(const blm_chunk *c, uint32_t token, const blm_vector *norm,
                                 float *x)
{
    const blm_language *m = c->model;
    const blm_kernels *k = &c->compute->kernels;
    const blm_layer *l = blm_attention_layer(c);
    size_t at = ((size_t)l->rope * c->work->chunk_tokens + token) * (m->n_rot / 2);
    if (norm->data) k->rms_norm(x, norm->data, m->norm_eps, l->head_dim, x);
    k->rope(x, c->work->cos + at, c->work->sin + at, l->n_rot, (int)m->rope_halves);
}

/* One head's key and value, made by the token, go where later ones find them. */
static void blm_attention_keep(const blm_chunk *c, uint32_t token, uint32_t head)
{
    const blm_language *m = c->model;
    const blm_kernels *k = &c->compute->kernels;
    const blm_layer *l = blm_attention_layer(c);
    float *key = blm_attention_k(c, token, head), *value = blm_attention_v(c, token, head);
    blm_attention_rotate(c, token, &l->mix.attention.k_norm, key);
    if (m->value_norm) blm_rms_plain(k, m->norm_eps, value, l->head_dim);
    blm_kv_cache_store(blm_attention_cache(c), k, l->ordinal, head, c->position + token, key,
                       value);
}

/* What a token's queries are multiplied by. */
static float blm_attention_query_scale(const blm_chunk *c, uint32_t token)
{
    const blm_language *m = c->model;
    if (!m->temperature_tokens) return m->attention_scale;
    uint32_t stretches = c->work->positions[token].t / m->temperature_tokens;
    return m->attention_scale * (1 + m->temperature * blm_logf(1 + (float)stretches));
}

/* Turns queries and keys, scales the queries, and files keys and values away. */
static void blm_attention_store(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_language *m = c->model;
    const blm_layer *l = blm_attention_layer(c);
    uint32_t first, end;
    blm_chunk_tokens(c, part, &first, &end);
    for (uint32_t t = first; t < end; t++) {
        float scale = blm_attention_query_scale(c, t);
        for (uint32_t h = 0; h < m->n_head; h++) {
            float *q = blm_attention_q(c, t, h);
            blm_attention_rotate(c, t, &l->mix.attention.q_norm, q);
            for (uint32_t i = 0; i < l->head_dim; i++)
                q[i] *= scale;
        }
        for (uint32_t h = 0; l->mix.attention.k.data && h < m->n_head_kv; h++)
            blm_attention_keep(c, t, h);
    }
}

/* Tokens that the kernel takes together: each sees from the slot on that the one before does,
 * or one further, and as far or one slot further. Steps as in blm_attend_args. */
typedef struct blm_attend_run {
    uint32_t token, count;
    uint32_t from, skip, skip_step; /* slots: the kernel's row 0; behind it what is not seen */
    uint32_t keys, keys_step;
} blm_attend_run;

/* The first slot that a token sees. */
static uint32_t blm_attend_from(const blm_chunk *c, uint32_t token)
{
    uint32_t slot = c->position + token, window = c->model->window;
    return blm_attention_layer(c)->windowed && slot >= window ? slot - window + 1 : 0;
}

static blm_attend_run blm_attend_run_at(const blm_chunk *c, uint32_t token)
{
    const uint32_t *sees = c->work->sees, from = blm_attend_from(c, token);
    uint32_t next = token + 1;
    blm_attend_run r = {.token = token, .from = from / BLM_ATTEND_BLOCK * BLM_ATTEND_BLOCK};
    r.skip = from - r.from;
    r.keys = sees[token] - r.from;
    if (next < c->count) {
        r.skip_step = blm_attend_from(c, next) != from;
        r.keys_step = sees[next] == sees[token] + 1;
    }
    while (next < c->count && sees[next] == sees[next - 1] + r.keys_step &&
           blm_attend_from(c, next) == blm_attend_from(c, next - 1) + r.skip_step)
        next++;
    r.count = next - token;
    if (r.count == 1) r.skip_step = r.keys_step = 0;
    return r;
}

/* One head with the run's tokens; or, with a single token, up to BLM_ATTEND_GROUP heads that
 * share keys and values, which are then read once for them. */
static void blm_attend_run_heads(const blm_chunk *c, const blm_attend_run *r, uint32_t part)
{
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    uint32_t group = m->n_head / m->n_head_kv, alone = r->count == 1;
    uint32_t heads = alone ? BLM_MIN(group, BLM_ATTEND_GROUP) : 1;
    uint32_t calls = (group + heads - 1) / heads; /* for one head of keys and values */
    uint32_t dim = blm_attention_layer(c)->head_dim;
    size_t row = (size_t)m->n_head * dim, q_row = m->n_head * blm_attention_step(m, dim);
    uint64_t first, end;
    blm_workers_share((uint64_t)m->n_head_kv * calls, 1, part, c->compute->workers.count,
                      &first, &end);
    for (uint32_t i = (uint32_t)first; i < (uint32_t)end; i++) {
        uint32_t in_group = i % calls * heads, head = i / calls * group + in_group;
        blm_attend_args args = {
            .q = blm_attention_q(c, r->token, head),
            .q_stride = alone ? q_row / m->n_head : q_row,
            .queries = alone ? BLM_MIN(heads, group - in_group) : r->count,
            .keys = r->keys,
            .keys_step = r->keys_step,
            .skip = r->skip,
            .skip_step = r->skip_step,
            .scratch = (float *)(void *)(w->attend + part * w->attend_bytes),
            .out = w->in + r->token * row + (size_t)head * dim,
            .out_stride = alone ? dim : row,
        };
        blm_kv_cache_attend(blm_attention_cache(c), &c->compute->kernels,
                            blm_attention_layer(c)->ordinal, i / calls, r->from, &args);
    }
}

static void blm_attention_attend(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    blm_attend_run r = {.count = 0};
    while (r.token + r.count < c->count) {
        r = blm_attend_run_at(c, r.token + r.count);
        blm_attend_run_heads(c, &r, part);
    }
}

/* What attention gave, times the sigmoid of each head's gates. */
static void blm_attention_gate(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_language *m = c->model;
    uint32_t dim = blm_attention_layer(c)->head_dim;
    uint64_t first, end;
    blm_workers_share((uint64_t)c->count * m->n_head, 1, part, c->compute->workers.count,
                      &first, &end);
    for (uint64_t i = first; i < end; i++) {
        float *x = c->work->in + i * dim;
        const float *gate = c->work->part + (2 * i + 1) * dim;
        for (uint32_t j = 0; j < dim; j++)
            x[j] /= 1 + blm_expf(-gate[j]);
    }
}

BLM_PRIVATE void blm_attention_run(blm_chunk *c)
{
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    const blm_attention *a = &blm_attention_layer(c)->mix.attention;
    const blm_workers *workers = &c->compute->workers;
    uint32_t dim = blm_attention_layer(c)->head_dim;
    uint32_t cols = m->n_head * dim, kv_cols = m->n_head_kv * dim;
    const blm_product qkv[] = {
        {&a->q, &a->q_bias, blm_attention_q(c, 0, 0), m->n_head * blm_attention_step(m, dim)},
        {&a->k, &a->k_bias, blm_attention_k(c, 0, 0), kv_cols},
        {&a->v, &a->v_bias, blm_attention_v(c, 0, 0), kv_cols}};
    const blm_product o = {&a->o, &a->o_bias, w->out, m->n_embd};
    blm_chunk_linear(c, w->in, m->n_embd, m->n_embd, qkv, a->k.data ? 3 : 1);
    blm_workers_run(workers, blm_attention_store, c);
    blm_workers_run(workers, blm_attention_attend, c);
    if (m->gated) blm_workers_run(workers, blm_attention_gate, c);
    blm_chunk_linear(c, w->in, cols, cols, &o, 1);
}
