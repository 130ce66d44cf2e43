/* Compares the kernels of every instruction set of this machine with a double-precision
 * rewrite and, where results must be equal bit for bit, with the scalar ones.
 *
 *     check_kernels [--seed N] [--bench] [--only TEXT]
 *
 * Inputs are random, extreme and misaligned, sizes run through all tails, outputs lie
 * between canaries, and every buffer ends where its contract ends, so that a build with
 * AddressSanitizer sees reads past it. --bench prints speeds instead, --only of it those
 * lines that hold the text. Exit code: 1 when a check failed. */
#include "../ports/posix/posix.h"
#include "amx_emulator.h"
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

/* Whether products are those that round to bf16. */
static int want_bf16;

static void check_product(product *p, const char *what, int cuts)
{
    guarded g;
    size_t y_stride = p->rows + 2;
    p->bf16 = want_bf16;
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

static void check_products_of(const blm_kernels *k, unsigned type, uint32_t bits)
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
                         .pattern = RANDOM};
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
                         .pattern = pattern};
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
                     .pattern = RANDOM};
    check_product(&large, what, 0);
}

/* Whole tiles and panels, and all that is a little more or less: tokens, rows, columns. */
static void check_large_products(const blm_kernels *k, unsigned type, uint32_t bits)
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
                     .pattern = (int)(i % PATTERNS)};
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

/* ---- Quantising ---------------------------------------------------------------------- */

/* Values that sit on rounding ties, are tiny, huge, equal, or zero. */
static float awkward(uint32_t kind)
{
    switch (kind % 6) {
    case 0:
        return 0;
    case 1:
        return (float)((int)(random_u32() % 255) - 127) * 0.5f;
    case 2:
        return random_f32() * 1e-36f;
    case 3:
        return random_f32() * 1e36f;
    case 4:
        return random_u32() % 2 ? 3.0f : -3.0f;
    default:
        return random_f32();
    }
}

static void check_quantize(const blm_kernels *k, const blm_kernels *scalar)
{
    for (uint32_t n = 1; n <= 24; n++) {
        guarded gq, gs, gm;
        uint32_t cols = n * 32, good = 1;
        float *x = take(cols * sizeof *x);
        for (uint32_t i = 0; i < cols; i++)
            x[i] = awkward(n);
        if (n % 6 == 1) x[0] = 63.5f;
        int8_t *q = guard(&gq, cols), *q2 = take(cols);
        float *scale = guard(&gs, n * sizeof *scale), *scale2 = take(n * sizeof *scale);
        int32_t *sum = guard(&gm, n * sizeof *sum), *sum2 = take(n * sizeof *sum);
        k->quantize8(x, cols, q, scale, sum);
        scalar->quantize8(x, cols, q2, scale2, sum2);
        report(!memcmp(q, q2, cols) && !memcmp(scale, scale2, n * sizeof *scale) &&
                   !memcmp(sum, sum2, n * sizeof *sum),
               "quantize", "differs from scalar", 8, n);
        for (uint32_t b = 0; b < n; b++) {
            int64_t total = 0;
            for (uint32_t i = 0; i < 32; i++) {
                int v = q[b * 32 + i];
                double error = fabs((double)x[b * 32 + i] - v * (double)scale[b]);
                good &= error <= 0.508 * (double)scale[b] + 1.01e-30 && abs(v) <= 127;
                total += v;
            }
            good &= total == sum[b];
        }
        report((int)good, "quantize", "is not to nearest", 8, n);
        unguard(&gq, "quantize q");
        unguard(&gs, "quantize scale");
        unguard(&gm, "quantize sum");
        free(x), free(q2), free(scale2), free(sum2);
    }
}

/* int16 activations: both rows as scalar makes them, together 2^-16 of a block's largest away. */
static void check_acts16(const blm_kernels *k, const blm_kernels *scalar)
{
    for (uint32_t cols = 1; cols <= 800; cols += 1 + random_u32() % 40) {
        enum { TOKENS = 2 };
        float *f32 = take(TOKENS * (cols + 1) * sizeof *f32);
        int good = 1, same = 1;
        blm_acts x[2];
        void *blocks[2];
        for (uint32_t i = 0; i < TOKENS * (cols + 1); i++)
            f32[i] = awkward(cols);
        for (int i = 0; i < 2; i++) {
            blm_arena arena;
            blm_arena_start(&arena, NULL, UINT64_MAX);
            blm_acts_take(&x[i], &arena, TOKENS, cols, 16);
            uint64_t bytes = arena.wanted + BLM_ARENA_MARGIN;
            blocks[i] = take((size_t)bytes);
            blm_arena_start(&arena, blocks[i], bytes);
            blm_acts_take(&x[i], &arena, TOKENS, cols, 16);
            x[i].tokens = TOKENS, x[i].cols = cols;
            x[i].f32 = f32, x[i].f32_stride = cols + 1;
            blm_acts_quantize(i ? scalar : k, &x[i], 0, TOKENS);
            blm_arena_release(&arena);
        }
        for (uint32_t row = 0; row < 2 * TOKENS; row++)
            for (uint32_t j = 0; j < cols; j++) {
                size_t at = row * x[0].q_stride + j, block = row * x[0].block_stride + j / 32;
                same &= x[0].q[at] == x[1].q[at] && x[0].sum[block] == x[1].sum[block] &&
                        x[0].scale[block] == x[1].scale[block];
            }
        for (uint32_t t = 0; t < TOKENS; t++)
            for (uint32_t j = 0; j < cols; j++) {
                const float *scale = x[0].scale + 2 * t * x[0].block_stride + j / 32;
                const int8_t *q = x[0].q + 2 * t * x[0].q_stride + j;
                double value = (double)scale[0] * q[0] +
                               (double)scale[x[0].block_stride] * q[x[0].q_stride];
                double error = fabs((double)f32[t * (cols + 1) + j] - value);
                good &= error <= (double)scale[0] * 127 / 64000 + 1.01e-30;
            }
        report(same, "int16 activations", "differ from scalar", cols, 0);
        report(good, "int16 activations", "are no nearer", cols, 0);
        free(f32), free(blocks[0]), free(blocks[1]);
    }
}

static void check_quantize_kv(const blm_kernels *k, const blm_kernels *scalar)
{
    for (uint32_t n = 1; n <= 140; n++) {
        guarded g;
        uint16_t scale, scale2;
        int good = 1;
        float *x = take(n * sizeof *x), most = 0, factor = n % 7 ? 1 : 1e-5f;
        if (n % 7 == 3) factor = 1e8f; /* past the largest scale: clamped, not wrapped */
        int8_t *q = guard(&g, n), *q2 = take(n);
        for (uint32_t i = 0; i < n; i++) {
            x[i] = random_f32() * factor;
            most = BLM_MAX(most, fabsf(x[i]));
        }
        k->quantize_kv(x, n, q, &scale);
        scalar->quantize_kv(x, n, q2, &scale2);
        report(scale == scale2 && !memcmp(q, q2, n), "quantize_kv", "differs from scalar", n,
               0);
        double step = (double)blm_f32_of_f16(scale);
        for (uint32_t i = 0; i < n; i++) {
            double held = fmax(-127 * step, fmin(127 * step, (double)x[i]));
            good &= fabs(held - q[i] * step) <= 0.57 * step + 4e-6;
        }
        good &= step <= (double)most / 127 * 1.001 + 6e-8;
        report(good, "quantize_kv", "is not to nearest", n, step);
        unguard(&g, "quantize_kv");
        free(x), free(q2);
    }
}

static void check_f16(const blm_kernels *k)
{
    enum { ALL = 65536 };
    guarded g, g2;
    uint16_t *in = take(ALL * sizeof *in), *back = guard(&g2, ALL * sizeof *back);
    float *out = guard(&g, ALL * sizeof *out);
    int good = 1, same = 1;
    for (uint32_t i = 0; i < ALL; i++)
        in[i] = (uint16_t)i;
    k->f32_from_f16(out, in, ALL);
    k->f16_from_f32(back, out, ALL);
    for (uint32_t i = 0; i < ALL; i++) {
        uint8_t bytes[2] = {(uint8_t)i, (uint8_t)(i >> 8)};
        double expected = f16_value(bytes);
        if (isnan(expected)) {
            good &= isnan(out[i]) != 0;
            same &= (back[i] & 0x7C00) == 0x7C00 && (back[i] & 0x3FF);
        } else {
            good &= (double)out[i] == expected && !signbit(out[i]) == !signbit(expected);
            same &= back[i] == in[i];
        }
    }
    report(good, "f32_from_f16", "of every bit pattern", 0, 0);
    report(same, "f16_from_f32", "of every f16", 0, 0);
    for (uint32_t n = 1; n < 40; n++) { /* middles between neighbours, and just beside them */
        guarded gh;
        float x[40];
        uint16_t *h = guard(&gh, n * 2);
        good = 1;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t a = random_u32() % 0x7BFF;
            float middle = 0.5f * (out[a] + out[a + 1]);
            int side = (int)(random_u32() % 3) - 1;
            x[i] = side < 0   ? nextafterf(middle, 0)
                   : side > 0 ? nextafterf(middle, 1e6f)
                              : middle;
            in[i] = (uint16_t)(side < 0 ? a : side > 0 ? a + 1 : a + (a & 1));
        }
        if (n > 4) {
            x[0] = 65519.9f, in[0] = 0x7BFF, x[1] = -65520.0f, in[1] = 0xFC00;
            x[2] = 2.9e-8f, in[2] = 0, x[3] = -1e-30f, in[3] = 0x8000;
        }
        k->f16_from_f32(h, x, n);
        for (uint32_t i = 0; i < n; i++)
            good &= h[i] == in[i];
        report(good, "f16_from_f32", "between two f16", n, 0);
        unguard(&gh, "f16_from_f32");
    }
    free(in);
    unguard(&g, "f32_from_f16");
    unguard(&g2, "f16_from_f32");
}

/* ---- Element by element -------------------------------------------------------------- */

enum { GELU_TANH, GELU_ERF, GELU_QUICK, SILU, ACTIVATIONS };

static double activation_value(int which, double x)
{
    switch (which) {
    case GELU_TANH:
        return x / 2 * (1 + tanh(sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
    case GELU_ERF:
        return x / 2 * (1 + erf(x / sqrt(2)));
    case GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    default:
        return x / (1 + exp(-x));
    }
}

/* Tolerance 1e-6 of |x|: the error of a sigmoid or erf, which lie in [0, 1]. */
static void check_activations(const blm_kernels *k)
{
    static const char *const names[] = {"gelu_tanh", "gelu_erf", "gelu_quick", "silu"};
    void (*const fn[])(float *, size_t) = {k->gelu_tanh, k->gelu_erf, k->gelu_quick, k->silu};
    static const float sizes[] = {1, 8, 300, 1e20f, 9e37f};
    for (int which = 0; which < ACTIVATIONS; which++) {
        for (uint32_t n = 1; n < 50; n++) {
            guarded g;
            float x[50], *y = guard(&g, n * sizeof *y);
            double worst = 0;
            for (uint32_t i = 0; i < n; i++)
                y[i] = x[i] = random_f32() * sizes[n % BLM_COUNT_OF(sizes)];
            fn[which](y, n);
            for (uint32_t i = 0; i < n; i++) {
                double error = fabs((double)y[i] - activation_value(which, (double)x[i]));
                worst = fmax(worst, isnan(error) ? 1 : error / (fabs((double)x[i]) + 1e-9));
            }
            report(worst <= 1e-6, names[which], "is inexact", worst, n);
            unguard(&g, names[which]);
        }
    }
    for (uint32_t n = 1; n < 50; n++) {
        guarded g;
        float x[50], *up = take_random(n), *y = guard(&g, n * sizeof *y);
        double worst = 0;
        for (uint32_t i = 0; i < n; i++)
            y[i] = x[i] = random_f32() * 9;
        k->silu_mul(y, up, n);
        for (uint32_t i = 0; i < n; i++)
            worst = fmax(worst, fabs((double)y[i] -
                                     activation_value(SILU, (double)x[i]) * (double)up[i]));
        report(worst <= 2e-5, "silu_mul", "is inexact", worst, n);
        unguard(&g, "silu_mul");
        free(up);
    }
}

static void check_adds(const blm_kernels *k, uint32_t n)
{
    guarded g;
    float *x = take_random(n), *y = take_random(n), *z = guard(&g, n * sizeof *z);
    uint8_t *odd = take(n * 4 + 1);
    int good = 1;
    memcpy(odd + 1, y, n * 4);
    memcpy(z, x, n * 4);
    k->add(z, y, n);
    for (uint32_t i = 0; i < n; i++)
        good &= z[i] == x[i] + y[i];
    memcpy(z, x, n * 4);
    k->add_bias(z, odd + 1, n);
    for (uint32_t i = 0; i < n; i++)
        good &= z[i] == x[i] + y[i];
    memcpy(z, x, n * 4);
    k->axpy_f32(z, 0.37f, y, n);
    for (uint32_t i = 0; i < n; i++)
        good &= fabs((double)z[i] - ((double)x[i] + (double)0.37f * (double)y[i])) <= 1e-6;
    double sum = 0, size = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)y[i];
        size += fabs((double)x[i] * (double)y[i]);
    }
    good &= fabs((double)k->dot_f32(x, y, n) - sum) <= 2e-6 * size;
    report(good, "add, add_bias, axpy_f32 or dot_f32", "is inexact", n, 0);
    unguard(&g, "add");
    free(x), free(y), free(odd);
}

/* One step of the delta rule against double precision; the numbers are near 1, so that 1e-5
 * of them covers n rounding errors. */
static void check_delta(const blm_kernels *k, uint32_t n)
{
    guarded g, go;
    float *memory = guard(&g, (size_t)n * n * sizeof *memory),
          *out = guard(&go, n * sizeof *out);
    float *before = take_random(n * n), *q = take_random(n), *key = take_random(n);
    float *v = take_random(n);
    const double keep = 0.875, rate = 0.75;
    double worst = 0;
    memcpy(memory, before, (size_t)n * n * sizeof *memory);
    k->delta_step(memory, q, key, v, (float)keep, (float)rate, n, out);
    for (uint32_t j = 0; j < n; j++) {
        double known = 0, got = 0;
        for (uint32_t i = 0; i < n; i++)
            known += keep * (double)before[j * n + i] * (double)key[i];
        for (uint32_t i = 0; i < n; i++) {
            double change = rate * ((double)v[j] - known) * (double)key[i];
            double want = keep * (double)before[j * n + i] + change;
            worst = fmax(worst, fabs(want - (double)memory[j * n + i]));
            got += want * (double)q[i];
        }
        worst = fmax(worst, fabs(got - (double)out[j]) / n);
    }
    report(worst <= 1e-5, "delta_step", "is inexact", worst, n);
    unguard(&g, "delta_step");
    unguard(&go, "delta_step");
    free(before), free(q), free(key), free(v);
}

/* Tolerance 5e-6 of the largest output. */
static void check_norms(const blm_kernels *k, uint32_t n, int in_place)
{
    guarded g;
    float *x = take_random(n), *y = guard(&g, n * sizeof *y);
    uint8_t *w = take(n * 4 + 1), *b = take(n * 4 + 1);
    double sum = 0, square = 0, variance = 0, worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        float wi = random_f32(), bi = random_f32();
        x[i] += 0.5f;
        memcpy(w + 1 + i * 4, &wi, 4);
        memcpy(b + 1 + i * 4, &bi, 4);
        sum += (double)x[i];
        square += (double)x[i] * (double)x[i];
    }
    for (uint32_t i = 0; i < n; i++)
        variance += ((double)x[i] - sum / n) * ((double)x[i] - sum / n) / n;
    if (in_place) memcpy(y, x, n * 4);
    k->rms_norm(in_place ? y : x, w + 1, 1e-5f, n, y);
    for (uint32_t i = 0; i < n; i++) {
        double e = (double)x[i] / sqrt(square / n + 1e-5) * (double)blm_load_f32(w + 1 + i * 4);
        worst = fmax(worst, fabs(e - (double)y[i]));
    }
    report(worst <= 5e-6, "rms_norm", "is inexact", worst, n);
    if (in_place) memcpy(y, x, n * 4);
    worst = 0;
    k->layer_norm(in_place ? y : x, w + 1, b + 1, 1e-5f, n, y);
    for (uint32_t i = 0; i < n; i++) {
        double e = ((double)x[i] - sum / n) / sqrt(variance + 1e-5);
        e = e * (double)blm_load_f32(w + 1 + i * 4) + (double)blm_load_f32(b + 1 + i * 4);
        worst = fmax(worst, fabs(e - (double)y[i]));
    }
    report(worst <= (n == 1 ? 1e-4 : 2e-5), "layer_norm", "is inexact", worst, n);
    unguard(&g, "norm");
    free(x), free(w), free(b);
}

/* Tolerance 1e-6 of each probability. */
static void check_softmax(const blm_kernels *k, uint32_t n, float size)
{
    guarded g;
    float *x = take_random(n), *y = guard(&g, n * sizeof *y);
    double most = -1e300, sum = 0, worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        y[i] = x[i] *= size;
        most = fmax(most, (double)x[i]);
    }
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)x[i] - most);
    k->softmax(y, n);
    for (uint32_t i = 0; i < n; i++) {
        double e = exp((double)x[i] - most) / sum;
        worst = fmax(worst, fabs((double)y[i] - e) / (e + 1e-30));
    }
    report(worst <= 2e-6 + 1e-7 * (double)size, "softmax", "is inexact", worst, n);
    unguard(&g, "softmax");
    free(x);
}

static void check_rope(const blm_kernels *k, uint32_t pairs, int halves)
{
    guarded g;
    float *x = take_random(pairs * 2), *c = take(pairs * 4u), *s = take(pairs * 4u);
    float *y = guard(&g, pairs * 2 * sizeof *y);
    double worst = 0;
    for (uint32_t i = 0; i < pairs; i++) {
        double angle = (double)random_f32() * 9;
        c[i] = (float)cos(angle);
        s[i] = (float)sin(angle);
    }
    memcpy(y, x, pairs * 8u);
    k->rope(y, c, s, pairs * 2, halves);
    for (uint32_t i = 0; i < pairs; i++) {
        uint32_t a = halves ? i : 2 * i, b = halves ? i + pairs : 2 * i + 1;
        double xa = (double)x[a], xb = (double)x[b], ci = (double)c[i], si = (double)s[i];
        worst = fmax(worst, fabs((double)y[a] - (xa * ci - xb * si)));
        worst = fmax(worst, fabs((double)y[b] - (xa * si + xb * ci)));
    }
    report(worst <= 1e-6, "rope", halves ? "halves" : "pairs", worst, pairs);
    unguard(&g, "rope");
    free(x), free(c), free(s);
}

/* ---- Attention ----------------------------------------------------------------------- */

/* The greatest error, of values about 1 in size. */
static double attend_error(const blm_attend_args *a, const cache *k, const cache *v)
{
    double worst = 0, *p = take(sizeof *p * (a->keys + a->queries * a->keys_step));
    for (uint32_t i = 0; i < a->queries; i++) {
        uint32_t keys = a->keys + i * a->keys_step, d = a->head_dim;
        double sum = 0;
        for (uint32_t j = 0; j < keys; j++) {
            double s = 0;
            for (uint32_t e = 0; e < d; e++)
                s += (double)a->q[i * a->q_stride + e] * k->values[j * d + e];
            p[j] = exp(s);
            sum += p[j];
        }
        for (uint32_t e = 0; e < d; e++) {
            double o = 0;
            for (uint32_t j = 0; j < keys; j++)
                o += p[j] / sum * v->values[j * d + e];
            worst = fmax(worst, fabs(o - (double)a->out[i * a->out_stride + e]));
        }
    }
    free(p);
    return worst;
}

static void check_attend(const blm_kernels *k, const blm_kernels *scalar, int kind,
                         uint32_t queries, uint32_t keys, uint32_t step, uint32_t d)
{
    const double allowed = kind == ATTEND_F32 || kind == ATTEND_F16 ? 3e-6 : 1e-3;
    const blm_attend_fn attend = attend_of(k, kind);
    const char *name = attend_names[kind];
    uint32_t all = keys + (queries - 1) * step;
    cache kc, vc;
    guarded g, scratch;
    cache_make(&kc, scalar, kind, all, d);
    cache_make(&vc, scalar, kind, all, d);
    blm_attend_args a = {.queries = queries, .keys = keys, .keys_step = step, .head_dim = d};
    a.q_stride = a.out_stride = d + 1;
    float *q = take_random((queries - 1) * a.q_stride + d);
    for (size_t i = 0; i < (queries - 1) * a.q_stride + d; i++)
        q[i] *= 2 / sqrtf((float)d);
    a.q = q;
    a.k = kc.rows, a.v = vc.rows;
    a.k_stride = kc.stride, a.v_stride = vc.stride;
    a.k_scale = kc.scales, a.v_scale = vc.scales;
    a.k_scale_stride = a.v_scale_stride = 6;
    size_t scratch_bytes = (size_t)blm_attend_scratch_bytes(queries, all, d);
    a.scratch = guard(&scratch, scratch_bytes);
    size_t n = (queries - 1) * a.out_stride + d;
    a.out = guard(&g, n * sizeof *a.out);
    attend(&a);
    double error = attend_error(&a, &kc, &vc);
    report(error <= allowed, name, "is inexact", error, d);
    float *together = a.out;
    double apart = 0;
    for (uint32_t i = 0; i < queries; i++) { /* alone, a query must get the same */
        blm_attend_args one = a;
        one.q += i * a.q_stride;
        one.queries = 1;
        one.keys = keys + i * step;
        one.out = take(d * sizeof *one.out);
        attend(&one);
        for (uint32_t e = 0; e < d; e++)
            apart = fmax(apart, fabs((double)(one.out[e] - together[i * a.out_stride + e])));
        free(one.out);
    }
    report(apart <= (kind == ATTEND_I16 ? allowed : 0), name,
           "depends on the queries beside it", apart, queries);
    unguard(&g, name);
    unguard(&scratch, "scratch of attention");
    free(q);
    cache_free(&kc), cache_free(&vc);
}

static void check_attention(const blm_kernels *k, const blm_kernels *scalar)
{
    static const uint32_t dims[] = {1, 2, 7, 8, 9, 15, 16, 24, 33, 64, 72, 80, 96, 128, 200};
    for (int kind = 0; kind < ATTEND_KINDS; kind++) {
        for (unsigned i = 0; i < BLM_COUNT_OF(dims); i++) {
            for (uint32_t keys = 1; keys <= 10; keys++)
                check_attend(k, scalar, kind, 1 + (keys + i) % 9, keys, keys % 2, dims[i]);
            check_attend(k, scalar, kind, 5, 67, 1, dims[i]);
            check_attend(k, scalar, kind, 4, 131, 0, dims[i]);
            if (i % 3 == 0) check_attend(k, scalar, kind, 21, 57, 1, dims[i]);
            if (i % 3 == 1) check_attend(k, scalar, kind, 10, 190, 1, dims[i]);
        }
    }
}

/* ---- Inputs that are no numbers ------------------------------------------------------ */

/* Nothing is asked of the results but that they come, within bounds, and (under UBSan)
 * without undefined behaviour. */
static void check_not_numbers(const blm_kernels *k)
{
    enum { N = 64 };
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, -0.0f, 1};
    guarded g;
    int8_t q[N];
    int32_t sum[2];
    uint16_t half;
    float scale[2], y[N], *x = guard(&g, N * sizeof *x);
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t which = 0; which < 12; which++) {
            for (uint32_t i = 0; i < N; i++)
                y[i] = x[i] = odd[random_u32() % BLM_COUNT_OF(odd)];
            switch (which) {
            case 0:
                k->quantize8(x, N, q, scale, sum);
                break;
            case 1:
                k->quantize_kv(x, N, q, &half);
                break;
            case 2:
                k->softmax(x, N);
                break;
            case 3:
                k->gelu_tanh(x, N);
                break;
            case 4:
                k->gelu_erf(x, N);
                break;
            case 5:
                k->gelu_quick(x, N);
                break;
            case 6:
                k->silu(x, N);
                break;
            case 7:
                k->silu_mul(x, y, N);
                break;
            case 8:
                k->rms_norm(x, (const uint8_t *)y, 1e-5f, N, x);
                break;
            case 9:
                k->layer_norm(x, (const uint8_t *)y, (const uint8_t *)y, 1e-5f, N, x);
                break;
            case 10:
                k->rope(x, y, y, N, (int)(round & 1));
                break;
            default:
                x[0] = k->dot_f32(x, y, N);
                break;
            }
        }
    }
    unguard(&g, "numbers that are none");
}

/* ---- math.h against libm ------------------------------------------------------------- */

static void check_relative(const char *what, double limit, double got, double expected)
{
    double error = fabs(got - expected) / (fabs(expected) + 1e-300);
    report(error <= limit, what, "against libm", error, expected);
}

static void check_float_functions(void)
{
    for (int i = 0; i < 20000; i++) {
        float u = (float)random_u32() / 4294967296.0f, x = u * 175.9f - 87.3f, y = u * 20 - 10;
        check_relative("blm_expf", 2e-7, (double)blm_expf(x), exp((double)x));
        check_relative("blm_tanhf", 4e-7, (double)blm_tanhf(y), tanh((double)y));
        check_relative("blm_tanhf", 4e-7, (double)blm_tanhf(y / 15), tanh((double)(y / 15)));
        report(fabs((double)blm_erff(y / 2) - erf((double)(y / 2))) <= 3e-7, "blm_erff",
               "against libm", (double)y, 0);
        check_relative("blm_erff", 4e-7, (double)blm_erff(y / 10), erf((double)(y / 10)));
        check_relative("blm_logf", 2e-7, (double)blm_logf(u + 1e-9f), log((double)(u + 1e-9f)));
        uint32_t bits = random_u32() & 0x7FFFFFFFu;
        float z = blm_f32_of_bits(bits), root = sqrtf(z);
        if (isnan(z)) continue;
        report(blm_sqrtf(z) == root, "blm_sqrtf", "against libm", (double)z, 0);
        report(blm_sqrtf_portable(z) == root, "blm_sqrtf_portable", "against libm", (double)z,
               0);
    }
    report(blm_expf(-200) == 0 && isinf(blm_expf(89)) && blm_expf(0) == 1, "blm_expf", "edges",
           0, 0);
    report(isnan(blm_expf(NAN)) && isnan(blm_tanhf(NAN)) && isnan(blm_erff(NAN)) &&
               isnan(blm_sqrtf(NAN)) && isnan(blm_sqrtf_portable(-1)),
           "NaN", "edges", 0, 0);
    report(blm_tanhf(99) == 1 && blm_tanhf(-99) == -1 && blm_erff(99) == 1, "tanh, erf",
           "edges", 0, 0);
    report(blm_sqrtf_portable(4) == 2 && blm_sqrtf(0) == 0, "sqrt", "edges", 0, 0);
    for (uint32_t i = 0; i < 200; i++) {
        int v = (int)i - 100;
        report(blm_round_even((float)v * 0.25f) == (int)nearbyint(v * 0.25), "round", "", v, 0);
    }
    for (uint32_t i = 0; i < 65536; i++) {
        float x = blm_f32_of_bf16((uint16_t)i);
        if (!isnan(x)) report(blm_bf16_of_f32(x) == i, "bf16", "round trip", i, 0);
    }
    report(blm_bf16_of_f32(1.00390625f) == 0x3F80 && blm_bf16_of_f32(1.01171875f) == 0x3F82 &&
               isnan(blm_f32_of_bf16(blm_bf16_of_f32(NAN))),
           "bf16", "ties to even", 0, 0);
}

static void check_double_functions(void)
{
    for (int i = 0; i < 20000; i++) {
        double u = random_u32() / 4294967296.0, x = u * 2e6 - 1e6, y = u * 40 - 20;
        if (i % 2) x = y;
        if (i % 100 == 0) x = i * 50 * 1.5707963267948966; /* where sin or cos vanishes */
        report(fabs(blm_sin(x) - sin(x)) <= 1e-14, "blm_sin", "against libm", x, 0);
        report(fabs(blm_cos(x) - cos(x)) <= 1e-14, "blm_cos", "against libm", x, 0);
        check_relative("blm_exp", 1e-15, blm_exp(y), exp(y));
        check_relative("blm_exp", 1e-15, blm_exp(y * 35), exp(y * 35));
        report(fabs(blm_log(u + 1e-12) - log(u + 1e-12)) <=
                   1e-14 * fabs(log(u + 1e-12)) + 1e-16,
               "blm_log", "against libm", u, 0);
        check_relative("blm_pow", 1e-13, blm_pow(500000 * u + 1, -u), pow(500000 * u + 1, -u));
    }
    report(blm_log(1) == 0 && isinf(blm_log(0)) && isnan(blm_log(-1)) &&
               isinf(blm_log((double)INFINITY)),
           "blm_log", "edges", 0, 0);
    report(isnan(blm_sin((double)NAN)) && blm_sin(1e9) == 0 && blm_cos(0) == 1, "blm_sin",
           "edges", 0, 0);
}

/* ---- The run ------------------------------------------------------------------------- */

static void check_set(const blm_kernels *k, const blm_kernels *scalar)
{
    unsigned long before = check.failed;
    check.set_name = k->name;
    for (unsigned type = 0; type < TYPES; type++) {
        check_products_of(k, type, 8);
        check_products_of(k, type, 16);
        check_large_products(k, type, 8);
        want_bf16 = k->matmul_bf16[types[type].type] != NULL;
        if (want_bf16) check_products_of(k, type, 8);
        if (want_bf16) check_large_products(k, type, 8);
        want_bf16 = 0;
        check_large_products(k, type, 16);
        check_contained(k, type, 5);
        check_contained(k, type, 21);
        check_dequantize(k, type);
    }
    check_quantize(k, scalar);
    check_acts16(k, scalar);
    check_quantize_kv(k, scalar);
    check_f16(k);
    check_activations(k);
    for (uint32_t n = 1; n < 70; n++) {
        check_adds(k, n);
        if (n < 40) check_delta(k, n);
        check_norms(k, n, n & 1);
        check_softmax(k, n, n % 4 ? 3.0f : 60.0f);
        check_rope(k, n, 0);
        check_rope(k, n, 1);
    }
    check_norms(k, 1152, 0);
    check_softmax(k, 729, 3.0f);
    check_attention(k, scalar);
    check_not_numbers(k);
    printf("%s: %s\n", k->name, check.failed == before ? "passed" : "FAILED");
}

/* The mask is what config.cpu_mask says it is. */
static void check_masks(void)
{
    blm_kernels k;
    check.set_name = "table";
    blm_kernels_init(&k, 0, (uint32_t)BLUELM_CPU_NONE);
    report(strcmp(k.name, "scalar") == 0, "mask", "BLUELM_CPU_NONE is scalar", 0, 0);
    blm_kernels_init(&k, 0, BLUELM_CPU_NEON_I8MM);
    report(strcmp(k.name, "scalar") == 0, "mask", "only what the machine has", 0, 0);
    blm_kernels_init(&k, 0, BLUELM_CPU_AVX512_VBMI);
    report(strcmp(k.name, "scalar") == 0, "mask", "VBMI alone is no set", 0, 0);
    for (unsigned i = 0; i < TYPES; i++)
        report(k.matmul8[types[i].type] && k.matmul16[types[i].type] &&
                   k.dequantize[types[i].type],
               "table", "is complete", i, 0);
}

static const uint32_t sets[] = {
    BLUELM_CPU_SSE41,        BLUELM_CPU_AVX2,
    BLUELM_CPU_AVX512_VNNI,  BLUELM_CPU_AVX512_VNNI | BLUELM_CPU_AVX512_VBMI,
    BLUELM_CPU_AMX,          BLUELM_CPU_NEON,
    BLUELM_CPU_NEON_DOTPROD, BLUELM_CPU_NEON_I8MM};

/* Whether VBMI is asked for where it changes nothing: no set of its own then. */
static int without_vbmi(uint32_t set, uint32_t features)
{
    return (set & BLUELM_CPU_AVX512_VBMI) && !(features & BLUELM_CPU_AVX512_VBMI);
}

/* What the port reports; where it has no AMX, tile instructions are emulated (but not timed). */
static uint32_t system_features(int emulate)
{
    const uint32_t reported = bluelm_posix_port(NULL).cpu_features;
    const uint32_t features = emulate ? amx_features(reported) : reported;
    if (features != reported) printf("amx: emulated, as this machine has none\n");
    return features;
}

int main(int argc, char **argv)
{
    int want_bench = 0;
    uint64_t seed = 1;
    const char *only = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) {
            want_bench = 1;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 10);
        } else {
            printf("usage: check_kernels [--seed N] [--bench] [--only TEXT]\n");
            return 2;
        }
    }
    printf("seed %llu\n", (unsigned long long)seed);
    check.random_state = seed * 0x9E3779B97F4A7C15u + 1;
    blm_kernels scalar, k;
    blm_kernels_init(&scalar, 0, (uint32_t)BLUELM_CPU_NONE);
    if (!want_bench) {
        check.set_name = "math";
        check_float_functions();
        check_double_functions();
        check_masks();
        check_set(&scalar, &scalar);
    } else {
        time_kernels(&scalar, &scalar, only);
    }
    const uint32_t features = system_features(!want_bench);
    for (unsigned i = 0; i < BLM_COUNT_OF(sets); i++) {
        blm_kernels_init(&k, features, sets[i]);
        if (!strcmp(k.name, scalar.name)) continue; /* not this machine, or not written */
        if (without_vbmi(sets[i], blm_cpu_features(features))) continue;
        if (want_bench) {
            time_kernels(&k, &scalar, only);
            continue;
        }
        check_set(&k, &scalar);
    }
    if (!want_bench) printf("%lu passed, %lu failed\n", check.passed, check.failed);
    return check.failed != 0;
}
