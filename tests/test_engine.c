/* The engine as its caller sees it, step by step: a picture, a question, an answer, with
 * input between any two steps; and calls that do not fit the model. Words, the context,
 * answers and pictures have tests of their own (test_engine_*.c). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine_check.h"
#include "file_aid.h"

/* ---- Steps -------------------------------------------------------------------------------- */

/* 4 x 2 tiles and a thumbnail in batches of 4, a prompt in chunks of 8. */
static void every_step_is_one_layer_of_one_batch_or_chunk(void **state)
{
    (void)state;
    static aid_answer a;
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(96, 48, 0, 1);
    bluelm_tile_grid grid;
    c.chunk_tokens = 8;
    aid_engine e = aid_engine_default(&c);
    assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
    assert_int_equal(bluelm_add_image(e.engine, &image, &grid, NULL), 9);
    assert_int_equal(grid.columns, 4);
    assert_int_equal(grid.rows, 2);
    assert_int_equal(grid.tokens, 36);
    test_text(e.engine, question);
    aid_run(e.engine, &a);
    uint32_t tokens = e.engine->input.count;
    assert_int_equal(a.encode_steps, 3 * 2);
    assert_int_equal(a.encode_total, 9 * 2);
    assert_int_equal(a.prefill_steps, (tokens + 7) / 8 * 2);
    assert_int_equal(a.prefill_total, tokens * 2);
    /* The answer is a step a token, after the prompt's last words; the next prompt's
     * progress counts that prompt alone, with the token the answer ended with. */
    aid_ask(e.engine, 5, &a);
    assert_int_equal(a.count, 5);
    tokens = e.engine->input.count;
    test_turn(e.engine, question);
    aid_run(e.engine, &a);
    assert_int_equal(a.prefill_total, (e.engine->input.count - tokens + 1) * 2);
    aid_engine_free(&e);
    test_drop(&image);
}

/* The picture is encoded and read while the user still types. */
static void picture_read_before_the_question_gives_the_same_answer(void **state)
{
    (void)state;
    static aid_answer at_once, first, then;
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(50, 70, 0, 4);
    aid_engine e = aid_engine_default(&c);
    test_job(e.engine, &image, &at_once);
    bluelm_reset(e.engine);
    assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
    test_image(e.engine, &image);
    aid_run(e.engine, &first);
    assert_int_equal(first.encode_steps, at_once.encode_steps);
    uint32_t read = e.engine->read_tokens;
    assert_int_equal(read, e.engine->input.count);
    test_text(e.engine, question);
    aid_ask(e.engine, 12, &then);
    assert_int_equal(then.encode_steps, 0);
    assert_true(aid_same(&at_once, &then));
    /* All that was left to read is the question and the answer's opening. */
    assert_int_equal(then.prefill_total, (e.engine->input.count - then.count - read) * 2);
    aid_engine_free(&e);
    test_drop(&image);
}

/* Input that comes between any two steps: the result is that of input at once. */
static void input_between_any_two_steps_changes_nothing(void **state)
{
    (void)state;
    static aid_answer at_once, stepped;
    bluelm_config c = test_config();
    bluelm_image one = aid_picture(96, 48, 0, 1), two = aid_picture(20, 60, 0, 2);
    bluelm_event event;
    const struct {
        const char *turn, *text;
        const bluelm_image *image;
    } parts[] = {
        {.turn = "this is the cat you see in the image"},
        {.image = &one},
        {.text = "in the image"},
        {.image = &two},
        {.image = &one},
        {.text = question},
        {.turn = "the cat"},
        {.image = &two},
    };
    c.chunk_tokens = 16;
    aid_engine e = aid_engine_default(&c);
    for (uint32_t steps = 0; steps < 12; steps++) {
        bluelm_reset(e.engine);
        for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
            if (parts[part].turn) test_turn(e.engine, parts[part].turn);
            if (parts[part].text) test_text(e.engine, parts[part].text);
            if (parts[part].image) test_image(e.engine, parts[part].image);
            for (uint32_t i = 0; i < steps; i++)
                assert_true(bluelm_step(e.engine, &event, NULL) >= 0);
        }
        aid_ask(e.engine, 10, steps ? &stepped : &at_once);
        assert_int_equal(at_once.count, 10);
        if (steps) assert_true(aid_same(&at_once, &stepped));
    }
    aid_engine_free(&e);
    test_drop(&one);
    test_drop(&two);
}

static void job_cancelled_at_any_step_leaves_no_trace(void **state)
{
    (void)state;
    static aid_answer fresh, after;
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(96, 48, 0, 1), other = aid_picture(70, 71, 0, 9);
    bluelm_event event;
    c.chunk_tokens = 16;
    aid_engine e = aid_engine_default(&c);
    test_job(e.engine, &image, &fresh);
    int more = 1;
    for (uint32_t steps = 0; more && steps < 100; steps++) {
        bluelm_reset(e.engine);
        test_turn(e.engine, "the cat");
        test_image(e.engine, &other);
        test_image(e.engine, &image);
        assert_int_equal(bluelm_generate(e.engine, 5, NULL), 0);
        for (uint32_t i = 0; more && i < steps; i++)
            more = bluelm_step(e.engine, &event, NULL);
        bluelm_reset(e.engine);
        test_job(e.engine, &image, &after);
        assert_true(aid_same(&fresh, &after));
    }
    assert_int_equal(more, 0); /* it went through to the end */
    aid_engine_free(&e);
    test_drop(&image);
    test_drop(&other);
}

/* ---- What does not fit together ---------------------------------------------------------------- */

static void file_of_a_vocabulary_alone_tokenizes(void **state)
{
    (void)state;
    aid_model m = {.llm = file_load("tests/data/ggml-vocab-phi-3.gguf")};
    m.weights.llm = m.llm.data, m.weights.llm_bytes = m.llm.bytes;
    aid_engine e = aid_engine_make(&m, NULL, NULL);
    int32_t ids[16];
    assert_int_equal(bluelm_tokenize(e.engine, "Hello world", 11, 0, ids, 16, NULL), 2);
    for (uint32_t i = 0, n = e.engine->vocab.n_tokens; i < n; i++) {
        if (test_type(e.engine, (int32_t)i) != BLM_TOKEN_CONTROL) continue;
        blm_string piece = blm_pieces_text(&e.engine->vocab.pieces, i);
        int64_t count =
            bluelm_tokenize(e.engine, piece.text, (size_t)piece.bytes, 0, ids, 16, NULL);
        for (int64_t k = 0; k < count && k < 16; k++)
            assert_int_not_equal(test_type(e.engine, ids[k]), BLM_TOKEN_CONTROL);
        assert_int_equal(
            bluelm_tokenize(e.engine, piece.text, (size_t)piece.bytes, 1, ids, 16, NULL), 1);
        assert_int_equal(ids[0], i);
    }
    aid_engine_free(&e);
    aid_model_free(&m);
}

static void file_of_a_vocabulary_alone_holds_no_conversation(void **state)
{
    (void)state;
    aid_model m = {.llm = file_load("tests/data/ggml-vocab-phi-3.gguf")};
    bluelm_error err;
    bluelm_event event;
    bluelm_info info;
    uint32_t n_vocab = 7;
    int32_t id = 5;
    m.weights.llm = m.llm.data, m.weights.llm_bytes = m.llm.bytes;
    aid_engine e = aid_engine_make(&m, NULL, NULL);
    assert_int_equal(bluelm_describe(&m.weights, &info, NULL), 0);
    assert_string_equal(info.architecture, "none");
    test_error(bluelm_add_text(e.engine, "a", 1, &err), BLUELM_E_STATE, &err, "vocabulary");
    test_error(bluelm_add_markup(e.engine, "a", 1, &err), BLUELM_E_STATE, &err, "vocabulary");
    test_error(bluelm_add_tokens(e.engine, &id, 1, &err), BLUELM_E_STATE, &err, "vocabulary");
    assert_true(bluelm_begin_turn(e.engine, BLUELM_USER, NULL) < 0);
    assert_true(bluelm_begin_turn(e.engine, BLUELM_USER, &err) < 0);
    assert_int_equal(bluelm_generate(e.engine, 1, &err), BLUELM_E_STATE);
    assert_int_equal(bluelm_step(e.engine, &event, NULL), 0);
    assert_int_equal(event.type, BLUELM_EVENT_IDLE);
    assert_null(bluelm_logits(e.engine, &n_vocab));
    bluelm_reset(e.engine);
    aid_engine_free(&e);
    aid_model_free(&m);
}

static void calls_that_do_not_fit_the_model_are_refused(void **state)
{
    (void)state;
    tiny_llm_config llm = tiny_llm_default();
    llm.no_template = 1;
    aid_model m = aid_model_make(&llm, NULL);
    bluelm_config c = test_config();
    bluelm_error err;
    bluelm_event event;
    bluelm_tile_grid grid;
    uint32_t n_vocab;
    float f;
    bluelm_image image = aid_picture(30, 41, 0, 5);
    aid_engine e = aid_engine_make(&m, &c, NULL);
    assert_null(bluelm_logits(e.engine, &n_vocab));
    assert_int_equal(bluelm_step(e.engine, &event, NULL), 0);
    test_error(bluelm_generate(e.engine, 1, &err), BLUELM_E_STATE, &err, "generate");
    test_error(bluelm_begin_turn(e.engine, BLUELM_USER, &err), BLUELM_E_UNSUPPORTED, &err,
               "template");
    test_error(bluelm_begin_turn(e.engine, (bluelm_role)3, &err), BLUELM_E_ARG, &err, "role");
    test_error(bluelm_add_image(e.engine, &image, NULL, &err), BLUELM_E_STATE, &err, "mmproj");
    test_error((int)bluelm_embed_image(e.engine, &image, &f, 1, &err), BLUELM_E_STATE, &err,
               "mmproj");
    test_error(bluelm_tile_plan(&m.weights, &c, 10, 10, &grid, &err), BLUELM_E_STATE, &err,
               "mmproj");
    const int32_t wrong[] = {5, 384, -1, INT32_MIN};
    for (uint32_t i = 1; i < 4; i++) {
        const int32_t ids[] = {wrong[0], wrong[i]};
        test_error(bluelm_add_tokens(e.engine, ids, 2, &err), BLUELM_E_ARG, &err, "token");
        assert_int_equal(e.engine->input.count, 0);
    }
    assert_int_equal(bluelm_add_tokens(e.engine, NULL, 0, NULL), 0);
    test_text(e.engine, "completion needs no template");
    static aid_answer a;
    aid_ask(e.engine, 4, &a);
    assert_int_equal(a.count, 4);
    aid_engine_free(&e);
    aid_model_free(&m);
    test_drop(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_is_one_layer_of_one_batch_or_chunk),
        cmocka_unit_test(picture_read_before_the_question_gives_the_same_answer),
        cmocka_unit_test(input_between_any_two_steps_changes_nothing),
        cmocka_unit_test(job_cancelled_at_any_step_leaves_no_trace),
        cmocka_unit_test(file_of_a_vocabulary_alone_tokenizes),
        cmocka_unit_test(file_of_a_vocabulary_alone_holds_no_conversation),
        cmocka_unit_test(calls_that_do_not_fit_the_model_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
