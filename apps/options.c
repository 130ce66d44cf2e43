#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char app_usage[] =
    "usage: bluelm COMMAND [options]\n"
    "\n"
    "  run       answer one question      -m M.gguf [--mmproj P.gguf --image FILE]... -p TEXT\n"
    "  chat      talk, line by line       -m M.gguf [--mmproj P.gguf]\n"
    "            (/image FILE  /reset  /quit)\n"
    "  plan      memory and tile grid     -m M.gguf [--mmproj P.gguf] [--image FILE]...\n"
    "  info      what the files hold      -m M.gguf [--mmproj P.gguf]\n"
    "  tokenize  text on stdin to ids     -m M.gguf [--special]\n"
    "  logits    of the last token        -m M.gguf --ids FILE.i32 -o OUT.f32\n"
    "  embed     one picture as one tile  -m M.gguf --mmproj P.gguf --image FILE -o OUT.f32\n"
    "\n"
    "memory\n"
    "  --ctx N         tokens the KV cache holds          (the model's, at most 2048)\n"
    "  --chunk N       prompt tokens read at once         (128)\n"
    "  --max-tiles N   most tiles of a picture            (what the model allows)\n"
    "  --tile-batch N  tiles encoded at once              (4)\n"
    "  --max-pixels N  largest PNG or JPEG                (that of the pictures given)\n"
    "  --kv TYPE       int8 or f16                        (int8)\n"
    "  --act TYPE      activations: int8 or int16         (int8)\n"
    "  --arena BYTES   all memory there is; K, M, G too   (what the plan needs)\n"
    "  --kv-budget, --activations-budget, --image-tokens-budget BYTES   caps\n"
    "answers\n"
    "  --system TEXT   a system turn first\n"
    "  -n, --max-tokens N                                 (until the model ends)\n"
    "  --temp X --top-k N --top-p X --min-p X --repeat-penalty X --seed N    (greedy)\n"
    "machine\n"
    "  --threads N     workers                            (1)\n"
    "  --cpus LIST     a processor for each worker, of these: 0-3,6 (any)\n"
    "  --weights HOW   map, or read once into huge pages  (map)\n"
    "  --overlap       embed the next tiles beside the encoder's blocks\n"
    "  --cpu NAME      auto, scalar; sse41, avx2, avx512, (auto)\n"
    "                  amx; neon, dotprod, i8mm\n"
    "  --tiling NAME   auto, relaxed, llava-next, internvl, single   --alpha X\n"
    "output\n"
    "  --json          one JSON object on stdout\n"
    "  --quiet         no progress, no speeds on stderr\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage.\n";

enum app_kind {
    APP_TEXT,
    APP_U32,
    APP_U64,
    APP_BYTES,
    APP_FLOAT,
    APP_NAME,
    APP_FLAG,
    APP_IMAGE
};

typedef struct app_option {
    const char *name;
    enum app_kind kind;
    void *target;
    const char *names; /* APP_NAME: "zero,one,two", a leading dash skips a number */
} app_option;

static int app_wrong(const char *name, const char *value, const char *expected)
{
    fprintf(stderr, "bluelm: %s %s: expected %s\n", name, value, expected);
    return 2;
}

static int app_parse_u64(const char *name, const char *value, uint64_t limit, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno || number > limit) {
        char expected[64];
        snprintf(expected, sizeof expected, "a whole number up to %llu",
                 (unsigned long long)limit);
        return app_wrong(name, value, expected);
    }
    *out = number;
    return 0;
}

static int app_parse_bytes(const char *name, const char *value, uint64_t *out)
{
    static const char units[] = "KMG";
    char digits[32];
    size_t n = strlen(value);
    const char *unit = n > 1 ? strchr(units, value[n - 1]) : NULL;
    uint32_t shift = unit ? 10u * (uint32_t)(unit - units + 1) : 0;
    if (unit) n--;
    if (n >= sizeof digits) return app_wrong(name, value, "bytes, e.g. 268435456 or 256M");
    memcpy(digits, value, n);
    digits[n] = 0;
    if (app_parse_u64(name, digits, UINT64_MAX >> shift, out)) return 2;
    *out <<= shift;
    return 0;
}

static int app_parse_name(const app_option *option, const char *value)
{
    uint32_t number = 0;
    size_t length = strlen(value);
    for (const char *at = option->names; *at; number++) {
        size_t n = strcspn(at, ",");
        if (n == length && n && !strncmp(at, value, n)) {
            *(uint32_t *)option->target = number;
            return 0;
        }
        at += n + (at[n] == ',');
    }
    return app_wrong(option->name, value, option->names + (option->names[0] == ','));
}

static int app_parse_image(app_options *o, const char *value)
{
    if (o->image_count == APP_MAX_IMAGES) {
        fprintf(stderr, "bluelm: --image: at most %d pictures\n", APP_MAX_IMAGES);
        return 2;
    }
    o->images[o->image_count++] = value;
    return 0;
}

static int app_parse_float(const app_option *option, const char *value)
{
    char *end;
    float number = strtof(value, &end);
    if (end == value || *end || !isfinite(number))
        return app_wrong(option->name, value, "a number");
    *(float *)option->target = number;
    return 0;
}

static int app_parse_value(app_options *o, const app_option *option, const char *value)
{
    uint64_t number;
    switch (option->kind) {
    case APP_U32:
        if (app_parse_u64(option->name, value, UINT32_MAX, &number)) return 2;
        *(uint32_t *)option->target = (uint32_t)number;
        return 0;
    case APP_U64:
        return app_parse_u64(option->name, value, UINT64_MAX, option->target);
    case APP_BYTES:
        return app_parse_bytes(option->name, value, option->target);
    case APP_FLOAT:
        return app_parse_float(option, value);
    case APP_NAME:
        return app_parse_name(option, value);
    case APP_IMAGE:
        return app_parse_image(o, value);
    case APP_TEXT:
    case APP_FLAG:
    default:
        *(const char **)option->target = value;
        return 0;
    }
}

static int app_parse_option(app_options *o, const app_option *options, size_t count, int argc,
                            char **argv, int *at)
{
    const char *name = argv[(*at)++];
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, options[i].name)) continue;
        if (options[i].kind == APP_FLAG) {
            *(int *)options[i].target = 1;
            return 0;
        }
        if (*at == argc) {
            fprintf(stderr, "bluelm: %s needs a value\n", name);
            return 2;
        }
        return app_parse_value(o, &options[i], argv[(*at)++]);
    }
    fprintf(stderr, "bluelm: unknown option %s (see bluelm --help)\n", name);
    return 2;
}

int app_options_parse(app_options *o, int argc, char **argv)
{
    static const struct {
        const char *name;
        uint32_t mask;
    } cpus[] = {
        {NULL, 0},
        {"scalar", BLUELM_CPU_NONE},
        {"sse41", BLUELM_CPU_SSE41},
        {"avx2", BLUELM_CPU_AVX2},
        {"avx512", BLUELM_CPU_AVX512_VNNI | BLUELM_CPU_AVX2}, /* norms and int16 are AVX2's */
        {"amx", BLUELM_CPU_AMX | BLUELM_CPU_AVX2},
        {"neon", BLUELM_CPU_NEON},
        {"dotprod", BLUELM_CPU_NEON_DOTPROD},
        {"i8mm", BLUELM_CPU_NEON_I8MM},
    };
    uint32_t cpu = 0;
    memset(o, 0, sizeof *o);
    const app_option options[] = {
        {"-m", APP_TEXT, &o->model, NULL},
        {"--model", APP_TEXT, &o->model, NULL},
        {"--mmproj", APP_TEXT, &o->mmproj, NULL},
        {"--image", APP_IMAGE, NULL, NULL},
        {"-p", APP_TEXT, &o->prompt, NULL},
        {"--prompt", APP_TEXT, &o->prompt, NULL},
        {"--system", APP_TEXT, &o->system, NULL},
        {"--ids", APP_TEXT, &o->ids, NULL},
        {"-o", APP_TEXT, &o->output, NULL},
        {"--ctx", APP_U32, &o->config.context_tokens, NULL},
        {"--chunk", APP_U32, &o->config.chunk_tokens, NULL},
        {"--max-tiles", APP_U32, &o->config.max_tiles, NULL},
        {"--tile-batch", APP_U32, &o->config.tiles_per_batch, NULL},
        {"--max-pixels", APP_U32, &o->config.max_image_pixels, NULL},
        {"--kv", APP_NAME, &o->config.kv_type, ",int8,f16"},
        {"--act", APP_NAME, &o->config.activation_type, ",int8,int16"},
        {"--arena", APP_BYTES, &o->arena_bytes, NULL},
        {"--kv-budget", APP_BYTES, &o->config.max_kv_cache_bytes, NULL},
        {"--activations-budget", APP_BYTES, &o->config.max_activations_bytes, NULL},
        {"--image-tokens-budget", APP_BYTES, &o->config.max_image_tokens_bytes, NULL},
        {"-n", APP_U32, &o->max_tokens, NULL},
        {"--max-tokens", APP_U32, &o->max_tokens, NULL},
        {"--temp", APP_FLOAT, &o->sampling.temperature, NULL},
        {"--top-k", APP_U32, &o->sampling.top_k, NULL},
        {"--top-p", APP_FLOAT, &o->sampling.top_p, NULL},
        {"--min-p", APP_FLOAT, &o->sampling.min_p, NULL},
        {"--repeat-penalty", APP_FLOAT, &o->sampling.repeat_penalty, NULL},
        {"--seed", APP_U64, &o->sampling.seed, NULL},
        {"--threads", APP_U32, &o->config.workers, NULL},
        {"--cpus", APP_TEXT, &o->cpus, NULL},
        {"--weights", APP_NAME, &o->weights, "map,read"},
        {"--cpu", APP_NAME, &cpu, "auto,scalar,sse41,avx2,avx512,amx,neon,dotprod,i8mm"},
        {"--tiling", APP_NAME, &o->config.tile_rule, "auto,relaxed,llava-next,internvl,single"},
        {"--alpha", APP_FLOAT, &o->config.tile_alpha, NULL},
        {"--overlap", APP_FLAG, &o->config.overlap_tiles, NULL},
        {"--special", APP_FLAG, &o->special, NULL},
        {"--json", APP_FLAG, &o->json, NULL},
        {"--quiet", APP_FLAG, &o->quiet, NULL},
    };
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        fputs(app_usage, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 1;
    }
    o->command = argv[1];
    for (int at = 2; at < argc;) {
        if (!strcmp(argv[at], "--help") || !strcmp(argv[at], "-h")) {
            fputs(app_usage, stdout);
            return 1;
        }
        int code =
            app_parse_option(o, options, sizeof options / sizeof *options, argc, argv, &at);
        if (code) return code;
    }
    o->cpu = cpus[cpu].name;
    o->config.cpu_mask = cpus[cpu].mask;
    return 0;
}
