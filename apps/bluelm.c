/* The `bluelm` command: answers questions about pictures, and shows what it takes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "session.h"

/* A growing text: the answer, kept for --json. */
typedef struct app_text {
    char *data;
    size_t bytes;
} app_text;

static int app_text_add(app_text *t, const char *data, size_t bytes)
{
    char *grown = realloc(t->data, t->bytes + bytes + 1);
    if (!grown) return app_fail("answer", "out of memory");
    memcpy(grown + t->bytes, data, bytes);
    t->data = grown;
    t->bytes += bytes;
    return 0;
}

/* ---- Pictures --------------------------------------------------------------------- */

typedef struct app_picture {
    app_file file;
    uint32_t width, height;
    bluelm_tile_grid grid;
} app_picture;

static int app_open_picture(app_picture *p, const char *path)
{
    bluelm_error err;
    if (app_map(&p->file, path)) return 1;
    if (bluelm_image_size(p->file.data, p->file.bytes, &p->width, &p->height, &err) < 0)
        return app_fail_error(path, &err);
    return 0;
}

static void app_close_picture(const app_picture *p)
{
    bluelm_posix_unmap(p->file.data, p->file.bytes);
}

/* Opens the pictures of the command line and, unless --max-pixels said it, sizes the decode
 * budget to the largest of them. */
static int app_open_pictures(const app_options *o, app_picture *pictures, bluelm_config *config)
{
    uint64_t most = 1;
    for (uint32_t i = 0; i < o->image_count; i++) {
        if (app_open_picture(&pictures[i], o->images[i])) return 1;
        uint64_t pixels = (uint64_t)pictures[i].width * pictures[i].height;
        most = pixels > most ? pixels : most;
    }
    if (!config->max_image_pixels)
        config->max_image_pixels = most < UINT32_MAX ? (uint32_t)most : UINT32_MAX - 1;
    return 0;
}

/* ---- Answering ---------------------------------------------------------------------- */

static void app_show_progress(const app_options *o, const bluelm_event *event)
{
    if (o->quiet) return;
    if (event->type == BLUELM_EVENT_ENCODE)
        app_progress("encoding tiles", event->done, event->total);
    else if (event->type == BLUELM_EVENT_PREFILL)
        app_progress("reading prompt", event->done, event->total);
    else
        app_progress(NULL, 0, 0);
}

/* Steps until the answer ends, printing it as it comes or, for --json, keeping it. */
static int app_answer(app_session *s, const app_options *o, app_text *answer, int *reason)
{
    bluelm_event event;
    bluelm_error err;
    int more;
    do {
        more = bluelm_step(s->engine, &event, &err);
        if (more < 0) {
            app_progress(NULL, 0, 0);
            return app_fail_error(NULL, &err);
        }
        app_show_progress(o, &event);
        if (o->json) {
            if (app_text_add(answer, event.text ? event.text : "", event.text_bytes)) return 1;
        } else if (event.text_bytes) {
            fwrite(event.text, 1, event.text_bytes, stdout);
            fflush(stdout);
        }
    } while (more);
    *reason = event.end_reason;
    if (!o->json) putchar('\n');
    if (event.end_reason == BLUELM_END_CONTEXT)
        fprintf(stderr, "bluelm: the context of %u tokens is full: raise --ctx\n",
                s->memory.context_tokens);
    return 0;
}

static int app_add_picture(app_session *s, app_picture *p)
{
    bluelm_error err;
    bluelm_image image = {.encoded = p->file.data, .encoded_bytes = p->file.bytes};
    if (bluelm_add_image(s->engine, &image, &p->grid, &err) < 0)
        return app_fail_error(p->file.path, &err);
    return 0;
}

static int app_add_turn(app_session *s, bluelm_role role, const char *text)
{
    bluelm_error err;
    if (bluelm_begin_turn(s->engine, role, &err) < 0 ||
        bluelm_add_text(s->engine, text, strlen(text), &err) < 0)
        return app_fail_error(NULL, &err);
    return 0;
}

static int app_ask(app_session *s, const app_options *o, app_picture *pictures)
{
    bluelm_error err;
    if (o->system && app_add_turn(s, BLUELM_SYSTEM, o->system)) return 1;
    if (bluelm_begin_turn(s->engine, BLUELM_USER, &err) < 0) return app_fail_error(NULL, &err);
    for (uint32_t i = 0; i < o->image_count; i++)
        if (app_add_picture(s, &pictures[i])) return 1;
    if (bluelm_add_text(s->engine, o->prompt, strlen(o->prompt), &err) < 0 ||
        bluelm_generate(s->engine, o->max_tokens, &err) < 0)
        return app_fail_error(NULL, &err);
    return 0;
}

static void app_print_answer_json(const app_session *s, const app_options *o,
                                  const app_picture *pictures, const app_text *answer,
                                  int reason)
{
    static const char *const reasons[] = {"end_of_turn", "max_tokens", "context_full"};
    bluelm_stats stats;
    bluelm_get_stats(s->engine, &stats);
    printf("{\"answer\":");
    app_print_json_string(answer->data, answer->bytes);
    printf(",\"end\":\"%s\",\"images\":[", reasons[reason]);
    for (uint32_t i = 0; i < o->image_count; i++) {
        fputs(i ? "," : "", stdout);
        app_print_grid_json(&pictures[i].grid);
    }
    printf("],");
    app_print_speeds_json(&stats, s->load_us);
    printf(",");
    app_print_memory_json(&s->memory);
    printf("}\n");
}

static int app_run_session(app_session *s, const app_options *o, const bluelm_config *config,
                           app_picture *pictures)
{
    app_text answer = {0};
    bluelm_stats stats;
    int reason = 0;
    if (app_start(s, o, config) || app_ask(s, o, pictures) ||
        app_answer(s, o, &answer, &reason)) {
        free(answer.data);
        return 1;
    }
    bluelm_get_stats(s->engine, &stats);
    if (o->json)
        app_print_answer_json(s, o, pictures, &answer, reason);
    else if (!o->quiet)
        app_print_speeds(&stats, s->load_us);
    free(answer.data);
    return 0;
}

static int app_run(app_session *s, const app_options *o)
{
    app_picture pictures[APP_MAX_IMAGES] = {0};
    bluelm_config config = o->config;
    if (!o->prompt) return app_fail("run", "needs -p \"question\"");
    int code =
        app_open_pictures(o, pictures, &config) || app_run_session(s, o, &config, pictures);
    for (uint32_t i = 0; i < o->image_count; i++)
        app_close_picture(&pictures[i]);
    return code;
}

/* ---- Chat --------------------------------------------------------------------------------- */

typedef struct app_chat {
    app_session *session;
    const app_options *options;
    app_picture pictures[APP_MAX_IMAGES]; /* mapped until they are encoded */
    uint32_t picture_count;
    int turn_open;
} app_chat;

static int app_chat_begin_turn(app_chat *c)
{
    bluelm_error err;
    if (c->turn_open) return 0;
    if (bluelm_begin_turn(c->session->engine, BLUELM_USER, &err) < 0)
        return app_fail_error(NULL, &err);
    c->turn_open = 1;
    return 0;
}

static void app_chat_image(app_chat *c, const char *path)
{
    app_picture *p = &c->pictures[c->picture_count];
    if (c->picture_count == APP_MAX_IMAGES) {
        app_fail(path, "too many pictures in one turn");
        return;
    }
    if (app_open_picture(p, path) || app_chat_begin_turn(c) || app_add_picture(c->session, p)) {
        app_close_picture(p);
        *p = (app_picture){0};
        return;
    }
    c->picture_count++;
    if (!c->options->quiet)
        fprintf(stderr, "%s: %u tile%s\n", path, p->grid.tiles, p->grid.tiles == 1 ? "" : "s");
}

static void app_chat_close_pictures(app_chat *c)
{
    for (uint32_t i = 0; i < c->picture_count; i++)
        app_close_picture(&c->pictures[i]);
    c->picture_count = 0;
}

static void app_chat_reset(app_chat *c)
{
    bluelm_reset(c->session->engine);
    app_chat_close_pictures(c);
    c->turn_open = 0;
    if (c->options->system) app_add_turn(c->session, BLUELM_SYSTEM, c->options->system);
}

/* A question that does not fit is refused and the conversation goes on; when its text fitted
 * but not the answer's opening, the text stays in the turn until /reset. */
static void app_chat_ask(app_chat *c, const char *line)
{
    bluelm_error err;
    app_text answer = {0};
    int reason = 0;
    if (app_chat_begin_turn(c)) return;
    if (bluelm_add_text(c->session->engine, line, strlen(line), &err) < 0 ||
        bluelm_generate(c->session->engine, c->options->max_tokens, &err) < 0) {
        app_fail_error(NULL, &err);
        return;
    }
    c->turn_open = 0;
    if (app_answer(c->session, c->options, &answer, &reason)) {
        fprintf(stderr, "bluelm: the conversation starts over\n");
        app_chat_reset(c);
    }
    if (c->options->json) {
        app_print_json_string(answer.data, answer.bytes);
        putchar('\n');
    }
    fflush(stdout);
    free(answer.data);
    app_chat_close_pictures(c);
}

static int app_chat_loop(app_session *s, const app_options *o)
{
    app_chat c = {.session = s, .options = o};
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    app_chat_reset(&c);
    for (uint32_t i = 0; i < o->image_count; i++)
        app_chat_image(&c, o->images[i]);
    for (;;) {
        fputs(o->quiet ? "" : "> ", stderr);
        if ((length = getline(&line, &room, stdin)) < 0) break;
        while (length && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = 0;
        if (!strcmp(line, "/quit")) break;
        if (!strcmp(line, "/reset"))
            app_chat_reset(&c);
        else if (!strncmp(line, "/image ", 7))
            app_chat_image(&c, line + 7);
        else if (line[0])
            app_chat_ask(&c, line);
    }
    app_chat_close_pictures(&c);
    free(line);
    return 0;
}

static int app_chat_command(app_session *s, const app_options *o)
{
    bluelm_config config = o->config;
    if (!config.max_image_pixels)
        config.max_image_pixels = o->mmproj ? 4u << 20 : BLUELM_NO_IMAGE_DECODE_PIXELS;
    return app_start(s, o, &config) || app_chat_loop(s, o);
}

/* ---- Plan and info --------------------------------------------------------------------------- */

static int app_plan_grids(app_session *s, const app_options *o, const bluelm_config *config,
                          app_picture *pictures)
{
    bluelm_error err;
    for (uint32_t i = 0; i < o->image_count; i++) {
        app_picture *p = &pictures[i];
        if (bluelm_tile_plan(&s->weights, config, p->width, p->height, &p->grid, &err) < 0)
            return app_fail_error(p->file.path, &err);
        if (o->json) {
            fputs(i ? "," : ",\"images\":[", stdout);
            app_print_grid_json(&p->grid);
            fputs(i + 1 == o->image_count ? "]" : "", stdout);
        } else {
            app_print_grid(p->file.path, p->width, p->height, &p->grid);
        }
    }
    return 0;
}

static int app_plan(app_session *s, const app_options *o)
{
    app_picture pictures[APP_MAX_IMAGES] = {0};
    bluelm_config config = o->config;
    bluelm_error err;
    if (app_open_pictures(o, pictures, &config)) return 1;
    int planned = bluelm_plan(&s->weights, &config, &s->memory, &err);
    if (planned < 0 && err.code != BLUELM_E_BUDGET) return app_fail_files(s, &err);
    if (o->json) {
        fputs("{", stdout);
        app_print_memory_json(&s->memory);
    } else {
        app_print_memory(&s->memory);
    }
    int code = app_plan_grids(s, o, &config, pictures);
    if (o->json) puts("}");
    for (uint32_t i = 0; i < o->image_count; i++)
        app_close_picture(&pictures[i]);
    return planned < 0 ? app_fail_error(NULL, &err) : code;
}

static int app_info(app_session *s, const app_options *o)
{
    bluelm_info i;
    bluelm_error err;
    (void)o;
    if (bluelm_describe(&s->weights, &i, &err) < 0) return app_fail_files(s, &err);
    printf("language model  %s, %zu bytes: %u layers, width %u, %u heads of %u (%u for keys "
           "and values),\n                feed-forward %u, vocabulary %u, trained for %u "
           "tokens, chat template %s\n",
           i.architecture, s->model.bytes, i.n_layer, i.n_embd, i.n_head, i.head_dim,
           i.n_head_kv, i.n_ff, i.n_vocab, i.trained_context_tokens, i.chat_template);
    if (s->mmproj.data)
        printf(
            "vision          %zu bytes: %u layers, width %u, %u heads, feed-forward %u, tiles "
            "of %u px,\n                patches of %u px, projector %s, %u tokens a tile, "
            "tiling %s\n",
            s->mmproj.bytes, i.vision_layers, i.vision_width, i.vision_heads, i.vision_ffn,
            i.tile_px, i.patch_px, i.projector, i.tokens_per_tile, i.tile_rule);
    return 0;
}

/* ---- For comparisons ------------------------------------------------------------------------------ */

static int app_write_floats(const char *path, const float *values, size_t count)
{
    FILE *out = path ? fopen(path, "wb") : NULL;
    if (!path) return app_fail("-o", "needs a file");
    if (!out) return app_fail_errno(path);
    size_t written = fwrite(values, sizeof *values, count, out);
    if (fclose(out) || written != count) return app_fail_errno(path);
    return 0;
}

static int app_read_stdin(app_text *text)
{
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof part, stdin)) > 0)
        if (app_text_add(text, part, n)) return 1;
    return 0;
}

static int app_tokenize(app_session *s, const app_options *o)
{
    bluelm_config config = o->config;
    bluelm_error err;
    app_text text = {0};
    int32_t *ids = NULL;
    config.text_bytes = 60000;
    int code = app_start(s, o, &config) || app_read_stdin(&text);
    if (!code && !(ids = malloc((text.bytes + 1) * sizeof *ids)))
        code = app_fail("tokenize", "out of memory");
    int64_t count = code ? 0
                         : bluelm_tokenize(s->engine, text.data ? text.data : "", text.bytes,
                                           o->special, ids, text.bytes + 1, &err);
    if (count < 0) code = app_fail_error(NULL, &err);
    for (int64_t i = 0; i < count; i++)
        printf(i ? " %" PRId32 : "%" PRId32, ids[i]);
    if (!code) putchar('\n');
    free(ids);
    free(text.data);
    return code;
}

static int app_logits(app_session *s, const app_options *o)
{
    bluelm_config config = o->config;
    bluelm_event event;
    bluelm_error err;
    app_file ids;
    uint32_t n_vocab;
    int more = 1;
    if (!o->ids) return app_fail("logits", "needs --ids FILE.i32");
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
    bluelm_posix_unmap(ids.data, ids.bytes);
    return app_write_floats(o->output, logits, n_vocab);
}

static int app_embed(app_session *s, const app_options *o)
{
    app_picture picture[APP_MAX_IMAGES] = {0};
    bluelm_config config = o->config;
    bluelm_info info;
    bluelm_error err;
    if (o->image_count != 1) return app_fail("embed", "needs one --image FILE");
    if (app_open_pictures(o, picture, &config) || app_start(s, o, &config)) return 1;
    if (bluelm_describe(&s->weights, &info, &err) < 0) return app_fail_error(NULL, &err);
    size_t count = (size_t)info.tokens_per_tile * info.n_embd;
    float *tokens = malloc((count + 1) * sizeof *tokens);
    bluelm_image image = {.encoded = picture->file.data, .encoded_bytes = picture->file.bytes};
    int code = !tokens ? app_fail("embed", "out of memory")
               : bluelm_embed_image(s->engine, &image, tokens, count, &err) < 0
                   ? app_fail_error(picture->file.path, &err)
                   : app_write_floats(o->output, tokens, count);
    free(tokens);
    app_close_picture(picture);
    return code;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(app_session *, const app_options *);
    } commands[] = {
        {"run", app_run},     {"chat", app_chat_command}, {"plan", app_plan},
        {"info", app_info},   {"tokenize", app_tokenize}, {"logits", app_logits},
        {"embed", app_embed},
    };
    app_options options;
    app_session session;
    int code = app_options_parse(&options, argc, argv);
    if (code) return code == 1 ? 0 : code;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(options.command, commands[i].name)) continue;
        code = app_open_weights(&session, &options) || commands[i].run(&session, &options);
        app_stop(&session);
        return code;
    }
    fprintf(stderr, "bluelm: unknown command %s (see bluelm --help)\n", options.command);
    return 2;
}
