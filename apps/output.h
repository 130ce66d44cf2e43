/* Where the command's words go: results to standard output, checked; messages to standard
 * error; nothing that could steer a terminal. */
#ifndef BLUELM_APP_OUTPUT_H
#define BLUELM_APP_OUTPUT_H

#include <stdio.h>

#include "options.h"

/* Prints "bluelm: " and a message, with what to do about it where that is known, and keeps it
 * for --json. Each returns the exit status, 1; app_misuse, of wrong usage, 2.
 *   what    what it is about; NULL: the message says it
 *   advice  where none is known of the error itself; NULL: none */
int app_fail(const char *what, const char *why);
int app_fail_with(const char *what, const char *format, ...);
int app_fail_errno(const char *path);
int app_fail_error(const char *what, const bluelm_error *err);
int app_misuse(const char *what, const char *format, ...);
int app_fail_advice(const char *what, const bluelm_error *err, const char *advice);

/* Results are printed to app_out: standard output, or with --json memory. app_publish ends a
 * result: with --json it writes what was printed as one line, or an object with the error when
 * `status` is not 0. Returns `status`, or 1 when standard output takes no more. */
void app_output_begin(const app_options *o);
FILE *app_out(void);
int app_publish(int status);

/* Writes a part of an answer at once. On a terminal, control characters become "\x1b" in
 * writing, unless --raw-output asks for them. */
int app_write(const char *text, size_t bytes);

/* One line that is written over: "encoding tiles 45 %". NULL ends it. */
void app_progress(const char *what, uint64_t done, uint64_t total);

/* A text as a JSON string, with its quotes. */
void app_print_json_string(const char *text, size_t bytes);

#endif
