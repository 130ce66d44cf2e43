/* Products with int16 activations, which are two rows of int8 each: the value, and what rounding
 * left of it (kernels.c). So every instruction set multiplies them as it multiplies int8, twice,
 * with weights unpacked once, and sums stay as exact as they are there. A row of numbers wider
 * than int8 would take as many multiplications, of fewer numbers each. */
#include "kernels.h"

/* A product with `tokens` tokens from t: rows [row0, row1) of y, at most BLM_MATMUL16_ROWS, each
 * the sum of two, which stand one after the other in `both`. */
static void blm_matmul16_tile(const blm_kernels *k, const blm_matmul_args *a, uint64_t row0,
                              uint64_t row1, uint32_t t, uint32_t tokens, float *both)
{
    const size_t count = (size_t)(row1 - row0), first = 2 * (size_t)t;
    blm_acts x = *a->x;
    blm_tensor w = *a->w;
    blm_matmul_args args = {&w, &x, both, BLM_MATMUL16_ROWS, a->scratch};
    w.data += row0 * w.row_bytes;
    x.bits = 8;
    x.tokens = 2 * tokens;
    x.q += first * x.q_stride;
    x.scale += first * x.block_stride;
    x.sum += first * x.block_stride;
    k->matmul8[w.type](&args, 0, count);
    for (uint32_t i = 0; i < tokens; i++, both += 2 * BLM_MATMUL16_ROWS) {
        k->add(both, both + BLM_MATMUL16_ROWS, count);
        memcpy(a->y + (t + i) * a->y_stride + row0, both, count * sizeof *both);
    }
}

BLM_PRIVATE void blm_matmul16(const blm_kernels *k, const blm_matmul_args *a, uint64_t row0,
                              uint64_t row1)
{
    const uint32_t type = a->w->type;
    uint64_t product_bytes = blm_matmul_scratch_bytes(k->panel_bytes, a->x->cols, 8);
    float *both = (float *)(void *)((uint8_t *)a->scratch + product_bytes);
    if (blm_type_is_float(type)) {
        k->matmul8[type](a, row0, row1);
        return;
    }
    if (a->x->tokens == 1 && k->matmul_pair[type]) {
        k->matmul_pair[type](a, row0, row1);
        return;
    }
    for (uint32_t t = 0; t < a->x->tokens; t += BLM_MATMUL16_TOKENS) {
        uint32_t tokens = BLM_MIN(a->x->tokens - t, BLM_MATMUL16_TOKENS);
        for (uint64_t r = row0; r < row1; r += BLM_MATMUL16_ROWS)
            blm_matmul16_tile(k, a, r, r + BLM_MIN(row1 - r, BLM_MATMUL16_ROWS), t, tokens,
                              both);
    }
}
