#include "resize.h"

/* ---- Memory ----------------------------------------------------------------------- */

/* Length of a line while lines are summed: after the pass along it, or before. */
static uint32_t blm_resizer_span(uint32_t line_px, uint32_t out_line_px, int transposed)
{
    return transposed ? line_px : out_line_px;
}

/* Weights along a line: a pixel lies in at most 2 radius + 1 windows of a reduction, and a
 * window of an enlargement has as many pixels at most. */
static uint64_t blm_resizer_weights(uint32_t line_px, uint32_t out_line_px, uint32_t filter)
{
    uint64_t longer = BLM_MAX(line_px, out_line_px);
    return (2 * (uint64_t)blm_filter_radius(filter) + 1) * longer + out_line_px;
}

/* Bytes in multiples of 4, which the parts' alignment is. */
static uint64_t blm_resizer_part(uint64_t bytes)
{
    return (bytes + 3) & ~(uint64_t)3;
}

BLM_PRIVATE uint64_t blm_resizer_bytes(uint32_t line_px, uint32_t out_line_px, int transposed,
                                       uint32_t filter)
{
    uint64_t values = 3 * (uint64_t)blm_resizer_span(line_px, out_line_px, transposed);
    uint64_t slots = 2 * (uint64_t)blm_filter_radius(filter) + 1;
    uint64_t weights = blm_resizer_weights(line_px, out_line_px, filter);
    return 3 + values * slots * sizeof(int32_t) +
           out_line_px * (uint64_t)sizeof(blm_resize_column) + weights * sizeof(int32_t) +
           2 * blm_resizer_part(values) + blm_resizer_part(3 * (uint64_t)out_line_px);
}

static void *blm_resizer_take(uint8_t **at, uint64_t bytes)
{
    void *taken = *at;
    *at += blm_resizer_part(bytes);
    return taken;
}

/* An enlargement's ring is smaller than a reduction's sums, whose place it takes:
 * (2 radius + 1) bytes and 4 to 4 (2 radius + 1). */
static void blm_resizer_place(blm_resizer *z, void *memory)
{
    uint8_t *at = (uint8_t *)memory;
    uint32_t line_px = z->line.real, out = z->line.out;
    uint64_t values = z->values;
    at += (4 - ((uintptr_t)at & 3)) & 3;
    z->sums = (int32_t *)blm_resizer_take(&at, values * z->slots * sizeof(int32_t));
    z->ring = (uint8_t *)(z->sums + values);
    z->columns =
        (blm_resize_column *)blm_resizer_take(&at, (uint64_t)out * sizeof(blm_resize_column));
    z->weights = (int32_t *)blm_resizer_take(
        &at, blm_resizer_weights(line_px, out, z->line.filter) * sizeof(int32_t));
    z->row = (uint8_t *)blm_resizer_take(&at, values);
    z->pad_line = (uint8_t *)blm_resizer_take(&at, values);
    z->out = (uint8_t *)blm_resizer_take(&at, 3 * (uint64_t)out);
}

/* ---- Along a line ------------------------------------------------------------------ */

static void blm_resizer_fill_columns(blm_resizer *z)
{
    int32_t *weight = z->weights;
    for (uint32_t c = 0; c < z->line.out; c++) {
        blm_window w;
        blm_axis_window(&z->line, c, &w);
        z->columns[c].first = w.from - z->line.at;
        z->columns[c].count = w.end - w.from;
        z->columns[c].outside = w.outside;
        for (uint32_t s = w.from; s < w.end; s++)
            *weight++ = blm_axis_weight(&z->line, &w, s);
    }
}

/* One line resized along itself, with padding of the colour `pad`: out [line.out][3]. */
static void blm_resizer_along(const blm_resizer *z, const uint8_t *line, const uint8_t pad[3],
                              uint8_t *out)
{
    const int32_t *weight = z->weights;
    for (uint32_t c = 0; c < z->line.out; c++, out += 3) {
        const blm_resize_column *column = &z->columns[c];
        const uint8_t *px = line + (size_t)column->first * 3;
        int32_t red = BLM_WEIGHT_HALF + column->outside * pad[0];
        int32_t green = BLM_WEIGHT_HALF + column->outside * pad[1];
        int32_t blue = BLM_WEIGHT_HALF + column->outside * pad[2];
        for (uint32_t i = 0; i < column->count; i++, px += 3) {
            red += weight[i] * px[0];
            green += weight[i] * px[1];
            blue += weight[i] * px[2];
        }
        weight += column->count;
        out[0] = blm_weight_clip(red);
        out[1] = blm_weight_clip(green);
        out[2] = blm_weight_clip(blue);
    }
}

static int blm_resizer_keeps_line(const blm_resizer *z)
{
    return z->line.out == z->line.in && z->line.real == z->line.in;
}

/* What a window over padding alone makes of it: the weights' sum is not exactly one. */
static uint8_t blm_resizer_pad_value(int32_t weights, uint8_t pad)
{
    return blm_weight_clip(BLM_WEIGHT_HALF + weights * pad);
}

static int32_t blm_window_weights(const blm_axis *a, const blm_window *w)
{
    int32_t sum = w->outside;
    for (uint32_t s = w->from; s < w->end; s++)
        sum += blm_axis_weight(a, w, s);
    return sum;
}

/* A line of padding after the first pass: along it, or, transposed, none yet. */
static void blm_resizer_fill_pad_line(blm_resizer *z)
{
    const int32_t *weight = z->weights;
    for (uint32_t c = 0; c < z->values / 3; c++) {
        for (int i = 0; i < 3; i++)
            z->pad_line[3 * c + (uint32_t)i] = z->pad[i];
        if (z->transposed) continue;
        int32_t sum = z->columns[c].outside;
        for (uint32_t k = 0; k < z->columns[c].count; k++)
            sum += *weight++;
        for (int i = 0; i < 3; i++)
            z->pad_line[3 * c + (uint32_t)i] = blm_resizer_pad_value(sum, z->pad[i]);
    }
}

/* ---- From line to line --------------------------------------------------------------- */

static uint32_t blm_resizer_place_of(const blm_resizer *z, uint32_t nth, uint32_t count)
{
    return z->backwards ? count - 1 - nth : nth;
}

/* Whether all lines of a window have been pushed. */
static int blm_resizer_complete(const blm_resizer *z, const blm_window *w)
{
    const blm_axis *a = &z->step;
    if (z->backwards) return w->from >= a->at + a->real - z->pushed;
    return w->end <= a->at + z->pushed;
}

/* Whether a line, or one after it, is the first of a window to be pushed. */
static int blm_resizer_reaches(const blm_resizer *z, const blm_window *w, uint32_t line)
{
    return z->backwards ? w->end > line : w->from <= line;
}

static void blm_resizer_set_coming(blm_resizer *z)
{
    if (z->opened == z->step.out) return;
    blm_axis_window(&z->step, blm_resizer_place_of(z, z->opened, z->step.out), &z->coming);
}

/* Sums of an output line that so far has its padding alone. */
static void blm_resizer_start_sums(const blm_resizer *z, const blm_window *w, int32_t *sums)
{
    if (w->outside == 0) {
        for (uint32_t i = 0; i < z->values; i++)
            sums[i] = BLM_WEIGHT_HALF;
        return;
    }
    for (uint32_t i = 0; i < z->values; i++)
        sums[i] = BLM_WEIGHT_HALF + w->outside * z->pad_line[i];
}

static void blm_resizer_add(int32_t *restrict sums, const uint8_t *restrict row, size_t count,
                            int32_t weight)
{
    for (size_t i = 0; i < count; i++)
        sums[i] += row[i] * weight;
}

static int32_t *blm_resizer_sums(const blm_resizer *z, uint32_t output)
{
    return z->sums + (size_t)(output % z->slots) * z->values;
}

/* Gives sums to the next output line. */
static void blm_resizer_open(blm_resizer *z)
{
    z->windows[z->opened % z->slots] = z->coming;
    blm_resizer_start_sums(z, &z->coming, blm_resizer_sums(z, z->opened));
    z->opened++;
    blm_resizer_set_coming(z);
}

/* Adds a line to all the output lines that it goes into. */
static void blm_resizer_spread(blm_resizer *z, const uint8_t *row, uint32_t line)
{
    while (z->opened < z->step.out && blm_resizer_reaches(z, &z->coming, line))
        blm_resizer_open(z);
    for (uint32_t output = z->pulled; output < z->opened; output++) {
        const blm_window *w = &z->windows[output % z->slots];
        if (line < w->from || line >= w->end) continue;
        int32_t weight = blm_axis_weight(&z->step, w, line);
        if (weight) blm_resizer_add(blm_resizer_sums(z, output), row, z->values, weight);
    }
}

static uint8_t *blm_resizer_ring(const blm_resizer *z, uint32_t line)
{
    return z->ring + (size_t)(line % z->slots) * z->values;
}

BLM_PRIVATE void blm_resizer_push(blm_resizer *z, const uint8_t *line)
{
    if (z->pushed == z->step.real) return;
    uint32_t place = z->step.at + blm_resizer_place_of(z, z->pushed, z->step.real);
    if (!z->transposed && !blm_resizer_keeps_line(z)) {
        blm_resizer_along(z, line, z->pad, z->row);
        line = z->row;
    }
    if (z->enlarges)
        memcpy(blm_resizer_ring(z, place), line, z->values);
    else
        blm_resizer_spread(z, line, place);
    z->pushed++;
}

static void blm_resizer_finish(const blm_resizer *z, const int32_t *sums, uint8_t *out)
{
    for (uint32_t i = 0; i < z->values; i++)
        out[i] = blm_weight_clip(sums[i]);
}

/* The next output line of an enlargement, from the ring: its window, or NULL. */
static const blm_window *blm_resizer_pull_ring(blm_resizer *z, uint8_t *out)
{
    blm_window *w = &z->windows[0];
    if (!blm_resizer_complete(z, &z->coming)) return NULL;
    *w = z->coming;
    blm_resizer_start_sums(z, w, z->sums);
    for (uint32_t line = w->from; line < w->end; line++) {
        int32_t weight = blm_axis_weight(&z->step, w, line);
        if (weight) blm_resizer_add(z->sums, blm_resizer_ring(z, line), z->values, weight);
    }
    blm_resizer_finish(z, z->sums, out);
    z->opened++;
    blm_resizer_set_coming(z);
    return w;
}

/* The same of a reduction. A line that lies in padding may not have sums yet. */
static const blm_window *blm_resizer_pull_sums(blm_resizer *z, uint8_t *out)
{
    if (z->pulled == z->opened) {
        if (!blm_resizer_complete(z, &z->coming)) return NULL;
        blm_resizer_open(z);
    }
    const blm_window *w = &z->windows[z->pulled % z->slots];
    if (!blm_resizer_complete(z, w)) return NULL;
    blm_resizer_finish(z, blm_resizer_sums(z, z->pulled), out);
    return w;
}

/* The pass along a line that has been summed: what is beside it has been too. */
static const uint8_t *blm_resizer_along_sum(blm_resizer *z, const blm_window *w)
{
    uint8_t pad[3] = {0, 0, 0};
    if (blm_resizer_keeps_line(z)) return z->row;
    if (z->line.real < z->line.in) {
        int32_t weights = blm_window_weights(&z->step, w);
        for (int i = 0; i < 3; i++)
            pad[i] = blm_resizer_pad_value(weights, z->pad[i]);
    }
    blm_resizer_along(z, z->row, pad, z->out);
    return z->out;
}

BLM_PRIVATE const uint8_t *blm_resizer_pull(blm_resizer *z, uint32_t *index)
{
    uint8_t *sum = z->transposed ? z->row : z->out;
    if (z->pulled == z->step.out) return NULL;
    const blm_window *w =
        z->enlarges ? blm_resizer_pull_ring(z, sum) : blm_resizer_pull_sums(z, sum);
    if (!w) return NULL;
    *index = blm_resizer_place_of(z, z->pulled, z->step.out);
    z->pulled++;
    return z->transposed ? blm_resizer_along_sum(z, w) : z->out;
}

/* ---- Begin ------------------------------------------------------------------------------ */

/* An axis of the plan: the picture in the middle of the padding, if it has any. */
static void blm_resizer_set_axis(blm_axis *a, const blm_resize_plan *plan, uint32_t in,
                                 uint32_t out)
{
    blm_axis_set(a, plan->square_px ? plan->square_px : in, out, plan->filter);
    if (plan->square_px) blm_axis_pad(a, (plan->square_px - in) / 2, in);
}

BLM_PRIVATE void blm_resizer_begin(blm_resizer *z, const blm_resize_plan *plan, void *memory)
{
    memset(z, 0, sizeof *z);
    z->transposed = plan->transposed;
    z->backwards = plan->backwards;
    blm_resizer_set_axis(&z->line, plan, plan->line_px, plan->out_line_px);
    blm_resizer_set_axis(&z->step, plan, plan->lines, plan->out_lines);
    z->enlarges = z->step.out >= z->step.in;
    z->slots = 2 * blm_filter_radius(plan->filter) + 1;
    z->values = 3 * blm_resizer_span(plan->line_px, plan->out_line_px, plan->transposed);
    for (int i = 0; i < 3; i++)
        z->pad[i] = (uint8_t)(plan->pad_color >> (16 - 8 * i));
    blm_resizer_place(z, memory);
    blm_resizer_fill_columns(z);
    blm_resizer_fill_pad_line(z);
    blm_resizer_set_coming(z);
}

/* ---- Patches ----------------------------------------------------------------------------- */

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
