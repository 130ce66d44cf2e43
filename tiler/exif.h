/* The one thing that EXIF data say of a picture's pixels: how the camera was held. */
#ifndef BLM_EXIF_H
#define BLM_EXIF_H

#include "../base/base.h"

#ifndef BLUELM_NO_IMAGE_DECODE

/* Orientation 1..8 out of a TIFF block ("II*\0" or "MM\0*" and its first directory), of
 * `bytes` bytes; 1 where there is none, or nonsense. */
BLM_PRIVATE uint32_t blm_exif_orientation(const uint8_t *tiff, size_t bytes);

#endif
#endif
