/* The tile grid: published cases, three independent rewrites, caps, and the keys. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../families/tiling.h"
#include "tiny_model.h"

/* ---- A model file in memory ---------------------------------------------------- */

typedef struct test_file {
    uint8_t bytes[4096];
    size_t used;
    uint64_t keys;
} test_file;

static void test_put(test_file *f, const void *p, size_t n)
{
    assert_true(f->used + n <= sizeof f->bytes);
    memcpy(f->bytes + f->used, p, n);
    f->used += n;
}

static void test_put_int(test_file *f, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)(value >> (8 * i));
        test_put(f, &byte, 1);
    }
}

static void test_put_text(test_file *f, const char *text)
{
    test_put_int(f, strlen(text), 8);
    test_put(f, text, strlen(text));
}

static void test_key(test_file *f, const char *key, uint32_t type)
{
    test_put_text(f, key);
    test_put_int(f, type, 4);
    f->keys++;
}

static void test_key_u32(test_file *f, const char *key, uint32_t value)
{
    test_key(f, key, BLM_GGUF_U32);
    test_put_int(f, value, 4);
}

static void test_key_f32(test_file *f, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    test_key(f, key, BLM_GGUF_F32);
    test_put_int(f, bits, 4);
}

static void test_key_bool(test_file *f, const char *key, int value)
{
    test_key(f, key, BLM_GGUF_BOOL);
    test_put_int(f, (uint64_t)value, 1);
}

static void test_key_text(test_file *f, const char *key, const char *value)
{
    test_key(f, key, BLM_GGUF_STRING);
    test_put_text(f, value);
}

static void test_key_pinpoints(test_file *f, const int32_t *sides, size_t count)
{
    test_key(f, "clip.vision.image_grid_pinpoints", BLM_GGUF_ARRAY);
    test_put_int(f, BLM_GGUF_I32, 4);
    test_put_int(f, count, 8);
    for (size_t i = 0; i < count; i++)
        test_put_int(f, (uint32_t)sides[i], 4);
}

static void test_begin(test_file *f, const char *projector, uint32_t tile_px)
{
    f->used = 24;
    f->keys = 0;
    if (projector) test_key_text(f, "clip.projector_type", projector);
    if (tile_px) test_key_u32(f, "clip.vision.image_size", tile_px);
}

/* Finishes the header and reads the rule. The file outlives the rule. */
static int test_read(test_file *f, const bluelm_config *config, blm_tile_rule *r,
                     bluelm_error *err)
{
    size_t end = f->used;
    f->used = 0;
    test_put(f, "GGUF", 4);
    test_put_int(f, 3, 4);
    test_put_int(f, 0, 8);
    test_put_int(f, f->keys, 8);
    f->used = end;
    while (f->used % 32)
        test_put_int(f, 0, 1);
    blm_gguf g;
    assert_int_equal(blm_gguf_open(&g, f->bytes, f->used, "mmproj", err), 0);
    int status = blm_tile_rule_read(r, &g, config, 196, err);
    f->used = end;
    return status;
}

static blm_tile_rule test_rule(uint32_t rule)
{
    test_file f;
    blm_tile_rule r;
    bluelm_config config = {0};
    config.tile_rule = rule;
    test_begin(&f, "lfm2", 384);
    assert_int_equal(test_read(&f, &config, &r, NULL), 0);
    assert_int_equal(r.rule, rule);
    return r;
}

static bluelm_tile_grid test_choose(const blm_tile_rule *r, uint32_t width, uint32_t height,
                                    uint32_t max_tiles)
{
    bluelm_tile_grid g;
    int tiles = blm_tile_choose(r, width, height, max_tiles * r->tokens_per_tile, &g, NULL);
    assert_true(tiles > 0 && (uint32_t)tiles == g.tiles);
    return g;
}

static uint32_t test_most(const blm_tile_rule *r)
{
    blm_tile_most most;
    blm_tile_bounds(r, &most);
    return most.tiles;
}

static void test_expect(const blm_tile_rule *r, uint32_t width, uint32_t height,
                        uint32_t columns, uint32_t rows)
{
    bluelm_tile_grid g = test_choose(r, width, height, 256);
    if (g.columns != columns || g.rows != rows)
        fail_msg("%ux%u: %u:%u, not %u:%u", width, height, g.columns, g.rows, columns, rows);
}

/* ---- Published cases --------------------------------------------------------------- */

static void published_pictures_get_their_grids(void **state)
{
    (void)state;
    blm_tile_rule r = test_rule(BLUELM_TILES_RELAXED);
    test_expect(&r, 394, 390, 1, 1);
    test_expect(&r, 380, 76, 1, 1);
    test_expect(&r, 380, 393, 1, 1);
    test_expect(&r, 500, 102, 2, 1);
    test_expect(&r, 768, 1536, 2, 4);
    bluelm_tile_grid g = test_choose(&r, 768, 1536, 256);
    assert_true(g.tiles == 9 && g.thumbnail == 1 && g.tokens == 9 * 196 &&
                g.tile_width_px == 384);
    r = test_rule(BLUELM_TILES_LLAVA_NEXT);
    test_expect(&r, 394, 390, 2, 2);
    r = test_rule(BLUELM_TILES_INTERNVL);
    test_expect(&r, 380, 76, 5, 1);
}

/* Of no paper, worked out by hand: more tokens than a context of 2,048 has. */
static void photograph_gets_twelve_tiles_or_one(void **state)
{
    (void)state;
    blm_tile_rule r = test_rule(BLUELM_TILES_RELAXED);
    test_expect(&r, 4032, 3024, 4, 3);
    assert_int_equal(test_choose(&r, 4032, 3024, 256).tokens, 2548);
    r = test_rule(BLUELM_TILES_SINGLE);
    test_expect(&r, 4032, 3024, 1, 1);
    assert_int_equal(test_choose(&r, 4032, 3024, 256).tiles, 1);
}

/* ---- Independent rewrites ------------------------------------------------------------ */

typedef struct test_pair {
    int m, n;
} test_pair;

static int test_most_first(const void *a, const void *b)
{
    const test_pair *p = (const test_pair *)a, *q = (const test_pair *)b;
    int by_tiles = q->m * q->n - p->m * p->n;
    return by_tiles ? by_tiles : q->m - p->m;
}

static int test_fewest_first(const void *a, const void *b)
{
    return -test_most_first(a, b);
}

static int test_list(test_pair *list, int side, int most_local, int cap, int thumbnail,
                     int thumbnail_single)
{
    int count = 0;
    for (int m = 1; m <= side; m++)
        for (int n = 1; n <= side; n++) {
            int tiles = m * n + (thumbnail && (m * n > 1 || thumbnail_single));
            if (m * n <= most_local && tiles <= cap) list[count++] = (test_pair){m, n};
        }
    return count;
}

static test_pair test_by_resolution(const blm_tile_rule *r, test_pair *list, int count, int w,
                                    int h)
{
    test_pair best = {1, 1};
    long long best_used = 0, best_waste = -1;
    qsort(list, (size_t)count, sizeof *list, test_most_first);
    for (int i = 0; i < count; i++) {
        double cw = 384.0 * list[i].m, ch = 384.0 * list[i].n;
        double s = cw / w < ch / h ? cw / w : ch / h;
        long long used = (long long)(int)(w * s) * (int)(h * s);
        if (used > (long long)w * h) used = (long long)w * h;
        long long waste = (long long)cw * (long long)ch - used;
        int less = best_waste < 0 || waste < best_waste, take;
        if (r->rule == BLUELM_TILES_RELAXED)
            take = (used - best_used) * 1000000 > r->alpha_ppm * best_used ||
                   ((best_used - used) * 1000000 < r->alpha_ppm * best_used && less);
        else
            take = used > best_used || (used == best_used && less);
        if (take) best = list[i], best_used = used, best_waste = waste;
    }
    return best;
}

static test_pair test_by_ratio(test_pair *list, int count, int w, int h)
{
    test_pair best = {1, 1};
    double nearest = 1e9;
    qsort(list, (size_t)count, sizeof *list, test_fewest_first);
    for (int i = 0; i < count; i++) {
        double d = (double)w / h - (double)list[i].m / list[i].n;
        d = d < 0 ? -d : d;
        int larger = (double)w * h > 0.5 * 384 * 384 * list[i].m * list[i].n;
        if (d < nearest || (d == nearest && larger)) best = list[i], nearest = d;
    }
    return best;
}

static int test_side(void)
{
    int r = rand();
    switch (r % 4) {
    case 0:
        return 1 + rand() % 65535;
    case 1:
        return 1 + rand() % 2000;
    case 2:
        return 384 * (1 + rand() % 8) + rand() % 3 - 1;
    default:
        return 1 + rand() % 500;
    }
}

static void random_sizes_agree_with_a_rewrite(void **state)
{
    (void)state;
    srand((unsigned)tiny_seed((uint64_t)time(NULL)));
    const blm_tile_rule rules[] = {test_rule(BLUELM_TILES_RELAXED),
                                   test_rule(BLUELM_TILES_LLAVA_NEXT),
                                   test_rule(BLUELM_TILES_INTERNVL)};
    for (int i = 0; i < 100000; i++) {
        blm_tile_rule r = rules[i % 3];
        int w = test_side(), h = test_side(), cap = i % 5 ? 256 : 1 + rand() % 20;
        if (i % 7 == 0) r.max_columns = r.max_rows = 1 + (uint32_t)rand() % 16;
        if (i % 11 == 0) r.thumbnail_single ^= 1u;
        if (i % 13 == 0) r.alpha_ppm = 50000 + 100000 * ((uint32_t)rand() % 9);
        test_pair list[256], want;
        int count = test_list(list, (int)r.max_columns, (int)r.max_local_tiles, cap, 1,
                              (int)r.thumbnail_single);
        want = r.rule == BLUELM_TILES_INTERNVL ? test_by_ratio(list, count, w, h)
                                               : test_by_resolution(&r, list, count, w, h);
        bluelm_tile_grid g = test_choose(&r, (uint32_t)w, (uint32_t)h, (uint32_t)cap);
        if (g.columns != (uint32_t)want.m || g.rows != (uint32_t)want.n)
            fail_msg("rule %u, %dx%d, cap %d, side %u: %u:%u, not %d:%d", r.rule, w, h, cap,
                     r.max_columns, g.columns, g.rows, want.m, want.n);
        assert_true(g.tiles <= (uint32_t)cap && g.tiles <= test_most(&r));
    }
}

/* ---- Geometry and caps ------------------------------------------------------------------ */

static void the_picture_keeps_its_ratio_inside_the_canvas(void **state)
{
    (void)state;
    srand(11);
    blm_tile_rule r = test_rule(BLUELM_TILES_RELAXED);
    for (int i = 0; i < 20000; i++) {
        uint32_t w = (uint32_t)test_side(), h = (uint32_t)test_side();
        r.pad_top_left = (uint32_t)i & 1;
        bluelm_tile_grid g = test_choose(&r, w, h, 256);
        uint32_t cw = g.columns * 384, ch = g.rows * 384;
        assert_true(g.resized_width_px >= 1 && g.resized_width_px <= cw);
        assert_true(g.resized_height_px >= 1 && g.resized_height_px <= ch);
        assert_true(g.resized_width_px == cw || g.resized_height_px == ch);
        /* The shorter side is the exact product, rounded up: one at most too many, and
         * a double's last bit. */
        double error = (uint64_t)cw * h < (uint64_t)ch * w
                           ? (double)g.resized_height_px - (double)h * cw / w
                           : (double)g.resized_width_px - (double)w * ch / h;
        assert_true(error > -1e-6 && error < 1 + 1e-6);
        uint32_t left = r.pad_top_left ? 0 : (cw - g.resized_width_px) / 2;
        uint32_t top = r.pad_top_left ? 0 : (ch - g.resized_height_px) / 2;
        assert_true(g.offset_x_px == left && g.offset_y_px == top);
    }
    r.fit = BLM_FIT_STRETCH;
    bluelm_tile_grid g = test_choose(&r, 500, 102, 256);
    assert_true(g.resized_width_px == 768 && g.resized_height_px == 384);
    assert_true(g.offset_x_px == 0 && g.offset_y_px == 0);
}

static void the_cap_leaves_grids_out_down_to_one_tile(void **state)
{
    (void)state;
    blm_tile_rule r = test_rule(BLUELM_TILES_RELAXED);
    bluelm_error err;
    bluelm_tile_grid g;
    for (uint32_t cap = 1; cap <= 20; cap++)
        assert_true(test_choose(&r, 4032, 3024, cap).tiles <= cap);
    assert_int_equal(test_choose(&r, 4032, 3024, 12).tiles, 10); /* 3:3 and the thumbnail */
    r.thumbnail_single = 1;
    g = test_choose(&r, 100, 100, 1);
    assert_true(g.tiles == 1 && g.thumbnail == 0);
    g = test_choose(&r, 100, 100, 2);
    assert_true(g.tiles == 2 && g.thumbnail == 1);
    r.max_tiles = 5;
    assert_int_equal(test_choose(&r, 768, 1536, 256).tiles, 3); /* 1:2 */
    assert_int_equal(test_most(&r), 5);
    assert_int_equal(blm_tile_choose(&r, 768, 1536, 0, &g, &err), BLUELM_E_CONTEXT);
    assert_true(err.need == 196 && err.have == 0);
    assert_int_equal(blm_tile_choose(&r, 768, 1536, 195, &g, &err), BLUELM_E_CONTEXT);
    assert_int_equal(blm_tile_choose(&r, 0, 9, 9, &g, &err), BLUELM_E_ARG);
    assert_int_equal(blm_tile_choose(&r, 9, 65536, 9, &g, &err), BLUELM_E_ARG);
    assert_true(err.have == 65536 && err.need == 65535);
    assert_int_equal(blm_tile_choose(&r, 65536, 9, 9, &g, NULL), BLUELM_E_ARG);
    r.tokens_per_tile = UINT32_MAX;
    assert_int_equal(blm_tile_choose(&r, 9, 9, 9, &g, &err), BLUELM_E_CONTEXT);
    assert_true(err.need == UINT32_MAX && err.have == 9);
}

static void a_grid_cut_down_by_the_room_says_so(void **state)
{
    (void)state;
    blm_tile_rule r = test_rule(BLUELM_TILES_RELAXED);
    assert_int_equal(test_choose(&r, 768, 1536, 9).reduced, 0); /* 2:4 and the thumbnail */
    bluelm_tile_grid g = test_choose(&r, 768, 1536, 8);
    assert_true(g.reduced == 1 && g.tiles <= 8);
    assert_int_equal(test_choose(&r, 768, 1536, 1).reduced, 1);
    assert_int_equal(test_choose(&r, 380, 393, 1).reduced, 0); /* a tile is all it wants */
    r.max_tokens = 8 * 196;                                    /* the rule's own cap     */
    g = test_choose(&r, 768, 1536, 256);
    assert_true(g.reduced == 0 && g.tiles <= 8);
    assert_int_equal(test_choose(&r, 768, 1536, 2).reduced, 1);
}

/* ---- Pictures of their own size ---------------------------------------------------------- */

static blm_tile_rule test_dynamic(void)
{
    test_file f;
    blm_tile_rule r;
    test_begin(&f, "qwen3vl_merger", 768);
    test_key_u32(&f, "clip.vision.patch_size", 16);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLM_TILES_DYNAMIC && r.align_px == 32 && r.ratio_limit == 200);
    assert_true(r.min_pixels == 65536 && r.max_pixels == 16777216);
    return r;
}

static void a_dynamic_picture_shrinks_into_any_room(void **state)
{
    (void)state;
    srand((unsigned)tiny_seed((uint64_t)time(NULL)));
    blm_tile_rule r = test_dynamic();
    for (int i = 0; i < 100000; i++) {
        uint32_t w = (uint32_t)test_side(), h = (uint32_t)test_side();
        uint32_t room = 1 + (uint32_t)rand() % (i & 1 ? 20000 : 100);
        bluelm_tile_grid g, all;
        r.ratio_limit = i & 2 ? 0 : 200;
        r.raise_sides = i & 4 ? 1 : 0;
        r.max_own_tokens = i & 8 ? 300 + (uint32_t)rand() % 20000 : 0;
        if (blm_tile_choose(&r, w, h, UINT32_MAX, &all, NULL) < 0) continue;
        assert_int_equal(blm_tile_choose(&r, w, h, room, &g, NULL), 1);
        assert_true(g.tokens >= 1 && g.tokens <= room);
        assert_true(g.tile_width_px % 32 == 0 && g.tile_height_px % 32 == 0);
        assert_int_equal(g.tokens, g.tile_width_px / 32 * (g.tile_height_px / 32));
        if (all.tokens > room) assert_int_equal(g.reduced, 1);
        if (!r.max_own_tokens) assert_int_equal(g.reduced, all.tokens > room);
        if (!g.reduced) assert_memory_equal(&g, &all, sizeof g);
        /* Where a side is not a token already, half of the room is used at least. */
        uint32_t longer = BLM_MAX(g.tile_width_px, g.tile_height_px);
        if (r.max_own_tokens) room = BLM_MIN(room, r.max_own_tokens);
        if (g.reduced && g.tile_width_px > 64 && g.tile_height_px > 64 &&
            longer < BLM_DYNAMIC_PX_LIMIT)
            if (2 * g.tokens < room)
                fail_msg("%ux%u: %ux%u px in room for %u tokens", w, h, g.tile_width_px,
                         g.tile_height_px, room);
    }
    bluelm_tile_grid g;
    bluelm_error err;
    /* Sides far apart: never more than other pictures get. */
    r.ratio_limit = 0, r.raise_sides = 0, r.max_pixels = 262144, r.max_own_tokens = 256;
    assert_int_equal(blm_tile_choose(&r, 2048, 1, UINT32_MAX, &g, &err), 1);
    assert_true(g.tokens == 256 && g.tile_height_px == 32 && !g.reduced);
    r.ratio_limit = 200;
    assert_int_equal(blm_tile_choose(&r, 201, 1, 99, &g, &err), BLUELM_E_IMAGE);
    assert_true(err.need == 200 && err.have == 201);
    assert_int_equal(blm_tile_choose(&r, 200, 1, 999, &g, &err), 1);
    assert_int_equal(blm_tile_choose(&r, 200, 1, 0, &g, &err), BLUELM_E_CONTEXT);
}

/* Qwen2-VL's rule in plain doubles with the C library's square root. */
static void test_smart_resize(double w, double h, double f, double least, double most,
                              double out[2])
{
    volatile double beta, side;
    out[0] = nearbyint(w / f) * f;
    out[1] = nearbyint(h / f) * f;
    if (out[0] * out[1] > most) {
        beta = sqrt(w * h / most);
        side = w / beta, out[0] = floor(side / f) * f;
        side = h / beta, out[1] = floor(side / f) * f;
    } else if (out[0] * out[1] < least) {
        beta = sqrt(least / (w * h));
        side = w * beta, out[0] = ceil(side / f) * f;
        side = h * beta, out[1] = ceil(side / f) * f;
    }
    for (int i = 0; i < 2; i++)
        if (out[i] < f) out[i] = f;
}

static void dynamic_sizes_agree_with_a_rewrite_to_the_last_bit_of_a_root(void **state)
{
    (void)state;
    srand((unsigned)tiny_seed((uint64_t)time(NULL)));
    blm_tile_rule r = test_dynamic();
    for (int i = 0; i < 200000; i++) {
        /* Sides in simple ratios come to whole tokens, where the last bit counts. */
        uint32_t unit = 1 + (uint32_t)rand() % 4000;
        uint32_t w = i & 1 ? unit : 1 + (uint32_t)rand() % 8000;
        uint32_t h = i & 1 ? unit * (1 + (uint32_t)rand() % 4) : 1 + (uint32_t)rand() % 8000;
        uint32_t side = 1 + (uint32_t)rand() % 64;
        double want[2];
        bluelm_tile_grid g;
        r.align_px = i & 2 ? 28 : 32;
        r.max_pixels = side * side * r.align_px * r.align_px;
        r.min_pixels = r.max_pixels / (1 + (uint32_t)rand() % 64);
        r.max_own_tokens = 0;
        if (blm_tile_choose(&r, w, h, UINT32_MAX, &g, NULL) < 0) continue;
        test_smart_resize(w, h, r.align_px, r.min_pixels, r.max_pixels, want);
        if (want[0] > 16000 || want[1] > 16000) continue;
        if (g.tile_width_px != want[0] || g.tile_height_px != want[1])
            fail_msg("%ux%u, %u px: %ux%u, not %gx%g", w, h, r.max_pixels, g.tile_width_px,
                     g.tile_height_px, want[0], want[1]);
    }
}

/* ---- Bounds ------------------------------------------------------------------------------- */

static void test_bounded(const blm_tile_rule *r, uint32_t w, uint32_t h, uint32_t room)
{
    bluelm_tile_grid g;
    blm_tile_most most;
    blm_tile_bounds(r, &most);
    if (blm_tile_choose(r, w, h, room, &g, NULL) < 0) return;
    uint64_t pixels = (uint64_t)g.columns * g.tile_width_px * g.rows * g.tile_height_px +
                      (uint64_t)g.thumbnail_width_px * g.thumbnail_height_px;
    uint32_t sides[] = {g.columns * g.tile_width_px,
                        g.rows * g.tile_height_px,
                        g.thumbnail_width_px,
                        g.thumbnail_height_px,
                        0,
                        0};
    if (r->rule == BLM_TILES_IDEFICS3) blm_tile_edge_step(r, w, h, &g, sides + 4, sides + 5);
    assert_true(g.tile_tokens <= most.tile_tokens && g.thumbnail_tokens <= most.tile_tokens);
    if (g.tiles > most.tiles || g.tokens > most.tokens || pixels > most.pixels)
        fail_msg("rule %u, %ux%u, room %u: %u tiles, %u tokens, %llu px above %u, %u, %llu",
                 r->rule, w, h, room, g.tiles, g.tokens, (unsigned long long)pixels, most.tiles,
                 most.tokens, (unsigned long long)most.pixels);
    for (int i = 0; i < 6; i++)
        if (sides[i] > most.side_px)
            fail_msg("rule %u, %ux%u, room %u: side %u above %u", r->rule, w, h, room, sides[i],
                     most.side_px);
}

/* Pixtral's processor, as its authors write it: the longer side to the edge if it is above, cut
 * to whole pixels, then up to whole tokens. */
static uint32_t test_edge_side(uint32_t side, uint32_t longer, uint32_t edge, uint32_t align)
{
    double ratio = (double)longer / edge;
    if (ratio > 1) side = (uint32_t)floor((double)side / ratio);
    return side ? ((side - 1) / align + 1) * align : align;
}

static void a_longest_edge_shrinks_and_never_enlarges(void **state)
{
    (void)state;
    static const struct {
        uint32_t image_px, merge, own_px, w, h, out_w, out_h;
    } cases[] = {
        {1540, 2, 0, 640, 480, 644, 504},       {1540, 2, 0, 1540, 1540, 1540, 1540},
        {1540, 2, 0, 4000, 3000, 1540, 1176},   {1540, 2, 0, 1, 1, 28, 28},
        {1540, 2, 0, 5000, 1, 1540, 28},        {1024, 0, 0, 2048, 1000, 1036, 504},
        {1540, 2, 1024, 4000, 3000, 1036, 784},
    };
    srand((unsigned)tiny_seed((uint64_t)time(NULL)));
    for (size_t i = 0; i < BLM_COUNT_OF(cases); i++) {
        uint32_t align = 14 * (cases[i].merge ? cases[i].merge : 1);
        uint32_t edge = cases[i].own_px ? cases[i].own_px : cases[i].image_px;
        test_file f;
        blm_tile_rule r;
        bluelm_tile_grid g;
        test_begin(&f, i % 2 ? "lightonocr" : "pixtral", cases[i].image_px);
        test_key_u32(&f, "clip.vision.patch_size", 14);
        if (cases[i].merge) test_key_u32(&f, "clip.vision.spatial_merge_size", cases[i].merge);
        if (cases[i].own_px)
            test_key_u32(&f, "clip.vision.preproc_image_size", cases[i].own_px);
        assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
        assert_true(r.rule == BLM_TILES_DYNAMIC && r.align_px == align);
        assert_true(r.longest_edge_px == edge && r.tile_px == 16 * align);
        assert_int_equal(blm_tile_choose(&r, cases[i].w, cases[i].h, UINT32_MAX, &g, NULL), 1);
        assert_int_equal(g.tile_width_px, cases[i].out_w);
        assert_int_equal(g.tile_height_px, cases[i].out_h);
        assert_int_equal(g.tokens, cases[i].out_w / align * (cases[i].out_h / align));
        for (int k = 0; k < 20000; k++) {
            uint32_t w = (uint32_t)test_side(), h = (uint32_t)test_side();
            uint32_t longer = BLM_MAX(w, h);
            assert_int_equal(blm_tile_choose(&r, w, h, UINT32_MAX, &g, NULL), 1);
            if (g.tile_width_px != test_edge_side(w, longer, edge, align) ||
                g.tile_height_px != test_edge_side(h, longer, edge, align))
                fail_msg("%ux%u: %ux%u", w, h, g.tile_width_px, g.tile_height_px);
        }
    }
}

/* Gemma 4's processor, as its authors write it: to as many pixels as 280 tokens have, both sides
 * cut to whole tokens; of a side less than a token the other one follows. */
static void test_filled(uint32_t w, uint32_t h, uint32_t out[2])
{
    double factor = sqrt(280.0 * 48 * 48 / ((double)w * h));
    out[0] = (uint32_t)floor(factor * w / 48) * 48;
    out[1] = (uint32_t)floor(factor * h / 48) * 48;
    if (out[1] == 0) {
        out[1] = 48;
        out[0] = BLM_MIN(w / h, 280) * 48;
    } else if (out[0] == 0) {
        out[0] = 48;
        out[1] = BLM_MIN(h / w, 280) * 48;
    }
}

static void a_budget_of_tokens_is_filled(void **state)
{
    (void)state;
    static const uint32_t cases[][4] = {
        {100, 100, 768, 768},   {1024, 768, 912, 672}, {4000, 3000, 912, 672},
        {1536, 768, 1104, 528}, {20, 1000, 96, 5664},  {1000, 3, 13440, 48},
        {1, 65535, 48, 13440},  {833, 833, 768, 768},  {3008, 48, 6336, 96},
    };
    test_file f;
    blm_tile_rule r;
    bluelm_tile_grid g;
    srand((unsigned)tiny_seed((uint64_t)time(NULL)));
    test_begin(&f, "gemma4v", 224);
    test_key_u32(&f, "clip.vision.patch_size", 16);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLM_TILES_DYNAMIC && r.fit == BLM_FIT_STRETCH && r.tile_px == 768);
    assert_true(r.align_px == 48 && r.filter == BLM_FILTER_BICUBIC);
    for (size_t i = 0; i < BLM_COUNT_OF(cases); i++) {
        assert_int_equal(test_choose(&r, cases[i][0], cases[i][1], UINT32_MAX).tile_width_px,
                         cases[i][2]);
        assert_int_equal(test_choose(&r, cases[i][0], cases[i][1], UINT32_MAX).tile_height_px,
                         cases[i][3]);
    }
    for (int k = 0; k < 20000; k++) {
        uint32_t w = (uint32_t)test_side(), h = (uint32_t)test_side(), want[2];
        test_filled(w, h, want);
        assert_int_equal(blm_tile_choose(&r, w, h, UINT32_MAX, &g, NULL), 1);
        if (g.tile_width_px != want[0] || g.tile_height_px != want[1])
            fail_msg("%ux%u: %ux%u", w, h, g.tile_width_px, g.tile_height_px);
    }
    assert_int_equal(blm_tile_choose(&r, 1024, 768, 100, &g, NULL), 1);
    assert_true(g.tokens <= 100 && g.reduced);
}

static void no_picture_exceeds_the_bounds(void **state)
{
    (void)state;
    static const char *const projectors[] = {
        "lfm2",   "idefics3", "internvl", "qwen2vl_merger", "qwen3vl_merger",
        "gemma3", "mlp",      "pixtral",  "gemma4v"};
    const int kinds = (int)BLM_COUNT_OF(projectors);
    srand((unsigned)tiny_seed((uint64_t)time(NULL)));
    for (int i = 0; i < 60000; i++) {
        test_file f;
        blm_tile_rule r;
        bluelm_config config = {0};
        if (i % 3 == 0) config.tile_rule = (uint32_t)rand() % 5;
        if (i % 4 == 0) config.max_tiles = 1 + (uint32_t)rand() % 20;
        test_begin(&f, projectors[i % kinds],
                   i / kinds % 2 ? 256 : 16 * (1 + (uint32_t)rand() % 64));
        test_key_u32(&f, "clip.vision.patch_size", 16);
        if (i % 5 == 0) test_key_u32(&f, "clip.vision.image_max_pixels", 4096u << rand() % 12);
        assert_int_equal(test_read(&f, &config, &r, NULL), 0);
        if (i % 6 == 0) r.max_tokens = 200 + (uint32_t)rand() % 4000;
        for (int k = 0; k < 8; k++)
            test_bounded(&r, (uint32_t)test_side(), (uint32_t)test_side(),
                         k & 1 ? UINT32_MAX : 196 + (uint32_t)rand() % 5000);
    }
}

/* ---- What the file says -------------------------------------------------------------------- */

static void projectors_have_their_own_rules(void **state)
{
    (void)state;
    static const int32_t points[] = {336, 672, 672, 336, 672, 672, 1008, 336, 336, 1008};
    test_file f;
    blm_tile_rule r;
    test_begin(&f, "lfm2", 384);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_int_equal(r.rule, BLUELM_TILES_RELAXED);
    assert_true(r.alpha_ppm == 100000 && r.max_columns == 4 && r.max_rows == 4);
    assert_true(r.tile_px == 384 && r.tokens_per_tile == 196 && test_most(&r) == 17);
    assert_true(r.thumbnail == BLM_THUMBNAIL_FIRST && !r.thumbnail_single && !r.pad_color);
    test_begin(&f, "mlp", 336);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_int_equal(r.rule, BLUELM_TILES_SINGLE);
    assert_int_equal(test_most(&r), 1);
    test_key_pinpoints(&f, points, 10);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_int_equal(r.rule, BLUELM_TILES_LLAVA_NEXT);
    assert_int_equal(test_most(&r), 5);
    test_expect(&r, 2000, 500, 3, 1); /* width before height: 1008, 336 */
    test_expect(&r, 500, 2000, 1, 3);
    test_expect(&r, 1000, 1000, 2, 2);
    assert_int_equal(test_choose(&r, 1000, 1000, 2).tiles, 1);
    test_begin(&f, "idefics3", 384);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLM_TILES_IDEFICS3 && r.longest_edge_px == 1536);
    test_begin(&f, "idefics3", 512);
    test_key_u32(&f, "clip.vision.preproc_image_size", 1024);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_int_equal(r.longest_edge_px, 1024);
    test_begin(&f, "idefics3", 512);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLM_TILES_IDEFICS3 && r.thumbnail == BLM_THUMBNAIL_LAST);
    assert_true(r.longest_edge_px == 2048 && r.filter == BLM_FILTER_LANCZOS);
    assert_int_equal(test_most(&r), 17);
    test_expect(&r, 640, 480, 4, 3);
    test_expect(&r, 100, 1000, 1, 4);
    test_expect(&r, 513, 512, 4, 4);
    assert_int_equal(test_choose(&r, 640, 480, 8).tiles, 5); /* longest edge 1024: 2:2 */
    assert_int_equal(test_choose(&r, 640, 480, 4).tiles, 1); /* 512: no thumbnail      */
}

static void families_have_their_authors_preprocessing(void **state)
{
    (void)state;
    static const float mean[] = {0.48145466f, 0.4578275f, 0.40821073f};
    test_file f;
    blm_tile_rule r;
    test_begin(&f, "mlp", 336);
    test_key(&f, "clip.vision.image_mean", BLM_GGUF_ARRAY);
    test_put_int(&f, BLM_GGUF_F32, 4);
    test_put_int(&f, 3, 8);
    test_put(&f, mean, sizeof mean);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLUELM_TILES_SINGLE && r.fit == BLM_FIT_PAD_SQUARE);
    assert_int_equal(r.pad_color, 122 << 16 | 116 << 8 | 104);
    test_begin(&f, "gemma3", 896);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLUELM_TILES_SINGLE && r.fit == BLM_FIT_STRETCH);
    assert_int_equal(r.filter, BLM_FILTER_BILINEAR);
    test_begin(&f, "mlp", 378); /* Moondream's */
    test_key_u32(&f, "clip.vision.patch_size", 14);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLUELM_TILES_SINGLE && r.fit == BLM_FIT_STRETCH);
    assert_int_equal(r.filter, BLM_FILTER_LANCZOS);
    test_begin(&f, "paddleocr", 1680); /* the root of the most pixels */
    test_key_u32(&f, "clip.vision.patch_size", 14);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLM_TILES_DYNAMIC && r.align_px == 28 && r.tile_px == 448);
    assert_true(r.min_pixels == 147384 && r.max_pixels == 2822400 && !r.longest_edge_px);
    test_begin(&f, "dots_ocr", 0); /* any */
    test_key_u32(&f, "clip.vision.patch_size", 14);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLM_TILES_DYNAMIC && r.align_px == 28 && r.tile_px == 448);
    assert_int_equal(r.max_pixels, 11289600);
    test_begin(&f, "pixtral", 0);
    test_key_u32(&f, "clip.vision.patch_size", 14);
    assert_true(test_read(&f, NULL, &r, NULL) < 0);
    test_begin(&f, "janus_pro", 384); /* 600 * 384 / 1023 is 225.2, 3 * 384 / 1000 is 1.2 */
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLUELM_TILES_SINGLE && r.fit == BLM_FIT_PAD_DOWN);
    bluelm_tile_grid g = test_choose(&r, 1023, 600, UINT32_MAX);
    assert_true(g.resized_width_px == 384 && g.resized_height_px == 225);
    assert_true(g.offset_x_px == 0 && g.offset_y_px == 79);
    g = test_choose(&r, 3, 1000, UINT32_MAX);
    assert_true(g.resized_width_px == 14 && g.resized_height_px == 384 && g.offset_x_px == 185);
    test_begin(&f, "internvl", 448);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLUELM_TILES_INTERNVL && r.max_local_tiles == 12);
    assert_true(test_most(&r) == 13 && r.fit == BLM_FIT_STRETCH);
    test_key_u32(&f, "clip.vision.preproc_min_tiles", 2);
    test_key_u32(&f, "clip.vision.preproc_max_tiles", 6);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.min_local_tiles == 2 && r.max_local_tiles == 6 && r.max_columns == 6);
}

/* An lfm2 projector over other sizes has square tiles. */
static void lfm2_vl_has_a_rule_of_its_own(void **state)
{
    (void)state;
    test_file f;
    blm_tile_rule r;
    test_begin(&f, "lfm2", 256);
    test_key_u32(&f, "clip.vision.patch_size", 16);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLM_TILES_LFM2 && r.tile_px == 512 && r.tokens_per_tile == 256);
    assert_true(r.align_px == 32 && r.min_pixels == 65536 && r.max_pixels == 262144);
    test_key_text(&f, "bluelm.tiling.rule", "relaxed");
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLUELM_TILES_RELAXED && r.tile_px == 256);
}

static void a_file_of_two_towers_has_the_rule_of_the_one_that_sees(void **state)
{
    (void)state;
    test_file f;
    blm_tile_rule r;
    test_begin(&f, NULL, 0);
    test_key_text(&f, "clip.vision.projector_type", "qwen2.5vl_merger");
    test_key_u32(&f, "clip.vision.image_size", 560);
    test_key_u32(&f, "clip.vision.patch_size", 14);
    test_key_u32(&f, "clip.vision.image_max_pixels", 802816);
    test_key_u32(&f, "clip.vision.image_min_pixels", 9408);
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLM_TILES_DYNAMIC && r.align_px == 28 && r.max_pixels == 802816);
    assert_int_equal(r.min_pixels, 9408);
}

/* The default, a file's float and a configuration's are one number: 10 pixels and the
 * margin of 1 tie in all of them. */
static void alpha_is_the_same_number_wherever_it_comes_from(void **state)
{
    (void)state;
    test_file f;
    blm_tile_rule r[3];
    bluelm_config config = {0};
    test_begin(&f, "lfm2", 384);
    assert_int_equal(test_read(&f, NULL, &r[0], NULL), 0);
    config.tile_alpha = 0.1f;
    assert_int_equal(test_read(&f, &config, &r[1], NULL), 0);
    test_key_f32(&f, "bluelm.tiling.alpha", 0.1f);
    assert_int_equal(test_read(&f, NULL, &r[2], NULL), 0);
    assert_true(r[0].alpha_ppm == r[1].alpha_ppm && r[1].alpha_ppm == r[2].alpha_ppm);
}

static void keys_override_defaults_and_the_config_overrides_keys(void **state)
{
    (void)state;
    test_file f;
    blm_tile_rule r;
    test_begin(&f, "lfm2", 60);
    test_key_text(&f, "bluelm.tiling.rule", "internvl");
    test_key_f32(&f, "bluelm.tiling.alpha", 0.25f);
    test_key_u32(&f, "bluelm.tiling.max_columns", 3);
    test_key_u32(&f, "bluelm.tiling.max_rows", 2);
    test_key_u32(&f, "bluelm.tiling.max_local_tiles", 5);
    test_key_text(&f, "bluelm.tiling.thumbnail", "first");
    test_key_bool(&f, "bluelm.tiling.thumbnail_single", 1);
    test_key_text(&f, "bluelm.tiling.fit", "pad");
    test_key_u32(&f, "bluelm.tiling.pad_color", 0x123456);
    test_key_text(&f, "bluelm.tiling.pad_placement", "top-left");
    test_key_text(&f, "bluelm.tiling.resize_filter", "bilinear");
    assert_int_equal(test_read(&f, NULL, &r, NULL), 0);
    assert_true(r.rule == BLUELM_TILES_INTERNVL && r.alpha_ppm == 250000 && r.max_columns == 3);
    assert_true(r.max_rows == 2 && r.max_local_tiles == 5 && r.fit == BLM_FIT_PAD);
    assert_true(r.thumbnail == BLM_THUMBNAIL_FIRST && r.thumbnail_single == 1);
    assert_true(r.pad_color == 0x123456 && r.pad_top_left == 1);
    assert_true(r.filter == BLM_FILTER_BILINEAR && test_most(&r) == 6);
    bluelm_config config = {0};
    config.tile_rule = BLUELM_TILES_RELAXED;
    config.tile_alpha = 0.5f;
    config.max_tiles = 4;
    config.background_rgb = 0x1020304;
    assert_int_equal(test_read(&f, &config, &r, NULL), 0);
    assert_int_equal(r.background, 0x1020304);
    assert_true(r.rule == BLUELM_TILES_RELAXED && r.alpha_ppm == 500000 && r.max_tiles == 4);
    assert_int_equal(test_most(&r), 4);
    bluelm_error err;
    config.tile_rule = 99;
    assert_int_equal(test_read(&f, &config, &r, &err), BLUELM_E_ARG);
    config.tile_rule = 0, config.tile_alpha = 1.5f;
    assert_int_equal(test_read(&f, &config, &r, &err), BLUELM_E_ARG);
}

/* One wrong key in an otherwise sound file: the code, and the key in the subject. */
static void test_wrong(test_file *f, int code, const char *subject)
{
    blm_tile_rule r;
    bluelm_error err = {0};
    assert_int_equal(test_read(f, NULL, &r, &err), code);
    if (!strstr(err.subject, subject)) fail_msg("'%s' lacks '%s'", err.subject, subject);
    test_begin(f, "lfm2", 384);
}

static void wrong_words_name_their_key(void **state)
{
    (void)state;
    static const char *const words[] = {"rule", "thumbnail", "fit", "pad_placement",
                                        "resize_filter"};
    test_file f;
    test_begin(&f, "lfm2", 384);
    for (size_t i = 0; i < BLM_COUNT_OF(words); i++) {
        char key[64], subject[80];
        snprintf(key, sizeof key, "bluelm.tiling.%s", words[i]);
        snprintf(subject, sizeof subject, "%s: odd?", key);
        test_key_text(&f, key, "odd\x01");
        test_wrong(&f, BLUELM_E_UNSUPPORTED, subject);
        test_key_u32(&f, key, 1);
        test_wrong(&f, BLUELM_E_FORMAT, key);
    }
    test_key_text(&f, "bluelm.tiling.resize_filter",
                  "a very long name of a filter that does not fit into the subject");
    test_wrong(&f, BLUELM_E_UNSUPPORTED, "bluelm.tiling.resize_filter: a very");
}

static void wrong_numbers_name_their_key(void **state)
{
    (void)state;
    static const struct {
        const char *rule, *key; /* rule: NULL, the projector's own */
        uint32_t value;
        int code;
    } cases[] = {
        {NULL, "bluelm.tiling.max_columns", 17, BLUELM_E_UNSUPPORTED},
        {NULL, "bluelm.tiling.max_rows", 0, BLUELM_E_UNSUPPORTED},
        {NULL, "bluelm.tiling.max_local_tiles", 257, BLUELM_E_UNSUPPORTED},
        {NULL, "bluelm.tiling.pad_color", 0x1000000, BLUELM_E_UNSUPPORTED},
        {"idefics3", "clip.vision.preproc_image_size", 383, BLUELM_E_FORMAT},
        {"lfm2", "clip.vision.patch_size", 12, BLUELM_E_UNSUPPORTED},
        {"internvl", "clip.vision.preproc_min_tiles", 13, BLUELM_E_FORMAT},
    };
    static const int32_t odd[] = {384, 384, 384}, off[] = {384, 385}, huge[] = {384 * 17, 384},
                         minus[] = {384, -384};
    test_file f;
    test_begin(&f, "lfm2", 0);
    test_wrong(&f, BLUELM_E_FORMAT, "clip.vision.image_size");
    test_begin(&f, "lfm2", 5000);
    test_wrong(&f, BLUELM_E_UNSUPPORTED, "clip.vision.image_size");
    for (size_t i = 0; i < BLM_COUNT_OF(cases); i++) {
        if (cases[i].rule) test_key_text(&f, "bluelm.tiling.rule", cases[i].rule);
        test_key_u32(&f, cases[i].key, cases[i].value);
        test_wrong(&f, cases[i].code, cases[i].key);
    }
    test_key_f32(&f, "bluelm.tiling.alpha", 1.0f);
    test_wrong(&f, BLUELM_E_FORMAT, "alpha");
    test_key_text(&f, "bluelm.tiling.rule", "dynamic");
    test_wrong(&f, BLUELM_E_FORMAT, "patch_size");
    test_key_text(&f, "bluelm.tiling.rule", "dynamic");
    test_key_u32(&f, "clip.vision.patch_size", 14);
    test_key_u32(&f, "clip.vision.image_max_pixels", 783);
    test_wrong(&f, BLUELM_E_FORMAT, "image_max_pixels");
    test_key_pinpoints(&f, odd, 3);
    test_wrong(&f, BLUELM_E_FORMAT, "image_grid_pinpoints");
    test_key_pinpoints(&f, off, 2);
    test_wrong(&f, BLUELM_E_UNSUPPORTED, "image_grid_pinpoints");
    test_key_pinpoints(&f, huge, 2);
    test_wrong(&f, BLUELM_E_UNSUPPORTED, "image_grid_pinpoints");
    test_key_pinpoints(&f, minus, 2);
    test_wrong(&f, BLUELM_E_UNSUPPORTED, "image_grid_pinpoints");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_pictures_get_their_grids),
        cmocka_unit_test(photograph_gets_twelve_tiles_or_one),
        cmocka_unit_test(random_sizes_agree_with_a_rewrite),
        cmocka_unit_test(the_picture_keeps_its_ratio_inside_the_canvas),
        cmocka_unit_test(the_cap_leaves_grids_out_down_to_one_tile),
        cmocka_unit_test(a_grid_cut_down_by_the_room_says_so),
        cmocka_unit_test(a_dynamic_picture_shrinks_into_any_room),
        cmocka_unit_test(dynamic_sizes_agree_with_a_rewrite_to_the_last_bit_of_a_root),
        cmocka_unit_test(a_longest_edge_shrinks_and_never_enlarges),
        cmocka_unit_test(a_budget_of_tokens_is_filled),
        cmocka_unit_test(no_picture_exceeds_the_bounds),
        cmocka_unit_test(projectors_have_their_own_rules),
        cmocka_unit_test(families_have_their_authors_preprocessing),
        cmocka_unit_test(lfm2_vl_has_a_rule_of_its_own),
        cmocka_unit_test(a_file_of_two_towers_has_the_rule_of_the_one_that_sees),
        cmocka_unit_test(alpha_is_the_same_number_wherever_it_comes_from),
        cmocka_unit_test(keys_override_defaults_and_the_config_overrides_keys),
        cmocka_unit_test(wrong_words_name_their_key),
        cmocka_unit_test(wrong_numbers_name_their_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
