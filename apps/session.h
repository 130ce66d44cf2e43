/* Files, arena and engine of one run of the command. */
#ifndef BLUELM_APP_SESSION_H
#define BLUELM_APP_SESSION_H

#include "../ports/posix/posix.h"
#include "files.h"
#include "options.h"

struct app_session {
    app_file model, mmproj;
    bluelm_weights weights;
    bluelm_memory memory;
    bluelm_posix_pool *pool;
    void *arena;
    bluelm *engine;
    uint64_t load_us;
    int vision_released;
};

/* app_fail_error about the model files: names the file it is about. */
int app_fail_files(const app_session *s, const bluelm_error *err);

/* Maps, or reads, the model files that the options name. */
int app_open_weights(app_session *s, const app_options *o);

/* Plans, takes the arena from the system and builds the engine. */
int app_start(app_session *s, const app_options *o, const bluelm_config *config);
void app_stop(app_session *s);

/* With --release-vision: after a step, gives the mmproj's pages back unless a picture still
 * waits for it; before a picture is added, takes them again. The latter fails where the file
 * has changed. */
void app_release_vision(app_session *s, const app_options *o, const bluelm_event *event);
int app_attach_vision(app_session *s, const app_options *o);

#endif
