/* What the files of kernels for 64-bit Arm share. */
#ifndef BLM_NEON_H
#define BLM_NEON_H

#include "kernels.h"

#ifdef BLM_HAVE_NEON

#include <arm_neon.h>

#define BLM_NEON_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define BLM_NEON_UNROLL _Pragma("clang loop unroll(full)")
#else
#define BLM_NEON_UNROLL _Pragma("GCC unroll 16")
#endif

BLM_NEON_INLINE float32x4_t blm_neon_f32_of_f16(uint16x4_t half)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(half));
}

BLM_NEON_INLINE float blm_neon_f16(const uint8_t *p)
{
    return vgetq_lane_f32(blm_neon_f32_of_f16(vdup_n_u16(blm_load_u16(p))), 0);
}

/* Up to `step` rows from r; where there are fewer, the last one again: it is computed in
 * vain, and nothing outside the tensor is read. */
BLM_NEON_INLINE void blm_neon_rows(const blm_matmul_args *a, uint64_t r, uint64_t row1,
                                   uint32_t step, const uint8_t **rows)
{
    for (uint32_t i = 0; i < step; i++)
        rows[i] = a->w->data + BLM_MIN(r + i, row1 - 1) * a->w->row_bytes;
}

/* Floats at `at` of a row in a file, n of them, 4 but at the end; missing ones are 0. */
BLM_NEON_INLINE float32x4_t blm_neon_floats(uint32_t type, const uint8_t *row, size_t at,
                                            size_t n)
{
    const size_t size = type == BLM_F32 ? 4 : 2;
    const uint8_t *p = row + at * size;
    uint8_t rest[16] = {0};
    if (n < 4) {
        memcpy(rest, p, n * size);
        p = rest;
    }
    if (type == BLM_F32) return vreinterpretq_f32_u8(vld1q_u8(p));
    uint16x4_t half = vreinterpret_u16_u8(vld1_u8(p));
    if (type == BLM_F16) return blm_neon_f32_of_f16(half);
    return vreinterpretq_f32_u32(vshll_n_u16(half, 16));
}

/* Floats in memory, the same. */
BLM_NEON_INLINE float32x4_t blm_neon_get(const float *x, size_t i, size_t n)
{
    if (n - i >= 4) return vld1q_f32(x + i);
    return blm_neon_floats(BLM_F32, (const uint8_t *)x, i, n - i);
}

BLM_NEON_INLINE void blm_neon_put(float *x, size_t i, size_t n, float32x4_t v)
{
    if (n - i >= 4) {
        vst1q_f32(x + i, v);
    } else {
        float rest[4];
        vst1q_f32(rest, v);
        memcpy(x + i, rest, (n - i) * sizeof *rest);
    }
}

/* e^x as blm_expf: 0 below -87.34, infinity above 88.72, NaN for NaN. */
BLM_NEON_INLINE float32x4_t blm_neon_exp(float32x4_t x)
{
    const float32x4_t lowest = vdupq_n_f32(-87.336544f);
    float32x4_t v = vmaxq_f32(vminq_f32(x, vdupq_n_f32(89)), lowest);
    float32x4_t n = vrndnq_f32(vmulq_n_f32(v, 1.44269504f));
    float32x4_t r = vfmsq_n_f32(v, n, 0.693359375f);
    r = vfmaq_n_f32(r, n, 2.12194440e-4f);
    float32x4_t p = vdupq_n_f32(1.9875691e-4f);
    p = vfmaq_f32(vdupq_n_f32(1.3981999e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(8.3334519e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(4.1665796e-2f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.6666665e-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(5.0000001e-1f), p, r);
    p = vaddq_f32(vfmaq_f32(r, vmulq_f32(p, r), r), vdupq_n_f32(1));
    /* times 2^n in two factors: n may be 128 */
    int32x4_t k = vcvtq_s32_f32(n), k1 = vshrq_n_s32(k, 1), k2 = vsubq_s32(k, k1);
    const int32x4_t bias = vdupq_n_s32(127);
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(k1, bias), 23)));
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(k2, bias), 23)));
    uint32x4_t below = vcltq_f32(x, lowest);
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(p), below));
}

/* The sums of four vectors' lanes. */
BLM_NEON_INLINE float32x4_t blm_neon_sum4_f32(const float32x4_t *v)
{
    return vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3]));
}

/* What each of the other files overwrites. */
BLM_PRIVATE void blm_kernels_neon_matmul(blm_kernels *k);
BLM_PRIVATE void blm_kernels_neon_attend(blm_kernels *k);

#endif
#endif
