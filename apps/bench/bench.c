/* Times what people run, on models of the shapes they run, beside the machine's limits.
 *
 *   bench DIR [--json] [--runs N] [--threads N] [--cpu-mask N] [--llm NAME] [--mmproj NAME]
 *   bench DIR --serve ...   obeys tools/bench_peer; see bench_serve
 *
 * DIR keeps the model files (5 GB) from run to run. NAME: q4_0 or q4_k; q8_0 or f16. Figures
 * are medians. Shares are of limits measured in the same run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../../ports/posix/posix.h"
#include "limits.h"
#include "models.h"

enum {
    BENCH_MAX_RUNS = 99,
    BENCH_CONTEXT = 2560,
    BENCH_PICTURE_W = 768,
    BENCH_PICTURE_H = 1536
};

typedef struct bench_options {
    const char *folder, *llm, *mmproj;
    uint32_t runs, threads, cpu_mask;
    int json, serve;
} bench_options;

typedef struct bench_state {
    bench_options options;
    bluelm_weights weights;
    bluelm_config config;
    bluelm_memory memory;
    bluelm_port port;
    bluelm *engine;
    void *arena;
    uint8_t *picture; /* [BENCH_PICTURE_H][BENCH_PICTURE_W][3] */
    uint64_t linear_values;
    double bandwidth, peak; /* bytes/s; multiply-adds/s */
    const char *peak_name;
    int rows_printed;
} bench_state;

static void bench_die(const char *what, const bluelm_error *err)
{
    char text[192] = "";
    if (err) bluelm_error_text(err, text, sizeof text);
    fprintf(stderr, "bench: %s %s\n", what, text);
    exit(1);
}

/* ---- Running -------------------------------------------------------------------------- */

static double bench_now(const bench_state *s)
{
    return (double)s->port.now_us(s->port.user) / 1e6;
}

static void bench_add_tokens(bench_state *s, uint32_t count, uint32_t seed)
{
    bluelm_error err;
    for (uint32_t i = 0; i < count; i++) {
        int32_t token = (int32_t)(300 + (seed + i) * 7919u % 90000u);
        if (bluelm_add_tokens(s->engine, &token, 1, &err) < 0) bench_die("tokens", &err);
    }
}

/* Steps until there is nothing to do, or until `type` was reported as finished. */
static void bench_steps(bench_state *s, bluelm_event_type until)
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

static double bench_prefill(bench_state *s, uint32_t tokens)
{
    bluelm_reset(s->engine);
    bench_add_tokens(s, tokens, tokens);
    double begun = bench_now(s);
    bench_steps(s, BLUELM_EVENT_END);
    return bench_now(s) - begun;
}

/* Seconds per token of 64 tokens behind `context` tokens, each read by itself. */
static double bench_decode(bench_state *s, uint32_t context)
{
    bench_prefill(s, context);
    double begun = bench_now(s);
    for (uint32_t i = 0; i < 64; i++) {
        bench_add_tokens(s, 1, i);
        bench_steps(s, BLUELM_EVENT_END);
    }
    return (bench_now(s) - begun) / 64;
}

static double bench_tile(bench_state *s, uint32_t ignored)
{
    bluelm_error err;
    bluelm_image image = {
        .rgb = s->picture, .width_px = s->memory.tile_px, .height_px = s->memory.tile_px};
    size_t count = (size_t)s->memory.tokens_per_tile * bench_llm_3b.n_embd;
    float *tokens = malloc(count * sizeof *tokens);
    (void)ignored;
    bluelm_reset(s->engine);
    double begun = bench_now(s);
    if (!tokens || bluelm_embed_image(s->engine, &image, tokens, count, &err) < 0)
        bench_die("tile", &err);
    double took = bench_now(s) - begun;
    free(tokens);
    return took;
}

static void bench_add_picture(bench_state *s)
{
    bluelm_error err;
    bluelm_image image = {
        .rgb = s->picture, .width_px = BENCH_PICTURE_W, .height_px = BENCH_PICTURE_H};
    bluelm_reset(s->engine);
    if (bluelm_add_image(s->engine, &image, NULL, &err) != 9)
        bench_die("768x1536 did not become 9 tiles", &err);
}

static double bench_picture(bench_state *s, uint32_t ignored)
{
    (void)ignored;
    bench_add_picture(s);
    double begun = bench_now(s);
    bench_steps(s, BLUELM_EVENT_ENCODE);
    return bench_now(s) - begun;
}

/* From the last word to the first token; the picture's 1,764 tokens are read already. */
static double bench_first_token(bench_state *s, uint32_t words)
{
    bluelm_error err;
    bluelm_event event = {0};
    bench_prefill(s, 9 * s->memory.tokens_per_tile);
    double begun = bench_now(s);
    bench_add_tokens(s, words, 1);
    if (bluelm_generate(s->engine, 1, &err) < 0) bench_die("generate", &err);
    while (event.type != BLUELM_EVENT_TOKEN && event.type != BLUELM_EVENT_END)
        if (bluelm_step(s->engine, &event, &err) < 0) bench_die("step", &err);
    return bench_now(s) - begun;
}

/* ---- Reporting ------------------------------------------------------------------------- */

static int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double bench_median(bench_state *s, double (*fn)(bench_state *, uint32_t), uint32_t arg)
{
    double times[BENCH_MAX_RUNS];
    for (uint32_t i = 0; i < s->options.runs; i++)
        times[i] = fn(s, arg);
    qsort(times, s->options.runs, sizeof *times, bench_compare);
    return times[s->options.runs / 2];
}

static double bench_read_limit(bench_state *s, uint32_t ignored)
{
    (void)ignored;
    return bench_read_bandwidth(&s->port, s->options.threads, s->weights.llm,
                                s->weights.llm_bytes);
}

/* One figure, and which share of which limit it is (share 0: of none). */
static void bench_report(bench_state *s, const char *name, double value, const char *unit,
                         double share, const char *limit)
{
    if (s->options.json)
        printf(
            "%s{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"share\":%.4f,\"of\":\"%s\"}",
            s->rows_printed ? "," : "", name, value, unit, share, limit);
    else if (share > 0)
        printf("  %-34s %12.4g %-9s %5.1f %% of %s\n", name, value, unit, 100 * share, limit);
    else
        printf("  %-34s %12.4g %s\n", name, value, unit);
    s->rows_printed++;
    fflush(stdout);
}

/* Bytes a token reads: every matrix but the embedding table, and the cache so far. */
static double bench_token_bytes(const bench_state *s, uint32_t context)
{
    const bench_llm_shape *m = &bench_llm_3b;
    double bits = 4.5; /* Q4_0 and Q4_K alike: 18 bytes for 32 values */
    double kv = 2.0 * m->n_layer * (m->n_embd + 2.0 * m->n_head) * context;
    return (double)s->linear_values * bits / 8 + kv;
}

static void bench_report_language(bench_state *s)
{
    char name[64];
    static const uint32_t prompts[] = {128, 512}, contexts[] = {128, 1900};
    for (uint32_t i = 0; i < 2; i++) {
        double seconds = bench_median(s, bench_prefill, prompts[i]);
        double layers =
            (double)(s->linear_values - (uint64_t)bench_llm_3b.n_embd * bench_llm_3b.n_vocab);
        snprintf(name, sizeof name, "prefill %u", prompts[i]);
        bench_report(s, name, prompts[i] / seconds, "token/s",
                     s->peak > 0 ? layers * prompts[i] / seconds / s->peak : 0, s->peak_name);
    }
    double decode = 0;
    for (uint32_t i = 0; i < 2; i++) {
        double seconds = bench_median(s, bench_decode, contexts[i]);
        snprintf(name, sizeof name, "decode 64 after %u", contexts[i]);
        bench_report(s, name, 1 / seconds, "token/s",
                     bench_token_bytes(s, contexts[i] + 32) / seconds / s->bandwidth,
                     "read bandwidth");
        decode = seconds;
    }
    double first = bench_median(s, bench_first_token, 16);
    bench_report(s, "first token after 16 words", first * 1e3, "ms", 0, "");
    bench_report(s, "  in decode steps", first / decode, "steps", 0, "");
}

static void bench_report_vision(bench_state *s)
{
    double values = (double)bench_tile_products(bench_llm_3b.n_embd);
    double tile = bench_median(s, bench_tile, 0);
    double picture = bench_median(s, bench_picture, 0);
    bench_report(s, "one tile of 384 px", tile, "s", s->peak > 0 ? values / tile / s->peak : 0,
                 s->peak_name);
    bench_report(s, "768x1536, 9 tiles", picture, "s",
                 s->peak > 0 ? 9 * values / picture / s->peak : 0, s->peak_name);
}

static uint64_t bench_anonymous_bytes(void)
{
    char line[128];
    uint64_t kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %" SCNu64, &kilobytes) == 1) break;
    if (status) fclose(status);
    return kilobytes * 1024;
}

static void bench_report_memory(bench_state *s)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double beyond = (double)bench_anonymous_bytes() - (double)s->memory.total -
                    3.0 * BENCH_PICTURE_W * BENCH_PICTURE_H;
    bench_report(s, "arena", (double)s->memory.total / 1e6, "MB", 0, "");
    bench_report(s, "weights, mapped", (double)s->memory.weights_bytes / 1e6, "MB", 0, "");
    bench_report(s, "peak resident", (double)usage.ru_maxrss / 1e3, "MB", 0, "");
    bench_report(s, "beyond weights and arena", beyond > 0 ? beyond / 1e6 : 0, "MB", 0, "");
}

/* ---- Setting up ---------------------------------------------------------------------------- */

static void bench_map(const bench_options *o, const char *kind, const char *name,
                      const void **data, size_t *bytes)
{
    static const struct {
        const char *name;
        uint32_t type;
    } types[] = {
        {"q4_0", BENCH_Q4_0}, {"q4_k", BENCH_Q4_K}, {"q8_0", BENCH_Q8_0}, {"f16", BENCH_F16}};
    char path[512];
    int failed = -1;
    snprintf(path, sizeof path, "%s/%s-%s.gguf", o->folder, kind, name);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, name))
            failed = strcmp(kind, "llm")
                         ? bench_make_mmproj(path, bench_llm_3b.n_embd, types[i].type)
                         : bench_make_llm(path, &bench_llm_3b, types[i].type);
    if (failed || bluelm_posix_map(path, data, bytes)) bench_die(path, NULL);
}

static void bench_set_up(bench_state *s)
{
    bluelm_error err;
    const bench_options *o = &s->options;
    mkdir(o->folder, 0777);
    bench_map(o, "llm", o->llm, &s->weights.llm, &s->weights.llm_bytes);
    if (!o->serve)
        bench_map(o, "mmproj", o->mmproj, &s->weights.mmproj, &s->weights.mmproj_bytes);
    s->linear_values = bench_llm_linear_values(&bench_llm_3b);
    s->config.context_tokens = BENCH_CONTEXT;
    s->config.workers = o->threads;
    s->config.cpu_mask = o->cpu_mask;
    s->config.max_image_pixels = BLUELM_NO_IMAGE_DECODE_PIXELS;
    s->port = bluelm_posix_port(o->threads > 1 ? bluelm_posix_pool_start(o->threads) : NULL);
    s->picture = malloc(3u * BENCH_PICTURE_W * BENCH_PICTURE_H);
    if (!s->picture || bluelm_plan(&s->weights, &s->config, &s->memory, &err) < 0)
        bench_die("plan", &err);
    for (uint32_t i = 0; i < 3u * BENCH_PICTURE_W * BENCH_PICTURE_H; i++)
        s->picture[i] = (uint8_t)(i * 2654435761u >> 24);
    s->arena = malloc((size_t)s->memory.total);
    if (!s->arena) bench_die("no memory for the arena", NULL);
}

static double bench_load(bench_state *s)
{
    bluelm_error err;
    double begun = bench_now(s);
    if (bluelm_init(&s->engine, s->arena, (size_t)s->memory.total, &s->weights, &s->config,
                    &s->port, &err) < 0)
        bench_die("init", &err);
    return bench_now(s) - begun;
}

/* ---- One side of a comparison --------------------------------------------------------- */

static uint32_t bench_likeliest(const bench_state *s)
{
    uint32_t n_vocab, best = 0;
    const float *logits = bluelm_logits(s->engine, &n_vocab);
    for (uint32_t i = 1; logits && i < n_vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Answers each line of input, "reset 0", "read N" (a prompt of N tokens) or "decode N" (one
 * by one), with the seconds it took and the likeliest next token. The tokens depend on
 * their place alone. The first line of output says who this is. */
static void bench_serve(bench_state *s)
{
    char order[16];
    uint32_t count, at = 0;
    bluelm_stats stats;
    bench_load(s);
    bluelm_get_stats(s->engine, &stats);
    printf("{\"kernels\":\"%s\",\"arena_bytes\":%" PRIu64 "}\n", stats.kernels,
           s->memory.total);
    fflush(stdout);
    while (scanf("%15s %" SCNu32, order, &count) == 2) {
        uint32_t step = strcmp(order, "decode") ? count : 1;
        double begun = bench_now(s);
        if (!strcmp(order, "reset")) {
            bluelm_reset(s->engine);
            at = 0;
        }
        for (uint32_t end = at + count; at < end; at += step) {
            bench_add_tokens(s, step, at);
            bench_steps(s, BLUELM_EVENT_END);
        }
        double took = bench_now(s) - begun;
        printf("%.6f %" PRIu32 "\n", took, bench_likeliest(s));
        fflush(stdout);
    }
}

static void bench_usage(void)
{
    fputs("usage: bench DIR [--json|--serve] [--runs N] [--threads N] [--cpu-mask N] "
          "[--llm q4_0|q4_k] [--mmproj q8_0|f16]\n",
          stderr);
    exit(2);
}

static void bench_parse(bench_options *o, int argc, char **argv)
{
    *o = (bench_options){.llm = "q4_0", .mmproj = "q8_0", .runs = 5, .threads = 1};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--json"))
            o->json = 1;
        else if (!strcmp(argv[i], "--serve"))
            o->serve = 1;
        else if (argv[i][0] != '-' && !o->folder)
            o->folder = argv[i];
        else if (!value)
            bench_usage();
        else if (i++, !strcmp(argv[i - 1], "--runs"))
            o->runs = (uint32_t)atoi(value);
        else if (!strcmp(argv[i - 1], "--threads"))
            o->threads = (uint32_t)atoi(value);
        else if (!strcmp(argv[i - 1], "--cpu-mask"))
            o->cpu_mask = (uint32_t)strtoul(value, NULL, 0);
        else if (!strcmp(argv[i - 1], "--llm"))
            o->llm = value;
        else if (!strcmp(argv[i - 1], "--mmproj"))
            o->mmproj = value;
        else
            bench_usage();
    }
    if (!o->folder || o->runs < 1 || o->runs > BENCH_MAX_RUNS || o->threads < 1 ||
        o->threads > 64)
        bench_usage();
}

int main(int argc, char **argv)
{
    static bench_state s;
    bluelm_stats stats;
    bench_parse(&s.options, argc, argv);
    bench_set_up(&s);
    if (s.options.serve) {
        bench_serve(&s);
        return 0;
    }
    s.bandwidth = bench_median(&s, bench_read_limit, 0);
    s.peak = bench_int8_peak(&s.port, s.options.threads, s.options.runs, &s.peak_name);
    if (s.options.json)
        printf("{\"threads\":%u,\"llm\":\"%s\",\"mmproj\":\"%s\",\"figures\":[",
               s.options.threads, s.options.llm, s.options.mmproj);
    else
        printf("%u thread%s, llm %s, mmproj %s, medians of %u\n", s.options.threads,
               s.options.threads == 1 ? "" : "s", s.options.llm, s.options.mmproj,
               s.options.runs);
    bench_report(&s, "read bandwidth", s.bandwidth / 1e9, "GB/s", 0, "");
    bench_report(&s, "int8 peak", s.peak / 1e9, "GMAC/s", 0, s.peak_name);
    bench_report(&s, "load", bench_load(&s) * 1e3, "ms", 0, "");
    bench_report_language(&s);
    bench_report_vision(&s);
    bench_report_memory(&s);
    bluelm_get_stats(s.engine, &stats);
    if (s.options.json)
        printf("],\"kernels\":\"%s\"}\n", stats.kernels);
    else
        printf("  kernels: %s\n", stats.kernels);
    return 0;
}
