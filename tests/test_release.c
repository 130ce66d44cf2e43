/* The mmproj goes while no picture needs it, and comes back at another address: not a byte of
 * it is read meanwhile, and every answer stays what it was. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../families/vision.h"
#include "engine_aid.h"

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

/* A copy of a file in pages of its own, which can be taken away. */
static void *test_pages(const tiny_file *file)
{
    void *pages =
        mmap(NULL, file->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    memcpy(pages, file->data, file->bytes);
    return pages;
}

/* ---- Engines --------------------------------------------------------------------------- */

typedef struct test_scene {
    aid_model model;
    bluelm_config config;
    bluelm_image images[2];
    void *pages; /* where the mmproj lies */
} test_scene;

/* vision: NULL for the default one. */
static void test_scene_begin(test_scene *s, const tiny_vision_config *vision)
{
    tiny_llm_config llm = tiny_llm_default();
    s->model = vision ? aid_model_make(&llm, vision) : aid_model_default();
    s->pages = test_pages(&s->model.mmproj);
    s->model.weights.mmproj = s->pages;
    s->config.context_tokens = 1000;
    s->config.max_image_width_px = 128;
    s->config.tiles_per_batch = 2;
    s->images[0] = aid_picture(96, 48, 0, 1);
    s->images[1] = aid_picture(31, 77, 0, 2);
}

static void test_scene_end(test_scene *s)
{
    munmap(s->pages, s->model.mmproj.bytes);
    aid_model_free(&s->model);
    for (uint32_t i = 0; i < 2; i++)
        free((void *)(uintptr_t)s->images[i].rgb);
}

static void test_hide(const test_scene *s)
{
    assert_int_equal(mprotect(s->pages, s->model.mmproj.bytes, PROT_NONE), 0);
}

/* The file comes back elsewhere; its old pages stay hidden till the end of the process. */
static void test_attach_elsewhere(test_scene *s, bluelm *engine)
{
    bluelm_error err;
    s->pages = test_pages(&s->model.mmproj);
    assert_int_equal(bluelm_vision_attach(engine, s->pages, s->model.mmproj.bytes, &err), 0);
}

/* A question about the pictures [first, end), up to where the encoder is done; whether it can
 * be released is asked after every step. */
static void test_encode(const test_scene *s, bluelm *engine, uint32_t first, uint32_t end)
{
    bluelm_error err;
    bluelm_event event;
    assert_int_equal(bluelm_begin_turn(engine, BLUELM_USER, NULL), 0);
    for (uint32_t i = first; i < end; i++)
        assert_true(bluelm_add_image(engine, &s->images[i], NULL, NULL) > 1);
    assert_int_equal(bluelm_add_text(engine, "what?", 5, NULL), 0);
    for (uint32_t waiting = end - first; waiting > 0;) {
        assert_int_equal(bluelm_vision_release(engine, &err), BLUELM_E_STATE);
        assert_string_equal(err.subject, "pictures that wait to be encoded");
        assert_int_equal(err.have, waiting);
        assert_int_equal(bluelm_step(engine, &event, NULL), 1);
        waiting -= event.type == BLUELM_EVENT_ENCODE && event.done == event.total;
    }
}

/* Two questions, the first about both pictures, the second about one. */
static void test_talk(test_scene *s, int release, aid_answer answers[2])
{
    aid_engine e = aid_engine_make(&s->model, &s->config, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        test_encode(s, e.engine, i, 2);
        if (release) assert_int_equal(bluelm_vision_release(e.engine, NULL), 0);
        if (release) test_hide(s);
        aid_ask(e.engine, 6, &answers[i]);
        assert_int_equal(answers[i].code, 0);
        if (release && i == 0) test_attach_elsewhere(s, e.engine);
    }
    aid_engine_free(&e);
}

static void test_pinpoints(tiny_writer *w, void *unused)
{
    (void)unused;
    tiny_key_array(w, "clip.vision.image_grid_pinpoints", TINY_KEY_I32, 8);
    for (uint32_t i = 0; i < 4; i++) {
        tiny_put_u32(&w->keys, 24 * (1 + i % 2));
        tiny_put_u32(&w->keys, 24 * (1 + i / 2));
    }
}

static void test_markup(tiny_writer *w, void *unused)
{
    (void)unused;
    tiny_key_string(w, "bluelm.image.begin", "<img>a");
    tiny_key_string(w, "bluelm.image.tile", "tile {row},{col}: ");
    tiny_key_string(w, "bluelm.image.end", "b</img>");
}

static void released_weights_are_not_read_and_answers_stay(void **state)
{
    (void)state;
    static aid_answer plain[2], released[2];
    static const tiny_extra extras[] = {NULL, test_markup, test_pinpoints};
    for (uint32_t i = 0; i < 6; i++) {
        tiny_vision_config vision = tiny_vision_default();
        test_scene s = {0};
        vision.extra = extras[i % 3];
        vision.type = i < 3 ? TINY_F32 : TINY_Q8_0;
        if (i % 3 == 2) s.config.tile_rule = BLUELM_TILES_LLAVA_NEXT;
        s.config.overlap_tiles = i % 2;
        s.config.workers = 1 + i % 2;
        test_scene_begin(&s, &vision);
        test_talk(&s, 0, plain);
        test_talk(&s, 1, released);
        assert_true(aid_same(&plain[0], &released[0]));
        assert_true(aid_same(&plain[1], &released[1]));
        test_scene_end(&s);
    }
}

static void test_expect(int code, const bluelm_error *err, int expected, const char *subject)
{
    assert_int_equal(code, expected);
    assert_int_equal(err->code, expected);
    assert_string_equal(err->subject, subject);
}

static void picture_for_a_released_encoder_is_refused(void **state)
{
    (void)state;
    static aid_answer answer;
    test_scene s = {0};
    float floats[4096];
    bluelm_error err;
    bluelm_tile_grid grid;
    test_scene_begin(&s, NULL);
    aid_engine e = aid_engine_make(&s.model, &s.config, NULL);
    assert_int_equal(bluelm_vision_release(e.engine, NULL), 0); /* before any picture, too */
    assert_int_equal(bluelm_vision_release(e.engine, NULL), 0); /* twice is once */
    test_hide(&s);
    bluelm_reset(e.engine);
    test_expect(bluelm_add_image(e.engine, &s.images[0], &grid, &err), &err, BLUELM_E_STATE,
                "vision encoder is released");
    test_expect((int)bluelm_embed_image(e.engine, &s.images[0], floats, 4096, &err), &err,
                BLUELM_E_STATE, "vision encoder is released");
    memset(floats, 0, sizeof floats); /* but pictures encoded elsewhere are taken */
    assert_int_equal(bluelm_add_image_rows(e.engine, floats, 2, 2, &err), 0);
    assert_int_equal(bluelm_vision_release(e.engine, &err), 0);
    aid_ask(e.engine, 3, &answer);
    assert_int_equal(answer.code, 0);
    test_attach_elsewhere(&s, e.engine);
    assert_true(bluelm_embed_image(e.engine, &s.images[0], floats, 4096, &err) > 0);
    assert_true(bluelm_add_image(e.engine, &s.images[0], &grid, &err) > 0);
    aid_engine_free(&e);
    test_scene_end(&s);
}

static void embedding_under_way_keeps_the_encoder(void **state)
{
    (void)state;
    test_scene s = {0};
    float floats[4096];
    bluelm_error err;
    bluelm_event event;
    test_scene_begin(&s, NULL);
    aid_engine e = aid_engine_make(&s.model, &s.config, NULL);
    assert_int_equal(bluelm_embed_begin(e.engine, &s.images[0], &err), 0);
    do
        test_expect(bluelm_vision_release(e.engine, &err), &err, BLUELM_E_STATE,
                    "pictures that wait to be encoded");
    while (bluelm_step(e.engine, &event, &err) > 0 && event.done < event.total);
    assert_int_equal(bluelm_vision_release(e.engine, &err), 0);
    test_hide(&s);
    assert_true(bluelm_embed_rows(e.engine, floats, 4096, &err) > 0);
    aid_engine_free(&e);
    test_scene_end(&s);
}

static void only_the_same_file_is_attached(void **state)
{
    (void)state;
    test_scene s = {0};
    bluelm_error err;
    test_scene_begin(&s, NULL);
    aid_engine e = aid_engine_make(&s.model, &s.config, NULL);
    const size_t bytes = s.model.mmproj.bytes;
    uint8_t *file = malloc(bytes);
    assert_non_null(file);
    memcpy(file, s.model.mmproj.data, bytes);
    test_expect(bluelm_vision_attach(e.engine, file, bytes, &err), &err, BLUELM_E_STATE,
                "vision encoder: it is not released");
    assert_int_equal(bluelm_vision_release(e.engine, NULL), 0);
    test_hide(&s);
    test_expect(bluelm_vision_attach(e.engine, NULL, bytes, &err), &err, BLUELM_E_ARG,
                "mmproj");
    for (size_t have = 0; have < bytes; have += bytes - 1) {
        test_expect(bluelm_vision_attach(e.engine, file, have, &err), &err, BLUELM_E_FORMAT,
                    "mmproj: not the file it was: bytes");
        assert_int_equal(err.need, bytes);
        assert_int_equal(err.have, have);
    }
    for (size_t at = 0; at < 400; at++) { /* of the header: magic, counts, keys */
        file[at] ^= 1;
        test_expect(bluelm_vision_attach(e.engine, file, bytes, &err), &err, BLUELM_E_FORMAT,
                    "mmproj: not the file it was: header");
        file[at] ^= 1;
    }
    assert_int_equal(bluelm_add_image(e.engine, &s.images[0], NULL, &err), BLUELM_E_STATE);
    assert_int_equal(bluelm_vision_attach(e.engine, file, bytes, &err), 0);
    assert_true(bluelm_add_image(e.engine, &s.images[0], NULL, &err) > 0);
    aid_engine_free(&e);
    free(file);
    test_scene_end(&s);

    aid_model text = aid_model_default();
    text.weights.mmproj = NULL, text.weights.mmproj_bytes = 0;
    e = aid_engine_make(&text, NULL, NULL);
    assert_int_equal(bluelm_vision_release(e.engine, &err), BLUELM_E_STATE);
    assert_int_equal(bluelm_vision_attach(e.engine, "", 0, &err), BLUELM_E_STATE);
    aid_engine_free(&e);
    aid_model_free(&text);
}

/* ---- Towers ------------------------------------------------------------------------------ */

/* Words of a struct that point into a file. */
static uint32_t test_pointers(const void *at, size_t bytes, const tiny_file *file)
{
    uint32_t count = 0;
    for (size_t i = 0; i + sizeof(uintptr_t) <= bytes; i += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, (const uint8_t *)at + i, sizeof word);
        count += word - (uintptr_t)file->data < file->bytes;
    }
    return count;
}

static uint32_t test_model_pointers(const blm_vision *m, const tiny_file *file)
{
    return test_pointers(m, sizeof *m, file) +
           test_pointers(m->layers, m->n_layer * sizeof *m->layers, file) +
           test_pointers(m->deepstack, m->deepstack_count * sizeof *m->deepstack, file);
}

static void test_move(const tiny_vision_config *config)
{
    tiny_file file = tiny_mmproj(config), other = {malloc(file.bytes), file.bytes};
    static uint64_t memory[1 << 15];
    blm_arena arena;
    blm_gguf g;
    blm_vision m;
    memset(memory, 0, sizeof memory);
    memset(&m, 0, sizeof m);
    assert_non_null(other.data);
    blm_arena_start(&arena, memory, sizeof memory);
    assert_int_equal(blm_gguf_open(&g, file.data, file.bytes, "mmproj", NULL), 0);
    assert_int_equal(blm_vision_open(&m, &g, 0, &arena, NULL), 0);
    uint32_t before = test_model_pointers(&m, &file);
    const uint8_t *patches = m.patch_embd.data;
    assert_true(before > 16 * config->n_layer - 16);
    blm_vision_move(&m, file.data, other.data);
    assert_int_equal(test_model_pointers(&m, &file), 0);
    assert_int_equal(test_model_pointers(&m, &other), before);
    assert_int_equal(m.patch_embd.data - other.data, patches - file.data);
    blm_arena_release(&arena);
    tiny_free(&file);
    free(other.data);
}

static void no_pointer_of_any_tower_is_left_behind(void **state)
{
    (void)state;
    for (uint32_t projector = 0; projector < TINY_PROJECTORS; projector++)
        for (uint32_t way = 0; way < 3; way++) {
            tiny_vision_config c = tiny_vision_default();
            c.projector = (tiny_projector)projector;
            c.n_head = 4;
            c.n_layer = 3;
            if (projector == TINY_MINICPMV46) c.image_px = 32;
            if (projector == TINY_GEMMA3) c.merge = 3;
            if (projector == TINY_QWEN3VL) c.deepstack = 5;
            if (projector == TINY_MLP) c.clip = way == 1;
            if (projector < TINY_QWEN2VL) c.fused = way == 2;
            test_move(&c);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(released_weights_are_not_read_and_answers_stay),
        cmocka_unit_test(picture_for_a_released_encoder_is_refused),
        cmocka_unit_test(embedding_under_way_keeps_the_encoder),
        cmocka_unit_test(only_the_same_file_is_attached),
        cmocka_unit_test(no_pointer_of_any_tower_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
