/* Fuzz target: the tokenizer. The bytes choose a kind of vocabulary, then describe pieces
 * and merges as parts of the text that follows, so that merging has something to do. All
 * 256 bytes are always tokens: the tokens must give the text back.
 *
 *   byte 0     bit 0 byte-level BPE, 1 after a special token, 2 no space prefix,
 *              3 no types, 4 no scores
 *   byte 1     pre-splitting rule
 *   byte 2     count of pieces, at most 63; per piece 4 bytes: where in the text it
 *              begins, lengths of its two halves, type and score
 *   the rest   the text */
#include "../tests/tiny_model.h"
#include "../text/tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define BLM_FUZZ_TEXT_MAX 4096u

typedef struct blm_fuzz_case {
    int bpe, after_special, no_prefix, types, scores;
    const char *rule;
    uint32_t piece_count;
    const uint8_t *pieces; /* 4 bytes each */
    const char *text;
    uint32_t bytes;
} blm_fuzz_case;

static void blm_fuzz_require(int holds)
{
    if (!holds) abort();
}

static int blm_fuzz_read(blm_fuzz_case *c, const uint8_t *data, size_t bytes)
{
    static const char *const rules[] = {"default",   "gpt-2",        "smollm", "qwen2",
                                        "llama-bpe", "deepseek-llm", "qwen35", "gpt-4o",
                                        "tekken",    "minicpm5"};
    if (bytes < 3) return 0;
    c->bpe = data[0] & 1;
    c->after_special = data[0] >> 1 & 1;
    c->no_prefix = data[0] >> 2 & 1;
    c->types = !(data[0] >> 3 & 1);
    c->scores = !(data[0] >> 4 & 1);
    c->rule = rules[data[1] % BLM_COUNT_OF(rules)];
    c->piece_count = data[2] & 63;
    if ((bytes - 3) / 4 < c->piece_count) c->piece_count = (uint32_t)((bytes - 3) / 4);
    c->pieces = data + 3;
    c->text = (const char *)data + 3 + 4 * c->piece_count;
    c->bytes = (uint32_t)BLM_MIN(bytes - 3 - 4 * c->piece_count, BLM_FUZZ_TEXT_MAX);
    return 1;
}

/* A part of the text as the pieces of the vocabulary write it; `raw`: as it stands. */
static void blm_fuzz_code(const blm_fuzz_case *c, uint32_t from, uint32_t length, int raw,
                          tiny_buffer *out)
{
    uint32_t i;
    for (i = from; i < from + length && i < c->bytes; i++) {
        char code[4];
        uint32_t n = 1;
        code[0] = c->text[i];
        if (!raw && c->bpe) n = blm_utf8_encode(blm_char_of_byte((uint8_t)c->text[i]), code);
        if (!raw && !c->bpe && c->text[i] == ' ') n = blm_utf8_encode(0x2581, code);
        tiny_put(out, code, n);
    }
}

/* Puts a string made of parts of the text: left, a space between if it is a merge, right. */
static void blm_fuzz_put_piece(const blm_fuzz_case *c, tiny_writer *w, const uint8_t *piece,
                               int merge)
{
    tiny_buffer text = {NULL, 0, 0};
    uint32_t from = c->bytes > 0 ? piece[0] * 16u % c->bytes : 0;
    int raw = (piece[3] & 3) == 1 && c->types;
    blm_fuzz_code(c, from, piece[1], raw, &text);
    if (merge) tiny_put(&text, " ", 1);
    blm_fuzz_code(c, from + piece[1], piece[2], raw, &text);
    tiny_put_u64(&w->keys, text.bytes);
    if (text.bytes > 0) tiny_put(&w->keys, text.data, text.bytes);
    free(text.data);
}

static uint32_t blm_fuzz_type(const blm_fuzz_case *c, uint32_t token)
{
    static const uint32_t types[] = {BLM_TOKEN_NORMAL, BLM_TOKEN_USER, BLM_TOKEN_CONTROL,
                                     BLM_TOKEN_NORMAL};
    if (token < 256) return c->bpe ? BLM_TOKEN_NORMAL : BLM_TOKEN_BYTE;
    return types[c->pieces[4 * (token - 256) + 3] & 3];
}

static void blm_fuzz_put_byte(const blm_fuzz_case *c, tiny_writer *w, uint8_t byte)
{
    static const char digits[] = "0123456789ABCDEF";
    char name[8] = "<0x00>";
    if (c->bpe) {
        memset(name, 0, sizeof name);
        blm_utf8_encode(blm_char_of_byte(byte), name);
    } else {
        name[3] = digits[byte >> 4];
        name[4] = digits[byte & 15];
    }
    tiny_put_string(&w->keys, name);
}

static tiny_file blm_fuzz_vocabulary(const blm_fuzz_case *c)
{
    uint32_t count = 256 + c->piece_count, i;
    tiny_writer w;
    tiny_start(&w, 1);
    tiny_key_string(&w, "tokenizer.ggml.model", c->bpe ? "gpt2" : "llama");
    tiny_key_string(&w, "tokenizer.ggml.pre", c->rule);
    if (c->no_prefix) tiny_key_bool(&w, "tokenizer.ggml.add_space_prefix", 0);
    tiny_key_array(&w, "tokenizer.ggml.tokens", BLM_GGUF_STRING, count);
    for (i = 0; i < count; i++) {
        if (i < 256)
            blm_fuzz_put_byte(c, &w, (uint8_t)i);
        else
            blm_fuzz_put_piece(c, &w, c->pieces + 4 * (i - 256), 0);
    }
    if (c->types) tiny_key_array(&w, "tokenizer.ggml.token_type", BLM_GGUF_I32, count);
    for (i = 0; c->types && i < count; i++)
        tiny_put_u32(&w.keys, blm_fuzz_type(c, i));
    if (c->scores) tiny_key_array(&w, "tokenizer.ggml.scores", BLM_GGUF_F32, count);
    for (i = 0; c->scores && i < count; i++) /* all bit patterns: NaN and infinity as well */
        tiny_put_u32(&w.keys,
                     i < 256 ? 0 : (uint32_t)c->pieces[4 * (i - 256) + 3] * 0x01020408u);
    if (c->bpe) tiny_key_array(&w, "tokenizer.ggml.merges", BLM_GGUF_STRING, c->piece_count);
    for (i = 0; c->bpe && i < c->piece_count; i++)
        blm_fuzz_put_piece(c, &w, c->pieces + 4 * i, 1);
    return tiny_finish(&w);
}

/* U+2581 and a space are one to SentencePiece. Returns the new length. */
static size_t blm_fuzz_fold_marks(char *text, size_t bytes)
{
    size_t from = 0, to = 0;
    while (from < bytes) {
        if (bytes - from >= 3 && memcmp(text + from, "\xe2\x96\x81", 3) == 0) {
            text[to++] = ' ';
            from += 3;
        } else {
            text[to++] = text[from++];
        }
    }
    return to;
}

/* The tokens' text equals the text, but for spaces put before it. */
static void blm_fuzz_compare(const blm_fuzz_case *c, const blm_vocab *v, char *back,
                             size_t bytes)
{
    char *want = malloc(c->bytes + 1u);
    size_t want_bytes = c->bytes, skip = 0;
    if (want == NULL) abort();
    if (c->bytes > 0) memcpy(want, c->text, c->bytes);
    if (!c->bpe) {
        want_bytes = blm_fuzz_fold_marks(want, want_bytes);
        bytes = blm_fuzz_fold_marks(back, bytes);
    }
    /* After a user-defined token comes a prefix too: no saying where they all are. */
    if (v->user.longest == 0 || !v->add_space_prefix) {
        if (bytes == want_bytes + 1) {
            blm_fuzz_require(v->add_space_prefix && c->after_special && back[0] == ' ');
            skip = 1;
        }
        blm_fuzz_require(bytes - skip == want_bytes);
        blm_fuzz_require(memcmp(back + skip, want, want_bytes) == 0);
    }
    free(want);
}

/* What a stream makes of the text is valid, however the tokens cut it. */
static size_t blm_fuzz_stream(blm_utf8_stream *s, const char *bytes, size_t count, char *out)
{
    size_t room = BLM_UTF8_ROOM(count), used = blm_utf8_push(s, bytes, count, out, room), at;
    uint32_t character, length;
    for (at = 0; at < used; at += length) {
        length = blm_utf8_decode(out + at, used - at, &character);
        blm_fuzz_require(length > 1 || character < 0x80);
    }
    return used;
}

static void blm_fuzz_round_trip(const blm_fuzz_case *c, blm_vocab *v)
{
    size_t max_ids = 2 * (size_t)c->bytes + 8, used = 0, room = 8 * (size_t)c->bytes + 1024;
    int32_t *ids = malloc(max_ids * sizeof *ids);
    char *back = malloc(room), *out = malloc(BLM_UTF8_ROOM(1024u));
    blm_utf8_stream stream;
    int64_t i, count;
    if (ids == NULL || back == NULL || out == NULL) abort();
    memset(&stream, 0, sizeof stream);
    count = blm_tokenize(v, c->text, c->bytes, c->after_special, ids, max_ids, NULL);
    blm_fuzz_require(count >= 0 && (uint64_t)count <= max_ids);
    blm_fuzz_require(blm_tokenize(v, c->text, c->bytes, c->after_special, NULL, 0, NULL) ==
                     count);
    for (i = 0; i < count; i++) {
        int64_t n = blm_token_text(v, ids[i], back + used, room - used);
        blm_fuzz_require(n >= 0 && (uint64_t)n <= room - used);
        blm_fuzz_require(blm_pieces_type(&v->pieces, (uint32_t)ids[i]) != BLM_TOKEN_CONTROL);
        if (n <= 1024) blm_fuzz_stream(&stream, back + used, (size_t)n, out);
        used += (size_t)n;
    }
    blm_fuzz_compare(c, v, back, used);
    free(out);
    free(back);
    free(ids);
}

static void blm_fuzz_specials(const blm_fuzz_case *c, const blm_vocab *v)
{
    size_t done = 0, at, length;
    int32_t token;
    while (blm_vocab_find_special(v, c->text + done, c->bytes - done, &at, &length, &token)) {
        blm_fuzz_require(length > 0 && at + length <= c->bytes - done);
        blm_fuzz_require(token >= 256 && (uint32_t)token < v->n_tokens);
        done += at + length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    blm_fuzz_case c;
    blm_arena a;
    blm_gguf g;
    blm_vocab v;
    tiny_file file;
    uint8_t *block;
    uint64_t need;
    if (!blm_fuzz_read(&c, data, bytes)) return 0;
    file = blm_fuzz_vocabulary(&c);
    blm_fuzz_require(blm_gguf_open(&g, file.data, file.bytes, "llm", NULL) == BLUELM_OK);
    blm_arena_start(&a, NULL, UINT64_MAX);
    blm_fuzz_require(blm_vocab_init(&v, &g, &a, BLM_MAX(c.bytes, 1), NULL) == BLUELM_OK);
    need = a.used + BLM_ARENA_ALIGN - 1;
    block = malloc((size_t)need);
    if (block == NULL) abort();
    blm_arena_start(&a, block, need);
    blm_fuzz_require(blm_vocab_init(&v, &g, &a, BLM_MAX(c.bytes, 1), NULL) == BLUELM_OK);
    blm_fuzz_require(blm_arena_ok(&a));
    blm_fuzz_round_trip(&c, &v);
    blm_fuzz_specials(&c, &v);
    blm_arena_start(&a, block, need); /* takes the poison off */
    free(block);
    tiny_free(&file);
    return 0;
}
