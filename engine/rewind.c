/* Going back: marks, and turns that are dropped. */
#include "engine.h"

/* ---- Cutting ----------------------------------------------------------------------------- */

BLM_PRIVATE void blm_engine_cut(bluelm *e, uint32_t count)
{
    blm_embed_end(e);
    if (e->image_count && e->images[0].first >= count) {
        blm_encode_finish_ahead(e);
        memset(&e->encoding, 0, sizeof e->encoding);
    }
    while (e->image_count && e->images[e->image_count - 1].first >= count)
        e->image_count--;
    /* A chunk never reaches over a mark, so that it lies before or behind as a whole. */
    if (e->chunk.count && e->read_tokens >= count) e->chunk.count = 0;
    e->input.count = BLM_MIN(e->input.count, count);
    e->input.text_from = e->input.content_from = 0;
    blm_input_cut(&e->input, 0);
    e->generating = 0;
    e->made_tokens = 0;
    blm_stream_clear(e);
    for (uint32_t i = 0; i < e->config.marks; i++)
        e->marks[i].set &= e->marks[i].count <= count;
}

/* The first token of a turn. The text that waited when it began became the first tokens
 * behind start->tokens; one that reaches into the turn goes with it. */
static uint32_t blm_turn_first_token(const bluelm *e, const blm_turn_start *start)
{
    const blm_input *in = &e->input;
    uint32_t at = start->tokens;
    int64_t left = start->waiting_bytes;
    while (at < in->count && in->tokens[at] >= 0 && left > 0) {
        left -= blm_token_text(&e->vocab, in->tokens[at], NULL, 0);
        if (left < 0) break;
        at++;
    }
    return at;
}

BLM_PRIVATE void blm_engine_drop_turn(bluelm *e, const blm_turn_start *start)
{
    uint32_t first = blm_turn_first_token(e, start);
    const int whole = first >= e->read_tokens || blm_state_is_plain(&e->state);
    blm_engine_cut(e, whole ? first : e->read_tokens);
    blm_encode_finish_ahead(e);
    memset(&e->encoding, 0, sizeof e->encoding);
    e->image_count = 0;
    if (!whole) return; /* what was read of the turn cannot be forgotten */
    if (e->read_tokens > first) e->logits_ready = 0;
    e->read_tokens = e->batch_start = BLM_MIN(e->read_tokens, first);
    e->state.tokens = e->read_tokens;
    e->input.after_special = 1;
    e->turns = (blm_turns){
        .open = BLM_TURN_NONE, .last = start->last, .begun = e->turns.begun, .empty = 1};
}

/* ---- Marks ------------------------------------------------------------------------------- */

BLM_PRIVATE blm_mark *blm_marks_take(blm_arena *arena, uint32_t count, uint32_t n_vocab,
                                     uint64_t state_bytes)
{
    if (!count) return NULL;
    blm_mark *marks = (blm_mark *)blm_arena_take(arena, count, sizeof *marks);
    for (uint32_t i = 0; i < count; i++) {
        float *logits = (float *)blm_arena_take(arena, n_vocab, sizeof *logits);
        uint8_t *state = (uint8_t *)blm_arena_take(arena, state_bytes, 1);
        if (marks) marks[i] = (blm_mark){.logits = logits, .state = state};
    }
    return marks;
}

static int blm_mark_waits(const bluelm *e, const blm_mark *m)
{
    return m->set && !m->saved && m->count >= e->read_tokens;
}

BLM_PRIVATE uint32_t blm_marks_stop(const bluelm *e, uint32_t end)
{
    for (uint32_t i = 0; i < e->config.marks; i++)
        if (blm_mark_waits(e, &e->marks[i]) && e->marks[i].count > e->read_tokens)
            end = BLM_MIN(end, e->marks[i].count);
    return end;
}

BLM_PRIVATE int blm_marks_here(const bluelm *e)
{
    for (uint32_t i = 0; i < e->config.marks; i++)
        if (blm_mark_waits(e, &e->marks[i]) && e->marks[i].count == e->read_tokens) return 1;
    return 0;
}

BLM_PRIVATE void blm_marks_save(bluelm *e)
{
    for (uint32_t i = 0; i < e->config.marks; i++) {
        blm_mark *m = &e->marks[i];
        if (!blm_mark_waits(e, m) || m->count != e->read_tokens) continue;
        m->saved = 1;
        m->logits_ready = e->logits_ready;
        memcpy(m->logits, e->logits, e->language.n_vocab * sizeof *m->logits);
        if (!blm_state_is_plain(&e->state)) blm_state_save(&e->state, m->state);
    }
}

/* Checks a mark's number. */
static int blm_mark_check(const bluelm *e, uint32_t mark, bluelm_error *err)
{
    if (!e->has_language)
        return blm_fail(err, BLUELM_E_STATE, "llm: a vocabulary without a network", 1, 0, 0);
    if (mark < e->config.marks) return BLUELM_OK;
    if (!e->config.marks)
        return blm_fail(err, BLUELM_E_ARG, "mark: config marks says none", 0, 0, 0);
    return blm_fail(err, BLUELM_E_ARG, "mark (config marks)", e->config.marks - 1, mark, 0);
}

int bluelm_mark(bluelm *engine, uint32_t mark, bluelm_error *err)
{
    int code = blm_mark_check(engine, mark, err);
    if (code < 0) return code;
    blm_input before = blm_input_begin(&engine->input);
    code = blm_input_end(&engine->input, &before, blm_input_flush(&engine->input, err));
    if (code < 0) return code;
    blm_mark *m = &engine->marks[mark];
    m->set = 1;
    m->saved = 0;
    m->count = engine->input.count;
    m->after_special = engine->input.after_special;
    m->turns = engine->turns;
    if (!engine->chunk.count) blm_marks_save(engine);
    return BLUELM_OK;
}

int bluelm_rewind(bluelm *engine, uint32_t mark, bluelm_error *err)
{
    int code = blm_mark_check(engine, mark, err);
    if (code < 0) return code;
    const blm_mark *m = &engine->marks[mark];
    if (!m->set) return blm_fail(err, BLUELM_E_STATE, "rewind: no such mark is set", 1, 0, 0);
    blm_engine_cut(engine, m->count);
    engine->input.after_special = m->after_special;
    engine->turns = m->turns;
    if (!m->saved) return BLUELM_OK;
    engine->read_tokens = engine->batch_start = m->count;
    engine->logits_ready = m->logits_ready;
    memcpy(engine->logits, m->logits, engine->language.n_vocab * sizeof *m->logits);
    if (blm_state_is_plain(&engine->state))
        engine->state.tokens = m->count;
    else
        blm_state_restore(&engine->state, m->state);
    return BLUELM_OK;
}
