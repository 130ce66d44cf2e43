/* Files, texts and pictures that the command takes and gives. */
#ifndef BLUELM_APP_FILES_H
#define BLUELM_APP_FILES_H

#include <stdio.h>

#include "options.h"

/* The functions below say what fails, and return 1 then. */

typedef struct app_file {
    const char *path;
    const void *data;
    size_t bytes;
} app_file;

/* What a file that is none of those asked for begins as, and what to do then: "that is a web
 * page: ..."; NULL: nothing known. */
const char *app_begins_as(const app_file *file);

int app_map(app_file *file, const char *path);
void app_unmap(const app_file *file);

/* A text that grows, with a 0 behind it once something was added. */
typedef struct app_text {
    char *data;
    size_t bytes;
} app_text;

int app_text_add(app_text *t, const char *data, size_t bytes);

/* Adds a stream, or the file of that name, up to its end; more than any context takes fails. */
#define APP_MAX_FILE_BYTES (1u << 28)
int app_text_add_stream(app_text *t, FILE *stream, const char *name);
int app_text_add_file(app_text *t, const char *path);

int app_write_floats(const char *path, const float *values, size_t count);

/* A picture of the command line: its file, mapped, or its size alone. */
typedef struct app_picture {
    app_file file;
    uint32_t width, height;
    bluelm_tile_grid grid;
} app_picture;

int app_open_picture(app_picture *p, const char *path);
void app_close_picture(app_picture *p);

/* The pictures of the command line; unless --max-image-width said it, the budget for
 * decoding is set to the largest of them. app_close_pictures is due even after a failure. */
int app_open_pictures(const app_options *o, app_picture *pictures, bluelm_config *config);
void app_close_pictures(app_picture *pictures, uint32_t count);

#endif
