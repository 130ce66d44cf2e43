/* A picture on its way into tiles: read once, row by row from the top, resized as it comes
 * into canvases that depend on its grid alone.
 *
 *   rows, or a file --> turned as EXIF says --> [to an edge's length] --> canvas of tiles
 *                                          \--> thumbnail   (Idefics3: from the canvas)
 *
 * The canvas is cut into tiles by pointers: nothing is copied. The result does not depend on
 * how many rows are read at a time, and equals what resizing the whole picture by Pillow
 * gives, to the bit. */
#ifndef BLM_PICTURE_H
#define BLM_PICTURE_H

#include "image.h"
#include "resize.h"

/* Bytes of the canvases of any picture under the rule and its caps. */
BLM_PRIVATE uint64_t blm_picture_canvas_bytes(const blm_tile_rule *r);

/* Bytes of scratch for any picture whose stored rows (of a file: before it is turned) are up
 * to max_width_px, in any orientation: the resizers and a decoder by rows. A file that has
 * to be decoded whole takes more: blm_picture_scratch_need says how much. */
BLM_PRIVATE uint64_t blm_picture_scratch_bytes(const blm_tile_rule *r, uint32_t max_width_px);

/* What one picture reads and writes. */
typedef struct blm_picture {
    const blm_tile_rule *rule;
    bluelm_tile_grid grid;
    const uint8_t *rgb; /* rows of the caller; NULL: the decoder's                         */
    size_t stride_bytes;
    blm_image_decoder decoder;
    uint32_t stored_width_px, stored_height_px;
    uint32_t orientation;            /* of EXIF, 1..8                                      */
    uint32_t rows_read, canvas_read; /* of the source; of the canvas, for its thumbnail    */
    blm_resizer edge, tiles, thumb;
    int has_edge, has_thumb, thumb_of_canvas;
    uint8_t *canvas, *thumbnail; /* [height][3 width] each                              */
    uint8_t *row;                /* [stored_width_px][3]                                */
    void *thumb_memory;
} blm_picture;

/* Bytes of canvas and of scratch that this picture takes with this grid. Errors as
 * blm_picture_begin. */
BLM_PRIVATE int blm_picture_need(const blm_tile_rule *r, const bluelm_tile_grid *grid,
                                 const bluelm_image *image, uint64_t *canvas_bytes,
                                 uint64_t *scratch_bytes, bluelm_error *err);

/* Begins to read a picture.
 *   r, grid         grid: chosen by r for the picture's size as it is shown; r stays
 *   image           rgb rows or a file; stays until the last row is read
 *   canvas          stays as long as tiles are asked for
 *   scratch         until the last row is read
 * Errors: BLUELM_E_ARG (grid, rows), BLUELM_E_IMAGE, BLUELM_E_UNSUPPORTED (as
 * blm_image_begin), BLUELM_E_BUDGET ("picture canvas", "picture scratch", "image decode":
 * need and have bytes). */
BLM_PRIVATE int blm_picture_begin(blm_picture *p, const blm_tile_rule *r,
                                  const bluelm_tile_grid *grid, const bluelm_image *image,
                                  void *canvas, uint64_t canvas_bytes, void *scratch,
                                  uint64_t scratch_bytes, bluelm_error *err);

/* Reads up to max_rows more rows (at least one). Returns 1 while there are more to read, 0
 * when all canvases are complete, or BLUELM_E_IMAGE. */
BLM_PRIVATE int blm_picture_read(blm_picture *p, uint32_t max_rows, bluelm_error *err);

/* A tile, in token order: the thumbnail first or last as the rule says, local tiles row by
 * row; index < grid.tiles. rgb: [height_px][stride_bytes], 3 bytes a pixel. */
BLM_PRIVATE void blm_picture_tile(const blm_picture *p, uint32_t index, const uint8_t **rgb,
                                  size_t *stride_bytes, uint32_t *width_px,
                                  uint32_t *height_px);

#endif
