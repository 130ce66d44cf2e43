#include "tiling.h"

#include "../base/name.h"
#include "vision.h"

typedef struct blm_tile_word {
    const char *text;
    uint32_t value;
} blm_tile_word;

static const blm_tile_word blm_tile_rules[] = {
    {"relaxed", BLUELM_TILES_RELAXED},   {"llava-next", BLUELM_TILES_LLAVA_NEXT},
    {"internvl", BLUELM_TILES_INTERNVL}, {"single", BLUELM_TILES_SINGLE},
    {"idefics3", BLM_TILES_IDEFICS3},    {"lfm2", BLM_TILES_LFM2},
    {"dynamic", BLM_TILES_DYNAMIC},      {"uhd", BLM_TILES_UHD},
};

/* What the keys of a rule default to; the order is that of BLUELM_TILES_* and
 * BLM_TILES_*. */
typedef struct blm_tile_defaults {
    uint8_t side, thumbnail, thumbnail_single, fit, filter;
    uint8_t min_tiles;
    uint16_t max_tiles;
} blm_tile_defaults;

static const blm_tile_defaults blm_tile_default_of[BLM_TILE_RULES] = {
    {1, BLM_THUMBNAIL_NONE, 0, BLM_FIT_PAD, BLM_FILTER_BICUBIC, 1, 1},
    {4, BLM_THUMBNAIL_FIRST, 0, BLM_FIT_PAD, BLM_FILTER_BICUBIC, 1, BLM_TILES_LIMIT},
    {4, BLM_THUMBNAIL_FIRST, 1, BLM_FIT_PAD, BLM_FILTER_BICUBIC, 1, BLM_TILES_LIMIT},
    {12, BLM_THUMBNAIL_LAST, 0, BLM_FIT_STRETCH, BLM_FILTER_BICUBIC, 1, 12},
    {1, BLM_THUMBNAIL_NONE, 0, BLM_FIT_PAD, BLM_FILTER_BICUBIC, 1, 1},
    {16, BLM_THUMBNAIL_LAST, 0, BLM_FIT_STRETCH, BLM_FILTER_LANCZOS, 1, BLM_TILES_LIMIT},
    {10, BLM_THUMBNAIL_LAST, 0, BLM_FIT_STRETCH, BLM_FILTER_BILINEAR, 2, 10},
    {1, BLM_THUMBNAIL_NONE, 0, BLM_FIT_STRETCH, BLM_FILTER_BICUBIC, 1, 1},
    {9, BLM_THUMBNAIL_FIRST, 0, BLM_FIT_STRETCH, BLM_FILTER_BICUBIC, 1, 9},
};

/* What a family's files mean that do not say. The first row that suits a file counts.
 * An lfm2 projector over positions of other than 256 px and patches of 16 is none of
 * Liquid's models but one of square tiles, as BlueLM-V-3B's. */
typedef struct blm_tile_family {
    const char *projector;       /* NULL: any                                        */
    uint16_t image_px, patch_px; /* that the file has; 0: any                        */
    uint8_t pinpoints;           /* 1: the file has them                             */
    uint8_t rule, fit, filter;
    uint8_t pad_mean; /* 1: padding has the colour of clip.vision.image_mean */
    uint8_t raise_sides;
    uint8_t longest_edge; /* 1: image_size is that of any picture            */
    uint8_t any_size;     /* 1: image_size means nothing                     */
    uint8_t fills;        /* 1: max_pixels is what any picture is scaled to  */
    uint16_t ratio_limit;
    uint32_t min_pixels, max_pixels;
} blm_tile_family;

#define BLM_TILES_OF(type, how, fitted)                                                        \
    .projector = type, .rule = how, .fit = fitted, .filter = BLM_FILTER_BICUBIC
#define BLM_OWN_SIZES(type) BLM_TILES_OF(type, BLM_TILES_DYNAMIC, BLM_FIT_STRETCH)
#define BLM_QWEN_SIZES(type, least, most)                                                      \
    BLM_OWN_SIZES(type), .ratio_limit = 200, .min_pixels = least, .max_pixels = most

static const blm_tile_family blm_tile_families[] = {
    {.projector = "lfm2",
     .image_px = 256,
     .patch_px = 16,
     .rule = BLM_TILES_LFM2,
     .fit = BLM_FIT_STRETCH,
     .filter = BLM_FILTER_BILINEAR,
     .raise_sides = 1,
     .min_pixels = 65536,
     .max_pixels = 262144},
    {BLM_TILES_OF("lfm2", BLUELM_TILES_RELAXED, BLM_FIT_PAD)},
    {.projector = "idefics3",
     .rule = BLM_TILES_IDEFICS3,
     .fit = BLM_FIT_STRETCH,
     .filter = BLM_FILTER_LANCZOS},
    {BLM_TILES_OF("internvl", BLUELM_TILES_INTERNVL, BLM_FIT_STRETCH)},
    {BLM_QWEN_SIZES("qwen2vl_merger", 3136, 12845056)},
    {BLM_QWEN_SIZES("qwen2.5vl_merger", 3136, 12845056)},
    {BLM_QWEN_SIZES("qwen2.5o", 3136, 12845056)},
    {BLM_QWEN_SIZES("qwen3vl_merger", 65536, 16777216)},
    {.projector = "gemma3",
     .rule = BLUELM_TILES_SINGLE,
     .fit = BLM_FIT_STRETCH,
     .filter = BLM_FILTER_BILINEAR},
    {BLM_OWN_SIZES("pixtral"), .longest_edge = 1},
    {BLM_OWN_SIZES("lightonocr"), .longest_edge = 1},
    {BLM_OWN_SIZES("gemma4v"), .any_size = 1, .fills = 1, .min_pixels = 1,
     .max_pixels = 645120},
    {BLM_QWEN_SIZES("paddleocr", 147384, 2822400), .any_size = 1},
    {BLM_QWEN_SIZES("dots_ocr", 3136, 11289600), .any_size = 1},
    {BLM_TILES_OF("janus_pro", BLUELM_TILES_SINGLE, BLM_FIT_PAD_DOWN), .pad_mean = 1},
    {BLM_TILES_OF("resampler", BLM_TILES_UHD, BLM_FIT_STRETCH)},
    {BLM_TILES_OF("minicpmv4_6", BLM_TILES_UHD, BLM_FIT_STRETCH)},
    {BLM_TILES_OF("mlp", BLUELM_TILES_LLAVA_NEXT, BLM_FIT_PAD), .pinpoints = 1},
    {.projector = "mlp", /* Moondream's */
     .image_px = 378,
     .patch_px = 14,
     .rule = BLUELM_TILES_SINGLE,
     .fit = BLM_FIT_STRETCH,
     .filter = BLM_FILTER_LANCZOS},
    {BLM_TILES_OF("mlp", BLUELM_TILES_SINGLE, BLM_FIT_PAD_SQUARE), .pad_mean = 1},
    {BLM_TILES_OF(NULL, BLUELM_TILES_SINGLE, BLM_FIT_PAD)},
};

#define BLM_LFM2_TILE_PX 512

BLM_PRIVATE const char *blm_tile_rule_name(uint32_t rule)
{
    for (size_t i = 0; i < BLM_COUNT_OF(blm_tile_rules); i++)
        if (blm_tile_rules[i].value == rule) return blm_tile_rules[i].text;
    return "";
}

/* ---- Keys --------------------------------------------------------------------------- */

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
    return blm_fail_value(err, BLUELM_E_UNSUPPORTED, before.text, s);
}

/* Reads an integer key within 1..limit. 0 and *out untouched when absent. */
static int blm_tile_read_count(const blm_gguf *g, const char *key, uint32_t limit,
                               uint32_t *out, bluelm_error *err)
{
    uint32_t value = 0;
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
    int value = 0;
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

/* ---- The family and the rule --------------------------------------------------------- */

static int blm_tile_find_family(const blm_tile_rule *r, const blm_gguf *g,
                                const blm_tile_family **family, bluelm_error *err)
{
    blm_string projector;
    int status = blm_projector_name(g, &projector, err);
    if (status < 0) return status;
    const blm_tile_family *f = blm_tile_families;
    while ((f->projector && !blm_string_is(projector, f->projector)) ||
           (f->image_px && f->image_px != r->tile_px) ||
           (f->patch_px && f->patch_px != r->patch_px) || (f->pinpoints && !r->pinpoint_count))
        f++;
    *family = f;
    return 0;
}

/* The rule itself: the config's, else the file's, else the family's. */
static int blm_tile_read_rule(blm_tile_rule *r, const blm_gguf *g, const bluelm_config *config,
                              const blm_tile_family *family, bluelm_error *err)
{
    r->rule = family->rule;
    int status = blm_tile_read_word(g, "bluelm.tiling.rule", blm_tile_rules,
                                    BLM_COUNT_OF(blm_tile_rules), &r->rule, err);
    if (status < 0) return status;
    if (config && config->tile_rule > BLUELM_TILES_SINGLE)
        return blm_fail(err, BLUELM_E_ARG, "config tile_rule", BLUELM_TILES_SINGLE,
                        config->tile_rule, 0);
    if (config && config->tile_rule) r->rule = config->tile_rule;
    return 0;
}

/* The colour of the mean, each part cut to an integer as LLaVA's authors do. */
static int blm_tile_read_mean(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    blm_array mean;
    int found = blm_gguf_array(g, "clip.vision.image_mean", BLM_GGUF_F32, &mean, err);
    if (found <= 0) return found;
    r->pad_color = 0;
    for (uint64_t i = 0; i < 3 && i < mean.count; i++) {
        double part = (double)blm_load_f32(mean.data + 4 * i) * 255.0;
        if (part >= 0 && part < 256) r->pad_color |= (uint32_t)part << (16 - 8 * i);
    }
    return found;
}

/* What the rule and the family give before any key of bluelm's own is read. */
static int blm_tile_set_defaults(blm_tile_rule *r, const blm_gguf *g,
                                 const blm_tile_family *family, bluelm_error *err)
{
    const blm_tile_defaults *d = &blm_tile_default_of[r->rule];
    int own = r->rule == family->rule;
    r->max_columns = r->max_rows = d->side;
    r->min_local_tiles = d->min_tiles;
    r->max_local_tiles = d->max_tiles;
    r->thumbnail = d->thumbnail;
    r->thumbnail_single = d->thumbnail_single;
    r->fit = own ? family->fit : d->fit;
    r->filter = own ? family->filter : d->filter;
    r->min_pixels = own ? family->min_pixels : 65536;
    r->max_pixels = own ? family->max_pixels : 16777216;
    if (r->rule == BLM_TILES_LFM2 && !own) r->max_pixels = 262144;
    r->ratio_limit = own ? family->ratio_limit : 0;
    r->raise_sides = own ? family->raise_sides : 0;
    r->fills = own ? family->fills : 0;
    return own && family->pad_mean ? blm_tile_read_mean(r, g, err) : 0;
}

/* ---- Keys of one rule ------------------------------------------------------------------ */

static int blm_tile_read_idefics3(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    static const char key[] = "clip.vision.preproc_image_size";
    /* Files of before the key hold SmolVLM's, whose edge is that of four tiles. */
    r->longest_edge_px = 4 * r->tile_px;
    int status =
        blm_tile_read_count(g, key, BLM_TILE_SIDE_LIMIT * r->tile_px, &r->longest_edge_px, err);
    if (status > 0 && r->longest_edge_px < r->tile_px)
        return blm_fail(err, BLUELM_E_FORMAT, key, r->tile_px, r->longest_edge_px, 0);
    return status;
}

/* Where there is a token to end rows with, tiles are joined. */
static int blm_tile_read_llava_next(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    blm_string merge = {"spatial_unpad", 13};
    blm_tensor newline;
    uint32_t side = r->patch_px ? r->tile_px / r->patch_px : 0;
    int found = blm_gguf_string(g, "clip.vision.mm_patch_merge_type", &merge, err);
    if (found >= 0) found = blm_vision_newline(g, &newline, err);
    if (found > 0 && blm_string_is(merge, "spatial_unpad") && side * side == r->tokens_per_tile)
        r->joined_side = side;
    return found;
}

static int blm_tile_read_internvl(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    static const char least[] = "clip.vision.preproc_min_tiles";
    int status =
        blm_tile_read_count(g, "clip.vision.preproc_max_tiles", 64, &r->max_local_tiles, err);
    if (status >= 0) status = blm_tile_read_count(g, least, 64, &r->min_local_tiles, err);
    if (status >= 0 && r->min_local_tiles > r->max_local_tiles)
        return blm_fail(err, BLUELM_E_FORMAT, least, r->max_local_tiles, r->min_local_tiles, 0);
    r->max_columns = r->max_rows = r->max_local_tiles;
    return status;
}

/* What the sides of a picture of its own size are multiples of: merged patches, as the tower
 * reads the file. */
static int blm_tile_read_align(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    static const char key[] = "clip.vision.patch_size";
    blm_projector_type type = BLM_PROJECTOR_MLP;
    int status = blm_projector_find(g, &type, err);
    if (status < 0) return status;
    const blm_projector_row *row = blm_projector_row_of(type);
    uint32_t merge = row->scale;
    if (row->scale_key)
        status = blm_key_maybe_u32(g, "clip.vision", row->scale_key, 1, 16, &merge, err);
    if (status < 0) return status;
    merge *= BLM_MAX(row->joint, 1u);
    if (r->patch_px == 0 || r->patch_px > BLM_TILE_PX_LIMIT / merge)
        return blm_fail(err, BLUELM_E_FORMAT, key, BLM_TILE_PX_LIMIT / merge, r->patch_px, 0);
    r->align_px = r->patch_px * merge;
    return 0;
}

static int blm_tile_read_dynamic(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    static const char most[] = "clip.vision.image_max_pixels";
    int status = blm_tile_read_align(r, g, err);
    if (status >= 0 && r->longest_edge_px)
        return blm_tile_read_count(g, "clip.vision.preproc_image_size", BLM_TILE_PX_LIMIT,
                                   &r->longest_edge_px, err);
    if (status >= 0)
        status = blm_tile_read_count(g, "clip.vision.image_min_pixels", BLM_TILE_PIXELS_LIMIT,
                                     &r->min_pixels, err);
    if (status >= 0)
        status = blm_tile_read_count(g, most, BLM_TILE_PIXELS_LIMIT, &r->max_pixels, err);
    if (status < 0) return status;
    if (r->max_pixels < r->align_px * r->align_px)
        return blm_fail(err, BLUELM_E_FORMAT, most, r->align_px * r->align_px, r->max_pixels,
                        0);
    /* Of a picture with sides far apart the authors' rules make more, which no plan holds:
     * here it is cut to what any other gets at most. */
    r->max_own_tokens = r->max_pixels / (r->align_px * r->align_px);
    return 0;
}

static int blm_tile_read_lfm2(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    int status = blm_tile_read_dynamic(r, g, err);
    if (status < 0) return status;
    r->tile_px = BLM_LFM2_TILE_PX;
    if (r->tile_px % r->align_px)
        return blm_fail(err, BLUELM_E_UNSUPPORTED,
                        "clip.vision.patch_size: tiles are no multiple of merged patches",
                        r->tile_px, r->align_px, 0);
    r->tokens_per_tile = (r->tile_px / r->align_px) * (r->tile_px / r->align_px);
    return 0;
}

/* A resampler makes as many tokens of a tile of any size. */
static int blm_tile_read_uhd(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    blm_projector_type type = BLM_PROJECTOR_MLP;
    int status = blm_tile_read_align(r, g, err);
    if (status >= 0) status = blm_projector_find(g, &type, err);
    if (status >= 0 && blm_projector_row_of(type)->resampler)
        r->tokens_of_any = r->tokens_per_tile;
    return status;
}

/* Where image_size is the longest edge, a tile is what the tower takes for one. */
static int blm_tile_read_own(blm_tile_rule *r, const blm_gguf *g, const blm_tile_family *family,
                             bluelm_error *err)
{
    if (!family->longest_edge && !family->any_size) return 0;
    if (family->longest_edge) r->longest_edge_px = r->tile_px;
    int status = blm_tile_read_align(r, g, err);
    if (status < 0) return status;
    if (family->any_size) r->tile_px = BLM_TILE_PX_LIMIT;
    r->tile_px = BLM_MIN(r->tile_px, BLM_VISION_OWN_SIDE * r->align_px);
    if (r->rule != family->rule) r->longest_edge_px = 0;
    return status;
}

/* ---- Keys of bluelm's own -------------------------------------------------------------- */

/* A float of a file or a configuration as millionths: the decimal that was meant. */
static uint32_t blm_tile_millionths(float alpha)
{
    return (uint32_t)((double)alpha * 1e6 + 0.5);
}

static int blm_tile_read_alpha(blm_tile_rule *r, const blm_gguf *g, const bluelm_config *config,
                               bluelm_error *err)
{
    float alpha = 0.1f;
    int status = blm_gguf_f32(g, "bluelm.tiling.alpha", &alpha, err);
    if (status < 0) return status;
    if (!(alpha > 0 && alpha < 1))
        return blm_fail(err, BLUELM_E_FORMAT, "bluelm.tiling.alpha is not within 0..1", 0, 0,
                        0);
    if (config && config->tile_alpha != 0) alpha = config->tile_alpha;
    if (!(alpha > 0 && alpha < 1)) return blm_fail_number(err, "tile_alpha", alpha);
    r->alpha_ppm = blm_tile_millionths(alpha);
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
    static const blm_tile_word fit[] = {
        {"pad", BLM_FIT_PAD}, {"stretch", BLM_FIT_STRETCH}, {"pad-square", BLM_FIT_PAD_SQUARE}};
    static const blm_tile_word place[] = {{"center", 0}, {"top-left", 1}};
    static const blm_tile_word filter[] = {{"bicubic", BLM_FILTER_BICUBIC},
                                           {"bilinear", BLM_FILTER_BILINEAR},
                                           {"lanczos", BLM_FILTER_LANCZOS}};
    int status =
        blm_tile_read_word(g, "bluelm.tiling.thumbnail", thumbnail, 3, &r->thumbnail, err);
    if (status >= 0)
        status =
            blm_tile_read_flag(g, "bluelm.tiling.thumbnail_single", &r->thumbnail_single, err);
    if (status >= 0) status = blm_tile_read_word(g, "bluelm.tiling.fit", fit, 3, &r->fit, err);
    if (status >= 0)
        status = blm_tile_read_word(g, "bluelm.tiling.pad_placement", place, 2,
                                    &r->pad_top_left, err);
    if (status >= 0)
        status =
            blm_tile_read_word(g, "bluelm.tiling.resize_filter", filter, 3, &r->filter, err);
    if (status >= 0) status = blm_gguf_u32(g, "bluelm.tiling.pad_color", &r->pad_color, err);
    if (status >= 0 && r->pad_color > 0xFFFFFF)
        status = blm_fail(err, BLUELM_E_UNSUPPORTED, "bluelm.tiling.pad_color", 0xFFFFFF,
                          r->pad_color, 0);
    return status;
}

/* ---- All of it --------------------------------------------------------------------------- */

static int blm_tile_read_sides(blm_tile_rule *r, const blm_gguf *g, bluelm_error *err)
{
    static const char side_key[] = "clip.vision.image_size";
    int status = blm_gguf_u32(g, side_key, &r->tile_px, err);
    if (status > 0 && r->tile_px)
        status = blm_tile_read_count(g, side_key, BLM_TILE_PX_LIMIT, &r->tile_px, err);
    if (status >= 0)
        status = blm_tile_read_count(g, "clip.vision.patch_size", BLM_TILE_PX_LIMIT,
                                     &r->patch_px, err);
    return status < 0 || !r->tile_px ? status : blm_tile_read_pinpoints(r, g, err);
}

/* Where any size will do, some files name none. */
static int blm_tile_check_side(const blm_tile_rule *r, const blm_tile_family *family,
                               bluelm_error *err)
{
    if (r->tile_px || family->any_size) return 0;
    return blm_fail(err, BLUELM_E_FORMAT, "clip.vision.image_size", 1, 0, 0);
}

BLM_PRIVATE int blm_tile_rule_read(blm_tile_rule *r, const blm_gguf *mmproj,
                                   const bluelm_config *config, uint32_t tokens_per_tile,
                                   bluelm_error *err)
{
    static int (*const own_keys[BLM_TILE_RULES])(blm_tile_rule *, const blm_gguf *,
                                                 bluelm_error *) = {
        [BLUELM_TILES_LLAVA_NEXT] = blm_tile_read_llava_next,
        [BLUELM_TILES_INTERNVL] = blm_tile_read_internvl,
        [BLM_TILES_IDEFICS3] = blm_tile_read_idefics3,
        [BLM_TILES_LFM2] = blm_tile_read_lfm2,
        [BLM_TILES_DYNAMIC] = blm_tile_read_dynamic,
        [BLM_TILES_UHD] = blm_tile_read_uhd,
    };
    const blm_tile_family *family = NULL;
    memset(r, 0, sizeof *r);
    r->tokens_per_tile = tokens_per_tile;
    r->max_tiles = config ? config->max_tiles : 0;
    r->max_tokens = config ? config->max_image_tokens : 0;
    r->background = config ? config->background_rgb : 0;
    int status = blm_tile_read_sides(r, mmproj, err);
    if (status >= 0) status = blm_tile_find_family(r, mmproj, &family, err);
    if (status >= 0) status = blm_tile_check_side(r, family, err);
    if (status >= 0) status = blm_tile_read_rule(r, mmproj, config, family, err);
    if (status >= 0) status = blm_tile_set_defaults(r, mmproj, family, err);
    if (status >= 0) status = blm_tile_read_own(r, mmproj, family, err);
    if (status >= 0 && own_keys[r->rule]) status = own_keys[r->rule](r, mmproj, err);
    if (status >= 0) status = blm_tile_read_alpha(r, mmproj, config, err);
    if (status >= 0) status = blm_tile_read_counts(r, mmproj, err);
    if (status >= 0) status = blm_tile_read_pixels(r, mmproj, err);
    if (status < 0) return status;
    if (r->thumbnail != BLM_THUMBNAIL_FIRST) r->joined_side = 0; /* as its authors have it */
    if (r->rule == BLUELM_TILES_SINGLE || r->rule == BLM_TILES_DYNAMIC) {
        r->max_columns = r->max_rows = r->max_local_tiles = r->min_local_tiles = 1;
        r->thumbnail = BLM_THUMBNAIL_NONE;
    }
    return 0;
}
