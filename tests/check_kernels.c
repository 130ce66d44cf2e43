/* Compares the kernels of every instruction set of this machine with a double-precision
 * rewrite and, where results must be equal bit for bit, with the scalar ones.
 *
 *     check_kernels [--seed N] [--bench] [--only TEXT]
 *
 * Inputs are random, extreme and misaligned, sizes run through all tails, outputs lie
 * between canaries, and every buffer ends where its contract ends, so that a build with
 * AddressSanitizer sees reads past it. --bench prints speeds instead, --only of it those
 * lines that hold the text. Exit code: 1 when a check failed. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 199309L
#endif

#include "../apps/bench/limits.h"
#include "../kernels/kernels.h"
#include "../ports/posix/posix.h"
#include "amx_emulator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static unsigned long passed, failed;
static uint64_t random_state;
static const char *set_name, *only = "";

static void report(int good, const char *what, const char *detail, double a, double b)
{
    if (good) {
        passed++;
    } else if (failed++ < 40) {
        printf("FAILED %s: %s %s (%g, %g)\n", set_name, what, detail, a, b);
    }
}

static uint32_t random_u32(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = random_state ^ random_state >> 33;
    return (uint32_t)(x * 0xFF51AFD7ED558CCDu >> 32);
}

/* About normal, about 1 in size. */
static float random_f32(void)
{
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += random_u32() / 4294967296.0 - 0.5;
    return (float)(sum * 1.7);
}

static void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) {
        printf("out of memory\n");
        exit(2);
    }
    return p;
}

static float *take_random(size_t n)
{
    float *x = take(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = random_f32();
    return x;
}

/* ---- Outputs between canaries -------------------------------------------------------- */

enum { CANARY = 64 };

typedef struct guarded {
    uint8_t *block;
    size_t bytes;
} guarded;

static void *guard(guarded *g, size_t bytes)
{
    g->block = take(bytes + 2 * CANARY);
    g->bytes = bytes;
    memset(g->block, 0xA5, bytes + 2 * CANARY);
    return g->block + CANARY;
}

static void unguard(guarded *g, const char *what)
{
    int good = 1;
    for (size_t i = 0; i < CANARY; i++)
        good &= g->block[i] == 0xA5 && g->block[CANARY + g->bytes + i] == 0xA5;
    report(good, what, "writes outside its output", 0, 0);
    free(g->block);
}

/* ---- Weights: making them, and a second opinion on what they mean -------------------- */

static const struct {
    uint32_t type;
    const char *name;
} types[] = {{BLM_F32, "F32"},   {BLM_F16, "F16"},   {BLM_BF16, "BF16"}, {BLM_Q4_0, "Q4_0"},
             {BLM_Q8_0, "Q8_0"}, {BLM_Q4_K, "Q4_K"}, {BLM_Q6_K, "Q6_K"}};

enum { RANDOM, LOWEST, HIGHEST, ZERO_SCALES, HUGE_SCALES, PATTERNS };
static const char *const pattern_names[] = {"random", "lowest", "highest", "zero scales",
                                            "huge"};

static int is_float(uint32_t type)
{
    return type == BLM_F32 || type == BLM_F16 || type == BLM_BF16;
}

static void put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static uint16_t pattern_scale(int pattern)
{
    if (pattern == ZERO_SCALES) return 0;
    if (pattern == HUGE_SCALES) return 0x7BFF;
    return blm_f16_of_f32(random_f32() * 0.02f);
}

static void make_float(uint8_t *p, uint32_t type, int pattern)
{
    float x = pattern == ZERO_SCALES   ? 0
              : pattern == HUGE_SCALES ? 19000 * random_f32()
              : pattern == LOWEST      ? -1
              : pattern == HIGHEST     ? 1
                                       : random_f32();
    uint32_t bits = blm_f32_bits(x);
    if (type == BLM_F32) {
        put_u16(p, (uint16_t)bits);
        put_u16(p + 2, (uint16_t)(bits >> 16));
    } else {
        put_u16(p, type == BLM_F16 ? blm_f16_of_f32(x) : blm_bf16_of_f32(x));
    }
}

static void make_weights(uint8_t *data, uint32_t type, uint64_t bytes, int pattern)
{
    uint32_t values, size;
    blm_type_block(type, &values, &size);
    for (uint8_t *p = data; p < data + bytes; p += size) {
        if (is_float(type)) {
            make_float(p, type, pattern);
            continue;
        }
        for (uint32_t i = 0; i < size; i++)
            p[i] = (uint8_t)random_u32();
        if (pattern == LOWEST || pattern == HIGHEST) {
            /* nibbles 0 or 15; int8 -128 or 127 */
            uint8_t low = type == BLM_Q8_0 ? 0x80 : 0, high = type == BLM_Q8_0 ? 0x7F : 0xFF;
            memset(p, pattern == LOWEST ? low : high, size);
        }
        if (type == BLM_Q6_K && pattern == LOWEST) memset(p + 192, 0x80, 16);
        if (type == BLM_Q6_K && pattern == HIGHEST) memset(p + 192, 0x7F, 16);
        if (type == BLM_Q4_K && pattern == LOWEST) memset(p + 4, 0xFF, 12);
        put_u16(type == BLM_Q6_K ? p + 208 : p, pattern_scale(pattern));
        if (type == BLM_Q4_K) put_u16(p + 2, pattern_scale(pattern));
    }
}

/* Written from the format's description, not from the library: exponents and fractions. */
static double f16_value(const uint8_t *p)
{
    int bits = p[0] | p[1] << 8, e = bits >> 10 & 31, m = bits & 1023;
    double a = e == 31 ? (m ? (double)NAN : (double)INFINITY)
               : e     ? ldexp(1024 + m, e - 25)
                       : ldexp(m, -24);
    return bits >> 15 ? -a : a;
}

/* sizes: of the two terms of a weight, of which the smaller one may be left. */
static void reference_q4_k(const uint8_t *b, double *out, double *sizes)
{
    double d = f16_value(b), dmin = f16_value(b + 2);
    for (int s = 0; s < 8; s++) {
        const uint8_t *p = b + 4;
        int sc = s < 4 ? p[s] & 63 : (p[s + 4] & 15) | (p[s - 4] >> 6 << 4);
        int mn = s < 4 ? p[s + 4] & 63 : p[s + 4] >> 4 | (p[s] >> 6 << 4);
        for (int j = 0; j < 32; j++) {
            int byte = b[16 + s / 2 * 32 + j], q = s % 2 ? byte >> 4 : byte & 15;
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

/* And the sizes that errors are measured by. */
static void reference_row(uint32_t type, const uint8_t *row, uint32_t cols, double *out,
                          double *sizes)
{
    for (uint32_t k = 0; k < cols; k++) {
        if (type == BLM_F32) {
            out[k] = (double)blm_load_f32(row + k * 4);
        } else if (type == BLM_F16) {
            out[k] = f16_value(row + k * 2);
        } else if (type == BLM_BF16) {
            out[k] = (double)blm_f32_of_bits((uint32_t)blm_load_u16(row + k * 2) << 16);
        } else if (type == BLM_Q4_0) {
            const uint8_t *b = row + k / 32 * 18;
            unsigned j = k % 32;
            int q = j < 16 ? b[2 + j] & 15 : b[2 + j - 16] >> 4;
            out[k] = f16_value(b) * (q - 8);
        } else if (type == BLM_Q8_0) {
            const uint8_t *b = row + k / 32 * 34;
            out[k] = f16_value(b) * (int8_t)b[2 + k % 32];
        } else if (k % 256 == 0) {
            if (type == BLM_Q4_K) reference_q4_k(row + k / 256 * 144, out + k, sizes + k);
            if (type == BLM_Q6_K) reference_q6_k(row + k / 256 * 210, out + k);
        }
    }
    for (uint32_t k = 0; k < cols && type != BLM_Q4_K; k++)
        sizes[k] = fabs(out[k]);
}

/* ---- Products ------------------------------------------------------------------------ */

typedef struct product {
    const blm_kernels *k;
    uint32_t type, bits, rows, tokens, cols;
    int pattern;
    uint8_t *weights_block;
    blm_tensor w;
    blm_acts x;
    float *f32;
} product;

/* x->q at its limits when the pattern is extreme; rows of odd strides, exactly as long as
 * the contract says. */
static void product_acts(product *p)
{
    blm_acts *x = &p->x;
    uint32_t blocks = p->cols / 32;
    memset(x, 0, sizeof *x);
    x->tokens = p->tokens;
    x->cols = p->cols;
    x->f32_stride = p->cols + 3;
    p->f32 = take_random((p->tokens - 1) * x->f32_stride + p->cols);
    x->f32 = p->f32;
    if (is_float(p->type)) return;
    x->bits = p->bits;
    x->q_stride = p->cols;
    x->block_stride = blocks + 1;
    x->q = take((size_t)p->tokens * p->cols * (p->bits / 8));
    x->scale = take(((p->tokens - 1) * x->block_stride + blocks) * sizeof(float));
    x->sum = take(((p->tokens - 1) * x->block_stride + blocks) * sizeof(int32_t));
    if (p->pattern == LOWEST || p->pattern == HIGHEST) {
        for (uint32_t t = 0; t < p->tokens; t++) {
            for (uint32_t i = 0; i < p->cols; i++) /* every sign, all at the limit */
                p->f32[t * x->f32_stride + i] =
                    (t % 3 == 0 || (t % 3 == 1 && random_u32() % 2)) ? 2.0f : -2.0f;
        }
    }
    blm_kernels scalar;
    blm_kernels_scalar(&scalar);
    blm_acts_quantize(&scalar, x, 0, p->tokens);
}

static void product_make(product *p)
{
    uint32_t values, size;
    blm_type_block(p->type, &values, &size);
    memset(&p->w, 0, sizeof p->w);
    p->w.type = p->type;
    p->w.n_dims = 2;
    p->w.ne[0] = p->cols;
    p->w.ne[1] = p->rows;
    p->w.ne[2] = p->w.ne[3] = 1;
    p->w.row_bytes = (uint64_t)p->cols / values * size;
    uint64_t bytes = p->w.row_bytes * p->rows;
    uint32_t odd = 1 + random_u32() % 3;
    p->weights_block = take((size_t)bytes + odd);
    p->w.data = p->weights_block + odd;
    make_weights(p->weights_block + odd, p->type, bytes, p->pattern);
    product_acts(p);
}

static void product_free(product *p)
{
    free(p->weights_block);
    free(p->f32);
    free(p->x.q);
    free(p->x.scale);
    free(p->x.sum);
}

static double product_activation(const product *p, uint32_t t, uint32_t k)
{
    const blm_acts *x = &p->x;
    if (is_float(p->type)) return (double)x->f32[t * x->f32_stride + k];
    double scale = (double)x->scale[t * x->block_stride + k / 32];
    if (p->bits == 8) return scale * ((const int8_t *)x->q)[t * x->q_stride + k];
    return scale * ((const int16_t *)x->q)[t * x->q_stride + k];
}

/* 64-byte aligned scratch of exactly the size that the contract gives. */
static void *scratch_take(uint32_t cols, void **block)
{
    uint64_t bytes = blm_matmul_scratch_bytes(cols);
    *block = take((size_t)bytes + 63);
    uint8_t *end = (uint8_t *)*block + bytes + 63;
    return (uint8_t *)((uintptr_t)(end - bytes) & ~(uintptr_t)63);
}

static void product_run(const product *p, float *y, size_t y_stride, uint64_t row0,
                        uint64_t row1)
{
    void *block;
    blm_matmul_args a = {&p->w, &p->x, y, y_stride, scratch_take(p->cols, &block)};
    blm_matmul_fn fn = p->bits == 8 ? p->k->matmul8[p->type] : p->k->matmul16[p->type];
    fn(&a, row0, row1);
    free(block);
}

static int takes_bf16(const product *p)
{
    return p->bits == 8 && p->tokens >= p->k->f32_tokens;
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
            double value = takes_bf16(p) ? (double)p->x.f32[t * p->x.f32_stride + i]
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
    const int bf16 = takes_bf16(p);
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

static void check_quantize(const blm_kernels *k, const blm_kernels *scalar, uint32_t bits)
{
    for (uint32_t n = 1; n <= 24; n++) {
        guarded gq, gs, gm;
        uint32_t cols = n * 32, good = 1;
        size_t item = bits / 8;
        float limit = bits == 8 ? 127 : 32767, *x = take(cols * sizeof *x);
        for (uint32_t i = 0; i < cols; i++)
            x[i] = awkward(n);
        if (n % 6 == 1) x[0] = 63.5f;
        void *q = guard(&gq, cols * item), *q2 = take(cols * item);
        float *scale = guard(&gs, n * sizeof *scale), *scale2 = take(n * sizeof *scale);
        int32_t *sum = guard(&gm, n * sizeof *sum), *sum2 = take(n * sizeof *sum);
        if (bits == 8) {
            k->quantize8(x, cols, q, scale, sum);
            scalar->quantize8(x, cols, q2, scale2, sum2);
        } else {
            k->quantize16(x, cols, q, scale, sum);
            scalar->quantize16(x, cols, q2, scale2, sum2);
        }
        report(!memcmp(q, q2, cols * item) && !memcmp(scale, scale2, n * sizeof *scale) &&
                   !memcmp(sum, sum2, n * sizeof *sum),
               "quantize", "differs from scalar", bits, n);
        for (uint32_t b = 0; b < n; b++) {
            int64_t total = 0;
            for (uint32_t i = 0; i < 32; i++) {
                int v = bits == 8 ? ((int8_t *)q)[b * 32 + i] : ((int16_t *)q)[b * 32 + i];
                double error = fabs((double)x[b * 32 + i] - v * (double)scale[b]);
                good &= error <= 0.508 * (double)scale[b] + 1.01e-30 &&
                        fabs((double)v) <= (double)limit;
                total += v;
            }
            good &= total == sum[b];
        }
        report((int)good, "quantize", "is not to nearest", bits, n);
        unguard(&gq, "quantize q");
        unguard(&gs, "quantize scale");
        unguard(&gm, "quantize sum");
        free(x), free(q2), free(scale2), free(sum2);
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

typedef struct cache {
    uint8_t *rows, *scales;
    double *values; /* what they mean: [keys][head_dim] */
    size_t stride;
} cache;

enum { ATTEND_F32, ATTEND_F16, ATTEND_I16, ATTEND_Q8, ATTEND_KINDS };

static const char *const attend_names[] = {"attend_f32", "attend_f16", "attend_i16",
                                           "attend_q8"};

static blm_attend_fn attend_of(const blm_kernels *k, int kind)
{
    const blm_attend_fn fn[] = {k->attend_f32, k->attend_f16, k->attend_i16, k->attend_q8};
    return fn[kind];
}

/* Rows of one kind; the last ends where its head ends, like the end of an arena. */
static void cache_make(cache *c, const blm_kernels *scalar, int kind, uint32_t keys, uint32_t d)
{
    size_t item = kind == ATTEND_Q8 ? 1 : kind == ATTEND_F16 ? 2 : 4;
    c->stride = (d + 3) * item;
    c->rows = take((keys - 1) * c->stride + d * item);
    c->scales = take((keys - 1) * (size_t)6 + 2);
    c->values = take(sizeof(double) * keys * d);
    for (uint32_t j = 0; j < keys; j++) {
        uint8_t *row = c->rows + j * c->stride;
        float *x = take_random(d);
        uint16_t scale = 0;
        if (item == 4) memcpy(row, x, d * item);
        if (kind == ATTEND_F16) scalar->f16_from_f32((uint16_t *)(void *)row, x, d);
        if (kind == ATTEND_Q8) scalar->quantize_kv(x, d, (int8_t *)row, &scale);
        put_u16(c->scales + j * 6u, scale);
        for (uint32_t i = 0; i < d; i++) {
            double v = (double)x[i];
            if (kind == ATTEND_F16) v = f16_value(row + i * 2);
            if (kind == ATTEND_Q8) v = (int8_t)row[i] * f16_value(c->scales + j * 6u);
            c->values[j * d + i] = v;
        }
        free(x);
    }
}

static void cache_free(cache *c)
{
    free(c->rows), free(c->scales), free(c->values);
}

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
    report(apart <= (allowed < 1e-4 ? 0 : allowed), name, "depends on the queries beside it",
           apart, queries);
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
    int16_t q[N];
    int32_t sum[2];
    uint16_t half;
    float scale[2], y[N], *x = guard(&g, N * sizeof *x);
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t which = 0; which < 13; which++) {
            for (uint32_t i = 0; i < N; i++)
                y[i] = x[i] = odd[random_u32() % BLM_COUNT_OF(odd)];
            switch (which) {
            case 0:
                k->quantize8(x, N, (int8_t *)q, scale, sum);
                break;
            case 1:
                k->quantize16(x, N, q, scale, sum);
                break;
            case 2:
                k->quantize_kv(x, N, (int8_t *)q, &half);
                break;
            case 3:
                k->softmax(x, N);
                break;
            case 4:
                k->gelu_tanh(x, N);
                break;
            case 5:
                k->gelu_erf(x, N);
                break;
            case 6:
                k->gelu_quick(x, N);
                break;
            case 7:
                k->silu(x, N);
                break;
            case 8:
                k->silu_mul(x, y, N);
                break;
            case 9:
                k->rms_norm(x, (const uint8_t *)y, 1e-5f, N, x);
                break;
            case 10:
                k->layer_norm(x, (const uint8_t *)y, (const uint8_t *)y, 1e-5f, N, x);
                break;
            case 11:
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
    unsigned long before = failed;
    set_name = k->name;
    for (unsigned type = 0; type < BLM_COUNT_OF(types); type++) {
        check_products_of(k, type, 8);
        check_products_of(k, type, 16);
        check_large_products(k, type, 8);
        check_large_products(k, type, 16);
        check_contained(k, type, 5);
        check_contained(k, type, 21);
        check_dequantize(k, type);
    }
    check_quantize(k, scalar, 8);
    check_quantize(k, scalar, 16);
    check_quantize_kv(k, scalar);
    check_f16(k);
    check_activations(k);
    for (uint32_t n = 1; n < 70; n++) {
        check_adds(k, n);
        check_norms(k, n, n & 1);
        check_softmax(k, n, n % 4 ? 3.0f : 60.0f);
        check_rope(k, n, 0);
        check_rope(k, n, 1);
    }
    check_norms(k, 1152, 0);
    check_softmax(k, 729, 3.0f);
    check_attention(k, scalar);
    check_not_numbers(k);
    printf("%s: %s\n", k->name, failed == before ? "passed" : "FAILED");
}

/* The mask is what config.cpu_mask says it is. */
static void check_masks(void)
{
    blm_kernels k;
    set_name = "table";
    blm_kernels_init(&k, 0, (uint32_t)BLUELM_CPU_NONE);
    report(strcmp(k.name, "scalar") == 0, "mask", "BLUELM_CPU_NONE is scalar", 0, 0);
    blm_kernels_init(&k, 0, BLUELM_CPU_NEON_I8MM);
    report(strcmp(k.name, "scalar") == 0, "mask", "only what the machine has", 0, 0);
    for (unsigned i = 0; i < BLM_COUNT_OF(types); i++)
        report(k.matmul8[types[i].type] && k.matmul16[types[i].type] &&
                   k.dequantize[types[i].type],
               "table", "is complete", i, 0);
}

static const uint32_t sets[] = {BLUELM_CPU_SSE41,    BLUELM_CPU_AVX2, BLUELM_CPU_AVX512_VNNI,
                                BLUELM_CPU_AMX,      BLUELM_CPU_NEON, BLUELM_CPU_NEON_DOTPROD,
                                BLUELM_CPU_NEON_I8MM};

/* What the port reports; where it has no AMX, tile instructions are emulated (but not timed). */
static uint32_t system_features(int emulate)
{
    const uint32_t reported = bluelm_posix_port(NULL).cpu_features;
    const uint32_t features = emulate ? amx_features(reported) : reported;
    if (features != reported) printf("amx: emulated, as this machine has none\n");
    return features;
}

/* ---- Speed --------------------------------------------------------------------------- */

/* This thread's own time: the machine may have other work. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Median seconds of one call, of seven runs of at least 20 ms. */
static double seconds_of(void (*fn)(void *), void *arg)
{
    double times[7], start;
    fn(arg);
    for (int i = 0; i < 7; i++) {
        int calls = 0;
        start = now();
        do {
            fn(arg);
            calls++;
        } while (now() - start < 0.02);
        times[i] = (now() - start) / calls;
    }
    qsort(times, 7, sizeof *times, by_size);
    return times[3];
}

typedef struct bench {
    const blm_kernels *k;
    product p;
    float *y;
    blm_attend_args attend;
    int kind;
} bench;

static void bench_product_call(void *arg)
{
    bench *b = arg;
    b->p.k = b->k;
    product_run(&b->p, b->y, b->p.rows, 0, b->p.rows);
}

/* Are lines of this set with this text wanted? */
static int wanted(const blm_kernels *k, const char *what)
{
    char line[80];
    snprintf(line, sizeof line, "%s %s", k->name, what);
    return strstr(line, only) != NULL;
}

static void bench_line(const char *what, double amount, const char *unit, void (*fn)(void *),
                       bench *b, const blm_kernels *k, const blm_kernels *scalar)
{
    if (!wanted(k, what)) return;
    b->k = scalar;
    double base = seconds_of(fn, b);
    b->k = k;
    double time = k == scalar ? base : seconds_of(fn, b);
    printf("%-8s %-26s %9.2f %-7s %6.1f x scalar\n", k->name, what, amount / time * 1e-9, unit,
           base / time);
}

static void bench_products(const blm_kernels *k, const blm_kernels *scalar)
{
    static const uint32_t tokens[] = {1, 4, 128};
    for (unsigned i = 0; i < BLM_COUNT_OF(types); i++) {
        for (uint32_t bits = 8; bits <= (is_float(types[i].type) ? 8u : 16u); bits += 8) {
            for (unsigned j = 0; j < BLM_COUNT_OF(tokens); j++) {
                char what[48];
                bench b = {.p = {.type = types[i].type,
                                 .bits = bits,
                                 .rows = 256,
                                 .tokens = tokens[j],
                                 .cols = 2560}};
                product_make(&b.p);
                b.y = take((size_t)b.p.rows * b.p.tokens * sizeof *b.y);
                snprintf(what, sizeof what, "matmul%u %s, %u tokens", (unsigned)bits,
                         types[i].name, (unsigned)tokens[j]);
                double bytes = (double)b.p.w.row_bytes * b.p.rows;
                double ops = 2.0 * b.p.rows * b.p.cols * b.p.tokens;
                bench_line(what, tokens[j] == 1 ? bytes : ops,
                           tokens[j] == 1 ? "GB/s" : "Gop/s", bench_product_call, &b, k,
                           scalar);
                free(b.y);
                product_free(&b.p);
            }
        }
    }
}

static void bench_attend_call(void *arg)
{
    bench *b = arg;
    attend_of(b->k, b->kind)(&b->attend);
}

static void bench_attention(const blm_kernels *k, const blm_kernels *scalar, int kind,
                            uint32_t queries, uint32_t keys, uint32_t d)
{
    char what[48];
    guarded scratch;
    cache kc, vc;
    cache_make(&kc, scalar, kind, keys, d);
    cache_make(&vc, scalar, kind, keys, d);
    bench b = {.kind = kind};
    blm_attend_args *a = &b.attend;
    a->q = take_random((size_t)queries * d);
    a->q_stride = a->out_stride = a->head_dim = d;
    a->queries = queries, a->keys = keys;
    a->k = kc.rows, a->v = vc.rows, a->k_stride = kc.stride, a->v_stride = vc.stride;
    a->k_scale = kc.scales, a->v_scale = vc.scales;
    a->k_scale_stride = a->v_scale_stride = 6;
    a->scratch = guard(&scratch, (size_t)blm_attend_scratch_bytes(queries, keys, d));
    a->out = take((size_t)queries * d * sizeof *a->out);
    snprintf(what, sizeof what, "%s %ux%u, d %u", attend_names[kind], (unsigned)queries,
             (unsigned)keys, (unsigned)d);
    bench_line(what, 4.0 * queries * keys * d, "Gop/s", bench_attend_call, &b, k, scalar);
    cache_free(&kc), cache_free(&vc);
    free((void *)(uintptr_t)a->q), free(a->out);
    unguard(&scratch, "scratch of attention");
}

enum { ROW = 4096 };

static void bench_row_call(void *arg)
{
    bench *b = arg;
    const blm_kernels *k = b->k;
    const uint8_t *w = (const uint8_t *)b->p.f32;
    int8_t *q = b->p.x.q;
    switch (b->kind) {
    case 0:
        k->quantize8(b->p.f32, ROW, q, b->p.x.scale, b->p.x.sum);
        break;
    case 1:
        k->gelu_tanh(b->y, ROW);
        break;
    case 2:
        k->silu_mul(b->y, b->p.f32, ROW);
        break;
    case 3:
        k->softmax(b->y, ROW);
        break;
    case 4:
        k->rms_norm(b->p.f32, w, 1e-5f, ROW, b->y);
        break;
    case 5:
        k->layer_norm(b->p.f32, w, w, 1e-5f, ROW, b->y);
        break;
    case 6:
        k->dequantize[BLM_Q4_0](b->p.w.data, b->y, ROW);
        break;
    default:
        k->f32_from_f16(b->y, (const uint16_t *)(const void *)w, ROW);
        break;
    }
}

static void bench_rows(const blm_kernels *k, const blm_kernels *scalar)
{
    static const char *const names[] = {"quantize8",  "gelu_tanh",   "silu_mul",
                                        "softmax",    "rms_norm",    "layer_norm",
                                        "dequantize", "f32_from_f16"};
    bench b = {.p = {.type = BLM_Q4_0, .bits = 8, .rows = 1, .tokens = 1, .cols = ROW}};
    product_make(&b.p);
    b.y = take_random(ROW);
    for (b.kind = 0; b.kind < (int)BLM_COUNT_OF(names); b.kind++)
        bench_line(names[b.kind], ROW, "Gval/s", bench_row_call, &b, k, scalar);
    free(b.y);
    product_free(&b.p);
}

/* ---- Against the machine's limits ---------------------------------------------------- */

/* Operations a second of the instructions that these kernels multiply with; 0: not known. */
static double limit_peak(const bench *b)
{
    bluelm_port clock = bluelm_posix_port(NULL);
    return 2 * bench_peak_rate(&clock, 1, BENCH_INT8, b->k->name);
}

/* Bytes a second of nothing but reading the weights of a bench. */
static double limit_read(const bench *b)
{
    bluelm_port clock = bluelm_posix_port(NULL);
    return bench_read_bandwidth(&clock, 1, b->p.w.data, b->p.w.row_bytes * b->p.rows);
}

/* The median share of a limit, of nine pairs of runs, one right after the other. */
static void limit_line(const char *what, const char *unit, bench *b, double amount,
                       double (*limit)(const bench *b))
{
    double share[9], speed[9], most[9];
    for (int i = 0; i < 9; i++) {
        most[i] = limit(b) * 1e-9;
        double begun = now();
        bench_product_call(b);
        speed[i] = amount / (now() - begun) * 1e-9;
        share[i] = 100 * speed[i] / most[i];
    }
    qsort(share, 9, sizeof *share, by_size);
    qsort(speed, 9, sizeof *speed, by_size);
    qsort(most, 9, sizeof *most, by_size);
    printf("%-8s %-26s %9.2f %-7s %6.1f %% of %.1f\n", b->k->name, what, speed[4], unit,
           share[4], most[4]);
}

static void bench_limit(const blm_kernels *k, unsigned i, uint32_t rows, uint32_t tokens)
{
    char what[48];
    bench b = {.k = k, .p = {.type = types[i].type, .bits = 8, .rows = rows, .cols = 2560}};
    snprintf(what, sizeof what, "%s %s, %u tokens", tokens == 1 ? "stream" : "peak",
             types[i].name, (unsigned)tokens);
    if (!wanted(k, what)) return;
    b.p.tokens = tokens;
    product_make(&b.p);
    b.y = take((size_t)rows * tokens * sizeof *b.y);
    double bytes = (double)b.p.w.row_bytes * rows;
    if (tokens == 1)
        limit_line(what, "GB/s", &b, bytes, limit_read);
    else
        limit_line(what, "Gop/s", &b, 2.0 * rows * b.p.cols * tokens, limit_peak);
    free(b.y);
    product_free(&b.p);
}

/* 128 tokens against the instructions that multiply; one token, with more weights than caches
 * hold, against reading them. */
static void bench_limits(const blm_kernels *k)
{
    const bench b = {.k = k};
    const int known = limit_peak(&b) > 0;
    for (unsigned i = 0; i < BLM_COUNT_OF(types); i++) {
        if (known && !is_float(types[i].type)) bench_limit(k, i, 1280, 128);
        bench_limit(k, i, is_float(types[i].type) ? 32768 : 131072, 1);
    }
}

static void bench_set(const blm_kernels *k, const blm_kernels *scalar)
{
    if (k != scalar) bench_limits(k);
    bench_products(k, scalar);
    for (int kind = 0; kind < ATTEND_KINDS; kind++) {
        bench_attention(k, scalar, kind, 729, 729, 72);
        bench_attention(k, scalar, kind, 1, 1024, 128);
    }
    bench_rows(k, scalar);
}

int main(int argc, char **argv)
{
    int want_bench = 0;
    uint64_t seed = 1;
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
    random_state = seed * 0x9E3779B97F4A7C15u + 1;
    blm_kernels scalar, k;
    blm_kernels_init(&scalar, 0, (uint32_t)BLUELM_CPU_NONE);
    if (!want_bench) {
        set_name = "math";
        check_float_functions();
        check_double_functions();
        check_masks();
        check_set(&scalar, &scalar);
    } else {
        bench_set(&scalar, &scalar);
    }
    const uint32_t features = system_features(!want_bench);
    for (unsigned i = 0; i < BLM_COUNT_OF(sets); i++) {
        blm_kernels_init(&k, features, sets[i]);
        if (!strcmp(k.name, scalar.name)) continue; /* not this machine, or not written */
        if (want_bench)
            bench_set(&k, &scalar);
        else
            check_set(&k, &scalar);
    }
    if (!want_bench) printf("%lu passed, %lu failed\n", passed, failed);
    return failed != 0;
}
