#include "arena.h"

#if defined(__SANITIZE_ADDRESS__)
#define BLM_ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BLM_ARENA_POISONS 1
#endif
#endif

#ifdef BLM_ARENA_POISONS
#include <sanitizer/asan_interface.h>
#endif

/* Makes [from, to) an error to touch. */
static void blm_arena_poison(const uint8_t *from, const uint8_t *to)
{
#ifdef BLM_ARENA_POISONS
    __asan_poison_memory_region(from, (size_t)(to - from));
#else
    (void)from, (void)to;
#endif
}

static void blm_arena_unpoison(const uint8_t *from, const uint8_t *to)
{
#ifdef BLM_ARENA_POISONS
    __asan_unpoison_memory_region(from, (size_t)(to - from));
#else
    (void)from, (void)to;
#endif
}

BLM_PRIVATE void blm_arena_start(blm_arena *a, void *block, uint64_t bytes)
{
    memset(a, 0, sizeof *a);
    if (block != NULL) {
        uintptr_t address = (uintptr_t)block;
        size_t lead = (size_t)(-address & BLM_ARENA_MARGIN);
        bytes = BLM_MIN(bytes, UINTPTR_MAX - address);
        a->end = (uint8_t *)block + (size_t)bytes;
        /* An engine that lived here before may have left poison in any place. */
        blm_arena_unpoison((uint8_t *)block, a->end);
        if (lead <= bytes) {
            a->base = (uint8_t *)block + lead;
            blm_arena_poison(a->base, a->end);
        } else {
            a->base = a->end; /* too small for any piece: limit is 0 */
        }
    }
    a->limit = bytes > BLM_ARENA_MARGIN ? bytes - BLM_ARENA_MARGIN : 0;
}

BLM_PRIVATE void *blm_arena_take(blm_arena *a, uint64_t count, uint64_t item_bytes)
{
    uint64_t start = a->used, bytes, padded;
    if (!blm_mul_u64(count, item_bytes, &bytes) ||
        !blm_add_u64(bytes, BLM_ARENA_MARGIN, &padded) ||
        !blm_add_u64(start, padded & ~(uint64_t)BLM_ARENA_MARGIN, &a->used)) {
        a->used = UINT64_MAX;
    }
    a->wanted = BLM_MAX(a->wanted, a->used);
    if (a->used > a->limit) return NULL;
    a->peak = BLM_MAX(a->peak, a->used);
    if (a->base == NULL) return NULL;
    blm_arena_unpoison(a->base + (size_t)start, a->base + (size_t)(start + bytes));
    return a->base + (size_t)start;
}

BLM_PRIVATE int blm_arena_ok(const blm_arena *a)
{
    return a->wanted <= a->limit;
}

BLM_PRIVATE void blm_arena_rewind(blm_arena *a, uint64_t mark)
{
    if (mark >= a->used) return;
    if (a->base != NULL && mark <= a->limit) {
        blm_arena_poison(a->base + (size_t)mark, a->end);
    }
    a->used = mark;
}

BLM_PRIVATE void blm_arena_release(blm_arena *a)
{
    if (a->base != NULL) blm_arena_unpoison(a->base, a->end);
}

BLM_PRIVATE void blm_arena_wipe(blm_arena *a)
{
    blm_arena_release(a);
    if (a->base == NULL) return;
    memset(a->base, 0, (size_t)a->peak);
    /* As if somebody read it: what nobody reads a compiler may leave unwritten. */
    __asm__ volatile("" : : "r"(a->base) : "memory");
}
