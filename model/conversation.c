/* Input: turns, text and pictures become a queue of tokens. */
#include "engine.h"

/* ---- Turns and text ------------------------------------------------------------------- */

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

/* ---- Pictures ------------------------------------------------------------------------- */

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

BLM_PRIVATE int blm_engine_measure(const bluelm *e, const bluelm_image *image,
                                   bluelm_image *out, bluelm_error *err)
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
    int code = blm_engine_measure(engine, image, &measured, err);
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
