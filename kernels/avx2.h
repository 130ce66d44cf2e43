/* What the files of AVX2 kernels (with FMA and F16C) share.
 *
 * Every function carries its own target, so the files compile under any flags. Functions
 * that take a `type` are inlined into callers that give a constant. */
#ifndef BLM_AVX2_H
#define BLM_AVX2_H

#include "kernels.h"

#ifdef BLM_HAVE_X86

#include <immintrin.h>

#define BLM_AVX2        static __attribute__((target("avx2,fma,f16c")))
#define BLM_AVX2_INLINE static inline __attribute__((always_inline, target("avx2,fma,f16c")))

/* UNROLL, before a loop over a few registers: gcc -O2 would keep their array in memory.
 * IN_ORDER, after an integer addition: gcc regroups long sums into trees, whose leaves then
 * do not fit the registers; no instruction results. */
#if defined(__clang__)
#define BLM_AVX2_UNROLL _Pragma("clang loop unroll(full)")
#define BLM_AVX2_IN_ORDER(v)
#else
#define BLM_AVX2_UNROLL      _Pragma("GCC unroll 16")
#define BLM_AVX2_IN_ORDER(v) __asm__("" : "+x"(v))
#endif

BLM_AVX2_INLINE __m256i blm_avx2_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Four bytes from any address into every lane. */
BLM_AVX2_INLINE __m256i blm_avx2_spread4(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

BLM_AVX2_INLINE float blm_avx2_f16(const uint8_t *p)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(blm_load_u16(p))));
}

/* The first n lanes, n in 0..8. */
BLM_AVX2_INLINE __m256i blm_avx2_mask(uint32_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}

/* ((v0 + v1) + (v2 + v3)) + ((v4 + v5) + (v6 + v7)) of each of four vectors. */
BLM_AVX2_INLINE __m128 blm_avx2_sum4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

BLM_AVX2_INLINE float blm_avx2_sum(__m256 v)
{
    return _mm_cvtss_f32(blm_avx2_sum4(v, v, v, v));
}

/* The sum of eight lanes. */
BLM_AVX2_INLINE int32_t blm_avx2_sum_i32(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

/* e^x as blm_expf: 0 below -87.34, infinity above 88.72, NaN for NaN. */
BLM_AVX2_INLINE __m256 blm_avx2_exp(__m256 x)
{
    const __m256 lowest = _mm256_set1_ps(-87.336544f), one = _mm256_set1_ps(1);
    __m256 v = _mm256_max_ps(lowest, _mm256_min_ps(_mm256_set1_ps(89.0f), x));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(v, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), v);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.9875691e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665796e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001e-1f));
    p = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(p, r), r, r), one);
    /* times 2^n in two factors: n may be 128 */
    __m256i k = _mm256_cvtps_epi32(n), k1 = _mm256_srai_epi32(k, 1),
            k2 = _mm256_sub_epi32(k, k1);
    const __m256i bias = _mm256_set1_epi32(127);
    __m256 f1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k1, bias), 23));
    __m256 f2 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k2, bias), 23));
    p = _mm256_mul_ps(_mm256_mul_ps(p, f1), f2);
    return _mm256_and_ps(p, _mm256_cmp_ps(x, lowest, _CMP_NLT_UQ));
}

/* Rows of floats, n of them from element `at`, n = 8 but at the end; missing ones are 0. */
BLM_AVX2_INLINE __m256 blm_avx2_floats(uint32_t type, const uint8_t *row, size_t at, uint32_t n)
{
    uint8_t rest[32] = {0};
    uint32_t size = type == BLM_F32 ? 4 : 2;
    const uint8_t *p = row + at * size;
    if (n < 8) {
        memcpy(rest, p, (size_t)n * size);
        p = rest;
    }
    if (type == BLM_F32) return _mm256_castsi256_ps(blm_avx2_load(p));
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (type == BLM_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* The rest of a row that is no multiple of 8 goes through these: n lanes, others 0. */
BLM_AVX2_INLINE __m256 blm_avx2_get(const float *x, size_t i, size_t n)
{
    if (n - i >= 8) return _mm256_loadu_ps(x + i);
    return _mm256_maskload_ps(x + i, blm_avx2_mask((uint32_t)(n - i)));
}

BLM_AVX2_INLINE void blm_avx2_put(float *x, size_t i, size_t n, __m256 v)
{
    if (n - i >= 8)
        _mm256_storeu_ps(x + i, v);
    else
        _mm256_maskstore_ps(x + i, blm_avx2_mask((uint32_t)(n - i)), v);
}

/* Up to `step` rows from r; where there are fewer, the last one again: it is computed in
 * vain, and nothing outside the tensor is read. */
BLM_AVX2_INLINE void blm_avx2_rows(const blm_matmul_args *a, uint64_t r, uint64_t row1,
                                   uint32_t step, const uint8_t **rows)
{
    for (uint32_t i = 0; i < step; i++)
        rows[i] = a->w->data + BLM_MIN(r + i, row1 - 1) * a->w->row_bytes;
}

/* Asks for the memory `distance` bytes from p; only a hint, which may point anywhere. */
BLM_AVX2_INLINE void blm_avx2_ahead(const uint8_t *p, uint64_t distance, uint32_t bytes)
{
    BLM_AVX2_UNROLL
    for (uint32_t at = 0; at < bytes; at += 64)
        _mm_prefetch((const char *)((uintptr_t)p + (uintptr_t)distance + at), _MM_HINT_T0);
}

/* What each of the other files overwrites. */
BLM_PRIVATE void blm_kernels_avx2_matmul(blm_kernels *k);
BLM_PRIVATE void blm_kernels_avx2_attend(blm_kernels *k);

#endif
#endif
