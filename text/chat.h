/* Chat templates: what a model was trained to see around each turn. GGUF files carry them
 * as Jinja programs; the few kinds in use are known here by the markers in that text. */
#ifndef BLM_CHAT_H
#define BLM_CHAT_H

#include "../gguf/gguf.h"

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

/* All texts are trusted markup: special tokens in them, written out, become themselves.
 * A conversation is
 *   start, then per turn: prefix[role] CONTENT suffix[role]
 * and an answer is asked for by `answer`. The token that ends a model's answer is not
 * part of the conversation: the turn is closed by suffix[BLUELM_ASSISTANT], which has it.
 * A run of plain text that reaches from markup into content is best tokenized in one
 * piece, as the model was trained. */
typedef struct blm_chat_template {
    const char *name;      /* as bluelm.chat.template says it                        */
    const char *start;     /* once, before the first turn, unless the file adds BOS  */
    const char *prefix[3]; /* by BLUELM_SYSTEM, BLUELM_USER, BLUELM_ASSISTANT        */
    const char *suffix[3];
    const char *user_first;        /* instead of prefix[BLUELM_USER] at the start    */
    const char *user_after_system; /* instead of it straight after a system turn     */
    const char *answer;            /* opens the turn that the model is to write      */
    int trim; /* 1: spaces and line breaks at both ends of a turn's content go       */
} blm_chat_template;

/* Which kind a model's file asks for: the key bluelm.chat.template names it, else the text
 * of tokenizer.chat_template tells; a text that no kind fits is BLM_CHAT_NONE.
 *   kind  out: BLM_CHAT_*
 * Errors: BLUELM_E_UNSUPPORTED (bluelm.chat.template has a name that is not known: the
 * subject says it), BLUELM_E_FORMAT (a key is no string). */
BLM_PRIVATE int blm_chat_kind(const blm_gguf *g, int *kind, bluelm_error *err);

/* The template of a kind; NULL for BLM_CHAT_NONE and what is no kind. */
BLM_PRIVATE const blm_chat_template *blm_chat_get(int kind);

/* The text before a turn's content.
 *   before  the role of the turn before, -1 at the start of a conversation */
BLM_PRIVATE const char *blm_chat_prefix(const blm_chat_template *t, bluelm_role role,
                                        int before);

/* Whether a template that trims drops this byte at the ends of a text. */
BLM_PRIVATE int blm_chat_is_blank(char c);

#endif
