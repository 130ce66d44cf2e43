/* Strings that end an answer. Text that may become one is held back until it is decided. */
#ifndef BLM_STOP_H
#define BLM_STOP_H

#include "utf8.h"

#define BLM_STOP_COUNT 8  /* most strings            */
#define BLM_STOP_BYTES 63 /* most bytes of a string  */

/* The end of the text so far that begins a stop string, and is not given out. */
typedef struct blm_stop_held {
    char text[BLM_STOP_BYTES];
    uint8_t bytes;
    uint8_t found; /* 1: a stop string came; what follows is dropped */
} blm_stop_held;

/* Cleared to zero there are no strings, and text passes through. */
typedef struct blm_stops {
    char text[BLM_STOP_COUNT][BLM_STOP_BYTES];
    uint8_t bytes[BLM_STOP_COUNT]; /* of each string */
    uint32_t count;
    blm_stop_held held;
} blm_stops;

/* Replaces the strings, each 0-terminated; what is held stays. On an error nothing changes.
 * Errors: BLUELM_E_ARG (more than BLM_STOP_COUNT; one that is empty, longer than
 * BLM_STOP_BYTES or no UTF-8). */
BLM_PRIVATE int blm_stops_set(blm_stops *s, const char *const *strings, size_t count,
                              bluelm_error *err);

/* Takes text, whole characters at a time, and gives what cannot be part of a stop string; up
 * to the first of them when one is complete: then s->held.found is set.
 *   out  may overlap `text` from BLM_STOP_BYTES + 1 bytes before it on; as many bytes as that
 *        and `bytes` are enough
 * Returns the number of bytes written. */
BLM_PRIVATE size_t blm_stops_push(blm_stops *s, const char *text, size_t bytes, char *out);

/* The end of the text: what is held is no stop string. Returns the number of bytes written,
 * at most BLM_STOP_BYTES. */
BLM_PRIVATE size_t blm_stops_flush(blm_stops *s, char *out);

#endif
