/* The bump allocator over the caller's block. With a NULL base it only counts, which
 * is how bluelm_plan and bluelm_init share one layout function. */
#ifndef BLM_ARENA_H
#define BLM_ARENA_H

#include "base.h"

#define BLM_ARENA_ALIGN 64

typedef struct blm_arena {
    uint8_t *base;   /* aligned to BLM_ARENA_ALIGN, or NULL to count            */
    uint64_t limit;  /* bytes from base                                         */
    uint64_t used;   /* bytes handed out, alignment and red zones included      */
    uint64_t peak;   /* the most `used` ever was                                */
    uint64_t wanted; /* the most it would have been without the limit           */
} blm_arena;

/* Starts an arena on any address. Aligning the base takes up to 63 bytes, which the
 * plan counts as BLM_ARENA_ALIGN - 1 always, so that it holds for every address. */
BLM_PRIVATE void blm_arena_start(blm_arena *a, void *block, uint64_t bytes);

/* Hands out `count` items of `item_bytes`, 64-byte aligned, not cleared. When counting
 * returns NULL. When there is no room, or the product overflows, returns NULL and
 * remembers it: blm_arena_ok tells once, after a whole layout. */
BLM_PRIVATE void *blm_arena_take(blm_arena *a, uint64_t count, uint64_t item_bytes);

/* 1 if every take since the start had its room. */
BLM_PRIVATE int blm_arena_ok(const blm_arena *a);

/* Gives back everything taken since `used` was `mark`. */
BLM_PRIVATE void blm_arena_rewind(blm_arena *a, uint64_t mark);

#endif
