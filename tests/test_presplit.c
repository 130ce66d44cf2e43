#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../text/presplit.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- Rules of splitting ---------------------------------------------------------- */

/* Words as "a/b/c", by the rule alone. */
static const char *words_of(const char *rule, const char *text)
{
    static char line[1000];
    uint8_t starts[100];
    uint32_t bytes = (uint32_t)strlen(text), at = 0, next;
    size_t used = 0;
    const blm_presplit *split = blm_presplit_find(rule, strlen(rule));
    assert_non_null(split);
    blm_presplit_run(split, text, bytes, starts);
    for (; at < bytes; at = next) {
        next = blm_presplit_next(starts, at + 1, bytes);
        used += (size_t)sprintf(line + used, "%s%.*s", at > 0 ? "/" : "", (int)(next - at),
                                text + at);
    }
    return line;
}

/* What the models' own regular expressions give (Python's regex module). */
static void text_splits_as_the_regular_expressions_say(void **state)
{
    static const struct {
        const char *rule, *text, *words;
    } cases[] = {
        {"gpt-2", "I've told you 123 times:  it's   fine!!",
         "I/'ve/ told/ you/ 123/ times/:/ / it/'s/  / fine/!!"},
        {"gpt-2", "we'LL  ", "we/'/LL/  "},
        {"gpt-2", "x\n\n y", "x/\n\n/ y"},
        {"gpt-2",
         "\303\251t\303\251 2\302\262 \344\270\255\346\226\207\343\200\202 \342\200\203z",
         "\303\251t\303\251/ 2\302\262/ \344\270\255\346\226\207/\343\200\202/ "
         "/\342\200\203/z"},
        {"granite-docling", "I've 1234 x  y", "I/'ve/ 1234/ x/ / y"},
        {"qwen35", "I've camelCase's 123", "I/'ve/ camelCase/'s/ /1/2/3"},
        {"qwen35",
         "\340\244\250\340\244\256\340\244\270\340\245\215\340\244\244\340\245\207 42",
         "\340\244\250\340\244\256\340\244\270\340\245\215\340\244\244\340\245\207/ /4/2"},
        {"gpt-4o", "I've HTTPServer camelCase's 1234567",
         "I've/ HTTPServer/ camel/Case's/ /123/456/7"},
        {"gpt-4o", "\303\200\303\211ab AB\303\251'LL it's",
         "\303\200\303\211ab/ AB\303\251'LL/ it's"},
        {"gpt-4o", "a-/\n/b  \n d", "a/-/\n//b/  \n/ d"},
        {"tekken", "AB\303\251CD's HTTPServer 123", "AB\303\251/CD/'s/ HTTPServer/ /1/2/3"},
        {"tekken", "a-/\n/b  \n d", "a/-/\n//b/  \n/ d"},
        {"minicpm5", "x  1234567", "x/  /123/456/7"},
        {"exaone", "a1b 23", "a/1/b/ /2/3"},
        {"exaone4", "a1b 23", "a/1/b/ 23"},
        {"midm-2.0", "a1b 2345", "a/1/b/ /234/5"},
        {"kormo", "a1b 23", "a/1/b/ /2/3"},
        {"hunyuan", "a 12", "a/ /1/2"},
        {"smollm", "in 2024 a1b", "in/ /2/0/2/4/ a/1/b"},
        {"smollm", "3.14  ", "3/./1/4/  "},
        {"default", "a 12345 (b) $5+$6 ~x|y", "a/ /123/45/ /(/b/)/ /$/5/+$/6/ /~/x/|/y"},
        {"default", "99 red, 1000000", "99/ red/,/ /100/000/0"},
        {"llama-bpe", "He'S 12345,\n\n  ok \tgo", "He/'S/ /123/45/,\n\n/ / ok/ /\tgo"},
        {"llama-bpe", "a\r\n\r\n  \n b", "a/\r\n\r\n  \n/ b"},
        {"llama-bpe", "(hi) .end 1 2", "(hi/)/ ./end/ /1/ /2"},
        {"llama-bpe", "'ll 'X'VE", "'ll/ '/X/'VE"},
        {"qwen2", "He'S 12345,\n\n  ok \tgo", "He/'S/ /1/2/3/4/5/,\n\n/ / ok/ /\tgo"},
        {"qwen2", "\344\270\255\346\226\2072\302\262  ",
         "\344\270\255\346\226\207/2/\302\262/  "},
        {"deepseek-llm", "Hi there,\nit's \344\270\255\346\226\207ab 12345  ",
         "Hi/ there/,/\n/it/'/s/ /\344\270\255\346\226\207/ab/ /12345/  "},
        {"deepseek-llm",
         "\343\200\200\343\200\200x\343\200\201\343\200\202 \303\270\312\224z "
         "\352\260\200\343\204\261 a   b  ",
         "\343\200\200/\343\200\200/x/\343\200\201\343\200\202/ \303\270/\312\224/z/ "
         "/\352\260\200\343\204\261/ a/  / b/  "},
    };
    static const char *const same[][2] = {{"starcoder", "smollm"},
                                          {"refact", "smollm"},
                                          {"command-r", "smollm"},
                                          {"llama3", "llama-bpe"},
                                          {"llama-v3", "llama-bpe"}};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++)
        assert_string_equal(words_of(cases[i].rule, cases[i].text), cases[i].words);
    for (i = 0; i < COUNT(same); i++)
        assert_ptr_equal(blm_presplit_find(same[i][0], strlen(same[i][0]))->stages,
                         blm_presplit_find(same[i][1], strlen(same[i][1]))->stages);
}

static void every_byte_of_any_text_falls_into_one_word(void **state)
{
    static const char *const rules[] = {"gpt-2",     "smollm",       "default", "qwen2",
                                        "llama-bpe", "deepseek-llm", "qwen35",  "gpt-4o",
                                        "tekken",    "minicpm5"};
    tiny_random r = {tiny_seed(20)};
    char text[300];
    uint8_t starts[300 / 8 + 1];
    uint32_t i, bytes, at, round;
    (void)state;
    for (round = 0; round < 3000; round++) {
        bytes = 1 + (uint32_t)(tiny_next(&r) % sizeof text);
        for (i = 0; i < bytes; i++)
            text[i] =
                round % 2 ? (char)tiny_next(&r) : "a '\n1.\xe2\x80\x83"[tiny_next(&r) % 9];
        blm_presplit_run(blm_presplit_find(rules[round % 10], strlen(rules[round % 10])), text,
                         bytes, starts);
        assert_true(starts[0] & 1);
        for (at = 0, i = 0; at < bytes; i++) {
            at = blm_presplit_next(starts, at + 1, bytes);
            assert_true(at <= bytes);
        }
        assert_true(i <= bytes);
    }
}

/* How many characters have a class, from Python's unicodedata 14.0.0; the 25 with the
 * White_Space property are all of category Zs, Zl, Zp or Cc. */
static void characters_have_the_classes_of_unicode(void **state)
{
    uint32_t counts[7] = {0}, c;
    (void)state;
    for (c = 0; c < 0x110000; c++)
        counts[blm_char_class(c)]++;
    assert_int_equal(counts[BLM_CHAR_LETTER], 131756);
    assert_int_equal(counts[BLM_CHAR_NUMBER], 1791);
    assert_int_equal(counts[BLM_CHAR_PUNCTUATION], 819);
    assert_int_equal(counts[BLM_CHAR_SPACE], 25);
    assert_int_equal(counts[BLM_CHAR_OTHER], 979746 - 25 - 2408);
    assert_int_equal(counts[BLM_CHAR_MARK], 2408);
    assert_int_equal(blm_char_class('_'), BLM_CHAR_PUNCTUATION);
    assert_int_equal(blm_char_class('+'), BLM_CHAR_OTHER);
    assert_int_equal(blm_char_class(0xb2), BLM_CHAR_NUMBER);
    assert_int_equal(blm_char_class(0x4e2d), BLM_CHAR_LETTER);
    assert_int_equal(blm_char_class(0x3134a), BLM_CHAR_LETTER);
    assert_int_equal(blm_char_class(0x3134b), BLM_CHAR_OTHER);
    assert_int_equal(blm_char_class(UINT32_MAX), BLM_CHAR_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_splits_as_the_regular_expressions_say),
        cmocka_unit_test(every_byte_of_any_text_falls_into_one_word),
        cmocka_unit_test(characters_have_the_classes_of_unicode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
