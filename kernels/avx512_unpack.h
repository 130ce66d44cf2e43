/* Blocks of 16 rows side by side: what AVX-512 and AMX panels are filled from. Lane r of a
 * vector belongs to row r. */
#ifndef BLM_AVX512_UNPACK_H
#define BLM_AVX512_UNPACK_H

#include "avx512.h"

#if defined(__x86_64__) || defined(__i386__)

/* The f16 at one place of 16 rows. */
BLM_AVX512_INLINE __m512 blm_avx512_halves(const uint8_t *const *rows, size_t at)
{
    uint16_t h[16];
    BLM_AVX512_UNROLL
    for (int r = 0; r < 16; r++)
        h[r] = blm_load_u16(rows[r] + at);
    return _mm512_cvtph_ps(_mm256_setr_epi16(
        (short)h[0], (short)h[1], (short)h[2], (short)h[3], (short)h[4], (short)h[5],
        (short)h[6], (short)h[7], (short)h[8], (short)h[9], (short)h[10], (short)h[11],
        (short)h[12], (short)h[13], (short)h[14], (short)h[15]));
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

/* The 16 small scales of one Q4_K or Q6_K block for 16 rows, four to a lane: vector c
 * holds numbers 4c .. 4c + 3. */
BLM_AVX512_INLINE void blm_avx512_small_scales(uint32_t type, const uint8_t *const *rows,
                                               uint32_t block, __m512i *v)
{
    uint8_t unpacked[16][16];
    const uint8_t *at[16];
    if (type == BLM_Q6_K) {
        blm_avx512_pieces(rows, (size_t)block * 210 + 192, 16, v);
        return;
    }
    for (int r = 0; r < 16; r++) {
        __m128i scales = blm_avx512_q4_k_scales(rows[r] + (size_t)block * 144 + 4);
        _mm_storeu_si128((__m128i *)(void *)unpacked[r], scales);
        at[r] = unpacked[r];
    }
    blm_avx512_pieces(at, 0, 16, v);
}

/* Byte j of every lane, as a number. */
BLM_AVX512_INLINE __m512 blm_avx512_byte(uint32_t type, __m512i v, uint32_t j)
{
    v = _mm512_sll_epi32(v, _mm_cvtsi32_si128((int)(24 - j * 8)));
    v = type == BLM_Q6_K ? _mm512_srai_epi32(v, 24) : _mm512_srli_epi32(v, 24);
    return _mm512_cvtepi32_ps(v);
}

#endif
#endif
