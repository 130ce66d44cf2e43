#include "chat.h"

BLM_PRIVATE const char *blm_chat_prefix(const blm_chat_template *t, bluelm_role role,
                                        int before)
{
    if (role == BLUELM_USER && before < 0 && t->user_first != NULL) return t->user_first;
    if (role == BLUELM_USER && before == BLUELM_SYSTEM && t->user_after_system != NULL)
        return t->user_after_system;
    return t->prefix[role];
}

BLM_PRIVATE int blm_chat_is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}
