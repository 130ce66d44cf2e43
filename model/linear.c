#include "linear.h"

/* Rows a worker takes at a time: whole panels for every instruction set. */
#define BLM_ROW_STEP 16

typedef struct blm_linear_job {
    const blm_linear *linear;
    const blm_compute *compute;
    blm_acts acts;
    const blm_product *products;
    uint32_t count;
} blm_linear_job;

BLM_PRIVATE void blm_linear_take(blm_linear *l, blm_arena *arena, const blm_compute *c,
                                 uint32_t max_tokens, uint32_t max_cols)
{
    blm_acts_take(&l->acts, arena, max_tokens, (max_cols + 31) / 32 * 32, c->activation_bits);
    l->scratch_bytes = (blm_matmul_scratch_bytes(max_cols) + BLM_ARENA_ALIGN - 1) /
                       BLM_ARENA_ALIGN * BLM_ARENA_ALIGN;
    l->scratch = (uint8_t *)blm_arena_take(arena, c->workers.count, l->scratch_bytes);
}

static void blm_linear_quantize_part(void *arg, uint32_t part)
{
    const blm_linear_job *job = (const blm_linear_job *)arg;
    uint64_t first, end;
    blm_workers_share(job->acts.tokens, 1, part, job->compute->workers.count, &first, &end);
    blm_acts_quantize(&job->compute->kernels, &job->acts, (uint32_t)first, (uint32_t)end);
}

static void blm_linear_product_rows(const blm_linear_job *job, const blm_product *p,
                                    uint32_t part)
{
    const blm_kernels *k = &job->compute->kernels;
    uint64_t first, end;
    blm_workers_share(p->w->ne[1], BLM_ROW_STEP, part, job->compute->workers.count, &first,
                      &end);
    if (first == end) return;
    blm_matmul_args args = {
        .w = p->w,
        .x = &job->acts,
        .y = p->y,
        .y_stride = p->y_stride,
        .scratch = job->linear->scratch + part * job->linear->scratch_bytes,
    };
    (job->acts.bits == 16 ? k->matmul16 : k->matmul8)[p->w->type](&args, first, end);
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

static int blm_is_float(uint32_t type)
{
    return type == BLM_F32 || type == BLM_F16 || type == BLM_BF16;
}

BLM_PRIVATE void blm_linear_run(const blm_linear *l, const blm_compute *c, const float *x,
                                size_t x_stride, uint32_t tokens, uint32_t cols,
                                const blm_product *products, uint32_t count)
{
    blm_linear_job job = {l, c, l->acts, products, count};
    int quantised = 0;
    for (uint32_t i = 0; i < count; i++)
        quantised |= !blm_is_float(products[i].w->type);
    job.acts.f32 = x;
    job.acts.f32_stride = x_stride;
    job.acts.tokens = tokens;
    job.acts.cols = cols;
    job.acts.bits = quantised ? l->acts.bits : 0;
    if (quantised) blm_workers_run(&c->workers, blm_linear_quantize_part, &job);
    blm_workers_run(&c->workers, blm_linear_product_part, &job);
}
