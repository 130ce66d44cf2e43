#include "exif.h"

#ifndef BLUELM_NO_IMAGE_DECODE

#define BLM_EXIF_ORIENTATION 0x0112
#define BLM_EXIF_ENTRY_BYTES 12 /* tag, type, count, value */

enum { BLM_EXIF_SHORT = 3, BLM_EXIF_LONG = 4 };

/* `count` bytes (2 or 4) at p in the block's byte order. */
static uint32_t blm_exif_number(const uint8_t *p, uint32_t count, int big_endian)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < count; i++)
        value = value << 8 | p[big_endian ? i : count - 1 - i];
    return value;
}

BLM_PRIVATE uint32_t blm_exif_orientation(const uint8_t *tiff, size_t bytes)
{
    if (bytes < 8) return 1;
    int big = tiff[0] == 'M';
    if (memcmp(tiff, "II*\0", 4) != 0 && memcmp(tiff, "MM\0*", 4) != 0) return 1;
    uint32_t at = blm_exif_number(tiff + 4, 4, big);
    if (at > bytes - 2) return 1;
    uint32_t entries = blm_exif_number(tiff + at, 2, big);
    const uint8_t *p = tiff + at + 2;
    size_t room = (bytes - at - 2) / BLM_EXIF_ENTRY_BYTES;
    for (uint32_t i = 0; i < entries && i < room; i++, p += BLM_EXIF_ENTRY_BYTES) {
        if (blm_exif_number(p, 2, big) != BLM_EXIF_ORIENTATION) continue;
        uint32_t type = blm_exif_number(p + 2, 2, big);
        if (type != BLM_EXIF_SHORT && type != BLM_EXIF_LONG) return 1;
        if (blm_exif_number(p + 4, 4, big) != 1) return 1;
        uint32_t value = blm_exif_number(p + 8, type == BLM_EXIF_SHORT ? 2 : 4, big);
        return value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

#endif
