/* The resizer equals Pillow, whatever rectangle is asked for, in the scratch it states. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../tiler/resize.h"

typedef struct test_vector {
    uint32_t width, height, to_width, to_height, filter, kind, seed;
    int whole; /* where the whole result lies in test_whole, or -1 */
    uint64_t hash;
} test_vector;

#ifdef TEST_RESIZE_VECTORS /* a larger set, made by hand */
#include TEST_RESIZE_VECTORS
#else
#include "data/resize_vectors.h"
#endif

static uint8_t *test_take(size_t bytes)
{
    uint8_t *p = (uint8_t *)malloc(bytes ? bytes : 1);
    assert_non_null(p);
    return p;
}

/* The picture of tools/resize_vectors.py, with some bytes between rows. */
static bluelm_image test_picture(uint32_t width, uint32_t height, uint32_t kind, uint32_t seed,
                                 size_t gap)
{
    bluelm_image im = {0};
    im.width_px = width, im.height_px = height;
    im.stride_bytes = (size_t)width * 3 + gap;
    uint8_t *rgb = test_take(im.stride_bytes * height);
    uint32_t state = seed;
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < im.stride_bytes; x++) {
            rgb[y * im.stride_bytes + x] = 0xA5;
            if (x >= (size_t)width * 3) continue;
            state = state * 1664525u + 1013904223u;
            uint8_t value = (uint8_t)(state >> 24);
            rgb[y * im.stride_bytes + x] = kind ? (value >= 128 ? 255 : 0) : value;
        }
    }
    im.rgb = rgb;
    return im;
}

static uint64_t test_hash(const uint8_t *p, size_t bytes)
{
    uint64_t h = 0xCBF29CE484222325ULL;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 0x100000001B3ULL;
    return h;
}

static blm_resize_job test_job(const bluelm_image *im, uint32_t to_width, uint32_t to_height,
                               uint32_t filter, uint8_t *out)
{
    blm_resize_job job = {im, to_width, to_height, filter, 0,
                          0,  to_width, to_height, out,    (size_t)to_width * 3};
    return job;
}

/* Resizes in scratch of exactly `bytes`, so that a sanitizer sees the edge. */
static int test_run(const blm_resize_job *job, uint64_t bytes, bluelm_error *err)
{
    uint8_t *scratch = test_take((size_t)bytes);
    int status = blm_resize_rect(job, scratch, bytes, err);
    free(scratch);
    return status;
}

/* The scratch a whole picture needs: learnt from the error at nothing. */
static uint64_t test_need(const blm_resize_job *job)
{
    bluelm_error err;
    uint8_t none;
    assert_int_equal(blm_resize_rect(job, &none, 0, &err), BLUELM_E_BUDGET);
    assert_string_equal(err.subject, "resize scratch");
    return err.need;
}

static void every_result_equals_pillow(void **state)
{
    (void)state;
    for (size_t n = 0; n < BLM_COUNT_OF(test_vectors); n++) {
        const test_vector *v = &test_vectors[n];
        bluelm_image im = test_picture(v->width, v->height, v->kind, v->seed, n % 3);
        size_t bytes = (size_t)v->to_width * v->to_height * 3;
        uint8_t *out = test_take(bytes);
        blm_resize_job job = test_job(&im, v->to_width, v->to_height, v->filter, out);
        bluelm_error err;
        uint64_t need = test_need(&job);
        assert_int_equal(test_run(&job, need, &err), 0);
        if (test_hash(out, bytes) != v->hash)
            fail_msg("%ux%u to %ux%u, filter %u, kind %u", v->width, v->height, v->to_width,
                     v->to_height, v->filter, v->kind);
        if (v->whole >= 0) assert_memory_equal(out, test_whole + v->whole, bytes);
        assert_int_equal(test_run(&job, need - 1, &err), BLUELM_E_BUDGET);
        assert_true(err.need == need && err.have == need - 1);
        free(out);
        free((void *)(uintptr_t)im.rgb);
    }
    printf("%u results compared\n", (unsigned)BLM_COUNT_OF(test_vectors));
}

/* ---- Weights ------------------------------------------------------------------------ */

/* Every step goes through memory: nothing is fused, whatever the flags. */
static double test_sinc(double x)
{
    volatile double turned = x * 3.14159265358979323846;
    volatile double sine;
    if (x == 0.0) return 1.0;
    sine = sin(turned);
    return sine / turned;
}

static double test_filter(uint32_t filter, double x)
{
    volatile double a, b, third = x / 3;
    if (x < 0.0) x = -x;
    if (filter == BLM_FILTER_BILINEAR) return x < 1.0 ? 1.0 - x : 0.0;
    if (filter == BLM_FILTER_LANCZOS) {
        a = test_sinc(x), b = test_sinc(third);
        return x < 3.0 ? a * b : 0.0;
    }
    if (x < 1.0) {
        a = 1.5 * x, a = a - 2.5, a = a * x, a = a * x;
        return a + 1.0;
    }
    a = x - 5.0, a = a * x, a = a + 8.0, a = a * x, a = a - 4.0;
    return x < 2.0 ? a * -0.5 : 0.0;
}

/* The weights of one output pixel as Pillow computes them. */
static void test_weights(const blm_axis *a, uint32_t out_pixel)
{
    static const double radius[] = {2, 1, 3};
    volatile double scale = (double)a->in / (double)a->out, stretch = scale < 1 ? 1 : scale;
    volatile double support = radius[a->filter] * stretch, per = 1.0 / stretch;
    volatile double center = (out_pixel + 0.5) * scale, low = center - support,
                    high = center + support, sum = 0;
    static double raw[70000];
    low = low + 0.5, high = high + 0.5;
    uint32_t first = low < 0 ? 0 : (uint32_t)low, end = (uint32_t)high;
    if (end > a->in) end = a->in;
    for (uint32_t s = first; s < end; s++) {
        volatile double apart = (double)s - center;
        apart = apart + 0.5, apart = apart * per;
        raw[s - first] = test_filter(a->filter, apart);
        sum = sum + raw[s - first];
    }
    blm_window w;
    blm_axis_window(a, out_pixel, &w);
    assert_true(w.first == first && w.count == end - first);
    for (uint32_t s = first; s < end; s++) {
        volatile double weight = raw[s - first] / sum, fixed = weight * 4194304;
        int32_t want = (int32_t)(weight < 0 ? fixed - 0.5 : fixed + 0.5);
        if (blm_axis_weight(a, &w, s) != want)
            fail_msg("%u to %u, filter %u, pixel %u of %u: %d, not %d", a->in, a->out,
                     a->filter, s, out_pixel, blm_axis_weight(a, &w, s), want);
    }
}

static void every_weight_is_that_of_plain_doubles(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    printf("seed %u\n", seed);
    srand(seed);
    for (int n = 0; n < 4000; n++) {
        blm_axis a;
        uint32_t in = 1 + (uint32_t)rand() % (n & 1 ? 5000 : 60);
        uint32_t out = 1 + (uint32_t)rand() % (n & 2 ? 2000 : 60);
        blm_axis_set(&a, in, out, (uint32_t)n % 3);
        for (uint32_t k = 0; k < 12; k++)
            test_weights(&a, (uint32_t)rand() % out);
    }
}

/* ---- Line by line ----------------------------------------------------------------- */

/* A copy of a picture as it is stored when it is shown after a turn: pixels of a row or
 * rows run the other way, or rows are columns. */
static uint8_t *test_turned(const bluelm_image *im, int transposed, int backwards, int mirrored)
{
    size_t w = im->width_px, h = im->height_px;
    uint8_t *out = test_take(3 * w * h);
    for (size_t y = 0; y < h; y++) {
        for (size_t x = 0; x < w; x++) {
            size_t line = transposed ? x : y, px = transposed ? y : x;
            size_t lines = transposed ? w : h, pixels = transposed ? h : w;
            if (backwards) line = lines - 1 - line;
            if (mirrored) px = pixels - 1 - px;
            memcpy(out + 3 * (line * pixels + px), im->rgb + y * im->stride_bytes + 3 * x, 3);
        }
    }
    return out;
}

/* Resizes lines as they lie; mirrored ones are turned round, as their reader does. Scratch
 * has exactly the stated size, at an odd address. */
static void test_stream(const uint8_t *lines, const blm_resize_plan *plan, int mirrored,
                        uint8_t *out)
{
    size_t bytes = (size_t)blm_resizer_bytes(plan->line_px, plan->out_line_px, plan->transposed,
                                             plan->filter);
    uint8_t *scratch = test_take(bytes), *line = test_take(3 * (size_t)plan->line_px);
    blm_resizer z;
    uint32_t index, came = 0;
    size_t to_width = plan->transposed ? plan->out_lines : plan->out_line_px;
    blm_resizer_begin(&z, plan, scratch);
    for (uint32_t l = 0; l <= plan->lines; l++) {
        const uint8_t *got;
        while ((got = blm_resizer_pull(&z, &index)) != NULL) {
            came++;
            for (size_t i = 0; i < plan->out_line_px; i++)
                memcpy(out +
                           3 * (plan->transposed ? i * to_width + index : index * to_width + i),
                       got + 3 * i, 3);
        }
        if (l == plan->lines) break;
        for (size_t i = 0; i < plan->line_px; i++)
            memcpy(line + 3 * (mirrored ? plan->line_px - 1 - i : i),
                   lines + 3 * ((size_t)l * plan->line_px + i), 3);
        blm_resizer_push(&z, line);
    }
    assert_int_equal(came, plan->out_lines);
    free(line);
    free(scratch);
}

static void every_line_equals_pillow_however_the_picture_lies(void **state)
{
    (void)state;
    for (size_t n = 0; n < BLM_COUNT_OF(test_vectors); n++) {
        const test_vector *v = &test_vectors[n];
        bluelm_image im = test_picture(v->width, v->height, v->kind, v->seed, n % 3);
        size_t bytes = (size_t)v->to_width * v->to_height * 3;
        uint8_t *out = test_take(bytes);
        for (int turn = 0; turn < 8; turn++) {
            blm_resize_plan plan = {v->width,     v->height, v->to_width,
                                    v->to_height, v->filter, turn & 1,
                                    turn & 2,     0,         0};
            if (turn & 1)
                plan = (blm_resize_plan){v->height,   v->width,  v->to_height,
                                         v->to_width, v->filter, 1,
                                         turn & 2,    0,         0};
            uint8_t *lines = test_turned(&im, turn & 1, turn & 2, turn & 4);
            memset(out, 0x5A, bytes);
            test_stream(lines, &plan, turn & 4, out);
            if (test_hash(out, bytes) != v->hash)
                fail_msg("%ux%u to %ux%u, filter %u, turn %d", v->width, v->height, v->to_width,
                         v->to_height, v->filter, turn);
            free(lines);
        }
        free(out);
        free((void *)(uintptr_t)im.rgb);
    }
}

/* Padding that is resized with the picture, against a picture that has it. */
static void padding_to_a_square_is_as_if_it_were_there(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    printf("seed %u\n", seed);
    srand(seed);
    for (int n = 0; n < 400; n++) {
        uint32_t w = 1 + (uint32_t)rand() % 90, h = 1 + (uint32_t)rand() % 90;
        uint32_t side = BLM_MAX(w, h), to = 1 + (uint32_t)rand() % 60, filter = (uint32_t)n % 3;
        uint32_t left = (side - w) / 2, top = (side - h) / 2;
        int turn = rand() % 8;
        bluelm_image im = test_picture(w, h, (uint32_t)n & 1, (uint32_t)rand(), 0);
        uint8_t *square = test_take(3 * (size_t)side * side);
        uint8_t *want = test_take(3 * (size_t)to * to), *got = test_take(3 * (size_t)to * to);
        for (size_t i = 0; i < (size_t)side * side; i++) {
            static const uint8_t pad[3] = {10, 200, 30};
            size_t x = i % side, y = i / side;
            int inside = x >= left && x < left + w && y >= top && y < top + h;
            memcpy(square + 3 * i, inside ? im.rgb + 3 * ((y - top) * w + x - left) : pad, 3);
        }
        const blm_resize_plan whole = {side, side, to, to, filter, 0, 0, 0, 0};
        test_stream(square, &whole, 0, want);
        uint8_t *lines = test_turned(&im, turn & 1, turn & 2, turn & 4);
        const blm_resize_plan plan = {turn & 1 ? h : w, turn & 1 ? w : h, to,   to,      filter,
                                      turn & 1,         turn & 2,         side, 0x0AC81E};
        test_stream(lines, &plan, turn & 4, got);
        if (memcmp(got, want, 3 * (size_t)to * to) != 0)
            fail_msg("%ux%u to %u, filter %u, turn %d", w, h, to, filter, turn);
        free(lines);
        free(square);
        free(want);
        free(got);
        free((void *)(uintptr_t)im.rgb);
    }
}

/* Random rectangles in random scratch, byte by byte against the whole. */
static void rectangles_do_not_depend_on_the_cut(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    printf("seed %u\n", seed);
    srand(seed);
    for (int n = 0; n < 60; n++) {
        uint32_t sides[4];
        for (int i = 0; i < 4; i++)
            sides[i] = 1 + (uint32_t)rand() % 130;
        bluelm_image im = test_picture(sides[0], sides[1], (uint32_t)n & 1, (uint32_t)n, 0);
        uint8_t *all = test_take((size_t)sides[2] * sides[3] * 3);
        blm_resize_job job = test_job(&im, sides[2], sides[3], (uint32_t)n / 2 & 1, all);
        bluelm_error err;
        assert_int_equal(test_run(&job, test_need(&job) + 5000, &err), 0);
        for (int k = 0; k < 8; k++) {
            blm_resize_job part = job;
            part.x = (uint32_t)rand() % sides[2], part.y = (uint32_t)rand() % sides[3];
            part.width = 1 + (uint32_t)rand() % (sides[2] - part.x);
            part.height = 1 + (uint32_t)rand() % (sides[3] - part.y);
            part.out_stride_bytes = (size_t)part.width * 3 + (size_t)rand() % 4;
            part.out = test_take(part.out_stride_bytes * part.height);
            assert_int_equal(test_run(&part, test_need(&part) + (uint64_t)(rand() % 999), &err),
                             0);
            for (uint32_t y = 0; y < part.height; y++)
                assert_memory_equal(part.out + y * part.out_stride_bytes,
                                    all + ((size_t)(part.y + y) * sides[2] + part.x) * 3,
                                    (size_t)part.width * 3);
            free(part.out);
        }
        free(all);
        free((void *)(uintptr_t)im.rgb);
    }
}

static void stated_scratch_serves_the_largest_pictures(void **state)
{
    (void)state;
    static const uint32_t sides[] = {1, 2, 16, 56, 60, 64, 224, 336, 384, 512, 4096};
    for (size_t i = 0; i < BLM_COUNT_OF(sides); i++) {
        uint8_t pixel[3] = {1, 2, 3}, out[3];
        /* So many rows would not fit 32 bits. */
        uint32_t height = sizeof(size_t) < 8 ? 16384 : 65535;
        bluelm_image im = {pixel, 65535, height, 0, NULL, 0};
        blm_resize_job job = test_job(&im, sides[i], sides[i], BLM_FILTER_BICUBIC, out);
        assert_true(test_need(&job) <= blm_resize_scratch_bytes(sides[i]));
    }
    assert_true(blm_resize_scratch_bytes(384) < 110000);
}

static void unsound_arguments_are_refused(void **state)
{
    (void)state;
    bluelm_image im = test_picture(8, 8, 0, 1, 0);
    uint8_t out[8 * 8 * 3], scratch[8192];
    bluelm_error err;
    const blm_resize_job good = test_job(&im, 8, 4, 0, out);
    blm_resize_job job = good;
    assert_int_equal(blm_resize_rect(&job, scratch, sizeof scratch, &err), 0);
    job.x = 1;
    assert_int_equal(blm_resize_rect(&job, scratch, sizeof scratch, &err), BLUELM_E_ARG);
    job = good, job.y = UINT32_MAX;
    assert_int_equal(blm_resize_rect(&job, scratch, sizeof scratch, &err), BLUELM_E_ARG);
    job = good, job.full_width = job.width = 0;
    assert_int_equal(blm_resize_rect(&job, scratch, sizeof scratch, &err), BLUELM_E_ARG);
    bluelm_image bad = im;
    job = good, job.image = &bad;
    bad.stride_bytes = 23;
    assert_int_equal(blm_resize_rect(&job, scratch, sizeof scratch, &err), BLUELM_E_ARG);
    bad.stride_bytes = SIZE_MAX / 2;
    assert_int_equal(blm_resize_rect(&job, scratch, sizeof scratch, &err), BLUELM_E_ARG);
    bad = im, bad.height_px = 65536;
    assert_int_equal(blm_resize_rect(&job, scratch, sizeof scratch, &err), BLUELM_E_ARG);
    bad = im, bad.rgb = NULL;
    assert_int_equal(blm_resize_rect(&job, scratch, sizeof scratch, NULL), BLUELM_E_ARG);
    free((void *)(uintptr_t)im.rgb);
}

/* A rule and a grid of 3 x 2 tiles of 20 with the picture somewhere on the canvas. */
static void test_grid(blm_tile_rule *r, bluelm_tile_grid *g, uint32_t thumbnail)
{
    memset(r, 0, sizeof *r);
    r->tile_px = 20;
    r->thumbnail = thumbnail;
    r->pad_color = 0x0A141E;
    *g = (bluelm_tile_grid){.columns = 3,
                            .rows = 2,
                            .thumbnail = thumbnail != 0,
                            .tiles = 6 + (thumbnail != 0),
                            .tile_width_px = 20,
                            .tile_height_px = 20,
                            .resized_width_px = 47,
                            .resized_height_px = 31,
                            .offset_x_px = 6,
                            .offset_y_px = 5};
}

/* Tiles against the canvas put together in the obvious way. */
static void tiles_are_cut_from_the_padded_canvas(void **state)
{
    (void)state;
    bluelm_image im = test_picture(90, 70, 0, 5, 1);
    static uint8_t canvas[40][60][3], whole[31][47][3], small[20][20][3], out[20][20][3];
    uint64_t bytes = blm_resize_scratch_bytes(60);
    uint8_t *scratch = test_take((size_t)bytes);
    bluelm_error err;
    for (uint32_t thumbnail = 0; thumbnail < 3; thumbnail++) {
        blm_tile_rule r;
        bluelm_tile_grid g;
        test_grid(&r, &g, thumbnail);
        blm_resize_job job = test_job(&im, 47, 31, 0, &whole[0][0][0]);
        assert_int_equal(blm_resize_rect(&job, scratch, bytes, &err), 0);
        assert_int_equal(blm_tile_whole(&im, 20, 0, &small[0][0][0], scratch, bytes, &err), 0);
        for (uint32_t y = 0; y < 40; y++) {
            for (uint32_t x = 0; x < 60; x++) {
                static const uint8_t pad[3] = {10, 20, 30};
                int inside = x >= 6 && x < 53 && y >= 5 && y < 36;
                memcpy(canvas[y][x], inside ? whole[y - 5][x - 6] : pad, 3);
            }
        }
        for (uint32_t t = 0; t < g.tiles; t++) {
            assert_int_equal(blm_tile_extract(&im, &r, &g, t, &out[0][0][0], scratch,
                                              blm_resize_scratch_bytes(20), &err),
                             0);
            uint32_t local = t - (thumbnail == BLM_THUMBNAIL_FIRST);
            if (local >= 6) {
                assert_memory_equal(out, small, sizeof out);
                continue;
            }
            for (uint32_t y = 0; y < 20; y++)
                assert_memory_equal(out[y], canvas[local / 3 * 20 + y][local % 3 * 20], 60);
        }
        assert_int_equal(
            blm_tile_extract(&im, &r, &g, g.tiles, &out[0][0][0], scratch, bytes, &err),
            BLUELM_E_ARG);
        g.offset_x_px = 14;
        assert_int_equal(blm_tile_extract(&im, &r, &g, 0, &out[0][0][0], scratch, bytes, &err),
                         BLUELM_E_ARG);
    }
    free(scratch);
    free((void *)(uintptr_t)im.rgb);
}

static void patches_come_channel_by_channel(void **state)
{
    (void)state;
    static uint8_t tile[12][12][3];
    float out[3 * 16], mean[3] = {0.5f, 0.25f, 0}, std[3] = {0.5f, 0.25f, 2};
    for (int i = 0; i < 12 * 12 * 3; i++)
        (&tile[0][0][0])[i] = (uint8_t)(i * 7);
    blm_patch_pixels(&tile[0][0][0], 36, 4, 2, 1, mean, std, out);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 4; x++) {
                float want = ((float)tile[4 + y][8 + x][c] / 255.0f - mean[c]) / std[c];
                assert_true(out[c * 16 + y * 4 + x] == want);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_result_equals_pillow),
        cmocka_unit_test(every_weight_is_that_of_plain_doubles),
        cmocka_unit_test(every_line_equals_pillow_however_the_picture_lies),
        cmocka_unit_test(padding_to_a_square_is_as_if_it_were_there),
        cmocka_unit_test(rectangles_do_not_depend_on_the_cut),
        cmocka_unit_test(stated_scratch_serves_the_largest_pictures),
        cmocka_unit_test(unsound_arguments_are_refused),
        cmocka_unit_test(tiles_are_cut_from_the_padded_canvas),
        cmocka_unit_test(patches_come_channel_by_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
