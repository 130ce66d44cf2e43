/* Chooses the grid of tiles for a picture, from its size alone. Integers and doubles,
 * no memory, no pixels.
 */
#ifndef BLM_GRID_H
#define BLM_GRID_H

#include "../base/base.h"

#define BLM_TILE_PX_LIMIT   4096 /* side of a tile                  */
#define BLM_TILE_SIDE_LIMIT 16   /* columns or rows of a grid       */
#define BLM_TILES_LIMIT     256  /* local tiles                     */
#define BLM_PICTURE_LIMIT   65535

/* A rule that only an idefics3 file asks for: longest edge, then multiples of a tile. */
#define BLM_TILES_IDEFICS3 5

enum { BLM_THUMBNAIL_NONE = 0, BLM_THUMBNAIL_FIRST = 1, BLM_THUMBNAIL_LAST = 2 };
enum { BLM_FIT_PAD = 0, BLM_FIT_STRETCH = 1 };
enum { BLM_FILTER_BICUBIC = 0, BLM_FILTER_BILINEAR = 1 };

typedef struct blm_tile_rule {
    uint32_t rule;                  /* BLUELM_TILES_RELAXED .. or BLM_TILES_IDEFICS3       */
    double alpha;                   /* of the relaxed rule                                 */
    uint32_t tile_px;               /* side of a tile                                      */
    uint32_t max_columns, max_rows; /* candidates 1..max_columns x 1..max_rows             */
    uint32_t max_local_tiles;       /* most of them in a grid                              */
    uint32_t max_tiles;             /* the config's cap, thumbnail included; 0: none       */
    uint32_t longest_edge_px;       /* idefics3                                            */
    const uint8_t *pinpoints;       /* llava-next: i32 pairs w, h, little endian           */
    uint32_t pinpoint_count;        /* of the pairs; 0: all grids are candidates           */
    uint32_t thumbnail;             /* BLM_THUMBNAIL_*: its place in token order           */
    uint32_t thumbnail_single;      /* 1: a 1:1 grid gets one too                          */
    uint32_t fit;                   /* BLM_FIT_*: keep the ratio on a canvas, or stretch   */
    uint32_t pad_top_left;          /* 1: the picture lies top left, 0: centred            */
    uint32_t pad_color;             /* 0xRRGGBB                                            */
    uint32_t filter;                /* BLM_FILTER_*                                        */
    uint32_t tokens_per_tile;
} blm_tile_rule;

/* The most tiles any picture can get under the rule, thumbnail included. */
BLM_PRIVATE uint32_t blm_tile_most(const blm_tile_rule *r);

/* Chooses the grid of a picture.
 *   width, height  1..65535
 *   max_tiles      most tiles, thumbnail included, besides the rule's own cap; grids
 *                  above it are left out. When none is left the picture becomes one tile
 *                  without a thumbnail.
 *   grid           out
 * Among grids of the same number of tiles the one with more columns is looked at first.
 * Returns the number of tiles, or BLUELM_E_ARG (a side: need = limit, have = side) or
 * BLUELM_E_CONTEXT (max_tiles is 0: need 1, have 0).
 * Sources: BlueLM-V-3B, Algorithm 1; LLaVA-NeXT's select_best_resolution; InternVL's
 * find_closest_aspect_ratio; Idefics3's image splitting. */
BLM_PRIVATE int blm_tile_choose(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                uint32_t max_tiles, bluelm_tile_grid *grid, bluelm_error *err);

#endif
