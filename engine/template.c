/* The chat template in use: the file's, the one asked for by name, or the caller's own. */
#include "engine.h"

/* Most bytes of one text of a caller's template, and of a date: closing a turn writes a few
 * of them at once (BLM_MARKUP_BYTES). */
#define BLM_OWN_TEXT_BYTES 120u

static int blm_check_text(const char *text, const char *name, bluelm_error *err)
{
    size_t bytes = text ? blm_text_bytes(text) : 0;
    if (bytes <= BLM_OWN_TEXT_BYTES) return BLUELM_OK;
    return blm_fail(err, BLUELM_E_ARG, name, BLM_OWN_TEXT_BYTES, bytes, 0);
}

BLM_PRIVATE int blm_layout_own_chat(blm_layout *l, bluelm_error *err)
{
    const bluelm_chat_texts *own = l->config.chat_texts;
    int code = blm_check_text(l->config.date, "bytes of date", err);
    if (!own || code < 0) return code;
    l->chat = l->e ? &l->e->own_chat : NULL;
    if (l->e) l->e->own_chat.name = "own";
    for (int role = 0; role < 3 && code >= 0; role++) {
        if (l->e)
            l->e->own_chat.role[role] =
                (blm_chat_role){.prefix = own->before[role], .suffix = own->after[role]};
        code = blm_check_text(own->before[role], "bytes of chat_texts", err);
        if (code >= 0) code = blm_check_text(own->after[role], "bytes of chat_texts", err);
    }
    return code;
}

const char *bluelm_chat_template_name(uint32_t index)
{
    const blm_chat_template *t = blm_chat_at(index);
    return t ? t->name : NULL;
}

BLM_PRIVATE void blm_guard_turns(blm_vocab *v, const blm_chat_template *t)
{
    if (!t) return;
    const char *texts[13] = {t->start, t->user_first, t->user_after_system};
    for (int role = 0; role < 3; role++) {
        texts[3 * role + 3] = t->role[role].prefix;
        texts[3 * role + 4] = t->role[role].gap;
        texts[3 * role + 5] = t->role[role].suffix;
    }
    texts[12] = t->user_words;
    for (uint32_t i = 0; i < BLM_COUNT_OF(texts); i++)
        if (texts[i]) blm_vocab_guard(v, texts[i], blm_text_bytes(texts[i]));
    if (t->answer) blm_vocab_guard(v, t->answer, blm_text_bytes(t->answer));
}
