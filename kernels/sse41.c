/* Kernels for x86 with SSE4.1 and nothing newer: plain and short. As in scalar.c, a row of
 * weights is unpacked once into the worker's scratch and then meets every token; lanes run
 * along k. Every function carries its own target, so the file compiles under any flags. */
#include "blocks.h"
#include "kernels.h"

#ifdef BLM_HAVE_X86

#include <smmintrin.h>

#define BLM_SSE41        static __attribute__((target("sse4.1")))
#define BLM_SSE41_INLINE static inline __attribute__((always_inline, target("sse4.1")))

/* ---- Small pieces -------------------------------------------------------------------- */

BLM_SSE41_INLINE __m128i blm_sse41_load(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

BLM_SSE41_INLINE void blm_sse41_store(void *p, __m128i v)
{
    _mm_storeu_si128((__m128i *)p, v);
}

BLM_SSE41_INLINE float blm_sse41_sum(__m128 v)
{
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps(v, v, 1)));
}

/* Four int8 from any address as floats. */
BLM_SSE41_INLINE __m128 blm_sse41_floats8(const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four)));
}

/* ---- Unpacking the file's blocks ----------------------------------------------------- */

/* 32 weights: w[j] = scale[j / 16] q[j] - min[j / 16]. */
typedef struct blm_sse41_block {
    int8_t q[32];
    float scale[2], min[2];
} blm_sse41_block;

BLM_SSE41_INLINE void blm_sse41_put_scale(blm_sse41_block *out, float scale, float min)
{
    out->scale[0] = out->scale[1] = scale;
    out->min[0] = out->min[1] = min;
}

/* 16 bytes' nibbles, the low ones first, less `zero`. */
BLM_SSE41_INLINE void blm_sse41_put_nibbles(blm_sse41_block *out, const uint8_t *p, char zero)
{
    const __m128i nibble = _mm_set1_epi8(15), less = _mm_set1_epi8(zero);
    __m128i v = blm_sse41_load(p), high = _mm_and_si128(_mm_srli_epi16(v, 4), nibble);
    blm_sse41_store(out->q, _mm_sub_epi8(_mm_and_si128(v, nibble), less));
    blm_sse41_store(out->q + 16, _mm_sub_epi8(high, less));
}

/* Adds `size` to q[j] where bit j of the word at p is set. */
BLM_SSE41_INLINE void blm_sse41_add_bits(blm_sse41_block *out, const uint8_t *p, char size)
{
    const __m128i bit = _mm_set_epi32((int)0x80402010, 0x08040201, (int)0x80402010, 0x08040201);
    for (uint32_t h = 0; h < 2; h++) {
        const char low = (char)(h * 2), top = (char)(h * 2 + 1);
        __m128i v = _mm_set1_epi32((int)blm_load_u32(p));
        v = _mm_shuffle_epi8(v, _mm_unpacklo_epi64(_mm_set1_epi8(low), _mm_set1_epi8(top)));
        v = _mm_cmpeq_epi8(_mm_and_si128(v, bit), bit);
        v = _mm_and_si128(v, _mm_set1_epi8(size));
        blm_sse41_store(out->q + h * 16, _mm_add_epi8(blm_sse41_load(out->q + h * 16), v));
    }
}

/* q becomes what the nibbles in it stand for. */
BLM_SSE41_INLINE void blm_sse41_look_up(blm_sse41_block *out, __m128i values)
{
    blm_sse41_store(out->q, _mm_shuffle_epi8(values, blm_sse41_load(out->q)));
    blm_sse41_store(out->q + 16, _mm_shuffle_epi8(values, blm_sse41_load(out->q + 16)));
}

/* Adds `size` to q[j] where bit i of byte j at p is set. */
BLM_SSE41_INLINE void blm_sse41_add_layer(blm_sse41_block *out, const uint8_t *p, uint32_t i,
                                          char size)
{
    const __m128i bit = _mm_set1_epi8((char)(1u << i));
    for (uint32_t h = 0; h < 32; h += 16) {
        __m128i v = _mm_cmpeq_epi8(_mm_and_si128(blm_sse41_load(p + h), bit), bit);
        v = _mm_and_si128(v, _mm_set1_epi8(size));
        blm_sse41_store(out->q + h, _mm_add_epi8(blm_sse41_load(out->q + h), v));
    }
}

/* Bit pair i of each of 32 bytes, less `zero`. */
BLM_SSE41_INLINE void blm_sse41_put_pairs(blm_sse41_block *out, const uint8_t *p, uint32_t i,
                                          char zero)
{
    const __m128i shift = _mm_cvtsi32_si128((int)(i * 2)), less = _mm_set1_epi8(zero);
    for (uint32_t h = 0; h < 32; h += 16) {
        __m128i v = _mm_srl_epi16(blm_sse41_load(p + h), shift);
        v = _mm_sub_epi8(_mm_and_si128(v, _mm_set1_epi8(3)), less);
        blm_sse41_store(out->q + h, v);
    }
}

/* A half of the nibbles of 32 bytes. */
BLM_SSE41_INLINE void blm_sse41_put_part(blm_sse41_block *out, const uint8_t *p, uint32_t part)
{
    const __m128i nibble = _mm_set1_epi8(15), shift = _mm_cvtsi32_si128((int)(part * 4));
    for (uint32_t h = 0; h < 32; h += 16) {
        __m128i v = _mm_srl_epi16(blm_sse41_load(p + h), shift);
        blm_sse41_store(out->q + h, _mm_and_si128(v, nibble));
    }
}

/* Scale and minimum of block i of 8 of a block of Q4_K or Q5_K. */
BLM_SSE41_INLINE void blm_sse41_put_k_scale(blm_sse41_block *out, const uint8_t *b, uint32_t i)
{
    uint32_t words[4];
    blm_scales_q4_k(b + 4, words);
    uint32_t scale = words[i / 4] >> (i % 4 * 8) & 63,
             min = words[2 + i / 4] >> (i % 4 * 8) & 63;
    blm_sse41_put_scale(out, blm_f32_of_f16(blm_load_u16(b)) * (float)scale,
                        blm_f32_of_f16(blm_load_u16(b + 2)) * (float)min);
}

/* Block i of 8 in a Q6_K block. */
BLM_SSE41_INLINE void blm_sse41_unpack_q6_k(const uint8_t *b, uint32_t i, blm_sse41_block *out)
{
    uint32_t half = i / 4, part = i % 4;
    const uint8_t *high = b + 128 + half * 32;
    const __m128i shift = _mm_cvtsi32_si128((int)(part * 2));
    blm_sse41_put_part(out, b + half * 64 + part % 2 * 32, part / 2);
    for (uint32_t h = 0; h < 32; h += 16) {
        __m128i v = blm_sse41_load(out->q + h);
        __m128i pair = _mm_srl_epi16(blm_sse41_load(high + h), shift);
        pair = _mm_slli_epi16(_mm_and_si128(pair, _mm_set1_epi8(3)), 4);
        blm_sse41_store(out->q + h, _mm_sub_epi8(_mm_or_si128(v, pair), _mm_set1_epi8(32)));
    }
    float d = blm_f32_of_f16(blm_load_u16(b + 208));
    out->scale[0] = d * (float)(int8_t)b[192 + i * 2];
    out->scale[1] = d * (float)(int8_t)b[193 + i * 2];
    out->min[0] = out->min[1] = 0;
}

/* Block i of 8 in a Q2_K block. */
BLM_SSE41_INLINE void blm_sse41_unpack_q2_k(const uint8_t *b, uint32_t i, blm_sse41_block *out)
{
    float d = blm_f32_of_f16(blm_load_u16(b + 80)), dmin = blm_f32_of_f16(blm_load_u16(b + 82));
    for (uint32_t h = 0; h < 2; h++) {
        out->scale[h] = d * (float)(b[i * 2 + h] & 15);
        out->min[h] = dmin * (float)(b[i * 2 + h] >> 4);
    }
    blm_sse41_put_pairs(out, b + 16 + i / 4 * 32, i % 4, 0);
}

/* Block i of 8 in a Q3_K block. */
BLM_SSE41_INLINE void blm_sse41_unpack_q3_k(const uint8_t *b, uint32_t i, blm_sse41_block *out)
{
    uint32_t words[4];
    blm_scales_q3_k(b + 96, words);
    uint32_t two = words[i / 2] >> (i % 2 * 16);
    float d = blm_f32_of_f16(blm_load_u16(b + 108));
    out->scale[0] = d * (float)((int)(two & 63) - 32);
    out->scale[1] = d * (float)((int)(two >> 8 & 63) - 32);
    out->min[0] = out->min[1] = 0;
    blm_sse41_put_pairs(out, b + 32 + i / 4 * 32, i % 4, 4);
    blm_sse41_add_layer(out, b, i, 4);
}

/* Block i of a row. The places of the bits: see scalar.c. */
BLM_SSE41_INLINE void blm_sse41_unpack(uint32_t type, const uint8_t *row, uint32_t i,
                                       blm_sse41_block *out)
{
    const __m128i iq4 = _mm_setr_epi8(BLM_IQ4_VALUES), mxfp4 = _mm_setr_epi8(BLM_MXFP4_VALUES);
    const uint8_t *b = row + (size_t)i * blm_type_bytes(type); /* blocks of 32 */
    const uint8_t *k = row + (size_t)(i / 8) * blm_type_bytes(type);
    switch ((blm_type)type) {
    case BLM_Q4_0:
        blm_sse41_put_scale(out, blm_f32_of_f16(blm_load_u16(b)), 0);
        blm_sse41_put_nibbles(out, b + 2, 8);
        break;
    case BLM_Q4_1:
        blm_sse41_put_scale(out, blm_f32_of_f16(blm_load_u16(b)),
                            -blm_f32_of_f16(blm_load_u16(b + 2)));
        blm_sse41_put_nibbles(out, b + 4, 0);
        break;
    case BLM_Q5_1:
        blm_sse41_put_scale(out, blm_f32_of_f16(blm_load_u16(b)),
                            -blm_f32_of_f16(blm_load_u16(b + 2)));
        blm_sse41_put_nibbles(out, b + 8, 0);
        blm_sse41_add_bits(out, b + 4, 16);
        break;
    case BLM_IQ4_NL:
        blm_sse41_put_scale(out, blm_f32_of_f16(blm_load_u16(b)), 0);
        blm_sse41_put_nibbles(out, b + 2, 0);
        blm_sse41_look_up(out, iq4);
        break;
    case BLM_MXFP4:
        blm_sse41_put_scale(out, blm_scale_mxfp4(b[0]), 0);
        blm_sse41_put_nibbles(out, b + 1, 0);
        blm_sse41_look_up(out, mxfp4);
        break;
    case BLM_Q2_K:
        blm_sse41_unpack_q2_k(k, i % 8, out);
        break;
    case BLM_Q3_K:
        blm_sse41_unpack_q3_k(k, i % 8, out);
        break;
    case BLM_Q5_K:
        blm_sse41_put_k_scale(out, k, i % 8);
        blm_sse41_put_part(out, k + 48 + i % 8 / 2 * 32, i % 2);
        blm_sse41_add_layer(out, k + 16, i % 8, 16);
        break;
    case BLM_IQ4_XS:
        blm_sse41_put_scale(
            out, blm_f32_of_f16(blm_load_u16(k)) * (float)blm_scale_iq4_xs(k + 2, i % 8), 0);
        blm_sse41_put_nibbles(out, k + 8 + i % 8 * 16, 0);
        blm_sse41_look_up(out, iq4);
        break;
    case BLM_Q5_0:
        blm_sse41_put_scale(out, blm_f32_of_f16(blm_load_u16(b)), 0);
        blm_sse41_put_nibbles(out, b + 6, 16);
        blm_sse41_add_bits(out, b + 2, 16);
        break;
    case BLM_Q8_0:
        blm_sse41_put_scale(out, blm_f32_of_f16(blm_load_u16(b)), 0);
        memcpy(out->q, b + 2, 32);
        break;
    case BLM_Q4_K:
        blm_sse41_put_k_scale(out, k, i % 8);
        blm_sse41_put_part(out, k + 16 + i % 8 / 2 * 32, i % 2);
        break;
    case BLM_Q6_K:
        blm_sse41_unpack_q6_k(k, i % 8, out);
        break;
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16: /* have no q */
        break;
    }
}

/* ---- Products with quantised weights ------------------------------------------------- */

/* 16 products, summed in fours: |w| times x with w's sign, since the instruction wants one
 * unsigned factor. Pairs fit 16 bits: 2 x 128 x 127 (x is never -128). */
BLM_SSE41_INLINE __m128i blm_sse41_products(const int8_t *w, const int8_t *x)
{
    __m128i a = blm_sse41_load(w), b = blm_sse41_load(x);
    __m128i pairs = _mm_maddubs_epi16(_mm_abs_epi8(a), _mm_sign_epi8(b, a));
    return _mm_madd_epi16(pairs, _mm_set1_epi16(1));
}

/* What two mins take off a block of 32: each the sum of its half of the activations. */
BLM_SSE41_INLINE float blm_sse41_mins(const float *min, const int8_t *q, int32_t sum)
{
    __m128i v = _mm_sad_epu8(_mm_xor_si128(blm_sse41_load(q), _mm_set1_epi8(-128)),
                             _mm_setzero_si128());
    int32_t first = _mm_cvtsi128_si32(v) + _mm_extract_epi32(v, 2) - 16 * 128;
    return (float)first * min[0] + (float)(sum - first) * min[1];
}

BLM_SSE41_INLINE float blm_sse41_dot8(uint32_t type, const blm_sse41_block *w,
                                      const blm_acts *x, uint32_t t)
{
    const int8_t *q = x->q + t * x->q_stride;
    const float *scale = x->scale + t * x->block_stride;
    const int32_t *x_sum = x->sum + t * x->block_stride;
    __m128 sum = _mm_setzero_ps();
    float mins = 0;
    for (uint32_t i = 0; i < x->cols / 32; i++, q += 32, w++) {
        __m128 a = _mm_cvtepi32_ps(blm_sse41_products(w->q, q));
        __m128 b = _mm_cvtepi32_ps(blm_sse41_products(w->q + 16, q + 16));
        a = _mm_add_ps(_mm_mul_ps(a, _mm_set1_ps(w->scale[0])),
                       _mm_mul_ps(b, _mm_set1_ps(w->scale[1])));
        sum = _mm_add_ps(sum, _mm_mul_ps(a, _mm_set1_ps(scale[i])));
        if (type == BLM_Q2_K)
            mins += blm_sse41_mins(w->min, q, x_sum[i]) * scale[i];
        else
            mins += (float)x_sum[i] * w->min[0] * scale[i];
    }
    return blm_sse41_sum(sum) - mins;
}

BLM_SSE41_INLINE void blm_sse41_matmul(uint32_t type, const blm_matmul_args *a, uint64_t row0,
                                       uint64_t row1)
{
    blm_sse41_block *w = (blm_sse41_block *)a->scratch;
    for (uint64_t r = row0; r < row1; r++) {
        const uint8_t *row = a->w->data + r * a->w->row_bytes;
        for (uint32_t i = 0; i < a->x->cols / 32; i++)
            blm_sse41_unpack(type, row, i, w + i);
        for (uint32_t t = 0; t < a->x->tokens; t++)
            a->y[t * a->y_stride + r] = blm_sse41_dot8(type, w, a->x, t);
    }
}

#define BLM_SSE41_TYPE(name, number, values, bytes)                                            \
    BLM_SSE41 void blm_sse41_matmul8_##name(const blm_matmul_args *a, uint64_t row0,           \
                                            uint64_t row1)                                     \
    {                                                                                          \
        blm_sse41_matmul(number, a, row0, row1);                                               \
    }
BLM_BLOCK_TYPES(BLM_SSE41_TYPE)
#undef BLM_SSE41_TYPE

/* ---- Rows of f32 --------------------------------------------------------------------- */

/* Lane j of two vectors sums k = j mod 8, as scalar.c does. */
BLM_SSE41 float blm_sse41_dot_f32(const float *x, const float *y, size_t n)
{
    __m128 a = _mm_setzero_ps(), b = _mm_setzero_ps();
    float rest = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        a = _mm_add_ps(a, _mm_mul_ps(_mm_loadu_ps(x + i), _mm_loadu_ps(y + i)));
        b = _mm_add_ps(b, _mm_mul_ps(_mm_loadu_ps(x + i + 4), _mm_loadu_ps(y + i + 4)));
    }
    for (; i < n; i++)
        rest += x[i] * y[i];
    return blm_sse41_sum(_mm_add_ps(a, b)) + rest;
}

BLM_SSE41 void blm_sse41_axpy_f32(float *y, float a, const float *x, size_t n)
{
    const __m128 factor = _mm_set1_ps(a);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m128 v = _mm_mul_ps(factor, _mm_loadu_ps(x + i));
        _mm_storeu_ps(y + i, _mm_add_ps(_mm_loadu_ps(y + i), v));
    }
    for (; i < n; i++)
        y[i] += a * x[i];
}

BLM_SSE41_INLINE float blm_sse41_weight(uint32_t type, const uint8_t *row, size_t i)
{
    if (type == BLM_F32) return blm_load_f32(row + i * 4);
    uint16_t half = blm_load_u16(row + i * 2);
    return type == BLM_F16 ? blm_f32_of_f16(half) : blm_f32_of_bf16(half);
}

BLM_SSE41_INLINE void blm_sse41_matmul_float(uint32_t type, const blm_matmul_args *a,
                                             uint64_t row0, uint64_t row1)
{
    float *w = (float *)a->scratch;
    for (uint64_t r = row0; r < row1; r++) {
        const uint8_t *row = a->w->data + r * a->w->row_bytes;
        for (uint32_t i = 0; i < a->x->cols; i++)
            w[i] = blm_sse41_weight(type, row, i);
        for (uint32_t t = 0; t < a->x->tokens; t++) {
            const float *x = a->x->f32 + t * a->x->f32_stride;
            a->y[t * a->y_stride + r] = blm_sse41_dot_f32(w, x, a->x->cols);
        }
    }
}

#define BLM_SSE41_FLOATS(name, number, values, bytes)                                          \
    BLM_SSE41 void blm_sse41_matmul_##name(const blm_matmul_args *a, uint64_t row0,            \
                                           uint64_t row1)                                      \
    {                                                                                          \
        blm_sse41_matmul_float(number, a, row0, row1);                                         \
    }
BLM_FLOAT_TYPES(BLM_SSE41_FLOATS)
#undef BLM_SSE41_FLOATS

/* ---- Quantising activations ---------------------------------------------------------- */

BLM_SSE41_INLINE float blm_sse41_max_abs32(const float *x)
{
    const __m128 sign = _mm_set1_ps(-0.0f);
    __m128 m = _mm_setzero_ps();
    for (int j = 0; j < 32; j += 4) /* in this order NaNs are passed over */
        m = _mm_max_ps(_mm_andnot_ps(sign, _mm_loadu_ps(x + j)), m);
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

/* Four values times inverse, to nearest even, within +-127; a NaN becomes -127. */
BLM_SSE41_INLINE __m128i blm_sse41_quanta(const float *x, __m128 inverse)
{
    __m128 v = _mm_min_ps(_mm_set1_ps(127), _mm_mul_ps(_mm_loadu_ps(x), inverse));
    return _mm_cvtps_epi32(_mm_max_ps(v, _mm_set1_ps(-127)));
}

BLM_SSE41 void blm_sse41_quantize8(const float *x, uint32_t cols, int8_t *q, float *scale,
                                   int32_t *sum)
{
    const __m128i one = _mm_set1_epi16(1);
    for (uint32_t i = 0; i < cols / 32; i++, x += 32, q += 32) {
        float most = blm_sse41_max_abs32(x);
        const __m128 inverse = _mm_set1_ps(most < 1e-30f ? 0 : 127 / most);
        __m128i total = _mm_setzero_si128();
        scale[i] = most < 1e-30f ? 0 : most / 127;
        for (int j = 0; j < 32; j += 16) {
            __m128i a = _mm_packs_epi32(blm_sse41_quanta(x + j, inverse),
                                        blm_sse41_quanta(x + j + 4, inverse));
            __m128i b = _mm_packs_epi32(blm_sse41_quanta(x + j + 8, inverse),
                                        blm_sse41_quanta(x + j + 12, inverse));
            blm_sse41_store(q + j, _mm_packs_epi16(a, b));
            total = _mm_add_epi32(total, _mm_madd_epi16(_mm_add_epi16(a, b), one));
        }
        total = _mm_add_epi32(total, _mm_shuffle_epi32(total, 0x4E));
        total = _mm_add_epi32(total, _mm_shuffle_epi32(total, 0xB1));
        sum[i] = _mm_cvtsi128_si32(total);
    }
}

/* ---- Attention ----------------------------------------------------------------------- */

enum { BLM_SSE41_INT8 = 1000 }; /* a type beside BLM_F32 and BLM_F16 */

BLM_SSE41_INLINE float blm_sse41_row_dot(uint32_t type, const float *q, const uint8_t *row,
                                         uint32_t n)
{
    if (type == BLM_F32) return blm_sse41_dot_f32(q, (const float *)(const void *)row, n);
    const int8_t *k = (const int8_t *)row;
    __m128 sum = _mm_setzero_ps();
    float rest = 0;
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4)
        sum = _mm_add_ps(sum, _mm_mul_ps(_mm_loadu_ps(q + i), blm_sse41_floats8(k + i)));
    for (; i < n; i++)
        rest += q[i] * (float)k[i];
    return blm_sse41_sum(sum) + rest;
}

BLM_SSE41_INLINE void blm_sse41_row_axpy(uint32_t type, float *out, float p, const uint8_t *row,
                                         uint32_t n)
{
    if (type == BLM_F32) {
        blm_sse41_axpy_f32(out, p, (const float *)(const void *)row, n);
        return;
    }
    const int8_t *v = (const int8_t *)row;
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m128 add = _mm_mul_ps(_mm_set1_ps(p), blm_sse41_floats8(v + i));
        _mm_storeu_ps(out + i, _mm_add_ps(_mm_loadu_ps(out + i), add));
    }
    for (; i < n; i++)
        out[i] += p * (float)v[i];
}

/* Scores to probabilities, in place. */
BLM_SSE41_INLINE void blm_sse41_softmax(float *p, uint32_t n)
{
    float most = p[0], s[8] = {0};
    for (uint32_t j = 1; j < n; j++)
        most = p[j] > most ? p[j] : most;
    for (uint32_t j = 0; j < n; j++)
        s[j % 8] += p[j] = blm_expf(p[j] - most);
    float factor = 1 / ((s[0] + s[1] + (s[2] + s[3])) + (s[4] + s[5] + (s[6] + s[7])));
    for (uint32_t j = 0; j < n; j++)
        p[j] *= factor;
}

BLM_SSE41_INLINE void blm_sse41_attend(uint32_t type, const blm_attend_args *a)
{
    for (uint32_t i = 0; i < a->queries; i++) {
        const blm_attend_span sees = blm_attend_sees(a, i);
        const float *q = a->q + i * a->q_stride;
        float *out = a->out + i * a->out_stride, *p = a->scratch;
        for (uint32_t j = sees.from; j < sees.end; j++) {
            p[j] = blm_sse41_row_dot(type, q, a->k + j * a->k_stride, a->head_dim);
            if (type == BLM_SSE41_INT8)
                p[j] *= blm_f32_of_f16(blm_load_u16(a->k_scale + j * a->k_scale_stride));
        }
        blm_sse41_softmax(p + sees.from, sees.end - sees.from);
        memset(out, 0, a->head_dim * sizeof *out);
        for (uint32_t j = sees.from; j < sees.end; j++) {
            if (type == BLM_SSE41_INT8)
                p[j] *= blm_f32_of_f16(blm_load_u16(a->v_scale + j * a->v_scale_stride));
            blm_sse41_row_axpy(type, out, p[j], a->v + j * a->v_stride, a->head_dim);
        }
    }
}

BLM_SSE41 void blm_sse41_attend_f32(const blm_attend_args *a)
{
    blm_sse41_attend(BLM_F32, a);
}

BLM_SSE41 void blm_sse41_attend_q8(const blm_attend_args *a)
{
    blm_sse41_attend(BLM_SSE41_INT8, a);
}

/* ---- The table ----------------------------------------------------------------------- */

BLM_PRIVATE void blm_kernels_sse41(blm_kernels *k)
{
#define BLM_SSE41_FLOATS(name, number, values, bytes)                                          \
    k->matmul8[number] = blm_sse41_matmul_##name;
    BLM_FLOAT_TYPES(BLM_SSE41_FLOATS)
#undef BLM_SSE41_FLOATS
#define BLM_SSE41_BLOCKS(name, number, values, bytes)                                          \
    k->matmul8[number] = blm_sse41_matmul8_##name;
    BLM_BLOCK_TYPES(BLM_SSE41_BLOCKS)
#undef BLM_SSE41_BLOCKS
    k->quantize8 = blm_sse41_quantize8;
    k->dot_f32 = blm_sse41_dot_f32;
    k->axpy_f32 = blm_sse41_axpy_f32;
    k->attend_f32 = k->attend_i16 = blm_sse41_attend_f32;
    k->attend_q8 = blm_sse41_attend_q8;
}

#endif
