/* Text and numbers through board_put. */
#ifndef BLUELM_CONSOLE_H
#define BLUELM_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

void console_text(const char *text);
void console_bytes(const char *text, size_t bytes);

/* A number in decimal, right-aligned in at least `width` columns. */
void console_number(uint64_t number, unsigned width);

/* A number as 0x and `digits` hexadecimal digits. */
void console_hex(uint64_t number, unsigned digits);

/* "name", padded to 20 columns, and a number of 12. Ends no line. */
void console_row(const char *name, uint64_t number);

#endif
