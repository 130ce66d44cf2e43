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

/* The eight blocks from block i of a row, of which `left` are real. */
typedef struct blm_avx2_run {
    const uint8_t *row;
    uint32_t i, left;
} blm_avx2_run;

/* Sums of four products of 32 weights with 32 activations, those of the first half in the
 * lower lanes. Pairs fit 16 bits: 2 x 63 x 127, 2 x 128 x 127. Signed weights: |w| times x
 * with w's sign, since the instruction wants one unsigned factor (x is never -128). */
BLM_AVX2_INLINE __m256i blm_avx2_products(uint32_t type, __m256i q, __m256i x)
{
    if (blm_avx2_is_unsigned(type))
        x = _mm256_maddubs_epi16(q, x);
    else
        x = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
    return _mm256_madd_epi16(x, _mm256_set1_epi16(1));
}

/* Neighbouring lanes of a, then of b, added in each half of a register. Sums of up to eight
 * products fit 16 bits but where weights have eight bits: 32 x 8 x 127. */
BLM_AVX2_INLINE __m256i blm_avx2_add_lanes(uint32_t type, __m256i a, __m256i b)
{
    if (blm_avx2_room(type) == 1) return _mm256_hadd_epi32(a, b);
    return _mm256_madd_epi16(_mm256_packs_epi32(a, b), _mm256_set1_epi16(1));
}

BLM_AVX2_INLINE __m256i blm_avx2_add_four(uint32_t type, const __m256i *v)
{
    return blm_avx2_add_lanes(type, blm_avx2_add_lanes(type, v[0], v[1]),
                              blm_avx2_add_lanes(type, v[2], v[3]));
}

/* The integer sums of eight blocks out of their products; where halves have scales of their
 * own, of the first halves in a and of the last ones in b. */
BLM_AVX2_INLINE void blm_avx2_totals(uint32_t type, const __m256i *v, __m256i *a, __m256i *b)
{
    __m256i low = blm_avx2_add_four(type, v), high = blm_avx2_add_four(type, v + 4);
    *a = _mm256_permute2x128_si256(low, high, 0x20);
    *b = _mm256_permute2x128_si256(low, high, 0x31);
    if (!blm_type_is_halved(type)) *a = _mm256_add_epi32(*a, *b);
}

/* Where block j of a run begins, of the last one in place of those that are not real. */
BLM_AVX2_INLINE const uint8_t *blm_avx2_run_at(uint32_t type, blm_avx2_run r, uint32_t j)
{
    return r.row +
           (r.i + (r.left < 8 ? BLM_MIN(j, r.left - 1) : j)) * (size_t)blm_type_bytes(type);
}

/* The f16 at one place of the blocks of a run. */
BLM_AVX2_INLINE __m256 blm_avx2_run_halves(uint32_t type, blm_avx2_run r, uint32_t at)
{
    uint64_t four[2] = {0};
    BLM_AVX2_UNROLL
    for (uint32_t j = 0; j < 8; j++)
        four[j / 4] |= (uint64_t)blm_load_u16(blm_avx2_run_at(type, r, j) + at) << j % 4 * 16;
    return _mm256_cvtph_ps(_mm_set_epi64x((long long)four[1], (long long)four[0]));
}

/* MXFP4's scales: see blm_scale_mxfp4. */
BLM_AVX2_INLINE __m256 blm_avx2_run_powers(blm_avx2_run r)
{
    uint64_t eight = 0;
    BLM_AVX2_UNROLL
    for (uint32_t j = 0; j < 8; j++)
        eight |= (uint64_t)*blm_avx2_run_at(BLM_MXFP4, r, j) << j * 8;
    __m256i e = _mm256_cvtepu8_epi32(_mm_set_epi64x(0, (long long)eight));
    __m256i bits = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    __m256i is_tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(bits, tiny, is_tiny));
}

/* Scales and mins of the blocks of 32 of a run, as blm_avx2_scales has them. */
BLM_AVX2_INLINE void blm_avx2_run_scales(uint32_t type, blm_avx2_run r, __m256 *scale,
                                         __m256 *min)
{
    scale[0] = type == BLM_MXFP4 ? blm_avx2_run_powers(r) : blm_avx2_run_halves(type, r, 0);
    if (blm_type_has_min(type))
        min[0] = _mm256_xor_ps(blm_avx2_run_halves(type, r, 2), _mm256_set1_ps(-0.0f));
    else if (blm_avx2_zero(type))
        min[0] = _mm256_mul_ps(scale[0], _mm256_set1_ps((float)blm_avx2_zero(type)));
}

/* Eight bytes as floats. */
BLM_AVX2_INLINE __m256 blm_avx2_numbers(int with_sign, __m128i v)
{
    return _mm256_cvtepi32_ps(with_sign ? _mm256_cvtepi8_epi32(v) : _mm256_cvtepu8_epi32(v));
}

/* Scales and mins of the block of 256 at b, as blm_avx2_scales has them. */
BLM_AVX2_INLINE void blm_avx2_256_scales(uint32_t type, const uint8_t *b, __m256 *scale,
                                         __m256 *min)
{
    const __m128i nibble = _mm_set1_epi8(15);
    const uint32_t at = blm_avx2_factor_at(type);
    const __m256 d = _mm256_set1_ps(blm_avx2_f16(b + at));
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

BLM_AVX2_INLINE void blm_avx2_any_scales(uint32_t type, blm_avx2_run r, __m256 *scale,
                                         __m256 *min)
{
    if (blm_avx2_in_256(type))
        blm_avx2_256_scales(type, r.row + (size_t)(r.i / 8) * blm_type_bytes(type), scale, min);
    else
        blm_avx2_run_scales(type, r, scale, min);
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

/* A run with `rows` rows of activations, for which weights are unpacked once: row r of those
 * at hand. */
BLM_AVX2_INLINE void blm_avx2_step(uint32_t type, uint32_t rows, const blm_avx2_token *m,
                                   blm_avx2_run run, uint32_t r)
{
    const uint32_t at = run.i / 8 * rows;
    __m256i w[8], v[8], a, b;
    __m256 scale[2], min[2];
    BLM_AVX2_UNROLL
    for (uint32_t d = 0; d < rows; d++) {
        const int8_t *q = m->acts->q + d * m->acts->q_stride + (size_t)run.i * 32;
        BLM_AVX2_UNROLL
        for (uint32_t j = 0; j < 8; j++) {
            v[j] = _mm256_setzero_si256();
            if (d == 0) w[j] = v[j];
            if (j >= run.left) continue;
            if (d == 0) w[j] = blm_avx2_unpack(type, run.row, run.i + j);
            v[j] = blm_avx2_products(type, w[j], blm_avx2_load(q + j * 32));
        }
        if (d == 0) blm_avx2_any_scales(type, run, scale, min);
        blm_avx2_totals(type, v, &a, &b);
        m->given[at + d][r] =
            _mm256_castps_si256(blm_avx2_give(type, a, b, scale, min, m->x[at + d]));
    }
}

/* How far ahead of the weights memory is asked for, in bytes. */
enum { BLM_AVX2_STREAM_AHEAD = 7168 };

/* Row r of those at hand. */
BLM_AVX2_INLINE void blm_avx2_row_given(uint32_t type, uint32_t rows, const blm_avx2_token *m,
                                        const uint8_t *row, uint32_t r)
{
    const uint32_t eight = blm_avx2_block_bytes(type) * 8;
    blm_avx2_run run = {row, 0, 8};
    for (; run.i + 8 <= m->blocks; run.i += 8) {
        blm_avx2_ahead(row, (uint64_t)(run.i / 8) * eight + BLM_AVX2_STREAM_AHEAD, eight);
        blm_avx2_step(type, rows, m, run, r);
    }
    run.left = m->blocks - run.i;
    if (run.left && !blm_avx2_in_256(type)) blm_avx2_step(type, rows, m, run, r);
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
        for (uint32_t j = 0; j < 8 && type == BLM_Q2_K; j++)
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

/* Adds the first `left` of eight blocks to the sums of rows, in order, each times the scale of
 * its activations. */
BLM_AVX2_INLINE __m256 blm_avx2_add_given(__m256i *given, const float *scale, uint32_t left,
                                          __m256 sum)
{
    __m256i c[8];
    BLM_AVX2_UNROLL
    for (uint32_t j = 0; j < 8; j++)
        c[j] = given[j];
    blm_avx2_transpose(c);
    BLM_AVX2_UNROLL
    for (uint32_t j = 0; j < 8; j++)
        if (j < left)
            sum = _mm256_fmadd_ps(_mm256_castsi256_ps(c[j]), _mm256_set1_ps(scale[j]), sum);
    return sum;
}

/* The sums of the rows at hand; with two rows of activations of both. */
BLM_AVX2_INLINE __m256 blm_avx2_sums(uint32_t rows, const blm_avx2_token *m)
{
    const uint32_t whole = m->blocks / 8, rest = m->blocks % 8;
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t d = 0; d < rows; d++) {
        const float *scale = m->acts->scale + d * m->acts->block_stride;
        for (uint32_t i = 0; i < whole; i++, scale += 8)
            sum[d] = blm_avx2_add_given(m->given[i * rows + d], scale, 8, sum[d]);
        if (rest) sum[d] = blm_avx2_add_given(m->given[whole * rows + d], scale, rest, sum[d]);
    }
    return rows == 2 ? _mm256_add_ps(sum[0], sum[1]) : sum[0];
}

BLM_AVX2_INLINE void blm_avx2_one_token(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                        uint32_t type, uint32_t rows)
{
    const blm_avx2_token m = blm_avx2_begin(type, rows, a);
    for (uint64_t r = row0; r < row1; r += 8) {
        const uint32_t count = (uint32_t)BLM_MIN(row1 - r, 8);
        for (uint32_t i = 0; i < count; i++)
            blm_avx2_row_given(type, rows, &m, a->w->data + (r + i) * a->w->row_bytes, i);
        _mm256_maskstore_ps(a->y + r, blm_avx2_mask(count), blm_avx2_sums(rows, &m));
    }
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
#define BLM_AVX2_ENTRY(name, number, values, bytes)                                            \
    k->matmul8[number] = blm_avx2_matmul8_##name;                                              \
    k->matmul_pair[number] = blm_avx2_pair_##name;
    BLM_BLOCK_TYPES(BLM_AVX2_ENTRY)
#undef BLM_AVX2_ENTRY
}

#endif
