/* In the place of the language model, in a build without it: pictures are embedded, and that is
 * all. */
#include "engine.h"

#ifdef BLUELM_NO_LANGUAGE

static int blm_no_language(bluelm_error *err)
{
    return blm_fail(err, BLUELM_E_UNSUPPORTED, "language models (built without)", 0, 0, 0);
}

/* ---- Layout ------------------------------------------------------------------------------ */

BLM_PRIVATE BLM_COLD int blm_layout_llm(blm_layout *l, uint64_t *mark, bluelm_error *err)
{
    (void)mark;
    l->bos = l->eos = l->eot = -1;
    if (l->weights->llm) return blm_no_language(err);
    if (!l->weights->mmproj) return blm_fail_null(err, "weights.mmproj");
    return blm_config_resolve_context(&l->config, &l->language, err);
}

BLM_PRIVATE BLM_COLD void blm_layout_state(blm_layout *l, uint64_t *snapshot_bytes)
{
    (void)l;
    *snapshot_bytes = 0;
}

BLM_PRIVATE BLM_COLD void blm_layout_language(blm_layout *l, const blm_compute *c)
{
    (void)l, (void)c;
}

BLM_PRIVATE blm_mark *blm_marks_take(blm_arena *arena, uint32_t count, uint32_t n_vocab,
                                     uint64_t state_bytes)
{
    (void)arena, (void)count, (void)n_vocab, (void)state_bytes;
    return NULL;
}

/* Texts around pictures are words of a vocabulary. */
BLM_PRIVATE BLM_COLD int blm_image_markup_read(blm_image_markup *m, const blm_gguf *g,
                                               const blm_projector *p, bluelm_error *err)
{
    (void)g, (void)p, (void)err;
    memset(m, 0, sizeof *m);
    return BLUELM_OK;
}

BLM_PRIVATE void blm_layout_markup(blm_layout *l)
{
    (void)l;
}

/* ---- The engine -------------------------------------------------------------------------- */

BLM_PRIVATE void blm_engine_clear(bluelm *e)
{
    blm_encode_finish_ahead(e);
    memset(&e->encoding, 0, sizeof e->encoding);
    e->embedding = 0;
}

void bluelm_reset(bluelm *engine)
{
    blm_engine_clear(engine);
}

BLM_PRIVATE int blm_step_given(bluelm *e, bluelm_event *event)
{
    (void)e, (void)event;
    return 0;
}

int bluelm_step(bluelm *engine, bluelm_event *event, bluelm_error *err)
{
    memset(event, 0, sizeof *event);
    if (!engine->embedding || engine->encoding.done) return 0;
    return blm_step_embed(engine, event, err);
}

/* ---- Calls ------------------------------------------------------------------------------- */

int bluelm_begin_turn(bluelm *engine, bluelm_role role, bluelm_error *err)
{
    (void)engine, (void)role;
    return blm_no_language(err);
}

int bluelm_add_text(bluelm *engine, const char *utf8, size_t bytes, bluelm_error *err)
{
    (void)engine, (void)utf8, (void)bytes;
    return blm_no_language(err);
}

int bluelm_add_markup(bluelm *engine, const char *utf8, size_t bytes, bluelm_error *err)
{
    (void)engine, (void)utf8, (void)bytes;
    return blm_no_language(err);
}

int bluelm_add_tokens(bluelm *engine, const int32_t *tokens, size_t count, bluelm_error *err)
{
    (void)engine, (void)tokens, (void)count;
    return blm_no_language(err);
}

int bluelm_add_image(bluelm *engine, const bluelm_image *image, bluelm_tile_grid *grid,
                     bluelm_error *err)
{
    (void)engine, (void)image, (void)grid;
    return blm_no_language(err);
}

int bluelm_add_image_rows(bluelm *engine, const float *rows, uint32_t columns,
                          uint32_t rows_count, bluelm_error *err)
{
    (void)engine, (void)rows, (void)columns, (void)rows_count;
    return blm_no_language(err);
}

int bluelm_generate(bluelm *engine, uint32_t max_tokens, bluelm_error *err)
{
    (void)engine, (void)max_tokens;
    return blm_no_language(err);
}

int bluelm_mark(bluelm *engine, uint32_t mark, bluelm_error *err)
{
    (void)engine, (void)mark;
    return blm_no_language(err);
}

int bluelm_rewind(bluelm *engine, uint32_t mark, bluelm_error *err)
{
    (void)engine, (void)mark;
    return blm_no_language(err);
}

int bluelm_set_sampling(bluelm *engine, const bluelm_sampling *sampling, bluelm_error *err)
{
    (void)engine, (void)sampling;
    return blm_no_language(err);
}

int bluelm_set_stop(bluelm *engine, const char *const *strings, size_t count, bluelm_error *err)
{
    (void)engine, (void)strings, (void)count;
    return blm_no_language(err);
}

int64_t bluelm_tokenize(bluelm *engine, const char *utf8, size_t bytes, int special,
                        int32_t *tokens, size_t max_tokens, bluelm_error *err)
{
    (void)engine, (void)utf8, (void)bytes, (void)special, (void)tokens, (void)max_tokens;
    return blm_no_language(err);
}

int64_t bluelm_detokenize(bluelm *engine, int32_t token, char *text, size_t bytes,
                          bluelm_error *err)
{
    (void)engine, (void)token, (void)text, (void)bytes;
    return blm_no_language(err);
}

int64_t bluelm_context_ids(const bluelm *engine, int32_t *tokens, size_t max_tokens)
{
    (void)engine, (void)tokens, (void)max_tokens;
    return 0;
}

const float *bluelm_logits(const bluelm *engine, uint32_t *n_vocab)
{
    (void)engine;
    if (n_vocab) *n_vocab = 0;
    return NULL;
}

const char *bluelm_chat_template_name(uint32_t index)
{
    (void)index;
    return NULL;
}

#endif
