/* Numbers to compare with other programs': `logits` and `embed`. */
#include <stdlib.h>

#include "commands.h"
#include "output.h"

int app_logits(app_session *s, const app_options *o)
{
    bluelm_config config = o->config;
    bluelm_event event;
    bluelm_error err;
    app_file ids;
    uint32_t n_vocab;
    int more = 1;
    if (app_map(&ids, o->ids)) return 1;
    if (!ids.bytes || ids.bytes % sizeof(int32_t))
        return app_fail(o->ids, "not a list of 32-bit ids");
    if (!config.context_tokens) config.context_tokens = (uint32_t)(ids.bytes / sizeof(int32_t));
    if (app_start(s, o, &config)) return 1;
    if (bluelm_add_tokens(s->engine, ids.data, ids.bytes / sizeof(int32_t), &err) < 0)
        return app_fail_error(NULL, &err);
    while (more > 0)
        more = bluelm_step(s->engine, &event, &err);
    if (more < 0) return app_fail_error(NULL, &err);
    const float *logits = bluelm_logits(s->engine, &n_vocab);
    app_unmap(&ids);
    return app_write_floats(o->output, logits, n_vocab);
}

int app_embed(app_session *s, const app_options *o)
{
    app_picture pictures[APP_MAX_IMAGES] = {0};
    bluelm_config config = o->config;
    bluelm_info info;
    bluelm_error err;
    if (o->image_count != 1) {
        app_fail("embed", "needs one --image FILE");
        return 2;
    }
    if (app_open_pictures(o, pictures, &config) || app_start(s, o, &config)) return 1;
    if (bluelm_describe(&s->weights, &info, &err) < 0) return app_fail_error(NULL, &err);
    size_t count = (size_t)info.tokens_per_tile * info.n_embd;
    float *tokens = malloc((count + 1) * sizeof *tokens);
    bluelm_image image = {.encoded = pictures->file.data,
                          .encoded_bytes = pictures->file.bytes};
    int code = !tokens ? app_fail("embed", "out of memory")
               : bluelm_embed_image(s->engine, &image, tokens, count, &err) < 0
                   ? app_fail_error(pictures->file.path, &err)
                   : app_write_floats(o->output, tokens, count);
    free(tokens);
    app_close_pictures(pictures, o->image_count);
    return code;
}
