#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void bench_usage(void)
{
    const bench_family *f;
    fputs(
        "usage: bench DIR [--family NAME] [--json] [--runs 5] [--threads 1,2] "
        "[--llm q4_0,q4_k]\n             [--mmproj q8_0,f16] [--cpus LIST] [--cpu-mask N] "
        "[--weights map|read]\n             [--act int8|int16] [--vision-act int8|int16] "
        "[--only TEXT] [--small]\n"
        "       bench DIR --serve [--family NAME] [--threads N] [--llm NAME] [--mmproj NAME]\n"
        "       bench DIR --write-models [--family NAME]\n"
        "       bench DIR --models [--speeds FILE]\n"
        "families:",
        stderr);
    for (uint32_t i = 0; (f = bench_family_at(i)); i++)
        fprintf(stderr, "%s %s", i % 6 || !i ? "" : "\n         ", f->name);
    fputs("\n", stderr);
    exit(2);
}

/* Cuts a list at its commas. */
static uint32_t bench_parse_names(char *list, const char **names)
{
    uint32_t count = 0;
    for (char *at = strtok(list, ","); at; at = strtok(NULL, ",")) {
        if (count == BENCH_MAX_NAMES) bench_usage();
        names[count++] = at;
    }
    if (!count) bench_usage();
    return count;
}

static uint32_t bench_parse_number(const char *text, uint32_t most)
{
    char *end;
    unsigned long number = strtoul(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end || number < 1 || number > most) bench_usage();
    return (uint32_t)number;
}

static void bench_parse_threads(bench_options *o, char *list)
{
    const char *names[BENCH_MAX_NAMES];
    o->side_count = bench_parse_names(list, names);
    for (uint32_t i = 0; i < o->side_count; i++)
        o->threads[i] = bench_parse_number(names[i], 64);
}

static uint32_t bench_parse_act(const char *name)
{
    if (!strcmp(name, "int8")) return BLUELM_ACT_INT8;
    if (strcmp(name, "int16")) bench_usage();
    return BLUELM_ACT_INT16;
}

static void bench_parse_family(bench_options *o, const char *name)
{
    o->family = bench_family_named(name);
    if (!o->family) bench_usage();
}

/* The family's own files, unless others were asked for; a photograph, and a context that holds
 * it, where nothing larger is known to be the custom. */
static void bench_choose(bench_options *o)
{
    static char llms[64], mmprojs[64];
    const int first = bench_family_is_default(o->family);
    snprintf(llms, sizeof llms, "%s", o->family->llm);
    snprintf(mmprojs, sizeof mmprojs, "%s", o->family->mmproj);
    if (!o->pair_count) o->pair_count = bench_parse_names(llms, o->llms);
    o->pictures = o->mmprojs[0] != NULL;
    if (!o->pictures) bench_parse_names(mmprojs, o->mmprojs);
    for (uint32_t i = 1; i < o->pair_count; i++)
        if (!o->mmprojs[i]) o->mmprojs[i] = o->mmprojs[i - 1];
    o->context_tokens = first ? 2560 : 4096;
    o->picture_w = first ? 768 : 1024;
    o->picture_h = first ? 1536 : 768;
}

static void bench_parse_value(bench_options *o, const char *name, char *value)
{
    if (!strcmp(name, "--runs"))
        o->runs = bench_parse_number(value, BENCH_MAX_RUNS);
    else if (!strcmp(name, "--threads"))
        bench_parse_threads(o, value);
    else if (!strcmp(name, "--cpu-mask"))
        o->cpu_mask = bench_parse_number(value, UINT32_MAX);
    else if (!strcmp(name, "--act"))
        o->act = bench_parse_act(value);
    else if (!strcmp(name, "--vision-act"))
        o->vision_act = bench_parse_act(value);
    else if (!strcmp(name, "--cpus"))
        o->cpus = value;
    else if (!strcmp(name, "--only"))
        o->only = value;
    else if (!strcmp(name, "--speeds"))
        o->speeds = value;
    else if (!strcmp(name, "--weights") && (!strcmp(value, "map") || !strcmp(value, "read")))
        o->read = value[0] == 'r';
    else if (!strcmp(name, "--family"))
        bench_parse_family(o, value);
    else if (!strcmp(name, "--llm"))
        o->pair_count = bench_parse_names(value, o->llms);
    else if (!strcmp(name, "--mmproj"))
        bench_parse_names(value, o->mmprojs);
    else
        bench_usage();
}

void bench_parse(bench_options *o, int argc, char **argv)
{
    static const struct {
        const char *name;
        enum bench_job job;
    } jobs[] = {
        {"--serve", BENCH_SERVE}, {"--write-models", BENCH_WRITE}, {"--models", BENCH_MODELS}};
    *o = (bench_options){
        .threads = {1, 2}, .side_count = 2, .family = bench_family_at(0), .runs = 5};
    for (int i = 1; i < argc; i++) {
        size_t job = 0;
        while (job < 3 && strcmp(argv[i], jobs[job].name))
            job++;
        if (job < 3)
            o->job = jobs[job].job;
        else if (!strcmp(argv[i], "--json"))
            o->json = 1;
        else if (!strcmp(argv[i], "--small"))
            o->family = bench_family_named("small");
        else if (argv[i][0] != '-' && !o->folder)
            o->folder = argv[i];
        else if (i + 1 < argc)
            bench_parse_value(o, argv[i], argv[i + 1]), i++;
        else
            bench_usage();
    }
    if (!o->folder) bench_usage();
    bench_choose(o);
}
