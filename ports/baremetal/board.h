/* What a board gives the demo: a console, a clock, memory and a way to end. Each board has
 * these functions in its own folder; everything else here is the same for all. */
#ifndef BLUELM_BOARD_H
#define BLUELM_BOARD_H

#include <stddef.h>
#include <stdint.h>

/* A piece of memory. */
typedef struct board_span {
    unsigned char *start;
    size_t bytes;
} board_span;

/* The board's name and how it was started, one line without its end. */
void board_print_name(void);

/* One character to the console, once there is room for it. */
void board_put(char c);

/* Microseconds since the clock began, as bluelm_port wants it. */
uint64_t board_now_us(void *unused);

/* BLUELM_CPU_*, what the library cannot find out by itself. */
uint32_t board_cpu_features(void);

/* Ends: 0 done, 1 failed. A board switches itself off. */
__attribute__((noreturn)) void board_end(int status);

/* From the link.ld of a board that has one: spans.c makes the functions below of them. */
extern unsigned char board_stack_low[], board_stack_top[];
extern unsigned char board_arena_low[], board_arena_top[];

/* Memory for the engine. */
board_span board_arena(void);

/* The stack, which start-up filled with BOARD_PAINT; no bytes if it cannot be measured. */
board_span board_stack(void);

#define BOARD_PAINT 0xa5

#endif
