/* Pictures whose tokens the caller has. */
#include "engine.h"

BLM_PRIVATE int blm_check_queue(const bluelm *e, bluelm_error *err)
{
    if (e->image_count < BLM_MAX_QUEUED_IMAGES) return BLUELM_OK;
    return blm_fail(err, BLUELM_E_STATE, "pictures queued", BLM_MAX_QUEUED_IMAGES,
                    BLM_MAX_QUEUED_IMAGES + 1, 0);
}

BLM_PRIVATE blm_turn_start blm_picture_start(const bluelm *e, const blm_call *before)
{
    if (e->turns.open != BLM_TURN_NONE) return e->turns.start;
    return (blm_turn_start){before->input.count,
                            before->input.text_bytes - before->input.text_from, e->turns.last};
}

int bluelm_add_image_rows(bluelm *engine, const float *rows, uint32_t columns,
                          uint32_t rows_count, bluelm_error *err)
{
    /* They are one tile, which lies in a chunk where its tokens see each other. */
    const uint32_t chunk = engine->config.chunk_tokens - (engine->language.first_sees != 0);
    const uint32_t most =
        engine->language.two_way ? BLM_MIN(engine->image_rows, chunk) : engine->image_rows;
    uint64_t tokens = (uint64_t)columns * rows_count;
    int code = blm_check_queue(engine, err);
    if (code < 0) return code;
    if (!rows) return blm_fail_null(err, "rows");
    if (!tokens || tokens > most)
        return blm_fail(err, BLUELM_E_ARG, "image rows (max_image_tokens)", tokens ? most : 1,
                        tokens, 0);
    blm_call before;
    blm_call_begin(&before, engine);
    code = blm_input_open(engine, err);
    blm_begin_picture(engine, &before);
    if (code >= 0) code = blm_input_image(&engine->input, 0, (uint32_t)tokens, err);
    const blm_turn_start start = blm_picture_start(engine, &before);
    const uint32_t first = before.input.count;
    if (blm_call_end(engine, &before, code) < 0) return code;
    engine->images[engine->image_count++] = (blm_queued_image){
        .grid = {.columns = 1, .rows = 1, .tiles = 1, .tokens = (uint32_t)tokens},
        .rows = rows,
        .tile = {(uint32_t)tokens, columns},
        .first = first,
        .end = engine->input.count,
        .start = start,
    };
    blm_end_picture(engine);
    return BLUELM_OK;
}

BLM_PRIVATE int blm_step_given(bluelm *e, bluelm_event *event)
{
    const blm_queued_image *head = &e->images[0];
    e->compute.kernels.f16_from_f32(e->image_tokens, head->rows,
                                    (size_t)head->grid.tokens * e->row_values);
    e->encoding.done = 1;
    event->type = BLUELM_EVENT_ENCODE;
    event->done = event->total = head->grid.tokens;
    return 1;
}
