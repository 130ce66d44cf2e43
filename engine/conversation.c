/* What is added becomes a queue of tokens. */
#include "engine.h"

BLM_PRIVATE void blm_call_begin(blm_call *before, bluelm *e)
{
    before->input = blm_input_begin(&e->input);
    before->turns = e->turns;
    before->generating = e->generating;
    before->stream = e->stream;
    before->held = e->stops.held;
    before->text_end = blm_turn_text_end(e);
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

/* Adds words of the open turn, or of none. */
static int blm_add_words(bluelm *engine, const char *utf8, size_t bytes, int markup,
                         bluelm_error *err)
{
    blm_call before;
    blm_call_begin(&before, engine);
    int code = bytes && !utf8 ? blm_fail_null(err, "text") : blm_input_open(engine, err);
    if (!bytes || blm_turn_drops_words(engine)) return blm_call_end(engine, &before, code);
    if (code >= 0) code = blm_turn_begin_words(engine, err);
    if (code >= 0)
        code = markup ? blm_input_markup(&engine->input, utf8, bytes, err)
                      : blm_input_text(&engine->input, utf8, bytes, err);
    if (code >= 0) code = blm_input_check_room(&engine->input, err);
    return blm_call_end(engine, &before, code);
}

int bluelm_add_text(bluelm *engine, const char *utf8, size_t bytes, bluelm_error *err)
{
    while (bytes && utf8 && blm_turn_trims(engine, *utf8))
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
    int code = blm_turn_answer(engine, err);
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
