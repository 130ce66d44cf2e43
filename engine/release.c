/* The encoder's weights go while no picture needs them, and come back. */
#include "engine.h"

/* What tells one file from another without reading its weights: FNV-1a of its header. */
static uint64_t blm_mmproj_hash(const void *header, uint64_t bytes)
{
    const uint8_t *at = (const uint8_t *)header;
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint64_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

BLM_PRIVATE void blm_mmproj_keep(blm_mmproj *kept, const blm_gguf *g)
{
    kept->file = g->file;
    kept->bytes = g->bytes;
    kept->header_bytes = BLM_MIN(g->data_at, g->bytes);
    kept->header_hash = blm_mmproj_hash(g->file, kept->header_bytes);
}

/* Pictures whose tiles are not all encoded. */
static uint32_t blm_pictures_waiting(const bluelm *e)
{
    uint32_t waiting = e->embedding && !e->encoding.done;
    for (uint32_t i = 0; i < e->image_count; i++)
        waiting += !e->images[i].rows && (i || !e->encoding.done);
    return waiting;
}

static int blm_check_vision(const bluelm *e, bluelm_error *err)
{
    if (e->has_vision) return BLUELM_OK;
    return blm_fail(err, BLUELM_E_STATE, "pictures need an mmproj", 1, 0, 0);
}

int bluelm_vision_release(bluelm *engine, bluelm_error *err)
{
    int code = blm_check_vision(engine, err);
    if (code < 0) return code;
    uint32_t waiting = blm_pictures_waiting(engine);
    if (waiting)
        return blm_fail(err, BLUELM_E_STATE, "pictures that wait to be encoded", 0, waiting, 0);
    engine->mmproj.released = 1;
    return BLUELM_OK;
}

static void blm_move_text(blm_string *text, const blm_mmproj *kept, const uint8_t *to)
{
    uintptr_t place = (uintptr_t)text->text - (uintptr_t)kept->file;
    if (place < kept->bytes) text->text = (const char *)to + place;
}

/* What else points into the file: texts around pictures, candidates of llava-next. */
static void blm_move_texts(bluelm *e, const uint8_t *to)
{
    blm_image_markup *m = &e->markup;
    blm_string *const texts[] = {&m->begin,     &m->end,       &m->single,   &m->tile,
                                 &m->row_end,   &m->thumbnail, &m->line_end, &m->tile_end,
                                 &m->whole_end, &m->row_gap};
    blm_tile_rule *const rules[] = {&e->tile_rule, &e->embed_rule};
    for (uint32_t i = 0; i < BLM_COUNT_OF(texts); i++)
        blm_move_text(texts[i], &e->mmproj, to);
    for (uint32_t i = 0; i < BLM_COUNT_OF(rules); i++)
        if (rules[i]->pinpoints)
            rules[i]->pinpoints =
                to + ((uintptr_t)rules[i]->pinpoints - (uintptr_t)e->mmproj.file);
}

int bluelm_vision_attach(bluelm *engine, const void *mmproj, size_t mmproj_bytes,
                         bluelm_error *err)
{
    blm_mmproj *kept = &engine->mmproj;
    int code = blm_check_vision(engine, err);
    if (code < 0) return code;
    if (!mmproj) return blm_fail_null(err, "mmproj");
    if (!kept->released)
        return blm_fail(err, BLUELM_E_STATE, "vision encoder: it is not released", 1, 0, 0);
    if (mmproj_bytes != kept->bytes)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: not the file it was: bytes", kept->bytes,
                        mmproj_bytes, 0);
    uint64_t hash = blm_mmproj_hash(mmproj, kept->header_bytes);
    if (hash != kept->header_hash)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: not the file it was: header",
                        kept->header_hash, hash, kept->header_bytes);
    blm_vision_move(&engine->vision, kept->file, mmproj);
    blm_move_texts(engine, (const uint8_t *)mmproj);
    kept->file = (const uint8_t *)mmproj;
    kept->released = 0;
    return BLUELM_OK;
}
