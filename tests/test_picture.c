/* A picture read row by row: however many at a time, however it is stored, within the memory
 * that is stated, it comes to the same tiles. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../tiler/picture.h"
#include "png_aid.h"
#include "tiny_model.h"

static void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    assert_non_null(p);
    return p;
}

static void start_random(void)
{
    srand((unsigned)tiny_seed((uint64_t)time(NULL)));
}

/* ---- Pictures -------------------------------------------------------------------------- */

static uint8_t *random_rgb(size_t pixels)
{
    uint8_t *rgb = take(3 * pixels);
    for (size_t i = 0; i < 3 * pixels; i++)
        rgb[i] = (uint8_t)(rand() >> 4);
    return rgb;
}

/* Rows without a filter in stored blocks. */
static void put_rows(png_file *w, const uint8_t *rgb, uint32_t width, uint32_t height)
{
    static const uint8_t zlib[2] = {0x78, 1}, none = 0;
    uint32_t a = 1, b = 0, row = 3 * width + 1;
    png_put(w, zlib, 2);
    for (uint32_t y = 0; y < height; y++) {
        const uint8_t head[5] = {y + 1 == height, (uint8_t)row, (uint8_t)(row >> 8),
                                 (uint8_t)~row, (uint8_t)(~row >> 8)};
        size_t from = w->bytes + 5;
        png_put(w, head, 5);
        png_put(w, &none, 1);
        png_put(w, rgb + 3 * (size_t)y * width, 3 * (size_t)width);
        for (; from < w->bytes; from++) {
            a = (a + w->data[from]) % 65521;
            b = (b + a) % 65521;
        }
    }
    png_put_u32(w, b << 16 | a);
}

/* A PNG file that says how it is to be turned. */
static bluelm_image png(const uint8_t *rgb, uint32_t width, uint32_t height, int orientation)
{
    png_file w = {take(3 * (size_t)width * height + 6 * (size_t)height + 200), 0, 0};
    const uint8_t exif[] = {
        'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, (uint8_t)orientation,
        0,   0,   0,  0, 0, 0, 0};
    png_begin(&w, width, height, "\x08\x02\0\0\0");
    png_open_chunk(&w, "eXIf");
    png_put(&w, exif, sizeof exif);
    png_close_chunk(&w);
    png_open_chunk(&w, "IDAT");
    put_rows(&w, rgb, width, height);
    png_close_chunk(&w);
    png_open_chunk(&w, "IEND");
    png_close_chunk(&w);
    return (bluelm_image){.encoded = w.data, .encoded_bytes = w.bytes};
}

/* The rows of a picture as they are stored when `orientation` turns them into rgb; where
 * stored pixel (x, y) is shown is EXIF's own table. */
static uint8_t *stored_rows(const uint8_t *rgb, uint32_t w, uint32_t h, int orientation)
{
    uint8_t *out = take(3 * (size_t)w * h);
    uint32_t stored_w = orientation > 4 ? h : w, stored_h = orientation > 4 ? w : h;
    for (uint32_t y = 0; y < stored_h; y++) {
        for (uint32_t x = 0; x < stored_w; x++) {
            const uint32_t shown[9][2] = {
                {0, 0},         {x, y}, {w - 1 - x, y}, {w - 1 - x, h - 1 - y},
                {x, h - 1 - y}, {y, x}, {w - 1 - y, x}, {w - 1 - y, h - 1 - x},
                {y, h - 1 - x}};
            const uint32_t *at = shown[orientation];
            memcpy(out + 3 * ((size_t)y * stored_w + x), rgb + 3 * ((size_t)at[1] * w + at[0]),
                   3);
        }
    }
    return out;
}

/* ---- Rules ------------------------------------------------------------------------------ */

static uint32_t below(uint32_t limit)
{
    return (uint32_t)rand() % limit;
}

/* A rule with every field inside what files may say, of small tiles. */
static blm_tile_rule random_rule(void)
{
    blm_tile_rule r = {
        .rule = 1 + below(BLM_TILE_RULES - 1),
        .alpha_ppm = 100000,
        .tile_px = 1 + below(24),
        .max_columns = 1 + below(5),
        .max_rows = 1 + below(5),
        .min_local_tiles = 1,
        .max_local_tiles = 1 + below(16),
        .patch_px = 1 + below(4),
        .min_pixels = 1 + below(500),
        .max_pixels = 600 + below(4000),
        .raise_sides = below(2),
        .thumbnail = below(3),
        .thumbnail_single = below(2),
        .fit = below(3),
        .pad_top_left = below(2),
        .pad_color = below(0x1000000),
        .filter = below(3),
        .tokens_per_tile = 1 + below(9),
    };
    r.align_px = r.patch_px * (1 + below(3));
    r.longest_edge_px = r.tile_px * (1 + below(4));
    if (r.rule == BLM_TILES_LFM2) {
        uint32_t side = 1 + below(4);
        r.tile_px = side * r.align_px;
        r.tokens_per_tile = side * side;
    }
    if (r.rule == BLM_TILES_DYNAMIC) r.thumbnail = 0;
    if (r.rule == BLM_TILES_UHD) r.tokens_of_any = 5 * below(2);
    return r;
}

/* ---- Reading ----------------------------------------------------------------------------- */

typedef struct tiles {
    uint8_t *data;
    size_t bytes;
} tiles;

/* All canvases of a picture read in bites of `rows`, in memory of exactly the stated size
 * at odd addresses. */
static tiles read_tiles(const blm_tile_rule *r, const bluelm_tile_grid *g,
                        const bluelm_image *im, uint32_t rows)
{
    blm_picture p;
    bluelm_error err = {0};
    uint64_t canvas_need, scratch_need;
    int more;
    assert_int_equal(blm_picture_need(r, g, im, &canvas_need, &scratch_need, &err), 0);
    tiles t = {take((size_t)canvas_need), (size_t)canvas_need};
    uint8_t *scratch = take((size_t)scratch_need + 1);
    memset(t.data, 0xEE, t.bytes);
    int code =
        blm_picture_begin(&p, r, g, im, t.data, t.bytes, scratch + 1, scratch_need, &err);
    if (code != 0)
        fail_msg("%s: need %llu, have %llu", err.subject, (unsigned long long)err.need,
                 (unsigned long long)err.have);
    do {
        more = blm_picture_read(&p, rows == 0 ? below(9) : rows, &err);
    } while (more > 0);
    assert_int_equal(more, 0);
    assert_int_equal(blm_picture_read(&p, 5, &err), 0);
    assert_int_equal(
        blm_picture_begin(&p, r, g, im, t.data, t.bytes - 1, scratch, scratch_need, &err),
        BLUELM_E_BUDGET);
    assert_true(err.need == t.bytes && err.have == t.bytes - 1);
    free(scratch);
    return t;
}

static void rows_at_a_time_do_not_matter(void **state)
{
    (void)state;
    start_random();
    for (int n = 0; n < 2000; n++) {
        const blm_tile_rule r = random_rule();
        uint32_t w = 1 + below(n % 3 ? 80 : 400), h = 1 + below(n % 5 ? 80 : 400);
        bluelm_tile_grid g;
        uint8_t *rgb = random_rgb((size_t)w * h);
        const bluelm_image im = {.rgb = rgb, .width_px = w, .height_px = h};
        assert_true(blm_tile_choose(&r, w, h, UINT32_MAX, &g, NULL) > 0);
        tiles one = read_tiles(&r, &g, &im, 1), some = read_tiles(&r, &g, &im, 0);
        tiles all = read_tiles(&r, &g, &im, UINT32_MAX);
        assert_memory_equal(one.data, all.data, all.bytes);
        assert_memory_equal(some.data, all.data, all.bytes);
        free(one.data);
        free(some.data);
        free(all.data);
        free(rgb);
    }
}

static void a_turned_file_is_as_if_it_had_been_turned_before(void **state)
{
    (void)state;
    start_random();
    for (int n = 0; n < 1600; n++) {
        const blm_tile_rule r = random_rule();
        uint32_t w = 1 + below(70), h = 1 + below(70);
        int orientation = 1 + n % 8;
        bluelm_tile_grid g;
        uint8_t *rgb = random_rgb((size_t)w * h);
        uint8_t *rows = stored_rows(rgb, w, h, orientation);
        const bluelm_image im = {.rgb = rgb, .width_px = w, .height_px = h};
        bluelm_image file =
            png(rows, orientation > 4 ? h : w, orientation > 4 ? w : h, orientation);
        assert_true(blm_tile_choose(&r, w, h, UINT32_MAX, &g, NULL) > 0);
        tiles want = read_tiles(&r, &g, &im, 0), got = read_tiles(&r, &g, &file, 0);
        assert_int_equal(got.bytes, want.bytes);
        if (memcmp(got.data, want.data, want.bytes) != 0)
            fail_msg("rule %u, fit %u, filter %u, %ux%u, orientation %d", r.rule, r.fit,
                     r.filter, w, h, orientation);
        free(want.data);
        free(got.data);
        free(rgb);
        free(rows);
        free((void *)(uintptr_t)file.encoded);
    }
}

/* ---- Tiles against the obvious ------------------------------------------------------------- */

/* Every tile is a rectangle of its canvas. */
static void check_tiles(const blm_picture *p, const blm_tile_rule *r, const bluelm_tile_grid *g,
                        const uint8_t *canvas)
{
    const size_t row = 3 * (size_t)g->columns * g->tile_width_px;
    uint32_t local = 0;
    for (uint32_t t = 0; t < g->tiles; t++) {
        const uint8_t *at;
        size_t stride;
        uint32_t width, height;
        blm_picture_tile(p, t, &at, &stride, &width, &height);
        if (g->thumbnail && t == (r->thumbnail == BLM_THUMBNAIL_FIRST ? 0 : g->tiles - 1)) {
            assert_ptr_equal(at, canvas + row * g->rows * g->tile_height_px);
            assert_true(width == g->thumbnail_width_px && stride == 3 * (size_t)width);
            assert_int_equal(height, g->thumbnail_height_px);
            continue;
        }
        assert_ptr_equal(at, canvas + local / g->columns * g->tile_height_px * row +
                                 3 * (size_t)(local % g->columns) * g->tile_width_px);
        assert_true(stride == row && width == g->tile_width_px);
        assert_int_equal(height, g->tile_height_px);
        local++;
    }
}

/* What is around a picture has its colour. */
static void check_padding(const blm_tile_rule *r, const bluelm_tile_grid *g,
                          const uint8_t *canvas)
{
    const uint32_t across = g->columns * g->tile_width_px, down = g->rows * g->tile_height_px;
    for (uint32_t y = 0; y < down; y++)
        for (uint32_t x = 0; x < across; x++) {
            const uint8_t *px = canvas + 3 * ((size_t)y * across + x);
            int inside = x >= g->offset_x_px && x < g->offset_x_px + g->resized_width_px &&
                         y >= g->offset_y_px && y < g->offset_y_px + g->resized_height_px;
            if (!inside)
                assert_int_equal((uint32_t)px[0] << 16 | (uint32_t)px[1] << 8 | px[2],
                                 r->pad_color);
        }
}

static void tiles_cover_the_canvases_in_token_order(void **state)
{
    (void)state;
    start_random();
    for (int n = 0; n < 500; n++) {
        const blm_tile_rule r = random_rule();
        uint32_t w = 1 + below(60), h = 1 + below(60);
        bluelm_tile_grid g;
        bluelm_error err;
        blm_picture p;
        uint64_t canvas_need, scratch_need;
        uint8_t *rgb = random_rgb((size_t)w * h);
        const bluelm_image im = {.rgb = rgb, .width_px = w, .height_px = h};
        assert_true(blm_tile_choose(&r, w, h, UINT32_MAX, &g, NULL) > 0);
        assert_int_equal(blm_picture_need(&r, &g, &im, &canvas_need, &scratch_need, &err), 0);
        uint8_t *canvas = take((size_t)canvas_need), *scratch = take((size_t)scratch_need);
        assert_int_equal(blm_picture_begin(&p, &r, &g, &im, canvas, canvas_need, scratch,
                                           scratch_need, &err),
                         0);
        assert_int_equal(blm_picture_read(&p, UINT32_MAX, &err), 0);
        check_tiles(&p, &r, &g, canvas);
        if (r.fit == BLM_FIT_PAD) check_padding(&r, &g, canvas);
        free(canvas);
        free(scratch);
        free(rgb);
    }
}

/* ---- Memory -------------------------------------------------------------------------------- */

/* What a file of these sides takes, from its header alone: nothing is decoded. Returns the
 * scratch; 0 where the rule refuses the picture. */
static uint64_t check_bounds(const blm_tile_rule *r, uint32_t w, uint32_t h, int orientation,
                             uint32_t room)
{
    static const uint8_t pixel[3] = {1, 2, 3};
    bluelm_image file = png(pixel, 1, 1, orientation);
    bluelm_tile_grid g;
    bluelm_error err;
    uint64_t canvas, scratch = 0;
    png_file header = {(uint8_t *)(uintptr_t)file.encoded, 0, 0};
    png_begin(&header, w, h, "\x08\x02\0\0\0"); /* the sides alone are other ones */
    uint32_t shown_w = orientation > 4 ? h : w, shown_h = orientation > 4 ? w : h;
    if (blm_tile_choose(r, shown_w, shown_h, room, &g, &err) > 0) {
        int code = blm_picture_need(r, &g, &file, &canvas, &scratch, &err);
        if (code != 0) fail_msg("%s: %d", err.subject, code);
        if (canvas > blm_picture_canvas_bytes(r) || scratch > blm_picture_scratch_bytes(r, w))
            fail_msg("rule %u, %ux%u turned by %d: canvas %llu of %llu, scratch %llu of %llu",
                     r->rule, w, h, orientation, (unsigned long long)canvas,
                     (unsigned long long)blm_picture_canvas_bytes(r),
                     (unsigned long long)scratch,
                     (unsigned long long)blm_picture_scratch_bytes(r, w));
        assert_true(scratch <= blm_picture_scratch_bytes(r, 16384) || w > 16384);
    }
    free((void *)(uintptr_t)file.encoded);
    return scratch;
}

static uint32_t random_side(void)
{
    return 1 + below(below(2) ? 16384 : 300);
}

static void no_picture_needs_more_than_is_planned(void **state)
{
    (void)state;
    start_random();
    for (int n = 0; n < 6000; n++) {
        blm_tile_rule r = random_rule();
        if (n & 1) r.max_tokens = 10 + below(300);
        if (n & 2) r.ratio_limit = 200;
        check_bounds(&r, random_side(), random_side(), 1 + n % 8,
                     n % 3 ? UINT32_MAX : 10 + below(300));
    }
}

/* The published rules with a phone's photo: what issue 8 asks for. */
static void a_photo_of_12_megapixels_takes_little_beside_its_canvas(void **state)
{
    (void)state;
    static const blm_tile_rule rules[] = {
        {.rule = BLM_TILES_IDEFICS3,
         .tile_px = 512,
         .max_columns = 16,
         .max_rows = 16,
         .min_local_tiles = 1,
         .max_local_tiles = 256,
         .longest_edge_px = 2048,
         .thumbnail = 2,
         .fit = BLM_FIT_STRETCH,
         .filter = BLM_FILTER_LANCZOS,
         .tokens_per_tile = 64},
        {.rule = BLUELM_TILES_INTERNVL,
         .tile_px = 448,
         .max_columns = 12,
         .max_rows = 12,
         .min_local_tiles = 1,
         .max_local_tiles = 12,
         .thumbnail = 2,
         .fit = BLM_FIT_STRETCH,
         .tokens_per_tile = 256},
        {.rule = BLUELM_TILES_RELAXED,
         .alpha_ppm = 100000,
         .tile_px = 384,
         .max_columns = 4,
         .max_rows = 4,
         .min_local_tiles = 1,
         .max_local_tiles = 256,
         .thumbnail = 1,
         .tokens_per_tile = 196},
        {.rule = BLM_TILES_DYNAMIC,
         .align_px = 32,
         .patch_px = 16,
         .min_pixels = 65536,
         .max_pixels = 2097152,
         .ratio_limit = 200,
         .fit = BLM_FIT_STRETCH},
    };
    for (size_t i = 0; i < BLM_COUNT_OF(rules); i++) {
        uint64_t most = 0;
        for (int orientation = 1; orientation <= 8; orientation++) {
            uint64_t scratch = check_bounds(&rules[i], 4032, 3024, orientation, UINT32_MAX);
            most = BLM_MAX(most, scratch);
        }
        printf("rule %u: canvas at most %llu bytes, scratch %llu, planned for 16384 px %llu\n",
               rules[i].rule, (unsigned long long)blm_picture_canvas_bytes(&rules[i]),
               (unsigned long long)most,
               (unsigned long long)blm_picture_scratch_bytes(&rules[i], 16384));
        assert_true(most > 0 && most <= 2000000);
    }
}

/* ---- What is refused ------------------------------------------------------------------------- */

static const blm_tile_rule one_tile = {.rule = BLUELM_TILES_SINGLE,
                                       .tile_px = 8,
                                       .max_columns = 1,
                                       .max_rows = 1,
                                       .min_local_tiles = 1,
                                       .max_local_tiles = 1,
                                       .fit = BLM_FIT_STRETCH,
                                       .tokens_per_tile = 1};

static void unsound_pictures_and_grids_are_refused(void **state)
{
    (void)state;
    const blm_tile_rule r = one_tile;
    uint8_t rgb[5 * 4 * 3] = {0}, canvas[8 * 8 * 3], scratch[8192];
    bluelm_image im = {.rgb = rgb, .width_px = 5, .height_px = 4}, bad = im;
    bluelm_tile_grid good, g;
    bluelm_error err;
    blm_picture p;
    assert_int_equal(blm_tile_choose(&r, 5, 4, 9, &good, &err), 1);
    g = good;
#define BEGIN(image, grid)                                                                     \
    blm_picture_begin(&p, &r, grid, image, canvas, sizeof canvas, scratch, sizeof scratch, &err)
    assert_int_equal(BEGIN(&im, &g), 0);
    bad.stride_bytes = 14;
    assert_int_equal(BEGIN(&bad, &g), BLUELM_E_ARG);
    assert_true(err.need == 15 && err.have == 14);
    bad.stride_bytes = SIZE_MAX / 2;
    assert_int_equal(BEGIN(&bad, &g), BLUELM_E_ARG);
    bad = im, bad.width_px = 0;
    assert_int_equal(BEGIN(&bad, &g), BLUELM_E_ARG);
    bad = im, bad.height_px = 65536;
    assert_int_equal(BEGIN(&bad, &g), BLUELM_E_ARG);
    g.columns = 0;
    assert_int_equal(BEGIN(&im, &g), BLUELM_E_ARG);
    g = good, g.tile_width_px = UINT32_MAX;
    assert_int_equal(BEGIN(&im, &g), BLUELM_E_ARG);
    g = good, g.offset_x_px = 1;
    assert_int_equal(BEGIN(&im, &g), BLUELM_E_ARG);
    g = good, g.tiles = 2;
    assert_int_equal(BEGIN(&im, &g), BLUELM_E_ARG);
    g = good, g.thumbnail = 1, g.tiles = 2;
    assert_int_equal(BEGIN(&im, &g), BLUELM_E_ARG);
    g = good;
    bad = (bluelm_image){.encoded = "no picture", .encoded_bytes = 10};
    assert_int_equal(BEGIN(&bad, &g), BLUELM_E_IMAGE);
    uint64_t canvas_need, scratch_need;
    assert_int_equal(blm_picture_need(&r, &g, &im, &canvas_need, &scratch_need, &err), 0);
    assert_int_equal(blm_picture_begin(&p, &r, &g, &im, canvas, canvas_need, scratch,
                                       scratch_need - 1, &err),
                     BLUELM_E_BUDGET);
    assert_true(err.need == scratch_need && err.have == scratch_need - 1);
}

static void a_file_cut_short_fails_while_it_is_read(void **state)
{
    (void)state;
    const blm_tile_rule r = one_tile;
    uint8_t *rgb = random_rgb(40 * 30);
    bluelm_image file = png(rgb, 40, 30, 1);
    bluelm_tile_grid g;
    bluelm_error err;
    blm_picture p;
    uint64_t canvas_need, scratch_need;
    assert_int_equal(blm_tile_choose(&r, 40, 30, 9, &g, &err), 1);
    assert_int_equal(blm_picture_need(&r, &g, &file, &canvas_need, &scratch_need, &err), 0);
    uint8_t *canvas = take((size_t)canvas_need), *scratch = take((size_t)scratch_need);
    for (size_t cut = 1; cut < file.encoded_bytes; cut += 1 + cut / 8) {
        bluelm_image part = file;
        part.encoded_bytes -= cut;
        int code = blm_picture_begin(&p, &r, &g, &part, canvas, canvas_need, scratch,
                                     scratch_need, &err);
        for (int k = 0; code >= 0 && k < 40; k++)
            if ((code = blm_picture_read(&p, 1, &err)) == 0) break;
        /* Past the last row nothing is needed. */
        if (cut > 40) assert_int_equal(code, BLUELM_E_IMAGE);
    }
    free(canvas);
    free(scratch);
    free(rgb);
    free((void *)(uintptr_t)file.encoded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_at_a_time_do_not_matter),
        cmocka_unit_test(a_turned_file_is_as_if_it_had_been_turned_before),
        cmocka_unit_test(tiles_cover_the_canvases_in_token_order),
        cmocka_unit_test(no_picture_needs_more_than_is_planned),
        cmocka_unit_test(a_photo_of_12_megapixels_takes_little_beside_its_canvas),
        cmocka_unit_test(unsound_pictures_and_grids_are_refused),
        cmocka_unit_test(a_file_cut_short_fails_while_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
