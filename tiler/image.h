/* Decodes PNG and JPEG files into RGB rows inside memory that the caller gives.
 *
 * Any PNG: 1 to 16 bits, grey, RGB, palette, alpha, interlaced. Baseline and progressive
 * JPEG: grey, YCbCr, RGB, CMYK and YCCK. What becomes of the pixels is what Pillow's
 * convert("RGB") does: grey is repeated, alpha and transparency are dropped, not blended,
 * 16 bits keep their upper 8. Orientation in EXIF, gamma and colour profiles are not
 * applied. A JPEG's pixels may differ from libjpeg's by a few units.
 *
 * PNG chunks are walked and checked (CRCs too) and rows unfiltered here; stb_image
 * inflates them and decodes JPEG. stb_image keeps a failure reason and asks for memory
 * through a function without an argument, so this file has the one exception to "no
 * globals that change": two pointers, thread-local where there is an operating system,
 * set only while a JPEG is decoded. Without one (-ffreestanding, or where
 * BLUELM_NO_THREAD_LOCALS is defined) they are plain: decode in one thread at a time.
 *
 * With BLUELM_NO_IMAGE_DECODE all of it is left out and encoded pictures are
 * BLUELM_E_UNSUPPORTED. BLUELM_STB_IMAGE names the header, <stb/stb_image.h> by default;
 * a program that includes bluelm.c implements stb_image for itself in another file.
 * The stack is 8 KB deep at most, in stb_image's inflate. */
#ifndef BLM_IMAGE_H
#define BLM_IMAGE_H

#include "../base/base.h"

/* Size of an encoded picture, from its header.
 * Errors: BLUELM_E_IMAGE (at = byte offset where there is one), BLUELM_E_UNSUPPORTED. */
BLM_PRIVATE int blm_image_info(const void *encoded, size_t bytes, uint32_t *width,
                               uint32_t *height, bluelm_error *err);

/* Memory that decodes any picture of up to max_pixels, in bytes:
 *   PNG   16 a pixel (16-bit RGBA rows, and as much again for IDAT chunks put together)
 *         and 2 filter bytes a row for each of both; compressed data may be longer
 *         than the rows by 1/1000
 *   JPEG  15 a pixel (progressive, 4 components: plane 1 and coefficients 2 each; RGB 3)
 *         of the size rounded up to whole blocks of 32, and the decoder's tables
 * It holds for every PNG, and for JPEGs whose sides are no more than 16 : 1 apart: of
 * narrower ones rounding may take more, which blm_image_decode reports as
 * BLUELM_E_BUDGET. BLUELM_NO_IMAGE_DECODE_PIXELS needs 0. */
BLM_PRIVATE uint64_t blm_image_decode_bytes(uint32_t max_pixels);

/* Memory that this picture takes, in bytes, from its header and chunks; exact for an
 * aligned block. Errors: as blm_image_info. */
BLM_PRIVATE int blm_image_need(const void *encoded, size_t bytes, uint64_t *need,
                               bluelm_error *err);

/* Decodes a picture.
 *   in      encoded, encoded_bytes
 *   memory  any alignment
 *   out     rgb rows at the very start of memory, stride 3 x width: what lies above
 *           may be used for something else
 * Errors: BLUELM_E_IMAGE (malformed, truncated, more than max_pixels: need = limit, have =
 * pixels), BLUELM_E_BUDGET (need and have bytes), BLUELM_E_UNSUPPORTED (built without). */
BLM_PRIVATE int blm_image_decode(const bluelm_image *in, uint32_t max_pixels, void *memory,
                                 uint64_t memory_bytes, bluelm_image *out, bluelm_error *err);

#endif
