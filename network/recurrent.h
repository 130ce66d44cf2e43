/* Mixers whose state has a fixed size: the short convolution of LFM2, and the Gated DeltaNet
 * (arXiv 2412.06464) of Qwen3.5. Tokens go through them one after another, so that the
 * result does not depend on how they are cut into chunks; channels and heads are shared
 * among the workers. */
#ifndef BLM_RECURRENT_H
#define BLM_RECURRENT_H

#include "language.h"

/* From work->in (normalised rows) to work->out. */
BLM_PRIVATE void blm_convolution_run(blm_chunk *c);
BLM_PRIVATE void blm_delta_run(blm_chunk *c);

/* Floats of work->part that a token takes. */
BLM_PRIVATE uint64_t blm_convolution_floats(const blm_language *m);
BLM_PRIVATE uint64_t blm_delta_floats(const blm_language *m);

#endif
