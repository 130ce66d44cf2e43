#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

static int app_load(app_file *file, const char *path, const app_options *o)
{
    if (!o->weights) return app_map(file, path);
    file->path = path;
    return bluelm_posix_read(path, &file->data, &file->bytes) < 0 ? app_fail_errno(path) : 0;
}

int app_open_weights(app_session *s, const app_options *o)
{
    memset(s, 0, sizeof *s);
    if ((o->model && app_load(&s->model, o->model, o)) ||
        (o->mmproj && app_load(&s->mmproj, o->mmproj, o)))
        return 1;
    s->weights =
        (bluelm_weights){s->model.data, s->model.bytes, s->mmproj.data, s->mmproj.bytes};
    return 0;
}

/* What is probably wrong with a model's file that breaks its format. */
static const char *app_advise_file(const app_file *file, const bluelm_error *err)
{
    if (err->code != BLUELM_E_FORMAT) return NULL;
    if (file->bytes < 4 || memcmp(file->data, "GGUF", 4)) return app_begins_as(file);
    const int ends_early = strstr(err->subject, ": tensor ") ||
                           strstr(err->subject, " count") || strstr(err->subject, ": header");
    return ends_early && err->need > err->have ? "it ends early: copy or download it again"
                                               : NULL;
}

int app_fail_files(const app_session *s, const bluelm_error *err)
{
    const app_file *file = !strncmp(err->subject, "llm", 3)      ? &s->model
                           : !strncmp(err->subject, "mmproj", 6) ? &s->mmproj
                                                                 : NULL;
    return file ? app_fail_advice(file->path, err, app_advise_file(file, err))
                : app_fail_error(NULL, err);
}

/* A mask that leaves nothing means scalar kernels: not what was asked for by name. */
static int app_check_cpu(const app_session *s, const char *cpu)
{
    bluelm_stats stats;
    bluelm_get_stats(s->engine, &stats);
    if (!cpu || !strcmp(cpu, stats.kernels)) return 0;
    return app_fail_with(NULL, "--cpu %s: this machine has no such kernels", cpu);
}

/* Threads, where there is something for them to do. */
static int app_start_pool(app_session *s, const app_options *o, const bluelm_config *config)
{
    if (config->workers <= 1 && !config->overlap_tiles && !o->cpus) return 0;
    s->pool = bluelm_posix_pool_start_on(config->workers, o->cpus);
    if (s->pool) return 0;
    if (o->cpus && errno == EINVAL)
        return app_fail_with(NULL, "--cpus %s: expected processors that are there, e.g. 0-3,6",
                             o->cpus);
    return app_fail_errno(o->cpus ? "--cpus" : "threads");
}

static void app_warn(void *pool, const bluelm_error *warning)
{
    char text[160];
    (void)pool;
    bluelm_error_text(warning, text, sizeof text);
    fprintf(stderr, "bluelm: warning: %s\n", text);
}

int app_start(app_session *s, const app_options *o, const bluelm_config *config)
{
    bluelm_error err;
    bluelm_port clock = bluelm_posix_port(NULL);
    uint64_t begun = clock.now_us(NULL);
    if (bluelm_plan(&s->weights, config, &s->memory, &err) < 0) return app_fail_files(s, &err);
    if (app_start_pool(s, o, config)) return 1;
    uint64_t bytes = o->arena_bytes ? o->arena_bytes : s->memory.total_bytes;
    bytes = bytes > s->memory.total_bytes ? s->memory.total_bytes : bytes;
    if (bytes > SIZE_MAX || !(s->arena = malloc((size_t)bytes))) return app_fail_errno("arena");
    bluelm_port port = bluelm_posix_port(s->pool);
    if (!o->quiet) port.log = app_warn;
    if (bluelm_init(&s->engine, s->arena, (size_t)bytes, &s->weights, config, &port, &err) <
            0 ||
        bluelm_set_sampling(s->engine, &o->sampling, &err) < 0 ||
        bluelm_set_stop(s->engine, o->stops, o->stop_count, &err) < 0)
        return app_fail_files(s, &err);
    s->load_us = clock.now_us(NULL) - begun;
    return app_check_cpu(s, app_cpu_name(o));
}

void app_release_vision(app_session *s, const app_options *o, const bluelm_event *event)
{
    if (!o->release_vision || s->vision_released || event->type != BLUELM_EVENT_ENCODE ||
        event->done != event->total || bluelm_vision_release(s->engine, NULL) < 0)
        return;
    s->vision_released = 1;
    if (o->weights) { /* no file behind them */
        app_unmap(&s->mmproj);
        s->mmproj.data = NULL;
        s->mmproj.bytes = 0;
    } else {
        bluelm_posix_give_back(s->mmproj.data, s->mmproj.bytes);
    }
}

int app_attach_vision(app_session *s, const app_options *o)
{
    bluelm_error err;
    if (!s->vision_released) return 0;
    if (!s->mmproj.data && app_load(&s->mmproj, o->mmproj, o)) return 1;
    if (bluelm_vision_attach(s->engine, s->mmproj.data, s->mmproj.bytes, &err) < 0)
        return app_fail_files(s, &err);
    s->vision_released = 0;
    return 0;
}

void app_stop(app_session *s)
{
    bluelm_posix_pool_stop(s->pool);
    free(s->arena);
    app_unmap(&s->model);
    app_unmap(&s->mmproj);
}
