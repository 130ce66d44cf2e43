#include "projector.h"

#include "resampler.h"

#define BLM_PROJECTOR_GROUP 16 /* tokens that meet a part of a transposed row together */

BLM_PRIVATE size_t blm_patch_row(const blm_patch_grid *g, uint32_t x, uint32_t y)
{
    if (!g->window) return (size_t)y * g->columns + x;
    uint32_t left = x / g->window * g->window, top = y / g->window * g->window;
    uint32_t width = BLM_MIN(g->columns - left, g->window);
    uint32_t height = BLM_MIN(g->rows - top, g->window);
    return (size_t)top * g->columns + (size_t)left * height + (size_t)(y - top) * width + x -
           left;
}

BLM_PRIVATE void blm_activate(const blm_kernels *k, uint32_t activation, float *x, size_t n)
{
    void (*const functions[])(float *, size_t) = {k->gelu_tanh, k->silu, k->gelu_quick,
                                                  k->gelu_erf};
    functions[activation](x, n);
}

BLM_PRIVATE void blm_norm_row(const blm_kernels *k, const blm_norm *norm, const float *x,
                              uint32_t width, float *out)
{
    if (norm->kind == BLM_NORM_PLAIN) {
        if (out != x) memcpy(out, x, width * sizeof *x);
        blm_rms_plain(k, norm->eps, out, width);
    } else if (norm->kind == BLM_NORM_RMS)
        k->rms_norm(x, norm->weight.data, norm->eps, width, out);
    else
        k->layer_norm(x, norm->weight.data, norm->bias.data, norm->eps, width, out);
}

BLM_PRIVATE void blm_projector_take(blm_projector_work *w, blm_arena *arena,
                                    const blm_projector *p, const blm_compute *c,
                                    uint32_t patches, uint32_t tokens, uint32_t row_floats)
{
    if (p->queries) {
        blm_resampler_take(w, arena, p, c, patches, row_floats);
        return;
    }
    w->joined = (float *)blm_arena_take(arena, tokens, (uint64_t)p->joined * sizeof(float));
    w->merged = (float *)blm_arena_take(arena, tokens, (uint64_t)p->merged * sizeof(float));
    w->hidden = (float *)blm_arena_take(arena, tokens, (uint64_t)p->hidden * sizeof(float));
    w->out = (float *)blm_arena_take(arena, tokens, (uint64_t)row_floats * sizeof(float));
    if (p->transposed)
        w->part = (float *)blm_arena_take(arena, c->workers.count,
                                          BLM_PROJECTOR_PART * sizeof(float));
    else
        blm_linear_take(&w->linear, arena, c, c->vision_activation_bits, tokens,
                        BLM_MAX(p->joined, BLM_MAX(p->merged, p->hidden)), p->rounded_cols);
    w->linear.may_round = 1;
}

/* ---- Work in parts ----------------------------------------------------------------------- */

typedef struct blm_projector_job {
    const blm_projector *p;
    const blm_projector_work *w;
    const blm_compute *c;
    const blm_patch_grid *grid;
    const float *patches;
    uint32_t tokens, row_floats;
} blm_projector_job;

/* One worker's tokens. */
static void blm_projector_share(const blm_projector_job *j, uint32_t part, uint32_t *first,
                                uint32_t *end)
{
    uint64_t from, to;
    blm_workers_share(j->tokens, 1, part, j->c->workers.count, &from, &to);
    *first = (uint32_t)from;
    *end = (uint32_t)to;
}

/* merged[(dy * scale + dx) * width ..] = patch (y0 + dy, x0 + dx). */
static void blm_projector_join(const blm_projector_job *j, uint32_t x0, uint32_t y0,
                               float *merged)
{
    const blm_projector *p = j->p;
    for (uint32_t i = 0; i < p->scale * p->scale; i++, merged += p->width) {
        uint32_t y = y0 + i / p->scale, x = x0 + i % p->scale;
        if (y < j->grid->rows && x < j->grid->columns)
            memcpy(merged, j->patches + blm_patch_row(j->grid, x, y) * p->width,
                   p->width * sizeof(float));
        else
            memset(merged, 0, p->width * sizeof(float));
    }
}

/* merged[channel * scale^2 + dy * scale + dx] = that channel of patch (y0 + dy, x0 + dx). */
static void blm_projector_channels(const blm_projector_job *j, uint32_t x0, uint32_t y0,
                                   float *merged)
{
    const blm_projector *p = j->p;
    uint32_t count = p->scale * p->scale;
    memset(merged, 0, (size_t)count * p->width * sizeof(float));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t y = y0 + i / p->scale, x = x0 + i % p->scale;
        if (y >= j->grid->rows || x >= j->grid->columns) continue;
        const float *patch = j->patches + blm_patch_row(j->grid, x, y) * p->width;
        for (uint32_t c = 0; c < p->width; c++)
            merged[(size_t)c * count + i] = patch[c];
    }
}

static void blm_projector_average(const blm_projector_job *j, uint32_t x0, uint32_t y0,
                                  float *merged)
{
    const blm_projector *p = j->p;
    uint32_t count = p->scale * p->scale;
    memset(merged, 0, p->width * sizeof(float));
    for (uint32_t i = 0; i < count; i++) {
        size_t row = blm_patch_row(j->grid, x0 + i % p->scale, y0 + i / p->scale);
        j->c->kernels.add(merged, j->patches + row * p->width, p->width);
    }
    for (uint32_t i = 0; i < p->width; i++)
        merged[i] /= (float)count;
}

/* A merged row as the norm behind it expects it. Source: Gemma 4's pooler. */
static void blm_projector_standardize(const blm_projector *p, float *merged)
{
    for (uint32_t i = 0; p->grow != 0 && i < p->merged; i++)
        merged[i] *= p->grow;
    for (uint32_t i = 0; p->shift.data && i < p->merged; i++)
        merged[i] = (merged[i] - blm_load_f32(p->shift.data + i * sizeof(float))) *
                    blm_load_f32(p->stretch.data + i * sizeof(float));
}

static void blm_projector_merge(void *arg, uint32_t part)
{
    const blm_projector_job *j = (const blm_projector_job *)arg;
    static void (*const merges[])(const blm_projector_job *, uint32_t, uint32_t, float *) = {
        [BLM_MERGE_JOIN] = blm_projector_join,
        [BLM_MERGE_AVERAGE] = blm_projector_average,
        [BLM_MERGE_CHANNELS] = blm_projector_channels,
    };
    const blm_projector *p = j->p;
    const size_t width = p->joined ? p->joined : p->merged;
    float *rows = p->joined ? j->w->joined : j->w->merged;
    uint32_t columns = (j->grid->columns + p->scale - 1) / p->scale, first, end;
    blm_projector_share(j, part, &first, &end);
    for (uint32_t t = first; t < end; t++) {
        float *merged = rows + t * width;
        merges[p->merge](j, t % columns * p->scale, t / columns * p->scale, merged);
        blm_projector_standardize(p, merged);
        if (p->norm.weight.data || p->norm.kind == BLM_NORM_PLAIN)
            blm_norm_row(&j->c->kernels, &p->norm, merged, p->merged, merged);
    }
}

static void blm_projector_activate(void *arg, uint32_t part)
{
    const blm_projector_job *j = (const blm_projector_job *)arg;
    uint32_t first, end;
    blm_projector_share(j, part, &first, &end);
    blm_activate(&j->c->kernels, j->p->activation, j->w->hidden + (size_t)first * j->p->hidden,
                 (size_t)(end - first) * j->p->hidden);
}

/* out[t][o, o + n) = sum_k merged[t][k] w[k][o, o + n), for a few tokens: their sums stay in
 * the first cache while the rows of w pass by. */
static void blm_projector_columns(const blm_projector_job *j, uint32_t token, uint64_t o,
                                  uint32_t n, float *row)
{
    const blm_tensor *w = &j->p->first;
    const blm_kernels *k = &j->c->kernels;
    const uint8_t *data = w->data + o * w->row_bytes / w->ne[0];
    const float *x = j->w->merged + (size_t)token * j->p->merged;
    float *out = j->w->out + (size_t)token * j->row_floats + o;
    uint32_t tokens = BLM_MIN(j->tokens - token, BLM_PROJECTOR_GROUP);
    for (uint32_t t = 0; t < tokens; t++)
        memset(out + (size_t)t * j->row_floats, 0, n * sizeof(float));
    for (uint32_t i = 0; i < j->p->merged; i++) {
        k->dequantize[w->type](data + i * w->row_bytes, row, n);
        for (uint32_t t = 0; t < tokens; t++)
            k->axpy_f32(out + (size_t)t * j->row_floats, x[(size_t)t * j->p->merged + i], row,
                        n);
    }
}

/* A product with a matrix that lies as [in][out]. */
static void blm_projector_transposed(void *arg, uint32_t part)
{
    const blm_projector_job *j = (const blm_projector_job *)arg;
    float *row = j->w->part + (size_t)part * BLM_PROJECTOR_PART;
    uint64_t first, end;
    blm_workers_share(j->p->n_embd, BLM_PROJECTOR_PART, part, j->c->workers.count, &first,
                      &end);
    for (uint64_t o = first; o < end; o += BLM_PROJECTOR_PART)
        for (uint32_t t = 0; t < j->tokens; t += BLM_PROJECTOR_GROUP)
            blm_projector_columns(j, t, o, (uint32_t)BLM_MIN(end - o, BLM_PROJECTOR_PART), row);
}

BLM_PRIVATE void blm_projector_run(const blm_projector *p, const blm_projector_work *w,
                                   const blm_compute *c, const blm_patch_grid *grid,
                                   const float *patches, uint32_t row_floats)
{
    if (p->queries) {
        blm_resampler_run(p, w, c, grid, patches, row_floats);
        return;
    }
    uint32_t tokens = blm_projector_tokens(p, grid->columns, grid->rows);
    blm_projector_job job = {p, w, c, grid, patches, tokens, row_floats};
    blm_workers_run(&c->workers, blm_projector_merge, &job);
    if (p->transposed) {
        blm_workers_run(&c->workers, blm_projector_transposed, &job);
        return;
    }
    const blm_product merger = {&p->merger, &p->merger_bias, w->merged, p->merged};
    if (p->joined)
        blm_linear_run(&w->linear, c, w->joined, p->joined, tokens, p->joined, &merger, 1);
    const int two = p->second.data != NULL;
    const blm_product first = {&p->first, &p->first_bias, two ? w->hidden : w->out,
                               two ? p->hidden : row_floats};
    const blm_product second = {&p->second, &p->second_bias, w->out, row_floats};
    blm_linear_run(&w->linear, c, w->merged, p->merged, tokens, p->merged, &first, 1);
    if (!two) return;
    blm_workers_run(&c->workers, blm_projector_activate, &job);
    blm_linear_run(&w->linear, c, w->hidden, p->hidden, tokens, p->hidden, &second, 1);
}
