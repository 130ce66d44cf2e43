/* The configuration: defaults and limits. */
#include "engine.h"

#define BLM_CPU_ALL                                                                            \
    ((uint32_t)(BLUELM_CPU_SSE41 | BLUELM_CPU_AVX2 | BLUELM_CPU_AVX512_VNNI | BLUELM_CPU_AMX | \
                BLUELM_CPU_AVX512_VBMI | BLUELM_CPU_NEON | BLUELM_CPU_NEON_DOTPROD |           \
                BLUELM_CPU_NEON_I8MM | BLUELM_CPU_NONE))

/* Fills in a default and checks a field's limits. */
static int blm_config_field(uint32_t *field, uint32_t fallback, uint32_t limit,
                            const char *name, bluelm_error *err)
{
    if (*field == 0) *field = fallback;
    if (*field > limit) return blm_fail(err, BLUELM_E_ARG, name, limit, *field, 0);
    return BLUELM_OK;
}

/* Fields that do not depend on the model. */
BLM_PRIVATE int blm_config_resolve(bluelm_config *c, bluelm_error *err)
{
    int code;
    if ((code = blm_config_field(&c->chunk_tokens, 128, 2048, "chunk_tokens", err)) < 0 ||
        (code = blm_config_field(&c->tiles_per_batch, 4, 64, "tiles_per_batch", err)) < 0 ||
        (code = blm_config_field(&c->max_tiles, 0, 256, "max_tiles", err)) < 0 ||
        (code = blm_config_field(&c->kv_type, BLUELM_KV_INT8, BLUELM_KV_F16, "kv_type", err)) <
            0 ||
        (code = blm_config_field(&c->activation_type, BLUELM_ACT_INT8, BLUELM_ACT_INT16,
                                 "activation_type", err)) < 0 ||
        (code = blm_config_field(&c->vision_activation_type, BLUELM_ACT_DEFAULT,
                                 BLUELM_ACT_INT16, "vision_activation_type", err)) < 0 ||
        (code = blm_config_field(&c->tile_rule, 0, BLUELM_TILES_SINGLE, "tile_rule", err)) <
            0 ||
        (code = blm_config_field(&c->workers, 1, 64, "workers", err)) < 0 ||
        (code = blm_config_field(&c->overlap_tiles, 0, 1, "overlap_tiles", err)) < 0 ||
        (code = blm_config_field(&c->max_image_tokens, 0, 1u << 20, "max_image_tokens", err)) <
            0)
        return code;
    if (c->background_rgb && c->background_rgb >> 24 != 1)
        return blm_fail(err, BLUELM_E_ARG, "background_rgb (0x1RRGGBB)",
                        c->background_rgb >> 24 ? 0x1ffffff : 0x1000000, c->background_rgb, 0);
    if (c->cpu_mask & ~BLM_CPU_ALL)
        return blm_fail(err, BLUELM_E_ARG, "bits of cpu_mask that are no BLUELM_CPU_*", 0,
                        c->cpu_mask & ~BLM_CPU_ALL, 0);
    if (c->marks == BLUELM_NO_MARKS)
        c->marks = 0;
    else if ((code = blm_config_field(&c->marks, 1, 16, "marks", err)) < 0)
        return code;
    return blm_config_field(&c->max_image_width_px, 16384, 65535, "max_image_width_px", err);
}

/* Fields whose defaults come from the language model. */
BLM_PRIVATE int blm_config_resolve_context(bluelm_config *c, const blm_language *m,
                                           bluelm_error *err)
{
    int code =
        blm_config_field(&c->context_tokens, BLM_MIN(m->trained_context_tokens - 1u, 2047u) + 1,
                         1u << 20, "context_tokens", err);
    if (code < 0) return code;
    c->chunk_tokens = BLM_MIN(c->chunk_tokens, c->context_tokens);
    uint32_t text = c->context_tokens > 60000 / 4 ? 60000 : 4 * c->context_tokens;
    return blm_config_field(&c->text_bytes, BLM_MAX(text, 1024u), 60000, "text_bytes", err);
}
