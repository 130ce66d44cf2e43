#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../text/stop.h"
#include "engine_aid.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What comes out of a text given `cut` bytes at a time; `found` tells a stop string. */
static const char *stopped(const char *const *stops, size_t count, const char *text, size_t cut,
                           int *found)
{
    static char out[2000], buffer[1000];
    blm_stops s = {0};
    size_t used = 0, bytes = strlen(text);
    assert_int_equal(blm_stops_set(&s, stops, count, NULL), BLUELM_OK);
    for (size_t i = 0; i < bytes && !s.held.found; i += cut) {
        size_t part = bytes - i < cut ? bytes - i : cut;
        memcpy(buffer + BLM_STOP_BYTES + 1, text + i, part);
        part = blm_stops_push(&s, buffer + BLM_STOP_BYTES + 1, part, buffer);
        memcpy(out + used, buffer, part);
        used += part;
    }
    *found = s.held.found;
    used += blm_stops_flush(&s, out + used);
    out[used] = 0;
    return out;
}

static void text_ends_before_the_first_stop_string(void **state)
{
    static const struct {
        const char *stops[3], *text, *out;
        int found;
    } cases[] = {
        {{"STOP"}, "one STOP two", "one ", 1},
        {{"STOP"}, "one STO", "one STO", 0},
        {{"aab"}, "aaaab!", "aa", 1},
        {{"abab"}, "aababab", "a", 1},
        {{"abcd", "bc"}, "xabcd", "xa", 1}, /* complete first */
        {{"abc", "zabc"}, "zabc", "", 1},   /* the longest of those complete at once */
        {{"\n\n", "User:"}, "a\nUse\nUser: b", "a\nUse\n", 1},
        {{"\303\251t\303\251"},
         "l'\303\251t\303\240 \303\251t\303\251.",
         "l'\303\251t\303\240 ",
         1},
        {{"x"}, "", "", 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t count = 0;
        int found;
        while (count < 3 && cases[i].stops[count])
            count++;
        for (size_t cut = 1; cut < 14; cut++) {
            assert_string_equal(stopped(cases[i].stops, count, cases[i].text, cut, &found),
                                cases[i].out);
            assert_int_equal(found, cases[i].found);
        }
    }
}

/* Against a search of the whole text. */
static void random_text_ends_where_a_search_of_it_all_says(void **state)
{
    tiny_random r = {tiny_seed(60)};
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char words[3][8] = {{0}}, text[40] = {0};
        const char *stops[3] = {words[0], words[1], words[2]};
        size_t first, bytes = 1 + tiny_next(&r) % 39, end;
        int found;
        for (int i = 0; i < 3; i++)
            for (size_t j = 0, n = 1 + tiny_next(&r) % 6; j < n; j++)
                words[i][j] = (char)('a' + tiny_next(&r) % 2);
        for (size_t j = 0; j < bytes; j++)
            text[j] = (char)('a' + tiny_next(&r) % 3);
        for (end = 1, first = bytes; end <= bytes && first == bytes; end++)
            for (int i = 0; i < 3; i++) {
                size_t n = strlen(words[i]);
                if (n <= end && !memcmp(text + end - n, words[i], n) && end - n < first)
                    first = end - n;
            }
        const char *out = stopped(stops, 3, text, 1 + tiny_next(&r) % 7, &found);
        assert_int_equal(strlen(out), first);
        assert_memory_equal(out, text, first);
    }
}

static void wrong_stop_strings_are_refused_and_the_old_ones_stay(void **state)
{
    static char long_text[65];
    const char *const good[] = {"ok"}, *const empty[] = {"a", ""}, *const bad[] = {"a\xff"},
                      *const longer[] = {long_text}, *const many[9] = {"a", "a", "a", "a", "a",
                                                                       "a", "a", "a", "a"};
    blm_stops s;
    bluelm_error err;
    (void)state;
    memset(long_text, 'x', 64);
    assert_int_equal(blm_stops_set(&s, good, 1, &err), BLUELM_OK);
    assert_int_equal(blm_stops_set(&s, empty, 2, &err), BLUELM_E_ARG);
    assert_int_equal(blm_stops_set(&s, bad, 1, &err), BLUELM_E_ARG);
    assert_int_equal(blm_stops_set(&s, longer, 1, &err), BLUELM_E_ARG);
    assert_int_equal(err.have, 64);
    assert_int_equal(blm_stops_set(&s, many, 9, &err), BLUELM_E_ARG);
    assert_int_equal(s.count, 1);
    long_text[63] = 0;
    assert_int_equal(blm_stops_set(&s, longer, 1, &err), BLUELM_OK);
    assert_int_equal(blm_stops_set(&s, many, 8, &err), BLUELM_OK);
    assert_int_equal(blm_stops_set(&s, NULL, 0, &err), BLUELM_OK);
    assert_int_equal(s.count, 0);
}

/* What may have begun one of the old strings is text still, and may begin one of the new. */
static void text_that_is_held_outlives_its_strings(void **state)
{
    static const char *const old[] = {"abcd"}, *const now[] = {"cx"};
    char buffer[BLM_STOP_BYTES + 1 + 8];
    blm_stops s = {0};
    (void)state;
    assert_int_equal(blm_stops_set(&s, old, 1, NULL), BLUELM_OK);
    memcpy(buffer + BLM_STOP_BYTES + 1, "-abc", 4);
    assert_int_equal(blm_stops_push(&s, buffer + BLM_STOP_BYTES + 1, 4, buffer), 1);
    assert_int_equal(blm_stops_set(&s, now, 1, NULL), BLUELM_OK);
    memcpy(buffer + BLM_STOP_BYTES + 1, "d", 1);
    assert_int_equal(blm_stops_push(&s, buffer + BLM_STOP_BYTES + 1, 1, buffer), 4);
    assert_memory_equal(buffer, "abcd", 4);
    assert_int_equal(s.held.found, 0);
}

/* ---- In the engine ------------------------------------------------------------------- */

static const int32_t script[] = {
    TINY_AI,          TINY_BYTE0 + 'o',  TINY_BYTE0 + 'n',  TINY_BYTE0 + 'e', TINY_BYTE0 + '#',
    TINY_BYTE0 + '!', TINY_BYTE0 + 0xC3, TINY_BYTE0 + 0xA9, TINY_BYTE0 + 'x', TINY_EOS};

/* The scripted answer "one#!\303\251x" with stop strings, `step` tokens at a time (0: at once). */
static int answer(const char *const *stops, size_t count, uint32_t step, char out[64])
{
    static aid_answer a;
    size_t used = 0;
    aid_engine e = aid_engine_scripted(NULL, script, COUNT(script));
    assert_int_equal(bluelm_set_stop(e.engine, stops, count, NULL), 0);
    assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
    assert_int_equal(bluelm_add_text(e.engine, "q", 1, NULL), 0);
    do {
        aid_ask(e.engine, step, &a);
        memcpy(out + used, a.text, a.text_bytes);
        used += a.text_bytes;
    } while (a.end_reason == BLUELM_END_MAX_TOKENS);
    out[used] = 0;
    aid_engine_free(&e);
    return a.end_reason;
}

static void an_answer_ends_at_a_stop_string(void **state)
{
    const char *const end[] = {"e#!"}, *const accent[] = {"\303\251"}, *const never[] = {"x!"};
    char out[64];
    (void)state;
    for (uint32_t step = 0; step < 4; step++) {
        assert_int_equal(answer(end, 1, step, out), BLUELM_END_STOP_STRING);
        assert_string_equal(out, "on");
        assert_int_equal(answer(accent, 1, step, out), BLUELM_END_STOP_STRING);
        assert_string_equal(out, "one#!");
        assert_int_equal(answer(never, 1, step, out), BLUELM_END_OF_TURN);
        assert_string_equal(out, "one#!\303\251x");
        assert_int_equal(answer(NULL, 0, step, out), BLUELM_END_OF_TURN);
        assert_string_equal(out, "one#!\303\251x");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_ends_before_the_first_stop_string),
        cmocka_unit_test(random_text_ends_where_a_search_of_it_all_says),
        cmocka_unit_test(wrong_stop_strings_are_refused_and_the_old_ones_stay),
        cmocka_unit_test(text_that_is_held_outlives_its_strings),
        cmocka_unit_test(an_answer_ends_at_a_stop_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
