/* Joining neighbouring symbols, the best pair first, until none is left: what both kinds
 * of BPE do. A symbol is named by the place of its first byte. The queue is a heap that
 * holds each symbol at most once, for its pair with the symbol behind it, and changes
 * entries where they stand, so that n bytes take O(n log n) steps and a fixed memory. */
#ifndef BLM_MERGE_H
#define BLM_MERGE_H

#include "pieces.h"

/* Most places of one run: 65,535 bytes of text and a space before them. */
#define BLM_MERGE_MAX 65536u

typedef struct blm_merger {
    uint32_t *key;  /* [places] of a symbol: when its pair merges, less is sooner          */
    uint16_t *heap; /* [places] the pairs waiting, by the place of their left symbol       */
    uint16_t *slot; /* [places] of a symbol: where in the heap it is, or BLM_NOT_WAITING   */
    uint16_t *span; /* [places] length of a symbol - 1, at its first and at its last place */
    uint32_t count; /* pairs in the heap                                                   */
} blm_merger;

#define BLM_NOT_WAITING 0xffffu

/* Takes the four tables, 10 bytes a place, from the arena. Returns 1, or 0 when there is
 * no memory to write to. */
BLM_PRIVATE int blm_merger_init(blm_merger *m, blm_arena *a, uint32_t places);

/* Cuts [from, to) of a run into characters (BLM_CODE_MARK) or bytes (BLM_CODE_BYTES) and
 * joins them, by rank where the vocabulary has merges, else by score. Then blm_merger_length walks the
 * symbols from `from` on. */
BLM_PRIVATE void blm_merger_run(blm_merger *m, const blm_pieces *p, const blm_run *run,
                                uint32_t from, uint32_t to);

/* Bytes of the symbol that begins at a place. */
BLM_PRIVATE uint32_t blm_merger_length(const blm_merger *m, uint32_t place);

/* Types of tokens that text can become by merging: never control, unknown or byte
 * tokens, so that what a user types stays text. */
#define BLM_MERGED_TYPES (BLM_TOKEN_MASK(BLM_TOKEN_NORMAL) | BLM_TOKEN_MASK(BLM_TOKEN_USER))

#endif
