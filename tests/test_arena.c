#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../arena/arena.h"

#if defined(__SANITIZE_ADDRESS__)
#define POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONS 1
#endif
#endif
#ifdef POISONS
#include <sanitizer/asan_interface.h>
#endif

/* ---- The arena ---------------------------------------------------------------- */

static const uint64_t pieces[][2] = {{1, 1}, {3, 64}, {7, 9}, {0, 8}, {1, 65}, {100, 4}};

static void lay_out(blm_arena *a, uint8_t *piece[BLM_COUNT_OF(pieces)])
{
    size_t i;
    for (i = 0; i < BLM_COUNT_OF(pieces); i++) {
        piece[i] = blm_arena_take(a, pieces[i][0], pieces[i][1]);
    }
}

static uint64_t planned_bytes(void)
{
    uint8_t *piece[BLM_COUNT_OF(pieces)];
    blm_arena a;
    size_t i;
    blm_arena_start(&a, NULL, UINT64_MAX);
    lay_out(&a, piece);
    for (i = 0; i < BLM_COUNT_OF(pieces); i++)
        assert_null(piece[i]);
    assert_true(blm_arena_ok(&a));
    assert_int_equal(a.used, 64 + 192 + 64 + 0 + 128 + 448);
    assert_int_equal(a.peak, a.used);
    assert_int_equal(a.wanted, a.used);
    return a.wanted + BLM_ARENA_MARGIN;
}

static void a_block_of_exactly_the_plan_is_enough_at_every_address(void **state)
{
    uint64_t bytes = planned_bytes();
    size_t lead, i;
    (void)state;
    for (lead = 0; lead < 64; lead++) {
        uint8_t *block = malloc(lead + bytes), *piece[BLM_COUNT_OF(pieces)];
        blm_arena a;
        blm_arena_start(&a, block + lead, bytes);
        lay_out(&a, piece);
        assert_true(blm_arena_ok(&a));
        for (i = 0; i < BLM_COUNT_OF(pieces); i++) {
            uint64_t size = pieces[i][0] * pieces[i][1];
            assert_non_null(piece[i]);
            assert_int_equal((uintptr_t)piece[i] % BLM_ARENA_ALIGN, 0);
            assert_true(piece[i] >= block + lead);
            assert_true(piece[i] + size <= block + lead + bytes);
            memset(piece[i], (int)i, size);
        }
        assert_int_equal(a.peak + BLM_ARENA_MARGIN, bytes);
        free(block);
    }
}

static void a_byte_less_than_the_plan_fails_at_every_address(void **state)
{
    uint64_t bytes = planned_bytes();
    size_t lead;
    (void)state;
    for (lead = 0; lead < 64; lead++) {
        uint8_t *block = malloc(lead + bytes), *piece[BLM_COUNT_OF(pieces)];
        blm_arena a;
        blm_arena_start(&a, block + lead, bytes - 1);
        lay_out(&a, piece);
        assert_false(blm_arena_ok(&a));
        assert_null(piece[5]);
        assert_int_equal(a.wanted + BLM_ARENA_MARGIN, bytes);
        assert_true(a.peak <= a.limit);
        free(block);
    }
}

static void a_block_of_any_size_stays_inside_itself(void **state)
{
    uint64_t planned = planned_bytes(), bytes;
    size_t i;
    (void)state;
    for (bytes = 0; bytes < planned; bytes++) {
        uint8_t *block = malloc(bytes + 1), *piece[BLM_COUNT_OF(pieces)];
        blm_arena a;
        blm_arena_start(&a, block + 1, bytes);
        lay_out(&a, piece);
        assert_false(blm_arena_ok(&a));
        for (i = 0; i < BLM_COUNT_OF(pieces); i++) {
            if (piece[i] == NULL) continue;
            assert_true(piece[i] + pieces[i][0] * pieces[i][1] <= block + 1 + bytes);
            memset(piece[i], 1, pieces[i][0] * pieces[i][1]);
        }
        free(block);
    }
}

static void sizes_that_overflow_fail_and_stay_failed(void **state)
{
    static const uint64_t cases[][2] = {
        {UINT64_MAX, 1},
        {UINT64_MAX, 2},
        {UINT64_C(1) << 32, UINT64_C(1) << 32},
        {(UINT64_C(1) << 63), 2},
        {UINT64_MAX - 62, 1},
        {3, UINT64_MAX / 3 + 1},
        {UINT64_MAX - 128 + 1, 1},
        {1, UINT64_MAX - 1000},
    };
    static uint8_t block[4096];
    size_t i, counting;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        for (counting = 0; counting < 2; counting++) {
            blm_arena a;
            blm_arena_start(&a, counting ? NULL : block, counting ? UINT64_MAX : sizeof block);
            blm_arena_take(&a, 1, 1000);
            assert_null(blm_arena_take(&a, cases[i][0], cases[i][1]));
            assert_false(blm_arena_ok(&a));
            assert_null(blm_arena_take(&a, 1, 1));
            blm_arena_rewind(&a, 0);
            assert_false(blm_arena_ok(&a));
            blm_arena_release(&a);
        }
    }
}

static void what_is_rewound_is_handed_out_again(void **state)
{
    static uint8_t block[1024];
    blm_arena a;
    uint8_t *first, *second;
    uint64_t mark;
    (void)state;
    blm_arena_start(&a, block, sizeof block);
    blm_arena_take(&a, 1, 100);
    mark = a.used;
    first = blm_arena_take(&a, 1, 500);
    blm_arena_rewind(&a, mark);
    second = blm_arena_take(&a, 1, 300);
    memset(second, 1, 300);
    assert_ptr_equal(first, second);
    assert_int_equal(a.used, 128 + 320);
    assert_int_equal(a.peak, 128 + 512);
    assert_int_equal(a.wanted, 128 + 512);
    blm_arena_rewind(&a, a.used + 64); /* a mark not reached changes nothing */
    assert_int_equal(a.used, 128 + 320);
    /* Too large, given back, and there is room again; the failure is not forgotten. */
    assert_null(blm_arena_take(&a, 1, 1024));
    blm_arena_rewind(&a, mark);
    assert_non_null(blm_arena_take(&a, 1, 512));
    assert_false(blm_arena_ok(&a));
    assert_int_equal(a.peak, 128 + 512);
    blm_arena_release(&a);
}

static void all_but_the_pieces_is_poisoned(void **state)
{
    (void)state;
#ifdef POISONS
    static uint8_t block[512];
    blm_arena a;
    uint8_t *piece;
    uint64_t mark;
    size_t i;
    blm_arena_start(&a, block + 3, 500);
    assert_true(__asan_address_is_poisoned(a.base));
    piece = blm_arena_take(&a, 1, 70);
    assert_null(__asan_region_is_poisoned(piece, 70));
    /* AddressSanitizer leaves the last 8 bytes alone when what follows may be touched. */
    for (i = 70; piece + i < block + 496; i++) {
        assert_true(__asan_address_is_poisoned(piece + i));
    }
    mark = a.used;
    piece = blm_arena_take(&a, 3, 11);
    blm_arena_rewind(&a, mark);
    assert_true(__asan_address_is_poisoned(piece));
    blm_arena_start(&a, block + 40, 450); /* again, elsewhere in the same memory */
    assert_null(__asan_region_is_poisoned(block, 64));
    blm_arena_start(&a, block, sizeof block);
    blm_arena_release(&a);
    assert_null(__asan_region_is_poisoned(block, sizeof block));
#else
    printf("skipped: built without AddressSanitizer\n");
    skip();
#endif
}

/* ---- Errors ---------------------------------------------------------------------- */

static void failing_fills_the_error_and_returns_its_code(void **state)
{
    bluelm_error err;
    (void)state;
    memset(&err, 0xAA, sizeof err);
    assert_int_equal(blm_fail(&err, BLUELM_E_FORMAT, "llm", 1, 2, 3), BLUELM_E_FORMAT);
    assert_int_equal(err.code, BLUELM_E_FORMAT);
    assert_string_equal(err.subject, "llm");
    assert_int_equal(err.need, 1);
    assert_int_equal(err.have, 2);
    assert_int_equal(err.at, 3);
    assert_int_equal(blm_fail(NULL, BLUELM_E_STATE, "llm", 1, 2, 3), BLUELM_E_STATE);
}

static void a_long_subject_is_cut_between_characters(void **state)
{
    /* A character of 1 to 4 bytes over the place of the cut. */
    static const char *const last[] = {"x", "\xC3\xA9", "\xE6\x97\xA5", "\xF0\x9F\x99\x82"};
    size_t before, i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(last); i++) {
        for (before = 55; before < 70; before++) {
            size_t whole = before + strlen(last[i]), kept;
            bluelm_error err;
            char subject[100];
            memset(subject, 'a', before);
            strcpy(subject + before, last[i]);
            blm_fail(&err, BLUELM_E_ARG, subject, 0, 0, 0);
            kept = whole <= 63 ? whole : before < 63 ? before : 63;
            assert_int_equal(strlen(err.subject), kept);
            assert_memory_equal(err.subject, subject, kept);
        }
    }
}

static void errors_read_as_one_line_with_their_numbers(void **state)
{
    static const struct {
        bluelm_error err;
        const char *text;
    } cases[] = {
        {{BLUELM_E_BUDGET, "kv cache", 67108864, 50331648, 0, 0},
         "kv cache: need 67108864 bytes, have 50331648 (short 16777216)"},
        {{BLUELM_E_ARG, "chunk_tokens", 2048, 5000, 0, BLUELM_CAUSE_ABOVE},
         "chunk_tokens: 5000 is above the limit 2048"},
        {{BLUELM_E_ARG, "stride", 30, 29, 0, BLUELM_CAUSE_BELOW},
         "stride: 29 is below the least 30"},
        {{BLUELM_E_ARG, "token id", 0, 1, 0, BLUELM_CAUSE_NEGATIVE},
         "token id: -1 is below the least 0"},
        {{BLUELM_E_ARG, "top_p", 0, 0xBF000000u, 0, BLUELM_CAUSE_NUMBER},
         "top_p: -0.500 is outside its range"},
        {{BLUELM_E_ARG, "min_p", 0, 0x7FC00000u, 0, BLUELM_CAUSE_NUMBER},
         "min_p: not a number is outside its range"},
        {{BLUELM_E_ARG, "weights", 1, 0, 0, BLUELM_CAUSE_NULL}, "weights: is NULL"},
        {{BLUELM_E_ARG, "grid", 0, 0, 0, 0}, "grid: not a valid argument"},
        {{BLUELM_E_FORMAT, "llm: tensor blk.0.attn_q.weight", 5, 7, 1234, 0},
         "llm: tensor blk.0.attn_q.weight: malformed at byte 1234 (need 5, have 7)"},
        {{BLUELM_E_FORMAT, "llm: merges", 0, 0, 0, 0}, "llm: merges: malformed"},
        {{BLUELM_E_UNSUPPORTED, "llm: type of output.weight", 0, 7, 0, 0},
         "llm: type of output.weight: not supported (value 7)"},
        {{BLUELM_E_UNSUPPORTED, "llm: tensors", 16384, 20000, 8, 0},
         "llm: tensors: not supported at byte 8 (value 20000, limit 16384)"},
        {{BLUELM_E_UNSUPPORTED, "pre: llama9", 0, 0, 0, 0}, "pre: llama9: not supported"},
        {{BLUELM_E_CONTEXT, "picture", 196, 100, 0, 0},
         "picture: need 196 tokens, have 100 (short 96)"},
        {{BLUELM_E_IMAGE, "png: row filter", 4, 9, 55, 0},
         "png: row filter: not a picture that can be used at byte 55 (need 4, have 9)"},
        {{BLUELM_E_STATE, "picture", 0, 0, 0, 0}, "picture: not possible in this state"},
        {{-99, "x", 0, UINT64_MAX, 0, 0},
         "x: unknown error (need 0, have 18446744073709551615)"},
        {{BLUELM_OK, "x", 1, 1, 1, 0}, "no error"},
    };
    char text[200];
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        assert_int_equal(bluelm_error_text(&cases[i].err, text, sizeof text),
                         strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
    assert_int_equal(bluelm_error_text(NULL, text, sizeof text), strlen("no error"));
    assert_string_equal(text, "no error");
}

static void a_line_is_cut_to_its_buffer(void **state)
{
    const char *whole = "kv cache: need 2 bytes, have 1 (short 1)";
    bluelm_error err;
    size_t bytes;
    (void)state;
    blm_fail(&err, BLUELM_E_BUDGET, "kv cache", 2, 1, 0);
    assert_int_equal(bluelm_error_text(&err, NULL, 0), strlen(whole));
    assert_int_equal(bluelm_error_text(&err, NULL, 100), strlen(whole));
    for (bytes = 0; bytes < strlen(whole) + 3; bytes++) {
        char *text = malloc(bytes + 1);
        text[bytes] = 0x5A;
        assert_int_equal(bluelm_error_text(&err, text, bytes), strlen(whole));
        assert_int_equal(text[bytes], 0x5A);
        if (bytes > 0) {
            size_t kept = BLM_MIN(bytes - 1, strlen(whole));
            assert_int_equal(strlen(text), kept);
            assert_memory_equal(text, whole, kept);
        }
        free(text);
    }
}

static void a_hostile_subject_cannot_reach_the_terminal(void **state)
{
    static const struct {
        const char *subject, *shown;
    } cases[] = {
        {"a\x1B[31mb\n\x7F", "a?[31mb??"},
        {"caf\xC3\xA9 \xE6\x97\xA5 \xF0\x9F\x99\x82",
         "caf\xC3\xA9 \xE6\x97\xA5 \xF0\x9F\x99\x82"},
        {"\xC2\x9B"
         "31m",
         "??31m"},                           /* a control of Latin-1     */
        {"\xC0\xAF \xE0\x80\xAF", "?? ???"}, /* overlong                 */
        {"\xED\xA0\x80", "???"},             /* half a surrogate pair    */
        {"\xF4\x90\x80\x80 \xFF", "???? ?"}, /* beyond Unicode           */
        {"\xE6\x97", "??"},                  /* cut                      */
    };
    char text[200], expected[200];
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        bluelm_error err;
        blm_fail(&err, BLUELM_E_STATE, cases[i].subject, 0, 0, 0);
        snprintf(expected, sizeof expected, "%s: not possible in this state", cases[i].shown);
        bluelm_error_text(&err, text, sizeof text);
        assert_string_equal(text, expected);
    }
}

static void a_subject_without_its_end_is_read_no_further(void **state)
{
    bluelm_error *err = malloc(sizeof *err);
    char text[200];
    (void)state;
    memset(err, 'a', sizeof *err);
    err->code = BLUELM_E_STATE;
    err->need = err->have = err->at = 0;
    assert_int_equal(bluelm_error_text(err, text, sizeof text),
                     64 + strlen(": not possible in this state"));
    free(err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_of_exactly_the_plan_is_enough_at_every_address),
        cmocka_unit_test(a_byte_less_than_the_plan_fails_at_every_address),
        cmocka_unit_test(a_block_of_any_size_stays_inside_itself),
        cmocka_unit_test(sizes_that_overflow_fail_and_stay_failed),
        cmocka_unit_test(what_is_rewound_is_handed_out_again),
        cmocka_unit_test(all_but_the_pieces_is_poisoned),
        cmocka_unit_test(failing_fills_the_error_and_returns_its_code),
        cmocka_unit_test(a_long_subject_is_cut_between_characters),
        cmocka_unit_test(errors_read_as_one_line_with_their_numbers),
        cmocka_unit_test(a_line_is_cut_to_its_buffer),
        cmocka_unit_test(a_hostile_subject_cannot_reach_the_terminal),
        cmocka_unit_test(a_subject_without_its_end_is_read_no_further),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
