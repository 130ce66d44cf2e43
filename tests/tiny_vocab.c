/* The vocabularies of the tiny models: SentencePiece and byte-level BPE. */
#include "tiny_parts.h"

#include <stdio.h>

enum { PIECE_NORMAL = 1, PIECE_UNKNOWN = 2, PIECE_CONTROL = 3, PIECE_BYTE = 6 };

/* Pieces of two characters and more, best first; each can be reached by merges. U+2581 is
 * SentencePiece's space. */
#define SP "\xE2\x96\x81"
static const char *const merged_pieces[] = {
    SP "t", "he",        SP "the", "in",    SP "a",   "er",    SP "w",  "ha",
    "hat",  SP "what",   "is",     SP "is", "th",     "this",  SP "th", SP "this",
    "an",   "on",        "re",     "at",    SP "i",   SP "in", "ou",    "you",
    SP "c", SP "s",      "ee",     "see",   SP "see", "ca",    "cat",   SP "cat",
    SP SP,  SP SP SP SP, "ma",     "im",    "age",    "ag",    "image", SP "image"};
static const char *const single_pieces[] = {SP,
                                            "e",
                                            "t",
                                            "a",
                                            "o",
                                            "i",
                                            "n",
                                            "s",
                                            "r",
                                            "h",
                                            "l",
                                            "d",
                                            "u",
                                            "c",
                                            "m",
                                            "f",
                                            "y",
                                            "w",
                                            "g",
                                            "p",
                                            "b",
                                            "v",
                                            "k",
                                            "x",
                                            "q",
                                            "j",
                                            "z",
                                            "T",
                                            "W",
                                            "I",
                                            "A",
                                            "0",
                                            "1",
                                            "2",
                                            "3",
                                            "4",
                                            ".",
                                            ",",
                                            "?",
                                            "!",
                                            ":",
                                            "[",
                                            "|",
                                            "]",
                                            "<",
                                            ">",
                                            "/",
                                            "-",
                                            "\xC3\xA9",
                                            "\xE6\x97\xA5",
                                            "\xE6\x9C\xAC",
                                            "\xF0\x9F\x99\x82"};
#define MERGED (sizeof merged_pieces / sizeof merged_pieces[0])
#define SINGLE (sizeof single_pieces / sizeof single_pieces[0])

static const char *const specials[] = {"[|Human|]:", "[|AI|]:", "<img>", "</img>",
                                       "[|SYSTEM|]:"};

/* Text, score and type of one piece of the SentencePiece vocabulary. */
static int spm_piece(uint32_t id, char text[32], float *score)
{
    *score = 0;
    if (id < TINY_BYTE0) {
        static const char *const first[] = {"<unk>", "<s>", "</s>"};
        snprintf(text, 32, "%s", first[id]);
        return id == TINY_UNK ? PIECE_UNKNOWN : PIECE_CONTROL;
    }
    if (id < TINY_HUMAN) {
        snprintf(text, 32, "<0x%02X>", (unsigned)(id - TINY_BYTE0));
        return PIECE_BYTE;
    }
    if (id < TINY_PIECES) {
        snprintf(text, 32, "%s", specials[id - TINY_HUMAN]);
        return PIECE_CONTROL;
    }
    id -= TINY_PIECES;
    *score = -(float)(id + 1);
    if (id < MERGED) {
        snprintf(text, 32, "%s", merged_pieces[id]);
    } else if (id < MERGED + SINGLE) {
        snprintf(text, 32, "%s", single_pieces[id - MERGED]);
    } else {
        snprintf(text, 32, SP "pad%u", (unsigned)id);
    }
    return PIECE_NORMAL;
}

void tiny_spm_vocabulary(tiny_writer *w, uint32_t n_vocab)
{
    char text[32];
    float score;
    uint32_t i;
    tiny_key_string(w, "tokenizer.ggml.model", "llama");
    tiny_key_string(w, "tokenizer.ggml.pre", "default");
    tiny_key_array(w, "tokenizer.ggml.tokens", TINY_KEY_STRING, n_vocab);
    for (i = 0; i < n_vocab; i++) {
        spm_piece(i, text, &score);
        tiny_put_string(&w->keys, text);
    }
    tiny_key_array(w, "tokenizer.ggml.scores", TINY_KEY_F32, n_vocab);
    for (i = 0; i < n_vocab; i++) {
        spm_piece(i, text, &score);
        tiny_put_f32(&w->keys, score);
    }
    tiny_key_array(w, "tokenizer.ggml.token_type", TINY_KEY_I32, n_vocab);
    for (i = 0; i < n_vocab; i++)
        tiny_put_u32(&w->keys, (uint32_t)spm_piece(i, text, &score));
    tiny_key_u32(w, "tokenizer.ggml.bos_token_id", TINY_BOS);
    tiny_key_u32(w, "tokenizer.ggml.eos_token_id", TINY_EOS);
    tiny_key_u32(w, "tokenizer.ggml.unknown_token_id", TINY_UNK);
    tiny_key_bool(w, "tokenizer.ggml.add_bos_token", 1);
    tiny_key_bool(w, "tokenizer.ggml.add_eos_token", 0);
}

/* The character that stands for a byte in byte-level BPE: itself where it is printable in
 * Latin-1, else the next of U+0100 and on. */
static void byte_character(uint32_t byte, char text[8])
{
    uint32_t code = 0x100, b;
    for (b = 0; b <= byte; b++) {
        int printable = (b > 32 && b < 127) || (b > 160 && b != 173);
        if (b == byte && printable) code = b;
        if (b < byte && !printable) code++;
    }
    if (code < 0x80) {
        snprintf(text, 8, "%c", (int)code);
    } else {
        snprintf(text, 8, "%c%c", (int)(0xC0 | code >> 6), (int)(0x80 | (code & 63)));
    }
}

/* Left and right of each merge, best first. U+0120 is the space. */
#define SPACE "\xC4\xA0"
static const char *const bpe_merges[][2] = {
    {SPACE, "t"}, {"h", "e"},       {SPACE "t", "he"}, {"i", "n"},   {SPACE, "a"},
    {"i", "s"},   {"h", "a"},       {"ha", "t"},       {"W", "hat"}, {SPACE, "is"},
    {"t", "h"},   {SPACE "t", "h"}, {"e", "r"},        {"a", "t"},   {"c", "at"},
    {SPACE, "c"}, {SPACE "c", "at"}};
#define MERGES (sizeof bpe_merges / sizeof bpe_merges[0])

static void bpe_piece(uint32_t id, char text[32])
{
    static const char *const ends[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    if (id < 256) {
        byte_character(id, text);
    } else if (id <= TINY_BPE_IM_END) {
        snprintf(text, 32, "%s", ends[id - 256]);
    } else if (id - TINY_BPE_IM_END - 1 < MERGES) {
        const char *const *merge = bpe_merges[id - TINY_BPE_IM_END - 1];
        snprintf(text, 32, "%s%s", merge[0], merge[1]);
    } else {
        snprintf(text, 32, "pad%u", (unsigned)id);
    }
}

void tiny_bpe_vocabulary(tiny_writer *w, uint32_t n_vocab, const char *const *markers)
{
    char text[64];
    uint32_t i, marker_count = 0;
    while (markers && markers[marker_count])
        marker_count++;
    tiny_key_string(w, "tokenizer.ggml.model", "gpt2");
    tiny_key_string(w, "tokenizer.ggml.pre", "qwen2");
    tiny_key_array(w, "tokenizer.ggml.tokens", TINY_KEY_STRING, n_vocab);
    for (i = 0; i < n_vocab; i++) {
        uint32_t marker = i - TINY_BPE_MARKERS;
        bpe_piece(i, text);
        tiny_put_string(&w->keys, marker < marker_count ? markers[marker] : text);
    }
    tiny_key_array(w, "tokenizer.ggml.token_type", TINY_KEY_I32, n_vocab);
    for (i = 0; i < n_vocab; i++) {
        int control =
            (i >= TINY_BPE_END && i <= TINY_BPE_IM_END) || i - TINY_BPE_MARKERS < marker_count;
        tiny_put_u32(&w->keys, control ? PIECE_CONTROL : PIECE_NORMAL);
    }
    tiny_key_array(w, "tokenizer.ggml.merges", TINY_KEY_STRING, MERGES);
    for (i = 0; i < MERGES; i++) {
        snprintf(text, sizeof text, "%s %s", bpe_merges[i][0], bpe_merges[i][1]);
        tiny_put_string(&w->keys, text);
    }
    tiny_key_u32(w, "tokenizer.ggml.bos_token_id", TINY_BPE_END);
    tiny_key_u32(w, "tokenizer.ggml.eos_token_id", TINY_BPE_IM_END);
    tiny_key_bool(w, "tokenizer.ggml.add_bos_token", 0);
}
