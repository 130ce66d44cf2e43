/* Draws the tiles that a model cuts a picture into over the picture, as a PNG.
 *
 *     grid_png MODEL.gguf MMPROJ.gguf PICTURE OUT.png
 *
 * The picture keeps its pixels (small ones are shown larger); what is padded around it is
 * grey, and lines of red and white dashes are where one tile ends and the next begins. It
 * uses the library's own decoder, which bluelm.h does not offer, so it is built beside the
 * library, by `make demo`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../bluelm.h"
#include "../ports/posix/posix.h"
#include "../tiler/image.h"

enum { SHOWN_PX = 640, MOST_PX = 16384, DASH_PX = 6, LINE_PX = 2 };

typedef struct drawing {
    uint8_t *rgb; /* [height][width][3], as it is shown */
    uint32_t width, height;
} drawing;

static int fail(const char *subject, const char *what)
{
    fprintf(stderr, "grid_png: %s: %s\n", subject, what);
    return 1;
}

static int fail_error(const char *subject, const bluelm_error *err)
{
    char text[200];
    bluelm_error_text(err, text, sizeof text);
    return fail(subject, text);
}

static int make_drawing(drawing *d, uint64_t width, uint64_t height, const char *subject)
{
    if (!width || !height || width > MOST_PX || height > MOST_PX)
        return fail(subject, "has sides of more than 16384 pixels when drawn");
    d->width = (uint32_t)width, d->height = (uint32_t)height;
    d->rgb = malloc((size_t)(3 * width * height));
    return d->rgb ? 0 : fail(subject, "out of memory");
}

/* ---- The picture ------------------------------------------------------------------------ */

/* Puts a stored row where EXIF's orientation wants it: 5 to 8 change rows with columns, 3, 4,
 * 7 and 8 begin at the bottom, 2, 3, 6 and 7 at the right. */
static void put_row(drawing *d, const blm_image_facts *facts, uint32_t at, const uint8_t *row)
{
    uint32_t turn = facts->orientation;
    for (uint32_t i = 0; i < facts->stored_width_px; i++) {
        uint32_t x = turn > 4 ? at : i, y = turn > 4 ? i : at;
        if (turn == 2 || turn == 3 || turn == 6 || turn == 7) x = d->width - 1 - x;
        if (turn == 3 || turn == 4 || turn == 7 || turn == 8) y = d->height - 1 - y;
        memcpy(d->rgb + 3 * ((size_t)y * d->width + x), row + 3 * (size_t)i, 3);
    }
}

static int decode_rows(drawing *d, const char *path, const void *file, size_t bytes,
                       void *memory, uint64_t need)
{
    blm_image_decoder decoder;
    bluelm_error err;
    int code = blm_image_begin(&decoder, file, bytes, NULL, memory, need, &err);
    if (code < 0) return fail_error(path, &err);
    const blm_image_facts *facts = &decoder.facts;
    uint8_t *row = malloc(3 * (size_t)facts->stored_width_px);
    if (!row) return fail(path, "out of memory");
    for (uint32_t y = 0; y < facts->stored_height_px && code >= 0; y++) {
        if ((code = blm_image_row(&decoder, row, &err)) >= 0) put_row(d, facts, y, row);
    }
    free(row);
    return code < 0 ? fail_error(path, &err) : 0;
}

static int read_picture(drawing *d, const char *path)
{
    const void *file;
    size_t bytes;
    uint64_t need;
    uint32_t width, height;
    bluelm_error err;
    if (bluelm_posix_map(path, &file, &bytes)) return fail(path, "cannot be read");
    if (bluelm_image_size(file, bytes, &width, &height, &err) < 0 ||
        blm_image_need(file, bytes, &need, &err) < 0)
        return fail_error(path, &err);
    if (make_drawing(d, width, height, path)) return 1;
    void *memory = need <= SIZE_MAX ? malloc((size_t)need) : NULL;
    if (!memory) return fail(path, "out of memory");
    int code = decode_rows(d, path, file, bytes, memory, need);
    free(memory);
    return code;
}

/* ---- The grid ----------------------------------------------------------------------------- */

/* One axis: what a pixel of the drawing shows. Everything is in pixels of the canvas times
 * the picture's over those it has there, so that the picture keeps its own. */
typedef struct axis {
    uint32_t side, resized, offset, tile, count; /* of the picture; of the canvas */
    uint32_t zoom, shown;                        /* of the drawing                */
} axis;

static axis make_axis(uint32_t side, uint32_t resized, uint32_t offset, uint32_t tile,
                      uint32_t count, uint32_t zoom)
{
    axis a = {side, resized, offset, tile, count, zoom, 0};
    a.shown = (uint32_t)((uint64_t)tile * count * side * zoom / resized);
    return a;
}

/* The place in the drawing of a place on the canvas. */
static int64_t axis_place(const axis *a, uint64_t canvas)
{
    return (int64_t)(canvas * a->side * a->zoom / a->resized);
}

/* The picture's pixel there; -1: padding. */
static int64_t axis_pixel(const axis *a, uint32_t at)
{
    int64_t in = (int64_t)at - axis_place(a, a->offset);
    int64_t pixel = in < 0 ? -1 : in / a->zoom;
    return pixel < a->side ? pixel : -1;
}

static int axis_is_line(const axis *a, uint32_t at)
{
    for (uint32_t i = 0; i <= a->count; i++) {
        int64_t line = axis_place(a, (uint64_t)i * a->tile);
        if (line > (int64_t)a->shown - LINE_PX) line = (int64_t)a->shown - LINE_PX;
        if (at >= line && at < line + LINE_PX) return 1;
    }
    return 0;
}

static void draw_pixel(uint8_t *out, const drawing *picture, const axis *across,
                       const axis *down, uint32_t x, uint32_t y)
{
    static const uint8_t dashes[2][3] = {{230, 30, 40}, {255, 255, 255}};
    static const uint8_t padding[3] = {110, 110, 110};
    int64_t px = axis_pixel(across, x), py = axis_pixel(down, y);
    const uint8_t *from = padding;
    if (px >= 0 && py >= 0)
        from = picture->rgb + 3 * ((size_t)py * picture->width + (size_t)px);
    if (axis_is_line(across, x) || axis_is_line(down, y)) from = dashes[(x + y) / DASH_PX % 2];
    memcpy(out, from, 3);
}

static int draw_grid(drawing *out, const drawing *picture, const bluelm_tile_grid *g)
{
    uint32_t longer = picture->width > picture->height ? picture->width : picture->height;
    uint32_t zoom = longer < SHOWN_PX ? SHOWN_PX / longer : 1;
    axis across = make_axis(picture->width, g->resized_width_px, g->offset_x_px,
                            g->tile_width_px, g->columns, zoom);
    axis down = make_axis(picture->height, g->resized_height_px, g->offset_y_px,
                          g->tile_height_px, g->rows, zoom);
    if (make_drawing(out, across.shown, down.shown, "the grid")) return 1;
    for (uint32_t y = 0; y < out->height; y++) {
        for (uint32_t x = 0; x < out->width; x++)
            draw_pixel(out->rgb + 3 * ((size_t)y * out->width + x), picture, &across, &down, x,
                       y);
    }
    return 0;
}

/* ---- PNG ------------------------------------------------------------------------------------ */

typedef struct writer {
    FILE *file;
    uint32_t crc, adler_a, adler_b;
} writer;

static void put(writer *w, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    for (size_t i = 0; i < bytes; i++) {
        w->crc ^= from[i];
        for (int bit = 0; bit < 8; bit++)
            w->crc = w->crc >> 1 ^ (w->crc & 1 ? 0xEDB88320u : 0);
    }
    fwrite(data, 1, bytes, w->file);
}

static void put_u32(writer *w, uint32_t value)
{
    const uint8_t big[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16),
                            (uint8_t)(value >> 8), (uint8_t)value};
    put(w, big, sizeof big);
}

static void begin_chunk(writer *w, uint32_t bytes, const char *type)
{
    put_u32(w, bytes);
    w->crc = 0xFFFFFFFFu;
    put(w, type, 4);
}

static void end_chunk(writer *w)
{
    put_u32(w, ~w->crc);
}

/* A row without filter, as a block of deflate that is stored as it is. */
static void put_row_block(writer *w, const uint8_t *row, uint32_t bytes, int last)
{
    uint32_t length = bytes + 1;
    const uint8_t head[6] = {(uint8_t)last,    (uint8_t)length,         (uint8_t)(length >> 8),
                             (uint8_t)~length, (uint8_t)(~length >> 8), 0};
    put(w, head, sizeof head);
    put(w, row, bytes);
    w->adler_b = (w->adler_b + w->adler_a) % 65521; /* the filter's 0 */
    for (uint32_t i = 0; i < bytes; i++) {
        w->adler_a = (w->adler_a + row[i]) % 65521;
        w->adler_b = (w->adler_b + w->adler_a) % 65521;
    }
}

static int write_png(const drawing *d, const char *path)
{
    static const uint8_t kind[5] = {8, 2, 0, 0, 0}, zlib[2] = {0x78, 0x01};
    writer w = {fopen(path, "wb"), 0, 1, 0};
    if (!w.file) return fail(path, "cannot be written");
    fwrite("\x89PNG\r\n\x1a\n", 1, 8, w.file);
    begin_chunk(&w, 13, "IHDR");
    put_u32(&w, d->width);
    put_u32(&w, d->height);
    put(&w, kind, sizeof kind);
    end_chunk(&w);
    begin_chunk(&w, 6 + d->height * (6 + 3 * d->width), "IDAT");
    put(&w, zlib, sizeof zlib);
    for (uint32_t y = 0; y < d->height; y++)
        put_row_block(&w, d->rgb + 3 * (size_t)y * d->width, 3 * d->width, y + 1 == d->height);
    put_u32(&w, w.adler_b << 16 | w.adler_a);
    end_chunk(&w);
    begin_chunk(&w, 0, "IEND");
    end_chunk(&w);
    int broken = ferror(w.file);
    return fclose(w.file) || broken ? fail(path, "cannot be written") : 0;
}

int main(int argc, char **argv)
{
    bluelm_weights weights = {0};
    bluelm_tile_grid grid;
    bluelm_error err;
    drawing picture = {0}, out = {0};
    if (argc != 5) return fail("usage", "grid_png MODEL.gguf MMPROJ.gguf PICTURE OUT.png") + 1;
    if (bluelm_posix_map(argv[1], &weights.llm, &weights.llm_bytes))
        return fail(argv[1], "cannot be read");
    if (bluelm_posix_map(argv[2], &weights.mmproj, &weights.mmproj_bytes))
        return fail(argv[2], "cannot be read");
    int code = read_picture(&picture, argv[3]);
    if (!code &&
        bluelm_tile_plan(&weights, NULL, picture.width, picture.height, &grid, &err) < 0)
        code = fail_error(argv[3], &err);
    code = code || draw_grid(&out, &picture, &grid) || write_png(&out, argv[4]);
    free(picture.rgb);
    free(out.rgb);
    return code;
}
