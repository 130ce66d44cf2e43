#include "recurrent.h"

/* ---- Convolutions over the last few tokens ----------------------------------------------- */

/* Rows that a convolution works on in place, a channel for each column. */
typedef struct blm_filter {
    float *x; /* [count][stride] */
    size_t stride;
    const blm_tensor *taps;
} blm_filter;

static const blm_layer *blm_recurrent_layer(const blm_chunk *c)
{
    return &c->model->layers[c->layer];
}

/* The row of a token of the chunk; before it, counted from -1 down, one of the state's. */
static const float *blm_filter_row(const blm_chunk *c, const blm_filter *f,
                                   const float *columns, int64_t token)
{
    if (token >= 0) return f->x + (size_t)token * f->stride;
    return columns + (size_t)(token + c->model->taps - 1) * c->model->channels;
}

/* One row: y = sum_k w[k] x[t - (taps - 1) + k] for channels [first, end), in order of k. */
static void blm_filter_token(const blm_chunk *c, const blm_filter *f, const float *columns,
                             uint32_t token, uint32_t first, uint32_t end)
{
    const float *rows[BLM_MAX_TAPS];
    uint32_t taps = c->model->taps;
    float *y = f->x + token * f->stride;
    for (uint32_t k = 0; k < taps; k++)
        rows[k] = blm_filter_row(c, f, columns, (int64_t)token - (taps - 1) + k);
    for (uint32_t i = first; i < end; i++) {
        const uint8_t *w = f->taps->data + (size_t)i * taps * sizeof(float);
        float sum = 0;
        for (uint32_t k = 0; k < taps; k++)
            sum += blm_load_f32(w + k * sizeof(float)) * rows[k][i];
        y[i] = sum;
    }
}

/* All rows, the last one first, so that each still finds the ones before as they came in;
 * then the state becomes the last rows that came in. */
static void blm_filter_run(const blm_chunk *c, const blm_filter *f, uint32_t first,
                           uint32_t end)
{
    const blm_language *m = c->model;
    uint32_t keep = m->taps - 1;
    size_t bytes = (end - first) * sizeof(float), row = m->channels;
    float *columns = c->state->columns + blm_recurrent_layer(c)->ordinal * keep * row;
    float *next = c->work->columns;
    for (uint32_t k = 0; k < keep; k++) {
        const float *from = blm_filter_row(c, f, columns, (int64_t)c->count - keep + k);
        memcpy(next + k * row + first, from + first, bytes);
    }
    for (uint32_t t = c->count; t-- > 0;)
        blm_filter_token(c, f, columns, t, first, end);
    for (uint32_t k = 0; k < keep; k++)
        memcpy(columns + k * row + first, next + k * row + first, bytes);
}

static void blm_recurrent_channels(const blm_chunk *c, uint32_t part, uint32_t *first,
                                   uint32_t *end)
{
    uint64_t a, b;
    blm_workers_share(c->model->channels, 16, part, c->compute->workers.count, &a, &b);
    *first = (uint32_t)a;
    *end = (uint32_t)b;
}

/* ---- Short convolution ------------------------------------------------------------------ */

BLM_PRIVATE uint64_t blm_convolution_floats(const blm_language *m)
{
    return m->n_convolution ? 3 * (uint64_t)m->n_embd : 0;
}

/* in = c * convolution(b * v) */
static void blm_convolution_channels(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    uint32_t n = c->model->n_embd, first, end;
    const blm_filter f = {c->work->part, 3 * (size_t)n,
                          &blm_recurrent_layer(c)->mix.convolution.taps};
    blm_recurrent_channels(c, part, &first, &end);
    for (uint32_t t = 0; t < c->count; t++) {
        float *b = f.x + t * f.stride, *v = b + 2 * (size_t)n;
        for (uint32_t i = first; i < end; i++)
            b[i] *= v[i];
    }
    blm_filter_run(c, &f, first, end);
    for (uint32_t t = 0; t < c->count; t++) {
        const float *y = f.x + t * f.stride, *gate = y + n;
        float *in = c->work->in + (size_t)t * n;
        for (uint32_t i = first; i < end; i++)
            in[i] = y[i] * gate[i];
    }
}

BLM_PRIVATE void blm_convolution_run(blm_chunk *c)
{
    const blm_language *m = c->model;
    const blm_convolution *l = &blm_recurrent_layer(c)->mix.convolution;
    const blm_product in = {&l->in, NULL, c->work->part, 3 * (size_t)m->n_embd};
    const blm_product out = {&l->out, NULL, c->work->out, m->n_embd};
    blm_chunk_linear(c, c->work->in, m->n_embd, m->n_embd, &in, 1);
    blm_workers_run(&c->compute->workers, blm_convolution_channels, c);
    blm_chunk_linear(c, c->work->in, m->n_embd, m->n_embd, &out, 1);
}

/* ---- Gated DeltaNet -------------------------------------------------------------------- */

/* What a chunk's projections are, in work->part. */
typedef struct blm_delta_parts {
    float *qkv;          /* [count][channels]          */
    float *gate;         /* [count][v_heads*state_dim] */
    float *beta, *alpha; /* [count][v_heads]           */
} blm_delta_parts;

static blm_delta_parts blm_delta_split(const blm_chunk *c)
{
    const blm_language *m = c->model;
    size_t n = c->work->chunk_tokens;
    blm_delta_parts p;
    p.qkv = c->work->part;
    p.gate = p.qkv + n * m->channels;
    p.beta = p.gate + n * m->v_heads * m->state_dim;
    p.alpha = p.beta + n * m->v_heads;
    return p;
}

BLM_PRIVATE uint64_t blm_delta_floats(const blm_language *m)
{
    if (!m->n_delta) return 0;
    return m->channels + (uint64_t)m->v_heads * m->state_dim + 2 * (uint64_t)m->v_heads;
}

static void blm_delta_channels(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_filter f = {c->work->part, c->model->channels,
                          &blm_recurrent_layer(c)->mix.delta.taps};
    uint32_t first, end;
    blm_recurrent_channels(c, part, &first, &end);
    blm_filter_run(c, &f, first, end);
    for (uint32_t t = 0; t < c->count; t++)
        c->compute->kernels.silu(f.x + t * f.stride + first, end - first);
}

/* Queries and keys of the chunk become vectors of length 1. */
static void blm_delta_normalize(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_language *m = c->model;
    uint32_t heads = 2 * m->k_heads;
    uint64_t first, end;
    blm_workers_share((uint64_t)c->count * heads, 1, part, c->compute->workers.count, &first,
                      &end);
    for (uint64_t i = first; i < end; i++) {
        float *x = c->work->part + i / heads * m->channels + i % heads * m->state_dim;
        float sum = c->compute->kernels.dot_f32(x, x, m->state_dim);
        float factor = 1 / blm_sqrtf(sum + m->norm_eps);
        for (uint32_t j = 0; j < m->state_dim; j++)
            x[j] *= factor;
    }
}

/* e^(decay * log(1 + e^x)): how much of its memory a head keeps. */
static float blm_delta_keep(float decay, float x)
{
    double softplus = x > 20 ? (double)x : blm_log(1 + blm_exp((double)x));
    return blm_expf(decay * (float)softplus);
}

/* One head with all tokens of the chunk; gate = silu(gate) * norm(what it remembers). */
static void blm_delta_head(const blm_chunk *c, const blm_delta_parts *p, uint32_t head)
{
    const blm_language *m = c->model;
    const blm_kernels *kernels = &c->compute->kernels;
    const blm_layer *l = blm_recurrent_layer(c);
    const blm_delta *d = &l->mix.delta;
    uint32_t n = m->state_dim, k_head = head % m->k_heads;
    float *memory = c->state->memories + ((size_t)l->ordinal * m->v_heads + head) * n * n;
    float decay = blm_load_f32(d->decay.data + head * sizeof(float));
    float step = blm_load_f32(d->step.data + head * sizeof(float));
    float scale = 1 / blm_sqrtf((float)n);
    for (uint32_t t = 0; t < c->count; t++) {
        float *row = p->qkv + (size_t)t * m->channels;
        float *q = row + (size_t)k_head * n, *k = q + (size_t)m->k_heads * n;
        float *v = row + ((size_t)2 * m->k_heads + head) * n;
        size_t at = (size_t)t * m->v_heads + head;
        float *out = c->work->in + at * n;
        float rate = 1 / (1 + blm_expf(-p->beta[at]));
        kernels->delta_step(memory, q, k, v, blm_delta_keep(decay, p->alpha[at] + step), rate,
                            n, out);
        for (uint32_t i = 0; i < n; i++)
            out[i] *= scale;
        kernels->rms_norm(out, d->norm.data, m->norm_eps, n, out);
        kernels->silu_mul(p->gate + at * n, out, n);
    }
}

static void blm_delta_heads(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_delta_parts p = blm_delta_split(c);
    uint64_t first, end;
    blm_workers_share(c->model->v_heads, 1, part, c->compute->workers.count, &first, &end);
    for (uint64_t head = first; head < end; head++)
        blm_delta_head(c, &p, (uint32_t)head);
}

BLM_PRIVATE void blm_delta_run(blm_chunk *c)
{
    const blm_language *m = c->model;
    const blm_delta *d = &blm_recurrent_layer(c)->mix.delta;
    const blm_delta_parts p = blm_delta_split(c);
    const blm_workers *workers = &c->compute->workers;
    uint32_t inner = m->v_heads * m->state_dim;
    const blm_product in[] = {{&d->qkv, NULL, p.qkv, m->channels},
                              {&d->gate, NULL, p.gate, inner},
                              {&d->beta, NULL, p.beta, m->v_heads},
                              {&d->alpha, NULL, p.alpha, m->v_heads}};
    const blm_product out = {&d->out, NULL, c->work->out, m->n_embd};
    blm_chunk_linear(c, c->work->in, m->n_embd, m->n_embd, in, 4);
    blm_workers_run(workers, blm_delta_channels, c);
    blm_workers_run(workers, blm_delta_normalize, c);
    blm_workers_run(workers, blm_delta_heads, c);
    blm_chunk_linear(c, p.gate, inner, inner, &out, 1);
}
