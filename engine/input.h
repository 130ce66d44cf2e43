/* What is to be read and what was: tokens, pictures by position, and text that waits for
 * its neighbours before it becomes tokens.
 *
 *   tokens  | read already ... | queued ... | free ...        | capacity = the context
 *   text    | waiting: plain text, no special token in it | free ... |
 *
 * Text waits because a template's plain words and the user's meet inside one token; a
 * special token, a picture or bluelm_step ends the wait. */
#ifndef BLM_INPUT_H
#define BLM_INPUT_H

#include "../text/tokenizer.h"

typedef struct blm_input {
    blm_vocab *vocab;
    int32_t *tokens; /* [capacity]: ids; an image token is -1 - its row in its picture */
    uint32_t capacity, count;
    char *text; /* [text_capacity] */
    uint32_t text_capacity, text_bytes;
    uint32_t text_from;     /* what lies before became tokens in the call in progress      */
    uint32_t content_from;  /* where the open turn's own text begins, if it still waits */
    int after_special;      /* the waiting text follows a special token, a picture or nothing */
    uint32_t counted_bytes; /* of the waiting text that was tokenized to see that it fits  */
    uint32_t counted_tokens; /* what came of it                                             */
} blm_input;

/* A call that may fail half way works between blm_input_begin and blm_input_end; when
 * `code` is an error, end puts everything back as it was. Returns code. */
BLM_PRIVATE blm_input blm_input_begin(blm_input *in);
BLM_PRIVATE int blm_input_end(blm_input *in, const blm_input *before, int code);

/* Adds plain text. Errors: BLUELM_E_BUDGET ("text"). */
BLM_PRIVATE int blm_input_text(blm_input *in, const char *text, size_t bytes,
                               bluelm_error *err);

/* Adds trusted text: special tokens written out become themselves. */
BLM_PRIVATE int blm_input_markup(blm_input *in, const char *text, size_t bytes,
                                 bluelm_error *err);

/* Drops the end of the waiting text. */
BLM_PRIVATE void blm_input_cut(blm_input *in, uint32_t text_bytes);

/* Adds `count` tokens of one value. Errors: BLUELM_E_CONTEXT, with tokens needed and had. */
BLM_PRIVATE int blm_input_tokens(blm_input *in, int32_t token, uint32_t count,
                                 bluelm_error *err);

/* Adds `count` image tokens, from row `first` of their picture on. Errors: as above. */
BLM_PRIVATE int blm_input_image(blm_input *in, uint32_t first, uint32_t count,
                                bluelm_error *err);

/* Turns the waiting text into tokens. */
BLM_PRIVATE int blm_input_flush(blm_input *in, bluelm_error *err);

/* All tokens, with those of the waiting text as if nothing followed; as blm_tokenize. */
BLM_PRIVATE int64_t blm_input_ids(const blm_input *in, int32_t *out, size_t max_out);

/* Fails with BLUELM_E_CONTEXT if the waiting text would not fit. Tokenizes it only where
 * its length leaves a doubt, so that text may come a byte at a time. */
BLM_PRIVATE int blm_input_check_room(blm_input *in, bluelm_error *err);

#endif
