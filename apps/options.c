#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

/* ---- The table -------------------------------------------------------------------------- */

enum app_kind {
    APP_TEXT,
    APP_U32,
    APP_U64,
    APP_TOKENS, /* APP_U32, or -1 for no limit */
    APP_BYTES,
    APP_FLOAT,
    APP_NAME,
    APP_FLAG,
    APP_STOPS,
    APP_IMAGES,
    APP_SIZES,
    APP_GRID,
    APP_COLOR,
    APP_TEMPLATE,
    APP_MARKUP /* text in which "\n" is a line end */
};

typedef struct app_option {
    const char *names; /* as typed, separated by commas */
    enum app_kind kind;
    uint32_t commands;
    size_t target;     /* in app_options */
    const char *value; /* what it takes; APP_NAME: the names, "-" for a number left out */
    uint64_t least, most;
    const char *help;
} app_option;

enum {
    APP_ANSWERS = APP_RUN | APP_CHAT,
    APP_QUESTIONS = APP_RUN | APP_RENDER,
    APP_TURNS = APP_ANSWERS | APP_RENDER,
    APP_PICTURES = APP_TURNS | APP_PLAN | APP_EMBED,
    APP_ENGINES = APP_PICTURES | APP_LOGITS | APP_TOKENIZE,
    APP_EVERY = APP_ENGINES | APP_INFO
};

#define AT(field) offsetof(app_options, field)
#define ANY_U32   1, UINT32_MAX

/* A row without names heads those below it. */
static const app_option app_table[] = {
    {.help = "input"},
    {"-m,--model", APP_TEXT, APP_EVERY, AT(model), "FILE", 0, 0, "language model (GGUF)"},
    {"--mmproj", APP_TEXT, APP_EVERY, AT(mmproj), "FILE", 0, 0, "vision model (GGUF)"},
    {"--image", APP_IMAGES, APP_PICTURES, 0, "FILE,..", 0, 0,
     "pictures (PNG, JPEG); may be repeated"},
    {"--size", APP_SIZES, APP_PLAN, 0, "WxH,..", 0, 0, "pictures of these sizes"},
    {"-p,--prompt", APP_TEXT, APP_QUESTIONS, AT(prompt), "TEXT", 0, 0,
     "the question; - or none: standard input"},
    {"-f,--file", APP_TEXT, APP_QUESTIONS, AT(prompt_file), "FILE", 0, 0,
     "the question, from a file"},
    {"-s,--system", APP_TEXT, APP_TURNS, AT(system), "TEXT", 0, 0, "a system turn first"},
    {"--raw", APP_FLAG, APP_QUESTIONS, AT(raw), NULL, 0, 0,
     "go on with the text, without a chat template"},
    {"--special", APP_FLAG, APP_TOKENIZE, AT(special), NULL, 0, 0,
     "special tokens written out become themselves"},
    {"--ids", APP_TEXT, APP_LOGITS, AT(ids), "FILE", 0, 0, "token ids, int32"},
    {"--rows", APP_TEXT, APP_LOGITS, AT(rows), "FILE", 0, 0,
     "then a picture's tokens, float32"},
    {"--grid", APP_GRID, APP_LOGITS, 0, "COLSxROWS", 0, 0, "how the tokens of --rows lie"},
    {"--then", APP_TEXT, APP_LOGITS, AT(then), "FILE", 0, 0, "then more token ids, int32"},
    {.help = "chat template"},
    {"--chat-template", APP_TEMPLATE, APP_TURNS, AT(config.chat_template), "NAME", 0, 0,
     "in place of the model's; none: completion alone"},
    {"--date", APP_TEXT, APP_TURNS, AT(config.date), "TEXT", 0, 0,
     "today, where the template begins with it"},
    {"--system-prefix", APP_MARKUP, APP_TURNS, AT(texts.before[0]), "TEXT", 0, 0,
     "markup before a turn of one's own template"},
    {"--system-suffix", APP_MARKUP, APP_TURNS, AT(texts.after[0]), "TEXT", 0, 0,
     "markup after a turn of one's own template"},
    {"--user-prefix", APP_MARKUP, APP_TURNS, AT(texts.before[1]), "TEXT", 0, 0,
     "markup before a turn of one's own template"},
    {"--user-suffix", APP_MARKUP, APP_TURNS, AT(texts.after[1]), "TEXT", 0, 0,
     "markup after a turn of one's own template"},
    {"--assistant-prefix", APP_MARKUP, APP_TURNS, AT(texts.before[2]), "TEXT", 0, 0,
     "markup before a turn of one's own template"},
    {"--assistant-suffix", APP_MARKUP, APP_TURNS, AT(texts.after[2]), "TEXT", 0, 0,
     "markup after a turn of one's own template"},
    {.help = "answers"},
    {"-n,--max-tokens,--predict,--n-predict", APP_TOKENS, APP_ANSWERS, AT(max_tokens), "N",
     ANY_U32, "most tokens (-1: until the model ends)"},
    {"--temp", APP_FLOAT, APP_ANSWERS, AT(sampling.temperature), "X", 0, 0,
     "0 (the default): the likeliest token"},
    {"--top-k", APP_U32, APP_ANSWERS, AT(sampling.top_k), "N", 0, UINT32_MAX,
     "of the N likeliest (0: all)"},
    {"--top-p", APP_FLOAT, APP_ANSWERS, AT(sampling.top_p), "X", 0, 0,
     "of the likeliest that sum to X"},
    {"--min-p", APP_FLOAT, APP_ANSWERS, AT(sampling.min_p), "X", 0, 0,
     "of those above X times the likeliest"},
    {"--repeat-penalty", APP_FLOAT, APP_ANSWERS, AT(sampling.repeat_penalty), "X", 0, 0,
     "above 1: against repetition"},
    {"--repeat-last-n", APP_U32, APP_ANSWERS, AT(sampling.repeat_last), "N", ANY_U32,
     "of the last N tokens (64)"},
    {"--seed", APP_U64, APP_ANSWERS, AT(sampling.seed), "N", 0, UINT64_MAX,
     "same seed, same answer"},
    {"--stop,-r,--reverse-prompt", APP_STOPS, APP_ANSWERS, 0, "TEXT", 0, 0,
     "ends an answer before this text (up to 8 of them)"},
    {.help = "memory"},
    {"-c,--ctx,--ctx-size", APP_U32, APP_ENGINES, AT(config.context_tokens), "N", 1, 1u << 20,
     "tokens the KV cache holds (the model's, at most 2048)"},
    {"--chunk,--ubatch-size", APP_U32, APP_ENGINES, AT(config.chunk_tokens), "N", 1, 2048,
     "prompt tokens read at once (128)"},
    {"--max-tiles", APP_U32, APP_PICTURES, AT(config.max_tiles), "N", 1, 256,
     "most tiles of a picture (what the model allows)"},
    {"--max-image-tokens,--image-max-tokens", APP_U32, APP_PICTURES,
     AT(config.max_image_tokens), "N", 1, UINT32_MAX,
     "most tokens of a picture (what the model allows)"},
    {"--background", APP_COLOR, APP_PICTURES, AT(config.background_rgb), "RRGGBB", 0, 0,
     "under transparent pixels (ffffff)"},
    {"--tile-batch", APP_U32, APP_PICTURES, AT(config.tiles_per_batch), "N", 1, 64,
     "tiles encoded at once (4)"},
    {"--max-image-width", APP_U32, APP_PICTURES, AT(config.max_image_width_px), "PX", 1, 65535,
     "widest picture (that of the pictures given; chat: 16384)"},
    {"--whole-image", APP_BYTES, APP_PICTURES, AT(config.whole_image_bytes), "BYTES", 0, 0,
     "for interlaced PNG, progressive JPEG (what the pictures given need)"},
    {"--kv", APP_NAME, APP_ENGINES, AT(config.kv_type), "-,int8,f16", 0, 0, "KV cache (int8)"},
    {"--act", APP_NAME, APP_ENGINES, AT(config.activation_type), "-,int8,int16", 0, 0,
     "the language model's activations (int8)"},
    {"--vision-act", APP_NAME, APP_PICTURES, AT(config.vision_activation_type), "-,int8,int16",
     0, 0, "the vision encoder's activations (int8, f32 in a float file; int8: there too)"},
    {"--arena", APP_BYTES, APP_ENGINES & ~APP_PLAN, AT(arena_bytes), "BYTES", ANY_U32,
     "all memory there is; K, M, G too (what the plan needs)"},
    {"--kv-budget", APP_BYTES, APP_ENGINES, AT(config.max_kv_cache_bytes), "BYTES", 0, 0,
     "a cap on the KV cache"},
    {"--activations-budget", APP_BYTES, APP_ENGINES, AT(config.max_activations_bytes), "BYTES",
     0, 0, "a cap on activations"},
    {"--image-tokens-budget", APP_BYTES, APP_PICTURES, AT(config.max_image_tokens_bytes),
     "BYTES", 0, 0, "a cap on a picture's tokens"},
    {.help = "pictures"},
    {"--tiling", APP_NAME, APP_PICTURES, AT(config.tile_rule),
     "auto,relaxed,llava-next,internvl,single", 0, 0, "how a picture is cut (the model's way)"},
    {"--alpha", APP_FLOAT, APP_PICTURES, AT(config.tile_alpha), "X", 0, 0,
     "of the relaxed tiling (0.1)"},
    {.help = "machine"},
    {"-t,--threads", APP_U32, APP_ENGINES, AT(config.workers), "N", 1, 64, "workers (1)"},
    {"--cpus", APP_TEXT, APP_ENGINES & ~APP_PLAN, AT(cpus), "LIST", 0, 0,
     "a processor for each worker, of these: 0-3,6 (any)"},
    {"--cpu", APP_NAME, APP_ENGINES, AT(cpu),
     "auto,scalar,sse41,avx2,avx512,amx,neon,dotprod,i8mm", 0, 0, "kernels (auto)"},
    {"--weights", APP_NAME, APP_EVERY, AT(weights), "map,read", 0, 0,
     "map the files, or read them into huge pages (map)"},
    {"--release-vision", APP_FLAG, APP_ANSWERS, AT(release_vision), NULL, 0, 0,
     "give the mmproj's memory back once pictures are encoded"},
    {"--overlap", APP_FLAG, APP_PICTURES, AT(config.overlap_tiles), NULL, 0, 0,
     "embed the next tiles beside the encoder's blocks"},
    {.help = "output"},
    {"-o,--output", APP_TEXT, APP_LOGITS | APP_EMBED, AT(output), "FILE", 0, 0,
     "floats, little-endian"},
    {"--json", APP_FLAG, APP_EVERY, AT(json), NULL, 0, 0, "one JSON object on standard output"},
    {"-q,--quiet", APP_FLAG, APP_EVERY, AT(quiet), NULL, 0, 0,
     "no progress, no speeds on standard error"},
    {"--raw-output", APP_FLAG, APP_TURNS, AT(raw_output), NULL, 0, 0,
     "control characters of the answer as they are on a terminal too"},
};
#undef AT
#undef ANY_U32

enum { APP_OPTIONS = sizeof app_table / sizeof *app_table };

/* What --cpu's names stand for, in the order of its list. */
static const struct {
    const char *name;
    uint32_t mask;
} app_cpus[] = {
    {NULL, 0},
    {"scalar", BLUELM_CPU_NONE},
    {"sse41", BLUELM_CPU_SSE41},
    {"avx2", BLUELM_CPU_AVX2},
    /* norms are AVX2's */
    {"avx512", BLUELM_CPU_AVX512_VBMI | BLUELM_CPU_AVX512_VNNI | BLUELM_CPU_AVX2},
    {"amx", BLUELM_CPU_AMX | BLUELM_CPU_AVX2},
    {"neon", BLUELM_CPU_NEON},
    {"dotprod", BLUELM_CPU_NEON_DOTPROD},
    {"i8mm", BLUELM_CPU_NEON_I8MM},
};

/* ---- Lists separated by commas ------------------------------------------------------------- */

/* The place of a name in a list; -1: not there. */
static int app_place(const char *list, const char *name, size_t length)
{
    for (int place = 0; list; place++) {
        size_t n = strcspn(list, ",");
        if (n == length && !strncmp(list, name, n)) return place;
        list = list[n] ? list + n + 1 : NULL;
    }
    return -1;
}

static const app_option *app_find(const char *name)
{
    for (int i = 0; i < APP_OPTIONS; i++)
        if (app_table[i].names && app_place(app_table[i].names, name, strlen(name)) >= 0)
            return &app_table[i];
    return NULL;
}

/* ---- Values ----------------------------------------------------------------------------------- */

static int app_wrong(const char *name, const char *value, const char *expected)
{
    return app_misuse(NULL, "%s %s: expected %s", name, value, expected);
}

static int app_parse_u64(const char *name, const char *value, uint64_t least, uint64_t most,
                         uint64_t *out)
{
    char *end, expected[80];
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] >= '0' && value[0] <= '9' && !*end && !errno && number >= least &&
        number <= most) {
        *out = number;
        return 0;
    }
    snprintf(expected, sizeof expected, "a whole number from %llu to %llu",
             (unsigned long long)least, (unsigned long long)most);
    return app_wrong(name, value, expected);
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
    if (app_parse_u64(name, digits, 1, UINT64_MAX >> shift, out)) return 2;
    *out <<= shift;
    return 0;
}

/* As the web writes colours, with # or without. */
static int app_parse_color(const char *name, const char *value, uint32_t *out)
{
    const char *digits = value + (*value == '#');
    if (strlen(digits) != 6 || strspn(digits, "0123456789abcdefABCDEF") != 6)
        return app_wrong(name, value, "a colour, e.g. 00ff00");
    *out = 0x1000000u | (uint32_t)strtoul(digits, NULL, 16);
    return 0;
}

static int app_parse_float(const char *name, const char *value, float *out)
{
    char *end;
    float number = strtof(value, &end);
    if (end == value || *end || !isfinite(number)) return app_wrong(name, value, "a number");
    *out = number;
    return 0;
}

static int app_parse_name(const app_option *option, const char *name, const char *value,
                          uint32_t *out)
{
    const char *names = option->value;
    int place = app_place(names, value, strlen(value));
    if (place >= 0 && strcmp(value, "-")) {
        *out = (uint32_t)place;
        return 0;
    }
    return app_wrong(name, value, names[0] == '-' ? names + 2 : names);
}

static int app_add_image(app_options *o, const char *name, app_image image)
{
    if (o->image_count == APP_MAX_IMAGES)
        return app_misuse(name, "at most %d pictures", APP_MAX_IMAGES);
    o->images[o->image_count++] = image;
    return 0;
}

static int app_parse_stop(app_options *o, const char *name, const char *value)
{
    if (o->stop_count == APP_MAX_STOPS)
        return app_misuse(name, "at most %d texts", APP_MAX_STOPS);
    o->stops[o->stop_count++] = value;
    return 0;
}

/* Files separated by commas; a file whose own name has commas stays whole. */
static int app_parse_images(app_options *o, const char *name, char *value)
{
    if (access(value, F_OK) == 0) return app_add_image(o, name, (app_image){.path = value});
    for (char *comma; value; value = comma) {
        if ((comma = strchr(value, ','))) *comma++ = 0;
        if (!*value) return app_wrong(name, value, "FILE or FILE,FILE");
        if (app_add_image(o, name, (app_image){.path = value})) return 2;
    }
    return 0;
}

static int app_parse_template(const char *name, const char *value, const char **out)
{
    const char *known = "none";
    for (uint32_t i = 0; known && strcmp(known, value); i++)
        known = bluelm_chat_template_name(i);
    *out = value;
    return known ? 0 : app_wrong(name, value, "a template that bluelm run --help lists");
}

/* Takes \n, \t and \\ for what they stand for, in place. */
static void app_parse_markup(char *value, const char **out)
{
    char *to = value;
    *out = value;
    for (const char *from = value; *from; from++) {
        const int escaped = from[0] == '\\' && from[1] && strchr("nt\\", from[1]);
        from += escaped;
        *to++ = (char)(!escaped ? *from : *from == 'n' ? '\n' : *from == 't' ? '\t' : '\\');
    }
    *to = 0;
}

/* "768x1536" */
static int app_parse_pair(const char *name, const char *value, uint32_t *first,
                          uint32_t *second)
{
    char rest;
    if (value[0] >= '0' && value[0] <= '9' &&
        sscanf(value, "%5" SCNu32 "x%5" SCNu32 "%c", first, second, &rest) == 2)
        return 0;
    return app_wrong(name, value, "two numbers, e.g. 768x1536");
}

static int app_parse_sizes(app_options *o, const char *name, char *value)
{
    for (char *comma; value; value = comma) {
        app_image size = {0};
        if ((comma = strchr(value, ','))) *comma++ = 0;
        if (app_parse_pair(name, value, &size.width_px, &size.height_px) ||
            app_add_image(o, name, size))
            return 2;
    }
    return 0;
}

static int app_parse_value(app_options *o, const app_option *option, const char *name,
                           char *value)
{
    void *target = (char *)o + option->target;
    uint64_t number = 0;
    int code = 0;
    switch (option->kind) {
    case APP_TOKENS:
        if (!strcmp(value, "-1")) break; /* 0: no limit */
        /* fall through */
    case APP_U32:
        code = app_parse_u64(name, value, option->least, option->most, &number);
        break;
    case APP_U64:
        return app_parse_u64(name, value, option->least, option->most, target);
    case APP_BYTES:
        return app_parse_bytes(name, value, target);
    case APP_FLOAT:
        return app_parse_float(name, value, target);
    case APP_NAME:
        return app_parse_name(option, name, value, target);
    case APP_STOPS:
        return app_parse_stop(o, name, value);
    case APP_IMAGES:
        return app_parse_images(o, name, value);
    case APP_SIZES:
        return app_parse_sizes(o, name, value);
    case APP_COLOR:
        return app_parse_color(name, value, target);
    case APP_GRID:
        return app_parse_pair(name, value, &o->grid_columns, &o->grid_rows);
    case APP_TEMPLATE:
        return app_parse_template(name, value, target);
    case APP_MARKUP:
        app_parse_markup(value, target);
        return 0;
    case APP_FLAG:
    case APP_TEXT:
        *(const char **)target = value;
        return 0;
    }
    if (!code) *(uint32_t *)target = (uint32_t)number;
    return code;
}

/* ---- Help ---------------------------------------------------------------------------------------- */

static void app_print_option(const app_option *option)
{
    char left[96];
    int n = 0;
    for (const char *at = option->names; *at && n < 60; at++)
        n += snprintf(left + n, sizeof left - (size_t)n, *at == ',' ? ", " : "%c", *at);
    if (option->value && option->kind != APP_NAME)
        snprintf(left + n, sizeof left - (size_t)n, " %s", option->value);
    printf("  %-30s %s\n", left, option->help);
    if (option->kind == APP_NAME)
        printf("  %-30s %s\n", "", option->value + (option->value[0] == '-' ? 2 : 0));
}

static void app_print_templates(void)
{
    const char *name;
    for (uint32_t i = 0; (name = bluelm_chat_template_name(i)); i++)
        printf(i % 5 ? ", %s" : i ? ",\n  %-30s %s" : "  %-30s %s", i % 5 ? name : "", name);
    puts("");
}

static void app_print_command_help(const app_command *command, uint32_t bit)
{
    const char *heading = NULL;
    printf("usage: bluelm %s [options]: %s\n", command->name, command->summary);
    if (bit == APP_CHAT) puts("one question a line; /image FILE, /reset, /help, /quit");
    for (int i = 0; i < APP_OPTIONS; i++) {
        const app_option *option = &app_table[i];
        if (!option->names) heading = option->help;
        if (!(option->commands & bit)) continue;
        if (heading) printf("%s\n", heading);
        heading = NULL;
        app_print_option(option);
        if (option->kind == APP_TEMPLATE) app_print_templates();
    }
    puts("Exit status: 0 done, 1 failed, 2 wrong usage.");
}

static void app_print_help(FILE *to, const app_command *commands, uint32_t count)
{
    fprintf(to, "usage: bluelm COMMAND [options]\n\n");
    for (uint32_t i = 0; i < count; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(to,
            "\n"
            "  bluelm run -m MODEL.gguf --mmproj MMPROJ.gguf --image PHOTO.jpg -p \"What is "
            "this?\"\n\n"
            "bluelm COMMAND --help lists its options; bluelm --version.\n"
            "Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

/* ---- The command line ----------------------------------------------------------------------------- */

static int app_is(const char *word, const char *one, const char *other)
{
    return !strcmp(word, one) || !strcmp(word, other);
}

static int app_parse_option(app_options *o, uint32_t bit, int argc, char **argv, int *at)
{
    const char *name = argv[(*at)++];
    const app_option *option = app_find(name);
    if (!option)
        return app_misuse(NULL, "%s %s (see bluelm %s --help)",
                          name[0] == '-' ? "unknown option" : "unexpected argument", name,
                          o->command);
    if (!(option->commands & bit))
        return app_misuse(NULL, "%s takes no %s (see bluelm %s --help)", o->command, name,
                          o->command);
    if (option->kind == APP_FLAG) {
        *(uint32_t *)(void *)((char *)o + option->target) = 1;
        return 0;
    }
    if (*at == argc) return app_misuse(NULL, "%s needs a value", name);
    return app_parse_value(o, option, name, argv[(*at)++]);
}

static int app_given(const app_options *o, const app_option *option)
{
    if (option->kind == APP_IMAGES) return o->image_count > 0;
    return *(const char *const *)(const void *)((const char *)o + option->target) != NULL;
}

/* The option that begins at a list of names, and where the next one begins. */
static const app_option *app_next_name(const char **at, char name[16])
{
    size_t n = strcspn(*at, ",|");
    snprintf(name, 16, "%.*s", (int)n, *at);
    *at += n;
    return app_find(name);
}

/* Says which of the options that a command cannot do without is missing; of names with | between
 * them one is enough. */
static int app_check_needs(const app_options *o, const app_command *command)
{
    for (const char *at = command->needs; *at; at += *at == ',') {
        char name[16], other[16];
        const app_option *option = app_next_name(&at, name);
        int given = app_given(o, option), more = *at == '|';
        while (*at == '|') {
            at++;
            given |= app_given(o, app_next_name(&at, other));
        }
        if (given) continue;
        return app_misuse(command->name, "needs %s %s: %s%s%s", name, option->value,
                          option->help, more ? ", or " : "", more ? other : "");
    }
    return 0;
}

/* --json counts wherever it stands, in what is said of the options before it too. */
static uint32_t app_wants_json(int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (!strcmp(argv[i], "--json")) return 1;
    return 0;
}

static int app_parse_all(app_options *o, const app_command *command, uint32_t bit, int argc,
                         char **argv)
{
    for (int at = 2; at < argc;) {
        int code = app_parse_option(o, bit, argc, argv, &at);
        if (code) return code;
    }
    o->config.cpu_mask = app_cpus[o->cpu].mask;
    for (int role = 0; role < 3; role++)
        if (o->texts.before[role] || o->texts.after[role]) o->config.chat_texts = &o->texts;
    app_output_begin(o);
    return app_check_needs(o, command);
}

const char *app_cpu_name(const app_options *o)
{
    return app_cpus[o->cpu].name;
}

const app_command *app_options_parse(app_options *o, const app_command *commands,
                                     uint32_t count, int argc, char **argv, int *status)
{
    memset(o, 0, sizeof *o);
    *status = argc < 2 ? 2 : 0;
    if (argc < 2 || app_is(argv[1], "--help", "-h")) {
        app_print_help(argc < 2 ? stderr : stdout, commands, count);
        return NULL;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("bluelm %s\n", bluelm_version());
        return NULL;
    }
    o->command = argv[1];
    o->json = app_wants_json(argc, argv);
    app_output_begin(o);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(argv[1], commands[i].name)) continue;
        for (int at = 2; at < argc; at++)
            if (app_is(argv[at], "--help", "-h")) {
                app_print_command_help(&commands[i], 1u << i);
                return NULL;
            }
        *status = app_parse_all(o, &commands[i], 1u << i, argc, argv);
        return *status ? NULL : &commands[i];
    }
    *status = app_misuse(NULL, "unknown command %s (see bluelm --help)", argv[1]);
    return NULL;
}
