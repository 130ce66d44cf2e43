#include "resize.h"

/* Weights are computed in doubles in Pillow's order of operations; a fused multiply-add
 * would change their last bit. gcc does not fuse under -std=c99. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

#define BLM_RESIZE_BITS 22 /* of the fraction in a weight: 8 bits of pixel and 2 spare */
#define BLM_RESIZE_HALF (1 << (BLM_RESIZE_BITS - 1))

/* Output rows made together. A source row is resized once a group, so reductions redo
 * 3 / BLM_RESIZE_ROWS of the horizontal work: the rows that two groups share. */
#define BLM_RESIZE_ROWS 16

/* ---- Weights ---------------------------------------------------------------------- */

/* One axis of a resize. */
typedef struct blm_axis {
    double scale;      /* source pixels per output pixel              */
    double support;    /* half the window, in source pixels           */
    double per_source; /* filter units per source pixel               */
    uint32_t in;       /* source pixels                               */
    uint32_t filter;   /* BLM_FILTER_*                                */
} blm_axis;

/* The source pixels that make one output pixel: [first, first + count). */
typedef struct blm_window {
    double center, sum; /* in source pixels; of the raw weights       */
    uint32_t first, count;
} blm_window;

static void blm_axis_set(blm_axis *a, uint32_t in, uint32_t out, uint32_t filter)
{
    double stretch;
    a->in = in;
    a->filter = filter;
    a->scale = stretch = (double)in / (double)out;
    if (stretch < 1.0) stretch = 1.0; /* enlarging interpolates: the window stays */
    a->support = (filter == BLM_FILTER_BILINEAR ? 1.0 : 2.0) * stretch;
    a->per_source = 1.0 / stretch;
}

/* The filters at a distance in filter units: a triangle, and the cubic with a = -1/2. */
static double blm_filter_at(uint32_t filter, double x)
{
    if (x < 0.0) x = -x;
    if (filter == BLM_FILTER_BILINEAR) return x < 1.0 ? 1.0 - x : 0.0;
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5;
    return 0.0;
}

static double blm_axis_raw(const blm_axis *a, const blm_window *w, uint32_t source)
{
    return blm_filter_at(a->filter, ((double)source - w->center + 0.5) * a->per_source);
}

static void blm_axis_window(const blm_axis *a, uint32_t out_pixel, blm_window *w)
{
    w->center = ((double)out_pixel + 0.5) * a->scale;
    double from = w->center - a->support + 0.5, to = w->center + a->support + 0.5;
    uint32_t first = from < 0.0 ? 0 : (uint32_t)from;
    uint32_t end = (uint32_t)to;
    if (end > a->in) end = a->in;
    w->first = first;
    w->count = end - first;
    w->sum = 0.0;
    for (uint32_t i = 0; i < w->count; i++)
        w->sum += blm_axis_raw(a, w, first + i);
}

/* The weight of one source pixel of a window, rounded to fixed point. */
static int32_t blm_axis_weight(const blm_axis *a, const blm_window *w, uint32_t source)
{
    double weight = blm_axis_raw(a, w, source);
    if (w->sum != 0.0) weight /= w->sum;
    double fixed = weight * (double)(1 << BLM_RESIZE_BITS);
    return (int32_t)(weight < 0 ? -0.5 + fixed : 0.5 + fixed);
}

static uint8_t blm_resize_clip(int32_t sum)
{
    if (sum < 0) return 0;
    sum >>= BLM_RESIZE_BITS;
    return (uint8_t)(sum > 255 ? 255 : sum);
}

/* ---- One rectangle ------------------------------------------------------------------ */

/* A column's weights: the next `count` of the table, for source pixels from `first`. */
typedef struct blm_column {
    uint32_t first, count;
} blm_column;

/* A job and its scratch:
 *   | sums: 16 rows of width x 3 i32 | columns | one row of width x 3 u8 | weights |
 * The weight table holds as many columns as fit; a wide rectangle of a strong reduction
 * is made in several blocks of columns. */
typedef struct blm_resize {
    const blm_resize_job *job;
    size_t stride; /* of the source, in bytes                      */
    blm_axis across, down;
    int32_t *sums;
    blm_column *columns;
    uint8_t *row;
    int32_t *weights;
    uint64_t weight_room;          /* weights                                      */
    uint32_t block, block_columns; /* first column of this block, columns in it */
} blm_resize;

/* Everything but the weights, with room to align. */
static uint64_t blm_resize_fixed_bytes(uint64_t width)
{
    uint64_t row = (3 * width + 3) / 4 * 4;
    return BLM_RESIZE_ROWS * 3 * width * sizeof(int32_t) + width * sizeof(blm_column) + row +
           sizeof(int32_t);
}

BLM_PRIVATE uint64_t blm_resize_scratch_bytes(uint32_t tile_px)
{
    if (tile_px == 0) return 0;
    /* One column of the strongest reduction, and room to make a reduction by less than
     * 4 in one block. */
    uint64_t one = 4 * ((uint64_t)BLM_PICTURE_LIMIT / tile_px + 1) + 4;
    uint64_t weights = BLM_MAX(16 * (uint64_t)tile_px, one);
    return blm_resize_fixed_bytes(tile_px) + weights * sizeof(int32_t);
}

static int blm_resize_check(const blm_resize_job *job, size_t *stride, bluelm_error *err)
{
    const bluelm_image *im = job->image;
    if (!im->rgb) return blm_fail(err, BLUELM_E_ARG, "picture has no rgb rows", 0, 0, 0);
    if (im->width_px == 0 || im->width_px > BLM_PICTURE_LIMIT)
        return blm_fail(err, BLUELM_E_ARG, "picture width", BLM_PICTURE_LIMIT, im->width_px, 0);
    if (im->height_px == 0 || im->height_px > BLM_PICTURE_LIMIT)
        return blm_fail(err, BLUELM_E_ARG, "picture height", BLM_PICTURE_LIMIT, im->height_px,
                        0);
    size_t row_bytes = (size_t)im->width_px * 3;
    *stride = im->stride_bytes ? im->stride_bytes : row_bytes;
    if (*stride < row_bytes)
        return blm_fail(err, BLUELM_E_ARG, "picture stride, in bytes", row_bytes, *stride, 0);
    if (*stride > (SIZE_MAX - row_bytes) / im->height_px)
        return blm_fail(err, BLUELM_E_ARG, "picture stride, in bytes", SIZE_MAX, *stride, 0);
    if (job->full_width == 0 || job->full_height == 0 || job->width > job->full_width ||
        job->x > job->full_width - job->width || job->height > job->full_height ||
        job->y > job->full_height - job->height)
        return blm_fail(err, BLUELM_E_ARG, "rectangle of a resized picture", 0, 0, 0);
    return 0;
}

static int blm_resize_start(blm_resize *z, const blm_resize_job *job, void *scratch,
                            uint64_t scratch_bytes, bluelm_error *err)
{
    int status = blm_resize_check(job, &z->stride, err);
    if (status < 0) return status;
    z->job = job;
    blm_axis_set(&z->across, job->image->width_px, job->full_width, job->filter);
    blm_axis_set(&z->down, job->image->height_px, job->full_height, job->filter);
    uint64_t fixed = blm_resize_fixed_bytes(job->width);
    uint64_t longest = 2 * (uint64_t)z->across.support + 3;
    uint64_t need = fixed + longest * sizeof(int32_t);
    if (!scratch || scratch_bytes < need)
        return blm_fail(err, BLUELM_E_BUDGET, "resize scratch", need,
                        scratch ? scratch_bytes : 0, 0);
    uint8_t *at = (uint8_t *)scratch;
    at += (4 - ((uintptr_t)at & 3)) & 3;
    z->sums = (int32_t *)(void *)at;
    at += (size_t)BLM_RESIZE_ROWS * 3 * job->width * sizeof(int32_t);
    z->columns = (blm_column *)(void *)at;
    at += (size_t)job->width * sizeof(blm_column);
    z->row = at;
    at += ((size_t)job->width * 3 + 3) / 4 * 4;
    z->weights = (int32_t *)(void *)at;
    z->weight_room = (scratch_bytes - fixed) / sizeof(int32_t);
    return 0;
}

/* Fills the weight table for as many columns as fit, from z->block on. */
static void blm_resize_fill_block(blm_resize *z)
{
    uint64_t used = 0;
    uint32_t n = 0;
    for (; z->block + n < z->job->width; n++) {
        blm_window w;
        blm_axis_window(&z->across, z->job->x + z->block + n, &w);
        if (w.count > z->weight_room - used) break;
        for (uint32_t i = 0; i < w.count; i++)
            z->weights[used + i] = blm_axis_weight(&z->across, &w, w.first + i);
        z->columns[n].first = w.first;
        z->columns[n].count = w.count;
        used += w.count;
    }
    z->block_columns = n;
}

/* One source row resized across into the block's columns: out [block_columns][3]. */
static void blm_resize_across(const blm_resize *z, const uint8_t *source, uint8_t *out)
{
    const int32_t *weight = z->weights;
    for (uint32_t c = 0; c < z->block_columns; c++) {
        const uint8_t *px = source + (size_t)z->columns[c].first * 3;
        uint32_t count = z->columns[c].count;
        int32_t red = BLM_RESIZE_HALF, green = red, blue = red;
        for (uint32_t i = 0; i < count; i++, px += 3) {
            red += weight[i] * px[0];
            green += weight[i] * px[1];
            blue += weight[i] * px[2];
        }
        weight += count;
        out[0] = blm_resize_clip(red);
        out[1] = blm_resize_clip(green);
        out[2] = blm_resize_clip(blue);
        out += 3;
    }
}

/* The block's part of source row y, resized across; it lies in z->row, or in the
 * picture itself when the width stays. */
static const uint8_t *blm_resize_row(const blm_resize *z, uint32_t y)
{
    const uint8_t *source = z->job->image->rgb + (size_t)y * z->stride;
    if (z->job->full_width == z->job->image->width_px)
        return source + (size_t)(z->job->x + z->block) * 3;
    blm_resize_across(z, source, z->row);
    return z->row;
}

static void blm_resize_add(int32_t *restrict sums, const uint8_t *restrict row, size_t count,
                           int32_t weight)
{
    for (size_t i = 0; i < count; i++)
        sums[i] += row[i] * weight;
}

/* Makes `rows` output rows of the block from rectangle row y on: source rows come one
 * after another and are added to every output row whose window they lie in. */
static void blm_resize_group(const blm_resize *z, uint32_t y, uint32_t rows)
{
    const blm_resize_job *job = z->job;
    size_t values = (size_t)z->block_columns * 3;
    blm_window w[BLM_RESIZE_ROWS];
    for (uint32_t g = 0; g < rows; g++)
        blm_axis_window(&z->down, job->y + y + g, &w[g]);
    for (size_t i = 0; i < values * rows; i++)
        z->sums[i] = BLM_RESIZE_HALF;
    uint32_t end = w[rows - 1].first + w[rows - 1].count;
    for (uint32_t source = w[0].first; source < end; source++) {
        const uint8_t *row = blm_resize_row(z, source);
        for (uint32_t g = 0; g < rows; g++) {
            if (source - w[g].first >= w[g].count) continue; /* before it wraps round */
            int32_t weight = blm_axis_weight(&z->down, &w[g], source);
            if (weight) blm_resize_add(z->sums + g * values, row, values, weight);
        }
    }
    for (uint32_t g = 0; g < rows; g++) {
        uint8_t *out =
            job->out + (size_t)(y + g) * job->out_stride_bytes + (size_t)z->block * 3;
        for (size_t i = 0; i < values; i++)
            out[i] = blm_resize_clip(z->sums[g * values + i]);
    }
}

/* Makes the block's columns of every row. */
static void blm_resize_block(const blm_resize *z)
{
    const blm_resize_job *job = z->job;
    if (job->full_height == job->image->height_px) {
        for (uint32_t y = 0; y < job->height; y++)
            memcpy(job->out + (size_t)y * job->out_stride_bytes + (size_t)z->block * 3,
                   blm_resize_row(z, job->y + y), (size_t)z->block_columns * 3);
        return;
    }
    for (uint32_t y = 0; y < job->height; y += BLM_RESIZE_ROWS)
        blm_resize_group(z, y, BLM_MIN(BLM_RESIZE_ROWS, job->height - y));
}

BLM_PRIVATE int blm_resize_rect(const blm_resize_job *job, void *scratch,
                                uint64_t scratch_bytes, bluelm_error *err)
{
    blm_resize z;
    int status = blm_resize_start(&z, job, scratch, scratch_bytes, err);
    if (status < 0) return status;
    int same_width = job->full_width == job->image->width_px;
    for (z.block = 0; z.block < job->width; z.block += z.block_columns) {
        if (same_width)
            z.block_columns = job->width;
        else
            blm_resize_fill_block(&z);
        blm_resize_block(&z);
    }
    return 0;
}

/* ---- Tiles ---------------------------------------------------------------------------- */

BLM_PRIVATE int blm_tile_whole(const bluelm_image *image, uint32_t tile_px, uint32_t filter,
                               uint8_t *out, void *scratch, uint64_t scratch_bytes,
                               bluelm_error *err)
{
    blm_resize_job job = {image, tile_px, tile_px, filter, 0,
                          0,     tile_px, tile_px, out,    (size_t)tile_px * 3};
    return blm_resize_rect(&job, scratch, scratch_bytes, err);
}

static void blm_tile_fill(uint8_t *out, size_t pixels, uint32_t color)
{
    for (size_t i = 0; i < pixels; i++, out += 3) {
        out[0] = (uint8_t)(color >> 16);
        out[1] = (uint8_t)(color >> 8);
        out[2] = (uint8_t)color;
    }
}

/* A grid is the caller's to keep: it may not be the one that was chosen. */
static int blm_tile_check_grid(const bluelm_tile_grid *grid, const blm_tile_rule *r,
                               uint32_t tile_index, bluelm_error *err)
{
    uint32_t px = grid->tile_width_px;
    int sound = px == r->tile_px && px == grid->tile_height_px && px >= 1 &&
                px <= BLM_TILE_PX_LIMIT && grid->columns >= 1 &&
                grid->columns <= BLM_TILES_LIMIT && grid->rows >= 1 &&
                grid->rows <= BLM_TILES_LIMIT && grid->thumbnail <= 1 &&
                grid->tiles == grid->columns * grid->rows + grid->thumbnail &&
                grid->resized_width_px >= 1 && grid->resized_width_px <= grid->columns * px &&
                grid->offset_x_px <= grid->columns * px - grid->resized_width_px &&
                grid->resized_height_px >= 1 && grid->resized_height_px <= grid->rows * px &&
                grid->offset_y_px <= grid->rows * px - grid->resized_height_px;
    if (!sound) return blm_fail(err, BLUELM_E_ARG, "tile grid", 0, 0, 0);
    if (tile_index >= grid->tiles)
        return blm_fail(err, BLUELM_E_ARG, "tile index", grid->tiles, tile_index, 0);
    return 0;
}

/* The part of [at, at + length) that a tile [tile, tile + px) covers. Returns its
 * length and its start, counted from `at` and from `tile`. */
static uint32_t blm_tile_overlap(uint32_t at, uint32_t length, uint32_t tile, uint32_t px,
                                 uint32_t *from_at, uint32_t *from_tile)
{
    uint32_t start = BLM_MAX(at, tile), end = BLM_MIN(at + length, tile + px);
    *from_at = start - at;
    *from_tile = start - tile;
    return end > start ? end - start : 0;
}

BLM_PRIVATE int blm_tile_extract(const bluelm_image *image, const blm_tile_rule *r,
                                 const bluelm_tile_grid *grid, uint32_t tile_index,
                                 uint8_t *out, void *scratch, uint64_t scratch_bytes,
                                 bluelm_error *err)
{
    int status = blm_tile_check_grid(grid, r, tile_index, err);
    if (status < 0) return status;
    uint32_t px = grid->tile_width_px, local = tile_index;
    if (grid->thumbnail) {
        int first = r->thumbnail == BLM_THUMBNAIL_FIRST;
        if (tile_index == (first ? 0 : grid->tiles - 1))
            return blm_tile_whole(image, px, r->filter, out, scratch, scratch_bytes, err);
        local -= (uint32_t)first;
    }
    blm_resize_job job = {
        image, grid->resized_width_px, grid->resized_height_px, r->filter, 0, 0, 0, 0,
        out,   (size_t)px * 3};
    uint32_t left, top;
    job.width = blm_tile_overlap(grid->offset_x_px, job.full_width, local % grid->columns * px,
                                 px, &job.x, &left);
    job.height = blm_tile_overlap(grid->offset_y_px, job.full_height,
                                  local / grid->columns * px, px, &job.y, &top);
    if (job.width < px || job.height < px) blm_tile_fill(out, (size_t)px * px, r->pad_color);
    if (job.width == 0 || job.height == 0) return 0; /* a tile of padding alone */
    job.out = out + ((size_t)top * px + left) * 3;
    return blm_resize_rect(&job, scratch, scratch_bytes, err);
}

BLM_PRIVATE void blm_patch_pixels(const uint8_t *rgb, size_t stride_bytes, uint32_t patch_px,
                                  uint32_t patch_x, uint32_t patch_y, const float mean[3],
                                  const float std[3], float *out)
{
    const uint8_t *corner =
        rgb + (size_t)patch_y * patch_px * stride_bytes + (size_t)patch_x * patch_px * 3;
    for (uint32_t c = 0; c < 3; c++) {
        for (uint32_t y = 0; y < patch_px; y++) {
            const uint8_t *px = corner + (size_t)y * stride_bytes + c;
            for (uint32_t x = 0; x < patch_px; x++, px += 3)
                *out++ = ((float)*px / 255.0f - mean[c]) / std[c];
        }
    }
}
