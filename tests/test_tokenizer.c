#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../text/tokenizer.h"
#include "tiny_model.h"

#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define MARK        "\342\226\201" /* U+2581 */
#define MAX_IDS     70000
#define NO_TYPES    0
#define NO_SCORES   0
#define REPLACEMENT "\357\277\275"

/* ---- Helpers: vocabularies in memory --------------------------------------------- */

typedef struct piece {
    const char *text;
    float score;
    uint32_t type;
} piece;

static void write_pieces(tiny_writer *w, const piece *pieces, size_t count, int types,
                         int scores)
{
    size_t i;
    tiny_key_array(w, "tokenizer.ggml.tokens", BLM_GGUF_STRING, count);
    for (i = 0; i < count; i++)
        tiny_put_string(&w->keys, pieces[i].text);
    if (types) tiny_key_array(w, "tokenizer.ggml.token_type", BLM_GGUF_I32, count);
    for (i = 0; types && i < count; i++)
        tiny_put_u32(&w->keys, pieces[i].type);
    if (scores) tiny_key_array(w, "tokenizer.ggml.scores", BLM_GGUF_F32, count);
    for (i = 0; scores && i < count; i++)
        tiny_put_f32(&w->keys, pieces[i].score);
}

static void write_merges(tiny_writer *w, const char *const *merges, size_t count)
{
    size_t i;
    tiny_key_array(w, "tokenizer.ggml.merges", BLM_GGUF_STRING, count);
    for (i = 0; i < count; i++)
        tiny_put_string(&w->keys, merges[i]);
}

static void start(tiny_writer *w, const char *model)
{
    tiny_start(w, 1);
    tiny_key_string(w, "tokenizer.ggml.model", model);
}

/* A vocabulary that is in use: the file, and an arena of exactly what it needs. */
typedef struct subject {
    tiny_file file;
    blm_gguf gguf;
    blm_arena arena;
    uint8_t *block;
    uint64_t need;
    blm_vocab v;
    bluelm_error err;
} subject;

static int open_file(subject *s, tiny_file file, uint32_t text_bytes)
{
    int code;
    memset(s, 0, sizeof *s);
    s->file = file;
    assert_int_equal(blm_gguf_open(&s->gguf, file.data, file.bytes, "llm", &s->err), BLUELM_OK);
    blm_arena_start(&s->arena, NULL, UINT64_MAX);
    code = blm_vocab_init(&s->v, &s->gguf, &s->arena, text_bytes, &s->err);
    if (code != BLUELM_OK) return code;
    s->need = s->arena.used + BLM_ARENA_ALIGN - 1;
    s->block = malloc((size_t)s->need);
    blm_arena_start(&s->arena, s->block, s->need);
    code = blm_vocab_init(&s->v, &s->gguf, &s->arena, text_bytes, &s->err);
    if (code == BLUELM_OK) assert_true(blm_arena_ok(&s->arena));
    return code;
}

static int open_writer(subject *s, tiny_writer *w, uint32_t text_bytes)
{
    return open_file(s, tiny_finish(w), text_bytes);
}

static void close_subject(subject *s)
{
    if (s->block != NULL)
        blm_arena_start(&s->arena, s->block, s->need); /* takes the poison off */
    free(s->block);
    tiny_free(&s->file);
}

/* Tokens of a text as "1 2 3". */
static const char *ids_of(subject *s, const char *text, size_t bytes, int after_special)
{
    static int32_t ids[MAX_IDS];
    static char line[8 * MAX_IDS];
    size_t used = 0;
    int64_t count = blm_tokenize(&s->v, text, bytes, after_special, ids, MAX_IDS, &s->err), i;
    assert_in_range(count, 0, MAX_IDS);
    line[0] = 0;
    for (i = 0; i < count; i++)
        used += (size_t)sprintf(line + used, i > 0 ? " %d" : "%d", (int)ids[i]);
    return line;
}

static void expect_ids(subject *s, const char *text, int after_special, const char *want)
{
    assert_string_equal(ids_of(s, text, strlen(text), after_special), want);
}

/* The text of tokens, joined. */
static size_t text_of(subject *s, const int32_t *ids, int64_t count, char *out, size_t room)
{
    size_t used = 0;
    int64_t i;
    for (i = 0; i < count; i++) {
        int64_t n = blm_token_text(&s->v, ids[i], out + used, room - used);
        assert_true(n >= 0 && (uint64_t)n <= room - used);
        used += (size_t)n;
    }
    return used;
}

/* <unk> <s> </s>, the 256 bytes, then the caller's pieces. */
enum { SPM_FIRST = 259 };

static size_t spm_pieces(piece *out, const piece *extra, size_t count)
{
    static char names[256][8];
    static const piece head[] = {{"<unk>", 0, BLM_TOKEN_UNKNOWN},
                                 {"<s>", 0, BLM_TOKEN_CONTROL},
                                 {"</s>", 0, BLM_TOKEN_CONTROL}};
    size_t i;
    memcpy(out, head, sizeof head);
    for (i = 0; i < 256; i++) {
        sprintf(names[i], "<0x%02X>", (unsigned)i);
        out[3 + i].text = names[i];
        out[3 + i].score = 0;
        out[3 + i].type = BLM_TOKEN_BYTE;
    }
    if (count > 0) memcpy(out + SPM_FIRST, extra, count * sizeof *extra);
    return SPM_FIRST + count;
}

static void open_spm(subject *s, const piece *extra, size_t count, uint32_t text_bytes)
{
    static piece pieces[SPM_FIRST + 600];
    tiny_writer w;
    count = spm_pieces(pieces, extra, count);
    start(&w, "llama");
    write_pieces(&w, pieces, count, 1, 1);
    assert_int_equal(open_writer(s, &w, text_bytes), BLUELM_OK);
}

/* The 256 bytes in their printable characters, then the caller's pieces. */
enum { BPE_FIRST = 256 };

static size_t bpe_pieces(piece *out, const piece *extra, size_t count)
{
    static char names[256][5];
    size_t i;
    for (i = 0; i < 256; i++) {
        memset(names[i], 0, sizeof names[i]);
        blm_utf8_encode(blm_char_of_byte((uint8_t)i), names[i]);
        out[i].text = names[i];
        out[i].score = 0;
        out[i].type = BLM_TOKEN_NORMAL;
    }
    if (count > 0) memcpy(out + BPE_FIRST, extra, count * sizeof *extra);
    return BPE_FIRST + count;
}

static void open_bpe(subject *s, const char *pre, const piece *extra, size_t count,
                     const char *const *merges, size_t merge_count)
{
    static piece pieces[BPE_FIRST + 600];
    tiny_writer w;
    count = bpe_pieces(pieces, extra, count);
    start(&w, "gpt2");
    if (pre != NULL) tiny_key_string(&w, "tokenizer.ggml.pre", pre);
    write_pieces(&w, pieces, count, 1, NO_SCORES);
    write_merges(&w, merges, merge_count);
    assert_int_equal(open_writer(s, &w, 4096), BLUELM_OK);
}

/* ---- Vectors of real vocabularies ------------------------------------------------ */

static tiny_file load(const char *path)
{
    tiny_file file = {NULL, 0};
    FILE *f = fopen(path, "rb");
    long bytes;
    if (f == NULL) return file;
    if (fseek(f, 0, SEEK_END) == 0 && (bytes = ftell(f)) > 0) {
        file.data = malloc((size_t)bytes + 1);
        rewind(f);
        file.bytes = fread(file.data, 1, (size_t)bytes, f);
        file.data[file.bytes] = 0;
    }
    fclose(f);
    return file;
}

/* The next part of a text that ends in `separator`, cut out; NULL at the end. */
static char *next_part(char **rest, const char *separator)
{
    char *part = *rest, *end = strstr(part, separator);
    if (end == NULL) return NULL;
    *end = 0;
    *rest = end + strlen(separator);
    return part;
}

/* Returns how many texts were compared, 0 when the files are not there. */
static int check_vectors(const char *stem)
{
    char path[600], *texts, *lines, *text, *line;
    tiny_file inp, out;
    subject s;
    int count = 0;
    tiny_file file = load(stem);
    if (file.data == NULL) return 0;
    snprintf(path, sizeof path, "%s.inp", stem);
    inp = load(path);
    snprintf(path, sizeof path, "%s.out", stem);
    out = load(path);
    assert_non_null(inp.data);
    assert_non_null(out.data);
    assert_int_equal(open_file(&s, file, 65535), BLUELM_OK);
    texts = (char *)inp.data, lines = (char *)out.data;
    while ((text = next_part(&texts, "\n__ggml_vocab_test__\n")) != NULL) {
        line = next_part(&lines, "\n");
        assert_non_null(line);
        assert_string_equal(ids_of(&s, text, strlen(text), 1), *line == ' ' ? line + 1 : line);
        count++;
    }
    close_subject(&s);
    tiny_free(&inp);
    tiny_free(&out);
    return count;
}

static void a_real_vocabulary_gives_the_ids_of_another_implementation(void **state)
{
    (void)state;
    assert_int_equal(check_vectors("tests/data/ggml-vocab-phi-3.gguf"), 46);
}

static void more_real_vocabularies_give_the_ids_of_another_implementation(void **state)
{
    static const char *const names[] = {"gpt-2", "deepseek-llm", "llama-spm", "phi-3"};
    const char *shared = getenv("BLUELM_SHARED");
    char stem[512];
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(names); i++) {
        snprintf(stem, sizeof stem, "%s/reference/vocab/ggml-vocab-%s.gguf",
                 shared ? shared : "../shared", names[i]);
        if (check_vectors(stem) == 0) {
            print_message("no %s\n", stem);
            skip();
        }
    }
}

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
    static const char *const rules[] = {"gpt-2", "smollm",    "default",
                                        "qwen2", "llama-bpe", "deepseek-llm"};
    tiny_random r = {20};
    char text[300];
    uint8_t starts[300 / 8 + 1];
    uint32_t i, bytes, at, round;
    (void)state;
    print_message("seed 20\n");
    for (round = 0; round < 3000; round++) {
        bytes = 1 + (uint32_t)(tiny_next(&r) % sizeof text);
        for (i = 0; i < bytes; i++)
            text[i] =
                round % 2 ? (char)tiny_next(&r) : "a '\n1.\xe2\x80\x83"[tiny_next(&r) % 9];
        blm_presplit_run(blm_presplit_find(rules[round % 6], strlen(rules[round % 6])), text,
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
    uint32_t counts[6] = {0}, c;
    (void)state;
    for (c = 0; c < 0x110000; c++)
        counts[blm_char_class(c)]++;
    assert_int_equal(counts[BLM_CHAR_LETTER], 131756);
    assert_int_equal(counts[BLM_CHAR_NUMBER], 1791);
    assert_int_equal(counts[BLM_CHAR_PUNCTUATION], 819);
    assert_int_equal(counts[BLM_CHAR_SPACE], 25);
    assert_int_equal(counts[BLM_CHAR_OTHER], 979746 - 25);
    assert_int_equal(blm_char_class('_'), BLM_CHAR_PUNCTUATION);
    assert_int_equal(blm_char_class('+'), BLM_CHAR_OTHER);
    assert_int_equal(blm_char_class(0xb2), BLM_CHAR_NUMBER);
    assert_int_equal(blm_char_class(0x4e2d), BLM_CHAR_LETTER);
    assert_int_equal(blm_char_class(0x3134a), BLM_CHAR_LETTER);
    assert_int_equal(blm_char_class(0x3134b), BLM_CHAR_OTHER);
    assert_int_equal(blm_char_class(UINT32_MAX), BLM_CHAR_OTHER);
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
static piece random_pieces[200];
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
    tiny_random r = {30};
    int round, text_round;
    (void)state;
    print_message("seed 30\n");
    for (round = 0; round < 30; round++) {
        subject s;
        make_random_pieces(&r);
        open_spm(&s, random_pieces, random_count, 100);
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
            expect_ids(&s, text, 1, want);
        }
        close_subject(&s);
    }
}

/* Words of a and b: the rule gpt-2 keeps them whole, so that merges alone decide. */
static void byte_level_bpe_joins_by_rank(void **state)
{
    tiny_random r = {40};
    int round, text_round;
    (void)state;
    print_message("seed 40\n");
    for (round = 0; round < 30; round++) {
        const char *merges[200];
        subject s;
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
        open_bpe(&s, "gpt-2", random_pieces, random_count, merges, random_count);
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
            expect_ids(&s, text, 1, want);
        }
        close_subject(&s);
    }
}

static void llama_3_takes_whole_words_that_are_tokens(void **state)
{
    static const piece extra[] = {{"abc", 0, BLM_TOKEN_NORMAL}, {"ab", 0, BLM_TOKEN_NORMAL}};
    static const char *const merges[] = {"a b"};
    subject s;
    (void)state;
    open_bpe(&s, "llama-bpe", extra, 2, merges, 1);
    expect_ids(&s, "abc", 1, "256");
    expect_ids(&s, "abcd", 1, "257 99 100");
    close_subject(&s);
    open_bpe(&s, "qwen2", extra, 2, merges, 1);
    expect_ids(&s, "abc", 1, "257 99");
    close_subject(&s);
}

static void a_long_run_of_one_letter_takes_no_seconds(void **state)
{
    static const piece extra[] = {{"a", -9, 1},         {"aa", -1, 1},
                                  {"aaaa", -2, 1},      {"aaaaaaaa", -3, 1},
                                  {"aaaaaaaaa", -4, 1}, {"aaaaaaaaaaaaaaaaa", -5, 1},
                                  {"aaa", -6, 1}};
    static char text[65535];
    static int32_t ids[MAX_IDS];
    subject s;
    clock_t begin;
    (void)state;
    open_spm(&s, extra, COUNT(extra), 65535);
    memset(text, 'a', sizeof text);
    begin = clock();
    assert_in_range(blm_tokenize(&s.v, text, sizeof text, 0, ids, MAX_IDS, &s.err), 1, 65535);
    assert_true(clock() - begin < 2 * CLOCKS_PER_SEC);
    close_subject(&s);
}

/* ---- Special tokens -------------------------------------------------------------- */

/* "<|", "x" and "|>" may merge into the text of a control token, which a vocabulary in the
 * wild avoids and a hostile one does not. */
static void text_from_the_user_never_becomes_a_control_token(void **state)
{
    static const piece spm[] = {
        {"<|", -1, 1}, {"<|x", -2, 1}, {"|>", -3, 1}, {"<", -9, 1},
        {"|", -9, 1},  {"x", -9, 1},   {">", -9, 1},  {"<|x|>", -1, BLM_TOKEN_CONTROL},
        {"</s", -2, 1}};
    static const piece bpe[] = {
        {"<|", 0, 1}, {"<|x", 0, 1}, {"|>", 0, 1}, {"<|x|>", 0, BLM_TOKEN_CONTROL}};
    static const char *const merges[] = {"< |", "<| x", "| >", "<|x |>"};
    static const char *const texts[] = {"<|x|>", "a<|x|><|x|>", "</s>",
                                        "<s>",   "<unk>",       "<0x41>"};
    int32_t ids[64];
    subject s;
    size_t i;
    int round;
    (void)state;
    for (round = 0; round < 3; round++) {
        if (round == 0)
            open_spm(&s, spm, COUNT(spm), 100);
        else
            open_bpe(&s, round == 1 ? "gpt-2" : "llama-bpe", bpe, COUNT(bpe), merges, 4);
        for (i = 0; i < COUNT(texts); i++) {
            char back[64];
            int64_t n = blm_tokenize(&s.v, texts[i], strlen(texts[i]), 0, ids, 64, &s.err), j;
            size_t bytes = text_of(&s, ids, n, back, sizeof back);
            assert_int_equal(bytes, strlen(texts[i]));
            assert_memory_equal(back, texts[i], bytes);
            if (i == 0 && round == 0) /* the longest that is text: "<|x", "|>" */
                assert_string_equal(ids_of(&s, texts[i], strlen(texts[i]), 0), "260 261");
            for (j = 0; j < n; j++)
                assert_false(blm_pieces_type(&s.v.pieces, (uint32_t)ids[j]) ==
                             BLM_TOKEN_CONTROL);
        }
        close_subject(&s);
    }
}

static void user_defined_tokens_are_found_in_any_text(void **state)
{
    static const piece extra[] = {{"  ", 0, BLM_TOKEN_USER},
                                  {"    ", 0, BLM_TOKEN_USER},
                                  {"\303\270", 0, BLM_TOKEN_USER},
                                  {MARK "b", -1, 1},
                                  {"b", -2, 1},
                                  {MARK, -3, 1}};
    subject s;
    (void)state;
    open_spm(&s, extra, COUNT(extra), 100);
    expect_ids(&s, "b     b", 1, "262 260 264 262"); /* four of five, then prefix and " b" */
    close_subject(&s);
    open_bpe(&s, "gpt-2", extra, 3, NULL, 0);
    expect_ids(&s, "b   \303\270!", 1, "98 256 32 258 33");
    close_subject(&s);
}

static void a_space_goes_before_text_that_follows_a_special_token(void **state)
{
    static const piece extra[] = {
        {MARK "b", -1, 1}, {"b", -2, 1}, {MARK, -3, 1}, {"<u>", 0, BLM_TOKEN_USER}};
    static piece pieces[SPM_FIRST + 4];
    size_t count = spm_pieces(pieces, extra, COUNT(extra));
    tiny_writer w;
    subject s;
    (void)state;
    open_spm(&s, extra, COUNT(extra), 100);
    assert_true(s.v.add_space_prefix);
    expect_ids(&s, "b", 1, "259");
    expect_ids(&s, "b", 0, "260");
    expect_ids(&s, " b", 1, "261 259");
    expect_ids(&s, "", 1, "");
    expect_ids(&s, "b<u>b", 0, "260 262 259"); /* a user-defined token is special here too */
    close_subject(&s);
    start(&w, "llama");
    tiny_key_bool(&w, "tokenizer.ggml.add_space_prefix", 0);
    write_pieces(&w, pieces, count, 1, 1);
    assert_int_equal(open_writer(&s, &w, 100), BLUELM_OK);
    expect_ids(&s, "b", 1, "260");
    close_subject(&s);
}

static void the_first_and_longest_special_token_of_markup_is_found(void **state)
{
    static const piece extra[] = {{"<|a|>", 0, BLM_TOKEN_CONTROL},
                                  {"<|a|>b", 0, BLM_TOKEN_CONTROL},
                                  {"[u]", 0, BLM_TOKEN_USER},
                                  {"<normal>", -1, BLM_TOKEN_NORMAL}};
    size_t at, length;
    int32_t token;
    subject s;
    (void)state;
    open_spm(&s, extra, COUNT(extra), 100);
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
    close_subject(&s);
}

static void phi_3_special_tokens_swallow_the_spaces_after_them(void **state)
{
    subject s;
    size_t at, length;
    int32_t token;
    (void)state;
    assert_int_equal(open_file(&s, load("tests/data/ggml-vocab-phi-3.gguf"), 100), BLUELM_OK);
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
    close_subject(&s);
}

static void answers_end_at_the_tokens_known_to_end_them(void **state)
{
    static const piece extra[] = {{"<|im_end|>", 0, BLM_TOKEN_CONTROL},
                                  {"<end_of_utterance>", 0, BLM_TOKEN_CONTROL},
                                  {"<|im_start|>", 0, BLM_TOKEN_CONTROL},
                                  {"<|eot_id|>", 0, BLM_TOKEN_NORMAL}};
    subject s;
    int32_t i;
    (void)state;
    open_spm(&s, extra, COUNT(extra), 100);
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
    close_subject(&s);
}

/* ---- Tokens to text -------------------------------------------------------------- */

static void every_byte_comes_back(void **state)
{
    static const piece extra[] = {{MARK, -3, 1}};
    char all[256], back[256];
    int32_t ids[512];
    int64_t count;
    int i, round;
    (void)state;
    for (i = 0; i < 256; i++)
        all[i] = (char)(255 - i);
    for (round = 0; round < 2; round++) {
        subject s;
        if (round == 0)
            open_spm(&s, extra, 1, 300);
        else
            open_bpe(&s, "qwen2", NULL, 0, NULL, 0);
        count = blm_tokenize(&s.v, all, 256, 0, ids, 512, &s.err);
        assert_int_equal(count, 256);
        assert_int_equal(text_of(&s, ids, count, back, sizeof back), 256);
        assert_memory_equal(back, all, 256);
        for (i = 0; round == 1 && i < 256; i++) {
            assert_int_equal(blm_token_text(&s.v, i, back, 1), 1);
            assert_int_equal((uint8_t)back[0], i);
        }
        close_subject(&s);
    }
}

static void token_text_counts_what_does_not_fit(void **state)
{
    static const piece extra[] = {{MARK "ab" MARK, -3, 1},
                                  {"<pad>", 0, BLM_TOKEN_UNUSED},
                                  {"<0xZZ>", 0, BLM_TOKEN_BYTE},
                                  {"odd", 0, 77}};
    char out[8];
    subject s;
    (void)state;
    open_spm(&s, extra, COUNT(extra), 100);
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
    close_subject(&s);
}

/* ---- Limits ---------------------------------------------------------------------- */

static void text_over_the_limit_is_a_budget_error(void **state)
{
    static char text[65536];
    static int32_t ids[MAX_IDS];
    subject s;
    (void)state;
    memset(text, 'z', sizeof text);
    open_spm(&s, NULL, 0, 65535);
    assert_int_equal(blm_tokenize(&s.v, text, 65535, 1, ids, MAX_IDS, &s.err), 65535);
    assert_int_equal(blm_tokenize(&s.v, text, 65536, 1, ids, MAX_IDS, &s.err), BLUELM_E_BUDGET);
    assert_int_equal(s.err.need, 65536);
    assert_int_equal(s.err.have, 65535);
    close_subject(&s);
    open_spm(&s, NULL, 0, 1);
    expect_ids(&s, "z", 1, "125");
    assert_int_equal(blm_tokenize(&s.v, "zz", 2, 1, ids, MAX_IDS, NULL), BLUELM_E_BUDGET);
    assert_int_equal(blm_vocab_init(&s.v, &s.gguf, &s.arena, 0, &s.err), BLUELM_E_ARG);
    assert_int_equal(blm_vocab_init(&s.v, &s.gguf, &s.arena, 65536, &s.err), BLUELM_E_ARG);
    close_subject(&s);
}

static void tokens_that_do_not_fit_are_counted(void **state)
{
    int32_t ids[4] = {-7, -7, -7, -7};
    subject s;
    (void)state;
    open_spm(&s, NULL, 0, 100);
    assert_int_equal(blm_tokenize(&s.v, "abcdef", 6, 0, ids, 2, &s.err), 6);
    assert_int_equal(ids[0], 3 + 'a');
    assert_int_equal(ids[1], 3 + 'b');
    assert_int_equal(ids[2], -7);
    assert_int_equal(blm_tokenize(&s.v, "abcdef", 6, 0, NULL, 0, &s.err), 6);
    close_subject(&s);
}

static void an_arena_too_small_is_left_alone(void **state)
{
    subject s;
    uint64_t bytes;
    (void)state;
    open_bpe(&s, "gpt-2", NULL, 0, NULL, 0);
    for (bytes = 0; bytes < s.need; bytes += 61) {
        uint8_t *block = malloc((size_t)bytes + 1);
        blm_arena_start(&s.arena, block, bytes);
        assert_int_equal(blm_vocab_init(&s.v, &s.gguf, &s.arena, 4096, &s.err), BLUELM_OK);
        assert_false(blm_arena_ok(&s.arena));
        blm_arena_start(&s.arena, block, bytes);
        free(block);
    }
    close_subject(&s);
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
    static const piece one[] = {{"a", 0, 1}, {"b", 0, 1}};
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
        write_pieces(w, one, 2, NO_TYPES, NO_SCORES);
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
        subject s;
        write_broken(&w, cases[i].what);
        assert_int_equal(open_writer(&s, &w, 100), cases[i].code);
        assert_int_equal(s.err.code, cases[i].code);
        assert_non_null(strstr(s.err.subject, cases[i].subject));
        close_subject(&s);
    }
}

static void odd_merges_do_no_harm(void **state)
{
    static const piece extra[] = {{"ab", 0, 1}, {"", 0, 1}, {"", 0, 1}, {"ab", 0, 1}};
    static const char *const merges[] = {"",      " ",   "ab",  " ab",   "a ",   "a  b",
                                         "x y z", "a b", "a b", "b\n a", "ab ab"};
    subject s;
    (void)state;
    open_bpe(&s, "gpt-2", extra, COUNT(extra), merges, COUNT(merges));
    expect_ids(&s, "ab", 0, "259"); /* the last of equal pieces stands */
    expect_ids(&s, "ba", 0, "98 97");
    expect_ids(&s, "abab", 0, "97 98 97 98"); /* "abab" merges but is no token */
    close_subject(&s);
}

static void a_vocabulary_without_bytes_uses_its_unknown_token(void **state)
{
    static const piece pieces[] = {{"<unk>", 0, BLM_TOKEN_UNKNOWN},
                                   {"<s>", 0, BLM_TOKEN_CONTROL},
                                   {"</s>", 0, BLM_TOKEN_CONTROL},
                                   {"a", -1, 1}};
    tiny_writer w;
    subject s;
    (void)state;
    start(&w, "llama");
    write_pieces(&w, pieces, COUNT(pieces), 1, 1);
    assert_int_equal(open_writer(&s, &w, 100), BLUELM_OK);
    expect_ids(&s, "a\303\251z\377a", 0, "3 0 0 0 3");
    close_subject(&s);
    start(&w, "llama"); /* no types, no scores, no unknown token: such text vanishes */
    write_pieces(&w, pieces, COUNT(pieces), NO_TYPES, NO_SCORES);
    assert_int_equal(open_writer(&s, &w, 100), BLUELM_OK);
    assert_int_equal(s.v.unknown, -1);
    assert_int_equal(s.v.bos, -1);
    assert_false(s.v.add_bos);
    expect_ids(&s, "aza", 0, "3 3");
    close_subject(&s);
}

static void thousands_of_equal_pieces_cost_no_time(void **state)
{
    static piece pieces[20000];
    tiny_writer w;
    subject s;
    clock_t begin;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(pieces); i++) {
        pieces[i].text = "same";
        pieces[i].type = BLM_TOKEN_NORMAL;
    }
    start(&w, "llama");
    write_pieces(&w, pieces, COUNT(pieces), 1, 1);
    begin = clock();
    assert_int_equal(open_writer(&s, &w, 100), BLUELM_OK);
    assert_true(clock() - begin < CLOCKS_PER_SEC);
    assert_int_equal(blm_vocab_lookup(&s.v, "same", 4), COUNT(pieces) - 1);
    close_subject(&s);
}

/* Scores that are no numbers or infinite keep an order. */
static void odd_scores_do_no_harm(void **state)
{
    piece extra[] = {{"a", 0, 1}, {"aa", 0, 1}, {"aaa", 0, 1}, {"aaaa", 0, 1}};
    volatile float zero = 0;
    subject s;
    (void)state;
    extra[1].score = zero / zero;
    extra[2].score = 1 / zero;
    extra[3].score = -1 / zero;
    open_spm(&s, extra, COUNT(extra), 100);
    expect_ids(&s, "aaaaa", 0, "262 259"); /* aa, the only one, then aaa, then aaaa */
    close_subject(&s);
    extra[1].text = "ab", extra[1].score = -0.0f; /* as good as 0: the left one first */
    extra[2].text = "bc", extra[2].score = 0;
    open_spm(&s, extra, COUNT(extra), 100);
    expect_ids(&s, "abc", 0, "260 102");
    close_subject(&s);
}

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
    tiny_random r = {50};
    int round;
    (void)state;
    print_message("seed 50\n");
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
        cmocka_unit_test(a_real_vocabulary_gives_the_ids_of_another_implementation),
        cmocka_unit_test(more_real_vocabularies_give_the_ids_of_another_implementation),
        cmocka_unit_test(text_splits_as_the_regular_expressions_say),
        cmocka_unit_test(every_byte_of_any_text_falls_into_one_word),
        cmocka_unit_test(characters_have_the_classes_of_unicode),
        cmocka_unit_test(sentencepiece_joins_the_best_pair_first),
        cmocka_unit_test(byte_level_bpe_joins_by_rank),
        cmocka_unit_test(llama_3_takes_whole_words_that_are_tokens),
        cmocka_unit_test(a_long_run_of_one_letter_takes_no_seconds),
        cmocka_unit_test(text_from_the_user_never_becomes_a_control_token),
        cmocka_unit_test(user_defined_tokens_are_found_in_any_text),
        cmocka_unit_test(a_space_goes_before_text_that_follows_a_special_token),
        cmocka_unit_test(the_first_and_longest_special_token_of_markup_is_found),
        cmocka_unit_test(phi_3_special_tokens_swallow_the_spaces_after_them),
        cmocka_unit_test(answers_end_at_the_tokens_known_to_end_them),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(token_text_counts_what_does_not_fit),
        cmocka_unit_test(text_over_the_limit_is_a_budget_error),
        cmocka_unit_test(tokens_that_do_not_fit_are_counted),
        cmocka_unit_test(an_arena_too_small_is_left_alone),
        cmocka_unit_test(broken_vocabularies_are_refused),
        cmocka_unit_test(odd_merges_do_no_harm),
        cmocka_unit_test(a_vocabulary_without_bytes_uses_its_unknown_token),
        cmocka_unit_test(thousands_of_equal_pieces_cost_no_time),
        cmocka_unit_test(odd_scores_do_no_harm),
        cmocka_unit_test(characters_survive_decoding_and_encoding),
        cmocka_unit_test(a_stream_gives_whole_characters_however_it_is_cut),
        cmocka_unit_test(bytes_that_are_no_character_are_replaced_once_each),
        cmocka_unit_test(a_stream_never_writes_past_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
