#include "console.h"

#include "board.h"

void console_bytes(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        board_put(text[i]);
}

void console_text(const char *text)
{
    while (*text)
        board_put(*text++);
}

void console_number(uint64_t number, unsigned width)
{
    char digits[20]; /* of 2^64 - 1 */
    unsigned count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    for (unsigned i = count; i < width; i++)
        board_put(' ');
    while (count)
        board_put(digits[--count]);
}

void console_hex(uint64_t number, unsigned digits)
{
    console_text("0x");
    while (digits)
        board_put("0123456789abcdef"[number >> 4 * --digits & 15]);
}

void console_row(const char *name, uint64_t number)
{
    unsigned column = 0;
    console_text("  ");
    for (; name[column]; column++)
        board_put(name[column]);
    for (; column < 20; column++)
        board_put(' ');
    console_number(number, 12);
}
