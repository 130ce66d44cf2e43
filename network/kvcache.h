/* Keys and values of every token read, per layer and head, as int8 with one f16 scale per
 * token and head, or as f16. */
#ifndef BLM_KVCACHE_H
#define BLM_KVCACHE_H

#include "../kernels/kernels.h"

typedef struct blm_kv_cache {
    uint32_t type; /* BLUELM_KV_INT8 or BLUELM_KV_F16 */
    uint32_t n_layer, n_head_kv, head_dim, context_tokens;
    uint8_t *k, *v;              /* [n_layer][n_head_kv][context_tokens][head_dim]    */
    uint16_t *k_scale, *v_scale; /* [n_layer][n_head_kv][context_tokens], int8 only   */
} blm_kv_cache;

/* Takes k, v and scales from the arena; the other fields are set before. */
BLM_PRIVATE void blm_kv_cache_take(blm_kv_cache *kv, blm_arena *arena);

/* Stores one token's key and value of one head, [head_dim] f32 each. */
BLM_PRIVATE void blm_kv_cache_store(const blm_kv_cache *kv, const blm_kernels *kernels,
                                    uint32_t layer, uint32_t head, uint32_t position,
                                    const float *key, const float *value);

/* Points args at one head's rows and attends; the caller has set the queries, keys, scratch
 * and out. */
BLM_PRIVATE void blm_kv_cache_attend(const blm_kv_cache *kv, const blm_kernels *kernels,
                                     uint32_t layer, uint32_t head, blm_attend_args *args);

#endif
