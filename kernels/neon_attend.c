/* NEON softmax and attention. */
#include "neon.h"

#ifdef BLM_HAVE_NEON

static void blm_neon_softmax(float *x, uint32_t n)
{
    float32x4_t most4 = vdupq_n_f32(x[0]), sum = vdupq_n_f32(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        most4 = vmaxnmq_f32(most4, vld1q_f32(x + i));
    float most = vmaxnmvq_f32(most4), rest = 0;
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (i = 0; i + 4 <= n; i += 4) {
        float32x4_t v = blm_neon_exp(vsubq_f32(vld1q_f32(x + i), vdupq_n_f32(most)));
        sum = vaddq_f32(sum, v);
        vst1q_f32(x + i, v);
    }
    for (; i < n; i++)
        rest += x[i] = blm_expf(x[i] - most);
    float factor = 1 / (vaddvq_f32(sum) + rest);
    for (i = 0; i < n; i += 4)
        blm_neon_put(x, i, n, vmulq_n_f32(blm_neon_get(x, i, n), factor));
}

enum { BLM_NEON_INT8 = 1000 }; /* a type beside BLM_F32 and BLM_F16 */

/* n values (8 but at the end of a row) of a key or value from dimension d on. */
BLM_NEON_INLINE void blm_neon_row(uint32_t type, const uint8_t *row, uint32_t d, uint32_t n,
                                  float32x4_t out[2])
{
    if (type != BLM_NEON_INT8) {
        out[0] = blm_neon_floats(type, row, d, BLM_MIN(n, 4));
        out[1] = n > 4 ? blm_neon_floats(type, row, d + 4, n - 4) : vdupq_n_f32(0);
        return;
    }
    uint8_t rest[8] = {0};
    const uint8_t *p = row + d;
    if (n < 8) {
        memcpy(rest, p, n);
        p = rest;
    }
    int16x8_t wide = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
    out[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
    out[1] = vcvtq_f32_s32(vmovl_high_s16(wide));
}

/* Dimensions [d, d + n) of four keys with `queries` queries from i, lanes along d. */
BLM_NEON_INLINE void blm_neon_score_step(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, const uint8_t *const *row,
                                         uint32_t d, uint32_t n, float32x4_t sum[4][4])
{
    float32x4_t q[4][2];
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < queries; t++)
        blm_neon_row(BLM_F32, (const uint8_t *)(a->q + (i + t) * a->q_stride), d, n, q[t]);
    BLM_NEON_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        float32x4_t key[2];
        blm_neon_row(type, row[r], d, n, key);
        BLM_NEON_UNROLL
        for (uint32_t t = 0; t < queries; t++)
            sum[t][r] = vfmaq_f32(vfmaq_f32(sum[t][r], key[0], q[t][0]), key[1], q[t][1]);
    }
}

/* Four keys from j: scores[query][j .. j + 3]. Past the last key the last one is taken
 * again. */
BLM_NEON_INLINE void blm_neon_score_tile(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, uint32_t j, uint32_t last,
                                         size_t stride)
{
    const uint8_t *row[4];
    float32x4_t sum[4][4];
    float scale[4];
    uint32_t d = 0;
    BLM_NEON_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        size_t key = BLM_MIN(j + r, last);
        row[r] = a->k + key * a->k_stride;
        if (type == BLM_NEON_INT8)
            scale[r] = blm_neon_f16(a->k_scale + key * a->k_scale_stride);
        BLM_NEON_UNROLL
        for (uint32_t t = 0; t < queries; t++)
            sum[t][r] = vdupq_n_f32(0);
    }
    for (; d + 8 <= a->head_dim; d += 8)
        blm_neon_score_step(a, type, i, queries, row, d, 8, sum);
    if (d < a->head_dim) blm_neon_score_step(a, type, i, queries, row, d, a->head_dim - d, sum);
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        float32x4_t score = blm_neon_sum4_f32(sum[t]);
        if (type == BLM_NEON_INT8) score = vmulq_f32(score, vld1q_f32(scale));
        vst1q_f32(a->scratch + t * stride + j, score);
    }
}

/* out[query][d .. d + n) = sum over keys [j0, j1) of p[query][j] v[j], added to what is
 * there when `begun`. n is 8 but at the end of a row. */
BLM_NEON_INLINE void blm_neon_value_tile(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, uint32_t j0, uint32_t j1, uint32_t d,
                                         uint32_t n, const float *p, size_t stride, int begun)
{
    float32x4_t sum[4][2];
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        sum[t][0] = sum[t][1] = vdupq_n_f32(0);
        if (begun)
            blm_neon_row(BLM_F32, (const uint8_t *)(a->out + (i + t) * a->out_stride), d, n,
                         sum[t]);
    }
    for (uint32_t j = j0; j < j1; j++) {
        float32x4_t v[2];
        blm_neon_row(type, a->v + j * a->v_stride, d, n, v);
        BLM_NEON_UNROLL
        for (uint32_t t = 0; t < queries; t++) {
            sum[t][0] = vfmaq_n_f32(sum[t][0], v[0], p[t * stride + j]);
            sum[t][1] = vfmaq_n_f32(sum[t][1], v[1], p[t * stride + j]);
        }
    }
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        float *out = a->out + (i + t) * a->out_stride;
        blm_neon_put(out, d, a->head_dim, sum[t][0]);
        if (n > 4) blm_neon_put(out, d + 4, a->head_dim, sum[t][1]);
    }
}

BLM_NEON_INLINE void blm_neon_values(const blm_attend_args *a, uint32_t type, uint32_t i,
                                     uint32_t queries, uint32_t j0, uint32_t j1, const float *p,
                                     size_t stride, int begun)
{
    uint32_t d = 0;
    for (; d + 8 <= a->head_dim; d += 8)
        blm_neon_value_tile(a, type, i, queries, j0, j1, d, 8, p, stride, begun);
    if (d < a->head_dim)
        blm_neon_value_tile(a, type, i, queries, j0, j1, d, a->head_dim - d, p, stride, begun);
}

/* Queries [i, i + queries). Where each begins or ends one key behind the one before, the keys
 * that all see are taken together, and each query's own ones before and after them. */
BLM_NEON_INLINE void blm_neon_attend_group(const blm_attend_args *a, uint32_t type, uint32_t i,
                                           uint32_t queries)
{
    const blm_attend_span shared = blm_attend_shared(a, i, queries);
    const uint32_t most = blm_attend_sees(a, i + queries - 1).end;
    const size_t stride = ((size_t)most + 3) / 4 * 4;
    for (uint32_t j = blm_attend_sees(a, i).from / 4 * 4; j < most; j += 4)
        blm_neon_score_tile(a, type, i, queries, j, most - 1, stride);
    for (uint32_t t = 0; t < queries; t++) {
        const blm_attend_span sees = blm_attend_sees(a, i + t);
        float *p = a->scratch + t * stride;
        blm_neon_softmax(p + sees.from, sees.end - sees.from);
        for (uint32_t j = sees.from; type == BLM_NEON_INT8 && j < sees.end; j++)
            p[j] *= blm_neon_f16(a->v_scale + j * a->v_scale_stride);
    }
    if (a->skip_step) blm_attend_clear(a, i, queries);
    for (int behind = 0; behind < 2; behind++) {
        for (uint32_t t = 0; t < queries && queries > 1; t++) {
            const blm_attend_span own =
                blm_attend_own(blm_attend_sees(a, i + t), shared, behind);
            if (own.from < own.end)
                blm_neon_values(a, type, i + t, 1, own.from, own.end, a->scratch + t * stride,
                                stride, 1);
        }
        if (!behind && shared.from < shared.end)
            blm_neon_values(a, type, i, queries, shared.from, shared.end, a->scratch, stride,
                            a->skip_step != 0);
    }
}

BLM_NEON_INLINE void blm_neon_attend(const blm_attend_args *a, uint32_t type)
{
    uint32_t i = 0;
    for (; i + 4 <= a->queries; i += 4)
        blm_neon_attend_group(a, type, i, 4);
    for (; i < a->queries; i++)
        blm_neon_attend_group(a, type, i, 1);
}

static void blm_neon_attend_f32(const blm_attend_args *a)
{
    blm_neon_attend(a, BLM_F32);
}

static void blm_neon_attend_f16(const blm_attend_args *a)
{
    blm_neon_attend(a, BLM_F16);
}

static void blm_neon_attend_q8(const blm_attend_args *a)
{
    blm_neon_attend(a, BLM_NEON_INT8);
}

BLM_PRIVATE void blm_kernels_neon_attend(blm_kernels *k)
{
    k->softmax = blm_neon_softmax;
    k->attend_f32 = k->attend_i16 = blm_neon_attend_f32;
    k->attend_f16 = blm_neon_attend_f16;
    k->attend_q8 = blm_neon_attend_q8;
}

#endif
