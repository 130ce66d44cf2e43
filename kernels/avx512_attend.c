/* AVX-512 softmax and attention. */
#include "avx512_weigh.h"

#ifdef BLM_HAVE_X86

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

/* a + b, of integers or of floats. */
BLM_AVX512_INLINE __m512 blm_avx512_add_as(int integers, __m512 a, __m512 b)
{
    if (!integers) return _mm512_add_ps(a, b);
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}

/* Lane i of the result is the sum of v[i], the same additions for each. */
BLM_AVX512_INLINE __m512 blm_avx512_sum16(int integers, const __m512 *v)
{
    __m512 r[4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m512 *a = v + i * 4;
        __m512 s = blm_avx512_add_as(integers, _mm512_unpacklo_ps(a[0], a[1]),
                                     _mm512_unpackhi_ps(a[0], a[1]));
        __m512 t = blm_avx512_add_as(integers, _mm512_unpacklo_ps(a[2], a[3]),
                                     _mm512_unpackhi_ps(a[2], a[3]));
        __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(s), _mm512_castps_pd(t));
        __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(s), _mm512_castps_pd(t));
        r[i] = blm_avx512_add_as(integers, _mm512_castpd_ps(low), _mm512_castpd_ps(high));
    }
    __m512 a = blm_avx512_add_as(integers, _mm512_shuffle_f32x4(r[0], r[1], 0x88),
                                 _mm512_shuffle_f32x4(r[0], r[1], 0xDD));
    __m512 b = blm_avx512_add_as(integers, _mm512_shuffle_f32x4(r[2], r[3], 0x88),
                                 _mm512_shuffle_f32x4(r[2], r[3], 0xDD));
    return blm_avx512_add_as(integers, _mm512_shuffle_f32x4(a, b, 0x88),
                             _mm512_shuffle_f32x4(a, b, 0xDD));
}

/* Queries that go together, keys of a block, and vectors of an output row that are summed
 * at once. */
enum { BLM_AVX512_QUERIES = 4, BLM_AVX512_KEYS = BLM_ATTEND_BLOCK, BLM_AVX512_MOST_CHUNKS = 5 };

/* From here on it pays to turn keys and values into panels. */
enum { BLM_AVX512_MANY = 8 };

/* Up to four queries, from `first`, on their way through the keys, block by block: what a
 * block weighs depends on the greatest score so far, and when that grows, the weights and
 * outputs summed before are brought down to it. */
typedef struct blm_avx512_group {
    const blm_attend_args *a;
    uint32_t first, count;
    uint32_t begin;                               /* the first block's first key */
    float p[BLM_AVX512_QUERIES][BLM_AVX512_KEYS]; /* scores, then weights, of a block */
    float most[BLM_AVX512_QUERIES], sum[BLM_AVX512_QUERIES], fade[BLM_AVX512_QUERIES];
    const uint8_t *k_ahead, *v_ahead; /* the next block's first rows */
    /* For int8 rows, queries and a block's weights as int16 times a scale. */
    int16_t *q; /* [count][q_stride]: head_dim and zeros */
    uint32_t q_stride;
    int16_t w[BLM_AVX512_QUERIES][BLM_AVX512_KEYS];
    float q_scale[BLM_AVX512_QUERIES], w_scale[BLM_AVX512_QUERIES];
} blm_avx512_group;

/* Asks for row r of those at `rows`. */
BLM_AVX512_INLINE void blm_avx512_row_ahead(const uint8_t *rows, size_t stride,
                                            uint32_t row_bytes, uint32_t r)
{
    blm_avx512_ask((const void *)((uintptr_t)rows + r * stride), row_bytes);
}

/* Dimensions [d, d + n) of 16 / queries keys with `queries` queries, lanes along d. */
BLM_AVX512_INLINE void blm_avx512_score_step(const blm_avx512_group *g, uint32_t type,
                                             uint32_t queries, const uint8_t *const *row,
                                             uint32_t d, uint32_t n, __m512 *sum)
{
    const blm_attend_args *a = g->a;
    const uint32_t keys = 16 / queries;
    __m512 q[BLM_AVX512_QUERIES];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        uint32_t i = g->first + BLM_MIN(t, g->count - 1);
        q[t] = blm_avx512_get(a->q + i * a->q_stride, d, d + n);
    }
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < keys; r++) {
        __m512 key = blm_avx512_floats(type, row[r], d, n);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < queries; t++)
            sum[t * keys + r] = _mm512_fmadd_ps(key, q[t], sum[t * keys + r]);
    }
}

/* The same for int8 rows, at most 32 dimensions, in int32. */
BLM_AVX512_INLINE void blm_avx512_score_step_q8(const blm_avx512_group *g, uint32_t queries,
                                                const uint8_t *const *row, uint32_t d,
                                                __mmask32 mask, __m512 *sum)
{
    const uint32_t keys = 16 / queries;
    __m512i q[BLM_AVX512_QUERIES];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++)
        q[t] = _mm512_loadu_si512(g->q + (size_t)BLM_MIN(t, g->count - 1) * g->q_stride + d);
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < keys; r++) {
        __m512i key = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, row[r] + d));
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < queries; t++) {
            __m512i s = _mm512_castps_si512(sum[t * keys + r]);
            sum[t * keys + r] = _mm512_castsi512_ps(_mm512_dpwssd_epi32(s, key, q[t]));
        }
    }
}

/* Scores of 16 / queries keys, r and on of the block at j0. Past the last key the last one is
 * taken again. */
BLM_AVX512_INLINE void blm_avx512_score_tile(blm_avx512_group *g, uint32_t type,
                                             uint32_t queries, uint32_t j0, uint32_t r0,
                                             uint32_t last)
{
    const uint32_t keys = 16 / queries, head_dim = g->a->head_dim;
    const uint32_t row_bytes = head_dim * blm_avx512_size(type);
    const uint8_t *row[16];
    __m512 sum[16];
    uint32_t d = 0;
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < 16; r++)
        sum[r] = _mm512_setzero_ps();
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < keys; r++) {
        row[r] = g->a->k + (size_t)BLM_MIN(j0 + r0 + r, last) * g->a->k_stride;
        blm_avx512_row_ahead(g->k_ahead, g->a->k_stride, row_bytes, r0 + r);
    }
    if (type == BLM_AVX512_INT8) {
        for (; d < head_dim; d += 32)
            blm_avx512_score_step_q8(g, queries, row, d, blm_avx512_mask32(head_dim - d), sum);
    }
    for (; d + 16 <= head_dim; d += 16)
        blm_avx512_score_step(g, type, queries, row, d, 16, sum);
    if (d < head_dim) blm_avx512_score_step(g, type, queries, row, d, head_dim - d, sum);
    __m512 scores = blm_avx512_sum16(type == BLM_AVX512_INT8, sum);
    if (type == BLM_AVX512_INT8) scores = _mm512_cvtepi32_ps(_mm512_castps_si512(scores));
    if (queries == 1) {
        _mm512_storeu_ps(g->p[0] + r0, scores);
    } else {
        _mm_storeu_ps(g->p[0] + r0, _mm512_castps512_ps128(scores));
        _mm_storeu_ps(g->p[1] + r0, _mm512_extractf32x4_ps(scores, 1));
        _mm_storeu_ps(g->p[2] + r0, _mm512_extractf32x4_ps(scores, 2));
        _mm_storeu_ps(g->p[3] + r0, _mm512_extractf32x4_ps(scores, 3));
    }
}

/* The f16 scales of rows [j, j + 16), 0 from `end` on. */
BLM_AVX512_INLINE __m512 blm_avx512_row_scales(const uint8_t *scale, size_t stride, uint32_t j,
                                               uint32_t end)
{
    uint16_t half[16] = {0};
    if (stride == sizeof *half && end - j >= 16)
        return _mm512_cvtph_ps(blm_avx512_load32(scale + (size_t)j * sizeof *half));
    for (uint32_t r = 0; r < 16 && j + r < end; r++)
        half[r] = blm_load_u16(scale + (j + r) * stride);
    return _mm512_cvtph_ps(blm_avx512_load32(half));
}

/* Turns the scores of query t with the block at j0 into weights, e^(score - most). Keys that it
 * does not see weigh nothing. */
BLM_AVX512_INLINE void blm_avx512_weigh(blm_avx512_group *g, uint32_t t, uint32_t j0)
{
    const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
    const blm_attend_span seen = blm_avx512_span_of(g->a, g->first + t, j0);
    __m512 s[BLM_AVX512_KEYS / 16], most = _mm512_set1_ps(g->most[t]);
    __m512 sum = _mm512_setzero_ps();
    BLM_AVX512_UNROLL
    for (uint32_t i = 0; i < BLM_AVX512_KEYS / 16; i++) {
        uint32_t from = BLM_MIN(seen.from > i * 16 ? seen.from - i * 16 : 0, 16);
        uint32_t end = BLM_MIN(seen.end > i * 16 ? seen.end - i * 16 : 0, 16);
        __mmask16 sees = blm_avx512_mask(end) & (__mmask16)~blm_avx512_mask(from);
        s[i] = _mm512_mask_mov_ps(lowest, sees, _mm512_loadu_ps(g->p[t] + i * 16));
        most = _mm512_max_ps(s[i], most);
    }
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512 fade = blm_avx512_exp(_mm512_sub_ps(_mm512_set1_ps(g->most[t]), most));
    BLM_AVX512_UNROLL
    for (uint32_t i = 0; i < BLM_AVX512_KEYS / 16; i++) {
        s[i] = blm_avx512_exp(_mm512_sub_ps(s[i], most));
        sum = _mm512_add_ps(sum, s[i]);
        _mm512_storeu_ps(g->p[t] + i * 16, s[i]);
    }
    g->most[t] = _mm512_cvtss_f32(most);
    g->fade[t] = _mm512_cvtss_f32(fade);
    g->sum[t] = g->sum[t] * g->fade[t] + _mm512_reduce_add_ps(sum);
}

/* Queries of the group as int16, as large as products with int8 may be in int32. */
BLM_AVX512_INLINE void blm_avx512_round_queries(blm_avx512_group *g)
{
    const uint32_t n = g->a->head_dim;
    const float length = blm_avx512_int8_length(g->q_stride);
    memset(g->q, 0, (size_t)g->count * g->q_stride * sizeof *g->q);
    for (uint32_t t = 0; t < g->count; t++)
        g->q_scale[t] = blm_avx512_round_row(g->a->q + (g->first + t) * g->a->q_stride, n,
                                             length, g->q + (size_t)t * g->q_stride);
}

/* The f16 scales of the rows of the block at j0 in the order of lanes of weights, times `by`,
 * 0 from `end` on. */
BLM_AVX512_INLINE void blm_avx512_block_scales(const uint8_t *scale, size_t stride, uint32_t j0,
                                               uint32_t end, float by, float *out)
{
    BLM_AVX512_UNROLL
    for (uint32_t i = 0; i < 4; i += 2) {
        const uint32_t j = BLM_MIN(j0 + i * 16, end), next = BLM_MIN(j0 + i * 16 + 16, end);
        __m512 a = blm_avx512_row_scales(scale, stride, j, end);
        __m512 b = blm_avx512_row_scales(scale, stride, next, end);
        a = _mm512_mul_ps(a, _mm512_set1_ps(by));
        b = _mm512_mul_ps(b, _mm512_set1_ps(by));
        _mm512_storeu_ps(out + i * 16, _mm512_shuffle_f32x4(a, b, 0x88));
        _mm512_storeu_ps(out + i * 16 + 16, _mm512_shuffle_f32x4(a, b, 0xDD));
    }
}

/* The same with int8 rows, rounded to int16. */
BLM_AVX512_INLINE void blm_avx512_weigh_q8(blm_avx512_group *g, uint32_t queries, uint32_t j0,
                                           uint32_t end)
{
    const blm_attend_args *a = g->a;
    float k_scale[BLM_AVX512_KEYS], v_scale[BLM_AVX512_KEYS];
    __m512 s[BLM_AVX512_TILE][BLM_AVX512_TILE];
    blm_avx512_weights4 w;
    blm_avx512_block_scales(a->k_scale, a->k_scale_stride, j0, end, BLM_AVX512_TO_POWER,
                            k_scale);
    blm_avx512_block_scales(a->v_scale, a->v_scale_stride, j0, end, 1, v_scale);
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < 4; c += 2) {
            __m512 x = _mm512_loadu_ps(g->p[t] + c * 16);
            __m512 y = _mm512_loadu_ps(g->p[t] + c * 16 + 16);
            s[t][c] = _mm512_mul_ps(_mm512_shuffle_f32x4(x, y, 0x88),
                                    _mm512_loadu_ps(k_scale + c * 16));
            s[t][c + 1] = _mm512_mul_ps(_mm512_shuffle_f32x4(x, y, 0xDD),
                                        _mm512_loadu_ps(k_scale + c * 16 + 16));
        }
        blm_avx512_hide_others(blm_avx512_span_of(a, g->first + BLM_MIN(t, g->count - 1), j0),
                               s[t]);
    }
    const blm_avx512_queries q = {g->q_scale, g->most, g->sum, v_scale};
    blm_avx512_weigh_block(&q, (int)queries, s, &w);
    for (uint32_t t = 0; t < queries; t++) {
        _mm512_storeu_si512(g->w[t], w.w[t][0]);
        _mm512_storeu_si512(g->w[t] + 32, w.w[t][1]);
    }
    memcpy(g->fade, w.fade, sizeof g->fade);
    memcpy(g->w_scale, w.scale, sizeof g->w_scale);
}

/* out[query][d .. d + 16 chunks) = out * fade, but in the first block, + sum over keys [j0, j1)
 * of p[query][j] v[j]. `n` lanes of the last chunk are real. */
BLM_AVX512_INLINE void blm_avx512_value_tile(const blm_avx512_group *g, uint32_t type,
                                             uint32_t queries, uint32_t j0, uint32_t j1,
                                             uint32_t d, uint32_t chunks, uint32_t n)
{
    const blm_attend_args *a = g->a;
    const uint32_t row_bytes = a->head_dim * blm_avx512_size(type);
    __m512 sum[BLM_AVX512_QUERIES][BLM_AVX512_MOST_CHUNKS];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        const float *out = a->out + (g->first + BLM_MIN(t, g->count - 1)) * a->out_stride;
        const __m512 fade = _mm512_set1_ps(g->fade[t]);
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++) {
            sum[t][c] = j0 == g->begin ? _mm512_setzero_ps()
                                       : blm_avx512_get(out, d + c * 16, a->head_dim);
            sum[t][c] = _mm512_mul_ps(sum[t][c], fade);
        }
    }
    for (uint32_t j = j0; j < j1; j++) {
        const uint8_t *row = a->v + j * a->v_stride;
        __m512 v[BLM_AVX512_MOST_CHUNKS];
        if (d == 0) blm_avx512_row_ahead(g->v_ahead, a->v_stride, row_bytes, j - j0);
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            v[c] = blm_avx512_floats(type, row, d + c * 16, c + 1 < chunks ? 16 : n);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < queries; t++) {
            __m512 weight = _mm512_set1_ps(g->p[t][j - j0]);
            BLM_AVX512_UNROLL
            for (uint32_t c = 0; c < chunks; c++)
                sum[t][c] = _mm512_fmadd_ps(weight, v[c], sum[t][c]);
        }
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        if (t >= g->count) break;
        float *out = a->out + (g->first + t) * a->out_stride;
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            blm_avx512_put(out, d + c * 16, a->head_dim, sum[t][c]);
    }
}

/* All dimensions, by fives, fours, threes and ones: one alone waits for itself. */
BLM_AVX512_INLINE void blm_avx512_values(const blm_avx512_group *g, uint32_t type,
                                         uint32_t queries, uint32_t j0, uint32_t j1)
{
    const uint32_t head_dim = g->a->head_dim;
    for (uint32_t d = 0; d < head_dim;) {
        uint32_t left = (head_dim - d + 15) / 16;
        uint32_t chunks = left == 5 ? 5 : left == 4 || left >= 7 ? 4 : left >= 3 ? 3 : 1;
        uint32_t n = BLM_MIN(head_dim - d - (chunks - 1) * 16, 16);
        if (chunks == 5)
            blm_avx512_value_tile(g, type, queries, j0, j1, d, 5, n);
        else if (chunks == 4)
            blm_avx512_value_tile(g, type, queries, j0, j1, d, 4, n);
        else if (chunks == 3)
            blm_avx512_value_tile(g, type, queries, j0, j1, d, 3, n);
        else
            blm_avx512_value_tile(g, type, queries, j0, j1, d, 1, n);
        d += chunks * 16;
    }
}

/* out[query][d .. d + 32 chunks) = out * fade + sum of p v, for int8 rows: two of them byte by
 * byte side by side make pairs for the dot product. */
BLM_AVX512_INLINE void blm_avx512_value_tile_q8(const blm_avx512_group *g, uint32_t queries,
                                                uint32_t j0, uint32_t j1, uint32_t d,
                                                uint32_t chunks)
{
    const blm_attend_args *a = g->a;
    const __mmask32 mask = blm_avx512_mask32(a->head_dim - d - (chunks - 1) * 32);
    __m512i sum[BLM_AVX512_QUERIES][8];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks * 2; c++)
            sum[t][c] = _mm512_setzero_si512();
    }
    for (uint32_t j = j0; j < j1; j += 2) {
        const uint8_t *row = a->v + j * a->v_stride;
        const uint8_t *next = j + 1 < j1 ? row + a->v_stride : row; /* which weighs nothing */
        if (d == 0) {
            blm_avx512_row_ahead(g->v_ahead, a->v_stride, a->head_dim, j - j0);
            blm_avx512_row_ahead(g->v_ahead, a->v_stride, a->head_dim, j - j0 + 1);
        }
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++) {
            const __mmask32 m = c + 1 < chunks ? 0xFFFFFFFFu : mask;
            __m256i x = _mm256_maskz_loadu_epi8(m, row + d + c * 32);
            __m256i y = _mm256_maskz_loadu_epi8(m, next + d + c * 32);
            __m512i low = _mm512_cvtepi8_epi16(_mm256_unpacklo_epi8(x, y));
            __m512i high = _mm512_cvtepi8_epi16(_mm256_unpackhi_epi8(x, y));
            BLM_AVX512_UNROLL
            for (uint32_t t = 0; t < queries; t++) {
                __m512i w = blm_avx512_spread4(g->w[t] + (j - j0));
                sum[t][c * 2] = _mm512_dpwssd_epi32(sum[t][c * 2], low, w);
                sum[t][c * 2 + 1] = _mm512_dpwssd_epi32(sum[t][c * 2 + 1], high, w);
            }
        }
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        if (t >= g->count) break;
        float *out = a->out + (g->first + t) * a->out_stride;
        const __m512 fade = _mm512_set1_ps(g->fade[t]), scale = _mm512_set1_ps(g->w_scale[t]);
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks * 2; c++) {
            /* low holds dimensions 0-7 and 16-23 of 32, high the others */
            __m512 low = _mm512_cvtepi32_ps(sum[t][c & ~1u]);
            __m512 high = _mm512_cvtepi32_ps(sum[t][c | 1]);
            __m512 v = c & 1 ? _mm512_shuffle_f32x4(low, high, 0xEE)
                             : _mm512_shuffle_f32x4(low, high, 0x44);
            if (d + c * 16 >= a->head_dim) break;
            v = _mm512_mul_ps(scale, v);
            if (j0 != g->begin)
                v = _mm512_fmadd_ps(blm_avx512_get(out, d + c * 16, a->head_dim), fade, v);
            blm_avx512_put(out, d + c * 16, a->head_dim, v);
        }
    }
}

BLM_AVX512_INLINE void blm_avx512_values_q8(const blm_avx512_group *g, uint32_t queries,
                                            uint32_t j0, uint32_t j1)
{
    for (uint32_t d = 0; d < g->a->head_dim;) {
        uint32_t left = (g->a->head_dim - d + 31) / 32;
        uint32_t chunks = queries == 1 && left >= 4 ? 4 : BLM_MIN(left, 2);
        if (queries == 1 && chunks == 4)
            blm_avx512_value_tile_q8(g, queries, j0, j1, d, 4);
        else if (chunks == 2)
            blm_avx512_value_tile_q8(g, queries, j0, j1, d, 2);
        else
            blm_avx512_value_tile_q8(g, queries, j0, j1, d, 1);
        d += chunks * 32;
    }
}

/* out /= the sum of weights. */
BLM_AVX512_INLINE void blm_avx512_finish(const blm_avx512_group *g)
{
    for (uint32_t t = 0; t < g->count; t++) {
        float *out = g->a->out + (g->first + t) * g->a->out_stride;
        const __m512 factor = _mm512_set1_ps(1 / g->sum[t]);
        for (uint32_t d = 0; d < g->a->head_dim; d += 16) {
            __m512 v = blm_avx512_get(out, d, g->a->head_dim);
            blm_avx512_put(out, d, g->a->head_dim, _mm512_mul_ps(v, factor));
        }
    }
}

/* `count` queries from `first`, in the places of `queries`: a result does not depend on the
 * queries beside it. */
BLM_AVX512_INLINE void blm_avx512_attend_group(const blm_attend_args *a, uint32_t type,
                                               uint32_t first, uint32_t count, uint32_t queries)
{
    const int more = first + count < a->queries || !a->k_next;
    const uint8_t *k_next = more ? a->k : a->k_next, *v_next = more ? a->v : a->v_next;
    blm_avx512_group g = {.a = a, .first = first, .count = count};
    const uint32_t end = blm_attend_sees(a, first + count - 1).end;
    g.begin = blm_attend_sees(a, first).from / BLM_AVX512_KEYS * BLM_AVX512_KEYS;
    if (type == BLM_AVX512_INT8) {
        g.q = (int16_t *)(void *)a->scratch;
        g.q_stride = (a->head_dim + 31) / 32 * 32;
        blm_avx512_round_queries(&g);
    }
    for (uint32_t t = 0; t < count; t++)
        g.most[t] = BLM_AVX512_NO_SCORE;
    for (uint32_t j0 = g.begin, j1; j0 < end; j0 = j1) {
        j1 = j0 + BLM_MIN(end - j0, BLM_AVX512_KEYS);
        g.k_ahead = j1 < end ? a->k + (size_t)j1 * a->k_stride : k_next;
        g.v_ahead = j1 < end ? a->v + (size_t)j1 * a->v_stride : v_next;
        for (uint32_t r = 0; r < j1 - j0; r += 16 / queries)
            blm_avx512_score_tile(&g, type, queries, j0, r, end - 1);
        if (type == BLM_AVX512_INT8) {
            blm_avx512_weigh_q8(&g, queries, j0, end);
            blm_avx512_values_q8(&g, queries, j0, j1);
            continue;
        }
        for (uint32_t t = 0; t < count; t++)
            blm_avx512_weigh(&g, t, j0);
        blm_avx512_values(&g, type, queries, j0, j1);
    }
    blm_avx512_finish(&g);
}

BLM_AVX512_INLINE void blm_avx512_attend(const blm_attend_args *a, uint32_t type)
{
    for (uint32_t i = 0; i < a->queries; i += BLM_AVX512_QUERIES) {
        uint32_t count = BLM_MIN(a->queries - i, BLM_AVX512_QUERIES);
        if (count == 1)
            blm_avx512_attend_group(a, type, i, 1, 1);
        else
            blm_avx512_attend_group(a, type, i, count, BLM_AVX512_QUERIES);
    }
}

BLM_AVX512 static void blm_avx512_attend_f32(const blm_attend_args *a)
{
    blm_avx512_attend(a, BLM_F32);
}

BLM_AVX512 static void blm_avx512_attend_f16(const blm_attend_args *a)
{
    blm_avx512_attend(a, BLM_F16);
}

BLM_AVX512 static void blm_avx512_attend_i16(const blm_attend_args *a)
{
    if (a->queries >= BLM_AVX512_MANY)
        blm_avx512_attend_many(a, BLM_F32);
    else
        blm_avx512_attend(a, BLM_F32);
}

BLM_AVX512 static void blm_avx512_attend_q8(const blm_attend_args *a)
{
    if (a->queries >= BLM_AVX512_MANY)
        blm_avx512_attend_many(a, BLM_AVX512_INT8);
    else
        blm_avx512_attend(a, BLM_AVX512_INT8);
}

BLM_PRIVATE void blm_kernels_avx512_attend(blm_kernels *k)
{
    k->softmax = blm_avx512_softmax;
    k->attend_f32 = blm_avx512_attend_f32;
    k->attend_i16 = blm_avx512_attend_i16;
    k->attend_f16 = blm_avx512_attend_f16;
    k->attend_q8 = blm_avx512_attend_q8;
}

#endif
