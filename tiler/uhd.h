/* How MiniCPM-V cuts a picture: slices of about a tile's area each, in a grid whose shape is
 * nearest to the picture's, and the whole of it in one such area before them. */
#ifndef BLM_UHD_H
#define BLM_UHD_H

#include "grid.h"

/* No side of a slice is longer than this many tiles: the authors have no such bound, and make
 * what no plan holds of pictures whose sides are further apart. */
#define BLM_UHD_SIDES 8

/* The grid that a picture is cut into, of at most `most` slices; columns 0 when it is not.
 * Source: MiniCPM-V 2.6's image processor. */
BLM_PRIVATE void blm_uhd_grid(const blm_tile_rule *r, const uint32_t sides[2], uint32_t most,
                              uint32_t grid[2]);

/* The size of about a tile's area that a picture gets as a whole, and that a slice of it gets
 * in a grid: both sides multiples of align_px. */
BLM_PRIVATE void blm_uhd_whole(const blm_tile_rule *r, const uint32_t sides[2],
                               uint32_t size[2]);
BLM_PRIVATE void blm_uhd_slice(const blm_tile_rule *r, const uint32_t sides[2],
                               const uint32_t grid[2], uint32_t size[2]);

/* The most pixels of such a size. */
BLM_PRIVATE uint64_t blm_uhd_most_pixels(const blm_tile_rule *r);

#endif
