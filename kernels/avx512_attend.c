/* AVX-512 softmax and attention. */
#include "avx512.h"

#if defined(__x86_64__) || defined(__i386__)

/* Lanes past the end take part as -infinity, whose exponential is 0. */
BLM_AVX512_INLINE __m512 blm_avx512_get_or_lowest(const float *x, size_t i, size_t n)
{
    const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
    if (n - i >= 16) return _mm512_loadu_ps(x + i);
    return _mm512_mask_loadu_ps(lowest, blm_avx512_mask(n - i), x + i);
}

BLM_AVX512 static void blm_avx512_softmax(float *x, uint32_t n)
{
    __m512 most = _mm512_set1_ps(-__builtin_inff()), sum = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16)
        most = _mm512_max_ps(blm_avx512_get_or_lowest(x, i, n), most);
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_exp(_mm512_sub_ps(blm_avx512_get_or_lowest(x, i, n), most));
        sum = _mm512_add_ps(sum, v);
        blm_avx512_put(x, i, n, v);
    }
    const __m512 factor = _mm512_set1_ps(1 / _mm512_reduce_add_ps(sum));
    for (size_t i = 0; i < n; i += 16)
        blm_avx512_put(x, i, n, _mm512_mul_ps(blm_avx512_get(x, i, n), factor));
}

/* Lane i of the result is the sum of v[i], the same additions for each. */
BLM_AVX512_INLINE __m512 blm_avx512_sum16(const __m512 *v)
{
    __m512 r[4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m512 *a = v + i * 4;
        __m512 s =
            _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
        __m512 t =
            _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
        __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(s), _mm512_castps_pd(t));
        __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(s), _mm512_castps_pd(t));
        r[i] = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    }
    __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(r[0], r[1], 0x88),
                             _mm512_shuffle_f32x4(r[0], r[1], 0xDD));
    __m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(r[2], r[3], 0x88),
                             _mm512_shuffle_f32x4(r[2], r[3], 0xDD));
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}

enum { BLM_AVX512_QUERIES = 4, BLM_AVX512_MOST_CHUNKS = 5 };

/* Dimensions [d, d + n) of 16 / queries keys with `queries` queries from i, lanes along d. */
BLM_AVX512_INLINE void blm_avx512_score_step(const blm_attend_args *a, uint32_t type,
                                             uint32_t i, uint32_t queries,
                                             const uint8_t *const *row, uint32_t d, uint32_t n,
                                             __m512 *sum)
{
    const uint32_t keys = 16 / queries;
    __m512 q[BLM_AVX512_QUERIES];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++)
        q[t] = blm_avx512_get(a->q + (i + t) * a->q_stride, d, d + n);
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < keys; r++) {
        __m512 key = blm_avx512_floats(type, row[r], d, n);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < queries; t++)
            sum[t * keys + r] = _mm512_fmadd_ps(key, q[t], sum[t * keys + r]);
    }
}

/* 16 / queries keys from j: scores[query][j ...]. Past the last key the last one is taken
 * again. */
BLM_AVX512_INLINE void blm_avx512_score_tile(const blm_attend_args *a, uint32_t type,
                                             uint32_t i, uint32_t queries, uint32_t j,
                                             uint32_t last, size_t stride)
{
    const uint32_t keys = 16 / queries;
    const uint8_t *row[16];
    __m512 sum[16];
    uint32_t d = 0;
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < 16; r++)
        sum[r] = _mm512_setzero_ps();
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < keys; r++)
        row[r] = a->k + BLM_MIN(j + r, last) * a->k_stride;
    for (; d + 16 <= a->head_dim; d += 16)
        blm_avx512_score_step(a, type, i, queries, row, d, 16, sum);
    if (d < a->head_dim)
        blm_avx512_score_step(a, type, i, queries, row, d, a->head_dim - d, sum);
    __m512 scores = blm_avx512_sum16(sum);
    float *out = a->scores + j;
    if (queries == 1) {
        _mm512_storeu_ps(out, scores);
    } else {
        _mm_storeu_ps(out, _mm512_castps512_ps128(scores));
        _mm_storeu_ps(out + stride, _mm512_extractf32x4_ps(scores, 1));
        _mm_storeu_ps(out + 2 * stride, _mm512_extractf32x4_ps(scores, 2));
        _mm_storeu_ps(out + 3 * stride, _mm512_extractf32x4_ps(scores, 3));
    }
}

/* Multiplies p[query][j] with the f16 scale of row j. */
BLM_AVX512_INLINE void blm_avx512_apply_scales(float *p, size_t stride, uint32_t queries,
                                               uint32_t keys, const uint8_t *scale,
                                               size_t scale_stride)
{
    for (uint32_t j = 0; j < keys; j += 16) {
        uint16_t half[16] = {0};
        for (uint32_t r = 0; r < 16 && j + r < keys; r++)
            half[r] = blm_load_u16(scale + (j + r) * scale_stride);
        __m512 factor = _mm512_cvtph_ps(blm_avx512_load32(half));
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < queries; t++) {
            float *at = p + t * stride + j;
            _mm512_storeu_ps(at, _mm512_mul_ps(_mm512_loadu_ps(at), factor));
        }
    }
}

/* out[query][d .. d + 16 chunks) = sum over keys [j0, j1) of p[query][j] v[j], added to what
 * is there when j0 > 0. `n` lanes of the last chunk are real. */
BLM_AVX512_INLINE void blm_avx512_value_tile(const blm_attend_args *a, uint32_t type,
                                             uint32_t i, uint32_t queries, uint32_t j0,
                                             uint32_t j1, uint32_t d, uint32_t chunks,
                                             uint32_t n, const float *p, size_t stride)
{
    __m512 sum[BLM_AVX512_QUERIES][BLM_AVX512_MOST_CHUNKS];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        const float *out = a->out + (i + t) * a->out_stride;
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            sum[t][c] = j0 ? blm_avx512_get(out, d + c * 16, a->head_dim) : _mm512_setzero_ps();
    }
    for (uint32_t j = j0; j < j1; j++) {
        const uint8_t *row = a->v + j * a->v_stride;
        __m512 v[BLM_AVX512_MOST_CHUNKS];
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            v[c] = blm_avx512_floats(type, row, d + c * 16, c + 1 < chunks ? 16 : n);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < queries; t++) {
            __m512 weight = _mm512_set1_ps(p[t * stride + j]);
            BLM_AVX512_UNROLL
            for (uint32_t c = 0; c < chunks; c++)
                sum[t][c] = _mm512_fmadd_ps(weight, v[c], sum[t][c]);
        }
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        float *out = a->out + (i + t) * a->out_stride;
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            blm_avx512_put(out, d + c * 16, a->head_dim, sum[t][c]);
    }
}

/* All dimensions, by fives, fours, threes and ones: one alone waits for itself. */
BLM_AVX512_INLINE void blm_avx512_values(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, uint32_t j0, uint32_t j1,
                                         const float *p, size_t stride)
{
    for (uint32_t d = 0; d < a->head_dim;) {
        uint32_t left = (a->head_dim - d + 15) / 16;
        uint32_t chunks = left == 5 ? 5 : left == 4 || left >= 7 ? 4 : left >= 3 ? 3 : 1;
        uint32_t n = BLM_MIN(a->head_dim - d - (chunks - 1) * 16, 16);
        if (chunks == 5)
            blm_avx512_value_tile(a, type, i, queries, j0, j1, d, 5, n, p, stride);
        else if (chunks == 4)
            blm_avx512_value_tile(a, type, i, queries, j0, j1, d, 4, n, p, stride);
        else if (chunks == 3)
            blm_avx512_value_tile(a, type, i, queries, j0, j1, d, 3, n, p, stride);
        else
            blm_avx512_value_tile(a, type, i, queries, j0, j1, d, 1, n, p, stride);
        d += chunks * 16;
    }
}

/* Queries [i, i + queries). Where each sees one key more than the one before, the keys that
 * all see are taken together, and each query's own ones after them. */
BLM_AVX512_INLINE void blm_avx512_attend_group(const blm_attend_args *a, uint32_t type,
                                               uint32_t i, uint32_t queries)
{
    uint32_t shared = a->keys + i * a->keys_step, most = shared + (queries - 1) * a->keys_step;
    size_t stride = ((size_t)most + 15) / 16 * 16;
    for (uint32_t j = 0; j < most; j += 16 / queries)
        blm_avx512_score_tile(a, type, i, queries, j, most - 1, stride);
    if (type == BLM_AVX512_INT8)
        blm_avx512_apply_scales(a->scores, stride, queries, most, a->k_scale,
                                a->k_scale_stride);
    for (uint32_t t = 0; t < queries; t++)
        blm_avx512_softmax(a->scores + t * stride, shared + t * a->keys_step);
    if (type == BLM_AVX512_INT8)
        blm_avx512_apply_scales(a->scores, stride, queries, most, a->v_scale,
                                a->v_scale_stride);
    blm_avx512_values(a, type, i, queries, 0, shared, a->scores, stride);
    for (uint32_t t = 1; t < queries && a->keys_step; t++)
        blm_avx512_values(a, type, i + t, 1, shared, shared + t * a->keys_step,
                          a->scores + t * stride, stride);
}

BLM_AVX512_INLINE void blm_avx512_attend(const blm_attend_args *a, uint32_t type)
{
    uint32_t i = 0;
    for (; i + BLM_AVX512_QUERIES <= a->queries; i += BLM_AVX512_QUERIES)
        blm_avx512_attend_group(a, type, i, BLM_AVX512_QUERIES);
    for (; i < a->queries; i++)
        blm_avx512_attend_group(a, type, i, 1);
}

BLM_AVX512 static void blm_avx512_attend_f32(const blm_attend_args *a)
{
    blm_avx512_attend(a, BLM_F32);
}

BLM_AVX512 static void blm_avx512_attend_f16(const blm_attend_args *a)
{
    blm_avx512_attend(a, BLM_F16);
}

BLM_AVX512 static void blm_avx512_attend_q8(const blm_attend_args *a)
{
    blm_avx512_attend(a, BLM_AVX512_INT8);
}

BLM_PRIVATE void blm_kernels_avx512_attend(blm_kernels *k)
{
    k->softmax = blm_avx512_softmax;
    k->attend_f32 = blm_avx512_attend_f32;
    k->attend_f16 = blm_avx512_attend_f16;
    k->attend_q8 = blm_avx512_attend_q8;
}

#endif
