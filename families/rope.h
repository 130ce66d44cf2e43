/* RoPE as files describe it: bases, scaling, factors, and the axis of each pair. */
#ifndef BLM_ROPE_H
#define BLM_ROPE_H

#include "../arena/arena.h"
#include "../network/model.h"
#include "tensors.h"

/* Which pairs of a head rotate by a picture's rows and columns: runs of them one after another,
 * or every third. */
typedef enum blm_sections {
    BLM_NO_SECTIONS,
    BLM_SECTIONS_RUNS,
    BLM_SECTIONS_THIRDS
} blm_sections;

/* What a file cannot say of its architecture. */
typedef struct blm_rope_kind {
    const char *arch; /* what the keys begin with                                    */
    int local;        /* windowed layers have a base of their own, and no scaling    */
    int may_rest;     /* rope.scaling.finetuned false: nothing rotates                 */
    int some_rest;    /* in some layers nothing rotates                                */
    blm_sections sections;
} blm_rope_kind;

/* Fills the model's tables and what goes with them; n_rot and trained_context_tokens are
 * set before.
 * Errors: BLUELM_E_UNSUPPORTED names a scaling that is not run, BLUELM_E_FORMAT the key. */
BLM_PRIVATE int blm_rope_read(blm_language *m, const blm_gguf *g, const blm_rope_kind *kind,
                              blm_arena *arena, bluelm_error *err);

#endif
