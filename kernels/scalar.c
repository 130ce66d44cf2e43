/* The kernels in portable C: the specification that every instruction set is compared
 * with. A weight row is unpacked once into the worker's scratch and then meets every
 * token; integer products are exact within a block, blocks are added in f32 in order of k.
 */
#include "kernels.h"

/* ---- Unpacking the file's blocks ----------------------------------------------------- */

/* Where 32 weights go: w[j] = scale[j / 16] * q[j] - min. */
typedef struct blm_scalar_block {
    int8_t *q;    /* [32] */
    float *scale; /* [2]  */
    float *min;   /* [1]  */
} blm_scalar_block;

typedef void (*blm_scalar_unpack_fn)(const uint8_t *row, uint64_t block, blm_scalar_block out);

static float blm_scalar_load_f16(const uint8_t *p)
{
    return blm_f32_of_f16(blm_load_u16(p));
}

static void blm_scalar_unpack_q4_0(const uint8_t *row, uint64_t block, blm_scalar_block out)
{
    const uint8_t *b = row + block * 18;
    out.scale[0] = out.scale[1] = blm_scalar_load_f16(b);
    out.min[0] = 0;
    for (int j = 0; j < 16; j++) {
        out.q[j] = (int8_t)((b[2 + j] & 15) - 8);
        out.q[j + 16] = (int8_t)((b[2 + j] >> 4) - 8);
    }
}

static void blm_scalar_unpack_q8_0(const uint8_t *row, uint64_t block, blm_scalar_block out)
{
    const uint8_t *b = row + block * 34;
    out.scale[0] = out.scale[1] = blm_scalar_load_f16(b);
    out.min[0] = 0;
    memcpy(out.q, b + 2, 32);
}

/* Scale and min of sub-block i of 8: six bits each. The first four of either lie in bytes
 * 0-3 and 4-7; the last four have their low nibbles in bytes 8-11 and their two high bits
 * on top of the first four's bytes. */
static void blm_scalar_q4_k_scale(const uint8_t *packed, unsigned i, uint8_t *scale,
                                  uint8_t *min)
{
    if (i < 4) {
        *scale = packed[i] & 63;
        *min = packed[i + 4] & 63;
    } else {
        *scale = (uint8_t)((packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4);
        *min = (uint8_t)((packed[i + 4] >> 4) | (packed[i] >> 6) << 4);
    }
}

/* 64 values share 32 bytes: the first 32 in the low nibbles, the others in the high. */
static void blm_scalar_unpack_q4_k(const uint8_t *row, uint64_t block, blm_scalar_block out)
{
    const uint8_t *b = row + block / 8 * 144;
    unsigned i = (unsigned)(block % 8), shift = i % 2 * 4;
    const uint8_t *nibbles = b + 16 + i / 2 * 32;
    uint8_t scale, min;
    blm_scalar_q4_k_scale(b + 4, i, &scale, &min);
    out.scale[0] = out.scale[1] = blm_scalar_load_f16(b) * (float)scale;
    out.min[0] = blm_scalar_load_f16(b + 2) * (float)min;
    for (int j = 0; j < 32; j++)
        out.q[j] = (int8_t)(nibbles[j] >> shift & 15);
}

/* 128 values share 64 bytes of low nibbles and 32 bytes of bit pairs: of 32 values number
 * i of 4, the nibbles are the low (i < 2) or high half of bytes 32 (i % 2).., the pairs
 * bits 2i and 2i + 1. Each 16 values have an int8 scale. */
static void blm_scalar_unpack_q6_k(const uint8_t *row, uint64_t block, blm_scalar_block out)
{
    const uint8_t *b = row + block / 8 * 210;
    unsigned half = (unsigned)(block % 8) / 4, i = (unsigned)(block % 4);
    const uint8_t *low = b + half * 64 + i % 2 * 32, *high = b + 128 + half * 32;
    const uint8_t *scales = b + 192 + half * 8 + i * 2;
    float d = blm_scalar_load_f16(b + 208);
    out.scale[0] = d * (float)(int8_t)scales[0];
    out.scale[1] = d * (float)(int8_t)scales[1];
    out.min[0] = 0;
    for (int j = 0; j < 32; j++) {
        int nibble = low[j] >> (i / 2 * 4) & 15, pair = high[j] >> (i * 2) & 3;
        out.q[j] = (int8_t)((nibble | pair << 4) - 32);
    }
}

/* A whole row in scratch: q [cols], scale [cols / 16], min [cols / 32]. */
static blm_scalar_block blm_scalar_unpack_row(blm_scalar_unpack_fn unpack, const uint8_t *row,
                                              uint64_t cols, void *scratch)
{
    blm_scalar_block all;
    all.scale = (float *)scratch;
    all.min = all.scale + cols / 16;
    all.q = (int8_t *)(all.min + cols / 32);
    for (uint64_t i = 0; i < cols / 32; i++) {
        blm_scalar_block one = {all.q + i * 32, all.scale + i * 2, all.min + i};
        unpack(row, i, one);
    }
    return all;
}

/* ---- Products with quantised weights ------------------------------------------------- */

/* sum_k w[k] x[t][k], x in int8. Exact integers per 16 values: |sum| <= 16 * 128 * 128. */
static float blm_scalar_dot8(blm_scalar_block w, const blm_acts *x, uint32_t t)
{
    const int8_t *q = (const int8_t *)x->q + t * x->q_stride;
    const float *scale = x->scale + t * x->block_stride;
    const int32_t *sum = x->sum + t * x->block_stride;
    float y = 0;
    for (uint32_t i = 0; i < x->cols / 32; i++, q += 32, w.q += 32, w.scale += 2) {
        int32_t a = 0, b = 0;
        for (int j = 0; j < 16; j++) {
            a += w.q[j] * q[j];
            b += w.q[j + 16] * q[j + 16];
        }
        float products = (float)a * w.scale[0] + (float)b * w.scale[1];
        y += (products - (float)sum[i] * w.min[i]) * scale[i];
    }
    return y;
}

/* The same with x in int16: |sum| <= 16 * 128 * 32768 = 2^26. */
static float blm_scalar_dot16(blm_scalar_block w, const blm_acts *x, uint32_t t)
{
    const int16_t *q = (const int16_t *)x->q + t * x->q_stride;
    const float *scale = x->scale + t * x->block_stride;
    const int32_t *sum = x->sum + t * x->block_stride;
    float y = 0;
    for (uint32_t i = 0; i < x->cols / 32; i++, q += 32, w.q += 32, w.scale += 2) {
        int32_t a = 0, b = 0;
        for (int j = 0; j < 16; j++) {
            a += w.q[j] * q[j];
            b += w.q[j + 16] * q[j + 16];
        }
        float products = (float)a * w.scale[0] + (float)b * w.scale[1];
        y += (products - (float)sum[i] * w.min[i]) * scale[i];
    }
    return y;
}

typedef float (*blm_scalar_dot_fn)(blm_scalar_block w, const blm_acts *x, uint32_t t);

static void blm_scalar_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                              blm_scalar_unpack_fn unpack, blm_scalar_dot_fn dot)
{
    for (uint64_t r = row0; r < row1; r++) {
        const uint8_t *row = a->w->data + r * a->w->row_bytes;
        blm_scalar_block w = blm_scalar_unpack_row(unpack, row, a->x->cols, a->scratch);
        for (uint32_t t = 0; t < a->x->tokens; t++)
            a->y[t * a->y_stride + r] = dot(w, a->x, t);
    }
}

static void blm_scalar_matmul8_q4_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul(a, row0, row1, blm_scalar_unpack_q4_0, blm_scalar_dot8);
}

static void blm_scalar_matmul16_q4_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul(a, row0, row1, blm_scalar_unpack_q4_0, blm_scalar_dot16);
}

static void blm_scalar_matmul8_q8_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul(a, row0, row1, blm_scalar_unpack_q8_0, blm_scalar_dot8);
}

static void blm_scalar_matmul16_q8_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul(a, row0, row1, blm_scalar_unpack_q8_0, blm_scalar_dot16);
}

static void blm_scalar_matmul8_q4_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul(a, row0, row1, blm_scalar_unpack_q4_k, blm_scalar_dot8);
}

static void blm_scalar_matmul16_q4_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul(a, row0, row1, blm_scalar_unpack_q4_k, blm_scalar_dot16);
}

static void blm_scalar_matmul8_q6_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul(a, row0, row1, blm_scalar_unpack_q6_k, blm_scalar_dot8);
}

static void blm_scalar_matmul16_q6_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul(a, row0, row1, blm_scalar_unpack_q6_k, blm_scalar_dot16);
}

/* ---- Rows to f32 --------------------------------------------------------------------- */

static void blm_scalar_dequantize(blm_scalar_unpack_fn unpack, const uint8_t *row, float *out,
                                  uint64_t cols)
{
    int8_t q[32];
    float scale[2], min;
    blm_scalar_block block = {q, scale, &min};
    for (uint64_t i = 0; i < cols / 32; i++) {
        unpack(row, i, block);
        for (int j = 0; j < 32; j++)
            out[i * 32 + (unsigned)j] = (float)q[j] * scale[j / 16] - min;
    }
}

static void blm_scalar_dequantize_q4_0(const uint8_t *row, float *out, uint64_t cols)
{
    blm_scalar_dequantize(blm_scalar_unpack_q4_0, row, out, cols);
}

static void blm_scalar_dequantize_q8_0(const uint8_t *row, float *out, uint64_t cols)
{
    blm_scalar_dequantize(blm_scalar_unpack_q8_0, row, out, cols);
}

static void blm_scalar_dequantize_q4_k(const uint8_t *row, float *out, uint64_t cols)
{
    blm_scalar_dequantize(blm_scalar_unpack_q4_k, row, out, cols);
}

static void blm_scalar_dequantize_q6_k(const uint8_t *row, float *out, uint64_t cols)
{
    blm_scalar_dequantize(blm_scalar_unpack_q6_k, row, out, cols);
}

static void blm_scalar_dequantize_f32(const uint8_t *row, float *out, uint64_t cols)
{
    for (uint64_t i = 0; i < cols; i++)
        out[i] = blm_load_f32(row + i * 4);
}

static void blm_scalar_dequantize_f16(const uint8_t *row, float *out, uint64_t cols)
{
    for (uint64_t i = 0; i < cols; i++)
        out[i] = blm_scalar_load_f16(row + i * 2);
}

static void blm_scalar_dequantize_bf16(const uint8_t *row, float *out, uint64_t cols)
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

static void blm_scalar_matmul_f32(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul_float(a, row0, row1, blm_scalar_dequantize_f32);
}

static void blm_scalar_matmul_f16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul_float(a, row0, row1, blm_scalar_dequantize_f16);
}

static void blm_scalar_matmul_bf16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_scalar_matmul_float(a, row0, row1, blm_scalar_dequantize_bf16);
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

/* x * inverse to the nearest integer in [-limit, limit]; a NaN becomes -limit. */
static int32_t blm_scalar_quantum(float x, float inverse, float limit)
{
    float v = x * inverse;
    v = v > limit ? limit : v;
    v = v > -limit ? v : -limit;
    return blm_round_even(v);
}

#define BLM_SCALAR_TINY 1e-30f /* its inverse times 32767 is still finite */

static void blm_scalar_quantize8(const float *x, uint32_t cols, int8_t *q, float *scale,
                                 int32_t *sum)
{
    for (uint32_t i = 0; i < cols / 32; i++, x += 32, q += 32) {
        float most = blm_scalar_max_abs(x, 32);
        float inverse = most < BLM_SCALAR_TINY ? 0 : 127 / most;
        scale[i] = most < BLM_SCALAR_TINY ? 0 : most / 127;
        sum[i] = 0;
        for (int j = 0; j < 32; j++) {
            q[j] = (int8_t)blm_scalar_quantum(x[j], inverse, 127);
            sum[i] += q[j];
        }
    }
}

static void blm_scalar_quantize16(const float *x, uint32_t cols, int16_t *q, float *scale,
                                  int32_t *sum)
{
    for (uint32_t i = 0; i < cols / 32; i++, x += 32, q += 32) {
        float most = blm_scalar_max_abs(x, 32);
        float inverse = most < BLM_SCALAR_TINY ? 0 : 32767 / most;
        scale[i] = most < BLM_SCALAR_TINY ? 0 : most / 32767;
        sum[i] = 0;
        for (int j = 0; j < 32; j++) {
            q[j] = (int16_t)blm_scalar_quantum(x[j], inverse, 32767);
            sum[i] += q[j];
        }
    }
}

static void blm_scalar_quantize_kv(const float *x, uint32_t n, int8_t *q, uint16_t *scale)
{
    *scale = blm_kv_scale(blm_scalar_max_abs(x, n));
    float step = blm_f32_of_f16(*scale), inverse = *scale == 0 ? 0 : 1 / step;
    for (uint32_t i = 0; i < n; i++)
        q[i] = (int8_t)blm_scalar_quantum(x[i], inverse, 127);
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
        uint32_t keys = a->keys + i * a->keys_step;
        const float *q = a->q + i * a->q_stride;
        float *out = a->out + i * a->out_stride, *p = a->scratch;
        for (uint32_t j = 0; j < keys; j++) {
            p[j] = dot(q, a->k + j * a->k_stride, a->head_dim);
            if (scaled) p[j] *= blm_scalar_load_f16(a->k_scale + j * a->k_scale_stride);
        }
        blm_scalar_softmax(p, keys);
        for (uint32_t d = 0; d < a->head_dim; d++)
            out[d] = 0;
        for (uint32_t j = 0; j < keys; j++) {
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

static void blm_scalar_fill_matmul(blm_kernels *k)
{
    k->matmul8[BLM_F32] = k->matmul16[BLM_F32] = blm_scalar_matmul_f32;
    k->matmul8[BLM_F16] = k->matmul16[BLM_F16] = blm_scalar_matmul_f16;
    k->matmul8[BLM_BF16] = k->matmul16[BLM_BF16] = blm_scalar_matmul_bf16;
    k->matmul8[BLM_Q4_0] = blm_scalar_matmul8_q4_0;
    k->matmul8[BLM_Q8_0] = blm_scalar_matmul8_q8_0;
    k->matmul8[BLM_Q4_K] = blm_scalar_matmul8_q4_k;
    k->matmul8[BLM_Q6_K] = blm_scalar_matmul8_q6_k;
    k->matmul16[BLM_Q4_0] = blm_scalar_matmul16_q4_0;
    k->matmul16[BLM_Q8_0] = blm_scalar_matmul16_q8_0;
    k->matmul16[BLM_Q4_K] = blm_scalar_matmul16_q4_k;
    k->matmul16[BLM_Q6_K] = blm_scalar_matmul16_q6_k;
}

static void blm_scalar_fill_rows(blm_kernels *k)
{
    k->dequantize[BLM_F32] = blm_scalar_dequantize_f32;
    k->dequantize[BLM_F16] = blm_scalar_dequantize_f16;
    k->dequantize[BLM_BF16] = blm_scalar_dequantize_bf16;
    k->dequantize[BLM_Q4_0] = blm_scalar_dequantize_q4_0;
    k->dequantize[BLM_Q8_0] = blm_scalar_dequantize_q8_0;
    k->dequantize[BLM_Q4_K] = blm_scalar_dequantize_q4_k;
    k->dequantize[BLM_Q6_K] = blm_scalar_dequantize_q6_k;
    k->quantize8 = blm_scalar_quantize8;
    k->quantize16 = blm_scalar_quantize16;
    k->quantize_kv = blm_scalar_quantize_kv;
    k->f16_from_f32 = blm_scalar_f16_from_f32;
    k->f32_from_f16 = blm_scalar_f32_from_f16;
}

BLM_PRIVATE void blm_kernels_scalar(blm_kernels *k)
{
    memset(k, 0, sizeof *k);
    k->name = "scalar";
    k->f32_tokens = UINT32_MAX;
    blm_scalar_fill_matmul(k);
    blm_scalar_fill_rows(k);
    k->rms_norm = blm_scalar_rms_norm;
    k->layer_norm = blm_scalar_layer_norm;
    k->add = blm_scalar_add;
    k->add_bias = blm_scalar_add_bias;
    k->gelu_tanh = blm_scalar_gelu_tanh;
    k->gelu_erf = blm_scalar_gelu_erf;
    k->gelu_quick = blm_scalar_gelu_quick;
    k->silu = blm_scalar_silu;
    k->silu_mul = blm_scalar_silu_mul;
    k->softmax = blm_scalar_softmax;
    k->rope = blm_scalar_rope;
    k->dot_f32 = blm_scalar_dot_f32;
    k->axpy_f32 = blm_scalar_axpy_f32;
    k->attend_f32 = k->attend_i16 = blm_scalar_attend_f32;
    k->attend_f16 = blm_scalar_attend_f16;
    k->attend_q8 = blm_scalar_attend_q8;
}
