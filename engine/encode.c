/* A picture becomes image tokens, a layer over a batch of tiles at a time. */
#include "engine.h"

/* Turns the head picture into RGB rows at the start of the overlay, or uses the caller's. */
static int blm_encode_open(bluelm *e, const bluelm_image *image, bluelm_error *err)
{
    e->encoding.rows = *image;
    if (image->rgb) return BLUELM_OK;
    return blm_image_decode(image, e->config.max_image_pixels, e->decode_memory,
                            e->memory.image_decode_bytes, &e->encoding.rows, err);
}

/* Cuts and embeds a batch of tiles, from first_tile on. */
static int blm_encode_embed(bluelm *e, blm_vision_batch *b, const blm_cutting *cutting,
                            uint32_t first_tile, bluelm_error *err)
{
    uint32_t px = e->vision.tile_px;
    const bluelm_tile_grid *grid = &e->images[0].grid;
    blm_vision_begin(b, px, px, BLM_MIN(grid->tiles - first_tile, e->config.tiles_per_batch));
    for (uint32_t i = 0; i < b->tiles; i++) {
        int code =
            blm_tile_extract(&e->encoding.rows, &e->tile_rule, grid, first_tile + i,
                             cutting->pixels, cutting->resize, cutting->resize_bytes, err);
        if (code < 0) return code;
        blm_vision_embed(b, i, cutting->pixels, (size_t)px * 3);
    }
    return BLUELM_OK;
}

static void blm_encode_ahead(void *arg)
{
    bluelm *e = (bluelm *)arg;
    blm_encoding *n = &e->encoding;
    n->ahead_code =
        blm_encode_embed(e, &n->ahead, &e->ahead_cutting, n->ahead_first, &n->ahead_error);
}

/* Hands the batch after this one to the port, if there is one and it takes it. */
static void blm_encode_start_ahead(bluelm *e)
{
    const bluelm_port *port = &e->compute.workers.port;
    blm_encoding *n = &e->encoding;
    n->ahead_first = n->first_tile + n->batch.tiles;
    if (!e->config.overlap_tiles || !port->start || !port->finish ||
        n->ahead_first >= e->images[0].grid.tiles)
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
static int blm_encode_batch(bluelm *e, bluelm_error *err)
{
    blm_encoding *n = &e->encoding;
    int code, ahead = n->ahead_running;
    n->batch.model = &e->vision;
    n->batch.work = &e->vision_work;
    n->batch.compute = &e->compute;
    n->layer = 0;
    if (ahead) {
        float *x = e->vision_work.x;
        blm_encode_finish_ahead(e);
        e->vision_work.x = e->ahead_work.x;
        e->ahead_work.x = x;
        blm_vision_begin(&n->batch, e->vision.tile_px, e->vision.tile_px, n->ahead.tiles);
        code = n->ahead_code;
        if (code < 0 && err) *err = n->ahead_error;
    } else {
        code = blm_encode_embed(e, &n->batch, &e->cutting, n->first_tile, err);
    }
    if (code >= 0) blm_encode_start_ahead(e);
    return code;
}

static void blm_encode_finish_batch(bluelm *e, const bluelm_tile_grid *grid)
{
    blm_encoding *n = &e->encoding;
    const blm_projector *p = &e->vision.projector;
    size_t tile_values = (size_t)p->tokens * p->n_embd;
    for (uint32_t i = 0; i < n->batch.tiles; i++)
        blm_vision_finish(&n->batch, i, e->image_tokens + (n->first_tile + i) * tile_values);
    n->first_tile += n->batch.tiles;
    n->started = 0;
    n->done = n->first_tile == grid->tiles;
    e->stats.image_tiles += n->batch.tiles;
}

/* A picture whose tokens the caller made: they are taken over at once. */
static int blm_step_given(bluelm *e, bluelm_event *event)
{
    const blm_queued_image *head = &e->images[0];
    e->compute.kernels.f16_from_f32(e->image_tokens, head->rows,
                                    (size_t)head->grid.tokens * blm_engine_row_values(e));
    e->encoding.done = 1;
    event->type = BLUELM_EVENT_ENCODE;
    event->done = event->total = head->grid.tokens;
    return 1;
}

/* The first layer also decodes and cuts, the last also projects. */
BLM_PRIVATE int blm_step_encode(bluelm *e, bluelm_event *event, bluelm_error *err)
{
    const blm_queued_image *head = &e->images[0];
    blm_encoding *n = &e->encoding;
    if (head->rows) return blm_step_given(e, event);
    uint64_t begun = blm_workers_now_us(&e->compute.workers);
    int code;
    if (!n->started) {
        if ((n->first_tile == 0 && (code = blm_encode_open(e, &head->image, err)) < 0) ||
            (code = blm_encode_batch(e, err)) < 0)
            return code;
        n->started = 1;
    }
    blm_vision_run_layer(&n->batch, n->layer++);
    event->type = BLUELM_EVENT_ENCODE;
    event->total = (uint64_t)head->grid.tiles * e->vision.n_layer;
    event->done = (uint64_t)n->first_tile * e->vision.n_layer + n->batch.tiles * n->layer;
    if (n->layer == e->vision.n_layer) blm_encode_finish_batch(e, &head->grid);
    e->stats.image_us += blm_workers_now_us(&e->compute.workers) - begun;
    return 1;
}

int64_t bluelm_embed_image(bluelm *engine, const bluelm_image *image, float *tokens,
                           size_t max_floats, bluelm_error *err)
{
    const blm_vision_work *w = &engine->vision_work;
    const blm_cutting *cutting = &engine->cutting;
    uint32_t px = engine->vision.tile_px;
    bluelm_image measured;
    blm_vision_batch batch = {.model = &engine->vision, .work = w, .compute = &engine->compute};
    int code = blm_engine_measure(engine, image, &measured, err);
    if (code < 0) return code;
    if (!tokens) return blm_fail_null(err, "tokens");
    const blm_projector *p = &engine->vision.projector;
    uint64_t floats = (uint64_t)p->tokens * p->n_embd;
    if (engine->image_count || engine->chunk.count)
        return blm_fail(err, BLUELM_E_STATE, "embed: queued work is not finished", 0,
                        engine->image_count, 0);
    if (floats > max_floats)
        return blm_fail(err, BLUELM_E_BUDGET, "embedding", floats * sizeof(float),
                        (uint64_t)max_floats * sizeof(float), 0);
    if ((code = blm_encode_open(engine, &measured, err)) < 0 ||
        (code = blm_tile_whole(&engine->encoding.rows, px, engine->tile_rule.filter,
                               cutting->pixels, cutting->resize, cutting->resize_bytes, err)) <
            0)
        return code;
    blm_vision_begin(&batch, px, px, 1);
    blm_vision_embed(&batch, 0, cutting->pixels, (size_t)px * 3);
    for (uint32_t layer = 0; layer < engine->vision.n_layer; layer++)
        blm_vision_run_layer(&batch, layer);
    blm_vision_finish(&batch, 0, engine->image_tokens);
    memcpy(tokens, w->projector.out, (size_t)floats * sizeof(float));
    return (int64_t)floats;
}
