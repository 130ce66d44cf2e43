/* Vocabularies in memory, for the tests: written, opened in an arena of exactly what they
 * need, asked. What should not happen aborts (tiny_must). */
#ifndef VOCAB_AID_H
#define VOCAB_AID_H

#include "../text/tokenizer.h"
#include "tiny_model.h"

#define VOCAB_MARK    "\342\226\201" /* U+2581 */
#define VOCAB_MAX_IDS 70000
#define NO_TYPES      0
#define NO_SCORES     0

typedef struct vocab_piece {
    const char *text;
    float score;
    uint32_t type;
} vocab_piece;

void vocab_write_pieces(tiny_writer *w, const vocab_piece *pieces, size_t count, int types,
                        int scores);
void vocab_write_merges(tiny_writer *w, const char *const *merges, size_t count);

/* Begins a file with tokenizer.ggml.model. */
void vocab_start(tiny_writer *w, const char *model);

/* A vocabulary that is in use: the file, and an arena of exactly what it needs. */
typedef struct vocab_subject {
    tiny_file file;
    blm_gguf gguf;
    blm_arena arena;
    uint8_t *block;
    uint64_t need;
    blm_vocab v;
    bluelm_error err;
} vocab_subject;

/* Return what blm_vocab_init returns. */
int vocab_open_file(vocab_subject *s, tiny_file file, uint32_t text_bytes);
int vocab_open(vocab_subject *s, tiny_writer *w, uint32_t text_bytes);
void vocab_close(vocab_subject *s);

/* Tokens of a text as "1 2 3". */
const char *vocab_ids(vocab_subject *s, const char *text, size_t bytes, int after_special);
void vocab_expect(vocab_subject *s, const char *text, int after_special, const char *want);

/* The text of tokens, joined. Returns its bytes. */
size_t vocab_text(vocab_subject *s, const int32_t *ids, int64_t count, char *out, size_t room);

/* <unk> <s> </s>, the 256 bytes, then the caller's pieces. */
enum { SPM_FIRST = 259 };
size_t vocab_spm_pieces(vocab_piece *out, const vocab_piece *extra, size_t count);
void vocab_open_spm(vocab_subject *s, const vocab_piece *extra, size_t count,
                    uint32_t text_bytes);

/* The 256 bytes in their printable characters, then the caller's pieces. */
enum { BPE_FIRST = 256 };
size_t vocab_bpe_pieces(vocab_piece *out, const vocab_piece *extra, size_t count);
void vocab_open_bpe(vocab_subject *s, const char *pre, const vocab_piece *extra, size_t count,
                    const char *const *merges, size_t merge_count);

#endif
