/* Work: what is queued is encoded, read and answered, a bounded unit at a time. */
#include "engine.h"

/* ---- Reading the prompt ------------------------------------------------------------------ */

/* Where an image token stands: its tile, and its place there. */
typedef struct blm_image_place {
    const blm_tile_tokens *tile;
    uint32_t index;
} blm_image_place;

static blm_image_place blm_image_place_of(const blm_queued_image *q, int32_t token)
{
    uint32_t row = (uint32_t)(-1 - token);
    uint32_t thumbnail = q->grid.thumbnail ? q->thumbnail.tokens : 0;
    uint32_t tiles = q->grid.columns * q->grid.rows * q->tile.tokens;
    if (q->thumbnail_first) {
        if (row < thumbnail) return (blm_image_place){&q->thumbnail, row};
        row -= thumbnail;
    }
    if (row < tiles) return (blm_image_place){&q->tile, row % q->tile.tokens};
    return (blm_image_place){&q->thumbnail, row - tiles};
}

/* Where a chunk may end at or before `end` for a model whose image tokens see each other: a
 * tile lies in one chunk, which has room for it. */
static uint32_t blm_chunk_whole_tiles(const bluelm *e, uint32_t from, uint32_t end)
{
    const int32_t *tokens = e->input.tokens;
    if (end == e->input.count || tokens[end] >= 0) return end;
    blm_image_place place = blm_image_place_of(&e->images[0], tokens[end]);
    if (end - from > place.index) return end - place.index;
    return end + place.tile->tokens - place.index;
}

/* Tokens of the queue that can be read now: up to a chunk, not over a mark that waits to be
 * kept, not into a second picture, whose tokens are not made yet. */
static uint32_t blm_chunk_length(const bluelm *e, uint32_t from)
{
    uint32_t end = from + BLM_MIN(e->input.count - from, e->config.chunk_tokens);
    end = blm_marks_stop(e, end);
    if (!e->image_count) return end - from;
    uint32_t at = from;
    while (at < end && (at < e->images[0].end || e->input.tokens[at] >= 0))
        at++;
    if (e->language.two_way && at < e->images[0].end) at = blm_chunk_whole_tiles(e, from, at);
    return at - from;
}

/* Sets token `i` of the chunk, and where the next one would stand as text: behind a picture
 * in a plane that is nearer than the number of its tokens. */
static void blm_chunk_set(bluelm *e, uint32_t i)
{
    blm_chunk *c = &e->chunk;
    const blm_language *m = &e->language;
    uint32_t at = c->position + i, *position = e->positions + at;
    int32_t token = e->input.tokens[at];
    if (token >= 0) {
        blm_chunk_set_token(c, i, (uint32_t)token, blm_position_text(*position));
        position[1] = *position + 1;
        return;
    }
    const uint16_t *row = e->image_tokens + (size_t)(-1 - token) * e->row_values;
    const blm_image_place p = blm_image_place_of(&e->images[0], token);
    const int planar = m->planar && !e->vision.in_line;
    const uint32_t rest = p.tile->tokens - p.index, start = *position - (planar ? 0 : p.index);
    blm_chunk_set_image(c, i, row, blm_position_image(start, p.tile->columns, p.index, planar),
                        at + (m->two_way ? rest : 1));
    position[1] = *position + !planar;
    if (rest == 1)
        position[1] = blm_position_after(start, p.tile->columns,
                                         p.tile->tokens / p.tile->columns, planar);
}

/* A first token that sees pictures is read again with what comes behind it, as if it had not
 * been alone: so it is all one when it was read, and whether something was taken back. */
static void blm_chunk_open(bluelm *e)
{
    blm_chunk *c = &e->chunk;
    const int first_sees = e->language.first_sees && e->read_tokens <= 1;
    c->model = &e->language;
    c->state = &e->state;
    c->work = &e->language_work;
    c->compute = &e->compute;
    c->position = first_sees ? 0 : e->read_tokens;
    c->count = blm_chunk_length(e, c->position);
    e->chunk_layer = 0;
    for (uint32_t i = 0; i < c->count; i++)
        blm_chunk_set(e, i);
    if (first_sees) blm_chunk_first_sees(c);
    blm_chunk_begin(c);
}

static void blm_pop_image(bluelm *e)
{
    if (!e->image_count || e->read_tokens < e->images[0].end) return;
    e->image_count--;
    memmove(e->images, e->images + 1, e->image_count * sizeof e->images[0]);
    memset(&e->encoding, 0, sizeof e->encoding);
}

/* Ends the chunk after its last layer. Logits come with the last token queued, and for a mark
 * that keeps them. */
static void blm_chunk_close(bluelm *e)
{
    e->read_tokens = e->chunk.position + e->chunk.count;
    e->logits_ready = e->read_tokens == e->input.count || blm_marks_here(e);
    if (e->logits_ready) blm_chunk_logits(&e->chunk, e->logits);
    e->chunk.count = 0;
    blm_marks_save(e);
    blm_pop_image(e);
}

static int blm_step_prefill(bluelm *e, bluelm_event *event)
{
    uint64_t begun = blm_workers_now_us(&e->compute.workers), layers = e->language.n_layer;
    if (!e->chunk.count) blm_chunk_open(e);
    uint64_t read = e->read_tokens - e->batch_start;
    uint32_t fresh = e->chunk.position + e->chunk.count - e->read_tokens;
    blm_chunk_layer(&e->chunk, e->chunk_layer++);
    event->type = BLUELM_EVENT_PREFILL;
    event->done = read * layers + (uint64_t)fresh * e->chunk_layer;
    event->total = (uint64_t)(e->input.count - e->batch_start) * layers;
    if (e->chunk_layer == layers) {
        e->stats.prefill_tokens += fresh;
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
    /* What max_tokens cut may be completed by another bluelm_generate. */
    if (reason == BLUELM_END_OF_TURN || reason == BLUELM_END_CONTEXT) {
        char *text = e->token_text + BLM_STOP_BYTES + 1;
        size_t bytes = blm_utf8_flush(&e->stream, text, BLM_TOKEN_TEXT_ROOM);
        bytes = blm_stops_push(&e->stops, text, bytes, e->token_text);
        event->text_bytes = bytes + blm_stops_flush(&e->stops, e->token_text + bytes);
    }
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
 * not part of the answer that begins a turn. */
static void blm_token_event(bluelm *e, int32_t token, bluelm_event *event)
{
    char piece[BLM_TOKEN_TEXT_BYTES];
    int64_t length = blm_token_text(&e->vocab, token, piece, sizeof piece);
    size_t bytes = (size_t)BLM_MIN(BLM_MAX(length, 0), (int64_t)sizeof piece);
    int begins = e->turns.open == BLUELM_ASSISTANT && e->turns.empty;
    size_t skip = begins && e->vocab.add_space_prefix && bytes && piece[0] == ' ';
    e->turns.empty = 0;
    event->type = BLUELM_EVENT_TOKEN;
    event->token = token;
    event->text = e->token_text;
    char *text = e->token_text + BLM_STOP_BYTES + 1;
    bytes = blm_utf8_push(&e->stream, piece + skip, bytes - skip, text, BLM_TOKEN_TEXT_ROOM);
    event->text_bytes = blm_stops_push(&e->stops, text, bytes, e->token_text);
}

static int blm_step_token(bluelm *e, bluelm_event *event)
{
    uint64_t begun = blm_workers_now_us(&e->compute.workers);
    blm_input *in = &e->input;
    if (e->stops.held.found) return blm_end_answer(e, event, BLUELM_END_STOP_STRING);
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

static int blm_step_has_work(const bluelm *e)
{
    return e->image_count || e->read_tokens < e->input.count || e->generating;
}

int bluelm_step(bluelm *engine, bluelm_event *event, bluelm_error *err)
{
    blm_input before = blm_input_begin(&engine->input);
    memset(event, 0, sizeof *event);
    int code = blm_input_end(&engine->input, &before, blm_input_flush(&engine->input, err));
    if (code < 0) return code;
    /* An answer's tokens would be made where the picture and its rows lie. */
    if (engine->embedding && !engine->encoding.done) return blm_step_embed(engine, event, err);
    if (blm_step_has_work(engine)) blm_embed_end(engine);
    if (engine->embedding) return 0;
    if (engine->generating && engine->made_tokens) return blm_step_token(engine, event);
    /* A chunk's activations lie where the encoder's would: it is finished first. */
    if (engine->image_count && !engine->encoding.done && !engine->chunk.count) {
        code = blm_step_encode(engine, event, err);
        if (code < 0) blm_engine_drop_turn(engine, &engine->images[0].start);
        return code;
    }
    if (engine->read_tokens < engine->input.count) return blm_step_prefill(engine, event);
    engine->batch_start = engine->read_tokens;
    if (engine->generating) return blm_step_token(engine, event);
    return 0;
}

/* ---- Starting over ---------------------------------------------------------------------- */

BLM_PRIVATE void blm_engine_clear(bluelm *e)
{
    blm_encode_finish_ahead(e);
    blm_state_reset(&e->state);
    e->input.count = e->input.text_from = e->input.content_from = 0;
    blm_input_cut(&e->input, 0);
    e->input.after_special = 1;
    e->image_count = 0;
    memset(&e->encoding, 0, sizeof e->encoding);
    e->embedding = 0;
    memset(&e->chunk, 0, sizeof e->chunk);
    e->chunk_layer = e->read_tokens = e->batch_start = 0;
    e->logits_ready = 0;
    e->turns = (blm_turns){.open = BLM_TURN_NONE, .last = BLM_TURN_NONE, .empty = 1};
    for (uint32_t i = 0; i < e->config.marks; i++)
        e->marks[i].set = 0;
    if (e->positions) e->positions[0] = 0;
    e->generating = 0;
    e->made_tokens = 0;
    blm_stream_clear(e);
}

void bluelm_reset(bluelm *engine)
{
    blm_engine_clear(engine);
}

int bluelm_set_stop(bluelm *engine, const char *const *strings, size_t count, bluelm_error *err)
{
    if (count && !strings) return blm_fail_null(err, "strings");
    return blm_stops_set(&engine->stops, strings, count, err);
}

int bluelm_set_sampling(bluelm *engine, const bluelm_sampling *sampling, bluelm_error *err)
{
    return blm_sampler_set(&engine->sampler, sampling, err);
}
