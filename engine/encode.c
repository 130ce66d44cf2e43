/* A picture becomes image tokens: it is read into canvases, and a layer at a time runs over a
 * batch of its tiles. */
#include "engine.h"

/* Pixels of a picture that one step reads. */
#define BLM_READ_PIXELS (1u << 20)

/* ---- Reading ----------------------------------------------------------------------------- */

/* Rows that a step reads, and how many steps before the last that takes: the last also runs
 * the first layer. */
static uint32_t blm_read_rows(const bluelm_image *image)
{
    return BLM_MAX(BLM_READ_PIXELS / BLM_MAX(image->width_px, 1u), 1u);
}

static uint32_t blm_read_steps(const bluelm_image *image)
{
    uint32_t rows = blm_read_rows(image);
    return (image->height_px + rows - 1) / rows - 1;
}

static int blm_encode_begin(bluelm *e, const blm_tile_rule *rule, const bluelm_tile_grid *grid,
                            const bluelm_image *image, bluelm_error *err)
{
    blm_encoding *n = &e->encoding;
    memset(n, 0, sizeof *n);
    return blm_picture_begin(&n->picture, rule, grid, image, e->canvas, e->canvas_bytes,
                             e->scratch, e->scratch_bytes, err);
}

/* ---- Batches ----------------------------------------------------------------------------- */

/* Embeds tiles from `first` on as a batch: as many as fit and have one size. */
static void blm_encode_embed(bluelm *e, blm_vision_batch *b, uint32_t first)
{
    const blm_picture *p = &e->encoding.picture;
    uint32_t width, height, w, h, tiles = 1;
    const uint8_t *rgb;
    size_t stride;
    blm_picture_tile(p, first, &rgb, &stride, &width, &height);
    for (; tiles < e->config.tiles_per_batch && first + tiles < p->grid.tiles; tiles++) {
        blm_picture_tile(p, first + tiles, &rgb, &stride, &w, &h);
        if (w != width || h != height) break;
    }
    blm_vision_begin(b, width, height, tiles);
    for (uint32_t i = 0; i < tiles; i++) {
        blm_picture_tile(p, first + i, &rgb, &stride, &w, &h);
        blm_vision_embed(b, i, rgb, stride);
    }
}

static void blm_encode_ahead(void *arg)
{
    bluelm *e = (bluelm *)arg;
    blm_encode_embed(e, &e->encoding.ahead, e->encoding.ahead_first);
}

/* Hands the batch after this one to the port, if there is one and it takes it. */
static void blm_encode_start_ahead(bluelm *e)
{
    const bluelm_port *port = &e->compute.workers.port;
    blm_encoding *n = &e->encoding;
    n->ahead_first = n->first_tile + n->batch.tiles;
    if (!e->config.overlap_tiles || !port->start || !port->finish ||
        n->ahead_first >= n->picture.grid.tiles)
        return;
    n->ahead = (blm_vision_batch){
        .model = &e->vision, .work = &e->ahead_work, .compute = &e->ahead_compute};
    n->ahead_running = 1;
    port->start(port->user, blm_encode_ahead, e);
}

BLM_PRIVATE void blm_encode_finish_ahead(bluelm *e)
{
    const bluelm_port *port = &e->compute.workers.port;
    if (e->encoding.ahead_running) port->finish(port->user);
    e->encoding.ahead_running = 0;
}

/* Begins the next batch: takes over the one embedded ahead, or embeds it now. */
static void blm_encode_batch(bluelm *e)
{
    blm_encoding *n = &e->encoding;
    n->batch = (blm_vision_batch){
        .model = &e->vision, .work = &e->vision_work, .compute = &e->compute};
    n->layer = 0;
    if (n->ahead_running) {
        float *x = e->vision_work.x;
        uint32_t width, height;
        const uint8_t *rgb;
        size_t stride;
        blm_encode_finish_ahead(e);
        e->vision_work.x = e->ahead_work.x;
        e->ahead_work.x = x;
        blm_picture_tile(&n->picture, n->first_tile, &rgb, &stride, &width, &height);
        blm_vision_begin(&n->batch, width, height, n->ahead.tiles);
    } else {
        blm_encode_embed(e, &n->batch, n->first_tile);
    }
    n->started = 1;
    blm_encode_start_ahead(e);
}

/* The token that ends rows of joined tiles comes behind all of theirs. */
static void blm_encode_newline(const bluelm *e)
{
    const blm_tensor *t = &e->vision.newline;
    float *values = e->vision_work.projector.out;
    if (!e->tile_rule.joined_side || !e->encoding.picture.grid.thumbnail) return;
    e->compute.kernels.dequantize[t->type](t->data, values, e->vision.row_floats);
    e->compute.kernels.f16_from_f32(e->image_tokens +
                                        (size_t)e->encoding.first_row * e->vision.row_floats,
                                    values, e->vision.row_floats);
}

static void blm_encode_finish_batch(bluelm *e)
{
    blm_encoding *n = &e->encoding;
    for (uint32_t i = 0; i < n->batch.tiles; i++) {
        blm_vision_finish(&n->batch, i,
                          e->image_tokens + (size_t)n->first_row * e->vision.row_floats);
        n->first_row += n->batch.tokens;
    }
    n->first_tile += n->batch.tiles;
    n->started = 0;
    n->done = n->first_tile == n->picture.grid.tiles;
    if (n->done) blm_encode_newline(e);
    e->stats.image_tiles += n->batch.tiles;
}

/* Reads some of the picture, or runs a layer over a batch of its tiles. Returns 0 or an
 * error. */
static int blm_encode_some(bluelm *e, const bluelm_image *image, bluelm_error *err)
{
    blm_encoding *n = &e->encoding;
    if (!n->read) {
        int code = blm_picture_read(&n->picture, blm_read_rows(image), err);
        if (code < 0) return code;
        n->read_steps += code > 0;
        if (code > 0) return BLUELM_OK;
        n->read = 1;
    }
    if (!n->started) blm_encode_batch(e);
    blm_vision_run_layer(&n->batch, n->layer++);
    if (n->layer == e->vision.n_layer) blm_encode_finish_batch(e);
    return BLUELM_OK;
}

/* ---- Steps ------------------------------------------------------------------------------- */

/* The progress: steps that only read, and layers over tiles. */
static void blm_encode_event(const bluelm *e, const blm_queued_image *head, bluelm_event *event)
{
    const blm_encoding *n = &e->encoding;
    uint64_t layers = e->vision.n_layer;
    uint32_t read_steps =
        n->read ? n->read_steps : BLM_MAX(blm_read_steps(&head->image), n->read_steps);
    event->type = BLUELM_EVENT_ENCODE;
    event->reduced = (int)head->grid.reduced;
    event->total = head->grid.tiles * layers + read_steps;
    event->done = n->first_tile * layers + n->read_steps;
    if (n->started) event->done += (uint64_t)n->batch.tiles * n->layer;
}

BLM_PRIVATE int blm_step_encode(bluelm *e, bluelm_event *event, bluelm_error *err)
{
    const blm_queued_image *head = &e->images[0];
    blm_encoding *n = &e->encoding;
    uint64_t begun = blm_workers_now_us(&e->compute.workers);
    int code = BLUELM_OK;
    if (head->rows) return blm_step_given(e, event);
    if (!n->begun) {
        code = blm_encode_begin(e, &e->tile_rule, &head->grid, &head->image, err);
        n->begun = 1;
    }
    if (code >= 0) code = blm_encode_some(e, &head->image, err);
    if (code < 0) return code;
    blm_encode_event(e, head, event);
    e->stats.image_us += blm_workers_now_us(&e->compute.workers) - begun;
    return 1;
}

/* ---- Embedding alone --------------------------------------------------------------------- */

/* A picture as one tile: of the encoder's size, or of its own where the rule gives it one. */
static void blm_embed_grid(const bluelm *e, const bluelm_image *image, bluelm_tile_grid *grid)
{
    const blm_vision *v = &e->vision;
    uint32_t columns, rows, width = v->tile_px, height = v->tile_px;
    if (blm_tile_own_size(&e->tile_rule)) {
        width = BLM_MAX((image->width_px + v->align_px / 2) / v->align_px, 1u) * v->align_px;
        height = BLM_MAX((image->height_px + v->align_px / 2) / v->align_px, 1u) * v->align_px;
    }
    memset(grid, 0, sizeof *grid);
    grid->columns = grid->rows = grid->tiles = 1;
    grid->tile_width_px = grid->resized_width_px = width;
    grid->tile_height_px = grid->resized_height_px = height;
    grid->tile_tokens = grid->tokens = blm_vision_tokens(v, width, height, &columns, &rows);
}

int bluelm_embed_begin(bluelm *engine, const bluelm_image *image, bluelm_error *err)
{
    blm_queued_image *job = &engine->embed_job;
    int code = blm_engine_measure(engine, image, &job->image, err);
    if (code < 0) return code;
    if (engine->image_count || engine->chunk.count)
        return blm_fail(err, BLUELM_E_STATE, "embed: queued work is not finished", 0,
                        engine->image_count, 0);
    blm_embed_grid(engine, &job->image, &job->grid);
    if (job->grid.tokens > engine->tile_rows)
        return blm_fail(err, BLUELM_E_ARG, "picture's tokens (max_image_tokens)",
                        engine->tile_rows, job->grid.tokens, 0);
    const uint32_t patches = job->grid.tile_width_px / engine->vision.patch_px *
                             (job->grid.tile_height_px / engine->vision.patch_px);
    if (engine->vision.dynamic && patches > engine->max_patches)
        return blm_fail(err, BLUELM_E_ARG, "picture's patches", engine->max_patches, patches,
                        0);
    engine->embed_rule = engine->tile_rule;
    engine->embed_rule.rule = BLUELM_TILES_SINGLE;
    engine->embed_rule.fit = BLM_FIT_STRETCH;
    code = blm_encode_begin(engine, &engine->embed_rule, &job->grid, &job->image, err);
    engine->encoding.begun = code >= 0;
    engine->embedding = code >= 0;
    return code;
}

BLM_PRIVATE void blm_embed_end(bluelm *e)
{
    if (e->embedding) memset(&e->encoding, 0, sizeof e->encoding);
    e->embedding = 0;
}

BLM_PRIVATE int blm_step_embed(bluelm *e, bluelm_event *event, bluelm_error *err)
{
    int code = blm_encode_some(e, &e->embed_job.image, err);
    if (code < 0) {
        blm_embed_end(e);
        return code;
    }
    blm_encode_event(e, &e->embed_job, event);
    return 1;
}

int64_t bluelm_embed_rows(bluelm *engine, float *tokens, size_t max_floats, bluelm_error *err)
{
    uint64_t floats = (uint64_t)engine->embed_job.grid.tokens * engine->vision.row_floats;
    if (!tokens) return blm_fail_null(err, "tokens");
    if (!engine->embedding || !engine->encoding.done)
        return blm_fail(err, BLUELM_E_STATE, "embed: no picture is encoded", 1, 0, 0);
    if (floats > max_floats)
        return blm_fail(err, BLUELM_E_BUDGET, "embedding", floats * sizeof(float),
                        blm_mul_sat_u64(max_floats, sizeof(float)), 0);
    memcpy(tokens, engine->vision_work.projector.out, (size_t)floats * sizeof(float));
    blm_embed_end(engine);
    return (int64_t)floats;
}

int64_t bluelm_embed_image(bluelm *engine, const bluelm_image *image, float *tokens,
                           size_t max_floats, bluelm_error *err)
{
    bluelm_event event;
    if (!tokens) return blm_fail_null(err, "tokens");
    int code = bluelm_embed_begin(engine, image, err);
    while (code >= 0 && !engine->encoding.done)
        code = blm_step_embed(engine, &event, err);
    int64_t floats = code < 0 ? code : bluelm_embed_rows(engine, tokens, max_floats, err);
    if (floats < 0) blm_embed_end(engine);
    return floats;
}
