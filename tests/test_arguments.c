/* What bluelm.h says of arguments: pointers that are NULL where something is needed, numbers
 * next to their limits; and that what is printed of them is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine_check.h"

static void test_null(int64_t code, const bluelm_error *err)
{
    test_error((int)code, BLUELM_E_ARG, err, "");
    assert_int_equal(err->cause, BLUELM_CAUSE_NULL);
}

static void what_is_needed_and_NULL_is_named(void **state)
{
    (void)state;
    bluelm_config c = test_config();
    aid_engine e = aid_engine_default(&c);
    bluelm_error err;
    bluelm_memory need;
    const bluelm_image nothing = {0}, counted = {.encoded_bytes = 9};
    int32_t token;
    uint32_t side;
    test_null(bluelm_add_image(e.engine, &nothing, NULL, &err), &err);
    test_null(bluelm_add_image(e.engine, &counted, NULL, &err), &err);
    test_null(bluelm_embed_begin(e.engine, &nothing, &err), &err);
    test_null(bluelm_image_size(NULL, 9, &side, &side, &err), &err);
    test_null(bluelm_image_whole_bytes(NULL, 9, &err), &err);
    test_null(bluelm_detokenize(e.engine, 1, NULL, 9, &err), &err);
    test_null(bluelm_tokenize(e.engine, "a", 1, 0, NULL, 1, &err), &err);
    test_null(bluelm_add_tokens(e.engine, NULL, 1, &err), &err);
    bluelm_weights w = e.model.weights;
    w.mmproj = NULL;
    test_null(bluelm_plan(&w, &c, &need, &err), &err);
    w = e.model.weights;
    w.llm = NULL;
    test_null(bluelm_plan(&w, &c, &need, &err), &err);

    /* Nothing is needed where nothing is asked for. */
    assert_true(bluelm_detokenize(e.engine, 1, NULL, 0, &err) >= 0);
    assert_int_equal(bluelm_add_text(e.engine, NULL, 0, &err), 0);
    assert_int_equal(bluelm_set_sampling(e.engine, NULL, &err), 0);
    assert_true(bluelm_tokenize(e.engine, "a", 1, 0, &token, 1, &err) == 1);
    assert_int_equal(bluelm_add_tokens(e.engine, &token, 1, &err), 0);
    bluelm_event event;
    do {
        assert_true(bluelm_step(e.engine, &event, &err) >= 0);
    } while (event.type != BLUELM_EVENT_IDLE);
    uint32_t n_vocab;
    assert_non_null(bluelm_logits(e.engine, NULL));
    assert_ptr_equal(bluelm_logits(e.engine, NULL), bluelm_logits(e.engine, &n_vocab));
    aid_engine_free(&e);
}

/* The limit that is said is one that the call takes. */
static void a_limit_that_is_said_is_the_limit(void **state)
{
    (void)state;
    static const uint8_t pixel[3];
    bluelm_config c = test_config();
    c.marks = 3;
    aid_engine e = aid_engine_default(&c);
    bluelm_error err;
    bluelm_memory need;
    bluelm_tile_grid grid;
    bluelm_image image = {.rgb = pixel, .width_px = 1};
    test_error(bluelm_add_image(e.engine, &image, NULL, &err), BLUELM_E_ARG, &err, "side");
    assert_int_equal(err.cause, BLUELM_CAUSE_BELOW);
    assert_int_equal(err.need, 1);
    test_error(bluelm_tile_plan(&e.model.weights, &c, 0, 1, &grid, &err), BLUELM_E_ARG, &err,
               "width");
    assert_int_equal(err.need, 1);
    test_error(bluelm_tile_plan(&e.model.weights, &c, 1, 0, &grid, &err), BLUELM_E_ARG, &err,
               "height");
    assert_int_equal(err.need, 1);

    test_error(bluelm_mark(e.engine, 3, &err), BLUELM_E_ARG, &err, "mark");
    assert_int_equal(err.cause, BLUELM_CAUSE_ABOVE);
    assert_int_equal(err.need, 2);
    assert_int_equal(bluelm_mark(e.engine, 2, &err), 0);

    bluelm_config wrong = c;
    wrong.background_rgb = 0xFFFFFF;
    test_error(bluelm_plan(&e.model.weights, &wrong, &need, &err), BLUELM_E_ARG, &err, "0x1");
    assert_int_equal(err.cause, BLUELM_CAUSE_BELOW);
    assert_int_equal(err.need, 0x1000000);
    wrong.background_rgb = (uint32_t)err.need;
    assert_int_equal(bluelm_plan(&e.model.weights, &wrong, &need, &err), 0);
    wrong = c;
    wrong.cpu_mask = BLUELM_CPU_AVX2 | 1u << 20;
    test_error(bluelm_plan(&e.model.weights, &wrong, &need, &err), BLUELM_E_ARG, &err,
               "cpu_mask");
    assert_int_equal(err.cause, BLUELM_CAUSE_ABOVE);
    assert_int_equal(err.have, 1u << 20);
    wrong = c;
    wrong.tile_alpha = 1.5f;
    test_error(bluelm_plan(&e.model.weights, &wrong, &need, &err), BLUELM_E_ARG, &err,
               "tile_alpha");
    assert_int_equal(err.cause, BLUELM_CAUSE_NUMBER);
    aid_engine_free(&e);
}

static void no_marks_means_none(void **state)
{
    (void)state;
    bluelm_config c = test_config();
    c.marks = BLUELM_NO_MARKS;
    aid_engine e = aid_engine_default(&c);
    bluelm_error err;
    test_error(bluelm_mark(e.engine, 0, &err), BLUELM_E_ARG, &err, "config marks");
    test_error(bluelm_rewind(e.engine, 0, &err), BLUELM_E_ARG, &err, "config marks");
    aid_engine_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_needed_and_NULL_is_named),
        cmocka_unit_test(a_limit_that_is_said_is_the_limit),
        cmocka_unit_test(no_marks_means_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
