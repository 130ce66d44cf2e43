#include "hostile_aid.h"

#include <stdlib.h>
#include <string.h>

#include "tiny_model.h"

#define MOST_BYTES (8u << 20) /* of an arena that is worth running */

/* An error says the same in its code and in its line. */
static int hostile_check(int64_t code, const bluelm_error *err)
{
    char line[200];
    if (code >= 0) return 1;
    tiny_must(err->code == code, "the error is not what was returned");
    tiny_must(memchr(err->subject, 0, sizeof err->subject) != NULL, "subject has no end");
    tiny_must(err->subject[0] != 0, "an error about nothing");
    size_t length = bluelm_error_text(err, line, sizeof line);
    tiny_must(length < sizeof line && line[length] == 0, "the error's line is too long");
    return 0;
}

static void hostile_ask(const hostile_job *job, bluelm *engine, uint32_t n_vocab)
{
    static uint8_t pixels[3 * 64 * 64];
    bluelm_image image = {pixels, job->picture_width, job->picture_height, 0, NULL, 0};
    bluelm_event event;
    bluelm_error err;
    char text[600];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 37);
    hostile_check(bluelm_begin_turn(engine, BLUELM_USER, &err), &err);
    if (image.width_px) hostile_check(bluelm_add_image(engine, &image, NULL, &err), &err);
    hostile_check(bluelm_add_text(engine, "what \xE6\x97\xA5 <s>?", 12, &err), &err);
    hostile_check(bluelm_add_markup(engine, "</s>[|AI|]:<img>a", 17, &err), &err);
    hostile_check(bluelm_generate(engine, 0, &err), &err);
    for (uint32_t i = 0; i < job->max_steps; i++) {
        int more = bluelm_step(engine, &event, &err);
        if (!hostile_check(more, &err) || !more) break;
        if (event.type != BLUELM_EVENT_TOKEN) continue;
        tiny_must(event.token >= 0 && (uint32_t)event.token < n_vocab, "not a token");
        hostile_check(bluelm_detokenize(engine, event.token, text, sizeof text, &err), &err);
    }
    bluelm_reset(engine);
}

/* The mmproj goes and comes back elsewhere, and a picture is looked at from there. */
static void hostile_move(const hostile_job *job, bluelm *engine, uint32_t n_vocab)
{
    const bluelm_weights *w = &job->weights;
    bluelm_error err;
    hostile_job again = *job;
    if (!hostile_check(bluelm_vision_release(engine, &err), &err)) return;
    uint8_t *copy = malloc(w->mmproj_bytes);
    tiny_must(copy != NULL, "no memory");
    memcpy(copy, w->mmproj, w->mmproj_bytes);
    tiny_must(bluelm_vision_attach(engine, copy, w->mmproj_bytes - 1, &err) < 0,
              "a shorter file is attached");
    copy[0] ^= 1;
    tiny_must(bluelm_vision_attach(engine, copy, w->mmproj_bytes, &err) < 0,
              "another file is attached");
    copy[0] ^= 1;
    tiny_must(bluelm_vision_attach(engine, copy, w->mmproj_bytes, &err) == 0,
              "the same file is not attached");
    again.max_steps = 8;
    hostile_ask(&again, engine, n_vocab);
    free(copy);
}

int hostile_run(const hostile_job *job)
{
    bluelm_memory need;
    bluelm_info info;
    bluelm_error err;
    bluelm_tile_grid grid;
    bluelm *engine;
    int planned = bluelm_plan(&job->weights, &job->config, &need, &err);
    hostile_check(planned, &err);
    if (!job->max_steps) return planned;
    int described = bluelm_describe(&job->weights, &info, &err);
    hostile_check(described, &err);
    if (job->weights.mmproj)
        hostile_check(bluelm_tile_plan(&job->weights, &job->config, 640, 480, &grid, &err),
                      &err);
    if (planned < 0 || need.total_bytes > MOST_BYTES) return planned;
    tiny_must(described >= 0, "planned, but not to be described");
    void *arena = malloc((size_t)need.total_bytes);
    tiny_must(arena != NULL, "no memory");
    int made = bluelm_init(&engine, arena, (size_t)need.total_bytes, &job->weights,
                           &job->config, NULL, &err);
    /* What is planned can be built, but for what only the index itself can tell. */
    tiny_must(made >= 0 || made == BLUELM_E_FORMAT, "planned, but not to be built");
    if (hostile_check(made, &err)) {
        hostile_check(bluelm_set_sampling(engine, &job->sampling, &err), &err);
        hostile_ask(job, engine, info.n_vocab);
        if (job->weights.mmproj && job->picture_width) hostile_move(job, engine, info.n_vocab);
    }
    free(arena);
    return planned;
}
