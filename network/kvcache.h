/* Keys and values of tokens read, per layer and head, as int8 with one f16 scale per token
 * and head, or as f16: of the whole context, or of a window that moves along.
 *
 *   slots of a window:   | window - 1 tokens that are still seen, and up to a block | a chunk |
 *
 * When a chunk does not fit behind what is there, what is still seen moves to the front, from
 * where a block of BLM_ATTEND_BLOCK tokens begins. */
#ifndef BLM_KVCACHE_H
#define BLM_KVCACHE_H

#include "../kernels/kernels.h"
#include "workers.h"

typedef struct blm_kv_cache {
    uint32_t type; /* BLUELM_KV_INT8 or BLUELM_KV_F16 */
    uint32_t n_layer, n_head_kv, head_dim;
    uint32_t slots;  /* tokens there is room for                                       */
    uint32_t window; /* tokens that one sees, itself included; 0: all stay              */
    uint32_t first;  /* the token in slot 0: a block begins there                       */
    uint8_t *k, *v;  /* [n_layer][n_head_kv][slots][head_dim]                           */
    uint16_t *k_scale, *v_scale; /* [n_layer][n_head_kv][slots], int8 only             */
} blm_kv_cache;

/* Takes k, v and scales from the arena; type .. window are set before. */
BLM_PRIVATE void blm_kv_cache_take(blm_kv_cache *kv, blm_arena *arena);

/* Tokens before a chunk that are kept, at most. */
BLM_PRIVATE uint64_t blm_kv_cache_keeps(uint32_t window);

/* Makes room for tokens [position, position + count), count <= slots - what is kept. */
BLM_PRIVATE void blm_kv_cache_make_room(blm_kv_cache *kv, const blm_workers *workers,
                                        uint32_t position, uint32_t count);

/* Stores one token's key and value of one head, [head_dim] f32 each. */
BLM_PRIVATE void blm_kv_cache_store(const blm_kv_cache *kv, const blm_kernels *kernels,
                                    uint32_t layer, uint32_t head, uint32_t position,
                                    const float *key, const float *value);

/* Points args at one head's rows from token `from` on and attends; the caller has set the
 * queries, keys, scratch and out. */
BLM_PRIVATE void blm_kv_cache_attend(const blm_kv_cache *kv, const blm_kernels *kernels,
                                     uint32_t layer, uint32_t head, uint32_t from,
                                     blm_attend_args *args);

/* Copies what is kept of the first `tokens` tokens to memory and back: any alignment. What is
 * less than room was planned for leaves the rest of the memory as it is. */
BLM_PRIVATE uint64_t blm_kv_cache_keep_bytes(const blm_kv_cache *kv);
BLM_PRIVATE void blm_kv_cache_save(const blm_kv_cache *kv, uint32_t tokens, uint8_t *memory);
BLM_PRIVATE void blm_kv_cache_restore(blm_kv_cache *kv, uint32_t tokens, const uint8_t *memory);

#endif
