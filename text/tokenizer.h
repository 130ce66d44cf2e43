/* Text to tokens and back, for the kinds of vocabulary that GGUF files carry: `llama`
 * (SentencePiece BPE with byte fallback), `gpt2` (byte-level BPE behind a pre-splitting
 * rule) and `gemma4` (pieces as in the first, merges as in the second). Gives the ids that llama.cpp gives. */
#ifndef BLM_TOKENIZER_H
#define BLM_TOKENIZER_H

#include "merge.h"
#include "presplit.h"

/* Longest text of a special token, in bytes; a longer one is never found in text. */
#define BLM_SPECIAL_MAX 255u

/* Where special tokens of some types may begin and how long they may be: what makes
 * looking for them in text cheap. */
typedef struct blm_specials {
    uint32_t type_mask;  /* which types: BLM_TOKEN_MASK(..) | ..          */
    uint32_t longest;    /* bytes; 0: there are none                      */
    uint8_t first[32];   /* bit b % 8 of byte b / 8: one begins with b    */
    uint8_t lengths[32]; /* bit n % 8 of byte n / 8: one is n bytes long  */
} blm_specials;

typedef struct blm_vocab {
    uint32_t n_tokens;
    int32_t bos, eos, eot, eom; /* ids, -1: absent                            */
    int32_t unknown, padding;
    int add_bos, add_eos; /* never set where the id is absent           */
    int add_space_prefix;
    uint32_t text_bytes; /* most that blm_tokenize takes at once       */

    /* The rest is the tokenizer's own. */
    blm_pieces pieces;
    blm_merger merger;         /* scratch, text_bytes + 1 places             */
    uint8_t *word_starts;      /* scratch of presplit, [text_bytes / 8 + 1]  */
    const blm_presplit *split; /* NULL: SentencePiece                        */
    int marked;                /* pieces have U+2581 for a space and <0x0A> for a
                                   byte: SentencePiece, Gemma 4               */
    int strip_right;           /* special tokens swallow the spaces after
                                   them (Phi-3)                               */
    blm_specials user;         /* user-defined: found in any text            */
    blm_specials markup;       /* control, unknown and user-defined          */
} blm_vocab;

/* Reads the vocabulary's keys and builds its index.
 *   a           index and scratch; while it counts, the same sizes are taken, what needs
 *               no memory is checked and nothing is written through it; when it has no
 *               room nothing is written either (the caller asks blm_arena_ok)
 *   text_bytes  longest text for blm_tokenize, 1 .. 65535
 * Errors: BLUELM_E_ARG (text_bytes), BLUELM_E_FORMAT (keys missing, of wrong types or
 * lengths, ids beyond the vocabulary), BLUELM_E_UNSUPPORTED (another tokenizer or
 * pre-splitting rule: the subject names it). */
BLM_PRIVATE BLM_COLD int blm_vocab_init(blm_vocab *v, const blm_gguf *g, blm_arena *a,
                                        uint32_t text_bytes, bluelm_error *err);

/* Makes control of every token that is written out as a marker in a text of the library's
 * own: a chat template's, a picture's. What a user types cannot become it any more, whatever
 * type the file gives it; markup still does. The ids bos, eos, eot and eom, and the
 * well-known ends of answers where their types are missing or user-defined, are so from the
 * start. */
BLM_PRIVATE void blm_vocab_guard(blm_vocab *v, const char *text, size_t bytes);

/* Tokens of plain text: no control token comes of it, whatever is written there.
 *   text           `bytes` bytes of UTF-8; bytes that are none are taken one by one
 *   after_special  1 when the text follows a special token, a picture or the start
 *                  (then a SentencePiece vocabulary may put a space before it)
 *   out            [max_out], may be NULL when max_out is 0
 * Returns the number of tokens; more than max_out: only max_out were written.
 * Errors: BLUELM_E_BUDGET (bytes > text_bytes). Scratch: the vocabulary's own. */
BLM_PRIVATE int64_t blm_tokenize(blm_vocab *v, const char *text, size_t bytes,
                                 int after_special, int32_t *out, size_t max_out,
                                 bluelm_error *err);

/* Finds the first special token (control, unknown or user-defined) written out in trusted
 * text, the longest where several begin.
 *   at, length, token  out: its place, the bytes to skip (with the spaces behind it that
 *                      it swallows, in Phi-3's vocabularies), its id
 * Returns 1, or 0 when there is none. */
BLM_PRIVATE int blm_vocab_find_special(const blm_vocab *v, const char *text, size_t bytes,
                                       size_t *at, size_t *length, int32_t *token);

/* The token whose piece, as the file has it, is exactly this text; -1 if there is none. */
BLM_PRIVATE BLM_UNUSED int32_t blm_vocab_lookup(const blm_vocab *v, const char *text,
                                                size_t bytes);

/* The bytes of text that a token stands for; none for control, unknown and unused tokens.
 * One that only became control keeps its text where it is user-defined (<think>).
 * Returns their number; more than `bytes`: only `bytes` were written. BLUELM_E_ARG for an
 * id out of range. */
BLM_PRIVATE int64_t blm_token_text(const blm_vocab *v, int32_t token, char *out, size_t bytes);

/* 1 if the token ends an answer: eos, eot, eom, and control tokens that are known to. */
BLM_PRIVATE int blm_vocab_is_end(const blm_vocab *v, int32_t token);

#endif
