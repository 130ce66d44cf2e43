/* One question about one picture, asked of a model pair that is linked into the image:
 * plan, print what it takes, build the engine in the board's arena, step it to the answer,
 * and report time, stack and arena. */
#include "../../bluelm.h"
#include "board.h"
#include "console.h"

#ifndef DEMO_CPU_MASK
#define DEMO_CPU_MASK 0 /* whatever the processor has */
#endif

#define DEMO_MAX_TOKENS 64

extern const char demo_llm[], demo_llm_end[];
extern const char demo_mmproj[], demo_mmproj_end[];
extern const char demo_image[], demo_image_end[];
extern const char demo_question[], demo_question_end[];

typedef struct demo {
    bluelm_weights weights;
    bluelm_config config;
    bluelm_memory need;
    bluelm_image image;
    board_span arena;
    bluelm *engine;
    bluelm_error err;
} demo;

static size_t demo_bytes(const char *start, const char *end)
{
    return (size_t)((uintptr_t)end - (uintptr_t)start);
}

/* ---- Memory -------------------------------------------------------------------------- */

static void demo_paint(unsigned char *start, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        start[i] = BOARD_PAINT;
}

/* Bytes from `start` on that nobody has written since they were painted. */
static size_t demo_untouched(const unsigned char *start, size_t bytes)
{
    size_t n = 0;
    while (n < bytes && start[n] == BOARD_PAINT)
        n++;
    return n;
}

static void demo_print_memory(const demo *d)
{
    const bluelm_memory *m = &d->need;
    const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = {
        {"engine", m->engine_bytes},
        {"weights view", m->weights_view_bytes},
        {"tokenizer", m->tokenizer_bytes},
        {"kv cache", m->kv_cache_bytes},
        {"image tokens", m->image_tokens_bytes},
        {"sampling", m->sampling_bytes},
        {"marks", m->marks_bytes},
        {"overlay, largest of", m->overlay_bytes},
        {"  vision phase", m->vision_phase_bytes},
        {"  language phase", m->language_phase_bytes},
        {"  image decode", m->image_decode_bytes},
        {"total", m->total_bytes},
        {"arena", d->arena.bytes},
        {"weights, in place", m->weights_bytes},
    };
    console_text("arena, in bytes\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        console_row(rows[i].name, rows[i].bytes);
        console_text("\n");
    }
}

/* The engine gets no more than the plan says. The rest of the arena stays painted, and shows
 * at the end whether anything was written there. */
static size_t demo_arena_bytes(const demo *d)
{
    return d->need.total_bytes < d->arena.bytes ? (size_t)d->need.total_bytes : d->arena.bytes;
}

/* ---- The question -------------------------------------------------------------------- */

static int demo_start(demo *d)
{
    const bluelm_port port = {.now_us = board_now_us, .cpu_features = board_cpu_features()};
    uint32_t width, height;
    d->weights = (bluelm_weights){demo_llm, demo_bytes(demo_llm, demo_llm_end), demo_mmproj,
                                  demo_bytes(demo_mmproj, demo_mmproj_end)};
    d->image.encoded = demo_image;
    d->image.encoded_bytes = demo_bytes(demo_image, demo_image_end);
    d->arena = board_arena();
    d->config.cpu_mask = DEMO_CPU_MASK;
    if (bluelm_image_size(demo_image, d->image.encoded_bytes, &width, &height, &d->err) < 0)
        return -1;
    d->config.max_image_width_px = width;
    if (bluelm_plan(&d->weights, &d->config, &d->need, &d->err) < 0) return -1;
    demo_print_memory(d);
    demo_paint(d->arena.start, d->arena.bytes);
    return bluelm_init(&d->engine, d->arena.start, demo_arena_bytes(d), &d->weights, &d->config,
                       &port, &d->err);
}

static int demo_ask(demo *d)
{
    size_t bytes = demo_bytes(demo_question, demo_question_end);
    console_text("question: ");
    console_bytes(demo_question, bytes);
    console_text("\n");
    if (bluelm_begin_turn(d->engine, BLUELM_USER, &d->err) < 0 ||
        bluelm_add_image(d->engine, &d->image, NULL, &d->err) < 0 ||
        bluelm_add_text(d->engine, demo_question, bytes, &d->err) < 0)
        return -1;
    return bluelm_generate(d->engine, DEMO_MAX_TOKENS, &d->err);
}

/* A dot for each step until the first token, then the text. */
static void demo_show(const bluelm_event *event, bluelm_event_type before)
{
    if (event->type != before) {
        if (event->type == BLUELM_EVENT_ENCODE)
            console_text("encoding ");
        else if (event->type == BLUELM_EVENT_PREFILL)
            console_text("\nreading ");
        else if (before < BLUELM_EVENT_TOKEN)
            console_text("\nanswer: ");
    }
    if (event->type < BLUELM_EVENT_TOKEN)
        console_text(".");
    else
        console_bytes(event->text, event->text_bytes);
}

static int demo_answer(demo *d)
{
    bluelm_event event = {0};
    int more;
    do {
        bluelm_event_type before = event.type;
        more = bluelm_step(d->engine, &event, &d->err);
        if (more >= 0) demo_show(&event, before);
    } while (more > 0);
    console_text("\n");
    return more;
}

/* ---- The report ---------------------------------------------------------------------- */

/* A hash of the last logits' bits (FNV-1a): equal on two machines when every sum before it
 * was. */
static uint64_t demo_logits_hash(const bluelm *engine)
{
    uint32_t count = 0;
    const unsigned char *bytes = (const unsigned char *)bluelm_logits(engine, &count);
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; bytes && i < count * sizeof(float); i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static void demo_print_phase(const char *name, uint64_t count, uint64_t us)
{
    console_row(name, count);
    console_number(us / 1000, 12);
    console_text(" ms\n");
}

static void demo_print_stats(const demo *d)
{
    bluelm_stats s;
    bluelm_get_stats(d->engine, &s);
    console_text("kernels: ");
    console_text(s.kernels);
    console_text("\nlogits: ");
    console_hex(demo_logits_hash(d->engine), 16);
    console_text("\n");
    demo_print_phase("tiles encoded", s.image_tiles, s.image_us);
    demo_print_phase("tokens read", s.prefill_tokens, s.prefill_us);
    demo_print_phase("tokens made", s.decode_tokens, s.decode_us);
}

/* Returns -1 if the engine wrote past its arena. */
static int demo_check_memory(const demo *d)
{
    size_t used = demo_arena_bytes(d), rest = d->arena.bytes - used;
    board_span stack = board_stack();
    if (stack.bytes) {
        console_row("stack, deepest", stack.bytes - demo_untouched(stack.start, stack.bytes));
        console_text(" of ");
        console_number(stack.bytes, 0);
        console_text(" bytes\n");
    }
    if (demo_untouched(d->arena.start + used, rest) == rest) return 0;
    console_text("the engine wrote past its arena\n");
    return -1;
}

static int demo_fail(const demo *d)
{
    char text[128];
    bluelm_error_text(&d->err, text, sizeof text);
    console_text("bluelm: ");
    console_text(text);
    console_text("\n");
    return 1;
}

int main(void)
{
    demo d = {0};
    uint64_t begun = board_now_us(NULL);
    board_print_name();
    console_text("\n");
    if (demo_start(&d) < 0 || demo_ask(&d) < 0 || demo_answer(&d) < 0) board_end(demo_fail(&d));
    uint64_t took = board_now_us(NULL) - begun;
    demo_print_stats(&d);
    demo_print_phase("start to answer", 1, took);
    if (demo_check_memory(&d) < 0) board_end(1);
    console_text("done\n");
    board_end(0);
}
