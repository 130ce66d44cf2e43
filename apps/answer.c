/* Questions and answers: `run`, `render` and `chat`. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "output.h"
#include "report.h"

/* An answer under way: kept for --json, else printed as it comes. */
typedef struct app_answer {
    app_text text;
    int reason;
} app_answer;

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

static int app_take(app_answer *answer, const app_options *o, const char *text, size_t bytes)
{
    return o->json ? app_text_add(&answer->text, text, bytes) : app_write(text, bytes);
}

/* Steps until the answer ends. */
static int app_step(app_session *s, const app_options *o, app_answer *answer)
{
    bluelm_event event;
    bluelm_error err;
    int more;
    do {
        more = bluelm_step(s->engine, &event, &err);
        if (more < 0) return app_fail_error(NULL, &err);
        app_show_progress(o, &event);
        app_release_vision(s, o, &event);
        if (event.text_bytes && app_take(answer, o, event.text, event.text_bytes)) return 1;
    } while (more);
    answer->reason = event.end_reason;
    if (!o->json && app_write("\n", 1)) return 1;
    if (event.end_reason == BLUELM_END_CONTEXT)
        fprintf(stderr, "bluelm: the context of %u tokens is full: raise --ctx\n",
                s->memory.context_tokens);
    return 0;
}

static int app_add_picture(app_session *s, const app_options *o, app_picture *p)
{
    bluelm_error err;
    if (app_attach_vision(s, o)) return 1;
    bluelm_image image = {.encoded = p->file.data, .encoded_bytes = p->file.bytes};
    if (bluelm_add_image(s->engine, &image, &p->grid, &err) < 0)
        return app_fail_error(p->file.path, &err);
    if (p->grid.reduced)
        fprintf(stderr,
                "bluelm: %s: only %ux%u tile%s, %u tokens, for want of room: raise --ctx\n",
                p->file.path, p->grid.columns, p->grid.rows, p->grid.tiles == 1 ? "" : "s",
                p->grid.tokens);
    return 0;
}

static int app_add_system(app_session *s, const char *text)
{
    bluelm_error err;
    if (bluelm_begin_turn(s->engine, BLUELM_SYSTEM, &err) < 0 ||
        bluelm_add_text(s->engine, text, strlen(text), &err) < 0)
        return app_fail_error(NULL, &err);
    return 0;
}

static void app_print_answer_json(const app_answer *answer, const app_picture *pictures,
                                  uint32_t count)
{
    static const char *const reasons[] = {"end_of_turn", "max_tokens", "context_full",
                                          "stop_string"};
    fputs("\"answer\":", app_out());
    app_print_json_string(answer->text.data, answer->text.bytes);
    fprintf(app_out(), ",\"end\":\"%s\",\"images\":[", reasons[answer->reason]);
    for (uint32_t i = 0; i < count; i++) {
        fputs(i ? "," : "", app_out());
        app_print_grid_json(&pictures[i].grid);
    }
    fputs("]", app_out());
}

/* ---- Run ---------------------------------------------------------------------------- */

/* The question: of -p, of -f, or of standard input where something comes from there. */
static int app_read_prompt(const app_options *o, app_text *prompt)
{
    if (o->prompt && o->prompt_file) return app_misuse(o->command, "takes -p or -f, not both");
    if (o->raw && o->system)
        return app_misuse(o->command, "takes --system or --raw, which has no turns, not both");
    if (o->prompt && strcmp(o->prompt, "-"))
        return app_text_add(prompt, o->prompt, strlen(o->prompt));
    if (o->prompt_file) {
        if (app_text_add_file(prompt, o->prompt_file)) return 1;
    } else {
        if ((o->prompt || !isatty(STDIN_FILENO)) &&
            app_text_add_stream(prompt, stdin, "standard input"))
            return 1;
        if (!prompt->bytes)
            return app_misuse(o->command,
                              "needs -p TEXT, -f FILE or a question on standard input");
    }
    if (prompt->bytes && prompt->data[prompt->bytes - 1] == '\n') prompt->bytes--;
    return prompt->data ? 0 : app_text_add(prompt, "", 0);
}

/* Where other programs put a picture; here it is text like any other. */
static void app_warn_of_markers(const app_text *prompt)
{
    static const char *const markers[] = {"<__media__>", "<image>", "<__image__>"};
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++)
        if (strstr(prompt->data, markers[i]))
            fprintf(stderr,
                    "bluelm: warning: %s stays text: pictures (--image) come before the "
                    "question, in their order\n",
                    markers[i]);
}

static int app_ask(app_session *s, const app_options *o, const app_text *prompt,
                   app_picture *pictures)
{
    bluelm_error err;
    app_warn_of_markers(prompt);
    if (o->system && app_add_system(s, o->system)) return 1;
    if (!o->raw && bluelm_begin_turn(s->engine, BLUELM_USER, &err) < 0)
        return app_fail_error(NULL, &err);
    for (uint32_t i = 0; i < o->image_count; i++)
        if (app_add_picture(s, o, &pictures[i])) return 1;
    if (bluelm_add_text(s->engine, prompt->data, prompt->bytes, &err) < 0 ||
        bluelm_generate(s->engine, o->max_tokens, &err) < 0)
        return app_fail_error(NULL, &err);
    return 0;
}

static void app_report_run(const app_session *s, const app_options *o, const app_answer *answer,
                           const app_picture *pictures)
{
    bluelm_stats stats;
    bluelm_get_stats(s->engine, &stats);
    if (!o->json) {
        if (!o->quiet) app_print_speeds(&stats, &s->memory, s->load_us);
        return;
    }
    fputs("{", app_out());
    app_print_answer_json(answer, pictures, o->image_count);
    fputs(",", app_out());
    app_print_speeds_json(&stats, s->load_us);
    fputs(",", app_out());
    app_print_memory_json(&s->memory);
    fputs("}", app_out());
}

int app_run(app_session *s, const app_options *o)
{
    app_picture pictures[APP_MAX_IMAGES] = {0};
    bluelm_config config = o->config;
    app_text prompt = {0};
    app_answer answer = {0};
    int code = app_read_prompt(o, &prompt);
    if (!code)
        code = app_open_pictures(o, pictures, &config) || app_start(s, o, &config) ||
               app_ask(s, o, &prompt, pictures) || app_step(s, o, &answer);
    if (!code) app_report_run(s, o, &answer, pictures);
    app_close_pictures(pictures, o->image_count);
    free(prompt.data);
    free(answer.text.data);
    return code;
}

/* ---- Render ------------------------------------------------------------------------------ */

/* Adds a token's text; one of a picture's has none. */
static int app_add_token(app_session *s, int32_t token, app_text *text)
{
    char piece[512];
    bluelm_error err;
    int64_t bytes = bluelm_detokenize(s->engine, token, piece, sizeof piece, &err);
    if (bytes < 0) return app_fail_error(NULL, &err);
    return app_text_add(text, piece,
                        (size_t)bytes < sizeof piece ? (size_t)bytes : sizeof piece);
}

/* The text of tokens, with a mark for each picture: its tokens' ids are negative and count down,
 * another picture's begin above the last. */
static int app_add_tokens(app_session *s, const int32_t *ids, int64_t count, app_text *text)
{
    for (int64_t i = 0, end; i < count; i = end) {
        char mark[48];
        end = i + 1;
        if (ids[i] >= 0) {
            if (app_add_token(s, ids[i], text)) return 1;
            continue;
        }
        while (end < count && ids[end] < 0 && ids[end] <= ids[end - 1])
            end++;
        snprintf(mark, sizeof mark, "[picture: %u token%s]", (unsigned)(end - i),
                 end - i == 1 ? "" : "s");
        if (app_text_add(text, mark, strlen(mark))) return 1;
    }
    return app_text_add(text, "", 0);
}

static int app_print_rendered(const app_options *o, const int32_t *ids, int64_t count,
                              const app_text *text)
{
    if (!o->json) return app_write(text->data, text->bytes) || app_write("\n", 1);
    fputs("{\"prompt\":", app_out());
    app_print_json_string(text->data, text->bytes);
    fputs(",\"tokens\":[", app_out());
    for (int64_t i = 0; i < count; i++)
        fprintf(app_out(), i ? ",%" PRId32 : "%" PRId32, ids[i]);
    fputs("]}", app_out());
    return 0;
}

static int app_render_context(app_session *s, const app_options *o)
{
    int64_t count = bluelm_context_ids(s->engine, NULL, 0);
    int32_t *ids = malloc(((size_t)count + 1) * sizeof *ids);
    app_text text = {0};
    if (!ids) return app_fail("render", "out of memory");
    bluelm_context_ids(s->engine, ids, (size_t)count);
    int code = app_add_tokens(s, ids, count, &text) || app_print_rendered(o, ids, count, &text);
    free(ids);
    free(text.data);
    return code;
}

int app_render(app_session *s, const app_options *o)
{
    app_picture pictures[APP_MAX_IMAGES] = {0};
    bluelm_config config = o->config;
    app_text prompt = {0};
    int code = app_read_prompt(o, &prompt);
    if (!code)
        code = app_open_pictures(o, pictures, &config) || app_start(s, o, &config) ||
               app_ask(s, o, &prompt, pictures) || app_render_context(s, o);
    app_close_pictures(pictures, o->image_count);
    free(prompt.data);
    return code;
}

/* ---- Chat --------------------------------------------------------------------------------- */

typedef struct app_talk {
    app_session *session;
    const app_options *options;
    app_picture pictures[APP_MAX_IMAGES]; /* mapped until they are encoded */
    uint32_t picture_count;
    int turn_open;
} app_talk;

static int app_begin_question(app_talk *t)
{
    bluelm_error err;
    if (t->turn_open) return 0;
    if (bluelm_mark(t->session->engine, 0, &err) < 0 ||
        bluelm_begin_turn(t->session->engine, BLUELM_USER, &err) < 0)
        return app_fail_error(NULL, &err);
    t->turn_open = 1;
    return 0;
}

static int app_talk_image(app_talk *t, const char *path)
{
    app_picture *p = &t->pictures[t->picture_count];
    if (t->picture_count == APP_MAX_IMAGES)
        return app_fail(path, "too many pictures in one turn");
    if (!*path) return app_fail("/image", "needs FILE");
    if (app_open_picture(p, path) || app_begin_question(t) ||
        app_add_picture(t->session, t->options, p)) {
        app_close_picture(p);
        return 1;
    }
    t->picture_count++;
    if (!t->options->quiet)
        fprintf(stderr, "%s: %u tile%s\n", path, p->grid.tiles, p->grid.tiles == 1 ? "" : "s");
    return 0;
}

static void app_forget_pictures(app_talk *t)
{
    app_close_pictures(t->pictures, t->picture_count);
    t->picture_count = 0;
}

static int app_talk_reset(app_talk *t, const char *unused)
{
    (void)unused;
    bluelm_reset(t->session->engine);
    app_forget_pictures(t);
    t->turn_open = 0;
    return t->options->system ? app_add_system(t->session, t->options->system) : 0;
}

/* A question that fails, with its pictures, leaves nothing behind. */
static int app_drop_question(app_talk *t)
{
    bluelm_error err;
    int forgotten = t->picture_count > 0;
    app_forget_pictures(t);
    t->turn_open = 0;
    if (bluelm_rewind(t->session->engine, 0, &err) < 0) {
        fprintf(stderr, "bluelm: the conversation starts over\n");
        app_talk_reset(t, NULL);
    } else if (forgotten) {
        fprintf(stderr, "bluelm: the question's pictures are forgotten with it\n");
    }
    return 1;
}

static int app_talk_ask(app_talk *t, const char *line)
{
    bluelm_error err;
    app_answer answer = {0};
    if (app_begin_question(t)) return app_drop_question(t);
    if (bluelm_add_text(t->session->engine, line, strlen(line), &err) < 0 ||
        bluelm_generate(t->session->engine, t->options->max_tokens, &err) < 0) {
        app_fail_error(NULL, &err);
        return app_drop_question(t);
    }
    t->turn_open = 0;
    int code = app_step(t->session, t->options, &answer);
    if (code) {
        app_drop_question(t);
    } else if (t->options->json) {
        fputs("{", app_out());
        app_print_answer_json(&answer, t->pictures, t->picture_count);
        fputs("}", app_out());
    }
    free(answer.text.data);
    app_forget_pictures(t);
    return code;
}

static int app_talk_help(app_talk *t, const char *unused)
{
    (void)t;
    (void)unused;
    fputs("  /image FILE  shows a picture with the next question\n"
          "  /reset       forgets the conversation\n"
          "  /help        this\n"
          "  /quit        ends, as does the end of input\n",
          stderr);
    return 0;
}

/* A line is a command when its first word is one; another word after a slash alone is a
 * mistake, but "/etc/passwd, what is it?" is a question. */
static int app_talk_line(app_talk *t, const char *line)
{
    static const struct {
        const char *name;
        int (*run)(app_talk *t, const char *rest);
    } commands[] = {
        {"/image", app_talk_image}, {"/reset", app_talk_reset}, {"/help", app_talk_help}};
    size_t n = strcspn(line, " ");
    const char *rest = line + n + (line[n] == ' ');
    if (line[0] != '/') return app_talk_ask(t, line);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == n && !strncmp(commands[i].name, line, n))
            return commands[i].run(t, rest);
    if (memchr(line + 1, '/', n - 1)) return app_talk_ask(t, line);
    return app_fail_with(NULL, "%.*s: no such command (see /help)", (int)(n < 80 ? n : 80),
                         line);
}

static int app_talk_loop(app_talk *t)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int broken = 0;
    while (!broken) {
        fputs(t->options->quiet ? "" : "> ", stderr);
        if ((length = getline(&line, &room, stdin)) < 0) break;
        while (length && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = 0;
        if (!strcmp(line, "/quit")) break;
        int failed = line[0] && app_talk_line(t, line);
        broken = app_publish(failed) != failed;
    }
    free(line);
    return broken;
}

/* Room for the pictures given, were they to be decoded whole; later ones may be of any width. */
static int app_talk_room(const app_options *o, bluelm_config *config)
{
    app_picture pictures[APP_MAX_IMAGES] = {0};
    int code = app_open_pictures(o, pictures, config);
    config->max_image_width_px = o->config.max_image_width_px;
    app_close_pictures(pictures, o->image_count);
    return code;
}

int app_chat(app_session *s, const app_options *o)
{
    app_talk talk = {.session = s, .options = o};
    bluelm_config config = o->config;
    if (app_talk_room(o, &config) || app_start(s, o, &config) || app_talk_reset(&talk, NULL))
        return 1;
    for (uint32_t i = 0; i < o->image_count; i++)
        if (app_talk_image(&talk, o->images[i].path)) return 1;
    int code = app_talk_loop(&talk);
    app_forget_pictures(&talk);
    return code;
}
