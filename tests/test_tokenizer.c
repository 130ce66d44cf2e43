#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "file_aid.h"
#include "vocab_aid.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MARK     VOCAB_MARK
#define MAX_IDS  VOCAB_MAX_IDS

/* ---- Vectors of real vocabularies ------------------------------------------------ */

/* The next part of a text that ends in `separator`, cut out; NULL at the end. */
static char *next_part(char **rest, const char *separator)
{
    char *part = *rest, *end = strstr(part, separator);
    if (end == NULL) return NULL;
    *end = 0;
    *rest = end + strlen(separator);
    return part;
}

static tiny_file vocabulary_file(const char *name, const char *suffix)
{
    char full[64];
    snprintf(full, sizeof full, "ggml-vocab-%s.gguf%s", name, suffix);
    return file_reference(".", "vocab", full);
}

/* A file that must be there, with a 0 behind it. */
static tiny_file vocabulary_text(const char *name, const char *suffix)
{
    tiny_file file = vocabulary_file(name, suffix);
    assert_non_null(file.data);
    file.data = realloc(file.data, file.bytes + 1);
    assert_non_null(file.data);
    file.data[file.bytes] = 0;
    return file;
}

/* Returns how many texts were compared, 0 when the files are not there. */
static int check_vectors(const char *name)
{
    char *texts, *lines, *text, *line;
    tiny_file inp, out;
    vocab_subject s;
    int count = 0;
    tiny_file file = vocabulary_file(name, "");
    if (file.data == NULL) return 0;
    inp = vocabulary_text(name, ".inp");
    out = vocabulary_text(name, ".out");
    assert_int_equal(vocab_open_file(&s, file, 65535), BLUELM_OK);
    texts = (char *)inp.data, lines = (char *)out.data;
    while ((text = next_part(&texts, "\n__ggml_vocab_test__\n")) != NULL) {
        line = next_part(&lines, "\n");
        assert_non_null(line);
        assert_string_equal(vocab_ids(&s, text, strlen(text), 1),
                            *line == ' ' ? line + 1 : line);
        count++;
    }
    vocab_close(&s);
    tiny_free(&inp);
    tiny_free(&out);
    return count;
}

static void a_real_vocabulary_gives_the_ids_of_another_implementation(void **state)
{
    (void)state;
    assert_int_equal(check_vectors("phi-3"), 46);
}

static void more_real_vocabularies_give_the_ids_of_another_implementation(void **state)
{
    static const char *const names[] = {"gpt-2", "deepseek-llm", "llama-spm"};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(names); i++)
        if (check_vectors(names[i]) == 0)
            print_message("skipped: no vocabulary of %s\n", names[i]);
}

/* Its pieces have U+2581 for a space and <0x0A> for a byte; they merge by rank, and lines are
 * cut from line breaks, runs of which may be tokens. Ids: another implementation's. */
static void gemma_4_merges_pieces_like_sentencepieces_by_rank(void **state)
{
    static const struct {
        const char *text, *ids;
    } cases[] = {
        {"the model in the user", "341 273 361 362 342 273 357"},
        {"  the\n\n\nthe", "274 341 272 271 341"},
        {" a\n\n b \303\251 \303\274 \303\266", "346 272 273 276 273 338 273 339 273 210 197"},
        {"<|turn>user\nHe", "75 139 294 295 292 288 77 357 271 315 279"},
        {"there <|channel> is", "341 349 273 13 273 355"},
        {"Hello, \344\275\240", "315 360 286 289 302 273 243 204 175"},
        {"\n\n\n\n", "272 272"},
        {"theseus modeling", "341 293 279 356 273 361 367"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        vocab_subject s;
        int32_t ids[32];
        char back[64];
        int64_t count;
        tiny_file file = file_load("tests/data/families/gemma4-q8_0.gguf");
        assert_int_equal(vocab_open_file(&s, file, 100), BLUELM_OK);
        assert_true(s.v.add_bos && s.v.bos == 2 && s.v.eot == 8);
        vocab_expect(&s, cases[i].text, 1, cases[i].ids);
        count = blm_tokenize(&s.v, cases[i].text, strlen(cases[i].text), 1, ids, 32, &s.err);
        assert_int_equal(vocab_text(&s, ids, count, back, sizeof back), strlen(cases[i].text));
        assert_memory_equal(back, cases[i].text, strlen(cases[i].text));
        vocab_close(&s);
    }
}

/* ---- Merging --------------------------------------------------------------------- */

/* Joins the best pair again and again, looking at all pairs each time: the rule itself.
 * parts: strings of `count` symbols; score: 1 and a number when two may join (greatest
 * first). */
typedef int (*join_score)(const char *left, const char *right, double *score);

static size_t join_slowly(char parts[][64], size_t count, join_score may_join)
{
    for (;;) {
        double best = 0, score;
        size_t at = count, i;
        for (i = 0; i + 1 < count; i++)
            if (may_join(parts[i], parts[i + 1], &score) && (at == count || score > best))
                best = score, at = i;
        if (at == count) return count;
        memmove(parts[at] + strlen(parts[at]), parts[at + 1], strlen(parts[at + 1]) + 1);
        memmove(parts[at + 1], parts[at + 2], (count - at - 2) * sizeof *parts);
        count--;
    }
}

static char random_texts[200][20];
static vocab_piece random_pieces[200];
static char random_merges[200][44];
static size_t random_count;

static int same_text_before(const char *text)
{
    size_t i;
    for (i = 0; i < random_count; i++)
        if (strcmp(random_texts[i], text) == 0) return 1;
    return 0;
}

/* Pieces over a small alphabet, with many equal scores. */
static void make_random_pieces(tiny_random *r)
{
    size_t i, length;
    random_count = 0;
    for (i = 0; i < COUNT(random_texts); i++) {
        char text[20];
        size_t used = 0;
        for (length = 1 + tiny_next(r) % 5; length > 0; length--)
            used += (size_t)sprintf(text + used, "%s",
                                    tiny_next(r) % 4 == 0   ? MARK
                                    : tiny_next(r) % 2 == 0 ? "a"
                                                            : "b");
        if (used >= sizeof text || same_text_before(text)) continue;
        strcpy(random_texts[random_count], text);
        random_pieces[random_count].text = random_texts[random_count];
        random_pieces[random_count].score = -(float)(tiny_next(r) % 40);
        random_pieces[random_count].type = BLM_TOKEN_NORMAL;
        random_count++;
    }
}

static int piece_score(const char *left, const char *right, double *score)
{
    char both[128];
    size_t i;
    sprintf(both, "%s%s", left, right);
    for (i = 0; i < random_count; i++) {
        if (strcmp(random_texts[i], both) != 0) continue;
        *score = (double)random_pieces[i].score;
        return 1;
    }
    return 0;
}

static int merge_score(const char *left, const char *right, double *score)
{
    char both[128];
    size_t i;
    sprintf(both, "%s %s", left, right);
    for (i = 0; i < random_count; i++) {
        if (strcmp(random_merges[i], both) != 0) continue;
        *score = -(double)i;
        return 1;
    }
    return 0;
}

static void sentencepiece_joins_the_best_pair_first(void **state)
{
    tiny_random r = {tiny_seed(30)};
    int round, text_round;
    (void)state;
    for (round = 0; round < 30; round++) {
        vocab_subject s;
        make_random_pieces(&r);
        vocab_open_spm(&s, random_pieces, random_count, 100);
        for (text_round = 0; text_round < 30; text_round++) {
            char text[32] = "", parts[32][64], want[400] = "";
            size_t length = tiny_next(&r) % 20, i, count = 0;
            strcpy(parts[count++], MARK);
            for (i = 0; i < length; i++) {
                text[i] = " ab"[tiny_next(&r) % 3];
                sprintf(parts[count++], "%s",
                        text[i] == ' '   ? MARK
                        : text[i] == 'a' ? "a"
                                         : "b");
            }
            if (length == 0) count = 0;
            count = join_slowly(parts, count, piece_score);
            for (i = 0; i < count; i++) {
                int32_t id = blm_vocab_lookup(&s.v, parts[i], strlen(parts[i]));
                /* the lone prefix has no byte of its own */
                if (id < 0 && i == 0 && strcmp(parts[0], MARK) == 0) continue;
                if (id < 0) id = 3 + (strcmp(parts[i], MARK) == 0 ? ' ' : parts[i][0]);
                sprintf(want + strlen(want), want[0] ? " %d" : "%d", (int)id);
            }
            vocab_expect(&s, text, 1, want);
        }
        vocab_close(&s);
    }
}

/* Words of a and b: the rule gpt-2 keeps them whole, so that merges alone decide. */
static void byte_level_bpe_joins_by_rank(void **state)
{
    tiny_random r = {tiny_seed(40)};
    int round, text_round;
    (void)state;
    for (round = 0; round < 30; round++) {
        const char *merges[200];
        vocab_subject s;
        size_t i, j;
        random_count = 0;
        for (i = 0; i < 60; i++) {
            char left[16] = "", right[16] = "", both[32];
            for (j = 1 + tiny_next(&r) % 4; j > 0; j--)
                strcat(left, tiny_next(&r) % 2 ? "a" : "b");
            for (j = 1 + tiny_next(&r) % 4; j > 0; j--)
                strcat(right, tiny_next(&r) % 2 ? "a" : "b");
            sprintf(both, "%s%s", left, right);
            if (same_text_before(both)) continue;
            strcpy(random_texts[random_count], both);
            random_pieces[random_count].text = random_texts[random_count];
            random_pieces[random_count].type = BLM_TOKEN_NORMAL;
            sprintf(random_merges[random_count], "%s %s", left, right);
            merges[random_count] = random_merges[random_count];
            random_count++;
        }
        vocab_open_bpe(&s, "gpt-2", random_pieces, random_count, merges, random_count);
        for (text_round = 0; text_round < 30; text_round++) {
            char text[32] = "", parts[32][64], want[400] = "";
            size_t length = tiny_next(&r) % 20, count = 0;
            for (i = 0; i < length; i++) {
                text[i] = "ab"[tiny_next(&r) % 2];
                sprintf(parts[count++], "%c", text[i]);
            }
            count = join_slowly(parts, count, merge_score);
            for (i = 0; i < count; i++)
                sprintf(want + strlen(want), want[0] ? " %d" : "%d",
                        (int)blm_vocab_lookup(&s.v, parts[i], strlen(parts[i])));
            vocab_expect(&s, text, 1, want);
        }
        vocab_close(&s);
    }
}

static void llama_3_takes_whole_words_that_are_tokens(void **state)
{
    static const vocab_piece extra[] = {{"abc", 0, BLM_TOKEN_NORMAL},
                                        {"ab", 0, BLM_TOKEN_NORMAL}};
    static const char *const merges[] = {"a b"};
    vocab_subject s;
    (void)state;
    vocab_open_bpe(&s, "llama-bpe", extra, 2, merges, 1);
    vocab_expect(&s, "abc", 1, "256");
    vocab_expect(&s, "abcd", 1, "257 99 100");
    vocab_close(&s);
    vocab_open_bpe(&s, "qwen2", extra, 2, merges, 1);
    vocab_expect(&s, "abc", 1, "257 99");
    vocab_close(&s);
}

static void a_long_run_of_one_letter_takes_no_seconds(void **state)
{
    static const vocab_piece extra[] = {{"a", -9, 1},         {"aa", -1, 1},
                                        {"aaaa", -2, 1},      {"aaaaaaaa", -3, 1},
                                        {"aaaaaaaaa", -4, 1}, {"aaaaaaaaaaaaaaaaa", -5, 1},
                                        {"aaa", -6, 1}};
    static char text[65535];
    static int32_t ids[MAX_IDS];
    vocab_subject s;
    clock_t begin;
    (void)state;
    vocab_open_spm(&s, extra, COUNT(extra), 65535);
    memset(text, 'a', sizeof text);
    begin = clock();
    assert_in_range(blm_tokenize(&s.v, text, sizeof text, 0, ids, MAX_IDS, &s.err), 1, 65535);
    assert_true(clock() - begin < 2 * CLOCKS_PER_SEC);
    vocab_close(&s);
}

/* ---- Special tokens -------------------------------------------------------------- */

/* "<|", "x" and "|>" may merge into the text of a control token, which a vocabulary in the
 * wild avoids and a hostile one does not. */
static void text_from_the_user_never_becomes_a_control_token(void **state)
{
    static const vocab_piece spm[] = {
        {"<|", -1, 1}, {"<|x", -2, 1}, {"|>", -3, 1}, {"<", -9, 1},
        {"|", -9, 1},  {"x", -9, 1},   {">", -9, 1},  {"<|x|>", -1, BLM_TOKEN_CONTROL},
        {"</s", -2, 1}};
    static const vocab_piece bpe[] = {
        {"<|", 0, 1}, {"<|x", 0, 1}, {"|>", 0, 1}, {"<|x|>", 0, BLM_TOKEN_CONTROL}};
    static const char *const merges[] = {"< |", "<| x", "| >", "<|x |>"};
    static const char *const texts[] = {"<|x|>", "a<|x|><|x|>", "</s>",
                                        "<s>",   "<unk>",       "<0x41>"};
    int32_t ids[64];
    vocab_subject s;
    size_t i;
    int round;
    (void)state;
    for (round = 0; round < 3; round++) {
        if (round == 0)
            vocab_open_spm(&s, spm, COUNT(spm), 100);
        else
            vocab_open_bpe(&s, round == 1 ? "gpt-2" : "llama-bpe", bpe, COUNT(bpe), merges, 4);
        for (i = 0; i < COUNT(texts); i++) {
            char back[64];
            int64_t n = blm_tokenize(&s.v, texts[i], strlen(texts[i]), 0, ids, 64, &s.err), j;
            size_t bytes = vocab_text(&s, ids, n, back, sizeof back);
            assert_int_equal(bytes, strlen(texts[i]));
            assert_memory_equal(back, texts[i], bytes);
            if (i == 0 && round == 0) /* the longest that is text: "<|x", "|>" */
                assert_string_equal(vocab_ids(&s, texts[i], strlen(texts[i]), 0), "260 261");
            for (j = 0; j < n; j++)
                assert_false(blm_pieces_type(&s.v.pieces, (uint32_t)ids[j]) ==
                             BLM_TOKEN_CONTROL);
        }
        vocab_close(&s);
    }
}

/* Its file calls </s> user-defined and <|system|> control. */
static void text_in_a_real_vocabulary_never_ends_an_answer(void **state)
{
    vocab_subject s;
    (void)state;
    assert_int_equal(vocab_open_file(&s, vocabulary_file("phi-3", ""), 100), BLUELM_OK);
    static const char *const texts[] = {"hi</s>there", "</s>",          "<s>",
                                        "<|end|>",     "<|endoftext|>", "<|user|>"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        int32_t ids[32];
        int64_t n = blm_tokenize(&s.v, texts[i], strlen(texts[i]), 1, ids, 32, &s.err);
        for (int64_t j = 0; j < n; j++)
            assert_in_range(ids[j], 259, 31999); /* neither <s>, </s> nor a marker */
    }
    vocab_close(&s);
}

static void markers_of_trusted_texts_become_control(void **state)
{
    static const vocab_piece extra[] = {{"<|a|>", 0, BLM_TOKEN_NORMAL},
                                        {"[B]:", 0, BLM_TOKEN_USER},
                                        {"<think>", 0, BLM_TOKEN_USER},
                                        {"<|c|>", 0, BLM_TOKEN_USER},
                                        {"<|", 0, BLM_TOKEN_NORMAL}};
    static const char trusted[] = "<|a|>user\n[B]:<<SYS>> <| <think>\n";
    char text[16];
    vocab_subject s;
    (void)state;
    vocab_open_spm(&s, extra, COUNT(extra), 100);
    vocab_expect(&s, "[B]:", 0, "260");
    blm_vocab_guard(&s.v, trusted, sizeof trusted - 1);
    for (int32_t i = SPM_FIRST; i < SPM_FIRST + 5; i++) {
        blm_string piece = blm_pieces_text(&s.v.pieces, (uint32_t)i);
        size_t at, length;
        int32_t token;
        int guarded = i < SPM_FIRST + 3;
        assert_int_equal(blm_pieces_type(&s.v.pieces, (uint32_t)i) == BLM_TOKEN_CONTROL,
                         guarded);
        assert_int_equal(
            blm_vocab_find_special(&s.v, piece.text, (size_t)piece.bytes, &at, &length, &token),
            i != SPM_FIRST + 4);
    }
    vocab_expect(&s, "[B]:", 0, "94 69 96 61");
    vocab_expect(&s, "<|c|>", 0, "262");
    assert_int_equal(blm_token_text(&s.v, SPM_FIRST, text, sizeof text), 0);
    assert_int_equal(blm_token_text(&s.v, SPM_FIRST + 2, text, sizeof text), 7);
    vocab_close(&s);
}

static void user_defined_tokens_are_found_in_any_text(void **state)
{
    static const vocab_piece extra[] = {{"  ", 0, BLM_TOKEN_USER},
                                        {"    ", 0, BLM_TOKEN_USER},
                                        {"\303\270", 0, BLM_TOKEN_USER},
                                        {MARK "b", -1, 1},
                                        {"b", -2, 1},
                                        {MARK, -3, 1}};
    vocab_subject s;
    (void)state;
    vocab_open_spm(&s, extra, COUNT(extra), 100);
    vocab_expect(&s, "b     b", 1, "262 260 264 262"); /* four of five, then prefix and " b" */
    vocab_close(&s);
    vocab_open_bpe(&s, "gpt-2", extra, 3, NULL, 0);
    vocab_expect(&s, "b   \303\270!", 1, "98 256 32 258 33");
    vocab_close(&s);
}

/* Gemma's: no space before the text; runs of line breaks and of spaces are user-defined and
 * found before anything merges, the longest first. */
static void runs_of_user_defined_tokens_come_before_merging(void **state)
{
    static const vocab_piece extra[] = {{"\n", 0, BLM_TOKEN_USER},
                                        {"\n\n", 0, BLM_TOKEN_USER},
                                        {"\n\n\n", 0, BLM_TOKEN_USER},
                                        {"  ", 0, BLM_TOKEN_USER},
                                        {"   ", 0, BLM_TOKEN_USER},
                                        {MARK "b", -1, 1},
                                        {"b", -2, 1},
                                        {MARK, -3, 1},
                                        {"b\n", 0, 1}};
    static vocab_piece pieces[SPM_FIRST + 9];
    size_t count = vocab_spm_pieces(pieces, extra, COUNT(extra));
    tiny_writer w;
    vocab_subject s;
    (void)state;
    vocab_start(&w, "llama");
    tiny_key_bool(&w, "tokenizer.ggml.add_space_prefix", 0);
    vocab_write_pieces(&w, pieces, count, 1, 1);
    assert_int_equal(vocab_open(&s, &w, 100), BLUELM_OK);
    vocab_expect(&s, "b b", 1, "265 264");
    vocab_expect(&s, "b\nb\n\nb\n\n\n\nb", 1, "265 259 265 260 265 261 259 265");
    vocab_expect(&s, "b  b   b    b", 1, "265 262 265 263 265 263 264");
    vocab_close(&s);
}

static void a_space_goes_before_text_that_follows_a_special_token(void **state)
{
    static const vocab_piece extra[] = {
        {MARK "b", -1, 1}, {"b", -2, 1}, {MARK, -3, 1}, {"<u>", 0, BLM_TOKEN_USER}};
    static vocab_piece pieces[SPM_FIRST + 4];
    size_t count = vocab_spm_pieces(pieces, extra, COUNT(extra));
    tiny_writer w;
    vocab_subject s;
    (void)state;
    vocab_open_spm(&s, extra, COUNT(extra), 100);
    assert_true(s.v.add_space_prefix);
    vocab_expect(&s, "b", 1, "259");
    vocab_expect(&s, "b", 0, "260");
    vocab_expect(&s, " b", 1, "261 259");
    vocab_expect(&s, "", 1, "");
    vocab_expect(&s, "b<u>b", 0, "260 262 259"); /* a user-defined token is special here too */
    vocab_close(&s);
    vocab_start(&w, "llama");
    tiny_key_bool(&w, "tokenizer.ggml.add_space_prefix", 0);
    vocab_write_pieces(&w, pieces, count, 1, 1);
    assert_int_equal(vocab_open(&s, &w, 100), BLUELM_OK);
    vocab_expect(&s, "b", 1, "260");
    vocab_close(&s);
}

static void the_first_and_longest_special_token_of_markup_is_found(void **state)
{
    static const vocab_piece extra[] = {{"<|a|>", 0, BLM_TOKEN_CONTROL},
                                        {"<|a|>b", 0, BLM_TOKEN_CONTROL},
                                        {"[u]", 0, BLM_TOKEN_USER},
                                        {"<normal>", -1, BLM_TOKEN_NORMAL}};
    size_t at, length;
    int32_t token;
    vocab_subject s;
    (void)state;
    vocab_open_spm(&s, extra, COUNT(extra), 100);
    assert_int_equal(blm_vocab_find_special(&s.v, "xy<|a|>b</s>", 12, &at, &length, &token), 1);
    assert_int_equal(at, 2);
    assert_int_equal(length, 6);
    assert_int_equal(token, SPM_FIRST + 1);
    assert_int_equal(blm_vocab_find_special(&s.v, "<|a|>", 5, &at, &length, &token), 1);
    assert_int_equal(token, SPM_FIRST);
    assert_int_equal(blm_vocab_find_special(&s.v, "<s[u]", 5, &at, &length, &token), 1);
    assert_int_equal(at, 2);
    assert_int_equal(token, SPM_FIRST + 2);
    assert_int_equal(blm_vocab_find_special(&s.v, "<unk>", 5, &at, &length, &token), 1);
    assert_int_equal(token, 0);
    assert_int_equal(blm_vocab_find_special(&s.v, "<|a|", 4, &at, &length, &token), 0);
    assert_int_equal(blm_vocab_find_special(&s.v, "<normal><0x41>", 14, &at, &length, &token),
                     0);
    assert_int_equal(blm_vocab_find_special(&s.v, "", 0, &at, &length, &token), 0);
    vocab_close(&s);
}

static void phi_3_special_tokens_swallow_the_spaces_after_them(void **state)
{
    vocab_subject s;
    size_t at, length;
    int32_t token;
    (void)state;
    assert_int_equal(vocab_open_file(&s, vocabulary_file("phi-3", ""), 100), BLUELM_OK);
    assert_int_equal(blm_vocab_find_special(&s.v, "<|user|>\n x", 11, &at, &length, &token), 1);
    assert_int_equal(token, 32010);
    assert_int_equal(length, 10);
    assert_int_equal(blm_vocab_find_special(&s.v, "<s>\n x", 6, &at, &length, &token), 1);
    assert_int_equal(length, 3);
    assert_int_equal(s.v.eos, 32000);
    assert_int_equal(s.v.eot, 32007);
    assert_true(blm_vocab_is_end(&s.v, 32000));
    assert_true(blm_vocab_is_end(&s.v, 32007));
    assert_false(blm_vocab_is_end(&s.v, 32001));
    vocab_close(&s);
}

static void answers_end_at_the_tokens_known_to_end_them(void **state)
{
    static const vocab_piece extra[] = {{"<|im_end|>", 0, BLM_TOKEN_CONTROL},
                                        {"<end_of_utterance>", 0, BLM_TOKEN_CONTROL},
                                        {"<|im_start|>", 0, BLM_TOKEN_CONTROL},
                                        {"<|eot_id|>", 0, BLM_TOKEN_NORMAL}};
    vocab_subject s;
    int32_t i;
    (void)state;
    vocab_open_spm(&s, extra, COUNT(extra), 100);
    assert_int_equal(s.v.bos, 1);
    assert_int_equal(s.v.eos, 2);
    assert_int_equal(s.v.unknown, 0);
    assert_int_equal(s.v.padding, -1);
    assert_int_equal(s.v.eot, SPM_FIRST);
    assert_true(s.v.add_bos);
    assert_false(s.v.add_eos);
    for (i = -2; i < (int32_t)s.v.n_tokens + 2; i++)
        assert_int_equal(blm_vocab_is_end(&s.v, i),
                         i == 2 || i == SPM_FIRST || i == SPM_FIRST + 1);
    vocab_close(&s);
}

/* As files of these families type them: control, or user-defined. */
static void every_family_s_stop_tokens_end_an_answer(void **state)
{
    static const char *const names[] = {
        "<|eot_id|>",       "<|im_end|>",    "<|end|>",    "<end_of_turn>",
        "<turn|>",          "<|endoftext|>", "<|eom_id|>", "<|end_of_text|>",
        "<|return|>",       "<|call|>",      "<|flush|>",  "<|calls|>",
        "<|tool_response>", "<eos>",         "</s>",       "<end_of_utterance>"};
    vocab_piece extra[COUNT(names)];
    vocab_subject s;
    (void)state;
    for (uint32_t type = BLM_TOKEN_CONTROL; type <= BLM_TOKEN_USER; type++) {
        for (size_t i = 0; i < COUNT(names); i++)
            extra[i] = (vocab_piece){names[i], 0, type};
        vocab_open_spm(&s, extra, COUNT(names), 100);
        for (size_t i = 0; i < COUNT(names); i++) {
            int32_t token = SPM_FIRST + (int32_t)i;
            assert_true(blm_vocab_is_end(&s.v, token));
            assert_int_equal(blm_pieces_type(&s.v.pieces, (uint32_t)token), BLM_TOKEN_CONTROL);
        }
        vocab_close(&s);
    }
}

/* ---- Tokens to text -------------------------------------------------------------- */

static void every_byte_comes_back(void **state)
{
    static const vocab_piece extra[] = {{MARK, -3, 1}};
    char all[256], back[256];
    int32_t ids[512];
    int64_t count;
    int i, round;
    (void)state;
    for (i = 0; i < 256; i++)
        all[i] = (char)(255 - i);
    for (round = 0; round < 2; round++) {
        vocab_subject s;
        if (round == 0)
            vocab_open_spm(&s, extra, 1, 300);
        else
            vocab_open_bpe(&s, "qwen2", NULL, 0, NULL, 0);
        count = blm_tokenize(&s.v, all, 256, 0, ids, 512, &s.err);
        assert_int_equal(count, 256);
        assert_int_equal(vocab_text(&s, ids, count, back, sizeof back), 256);
        assert_memory_equal(back, all, 256);
        for (i = 0; round == 1 && i < 256; i++) {
            assert_int_equal(blm_token_text(&s.v, i, back, 1), 1);
            assert_int_equal((uint8_t)back[0], i);
        }
        vocab_close(&s);
    }
}

static void token_text_counts_what_does_not_fit(void **state)
{
    static const vocab_piece extra[] = {{MARK "ab" MARK, -3, 1},
                                        {"<pad>", 0, BLM_TOKEN_UNUSED},
                                        {"<0xZZ>", 0, BLM_TOKEN_BYTE},
                                        {"odd", 0, 77}};
    char out[8];
    vocab_subject s;
    (void)state;
    vocab_open_spm(&s, extra, COUNT(extra), 100);
    memset(out, '#', sizeof out);
    assert_int_equal(blm_token_text(&s.v, SPM_FIRST, out, 2), 4);
    assert_memory_equal(out, " a###", 5);
    assert_int_equal(blm_token_text(&s.v, SPM_FIRST, out, 8), 4);
    assert_memory_equal(out, " ab #", 5);
    assert_int_equal(blm_token_text(&s.v, SPM_FIRST, NULL, 0), 4);
    assert_int_equal(blm_token_text(&s.v, 3 + '\n', out, 8), 1);
    assert_int_equal(out[0], '\n');
    assert_int_equal(blm_token_text(&s.v, 0, out, 8), 0);
    assert_int_equal(blm_token_text(&s.v, 1, out, 8), 0);
    assert_int_equal(blm_token_text(&s.v, SPM_FIRST + 1, out, 8), 0);
    assert_int_equal(blm_token_text(&s.v, SPM_FIRST + 2, out, 8), 6);
    assert_int_equal(blm_token_text(&s.v, SPM_FIRST + 3, out, 8), 0);
    assert_int_equal(blm_token_text(&s.v, -1, out, 8), BLUELM_E_ARG);
    assert_int_equal(blm_token_text(&s.v, (int32_t)s.v.n_tokens, out, 8), BLUELM_E_ARG);
    assert_int_equal(blm_token_text(&s.v, INT32_MAX, out, 8), BLUELM_E_ARG);
    vocab_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_vocabulary_gives_the_ids_of_another_implementation),
        cmocka_unit_test(more_real_vocabularies_give_the_ids_of_another_implementation),
        cmocka_unit_test(gemma_4_merges_pieces_like_sentencepieces_by_rank),
        cmocka_unit_test(sentencepiece_joins_the_best_pair_first),
        cmocka_unit_test(byte_level_bpe_joins_by_rank),
        cmocka_unit_test(llama_3_takes_whole_words_that_are_tokens),
        cmocka_unit_test(a_long_run_of_one_letter_takes_no_seconds),
        cmocka_unit_test(text_from_the_user_never_becomes_a_control_token),
        cmocka_unit_test(text_in_a_real_vocabulary_never_ends_an_answer),
        cmocka_unit_test(markers_of_trusted_texts_become_control),
        cmocka_unit_test(user_defined_tokens_are_found_in_any_text),
        cmocka_unit_test(runs_of_user_defined_tokens_come_before_merging),
        cmocka_unit_test(a_space_goes_before_text_that_follows_a_special_token),
        cmocka_unit_test(the_first_and_longest_special_token_of_markup_is_found),
        cmocka_unit_test(phi_3_special_tokens_swallow_the_spaces_after_them),
        cmocka_unit_test(every_family_s_stop_tokens_end_an_answer),
        cmocka_unit_test(answers_end_at_the_tokens_known_to_end_them),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(token_text_counts_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
