/* The engine as its caller sees it: a conversation with pictures, step by step. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../engine/engine.h"
#include "engine_aid.h"

static const char question[] = "what is this?";

/* ---- Helpers ----------------------------------------------------------------------- */

/* Small budgets and no decode buffer. */
static bluelm_config test_config(void)
{
    bluelm_config c = {0};
    c.max_image_width_px = 1024;
    return c;
}

/* Arithmetic that does not depend on how a prompt is cut into chunks. */
static bluelm_config test_exact_config(void)
{
    bluelm_config c = test_config();
    c.cpu_mask = BLUELM_CPU_NONE;
    c.kv_type = BLUELM_KV_F16;
    return c;
}

static void test_text(bluelm *e, const char *text)
{
    assert_int_equal(bluelm_add_text(e, text, strlen(text), NULL), 0);
}

static void test_turn(bluelm *e, const char *text)
{
    assert_int_equal(bluelm_begin_turn(e, BLUELM_USER, NULL), 0);
    test_text(e, text);
}

static void test_image(bluelm *e, const bluelm_image *image)
{
    assert_true(bluelm_add_image(e, image, NULL, NULL) > 0);
}

/* The main job: a picture, a question, an answer. */
static void test_job(bluelm *e, const bluelm_image *image, aid_answer *answer)
{
    assert_int_equal(bluelm_begin_turn(e, BLUELM_USER, NULL), 0);
    test_image(e, image);
    test_text(e, question);
    aid_ask(e, 12, answer);
    assert_int_equal(answer->code, 0);
    assert_true(answer->count > 0);
}

static void test_drop(const bluelm_image *image)
{
    free((void *)(uintptr_t)image->rgb);
}

/* Every error is one line that begins with its subject and shows its numbers. */
static void test_error(int code, int expected, const bluelm_error *err, const char *subject)
{
    char line[200], number[24];
    if (code != expected) {
        bluelm_error_text(err, line, sizeof line);
        fail_msg("returned %d, not %d: %s", code, expected, line);
    }
    assert_int_equal(err->code, expected);
    assert_non_null(strstr(err->subject, subject));
    assert_true(bluelm_error_text(err, line, sizeof line) < sizeof line);
    assert_int_equal(strncmp(line, err->subject, strlen(err->subject)), 0);
    if (err->cause == BLUELM_CAUSE_NUMBER || err->cause == BLUELM_CAUSE_NULL) return;
    if (err->need == 0 && err->have == 0) return;
    snprintf(number, sizeof number, "%llu", (unsigned long long)err->need);
    assert_non_null(strstr(line, number));
    snprintf(number, sizeof number, "%llu", (unsigned long long)err->have);
    assert_non_null(strstr(line, number));
}

static void test_same_logits(const bluelm *a, const bluelm *b)
{
    uint32_t n = 0, m = 0;
    const float *x = bluelm_logits(a, &n), *y = bluelm_logits(b, &m);
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n * sizeof *x);
}

static uint32_t test_type(const bluelm *e, int32_t token)
{
    return blm_pieces_type(&e->vocab.pieces, (uint32_t)token);
}

/* ---- Words and markers ----------------------------------------------------------------- */

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
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    aid_engine e = aid_engine_make(&m, &c, NULL);
    test_text(e.engine, "<im");
    assert_int_equal(bluelm_add_markup(e.engine, "g></img>", 8, NULL), 0);
    test_text(e.engine, "<img>");
    assert_int_equal(test_controls(e.engine), 1);
    aid_engine_free(&e);
    aid_model_free(&m);
}

/* A text of every length around what the tokenizer's scratch takes. */
static void text_longer_than_planned_is_refused_and_nothing_lost(void **state)
{
    (void)state;
    static aid_answer with, without;
    static char text[3000];
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_error err;
    c.text_bytes = 1024, c.context_tokens = 2048;
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

/* 20,000 calls of one byte, in a context that has no room for the worst of them. */
static void text_may_come_a_byte_at_a_time(void **state)
{
    enum { BYTES = 20000 };
    static char text[BYTES];
    (void)state;
    bluelm_event event;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    c.context_tokens = BYTES + 2000, c.text_bytes = 60000;
    aid_engine e = aid_engine_make(&m, &c, NULL), f = aid_engine_make(&m, &c, NULL);
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
    aid_engine_free(&e);
    aid_engine_free(&f);
    aid_model_free(&m);
}

/* Until not one byte more fits: the room is counted to the token. */
static void text_a_byte_at_a_time_fills_the_context_to_the_last_token(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_error err;
    c.context_tokens = 300;
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

static void tokens_of_a_text_and_back(void **state)
{
    (void)state;
    static const char text[] = "what is the cat? \xE6\x97\xA5\xF0\x9F\x90\x88 Zz";
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

/* ---- The context ---------------------------------------------------------------------- */

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
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(30, 30, 0, 1);
    memset(words, 'q', sizeof words - 1);
    c.context_tokens = 48, c.text_bytes = 1024;
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
    test_drop(&image);
}

/* A refused call in the middle of an answer does not end it. */
static void refused_input_does_not_end_an_answer(void **state)
{
    (void)state;
    static aid_answer all;
    static char words[600];
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_event event;
    memset(words, 'q', sizeof words - 1);
    c.context_tokens = 64, c.text_bytes = 1024;
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
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
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_stats stats;
    c.context_tokens = 40;
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

/* ---- Answers ---------------------------------------------------------------------------- */

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
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    aid_model_script(&m, test_script, SCRIPT_COUNT);
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

static void streamed_text_is_whole_characters(void **state)
{
    (void)state;
    static aid_answer a;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    aid_model_script(&m, test_script, SCRIPT_COUNT);
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

/* Uniform draws: byte tokens in every wrong order. */
static void random_text_is_valid_utf8_at_every_event(void **state)
{
    (void)state;
    static aid_answer a;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_sampling s = {0};
    uint32_t ended = 0;
    c.context_tokens = 400;
    s.temperature = 1e6f;
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

static void same_seed_same_text_and_another_seed_another(void **state)
{
    (void)state;
    static aid_answer a, b;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_sampling s = {0};
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

static void wrong_sampling_is_refused_by_name(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_error err;
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

/* Three turns one after the other, then their tokens at once on another engine. */
static void several_turns_equal_one_prompt_of_the_same_tokens(void **state)
{
    (void)state;
    static aid_answer turn, whole;
    aid_model m = aid_model_default();
    bluelm_config c = test_exact_config();
    aid_engine e = aid_engine_make(&m, &c, NULL), f = aid_engine_make(&m, &c, NULL);
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
    aid_engine_free(&e);
    aid_engine_free(&f);
    aid_model_free(&m);
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
static void answer_asked_one_token_at_a_time_is_the_answer_at_once(void **state)
{
    (void)state;
    static aid_answer ones, all;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    aid_model_script(&m, test_script, SCRIPT_COUNT);
    aid_engine e = aid_engine_make(&m, &c, NULL);
    test_turn(e.engine, question);
    aid_ask(e.engine, 0, &all);
    bluelm_reset(e.engine);
    test_turn(e.engine, question);
    test_ask_by_ones(e.engine, 1000, &ones);
    assert_true(aid_same(&ones, &all));
    aid_model_free(&m);
    aid_engine_free(&e);

    m = aid_model_default(); /* anything it may say, without a turn and in one */
    c = test_exact_config();
    e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

/* "the" and " cat" continue as text what was text; a turn's answer begins without the
 * space that only stands for the word's beginning. */
static void only_an_answer_that_begins_a_turn_loses_its_first_space(void **state)
{
    (void)state;
    static aid_answer a;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    int32_t space = -1, script[3];
    aid_engine e = aid_engine_make(&m, &c, NULL);
    for (uint32_t i = TINY_PIECES; i < e.engine->vocab.n_tokens && space < 0; i++) {
        blm_string piece = blm_pieces_text(&e.engine->vocab.pieces, i);
        if (piece.bytes > 3 && !memcmp(piece.text, "\xE2\x96\x81", 3)) space = (int32_t)i;
    }
    assert_true(space > 0);
    aid_engine_free(&e);
    script[0] = TINY_AI, script[1] = space, script[2] = TINY_EOS;
    aid_model_script(&m, script, 3);
    e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

/* max_tokens cuts an answer, generate goes on with it. */
static void answer_in_parts_equals_the_answer_at_once(void **state)
{
    (void)state;
    static aid_answer part, all;
    aid_model m = aid_model_default();
    bluelm_config c = test_exact_config();
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
}

/* Text after an interrupted answer continues the conversation, which keeps its tokens. */
static void input_interrupts_an_answer(void **state)
{
    (void)state;
    static aid_answer a, b;
    bluelm_event event;
    aid_model m = aid_model_default();
    bluelm_config c = test_exact_config();
    aid_engine e = aid_engine_make(&m, &c, NULL), f = aid_engine_make(&m, &c, NULL);
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
    aid_engine_free(&e);
    aid_engine_free(&f);
    aid_model_free(&m);
}

/* ---- Steps -------------------------------------------------------------------------------- */

/* 4 x 2 tiles and a thumbnail in batches of 4, a prompt in chunks of 8. */
static void every_step_is_one_layer_of_one_batch_or_chunk(void **state)
{
    (void)state;
    static aid_answer a;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(96, 48, 0, 1);
    bluelm_tile_grid grid;
    c.chunk_tokens = 8;
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
    test_drop(&image);
}

/* The picture is encoded and read while the user still types. */
static void picture_read_before_the_question_gives_the_same_answer(void **state)
{
    (void)state;
    static aid_answer at_once, first, then;
    aid_model m = aid_model_default();
    bluelm_config c = test_exact_config();
    bluelm_image image = aid_picture(50, 70, 0, 4);
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
    test_drop(&image);
}

/* Input that comes between any two steps: the result is that of input at once. */
static void input_between_any_two_steps_changes_nothing(void **state)
{
    (void)state;
    static aid_answer at_once, stepped;
    aid_model m = aid_model_default();
    bluelm_config c = test_exact_config();
    bluelm_image one = aid_picture(96, 48, 0, 1), two = aid_picture(20, 60, 0, 2);
    bluelm_event event;
    c.chunk_tokens = 16;
    aid_engine e = aid_engine_make(&m, &c, NULL);
    for (uint32_t steps = 0; steps < 12; steps++) {
        bluelm_reset(e.engine);
        for (uint32_t part = 0; part < 8; part++) {
            switch (part) {
            case 0:
                test_turn(e.engine, "this is the cat you see in the image");
                break;
            case 1:
                test_image(e.engine, &one);
                break;
            case 2:
                test_text(e.engine, "in the image");
                break;
            case 3:
                test_image(e.engine, &two);
                break;
            case 4:
                test_image(e.engine, &one);
                break;
            case 5:
                test_text(e.engine, question);
                break;
            case 6:
                test_turn(e.engine, "the cat");
                break;
            default:
                test_image(e.engine, &two);
                break;
            }
            for (uint32_t i = 0; i < steps; i++)
                assert_true(bluelm_step(e.engine, &event, NULL) >= 0);
        }
        aid_ask(e.engine, 10, steps ? &stepped : &at_once);
        assert_int_equal(at_once.count, 10);
        if (steps) assert_true(aid_same(&at_once, &stepped));
    }
    aid_engine_free(&e);
    aid_model_free(&m);
    test_drop(&one);
    test_drop(&two);
}

static void job_cancelled_at_any_step_leaves_no_trace(void **state)
{
    (void)state;
    static aid_answer fresh, after;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(96, 48, 0, 1), other = aid_picture(70, 71, 0, 9);
    bluelm_event event;
    c.chunk_tokens = 16;
    aid_engine e = aid_engine_make(&m, &c, NULL);
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
    aid_model_free(&m);
    test_drop(&image);
    test_drop(&other);
}

/* ---- Pictures -------------------------------------------------------------------------------- */

static void seventeenth_picture_is_refused_and_nothing_lost(void **state)
{
    (void)state;
    static aid_answer with, without;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_error err;
    bluelm_image images[BLM_MAX_QUEUED_IMAGES];
    aid_engine e = aid_engine_make(&m, &c, NULL);
    for (uint32_t i = 0; i < BLM_MAX_QUEUED_IMAGES; i++)
        images[i] = aid_picture(20 + i, 20, 0, i);
    for (int refuse = 0; refuse < 2; refuse++) {
        bluelm_reset(e.engine);
        assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
        for (uint32_t i = 0; i < BLM_MAX_QUEUED_IMAGES; i++)
            test_image(e.engine, &images[i]);
        if (refuse) {
            test_error(bluelm_add_image(e.engine, &images[0], NULL, &err), BLUELM_E_STATE, &err,
                       "pictures");
            assert_int_equal(bluelm_add_image(e.engine, &images[0], NULL, NULL),
                             BLUELM_E_STATE);
        }
        test_text(e.engine, question);
        aid_ask(e.engine, 6, refuse ? &with : &without);
    }
    assert_true(aid_same(&with, &without));
    assert_int_equal(with.encode_steps, BLM_MAX_QUEUED_IMAGES * 2);
    /* The queue is free again. */
    test_turn(e.engine, "the cat");
    test_image(e.engine, &images[0]);
    aid_ask(e.engine, 2, &with);
    for (uint32_t i = 0; i < BLM_MAX_QUEUED_IMAGES; i++)
        test_drop(&images[i]);
    aid_engine_free(&e);
    aid_model_free(&m);
}

/* The order of pictures matters, so their tokens are not taken for one another's. */
static void pictures_in_another_order_give_other_logits(void **state)
{
    (void)state;
    static aid_answer a;
    aid_model m = aid_model_default();
    bluelm_config c = test_exact_config();
    bluelm_image x = aid_picture(96, 48, 0, 1), y = aid_picture(48, 96, 0, 2);
    aid_engine e = aid_engine_make(&m, &c, NULL), f = aid_engine_make(&m, &c, NULL);
    const bluelm_image *orders[2][2] = {{&x, &y}, {&y, &x}};
    bluelm *engines[] = {e.engine, f.engine};
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(bluelm_begin_turn(engines[i], BLUELM_USER, NULL), 0);
        test_image(engines[i], orders[i][0]);
        test_image(engines[i], orders[i][1]);
        aid_run(engines[i], &a);
    }
    uint32_t n;
    const float *p = bluelm_logits(e.engine, &n), *q = bluelm_logits(f.engine, &n);
    assert_int_not_equal(memcmp(p, q, n * sizeof *p), 0);
    aid_engine_free(&e);
    aid_engine_free(&f);
    aid_model_free(&m);
    test_drop(&x);
    test_drop(&y);
}

/* Steps until the picture is encoded, and clears one of its tokens. */
static void test_clear_token(bluelm *e, const bluelm_image *image, uint32_t token)
{
    bluelm_event event;
    bluelm_reset(e);
    assert_int_equal(bluelm_begin_turn(e, BLUELM_USER, NULL), 0);
    test_image(e, image);
    do
        assert_int_equal(bluelm_step(e, &event, NULL), 1);
    while (event.type != BLUELM_EVENT_ENCODE || event.done < event.total);
    memset(e->image_tokens + (size_t)token * e->language.n_embd, 0,
           e->language.n_embd * sizeof *e->image_tokens);
}

static void every_image_token_is_read_once_in_its_place(void **state)
{
    (void)state;
    static aid_answer a;
    static float logits[13][384];
    aid_model m = aid_model_default();
    bluelm_config c = test_exact_config();
    bluelm_image image = aid_picture(48, 24, 0, 6);
    uint32_t n;
    aid_engine e = aid_engine_make(&m, &c, NULL);
    assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
    assert_int_equal(bluelm_add_image(e.engine, &image, NULL, NULL), 3); /* 12 tokens */
    aid_run(e.engine, &a);
    memcpy(logits[12], bluelm_logits(e.engine, &n), sizeof logits[12]);
    for (uint32_t i = 0; i < 12; i++) {
        test_clear_token(e.engine, &image, i);
        aid_run(e.engine, &a);
        memcpy(logits[i], bluelm_logits(e.engine, &n), sizeof logits[i]);
        assert_int_equal(n, 384);
    }
    for (uint32_t i = 0; i < 13; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(memcmp(logits[i], logits[k], sizeof logits[i]), 0);
    aid_engine_free(&e);
    aid_model_free(&m);
    test_drop(&image);
}

/* What the header promises: a picture may go once its ENCODE event is complete. */
static void picture_may_be_freed_once_it_is_encoded(void **state)
{
    (void)state;
    static aid_answer kept;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_image images[2];
    bluelm_event event;
    aid_engine e = aid_engine_make(&m, &c, NULL);
    for (int drop = 0; drop < 2; drop++) {
        uint32_t head = 0, made = 0;
        images[0] = aid_picture(96, 48, 0, 1);
        images[1] = aid_picture(48, 96, 0, 2);
        bluelm_reset(e.engine);
        assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
        test_image(e.engine, &images[0]);
        test_image(e.engine, &images[1]);
        test_text(e.engine, question);
        if (!drop) {
            aid_ask(e.engine, 10, &kept);
            test_drop(&images[0]);
            test_drop(&images[1]);
            continue;
        }
        assert_int_equal(bluelm_generate(e.engine, 10, NULL), 0);
        while (bluelm_step(e.engine, &event, NULL) > 0) {
            if (event.type == BLUELM_EVENT_ENCODE && event.done == event.total) {
                bluelm_image *done = &images[head++];
                memset((void *)(uintptr_t)done->rgb, 0, 3 * 96 * 48);
                test_drop(done);
            }
            if (event.type == BLUELM_EVENT_TOKEN)
                assert_int_equal(event.token, kept.tokens[made++]);
        }
        assert_int_equal(head, 2);
        assert_int_equal(made, kept.count);
    }
    aid_engine_free(&e);
    aid_model_free(&m);
}

/* The rows of an encoded picture, in memory that the decoder uses too. */
static bluelm_image test_decode(const bluelm_image *image, uint8_t *memory, size_t bytes)
{
    blm_image_decoder d;
    bluelm_image out = {.rgb = memory};
    size_t half = bytes / 2;
    assert_int_equal(blm_image_begin(&d, image->encoded, image->encoded_bytes, NULL,
                                     memory + half, bytes - half, NULL),
                     0);
    out.width_px = d.facts.stored_width_px, out.height_px = d.facts.stored_height_px;
    out.stride_bytes = 3 * (size_t)out.width_px;
    assert_true(out.stride_bytes * out.height_px <= half);
    for (uint32_t y = 0; y < out.height_px; y++)
        assert_int_equal(blm_image_row(&d, memory + y * out.stride_bytes, NULL), 0);
    return out;
}

/* Decodes a sample and asks with its file, its rows, and its rows with a stride. */
static void test_forms(const char *name)
{
    static aid_answer encoded, rows, strided;
    char path[200];
    snprintf(path, sizeof path, "fuzz/corpus/image/%s", name);
    tiny_file file = aid_load(path);
    if (!file.data) fail_msg("%s is not there", path);
    aid_model m = aid_model_default();
    bluelm_config c = {0};
    c.max_image_width_px = 1000;
    aid_engine e = aid_engine_make(&m, &c, NULL), f = aid_engine_make(&m, &c, NULL);
    aid_engine g = aid_engine_make(&m, &c, NULL);
    static uint8_t memory[1 << 20];
    bluelm_image image = {.encoded = file.data, .encoded_bytes = file.bytes};
    bluelm_image tight = test_decode(&image, memory, sizeof memory);
    size_t row = 3 * (size_t)tight.width_px, stride = row + 7;
    uint8_t *wide = malloc(stride * tight.height_px);
    assert_non_null(wide);
    memset(wide, 0x77, stride * tight.height_px);
    for (uint32_t y = 0; y < tight.height_px; y++)
        memcpy(wide + y * stride, tight.rgb + y * row, row);
    bluelm_image loose = tight;
    tight.stride_bytes = 0;
    loose.rgb = wide, loose.stride_bytes = stride;
    test_job(e.engine, &image, &encoded);
    test_job(f.engine, &tight, &rows);
    test_job(g.engine, &loose, &strided);
    assert_true(aid_same(&encoded, &rows));
    assert_true(aid_same(&encoded, &strided));
    aid_run(e.engine, &encoded);
    aid_run(f.engine, &rows);
    aid_run(g.engine, &strided);
    test_same_logits(e.engine, f.engine);
    test_same_logits(e.engine, g.engine);
    free(wide);
    aid_engine_free(&e);
    aid_engine_free(&f);
    aid_engine_free(&g);
    aid_model_free(&m);
    tiny_free(&file);
}

static void encoded_picture_equals_its_rows(void **state)
{
    (void)state;
    test_forms("png-2-8.png");
    test_forms("png-6-16-interlaced.png");
    test_forms("jpeg-444.jpg");
    test_forms("jpeg-420-progressive.jpg");
}

static void grid_is_capped_by_the_context(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(96, 96, 0, 1);
    bluelm_tile_grid planned, chosen;
    uint32_t last = 0;
    for (c.context_tokens = 24; c.context_tokens < 160; c.context_tokens += 8) {
        aid_engine e = aid_engine_make(&m, &c, NULL);
        assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
        int tiles = bluelm_add_image(e.engine, &image, &chosen, NULL);
        assert_true(tiles >= (int)last);
        assert_int_equal(tiles, chosen.tiles);
        assert_int_equal(chosen.tokens, 4 * chosen.tiles);
        assert_true(chosen.tokens < c.context_tokens);
        assert_true(bluelm_tile_plan(&m.weights, &c, 96, 96, &planned, NULL) >= tiles);
        last = chosen.tiles;
        aid_engine_free(&e);
    }
    assert_int_equal(last, 17); /* 4 x 4 and the thumbnail */
    aid_model_free(&m);
    test_drop(&image);
}

static void test_bad_rows(bluelm *e)
{
    static const uint8_t pixel[3];
    const struct {
        bluelm_image image;
        const char *subject;
    } wrong[] = {
        {{.rgb = pixel, .width_px = 0, .height_px = 1}, "side"},
        {{.rgb = pixel, .width_px = 1, .height_px = 0}, "side"},
        {{.rgb = pixel, .width_px = 65536, .height_px = 1}, "side"},
        {{.rgb = pixel, .width_px = 1, .height_px = UINT32_MAX}, "side"},
        {{.rgb = pixel, .width_px = 10, .height_px = 1, .stride_bytes = 29}, "stride"},
    };
    bluelm_error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        test_error(bluelm_add_image(e, &wrong[i].image, NULL, &err), BLUELM_E_ARG, &err,
                   wrong[i].subject);
        assert_int_equal(bluelm_add_image(e, &wrong[i].image, NULL, NULL), BLUELM_E_ARG);
    }
    const bluelm_image nothing = {0};
    assert_true(bluelm_add_image(e, &nothing, NULL, &err) < 0);
    assert_true(bluelm_add_image(e, &nothing, NULL, NULL) < 0);
}

/* A file cut at `bytes`, in memory of that size: an error from add_image or, once it is
 * decoded, from step; the next conversation is none the worse. Returns 1 if it was an error at all. */
static int test_cut(bluelm *e, const tiny_file *file, size_t bytes, aid_answer *answer)
{
    uint8_t *cut = malloc(bytes ? bytes : 1);
    assert_non_null(cut);
    if (bytes) memcpy(cut, file->data, bytes);
    bluelm_image image = {.encoded = cut, .encoded_bytes = bytes};
    bluelm_error err;
    bluelm_reset(e);
    assert_int_equal(bluelm_begin_turn(e, BLUELM_USER, NULL), 0);
    int code = bluelm_add_image(e, &image, NULL, &err);
    if (code > 0) {
        test_text(e, question);
        aid_ask(e, 12, answer);
        code = answer->code;
        err = answer->err;
    }
    if (code < 0) test_error(code, BLUELM_E_IMAGE, &err, "");
    free(cut);
    return code < 0;
}

static void bad_picture_is_an_error_and_leaves_no_trace(void **state)
{
    (void)state;
    static aid_answer whole, cut, after;
    static const char *const names[] = {"png-2-8.png", "jpeg-444.jpg"};
    aid_model m = aid_model_default();
    bluelm_config c = {0};
    bluelm_error err;
    c.max_image_width_px = 400;
    aid_engine e = aid_engine_make(&m, &c, NULL);
    test_bad_rows(e.engine);
    for (uint32_t i = 0; i < 2; i++) {
        char path[200];
        snprintf(path, sizeof path, "fuzz/corpus/image/%s", names[i]);
        tiny_file file = aid_load(path);
        assert_non_null(file.data);
        bluelm_image image = {.encoded = file.data, .encoded_bytes = file.bytes};
        bluelm_reset(e.engine);
        test_job(e.engine, &image, &whole);
        uint32_t errors = 0;
        for (size_t bytes = 0; bytes < file.bytes; bytes += 1 + bytes / 16)
            errors += (uint32_t)test_cut(e.engine, &file, bytes, &cut);
        assert_true(errors > 20);
        bluelm_reset(e.engine);
        test_job(e.engine, &image, &after);
        assert_true(aid_same(&whole, &after));

        bluelm_config less = c;
        less.max_image_width_px = 10;
        aid_engine f = aid_engine_make(&m, &less, NULL);
        test_error(bluelm_add_image(f.engine, &image, NULL, &err), BLUELM_E_IMAGE, &err,
                   "max_image_width_px");
        assert_int_equal(err.need, 10);
        aid_engine_free(&f);
        tiny_free(&file);
    }
    aid_engine_free(&e);
    aid_model_free(&m);
}

static void one_picture_as_one_tile_has_its_own_call(void **state)
{
    (void)state;
    static aid_answer a, b;
    static float tokens[4 * 64], again[4 * 64];
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_error err;
    bluelm_image image = aid_picture(30, 41, 0, 5);
    aid_engine e = aid_engine_make(&m, &c, NULL);
    assert_int_equal(bluelm_embed_image(e.engine, &image, tokens, 256, NULL), 256);
    test_error((int)bluelm_embed_image(e.engine, &image, tokens, 255, &err), BLUELM_E_BUDGET,
               &err, "embedding");
    assert_int_equal(bluelm_embed_image(e.engine, &image, tokens, 0, NULL), BLUELM_E_BUDGET);
    /* Between two turns it disturbs nothing; with work in the queue it is refused. */
    test_turn(e.engine, question);
    aid_ask(e.engine, 4, &a);
    assert_int_equal(bluelm_embed_image(e.engine, &image, again, 256, NULL), 256);
    assert_memory_equal(tokens, again, sizeof tokens);
    aid_ask(e.engine, 4, &a);
    test_image(e.engine, &image);
    test_error((int)bluelm_embed_image(e.engine, &image, again, 256, &err), BLUELM_E_STATE,
               &err, "embed");
    bluelm_reset(e.engine);
    test_turn(e.engine, question);
    aid_ask(e.engine, 8, &b);
    assert_memory_equal(a.tokens, b.tokens + 4, 4 * sizeof *a.tokens);
    aid_engine_free(&e);
    aid_model_free(&m);
    test_drop(&image);
}

/* ---- What does not fit together ---------------------------------------------------------------- */

static void file_of_a_vocabulary_alone_tokenizes(void **state)
{
    (void)state;
    tiny_file file = aid_load("tests/data/ggml-vocab-phi-3.gguf");
    if (!file.data) {
        print_message("skipped: tests/data/ggml-vocab-phi-3.gguf is not there\n");
        skip();
    }
    aid_model m = {.llm = file};
    bluelm_error err;
    bluelm_event event;
    bluelm_info info;
    uint32_t n_vocab = 7;
    int32_t id = 5;
    m.weights.llm = file.data, m.weights.llm_bytes = file.bytes;
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
        cmocka_unit_test(text_from_the_user_never_becomes_a_control_token),
        cmocka_unit_test(markers_are_control_whatever_their_type_in_the_file),
        cmocka_unit_test(markup_beside_text_stays_apart_from_it),
        cmocka_unit_test(text_longer_than_planned_is_refused_and_nothing_lost),
        cmocka_unit_test(text_may_come_a_byte_at_a_time),
        cmocka_unit_test(text_a_byte_at_a_time_fills_the_context_to_the_last_token),
        cmocka_unit_test(tokens_of_a_text_and_back),
        cmocka_unit_test(context_full_loses_nothing),
        cmocka_unit_test(refused_input_does_not_end_an_answer),
        cmocka_unit_test(refused_turn_leaves_the_waiting_text_alone),
        cmocka_unit_test(answer_runs_until_the_context_is_full),
        cmocka_unit_test(answer_ends_where_the_model_ends_it),
        cmocka_unit_test(streamed_text_is_whole_characters),
        cmocka_unit_test(random_text_is_valid_utf8_at_every_event),
        cmocka_unit_test(same_seed_same_text_and_another_seed_another),
        cmocka_unit_test(wrong_sampling_is_refused_by_name),
        cmocka_unit_test(several_turns_equal_one_prompt_of_the_same_tokens),
        cmocka_unit_test(answer_asked_one_token_at_a_time_is_the_answer_at_once),
        cmocka_unit_test(only_an_answer_that_begins_a_turn_loses_its_first_space),
        cmocka_unit_test(answer_in_parts_equals_the_answer_at_once),
        cmocka_unit_test(input_interrupts_an_answer),
        cmocka_unit_test(every_step_is_one_layer_of_one_batch_or_chunk),
        cmocka_unit_test(picture_read_before_the_question_gives_the_same_answer),
        cmocka_unit_test(input_between_any_two_steps_changes_nothing),
        cmocka_unit_test(job_cancelled_at_any_step_leaves_no_trace),
        cmocka_unit_test(seventeenth_picture_is_refused_and_nothing_lost),
        cmocka_unit_test(pictures_in_another_order_give_other_logits),
        cmocka_unit_test(every_image_token_is_read_once_in_its_place),
        cmocka_unit_test(picture_may_be_freed_once_it_is_encoded),
        cmocka_unit_test(encoded_picture_equals_its_rows),
        cmocka_unit_test(grid_is_capped_by_the_context),
        cmocka_unit_test(bad_picture_is_an_error_and_leaves_no_trace),
        cmocka_unit_test(one_picture_as_one_tile_has_its_own_call),
        cmocka_unit_test(file_of_a_vocabulary_alone_tokenizes),
        cmocka_unit_test(calls_that_do_not_fit_the_model_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
