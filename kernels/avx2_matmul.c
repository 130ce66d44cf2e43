/* AVX2 products with quantised weights. Several tokens: eight rows are unpacked into the worker's
 * scratch as a panel whose lanes are rows, then all tokens pass over it, four at a time. One
 * token: each weight is read once, where it lies, and the products of eight blocks of 32 come
 * down to eight integers, whose lanes are blocks.
 *
 * Both give the same bits: see kernels.h. With one token what eight blocks give with eight rows
 * is turned, so that lanes are rows. */
#include "avx2.h"
#include "blocks.h"

#ifdef BLM_HAVE_X86

/* ---- Unpacking the file's blocks ----------------------------------------------------- */

/* What unsigned q are too large by where the file has no minimum; 0: nothing, or q is signed. */
BLM_AVX2_INLINE uint32_t blm_avx2_zero(uint32_t type)
{
    return type == BLM_Q4_0 ? 8 : type == BLM_Q5_0 ? 16 : 0;
}

/* What blm_avx2_unpack makes signed q too large by, so that none is below 0. */
BLM_AVX2_INLINE uint32_t blm_avx2_excess(uint32_t type)
{
    return type == BLM_Q3_K ? 4 : type == BLM_Q6_K ? 32 : type == BLM_MXFP4 ? 12 : 0;
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

/* Bit i of each of 32 bytes, as bit `to`. */
BLM_AVX2_INLINE __m256i blm_avx2_layer(const uint8_t *p, uint32_t i, uint32_t to)
{
    __m256i v = blm_avx2_load(p);
    v = i > to ? _mm256_srl_epi16(v, _mm_cvtsi32_si128((int)(i - to)))
               : _mm256_sll_epi16(v, _mm_cvtsi32_si128((int)(to - i)));
    return _mm256_and_si256(v, _mm256_set1_epi8((char)(1u << to)));
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
    const __m128i values =
        _mm_add_epi8(_mm_setr_epi8(BLM_MXFP4_VALUES), _mm_set1_epi8(12)); /* excess */
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles);
}

BLM_AVX2_INLINE __m256i blm_avx2_unpack_q3_k(const uint8_t *b, uint32_t i)
{
    return _mm256_or_si256(blm_avx2_pairs(b + 32 + i / 4 * 32, i % 4), blm_avx2_layer(b, i, 2));
}

BLM_AVX2_INLINE __m256i blm_avx2_unpack_q6_k(const uint8_t *b, uint32_t i)
{
    uint32_t half = i / 4, part = i % 4;
    __m256i low = blm_avx2_part(b + half * 64 + part % 2 * 32, part / 2);
    __m256i high = blm_avx2_load(b + 128 + half * 32);
    high = _mm256_srl_epi16(high, _mm_cvtsi32_si128((int)(part * 2)));
    high = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(3)), 4);
    return _mm256_or_si256(low, high);
}

/* q of block i of a row, blm_avx2_excess too large. The places of the bits: see scalar.c. */
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
                               blm_avx2_layer(k + 16, i % 8, 4));
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

/* The eight scales (low half of the result) and mins of a block of Q4_K or Q5_K at p: see
 * blm_scales_q4_k. */
BLM_AVX2_INLINE __m128i blm_avx2_q4_k_scales(const uint8_t *p)
{
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i low = _mm_shuffle_epi32(v, 0x98), high = _mm_shuffle_epi32(v, 0x50);
    low = _mm_srlv_epi32(low, _mm_setr_epi32(0, 0, 0, 4));
    low = _mm_and_si128(low, _mm_setr_epi32(0x3F3F3F3F, 0x0F0F0F0F, 0x3F3F3F3F, 0x0F0F0F0F));
    high = _mm_and_si128(_mm_srli_epi32(high, 2), _mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
    return _mm_or_si128(low, high);
}

/* The sixteen scales of a block of Q3_K, whose end is p + 14: see blm_scales_q3_k. */
BLM_AVX2_INLINE __m128i blm_avx2_q3_k_scales(const uint8_t *p)
{
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p - 2));
    const __m128i a_b = _mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9);
    const __m128i c = _mm_set1_epi32(0x0D0C0B0A);
    __m128i low = _mm_srlv_epi32(_mm_shuffle_epi8(v, a_b), _mm_setr_epi32(0, 0, 4, 4));
    __m128i high = _mm_sllv_epi32(_mm_shuffle_epi8(v, c), _mm_setr_epi32(4, 2, 0, 0));
    high = _mm_srlv_epi32(high, _mm_setr_epi32(0, 0, 0, 2));
    low = _mm_and_si128(low, _mm_set1_epi8(15));
    low = _mm_or_si128(low, _mm_and_si128(high, _mm_set1_epi8(0x30)));
    return _mm_sub_epi8(low, _mm_set1_epi8(32));
}

/* The eight scales of a block of IQ4_XS, as the lowest bytes of words: see blm_scales_iq4_xs. */
BLM_AVX2_INLINE __m256i blm_avx2_iq4_xs_scales(const uint8_t *p)
{
    const __m256i step = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    __m256i low = _mm256_srlv_epi32(blm_avx2_spread4(p + 2), _mm256_add_epi32(step, step));
    __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(blm_load_u16(p)), step);
    low = _mm256_and_si256(low, _mm256_set1_epi32(15));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    return _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
}

/* Small integers of a block of 256, as bytes: 16 scales, one for each 16 weights, or 8 scales
 * and 8 mins. Q2_K's scales and mins lie in one byte each. */
BLM_AVX2_INLINE __m128i blm_avx2_k_scales(uint32_t type, const uint8_t *b)
{
    switch ((blm_type)type) {
    case BLM_Q4_K:
    case BLM_Q5_K:
        return blm_avx2_q4_k_scales(b + 4);
    case BLM_Q2_K:
        return _mm_loadu_si128((const __m128i *)(const void *)b);
    case BLM_Q3_K:
        return blm_avx2_q3_k_scales(b + 96);
    case BLM_Q6_K:
        return _mm_loadu_si128((const __m128i *)(const void *)(b + 192));
    case BLM_Q4_0:
    case BLM_Q4_1:
    case BLM_Q5_0:
    case BLM_Q5_1:
    case BLM_Q8_0:
    case BLM_IQ4_NL:
    case BLM_IQ4_XS:
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

/* The f16 at one place of eight rows. */
BLM_AVX2_INLINE __m256 blm_avx2_halves(const uint8_t *const *rows, size_t at)
{
    __m128i v = _mm_cvtsi32_si128(blm_load_u16(rows[0] + at));
    v = _mm_insert_epi16(v, (short)blm_load_u16(rows[1] + at), 1);
    v = _mm_insert_epi16(v, (short)blm_load_u16(rows[2] + at), 2);
    v = _mm_insert_epi16(v, (short)blm_load_u16(rows[3] + at), 3);
    v = _mm_insert_epi16(v, (short)blm_load_u16(rows[4] + at), 4);
    v = _mm_insert_epi16(v, (short)blm_load_u16(rows[5] + at), 5);
    v = _mm_insert_epi16(v, (short)blm_load_u16(rows[6] + at), 6);
    return _mm256_cvtph_ps(_mm_insert_epi16(v, (short)blm_load_u16(rows[7] + at), 7));
}

/* MXFP4's scales, at one place of eight rows: see blm_scale_mxfp4. */
BLM_AVX2_INLINE __m256 blm_avx2_powers(const uint8_t *const *rows, size_t at)
{
    __m128i v = _mm_cvtsi32_si128(rows[0][at]);
    v = _mm_insert_epi8(v, (char)rows[1][at], 1);
    v = _mm_insert_epi8(v, (char)rows[2][at], 2);
    v = _mm_insert_epi8(v, (char)rows[3][at], 3);
    v = _mm_insert_epi8(v, (char)rows[4][at], 4);
    v = _mm_insert_epi8(v, (char)rows[5][at], 5);
    v = _mm_insert_epi8(v, (char)rows[6][at], 6);
    __m256i e = _mm256_cvtepu8_epi32(_mm_insert_epi8(v, (char)rows[7][at], 7));
    __m256i bits = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    __m256i is_tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(bits, tiny, is_tiny));
}

/* w = scale[k / 16] q - min[k / 16], k below 32. What a type has not, the second of either or
 * mins, stays unset. Here: of block i of 32 of eight rows. */
BLM_AVX2_INLINE void blm_avx2_32_scales(uint32_t type, const uint8_t *const *rows, uint32_t i,
                                        __m256 *scale, __m256 *min)
{
    const size_t at = (size_t)i * blm_type_bytes(type);
    scale[0] = type == BLM_MXFP4 ? blm_avx2_powers(rows, at) : blm_avx2_halves(rows, at);
    if (blm_type_has_min(type))
        min[0] = _mm256_xor_ps(blm_avx2_halves(rows, at + 2), _mm256_set1_ps(-0.0f));
    else if (blm_avx2_zero(type))
        min[0] = _mm256_mul_ps(scale[0], _mm256_set1_ps((float)blm_avx2_zero(type)));
}

/* Eight bytes as floats. */
BLM_AVX2_INLINE __m256 blm_avx2_numbers(int with_sign, __m128i v)
{
    return _mm256_cvtepi32_ps(with_sign ? _mm256_cvtepi8_epi32(v) : _mm256_cvtepu8_epi32(v));
}

/* The same of the eight blocks of 32 in the block of 256 at b. */
BLM_AVX2_INLINE void blm_avx2_256_scales(uint32_t type, const uint8_t *b, __m256 *scale,
                                         __m256 *min)
{
    const __m128i nibble = _mm_set1_epi8(15);
    const uint32_t at = blm_avx2_factor_at(type);
    const __m256 d = _mm256_set1_ps(blm_avx2_f16(b + at));
    if (type == BLM_IQ4_XS) {
        scale[0] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(blm_avx2_iq4_xs_scales(b + 2)));
        return;
    }
    __m128i packed = blm_avx2_k_scales(type, b), mins = packed;
    if (blm_type_is_halved(type)) /* first halves, then last ones */
        packed = _mm_shuffle_epi8(
            packed, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    if (type == BLM_Q2_K) {
        mins = _mm_and_si128(_mm_srli_epi16(packed, 4), nibble);
        packed = _mm_and_si128(packed, nibble);
    } else {
        mins = _mm_srli_si128(packed, 8);
    }
    scale[0] = _mm256_mul_ps(d, blm_avx2_numbers(!blm_type_has_min(type), packed));
    if (blm_type_is_halved(type))
        scale[1] = _mm256_mul_ps(
            d, blm_avx2_numbers(!blm_type_has_min(type), _mm_srli_si128(packed, 8)));
    if (!blm_type_has_min(type)) return;
    const __m256 dmin = _mm256_set1_ps(blm_avx2_f16(b + at + 2));
    min[0] = _mm256_mul_ps(dmin, blm_avx2_numbers(0, mins));
    if (type == BLM_Q2_K)
        min[1] = _mm256_mul_ps(dmin, blm_avx2_numbers(0, _mm_srli_si128(mins, 8)));
}

/* ---- What a block adds ------------------------------------------------------------------- */

/* Sums of activations: of 32, and of the first 16 of them. */
typedef struct blm_avx2_acts {
    __m256 sum, first;
} blm_avx2_acts;

/* What blocks give, of eight rows or eight blocks of a row: over both halves scale x integer sum
 * (a, and where halves differ b), minus min x activation sum. */
BLM_AVX2_INLINE __m256 blm_avx2_give(uint32_t type, __m256i a, __m256i b, const __m256 *scale,
                                     const __m256 *min, blm_avx2_acts x)
{
    __m256 y = _mm256_cvtepi32_ps(a);
    if (type == BLM_Q2_K) {
        __m256 second = _mm256_mul_ps(_mm256_sub_ps(x.sum, x.first), min[1]);
        y = _mm256_fmsub_ps(y, scale[0], _mm256_fmadd_ps(x.first, min[0], second));
    } else if (blm_avx2_is_unsigned(type)) {
        y = _mm256_fmsub_ps(y, scale[0], _mm256_mul_ps(x.sum, min[0]));
    } else {
        y = _mm256_mul_ps(y, scale[0]);
    }
    if (blm_type_is_halved(type)) y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), scale[1], y);
    return y;
}

/* The sum of 16 activations. */
BLM_AVX2_INLINE int32_t blm_avx2_first8(const int8_t *q)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)q);
    v = _mm_sad_epu8(_mm_xor_si128(v, _mm_set1_epi8(-128)), _mm_setzero_si128());
    return _mm_cvtsi128_si32(v) + _mm_extract_epi32(v, 2) - 16 * 128;
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

/* Scales and mins of block i. */
BLM_AVX2_INLINE void blm_avx2_panel_32(uint32_t type, const uint8_t *const *rows, uint32_t i,
                                       blm_avx2_panel8 *panel)
{
    __m256 scale[2], min[2];
    blm_avx2_32_scales(type, rows, i, scale, min);
    _mm256_storeu_ps(panel->scale[0], scale[0]);
    if (blm_avx2_is_unsigned(type)) _mm256_storeu_ps(panel->min[0], min[0]);
}

/* The same of the blocks of 256 that begin with block i, for eight blocks of the panel. */
BLM_AVX2_INLINE void blm_avx2_panel_256(uint32_t type, const uint8_t *const *rows, uint32_t i,
                                        blm_avx2_panel8 *panel)
{
    __m256i part[4][8];
    for (uint32_t r = 0; r < 8; r++) {
        __m256 v[4] = {_mm256_setzero_ps()};
        const uint8_t *b = rows[r] + (size_t)(i / 8) * blm_type_bytes(type);
        blm_avx2_256_scales(type, b, v, v + 2);
        BLM_AVX2_UNROLL
        for (uint32_t k = 0; k < 4; k++)
            part[k][r] = _mm256_castps_si256(v[k]);
    }
    for (uint32_t k = 0; k < 4; k += blm_type_is_halved(type) ? 1 : 2) {
        if (k >= 2 && !blm_avx2_is_unsigned(type)) break;
        blm_avx2_transpose(part[k]);
        for (uint32_t j = 0; j < 8; j++)
            _mm256_storeu_si256((__m256i *)(void *)(panel[j].scale[0] + k * 8), part[k][j]);
    }
}

BLM_AVX2_INLINE void blm_avx2_fill8(uint32_t type, const uint8_t *const *rows, uint32_t blocks,
                                    blm_avx2_panel8 *panel)
{
    const __m256i excess = _mm256_set1_epi8((char)blm_avx2_excess(type));
    for (uint32_t i = 0; i < blocks; i++, panel++) {
        __m256i v[8];
        BLM_AVX2_UNROLL
        for (int r = 0; r < 8; r++)
            v[r] = _mm256_sub_epi8(blm_avx2_unpack(type, rows[r], i), excess);
        blm_avx2_transpose(v);
        BLM_AVX2_UNROLL
        for (int g = 0; g < 8; g++)
            _mm256_storeu_si256((__m256i *)(void *)panel->q[g], v[g]);
        if (!blm_avx2_in_256(type))
            blm_avx2_panel_32(type, rows, i, panel);
        else if (i % 8 == 0)
            blm_avx2_panel_256(type, rows, i, panel);
    }
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

/* Adds block i to eight rows of `tokens` tokens from t0. */
BLM_AVX2_INLINE void blm_avx2_panel_block(uint32_t type, const blm_avx2_panel8 *w,
                                          const blm_acts *x, uint32_t t0, uint32_t tokens,
                                          uint32_t i, __m256 *sum)
{
    const int8_t *q[4];
    __m256i a[4], b[4];
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        q[t] = x->q + (t0 + t) * x->q_stride + (size_t)i * 32;
    blm_avx2_block8(type, w, q, tokens, a, b);
    const __m256 *scale = (const __m256 *)(const void *)w->scale[0];
    const __m256 *min = (const __m256 *)(const void *)w->min[0];
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        const size_t at = (t0 + t) * x->block_stride + i;
        blm_avx2_acts acts = {_mm256_set1_ps((float)x->sum[at]), _mm256_setzero_ps()};
        if (type == BLM_Q2_K) acts.first = _mm256_set1_ps((float)blm_avx2_first8(q[t]));
        sum[t] = _mm256_fmadd_ps(blm_avx2_give(type, a[t], b[t], scale, min, acts),
                                 _mm256_set1_ps(x->scale[at]), sum[t]);
    }
}

/* Eight rows of the panel with `tokens` (at most 4) tokens from t0. */
BLM_AVX2_INLINE void blm_avx2_panel_tokens(const blm_matmul_args *a, uint64_t r, uint32_t count,
                                           uint32_t type, uint32_t t0, uint32_t tokens)
{
    const blm_avx2_panel8 *w = (const blm_avx2_panel8 *)a->scratch;
    const __m256i mask = blm_avx2_mask(count);
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()}; /* or gcc -Os takes them for unset */
    for (uint32_t i = 0; i < a->x->cols / 32; i++, w++)
        blm_avx2_panel_block(type, w, a->x, t0, tokens, i, sum);
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

/* ---- One token ------------------------------------------------------------------------- */

/* Sums of four products of 32 weights with 32 activations, those of the first half in the
 * lower lanes. Pairs fit 16 bits: 2 x 63 x 127, 2 x 128 x 127. Signed weights: |w| times x
 * with w's sign, since the instruction wants one unsigned factor (x is never -128). */
BLM_AVX2_INLINE __m256i blm_avx2_products(uint32_t type, __m256i q, __m256i x)
{
    BLM_AVX2_IN_ORDER(q); /* gcc would load it twice */
    if (blm_avx2_is_unsigned(type) || blm_avx2_excess(type))
        x = _mm256_maddubs_epi16(q, x);
    else
        x = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
    return _mm256_madd_epi16(x, _mm256_set1_epi16(1));
}

/* The sums of neighbouring lanes of a, then of b, in each half. */
BLM_AVX2_INLINE __m256i blm_avx2_add_pairs(__m256i a, __m256i b)
{
    __m256 low = _mm256_castsi256_ps(a), high = _mm256_castsi256_ps(b);
    return _mm256_add_epi32(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88)),
                            _mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xDD)));
}

/* Of each half of four registers the sum of its lanes. Sums of four products fit 16 bits but
 * where weights have eight bits (63 x 4 x 127), of eight where they have less than six. */
BLM_AVX2_INLINE __m256i blm_avx2_add_four(uint32_t type, const __m256i *v)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i a[2];
    BLM_AVX2_UNROLL
    for (int i = 0; i < 2; i++) {
        const __m256i left = v[2 * i], right = v[2 * i + 1];
        a[i] = blm_avx2_room(type) == 1
                   ? _mm256_add_epi32(_mm256_blend_epi32(left, right, 0xCC),
                                      _mm256_alignr_epi8(right, left, 8))
                   : _mm256_madd_epi16(_mm256_packs_epi32(left, right), one);
    }
    if (blm_avx2_room(type) == 1 || type == BLM_Q6_K) return blm_avx2_add_pairs(a[0], a[1]);
    return _mm256_madd_epi16(_mm256_packs_epi32(a[0], a[1]), one);
}

/* Takes off integer sums what too large q have added. */
BLM_AVX2_INLINE void blm_avx2_take_excess(uint32_t type, blm_avx2_acts x, __m256i *a,
                                          __m256i *b)
{
    const __m256 excess = _mm256_set1_ps((float)blm_avx2_excess(type));
    const __m256 first = blm_type_is_halved(type) ? x.first : x.sum;
    const __m256 second = _mm256_sub_ps(x.sum, first);
    if (!blm_avx2_excess(type)) return;
    *a = _mm256_sub_epi32(*a, _mm256_cvtps_epi32(_mm256_mul_ps(excess, first)));
    *b = _mm256_sub_epi32(*b, _mm256_cvtps_epi32(_mm256_mul_ps(excess, second)));
}

/* The integer sums of eight blocks out of their products; where halves have scales of their
 * own, of the first halves in a and of the last ones in b. */
BLM_AVX2_INLINE void blm_avx2_totals(uint32_t type, const __m256i *v, blm_avx2_acts x,
                                     __m256i *a, __m256i *b)
{
    __m256i low = blm_avx2_add_four(type, v), high = blm_avx2_add_four(type, v + 4);
    *a = _mm256_permute2x128_si256(low, high, 0x20);
    *b = _mm256_permute2x128_si256(low, high, 0x31);
    if (!blm_type_is_halved(type)) *a = _mm256_add_epi32(*a, *b);
    blm_avx2_take_excess(type, x, a, b);
}

/* Adds block i of eight rows, with `count` rows of activations, for which weights are unpacked
 * once. */
BLM_AVX2_INLINE void blm_avx2_row_blocks(uint32_t type, uint32_t count,
                                         const uint8_t *const *rows, const blm_acts *x,
                                         uint32_t i, __m256 *sum)
{
    __m256i w[8], v[8], a, b;
    __m256 scale[2], min[2];
    blm_avx2_32_scales(type, rows, i, scale, min);
    BLM_AVX2_UNROLL
    for (uint32_t d = 0; d < count; d++) {
        const size_t at = d * x->block_stride + i;
        const __m256i q = blm_avx2_load(x->q + d * x->q_stride + (size_t)i * 32);
        const blm_avx2_acts acts = {_mm256_cvtepi32_ps(_mm256_set1_epi32(x->sum[at])),
                                    _mm256_setzero_ps()};
        BLM_AVX2_UNROLL
        for (uint32_t r = 0; r < 8; r++) {
            if (d == 0) w[r] = blm_avx2_unpack(type, rows[r], i);
            v[r] = blm_avx2_products(type, w[r], q);
        }
        blm_avx2_totals(type, v, acts, &a, &b);
        sum[d] = _mm256_fmadd_ps(blm_avx2_give(type, a, b, scale, min, acts),
                                 _mm256_set1_ps(x->scale[at]), sum[d]);
    }
}

/* How far ahead of the weights memory is asked for, in bytes: row after row, and besides the
 * eight rows at hand. */
enum { BLM_AVX2_STREAM_AHEAD = 7168, BLM_AVX2_ROWS_AHEAD = 2048 };

/* Eight rows of blocks of 32. Meanwhile the next eight are asked for, in order of memory. */
BLM_AVX2_INLINE __m256 blm_avx2_stream(uint32_t type, uint32_t count,
                                       const uint8_t *const *rows, const blm_acts *x)
{
    const uint32_t eight = 8 * blm_type_bytes(type), blocks = x->cols / 32;
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t i = 0; i < blocks; i++) {
        blm_avx2_ahead(rows[0], (uint64_t)eight * (blocks + i) + BLM_AVX2_ROWS_AHEAD, eight);
        blm_avx2_row_blocks(type, count, rows, x, i, sum);
    }
    return count == 2 ? _mm256_add_ps(sum[0], sum[1]) : sum[0];
}

/* What eight blocks give with each of eight rows. */
typedef __m256i blm_avx2_given[8];

/* A product with one token, whose activations are one row, or two (int16). */
typedef struct blm_avx2_token {
    const blm_acts *acts;
    blm_avx2_acts *x;      /* of each eight blocks, row beside row */
    blm_avx2_given *given; /* the same, with rows of weights       */
    uint32_t blocks;
} blm_avx2_token;

/* The block of 256 at w, in row r of those at hand, with `rows` rows of activations, for which
 * weights are unpacked once. */
BLM_AVX2_INLINE void blm_avx2_step(uint32_t type, uint32_t rows, const blm_avx2_token *m,
                                   const uint8_t *block, uint32_t i, uint32_t r)
{
    __m256i w[8], v[8], a, b;
    __m256 scale[2], min[2];
    blm_avx2_256_scales(type, block, scale, min);
    BLM_AVX2_UNROLL
    for (uint32_t d = 0; d < rows; d++) {
        const int8_t *q = m->acts->q + d * m->acts->q_stride + (size_t)i * 256;
        BLM_AVX2_UNROLL
        for (uint32_t j = 0; j < 8; j++) {
            if (d == 0) w[j] = blm_avx2_unpack(type, block, j);
            v[j] = blm_avx2_products(type, w[j], blm_avx2_load(q + j * 32));
        }
        const blm_avx2_acts acts = m->x[i * rows + d];
        blm_avx2_totals(type, v, acts, &a, &b);
        m->given[i * rows + d][r] =
            _mm256_castps_si256(blm_avx2_give(type, a, b, scale, min, acts));
    }
}

/* Row r of those at hand. */
BLM_AVX2_INLINE void blm_avx2_row_given(uint32_t type, uint32_t rows, const blm_avx2_token *m,
                                        const uint8_t *row, uint32_t r)
{
    const uint32_t bytes = blm_type_bytes(type);
    for (uint32_t i = 0; i < m->blocks / 8; i++, row += bytes) {
        blm_avx2_ahead(row, BLM_AVX2_STREAM_AHEAD, bytes);
        blm_avx2_step(type, rows, m, row, i, r);
    }
}

/* The activations' sums, by eight blocks; every `step`-th of x. */
BLM_AVX2_INLINE void blm_avx2_take_acts(uint32_t type, const blm_acts *acts, uint32_t step,
                                        blm_avx2_acts *x)
{
    const uint32_t blocks = acts->cols / 32;
    for (uint32_t i = 0; i < blocks; i += 8, x += step) {
        const __m256i mask = blm_avx2_mask(BLM_MIN(blocks - i, 8));
        float first[8] = {0};
        x->sum = _mm256_cvtepi32_ps(_mm256_maskload_epi32(acts->sum + i, mask));
        for (uint32_t j = 0; j < 8 && blm_type_is_halved(type); j++)
            first[j] = (float)blm_avx2_first8(acts->q + (size_t)(i + j) * 32);
        x->first = _mm256_loadu_ps(first);
    }
}

BLM_AVX2_INLINE blm_avx2_token blm_avx2_begin(uint32_t type, uint32_t rows,
                                              const blm_matmul_args *a)
{
    blm_avx2_token m = {a->x, (blm_avx2_acts *)a->scratch, NULL, a->x->cols / 32};
    const size_t count = (size_t)((m.blocks + 7) / 8) * rows;
    blm_acts row = *a->x;
    for (uint32_t d = 0; d < rows; d++) {
        blm_avx2_take_acts(type, &row, rows, m.x + d);
        row.q += row.q_stride, row.sum += row.block_stride;
    }
    m.given = (blm_avx2_given *)(void *)(m.x + count);
    memset(m.given, 0, count * sizeof *m.given);
    return m;
}

/* Adds eight blocks to the sums of rows, in order, each times the scale of its activations. */
BLM_AVX2_INLINE __m256 blm_avx2_add_given(__m256i *given, const float *scale, __m256 sum)
{
    __m256i c[8];
    BLM_AVX2_UNROLL
    for (uint32_t j = 0; j < 8; j++)
        c[j] = given[j];
    blm_avx2_transpose(c);
    BLM_AVX2_UNROLL
    for (uint32_t j = 0; j < 8; j++)
        sum = _mm256_fmadd_ps(_mm256_castsi256_ps(c[j]), _mm256_set1_ps(scale[j]), sum);
    return sum;
}

/* The sums of the rows at hand; with two rows of activations of both. */
BLM_AVX2_INLINE __m256 blm_avx2_sums(uint32_t rows, const blm_avx2_token *m)
{
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t d = 0; d < rows; d++) {
        const float *scale = m->acts->scale + d * m->acts->block_stride;
        for (uint32_t i = 0; i < m->blocks / 8; i++, scale += 8)
            sum[d] = blm_avx2_add_given(m->given[i * rows + d], scale, sum[d]);
    }
    return rows == 2 ? _mm256_add_ps(sum[0], sum[1]) : sum[0];
}

BLM_AVX2_INLINE void blm_avx2_one_token_256(const blm_matmul_args *a, uint64_t row0,
                                            uint64_t row1, uint32_t type, uint32_t count)
{
    const blm_avx2_token m = blm_avx2_begin(type, count, a);
    for (uint64_t r = row0; r < row1; r += 8) {
        const uint32_t n = (uint32_t)BLM_MIN(row1 - r, 8);
        for (uint32_t i = 0; i < n; i++)
            blm_avx2_row_given(type, count, &m, a->w->data + (r + i) * a->w->row_bytes, i);
        _mm256_maskstore_ps(a->y + r, blm_avx2_mask(n), blm_avx2_sums(count, &m));
    }
}

BLM_AVX2_INLINE void blm_avx2_one_token_32(const blm_matmul_args *a, uint64_t row0,
                                           uint64_t row1, uint32_t type, uint32_t count)
{
    for (uint64_t r = row0; r < row1; r += 8) {
        const uint8_t *rows[8];
        blm_avx2_rows(a, r, row1, 8, rows);
        _mm256_maskstore_ps(a->y + r, blm_avx2_mask((uint32_t)BLM_MIN(row1 - r, 8)),
                            blm_avx2_stream(type, count, rows, a->x));
    }
}

BLM_AVX2_INLINE void blm_avx2_one_token(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                        uint32_t type, uint32_t count)
{
    if (blm_avx2_in_256(type))
        blm_avx2_one_token_256(a, row0, row1, type, count);
    else
        blm_avx2_one_token_32(a, row0, row1, type, count);
}

BLM_AVX2_INLINE void blm_avx2_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                     uint32_t type)
{
    if (a->x->tokens == 1)
        blm_avx2_one_token(a, row0, row1, type, 1);
    else
        blm_avx2_tokens(a, row0, row1, type);
}

/* ---- The table ----------------------------------------------------------------------- */

#define BLM_AVX2_TYPE(name, number, values, bytes)                                             \
    BLM_AVX2 void blm_avx2_matmul8_##name(const blm_matmul_args *a, uint64_t row0,             \
                                          uint64_t row1)                                       \
    {                                                                                          \
        blm_avx2_matmul(a, row0, row1, number);                                                \
    }                                                                                          \
    BLM_AVX2 void blm_avx2_pair_##name(const blm_matmul_args *a, uint64_t row0, uint64_t row1) \
    {                                                                                          \
        blm_avx2_one_token(a, row0, row1, number, 2);                                          \
    }
BLM_BLOCK_TYPES(BLM_AVX2_TYPE)
#undef BLM_AVX2_TYPE

BLM_PRIVATE void blm_kernels_avx2_matmul(blm_kernels *k)
{
    (void)k; /* all types may be left out */
#define BLM_AVX2_ENTRY(name, number, values, bytes)                                            \
    k->matmul8[number] = blm_avx2_matmul8_##name;                                              \
    k->matmul_pair[number] = blm_avx2_pair_##name;
    BLM_BLOCK_TYPES(BLM_AVX2_ENTRY)
#undef BLM_AVX2_ENTRY
}

#endif
