#include "grid.h"

/* The rounding of products in here decides between grids: a fused multiply-add would
 * choose differently on some machines. gcc does not fuse under -std=c99. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* ---- Reading the rule --------------------------------------------------------- */

typedef struct blm_tile_word {
    const char *text;
    uint32_t value;
} blm_tile_word;

/* What the keys of a rule default to; the order is that of BLUELM_TILES_*. */
typedef struct blm_tile_defaults {
    uint8_t side, thumbnail, thumbnail_single, fit;
    uint16_t local_tiles;
} blm_tile_defaults;

static const blm_tile_defaults blm_tile_default_of[] = {
    {1, BLM_THUMBNAIL_NONE, 0, BLM_FIT_PAD, 1},
    {4, BLM_THUMBNAIL_FIRST, 0, BLM_FIT_PAD, BLM_TILES_LIMIT},
    {4, BLM_THUMBNAIL_FIRST, 1, BLM_FIT_PAD, BLM_TILES_LIMIT},
    {12, BLM_THUMBNAIL_LAST, 0, BLM_FIT_STRETCH, 12},
    {1, BLM_THUMBNAIL_NONE, 0, BLM_FIT_PAD, 1},
    {BLM_TILE_SIDE_LIMIT, BLM_THUMBNAIL_LAST, 0, BLM_FIT_STRETCH, BLM_TILES_LIMIT},
};

/* Fails with "key: value" as the subject, or "key" alone when value is NULL. A value
 * from the file is cut short and stripped of what cannot be printed. */
static int blm_tile_refuse(bluelm_error *err, int code, const char *key,
                           const blm_string *value, uint64_t need, uint64_t have)
{
    char subject[64];
    size_t at = 0;
    for (; *key && at < 40; key++)
        subject[at++] = *key;
    if (value) {
        subject[at++] = ':', subject[at++] = ' ';
        for (uint64_t i = 0; i < value->bytes && at + 1 < sizeof subject; i++) {
            char c = value->text[i];
            subject[at++] = c >= ' ' && c <= '~' ? c : '?';
        }
    }
    subject[at] = 0;
    return blm_fail(err, code, subject, need, have, 0);
}

/* Reads a string key that is one of the words. 0 and *out untouched when absent. */
static int blm_tile_read_word(const blm_gguf *g, const char *key, const blm_tile_word *words,
                              size_t count, uint32_t *out, bluelm_error *err)
{
    blm_string s;
    int found = blm_gguf_string(g, key, &s, err);
    if (found <= 0) return found;
    for (size_t i = 0; i < count; i++) {
        if (!blm_string_is(s, words[i].text)) continue;
        *out = words[i].value;
        return 1;
    }
    return blm_tile_refuse(err, BLUELM_E_UNSUPPORTED, key, &s, 0, 0);
}

/* Reads an integer key within 1..limit. 0 and *out untouched when absent. */
static int blm_tile_read_count(const blm_gguf *g, const char *key, uint32_t limit,
                               uint32_t *out, bluelm_error *err)
{
    uint32_t value;
    int found = blm_gguf_u32(g, key, &value, err);
    if (found <= 0) return found;
    if (value < 1 || value > limit)
        return blm_tile_refuse(err, BLUELM_E_UNSUPPORTED, key, NULL, limit, value);
    *out = value;
    return 1;
}

static int blm_tile_read_flag(const blm_gguf *g, const char *key, uint32_t *out,
                              bluelm_error *err)
{
    int value;
    int found = blm_gguf_bool(g, key, &value, err);
    if (found > 0) *out = value != 0;
    return found;
}

/* Reads and checks the candidates of llava-next: each side a multiple of the tile. */
static int blm_tile_read_pinpoints(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    static const char key[] = "clip.vision.image_grid_pinpoints";
    blm_array a;
    int found = blm_gguf_array(g, key, BLM_GGUF_I32, &a, err);
    if (found <= 0) return found;
    if (a.count % 2 != 0 || a.count > 2 * BLM_TILES_LIMIT)
        return blm_tile_refuse(err, BLUELM_E_FORMAT, key, NULL, 2 * BLM_TILES_LIMIT, a.count);
    for (uint64_t i = 0; i < a.count; i++) {
        uint32_t side = blm_load_u32(a.data + 4 * i);
        if (side == 0 || side % r->tile_px || side / r->tile_px > BLM_TILE_SIDE_LIMIT)
            return blm_tile_refuse(err, BLUELM_E_UNSUPPORTED, key, NULL, r->tile_px, side);
    }
    r->pinpoints = a;
    return 1;
}

/* Which rule a file means that does not name one. */
static int blm_tile_rule_of_projector(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    blm_string projector = {"mlp", 3}; /* files of before the key are LLaVA's */
    int status = blm_gguf_string(g, "clip.projector_type", &projector, err);
    if (status < 0) return status;
    r->rule = BLUELM_TILES_SINGLE;
    if (blm_string_is(projector, "lfm2")) r->rule = BLUELM_TILES_RELAXED;
    if (blm_string_is(projector, "mlp") && r->pinpoints.count)
        r->rule = BLUELM_TILES_LLAVA_NEXT;
    if (blm_string_is(projector, "idefics3") && r->longest_edge_px)
        r->rule = BLM_TILES_IDEFICS3;
    return 0;
}

/* The rule itself: the config's, else the file's, else the projector's. */
static int blm_tile_read_rule(blm_tile_rule *r, const blm_gguf *g, const bluelm_config *config,
                              bluelm_error *err)
{
    static const blm_tile_word words[] = {
        {"relaxed", BLUELM_TILES_RELAXED},   {"llava-next", BLUELM_TILES_LLAVA_NEXT},
        {"internvl", BLUELM_TILES_INTERNVL}, {"idefics3", BLM_TILES_IDEFICS3},
        {"single", BLUELM_TILES_SINGLE},
    };
    static const char edge_key[] = "clip.vision.preproc_image_size";
    int status = blm_tile_read_pinpoints(r, g, err);
    if (status < 0) return status;
    status = blm_tile_read_count(g, edge_key, BLM_TILE_SIDE_LIMIT * r->tile_px,
                                 &r->longest_edge_px, err);
    if (status < 0) return status;
    status = blm_tile_rule_of_projector(r, g, err);
    if (status < 0) return status;
    status =
        blm_tile_read_word(g, "bluelm.tiling.rule", words, BLM_COUNT_OF(words), &r->rule, err);
    if (status < 0) return status;
    if (config && config->tile_rule > BLUELM_TILES_SINGLE)
        return blm_fail(err, BLUELM_E_ARG, "config tile_rule", BLUELM_TILES_SINGLE,
                        config->tile_rule, 0);
    if (config && config->tile_rule) r->rule = config->tile_rule;
    if (r->rule == BLM_TILES_IDEFICS3 && r->longest_edge_px < r->tile_px)
        return blm_tile_refuse(err, BLUELM_E_FORMAT, edge_key, NULL, r->tile_px,
                               r->longest_edge_px);
    return 0;
}

static int blm_tile_read_alpha(blm_tile_rule *r, const blm_gguf *g, const bluelm_config *config,
                               bluelm_error *err)
{
    float alpha = 0;
    int status = blm_gguf_f32(g, "bluelm.tiling.alpha", &alpha, err);
    if (status < 0) return status;
    if (status > 0 && !(alpha > 0 && alpha < 1))
        return blm_fail(err, BLUELM_E_FORMAT, "bluelm.tiling.alpha is not within 0..1", 0, 0,
                        0);
    r->alpha = status > 0 ? (double)alpha : 0.1;
    if (!config || config->tile_alpha == 0) return 0;
    if (!(config->tile_alpha > 0 && config->tile_alpha < 1))
        return blm_fail(err, BLUELM_E_ARG, "config tile_alpha is not within 0..1", 0, 0, 0);
    r->alpha = (double)config->tile_alpha;
    return 0;
}

/* The keys that say how many candidates there are. */
static int blm_tile_read_counts(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    static const char *const keys[] = {"bluelm.tiling.max_columns", "bluelm.tiling.max_rows",
                                       "bluelm.tiling.max_local_tiles"};
    uint32_t *out[] = {&r->max_columns, &r->max_rows, &r->max_local_tiles};
    for (size_t i = 0; i < BLM_COUNT_OF(keys); i++) {
        uint32_t limit = i < 2 ? BLM_TILE_SIDE_LIMIT : BLM_TILES_LIMIT;
        int status = blm_tile_read_count(g, keys[i], limit, out[i], err);
        if (status < 0) return status;
    }
    return 0;
}

/* The keys that say what becomes of the pixels. */
static int blm_tile_read_pixels(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    static const blm_tile_word thumbnail[] = {{"none", BLM_THUMBNAIL_NONE},
                                              {"first", BLM_THUMBNAIL_FIRST},
                                              {"last", BLM_THUMBNAIL_LAST}};
    static const blm_tile_word fit[] = {{"pad", BLM_FIT_PAD}, {"stretch", BLM_FIT_STRETCH}};
    static const blm_tile_word place[] = {{"center", 0}, {"top-left", 1}};
    static const blm_tile_word filter[] = {{"bicubic", BLM_FILTER_BICUBIC},
                                           {"bilinear", BLM_FILTER_BILINEAR}};
    int status =
        blm_tile_read_word(g, "bluelm.tiling.thumbnail", thumbnail, 3, &r->thumbnail, err);
    if (status >= 0)
        status =
            blm_tile_read_flag(g, "bluelm.tiling.thumbnail_single", &r->thumbnail_single, err);
    if (status >= 0) status = blm_tile_read_word(g, "bluelm.tiling.fit", fit, 2, &r->fit, err);
    if (status >= 0)
        status = blm_tile_read_word(g, "bluelm.tiling.pad_placement", place, 2,
                                    &r->pad_top_left, err);
    if (status >= 0)
        status =
            blm_tile_read_word(g, "bluelm.tiling.resize_filter", filter, 2, &r->filter, err);
    if (status >= 0) status = blm_gguf_u32(g, "bluelm.tiling.pad_color", &r->pad_color, err);
    if (status >= 0 && r->pad_color > 0xFFFFFF)
        status = blm_tile_refuse(err, BLUELM_E_UNSUPPORTED, "bluelm.tiling.pad_color", NULL,
                                 0xFFFFFF, r->pad_color);
    return status;
}

BLM_PRIVATE int blm_tile_rule_read(blm_tile_rule *r, const blm_gguf *mmproj,
                                   const bluelm_config *config, uint32_t tokens_per_tile,
                                   bluelm_error *err)
{
    static const char side_key[] = "clip.vision.image_size";
    memset(r, 0, sizeof *r);
    r->tokens_per_tile = tokens_per_tile;
    r->max_tiles = config ? config->max_tiles : 0;
    int status = blm_tile_read_count(mmproj, side_key, BLM_TILE_PX_LIMIT, &r->tile_px, err);
    if (status < 0) return status;
    if (status == 0) return blm_tile_refuse(err, BLUELM_E_FORMAT, side_key, NULL, 1, 0);
    status = blm_tile_read_rule(r, mmproj, config, err);
    if (status < 0) return status;

    const blm_tile_defaults *d = &blm_tile_default_of[r->rule];
    r->max_columns = r->max_rows = d->side;
    r->max_local_tiles = d->local_tiles;
    r->thumbnail = d->thumbnail;
    r->thumbnail_single = d->thumbnail_single;
    r->fit = d->fit;
    status = blm_tile_read_alpha(r, mmproj, config, err);
    if (status >= 0) status = blm_tile_read_counts(r, mmproj, err);
    if (status >= 0) status = blm_tile_read_pixels(r, mmproj, err);
    if (r->rule == BLUELM_TILES_SINGLE) r->max_columns = r->max_rows = r->max_local_tiles = 1;
    return status < 0 ? status : 0;
}

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
    for (uint64_t i = 0; i + 1 < r->pinpoints.count; i += 2) {
        uint32_t columns = blm_load_u32(r->pinpoints.data + 4 * i) / r->tile_px;
        uint32_t rows = blm_load_u32(r->pinpoints.data + 4 * i + 4) / r->tile_px;
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
    if (r->rule == BLUELM_TILES_LLAVA_NEXT && r->pinpoints.count) {
        most = 1;
        for (uint64_t i = 0; i + 1 < r->pinpoints.count; i += 2) {
            uint32_t columns = blm_load_u32(r->pinpoints.data + 4 * i) / r->tile_px;
            uint32_t rows = blm_load_u32(r->pinpoints.data + 4 * i + 4) / r->tile_px;
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
    else if (r->rule == BLUELM_TILES_LLAVA_NEXT && r->pinpoints.count)
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
