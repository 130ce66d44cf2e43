/* Cuts tiles out of a picture: resizes any rectangle of the resized picture straight
 * from the caller's rows, in scratch that does not depend on the picture's size, and
 * equals Pillow's 8-bit RGB resampling (Image.resize, bicubic and bilinear) to the bit. */
#ifndef BLM_RESIZE_H
#define BLM_RESIZE_H

#include "grid.h"

/* What part of which resized picture goes where. */
typedef struct blm_resize_job {
    const bluelm_image *image;        /* rgb rows                                    */
    uint32_t full_width, full_height; /* px: the whole picture resized               */
    uint32_t filter;                  /* BLM_FILTER_*                                */
    uint32_t x, y, width, height;     /* px: the rectangle of it that is wanted      */
    uint8_t *out;                     /* [height][out_stride_bytes], 3 bytes a pixel */
    size_t out_stride_bytes;
} blm_resize_job;

/* Scratch for rectangles up to tile_px wide of pictures up to 65535 a side that are
 * made no smaller than tile_px / 65535 of themselves, in bytes at any alignment: for
 * tiles of 384, 102 KB. With less (or for a rectangle narrower in a stronger reduction)
 * blm_resize_rect says what it needs. */
BLM_PRIVATE uint64_t blm_resize_scratch_bytes(uint32_t tile_px);

/* Resizes one rectangle. The result does not depend on how a picture is cut into
 * rectangles. A picture that has the size already passes unchanged.
 * Errors: BLUELM_E_ARG (picture, rectangle), BLUELM_E_BUDGET ("resize scratch").
 * Source: Pillow 9.4, Image.resize without box and reducing_gap. */
BLM_PRIVATE int blm_resize_rect(const blm_resize_job *job, void *scratch,
                                uint64_t scratch_bytes, bluelm_error *err);

/* Makes one tile of a grid.
 *   image       rgb rows, of the size the grid was chosen for
 *   tile_index  in token order: the thumbnail first or last as the rule says, local
 *               tiles row by row. The thumbnail is the whole picture stretched.
 *   out         [tile_px][tile_px][3]; around the picture the rule's pad_color
 *   scratch     blm_resize_scratch_bytes(tile_px)
 * Errors: BLUELM_E_ARG, BLUELM_E_BUDGET. */
BLM_PRIVATE int blm_tile_extract(const bluelm_image *image, const blm_tile_rule *r,
                                 const bluelm_tile_grid *grid, uint32_t tile_index,
                                 uint8_t *out, void *scratch, uint64_t scratch_bytes,
                                 bluelm_error *err);

/* The whole picture stretched into one tile, with no grid. As blm_tile_extract. */
BLM_PRIVATE int blm_tile_whole(const bluelm_image *image, uint32_t tile_px, uint32_t filter,
                               uint8_t *out, void *scratch, uint64_t scratch_bytes,
                               bluelm_error *err);

/* Normalises one patch of a picture, in the order of v.patch_embd.weight's rows.
 *   rgb               [height][stride_bytes], 3 bytes a pixel
 *   patch_x, patch_y  which patch, counted in patches; it lies inside the picture
 *   out               [3][patch_px][patch_px] f32: (value / 255 - mean) / std */
BLM_PRIVATE void blm_patch_pixels(const uint8_t *rgb, size_t stride_bytes, uint32_t patch_px,
                                  uint32_t patch_x, uint32_t patch_y, const float mean[3],
                                  const float std[3], float *out);

#endif
