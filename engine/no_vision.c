/* In the place of what sees, in a build without it: pictures are refused, but for those whose
 * tokens the caller has. */
#include "engine.h"

#ifdef BLUELM_NO_VISION

static int blm_no_vision(bluelm_error *err)
{
    return blm_fail(err, BLUELM_E_UNSUPPORTED, "pictures (built without)", 0, 0, 0);
}

/* ---- Layout ------------------------------------------------------------------------------ */

BLM_PRIVATE int blm_layout_open_vision(blm_layout *l, bluelm_error *err)
{
    return l->weights->mmproj ? blm_no_vision(err) : BLUELM_OK;
}

BLM_PRIVATE void blm_layout_picture_tokens(const blm_layout *l, uint32_t *most,
                                           uint32_t *of_tile)
{
    (void)l, (void)most, (void)of_tile;
}

BLM_PRIVATE void blm_layout_markup(blm_layout *l)
{
    (void)l;
}

BLM_PRIVATE BLM_COLD void blm_layout_vision(blm_layout *l, blm_compute *c)
{
    (void)l, (void)c;
}

BLM_PRIVATE void blm_layout_hand_over_vision(const blm_layout *l)
{
    (void)l;
}

BLM_PRIVATE void blm_layout_describe_vision(const blm_layout *l, bluelm_info *info)
{
    (void)l, (void)info;
}

/* ---- Steps ------------------------------------------------------------------------------- */

BLM_PRIVATE int blm_step_encode(bluelm *e, bluelm_event *event, bluelm_error *err)
{
    (void)err;
    return blm_step_given(e, event);
}

BLM_PRIVATE int blm_step_embed(bluelm *e, bluelm_event *event, bluelm_error *err)
{
    (void)e, (void)event;
    return blm_no_vision(err);
}

BLM_PRIVATE void blm_embed_end(bluelm *e)
{
    (void)e;
}

BLM_PRIVATE void blm_encode_finish_ahead(bluelm *e)
{
    (void)e;
}

/* ---- Calls ------------------------------------------------------------------------------- */

int bluelm_vision_release(bluelm *engine, bluelm_error *err)
{
    (void)engine;
    return blm_no_vision(err);
}

int bluelm_vision_attach(bluelm *engine, const void *mmproj, size_t mmproj_bytes,
                         bluelm_error *err)
{
    (void)engine, (void)mmproj, (void)mmproj_bytes;
    return blm_no_vision(err);
}

int bluelm_add_image(bluelm *engine, const bluelm_image *image, bluelm_tile_grid *grid,
                     bluelm_error *err)
{
    (void)engine, (void)image, (void)grid;
    return blm_no_vision(err);
}

int64_t bluelm_embed_image(bluelm *engine, const bluelm_image *image, float *tokens,
                           size_t max_floats, bluelm_error *err)
{
    (void)engine, (void)image, (void)tokens, (void)max_floats;
    return blm_no_vision(err);
}

int bluelm_embed_begin(bluelm *engine, const bluelm_image *image, bluelm_error *err)
{
    (void)engine, (void)image;
    return blm_no_vision(err);
}

int64_t bluelm_embed_rows(bluelm *engine, float *tokens, size_t max_floats, bluelm_error *err)
{
    (void)engine, (void)tokens, (void)max_floats;
    return blm_no_vision(err);
}

int bluelm_tile_plan(const bluelm_weights *weights, const bluelm_config *config,
                     uint32_t width_px, uint32_t height_px, bluelm_tile_grid *grid,
                     bluelm_error *err)
{
    (void)weights, (void)config, (void)width_px, (void)height_px, (void)grid;
    return blm_no_vision(err);
}

int bluelm_image_size(const void *encoded, size_t encoded_bytes, uint32_t *width_px,
                      uint32_t *height_px, bluelm_error *err)
{
    (void)encoded, (void)encoded_bytes;
    if (width_px) *width_px = 0;
    if (height_px) *height_px = 0;
    return blm_no_vision(err);
}

int64_t bluelm_image_whole_bytes(const void *encoded, size_t encoded_bytes, bluelm_error *err)
{
    (void)encoded, (void)encoded_bytes;
    return blm_no_vision(err);
}

#endif
