/* Turns and text become a queue of tokens. */
#include "engine.h"

/* Where the open turn's waiting text ends without the spaces that end it. */
static uint32_t blm_text_end(const blm_input *in)
{
    uint32_t end = in->text_bytes;
    while (end > in->content_from && blm_chat_is_blank(in->text[end - 1]))
        end--;
    return end;
}

static int blm_trims(const bluelm *e)
{
    return e->turns.open != BLM_TURN_NONE && e->chat->role[e->turns.open].trim;
}

BLM_PRIVATE void blm_call_begin(blm_call *before, bluelm *e)
{
    before->input = blm_input_begin(&e->input);
    before->turns = e->turns;
    before->generating = e->generating;
    before->stream = e->stream;
    before->held = e->stops.held;
    before->text_end = blm_trims(e) ? blm_text_end(&e->input) : e->input.text_bytes;
    memcpy(before->spaces, e->input.text + before->text_end,
           BLM_MIN(sizeof before->spaces, e->input.text_bytes - before->text_end));
}

BLM_PRIVATE int blm_call_end(bluelm *e, const blm_call *before, int code)
{
    if (code < 0) {
        e->turns = before->turns;
        e->generating = before->generating;
        e->stream = before->stream;
        e->stops.held = before->held;
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

/* Adds a text of the template; NULL is none. */
static int blm_add_template(bluelm *e, const char *text, bluelm_error *err)
{
    const char *date = e->config.date ? e->config.date : e->chat->date_default;
    blm_input *in = &e->input;
    blm_string piece;
    int kind, code = BLUELM_OK;
    while (code >= 0 && (kind = blm_chat_next(&text, &piece)) != BLM_CHAT_END) {
        int32_t token = kind == BLM_CHAT_BOS ? e->vocab.bos : e->vocab.eos;
        if (kind == BLM_CHAT_TEXT)
            code = blm_input_markup(in, piece.text, (size_t)piece.bytes, err);
        else if (kind == BLM_CHAT_DATE)
            code = date ? blm_input_text(in, date, blm_text_bytes(date), err) : BLUELM_OK;
        else if (token >= 0)
            code = blm_input_tokens(in, token, 1, err);
    }
    return code;
}

BLM_PRIVATE void blm_stream_clear(bluelm *e)
{
    memset(&e->stream, 0, sizeof e->stream);
    memset(&e->stops.held, 0, sizeof e->stops.held);
}

/* What comes next is not the rest of an answer. */
static void blm_answer_close(bluelm *e)
{
    e->generating = 0;
    blm_stream_clear(e);
}

BLM_PRIVATE int blm_input_open(bluelm *e, bluelm_error *err)
{
    if (!e->has_language)
        return blm_fail(err, BLUELM_E_STATE, "llm: a vocabulary without a network", 1, 0, 0);
    blm_answer_close(e);
    return blm_add_bos(e, err);
}

/* The open turn's role in the template, NULL without one. */
static const blm_chat_role *blm_turn_role(const bluelm *e)
{
    return e->turns.open == BLM_TURN_NONE ? NULL : &e->chat->role[e->turns.open];
}

static int blm_turn_drops(const bluelm *e, int role)
{
    return role == BLUELM_SYSTEM && e->chat->drops_system;
}

static int blm_close_turn(bluelm *e, bluelm_error *err)
{
    const blm_chat_role *role = blm_turn_role(e);
    int closed = e->turns.open;
    if (!role) return BLUELM_OK;
    e->turns.open = BLM_TURN_NONE;
    if (blm_turn_drops(e, closed)) return BLUELM_OK;
    if (role->trim) blm_input_cut(&e->input, blm_text_end(&e->input));
    e->turns.last = closed;
    return blm_add_template(e, role->suffix, err);
}

/* What comes before the first turn, which is one of `role`. */
static int blm_begin_turns(bluelm *e, bluelm_role role, bluelm_error *err)
{
    const blm_chat_template *t = e->chat;
    const char *system = blm_chat_default_system(t, e->config.date);
    int code = BLUELM_OK;
    if (e->turns.begun) return BLUELM_OK;
    e->turns.begun = 1;
    if (!e->vocab.add_bos) code = blm_add_template(e, t->start, err);
    if (role == BLUELM_SYSTEM || !system) return code;
    if (code >= 0) code = blm_add_template(e, t->role[BLUELM_SYSTEM].prefix, err);
    if (code >= 0) code = blm_add_template(e, system, err);
    if (code >= 0) code = blm_add_template(e, t->role[BLUELM_SYSTEM].suffix, err);
    e->turns.last = BLUELM_SYSTEM;
    return code;
}

/* Closes the open turn and begins one with `prefix`, NULL: the role's own. */
static int blm_open_turn(bluelm *e, bluelm_role role, const char *prefix, bluelm_error *err)
{
    int code = blm_close_turn(e, err);
    int drops = blm_turn_drops(e, (int)role);
    if (code >= 0 && !drops) code = blm_begin_turns(e, role, err);
    e->turns.start = (blm_turn_start){e->input.count, e->input.text_bytes - e->input.text_from,
                                      e->turns.last};
    if (!prefix) prefix = blm_chat_prefix(e->chat, role, e->turns.last);
    if (code >= 0 && !drops) code = blm_add_template(e, prefix, err);
    e->turns.open = (int)role;
    e->turns.empty = e->turns.part_empty = 1;
    e->input.content_from = e->input.text_bytes;
    return code;
}

/* Before text or markup of the open turn: what the template puts before words that begin
 * it. */
static int blm_begin_words(bluelm *e, bluelm_error *err)
{
    const blm_chat_role *role = blm_turn_role(e);
    int code = BLUELM_OK;
    if (role && e->turns.empty) {
        code = blm_add_template(e, role->gap, err);
        e->input.content_from = e->input.text_bytes;
    }
    e->turns.empty = e->turns.part_empty = 0;
    return code;
}

BLM_PRIVATE void blm_begin_picture(bluelm *e, const blm_call *before)
{
    const blm_chat_role *role = blm_turn_role(e);
    if (role && role->trim == BLM_TRIM_PARTS) blm_input_cut(&e->input, before->text_end);
}

BLM_PRIVATE void blm_end_picture(bluelm *e)
{
    e->turns.empty = 0;
    e->turns.part_empty = 1;
    e->input.content_from = e->input.text_bytes;
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

/* Whether the next blank of a text is at the beginning of what the template trims. */
static int blm_turn_trims_start(const bluelm *e)
{
    const blm_chat_role *role = blm_turn_role(e);
    if (!role || role->trim == BLM_TRIM_NOTHING) return 0;
    return role->trim == BLM_TRIM_PARTS ? e->turns.part_empty : e->turns.empty;
}

/* Adds words of the open turn, or of none. */
static int blm_add_words(bluelm *engine, const char *utf8, size_t bytes, int markup,
                         bluelm_error *err)
{
    blm_call before;
    blm_call_begin(&before, engine);
    int code = bytes && !utf8 ? blm_fail_null(err, "text") : blm_input_open(engine, err);
    if (!bytes ||
        (engine->turns.open != BLM_TURN_NONE && blm_turn_drops(engine, engine->turns.open)))
        return blm_call_end(engine, &before, code);
    if (code >= 0) code = blm_begin_words(engine, err);
    if (code >= 0)
        code = markup ? blm_input_markup(&engine->input, utf8, bytes, err)
                      : blm_input_text(&engine->input, utf8, bytes, err);
    if (code >= 0) code = blm_input_check_room(&engine->input, err);
    return blm_call_end(engine, &before, code);
}

int bluelm_add_text(bluelm *engine, const char *utf8, size_t bytes, bluelm_error *err)
{
    while (bytes && utf8 && blm_turn_trims_start(engine) && blm_chat_is_blank(*utf8))
        utf8++, bytes--;
    return blm_add_words(engine, utf8, bytes, 0, err);
}

int bluelm_add_markup(bluelm *engine, const char *utf8, size_t bytes, bluelm_error *err)
{
    return blm_add_words(engine, utf8, bytes, 1, err);
}

int bluelm_add_tokens(bluelm *engine, const int32_t *tokens, size_t count, bluelm_error *err)
{
    blm_call before;
    blm_call_begin(&before, engine);
    int code = BLUELM_OK;
    if (!engine->has_language)
        code = blm_fail(err, BLUELM_E_STATE, "llm: a vocabulary without a network", 1, 0, 0);
    if (code >= 0 && count && !tokens) code = blm_fail_null(err, "tokens");
    blm_answer_close(engine);
    for (size_t i = 0; i < count && code >= 0; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= engine->language.n_vocab)
            code = blm_fail_token(err, tokens[i], engine->language.n_vocab);
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
    engine->stops.held.found = 0;
    engine->made_tokens = 0;
    engine->max_new_tokens = max_tokens;
    return BLUELM_OK;
}

int64_t bluelm_context_ids(const bluelm *engine, int32_t *tokens, size_t max_tokens)
{
    return blm_input_ids(&engine->input, tokens, tokens ? max_tokens : 0);
}
