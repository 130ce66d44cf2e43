/* NEON products with quantised weights: plain, which every such processor has, with the
 * dot-product extension (sdot) and with the matrix extension (smmla). One token: each weight
 * is read once, where it lies, four rows at a time. Several tokens: eight rows are unpacked
 * into the worker's scratch as a panel, then all tokens pass over it, four at a time.
 *
 * Functions that take a `level` or a `type` are inlined into callers that give a constant;
 * those callers alone carry a target, so the file compiles under any flags. sdot and smmla
 * are written as assembly: compilers hide their intrinsics from files compiled without. */
#include "blocks.h"
#include "neon.h"

#ifdef BLM_HAVE_NEON

#if defined(__clang__)
#define BLM_NEON_DOTPROD static __attribute__((target("dotprod")))
#define BLM_NEON_I8MM    static __attribute__((target("dotprod,i8mm")))
#else
#define BLM_NEON_DOTPROD static __attribute__((target("arch=armv8.2-a+dotprod")))
#define BLM_NEON_I8MM    static __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#endif

enum { BLM_NEON_PLAIN, BLM_NEON_SDOT, BLM_NEON_SMMLA }; /* levels */

/* ---- Small pieces -------------------------------------------------------------------- */

/* sum[i] += the product of the four int8 at 4i of a and b. */
BLM_NEON_INLINE int32x4_t blm_neon_sdot(int32x4_t sum, int8x16_t a, int8x16_t b)
{
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
}

/* sum[i] += the product of the four int8 at 4i of a and at 4 lane of b. Volatile, as smmla
 * below, to keep the order of the source, in which the panel's sums take turns: gcc would
 * finish one after the other, and spill. */
BLM_NEON_INLINE int32x4_t blm_neon_sdot_lane(int32x4_t sum, int8x16_t a, int8x16_t b,
                                             uint32_t lane)
{
    switch (lane) {
    case 0:
        __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(sum) : "w"(a), "w"(b));
        break;
    case 1:
        __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[1]" : "+w"(sum) : "w"(a), "w"(b));
        break;
    case 2:
        __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[2]" : "+w"(sum) : "w"(a), "w"(b));
        break;
    default:
        __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[3]" : "+w"(sum) : "w"(a), "w"(b));
        break;
    }
    return sum;
}

/* sum[2 i + j] += row i of a (8 values) times row j of b. */
BLM_NEON_INLINE int32x4_t blm_neon_smmla(int32x4_t sum, int8x16_t a, int8x16_t b)
{
    __asm__ volatile("smmla %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
}

/* a - b * c[lane] */
BLM_NEON_INLINE int32x4_t blm_neon_less(int32x4_t a, int32x4_t b, int32x4_t c, uint32_t lane)
{
    switch (lane) {
    case 0:
        return vmlsq_laneq_s32(a, b, c, 0);
    case 1:
        return vmlsq_laneq_s32(a, b, c, 1);
    case 2:
        return vmlsq_laneq_s32(a, b, c, 2);
    default:
        return vmlsq_laneq_s32(a, b, c, 3);
    }
}

/* a * b[lane] */
BLM_NEON_INLINE float32x4_t blm_neon_times(float32x4_t a, float32x4_t b, uint32_t lane)
{
    switch (lane) {
    case 0:
        return vmulq_laneq_f32(a, b, 0);
    case 1:
        return vmulq_laneq_f32(a, b, 1);
    case 2:
        return vmulq_laneq_f32(a, b, 2);
    default:
        return vmulq_laneq_f32(a, b, 3);
    }
}

/* The sums of four vectors' lanes. */
BLM_NEON_INLINE int32x4_t blm_neon_sum4(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d)
{
    return vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
}

/* The same for 16 bits; the sum of any four neighbouring lanes must fit them. */
BLM_NEON_INLINE int32x4_t blm_neon_sum4_short(int16x8_t a, int16x8_t b, int16x8_t c,
                                              int16x8_t d)
{
    return vpaddlq_s16(vpaddq_s16(vpaddq_s16(a, b), vpaddq_s16(c, d)));
}

/* Products of 16 weights with 16 activations, summed in twos into 16 bits. */
BLM_NEON_INLINE int16x8_t blm_neon_pairs(int8x16_t w, int8x16_t x)
{
    int16x8_t sum = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    return vmlal_high_s8(sum, w, x);
}

/* The same added to sum. */
BLM_NEON_INLINE int16x8_t blm_neon_more_pairs(int16x8_t sum, int8x16_t w, int8x16_t x)
{
    sum = vmlal_s8(sum, vget_low_s8(w), vget_low_s8(x));
    return vmlal_high_s8(sum, w, x);
}

/* ---- One token: Q4_0 and Q8_0 in place ----------------------------------------------- */

/* A row of activations on its way. A token has one, or two whose products are added (int16):
 * `acts` below. */
typedef struct blm_neon_acts {
    const int8_t *q;
    const float *scale;
    const int32_t *sum;
} blm_neon_acts;

BLM_NEON_INLINE void blm_neon_begin(const blm_acts *x, uint32_t acts, blm_neon_acts *out)
{
    for (uint32_t d = 0; d < acts; d++)
        out[d] = (blm_neon_acts){x->q + d * x->q_stride, x->scale + d * x->block_stride,
                                 x->sum + d * x->block_stride};
}

/* Four rows on their way. part: integer sums of each row that are never reset, since the
 * difference from `before` costs less than four zeros; they wrap, the difference is exact. */
typedef struct blm_neon_stream {
    const uint8_t *row[4];
    int32x4_t part[4], before;
    float32x4_t sum;
} blm_neon_stream;

/* The f16 at each row's pointer, which moves on. In assembly: loads with a step that merge
 * into a lane are more than compilers find. */
BLM_NEON_INLINE float32x4_t blm_neon_take_scales(const uint8_t **row)
{
    typedef struct {
        uint8_t bytes[2];
    } half;
    uint16x4_t v;
    __asm__("ldr %h0, [%1], #2\n\t"
            "ld1 {%0.h}[1], [%2], #2\n\t"
            "ld1 {%0.h}[2], [%3], #2\n\t"
            "ld1 {%0.h}[3], [%4], #2"
            : "=&w"(v), "+r"(row[0]), "+r"(row[1]), "+r"(row[2]), "+r"(row[3])
            : "Q"(*(const half *)row[0]), "Q"(*(const half *)row[1]),
              "Q"(*(const half *)row[2]), "Q"(*(const half *)row[3]));
    return blm_neon_f32_of_f16(v);
}

/* The 16 or 32 bytes at a row's pointer, which moves on. In assembly for the same reason. */
BLM_NEON_INLINE uint8x16_t blm_neon_take16(const uint8_t **row)
{
    typedef struct {
        uint8_t bytes[16];
    } block;
    uint8x16_t v;
    __asm__("ldr %q0, [%1], #16" : "=w"(v), "+r"(*row) : "Q"(*(const block *)*row));
    return v;
}

BLM_NEON_INLINE void blm_neon_take32(const uint8_t **row, int8x16_t *a, int8x16_t *b)
{
    typedef struct {
        uint8_t bytes[32];
    } block;
    __asm__("ldp %q0, %q1, [%2], #32"
            : "=w"(*a), "=w"(*b), "+r"(*row)
            : "Q"(*(const block *)*row));
}

/* Integer products of 32 weights of each row with x, by lane; Q4_0's nibbles as 0..15.
 * Without sdot, 16 bits hold a nibble's sums to the last (16 x 15 x 127), and two products
 * of 128 x 127. */
BLM_NEON_INLINE int32x4_t blm_neon_step_sums(uint32_t level, uint32_t type, blm_neon_stream *s,
                                             int8x16_t x0, int8x16_t x1)
{
    int16x8_t pairs[4];
    BLM_NEON_UNROLL
    for (int r = 0; r < 4; r++) {
        int8x16_t w0, w1;
        if (type == BLM_Q4_0) {
            uint8x16_t v = blm_neon_take16(&s->row[r]);
            w0 = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
            w1 = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
        } else {
            blm_neon_take32(&s->row[r], &w0, &w1);
        }
        if (level != BLM_NEON_PLAIN) {
            s->part[r] = blm_neon_sdot(blm_neon_sdot(s->part[r], w0, x0), w1, x1);
        } else if (type == BLM_Q4_0) {
            pairs[r] = blm_neon_more_pairs(blm_neon_pairs(w0, x0), w1, x1);
        } else {
            s->part[r] = vpadalq_s16(s->part[r], blm_neon_pairs(w0, x0));
            s->part[r] = vpadalq_s16(s->part[r], blm_neon_pairs(w1, x1));
        }
    }
    if (level == BLM_NEON_PLAIN && type == BLM_Q4_0)
        return blm_neon_sum4_short(pairs[0], pairs[1], pairs[2], pairs[3]);
    int32x4_t now = blm_neon_sum4(s->part[0], s->part[1], s->part[2], s->part[3]);
    int32x4_t sums = vsubq_s32(now, s->before);
    s->before = now;
    return sums;
}

/* One block. x_scale[lane] and x_sum[lane] belong to it; eight: 8 in every lane. */
BLM_NEON_INLINE void blm_neon_step(uint32_t level, uint32_t type, blm_neon_stream *s,
                                   const int8_t *q, float32x4_t x_scale, int32x4_t x_sum,
                                   int32x4_t eight, uint32_t lane)
{
    float32x4_t scale = blm_neon_times(blm_neon_take_scales(s->row), x_scale, lane);
    int32x4_t sums = blm_neon_step_sums(level, type, s, vld1q_s8(q), vld1q_s8(q + 16));
    if (type == BLM_Q4_0) sums = blm_neon_less(sums, eight, x_sum, lane);
    s->sum = vfmaq_f32(s->sum, vcvtq_f32_s32(sums), scale);
}

BLM_NEON_INLINE float32x4_t blm_neon_stream_rows(uint32_t level, uint32_t type,
                                                 const uint8_t *const *rows, const blm_acts *x)
{
    const int8_t *q = x->q;
    const float *scale = x->scale;
    const int32_t *sum = x->sum;
    int32x4_t zero = vdupq_n_s32(0), eight = vdupq_n_s32(8);
    blm_neon_stream s = {
        {rows[0], rows[1], rows[2], rows[3]}, {zero, zero, zero, zero}, zero, vdupq_n_f32(0)};
    __asm__("" : "+w"(eight)); /* else the product becomes a shift, and one more move */
    for (uint32_t n = x->cols / 128; n > 0; n--, q += 128, scale += 4, sum += 4) {
        float32x4_t x_scale = vld1q_f32(scale);
        int32x4_t x_sum = vld1q_s32(sum);
        BLM_NEON_UNROLL
        for (uint32_t j = 0; j < 4; j++)
            blm_neon_step(level, type, &s, q + j * 32, x_scale, x_sum, eight, j);
    }
    for (uint32_t n = x->cols / 32 % 4; n > 0; n--, q += 32)
        blm_neon_step(level, type, &s, q, vdupq_n_f32(*scale++), vdupq_n_s32(*sum++), eight, 0);
    return s.sum;
}

/* The same with one token of `acts` rows of activations: one after the other, as both would not
 * fit the registers; the weights are near. */
BLM_NEON_INLINE float32x4_t blm_neon_stream_pair(uint32_t level, uint32_t type, uint32_t acts,
                                                 const uint8_t *const *rows, const blm_acts *x)
{
    blm_acts rest = *x;
    float32x4_t y = blm_neon_stream_rows(level, type, rows, x);
    if (acts == 1) return y;
    rest.q += x->q_stride, rest.scale += x->block_stride, rest.sum += x->block_stride;
    return vaddq_f32(y, blm_neon_stream_rows(level, type, rows, &rest));
}

/* ---- Unpacking ----------------------------------------------------------------------- */

/* 32 weights, w = scale[k / 16] q - min[k / 16]. */
typedef struct blm_neon_block {
    int8x16_t q[2];
    float scale[2], min[2];
} blm_neon_block;

BLM_NEON_INLINE void blm_neon_put_scale(blm_neon_block *out, float scale, float min)
{
    out->scale[0] = out->scale[1] = scale;
    out->min[0] = out->min[1] = min;
}

/* 16 bytes' nibbles, the low ones first, less `zero`. */
BLM_NEON_INLINE void blm_neon_put_nibbles(blm_neon_block *out, const uint8_t *p, int8_t zero)
{
    uint8x16_t v = vld1q_u8(p);
    out->q[0] = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
    out->q[1] = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
    if (zero == 0) return;
    out->q[0] = vsubq_s8(out->q[0], vdupq_n_s8(zero));
    out->q[1] = vsubq_s8(out->q[1], vdupq_n_s8(zero));
}

/* Adds 16 to q j where bit j of the word at p is set. */
BLM_NEON_INLINE void blm_neon_add_bits(blm_neon_block *out, const uint8_t *p)
{
    static const uint8_t bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bit = vcombine_u8(vld1_u8(bits), vld1_u8(bits));
    BLM_NEON_UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        uint8x16_t v = vcombine_u8(vdup_n_u8(p[2 * j]), vdup_n_u8(p[2 * j + 1]));
        v = vandq_u8(vtstq_u8(v, bit), vdupq_n_u8(16));
        out->q[j] = vaddq_s8(out->q[j], vreinterpretq_s8_u8(v));
    }
}

/* q becomes what the nibbles in it stand for. */
BLM_NEON_INLINE void blm_neon_look_up(blm_neon_block *out, int8x16_t values)
{
    BLM_NEON_UNROLL
    for (uint32_t j = 0; j < 2; j++)
        out->q[j] = vqtbl1q_s8(values, vreinterpretq_u8_s8(out->q[j]));
}

BLM_NEON_INLINE int8x16_t blm_neon_iq4(void)
{
    static const int8_t values[16] = {BLM_IQ4_VALUES};
    return vld1q_s8(values);
}

BLM_NEON_INLINE int8x16_t blm_neon_mxfp4(void)
{
    static const int8_t values[16] = {BLM_MXFP4_VALUES};
    return vld1q_s8(values);
}

/* The low (part 0) or high nibbles of 32 bytes. */
BLM_NEON_INLINE void blm_neon_put_part(blm_neon_block *out, const uint8_t *p, uint32_t part)
{
    BLM_NEON_UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        uint8x16_t v = vld1q_u8(p + j * 16);
        v = part ? vshrq_n_u8(v, 4) : vandq_u8(v, vdupq_n_u8(15));
        out->q[j] = vreinterpretq_s8_u8(v);
    }
}

/* Bit pair i of 32 bytes, less `zero`. */
BLM_NEON_INLINE void blm_neon_put_pairs(blm_neon_block *out, const uint8_t *p, uint32_t i,
                                        int8_t zero)
{
    const int8x16_t shift = vdupq_n_s8((int8_t)(-2 * (int)i));
    BLM_NEON_UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        uint8x16_t v = vandq_u8(vshlq_u8(vld1q_u8(p + j * 16), shift), vdupq_n_u8(3));
        out->q[j] = vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(zero));
    }
}

/* Adds `size` to q j where bit i of byte j at p is set. */
BLM_NEON_INLINE void blm_neon_add_layer(blm_neon_block *out, const uint8_t *p, uint32_t i,
                                        uint8_t size)
{
    const uint8x16_t bit = vdupq_n_u8((uint8_t)(1u << i));
    BLM_NEON_UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        uint8x16_t v = vandq_u8(vtstq_u8(vld1q_u8(p + j * 16), bit), vdupq_n_u8(size));
        out->q[j] = vaddq_s8(out->q[j], vreinterpretq_s8_u8(v));
    }
}

/* Scale and minimum of sub-block i of a block of Q4_K or Q5_K. */
BLM_NEON_INLINE void blm_neon_put_k_scale(blm_neon_block *out, const uint8_t *b, uint32_t i)
{
    uint32_t words[4];
    blm_scales_q4_k(b + 4, words);
    uint32_t scale = words[i / 4] >> (i % 4 * 8) & 63;
    uint32_t min = words[2 + i / 4] >> (i % 4 * 8) & 63;
    blm_neon_put_scale(out, (float)scale * blm_neon_f16(b), (float)min * blm_neon_f16(b + 2));
}

/* 32 weights of Q2_K: pairs of bits, two scales and two mins. */
BLM_NEON_INLINE void blm_neon_unpack_q2_k(const uint8_t *b, uint32_t i, blm_neon_block *out)
{
    float d = blm_neon_f16(b + 80), dmin = blm_neon_f16(b + 82);
    BLM_NEON_UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        out->scale[j] = d * (float)(b[i * 2 + j] & 15);
        out->min[j] = dmin * (float)(b[i * 2 + j] >> 4);
    }
    blm_neon_put_pairs(out, b + 16 + i / 4 * 32, i % 4, 0);
}

/* 32 weights of Q3_K: pairs of bits, a third bit elsewhere, two scales of six bits. */
BLM_NEON_INLINE void blm_neon_unpack_q3_k(const uint8_t *b, uint32_t i, blm_neon_block *out)
{
    uint32_t words[4];
    float d = blm_neon_f16(b + 108);
    blm_scales_q3_k(b + 96, words);
    blm_neon_put_scale(out, 0, 0);
    BLM_NEON_UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        uint32_t scale = words[i / 2] >> (i % 2 * 16 + j * 8) & 63;
        out->scale[j] = d * (float)((int)scale - 32);
    }
    blm_neon_put_pairs(out, b + 32 + i / 4 * 32, i % 4, 4);
    blm_neon_add_layer(out, b, i, 4);
}

/* 32 weights of Q6_K: nibbles of 32 bytes, pairs of bits of 32 others, two scales. */
BLM_NEON_INLINE void blm_neon_unpack_q6_k(const uint8_t *b, uint32_t i, blm_neon_block *out)
{
    const uint8_t *high = b + 128 + i / 4 * 32;
    const int8x16_t high_shift = vdupq_n_s8((int8_t)(4 - (int)(i % 4 * 2)));
    float d = blm_neon_f16(b + 208);
    blm_neon_put_part(out, b + i / 4 * 64 + i % 2 * 32, i % 4 / 2);
    blm_neon_put_scale(out, 0, 0);
    BLM_NEON_UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        uint8x16_t v = vreinterpretq_u8_s8(out->q[j]);
        uint8x16_t h = vandq_u8(vshlq_u8(vld1q_u8(high + j * 16), high_shift), vdupq_n_u8(48));
        out->q[j] = vsubq_s8(vreinterpretq_s8_u8(vorrq_u8(v, h)), vdupq_n_s8(32));
        out->scale[j] = d * (float)(int8_t)b[192 + i * 2 + j];
    }
}

/* Block i of a row. The places of the bits: see scalar.c. */
BLM_NEON_INLINE blm_neon_block blm_neon_unpack(uint32_t type, const uint8_t *row, uint32_t i)
{
    const uint8_t *b = row + (size_t)i * blm_type_bytes(type); /* blocks of 32 */
    const uint8_t *k = row + (size_t)(i / 8) * blm_type_bytes(type);
    blm_neon_block out;
    switch ((blm_type)type) {
    case BLM_Q4_0:
        blm_neon_put_scale(&out, blm_neon_f16(b), 0);
        blm_neon_put_nibbles(&out, b + 2, 8);
        break;
    case BLM_Q4_1:
        blm_neon_put_scale(&out, blm_neon_f16(b), -blm_neon_f16(b + 2));
        blm_neon_put_nibbles(&out, b + 4, 0);
        break;
    case BLM_Q5_0:
        blm_neon_put_scale(&out, blm_neon_f16(b), 0);
        blm_neon_put_nibbles(&out, b + 6, 16);
        blm_neon_add_bits(&out, b + 2);
        break;
    case BLM_Q5_1:
        blm_neon_put_scale(&out, blm_neon_f16(b), -blm_neon_f16(b + 2));
        blm_neon_put_nibbles(&out, b + 8, 0);
        blm_neon_add_bits(&out, b + 4);
        break;
    case BLM_Q8_0:
        blm_neon_put_scale(&out, blm_neon_f16(b), 0);
        out.q[0] = vld1q_s8((const int8_t *)b + 2);
        out.q[1] = vld1q_s8((const int8_t *)b + 18);
        break;
    case BLM_IQ4_NL:
        blm_neon_put_scale(&out, blm_neon_f16(b), 0);
        blm_neon_put_nibbles(&out, b + 2, 0);
        blm_neon_look_up(&out, blm_neon_iq4());
        break;
    case BLM_MXFP4:
        blm_neon_put_scale(&out, blm_scale_mxfp4(*b), 0);
        blm_neon_put_nibbles(&out, b + 1, 0);
        blm_neon_look_up(&out, blm_neon_mxfp4());
        break;
    case BLM_Q2_K:
        blm_neon_unpack_q2_k(k, i % 8, &out);
        break;
    case BLM_Q3_K:
        blm_neon_unpack_q3_k(k, i % 8, &out);
        break;
    case BLM_Q4_K:
        blm_neon_put_k_scale(&out, k, i % 8);
        blm_neon_put_part(&out, k + 16 + i % 8 / 2 * 32, i % 2);
        break;
    case BLM_Q5_K:
        blm_neon_put_k_scale(&out, k, i % 8);
        blm_neon_put_part(&out, k + 48 + i % 8 / 2 * 32, i % 2);
        blm_neon_add_layer(&out, k + 16, i % 8, 16);
        break;
    case BLM_Q6_K:
        blm_neon_unpack_q6_k(k, i % 8, &out);
        break;
    case BLM_IQ4_XS:
        blm_neon_put_scale(&out, blm_neon_f16(k) * (float)blm_scale_iq4_xs(k + 2, i % 8), 0);
        blm_neon_put_nibbles(&out, k + 8 + i % 8 * 16, 0);
        blm_neon_look_up(&out, blm_neon_iq4());
        break;
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16: /* have no q */
        blm_neon_put_scale(&out, 0, 0);
        out.q[0] = out.q[1] = vdupq_n_s8(0);
        break;
    }
    return out;
}

/* Whether 16 products with q have no room in 16 bits; others are at most 16 in size, or 32
 * where only eight meet. */
BLM_NEON_INLINE int blm_neon_is_wide(uint32_t type)
{
    return type == BLM_Q8_0 || type == BLM_Q5_1 || type == BLM_Q5_K || type == BLM_IQ4_NL ||
           type == BLM_IQ4_XS;
}

/* ---- One token: the other types -------------------------------------------------------- */

/* Four sums of a quarter of 16 products each. */
BLM_NEON_INLINE int32x4_t blm_neon_dot16(uint32_t level, int8x16_t w, int8x16_t x)
{
    if (level == BLM_NEON_PLAIN) return vpaddlq_s16(blm_neon_pairs(w, x));
    return blm_neon_sdot(vdupq_n_s32(0), w, x);
}

/* Four sums of 32 products with nibbles. */
BLM_NEON_INLINE int32x4_t blm_neon_dot32(uint32_t level, const int8x16_t *w, int8x16_t x0,
                                         int8x16_t x1)
{
    if (level == BLM_NEON_PLAIN)
        return vpaddlq_s16(blm_neon_more_pairs(blm_neon_pairs(w[0], x0), w[1], x1));
    return blm_neon_sdot(blm_neon_sdot(vdupq_n_s32(0), w[0], x0), w[1], x1);
}

/* What a block, or the part of it that shares a scale, adds to four rows y: their integer sums
 * times their scales, less min x activation sum, times the activations' scale. */
BLM_NEON_INLINE float32x4_t blm_neon_add_part(uint32_t type, float32x4_t y, int32x4_t sum,
                                              float32x4_t scale, float32x4_t min, float x_scale,
                                              int32_t x_sum)
{
    float32x4_t v = vcvtq_f32_s32(sum);
    if (!blm_type_has_min(type)) return vfmaq_f32(y, v, vmulq_n_f32(scale, x_scale));
    v = vfmsq_n_f32(vmulq_f32(v, scale), min, (float)x_sum);
    return vfmaq_n_f32(y, v, x_scale);
}

/* The sum of the activations of a part of a block: of 32, or of one half. */
BLM_NEON_INLINE int32_t blm_neon_part_sum(uint32_t type, const int8_t *q, int32_t sum,
                                          uint32_t part)
{
    if (type != BLM_Q2_K) return sum;
    int32_t first = vaddlvq_s8(vld1q_s8(q));
    return part ? sum - first : first;
}

/* Up to eight blocks of four rows, by part: sums of products in four lanes each, for each row of
 * activations. It lies in scratch. */
typedef struct blm_neon_eight {
    int32x4_t product[2][8][2][4];
    float scale[2][8][4], min[2][8][4];
    float32x4_t of_row[4][3][2]; /* a row's eight: scales, by part, and mins */
} blm_neon_eight;

/* Whether a row's eight scales are decoded together: of the types that most files have. */
BLM_NEON_INLINE int blm_neon_decodes_eight(uint32_t type)
{
    return type == BLM_Q4_K || type == BLM_Q6_K;
}

/* Eight bytes as floats, times d. */
BLM_NEON_INLINE void blm_neon_put_eight(int8x8_t bytes, float d, float32x4_t *out)
{
    int16x8_t wide = vmovl_s8(bytes);
    out[0] = vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), d);
    out[1] = vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(wide)), d);
}

/* Of the block of 256 at b. */
BLM_NEON_INLINE void blm_neon_take_scales_8(uint32_t type, const uint8_t *b,
                                            float32x4_t (*out)[2])
{
    uint32_t w[4];
    if (type == BLM_Q6_K) {
        const float d = blm_neon_f16(b + 208);
        int8x8x2_t both = vld2_s8((const int8_t *)b + 192);
        blm_neon_put_eight(both.val[0], d, out[0]);
        blm_neon_put_eight(both.val[1], d, out[1]);
        return;
    }
    blm_scales_q4_k(b + 4, w);
    blm_neon_put_eight(vcreate_s8(w[0] | (uint64_t)w[1] << 32), blm_neon_f16(b), out[0]);
    blm_neon_put_eight(vcreate_s8(w[2] | (uint64_t)w[3] << 32), blm_neon_f16(b + 2), out[2]);
}

/* Turns what four rows have of one kind: lanes become rows. */
BLM_NEON_INLINE void blm_neon_turn_eight(const blm_neon_eight *e, uint32_t kind,
                                         float (*out)[4])
{
    BLM_NEON_UNROLL
    for (uint32_t h = 0; h < 2; h++) {
        float32x4x4_t v = {{e->of_row[0][kind][h], e->of_row[1][kind][h], e->of_row[2][kind][h],
                            e->of_row[3][kind][h]}};
        vst4q_f32(out[4 * h], v);
    }
}

/* Products of a block w with a row of activations, by part. */
BLM_NEON_INLINE void blm_neon_multiply(uint32_t level, uint32_t type, const blm_neon_block *w,
                                       const int8_t *q, int32x4_t *out)
{
    int8x16_t x0 = vld1q_s8(q), x1 = vld1q_s8(q + 16);
    if (blm_type_is_halved(type)) {
        out[0] = blm_neon_dot16(level, w->q[0], x0);
        out[1] = blm_neon_dot16(level, w->q[1], x1);
    } else if (level == BLM_NEON_PLAIN && blm_neon_is_wide(type)) {
        out[0] =
            vaddq_s32(blm_neon_dot16(level, w->q[0], x0), blm_neon_dot16(level, w->q[1], x1));
    } else {
        out[0] = blm_neon_dot32(level, w->q, x0, x1);
    }
}

/* Block j of the eight of row r, which is block i of the row. */
BLM_NEON_INLINE void blm_neon_take_block(uint32_t level, uint32_t type, uint32_t acts,
                                         const uint8_t *row, uint32_t i, const blm_neon_acts *x,
                                         uint32_t j, uint32_t r, blm_neon_eight *e)
{
    const uint32_t parts = blm_type_is_halved(type) ? 2 : 1;
    blm_neon_block w = blm_neon_unpack(type, row, i);
    BLM_NEON_UNROLL
    for (uint32_t part = 0; part < parts; part++) {
        if (blm_neon_decodes_eight(type)) break;
        e->scale[part][j][r] = w.scale[part];
        if (blm_type_has_min(type)) e->min[part][j][r] = w.min[part];
    }
    BLM_NEON_UNROLL
    for (uint32_t d = 0; d < acts; d++) {
        int32x4_t products[2];
        blm_neon_multiply(level, type, &w, x[d].q + (size_t)i * 32, products);
        BLM_NEON_UNROLL
        for (uint32_t part = 0; part < parts; part++)
            e->product[d][j][part][r] = products[part];
    }
}

/* Adds the first `count` of eight blocks with row d of activations, i and on of four rows. */
BLM_NEON_INLINE float32x4_t blm_neon_add_eight(uint32_t type, const blm_neon_eight *e,
                                               uint32_t d, const blm_neon_acts *x, uint32_t i,
                                               uint32_t count, float32x4_t y)
{
    const uint32_t parts = blm_type_is_halved(type) ? 2 : 1;
    for (uint32_t j = 0; j < count; j++) {
        BLM_NEON_UNROLL
        for (uint32_t part = 0; part < parts; part++) {
            const int32x4_t *p = e->product[d][j][part];
            float32x4_t min = vdupq_n_f32(0);
            if (blm_type_has_min(type)) min = vld1q_f32(e->min[part][j]);
            y = blm_neon_add_part(
                type, y, blm_neon_sum4(p[0], p[1], p[2], p[3]), vld1q_f32(e->scale[part][j]),
                min, x->scale[i + j],
                blm_neon_part_sum(type, x->q + (size_t)(i + j) * 32, x->sum[i + j], part));
        }
    }
    return y;
}

/* Four rows; eight blocks at a time of each, so that those of 256 are decoded once. Then lanes
 * are rows, as in the panel: sums are the same, bit for bit. */
BLM_NEON_INLINE float32x4_t blm_neon_stream_any(uint32_t level, uint32_t type, uint32_t acts,
                                                const uint8_t *const *rows, const blm_acts *a,
                                                blm_neon_eight *e)
{
    const uint32_t blocks = a->cols / 32;
    float32x4_t y[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
    blm_neon_acts x[2];
    blm_neon_begin(a, acts, x);
    for (uint32_t i = 0; i < blocks; i += 8) {
        const uint32_t count = BLM_MIN(blocks - i, 8);
        for (uint32_t r = 0; r < 4 && count == 8; r++) {
            if (blm_neon_decodes_eight(type))
                blm_neon_take_scales_8(type, rows[r] + (size_t)(i / 8) * blm_type_bytes(type),
                                       e->of_row[r]);
            BLM_NEON_UNROLL
            for (uint32_t j = 0; j < 8; j++)
                blm_neon_take_block(level, type, acts, rows[r], i + j, x, j, r, e);
        }
        if (blm_neon_decodes_eight(type)) {
            blm_neon_turn_eight(e, 0, e->scale[0]);
            if (type == BLM_Q6_K) blm_neon_turn_eight(e, 1, e->scale[1]);
            if (type == BLM_Q4_K) blm_neon_turn_eight(e, 2, e->min[0]);
        }
        for (uint32_t r = 0; r < 4 && count < 8; r++)
            for (uint32_t j = 0; j < count; j++)
                blm_neon_take_block(level, type, acts, rows[r], i + j, x, j, r, e);
        for (uint32_t d = 0; d < acts; d++)
            y[d] = blm_neon_add_eight(type, e, d, &x[d], i, count, y[d]);
    }
    return acts == 2 ? vaddq_f32(y[0], y[1]) : y[0];
}

BLM_NEON_INLINE void blm_neon_one_token(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                        uint32_t level, uint32_t type, uint32_t acts)
{
    for (uint64_t r = row0; r < row1; r += 4) {
        const uint8_t *rows[4];
        float y[4];
        blm_neon_rows(a, r, row1, 4, rows);
        if (type == BLM_Q4_0 || type == BLM_Q8_0)
            vst1q_f32(y, blm_neon_stream_pair(level, type, acts, rows, a->x));
        else
            vst1q_f32(y, blm_neon_stream_any(level, type, acts, rows, a->x,
                                             (blm_neon_eight *)a->scratch));
        memcpy(a->y + r, y, (size_t)BLM_MIN(row1 - r, 4) * sizeof *y);
    }
}

/* ---- Several tokens: the panel ------------------------------------------------------- */

/* Eight rows of 32 columns, in the order in which they are multiplied.
 *   plain  [row][32]
 *   sdot   [row / 4][k / 4][row % 4][4]
 *   smmla  [row / 2][k / 8][row % 2][8] */
typedef struct blm_neon_panel {
    int8_t q[256];
    float scale[2][8], min[2][8];
} blm_neon_panel;

/* Writes rows r .. r + 3 of the panel. */
BLM_NEON_INLINE void blm_neon_fill_rows(uint32_t level, const blm_neon_block *block, uint32_t r,
                                        int8_t *q)
{
    BLM_NEON_UNROLL
    for (uint32_t j = 0; j < 2; j++) {
        if (level == BLM_NEON_PLAIN) {
            BLM_NEON_UNROLL
            for (uint32_t i = 0; i < 4; i++)
                vst1q_s8(q + (r + i) * 32 + j * 16, block[i].q[j]);
        } else if (level == BLM_NEON_SDOT) {
            int32x4x4_t v = {
                {vreinterpretq_s32_s8(block[0].q[j]), vreinterpretq_s32_s8(block[1].q[j]),
                 vreinterpretq_s32_s8(block[2].q[j]), vreinterpretq_s32_s8(block[3].q[j])}};
            vst4q_s32((int32_t *)(void *)(q + r * 32 + j * 64), v);
        } else {
            BLM_NEON_UNROLL
            for (uint32_t i = 0; i < 4; i += 2) {
                int64x2x2_t v = {{vreinterpretq_s64_s8(block[i].q[j]),
                                  vreinterpretq_s64_s8(block[i + 1].q[j])}};
                vst2q_s64((int64_t *)(void *)(q + (r + i) * 32 + j * 32), v);
            }
        }
    }
}

BLM_NEON_INLINE void blm_neon_fill(uint32_t level, uint32_t type, const uint8_t *const *rows,
                                   uint32_t blocks, blm_neon_panel *panel)
{
    for (uint32_t i = 0; i < blocks; i++, panel++) {
        for (uint32_t r = 0; r < 8; r += 4) {
            blm_neon_block block[4];
            BLM_NEON_UNROLL
            for (uint32_t j = 0; j < 4; j++) {
                block[j] = blm_neon_unpack(type, rows[r + j], i);
                panel->scale[0][r + j] = block[j].scale[0];
                panel->scale[1][r + j] = block[j].scale[1];
                panel->min[0][r + j] = block[j].min[0];
                panel->min[1][r + j] = block[j].min[1];
            }
            blm_neon_fill_rows(level, block, r, panel->q);
        }
    }
}

/* Integer sums over columns [k0, k0 + n) of a block, n 16 or 32: sum[t][h], lanes: rows 4h
 * .. 4h + 3. Plain: in 16 bits fit four times four products of 16 x 127, four times two of
 * 32 x 127, two of 128 x 127. */
BLM_NEON_INLINE void blm_neon_sums_plain(uint32_t type, const int8_t *w, const int8_t *const *x,
                                         uint32_t tokens, uint32_t k0, uint32_t n,
                                         int32x4_t sum[4][2])
{
    BLM_NEON_UNROLL
    for (uint32_t h = 0; h < 2; h++) {
        BLM_NEON_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            int8x16_t x0 = vld1q_s8(x[t] + k0), x1 = vld1q_s8(x[t] + k0 + n - 16);
            int16x8_t a[4];
            int32x4_t part[4];
            BLM_NEON_UNROLL
            for (uint32_t r = 0; r < 4; r++) {
                const int8_t *row = w + (h * 4 + r) * 32 + k0;
                a[r] = blm_neon_pairs(vld1q_s8(row), x0);
                if (n == 16) continue;
                int8x16_t w1 = vld1q_s8(row + 16);
                if (blm_neon_is_wide(type)) {
                    part[r] = vpaddlq_s16(a[r]);
                    part[r] = vpadalq_s16(part[r], blm_neon_pairs(w1, x1));
                } else {
                    a[r] = blm_neon_more_pairs(a[r], w1, x1);
                }
            }
            sum[t][h] = blm_neon_is_wide(type)
                            ? blm_neon_sum4(part[0], part[1], part[2], part[3])
                            : blm_neon_sum4_short(a[0], a[1], a[2], a[3]);
        }
    }
}

BLM_NEON_INLINE void blm_neon_sums_sdot(const int8_t *w, const int8_t *const *x,
                                        uint32_t tokens, uint32_t k0, uint32_t n,
                                        int32x4_t sum[4][2])
{
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        sum[t][0] = sum[t][1] = vdupq_n_s32(0);
    BLM_NEON_UNROLL
    for (uint32_t k = k0; k < k0 + n; k += 16) {
        int8x16_t v[4];
        BLM_NEON_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            v[t] = vld1q_s8(x[t] + k);
        BLM_NEON_UNROLL
        for (uint32_t g = 0; g < 4; g += 2) {
            const int8_t *group = w + (k + g * 4) * 4;
            int8x16_t q[2][2] = {{vld1q_s8(group), vld1q_s8(group + 128)},
                                 {vld1q_s8(group + 16), vld1q_s8(group + 144)}};
            BLM_NEON_UNROLL
            for (uint32_t e = 0; e < 2; e++) {
                BLM_NEON_UNROLL
                for (uint32_t t = 0; t < tokens; t++) {
                    sum[t][0] = blm_neon_sdot_lane(sum[t][0], q[e][0], v[t], g + e);
                    sum[t][1] = blm_neon_sdot_lane(sum[t][1], q[e][1], v[t], g + e);
                }
            }
        }
    }
}

/* Tokens by pairs; a last one alone is its own partner. */
BLM_NEON_INLINE void blm_neon_sums_smmla(const int8_t *w, const int8_t *const *x,
                                         uint32_t tokens, uint32_t k0, uint32_t n,
                                         int32x4_t sum[4][2])
{
    int32x4_t part[2][4]; /* [pair of tokens][pair of rows] */
    BLM_NEON_UNROLL
    for (uint32_t p = 0; p < 4; p++)
        part[0][p] = part[1][p] = vdupq_n_s32(0);
    BLM_NEON_UNROLL
    for (uint32_t k = k0; k < k0 + n; k += 16) {
        int64x2_t v[2][2]; /* [pair of tokens][half] */
        BLM_NEON_UNROLL
        for (uint32_t t = 0; t < tokens; t += 2) {
            int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(x[t] + k));
            int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(x[BLM_MIN(t + 1, tokens - 1)] + k));
            v[t / 2][0] = vzip1q_s64(a, b);
            v[t / 2][1] = vzip2q_s64(a, b);
        }
        BLM_NEON_UNROLL
        for (uint32_t p = 0; p < 4; p++) {
            int8x16_t q[2] = {vld1q_s8(w + p * 64 + k * 2), vld1q_s8(w + p * 64 + k * 2 + 16)};
            BLM_NEON_UNROLL
            for (uint32_t i = 0; i < (tokens + 1) / 2 * 2; i++) {
                int8x16_t pair = vreinterpretq_s8_s64(v[i / 2][i % 2]);
                part[i / 2][p] = blm_neon_smmla(part[i / 2][p], q[i % 2], pair);
            }
        }
    }
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        BLM_NEON_UNROLL
        for (uint32_t h = 0; h < 2; h++) {
            int32x4_t a = part[t / 2][h * 2], b = part[t / 2][h * 2 + 1];
            sum[t][h] = t % 2 ? vuzp2q_s32(a, b) : vuzp1q_s32(a, b);
        }
    }
}

BLM_NEON_INLINE void blm_neon_sums(uint32_t level, uint32_t type, const int8_t *w,
                                   const int8_t *const *x, uint32_t tokens, uint32_t k0,
                                   uint32_t n, int32x4_t sum[4][2])
{
    if (level == BLM_NEON_PLAIN)
        blm_neon_sums_plain(type, w, x, tokens, k0, n, sum);
    else if (level == BLM_NEON_SDOT)
        blm_neon_sums_sdot(w, x, tokens, k0, n, sum);
    else
        blm_neon_sums_smmla(w, x, tokens, k0, n, sum);
}

/* Adds one block's share to the outputs y[t][h] of `tokens` tokens from t0. */
BLM_NEON_INLINE void blm_neon_panel_block(uint32_t level, uint32_t type,
                                          const blm_neon_panel *w, const blm_acts *x,
                                          const int8_t *const *q, uint32_t i, uint32_t t0,
                                          uint32_t tokens, float32x4_t y[4][2])
{
    const uint32_t parts = blm_type_is_halved(type) ? 2 : 1;
    BLM_NEON_UNROLL
    for (uint32_t part = 0; part < parts; part++) {
        int32x4_t sum[4][2];
        blm_neon_sums(level, type, w->q, q, tokens, part * 16, 32 / parts, sum);
        BLM_NEON_UNROLL
        for (uint32_t h = 0; h < 2; h++) {
            float32x4_t scale = vld1q_f32(w->scale[part] + h * 4);
            float32x4_t min = vld1q_f32(w->min[part] + h * 4);
            BLM_NEON_UNROLL
            for (uint32_t t = 0; t < tokens; t++) {
                size_t at = (t0 + t) * x->block_stride + i;
                int32_t x_sum = blm_neon_part_sum(type, q[t], x->sum[at], part);
                y[t][h] = blm_neon_add_part(type, y[t][h], sum[t][h], scale, min, x->scale[at],
                                            x_sum);
            }
        }
    }
}

/* Eight rows of the panel, `count` of them real, with `tokens` (at most 4) tokens from t0. */
BLM_NEON_INLINE void blm_neon_panel_tokens(const blm_matmul_args *a, uint64_t r, uint32_t count,
                                           uint32_t level, uint32_t type, uint32_t t0,
                                           uint32_t tokens)
{
    const blm_neon_panel *panel = (const blm_neon_panel *)a->scratch;
    const blm_acts *x = a->x;
    const int8_t *q[4];
    float32x4_t y[4][2];
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        q[t] = x->q + (t0 + t) * x->q_stride;
        y[t][0] = y[t][1] = vdupq_n_f32(0);
    }
    for (uint32_t i = 0; i < x->cols / 32; i++) {
        blm_neon_panel_block(level, type, panel + i, x, q, i, t0, tokens, y);
        BLM_NEON_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            q[t] += 32;
    }
    BLM_NEON_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        float out[8];
        vst1q_f32(out, y[t][0]);
        vst1q_f32(out + 4, y[t][1]);
        memcpy(a->y + (t0 + t) * a->y_stride + r, out, count * sizeof *out);
    }
}

BLM_NEON_INLINE void blm_neon_tokens(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                     uint32_t level, uint32_t type)
{
    uint32_t tokens = a->x->tokens;
    for (uint64_t r = row0; r < row1; r += 8) {
        uint32_t t = 0, count = (uint32_t)BLM_MIN(row1 - r, 8);
        const uint8_t *rows[8];
        blm_neon_rows(a, r, row1, 8, rows);
        blm_neon_fill(level, type, rows, a->x->cols / 32, (blm_neon_panel *)a->scratch);
        for (; t + 4 <= tokens; t += 4)
            blm_neon_panel_tokens(a, r, count, level, type, t, 4);
        for (; t < tokens; t++)
            blm_neon_panel_tokens(a, r, count, level, type, t, 1);
    }
}

/* smmla needs two tokens: one goes the way of the level below, if there is one. */
BLM_NEON_INLINE void blm_neon_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                     uint32_t level, uint32_t type)
{
    if (a->x->tokens == 1)
        blm_neon_one_token(a, row0, row1, BLM_MIN(level, BLM_NEON_SDOT), type, 1);
    else
        blm_neon_tokens(a, row0, row1, level, type);
}

#define BLM_NEON_TYPE(name, number, values, bytes)                                             \
    static void blm_neon_matmul8_##name(const blm_matmul_args *a, uint64_t row0,               \
                                        uint64_t row1)                                         \
    {                                                                                          \
        blm_neon_matmul(a, row0, row1, BLM_NEON_PLAIN, number);                                \
    }                                                                                          \
    BLM_NEON_DOTPROD void blm_dotprod_matmul8_##name(const blm_matmul_args *a, uint64_t row0,  \
                                                     uint64_t row1)                            \
    {                                                                                          \
        blm_neon_matmul(a, row0, row1, BLM_NEON_SDOT, number);                                 \
    }                                                                                          \
    BLM_NEON_I8MM void blm_i8mm_matmul8_##name(const blm_matmul_args *a, uint64_t row0,        \
                                               uint64_t row1)                                  \
    {                                                                                          \
        blm_neon_matmul(a, row0, row1, BLM_NEON_SMMLA, number);                                \
    }                                                                                          \
    static void blm_neon_pair_##name(const blm_matmul_args *a, uint64_t row0, uint64_t row1)   \
    {                                                                                          \
        blm_neon_one_token(a, row0, row1, BLM_NEON_PLAIN, number, 2);                          \
    }                                                                                          \
    BLM_NEON_DOTPROD void blm_dotprod_pair_##name(const blm_matmul_args *a, uint64_t row0,     \
                                                  uint64_t row1)                               \
    {                                                                                          \
        blm_neon_one_token(a, row0, row1, BLM_NEON_SDOT, number, 2);                           \
    }
BLM_BLOCK_TYPES(BLM_NEON_TYPE)
#undef BLM_NEON_TYPE

/* ---- The table ----------------------------------------------------------------------- */

#define BLM_NEON_ENTRY(name, number, values, bytes)                                            \
    k->matmul8[number] = blm_neon_matmul8_##name;                                              \
    k->matmul_pair[number] = blm_neon_pair_##name;
#define BLM_DOTPROD_ENTRY(name, number, values, bytes)                                         \
    k->matmul8[number] = blm_dotprod_matmul8_##name;                                           \
    k->matmul_pair[number] = blm_dotprod_pair_##name;
#define BLM_I8MM_ENTRY(name, number, values, bytes)                                            \
    k->matmul8[number] = blm_i8mm_matmul8_##name;

BLM_PRIVATE void blm_kernels_neon_matmul(blm_kernels *k)
{
    (void)k; /* all types may be left out */
    BLM_BLOCK_TYPES(BLM_NEON_ENTRY)
}

BLM_PRIVATE void blm_kernels_dotprod(blm_kernels *k)
{
    (void)k;
    BLM_BLOCK_TYPES(BLM_DOTPROD_ENTRY)
}

BLM_PRIVATE void blm_kernels_i8mm(blm_kernels *k)
{
    (void)k;
    BLM_BLOCK_TYPES(BLM_I8MM_ENTRY)
}

#endif
