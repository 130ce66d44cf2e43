#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int app_fail(const char *what, const char *why)
{
    fprintf(stderr, "bluelm: %s: %s\n", what, why);
    return 1;
}

int app_fail_errno(const char *path)
{
    return app_fail(path, strerror(errno));
}

int app_fail_error(const char *context, const bluelm_error *err)
{
    static const struct {
        const char *subject, *advice;
    } hints[] = {
        {"kv cache", "lower --ctx or raise --kv-budget"},
        {"arena", "lower --ctx, --chunk, --tile-batch or --max-tiles, or raise --arena"},
        {"activations", "lower --chunk or --tile-batch, or raise --activations-budget"},
        {"image tokens", "lower --max-tiles or raise --image-tokens-budget"},
        {"context", "raise --ctx or shorten the input"},
        {"picture's pixels (max_image_pixels)", "raise --max-pixels"},
    };
    char text[192];
    bluelm_error_text(err, text, sizeof text);
    fprintf(stderr, "bluelm: %s%s%s", context ? context : "", context ? ": " : "", text);
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (!strcmp(hints[i].subject, err->subject)) fprintf(stderr, ": %s", hints[i].advice);
    fputc('\n', stderr);
    return 1;
}

int app_map(app_file *file, const char *path)
{
    file->path = path;
    return bluelm_posix_map(path, &file->data, &file->bytes) < 0 ? app_fail_errno(path) : 0;
}

static int app_load(app_file *file, const char *path, const app_options *o)
{
    if (!o->weights) return app_map(file, path);
    file->path = path;
    return bluelm_posix_read(path, &file->data, &file->bytes) < 0 ? app_fail_errno(path) : 0;
}

int app_open_weights(app_session *s, const app_options *o)
{
    memset(s, 0, sizeof *s);
    if (!o->model) return app_fail(o->command, "needs -m MODEL.gguf");
    if (app_load(&s->model, o->model, o) || (o->mmproj && app_load(&s->mmproj, o->mmproj, o)))
        return 1;
    s->weights =
        (bluelm_weights){s->model.data, s->model.bytes, s->mmproj.data, s->mmproj.bytes};
    return 0;
}

int app_fail_files(const app_session *s, const bluelm_error *err)
{
    const char *path = NULL;
    if (!strncmp(err->subject, "llm", 3)) path = s->model.path;
    if (!strncmp(err->subject, "mmproj", 6)) path = s->mmproj.path;
    return app_fail_error(path, err);
}

/* A mask that leaves nothing means scalar kernels: not what was asked for by name. */
static int app_check_cpu(const app_session *s, const char *cpu)
{
    bluelm_stats stats;
    bluelm_get_stats(s->engine, &stats);
    if (!cpu || !strcmp(cpu, stats.kernels)) return 0;
    fprintf(stderr, "bluelm: --cpu %s: not what this machine has\n", cpu);
    return 1;
}

/* Threads, where there is something for them to do. */
static int app_start_pool(app_session *s, const app_options *o, const bluelm_config *config)
{
    if (config->workers <= 1 && !config->overlap_tiles && !o->cpus) return 0;
    s->pool = bluelm_posix_pool_start_on(config->workers, o->cpus);
    if (s->pool) return 0;
    if (o->cpus && errno == EINVAL)
        return app_fail("--cpus", "not a list, such as 0-3,6, of processors that are there");
    return app_fail_errno(o->cpus ? "--cpus" : "threads");
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
    if (bluelm_init(&s->engine, s->arena, (size_t)bytes, &s->weights, config, &port, &err) <
            0 ||
        bluelm_set_sampling(s->engine, &o->sampling, &err) < 0)
        return app_fail_files(s, &err);
    s->load_us = clock.now_us(NULL) - begun;
    return app_check_cpu(s, o->cpu);
}

void app_stop(app_session *s)
{
    bluelm_posix_pool_stop(s->pool);
    free(s->arena);
    bluelm_posix_unmap(s->model.data, s->model.bytes);
    bluelm_posix_unmap(s->mmproj.data, s->mmproj.bytes);
}
