#include "name.h"

static void blm_name_bytes(blm_name *name, const char *text, uint64_t bytes)
{
    size_t room = BLM_NAME_BYTES - 1 - name->bytes, n = (size_t)BLM_MIN(bytes, room);
    for (size_t i = 0; i < n; i++) { /* names come out of hostile files: no 0, no controls */
        char c = text[i];
        name->text[name->bytes++] = (unsigned char)c < ' ' || c == 0x7F ? '?' : c;
    }
    name->text[name->bytes] = 0;
}

BLM_PRIVATE blm_name *blm_name_start(blm_name *name, const char *text)
{
    name->bytes = 0;
    return blm_name_add(name, text);
}

BLM_PRIVATE blm_name *blm_name_add(blm_name *name, const char *text)
{
    blm_name_bytes(name, text, blm_text_bytes(text));
    return name;
}

BLM_PRIVATE blm_name *blm_name_add_string(blm_name *name, blm_string text)
{
    blm_name_bytes(name, text.text, text.bytes);
    return name;
}

BLM_PRIVATE blm_name *blm_name_add_number(blm_name *name, uint64_t number)
{
    char digits[20]; /* UINT64_MAX has 20 */
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    blm_name_bytes(name, digits + at, sizeof digits - at);
    return name;
}

BLM_PRIVATE int blm_fail_value(bluelm_error *err, int code, const char *before,
                               blm_string value)
{
    blm_subject subject;
    blm_subject_add_string(blm_subject_start(&subject, before), value);
    return blm_fail(err, code, subject.text, 0, 0, 0);
}
