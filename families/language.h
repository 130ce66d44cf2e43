/* Language models in GGUF files: architectures, keys and tensor names. */
#ifndef BLM_FAMILIES_LANGUAGE_H
#define BLM_FAMILIES_LANGUAGE_H

#include "../network/language.h"
#include "tensors.h"

/* Reads keys and tensors from the file; layer tables and RoPE frequencies come from the
 * arena. Errors: BLUELM_E_UNSUPPORTED (architecture, rope scaling, experts),
 * BLUELM_E_FORMAT. */
BLM_PRIVATE BLM_COLD int blm_language_open(blm_language *m, const blm_gguf *g, blm_arena *arena,
                                           bluelm_error *err);

#endif
