#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>

/* Token types. */
enum { BENCH_NORMAL = 1, BENCH_UNKNOWN = 2, BENCH_CONTROL = 3, BENCH_BYTE = 6 };

enum { BENCH_PIECE_BYTES = 48, BENCH_BYTES = 256, BENCH_LETTERS = 26 };

/* A text in a growing list. */
typedef struct bench_piece {
    char text[BENCH_PIECE_BYTES];
    uint32_t type;
} bench_piece;

typedef struct bench_pieces {
    bench_piece *at;
    uint32_t count, limit;
} bench_pieces;

static void bench_add_piece(bench_pieces *p, const char *text, uint32_t type)
{
    if (p->count == p->limit) return;
    snprintf(p->at[p->count].text, BENCH_PIECE_BYTES, "%.47s", text);
    p->at[p->count++].type = type;
}

/* A name, or all of a pattern: "<row_%u_col_%u>:6" is 6 x 6 of them. */
static void bench_add_special(bench_pieces *p, const char *name)
{
    static const char mark[] = "%u";
    char text[2 * BENCH_PIECE_BYTES], before[BENCH_PIECE_BYTES];
    const char *first = strstr(name, mark), *colon = strrchr(name, ':');
    if (!first || !colon) {
        bench_add_piece(p, name, BENCH_CONTROL);
        return;
    }
    const char *second = strstr(first + 2, mark);
    const int side = atoi(colon + 1);
    snprintf(before, sizeof before, "%.*s", (int)(first - name), name);
    for (int i = 0; i < side * side; i++) {
        snprintf(text, sizeof text, "%s%d%.*s%d%.*s", before, i / side + 1,
                 (int)(second - first - 2), first + 2, i % side + 1, (int)(colon - second - 2),
                 second + 2);
        bench_add_piece(p, text, BENCH_CONTROL);
    }
}

static void bench_add_specials(bench_pieces *p, const char *list)
{
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", list);
    for (char *name = strtok(copy, ","); name; name = strtok(NULL, ","))
        bench_add_special(p, name);
}

static uint32_t bench_specials_of(const char *list)
{
    bench_pieces p = {.at = malloc(512 * sizeof(bench_piece)), .limit = 512};
    if (!p.at) abort();
    bench_add_specials(&p, list);
    free(p.at);
    return p.count;
}

/* The words of two letters, of three and so on, in order: each is an earlier word, or a
 * letter, and one letter more. */
static void bench_word(uint32_t index, char *word)
{
    uint32_t letters = 2, count = BENCH_LETTERS * BENCH_LETTERS;
    for (; index >= count; count *= BENCH_LETTERS, letters++)
        index -= count;
    word[letters] = 0;
    for (; letters--; index /= BENCH_LETTERS)
        word[letters] = (char)('a' + index % BENCH_LETTERS);
}

static void bench_add_words(bench_pieces *p, uint32_t most)
{
    char word[BENCH_PIECE_BYTES];
    for (uint32_t i = 0; i < most; i++) {
        bench_word(i, word);
        bench_add_piece(p, word, BENCH_NORMAL);
    }
}

/* ---- Bytes as printable characters --------------------------------------------------------- */

/* UTF-8 of the character that stands for a byte in byte-level vocabularies: itself where it is
 * printable, else the next free one from 256 on. */
static void bench_byte_character(uint32_t byte, char *text)
{
    uint32_t code = byte;
    if (byte <= 32) code = 256 + byte;
    if (byte >= 127 && byte <= 160) code = 256 + 33 + (byte - 127);
    if (byte == 173) code = 256 + 67;
    if (code < 0x80) {
        text[0] = (char)code;
        text[1] = 0;
        return;
    }
    text[0] = (char)(0xC0 | code >> 6);
    text[1] = (char)(0x80 | (code & 63));
    text[2] = 0;
}

static void bench_byte_words(bench_pieces *p, const bench_language *l)
{
    char text[BENCH_PIECE_BYTES];
    uint32_t specials = bench_specials_of(l->specials);
    for (uint32_t i = 0; i < BENCH_BYTES; i++) {
        bench_byte_character(i, text);
        bench_add_piece(p, text, BENCH_NORMAL);
    }
    bench_add_piece(p, "\xC4\x8A\xC4\x8A", BENCH_NORMAL); /* two line ends */
    bench_add_words(p, p->limit - BENCH_BYTES - 1 - specials);
    bench_add_specials(p, l->specials);
}

/* Merges of pieces with scores: of words alone. */
static void bench_write_word_merges(bench_writer *w, const bench_pieces *p)
{
    char merge[2 * BENCH_PIECE_BYTES];
    uint32_t first = 0;
    while (first < p->count && strcmp(p->at[first].text, "aa"))
        first++;
    bench_key_array(w, "tokenizer.ggml.merges", BENCH_STRINGS, p->count - first);
    for (uint32_t i = first; i < p->count; i++) {
        const char *word = p->at[i].text;
        size_t most = strlen(word) - 1;
        snprintf(merge, sizeof merge, "%.*s %s", (int)most, word, word + most);
        bench_put_string(w, merge);
    }
}

static void bench_write_merges(bench_writer *w, const bench_pieces *p, uint32_t specials)
{
    uint32_t words = p->count - specials;
    char merge[2 * BENCH_PIECE_BYTES];
    bench_key_array(w, "tokenizer.ggml.merges", BENCH_STRINGS, words - BENCH_BYTES);
    bench_put_string(w, "\xC4\x8A \xC4\x8A");
    for (uint32_t i = BENCH_BYTES + 1; i < words; i++) {
        const char *word = p->at[i].text;
        size_t most = strlen(word) - 1;
        snprintf(merge, sizeof merge, "%.*s %s", (int)most, word, word + most);
        bench_put_string(w, merge);
    }
}

/* ---- Pieces with scores ---------------------------------------------------------------------- */

static void bench_scored_words(bench_pieces *p, const bench_language *l)
{
    char text[BENCH_PIECE_BYTES];
    bench_add_specials(p, l->specials);
    for (uint32_t i = 0; i < p->count; i++)
        if (!strcmp(p->at[i].text, "<unk>")) p->at[i].type = BENCH_UNKNOWN;
    for (uint32_t i = 0; i < BENCH_BYTES; i++) {
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
        bench_add_piece(p, text, BENCH_BYTE);
    }
    bench_add_piece(p, "\xE2\x96\x81", BENCH_NORMAL); /* the space */
    for (uint32_t i = 0; i < 94; i++) {
        snprintf(text, sizeof text, "%c", (char)('!' + i));
        bench_add_piece(p, text, BENCH_NORMAL);
    }
    bench_add_words(p, p->limit);
}

static void bench_write_scores(bench_writer *w, const bench_pieces *p)
{
    bench_key_array(w, "tokenizer.ggml.scores", BENCH_F32S, p->count);
    for (uint32_t i = 0; i < p->count; i++)
        bench_put_f32(w, p->at[i].type == BENCH_NORMAL ? -(float)i : 0.0f);
}

/* ---- The keys ---------------------------------------------------------------------------------- */

static void bench_key_id(bench_writer *w, const char *key, const bench_pieces *p,
                         const char *name)
{
    for (uint32_t i = 0; name && i < p->count; i++)
        if (!strcmp(p->at[i].text, name)) {
            bench_key_u32(w, key, i);
            return;
        }
}

void bench_write_vocabulary(bench_writer *w, const bench_language *l)
{
    const int bytes = l->words == BENCH_BYTE_WORDS;
    bench_pieces p = {.at = malloc(l->n_vocab * sizeof(bench_piece)), .limit = l->n_vocab};
    if (!p.at) abort();
    (bytes ? bench_byte_words : bench_scored_words)(&p, l);
    const int gemma4 = l->words == BENCH_GEMMA4_WORDS;
    bench_key_string(w, "tokenizer.ggml.model", bytes ? "gpt2" : gemma4 ? "gemma4" : "llama");
    bench_key_string(w, "tokenizer.ggml.pre", l->pre);
    bench_key_array(w, "tokenizer.ggml.tokens", BENCH_STRINGS, p.count);
    for (uint32_t i = 0; i < p.count; i++)
        bench_put_string(w, p.at[i].text);
    bench_key_array(w, "tokenizer.ggml.token_type", BENCH_I32S, p.count);
    for (uint32_t i = 0; i < p.count; i++)
        bench_put_u32(w, p.at[i].type);
    if (bytes)
        bench_write_merges(w, &p, bench_specials_of(l->specials));
    else
        bench_write_scores(w, &p);
    if (gemma4) bench_write_word_merges(w, &p);
    bench_key_id(w, "tokenizer.ggml.bos_token_id", &p, l->bos);
    bench_key_id(w, "tokenizer.ggml.eos_token_id", &p, l->eos);
    bench_key_id(w, "tokenizer.ggml.unknown_token_id", &p, "<unk>");
    bench_key_id(w, "tokenizer.ggml.padding_token_id", &p, "<pad>");
    bench_key_bool(w, "tokenizer.ggml.add_bos_token", l->bos != NULL);
    if (l->words == BENCH_GEMMA_WORDS || gemma4)
        bench_key_bool(w, "tokenizer.ggml.add_space_prefix", 0);
    if (l->chat) bench_key_string(w, "tokenizer.chat_template", l->chat);
    free(p.at);
}
