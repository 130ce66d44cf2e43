#include "vision.h"

/* ---- Scratch --------------------------------------------------------------------------- */

/* Values of one row of the matrix that meets the patch embedding. */
static uint32_t blm_vision_patch_values(const blm_vision *m)
{
    return 3 * m->patch_px * m->patch_px;
}

static void blm_vision_take_tiler(blm_vision_work *w, blm_arena *arena, const blm_vision *m)
{
    w->resize_bytes = blm_resize_scratch_bytes(m->tile_px);
    w->pixels = (uint8_t *)blm_arena_take(arena, m->tile_px, 3 * (uint64_t)m->tile_px);
    w->resize = blm_arena_take(arena, 1, w->resize_bytes);
}

BLM_PRIVATE void blm_vision_take(blm_vision_work *w, blm_arena *arena, const blm_vision *m,
                                 const blm_compute *c, uint32_t tiles_per_batch)
{
    uint64_t rows = m->rows, row_bytes = (uint64_t)m->width * sizeof(float);
    uint32_t wide = BLM_MAX(m->width, blm_vision_patch_values(m));
    blm_overlay overlay;
    w->attend_bytes = blm_attend_scratch_bytes(rows, rows, m->head_dim);
    w->x = (float *)blm_arena_take(arena, tiles_per_batch * rows, row_bytes);
    w->in = (float *)blm_arena_take(arena, rows, wide * sizeof(float));
    w->out = (float *)blm_arena_take(arena, rows, row_bytes);
    w->attend = (uint8_t *)blm_arena_take(arena, c->workers.count, w->attend_bytes);
    blm_linear_take(&w->linear, arena, c, m->rows, BLM_MAX(wide, m->ffn), m->narrow_cols);

    blm_overlay_open(&overlay, arena);
    blm_vision_take_tiler(w, arena, m);
    blm_overlay_next(&overlay, arena);
    w->q = (float *)blm_arena_take(arena, rows, row_bytes);
    w->k = (float *)blm_arena_take(arena, rows, row_bytes);
    w->v = (float *)blm_arena_take(arena, rows, row_bytes);
    blm_overlay_next(&overlay, arena);
    w->hidden = (float *)blm_arena_take(arena, rows, (uint64_t)m->ffn * sizeof(float));
    blm_overlay_next(&overlay, arena);
    blm_projector_take(&w->projector, arena, &m->projector, c);
    blm_overlay_next(&overlay, arena);
    blm_overlay_close(&overlay, arena);
}

BLM_PRIVATE void blm_vision_take_ahead(blm_vision_work *w, blm_arena *arena,
                                       const blm_vision *m, const blm_compute *c,
                                       uint32_t tiles_per_batch)
{
    uint64_t rows = m->rows, row_bytes = (uint64_t)m->width * sizeof(float);
    uint32_t patch_values = blm_vision_patch_values(m);
    w->x = (float *)blm_arena_take(arena, tiles_per_batch * rows, row_bytes);
    w->in = (float *)blm_arena_take(arena, m->patches, patch_values * sizeof(float));
    w->out = (float *)blm_arena_take(arena, rows, row_bytes);
    blm_linear_take(&w->linear, arena, c, m->patches, patch_values, 0);
    blm_vision_take_tiler(w, arena, m);
}

/* ---- The network ----------------------------------------------------------------------- */

/* One worker's rows of the tile in progress. */
static void blm_vision_rows(const blm_vision_batch *b, uint32_t part, uint32_t *first,
                            uint32_t *end)
{
    uint64_t from, to;
    blm_workers_share(b->model->rows, 1, part, b->compute->workers.count, &from, &to);
    *first = (uint32_t)from;
    *end = (uint32_t)to;
}

static void blm_vision_gather(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_vision *m = b->model;
    size_t patch_values = blm_vision_patch_values(m);
    uint64_t first, end;
    blm_workers_share(m->patches, 1, part, b->compute->workers.count, &first, &end);
    for (uint32_t p = (uint32_t)first; p < (uint32_t)end; p++)
        blm_patch_pixels(b->work->pixels, 3 * (size_t)m->tile_px, m->patch_px,
                         p % m->patches_side, p / m->patches_side, m->mean, m->std,
                         b->work->in + p * patch_values);
}

/* Adds each row's position, and CLIP's norm before the blocks where there is one. */
static void blm_vision_positions(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_vision *m = b->model;
    const blm_kernels *k = &b->compute->kernels;
    const blm_tensor *e = &m->position_embd;
    uint32_t first, end;
    blm_vision_rows(b, part, &first, &end);
    for (uint32_t r = first; r < end; r++) {
        float *x = b->x + (size_t)r * m->width;
        float *position = b->work->out + (size_t)r * m->width;
        k->dequantize[e->type](e->data + (size_t)(r * e->row_bytes), position, m->width);
        k->add(x, position, m->width);
        if (m->pre_ln.data)
            k->layer_norm(x, m->pre_ln.data, m->pre_ln_bias.data, m->norm_eps, m->width, x);
    }
}

BLM_PRIVATE void blm_vision_embed(blm_vision_batch *b, uint32_t index)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    uint32_t patch_values = blm_vision_patch_values(m);
    b->x = w->x + (size_t)index * m->rows * m->width;
    const blm_product patches = {&m->patch_embd, &m->patch_bias,
                                 b->x + (size_t)m->class_token * m->width, m->width};
    blm_workers_run(&b->compute->workers, blm_vision_gather, b);
    blm_linear_run(&w->linear, b->compute, w->in, patch_values, m->patches, patch_values,
                   &patches, 1);
    if (m->class_token) {
        memset(b->x, 0, m->width * sizeof(float));
        b->compute->kernels.add_bias(b->x, m->class_embd.data, m->width);
    }
    blm_workers_run(&b->compute->workers, blm_vision_positions, b);
}

static void blm_vision_norm(const blm_vision_batch *b, const blm_tensor *weight,
                            const blm_tensor *bias, uint32_t part)
{
    const blm_vision *m = b->model;
    uint32_t first, end;
    blm_vision_rows(b, part, &first, &end);
    for (uint32_t r = first; r < end; r++)
        b->compute->kernels.layer_norm(b->x + (size_t)r * m->width, weight->data, bias->data,
                                       m->norm_eps, m->width,
                                       b->work->in + (size_t)r * m->width);
}

static void blm_vision_ln1(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_vision_layer *l = &b->model->layers[b->layer];
    blm_vision_norm(b, &l->ln1, &l->ln1_bias, part);
}

static void blm_vision_ln2(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_vision_layer *l = &b->model->layers[b->layer];
    blm_vision_norm(b, &l->ln2, &l->ln2_bias, part);
}

static void blm_vision_post_ln(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    blm_vision_norm(b, &b->model->post_ln, &b->model->post_ln_bias, part);
}

static void blm_vision_scale_queries(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    float scale = 1.0f / blm_sqrtf((float)b->model->head_dim);
    uint32_t first, end;
    blm_vision_rows(b, part, &first, &end);
    float *q = b->work->q + (size_t)first * b->model->width;
    for (size_t i = 0, n = (size_t)(end - first) * b->model->width; i < n; i++)
        q[i] *= scale;
}

/* Heads over workers: every patch attends to every patch of its tile. Where the products
 * around it round to int8, attention may round to int16. */
static void blm_vision_attend(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    const int rounded =
        !blm_type_is_float(m->layers[b->layer].q.type) && b->compute->activation_bits == 8;
    const blm_attend_fn attend =
        rounded ? b->compute->kernels.attend_i16 : b->compute->kernels.attend_f32;
    uint64_t first, end;
    blm_workers_share(m->n_head, 1, part, b->compute->workers.count, &first, &end);
    for (uint32_t h = (uint32_t)first; h < (uint32_t)end; h++) {
        size_t at = (size_t)h * m->head_dim;
        blm_attend_args args = {
            .q = w->q + at,
            .q_stride = m->width,
            .queries = m->rows,
            .keys = m->rows,
            .head_dim = m->head_dim,
            .k = (const uint8_t *)(w->k + at),
            .v = (const uint8_t *)(w->v + at),
            .k_stride = m->width * sizeof(float),
            .v_stride = m->width * sizeof(float),
            .scratch = (float *)(void *)(w->attend + part * w->attend_bytes),
            .out = w->in + at,
            .out_stride = m->width,
        };
        attend(&args);
    }
}

static void blm_vision_add(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    uint32_t first, end, width = b->model->width;
    blm_vision_rows(b, part, &first, &end);
    b->compute->kernels.add(b->x + (size_t)first * width, b->work->out + (size_t)first * width,
                            (size_t)(end - first) * width);
}

static void blm_vision_activate(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_kernels *k = &b->compute->kernels;
    void (*const functions[])(float *, size_t) = {k->gelu_tanh, k->silu, k->gelu_quick};
    uint32_t first, end;
    blm_vision_rows(b, part, &first, &end);
    functions[b->model->activation](b->work->hidden + (size_t)first * b->model->ffn,
                                    (size_t)(end - first) * b->model->ffn);
}

static void blm_vision_linear(const blm_vision_batch *b, const float *x, uint32_t cols,
                              const blm_product *products, uint32_t count)
{
    blm_linear_run(&b->work->linear, b->compute, x, cols, b->model->rows, cols, products,
                   count);
}

static void blm_vision_tile_layer(blm_vision_batch *b)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    const blm_vision_layer *l = &m->layers[b->layer];
    const blm_workers *workers = &b->compute->workers;
    const blm_product qkv[] = {{&l->q, &l->q_bias, w->q, m->width},
                               {&l->k, &l->k_bias, w->k, m->width},
                               {&l->v, &l->v_bias, w->v, m->width}};
    const blm_product o = {&l->o, &l->o_bias, w->out, m->width};
    const blm_product up = {&l->up, &l->up_bias, w->hidden, m->ffn};
    const blm_product down = {&l->down, &l->down_bias, w->out, m->width};

    blm_workers_run(workers, blm_vision_ln1, b);
    blm_vision_linear(b, w->in, m->width, qkv, 3);
    blm_workers_run(workers, blm_vision_scale_queries, b);
    blm_workers_run(workers, blm_vision_attend, b);
    blm_vision_linear(b, w->in, m->width, &o, 1);
    blm_workers_run(workers, blm_vision_add, b);

    blm_workers_run(workers, blm_vision_ln2, b);
    blm_vision_linear(b, w->in, m->width, &up, 1);
    blm_workers_run(workers, blm_vision_activate, b);
    blm_vision_linear(b, w->hidden, m->ffn, &down, 1);
    blm_workers_run(workers, blm_vision_add, b);
}

BLM_PRIVATE void blm_vision_run_layer(blm_vision_batch *b, uint32_t layer)
{
    b->layer = layer;
    for (uint32_t tile = 0; tile < b->tiles; tile++) {
        b->x = b->work->x + (size_t)tile * b->model->rows * b->model->width;
        blm_vision_tile_layer(b);
    }
}

BLM_PRIVATE void blm_vision_finish(blm_vision_batch *b, uint32_t index, uint16_t *tokens)
{
    const blm_vision *m = b->model;
    const blm_projector *p = &m->projector;
    const float *patches;
    b->x = b->work->x + (size_t)index * m->rows * m->width;
    patches = b->x;
    if (m->post_ln.data) {
        blm_workers_run(&b->compute->workers, blm_vision_post_ln, b);
        patches = b->work->in;
    }
    blm_projector_run(p, &b->work->projector, b->compute,
                      patches + (size_t)m->class_token * m->width);
    b->compute->kernels.f16_from_f32(tokens, b->work->projector.out,
                                     (size_t)p->tokens * p->n_embd);
}
