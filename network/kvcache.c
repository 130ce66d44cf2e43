#include "kvcache.h"

static size_t blm_kv_value_bytes(const blm_kv_cache *kv)
{
    return kv->type == BLUELM_KV_F16 ? 2 : 1;
}

BLM_PRIVATE void blm_kv_cache_take(blm_kv_cache *kv, blm_arena *arena)
{
    uint64_t rows = (uint64_t)kv->n_layer * kv->n_head_kv * kv->context_tokens;
    uint64_t row_bytes = kv->head_dim * blm_kv_value_bytes(kv);
    kv->k = (uint8_t *)blm_arena_take(arena, rows, row_bytes);
    kv->v = (uint8_t *)blm_arena_take(arena, rows, row_bytes);
    kv->k_scale = kv->v_scale = NULL;
    if (kv->type == BLUELM_KV_F16) return;
    kv->k_scale = (uint16_t *)blm_arena_take(arena, rows, sizeof(uint16_t));
    kv->v_scale = (uint16_t *)blm_arena_take(arena, rows, sizeof(uint16_t));
}

/* Row of a token in the cache, counted in rows of head_dim. */
static size_t blm_kv_row(const blm_kv_cache *kv, uint32_t layer, uint32_t head,
                         uint32_t position)
{
    return ((size_t)layer * kv->n_head_kv + head) * kv->context_tokens + position;
}

BLM_PRIVATE void blm_kv_cache_store(const blm_kv_cache *kv, const blm_kernels *kernels,
                                    uint32_t layer, uint32_t head, uint32_t position,
                                    const float *key, const float *value)
{
    size_t row = blm_kv_row(kv, layer, head, position);
    size_t at = row * kv->head_dim * blm_kv_value_bytes(kv);
    if (kv->type == BLUELM_KV_F16) {
        kernels->f16_from_f32((uint16_t *)(void *)(kv->k + at), key, kv->head_dim);
        kernels->f16_from_f32((uint16_t *)(void *)(kv->v + at), value, kv->head_dim);
        return;
    }
    kernels->quantize_kv(key, kv->head_dim, (int8_t *)(kv->k + at), &kv->k_scale[row]);
    kernels->quantize_kv(value, kv->head_dim, (int8_t *)(kv->v + at), &kv->v_scale[row]);
}

BLM_PRIVATE void blm_kv_cache_attend(const blm_kv_cache *kv, const blm_kernels *kernels,
                                     uint32_t layer, uint32_t head, blm_attend_args *args)
{
    size_t row = blm_kv_row(kv, layer, head, 0);
    size_t row_bytes = kv->head_dim * blm_kv_value_bytes(kv);
    args->head_dim = kv->head_dim;
    args->k = kv->k + row * row_bytes;
    args->v = kv->v + row * row_bytes;
    args->k_stride = args->v_stride = row_bytes;
    if (head + 1 < kv->n_head_kv) {
        args->k_next = args->k + kv->context_tokens * row_bytes;
        args->v_next = args->v + kv->context_tokens * row_bytes;
    }
    if (kv->type == BLUELM_KV_F16) {
        kernels->attend_f16(args);
        return;
    }
    args->k_scale = (const uint8_t *)(kv->k_scale + row);
    args->v_scale = (const uint8_t *)(kv->v_scale + row);
    args->k_scale_stride = args->v_scale_stride = sizeof(uint16_t);
    kernels->attend_q8(args);
}
