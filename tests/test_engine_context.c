/* The context as it fills: what does not fit is refused and nothing that waits is lost. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine_check.h"

/* Every call that does not fit. Returns how many there were. */
static uint32_t test_refused(bluelm *e, const bluelm_image *image, const char *words)
{
    bluelm_error err;
    int32_t ids[100];
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 100; i++)
        ids[i] = TINY_PIECES;
    test_error(bluelm_add_text(e, words, strlen(words), &err), BLUELM_E_CONTEXT, &err,
               "context");
    assert_true(err.need > err.have);
    assert_int_equal(bluelm_add_text(e, words, strlen(words), NULL), BLUELM_E_CONTEXT);
    test_error(bluelm_add_markup(e, words, strlen(words), &err), BLUELM_E_CONTEXT, &err,
               "context");
    test_error(bluelm_add_tokens(e, ids, 100, &err), BLUELM_E_CONTEXT, &err, "context");
    refused += 3;
    if (image) {
        test_error(bluelm_add_image(e, image, NULL, &err), BLUELM_E_CONTEXT, &err, "context");
        assert_int_equal(bluelm_add_image(e, image, NULL, NULL), BLUELM_E_CONTEXT);
        refused++;
    }
    return refused;
}

static void context_full_loses_nothing(void **state)
{
    (void)state;
    static aid_answer with, without;
    static char words[600];
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(30, 30, 0, 1);
    memset(words, 'q', sizeof words - 1);
    c.context_tokens = 48, c.text_bytes = 1024;
    aid_engine e = aid_engine_default(&c);
    /* So many tokens that three are left: a picture takes four. */
    static const char fill[] = "this is the cat you see in the image, this is what";
    test_turn(e.engine, fill);
    aid_run(e.engine, &with);
    uint32_t marks = 48 - 3 - e.engine->input.count;
    assert_true(marks < 40);
    for (uint32_t steps = 0; steps < 4; steps++) {
        bluelm_event event;
        for (int refuse = 0; refuse < 2; refuse++) {
            bluelm_reset(e.engine);
            test_turn(e.engine, fill);
            for (uint32_t i = 0; i < marks; i++)
                test_text(e.engine, "!");
            for (uint32_t i = 0; i < steps; i++)
                assert_true(bluelm_step(e.engine, &event, NULL) >= 0);
            if (refuse) assert_int_equal(test_refused(e.engine, &image, words), 4);
            test_text(e.engine, "?");
            aid_ask(e.engine, 4, refuse ? &with : &without);
        }
        assert_true(with.count > 0);
        assert_true(aid_same(&with, &without));
    }
    aid_engine_free(&e);
    test_drop(&image);
}

/* A refused call in the middle of an answer does not end it. */
static void refused_input_does_not_end_an_answer(void **state)
{
    (void)state;
    static aid_answer all;
    static char words[600];
    bluelm_config c = test_config();
    bluelm_event event;
    memset(words, 'q', sizeof words - 1);
    c.context_tokens = 64, c.text_bytes = 1024;
    aid_engine e = aid_engine_default(&c);
    test_turn(e.engine, question);
    aid_ask(e.engine, 10, &all);
    assert_int_equal(all.count, 10);

    bluelm_reset(e.engine);
    test_turn(e.engine, question);
    assert_int_equal(bluelm_generate(e.engine, 10, NULL), 0);
    uint32_t made = 0;
    while (bluelm_step(e.engine, &event, NULL) > 0) {
        if (event.type == BLUELM_EVENT_TOKEN) assert_int_equal(event.token, all.tokens[made++]);
        test_refused(e.engine, NULL, words);
        assert_true(bluelm_begin_turn(e.engine, (bluelm_role)9, NULL) == BLUELM_E_ARG);
    }
    assert_int_equal(event.type, BLUELM_EVENT_END);
    assert_int_equal(made, 10);
    aid_engine_free(&e);
}

static void test_template(tiny_writer *w, void *name)
{
    tiny_key_string(w, "bluelm.chat.template", (const char *)name);
}

/* The template drops the spaces at a turn's end and writes its own text over them. */
static void refused_turn_leaves_the_waiting_text_alone(void **state)
{
    (void)state;
    char name[] = "llama-2-strip";
    static aid_answer with, without;
    tiny_llm_config llm = tiny_llm_default();
    llm.no_template = 1, llm.extra = test_template, llm.extra_user = name;
    aid_model m = aid_model_make(&llm, NULL);
    bluelm_config c = test_config();
    bluelm_error err;
    c.context_tokens = 17, c.text_bytes = 1024;
    aid_engine e = aid_engine_make(&m, &c, NULL);
    for (int refuse = 0; refuse < 2; refuse++) {
        bluelm_reset(e.engine);
        test_turn(e.engine, "  the cat            \n\t  ");
        if (refuse) {
            test_error(bluelm_begin_turn(e.engine, BLUELM_USER, &err), BLUELM_E_CONTEXT, &err,
                       "context");
            test_error(bluelm_generate(e.engine, 1, &err), BLUELM_E_CONTEXT, &err, "context");
        }
        test_text(e.engine, "a");
        /* The text as it waits, from its first letter. */
        const blm_input *in = &e.engine->input;
        assert_true(in->text_bytes > 20);
        assert_memory_equal(in->text + in->text_bytes - 26, "] the cat            \n\t  a", 26);
        aid_run(e.engine, refuse ? &with : &without);
    }
    assert_true(aid_same(&with, &without));
    aid_engine_free(&e);
    aid_model_free(&m);
}

static void answer_runs_until_the_context_is_full(void **state)
{
    (void)state;
    static aid_answer a;
    bluelm_config c = test_config();
    bluelm_stats stats;
    c.context_tokens = 40;
    aid_engine e = aid_engine_default(&c);
    test_turn(e.engine, question);
    aid_ask(e.engine, 0, &a);
    assert_int_equal(a.end_reason, BLUELM_END_CONTEXT);
    bluelm_get_stats(e.engine, &stats);
    assert_int_equal(stats.context_used_tokens, 40);
    assert_int_equal(stats.context_tokens, 40);
    assert_int_equal(stats.prefill_tokens + a.count, 40);
    /* Asking again makes nothing more, and loses nothing. */
    aid_ask(e.engine, 0, &a);
    assert_int_equal(a.end_reason, BLUELM_END_CONTEXT);
    assert_int_equal(a.count, 0);
    bluelm_reset(e.engine);
    test_turn(e.engine, question);
    aid_ask(e.engine, 3, &a);
    assert_int_equal(a.end_reason, BLUELM_END_MAX_TOKENS);
    assert_int_equal(a.count, 3);
    aid_engine_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_full_loses_nothing),
        cmocka_unit_test(refused_input_does_not_end_an_answer),
        cmocka_unit_test(refused_turn_leaves_the_waiting_text_alone),
        cmocka_unit_test(answer_runs_until_the_context_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
