#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../text/utf8.h"
#include "tiny_model.h"

#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define REPLACEMENT "\357\277\275"

/* ---- UTF-8 ----------------------------------------------------------------------- */

static void characters_survive_decoding_and_encoding(void **state)
{
    uint32_t c, back;
    char out[4];
    (void)state;
    for (c = 0; c < 0x110000; c++) {
        uint32_t length = blm_utf8_encode(c, out);
        if (c >= 0xd800 && c < 0xe000) {
            assert_int_equal(blm_utf8_decode(out, length, &back), 1);
            assert_int_equal(back, 0xfffd);
            continue;
        }
        if (blm_utf8_decode(out, length, &back) != length || back != c) fail();
        if (length > 1 && blm_utf8_decode(out, length - 1, &back) != 1) fail();
    }
}

static void a_stream_gives_whole_characters_however_it_is_cut(void **state)
{
    static const char text[] = "a\303\251\340\240\200\360\220\200\200z\344\270\255";
    size_t first, second;
    (void)state;
    for (first = 0; first < sizeof text; first++) {
        for (second = first; second < sizeof text; second++) {
            blm_utf8_stream s = {{0}, 0};
            char out[100];
            size_t n, used = blm_utf8_push(&s, text, first, out, sizeof out);
            uint32_t c;
            for (n = 0; n < used;) {
                n += blm_utf8_decode(out + n, used - n, &c);
                assert_int_not_equal(c, 0xfffd);
            }
            used +=
                blm_utf8_push(&s, text + first, second - first, out + used, sizeof out - used);
            used += blm_utf8_push(&s, text + second, sizeof text - 1 - second, out + used,
                                  sizeof out - used);
            used += blm_utf8_flush(&s, out + used, sizeof out - used);
            assert_int_equal(used, sizeof text - 1);
            assert_memory_equal(out, text, used);
        }
    }
}

/* Examples of the Unicode Standard, chapter 3, table 3-8 and before it. */
static void bytes_that_are_no_character_are_replaced_once_each(void **state)
{
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41",
         REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT "A"},
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41",
         REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT
             REPLACEMENT "A"},
        {"\xed\xa0\x80\xf4\x91\xff\x41",
         REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT "A"},
        {"x\x80", "x" REPLACEMENT},
        {"x\xe4\xb8", "x" REPLACEMENT}, /* at the end */
    };
    size_t i, j;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        blm_utf8_stream s = {{0}, 0};
        char out[64];
        size_t used = 0, bytes = strlen(cases[i].bytes);
        for (j = 0; j < bytes; j++)
            used += blm_utf8_push(&s, cases[i].bytes + j, 1, out + used, sizeof out - used);
        used += blm_utf8_flush(&s, out + used, sizeof out - used);
        assert_int_equal(used, strlen(cases[i].text));
        assert_memory_equal(out, cases[i].text, used);
        assert_int_equal(blm_utf8_flush(&s, out, sizeof out), 0);
    }
}

static void a_stream_never_writes_past_its_room(void **state)
{
    tiny_random r = {tiny_seed(50)};
    int round;
    (void)state;
    for (round = 0; round < 2000; round++) {
        blm_utf8_stream s = {{0}, 0};
        char bytes[16], out[64];
        size_t i, room = tiny_next(&r) % 48, used = 0;
        for (i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)(tiny_next(&r) | 0x80);
        memset(out, '#', sizeof out);
        used = blm_utf8_push(&s, bytes, sizeof bytes, out, room);
        assert_true(used <= room);
        for (i = used; i < sizeof out; i++)
            assert_int_equal(out[i], '#');
        for (i = 0; i < used;) {
            uint32_t c, length = blm_utf8_decode(out + i, used - i, &c);
            assert_true(length > 1);
            i += length;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_survive_decoding_and_encoding),
        cmocka_unit_test(a_stream_gives_whole_characters_however_it_is_cut),
        cmocka_unit_test(bytes_that_are_no_character_are_replaced_once_each),
        cmocka_unit_test(a_stream_never_writes_past_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
