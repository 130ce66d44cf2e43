/* Answers: where they end, how their text streams, sampling, turns after one another, answers
 * asked for in parts or interrupted. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "engine_check.h"

/* [|AI|]: -> 日 in three byte tokens, a piece, half a character that its neighbour breaks
 * off, the end in the middle of another. */
static const int32_t test_script[] = {
    TINY_AI,           TINY_BYTE0 + 0xE6, TINY_BYTE0 + 0x97, TINY_BYTE0 + 0xA5, TINY_PIECES + 2,
    TINY_BYTE0 + 0xC3, TINY_BYTE0 + 'h',  TINY_BYTE0 + 0xF0, TINY_BYTE0 + 0x9F, TINY_EOS,
};
#define SCRIPT_COUNT (sizeof test_script / sizeof *test_script)

static void answer_ends_where_the_model_ends_it(void **state)
{
    (void)state;
    static aid_answer a;
    bluelm_config c = test_config();
    aid_engine e = aid_engine_scripted(&c, test_script, SCRIPT_COUNT);
    test_turn(e.engine, question);
    aid_ask(e.engine, 0, &a);
    assert_int_equal(a.end_reason, BLUELM_END_OF_TURN);
    assert_int_equal(a.count, SCRIPT_COUNT - 2);
    assert_memory_equal(a.tokens, test_script + 1, a.count * sizeof *a.tokens);
    /* The end wins over max_tokens only if it comes first. */
    bluelm_reset(e.engine);
    test_turn(e.engine, question);
    aid_ask(e.engine, SCRIPT_COUNT - 2, &a);
    assert_int_equal(a.end_reason, BLUELM_END_MAX_TOKENS);
    bluelm_reset(e.engine);
    test_turn(e.engine, question);
    aid_ask(e.engine, SCRIPT_COUNT - 1, &a);
    assert_int_equal(a.end_reason, BLUELM_END_OF_TURN);
    aid_engine_free(&e);
}

static void streamed_text_is_whole_characters(void **state)
{
    (void)state;
    static aid_answer a;
    bluelm_config c = test_config();
    aid_engine e = aid_engine_scripted(&c, test_script, SCRIPT_COUNT);
    char piece[32];
    int64_t n = bluelm_detokenize(e.engine, test_script[4], piece, sizeof piece - 1, NULL);
    assert_true(n > 0);
    piece[n] = 0;
    char expected[64];
    snprintf(expected, sizeof expected, "\xE6\x97\xA5%s\xEF\xBF\xBDh\xEF\xBF\xBD", piece);
    test_turn(e.engine, question);
    aid_ask(e.engine, 0, &a); /* which checks every event */
    assert_int_equal(a.text_bytes, strlen(expected));
    assert_memory_equal(a.text, expected, a.text_bytes);
    aid_engine_free(&e);
}

/* Uniform draws: byte tokens in every wrong order. */
static void random_text_is_valid_utf8_at_every_event(void **state)
{
    (void)state;
    static aid_answer a;
    bluelm_config c = test_config();
    bluelm_sampling s = {0};
    uint32_t ended = 0;
    c.context_tokens = 400;
    s.temperature = 1e6f;
    aid_engine e = aid_engine_default(&c);
    for (s.seed = 0; s.seed < 8; s.seed++) {
        assert_int_equal(bluelm_set_sampling(e.engine, &s, NULL), 0);
        bluelm_reset(e.engine);
        test_turn(e.engine, question);
        aid_ask(e.engine, 0, &a); /* which checks every event */
        assert_true(aid_utf8_valid(a.text, a.text_bytes));
        ended += a.end_reason == BLUELM_END_OF_TURN;
    }
    assert_true(ended > 0 && ended < 8);
    aid_engine_free(&e);
}

static void same_seed_same_text_and_another_seed_another(void **state)
{
    (void)state;
    static aid_answer a, b;
    bluelm_config c = test_config();
    bluelm_sampling s = {0};
    aid_engine e = aid_engine_default(&c);
    s.temperature = 1;
    for (uint64_t seed = 0; seed < 3; seed++) {
        for (int again = 0; again < 2; again++) {
            s.seed = seed;
            assert_int_equal(bluelm_set_sampling(e.engine, &s, NULL), 0);
            bluelm_reset(e.engine);
            test_turn(e.engine, question);
            aid_ask(e.engine, 24, again ? &b : &a);
        }
        assert_true(aid_same(&a, &b));
        s.seed = seed + 100;
        assert_int_equal(bluelm_set_sampling(e.engine, &s, NULL), 0);
        bluelm_reset(e.engine);
        test_turn(e.engine, question);
        aid_ask(e.engine, 24, &b);
        assert_false(aid_same(&a, &b));
    }
    aid_engine_free(&e);
}

static void wrong_sampling_is_refused_by_name(void **state)
{
    (void)state;
    bluelm_config c = test_config();
    bluelm_error err;
    aid_engine e = aid_engine_default(&c);
    const struct {
        const char *name;
        size_t field;
        float wrong;
    } fields[] = {
        {"temperature", offsetof(bluelm_sampling, temperature), -1.0f},
        {"top_p", offsetof(bluelm_sampling, top_p), 1.5f},
        {"min_p", offsetof(bluelm_sampling, min_p), -0.5f},
        {"repeat_penalty", offsetof(bluelm_sampling, repeat_penalty), -2.0f},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        bluelm_sampling s = {0};
        memcpy((char *)&s + fields[i].field, &fields[i].wrong, sizeof(float));
        test_error(bluelm_set_sampling(e.engine, &s, &err), BLUELM_E_ARG, &err, fields[i].name);
        char line[200], number[24];
        bluelm_error_text(&err, line, sizeof line);
        snprintf(number, sizeof number, "%.3f", (double)fields[i].wrong);
        assert_non_null(strstr(line, number));
        assert_int_equal(bluelm_set_sampling(e.engine, &s, NULL), BLUELM_E_ARG);
    }
    aid_engine_free(&e);
}

/* Three turns one after the other, then their tokens at once on another engine. */
static void several_turns_equal_one_prompt_of_the_same_tokens(void **state)
{
    (void)state;
    static aid_answer turn, whole;
    bluelm_config c = test_config();
    aid_engine e = aid_engine_default(&c), f = aid_engine_make(&e.model, &c, NULL);
    assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_SYSTEM, NULL), 0);
    test_text(e.engine, "you see");
    for (uint32_t i = 0; i < 3; i++) {
        test_turn(e.engine, question);
        aid_ask(e.engine, 6 + i, &turn);
        assert_int_equal(turn.end_reason, BLUELM_END_MAX_TOKENS);
    }
    uint32_t prompt = e.engine->input.count - turn.count;
    assert_int_equal(bluelm_add_tokens(f.engine, e.engine->input.tokens, prompt, NULL), 0);
    aid_ask(f.engine, 8, &whole);
    assert_int_equal(whole.count, turn.count);
    assert_memory_equal(whole.tokens, turn.tokens, turn.count * sizeof *turn.tokens);
    aid_run(e.engine, &turn); /* reads the last token made */
    aid_run(f.engine, &whole);
    test_same_logits(e.engine, f.engine);
    aid_engine_free(&f);
    aid_engine_free(&e);
}

/* Asks for an answer a token at a time. */
static void test_ask_by_ones(bluelm *e, uint32_t max_tokens, aid_answer *whole)
{
    static aid_answer one;
    memset(whole, 0, sizeof *whole);
    do {
        aid_ask(e, 1, &one);
        memcpy(whole->tokens + whole->count, one.tokens, one.count * sizeof *one.tokens);
        memcpy(whole->text + whole->text_bytes, one.text, one.text_bytes);
        whole->count += one.count;
        whole->text_bytes += one.text_bytes;
    } while (one.count && whole->count < max_tokens);
    whole->code = one.code;
    whole->end_reason = one.end_reason;
}

/* Words that begin with a space, and characters of several tokens. */
static void scripted_answer_by_single_tokens_is_the_answer_at_once(void **state)
{
    (void)state;
    static aid_answer ones, all;
    bluelm_config c = test_config();
    aid_engine e = aid_engine_scripted(&c, test_script, SCRIPT_COUNT);
    test_turn(e.engine, question);
    aid_ask(e.engine, 0, &all);
    bluelm_reset(e.engine);
    test_turn(e.engine, question);
    test_ask_by_ones(e.engine, 1000, &ones);
    assert_true(aid_same(&ones, &all));
    aid_engine_free(&e);
}

/* Anything that a model may say, without a turn and in one. */
static void random_answer_by_single_tokens_is_the_answer_at_once(void **state)
{
    (void)state;
    static aid_answer ones, all;
    bluelm_config c = test_config();
    aid_engine e = aid_engine_default(&c);
    for (uint64_t seed = 1; seed < 20; seed++) {
        bluelm_sampling sampling = {.temperature = 50, .seed = seed};
        for (int round = 0; round < 2; round++) {
            bluelm_reset(e.engine);
            assert_int_equal(bluelm_set_sampling(e.engine, &sampling, NULL), 0);
            if (seed % 2)
                test_turn(e.engine, question);
            else
                test_text(e.engine, question);
            if (round)
                test_ask_by_ones(e.engine, 40, &ones);
            else
                aid_ask(e.engine, 40, &all);
        }
        assert_true(aid_same(&ones, &all));
    }
    aid_engine_free(&e);
}

/* "the" and " cat" continue as text what was text; a turn's answer begins without the
 * space that only stands for the word's beginning. */
static void only_an_answer_that_begins_a_turn_loses_its_first_space(void **state)
{
    (void)state;
    static aid_answer a;
    bluelm_config c = test_config();
    int32_t space = -1, script[3];
    aid_engine e = aid_engine_default(&c);
    for (uint32_t i = TINY_PIECES; i < e.engine->vocab.n_tokens && space < 0; i++) {
        blm_string piece = blm_pieces_text(&e.engine->vocab.pieces, i);
        if (piece.bytes > 3 && !memcmp(piece.text, "\xE2\x96\x81", 3)) space = (int32_t)i;
    }
    assert_true(space > 0);
    aid_engine_free(&e);
    script[0] = TINY_AI, script[1] = space, script[2] = TINY_EOS;
    e = aid_engine_scripted(&c, script, 3);
    test_turn(e.engine, "x");
    aid_ask(e.engine, 0, &a);
    assert_int_equal(a.count, 1);
    assert_true(a.text_bytes && a.text[0] != ' ');
    bluelm_reset(e.engine);
    assert_int_equal(bluelm_add_tokens(e.engine, script, 1, NULL), 0);
    aid_ask(e.engine, 0, &a);
    assert_int_equal(a.count, 1);
    assert_true(a.text_bytes > 1 && a.text[0] == ' ');
    aid_engine_free(&e);
}

/* max_tokens cuts an answer, generate goes on with it. */
static void answer_in_parts_equals_the_answer_at_once(void **state)
{
    (void)state;
    static aid_answer part, all;
    bluelm_config c = test_config();
    aid_engine e = aid_engine_default(&c);
    test_turn(e.engine, question);
    aid_ask(e.engine, 12, &all);
    bluelm_reset(e.engine);
    test_turn(e.engine, question);
    for (uint32_t i = 0; i < 12; i += part.count) {
        aid_ask(e.engine, 3, &part);
        assert_int_equal(part.count, 3);
        assert_memory_equal(part.tokens, all.tokens + i, 3 * sizeof *all.tokens);
    }
    aid_engine_free(&e);
}

/* Text after an interrupted answer continues the conversation, which keeps its tokens. */
static void input_interrupts_an_answer(void **state)
{
    (void)state;
    static aid_answer a, b;
    bluelm_event event;
    bluelm_config c = test_config();
    aid_engine e = aid_engine_default(&c), f = aid_engine_make(&e.model, &c, NULL);
    test_turn(e.engine, question);
    assert_int_equal(bluelm_generate(e.engine, 0, NULL), 0);
    for (uint32_t tokens = 0; tokens < 5;) {
        assert_int_equal(bluelm_step(e.engine, &event, NULL), 1);
        tokens += event.type == BLUELM_EVENT_TOKEN;
    }
    test_turn(e.engine, "the cat");
    aid_run(e.engine, &a);
    assert_int_equal(a.count, 0);
    assert_int_equal(a.end_reason, -1);
    assert_int_equal(
        bluelm_add_tokens(f.engine, e.engine->input.tokens, e.engine->input.count, NULL), 0);
    aid_run(f.engine, &b);
    test_same_logits(e.engine, f.engine);
    aid_engine_free(&f);
    aid_engine_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_ends_where_the_model_ends_it),
        cmocka_unit_test(streamed_text_is_whole_characters),
        cmocka_unit_test(random_text_is_valid_utf8_at_every_event),
        cmocka_unit_test(same_seed_same_text_and_another_seed_another),
        cmocka_unit_test(wrong_sampling_is_refused_by_name),
        cmocka_unit_test(several_turns_equal_one_prompt_of_the_same_tokens),
        cmocka_unit_test(scripted_answer_by_single_tokens_is_the_answer_at_once),
        cmocka_unit_test(random_answer_by_single_tokens_is_the_answer_at_once),
        cmocka_unit_test(only_an_answer_that_begins_a_turn_loses_its_first_space),
        cmocka_unit_test(answer_in_parts_equals_the_answer_at_once),
        cmocka_unit_test(input_interrupts_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
