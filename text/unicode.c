#include "unicode.h"

#include "unicode_table.h"

static int blm_char_is_space(uint32_t c)
{
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
    if (c >= 0x2000 && c <= 0x200a) return 1;
    return c == 0x85 || c == 0xa0 || c == 0x1680 || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* The index entry whose runs cover c: the last that begins at or before it. */
static uint32_t blm_char_index(uint32_t c)
{
    uint32_t low = 0, high = BLM_COUNT_OF(blm_unicode_first);
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (blm_unicode_first[middle] <= c)
            low = middle;
        else
            high = middle;
    }
    return low;
}

BLM_PRIVATE uint32_t blm_char_class(uint32_t character)
{
    if (blm_char_is_space(character)) return BLM_CHAR_SPACE;
    if (character >= BLM_UNICODE_LIMIT) return BLM_CHAR_OTHER;
    uint32_t index = blm_char_index(character);
    uint32_t first = blm_unicode_first[index];
    const uint8_t *at = blm_unicode_runs + blm_unicode_place[index];
    for (;;) {
        uint32_t number = 0, shift = 0;
        while (*at & 128) {
            number |= (uint32_t)(*at++ & 127) << shift;
            shift += 7;
        }
        number |= (uint32_t)*at++ << shift;
        first += number >> 3;
        if (character < first) return number & 7;
    }
}
