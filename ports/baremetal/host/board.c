/* The board that is no board: the demo as an ordinary program, to debug it and to compare
 * what a board computes with what this machine does. */
#include "../board.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static unsigned char host_arena[4 << 20];

void board_print_name(void)
{
    fputs("bluelm on the machine that built it", stdout);
}

void board_put(char c)
{
    putchar(c);
}

uint64_t board_now_us(void *unused)
{
    struct timespec t;
    (void)unused;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint32_t board_cpu_features(void)
{
    return 0;
}

void board_end(int status)
{
    exit(status);
}

board_span board_arena(void)
{
    return (board_span){host_arena, sizeof host_arena};
}

board_span board_stack(void)
{
    return (board_span){NULL, 0};
}
