/* The bump allocator over the caller's block. With a NULL base it only counts, which
 * is how bluelm_plan and bluelm_init share one layout function:
 *
 *   block            base                                        base + limit      end
 *   | 0..63 to align | piece | slack | piece | slack | ... free ... | rest of the 63 |
 *
 * Pieces start at multiples of 64 bytes. Under AddressSanitizer all that is not a
 * piece is poisoned: the slack behind each, what is free, and the rest at the end. */
#ifndef BLM_ARENA_H
#define BLM_ARENA_H

#include "../base/base.h"

#define BLM_ARENA_ALIGN 64u

/* What a block holds more than its pieces, so that a plan is right for every address. */
#define BLM_ARENA_MARGIN (BLM_ARENA_ALIGN - 1u)

typedef struct blm_arena {
    uint8_t *base;   /* aligned to BLM_ARENA_ALIGN, or NULL to count              */
    uint8_t *end;    /* of the caller's block, or NULL                            */
    uint64_t limit;  /* bytes from base                                           */
    uint64_t used;   /* bytes asked for, slack included; past limit when they were
                        not to be had, UINT64_MAX when they do not fit 64 bits    */
    uint64_t peak;   /* the most `used` ever was within limit                     */
    uint64_t wanted; /* the most `used` ever was: without the margin, what a plan
                        needs                                                     */
} blm_arena;

/* Starts an arena on any address. Of `bytes` the margin of 63 is always set aside, even
 * when the block is aligned: `wanted + BLM_ARENA_MARGIN` bytes are enough at every
 * address, and one byte less is too little at every address.
 *   block  NULL: counts only; give UINT64_MAX as bytes to count without a limit */
BLM_PRIVATE void blm_arena_start(blm_arena *a, void *block, uint64_t bytes);

/* Hands out `count` items of `item_bytes`, 64-byte aligned, not cleared. When counting
 * returns NULL. When there is no room, or the product overflows, returns NULL and
 * remembers it: blm_arena_ok tells once, after a whole layout. */
BLM_PRIVATE void *blm_arena_take(blm_arena *a, uint64_t count, uint64_t item_bytes);

/* 1 if every take since the start had its room. */
BLM_PRIVATE int blm_arena_ok(const blm_arena *a);

/* Gives back everything taken since `used` was `mark`. */
BLM_PRIVATE void blm_arena_rewind(blm_arena *a, uint64_t mark);

/* Lifts the poison from the whole block: call it before the block goes back to its
 * owner, as after a failed init. Without AddressSanitizer it does nothing. */
BLM_PRIVATE void blm_arena_release(blm_arena *a);

/* The same, and writes zeros over all that was ever taken. */
BLM_PRIVATE void blm_arena_wipe(blm_arena *a);

#endif
