#include "vision.h"

/* ---- Reading the file --------------------------------------------------------------- */

static int blm_vision_triple(const blm_gguf *g, const char *key, float out[3],
                             bluelm_error *err)
{
    blm_array values = {0};
    int found = blm_gguf_array(g, key, BLM_GGUF_F32, &values, err);
    if (found < 0) return found;
    if (found && values.count != 3)
        return blm_fail(err, BLUELM_E_FORMAT, key, 3, values.count, 0);
    for (uint32_t i = 0; i < 3; i++)
        out[i] = found ? blm_load_f32(values.data + i * sizeof(float)) : 0.5f;
    return BLUELM_OK;
}

static int blm_vision_pixels_scale(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    int code;
    if ((code = blm_vision_triple(g, "clip.vision.image_mean", m->mean, err)) < 0 ||
        (code = blm_vision_triple(g, "clip.vision.image_std", m->std, err)) < 0)
        return code;
    for (uint32_t i = 0; i < 3; i++)
        if (!(m->std[i] > 1e-6f && m->std[i] < 1e6f && blm_absf(m->mean[i]) < 1e6f))
            return blm_fail(err, BLUELM_E_FORMAT, "mmproj: clip.vision.image_mean, image_std",
                            1, 0, 0);
    return BLUELM_OK;
}

static int blm_vision_activation(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    int gelu = 0, silu = 0, code;
    if ((code = blm_gguf_bool(g, "clip.use_gelu", &gelu, err)) < 0 ||
        (code = blm_gguf_bool(g, "clip.use_silu", &silu, err)) < 0)
        return code;
    m->activation = gelu ? BLM_VISION_GELU : silu ? BLM_VISION_SILU : BLM_VISION_GELU_QUICK;
    return BLUELM_OK;
}

static int blm_vision_sizes(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    static const char vision[] = "clip.vision";
    int code;
    m->norm_eps = 1e-6f;
    if ((code = blm_key_need_u32(g, vision, ".image_size", 1, 4096, &m->tile_px, err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".patch_size", 1, 256, &m->patch_px, err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".embedding_length", 1, 16384, &m->width, err)) <
            0 ||
        (code = blm_key_need_u32(g, vision, ".feed_forward_length", 1, 1u << 18, &m->ffn,
                                 err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".block_count", 1, 1024, &m->n_layer, err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".attention.head_count", 1, 1024, &m->n_head,
                                 err)) < 0 ||
        (code = blm_key_maybe_f32(g, vision, ".attention.layer_norm_epsilon", &m->norm_eps,
                                  err)) < 0)
        return code;
    if (m->width % m->n_head)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: width over heads leaves a rest",
                        m->n_head, m->width % m->n_head, 0);
    if (m->patch_px > m->tile_px)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: patch_size above image_size", m->tile_px,
                        m->patch_px, 0);
    m->head_dim = m->width / m->n_head;
    m->patches_side = m->tile_px / m->patch_px;
    m->patches = m->patches_side * m->patches_side;
    if (m->patches > (1u << 16))
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: patches per tile", 1u << 16,
                        m->patches, 0);
    return BLUELM_OK;
}

/* v.patch_embd.weight lies as [width][3][patch][patch]: a matrix of one patch a row. */
static int blm_vision_patch_matrix(blm_vision *m, const blm_tensor_place *at, bluelm_error *err)
{
    blm_tensor *t = &m->patch_embd;
    int found = blm_gguf_tensor(at->file, "v.patch_embd.weight", t, err);
    if (found < 0) return found;
    if (!found)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: v.patch_embd.weight is missing", 1, 0,
                        0);
    uint64_t values = 3 * (uint64_t)m->patch_px * m->patch_px;
    uint32_t block_values, block_bytes;
    blm_type_block(t->type, &block_values, &block_bytes);
    if (t->ne[0] != m->patch_px || t->ne[1] != m->patch_px || t->ne[2] != 3 ||
        t->ne[3] != m->width)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: v.patch_embd.weight values",
                        values * m->width, t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3], 0);
    if (block_values != 1)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: v.patch_embd.weight type", 0,
                        t->type, 0);
    t->row_bytes = values * block_bytes;
    t->ne[0] = values;
    t->ne[1] = m->width;
    t->ne[2] = t->ne[3] = 1;
    t->n_dims = 2;
    return blm_tensor_maybe_vector(at, "v.patch_embd.bias", m->width, &m->patch_bias, err);
}

static int blm_vision_norm_pair(const blm_tensor_place *at, const char *weight,
                                const char *bias, uint32_t n, blm_tensor *w, blm_tensor *b,
                                bluelm_error *err)
{
    int code = blm_tensor_vector(at, weight, n, w, err);
    return code < 0 ? code : blm_tensor_vector(at, bias, n, b, err);
}

/* Old files name ffn_up and ffn_down the other way round; the shapes tell. */
static int blm_vision_feed_forward(blm_vision_layer *l, const blm_vision *m,
                                   const blm_tensor_place *at, bluelm_error *err)
{
    static const char *const now[] = {"ffn_up.weight", "ffn_up.bias", "ffn_down.weight",
                                      "ffn_down.bias"};
    static const char *const old[] = {"ffn_down.weight", "ffn_down.bias", "ffn_up.weight",
                                      "ffn_up.bias"};
    const char *const *names = now;
    bluelm_error ignored;
    int code;
    if (m->ffn != m->width &&
        blm_tensor_matrix(at, "ffn_up.weight", m->ffn, m->width, &l->up, &ignored) >= 0)
        names = old;
    if ((code = blm_tensor_matrix(at, names[0], m->width, m->ffn, &l->up, err)) < 0 ||
        (code = blm_tensor_maybe_vector(at, names[1], m->ffn, &l->up_bias, err)) < 0 ||
        (code = blm_tensor_matrix(at, names[2], m->ffn, m->width, &l->down, err)) < 0)
        return code;
    return blm_tensor_maybe_vector(at, names[3], m->width, &l->down_bias, err);
}

static int blm_vision_layer_read(blm_vision_layer *l, blm_vision *m, const blm_gguf *g,
                                 uint32_t index, bluelm_error *err)
{
    const blm_tensor_place at = {g, "v.blk.", (int32_t)index};
    const char *const names[4][2] = {{"attn_q.weight", "attn_q.bias"},
                                     {"attn_k.weight", "attn_k.bias"},
                                     {"attn_v.weight", "attn_v.bias"},
                                     {"attn_out.weight", "attn_out.bias"}};
    blm_tensor *const matrices[6] = {&l->q, &l->k, &l->v, &l->o, &l->up, &l->down};
    blm_tensor *const biases[4] = {&l->q_bias, &l->k_bias, &l->v_bias, &l->o_bias};
    uint32_t w = m->width;
    int code;
    if ((code = blm_vision_norm_pair(&at, "ln1.weight", "ln1.bias", w, &l->ln1, &l->ln1_bias,
                                     err)) < 0 ||
        (code = blm_vision_norm_pair(&at, "ln2.weight", "ln2.bias", w, &l->ln2, &l->ln2_bias,
                                     err)) < 0)
        return code;
    for (uint32_t i = 0; i < 4; i++)
        if ((code = blm_tensor_matrix(&at, names[i][0], w, w, matrices[i], err)) < 0 ||
            (code = blm_tensor_maybe_vector(&at, names[i][1], w, biases[i], err)) < 0)
            return code;
    if ((code = blm_vision_feed_forward(l, m, &at, err)) < 0) return code;
    m->narrow_cols = BLM_MAX(m->narrow_cols, blm_linear_narrow(matrices, 6));
    return BLUELM_OK;
}

/* Norms before and after the blocks, each of which a file may leave out. */
static int blm_vision_outer_norms(blm_vision *m, const blm_tensor_place *at, bluelm_error *err)
{
    int pre = blm_tensor_present(at, "v.pre_ln.weight", err);
    int post = blm_tensor_present(at, "v.post_ln.weight", err);
    int code = BLM_MIN(pre, post);
    if (code >= 0 && pre)
        code = blm_vision_norm_pair(at, "v.pre_ln.weight", "v.pre_ln.bias", m->width,
                                    &m->pre_ln, &m->pre_ln_bias, err);
    if (code >= 0 && post)
        code = blm_vision_norm_pair(at, "v.post_ln.weight", "v.post_ln.bias", m->width,
                                    &m->post_ln, &m->post_ln_bias, err);
    return code;
}

BLM_PRIVATE int blm_vision_open(blm_vision *m, const blm_gguf *g, blm_arena *arena,
                                bluelm_error *err)
{
    const blm_tensor_place at = {g, "", BLM_NO_LAYER};
    blm_string arch = {"", 0};
    int code;
    memset(m, 0, sizeof *m);
    if ((code = blm_gguf_string(g, "general.architecture", &arch, err)) < 0) return code;
    if (!blm_string_is(arch, "clip"))
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: architecture other than clip", 0, 0,
                        0);
    if ((code = blm_vision_sizes(m, g, err)) < 0 ||
        (code = blm_vision_activation(m, g, err)) < 0 ||
        (code = blm_vision_pixels_scale(m, g, err)) < 0 ||
        (code = blm_vision_patch_matrix(m, &at, err)) < 0 ||
        (code = blm_tensor_maybe_vector(&at, "v.class_embd", m->width, &m->class_embd, err)) <
            0 ||
        (code = blm_projector_open(&m->projector, g, m->patches_side, m->width, err)) < 0)
        return code;
    m->class_token = m->class_embd.data != NULL;
    m->rows = m->patches + m->class_token;
    /* LLaVA takes the output of the last block but one. */
    if (m->projector.type == BLM_PROJECTOR_MLP && m->n_layer > 1) m->n_layer--;
    if ((code = blm_tensor_matrix(&at, "v.position_embd.weight", m->width, m->rows,
                                  &m->position_embd, err)) < 0 ||
        (code = blm_vision_outer_norms(m, &at, err)) < 0)
        return code;

    m->layers = (blm_vision_layer *)blm_arena_take(arena, m->n_layer, sizeof(blm_vision_layer));
    for (uint32_t i = 0; i < m->n_layer; i++) {
        blm_vision_layer layer;
        if ((code = blm_vision_layer_read(&layer, m, g, i, err)) < 0) return code;
        if (m->layers) m->layers[i] = layer;
    }
    return BLUELM_OK;
}

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
        blm_patch_pixels(b->work->pixels, m->tile_px, m->patch_px, p % m->patches_side,
                         p / m->patches_side, m->mean, m->std, b->work->in + p * patch_values);
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
