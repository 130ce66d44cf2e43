#include "merge.h"

#include "unicode.h"

/* ---- The heap -------------------------------------------------------------------- */

/* Whether the pair at place a merges before the pair at place b: leftmost on ties. */
static int blm_pair_before(const blm_merger *m, uint32_t a, uint32_t b)
{
    return m->key[a] != m->key[b] ? m->key[a] < m->key[b] : a < b;
}

static void blm_heap_put(blm_merger *m, uint32_t slot, uint32_t place)
{
    m->heap[slot] = (uint16_t)place;
    m->slot[place] = (uint16_t)slot;
}

/* Moves the pair at `place` from `slot` up to where it belongs. Returns its slot. */
static uint32_t blm_heap_up(blm_merger *m, uint32_t slot, uint32_t place)
{
    while (slot > 0) {
        uint32_t parent = (slot - 1) / 2;
        if (!blm_pair_before(m, place, m->heap[parent])) break;
        blm_heap_put(m, slot, m->heap[parent]);
        slot = parent;
    }
    blm_heap_put(m, slot, place);
    return slot;
}

static void blm_heap_down(blm_merger *m, uint32_t slot, uint32_t place)
{
    for (;;) {
        uint32_t child = 2 * slot + 1;
        if (child >= m->count) break;
        if (child + 1 < m->count && blm_pair_before(m, m->heap[child + 1], m->heap[child]))
            child++;
        if (!blm_pair_before(m, m->heap[child], place)) break;
        blm_heap_put(m, slot, m->heap[child]);
        slot = child;
    }
    blm_heap_put(m, slot, place);
}

/* Puts the pair at `place`, with a new key, into the heap or back in order. */
static void blm_heap_set(blm_merger *m, uint32_t place, uint32_t key)
{
    uint32_t slot = m->slot[place];
    m->key[place] = key;
    if (slot == BLM_NOT_WAITING) slot = m->count++;
    blm_heap_down(m, blm_heap_up(m, slot, place), place);
}

static void blm_heap_remove(blm_merger *m, uint32_t place)
{
    uint32_t slot = m->slot[place];
    if (slot == BLM_NOT_WAITING) return;
    m->slot[place] = BLM_NOT_WAITING;
    uint32_t last = m->heap[--m->count];
    if (last == place) return;
    blm_heap_down(m, blm_heap_up(m, slot, last), last);
}

/* ---- Symbols --------------------------------------------------------------------- */

BLM_PRIVATE uint32_t blm_merger_length(const blm_merger *m, uint32_t place)
{
    return m->span[place] + 1u;
}

/* A symbol's length stands at both of its ends, so that both neighbours find it. */
static void blm_set_symbol(blm_merger *m, uint32_t place, uint32_t length)
{
    m->span[place] = (uint16_t)(length - 1);
    m->span[place + length - 1] = (uint16_t)(length - 1);
}

/* A score as a key: the best score is the least key, a NaN the greatest. */
static uint32_t blm_score_key(const blm_pieces *p, int32_t token)
{
    if (p->scores == NULL) return 0;
    uint32_t bits = blm_load_u32(p->scores + (size_t)token * 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return UINT32_MAX;
    if (bits == 0x80000000u) bits = 0; /* -0 equals 0 */
    return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

/* Whether [left, right) and [right, end) may merge, and when. */
static int blm_pair_key(const blm_pieces *p, const blm_run *run, uint32_t left, uint32_t right,
                        uint32_t end, uint32_t *key)
{
    if (p->merges != NULL) return blm_pieces_merge_rank(p, run, left, right, end, key);
    int32_t token = blm_pieces_find(p, run, left, end, BLM_MERGED_TYPES);
    if (token < 0) return 0;
    *key = blm_score_key(p, token);
    return 1;
}

/* Looks again at the pair of the symbol at `left` and the one behind it, if any. */
static void blm_pair_refresh(blm_merger *m, const blm_pieces *p, const blm_run *run,
                             uint32_t left, uint32_t to)
{
    uint32_t key, right = left + blm_merger_length(m, left);
    if (right < to &&
        blm_pair_key(p, run, left, right, right + blm_merger_length(m, right), &key))
        blm_heap_set(m, left, key);
    else
        blm_heap_remove(m, left);
}

/* Length of the first symbol of [at, to): a character, or a byte. */
static uint32_t blm_first_symbol(const blm_run *run, uint32_t at, uint32_t to)
{
    uint32_t character;
    if (run->coding == BLM_CODE_BYTES || at < run->prefix) return 1;
    return blm_utf8_decode(run->text + (at - run->prefix), to - at, &character);
}

BLM_PRIVATE void blm_merger_run(blm_merger *m, const blm_pieces *p, const blm_run *run,
                                uint32_t from, uint32_t to)
{
    m->count = 0;
    for (uint32_t at = from; at < to; at += blm_merger_length(m, at)) {
        blm_set_symbol(m, at, blm_first_symbol(run, at, to));
        m->slot[at] = BLM_NOT_WAITING;
    }
    for (uint32_t at = from; at < to; at += blm_merger_length(m, at))
        blm_pair_refresh(m, p, run, at, to);
    while (m->count > 0) {
        uint32_t left = m->heap[0];
        uint32_t right = left + blm_merger_length(m, left);
        blm_heap_remove(m, right);
        blm_set_symbol(m, left, right - left + blm_merger_length(m, right));
        blm_pair_refresh(m, p, run, left, to);
        if (left > from) blm_pair_refresh(m, p, run, left - 1 - m->span[left - 1], to);
    }
}

BLM_PRIVATE int blm_merger_init(blm_merger *m, blm_arena *a, uint32_t places)
{
    memset(m, 0, sizeof *m);
    m->key = blm_arena_take(a, places, sizeof *m->key);
    m->heap = blm_arena_take(a, places, sizeof *m->heap);
    m->slot = blm_arena_take(a, places, sizeof *m->slot);
    m->span = blm_arena_take(a, places, sizeof *m->span);
    return m->key != NULL && m->heap != NULL && m->slot != NULL && m->span != NULL;
}
