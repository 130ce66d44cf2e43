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

BLM_PRIVATE void blm_call_begin(blm_call *before, bluelm *e)
{
    before->input = blm_input_begin(&e->input);
    before->turns = e->turns;
    before->generating = e->generating;
    before->stream = e->stream;
    before->text_end = blm_text_end(&e->input);
    memcpy(before->spaces, e->input.text + before->text_end,
           BLM_MIN(sizeof before->spaces, e->input.text_bytes - before->text_end));
}

BLM_PRIVATE int blm_call_end(bluelm *e, const blm_call *before, int code)
{
    if (code < 0) {
        e->turns = before->turns;
        e->generating = before->generating;
        e->stream = before->stream;
        memcpy(e->input.text + before->text_end, before->spaces,
               BLM_MIN(sizeof before->spaces, before->input.text_bytes - before->text_end));
    }
    return blm_input_end(&e->input, &before->input, code);
}

BLM_PRIVATE void blm_engine_guard_turns(bluelm *e)
{
    const blm_chat_template *t = e->chat;
    if (!t) return;
    const char *const texts[] = {t->start,      t->answer,           t->prefix[0], t->prefix[1],
                                 t->prefix[2],  t->suffix[0],        t->suffix[1], t->suffix[2],
                                 t->user_first, t->user_after_system};
    for (uint32_t i = 0; i < BLM_COUNT_OF(texts); i++)
        if (texts[i]) blm_vocab_guard(&e->vocab, texts[i], blm_text_bytes(texts[i]));
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

/* What comes next is not the rest of an answer. */
static void blm_answer_close(bluelm *e)
{
    e->generating = 0;
    memset(&e->stream, 0, sizeof e->stream);
}

BLM_PRIVATE int blm_input_open(bluelm *e, bluelm_error *err)
{
    if (!e->has_language)
        return blm_fail(err, BLUELM_E_STATE, "llm: a vocabulary without a network", 1, 0, 0);
    blm_answer_close(e);
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
    e->turns.start = (blm_turn_start){e->input.count, e->input.text_bytes - e->input.text_from,
                                      e->turns.last};
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
    engine->made_tokens = 0;
    engine->max_new_tokens = max_tokens;
    return BLUELM_OK;
}
