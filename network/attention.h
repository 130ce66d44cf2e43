/* Causal attention of a chunk over the cache of its layer. */
#ifndef BLM_ATTENTION_H
#define BLM_ATTENTION_H

#include "language.h"

/* From work->in (normalised rows) to work->out. */
BLM_PRIVATE void blm_attention_run(blm_chunk *c);

/* Floats of work->part that a token takes. */
BLM_PRIVATE uint64_t blm_attention_floats(const blm_language *m);

#endif
