/* Plan and init: one layout of the arena. */
#include "engine.h"

#include "../arena/overlay.h"

/* The configuration's cap on a picture's tokens, and the default one where a picture of its
 * own size would ask for much memory. */
static void blm_engine_cap_pictures(bluelm *e)
{
    uint32_t cap = e->config.max_image_tokens;
    if (!cap && e->tile_rule.rule == BLM_TILES_DYNAMIC) cap = BLM_DYNAMIC_TOKENS_DEFAULT;
    e->tile_rule.max_tokens = cap;
}

/* What any picture can take: by the rule, its caps, and what the context holds, which comes to
 * bluelm_add_image as a cap of its own. */
static void blm_engine_bound_pictures(bluelm *e, blm_tile_most *most)
{
    const uint32_t context = e->config.context_tokens;
    e->bound_rule = e->tile_rule;
    if (e->has_language)
        e->bound_rule.max_tokens =
            e->tile_rule.max_tokens ? BLM_MIN(e->tile_rule.max_tokens, context) : context;
    blm_tile_bounds(&e->bound_rule, most);
}

/* The most patches of one tile. */
static uint32_t blm_engine_max_patches(const bluelm *e, const blm_tile_most *most)
{
    const blm_vision *v = &e->vision;
    uint32_t merge = v->align_px / v->patch_px;
    return v->dynamic ? BLM_MAX(v->patches, most->tile_tokens * merge * merge) : v->patches;
}

static int blm_engine_open_vision(bluelm *e, blm_arena *arena, const bluelm_weights *weights,
                                  bluelm_error *err)
{
    blm_gguf g;
    int code;
    e->has_vision = weights->mmproj != NULL && (e->has_language || !weights->llm);
    if (!e->has_vision) return BLUELM_OK;
    if ((code = blm_gguf_open(&g, weights->mmproj, weights->mmproj_bytes, "mmproj", err)) < 0 ||
        (code = blm_vision_open(&e->vision, &g, arena, err)) < 0 ||
        (code = blm_tile_rule_read(&e->tile_rule, &g, &e->config, e->vision.projector.tokens,
                                   err)) < 0 ||
        (code = blm_image_markup_read(&e->markup, &g, &e->vision.projector, err)) < 0)
        return code;
    if (e->has_language && e->vision.row_floats != blm_engine_row_values(e))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: projector width for this llm",
                        blm_engine_row_values(e), e->vision.row_floats, 0);
    if (arena->base) blm_mmproj_keep(&e->mmproj, &g);
    blm_tile_most most;
    blm_engine_cap_pictures(e);
    blm_engine_bound_pictures(e, &most);
    e->max_patches = blm_engine_max_patches(e, &most);
    e->config.max_tiles = BLM_MAX(most.tiles, 1u);
    e->config.tiles_per_batch = BLM_MIN(e->config.tiles_per_batch, e->config.max_tiles);
    return BLUELM_OK;
}

/* How many image tokens a picture can have, and how many of them are read at once. */
static void blm_engine_size_pictures(bluelm *e)
{
    bluelm_config *c = &e->config;
    uint32_t at_once = c->max_image_tokens;
    e->image_rows = c->max_image_tokens;
    if (e->has_vision) {
        blm_tile_most most;
        blm_tile_bounds(&e->bound_rule, &most);
        e->image_rows = most.tokens;
        at_once = e->vision.dynamic ? most.tokens : e->vision.projector.tokens;
    }
    e->image_rows = BLM_MIN(e->image_rows, c->context_tokens);
    at_once = BLM_MIN(at_once, c->context_tokens);
    if (e->language.two_way) c->chunk_tokens = BLM_MAX(c->chunk_tokens, at_once);
}

BLM_PRIVATE uint32_t blm_engine_row_values(const bluelm *e)
{
    return e->has_language ? e->language.n_embd * (1 + e->language.n_deepstack)
                           : e->vision.row_floats;
}

static int blm_engine_open_language(bluelm *e, blm_arena *arena, blm_gguf *g,
                                    const bluelm_weights *weights, bluelm_error *err)
{
    int code;
    if (!weights->llm && weights->mmproj) /* pictures alone are encoded */
        return blm_config_resolve_context(&e->config, &e->language, err);
    if (!weights->llm) return blm_fail_null(err, "weights.llm");
    e->has_vocab = 1;
    if ((code = blm_gguf_open(g, weights->llm, weights->llm_bytes, "llm", err)) < 0)
        return code;
    e->has_language = g->tensor_count != 0;
    if ((e->has_language && (code = blm_language_open(&e->language, g, arena, err)) < 0) ||
        (code = blm_config_resolve_context(&e->config, &e->language, err)) < 0 ||
        (code = blm_chat_read(g, e->config.chat_template, &e->chat, err)) < 0)
        return code;
    return blm_engine_own_chat(e, err);
}

/* ---- Layout --------------------------------------------------------------------------- */

/* Canvases lie in front of what reads a picture and of what encodes it. */
static void blm_layout_vision(bluelm *e, blm_arena *arena)
{
    const bluelm_config *c = &e->config;
    bluelm_memory *m = &e->memory;
    const uint64_t start = arena->used;
    uint64_t rows = blm_picture_scratch_bytes(&e->bound_rule, c->max_image_width_px);
    blm_overlay overlay;
    e->canvas_bytes = blm_picture_canvas_bytes(&e->bound_rule);
    e->canvas = (uint8_t *)blm_arena_take(arena, e->canvas_bytes, 1);
    const uint64_t canvas = arena->used - start;

    blm_overlay_open(&overlay, arena);
    e->scratch = (uint8_t *)blm_arena_take(arena, blm_sum_u64(rows, c->whole_image_bytes), 1);
    m->image_decode_bytes = canvas + blm_overlay_next(&overlay, arena);
    blm_vision_take(&e->vision_work, arena, &e->vision, &e->compute, c->tiles_per_batch,
                    e->max_patches);
    if (c->overlap_tiles)
        blm_vision_take_ahead(&e->ahead_work, arena, &e->vision, &e->ahead_compute,
                              c->tiles_per_batch, e->max_patches);
    m->vision_phase_bytes = canvas + blm_overlay_next(&overlay, arena);
    e->scratch_bytes = blm_overlay_close(&overlay, arena);
}

static void blm_layout_overlay(bluelm *e, blm_arena *arena)
{
    bluelm_memory *m = &e->memory;
    blm_overlay overlay;
    blm_overlay_open(&overlay, arena);
    if (e->has_vision) blm_layout_vision(e, arena);
    blm_overlay_next(&overlay, arena);
    if (e->has_language) {
        blm_language_take(&e->language_work, arena, &e->language, &e->compute,
                          e->config.chunk_tokens, e->config.context_tokens);
        m->language_phase_bytes = blm_overlay_next(&overlay, arena);
    }
    m->overlay_bytes = blm_overlay_close(&overlay, arena);
}

/* Bytes taken since *mark, which moves on. */
static uint64_t blm_layout_part(const blm_arena *arena, uint64_t *mark)
{
    uint64_t bytes = arena->used - *mark;
    *mark = arena->used;
    return bytes;
}

/* What a conversation keeps from step to step. */
static void blm_layout_conversation(bluelm *e, blm_arena *arena, uint64_t *mark)
{
    bluelm_memory *m = &e->memory;
    const uint32_t n_vocab = e->language.n_vocab;
    if (e->has_language)
        blm_state_take(&e->state, arena, &e->language, e->config.kv_type,
                       e->config.context_tokens, e->config.chunk_tokens);
    m->kv_cache_bytes = blm_layout_part(arena, mark);

    if (e->has_language || e->has_vision)
        e->image_tokens = (uint16_t *)blm_arena_take(
            arena, e->image_rows, (uint64_t)blm_engine_row_values(e) * sizeof(uint16_t));
    m->image_tokens_bytes = blm_layout_part(arena, mark);

    e->logits = (float *)blm_arena_take(arena, n_vocab, sizeof(float));
    e->candidates = (blm_candidate *)blm_arena_take(arena, n_vocab, sizeof(blm_candidate));
    m->sampling_bytes = blm_layout_part(arena, mark);

    if (!e->has_language) e->config.marks = 0;
    blm_marks_take(e, arena);
    m->marks_bytes = blm_layout_part(arena, mark);
}

static void blm_layout_describe(bluelm *e, const bluelm_weights *weights)
{
    bluelm_memory *m = &e->memory;
    m->weights_bytes = (uint64_t)weights->llm_bytes + weights->mmproj_bytes;
    m->context_tokens = e->config.context_tokens;
    m->chunk_tokens = e->config.chunk_tokens;
    m->workers = e->config.workers;
    if (!e->has_vision) return;
    m->max_tiles = e->config.max_tiles;
    m->tiles_per_batch = e->config.tiles_per_batch;
    m->tokens_per_tile = e->vision.projector.tokens;
    m->tile_px = e->vision.tile_px;
}

static int blm_layout_caps(const bluelm *e, bluelm_error *err)
{
    const bluelm_config *c = &e->config;
    const bluelm_memory *m = &e->memory;
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

static void blm_layout_compute(bluelm *e, const bluelm_port *port)
{
    if (port) e->compute.workers.port = *port;
    e->compute.workers.count = e->config.workers;
    e->compute.activation_bits = e->config.activation_type == BLUELM_ACT_INT16 ? 16 : 8;
    blm_kernels_init(&e->compute.kernels, e->compute.workers.port.cpu_features,
                     e->config.cpu_mask);
    e->ahead_compute = e->compute;
    e->ahead_compute.workers = (blm_workers){.count = 1};
}

static int blm_layout_vocab(bluelm *e, blm_arena *arena, const blm_gguf *llm, bluelm_error *err)
{
    int code = blm_vocab_init(&e->vocab, llm, arena, e->input.text_capacity, err);
    if (code < 0) return code;
    if (e->has_language && e->vocab.n_tokens > e->language.n_vocab)
        return blm_fail(err, BLUELM_E_FORMAT, "llm: tokenizer.ggml.tokens beyond token_embd",
                        e->language.n_vocab, e->vocab.n_tokens, 0);
    blm_engine_guard_turns(e);
    blm_engine_guard_pictures(e);
    if (e->has_vision && arena->base) blm_image_markup_fit(&e->markup, &e->vocab);
    return BLUELM_OK;
}

BLM_PRIVATE int blm_engine_layout(bluelm *e, blm_arena *arena, const bluelm_weights *weights,
                                  const bluelm_config *config, const bluelm_port *port,
                                  bluelm_error *err)
{
    bluelm_memory *m = &e->memory;
    uint64_t mark = 0;
    blm_gguf llm;
    int code;
    memset(e, 0, sizeof *e);
    m->engine_bytes = blm_layout_part(arena, &mark);
    if (config) e->config = *config;
    if ((code = blm_config_resolve(&e->config, err)) < 0) return code;
    blm_layout_compute(e, port);
    if ((code = blm_engine_open_language(e, arena, &llm, weights, err)) < 0 ||
        (code = blm_engine_open_vision(e, arena, weights, err)) < 0)
        return code;
    blm_engine_size_pictures(e);
    m->weights_view_bytes = blm_layout_part(arena, &mark);

    blm_input *in = &e->input;
    in->capacity = e->config.context_tokens;
    in->vocab = &e->vocab;
    in->text_capacity = e->config.text_bytes + BLM_MARKUP_BYTES;
    in->tokens = (int32_t *)blm_arena_take(arena, in->capacity, sizeof(int32_t));
    in->text = (char *)blm_arena_take(arena, in->text_capacity, 1);
    e->positions = (uint32_t *)blm_arena_take(arena, in->capacity + 1u, sizeof(uint32_t));
    e->images =
        (blm_queued_image *)blm_arena_take(arena, BLM_MAX_QUEUED_IMAGES, sizeof *e->images);
    e->token_text = (char *)blm_arena_take(arena, BLM_STOP_BYTES + 1 + BLM_TOKEN_TEXT_ROOM, 1);
    m->engine_bytes += blm_layout_part(arena, &mark);

    if (e->has_vocab && (code = blm_layout_vocab(e, arena, &llm, err)) < 0) return code;
    m->tokenizer_bytes = blm_layout_part(arena, &mark);
    blm_layout_conversation(e, arena, &mark);
    blm_layout_overlay(e, arena);
    if (!blm_add_u64(arena->used, BLM_ARENA_MARGIN, &m->total_bytes) ||
        arena->wanted == UINT64_MAX)
        return blm_fail(err, BLUELM_E_ARG, "configuration", UINT64_MAX, UINT64_MAX, 0);
    blm_layout_describe(e, weights);
    return blm_layout_caps(e, err);
}

BLM_PRIVATE uint32_t blm_engine_token_cap(const bluelm *e, uint32_t used)
{
    uint32_t context = e->config.context_tokens, words = context / 8, left = context - used;
    uint32_t room = left > words ? left - words : 0;
    uint32_t least = BLM_MIN(left, BLM_MAX(e->vision.projector.tokens, 1u));
    return BLM_MIN(BLM_MAX(room, least), e->image_rows);
}

/* ---- Public ------------------------------------------------------------------------------ */

int bluelm_plan(const bluelm_weights *weights, const bluelm_config *config, bluelm_memory *need,
                bluelm_error *err)
{
    bluelm engine;
    blm_arena counting;
    if (!weights || !need) return blm_fail_null(err, weights ? "need" : "weights");
    blm_arena_start(&counting, NULL, UINT64_MAX);
    blm_arena_take(&counting, 1, sizeof engine);
    int code = blm_engine_layout(&engine, &counting, weights, config, NULL, err);
    *need = engine.memory;
    return code;
}

/* The files may have changed between the layouts: each was sound by itself then, but the
 * second is not what there is room for. */
static int blm_layout_as_planned(const bluelm *e, const blm_arena *block,
                                 const bluelm_memory *planned, bluelm_error *err)
{
    if (blm_arena_ok(block) &&
        blm_same_bytes(&e->memory, planned, offsetof(bluelm_memory, workers)))
        return BLUELM_OK;
    return blm_fail(err, BLUELM_E_FORMAT, "a model file changed while it was read",
                    planned->total_bytes, e->memory.total_bytes, 0);
}

BLM_PRIVATE int blm_engine_build(bluelm **engine, void *arena, size_t arena_bytes,
                                 const bluelm_memory *planned, const bluelm_weights *weights,
                                 const bluelm_config *config, const bluelm_port *port,
                                 bluelm_error *err)
{
    blm_arena block;
    blm_arena_start(&block, arena, arena_bytes);
    bluelm *e = (bluelm *)blm_arena_take(&block, 1, sizeof *e);
    int code = blm_engine_layout(e, &block, weights, config, port, err);
    if (code == BLUELM_OK) code = blm_layout_as_planned(e, &block, planned, err);
    if (code < 0) {
        blm_arena_release(&block);
        return code;
    }
    e->arena = block;
    e->stats.arena_bytes = planned->total_bytes;
    blm_engine_clear(e);
    *engine = e;
    return BLUELM_OK;
}

int bluelm_init(bluelm **engine, void *arena, size_t arena_bytes, const bluelm_weights *weights,
                const bluelm_config *config, const bluelm_port *port, bluelm_error *err)
{
    bluelm_memory need;
    if (!engine) return blm_fail_null(err, "engine");
    *engine = NULL;
    int code = bluelm_plan(weights, config, &need, err);
    if (code < 0) return code;
    if (!arena || need.total_bytes > arena_bytes)
        return blm_fail(err, BLUELM_E_BUDGET, "arena", need.total_bytes,
                        arena ? arena_bytes : 0, 0);
    return blm_engine_build(engine, arena, arena_bytes, &need, weights, config, port, err);
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
