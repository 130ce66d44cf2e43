#include "linear.h"

/* Rows a worker takes at a time: whole panels for every instruction set. */
#define BLM_ROW_STEP 16

/* Rows of a rounded matrix that are Q8_0 at a time: one panel; blocks that are made so at a
 * time, on the stack. */
#define BLM_ROUNDED_ROWS   32
#define BLM_ROUNDED_BLOCKS 4
#define BLM_Q8_0_BYTES     34 /* of a block of 32 */

typedef struct blm_linear_job {
    const blm_linear *linear;
    const blm_compute *compute;
    blm_acts acts;
    const blm_product *products;
    uint32_t count;
    int bf16; /* both factors are rounded to bf16: nothing is quantised */
} blm_linear_job;

BLM_PRIVATE uint32_t blm_linear_round(blm_tensor *const *matrices, uint32_t count, int all)
{
    uint64_t cols = 0;
    int quantised = 0;
    for (uint32_t i = 0; i < count; i++)
        quantised |= !blm_type_is_float(matrices[i]->type);
    for (uint32_t i = 0; i < count; i++) {
        blm_tensor *w = matrices[i];
        w->rounded = (uint16_t)(blm_type_is_float(w->type) &&
                                (all || (quantised && w->ne[0] % BLM_BLOCK != 0)));
        if (w->rounded) cols = BLM_MAX(cols, w->ne[0]);
    }
    return (uint32_t)cols;
}

static uint64_t blm_linear_align(uint64_t bytes)
{
    return (bytes + BLM_ARENA_ALIGN - 1) / BLM_ARENA_ALIGN * BLM_ARENA_ALIGN;
}

/* Of a row of Q8_0, its last block filled up. */
static uint64_t blm_linear_q8_0_bytes(uint64_t cols)
{
    return (cols + BLM_BLOCK - 1) / BLM_BLOCK * BLM_Q8_0_BYTES;
}

BLM_PRIVATE void blm_linear_take(blm_linear *l, blm_arena *arena, const blm_compute *c,
                                 uint32_t bits, uint32_t max_tokens, uint32_t max_cols,
                                 uint32_t rounded_cols)
{
    uint64_t rounded_bytes =
        bits == 8 ? BLM_ROUNDED_ROWS * blm_linear_q8_0_bytes(rounded_cols) : 0;
    blm_acts_take(&l->acts, arena, max_tokens, max_cols, bits);
    l->may_round = 0;
    l->product_bytes =
        blm_linear_align(blm_matmul_scratch_bytes(c->kernels.panel_bytes, max_cols, bits));
    l->scratch_bytes = l->product_bytes + blm_linear_align(rounded_bytes);
    l->scratch = (uint8_t *)blm_arena_take(arena, c->workers.count, l->scratch_bytes);
}

static void blm_linear_quantize_part(void *arg, uint32_t part)
{
    const blm_linear_job *job = (const blm_linear_job *)arg;
    uint64_t first, end;
    blm_workers_share(job->acts.tokens, 1, part, job->compute->workers.count, &first, &end);
    blm_acts_quantize(&job->compute->kernels, &job->acts, (uint32_t)first, (uint32_t)end);
}

/* One row of float values as Q8_0, its last block filled up with zeros. */
static void blm_linear_row_to_q8_0(const blm_kernels *k, const blm_tensor *w, uint64_t row,
                                   uint8_t *out)
{
    const uint8_t *in = w->data + row * w->row_bytes;
    uint64_t value_bytes = w->row_bytes / w->ne[0];
    for (uint64_t at = 0; at < w->ne[0]; at += BLM_ROUNDED_BLOCKS * BLM_BLOCK) {
        uint32_t n = (uint32_t)BLM_MIN(w->ne[0] - at, BLM_ROUNDED_BLOCKS * BLM_BLOCK);
        uint32_t blocks = (n + BLM_BLOCK - 1) / BLM_BLOCK;
        float x[BLM_ROUNDED_BLOCKS * BLM_BLOCK], scale[BLM_ROUNDED_BLOCKS];
        int8_t q[BLM_ROUNDED_BLOCKS * BLM_BLOCK];
        int32_t sum[BLM_ROUNDED_BLOCKS];
        for (uint32_t i = n; i < blocks * BLM_BLOCK; i++)
            x[i] = 0;
        k->dequantize[w->type](in + at * value_bytes, x, n);
        k->quantize8(x, blocks * BLM_BLOCK, q, scale, sum);
        for (uint32_t i = 0; i < blocks; i++, out += BLM_Q8_0_BYTES) {
            blm_store_u16(out, blm_f16_of_f32(scale[i]));
            memcpy(out + 2, q + i * BLM_BLOCK, BLM_BLOCK);
        }
    }
}

/* A product with rows [first, end) of a rounded matrix, made Q8_0 a few at a time. */
static void blm_linear_rounded_rows(const blm_kernels *k, const blm_matmul_args *floats,
                                    uint8_t *rows, uint64_t first, uint64_t end)
{
    blm_acts x = *floats->x;
    blm_tensor w = *floats->w;
    blm_matmul_args args = *floats;
    x.cols = (x.cols + BLM_BLOCK - 1) / BLM_BLOCK * BLM_BLOCK;
    w.data = rows;
    w.type = BLM_Q8_0;
    w.row_bytes = blm_linear_q8_0_bytes(x.cols);
    w.ne[0] = x.cols;
    args.w = &w;
    args.x = &x;
    for (uint64_t r = first; r < end; r += BLM_ROUNDED_ROWS) {
        w.ne[1] = BLM_MIN(end - r, BLM_ROUNDED_ROWS);
        for (uint64_t i = 0; i < w.ne[1]; i++)
            blm_linear_row_to_q8_0(k, floats->w, r + i, rows + i * w.row_bytes);
        args.y = floats->y + r;
        k->matmul8[BLM_Q8_0](&args, 0, w.ne[1]);
    }
}

/* Only matrices of towers are ever marked. */
static int blm_linear_is_rounded(const blm_tensor *w, uint32_t activation_bits)
{
#ifdef BLUELM_NO_VISION
    return (void)w, (void)activation_bits, 0;
#else
    return w->rounded && activation_bits == 8;
#endif
}

static void blm_linear_product_rows(const blm_linear_job *job, const blm_product *p,
                                    uint32_t part)
{
    const blm_kernels *k = &job->compute->kernels;
    uint64_t first, end;
    blm_workers_share(p->w->ne[1], BLM_ROW_STEP, part, job->compute->workers.count, &first,
                      &end);
    if (first == end) return;
    uint8_t *scratch = job->linear->scratch + part * job->linear->scratch_bytes;
    const blm_matmul_args args = {
        .w = p->w, .x = &job->acts, .y = p->y, .y_stride = p->y_stride, .scratch = scratch};
    if (job->bf16)
        k->matmul_bf16[p->w->type](&args, first, end);
    else if (blm_linear_is_rounded(p->w, job->acts.bits))
        blm_linear_rounded_rows(k, &args, scratch + job->linear->product_bytes, first, end);
    else if (job->linear->acts.bits == 16)
        blm_matmul16(k, &args, first, end);
    else
        k->matmul8[p->w->type](&args, first, end);
    if (!p->bias || !p->bias->data) return;
    for (uint32_t t = 0; t < job->acts.tokens; t++)
        k->add_bias(p->y + t * p->y_stride + first, p->bias->data + first * sizeof(float),
                    (size_t)(end - first));
}

static void blm_linear_product_part(void *arg, uint32_t part)
{
    const blm_linear_job *job = (const blm_linear_job *)arg;
    for (uint32_t i = 0; i < job->count; i++)
        blm_linear_product_rows(job, &job->products[i], part);
}

BLM_PRIVATE void blm_linear_run(const blm_linear *l, const blm_compute *c, const float *x,
                                size_t x_stride, uint32_t tokens, uint32_t cols,
                                const blm_product *products, uint32_t count)
{
    blm_linear_job job = {l, c, l->acts, products, count, 0};
    int quantised = 0;
    job.bf16 = l->may_round && l->acts.bits == 8 && c->kernels.matmul_bf16[BLM_F32] != NULL;
    for (uint32_t i = 0; i < count && !job.bf16; i++)
        quantised |= !blm_type_is_float(products[i].w->type) ||
                     blm_linear_is_rounded(products[i].w, l->acts.bits);
    job.acts.f32 = x;
    job.acts.f32_stride = x_stride;
    job.acts.tokens = tokens;
    job.acts.cols = cols;
    job.acts.bits = quantised ? l->acts.bits : 0;
    if (quantised) blm_workers_run(&c->workers, blm_linear_quantize_part, &job);
    blm_workers_run(&c->workers, blm_linear_product_part, &job);
}

BLM_PRIVATE void blm_rms_plain(const blm_kernels *k, float eps, float *x, uint32_t n)
{
    float factor = 1 / blm_sqrtf(k->dot_f32(x, x, n) / (float)n + eps);
    for (uint32_t i = 0; i < n; i++)
        x[i] *= factor;
}
