#include "grid.h"

#include "../base/math.h"
#include "uhd.h"

/* ---- Searching a grid ------------------------------------------------------------- */

/* A picture, its room, and the best grid so far (0 columns: none). */
typedef struct blm_tile_search {
    const blm_tile_rule *r;
    uint32_t width, height;
    uint64_t room;             /* for tokens                                      */
    uint32_t thumbnail_tokens; /* if it gets one                                  */
    uint32_t columns, rows;
    int64_t effective, waste; /* of the best, in pixels                          */
} blm_tile_search;

static uint32_t blm_tile_thumbnails(const blm_tile_rule *r, uint32_t local_tiles)
{
    return r->thumbnail != BLM_THUMBNAIL_NONE && (local_tiles > 1 || r->thumbnail_single);
}

BLM_PRIVATE blm_tile_box blm_tile_shown(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                        uint32_t columns, uint32_t rows)
{
    const uint64_t across = (uint64_t)columns * r->joined_side;
    const uint64_t down = (uint64_t)rows * r->joined_side;
    blm_tile_box box = {0, 0, (uint32_t)across, (uint32_t)down};
    if (width * down > across * height) {
        box.row = (uint32_t)(down - height * across / width) / 2;
        box.rows -= 2 * box.row;
    } else {
        box.column = (uint32_t)(across - width * down / height) / 2;
        box.columns -= 2 * box.column;
    }
    return box;
}

/* Tokens of a grid, and the rows that its tiles' tokens take on the way to them. */
static uint64_t blm_tile_count_tokens(const blm_tile_search *s, uint32_t columns, uint32_t rows,
                                      uint32_t thumbnails, uint64_t *made)
{
    const blm_tile_rule *r = s->r;
    uint64_t thumbnail = (uint64_t)thumbnails * s->thumbnail_tokens;
    *made = (uint64_t)columns * rows * r->tokens_per_tile + thumbnail;
    if (!r->joined_side || !thumbnails) return *made;
    const blm_tile_box box = blm_tile_shown(r, s->width, s->height, columns, rows);
    *made += 1;
    return (uint64_t)box.rows * (box.columns + 1) + thumbnail;
}

static int blm_tile_fits_caps(const blm_tile_search *s, uint32_t columns, uint32_t rows)
{
    const blm_tile_rule *r = s->r;
    uint32_t local = columns * rows, thumbnails = blm_tile_thumbnails(r, local);
    uint64_t made, tokens = blm_tile_count_tokens(s, columns, rows, thumbnails, &made);
    return columns <= r->max_columns && rows <= r->max_rows && local >= r->min_local_tiles &&
           local <= r->max_local_tiles && BLM_MAX(tokens, made) <= s->room &&
           (!r->max_tiles || local + thumbnails <= r->max_tiles);
}

/* How well a grid shows the picture: the pixels it resolves, at most those there are,
 * and the canvas they leave empty. */
static void blm_tile_measure(const blm_tile_search *s, uint32_t columns, uint32_t rows,
                             int64_t *effective, int64_t *waste)
{
    double width = (double)s->width, height = (double)s->height;
    int64_t canvas_w = (int64_t)s->r->tile_px * columns;
    int64_t canvas_h = (int64_t)s->r->tile_px * rows;
    double scale_w = blm_exact((double)canvas_w / width);
    double scale_h = blm_exact((double)canvas_h / height);
    double scale = BLM_MIN(scale_w, scale_h);
    int64_t resolved_w = (int64_t)blm_exact(width * scale);
    int64_t resolved_h = (int64_t)blm_exact(height * scale);
    *effective = BLM_MIN(resolved_w * resolved_h, (int64_t)s->width * s->height);
    *waste = canvas_w * canvas_h - *effective;
}

static void blm_tile_keep(blm_tile_search *s, uint32_t columns, uint32_t rows,
                          int64_t effective, int64_t waste)
{
    s->columns = columns, s->rows = rows;
    s->effective = effective, s->waste = waste;
}

/* BlueLM-V-3B, Algorithm 1: a grid must resolve alpha more than the best so far, or
 * about as much with less waste. In millionths of a pixel, below 2^53. */
static void blm_tile_consider_relaxed(blm_tile_search *s, uint32_t columns, uint32_t rows)
{
    int64_t effective, waste;
    blm_tile_measure(s, columns, rows, &effective, &waste);
    int64_t margin = s->effective * s->r->alpha_ppm;
    int64_t gain = (effective - s->effective) * 1000000;
    int finer = gain > margin;
    int tighter = -gain < margin && waste < s->waste;
    if (finer || tighter) blm_tile_keep(s, columns, rows, effective, waste);
}

/* LLaVA-NeXT: the most resolved pixels, then the least waste, then the first. */
static void blm_tile_consider_llava_next(blm_tile_search *s, uint32_t columns, uint32_t rows)
{
    int64_t effective, waste;
    blm_tile_measure(s, columns, rows, &effective, &waste);
    if (effective > s->effective || (effective == s->effective && waste < s->waste))
        blm_tile_keep(s, columns, rows, effective, waste);
}

/* Every grid up to max_columns x max_rows, most tiles first, wide before tall. */
static void blm_tile_search_all(blm_tile_search *s)
{
    const blm_tile_rule *r = s->r;
    for (uint32_t tiles = r->max_columns * r->max_rows; tiles > 0; tiles--) {
        for (uint32_t columns = r->max_columns; columns > 0; columns--) {
            uint32_t rows = tiles / columns;
            if (rows * columns != tiles) continue;
            if (!blm_tile_fits_caps(s, columns, rows)) continue;
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
        if (blm_tile_fits_caps(s, columns, rows))
            blm_tile_consider_llava_next(s, columns, rows);
    }
}

static void blm_tile_search_llava_next(blm_tile_search *s)
{
    if (s->r->pinpoint_count)
        blm_tile_search_pinpoints(s);
    else
        blm_tile_search_all(s);
}

/* InternVL: the nearest aspect ratio, fewest tiles first; of two equally near the
 * larger when the picture has more than half of its pixels. Among grids of as many
 * tiles the narrow come first. */
static void blm_tile_search_internvl(blm_tile_search *s)
{
    const blm_tile_rule *r = s->r;
    double ratio = blm_exact((double)s->width / (double)s->height), best = 1e300;
    double area = (double)s->width * (double)s->height;
    double half_tile = 0.5 * (double)r->tile_px * (double)r->tile_px;
    for (uint32_t tiles = 1; tiles <= r->max_local_tiles; tiles++) {
        for (uint32_t columns = 1; columns <= BLM_MIN(tiles, r->max_columns); columns++) {
            uint32_t rows = tiles / columns;
            if (rows * columns != tiles) continue;
            if (!blm_tile_fits_caps(s, columns, rows)) continue;
            double apart = blm_exact(ratio - blm_exact((double)columns / (double)rows));
            if (apart < 0) apart = -apart;
            if (apart < best || (apart == best && area > half_tile * (double)tiles)) {
                best = apart;
                blm_tile_keep(s, columns, rows, 0, 0);
            }
        }
    }
}

/* ---- Idefics3 ---------------------------------------------------------------------- */

static uint32_t blm_tile_up(uint32_t side, uint32_t multiple)
{
    return (side + multiple - 1) / multiple * multiple;
}

/* The shorter side that goes with the longer one, cut to an integer. */
static uint32_t blm_idefics3_other(uint32_t longer, uint32_t of_longer, uint32_t of_shorter)
{
    return (uint32_t)blm_exact((double)longer /
                               blm_exact((double)of_longer / (double)of_shorter));
}

/* Of a picture taller than wide the author multiplies by width / height. */
static uint32_t blm_idefics3_narrow(uint32_t height, uint32_t of_width, uint32_t of_height)
{
    return (uint32_t)blm_exact((double)height *
                               blm_exact((double)of_width / (double)of_height));
}

/* The picture with its longest edge of a length; the other side is made even. */
static void blm_idefics3_edge(uint32_t width, uint32_t height, uint32_t edge,
                              uint32_t *edge_width, uint32_t *edge_height)
{
    uint32_t other = width >= height ? blm_idefics3_other(edge, width, height)
                                     : blm_idefics3_narrow(edge, width, height);
    other += other & 1;
    other = BLM_MAX(other, 1u);
    *edge_width = width >= height ? edge : other;
    *edge_height = width >= height ? other : edge;
}

/* That, with both sides rounded up to whole tiles. */
static void blm_idefics3_grid(const blm_tile_rule *r, uint32_t edge_width, uint32_t edge_height,
                              uint32_t *columns, uint32_t *rows)
{
    uint32_t width = blm_tile_up(edge_width, r->tile_px), height;
    if (edge_width >= edge_height) {
        height = blm_idefics3_other(width, edge_width, edge_height);
        height = blm_tile_up(BLM_MAX(height, 1u), r->tile_px);
    } else {
        height = blm_tile_up(edge_height, r->tile_px);
        width = blm_idefics3_narrow(height, edge_width, edge_height);
        width = blm_tile_up(BLM_MAX(width, 1u), r->tile_px);
    }
    *columns = width / r->tile_px;
    *rows = height / r->tile_px;
}

/* Above the caps the edge shrinks by a tile at a time. */
static void blm_tile_search_idefics3(blm_tile_search *s)
{
    const blm_tile_rule *r = s->r;
    for (uint32_t edge = r->longest_edge_px; edge > 0; edge -= BLM_MIN(edge, r->tile_px)) {
        uint32_t width, height, columns, rows;
        blm_idefics3_edge(s->width, s->height, edge, &width, &height);
        blm_idefics3_grid(r, width, height, &columns, &rows);
        if (!blm_tile_fits_caps(s, columns, rows)) continue;
        blm_tile_keep(s, columns, rows, 0, 0);
        return;
    }
}

BLM_PRIVATE void blm_tile_edge_step(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                    const bluelm_tile_grid *grid, uint32_t *edge_width,
                                    uint32_t *edge_height)
{
    for (uint32_t edge = r->longest_edge_px; edge > 0; edge -= BLM_MIN(edge, r->tile_px)) {
        uint32_t columns, rows;
        blm_idefics3_edge(width, height, edge, edge_width, edge_height);
        blm_idefics3_grid(r, *edge_width, *edge_height, &columns, &rows);
        if (columns == grid->columns && rows == grid->rows) return;
    }
    /* One tile, because nothing else had room. */
    blm_idefics3_edge(width, height, r->tile_px, edge_width, edge_height);
}

/* ---- A size of its own ------------------------------------------------------------- */

/* Bit by bit, 54 of them, the last for rounding; the square of a number with all 54 is never a
 * tie. */
BLM_PRIVATE double blm_tile_sqrt(double x)
{
    uint64_t bits = blm_f64_bits(x), root = 0, rest = 0;
    uint64_t mantissa = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
    int32_t exponent = (int32_t)(bits >> 52) - 1075;
    if (exponent & 1) mantissa <<= 1, exponent--;
    for (int i = 0; i < 54; i++) {
        uint64_t pair = i < 27 ? mantissa >> (52 - 2 * i) & 3 : 0;
        uint64_t trial = root << 2 | 1;
        rest = rest << 2 | pair;
        root <<= 1;
        if (rest < trial) continue;
        rest -= trial;
        root |= 1;
    }
    uint64_t power = (uint64_t)(1023 + exponent / 2 - 26) << 52;
    return (double)((root + 1) >> 1) * blm_f64_of_bits(power);
}

static uint32_t blm_tile_ceil(double x)
{
    uint32_t whole = (uint32_t)x;
    return whole + ((double)whole < x);
}

BLM_PRIVATE uint32_t blm_tile_nearest(uint32_t side, uint32_t multiple)
{
    uint32_t times = side / multiple, rest = side % multiple;
    times += 2 * rest > multiple || (2 * rest == multiple && (times & 1));
    return times * multiple;
}

/* No side is below a multiple, or above the limit. */
static void blm_dynamic_clamp(const blm_tile_rule *r, uint32_t out[2])
{
    uint32_t limit = BLM_DYNAMIC_PX_LIMIT / r->align_px * r->align_px;
    for (int i = 0; i < 2; i++)
        out[i] = BLM_MIN(BLM_MAX(out[i], r->align_px), limit);
}

/* The picture scaled to an area, both sides cut to multiples. */
static void blm_dynamic_cut(const blm_tile_rule *r, const uint32_t sides[2], uint64_t area,
                            uint32_t out[2])
{
    double pixels = (double)((uint64_t)sides[0] * sides[1]), align = (double)r->align_px;
    double beta = blm_tile_sqrt(blm_exact(pixels / (double)area));
    for (int i = 0; i < 2; i++) {
        double side = blm_exact((double)sides[i] / beta);
        out[i] = r->align_px * (uint32_t)blm_exact(side / align);
    }
}

/* The same, both sides raised. */
static void blm_dynamic_raise(const blm_tile_rule *r, const uint32_t sides[2], uint64_t area,
                              uint32_t out[2])
{
    double pixels = (double)((uint64_t)sides[0] * sides[1]), align = (double)r->align_px;
    double beta = blm_tile_sqrt(blm_exact((double)area / pixels));
    for (int i = 0; i < 2; i++) {
        double side = blm_exact((double)sides[i] * beta);
        out[i] = r->align_px * blm_tile_ceil(blm_exact(side / align));
    }
}

static int blm_dynamic_has_edge(const blm_tile_rule *r)
{
    return r->rule == BLM_TILES_DYNAMIC && r->longest_edge_px;
}

/* The longer side to an edge at most, both sides up to multiples. Source: Pixtral's image
 * processor. */
static void blm_dynamic_edge(const blm_tile_rule *r, const uint32_t sides[2], uint32_t out[2])
{
    double ratio = blm_exact((double)BLM_MAX(sides[0], sides[1]) / r->longest_edge_px);
    for (int i = 0; i < 2; i++) {
        uint32_t side = ratio > 1 ? (uint32_t)blm_exact(sides[i] / ratio) : sides[i];
        out[i] = (side + r->align_px - 1) / r->align_px * r->align_px;
    }
    blm_dynamic_clamp(r, out);
}

/* Both sides to the nearest multiple; when the area is then out of bounds, the picture
 * scaled to the bound. Source: Qwen2-VL's smart_resize. */
static void blm_dynamic_size(const blm_tile_rule *r, const uint32_t sides[2], uint32_t out[2])
{
    for (int i = 0; i < 2; i++) {
        out[i] = blm_tile_nearest(sides[i], r->align_px);
        if (r->raise_sides) out[i] = BLM_MAX(out[i], r->align_px);
    }
    uint64_t area = (uint64_t)out[0] * out[1];
    if (area > r->max_pixels)
        blm_dynamic_cut(r, sides, r->max_pixels, out);
    else if (area < BLM_MIN(r->min_pixels, r->max_pixels))
        blm_dynamic_raise(r, sides, BLM_MIN(r->min_pixels, r->max_pixels), out);
    blm_dynamic_clamp(r, out);
}

/* Scaled up or down to max_pixels, both sides cut to multiples; of a side that is less than
 * one, the other is as many times it as the picture's, rounded down. Source: Gemma 4's image
 * processor. */
static void blm_dynamic_fill(const blm_tile_rule *r, const uint32_t sides[2], uint32_t out[2])
{
    uint32_t most = r->max_pixels / r->align_px / r->align_px;
    double pixels = (double)((uint64_t)sides[0] * sides[1]);
    double factor = blm_tile_sqrt(blm_exact((double)r->max_pixels / pixels));
    for (int i = 0; i < 2; i++) {
        double side = blm_exact(blm_exact(factor * sides[i]) / r->align_px);
        out[i] = (uint32_t)side * r->align_px;
    }
    for (int i = 0; i < 2; i++)
        if (out[i] < r->align_px)
            out[1 - i] = BLM_MIN(sides[1 - i] / sides[i], most) * r->align_px;
    blm_dynamic_clamp(r, out);
}

static uint64_t blm_dynamic_tokens(const blm_tile_rule *r, const uint32_t size[2])
{
    return (uint64_t)(size[0] / r->align_px) * (size[1] / r->align_px);
}

/* That within the rule's cap and room for so many tokens, of which there is at least one. */
static void blm_dynamic_fit(const blm_tile_rule *r, const uint32_t sides[2], uint64_t room,
                            uint32_t out[2])
{
    if (r->max_own_tokens) room = BLM_MIN(room, r->max_own_tokens);
    if (blm_dynamic_has_edge(r))
        blm_dynamic_edge(r, sides, out);
    else
        (r->fills ? blm_dynamic_fill : blm_dynamic_size)(r, sides, out);
    if (blm_dynamic_tokens(r, out) <= room) return;
    blm_dynamic_cut(r, sides, room * r->align_px * r->align_px, out);
    blm_dynamic_clamp(r, out);
    if (blm_dynamic_tokens(r, out) <= room) return;
    /* The shorter side is a single token that no cut makes smaller. */
    int longer = out[1] > out[0];
    out[longer] = (uint32_t)room * r->align_px;
}

/* LFM2-VL cuts a picture into tiles when it has more than twice the pixels of the largest
 * picture of its own size. */
static int blm_lfm2_is_large(const blm_tile_rule *r, const uint32_t sides[2])
{
    uint32_t width = blm_tile_nearest(sides[0], r->align_px);
    uint32_t height = blm_tile_nearest(sides[1], r->align_px);
    return (uint64_t)BLM_MAX(width, r->patch_px) * BLM_MAX(height, r->patch_px) >
           2 * (uint64_t)r->max_pixels;
}

/* ---- The grid ---------------------------------------------------------------------- */

/* Places the picture on the canvas of the grid, keeping its ratio: one side fills the
 * canvas, the other is rounded up. Source: LLaVA-NeXT's resize_and_pad_image. */
static void blm_tile_place_padded(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                  bluelm_tile_grid *grid)
{
    uint32_t canvas_w = grid->resized_width_px, canvas_h = grid->resized_height_px;
    double scale_w = blm_exact((double)canvas_w / (double)width);
    double scale_h = blm_exact((double)canvas_h / (double)height);
    if (scale_w < scale_h) {
        uint32_t fitted = blm_tile_ceil(blm_exact((double)height * scale_w));
        grid->resized_height_px = BLM_MIN(fitted, canvas_h);
    } else {
        uint32_t fitted = blm_tile_ceil(blm_exact((double)width * scale_h));
        grid->resized_width_px = BLM_MIN(fitted, canvas_w);
    }
    if (r->pad_top_left) return;
    grid->offset_x_px = (canvas_w - grid->resized_width_px) / 2;
    grid->offset_y_px = (canvas_h - grid->resized_height_px) / 2;
}

/* The same on a square canvas as Janus's processor has it: the shorter side is cut to whole
 * pixels, 14 at least. */
static void blm_tile_place_down(uint32_t width, uint32_t height, bluelm_tile_grid *grid)
{
    uint32_t side = grid->resized_width_px, longer = BLM_MAX(width, height);
    uint32_t *shorter = width < height ? &grid->resized_width_px : &grid->resized_height_px;
    double share = blm_exact((double)BLM_MIN(width, height) / (double)longer);
    uint32_t fitted = (uint32_t)blm_exact(share * (double)side);
    *shorter = BLM_MIN(BLM_MAX(fitted, 14u), side);
    grid->offset_x_px = (side - grid->resized_width_px) / 2;
    grid->offset_y_px = (side - grid->resized_height_px) / 2;
}

/* Where a picture ends up that is padded to a square first: what it touches of one axis. */
static void blm_tile_place_in_square(uint32_t side, uint32_t square, uint32_t *offset,
                                     uint32_t *length)
{
    uint64_t canvas = *length, from = (square - side) / 2;
    *offset = (uint32_t)(from * canvas / square);
    *length = (uint32_t)(((from + side) * canvas + square - 1) / square) - *offset;
}

static void blm_tile_place(const blm_tile_rule *r, uint32_t width, uint32_t height,
                           bluelm_tile_grid *grid)
{
    grid->resized_width_px = grid->columns * grid->tile_width_px;
    grid->resized_height_px = grid->rows * grid->tile_height_px;
    if (r->fit == BLM_FIT_PAD) blm_tile_place_padded(r, width, height, grid);
    if (r->fit == BLM_FIT_PAD_DOWN) blm_tile_place_down(width, height, grid);
    if (r->fit == BLM_FIT_PAD_SQUARE) {
        uint32_t square = BLM_MAX(width, height);
        blm_tile_place_in_square(width, square, &grid->offset_x_px, &grid->resized_width_px);
        blm_tile_place_in_square(height, square, &grid->offset_y_px, &grid->resized_height_px);
    }
}

/* A picture of its own size. */
static void blm_tile_set_dynamic(const blm_tile_search *s, bluelm_tile_grid *grid)
{
    const uint32_t sides[2] = {s->width, s->height};
    uint32_t size[2];
    blm_dynamic_fit(s->r, sides, BLM_MAX(s->room, 1u), size);
    grid->columns = grid->rows = 1;
    grid->tile_width_px = grid->resized_width_px = size[0];
    grid->tile_height_px = grid->resized_height_px = size[1];
    grid->tile_tokens = (uint32_t)blm_dynamic_tokens(s->r, size);
}

static void blm_tile_set_tiles(const blm_tile_search *s, bluelm_tile_grid *grid)
{
    const blm_tile_rule *r = s->r;
    grid->columns = s->columns ? s->columns : 1;
    grid->rows = s->columns ? s->rows : 1;
    grid->thumbnail = s->columns ? blm_tile_thumbnails(r, s->columns * s->rows) : 0;
    grid->tile_width_px = grid->tile_height_px = r->tile_px;
    grid->tile_tokens = r->tokens_per_tile;
    if (grid->thumbnail) {
        grid->thumbnail_width_px = grid->thumbnail_height_px = r->tile_px;
        grid->thumbnail_tokens = r->tokens_per_tile;
    }
    blm_tile_place(r, s->width, s->height, grid);
}

static void blm_tile_choose_lfm2(blm_tile_search *s, bluelm_tile_grid *grid)
{
    const uint32_t sides[2] = {s->width, s->height};
    uint32_t thumbnail[2];
    blm_dynamic_fit(s->r, sides, UINT32_MAX, thumbnail);
    s->thumbnail_tokens = (uint32_t)blm_dynamic_tokens(s->r, thumbnail);
    if (blm_lfm2_is_large(s->r, sides)) blm_tile_search_internvl(s);
    if (!s->columns) {
        blm_tile_set_dynamic(s, grid);
        return;
    }
    blm_tile_set_tiles(s, grid);
    if (!grid->thumbnail) return;
    grid->thumbnail_width_px = thumbnail[0];
    grid->thumbnail_height_px = thumbnail[1];
    grid->thumbnail_tokens = s->thumbnail_tokens;
}

static uint32_t blm_uhd_tokens(const blm_tile_rule *r, const uint32_t size[2])
{
    return r->tokens_of_any ? r->tokens_of_any : (uint32_t)blm_dynamic_tokens(r, size);
}

/* A picture cut as cut[] says, or with 0 columns whole. */
static void blm_tile_set_uhd(const blm_tile_search *s, const uint32_t cut[2],
                             bluelm_tile_grid *grid)
{
    const uint32_t sides[2] = {s->width, s->height};
    uint32_t whole[2], slice[2];
    memset(grid, 0, sizeof *grid);
    blm_uhd_whole(s->r, sides, whole);
    memcpy(slice, whole, sizeof slice);
    if (cut[0]) blm_uhd_slice(s->r, sides, cut, slice);
    grid->columns = cut[0] ? cut[0] : 1;
    grid->rows = cut[0] ? cut[1] : 1;
    grid->thumbnail = blm_tile_thumbnails(s->r, grid->columns * grid->rows);
    grid->tile_width_px = slice[0];
    grid->tile_height_px = slice[1];
    grid->tile_tokens = blm_uhd_tokens(s->r, slice);
    grid->resized_width_px = grid->columns * slice[0];
    grid->resized_height_px = grid->rows * slice[1];
    if (!grid->thumbnail) return;
    grid->thumbnail_width_px = whole[0];
    grid->thumbnail_height_px = whole[1];
    grid->thumbnail_tokens = blm_uhd_tokens(s->r, whole);
}

/* Above the caps the most slices there may be become fewer. */
static void blm_tile_choose_uhd(const blm_tile_search *s, bluelm_tile_grid *grid)
{
    const blm_tile_rule *r = s->r;
    const uint32_t sides[2] = {s->width, s->height};
    uint32_t cut[2];
    for (uint32_t most = r->max_local_tiles; most > 0; most--) {
        blm_uhd_grid(r, sides, most, cut);
        blm_tile_set_uhd(s, cut, grid);
        uint32_t local = grid->columns * grid->rows;
        uint64_t tokens = (uint64_t)local * grid->tile_tokens + grid->thumbnail_tokens;
        if (tokens <= s->room && (!r->max_tiles || local + grid->thumbnail <= r->max_tiles))
            return;
    }
}

/* The choice with room for so many tokens. What has no room at all is chosen as small as
 * can be. Returns the tokens. */
static uint64_t blm_tile_choose_within(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                       uint64_t room, bluelm_tile_grid *grid)
{
    static void (*const searches[BLM_TILE_RULES])(blm_tile_search *) = {
        [BLUELM_TILES_RELAXED] = blm_tile_search_all,
        [BLUELM_TILES_LLAVA_NEXT] = blm_tile_search_llava_next,
        [BLUELM_TILES_INTERNVL] = blm_tile_search_internvl,
        [BLM_TILES_IDEFICS3] = blm_tile_search_idefics3,
    };
    blm_tile_search s = {r, width, height, room, r->tokens_per_tile, 0, 0, 0, INT64_MAX};
    memset(grid, 0, sizeof *grid);
    if (r->rule == BLM_TILES_DYNAMIC) {
        blm_tile_set_dynamic(&s, grid);
    } else if (r->rule == BLM_TILES_LFM2) {
        blm_tile_choose_lfm2(&s, grid);
    } else if (r->rule == BLM_TILES_UHD) {
        blm_tile_choose_uhd(&s, grid);
    } else {
        if (searches[r->rule]) searches[r->rule](&s);
        blm_tile_set_tiles(&s, grid);
    }
    uint32_t local = grid->columns * grid->rows;
    uint64_t made;
    grid->tiles = local + grid->thumbnail;
    uint64_t tokens = (uint64_t)local * grid->tile_tokens + grid->thumbnail_tokens;
    if (r->joined_side)
        tokens = blm_tile_count_tokens(&s, grid->columns, grid->rows, grid->thumbnail, &made);
    grid->tokens = (uint32_t)tokens;
    return tokens;
}

static int blm_tile_check_picture(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                  bluelm_error *err)
{
    uint32_t longer = BLM_MAX(width, height), shorter = BLM_MIN(width, height);
    if (width == 0 || width > BLM_PICTURE_LIMIT)
        return blm_fail_side(err, "picture width", width);
    if (height == 0 || height > BLM_PICTURE_LIMIT)
        return blm_fail_side(err, "picture height", height);
    if (r->ratio_limit && longer > (uint64_t)r->ratio_limit * shorter)
        return blm_fail(err, BLUELM_E_IMAGE, "picture is too narrow (ratio of its sides)",
                        r->ratio_limit, (longer + shorter - 1) / shorter, 0);
    return 0;
}

BLM_PRIVATE int blm_tile_choose(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                uint32_t max_tokens, bluelm_tile_grid *grid, bluelm_error *err)
{
    bluelm_tile_grid alone;
    memset(grid, 0, sizeof *grid);
    int code = blm_tile_check_picture(r, width, height, err);
    if (code < 0) return code;
    uint32_t own = r->max_tokens ? r->max_tokens : UINT32_MAX;
    blm_tile_choose_within(r, width, height, own, &alone);
    uint64_t room = BLM_MIN(own, max_tokens);
    uint64_t tokens = blm_tile_choose_within(r, width, height, room, grid);
    if (tokens > room)
        return blm_fail(err, BLUELM_E_CONTEXT, "context (picture)", tokens, room, 0);
    grid->reduced = !blm_same_bytes(grid, &alone, sizeof alone);
    return (int)grid->tiles;
}

/* ---- Bounds ------------------------------------------------------------------------ */

/* The largest integer whose square is at most x. */
static uint32_t blm_tile_isqrt(uint64_t x)
{
    uint32_t root = 0;
    for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
        uint64_t trial = root | bit;
        if (trial * trial <= x) root |= bit;
    }
    return root;
}

/* Most tokens of a picture of its own size, without caps. Besides the area's bound there
 * are two ways above it: a shorter side of one token whose longer side is not cut, and
 * sides raised to whole tokens. */
static uint64_t blm_dynamic_most_tokens(const blm_tile_rule *r)
{
    uint64_t token = (uint64_t)r->align_px * r->align_px;
    uint64_t ratio = r->ratio_limit ? r->ratio_limit : BLM_PICTURE_LIMIT;
    uint64_t most = r->max_pixels / token;
    uint64_t least = BLM_MIN(r->min_pixels, r->max_pixels) / token + 1;
    uint64_t narrow = (uint64_t)blm_tile_isqrt((most + 1) * ratio) + 1;
    uint64_t raised =
        (uint64_t)blm_tile_isqrt(least * ratio) + least + (uint64_t)blm_tile_isqrt(least) + 2;
    most = BLM_MAX(BLM_MAX(most, narrow), raised);
    if (blm_dynamic_has_edge(r)) {
        uint64_t side = ((uint64_t)r->longest_edge_px + r->align_px - 1) / r->align_px;
        most = side * side;
    }
    return r->max_own_tokens ? BLM_MIN(most, r->max_own_tokens) : most;
}

/* Most local tiles, and the longest side of such a grid in tiles. */
static uint32_t blm_tile_most_local(const blm_tile_rule *r, uint32_t *side)
{
    uint32_t most = BLM_MIN(r->max_columns * r->max_rows, r->max_local_tiles);
    *side = BLM_MIN(BLM_MAX(r->max_columns, r->max_rows), most);
    if (r->rule == BLUELM_TILES_LLAVA_NEXT && r->pinpoint_count) {
        uint32_t listed = 1, longest = 1;
        for (uint32_t i = 0; i < r->pinpoint_count; i++) {
            uint32_t columns = blm_load_u32(r->pinpoints + 8 * i) / r->tile_px;
            uint32_t rows = blm_load_u32(r->pinpoints + 8 * i + 4) / r->tile_px;
            listed = BLM_MAX(listed, columns * rows);
            longest = BLM_MAX(longest, BLM_MAX(columns, rows));
        }
        most = BLM_MIN(listed, most);
        *side = BLM_MIN(longest, most);
    } else if (r->rule == BLM_TILES_IDEFICS3) {
        /* The other side of a square picture is made even too. */
        uint32_t edge = r->longest_edge_px + (r->longest_edge_px & 1);
        *side = (edge + r->tile_px - 1) / r->tile_px;
        most = BLM_MIN(most, *side * *side);
    }
    return most;
}

/* Grids of tiles of tile_px, the thumbnail too. */
static void blm_tile_bound_tiles(const blm_tile_rule *r, blm_tile_most *most)
{
    uint64_t tile = (uint64_t)r->tile_px * r->tile_px;
    uint64_t room =
        r->max_tokens ? r->max_tokens / BLM_MAX(r->tokens_per_tile, 1u) : UINT32_MAX;
    uint32_t side, local = blm_tile_most_local(r, &side);
    uint64_t tiles = (uint64_t)local + blm_tile_thumbnails(r, local);
    most->side_px = side * r->tile_px;
    if (r->rule == BLM_TILES_IDEFICS3)
        most->side_px = BLM_MAX(most->side_px, r->longest_edge_px + 1);
    if (r->max_tiles) tiles = BLM_MIN(tiles, r->max_tiles);
    tiles = BLM_MAX(BLM_MIN(tiles, room), 1u);
    most->tiles = (uint32_t)tiles;
    uint64_t row_ends = r->joined_side ? (uint64_t)side * r->joined_side + 1 : 0;
    most->tokens = (uint32_t)BLM_MIN(tiles * r->tokens_per_tile + row_ends, UINT32_MAX);
    most->tile_tokens = r->tokens_per_tile;
    most->tile_pixels = tile;
    most->pixels = tiles * tile;
}

/* Pictures of their own size, or tiles and one of those: a token is as many pixels in
 * either. */
static void blm_tile_bound_dynamic(const blm_tile_rule *r, blm_tile_most *most)
{
    uint64_t token = (uint64_t)r->align_px * r->align_px;
    uint64_t own = blm_dynamic_most_tokens(r), tokens = own, tiles = 1;
    uint32_t side = 0;
    if (r->rule == BLM_TILES_LFM2) {
        uint32_t local = blm_tile_most_local(r, &side);
        side *= r->tile_px;
        tiles = (uint64_t)local + blm_tile_thumbnails(r, local);
        tokens += (uint64_t)local * r->tokens_per_tile;
        if (r->max_tiles) tiles = BLM_MIN(tiles, r->max_tiles);
    }
    if (r->max_tokens) tokens = BLM_MIN(tokens, r->max_tokens);
    most->tiles = (uint32_t)BLM_MAX(tiles, 1u);
    most->tokens = (uint32_t)BLM_MIN(tokens, UINT32_MAX);
    most->pixels = tokens * token;
    own = BLM_MIN(own, tokens);
    most->tile_tokens = (uint32_t)(tiles > 1 ? BLM_MAX(own, r->tokens_per_tile) : own);
    most->tile_pixels = most->tile_tokens * token;
    uint64_t longest = BLM_MIN(own * r->align_px, BLM_DYNAMIC_PX_LIMIT);
    most->side_px = BLM_MAX(side, (uint32_t)longest);
}

/* Slices, and the whole picture before them. */
static void blm_tile_bound_uhd(const blm_tile_rule *r, blm_tile_most *most)
{
    uint64_t pixels = blm_uhd_most_pixels(r);
    uint64_t area = pixels / ((uint64_t)r->align_px * r->align_px);
    uint64_t tokens = r->tokens_of_any ? r->tokens_of_any : area;
    uint64_t tiles = (uint64_t)r->max_local_tiles + 1;
    if (r->max_tiles) tiles = BLM_MIN(tiles, r->max_tiles);
    if (r->max_tokens && r->tokens_of_any) tiles = BLM_MIN(tiles, r->max_tokens / tokens);
    tiles = BLM_MAX(tiles, 1u);
    uint64_t all = tiles * tokens;
    if (r->max_tokens) all = BLM_MIN(all, BLM_MAX(r->max_tokens, 1u));
    most->tiles = (uint32_t)tiles;
    most->tokens = (uint32_t)all;
    most->tile_tokens = (uint32_t)BLM_MIN(tokens, all);
    most->tile_pixels = pixels;
    most->pixels = tiles * pixels;
    most->side_px = BLM_MAX(r->max_local_tiles, 1u) * BLM_UHD_SIDES * r->tile_px;
}

BLM_PRIVATE void blm_tile_bounds(const blm_tile_rule *r, blm_tile_most *most)
{
    if (r->rule == BLM_TILES_UHD) {
        blm_tile_bound_uhd(r, most);
        return;
    }
    if (r->rule == BLM_TILES_DYNAMIC || r->rule == BLM_TILES_LFM2)
        blm_tile_bound_dynamic(r, most);
    else
        blm_tile_bound_tiles(r, most);
}
