/* In the place of chat templates, in a build without them: completion alone, of text and
 * markup as they are added. */
#include "engine.h"

#ifdef BLUELM_NO_CHAT

static int blm_no_chat(bluelm_error *err)
{
    return blm_fail(err, BLUELM_E_UNSUPPORTED, "chat templates (built without)", 0, 0, 0);
}

/* As if no template were known; one that is asked for is refused, but for "none". */
BLM_PRIVATE BLM_COLD int blm_chat_read(const blm_gguf *g, const char *chosen,
                                       const blm_chat_template **chat, bluelm_error *err)
{
    const blm_string name = {chosen, chosen ? blm_text_bytes(chosen) : 0};
    (void)g;
    *chat = NULL;
    return !chosen || blm_string_is(name, "none") ? BLUELM_OK : blm_no_chat(err);
}

BLM_PRIVATE int blm_layout_own_chat(blm_layout *l, bluelm_error *err)
{
    return l->config.chat_texts ? blm_no_chat(err) : BLUELM_OK;
}

BLM_PRIVATE void blm_guard_turns(blm_vocab *v, const blm_chat_template *t)
{
    (void)v, (void)t;
}

const char *bluelm_chat_template_name(uint32_t index)
{
    (void)index;
    return NULL;
}

int bluelm_begin_turn(bluelm *engine, bluelm_role role, bluelm_error *err)
{
    (void)engine, (void)role;
    return blm_no_chat(err);
}

/* ---- No turn is ever open ---------------------------------------------------------------- */

BLM_PRIVATE uint32_t blm_turn_text_end(const bluelm *e)
{
    return e->input.text_bytes;
}

BLM_PRIVATE int blm_turn_drops_words(const bluelm *e)
{
    (void)e;
    return 0;
}

BLM_PRIVATE int blm_turn_trims(const bluelm *e, char c)
{
    (void)e, (void)c;
    return 0;
}

BLM_PRIVATE int blm_turn_begin_words(bluelm *e, bluelm_error *err)
{
    (void)e, (void)err;
    return BLUELM_OK;
}

BLM_PRIVATE int blm_turn_answer(bluelm *e, bluelm_error *err)
{
    (void)e, (void)err;
    return BLUELM_OK;
}

BLM_PRIVATE void blm_begin_picture(bluelm *e, const blm_call *before)
{
    (void)e, (void)before;
}

BLM_PRIVATE void blm_end_picture(bluelm *e)
{
    e->input.content_from = e->input.text_bytes;
}

#endif
