#include "picture.h"

/* ---- Orientation ------------------------------------------------------------------ */

/* What EXIF's orientations do to a stored picture: rows become columns, and which way rows
 * and the pixels in a row run when it is shown. */
typedef struct blm_orientation {
    uint8_t transposed, rows_backwards, pixels_backwards;
} blm_orientation;

static blm_orientation blm_orientation_of(uint32_t orientation)
{
    static const blm_orientation orientations[9] = {{0, 0, 0}, {0, 0, 0}, {0, 0, 1},
                                                    {0, 1, 1}, {0, 1, 0}, {1, 0, 0},
                                                    {1, 1, 0}, {1, 1, 1}, {1, 0, 1}};
    return orientations[orientation <= 8 ? orientation : 1];
}

/* ---- Plans of the steps ------------------------------------------------------------- */

typedef struct blm_picture_size {
    uint32_t width, height;
} blm_picture_size;

static blm_picture_size blm_picture_canvas_size(const bluelm_tile_grid *g)
{
    return (blm_picture_size){g->columns * g->tile_width_px, g->rows * g->tile_height_px};
}

static blm_picture_size blm_picture_thumb_size(const bluelm_tile_grid *g)
{
    return (blm_picture_size){g->thumbnail_width_px, g->thumbnail_height_px};
}

/* What is resized onto the canvas: all of it where padding is resized with the picture. */
static blm_picture_size blm_picture_resized_size(const blm_tile_rule *r,
                                                 const bluelm_tile_grid *g)
{
    if (r->fit == BLM_FIT_PAD_SQUARE) return blm_picture_canvas_size(g);
    return (blm_picture_size){g->resized_width_px, g->resized_height_px};
}

static uint64_t blm_picture_bytes(blm_picture_size size)
{
    return 3 * (uint64_t)size.width * size.height;
}

/* A step from one size to another, as the lines of a turned picture come. */
static blm_resize_plan blm_picture_plan(const blm_tile_rule *r, blm_orientation orientation,
                                        blm_picture_size from, blm_picture_size to)
{
    blm_resize_plan plan = {
        .line_px = from.width,
        .lines = from.height,
        .out_line_px = to.width,
        .out_lines = to.height,
        .filter = r->filter,
        .transposed = orientation.transposed,
        .backwards = orientation.rows_backwards,
    };
    if (orientation.transposed) {
        plan.line_px = from.height, plan.lines = from.width;
        plan.out_line_px = to.height, plan.out_lines = to.width;
    }
    return plan;
}

static uint64_t blm_picture_plan_bytes(const blm_resize_plan *plan)
{
    return blm_resizer_bytes(plan->line_px, plan->out_line_px, plan->transposed, plan->filter);
}

/* The steps of a picture: to an edge's length (Idefics3), to the canvas, to the
 * thumbnail. */
typedef struct blm_picture_steps {
    int has_edge, has_thumb, thumb_of_canvas;
    blm_resize_plan edge, tiles, thumb;
} blm_picture_steps;

static blm_picture_steps blm_picture_plan_steps(const blm_tile_rule *r,
                                                const bluelm_tile_grid *g,
                                                blm_orientation orientation,
                                                blm_picture_size shown)
{
    static const blm_orientation as_it_is = {0, 0, 0};
    const blm_picture_size canvas = blm_picture_canvas_size(g);
    blm_picture_steps s = {.has_thumb = g->thumbnail != 0};
    blm_picture_size before = shown;
    if (r->rule == BLM_TILES_IDEFICS3) {
        blm_picture_size edge;
        blm_tile_edge_step(r, shown.width, shown.height, g, &edge.width, &edge.height);
        s.has_edge = 1;
        s.edge = blm_picture_plan(r, orientation, shown, edge);
        s.thumb_of_canvas = s.has_thumb;
        before = edge;
    }
    s.tiles = blm_picture_plan(r, orientation, before, blm_picture_resized_size(r, g));
    if (r->fit == BLM_FIT_PAD_SQUARE) {
        s.tiles.square_px = BLM_MAX(before.width, before.height);
        s.tiles.pad_color = r->pad_color;
    }
    s.thumb = s.thumb_of_canvas
                  ? blm_picture_plan(r, as_it_is, canvas, blm_picture_thumb_size(g))
                  : blm_picture_plan(r, orientation, shown, blm_picture_thumb_size(g));
    return s;
}

/* Scratch of the resizers. A thumbnail that is made of the canvas comes after the step to an
 * edge's length, and has its place. */
static uint64_t blm_picture_resizer_bytes(const blm_picture_steps *s)
{
    uint64_t tiles = blm_picture_plan_bytes(&s->tiles);
    uint64_t edge = s->has_edge ? blm_picture_plan_bytes(&s->edge) : 0;
    uint64_t thumb = s->has_thumb ? blm_picture_plan_bytes(&s->thumb) : 0;
    return tiles + (s->thumb_of_canvas ? BLM_MAX(edge, thumb) : edge + thumb);
}

/* ---- Memory of all pictures -------------------------------------------------------------- */

BLM_PRIVATE uint64_t blm_picture_canvas_bytes(const blm_tile_rule *r)
{
    blm_tile_most most;
    blm_tile_bounds(r, &most);
    return 3 * most.pixels;
}

/* A resizer for either way that lines may lie. */
static uint64_t blm_picture_any_resizer_bytes(uint32_t line_px, uint32_t out_px,
                                              uint32_t filter)
{
    return BLM_MAX(blm_resizer_bytes(line_px, out_px, 0, filter),
                   blm_resizer_bytes(line_px, out_px, 1, filter));
}

BLM_PRIVATE uint64_t blm_picture_scratch_bytes(const blm_tile_rule *r, uint32_t max_width_px)
{
    blm_tile_most most;
    blm_tile_bounds(r, &most);
    uint32_t side = most.side_px;
    uint64_t first = blm_picture_any_resizer_bytes(max_width_px, side, r->filter);
    uint64_t second = 0;
    if (r->rule == BLM_TILES_IDEFICS3)
        second = blm_picture_any_resizer_bytes(side, side, r->filter);
    else if (r->thumbnail != BLM_THUMBNAIL_NONE)
        second = first;
    if (r->rule == BLM_TILES_IDEFICS3) first = BLM_MAX(first, second);
    return first + second + 3 * (uint64_t)max_width_px + blm_image_scratch_bytes(max_width_px);
}

/* ---- Lines onto the canvases ------------------------------------------------------------- */

/* Where a resizer's lines go. */
typedef struct blm_picture_target {
    uint8_t *corner;
    size_t stride_bytes;
    int columns; /* 1: lines are columns */
} blm_picture_target;

static void blm_picture_put(const blm_picture_target *t, const uint8_t *line, uint32_t index,
                            uint32_t pixels)
{
    if (!t->columns) {
        memcpy(t->corner + (size_t)index * t->stride_bytes, line, 3 * (size_t)pixels);
        return;
    }
    uint8_t *px = t->corner + 3 * (size_t)index;
    for (uint32_t i = 0; i < pixels; i++, px += t->stride_bytes, line += 3)
        px[0] = line[0], px[1] = line[1], px[2] = line[2];
}

static void blm_picture_pull(blm_resizer *z, const blm_picture_target *t)
{
    uint32_t index;
    const uint8_t *line;
    while ((line = blm_resizer_pull(z, &index)) != NULL)
        blm_picture_put(t, line, index, z->line.out);
}

static blm_picture_target blm_picture_canvas(const blm_picture *p)
{
    blm_picture_target t = {p->canvas, 3 * (size_t)p->grid.columns * p->grid.tile_width_px,
                            p->tiles.transposed};
    if (p->rule->fit == BLM_FIT_PAD_SQUARE) return t;
    t.corner += p->grid.offset_y_px * t.stride_bytes + 3 * (size_t)p->grid.offset_x_px;
    return t;
}

static blm_picture_target blm_picture_thumbnail(const blm_picture *p)
{
    return (blm_picture_target){p->thumbnail, 3 * (size_t)p->grid.thumbnail_width_px,
                                p->thumb.transposed};
}

/* Passes on all that comes out of the resizers. */
static void blm_picture_drain(blm_picture *p)
{
    const blm_picture_target canvas = blm_picture_canvas(p);
    const uint8_t *line;
    uint32_t index;
    blm_picture_pull(&p->tiles, &canvas);
    while (p->has_edge && (line = blm_resizer_pull(&p->edge, &index)) != NULL) {
        blm_resizer_push(&p->tiles, line);
        blm_picture_pull(&p->tiles, &canvas);
    }
    if (!p->has_thumb || p->thumb_of_canvas) return;
    const blm_picture_target thumbnail = blm_picture_thumbnail(p);
    blm_picture_pull(&p->thumb, &thumbnail);
}

/* ---- Begin ------------------------------------------------------------------------------- */

static int blm_picture_check_rows(const bluelm_image *im, size_t *stride, bluelm_error *err)
{
    size_t row_bytes = (size_t)im->width_px * 3;
    if (im->width_px == 0 || im->width_px > BLM_PICTURE_LIMIT)
        return blm_fail_side(err, "picture width", im->width_px);
    if (im->height_px == 0 || im->height_px > BLM_PICTURE_LIMIT)
        return blm_fail_side(err, "picture height", im->height_px);
    *stride = im->stride_bytes ? im->stride_bytes : row_bytes;
    if (*stride < row_bytes)
        return blm_fail(err, BLUELM_E_ARG, "picture stride, in bytes", row_bytes, *stride, 0);
    if (*stride > (SIZE_MAX - row_bytes) / im->height_px)
        return blm_fail(err, BLUELM_E_ARG, "picture stride, in bytes",
                        (SIZE_MAX - row_bytes) / im->height_px, *stride, 0);
    return 0;
}

/* What is known of a picture before its first row. */
typedef struct blm_picture_source {
    size_t stride_bytes;
    blm_picture_size stored, shown;
    uint32_t orientation;
    uint64_t decoder_bytes;
} blm_picture_source;

static int blm_picture_look(const bluelm_image *image, blm_picture_source *source,
                            bluelm_error *err)
{
    *source = (blm_picture_source){.orientation = 1};
    if (image->rgb) {
        source->stored = source->shown = (blm_picture_size){image->width_px, image->height_px};
        return blm_picture_check_rows(image, &source->stride_bytes, err);
    }
    blm_image_facts facts;
    int code = blm_image_info(image->encoded, image->encoded_bytes, &facts, err);
    if (code < 0) return code;
    source->stored = (blm_picture_size){facts.stored_width_px, facts.stored_height_px};
    source->shown = (blm_picture_size){facts.width_px, facts.height_px};
    source->orientation = facts.orientation;
    return blm_image_need(image->encoded, image->encoded_bytes, &source->decoder_bytes, err);
}

/* Whether a canvas of tiles of these sides is within any rule's limits. */
static int blm_picture_sound_side(uint32_t count, uint32_t tile_px, uint32_t resized_px,
                                  uint32_t offset_px)
{
    return count >= 1 && count <= BLM_TILES_LIMIT && tile_px >= 1 &&
           tile_px <= BLM_DYNAMIC_PX_LIMIT &&
           (uint64_t)count * tile_px <= BLM_TILES_LIMIT * BLM_TILE_PX_LIMIT &&
           resized_px >= 1 && resized_px <= count * tile_px &&
           offset_px <= count * tile_px - resized_px;
}

/* A grid is its caller's to keep: it may not be the one that was chosen. */
static int blm_picture_check_grid(const bluelm_tile_grid *g, bluelm_error *err)
{
    int sound = blm_picture_sound_side(g->columns, g->tile_width_px, g->resized_width_px,
                                       g->offset_x_px) &&
                blm_picture_sound_side(g->rows, g->tile_height_px, g->resized_height_px,
                                       g->offset_y_px) &&
                (!g->thumbnail || (blm_picture_sound_side(1, g->thumbnail_width_px, 1, 0) &&
                                   blm_picture_sound_side(1, g->thumbnail_height_px, 1, 0))) &&
                g->thumbnail <= 1 && g->tiles == g->columns * g->rows + g->thumbnail;
    return sound ? 0 : blm_fail(err, BLUELM_E_ARG, "tile grid", 0, 0, 0);
}

static uint64_t blm_picture_all_canvas_bytes(const bluelm_tile_grid *g)
{
    uint64_t thumb = g->thumbnail ? blm_picture_bytes(blm_picture_thumb_size(g)) : 0;
    return blm_picture_bytes(blm_picture_canvas_size(g)) + thumb;
}

BLM_PRIVATE int blm_picture_need(const blm_tile_rule *r, const bluelm_tile_grid *grid,
                                 const bluelm_image *image, uint64_t *canvas_bytes,
                                 uint64_t *scratch_bytes, bluelm_error *err)
{
    blm_picture_source source;
    int code = blm_picture_check_grid(grid, err);
    if (code >= 0) code = blm_picture_look(image, &source, err);
    if (code < 0) return code;
    const blm_picture_steps steps =
        blm_picture_plan_steps(r, grid, blm_orientation_of(source.orientation), source.shown);
    *canvas_bytes = blm_picture_all_canvas_bytes(grid);
    *scratch_bytes = blm_picture_resizer_bytes(&steps) + 3 * (uint64_t)source.stored.width +
                     source.decoder_bytes;
    return 0;
}

static void blm_picture_fill(uint8_t *out, uint64_t pixels, uint32_t color)
{
    for (uint64_t i = 0; i < pixels; i++, out += 3) {
        out[0] = (uint8_t)(color >> 16);
        out[1] = (uint8_t)(color >> 8);
        out[2] = (uint8_t)color;
    }
}

/* Hands out the scratch: | tiles | edge, later thumb | or | tiles | thumb |, then a row and
 * the decoder. */
static uint8_t *blm_picture_place(blm_picture *p, const blm_picture_steps *s, void *scratch)
{
    uint8_t *at = (uint8_t *)scratch;
    blm_resizer_begin(&p->tiles, &s->tiles, at);
    at += blm_picture_plan_bytes(&s->tiles);
    if (s->has_edge) blm_resizer_begin(&p->edge, &s->edge, at);
    p->thumb_memory = at;
    if (s->has_thumb && !s->thumb_of_canvas) blm_resizer_begin(&p->thumb, &s->thumb, at);
    p->row = (uint8_t *)scratch + blm_picture_resizer_bytes(s);
    return p->row + 3 * (size_t)p->stored_width_px;
}

BLM_PRIVATE int blm_picture_begin(blm_picture *p, const blm_tile_rule *r,
                                  const bluelm_tile_grid *grid, const bluelm_image *image,
                                  void *canvas, uint64_t canvas_bytes, void *scratch,
                                  uint64_t scratch_bytes, bluelm_error *err)
{
    blm_picture_source source;
    uint64_t canvas_need, scratch_need;
    int code = blm_picture_need(r, grid, image, &canvas_need, &scratch_need, err);
    if (code >= 0) code = blm_picture_look(image, &source, err);
    if (code < 0) return code;
    if (canvas_bytes < canvas_need)
        return blm_fail(err, BLUELM_E_BUDGET, "picture canvas", canvas_need, canvas_bytes, 0);
    if (scratch_bytes < scratch_need)
        return blm_fail(err, BLUELM_E_BUDGET, "picture scratch", scratch_need, scratch_bytes,
                        0);
    memset(p, 0, sizeof *p);
    p->rule = r;
    p->grid = *grid;
    p->rgb = image->rgb;
    p->stride_bytes = source.stride_bytes;
    p->stored_width_px = source.stored.width;
    p->stored_height_px = source.stored.height;
    p->orientation = source.orientation;
    const blm_picture_steps steps =
        blm_picture_plan_steps(r, grid, blm_orientation_of(source.orientation), source.shown);
    p->has_edge = steps.has_edge;
    p->has_thumb = steps.has_thumb;
    p->thumb_of_canvas = steps.thumb_of_canvas;
    uint8_t *rest = blm_picture_place(p, &steps, scratch);
    if (!p->rgb) {
        uint64_t left = scratch_bytes - (uint64_t)(rest - (uint8_t *)scratch);
        const uint32_t color = r->background;
        const uint8_t rgb[3] = {(uint8_t)(color >> 16), (uint8_t)(color >> 8), (uint8_t)color};
        code = blm_image_begin(&p->decoder, image->encoded, image->encoded_bytes,
                               color ? rgb : NULL, rest, left, err);
        if (code < 0) return code;
    }
    const blm_picture_size size = blm_picture_canvas_size(grid);
    p->canvas = (uint8_t *)canvas;
    p->thumbnail = p->canvas + blm_picture_bytes(size);
    if (grid->resized_width_px < size.width || grid->resized_height_px < size.height)
        blm_picture_fill(p->canvas, (uint64_t)size.width * size.height, r->pad_color);
    blm_picture_drain(p);
    return 0;
}

/* ---- Reading ----------------------------------------------------------------------------- */

static void blm_picture_mirror(uint8_t *row, const uint8_t *from, uint32_t pixels)
{
    uint8_t *left = row, *right = row + 3 * (size_t)pixels;
    if (from != row) memcpy(row, from, 3 * (size_t)pixels);
    for (uint32_t i = 0; i < pixels / 2; i++, left += 3) {
        uint8_t swap[3];
        right -= 3;
        memcpy(swap, left, 3);
        memcpy(left, right, 3);
        memcpy(right, swap, 3);
    }
}

/* The next row of the source, its pixels in the order in which they are shown. */
static int blm_picture_next_row(blm_picture *p, const uint8_t **row, bluelm_error *err)
{
    *row = p->row;
    if (p->rgb) {
        *row = p->rgb + (size_t)p->rows_read * p->stride_bytes;
    } else {
        int code = blm_image_row(&p->decoder, p->row, err);
        if (code < 0) return code;
    }
    p->rows_read++;
    if (!blm_orientation_of(p->orientation).pixels_backwards) return 0;
    blm_picture_mirror(p->row, *row, p->stored_width_px);
    *row = p->row;
    return 0;
}

static int blm_picture_read_source(blm_picture *p, bluelm_error *err)
{
    const uint8_t *row;
    int code = blm_picture_next_row(p, &row, err);
    if (code < 0) return code;
    blm_resizer_push(p->has_edge ? &p->edge : &p->tiles, row);
    if (p->has_thumb && !p->thumb_of_canvas) blm_resizer_push(&p->thumb, row);
    blm_picture_drain(p);
    return 0;
}

/* A thumbnail of the canvas begins when that is complete. */
static void blm_picture_read_canvas(blm_picture *p)
{
    static const blm_orientation as_it_is = {0, 0, 0};
    const blm_picture_target canvas = blm_picture_canvas(p);
    const blm_picture_target thumbnail = blm_picture_thumbnail(p);
    if (p->canvas_read == 0) {
        const blm_resize_plan plan =
            blm_picture_plan(p->rule, as_it_is, blm_picture_canvas_size(&p->grid),
                             blm_picture_thumb_size(&p->grid));
        blm_resizer_begin(&p->thumb, &plan, p->thumb_memory);
    }
    blm_resizer_push(&p->thumb, p->canvas + p->canvas_read * canvas.stride_bytes);
    blm_picture_pull(&p->thumb, &thumbnail);
    p->canvas_read++;
}

static int blm_picture_has_more(const blm_picture *p)
{
    if (p->rows_read < p->stored_height_px) return 1;
    return p->thumb_of_canvas && p->canvas_read < p->grid.rows * p->grid.tile_height_px;
}

BLM_PRIVATE int blm_picture_read(blm_picture *p, uint32_t max_rows, bluelm_error *err)
{
    for (uint32_t i = 0; (i == 0 || i < max_rows) && blm_picture_has_more(p); i++) {
        if (p->rows_read < p->stored_height_px) {
            int code = blm_picture_read_source(p, err);
            if (code < 0) return code;
        } else {
            blm_picture_read_canvas(p);
        }
    }
    return blm_picture_has_more(p);
}

/* ---- Tiles ------------------------------------------------------------------------------- */

BLM_PRIVATE void blm_picture_tile(const blm_picture *p, uint32_t index, const uint8_t **rgb,
                                  size_t *stride_bytes, uint32_t *width_px, uint32_t *height_px)
{
    const bluelm_tile_grid *g = &p->grid;
    const uint32_t first = g->thumbnail && p->rule->thumbnail == BLM_THUMBNAIL_FIRST;
    const uint32_t local = index - first;
    if (g->thumbnail && index == (first ? 0 : g->tiles - 1)) {
        *rgb = p->thumbnail;
        *stride_bytes = 3 * (size_t)g->thumbnail_width_px;
        *width_px = g->thumbnail_width_px;
        *height_px = g->thumbnail_height_px;
        return;
    }
    *stride_bytes = 3 * (size_t)g->columns * g->tile_width_px;
    *width_px = g->tile_width_px;
    *height_px = g->tile_height_px;
    *rgb = p->canvas + (size_t)(local / g->columns) * g->tile_height_px * *stride_bytes +
           3 * (size_t)(local % g->columns) * g->tile_width_px;
}
