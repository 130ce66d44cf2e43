/* Chooses what becomes of a picture, from its size alone: a grid of tiles, or one picture
 * of a size that suits it. Integers and doubles, no memory, no pixels.
 */
#ifndef BLM_GRID_H
#define BLM_GRID_H

#include "../base/base.h"

#define BLM_TILE_PX_LIMIT     4096 /* side of a tile                                */
#define BLM_TILE_SIDE_LIMIT   16   /* columns or rows of a grid that a key may name */
#define BLM_TILES_LIMIT       256  /* local tiles                                   */
#define BLM_PICTURE_LIMIT     65535
#define BLM_TILE_PIXELS_LIMIT (1u << 28) /* of a picture of its own size            */
#define BLM_DYNAMIC_PX_LIMIT  16384      /* its longer side                         */

/* A side that is 0 or above the limit. */
static inline BLM_UNUSED int blm_fail_side(bluelm_error *err, const char *subject,
                                           uint32_t side)
{
    return blm_fail(err, BLUELM_E_ARG, subject, side ? BLM_PICTURE_LIMIT : 1, side, 0);
}

/* Rules that only files ask for; the others are BLUELM_TILES_*. */
enum {
    BLM_TILES_IDEFICS3 = 5, /* the longest edge to a length, then multiples of a tile   */
    BLM_TILES_LFM2 = 6,     /* small: a size of its own; large: tiles and such a one    */
    BLM_TILES_DYNAMIC = 7,  /* a size of its own, about the picture's (Qwen-VL)         */
    BLM_TILES_UHD = 8,      /* slices of sizes of their own, the whole before (MiniCPM-V)  */
    BLM_TILE_RULES = 9
};

enum { BLM_THUMBNAIL_NONE = 0, BLM_THUMBNAIL_FIRST = 1, BLM_THUMBNAIL_LAST = 2 };

/* How a picture comes onto its canvas. */
enum {
    BLM_FIT_PAD = 0,        /* keeps its ratio, padding around it                         */
    BLM_FIT_STRETCH = 1,    /* fills it                                                   */
    BLM_FIT_PAD_SQUARE = 2, /* is padded to a square first, which is then resized         */
    BLM_FIT_PAD_DOWN = 3    /* as BLM_FIT_PAD, the shorter side rounded down, 14 at least */
};
enum { BLM_FILTER_BICUBIC = 0, BLM_FILTER_BILINEAR = 1, BLM_FILTER_LANCZOS = 2 };

typedef struct blm_tile_rule {
    uint32_t rule;                  /* BLUELM_TILES_RELAXED .. or BLM_TILES_*              */
    uint32_t alpha_ppm;             /* of the relaxed rule, in millionths                  */
    uint32_t tile_px;               /* side of a tile                                      */
    uint32_t max_columns, max_rows; /* candidates 1..max_columns x 1..max_rows             */
    uint32_t min_local_tiles;       /* fewest and most of them in a grid                   */
    uint32_t max_local_tiles;
    uint32_t longest_edge_px; /* idefics3; of a size of its own: 0, or what it is shrunk to  */
    /* A size of its own: sides are multiples of align_px, a token is align_px squared. */
    uint32_t align_px, patch_px;
    uint32_t min_pixels, max_pixels; /* its area, 1.., where the rounding of sides allows   */
    uint32_t max_own_tokens;         /* its tokens, where the sides are far apart; 0: none  */
    uint32_t ratio_limit;            /* of the sides; more is refused. 0: none              */
    uint32_t fills;                  /* 1: scaled to max_pixels, sides rounded down         */
    uint32_t raise_sides;            /* 1: to align_px before the area is looked at         */
    const uint8_t *pinpoints;        /* llava-next: i32 pairs w, h, little endian           */
    uint32_t pinpoint_count;         /* of the pairs; 0: all grids are candidates           */
    uint32_t thumbnail;              /* BLM_THUMBNAIL_*: its place in token order           */
    uint32_t thumbnail_single;       /* 1: a 1:1 grid gets one too                          */
    uint32_t fit;                    /* BLM_FIT_*                                           */
    uint32_t pad_top_left;           /* 1: the picture lies top left, 0: centred            */
    uint32_t pad_color;              /* 0xRRGGBB                                            */
    uint32_t background;             /* 0x1RRGGBB, under transparent pixels; 0: white       */
    uint32_t filter;                 /* BLM_FILTER_*                                        */
    uint32_t tokens_per_tile;        /* of tile_px x tile_px                                */
    uint32_t tokens_of_any;          /* uhd: of a tile of any size; 0: as its area says     */
    uint32_t joined_side;            /* llava-next: tokens of a tile's side, where the tokens of
                                        padding are left out and every row of the rest gets one
                                        more; 0: the tiles' tokens follow each other           */
    uint32_t max_tiles;              /* the config's caps: tiles, thumbnail included;      */
    uint32_t max_tokens;             /*   tokens of a picture. 0: none                      */
} blm_tile_rule;

/* The most that any picture can get under the rule and its caps, thumbnail included;
 * pixels are those of all tiles together. */
typedef struct blm_tile_most {
    uint32_t tiles, tokens;
    uint32_t tile_tokens; /* of one tile, thumbnail or picture of its own size          */
    uint64_t tile_pixels; /* likewise                                                   */
    uint64_t pixels;
    uint32_t side_px; /* longest of any picture made on the way: canvas, thumbnail, step   */
} blm_tile_most;

BLM_PRIVATE void blm_tile_bounds(const blm_tile_rule *r, blm_tile_most *most);

/* 1: tiles have sizes of their own, of which the tower has to take any. */
static inline BLM_UNUSED int blm_tile_own_size(const blm_tile_rule *r)
{
    return r->rule == BLM_TILES_DYNAMIC || r->rule == BLM_TILES_LFM2 ||
           r->rule == BLM_TILES_UHD;
}

/* Chooses the grid of a picture.
 *   width, height  1..65535
 *   max_tokens     room for its tokens, besides the rule's own caps. Grids above it are
 *                  left out, down to one tile without a thumbnail; a picture of its own
 *                  size is made smaller.
 *   grid           out; reduced is 1 where max_tokens changed the choice
 * Among grids of the same number of tiles the one with more columns is looked at first.
 * Returns the number of tiles, or BLUELM_E_ARG (a side: need = limit, have = side),
 * BLUELM_E_IMAGE (the ratio of the sides is refused), BLUELM_E_CONTEXT (the least that the
 * picture can be has no room: need and have tokens).
 * Sources: BlueLM-V-3B, Algorithm 1; LLaVA-NeXT's select_best_resolution; InternVL's
 * find_closest_aspect_ratio; the image processors of Idefics3, LFM2-VL, Qwen2-VL, Gemma 4 and
 * MiniCPM-V. */
BLM_PRIVATE int blm_tile_choose(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                uint32_t max_tokens, bluelm_tile_grid *grid, bluelm_error *err);

/* What of a canvas of joined tiles shows the picture, in tokens. */
typedef struct blm_tile_box {
    uint32_t column, row, columns, rows;
} blm_tile_box;

/* Of a picture in a grid of columns x rows tiles; r->joined_side is not 0.
 * Source: LLaVA-NeXT's unpad_image. */
BLM_PRIVATE blm_tile_box blm_tile_shown(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                        uint32_t columns, uint32_t rows);

/* Idefics3's first step, for a grid that was chosen: the picture's size when its longest
 * edge has the length that leads to the grid. */
BLM_PRIVATE void blm_tile_edge_step(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                    const bluelm_tile_grid *grid, uint32_t *edge_width,
                                    uint32_t *edge_height);

/* The square root, correctly rounded: sizes hang on its last bit. x > 0, no subnormal. */
BLM_PRIVATE double blm_tile_sqrt(double x);

/* The nearest multiple; halves go to the even one. */
BLM_PRIVATE uint32_t blm_tile_nearest(uint32_t side, uint32_t multiple);

/* x as a double and no more: no compiler fuses the operation that made it with the one that
 * uses it, or keeps it in a wider register. Results here decide between grids and between
 * bytes. */
static inline BLM_UNUSED double blm_exact(double x)
{
    __asm__("" : "+m"(x));
    return x;
}

#endif
