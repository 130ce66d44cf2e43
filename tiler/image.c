#include "image.h"

#include "../base/name.h"
#include "exif.h"

#ifdef BLUELM_NO_IMAGE_DECODE

static int blm_image_left_out(bluelm_error *err)
{
    return blm_fail(err, BLUELM_E_UNSUPPORTED, "encoded pictures (built without)", 0, 0, 0);
}

BLM_PRIVATE int blm_image_info(const void *encoded, size_t bytes, blm_image_facts *facts,
                               bluelm_error *err)
{
    (void)encoded, (void)bytes;
    memset(facts, 0, sizeof *facts);
    return blm_image_left_out(err);
}

BLM_PRIVATE int blm_image_check(const void *encoded, size_t bytes, bluelm_error *err)
{
    (void)encoded, (void)bytes;
    return blm_image_left_out(err);
}

BLM_PRIVATE uint64_t blm_image_scratch_bytes(uint32_t max_width_px)
{
    (void)max_width_px;
    return 0;
}

BLM_PRIVATE int blm_image_need(const void *encoded, size_t bytes, uint64_t *need,
                               bluelm_error *err)
{
    (void)encoded, (void)bytes;
    *need = 0;
    return blm_image_left_out(err);
}

BLM_PRIVATE int blm_image_begin(blm_image_decoder *d, const void *encoded, size_t bytes,
                                const uint8_t *background_rgb, void *memory,
                                uint64_t memory_bytes, bluelm_error *err)
{
    (void)encoded, (void)bytes, (void)background_rgb, (void)memory, (void)memory_bytes;
    memset(d, 0, sizeof *d);
    return blm_image_left_out(err);
}

BLM_PRIVATE int blm_image_row(blm_image_decoder *d, uint8_t *row_rgb, bluelm_error *err)
{
    (void)d, (void)row_rgb;
    return blm_image_left_out(err);
}

BLM_PRIVATE uint64_t blm_image_decode_bytes(uint32_t max_pixels)
{
    (void)max_pixels;
    return 0;
}

BLM_PRIVATE int blm_image_decode(const bluelm_image *in, uint32_t max_pixels, void *memory,
                                 uint64_t memory_bytes, bluelm_image *out, bluelm_error *err)
{
    (void)in, (void)max_pixels, (void)memory, (void)memory_bytes;
    memset(out, 0, sizeof *out);
    return blm_image_left_out(err);
}

#else

/* ---- stb_image ------------------------------------------------------------------- */

#if defined(__STDC_HOSTED__) && __STDC_HOSTED__ && !defined(BLUELM_NO_THREAD_LOCALS) &&        \
    (defined(__unix__) || defined(__APPLE__) || defined(_WIN32))
#define BLM_IMAGE_LOCAL __thread
#else
#define BLM_IMAGE_LOCAL
#define STBI_NO_THREAD_LOCALS
#endif

/* stb_image's memory: taken upwards, given back only from the top. */
typedef struct blm_image_heap {
    uint8_t *base;
    uint64_t limit, used;
    uint64_t last; /* where the last piece begins */
    int short_of_memory;
} blm_image_heap;

static BLM_IMAGE_LOCAL blm_image_heap *blm_image_heap_now;

#define BLM_IMAGE_ALIGN 16 /* of SIMD blocks */

static uint64_t blm_image_round(uint64_t bytes)
{
    return (bytes + BLM_IMAGE_ALIGN - 1) / BLM_IMAGE_ALIGN * BLM_IMAGE_ALIGN;
}

/* Cleared, because stb_image reads tables and planes that a bad file never filled. */
static void *blm_image_take(size_t bytes)
{
    blm_image_heap *h = blm_image_heap_now;
    uint64_t rounded = blm_image_round(bytes);
    if (rounded > h->limit - h->used) {
        h->short_of_memory = 1;
        return NULL;
    }
    h->last = h->used;
    h->used += rounded;
    memset(h->base + h->last, 0, (size_t)rounded);
    return h->base + h->last;
}

static void blm_image_give_back(void *piece)
{
    blm_image_heap *h = blm_image_heap_now;
    if (piece && piece == h->base + h->last) h->used = h->last;
}

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBIDEF static __attribute__((unused))
#define STBI_ONLY_JPEG
#define STBI_SUPPORT_ZLIB
#define STBI_NO_GIF
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_ASSERT(x)                ((void)0)
#define STBI_MALLOC(n)                blm_image_take(n)
#define STBI_FREE(p)                  blm_image_give_back(p)
/* Only growing inflate buffers ask for more, and those are not used. */
#define STBI_REALLOC_SIZED(p, old, n) ((void)(p), (void)(old), (void)(n), (void *)0)
#ifndef BLUELM_STB_IMAGE
#define BLUELM_STB_IMAGE <stb/stb_image.h>
#endif

/* Functions that a header without PNG declares and never defines, which gcc warns of at
 * the end of the file, where no pragma reaches: they declare a defined one once more. */
#define stbi_set_unpremultiply_on_load        stbi_set_flip_vertically_on_load
#define stbi_convert_iphone_png_to_rgb        stbi_set_flip_vertically_on_load
#define stbi_set_unpremultiply_on_load_thread stbi_set_flip_vertically_on_load
#define stbi_convert_iphone_png_to_rgb_thread stbi_set_flip_vertically_on_load
#ifdef STBI_NO_THREAD_LOCALS
#define stbi_set_flip_vertically_on_load_thread stbi_set_flip_vertically_on_load
#endif

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-value"
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wdouble-promotion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
/* Data that end early make stb_image's JPEG bit reader shift by more than a word holds and
 * its sums of DC differences overflow: wrong pixels at most, which a sanitizer need not
 * report again and again. */
#if defined(__clang__)
#if __has_feature(undefined_behavior_sanitizer)
#pragma clang attribute push(__attribute__((no_sanitize("shift", "signed-integer-overflow"))), \
                             apply_to = function)
#define BLM_IMAGE_UNSANITIZED
#endif
#endif
#include <stdlib.h> /* before abs is redirected: its declaration keeps its name */
#define abs __builtin_abs
#include BLUELM_STB_IMAGE
#undef STB_IMAGE_IMPLEMENTATION
#ifdef BLM_IMAGE_UNSANITIZED
#pragma clang attribute pop
#endif
#undef abs
#undef stbi_set_unpremultiply_on_load
#undef stbi_convert_iphone_png_to_rgb
#undef stbi_set_unpremultiply_on_load_thread
#undef stbi_convert_iphone_png_to_rgb_thread
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* ---- Bytes ----------------------------------------------------------------------------- */

static const uint8_t blm_png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};

static uint32_t blm_image_u16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t blm_image_u32(const uint8_t *p)
{
    return blm_image_u16(p) << 16 | blm_image_u16(p + 2);
}

static int blm_image_bad(bluelm_error *err, const char *subject, uint64_t at)
{
    return blm_fail(err, BLUELM_E_IMAGE, subject, 0, 0, at);
}

static int blm_image_check_sides(uint32_t width, uint32_t height, bluelm_error *err)
{
    if (width >= 1 && width <= 65535 && height >= 1 && height <= 65535) return 0;
    uint32_t side = width >= 1 && width <= 65535 ? height : width;
    return blm_fail(err, BLUELM_E_IMAGE, "picture side", 65535, side, 0);
}

/* ---- PNG: chunks ------------------------------------------------------------------------- */

/* What a PNG file says; the data of all IDAT chunks follow one another. */
typedef struct blm_png {
    const uint8_t *file;
    size_t bytes;
    uint32_t width, height, depth, channels;
    int indexed, interlaced;
    const uint8_t *palette; /* [colors][3]                                  */
    uint32_t colors;
    size_t idat_at; /* of the first IDAT chunk's length             */
    uint32_t idat_chunks;
    uint64_t idat_bytes; /* of all IDAT data together                    */
} blm_png;

/* Rows of one interlacing pass, or of the picture itself. */
typedef struct blm_png_pass {
    uint32_t x0, y0, dx, dy; /* where its pixels lie in the picture          */
    uint32_t width, height;
    uint64_t row_bytes; /* without the filter byte                      */
} blm_png_pass;

static uint32_t blm_png_crc(const uint8_t *p, size_t bytes)
{
    /* Four bits at a time: 64 bytes of table instead of 1024. */
    static const uint32_t table[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC,
                                       0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
                                       0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                       0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static int blm_png_known_depth(uint32_t color, uint32_t depth)
{
    int power = depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
    if (!power) return 0;
    if (color == 0) return 1;
    if (color == 3) return depth <= 8;
    return (color == 2 || color == 4 || color == 6) && depth >= 8;
}

static int blm_png_header(blm_png *p, const uint8_t *file, size_t bytes, bluelm_error *err)
{
    static const uint8_t channels_of[7] = {1, 0, 3, 1, 2, 0, 4};
    memset(p, 0, sizeof *p);
    p->file = file;
    p->bytes = bytes;
    if (bytes < 33) return blm_image_bad(err, "png: truncated", bytes);
    const uint8_t *h = file + 16;
    if (blm_image_u32(file + 8) != 13 || memcmp(file + 12, "IHDR", 4) != 0)
        return blm_image_bad(err, "png: no IHDR", 8);
    if (blm_image_u32(h + 13) != blm_png_crc(file + 12, 17))
        return blm_image_bad(err, "png: checksum of IHDR", 29);
    p->width = blm_image_u32(h);
    p->height = blm_image_u32(h + 4);
    p->depth = h[8];
    if (!blm_png_known_depth(h[9], h[8]))
        return blm_image_bad(err, "png: bit depth, colour", 24);
    if (h[10] != 0 || h[11] != 0 || h[12] > 1)
        return blm_image_bad(err, "png: compression, filter, interlacing", 26);
    p->channels = channels_of[h[9]];
    p->indexed = h[9] == 3;
    p->interlaced = h[12];
    return blm_image_check_sides(p->width, p->height, err);
}

static int blm_png_add_palette(blm_png *p, const uint8_t *data, uint32_t length, uint64_t at,
                               bluelm_error *err)
{
    if (p->palette || p->idat_chunks || length == 0 || length % 3 || length > 768)
        return blm_image_bad(err, "png: palette", at);
    p->palette = data;
    p->colors = length / 3;
    return 0;
}

/* Walks the chunks after the header once: lengths, order, checksums of those that
 * matter, the palette, and where the image data lie. */
static int blm_png_walk(blm_png *p, bluelm_error *err)
{
    size_t at = 33, idat_end = 0;
    for (;;) {
        if (p->bytes - at < 12) return blm_image_bad(err, "png: truncated", at);
        uint32_t length = blm_image_u32(p->file + at);
        const uint8_t *type = p->file + at + 4;
        if (length > p->bytes - at - 12) return blm_image_bad(err, "png: truncated", at);
        size_t end = at + 12 + length;
        if (!(type[0] & 0x20)) { /* a chunk that matters */
            if (blm_image_u32(type + 4 + length) != blm_png_crc(type, (size_t)length + 4))
                return blm_image_bad(err, "png: checksum", at);
            int status = 0;
            if (memcmp(type, "IEND", 4) == 0) break;
            if (memcmp(type, "PLTE", 4) == 0) {
                status = blm_png_add_palette(p, type + 4, length, at, err);
            } else if (memcmp(type, "IDAT", 4) == 0) {
                if (p->idat_chunks && idat_end != at)
                    return blm_image_bad(err, "png: scattered image data", at);
                if (!p->idat_chunks) p->idat_at = at;
                p->idat_chunks++;
                p->idat_bytes += length;
                idat_end = end;
            } else {
                return blm_image_bad(err, "png: unknown critical chunk", at);
            }
            if (status < 0) return status;
        }
        at = end;
    }
    if (p->idat_chunks == 0) return blm_image_bad(err, "png: no image data", at);
    if (p->indexed && !p->palette) return blm_image_bad(err, "png: no palette", at);
    return 0;
}

/* ---- PNG: rows ------------------------------------------------------------------------------- */

/* Pass 0..6 of an interlaced picture, or pass 0 of another. Returns 0 if it is empty. */
static int blm_png_pass_of(const blm_png *p, uint32_t pass, blm_png_pass *out)
{
    static const uint8_t shape[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                        {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    static const uint8_t plain[4] = {0, 0, 1, 1};
    const uint8_t *s = p->interlaced ? shape[pass] : plain;
    out->x0 = s[0], out->y0 = s[1], out->dx = s[2], out->dy = s[3];
    if (p->width <= s[0] || p->height <= s[1]) return 0;
    out->width = (p->width - s[0] + s[2] - 1) / s[2];
    out->height = (p->height - s[1] + s[3] - 1) / s[3];
    out->row_bytes = ((uint64_t)out->width * p->depth * p->channels + 7) / 8;
    return 1;
}

static uint32_t blm_png_passes(const blm_png *p)
{
    return p->interlaced ? 7 : 1;
}

/* Bytes of all rows with their filter bytes. */
static uint64_t blm_png_row_total(const blm_png *p)
{
    uint64_t total = 0;
    blm_png_pass pass;
    for (uint32_t i = 0; i < blm_png_passes(p); i++)
        if (blm_png_pass_of(p, i, &pass)) total += (pass.row_bytes + 1) * pass.height;
    return total;
}

/* Where things lie while a PNG is decoded:
 *   plain       | rows -> RGB in place        | joined IDAT |
 *   interlaced  | joined IDAT, then RGB | rows              |
 * A single IDAT chunk is inflated from the file. */
typedef struct blm_png_layout {
    uint64_t rgb_bytes, row_total, joined_bytes;
    uint64_t rows_at, joined_at, need;
} blm_png_layout;

static void blm_png_lay_out(const blm_png *p, blm_png_layout *l)
{
    l->rgb_bytes = (uint64_t)p->width * p->height * 3;
    l->row_total = blm_png_row_total(p);
    l->joined_bytes = p->idat_chunks > 1 ? p->idat_bytes : 0;
    if (p->interlaced) {
        l->joined_at = 0;
        l->rows_at = BLM_MAX(l->rgb_bytes, l->joined_bytes);
        l->need = l->rows_at + l->row_total;
    } else {
        l->rows_at = 0;
        l->joined_at = l->row_total;
        l->need = BLM_MAX(l->row_total + l->joined_bytes, l->rgb_bytes);
    }
}

/* Puts the data of all IDAT chunks, which follow one another, together. */
static void blm_png_join(const blm_png *p, uint8_t *out)
{
    size_t at = p->idat_at;
    for (uint32_t i = 0; i < p->idat_chunks; i++) {
        uint32_t length = blm_image_u32(p->file + at);
        memcpy(out, p->file + at + 8, length);
        out += length;
        at += (size_t)length + 12;
    }
}

static int blm_png_inflate(const blm_png *p, const blm_png_layout *l, uint8_t *memory,
                           bluelm_error *err)
{
    const uint8_t *data = p->file + p->idat_at + 8;
    if (l->joined_bytes) {
        blm_png_join(p, memory + l->joined_at);
        data = memory + l->joined_at;
    }
    if (p->idat_bytes > INT32_MAX || l->row_total > INT32_MAX)
        return blm_fail(err, BLUELM_E_IMAGE, "png: bytes of image data", INT32_MAX,
                        BLM_MAX(p->idat_bytes, l->row_total), 0);
    uint8_t *rows = memory + l->rows_at;
    memset(rows, 0, (size_t)l->row_total); /* a bad distance of 0 copies what is there */
    stbi__g_failure_reason = NULL;
    int got = stbi_zlib_decode_buffer((char *)rows, (int)l->row_total, (const char *)data,
                                      (int)p->idat_bytes);
    stbi__g_failure_reason = NULL;
    if (got < 0) return blm_image_bad(err, "png: bad compressed data", p->idat_at);
    if ((uint64_t)got != l->row_total)
        return blm_fail(err, BLUELM_E_IMAGE, "png: too little image data", l->row_total,
                        (uint64_t)got, p->idat_at);
    return 0;
}

static uint8_t blm_png_paeth(int left, int above, int corner)
{
    int by_left = above - corner, by_above = left - corner, by_corner = by_left + by_above;
    by_left = by_left < 0 ? -by_left : by_left;
    by_above = by_above < 0 ? -by_above : by_above;
    by_corner = by_corner < 0 ? -by_corner : by_corner;
    if (by_left <= by_above && by_left <= by_corner) return (uint8_t)left;
    return (uint8_t)(by_above <= by_corner ? above : corner);
}

/* Undoes one row's filter. above: the row before, NULL for the first: it counts as
 * zeros, as do the `step` bytes (of a pixel) left of the row. Returns 0 for a filter that
 * is not known. */
static int blm_png_unfilter_row(uint32_t filter, uint8_t *row, const uint8_t *above,
                                size_t bytes, size_t step)
{
    if (filter > 4) return 0;
    if (!above) { /* filters without the row above */
        if (filter == 0 || filter == 2) return 1;
        for (size_t i = step; i < bytes; i++)
            row[i] = (uint8_t)(row[i] + (filter == 3 ? row[i - step] / 2 : row[i - step]));
        return 1;
    }
    size_t first = BLM_MIN(step, bytes); /* bytes with nothing to their left */
    if (filter == 1) {
        for (size_t i = step; i < bytes; i++)
            row[i] = (uint8_t)(row[i] + row[i - step]);
    } else if (filter == 2) {
        for (size_t i = 0; i < bytes; i++)
            row[i] = (uint8_t)(row[i] + above[i]);
    } else if (filter == 3) {
        for (size_t i = 0; i < first; i++)
            row[i] = (uint8_t)(row[i] + above[i] / 2);
        for (size_t i = step; i < bytes; i++)
            row[i] = (uint8_t)(row[i] + (row[i - step] + above[i]) / 2);
    } else if (filter == 4) {
        for (size_t i = 0; i < first; i++)
            row[i] = (uint8_t)(row[i] + above[i]);
        for (size_t i = step; i < bytes; i++)
            row[i] =
                (uint8_t)(row[i] + blm_png_paeth(row[i - step], above[i], above[i - step]));
    }
    return 1;
}

static int blm_png_unfilter(const blm_png *p, const blm_png_pass *pass, uint8_t *rows)
{
    size_t bytes = (size_t)pass->row_bytes;
    size_t step = p->depth * p->channels < 8 ? 1 : p->depth * p->channels / 8;
    const uint8_t *above = NULL;
    for (uint32_t y = 0; y < pass->height; y++, rows += bytes + 1) {
        if (!blm_png_unfilter_row(rows[0], rows + 1, above, bytes, step)) return 0;
        above = rows + 1;
    }
    return 1;
}

/* The RGB of pixel x of an unfiltered row. */
static void blm_png_pixel(const blm_png *p, const uint8_t *row, uint32_t x, uint8_t rgb[3])
{
    size_t sample = p->depth / 8; /* bytes; the first is the upper one */
    if (p->channels >= 3) {
        const uint8_t *px = row + (size_t)x * p->channels * sample;
        rgb[0] = px[0], rgb[1] = px[sample], rgb[2] = px[2 * sample];
        return;
    }
    uint32_t value;
    if (p->depth >= 8) {
        value = row[(size_t)x * p->channels * sample];
    } else {
        uint32_t per_byte = 8 / p->depth, most = (1u << p->depth) - 1;
        value = (uint32_t)row[x / per_byte] >> (8 - p->depth * (x % per_byte + 1)) & most;
        if (!p->indexed) value = value * 255 / most;
    }
    if (p->indexed) {
        static const uint8_t black[3] = {0, 0, 0}; /* for what the palette lacks */
        memcpy(rgb, value < p->colors ? p->palette + 3 * value : black, 3);
        return;
    }
    rgb[0] = rgb[1] = rgb[2] = (uint8_t)value;
}

/* Rows to RGB in the same place. Pixels of 3 bytes and more shrink, from the front; the
 * others grow, from the back. Either way no pixel is overwritten before it is read: a
 * row's filter byte keeps pixel i's bytes at or above 3i in the first case, and below
 * 3i + 3 in the second. */
static void blm_png_convert_in_place(const blm_png *p, const blm_png_pass *pass, uint8_t *rows)
{
    int grows = p->channels * p->depth < 24, plain = p->channels == 3 && p->depth == 8;
    for (uint32_t n = 0; n < p->height; n++) {
        uint32_t y = grows ? p->height - 1 - n : n;
        const uint8_t *row = rows + y * (pass->row_bytes + 1) + 1;
        uint8_t *to = rows + (uint64_t)y * p->width * 3, rgb[3];
        if (plain) {
            memmove(to, row, (size_t)p->width * 3);
            continue;
        }
        for (uint32_t k = 0; k < p->width; k++) {
            uint32_t x = grows ? p->width - 1 - k : k;
            blm_png_pixel(p, row, x, rgb);
            memcpy(to + (size_t)x * 3, rgb, 3);
        }
    }
}

static void blm_png_scatter(const blm_png *p, const blm_png_pass *pass, const uint8_t *rows,
                            uint8_t *out)
{
    for (uint32_t y = 0; y < pass->height; y++) {
        uint8_t *to = out + ((size_t)(pass->y0 + y * pass->dy) * p->width + pass->x0) * 3;
        const uint8_t *row = rows + y * (pass->row_bytes + 1) + 1;
        for (uint32_t x = 0; x < pass->width; x++, to += (size_t)pass->dx * 3)
            blm_png_pixel(p, row, x, to);
    }
}

static int blm_png_decode(const blm_png *p, uint8_t *memory, bluelm_error *err)
{
    blm_png_layout l;
    blm_png_lay_out(p, &l);
    int status = blm_png_inflate(p, &l, memory, err);
    if (status < 0) return status;
    uint8_t *rows = memory + l.rows_at;
    for (uint32_t i = 0; i < blm_png_passes(p); i++) {
        blm_png_pass pass;
        if (!blm_png_pass_of(p, i, &pass)) continue;
        if (!blm_png_unfilter(p, &pass, rows))
            return blm_image_bad(err, "png: unknown row filter", p->idat_at);
        if (p->interlaced)
            blm_png_scatter(p, &pass, rows, memory);
        else
            blm_png_convert_in_place(p, &pass, rows);
        rows += (pass.row_bytes + 1) * pass.height;
    }
    return 0;
}

/* ---- JPEG ------------------------------------------------------------------------------------ */

#define BLM_JPEG_SCANS 256 /* a file may ask for any number of passes over the picture */

typedef struct blm_jpeg {
    uint32_t width, height, components;
    int progressive;
    uint8_t across[4], down[4]; /* sampling factors */
} blm_jpeg;

static int blm_jpeg_frame(blm_jpeg *j, const uint8_t *data, size_t bytes, uint64_t at,
                          bluelm_error *err)
{
    if (bytes < 6) return blm_image_bad(err, "jpeg: frame header", at);
    if (data[0] != 8) return blm_image_bad(err, "jpeg: not 8 bits a sample", at);
    j->height = blm_image_u16(data + 1);
    j->width = blm_image_u16(data + 3);
    j->components = data[5];
    if (j->components != 1 && j->components != 3 && j->components != 4)
        return blm_image_bad(err, "jpeg: components", at);
    if (bytes != 6 + 3 * (size_t)j->components)
        return blm_image_bad(err, "jpeg: frame header", at);
    for (uint32_t i = 0; i < j->components; i++) {
        uint8_t factors = data[6 + 3 * i + 1];
        j->across[i] = factors >> 4;
        j->down[i] = factors & 15;
        if (j->across[i] < 1 || j->across[i] > 4 || j->down[i] < 1 || j->down[i] > 4)
            return blm_image_bad(err, "jpeg: sampling factors", at);
    }
    return blm_image_check_sides(j->width, j->height, err);
}

/* Steps to the next segment: its marker, its payload and where that lies. Returns 1, 0
 * at the end of the picture, or BLUELM_E_IMAGE. What lies between segments, compressed
 * data with its restart markers, is stepped over. */
static int blm_jpeg_next(const uint8_t *file, size_t bytes, size_t *at, uint32_t *marker,
                         const uint8_t **data, size_t *length, bluelm_error *err)
{
    do {
        while (*at < bytes && file[*at] != 0xFF)
            ++*at;
        while (*at < bytes && file[*at] == 0xFF)
            ++*at;
        if (*at >= bytes) return blm_image_bad(err, "jpeg: truncated", bytes);
        *marker = file[(*at)++];
    } while (*marker == 0 || (*marker >= 0xD0 && *marker <= 0xD7));
    if (*marker == 0xD9) return 0;
    if (bytes - *at < 2) return blm_image_bad(err, "jpeg: truncated", bytes);
    uint32_t total = blm_image_u16(file + *at);
    if (total < 2) return blm_image_bad(err, "jpeg: segment length", *at);
    if (total > bytes - *at) return blm_image_bad(err, "jpeg: truncated", bytes);
    *data = file + *at + 2;
    *length = total - 2;
    *at += total;
    return 1;
}

/* Finds the frame header. */
static int blm_jpeg_header(blm_jpeg *j, const uint8_t *file, size_t bytes, bluelm_error *err)
{
    size_t at = 2, length = 0;
    uint32_t marker = 0;
    const uint8_t *data = NULL;
    memset(j, 0, sizeof *j);
    for (;;) {
        int status = blm_jpeg_next(file, bytes, &at, &marker, &data, &length, err);
        if (status < 0) return status;
        if (status == 0 || marker == 0xDA) return blm_image_bad(err, "jpeg: no frame", at);
        if (marker < 0xC0 || marker > 0xCF || marker == 0xC4) continue;
        if (marker > 0xC2) return blm_image_bad(err, "jpeg: lossless or arithmetic coding", at);
        j->progressive = marker == 0xC2;
        return blm_jpeg_frame(j, data, length, at - length, err);
    }
}

/* Memory stb_image takes for this frame: its state, planes and coefficients of whole
 * blocks, a line for each component, and the RGB result. */
static uint64_t blm_jpeg_need(const blm_jpeg *j)
{
    uint32_t across = 1, down = 1;
    for (uint32_t i = 0; i < j->components; i++) {
        across = BLM_MAX(across, j->across[i]);
        down = BLM_MAX(down, j->down[i]);
    }
    uint64_t blocks_x = (j->width + 8 * across - 1) / (8 * across);
    uint64_t blocks_y = (j->height + 8 * down - 1) / (8 * down);
    uint64_t need = blm_image_round(sizeof(stbi__jpeg));
    for (uint32_t i = 0; i < j->components; i++) {
        uint64_t plane = blocks_x * blocks_y * 64 * j->across[i] * j->down[i];
        need += blm_image_round(plane + 15) + blm_image_round(j->width + 3);
        if (j->progressive) need += blm_image_round(2 * plane + 15);
    }
    return need + blm_image_round((uint64_t)j->width * j->height * 3 + 1);
}

/* Huffman tables of one DHT segment: stb_image trusts the number of their codes. */
static int blm_jpeg_check_huffman(const uint8_t *data, size_t bytes, uint64_t at,
                                  bluelm_error *err)
{
    while (bytes > 0) {
        uint32_t codes = 0;
        if (bytes < 17) return blm_image_bad(err, "jpeg: huffman table", at);
        for (uint32_t i = 1; i <= 16; i++)
            codes += data[i];
        if (codes > 256 || codes > bytes - 17)
            return blm_image_bad(err, "jpeg: huffman table", at);
        data += 17 + codes;
        bytes -= 17 + codes;
    }
    return 0;
}

/* Walks a whole file, before stb_image does: tables, and files that would pass over the
 * picture again and again. */
static int blm_jpeg_walk(const uint8_t *file, size_t bytes, bluelm_error *err)
{
    size_t at = 2, length = 0;
    uint32_t scans = 0, marker = 0;
    const uint8_t *data = NULL;
    for (;;) {
        int status = blm_jpeg_next(file, bytes, &at, &marker, &data, &length, err);
        if (status < 0) return status;
        if (status == 0) break;
        if (marker == 0xC4) status = blm_jpeg_check_huffman(data, length, at - length, err);
        if (status < 0) return status;
        if (marker == 0xDA && ++scans > BLM_JPEG_SCANS)
            return blm_fail(err, BLUELM_E_IMAGE, "jpeg: scans", BLM_JPEG_SCANS, scans, at);
    }
    return scans ? 0 : blm_image_bad(err, "jpeg: no image data", at);
}

/* "jpeg: " and stb_image's own few words. */
static int blm_jpeg_failed(bluelm_error *err, const char *reason)
{
    blm_name subject;
    blm_name_add(blm_name_start(&subject, "jpeg: "), reason ? reason : "corrupt");
    return blm_image_bad(err, subject.text, 0);
}

static int blm_jpeg_decode(const blm_jpeg *j, const uint8_t *file, size_t bytes,
                           uint8_t *memory, uint64_t memory_bytes, bluelm_error *err)
{
    int status = blm_jpeg_walk(file, bytes, err);
    if (status < 0) return status;
    if (bytes > INT32_MAX)
        return blm_fail(err, BLUELM_E_IMAGE, "jpeg: bytes", INT32_MAX, bytes, 0);
    uint64_t skip = (0 - (uintptr_t)memory) & (BLM_IMAGE_ALIGN - 1);
    blm_image_heap heap = {memory + skip, memory_bytes - skip, 0, 0, 0};
    int width = 0, height = 0, components = 0;
    blm_image_heap_now = &heap;
    stbi__g_failure_reason = NULL;
    uint8_t *rgb = stbi_load_from_memory(file, (int)bytes, &width, &height, &components, 3);
    const char *reason = stbi__g_failure_reason;
    blm_image_heap_now = NULL;
    stbi__g_failure_reason = NULL;
    if (!rgb && heap.short_of_memory) reason = "more memory than its header says";
    if (!rgb) return blm_jpeg_failed(err, reason);
    if ((uint32_t)width != j->width || (uint32_t)height != j->height)
        return blm_image_bad(err, "jpeg: two frames", 0);
    memmove(memory, rgb, (size_t)width * (size_t)height * 3);
    return 0;
}

/* ---- Either ------------------------------------------------------------------------------------ */

typedef struct blm_image_file {
    const uint8_t *file;
    size_t bytes;
    int is_png;
    blm_png png;
    blm_jpeg jpeg;
    uint32_t width, height;
} blm_image_file;

static int blm_image_open(blm_image_file *f, const void *encoded, size_t bytes,
                          bluelm_error *err)
{
    int status;
    f->file = (const uint8_t *)encoded;
    f->bytes = bytes;
    f->is_png = bytes >= 8 && encoded && memcmp(encoded, blm_png_signature, 8) == 0;
    if (f->is_png) {
        status = blm_png_header(&f->png, f->file, bytes, err);
        f->width = f->png.width, f->height = f->png.height;
        return status;
    }
    if (!encoded || bytes < 3 || memcmp(encoded, "\xFF\xD8\xFF", 3) != 0)
        return blm_image_bad(err, "picture is neither PNG nor JPEG", 0);
    status = blm_jpeg_header(&f->jpeg, f->file, bytes, err);
    f->width = f->jpeg.width, f->height = f->jpeg.height;
    return status;
}

static int blm_image_measure(blm_image_file *f, uint64_t *need, bluelm_error *err)
{
    blm_png_layout l;
    if (!f->is_png) {
        *need = blm_jpeg_need(&f->jpeg);
        return 0;
    }
    int status = blm_png_walk(&f->png, err);
    if (status < 0) return status;
    blm_png_lay_out(&f->png, &l);
    *need = l.need;
    return 0;
}

BLM_PRIVATE int blm_image_info(const void *encoded, size_t bytes, blm_image_facts *facts,
                               bluelm_error *err)
{
    blm_image_file f;
    memset(facts, 0, sizeof *facts);
    int status = blm_image_open(&f, encoded, bytes, err);
    if (status < 0) return status;
    facts->width_px = facts->stored_width_px = f.width;
    facts->height_px = facts->stored_height_px = f.height;
    facts->orientation = 1;
    facts->kind = f.is_png ? BLM_IMAGE_PNG : BLM_IMAGE_JPEG;
    facts->whole_picture = 1;
    return 0;
}

BLM_PRIVATE int blm_image_check(const void *encoded, size_t bytes, bluelm_error *err)
{
    blm_image_file f;
    int status = blm_image_open(&f, encoded, bytes, err);
    if (status < 0) return status;
    return f.is_png ? blm_png_walk(&f.png, err) : blm_jpeg_walk(f.file, f.bytes, err);
}

BLM_PRIVATE uint64_t blm_image_scratch_bytes(uint32_t max_width_px)
{
    return blm_image_decode_bytes(max_width_px * max_width_px);
}

BLM_PRIVATE int blm_image_begin(blm_image_decoder *d, const void *encoded, size_t bytes,
                                const uint8_t *background_rgb, void *memory,
                                uint64_t memory_bytes, bluelm_error *err)
{
    bluelm_image in = {NULL, 0, 0, 0, encoded, bytes}, out;
    memset(d, 0, sizeof *d);
    (void)background_rgb;
    int status = blm_image_info(encoded, bytes, &d->facts, err);
    if (status == 0)
        status = blm_image_decode(&in, UINT32_MAX - 1, memory, memory_bytes, &out, err);
    d->failed = status;
    d->state = memory;
    return status;
}

BLM_PRIVATE int blm_image_row(blm_image_decoder *d, uint8_t *row_rgb, bluelm_error *err)
{
    size_t bytes = (size_t)d->facts.stored_width_px * 3;
    if (d->failed || d->next_row == d->facts.stored_height_px)
        return blm_fail(err, BLUELM_E_STATE, "rows of a picture", 0, 0, 0);
    memcpy(row_rgb, (const uint8_t *)d->state + bytes * d->next_row++, bytes);
    return 0;
}

BLM_PRIVATE int blm_image_need(const void *encoded, size_t bytes, uint64_t *need,
                               bluelm_error *err)
{
    blm_image_file f;
    *need = 0;
    int status = blm_image_open(&f, encoded, bytes, err);
    return status < 0 ? status : blm_image_measure(&f, need, err);
}

/* The whole root of n, rounded up. */
static uint64_t blm_image_root(uint64_t n)
{
    uint64_t root = 0;
    for (uint64_t bit = 1 << 16; bit; bit >>= 1)
        if ((root + bit) * (root + bit) <= n) root += bit;
    return root + (root * root < n);
}

BLM_PRIVATE uint64_t blm_image_decode_bytes(uint32_t max_pixels)
{
    if (max_pixels == BLUELM_NO_IMAGE_DECODE_PIXELS || max_pixels == 0) return 0;
    uint64_t n = max_pixels, side = BLM_MIN(n, 65535);
    /* Filter bytes: 15/8 of the height and 7, when interlaced. */
    uint64_t rows = 8 * n + 2 * side + 7;
    uint64_t png = rows + BLM_MAX(rows + rows / 1000 + 64, 3 * n);
    /* Sides up to r and r/16 of a picture of n pixels add up to at most 4.25 root(n);
     * a side rounded to 32 grows by at most 31. */
    uint64_t padded = n + 31 * (17 * blm_image_root(n) / 4 + 1) + 31 * 31;
    uint64_t pieces = 4 * (3 * 32 + 2 * 16) + 3 * 16; /* alignment */
    uint64_t jpeg = 12 * padded + 3 * n + 1 + 4 * BLM_MIN(4 * blm_image_root(n) + 4, 65535) +
                    blm_image_round(sizeof(stbi__jpeg)) + pieces;
    return BLM_MAX(png, jpeg);
}

BLM_PRIVATE int blm_image_decode(const bluelm_image *in, uint32_t max_pixels, void *memory,
                                 uint64_t memory_bytes, bluelm_image *out, bluelm_error *err)
{
    blm_image_file f;
    uint64_t need;
    memset(out, 0, sizeof *out);
    int status = blm_image_open(&f, in->encoded, in->encoded_bytes, err);
    if (status < 0) return status;
    uint64_t pixels = (uint64_t)f.width * f.height;
    if (max_pixels == BLUELM_NO_IMAGE_DECODE_PIXELS) max_pixels = 0;
    if (pixels > max_pixels)
        return blm_fail(err, BLUELM_E_IMAGE, "pixels of an encoded picture", max_pixels, pixels,
                        0);
    status = blm_image_measure(&f, &need, err);
    if (status < 0) return status;
    if (!f.is_png && memory) need += (0 - (uintptr_t)memory) & (BLM_IMAGE_ALIGN - 1);
    if (!memory || memory_bytes < need)
        return blm_fail(err, BLUELM_E_BUDGET, "image decode", need, memory ? memory_bytes : 0,
                        0);
    uint8_t *start = (uint8_t *)memory;
    status = f.is_png ? blm_png_decode(&f.png, start, err)
                      : blm_jpeg_decode(&f.jpeg, f.file, f.bytes, start, memory_bytes, err);
    if (status < 0) return status;
    out->rgb = start;
    out->width_px = f.width;
    out->height_px = f.height;
    out->stride_bytes = (size_t)f.width * 3;
    return 0;
}

#endif
