/* The chat templates in use. GGUF files carry them as Jinja programs; they are known here by
 * the markers in that text. */
#ifndef BLM_TEMPLATES_H
#define BLM_TEMPLATES_H

#include "../gguf/gguf.h"
#include "../text/chat.h"

enum {
    BLM_CHAT_NONE = 0, /* no template: completion only */
    BLM_CHAT_CHATML,
    BLM_CHAT_LLAMA_2,       /* system text between <<SYS>> and <</SYS>>  */
    BLM_CHAT_LLAMA_2_BOS,   /* the same, <s> before every user turn but the first */
    BLM_CHAT_LLAMA_2_STRIP, /* the same as LLAMA_2, texts trimmed        */
    BLM_CHAT_LLAMA_2_PLAIN, /* system text without a frame               */
    BLM_CHAT_VICUNA,
    BLM_CHAT_VICUNA_ORCA,
    BLM_CHAT_PHI_3,
    BLM_CHAT_LLAMA_3,
    BLM_CHAT_SMOLVLM,
    BLM_CHAT_BLUELM,
    BLM_CHAT_COUNT
};

/* Which kind a model's file asks for: the key bluelm.chat.template names it, else the text
 * of tokenizer.chat_template tells; a text that no kind fits is BLM_CHAT_NONE.
 *   kind  out: BLM_CHAT_*
 * Errors: BLUELM_E_UNSUPPORTED (bluelm.chat.template has a name that is not known: the
 * subject says it), BLUELM_E_FORMAT (a key is no string). */
BLM_PRIVATE int blm_chat_kind(const blm_gguf *g, int *kind, bluelm_error *err);

/* The template of a kind; NULL for BLM_CHAT_NONE and what is no kind. */
BLM_PRIVATE const blm_chat_template *blm_chat_get(int kind);

#endif
