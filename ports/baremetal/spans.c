/* A board's memory, as its linker script divides it. */
#include "board.h"

static board_span board_between(unsigned char *start, unsigned char *end)
{
    return (board_span){start, (size_t)((uintptr_t)end - (uintptr_t)start)};
}

board_span board_arena(void)
{
    return board_between(board_arena_low, board_arena_top);
}

board_span board_stack(void)
{
    return board_between(board_stack_low, board_stack_top);
}
