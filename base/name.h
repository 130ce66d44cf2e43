/* Names and subjects of errors, put together from parts; what does not fit is cut. */
#ifndef BLM_NAME_H
#define BLM_NAME_H

#include "base.h"

#define BLM_NAME_BYTES 96 /* above the 64 of a tensor's name and of an error's subject */

typedef struct blm_name {
    char text[BLM_NAME_BYTES]; /* 0-terminated */
    size_t bytes;
} blm_name;

/* Starts a name with a text; the other functions append. All return the name. */
BLM_PRIVATE blm_name *blm_name_start(blm_name *name, const char *text);
BLM_PRIVATE blm_name *blm_name_add(blm_name *name, const char *text);
BLM_PRIVATE blm_name *blm_name_add_string(blm_name *name, blm_string text);
BLM_PRIVATE blm_name *blm_name_add_number(blm_name *name, uint64_t number);

/* Subjects of errors alone: a build without texts does not put them together. */
#ifdef BLUELM_NO_ERROR_TEXT
typedef struct blm_subject {
    const char *text;
} blm_subject;

static inline BLM_UNUSED blm_subject *blm_subject_start(blm_subject *subject, const char *text)
{
    (void)text;
    subject->text = "";
    return subject;
}

static inline BLM_UNUSED blm_subject *blm_subject_add(blm_subject *subject, const char *text)
{
    (void)text;
    return subject;
}

static inline BLM_UNUSED blm_subject *blm_subject_add_string(blm_subject *subject,
                                                             blm_string text)
{
    (void)text;
    return subject;
}
#else
typedef blm_name blm_subject;
#define blm_subject_start      blm_name_start
#define blm_subject_add        blm_name_add
#define blm_subject_add_string blm_name_add_string
#endif

/* Fails with "before + value" as the subject, as in "llm: architecture mamba". */
BLM_PRIVATE int blm_fail_value(bluelm_error *err, int code, const char *before,
                               blm_string value);

#endif
