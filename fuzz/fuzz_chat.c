/* Which template a Jinja text is: any text ends in a template of the list or in none, and its
 * name finds it again. What a template says is walked through to its end. */
#include "../families/templates.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The pieces of a template's text come to an end, and all lie in it. */
static void fuzz_walk(const char *text)
{
    const char *at = text, *end = text;
    blm_string piece;
    if (!text) return;
    while (*end)
        end++;
    while (blm_chat_next(&at, &piece) != BLM_CHAT_END)
        if (piece.text < text || piece.text + piece.bytes > end || at > end) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const blm_string text = {(const char *)data, bytes};
    const blm_chat_template *t = blm_chat_recognise(text);
    const blm_chat_template *named = blm_chat_named(text);
    uint32_t at = 0;
    if (named &&
        named != blm_chat_named((blm_string){named->name, blm_text_bytes(named->name)}))
        abort();
    if (!t) return 0;
    while (blm_chat_at(at) && blm_chat_at(at) != t)
        at++;
    if (!blm_chat_at(at)) abort();
    if (blm_chat_named((blm_string){t->name, blm_text_bytes(t->name)}) != t) abort();
    fuzz_walk(t->start);
    fuzz_walk(t->system_default);
    fuzz_walk(t->answer);
    for (int role = 0; role < 3; role++) {
        fuzz_walk(t->role[role].prefix);
        fuzz_walk(t->role[role].suffix);
        fuzz_walk(blm_chat_prefix(t, (bluelm_role)role, bytes ? data[0] % 4 - 1 : -1));
    }
    return 0;
}
