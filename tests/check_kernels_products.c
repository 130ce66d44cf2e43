/* Products and unpacked weights of every type, against what the formats say weights mean. */
#include "check_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- A second opinion on what weights mean ------------------------------------------- */

/* sizes: of the two terms of a weight, of which the smaller one may be left. */
static void reference_q4_k(uint32_t type, const uint8_t *b, double *out, double *sizes)
{
    double d = f16_value(b), dmin = f16_value(b + 2);
    for (int s = 0; s < 8; s++) {
        const uint8_t *p = b + 4;
        int sc = s < 4 ? p[s] & 63 : (p[s + 4] & 15) | (p[s - 4] >> 6 << 4);
        int mn = s < 4 ? p[s + 4] & 63 : p[s + 4] >> 4 | (p[s] >> 6 << 4);
        for (int j = 0; j < 32; j++) {
            int byte = b[(type == BLM_Q5_K ? 48 : 16) + s / 2 * 32 + j];
            int q = s % 2 ? byte >> 4 : byte & 15;
            if (type == BLM_Q5_K) q += (b[16 + j] >> s & 1) * 16;
            out[s * 32 + j] = d * sc * q - dmin * mn;
            sizes[s * 32 + j] = fabs(d * sc * q) + fabs(dmin * mn);
        }
    }
}

static void reference_q6_k(const uint8_t *b, double *out)
{
    double d = f16_value(b + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *ql = b + half * 64, *qh = b + 128 + half * 32, *sc = b + 192 + half * 8;
        for (int j = 0; j < 32; j++) {
            int q[4] = {(ql[j] & 15) | (qh[j] & 3) << 4, (ql[j + 32] & 15) | (qh[j] & 12) << 2,
                        ql[j] >> 4 | (qh[j] & 48), ql[j + 32] >> 4 | (qh[j] & 192) >> 2};
            for (int i = 0; i < 4; i++)
                out[half * 128 + i * 32 + j] = d * (int8_t)sc[j / 16 + i * 2] * (q[i] - 32);
        }
    }
}

/* Value j of 32 in nibbles, the first 16 in the low ones. */
static int reference_nibble(const uint8_t *p, unsigned j)
{
    return j < 16 ? p[j] & 15 : p[j - 16] >> 4;
}

static int reference_bit(const uint8_t *p, unsigned j)
{
    return p[j / 8] >> j % 8 & 1;
}

static const int reference_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
static const double reference_mxfp4[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

/* a + more, and how large the two are. */
static double reference_sum(double a, double more, double *size)
{
    *size = fabs(a) + fabs(more);
    return a + more;
}

/* Value j of the block of 32 at b. */
static double reference_32(blm_type type, const uint8_t *b, unsigned j, double *size)
{
    switch (type) {
    case BLM_Q4_0:
        return f16_value(b) * (reference_nibble(b + 2, j) - 8);
    case BLM_Q4_1:
        return reference_sum(f16_value(b) * reference_nibble(b + 4, j), f16_value(b + 2), size);
    case BLM_Q5_0:
        return f16_value(b) * (reference_nibble(b + 6, j) + 16 * reference_bit(b + 2, j) - 16);
    case BLM_Q5_1:
        return reference_sum(f16_value(b) *
                                 (reference_nibble(b + 8, j) + 16 * reference_bit(b + 4, j)),
                             f16_value(b + 2), size);
    case BLM_Q8_0:
        return f16_value(b) * (int8_t)b[2 + j];
    case BLM_IQ4_NL:
        return f16_value(b) * reference_iq4[reference_nibble(b + 2, j)];
    case BLM_MXFP4: {
        int q = reference_nibble(b + 1, j);
        return ldexp(q < 8 ? reference_mxfp4[q] : -reference_mxfp4[q - 8], b[0] - 127);
    }
    case BLM_Q2_K:
    case BLM_Q3_K:
    case BLM_Q4_K:
    case BLM_Q5_K:
    case BLM_Q6_K:
    case BLM_IQ4_XS:
    case BLM_F32:
    case BLM_F16:
    case BLM_BF16:
        break;
    }
    abort();
}

/* Value j of the Q2_K, Q3_K or IQ4_XS block of 256 at b. */
static double reference_256(blm_type type, const uint8_t *b, unsigned j, double *size)
{
    unsigned half = j / 128, shift = j % 128 / 32 * 2, l = j % 32, group = j / 16;
    if (type == BLM_Q2_K) {
        int q = b[16 + half * 32 + l] >> shift & 3, scale = b[group];
        return reference_sum(f16_value(b + 80) * (scale & 15) * q,
                             -f16_value(b + 82) * (scale >> 4), size);
    }
    if (type == BLM_Q3_K) {
        const uint8_t *p = b + 96;
        int q = (b[32 + half * 32 + l] >> shift & 3) - (b[l] >> j / 32 & 1 ? 0 : 4);
        int low = group < 8 ? p[group] & 15 : p[group - 8] >> 4;
        int scale = low | (p[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
        return f16_value(b + 108) * (scale - 32) * q;
    }
    unsigned i = j / 32;
    int scale = b[4 + i / 2] >> (i % 2 * 4) & 15;
    scale |= ((b[2] | b[3] << 8) >> (2 * i) & 3) << 4;
    return f16_value(b) * (scale - 32) * reference_iq4[reference_nibble(b + 8 + i * 16, l)];
}

/* And the sizes that errors are measured by. */
static void reference_row(uint32_t type, const uint8_t *row, uint32_t cols, double *out,
                          double *sizes)
{
    uint32_t values, bytes;
    blm_type_block(type, &values, &bytes);
    for (uint32_t k = 0; k < cols; k++) {
        const uint8_t *b = row + (size_t)(k / values) * bytes;
        double size = -1;
        if (type == BLM_F32) {
            out[k] = (double)blm_load_f32(b);
        } else if (type == BLM_F16) {
            out[k] = f16_value(b);
        } else if (type == BLM_BF16) {
            out[k] = (double)blm_f32_of_bits((uint32_t)blm_load_u16(b) << 16);
        } else if (type == BLM_Q4_K || type == BLM_Q5_K) {
            if (k % 256 == 0) reference_q4_k(type, b, out + k, sizes + k);
            continue;
        } else if (type == BLM_Q6_K) {
            if (k % 256 == 0) reference_q6_k(b, out + k);
        } else if (values == 32) {
            out[k] = reference_32((blm_type)type, b, k % 32, &size);
        } else {
            out[k] = reference_256((blm_type)type, b, k % 256, &size);
        }
        sizes[k] = size < 0 ? fabs(out[k]) : size;
    }
}

/* ---- Products ------------------------------------------------------------------------ */

static const char *const pattern_names[] = {"random", "lowest", "highest", "zero scales",
                                            "huge"};

static double product_activation(const product *p, uint32_t t, uint32_t k)
{
    const blm_acts *x = &p->x;
    if (is_float(p->type)) return (double)x->f32[t * x->f32_stride + k];
    double sum = 0;
    for (uint32_t row = t * (p->bits / 8); row < (t + 1) * (p->bits / 8); row++)
        sum += (double)x->scale[row * x->block_stride + k / 32] * x->q[row * x->q_stride + k];
    return sum;
}

static double as_bf16(double x)
{
    return (double)blm_f32_of_bf16(blm_bf16_of_f32((float)x));
}

/* The worst error, as a share of sum |w x|; with factors as they are, or rounded to bf16. */
static double product_error(const product *p, const float *y, size_t y_stride, int bf16)
{
    const uint32_t cols = p->cols;
    double *w = take(cols * sizeof *w), *x = take((size_t)p->tokens * cols * sizeof *x);
    double *sizes = take(cols * sizeof *sizes), worst = 0;
    for (uint32_t t = 0; t < p->tokens; t++) {
        for (uint32_t i = 0; i < cols; i++) {
            double value = p->bf16 ? (double)p->x.f32[t * p->x.f32_stride + i]
                                   : product_activation(p, t, i);
            x[(size_t)t * cols + i] = bf16 ? as_bf16(value) : value;
        }
    }
    for (uint32_t r = 0; r < p->rows; r++) {
        reference_row(p->type, p->w.data + r * p->w.row_bytes, cols, w, sizes);
        for (uint32_t i = 0; i < cols && bf16; i++)
            w[i] = as_bf16(w[i]);
        for (uint32_t t = 0; t < p->tokens; t++) {
            double sum = 0, size = 1e-30;
            for (uint32_t i = 0; i < cols; i++) {
                sum += w[i] * x[(size_t)t * cols + i];
                size += sizes[i] * fabs(x[(size_t)t * cols + i]);
            }
            double error = fabs((double)y[t * y_stride + r] - sum) / size;
            if (!(error <= worst)) worst = error;
        }
    }
    free(w), free(sizes), free(x);
    return worst;
}

/* Tolerance: 2e-6 of sum |w x|. f32 additions of at most 33 blocks (or 8 x 35 products)
 * lose less than 33 x 6e-8; the sums inside a block are exact. With bf16 that is against
 * rounded factors; against factors as they are, 2^-8 for each of the two. */
static void product_compare(const product *p, const float *y, size_t y_stride, const char *what)
{
    const int bf16 = p->bf16;
    double worst = product_error(p, y, y_stride, bf16);
    report(worst <= 2e-6, what, pattern_names[p->pattern], worst, p->cols);
    if (!bf16) return;
    worst = product_error(p, y, y_stride, 0);
    report(worst <= 1.0 / 128 + 2e-5, what, "rounds to bf16", worst, p->cols);
}

/* Rows one by one, and cut in two at every place, must give the same bits. */
static void product_cuts(const product *p, const float *y, size_t y_stride, const char *what)
{
    size_t n = (p->tokens - 1) * y_stride + p->rows;
    for (uint32_t cut = 1; cut < p->rows; cut++) {
        float *other = take(n * sizeof *other);
        memcpy(other, y, n * sizeof *other);
        for (uint32_t t = 0; t < p->tokens; t++)
            memset(other + t * y_stride, 0xA5, p->rows * sizeof *other);
        product_run(p, other, y_stride, cut, p->rows);
        product_run(p, other, y_stride, 0, cut);
        report(memcmp(other, y, n * sizeof *other) == 0, what, "depends on the cut", cut,
               p->tokens);
        free(other);
    }
}

/* Token t of x by itself. */
static blm_acts token_of(const blm_acts *x, uint32_t t)
{
    blm_acts one = *x;
    one.tokens = 1;
    one.f32 += t * x->f32_stride;
    if (!x->bits) return one;
    const size_t row = (size_t)t * (x->bits / 8);
    one.q += row * x->q_stride;
    one.scale += row * x->block_stride;
    one.sum += row * x->block_stride;
    return one;
}

/* A token alone must get the bits that it gets among others. */
static void product_alone(const product *p, const float *y, size_t y_stride, const char *what)
{
    if (p->bf16) return;
    float *alone = take(p->rows * sizeof *alone);
    for (uint32_t t = 0; t < p->tokens; t++) {
        product one = *p;
        one.x = token_of(&p->x, t);
        one.tokens = 1;
        product_run(&one, alone, p->rows, 0, p->rows);
        report(memcmp(alone, y + t * y_stride, p->rows * sizeof *alone) == 0, what,
               "depends on the tokens beside it", p->cols, p->tokens);
    }
    free(alone);
}

static void check_product(product *p, const char *what, int cuts)
{
    guarded g;
    size_t y_stride = p->rows + 2;
    product_make(p);
    float *y = guard(&g, ((p->tokens - 1) * y_stride + p->rows) * sizeof *y);
    product_run(p, y, y_stride, 0, p->rows);
    product_compare(p, y, y_stride, what);
    int untouched = 1;
    for (uint32_t t = 0; t + 1 < p->tokens; t++)
        untouched &= blm_f32_bits(y[t * y_stride + p->rows]) == 0xA5A5A5A5u;
    report(untouched, what, "writes beyond its rows", p->rows, p->tokens);
    if (cuts) product_cuts(p, y, y_stride, what);
    product_alone(p, y, y_stride, what);
    product_free(p);
    unguard(&g, what);
}

static void check_products_of(const blm_kernels *k, unsigned type, uint32_t bits, int bf16)
{
    char what[32];
    uint32_t values, size;
    blm_type_block(types[type].type, &values, &size);
    snprintf(what, sizeof what, "matmul%u %s", (unsigned)bits, types[type].name);
    uint32_t step = values;
    for (uint32_t rows = 1; rows <= 19; rows += rows < 9 ? 1 : 5) {
        for (uint32_t tokens = 1; tokens <= 9; tokens++) {
            uint32_t cols = step * (1 + random_u32() % (step > 1 ? 3 : 70));
            product p = {.k = k,
                         .type = types[type].type,
                         .bits = bits,
                         .rows = rows,
                         .tokens = tokens,
                         .cols = cols,
                         .pattern = RANDOM,
                         .bf16 = bf16};
            check_product(&p, what, rows % 4 == 1);
        }
    }
    for (uint32_t n = 1; n <= (step > 1 ? 5u : 40u); n++) {
        for (int pattern = 0; pattern < PATTERNS; pattern++) {
            product p = {.k = k,
                         .type = types[type].type,
                         .bits = bits,
                         .rows = 5,
                         .tokens = 1 + n % 5,
                         .cols = n * step,
                         .pattern = pattern,
                         .bf16 = bf16};
            check_product(&p, what, 0);
        }
    }
    /* beyond what a panel holds of rows and columns, and near caches of activations */
    product large = {.k = k,
                     .type = types[type].type,
                     .bits = bits,
                     .rows = 35,
                     .tokens = bits == 8 ? 211 : 7,
                     .cols = 2816,
                     .pattern = RANDOM,
                     .bf16 = bf16};
    check_product(&large, what, 0);
}

/* Whole tiles and panels, and all that is a little more or less: tokens, rows, columns. */
static void check_large_products(const blm_kernels *k, unsigned type, uint32_t bits, int bf16)
{
    static const uint32_t tokens[] = {15, 16, 17, 31, 32, 33, 48, 63, 65, 127, 128, 129, 200};
    static const uint32_t rows[] = {1, 15, 16, 17, 31, 32, 33, 40, 64, 65};
    char what[32];
    uint32_t values, size;
    blm_type_block(types[type].type, &values, &size);
    snprintf(what, sizeof what, "matmul%u %s", (unsigned)bits, types[type].name);
    for (uint32_t i = 0; i < 2 * BLM_COUNT_OF(tokens); i++) {
        uint32_t most = values == 1 ? 600 : values == 32 ? 20 : 3;
        product p = {.k = k,
                     .type = types[type].type,
                     .bits = bits,
                     .rows = rows[i < 10 ? i : random_u32() % BLM_COUNT_OF(rows)],
                     .tokens = tokens[i / 2],
                     .cols = values * (1 + random_u32() % most),
                     .pattern = (int)(i % PATTERNS),
                     .bf16 = bf16};
        check_product(&p, what, p.tokens <= 17 && p.rows <= 40);
    }
}

/* What is not a number in one token or one row stays in its own results. */
static void check_contained(const blm_kernels *k, unsigned type, uint32_t tokens)
{
    uint32_t values, size;
    blm_type_block(types[type].type, &values, &size);
    product p = {.k = k,
                 .type = types[type].type,
                 .bits = 8,
                 .rows = 7,
                 .tokens = tokens,
                 .cols = values == 1 ? 41 : values,
                 .pattern = RANDOM};
    blm_kernels scalar;
    int same = 1;
    blm_kernels_scalar(&scalar);
    product_make(&p);
    size_t n = (size_t)tokens * p.rows;
    float *y = take(n * sizeof *y), *other = take(n * sizeof *other);
    product_run(&p, y, p.rows, 0, p.rows);
    for (uint32_t i = 0; i < p.cols; i++)
        p.f32[2 * p.x.f32_stride + i] = i % 3 ? NAN : i % 2 ? INFINITY : -3e38f;
    memset((uint8_t *)(uintptr_t)p.w.data + 4 * p.w.row_bytes, 0xFF, (size_t)p.w.row_bytes);
    blm_acts_quantize(&scalar, &p.x, 0, tokens);
    product_run(&p, other, p.rows, 0, p.rows);
    for (size_t i = 0; i < n; i++)
        if (i / p.rows != 2 && i % p.rows != 4)
            same &= blm_f32_bits(y[i]) == blm_f32_bits(other[i]);
    report(same, "product", "contains what is not a number", types[type].type, tokens);
    free(y), free(other);
    product_free(&p);
}

static void check_dequantize(const blm_kernels *k, unsigned type)
{
    uint32_t values, size;
    blm_type_block(types[type].type, &values, &size);
    for (uint32_t n = 1; n <= 20; n++) {
        guarded g;
        uint32_t cols = n * values, good = 1;
        uint8_t *block = take((size_t)n * size + 1);
        double *expected = take(cols * sizeof *expected), *sizes = take(cols * sizeof *sizes);
        float *out = guard(&g, cols * sizeof *out);
        make_weights(block + 1, types[type].type, (uint64_t)n * size, (int)(n % PATTERNS));
        reference_row(types[type].type, block + 1, cols, expected, sizes);
        k->dequantize[types[type].type](block + 1, out, cols);
        for (uint32_t i = 0; i < cols; i++) /* two roundings, of a product and a difference */
            good &= fabs((double)out[i] - expected[i]) <= 2e-6 * fabs(expected[i]) + 0.02;
        for (uint32_t i = 0; i < cols && n % PATTERNS == RANDOM; i++)
            good &= fabs((double)out[i] - expected[i]) <= 1e-5;
        report((int)good, "dequantize", types[type].name, n, 0);
        unguard(&g, "dequantize");
        free(expected), free(sizes);
        free(block);
    }
}

void check_products(const blm_kernels *k)
{
    for (unsigned type = 0; type < TYPES; type++) {
        const int bf16 = k->matmul_bf16[types[type].type] != NULL;
        check_products_of(k, type, 8, 0);
        check_products_of(k, type, 16, 0);
        check_large_products(k, type, 8, 0);
        if (bf16) check_products_of(k, type, 8, 1);
        if (bf16) check_large_products(k, type, 8, 1);
        check_large_products(k, type, 16, 0);
        check_contained(k, type, 5);
        check_contained(k, type, 21);
        check_dequantize(k, type);
    }
}
