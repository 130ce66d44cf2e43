/* What AVX-512 attention with int16 does alike for one query and for many: how queries are
 * rounded, and what the scores of a block of 64 keys become. A query's results do not depend
 * on the queries beside it; with int8 keys and values not on how many there are either.
 *
 * An int32 holds a sum of products of int16 if the lengths of the two vectors, as Cauchy and
 * Schwarz have it, multiply to less than 2^31. So what is bounded is not each number but the
 * length of each query, key, column of values and run of weights: it leaves them 12 to 15
 * bits, the more the fewer of them matter. */
#ifndef BLM_AVX512_WEIGH_H
#define BLM_AVX512_WEIGH_H

#include "avx512.h"

#ifdef BLM_HAVE_X86

enum { BLM_AVX512_BLOCK = BLM_ATTEND_BLOCK, BLM_AVX512_TILE = 4 };

/* Weights are 2^score: what keys' scales are multiplied with for it, 1 / log(2). */
#define BLM_AVX512_TO_POWER 1.44269504f

/* Greatest lengths, of which products stay below 2^31 whatever is rounded up: of queries and
 * keys of up to 400,000 dimensions; of queries of d dimensions that meet int8 keys, times the
 * root of d; of weights and of values of a block. A weight has to fit an int16 by its length
 * alone. */
#define BLM_AVX512_ROW_LENGTH    46000.0f
#define BLM_AVX512_INT8_LENGTH   16.7e6f
#define BLM_AVX512_WEIGHT_LENGTH 32700.0f
#define BLM_AVX512_COLUMN_LENGTH 65500.0f

/* What up to four queries make of a block. */
typedef struct blm_avx512_weights4 {
    __m512i w[BLM_AVX512_TILE][BLM_AVX512_BLOCK / 32]; /* int16, in order of keys      */
    float scale[BLM_AVX512_TILE];                      /* of w                         */
    float fade[BLM_AVX512_TILE];                       /* what earlier blocks shrink by */
} blm_avx512_weights4;

/* Up to four queries and a block. */
typedef struct blm_avx512_queries {
    const float *scale;     /* of the queries                                            */
    float *most, *sum;      /* greatest score so far, sum of weights                     */
    const float *row_scale; /* [64] of int8 value rows, in the order of lanes, or NULL   */
} blm_avx512_queries;

/* The factor that brings values within +-32767 and their length below `length`, from the
 * greatest of them and the sum of their squares. What is below 1e-15 becomes 0. */
BLM_AVX512_INLINE __m512 blm_avx512_factor(__m512 most, __m512 squares, float length)
{
    __m512 longest = _mm512_mul_ps(_mm512_set1_ps(length), _mm512_rsqrt14_ps(squares));
    __m512 factor = _mm512_min_ps(_mm512_div_ps(_mm512_set1_ps(32767), most), longest);
    __mmask16 tiny = _mm512_cmp_ps_mask(squares, _mm512_set1_ps(1e-30f), _CMP_LT_OQ);
    return _mm512_mask_mov_ps(factor, tiny, _mm512_set1_ps(1));
}

/* Rounds a row of n values; returns what the integers have to be multiplied with. */
BLM_AVX512_INLINE float blm_avx512_round_row(const float *row, uint32_t n, float length,
                                             int16_t *to)
{
    __m512 most = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (uint32_t d = 0; d < n; d += 16) {
        __m512 x = blm_avx512_get(row, d, n);
        most = _mm512_max_ps(_mm512_abs_ps(x), most);
        squares = _mm512_fmadd_ps(x, x, squares);
    }
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    squares = _mm512_set1_ps(_mm512_reduce_add_ps(squares));
    const __m512 factor = blm_avx512_factor(most, squares, length);
    for (uint32_t d = 0; d < n; d += 16) {
        __m512 x = blm_avx512_get(row, d, n);
        blm_avx512_put_words(to + d, _mm512_mul_ps(x, factor));
    }
    return 1 / _mm512_cvtss_f32(factor);
}

/* The length that int8 keys of so many dimensions leave to queries. */
static inline float blm_avx512_int8_length(uint32_t dims)
{
    return BLM_AVX512_INT8_LENGTH / blm_sqrtf((float)dims);
}

/* The key that stands in a lane of a panel's vectors: in such an order, packing two vectors of
 * weights into one of int16 puts them straight. */
static inline uint32_t blm_avx512_key_of(uint32_t vector, uint32_t lane)
{
    return vector / 2 * 32 + lane / 4 * 8 + vector % 2 * 4 + lane % 4;
}

/* The greatest score before there is one: finite, so that a block of which a query sees nothing
 * yet leaves all as it is. */
#define BLM_AVX512_NO_SCORE -3e38f

/* What query i sees of the block of 64 keys at `begin`, counted from there. */
static inline blm_attend_span blm_avx512_span_of(const blm_attend_args *a, uint32_t i,
                                                 uint32_t begin)
{
    const blm_attend_span all = blm_attend_sees(a, i);
    return (blm_attend_span){all.from > begin ? BLM_MIN(all.from - begin, BLM_AVX512_BLOCK) : 0,
                             all.end > begin ? BLM_MIN(all.end - begin, BLM_AVX512_BLOCK) : 0};
}

/* Scores s of a query: those of keys that it does not see become -infinity. */
BLM_AVX512_INLINE void blm_avx512_hide_others(blm_attend_span seen, __m512 *s)
{
    const __m512i lane =
        _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
    BLM_AVX512_UNROLL
    for (uint32_t c = 0; c < 4; c++) {
        const int first = (int)blm_avx512_key_of(c, 0);
        __m512i from = _mm512_set1_epi32((int)seen.from - first);
        __m512i end = _mm512_set1_epi32((int)seen.end - first);
        __mmask16 sees =
            _mm512_mask_cmplt_epi32_mask(_mm512_cmpge_epi32_mask(lane, from), lane, end);
        s[c] = _mm512_mask_mov_ps(lowest, sees, s[c]);
    }
}

BLM_AVX512_INLINE __m512 blm_avx512_max_or_add(int add, __m512 a, __m512 b)
{
    return add ? _mm512_add_ps(a, b) : _mm512_max_ps(a, b);
}

/* Lanes 4n + i of the result are the greatest, or with `add` the sum, of v[i]: for each of the
 * four by the same steps. */
BLM_AVX512_INLINE __m512 blm_avx512_fold4(int add, const __m512 *v)
{
    __m512 a = blm_avx512_max_or_add(add, _mm512_unpacklo_ps(v[0], v[1]),
                                     _mm512_unpackhi_ps(v[0], v[1]));
    __m512 b = blm_avx512_max_or_add(add, _mm512_unpacklo_ps(v[2], v[3]),
                                     _mm512_unpackhi_ps(v[2], v[3]));
    __m512d c = _mm512_castps_pd(a), d = _mm512_castps_pd(b);
    a = blm_avx512_max_or_add(add, _mm512_castpd_ps(_mm512_unpacklo_pd(c, d)),
                              _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
    a = blm_avx512_max_or_add(add, a, _mm512_shuffle_f32x4(a, a, 0x4E));
    return blm_avx512_max_or_add(add, a, _mm512_shuffle_f32x4(a, a, 0xB1));
}

/* 2^x for x <= 0, to 3e-6 of it, exactly 1 for 0: a block of which a query sees nothing leaves
 * all as it is. 0 below -150. */
BLM_AVX512_INLINE __m512 blm_avx512_exp2(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-160), x);
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_sub_ps(x, n), p = _mm512_set1_ps(0.00958285429f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.0559064365f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.240240987f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.693124192f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, n);
}

/* Weights of `n` queries times the scales of the value rows that they meet. */
BLM_AVX512_INLINE void blm_avx512_scale_weights(const float *row_scale, int n,
                                                __m512 (*s)[BLM_AVX512_TILE])
{
    BLM_AVX512_UNROLL
    for (int c = 0; c < 4; c++) {
        const __m512 scale = _mm512_loadu_ps(row_scale + c * 16);
        BLM_AVX512_UNROLL
        for (int i = 0; i < n; i++)
            s[i][c] = _mm512_mul_ps(s[i][c], scale);
    }
}

/* Scores of four queries, or of the first n of them, into weights, 2^(score - greatest), rounded
 * to int16. */
BLM_AVX512_INLINE void blm_avx512_weigh_block(const blm_avx512_queries *q, int n,
                                              __m512 (*s)[BLM_AVX512_TILE],
                                              blm_avx512_weights4 *w)
{
    __m512 greatest[4], sums[4], squares[4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++)
        greatest[i] = sums[i] = squares[i] = _mm512_setzero_ps();
    BLM_AVX512_UNROLL
    for (int i = 0; i < n; i++)
        greatest[i] =
            _mm512_max_ps(_mm512_max_ps(s[i][0], s[i][1]), _mm512_max_ps(s[i][2], s[i][3]));
    const __m512 q_scale = _mm512_broadcast_f32x4(_mm_loadu_ps(q->scale));
    const __m512 before = _mm512_broadcast_f32x4(_mm_loadu_ps(q->most));
    __m512 most = _mm512_max_ps(_mm512_mul_ps(blm_avx512_fold4(0, greatest), q_scale), before);
    __m512 fade = blm_avx512_exp2(_mm512_sub_ps(before, most));
    BLM_AVX512_UNROLL
    for (int i = 0; i < n; i++) {
        const __m512i pick = _mm512_set1_epi32(i);
        const __m512 scale = _mm512_permutexvar_ps(pick, q_scale);
        const __m512 least = _mm512_permutexvar_ps(pick, most);
        BLM_AVX512_UNROLL
        for (int c = 0; c < 4; c++) {
            s[i][c] = blm_avx512_exp2(_mm512_fmsub_ps(s[i][c], scale, least));
            sums[i] = c ? _mm512_add_ps(sums[i], s[i][c]) : s[i][c];
        }
    }
    if (q->row_scale) blm_avx512_scale_weights(q->row_scale, n, s);
    BLM_AVX512_UNROLL
    for (int i = 0; i < n; i++) {
        squares[i] = _mm512_mul_ps(s[i][0], s[i][0]);
        BLM_AVX512_UNROLL
        for (int c = 1; c < 4; c++)
            squares[i] = _mm512_fmadd_ps(s[i][c], s[i][c], squares[i]);
    }
    __m512 sum = _mm512_broadcast_f32x4(_mm_loadu_ps(q->sum));
    sum = _mm512_fmadd_ps(sum, fade, blm_avx512_fold4(1, sums));
    /* a block that weighs next to nothing beside the best key is nothing */
    __m512 length = _mm512_max_ps(blm_avx512_fold4(1, squares), _mm512_set1_ps(1e-30f));
    __m512 factor =
        _mm512_mul_ps(_mm512_rsqrt14_ps(length), _mm512_set1_ps(BLM_AVX512_WEIGHT_LENGTH));
    BLM_AVX512_UNROLL
    for (int i = 0; i < n; i++) {
        const __m512 up = _mm512_permutexvar_ps(_mm512_set1_epi32(i), factor);
        BLM_AVX512_UNROLL
        for (int c = 0; c < 4; c += 2) {
            __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(s[i][c], up));
            __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(s[i][c + 1], up));
            w->w[i][c / 2] = _mm512_packs_epi32(low, high);
        }
    }
    _mm_storeu_ps(q->most, _mm512_castps512_ps128(most));
    _mm_storeu_ps(q->sum, _mm512_castps512_ps128(sum));
    _mm_storeu_ps(w->fade, _mm512_castps512_ps128(fade));
    _mm_storeu_ps(w->scale, _mm_div_ps(_mm_set1_ps(1), _mm512_castps512_ps128(factor)));
}

#endif
#endif
