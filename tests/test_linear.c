/* Linear layers: which arithmetic a matrix gets, in the scratch that was asked for, and the
 * same bits from any number of workers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../network/linear.h"
#include "network_aid.h"

/* Neither rows nor columns fill panels or blocks. */
enum { ROWS = 77, COLS = 1070, TOKENS = 9 };

/* A matrix of F16, F32 or BF16, a bias, activations, and what comes out. */
typedef struct layer {
    void *weights;
    float *bias_values, *x;
    blm_tensor w;
    blm_vector bias;
    double *want; /* [TOKENS][ROWS] */
} layer;

static blm_tensor tensor_of(const void *data, uint32_t type, uint64_t cols, uint64_t rows)
{
    blm_tensor t = {.data = data, .type = type, .n_dims = 2, .ne = {cols, rows}};
    uint32_t values, bytes;
    assert_true(blm_type_block(type, &values, &bytes));
    t.row_bytes = cols / values * bytes;
    return t;
}

static float *random_floats(size_t count, tiny_random *r)
{
    float *out = malloc(count * sizeof *out);
    size_t i;
    assert_non_null(out);
    for (i = 0; i < count; i++)
        out[i] = (float)tiny_normal(r);
    return out;
}

/* Stores a weight as the type has it, and returns what was stored. */
static double put_weight(layer *l, uint32_t type, size_t at, float value)
{
    uint16_t half = type == BLM_F16 ? blm_f16_of_f32(value) : blm_bf16_of_f32(value);
    if (type == BLM_F32) {
        ((float *)l->weights)[at] = value;
        return (double)value;
    }
    ((uint16_t *)l->weights)[at] = half;
    return (double)(type == BLM_F16 ? blm_f32_of_f16(half) : blm_f32_of_bf16(half));
}

static layer make_layer(uint32_t type, uint64_t seed)
{
    tiny_random random = {seed};
    size_t r, k, t;
    layer l;
    l.weights = malloc(ROWS * COLS * sizeof(float));
    l.want = malloc(TOKENS * ROWS * sizeof *l.want);
    assert_true(l.weights != NULL && l.want != NULL);
    l.x = random_floats(TOKENS * COLS, &random);
    l.bias_values = random_floats(ROWS, &random);
    l.w = tensor_of(l.weights, type, COLS, ROWS);
    l.bias.data = (const uint8_t *)l.bias_values;
    for (t = 0; t < TOKENS; t++)
        for (r = 0; r < ROWS; r++)
            l.want[t * ROWS + r] = (double)l.bias_values[r];
    for (r = 0; r < ROWS; r++)
        for (k = 0; k < COLS; k++) {
            double w = put_weight(&l, type, r * COLS + k, (float)tiny_normal(&random));
            for (t = 0; t < TOKENS; t++)
                l.want[t * ROWS + r] += w * (double)l.x[t * COLS + k];
        }
    return l;
}

static void free_layer(layer *l)
{
    free(l->weights), free(l->bias_values), free(l->x), free(l->want);
}

typedef struct way {
    uint32_t cpu_mask, workers, bits;
    int rounded;
} way;

/* The layer's output, in an arena of exactly what its scratch takes. */
static float *run_layer(const layer *l, const way *how)
{
    float *y = malloc(TOKENS * ROWS * sizeof *y);
    blm_product product = {&l->w, &l->bias, y, ROWS};
    uint32_t rounded_cols = how->rounded ? COLS : 0;
    blm_compute c;
    blm_linear linear;
    blm_arena arena;
    void *block;
    memset(&c, 0, sizeof c);
    blm_kernels_init(&c.kernels, 0, how->cpu_mask);
    c.workers.port = backward_port();
    c.workers.count = how->workers;
    blm_arena_start(&arena, NULL, UINT64_MAX);
    blm_linear_take(&linear, &arena, &c, how->bits, TOKENS, COLS, rounded_cols);
    block = malloc((size_t)arena.wanted + BLM_ARENA_MARGIN);
    assert_true(y != NULL && block != NULL);
    blm_arena_start(&arena, block, arena.wanted + BLM_ARENA_MARGIN);
    blm_linear_take(&linear, &arena, &c, how->bits, TOKENS, COLS, rounded_cols);
    assert_true(blm_arena_ok(&arena));
    blm_linear_run(&linear, &c, l->x, COLS, TOKENS, COLS, &product, 1);
    blm_arena_release(&arena);
    free(block);
    return y;
}

static void check_way(const layer *l, const way *how, double least, double most)
{
    static const uint32_t workers[] = {2, 3, 5};
    float *y = run_layer(l, how);
    double error = relative_error(y, l->want, TOKENS * ROWS);
    size_t i;
    print_message("  %s, %2u-bit activations, kernels %x: %.2g\n",
                  how->rounded ? "rounded" : "as it is", (unsigned)how->bits,
                  (unsigned)how->cpu_mask, error);
    assert_true(error >= least && error <= most);
    for (i = 0; i < 3; i++) {
        way other = *how;
        float *again;
        other.workers = workers[i];
        again = run_layer(l, &other);
        assert_memory_equal(again, y, TOKENS * ROWS * sizeof *y);
        free(again);
    }
    free(y);
}

static void floats_run_in_8_bits_only_where_marked_and_with_int8_activations(void **state)
{
    static const uint32_t types[] = {BLM_F32, BLM_F16, BLM_BF16};
    static const uint32_t masks[] = {0, BLUELM_CPU_NONE, BLUELM_CPU_AVX2};
    size_t i, j;
    (void)state;
    for (i = 0; i < 3; i++) {
        layer l = make_layer(types[i], 7 + i);
        for (j = 0; j < 3; j++) {
            way how = {masks[j], 1, 8, 0};
            check_way(&l, &how, 0, 1e-6);
            how.rounded = 1;
            l.w.rounded = 1;
            check_way(&l, &how, 3e-3, 1.5e-2);
            how.bits = 16;
            check_way(&l, &how, 0, 1e-6);
            l.w.rounded = 0;
        }
        free_layer(&l);
    }
}

static void what_a_quantised_part_left_in_floats_is_marked_or_every_float(void **state)
{
    blm_tensor quantised = tensor_of("", BLM_Q8_0, 1152, 4304);
    blm_tensor odd = tensor_of("", BLM_F16, 4304, 1152), more = odd;
    blm_tensor even = tensor_of("", BLM_F16, 1152, 1152);
    blm_tensor *const mixed[] = {&quantised, &even, &odd}, *const floats[] = {&odd, &more};
    (void)state;
    assert_int_equal(blm_linear_round(mixed, 3, 0), 4304);
    assert_true(odd.rounded);
    assert_false(even.rounded || quantised.rounded);
    assert_int_equal(blm_linear_round(floats, 2, 0), 0);
    assert_false(odd.rounded || more.rounded);
    assert_int_equal(blm_linear_round(mixed, 3, 1), 4304);
    assert_true(odd.rounded && even.rounded);
    assert_false(quantised.rounded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_run_in_8_bits_only_where_marked_and_with_int8_activations),
        cmocka_unit_test(what_a_quantised_part_left_in_floats_is_marked_or_every_float),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
