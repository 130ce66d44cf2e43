/* What must not matter: how many workers there are, how tiles are batched, how a prompt is
 * cut into chunks, which instructions are used, who else is computing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../ports/posix/posix.h"
#include "amx_emulator.h"
#include "engine_aid.h"
#include "file_aid.h"

#define JOB_TOKENS 12

typedef struct test_result {
    aid_answer answer;
    float logits[1024]; /* after the question's answer */
    uint32_t n_vocab;
} test_result;

/* Two pictures, a question, an answer, and the logits after it. Returns 0, or a line that
 * says what failed: it runs in threads of its own too. Whatever the port, it reports the same
 * features: AMX rounds otherwise than others. */
static const char *test_job(const aid_model *m, const bluelm_config *c, const bluelm_port *port,
                            const bluelm_image *images, test_result *r)
{
    static const char question[] = "what is this in the image?";
    bluelm_port same = port ? *port : (bluelm_port){0};
    same.cpu_features = amx_features(bluelm_posix_port(NULL).cpu_features);
    aid_engine e = aid_engine_make(m, c, &same);
    const char *wrong = NULL;
    if (bluelm_begin_turn(e.engine, BLUELM_USER, NULL) < 0) wrong = "begin_turn";
    for (uint32_t i = 0; i < 2 && !wrong; i++)
        if (bluelm_add_image(e.engine, &images[i], NULL, NULL) < 0) wrong = "add_image";
    if (!wrong && bluelm_add_text(e.engine, question, sizeof question - 1, NULL) < 0)
        wrong = "add_text";
    if (!wrong) {
        aid_ask(e.engine, JOB_TOKENS, &r->answer);
        aid_answer last;
        aid_run(e.engine, &last);
        const float *logits = bluelm_logits(e.engine, &r->n_vocab);
        if (r->answer.code < 0 || last.code < 0 || !logits) wrong = "step";
        if (logits && r->n_vocab <= 1024)
            memcpy(r->logits, logits, r->n_vocab * sizeof *logits);
    }
    aid_engine_free(&e);
    return wrong;
}

static void test_run(const aid_model *m, const bluelm_config *c, const bluelm_port *port,
                     const bluelm_image *images, test_result *r)
{
    const char *wrong = test_job(m, c, port, images, r);
    if (wrong) fail_msg("%s", wrong);
}

static void test_same(const test_result *a, const test_result *b)
{
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_true(aid_same(&a->answer, &b->answer));
    assert_memory_equal(a->logits, b->logits, a->n_vocab * sizeof *a->logits);
}

typedef struct test_scene {
    aid_model model;
    bluelm_config config;
    bluelm_image images[2];
} test_scene;

/* A model whose matrices are all of one type, and two pictures. */
static test_scene test_scene_make(uint32_t type)
{
    test_scene s;
    memset(&s, 0, sizeof s);
    tiny_llm_config llm = tiny_llm_default();
    tiny_vision_config vision = tiny_vision_default();
    llm.embd_type = llm.attn_type = llm.ffn_type = llm.down_type = llm.output_type = type;
    vision.type = vision.down_type = type;
    vision.n_ff = 100; /* no multiple of anything */
    s.model = aid_model_make(&llm, &vision);
    s.config.max_image_width_px = 1024;
    s.images[0] = aid_picture(96, 48, 0, 1);
    s.images[1] = aid_picture(31, 77, 0, 2);
    return s;
}

static void test_scene_free(test_scene *s)
{
    aid_model_free(&s->model);
    for (uint32_t i = 0; i < 2; i++)
        free((void *)(uintptr_t)s->images[i].rgb);
}

/* ---- Workers ------------------------------------------------------------------------- */

static void test_workers(test_scene *s, uint32_t threads)
{
    static test_result one, many;
    static const uint32_t counts[] = {2, 3, 5, 64};
    s->config.workers = 1;
    test_run(&s->model, &s->config, NULL, s->images, &one);
    bluelm_posix_pool *pool = bluelm_posix_pool_start(threads);
    assert_non_null(pool);
    bluelm_port port = bluelm_posix_port(pool);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        s->config.workers = counts[i];
        test_run(&s->model, &s->config, &port, s->images, &many);
        test_same(&one, &many);
        test_run(&s->model, &s->config, NULL, s->images, &many); /* one after another */
        test_same(&one, &many);
    }
    bluelm_posix_pool_stop(pool);
}

static void result_does_not_depend_on_workers(void **state)
{
    (void)state;
    static const uint32_t types[] = {TINY_F32, TINY_Q8_0, TINY_Q4_0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        test_scene s = test_scene_make(types[i]);
        for (uint32_t threads = 1; threads < 4; threads++)
            test_workers(&s, threads);
        s.config.kv_type = BLUELM_KV_F16, s.config.activation_type = BLUELM_ACT_INT16;
        s.config.vision_activation_type = BLUELM_ACT_INT16;
        test_workers(&s, 2);
        s.config.cpu_mask = BLUELM_CPU_NONE;
        test_workers(&s, 2);
        test_scene_free(&s);
    }
}

/* Parts in the reverse order, and each by a port that is asked for more than it has. */
static void test_backwards(void *user, void (*fn)(void *arg, uint32_t part), void *arg,
                           uint32_t parts)
{
    ++*(uint32_t *)user;
    while (parts-- > 0)
        fn(arg, parts);
}

static void order_of_parts_does_not_matter(void **state)
{
    (void)state;
    static test_result forwards, backwards;
    test_scene s = test_scene_make(TINY_Q8_0);
    uint32_t calls = 0;
    bluelm_port port = {.user = &calls, .parallel_for = test_backwards};
    s.config.workers = 4;
    test_run(&s.model, &s.config, NULL, s.images, &forwards);
    test_run(&s.model, &s.config, &port, s.images, &backwards);
    assert_true(calls > 100);
    test_same(&forwards, &backwards);
    test_scene_free(&s);
}

/* ---- Batches and chunks ----------------------------------------------------------------- */

static void result_does_not_depend_on_tile_batches(void **state)
{
    (void)state;
    static test_result one, many;
    static const uint32_t batches[] = {2, 3, 4, 9, 64};
    test_scene s = test_scene_make(TINY_Q8_0);
    s.config.tiles_per_batch = 1;
    test_run(&s.model, &s.config, NULL, s.images, &one);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        s.config.tiles_per_batch = batches[i];
        test_run(&s.model, &s.config, NULL, s.images, &many);
        test_same(&one, &many);
    }
    test_scene_free(&s);
}

/* A port that does what is started only when it is asked to finish, and counts. */
typedef struct test_aside {
    void (*fn)(void *arg);
    void *arg;
    uint32_t started, finished;
} test_aside;

static void test_start(void *user, void (*fn)(void *arg), void *arg)
{
    test_aside *a = user;
    assert_int_equal(a->started, a->finished); /* one at a time */
    a->fn = fn;
    a->arg = arg;
    a->started++;
}

static void test_finish(void *user)
{
    test_aside *a = user;
    a->fn(a->arg);
    a->finished++;
}

static void tiles_embedded_ahead_change_no_bit(void **state)
{
    (void)state;
    static test_result plain, ahead;
    test_scene s = test_scene_make(TINY_Q8_0);
    test_aside aside = {0};
    bluelm_port counting = {.user = &aside, .start = test_start, .finish = test_finish};
    bluelm_posix_pool *pool = bluelm_posix_pool_start(2);
    bluelm_port port = bluelm_posix_port(pool);
    s.config.tiles_per_batch = 1;
    test_run(&s.model, &s.config, NULL, s.images, &plain);
    s.config.overlap_tiles = 1;
    test_run(&s.model, &s.config, &counting, s.images, &ahead);
    test_same(&plain, &ahead);
    assert_true(aside.started >= 2); /* every tile of a picture but its first */
    assert_int_equal(aside.started, aside.finished);
    s.config.workers = 2;
    test_run(&s.model, &s.config, &port, s.images, &ahead);
    test_same(&plain, &ahead);
    test_run(&s.model, &s.config, NULL, s.images, &ahead); /* nobody to do it beside */
    test_same(&plain, &ahead);
    bluelm_posix_pool_stop(pool);
    test_scene_free(&s);
}

static void reset_waits_for_tiles_embedded_ahead(void **state)
{
    (void)state;
    test_scene s = test_scene_make(TINY_Q8_0);
    test_aside aside = {0};
    bluelm_port counting = {.user = &aside, .start = test_start, .finish = test_finish};
    bluelm_event event;
    s.config.tiles_per_batch = s.config.overlap_tiles = 1;
    aid_engine e = aid_engine_make(&s.model, &s.config, &counting);
    assert_true(bluelm_add_image(e.engine, &s.images[0], NULL, NULL) > 1);
    assert_int_equal(bluelm_step(e.engine, &event, NULL), 1);
    assert_int_equal(aside.started, 1);
    assert_int_equal(aside.finished, 0);
    bluelm_reset(e.engine);
    assert_int_equal(aside.finished, 1);
    aid_engine_free(&e);
    test_scene_free(&s);
}

static void result_does_not_depend_on_chunks(void **state)
{
    (void)state;
    static test_result whole, parts;
    static const uint32_t chunks[] = {1, 7, 16, 63};
    static const uint32_t types[] = {TINY_F32, TINY_Q8_0, TINY_Q4_0};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        test_scene s = test_scene_make(types[t]);
        test_run(&s.model, &s.config, NULL, s.images, &whole);
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            s.config.chunk_tokens = chunks[i];
            test_run(&s.model, &s.config, NULL, s.images, &parts);
            test_same(&whole, &parts);
        }
        test_scene_free(&s);
    }
}

/* ---- Two engines ------------------------------------------------------------------------- */

typedef struct test_thread {
    const test_scene *scene;
    const bluelm_image *images;
    bluelm_port *port;
    test_result result, expected;
    const char *wrong;
} test_thread;

static void *test_thread_run(void *arg)
{
    test_thread *t = (test_thread *)arg;
    for (uint32_t i = 0; i < 8 && !t->wrong; i++) {
        t->wrong =
            test_job(&t->scene->model, &t->scene->config, t->port, t->images, &t->result);
        if (!t->wrong && (!aid_same(&t->result.answer, &t->expected.answer) ||
                          memcmp(t->result.logits, t->expected.logits,
                                 t->result.n_vocab * sizeof(float)) != 0))
            t->wrong = "another answer";
    }
    return NULL;
}

/* Each decodes its own JPEG and PNG. */
static void engines_in_two_threads_do_not_meet(void **state)
{
    (void)state;
    static test_thread threads[2];
    static const char *const names[2][2] = {
        {"fuzz/corpus/image/jpeg-444.jpg", "fuzz/corpus/image/png-2-8.png"},
        {"fuzz/corpus/image/jpeg-cmyk-progressive.jpg", "fuzz/corpus/image/jpeg-grey.jpg"}};
    tiny_file files[2][2];
    bluelm_image images[2][2];
    test_scene s = test_scene_make(TINY_Q8_0);
    pthread_t handles[2];
    bluelm_posix_pool *pool = bluelm_posix_pool_start(2);
    bluelm_port port = bluelm_posix_port(pool);
    s.config.max_image_width_px = 1000;
    s.config.workers = 2;
    memset(images, 0, sizeof images);
    for (uint32_t t = 0; t < 2; t++) {
        for (uint32_t i = 0; i < 2; i++) {
            files[t][i] = file_load(names[t][i]);
            images[t][i].encoded = files[t][i].data;
            images[t][i].encoded_bytes = files[t][i].bytes;
        }
        threads[t].scene = &s;
        threads[t].images = images[t];
        threads[t].port = t ? &port : NULL; /* a pool serves one engine at a time */
        test_run(&s.model, &s.config, NULL, images[t], &threads[t].expected);
    }
    assert_false(aid_same(&threads[0].expected.answer, &threads[1].expected.answer) &&
                 !memcmp(threads[0].expected.logits, threads[1].expected.logits,
                         sizeof threads[0].expected.logits));
    for (uint32_t t = 0; t < 2; t++)
        assert_int_equal(pthread_create(&handles[t], NULL, test_thread_run, &threads[t]), 0);
    for (uint32_t t = 0; t < 2; t++)
        assert_int_equal(pthread_join(handles[t], NULL), 0);
    for (uint32_t t = 0; t < 2; t++)
        if (threads[t].wrong) fail_msg("thread %u: %s", (unsigned)t, threads[t].wrong);
    bluelm_posix_pool_stop(pool);
    for (uint32_t t = 0; t < 2; t++)
        for (uint32_t i = 0; i < 2; i++)
            tiny_free(&files[t][i]);
    test_scene_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(result_does_not_depend_on_workers),
        cmocka_unit_test(order_of_parts_does_not_matter),
        cmocka_unit_test(result_does_not_depend_on_tile_batches),
        cmocka_unit_test(tiles_embedded_ahead_change_no_bit),
        cmocka_unit_test(reset_waits_for_tiles_embedded_ahead),
        cmocka_unit_test(result_does_not_depend_on_chunks),
        cmocka_unit_test(engines_in_two_threads_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
