#include "stop.h"

/* Checks one string. Returns its bytes, or an error. */
static int blm_stop_check(const char *text, bluelm_error *err)
{
    size_t bytes = text ? blm_text_bytes(text) : 0, at = 0;
    uint32_t character, length;
    if (bytes == 0 || bytes > BLM_STOP_BYTES)
        return blm_fail(err, BLUELM_E_ARG, "bytes of a stop string", bytes ? BLM_STOP_BYTES : 1,
                        bytes, 0);
    for (; at < bytes; at += length) {
        length = blm_utf8_decode(text + at, bytes - at, &character);
        if (length == 1 && (uint8_t)text[at] >= 0x80)
            return blm_fail(err, BLUELM_E_ARG, "byte of a stop string that is no UTF-8", 0x7f,
                            (uint8_t)text[at], 0);
    }
    return (int)bytes;
}

BLM_PRIVATE int blm_stops_set(blm_stops *s, const char *const *strings, size_t count,
                              bluelm_error *err)
{
    if (count > BLM_STOP_COUNT)
        return blm_fail(err, BLUELM_E_ARG, "stop strings", BLM_STOP_COUNT, count, 0);
    for (size_t i = 0; i < count; i++) {
        int bytes = blm_stop_check(strings[i], err);
        if (bytes < 0) return bytes;
    }
    memset(s->text, 0, sizeof s->text);
    memset(s->bytes, 0, sizeof s->bytes);
    for (size_t i = 0; i < count; i++) {
        s->bytes[i] = (uint8_t)blm_text_bytes(strings[i]);
        memcpy(s->text[i], strings[i], s->bytes[i]);
    }
    s->count = (uint32_t)count;
    return BLUELM_OK;
}

/* The longest stop string that the held text ends with; its bytes, 0 if there is none. */
static uint32_t blm_stop_at_end(const blm_stops *s)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t bytes = s->bytes[i];
        if (bytes > longest && bytes <= s->held.bytes &&
            blm_same_bytes(s->held.text + s->held.bytes - bytes, s->text[i], bytes))
            longest = bytes;
    }
    return longest;
}

/* Whether the held text from `at` on begins a stop string. */
static int blm_stop_may_begin(const blm_stops *s, uint32_t at)
{
    uint32_t bytes = s->held.bytes - at;
    for (uint32_t i = 0; i < s->count; i++)
        if (bytes < s->bytes[i] && blm_same_bytes(s->held.text + at, s->text[i], bytes))
            return 1;
    return 0;
}

/* Gives out the first bytes of what is held. */
static size_t blm_stop_release(blm_stop_held *held, uint32_t bytes, char *out)
{
    memcpy(out, held->text, bytes);
    memmove(held->text, held->text + bytes, held->bytes - bytes);
    held->bytes = (uint8_t)(held->bytes - bytes);
    return bytes;
}

BLM_PRIVATE size_t blm_stops_push(blm_stops *s, const char *text, size_t bytes, char *out)
{
    blm_stop_held *held = &s->held;
    size_t written = 0;
    for (size_t i = 0; i < bytes && !held->found; i++) {
        held->text[held->bytes++] = text[i];
        uint32_t stop = blm_stop_at_end(s), keep = 0;
        if (stop) {
            written += blm_stop_release(held, held->bytes - stop, out + written);
            held->bytes = 0;
            held->found = 1;
            break;
        }
        while (keep < held->bytes && !blm_stop_may_begin(s, keep))
            keep++;
        written += blm_stop_release(held, keep, out + written);
    }
    return written;
}

BLM_PRIVATE size_t blm_stops_flush(blm_stops *s, char *out)
{
    return blm_stop_release(&s->held, s->held.bytes, out);
}
