/* The resizer equals Pillow, however the picture lies, in the scratch it states. */
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
#include "tiny_model.h"

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
    srand((unsigned)tiny_seed((uint64_t)time(NULL)));
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
    srand((unsigned)tiny_seed((uint64_t)time(NULL)));
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
        cmocka_unit_test(every_weight_is_that_of_plain_doubles),
        cmocka_unit_test(every_line_equals_pillow_however_the_picture_lies),
        cmocka_unit_test(padding_to_a_square_is_as_if_it_were_there),
        cmocka_unit_test(patches_come_channel_by_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
