#include "jpeg_parts.h"

#include "exif.h"
#include "image.h"

#ifndef BLUELM_NO_IMAGE_DECODE

/* A segment: marker, length, data. */
typedef struct blm_jpeg_segment {
    uint32_t marker;
    size_t at; /* of its data, in the file */
    const uint8_t *data;
    size_t bytes;
} blm_jpeg_segment;

static int blm_jpeg_bad(bluelm_error *err, const char *subject, uint64_t at)
{
    return blm_fail(err, BLUELM_E_IMAGE, subject, 0, 0, at);
}

static uint32_t blm_jpeg_u16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t blm_jpeg_over(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

static int blm_jpeg_prefix(const blm_jpeg_segment *g, const char *text, size_t bytes)
{
    return g->bytes >= bytes && blm_same_bytes(g->data, text, bytes);
}

/* Steps to the next segment. Returns 1, 0 at the end of the picture, or BLUELM_E_IMAGE.
 * What lies between segments, a scan's data with its restart markers, is stepped over. */
static int blm_jpeg_next_segment(blm_jpeg *j, blm_jpeg_segment *g, bluelm_error *err)
{
    size_t at = j->at;
    do {
        while (at < j->bytes && j->file[at] != 0xFF)
            at++;
        while (at < j->bytes && j->file[at] == 0xFF)
            at++;
        if (at >= j->bytes) return blm_jpeg_bad(err, "jpeg: truncated", j->bytes);
        g->marker = j->file[at++];
    } while (g->marker <= 1 || (g->marker >= 0xD0 && g->marker <= 0xD7));
    j->at = at;
    if (g->marker == 0xD9) return 0;
    if (g->marker == 0xD8) return blm_jpeg_bad(err, "jpeg: a picture inside a picture", at);
    if (j->bytes - at < 2) return blm_jpeg_bad(err, "jpeg: truncated", j->bytes);
    uint32_t total = blm_jpeg_u16(j->file + at);
    if (total < 2) return blm_jpeg_bad(err, "jpeg: segment length", at);
    if (total > j->bytes - at) return blm_jpeg_bad(err, "jpeg: truncated", j->bytes);
    g->at = at + 2;
    g->data = j->file + g->at;
    g->bytes = total - 2;
    j->at = at + total;
    return 1;
}

/* ---- Tables ------------------------------------------------------------------------------ */

static int blm_jpeg_read_quant(blm_jpeg *j, const blm_jpeg_segment *g, bluelm_error *err)
{
    for (size_t at = 0; at < g->bytes;) {
        uint32_t number = g->data[at] & 15, wide = g->data[at] >> 4;
        if (number > 3 || wide > 1 || g->bytes - at < 1 + 64 * (wide + 1))
            return blm_jpeg_bad(err, "jpeg: quantization table", g->at + at);
        const uint8_t *p = g->data + at + 1;
        for (uint32_t i = 0; i < 64 && j->tables; i++)
            j->tables->quant[number][blm_jpeg_place(i)] =
                (uint16_t)(wide ? blm_jpeg_u16(p + 2 * (size_t)i) : p[i]);
        j->quant_seen |= 1u << number;
        at += 1 + 64 * (wide + 1);
    }
    return 0;
}

/* Gives the symbols their codes: counts[i] of length i + 1. Returns 0 where that many do
 * not fit. h is NULL where they are only checked. */
static int blm_jpeg_build_huffman(blm_jpeg_huffman *h, const uint8_t *counts,
                                  const uint8_t *symbols, uint32_t total)
{
    uint32_t code = 0, index = 0;
    if (h) {
        memset(h, 0, sizeof *h);
        memcpy(h->symbols, symbols, total);
    }
    for (uint32_t length = 1; length <= 16; length++) {
        uint32_t end = code + counts[length - 1];
        if (end > 1u << length) return 0;
        if (h) h->offset[length] = (int32_t)index - (int32_t)code;
        for (; code < end; code++, index++) {
            if (!h || length > BLM_JPEG_FAST_BITS) continue;
            uint32_t shift = BLM_JPEG_FAST_BITS - length;
            for (uint32_t i = 0; i < 1u << shift; i++)
                h->fast[(code << shift) + i] = (uint16_t)(length << 8 | symbols[index]);
        }
        if (h) h->limit[length] = code << (16 - length);
        code <<= 1;
    }
    return 1;
}

static int blm_jpeg_read_huffman(blm_jpeg *j, const blm_jpeg_segment *g, bluelm_error *err)
{
    for (size_t at = 0; at < g->bytes;) {
        const uint8_t *p = g->data + at;
        uint32_t number = p[0] & 15, kind = p[0] >> 4, total = 0;
        if (number > 3 || kind > 1 || g->bytes - at < 17)
            return blm_jpeg_bad(err, "jpeg: huffman table", g->at + at);
        for (uint32_t i = 1; i <= 16; i++)
            total += p[i];
        if (total > 256 || total > g->bytes - at - 17)
            return blm_jpeg_bad(err, "jpeg: huffman table", g->at + at);
        for (uint32_t i = 0; kind == 0 && i < total; i++)
            if (p[17 + i] > 15) return blm_jpeg_bad(err, "jpeg: huffman table", g->at + at);
        blm_jpeg_huffman *h = j->tables ? &j->tables->huffman[kind][number] : NULL;
        if (!blm_jpeg_build_huffman(h, p + 1, p + 17, total))
            return blm_jpeg_bad(err, "jpeg: huffman table", g->at + at);
        j->huffman_seen[kind] |= 1u << number;
        at += 17 + total;
    }
    return 0;
}

/* The standard's typical tables (ITU-T T.81, annex K.3), as a DHT segment has them: frames
 * of motion pictures leave them out. */
static const uint8_t blm_jpeg_typical_huffman[416] = {
    0x00, 0x00, 0x01, 0x05, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x10,
    0x00, 0x02, 0x01, 0x03, 0x03, 0x02, 0x04, 0x03, 0x05, 0x05, 0x04, 0x04, 0x00, 0x00, 0x01,
    0x7D, 0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51,
    0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15,
    0x52, 0xD1, 0xF0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A,
    0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44,
    0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63,
    0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A,
    0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5,
    0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2,
    0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7,
    0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0x01, 0x00,
    0x03, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x11, 0x00, 0x02,
    0x01, 0x02, 0x04, 0x04, 0x03, 0x04, 0x07, 0x05, 0x04, 0x04, 0x00, 0x01, 0x02, 0x77, 0x00,
    0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52,
    0xF0, 0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19,
    0x1A, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45,
    0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64,
    0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x82,
    0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5,
    0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2,
    0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8,
    0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
};

/* ---- Frame and scans --------------------------------------------------------------------- */

static void blm_jpeg_measure(blm_jpeg *j)
{
    j->across = j->down = 1;
    for (uint32_t i = 0; i < j->components; i++) {
        blm_jpeg_component *c = &j->component[i];
        if (j->components == 1) c->across = c->down = 1; /* of itself: it makes no difference */
        j->across = BLM_MAX(j->across, c->across);
        j->down = BLM_MAX(j->down, c->down);
    }
    j->mcus_x = blm_jpeg_over(j->width, 8 * j->across);
    j->mcus_y = blm_jpeg_over(j->height, 8 * j->down);
    for (uint32_t i = 0; i < j->components; i++) {
        blm_jpeg_component *c = &j->component[i];
        c->width = blm_jpeg_over(j->width * c->across, j->across);
        c->height = blm_jpeg_over(j->height * c->down, j->down);
        c->blocks_x = blm_jpeg_over(c->width, 8);
        c->blocks_y = blm_jpeg_over(c->height, 8);
        c->stored_x = j->mcus_x * c->across;
        c->stored_y = j->mcus_y * c->down;
    }
}

static int blm_jpeg_read_frame(blm_jpeg *j, const blm_jpeg_segment *g, bluelm_error *err)
{
    const uint8_t *p = g->data;
    if (g->marker > 0xC2)
        return blm_jpeg_bad(err, "jpeg: lossless or arithmetic coding", g->at);
    if (j->components) return blm_jpeg_bad(err, "jpeg: two frames", g->at);
    if (g->bytes < 6) return blm_jpeg_bad(err, "jpeg: frame header", g->at);
    if (p[0] != 8) return blm_jpeg_bad(err, "jpeg: not 8 bits a sample", g->at);
    uint32_t components = p[5];
    if (components != 1 && components != 3 && components != 4)
        return blm_jpeg_bad(err, "jpeg: components", g->at);
    if (g->bytes != 6 + 3 * (size_t)components)
        return blm_jpeg_bad(err, "jpeg: frame header", g->at);
    j->progressive = g->marker == 0xC2;
    j->height = blm_jpeg_u16(p + 1);
    j->width = blm_jpeg_u16(p + 3);
    for (uint32_t i = 0; i < components; i++) {
        blm_jpeg_component *c = &j->component[i];
        const uint8_t *q = p + 6 + 3 * (size_t)i;
        c->id = q[0];
        c->across = q[1] >> 4;
        c->down = q[1] & 15;
        c->quant = q[2];
        if (c->across < 1 || c->across > 4 || c->down < 1 || c->down > 4)
            return blm_jpeg_bad(err, "jpeg: sampling factors", g->at);
        if (c->quant > 3) return blm_jpeg_bad(err, "jpeg: quantization table", g->at);
    }
    int status = blm_image_check_sides(j->width, j->height, err);
    if (status < 0) return status;
    j->components = components;
    blm_jpeg_measure(j);
    return 0;
}

/* The components of a scan: each known, once, and together no more than fits an MCU. */
static int blm_jpeg_read_scanned(blm_jpeg *j, const blm_jpeg_segment *g, bluelm_error *err)
{
    uint32_t blocks = 0, seen = 0;
    for (uint32_t i = 0; i < j->scanned_count; i++) {
        const uint8_t *p = g->data + 1 + 2 * (size_t)i;
        blm_jpeg_scanned *s = &j->scanned[i];
        s->dc = p[1] >> 4;
        s->ac = p[1] & 15;
        for (s->component = 0; s->component < j->components; s->component++)
            if (j->component[s->component].id == p[0] && !(seen >> s->component & 1)) break;
        if (s->component == j->components || s->dc > 3 || s->ac > 3)
            return blm_jpeg_bad(err, "jpeg: components of a scan", g->at);
        const blm_jpeg_component *c = &j->component[s->component];
        seen |= 1u << s->component;
        blocks += c->across * c->down;
        if (!(j->quant_seen >> c->quant & 1))
            return blm_jpeg_bad(err, "jpeg: no quantization table", g->at);
    }
    if (j->scanned_count > 1 && blocks > BLM_JPEG_MCU_BLOCKS)
        return blm_fail(err, BLUELM_E_IMAGE, "jpeg: blocks of a unit", BLM_JPEG_MCU_BLOCKS,
                        blocks, g->at);
    return 0;
}

/* The band of coefficients and bits of a progressive scan. */
static int blm_jpeg_band_is_sound(const blm_jpeg *j)
{
    if (j->last > 63 || j->low > 13) return 0;
    if (j->first == 0 ? j->last != 0 : j->last < j->first || j->scanned_count != 1) return 0;
    return j->high == 0 || j->low + 1 == j->high;
}

/* Whether the Huffman tables that a scan reads with are there. */
static int blm_jpeg_has_tables(const blm_jpeg *j)
{
    int dc = !j->progressive || (j->first == 0 && j->high == 0);
    int ac = !j->progressive || j->first > 0;
    for (uint32_t i = 0; i < j->scanned_count; i++) {
        if (dc && !(j->huffman_seen[0] >> j->scanned[i].dc & 1)) return 0;
        if (ac && !(j->huffman_seen[1] >> j->scanned[i].ac & 1)) return 0;
    }
    return 1;
}

static int blm_jpeg_read_scan(blm_jpeg *j, const blm_jpeg_segment *g, bluelm_error *err)
{
    if (!j->components) return blm_jpeg_bad(err, "jpeg: no frame", g->at);
    if (++j->scans > BLM_JPEG_SCANS)
        return blm_fail(err, BLUELM_E_IMAGE, "jpeg: scans", BLM_JPEG_SCANS, j->scans, g->at);
    j->scanned_count = g->bytes ? g->data[0] : 0;
    if (j->scanned_count < 1 || j->scanned_count > 4 ||
        g->bytes != 4 + 2 * (size_t)j->scanned_count)
        return blm_jpeg_bad(err, "jpeg: scan header", g->at);
    int status = blm_jpeg_read_scanned(j, g, err);
    if (status < 0) return status;
    const uint8_t *band = g->data + g->bytes - 3;
    j->first = band[0];
    j->last = band[1];
    j->high = band[2] >> 4;
    j->low = band[2] & 15;
    if (j->progressive && !blm_jpeg_band_is_sound(j))
        return blm_jpeg_bad(err, "jpeg: coefficients of a scan", g->at);
    if (!blm_jpeg_has_tables(j)) return blm_jpeg_bad(err, "jpeg: no huffman table", g->at);
    return 1;
}

/* ---- Segments ---------------------------------------------------------------------------- */

/* What applications say: what the components are, and how the camera was held. */
static void blm_jpeg_read_application(blm_jpeg *j, const blm_jpeg_segment *g)
{
    if (g->marker == 0xE0 && blm_jpeg_prefix(g, "JFIF", 5)) j->is_jfif = 1;
    if (g->marker == 0xEE && g->bytes >= 12 && blm_jpeg_prefix(g, "Adobe", 5)) {
        j->is_adobe = 1;
        j->transform = g->data[11];
    }
    if (g->marker == 0xE1 && !j->orientation && blm_jpeg_prefix(g, "Exif\0", 6))
        j->orientation = blm_exif_orientation(g->data + 6, g->bytes - 6);
}

static int blm_jpeg_read_segment(blm_jpeg *j, const blm_jpeg_segment *g, bluelm_error *err)
{
    switch (g->marker) {
    case 0xC4:
        return blm_jpeg_read_huffman(j, g, err);
    case 0xDA:
        return blm_jpeg_read_scan(j, g, err);
    case 0xDB:
        return blm_jpeg_read_quant(j, g, err);
    case 0xDD:
        if (g->bytes != 2) return blm_jpeg_bad(err, "jpeg: restart interval", g->at);
        j->restart_interval = blm_jpeg_u16(g->data);
        return 0;
    case 0xC8: /* reserved, and the conditioning of arithmetic coding */
    case 0xCC:
        return 0;
    }
    if (g->marker >= 0xC0 && g->marker <= 0xCF) return blm_jpeg_read_frame(j, g, err);
    if (g->marker >= 0xE0 && g->marker <= 0xEF) blm_jpeg_read_application(j, g);
    return 0;
}

BLM_PRIVATE void blm_jpeg_open(blm_jpeg *j, const uint8_t *file, size_t bytes,
                               blm_jpeg_tables *tables)
{
    memset(j, 0, sizeof *j);
    j->file = file;
    j->bytes = bytes;
    j->at = 2;
    j->tables = tables;
    const blm_jpeg_segment typical = {0xC4, 0, blm_jpeg_typical_huffman,
                                      sizeof blm_jpeg_typical_huffman};
    blm_jpeg_read_huffman(j, &typical, NULL);
}

BLM_PRIVATE int blm_jpeg_next_scan(blm_jpeg *j, bluelm_error *err)
{
    for (;;) {
        blm_jpeg_segment g = {0, 0, NULL, 0};
        int status = blm_jpeg_next_segment(j, &g, err);
        if (status < 0) return status;
        if (status == 0) break;
        status = blm_jpeg_read_segment(j, &g, err);
        if (status != 0) return status;
    }
    if (!j->components) return blm_jpeg_bad(err, "jpeg: no frame", j->at);
    return j->scans ? 0 : blm_jpeg_bad(err, "jpeg: no image data", j->at);
}

#endif
