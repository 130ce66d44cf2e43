#include "base.h"

#define BLM_SUBJECT_BYTES sizeof(((bluelm_error *)0)->subject)

/* What the code and the numbers say of the cause. */
static int blm_cause(int code, uint64_t need, uint64_t have)
{
    switch (code) {
    case BLUELM_E_BUDGET:
    case BLUELM_E_CONTEXT:
        return BLUELM_CAUSE_SHORT;
    case BLUELM_E_UNSUPPORTED:
        return BLUELM_CAUSE_UNKNOWN;
    case BLUELM_E_FORMAT:
        return need == 1 && have == 0 ? BLUELM_CAUSE_MISSING : BLUELM_CAUSE_MALFORMED;
    case BLUELM_E_ARG:
        return have > need ? BLUELM_CAUSE_ABOVE : have < need ? BLUELM_CAUSE_BELOW : 0;
    }
    return BLUELM_CAUSE_OTHER;
}

BLM_PRIVATE int(blm_fail)(bluelm_error *err, int code, const char *subject, uint64_t need,
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
    err->cause = blm_cause(code, need, have);
    return code;
}

BLM_PRIVATE int blm_fail_short(bluelm_error *err, int code, const char *subject, uint32_t need,
                               uint32_t have)
{
    return (blm_fail)(err, code, subject, need, have, 0);
}

BLM_PRIVATE int blm_fail_negative(bluelm_error *err, const char *subject, int64_t value)
{
    blm_fail(err, BLUELM_E_ARG, subject, 0, 0 - (uint64_t)value, 0);
    if (err) err->cause = BLUELM_CAUSE_NEGATIVE;
    return BLUELM_E_ARG;
}

BLM_PRIVATE int blm_fail_number(bluelm_error *err, const char *subject, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    blm_fail(err, BLUELM_E_ARG, subject, 0, bits, 0);
    if (err) err->cause = BLUELM_CAUSE_NUMBER;
    return BLUELM_E_ARG;
}

BLM_PRIVATE int blm_fail_null(bluelm_error *err, const char *subject)
{
    blm_fail(err, BLUELM_E_ARG, subject, 1, 0, 0);
    if (err) err->cause = BLUELM_CAUSE_NULL;
    return BLUELM_E_ARG;
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

/* " at byte 12 (need 8, have 5)", as far as there is something to tell */
static void blm_line_details(blm_line *line, const bluelm_error *err)
{
    if (err->at != 0) blm_line_number(line, " at byte ", err->at);
    if (err->need == 0 && err->have == 0) return;
    blm_line_number(line, " (need ", err->need);
    blm_line_number(line, ", have ", err->have);
    blm_line_text(line, ")");
}

#ifdef BLUELM_NO_ERROR_TEXT

static void blm_line_error(blm_line *line, const bluelm_error *err)
{
    blm_line_number(line, "error -", 0 - (uint64_t)(int64_t)err->code);
    blm_line_details(line, err);
}

#else

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

/* A number that is no whole one, to three places. */
static void blm_line_f32(blm_line *line, uint64_t bits)
{
    uint8_t bytes[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                        (uint8_t)(bits >> 24)};
    float value = blm_load_f32(bytes);
    if (!(value - value == 0)) { /* neither finite nor a number */
        blm_line_text(line, value > 0 ? "infinity" : value < 0 ? "-infinity" : "not a number");
        return;
    }
    if (value < 0) blm_line_byte(line, '-');
    double size = value < 0 ? -(double)value : (double)value;
    if (size >= 1e18) {
        blm_line_text(line, "over 10^18");
        return;
    }
    uint64_t whole = (uint64_t)size, rest = (uint64_t)((size - (double)whole) * 1000 + 0.5);
    blm_line_number(line, "", whole + rest / 1000);
    blm_line_number(line, ".", rest % 1000 / 100);
    blm_line_number(line, "", rest % 100 / 10);
    blm_line_number(line, "", rest % 10);
}

static void blm_line_argument(blm_line *line, const bluelm_error *err)
{
    switch (err->cause) {
    case BLUELM_CAUSE_NULL:
        blm_line_text(line, "is NULL");
        return;
    case BLUELM_CAUSE_NUMBER:
        blm_line_f32(line, err->have);
        blm_line_text(line, " is outside its range");
        return;
    case BLUELM_CAUSE_NEGATIVE:
        blm_line_number(line, "-", err->have);
        blm_line_number(line, " is below the least ", err->need);
        return;
    case BLUELM_CAUSE_ABOVE:
        blm_line_number(line, "", err->have);
        blm_line_number(line, " is above the limit ", err->need);
        return;
    case BLUELM_CAUSE_BELOW:
        blm_line_number(line, "", err->have);
        blm_line_number(line, " is below the least ", err->need);
        return;
    }
    blm_line_text(line, "not a valid argument");
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

#endif

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
