/* What a build that leaves parts out does, and what it says of the rest: includes bluelm.c, as
 * a program of one's own would, and prints a line for each call. What is left must do what it
 * does in a whole build (tests/test_leave_out.sh compares).
 *
 *     leave_out words MODEL | whole MODEL MMPROJ | embed MMPROJ | embed8 MMPROJ
 *
 * embed8 asks for int8 activations by name, which round an encoder's floats to Q8_0. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../bluelm.c"

typedef struct held {
    unsigned char *bytes;
    size_t count;
} held;

static held read_file(const char *path)
{
    held f = {NULL, 0};
    FILE *in = fopen(path, "rb");
    if (in == NULL || fseek(in, 0, SEEK_END) != 0) exit(2);
    f.count = (size_t)ftell(in);
    f.bytes = malloc(f.count);
    rewind(in);
    if (f.bytes == NULL || fread(f.bytes, 1, f.count, in) != f.count) exit(2);
    fclose(in);
    return f;
}

static void say(const char *what, int64_t code)
{
    printf("%s: %s\n", what,
           code == BLUELM_E_UNSUPPORTED ? "left out"
           : code < 0                   ? "fails"
                                        : "ok");
}

static bluelm *start(const bluelm_weights *weights, uint32_t vision_act, const char *what,
                     void **arena)
{
    const bluelm_config config = {
        .context_tokens = 256, .max_image_tokens = 64, .vision_activation_type = vision_act};
    bluelm_memory need;
    bluelm *engine = NULL;
    *arena = NULL;
    int code = bluelm_plan(weights, &config, &need, NULL);
    if (code >= 0) {
        *arena = malloc((size_t)need.total_bytes);
        code = bluelm_init(&engine, *arena, (size_t)need.total_bytes, weights, &config, NULL,
                           NULL);
    }
    say(what, code);
    return engine;
}

/* FNV-1a of floats' bits. */
static void say_floats(const char *what, const float *x, size_t count)
{
    const unsigned char *bytes = (const unsigned char *)x;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count * sizeof *x; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    printf("%s: %08x%08x\n", what, (unsigned)(hash >> 32), (unsigned)hash);
}

static void answer(bluelm *engine, const char *what)
{
    bluelm_event event;
    int more = bluelm_generate(engine, 8, NULL);
    printf("%s:", what);
    do {
        more = bluelm_step(engine, &event, NULL);
        for (size_t i = 0; i < event.text_bytes; i++)
            printf(" %02x", (unsigned)(unsigned char)event.text[i]);
    } while (more > 0);
    printf("%s\n", more < 0 ? " fails" : "");
}

/* Completion, a turn, rows of a picture encoded elsewhere. */
static void words(bluelm *engine)
{
    static float rows[64 * 512];
    uint32_t n_vocab = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        rows[i] = (float)(i % 7) * 0.01f;
    say("markup", bluelm_add_markup(engine, "The square is", 13, NULL));
    answer(engine, "completion");
    const float *logits = bluelm_logits(engine, &n_vocab);
    if (logits) say_floats("logits", logits, n_vocab);
    bluelm_reset(engine);
    say("rows", bluelm_add_image_rows(engine, rows, 4, 4, NULL));
    say("text", bluelm_add_text(engine, " red", 4, NULL));
    answer(engine, "about rows");
    bluelm_reset(engine);
    int code = bluelm_begin_turn(engine, BLUELM_USER, NULL);
    say("turn", code);
    if (code < 0) return;
    say("text", bluelm_add_text(engine, "What?", 5, NULL));
    answer(engine, "turn's answer");
}

static void see(bluelm *engine)
{
    static uint8_t pixels[40 * 30 * 3];
    static float tokens[1 << 17];
    const bluelm_image image = {.rgb = pixels, .width_px = 40, .height_px = 30};
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 37 + i / 40);
    int64_t floats =
        bluelm_embed_image(engine, &image, tokens, sizeof tokens / sizeof *tokens, NULL);
    say("embed", floats);
    if (floats > 0) say_floats("image tokens", tokens, (size_t)floats);
    bluelm_event event;
    say("embed begin", bluelm_embed_begin(engine, &image, NULL));
    while (bluelm_step(engine, &event, NULL) > 0)
        ;
    floats = bluelm_embed_rows(engine, tokens, sizeof tokens / sizeof *tokens, NULL);
    if (floats > 0) say_floats("stepped", tokens, (size_t)floats);
    say("add image", bluelm_add_image(engine, &image, NULL, NULL));
    say("turn", bluelm_begin_turn(engine, BLUELM_USER, NULL));
}

int main(int count, char **arguments)
{
    if (count < 3) return 2;
    const int is_embed8 = !strcmp(arguments[1], "embed8");
    const int is_embed = is_embed8 || !strcmp(arguments[1], "embed");
    const held first = read_file(arguments[2]);
    const held second = count > 3 ? read_file(arguments[3]) : (held){NULL, 0};
    bluelm_weights weights = {first.bytes, first.count, second.bytes, second.count};
    if (is_embed) weights = (bluelm_weights){NULL, 0, first.bytes, first.count};
    void *arena;
    bluelm *engine = start(&weights, is_embed8 ? BLUELM_ACT_INT8 : 0, "start", &arena);
    if (engine && is_embed) see(engine);
    if (engine && !is_embed) words(engine);
    bluelm_close(engine, 0);
    free(arena);
    free(first.bytes);
    free(second.bytes);
    return 0;
}
