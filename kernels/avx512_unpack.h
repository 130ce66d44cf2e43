/* Blocks of 16 rows side by side: what AVX-512 and AMX panels are filled from. Lane r of a
 * vector belongs to row r. */
#ifndef BLM_AVX512_UNPACK_H
#define BLM_AVX512_UNPACK_H

#include "avx512.h"
#include "blocks.h"

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

/* The 32 bits at one place of 16 rows. */
BLM_AVX512_INLINE __m512i blm_avx512_words(const uint8_t *const *rows, size_t at)
{
    int32_t w[16];
    BLM_AVX512_UNROLL
    for (int r = 0; r < 16; r++)
        memcpy(&w[r], rows[r] + at, sizeof *w);
    return _mm512_setr_epi32(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10],
                             w[11], w[12], w[13], w[14], w[15]);
}

/* The nibbles of 16 bytes of 16 rows: the low ones are the first 16 q, the high ones the last. */
BLM_AVX512_INLINE void blm_avx512_nibbles16(const uint8_t *const *rows, size_t at, __m512i *q)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    blm_avx512_pieces(rows, at, 16, q);
    BLM_AVX512_UNROLL
    for (int c = 0; c < 4; c++) {
        q[c + 4] = _mm512_and_si512(_mm512_srli_epi16(q[c], 4), nibble);
        q[c] = _mm512_and_si512(q[c], nibble);
    }
}

/* Adds `size` to q j where bit j of the rows' words at `at` is set. */
BLM_AVX512_INLINE void blm_avx512_add_bits16(const uint8_t *const *rows, size_t at, char size,
                                             __m512i *q)
{
    const __m512i words = blm_avx512_words(rows, at), add = _mm512_set1_epi8(size);
    const __m512i lane = _mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0);
    BLM_AVX512_UNROLL
    for (int c = 0; c < 8; c++) {
        __m512i byte = _mm512_add_epi8(lane, _mm512_set1_epi8((char)(c / 2)));
        __m512i bit = _mm512_set1_epi32(c % 2 ? (int)0x80402010 : 0x08040201);
        __mmask64 set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(words, byte), bit);
        q[c] = _mm512_mask_add_epi8(q[c], set, q[c], add);
    }
}

/* A half of the nibbles of 32 bytes of 16 rows. */
BLM_AVX512_INLINE void blm_avx512_part16(const uint8_t *const *rows, size_t at, uint32_t part,
                                         __m512i *q)
{
    const __m128i shift = _mm_cvtsi32_si128((int)(part * 4));
    blm_avx512_pieces(rows, at, 16, q);
    blm_avx512_pieces(rows, at + 16, 16, q + 4);
    BLM_AVX512_UNROLL
    for (int c = 0; c < 8; c++)
        q[c] = _mm512_and_si512(_mm512_srl_epi16(q[c], shift), _mm512_set1_epi8(15));
}

/* Block i of 8 of the Q6_K block at byte k. */
BLM_AVX512_INLINE void blm_avx512_q6_k16(const uint8_t *const *rows, size_t k, uint32_t i,
                                         __m512i *q)
{
    const uint32_t half = i / 4, part = i % 4;
    const __m128i shift = _mm_cvtsi32_si128((int)part * 2);
    __m512i high[8];
    blm_avx512_part16(rows, k + half * 64 + part % 2 * 32, part / 2, q);
    blm_avx512_pieces(rows, k + 128 + half * 32, 16, high);
    blm_avx512_pieces(rows, k + 144 + half * 32, 16, high + 4);
    BLM_AVX512_UNROLL
    for (int c = 0; c < 8; c++) {
        high[c] = _mm512_and_si512(_mm512_srl_epi16(high[c], shift), _mm512_set1_epi8(3));
        q[c] = _mm512_or_si512(q[c], _mm512_slli_epi16(high[c], 4));
    }
}

BLM_AVX512_INLINE void blm_avx512_q8_0_16(const uint8_t *const *rows, size_t at, __m512i *q)
{
    blm_avx512_pieces(rows, at, 16, q);
    blm_avx512_pieces(rows, at + 16, 16, q + 4);
    BLM_AVX512_UNROLL
    for (int c = 0; c < 8; c++)
        q[c] = _mm512_xor_si512(q[c], _mm512_set1_epi8(-128));
}

/* Block i of 16 rows, q unsigned: blm_avx512_zero(type) too large. The places of the bits: see
 * scalar.c. */
BLM_AVX512_INLINE void blm_avx512_unpack16(uint32_t type, const uint8_t *const *rows,
                                           uint32_t i, __m512i *q)
{
    const size_t b = (size_t)i * blm_type_bytes(type); /* blocks of 32 */
    const size_t k = (size_t)(i / 8) * blm_type_bytes(type);
    switch ((blm_type)type) {
    case BLM_Q4_0:
        blm_avx512_nibbles16(rows, b + 2, q);
        break;
    case BLM_Q5_0:
        blm_avx512_nibbles16(rows, b + 6, q);
        blm_avx512_add_bits16(rows, b + 2, 16, q);
        break;
    case BLM_Q8_0:
        blm_avx512_q8_0_16(rows, b + 2, q);
        break;
    case BLM_Q4_K:
        blm_avx512_part16(rows, k + 16 + i % 8 / 2 * 32, i % 2, q);
        break;
    case BLM_Q6_K:
        blm_avx512_q6_k16(rows, k, i % 8, q);
        break;
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16: /* have no q */
        break;
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
