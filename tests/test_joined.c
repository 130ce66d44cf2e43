/* LLaVA-NeXT's pictures: the tokens of all tiles in the order of the picture that they show,
 * those of padding left out, and one more behind each row. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/engine.h"
#include "engine_aid.h"

enum { SIDE = 3, TILE = SIDE * SIDE, WIDTH = 64 };

static void add_newline(tiny_writer *w, void *user)
{
    static const uint32_t points[] = {24, 48, 48, 24, 48, 48, 72, 24, 24, 72};
    static const uint64_t ne[] = {WIDTH};
    float values[WIDTH];
    uint32_t i;
    tiny_key_array(w, "clip.vision.image_grid_pinpoints", TINY_KEY_I32, 10);
    for (i = 0; i < 10; i++)
        tiny_put_u32(&w->keys, points[i]);
    for (i = 0; i < WIDTH; i++)
        values[i] = (float)i - 20.5f;
    if (strcmp((const char *)user, "none") != 0)
        tiny_tensor(w, (const char *)user, TINY_F32, 1, ne, values);
    if (strcmp((const char *)user, "v.image_newline") == 0)
        tiny_key_string(w, "clip.vision.mm_patch_merge_type", "spatial_unpad");
    if (strcmp((const char *)user, "flat") == 0)
        tiny_key_string(w, "clip.vision.mm_patch_merge_type", "flat");
}

static aid_model make_model(char *newline)
{
    tiny_llm_config llm = tiny_llm_default();
    tiny_vision_config vision = tiny_vision_default();
    vision.projector = TINY_MLP;
    vision.n_embd = WIDTH;
    vision.extra = add_newline;
    vision.extra_user = newline;
    return aid_model_make(&llm, &vision);
}

/* The author's way: all tokens of the canvas as a picture, cropped to the picture's ratio, a
 * column of the token that ends rows beside them. Returns how many. */
static uint32_t expected_ids(const bluelm_tile_grid *g, double width, double height,
                             int32_t *out)
{
    int32_t canvas[16 * SIDE][16 * SIDE];
    int across = (int)g->columns * SIDE, down = (int)g->rows * SIDE, x, y, left = 0, top = 0;
    uint32_t n = 0;
    for (y = 0; y < down; y++)
        for (x = 0; x < across; x++)
            canvas[y][x] = -1 - (int32_t)(TILE * (1 + y / SIDE * (int)g->columns + x / SIDE) +
                                          y % SIDE * SIDE + x % SIDE);
    if (width / height > (double)across / down)
        top = (down - (int)(round(height * (across / width) * 1e7) / 1e7)) / 2;
    else
        left = (across - (int)(round(width * (down / height) * 1e7) / 1e7)) / 2;
    for (x = 0; x < TILE; x++)
        out[n++] = -1 - x;
    for (y = top; y < down - top; y++) {
        for (x = left; x < across - left; x++)
            out[n++] = canvas[y][x];
        out[n++] = -1 - (int32_t)(TILE * g->tiles);
    }
    return n;
}

static void check_picture(bluelm *e, uint32_t width, uint32_t height)
{
    int32_t got[512], want[512];
    uint32_t count, begin;
    bluelm_tile_grid grid;
    bluelm_error err;
    bluelm_image image = aid_picture(width, height, 0, width);
    bluelm_reset(e);
    if (bluelm_add_image(e, &image, &grid, &err) < 0) fail_msg("%s", err.subject);
    count = expected_ids(&grid, width, height, want);
    assert_int_equal(grid.tokens, count);
    begin = (uint32_t)bluelm_context_ids(e, got, 512) - count;
    assert_true(begin <= 1); /* BOS */
    assert_memory_equal(got + begin, want, count * sizeof *got);
    free((void *)(uintptr_t)image.rgb);
}

static void tiles_are_joined_and_padding_is_left_out(void **state)
{
    static char name[] = "model.image_newline";
    aid_model m = make_model(name);
    bluelm_config config = {.context_tokens = 512};
    aid_engine e = aid_engine_make(&m, &config, NULL);
    tiny_random r = {4711};
    int i;
    (void)state;
    for (i = 0; i < 300; i++)
        check_picture(e.engine, 1 + (uint32_t)(tiny_next(&r) % 200),
                      1 + (uint32_t)(tiny_next(&r) % 200));
    aid_engine_free(&e);
    aid_model_free(&m);
}

static void rows_end_with_the_files_token(void **state)
{
    static char names[][24] = {"model.image_newline", "v.image_newline"};
    size_t k;
    (void)state;
    for (k = 0; k < 2; k++) {
        aid_model m = make_model(names[k]);
        bluelm_config config = {.context_tokens = 512};
        aid_engine e = aid_engine_make(&m, &config, NULL);
        bluelm_image image = aid_picture(60, 30, 0, 7);
        static aid_answer answer;
        bluelm_tile_grid grid;
        uint32_t i;
        assert_int_equal(bluelm_add_image(e.engine, &image, &grid, NULL), 3);
        aid_ask(e.engine, 2, &answer);
        assert_int_equal(answer.code, 0);
        for (i = 0; i < WIDTH; i++) {
            uint16_t half = e.engine->image_tokens[grid.tiles * TILE * WIDTH + i];
            assert_true(blm_f32_of_f16(half) == (float)i - 20.5f);
        }
        free((void *)(uintptr_t)image.rgb);
        aid_engine_free(&e);
        aid_model_free(&m);
    }
}

/* Files without the token, or that ask for tiles one after another. */
static void without_the_token_tiles_follow_each_other(void **state)
{
    static char none[] = "none";
    aid_model m = make_model(none);
    bluelm_config config = {.context_tokens = 512};
    bluelm_tile_grid grid;
    (void)state;
    assert_int_equal(bluelm_tile_plan(&m.weights, &config, 60, 30, &grid, NULL), 3);
    assert_int_equal(grid.tokens, 3 * TILE);
    aid_model_free(&m);
}

/* 336 px, patches of 14: what the author's processor counts for these sizes. */
static void token_counts_are_the_authors(void **state)
{
    static const int32_t points[] = {336, 672, 672, 336, 672, 672, 1008, 336, 336, 1008};
    static const struct {
        uint32_t width, height, tokens;
    } cases[] = {
        {672, 672, 576 + 48 * 49},  {1024, 768, 576 + 36 * 49}, {768, 1024, 576 + 48 * 37},
        {2000, 500, 576 + 18 * 73}, {500, 2000, 576 + 72 * 19},
    };
    blm_tile_rule r;
    size_t i;
    (void)state;
    memset(&r, 0, sizeof r);
    r.rule = BLUELM_TILES_LLAVA_NEXT;
    r.tile_px = 336, r.patch_px = 14, r.tokens_per_tile = 576, r.joined_side = 24;
    r.max_columns = r.max_rows = 4, r.min_local_tiles = 1, r.max_local_tiles = 256;
    r.thumbnail = BLM_THUMBNAIL_FIRST, r.thumbnail_single = 1;
    r.pinpoints = (const uint8_t *)points, r.pinpoint_count = 5;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        bluelm_tile_grid grid;
        assert_true(
            blm_tile_choose(&r, cases[i].width, cases[i].height, 1u << 20, &grid, NULL) > 0);
        assert_int_equal(grid.tokens, cases[i].tokens);
    }
}

/* A grid is chosen that fits, whatever the context: never more than it or than planned. */
static void joined_tiles_fit_every_context(void **state)
{
    static char name[] = "model.image_newline";
    aid_model m = make_model(name);
    uint32_t context;
    (void)state;
    for (context = 12; context < 90; context++) {
        bluelm_config config = {.context_tokens = context};
        aid_engine e = aid_engine_make(&m, &config, NULL);
        bluelm_image image = aid_picture(50, 48, 0, 7);
        bluelm_tile_grid grid;
        bluelm_error err;
        int tiles = bluelm_add_image(e.engine, &image, &grid, &err);
        assert_true(tiles > 0 || err.code == BLUELM_E_CONTEXT);
        if (tiles > 1) {
            assert_true(grid.tokens < context);
            assert_true(grid.tiles * TILE < e.engine->image_rows);
        }
        if (tiles > 0) {
            static aid_answer answer;
            aid_ask(e.engine, 1, &answer);
        }
        free((void *)(uintptr_t)image.rgb);
        aid_engine_free(&e);
    }
    aid_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_are_joined_and_padding_is_left_out),
        cmocka_unit_test(rows_end_with_the_files_token),
        cmocka_unit_test(without_the_token_tiles_follow_each_other),
        cmocka_unit_test(token_counts_are_the_authors),
        cmocka_unit_test(joined_tiles_fit_every_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
