/* The texts around pictures and their tiles, from a model's mmproj file. */
#ifndef BLM_MARKUP_H
#define BLM_MARKUP_H

#include "../gguf/gguf.h"
#include "../network/projector.h"
#include "../text/tokenizer.h"

/* Picture or tile markers come to at most this many bytes once {row}, {col} are filled in. */
#define BLM_IMAGE_MARKUP_BYTES 128

/* Markup around a picture and its tiles; {row} and {col} count from 1, {image}, the
 * conversation's pictures, from 0. */
typedef struct blm_image_markup {
    blm_string begin, end;               /* around all of it                 */
    blm_string single;                   /* before the only tile             */
    blm_string tile, row_end, thumbnail; /* for a picture of several tiles */
    blm_string line_end;                 /* between rows of a tile's tokens */
    blm_string tile_end;                 /* behind a tile of several                       */
    blm_string whole_end;                /* behind the only tile, or the thumbnail         */
    blm_string row_gap;                  /* between rows of tiles                          */
    uint32_t own;    /* bit i: the file gives text i of these, in this order    */
    int breaks_line; /* a line break follows a picture of a turn: so LLaVA's and InternVL's
                        own programs write it. Never where the file gives texts of its own */
} blm_image_markup;

/* Reads the file's markup, or takes the projector's. The texts lie in the file or are
 * constants. Errors: BLUELM_E_FORMAT (a text longer than BLM_IMAGE_MARKUP_BYTES). */
BLM_PRIVATE BLM_COLD int blm_image_markup_read(blm_image_markup *m, const blm_gguf *g,
                                               const blm_projector *p, bluelm_error *err);

/* Drops what is the projector's and not the file's when the vocabulary lacks the marker that
 * it begins with, or that ends its lines: the language model was not trained with it. */
BLM_PRIVATE void blm_image_markup_fit(blm_image_markup *m, const blm_vocab *vocab);

#endif
