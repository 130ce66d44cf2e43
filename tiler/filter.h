/* The weights of resizing: which source pixels make an output pixel, and how much of each.
 * They are Pillow's to the last bit, under any compiler flags short of -ffast-math: every
 * operation whose result another one uses is rounded to a double in between. */
#ifndef BLM_FILTER_H
#define BLM_FILTER_H

#include "grid.h"

#define BLM_WEIGHT_BITS 22 /* of the fraction in a weight: 8 bits of pixel and 2 spare */
#define BLM_WEIGHT_HALF (1 << (BLM_WEIGHT_BITS - 1))

/* One axis of a resize. The source may have padding on both sides: pixels [at, at + real)
 * of its `in` are there. */
typedef struct blm_axis {
    double scale;      /* source pixels per output pixel              */
    double support;    /* half the window, in source pixels           */
    double per_source; /* filter units per source pixel               */
    uint32_t in, at, real, out;
    uint32_t filter; /* BLM_FILTER_*                                */
} blm_axis;

/* The source pixels that make one output pixel: [first, first + count), of which
 * [from, end) are not padding. */
typedef struct blm_window {
    double center, sum; /* in source pixels; of the raw weights       */
    uint32_t first, count, from, end;
    int32_t outside; /* weight of the padding                       */
} blm_window;

/* Half the window, in filter units: 1, 2 or 3. */
BLM_PRIVATE uint32_t blm_filter_radius(uint32_t filter);

BLM_PRIVATE void blm_axis_set(blm_axis *a, uint32_t in, uint32_t out, uint32_t filter);

/* Says that only [at, at + real) of the source is not padding. */
BLM_PRIVATE void blm_axis_pad(blm_axis *a, uint32_t at, uint32_t real);

BLM_PRIVATE void blm_axis_window(const blm_axis *a, uint32_t out_pixel, blm_window *w);

/* The weight of one source pixel of a window, in fixed point. */
BLM_PRIVATE int32_t blm_axis_weight(const blm_axis *a, const blm_window *w, uint32_t source);

/* A sum of pixels times weights, which began with BLM_WEIGHT_HALF, as a pixel. */
static inline BLM_UNUSED uint8_t blm_weight_clip(int32_t sum)
{
    if (sum < 0) return 0;
    sum >>= BLM_WEIGHT_BITS;
    return (uint8_t)(sum > 255 ? 255 : sum);
}

#endif
