/* The tiler: the input's bytes become a rule, a picture's size, and a cap. Chooses the
 * grid of any size; reads the picture into its canvases when they are small, in memory of
 * just the size that is stated, in bites that the input gives. */
#include "../tiler/picture.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

typedef struct fuzz_input {
    const uint8_t *data;
    size_t bytes;
} fuzz_input;

static uint32_t fuzz_take(fuzz_input *in, uint32_t limit)
{
    uint32_t value = 0;
    for (int i = 0; i < 2 && in->bytes; i++, in->data++, in->bytes--)
        value = value << 8 | *in->data;
    return value % (limit + 1);
}

static void fuzz_require(int truth)
{
    if (!truth) abort();
}

/* A rule with every field inside what blm_tile_rule_read lets through. */
static blm_tile_rule fuzz_rule(fuzz_input *in, uint8_t *pinpoints)
{
    blm_tile_rule r;
    memset(&r, 0, sizeof r);
    r.rule = 1 + fuzz_take(in, BLM_TILE_RULES - 2);
    r.alpha_ppm = 1000 * (1 + fuzz_take(in, 997));
    r.tile_px = 1 + fuzz_take(in, fuzz_take(in, 1) ? 40 : BLM_TILE_PX_LIMIT - 1);
    r.max_columns = 1 + fuzz_take(in, BLM_TILE_SIDE_LIMIT - 1);
    r.max_rows = 1 + fuzz_take(in, BLM_TILE_SIDE_LIMIT - 1);
    r.max_local_tiles = 1 + fuzz_take(in, BLM_TILES_LIMIT - 1);
    r.min_local_tiles = 1 + fuzz_take(in, 3);
    r.max_tiles = fuzz_take(in, 256);
    r.max_tokens = fuzz_take(in, 20000);
    r.longest_edge_px = r.tile_px + fuzz_take(in, (BLM_TILE_SIDE_LIMIT - 1) * r.tile_px);
    r.thumbnail = fuzz_take(in, 2);
    r.thumbnail_single = fuzz_take(in, 1);
    r.fit = fuzz_take(in, 2);
    r.pad_top_left = fuzz_take(in, 1);
    r.pad_color = fuzz_take(in, 0xFFFF);
    r.filter = fuzz_take(in, 2);
    r.tokens_per_tile = 1 + fuzz_take(in, 1000);
    r.patch_px = 1 + fuzz_take(in, 40);
    r.align_px = r.patch_px * (1 + fuzz_take(in, 3));
    r.min_pixels = 1 + fuzz_take(in, 65534);
    r.max_pixels = r.align_px * r.align_px + 1000 * fuzz_take(in, 65535);
    r.ratio_limit = fuzz_take(in, 1) ? 200 : 0;
    r.raise_sides = fuzz_take(in, 1);
    r.max_own_tokens = fuzz_take(in, 2000);
    if (r.rule == BLM_TILES_LFM2) {
        uint32_t side = 1 + fuzz_take(in, 7);
        r.tile_px = side * r.align_px;
        r.tokens_per_tile = side * side;
    }
    if (r.rule == BLM_TILES_UHD) r.tokens_of_any = fuzz_take(in, 100);
    r.pinpoint_count = fuzz_take(in, 4);
    r.pinpoints = pinpoints;
    for (uint64_t i = 0; i < 2 * r.pinpoint_count; i++) {
        uint32_t side = r.tile_px * (1 + fuzz_take(in, BLM_TILE_SIDE_LIMIT - 1));
        for (int k = 0; k < 4; k++)
            pinpoints[4 * i + (uint64_t)k] = (uint8_t)(side >> 8 * k);
    }
    return r;
}

static void fuzz_read(const blm_tile_rule *r, const bluelm_tile_grid *grid, uint32_t width,
                      uint32_t height, uint32_t rows)
{
    bluelm_image im = {NULL, width, height, 0, NULL, 0};
    size_t picture = (size_t)width * height * 3;
    uint8_t *rgb = (uint8_t *)malloc(picture);
    uint64_t canvas_bytes, scratch_bytes;
    im.rgb = rgb;
    if (!rgb) return;
    fuzz_require(blm_picture_need(r, grid, &im, &canvas_bytes, &scratch_bytes, NULL) == 0);
    fuzz_require(canvas_bytes <= blm_picture_canvas_bytes(r));
    fuzz_require(scratch_bytes <= blm_picture_scratch_bytes(r, width));
    void *canvas = malloc((size_t)canvas_bytes), *scratch = malloc((size_t)scratch_bytes);
    if (canvas && scratch) {
        blm_picture p;
        int more;
        for (size_t i = 0; i < picture; i++)
            rgb[i] = (uint8_t)(i * 2654435761u >> 24);
        fuzz_require(blm_picture_begin(&p, r, grid, &im, canvas, canvas_bytes, scratch,
                                       scratch_bytes, NULL) == 0);
        while ((more = blm_picture_read(&p, rows, NULL)) > 0)
            continue;
        fuzz_require(more == 0);
    }
    free(rgb);
    free(canvas);
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz_input in = {data, bytes};
    uint8_t pinpoints[8 * 4];
    bluelm_tile_grid grid;
    blm_tile_rule r = fuzz_rule(&in, pinpoints);
    int large = fuzz_take(&in, 3) == 0;
    uint32_t width = 1 + fuzz_take(&in, large ? 65534 : 99);
    uint32_t height = 1 + fuzz_take(&in, large ? 65534 : 99);
    uint32_t cap = fuzz_take(&in, 65535);
    blm_tile_most most;
    int tiles = blm_tile_choose(&r, width, height, cap, &grid, NULL);
    if (tiles <= 0) return 0;
    blm_tile_bounds(&r, &most);
    fuzz_require(grid.tokens <= cap && (!r.max_tokens || grid.tokens <= r.max_tokens));
    fuzz_require((uint32_t)tiles <= most.tiles && grid.tokens <= most.tokens);
    fuzz_require(grid.tile_tokens <= most.tile_tokens);
    fuzz_require(grid.thumbnail_tokens <= most.tile_tokens);
    if (r.max_tiles) fuzz_require((uint32_t)tiles <= r.max_tiles);
    if (blm_picture_canvas_bytes(&r) <= 400000 && (uint64_t)width * height <= 100000)
        fuzz_read(&r, &grid, width, height, fuzz_take(&in, 300));
    return 0;
}
