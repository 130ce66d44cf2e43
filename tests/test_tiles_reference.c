/* What the models' own processors make of pictures: grids and sizes for 259 pictures under
 * eleven rules (tests/data/tile_sizes.txt). tools/tile_reference.py writes the data. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tiler/grid.h"

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
        .thumbnail = BLM_THUMBNAIL_LAST, .fit = BLM_FIT_STRETCH,                               \
        .filter = BLM_FILTER_BILINEAR,                                                         \
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
        .min_pixels = least, .max_pixels = most, .ratio_limit = 200, .fit = BLM_FIT_STRETCH    \
    }
#define SINGLE(tile, way, kernel, tokens)                                                      \
    {                                                                                          \
        .rule = BLUELM_TILES_SINGLE, .tile_px = tile, .max_columns = 1, .max_rows = 1,         \
        .min_local_tiles = 1, .max_local_tiles = 1, .fit = way, .filter = kernel,              \
        .pad_color = 0x7A7468, .tokens_per_tile = tokens                                       \
    }

static const named_rule published[] = {
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

static void every_picture_gets_its_authors_size(void **state)
{
    (void)state;
    FILE *f = open_data("tile_sizes.txt");
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
    assert_int_equal(pictures, 11 * 259);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_picture_gets_its_authors_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
