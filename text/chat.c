#include "chat.h"

BLM_PRIVATE const char *blm_chat_prefix(const blm_chat_template *t, bluelm_role role,
                                        int before)
{
    if (role == BLUELM_USER && before < 0 && t->user_first) return t->user_first;
    if (role == BLUELM_USER && before == BLUELM_SYSTEM && t->user_after_system)
        return t->user_after_system;
    return t->role[role].prefix;
}

/* What stands at the start of a text. */
static int blm_chat_word(const char *text, size_t *bytes)
{
    static const char *const words[] = {"{bos}", "{eos}", "{date}"};
    for (size_t i = 0; i < BLM_COUNT_OF(words); i++) {
        size_t n = 0;
        while (words[i][n] && text[n] == words[i][n])
            n++;
        *bytes = n;
        if (!words[i][n]) return BLM_CHAT_BOS + (int)i;
    }
    return BLM_CHAT_TEXT;
}

BLM_PRIVATE int blm_chat_next(const char **text, blm_string *piece)
{
    size_t bytes = 0;
    const char *from = *text;
    if (!from || !*from) return BLM_CHAT_END;
    int kind = blm_chat_word(from, &bytes);
    if (kind == BLM_CHAT_TEXT) {
        size_t word;
        for (bytes = 1; from[bytes] && blm_chat_word(from + bytes, &word) == BLM_CHAT_TEXT;)
            bytes++;
    }
    *piece = (blm_string){from, bytes};
    *text = from + bytes;
    return kind;
}

/* Whether a text asks for the date. */
static int blm_chat_is_dated(const char *text)
{
    blm_string piece;
    int kind;
    while ((kind = blm_chat_next(&text, &piece)) != BLM_CHAT_END)
        if (kind == BLM_CHAT_DATE) return 1;
    return 0;
}

BLM_PRIVATE const char *blm_chat_default_system(const blm_chat_template *t, const char *date)
{
    if (!t->system_default || date || t->date_default) return t->system_default;
    return blm_chat_is_dated(t->system_default) ? NULL : t->system_default;
}

BLM_PRIVATE int blm_chat_is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}
