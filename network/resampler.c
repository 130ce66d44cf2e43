#include "resampler.h"

#define BLM_RESAMPLER_BASE 10000.0

BLM_PRIVATE void blm_resampler_take(blm_projector_work *w, blm_arena *arena,
                                    const blm_projector *p, const blm_compute *c,
                                    uint32_t patches, uint32_t row_floats)
{
    const uint64_t row_bytes = (uint64_t)p->hidden * sizeof(float);
    const uint32_t rows = BLM_MAX(patches, p->queries);
    w->attend_bytes = blm_attend_scratch_bytes(p->queries, patches, BLM_RESAMPLER_HEAD);
    w->merged = (float *)blm_arena_take(arena, patches, row_bytes);
    w->hidden = (float *)blm_arena_take(arena, patches, row_bytes);
    w->joined = (float *)blm_arena_take(arena, patches, row_bytes);
    w->query = (float *)blm_arena_take(arena, p->queries, row_bytes);
    w->seen = (float *)blm_arena_take(arena, p->queries, row_bytes);
    w->out = (float *)blm_arena_take(arena, p->queries, (uint64_t)row_floats * sizeof(float));
    w->part = (float *)blm_arena_take(arena, c->workers.count, row_bytes / 2);
    w->attend = (uint8_t *)blm_arena_take(arena, c->workers.count, w->attend_bytes);
    blm_linear_take(&w->linear, arena, c, c->vision_activation_bits, rows,
                    BLM_MAX(p->width, p->hidden), p->rounded_cols);
    w->linear.may_round = 1;
}

typedef struct blm_resampler_job {
    const blm_projector *p;
    const blm_projector_work *w;
    const blm_compute *c;
    const blm_patch_grid *grid;
    const blm_norm *norm; /* in progress, of `rows` rows */
    float *x;
    uint32_t rows;
} blm_resampler_job;

static void blm_resampler_norm(void *arg, uint32_t part)
{
    const blm_resampler_job *j = (const blm_resampler_job *)arg;
    uint64_t first, end;
    blm_workers_share(j->rows, 1, part, j->c->workers.count, &first, &end);
    for (uint64_t r = first; r < end; r++) {
        float *x = j->x + r * j->p->hidden;
        blm_norm_row(&j->c->kernels, j->norm, x, j->p->hidden, x);
    }
}

static void blm_resampler_run_norm(blm_resampler_job *j, const blm_norm *norm, float *x,
                                   uint32_t rows)
{
    j->norm = norm;
    j->x = x;
    j->rows = rows;
    blm_workers_run(&j->c->workers, blm_resampler_norm, j);
}

/* Adds to every patch of a column, or of a row, sines and cosines of where that lies. */
static void blm_resampler_add_line(const blm_resampler_job *j, uint32_t at, int column,
                                   float *sines)
{
    const blm_patch_grid *g = j->grid;
    const uint32_t half = j->p->hidden / 2, quarter = half / 2;
    const uint32_t patches = column ? g->rows : g->columns;
    for (uint32_t i = 0; i < quarter; i++) {
        double angle = at * blm_pow(BLM_RESAMPLER_BASE, -(double)i / quarter);
        sines[i] = (float)blm_sin(angle);
        sines[quarter + i] = (float)blm_cos(angle);
    }
    for (uint32_t i = 0; i < patches; i++) {
        size_t row = column ? blm_patch_row(g, at, i) : blm_patch_row(g, i, at);
        float *x = j->w->merged + row * j->p->hidden;
        j->c->kernels.add(column ? x : x + half, sines, half);
    }
}

/* Columns go into the first half of a patch's values, rows into the second: no two workers
 * touch the same. */
static void blm_resampler_place(void *arg, uint32_t part)
{
    const blm_resampler_job *j = (const blm_resampler_job *)arg;
    float *sines = j->w->part + (size_t)part * (j->p->hidden / 2);
    uint64_t first, end, lines = (uint64_t)j->grid->columns + j->grid->rows;
    blm_workers_share(lines, 1, part, j->c->workers.count, &first, &end);
    for (uint32_t i = (uint32_t)first; i < (uint32_t)end; i++) {
        const int column = i < j->grid->columns;
        blm_resampler_add_line(j, column ? i : i - j->grid->columns, column, sines);
    }
}

static void blm_resampler_queries(void *arg, uint32_t part)
{
    const blm_resampler_job *j = (const blm_resampler_job *)arg;
    const blm_tensor *query = &j->p->resampler->query;
    uint64_t first, end;
    blm_workers_share(j->p->queries, 1, part, j->c->workers.count, &first, &end);
    for (uint64_t r = first; r < end; r++)
        j->c->kernels.dequantize[query->type](query->data + r * query->row_bytes,
                                              j->w->seen + r * j->p->hidden, j->p->hidden);
}

/* Heads over workers: every query sees every patch. */
static void blm_resampler_attend(void *arg, uint32_t part)
{
    const blm_resampler_job *j = (const blm_resampler_job *)arg;
    const blm_projector_work *w = j->w;
    const uint32_t width = j->p->hidden;
    uint64_t first, end;
    blm_workers_share(width / BLM_RESAMPLER_HEAD, 1, part, j->c->workers.count, &first, &end);
    for (uint64_t h = first; h < end; h++) {
        size_t at = (size_t)h * BLM_RESAMPLER_HEAD;
        const blm_attend_args args = {
            .q = w->query + at,
            .q_stride = width,
            .queries = j->p->queries,
            .keys = j->grid->columns * j->grid->rows,
            .head_dim = BLM_RESAMPLER_HEAD,
            .k = (const uint8_t *)(w->hidden + at),
            .v = (const uint8_t *)(w->joined + at),
            .k_stride = width * sizeof(float),
            .v_stride = width * sizeof(float),
            .scratch = (float *)(void *)(w->attend + part * w->attend_bytes),
            .out = w->seen + at,
            .out_stride = width,
        };
        j->c->kernels.attend_f32(&args);
    }
}

static void blm_resampler_product(const blm_resampler_job *j, const float *x, uint32_t rows,
                                  const blm_product *product)
{
    const uint32_t cols = (uint32_t)product->w->ne[0];
    blm_linear_run(&j->w->linear, j->c, x, cols, rows, cols, product, 1);
}

/* Keys know where their patches lie, values do not. */
static void blm_resampler_keys(blm_resampler_job *j, const float *patches)
{
    const blm_resampler *s = j->p->resampler;
    const blm_projector_work *w = j->w;
    const uint32_t n = j->grid->columns * j->grid->rows, width = j->p->hidden;
    const blm_product kv = {&s->kv, NULL, w->merged, width};
    const blm_product v = {&s->v, &s->v_bias, w->joined, width};
    const blm_product k = {&s->k, &s->k_bias, w->hidden, width};
    blm_resampler_product(j, patches, n, &kv);
    blm_resampler_run_norm(j, &s->kv_norm, w->merged, n);
    blm_resampler_product(j, w->merged, n, &v);
    blm_workers_run(&j->c->workers, blm_resampler_place, j);
    blm_resampler_product(j, w->merged, n, &k);
}

BLM_PRIVATE void blm_resampler_run(const blm_projector *p, const blm_projector_work *w,
                                   const blm_compute *c, const blm_patch_grid *grid,
                                   const float *patches, uint32_t row_floats)
{
    const blm_resampler *s = p->resampler;
    blm_resampler_job job = {p, w, c, grid, NULL, NULL, 0};
    const blm_product q = {&s->q, &s->q_bias, w->query, p->hidden};
    const blm_product o = {&s->o, &s->o_bias, w->query, p->hidden};
    const blm_product out = {&s->out, NULL, w->out, row_floats};
    const float scale = 1.0f / blm_sqrtf((float)BLM_RESAMPLER_HEAD);
    blm_resampler_keys(&job, patches);
    blm_workers_run(&c->workers, blm_resampler_queries, &job);
    blm_resampler_run_norm(&job, &s->query_norm, w->seen, p->queries);
    blm_resampler_product(&job, w->seen, p->queries, &q);
    for (size_t i = 0; i < (size_t)p->queries * p->hidden; i++)
        w->query[i] *= scale;
    blm_workers_run(&c->workers, blm_resampler_attend, &job);
    blm_resampler_product(&job, w->seen, p->queries, &o);
    blm_resampler_run_norm(&job, &s->out_norm, w->query, p->queries);
    blm_resampler_product(&job, w->query, p->queries, &out);
}
