/* Turns: what the chat template puts around them. */
#include "engine.h"

/* ---- Words of the template --------------------------------------------------------------- */

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

/* The open turn's role in the template, NULL without one. */
static const blm_chat_role *blm_turn_role(const bluelm *e)
{
    return e->turns.open == BLM_TURN_NONE ? NULL : &e->chat->role[e->turns.open];
}

static int blm_turn_drops(const bluelm *e, int role)
{
    return role == BLUELM_SYSTEM && e->chat->drops_system;
}

/* ---- Opening and closing ----------------------------------------------------------------- */

/* Where the open turn's waiting text ends without the spaces that end it. */
static uint32_t blm_text_end(const blm_input *in)
{
    uint32_t end = in->text_bytes;
    while (end > in->content_from && blm_chat_is_blank(in->text[end - 1]))
        end--;
    return end;
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
    e->turns.empty = e->turns.part_empty = e->turns.wordless = 1;
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

BLM_PRIVATE int blm_turn_answer(bluelm *e, bluelm_error *err)
{
    if (e->turns.open == BLM_TURN_NONE || e->turns.open == BLUELM_ASSISTANT) return BLUELM_OK;
    return blm_open_turn(e, BLUELM_ASSISTANT, e->chat->answer, err);
}

/* ---- Inside a turn ----------------------------------------------------------------------- */

BLM_PRIVATE uint32_t blm_turn_text_end(const bluelm *e)
{
    const blm_chat_role *role = blm_turn_role(e);
    return role && role->trim ? blm_text_end(&e->input) : e->input.text_bytes;
}

BLM_PRIVATE int blm_turn_drops_words(const bluelm *e)
{
    return e->turns.open != BLM_TURN_NONE && blm_turn_drops(e, e->turns.open);
}

BLM_PRIVATE int blm_turn_trims(const bluelm *e, char c)
{
    const blm_chat_role *role = blm_turn_role(e);
    if (!role || role->trim == BLM_TRIM_NOTHING || !blm_chat_is_blank(c)) return 0;
    return role->trim == BLM_TRIM_PARTS ? e->turns.part_empty : e->turns.empty;
}

BLM_PRIVATE int blm_turn_begin_words(bluelm *e, bluelm_error *err)
{
    const blm_chat_role *role = blm_turn_role(e);
    const int words = e->turns.open == BLUELM_USER && e->turns.wordless && e->chat->user_words;
    const int gap = role && e->turns.empty;
    int code = BLUELM_OK;
    if (gap) code = blm_add_template(e, role->gap, err);
    if (words && code >= 0) code = blm_add_template(e, e->chat->user_words, err);
    if (gap || words) e->input.content_from = e->input.text_bytes;
    e->turns.empty = e->turns.part_empty = e->turns.wordless = 0;
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
