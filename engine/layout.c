/* Plan and init: one layout of the arena. */
#include "engine.h"

#include "../arena/overlay.h"

/* ---- Files -------------------------------------------------------------------------------- */

/* The configuration's cap on a picture's tokens, and the default one where a picture of its
 * own size would ask for much memory. */
static void blm_layout_cap_pictures(blm_layout *l)
{
    uint32_t cap = l->config.max_image_tokens;
    if (!cap && l->tile_rule.rule == BLM_TILES_DYNAMIC) cap = BLM_DYNAMIC_TOKENS_DEFAULT;
    l->tile_rule.max_tokens = cap;
}

/* The rule as it bounds any picture: with its caps, and with what the context holds, which
 * comes to bluelm_add_image as a cap of its own. */
static blm_tile_rule blm_layout_bound_rule(const blm_layout *l)
{
    const uint32_t context = l->config.context_tokens;
    blm_tile_rule rule = l->tile_rule;
    if (l->has_language)
        rule.max_tokens = rule.max_tokens ? BLM_MIN(rule.max_tokens, context) : context;
    return rule;
}

/* What any picture can take. */
BLM_COLD static void blm_layout_bounds(const blm_layout *l, blm_tile_most *most)
{
    const blm_tile_rule rule = blm_layout_bound_rule(l);
    blm_tile_bounds(&rule, most);
}

/* The most patches of one tile. */
static uint32_t blm_layout_max_patches(const blm_layout *l, const blm_tile_most *most)
{
    const blm_vision *v = &l->vision;
    uint32_t merge = v->align_px / v->patch_px;
    return v->dynamic ? BLM_MAX(v->patches, most->tile_tokens * merge * merge) : v->patches;
}

/* Not within their caller, these two and what else opens a file: its reader takes room on
 * the stack. */
BLM_COLD static int blm_layout_read_vision(blm_layout *l, bluelm_error *err)
{
    blm_gguf g;
    int code;
    if ((code = blm_gguf_open(&g, l->weights->mmproj, l->weights->mmproj_bytes, "mmproj",
                              err)) < 0 ||
        (code = blm_vision_open(&l->vision, &g, l->arena, err)) < 0 ||
        (code = blm_tile_rule_read(&l->tile_rule, &g, &l->config, l->vision.projector.tokens,
                                   err)) < 0)
        return code;
    if (l->e) blm_mmproj_keep(&l->e->mmproj, &g);
    return blm_image_markup_read(&l->markup, &g, &l->vision.projector, err);
}

static int blm_layout_open_vision(blm_layout *l, bluelm_error *err)
{
    l->has_vision = l->weights->mmproj != NULL && (l->has_language || !l->weights->llm);
    if (!l->has_vision) return BLUELM_OK;
    int code = blm_layout_read_vision(l, err);
    if (code < 0) return code;
    if (!l->has_language) l->row_values = l->vision.row_floats;
    if (l->vision.row_floats != l->row_values)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: projector width for this llm",
                        l->row_values, l->vision.row_floats, 0);
    blm_tile_most most;
    blm_layout_cap_pictures(l);
    blm_layout_bounds(l, &most);
    l->max_patches = blm_layout_max_patches(l, &most);
    l->config.max_tiles = BLM_MAX(most.tiles, 1u);
    l->config.tiles_per_batch = BLM_MIN(l->config.tiles_per_batch, l->config.max_tiles);
    return BLUELM_OK;
}

/* How many image tokens a picture can have, and how many of them are read at once. */
static void blm_layout_size_pictures(blm_layout *l)
{
    bluelm_config *c = &l->config;
    uint32_t at_once = c->max_image_tokens;
    l->image_rows = c->max_image_tokens;
    if (l->has_vision) {
        blm_tile_most most;
        blm_layout_bounds(l, &most);
        l->image_rows = most.tokens;
        at_once = l->vision.dynamic ? most.tokens : l->vision.projector.tokens;
    }
    l->image_rows = BLM_MIN(l->image_rows, c->context_tokens);
    at_once = BLM_MIN(at_once, c->context_tokens);
    if (l->language.two_way) c->chunk_tokens = BLM_MAX(c->chunk_tokens, at_once);
}

/* The network, and the chat template. */
static int blm_layout_read_language(blm_layout *l, const blm_gguf *g, bluelm_error *err)
{
    int code;
    l->has_language = g->tensor_count != 0;
    if ((l->has_language && (code = blm_language_open(&l->language, g, l->arena, err)) < 0) ||
        (code = blm_config_resolve_context(&l->config, &l->language, err)) < 0 ||
        (code = blm_chat_read(g, l->config.chat_template, &l->chat, err)) < 0)
        return code;
    l->row_values = l->language.n_embd * (1 + l->language.n_deepstack);
    return blm_layout_own_chat(l, err);
}

/* ---- Pieces ------------------------------------------------------------------------------- */

/* What computes, `alone`: on one thread beside the others. */
static void blm_layout_compute(const blm_layout *l, blm_compute *c, int alone)
{
    memset(c, 0, sizeof *c);
    if (l->port && !alone) c->workers.port = *l->port;
    c->workers.count = alone ? 1 : l->config.workers;
    c->activation_bits = l->config.activation_type == BLUELM_ACT_INT16 ? 16 : 8;
    blm_kernels_init(&c->kernels, l->port ? l->port->cpu_features : 0, l->config.cpu_mask);
}

/* Canvases lie in front of what reads a picture and of what encodes it. */
static void blm_layout_reading(blm_layout *l, blm_overlay *overlay, uint64_t *canvas_bytes)
{
    const blm_tile_rule rule = blm_layout_bound_rule(l);
    const uint64_t start = l->arena->used;
    const uint64_t canvas = blm_picture_canvas_bytes(&rule);
    const uint64_t rows = blm_picture_scratch_bytes(&rule, l->config.max_image_width_px);
    uint8_t *place = (uint8_t *)blm_arena_take(l->arena, canvas, 1);
    *canvas_bytes = l->arena->used - start;
    blm_overlay_open(overlay, l->arena);
    uint8_t *scratch =
        (uint8_t *)blm_arena_take(l->arena, blm_sum_u64(rows, l->config.whole_image_bytes), 1);
    l->memory.image_decode_bytes = *canvas_bytes + blm_overlay_next(overlay, l->arena);
    if (!l->e) return;
    l->e->canvas = place;
    l->e->canvas_bytes = canvas;
    l->e->scratch = scratch;
}

/* A batch that is embedded ahead. */
BLM_COLD static void blm_layout_ahead(blm_layout *l)
{
    blm_compute counted, *c = l->e ? &l->e->ahead_compute : &counted;
    blm_vision_work work;
    blm_layout_compute(l, c, 1);
    blm_vision_take_ahead(l->e ? &l->e->ahead_work : &work, l->arena, &l->vision, c,
                          l->config.tiles_per_batch, l->max_patches);
}

BLM_COLD static void blm_layout_vision(blm_layout *l, const blm_compute *c)
{
    blm_vision_work work;
    blm_overlay overlay;
    uint64_t canvas_bytes;
    blm_layout_reading(l, &overlay, &canvas_bytes);
    blm_vision_take(l->e ? &l->e->vision_work : &work, l->arena, &l->vision, c,
                    l->config.tiles_per_batch, l->max_patches);
    if (l->config.overlap_tiles) blm_layout_ahead(l);
    l->memory.vision_phase_bytes = canvas_bytes + blm_overlay_next(&overlay, l->arena);
    uint64_t scratch_bytes = blm_overlay_close(&overlay, l->arena);
    if (l->e) l->e->scratch_bytes = scratch_bytes;
}

BLM_COLD static void blm_layout_language(blm_layout *l, const blm_compute *c)
{
    blm_language_work work;
    blm_language_take(l->e ? &l->e->language_work : &work, l->arena, &l->language, c,
                      l->config.chunk_tokens, l->config.context_tokens);
}

BLM_COLD static void blm_layout_overlay(blm_layout *l)
{
    bluelm_memory *m = &l->memory;
    blm_compute counted, *c = l->e ? &l->e->compute : &counted;
    blm_overlay overlay;
    blm_layout_compute(l, c, 0);
    blm_overlay_open(&overlay, l->arena);
    if (l->has_vision) blm_layout_vision(l, c);
    blm_overlay_next(&overlay, l->arena);
    if (l->has_language) {
        blm_layout_language(l, c);
        m->language_phase_bytes = blm_overlay_next(&overlay, l->arena);
    }
    m->overlay_bytes = blm_overlay_close(&overlay, l->arena);
}

/* Bytes taken since *mark, which moves on. */
static uint64_t blm_layout_part(const blm_arena *arena, uint64_t *mark)
{
    uint64_t bytes = arena->used - *mark;
    *mark = arena->used;
    return bytes;
}

/* What the language model remembers, and its marks. */
BLM_COLD static void blm_layout_state(blm_layout *l, uint64_t *snapshot_bytes)
{
    blm_state counted, *state = l->e ? &l->e->state : &counted;
    const blm_language *m = l->e ? &l->e->language : &l->language;
    *snapshot_bytes = 0;
    if (!l->has_language) return;
    if (l->e) l->e->language = l->language; /* which the state keeps a pointer to */
    blm_state_take(state, l->arena, m, l->config.kv_type, l->config.context_tokens,
                   l->config.chunk_tokens);
    if (!blm_state_is_plain(state)) *snapshot_bytes = blm_state_snapshot_bytes(state);
}

/* What a conversation keeps from step to step. */
static void blm_layout_conversation(blm_layout *l, uint64_t *mark)
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
static void blm_layout_queue(blm_layout *l)
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

/* Not within its caller: a vocabulary takes room on the stack. */
BLM_COLD static int blm_layout_vocab(blm_layout *l, const blm_gguf *llm, bluelm_error *err)
{
    blm_vocab counted, *v = l->e ? &l->e->vocab : &counted;
    int code = blm_vocab_init(v, llm, l->arena, l->config.text_bytes + BLM_MARKUP_BYTES, err);
    l->n_tokens = v->n_tokens;
    l->bos = v->bos;
    l->eos = v->eos;
    l->eot = v->eot;
    if (code < 0) return code;
    if (l->has_language && l->n_tokens > l->language.n_vocab)
        return blm_fail(err, BLUELM_E_FORMAT, "llm: tokenizer.ggml.tokens beyond token_embd",
                        l->language.n_vocab, l->n_tokens, 0);
    if (l->e) blm_guard_turns(v, l->chat);
    return BLUELM_OK;
}

/* What of pictures is said in the vocabulary's words. */
static void blm_layout_markup(blm_layout *l)
{
    blm_vocab *v = l->e ? &l->e->vocab : NULL;
    if (!v || !l->has_vision || !l->has_vocab) return;
    blm_guard_pictures(v, &l->markup);
    blm_image_markup_fit(&l->markup, v);
}

/* The language model's file: its tensors, its vocabulary. */
BLM_COLD static int blm_layout_llm(blm_layout *l, uint64_t *mark, bluelm_error *err)
{
    const bluelm_weights *weights = l->weights;
    blm_gguf g;
    int code;
    l->bos = l->eos = l->eot = -1;
    if (!weights->llm && weights->mmproj) /* pictures alone are encoded */
        return blm_config_resolve_context(&l->config, &l->language, err);
    if (!weights->llm) return blm_fail_null(err, "weights.llm");
    l->has_vocab = 1;
    if ((code = blm_gguf_open(&g, weights->llm, weights->llm_bytes, "llm", err)) < 0 ||
        (code = blm_layout_read_language(l, &g, err)) < 0)
        return code;
    l->memory.weights_view_bytes = blm_layout_part(l->arena, mark);
    code = blm_layout_vocab(l, &g, err);
    l->memory.tokenizer_bytes = blm_layout_part(l->arena, mark);
    return code;
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

/* ---- All of it ------------------------------------------------------------------------------ */

static void blm_layout_describe(blm_layout *l)
{
    bluelm_memory *m = &l->memory;
    m->weights_bytes = (uint64_t)l->weights->llm_bytes + l->weights->mmproj_bytes;
    m->context_tokens = l->config.context_tokens;
    m->chunk_tokens = l->config.chunk_tokens;
    m->workers = l->config.workers;
    if (!l->has_vision) return;
    m->max_tiles = l->config.max_tiles;
    m->tiles_per_batch = l->config.tiles_per_batch;
    m->tokens_per_tile = l->vision.projector.tokens;
    m->tile_px = l->vision.tile_px;
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
        return blm_fail(err, BLUELM_E_ARG, "configuration", UINT64_MAX, UINT64_MAX, 0);
    blm_layout_describe(l);
    return blm_layout_caps(l, err);
}

BLM_PRIVATE uint32_t blm_token_cap(uint32_t context, uint32_t tile_tokens, uint32_t image_rows,
                                   uint32_t used)
{
    uint32_t words = context / 8, left = context - used;
    uint32_t room = left > words ? left - words : 0;
    uint32_t least = BLM_MIN(left, BLM_MAX(tile_tokens, 1u));
    return BLM_MIN(BLM_MAX(room, least), image_rows);
}

/* ---- Public ------------------------------------------------------------------------------ */

int bluelm_plan(const bluelm_weights *weights, const bluelm_config *config, bluelm_memory *need,
                bluelm_error *err)
{
    blm_layout layout;
    blm_arena counting;
    if (!weights || !need) return blm_fail_null(err, weights ? "need" : "weights");
    blm_arena_start(&counting, NULL, UINT64_MAX);
    int code = blm_engine_layout(&layout, &counting, weights, config, NULL, err);
    *need = layout.memory;
    return code;
}

/* The files may have changed between the layouts: each was sound by itself then, but the
 * second is not what there is room for. */
static int blm_layout_as_planned(const blm_layout *l, const bluelm_memory *planned,
                                 bluelm_error *err)
{
    if (blm_arena_ok(l->arena) &&
        blm_same_bytes(&l->memory, planned, offsetof(bluelm_memory, workers)))
        return BLUELM_OK;
    return blm_fail(err, BLUELM_E_FORMAT, "a model file changed while it was read",
                    planned->total_bytes, l->memory.total_bytes, 0);
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
    e->vision = l->vision;
    e->tile_rule = l->tile_rule;
    e->markup = l->markup;
    e->row_values = l->row_values;
    e->image_rows = l->image_rows;
    e->stats.arena_bytes = l->memory.total_bytes;
}

BLM_PRIVATE int blm_engine_build(bluelm **engine, void *arena, size_t arena_bytes,
                                 const bluelm_memory *planned, const bluelm_weights *weights,
                                 const bluelm_config *config, const bluelm_port *port,
                                 bluelm_error *err)
{
    blm_arena block;
    blm_layout layout;
    blm_arena_start(&block, arena, arena_bytes);
    int code = blm_engine_layout(&layout, &block, weights, config, port, err);
    if (code == BLUELM_OK) code = blm_layout_as_planned(&layout, planned, err);
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
