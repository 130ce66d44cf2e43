#include "vision.h"

/* ---- Scratch --------------------------------------------------------------------------- */

/* Values of one row of the matrix that meets the patch embedding. */
static uint32_t blm_vision_patch_values(const blm_vision *m)
{
    return 3 * m->patch_px * m->patch_px;
}

/* Side of the patches that become a token. */
static uint32_t blm_vision_merge(const blm_vision *m)
{
    return m->projector.scale * BLM_MAX(m->joint, 1u);
}

BLM_PRIVATE uint32_t blm_vision_tokens(const blm_vision *m, uint32_t width_px,
                                       uint32_t height_px, uint32_t *columns, uint32_t *rows)
{
    uint32_t scale = blm_vision_merge(m), queries = m->projector.queries;
    *columns = queries;
    *rows = 1;
    if (queries) return queries;
    *columns = (width_px / m->patch_px + scale - 1) / scale;
    *rows = (height_px / m->patch_px + scale - 1) / scale;
    return *columns * *rows;
}

/* The most tokens of a picture of so many patches: those of multiples of align_px are whole
 * neighbourhoods, the tile that the file names may be padded. */
static uint32_t blm_vision_most_tokens(const blm_vision *m, uint32_t max_patches)
{
    const blm_projector *p = &m->projector;
    uint32_t merge = blm_vision_merge(m), whole = max_patches / (merge * merge);
    if (!m->dynamic || p->queries) return p->tokens;
    return max_patches < m->patches ? whole : BLM_MAX(p->tokens, whole);
}

/* The projector and deepstack share one place, as wide as the widest. */
static void blm_vision_take_projector(blm_vision_work *w, blm_arena *arena, const blm_vision *m,
                                      const blm_compute *c, uint32_t max_patches,
                                      uint32_t tokens)
{
    blm_projector widest = m->projector;
    widest.hidden = BLM_MAX(widest.hidden, m->deepstack_hidden);
    widest.rounded_cols = BLM_MAX(widest.rounded_cols, m->deepstack_rounded_cols);
    blm_projector_take(&w->projector, arena, &widest, c, max_patches, tokens, m->row_floats);
}

/* What outlives a tile's pass through a layer. */
static void blm_vision_take_tiles(blm_vision_work *w, blm_arena *arena, const blm_vision *m,
                                  uint32_t tiles, uint32_t max_patches, uint32_t tokens)
{
    uint64_t rows = (uint64_t)max_patches + m->class_token;
    uint64_t row_bytes = (uint64_t)m->width * sizeof(float);
    w->x = (float *)blm_arena_take(arena, tiles * rows, row_bytes);
    w->taps =
        (float *)blm_arena_take(arena, (uint64_t)tiles * max_patches, m->tap_count * row_bytes);
    w->aside = (uint16_t *)blm_arena_take(arena, (uint64_t)tiles * tokens,
                                          (uint64_t)(m->row_floats - m->projector.n_embd) *
                                              sizeof(uint16_t));
}

/* Floats of a coordinate's rotations. */
static uint32_t blm_vision_rotation_floats(const blm_vision *m)
{
    return m->head_dim / 4 * (m->rope == BLM_VISION_ROPE_NEIGHBOURS ? 4 : 2);
}

/* A coordinate goes up to max_patches / scale, as the other side has `scale` patches at least,
 * or up to the side of a tile of less. */
static void blm_vision_take_rotations(blm_vision_work *w, blm_arena *arena, const blm_vision *m,
                                      const blm_compute *c, uint32_t max_patches)
{
    uint32_t side = BLM_MAX(max_patches / m->projector.scale, m->tile_px / m->patch_px);
    if (!m->rope) return;
    w->rotations =
        (float *)blm_arena_take(arena, side, blm_vision_rotation_floats(m) * sizeof(float));
    w->rotation = (float *)blm_arena_take(arena, c->workers.count, m->head_dim * sizeof(float));
}

/* What a joint takes besides: its products are few rows that are wide. */
static void blm_vision_take_joint(blm_vision_work *w, blm_arena *arena, const blm_vision *m,
                                  const blm_compute *c, uint32_t rows)
{
    const uint32_t count = m->joint * m->joint;
    if (!m->joint) return;
    w->joined = (float *)blm_arena_take(arena, rows / count, m->joint_ffn * sizeof(float));
    blm_linear_take(&w->joint_linear, arena, c, c->vision_activation_bits, rows / count,
                    BLM_MAX(count * m->width, m->joint_ffn), m->rounded_cols);
    w->joint_linear.may_round = 1;
}

BLM_PRIVATE void blm_vision_take(blm_vision_work *w, blm_arena *arena, const blm_vision *m,
                                 const blm_compute *c, uint32_t tiles_per_batch,
                                 uint32_t max_patches)
{
    uint64_t row_bytes = (uint64_t)m->width * sizeof(float);
    uint64_t ffn_bytes = (uint64_t)m->ffn * sizeof(float);
    uint32_t rows = max_patches + m->class_token;
    uint32_t tokens = blm_vision_most_tokens(m, max_patches);
    uint32_t wide = BLM_MAX(m->width, blm_vision_patch_values(m));
    blm_overlay overlay;
    memset(w, 0, sizeof *w);
    w->attend_bytes = blm_attend_scratch_bytes(rows, rows, m->head_dim);
    blm_vision_take_tiles(w, arena, m, tiles_per_batch, max_patches, tokens);
    blm_vision_take_rotations(w, arena, m, c, max_patches);
    w->in = (float *)blm_arena_take(arena, rows, wide * sizeof(float));
    w->out = (float *)blm_arena_take(arena, rows, row_bytes);
    w->attend = (uint8_t *)blm_arena_take(arena, c->workers.count, w->attend_bytes);
    blm_linear_take(&w->linear, arena, c, c->vision_activation_bits, rows,
                    BLM_MAX(wide, m->ffn), m->rounded_cols);
    w->linear.may_round = 1;

    blm_overlay_open(&overlay, arena);
    w->q = (float *)blm_arena_take(arena, rows, row_bytes);
    w->k = (float *)blm_arena_take(arena, rows, row_bytes);
    w->v = (float *)blm_arena_take(arena, rows, row_bytes);
    blm_overlay_next(&overlay, arena);
    w->hidden = (float *)blm_arena_take(arena, rows, ffn_bytes);
    w->gate = (float *)blm_arena_take(arena, m->gated ? rows : 0, ffn_bytes);
    blm_overlay_next(&overlay, arena);
    blm_vision_take_joint(w, arena, m, c, rows);
    blm_overlay_next(&overlay, arena);
    blm_vision_take_projector(w, arena, m, c, max_patches, tokens);
    blm_overlay_next(&overlay, arena);
    blm_overlay_close(&overlay, arena);
}

BLM_PRIVATE void blm_vision_take_ahead(blm_vision_work *w, blm_arena *arena,
                                       const blm_vision *m, const blm_compute *c,
                                       uint32_t tiles_per_batch, uint32_t max_patches)
{
    uint64_t rows = (uint64_t)max_patches + m->class_token;
    uint64_t row_bytes = (uint64_t)m->width * sizeof(float);
    uint32_t patch_values = blm_vision_patch_values(m);
    uint32_t wide = BLM_MAX(m->width, patch_values);
    memset(w, 0, sizeof *w);
    w->x = (float *)blm_arena_take(arena, tiles_per_batch * rows, row_bytes);
    w->in = (float *)blm_arena_take(arena, rows, wide * sizeof(float));
    w->out = (float *)blm_arena_take(arena, rows, row_bytes);
    blm_linear_take(&w->linear, arena, c, c->vision_activation_bits, max_patches, patch_values,
                    0);
    w->linear.may_round = 1;
}

/* ---- Positions --------------------------------------------------------------------------- */

/* Cells [first, end) of one axis of a table that a coordinate reads, each with the weight
 * 1 - |cell - at| / reach, together `total`. */
typedef struct blm_vision_axis {
    double at, reach, total;
    uint32_t first, end;
} blm_vision_axis;

static double blm_vision_axis_weight(const blm_vision_axis *a, uint32_t cell)
{
    double apart = ((double)cell - a->at) / a->reach;
    return apart < 0 ? 1 + apart : 1 - apart;
}

/* Which cells of `side` the i-th of n coordinates reads. Sources: SigLIP 2 (NaFlex), bilinear
 * with antialias; Qwen3-VL, between the corners. */
static blm_vision_axis blm_vision_axis_of(uint32_t kind, uint32_t side, uint32_t n, uint32_t i)
{
    blm_vision_axis a = {0, 1, 0, 0, 0};
    double shrink = (double)side / n;
    if (kind == BLM_POSITIONS_CORNERS) {
        a.at = n > 1 ? (double)i * (side - 1) / (n - 1) : 0;
    } else {
        a.at = (i + 0.5) * shrink - 0.5;
        if (kind == BLM_POSITIONS_RESIZED) a.reach = BLM_MAX(shrink, 1.0);
    }
    double low = a.at - a.reach, high = a.at + a.reach;
    a.first = low > 0 ? (uint32_t)low : 0;
    a.end = BLM_MIN((uint32_t)(high > 0 ? high + 1 : 1), side);
    while (a.first + 1 < a.end && blm_vision_axis_weight(&a, a.first) <= 0)
        a.first++;
    while (a.first + 1 < a.end && blm_vision_axis_weight(&a, a.end - 1) <= 0)
        a.end--;
    for (uint32_t cell = a.first; cell < a.end; cell++)
        a.total += blm_vision_axis_weight(&a, cell);
    return a;
}

/* x += the row of the table, through `row` [width]. */
static void blm_vision_add_position(const blm_vision_batch *b, uint64_t index, float weight,
                                    float *x, float *row)
{
    const blm_kernels *k = &b->compute->kernels;
    const blm_tensor *e = &b->model->position_embd;
    k->dequantize[e->type](e->data + index * e->row_bytes, row, b->model->width);
    if (weight == 1.0f)
        k->add(x, row, b->model->width);
    else
        k->axpy_f32(x, weight, row, b->model->width);
}

/* Adds the position of patch (column, line) of a table stretched over the picture. */
static void blm_vision_add_stretched(const blm_vision_batch *b, uint32_t column, uint32_t line,
                                     float *x, float *row)
{
    const blm_vision *m = b->model;
    uint32_t side = m->positions_side;
    if (b->grid.columns == side && b->grid.rows == side) {
        blm_vision_add_position(b, (uint64_t)line * side + column, 1, x, row);
        return;
    }
    if (m->positions == BLM_POSITIONS_CELLS) {
        uint64_t across = (uint64_t)column * side / b->grid.columns;
        uint64_t down = (uint64_t)line * side / b->grid.rows;
        blm_vision_add_position(b, down * side + across, 1, x, row);
        return;
    }
    const blm_vision_axis h = blm_vision_axis_of(m->positions, side, b->grid.columns, column);
    const blm_vision_axis v = blm_vision_axis_of(m->positions, side, b->grid.rows, line);
    for (uint32_t j = v.first; j < v.end; j++)
        for (uint32_t i = h.first; i < h.end; i++) {
            double weight = blm_vision_axis_weight(&v, j) / v.total *
                            blm_vision_axis_weight(&h, i) / h.total;
            blm_vision_add_position(b, (uint64_t)j * side + i, (float)weight, x, row);
        }
}

/* Adds the positions of a patch's column and of its row, each from a table of its own. */
static void blm_vision_add_axes(const blm_vision_batch *b, uint32_t column, uint32_t line,
                                float *x, float *row)
{
    const uint32_t side = b->model->positions_side;
    blm_vision_add_position(b, BLM_MIN(column, side - 1), 1, x, row);
    blm_vision_add_position(b, (uint64_t)side + BLM_MIN(line, side - 1), 1, x, row);
}

/* cos and sin of every coordinate: pair i of a quarter head rotates by base^(-4 i / head), where
 * columns have rotations of their own by base^(-(4 i + 2) / head). */
static void blm_vision_make_rotations(const blm_vision_batch *b)
{
    const blm_vision *m = b->model;
    uint32_t quarter = m->head_dim / 4, side = BLM_MAX(b->grid.columns, b->grid.rows);
    uint32_t floats = blm_vision_rotation_floats(m);
    for (uint32_t n = 0; n < floats / 2; n++) {
        uint32_t i = n % quarter, axis = n / quarter;
        double speed = blm_pow((double)m->rope_base, -(4.0 * i + 2.0 * axis) / m->head_dim);
        for (uint32_t at = 0; at < side; at++) {
            float *rotations = b->work->rotations + (size_t)at * floats + 2 * axis * quarter;
            rotations[i] = (float)blm_cos(at * speed);
            rotations[quarter + i] = (float)blm_sin(at * speed);
        }
    }
}

/* ---- From pixels to rows ----------------------------------------------------------------- */

/* One worker's rows of the tile in progress. */
static void blm_vision_rows(const blm_vision_batch *b, uint32_t part, uint32_t *first,
                            uint32_t *end)
{
    uint64_t from, to;
    blm_workers_share(b->rows, 1, part, b->compute->workers.count, &from, &to);
    *first = (uint32_t)from;
    *end = (uint32_t)to;
}

/* One worker's patches, counted row by row. */
static void blm_vision_patches(const blm_vision_batch *b, uint32_t part, uint32_t *first,
                               uint32_t *end)
{
    uint64_t from, to;
    blm_workers_share(b->rows - b->model->class_token, 1, part, b->compute->workers.count,
                      &from, &to);
    *first = (uint32_t)from;
    *end = (uint32_t)to;
}

BLM_PRIVATE void blm_vision_begin(blm_vision_batch *b, uint32_t width_px, uint32_t height_px,
                                  uint32_t tiles)
{
    const blm_vision *m = b->model;
    b->tiles = tiles;
    b->grid.columns = width_px / m->patch_px;
    b->grid.rows = height_px / m->patch_px;
    b->grid.window = m->window;
    b->rows = b->grid.columns * b->grid.rows + m->class_token;
    const uint32_t joint = BLM_MAX(m->joint, 1u);
    b->tokens =
        blm_projector_tokens(&m->projector, b->grid.columns / joint, b->grid.rows / joint);
    if (b->work->rotations) blm_vision_make_rotations(b);
}

static void blm_vision_gather(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_vision *m = b->model;
    size_t patch_values = blm_vision_patch_values(m);
    uint32_t first, end;
    blm_vision_patches(b, part, &first, &end);
    for (uint32_t p = first; p < end; p++) {
        uint32_t x = p % b->grid.columns, y = p / b->grid.columns;
        blm_patch_pixels(b->rgb, b->stride_bytes, m->patch_px, x, y, m->mean, m->std,
                         b->work->in + blm_patch_row(&b->grid, x, y) * patch_values);
    }
}

/* Adds what belongs to a patch's place: the product with the second kernel, its position. */
static void blm_vision_place(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_vision *m = b->model;
    uint32_t first, end;
    blm_vision_patches(b, part, &first, &end);
    for (uint32_t p = first; p < end; p++) {
        uint32_t column = p % b->grid.columns, line = p / b->grid.columns;
        size_t at = (m->class_token + blm_patch_row(&b->grid, column, line)) * m->width;
        float *x = b->x + at, *out = b->work->out + at;
        if (m->patch_embd_1.data) b->compute->kernels.add(x, out, m->width);
        if (m->positions == BLM_POSITIONS_ROWS)
            blm_vision_add_position(b, (uint64_t)p + m->class_token, 1, x, out);
        else if (m->positions == BLM_POSITIONS_AXES)
            blm_vision_add_axes(b, column, line, x, out);
        else if (m->positions != BLM_POSITIONS_NONE)
            blm_vision_add_stretched(b, column, line, x, out);
    }
}

static void blm_vision_norm_rows(const blm_vision_batch *b, uint32_t part, float *out)
{
    const blm_vision *m = b->model;
    uint32_t first, end;
    blm_vision_rows(b, part, &first, &end);
    for (uint32_t r = first; r < end; r++)
        blm_norm_row(&b->compute->kernels, b->norm, b->x + (size_t)r * m->width, m->width,
                     out + (size_t)r * m->width);
}

/* b->norm of b->x into work->in. */
static void blm_vision_norm(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    blm_vision_norm_rows(b, part, b->work->in);
}

static void blm_vision_norm_in_place(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    blm_vision_norm_rows(b, part, b->x);
}

static void blm_vision_run_norm(blm_vision_batch *b, const blm_norm *norm)
{
    b->norm = norm;
    blm_workers_run(&b->compute->workers, blm_vision_norm, b);
}

/* Copies hidden state `state` (0: what the first layer reads) of a tile to where the projector
 * will read it. */
static void blm_vision_tap(const blm_vision_batch *b, uint32_t index, uint32_t state)
{
    const blm_vision *m = b->model;
    uint32_t patches = b->rows - m->class_token, row = m->tap_count * m->width;
    for (uint32_t tap = 0; tap < m->tap_count; tap++) {
        if (m->taps[tap] != state) continue;
        const float *x = b->x + (size_t)m->class_token * m->width;
        float *to = b->work->taps + (size_t)index * patches * row + (size_t)tap * m->width;
        for (uint32_t p = 0; p < patches; p++, x += m->width, to += row)
            memcpy(to, x, m->width * sizeof(float));
    }
}

static void blm_vision_set_tile(blm_vision_batch *b, uint32_t index)
{
    b->x = b->work->x + (size_t)index * b->rows * b->model->width;
}

BLM_PRIVATE void blm_vision_embed(blm_vision_batch *b, uint32_t index, const uint8_t *rgb,
                                  size_t stride_bytes)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    const blm_workers *workers = &b->compute->workers;
    uint32_t patch_values = blm_vision_patch_values(m);
    size_t head = (size_t)m->class_token * m->width;
    blm_vision_set_tile(b, index);
    b->rgb = rgb;
    b->stride_bytes = stride_bytes;
    const blm_product patches[] = {{&m->patch_embd, &m->patch_bias, b->x + head, m->width},
                                   {&m->patch_embd_1, NULL, w->out + head, m->width}};
    blm_workers_run(workers, blm_vision_gather, b);
    blm_linear_run(&w->linear, b->compute, w->in, patch_values, b->rows - m->class_token,
                   patch_values, patches, m->patch_embd_1.data ? 2 : 1);
    if (m->class_token) {
        memset(b->x, 0, m->width * sizeof(float));
        b->compute->kernels.add_bias(b->x, m->class_embd.data, m->width);
        blm_vision_add_position(b, 0, 1, b->x, w->out);
    }
    blm_workers_run(workers, blm_vision_place, b);
    if (m->pre_ln.weight.data) {
        b->norm = &m->pre_ln;
        blm_workers_run(workers, blm_vision_norm_in_place, b);
    }
}

/* ---- A block ----------------------------------------------------------------------------- */

static void blm_vision_scale_queries(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const float scale = b->model->attention_scale;
    uint32_t first, end;
    blm_vision_rows(b, part, &first, &end);
    float *q = b->work->q + (size_t)first * b->model->width;
    for (size_t i = 0, n = (size_t)(end - first) * b->model->width; i < n; i++)
        q[i] *= scale;
}

/* Norms of each head's query, key and value. */
static void blm_vision_norm_heads(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    const blm_vision_extra *e = b->extra;
    const blm_kernels *k = &b->compute->kernels;
    uint32_t first, end;
    blm_vision_rows(b, part, &first, &end);
    for (size_t at = (size_t)first * m->width; at < (size_t)end * m->width; at += m->head_dim) {
        float *q = w->q + at, *key = w->k + at;
        if (e->q_norm.data) k->rms_norm(q, e->q_norm.data, e->mixed.eps, m->head_dim, q);
        if (e->k_norm.data) k->rms_norm(key, e->k_norm.data, e->mixed.eps, m->head_dim, key);
        if (m->value_norm) blm_rms_plain(k, e->mixed.eps, w->v + at, m->head_dim);
    }
}

/* One head, each half by itself. */
static void blm_vision_rotate_halves(const blm_vision_batch *b, const float *y, const float *x,
                                     float *head)
{
    const uint32_t half = b->model->head_dim / 2, quarter = half / 2;
    b->compute->kernels.rope(head, x, x + quarter, half, 1);
    b->compute->kernels.rope(head + half, y, y + quarter, half, 1);
}

/* Rotates the heads of one patch's query and key: the first quarter of the pairs by its row, the
 * second by its column. */
static void blm_vision_rotate_patch(const blm_vision_batch *b, uint32_t column, uint32_t line,
                                    float *rotation)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    uint32_t quarter = m->head_dim / 4, floats = blm_vision_rotation_floats(m);
    const int halves = m->rope == BLM_VISION_ROPE_HALVES;
    const float *y = w->rotations + (size_t)line * floats;
    const float *x = w->rotations + (size_t)(column + 1) * floats - 2 * quarter;
    size_t at = (m->class_token + blm_patch_row(&b->grid, column, line)) * m->width;
    for (uint32_t i = 0; i < quarter; i++) {
        rotation[i] = y[i];
        rotation[quarter + i] = x[i];
        rotation[2 * quarter + i] = y[quarter + i];
        rotation[3 * quarter + i] = x[quarter + i];
    }
    for (uint32_t h = 0; h < m->width && m->rope == BLM_VISION_ROPE_APART; h += m->head_dim) {
        blm_vision_rotate_halves(b, y, x, w->q + at + h);
        blm_vision_rotate_halves(b, y, x, w->k + at + h);
    }
    for (uint32_t h = 0; h < m->width && m->rope != BLM_VISION_ROPE_APART; h += m->head_dim) {
        b->compute->kernels.rope(w->q + at + h, rotation, rotation + 2 * quarter, m->head_dim,
                                 halves);
        b->compute->kernels.rope(w->k + at + h, rotation, rotation + 2 * quarter, m->head_dim,
                                 halves);
    }
}

static void blm_vision_rotate(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    float *rotation = b->work->rotation + (size_t)part * b->model->head_dim;
    uint32_t first, end;
    blm_vision_patches(b, part, &first, &end);
    for (uint32_t p = first; p < end; p++)
        blm_vision_rotate_patch(b, p % b->grid.columns, p / b->grid.columns, rotation);
}

/* One head of rows [first, first + count), which see each other. */
static void blm_vision_attend_rows(const blm_vision_batch *b, blm_attend_fn attend,
                                   uint32_t part, uint32_t head, size_t first, uint32_t count)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    size_t at = first * m->width + (size_t)head * m->head_dim;
    blm_attend_args args = {
        .q = w->q + at,
        .q_stride = m->width,
        .queries = count,
        .keys = count,
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

static void blm_vision_attend_windows(const blm_vision_batch *b, blm_attend_fn attend,
                                      uint32_t part, uint32_t head)
{
    const blm_patch_grid *g = &b->grid;
    for (uint32_t y = 0; y < g->rows; y += g->window)
        for (uint32_t x = 0; x < g->columns; x += g->window)
            blm_vision_attend_rows(
                b, attend, part, head, b->model->class_token + blm_patch_row(g, x, y),
                BLM_MIN(g->columns - x, g->window) * BLM_MIN(g->rows - y, g->window));
}

/* Heads over workers: every patch attends to every patch of its tile, or of its window. Where
 * the products around it round, to int8 or int16, attention may round to int16. */
static void blm_vision_attend(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const blm_vision *m = b->model;
    const int rounded = m->round_floats || !blm_type_is_float(b->layer->q.type);
    const blm_attend_fn attend =
        rounded ? b->compute->kernels.attend_i16 : b->compute->kernels.attend_f32;
    uint64_t first, end;
    blm_workers_share(m->n_head, 1, part, b->compute->workers.count, &first, &end);
    for (uint32_t h = (uint32_t)first; h < (uint32_t)end; h++) {
        if (b->layer->windowed)
            blm_vision_attend_windows(b, attend, part, h);
        else
            blm_vision_attend_rows(b, attend, part, h, 0, b->rows);
    }
}

/* x += out, or with a layer scale x += out * scale. */
static void blm_vision_add(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    uint32_t first, end, width = b->model->width;
    blm_vision_rows(b, part, &first, &end);
    float *x = b->x + (size_t)first * width;
    const float *out = b->work->out + (size_t)first * width;
    if (!b->scale->data) {
        b->compute->kernels.add(x, out, (size_t)(end - first) * width);
        return;
    }
    for (uint32_t r = first; r < end; r++, x += width, out += width)
        for (uint32_t i = 0; i < width; i++)
            x[i] += out[i] * blm_load_f32(b->scale->data + i * sizeof(float));
}

static void blm_vision_run_add(blm_vision_batch *b, const blm_vector *scale)
{
    b->scale = scale;
    blm_workers_run(&b->compute->workers, blm_vision_add, b);
}

static void blm_vision_activate(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    uint32_t first, end;
    blm_vision_rows(b, part, &first, &end);
    size_t at = (size_t)first * b->model->ffn, n = (size_t)(end - first) * b->model->ffn;
    float *hidden = b->work->hidden + at;
    if (!b->layer->gate.data) {
        blm_activate(&b->compute->kernels, b->model->activation, hidden, n);
        return;
    }
    const float *gate = b->work->gate + at;
    blm_activate(&b->compute->kernels, b->model->activation, b->work->gate + at, n);
    for (size_t i = 0; i < n; i++)
        hidden[i] *= gate[i];
}

static void blm_vision_linear(const blm_vision_batch *b, const float *x, uint32_t cols,
                              const blm_product *products, uint32_t count)
{
    blm_linear_run(&b->work->linear, b->compute, x, cols, b->rows, cols, products, count);
}

/* ---- Products between bounds ------------------------------------------------------------- */

typedef struct blm_clamp_job {
    const blm_workers *workers;
    const float *x;
    float *out; /* may be x */
    uint64_t count;
    float low, high;
} blm_clamp_job;

static void blm_clamp_part(void *arg, uint32_t part)
{
    const blm_clamp_job *j = (const blm_clamp_job *)arg;
    uint64_t first, end;
    blm_workers_share(j->count, 16, part, j->workers->count, &first, &end);
    for (size_t i = (size_t)first; i < end; i++) {
        float x = j->x[i] < j->low ? j->low : j->x[i];
        j->out[i] = x > j->high ? j->high : x;
    }
}

static void blm_vision_clamp(const blm_vision_batch *b, const float *x, uint32_t cols,
                             float low, float high, float *out)
{
    const blm_workers *workers = &b->compute->workers;
    blm_clamp_job job = {workers, x, out, (uint64_t)b->rows * cols, low, high};
    blm_workers_run(workers, blm_clamp_part, &job);
}

static int blm_clamp_same(const blm_clamp *a, const blm_clamp *b)
{
    return !(a->in_low < b->in_low || a->in_low > b->in_low || a->in_high < b->in_high ||
             a->in_high > b->in_high);
}

/* As blm_vision_linear, x and the results cut as the layer's clamps from `which` on say. What
 * comes last cuts x where it lies, what comes before it in work->out. */
static void blm_vision_between(const blm_vision_batch *b, float *x, uint32_t cols,
                               const blm_product *products, uint32_t count, uint32_t which)
{
    if (!b->extra || !b->extra->clamped) {
        blm_vision_linear(b, x, cols, products, count);
        return;
    }
    const blm_clamp *c = b->extra->clamps + which;
    for (uint32_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && blm_clamp_same(&c[from], &c[to]);)
            to++;
        float *in = to == count ? x : b->work->out;
        blm_vision_clamp(b, x, cols, c[from].in_low, c[from].in_high, in);
        blm_vision_linear(b, in, cols, products + from, to - from);
    }
    for (uint32_t i = 0; i < count; i++)
        blm_vision_clamp(b, products[i].y, (uint32_t)products[i].y_stride, c[i].out_low,
                         c[i].out_high, products[i].y);
}

static void blm_vision_norm_out(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    uint32_t first, end, width = b->model->width;
    blm_vision_rows(b, part, &first, &end);
    for (uint32_t r = first; r < end; r++) {
        float *out = b->work->out + (size_t)r * width;
        blm_norm_row(&b->compute->kernels, b->norm, out, width, out);
    }
}

/* Norms what a part of the block gave, where the layer does. */
static void blm_vision_run_norm_out(blm_vision_batch *b, const blm_norm *norm)
{
    b->norm = norm;
    if (norm->weight.data) blm_workers_run(&b->compute->workers, blm_vision_norm_out, b);
}

/* ---- Attention, feed-forward ------------------------------------------------------------- */

static void blm_vision_attention(blm_vision_batch *b)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    const blm_vision_layer *l = b->layer;
    const blm_workers *workers = &b->compute->workers;
    const blm_product qkv[] = {{&l->q, &l->q_bias, w->q, m->width},
                               {&l->k, &l->k_bias, w->k, m->width},
                               {&l->v, &l->v_bias, w->v, m->width}};
    const blm_product o = {&l->o, &l->o_bias, w->out, m->width};
    blm_vision_run_norm(b, &l->ln1);
    blm_vision_between(b, w->in, m->width, qkv, 3, BLM_CLAMP_Q);
    if (b->extra) blm_workers_run(workers, blm_vision_norm_heads, b);
    if (m->attention_scale != 1.0f) blm_workers_run(workers, blm_vision_scale_queries, b);
    if (m->rope) blm_workers_run(workers, blm_vision_rotate, b);
    blm_workers_run(workers, blm_vision_attend, b);
    blm_vision_between(b, w->in, m->width, &o, 1, BLM_CLAMP_O);
    if (b->extra) blm_vision_run_norm_out(b, &b->extra->mixed);
    blm_vision_run_add(b, &l->scale1);
}

static void blm_vision_feed_forward(blm_vision_batch *b)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    const blm_vision_layer *l = b->layer;
    const blm_product up[] = {{&l->up, &l->up_bias, w->hidden, m->ffn},
                              {&l->gate, &l->gate_bias, w->gate, m->ffn}};
    const blm_product down = {&l->down, &l->down_bias, w->out, m->width};
    blm_vision_run_norm(b, &l->ln2);
    blm_vision_between(b, w->in, m->width, up, l->gate.data ? 2 : 1, BLM_CLAMP_UP);
    blm_workers_run(&b->compute->workers, blm_vision_activate, b);
    blm_vision_between(b, w->hidden, m->ffn, &down, 1, BLM_CLAMP_DOWN);
    if (b->extra) blm_vision_run_norm_out(b, &b->extra->fed);
    blm_vision_run_add(b, &l->scale2);
}

/* Deepstack: a layer's output, merged and projected, goes beside the image tokens, for one of
 * the language model's first layers. Source: Qwen3-VL. */
static void blm_vision_deepstack(const blm_vision_batch *b, uint32_t index, uint32_t which)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    size_t n_embd = m->projector.n_embd, row = m->deepstack_count * n_embd;
    uint16_t *aside = w->aside + (size_t)index * b->tokens * row + which * n_embd;
    blm_projector_run(&m->deepstack[which], &w->projector, b->compute, &b->grid,
                      b->x + (size_t)m->class_token * m->width, (uint32_t)n_embd);
    for (uint32_t t = 0; t < b->tokens; t++)
        b->compute->kernels.f16_from_f32(aside + t * row, w->projector.out + t * n_embd,
                                         n_embd);
}

/* ---- Patches that become one ------------------------------------------------------------ */

static void blm_vision_joint_rows(const blm_vision_batch *b, uint32_t part, uint64_t *first,
                                  uint64_t *end)
{
    const uint32_t count = b->model->joint * b->model->joint;
    blm_workers_share(b->rows / count, 1, part, b->compute->workers.count, first, end);
}

/* Patches of one lie one after the other: together they are a row of all their values. */
static void blm_vision_joint_norm(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const uint32_t wide = b->model->joint * b->model->joint * b->model->width;
    uint64_t first, end;
    blm_vision_joint_rows(b, part, &first, &end);
    for (uint64_t r = first; r < end; r++)
        blm_norm_row(&b->compute->kernels, &b->layer->ln2, b->x + r * wide, wide,
                     b->work->in + r * wide);
}

static void blm_vision_joint_activate(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const size_t ffn = b->model->joint_ffn;
    uint64_t first, end;
    blm_vision_joint_rows(b, part, &first, &end);
    blm_activate(&b->compute->kernels, b->model->activation, b->work->joined + first * ffn,
                 (size_t)(end - first) * ffn);
}

/* out += the mean of the patches that became one. */
static void blm_vision_joint_mean(void *arg, uint32_t part)
{
    const blm_vision_batch *b = (const blm_vision_batch *)arg;
    const uint32_t width = b->model->width, count = b->model->joint * b->model->joint;
    uint64_t first, end;
    blm_vision_joint_rows(b, part, &first, &end);
    for (uint64_t r = first; r < end; r++)
        for (uint32_t i = 0; i < count; i++)
            b->compute->kernels.axpy_f32(b->work->out + r * width, 1.0f / (float)count,
                                         b->x + (r * count + i) * width, width);
}

/* One tile's patches see those that they become one with, and do. Its rows move to where
 * fewer of each tile lie: behind those of the tiles before it. Source: MiniCPM-V 4.6. */
static void blm_vision_join_tile(blm_vision_batch *b, uint32_t index)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    const blm_vision_layer *l = m->joining;
    const blm_workers *workers = &b->compute->workers;
    const uint32_t count = m->joint * m->joint, rows = b->rows / count, wide = count * m->width;
    const blm_product up = {&l->up, &l->up_bias, w->joined, m->joint_ffn};
    const blm_product down = {&l->down, &l->down_bias, w->out, m->width};
    b->layer = l;
    blm_vision_attention(b);
    blm_workers_run(workers, blm_vision_joint_norm, b);
    blm_linear_run(&w->joint_linear, b->compute, w->in, wide, rows, wide, &up, 1);
    blm_workers_run(workers, blm_vision_joint_activate, b);
    blm_linear_run(&w->joint_linear, b->compute, w->joined, m->joint_ffn, rows, m->joint_ffn,
                   &down, 1);
    blm_workers_run(workers, blm_vision_joint_mean, b);
    memcpy(w->x + (size_t)index * rows * m->width, w->out,
           (size_t)rows * m->width * sizeof(float));
}

static void blm_vision_join(blm_vision_batch *b)
{
    const uint32_t side = b->model->joint;
    for (uint32_t tile = 0; tile < b->tiles; tile++) {
        blm_vision_set_tile(b, tile);
        blm_vision_join_tile(b, tile);
    }
    b->rows /= side * side;
    b->grid = (blm_patch_grid){b->grid.columns / side, b->grid.rows / side, 0};
}

BLM_PRIVATE void blm_vision_run_layer(blm_vision_batch *b, uint32_t layer)
{
    b->layer = &b->model->layers[layer];
    b->extra = b->model->extras ? &b->model->extras[layer] : NULL;
    for (uint32_t tile = 0; tile < b->tiles; tile++) {
        blm_vision_set_tile(b, tile);
        if (layer == 0) blm_vision_tap(b, tile, 0);
        blm_vision_attention(b);
        blm_vision_feed_forward(b);
        blm_vision_tap(b, tile, layer + 1);
        if (b->layer->deepstack) blm_vision_deepstack(b, tile, b->layer->deepstack - 1);
    }
    if (b->model->joint && layer == b->model->joint_layer) blm_vision_join(b);
}

/* The norms behind the last block, of which there is one at least. */
static void blm_vision_last_norms(blm_vision_batch *b)
{
    const blm_vision *m = b->model;
    const blm_norm *last = m->merge_ln.weight.data ? &m->merge_ln : &m->post_ln;
    if (last != &m->post_ln && m->post_ln.weight.data) {
        b->norm = &m->post_ln;
        blm_workers_run(&b->compute->workers, blm_vision_norm_in_place, b);
    }
    blm_vision_run_norm(b, last);
}

BLM_PRIVATE void blm_vision_finish(blm_vision_batch *b, uint32_t index, uint16_t *f16_rows)
{
    const blm_vision *m = b->model;
    const blm_vision_work *w = b->work;
    const blm_kernels *k = &b->compute->kernels;
    size_t n_embd = m->projector.n_embd, beside = m->row_floats - n_embd;
    blm_vision_set_tile(b, index);
    const float *patches = b->x + (size_t)m->class_token * m->width;
    if (m->tap_count) {
        size_t tile = (size_t)(b->rows - m->class_token) * m->tap_count * m->width;
        patches = w->taps + index * tile;
    } else if (m->post_ln.weight.data || m->merge_ln.weight.data) {
        blm_vision_last_norms(b);
        patches = w->in + (size_t)m->class_token * m->width;
    }
    blm_projector_run(&m->projector, &w->projector, b->compute, &b->grid, patches,
                      m->row_floats);
    for (uint32_t t = 0; beside && t < b->tokens; t++)
        k->f32_from_f16(w->projector.out + (size_t)t * m->row_floats + n_embd,
                        w->aside + ((size_t)index * b->tokens + t) * beside, beside);
    k->f16_from_f32(f16_rows, w->projector.out, (size_t)b->tokens * m->row_floats);
}
