#include "grid.h"

/* The rounding of products in here decides between grids: a fused multiply-add would
 * choose differently on some machines. gcc does not fuse under -std=c99. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* ---- Choosing ------------------------------------------------------------------- */

/* A picture, the cap on tiles, and the best grid so far (0 columns: none). */
typedef struct blm_tile_search {
    const blm_tile_rule *r;
    uint32_t width, height, max_tiles;
    uint32_t columns, rows;
    double effective, waste; /* of the best, in pixels */
} blm_tile_search;

static uint32_t blm_tile_thumbnails(const blm_tile_rule *r, uint32_t local_tiles)
{
    return r->thumbnail != BLM_THUMBNAIL_NONE && (local_tiles > 1 || r->thumbnail_single);
}

static int blm_tile_fits_cap(const blm_tile_search *s, uint32_t columns, uint32_t rows)
{
    uint32_t local = columns * rows;
    return local <= s->r->max_local_tiles &&
           local + blm_tile_thumbnails(s->r, local) <= s->max_tiles;
}

/* How well a grid shows the picture: the pixels it resolves, at most those there are,
 * and the canvas they leave empty. All exact integers below 2^53. */
static void blm_tile_measure(const blm_tile_search *s, uint32_t columns, uint32_t rows,
                             double *effective, double *waste)
{
    double width = (double)s->width, height = (double)s->height;
    double canvas_w = (double)(s->r->tile_px * columns);
    double canvas_h = (double)(s->r->tile_px * rows);
    double scale_w = canvas_w / width, scale_h = canvas_h / height;
    double scale = BLM_MIN(scale_w, scale_h);
    double resolved = (double)(uint32_t)(width * scale) * (double)(uint32_t)(height * scale);
    *effective = BLM_MIN(resolved, width * height);
    *waste = canvas_w * canvas_h - *effective;
}

static void blm_tile_take(blm_tile_search *s, uint32_t columns, uint32_t rows, double effective,
                          double waste)
{
    s->columns = columns, s->rows = rows;
    s->effective = effective, s->waste = waste;
}

/* BlueLM-V-3B, Algorithm 1: a grid must resolve alpha more than the best so far, or
 * about as much with less waste. */
static void blm_tile_consider_relaxed(blm_tile_search *s, uint32_t columns, uint32_t rows)
{
    double effective, waste;
    blm_tile_measure(s, columns, rows, &effective, &waste);
    double margin = s->r->alpha * s->effective;
    int finer = effective - s->effective > margin;
    int tighter = s->effective - effective < margin && waste < s->waste;
    if (finer || tighter) blm_tile_take(s, columns, rows, effective, waste);
}

/* LLaVA-NeXT: the most resolved pixels, then the least waste, then the first. */
static void blm_tile_consider_llava_next(blm_tile_search *s, uint32_t columns, uint32_t rows)
{
    double effective, waste;
    blm_tile_measure(s, columns, rows, &effective, &waste);
    if (effective > s->effective || (effective == s->effective && waste < s->waste))
        blm_tile_take(s, columns, rows, effective, waste);
}

/* Every grid up to max_columns x max_rows, most tiles first, wide before tall. */
static void blm_tile_search_all(blm_tile_search *s)
{
    const blm_tile_rule *r = s->r;
    for (uint32_t tiles = r->max_columns * r->max_rows; tiles > 0; tiles--) {
        for (uint32_t columns = r->max_columns; columns > 0; columns--) {
            uint32_t rows = tiles / columns;
            if (rows * columns != tiles || rows > r->max_rows) continue;
            if (!blm_tile_fits_cap(s, columns, rows)) continue;
            if (r->rule == BLUELM_TILES_RELAXED)
                blm_tile_consider_relaxed(s, columns, rows);
            else
                blm_tile_consider_llava_next(s, columns, rows);
        }
    }
}

static void blm_tile_search_pinpoints(blm_tile_search *s)
{
    const blm_tile_rule *r = s->r;
    for (uint32_t i = 0; i < r->pinpoint_count; i++) {
        uint32_t columns = blm_load_u32(r->pinpoints + 8 * i) / r->tile_px;
        uint32_t rows = blm_load_u32(r->pinpoints + 8 * i + 4) / r->tile_px;
        if (blm_tile_fits_cap(s, columns, rows)) blm_tile_consider_llava_next(s, columns, rows);
    }
}

/* InternVL: the nearest aspect ratio, fewest tiles first; of two equally near the
 * larger when the picture has more than half of its pixels. Among grids of as many
 * tiles the narrow come first. */
static void blm_tile_search_internvl(blm_tile_search *s)
{
    const blm_tile_rule *r = s->r;
    double ratio = (double)s->width / (double)s->height, best = 1e300;
    double area = (double)s->width * (double)s->height;
    double half_tile = 0.5 * (double)r->tile_px * (double)r->tile_px;
    for (uint32_t tiles = 1; tiles <= r->max_local_tiles; tiles++) {
        for (uint32_t columns = 1; columns <= BLM_MIN(tiles, r->max_columns); columns++) {
            uint32_t rows = tiles / columns;
            if (rows * columns != tiles || rows > r->max_rows) continue;
            if (!blm_tile_fits_cap(s, columns, rows)) continue;
            double apart = ratio - (double)columns / (double)rows;
            if (apart < 0) apart = -apart;
            if (apart < best || (apart == best && area > half_tile * (double)tiles)) {
                best = apart;
                blm_tile_take(s, columns, rows, 0, 0);
            }
        }
    }
}

/* Idefics3: the longest edge becomes longest_edge_px, both sides are rounded up to
 * whole tiles. Above the cap the edge shrinks by a tile at a time. */
static void blm_tile_search_idefics3(blm_tile_search *s)
{
    const blm_tile_rule *r = s->r;
    uint64_t divisor = (uint64_t)BLM_MAX(s->width, s->height) * r->tile_px;
    for (uint32_t edge = r->longest_edge_px; edge > 0; edge -= BLM_MIN(edge, r->tile_px)) {
        uint64_t columns = ((uint64_t)s->width * edge + divisor - 1) / divisor;
        uint64_t rows = ((uint64_t)s->height * edge + divisor - 1) / divisor;
        if (columns > r->max_columns || rows > r->max_rows) continue;
        if (!blm_tile_fits_cap(s, (uint32_t)columns, (uint32_t)rows)) continue;
        blm_tile_take(s, (uint32_t)columns, (uint32_t)rows, 0, 0);
        return;
    }
}

static uint32_t blm_tile_ceil(double x)
{
    uint32_t whole = (uint32_t)x;
    return whole + ((double)whole < x);
}

/* Places the picture on the canvas of the grid, keeping its ratio: one side fills the
 * canvas, the other is rounded up. Source: LLaVA-NeXT's resize_and_pad_image. */
static void blm_tile_place(const blm_tile_rule *r, uint32_t width, uint32_t height,
                           bluelm_tile_grid *grid)
{
    uint32_t canvas_w = grid->columns * r->tile_px, canvas_h = grid->rows * r->tile_px;
    grid->resized_width_px = canvas_w;
    grid->resized_height_px = canvas_h;
    if (r->fit == BLM_FIT_STRETCH) return;
    double scale_w = (double)canvas_w / (double)width;
    double scale_h = (double)canvas_h / (double)height;
    if (scale_w < scale_h) {
        uint32_t fitted = blm_tile_ceil((double)height * scale_w);
        grid->resized_height_px = BLM_MIN(fitted, canvas_h);
    } else {
        uint32_t fitted = blm_tile_ceil((double)width * scale_h);
        grid->resized_width_px = BLM_MIN(fitted, canvas_w);
    }
    if (r->pad_top_left) return;
    grid->offset_x_px = (canvas_w - grid->resized_width_px) / 2;
    grid->offset_y_px = (canvas_h - grid->resized_height_px) / 2;
}

BLM_PRIVATE uint32_t blm_tile_most(const blm_tile_rule *r)
{
    uint32_t most = BLM_MIN(r->max_columns * r->max_rows, r->max_local_tiles);
    if (r->rule == BLUELM_TILES_LLAVA_NEXT && r->pinpoint_count) {
        most = 1;
        for (uint32_t i = 0; i < r->pinpoint_count; i++) {
            uint32_t columns = blm_load_u32(r->pinpoints + 8 * i) / r->tile_px;
            uint32_t rows = blm_load_u32(r->pinpoints + 8 * i + 4) / r->tile_px;
            most = BLM_MAX(most, columns * rows);
        }
        most = BLM_MIN(most, r->max_local_tiles);
    } else if (r->rule == BLM_TILES_IDEFICS3) {
        uint32_t side = (r->longest_edge_px + r->tile_px - 1) / r->tile_px;
        most = BLM_MIN(most, side * side);
    }
    most += blm_tile_thumbnails(r, most);
    return r->max_tiles && r->max_tiles < most ? r->max_tiles : most;
}

static void blm_tile_search_rule(blm_tile_search *s)
{
    const blm_tile_rule *r = s->r;
    if (r->rule == BLUELM_TILES_INTERNVL)
        blm_tile_search_internvl(s);
    else if (r->rule == BLM_TILES_IDEFICS3)
        blm_tile_search_idefics3(s);
    else if (r->rule == BLUELM_TILES_LLAVA_NEXT && r->pinpoint_count)
        blm_tile_search_pinpoints(s);
    else
        blm_tile_search_all(s);
}

BLM_PRIVATE int blm_tile_choose(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                uint32_t max_tiles, bluelm_tile_grid *grid, bluelm_error *err)
{
    memset(grid, 0, sizeof *grid);
    if (width == 0 || width > BLM_PICTURE_LIMIT)
        return blm_fail(err, BLUELM_E_ARG, "picture width", BLM_PICTURE_LIMIT, width, 0);
    if (height == 0 || height > BLM_PICTURE_LIMIT)
        return blm_fail(err, BLUELM_E_ARG, "picture height", BLM_PICTURE_LIMIT, height, 0);
    if (max_tiles == 0)
        return blm_fail(err, BLUELM_E_CONTEXT, "tokens left for a picture, in tiles", 1, 0, 0);
    if (r->max_tiles && r->max_tiles < max_tiles) max_tiles = r->max_tiles;

    blm_tile_search s = {r, width, height, max_tiles, 0, 0, 0, 1e300};
    blm_tile_search_rule(&s);
    grid->columns = s.columns ? s.columns : 1;
    grid->rows = s.columns ? s.rows : 1;
    uint32_t local = grid->columns * grid->rows;
    grid->thumbnail = s.columns ? blm_tile_thumbnails(r, local) : 0;
    grid->tiles = local + grid->thumbnail;
    grid->tile_px = r->tile_px;
    uint64_t tokens = (uint64_t)grid->tiles * r->tokens_per_tile;
    if (tokens > UINT32_MAX)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "tokens of a picture", UINT32_MAX, tokens,
                        0);
    grid->tokens = (uint32_t)tokens;
    blm_tile_place(r, width, height, grid);
    return (int)grid->tiles;
}
