/* Layouts that never live at the same time and so share one place: each is taken from
 * the same mark, and the place becomes as large as the largest.
 *
 *   mark            end
 *   | layout 1 |....|
 *   | layout 2 .....|
 */
#ifndef BLM_OVERLAY_H
#define BLM_OVERLAY_H

#include "arena.h"

typedef struct blm_overlay {
    uint64_t mark, end; /* as blm_arena.used */
} blm_overlay;

static inline BLM_UNUSED void blm_overlay_open(blm_overlay *o, const blm_arena *a)
{
    o->mark = o->end = a->used;
}

/* Ends the layout taken since the mark and returns its bytes; the next starts over. */
static inline BLM_UNUSED uint64_t blm_overlay_next(blm_overlay *o, blm_arena *a)
{
    uint64_t bytes = a->used - o->mark;
    o->end = BLM_MAX(o->end, a->used);
    blm_arena_rewind(a, o->mark);
    return bytes;
}

/* Takes the place itself, after the last blm_overlay_next. Returns its bytes. */
static inline BLM_UNUSED uint64_t blm_overlay_close(blm_overlay *o, blm_arena *a)
{
    blm_arena_take(a, o->end - o->mark, 1);
    return o->end - o->mark;
}

#endif
