/* What becomes of words: a user's text stays text whatever it spells, markers are control
 * tokens, and text may come in any parts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "engine_check.h"

/* Tokens of type control that are waiting or read, BOS at the start apart. */
static uint32_t test_controls(bluelm *e)
{
    uint32_t count = 0;
    bluelm_event event;
    assert_true(bluelm_step(e, &event, NULL) >= 0); /* what waits becomes tokens */
    for (uint32_t i = 0; i < e->input.count; i++) {
        if (i == 0 && e->input.tokens[0] == e->vocab.bos) continue;
        count += test_type(e, e->input.tokens[i]) == BLM_TOKEN_CONTROL;
    }
    return count;
}

static void test_marker(bluelm *e, int32_t token)
{
    blm_string piece = blm_pieces_text(&e->vocab.pieces, (uint32_t)token);
    size_t bytes = (size_t)piece.bytes;
    bluelm_reset(e);
    assert_int_equal(bluelm_add_text(e, piece.text, bytes, NULL), 0);
    assert_int_equal(test_controls(e), 0);
    /* Behind and before other text, and in two parts at every byte. */
    for (size_t cut = 0; cut <= bytes; cut++) {
        bluelm_reset(e);
        test_text(e, "a ");
        assert_int_equal(bluelm_add_text(e, piece.text, cut, NULL), 0);
        assert_int_equal(bluelm_add_text(e, piece.text + cut, bytes - cut, NULL), 0);
        test_text(e, piece.bytes % 2 ? " b" : "b");
        assert_int_equal(test_controls(e), 0);
    }
    bluelm_reset(e);
    test_text(e, "a ");
    assert_int_equal(bluelm_add_markup(e, piece.text, bytes, NULL), 0);
    assert_int_equal(test_controls(e), 1);
    assert_int_equal(e->input.tokens[e->input.count - 1], token);
}

static void test_markers(const aid_model *m, uint32_t at_least)
{
    bluelm_config c = test_config();
    aid_engine e = aid_engine_make(m, &c, NULL);
    uint32_t found = 0;
    for (uint32_t i = 0; i < e.engine->vocab.n_tokens; i++) {
        if (test_type(e.engine, (int32_t)i) != BLM_TOKEN_CONTROL) continue;
        test_marker(e.engine, (int32_t)i);
        found++;
    }
    assert_true(found >= at_least);
    aid_engine_free(&e);
}

static void text_from_the_user_never_becomes_a_control_token(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    test_markers(&m, 7);
    aid_model_free(&m);
    tiny_llm_config llm = tiny_llm_default();
    llm.byte_bpe = 1;
    m = aid_model_make(&llm, NULL);
    test_markers(&m, 3);
    aid_model_free(&m);
}

/* Gives control tokens another type, or takes the types away. */
static void test_retype(aid_model *m, uint32_t type)
{
    static const char key[] = "tokenizer.ggml.token_type";
    uint8_t *at = m->llm.data;
    while (memcmp(at, key, sizeof key - 1) != 0)
        at++;
    if (!type) {
        at[sizeof key - 2] = 'x';
        return;
    }
    at += sizeof key - 1 + 8;
    uint64_t count = blm_load_u64(at);
    for (uint64_t i = 0; i < count; i++)
        if (at[8 + 4 * i] == BLM_TOKEN_CONTROL) at[8 + 4 * i] = (uint8_t)type;
}

static void markers_are_control_whatever_their_type_in_the_file(void **state)
{
    static const uint32_t types[] = {BLM_TOKEN_NORMAL, BLM_TOKEN_USER, 0};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        aid_model m = aid_model_default();
        test_retype(&m, types[i]);
        test_markers(&m, 5); /* all but <img> and </img>, which this mmproj does not write */
        aid_model_free(&m);
        tiny_llm_config llm = tiny_llm_default();
        llm.byte_bpe = 1;
        m = aid_model_make(&llm, NULL);
        test_retype(&m, types[i]);
        test_markers(&m, 2); /* no template: <|im_start|> marks nothing */
        aid_model_free(&m);
    }
}

/* Splits and joins: a user's words before and behind markup. */
static void markup_beside_text_stays_apart_from_it(void **state)
{
    (void)state;
    bluelm_config c = test_config();
    aid_engine e = aid_engine_default(&c);
    test_text(e.engine, "<im");
    assert_int_equal(bluelm_add_markup(e.engine, "g></img>", 8, NULL), 0);
    test_text(e.engine, "<img>");
    assert_int_equal(test_controls(e.engine), 1);
    aid_engine_free(&e);
}

/* A text of every length around what the tokenizer's scratch takes. */
static void text_longer_than_planned_is_refused_and_nothing_lost(void **state)
{
    (void)state;
    static aid_answer with, without;
    static char text[3000];
    bluelm_config c = test_config();
    bluelm_error err;
    c.text_bytes = 1024, c.context_tokens = 2048;
    aid_engine e = aid_engine_default(&c);
    memset(text, 'a', sizeof text);
    test_turn(e.engine, "the cat");
    test_error(bluelm_add_text(e.engine, text, sizeof text, &err), BLUELM_E_BUDGET, &err,
               "text");
    assert_int_equal(bluelm_add_text(e.engine, text, sizeof text, NULL), BLUELM_E_BUDGET);
    assert_int_equal(bluelm_add_markup(e.engine, text, sizeof text, NULL), BLUELM_E_BUDGET);
    assert_true(err.need > err.have);
    aid_ask(e.engine, 8, &with);
    bluelm_reset(e.engine);
    test_turn(e.engine, "the cat");
    aid_ask(e.engine, 8, &without);
    assert_true(aid_same(&with, &without));
    bluelm_reset(e.engine);
    assert_int_equal(bluelm_add_text(e.engine, text, 1024, NULL), 0);
    test_error((int)bluelm_tokenize(e.engine, text, sizeof text, 0, NULL, 0, &err),
               BLUELM_E_BUDGET, &err, "text");
    aid_engine_free(&e);
}

/* 20,000 calls of one byte, in a context that has no room for the worst of them. */
static void text_may_come_a_byte_at_a_time(void **state)
{
    enum { BYTES = 20000 };
    static char text[BYTES];
    (void)state;
    bluelm_event event;
    bluelm_config c = test_config();
    c.context_tokens = BYTES + 2000, c.text_bytes = 60000;
    aid_engine e = aid_engine_default(&c), f = aid_engine_make(&e.model, &c, NULL);
    for (size_t i = 0; i < BYTES; i++)
        text[i] = i % 7 ? (char)('a' + i % 5) : ' ';
    clock_t begin = clock();
    test_turn(e.engine, "");
    for (size_t i = 0; i < BYTES; i++)
        assert_int_equal(bluelm_add_text(e.engine, text + i, 1, NULL), 0);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    print_message("%.3f s\n", seconds);
    assert_true(seconds < 2);
    test_turn(f.engine, "");
    assert_int_equal(bluelm_add_text(f.engine, text, BYTES, NULL), 0);
    assert_true(bluelm_step(e.engine, &event, NULL) > 0);
    assert_true(bluelm_step(f.engine, &event, NULL) > 0);
    assert_int_equal(e.engine->input.count, f.engine->input.count);
    assert_memory_equal(e.engine->input.tokens, f.engine->input.tokens,
                        e.engine->input.count * sizeof(int32_t));
    aid_engine_free(&f);
    aid_engine_free(&e);
}

/* Until not one byte more fits: the room is counted to the token. */
static void text_a_byte_at_a_time_fills_the_context_to_the_last_token(void **state)
{
    (void)state;
    bluelm_config c = test_config();
    bluelm_error err;
    c.context_tokens = 300;
    aid_engine e = aid_engine_default(&c);
    int code = 0;
    uint32_t added = 0;
    for (; code >= 0; added += code >= 0)
        code = bluelm_add_text(e.engine, "z", 1, &err);
    assert_int_equal(code, BLUELM_E_CONTEXT);
    assert_int_equal(err.have, 300);
    assert_int_equal(err.need, 301);
    bluelm_event event;
    assert_true(bluelm_step(e.engine, &event, NULL) > 0);
    assert_int_equal(e.engine->input.count, 300);
    assert_true(added >= 290);
    aid_engine_free(&e);
}

static void tokens_of_a_text_and_back(void **state)
{
    (void)state;
    static const char text[] = "what is the cat? \xE6\x97\xA5\xF0\x9F\x90\x88 Zz";
    bluelm_config c = test_config();
    aid_engine e = aid_engine_default(&c);
    bluelm_error err;
    int32_t ids[64], few[3] = {-7, -7, -7};
    char back[128];
    size_t at = 0;
    int64_t count = bluelm_tokenize(e.engine, text, sizeof text - 1, 0, ids, 64, NULL);
    assert_true(count > 3 && count <= 64);
    assert_int_equal(bluelm_tokenize(e.engine, text, sizeof text - 1, 0, few, 2, NULL), count);
    assert_memory_equal(few, ids, 2 * sizeof *ids);
    assert_int_equal(few[2], -7);
    assert_int_equal(bluelm_tokenize(e.engine, text, sizeof text - 1, 0, NULL, 0, NULL), count);
    for (int64_t i = 0; i < count; i++) {
        int64_t n = bluelm_detokenize(e.engine, ids[i], back + at, sizeof back - at, NULL);
        assert_true(n >= 0);
        at += (size_t)n;
    }
    assert_int_equal(at, sizeof text); /* the space that SentencePiece puts first */
    assert_int_equal(back[0], ' ');
    assert_memory_equal(back + 1, text, sizeof text - 1);
    test_error((int)bluelm_detokenize(e.engine, -1, back, 8, &err), BLUELM_E_ARG, &err,
               "token");
    test_error((int)bluelm_detokenize(e.engine, 384, back, 8, &err), BLUELM_E_ARG, &err,
               "token");
    assert_int_equal(bluelm_detokenize(e.engine, 384, NULL, 0, NULL), BLUELM_E_ARG);

    static const char marked[] = "a<img>b</s>";
    count = bluelm_tokenize(e.engine, marked, sizeof marked - 1, 1, ids, 64, NULL);
    assert_int_equal(ids[count - 1], TINY_EOS);
    for (int64_t i = 0, images = 0; i < count; i++)
        assert_true((images += ids[i] == TINY_IMG) <= 1);
    aid_engine_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_from_the_user_never_becomes_a_control_token),
        cmocka_unit_test(markers_are_control_whatever_their_type_in_the_file),
        cmocka_unit_test(markup_beside_text_stays_apart_from_it),
        cmocka_unit_test(text_longer_than_planned_is_refused_and_nothing_lost),
        cmocka_unit_test(text_may_come_a_byte_at_a_time),
        cmocka_unit_test(text_a_byte_at_a_time_fills_the_context_to_the_last_token),
        cmocka_unit_test(tokens_of_a_text_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
