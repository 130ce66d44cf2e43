#include "markup.h"

#include "vision.h"

#define BLM_MARKUP_LINE_END 6 /* its place among the texts */

static void blm_image_markup_fields(blm_image_markup *m, blm_string *fields[BLM_MARKUP_TEXTS])
{
    blm_string *const all[BLM_MARKUP_TEXTS] = {
        &m->begin,     &m->end,      &m->single,   &m->tile,      &m->row_end,
        &m->thumbnail, &m->line_end, &m->tile_end, &m->whole_end, &m->row_gap};
    memcpy(fields, all, sizeof all);
}

/* Texts around a picture: the file's, else its projector's. */
BLM_PRIVATE int blm_image_markup_read(blm_image_markup *m, const blm_gguf *g,
                                      const blm_projector *p, bluelm_error *err)
{
    static const char *const keys[BLM_MARKUP_TEXTS] = {
        "bluelm.image.begin",    "bluelm.image.end",      "bluelm.image.single",
        "bluelm.image.tile",     "bluelm.image.row_end",  "bluelm.image.thumbnail",
        "bluelm.image.line_end", "bluelm.image.tile_end", "bluelm.image.whole_end",
        "bluelm.image.row_gap"};
    const char *const *texts = blm_projector_row_of(p->type)->markup;
    blm_string *fields[BLM_MARKUP_TEXTS];
    blm_image_markup_fields(m, fields);
    m->own = 0;
    m->breaks_line = blm_projector_row_of(p->type)->breaks_line;
    for (uint32_t i = 0; i < BLM_MARKUP_TEXTS; i++) {
        const char *text = texts && texts[i] ? texts[i] : "";
        *fields[i] = (blm_string){text, blm_text_bytes(text)};
        int code = blm_gguf_string(g, keys[i], fields[i], err);
        if (code < 0) return code;
        m->own |= (uint32_t)code << i;
        if (code > 0) m->breaks_line = 0;
        if (fields[i]->bytes > BLM_IMAGE_MARKUP_BYTES)
            return blm_fail(err, BLUELM_E_FORMAT, keys[i], BLM_IMAGE_MARKUP_BYTES,
                            fields[i]->bytes, 0);
    }
    return BLUELM_OK;
}

BLM_PRIVATE void blm_image_markup_fit(blm_image_markup *m, const blm_vocab *vocab)
{
    blm_string *fields[BLM_MARKUP_TEXTS];
    size_t at, length;
    int32_t token;
    blm_image_markup_fields(m, fields);
    const uint32_t first = m->begin.bytes ? 0 : BLM_MARKUP_LINE_END;
    const blm_string *marker = fields[first];
    if (m->own >> first & 1 || !marker->bytes ||
        blm_vocab_find_special(vocab, marker->text, (size_t)marker->bytes, &at, &length,
                               &token))
        return;
    for (uint32_t i = 0; i < BLM_MARKUP_TEXTS; i++)
        if (!(m->own >> i & 1)) fields[i]->bytes = 0;
}
