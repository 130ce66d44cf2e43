/* Encoded pictures: what they decode to, in how much memory, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "../tiler/image.h"

typedef struct test_png {
    const char *name;
    uint32_t width, height;
    uint64_t hash;
} test_png;

typedef struct test_jpeg {
    const char *name;
    uint32_t width, height;
    const unsigned char *rgb;
} test_jpeg;

#include "data/image_vectors.h"

static uint8_t *test_take(size_t bytes)
{
    uint8_t *p = (uint8_t *)malloc(bytes ? bytes : 1);
    assert_non_null(p);
    return p;
}

/* A sample as an encoded picture in memory of exactly its size. */
static bluelm_image test_load(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "fuzz/corpus/image/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s is not there", path);
    uint8_t data[4096];
    bluelm_image im = {0};
    im.encoded_bytes = fread(data, 1, sizeof data, file);
    fclose(file);
    uint8_t *copy = test_take(im.encoded_bytes);
    memcpy(copy, data, im.encoded_bytes);
    im.encoded = copy;
    return im;
}

static void test_drop(const bluelm_image *im)
{
    free((void *)(uintptr_t)im->encoded);
}

static uint64_t test_hash(const uint8_t *p, size_t bytes)
{
    uint64_t h = 0xCBF29CE484222325ULL;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 0x100000001B3ULL;
    return h;
}

/* Decodes in a block of exactly what it says it needs, then of one byte less. Returns
 * the block. */
static uint8_t *test_decode_exactly(const bluelm_image *im, uint32_t width, uint32_t height)
{
    bluelm_image out;
    bluelm_error err;
    uint64_t need;
    blm_image_facts facts;
    assert_int_equal(blm_image_info(im->encoded, im->encoded_bytes, &facts, &err), 0);
    uint32_t w = facts.width_px, h = facts.height_px;
    assert_true(w == width && h == height);
    assert_int_equal(blm_image_need(im->encoded, im->encoded_bytes, &need, &err), 0);
    uint8_t *less = test_take((size_t)need - 1);
    assert_int_equal(blm_image_decode(im, w * h, less, need - 1, &out, &err), BLUELM_E_BUDGET);
    assert_true(err.need == need && err.have == need - 1 && !out.rgb);
    free(less);
    uint8_t *memory = test_take((size_t)need);
    memset(memory, 0xA5, (size_t)need);
    assert_int_equal(blm_image_decode(im, w * h, memory, need, &out, &err), 0);
    assert_ptr_equal(out.rgb, memory);
    assert_true(out.width_px == w && out.height_px == h && out.stride_bytes == (size_t)w * 3);
    assert_null(out.encoded);
    return memory;
}

static void every_png_decodes_as_in_pillow(void **state)
{
    (void)state;
    for (size_t i = 0; i < BLM_COUNT_OF(test_pngs); i++) {
        const test_png *t = &test_pngs[i];
        bluelm_image im = test_load(t->name);
        uint8_t *rgb = test_decode_exactly(&im, t->width, t->height);
        if (test_hash(rgb, (size_t)t->width * t->height * 3) != t->hash)
            fail_msg("%s", t->name);
        free(rgb);
        test_drop(&im);
    }
}

static void every_jpeg_decodes_near_libjpeg(void **state)
{
    (void)state;
    for (size_t i = 0; i < BLM_COUNT_OF(test_jpegs); i++) {
        const test_jpeg *t = &test_jpegs[i];
        bluelm_image im = test_load(t->name);
        uint8_t *rgb = test_decode_exactly(&im, t->width, t->height);
        int most = 0;
        for (size_t k = 0; k < (size_t)t->width * t->height * 3; k++)
            most = BLM_MAX(most, abs(rgb[k] - t->rgb[k]));
        printf("%s: at most %d from libjpeg\n", t->name, most);
        assert_true(most <= 6);
        free(rgb);
        test_drop(&im);
    }
}

/* Whatever the bytes: a clean result or a clean error, inside a block of its exact size. */
static int test_survive(const void *bytes, size_t count, uint32_t max_pixels, uint64_t room)
{
    bluelm_image im = {NULL, 0, 0, 0, bytes, count}, out;
    bluelm_error err = {0};
    uint8_t *memory = test_take((size_t)room);
    int status = blm_image_decode(&im, max_pixels, memory, room, &out, &err);
    if (status < 0) {
        assert_true(status == BLUELM_E_IMAGE || status == BLUELM_E_BUDGET);
        assert_true(err.code == status && err.subject[0] && !out.rgb);
    } else {
        assert_true(out.rgb == memory && out.width_px * out.height_px <= max_pixels);
    }
    free(memory);
    return status;
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"png-2-8.png", "png-3-4-interlaced.png", "jpeg-420.jpg",
                                        "jpeg-420-progressive.jpg"};
    for (size_t i = 0; i < BLM_COUNT_OF(names); i++) {
        bluelm_image im = test_load(names[i]);
        for (size_t n = 0; n < im.encoded_bytes; n++) {
            uint8_t *part = test_take(n);
            memcpy(part, im.encoded, n);
            if (test_survive(part, n, 4096, 65536) != BLUELM_E_IMAGE)
                fail_msg("%s is taken with %u bytes", names[i], (unsigned)n);
            free(part);
        }
        test_drop(&im);
    }
}

static void every_flipped_bit_of_a_png_is_refused(void **state)
{
    (void)state;
    bluelm_image im = test_load("png-6-8-interlaced.png");
    uint8_t *bytes = (uint8_t *)(uintptr_t)im.encoded;
    assert_true(test_survive(bytes, im.encoded_bytes, 4096, 65536) == 0);
    for (size_t bit = 0; bit < 8 * im.encoded_bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (test_survive(bytes, im.encoded_bytes, 4096, 65536) != BLUELM_E_IMAGE)
            fail_msg("bit %u", (unsigned)bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    test_drop(&im);
}

static void flipped_bytes_of_a_jpeg_do_no_harm(void **state)
{
    (void)state;
    static const char *const names[] = {"jpeg-420.jpg", "jpeg-cmyk-progressive.jpg"};
    for (size_t i = 0; i < BLM_COUNT_OF(names); i++) {
        bluelm_image im = test_load(names[i]);
        uint8_t *bytes = (uint8_t *)(uintptr_t)im.encoded;
        for (size_t n = 0; n < im.encoded_bytes; n++) {
            for (unsigned flip = 1; flip < 256; flip = flip * 2 + 13) {
                bytes[n] ^= (uint8_t)flip;
                test_survive(bytes, im.encoded_bytes, 4096, 65536);
                bytes[n] ^= (uint8_t)flip;
            }
        }
        test_drop(&im);
    }
}

/* ---- A PNG writer of stored blocks ---------------------------------------------------- */

typedef struct test_writer {
    uint8_t *bytes;
    size_t used, chunk;
} test_writer;

static void test_put(test_writer *w, const void *p, size_t n)
{
    memcpy(w->bytes + w->used, p, n);
    w->used += n;
}

static void test_put_u32(test_writer *w, uint32_t v)
{
    uint8_t b[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    test_put(w, b, 4);
}

static void test_open_chunk(test_writer *w, const char *type)
{
    w->chunk = w->used;
    test_put_u32(w, 0);
    test_put(w, type, 4);
}

static void test_close_chunk(test_writer *w)
{
    uint32_t length = (uint32_t)(w->used - w->chunk - 8), crc = 0xFFFFFFFF;
    size_t end = w->used;
    w->used = w->chunk;
    test_put_u32(w, length);
    w->used = end;
    for (size_t i = w->chunk + 4; i < end; i++) {
        crc ^= w->bytes[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    }
    test_put_u32(w, ~crc);
}

static void test_begin_png(test_writer *w, uint32_t width, uint32_t height, const char *form)
{
    w->used = 0;
    test_put(w, "\x89PNG\r\n\x1a\n", 8);
    test_open_chunk(w, "IHDR");
    test_put_u32(w, width);
    test_put_u32(w, height);
    test_put(w, form, 5);
    test_close_chunk(w);
}

/* Rows of zeros (and filter 0) in stored blocks, in IDAT chunks of one block each. */
static void test_put_rows(test_writer *w, uint64_t bytes)
{
    static const uint8_t zeros[65535];
    uint8_t head[5];
    test_open_chunk(w, "IDAT");
    test_put(w, "\x78\x01", 2);
    while (bytes) {
        uint32_t n = (uint32_t)BLM_MIN(bytes, 65535);
        bytes -= n;
        head[0] = bytes == 0;
        head[1] = (uint8_t)n, head[2] = (uint8_t)(n >> 8);
        head[3] = (uint8_t)~n, head[4] = (uint8_t)(~n >> 8);
        test_put(w, head, 5);
        test_put(w, zeros, n);
        test_close_chunk(w);
        test_open_chunk(w, "IDAT");
    }
    test_put_u32(w, 1);
    test_close_chunk(w);
    test_open_chunk(w, "IEND");
    test_close_chunk(w);
}

/* Rows of an interlaced picture of 8 bytes a pixel, by brute force. */
static uint64_t test_interlaced_rows(uint32_t width, uint32_t height)
{
    static const uint8_t s[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                    {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    uint64_t bytes = 0;
    for (int p = 0; p < 7; p++) {
        uint64_t across = 0, down = 0;
        for (uint32_t x = s[p][0]; x < width; x += s[p][2])
            across++;
        for (uint32_t y = s[p][1]; y < height; y += s[p][3])
            down++;
        if (across) bytes += down * (1 + 8 * across);
    }
    return bytes;
}

static void the_stated_memory_holds_the_worst_png(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{1, 1},     {1, 97},    {97, 1},    {5, 5}, {64, 64},
                                        {1, 65535}, {65535, 1}, {300, 211}, {9, 8}, {2, 3}};
    for (size_t i = 0; i < BLM_COUNT_OF(sizes); i++) {
        uint32_t width = sizes[i][0], height = sizes[i][1];
        for (int interlaced = 0; interlaced < 2; interlaced++) {
            const char form[5] = {16, 6, 0, 0, (char)interlaced};
            uint64_t rows = interlaced ? test_interlaced_rows(width, height)
                                       : (uint64_t)height * (8 * (uint64_t)width + 1);
            test_writer w = {test_take((size_t)rows + rows / 1000 + 4000), 0, 0};
            test_begin_png(&w, width, height, form);
            test_put_rows(&w, rows);
            bluelm_image im = {NULL, 0, 0, 0, w.bytes, w.used};
            uint64_t need;
            assert_int_equal(blm_image_need(w.bytes, w.used, &need, NULL), 0);
            assert_true(need <= blm_image_decode_bytes(width * height));
            uint8_t *rgb = test_decode_exactly(&im, width, height);
            for (size_t k = 0; k < (size_t)width * height * 3; k++)
                assert_true(rgb[k] == 0);
            free(rgb);
            free(w.bytes);
        }
    }
}

/* The header of a progressive JPEG with these sampling factors. */
static size_t test_jpeg_header(uint8_t *out, uint32_t width, uint32_t height,
                               uint32_t components, const uint8_t *factors)
{
    const uint8_t head[] = {0xFF,
                            0xD8,
                            0xFF,
                            0xC2,
                            0,
                            (uint8_t)(8 + 3 * components),
                            8,
                            (uint8_t)(height >> 8),
                            (uint8_t)height,
                            (uint8_t)(width >> 8),
                            (uint8_t)width,
                            (uint8_t)components};
    memcpy(out, head, sizeof head);
    for (uint32_t i = 0; i < components; i++) {
        out[sizeof head + 3 * i] = (uint8_t)i;
        out[sizeof head + 3 * i + 1] = factors[i];
        out[sizeof head + 3 * i + 2] = 0;
    }
    return sizeof head + 3 * components;
}

static void the_stated_memory_holds_the_worst_jpeg(void **state)
{
    (void)state;
    static const uint8_t factors[][4] = {{0x11, 0x11, 0x11, 0x11},
                                         {0x44, 0x44, 0x44, 0x44},
                                         {0x22, 0x11, 0x11, 0x22},
                                         {0x41, 0x14, 0x44, 0x44}};
    uint8_t header[32];
    uint64_t need;
    for (uint32_t longer = 1; longer <= 65535; longer += 1 + longer / 7) {
        for (uint32_t ratio = 1; ratio <= 16; ratio++) {
            uint32_t shorter = (longer + ratio - 1) / ratio;
            if ((uint64_t)longer * shorter >= UINT32_MAX) continue;
            for (size_t f = 0; f < 2 * BLM_COUNT_OF(factors); f++) {
                uint32_t width = f & 1 ? longer : shorter, height = f & 1 ? shorter : longer;
                size_t bytes = test_jpeg_header(header, width, height, 4, factors[f / 2]);
                assert_int_equal(blm_image_need(header, bytes, &need, NULL), 0);
                uint64_t stated = blm_image_decode_bytes(width * height);
                if (need > stated)
                    fail_msg("%ux%u, form %u: need %llu, stated %llu", width, height,
                             (unsigned)f, (unsigned long long)need, (unsigned long long)stated);
            }
        }
    }
    printf("1 Mpx: %llu bytes\n", (unsigned long long)blm_image_decode_bytes(1u << 20));
    assert_true(blm_image_decode_bytes(1u << 20) < 18u << 20);
    assert_int_equal(blm_image_decode_bytes(BLUELM_NO_IMAGE_DECODE_PIXELS), 0);
}

/* ---- Refusals --------------------------------------------------------------------------- */

static void test_refused(const void *bytes, size_t count, const char *subject)
{
    static uint8_t memory[65536];
    bluelm_image im = {NULL, 0, 0, 0, bytes, count}, out;
    bluelm_error err = {0};
    assert_int_equal(blm_image_decode(&im, 1000, memory, sizeof memory, &out, &err),
                     BLUELM_E_IMAGE);
    if (!strstr(err.subject, subject)) fail_msg("'%s' lacks '%s'", err.subject, subject);
}

static void test_refused_png(const char *form, uint32_t width, uint32_t rows, const char *extra,
                             const char *subject)
{
    uint8_t bytes[2048];
    test_writer w = {bytes, 0, 0};
    test_begin_png(&w, width, 4, form);
    if (extra) {
        test_open_chunk(&w, extra);
        test_put(&w, "\1\2\3\4\5\6\7", 7);
        test_close_chunk(&w);
    }
    test_put_rows(&w, rows);
    test_refused(bytes, w.used, subject);
}

static void malformed_pngs_are_refused_with_a_reason(void **state)
{
    (void)state;
    test_refused("GIF89a..", 8, "neither");
    test_refused(NULL, 0, "neither");
    test_refused_png("\x08\x02\0\0\0", 0, 9, NULL, "side");
    test_refused_png("\x08\x02\0\0\0", 65536, 9, NULL, "side");
    test_refused_png("\x08\x02\0\0\0", 0xFFFFFFFF, 9, NULL, "side");
    test_refused_png("\x08\x02\0\0\0", 251, 9, NULL, "pixels");
    test_refused_png("\x04\x02\0\0\0", 4, 9, NULL, "depth");
    test_refused_png("\x10\x03\0\0\0", 4, 9, NULL, "depth");
    test_refused_png("\x08\x05\0\0\0", 4, 9, NULL, "depth");
    test_refused_png("\x08\xFF\0\0\0", 4, 9, NULL, "depth");
    test_refused_png("\x08\x02\1\0\0", 4, 9, NULL, "compression");
    test_refused_png("\x08\x02\0\0\2", 4, 9, NULL, "interlacing");
    test_refused_png("\x08\x03\0\0\0", 4, 20, NULL, "no palette");
    test_refused_png("\x08\x03\0\0\0", 4, 20, "PLTE", "palette");
    test_refused_png("\x08\x02\0\0\0", 4, 52, "CgBI", "critical");
    test_refused_png("\x08\x02\0\0\0", 4, 51, NULL, "too little");
    test_refused_png("\x08\x02\0\0\0", 4, 53, NULL, "compressed");
    uint8_t bytes[512];
    test_writer w = {bytes, 0, 0};
    test_begin_png(&w, 4, 4, "\x08\x02\0\0\0");
    test_open_chunk(&w, "IEND");
    test_close_chunk(&w);
    test_refused(bytes, w.used, "no image data");
}

static void malformed_jpegs_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const uint8_t plain[4] = {0x11, 0x11, 0x11, 0x11}, odd[4] = {0x51, 0x11, 0x11, 0x10};
    uint8_t bytes[2048];
    size_t count = test_jpeg_header(bytes, 9, 9, 3, plain);
    test_refused(bytes, count, "jpeg: ");
    test_refused(bytes, 3, "truncated");
    count = test_jpeg_header(bytes, 0, 9, 3, plain);
    test_refused(bytes, count, "side");
    count = test_jpeg_header(bytes, 9, 9, 4, odd);
    test_refused(bytes, count, "sampling");
    count = test_jpeg_header(bytes, 9, 9, 2, plain);
    test_refused(bytes, count, "components");
    count = test_jpeg_header(bytes, 9, 9, 3, plain);
    bytes[6] = 12;
    test_refused(bytes, count, "8 bits");
    count = test_jpeg_header(bytes, 9, 9, 3, plain);
    bytes[3] = 0xC9;
    test_refused(bytes, count, "arithmetic");
    count = test_jpeg_header(bytes, 9, 9, 3, plain);
    memcpy(bytes + count, "\xFF\xD9", 2);
    test_refused(bytes, count + 2, "no image data");
    for (int i = 0; i < 257; i++, count += 4)
        memcpy(bytes + count, "\xFF\xDA\0\2", 4);
    test_refused(bytes, count, "scans");
    count = test_jpeg_header(bytes, 9, 9, 3, plain);
    memcpy(bytes + count, "\xFF\xC4\1\x24\x10\xFF\2", 7); /* 257 codes in 290 bytes */
    memset(bytes + count + 7, 0, 300);
    test_refused(bytes, count + 307, "huffman");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_png_decodes_as_in_pillow),
        cmocka_unit_test(every_jpeg_decodes_near_libjpeg),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_of_a_png_is_refused),
        cmocka_unit_test(flipped_bytes_of_a_jpeg_do_no_harm),
        cmocka_unit_test(the_stated_memory_holds_the_worst_png),
        cmocka_unit_test(the_stated_memory_holds_the_worst_jpeg),
        cmocka_unit_test(malformed_pngs_are_refused_with_a_reason),
        cmocka_unit_test(malformed_jpegs_are_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
