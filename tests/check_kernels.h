/* What the kernels are checked and timed with (random inputs, weights of every type, products
 * and caches whose buffers end where their contracts end), and the checks by theme. */
#ifndef CHECK_KERNELS_H
#define CHECK_KERNELS_H

#include "../kernels/kernels.h"

/* The run so far; a seed gives the same inputs again. */
typedef struct check_state {
    unsigned long passed, failed;
    uint64_t random_state;
    const char *set_name; /* of the kernels at work */
} check_state;

extern check_state check;

/* Counts a check, and prints it with two numbers when it failed. */
void report(int good, const char *what, const char *detail, double a, double b);

uint32_t random_u32(void);
float random_f32(void); /* about normal, about 1 in size */

/* As malloc, but it ends the program when there is no memory; the second filled at random. */
void *take(size_t bytes);
float *take_random(size_t n);

/* `bytes` for an output, between canaries; unguard reports when those have changed. */
typedef struct guarded {
    uint8_t *block;
    size_t bytes;
} guarded;

void *guard(guarded *g, size_t bytes);
void unguard(guarded *g, const char *what);

/* ---- Weights -------------------------------------------------------------------------- */

#define TYPE_COUNT(name, number, values, bytes) +1
enum { TYPES = BLM_TYPES(TYPE_COUNT) };
#undef TYPE_COUNT

typedef struct weights_type {
    uint32_t type;
    const char *name;
} weights_type;

extern const weights_type types[TYPES];

enum { RANDOM, LOWEST, HIGHEST, ZERO_SCALES, HUGE_SCALES, PATTERNS };

int is_float(uint32_t type);
void put_u16(uint8_t *p, uint16_t v);
void make_weights(uint8_t *data, uint32_t type, uint64_t bytes, int pattern);

/* Written from the format's description, not from the library: exponents and fractions. */
double f16_value(const uint8_t *p);

/* ---- Products ------------------------------------------------------------------------ */

/* A matrix product: set the first three lines, product_make does the others. */
typedef struct product {
    const blm_kernels *k;
    uint32_t type, bits, rows, tokens, cols;
    int pattern, bf16; /* bf16: of matmul_bf16, with bits 8 */
    uint8_t *weights_block;
    blm_tensor w;
    blm_acts x;
    float *f32;
} product;

void product_make(product *p);
void product_free(product *p);

/* 64-byte aligned scratch of exactly the size that the contract gives; free *block. */
void *scratch_take(uint32_t cols, uint32_t bits, void **block);

/* Rows [row0, row1) of y, with scratch of its own. */
void product_run(const product *p, float *y, size_t y_stride, uint64_t row0, uint64_t row1);

/* ---- Caches --------------------------------------------------------------------------- */

typedef struct cache {
    uint8_t *rows, *scales;
    double *values; /* what they mean: [keys][head_dim] */
    size_t stride;
} cache;

enum { ATTEND_F32, ATTEND_F16, ATTEND_I16, ATTEND_Q8, ATTEND_KINDS };

extern const char *const attend_names[ATTEND_KINDS];

blm_attend_fn attend_of(const blm_kernels *k, int kind);

/* Rows of one kind; the last ends where its head ends, like the end of an arena. */
void cache_make(cache *c, const blm_kernels *scalar, int kind, uint32_t keys, uint32_t d);
void cache_free(cache *c);

/* ---- Checks ------------------------------------------------------------------------------ */

void check_products(const blm_kernels *k);
void check_values(const blm_kernels *k, const blm_kernels *scalar);
void check_attention(const blm_kernels *k, const blm_kernels *scalar);
void check_not_numbers(const blm_kernels *k);
void check_math(void); /* kernels/math.h against libm */

/* ---- Speed ---------------------------------------------------------------------------- */

/* Prints what a set of kernels does, against scalar and against the machine; of it those lines
 * that hold the text `only`. */
void time_kernels(const blm_kernels *k, const blm_kernels *scalar, const char *only);

#endif
