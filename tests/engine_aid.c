#include "engine_aid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gguf/gguf.h"

static void *aid_take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    tiny_must(p != NULL, "no memory");
    return p;
}

/* ---- Models ----------------------------------------------------------------------- */

aid_model aid_model_make(const tiny_llm_config *llm, const tiny_vision_config *vision)
{
    aid_model m;
    memset(&m, 0, sizeof m);
    m.llm = tiny_llm(llm);
    if (vision) m.mmproj = tiny_mmproj(vision);
    m.weights.llm = m.llm.data, m.weights.llm_bytes = m.llm.bytes;
    m.weights.mmproj = m.mmproj.data, m.weights.mmproj_bytes = m.mmproj.bytes;
    return m;
}

aid_model aid_model_default(void)
{
    tiny_llm_config llm = tiny_llm_default();
    tiny_vision_config vision = tiny_vision_default();
    return aid_model_make(&llm, &vision);
}

void aid_model_free(aid_model *m)
{
    if (m->llm.data) tiny_free(&m->llm);
    if (m->mmproj.data) tiny_free(&m->mmproj);
}

/* A tensor's floats, writable: the file is ours. */
static float *aid_tensor(const blm_gguf *g, const char *name, uint64_t *count, uint64_t *cols)
{
    blm_tensor t;
    tiny_must(blm_gguf_tensor(g, name, &t, NULL) == 1 && t.type == BLM_F32, name);
    *count = t.ne[0] * t.ne[1];
    *cols = t.ne[0];
    return (float *)(uintptr_t)t.data;
}

static void aid_silence(const blm_gguf *g, const char *name)
{
    uint64_t count, cols;
    float *values = aid_tensor(g, name, &count, &cols);
    memset(values, 0, (size_t)count * sizeof *values);
}

void aid_model_script(aid_model *m, const int32_t *script, uint32_t count)
{
    uint64_t values, cols;
    uint32_t layers = 0, i;
    blm_gguf g;
    tiny_must(blm_gguf_open(&g, m->llm.data, m->llm.bytes, "llm", NULL) >= 0 &&
                  blm_gguf_u32(&g, "llama.block_count", &layers, NULL) == 1,
              "a llama to script");
    /* The blocks add nothing: what comes out is the last token's embedding. */
    for (i = 0; i < layers; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.attn_output.weight", (unsigned)i);
        aid_silence(&g, name);
        snprintf(name, sizeof name, "blk.%u.ffn_down.weight", (unsigned)i);
        aid_silence(&g, name);
    }
    aid_silence(&g, "output.weight");
    float *embd = aid_tensor(&g, "token_embd.weight", &values, &cols);
    float *output = aid_tensor(&g, "output.weight", &values, &cols);
    for (i = 0; i + 1 < count; i++)
        memcpy(output + (size_t)script[i + 1] * cols, embd + (size_t)script[i] * cols,
               (size_t)cols * sizeof *output);
}

/* ---- Engines ------------------------------------------------------------------------ */

aid_engine aid_engine_make(const aid_model *m, const bluelm_config *config,
                           const bluelm_port *port)
{
    aid_engine e = {0};
    bluelm_error err;
    char text[160];
    int code = bluelm_plan(&m->weights, config, &e.memory, &err);
    if (code >= 0) {
        e.arena = aid_take((size_t)e.memory.total_bytes);
        code = bluelm_init(&e.engine, e.arena, (size_t)e.memory.total_bytes, &m->weights,
                           config, port, &err);
    }
    if (code < 0) {
        bluelm_error_text(&err, text, sizeof text);
        tiny_must(0, text);
    }
    return e;
}

void aid_engine_free(aid_engine *e)
{
    bluelm_close(e->engine, 0);
    free(e->arena);
    aid_model_free(&e->model);
    memset(e, 0, sizeof *e);
}

aid_engine aid_engine_scripted(const bluelm_config *config, const int32_t *script,
                               uint32_t count)
{
    aid_model m = aid_model_default();
    aid_model_script(&m, script, count);
    aid_engine e = aid_engine_make(&m, config, NULL);
    e.model = m;
    return e;
}

aid_engine aid_engine_default(const bluelm_config *config)
{
    aid_model m = aid_model_default();
    aid_engine e = aid_engine_make(&m, config, NULL);
    e.model = m;
    return e;
}

/* ---- Answers ------------------------------------------------------------------------- */

/* Length of the character at s, 0 if it is none. */
static size_t aid_utf8_character(const unsigned char *s, size_t room)
{
    size_t count = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (s[0] > 0xF4 || count > room) return 0;
    for (size_t i = 1; i < count; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (s[0] == 0xE0 && s[1] < 0xA0) return 0; /* overlong */
    if (s[0] == 0xED && s[1] > 0x9F) return 0; /* surrogate */
    if (s[0] == 0xF0 && s[1] < 0x90) return 0;
    if (s[0] == 0xF4 && s[1] > 0x8F) return 0; /* above U+10FFFF */
    return count;
}

int aid_utf8_valid(const char *text, size_t bytes)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        n = aid_utf8_character((const unsigned char *)text + at, bytes - at);
        if (n == 0) return 0;
    }
    return 1;
}

/* One kind of progress: it restarts when the last was complete. */
typedef struct aid_progress {
    uint64_t done, total;
} aid_progress;

static void aid_check_progress(aid_progress *p, const bluelm_event *event)
{
    if (p->done == p->total) *p = (aid_progress){0, event->total};
    tiny_must(event->total == p->total, "a total that changes on the way");
    tiny_must(event->done > p->done, "progress that does not grow");
    tiny_must(event->done <= event->total, "progress beyond its total");
    p->done = event->done;
    p->total = event->total;
}

static void aid_add_text(aid_answer *a, const bluelm_event *event)
{
    tiny_must(event->text != NULL, "an event without text");
    tiny_must(aid_utf8_valid(event->text, event->text_bytes), "text that is not UTF-8");
    tiny_must(event->text_bytes <= sizeof a->text - a->text_bytes, "room for the text");
    memcpy(a->text + a->text_bytes, event->text, event->text_bytes);
    a->text_bytes += event->text_bytes;
}

void aid_run(bluelm *engine, aid_answer *a)
{
    aid_progress encode = {0, 0}, prefill = {0, 0};
    bluelm_event event;
    memset(a, 0, sizeof *a);
    a->end_reason = -1;
    while ((a->code = bluelm_step(engine, &event, &a->err)) >= 0) {
        switch (event.type) {
        case BLUELM_EVENT_ENCODE:
            aid_check_progress(&encode, &event);
            a->encode_steps++;
            a->encode_total = event.total;
            break;
        case BLUELM_EVENT_PREFILL:
            aid_check_progress(&prefill, &event);
            a->prefill_steps++;
            a->prefill_total = event.total;
            break;
        case BLUELM_EVENT_TOKEN:
            tiny_must(a->count < AID_MAX_TOKENS, "room for the tokens");
            a->tokens[a->count++] = event.token;
            aid_add_text(a, &event);
            break;
        case BLUELM_EVENT_END:
            a->end_reason = event.end_reason;
            aid_add_text(a, &event);
            break;
        case BLUELM_EVENT_IDLE:
            break;
        }
        tiny_must((a->code == 0) ==
                      (event.type == BLUELM_EVENT_IDLE || event.type == BLUELM_EVENT_END),
                  "0 is returned at IDLE and END alone");
        if (a->code == 0) break;
    }
    if (a->code < 0) return;
    tiny_must(encode.done == encode.total, "encoding ends at its total");
    tiny_must(prefill.done == prefill.total, "prefill ends at its total");
}

void aid_ask(bluelm *engine, uint32_t max_tokens, aid_answer *a)
{
    bluelm_error err;
    char text[160];
    if (bluelm_generate(engine, max_tokens, &err) < 0) {
        bluelm_error_text(&err, text, sizeof text);
        tiny_must(0, text);
    }
    aid_run(engine, a);
}

int aid_same(const aid_answer *a, const aid_answer *b)
{
    return a->count == b->count && a->text_bytes == b->text_bytes &&
           a->end_reason == b->end_reason && a->code == b->code &&
           memcmp(a->tokens, b->tokens, a->count * sizeof a->tokens[0]) == 0 &&
           memcmp(a->text, b->text, a->text_bytes) == 0;
}

/* ---- Pictures --------------------------------------------------------------------------- */

bluelm_image aid_picture(uint32_t width, uint32_t height, size_t stride_bytes, uint64_t seed)
{
    bluelm_image image;
    tiny_random random = {seed};
    size_t row = 3 * (size_t)width, stride = stride_bytes ? stride_bytes : row;
    uint8_t *rgb = (uint8_t *)aid_take(stride * (height - 1) + row);
    memset(rgb, 0xA5, stride * (height - 1) + row);
    /* Every picture of a seed and size has the same pixels, whatever its stride. */
    for (uint32_t y = 0; y < height; y++)
        for (size_t x = 0; x < row; x++)
            rgb[y * stride + x] = (uint8_t)tiny_next(&random);
    memset(&image, 0, sizeof image);
    image.rgb = rgb;
    image.width_px = width, image.height_px = height;
    image.stride_bytes = stride_bytes;
    return image;
}
