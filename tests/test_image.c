/* Encoded pictures: what they decode to, in how much memory, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "../tiler/exif.h"
#include "../tiler/image.h"
#include "../tiler/picture.h"
#include "file_aid.h"
#include "png_aid.h"

typedef struct test_picture {
    const char *name;
    uint32_t width, height; /* of stored rows */
    uint32_t orientation;
    int whole_picture;
    uint64_t hash; /* of Pillow's RGB */
} test_picture;

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
    tiny_file file = file_load(path);
    return (bluelm_image){.encoded = file.data, .encoded_bytes = file.bytes};
}

static void test_drop(const bluelm_image *im)
{
    free((void *)(uintptr_t)im->encoded);
}

static uint64_t test_hash(uint64_t h, const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 0x100000001B3ULL;
    return h;
}

#define TEST_HASH 0xCBF29CE484222325ULL

static uint64_t test_need(const bluelm_image *im)
{
    uint64_t need;
    assert_int_equal(blm_image_need(im->encoded, im->encoded_bytes, &need, NULL), 0);
    return need;
}

static int test_begin(blm_image_decoder *d, const bluelm_image *im, void *memory, uint64_t room,
                      bluelm_error *err)
{
    return blm_image_begin(d, im->encoded, im->encoded_bytes, NULL, memory, room, err);
}

/* Decodes all rows, each into a block of exactly its size, and returns their hash. */
static uint64_t test_rows(blm_image_decoder *d)
{
    size_t bytes = (size_t)d->facts.stored_width_px * 3;
    uint64_t hash = TEST_HASH;
    bluelm_error err;
    for (uint32_t y = 0; y < d->facts.stored_height_px; y++) {
        uint8_t *row = test_take(bytes);
        int status = blm_image_row(d, row, &err);
        if (status < 0) fail_msg("row %u: %s at %u", y, err.subject, (unsigned)err.at);
        hash = test_hash(hash, row, bytes);
        free(row);
    }
    assert_int_equal(blm_image_row(d, NULL, &err), BLUELM_E_STATE);
    return hash;
}

/* In a block of exactly what it says it needs, and in none of a byte less. */
static uint64_t test_decode_exactly(const bluelm_image *im)
{
    blm_image_decoder d;
    bluelm_error err;
    uint64_t need = test_need(im);
    uint8_t *memory = test_take((size_t)need);
    memset(memory, 0xA5, (size_t)need);
    assert_int_equal(test_begin(&d, im, memory, need - 1, &err), BLUELM_E_BUDGET);
    assert_true(err.need == need && err.have == need - 1);
    assert_int_equal(test_begin(&d, im, memory, need, &err), 0);
    uint64_t hash = test_rows(&d);
    free(memory);
    return hash;
}

static void every_picture_decodes_as_in_pillow(void **state)
{
    (void)state;
    for (size_t i = 0; i < BLM_COUNT_OF(test_pictures); i++) {
        const test_picture *t = &test_pictures[i];
        bluelm_image im = test_load(t->name);
        blm_image_facts f;
        bluelm_error err;
        if (blm_image_info(im.encoded, im.encoded_bytes, &f, &err) < 0 ||
            blm_image_check(im.encoded, im.encoded_bytes, &err) < 0)
            fail_msg("%s: %s at %u", t->name, err.subject, (unsigned)err.at);
        int turned = t->orientation >= 5;
        assert_true(f.stored_width_px == t->width && f.stored_height_px == t->height);
        assert_int_equal(f.width_px, turned ? t->height : t->width);
        assert_int_equal(f.height_px, turned ? t->width : t->height);
        assert_int_equal(f.orientation, t->orientation);
        assert_int_equal(f.whole_picture, t->whole_picture);
        assert_int_equal(f.kind, strstr(t->name, ".png") ? BLM_IMAGE_PNG : BLM_IMAGE_JPEG);
        if (test_decode_exactly(&im) != t->hash) fail_msg("%s", t->name);
        test_drop(&im);
    }
}

/* Nothing of a picture lies outside its memory, whose address does not matter. */
static void pictures_decode_side_by_side_anywhere_in_memory(void **state)
{
    (void)state;
    static const char *const names[2] = {"png-6-8.png", "jpeg-420.jpg"};
    blm_image_decoder d[2];
    bluelm_image im[2];
    uint8_t *memory[2], row[2][200];
    uint64_t hash[2] = {TEST_HASH, TEST_HASH};
    for (uint32_t shift = 0; shift < 16; shift += 5) {
        for (int k = 0; k < 2; k++) {
            hash[k] = TEST_HASH;
            im[k] = test_load(names[k]);
            uint64_t need = test_need(&im[k]);
            memory[k] = test_take((size_t)need + shift);
            assert_int_equal(test_begin(&d[k], &im[k], memory[k] + shift, need, NULL), 0);
        }
        for (uint32_t y = 0; y < 29; y++) {
            for (int k = 0; k < 2; k++) {
                if (y >= d[k].facts.stored_height_px) continue;
                assert_int_equal(blm_image_row(&d[k], row[k], NULL), 0);
                hash[k] = test_hash(hash[k], row[k], (size_t)d[k].facts.stored_width_px * 3);
            }
        }
        for (int k = 0; k < 2; k++) {
            for (size_t i = 0; i < BLM_COUNT_OF(test_pictures); i++)
                if (strcmp(test_pictures[i].name, names[k]) == 0)
                    assert_true(hash[k] == test_pictures[i].hash);
            test_drop(&im[k]);
            free(memory[k]);
        }
    }
}

/* ---- Damage ------------------------------------------------------------------------------ */

/* Whatever the bytes: clean rows or a clean error, inside blocks of exact sizes. */
static int test_survive(const void *bytes, size_t count)
{
    bluelm_image im = {NULL, 0, 0, 0, bytes, count};
    blm_image_decoder d;
    bluelm_error err = {0};
    uint64_t need = 100;
    int status = blm_image_need(bytes, count, &need, &err);
    if (status == 0 && need > 1u << 20) return BLUELM_E_BUDGET;
    uint8_t *memory = test_take((size_t)need);
    memset(memory, 0xA5, (size_t)need); /* the same each time */
    if (status == 0) status = test_begin(&d, &im, memory, need, &err);
    if (status == 0) {
        uint8_t *row = test_take((size_t)d.facts.stored_width_px * 3);
        for (uint32_t y = 0; status == 0 && y < d.facts.stored_height_px; y++)
            status = blm_image_row(&d, row, &err);
        if (status < 0) assert_int_equal(blm_image_row(&d, row, NULL), status);
        free(row);
    }
    if (status < 0)
        assert_true(status == BLUELM_E_IMAGE && err.code == status && err.subject[0]);
    free(memory);
    return status;
}

static void every_truncation_is_refused_when_it_is_checked(void **state)
{
    (void)state;
    static const char *const names[] = {
        "png-2-8.png",        "png-3-4-interlaced.png",   "png-exif-3-late.png",
        "jpeg-420.jpg",       "jpeg-420-progressive.jpg", "jpeg-scans.jpg",
        "jpeg-restart-1.jpg", "jpeg-exif-6.jpg"};
    for (size_t i = 0; i < BLM_COUNT_OF(names); i++) {
        bluelm_image im = test_load(names[i]);
        for (size_t n = 0; n < im.encoded_bytes; n++) {
            uint8_t *part = test_take(n);
            memcpy(part, im.encoded, n);
            if (blm_image_check(part, n, NULL) != BLUELM_E_IMAGE)
                fail_msg("%s is taken with %u bytes", names[i], (unsigned)n);
            test_survive(part, n);
            free(part);
        }
        test_drop(&im);
    }
}

/* One IDAT chunk: a flipped bit can make of several one that does not matter. */
static void every_flipped_bit_of_a_png_is_refused(void **state)
{
    (void)state;
    bluelm_image im = test_load("png-3x2-interlaced.png");
    uint8_t *bytes = (uint8_t *)(uintptr_t)im.encoded;
    assert_int_equal(blm_image_check(bytes, im.encoded_bytes, NULL), 0);
    for (size_t bit = 0; bit < 8 * im.encoded_bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (blm_image_check(bytes, im.encoded_bytes, NULL) != BLUELM_E_IMAGE)
            fail_msg("bit %u", (unsigned)bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    test_drop(&im);
}

/* Every byte of every sample, a PNG's with its checksums put right. */
static void damaged_bytes_do_no_harm(void **state)
{
    (void)state;
    unsigned taken = 0, refused = 0;
    for (size_t i = 0; i < BLM_COUNT_OF(test_pictures); i++) {
        bluelm_image im = test_load(test_pictures[i].name);
        size_t count = im.encoded_bytes;
        int is_png = strstr(test_pictures[i].name, ".png") != NULL;
        uint8_t *bytes = test_take(count);
        for (size_t n = 0; n < count && n < 2048; n++) {
            for (unsigned flip = 1; flip < 256; flip = flip * 5 + 14) {
                memcpy(bytes, im.encoded, count);
                bytes[n] ^= (uint8_t)flip;
                if (is_png) png_mend(bytes, count);
                if (test_survive(bytes, count) == 0)
                    taken++;
                else
                    refused++;
            }
        }
        free(bytes);
        test_drop(&im);
    }
    printf("%u taken, %u refused\n", taken, refused);
    assert_true(taken > 1000 && refused > 1000);
}

/* ---- PNGs of stored blocks -------------------------------------------------------------- */

/* Rows of zeros (and filter 0) in stored blocks, in IDAT chunks of one block each. */
static void test_put_rows(png_file *w, uint64_t bytes)
{
    static const uint8_t zeros[65535];
    uint8_t head[5];
    png_open_chunk(w, "IDAT");
    png_put(w, "\x78\x01", 2);
    while (bytes) {
        uint32_t n = (uint32_t)BLM_MIN(bytes, 65535);
        bytes -= n;
        head[0] = bytes == 0;
        head[1] = (uint8_t)n, head[2] = (uint8_t)(n >> 8);
        head[3] = (uint8_t)~n, head[4] = (uint8_t)(~n >> 8);
        png_put(w, head, 5);
        png_put(w, zeros, n);
        png_close_chunk(w);
        png_open_chunk(w, "IDAT");
    }
    png_put_u32(w, 1);
    png_close_chunk(w);
    png_open_chunk(w, "IEND");
    png_close_chunk(w);
}

/* Rows of an interlaced picture of 6 bytes a pixel, by brute force. */
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
        if (across) bytes += down * (1 + 6 * across);
    }
    return bytes;
}

/* ---- Memory ------------------------------------------------------------------------------ */

static void the_worst_png_decodes_in_what_it_says_it_needs(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{1, 1},     {1, 97},    {97, 1},    {5, 5}, {64, 64},
                                        {1, 65535}, {65535, 1}, {300, 211}, {9, 8}, {2, 3}};
    for (size_t i = 0; i < BLM_COUNT_OF(sizes); i++) {
        uint32_t width = sizes[i][0], height = sizes[i][1];
        for (int interlaced = 0; interlaced < 2; interlaced++) {
            const char form[5] = {16, 2, 0, 0, (char)interlaced};
            uint64_t rows = interlaced ? test_interlaced_rows(width, height)
                                       : (uint64_t)height * (6 * (uint64_t)width + 1);
            png_file w = {test_take((size_t)rows + rows / 1000 + 4000), 0, 0};
            png_begin(&w, width, height, form);
            test_put_rows(&w, rows);
            bluelm_image im = {NULL, 0, 0, 0, w.data, w.bytes};
            uint64_t need = test_need(&im), scratch = blm_image_scratch_bytes(width);
            assert_true(interlaced || need <= scratch);
            assert_true(need <= scratch + (uint64_t)width * height * 3);
            uint64_t hash = TEST_HASH;
            for (size_t k = 0; k < (size_t)width * height * 3; k++)
                hash *= 0x100000001B3ULL; /* of a zero byte */
            assert_true(test_decode_exactly(&im) == hash);
            free(w.data);
        }
    }
}

/* The headers of a JPEG with these sampling factors, up to the data of its first scan, of
 * `scanned` components. */
static size_t test_jpeg_header(uint8_t *out, uint32_t width, uint32_t height,
                               uint32_t components, const uint8_t *factors, uint32_t scanned)
{
    size_t at = 2;
    memcpy(out, "\xFF\xD8\xFF\xDB\0\x43\0", 7);
    memset(out + 7, 1, 64);
    at = 71;
    for (int kind = 0; kind < 2; kind++, at += 22) {
        memcpy(out + at, "\xFF\xC4\0\x14\0\1", 6); /* one code of one bit */
        out[at + 4] = (uint8_t)(kind << 4);
        memset(out + at + 6, 0, 16);
    }
    const uint8_t frame[] = {0xFF,
                             0xC0,
                             0,
                             (uint8_t)(8 + 3 * components),
                             8,
                             (uint8_t)(height >> 8),
                             (uint8_t)height,
                             (uint8_t)(width >> 8),
                             (uint8_t)width,
                             (uint8_t)components};
    memcpy(out + at, frame, sizeof frame);
    at += sizeof frame;
    for (uint32_t i = 0; i < components; i++, at += 3)
        out[at] = (uint8_t)i, out[at + 1] = factors[i], out[at + 2] = 0;
    const uint8_t scan[] = {0xFF, 0xDA, 0, (uint8_t)(6 + 2 * scanned), (uint8_t)scanned};
    memcpy(out + at, scan, sizeof scan);
    at += sizeof scan;
    for (uint32_t i = 0; i < scanned; i++, at += 2)
        out[at] = (uint8_t)i, out[at + 1] = 0;
    memcpy(out + at, "\0\x3F\0", 3);
    return at + 3;
}

#define TEST_FRAME 115 /* where the header's frame begins */

static void memory_depends_on_the_width_alone(void **state)
{
    (void)state;
    static const struct {
        uint32_t components;
        uint8_t factors[4];
    } forms[] = {{1, {0x44}},
                 {3, {0x22, 0x11, 0x11}},
                 {3, {0x14, 0x14, 0x12}},
                 {3, {0x41, 0x21, 0x41}},
                 {4, {0x22, 0x11, 0x11, 0x22}},
                 {4, {0x41, 0x41, 0x11, 0x11}},
                 {4, {0x14, 0x12, 0x12, 0x12}}};
    uint8_t header[256];
    uint64_t worst = 0;
    for (uint32_t width = 1; width <= 65535; width += 1 + width / 9) {
        for (size_t f = 0; f < BLM_COUNT_OF(forms); f++) {
            uint64_t need[2];
            for (int k = 0; k < 2; k++) {
                size_t bytes =
                    test_jpeg_header(header, width, k ? 65535 : 1, forms[f].components,
                                     forms[f].factors, forms[f].components);
                assert_int_equal(blm_image_need(header, bytes, &need[k], NULL), 0);
            }
            assert_true(need[0] == need[1]);
            if (need[0] > blm_image_scratch_bytes(width))
                fail_msg("form %u, %u wide", (unsigned)f, (unsigned)width);
            if (width <= 4032) worst = BLM_MAX(worst, need[0]);
        }
    }
    uint64_t photo = blm_image_scratch_bytes(4032);
    printf("4032 wide: %llu bytes, %llu used\n", (unsigned long long)photo,
           (unsigned long long)worst);
    assert_true(photo < 2u << 20);
    assert_int_equal(blm_image_scratch_bytes(0), 0);
}

static void the_background_shows_through_what_is_transparent(void **state)
{
    (void)state;
    static const uint8_t red[3] = {200, 0, 0};
    static uint8_t memory[200000];
    uint8_t bytes[2048], row[12];
    png_file w = {bytes, 0, 0};
    blm_image_decoder d;
    png_begin(&w, 4, 4, "\x08\x06\0\0\0");
    test_put_rows(&w, 4 * 17); /* zeros: black that is not there */
    assert_int_equal(blm_image_begin(&d, bytes, w.bytes, red, memory, sizeof memory, NULL), 0);
    assert_int_equal(blm_image_row(&d, row, NULL), 0);
    for (int x = 0; x < 4; x++)
        assert_memory_equal(row + 3 * x, red, 3);
}

/* The one tile of a transparent picture of 4 x 4. */
static void test_transparent_tile(uint32_t background, uint8_t tile[48])
{
    static uint8_t scratch[400000];
    uint8_t bytes[2048];
    png_file w = {bytes, 0, 0};
    png_begin(&w, 4, 4, "\x08\x06\0\0\0");
    test_put_rows(&w, 4 * 17);
    const blm_tile_rule rule = {.rule = BLUELM_TILES_SINGLE,
                                .tile_px = 4,
                                .fit = BLM_FIT_STRETCH,
                                .max_columns = 1,
                                .max_rows = 1,
                                .min_local_tiles = 1,
                                .max_local_tiles = 1,
                                .tokens_per_tile = 1,
                                .background = background};
    const bluelm_image image = {
        .encoded = bytes, .encoded_bytes = w.bytes, .width_px = 4, .height_px = 4};
    bluelm_tile_grid grid;
    blm_picture p;
    assert_int_equal(blm_tile_choose(&rule, 4, 4, 1, &grid, NULL), 1);
    assert_int_equal(
        blm_picture_begin(&p, &rule, &grid, &image, tile, 48, scratch, sizeof scratch, NULL),
        0);
    while (blm_picture_read(&p, 1000, NULL) > 0)
        continue;
}

static void a_rule_says_what_shows_through(void **state)
{
    (void)state;
    uint8_t tile[48];
    test_transparent_tile(0, tile);
    for (int i = 0; i < 48; i++)
        assert_int_equal(tile[i], 255);
    test_transparent_tile(0x1000000, tile);
    for (int i = 0; i < 48; i++)
        assert_int_equal(tile[i], 0);
    test_transparent_tile(0x1102030, tile);
    for (int i = 0; i < 48; i++)
        assert_int_equal(tile[i], 0x10 * (1 + i % 3));
}

/* ---- EXIF --------------------------------------------------------------------------------- */

static void nonsense_in_exif_is_no_orientation(void **state)
{
    (void)state;
    static const uint8_t good[26] = {'I', 'I', '*', 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3,
                                     0,   1,   0,   0, 0, 6, 0, 0, 0, 0, 0,    0,    0};
    assert_int_equal(blm_exif_orientation(good, sizeof good), 6);
    for (size_t n = 0; n < 22; n++) {
        uint8_t *part = test_take(n);
        memcpy(part, good, n);
        assert_int_equal(blm_exif_orientation(part, n), 1);
        free(part);
    }
    uint8_t changed[26];
    for (size_t n = 0; n < sizeof good; n++) {
        for (unsigned value = 0; value < 256; value++) {
            memcpy(changed, good, sizeof good);
            changed[n] = (uint8_t)value;
            uint32_t orientation = blm_exif_orientation(changed, sizeof changed);
            assert_true(orientation >= 1 && orientation <= 8);
        }
    }
}

/* ---- Refusals --------------------------------------------------------------------------- */

static void test_refused(const void *bytes, size_t count, const char *subject)
{
    bluelm_error err = {0};
    assert_int_equal(blm_image_check(bytes, count, &err), BLUELM_E_IMAGE);
    if (!strstr(err.subject, subject)) fail_msg("'%s' lacks '%s'", err.subject, subject);
}

static void test_refused_png(const char *form, uint32_t width, uint32_t rows, const char *extra,
                             const char *subject)
{
    uint8_t bytes[2048];
    png_file w = {bytes, 0, 0};
    png_begin(&w, width, 4, form);
    if (extra) {
        png_open_chunk(&w, extra);
        png_put(&w, "\1\2\3\4\5\6\7", 7);
        png_close_chunk(&w);
    }
    test_put_rows(&w, rows);
    test_refused(bytes, w.bytes, subject);
}

static void malformed_pngs_are_refused_with_a_reason(void **state)
{
    (void)state;
    test_refused("GIF89a..", 8, "neither");
    test_refused(NULL, 0, "neither");
    test_refused_png("\x08\x02\0\0\0", 0, 9, NULL, "side");
    test_refused_png("\x08\x02\0\0\0", 65536, 9, NULL, "side");
    test_refused_png("\x08\x02\0\0\0", 0xFFFFFFFF, 9, NULL, "side");
    test_refused_png("\x04\x02\0\0\0", 4, 9, NULL, "depth");
    test_refused_png("\x10\x03\0\0\0", 4, 9, NULL, "depth");
    test_refused_png("\x08\x05\0\0\0", 4, 9, NULL, "depth");
    test_refused_png("\x08\xFF\0\0\0", 4, 9, NULL, "depth");
    test_refused_png("\x08\x02\1\0\0", 4, 9, NULL, "compression");
    test_refused_png("\x08\x02\0\0\2", 4, 9, NULL, "interlacing");
    test_refused_png("\x08\x03\0\0\0", 4, 20, NULL, "no palette");
    test_refused_png("\x08\x03\0\0\0", 4, 20, "PLTE", "palette");
    test_refused_png("\x08\x02\0\0\0", 4, 52, "CgBI", "critical");
    uint8_t bytes[512];
    png_file w = {bytes, 0, 0};
    png_begin(&w, 4, 4, "\x08\x02\0\0\0");
    png_open_chunk(&w, "IEND");
    png_close_chunk(&w);
    test_refused(bytes, w.bytes, "no image data");
}

/* A PNG with this zlib stream, whose rows are asked for until one fails. */
static void test_bad_stream(const char *data, size_t count, const char *subject)
{
    static uint8_t memory[200000];
    uint8_t bytes[512], row[12];
    png_file w = {bytes, 0, 0};
    blm_image_decoder d;
    bluelm_error err = {0};
    png_begin(&w, 4, 4, "\x08\x02\0\0\0");
    png_open_chunk(&w, "IDAT");
    png_put(&w, data, count);
    png_close_chunk(&w);
    png_open_chunk(&w, "IEND");
    png_close_chunk(&w);
    assert_int_equal(blm_image_begin(&d, bytes, w.bytes, NULL, memory, sizeof memory, &err), 0);
    while (blm_image_row(&d, row, &err) == 0)
        continue;
    assert_int_equal(err.code, BLUELM_E_IMAGE);
    assert_true(err.at >= 33 && err.at <= w.bytes);
    if (!strstr(err.subject, subject)) fail_msg("'%s' lacks '%s'", err.subject, subject);
}

static void malformed_compressed_data_are_refused_with_a_reason(void **state)
{
    (void)state;
    test_bad_stream("", 0, "end early");
    test_bad_stream("\x78\x02", 2, "zlib header");
    test_bad_stream("\x79\x01", 2, "zlib header");
    test_bad_stream("\x78\x01", 2, "end early");
    test_bad_stream("\x78\x01\x07", 3, "unknown type");
    test_bad_stream("\x78\x01\x01\x04\0\xFB\xFF\0\0\0\0", 11, "end early");
    test_bad_stream("\x78\x01\x01\x04\0\xFC\xFF\0\0\0\0", 11, "length");
    test_bad_stream("\x78\x01\x01\x0D\0\xF2\xFF\5\0\0\0\0\0\0\0\0\0\0\0\0", 20, "filter");
    /* fixed codes: length 3 from 1 before a beginning; symbol 286; nothing more */
    test_bad_stream("\x78\x01\x03\x02\0\0", 6, "before the beginning");
    test_bad_stream("\x78\x01\x1B\x03\0\0", 6, "unknown code");
    test_bad_stream("\x78\x01\x03\0", 4, "end early");
    test_bad_stream("\x78\x01\xFD\xFF\xFF\xFF", 6, "number of codes");
    test_bad_stream("\x78\x01\x05\0\0\0\0\0\0\0\0\0\0\0", 14, "cod");
}

static void malformed_jpegs_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const uint8_t plain[4] = {0x11, 0x11, 0x11, 0x11}, odd[4] = {0x51, 0x11, 0x11, 0x10},
                         large[4] = {0x44, 0x11, 0x11, 0x11};
    uint8_t bytes[2048];
    size_t count = test_jpeg_header(bytes, 9, 9, 3, plain, 3);
    test_refused(bytes, count, "truncated");
    memcpy(bytes + count, "\xFF\xD9", 2);
    assert_int_equal(blm_image_check(bytes, count + 2, NULL), 0);
    test_refused(bytes, 3, "truncated");
    memcpy(bytes + TEST_FRAME, "\xFF\xD9", 2);
    test_refused(bytes, count, "no frame");
    test_jpeg_header(bytes, 0, 9, 3, plain, 3);
    test_refused(bytes, count, "side");
    test_jpeg_header(bytes, 9, 9, 3, odd, 3);
    test_refused(bytes, count, "sampling");
    test_jpeg_header(bytes, 9, 9, 3, large, 3);
    test_refused(bytes, count, "blocks of a unit");
    test_jpeg_header(bytes, 9, 9, 2, plain, 2);
    test_refused(bytes, count, "components");
    test_jpeg_header(bytes, 9, 9, 3, plain, 3);
    bytes[TEST_FRAME + 4] = 12;
    test_refused(bytes, count, "8 bits");
    test_jpeg_header(bytes, 9, 9, 3, plain, 3);
    bytes[TEST_FRAME + 1] = 0xC9;
    test_refused(bytes, count, "arithmetic");
    test_jpeg_header(bytes, 9, 9, 3, plain, 3);
    bytes[6] = 1; /* another quantization table, of another size */
    test_refused(bytes, count, "no quantization table");
    bytes[6] = 0x10;
    test_refused(bytes, count, "quantization table");
    test_jpeg_header(bytes, 9, 9, 3, plain, 3);
    bytes[count - 8] = 0x20; /* of the first component: DC table 2 */
    test_refused(bytes, count, "no huffman table");
    test_jpeg_header(bytes, 9, 9, 3, plain, 3);
    bytes[76] = 3; /* three codes of one bit */
    test_refused(bytes, count, "huffman table");
    count = test_jpeg_header(bytes, 9, 9, 3, plain, 3);
    memcpy(bytes + count, "\xFF\xC0\0\2", 4);
    test_refused(bytes, count + 4, "two frames");
    size_t scan = count - 14;
    for (int i = 0; i < 256 && count < sizeof bytes - 14; i++, count += 14)
        memmove(bytes + count, bytes + scan, 14);
    test_refused(bytes, count, "truncated");
    uint8_t *many = test_take(8192);
    count = test_jpeg_header(many, 9, 9, 3, plain, 3);
    for (int i = 0; i < 256; i++, count += 14)
        memcpy(many + count, many + scan, 14);
    test_refused(many, count, "scans");
    free(many);
}

/* What the check cannot see: a scan that is too short, a marker that is not there. */
static void short_scans_are_refused_when_they_are_decoded(void **state)
{
    (void)state;
    static uint8_t memory[400000];
    bluelm_image im = test_load("jpeg-restart-3.jpg");
    uint8_t *bytes = (uint8_t *)(uintptr_t)im.encoded, row[3 * 35];
    size_t count = im.encoded_bytes, at = count - 2;
    bluelm_error err;
    blm_image_decoder d;
    while (bytes[at] != 0xFF || bytes[at + 1] < 0xD0 || bytes[at + 1] > 0xD7)
        at--;
    uint8_t marker = bytes[at + 1];
    bytes[at + 1] = marker == 0xD0 ? 0xD7 : (uint8_t)(marker - 1);
    assert_int_equal(blm_image_check(bytes, count, NULL), 0);
    assert_int_equal(test_begin(&d, &im, memory, sizeof memory, &err), 0);
    while (blm_image_row(&d, row, &err) == 0)
        continue;
    assert_true(strstr(err.subject, "restart") != NULL && err.at == at);
    bytes[at + 1] = 0xD9;
    assert_int_equal(blm_image_check(bytes, count, NULL), 0);
    assert_int_equal(test_begin(&d, &im, memory, sizeof memory, &err), 0);
    while (blm_image_row(&d, row, &err) == 0)
        continue;
    assert_true(strstr(err.subject, "restart") != NULL && err.at == at);
    test_drop(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_picture_decodes_as_in_pillow),
        cmocka_unit_test(pictures_decode_side_by_side_anywhere_in_memory),
        cmocka_unit_test(every_truncation_is_refused_when_it_is_checked),
        cmocka_unit_test(every_flipped_bit_of_a_png_is_refused),
        cmocka_unit_test(damaged_bytes_do_no_harm),
        cmocka_unit_test(the_worst_png_decodes_in_what_it_says_it_needs),
        cmocka_unit_test(memory_depends_on_the_width_alone),
        cmocka_unit_test(the_background_shows_through_what_is_transparent),
        cmocka_unit_test(a_rule_says_what_shows_through),
        cmocka_unit_test(nonsense_in_exif_is_no_orientation),
        cmocka_unit_test(malformed_pngs_are_refused_with_a_reason),
        cmocka_unit_test(malformed_compressed_data_are_refused_with_a_reason),
        cmocka_unit_test(malformed_jpegs_are_refused_with_a_reason),
        cmocka_unit_test(short_scans_are_refused_when_they_are_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
