/* Blocks of 16 rows side by side: what AVX-512 and AMX panels are filled from. Lane r of a
 * vector belongs to row r. */
#ifndef BLM_AVX512_UNPACK_H
#define BLM_AVX512_UNPACK_H

#include "avx512.h"

#ifdef BLM_HAVE_X86

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

/* Bit pair i of 32 bytes of 16 rows. */
BLM_AVX512_INLINE void blm_avx512_pairs16(const uint8_t *const *rows, size_t at, uint32_t i,
                                          __m512i *q)
{
    const __m128i shift = _mm_cvtsi32_si128((int)(i * 2));
    blm_avx512_pieces(rows, at, 16, q);
    blm_avx512_pieces(rows, at + 16, 16, q + 4);
    BLM_AVX512_UNROLL
    for (int c = 0; c < 8; c++)
        q[c] = _mm512_and_si512(_mm512_srl_epi16(q[c], shift), _mm512_set1_epi8(3));
}

/* Adds `size` to q j where bit i of byte j of 32 of the rows is set. */
BLM_AVX512_INLINE void blm_avx512_add_layer16(const uint8_t *const *rows, size_t at, uint32_t i,
                                              char size, __m512i *q)
{
    const __m512i bit = _mm512_set1_epi8((char)(1u << i)), add = _mm512_set1_epi8(size);
    __m512i v[8];
    blm_avx512_pieces(rows, at, 16, v);
    blm_avx512_pieces(rows, at + 16, 16, v + 4);
    BLM_AVX512_UNROLL
    for (int c = 0; c < 8; c++)
        q[c] = _mm512_mask_add_epi8(q[c], _mm512_test_epi8_mask(v[c], bit), q[c], add);
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
    case BLM_Q4_1:
        blm_avx512_nibbles16(rows, b + 4, q);
        break;
    case BLM_Q5_0:
        blm_avx512_nibbles16(rows, b + 6, q);
        blm_avx512_add_bits16(rows, b + 2, 16, q);
        break;
    case BLM_Q5_1:
        blm_avx512_nibbles16(rows, b + 8, q);
        blm_avx512_add_bits16(rows, b + 4, 16, q);
        break;
    case BLM_IQ4_NL:
        blm_avx512_nibbles16(rows, b + 2, q);
        for (int c = 0; c < 8; c++)
            q[c] = blm_avx512_iq4(q[c]);
        break;
    case BLM_MXFP4:
        blm_avx512_nibbles16(rows, b + 1, q);
        for (int c = 0; c < 8; c++)
            q[c] = blm_avx512_mxfp4(q[c]);
        break;
    case BLM_Q2_K:
        blm_avx512_pairs16(rows, k + 16 + i % 8 / 4 * 32, i % 4, q);
        break;
    case BLM_Q3_K:
        blm_avx512_pairs16(rows, k + 32 + i % 8 / 4 * 32, i % 4, q);
        blm_avx512_add_layer16(rows, k, i % 8, 4, q);
        break;
    case BLM_Q5_K:
        blm_avx512_part16(rows, k + 48 + i % 8 / 2 * 32, i % 2, q);
        blm_avx512_add_layer16(rows, k + 16, i % 8, 16, q);
        break;
    case BLM_IQ4_XS:
        blm_avx512_nibbles16(rows, k + 8 + i % 8 * 16, q);
        for (int c = 0; c < 8; c++)
            q[c] = blm_avx512_iq4(q[c]);
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
BLM_AVX512_INLINE __m512 blm_avx512_byte(int with_sign, __m512i v, uint32_t j)
{
    v = _mm512_sll_epi32(v, _mm_cvtsi32_si128((int)(24 - j * 8)));
    v = with_sign ? _mm512_srai_epi32(v, 24) : _mm512_srli_epi32(v, 24);
    return _mm512_cvtepi32_ps(v);
}

/* The low halves of 16 numbers, which are f16. */
BLM_AVX512_INLINE __m512 blm_avx512_low_halves(__m512i v)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/* The small integers of a block of 256 of 16 rows, as bytes four to a lane: of Q2_K, Q3_K and
 * Q6_K 16 scales (and 16 mins), else 8; and what they are times. IQ4_XS has its high pairs in
 * mins[0]. */
typedef struct blm_avx512_k_head {
    __m512i scales[4], mins[4];
    __m512 d, dmin;
} blm_avx512_k_head;

/* Of Q4_K or Q5_K: the first 16 bytes of the block at byte k side by side, in which scales
 * lie as blm_scales_q4_k says. */
BLM_AVX512_INLINE void blm_avx512_head_q4_k(const uint8_t *const *rows, size_t k,
                                            blm_avx512_k_head *head)
{
    const __m512i six = _mm512_set1_epi8(0x3F), four = _mm512_set1_epi8(0x0F);
    const __m512i top = _mm512_set1_epi8(0x30);
    __m512i v[4];
    blm_avx512_pieces(rows, k, 16, v);
    head->d = blm_avx512_low_halves(v[0]);
    head->dmin = blm_avx512_low_halves(_mm512_srli_epi32(v[0], 16));
    head->scales[0] = _mm512_and_si512(v[1], six);
    head->mins[0] = _mm512_and_si512(v[2], six);
    head->scales[1] = _mm512_or_si512(_mm512_and_si512(v[3], four),
                                      _mm512_and_si512(_mm512_srli_epi32(v[1], 2), top));
    head->mins[1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(v[3], 4), four),
                                    _mm512_and_si512(_mm512_srli_epi32(v[2], 2), top));
}

BLM_AVX512_INLINE void blm_avx512_head_q2_k(const uint8_t *const *rows, size_t k,
                                            blm_avx512_k_head *head)
{
    const __m512i four = _mm512_set1_epi8(0x0F), d = blm_avx512_words(rows, k + 80);
    blm_avx512_pieces(rows, k, 16, head->scales);
    head->d = blm_avx512_low_halves(d);
    head->dmin = blm_avx512_low_halves(_mm512_srli_epi32(d, 16));
    BLM_AVX512_UNROLL
    for (int c = 0; c < 4; c++) {
        head->mins[c] = _mm512_and_si512(_mm512_srli_epi32(head->scales[c], 4), four);
        head->scales[c] = _mm512_and_si512(head->scales[c], four);
    }
}

/* Of Q3_K: as blm_scales_q3_k says. */
BLM_AVX512_INLINE void blm_avx512_head_q3_k(const uint8_t *const *rows, size_t k,
                                            blm_avx512_k_head *head)
{
    const __m512i four = _mm512_set1_epi8(0x0F), top = _mm512_set1_epi8(0x30);
    __m512i v[4];
    blm_avx512_pieces(rows, k + 96, 14, v); /* scales and d, which end the block */
    head->d = blm_avx512_low_halves(v[3]);
    head->scales[0] = _mm512_and_si512(_mm512_slli_epi32(v[2], 4), top);
    head->scales[1] = _mm512_and_si512(_mm512_slli_epi32(v[2], 2), top);
    head->scales[2] = _mm512_and_si512(v[2], top);
    head->scales[3] = _mm512_and_si512(_mm512_srli_epi32(v[2], 2), top);
    BLM_AVX512_UNROLL
    for (int c = 0; c < 4; c++) {
        __m512i low = c < 2 ? v[c] : _mm512_srli_epi32(v[c - 2], 4);
        low = _mm512_or_si512(_mm512_and_si512(low, four), head->scales[c]);
        head->scales[c] = _mm512_sub_epi8(low, _mm512_set1_epi8(32));
    }
}

/* Of IQ4_XS: nibbles of even scales, of odd ones, and the pairs. */
BLM_AVX512_INLINE void blm_avx512_head_iq4_xs(const uint8_t *const *rows, size_t k,
                                              blm_avx512_k_head *head)
{
    const __m512i low = blm_avx512_words(rows, k + 4), first = blm_avx512_words(rows, k);
    head->d = blm_avx512_low_halves(first);
    head->scales[0] = low;
    head->mins[0] = _mm512_srli_epi32(first, 16);
}

BLM_AVX512_INLINE void blm_avx512_head(uint32_t type, const uint8_t *const *rows, size_t k,
                                       blm_avx512_k_head *head)
{
    switch ((blm_type)type) {
    case BLM_Q2_K:
        blm_avx512_head_q2_k(rows, k, head);
        break;
    case BLM_Q3_K:
        blm_avx512_head_q3_k(rows, k, head);
        break;
    case BLM_Q4_K:
    case BLM_Q5_K:
        blm_avx512_head_q4_k(rows, k, head);
        break;
    case BLM_Q6_K:
        head->d = blm_avx512_halves(rows, k + 208);
        blm_avx512_pieces(rows, k + 192, 16, head->scales);
        break;
    case BLM_IQ4_XS:
        blm_avx512_head_iq4_xs(rows, k, head);
        break;
    case BLM_Q4_0:
    case BLM_Q4_1:
    case BLM_Q5_0:
    case BLM_Q5_1:
    case BLM_Q8_0:
    case BLM_IQ4_NL:
    case BLM_MXFP4:
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16: /* have no such blocks */
        break;
    }
}

/* The scale of part `part` of sub-block i of 8. */
BLM_AVX512_INLINE __m512 blm_avx512_k_scale(uint32_t type, const blm_avx512_k_head *head,
                                            uint32_t i, uint32_t part)
{
    if (type == BLM_IQ4_XS) {
        const __m128i four = _mm_cvtsi32_si128((int)(4 * i)),
                      two = _mm_cvtsi32_si128((int)(2 * i));
        __m512i low =
            _mm512_and_si512(_mm512_srl_epi32(head->scales[0], four), _mm512_set1_epi32(15));
        __m512i high =
            _mm512_and_si512(_mm512_srl_epi32(head->mins[0], two), _mm512_set1_epi32(3));
        low = _mm512_or_si512(low, _mm512_slli_epi32(high, 4));
        low = _mm512_sub_epi32(low, _mm512_set1_epi32(32));
        return _mm512_mul_ps(_mm512_cvtepi32_ps(low), head->d);
    }
    const int with_sign = type == BLM_Q3_K || type == BLM_Q6_K;
    const uint32_t at = blm_type_is_halved(type) ? 2 * i + part : i;
    return _mm512_mul_ps(blm_avx512_byte(with_sign, head->scales[at / 4], at % 4), head->d);
}

/* And its minimum. */
BLM_AVX512_INLINE __m512 blm_avx512_k_min(uint32_t type, const blm_avx512_k_head *head,
                                          uint32_t i, uint32_t part)
{
    const uint32_t at = blm_type_is_halved(type) ? 2 * i + part : i;
    return _mm512_mul_ps(blm_avx512_byte(0, head->mins[at / 4], at % 4), head->dmin);
}

/* The factors of the blocks of 32 at one place of 16 rows. */
BLM_AVX512_INLINE __m512 blm_avx512_factors(uint32_t type, const uint8_t *const *rows,
                                            size_t at)
{
    float factor[16];
    if (type != BLM_MXFP4) return blm_avx512_halves(rows, at);
    for (int r = 0; r < 16; r++)
        factor[r] = blm_scale_mxfp4(rows[r][at]);
    return _mm512_loadu_ps(factor);
}

#endif
#endif
