/* PNG by rows: chunks, filters, interlacing, and what becomes of each kind of pixel. */
#ifndef BLM_PNG_H
#define BLM_PNG_H

#include "image.h"

#ifndef BLUELM_NO_IMAGE_DECODE

/* As the functions of image.h; the file begins with PNG's signature. `memory` is aligned
 * to 16 and holds what blm_png_need says. blm_png_begin fills it with the decoder's state,
 * which blm_png_row takes. */
BLM_PRIVATE int blm_png_facts(const uint8_t *file, size_t bytes, blm_image_facts *facts,
                              bluelm_error *err);
BLM_PRIVATE int blm_png_check(const uint8_t *file, size_t bytes, bluelm_error *err);
BLM_PRIVATE int blm_png_need(const uint8_t *file, size_t bytes, uint64_t *need,
                             bluelm_error *err);
BLM_PRIVATE uint64_t blm_png_scratch_bytes(uint32_t max_width_px);
BLM_PRIVATE int blm_png_begin(void *memory, const uint8_t *file, size_t bytes,
                              const uint8_t background_rgb[3], bluelm_error *err);
BLM_PRIVATE int blm_png_row(void *state, uint8_t *row_rgb, bluelm_error *err);

#endif
#endif
