/* Times what people run, on models of the shapes they run, beside the machine's limits:
 *
 *   bench DIR [OPTIONS]         bench_usage has them
 *   bench DIR --serve           obeys tools/bench_peer; see bench_serve
 *   bench DIR --write-models    writes the files and prints their names
 *   bench DIR --models          prints docs/models.md
 *
 * DIR keeps the model files (5 GB of the default family) from run to run. Figures are medians
 * of runs in which the numbers of threads take turns; a share is of the median of the limit,
 * measured before and after each of these runs. --only: a part of the names of the figures
 * wanted. --small: models of some MB, to try the benchmark itself. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "report.h"

void bench_die(const char *what, const bluelm_error *err)
{
    char text[192] = "";
    if (err) bluelm_error_text(err, text, sizeof text);
    fprintf(stderr, "bench: %s %s\n", what, text);
    exit(1);
}

/* ---- Measuring ------------------------------------------------------------------------- */

enum { BENCH_VALUES = 3, BENCH_LIMIT_SAMPLES = 2 * BENCH_MAX_RUNS };

/* Medians of one scene, for each number of threads. */
typedef struct bench_result {
    double seconds[BENCH_VALUES][BENCH_MAX_SIDES];
    double limit[BENCH_MAX_SIDES];
    enum bench_limit limit_kind;
} bench_result;

static int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double bench_median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, bench_compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double bench_limit_now(const bench_state *s, const bench_side *side,
                              enum bench_limit limit)
{
    if (limit == BENCH_READ)
        return bench_read_bandwidth(&side->port, side->threads, s->weights.llm,
                                    s->weights.llm_bytes);
    return bench_peak_rate(&side->port, side->threads, limit, s->kernels);
}

/* The arena, and what is mapped, become resident before anything is timed. */
static void bench_warm_up(bench_state *s)
{
    const bench_side *side = &s->sides[0];
    memset(s->arena, 0, s->arena_bytes);
    bench_read_bandwidth(&side->port, 1, s->weights.llm, s->weights.llm_bytes);
    bench_read_bandwidth(&side->port, 1, s->weights.mmproj, s->weights.mmproj_bytes);
}

static bench_result bench_measure(bench_state *s, bench_scene scene, enum bench_limit limit)
{
    static double seconds[BENCH_MAX_SIDES][BENCH_VALUES][BENCH_MAX_RUNS];
    static double limits[BENCH_MAX_SIDES][BENCH_LIMIT_SAMPLES];
    bench_result r = {.limit_kind = limit};
    uint32_t runs = s->options->runs;
    for (uint32_t run = 0; run < runs; run++)
        for (uint32_t i = 0; i < s->side_count; i++) {
            double now[BENCH_VALUES] = {0};
            limits[i][2 * run] = bench_limit_now(s, &s->sides[i], limit);
            scene(s, &s->sides[i], now);
            limits[i][2 * run + 1] = bench_limit_now(s, &s->sides[i], limit);
            for (uint32_t v = 0; v < BENCH_VALUES; v++)
                seconds[i][v][run] = now[v];
        }
    for (uint32_t i = 0; i < s->side_count; i++) {
        r.limit[i] = bench_median(limits[i], 2 * runs);
        for (uint32_t v = 0; v < BENCH_VALUES; v++)
            r.seconds[v][i] = bench_median(seconds[i][v], runs);
    }
    return r;
}

/* ---- Figures --------------------------------------------------------------------------- */

/* A row of one of a result's values: `count` units a second, or, without a count, seconds
 * times `scale`.
 *   work  bytes or multiply-adds of the value's time; 0: no share */
static bench_row bench_row_of(const bench_state *s, const char *name, const char *unit,
                              const bench_result *r, uint32_t value, double count, double scale,
                              double work)
{
    bench_row row = {.unit = unit, .better = count > 0 ? 1 : -1};
    snprintf(row.name, sizeof row.name, "%s", name);
    row.limit = bench_limit_name(r->limit_kind, s->kernels);
    for (uint32_t i = 0; i < s->side_count; i++) {
        double seconds = r->seconds[value][i];
        row.value[i] = count > 0 ? count / seconds : seconds * scale;
        if (r->limit[i] > 0) row.share[i] = work / seconds / r->limit[i];
    }
    return row;
}

static void bench_rate_row(const bench_state *s, const char *name, const bench_result *r,
                           uint32_t value, double tokens, double work)
{
    bench_row row = bench_row_of(s, name, "token/s", r, value, tokens, 0, work);
    bench_report_row(&row);
}

static void bench_time_row(const bench_state *s, const char *name, const char *unit,
                           const bench_result *r, uint32_t value, double scale, double work)
{
    bench_row row = bench_row_of(s, name, unit, r, value, 0, scale, work);
    bench_report_row(&row);
}

static void bench_limit_row(const bench_state *s, const bench_result *r)
{
    const int read = r->limit_kind == BENCH_READ;
    bench_row row = {.unit = read ? "GB/s" : "GMAC/s"};
    snprintf(row.name, sizeof row.name, "  %s %s", bench_limit_name(r->limit_kind, s->kernels),
             read ? "bandwidth" : "peak");
    for (uint32_t i = 0; i < s->side_count; i++)
        row.value[i] = r->limit[i] * 1e-9;
    if (row.value[0] > 0) bench_report_row(&row);
}

/* Multiply-adds of a prompt's layers; its last token's logits are not counted. */
static double bench_prefill_work(const bench_state *s, double tokens)
{
    const bench_family *f = s->options->family;
    double logits = (double)f->language->n_embd * f->language->n_vocab;
    return tokens * ((double)bench_llm_linear_values(f) - logits);
}

/* Bytes a token reads: every matrix but the embedding table, and the cache so far. */
static double bench_decode_work(const bench_state *s, double context)
{
    const bench_family *f = s->options->family;
    return (double)bench_llm_linear_bytes(f, bench_file_type(s->llm)) +
           (double)bench_llm_cache_bytes(f) * context;
}

static void bench_do_load(bench_state *s)
{
    bench_result r = bench_measure(s, bench_load, BENCH_NO_LIMIT);
    bench_time_row(s, "load", "ms", &r, 0, 1e3, 0);
    bench_warm_up(s);
}

static void bench_do_prefill_128(bench_state *s)
{
    bench_result r = bench_measure(s, bench_prefill_128, BENCH_INT8);
    bench_rate_row(s, "prefill 128", &r, 0, 128, bench_prefill_work(s, 128));
    bench_limit_row(s, &r);
}

static void bench_do_prefill_512(bench_state *s)
{
    bench_result r = bench_measure(s, bench_prefill_512, BENCH_INT8);
    bench_rate_row(s, "prefill 512", &r, 0, 512, bench_prefill_work(s, 512));
    bench_limit_row(s, &r);
}

static void bench_do_decode_128(bench_state *s)
{
    bench_result r = bench_measure(s, bench_decode_128, BENCH_READ);
    bench_rate_row(s, "decode 64 after 128", &r, 0, 1,
                   bench_decode_work(s, 128 + BENCH_DECODED / 2));
    bench_limit_row(s, &r);
}

static void bench_do_decode_1900(bench_state *s)
{
    bench_result r = bench_measure(s, bench_long, BENCH_READ);
    bench_row steps = {.name = "  in decode steps", .unit = "steps"};
    bench_rate_row(s, "decode 64 after 1900", &r, 2, 1,
                   bench_decode_work(s, BENCH_LONG_CONTEXT + BENCH_DECODED / 2));
    bench_limit_row(s, &r);
    bench_time_row(s, "first token, 16 words", "ms", &r, 0, 1e3, 0);
    for (uint32_t i = 0; i < s->side_count; i++)
        steps.value[i] = r.seconds[0][i] / r.seconds[1][i];
    bench_report_row(&steps);
}

/* Float weights meet float activations, unless int8 was asked for. */
static enum bench_limit bench_vision_limit(const bench_state *s)
{
    const int floats = !strcmp(s->mmproj, "f16") && s->options->vision_act != BLUELM_ACT_INT8;
    return floats ? BENCH_FLOAT : BENCH_INT8;
}

static void bench_do_tile(bench_state *s)
{
    const bench_family *f = s->options->family;
    char name[48];
    bench_result r = bench_measure(s, bench_tile, bench_vision_limit(s));
    snprintf(name, sizeof name, "tile of %u px", (unsigned)f->tower->image_px);
    bench_time_row(s, name, "s", &r, 0, 1, (double)bench_tile_products(f));
    bench_limit_row(s, &r);
}

/* The share is known where all tiles are of the encoder's own size. */
static void bench_do_picture(bench_state *s)
{
    const bench_family *f = s->options->family;
    char name[48];
    bench_result r = bench_measure(s, bench_picture, bench_vision_limit(s));
    const int known = s->grid.tile_width_px == f->tower->image_px;
    snprintf(name, sizeof name, "%u tile%s of %ux%u", (unsigned)s->grid.tiles,
             s->grid.tiles == 1 ? "" : "s", (unsigned)s->options->picture_w,
             (unsigned)s->options->picture_h);
    bench_time_row(s, name, "s", &r, 0, 1,
                   known ? s->grid.tiles * (double)bench_tile_products(f) : 0);
    bench_limit_row(s, &r);
}

static void bench_do_answer(bench_state *s)
{
    char name[48];
    bench_result r = bench_measure(s, bench_answer, BENCH_NO_LIMIT);
    snprintf(name, sizeof name, "its first token, %u + %u", (unsigned)s->grid.tokens,
             BENCH_WORDS);
    bench_time_row(s, name, "s", &r, 0, 1, 0);
}

static void bench_do_memory(bench_state *s)
{
    bench_row arena = {.name = "memory: arena", .unit = "MB"};
    bench_row weights = {.name = "  weights", .unit = "MB"};
    bench_row peak = {.name = "  resident at most", .unit = "MB"};
    bench_row beyond = {.name = "  of it neither", .unit = "MB"};
    for (uint32_t i = 0; i < s->side_count; i++) {
        bench_residence r = bench_measure_residence(s, &s->sides[i]);
        arena.value[i] = (double)s->sides[i].memory.total_bytes / 1e6;
        weights.value[i] = (double)s->sides[i].memory.weights_bytes / 1e6;
        peak.value[i] = r.peak / 1e6;
        beyond.value[i] = r.beyond / 1e6;
    }
    bench_report_row(&arena);
    bench_report_row(&weights);
    bench_report_row(&peak);
    bench_report_row(&beyond);
}

static void bench_do_dispatch(bench_state *s)
{
    static const uint32_t gaps[] = {0, 5, 50};
    for (int meet = 0; meet < 2; meet++)
        for (uint32_t g = 0; g < 3; g++) {
            bench_row row = {.unit = "us"};
            snprintf(row.name, sizeof row.name, "dispatch%s, %u us between",
                     meet ? " to both" : "", (unsigned)gaps[g]);
            for (uint32_t i = 0; i < s->side_count; i++)
                if (s->sides[i].threads > 1)
                    row.value[i] = bench_dispatch_us(&s->sides[i].port, gaps[g], meet);
            bench_report_row(&row);
        }
}

static const struct {
    const char *name;
    void (*run)(bench_state *s);
} bench_figures[] = {
    {"load", bench_do_load},
    {"prefill 128", bench_do_prefill_128},
    {"prefill 512", bench_do_prefill_512},
    {"decode 128", bench_do_decode_128},
    {"decode 1900", bench_do_decode_1900},
    {"tile", bench_do_tile},
    {"picture", bench_do_picture},
    {"answer", bench_do_answer},
    {"memory", bench_do_memory},
    {"dispatch", bench_do_dispatch},
};

/* What says nothing of a model is measured with the default one. */
static int bench_of_machine(const bench_state *s, size_t figure)
{
    return bench_figures[figure].run == bench_do_dispatch &&
           !bench_family_is_default(s->options->family);
}

static void bench_pair(bench_state *s, const char *llm, const char *mmproj)
{
    const char *only = s->options->only;
    bench_open(s, llm, mmproj);
    bench_warm_up(s);
    bench_report_pair(s);
    for (size_t i = 0; i < sizeof bench_figures / sizeof *bench_figures; i++)
        if (only ? strstr(bench_figures[i].name, only) != NULL : !bench_of_machine(s, i))
            bench_figures[i].run(s);
    bench_report_pair_end();
    bench_close(s);
}

/* ---- All of it ---------------------------------------------------------------------------- */

static void bench_start_sides(bench_state *s)
{
    s->side_count = s->options->side_count;
    for (uint32_t i = 0; i < s->side_count; i++) {
        bench_side *side = &s->sides[i];
        bluelm_posix_pool *pool = NULL;
        side->threads = s->options->threads[i];
        if (side->threads > 1 || s->options->cpus) {
            pool = bluelm_posix_pool_start_on(side->threads, s->options->cpus);
            if (!pool) bench_die("threads", NULL);
        }
        side->port = bluelm_posix_port(pool);
    }
}

/* Writes the pairs and prints their names. */
static int bench_write_models(const bench_options *o)
{
    char llm[512], mmproj[512];
    for (uint32_t i = 0; i < o->pair_count; i++) {
        bench_make_pair(o, i, llm, mmproj, sizeof llm);
        printf("%s\n%s\n", llm, mmproj);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static bench_state s;
    static bench_options options;
    bench_parse(&options, argc, argv);
    s.options = &options;
    if (options.job == BENCH_WRITE) return bench_write_models(&options);
    if (options.job == BENCH_MODELS) {
        bench_print_models(&options);
        return 0;
    }
    bench_start_sides(&s);
    if (options.job == BENCH_SERVE) {
        bench_open(&s, options.llms[0], options.pictures ? options.mmprojs[0] : NULL);
        bench_serve(&s);
        return 0;
    }
    bench_report_begin(&options);
    for (uint32_t i = 0; i < options.pair_count; i++)
        bench_pair(&s, options.llms[i], options.mmprojs[i]);
    bench_report_end();
    return 0;
}
