/* AVX2 softmax and attention. */
#include "avx2.h"

#ifdef BLM_HAVE_X86

/* Lanes past the end take part as -infinity, whose exponential is 0. */
BLM_AVX2_INLINE __m256 blm_avx2_get_or_lowest(const float *x, size_t i, size_t n)
{
    const __m256 lowest = _mm256_set1_ps(-__builtin_inff());
    if (n - i >= 8) return _mm256_loadu_ps(x + i);
    __m256i mask = blm_avx2_mask((uint32_t)(n - i));
    return _mm256_blendv_ps(lowest, _mm256_maskload_ps(x + i, mask), _mm256_castsi256_ps(mask));
}

BLM_AVX2 void blm_avx2_softmax(float *x, uint32_t n)
{
    __m256 most = _mm256_set1_ps(-__builtin_inff()), sum = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8)
        most = _mm256_max_ps(blm_avx2_get_or_lowest(x, i, n), most);
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    most = _mm256_broadcastss_ps(_mm_max_ss(m, _mm_movehdup_ps(m)));
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = blm_avx2_exp(_mm256_sub_ps(blm_avx2_get_or_lowest(x, i, n), most));
        sum = _mm256_add_ps(sum, v);
        blm_avx2_put(x, i, n, v);
    }
    const __m256 factor = _mm256_set1_ps(1 / blm_avx2_sum(sum));
    for (size_t i = 0; i < n; i += 8)
        blm_avx2_put(x, i, n, _mm256_mul_ps(blm_avx2_get(x, i, n), factor));
}

enum { BLM_AVX2_QUERIES = 3, BLM_AVX2_INT8 = 1000 }; /* a type beside BLM_F32 and BLM_F16 */

/* n values (8 but at the end of a row) of a key or value from dimension d on. */
BLM_AVX2_INLINE __m256 blm_avx2_row(uint32_t type, const uint8_t *row, uint32_t d, uint32_t n)
{
    if (type != BLM_AVX2_INT8) return blm_avx2_floats(type, row, d, n);
    uint8_t rest[8] = {0};
    const uint8_t *p = row + d;
    if (n < 8) {
        memcpy(rest, p, n);
        p = rest;
    }
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* Dimensions [d, d + n) of four keys with `queries` queries from i, lanes along d. */
BLM_AVX2_INLINE void blm_avx2_score_step(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, const uint8_t *const *row,
                                         uint32_t d, uint32_t n,
                                         __m256 sum[BLM_AVX2_QUERIES][4])
{
    __m256 q[BLM_AVX2_QUERIES];
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++)
        q[t] = blm_avx2_get(a->q + (i + t) * a->q_stride, d, d + n);
    BLM_AVX2_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        __m256 key = blm_avx2_row(type, row[r], d, n);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < queries; t++)
            sum[t][r] = _mm256_fmadd_ps(key, q[t], sum[t][r]);
    }
}

/* Four keys from j: scores[query][j .. j + 3]. Past the last key the last one is taken
 * again. */
BLM_AVX2_INLINE void blm_avx2_score_tile(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, uint32_t j, uint32_t last,
                                         size_t stride)
{
    const uint8_t *row[4];
    __m256 sum[BLM_AVX2_QUERIES][4];
    float scale[4];
    uint32_t d = 0;
    BLM_AVX2_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        size_t key = BLM_MIN(j + r, last);
        row[r] = a->k + key * a->k_stride;
        if (type == BLM_AVX2_INT8)
            scale[r] = blm_avx2_f16(a->k_scale + key * a->k_scale_stride);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < queries; t++)
            sum[t][r] = _mm256_setzero_ps();
    }
    for (; d + 8 <= a->head_dim; d += 8)
        blm_avx2_score_step(a, type, i, queries, row, d, 8, sum);
    if (d < a->head_dim) blm_avx2_score_step(a, type, i, queries, row, d, a->head_dim - d, sum);
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        __m128 score = blm_avx2_sum4(sum[t][0], sum[t][1], sum[t][2], sum[t][3]);
        if (type == BLM_AVX2_INT8) score = _mm_mul_ps(score, _mm_loadu_ps(scale));
        _mm_storeu_ps(a->scratch + t * stride + j, score);
    }
}

/* out[query][d .. d + 8 chunks) = sum over keys [j0, j1) of p[query][j] v[j], added to what
 * is there when `begun`. `n` lanes of the last chunk are real. */
BLM_AVX2_INLINE void blm_avx2_value_tile(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, uint32_t j0, uint32_t j1, uint32_t d,
                                         uint32_t chunks, uint32_t n, const float *p,
                                         size_t stride, int begun)
{
    __m256 sum[BLM_AVX2_QUERIES][4];
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        const float *out = a->out + (i + t) * a->out_stride;
        BLM_AVX2_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            sum[t][c] = begun ? blm_avx2_get(out, d + c * 8, a->head_dim) : _mm256_setzero_ps();
    }
    for (uint32_t j = j0; j < j1; j++) {
        const uint8_t *row = a->v + j * a->v_stride;
        __m256 v[4];
        BLM_AVX2_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            v[c] = blm_avx2_row(type, row, d + c * 8, n);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < queries; t++) {
            __m256 weight = _mm256_set1_ps(p[t * stride + j]);
            BLM_AVX2_UNROLL
            for (uint32_t c = 0; c < chunks; c++)
                sum[t][c] = _mm256_fmadd_ps(weight, v[c], sum[t][c]);
        }
    }
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        float *out = a->out + (i + t) * a->out_stride;
        BLM_AVX2_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            blm_avx2_put(out, d + c * 8, a->head_dim, sum[t][c]);
    }
}

BLM_AVX2_INLINE void blm_avx2_values(const blm_attend_args *a, uint32_t type, uint32_t i,
                                     uint32_t queries, uint32_t j0, uint32_t j1, const float *p,
                                     size_t stride, int begun)
{
    uint32_t d = 0;
    while (a->head_dim - d >= 8) { /* by fours and threes: one alone waits for itself */
        uint32_t left = (a->head_dim - d) / 8;
        if (left == 4 || left == 7 || left == 8 || left >= 10) {
            blm_avx2_value_tile(a, type, i, queries, j0, j1, d, 4, 8, p, stride, begun);
            d += 32;
        } else if (left >= 3) {
            blm_avx2_value_tile(a, type, i, queries, j0, j1, d, 3, 8, p, stride, begun);
            d += 24;
        } else {
            blm_avx2_value_tile(a, type, i, queries, j0, j1, d, 1, 8, p, stride, begun);
            d += 8;
        }
    }
    if (d < a->head_dim)
        blm_avx2_value_tile(a, type, i, queries, j0, j1, d, 1, a->head_dim - d, p, stride,
                            begun);
}

/* Queries [i, i + queries). Where each begins or ends one key behind the one before, the keys
 * that all see are taken together, and each query's own ones before and after them. */
BLM_AVX2_INLINE void blm_avx2_attend_group(const blm_attend_args *a, uint32_t type, uint32_t i,
                                           uint32_t queries)
{
    const blm_attend_span shared = blm_attend_shared(a, i, queries);
    const uint32_t most = blm_attend_sees(a, i + queries - 1).end;
    const size_t stride = ((size_t)most + 3) / 4 * 4;
    for (uint32_t j = blm_attend_sees(a, i).from / 4 * 4; j < most; j += 4)
        blm_avx2_score_tile(a, type, i, queries, j, most - 1, stride);
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        const blm_attend_span sees = blm_attend_sees(a, i + t);
        float *p = a->scratch + t * stride;
        blm_avx2_softmax(p + sees.from, sees.end - sees.from);
        for (uint32_t j = sees.from; type == BLM_AVX2_INT8 && j < sees.end; j++)
            p[j] *= blm_avx2_f16(a->v_scale + j * a->v_scale_stride);
    }
    if (a->skip_step) blm_attend_clear(a, i, queries);
    for (int behind = 0; behind < 2; behind++) {
        for (uint32_t t = 0; t < queries && queries > 1; t++) {
            const blm_attend_span own =
                blm_attend_own(blm_attend_sees(a, i + t), shared, behind);
            if (own.from < own.end)
                blm_avx2_values(a, type, i + t, 1, own.from, own.end, a->scratch + t * stride,
                                stride, 1);
        }
        if (!behind && shared.from < shared.end)
            blm_avx2_values(a, type, i, queries, shared.from, shared.end, a->scratch, stride,
                            a->skip_step != 0);
    }
}

BLM_AVX2_INLINE void blm_avx2_attend(const blm_attend_args *a, uint32_t type)
{
    uint32_t i = 0;
    for (; i + BLM_AVX2_QUERIES <= a->queries; i += BLM_AVX2_QUERIES)
        blm_avx2_attend_group(a, type, i, BLM_AVX2_QUERIES);
    for (; i < a->queries; i++)
        blm_avx2_attend_group(a, type, i, 1);
}

BLM_AVX2 void blm_avx2_attend_f32(const blm_attend_args *a)
{
    blm_avx2_attend(a, BLM_F32);
}

BLM_AVX2 void blm_avx2_attend_f16(const blm_attend_args *a)
{
    blm_avx2_attend(a, BLM_F16);
}

BLM_AVX2 void blm_avx2_attend_q8(const blm_attend_args *a)
{
    blm_avx2_attend(a, BLM_AVX2_INT8);
}

BLM_PRIVATE void blm_kernels_avx2_attend(blm_kernels *k)
{
    k->softmax = blm_avx2_softmax;
    k->attend_f32 = k->attend_i16 = blm_avx2_attend_f32;
    k->attend_f16 = blm_avx2_attend_f16;
    k->attend_q8 = blm_avx2_attend_q8;
}

#endif
