#include "png.h"

#include "../base/name.h"
#include "exif.h"
#include "inflate.h"

#ifndef BLUELM_NO_IMAGE_DECODE

/* ---- What a file says ------------------------------------------------------------------ */

enum {
    BLM_PNG_GREY = 0,
    BLM_PNG_RGB = 2,
    BLM_PNG_INDEXED = 3,
    BLM_PNG_GREY_ALPHA = 4,
    BLM_PNG_RGB_ALPHA = 6
};

typedef struct blm_png {
    const uint8_t *file;
    size_t bytes;
    uint32_t width, height, depth, color, channels;
    int interlaced;
    const uint8_t *palette; /* [colors][3]                                          */
    uint32_t colors;
    const uint8_t *clear; /* tRNS: alpha of the palette, or the one transparent colour */
    uint32_t clear_bytes;
    size_t idat_at; /* of the first IDAT chunk; the others follow it at once     */
    uint32_t idat_chunks;
} blm_png;

typedef struct blm_png_chunk {
    size_t at; /* of its length, in the file */
    const uint8_t *type, *data;
    uint32_t length;
} blm_png_chunk;

static int blm_png_bad(bluelm_error *err, const char *subject, uint64_t at)
{
    return blm_fail(err, BLUELM_E_IMAGE, subject, 0, 0, at);
}

static uint32_t blm_png_u16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t blm_png_u32(const uint8_t *p)
{
    return blm_png_u16(p) << 16 | blm_png_u16(p + 2);
}

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
    if (color == BLM_PNG_GREY) return 1;
    if (color == BLM_PNG_INDEXED) return depth <= 8;
    return (color == BLM_PNG_RGB || color == BLM_PNG_GREY_ALPHA ||
            color == BLM_PNG_RGB_ALPHA) &&
           depth >= 8;
}

static int blm_png_read_header(blm_png *p, const uint8_t *file, size_t bytes, bluelm_error *err)
{
    static const uint8_t channels_of[7] = {1, 0, 3, 1, 2, 0, 4};
    memset(p, 0, sizeof *p);
    p->file = file;
    p->bytes = bytes;
    if (bytes < 33) return blm_png_bad(err, "png: truncated", bytes);
    const uint8_t *h = file + 16;
    if (blm_png_u32(file + 8) != 13 || memcmp(file + 12, "IHDR", 4) != 0)
        return blm_png_bad(err, "png: no IHDR", 8);
    if (blm_png_u32(h + 13) != blm_png_crc(file + 12, 17))
        return blm_png_bad(err, "png: checksum of IHDR", 29);
    p->width = blm_png_u32(h);
    p->height = blm_png_u32(h + 4);
    p->depth = h[8];
    p->color = h[9];
    if (!blm_png_known_depth(p->color, p->depth))
        return blm_png_bad(err, "png: bit depth, colour", 24);
    if (h[10] != 0 || h[11] != 0 || h[12] > 1)
        return blm_png_bad(err, "png: compression, filter, interlacing", 26);
    p->channels = channels_of[p->color];
    p->interlaced = h[12];
    return blm_image_check_sides(p->width, p->height, err);
}

/* The chunk at `at`, or BLUELM_E_IMAGE where the file ends before it does. */
static int blm_png_chunk_at(const blm_png *p, size_t at, blm_png_chunk *c, bluelm_error *err)
{
    memset(c, 0, sizeof *c);
    if (p->bytes - at < 12) return blm_png_bad(err, "png: truncated", at);
    c->at = at;
    c->length = blm_png_u32(p->file + at);
    c->type = p->file + at + 4;
    c->data = p->file + at + 8;
    if (c->length > p->bytes - at - 12) return blm_png_bad(err, "png: truncated", at);
    return 0;
}

static size_t blm_png_chunk_end(const blm_png_chunk *c)
{
    return c->at + 12 + c->length;
}

static int blm_png_is(const blm_png_chunk *c, const char *type)
{
    return blm_same_bytes(c->type, type, 4);
}

static int blm_png_sound(const blm_png_chunk *c)
{
    return blm_png_u32(c->data + c->length) == blm_png_crc(c->type, (size_t)c->length + 4);
}

static int blm_png_add_palette(blm_png *p, const blm_png_chunk *c, bluelm_error *err)
{
    if (p->palette || p->idat_chunks || c->length == 0 || c->length % 3 || c->length > 768)
        return blm_png_bad(err, "png: palette", c->at);
    p->palette = c->data;
    p->colors = c->length / 3;
    return 0;
}

/* Ancillary: where it is out of place or damaged it is not there. */
static void blm_png_add_clear(blm_png *p, const blm_png_chunk *c)
{
    uint32_t length = p->color == BLM_PNG_GREY ? 2 : 6;
    int fits = p->color == BLM_PNG_INDEXED ? c->length >= 1 && c->length <= p->colors
                                           : c->length == length && p->color <= BLM_PNG_RGB;
    if (p->clear || p->idat_chunks || !fits || !blm_png_sound(c)) return;
    p->clear = c->data;
    p->clear_bytes = c->length;
}

static int blm_png_add_critical(blm_png *p, const blm_png_chunk *c, int checked,
                                size_t *idat_end, bluelm_error *err)
{
    if (!(checked && blm_png_is(c, "IDAT")) && !blm_png_sound(c))
        return blm_png_bad(err, "png: checksum", c->at);
    if (blm_png_is(c, "PLTE")) return blm_png_add_palette(p, c, err);
    if (blm_png_is(c, "IEND")) return 0;
    if (!blm_png_is(c, "IDAT")) return blm_png_bad(err, "png: unknown critical chunk", c->at);
    if (p->idat_chunks && *idat_end != c->at)
        return blm_png_bad(err, "png: scattered image data", c->at);
    if (!p->idat_chunks) p->idat_at = c->at;
    p->idat_chunks++;
    *idat_end = blm_png_chunk_end(c);
    return 0;
}

/* Walks the chunks after the header once: lengths, order, checksums of those that
 * matter, the palette, and where the image data lie. checked: their checksums, the lengthy
 * part, have been compared before. */
static int blm_png_walk(blm_png *p, int checked, bluelm_error *err)
{
    size_t at = 33, idat_end = 0;
    blm_png_chunk c;
    do {
        int status = blm_png_chunk_at(p, at, &c, err);
        if (status == 0 && !(c.type[0] & 0x20))
            status = blm_png_add_critical(p, &c, checked, &idat_end, err);
        if (status < 0) return status;
        if (blm_png_is(&c, "tRNS")) blm_png_add_clear(p, &c);
        at = blm_png_chunk_end(&c);
    } while (!blm_png_is(&c, "IEND"));
    if (p->idat_chunks == 0) return blm_png_bad(err, "png: no image data", c.at);
    if (p->color == BLM_PNG_INDEXED && !p->palette)
        return blm_png_bad(err, "png: no palette", c.at);
    return 0;
}

/* Of the eXIf chunk, wherever it stands; a file that breaks off has none after that. */
static uint32_t blm_png_orientation(const blm_png *p)
{
    blm_png_chunk c;
    for (size_t at = 33; blm_png_chunk_at(p, at, &c, NULL) == 0; at = blm_png_chunk_end(&c)) {
        if (blm_png_is(&c, "IEND")) break;
        if (blm_png_is(&c, "eXIf") && blm_png_sound(&c))
            return blm_exif_orientation(c.data, c.length);
    }
    return 1;
}

/* ---- Rows of bytes ----------------------------------------------------------------------- */

/* Rows of one interlacing pass, or of the picture itself. */
typedef struct blm_png_pass {
    uint32_t x0, y0, dx, dy; /* where its pixels lie in the picture */
    uint32_t width, height;
    size_t row_bytes; /* without the filter byte */
} blm_png_pass;

/* In the caller's memory, followed by two rows with their filter bytes and, for an
 * interlaced picture, all of it in RGB. */
typedef struct blm_png_state {
    blm_png png;
    uint8_t background[3];
    uint8_t colors[256][3]; /* what a sample of up to 8 bits is shown as: grey, indexed */
    size_t idat_at;         /* of the chunk to inflate next */
    uint32_t idat_left;
    uint8_t *row, *above; /* the row decoded last, filter byte first, and the one before */
    uint8_t *rgb;         /* rows of an interlaced picture, NULL for others              */
    uint32_t next_row;    /* of those */
    blm_inflate inflate;
} blm_png_state;

static size_t blm_png_row_bytes(const blm_png *p, uint32_t width)
{
    return (size_t)(((uint64_t)width * p->depth * p->channels + 7) / 8);
}

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
    out->row_bytes = blm_png_row_bytes(p, out->width);
    return 1;
}

/* The inflater's next piece: the data of the next IDAT chunk that has any. */
static int blm_png_more(void *user, const uint8_t **data, size_t *bytes)
{
    blm_png_state *s = (blm_png_state *)user;
    while (s->idat_left > 0) {
        const uint8_t *chunk = s->png.file + s->idat_at;
        uint32_t length = blm_png_u32(chunk);
        s->idat_at += (size_t)length + 12;
        s->idat_left--;
        if (length == 0) continue;
        *data = chunk + 8;
        *bytes = length;
        return 1;
    }
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

/* Undoes one row's filter. above is the row before, zeros for the first; the `step` bytes
 * (of a pixel) left of a row count as zeros too. Returns 0 for an unknown filter. */
static int blm_png_unfilter(uint32_t filter, uint8_t *row, const uint8_t *above, size_t bytes,
                            size_t step)
{
    size_t first = BLM_MIN(step, bytes); /* bytes with nothing to their left */
    switch (filter) {
    case 0:
        return 1;
    case 1:
        for (size_t i = step; i < bytes; i++)
            row[i] = (uint8_t)(row[i] + row[i - step]);
        return 1;
    case 2:
        for (size_t i = 0; i < bytes; i++)
            row[i] = (uint8_t)(row[i] + above[i]);
        return 1;
    case 3:
        for (size_t i = 0; i < first; i++)
            row[i] = (uint8_t)(row[i] + above[i] / 2);
        for (size_t i = step; i < bytes; i++)
            row[i] = (uint8_t)(row[i] + (row[i - step] + above[i]) / 2);
        return 1;
    case 4:
        for (size_t i = 0; i < first; i++)
            row[i] = (uint8_t)(row[i] + above[i]);
        for (size_t i = step; i < bytes; i++)
            row[i] =
                (uint8_t)(row[i] + blm_png_paeth(row[i - step], above[i], above[i - step]));
        return 1;
    }
    return 0;
}

/* Where in the file the inflater is, as nearly as it knows. */
static uint64_t blm_png_position(const blm_png_state *s)
{
    const uint8_t *next = s->inflate.next;
    return next ? (uint64_t)(next - s->png.file) : s->png.idat_at;
}

/* Begins a pass: its first row lies below zeros. */
static void blm_png_open_pass(blm_png_state *s, const blm_png_pass *pass)
{
    memset(s->row, 0, pass->row_bytes + 1);
}

/* Inflates and unfilters the next row of a pass into s->row. */
static int blm_png_next_row(blm_png_state *s, const blm_png_pass *pass, bluelm_error *err)
{
    const blm_png *p = &s->png;
    uint8_t *row = s->above;
    s->above = s->row;
    s->row = row;
    if (!blm_inflate_read(&s->inflate, row, pass->row_bytes + 1)) {
        blm_name subject;
        blm_name_add(blm_name_start(&subject, "png: compressed "), s->inflate.wrong);
        return blm_png_bad(err, subject.text, blm_png_position(s));
    }
    size_t step = BLM_MAX(p->depth * p->channels / 8, 1);
    if (!blm_png_unfilter(row[0], row + 1, s->above + 1, pass->row_bytes, step))
        return blm_png_bad(err, "png: unknown row filter", blm_png_position(s));
    return 0;
}

/* ---- Pixels ------------------------------------------------------------------------------ */

static uint8_t blm_png_over(uint32_t color, uint32_t alpha, uint32_t background)
{
    return (uint8_t)((color * alpha + background * (255 - alpha) + 127) / 255);
}

/* Whether the samples at px, in the file's own depth, are the transparent colour. */
static int blm_png_is_clear(const blm_png *p, const uint8_t *px)
{
    if (!p->clear) return 0;
    for (uint32_t i = 0; i < p->channels; i++) {
        uint32_t sample = p->depth == 16 ? blm_png_u16(px + 2 * i) : px[i];
        if (sample != blm_png_u16(p->clear + 2 * i)) return 0;
    }
    return 1;
}

/* What samples of up to 8 bits, grey or indices, are shown as. */
static void blm_png_fill_colors(blm_png_state *s)
{
    const blm_png *p = &s->png;
    int indexed = p->color == BLM_PNG_INDEXED;
    if (p->channels != 1 || p->depth > 8) return;
    uint32_t most = (1u << p->depth) - 1;
    for (uint32_t i = 0; i <= most; i++) {
        uint32_t alpha = 255;
        if (p->clear && indexed && i < p->clear_bytes) alpha = p->clear[i];
        if (p->clear && !indexed && i == blm_png_u16(p->clear)) alpha = 0;
        for (uint32_t k = 0; k < 3; k++) {
            uint32_t color = indexed ? 0 : i * 255 / most;
            if (indexed && i < p->colors) color = p->palette[3 * i + k];
            s->colors[i][k] = blm_png_over(color, alpha, s->background[k]);
        }
    }
}

static void blm_png_convert_table(const blm_png_state *s, const uint8_t *row, uint32_t width,
                                  uint8_t *to, size_t step)
{
    uint32_t depth = s->png.depth, mask = (1u << depth) - 1;
    for (uint32_t x = 0; x < width; x++, to += step) {
        size_t bit = (size_t)x * depth;
        memcpy(to, s->colors[(uint32_t)row[bit / 8] >> (8 - depth - bit % 8) & mask], 3);
    }
}

/* Samples of 8 and 16 bits, of which the upper 8 are kept. */
static void blm_png_convert_samples(const blm_png_state *s, const uint8_t *row, uint32_t width,
                                    uint8_t *to, size_t step)
{
    const blm_png *p = &s->png;
    size_t sample = p->depth / 8;
    size_t green = p->channels >= 3 ? sample : 0; /* grey is all three */
    int has_alpha = p->color & 4;
    for (uint32_t x = 0; x < width; x++, to += step, row += p->channels * sample) {
        uint32_t alpha = has_alpha ? row[(p->channels - 1) * sample] : 255;
        if (!has_alpha && blm_png_is_clear(p, row)) alpha = 0;
        for (uint32_t k = 0; k < 3; k++)
            to[k] = alpha == 255 ? row[k * green]
                                 : blm_png_over(row[k * green], alpha, s->background[k]);
    }
}

/* A row's RGB, every `step` bytes from `to` on. */
static void blm_png_convert(const blm_png_state *s, uint32_t width, uint8_t *to, size_t step)
{
    const blm_png *p = &s->png;
    const uint8_t *row = s->row + 1;
    if (p->channels == 1 && p->depth <= 8)
        blm_png_convert_table(s, row, width, to, step);
    else if (p->channels == 3 && p->depth == 8 && !p->clear && step == 3)
        memcpy(to, row, (size_t)width * 3);
    else
        blm_png_convert_samples(s, row, width, to, step);
}

static int blm_png_interlaced(blm_png_state *s, bluelm_error *err)
{
    const blm_png *p = &s->png;
    blm_png_pass pass;
    for (uint32_t i = 0; i < 7; i++) {
        if (!blm_png_pass_of(p, i, &pass)) continue;
        blm_png_open_pass(s, &pass);
        for (uint32_t y = 0; y < pass.height; y++) {
            int status = blm_png_next_row(s, &pass, err);
            if (status < 0) return status;
            size_t first = (size_t)(pass.y0 + y * pass.dy) * p->width + pass.x0;
            blm_png_convert(s, pass.width, s->rgb + first * 3, (size_t)pass.dx * 3);
        }
    }
    return 0;
}

/* ---- As image.h asks --------------------------------------------------------------------- */

static uint64_t blm_png_state_bytes(void)
{
    return (sizeof(blm_png_state) + 15) / 16 * 16;
}

BLM_PRIVATE int blm_png_facts(const uint8_t *file, size_t bytes, blm_image_facts *facts,
                              bluelm_error *err)
{
    blm_png p;
    int status = blm_png_read_header(&p, file, bytes, err);
    if (status < 0) return status;
    facts->stored_width_px = p.width;
    facts->stored_height_px = p.height;
    facts->orientation = blm_png_orientation(&p);
    facts->whole_picture = p.interlaced;
    return 0;
}

BLM_PRIVATE int blm_png_check(const uint8_t *file, size_t bytes, bluelm_error *err)
{
    blm_png p;
    int status = blm_png_read_header(&p, file, bytes, err);
    return status < 0 ? status : blm_png_walk(&p, 0, err);
}

BLM_PRIVATE int blm_png_need(const uint8_t *file, size_t bytes, uint64_t *need,
                             bluelm_error *err)
{
    blm_png p;
    int status = blm_png_read_header(&p, file, bytes, err);
    if (status < 0) return status;
    *need = blm_png_state_bytes() + 2 * ((uint64_t)blm_png_row_bytes(&p, p.width) + 1);
    if (p.interlaced) *need += (uint64_t)p.width * p.height * 3;
    return 0;
}

BLM_PRIVATE uint64_t blm_png_scratch_bytes(uint32_t max_width_px)
{
    return blm_png_state_bytes() + 2 * ((uint64_t)max_width_px * 8 + 1); /* 16-bit RGBA */
}

BLM_PRIVATE int blm_png_begin(void *memory, const uint8_t *file, size_t bytes,
                              const uint8_t background_rgb[3], bluelm_error *err)
{
    blm_png_state *s = (blm_png_state *)memory;
    blm_png *p = &s->png;
    blm_png_pass pass;
    int status = blm_png_read_header(p, file, bytes, err);
    if (status == 0) status = blm_png_walk(p, 1, err);
    if (status < 0) return status;
    memcpy(s->background, background_rgb, 3);
    blm_png_fill_colors(s);
    s->idat_at = p->idat_at;
    s->idat_left = p->idat_chunks;
    blm_inflate_begin(&s->inflate, blm_png_more, s);
    size_t row_bytes = blm_png_row_bytes(p, p->width) + 1;
    s->row = (uint8_t *)memory + blm_png_state_bytes();
    s->above = s->row + row_bytes;
    s->rgb = NULL;
    s->next_row = 0;
    if (p->interlaced) {
        s->rgb = s->above + row_bytes;
        return blm_png_interlaced(s, err);
    }
    if (blm_png_pass_of(p, 0, &pass)) blm_png_open_pass(s, &pass);
    return 0;
}

BLM_PRIVATE int blm_png_row(void *state, uint8_t *row_rgb, bluelm_error *err)
{
    blm_png_state *s = (blm_png_state *)state;
    const blm_png *p = &s->png;
    blm_png_pass pass;
    if (s->rgb) {
        size_t bytes = (size_t)p->width * 3;
        memcpy(row_rgb, s->rgb + bytes * s->next_row++, bytes);
        return 0;
    }
    blm_png_pass_of(p, 0, &pass);
    int status = blm_png_next_row(s, &pass, err);
    if (status < 0) return status;
    blm_png_convert(s, p->width, row_rgb, 3);
    return 0;
}

#endif
