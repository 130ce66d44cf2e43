/* Public calls in any order: the input is options and a list of calls. Two engines of the same
 * files get the same calls, the second some calls later, so that what one keeps of a
 * conversation shows in what the other answers. Beside them runs a model of the states that the
 * header tells of: what each call must return, and that a call which fails changes nothing. */
#include "../bluelm.h"
#include "../tests/png_aid.h"
#include "../tests/tiny_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum {
    FUZZ_CALLS = 96,    /* of one input                 */
    FUZZ_CONTEXT = 192, /* tokens                       */
    FUZZ_MARKS = 2,
    FUZZ_PICTURES = 16, /* that may wait, as the header says */
    FUZZ_FLOATS = 8192
};

/* What a caller knows of an engine. */
typedef struct fuzz_model {
    int32_t ids[FUZZ_CONTEXT + 1];
    int64_t count;
    struct {
        int set;
        int64_t count;
        int32_t ids[FUZZ_CONTEXT + 1];
    } mark[FUZZ_MARKS];
    int turn_open, embedding, released;
    uint32_t pictures; /* that wait for certain: added since the last step */
} fuzz_model;

typedef struct fuzz_side {
    bluelm *engine;
    void *arena;
    fuzz_model model;
    uint64_t said[FUZZ_CALLS]; /* a hash of what each call gave */
} fuzz_side;

static tiny_file fuzz_llm, fuzz_mmproj;
static uint8_t fuzz_rgb[64 * 64 * 3], fuzz_png[4096];
static size_t fuzz_png_bytes;
static float fuzz_rows[FUZZ_FLOATS];

#define MUST(condition)                                                                        \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                    \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

static uint64_t fuzz_hash(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

/* ---- What the calls are given ----------------------------------------------------------- */

/* 20 x 15 grey pixels in one stored block. */
static void fuzz_make_png(void)
{
    png_file png = {fuzz_png, 0, 0};
    uint8_t data[7 + 15 * 21 + 4] = {0x78, 1, 1, 15 * 21 & 255, 15 * 21 >> 8};
    uint32_t a = 1, b = 0;
    data[5] = (uint8_t)~data[3], data[6] = (uint8_t)~data[4];
    for (size_t i = 0; i < 15 * 21; i++) {
        data[7 + i] = i % 21 ? (uint8_t)(i * 7) : 0;
        a = (a + data[7 + i]) % 65521, b = (b + a) % 65521;
    }
    data[7 + 15 * 21] = (uint8_t)(b >> 8), data[8 + 15 * 21] = (uint8_t)b;
    data[9 + 15 * 21] = (uint8_t)(a >> 8), data[10 + 15 * 21] = (uint8_t)a;
    png_begin(&png, 20, 15, "\x08\0\0\0\0");
    png_open_chunk(&png, "IDAT");
    png_put(&png, data, sizeof data);
    png_close_chunk(&png);
    png_open_chunk(&png, "IEND");
    png_close_chunk(&png);
    fuzz_png_bytes = png.bytes;
}

static void fuzz_make(void)
{
    tiny_llm_config c = tiny_llm_default();
    tiny_vision_config v = tiny_vision_default();
    c.n_embd = 32, c.n_layer = 2, c.n_head = 2, c.n_head_kv = 1, c.n_ff = 32;
    c.n_vocab = 300;
    v.image_px = 12, v.patch_px = 4;
    v.width = 16, v.n_head = 2, v.n_layer = 1, v.n_ff = 24, v.n_embd = 32;
    fuzz_llm = tiny_llm(&c);
    fuzz_mmproj = tiny_mmproj(&v);
    for (size_t i = 0; i < sizeof fuzz_rgb; i++)
        fuzz_rgb[i] = (uint8_t)(i * i >> 3);
    for (size_t i = 0; i < FUZZ_FLOATS; i++)
        fuzz_rows[i] = (float)(i % 19) / 19 - 0.5f;
    fuzz_make_png();
}

static const char *fuzz_text(uint8_t choice, size_t *bytes)
{
    static const char *const texts[] = {
        "",     "a",        " ",    "hello there", "\n\n x  ", "<img>",
        "</s>", "\xff\xfe", "\xc3", "\xa9 é",      "[|AI|]:",  "a longer text, of words"};
    const char *text = texts[choice % (sizeof texts / sizeof *texts)];
    *bytes = strlen(text);
    return text;
}

/* ---- What must hold ---------------------------------------------------------------------- */

/* The conversation as it is now. What waits as text is tokenized as if nothing followed, so
 * that what was added last may change its last tokens. */
static int64_t fuzz_ids(const bluelm *engine, int32_t ids[FUZZ_CONTEXT + 1])
{
    memset(ids, 0, (FUZZ_CONTEXT + 1) * sizeof *ids);
    int64_t count = bluelm_context_ids(engine, ids, FUZZ_CONTEXT + 1);
    MUST(count >= 0 && count <= FUZZ_CONTEXT);
    return count;
}

static void fuzz_unchanged(const fuzz_side *s)
{
    int32_t ids[FUZZ_CONTEXT + 1];
    MUST(fuzz_ids(s->engine, ids) == s->model.count);
    MUST(!memcmp(ids, s->model.ids, sizeof ids));
}

/* An error says its code; what it was about is as it was. */
static uint64_t fuzz_result(fuzz_side *s, int64_t code, const bluelm_error *err)
{
    char text[160];
    uint64_t hash = fuzz_hash(0xcbf29ce484222325u, &code, sizeof code);
    if (code < 0) {
        MUST(code >= BLUELM_E_STATE && err->code == code);
        MUST(bluelm_error_text(err, text, sizeof text) > 0);
        fuzz_unchanged(s);
        hash = fuzz_hash(hash, text, strlen(text));
    }
    s->model.count = fuzz_ids(s->engine, s->model.ids);
    return fuzz_hash(hash, s->model.ids, sizeof s->model.ids);
}

/* Marks behind `count` are gone. */
static void fuzz_cut_marks(fuzz_model *m, int64_t count)
{
    for (uint32_t i = 0; i < FUZZ_MARKS; i++)
        if (m->mark[i].count > count) m->mark[i].set = 0;
}

/* ---- Calls --------------------------------------------------------------------------------- */

static int64_t fuzz_add_image(fuzz_side *s, uint8_t a, uint8_t b, bluelm_error *err)
{
    uint8_t broken[sizeof fuzz_png];
    bluelm_tile_grid grid;
    bluelm_image image = {.rgb = fuzz_rgb, .width_px = 1 + a % 64u, .height_px = 1 + b % 64u};
    if (a >= 192) { /* a file, whole or with a byte changed */
        memcpy(broken, fuzz_png, fuzz_png_bytes);
        image = (bluelm_image){.encoded = fuzz_png, .encoded_bytes = fuzz_png_bytes};
        if (a >= 224) {
            broken[(size_t)b * 2 % fuzz_png_bytes] ^= a;
            image.encoded = broken;
        }
    }
    int code = bluelm_add_image(s->engine, &image, &grid, err);
    /* The broken file is gone when this returns, so it may not stay in the queue. */
    if (code >= 0 && image.encoded == broken) {
        bluelm_reset(s->engine);
        memset(&s->model, 0, offsetof(fuzz_model, released));
        return 0;
    }
    MUST(code != 0);
    if (s->model.released || s->model.pictures == FUZZ_PICTURES) MUST(code < 0);
    if (code > 0) s->model.pictures++;
    return code;
}

static int64_t fuzz_mark(fuzz_side *s, uint32_t mark, bluelm_error *err)
{
    fuzz_model *m = &s->model;
    int code = bluelm_mark(s->engine, mark, err);
    if (mark >= FUZZ_MARKS) MUST(code == BLUELM_E_ARG);
    if (code < 0) return code;
    MUST(mark < FUZZ_MARKS);
    m->mark[mark].set = 1;
    m->mark[mark].count = fuzz_ids(s->engine, m->mark[mark].ids);
    return code;
}

static int64_t fuzz_rewind(fuzz_side *s, uint32_t mark, bluelm_error *err)
{
    fuzz_model *m = &s->model;
    int code = bluelm_rewind(s->engine, mark, err);
    if (mark >= FUZZ_MARKS) MUST(code == BLUELM_E_ARG);
    if (mark < FUZZ_MARKS && !m->mark[mark].set) MUST(code == BLUELM_E_STATE);
    if (code < 0) return code;
    int32_t ids[FUZZ_CONTEXT + 1];
    MUST(fuzz_ids(s->engine, ids) == m->mark[mark].count);
    MUST(!memcmp(ids, m->mark[mark].ids, sizeof ids));
    fuzz_cut_marks(m, m->mark[mark].count);
    m->pictures = 0;
    return code;
}

/* Some steps; of all of them what came. */
static int64_t fuzz_steps(fuzz_side *s, uint32_t steps, uint64_t *hash, bluelm_error *err)
{
    bluelm_event event;
    int code = 1;
    s->model.pictures = 0;
    for (uint32_t i = 0; i < steps && code > 0; i++) {
        code = bluelm_step(s->engine, &event, err);
        if (code < 0) break;
        MUST(code == (event.type != BLUELM_EVENT_IDLE && event.type != BLUELM_EVENT_END));
        MUST(event.type <= BLUELM_EVENT_END && event.done <= event.total);
        *hash = fuzz_hash(*hash, &event.type, sizeof event.type);
        *hash = fuzz_hash(*hash, &event.token, sizeof event.token);
        *hash = fuzz_hash(*hash, event.text, event.text_bytes);
    }
    if (code == 0 && event.type == BLUELM_EVENT_IDLE) {
        uint32_t n_vocab;
        const float *logits = bluelm_logits(s->engine, &n_vocab);
        if (logits) *hash = fuzz_hash(*hash, logits, n_vocab * sizeof *logits);
        MUST(bluelm_step(s->engine, &event, err) == 0 && event.type == BLUELM_EVENT_IDLE);
    }
    /* A picture that fails takes its turn along: that is no call that changed nothing. */
    s->model.count = fuzz_ids(s->engine, s->model.ids);
    if (code < 0) {
        MUST(code == BLUELM_E_IMAGE || code == BLUELM_E_CONTEXT);
        fuzz_cut_marks(&s->model, s->model.count);
    }
    return code;
}

static int64_t fuzz_sample(fuzz_side *s, uint8_t a, uint8_t b, bluelm_error *err)
{
    const bluelm_sampling sampling = {.temperature = a % 4 == 3 ? -1.0f : (float)(a % 4),
                                      .top_k = b % 8,
                                      .top_p = (float)(b % 5) * 0.3f,
                                      .repeat_penalty = a & 64 ? 1.3f : 0,
                                      .seed = b};
    int code = bluelm_set_sampling(s->engine, &sampling, err);
    if (sampling.temperature < 0 || sampling.top_p > 1) MUST(code == BLUELM_E_ARG);
    return code;
}

static int64_t fuzz_tokens(fuzz_side *s, uint8_t a, uint8_t b, bluelm_error *err)
{
    int32_t tokens[3] = {a, b, a == 255 ? 300 : a == 254 ? -1 : 7};
    int code = bluelm_add_tokens(s->engine, tokens, b % 4u, err);
    if (b % 4 == 3 && a >= 254) MUST(code < 0);
    return code;
}

static int64_t fuzz_embed(fuzz_side *s, uint8_t a, uint8_t b, uint64_t *hash, bluelm_error *err)
{
    static float out[FUZZ_FLOATS];
    const bluelm_image image = {.rgb = fuzz_rgb, .width_px = 1 + b % 40u, .height_px = 20};
    fuzz_model *m = &s->model;
    int64_t code;
    if (a % 3 == 0) {
        code = bluelm_embed_begin(s->engine, &image, err);
        if (code >= 0) m->embedding = 1;
    } else {
        code = a % 3 == 1 ? bluelm_embed_rows(s->engine, out, FUZZ_FLOATS, err)
                          : bluelm_embed_image(s->engine, &image, out, FUZZ_FLOATS, err);
        if (a % 3 == 1 && !m->embedding) MUST(code == BLUELM_E_STATE);
        if (code > 0) *hash = fuzz_hash(*hash, out, (size_t)code * sizeof *out);
        if (code > 0) m->embedding = 0;
    }
    if (m->released && a % 3 != 1) MUST(code < 0);
    return code;
}

static int64_t fuzz_release(fuzz_side *s, uint8_t a, bluelm_error *err)
{
    fuzz_model *m = &s->model;
    int was = m->released;
    int code = a % 2
                   ? bluelm_vision_release(s->engine, err)
                   : bluelm_vision_attach(s->engine, fuzz_mmproj.data, fuzz_mmproj.bytes, err);
    if (a % 2 == 0 && !was) MUST(code == BLUELM_E_STATE);
    if (code >= 0) m->released = a % 2;
    return code;
}

/* Looking does not touch. */
static int64_t fuzz_look(fuzz_side *s, uint8_t a, uint8_t b, uint64_t *hash, bluelm_error *err)
{
    int32_t tokens[8] = {0};
    char text[24] = {0};
    size_t bytes;
    const char *utf8 = fuzz_text(a, &bytes);
    int64_t code = bluelm_tokenize(s->engine, utf8, bytes, b & 1, tokens, b % 9u, err);
    *hash = fuzz_hash(*hash, tokens, sizeof tokens);
    int64_t length = bluelm_detokenize(s->engine, (int32_t)(a * 2) - 3, text, b % 25u, err);
    *hash = fuzz_hash(*hash, text, sizeof text);
    if (a < 2) MUST(length < 0);
    fuzz_unchanged(s);
    return code;
}

static int64_t fuzz_turn(fuzz_side *s, uint8_t a, bluelm_error *err)
{
    int code = bluelm_begin_turn(s->engine, (bluelm_role)(a % 4), err);
    if (a % 4 == 3) MUST(code == BLUELM_E_ARG);
    if (code >= 0) s->model.turn_open = 1;
    return code;
}

static int64_t fuzz_generate(fuzz_side *s, uint8_t a, bluelm_error *err)
{
    int code = bluelm_generate(s->engine, 1 + a % 6u, err);
    if (!s->model.turn_open && s->model.count == 0) MUST(code < 0);
    return code;
}

static int64_t fuzz_stop(fuzz_side *s, uint8_t a, bluelm_error *err)
{
    static const char *const strings[] = {"a", "he", ""};
    int code = bluelm_set_stop(s->engine, strings, a % 4u, err);
    MUST((a % 4 == 3) == (code < 0)); /* an empty one */
    return code;
}

static int64_t fuzz_forget(fuzz_side *s)
{
    bluelm_reset(s->engine);
    memset(&s->model, 0, offsetof(fuzz_model, released));
    s->model.pictures = 0;
    uint32_t n_vocab;
    MUST(bluelm_logits(s->engine, &n_vocab) == NULL);
    fuzz_unchanged(s);
    return 0;
}

/* One call: three bytes of the input. Calls that add anything end an answer's embedding. */
static uint64_t fuzz_call(fuzz_side *s, const uint8_t *call)
{
    const uint8_t a = call[1], b = call[2];
    uint64_t hash = call[0] % 16;
    bluelm_error err;
    size_t bytes;
    const char *text = fuzz_text(a, &bytes);
    int64_t code = 0;
    memset(&err, 0, sizeof err);
    /* clang-format off */
    switch (call[0] % 16) {
    case 0: code = fuzz_turn(s, a, &err); break;
    case 1: code = bluelm_add_text(s->engine, text, bytes, &err); break;
    case 2: code = bluelm_add_markup(s->engine, text, bytes, &err); break;
    case 3: code = fuzz_tokens(s, a, b, &err); break;
    case 4: code = fuzz_add_image(s, a, b, &err); break;
    case 5:
        code = bluelm_add_image_rows(s->engine, fuzz_rows, a % 5u, b % 5u, &err);
        if (a % 5 == 0 || b % 5 == 0) MUST(code < 0);
        if (code >= 0) s->model.pictures++;
        break;
    case 6: code = fuzz_generate(s, a, &err); break;
    case 7: return hash ^ (uint64_t)fuzz_steps(s, 1 + a % 8u, &hash, &err) ^ hash << 1;
    case 8: return hash ^ (uint64_t)fuzz_steps(s, 400, &hash, &err) ^ hash << 1;
    case 9: code = fuzz_mark(s, a % (FUZZ_MARKS + 1u), &err); break;
    case 10: code = fuzz_rewind(s, a % (FUZZ_MARKS + 1u), &err); break;
    case 11: code = a % 8 ? fuzz_look(s, a, b, &hash, &err) : fuzz_forget(s); break;
    case 12: code = fuzz_sample(s, a, b, &err); break;
    case 13: code = fuzz_stop(s, a, &err); break;
    case 14: code = fuzz_embed(s, a, b, &hash, &err); break;
    default: code = fuzz_release(s, a, &err); break;
    }
    /* clang-format on */
    /* What a rewind, a mark or a reset says was compared where it was called. */
    return hash ^ fuzz_result(s, code, &err) * 3;
}

/* ---- Two engines --------------------------------------------------------------------------- */

static int fuzz_open(fuzz_side *s, uint8_t option)
{
    const bluelm_weights weights = {fuzz_llm.data, fuzz_llm.bytes, fuzz_mmproj.data,
                                    fuzz_mmproj.bytes};
    const bluelm_config config = {.context_tokens = FUZZ_CONTEXT,
                                  .chunk_tokens = 1 + option % 32u,
                                  .tiles_per_batch = 1 + option / 32 % 4u,
                                  .max_image_width_px = 64,
                                  .marks = FUZZ_MARKS,
                                  .cpu_mask = option & 128 ? BLUELM_CPU_NONE : 0};
    bluelm_memory need;
    memset(s, 0, sizeof *s);
    MUST(bluelm_plan(&weights, &config, &need, NULL) == 0);
    s->arena = malloc((size_t)need.total_bytes);
    if (!s->arena) return 0;
    MUST(bluelm_init(&s->engine, s->arena, (size_t)need.total_bytes, &weights, &config, NULL,
                     NULL) == 0);
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static fuzz_side sides[2];
    if (!fuzz_llm.data) fuzz_make();
    if (bytes < 2) return 0;
    const size_t calls = (bytes - 2) / 3 < FUZZ_CALLS ? (bytes - 2) / 3 : FUZZ_CALLS;
    const size_t behind = data[1] % 5;
    if (!fuzz_open(&sides[0], data[0]) || !fuzz_open(&sides[1], data[0])) abort();
    for (size_t i = 0; i < calls + behind; i++) {
        if (i < calls) sides[0].said[i] = fuzz_call(&sides[0], data + 2 + 3 * i);
        if (i < behind) continue;
        sides[1].said[i - behind] = fuzz_call(&sides[1], data + 2 + 3 * (i - behind));
        MUST(sides[0].said[i - behind] == sides[1].said[i - behind]);
    }
    for (int i = 0; i < 2; i++) {
        bluelm_close(sides[i].engine, 1);
        free(sides[i].arena);
    }
    return 0;
}
