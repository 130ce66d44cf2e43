/* AVX2 products with quantised weights. One token: each weight is read once, where it lies,
 * four rows at a time; lanes run along k. Several tokens: eight rows are unpacked into the
 * worker's scratch as a panel whose lanes are rows, then all tokens pass over it, four at a
 * time; nothing is added across lanes. */
#include "avx2.h"
#include "blocks.h"

#ifdef BLM_HAVE_X86

/* ---- Unpacking the file's blocks ----------------------------------------------------- */

/* What unsigned q are too large by where the file has no minimum; 0: nothing, or q is signed. */
BLM_AVX2_INLINE uint32_t blm_avx2_zero(uint32_t type)
{
    return type == BLM_Q4_0 ? 8 : type == BLM_Q5_0 ? 16 : 0;
}

/* Whether blocks of the file hold 256 weights. */
BLM_AVX2_INLINE int blm_avx2_in_256(uint32_t type)
{
    uint32_t values, bytes;
    blm_type_layout(type, &values, &bytes);
    return values == 256;
}

/* Whether q is unsigned: such products take -min times the activations' sum along. */
BLM_AVX2_INLINE int blm_avx2_is_unsigned(uint32_t type)
{
    return blm_avx2_zero(type) || blm_type_has_min(type);
}

/* 32 weights, w = scale[k / 16] q - min[k / 16], q in one vector. */
typedef struct blm_avx2_block {
    float scale[2], min[2];
} blm_avx2_block;

/* Low nibbles of 16 bytes in the lower half, high nibbles in the upper. */
BLM_AVX2_INLINE __m256i blm_avx2_nibbles(const uint8_t *p)
{
    const __m256i shift = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
    __m256i both =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_and_si256(_mm256_srlv_epi32(both, shift), _mm256_set1_epi8(15));
}

/* Bit j of the word at p in byte j, as `size` or 0. */
BLM_AVX2_INLINE __m256i blm_avx2_bits(const uint8_t *p, char size)
{
    const __m256i byte =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i v = _mm256_shuffle_epi8(blm_avx2_spread4(p), byte);
    v = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
    return _mm256_and_si256(v, _mm256_set1_epi8(size));
}

/* A half of 32 bytes' nibbles: the low (part 0) or the high (part 1) one of each. */
BLM_AVX2_INLINE __m256i blm_avx2_part(const uint8_t *p, uint32_t part)
{
    __m256i v = _mm256_srl_epi16(blm_avx2_load(p), _mm_cvtsi32_si128((int)(part * 4)));
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

/* Bit i of each of 32 bytes, as `size` or 0. */
BLM_AVX2_INLINE __m256i blm_avx2_layer(const uint8_t *p, uint32_t i, char size)
{
    const __m256i bit = _mm256_set1_epi8((char)(1u << i));
    __m256i v = _mm256_cmpeq_epi8(_mm256_and_si256(blm_avx2_load(p), bit), bit);
    return _mm256_and_si256(v, _mm256_set1_epi8(size));
}

/* Bit pair i of each of 32 bytes. */
BLM_AVX2_INLINE __m256i blm_avx2_pairs(const uint8_t *p, uint32_t i)
{
    __m256i v = _mm256_srl_epi16(blm_avx2_load(p), _mm_cvtsi32_si128((int)(i * 2)));
    return _mm256_and_si256(v, _mm256_set1_epi8(3));
}

/* What nibbles stand for. */
BLM_AVX2_INLINE __m256i blm_avx2_iq4(__m256i nibbles)
{
    const __m128i values = _mm_setr_epi8(BLM_IQ4_VALUES);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles);
}

BLM_AVX2_INLINE __m256i blm_avx2_mxfp4(__m256i nibbles)
{
    const __m128i values = _mm_setr_epi8(BLM_MXFP4_VALUES);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles);
}

BLM_AVX2_INLINE __m256i blm_avx2_unpack_q3_k(const uint8_t *b, uint32_t i)
{
    __m256i v =
        _mm256_or_si256(blm_avx2_pairs(b + 32 + i / 4 * 32, i % 4), blm_avx2_layer(b, i, 4));
    return _mm256_sub_epi8(v, _mm256_set1_epi8(4));
}

BLM_AVX2_INLINE __m256i blm_avx2_unpack_q6_k(const uint8_t *b, uint32_t i)
{
    uint32_t half = i / 4, part = i % 4;
    __m256i low = blm_avx2_part(b + half * 64 + part % 2 * 32, part / 2);
    __m256i high = blm_avx2_load(b + 128 + half * 32);
    high = _mm256_srl_epi16(high, _mm_cvtsi32_si128((int)(part * 2)));
    high = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(3)), 4);
    return _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
}

/* q of block i of a row. The places of the bits: see scalar.c. */
BLM_AVX2_INLINE __m256i blm_avx2_unpack(uint32_t type, const uint8_t *row, uint32_t i)
{
    const uint8_t *b = row + (size_t)i * blm_type_bytes(type); /* blocks of 32 */
    const uint8_t *k = row + (size_t)(i / 8) * blm_type_bytes(type);
    switch ((blm_type)type) {
    case BLM_Q4_0:
        return blm_avx2_nibbles(b + 2);
    case BLM_Q4_1:
        return blm_avx2_nibbles(b + 4);
    case BLM_Q5_0:
        return _mm256_or_si256(blm_avx2_nibbles(b + 6), blm_avx2_bits(b + 2, 16));
    case BLM_Q5_1:
        return _mm256_or_si256(blm_avx2_nibbles(b + 8), blm_avx2_bits(b + 4, 16));
    case BLM_IQ4_NL:
        return blm_avx2_iq4(blm_avx2_nibbles(b + 2));
    case BLM_MXFP4:
        return blm_avx2_mxfp4(blm_avx2_nibbles(b + 1));
    case BLM_Q2_K:
        return blm_avx2_pairs(k + 16 + i % 8 / 4 * 32, i % 4);
    case BLM_Q3_K:
        return blm_avx2_unpack_q3_k(k, i % 8);
    case BLM_Q5_K:
        return _mm256_or_si256(blm_avx2_part(k + 48 + i % 8 / 2 * 32, i % 2),
                               blm_avx2_layer(k + 16, i % 8, 16));
    case BLM_IQ4_XS:
        return blm_avx2_iq4(blm_avx2_nibbles(k + 8 + i % 8 * 16));
    case BLM_Q8_0:
        return blm_avx2_load(b + 2);
    case BLM_Q4_K:
        return blm_avx2_part(k + 16 + i % 8 / 2 * 32, i % 2);
    case BLM_Q6_K:
        return blm_avx2_unpack_q6_k(k, i % 8);
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16:
        break;
    }
    return _mm256_setzero_si256(); /* floats have no q */
}

/* The eight scales (low half of the result) and mins of a block of Q4_K or Q5_K. */
BLM_AVX2_INLINE __m128i blm_avx2_q4_k_scales(const uint8_t *p)
{
    uint32_t w[4];
    blm_scales_q4_k(p, w);
    return _mm_setr_epi32((int)w[0], (int)w[1], (int)w[2], (int)w[3]);
}

/* Small integers of a block of 256, as bytes: 16 scales, one for each 16 weights, or 8 scales
 * and 8 mins. Q2_K's scales and mins lie in one byte each. */
BLM_AVX2_INLINE __m128i blm_avx2_k_scales(uint32_t type, const uint8_t *b)
{
    uint32_t w[4] = {0};
    switch ((blm_type)type) {
    case BLM_Q4_K:
    case BLM_Q5_K:
        return blm_avx2_q4_k_scales(b + 4);
    case BLM_Q2_K:
        return _mm_loadu_si128((const __m128i *)(const void *)b);
    case BLM_Q3_K:
        blm_scales_q3_k(b + 96, w);
        return _mm_sub_epi8(_mm_setr_epi32((int)w[0], (int)w[1], (int)w[2], (int)w[3]),
                            _mm_set1_epi8(32));
    case BLM_Q6_K:
        return _mm_loadu_si128((const __m128i *)(const void *)(b + 192));
    case BLM_IQ4_XS:
        blm_scales_iq4_xs(b + 2, w);
        return _mm_sub_epi8(_mm_setr_epi32((int)w[0], (int)w[1], 0, 0), _mm_set1_epi8(32));
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
    return _mm_setzero_si128();
}

/* Where the f16 factor lies in a block. */
BLM_AVX2_INLINE uint32_t blm_avx2_factor_at(uint32_t type)
{
    return type == BLM_Q6_K ? 208 : type == BLM_Q3_K ? 108 : type == BLM_Q2_K ? 80 : 0;
}

/* The factor of a block, which but for MXFP4 is f16. */
BLM_AVX2_INLINE float blm_avx2_block_factor(uint32_t type, const uint8_t *b)
{
    return type == BLM_MXFP4 ? blm_scale_mxfp4(*b) : blm_avx2_f16(b + blm_avx2_factor_at(type));
}

/* Scales and mins of block i of a row: of blocks of 32, or of one of eight in a block of 256. */
BLM_AVX2_INLINE blm_avx2_block blm_avx2_scales(uint32_t type, const uint8_t *row, uint32_t i)
{
    const int in_256 = blm_avx2_in_256(type);
    const uint8_t *b = row + (size_t)(in_256 ? i / 8 : i) * blm_type_bytes(type);
    const float d = blm_avx2_block_factor(type, b);
    const float dmin =
        blm_type_has_min(type) ? blm_avx2_f16(b + blm_avx2_factor_at(type) + 2) : 0;
    blm_avx2_block out = {{d, d}, {0, 0}};
    int8_t packed[16];
    if (!in_256) {
        out.min[0] = out.min[1] =
            blm_type_has_min(type) ? -dmin : (float)blm_avx2_zero(type) * d;
        return out;
    }
    _mm_storeu_si128((__m128i *)(void *)packed, blm_avx2_k_scales(type, b));
    for (uint32_t h = 0; h < 2; h++) {
        int scale = packed[blm_type_is_halved(type) ? i % 8 * 2 + h : i % 8];
        if (type == BLM_Q2_K) {
            out.min[h] = dmin * (float)((uint8_t)scale >> 4);
            scale &= 15;
        } else if (blm_type_has_min(type)) {
            out.min[h] = dmin * (float)packed[8 + i % 8];
        }
        out.scale[h] = d * (float)scale;
    }
    return out;
}

/* Bytes of 32 weights, rounded up. */
BLM_AVX2_INLINE uint32_t blm_avx2_block_bytes(uint32_t type)
{
    uint32_t values, bytes;
    blm_type_layout(type, &values, &bytes);
    return (bytes * 32 + values - 1) / values;
}

/* ---- One token, int8 ----------------------------------------------------------------- */

/* Products of 32 weights with 32 activations, summed in fours; Q6_K's times their int8
 * scales. Pairs fit 16 bits: 2 x 31 x 127, 2 x 128 x 127. Signed weights: |w| times x with
 * w's sign, since the instruction wants one unsigned factor (x is never -128). */
BLM_AVX2_INLINE __m256i blm_avx2_products(uint32_t type, const uint8_t *row, uint32_t i,
                                          __m256i x, __m256i x_times_zero)
{
    __m256i q = blm_avx2_unpack(type, row, i), pairs, factor = _mm256_set1_epi16(1);
    if (blm_avx2_zero(type))
        pairs = _mm256_sub_epi16(_mm256_maddubs_epi16(q, x), x_times_zero);
    else if (blm_avx2_is_unsigned(type))
        pairs = _mm256_maddubs_epi16(q, x);
    else
        pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
    if (type == BLM_Q6_K) {
        const uint8_t *scale = row + (size_t)(i / 8) * 210 + 192 + i % 8 * 2;
        factor = _mm256_setr_m128i(_mm_set1_epi16((int8_t)scale[0]),
                                   _mm_set1_epi16((int8_t)scale[1]));
    }
    return _mm256_madd_epi16(pairs, factor);
}

/* The factor of block i, in every lane. */
BLM_AVX2_INLINE __m256 blm_avx2_factor(uint32_t type, const uint8_t *row, uint32_t i)
{
    const uint8_t *b = row + (size_t)(blm_avx2_in_256(type) ? i / 8 : i) * blm_type_bytes(type);
    if (type == BLM_MXFP4) return _mm256_set1_ps(blm_scale_mxfp4(*b));
    return _mm256_cvtph_ps(_mm_set1_epi16((short)blm_load_u16(b + blm_avx2_factor_at(type))));
}

/* The mins that the file has for block i of 32 of four rows, each one f16 behind the factor;
 * there they are added. */
BLM_AVX2_INLINE __m128 blm_avx2_mins(uint32_t type, const uint8_t *const *rows, uint32_t i)
{
    const size_t at = (size_t)i * blm_type_bytes(type) + 2;
    __m128i m = _mm_cvtsi32_si128(blm_load_u16(rows[0] + at));
    m = _mm_insert_epi16(m, blm_load_u16(rows[1] + at), 1);
    m = _mm_insert_epi16(m, blm_load_u16(rows[2] + at), 2);
    return _mm_cvtph_ps(_mm_insert_epi16(m, blm_load_u16(rows[3] + at), 3));
}

/* Four rows of blocks of 32 or of Q6_K with token 0. Lanes run along k; f32 sums in order of
 * blocks. Meanwhile the next four rows are asked for, in the order of memory. */
BLM_AVX2_INLINE __m128 blm_avx2_stream(uint32_t type, const uint8_t *const *rows,
                                       const blm_acts *x)
{
    const int8_t *q = (const int8_t *)x->q;
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    const uint32_t bytes = blm_avx2_block_bytes(type);
    __m128 mins = _mm_setzero_ps();
    for (uint32_t i = 0; i < x->cols / 32; i++) {
        __m256i v = blm_avx2_load(q + (size_t)i * 32);
        blm_avx2_ahead(rows[0], (uint64_t)4 * bytes * (x->cols / 32 + i), 4 * bytes);
        __m256i zeros = _mm256_set1_epi8((char)blm_avx2_zero(type));
        zeros = _mm256_maddubs_epi16(zeros, v);
        __m256 scale = _mm256_set1_ps(x->scale[i]);
        BLM_AVX2_UNROLL
        for (int r = 0; r < 4; r++) {
            __m256 product = _mm256_cvtepi32_ps(blm_avx2_products(type, rows[r], i, v, zeros));
            __m256 factor = _mm256_mul_ps(blm_avx2_factor(type, rows[r], i), scale);
            sum[r] = _mm256_fmadd_ps(product, factor, sum[r]);
        }
        if (!blm_type_has_min(type)) continue;
        __m128 x_sum = _mm_set1_ps((float)x->sum[i] * x->scale[i]);
        mins = _mm_fmadd_ps(blm_avx2_mins(type, rows, i), x_sum, mins);
    }
    __m128 y = blm_avx2_sum4(sum[0], sum[1], sum[2], sum[3]);
    return blm_type_has_min(type) ? _mm_add_ps(y, mins) : y;
}

/* One block of 256 with one scale for each 32 weights (Q4_K, Q5_K, IQ4_XS) and its
 * activations, added to sum. The eight mins meet the eight scaled activation sums in one
 * multiplication. */
BLM_AVX2_INLINE __m256 blm_avx2_block_of_8(uint32_t type, const uint8_t *b, const int8_t *q,
                                           __m256 scale, __m256 scaled_sum, __m256 sum)
{
    __m128i packed = blm_avx2_k_scales(type, b);
    __m256 d = _mm256_cvtph_ps(_mm_set1_epi16((short)blm_load_u16(b)));
    float factor[8];
    __m256i numbers =
        type == BLM_IQ4_XS ? _mm256_cvtepi8_epi32(packed) : _mm256_cvtepu8_epi32(packed);
    __m256 factors = _mm256_cvtepi32_ps(numbers);
    _mm256_storeu_ps(factor, _mm256_mul_ps(_mm256_mul_ps(factors, d), scale));
    if (blm_type_has_min(type)) {
        __m256 dmin = _mm256_cvtph_ps(_mm_set1_epi16((short)blm_load_u16(b + 2)));
        __m256 mins = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(packed, 8)));
        sum = _mm256_fnmadd_ps(_mm256_mul_ps(mins, dmin), scaled_sum, sum);
    }
    BLM_AVX2_UNROLL
    for (uint32_t j = 0; j < 8; j++) {
        __m256i v = blm_avx2_load(q + j * 32);
        __m256i product = blm_avx2_products(type, b, j, v, v);
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(product), _mm256_set1_ps(factor[j]), sum);
    }
    return sum;
}

/* Words 2j and 2j + 1 of 16 words, each in all words of a half. */
BLM_AVX2_INLINE __m256i blm_avx2_two_words(__m256i words, uint32_t j)
{
    const __m256i first = _mm256_setr_m128i(_mm_set1_epi16(0x0100), _mm_set1_epi16(0x0302));
    __m256i half = j < 4 ? _mm256_permute2x128_si256(words, words, 0x00)
                         : _mm256_permute2x128_si256(words, words, 0x11);
    __m256i place = _mm256_add_epi8(first, _mm256_set1_epi8((char)(j % 4 * 4)));
    return _mm256_shuffle_epi8(half, place);
}

/* One block of 256 with a scale for each 16 weights (Q2_K, Q3_K). Q2_K's mins meet the scaled
 * sums of 16 activations. */
BLM_AVX2_INLINE __m256 blm_avx2_block_of_16(uint32_t type, const uint8_t *b, const int8_t *q,
                                            const float *scale, const __m256 *scaled_sums,
                                            __m256 sum)
{
    const uint32_t at = blm_avx2_factor_at(type);
    __m128i packed = blm_avx2_k_scales(type, b);
    __m256 d = _mm256_cvtph_ps(_mm_set1_epi16((short)blm_load_u16(b + at)));
    if (type == BLM_Q2_K) {
        const __m128i nibble = _mm_set1_epi8(15);
        __m128i mins = _mm_and_si128(_mm_srli_epi16(packed, 4), nibble);
        __m256 dmin = _mm256_cvtph_ps(_mm_set1_epi16((short)blm_load_u16(b + at + 2)));
        __m256 low = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(mins));
        __m256 high = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(mins, 8)));
        sum = _mm256_fnmadd_ps(_mm256_mul_ps(low, dmin), scaled_sums[0], sum);
        sum = _mm256_fnmadd_ps(_mm256_mul_ps(high, dmin), scaled_sums[1], sum);
        packed = _mm_and_si128(packed, nibble);
    }
    __m256i words = _mm256_cvtepi8_epi16(packed);
    BLM_AVX2_UNROLL
    for (uint32_t j = 0; j < 8; j++) {
        __m256i w = blm_avx2_unpack(type, b, j), v = blm_avx2_load(q + j * 32);
        __m256i pairs = type == BLM_Q2_K
                            ? _mm256_maddubs_epi16(w, v)
                            : _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(v, w));
        __m256i product = _mm256_madd_epi16(pairs, blm_avx2_two_words(words, j));
        __m256 factor = _mm256_mul_ps(d, _mm256_set1_ps(scale[j]));
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(product), factor, sum);
    }
    return sum;
}

/* The sums of 16 activations each of a block of 256, times their scales. */
BLM_AVX2_INLINE void blm_avx2_sums_of_16(const int8_t *q, const float *scale, __m256 *out)
{
    float sums[16];
    for (uint32_t j = 0; j < 8; j++) {
        __m256i v = _mm256_xor_si256(blm_avx2_load(q + j * 32), _mm256_set1_epi8(-128));
        v = _mm256_sad_epu8(v, _mm256_setzero_si256()); /* four sums, each in 64 bits */
        v = _mm256_add_epi64(v, _mm256_shuffle_epi32(v, 0x4E));
        int low = _mm_cvtsi128_si32(_mm256_castsi256_si128(v));
        int high = _mm_cvtsi128_si32(_mm256_extracti128_si256(v, 1));
        sums[2 * j] = (float)(low - 16 * 128) * scale[j];
        sums[2 * j + 1] = (float)(high - 16 * 128) * scale[j];
    }
    out[0] = _mm256_loadu_ps(sums);
    out[1] = _mm256_loadu_ps(sums + 8);
}

/* Four rows of blocks of 256 with token 0. */
BLM_AVX2_INLINE __m128 blm_avx2_stream_256(uint32_t type, const uint8_t *const *rows,
                                           const blm_acts *x)
{
    const int8_t *q = (const int8_t *)x->q;
    const uint32_t bytes = blm_type_bytes(type);
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    for (uint32_t i = 0; i < x->cols / 256; i++, q += 256) {
        const float *scales = x->scale + (size_t)i * 8;
        __m256 scale = _mm256_loadu_ps(scales), sums[2];
        __m256 scaled_sum = _mm256_cvtepi32_ps(blm_avx2_load(x->sum + (size_t)i * 8));
        blm_avx2_ahead(rows[0], (uint64_t)4 * bytes * (x->cols / 256 + i), 4 * bytes);
        scaled_sum = _mm256_mul_ps(scaled_sum, scale);
        if (type == BLM_Q2_K) blm_avx2_sums_of_16(q, scales, sums);
        BLM_AVX2_UNROLL
        for (int r = 0; r < 4; r++) {
            const uint8_t *b = rows[r] + (size_t)i * bytes;
            sum[r] = blm_type_is_halved(type)
                         ? blm_avx2_block_of_16(type, b, q, scales, sums, sum[r])
                         : blm_avx2_block_of_8(type, b, q, scale, scaled_sum, sum[r]);
        }
    }
    return blm_avx2_sum4(sum[0], sum[1], sum[2], sum[3]);
}

/* The sum of 16 activations. */
BLM_AVX2_INLINE int32_t blm_avx2_first8(const int8_t *q)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)q);
    v = _mm_sad_epu8(_mm_xor_si128(v, _mm_set1_epi8(-128)), _mm_setzero_si128());
    return _mm_cvtsi128_si32(v) + _mm_extract_epi32(v, 2) - 16 * 128;
}

BLM_AVX2_INLINE void blm_avx2_one_token(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                        uint32_t type)
{
    for (uint64_t r = row0; r < row1; r += 4) {
        const uint8_t *rows[4];
        float y[4];
        blm_avx2_rows(a, r, row1, 4, rows);
        if (blm_avx2_in_256(type) && type != BLM_Q6_K)
            _mm_storeu_ps(y, blm_avx2_stream_256(type, rows, a->x));
        else
            _mm_storeu_ps(y, blm_avx2_stream(type, rows, a->x));
        memcpy(a->y + r, y, (size_t)BLM_MIN(row1 - r, 4) * sizeof *y);
    }
}

/* ---- Several tokens: the panel ------------------------------------------------------- */

/* Eight rows of 32 columns. Lane r of every vector belongs to row r; a vector of q holds
 * four neighbouring k of each row. */
typedef struct blm_avx2_panel8 {
    int8_t q[8][32];
    float scale[2][8], min[2][8];
} blm_avx2_panel8;

/* Transposes 8 x 8 words of 32 bits in place. */
BLM_AVX2_INLINE void blm_avx2_transpose(__m256i *v)
{
    __m256i a[8], b[8];
    BLM_AVX2_UNROLL
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    BLM_AVX2_UNROLL
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    BLM_AVX2_UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

BLM_AVX2_INLINE void blm_avx2_panel_scales(uint32_t type, const uint8_t *const *rows,
                                           uint32_t i, float *scale, float *min)
{
    BLM_AVX2_UNROLL
    for (int r = 0; r < 8; r++) {
        blm_avx2_block block = blm_avx2_scales(type, rows[r], i);
        scale[r] = block.scale[0];
        scale[8 + r] = block.scale[1];
        min[r] = block.min[0];
        min[8 + r] = block.min[1];
    }
}

BLM_AVX2_INLINE void blm_avx2_fill8(uint32_t type, const uint8_t *const *rows, uint32_t blocks,
                                    blm_avx2_panel8 *panel)
{
    for (uint32_t i = 0; i < blocks; i++, panel++) {
        __m256i v[8];
        BLM_AVX2_UNROLL
        for (int r = 0; r < 8; r++)
            v[r] = blm_avx2_unpack(type, rows[r], i);
        blm_avx2_transpose(v);
        BLM_AVX2_UNROLL
        for (int g = 0; g < 8; g++)
            _mm256_storeu_si256((__m256i *)(void *)panel->q[g], v[g]);
        blm_avx2_panel_scales(type, rows, i, panel->scale[0], panel->min[0]);
    }
}

/* What one block adds to eight outputs of a token: sum over both halves of scale x integer
 * sum, minus min x activation sum, all times the activations' scale. */
BLM_AVX2_INLINE __m256 blm_avx2_block_end(uint32_t type, __m256 sum, __m256i a, __m256i b,
                                          const float *scale, const float *min, float x_scale,
                                          int32_t x_sum, int32_t x_first)
{
    __m256 y = _mm256_cvtepi32_ps(a);
    if (type == BLM_Q2_K) {
        __m256 first = _mm256_set1_ps((float)x_first), second;
        second = _mm256_set1_ps((float)(x_sum - x_first));
        second = _mm256_mul_ps(second, _mm256_loadu_ps(min + 8));
        second = _mm256_fmadd_ps(first, _mm256_loadu_ps(min), second);
        y = _mm256_fmsub_ps(y, _mm256_loadu_ps(scale), second);
    } else if (blm_avx2_is_unsigned(type)) {
        __m256 offset = _mm256_mul_ps(_mm256_set1_ps((float)x_sum), _mm256_loadu_ps(min));
        y = _mm256_fmsub_ps(y, _mm256_loadu_ps(scale), offset);
    } else {
        y = _mm256_mul_ps(y, _mm256_loadu_ps(scale));
    }
    if (blm_type_is_halved(type))
        y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), _mm256_loadu_ps(scale + 8), y);
    return _mm256_fmadd_ps(y, _mm256_set1_ps(x_scale), sum);
}

/* How many of the eight sums of four products 16 bits have room for: of 4-bit weights all
 * (8 x 2 x 15 x 127), of up to 6 bits with a sign half of them (4 x 2 x 32 x 127), else one. */
BLM_AVX2_INLINE uint32_t blm_avx2_room(uint32_t type)
{
    switch ((blm_type)type) {
    case BLM_Q4_0:
    case BLM_Q4_1:
    case BLM_Q4_K:
    case BLM_MXFP4:
        return 8;
    case BLM_Q5_0:
    case BLM_Q5_1:
    case BLM_Q2_K: /* as the halves stay apart */
    case BLM_Q3_K:
    case BLM_Q5_K:
    case BLM_Q6_K:
        return 4;
    case BLM_Q8_0:
    case BLM_IQ4_NL:
    case BLM_IQ4_XS:
        return 1;
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16:
        break;
    }
    return 0;
}

/* The integer sums of one block for `tokens` tokens, a: both halves together (types with
 * one scale) or the first, b: the second. */
BLM_AVX2_INLINE void blm_avx2_block8(uint32_t type, const blm_avx2_panel8 *w,
                                     const int8_t *const *x, uint32_t tokens, __m256i *a,
                                     __m256i *b)
{
    const __m256i one = _mm256_set1_epi16(1);
    const uint32_t room = blm_avx2_room(type);
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        a[t] = b[t] = _mm256_setzero_si256();
    BLM_AVX2_UNROLL
    for (uint32_t g = 0; g < 8; g++) {
        __m256i q = blm_avx2_load(w->q[g]), size = _mm256_abs_epi8(q);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            __m256i v = blm_avx2_spread4(x[t] + g * 4);
            if (blm_avx2_is_unsigned(type))
                v = _mm256_maddubs_epi16(q, v);
            else
                v = _mm256_maddubs_epi16(size, _mm256_sign_epi8(v, q));
            if (g >= room && room > 1) {
                b[t] = _mm256_add_epi16(b[t], v);
                BLM_AVX2_IN_ORDER(b[t]);
                continue;
            }
            a[t] = room == 1 ? _mm256_add_epi32(a[t], _mm256_madd_epi16(v, one))
                             : _mm256_add_epi16(a[t], v);
            BLM_AVX2_IN_ORDER(a[t]);
        }
    }
    if (room == 1) return;
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        a[t] = _mm256_madd_epi16(a[t], one);
        if (room == 4) b[t] = _mm256_madd_epi16(b[t], one);
        if (room == 4 && !blm_type_is_halved(type)) a[t] = _mm256_add_epi32(a[t], b[t]);
    }
}

/* Eight rows of the panel with `tokens` (at most 4) tokens from t0. */
BLM_AVX2_INLINE void blm_avx2_panel_tile(uint32_t type, const blm_avx2_panel8 *w,
                                         const blm_acts *x, uint32_t t0, uint32_t tokens,
                                         __m256 *sum)
{
    const int8_t *q[4];
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        q[t] = x->q + (t0 + t) * x->q_stride;
        sum[t] = _mm256_setzero_ps();
    }
    for (uint32_t i = 0; i < x->cols / 32; i++, w++) {
        __m256i a[4], b[4];
        blm_avx2_block8(type, w, q, tokens, a, b);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            size_t at = (t0 + t) * x->block_stride + i;
            int32_t first = type == BLM_Q2_K ? blm_avx2_first8(q[t]) : 0;
            sum[t] = blm_avx2_block_end(type, sum[t], a[t], b[t], w->scale[0], w->min[0],
                                        x->scale[at], x->sum[at], first);
            q[t] += 32;
        }
    }
}

BLM_AVX2_INLINE void blm_avx2_panel_tokens(const blm_matmul_args *a, uint64_t r, uint32_t count,
                                           uint32_t type, uint32_t t0, uint32_t tokens)
{
    __m256 sum[4];
    __m256i mask = blm_avx2_mask(count);
    blm_avx2_panel_tile(type, (const blm_avx2_panel8 *)a->scratch, a->x, t0, tokens, sum);
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        _mm256_maskstore_ps(a->y + (t0 + t) * a->y_stride + r, mask, sum[t]);
}

BLM_AVX2_INLINE void blm_avx2_tokens(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                     uint32_t type)
{
    uint32_t tokens = a->x->tokens, blocks = a->x->cols / 32;
    for (uint64_t r = row0; r < row1; r += 8) {
        uint32_t t = 0, count = (uint32_t)BLM_MIN(row1 - r, 8);
        const uint8_t *rows[8];
        blm_avx2_rows(a, r, row1, 8, rows);
        blm_avx2_fill8(type, rows, blocks, (blm_avx2_panel8 *)a->scratch);
        for (; t + 4 <= tokens; t += 4)
            blm_avx2_panel_tokens(a, r, count, type, t, 4);
        for (; t < tokens; t++)
            blm_avx2_panel_tokens(a, r, count, type, t, 1);
    }
}

BLM_AVX2_INLINE void blm_avx2_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                     uint32_t type)
{
    if (a->x->tokens == 1)
        blm_avx2_one_token(a, row0, row1, type);
    else
        blm_avx2_tokens(a, row0, row1, type);
}

/* ---- The table ----------------------------------------------------------------------- */

#define BLM_AVX2_TYPE(name, number, values, bytes)                                             \
    BLM_AVX2 void blm_avx2_matmul8_##name(const blm_matmul_args *a, uint64_t row0,             \
                                          uint64_t row1)                                       \
    {                                                                                          \
        blm_avx2_matmul(a, row0, row1, number);                                                \
    }
BLM_BLOCK_TYPES(BLM_AVX2_TYPE)
#undef BLM_AVX2_TYPE

BLM_PRIVATE void blm_kernels_avx2_matmul(blm_kernels *k)
{
#define BLM_AVX2_ENTRY(name, number, values, bytes)                                            \
    k->matmul8[number] = blm_avx2_matmul8_##name;
    BLM_BLOCK_TYPES(BLM_AVX2_ENTRY)
#undef BLM_AVX2_ENTRY
}

#endif
