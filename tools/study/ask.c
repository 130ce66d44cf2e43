/* Asks many questions of one engine, one after another, each in a new conversation, with the
 * options of `bluelm run`:
 *
 *     ask run -m MODEL --mmproj MMPROJ [options of `bluelm run`] <QUESTIONS >ANSWERS
 *
 * QUESTIONS: a line for each, picture, tab, text; in place of a picture "-" is none, "+N" is N
 * tokens that depend on their place alone. ANSWERS: a line for each,
 * separated by tabs: tiles, image tokens, microseconds of encoding, prompt tokens, microseconds
 * of reading them, tokens made after the first, microseconds of that, microseconds from the
 * question's last word to the first token, the answer as a JSON string.
 *
 * From the environment:
 *   STUDY_WAIT    coupled (nothing is done before the question is complete), decoupled (the
 *                 picture is encoded before), prefilled (encoded and read before), encode
 *                 (nothing but that is done, and nothing answered)
 *   STUDY_LOGITS  a file that gets the logits of each answer's first token, float32 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../apps/commands.h"
#include "../../apps/output.h"

typedef struct study_asker {
    app_session *session;
    const app_options *options;
    bluelm_port clock;
    FILE *logits;
    const char *wait;
    app_text answer;
} study_asker;

static int study_fail(const char *what, const bluelm_error *err)
{
    return app_fail_error(what, err);
}

/* Works on what is queued: until the picture is encoded, or all is read. */
static int study_work(study_asker *a, int encode_alone)
{
    bluelm_event event;
    bluelm_error err;
    int more;
    while ((more = bluelm_step(a->session->engine, &event, &err)) > 0)
        if (encode_alone && event.type == BLUELM_EVENT_ENCODE && event.done == event.total)
            break;
    return more < 0 ? study_fail(NULL, &err) : 0;
}

static int study_keep_logits(study_asker *a)
{
    uint32_t n = 0;
    const float *logits = bluelm_logits(a->session->engine, &n);
    if (!a->logits) return 0;
    if (!logits) return app_fail("ask", "no logits");
    return fwrite(logits, sizeof *logits, n, a->logits) == n ? 0 : app_fail_errno("logits");
}

/* Steps to the end of the answer; *first_us: when its first token was there. */
static int study_answer(study_asker *a, uint64_t *first_us)
{
    bluelm_event event;
    bluelm_error err;
    int more, first = 1;
    a->answer.bytes = 0;
    while ((more = bluelm_step(a->session->engine, &event, &err)) > 0) {
        if (event.type == BLUELM_EVENT_PREFILL && event.done == event.total &&
            study_keep_logits(a))
            return 1;
        if (event.type != BLUELM_EVENT_TOKEN) continue;
        if (first) *first_us = a->clock.now_us(NULL);
        first = 0;
        if (app_text_add(&a->answer, event.text, event.text_bytes)) return 1;
    }
    if (first) *first_us = a->clock.now_us(NULL);
    if (more < 0) return study_fail(NULL, &err);
    return app_text_add(&a->answer, event.text, event.text_bytes);
}

static int study_add_tokens(study_asker *a, unsigned long count)
{
    bluelm_error err;
    bluelm_info info;
    if (bluelm_describe(&a->session->weights, &info, &err) < 0) return study_fail(NULL, &err);
    for (unsigned long i = 0; i < count; i++) {
        int32_t id = (int32_t)(300 + i * 7919 % (info.n_vocab - 300));
        if (bluelm_add_tokens(a->session->engine, &id, 1, &err) < 0)
            return study_fail(NULL, &err);
    }
    return 0;
}

static int study_show(study_asker *a, const char *path, app_picture *p)
{
    bluelm_error err;
    const bluelm_image image = {.encoded = p->file.data, .encoded_bytes = p->file.bytes};
    if (bluelm_add_image(a->session->engine, &image, &p->grid, &err) < 0)
        return study_fail(path, &err);
    if (!strcmp(a->wait, "decoupled") || !strcmp(a->wait, "encode")) return study_work(a, 1);
    return !strcmp(a->wait, "prefilled") ? study_work(a, 0) : 0;
}

static void study_report(const study_asker *a, const app_picture *p, const bluelm_stats *before,
                         uint64_t wait_us)
{
    bluelm_stats s;
    bluelm_get_stats(a->session->engine, &s);
    printf("%u\t%u\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64
           "\t",
           p->grid.tiles, p->grid.tokens, s.image_us - before->image_us,
           s.prefill_tokens - before->prefill_tokens, s.prefill_us - before->prefill_us,
           s.decode_tokens - before->decode_tokens, s.decode_us - before->decode_us, wait_us);
    app_print_json_string(a->answer.data, a->answer.bytes);
    printf("\n");
    fflush(stdout);
}

static int study_ask(study_asker *a, const char *path, const char *text, app_picture *p)
{
    bluelm *e = a->session->engine;
    bluelm_stats before;
    bluelm_error err;
    uint64_t first_us = 0;
    bluelm_get_stats(e, &before);
    bluelm_reset(e);
    if (path[0] == '+') {
        if (study_add_tokens(a, strtoul(path + 1, NULL, 10))) return 1;
    } else if (bluelm_begin_turn(e, BLUELM_USER, &err) < 0) {
        return study_fail(NULL, &err);
    } else if (strcmp(path, "-") && (app_open_picture(p, path) || study_show(a, path, p))) {
        return 1;
    }
    if (!strcmp(a->wait, "encode")) {
        study_report(a, p, &before, 0);
        return 0;
    }
    uint64_t begun = a->clock.now_us(NULL);
    if (bluelm_add_text(e, text, strlen(text), &err) < 0 ||
        bluelm_generate(e, a->options->max_tokens, &err) < 0)
        return study_fail(NULL, &err);
    if (study_answer(a, &first_us)) return 1;
    study_report(a, p, &before, first_us - begun);
    return 0;
}

static int study_lines(study_asker *a)
{
    char line[8192];
    int code = 0;
    while (!code && fgets(line, sizeof line, stdin)) {
        app_picture picture = {0};
        char *tab = strchr(line, '\t');
        if (!tab) return app_fail("ask", "a line without a tab");
        *tab = 0;
        tab[1 + strcspn(tab + 1, "\n")] = 0;
        code = study_ask(a, line, tab + 1, &picture);
        app_close_picture(&picture);
    }
    return code;
}

static int study_run(app_session *s, const app_options *o)
{
    const char *path = getenv("STUDY_LOGITS"), *wait = getenv("STUDY_WAIT");
    bluelm_config config = o->config;
    study_asker a = {s, o, bluelm_posix_port(NULL), NULL, wait ? wait : "coupled", {0}};
    if (path && !(a.logits = fopen(path, "wb"))) return app_fail_errno(path);
    int code = app_start(s, o, &config) || study_lines(&a);
    if (a.logits) fclose(a.logits);
    free(a.answer.data);
    return code;
}

int main(int argc, char **argv)
{
    static const app_command commands[] = {
        {"run", "asks the questions on standard input", study_run, "-m"}};
    app_options options;
    app_session session;
    int status;
    const app_command *command = app_options_parse(&options, commands, 1, argc, argv, &status);
    if (command) {
        status = app_open_weights(&session, &options);
        if (!status) status = command->run(&session, &options);
        app_stop(&session);
    }
    return status;
}
