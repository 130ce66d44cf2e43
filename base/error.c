#include "base.h"

#define BLM_SUBJECT_BYTES sizeof(((bluelm_error *)0)->subject)

BLM_PRIVATE int blm_fail(bluelm_error *err, int code, const char *subject, uint64_t need,
                         uint64_t have, uint64_t at)
{
    size_t length = 0;
    if (err == NULL) return code;
    memset(err, 0, sizeof *err);
    while (length < BLM_SUBJECT_BYTES && subject[length] != 0)
        length++;
    if (length == BLM_SUBJECT_BYTES) {
        /* Cut before the character that the 64th byte belongs to. */
        length--;
        while (length > BLM_SUBJECT_BYTES - 4 && (subject[length] & 0xC0) == 0x80)
            length--;
    }
    memcpy(err->subject, subject, length);
    err->code = code;
    err->need = need;
    err->have = have;
    err->at = at;
    return code;
}

/* A line that is written as far as it fits and counted to its end. */
typedef struct blm_line {
    char *text;
    size_t room;   /* bytes of text, its terminator included */
    size_t length; /* of the whole line                      */
} blm_line;

static void blm_line_byte(blm_line *line, uint8_t byte)
{
    if (line->length + 1 < line->room) line->text[line->length] = (char)byte;
    line->length++;
}

static void blm_line_text(blm_line *line, const char *text)
{
    while (*text != 0)
        blm_line_byte(line, (uint8_t)*text++);
}

static void blm_line_number(blm_line *line, const char *before, uint64_t value)
{
    uint8_t digits[20]; /* UINT64_MAX has 20 */
    size_t count = 0;
    blm_line_text(line, before);
    do {
        digits[count++] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count > 0)
        blm_line_byte(line, digits[--count]);
}

/* Bytes of the printable UTF-8 character at s, of which `room` bytes are there; 0 when
 * there is none: control characters, overlong forms, surrogates, stray bytes. */
static size_t blm_line_character(const uint8_t *s, size_t room)
{
    uint32_t code, least;
    size_t count, i;
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7F;
    if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        count = 2, code = s[0] & 0x1Fu, least = 0xA0; /* U+0080..9F are controls */
    } else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
        count = 3, code = s[0] & 0x0Fu, least = 0x800;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        count = 4, code = s[0] & 0x07u, least = 0x10000;
    } else {
        return 0;
    }
    if (count > room) return 0;
    for (i = 1; i < count; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3Fu);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return 0;
    return count;
}

/* Subjects carry names out of hostile files: what a terminal would act on becomes '?'. */
static void blm_line_subject(blm_line *line, const char *subject)
{
    const uint8_t *s = (const uint8_t *)subject;
    size_t i = 0;
    while (i < BLM_SUBJECT_BYTES && s[i] != 0) {
        size_t count = blm_line_character(s + i, BLM_SUBJECT_BYTES - i);
        if (count == 0) {
            blm_line_byte(line, '?');
            i++;
        }
        while (count-- > 0)
            blm_line_byte(line, s[i++]);
    }
}

/* "need 8 bytes, have 5 (short 3)" */
static void blm_line_shortage(blm_line *line, const char *unit, const bluelm_error *err)
{
    blm_line_number(line, "need ", err->need);
    blm_line_text(line, unit);
    blm_line_number(line, ", have ", err->have);
    if (err->need > err->have) {
        blm_line_number(line, " (short ", err->need - err->have);
        blm_line_text(line, ")");
    }
}

/* " at byte 12 (need 8, have 5)", as far as there is something to tell */
static void blm_line_details(blm_line *line, const bluelm_error *err)
{
    if (err->at != 0) blm_line_number(line, " at byte ", err->at);
    if (err->need == 0 && err->have == 0) return;
    blm_line_number(line, " (need ", err->need);
    blm_line_number(line, ", have ", err->have);
    blm_line_text(line, ")");
}

static void blm_line_argument(blm_line *line, const bluelm_error *err)
{
    if (err->need == 0 && err->have == 0) {
        blm_line_text(line, "not a valid argument");
        return;
    }
    blm_line_number(line, "", err->have);
    blm_line_number(line, " is outside the limit ", err->need);
}

static void blm_line_unsupported(blm_line *line, const bluelm_error *err)
{
    blm_line_text(line, "not supported");
    if (err->at != 0) blm_line_number(line, " at byte ", err->at);
    if (err->need == 0 && err->have == 0) return;
    blm_line_number(line, " (value ", err->have);
    if (err->need != 0) blm_line_number(line, ", limit ", err->need);
    blm_line_text(line, ")");
}

static void blm_line_error(blm_line *line, const bluelm_error *err)
{
    blm_line_subject(line, err->subject);
    blm_line_text(line, ": ");
    switch (err->code) {
    case BLUELM_E_ARG:
        blm_line_argument(line, err);
        return;
    case BLUELM_E_BUDGET:
        blm_line_shortage(line, " bytes", err);
        return;
    case BLUELM_E_CONTEXT:
        blm_line_shortage(line, " tokens", err);
        return;
    case BLUELM_E_UNSUPPORTED:
        blm_line_unsupported(line, err);
        return;
    case BLUELM_E_FORMAT:
        blm_line_text(line, "malformed");
        break;
    case BLUELM_E_IMAGE:
        blm_line_text(line, "not a picture that can be used");
        break;
    case BLUELM_E_STATE:
        blm_line_text(line, "not possible in this state");
        break;
    default:
        blm_line_text(line, "unknown error");
        break;
    }
    blm_line_details(line, err);
}

size_t bluelm_error_text(const bluelm_error *err, char *text, size_t bytes)
{
    blm_line line = {NULL, 0, 0};
    line.text = text;
    line.room = text != NULL ? bytes : 0;
    if (err == NULL || err->code >= 0) {
        blm_line_text(&line, "no error");
    } else {
        blm_line_error(&line, err);
    }
    if (line.room > 0) text[BLM_MIN(line.length, line.room - 1)] = 0;
    return line.length;
}
