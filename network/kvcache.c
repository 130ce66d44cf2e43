#include "kvcache.h"

static size_t blm_kv_row_bytes(const blm_kv_cache *kv)
{
    return (size_t)kv->head_dim * (kv->type == BLUELM_KV_F16 ? 2 : 1);
}

BLM_PRIVATE void blm_kv_cache_take(blm_kv_cache *kv, blm_arena *arena)
{
    uint64_t rows = (uint64_t)kv->n_layer * kv->n_head_kv * kv->slots;
    kv->first = 0;
    kv->k = (uint8_t *)blm_arena_take(arena, rows, blm_kv_row_bytes(kv));
    kv->v = (uint8_t *)blm_arena_take(arena, rows, blm_kv_row_bytes(kv));
    kv->k_scale = kv->v_scale = NULL;
    if (kv->type == BLUELM_KV_F16) return;
    kv->k_scale = (uint16_t *)blm_arena_take(arena, rows, sizeof(uint16_t));
    kv->v_scale = (uint16_t *)blm_arena_take(arena, rows, sizeof(uint16_t));
}

/* Slot of a token, counted in rows of head_dim from the first layer's first head. */
static size_t blm_kv_row(const blm_kv_cache *kv, uint32_t layer, uint32_t head, uint32_t token)
{
    return ((size_t)layer * kv->n_head_kv + head) * kv->slots + (token - kv->first);
}

BLM_PRIVATE void blm_kv_cache_store(const blm_kv_cache *kv, const blm_kernels *kernels,
                                    uint32_t layer, uint32_t head, uint32_t position,
                                    const float *key, const float *value)
{
    size_t row = blm_kv_row(kv, layer, head, position);
    size_t at = row * blm_kv_row_bytes(kv);
    if (kv->type == BLUELM_KV_F16) {
        kernels->f16_from_f32((uint16_t *)(void *)(kv->k + at), key, kv->head_dim);
        kernels->f16_from_f32((uint16_t *)(void *)(kv->v + at), value, kv->head_dim);
        return;
    }
    kernels->quantize_kv(key, kv->head_dim, (int8_t *)(kv->k + at), &kv->k_scale[row]);
    kernels->quantize_kv(value, kv->head_dim, (int8_t *)(kv->v + at), &kv->v_scale[row]);
}

BLM_PRIVATE void blm_kv_cache_attend(const blm_kv_cache *kv, const blm_kernels *kernels,
                                     uint32_t layer, uint32_t head, uint32_t from,
                                     blm_attend_args *args)
{
    size_t row = blm_kv_row(kv, layer, head, from), row_bytes = blm_kv_row_bytes(kv);
    args->head_dim = kv->head_dim;
    args->k = kv->k + row * row_bytes;
    args->v = kv->v + row * row_bytes;
    args->k_stride = args->v_stride = row_bytes;
    if (head + 1 < kv->n_head_kv) {
        args->k_next = args->k + kv->slots * row_bytes;
        args->v_next = args->v + kv->slots * row_bytes;
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

/* ---- The window moves on --------------------------------------------------------------- */

BLM_PRIVATE uint64_t blm_kv_cache_keeps(uint32_t window)
{
    return window ? (uint64_t)window - 1 + BLM_ATTEND_BLOCK - 1 : 0;
}

/* The first token that is kept for those from `position` on. */
static uint32_t blm_kv_kept_from(const blm_kv_cache *kv, uint32_t position)
{
    if (position < kv->window) return 0;
    return (position + 1 - kv->window) / BLM_ATTEND_BLOCK * BLM_ATTEND_BLOCK;
}

typedef struct blm_kv_move {
    const blm_kv_cache *kv;
    const blm_workers *workers;
    uint32_t from, count; /* slots that go to the front */
} blm_kv_move;

/* A share of the runs of slots, one for each layer and head. */
static void blm_kv_move_part(void *arg, uint32_t part)
{
    const blm_kv_move *m = (const blm_kv_move *)arg;
    const blm_kv_cache *kv = m->kv;
    size_t bytes = blm_kv_row_bytes(kv);
    uint64_t first, end;
    blm_workers_share((uint64_t)kv->n_layer * kv->n_head_kv, 1, part, m->workers->count, &first,
                      &end);
    for (uint64_t run = first; run < end; run++) {
        size_t row = (size_t)run * kv->slots, from = row + m->from;
        memmove(kv->k + row * bytes, kv->k + from * bytes, m->count * bytes);
        memmove(kv->v + row * bytes, kv->v + from * bytes, m->count * bytes);
        if (kv->type == BLUELM_KV_F16) continue;
        memmove(kv->k_scale + row, kv->k_scale + from, m->count * sizeof(uint16_t));
        memmove(kv->v_scale + row, kv->v_scale + from, m->count * sizeof(uint16_t));
    }
}

BLM_PRIVATE void blm_kv_cache_make_room(blm_kv_cache *kv, const blm_workers *workers,
                                        uint32_t position, uint32_t count)
{
    if (!kv->n_layer || position - kv->first + count <= kv->slots) return;
    uint32_t first = blm_kv_kept_from(kv, position);
    blm_kv_move move = {kv, workers, first - kv->first, position - first};
    blm_workers_run(workers, blm_kv_move_part, &move);
    kv->first = first;
}

/* ---- Snapshots --------------------------------------------------------------------------- */

BLM_PRIVATE uint64_t blm_kv_cache_keep_bytes(const blm_kv_cache *kv)
{
    uint64_t scales = kv->type == BLUELM_KV_F16 ? 0 : sizeof(uint16_t);
    return (uint64_t)kv->n_layer * kv->n_head_kv * blm_kv_cache_keeps(kv->window) * 2 *
           (blm_kv_row_bytes(kv) + scales);
}

/* One array of the cache, `unit` bytes a slot: slots [from, from + count) of every layer and
 * head, packed in memory. Returns the memory behind. */
static uint8_t *blm_kv_pack(const blm_kv_cache *kv, const void *array, size_t unit,
                            uint32_t from, uint32_t count, uint8_t *memory)
{
    const uint8_t *at = (const uint8_t *)array + from * unit;
    for (uint32_t run = 0; run < kv->n_layer * kv->n_head_kv; run++) {
        memcpy(memory, at, count * unit);
        memory += count * unit;
        at += kv->slots * unit;
    }
    return memory;
}

static const uint8_t *blm_kv_unpack(const blm_kv_cache *kv, void *array, size_t unit,
                                    uint32_t count, const uint8_t *memory)
{
    uint8_t *at = (uint8_t *)array;
    for (uint32_t run = 0; run < kv->n_layer * kv->n_head_kv; run++) {
        memcpy(at, memory, count * unit);
        memory += count * unit;
        at += kv->slots * unit;
    }
    return memory;
}

BLM_PRIVATE void blm_kv_cache_save(const blm_kv_cache *kv, uint32_t tokens, uint8_t *memory)
{
    uint32_t first = blm_kv_kept_from(kv, tokens), from = first - kv->first;
    uint32_t count = tokens - first;
    if (!kv->n_layer || !kv->window || !count) return;
    memory = blm_kv_pack(kv, kv->k, blm_kv_row_bytes(kv), from, count, memory);
    memory = blm_kv_pack(kv, kv->v, blm_kv_row_bytes(kv), from, count, memory);
    if (kv->type == BLUELM_KV_F16) return;
    memory = blm_kv_pack(kv, kv->k_scale, sizeof(uint16_t), from, count, memory);
    blm_kv_pack(kv, kv->v_scale, sizeof(uint16_t), from, count, memory);
}

BLM_PRIVATE void blm_kv_cache_restore(blm_kv_cache *kv, uint32_t tokens, const uint8_t *memory)
{
    kv->first = blm_kv_kept_from(kv, tokens);
    uint32_t count = tokens - kv->first;
    if (!kv->n_layer || !count) return;
    memory = blm_kv_unpack(kv, kv->k, blm_kv_row_bytes(kv), count, memory);
    memory = blm_kv_unpack(kv, kv->v, blm_kv_row_bytes(kv), count, memory);
    if (kv->type == BLUELM_KV_F16) return;
    memory = blm_kv_unpack(kv, kv->k_scale, sizeof(uint16_t), count, memory);
    blm_kv_unpack(kv, kv->v_scale, sizeof(uint16_t), count, memory);
}
