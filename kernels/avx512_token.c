/* AVX-512 products with one token: decode. Each weight is read once, where it lies, with
 * requests for memory running ahead; lanes run along k. Weights are made unsigned, as the
 * dot-product instruction wants its first factor: w = q - zero. The sums of the activations
 * take the zero off again. */
#include "avx512.h"

#ifdef BLM_HAVE_X86

/* The sums over the lanes of four vectors. */
BLM_AVX512_INLINE __m128 blm_avx512_sum4(const __m512 *v)
{
    __m256 s[4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512 high = _mm512_shuffle_f32x4(v[i], v[i], 0xEE);
        s[i] = _mm512_castps512_ps256(_mm512_add_ps(v[i], high));
    }
    __m256 t = _mm256_hadd_ps(_mm256_hadd_ps(s[0], s[1]), _mm256_hadd_ps(s[2], s[3]));
    return _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));
}

/* The sums of four rows, of which `count` are real. */
BLM_AVX512_INLINE void blm_avx512_put4(float *y, uint64_t count, const __m512 *sum)
{
    __mmask8 mask = (__mmask8)blm_avx512_mask(BLM_MIN(count, 4));
    _mm_mask_storeu_ps(y, mask, blm_avx512_sum4(sum));
}

/* How far ahead of the weights memory is asked for, in bytes. */
enum { BLM_AVX512_STREAM_AHEAD = 7168 };

/* Asks for `bytes` of what follows b at that distance; only a hint, which may point anywhere. */
BLM_AVX512_INLINE void blm_avx512_ahead(const uint8_t *b, uint32_t bytes)
{
    BLM_AVX512_UNROLL
    for (uint32_t at = 0; at < bytes; at += 64)
        _mm_prefetch((const char *)((uintptr_t)b + BLM_AVX512_STREAM_AHEAD + at), _MM_HINT_T0);
}

/* ---- One token, quantised weights ---------------------------------------------------- */

/* A value for each of two blocks of 32, in the eight lanes that hold their sums. */
BLM_AVX512_INLINE __m512 blm_avx512_pair(float first, float second)
{
    return _mm512_mask_mov_ps(_mm512_set1_ps(first), 0xFF00, _mm512_set1_ps(second));
}

/* Two blocks of 32 side by side, b and next: q in order of k, their factors, and the mins that
 * the file has, which are added. */
typedef struct blm_avx512_weights {
    __m512i q;
    __m512 factor, min;
} blm_avx512_weights;

/* Whether high nibbles are left where they are, 16 times too large. */
BLM_AVX512_INLINE int blm_avx512_leaves_nibbles(uint32_t type)
{
    return type == BLM_Q4_0 || type == BLM_Q4_1;
}

/* The nibbles of 16 bytes at b and at next, in order of k; the high ones 16 times too large. */
BLM_AVX512_INLINE __m512i blm_avx512_large_nibbles(const uint8_t *b, const uint8_t *next)
{
    const __m512i nibbles =
        _mm512_setr_epi64(0x0F0F0F0F0F0F0F0F, 0x0F0F0F0F0F0F0F0F, (long long)0xF0F0F0F0F0F0F0F0,
                          (long long)0xF0F0F0F0F0F0F0F0, 0x0F0F0F0F0F0F0F0F, 0x0F0F0F0F0F0F0F0F,
                          (long long)0xF0F0F0F0F0F0F0F0, (long long)0xF0F0F0F0F0F0F0F0);
    __m512i v = _mm512_broadcast_i32x4(blm_avx512_load16(b));
    v = _mm512_mask_broadcast_i32x4(v, 0xFF00, blm_avx512_load16(next));
    return _mm512_and_si512(v, nibbles);
}

/* The same, all of their own size. */
BLM_AVX512_INLINE __m512i blm_avx512_nibbles(const uint8_t *b, const uint8_t *next)
{
    const __m512i shift = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    return _mm512_srlv_epi64(blm_avx512_large_nibbles(b, next), shift);
}

/* Adds `size` to byte j of the lower half of v where bit j of the word at b is set, and of the
 * upper half by the word at next. */
BLM_AVX512_INLINE __m512i blm_avx512_add_bits(__m512i v, const uint8_t *b, const uint8_t *next,
                                              char size)
{
    const __mmask64 set = blm_load_u32(b) | (uint64_t)blm_load_u32(next) << 32;
    return _mm512_mask_add_epi8(v, set, v, _mm512_set1_epi8(size));
}

BLM_AVX512_INLINE __m512i blm_avx512_bytes32(const uint8_t *b, const uint8_t *next)
{
    __m512i v = _mm512_castsi256_si512(blm_avx512_load32(b));
    return _mm512_inserti64x4(v, blm_avx512_load32(next), 1);
}

BLM_AVX512_INLINE __m512i blm_avx512_two_q(uint32_t type, const uint8_t *b, const uint8_t *next)
{
    switch ((blm_type)type) {
    case BLM_Q4_0:
        return blm_avx512_large_nibbles(b + 2, next + 2);
    case BLM_Q4_1:
        return blm_avx512_large_nibbles(b + 4, next + 4);
    case BLM_Q5_0:
        return blm_avx512_add_bits(blm_avx512_nibbles(b + 6, next + 6), b + 2, next + 2, 16);
    case BLM_Q5_1:
        return blm_avx512_add_bits(blm_avx512_nibbles(b + 8, next + 8), b + 4, next + 4, 16);
    case BLM_Q8_0:
        return _mm512_xor_si512(blm_avx512_bytes32(b + 2, next + 2), _mm512_set1_epi8(-128));
    case BLM_IQ4_NL:
        return blm_avx512_iq4(blm_avx512_nibbles(b + 2, next + 2));
    case BLM_MXFP4:
        return blm_avx512_mxfp4(blm_avx512_nibbles(b + 1, next + 1));
    case BLM_Q2_K:
    case BLM_Q3_K:
    case BLM_Q4_K:
    case BLM_Q5_K:
    case BLM_Q6_K:
    case BLM_IQ4_XS: /* have blocks of 256 */
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16:
        break;
    }
    return _mm512_setzero_si512();
}

/* The f16 at b in the lower half, that at next in the upper. */
BLM_AVX512_INLINE __m512 blm_avx512_two_f16(const uint8_t *b, const uint8_t *next)
{
    __m256i d = _mm256_set1_epi16((short)blm_load_u16(b));
    d = _mm256_mask_mov_epi16(d, 0xFF00, _mm256_set1_epi16((short)blm_load_u16(next)));
    return _mm512_cvtph_ps(d);
}

BLM_AVX512_INLINE blm_avx512_weights blm_avx512_two_blocks(uint32_t type, const uint8_t *b,
                                                           const uint8_t *next)
{
    blm_avx512_weights out = {blm_avx512_two_q(type, b, next), _mm512_setzero_ps(),
                              _mm512_setzero_ps()};
    if (type == BLM_MXFP4)
        out.factor = blm_avx512_pair(blm_scale_mxfp4(*b), blm_scale_mxfp4(*next));
    else
        out.factor = blm_avx512_two_f16(b, next);
    if (blm_type_has_min(type)) out.min = blm_avx512_two_f16(b + 2, next + 2);
    return out;
}

/* 64 activations, or the last 32 with nothing after them: q, the scales of their blocks,
 * and -zero times their sums in fours; fit for the weights above. Where the file has mins,
 * offset holds instead, as floats, the blocks' scaled sums in one lane of each. */
typedef struct blm_avx512_acts {
    __m512i q, offset;
    __m512 scale;
} blm_avx512_acts;

BLM_AVX512_INLINE blm_avx512_acts blm_avx512_acts64(uint32_t type, const blm_acts *x,
                                                    uint32_t i, int whole)
{
    const float t = 0.0625f; /* what high nibbles may be too large by */
    const __m512 sixteenth = _mm512_setr_ps(1, 1, 1, 1, t, t, t, t, 1, 1, 1, 1, t, t, t, t);
    const int8_t *q = (const int8_t *)x->q + (size_t)i * 32;
    __m512i zero = _mm512_set1_epi8((char)blm_avx512_zero(type));
    if (blm_avx512_leaves_nibbles(type)) zero = _mm512_mask_slli_epi32(zero, 0xF0F0, zero, 4);
    blm_avx512_acts out;
    out.q = whole ? _mm512_loadu_si512(q) : _mm512_zextsi256_si512(blm_avx512_load32(q));
    out.scale = blm_avx512_pair(x->scale[i], whole ? x->scale[i + 1] : 0);
    if (blm_type_has_min(type)) {
        float second = whole ? (float)x->sum[i + 1] : 0;
        __m512 sum = _mm512_mul_ps(out.scale, blm_avx512_pair((float)x->sum[i], second));
        out.offset = _mm512_castps_si512(_mm512_maskz_mov_ps(0x0101, sum));
    } else {
        __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), zero, out.q);
        out.offset = _mm512_sub_epi32(_mm512_setzero_si512(), sums);
    }
    if (blm_avx512_leaves_nibbles(type)) out.scale = _mm512_mul_ps(out.scale, sixteenth);
    return out;
}

BLM_AVX512_INLINE __m512 blm_avx512_multiply(uint32_t type, blm_avx512_weights w,
                                             blm_avx512_acts x, __m512 sum)
{
    __m512i offset = x.offset;
    if (blm_type_has_min(type)) {
        sum = _mm512_fmadd_ps(w.min, _mm512_castsi512_ps(offset), sum);
        offset = _mm512_setzero_si512();
    }
    __m512 product = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(offset, w.q, x.q));
    return _mm512_fmadd_ps(product, _mm512_mul_ps(w.factor, x.scale), sum);
}

/* A row of blocks of 32. */
BLM_AVX512_INLINE __m512 blm_avx512_row(uint32_t type, const uint8_t *b, uint32_t blocks,
                                        const blm_avx512_acts *x)
{
    const uint32_t size = blm_type_bytes(type);
    __m512 sum = _mm512_setzero_ps();
    for (uint32_t i = 0; i < blocks; i += 2, b += 2 * size, x++) {
        const uint8_t *next = i + 1 < blocks ? b + size : b;
        blm_avx512_ahead(b, 2 * size);
        sum = blm_avx512_multiply(type, blm_avx512_two_blocks(type, b, next), *x, sum);
    }
    return sum;
}

BLM_AVX512_INLINE __m512 blm_avx512_spread_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)blm_load_u16(p)));
}

/* The f16 at p in the lower half, the next one in the upper. */
BLM_AVX512_INLINE __m512 blm_avx512_two_halves(const uint8_t *p)
{
    __m256i first = _mm256_set1_epi16((short)blm_load_u16(p));
    __m256i second = _mm256_set1_epi16((short)blm_load_u16(p + 2));
    return _mm512_cvtph_ps(_mm256_mask_mov_epi16(first, 0xFF00, second));
}

/* Where bit 2j is set in a byte of the lower half of v, or bit 2j + 1 in one of the upper. */
BLM_AVX512_INLINE __mmask64 blm_avx512_layers(__m512i v, int j)
{
    __m512i odd = _mm512_set1_epi8((char)(2u << 2 * j));
    __m512i bit = _mm512_mask_mov_epi32(_mm512_set1_epi8((char)(1u << 2 * j)), 0xFF00, odd);
    return _mm512_test_epi8_mask(v, bit);
}

/* One block of 256 of Q4_K or Q5_K and its activations, added to two sums. Scales and mins lie
 * in lanes 0-7 and 8-15 of one vector; x_scale holds the activations' scales in the lower and,
 * times the sums and negated, in the upper half. */
BLM_AVX512_INLINE void blm_avx512_q4_k_block(uint32_t type, const uint8_t *b, const int8_t *q,
                                             __m512 x_scale, __m512 *sum)
{
    const __m512i low = _mm512_set1_epi32(0x0F0F0F0F);
    const __m512i nibbles = _mm512_mask_slli_epi32(low, 0xFF00, low, 4);
    const __m512i shift = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
    const __m512i pick = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const uint8_t *p = b + (type == BLM_Q5_K ? 48 : 16);
    __m512 factors = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(blm_avx512_q4_k_scales(b)));
    __m512i bits = _mm512_setzero_si512();
    if (type == BLM_Q5_K) bits = _mm512_broadcast_i64x4(blm_avx512_load32(b + 16));
    factors = _mm512_mul_ps(_mm512_mul_ps(factors, blm_avx512_two_halves(b)), x_scale);
    sum[1] = _mm512_mask_add_ps(sum[1], 0xFF00, sum[1], factors);
    BLM_AVX512_UNROLL
    for (int j = 0; j < 4; j++) {
        __m512i w = _mm512_broadcast_i64x4(blm_avx512_load32(p + j * 32));
        w = _mm512_and_si512(w, nibbles);
        if (type == BLM_Q5_K) {
            __mmask64 set = blm_avx512_layers(bits, j);
            w = _mm512_srlv_epi64(w, shift);
            w = _mm512_mask_add_epi8(w, set, w, _mm512_set1_epi8(16));
        }
        w = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, _mm512_loadu_si512(q + j * 64));
        __m512i lanes = _mm512_add_epi32(pick, _mm512_set1_epi32(j * 2));
        __m512 factor = _mm512_permutexvar_ps(lanes, factors);
        sum[j & 1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(w), factor, sum[j & 1]);
    }
}

/* The scales of the activations of a block of 256 as the block wants them. */
BLM_AVX512_INLINE __m512 blm_avx512_q4_k_acts(uint32_t type, const blm_acts *x, uint32_t i)
{
    /* Q4_K's high nibbles stay where they are, 16 times too large */
    const float t = type == BLM_Q4_K ? 0.0625f : 1;
    __m256 scale = _mm256_loadu_ps(x->scale + (size_t)i * 8);
    __m256 x_sum = _mm256_cvtepi32_ps(blm_avx512_load32(x->sum + (size_t)i * 8));
    __m256 mins = _mm256_mul_ps(_mm256_sub_ps(_mm256_setzero_ps(), x_sum), scale);
    scale = _mm256_mul_ps(scale, _mm256_setr_ps(1, t, 1, t, 1, t, 1, t));
    return _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_castps_pd(scale)),
                                               _mm256_castps_pd(mins), 1));
}

BLM_AVX512_INLINE __m512 blm_avx512_row_q4_k(uint32_t type, const uint8_t *b, uint32_t blocks,
                                             const int8_t *q, const __m512 *x)
{
    const uint32_t bytes = blm_type_bytes(type);
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (uint32_t i = 0; i < blocks; i++, b += bytes, q += 256) {
        blm_avx512_ahead(b, bytes);
        blm_avx512_q4_k_block(type, b, q, x[i], sum);
    }
    return _mm512_add_ps(sum[0], sum[1]);
}

/* 64 of the 256 weights of a Q6_K block, 0..63: low nibbles of 64 bytes, then their high
 * nibbles; the upper bits come in pairs from 32 bytes, pair after pair. */
BLM_AVX512_INLINE __m512i blm_avx512_q6_k_64(const uint8_t *b, int j)
{
    const __m512i shift = _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2);
    __m512i low = _mm512_loadu_si512(b + j / 2 * 64);
    __m512i high = _mm512_broadcast_i64x4(blm_avx512_load32(b + 128 + j / 2 * 32));
    if (j & 1) {
        low = _mm512_srli_epi64(low, 4);
        high = _mm512_srli_epi64(high, 4);
    }
    high = _mm512_and_si512(_mm512_srlv_epi64(high, shift), _mm512_set1_epi8(3));
    low = _mm512_and_si512(low, _mm512_set1_epi8(15));
    return _mm512_or_si512(low, _mm512_slli_epi64(high, 4));
}

/* 64 of the 256 weights of a Q2_K block: bit pairs of 32 bytes, pair after pair. */
BLM_AVX512_INLINE __m512i blm_avx512_pairs_64(const uint8_t *pairs, int j)
{
    const __m512i shift = _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2);
    __m512i v = _mm512_broadcast_i64x4(blm_avx512_load32(pairs + j / 2 * 32));
    if (j & 1) v = _mm512_srli_epi64(v, 4);
    return _mm512_and_si512(_mm512_srlv_epi64(v, shift), _mm512_set1_epi8(3));
}

/* Of a Q3_K block: the third bits, of value l bit 2j or 2j + 1 of byte l, come first. */
BLM_AVX512_INLINE __m512i blm_avx512_q3_k_64(const uint8_t *b, int j)
{
    __m512i bits = _mm512_broadcast_i64x4(blm_avx512_load32(b));
    __m512i v = blm_avx512_pairs_64(b + 32, j);
    __mmask64 set = blm_avx512_layers(bits, j);
    return _mm512_mask_add_epi8(v, set, v, _mm512_set1_epi8(4));
}

BLM_AVX512_INLINE __m512i blm_avx512_q64(uint32_t type, const uint8_t *b, int j)
{
    const uint8_t *nibbles = b + 8 + j * 32;
    switch ((blm_type)type) {
    case BLM_Q2_K:
        return blm_avx512_pairs_64(b + 16, j);
    case BLM_Q3_K:
        return blm_avx512_q3_k_64(b, j);
    case BLM_Q6_K:
        return blm_avx512_q6_k_64(b, j);
    case BLM_IQ4_XS:
        return blm_avx512_iq4(blm_avx512_nibbles(nibbles, nibbles + 16));
    case BLM_Q4_K:
    case BLM_Q5_K: /* have a way of their own */
    case BLM_Q4_0:
    case BLM_Q4_1:
    case BLM_Q5_0:
    case BLM_Q5_1:
    case BLM_Q8_0:
    case BLM_IQ4_NL:
    case BLM_MXFP4: /* have blocks of 32 */
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16:
        break;
    }
    return _mm512_setzero_si512();
}

/* The 16 scales of a block of 256 as integers; IQ4_XS has each of its eight twice. */
BLM_AVX512_INLINE __m512i blm_avx512_numbers(uint32_t type, const uint8_t *b)
{
    const __m512i four =
        _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28);
    if (type == BLM_Q2_K)
        return _mm512_and_si512(_mm512_cvtepu8_epi32(blm_avx512_load16(b)),
                                _mm512_set1_epi32(15));
    if (type == BLM_Q6_K) return _mm512_cvtepi8_epi32(blm_avx512_load16(b + 192));
    if (type == BLM_Q3_K) {
        uint32_t w[4];
        blm_scales_q3_k(b + 96, w);
        __m128i v = _mm_setr_epi32((int)w[0], (int)w[1], (int)w[2], (int)w[3]);
        return _mm512_sub_epi32(_mm512_cvtepu8_epi32(v), _mm512_set1_epi32(32));
    }
    __m512i low = _mm512_srlv_epi32(_mm512_set1_epi32((int)blm_load_u32(b + 4)), four);
    __m512i high = _mm512_set1_epi32(blm_load_u16(b + 2));
    high = _mm512_srlv_epi32(high, _mm512_srli_epi32(four, 1));
    low = _mm512_and_si512(low, _mm512_set1_epi32(15));
    high = _mm512_slli_epi32(_mm512_and_si512(high, _mm512_set1_epi32(3)), 4);
    return _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32));
}

/* The f16 factor of such a block. */
BLM_AVX512_INLINE __m512 blm_avx512_factor_256(uint32_t type, const uint8_t *b)
{
    const uint32_t at = type == BLM_Q6_K   ? 208
                        : type == BLM_Q3_K ? 108
                        : type == BLM_Q2_K ? 80
                                           : 0;
    return blm_avx512_spread_f16(b + at);
}

/* What Q2_K's mins take off: x holds, negated, the scaled sums of 16 activations. */
BLM_AVX512_INLINE __m512 blm_avx512_q2_k_mins(const uint8_t *b, __m512 x)
{
    __m512i mins = _mm512_srli_epi32(_mm512_cvtepu8_epi32(blm_avx512_load16(b)), 4);
    return _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(mins), blm_avx512_spread_f16(b + 82)),
                         x);
}

/* The negated, scaled sums of 16 activations of block i of 256. */
BLM_AVX512_INLINE __m512 blm_avx512_q2_k_acts(const blm_acts *x, uint32_t i)
{
    const int8_t *q = (const int8_t *)x->q + (size_t)i * 256;
    float sums[16];
    for (uint32_t j = 0; j < 16; j++) {
        __m128i v = _mm_xor_si128(blm_avx512_load16(q + j * 16), _mm_set1_epi8(-128));
        v = _mm_sad_epu8(v, _mm_setzero_si128());
        int sum = _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_unpackhi_epi64(v, v))) - 16 * 128;
        sums[j] = -(float)sum * x->scale[(size_t)i * 8 + j / 2];
    }
    return _mm512_loadu_ps(sums);
}

/* A row of blocks of 256 that have a scale for each 16 weights, or are treated so. Of Q2_K's
 * activations the first of each block has what mins meet in place of its scales. */
BLM_AVX512_INLINE __m512 blm_avx512_row_of_16(uint32_t type, const uint8_t *b,
                                              const blm_acts *a, const blm_avx512_acts *x)
{
    const __m512i pick = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const uint32_t bytes = blm_type_bytes(type);
    __m512 sum = _mm512_setzero_ps();
    for (uint32_t i = 0; i < a->cols / 256; i++, b += bytes) {
        __m512 scale = _mm512_castps256_ps512(_mm256_loadu_ps(a->scale + (size_t)i * 8));
        blm_avx512_ahead(b, bytes);
        __m512 factors = _mm512_cvtepi32_ps(blm_avx512_numbers(type, b));
        factors = _mm512_mul_ps(factors, blm_avx512_factor_256(type, b));
        factors = _mm512_mul_ps(factors, _mm512_permutexvar_ps(twice, scale));
        if (type == BLM_Q2_K) sum = _mm512_add_ps(sum, blm_avx512_q2_k_mins(b, x->scale));
        BLM_AVX512_UNROLL
        for (int j = 0; j < 4; j++, x++) {
            __m512i lanes = _mm512_add_epi32(pick, _mm512_set1_epi32(j * 4));
            __m512i offset = type == BLM_Q2_K ? _mm512_setzero_si512() : x->offset;
            __m512i q = _mm512_dpbusd_epi32(offset, blm_avx512_q64(type, b, j), x->q);
            sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(q), _mm512_permutexvar_ps(lanes, factors),
                                  sum);
        }
    }
    return sum;
}

BLM_AVX512_INLINE void blm_avx512_one_token(const blm_matmul_args *a, uint64_t row0,
                                            uint64_t row1, uint32_t type)
{
    blm_avx512_acts *acts = (blm_avx512_acts *)a->scratch;
    __m512 *scales = (__m512 *)a->scratch;
    const uint32_t blocks = a->x->cols / 32;
    const int with_mins = type == BLM_Q4_K || type == BLM_Q5_K;
    if (with_mins)
        for (uint32_t i = 0; i < blocks / 8; i++)
            scales[i] = blm_avx512_q4_k_acts(type, a->x, i);
    else
        for (uint32_t i = 0; i < blocks; i += 2)
            acts[i / 2] = blm_avx512_acts64(type, a->x, i, i + 1 < blocks);
    if (type == BLM_Q2_K)
        for (uint32_t i = 0; i < blocks / 8; i++)
            acts[4 * i].scale = blm_avx512_q2_k_acts(a->x, i);
    for (uint64_t r = row0; r < row1; r += 4) {
        __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                         _mm512_setzero_ps()};
        for (uint64_t i = 0; i < BLM_MIN(row1 - r, 4); i++) {
            const uint8_t *row = a->w->data + (r + i) * a->w->row_bytes;
            if (with_mins)
                sum[i] =
                    blm_avx512_row_q4_k(type, row, blocks / 8, (const int8_t *)a->x->q, scales);
            else if (blm_avx512_in_256(type))
                sum[i] = blm_avx512_row_of_16(type, row, a->x, acts);
            else
                sum[i] = blm_avx512_row(type, row, blocks, acts);
        }
        blm_avx512_put4(a->y + r, row1 - r, sum);
    }
}

/* ---- One token, Q4_0 with free permutations of bytes ----------------------------------- */

/* Sixteen blocks of Q4_0 at a time, in four groups of four: 288 bytes, which take five loads.
 * One row after the other, as memory is fastest. */
enum { BLM_AVX512_Q4_0_STEP = 16, BLM_AVX512_Q4_0_BYTES = 18 * BLM_AVX512_Q4_0_STEP };

/* The activations that meet them: by group those of low and those of high nibbles; then -8
 * times the sums of the blocks, and their scales, block c of group g in lane 4c + g. */
typedef struct blm_avx512_acts16 {
    __m512i low[4], high[4], offset;
    __m512 scale;
} blm_avx512_acts16;

/* The first n of 64 bytes; n may lie outside 0..64. */
BLM_AVX512_INLINE __mmask64 blm_avx512_bytes(int64_t n)
{
    return n >= 64 ? ~(__mmask64)0 : n <= 0 ? 0 : ((__mmask64)1 << n) - 1;
}

/* The first n bytes at p, at most 64, and zeros. They straddle cache lines: the empty assembly
 * keeps gcc from reading them again for every use. */
BLM_AVX512_INLINE __m512i blm_avx512_load_once(const uint8_t *p, int64_t n)
{
    __m512i v =
        n >= 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8(blm_avx512_bytes(n), p);
    __asm__("" : "+v"(v));
    return v;
}

/* Blocks [i, i + 16) of a token, zeros after the last one. */
BLM_AVX512_INLINE void blm_avx512_acts_of_16(const blm_acts *x, uint32_t i,
                                             blm_avx512_acts16 *out)
{
    const __m512i turn =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const uint32_t left = BLM_MIN(x->cols / 32 - i, BLM_AVX512_Q4_0_STEP);
    const __mmask16 mask = blm_avx512_mask(left);
    const int8_t *q = (const int8_t *)x->q + (size_t)i * 32;
    for (int g = 0; g < 4; g++) {
        int64_t bytes = (int64_t)left * 32 - g * 128;
        __m512i a = _mm512_maskz_loadu_epi8(blm_avx512_bytes(bytes), q + g * 128);
        __m512i b = _mm512_maskz_loadu_epi8(blm_avx512_bytes(bytes - 64), q + g * 128 + 64);
        out->low[g] = _mm512_shuffle_i32x4(a, b, 0x88);
        out->high[g] = _mm512_shuffle_i32x4(a, b, 0xDD);
    }
    __m512i sum = _mm512_maskz_loadu_epi32(mask, x->sum + i);
    sum = _mm512_mullo_epi32(_mm512_permutexvar_epi32(turn, sum), _mm512_set1_epi32(-8));
    out->offset = sum;
    out->scale = _mm512_permutexvar_ps(turn, _mm512_maskz_loadu_ps(mask, x->scale + i));
}

/* The 16 f16 factors of the blocks in v, block c of group g in place 4c + g: it is word
 * 36g + 9c. */
BLM_AVX512_VBMI_INLINE __m512 blm_avx512_q4_0_factors(const __m512i *v)
{
    const __m512i word = _mm512_setr_epi64(0x006C004800240000, 0x00750051002D0009,
                                           0x007E005A00360012, 0x00870063003F001B, 0, 0, 0, 0);
    __m512i d = _mm512_permutex2var_epi16(v[0], word, v[1]);
    d = _mm512_mask_permutexvar_epi16(d, 0x0444, word, v[2]);
    d = _mm512_mask_permutexvar_epi16(d, 0x4888, word, v[3]);
    d = _mm512_mask_permutexvar_epi16(d, 0x8000, word, v[4]);
    return _mm512_cvtph_ps(_mm512_castsi512_si256(d));
}

/* The products of group g, a block's in four lanes side by side, each at most 8 * 15 * 127. */
BLM_AVX512_VBMI_INLINE __m512i blm_avx512_q4_0_group(const __m512i *v,
                                                     const blm_avx512_acts16 *x, int g)
{
    const __m512i first = /* byte i of block c: 18c + 2 + i */
        _mm512_setr_epi64(0x0908070605040302, 0x11100F0E0D0C0B0A, 0x1B1A191817161514,
                          0x232221201F1E1D1C, 0x2D2C2B2A29282726, 0x3534333231302F2E,
                          0x3F3E3D3C3B3A3938, 0x4746454443424140);
    const __m512i place = _mm512_add_epi8(first, _mm512_set1_epi8((char)(8 * g)));
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i w = _mm512_permutex2var_epi8(v[g], place, v[g + 1]), sum = _mm512_setzero_si512();
    sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(w, nibble), x->low[g]);
    w = _mm512_and_si512(_mm512_srli_epi16(w, 4), nibble);
    return _mm512_dpbusd_epi32(sum, w, x->high[g]);
}

/* Sixteen blocks, or the first `bytes`. Lanes are added in pairs as int16, which they fit. */
BLM_AVX512_VBMI_INLINE __m512 blm_avx512_q4_0_step(const uint8_t *b, int64_t bytes,
                                                   const blm_avx512_acts16 *x, __m512 sum)
{
    const __m512i one = _mm512_set1_epi16(1);
    __m512i v[5], n[4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 5; i++)
        v[i] = blm_avx512_load_once(b + i * 64, bytes - i * 64);
    BLM_AVX512_UNROLL
    for (int g = 0; g < 4; g++)
        n[g] = blm_avx512_q4_0_group(v, x, g);
    n[0] = _mm512_madd_epi16(_mm512_packs_epi32(n[0], n[1]), one);
    n[2] = _mm512_madd_epi16(_mm512_packs_epi32(n[2], n[3]), one);
    n[0] = _mm512_dpwssd_epi32(x->offset, _mm512_packs_epi32(n[0], n[2]), one);
    __m512 factor = _mm512_mul_ps(blm_avx512_q4_0_factors(v), x->scale);
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(n[0]), factor, sum);
}

BLM_AVX512_VBMI_INLINE __m512 blm_avx512_q4_0_row(const uint8_t *row, uint64_t row_bytes,
                                                  const blm_avx512_acts16 *x)
{
    __m512 sum = _mm512_setzero_ps();
    const uint8_t *b = row, *end = row + row_bytes;
    for (; end - b >= BLM_AVX512_Q4_0_BYTES; b += BLM_AVX512_Q4_0_BYTES, x++) {
        blm_avx512_ahead(b, BLM_AVX512_Q4_0_BYTES);
        sum = blm_avx512_q4_0_step(b, BLM_AVX512_Q4_0_BYTES, x, sum);
    }
    return b < end ? blm_avx512_q4_0_step(b, end - b, x, sum) : sum;
}

BLM_PRIVATE BLM_AVX512_VBMI void blm_avx512_matmul_one_q4_0_vbmi(const blm_matmul_args *a,
                                                                 uint64_t row0, uint64_t row1)
{
    blm_avx512_acts16 *x = (blm_avx512_acts16 *)a->scratch;
    const uint32_t blocks = a->x->cols / 32;
    for (uint32_t i = 0; i < blocks; i += BLM_AVX512_Q4_0_STEP)
        blm_avx512_acts_of_16(a->x, i, x + i / BLM_AVX512_Q4_0_STEP);
    for (uint64_t r = row0; r < row1; r += 4) {
        __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                         _mm512_setzero_ps()};
        for (uint64_t i = 0; i < BLM_MIN(row1 - r, 4); i++)
            sum[i] =
                blm_avx512_q4_0_row(a->w->data + (r + i) * a->w->row_bytes, a->w->row_bytes, x);
        blm_avx512_put4(a->y + r, row1 - r, sum);
    }
}

/* ---- One token, float weights ---------------------------------------------------------- */

BLM_AVX512_INLINE __m512 blm_avx512_float_row(uint32_t type, const uint8_t *row, const float *x,
                                              uint32_t cols)
{
    const uint32_t size = type == BLM_F32 ? 4 : 2;
    __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                     _mm512_setzero_ps()};
    uint32_t k = 0;
    for (; cols - k >= 64; k += 64) {
        blm_avx512_ahead(row + (size_t)k * size, 64 * size);
        BLM_AVX512_UNROLL
        for (uint32_t i = 0; i < 4; i++)
            sum[i] = _mm512_fmadd_ps(blm_avx512_floats(type, row, k + i * 16, 16),
                                     _mm512_loadu_ps(x + k + i * 16), sum[i]);
    }
    for (; k < cols; k += 16) {
        __m512 w = blm_avx512_floats(type, row, k, BLM_MIN(cols - k, 16));
        sum[0] = _mm512_fmadd_ps(w, blm_avx512_get(x, k, cols), sum[0]);
    }
    return _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
}

BLM_AVX512_INLINE void blm_avx512_float_one(const blm_matmul_args *a, uint64_t row0,
                                            uint64_t row1, uint32_t type)
{
    for (uint64_t r = row0; r < row1; r += 4) {
        __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                         _mm512_setzero_ps()};
        for (uint64_t i = 0; i < BLM_MIN(row1 - r, 4); i++) {
            const uint8_t *row = a->w->data + (r + i) * a->w->row_bytes;
            sum[i] = blm_avx512_float_row(type, row, a->x->f32, a->x->cols);
        }
        blm_avx512_put4(a->y + r, row1 - r, sum);
    }
}

/* ---- By type --------------------------------------------------------------------------- */

#define BLM_AVX512_FLOATS(name, number, values, bytes)                                         \
    BLM_AVX512 static void blm_avx512_one_##name(const blm_matmul_args *a, uint64_t row0,      \
                                                 uint64_t row1)                                \
    {                                                                                          \
        blm_avx512_float_one(a, row0, row1, number);                                           \
    }
BLM_FLOAT_TYPES(BLM_AVX512_FLOATS)
#undef BLM_AVX512_FLOATS

#define BLM_AVX512_BLOCKS(name, number, values, bytes)                                         \
    BLM_AVX512 static void blm_avx512_one_##name(const blm_matmul_args *a, uint64_t row0,      \
                                                 uint64_t row1)                                \
    {                                                                                          \
        blm_avx512_one_token(a, row0, row1, number);                                           \
    }
BLM_BLOCK_TYPES(BLM_AVX512_BLOCKS)
#undef BLM_AVX512_BLOCKS

BLM_PRIVATE void blm_avx512_matmul_one(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
#define BLM_AVX512_ONE(name, number, values, bytes) [number] = blm_avx512_one_##name,
    static const blm_matmul_fn one[BLM_TYPE_LIMIT] = {BLM_TYPES(BLM_AVX512_ONE)};
#undef BLM_AVX512_ONE
    one[a->w->type](a, row0, row1);
}

#endif
