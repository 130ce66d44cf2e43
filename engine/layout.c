/* Plan and init: one layout of the arena. */
#include "engine.h"

#include "../arena/overlay.h"

/* ---- Pieces ------------------------------------------------------------------------------ */

static void blm_layout_compute(const blm_layout *l, blm_compute *c)
{
    memset(c, 0, sizeof *c);
    if (l->port) c->workers.port = *l->port;
    c->workers.count = l->config.workers;
    c->activation_bits = blm_activation_bits(l->config.activation_type);
    c->vision_activation_bits = blm_activation_bits(l->config.vision_activation_type);
    blm_kernels_init(&c->kernels, l->port ? l->port->cpu_features : 0, l->config.cpu_mask);
}

BLM_COLD static void blm_layout_overlay(blm_layout *l)
{
    bluelm_memory *m = &l->memory;
    blm_compute counted, *c = l->e ? &l->e->compute : &counted;
    blm_overlay overlay;
    blm_layout_compute(l, c);
    blm_overlay_open(&overlay, l->arena);
    if (l->has_vision) blm_layout_vision(l, c);
    blm_overlay_next(&overlay, l->arena);
    if (l->has_language) {
        blm_layout_language(l, c);
        m->language_phase_bytes = blm_overlay_next(&overlay, l->arena);
    }
    m->overlay_bytes = blm_overlay_close(&overlay, l->arena);
}

BLM_PRIVATE uint64_t blm_layout_part(const blm_arena *arena, uint64_t *mark)
{
    uint64_t bytes = arena->used - *mark;
    *mark = arena->used;
    return bytes;
}

/* What a conversation keeps from step to step. */
BLM_COLD static void blm_layout_conversation(blm_layout *l, uint64_t *mark)
{
    blm_arena *arena = l->arena;
    bluelm_memory *m = &l->memory;
    const uint32_t n_vocab = l->language.n_vocab;
    uint64_t snapshot_bytes;
    uint16_t *image_tokens = NULL;
    blm_layout_state(l, &snapshot_bytes);
    m->kv_cache_bytes = blm_layout_part(arena, mark);

    if (l->has_language || l->has_vision)
        image_tokens = (uint16_t *)blm_arena_take(arena, l->image_rows,
                                                  (uint64_t)l->row_values * sizeof(uint16_t));
    m->image_tokens_bytes = blm_layout_part(arena, mark);

    float *logits = (float *)blm_arena_take(arena, n_vocab, sizeof(float));
    blm_candidate *candidates =
        (blm_candidate *)blm_arena_take(arena, n_vocab, sizeof(blm_candidate));
    m->sampling_bytes = blm_layout_part(arena, mark);

    if (!l->has_language) l->config.marks = 0;
    blm_mark *marks = blm_marks_take(arena, l->config.marks, n_vocab, snapshot_bytes);
    m->marks_bytes = blm_layout_part(arena, mark);
    if (!l->e) return;
    l->e->image_tokens = image_tokens;
    l->e->logits = logits;
    l->e->candidates = candidates;
    l->e->marks = marks;
}

/* What waits to be read, and what was. */
BLM_COLD static void blm_layout_queue(blm_layout *l)
{
    const bluelm_config *c = &l->config;
    blm_arena *arena = l->arena;
    blm_input in = {.capacity = c->context_tokens,
                    .text_capacity = c->text_bytes + BLM_MARKUP_BYTES};
    in.tokens = (int32_t *)blm_arena_take(arena, in.capacity, sizeof(int32_t));
    in.text = (char *)blm_arena_take(arena, in.text_capacity, 1);
    uint32_t *positions = (uint32_t *)blm_arena_take(arena, in.capacity + 1u, sizeof(uint32_t));
    blm_queued_image *images = (blm_queued_image *)blm_arena_take(arena, BLM_MAX_QUEUED_IMAGES,
                                                                  sizeof(blm_queued_image));
    char *token_text =
        (char *)blm_arena_take(arena, BLM_STOP_BYTES + 1 + BLM_TOKEN_TEXT_ROOM, 1);
    if (!l->e) return;
    in.vocab = &l->e->vocab;
    l->e->input = in;
    l->e->positions = positions;
    l->e->images = images;
    l->e->token_text = token_text;
}

/* How many image tokens a picture and a tile can have. Those that see each other lie in one
 * chunk. */
static void blm_layout_size_pictures(blm_layout *l)
{
    bluelm_config *c = &l->config;
    l->image_rows = l->tile_rows = c->max_image_tokens;
    blm_layout_picture_tokens(l, &l->image_rows, &l->tile_rows);
    l->image_rows = BLM_MIN(l->image_rows, c->context_tokens);
    l->tile_rows = BLM_MIN(l->tile_rows, l->image_rows);
    if (!l->language.two_way) return;
    uint32_t whole = l->tile_rows;
    if (l->language.first_sees) whole = BLM_MAX(whole, 1u) + 1;
    c->chunk_tokens = BLM_MAX(c->chunk_tokens, BLM_MIN(whole, c->context_tokens));
}

/* The pieces that come before what the language model remembers. */
static int blm_layout_files(blm_layout *l, uint64_t *mark, bluelm_error *err)
{
    bluelm_memory *m = &l->memory;
    int code = blm_layout_llm(l, mark, err);
    if (code < 0 || (code = blm_layout_open_vision(l, err)) < 0) return code;
    blm_layout_markup(l);
    blm_layout_size_pictures(l);
    m->weights_view_bytes += blm_layout_part(l->arena, mark);
    blm_layout_queue(l);
    m->engine_bytes += blm_layout_part(l->arena, mark);
    return BLUELM_OK;
}

/* ---- All of it --------------------------------------------------------------------------- */

static void blm_layout_describe(blm_layout *l)
{
    bluelm_memory *m = &l->memory;
    m->weights_bytes = (uint64_t)l->weights->llm_bytes + l->weights->mmproj_bytes;
    m->context_tokens = l->config.context_tokens;
    m->chunk_tokens = l->config.chunk_tokens;
    m->workers = l->config.workers;
    m->activation_bits = blm_activation_bits(l->config.activation_type);
}

BLM_COLD static int blm_layout_caps(const blm_layout *l, bluelm_error *err)
{
    const bluelm_config *c = &l->config;
    const bluelm_memory *m = &l->memory;
    const struct {
        const char *name;
        uint64_t need, cap;
    } parts[] = {
        {"weights view", m->weights_view_bytes, c->max_weights_view_bytes},
        {"tokenizer", m->tokenizer_bytes, c->max_tokenizer_bytes},
        {"kv cache", m->kv_cache_bytes, c->max_kv_cache_bytes},
        {"image tokens", m->image_tokens_bytes, c->max_image_tokens_bytes},
        {"activations", BLM_MAX(m->vision_phase_bytes, m->language_phase_bytes),
         c->max_activations_bytes},
        {"image decode", m->image_decode_bytes, c->max_image_decode_bytes},
        {"arena", m->total_bytes, c->max_total_bytes},
    };
    for (uint32_t i = 0; i < BLM_COUNT_OF(parts); i++)
        if (parts[i].cap && parts[i].need > parts[i].cap)
            return blm_fail(err, BLUELM_E_BUDGET, parts[i].name, parts[i].need, parts[i].cap,
                            0);
    return BLUELM_OK;
}

BLM_PRIVATE int blm_engine_layout(blm_layout *l, blm_arena *arena,
                                  const bluelm_weights *weights, const bluelm_config *config,
                                  const bluelm_port *port, bluelm_error *err)
{
    uint64_t mark = 0;
    int code;
    memset(l, 0, sizeof *l);
    l->arena = arena;
    l->weights = weights;
    l->port = port;
    if (config) l->config = *config;
    if (!weights->llm && weights->llm_bytes) return blm_fail_null(err, "weights.llm");
    if (!weights->mmproj && weights->mmproj_bytes) return blm_fail_null(err, "weights.mmproj");
    l->e = (bluelm *)blm_arena_take(arena, 1, sizeof *l->e);
    if (l->e) memset(l->e, 0, sizeof *l->e);
    l->memory.engine_bytes = blm_layout_part(arena, &mark);
    if ((code = blm_config_resolve(&l->config, err)) < 0 ||
        (code = blm_layout_files(l, &mark, err)) < 0)
        return code;
    blm_layout_conversation(l, &mark);
    blm_layout_overlay(l);
    if (!blm_add_u64(arena->used, BLM_ARENA_MARGIN, &l->memory.total_bytes) ||
        arena->wanted == UINT64_MAX)
        return blm_fail(err, BLUELM_E_ARG, "config: an arena of over 2^64 bytes", 0, 0, 0);
    blm_layout_describe(l);
    return blm_layout_caps(l, err);
}

/* ---- Public ------------------------------------------------------------------------------ */

BLM_PRIVATE BLM_COLD int blm_engine_count(blm_layout *l, const bluelm_weights *weights,
                                          const bluelm_config *config, bluelm_error *err)
{
    blm_arena counting;
    blm_arena_start(&counting, NULL, UINT64_MAX);
    return blm_engine_layout(l, &counting, weights, config, NULL, err);
}

int bluelm_plan(const bluelm_weights *weights, const bluelm_config *config, bluelm_memory *need,
                bluelm_error *err)
{
    blm_layout layout;
    if (!weights || !need) return blm_fail_null(err, weights ? "need" : "weights");
    int code = blm_engine_count(&layout, weights, config, err);
    *need = layout.memory;
    return code;
}

/* Not within bluelm_init, as blm_engine_build: a layout takes room on the stack. */
BLM_COLD static int blm_plan_bytes(const bluelm_weights *weights, const bluelm_config *config,
                                   uint64_t *total_bytes, bluelm_error *err)
{
    blm_layout layout;
    if (!weights) return blm_fail_null(err, "weights");
    int code = blm_engine_count(&layout, weights, config, err);
    *total_bytes = layout.memory.total_bytes;
    return code;
}

/* The files may have changed between the layouts: each was sound by itself then, but the
 * second is not what there is room for. */
static int blm_layout_as_planned(const blm_layout *l, uint64_t planned_bytes, bluelm_error *err)
{
    if (blm_arena_ok(l->arena) && l->memory.total_bytes == planned_bytes) return BLUELM_OK;
    return blm_fail(err, BLUELM_E_FORMAT, "a model file changed while it was read",
                    planned_bytes, l->memory.total_bytes, 0);
}

/* The engine takes over what was opened. Its own parts may point at one another, and at
 * nothing of the layout. */
static void blm_layout_hand_over(const blm_layout *l)
{
    bluelm *e = l->e;
    e->config = l->config;
    e->arena = *l->arena;
    e->has_vision = l->has_vision;
    e->has_language = l->has_language;
    e->has_vocab = l->has_vocab;
    e->chat = l->chat;
    e->language = l->language;
    blm_layout_hand_over_vision(l);
    e->row_values = l->row_values;
    e->image_rows = l->image_rows;
    e->tile_rows = l->tile_rows;
    e->stats.arena_bytes = l->memory.total_bytes;
}

BLM_PRIVATE int blm_engine_build(bluelm **engine, void *arena, size_t arena_bytes,
                                 uint64_t planned_bytes, const bluelm_weights *weights,
                                 const bluelm_config *config, const bluelm_port *port,
                                 bluelm_error *err)
{
    blm_arena block;
    blm_layout layout;
    blm_arena_start(&block, arena, arena_bytes);
    int code = blm_engine_layout(&layout, &block, weights, config, port, err);
    if (code == BLUELM_OK) code = blm_layout_as_planned(&layout, planned_bytes, err);
    if (code < 0) {
        blm_arena_release(&block);
        return code;
    }
    blm_layout_hand_over(&layout);
    blm_engine_clear(layout.e);
    *engine = layout.e;
    return BLUELM_OK;
}

int bluelm_init(bluelm **engine, void *arena, size_t arena_bytes, const bluelm_weights *weights,
                const bluelm_config *config, const bluelm_port *port, bluelm_error *err)
{
    uint64_t need;
    if (!engine) return blm_fail_null(err, "engine");
    *engine = NULL;
    int code = blm_plan_bytes(weights, config, &need, err);
    if (code < 0) return code;
    if (!arena || need > arena_bytes)
        return blm_fail(err, BLUELM_E_BUDGET, "arena", need, arena ? arena_bytes : 0, 0);
    return blm_engine_build(engine, arena, arena_bytes, need, weights, config, port, err);
}

void bluelm_close(bluelm *engine, int wipe)
{
    if (!engine) return;
    blm_encode_finish_ahead(engine);
    blm_arena arena = engine->arena; /* which the engine itself lies in */
    if (wipe)
        blm_arena_wipe(&arena);
    else
        blm_arena_release(&arena);
}
