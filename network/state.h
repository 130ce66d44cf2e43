/* What a language model remembers of the tokens it has read, for all its layers: keys and
 * values of the context, keys and values of a window, or a state of fixed size. A layer
 * knows its kind and its place among the layers of that kind (blm_layer.ordinal). */
#ifndef BLM_STATE_H
#define BLM_STATE_H

#include "kvcache.h"
#include "model.h"

typedef struct blm_state {
    const blm_language *model;
    blm_kv_cache context, window;
    float
        *columns; /* [recurrent layers][taps - 1][channels]: into convolutions, oldest first */
    float *memories; /* [delta layers][v_heads][state_dim][state_dim]: a row per value    */
    uint32_t tokens; /* read by all layers                                            */
} blm_state;

/* Takes its pieces from the arena, for chunks of up to chunk_tokens. Reset it before use. */
BLM_PRIVATE void blm_state_take(blm_state *s, blm_arena *arena, const blm_language *m,
                                uint32_t kv_type, uint32_t context_tokens,
                                uint32_t chunk_tokens);

/* Forgets everything. */
BLM_PRIVATE void blm_state_reset(blm_state *s);

/* Whether going back needs no snapshot: every layer keeps the whole context. */
BLM_PRIVATE int blm_state_is_plain(const blm_state *s);

/* A snapshot holds what is not found again by reading fewer slots of the context: the
 * windows, the fixed states and how many tokens had been read. Bytes of any alignment. What
 * the context holds of those tokens must still be there when it is restored. */
BLM_PRIVATE uint64_t blm_state_snapshot_bytes(const blm_state *s);
BLM_PRIVATE void blm_state_save(const blm_state *s, uint8_t *memory);
BLM_PRIVATE void blm_state_restore(blm_state *s, const uint8_t *memory);

#endif
