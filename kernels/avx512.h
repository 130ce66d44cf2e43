/* What the AVX-512 files share. Every function carries its own target, so they compile
 * under any flags; functions that take a `type` are inlined into callers that give a
 * constant. */
#ifndef BLM_AVX512_H
#define BLM_AVX512_H

#include "blocks.h"
#include "kernels.h"

#ifdef BLM_HAVE_X86

#include <immintrin.h>

#define BLM_AVX512_TARGET "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c"
#define BLM_AVX512        __attribute__((target(BLM_AVX512_TARGET)))
#define BLM_AVX512_INLINE                                                                      \
    static inline __attribute__((always_inline, target(BLM_AVX512_TARGET)))

#define BLM_AVX512_VBMI __attribute__((target(BLM_AVX512_TARGET ",avx512vbmi")))
#define BLM_AVX512_VBMI_INLINE                                                                 \
    static inline __attribute__((always_inline, target(BLM_AVX512_TARGET ",avx512vbmi")))

/* Before a loop over a few registers: gcc -O2 would keep their array in memory. */
#if defined(__clang__)
#define BLM_AVX512_UNROLL _Pragma("clang loop unroll(full)")
#else
#define BLM_AVX512_UNROLL _Pragma("GCC unroll 16")
#endif

BLM_AVX512_INLINE __m128i blm_avx512_load16(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

BLM_AVX512_INLINE __m256i blm_avx512_load32(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Four bytes from any address into every lane. */
BLM_AVX512_INLINE __m512i blm_avx512_spread4(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

/* The first n lanes, n in 0..16. */
BLM_AVX512_INLINE __mmask16 blm_avx512_mask(uint64_t n)
{
    return (__mmask16)((1u << n) - 1);
}

/* The first n lanes of 32, all for a greater n. */
BLM_AVX512_INLINE __mmask32 blm_avx512_mask32(uint64_t n)
{
    return n < 32 ? (__mmask32)((1u << n) - 1) : 0xFFFFFFFFu;
}

/* Elements [i, n) of a row, at most 16 of them; lanes past the end are 0. */
BLM_AVX512_INLINE __m512 blm_avx512_get(const float *x, size_t i, size_t n)
{
    if (n - i >= 16) return _mm512_loadu_ps(x + i);
    return _mm512_maskz_loadu_ps(blm_avx512_mask(n - i), x + i);
}

BLM_AVX512_INLINE void blm_avx512_put(float *x, size_t i, size_t n, __m512 v)
{
    if (n - i >= 16)
        _mm512_storeu_ps(x + i, v);
    else
        _mm512_mask_storeu_ps(x + i, blm_avx512_mask(n - i), v);
}

/* sum + the dot products of pairs of int16. The empty statement keeps each sum in a register
 * of its own: gcc 12 would copy all of them from register to register in every round. */
BLM_AVX512_INLINE __m512i blm_avx512_dot16(__m512i sum, __m512i a, __m512i b)
{
    sum = _mm512_dpwssd_epi32(sum, a, b);
    __asm__("" : "+v"(sum));
    return sum;
}

/* 16 values to nearest, as int16. */
BLM_AVX512_INLINE void blm_avx512_put_words(int16_t *to, __m512 v)
{
    __m256i words = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v));
    _mm256_storeu_si256((__m256i *)(void *)to, words);
}

/* Asks for memory that will be needed; a hint, which may point anywhere. */
BLM_AVX512_INLINE void blm_avx512_ask(const void *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)((uintptr_t)p + i), _MM_HINT_T0);
}

/* n values (16 but at the end of a row) of floats in memory, or int8, from element `at`. */
enum { BLM_AVX512_INT8 = 1000 }; /* a type beside BLM_F32, BLM_F16 and BLM_BF16 */

BLM_AVX512_INLINE uint32_t blm_avx512_size(uint32_t type)
{
    return type == BLM_F32 ? 4 : type == BLM_AVX512_INT8 ? 1 : 2;
}

BLM_AVX512_INLINE __m512 blm_avx512_floats(uint32_t type, const uint8_t *row, size_t at,
                                           uint32_t n)
{
    const __mmask16 mask = blm_avx512_mask(n);
    if (type == BLM_F32)
        return n == 16 ? _mm512_loadu_ps(row + at * 4)
                       : _mm512_maskz_loadu_ps(mask, row + at * 4);
    if (type == BLM_AVX512_INT8) {
        __m128i q =
            n == 16 ? blm_avx512_load16(row + at) : _mm_maskz_loadu_epi8(mask, row + at);
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
    }
    const uint8_t *p = row + at * 2;
    __m256i half = n == 16 ? blm_avx512_load32(p) : _mm256_maskz_loadu_epi16(mask, p);
    if (type == BLM_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* e^x as blm_expf: 0 below -87.34, infinity above 88.72, NaN for NaN. */
BLM_AVX512_INLINE __m512 blm_avx512_exp(__m512 x)
{
    const __m512 lowest = _mm512_set1_ps(-87.336544f), one = _mm512_set1_ps(1);
    __m512 v = _mm512_max_ps(lowest, _mm512_min_ps(_mm512_set1_ps(89.0f), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(v, _mm512_set1_ps(1.44269504f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), v);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665796e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r), one);
    p = _mm512_scalef_ps(p, n);
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, lowest, _CMP_NLT_UQ), p);
}

/* Whether blocks of the file hold 256 weights. */
BLM_AVX512_INLINE int blm_avx512_in_256(uint32_t type)
{
    uint32_t values, bytes;
    blm_type_layout(type, &values, &bytes);
    return values == 256;
}

/* What nibbles stand for: IQ4's values 128 too large, MXFP4's 12. */
BLM_AVX512_INLINE __m512i blm_avx512_iq4(__m512i nibbles)
{
    const __m128i values = _mm_setr_epi8(BLM_IQ4_VALUES);
    __m512i v = _mm512_broadcast_i32x4(_mm_xor_si128(values, _mm_set1_epi8(-128)));
    return _mm512_shuffle_epi8(v, nibbles);
}

BLM_AVX512_INLINE __m512i blm_avx512_mxfp4(__m512i nibbles)
{
    const __m128i values = _mm_setr_epi8(BLM_MXFP4_VALUES);
    __m512i v = _mm512_broadcast_i32x4(_mm_add_epi8(values, _mm_set1_epi8(12)));
    return _mm512_shuffle_epi8(v, nibbles);
}

/* What a type's q, made unsigned as the dot-product instruction wants its first factor, are too
 * large by; what the file gives as a minimum is not in here. */
BLM_AVX512_INLINE uint32_t blm_avx512_zero(uint32_t type)
{
    switch ((blm_type)type) {
    case BLM_Q3_K:
        return 4;
    case BLM_Q4_0:
        return 8;
    case BLM_MXFP4:
        return 12;
    case BLM_Q5_0:
        return 16;
    case BLM_Q6_K:
        return 32;
    case BLM_Q8_0:
    case BLM_IQ4_NL:
    case BLM_IQ4_XS:
        return 128;
    case BLM_Q4_1:
    case BLM_Q5_1:
    case BLM_Q2_K:
    case BLM_Q4_K:
    case BLM_Q5_K:
        return 0;
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16:
        break;
    }
    return 0;
}

/* Up to `step` rows from r; where there are fewer, the last one again: it is computed in
 * vain, and nothing outside the tensor is read. */
static inline void blm_avx512_rows(const blm_matmul_args *a, uint64_t r, uint64_t row1,
                                   uint32_t step, const uint8_t **rows)
{
    for (uint32_t i = 0; i < step; i++)
        rows[i] = a->w->data + BLM_MIN(r + i, row1 - 1) * a->w->row_bytes;
}

/* 16 bytes of 16 rows, or the first `bytes` and zeros: vector c holds bytes 4c .. 4c + 3 of
 * every row. */
BLM_AVX512_INLINE void blm_avx512_pieces(const uint8_t *const *rows, size_t at, uint32_t bytes,
                                         __m512i *v)
{
    __m128i piece[16];
    BLM_AVX512_UNROLL
    for (int r = 0; r < 16; r++)
        piece[r] = bytes == 16 ? blm_avx512_load16(rows[r] + at)
                               : _mm_maskz_loadu_epi8(blm_avx512_mask(bytes), rows[r] + at);
    BLM_AVX512_UNROLL
    for (int r = 0; r < 4; r++) {
        v[r] = _mm512_castsi128_si512(piece[r]);
        v[r] = _mm512_inserti32x4(v[r], piece[r + 4], 1);
        v[r] = _mm512_inserti32x4(v[r], piece[r + 8], 2);
        v[r] = _mm512_inserti32x4(v[r], piece[r + 12], 3);
    }
    __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpacklo_epi32(v[2], v[3]);
    __m512i c = _mm512_unpackhi_epi32(v[0], v[1]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi64(a, b);
    v[1] = _mm512_unpackhi_epi64(a, b);
    v[2] = _mm512_unpacklo_epi64(c, d);
    v[3] = _mm512_unpackhi_epi64(c, d);
}

/* The eight 6-bit scales (low half of the result) and mins of the Q4_K block b: 4 + 4 in the
 * low six bits of bytes 0-7; the others have low nibbles in bytes 8-11 and their high pair
 * on top of the first. */
BLM_AVX512_INLINE __m128i blm_avx512_q4_k_scales(const uint8_t *b)
{
    const int six = 0x3F3F3F3F, four = 0x0F0F0F0F, top = 0x30303030;
    __m128i v = blm_avx512_load16(b); /* words 1 to 3 */
    __m128i low = _mm_srlv_epi32(_mm_shuffle_epi32(v, 0xED), _mm_setr_epi32(0, 0, 0, 4));
    __m128i high = _mm_srli_epi32(_mm_shuffle_epi32(v, 0xA5), 2);
    low = _mm_and_si128(low, _mm_setr_epi32(six, four, six, four));
    return _mm_or_si128(low, _mm_and_si128(high, _mm_setr_epi32(0, top, 0, top)));
}

/* ---- The order of sums -----------------------------------------------------------------
 *
 * One token and many give the same bits. Of quantised weights as kernels.h says. Columns of
 * float weights are dealt out to sixteen strips, column k to strip k % 16. A strip's sum goes
 * from its first column to its last; the sixteen are added one after the other. With one
 * token strips are lanes, with many they come one after the other and lanes are rows. So
 * that panels stay near, all this is done for one stretch of a row after the other, whose
 * sums are added in order. */
enum { BLM_AVX512_LANES = 16 };

/* A row of `count` sixteens in `all` stretches of `size`, of which the last may be shorter;
 * stretch i is sixteens [cut(i), cut(i + 1)). */
typedef struct blm_avx512_stretches {
    uint32_t count, all, size;
} blm_avx512_stretches;

static inline blm_avx512_stretches blm_avx512_stretches_of(uint32_t count, uint32_t most)
{
    const uint32_t all = (count + most - 1) / most, size = (count + all - 1) / all;
    return (blm_avx512_stretches){count, (count + size - 1) / size, size};
}

static inline uint32_t blm_avx512_cut(blm_avx512_stretches s, uint32_t i)
{
    return BLM_MIN(i * s.size, s.count);
}

enum { BLM_AVX512_PANEL_COLUMNS = 512 };

static inline blm_avx512_stretches blm_avx512_stretches_of_columns(uint32_t cols)
{
    return blm_avx512_stretches_of(cols / 16 + (cols % 16 != 0), BLM_AVX512_PANEL_COLUMNS / 16);
}

/* A part of what a block gives (see kernels.h), scale times an exact sum: the first, or `more`
 * after it. */
BLM_AVX512_INLINE __m512 blm_avx512_part(uint32_t more, __m512i n, __m512 scale, __m512 c)
{
    const __m512 v = _mm512_cvtepi32_ps(n);
    return more ? _mm512_fmadd_ps(v, scale, c) : _mm512_mul_ps(v, scale);
}

/* Products with one token: of any type, and of Q4_0 where bytes can be permuted freely. */
BLM_PRIVATE void blm_avx512_matmul_one(const blm_matmul_args *a, uint64_t row0, uint64_t row1);
BLM_PRIVATE void blm_avx512_matmul_one_q4_0_vbmi(const blm_matmul_args *a, uint64_t row0,
                                                 uint64_t row1);

/* The same with one token of int16 activations, which are two rows of int8. */
BLM_PRIVATE void blm_avx512_matmul_pair(const blm_matmul_args *a, uint64_t row0, uint64_t row1);
BLM_PRIVATE void blm_avx512_matmul_pair_q4_0_vbmi(const blm_matmul_args *a, uint64_t row0,
                                                  uint64_t row1);

/* Products with any number of tokens, as above. */
BLM_PRIVATE void blm_avx512_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1);
BLM_PRIVATE void blm_avx512_matmul_q4_0_vbmi(const blm_matmul_args *a, uint64_t row0,
                                             uint64_t row1);

/* Attention of many queries at a time; type: BLM_F32 or BLM_AVX512_INT8. */
BLM_PRIVATE void blm_avx512_attend_many(const blm_attend_args *a, uint32_t type);

/* What each of the other files overwrites. */
BLM_PRIVATE void blm_kernels_avx512_matmul(blm_kernels *k);
BLM_PRIVATE void blm_kernels_avx512_attend(blm_kernels *k);

#endif
#endif
