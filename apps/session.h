/* Files, arena and engine of one run of the command. */
#ifndef BLUELM_APP_SESSION_H
#define BLUELM_APP_SESSION_H

#include "../ports/posix/posix.h"
#include "options.h"

typedef struct app_file {
    const char *path;
    const void *data;
    size_t bytes;
} app_file;

typedef struct app_session {
    app_file model, mmproj;
    bluelm_weights weights;
    bluelm_memory memory;
    bluelm_posix_pool *pool;
    void *arena;
    bluelm *engine;
    uint64_t load_us;
} app_session;

/* Prints "bluelm: " and a message, with what to do about it where that is known. Each
 * returns 1, the exit status. */
int app_fail(const char *what, const char *why);
int app_fail_errno(const char *path);
int app_fail_error(const char *context, const bluelm_error *err);

/* The same for an error about the model files: names the file it is about. */
int app_fail_files(const app_session *s, const bluelm_error *err);

/* Maps a file; prints why not and returns 1 on failure. */
int app_map(app_file *file, const char *path);

/* Maps, or reads, the model files that the options name. */
int app_open_weights(app_session *s, const app_options *o);

/* Plans, takes the arena from the system and builds the engine. */
int app_start(app_session *s, const app_options *o, const bluelm_config *config);
void app_stop(app_session *s);

#endif
