#include "jpeg.h"

#include "../base/name.h"
#include "jpeg_parts.h"

#ifndef BLUELM_NO_IMAGE_DECODE

/* A component's samples: a strip as high as a row of MCUs, below the last row of the strip
 * before it. So the first rows of a strip have what lies above them; the last row of a
 * strip waits for the next one. */
typedef struct blm_jpeg_plane {
    uint8_t *samples; /* [1 + 8 down][stride] */
    size_t stride;
    uint8_t *line;         /* [stride, widened]: a row as wide as the picture */
    int16_t *coefficients; /* [stored_y][stored_x][64], NULL where strips are decoded at once */
    uint16_t quant[64];
    int has_quant; /* from the first scan that has this component */
} blm_jpeg_plane;

/* In the caller's memory, followed by what planes point to. */
typedef struct blm_jpeg_state {
    blm_jpeg jpeg;
    blm_jpeg_tables tables;
    blm_jpeg_scan scan;
    blm_jpeg_plane planes[4];
    int16_t block[64];
    int colors;
    uint32_t strips; /* decoded so far */
    uint32_t next_row;
} blm_jpeg_state;

static uint64_t blm_jpeg_round(uint64_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

static int blm_jpeg_failed(const blm_jpeg_scan *s, bluelm_error *err)
{
    blm_name subject;
    blm_name_add(blm_name_start(&subject, "jpeg: "), s->wrong);
    return blm_fail(err, BLUELM_E_IMAGE, subject.text, 0, 0, blm_jpeg_scan_position(s));
}

/* ---- Memory ------------------------------------------------------------------------------ */

/* More than one scan, each with a part of every block or of every colour: nothing can be
 * shown before the last. Asked when the first scan's header has been read. */
static int blm_jpeg_whole_picture(const blm_jpeg *j)
{
    return j->progressive || j->scanned_count < j->components;
}

static uint64_t blm_jpeg_plane_bytes(const blm_jpeg_component *c)
{
    return (uint64_t)c->stored_x * 8 * (1 + 8 * c->down);
}

static uint64_t blm_jpeg_line_bytes(const blm_jpeg *j)
{
    return (uint64_t)j->mcus_x * j->across * 8 + 8;
}

static uint64_t blm_jpeg_coefficient_bytes(const blm_jpeg_component *c)
{
    return (uint64_t)c->stored_x * c->stored_y * 64 * sizeof(int16_t);
}

static uint64_t blm_jpeg_bytes(const blm_jpeg *j)
{
    uint64_t bytes = blm_jpeg_round(sizeof(blm_jpeg_state));
    for (uint32_t i = 0; i < j->components; i++) {
        const blm_jpeg_component *c = &j->component[i];
        bytes += blm_jpeg_round(blm_jpeg_plane_bytes(c));
        bytes += blm_jpeg_round(blm_jpeg_line_bytes(j));
        if (blm_jpeg_whole_picture(j)) bytes += blm_jpeg_round(blm_jpeg_coefficient_bytes(c));
    }
    return bytes;
}

static uint8_t *blm_jpeg_carve(uint8_t **memory, uint64_t bytes)
{
    uint8_t *piece = *memory;
    *memory += blm_jpeg_round(bytes);
    return piece;
}

/* Puts everything where blm_jpeg_bytes counted it. */
static void blm_jpeg_lay_out(blm_jpeg_state *s)
{
    const blm_jpeg *j = &s->jpeg;
    uint8_t *memory = (uint8_t *)s;
    blm_jpeg_carve(&memory, sizeof *s);
    for (uint32_t i = 0; i < j->components; i++) {
        const blm_jpeg_component *c = &j->component[i];
        blm_jpeg_plane *p = &s->planes[i];
        memset(p, 0, sizeof *p);
        p->stride = (size_t)c->stored_x * 8;
        p->samples = blm_jpeg_carve(&memory, blm_jpeg_plane_bytes(c));
        p->line = blm_jpeg_carve(&memory, blm_jpeg_line_bytes(j));
        if (!blm_jpeg_whole_picture(j)) continue;
        uint64_t bytes = blm_jpeg_coefficient_bytes(c);
        p->coefficients = (int16_t *)(void *)blm_jpeg_carve(&memory, bytes);
        memset(p->coefficients, 0, (size_t)bytes);
    }
}

/* ---- Blocks ------------------------------------------------------------------------------ */

static int16_t *blm_jpeg_stored_block(const blm_jpeg_state *s, uint32_t component, uint32_t x,
                                      uint32_t y)
{
    size_t across = s->jpeg.component[component].stored_x;
    return s->planes[component].coefficients + (y * across + x) * 64;
}

/* Where block (x, y) of a component's samples begins, in the strip that holds it. */
static uint8_t *blm_jpeg_place_of(const blm_jpeg_state *s, uint32_t component, uint32_t x,
                                  uint32_t y)
{
    const blm_jpeg_plane *p = &s->planes[component];
    uint32_t row = 1 + y % s->jpeg.component[component].down * 8;
    return p->samples + row * p->stride + (size_t)x * 8;
}

/* Reads a block of the scan's n-th component: into its place among the coefficients, or at
 * once into samples. */
static int blm_jpeg_read_block(blm_jpeg_state *s, uint32_t n, uint32_t x, uint32_t y)
{
    uint32_t component = s->jpeg.scanned[n].component;
    const blm_jpeg_plane *p = &s->planes[component];
    if (p->coefficients)
        return blm_jpeg_scan_block(&s->scan, n, blm_jpeg_stored_block(s, component, x, y));
    memset(s->block, 0, sizeof s->block);
    if (!blm_jpeg_scan_block(&s->scan, n, s->block)) return 0;
    blm_jpeg_block_samples(s->block, p->quant, blm_jpeg_place_of(s, component, x, y),
                           p->stride);
    return 1;
}

/* The blocks of all of a scan's components in MCU (x, y). */
static int blm_jpeg_read_mcu(blm_jpeg_state *s, uint32_t x, uint32_t y)
{
    const blm_jpeg *j = &s->jpeg;
    if (!blm_jpeg_scan_mcu(&s->scan)) return 0;
    for (uint32_t n = 0; n < j->scanned_count; n++) {
        const blm_jpeg_component *c = &j->component[j->scanned[n].component];
        for (uint32_t i = 0; i < c->down * c->across; i++)
            if (!blm_jpeg_read_block(s, n, x * c->across + i % c->across,
                                     y * c->down + i / c->across))
                return 0;
    }
    return 1;
}

/* A scan of one component has its blocks row by row, those that hold samples alone. */
static int blm_jpeg_read_single(blm_jpeg_state *s)
{
    const blm_jpeg_component *c = &s->jpeg.component[s->jpeg.scanned[0].component];
    for (uint32_t y = 0; y < c->blocks_y; y++)
        for (uint32_t x = 0; x < c->blocks_x; x++)
            if (!blm_jpeg_scan_mcu(&s->scan) || !blm_jpeg_read_block(s, 0, x, y)) return 0;
    return 1;
}

static int blm_jpeg_read_mcu_row(blm_jpeg_state *s, uint32_t y)
{
    for (uint32_t x = 0; x < s->jpeg.mcus_x; x++)
        if (!blm_jpeg_read_mcu(s, x, y)) return 0;
    return 1;
}

/* ---- Scans ------------------------------------------------------------------------------- */

static void blm_jpeg_begin_scan(blm_jpeg_state *s)
{
    const blm_jpeg *j = &s->jpeg;
    for (uint32_t n = 0; n < j->scanned_count; n++) {
        uint32_t component = j->scanned[n].component;
        blm_jpeg_plane *p = &s->planes[component];
        if (p->has_quant) continue;
        memcpy(p->quant, s->tables.quant[j->component[component].quant], sizeof p->quant);
        p->has_quant = 1;
    }
    blm_jpeg_scan_begin(&s->scan, j);
}

static int blm_jpeg_read_whole_scan(blm_jpeg_state *s)
{
    blm_jpeg_begin_scan(s);
    if (s->jpeg.scanned_count == 1) return blm_jpeg_read_single(s);
    for (uint32_t y = 0; y < s->jpeg.mcus_y; y++)
        if (!blm_jpeg_read_mcu_row(s, y)) return 0;
    return 1;
}

/* Reads all scans; the first one's header has been read. */
static int blm_jpeg_read_scans(blm_jpeg_state *s, bluelm_error *err)
{
    blm_jpeg *j = &s->jpeg;
    int status = 1;
    while (status > 0) {
        if (!blm_jpeg_read_whole_scan(s)) return blm_jpeg_failed(&s->scan, err);
        j->at = blm_jpeg_scan_position(&s->scan);
        status = blm_jpeg_next_scan(j, err);
    }
    for (uint32_t i = 0; status == 0 && i < j->components; i++)
        if (!s->planes[i].has_quant)
            return blm_fail(err, BLUELM_E_IMAGE, "jpeg: component without data", 0, 0, j->at);
    return status;
}

/* ---- Rows -------------------------------------------------------------------------------- */

/* Samples of a strip whose coefficients are there. */
static void blm_jpeg_show_strip(blm_jpeg_state *s, uint32_t strip)
{
    for (uint32_t i = 0; i < s->jpeg.components; i++) {
        const blm_jpeg_component *c = &s->jpeg.component[i];
        const blm_jpeg_plane *p = &s->planes[i];
        for (uint32_t y = strip * c->down; y < (strip + 1) * c->down; y++)
            for (uint32_t x = 0; x < c->stored_x; x++)
                blm_jpeg_block_samples(blm_jpeg_stored_block(s, i, x, y), p->quant,
                                       blm_jpeg_place_of(s, i, x, y), p->stride);
    }
}

static int blm_jpeg_next_strip(blm_jpeg_state *s, bluelm_error *err)
{
    uint32_t strip = s->strips++;
    for (uint32_t i = 0; strip > 0 && i < s->jpeg.components; i++) {
        const blm_jpeg_plane *p = &s->planes[i];
        size_t last = (size_t)8 * s->jpeg.component[i].down;
        memcpy(p->samples, p->samples + last * p->stride, p->stride);
    }
    if (s->planes[0].coefficients) {
        blm_jpeg_show_strip(s, strip);
        return 0;
    }
    return blm_jpeg_read_mcu_row(s, strip) ? 0 : blm_jpeg_failed(&s->scan, err);
}

/* Row y of a component's samples: in the strip decoded last, or the one above it. */
static const uint8_t *blm_jpeg_samples(const blm_jpeg_state *s, uint32_t component, uint32_t y)
{
    const blm_jpeg_plane *p = &s->planes[component];
    uint32_t rows = 8 * s->jpeg.component[component].down;
    return p->samples + (y / rows + 1 == s->strips ? 1 + y % rows : 0) * p->stride;
}

/* The row of a component's samples that picture row y lies in, and the other one that is
 * near: *lower says on which side. */
static uint32_t blm_jpeg_row_of(const blm_jpeg *j, const blm_jpeg_component *c, uint32_t y,
                                uint32_t *beside, int *lower)
{
    uint32_t row = y * c->down / j->down;
    *lower = y * c->down % j->down * 2 >= j->down;
    *beside = *lower ? BLM_MIN(row + 1, c->height - 1) : row - (row > 0);
    return row;
}

/* Decodes the strips that picture row y is made of. Where one component makes it go on to
 * the next strip, y is the last row of its own, for the others too. */
static int blm_jpeg_reach(blm_jpeg_state *s, uint32_t y, bluelm_error *err)
{
    const blm_jpeg *j = &s->jpeg;
    uint32_t strips = 0, beside;
    int status = 0, lower;
    for (uint32_t i = 0; i < j->components; i++) {
        const blm_jpeg_component *c = &j->component[i];
        uint32_t row = blm_jpeg_row_of(j, c, y, &beside, &lower);
        if (blm_jpeg_looks_beside(j, c)) row = BLM_MAX(row, beside);
        strips = BLM_MAX(strips, row / (8 * c->down) + 1);
    }
    while (status == 0 && s->strips < strips)
        status = blm_jpeg_next_strip(s, err);
    return status;
}

/* A component's row as wide as the picture. */
static const uint8_t *blm_jpeg_line(blm_jpeg_state *s, uint32_t component, uint32_t y)
{
    const blm_jpeg *j = &s->jpeg;
    const blm_jpeg_component *c = &j->component[component];
    uint32_t beside;
    int lower;
    uint32_t row = blm_jpeg_row_of(j, c, y, &beside, &lower);
    const uint8_t *samples = blm_jpeg_samples(s, component, row);
    if (blm_jpeg_stretching(j, c) == BLM_JPEG_AS_IS) return samples;
    blm_jpeg_stretch(j, c, samples, blm_jpeg_samples(s, component, beside), lower,
                     s->planes[component].line);
    return s->planes[component].line;
}

/* ---- As image.h asks --------------------------------------------------------------------- */

/* Reads up to the first scan's data. */
static int blm_jpeg_read_headers(blm_jpeg *j, const uint8_t *file, size_t bytes,
                                 blm_jpeg_tables *tables, bluelm_error *err)
{
    blm_jpeg_open(j, file, bytes, tables);
    int status = blm_jpeg_next_scan(j, err);
    return status < 0 ? status : 0;
}

BLM_PRIVATE int blm_jpeg_facts(const uint8_t *file, size_t bytes, blm_image_facts *facts,
                               bluelm_error *err)
{
    blm_jpeg j;
    int status = blm_jpeg_read_headers(&j, file, bytes, NULL, err);
    if (status < 0) return status;
    facts->stored_width_px = j.width;
    facts->stored_height_px = j.height;
    facts->orientation = BLM_MAX(j.orientation, 1);
    facts->whole_picture = blm_jpeg_whole_picture(&j);
    return 0;
}

BLM_PRIVATE int blm_jpeg_check(const uint8_t *file, size_t bytes, bluelm_error *err)
{
    blm_jpeg j;
    int status;
    blm_jpeg_open(&j, file, bytes, NULL);
    do {
        status = blm_jpeg_next_scan(&j, err);
    } while (status > 0);
    return status;
}

BLM_PRIVATE int blm_jpeg_need(const uint8_t *file, size_t bytes, uint64_t *need,
                              bluelm_error *err)
{
    blm_jpeg j;
    int status = blm_jpeg_read_headers(&j, file, bytes, NULL, err);
    if (status < 0) return status;
    *need = blm_jpeg_bytes(&j);
    return 0;
}

/* An MCU is 8 pixels wide at least, and 10 blocks at most: samples, and of each block at
 * most its width once more for the row above. A line may be wider than the picture by an
 * MCU of 32 pixels. */
BLM_PRIVATE uint64_t blm_jpeg_scratch_bytes(uint32_t max_width_px)
{
    uint64_t mcus = ((uint64_t)max_width_px + 7) / 8;
    uint64_t strips = mcus * BLM_JPEG_MCU_BLOCKS * (64 + 8);
    uint64_t lines = 4 * blm_jpeg_round((uint64_t)max_width_px + 32 + 8);
    return blm_jpeg_round(sizeof(blm_jpeg_state)) + strips + 4 * 16 + lines;
}

BLM_PRIVATE int blm_jpeg_begin(void *memory, const uint8_t *file, size_t bytes,
                               const uint8_t background_rgb[3], bluelm_error *err)
{
    blm_jpeg_state *s = (blm_jpeg_state *)memory;
    (void)background_rgb; /* nothing is transparent */
    int status = blm_jpeg_read_headers(&s->jpeg, file, bytes, &s->tables, err);
    if (status < 0) return status;
    blm_jpeg_lay_out(s);
    s->colors = blm_jpeg_colors(&s->jpeg);
    s->strips = s->next_row = 0;
    if (blm_jpeg_whole_picture(&s->jpeg)) return blm_jpeg_read_scans(s, err);
    blm_jpeg_begin_scan(s);
    return 0;
}

BLM_PRIVATE int blm_jpeg_row(void *state, uint8_t *row_rgb, bluelm_error *err)
{
    blm_jpeg_state *s = (blm_jpeg_state *)state;
    const uint8_t *lines[4] = {NULL, NULL, NULL, NULL};
    int status = blm_jpeg_reach(s, s->next_row, err);
    if (status < 0) return status;
    for (uint32_t i = 0; i < s->jpeg.components; i++)
        lines[i] = blm_jpeg_line(s, i, s->next_row);
    blm_jpeg_convert(s->colors, lines, s->jpeg.width, row_rgb);
    s->next_row++;
    return 0;
}

#endif
