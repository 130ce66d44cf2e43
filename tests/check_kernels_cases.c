/* What the kernels are checked and timed with: see check_kernels.h. */
#include "check_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

check_state check;

void report(int good, const char *what, const char *detail, double a, double b)
{
    if (good) {
        check.passed++;
    } else if (check.failed++ < 40) {
        printf("FAILED %s: %s %s (%g, %g)\n", check.set_name, what, detail, a, b);
    }
}

uint32_t random_u32(void)
{
    check.random_state = check.random_state * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = check.random_state ^ check.random_state >> 33;
    return (uint32_t)(x * 0xFF51AFD7ED558CCDu >> 32);
}

/* About normal, about 1 in size. */
float random_f32(void)
{
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += random_u32() / 4294967296.0 - 0.5;
    return (float)(sum * 1.7);
}

void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) {
        printf("out of memory\n");
        exit(2);
    }
    return p;
}

float *take_random(size_t n)
{
    float *x = take(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = random_f32();
    return x;
}

/* ---- Outputs between canaries -------------------------------------------------------- */

enum { CANARY = 64 };

void *guard(guarded *g, size_t bytes)
{
    g->block = take(bytes + 2 * CANARY);
    g->bytes = bytes;
    memset(g->block, 0xA5, bytes + 2 * CANARY);
    return g->block + CANARY;
}

void unguard(guarded *g, const char *what)
{
    int good = 1;
    for (size_t i = 0; i < CANARY; i++)
        good &= g->block[i] == 0xA5 && g->block[CANARY + g->bytes + i] == 0xA5;
    report(good, what, "writes outside its output", 0, 0);
    free(g->block);
}

/* ---- Weights -------------------------------------------------------------------------- */

#define TYPE_ROW(name, number, values, bytes) {number, #name},
const weights_type types[TYPES] = {BLM_TYPES(TYPE_ROW)};
#undef TYPE_ROW

int is_float(uint32_t type)
{
    return type == BLM_F32 || type == BLM_F16 || type == BLM_BF16;
}

void put_u16(uint8_t *p, uint16_t v)
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

/* q as low or as high as they go, scales as large as they go. */
static void extreme_block(uint8_t *p, uint32_t type, uint32_t size, int pattern)
{
    uint8_t low = type == BLM_Q8_0 ? 0x80 : 0, high = type == BLM_Q8_0 ? 0x7F : 0xFF;
    memset(p, pattern == LOWEST ? low : high, size);
    if (type == BLM_Q6_K) memset(p + 192, pattern == LOWEST ? 0x80 : 0x7F, 16);
    if (pattern != LOWEST) return;
    if (type == BLM_Q4_K || type == BLM_Q5_K) memset(p + 4, 0xFF, 12);
    if (type == BLM_Q2_K) memset(p, 0xFF, 16);
    if (type == BLM_IQ4_XS && random_u32() % 2) memset(p + 2, 0xFF, 6);
    if (type == BLM_Q3_K && random_u32() % 2) memset(p + 96, 0xFF, 12);
}

/* What multiplies the block, and the minimum beside it. */
static void scale_block(uint8_t *p, uint32_t type, int pattern)
{
    uint8_t *d = p;
    if (type == BLM_MXFP4) { /* 2^(p - 127) */
        *p = (uint8_t)(pattern == ZERO_SCALES   ? random_u32() % 3
                       : pattern == HUGE_SCALES ? 140
                                                : 120 + random_u32() % 5);
        return;
    }
    if (type == BLM_Q6_K) d = p + 208;
    if (type == BLM_Q3_K) d = p + 108;
    if (type == BLM_Q2_K) d = p + 80;
    put_u16(d, pattern_scale(pattern));
    if (type == BLM_Q4_1 || type == BLM_Q5_1 || type == BLM_Q2_K || type == BLM_Q4_K ||
        type == BLM_Q5_K)
        put_u16(d + 2, pattern_scale(pattern));
}

void make_weights(uint8_t *data, uint32_t type, uint64_t bytes, int pattern)
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
        if (pattern == LOWEST || pattern == HIGHEST) extreme_block(p, type, size, pattern);
        scale_block(p, type, pattern);
    }
}

/* Written from the format's description, not from the library: exponents and fractions. */
double f16_value(const uint8_t *p)
{
    int bits = p[0] | p[1] << 8, e = bits >> 10 & 31, m = bits & 1023;
    double a = e == 31 ? (m ? (double)NAN : (double)INFINITY)
               : e     ? ldexp(1024 + m, e - 25)
                       : ldexp(m, -24);
    return bits >> 15 ? -a : a;
}

/* ---- Products ------------------------------------------------------------------------ */

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
    const size_t rows = p->tokens * (p->bits / 8);
    x->q = take(rows * p->cols);
    x->scale = take(((rows - 1) * x->block_stride + blocks) * sizeof(float));
    x->sum = take(((rows - 1) * x->block_stride + blocks) * sizeof(int32_t));
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

void product_make(product *p)
{
    uint32_t values, size;
    blm_type_block(p->type, &values, &size);
    memset(&p->w, 0, sizeof p->w);
    p->w.type = p->type;
    p->w.n_dims = 2;
    p->w.ne[0] = p->cols;
    p->w.ne[1] = p->rows;
    p->w.row_bytes = (uint64_t)p->cols / values * size;
    uint64_t bytes = p->w.row_bytes * p->rows;
    uint32_t odd = 1 + random_u32() % 3;
    p->weights_block = take((size_t)bytes + odd);
    p->w.data = p->weights_block + odd;
    make_weights(p->weights_block + odd, p->type, bytes, p->pattern);
    product_acts(p);
}

void product_free(product *p)
{
    free(p->weights_block);
    free(p->f32);
    free(p->x.q);
    free(p->x.scale);
    free(p->x.sum);
}

/* 64-byte aligned scratch of exactly the size that the contract gives. */
void *scratch_take(uint32_t cols, uint32_t bits, void **block)
{
    uint64_t bytes = blm_matmul_scratch_bytes(BLM_MATMUL_PANEL_BYTES, cols, bits);
    *block = take((size_t)bytes + 63);
    uint8_t *end = (uint8_t *)*block + bytes + 63;
    return (uint8_t *)((uintptr_t)(end - bytes) & ~(uintptr_t)63);
}

void product_run(const product *p, float *y, size_t y_stride, uint64_t row0, uint64_t row1)
{
    void *block;
    blm_matmul_args a = {&p->w, &p->x, y, y_stride, scratch_take(p->cols, p->bits, &block)};
    if (p->bits == 16)
        blm_matmul16(p->k, &a, row0, row1);
    else
        (p->bf16 ? p->k->matmul_bf16 : p->k->matmul8)[p->type](&a, row0, row1);
    free(block);
}

/* ---- Caches --------------------------------------------------------------------------- */

const char *const attend_names[ATTEND_KINDS] = {"attend_f32", "attend_f16", "attend_i16",
                                                "attend_q8"};

blm_attend_fn attend_of(const blm_kernels *k, int kind)
{
    const blm_attend_fn fn[] = {k->attend_f32, k->attend_f16, k->attend_i16, k->attend_q8};
    return fn[kind];
}

/* Rows of one kind; the last ends where its head ends, like the end of an arena. */
void cache_make(cache *c, const blm_kernels *scalar, int kind, uint32_t keys, uint32_t d)
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

void cache_free(cache *c)
{
    free(c->rows), free(c->scales), free(c->values);
}
