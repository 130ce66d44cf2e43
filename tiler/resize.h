/* Resizes a picture line by line, as it comes, and equals Pillow's 8-bit RGB resampling
 * (Image.resize, bicubic, bilinear and Lanczos) to the bit.
 *
 * A line is a row of the picture, or a column of it (transposed): pictures whose EXIF
 * orientation turns them are resized as they are stored, and come out as if they had been
 * turned first. Memory depends on the length of a line, never on how many there are. */
#ifndef BLM_RESIZE_H
#define BLM_RESIZE_H

#include "filter.h"

/* What becomes of a picture. Sizes are counted along its lines and from line to line. */
typedef struct blm_resize_plan {
    uint32_t line_px, lines;         /* as they are pushed                                 */
    uint32_t out_line_px, out_lines; /* as they come out                                   */
    uint32_t filter;                 /* BLM_FILTER_*                                       */
    int transposed;                  /* 1: lines are columns of the picture                */
    int backwards;                   /* 1: lines are pushed, and come out, last to first   */
    /* Padding around the picture that belongs to what is resized; 0 where there is none. */
    uint32_t square_px; /* length of the padded lines, and number of the padded lines      */
    uint32_t pad_color; /* 0xRRGGBB                                                        */
} blm_resize_plan;

/* Output lines that one pushed line goes into: twice the filter's radius, and one more where
 * rounding makes windows meet. */
#define BLM_RESIZE_SLOTS 7

typedef struct blm_resize_column {
    uint32_t first, count; /* source pixels, and as many weights of the table           */
    int32_t outside;       /* weight of the padding                                     */
} blm_resize_column;

/* A picture while it is resized. Reductions (from line to line) add each line to the sums
 * of the output lines that it goes into; enlargements keep the last lines in a ring. */
typedef struct blm_resizer {
    blm_axis line, step; /* along a line, from line to line                              */
    int transposed, backwards, enlarges;
    uint8_t pad[3];
    uint32_t slots, values;          /* output lines in the sums; values of a line of these */
    uint32_t pushed, opened, pulled; /* lines; output lines that have sums; that came out  */
    blm_window coming;               /* of output line `opened`                            */
    blm_window windows[BLM_RESIZE_SLOTS]; /* of those opened and not pulled                */
    int32_t *sums;                        /* [slots][values]; enlarging: [values]         */
    uint8_t *ring;                        /* enlarging: [slots][values]                   */
    blm_resize_column *columns;           /* [out_line_px]                                */
    int32_t *weights;
    uint8_t *row;      /* [values]: between the two passes                                */
    uint8_t *out;      /* [out_line_px][3]: a line that came out                          */
    uint8_t *pad_line; /* [values]: what a line of padding is after the first pass        */
} blm_resizer;

/* Memory of a resizer, in bytes, at any alignment: for lines of up to line_px pushed and
 * out_line_px coming out. */
BLM_PRIVATE uint64_t blm_resizer_bytes(uint32_t line_px, uint32_t out_line_px, int transposed,
                                       uint32_t filter);

/* Makes ready for the first line. Sizes are 1..131072; with square_px it is at least both
 * line_px and lines. memory: blm_resizer_bytes, which stays the resizer's. */
BLM_PRIVATE void blm_resizer_begin(blm_resizer *z, const blm_resize_plan *plan, void *memory);

/* Takes the next line: [line_px][3]. All that is there to come out has come out before. */
BLM_PRIVATE void blm_resizer_push(blm_resizer *z, const uint8_t *line);

/* The next output line that needs no more lines, [out_line_px][3], until the next call;
 * NULL when there is none yet. index is its place in the output picture. */
BLM_PRIVATE const uint8_t *blm_resizer_pull(blm_resizer *z, uint32_t *index);

/* Normalises one patch of a picture, in the order of v.patch_embd.weight's rows.
 *   rgb               [height][stride_bytes], 3 bytes a pixel
 *   patch_x, patch_y  which patch, counted in patches; it lies inside the picture
 *   out               [3][patch_px][patch_px] f32: (value / 255 - mean) / std */
BLM_PRIVATE void blm_patch_pixels(const uint8_t *rgb, size_t stride_bytes, uint32_t patch_px,
                                  uint32_t patch_x, uint32_t patch_y, const float mean[3],
                                  const float std[3], float *out);

#endif
