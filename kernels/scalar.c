/* The kernels in portable C: the specification that every instruction set is compared
 * with. A weight row is unpacked once into the worker's scratch and then meets every
 * token; integer products are exact within a block, blocks are added in f32 in order of k.
 */
#include "blocks.h"
#include "kernels.h"

/* ---- Unpacking the file's blocks ----------------------------------------------------- */

/* Where 32 weights go: w[j] = scale[j / 16] * q[j] - min[j / 16]. */
typedef struct blm_scalar_block {
    int8_t *q;    /* [32] */
    float *scale; /* [2]  */
    float *min;   /* [2]  */
} blm_scalar_block;

typedef void (*blm_scalar_unpack_fn)(const uint8_t *row, uint64_t block, blm_scalar_block out);

static float blm_scalar_load_f16(const uint8_t *p)
{
    return blm_f32_of_f16(blm_load_u16(p));
}

/* One scale and one minimum for all 32. */
static void blm_scalar_put_scale(blm_scalar_block out, float scale, float min)
{
    out.scale[0] = out.scale[1] = scale;
    out.min[0] = out.min[1] = min;
}

/* 16 bytes hold the first 16 values in their low nibbles, the last 16 in the high ones. */
static void blm_scalar_put_nibbles(blm_scalar_block out, const uint8_t *p, int zero)
{
    for (int j = 0; j < 16; j++) {
        out.q[j] = (int8_t)((p[j] & 15) - zero);
        out.q[j + 16] = (int8_t)((p[j] >> 4) - zero);
    }
}

/* The same with a fifth bit: bit j of the word at `high`. */
static void blm_scalar_put_fives(blm_scalar_block out, const uint8_t *high, const uint8_t *p,
                                 int zero)
{
    uint32_t bits = blm_load_u32(high);
    blm_scalar_put_nibbles(out, p, zero);
    for (int j = 0; j < 32; j++)
        out.q[j] = (int8_t)(out.q[j] + (int)(bits >> j & 1) * 16);
}

/* The same nibbles standing for other values. */
static void blm_scalar_put_values(blm_scalar_block out, const int8_t *values, const uint8_t *p)
{
    for (int j = 0; j < 16; j++) {
        out.q[j] = values[p[j] & 15];
        out.q[j + 16] = values[p[j] >> 4];
    }
}

static const int8_t blm_scalar_iq4[16] = {BLM_IQ4_VALUES};
static const int8_t blm_scalar_mxfp4[16] = {BLM_MXFP4_VALUES};

static BLM_UNUSED void blm_scalar_unpack_Q4_0(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block * 18;
    blm_scalar_put_scale(out, blm_scalar_load_f16(b), 0);
    blm_scalar_put_nibbles(out, b + 2, 8);
}

static BLM_UNUSED void blm_scalar_unpack_Q4_1(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block * 20;
    blm_scalar_put_scale(out, blm_scalar_load_f16(b), -blm_scalar_load_f16(b + 2));
    blm_scalar_put_nibbles(out, b + 4, 0);
}

static BLM_UNUSED void blm_scalar_unpack_Q5_0(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block * 22;
    blm_scalar_put_scale(out, blm_scalar_load_f16(b), 0);
    blm_scalar_put_fives(out, b + 2, b + 6, 16);
}

static BLM_UNUSED void blm_scalar_unpack_Q5_1(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block * 24;
    blm_scalar_put_scale(out, blm_scalar_load_f16(b), -blm_scalar_load_f16(b + 2));
    blm_scalar_put_fives(out, b + 4, b + 8, 0);
}

static BLM_UNUSED void blm_scalar_unpack_Q8_0(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block * 34;
    blm_scalar_put_scale(out, blm_scalar_load_f16(b), 0);
    memcpy(out.q, b + 2, 32);
}

static BLM_UNUSED void blm_scalar_unpack_IQ4_NL(const uint8_t *row, uint64_t block,
                                                blm_scalar_block out)
{
    const uint8_t *b = row + block * 18;
    blm_scalar_put_scale(out, blm_scalar_load_f16(b), 0);
    blm_scalar_put_values(out, blm_scalar_iq4, b + 2);
}

static BLM_UNUSED void blm_scalar_unpack_MXFP4(const uint8_t *row, uint64_t block,
                                               blm_scalar_block out)
{
    const uint8_t *b = row + block * 17;
    blm_scalar_put_scale(out, blm_scale_mxfp4(b[0]), 0);
    blm_scalar_put_values(out, blm_scalar_mxfp4, b + 1);
}

/* Scale and minimum of sub-block i of 8 of the Q4_K or Q5_K block b. */
static void blm_scalar_put_k_scale(blm_scalar_block out, const uint8_t *b, unsigned i)
{
    uint32_t words[4];
    blm_scales_q4_k(b + 4, words);
    uint32_t scale = words[i / 4] >> (i % 4 * 8) & 63,
             min = words[2 + i / 4] >> (i % 4 * 8) & 63;
    blm_scalar_put_scale(out, blm_scalar_load_f16(b) * (float)scale,
                         blm_scalar_load_f16(b + 2) * (float)min);
}

/* 64 values share 32 bytes: the first 32 in the low nibbles, the others in the high. */
static BLM_UNUSED void blm_scalar_unpack_Q4_K(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block / 8 * 144;
    unsigned i = (unsigned)(block % 8), shift = i % 2 * 4;
    const uint8_t *nibbles = b + 16 + i / 2 * 32;
    blm_scalar_put_k_scale(out, b, i);
    for (int j = 0; j < 32; j++)
        out.q[j] = (int8_t)(nibbles[j] >> shift & 15);
}

/* The same; the fifth bit of value j of 32 is bit i of byte j of 32 before the nibbles. */
static BLM_UNUSED void blm_scalar_unpack_Q5_K(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block / 8 * 176, *high = b + 16;
    unsigned i = (unsigned)(block % 8), shift = i % 2 * 4;
    const uint8_t *nibbles = b + 48 + i / 2 * 32;
    blm_scalar_put_k_scale(out, b, i);
    for (int j = 0; j < 32; j++)
        out.q[j] = (int8_t)((nibbles[j] >> shift & 15) | (high[j] >> i & 1) << 4);
}

/* 128 values share 64 bytes of low nibbles and 32 bytes of bit pairs: of 32 values number
 * i of 4, the nibbles are the low (i < 2) or high half of bytes 32 (i % 2).., the pairs
 * bits 2i and 2i + 1. Each 16 values have an int8 scale. */
static BLM_UNUSED void blm_scalar_unpack_Q6_K(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block / 8 * 210;
    unsigned half = (unsigned)(block % 8) / 4, i = (unsigned)(block % 4);
    const uint8_t *low = b + half * 64 + i % 2 * 32, *high = b + 128 + half * 32;
    const uint8_t *scales = b + 192 + half * 8 + i * 2;
    float d = blm_scalar_load_f16(b + 208);
    out.scale[0] = d * (float)(int8_t)scales[0];
    out.scale[1] = d * (float)(int8_t)scales[1];
    out.min[0] = out.min[1] = 0;
    for (int j = 0; j < 32; j++) {
        int nibble = low[j] >> (i / 2 * 4) & 15, pair = high[j] >> (i * 2) & 3;
        out.q[j] = (int8_t)((nibble | pair << 4) - 32);
    }
}

/* 128 values share 32 bytes of bit pairs: of 32 values number i of 4, bits 2i and 2i + 1. Each
 * 16 values have a scale in the low and a minimum in the high nibble of a byte. */
static BLM_UNUSED void blm_scalar_unpack_Q2_K(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block / 8 * 84;
    unsigned i = (unsigned)(block % 8);
    const uint8_t *pairs = b + 16 + i / 4 * 32;
    float d = blm_scalar_load_f16(b + 80), dmin = blm_scalar_load_f16(b + 82);
    for (unsigned h = 0; h < 2; h++) {
        out.scale[h] = d * (float)(b[i * 2 + h] & 15);
        out.min[h] = dmin * (float)(b[i * 2 + h] >> 4);
    }
    for (int j = 0; j < 32; j++)
        out.q[j] = (int8_t)(pairs[j] >> (i % 4 * 2) & 3);
}

/* Pairs as in Q2_K behind 32 bytes of third bits: of value j of 32, bit i of byte j. */
static BLM_UNUSED void blm_scalar_unpack_Q3_K(const uint8_t *row, uint64_t block,
                                              blm_scalar_block out)
{
    const uint8_t *b = row + block / 8 * 110;
    unsigned i = (unsigned)(block % 8), shift = i % 2 * 16;
    const uint8_t *pairs = b + 32 + i / 4 * 32;
    float d = blm_scalar_load_f16(b + 108);
    uint32_t words[4];
    blm_scales_q3_k(b + 96, words);
    out.scale[0] = d * (float)((int)(words[i / 2] >> shift & 63) - 32);
    out.scale[1] = d * (float)((int)(words[i / 2] >> shift >> 8 & 63) - 32);
    out.min[0] = out.min[1] = 0;
    for (int j = 0; j < 32; j++)
        out.q[j] = (int8_t)((pairs[j] >> (i % 4 * 2) & 3) + (b[j] >> i & 1) * 4 - 4);
}

/* Eight blocks of nibbles as in IQ4_NL, each with a scale of six bits. */
static BLM_UNUSED void blm_scalar_unpack_IQ4_XS(const uint8_t *row, uint64_t block,
                                                blm_scalar_block out)
{
    const uint8_t *b = row + block / 8 * 136;
    uint32_t i = (uint32_t)(block % 8);
    float scale = (float)blm_scale_iq4_xs(b + 2, i);
    blm_scalar_put_scale(out, blm_scalar_load_f16(b) * scale, 0);
    blm_scalar_put_values(out, blm_scalar_iq4, b + 8 + i * 16);
}

/* A whole row in scratch: q [cols], scale [cols / 16], min [cols / 16]. */
static blm_scalar_block blm_scalar_unpack_row(blm_scalar_unpack_fn unpack, const uint8_t *row,
                                              uint64_t cols, void *scratch)
{
    blm_scalar_block all;
    all.scale = (float *)scratch;
    all.min = all.scale + cols / 16;
    all.q = (int8_t *)(all.min + cols / 16);
    for (uint64_t i = 0; i < cols / 32; i++) {
        blm_scalar_block one = {all.q + i * 32, all.scale + i * 2, all.min + i * 2};
        unpack(row, i, one);
    }
    return all;
}

/* ---- Products with quantised weights ------------------------------------------------- */

/* What two mins take off a block of 32: each the sum of its half of the activations. */
static float blm_scalar_mins8(const float *min, const int8_t *q, int32_t sum)
{
    int32_t first = 0;
    for (int j = 0; j < 16; j++)
        first += q[j];
    return (float)first * min[0] + (float)(sum - first) * min[1];
}

/* sum_k w[k] x[t][k], x in int8. Exact integers per 16 values: |sum| <= 16 * 128 * 128. */
static float blm_scalar_dot8(blm_scalar_block w, const blm_acts *x, uint32_t t)
{
    const int8_t *q = x->q + t * x->q_stride;
    const float *scale = x->scale + t * x->block_stride;
    const int32_t *sum = x->sum + t * x->block_stride;
    float y = 0;
    for (uint32_t i = 0; i < x->cols / 32; i++, q += 32, w.q += 32, w.scale += 2, w.min += 2) {
        int32_t a = 0, b = 0;
        for (int j = 0; j < 16; j++) {
            a += w.q[j] * q[j];
            b += w.q[j + 16] * q[j + 16];
        }
        float products = (float)a * w.scale[0] + (float)b * w.scale[1];
        float mins = (float)sum[i] * w.min[0];
        if (w.min[0] != w.min[1]) mins = blm_scalar_mins8(w.min, q, sum[i]);
        y += (products - mins) * scale[i];
    }
    return y;
}

static BLM_UNUSED void blm_scalar_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                         blm_scalar_unpack_fn unpack)
{
    for (uint64_t r = row0; r < row1; r++) {
        const uint8_t *row = a->w->data + r * a->w->row_bytes;
        blm_scalar_block w = blm_scalar_unpack_row(unpack, row, a->x->cols, a->scratch);
        for (uint32_t t = 0; t < a->x->tokens; t++)
            a->y[t * a->y_stride + r] = blm_scalar_dot8(w, a->x, t);
    }
}

/* ---- Rows to f32 --------------------------------------------------------------------- */

static BLM_UNUSED void blm_scalar_dequantize(blm_scalar_unpack_fn unpack, const uint8_t *row,
                                             float *out, uint64_t cols)
{
    int8_t q[32];
    float scale[2], min[2];
    blm_scalar_block block = {q, scale, min};
    for (uint64_t i = 0; i < cols / 32; i++) {
        unpack(row, i, block);
        for (int j = 0; j < 32; j++)
            out[i * 32 + (unsigned)j] = (float)q[j] * scale[j / 16] - min[j / 16];
    }
}

/* What the table has of every type of blocks. */
#define BLM_SCALAR_TYPE(name, number, values, bytes)                                           \
    static void blm_scalar_matmul8_##name(const blm_matmul_args *a, uint64_t row0,             \
                                          uint64_t row1)                                       \
    {                                                                                          \
        blm_scalar_matmul(a, row0, row1, blm_scalar_unpack_##name);                            \
    }                                                                                          \
    static void blm_scalar_dequantize_##name(const uint8_t *row, float *out, uint64_t cols)    \
    {                                                                                          \
        blm_scalar_dequantize(blm_scalar_unpack_##name, row, out, cols);                       \
    }
BLM_BLOCK_TYPES(BLM_SCALAR_TYPE)
#undef BLM_SCALAR_TYPE

static void blm_scalar_dequantize_F32(const uint8_t *row, float *out, uint64_t cols)
{
    for (uint64_t i = 0; i < cols; i++)
        out[i] = blm_load_f32(row + i * 4);
}

static void blm_scalar_dequantize_F16(const uint8_t *row, float *out, uint64_t cols)
{
    for (uint64_t i = 0; i < cols; i++)
        out[i] = blm_scalar_load_f16(row + i * 2);
}

static void blm_scalar_dequantize_BF16(const uint8_t *row, float *out, uint64_t cols)
{
    for (uint64_t i = 0; i < cols; i++)
        out[i] = blm_f32_of_bf16(blm_load_u16(row + i * 2));
}

static void blm_scalar_f16_from_f32(uint16_t *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = blm_f16_of_f32(x[i]);
}

static void blm_scalar_f32_from_f16(float *out, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = blm_f32_of_f16(x[i]);
}

/* ---- Products with float weights ----------------------------------------------------- */

/* Eight partial sums, k mod 8, added as a tree: what vector units do, so that their
 * results stay close, and no chain of dependent additions. */
static float blm_scalar_sum8(const float *s)
{
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static float blm_scalar_dot_f32(const float *x, const float *y, size_t n)
{
    float s[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (unsigned j = 0; j < 8; j++)
            s[j] += x[i + j] * y[i + j];
    }
    for (unsigned j = 0; i + j < n; j++)
        s[j] += x[i + j] * y[i + j];
    return blm_scalar_sum8(s);
}

static void blm_scalar_axpy_f32(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

typedef void (*blm_scalar_dequantize_fn)(const uint8_t *row, float *out, uint64_t cols);

static void blm_scalar_matmul_float(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                    blm_scalar_dequantize_fn dequantize)
{
    float *w = (float *)a->scratch;
    for (uint64_t r = row0; r < row1; r++) {
        dequantize(a->w->data + r * a->w->row_bytes, w, a->x->cols);
        for (uint32_t t = 0; t < a->x->tokens; t++) {
            const float *x = a->x->f32 + t * a->x->f32_stride;
            a->y[t * a->y_stride + r] = blm_scalar_dot_f32(w, x, a->x->cols);
        }
    }
}

static void blm_scalar_matmul_F32(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul_float(a, row0, row1, blm_scalar_dequantize_F32);
}

static void blm_scalar_matmul_F16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul_float(a, row0, row1, blm_scalar_dequantize_F16);
}

static void blm_scalar_matmul_BF16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul_float(a, row0, row1, blm_scalar_dequantize_BF16);
}

/* ---- Quantising activations ---------------------------------------------------------- */

/* Largest magnitude; NaNs are passed over. */
static float blm_scalar_max_abs(const float *x, uint32_t n)
{
    float most = 0;
    for (uint32_t i = 0; i < n; i++) {
        float a = blm_absf(x[i]);
        most = a > most ? a : most;
    }
    return most;
}

/* x * inverse to the nearest integer in [-127, 127]; a NaN becomes -127. */
static int32_t blm_scalar_quantum(float x, float inverse)
{
    const float limit = 127;
    float v = x * inverse;
    v = v > limit ? limit : v;
    v = v > -limit ? v : -limit;
    return blm_round_even(v);
}

#define BLM_SCALAR_TINY 1e-30f /* its inverse times 127 is still finite */

static void blm_scalar_quantize8(const float *x, uint32_t cols, int8_t *q, float *scale,
                                 int32_t *sum)
{
    for (uint32_t i = 0; i < cols / 32; i++, x += 32, q += 32) {
        float most = blm_scalar_max_abs(x, 32);
        float inverse = most < BLM_SCALAR_TINY ? 0 : 127 / most;
        scale[i] = most < BLM_SCALAR_TINY ? 0 : most / 127;
        sum[i] = 0;
        for (int j = 0; j < 32; j++) {
            q[j] = (int8_t)blm_scalar_quantum(x[j], inverse);
            sum[i] += q[j];
        }
    }
}

static void blm_scalar_quantize_kv(const float *x, uint32_t n, int8_t *q, uint16_t *scale)
{
    *scale = blm_kv_scale(blm_scalar_max_abs(x, n));
    float step = blm_f32_of_f16(*scale), inverse = *scale == 0 ? 0 : 1 / step;
    for (uint32_t i = 0; i < n; i++)
        q[i] = (int8_t)blm_scalar_quantum(x[i], inverse);
}

/* ---- Norms, activations, softmax, RoPE ----------------------------------------------- */

static void blm_scalar_rms_norm(const float *x, const uint8_t *w, float eps, uint32_t n,
                                float *out)
{
    float mean = blm_scalar_dot_f32(x, x, n) / (float)n;
    float factor = 1 / blm_sqrtf(mean + eps);
    for (uint32_t i = 0; i < n; i++)
        out[i] = x[i] * factor * blm_load_f32(w + i * 4u);
}

static float blm_scalar_sum(const float *x, size_t n)
{
    float s[8] = {0};
    for (size_t i = 0; i < n; i++)
        s[i % 8] += x[i];
    return blm_scalar_sum8(s);
}

static void blm_scalar_layer_norm(const float *x, const uint8_t *w, const uint8_t *b, float eps,
                                  uint32_t n, float *out)
{
    float mean = blm_scalar_sum(x, n) / (float)n;
    for (uint32_t i = 0; i < n; i++)
        out[i] = x[i] - mean;
    float factor = 1 / blm_sqrtf(blm_scalar_dot_f32(out, out, n) / (float)n + eps);
    for (uint32_t i = 0; i < n; i++)
        out[i] = out[i] * factor * blm_load_f32(w + i * 4u) + blm_load_f32(b + i * 4u);
}

static void blm_scalar_add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

static void blm_scalar_add_bias(float *x, const uint8_t *bias, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += blm_load_f32(bias + i * 4);
}

/* x sigmoid(s x): SiLU and, with other arguments, every GELU but the exact one. */
static float blm_scalar_gate(float x, float argument)
{
    return x / (1 + blm_expf(-argument));
}

/* (1 + tanh u) / 2 = sigmoid(2u); 2 sqrt(2/pi) = 1.5957691 */
static void blm_scalar_gelu_tanh(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = blm_scalar_gate(x[i], 1.59576912f * x[i] * (1 + 0.044715f * x[i] * x[i]));
}

static void blm_scalar_gelu_erf(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = 0.5f * x[i] * (1 + blm_erff(x[i] * 0.70710678f));
}

static void blm_scalar_gelu_quick(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = blm_scalar_gate(x[i], 1.702f * x[i]);
}

static void blm_scalar_silu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = blm_scalar_gate(x[i], x[i]);
}

static void blm_scalar_silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gate[i] = blm_scalar_gate(gate[i], gate[i]) * up[i];
}

static void blm_scalar_softmax(float *x, uint32_t n)
{
    float most = x[0];
    for (uint32_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (uint32_t i = 0; i < n; i++)
        x[i] = blm_expf(x[i] - most);
    float factor = 1 / blm_scalar_sum(x, n);
    for (uint32_t i = 0; i < n; i++)
        x[i] *= factor;
}

static void blm_scalar_rope(float *x, const float *cos, const float *sin, uint32_t n_rot,
                            int halves)
{
    uint32_t pairs = n_rot / 2, step = halves ? 1 : 2, apart = halves ? pairs : 1;
    for (uint32_t i = 0; i < pairs; i++) {
        float *a = x + i * step, *b = a + apart, old = *a;
        *a = old * cos[i] - *b * sin[i];
        *b = old * sin[i] + *b * cos[i];
    }
}

/* ---- The delta rule ------------------------------------------------------------------ */

static void blm_scalar_delta_step(float *memory, const float *q, const float *k, const float *v,
                                  float keep, float rate, uint32_t n, float *out)
{
    for (uint32_t j = 0; j < n; j++) {
        float *row = memory + (size_t)j * n;
        float change = rate * (v[j] - keep * blm_scalar_dot_f32(row, k, n));
        for (uint32_t i = 0; i < n; i++)
            row[i] = keep * row[i] + change * k[i];
        out[j] = blm_scalar_dot_f32(row, q, n);
    }
}

/* ---- Attention ----------------------------------------------------------------------- */

/* How one kind of row is read: its product with a query, and its addition to an output. */
typedef float (*blm_scalar_row_dot_fn)(const float *q, const uint8_t *row, size_t n);
typedef void (*blm_scalar_row_axpy_fn)(float *out, float p, const uint8_t *row, size_t n);

static float blm_scalar_row_dot_f32(const float *q, const uint8_t *row, size_t n)
{
    return blm_scalar_dot_f32(q, (const float *)(const void *)row, n);
}

static void blm_scalar_row_axpy_f32(float *out, float p, const uint8_t *row, size_t n)
{
    blm_scalar_axpy_f32(out, p, (const float *)(const void *)row, n);
}

static float blm_scalar_row_dot_f16(const float *q, const uint8_t *row, size_t n)
{
    const uint16_t *k = (const uint16_t *)(const void *)row;
    float s[8] = {0};
    for (size_t i = 0; i < n; i++)
        s[i % 8] += q[i] * blm_f32_of_f16(k[i]);
    return blm_scalar_sum8(s);
}

static void blm_scalar_row_axpy_f16(float *out, float p, const uint8_t *row, size_t n)
{
    const uint16_t *v = (const uint16_t *)(const void *)row;
    for (size_t i = 0; i < n; i++)
        out[i] += p * blm_f32_of_f16(v[i]);
}

static float blm_scalar_row_dot_q8(const float *q, const uint8_t *row, size_t n)
{
    const int8_t *k = (const int8_t *)row;
    float s[8] = {0};
    for (size_t i = 0; i < n; i++)
        s[i % 8] += q[i] * (float)k[i];
    return blm_scalar_sum8(s);
}

static void blm_scalar_row_axpy_q8(float *out, float p, const uint8_t *row, size_t n)
{
    const int8_t *v = (const int8_t *)row;
    for (size_t i = 0; i < n; i++)
        out[i] += p * (float)v[i];
}

/* One query after another. A row's scale, where there is one, multiplies its score, or its
 * probability. */
static void blm_scalar_attend(const blm_attend_args *a, blm_scalar_row_dot_fn dot,
                              blm_scalar_row_axpy_fn axpy, int scaled)
{
    for (uint32_t i = 0; i < a->queries; i++) {
        const blm_attend_span sees = blm_attend_sees(a, i);
        const float *q = a->q + i * a->q_stride;
        float *out = a->out + i * a->out_stride, *p = a->scratch;
        for (uint32_t j = sees.from; j < sees.end; j++) {
            p[j] = dot(q, a->k + j * a->k_stride, a->head_dim);
            if (scaled) p[j] *= blm_scalar_load_f16(a->k_scale + j * a->k_scale_stride);
        }
        blm_scalar_softmax(p + sees.from, sees.end - sees.from);
        for (uint32_t d = 0; d < a->head_dim; d++)
            out[d] = 0;
        for (uint32_t j = sees.from; j < sees.end; j++) {
            if (scaled) p[j] *= blm_scalar_load_f16(a->v_scale + j * a->v_scale_stride);
            axpy(out, p[j], a->v + j * a->v_stride, a->head_dim);
        }
    }
}

static void blm_scalar_attend_f32(const blm_attend_args *a)
{
    blm_scalar_attend(a, blm_scalar_row_dot_f32, blm_scalar_row_axpy_f32, 0);
}

static void blm_scalar_attend_f16(const blm_attend_args *a)
{
    blm_scalar_attend(a, blm_scalar_row_dot_f16, blm_scalar_row_axpy_f16, 0);
}

static void blm_scalar_attend_q8(const blm_attend_args *a)
{
    blm_scalar_attend(a, blm_scalar_row_dot_q8, blm_scalar_row_axpy_q8, 1);
}

/* ---- The table ----------------------------------------------------------------------- */

static void blm_scalar_fill_types(blm_kernels *k)
{
#define BLM_SCALAR_FLOATS(name, number, values, bytes)                                         \
    k->matmul8[number] = blm_scalar_matmul_##name;                                             \
    k->dequantize[number] = blm_scalar_dequantize_##name;
    BLM_FLOAT_TYPES(BLM_SCALAR_FLOATS)
#undef BLM_SCALAR_FLOATS
#define BLM_SCALAR_BLOCKS(name, number, values, bytes)                                         \
    k->matmul8[number] = blm_scalar_matmul8_##name;                                            \
    k->dequantize[number] = blm_scalar_dequantize_##name;
    BLM_BLOCK_TYPES(BLM_SCALAR_BLOCKS)
#undef BLM_SCALAR_BLOCKS
}

static void blm_scalar_fill_rows(blm_kernels *k)
{
    k->quantize8 = blm_scalar_quantize8;
    k->quantize_kv = blm_scalar_quantize_kv;
    k->f16_from_f32 = blm_scalar_f16_from_f32;
    k->f32_from_f16 = blm_scalar_f32_from_f16;
}

BLM_PRIVATE void blm_kernels_scalar(blm_kernels *k)
{
    memset(k, 0, sizeof *k);
    blm_scalar_fill_types(k);
    blm_scalar_fill_rows(k);
    k->rms_norm = blm_scalar_rms_norm;
    k->add = blm_scalar_add;
    k->add_bias = blm_scalar_add_bias;
    k->gelu_tanh = blm_scalar_gelu_tanh;
    k->silu = blm_scalar_silu;
    k->silu_mul = blm_scalar_silu_mul;
    k->softmax = blm_scalar_softmax;
    k->rope = blm_scalar_rope;
    k->dot_f32 = blm_scalar_dot_f32;
    k->axpy_f32 = blm_scalar_axpy_f32;
    k->delta_step = blm_scalar_delta_step;
    k->attend_f16 = blm_scalar_attend_f16;
    k->attend_q8 = blm_scalar_attend_q8;
#ifndef BLUELM_NO_VISION /* what towers alone ask for */
    k->layer_norm = blm_scalar_layer_norm;
    k->gelu_erf = blm_scalar_gelu_erf;
    k->gelu_quick = blm_scalar_gelu_quick;
    k->attend_f32 = k->attend_i16 = blm_scalar_attend_f32;
#endif
}
