/* Blocks of 16 rows side by side: what AVX-512 and AMX panels are filled from. Lane r of a
 * vector belongs to row r. */
#ifndef BLM_AVX512_UNPACK_H
#define BLM_AVX512_UNPACK_H

#include "avx512.h"

#if defined(__x86_64__) || defined(__i386__)

/* The f16 at one place of 16 rows. Put together four at a time outside the vector units, which
 * have enough to do. */
BLM_AVX512_INLINE __m512 blm_avx512_halves(const uint8_t *const *rows, size_t at)
{
    uint64_t four[4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        uint16_t h[4];
        BLM_AVX512_UNROLL
        for (int r = 0; r < 4; r++)
            memcpy(&h[r], rows[4 * i + r] + at, sizeof *h);
        four[i] = h[0] | (uint64_t)h[1] << 16 | (uint64_t)h[2] << 32 | (uint64_t)h[3] << 48;
    }
    return _mm512_cvtph_ps(_mm256_setr_epi64x((long long)four[0], (long long)four[1],
                                              (long long)four[2], (long long)four[3]));
}

/* Block i of 16 rows, q unsigned. The places of Q4_K's and Q6_K's bits: see scalar.c. */
BLM_AVX512_INLINE void blm_avx512_unpack16(uint32_t type, const uint8_t *const *rows,
                                           uint32_t i, __m512i *q)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    if (type == BLM_Q4_0) {
        blm_avx512_pieces(rows, (size_t)i * 18 + 2, 16, q);
        BLM_AVX512_UNROLL
        for (int c = 0; c < 4; c++) {
            q[c + 4] = _mm512_and_si512(_mm512_srli_epi16(q[c], 4), nibble);
            q[c] = _mm512_and_si512(q[c], nibble);
        }
        return;
    }
    size_t k = (size_t)(i / 8) * (type == BLM_Q4_K ? 144 : 210);
    uint32_t half = i % 8 / 4, part = i % 4;
    size_t at = type == BLM_Q8_0   ? (size_t)i * 34 + 2
                : type == BLM_Q4_K ? k + 16 + i % 8 / 2 * 32
                                   : k + half * 64 + part % 2 * 32;
    __m512i high[8];
    __m128i shift = _mm_cvtsi32_si128((int)(type == BLM_Q4_K ? i % 2 * 4 : part / 2 * 4));
    __m128i high_shift = _mm_cvtsi32_si128((int)part * 2);
    blm_avx512_pieces(rows, at, 16, q);
    blm_avx512_pieces(rows, at + 16, 16, q + 4);
    if (type == BLM_Q6_K) {
        blm_avx512_pieces(rows, k + 128 + half * 32, 16, high);
        blm_avx512_pieces(rows, k + 144 + half * 32, 16, high + 4);
    }
    BLM_AVX512_UNROLL
    for (int c = 0; c < 8; c++) {
        if (type == BLM_Q8_0)
            q[c] = _mm512_xor_si512(q[c], _mm512_set1_epi8(-128));
        else
            q[c] = _mm512_and_si512(_mm512_srl_epi16(q[c], shift), nibble);
        if (type == BLM_Q6_K) {
            high[c] =
                _mm512_and_si512(_mm512_srl_epi16(high[c], high_shift), _mm512_set1_epi8(3));
            q[c] = _mm512_or_si512(q[c], _mm512_slli_epi16(high[c], 4));
        }
    }
}

/* Byte j of every lane, as a number. */
BLM_AVX512_INLINE __m512 blm_avx512_byte(uint32_t type, __m512i v, uint32_t j)
{
    v = _mm512_sll_epi32(v, _mm_cvtsi32_si128((int)(24 - j * 8)));
    v = type == BLM_Q6_K ? _mm512_srai_epi32(v, 24) : _mm512_srli_epi32(v, 24);
    return _mm512_cvtepi32_ps(v);
}

/* The low halves of 16 numbers, which are f16. */
BLM_AVX512_INLINE __m512 blm_avx512_low_halves(__m512i v)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/* The eight scales and eight mins, four to a lane, and d and dmin, of the Q4_K block at byte k
 * of 16 rows: its first 16 bytes side by side, in which scales lie as
 * blm_avx512_q4_k_scales says. */
BLM_AVX512_INLINE void blm_avx512_scales_q4_k(const uint8_t *const *rows, size_t k,
                                              __m512i *scales, __m512i *mins, __m512 *d,
                                              __m512 *dmin)
{
    const __m512i six = _mm512_set1_epi8(0x3F), four = _mm512_set1_epi8(0x0F);
    const __m512i top = _mm512_set1_epi8(0x30);
    __m512i v[4];
    blm_avx512_pieces(rows, k, 16, v);
    *d = blm_avx512_low_halves(v[0]);
    *dmin = blm_avx512_low_halves(_mm512_srli_epi32(v[0], 16));
    scales[0] = _mm512_and_si512(v[1], six);
    mins[0] = _mm512_and_si512(v[2], six);
    scales[1] = _mm512_or_si512(_mm512_and_si512(v[3], four),
                                _mm512_and_si512(_mm512_srli_epi32(v[1], 2), top));
    mins[1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(v[3], 4), four),
                              _mm512_and_si512(_mm512_srli_epi32(v[2], 2), top));
}

#endif
#endif
