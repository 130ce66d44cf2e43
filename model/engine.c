#include "engine.h"

#define BLM_TURN_NONE (-1)

/* ---- Conversation ------------------------------------------------------------------------ */

BLM_PRIVATE void blm_engine_clear(bluelm *e)
{
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

/* What a call that adds input may change, kept so that one that fails changes nothing. */
typedef struct blm_call {
    blm_input input;
    blm_turns turns;
    int generating;
    uint32_t text_end;             /* of the waiting text without the spaces that end it */
    char spaces[BLM_MARKUP_BYTES]; /* behind it: closing a turn writes markup over them  */
} blm_call;

/* Where the open turn's waiting text ends without the spaces that end it. */
static uint32_t blm_text_end(const blm_input *in)
{
    uint32_t end = in->text_bytes;
    while (end > in->content_from && blm_chat_is_blank(in->text[end - 1]))
        end--;
    return end;
}

/* A call that adds input works between blm_call_begin and blm_call_end; when `code` is an
 * error, end puts everything back as it was. Returns code. */
static void blm_call_begin(blm_call *before, bluelm *e)
{
    before->input = blm_input_begin(&e->input);
    before->turns = e->turns;
    before->generating = e->generating;
    before->text_end = blm_text_end(&e->input);
    memcpy(before->spaces, e->input.text + before->text_end,
           BLM_MIN(sizeof before->spaces, e->input.text_bytes - before->text_end));
}

static int blm_call_end(bluelm *e, const blm_call *before, int code)
{
    if (code < 0) {
        e->turns = before->turns;
        e->generating = before->generating;
        memcpy(e->input.text + before->text_end, before->spaces,
               BLM_MIN(sizeof before->spaces, before->input.text_bytes - before->text_end));
    }
    return blm_input_end(&e->input, &before->input, code);
}

/* The token that begins every conversation, for models that want one. */
static int blm_add_bos(bluelm *e, bluelm_error *err)
{
    blm_input *in = &e->input;
    if (in->count || in->text_bytes || !e->vocab.add_bos || e->vocab.bos < 0) return BLUELM_OK;
    return blm_input_tokens(in, e->vocab.bos, 1, err);
}

static int blm_add_c_string(bluelm *e, const char *markup, bluelm_error *err)
{
    return blm_input_markup(&e->input, markup, blm_text_bytes(markup), err);
}

/* Begins a call that adds input. It ends an answer that is being made. */
static int blm_input_open(bluelm *e, bluelm_error *err)
{
    if (!e->has_language)
        return blm_fail(err, BLUELM_E_STATE, "llm: a vocabulary without a network", 1, 0, 0);
    e->generating = 0;
    return blm_add_bos(e, err);
}

/* Whether the open turn's text loses the spaces at its ends. */
static int blm_turn_trims(const bluelm *e)
{
    return e->turns.open != BLM_TURN_NONE && e->chat->trim;
}

static int blm_close_turn(bluelm *e, bluelm_error *err)
{
    blm_input *in = &e->input;
    if (e->turns.open == BLM_TURN_NONE) return BLUELM_OK;
    if (blm_turn_trims(e)) in->text_bytes = blm_text_end(in);
    e->turns.last = e->turns.open;
    e->turns.open = BLM_TURN_NONE;
    return blm_add_c_string(e, e->chat->suffix[e->turns.last], err);
}

/* Closes the open turn and begins one with `prefix`, NULL: the role's own. */
static int blm_open_turn(bluelm *e, bluelm_role role, const char *prefix, bluelm_error *err)
{
    int code = blm_close_turn(e, err);
    if (code >= 0 && e->turns.last == BLM_TURN_NONE && !e->vocab.add_bos)
        code = blm_add_c_string(e, e->chat->start, err);
    if (!prefix) prefix = blm_chat_prefix(e->chat, role, e->turns.last);
    if (code >= 0) code = blm_add_c_string(e, prefix, err);
    e->turns.open = (int)role;
    e->turns.empty = 1;
    e->input.content_from = e->input.text_bytes;
    return code;
}

int bluelm_begin_turn(bluelm *engine, bluelm_role role, bluelm_error *err)
{
    if ((unsigned)role > BLUELM_ASSISTANT)
        return blm_fail(err, BLUELM_E_ARG, "role", BLUELM_ASSISTANT, (unsigned)role, 0);
    if (!engine->chat)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "llm: no chat template that is known", 0, 0,
                        0);
    blm_call before;
    blm_call_begin(&before, engine);
    int code = blm_input_open(engine, err);
    if (code >= 0) code = blm_open_turn(engine, role, NULL, err);
    if (code >= 0) code = blm_input_check_room(&engine->input, err);
    return blm_call_end(engine, &before, code);
}

int bluelm_add_text(bluelm *engine, const char *utf8, size_t bytes, bluelm_error *err)
{
    blm_call before;
    blm_call_begin(&before, engine);
    int code = blm_input_open(engine, err);
    while (engine->turns.empty && blm_turn_trims(engine) && bytes && blm_chat_is_blank(*utf8))
        utf8++, bytes--;
    if (code >= 0) code = blm_input_text(&engine->input, utf8, bytes, err);
    if (code >= 0) code = blm_input_check_room(&engine->input, err);
    if (code >= 0 && bytes) engine->turns.empty = 0;
    return blm_call_end(engine, &before, code);
}

int bluelm_add_markup(bluelm *engine, const char *utf8, size_t bytes, bluelm_error *err)
{
    blm_call before;
    blm_call_begin(&before, engine);
    int code = blm_input_open(engine, err);
    if (code >= 0) code = blm_input_markup(&engine->input, utf8, bytes, err);
    if (code >= 0) code = blm_input_check_room(&engine->input, err);
    if (code >= 0 && bytes) engine->turns.empty = 0;
    return blm_call_end(engine, &before, code);
}

int bluelm_add_tokens(bluelm *engine, const int32_t *tokens, size_t count, bluelm_error *err)
{
    blm_call before;
    blm_call_begin(&before, engine);
    int code = BLUELM_OK;
    if (!engine->has_language)
        code = blm_fail(err, BLUELM_E_STATE, "llm: a vocabulary without a network", 1, 0, 0);
    engine->generating = 0;
    for (size_t i = 0; i < count && code >= 0; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= engine->language.n_vocab)
            code = blm_fail(err, BLUELM_E_ARG, "token id", engine->language.n_vocab - 1,
                            (uint64_t)(uint32_t)tokens[i], i);
        else
            code = blm_input_tokens(&engine->input, tokens[i], 1, err);
    }
    return blm_call_end(engine, &before, code);
}

int bluelm_generate(bluelm *engine, uint32_t max_tokens, bluelm_error *err)
{
    blm_call before;
    blm_call_begin(&before, engine);
    int code = BLUELM_OK;
    if (engine->turns.open != BLM_TURN_NONE && engine->turns.open != BLUELM_ASSISTANT)
        code = blm_open_turn(engine, BLUELM_ASSISTANT, engine->chat->answer, err);
    if (code >= 0) code = blm_input_flush(&engine->input, err);
    if (code >= 0 && engine->input.count == 0)
        code = blm_fail(err, BLUELM_E_STATE, "generate: nothing was added", 1, 0, 0);
    if (blm_call_end(engine, &before, code) < 0) return code;
    engine->generating = 1;
    engine->made_tokens = 0;
    engine->max_new_tokens = max_tokens;
    memset(&engine->stream, 0, sizeof engine->stream);
    return BLUELM_OK;
}

/* ---- Pictures in the queue ------------------------------------------------------------------ */

/* Copies markup with {row} and {col} replaced. Returns the bytes written to out
 * [BLM_IMAGE_MARKUP_BYTES]: a number is shorter than its name. */
static size_t blm_fill_markup(blm_string markup, uint32_t row, uint32_t column, char *out)
{
    size_t n = 0;
    for (uint64_t i = 0; i < markup.bytes; i++) {
        uint64_t left = markup.bytes - i;
        int is_row = left >= 5 && !memcmp(markup.text + i, "{row}", 5);
        int is_column = left >= 5 && !memcmp(markup.text + i, "{col}", 5);
        uint32_t number = is_row ? row : column;
        if (!is_row && !is_column) {
            out[n++] = markup.text[i];
            continue;
        }
        if (number >= 10) out[n++] = (char)('0' + number / 10 % 10);
        out[n++] = (char)('0' + number % 10);
        i += 4;
    }
    return n;
}

static int blm_add_tile(bluelm *e, blm_string markup, uint32_t row, uint32_t column,
                        uint32_t index, bluelm_error *err)
{
    char text[BLM_IMAGE_MARKUP_BYTES];
    int code =
        blm_input_markup(&e->input, text, blm_fill_markup(markup, row, column, text), err);
    if (code >= 0)
        code =
            blm_input_tokens(&e->input, -1 - (int32_t)index, e->tile_rule.tokens_per_tile, err);
    return code;
}

static int blm_add_thumbnail(bluelm *e, const bluelm_tile_grid *grid, uint32_t place,
                             uint32_t *index, bluelm_error *err)
{
    if (!grid->thumbnail || e->tile_rule.thumbnail != place) return BLUELM_OK;
    return blm_add_tile(e, e->markup.thumbnail, 1, 1, (*index)++, err);
}

/* Queues the tokens of a picture's tiles with their markup, in the model's order. */
static int blm_add_grid(bluelm *e, const bluelm_tile_grid *grid, bluelm_error *err)
{
    const blm_image_markup *m = &e->markup;
    uint32_t index = 0;
    int several = grid->tiles > 1;
    int code = blm_input_markup(&e->input, m->begin.text, (size_t)m->begin.bytes, err);
    if (code >= 0) code = blm_add_thumbnail(e, grid, BLM_THUMBNAIL_FIRST, &index, err);
    for (uint32_t row = 0; row < grid->rows && code >= 0; row++) {
        for (uint32_t column = 0; column < grid->columns && code >= 0; column++)
            code = blm_add_tile(e, several ? m->tile : m->single, row + 1, column + 1, index++,
                                err);
        if (code >= 0 && several)
            code = blm_input_markup(&e->input, m->row_end.text, (size_t)m->row_end.bytes, err);
    }
    if (code >= 0) code = blm_add_thumbnail(e, grid, BLM_THUMBNAIL_LAST, &index, err);
    uint32_t last = e->input.count;
    if (code >= 0) code = blm_input_markup(&e->input, m->end.text, (size_t)m->end.bytes, err);
    if (code >= 0) e->images[e->image_count].end = last;
    return code;
}

static int blm_check_rows(const bluelm_image *image, bluelm_error *err)
{
    uint64_t row_bytes = 3 * (uint64_t)image->width_px;
    uint32_t side = BLM_MAX(image->width_px, image->height_px);
    if (image->width_px == 0 || image->height_px == 0 || side > BLM_PICTURE_LIMIT)
        return blm_fail(err, BLUELM_E_ARG, "picture's side in pixels", BLM_PICTURE_LIMIT,
                        image->width_px && image->height_px ? side : 0, 0);
    if (image->stride_bytes && image->stride_bytes < row_bytes)
        return blm_fail(err, BLUELM_E_ARG, "picture's stride_bytes", row_bytes,
                        image->stride_bytes, 0);
    return BLUELM_OK;
}

/* Fills in the size of an encoded picture and checks all there is to check before it is
 * decoded. */
static int blm_measure_image(const bluelm *e, const bluelm_image *image, bluelm_image *out,
                             bluelm_error *err)
{
    *out = *image;
    if (!e->has_vision)
        return blm_fail(err, BLUELM_E_STATE, "pictures need an mmproj", 1, 0, 0);
    if (image->rgb) {
        if (!out->stride_bytes) out->stride_bytes = 3 * (size_t)image->width_px;
        return blm_check_rows(out, err);
    }
    int code = bluelm_image_size(image->encoded, image->encoded_bytes, &out->width_px,
                                 &out->height_px, err);
    uint64_t pixels = (uint64_t)out->width_px * out->height_px;
    if (code >= 0 && pixels > e->config.max_image_pixels)
        code = blm_fail(err, BLUELM_E_IMAGE, "picture's pixels (max_image_pixels)",
                        e->config.max_image_pixels, pixels, 0);
    return code;
}

int bluelm_add_image(bluelm *engine, const bluelm_image *image, bluelm_tile_grid *grid,
                     bluelm_error *err)
{
    bluelm_tile_grid chosen = {0};
    blm_queued_image *queued = &engine->images[engine->image_count];
    if (engine->image_count == BLM_MAX_QUEUED_IMAGES)
        return blm_fail(err, BLUELM_E_STATE, "pictures queued", BLM_MAX_QUEUED_IMAGES,
                        BLM_MAX_QUEUED_IMAGES + 1, 0);
    bluelm_image measured;
    int code = blm_measure_image(engine, image, &measured, err);
    if (code < 0) return code;

    /* Markers count too, so a grid that does not fit is tried again with a tile less. */
    blm_call before;
    blm_call_begin(&before, engine);
    uint32_t cap = blm_engine_tile_cap(engine, engine->input.count);
    do {
        engine->input = before.input;
        code = blm_tile_choose(&engine->tile_rule, measured.width_px, measured.height_px, cap,
                               &chosen, err);
        if (code >= 0 && (code = blm_input_open(engine, err)) >= 0 &&
            (code = blm_add_grid(engine, &chosen, err)) >= 0)
            code = blm_input_check_room(&engine->input, err);
        cap = BLM_MIN(cap, chosen.tiles) - 1;
    } while (code == BLUELM_E_CONTEXT && cap > 0);
    if (blm_call_end(engine, &before, code) < 0) return code;
    queued->image = measured;
    queued->grid = chosen;
    engine->image_count++;
    engine->turns.empty = 0;
    if (grid) *grid = chosen;
    return (int)chosen.tiles;
}

/* ---- Encoding ---------------------------------------------------------------------------------- */

/* Turns the head picture into RGB rows at the start of the overlay, or uses the caller's. */
static int blm_encode_open(bluelm *e, const bluelm_image *image, bluelm_error *err)
{
    e->encoding.rows = *image;
    if (image->rgb) return BLUELM_OK;
    return blm_image_decode(image, e->config.max_image_pixels, e->decode_memory,
                            e->memory.image_decode, &e->encoding.rows, err);
}

/* Cuts and embeds the next batch of tiles. */
static int blm_encode_batch(bluelm *e, const bluelm_tile_grid *grid, bluelm_error *err)
{
    blm_encoding *n = &e->encoding;
    uint32_t left = grid->tiles - n->first_tile;
    n->batch.model = &e->vision;
    n->batch.work = &e->vision_work;
    n->batch.compute = &e->compute;
    n->batch.tiles = BLM_MIN(left, e->config.tiles_per_batch);
    for (uint32_t i = 0; i < n->batch.tiles; i++) {
        int code = blm_tile_extract(&n->rows, &e->tile_rule, grid, n->first_tile + i,
                                    e->vision_work.pixels, e->vision_work.resize,
                                    e->vision_work.resize_bytes, err);
        if (code < 0) return code;
        blm_vision_embed(&n->batch, i);
    }
    n->layer = 0;
    return BLUELM_OK;
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
            (code = blm_encode_batch(e, &head->grid, err)) < 0)
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

/* ---- Reading the prompt -------------------------------------------------------------------------- */

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

/* ---- Answering --------------------------------------------------------------------------------------- */

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

/* ---- Looking inside ------------------------------------------------------------------------------------ */

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
    int code = blm_measure_image(engine, image, &measured, err);
    if (code < 0) return code;
    const blm_projector *p = &engine->vision.projector;
    uint64_t floats = (uint64_t)p->tokens * p->n_embd;
    if (engine->image_count || engine->chunk.count)
        return blm_fail(err, BLUELM_E_STATE, "embed: queued work is not finished", 0,
                        engine->image_count, 0);
    if (floats > max_floats)
        return blm_fail(err, BLUELM_E_BUDGET, "embedding (floats)", floats, max_floats, 0);
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
