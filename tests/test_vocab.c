#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vocab_aid.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_IDS  VOCAB_MAX_IDS

/* ---- Limits ---------------------------------------------------------------------- */

static void text_over_the_limit_is_a_budget_error(void **state)
{
    static char text[65536];
    static int32_t ids[MAX_IDS];
    vocab_subject s;
    (void)state;
    memset(text, 'z', sizeof text);
    vocab_open_spm(&s, NULL, 0, 65535);
    assert_int_equal(blm_tokenize(&s.v, text, 65535, 1, ids, MAX_IDS, &s.err), 65535);
    assert_int_equal(blm_tokenize(&s.v, text, 65536, 1, ids, MAX_IDS, &s.err), BLUELM_E_BUDGET);
    assert_int_equal(s.err.need, 65536);
    assert_int_equal(s.err.have, 65535);
    vocab_close(&s);
    vocab_open_spm(&s, NULL, 0, 1);
    vocab_expect(&s, "z", 1, "125");
    assert_int_equal(blm_tokenize(&s.v, "zz", 2, 1, ids, MAX_IDS, NULL), BLUELM_E_BUDGET);
    assert_int_equal(blm_vocab_init(&s.v, &s.gguf, &s.arena, 0, &s.err), BLUELM_E_ARG);
    assert_int_equal(blm_vocab_init(&s.v, &s.gguf, &s.arena, 65536, &s.err), BLUELM_E_ARG);
    vocab_close(&s);
}

static void tokens_that_do_not_fit_are_counted(void **state)
{
    int32_t ids[4] = {-7, -7, -7, -7};
    vocab_subject s;
    (void)state;
    vocab_open_spm(&s, NULL, 0, 100);
    assert_int_equal(blm_tokenize(&s.v, "abcdef", 6, 0, ids, 2, &s.err), 6);
    assert_int_equal(ids[0], 3 + 'a');
    assert_int_equal(ids[1], 3 + 'b');
    assert_int_equal(ids[2], -7);
    assert_int_equal(blm_tokenize(&s.v, "abcdef", 6, 0, NULL, 0, &s.err), 6);
    vocab_close(&s);
}

static void an_arena_too_small_is_left_alone(void **state)
{
    vocab_subject s;
    uint64_t bytes;
    (void)state;
    vocab_open_bpe(&s, "gpt-2", NULL, 0, NULL, 0);
    for (bytes = 0; bytes < s.need; bytes += 61) {
        uint8_t *block = malloc((size_t)bytes + 1);
        blm_arena_start(&s.arena, block, bytes);
        assert_int_equal(blm_vocab_init(&s.v, &s.gguf, &s.arena, 4096, &s.err), BLUELM_OK);
        assert_false(blm_arena_ok(&s.arena));
        blm_arena_start(&s.arena, block, bytes);
        free(block);
    }
    vocab_close(&s);
}

/* ---- Hostile vocabularies -------------------------------------------------------- */

enum {
    NO_MODEL = 1,
    OTHER_MODEL,
    OTHER_PRE,
    NO_TOKENS,
    ZERO_TOKENS,
    TOKENS_NO_STRINGS,
    SHORT_SCORES,
    LONG_TYPES,
    FLOAT_TYPES,
    NO_MERGES,
    BOS_BEYOND,
    EOS_BEYOND,
    BOS_NEGATIVE
};

static void write_broken(tiny_writer *w, int what)
{
    static const vocab_piece one[] = {{"a", 0, 1}, {"b", 0, 1}};
    int gpt2 = what == OTHER_PRE || what == NO_MERGES;
    tiny_start(w, 1);
    if (what != NO_MODEL)
        tiny_key_string(w, "tokenizer.ggml.model",
                        what == OTHER_MODEL ? "t5"
                        : gpt2              ? "gpt2"
                                            : "llama");
    if (what == OTHER_PRE) tiny_key_string(w, "tokenizer.ggml.pre", "qwen1234567");
    if (what == ZERO_TOKENS) tiny_key_array(w, "tokenizer.ggml.tokens", BLM_GGUF_STRING, 0);
    if (what == TOKENS_NO_STRINGS) tiny_key_u32(w, "tokenizer.ggml.tokens", 3);
    if (what != ZERO_TOKENS && what != TOKENS_NO_STRINGS && what != NO_TOKENS)
        vocab_write_pieces(w, one, 2, NO_TYPES, NO_SCORES);
    if (what == SHORT_SCORES) {
        tiny_key_array(w, "tokenizer.ggml.scores", BLM_GGUF_F32, 1);
        tiny_put_f32(&w->keys, 0);
    }
    if (what == LONG_TYPES || what == FLOAT_TYPES) {
        tiny_key_array(w, "tokenizer.ggml.token_type",
                       what == LONG_TYPES ? BLM_GGUF_I32 : BLM_GGUF_F32, 3);
        tiny_put_u32(&w->keys, 1);
        tiny_put_u32(&w->keys, 1);
        tiny_put_u32(&w->keys, 1);
    }
    if (what == BOS_BEYOND) tiny_key_u32(w, "tokenizer.ggml.bos_token_id", 2);
    if (what == EOS_BEYOND) tiny_key_u32(w, "tokenizer.ggml.eos_token_id", UINT32_MAX);
    if (what == BOS_NEGATIVE) {
        tiny_key(w, "tokenizer.ggml.bos_token_id", BLM_GGUF_I32);
        tiny_put_u32(&w->keys, UINT32_MAX);
    }
}

static void broken_vocabularies_are_refused(void **state)
{
    static const struct {
        int what, code;
        const char *subject;
    } cases[] = {
        {NO_MODEL, BLUELM_E_FORMAT, "tokenizer.ggml.model"},
        {OTHER_MODEL, BLUELM_E_UNSUPPORTED, "t5"},
        {OTHER_PRE, BLUELM_E_UNSUPPORTED, "qwen1234567"},
        {NO_TOKENS, BLUELM_E_FORMAT, "tokenizer.ggml.tokens"},
        {ZERO_TOKENS, BLUELM_E_FORMAT, "tokenizer.ggml.tokens"},
        {TOKENS_NO_STRINGS, BLUELM_E_FORMAT, "tokenizer.ggml.tokens"},
        {SHORT_SCORES, BLUELM_E_FORMAT, "tokenizer.ggml.scores"},
        {LONG_TYPES, BLUELM_E_FORMAT, "tokenizer.ggml.token_type"},
        {FLOAT_TYPES, BLUELM_E_FORMAT, "tokenizer.ggml.token_type"},
        {NO_MERGES, BLUELM_E_FORMAT, "tokenizer.ggml.merges"},
        {BOS_BEYOND, BLUELM_E_FORMAT, "tokenizer.ggml.bos_token_id"},
        {EOS_BEYOND, BLUELM_E_FORMAT, "tokenizer.ggml.eos_token_id"},
        {BOS_NEGATIVE, BLUELM_E_FORMAT, "tokenizer.ggml.bos_token_id"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        tiny_writer w;
        vocab_subject s;
        write_broken(&w, cases[i].what);
        assert_int_equal(vocab_open(&s, &w, 100), cases[i].code);
        assert_int_equal(s.err.code, cases[i].code);
        assert_non_null(strstr(s.err.subject, cases[i].subject));
        vocab_close(&s);
    }
}

static void odd_merges_do_no_harm(void **state)
{
    static const vocab_piece extra[] = {{"ab", 0, 1}, {"", 0, 1}, {"", 0, 1}, {"ab", 0, 1}};
    static const char *const merges[] = {"",      " ",   "ab",  " ab",   "a ",   "a  b",
                                         "x y z", "a b", "a b", "b\n a", "ab ab"};
    vocab_subject s;
    (void)state;
    vocab_open_bpe(&s, "gpt-2", extra, COUNT(extra), merges, COUNT(merges));
    vocab_expect(&s, "ab", 0, "259"); /* the last of equal pieces stands */
    vocab_expect(&s, "ba", 0, "98 97");
    vocab_expect(&s, "abab", 0, "97 98 97 98"); /* "abab" merges but is no token */
    vocab_close(&s);
}

static void a_vocabulary_without_bytes_uses_its_unknown_token(void **state)
{
    static const vocab_piece pieces[] = {{"<unk>", 0, BLM_TOKEN_UNKNOWN},
                                         {"<s>", 0, BLM_TOKEN_CONTROL},
                                         {"</s>", 0, BLM_TOKEN_CONTROL},
                                         {"a", -1, 1}};
    tiny_writer w;
    vocab_subject s;
    (void)state;
    vocab_start(&w, "llama");
    vocab_write_pieces(&w, pieces, COUNT(pieces), 1, 1);
    assert_int_equal(vocab_open(&s, &w, 100), BLUELM_OK);
    vocab_expect(&s, "a\303\251z\377a", 0, "3 0 0 0 3");
    vocab_close(&s);
    vocab_start(&w, "llama"); /* no types, no scores, no unknown token: such text vanishes */
    vocab_write_pieces(&w, pieces, COUNT(pieces), NO_TYPES, NO_SCORES);
    assert_int_equal(vocab_open(&s, &w, 100), BLUELM_OK);
    assert_int_equal(s.v.unknown, -1);
    assert_int_equal(s.v.bos, -1);
    assert_false(s.v.add_bos);
    vocab_expect(&s, "aza", 0, "3 3");
    vocab_close(&s);
}

static void thousands_of_equal_pieces_cost_no_time(void **state)
{
    static vocab_piece pieces[20000];
    tiny_writer w;
    vocab_subject s;
    clock_t begin;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(pieces); i++) {
        pieces[i].text = "same";
        pieces[i].type = BLM_TOKEN_NORMAL;
    }
    vocab_start(&w, "llama");
    vocab_write_pieces(&w, pieces, COUNT(pieces), 1, 1);
    begin = clock();
    assert_int_equal(vocab_open(&s, &w, 100), BLUELM_OK);
    assert_true(clock() - begin < CLOCKS_PER_SEC);
    assert_int_equal(blm_vocab_lookup(&s.v, "same", 4), COUNT(pieces) - 1);
    vocab_close(&s);
}

/* Scores that are no numbers or infinite keep an order. */
static void odd_scores_do_no_harm(void **state)
{
    vocab_piece extra[] = {{"a", 0, 1}, {"aa", 0, 1}, {"aaa", 0, 1}, {"aaaa", 0, 1}};
    volatile float zero = 0;
    vocab_subject s;
    (void)state;
    extra[1].score = zero / zero;
    extra[2].score = 1 / zero;
    extra[3].score = -1 / zero;
    vocab_open_spm(&s, extra, COUNT(extra), 100);
    vocab_expect(&s, "aaaaa", 0, "262 259"); /* aa, the only one, then aaa, then aaaa */
    vocab_close(&s);
    extra[1].text = "ab", extra[1].score = -0.0f; /* as good as 0: the left one first */
    extra[2].text = "bc", extra[2].score = 0;
    vocab_open_spm(&s, extra, COUNT(extra), 100);
    vocab_expect(&s, "abc", 0, "260 102");
    vocab_close(&s);
}

/* ---- Pieces made to collide ------------------------------------------------------ */

/* The hash that a hostile file would be made for. */
static uint32_t fnv(uint32_t hash, const char *text)
{
    for (; *text != 0; text++)
        hash = (hash ^ (uint8_t)*text) * 16777619u;
    return hash;
}

static uint32_t fnv_slot(const char *text, uint32_t slots)
{
    uint32_t hash = fnv(2166136261u, text);
    hash ^= hash >> 15;
    hash *= 0x2c1b3c6du;
    hash ^= hash >> 12;
    hash *= 0x297a2d39u;
    hash ^= hash >> 15;
    return (uint32_t)((uint64_t)hash * slots >> 32);
}

/* Pieces each of which is the next in one unbroken run of slots of a table that is searched
 * slot by slot, and a text of pairs that all begin their search in that run. */
static void pieces_that_fill_one_run_cost_no_time(void **state)
{
    enum { RUN = 3500, SLOTS = (SPM_FIRST + RUN) * 5 / 4 + 1 };
    static vocab_piece pieces[SPM_FIRST + RUN];
    static char names[RUN][12], text[60000];
    static int32_t ids[MAX_IDS];
    size_t count = 0, i;
    (void)state;
    for (uint64_t try = 0; count < RUN; try++) {
        sprintf(names[count], "=%llx", (unsigned long long)try);
        if (fnv_slot(names[count], SLOTS) < RUN) count++;
    }
    for (i = 0; i < RUN; i++) {
        pieces[SPM_FIRST + i].text = names[i];
        pieces[SPM_FIRST + i].type = BLM_TOKEN_NORMAL;
    }
    vocab_spm_pieces(pieces, NULL, 0);
    tiny_writer w;
    vocab_subject s;
    vocab_start(&w, "llama");
    vocab_write_pieces(&w, pieces, COUNT(pieces), 1, 1);
    assert_int_equal(vocab_open(&s, &w, sizeof text), BLUELM_OK);
    for (i = 0; i + 2 <= sizeof text;) {
        char pair[3] = {(char)('a' + i % 26), (char)('a' + i / 26 % 26), 0};
        for (; fnv_slot(pair, SLOTS) > RUN / 8; pair[1] = (char)(pair[1] % 126 + 1))
            pair[0] = (char)(pair[0] % 126 + 1);
        memcpy(text + i, pair, 2);
        i += 2;
    }
    clock_t begin = clock();
    assert_in_range(blm_tokenize(&s.v, text, sizeof text, 0, ids, MAX_IDS, &s.err), 1,
                    sizeof text);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    print_message("%.3f s\n", seconds);
    assert_true(seconds < 0.5);
    vocab_close(&s);
}

/* Two texts of BLOCK letters that lead the hash from one state to the same next one. */
enum { BLOCK = 8 };

static uint32_t fnv_pair(uint32_t hash, char a[BLOCK + 1], char b[BLOCK + 1])
{
    static char seen[1 << 18][BLOCK + 1];
    static uint32_t ends[1 << 18];
    tiny_random r = {hash};
    memset(seen, 0, sizeof seen);
    for (;;) {
        char text[BLOCK + 1] = {0};
        uint64_t random = tiny_next(&r);
        for (int i = 0; i < BLOCK; i++)
            text[i] = (char)('a' + (random >> 8 * i & 15));
        uint32_t end = fnv(hash, text), slot = end >> 14;
        if (seen[slot][0] && ends[slot] == end && strcmp(seen[slot], text) != 0) {
            memcpy(a, seen[slot], sizeof text);
            memcpy(b, text, sizeof text);
            return end;
        }
        memcpy(seen[slot], text, sizeof text);
        ends[slot] = end;
    }
}

/* 2^13 pieces of one and the same hash, more than any table keeps in one place. */
static void pieces_of_one_hash_are_hashed_with_another_seed(void **state)
{
    enum { STAGES = 13, PIECES = 1 << STAGES };
    static vocab_piece pieces[SPM_FIRST + PIECES];
    static char names[PIECES][BLOCK * STAGES + 1], blocks[STAGES][2][BLOCK + 1];
    uint32_t hash = 2166136261u;
    (void)state;
    for (int i = 0; i < STAGES; i++)
        hash = fnv_pair(hash, blocks[i][0], blocks[i][1]);
    vocab_spm_pieces(pieces, NULL, 0);
    for (int i = 0; i < PIECES; i++) {
        for (int j = 0; j < STAGES; j++)
            memcpy(names[i] + BLOCK * j, blocks[j][i >> j & 1], BLOCK);
        assert_int_equal(fnv(2166136261u, names[i]), hash);
        pieces[SPM_FIRST + i].text = names[i];
        pieces[SPM_FIRST + i].type = BLM_TOKEN_NORMAL;
    }
    tiny_writer w;
    vocab_subject s;
    vocab_start(&w, "llama");
    vocab_write_pieces(&w, pieces, COUNT(pieces), 1, 1);
    assert_int_equal(vocab_open(&s, &w, 100), BLUELM_OK);
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(blm_vocab_lookup(&s.v, names[i], BLOCK * STAGES), SPM_FIRST + i);
    vocab_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_over_the_limit_is_a_budget_error),
        cmocka_unit_test(tokens_that_do_not_fit_are_counted),
        cmocka_unit_test(an_arena_too_small_is_left_alone),
        cmocka_unit_test(broken_vocabularies_are_refused),
        cmocka_unit_test(odd_merges_do_no_harm),
        cmocka_unit_test(a_vocabulary_without_bytes_uses_its_unknown_token),
        cmocka_unit_test(thousands_of_equal_pieces_cost_no_time),
        cmocka_unit_test(odd_scores_do_no_harm),
        cmocka_unit_test(pieces_that_fill_one_run_cost_no_time),
        cmocka_unit_test(pieces_of_one_hash_are_hashed_with_another_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
