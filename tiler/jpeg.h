/* JPEG by rows: baseline, extended and progressive Huffman coding of 8-bit samples. Its
 * pixels are libjpeg-turbo's to the bit: the accurate integer IDCT, triangle upsampling and
 * the same rounding of YCbCr; CMYK becomes RGB as in Pillow, which takes it as inverted. */
#ifndef BLM_JPEG_H
#define BLM_JPEG_H

#include "image.h"

#ifndef BLUELM_NO_IMAGE_DECODE

/* As the functions of image.h; the file begins with FF D8 FF. `memory` is aligned to 16
 * and holds what blm_jpeg_need says. blm_jpeg_begin fills it with the decoder's state,
 * which blm_jpeg_row takes. */
BLM_PRIVATE int blm_jpeg_facts(const uint8_t *file, size_t bytes, blm_image_facts *facts,
                               bluelm_error *err);
BLM_PRIVATE int blm_jpeg_check(const uint8_t *file, size_t bytes, bluelm_error *err);
BLM_PRIVATE int blm_jpeg_need(const uint8_t *file, size_t bytes, uint64_t *need,
                              bluelm_error *err);
BLM_PRIVATE uint64_t blm_jpeg_scratch_bytes(uint32_t max_width_px);
BLM_PRIVATE int blm_jpeg_begin(void *memory, const uint8_t *file, size_t bytes,
                               const uint8_t background_rgb[3], bluelm_error *err);
BLM_PRIVATE int blm_jpeg_row(void *state, uint8_t *row_rgb, bluelm_error *err);

#endif
#endif
