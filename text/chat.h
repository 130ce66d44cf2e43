/* Chat templates: what a model was trained to see around each turn. */
#ifndef BLM_CHAT_H
#define BLM_CHAT_H

#include "../base/base.h"

/* What a turn's content loses at its ends: spaces and line breaks. */
enum {
    BLM_TRIM_NOTHING = 0,
    BLM_TRIM_TURN = 1, /* before its first word and behind its last              */
    BLM_TRIM_PARTS = 2 /* the same, and on both sides of every picture           */
};

/* How turns of one role are written: prefix CONTENT suffix, or prefix gap CONTENT suffix
 * where the content begins with text and not with a picture. NULL is nothing. */
typedef struct blm_chat_role {
    const char *prefix, *gap, *suffix;
    uint32_t trim; /* BLM_TRIM_* */
} blm_chat_role;

/* All texts are trusted markup: special tokens in them, written out, become themselves.
 * Three words in braces stand for what the file or the user knows: {bos} and {eos} for the
 * vocabulary's tokens, {date} for the configuration's date.
 *
 * A conversation is
 *   start, then the turns, each in its role's texts
 * and an answer is asked for by `answer`. The token that ends a model's answer is not part
 * of the conversation: the turn is closed by the assistant's suffix, which has it. A run of
 * plain text that reaches from markup into content is best tokenized in one piece, as the
 * model was trained. */
typedef struct blm_chat_template {
    const char *name;
    const char *note;  /* where it departs from the models' own templates; NULL: nowhere   */
    const char *start; /* once, before the first turn, unless the file adds BOS            */
    const char *system_default; /* the system turn of conversations that begin without one;
                                    NULL: none                                             */
    const char *date_default;   /* for {date}; NULL: the default system turn that asks for
                                    a date is left out unless the configuration has one    */
    blm_chat_role role[3];      /* by BLUELM_SYSTEM, BLUELM_USER, BLUELM_ASSISTANT          */
    const char *user_first;     /* instead of the user's prefix at the start               */
    const char *user_after_system; /* instead of it straight after a system turn           */
    const char *user_words; /* before the first text of a user's turn, behind the pictures that
                               it begins with, which no line break follows then            */
    const char *answer; /* opens the turn that the model is to write; NULL: the prefix      */
    int drops_system;   /* 1: system turns come to nothing                                  */
} blm_chat_template;

/* The text before a turn's content.
 *   before  the role of the turn before, -1 at the start of a conversation */
BLM_PRIVATE const char *blm_chat_prefix(const blm_chat_template *t, bluelm_role role,
                                        int before);

/* The system turn that a conversation begins with when its first turn is another.
 *   date  the configuration's, NULL: none
 * Returns its content, or NULL when there is no such turn. */
BLM_PRIVATE const char *blm_chat_default_system(const blm_chat_template *t, const char *date);

/* The next piece of a template's text: up to `{bos}`, `{eos}` or `{date}`, or one of these.
 *   text   moves on behind the piece
 *   piece  out: the piece as it is written
 * Returns 0 at the end, else one of BLM_CHAT_TEXT .. */
enum { BLM_CHAT_END = 0, BLM_CHAT_TEXT, BLM_CHAT_BOS, BLM_CHAT_EOS, BLM_CHAT_DATE };
BLM_PRIVATE int blm_chat_next(const char **text, blm_string *piece);

/* Whether a template that trims drops this byte at the ends of a text. */
BLM_PRIVATE int blm_chat_is_blank(char c);

#endif
