/* The parts of the JPEG decoder: segments (jpeg_segments.c) say what is coded how,
 * jpeg_entropy.c reads coefficients, jpeg_pixels.c makes pixels of them, jpeg.c has the
 * memory and the order of things. */
#ifndef BLM_JPEG_PARTS_H
#define BLM_JPEG_PARTS_H

#include "../base/base.h"

#ifndef BLUELM_NO_IMAGE_DECODE

#define BLM_JPEG_FAST_BITS  9
#define BLM_JPEG_MCU_BLOCKS 10  /* the format's limit for scans of several components */
#define BLM_JPEG_SCANS      256 /* a file may ask for any number of passes over the picture */

/* A Huffman table: codes of up to 9 bits by what the next bits may be; longer ones by
 * comparing the next 16 bits with the first value above the codes of each length. */
typedef struct blm_jpeg_huffman {
    uint16_t fast[1 << BLM_JPEG_FAST_BITS]; /* length << 8 | symbol, 0: longer or none */
    uint32_t limit[17];
    int32_t offset[17]; /* of a code of that length to its symbol's place */
    uint8_t symbols[256];
} blm_jpeg_huffman;

/* What DQT and DHT define, by their numbers. */
typedef struct blm_jpeg_tables {
    uint16_t quant[4][64];          /* as coefficients lie in a block */
    blm_jpeg_huffman huffman[2][4]; /* DC, AC */
} blm_jpeg_tables;

typedef struct blm_jpeg_component {
    uint32_t id, quant;
    uint32_t across, down;       /* sampling factors */
    uint32_t width, height;      /* in samples */
    uint32_t blocks_x, blocks_y; /* that hold them */
    uint32_t stored_x, stored_y; /* rounded up to whole MCUs */
} blm_jpeg_component;

/* One component of the current scan and the numbers of its Huffman tables. */
typedef struct blm_jpeg_scanned {
    uint32_t component, dc, ac;
} blm_jpeg_scanned;

/* What the segments read so far say. */
typedef struct blm_jpeg {
    const uint8_t *file;
    size_t bytes, at;
    uint32_t width, height, components; /* 0 before the frame's header */
    int progressive;
    uint32_t across, down;   /* the largest sampling factors */
    uint32_t mcus_x, mcus_y; /* minimal coded units: across x down blocks */
    blm_jpeg_component component[4];
    uint32_t restart_interval; /* MCUs, 0: none */
    int is_jfif, is_adobe;
    uint32_t transform; /* of Adobe */
    uint32_t orientation;
    uint32_t quant_seen, huffman_seen[2]; /* bit n: table n is there */
    uint32_t scans;
    uint32_t scanned_count; /* of the scan whose data begin at `at` */
    blm_jpeg_scanned scanned[4];
    uint32_t first, last, high, low; /* progressive: coefficients and bits of the scan */
    blm_jpeg_tables *tables;         /* NULL: they are checked, not kept */
} blm_jpeg;

/* Bits of a scan's data, the next one highest. */
typedef struct blm_jpeg_bits {
    const uint8_t *next, *end; /* end: of the file; a marker stops it earlier */
    uint64_t bits;
    int32_t count; /* < 0: the data ended before what was read last */
} blm_jpeg_bits;

/* The decoding of one scan. */
typedef struct blm_jpeg_scan {
    const blm_jpeg *jpeg;
    blm_jpeg_bits bits;
    uint32_t mcus_left; /* until the next restart marker */
    uint32_t next_restart;
    uint32_t end_run;  /* blocks still without coefficients in this band */
    uint32_t dc[4];    /* the last DC of each component, modulo 2^32 */
    const char *wrong; /* why it stopped, NULL while nothing is wrong */
} blm_jpeg_scan;

/* Reads segments up to the next scan's data. Returns 1, 0 at the end of the picture, or
 * BLUELM_E_IMAGE. */
BLM_PRIVATE int blm_jpeg_next_scan(blm_jpeg *j, bluelm_error *err);

BLM_PRIVATE void blm_jpeg_open(blm_jpeg *j, const uint8_t *file, size_t bytes,
                               blm_jpeg_tables *tables);

/* Begins the scan whose data come next. */
BLM_PRIVATE void blm_jpeg_scan_begin(blm_jpeg_scan *s, const blm_jpeg *j);

/* Before each MCU: passes over a restart marker where one is due. Returns 1 or 0. */
BLM_PRIVATE int blm_jpeg_scan_mcu(blm_jpeg_scan *s);

/* Reads a block of the scan's n-th component. A sequential scan fills it, and it must be
 * zeros; progressive ones add to it. Returns 1, or 0 with s->wrong. */
BLM_PRIVATE int blm_jpeg_scan_block(blm_jpeg_scan *s, uint32_t n, int16_t *block);

/* Where the coefficient that is coded as the k-th lies in a block. */
BLM_PRIVATE uint32_t blm_jpeg_place(uint32_t k);

/* Where in the file the scan is, as nearly as it knows. */
BLM_PRIVATE size_t blm_jpeg_scan_position(const blm_jpeg_scan *s);

/* 64 samples of a block; quant as coefficients lie in it. */
BLM_PRIVATE void blm_jpeg_block_samples(const int16_t *block, const uint16_t *quant,
                                        uint8_t *out, size_t stride);

/* How a component's samples become those of the picture. */
enum { BLM_JPEG_NEAREST, BLM_JPEG_AS_IS, BLM_JPEG_WIDER, BLM_JPEG_HIGHER, BLM_JPEG_BOTH };
BLM_PRIVATE int blm_jpeg_stretching(const blm_jpeg *j, const blm_jpeg_component *c);

/* Whether rows are made of two rows of samples. */
BLM_PRIVATE int blm_jpeg_looks_beside(const blm_jpeg *j, const blm_jpeg_component *c);

/* A row as wide as the picture, from the row of samples under it and the one that is
 * nearest besides. `lower` is 1 where that one lies below. */
BLM_PRIVATE void blm_jpeg_stretch(const blm_jpeg *j, const blm_jpeg_component *c,
                                  const uint8_t *row, const uint8_t *beside, int lower,
                                  uint8_t *out);

/* What a file's components are. */
enum { BLM_JPEG_GREY, BLM_JPEG_RGB, BLM_JPEG_YCC, BLM_JPEG_CMYK, BLM_JPEG_YCCK };
BLM_PRIVATE int blm_jpeg_colors(const blm_jpeg *j);

/* RGB of a row of the components' samples. */
BLM_PRIVATE void blm_jpeg_convert(int colors, const uint8_t *const lines[4], uint32_t width,
                                  uint8_t *rgb);

#endif
#endif
