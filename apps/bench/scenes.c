#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static double bench_now(const bench_side *side)
{
    return (double)side->port.now_us(side->port.user) / 1e6;
}

/* ---- Files and memory ----------------------------------------------------------------- */

/* A family's files have a folder of their own beside those of the default. */
static void bench_path(const bench_options *o, const char *kind, const char *type, char *path,
                       size_t bytes)
{
    const int own = !bench_family_is_default(o->family);
    snprintf(path, bytes, "%s/%s%s%s-%s.gguf", o->folder, own ? o->family->name : "",
             own ? "/" : "", kind, type);
    if (!own) return;
    char folder[512];
    snprintf(folder, sizeof folder, "%s/%s", o->folder, o->family->name);
    mkdir(folder, 0777);
}

static void bench_make(const bench_options *o, const char *kind, const char *name, char *path,
                       size_t bytes)
{
    const int type = bench_file_type(name);
    if (type < 0) bench_die(name, NULL);
    mkdir(o->folder, 0777);
    bench_path(o, kind, name, path, bytes);
    if (access(path, R_OK) == 0) return;
    if ((strcmp(kind, "llm") ? bench_write_mmproj : bench_write_llm)(path, o->family, type, 0))
        bench_die(path, NULL);
}

static void bench_map(const bench_options *o, const char *kind, const char *name,
                      const void **data, size_t *bytes)
{
    char path[512];
    bench_make(o, kind, name, path, sizeof path);
    if ((o->read ? bluelm_posix_read : bluelm_posix_map)(path, data, bytes))
        bench_die(path, NULL);
}

void bench_make_pair(const bench_options *o, uint32_t index, char *llm, char *mmproj,
                     size_t bytes)
{
    bench_make(o, "llm", o->llms[index], llm, bytes);
    bench_make(o, "mmproj", o->mmprojs[index], mmproj, bytes);
}

static void bench_map_pair(bench_state *s)
{
    const bench_options *o = s->options;
    bench_map(o, "llm", s->llm, &s->weights.llm, &s->weights.llm_bytes);
    if (s->mmproj)
        bench_map(o, "mmproj", s->mmproj, &s->weights.mmproj, &s->weights.mmproj_bytes);
}

static void bench_unmap_pair(bench_state *s)
{
    bluelm_posix_unmap(s->weights.llm, s->weights.llm_bytes);
    bluelm_posix_unmap(s->weights.mmproj, s->weights.mmproj_bytes);
    memset(&s->weights, 0, sizeof s->weights);
}

static void *bench_take(size_t bytes)
{
    void *block = malloc(bytes);
    if (!block) bench_die("out of memory", NULL);
    return block;
}

static void bench_plan(bench_state *s, bench_side *side)
{
    bluelm_error err;
    side->config.context_tokens = s->options->context_tokens;
    side->config.workers = side->threads;
    side->config.cpu_mask = s->options->cpu_mask;
    side->config.activation_type = s->options->act;
    side->config.vision_activation_type = s->options->vision_act;
    side->config.max_image_width_px = 1024;
    if (bluelm_plan(&s->weights, &side->config, &side->memory, &err) < 0)
        bench_die("plan", &err);
}

/* Room for the largest picture and for the tokens of one tile, deep rows included. */
static void bench_take_picture(bench_state *s)
{
    const bench_options *o = s->options;
    const bench_tower *t = o->family->tower;
    const size_t side = t->image_px,
                 tokens = (side / t->patch_px + 1) * (side / t->patch_px + 1);
    const size_t pixels = (size_t)o->picture_w * o->picture_h;
    s->picture_bytes = 3 * (pixels > side * side ? pixels : side * side);
    s->picture = bench_take(s->picture_bytes);
    for (size_t i = 0; s->mmproj && i < s->picture_bytes; i++)
        s->picture[i] = (uint8_t)((uint32_t)i * 2654435761u >> 24);
    s->tile_floats = tokens * o->family->language->n_embd * 4 / (t->merge * t->merge);
    s->tile = bench_take((s->tile_floats + 1) * sizeof *s->tile);
}

void bench_open(bench_state *s, const char *llm, const char *mmproj)
{
    bluelm_stats stats;
    s->llm = llm;
    s->mmproj = mmproj;
    bench_map_pair(s);
    s->arena_bytes = 0;
    for (uint32_t i = 0; i < s->side_count; i++) {
        bench_plan(s, &s->sides[i]);
        if (s->sides[i].memory.total_bytes > s->arena_bytes)
            s->arena_bytes = (size_t)s->sides[i].memory.total_bytes;
    }
    s->arena = bench_take(s->arena_bytes);
    bench_take_picture(s);
    bench_init(s, &s->sides[0]);
    bluelm_get_stats(s->engine, &stats);
    s->kernels = stats.kernels;
}

static void bench_forget(bench_state *s)
{
    for (uint32_t i = 0; i < s->side_count; i++) {
        free(s->sides[i].saved);
        s->sides[i].saved = NULL;
    }
}

void bench_close(bench_state *s)
{
    bench_forget(s);
    free(s->arena);
    free(s->picture);
    free(s->tile);
    bench_unmap_pair(s);
}

/* ---- Running -------------------------------------------------------------------------- */

void bench_init(bench_state *s, const bench_side *side)
{
    bluelm_error err;
    if (bluelm_init(&s->engine, s->arena, s->arena_bytes, &s->weights, &side->config,
                    &side->port, &err) < 0)
        bench_die("init", &err);
}

void bench_add_tokens(bench_state *s, uint32_t count, uint32_t place)
{
    bluelm_error err;
    uint32_t n_vocab = s->options->family->language->n_vocab;
    uint32_t known =
        n_vocab < 91000 ? n_vocab - 1000 : 90000; /* tools/bench_peer knows this too */
    for (uint32_t i = 0; i < count; i++) {
        int32_t token = (int32_t)(300 + (place + i) * 7919u % known);
        if (bluelm_add_tokens(s->engine, &token, 1, &err) < 0) bench_die("tokens", &err);
    }
}

void bench_steps(bench_state *s, bluelm_event_type until)
{
    bluelm_event event;
    bluelm_error err;
    int more;
    do {
        more = bluelm_step(s->engine, &event, &err);
        if (more < 0) bench_die("step", &err);
        if (event.type == until && event.done == event.total) return;
    } while (more);
}

/* Seconds to read a prompt of tokens from a place on. */
static double bench_read_tokens(bench_state *s, const bench_side *side, uint32_t count,
                                uint32_t place)
{
    double begun = bench_now(side);
    bench_add_tokens(s, count, place);
    bench_steps(s, BLUELM_EVENT_END);
    return bench_now(side) - begun;
}

/* Seconds for each of some tokens, read one by one. */
static double bench_decode(bench_state *s, const bench_side *side, uint32_t count,
                           uint32_t place)
{
    double seconds = 0;
    for (uint32_t i = 0; i < count; i++)
        seconds += bench_read_tokens(s, side, 1, place + i);
    return seconds / count;
}

void bench_load(bench_state *s, bench_side *side, double *seconds)
{
    bench_forget(s); /* copies point into the files */
    bench_unmap_pair(s);
    double begun = bench_now(side);
    bench_map_pair(s);
    bench_plan(s, side);
    bench_init(s, side);
    seconds[0] = bench_now(side) - begun;
}

void bench_prefill_128(bench_state *s, bench_side *side, double *seconds)
{
    bench_init(s, side);
    seconds[0] = bench_read_tokens(s, side, 128, 0);
}

void bench_prefill_512(bench_state *s, bench_side *side, double *seconds)
{
    bench_init(s, side);
    seconds[0] = bench_read_tokens(s, side, 512, 0);
}

void bench_decode_128(bench_state *s, bench_side *side, double *seconds)
{
    bench_init(s, side);
    bench_read_tokens(s, side, 128, 0);
    seconds[0] = bench_decode(s, side, BENCH_DECODED, 128);
}

void bench_tile(bench_state *s, bench_side *side, double *seconds)
{
    const uint32_t px = s->options->family->tower->image_px;
    bluelm_error err;
    bluelm_image image = {.rgb = s->picture, .width_px = px, .height_px = px};
    bench_init(s, side);
    double begun = bench_now(side);
    if (bluelm_embed_image(s->engine, &image, s->tile, s->tile_floats, &err) < 0)
        bench_die("tile", &err);
    seconds[0] = bench_now(side) - begun;
}

static void bench_add_picture(bench_state *s)
{
    bluelm_error err;
    bluelm_image image = {.rgb = s->picture,
                          .width_px = s->options->picture_w,
                          .height_px = s->options->picture_h};
    if (bluelm_add_image(s->engine, &image, &s->grid, &err) < 0) bench_die("picture", &err);
}

void bench_picture(bench_state *s, bench_side *side, double *seconds)
{
    bench_init(s, side);
    double begun = bench_now(side);
    bench_add_picture(s);
    bench_steps(s, BLUELM_EVENT_ENCODE);
    seconds[0] = bench_now(side) - begun;
}

/* ---- Behind a long prompt ---------------------------------------------------------------- */

/* Everything an engine knows is in its arena: a copy stands for the minute it takes to read
 * a picture's tokens again. */
static void bench_recall(bench_state *s, bench_side *side, uint32_t tokens)
{
    bench_init(s, side);
    if (side->saved) {
        memcpy(s->arena, side->saved, s->arena_bytes);
        return;
    }
    bench_read_tokens(s, side, tokens, 0);
    side->saved = bench_take(s->arena_bytes);
    memcpy(side->saved, s->arena, s->arena_bytes);
}

/* Steps until an answer's first token. */
static void bench_first_token(bench_state *s, uint32_t place)
{
    bluelm_error err;
    bluelm_event event = {0};
    bench_add_tokens(s, BENCH_WORDS, place);
    if (bluelm_generate(s->engine, 1, &err) < 0) bench_die("generate", &err);
    while (event.type != BLUELM_EVENT_TOKEN && event.type != BLUELM_EVENT_END)
        if (bluelm_step(s->engine, &event, &err) < 0) bench_die("step", &err);
}

void bench_answer(bench_state *s, bench_side *side, double *seconds)
{
    bench_init(s, side);
    double begun = bench_now(side);
    bench_add_picture(s);
    bench_first_token(s, 0);
    seconds[0] = bench_now(side) - begun;
}

void bench_long(bench_state *s, bench_side *side, double *seconds)
{
    bluelm_stats stats;
    uint32_t picture_tokens = 9 * 196; /* of a picture in 9 tiles of BlueLM-V-3B */
    bench_recall(s, side, picture_tokens);
    double begun = bench_now(side);
    bench_first_token(s, picture_tokens);
    seconds[0] = bench_now(side) - begun;
    bench_steps(s, BLUELM_EVENT_END);
    seconds[1] = bench_decode(s, side, 8, picture_tokens + BENCH_WORDS);
    bluelm_get_stats(s->engine, &stats);
    bench_read_tokens(s, side, BENCH_LONG_CONTEXT - stats.context_used_tokens, 0);
    seconds[2] = bench_decode(s, side, BENCH_DECODED, BENCH_LONG_CONTEXT);
}

/* ---- What is resident --------------------------------------------------------------------- */

/* Bytes of a block that are in memory, by the page table; 0 where there is none to read. */
static double bench_resident_bytes(const void *data, size_t bytes)
{
    uint64_t entries[512], page = (uint64_t)sysconf(_SC_PAGESIZE), resident = 0;
    uint64_t first = (uintptr_t)data / page;
    uint64_t count = ((uintptr_t)data + bytes + page - 1) / page - first;
    FILE *table = fopen("/proc/self/pagemap", "rb");
    if (!table) return 0;
    fseek(table, (long)(first * sizeof *entries), SEEK_SET);
    while (count) {
        size_t some = fread(entries, sizeof *entries, count < 512 ? (size_t)count : 512, table);
        if (!some) break;
        for (size_t i = 0; i < some; i++)
            resident += entries[i] >> 63;
        count -= some;
    }
    fclose(table);
    return (double)resident * (double)page;
}

/* The most that was ever resident since bench_forget_peak; 0: unknown. */
static double bench_peak_bytes(void)
{
    char line[128];
    unsigned long kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %lu", &kilobytes) == 1) break;
    if (status) fclose(status);
    return (double)kilobytes * 1024;
}

static void bench_forget_peak(void)
{
    FILE *refs = fopen("/proc/self/clear_refs", "w");
    if (!refs) return;
    fputs("5", refs);
    fclose(refs);
}

bench_residence bench_measure_residence(bench_state *s, bench_side *side)
{
    bench_residence r = {0, 0};
    double seconds;
    bench_forget(s);
    free(s->arena);
    s->arena = bench_take(s->arena_bytes);
    bench_forget_peak();
    bench_tile(s, side, &seconds);
    bench_init(s, side);
    bench_read_tokens(s, side, 256, 0);
    bench_decode(s, side, 2, 256);
    r.peak = bench_peak_bytes();
    if (r.peak > 0)
        r.beyond = r.peak - bench_resident_bytes(s->weights.llm, s->weights.llm_bytes) -
                   bench_resident_bytes(s->weights.mmproj, s->weights.mmproj_bytes) -
                   bench_resident_bytes(s->arena, s->arena_bytes) -
                   bench_resident_bytes(s->picture, s->picture_bytes) -
                   bench_resident_bytes(s->tile, s->tile_floats * sizeof *s->tile);
    return r;
}
