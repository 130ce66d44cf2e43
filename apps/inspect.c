/* What the files hold and need: `plan`, `info`, `tokenize`. */
#include <inttypes.h>
#include <stdlib.h>

#include "commands.h"
#include "output.h"
#include "report.h"

/* ---- Plan --------------------------------------------------------------------------- */

static int app_plan_grids(app_session *s, const app_options *o, const bluelm_config *config,
                          app_picture *pictures)
{
    bluelm_error err;
    for (uint32_t i = 0; i < o->image_count; i++) {
        app_picture *p = &pictures[i];
        if (bluelm_tile_plan(&s->weights, config, p->width, p->height, &p->grid, &err) < 0)
            return app_fail_error(p->file.path, &err);
        if (o->json) {
            fputs(i ? "," : ",\"images\":[", app_out());
            app_print_grid_json(&p->grid);
            fputs(i + 1 == o->image_count ? "]" : "", app_out());
        } else {
            app_print_grid(p->file.path, p->width, p->height, &p->grid);
        }
    }
    return 0;
}

int app_plan(app_session *s, const app_options *o)
{
    app_picture pictures[APP_MAX_IMAGES] = {0};
    bluelm_config config = o->config;
    bluelm_error err;
    int code = app_open_pictures(o, pictures, &config);
    int planned = code ? 0 : bluelm_plan(&s->weights, &config, &s->memory, &err);
    if (planned < 0 && err.code != BLUELM_E_BUDGET) code = app_fail_files(s, &err);
    if (!code) {
        fputs(o->json ? "{" : "", app_out());
        (o->json ? app_print_memory_json : app_print_memory)(&s->memory);
        code = app_plan_grids(s, o, &config, pictures);
        fputs(o->json ? "}" : "", app_out());
        if (planned < 0) code = app_fail_error(NULL, &err);
    }
    app_close_pictures(pictures, o->image_count);
    return code;
}

/* ---- Info ----------------------------------------------------------------------------- */

int app_info(app_session *s, const app_options *o)
{
    bluelm_info info;
    bluelm_error err;
    if (bluelm_describe(&s->weights, &info, &err) < 0) return app_fail_files(s, &err);
    if (o->json)
        app_print_info_json(&info, &s->weights);
    else
        app_print_info(&info, &s->weights);
    return 0;
}

/* ---- Tokenize --------------------------------------------------------------------------- */

static void app_print_ids(const app_options *o, const int32_t *ids, int64_t count)
{
    const char *between = o->json ? "," : " ";
    fputs(o->json ? "{\"tokens\":[" : "", app_out());
    for (int64_t i = 0; i < count; i++)
        fprintf(app_out(), "%s%" PRId32, i ? between : "", ids[i]);
    fputs(o->json ? "]}" : "\n", app_out());
}

int app_tokenize(app_session *s, const app_options *o)
{
    bluelm_config config = o->config;
    bluelm_error err;
    app_text text = {0};
    int32_t *ids = NULL;
    config.text_bytes = 60000; /* as much as an engine takes at once */
    int code = app_start(s, o, &config) ||
               app_text_add_stream(&text, stdin, "standard input") ||
               app_text_add(&text, "", 0);
    if (!code && !(ids = malloc((text.bytes + 1) * sizeof *ids)))
        code = app_fail("tokenize", "out of memory");
    int64_t count = code ? 0
                         : bluelm_tokenize(s->engine, text.data, text.bytes, (int)o->special,
                                           ids, text.bytes + 1, &err);
    if (count < 0)
        code = app_fail_error(NULL, &err);
    else if (!code)
        app_print_ids(o, ids, count);
    free(ids);
    free(text.data);
    return code;
}
