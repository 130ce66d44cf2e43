/* The encoder's part of the layout. */
#include "engine.h"

/* ---- File -------------------------------------------------------------------------------- */

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
    uint64_t most_of_tile = most->tile_pixels / ((uint64_t)v->patch_px * v->patch_px);
    return v->dynamic ? BLM_MAX(v->patches, (uint32_t)most_of_tile) : v->patches;
}

/* Keys may ask for a rule that the tower does not follow: pictures of their own size need one
 * that takes them, in the same steps; joined tiles need a token to end rows with. */
static int blm_layout_check_rule(const blm_layout *l, bluelm_error *err)
{
    const blm_vision *v = &l->vision;
    const blm_tile_rule *r = &l->tile_rule;
    const int own_size = blm_tile_own_size(r);
    if (own_size && (!v->dynamic || r->align_px != v->align_px))
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: pixels that sides are multiples of",
                        v->align_px, r->align_px, 0);
    if (own_size && r->tokens_of_any != v->projector.queries)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: tokens of a tile of any size",
                        v->projector.queries, r->tokens_of_any, 0);
    if (r->joined_side && !v->newline.data)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: image_newline with this projector",
                        0, 1, 0);
    return BLUELM_OK;
}

/* Floats that int8 activations round to Q8_0 need its products, which a build may lack. */
static int blm_layout_check_rounding(const blm_layout *l, bluelm_error *err)
{
    const blm_vision *v = &l->vision;
    uint32_t values, bytes;
    if (blm_type_block(BLM_Q8_0, &values, &bytes) ||
        blm_activation_bits(l->config.vision_activation_type) != 8 ||
        !(v->rounded_cols | v->deepstack_rounded_cols | v->projector.rounded_cols))
        return BLUELM_OK;
    return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: floats as Q8_0 (built without)", 0, 0,
                    0);
}

/* Not within its caller: the reader takes room on the stack. */
BLM_COLD static int blm_layout_read_vision(blm_layout *l, bluelm_error *err)
{
    const int round_floats = l->config.vision_activation_type == BLUELM_ACT_INT8;
    blm_gguf g;
    int code;
    if ((code = blm_gguf_open(&g, l->weights->mmproj, l->weights->mmproj_bytes, "mmproj",
                              err)) < 0 ||
        (code = blm_vision_open(&l->vision, &g, round_floats, l->arena, err)) < 0 ||
        (code = blm_tile_rule_read(&l->tile_rule, &g, &l->config, l->vision.projector.tokens,
                                   err)) < 0 ||
        (code = blm_layout_check_rule(l, err)) < 0 ||
        (code = blm_layout_check_rounding(l, err)) < 0)
        return code;
    if (l->e) blm_mmproj_keep(&l->e->mmproj, &g);
    return blm_image_markup_read(&l->markup, &g, &l->vision.projector, err);
}

BLM_PRIVATE BLM_COLD int blm_layout_open_vision(blm_layout *l, bluelm_error *err)
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
    l->memory.max_tiles = l->config.max_tiles;
    l->memory.tiles_per_batch = l->config.tiles_per_batch;
    l->memory.vision_activation_bits =
        l->vision.quantised || l->vision.round_floats
            ? blm_activation_bits(l->config.vision_activation_type)
            : 32;
    l->memory.tokens_per_tile = l->vision.projector.tokens;
    l->memory.tile_px = l->vision.tile_px;
    return BLUELM_OK;
}

BLM_PRIVATE void blm_layout_picture_tokens(const blm_layout *l, uint32_t *most,
                                           uint32_t *of_tile)
{
    if (!l->has_vision) return;
    blm_tile_most bounds;
    blm_layout_bounds(l, &bounds);
    *most = bounds.tokens;
    *of_tile = bounds.tile_tokens;
}

/* ---- Pieces ------------------------------------------------------------------------------ */

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

/* A batch that is embedded ahead, by one worker. */
BLM_COLD static void blm_layout_ahead(blm_layout *l, blm_compute *c)
{
    const blm_workers workers = c->workers;
    blm_vision_work work;
    c->workers = (blm_workers){.count = 1};
    if (l->e) l->e->ahead_compute = *c;
    blm_vision_take_ahead(l->e ? &l->e->ahead_work : &work, l->arena, &l->vision, c,
                          l->config.tiles_per_batch, l->max_patches);
    c->workers = workers;
}

BLM_PRIVATE BLM_COLD void blm_layout_vision(blm_layout *l, blm_compute *c)
{
    blm_vision_work work;
    blm_overlay overlay;
    uint64_t canvas_bytes;
    blm_layout_reading(l, &overlay, &canvas_bytes);
    blm_vision_take(l->e ? &l->e->vision_work : &work, l->arena, &l->vision, c,
                    l->config.tiles_per_batch, l->max_patches);
    if (l->config.overlap_tiles) blm_layout_ahead(l, c);
    l->memory.vision_phase_bytes = canvas_bytes + blm_overlay_next(&overlay, l->arena);
    uint64_t scratch_bytes = blm_overlay_close(&overlay, l->arena);
    if (l->e) l->e->scratch_bytes = scratch_bytes;
}

BLM_PRIVATE void blm_layout_hand_over_vision(const blm_layout *l)
{
    l->e->vision = l->vision;
    l->e->max_patches = l->max_patches;
    l->e->tile_rule = l->tile_rule;
    l->e->markup = l->markup;
}

/* ---- What it says of itself -------------------------------------------------------------- */

BLM_PRIVATE void blm_layout_describe_vision(const blm_layout *l, bluelm_info *info)
{
    const blm_vision *v = &l->vision;
    if (!l->has_vision) return;
    info->projector = v->projector.name;
    info->tile_rule = blm_tile_rule_name(l->tile_rule.rule);
    info->tile_px = v->tile_px;
    info->patch_px = v->patch_px;
    info->vision_width = v->width;
    info->vision_layers = v->n_layer;
    info->vision_heads = v->n_head;
    info->vision_ffn = v->ffn;
    info->tokens_per_tile = v->projector.tokens;
}

BLM_PRIVATE uint32_t blm_token_cap(uint32_t context, uint32_t tile_tokens, uint32_t image_rows,
                                   uint32_t used)
{
    uint32_t words = context / 8, left = context - used;
    uint32_t room = left > words ? left - words : 0;
    uint32_t least = BLM_MIN(left, BLM_MAX(tile_tokens, 1u));
    return BLM_MIN(BLM_MAX(room, least), image_rows);
}

int bluelm_tile_plan(const bluelm_weights *weights, const bluelm_config *config,
                     uint32_t width_px, uint32_t height_px, bluelm_tile_grid *grid,
                     bluelm_error *err)
{
    blm_layout l;
    if (!weights || !grid) return blm_fail_null(err, weights ? "grid" : "weights");
    int code = blm_engine_count(&l, weights, config, err);
    if (code < 0 && code != BLUELM_E_BUDGET) return code;
    if (!l.has_vision) return blm_fail(err, BLUELM_E_STATE, "pictures need an mmproj", 1, 0, 0);
    uint32_t cap =
        blm_token_cap(l.config.context_tokens, l.vision.projector.tokens, l.image_rows, 0);
    return blm_tile_choose(&l.tile_rule, width_px, height_px, cap, grid, err);
}
