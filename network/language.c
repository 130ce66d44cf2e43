#include "language.h"

#include "attention.h"
#include "recurrent.h"

/* ---- Scratch --------------------------------------------------------------------- */

static float *blm_take_floats(blm_arena *arena, uint64_t rows, uint64_t cols)
{
    return (float *)blm_arena_take(arena, rows, cols * sizeof(float));
}

/* Columns of the widest rows that mixers give to their last product. */
static uint64_t blm_language_mixed(const blm_language *m)
{
    return BLM_MAX((uint64_t)m->n_head * m->head_dim, (uint64_t)m->v_heads * m->state_dim);
}

BLM_PRIVATE void blm_language_take(blm_language_work *w, blm_arena *arena,
                                   const blm_language *m, const blm_compute *c,
                                   uint32_t chunk_tokens, uint32_t context_tokens)
{
    uint64_t n = chunk_tokens, wide = BLM_MAX(blm_language_mixed(m), m->n_embd);
    uint64_t part =
        BLM_MAX(blm_attention_floats(m), (m->ungated ? 1u : 2u) * (uint64_t)m->n_ff);
    part = BLM_MAX(part, BLM_MAX(blm_convolution_floats(m), blm_delta_floats(m)));
    part = BLM_MAX(part, 3 * (uint64_t)m->n_own);
    w->chunk_tokens = chunk_tokens;
    w->context_tokens = context_tokens;
    w->attend_bytes = blm_attend_scratch_bytes(chunk_tokens, context_tokens, m->head_dim);
    w->positions = (blm_position *)blm_arena_take(arena, n, sizeof *w->positions);
    w->sees = (uint32_t *)blm_arena_take(arena, n, sizeof *w->sees);
    w->images = (const uint16_t **)blm_arena_take(arena, n, sizeof *w->images);
    w->x = blm_take_floats(arena, n, m->n_embd);
    w->tokens = NULL;
    w->first = NULL;
    if (m->n_own) {
        w->tokens = (uint32_t *)blm_arena_take(arena, n, sizeof *w->tokens);
        w->first = blm_take_floats(arena, n, m->n_embd);
    }
    w->in = blm_take_floats(arena, n, wide);
    w->out = blm_take_floats(arena, n, m->n_embd);
    w->cos = blm_take_floats(arena, n * m->n_rope, m->n_rot / 2);
    w->sin = blm_take_floats(arena, n * m->n_rope, m->n_rot / 2);
    if (m->taps) w->columns = blm_take_floats(arena, m->taps - 1, m->channels);
    w->attend = (uint8_t *)blm_arena_take(arena, c->workers.count, w->attend_bytes);
    blm_linear_take(&w->linear, arena, c, c->activation_bits, chunk_tokens,
                    (uint32_t)BLM_MAX(BLM_MAX(wide, m->n_ff), m->n_own), 0);
    w->part = blm_take_floats(arena, n, part);
}

/* ---- What goes in ------------------------------------------------------------------ */

static void blm_chunk_scale(float *x, float scale, uint32_t n)
{
    for (uint32_t i = 0; scale != 1.0f && i < n; i++)
        x[i] *= scale;
}

/* What layers need of a token besides its row of x. */
static void blm_chunk_keep_first(const blm_chunk *c, uint32_t index, uint32_t token)
{
    const blm_language_work *w = c->work;
    size_t n = c->model->n_embd;
    if (!c->model->n_own) return;
    w->tokens[index] = token;
    memcpy(w->first + index * n, w->x + index * n, n * sizeof *w->x);
}

BLM_PRIVATE void blm_chunk_set_token(const blm_chunk *c, uint32_t index, uint32_t token,
                                     blm_position at)
{
    const blm_language *m = c->model;
    const blm_tensor *e = &m->token_embd;
    float *x = c->work->x + (size_t)index * m->n_embd;
    c->compute->kernels.dequantize[e->type](e->data + (size_t)(token * e->row_bytes), x,
                                            m->n_embd);
    blm_chunk_scale(x, m->token_scale, m->n_embd);
    blm_chunk_keep_first(c, index, token);
    c->work->images[index] = NULL;
    c->work->positions[index] = at;
    c->work->sees[index] = c->position + index + 1;
}

BLM_PRIVATE void blm_chunk_set_image(const blm_chunk *c, uint32_t index, const uint16_t *row,
                                     blm_position at, uint32_t sees)
{
    const blm_language *m = c->model;
    float *x = c->work->x + (size_t)index * m->n_embd;
    c->compute->kernels.f32_from_f16(x, row, m->n_embd);
    blm_chunk_scale(x, m->image_scale, m->n_embd);
    blm_chunk_keep_first(c, index, 0);
    c->work->images[index] = row;
    c->work->positions[index] = at;
    c->work->sees[index] = BLM_MIN(sees, c->position + c->count);
}

BLM_PRIVATE void blm_chunk_first_sees(const blm_chunk *c)
{
    if (c->count > 1 && c->work->images[1]) c->work->sees[0] = c->work->sees[1];
}

BLM_PRIVATE void blm_chunk_begin(const blm_chunk *c)
{
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    uint32_t pairs = m->n_rot / 2;
    blm_kv_cache_make_room(&c->state->window, &c->compute->workers, c->position, c->count);
    for (uint32_t r = 0; r < m->n_rope; r++) {
        const double *frequency = m->rope_frequency + (size_t)r * pairs;
        if (r == 0 && m->rope_long_frequency && w->context_tokens > m->original_context_tokens)
            frequency = m->rope_long_frequency;
        for (uint32_t t = 0; t < c->count; t++) {
            size_t at = ((size_t)r * w->chunk_tokens + t) * pairs;
            blm_position_rotation(w->positions[t], frequency, m->rope_axis, pairs,
                                  m->rope_magnitude, w->cos + at, w->sin + at);
        }
    }
}

/* ---- Blocks -------------------------------------------------------------------------- */

BLM_PRIVATE void blm_chunk_tokens(const blm_chunk *c, uint32_t part, uint32_t *first,
                                  uint32_t *end)
{
    uint64_t a, b;
    blm_workers_share(c->count, 1, part, c->compute->workers.count, &a, &b);
    *first = (uint32_t)a;
    *end = (uint32_t)b;
}

BLM_PRIVATE void blm_chunk_linear(const blm_chunk *c, const float *x, size_t x_stride,
                                  uint32_t cols, const blm_product *products, uint32_t count)
{
    blm_linear_run(&c->work->linear, c->compute, x, x_stride, c->count, cols, products, count);
}

static void blm_chunk_norm_row(const blm_chunk *c, const float *x, float *out)
{
    const blm_language *m = c->model;
    const blm_kernels *k = &c->compute->kernels;
    if (c->norm_bias && c->norm_bias->data)
        k->layer_norm(x, c->norm->data, c->norm_bias->data, m->norm_eps, m->n_embd, out);
    else
        k->rms_norm(x, c->norm->data, m->norm_eps, m->n_embd, out);
}

/* in = norm(x) */
static void blm_chunk_norm(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_language *m = c->model;
    uint32_t first, end;
    blm_chunk_tokens(c, part, &first, &end);
    for (uint32_t t = first; t < end; t++)
        blm_chunk_norm_row(c, c->work->x + (size_t)t * m->n_embd,
                           c->work->in + (size_t)t * m->n_embd);
}

static void blm_chunk_norm_in(blm_chunk *c, const blm_vector *norm, const blm_vector *bias)
{
    c->norm = norm;
    c->norm_bias = bias;
    blm_workers_run(&c->compute->workers, blm_chunk_norm, c);
}

/* out = norm(out), where there is a norm */
static void blm_chunk_norm_out(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_language *m = c->model;
    uint32_t first, end;
    blm_chunk_tokens(c, part, &first, &end);
    for (uint32_t t = first; t < end; t++) {
        float *out = c->work->out + (size_t)t * m->n_embd;
        c->compute->kernels.rms_norm(out, c->norm->data, m->norm_eps, m->n_embd, out);
    }
}

/* x += residual_scale * out */
static void blm_chunk_add(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_kernels *k = &c->compute->kernels;
    float scale = c->model->residual_scale;
    uint64_t first, end;
    blm_workers_share((uint64_t)c->count * c->model->n_embd, 16, part,
                      c->compute->workers.count, &first, &end);
    float *x = c->work->x + first;
    const float *out = c->work->out + first;
    if (scale == 1.0f)
        k->add(x, out, (size_t)(end - first));
    else
        k->axpy_f32(x, scale, out, (size_t)(end - first));
}

static void blm_chunk_residual(blm_chunk *c, const blm_vector *norm)
{
    c->norm = norm;
    if (norm->data) blm_workers_run(&c->compute->workers, blm_chunk_norm_out, c);
    blm_workers_run(&c->compute->workers, blm_chunk_add, c);
}

/* gate = act(gate) * up, or act(up) alone */
static void blm_chunk_activate(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_kernels *k = &c->compute->kernels;
    float *gate = c->work->part;
    const uint32_t n_ff = c->model->layers[c->layer].n_ff;
    const float *up = gate + (size_t)c->work->chunk_tokens * n_ff;
    uint64_t first, end;
    blm_workers_share((uint64_t)c->count * n_ff, 16, part, c->compute->workers.count, &first,
                      &end);
    const int gated = !c->model->ungated;
    if (!c->model->gelu && gated) {
        k->silu_mul(gate + first, up + first, (size_t)(end - first));
        return;
    }
    (c->model->gelu ? k->gelu_tanh : k->silu)(gate + first, (size_t)(end - first));
    if (!gated) return;
    for (size_t i = (size_t)first; i < end; i++)
        gate[i] *= up[i];
}

/* From work->in. */
static void blm_chunk_feed_forward(blm_chunk *c)
{
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    const blm_layer *l = &m->layers[c->layer];
    float *gate = w->part, *up = m->ungated ? gate : gate + (size_t)w->chunk_tokens * l->n_ff;
    const uint32_t first = m->ungated ? 1 : 0;
    const blm_product gate_up[] = {{&l->gate, &l->gate_bias, gate, l->n_ff},
                                   {&l->up, &l->up_bias, up, l->n_ff}};
    const blm_product down = {&l->down, &l->down_bias, w->out, m->n_embd};
    blm_chunk_linear(c, w->in, m->n_embd, m->n_embd, gate_up + first, 2 - first);
    blm_workers_run(&c->compute->workers, blm_chunk_activate, c);
    blm_chunk_linear(c, gate, l->n_ff, l->n_ff, &down, 1);
    blm_chunk_residual(c, &l->fed_norm);
}

/* The rows of pictures carry something for the outputs of the first layers, too. */
static void blm_chunk_deepstack(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_kernels *k = &c->compute->kernels;
    uint32_t n = c->model->n_embd, first, end;
    blm_chunk_tokens(c, part, &first, &end);
    for (uint32_t t = first; t < end; t++) {
        const uint16_t *row = c->work->images[t];
        float *added = c->work->out + (size_t)t * n;
        if (!row) continue;
        k->f32_from_f16(added, row + (size_t)n * (c->layer + 1), n);
        k->add(c->work->x + (size_t)t * n, added, n);
    }
}

/* ---- Embeddings of layers ---------------------------------------------------------------- */

static float *blm_own_part(const blm_chunk *c, uint32_t which, uint32_t token)
{
    return c->work->part + ((size_t)which * c->work->chunk_tokens + token) * c->model->n_own;
}

/* The layer's share of the token's row. */
static void blm_own_row(const blm_chunk *c, uint32_t token, float *out)
{
    const blm_tensor *e = &c->model->own_embd;
    const uint8_t *row = e->data + (size_t)(c->work->tokens[token] * e->row_bytes);
    c->compute->kernels.dequantize[e->type](
        row + (size_t)(c->layer * (e->row_bytes / c->model->n_layer)), out, c->model->n_own);
}

/* gate = gelu(gate) * (norm(made / sqrt(n_embd)) + row * sqrt(n_own)) / sqrt(2) */
static void blm_own_mix(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    const blm_language *m = c->model;
    const blm_kernels *k = &c->compute->kernels;
    const float half = 0.70710678f, grow = blm_sqrtf((float)m->n_own);
    uint32_t first, end;
    blm_chunk_tokens(c, part, &first, &end);
    for (uint32_t t = first; t < end; t++) {
        float *gate = blm_own_part(c, 0, t), *made = blm_own_part(c, 1, t);
        float *row = blm_own_part(c, 2, t);
        blm_own_row(c, t, row);
        blm_chunk_scale(made, 1 / blm_sqrtf((float)m->n_embd), m->n_own);
        k->rms_norm(made, m->own_norm.data, m->norm_eps, m->n_own, made);
        k->gelu_tanh(gate, m->n_own);
        for (uint32_t i = 0; i < m->n_own; i++)
            gate[i] *= (made[i] + row[i] * grow) * half;
    }
}

static void blm_chunk_own(blm_chunk *c)
{
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    const blm_own *own = &m->own[c->layer];
    const blm_tensor proj =
        blm_tensor_rows(&m->own_proj, (uint64_t)c->layer * m->n_own, m->n_own);
    const blm_product gate = {&own->gate, NULL, blm_own_part(c, 0, 0), m->n_own};
    const blm_product made = {&proj, NULL, blm_own_part(c, 1, 0), m->n_own};
    const blm_product up = {&own->up, NULL, w->out, m->n_embd};
    blm_chunk_linear(c, w->x, m->n_embd, m->n_embd, &gate, 1);
    blm_chunk_linear(c, w->first, m->n_embd, m->n_embd, &made, 1);
    blm_workers_run(&c->compute->workers, blm_own_mix, c);
    blm_chunk_linear(c, blm_own_part(c, 0, 0), m->n_own, m->n_own, &up, 1);
    blm_chunk_residual(c, &own->norm);
}

/* ---- A layer ------------------------------------------------------------------------------ */

/* x *= the layer's scale */
static void blm_chunk_scale_layer(void *arg, uint32_t part)
{
    const blm_chunk *c = (const blm_chunk *)arg;
    uint32_t n = c->model->n_embd, first, end;
    blm_chunk_tokens(c, part, &first, &end);
    for (uint32_t t = first; t < end; t++)
        blm_chunk_scale(c->work->x + (size_t)t * n, c->model->layers[c->layer].scale, n);
}

static void blm_chunk_block(blm_chunk *c, uint32_t layer)
{
    const blm_layer *l = &c->model->layers[layer];
    static void (*const mixers[])(blm_chunk * c) = {
        [BLM_MIX_ATTENTION] = blm_attention_run,
        [BLM_MIX_CONVOLUTION] = blm_convolution_run,
        [BLM_MIX_DELTA] = blm_delta_run,
    };
    c->layer = layer;
    blm_chunk_norm_in(c, &l->attn_norm, &l->attn_norm_bias);
    mixers[l->mixer](c);
    if (!l->ffn_norm.data) blm_chunk_norm_in(c, &l->attn_norm, &l->attn_norm_bias);
    blm_chunk_residual(c, &l->mixed_norm);
    if (l->ffn_norm.data) blm_chunk_norm_in(c, &l->ffn_norm, NULL);
    blm_chunk_feed_forward(c);
    if (layer < c->model->n_deepstack)
        blm_workers_run(&c->compute->workers, blm_chunk_deepstack, c);
    if (c->model->n_own) blm_chunk_own(c);
    if (l->scale != 1.0f) blm_workers_run(&c->compute->workers, blm_chunk_scale_layer, c);
}

/* Where nothing is stored any more, only the chunk's last token can matter: logits are made of
 * it. The layer runs for it alone, in its own place. */
static void blm_chunk_last(const blm_chunk *c, uint32_t layer)
{
    const blm_language *m = c->model;
    const uint32_t at = c->count - 1;
    const size_t floats = (size_t)at * m->n_embd, pairs = (size_t)at * (m->n_rot / 2);
    blm_language_work work = *c->work;
    blm_chunk last = *c;
    work.positions += at;
    work.sees += at;
    work.images += at;
    work.x += floats;
    work.cos += pairs;
    work.sin += pairs;
    if (m->n_own) {
        work.tokens += at;
        work.first += floats;
    }
    last.work = &work;
    last.position += at;
    last.count = 1;
    blm_chunk_block(&last, layer);
}

BLM_PRIVATE void blm_chunk_layer(blm_chunk *c, uint32_t layer)
{
    if (layer >= c->model->n_storing)
        blm_chunk_last(c, layer);
    else
        blm_chunk_block(c, layer);
    if (layer + 1 == c->model->n_layer) c->state->tokens = c->position + c->count;
}

BLM_PRIVATE void blm_chunk_logits(blm_chunk *c, float *logits)
{
    const blm_language *m = c->model;
    const blm_language_work *w = c->work;
    const blm_product output = {&m->output, &m->output_bias, logits, m->n_vocab};
    c->norm = &m->output_norm;
    c->norm_bias = &m->output_norm_bias;
    blm_chunk_norm_row(c, w->x + (size_t)(c->count - 1) * m->n_embd, w->in);
    blm_linear_run(&w->linear, c->compute, w->in, m->n_embd, 1, m->n_embd, &output, 1);
    for (uint32_t i = 0; m->logit_scale != 1.0f && i < m->n_vocab; i++)
        logits[i] /= m->logit_scale;
    for (uint32_t i = 0; m->logit_cap != 0 && i < m->n_vocab; i++)
        logits[i] = m->logit_cap * blm_tanhf(logits[i] / m->logit_cap);
}
