/* Decodes PNG and JPEG files into RGB rows, from the top, inside memory that the caller
 * gives and that depends on the picture's width alone.
 *
 * Any PNG: 1 to 16 bits, grey, RGB, palette, alpha, interlaced. Baseline and progressive
 * JPEG of 8 bits: grey, YCbCr, RGB, CMYK and YCCK. Interlaced PNG and JPEG of several
 * scans need memory for the whole picture besides (blm_image_facts.whole_picture).
 *
 * The pixels are those of Pillow's convert("RGB"), with these rules where it has several:
 *   16 bits         keep their upper 8
 *   transparency    (alpha, tRNS) is composed on a background: of colour c, alpha a and
 *                   background b, (a c + (255 - a) b) / 255, rounded
 *   palette         what it lacks is black
 *   orientation     of EXIF (JPEG APP1, PNG eXIf) is told, not applied: rows are the stored
 *                   ones
 *   gamma, profiles are not applied
 * A file whose data end early or whose parts that matter are damaged is refused.
 *
 * With BLUELM_NO_IMAGE_DECODE all of it is left out and encoded pictures are
 * BLUELM_E_UNSUPPORTED. */
#ifndef BLM_IMAGE_H
#define BLM_IMAGE_H

#include "../base/base.h"

enum { BLM_IMAGE_PNG = 1, BLM_IMAGE_JPEG = 2 };

/* What a file says of its picture. */
typedef struct blm_image_facts {
    uint32_t width_px, height_px; /* as it is to be shown: turned by its orientation */
    uint32_t stored_width_px, stored_height_px; /* of the rows that are decoded        */
    uint32_t orientation; /* of EXIF: 1..8, 1 where there is none or it says nonsense  */
    int kind;             /* BLM_IMAGE_PNG or BLM_IMAGE_JPEG                           */
    int whole_picture;    /* 1: memory grows with the number of its pixels             */
} blm_image_facts;

/* Reads a picture's headers. Errors: BLUELM_E_IMAGE (at = byte offset where there is
 * one), BLUELM_E_UNSUPPORTED (built without). */
BLM_PRIVATE int blm_image_info(const void *encoded, size_t bytes, blm_image_facts *facts,
                               bluelm_error *err);

/* Checks all that can be checked without decoding: the file is complete, its segments
 * and tables are sound, a PNG's checksums (of the chunks that matter) are right.
 * Takes time linear in bytes. Errors: as blm_image_info. */
BLM_PRIVATE int blm_image_check(const void *encoded, size_t bytes, bluelm_error *err);

/* Memory, in bytes, that decodes any picture whose facts do not say whole_picture, of up
 * to max_width_px stored pixels across, of any height. 0 needs 0. */
BLM_PRIVATE uint64_t blm_image_scratch_bytes(uint32_t max_width_px);

/* Memory, in bytes, that decodes this picture, at any alignment. Errors: as
 * blm_image_info. */
BLM_PRIVATE int blm_image_need(const void *encoded, size_t bytes, uint64_t *need,
                               bluelm_error *err);

/* A picture while it is decoded. The file and the memory stay where they are until the
 * last row is out; nothing has to be closed. */
typedef struct blm_image_decoder {
    blm_image_facts facts;
    uint8_t background_rgb[3];
    uint32_t next_row; /* the one that blm_image_row gives next */
    int failed;        /* the code of the first failure         */
    void *state;       /* in the caller's memory                */
    const struct blm_image_format *format;
} blm_image_decoder;

/* Makes ready for the first row; decodes the whole picture where it cannot be decoded by
 * rows. What blm_image_check alone finds (a PNG's checksums of image data, what follows
 * them) is not looked for again; no file does harm.
 *   background_rgb  3 bytes under transparent pixels; NULL is white
 *   memory          blm_image_need bytes or more, any alignment
 * Errors: BLUELM_E_IMAGE, BLUELM_E_BUDGET ("image decode", need and have bytes),
 * BLUELM_E_UNSUPPORTED (built without). */
BLM_PRIVATE int blm_image_begin(blm_image_decoder *d, const void *encoded, size_t bytes,
                                const uint8_t *background_rgb, void *memory,
                                uint64_t memory_bytes, bluelm_error *err);

/* Decodes the next stored row: row_rgb takes 3 bytes a pixel of stored_width_px.
 * Errors: BLUELM_E_IMAGE, and once more at each call after it; BLUELM_E_STATE after the
 * last row. */
BLM_PRIVATE int blm_image_row(blm_image_decoder *d, uint8_t *row_rgb, bluelm_error *err);

#ifndef BLUELM_NO_IMAGE_DECODE
/* For the formats: sides are 1..65535, or BLUELM_E_IMAGE. */
BLM_PRIVATE int blm_image_check_sides(uint32_t width, uint32_t height, bluelm_error *err);
#endif

#endif
