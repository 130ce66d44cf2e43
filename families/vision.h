/* Vision towers and projectors in mmproj files: keys and tensor names. */
#ifndef BLM_FAMILIES_VISION_H
#define BLM_FAMILIES_VISION_H

#include "../network/vision.h"
#include "tensors.h"

/* Reads the mmproj's keys and tensors; the layer table comes from the arena. */
BLM_PRIVATE int blm_vision_open(blm_vision *m, const blm_gguf *g, blm_arena *arena,
                                bluelm_error *err);

/* Reads clip.projector_type, the scale factor and the tensors.
 *   patches_side, width  of the encoder's output */
BLM_PRIVATE int blm_projector_open(blm_projector *p, const blm_gguf *g, uint32_t patches_side,
                                   uint32_t width, bluelm_error *err);

#endif
