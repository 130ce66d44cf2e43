/* Going back: marks, turns that are dropped, and pictures encoded before. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine_check.h"
#include "file_aid.h"

static void test_question(bluelm *e, const char *text, aid_answer *a)
{
    test_text(e, text);
    aid_ask(e, 8, a);
}

/* After all that is queued. */
static void test_same_logits_at_last(bluelm *a, bluelm *b)
{
    static aid_answer ignored;
    aid_run(a, &ignored);
    aid_run(b, &ignored);
    test_same_logits(a, b);
}

static void second_question_costs_no_second_encoding(void **state)
{
    (void)state;
    static aid_answer first, second, again, alone;
    aid_model m = aid_model_default();
    aid_engine e = aid_engine_make(&m, NULL, NULL), f = aid_engine_make(&m, NULL, NULL);
    bluelm_image image = aid_picture(50, 70, 0, 11);
    assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
    assert_true(bluelm_add_image(e.engine, &image, NULL, NULL) > 0);
    assert_int_equal(bluelm_mark(e.engine, 0, NULL), 0);
    test_question(e.engine, "how many?", &first);
    assert_true(first.encode_steps > 0);
    assert_int_equal(bluelm_rewind(e.engine, 0, NULL), 0);
    test_question(e.engine, "which colour is it?", &second);
    assert_int_equal(second.encode_steps, 0);
    assert_int_equal(bluelm_rewind(e.engine, 0, NULL), 0);
    test_question(e.engine, "how many?", &again);
    assert_true(aid_same(&first, &again));

    assert_int_equal(bluelm_begin_turn(f.engine, BLUELM_USER, NULL), 0);
    assert_true(bluelm_add_image(f.engine, &image, NULL, NULL) > 0);
    assert_int_equal(bluelm_mark(f.engine, 0, NULL), 0); /* text ends here as well */
    test_question(f.engine, "which colour is it?", &alone);
    assert_true(aid_same(&second, &alone));
    test_drop(&image);
    aid_engine_free(&e);
    aid_engine_free(&f);
    aid_model_free(&m);
}

/* The same random calls reach both engines; the first also gets detours: something is added,
 * some steps are done, and it goes back. */
static void test_detour(bluelm *e, const bluelm_image *image, tiny_random *r)
{
    bluelm_event event;
    assert_int_equal(bluelm_mark(e, 0, NULL), 0);
    if (tiny_next(r) % 2) assert_int_equal(bluelm_begin_turn(e, BLUELM_USER, NULL), 0);
    if (tiny_next(r) % 2) assert_true(bluelm_add_image(e, image, NULL, NULL) > 0);
    test_text(e, "a detour");
    if (tiny_next(r) % 2) assert_int_equal(bluelm_generate(e, 5, NULL), 0);
    for (uint64_t steps = tiny_next(r) % 60; steps; steps--)
        assert_true(bluelm_step(e, &event, NULL) >= 0);
    assert_int_equal(bluelm_rewind(e, 0, NULL), 0);
}

static void detours_leave_no_trace(void **state)
{
    (void)state;
    tiny_random r = {tiny_seed((uint64_t)time(NULL))};
    bluelm_config c = {.context_tokens = 1024, .chunk_tokens = 16};
    aid_engine e = aid_engine_default(&c), f = aid_engine_make(&e.model, &c, NULL);
    bluelm_image image = aid_picture(30, 40, 0, 5);
    for (int round = 0; round < 40; round++) {
        bluelm_event event;
        bluelm_reset(e.engine);
        bluelm_reset(f.engine);
        for (int call = 0; call < 6; call++) {
            bluelm *const both[2] = {e.engine, f.engine};
            uint64_t what = tiny_next(&r) % 3, steps = tiny_next(&r) % 20;
            for (int i = 0; i < 2; i++) {
                if (what == 0)
                    assert_int_equal(bluelm_begin_turn(both[i], BLUELM_USER, NULL), 0);
                if (what == 1) assert_true(bluelm_add_image(both[i], &image, NULL, NULL) > 0);
                test_text(both[i], "some words");
                assert_int_equal(bluelm_mark(both[i], 0, NULL), 0);
            }
            for (uint64_t n = steps; n; n--)
                assert_true(bluelm_step(e.engine, &event, NULL) >= 0);
            test_detour(e.engine, &image, &r);
        }
        test_same_logits_at_last(e.engine, f.engine);
    }
    test_drop(&image);
    aid_engine_free(&f);
    aid_engine_free(&e);
}

static void marks_that_are_not_set_are_refused(void **state)
{
    (void)state;
    bluelm_config c = {.marks = 2};
    bluelm_error err;
    aid_engine e = aid_engine_default(&c);
    assert_int_equal(bluelm_rewind(e.engine, 0, &err), BLUELM_E_STATE);
    assert_int_equal(bluelm_mark(e.engine, 2, &err), BLUELM_E_ARG);
    assert_int_equal(err.have, 2);
    test_text(e.engine, "one");
    assert_int_equal(bluelm_mark(e.engine, 0, &err), 0);
    test_text(e.engine, "two");
    assert_int_equal(bluelm_mark(e.engine, 1, &err), 0);
    assert_int_equal(bluelm_rewind(e.engine, 0, &err), 0);
    assert_int_equal(bluelm_rewind(e.engine, 1, &err), BLUELM_E_STATE); /* behind the first */
    assert_int_equal(bluelm_rewind(e.engine, 0, &err), 0);
    bluelm_reset(e.engine);
    assert_int_equal(bluelm_rewind(e.engine, 0, &err), BLUELM_E_STATE);
    aid_engine_free(&e);
    c.marks = BLUELM_NO_MARKS;
    e = aid_engine_default(&c);
    assert_int_equal(e.memory.marks_bytes, 0);
    assert_int_equal(bluelm_mark(e.engine, 0, &err), BLUELM_E_ARG);
    aid_engine_free(&e);
}

static void picture_that_fails_takes_its_turn_alone(void **state)
{
    (void)state;
    static aid_answer failed, after, never;
    aid_model m = aid_model_default();
    aid_engine e = aid_engine_make(&m, NULL, NULL), f = aid_engine_make(&m, NULL, NULL);
    tiny_file file = file_load("fuzz/corpus/image/jpeg-444.jpg");
    bluelm_image image = {.encoded = file.data, .encoded_bytes = file.bytes};
    for (int i = 0; i < 2; i++) {
        bluelm *engine = i ? f.engine : e.engine;
        assert_int_equal(bluelm_begin_turn(engine, BLUELM_USER, NULL), 0);
        test_question(engine, "remember the number seven", i ? &never : &failed);
    }
    assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
    test_text(e.engine, "look:");
    assert_true(bluelm_add_image(e.engine, &image, NULL, NULL) > 0);
    test_text(e.engine, "what is it?");
    assert_int_equal(bluelm_generate(e.engine, 8, NULL), 0);
    memset(file.data, 0, file.bytes); /* it goes bad after it was added */
    aid_run(e.engine, &failed);
    assert_int_equal(failed.code, BLUELM_E_IMAGE);
    for (int i = 0; i < 2; i++) {
        bluelm *engine = i ? f.engine : e.engine;
        assert_int_equal(bluelm_begin_turn(engine, BLUELM_USER, NULL), 0);
        test_question(engine, "which number was it?", i ? &never : &after);
    }
    assert_true(aid_same(&after, &never));
    tiny_free(&file);
    aid_engine_free(&e);
    aid_engine_free(&f);
    aid_model_free(&m);
}

static void picture_encoded_before_equals_the_picture(void **state)
{
    (void)state;
    bluelm_config c = {.tile_rule = BLUELM_TILES_SINGLE};
    aid_engine e = aid_engine_default(&c), f = aid_engine_make(&e.model, &c, NULL);
    bluelm_image image = aid_picture(24, 24, 0, 3);
    float rows[4 * 64];
    assert_int_equal(bluelm_embed_image(f.engine, &image, rows, 4 * 64, NULL), 4 * 64);
    test_text(e.engine, "see ");
    assert_true(bluelm_add_image(e.engine, &image, NULL, NULL) > 0);
    test_text(e.engine, " there");
    test_text(f.engine, "see ");
    assert_int_equal(bluelm_add_image_rows(f.engine, rows, 2, 2, NULL), 0);
    test_text(f.engine, " there");
    test_same_logits_at_last(e.engine, f.engine);
    bluelm_error err;
    assert_int_equal(bluelm_add_image_rows(f.engine, rows, 100, 100, &err), BLUELM_E_ARG);
    assert_int_equal(err.have, 10000);
    assert_int_equal(bluelm_add_image_rows(f.engine, rows, 0, 2, &err), BLUELM_E_ARG);
    test_drop(&image);
    aid_engine_free(&f);
    aid_engine_free(&e);
}

/* Tokens of no meaning, chunk by chunk. */
static void test_tokens(bluelm *e, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) {
        int32_t token = (int32_t)(3 + i * 31 % 300);
        assert_int_equal(bluelm_add_tokens(e, &token, 1, NULL), 0);
    }
}

/* Convolutions, delta nets and windows cannot be cut back: they go back by a copy. */
static void families_with_states_go_back_to_the_bit(void **state)
{
    (void)state;
    static const char *const names[] = {"lfm2-q4_0", "qwen35-q8_0", "gemma3-q8_0", "qwen3-q4_0",
                                        "gemma3-q4_0"};
    uint32_t seen = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.gguf", names[i]);
        tiny_file file = file_reference("families", "llm2", name);
        if (!file.data) continue;
        seen++;
        static aid_answer ignored;
        aid_model m = {.llm = file};
        m.weights.llm = file.data, m.weights.llm_bytes = file.bytes;
        bluelm_config c = {.context_tokens = 256, .chunk_tokens = 16};
        aid_engine e = aid_engine_make(&m, &c, NULL), f = aid_engine_make(&m, &c, NULL);
        test_tokens(e.engine, 0, 41);
        assert_int_equal(bluelm_mark(e.engine, 0, NULL), 0);
        test_tokens(e.engine, 1000, 70); /* more than a window */
        aid_run(e.engine, &ignored);
        assert_int_equal(bluelm_rewind(e.engine, 0, NULL), 0);
        test_tokens(f.engine, 0, 41);
        test_same_logits_at_last(e.engine, f.engine);
        test_tokens(e.engine, 200, 30);
        test_tokens(f.engine, 200, 30);
        test_same_logits_at_last(e.engine, f.engine);
        aid_engine_free(&e);
        aid_engine_free(&f);
        free(file.data);
    }
    if (!seen) printf("    skipped: no ../shared/reference/llm2\n");
}

/* ---- Beside an embedding -------------------------------------------------------------------- */

/* Going back cancels it, whatever it wiped of a picture of the queue. */
static void rewinding_cancels_an_embedding(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    aid_engine e = aid_engine_make(&m, &(bluelm_config){.context_tokens = 256}, NULL);
    bluelm_image image = aid_picture(30, 40, 0, 5);
    static float rows[64 * 64];
    bluelm_event event;
    bluelm_error err;
    assert_int_equal(bluelm_mark(e.engine, 0, NULL), 0);
    assert_int_equal(bluelm_embed_begin(e.engine, &image, NULL), 0);
    assert_int_equal(bluelm_add_image_rows(e.engine, rows, 2, 1, NULL), 0);
    assert_int_equal(bluelm_rewind(e.engine, 0, NULL), 0);
    assert_int_equal(bluelm_step(e.engine, &event, &err), 0);
    assert_int_equal(event.type, BLUELM_EVENT_IDLE);
    assert_int_equal(bluelm_embed_rows(e.engine, rows, 64 * 64, &err), BLUELM_E_STATE);
    test_drop(&image);
    aid_engine_free(&e);
    aid_model_free(&m);
}

static void embedding_amid_an_answer_changes_neither(void **state)
{
    (void)state;
    const bluelm_config c = {.context_tokens = 256};
    aid_engine e = aid_engine_default(&c), f = aid_engine_make(&e.model, &c, NULL);
    bluelm_image image = aid_picture(30, 40, 0, 5);
    static float rows[2][64 * 64];
    bluelm_event event, other;
    bluelm *const both[2] = {e.engine, f.engine};
    for (int i = 0; i < 2; i++) {
        test_text(both[i], "some words");
        assert_int_equal(bluelm_generate(both[i], 9, NULL), 0);
        do
            assert_int_equal(bluelm_step(both[i], &event, NULL), 1);
        while (event.type != BLUELM_EVENT_TOKEN);
    }
    assert_int_equal(bluelm_embed_begin(e.engine, &image, NULL), 0);
    do
        assert_int_equal(bluelm_step(e.engine, &event, NULL), 1);
    while (event.done != event.total);
    int64_t floats = bluelm_embed_rows(e.engine, rows[0], 64 * 64, NULL);
    assert_true(floats > 0);
    for (int more = 1; more;) {
        more = bluelm_step(e.engine, &event, NULL);
        assert_int_equal(bluelm_step(f.engine, &other, NULL), more);
        assert_int_equal(event.type, other.type);
        assert_int_equal(event.token, other.token);
    }
    bluelm_reset(f.engine);
    assert_int_equal(bluelm_embed_image(f.engine, &image, rows[1], 64 * 64, NULL), floats);
    assert_memory_equal(rows[0], rows[1], (size_t)floats * sizeof(float));
    test_drop(&image);
    aid_engine_free(&f);
    aid_engine_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_question_costs_no_second_encoding),
        cmocka_unit_test(detours_leave_no_trace),
        cmocka_unit_test(marks_that_are_not_set_are_refused),
        cmocka_unit_test(picture_that_fails_takes_its_turn_alone),
        cmocka_unit_test(picture_encoded_before_equals_the_picture),
        cmocka_unit_test(families_with_states_go_back_to_the_bit),
        cmocka_unit_test(rewinding_cancels_an_embedding),
        cmocka_unit_test(embedding_amid_an_answer_changes_neither),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
