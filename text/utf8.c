#include "utf8.h"

/* Length of the character that a byte begins, 0 if it begins none, and the range its
 * second byte must lie in: that range shuts out overlong forms, surrogates and
 * characters past U+10FFFF (The Unicode Standard, table 3-7). */
static uint32_t blm_utf8_lead(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = 0x80, *high = 0xbf;
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    if (lead < 0xe0) return 2;
    if (lead == 0xe0) *low = 0xa0;
    if (lead == 0xed) *high = 0x9f;
    if (lead == 0xf0) *low = 0x90;
    if (lead == 0xf4) *high = 0x8f;
    return lead < 0xf0 ? 3 : 4;
}

BLM_PRIVATE uint32_t blm_utf8_decode(const char *text, size_t bytes, uint32_t *character)
{
    const uint8_t *b = (const uint8_t *)text;
    uint8_t low, high;
    uint32_t length = blm_utf8_lead(b[0], &low, &high);
    *character = BLM_CHAR_REPLACEMENT;
    if (length == 0 || length > bytes) return 1;
    if (length == 1) {
        *character = b[0];
        return 1;
    }
    uint32_t value = b[0] & (0x7fu >> length);
    for (uint32_t i = 1; i < length; i++) {
        if (b[i] < low || b[i] > high) return 1;
        value = value << 6 | (b[i] & 0x3fu);
        low = 0x80, high = 0xbf;
    }
    *character = value;
    return length;
}

BLM_PRIVATE uint32_t blm_utf8_encode(uint32_t character, char out[4])
{
    uint32_t length = character < 0x80      ? 1u
                      : character < 0x800   ? 2u
                      : character < 0x10000 ? 3u
                                            : 4u;
    if (length == 1) {
        out[0] = (char)character;
        return 1;
    }
    for (uint32_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    out[0] = (char)((0xf00u >> length & 0xffu) | character);
    return length;
}

/* Writes `count` bytes at *used if they fit. */
static void blm_utf8_put(char *out, size_t room, size_t *used, const void *bytes, size_t count)
{
    if (room - *used < count) return;
    memcpy(out + *used, bytes, count);
    *used += count;
}

/* 1 if the held bytes and one more still begin a valid character. */
static int blm_utf8_continues(const blm_utf8_stream *s, uint8_t byte)
{
    uint8_t low, high;
    blm_utf8_lead(s->held[0], &low, &high);
    if (s->count > 1) low = 0x80, high = 0xbf;
    return byte >= low && byte <= high;
}

BLM_PRIVATE size_t blm_utf8_push(blm_utf8_stream *s, const char *bytes, size_t count, char *out,
                                 size_t room)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t byte = (uint8_t)bytes[i], low, high;
        if (s->count > 0 && !blm_utf8_continues(s, byte)) {
            blm_utf8_put(out, room, &used, "\xef\xbf\xbd", 3);
            s->count = 0;
        }
        if (s->count == 0 && blm_utf8_lead(byte, &low, &high) == 0) {
            blm_utf8_put(out, room, &used, "\xef\xbf\xbd", 3);
            continue;
        }
        s->held[s->count++] = byte;
        if (s->count == blm_utf8_lead(s->held[0], &low, &high)) {
            blm_utf8_put(out, room, &used, s->held, s->count);
            s->count = 0;
        }
    }
    return used;
}

BLM_PRIVATE size_t blm_utf8_flush(blm_utf8_stream *s, char *out, size_t room)
{
    size_t used = 0;
    if (s->count > 0) blm_utf8_put(out, room, &used, "\xef\xbf\xbd", 3);
    s->count = 0;
    return used;
}
