/* Numbers to compare with other programs': `logits` and `embed`. */
#include <stdlib.h>

#include "commands.h"
#include "output.h"

/* What `logits` reads: ids, then perhaps a picture's tokens and more ids. */
typedef struct app_sequence {
    app_file ids, rows, then;
} app_sequence;

static int app_open_sequence(app_sequence *q, const app_options *o)
{
    if (app_map(&q->ids, o->ids) || (o->rows && app_map(&q->rows, o->rows)) ||
        (o->then && app_map(&q->then, o->then)))
        return 1;
    if (!q->ids.bytes || q->ids.bytes % sizeof(int32_t))
        return app_fail(o->ids, "not a list of 32-bit ids");
    if (q->then.bytes % sizeof(int32_t)) return app_fail(o->then, "not a list of 32-bit ids");
    if (!o->rows != !o->grid_columns || q->rows.bytes % sizeof(float))
        return app_misuse("logits", "takes --rows FILE of 32-bit floats with --grid COLSxROWS");
    return 0;
}

static void app_close_sequence(const app_sequence *q)
{
    app_unmap(&q->ids);
    app_unmap(&q->rows);
    app_unmap(&q->then);
}

/* Each token's floats follow from the file's length: those of a wrong file would be read
 * beyond it. */
static int app_check_rows(const app_session *s, const app_options *o, const app_sequence *q)
{
    uint64_t tokens = (uint64_t)o->grid_columns * o->grid_rows;
    bluelm_info info;
    bluelm_error err;
    if (!o->rows) return 0;
    if (bluelm_describe(&s->weights, &info, &err) < 0) return app_fail_files(s, &err);
    if (tokens && q->rows.bytes == tokens * info.image_token_floats * sizeof(float)) return 0;
    return app_fail_with(o->rows, "has %zu bytes, not those of %ux%u tokens of %u floats",
                         q->rows.bytes, o->grid_columns, o->grid_rows, info.image_token_floats);
}

static int app_add_ids(app_session *s, const app_file *ids)
{
    bluelm_error err;
    if (!ids->bytes) return 0;
    if (bluelm_add_tokens(s->engine, ids->data, ids->bytes / sizeof(int32_t), &err) < 0)
        return app_fail_error(ids->path, &err);
    return 0;
}

static int app_read_sequence(app_session *s, const app_options *o, const app_sequence *q)
{
    bluelm_event event;
    bluelm_error err;
    int more = 1;
    if (app_add_ids(s, &q->ids)) return 1;
    if (o->rows &&
        bluelm_add_image_rows(s->engine, q->rows.data, o->grid_columns, o->grid_rows, &err) < 0)
        return app_fail_error(o->rows, &err);
    if (app_add_ids(s, &q->then)) return 1;
    while (more > 0)
        more = bluelm_step(s->engine, &event, &err);
    return more < 0 ? app_fail_error(NULL, &err) : 0;
}

int app_logits(app_session *s, const app_options *o)
{
    app_sequence q = {0};
    bluelm_config config = o->config;
    int code = app_open_sequence(&q, o);
    if (!code) {
        uint64_t rows = (uint64_t)o->grid_columns * o->grid_rows;
        uint64_t tokens = (q.ids.bytes + q.then.bytes) / sizeof(int32_t) + rows;
        if (!config.context_tokens && tokens <= UINT32_MAX)
            config.context_tokens = (uint32_t)tokens;
        if (!config.max_image_tokens && rows <= UINT32_MAX)
            config.max_image_tokens = (uint32_t)rows;
        code =
            app_check_rows(s, o, &q) || app_start(s, o, &config) || app_read_sequence(s, o, &q);
    }
    if (!code) {
        uint32_t n_vocab;
        const float *logits = bluelm_logits(s->engine, &n_vocab);
        code = app_write_floats(o->output, logits, n_vocab);
    }
    app_close_sequence(&q);
    return code;
}

/* Floats of the picture's tokens, which an engine says when it is given no room. */
static int64_t app_embed_floats(app_session *s, const bluelm_image *image, bluelm_error *err)
{
    float none;
    int64_t floats = bluelm_embed_image(s->engine, image, &none, 0, err);
    if (floats >= 0 || err->code != BLUELM_E_BUDGET) return floats;
    return (int64_t)(err->need / sizeof(float));
}

static int app_embed_picture(app_session *s, const app_options *o, const app_picture *p)
{
    bluelm_image image = {.encoded = p->file.data, .encoded_bytes = p->file.bytes};
    bluelm_error err;
    int64_t floats = app_embed_floats(s, &image, &err);
    if (floats < 0) return app_fail_error(p->file.path, &err);
    float *tokens = malloc(((size_t)floats + 1) * sizeof *tokens);
    int code = !tokens ? app_fail("embed", "out of memory")
               : bluelm_embed_image(s->engine, &image, tokens, (size_t)floats, &err) < 0
                   ? app_fail_error(p->file.path, &err)
                   : app_write_floats(o->output, tokens, (size_t)floats);
    free(tokens);
    return code;
}

int app_embed(app_session *s, const app_options *o)
{
    app_picture pictures[APP_MAX_IMAGES] = {0};
    bluelm_config config = o->config;
    if (o->image_count != 1) return app_misuse("embed", "needs one --image FILE");
    int code = app_open_pictures(o, pictures, &config) || app_start(s, o, &config) ||
               app_embed_picture(s, o, pictures);
    app_close_pictures(pictures, o->image_count);
    return code;
}
