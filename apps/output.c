#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    int json, clean; /* clean: stdout is a terminal, which is to see no control characters */
    char *text;      /* with --json, what was printed so far                               */
    size_t bytes;
    FILE *memory;
    char message[512]; /* what failed last */
    bluelm_error error;
} app_output;

/* ---- Control characters --------------------------------------------------------------------- */

/* Bytes of the control character that a text begins with, 0: none. Line ends and tabs are
 * none; those of 0x80 .. 0x9F are two bytes of UTF-8. */
static size_t app_control(const char *text, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] == '\n' || at[0] == '\t') return 0;
    if (at[0] < 0x20 || at[0] == 0x7F) return 1;
    return bytes > 1 && at[0] == 0xC2 && at[1] < 0xA0 ? 2 : 0;
}

static void app_print_clean(FILE *to, const char *text, size_t bytes)
{
    while (bytes) {
        size_t plain = 0, control = 0;
        while (plain < bytes && !(control = app_control(text + plain, bytes - plain)))
            plain++;
        fwrite(text, 1, plain, to);
        if (control) fprintf(to, "\\x%02x", (unsigned char)text[plain + control - 1]);
        text += plain + control;
        bytes -= plain + control;
    }
}

/* ---- Failures ---------------------------------------------------------------------------------- */

/* Names in files and arguments may hold anything. */
static void app_say(void)
{
    const char *text = app_output.message;
    app_progress(NULL, 0, 0);
    fflush(stdout);
    fputs("bluelm: ", stderr);
    if (isatty(STDERR_FILENO))
        app_print_clean(stderr, text, strlen(text));
    else
        fputs(text, stderr);
    fputc('\n', stderr);
}

static size_t app_message_begin(const char *what)
{
    memset(&app_output.error, 0, sizeof app_output.error);
    app_output.message[0] = 0;
    if (what) snprintf(app_output.message, 256, "%s: ", what);
    return strlen(app_output.message);
}

static void app_say_values(const char *what, const char *format, va_list values)
{
    size_t at = app_message_begin(what);
    vsnprintf(app_output.message + at, sizeof app_output.message - at, format, values);
    app_say();
}

int app_fail_with(const char *what, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    app_say_values(what, format, values);
    va_end(values);
    return 1;
}

int app_misuse(const char *what, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    app_say_values(what, format, values);
    va_end(values);
    return 2;
}

int app_fail(const char *what, const char *why)
{
    return app_fail_with(what, "%s", why);
}

int app_fail_errno(const char *path)
{
    return app_fail(path, strerror(errno));
}

int app_fail_error(const char *what, const bluelm_error *err)
{
    return app_fail_advice(what, err, NULL);
}

int app_fail_advice(const char *what, const bluelm_error *err, const char *advice)
{
    static const struct {
        const char *subject, *advice;
    } hints[] = {
        {"kv cache", "lower --ctx or raise --kv-budget"},
        {"arena", "lower --ctx, --chunk, --tile-batch or --max-tiles, or raise --arena"},
        {"activations", "lower --chunk or --tile-batch, or raise --activations-budget"},
        {"image tokens", "lower --max-tiles or raise --image-tokens-budget"},
        {"context", "raise --ctx or shorten the input"},
        {"context (picture)", "raise --ctx"},
        {"weights.llm", "give -m FILE"},
        {"pictures need an mmproj", "give --mmproj FILE"},
        {"llm: architecture clip", "that is an mmproj: give it as --mmproj"},
        {"mmproj: architecture other than clip", "a language model is given as -m"},
        {"mmproj: projector width for this llm", "the two files are not of one model"},
        {"picture's width (max_image_width_px)", "raise --max-image-width"},
        {"image decode (whole_image_bytes)", "raise --whole-image"},
    };
    char text[192];
    bluelm_error_text(err, text, sizeof text);
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (!strcmp(hints[i].subject, err->subject)) advice = hints[i].advice;
    size_t at = app_message_begin(what);
    snprintf(app_output.message + at, sizeof app_output.message - at, "%s%s%s", text,
             advice ? ": " : "", advice ? advice : "");
    app_output.error = *err;
    app_say();
    return 1;
}

/* ---- Results ------------------------------------------------------------------------------------- */

void app_output_begin(const app_options *o)
{
    app_output.json = o->json != 0;
    app_output.clean = !o->raw_output && isatty(STDOUT_FILENO);
}

FILE *app_out(void)
{
    if (!app_output.json) return stdout;
    if (!app_output.memory)
        app_output.memory = open_memstream(&app_output.text, &app_output.bytes);
    return app_output.memory ? app_output.memory : stdout;
}

static void app_print_json_error(void)
{
    const bluelm_error *err = &app_output.error;
    fputs("{\"error\":{\"message\":", app_out());
    app_print_json_string(app_output.message, strlen(app_output.message));
    if (err->code < 0) {
        fprintf(app_out(), ",\"code\":%d,\"subject\":", err->code);
        app_print_json_string(err->subject, strlen(err->subject));
        fprintf(app_out(), ",\"need\":%" PRIu64 ",\"have\":%" PRIu64 ",\"at\":%" PRIu64,
                err->need, err->have, err->at);
    }
    fputs("}}", app_out());
}

/* Takes what was printed since the last time; a line of it unless it is not wanted. */
static void app_end_json(int wanted)
{
    if (!app_output.memory) return;
    fclose(app_output.memory);
    app_output.memory = NULL;
    if (wanted && app_output.bytes) {
        fwrite(app_output.text, 1, app_output.bytes, stdout);
        putchar('\n');
    }
    free(app_output.text);
    app_output.text = NULL;
}

int app_publish(int status)
{
    if (app_output.json) {
        app_end_json(!status);
        if (status) app_print_json_error();
        app_end_json(1);
    }
    if (!fflush(stdout) && !ferror(stdout)) return status;
    clearerr(stdout);
    app_output.json = 0;
    return status ? status : app_fail_errno("standard output");
}

int app_write(const char *text, size_t bytes)
{
    if (app_output.clean && !app_output.json)
        app_print_clean(stdout, text, bytes);
    else
        fwrite(text, 1, bytes, app_out());
    if (app_output.json || (!fflush(stdout) && !ferror(stdout))) return 0;
    clearerr(stdout);
    return app_fail_errno("standard output");
}

void app_progress(const char *what, uint64_t done, uint64_t total)
{
    static int open_line;
    if (!isatty(STDERR_FILENO)) return;
    if (what) {
        fprintf(stderr, "\r%s %3u %%", what, (unsigned)(total ? 100 * done / total : 100));
        open_line = 1;
    } else if (open_line) {
        fputs("\r                              \r", stderr);
        open_line = 0;
    }
}

void app_print_json_string(const char *text, size_t bytes)
{
    FILE *to = app_out();
    fputc('"', to);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20)
            fprintf(to, "\\u%04x", c);
        else
            fputc(c, to);
    }
    fputc('"', to);
}
