/* Chat templates: what a model was trained to see around each turn. */
#ifndef BLM_CHAT_H
#define BLM_CHAT_H

#include "../base/base.h"

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

/* The text before a turn's content.
 *   before  the role of the turn before, -1 at the start of a conversation */
BLM_PRIVATE const char *blm_chat_prefix(const blm_chat_template *t, bluelm_role role,
                                        int before);

/* Whether a template that trims drops this byte at the ends of a text. */
BLM_PRIVATE int blm_chat_is_blank(char c);

#endif
