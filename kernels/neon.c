/* NEON: what goes value by value, products with float weights, and the table. */
#include "neon.h"

#ifdef BLM_HAVE_NEON

/* ---- Products with float weights ----------------------------------------------------- */

BLM_NEON_INLINE float32x4_t blm_neon_get_bytes(const uint8_t *w, size_t i, size_t n)
{
    return blm_neon_floats(BLM_F32, w, i, BLM_MIN(n - i, 4));
}

/* Columns [k, k + n), n at most 4, of four rows with `tokens` tokens: lanes along k. */
BLM_NEON_INLINE void blm_neon_float_step(uint32_t type, const uint8_t *const *rows,
                                         const float *const *x, uint32_t tokens, uint32_t k,
                                         uint32_t n, float32x4_t sum[4][4])
{
    float32x4_t v[4];
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        v[t] = blm_neon_get(x[t], k, k + n);
    BLM_NEON_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        float32x4_t w = blm_neon_floats(type, rows[r], k, n);
        BLM_NEON_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            sum[t][r] = vfmaq_f32(sum[t][r], w, v[t]);
    }
}

BLM_NEON_INLINE void blm_neon_float_tokens(const blm_matmul_args *a, uint32_t type,
                                           const uint8_t *const *rows, uint64_t r,
                                           uint32_t count, uint32_t t0, uint32_t tokens)
{
    const float *x[4];
    float32x4_t sum[4][4];
    uint32_t k = 0, cols = a->x->cols;
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        x[t] = a->x->f32 + (t0 + t) * a->x->f32_stride;
        sum[t][0] = sum[t][1] = sum[t][2] = sum[t][3] = vdupq_n_f32(0);
    }
    for (; k + 4 <= cols; k += 4)
        blm_neon_float_step(type, rows, x, tokens, k, 4, sum);
    if (k < cols) blm_neon_float_step(type, rows, x, tokens, k, cols - k, sum);
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        float y[4];
        vst1q_f32(y, blm_neon_sum4_f32(sum[t]));
        memcpy(a->y + (t0 + t) * a->y_stride + r, y, count * sizeof *y);
    }
}

BLM_NEON_INLINE void blm_neon_matmul_float(const blm_matmul_args *a, uint64_t row0,
                                           uint64_t row1, uint32_t type)
{
    for (uint64_t r = row0; r < row1; r += 4) {
        uint32_t t = 0, count = (uint32_t)BLM_MIN(row1 - r, 4);
        const uint8_t *rows[4];
        blm_neon_rows(a, r, row1, 4, rows);
        for (; t + 4 <= a->x->tokens; t += 4)
            blm_neon_float_tokens(a, type, rows, r, count, t, 4);
        for (; t < a->x->tokens; t++)
            blm_neon_float_tokens(a, type, rows, r, count, t, 1);
    }
}

static void blm_neon_matmul_f32(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_neon_matmul_float(a, row0, row1, BLM_F32);
}

static void blm_neon_matmul_f16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_neon_matmul_float(a, row0, row1, BLM_F16);
}

static void blm_neon_matmul_bf16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_neon_matmul_float(a, row0, row1, BLM_BF16);
}

/* ---- Quantising activations ---------------------------------------------------------- */

#define BLM_NEON_TINY 1e-30f /* as in scalar.c */

/* To nearest, even on ties, within +-127; a NaN becomes -127, as in scalar.c. */
BLM_NEON_INLINE int32x4_t blm_neon_quantum(float32x4_t x, float inverse)
{
    const float limit = 127;
    x = vmaxnmq_f32(vmulq_n_f32(x, inverse), vdupq_n_f32(-limit));
    return vcvtnq_s32_f32(vminnmq_f32(x, vdupq_n_f32(limit)));
}

/* Loads 32 values and finds their largest magnitude; NaNs are passed over. */
BLM_NEON_INLINE float blm_neon_max_abs32(const float *x, float32x4_t *v)
{
    float32x4_t most = vdupq_n_f32(0);
    BLM_NEON_UNROLL
    for (int i = 0; i < 8; i++) {
        v[i] = vld1q_f32(x + i * 4);
        float32x4_t size = vabsq_f32(v[i]);
        most = vbslq_f32(vcgtq_f32(size, most), size, most);
    }
    return vmaxvq_f32(most);
}

static void blm_neon_quantize8(const float *x, uint32_t cols, int8_t *q, float *scale,
                               int32_t *sum)
{
    for (uint32_t i = 0; i < cols / 32; i++, x += 32, q += 32) {
        float32x4_t v[8];
        float most = blm_neon_max_abs32(x, v);
        float inverse = most < BLM_NEON_TINY ? 0 : 127 / most;
        int32x4_t total = vdupq_n_s32(0);
        scale[i] = most < BLM_NEON_TINY ? 0 : most / 127;
        BLM_NEON_UNROLL
        for (int j = 0; j < 8; j += 4) {
            int16x8_t a = vcombine_s16(vmovn_s32(blm_neon_quantum(v[j], inverse)),
                                       vmovn_s32(blm_neon_quantum(v[j + 1], inverse)));
            int16x8_t b = vcombine_s16(vmovn_s32(blm_neon_quantum(v[j + 2], inverse)),
                                       vmovn_s32(blm_neon_quantum(v[j + 3], inverse)));
            total = vpadalq_s16(total, vaddq_s16(a, b));
            vst1q_s8(q + j * 4, vcombine_s8(vmovn_s16(a), vmovn_s16(b)));
        }
        sum[i] = vaddvq_s32(total);
    }
}

/* ---- Rows of f32 --------------------------------------------------------------------- */

static float blm_neon_dot_f32(const float *x, const float *y, size_t n)
{
    float32x4_t sum[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        BLM_NEON_UNROLL
        for (size_t j = 0; j < 4; j++)
            sum[j] = vfmaq_f32(sum[j], vld1q_f32(x + i + j * 4), vld1q_f32(y + i + j * 4));
    }
    for (; i < n; i += 4)
        sum[0] = vfmaq_f32(sum[0], blm_neon_get(x, i, n), blm_neon_get(y, i, n));
    return vaddvq_f32(vaddq_f32(vaddq_f32(sum[0], sum[1]), vaddq_f32(sum[2], sum[3])));
}

static void blm_neon_axpy_f32(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 4)
        blm_neon_put(y, i, n, vfmaq_n_f32(blm_neon_get(y, i, n), blm_neon_get(x, i, n), a));
}

static void blm_neon_add_bias(float *x, const uint8_t *bias, size_t n)
{
    for (size_t i = 0; i < n; i += 4)
        blm_neon_put(x, i, n, vaddq_f32(blm_neon_get(x, i, n), blm_neon_get_bytes(bias, i, n)));
}

static void blm_neon_rms_norm(const float *x, const uint8_t *w, float eps, uint32_t n,
                              float *out)
{
    float factor = 1 / blm_sqrtf(blm_neon_dot_f32(x, x, n) / (float)n + eps);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(blm_neon_get(x, i, n), factor);
        blm_neon_put(out, i, n, vmulq_f32(v, blm_neon_get_bytes(w, i, n)));
    }
}

static void blm_neon_layer_norm(const float *x, const uint8_t *w, const uint8_t *b, float eps,
                                uint32_t n, float *out)
{
    float32x4_t sum = vdupq_n_f32(0);
    for (size_t i = 0; i < n; i += 4)
        sum = vaddq_f32(sum, blm_neon_get(x, i, n));
    const float32x4_t mean = vdupq_n_f32(vaddvq_f32(sum) / (float)n);
    for (size_t i = 0; i < n; i += 4)
        blm_neon_put(out, i, n, vsubq_f32(blm_neon_get(x, i, n), mean));
    float factor = 1 / blm_sqrtf(blm_neon_dot_f32(out, out, n) / (float)n + eps);
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(blm_neon_get(out, i, n), factor);
        v = vfmaq_f32(blm_neon_get_bytes(b, i, n), v, blm_neon_get_bytes(w, i, n));
        blm_neon_put(out, i, n, v);
    }
}

/* x times the sigmoid of an argument. */
BLM_NEON_INLINE float32x4_t blm_neon_gate(float32x4_t x, float32x4_t argument)
{
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1), blm_neon_exp(vnegq_f32(argument))));
}

static void blm_neon_gelu_tanh(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = blm_neon_get(x, i, n);
        float32x4_t bend = vfmaq_f32(vdupq_n_f32(1), vmulq_n_f32(v, 0.044715f), v);
        blm_neon_put(x, i, n, blm_neon_gate(v, vmulq_f32(vmulq_n_f32(v, 1.59576912f), bend)));
    }
}

/* x/2 (1 + erf(x / sqrt 2)), Abramowitz and Stegun 7.1.26: half the complement of erf, h, taken
 * from x where it is above 0. The factor before it is bounded: infinity times 0 is no number. */
BLM_NEON_INLINE float32x4_t blm_neon_erf_gate(float32x4_t x)
{
    const float32x4_t size = vabsq_f32(x), one = vdupq_n_f32(1);
    const float32x4_t a = vmulq_n_f32(size, 0.70710678f);
    float32x4_t t = vdivq_f32(one, vfmaq_n_f32(one, a, 0.3275911f));
    float32x4_t h = vfmaq_n_f32(vdupq_n_f32(-0.7265760135f), t, 0.5307027145f);
    h = vfmaq_f32(vdupq_n_f32(0.7107068705f), h, t);
    h = vfmaq_f32(vdupq_n_f32(-0.142248368f), h, t);
    h = vfmaq_f32(vdupq_n_f32(0.127414796f), h, t);
    h = vmulq_f32(vmulq_f32(h, t), blm_neon_exp(vnegq_f32(vmulq_f32(a, a))));
    return vfmsq_f32(vmaxq_f32(x, vdupq_n_f32(0)), vminq_f32(size, vdupq_n_f32(64)), h);
}

static void blm_neon_gelu_erf(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 4)
        blm_neon_put(x, i, n, blm_neon_erf_gate(blm_neon_get(x, i, n)));
}

static void blm_neon_gelu_quick(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = blm_neon_get(x, i, n);
        blm_neon_put(x, i, n, blm_neon_gate(v, vmulq_n_f32(v, 1.702f)));
    }
}

static void blm_neon_silu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = blm_neon_get(x, i, n);
        blm_neon_put(x, i, n, blm_neon_gate(v, v));
    }
}

static void blm_neon_silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t v = blm_neon_get(gate, i, n);
        blm_neon_put(gate, i, n, vmulq_f32(blm_neon_gate(v, v), blm_neon_get(up, i, n)));
    }
}

/* ---- The table ---------------------------------------------------------------------- */

BLM_PRIVATE void blm_kernels_neon(blm_kernels *k)
{
    blm_kernels_neon_matmul(k);
    blm_kernels_neon_attend(k);
    k->matmul8[BLM_F32] = blm_neon_matmul_f32;
    k->matmul8[BLM_F16] = blm_neon_matmul_f16;
    k->matmul8[BLM_BF16] = blm_neon_matmul_bf16;
    k->quantize8 = blm_neon_quantize8;
    k->rms_norm = blm_neon_rms_norm;
    k->layer_norm = blm_neon_layer_norm;
    k->add_bias = blm_neon_add_bias;
    k->gelu_tanh = blm_neon_gelu_tanh;
    k->gelu_erf = blm_neon_gelu_erf;
    k->gelu_quick = blm_neon_gelu_quick;
    k->silu = blm_neon_silu;
    k->silu_mul = blm_neon_silu_mul;
    k->dot_f32 = blm_neon_dot_f32;
    k->axpy_f32 = blm_neon_axpy_f32;
}

#endif
