/* What the models' own processors make of pictures: grids and sizes for 259 pictures under
 * eleven rules (tests/data/tile_sizes.txt), and the bytes of all tiles of six pictures under
 * seven (tests/data/tile_bytes.txt has their hashes); MiniCPM-V's of 600 sizes more. The data
 * is written by tools/tile_reference.py and tools/uhd_reference.py. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tiler/picture.h"
#include "file_aid.h"

/* ---- Rules --------------------------------------------------------------------------- */

typedef struct named_rule {
    const char *name;
    blm_tile_rule rule;
} named_rule;

#define SMOLVLM(tile, edge, tokens)                                                            \
    {                                                                                          \
        .rule = BLM_TILES_IDEFICS3, .tile_px = tile, .max_columns = 16, .max_rows = 16,        \
        .min_local_tiles = 1, .max_local_tiles = 256, .longest_edge_px = edge,                 \
        .thumbnail = BLM_THUMBNAIL_LAST, .fit = BLM_FIT_STRETCH, .filter = BLM_FILTER_LANCZOS, \
        .tokens_per_tile = tokens                                                              \
    }
#define LFM2(tile, patch, most)                                                                \
    {                                                                                          \
        .rule = BLM_TILES_LFM2, .tile_px = tile, .max_columns = 10, .max_rows = 10,            \
        .min_local_tiles = 2, .max_local_tiles = 10, .align_px = 2 * patch, .patch_px = patch, \
        .min_pixels = most / 4, .max_pixels = most, .raise_sides = 1,                          \
        .max_own_tokens = most / (4 * patch * patch), .thumbnail = BLM_THUMBNAIL_LAST,         \
        .fit = BLM_FIT_STRETCH, .filter = BLM_FILTER_BILINEAR,                                 \
        .tokens_per_tile = (tile / (2 * patch)) * (tile / (2 * patch))                         \
    }
#define INTERNVL(tile, most, tokens)                                                           \
    {                                                                                          \
        .rule = BLUELM_TILES_INTERNVL, .tile_px = tile, .max_columns = most, .max_rows = most, \
        .min_local_tiles = 1, .max_local_tiles = most, .thumbnail = BLM_THUMBNAIL_LAST,        \
        .fit = BLM_FIT_STRETCH, .tokens_per_tile = tokens                                      \
    }
#define QWEN(align, least, most)                                                               \
    {                                                                                          \
        .rule = BLM_TILES_DYNAMIC, .align_px = align, .patch_px = align / 2,                   \
        .min_pixels = least, .max_pixels = most, .max_own_tokens = most / (align * align),     \
        .ratio_limit = 200, .fit = BLM_FIT_STRETCH                                             \
    }
#define SINGLE(tile, way, kernel, tokens)                                                      \
    {                                                                                          \
        .rule = BLUELM_TILES_SINGLE, .tile_px = tile, .max_columns = 1, .max_rows = 1,         \
        .min_local_tiles = 1, .max_local_tiles = 1, .fit = way, .filter = kernel,              \
        .pad_color = 0x7A7468, .tokens_per_tile = tokens                                       \
    }

#define UHD(tile, align, tokens)                                                               \
    {                                                                                          \
        .rule = BLM_TILES_UHD, .tile_px = tile, .max_columns = 9, .max_rows = 9,               \
        .min_local_tiles = 1, .max_local_tiles = 9, .align_px = align, .patch_px = 7,          \
        .thumbnail = BLM_THUMBNAIL_FIRST, .fit = BLM_FIT_STRETCH, .tokens_of_any = tokens      \
    }

static const named_rule published[] = {
    {"minicpmv", UHD(448, 14, 64)},
    {"minicpmv4.6", UHD(448, 56, 0)},
    {"smolvlm-512", SMOLVLM(512, 2048, 64)},
    {"smolvlm-384", SMOLVLM(384, 1536, 81)},
    {"lfm2", LFM2(512, 16, 262144)},
    {"internvl", INTERNVL(448, 12, 256)},
    {"internvl-6", INTERNVL(448, 6, 256)},
    {"qwen2vl", QWEN(28, 3136, 12845056)},
    {"qwen2vl-1024", QWEN(28, 3136, 802816)},
    {"qwen3vl", QWEN(32, 65536, 16777216)},
    {"qwen3vl-256", QWEN(32, 65536, 262144)},
    {"llava15", SINGLE(336, BLM_FIT_PAD_SQUARE, BLM_FILTER_BICUBIC, 576)},
    {"gemma3", SINGLE(896, BLM_FIT_STRETCH, BLM_FILTER_BILINEAR, 256)},
};

static const blm_tile_rule *rule_named(const named_rule *rules, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rules[i].name, name) == 0) return &rules[i].rule;
    fail_msg("no rule %s", name);
    return NULL;
}

/* ---- Sizes ----------------------------------------------------------------------------- */

static FILE *open_data(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "tests/data/%s", name);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("cannot open %s", path);
    return f;
}

/* One line of tile_sizes.txt. */
static void check_size(const char *name, const blm_tile_rule *r, const char *line)
{
    unsigned w, h, n[9];
    bluelm_tile_grid g;
    bluelm_error err;
    int count = sscanf(line, "%u %u %u %u %u %u %u %u %u %u %u", &w, &h, n, n + 1, n + 2, n + 3,
                       n + 4, n + 5, n + 6, n + 7, n + 8);
    int tiles = blm_tile_choose(r, w, h, UINT32_MAX, &g, &err);
    if (count == 2) {
        assert_non_null(strstr(line, "refused"));
        assert_int_equal(tiles, BLUELM_E_IMAGE);
        return;
    }
    assert_int_equal(count, 11);
    const unsigned got[] = {g.columns,
                            g.rows,
                            g.tile_width_px,
                            g.tile_height_px,
                            g.thumbnail_width_px,
                            g.thumbnail_height_px,
                            g.tokens};
    for (int i = 0; i < 7; i++)
        if (got[i] != n[i])
            fail_msg("%s %ux%u, number %d: %u, not %u", name, w, h, i, got[i], n[i]);
    assert_int_equal(tiles, g.columns * g.rows + g.thumbnail);
    assert_int_equal(g.tiles, tiles);
    assert_int_equal(g.thumbnail, g.thumbnail_width_px != 0);
    assert_int_equal(g.reduced, 0);
    if (n[7] == 0) return;
    uint32_t edge_w, edge_h;
    blm_tile_edge_step(r, w, h, &g, &edge_w, &edge_h);
    if (edge_w != n[7] || edge_h != n[8])
        fail_msg("%s %ux%u: edge %ux%u, not %ux%u", name, w, h, edge_w, edge_h, n[7], n[8]);
}

/* Returns the number of pictures. */
static int check_sizes(const char *data)
{
    FILE *f = open_data(data);
    char line[128], name[32] = "";
    const blm_tile_rule *r = NULL;
    int pictures = 0;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "= %31s", name) == 1) {
            r = rule_named(published, BLM_COUNT_OF(published), name);
            continue;
        }
        assert_non_null(r);
        check_size(name, r, line);
        pictures++;
    }
    fclose(f);
    return pictures;
}

static void every_picture_gets_its_authors_size(void **state)
{
    (void)state;
    assert_int_equal(check_sizes("tile_sizes.txt"), 11 * 259);
    assert_int_equal(check_sizes("uhd_sizes.txt"), 2 * 619);
}

/* ---- Bytes ----------------------------------------------------------------------------- */

static const named_rule small[] = {
    {"minicpmv", UHD(28, 7, 1)},
    {"minicpmv4.6", UHD(32, 8, 0)},
    {"smolvlm", SMOLVLM(32, 128, 4)},
    {"lfm2", LFM2(64, 8, 4096)},
    {"internvl", INTERNVL(28, 12, 1)},
    {"qwen2vl", QWEN(28, 3136, 12544)},
    {"qwen3vl", QWEN(32, 4096, 16384)},
    {"llava15", SINGLE(56, BLM_FIT_PAD_SQUARE, BLM_FILTER_BICUBIC, 16)},
    {"gemma3", SINGLE(56, BLM_FIT_STRETCH, BLM_FILTER_BILINEAR, 1)},
    {"moondream", SINGLE(56, BLM_FIT_STRETCH, BLM_FILTER_LANCZOS, 16)},
};

static void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    assert_non_null(p);
    return p;
}

static tiny_file read_rgb(const char *source, size_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "tests/data/%s.rgb", source);
    tiny_file rgb = file_load(path);
    assert_int_equal(rgb.bytes, bytes);
    return rgb;
}

/* All tiles of a picture, one after another, read `rows` rows at a time. */
static uint8_t *all_tiles(const blm_tile_rule *r, const bluelm_image *im, uint32_t rows,
                          size_t *bytes)
{
    bluelm_tile_grid grid;
    bluelm_error err;
    blm_picture p;
    uint64_t canvas_need, scratch_need;
    int more;
    assert_true(blm_tile_choose(r, im->width_px, im->height_px, UINT32_MAX, &grid, &err) > 0);
    assert_int_equal(blm_picture_need(r, &grid, im, &canvas_need, &scratch_need, &err), 0);
    uint8_t *canvas = take((size_t)canvas_need), *scratch = take((size_t)scratch_need);
    assert_int_equal(
        blm_picture_begin(&p, r, &grid, im, canvas, canvas_need, scratch, scratch_need, &err),
        0);
    while ((more = blm_picture_read(&p, rows, &err)) > 0)
        continue;
    assert_int_equal(more, 0);
    free(scratch);
    uint8_t *tiles = take((size_t)canvas_need), *at = tiles;
    for (uint32_t t = 0; t < grid.tiles; t++) {
        const uint8_t *rgb;
        size_t stride;
        uint32_t width, height;
        blm_picture_tile(&p, t, &rgb, &stride, &width, &height);
        for (uint32_t y = 0; y < height; y++, at += 3 * (size_t)width)
            memcpy(at, rgb + y * stride, 3 * (size_t)width);
    }
    *bytes = (size_t)(at - tiles);
    assert_int_equal(*bytes, canvas_need);
    free(canvas);
    return tiles;
}

static uint64_t hash_of(const uint8_t *data, size_t bytes)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ data[i]) * 0x100000001B3u;
    return hash;
}

/* Where the whole result lies beside the project, says which byte is wrong. */
static void compare_with_file(const char *family, const char *source, const uint8_t *got,
                              size_t bytes)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%s.rgb", family, source + 4);
    tiny_file want = file_reference(".", "vision2/tiles", name);
    if (!want.data) return;
    assert_int_equal(want.bytes, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (got[i] != want.data[i])
            fail_msg("%s %s: byte %zu is %u, not %u", family, source, i, got[i], want.data[i]);
    tiny_free(&want);
}

/* Returns the number of pictures. */
static int check_bytes(const char *data)
{
    FILE *f = open_data(data);
    char family[32], source[32];
    unsigned w, h, bytes;
    unsigned long long hash;
    int cases = 0;
    while (fscanf(f, "%31s %31s %u %u %u %llx", family, source, &w, &h, &bytes, &hash) == 6) {
        const blm_tile_rule *r = rule_named(small, BLM_COUNT_OF(small), family);
        tiny_file rgb = read_rgb(source, 3 * (size_t)w * h);
        bluelm_image im = {.rgb = rgb.data, .width_px = w, .height_px = h};
        size_t got_bytes;
        uint8_t *got = all_tiles(r, &im, 7, &got_bytes);
        assert_int_equal(got_bytes, bytes);
        compare_with_file(family, source, got, bytes);
        if (hash_of(got, bytes) != hash) fail_msg("%s %s: other bytes", family, source);
        free(got);
        tiny_free(&rgb);
        cases++;
    }
    fclose(f);
    return cases;
}

static void every_byte_is_its_authors(void **state)
{
    (void)state;
    assert_int_equal(check_bytes("tile_bytes.txt"), 48);
    assert_int_equal(check_bytes("uhd_bytes.txt"), 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_its_authors),
        cmocka_unit_test(every_picture_gets_its_authors_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
