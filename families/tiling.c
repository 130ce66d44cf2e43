#include "tiling.h"

#include "../base/name.h"

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
    blm_name before;
    blm_name_add(blm_name_start(&before, key), ": ");
    return blm_fail_value(err, BLUELM_E_UNSUPPORTED, before.text, s, 0, 0);
}

/* Reads an integer key within 1..limit. 0 and *out untouched when absent. */
static int blm_tile_read_count(const blm_gguf *g, const char *key, uint32_t limit,
                               uint32_t *out, bluelm_error *err)
{
    uint32_t value;
    int found = blm_gguf_u32(g, key, &value, err);
    if (found <= 0) return found;
    if (value < 1 || value > limit)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, key, limit, value, 0);
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
        return blm_fail(err, BLUELM_E_FORMAT, key, 2 * BLM_TILES_LIMIT, a.count, 0);
    for (uint64_t i = 0; i < a.count; i++) {
        uint32_t side = blm_load_u32(a.data + 4 * i);
        if (side == 0 || side % r->tile_px || side / r->tile_px > BLM_TILE_SIDE_LIMIT)
            return blm_fail(err, BLUELM_E_UNSUPPORTED, key, r->tile_px, side, 0);
    }
    r->pinpoints = a.data;
    r->pinpoint_count = (uint32_t)(a.count / 2);
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
    if (blm_string_is(projector, "mlp") && r->pinpoint_count) r->rule = BLUELM_TILES_LLAVA_NEXT;
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
        return blm_fail(err, BLUELM_E_FORMAT, edge_key, r->tile_px, r->longest_edge_px, 0);
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
        status = blm_fail(err, BLUELM_E_UNSUPPORTED, "bluelm.tiling.pad_color", 0xFFFFFF,
                          r->pad_color, 0);
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
    if (status == 0) return blm_fail(err, BLUELM_E_FORMAT, side_key, 1, 0, 0);
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
