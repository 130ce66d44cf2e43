/* For compilers that come without a libc: what the library asks of one. mem.c has them. */
#ifndef BLUELM_BAREMETAL_STRING_H
#define BLUELM_BAREMETAL_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

#endif
