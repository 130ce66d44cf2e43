/* The chat templates in use. GGUF files carry them as Jinja programs; they are known here by
 * marks in that text. */
#ifndef BLM_TEMPLATES_H
#define BLM_TEMPLATES_H

#include "../gguf/gguf.h"
#include "../text/chat.h"

/* The template for a model's file, NULL for none. In this order: the name that the user
 * chose, the file's key bluelm.chat.template, the text of tokenizer.chat_template. A text
 * that no template fits is none, and so is the name "none".
 *   chosen  the user's, NULL: the file's
 *   chat    out
 * Errors: BLUELM_E_ARG (the name chosen is not known: the subject says it),
 * BLUELM_E_UNSUPPORTED (the file's name is not), BLUELM_E_FORMAT (a key is no string). */
BLM_PRIVATE BLM_COLD int blm_chat_read(const blm_gguf *g, const char *chosen,
                                       const blm_chat_template **chat, bluelm_error *err);

/* The template of a name, or of a name that other programs use for it; NULL if there is
 * none. */
BLM_PRIVATE const blm_chat_template *blm_chat_named(blm_string name);

/* The template that a Jinja text is, NULL if it is not known. */
BLM_PRIVATE const blm_chat_template *blm_chat_recognise(blm_string jinja);

/* The templates one after another, NULL behind the last. */
BLM_PRIVATE const blm_chat_template *blm_chat_at(uint32_t index);

#endif
