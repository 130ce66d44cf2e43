/* The classes of characters that tokenizers split text by. */
#ifndef BLM_UNICODE_H
#define BLM_UNICODE_H

#include "utf8.h"

/* Classes of characters: Unicode's general categories L, N, P and M, its White_Space
 * property, and the rest. BLM_CHAR_END stands for the end of the text. */
enum {
    BLM_CHAR_OTHER = 0,
    BLM_CHAR_LETTER = 1,
    BLM_CHAR_NUMBER = 2,
    BLM_CHAR_PUNCTUATION = 3,
    BLM_CHAR_MARK = 4,
    BLM_CHAR_SPACE = 5,
    BLM_CHAR_END = 6
};

/* The class of a character. */
BLM_PRIVATE uint32_t blm_char_class(uint32_t character);

#endif
