/* The ends of an engine's life: files that change while it is built, and the arena that goes
 * back to its owner, wiped on request. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/engine.h"
#include "engine_aid.h"

/* ---- Files that change ------------------------------------------------------------------- */

/* Plans one model and builds another in the arena of the first, which is as large as given. */
static int test_build(const aid_model *planned, const aid_model *found, uint64_t extra)
{
    bluelm_config config = {.context_tokens = 64, .max_image_width_px = 1024};
    bluelm_memory need;
    bluelm_error err;
    bluelm *engine = NULL;
    assert_int_equal(bluelm_plan(&planned->weights, &config, &need, &err), 0);
    size_t bytes = (size_t)(need.total_bytes + extra);
    void *arena = malloc(bytes);
    assert_non_null(arena);
    int code = blm_engine_build(&engine, arena, bytes, need.total_bytes, &found->weights,
                                &config, NULL, &err);
    if (code < 0) {
        assert_int_equal(err.code, code);
        assert_null(engine);
        memset(arena, 1, bytes); /* no poison is left */
    } else {
        bluelm_close(engine, 0);
    }
    free(arena);
    return code;
}

static void file_that_changes_while_the_engine_is_built_is_refused(void **state)
{
    (void)state;
    tiny_llm_config llm = tiny_llm_default();
    aid_model first = aid_model_default();
    assert_int_equal(test_build(&first, &first, 0), BLUELM_OK);
    for (uint32_t way = 0; way < 6; way++) {
        tiny_llm_config other = llm;
        tiny_vision_config vision = tiny_vision_default();
        if (way == 0) other.n_vocab += 1000;
        if (way == 1) other.n_layer += 1;
        if (way == 2) other.n_layer -= 1;
        if (way == 3) other.byte_bpe = 1;
        if (way == 4) other.n_ff += 1024;
        if (way == 5) vision.n_layer += 1;
        aid_model second = aid_model_make(&other, &vision);
        assert_int_equal(test_build(&first, &second, 0), BLUELM_E_FORMAT);
        assert_int_equal(test_build(&first, &second, 1 << 20), BLUELM_E_FORMAT);
        assert_int_equal(test_build(&second, &first, 0), BLUELM_E_FORMAT);
        aid_model_free(&second);
    }
    aid_model_free(&first);
}

/* ---- The arena goes back ------------------------------------------------------------------- */

static const char test_secret[] = "a word that nobody else may read";

static int test_holds(const uint8_t *arena, size_t bytes, const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i + length <= bytes; i++)
        if (memcmp(arena + i, text, length) == 0) return 1;
    return 0;
}

/* An engine in a block of zeros, that has read the secret and a picture. */
static bluelm *test_used(const aid_model *m, uint8_t **arena, size_t *bytes)
{
    bluelm_config config = {.context_tokens = 200, .max_image_width_px = 1024};
    bluelm_memory need;
    bluelm *engine;
    aid_answer answer;
    assert_int_equal(bluelm_plan(&m->weights, &config, &need, NULL), 0);
    *bytes = (size_t)need.total_bytes;
    *arena = calloc(1, *bytes);
    assert_non_null(*arena);
    assert_int_equal(bluelm_init(&engine, *arena, *bytes, &m->weights, &config, NULL, NULL), 0);
    bluelm_image picture = aid_picture(30, 20, 0, 1);
    assert_int_equal(bluelm_begin_turn(engine, BLUELM_USER, NULL), 0);
    assert_true(bluelm_add_image(engine, &picture, NULL, NULL) > 0);
    assert_int_equal(bluelm_add_text(engine, test_secret, strlen(test_secret), NULL), 0);
    aid_ask(engine, 4, &answer);
    assert_int_equal(answer.code, 0);
    free((void *)(uintptr_t)picture.rgb);
    return engine;
}

/* AddressSanitizer reports a touch of what an engine leaves free, but not once it is closed. */
static void arena_is_the_callers_again(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    uint8_t *arena;
    size_t bytes;
    bluelm *engine = test_used(&m, &arena, &bytes);
    bluelm_reset(engine);
    bluelm_close(engine, 0);
    assert_true(test_holds(arena, bytes, "nobody"));
    memset(arena, 0xA5, bytes);
    bluelm_close(NULL, 0);
    bluelm_close(NULL, 1);
    free(arena);
    aid_model_free(&m);
}

static void wiped_arena_holds_nothing(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    uint8_t *arena;
    size_t bytes;
    bluelm *engine = test_used(&m, &arena, &bytes);
    bluelm_close(engine, 1);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(arena[i], 0);
    free(arena);
    aid_model_free(&m);
}

/* ---- Work that the port was given ------------------------------------------------------------ */

/* A port that does what it is given when it must: the arena has to be there then. */
typedef struct test_later {
    void (*fn)(void *arg);
    void *arg;
} test_later;

static void test_start(void *user, void (*fn)(void *arg), void *arg)
{
    test_later *later = (test_later *)user;
    assert_null(later->fn);
    later->fn = fn;
    later->arg = arg;
}

static void test_finish(void *user)
{
    test_later *later = (test_later *)user;
    assert_non_null(later->fn);
    later->fn(later->arg);
    later->fn = NULL;
}

static void closing_waits_for_what_was_started(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    test_later later = {NULL, NULL};
    bluelm_port port = {.user = &later, .start = test_start, .finish = test_finish};
    bluelm_config config = {.context_tokens = 400,
                            .overlap_tiles = 1,
                            .tiles_per_batch = 1,
                            .max_image_width_px = 1024};
    bluelm_event event;
    uint32_t caught = 0;
    for (uint32_t steps = 1; steps < 8; steps++) {
        aid_engine e = aid_engine_make(&m, &config, &port);
        bluelm_image picture = aid_picture(100, 70, 0, 1);
        assert_true(bluelm_add_image(e.engine, &picture, NULL, NULL) > 1);
        for (uint32_t i = 0; i < steps; i++)
            assert_int_equal(bluelm_step(e.engine, &event, NULL), 1);
        caught += later.fn != NULL;
        bluelm_close(e.engine, (int)(steps % 2));
        assert_null(later.fn);
        free(e.arena);
        free((void *)(uintptr_t)picture.rgb);
    }
    assert_true(caught > 0);
    aid_model_free(&m);
}

/* ---- Warnings ----------------------------------------------------------------------------- */

typedef struct test_log {
    uint32_t count;
    char text[160]; /* of the last */
} test_log;

static void test_write_down(void *user, const bluelm_error *warning)
{
    test_log *log = user;
    log->count++;
    bluelm_error_text(warning, log->text, sizeof log->text);
}

static void test_unknown_template(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_string(w, "tokenizer.chat_template", "{{ nobody knows this }}");
}

static void context_beyond_training_is_told_once(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    test_log log = {0, ""};
    const bluelm_port port = {.user = &log, .log = test_write_down};
    bluelm_config config = {.context_tokens = 256, .max_image_width_px = 64};
    aid_engine e = aid_engine_make(&m, &config, &port); /* as trained */
    aid_engine_free(&e);
    assert_int_equal(log.count, 0);
    config.context_tokens = 257;
    e = aid_engine_make(&m, &config, &port);
    aid_engine_free(&e);
    assert_int_equal(log.count, 1);
    assert_non_null(strstr(log.text, "257 is above the limit 256"));
    aid_model_free(&m);
}

static void unknown_template_is_told_unless_one_is_chosen(void **state)
{
    (void)state;
    tiny_llm_config llm = tiny_llm_default();
    llm.no_template = 1;
    llm.extra = test_unknown_template;
    aid_model m = aid_model_make(&llm, NULL);
    test_log log = {0, ""};
    const bluelm_port port = {.user = &log, .log = test_write_down};
    bluelm_config config = {.context_tokens = 64};
    aid_engine e = aid_engine_make(&m, &config, &port);
    aid_engine_free(&e);
    assert_int_equal(log.count, 1);
    assert_non_null(strstr(log.text, "tokenizer.chat_template"));
    config.chat_template = "none";
    e = aid_engine_make(&m, &config, &port);
    aid_engine_free(&e);
    assert_int_equal(log.count, 1);
    aid_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_that_changes_while_the_engine_is_built_is_refused),
        cmocka_unit_test(arena_is_the_callers_again),
        cmocka_unit_test(wiped_arena_holds_nothing),
        cmocka_unit_test(closing_waits_for_what_was_started),
        cmocka_unit_test(context_beyond_training_is_told_once),
        cmocka_unit_test(unknown_template_is_told_unless_one_is_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
