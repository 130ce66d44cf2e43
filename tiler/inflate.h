/* Inflates zlib data (RFC 1950, 1951) piece by piece: as many bytes as are asked for,
 * from input that may be scattered. Its state, window included, is one block of 80 KB
 * without pointers into itself. */
#ifndef BLM_INFLATE_H
#define BLM_INFLATE_H

#include "../base/base.h"

#ifndef BLUELM_NO_IMAGE_DECODE

#define BLM_INFLATE_WINDOW    32768u
#define BLM_INFLATE_BUFFER    (2 * BLM_INFLATE_WINDOW)
#define BLM_INFLATE_FAST_BITS 10

/* Points data at the next piece of input, of at least a byte; or returns 0 at the end
 * and leaves data alone. */
typedef int (*blm_inflate_more)(void *user, const uint8_t **data, size_t *bytes);

/* A prefix code: short codes by a table of what the next bits may be, all of them by the
 * number of codes of each length and the symbols in order of their codes. */
typedef struct blm_inflate_code {
    uint16_t fast[1 << BLM_INFLATE_FAST_BITS]; /* symbol << 4 | length, 0: longer */
    uint16_t count[16];
    uint16_t symbols[288];
} blm_inflate_code;

typedef struct blm_inflate {
    blm_inflate_more more;
    void *user;
    const uint8_t *next, *end; /* of the piece being read                          */
    uint64_t bits;             /* taken from it, the next one lowest               */
    int32_t bit_count;         /* < 0: the data ended before what was decoded last */
    int phase;
    int last_block;
    int fixed;                   /* the codes are the format's fixed ones */
    uint32_t stored_left;        /* bytes of a stored block still to come        */
    uint32_t filled, handed_out; /* of buffer: bytes decoded, bytes handed out   */
    const char *wrong;           /* why it stopped, NULL while nothing is wrong  */
    blm_inflate_code literals, distances;
    uint8_t buffer[BLM_INFLATE_BUFFER]; /* window, then what is new */
} blm_inflate;

BLM_PRIVATE void blm_inflate_begin(blm_inflate *z, blm_inflate_more more, void *user);

/* Writes the next `bytes` bytes to out. Returns 1, or 0 with z->wrong set: the data are
 * malformed or there are too few. */
BLM_PRIVATE int blm_inflate_read(blm_inflate *z, uint8_t *out, size_t bytes);

#endif
#endif
