#include "state.h"

static uint64_t blm_state_column_floats(const blm_language *m)
{
    return m->taps ? (uint64_t)(m->taps - 1) * m->channels : 0;
}

static uint64_t blm_state_memory_floats(const blm_language *m)
{
    return (uint64_t)m->v_heads * m->state_dim * m->state_dim;
}

static uint64_t blm_state_column_bytes(const blm_language *m)
{
    return (uint64_t)(m->n_convolution + m->n_delta) * blm_state_column_floats(m) *
           sizeof(float);
}

static uint64_t blm_state_memory_bytes(const blm_language *m)
{
    return (uint64_t)m->n_delta * blm_state_memory_floats(m) * sizeof(float);
}

BLM_PRIVATE void blm_state_take(blm_state *s, blm_arena *arena, const blm_language *m,
                                uint32_t kv_type, uint32_t context_tokens,
                                uint32_t chunk_tokens)
{
    uint64_t window = blm_kv_cache_keeps(m->window) + chunk_tokens;
    memset(s, 0, sizeof *s);
    s->model = m;
    s->context.type = kv_type;
    s->context.n_head_kv = m->n_head_kv;
    s->context.head_dim = m->head_dim;
    s->window = s->context;
    s->context.n_layer = m->n_context;
    s->context.slots = context_tokens;
    s->window.n_layer = m->n_window;
    s->window.head_dim = m->window_head_dim;
    s->window.slots = (uint32_t)BLM_MIN(window, context_tokens);
    if (m->n_window && s->window.slots < context_tokens) s->window.window = m->window;
    blm_kv_cache_take(&s->context, arena);
    if (m->n_window) blm_kv_cache_take(&s->window, arena);
    if (!m->taps) return;
    s->columns = (float *)blm_arena_take(arena, blm_state_column_bytes(m), 1);
    if (m->n_delta) s->memories = (float *)blm_arena_take(arena, blm_state_memory_bytes(m), 1);
}

BLM_PRIVATE void blm_state_reset(blm_state *s)
{
    s->tokens = s->context.first = s->window.first = 0;
    if (s->columns) memset(s->columns, 0, (size_t)blm_state_column_bytes(s->model));
    if (s->memories) memset(s->memories, 0, (size_t)blm_state_memory_bytes(s->model));
}

BLM_PRIVATE int blm_state_is_plain(const blm_state *s)
{
    return !s->model->taps && !s->window.window;
}

BLM_PRIVATE uint64_t blm_state_snapshot_bytes(const blm_state *s)
{
    return sizeof s->tokens + blm_kv_cache_keep_bytes(&s->window) +
           blm_state_column_bytes(s->model) + blm_state_memory_bytes(s->model);
}

BLM_PRIVATE void blm_state_save(const blm_state *s, uint8_t *memory)
{
    size_t columns = (size_t)blm_state_column_bytes(s->model);
    memcpy(memory, &s->tokens, sizeof s->tokens);
    memory += sizeof s->tokens;
    blm_kv_cache_save(&s->window, s->tokens, memory);
    memory += blm_kv_cache_keep_bytes(&s->window);
    if (s->columns) memcpy(memory, s->columns, columns);
    if (s->memories)
        memcpy(memory + columns, s->memories, (size_t)blm_state_memory_bytes(s->model));
}

BLM_PRIVATE void blm_state_restore(blm_state *s, const uint8_t *memory)
{
    size_t columns = (size_t)blm_state_column_bytes(s->model);
    memcpy(&s->tokens, memory, sizeof s->tokens);
    memory += sizeof s->tokens;
    if (s->window.window) blm_kv_cache_restore(&s->window, s->tokens, memory);
    memory += blm_kv_cache_keep_bytes(&s->window);
    if (s->columns) memcpy(s->columns, memory, columns);
    if (s->memories)
        memcpy(s->memories, memory + columns, (size_t)blm_state_memory_bytes(s->model));
}
