/* The four functions that the library and the compiler expect of libc. Compiled with
 * -fno-tree-loop-distribute-patterns, or gcc would turn each loop into a call of the
 * function that it is in. */
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    unsigned char *restrict d = to;
    const unsigned char *restrict s = from;
    for (size_t i = 0; i < bytes; i++)
        d[i] = s[i];
    return to;
}

/* A copy upwards is safe when the target lies below the source, downwards otherwise. */
void *memmove(void *to, const void *from, size_t bytes)
{
    unsigned char *d = to;
    const unsigned char *s = from;
    if (d < s)
        for (size_t i = 0; i < bytes; i++)
            d[i] = s[i];
    else
        for (size_t i = bytes; i > 0; i--)
            d[i - 1] = s[i - 1];
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    unsigned char *d = to;
    for (size_t i = 0; i < bytes; i++)
        d[i] = (unsigned char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < bytes; i++)
        if (x[i] != y[i]) return x[i] - y[i];
    return 0;
}
