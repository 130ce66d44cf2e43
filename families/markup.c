#include "markup.h"

/* Texts around a picture, when the mmproj does not give them: what the models that
 * llama.cpp runs under these projectors were trained with. */
BLM_PRIVATE int blm_image_markup_read(blm_image_markup *m, const blm_gguf *g,
                                      const blm_projector *p, bluelm_error *err)
{
    static const char *const keys[] = {"bluelm.image.begin",   "bluelm.image.end",
                                       "bluelm.image.single",  "bluelm.image.tile",
                                       "bluelm.image.row_end", "bluelm.image.thumbnail"};
    static const char *const idefics3[] = {"",
                                           "<fake_token_around_image>",
                                           "<fake_token_around_image><global-img>",
                                           "<fake_token_around_image><row_{row}_col_{col}>",
                                           "\n",
                                           "\n<fake_token_around_image><global-img>"};
    blm_string *const fields[] = {&m->begin, &m->end,     &m->single,
                                  &m->tile,  &m->row_end, &m->thumbnail};
    for (uint32_t i = 0; i < BLM_COUNT_OF(keys); i++) {
        const char *text = p->type == BLM_PROJECTOR_IDEFICS3 ? idefics3[i] : "";
        *fields[i] = (blm_string){text, blm_text_bytes(text)};
        int code = blm_gguf_string(g, keys[i], fields[i], err);
        if (code < 0) return code;
        if (fields[i]->bytes > BLM_IMAGE_MARKUP_BYTES)
            return blm_fail(err, BLUELM_E_FORMAT, keys[i], BLM_IMAGE_MARKUP_BYTES,
                            fields[i]->bytes, 0);
    }
    return BLUELM_OK;
}
