#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

enum { CATALOGUE_CONTEXT = 2048, CATALOGUE_WIDTH = 1024, CATALOGUE_HEIGHT = 768 };

/* A family's pair as hollow files: headers are all that planning reads. */
typedef struct bench_pair_files {
    char llm[512], mmproj[512];
    bluelm_weights weights;
} bench_pair_files;

/* The first name of a list. */
static void bench_first_name(const char *list, char *name, size_t bytes)
{
    snprintf(name, bytes, "%.*s", (int)strcspn(list, ","), list);
}

static void bench_open_hollow(bench_pair_files *p, const bench_options *o,
                              const bench_family *f)
{
    char type[16];
    snprintf(p->llm, sizeof p->llm, "%s/hollow-llm.gguf", o->folder);
    snprintf(p->mmproj, sizeof p->mmproj, "%s/hollow-mmproj.gguf", o->folder);
    bench_first_name(f->llm, type, sizeof type);
    if (bench_write_llm(p->llm, f, bench_file_type(type), 1) ||
        bluelm_posix_map(p->llm, &p->weights.llm, &p->weights.llm_bytes))
        bench_die(p->llm, NULL);
    bench_first_name(f->mmproj, type, sizeof type);
    if (bench_write_mmproj(p->mmproj, f, bench_file_type(type), 1) ||
        bluelm_posix_map(p->mmproj, &p->weights.mmproj, &p->weights.mmproj_bytes))
        bench_die(p->mmproj, NULL);
}

static void bench_close_hollow(const bench_pair_files *p)
{
    bluelm_posix_unmap(p->weights.llm, p->weights.llm_bytes);
    bluelm_posix_unmap(p->weights.mmproj, p->weights.mmproj_bytes);
    unlink(p->llm);
    unlink(p->mmproj);
}

/* A family's line of the file of speeds: name, prefill, decode, picture, and the picture with
 * a float encoder rounded to int8. Returns how many of them there are. */
static int bench_find_speed(const char *path, const char *name, double speed[4])
{
    char line[256], found[32];
    int count = 0;
    FILE *f = path ? fopen(path, "r") : NULL;
    if (path && !f) bench_die(path, NULL);
    while (f && !count && fgets(line, sizeof line, f)) {
        count = sscanf(line, "%31[^,],%lf,%lf,%lf,%lf", found, speed, speed + 1, speed + 2,
                       speed + 3) -
                1;
        if (count < 3 || strcmp(found, name)) count = 0;
    }
    if (f) fclose(f);
    return count;
}

static void bench_print_speed(const bench_options *o, const bench_family *f)
{
    double speed[4];
    int count = bench_find_speed(o->speeds, f->name, speed);
    if (count) printf("%.0f, %.3g, %.3g s", speed[0], speed[1], speed[2]);
    if (count > 3) printf(" (int8: %.3g s)", speed[3]);
}

static void bench_print_model(const bench_options *o, const bench_family *f)
{
    bench_pair_files p = {0};
    bluelm_config config = {.context_tokens = CATALOGUE_CONTEXT};
    bluelm_memory need;
    bluelm_tile_grid grid;
    bluelm_error err;
    char text[192], llm[16], mmproj[16];
    bench_open_hollow(&p, o, f);
    bench_first_name(f->llm, llm, sizeof llm);
    bench_first_name(f->mmproj, mmproj, sizeof mmproj);
    int code = bluelm_plan(&p.weights, &config, &need, &err);
    if (code >= 0)
        code = bluelm_tile_plan(&p.weights, &config, CATALOGUE_WIDTH, CATALOGUE_HEIGHT, &grid,
                                &err);
    printf("| %s | %s | %s | %s, %s | ", f->title, f->language->arch, f->tower->projector, llm,
           mmproj);
    if (code < 0) {
        bluelm_error_text(&err, text, sizeof text);
        printf("not yet: %s | | | | |\n", text);
    } else {
        printf("%.0f | %.1f | %u tile%s, %u tokens%s | ", (double)need.weights_bytes / 1e6,
               (double)need.total_bytes / 1e6, (unsigned)grid.tiles, grid.tiles == 1 ? "" : "s",
               (unsigned)grid.tokens, grid.reduced ? " (more in a larger context)" : "");
        bench_print_speed(o, f);
        printf(" | %s |\n", f->departs);
    }
    bench_close_hollow(&p);
}

void bench_print_models(const bench_options *o)
{
    const bench_family *f;
    mkdir(o->folder, 0777);
    printf(
        "# Models that run\n\n"
        "Made by `make models` from headers of files with the published shapes, names and "
        "types, random weights left out:\nno weights of these models were opened. The arena "
        "is for %u tokens of context and one worker; a picture is %ux%u.\n\n"
        "How far small models with such weights may be from float64 (relative L2) is what "
        "`tests/test_families.c` and `test_towers.c`\nallow, and print: logits of float files "
        "8e-4, of files in parts of 4 to 8 bit 3e-2, with `--act int16` 1e-3; image tokens "
        "2e-6\n(DeepStack 3e-4), 2e-2 and 3e-4.\n\n"
        "Speed, where it was measured (one thread of the machine of docs/performance.md; "
        "`tools/model_speeds.py` or `tools/bench_peer`): tokens a\nsecond in prefill, of 128 "
        "tokens, and in decoding; seconds to encode all tiles of a picture of 1024x768 "
        "(BlueLM-V-3B: 768x1536);\nof an F16 encoder as it is and with `--vision-act int8`.\n\n"
        "| model | architecture | projector | files | weights, MB | arena, MB | a picture | "
        "speed | departs from its authors |\n"
        "|---|---|---|---|---|---|---|---|---|\n",
        CATALOGUE_CONTEXT, CATALOGUE_WIDTH, CATALOGUE_HEIGHT);
    for (uint32_t i = 0; (f = bench_family_at(i)); i++)
        if (f->title) bench_print_model(o, f);
}
