/* Work: what is queued is encoded, read and answered, a bounded unit at a time. */
#include "engine.h"

/* ---- Encoding ---------------------------------------------------------------------------- */

/* Turns the head picture into RGB rows at the start of the overlay, or uses the caller's. */
static int blm_encode_open(bluelm *e, const bluelm_image *image, bluelm_error *err)
{
    e->encoding.rows = *image;
    if (image->rgb) return BLUELM_OK;
    return blm_image_decode(image, e->config.max_image_pixels, e->decode_memory,
                            e->memory.image_decode, &e->encoding.rows, err);
}

/* Cuts and embeds a batch of tiles, from first_tile on. */
static int blm_encode_embed(bluelm *e, blm_vision_batch *b, uint32_t first_tile,
                            bluelm_error *err)
{
    const bluelm_tile_grid *grid = &e->images[0].grid;
    b->tiles = BLM_MIN(grid->tiles - first_tile, e->config.tiles_per_batch);
    for (uint32_t i = 0; i < b->tiles; i++) {
        int code =
            blm_tile_extract(&e->encoding.rows, &e->tile_rule, grid, first_tile + i,
                             b->work->pixels, b->work->resize, b->work->resize_bytes, err);
        if (code < 0) return code;
        blm_vision_embed(b, i);
    }
    return BLUELM_OK;
}

static void blm_encode_ahead(void *arg)
{
    bluelm *e = (bluelm *)arg;
    blm_encoding *n = &e->encoding;
    n->ahead_code = blm_encode_embed(e, &n->ahead, n->ahead_first, &n->ahead_error);
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

/* Waits for the batch that the port has. */
static void blm_encode_finish_ahead(bluelm *e)
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
        n->batch.tiles = n->ahead.tiles;
        code = n->ahead_code;
        if (code < 0 && err) *err = n->ahead_error;
    } else {
        code = blm_encode_embed(e, &n->batch, n->first_tile, err);
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

/* One layer over one batch; the first also decodes and cuts, the last also projects. */
static int blm_step_encode(bluelm *e, bluelm_event *event, bluelm_error *err)
{
    const blm_queued_image *head = &e->images[0];
    blm_encoding *n = &e->encoding;
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

/* ---- Reading the prompt ------------------------------------------------------------------ */

/* Tokens of the queue that can be read now: up to a chunk, not into a second picture,
 * whose tokens are not made yet. */
static uint32_t blm_chunk_length(const bluelm *e)
{
    uint32_t left = e->input.count - e->read_tokens;
    uint32_t length = BLM_MIN(left, e->config.chunk_tokens);
    if (!e->image_count) return length;
    uint32_t i = 0;
    while (i < length &&
           (e->read_tokens + i < e->images[0].end || e->input.tokens[e->read_tokens + i] >= 0))
        i++;
    return i;
}

static void blm_chunk_open(bluelm *e)
{
    size_t tile_values = (size_t)e->vision.projector.tokens * e->language.n_embd;
    const int32_t *tokens = e->input.tokens;
    blm_chunk *c = &e->chunk;
    c->model = &e->language;
    c->kv = &e->kv;
    c->work = &e->language_work;
    c->compute = &e->compute;
    c->position = e->read_tokens;
    c->count = blm_chunk_length(e);
    e->chunk_layer = 0;
    blm_chunk_begin(c);
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t at = c->position + i;
        if (tokens[at] >= 0) {
            blm_chunk_set_token(c, i, (uint32_t)tokens[at]);
            continue;
        }
        /* Its place within the tile: how many tokens of the same tile come before. */
        uint32_t tile = (uint32_t)(-1 - tokens[at]), before = 0;
        while (at > before && tokens[at - before - 1] == tokens[at])
            before++;
        before %= e->vision.projector.tokens;
        blm_chunk_set_image(
            c, i, e->image_tokens + tile * tile_values + (size_t)before * e->language.n_embd);
    }
}

static void blm_pop_image(bluelm *e)
{
    if (!e->image_count || e->read_tokens < e->images[0].end) return;
    e->image_count--;
    memmove(e->images, e->images + 1, e->image_count * sizeof e->images[0]);
    memset(&e->encoding, 0, sizeof e->encoding);
}

/* Ends the chunk after its last layer; the logits come with the last token queued. */
static void blm_chunk_close(bluelm *e)
{
    e->read_tokens += e->chunk.count;
    e->logits_ready = e->read_tokens == e->input.count;
    if (e->logits_ready) blm_chunk_logits(&e->chunk, e->logits);
    e->chunk.count = 0;
    blm_pop_image(e);
}

static int blm_step_prefill(bluelm *e, bluelm_event *event)
{
    uint64_t begun = blm_workers_now_us(&e->compute.workers), layers = e->language.n_layer;
    if (!e->chunk.count) blm_chunk_open(e);
    uint64_t read = e->read_tokens - e->batch_start;
    blm_chunk_layer(&e->chunk, e->chunk_layer++);
    event->type = BLUELM_EVENT_PREFILL;
    event->done = read * layers + (uint64_t)e->chunk.count * e->chunk_layer;
    event->total = (uint64_t)(e->input.count - e->batch_start) * layers;
    if (e->chunk_layer == layers) {
        e->stats.prefill_tokens += e->chunk.count;
        blm_chunk_close(e);
    }
    e->stats.prefill_us += blm_workers_now_us(&e->compute.workers) - begun;
    return 1;
}

/* ---- Answering --------------------------------------------------------------------------- */

static int blm_end_answer(bluelm *e, bluelm_event *event, int reason)
{
    event->type = BLUELM_EVENT_END;
    event->end_reason = reason;
    event->text = e->token_text;
    event->text_bytes = blm_utf8_flush(&e->stream, e->token_text, BLM_TOKEN_TEXT_ROOM);
    e->generating = 0;
    return 0;
}

/* Reads the token made last through every layer, at once. */
static void blm_read_own_token(bluelm *e)
{
    blm_chunk_open(e);
    for (uint32_t layer = 0; layer < e->language.n_layer; layer++)
        blm_chunk_layer(&e->chunk, layer);
    blm_chunk_close(e);
    e->batch_start = e->read_tokens;
}

/* The text of a new token; the space that SentencePiece puts before a text's first word is
 * not part of the answer. */
static void blm_token_event(bluelm *e, int32_t token, bluelm_event *event)
{
    char piece[BLM_TOKEN_TEXT_BYTES];
    int64_t length = blm_token_text(&e->vocab, token, piece, sizeof piece);
    size_t bytes = (size_t)BLM_MIN(BLM_MAX(length, 0), (int64_t)sizeof piece);
    size_t skip = e->made_tokens == 1 && e->vocab.add_space_prefix && bytes && piece[0] == ' ';
    event->type = BLUELM_EVENT_TOKEN;
    event->token = token;
    event->text = e->token_text;
    event->text_bytes = blm_utf8_push(&e->stream, piece + skip, bytes - skip, e->token_text,
                                      BLM_TOKEN_TEXT_ROOM);
}

static int blm_step_token(bluelm *e, bluelm_event *event)
{
    uint64_t begun = blm_workers_now_us(&e->compute.workers);
    blm_input *in = &e->input;
    if (e->max_new_tokens && e->made_tokens == e->max_new_tokens)
        return blm_end_answer(e, event, BLUELM_END_MAX_TOKENS);
    if (e->read_tokens < in->count) {
        blm_read_own_token(e);
        e->stats.decode_tokens++;
        e->stats.decode_us += blm_workers_now_us(&e->compute.workers) - begun;
    }
    int32_t token = blm_sample(&e->sampler, e->logits, e->vocab.n_tokens, in->tokens, in->count,
                               e->candidates);
    if (blm_vocab_is_end(&e->vocab, token)) return blm_end_answer(e, event, BLUELM_END_OF_TURN);
    if (in->count == in->capacity) return blm_end_answer(e, event, BLUELM_END_CONTEXT);
    in->tokens[in->count++] = token;
    e->logits_ready = 0;
    in->after_special = 0;
    e->made_tokens++;
    blm_token_event(e, token, event);
    return 1;
}

int bluelm_step(bluelm *engine, bluelm_event *event, bluelm_error *err)
{
    blm_input before = blm_input_begin(&engine->input);
    memset(event, 0, sizeof *event);
    int code = blm_input_end(&engine->input, &before, blm_input_flush(&engine->input, err));
    if (code < 0) return code;
    if (engine->generating && engine->made_tokens) return blm_step_token(engine, event);
    /* A chunk's activations lie where the encoder's would: it is finished first. */
    if (engine->image_count && !engine->encoding.done && !engine->chunk.count)
        return blm_step_encode(engine, event, err);
    if (engine->read_tokens < engine->input.count) return blm_step_prefill(engine, event);
    engine->batch_start = engine->read_tokens;
    if (engine->generating) return blm_step_token(engine, event);
    return 0;
}

/* ---- Starting over ---------------------------------------------------------------------- */

BLM_PRIVATE void blm_engine_clear(bluelm *e)
{
    blm_encode_finish_ahead(e);
    e->input.count = e->input.text_bytes = e->input.text_from = 0;
    e->input.after_special = 1;
    e->image_count = 0;
    memset(&e->encoding, 0, sizeof e->encoding);
    memset(&e->chunk, 0, sizeof e->chunk);
    e->chunk_layer = e->read_tokens = e->batch_start = 0;
    e->logits_ready = 0;
    e->turns = (blm_turns){BLM_TURN_NONE, BLM_TURN_NONE, 1};
    e->generating = 0;
    e->made_tokens = 0;
    memset(&e->stream, 0, sizeof e->stream);
}

void bluelm_reset(bluelm *engine)
{
    blm_engine_clear(engine);
}

/* ---- Looking inside ---------------------------------------------------------------------- */

int bluelm_set_sampling(bluelm *engine, const bluelm_sampling *sampling, bluelm_error *err)
{
    return blm_sampler_set(&engine->sampler, sampling, err);
}

const float *bluelm_logits(const bluelm *engine, uint32_t *n_vocab)
{
    *n_vocab = engine->language.n_vocab;
    return engine->logits_ready ? engine->logits : NULL;
}

int64_t bluelm_detokenize(bluelm *engine, int32_t token, char *text, size_t bytes,
                          bluelm_error *err)
{
    int64_t length = blm_token_text(&engine->vocab, token, text, bytes);
    if (length < 0)
        blm_fail(err, BLUELM_E_ARG, "token id", engine->vocab.n_tokens - 1,
                 (uint64_t)(uint32_t)token, 0);
    return length;
}

void bluelm_get_stats(const bluelm *engine, bluelm_stats *stats)
{
    *stats = engine->stats;
    stats->context_used_tokens = engine->input.count;
    stats->context_tokens = engine->input.capacity;
    stats->kernels = engine->compute.kernels.name;
}

int64_t bluelm_tokenize(bluelm *engine, const char *utf8, size_t bytes, int special,
                        int32_t *tokens, size_t max_tokens, bluelm_error *err)
{
    int64_t total = 0;
    int after_special = 1;
    for (;;) {
        size_t at = bytes, length = 0, room = (size_t)BLM_MIN((uint64_t)total, max_tokens);
        int32_t token = -1;
        int found = special && bytes &&
                    blm_vocab_find_special(&engine->vocab, utf8, bytes, &at, &length, &token);
        int64_t count = blm_tokenize(&engine->vocab, utf8, found ? at : bytes, after_special,
                                     tokens ? tokens + room : NULL, max_tokens - room, err);
        if (count < 0) return count;
        total += count;
        if (!found) return total;
        if ((uint64_t)total < max_tokens) tokens[total] = token;
        total++;
        after_special = 1;
        utf8 += at + length;
        bytes -= at + length;
    }
}

int64_t bluelm_embed_image(bluelm *engine, const bluelm_image *image, float *tokens,
                           size_t max_floats, bluelm_error *err)
{
    const blm_vision_work *w = &engine->vision_work;
    bluelm_image measured;
    blm_vision_batch batch = {
        .model = &engine->vision, .work = w, .compute = &engine->compute, .tiles = 1};
    int code = blm_engine_measure(engine, image, &measured, err);
    if (code < 0) return code;
    const blm_projector *p = &engine->vision.projector;
    uint64_t floats = (uint64_t)p->tokens * p->n_embd;
    if (engine->image_count || engine->chunk.count)
        return blm_fail(err, BLUELM_E_STATE, "embed: queued work is not finished", 0,
                        engine->image_count, 0);
    if (floats > max_floats)
        return blm_fail(err, BLUELM_E_BUDGET, "embedding", floats * sizeof(float),
                        (uint64_t)max_floats * sizeof(float), 0);
    if ((code = blm_encode_open(engine, &measured, err)) < 0 ||
        (code = blm_tile_whole(&engine->encoding.rows, engine->vision.tile_px,
                               engine->tile_rule.filter, w->pixels, w->resize, w->resize_bytes,
                               err)) < 0)
        return code;
    blm_vision_embed(&batch, 0);
    for (uint32_t layer = 0; layer < engine->vision.n_layer; layer++)
        blm_vision_run_layer(&batch, layer);
    blm_vision_finish(&batch, 0, engine->image_tokens);
    memcpy(tokens, w->projector.out, (size_t)floats * sizeof(float));
    return (int64_t)floats;
}

int bluelm_image_size(const void *encoded, size_t encoded_bytes, uint32_t *width_px,
                      uint32_t *height_px, bluelm_error *err)
{
    return blm_image_info(encoded, encoded_bytes, width_px, height_px, err);
}
