/* UTF-8 in and out. */
#ifndef BLM_UTF8_H
#define BLM_UTF8_H

#include "../base/base.h"

#define BLM_CHAR_REPLACEMENT 0xfffdu

/* Decodes the character at `text`, of which `bytes` >= 1 bytes are there.
 * Returns its length. A byte that begins no valid character (overlong forms and
 * surrogates are none) is U+FFFD of length 1. */
BLM_PRIVATE uint32_t blm_utf8_decode(const char *text, size_t bytes, uint32_t *character);

/* Encodes a character below 0x110000. Returns its length, 1 .. 4. */
BLM_PRIVATE uint32_t blm_utf8_encode(uint32_t character, char out[4]);

/* Turns the bytes of one token after another into text that is valid at every moment:
 * a character that is not complete yet is held back. Cleared to zero it is ready. */
typedef struct blm_utf8_stream {
    uint8_t held[8];
    uint32_t count; /* bytes held, 0 .. 3 */
} blm_utf8_stream;

/* Room that `bytes` bytes may need: each may become a U+FFFD, those held too. */
#define BLM_UTF8_ROOM(bytes) (3 * (bytes) + 9)

/* Takes bytes, gives whole valid characters. Bytes that can never become one are
 * replaced by U+FFFD, one for each longest beginning of a character.
 *   out  `room` bytes, BLM_UTF8_ROOM(bytes) are always enough; a character that does
 *        not fit is dropped whole
 * Returns the number of bytes written. */
BLM_PRIVATE size_t blm_utf8_push(blm_utf8_stream *s, const char *bytes, size_t count, char *out,
                                 size_t room);

/* The end of the text: what is held can no longer become a character and is replaced
 * by one U+FFFD. Returns the number of bytes written, 0 or 3. */
BLM_PRIVATE size_t blm_utf8_flush(blm_utf8_stream *s, char *out, size_t room);

#endif
