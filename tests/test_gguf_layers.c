/* GGUF files of many layers and many strings: tensors are found in any order with little
 * work, and what would take too much is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "gguf_aid.h"

static double test_seconds(clock_t begun)
{
    return (double)(clock() - begun) / CLOCKS_PER_SEC;
}

/* A file of so many layers that lie mixed, the first tensor of each at the start. */
static tiny_file test_layers(uint32_t layers, uint32_t tensors)
{
    static const uint64_t ne[1] = {1};
    tiny_writer w;
    uint32_t i;
    tiny_start(&w, 1);
    for (i = 0; i < layers * tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.a_tensor_with_a_long_name.%u",
                 (unsigned)(i % layers), (unsigned)(i / layers));
        aid_put_entry(&w, name, 1, ne, 0, 0);
    }
    aid_put_data(&w, 4);
    return tiny_finish(&w);
}

/* Looks for all tensors of all layers, and for as many that are not there. */
static void test_find_layers(const blm_gguf *g, uint32_t layers, uint32_t tensors)
{
    uint32_t layer, i;
    for (layer = 0; layer < layers; layer++) {
        for (i = 0; i < 2 * tensors; i++) {
            char name[64];
            blm_tensor t;
            snprintf(name, sizeof name, "blk.%u.a_tensor_with_a_long_name.%u", (unsigned)layer,
                     (unsigned)i);
            assert_int_equal(blm_gguf_tensor(g, name, &t, NULL), i < tensors);
        }
    }
}

/* As many tensors and layers as there may be. To open the file takes three walks over them;
 * finding each by a walk of its own would take several times what is allowed here. */
static void tensors_are_found_with_one_walk_a_layer(void **state)
{
    const uint32_t tensors = 16, layers = BLM_GGUF_MAX_TENSORS / tensors;
    tiny_file file = test_layers(layers, tensors);
    double open = 1e9, find;
    bluelm_error err;
    clock_t begun;
    blm_gguf g;
    int i;
    (void)state;
    for (i = 0; i < 5; i++) {
        begun = clock();
        assert_int_equal(aid_open_gguf(&g, &file, &err), BLUELM_OK);
        open = BLM_MIN(open, test_seconds(begun));
    }
    begun = clock();
    test_find_layers(&g, layers, tensors);
    find = test_seconds(begun);
    print_message("open %.4f s, find %.3f s\n", open, find);
    assert_true(find < 4 * layers * open);
    tiny_free(&file);
}

/* In whatever order they are asked for, and wherever the names end. */
static void tensors_of_layers_are_found_in_any_order(void **state)
{
    static const char *const names[] = {
        "blk.1.a", "blk.10.a", "blk.1.b",   "v.blk.1.a", "blk.1", "blk.1.", "blk.",
        "1.a",     "blk.1a.a", "a.1.b.2.c", "a.12.b.1",  "..1.a", "blk..a"};
    static const char *const absent[] = {"blk.1.c",  "blk.2.a", "v.blk.10.a",
                                         "blk.11.a", "b",       ""};
    uint64_t ne[1] = {1};
    aid_trial f;
    uint32_t i, k;
    (void)state;
    aid_trial_start(&f);
    for (i = 0; i < BLM_COUNT_OF(names); i++) {
        ne[0] = i + 1;
        aid_put_entry(&f.w, names[i], 1, ne, 0, 0);
    }
    aid_put_data(&f.w, 4 * BLM_COUNT_OF(names));
    assert_int_equal(aid_trial_open(&f), BLUELM_OK);
    for (i = 0; i < BLM_COUNT_OF(names); i++) {
        for (k = 0; k < BLM_COUNT_OF(names); k++) {
            blm_tensor t;
            assert_int_equal(blm_gguf_tensor(&f.g, names[i], &t, NULL), 1);
            assert_int_equal(t.ne[0], i + 1);
            assert_int_equal(blm_gguf_tensor(&f.g, absent[k % BLM_COUNT_OF(absent)], &t, NULL),
                             0);
            assert_int_equal(blm_gguf_tensor(&f.g, names[k], &t, NULL), 1);
            assert_int_equal(t.ne[0], k + 1);
        }
    }
    tiny_free(&f.file);
}

static void a_layer_of_more_tensors_than_the_limit_is_refused(void **state)
{
    uint32_t over;
    (void)state;
    for (over = 0; over < 2; over++) {
        tiny_file file = test_layers(2, BLM_GGUF_MAX_LAYER_TENSORS + over);
        bluelm_error err;
        blm_gguf g;
        blm_tensor t;
        assert_int_equal(aid_open_gguf(&g, &file, &err), BLUELM_OK);
        assert_int_equal(blm_gguf_tensor(&g, "blk.1.a_tensor_with_a_long_name.0", &t, &err),
                         over ? BLUELM_E_UNSUPPORTED : 1);
        if (over) assert_int_equal(err.need, BLM_GGUF_MAX_LAYER_TENSORS);
        tiny_free(&file);
    }
}

/* The four longest arrays are jumped over, whatever they hold; of the others a walk must read
 * every string. */
static void more_loose_strings_than_the_limit_are_refused(void **state)
{
    uint32_t over;
    (void)state;
    for (over = 0; over < 2; over++) {
        const uint32_t loose = BLM_GGUF_MAX_LOOSE_STRINGS / 2;
        aid_trial f;
        uint32_t i, k, u;
        aid_trial_start(&f);
        for (i = 0; i < 6; i++) {
            uint32_t count = i < 4 ? loose + 1 + i : loose + (i == 5 ? over : 0);
            char name[16];
            snprintf(name, sizeof name, "s%u", (unsigned)((i + 3) % 6));
            tiny_key_array(&f.w, name, BLM_GGUF_STRING, count);
            for (k = 0; k < count; k++)
                tiny_put_string(&f.w.keys, i < 4 ? "x" : "");
        }
        tiny_key_u32(&f.w, "u", 7);
        assert_int_equal(aid_trial_open(&f), over ? BLUELM_E_UNSUPPORTED : BLUELM_OK);
        if (!over) assert_int_equal(blm_gguf_u32(&f.g, "u", &u, &f.err), 1);
        tiny_free(&f.file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_found_with_one_walk_a_layer),
        cmocka_unit_test(tensors_of_layers_are_found_in_any_order),
        cmocka_unit_test(a_layer_of_more_tensors_than_the_limit_is_refused),
        cmocka_unit_test(more_loose_strings_than_the_limit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
