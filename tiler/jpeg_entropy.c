#include "jpeg_parts.h"

#ifndef BLUELM_NO_IMAGE_DECODE

static const uint8_t blm_jpeg_places[64] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

BLM_PRIVATE uint32_t blm_jpeg_place(uint32_t k)
{
    return blm_jpeg_places[k];
}

static int blm_jpeg_scan_fail(blm_jpeg_scan *s, const char *wrong)
{
    if (!s->wrong) s->wrong = wrong;
    return 0;
}

/* ---- Bits -------------------------------------------------------------------------------- */

/* Four bytes at once, unless one of them is FF, which means something. */
static int blm_jpeg_refill_word(blm_jpeg_bits *b)
{
    if (b->end - b->next < 4) return 0;
    const uint8_t *p = b->next;
    uint32_t word = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    if ((~word - 0x01010101u) & word & 0x80808080u) return 0;
    b->bits |= (uint64_t)word << (32 - b->count);
    b->count += 32;
    b->next += 4;
    return 1;
}

/* Takes in bytes until 32 bits or more are there, or a marker or the end is reached:
 * what is read then are zeros, and count tells. */
static void blm_jpeg_refill(blm_jpeg_bits *b)
{
    if (b->count > 32 || blm_jpeg_refill_word(b)) return;
    while (b->count <= 48 && b->next < b->end) {
        uint8_t byte = *b->next;
        if (byte == 0xFF && (b->end - b->next < 2 || b->next[1] != 0)) return;
        b->next += byte == 0xFF ? 2 : 1;
        b->bits |= (uint64_t)byte << (56 - b->count);
        b->count += 8;
    }
}

/* The next `count` bits, 0..16, of those taken in. */
static inline uint32_t blm_jpeg_next_bits(blm_jpeg_bits *b, uint32_t count)
{
    uint32_t value = (uint32_t)(b->bits >> 1 >> (63 - count));
    b->bits <<= count;
    b->count -= (int32_t)count;
    return value;
}

/* The number that `count` bits stand for: those that begin with 0 are negative. */
static inline int32_t blm_jpeg_next_number(blm_jpeg_bits *b, uint32_t count)
{
    if (count == 0) return 0;
    int32_t value = (int32_t)blm_jpeg_next_bits(b, count);
    return value < 1 << (count - 1) ? value - (1 << count) + 1 : value;
}

/* The next symbol, or 256 where the bits are no code. */
static inline uint32_t blm_jpeg_next_symbol(blm_jpeg_bits *b, const blm_jpeg_huffman *h)
{
    uint32_t entry = h->fast[b->bits >> (64 - BLM_JPEG_FAST_BITS)];
    if (entry) {
        blm_jpeg_next_bits(b, entry >> 8);
        return entry & 255;
    }
    uint32_t next = (uint32_t)(b->bits >> 48);
    for (uint32_t length = BLM_JPEG_FAST_BITS + 1; length <= 16; length++) {
        if (next >= h->limit[length]) continue;
        int32_t code = (int32_t)blm_jpeg_next_bits(b, length);
        return h->symbols[(code + h->offset[length]) & 255];
    }
    return 256;
}

/* ---- Blocks ------------------------------------------------------------------------------ */

static int blm_jpeg_bad_code(blm_jpeg_scan *s)
{
    return blm_jpeg_scan_fail(s, s->bits.count < 0 ? "data end early" : "unknown code");
}

/* Adds the difference that comes next to the component's DC. Returns 1 or 0. */
static int blm_jpeg_next_dc(blm_jpeg_scan *s, uint32_t n)
{
    const blm_jpeg_scanned *c = &s->jpeg->scanned[n];
    blm_jpeg_refill(&s->bits);
    uint32_t bits = blm_jpeg_next_symbol(&s->bits, &s->jpeg->tables->huffman[0][c->dc]);
    if (bits > 15) return blm_jpeg_bad_code(s);
    s->dc[c->component] += (uint32_t)blm_jpeg_next_number(&s->bits, bits);
    return 1;
}

static int blm_jpeg_sequential_block(blm_jpeg_scan *s, uint32_t n, int16_t *block)
{
    const blm_jpeg_scanned *c = &s->jpeg->scanned[n];
    const blm_jpeg_huffman *ac = &s->jpeg->tables->huffman[1][c->ac];
    blm_jpeg_bits bits;
    if (!blm_jpeg_next_dc(s, n)) return 0;
    block[0] = (int16_t)s->dc[c->component];
    bits = s->bits; /* a copy that can stay in registers */
    for (uint32_t k = 1; k < 64; k++) {
        blm_jpeg_refill(&bits); /* a coefficient takes 31 bits at most */
        uint32_t symbol = blm_jpeg_next_symbol(&bits, ac);
        uint32_t zeros = symbol >> 4 & 15, size = symbol & 15;
        if (symbol > 255) {
            s->bits = bits;
            return blm_jpeg_bad_code(s);
        }
        if (size == 0 && zeros < 15) break; /* nothing but zeros follows */
        k += zeros;
        if (k > 63) return blm_jpeg_scan_fail(s, "coefficients beyond a block");
        block[blm_jpeg_places[k]] = (int16_t)blm_jpeg_next_number(&bits, size);
    }
    s->bits = bits;
    return 1;
}

/* A coefficient of a scan that leaves out the `low` lowest bits. */
static int16_t blm_jpeg_raise(int32_t value, uint32_t low)
{
    return (int16_t)(uint16_t)((uint32_t)value << low);
}

static int blm_jpeg_dc_block(blm_jpeg_scan *s, uint32_t n, int16_t *block)
{
    const blm_jpeg *j = s->jpeg;
    if (j->high == 0) {
        if (!blm_jpeg_next_dc(s, n)) return 0;
        block[0] = blm_jpeg_raise((int32_t)s->dc[j->scanned[n].component], j->low);
        return 1;
    }
    blm_jpeg_refill(&s->bits);
    if (blm_jpeg_next_bits(&s->bits, 1)) block[0] = (int16_t)(block[0] | 1 << j->low);
    return 1;
}

/* Begins a run of blocks without further coefficients: 2^size and `size` more bits. */
static void blm_jpeg_begin_run(blm_jpeg_scan *s, uint32_t size)
{
    s->end_run = (1u << size) + blm_jpeg_next_bits(&s->bits, size);
}

static int blm_jpeg_ac_block(blm_jpeg_scan *s, int16_t *block)
{
    const blm_jpeg *j = s->jpeg;
    const blm_jpeg_huffman *ac = &j->tables->huffman[1][j->scanned[0].ac];
    if (s->end_run == 0) {
        for (uint32_t k = j->first; k <= j->last; k++) {
            blm_jpeg_refill(&s->bits);
            uint32_t symbol = blm_jpeg_next_symbol(&s->bits, ac);
            uint32_t zeros = symbol >> 4 & 15, size = symbol & 15;
            if (symbol > 255) return blm_jpeg_bad_code(s);
            if (size == 0 && zeros < 15) {
                blm_jpeg_begin_run(s, zeros);
                break;
            }
            k += zeros;
            if (k > 63) return blm_jpeg_scan_fail(s, "coefficients beyond a block");
            block[blm_jpeg_places[k]] =
                blm_jpeg_raise(blm_jpeg_next_number(&s->bits, size), j->low);
        }
    }
    if (s->end_run > 0) s->end_run--;
    return 1;
}

/* A further bit of a coefficient that is not zero. */
static void blm_jpeg_refine(blm_jpeg_scan *s, int16_t *coefficient)
{
    int32_t bit = 1 << s->jpeg->low, value = *coefficient;
    if (!blm_jpeg_next_bits(&s->bits, 1) || (value & bit)) return;
    *coefficient = (int16_t)(value + (value < 0 ? -bit : bit));
}

/* Refines what is there from the k-th coefficient on, until `zeros` zeros were passed
 * over and another is reached, or the band ends. Returns where that is. */
static uint32_t blm_jpeg_refine_band(blm_jpeg_scan *s, int16_t *block, uint32_t k,
                                     uint32_t zeros)
{
    for (; k <= s->jpeg->last; k++) {
        int16_t *coefficient = block + blm_jpeg_places[k];
        if (*coefficient == 0) {
            if (zeros-- == 0) break;
            continue;
        }
        blm_jpeg_refill(&s->bits);
        blm_jpeg_refine(s, coefficient);
    }
    return k;
}

static int blm_jpeg_ac_refine_block(blm_jpeg_scan *s, int16_t *block)
{
    const blm_jpeg *j = s->jpeg;
    const blm_jpeg_huffman *ac = &j->tables->huffman[1][j->scanned[0].ac];
    uint32_t k = j->first;
    for (; s->end_run == 0 && k <= j->last; k++) {
        int32_t fresh = 0; /* the coefficient that becomes other than zero */
        blm_jpeg_refill(&s->bits);
        uint32_t symbol = blm_jpeg_next_symbol(&s->bits, ac);
        uint32_t zeros = symbol >> 4 & 15, size = symbol & 15;
        if (symbol > 255) return blm_jpeg_bad_code(s);
        if (size == 0 && zeros < 15) {
            blm_jpeg_begin_run(s, zeros);
            break;
        }
        if (size > 0) fresh = blm_jpeg_next_bits(&s->bits, 1) ? 1 : -1;
        k = blm_jpeg_refine_band(s, block, k, zeros);
        if (fresh && k <= j->last) block[blm_jpeg_places[k]] = blm_jpeg_raise(fresh, j->low);
    }
    if (s->end_run == 0) return 1;
    blm_jpeg_refine_band(s, block, k, 64);
    s->end_run--;
    return 1;
}

BLM_PRIVATE int blm_jpeg_scan_block(blm_jpeg_scan *s, uint32_t n, int16_t *block)
{
    const blm_jpeg *j = s->jpeg;
    int read;
    if (!j->progressive)
        read = blm_jpeg_sequential_block(s, n, block);
    else if (j->first == 0)
        read = blm_jpeg_dc_block(s, n, block);
    else if (j->high == 0)
        read = blm_jpeg_ac_block(s, block);
    else
        read = blm_jpeg_ac_refine_block(s, block);
    if (read && s->bits.count < 0) return blm_jpeg_scan_fail(s, "data end early");
    return read;
}

/* ---- Scans ------------------------------------------------------------------------------- */

/* Everything begins anew after a restart marker. */
static void blm_jpeg_scan_reset(blm_jpeg_scan *s)
{
    s->bits.bits = 0;
    s->bits.count = 0;
    s->end_run = 0;
    memset(s->dc, 0, sizeof s->dc);
    s->mcus_left = s->jpeg->restart_interval;
}

BLM_PRIVATE void blm_jpeg_scan_begin(blm_jpeg_scan *s, const blm_jpeg *j)
{
    memset(s, 0, sizeof *s);
    s->jpeg = j;
    s->bits.next = j->file + j->at;
    s->bits.end = j->file + j->bytes;
    blm_jpeg_scan_reset(s);
}

/* Passes over the restart marker that is due, and over bytes before it that are none. */
static int blm_jpeg_scan_restart(blm_jpeg_scan *s)
{
    blm_jpeg_bits *b = &s->bits;
    while (b->end - b->next >= 2 &&
           (b->next[0] != 0xFF || b->next[1] == 0 || b->next[1] == 0xFF))
        b->next++;
    if (b->end - b->next < 2) return blm_jpeg_scan_fail(s, "data end early");
    if (b->next[1] != 0xD0 + s->next_restart)
        return blm_jpeg_scan_fail(s, "restart marker missing");
    b->next += 2;
    s->next_restart = (s->next_restart + 1) & 7;
    blm_jpeg_scan_reset(s);
    return 1;
}

BLM_PRIVATE int blm_jpeg_scan_mcu(blm_jpeg_scan *s)
{
    if (s->jpeg->restart_interval == 0) return 1;
    if (s->mcus_left == 0 && !blm_jpeg_scan_restart(s)) return 0;
    s->mcus_left--;
    return 1;
}

BLM_PRIVATE size_t blm_jpeg_scan_position(const blm_jpeg_scan *s)
{
    return (size_t)(s->bits.next - s->jpeg->file);
}

#endif
