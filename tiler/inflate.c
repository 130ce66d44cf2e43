#include "inflate.h"

#ifndef BLUELM_NO_IMAGE_DECODE

#define BLM_INFLATE_LONGEST 258 /* bytes that one symbol can give */

enum {
    BLM_INFLATE_HEADER,
    BLM_INFLATE_BLOCK,
    BLM_INFLATE_STORED,
    BLM_INFLATE_CODES,
    BLM_INFLATE_DONE
};

static int blm_inflate_fail(blm_inflate *z, const char *wrong)
{
    z->wrong = wrong;
    return 0;
}

/* ---- Bits -------------------------------------------------------------------------------- */

/* Takes in bytes until 56 bits or more are there, or the data are at their end. */
static void blm_inflate_refill(blm_inflate *z)
{
    if (z->end - z->next >= 8) {
        z->bits |= blm_load_u64(z->next) << z->bit_count;
        z->next += (63 - z->bit_count) / 8;
        z->bit_count |= 56;
        return;
    }
    while (z->bit_count < 56) {
        if (z->next == z->end) {
            size_t bytes = 0;
            if (!z->more(z->user, &z->next, &bytes)) return;
            z->end = z->next + bytes;
        }
        z->bits |= (uint64_t)*z->next++ << z->bit_count;
        z->bit_count += 8;
    }
}

/* The next `count` bits, up to 16, of those taken in. */
static uint32_t blm_inflate_bits(blm_inflate *z, uint32_t count)
{
    uint32_t value = (uint32_t)z->bits & ((1u << count) - 1);
    z->bits >>= count;
    z->bit_count -= (int32_t)count;
    return value;
}

/* ---- Prefix codes ------------------------------------------------------------------------ */

static uint32_t blm_inflate_reverse(uint32_t code, uint32_t length)
{
    uint32_t reversed = 0;
    for (uint32_t i = 0; i < length; i++)
        reversed |= (code >> i & 1) << (length - 1 - i);
    return reversed;
}

/* Every value of the next bits that begins with this code. */
static void blm_inflate_spread(blm_inflate_code *c, uint32_t symbol, uint32_t code,
                               uint32_t length)
{
    uint32_t step = 1u << length;
    for (uint32_t i = blm_inflate_reverse(code, length); i < BLM_COUNT_OF(c->fast); i += step)
        c->fast[i] = (uint16_t)(symbol << 4 | length);
}

/* Builds the code whose symbols have these lengths, 0..15. Returns 0 where they are no
 * code: too many, or too few unless it is a single one of 1 bit (or none at all), which
 * the format allows for distances. */
static int blm_inflate_build(blm_inflate_code *c, const uint8_t *lengths, uint32_t symbols)
{
    uint16_t at[16];
    uint32_t next[16], code = 0, index = 0;
    memset(c, 0, sizeof *c);
    for (uint32_t i = 0; i < symbols; i++)
        c->count[lengths[i]]++;
    uint32_t used = symbols - c->count[0];
    c->count[0] = 0;
    for (uint32_t length = 1; length < 16; length++) {
        at[length] = (uint16_t)index;
        next[length] = code;
        index += c->count[length];
        code += c->count[length];
        if (code > 1u << length) return 0;
        code <<= 1;
    }
    if (code != 1u << 16 && !(used == 0 || (used == 1 && c->count[1] == 1))) return 0;
    for (uint32_t i = 0; i < symbols; i++) {
        uint32_t length = lengths[i];
        if (length == 0) continue;
        c->symbols[at[length]++] = (uint16_t)i;
        if (length <= BLM_INFLATE_FAST_BITS) blm_inflate_spread(c, i, next[length], length);
        next[length]++;
    }
    return 1;
}

/* A symbol whose code is longer than the table knows, or none: then 65535. */
static uint32_t blm_inflate_long_symbol(blm_inflate *z, const blm_inflate_code *c)
{
    uint32_t code = 0, first = 0, index = 0;
    for (uint32_t length = 1; length < 16; length++) {
        code |= (uint32_t)(z->bits >> (length - 1)) & 1;
        if (code - first < c->count[length]) {
            blm_inflate_bits(z, length);
            return c->symbols[index + code - first];
        }
        index += c->count[length];
        first = (first + c->count[length]) << 1;
        code <<= 1;
    }
    return 65535;
}

static inline uint32_t blm_inflate_symbol(blm_inflate *z, const blm_inflate_code *c)
{
    uint32_t entry = c->fast[z->bits & ((1u << BLM_INFLATE_FAST_BITS) - 1)];
    if (entry == 0) return blm_inflate_long_symbol(z, c);
    blm_inflate_bits(z, entry & 15);
    return entry >> 4;
}

/* ---- Blocks ------------------------------------------------------------------------------ */

static int blm_inflate_read_header(blm_inflate *z)
{
    blm_inflate_refill(z);
    uint32_t form = blm_inflate_bits(z, 8), flags = blm_inflate_bits(z, 8);
    if (z->bit_count < 0) return blm_inflate_fail(z, "data end early");
    if ((form & 15) != 8 || form >> 4 > 7 || (form << 8 | flags) % 31 || flags & 32)
        return blm_inflate_fail(z, "no zlib header");
    z->phase = BLM_INFLATE_BLOCK;
    return 1;
}

static int blm_inflate_open_stored(blm_inflate *z)
{
    blm_inflate_bits(z, (uint32_t)z->bit_count & 7);
    blm_inflate_refill(z);
    uint32_t length = blm_inflate_bits(z, 16), check = blm_inflate_bits(z, 16);
    if (z->bit_count < 0) return blm_inflate_fail(z, "data end early");
    if (length != (check ^ 0xFFFF)) return blm_inflate_fail(z, "stored block's length");
    z->stored_left = length;
    z->phase = BLM_INFLATE_STORED;
    return 1;
}

static int blm_inflate_open_fixed(blm_inflate *z)
{
    static const uint8_t runs[4][2] = {{144, 8}, {112, 9}, {24, 7}, {8, 8}};
    uint8_t lengths[288];
    uint32_t at = 0;
    z->phase = BLM_INFLATE_CODES;
    if (z->fixed) return 1; /* blocks of next to nothing must not cost more than they say */
    z->fixed = 1;
    for (uint32_t i = 0; i < 4; at += runs[i++][0])
        memset(lengths + at, runs[i][1], runs[i][0]);
    blm_inflate_build(&z->literals, lengths, 288);
    memset(lengths, 5, 32);
    blm_inflate_build(&z->distances, lengths, 32);
    return 1;
}

/* The lengths of literals' and distances' codes, run-length coded in a code of their
 * own, which z->literals holds. */
static int blm_inflate_read_lengths(blm_inflate *z, uint8_t *lengths, uint32_t count)
{
    static const uint8_t repeats[3][2] = {{2, 3}, {3, 3}, {7, 11}}; /* extra bits, least */
    uint32_t at = 0;
    while (at < count) {
        blm_inflate_refill(z);
        uint32_t symbol = blm_inflate_symbol(z, &z->literals);
        if (symbol > 18) return blm_inflate_fail(z, "code lengths");
        if (symbol < 16) {
            lengths[at++] = (uint8_t)symbol;
        } else {
            const uint8_t *r = repeats[symbol - 16];
            uint32_t run = r[1] + blm_inflate_bits(z, r[0]);
            if (run > count - at || (symbol == 16 && at == 0))
                return blm_inflate_fail(z, "code lengths");
            memset(lengths + at, symbol == 16 ? lengths[at - 1] : 0, run);
            at += run;
        }
        if (z->bit_count < 0) return blm_inflate_fail(z, "data end early");
    }
    return 1;
}

static int blm_inflate_open_dynamic(blm_inflate *z)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                      11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[320] = {0};
    z->fixed = 0;
    blm_inflate_refill(z);
    uint32_t literals = blm_inflate_bits(z, 5) + 257;
    uint32_t distances = blm_inflate_bits(z, 5) + 1;
    uint32_t given = blm_inflate_bits(z, 4) + 4;
    if (literals > 286 || distances > 30) return blm_inflate_fail(z, "number of codes");
    for (uint32_t i = 0; i < given && z->bit_count >= 0; i++) {
        blm_inflate_refill(z);
        lengths[order[i]] = (uint8_t)blm_inflate_bits(z, 3);
    }
    if (z->bit_count < 0) return blm_inflate_fail(z, "data end early");
    if (!blm_inflate_build(&z->literals, lengths, 19))
        return blm_inflate_fail(z, "code of code lengths");
    if (!blm_inflate_read_lengths(z, lengths, literals + distances)) return 0;
    if (lengths[256] == 0 || !blm_inflate_build(&z->literals, lengths, literals))
        return blm_inflate_fail(z, "literal codes");
    if (!blm_inflate_build(&z->distances, lengths + literals, distances))
        return blm_inflate_fail(z, "distance codes");
    z->phase = BLM_INFLATE_CODES;
    return 1;
}

static int blm_inflate_open_block(blm_inflate *z)
{
    if (z->last_block) {
        z->phase = BLM_INFLATE_DONE;
        return 1;
    }
    blm_inflate_refill(z);
    z->last_block = (int)blm_inflate_bits(z, 1);
    uint32_t type = blm_inflate_bits(z, 2);
    if (z->bit_count < 0) return blm_inflate_fail(z, "data end early");
    switch (type) {
    case 0:
        return blm_inflate_open_stored(z);
    case 1:
        return blm_inflate_open_fixed(z);
    case 2:
        return blm_inflate_open_dynamic(z);
    }
    return blm_inflate_fail(z, "block of unknown type");
}

/* ---- What blocks hold -------------------------------------------------------------------- */

static int blm_inflate_copy_stored(blm_inflate *z)
{
    while (z->stored_left > 0 && z->filled < BLM_INFLATE_BUFFER) {
        blm_inflate_refill(z);
        uint8_t byte = (uint8_t)blm_inflate_bits(z, 8);
        if (z->bit_count < 0) return blm_inflate_fail(z, "data end early");
        z->buffer[z->filled++] = byte;
        z->stored_left--;
    }
    if (z->stored_left == 0) z->phase = BLM_INFLATE_BLOCK;
    return 1;
}

/* Repeats `length` bytes from `distance` before the end of what is there. */
static void blm_inflate_repeat(blm_inflate *z, uint32_t length, uint32_t distance)
{
    uint8_t *to = z->buffer + z->filled;
    const uint8_t *from = to - distance;
    z->filled += length;
    if (distance >= length) {
        memcpy(to, from, length);
        return;
    }
    for (uint32_t i = 0; i < length; i++)
        to[i] = from[i];
}

/* The rest of a length's and a distance's symbols. */
static int blm_inflate_match(blm_inflate *z, uint32_t symbol)
{
    static const uint16_t lengths[29] = {3,  4,  5,  6,   7,   8,   9,   10,  11, 13,
                                         15, 17, 19, 23,  27,  31,  35,  43,  51, 59,
                                         67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t length_bits[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                            2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t distances[30] = {
        1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    if (symbol > 285) return blm_inflate_fail(z, "unknown code");
    symbol -= 257;
    uint32_t length = lengths[symbol] + blm_inflate_bits(z, length_bits[symbol]);
    symbol = blm_inflate_symbol(z, &z->distances);
    if (symbol > 29) return blm_inflate_fail(z, "unknown distance code");
    uint32_t extra = symbol < 2 ? 0 : symbol / 2 - 1;
    uint32_t distance = distances[symbol] + blm_inflate_bits(z, extra);
    if (distance > z->filled) return blm_inflate_fail(z, "distance before the beginning");
    blm_inflate_repeat(z, length, distance);
    return 1;
}

static int blm_inflate_decode_codes(blm_inflate *z)
{
    while (z->filled <= BLM_INFLATE_BUFFER - BLM_INFLATE_LONGEST) {
        blm_inflate_refill(z); /* a match takes 48 bits at most */
        uint32_t symbol = blm_inflate_symbol(z, &z->literals);
        if (symbol < 256) {
            z->buffer[z->filled++] = (uint8_t)symbol;
        } else if (symbol == 256) {
            z->phase = BLM_INFLATE_BLOCK;
        } else if (!blm_inflate_match(z, symbol)) {
            return 0;
        }
        if (z->bit_count < 0) return blm_inflate_fail(z, "data end early");
        if (symbol == 256) break;
    }
    return 1;
}

/* ---- Pieces ------------------------------------------------------------------------------ */

BLM_PRIVATE void blm_inflate_begin(blm_inflate *z, blm_inflate_more more, void *user)
{
    memset(z, 0, sizeof *z);
    z->more = more;
    z->user = user;
}

/* Decodes until the buffer is full or a block ends. All that is there was handed out. */
static int blm_inflate_fill(blm_inflate *z)
{
    if (z->filled > BLM_INFLATE_BUFFER - BLM_INFLATE_LONGEST) {
        memmove(z->buffer, z->buffer + z->filled - BLM_INFLATE_WINDOW, BLM_INFLATE_WINDOW);
        z->filled = z->handed_out = BLM_INFLATE_WINDOW;
    }
    switch (z->phase) {
    case BLM_INFLATE_HEADER:
        return blm_inflate_read_header(z);
    case BLM_INFLATE_BLOCK:
        return blm_inflate_open_block(z);
    case BLM_INFLATE_STORED:
        return blm_inflate_copy_stored(z);
    case BLM_INFLATE_CODES:
        return blm_inflate_decode_codes(z);
    }
    return blm_inflate_fail(z, "data end early");
}

BLM_PRIVATE int blm_inflate_read(blm_inflate *z, uint8_t *out, size_t bytes)
{
    while (bytes > 0) {
        size_t ready = BLM_MIN(z->filled - z->handed_out, bytes);
        memcpy(out, z->buffer + z->handed_out, ready);
        z->handed_out += (uint32_t)ready;
        out += ready;
        bytes -= ready;
        if (bytes > 0 && (z->wrong || !blm_inflate_fill(z))) return 0;
    }
    return 1;
}

#endif
