/* Fills the table of kernels, and prepares activations for them. */
#include "kernels.h"

/* An instruction set is used where the machine has, and the mask names, one bit of `any` and,
 * where there is `also`, one of that too. */
typedef struct blm_kernel_set {
    uint32_t any, also;
    const char *name;
    void (*fill)(blm_kernels *k);
} blm_kernel_set;

/* In the order in which they overwrite each other's entries. Some bits bring sets along that
 * such processors have too. */
static const blm_kernel_set blm_kernel_sets[] = {
    {0, 0, "scalar", blm_kernels_scalar},
#ifdef BLM_HAVE_X86
    {BLUELM_CPU_SSE41, 0, "sse41", blm_kernels_sse41},
    {BLUELM_CPU_AVX2, 0, "avx2", blm_kernels_avx2},
    {BLUELM_CPU_AVX512_VNNI | BLUELM_CPU_AMX, 0, "avx512", blm_kernels_avx512},
    {BLUELM_CPU_AVX512_VBMI | BLUELM_CPU_AMX, BLUELM_CPU_AVX512_VNNI | BLUELM_CPU_AMX, "avx512",
     blm_kernels_avx512_vbmi},
#endif
#ifdef BLM_HAVE_NEON
    {BLUELM_CPU_NEON | BLUELM_CPU_NEON_DOTPROD | BLUELM_CPU_NEON_I8MM, 0, "neon",
     blm_kernels_neon},
    {BLUELM_CPU_NEON_DOTPROD | BLUELM_CPU_NEON_I8MM, 0, "dotprod", blm_kernels_dotprod},
    {BLUELM_CPU_NEON_I8MM, 0, "i8mm", blm_kernels_i8mm},
#endif
#ifdef BLM_HAVE_AMX
    {BLUELM_CPU_AMX, 0, "amx", blm_kernels_amx},
#endif
};

BLM_PRIVATE void blm_kernels_init(blm_kernels *k, uint32_t port_features, uint32_t mask)
{
    uint32_t usable = blm_cpu_features(port_features);
    if (mask != 0) usable &= mask;
    for (size_t i = 0; i < BLM_COUNT_OF(blm_kernel_sets); i++) {
        const blm_kernel_set *set = &blm_kernel_sets[i];
        if (set->any && !(set->any & usable)) continue;
        if (set->also && !(set->also & usable)) continue;
        set->fill(k);
        k->name = set->name;
    }
#ifndef BLUELM_NO_SIMD
    if (mask != BLUELM_CPU_NONE) k->panel_bytes = BLM_MATMUL_PANEL_BYTES;
#endif
}

BLM_PRIVATE void blm_acts_take(blm_acts *x, blm_arena *arena, uint32_t max_tokens,
                               uint32_t max_cols, uint32_t bits)
{
    /* 64-bit strides: what does not fit size_t does not fit the arena either */
    uint64_t q_stride = ((uint64_t)max_cols + 63) / 64 * 64;
    uint64_t blocks = ((uint64_t)max_cols + BLM_BLOCK - 1) / BLM_BLOCK;
    uint64_t block_stride = (blocks + 15) / 16 * 16;
    memset(x, 0, sizeof *x);
    x->bits = bits;
    if (bits == 0) return;
    const uint64_t rows = (uint64_t)max_tokens * (bits / 8);
    x->q_stride = (size_t)q_stride;
    x->block_stride = (size_t)block_stride;
    x->q = (int8_t *)blm_arena_take(arena, rows, q_stride);
    x->scale = (float *)blm_arena_take(arena, rows, block_stride * sizeof(float));
    x->sum = (int32_t *)blm_arena_take(arena, rows, block_stride * sizeof(int32_t));
}

/* `cols` columns of x from column `from` on, both multiples of 32, into one row of q. */
static void blm_acts_quantize_row(const blm_kernels *k, const blm_acts *a, size_t row,
                                  const float *x, uint32_t from, uint32_t cols)
{
    size_t block = row * a->block_stride + from / BLM_BLOCK;
    k->quantize8(x, cols, a->q + row * a->q_stride + from, a->scale + block, a->sum + block);
}

/* What the row leaves of x, eight blocks of it at most. The same code for all instruction sets:
 * they agree to the bit. */
static void blm_acts_rest(const blm_acts *a, size_t row, const float *x, uint32_t from,
                          uint32_t cols, float *rest)
{
    for (uint32_t i = 0; i < cols; i += BLM_BLOCK, x += BLM_BLOCK, rest += BLM_BLOCK) {
        const float scale = a->scale[row * a->block_stride + (from + i) / BLM_BLOCK];
        int8_t q[BLM_BLOCK]; /* a copy, of which a compiler knows that rest is elsewhere */
        memcpy(q, a->q + row * a->q_stride + from + i, sizeof q);
        for (uint32_t j = 0; j < BLM_BLOCK; j++)
            rest[j] = x[j] - (float)q[j] * scale;
    }
}

/* `cols` columns from `from` on of one token, both multiples of 32; x: the first of them. */
static void blm_acts_quantize_some(const blm_kernels *k, const blm_acts *a, uint32_t token,
                                   const float *x, uint32_t from, uint32_t cols)
{
    float rest[8 * BLM_BLOCK];
    if (a->bits == 8) blm_acts_quantize_row(k, a, token, x, from, cols);
    for (uint32_t i = 0; i < cols && a->bits == 16; i += 8 * BLM_BLOCK) {
        const uint32_t n = BLM_MIN(cols - i, 8 * BLM_BLOCK);
        const size_t row = 2 * (size_t)token;
        blm_acts_quantize_row(k, a, row, x + i, from + i, n);
        blm_acts_rest(a, row, x + i, from + i, n, rest);
        blm_acts_quantize_row(k, a, row + 1, rest, from + i, n);
    }
}

BLM_PRIVATE void blm_acts_quantize(const blm_kernels *k, const blm_acts *x, uint32_t token0,
                                   uint32_t token1)
{
    const uint32_t rest = x->cols % BLM_BLOCK, whole = x->cols - rest;
    float last[BLM_BLOCK] = {0};
    for (uint32_t t = token0; t < token1; t++) {
        const float *row = x->f32 + t * x->f32_stride;
        blm_acts_quantize_some(k, x, t, row, 0, whole);
        if (rest == 0) continue;
        memcpy(last, row + whole, rest * sizeof *last);
        blm_acts_quantize_some(k, x, t, last, whole, BLM_BLOCK);
    }
}
