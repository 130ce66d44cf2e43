/* Pictures in a conversation: queued, encoded and read in their places, in every form that a
 * caller may have them in, and refused when they are broken. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_check.h"
#include "file_aid.h"

static void seventeenth_picture_is_refused_and_nothing_lost(void **state)
{
    (void)state;
    static aid_answer with, without;
    bluelm_config c = test_config();
    bluelm_error err;
    bluelm_image images[BLM_MAX_QUEUED_IMAGES];
    aid_engine e = aid_engine_default(&c);
    for (uint32_t i = 0; i < BLM_MAX_QUEUED_IMAGES; i++)
        images[i] = aid_picture(20 + i, 20, 0, i);
    for (int refuse = 0; refuse < 2; refuse++) {
        bluelm_reset(e.engine);
        assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
        for (uint32_t i = 0; i < BLM_MAX_QUEUED_IMAGES; i++)
            test_image(e.engine, &images[i]);
        if (refuse) {
            test_error(bluelm_add_image(e.engine, &images[0], NULL, &err), BLUELM_E_STATE, &err,
                       "pictures");
            assert_int_equal(bluelm_add_image(e.engine, &images[0], NULL, NULL),
                             BLUELM_E_STATE);
        }
        test_text(e.engine, question);
        aid_ask(e.engine, 6, refuse ? &with : &without);
    }
    assert_true(aid_same(&with, &without));
    assert_int_equal(with.encode_steps, BLM_MAX_QUEUED_IMAGES * 2);
    /* The queue is free again. */
    test_turn(e.engine, "the cat");
    test_image(e.engine, &images[0]);
    aid_ask(e.engine, 2, &with);
    for (uint32_t i = 0; i < BLM_MAX_QUEUED_IMAGES; i++)
        test_drop(&images[i]);
    aid_engine_free(&e);
}

/* The order of pictures matters, so their tokens are not taken for one another's. */
static void pictures_in_another_order_give_other_logits(void **state)
{
    (void)state;
    static aid_answer a;
    bluelm_config c = test_config();
    bluelm_image x = aid_picture(96, 48, 0, 1), y = aid_picture(48, 96, 0, 2);
    aid_engine e = aid_engine_default(&c), f = aid_engine_make(&e.model, &c, NULL);
    const bluelm_image *orders[2][2] = {{&x, &y}, {&y, &x}};
    bluelm *engines[] = {e.engine, f.engine};
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(bluelm_begin_turn(engines[i], BLUELM_USER, NULL), 0);
        test_image(engines[i], orders[i][0]);
        test_image(engines[i], orders[i][1]);
        aid_run(engines[i], &a);
    }
    uint32_t n;
    const float *p = bluelm_logits(e.engine, &n), *q = bluelm_logits(f.engine, &n);
    assert_int_not_equal(memcmp(p, q, n * sizeof *p), 0);
    aid_engine_free(&f);
    aid_engine_free(&e);
    test_drop(&x);
    test_drop(&y);
}

/* Steps until the picture is encoded, and clears one of its tokens. */
static void test_clear_token(bluelm *e, const bluelm_image *image, uint32_t token)
{
    bluelm_event event;
    bluelm_reset(e);
    assert_int_equal(bluelm_begin_turn(e, BLUELM_USER, NULL), 0);
    test_image(e, image);
    do
        assert_int_equal(bluelm_step(e, &event, NULL), 1);
    while (event.type != BLUELM_EVENT_ENCODE || event.done < event.total);
    memset(e->image_tokens + (size_t)token * e->language.n_embd, 0,
           e->language.n_embd * sizeof *e->image_tokens);
}

static void every_image_token_is_read_once_in_its_place(void **state)
{
    (void)state;
    static aid_answer a;
    static float logits[13][384];
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(48, 24, 0, 6);
    uint32_t n;
    aid_engine e = aid_engine_default(&c);
    assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
    assert_int_equal(bluelm_add_image(e.engine, &image, NULL, NULL), 3); /* 12 tokens */
    aid_run(e.engine, &a);
    memcpy(logits[12], bluelm_logits(e.engine, &n), sizeof logits[12]);
    for (uint32_t i = 0; i < 12; i++) {
        test_clear_token(e.engine, &image, i);
        aid_run(e.engine, &a);
        memcpy(logits[i], bluelm_logits(e.engine, &n), sizeof logits[i]);
        assert_int_equal(n, 384);
    }
    for (uint32_t i = 0; i < 13; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(memcmp(logits[i], logits[k], sizeof logits[i]), 0);
    aid_engine_free(&e);
    test_drop(&image);
}

/* What the header promises: a picture may go once its ENCODE event is complete. */
static void picture_may_be_freed_once_it_is_encoded(void **state)
{
    (void)state;
    static aid_answer kept;
    bluelm_config c = test_config();
    bluelm_image images[2];
    bluelm_event event;
    aid_engine e = aid_engine_default(&c);
    for (int drop = 0; drop < 2; drop++) {
        uint32_t head = 0, made = 0;
        images[0] = aid_picture(96, 48, 0, 1);
        images[1] = aid_picture(48, 96, 0, 2);
        bluelm_reset(e.engine);
        assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
        test_image(e.engine, &images[0]);
        test_image(e.engine, &images[1]);
        test_text(e.engine, question);
        if (!drop) {
            aid_ask(e.engine, 10, &kept);
            test_drop(&images[0]);
            test_drop(&images[1]);
            continue;
        }
        assert_int_equal(bluelm_generate(e.engine, 10, NULL), 0);
        while (bluelm_step(e.engine, &event, NULL) > 0) {
            if (event.type == BLUELM_EVENT_ENCODE && event.done == event.total) {
                bluelm_image *done = &images[head++];
                memset((void *)(uintptr_t)done->rgb, 0, 3 * 96 * 48);
                test_drop(done);
            }
            if (event.type == BLUELM_EVENT_TOKEN)
                assert_int_equal(event.token, kept.tokens[made++]);
        }
        assert_int_equal(head, 2);
        assert_int_equal(made, kept.count);
    }
    aid_engine_free(&e);
}

/* A million pixels a step; every event tells how many there will be (aid_run checks that), and
 * the last one that reads also runs the first layer. */
static void large_picture_is_read_in_several_steps(void **state)
{
    (void)state;
    static aid_answer small, large;
    bluelm_config c = test_config();
    c.max_image_width_px = 2048, c.max_tiles = 1;
    bluelm_image few = aid_picture(100, 50, 0, 1), many = aid_picture(2048, 1100, 0, 2);
    aid_engine e = aid_engine_default(&c);
    test_job(e.engine, &few, &small);
    test_job(e.engine, &many, &large);
    assert_int_equal(large.encode_steps, small.encode_steps + 2);
    aid_engine_free(&e);
    test_drop(&few);
    test_drop(&many);
}

/* The rows of an encoded picture, in memory that the decoder uses too. */
static bluelm_image test_decode(const bluelm_image *image, uint8_t *memory, size_t bytes)
{
    blm_image_decoder d;
    bluelm_image out = {.rgb = memory};
    size_t half = bytes / 2;
    assert_int_equal(blm_image_begin(&d, image->encoded, image->encoded_bytes, NULL,
                                     memory + half, bytes - half, NULL),
                     0);
    out.width_px = d.facts.stored_width_px, out.height_px = d.facts.stored_height_px;
    out.stride_bytes = 3 * (size_t)out.width_px;
    assert_true(out.stride_bytes * out.height_px <= half);
    for (uint32_t y = 0; y < out.height_px; y++)
        assert_int_equal(blm_image_row(&d, memory + y * out.stride_bytes, NULL), 0);
    return out;
}

/* Decodes a sample and asks with its file, its rows, and its rows with a stride. */
static void test_forms(const char *name)
{
    static aid_answer encoded, rows, strided;
    char path[200];
    snprintf(path, sizeof path, "fuzz/corpus/image/%s", name);
    tiny_file file = file_load(path);
    bluelm_config c = {0};
    c.max_image_width_px = 1000;
    aid_engine e = aid_engine_default(&c), f = aid_engine_make(&e.model, &c, NULL);
    aid_engine g = aid_engine_make(&e.model, &c, NULL);
    static uint8_t memory[1 << 20];
    bluelm_image image = {.encoded = file.data, .encoded_bytes = file.bytes};
    bluelm_image tight = test_decode(&image, memory, sizeof memory);
    size_t row = 3 * (size_t)tight.width_px, stride = row + 7;
    uint8_t *wide = malloc(stride * tight.height_px);
    assert_non_null(wide);
    memset(wide, 0x77, stride * tight.height_px);
    for (uint32_t y = 0; y < tight.height_px; y++)
        memcpy(wide + y * stride, tight.rgb + y * row, row);
    bluelm_image loose = tight;
    tight.stride_bytes = 0;
    loose.rgb = wide, loose.stride_bytes = stride;
    test_job(e.engine, &image, &encoded);
    test_job(f.engine, &tight, &rows);
    test_job(g.engine, &loose, &strided);
    assert_true(aid_same(&encoded, &rows));
    assert_true(aid_same(&encoded, &strided));
    aid_run(e.engine, &encoded);
    aid_run(f.engine, &rows);
    aid_run(g.engine, &strided);
    test_same_logits(e.engine, f.engine);
    test_same_logits(e.engine, g.engine);
    free(wide);
    aid_engine_free(&f);
    aid_engine_free(&g);
    aid_engine_free(&e);
    tiny_free(&file);
}

static void encoded_picture_equals_its_rows(void **state)
{
    (void)state;
    test_forms("png-2-8.png");
    test_forms("png-6-16-interlaced.png");
    test_forms("jpeg-444.jpg");
    test_forms("jpeg-420-progressive.jpg");
}

static void grid_is_capped_by_the_context(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_image image = aid_picture(96, 96, 0, 1);
    bluelm_tile_grid planned, chosen;
    uint32_t last = 0;
    for (c.context_tokens = 24; c.context_tokens < 160; c.context_tokens += 8) {
        aid_engine e = aid_engine_make(&m, &c, NULL);
        assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
        int tiles = bluelm_add_image(e.engine, &image, &chosen, NULL);
        assert_true(tiles >= (int)last);
        assert_int_equal(tiles, chosen.tiles);
        assert_int_equal(chosen.tokens, 4 * chosen.tiles);
        assert_true(chosen.tokens < c.context_tokens);
        assert_true(bluelm_tile_plan(&m.weights, &c, 96, 96, &planned, NULL) >= tiles);
        last = chosen.tiles;
        aid_engine_free(&e);
    }
    assert_int_equal(last, 17); /* 4 x 4 and the thumbnail */
    aid_model_free(&m);
    test_drop(&image);
}

/* Ids of what is queued, a letter each: i of a picture, b, e and on of markers, / and digits of
 * bytes, . of any other. */
static void test_letters(bluelm *e, char *out)
{
    int32_t ids[64];
    int64_t count = bluelm_context_ids(e, ids, 64);
    static const char marks[] = "bexyzw";
    assert_true(count > 0 && count < 64);
    for (int64_t i = 0; i < count; i++)
        out[i] = ids[i] < 0                       ? 'i'
                 : ids[i] == '\n'                 ? '/'
                 : ids[i] >= '0' && ids[i] <= '9' ? (char)ids[i]
                 : ids[i] >= TINY_BPE_MARKERS && ids[i] < TINY_BPE_MARKERS + 6
                     ? marks[ids[i] - TINY_BPE_MARKERS]
                     : '.';
    out[count] = 0;
}

/* Pixtral's rows of tokens have a token between them and another behind the last, where the
 * vocabulary has them; the engine reads them all. */
static void rows_of_a_picture_end_in_their_token(void **state)
{
    (void)state;
    static const char *const with[] = {"[IMG_BREAK]", "[IMG_END]", NULL}, *const none[] = {
                                                                              NULL};
    for (int i = 0; i < 3; i++) {
        tiny_llm_config llm = tiny_llm_default();
        tiny_vision_config vision = tiny_vision_default();
        bluelm_config c = {.context_tokens = 64, .chat_template = "chatml", .chunk_tokens = 4};
        bluelm_image image = aid_picture(40, 56, 0, 1); /* 3 x 4 tokens of 16 px */
        bluelm_tile_grid grid;
        char letters[64];
        llm.byte_bpe = 1, llm.no_template = 1, llm.markers = i ? with : none;
        vision.projector = i == 2 ? TINY_LIGHTONOCR : TINY_PIXTRAL;
        vision.image_px = 64;
        aid_model m = aid_model_make(&llm, &vision);
        aid_engine e = aid_engine_make(&m, &c, NULL);
        assert_int_equal(bluelm_add_image(e.engine, &image, &grid, NULL), 1);
        assert_int_equal(grid.tokens, 12);
        test_letters(e.engine, letters);
        assert_string_equal(letters, i == 1 ? "iiibiiibiiibiiie" : "iiiiiiiiiiii");
        static aid_answer answer;
        aid_ask(e.engine, 3, &answer);
        assert_int_equal(answer.code, 0);
        assert_true(answer.count > 0);
        aid_engine_free(&e);
        aid_model_free(&m);
        test_drop(&image);
    }
}

/* MiniCPM-V's pictures are counted from 0, also after going back; the whole of one comes before
 * its slices, whose rows have a line break between them. */
static void pictures_are_numbered_and_rows_of_slices_broken(void **state)
{
    (void)state;
    static const char *const marks[] = {"<image>",    "</image>",    "<slice>", "</slice>",
                                        "<image_id>", "</image_id>", NULL};
    tiny_llm_config llm = tiny_llm_default();
    tiny_vision_config vision = tiny_vision_default();
    bluelm_config c = {.context_tokens = 64, .chunk_tokens = 4, .chat_template = "none"};
    bluelm_image small = aid_picture(20, 15, 0, 1), large = aid_picture(48, 48, 0, 2);
    bluelm_tile_grid grid;
    char letters[64];
    llm.byte_bpe = 1, llm.no_template = 1, llm.markers = marks;
    vision.projector = TINY_RESAMPLER, vision.queries = 2;
    aid_model m = aid_model_make(&llm, &vision);
    aid_engine e = aid_engine_make(&m, &c, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bluelm_add_image(e.engine, &small, &grid, NULL), 1);
        assert_int_equal(grid.tile_width_px, 24); /* of 24 px, in multiples of 8 */
        assert_int_equal(grid.tile_height_px, 16);
        test_letters(e.engine, letters);
        assert_string_equal(letters, "z0wbiie");
        assert_int_equal(bluelm_mark(e.engine, 0, NULL), 0);
        assert_int_equal(bluelm_add_image(e.engine, &large, &grid, NULL), 5);
        assert_int_equal(grid.tokens, 10);
        test_letters(e.engine, letters);
        assert_string_equal(letters, "z0wbiiez1wbiiexiiyxiiy/xiiyxiiy");
        assert_int_equal(bluelm_rewind(e.engine, 0, NULL), 0);
        assert_int_equal(bluelm_add_image(e.engine, &small, NULL, NULL), 1);
        test_letters(e.engine, letters);
        assert_string_equal(letters, "z0wbiiez1wbiie");
        static aid_answer answer;
        aid_ask(e.engine, 3, &answer);
        assert_int_equal(answer.code, 0);
        bluelm_reset(e.engine);
    }
    aid_engine_free(&e);
    aid_model_free(&m);
    test_drop(&small);
    test_drop(&large);
}

/* Where a language model has pictures in a plane, MiniCPM-V 4.6's still stand in line: behind
 * four tokens the text goes on four further, not two. */
static void tokens_of_some_towers_stand_in_line(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        tiny_llm_config llm = tiny_llm_default();
        tiny_vision_config vision = tiny_vision_default();
        bluelm_config c = {.context_tokens = 64, .chat_template = "none"};
        bluelm_image image = aid_picture(64, 64, 0, 1);
        bluelm_tile_grid grid;
        static aid_answer answer;
        llm.arch = "qwen2vl";
        vision.projector = i ? TINY_MINICPMV46 : TINY_QWEN2VL;
        vision.patch_px = i ? 8 : 16, vision.image_px = 64;
        aid_model m = aid_model_make(&llm, &vision);
        aid_engine e = aid_engine_make(&m, &c, NULL);
        assert_int_equal(bluelm_add_image(e.engine, &image, &grid, NULL), 1);
        assert_int_equal(grid.tokens, 4);
        aid_run(e.engine, &answer);
        assert_int_equal(answer.code, 0);
        assert_int_equal(e.engine->positions[e.engine->read_tokens],
                         e.engine->read_tokens - (i ? 0 : 2));
        aid_engine_free(&e);
        aid_model_free(&m);
        test_drop(&image);
    }
}

static void test_bad_rows(bluelm *e)
{
    static const uint8_t pixel[3];
    const struct {
        bluelm_image image;
        const char *subject;
    } wrong[] = {
        {{.rgb = pixel, .width_px = 0, .height_px = 1}, "side"},
        {{.rgb = pixel, .width_px = 1, .height_px = 0}, "side"},
        {{.rgb = pixel, .width_px = 65536, .height_px = 1}, "side"},
        {{.rgb = pixel, .width_px = 1, .height_px = UINT32_MAX}, "side"},
        {{.rgb = pixel, .width_px = 10, .height_px = 1, .stride_bytes = 29}, "stride"},
    };
    bluelm_error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        test_error(bluelm_add_image(e, &wrong[i].image, NULL, &err), BLUELM_E_ARG, &err,
                   wrong[i].subject);
        assert_int_equal(bluelm_add_image(e, &wrong[i].image, NULL, NULL), BLUELM_E_ARG);
    }
    const bluelm_image nothing = {0};
    assert_true(bluelm_add_image(e, &nothing, NULL, &err) < 0);
    assert_true(bluelm_add_image(e, &nothing, NULL, NULL) < 0);
}

/* A file cut at `bytes`, in memory of that size: an error from add_image or, once it is
 * decoded, from step; the next conversation is none the worse. Returns 1 if it was an error at all. */
static int test_cut(bluelm *e, const tiny_file *file, size_t bytes, aid_answer *answer)
{
    uint8_t *cut = malloc(bytes ? bytes : 1);
    assert_non_null(cut);
    if (bytes) memcpy(cut, file->data, bytes);
    bluelm_image image = {.encoded = cut, .encoded_bytes = bytes};
    bluelm_error err;
    bluelm_reset(e);
    assert_int_equal(bluelm_begin_turn(e, BLUELM_USER, NULL), 0);
    int code = bluelm_add_image(e, &image, NULL, &err);
    if (code > 0) {
        test_text(e, question);
        aid_ask(e, 12, answer);
        code = answer->code;
        err = answer->err;
    }
    if (code < 0) test_error(code, BLUELM_E_IMAGE, &err, "");
    free(cut);
    return code < 0;
}

static void bad_picture_is_an_error_and_leaves_no_trace(void **state)
{
    (void)state;
    static aid_answer whole, cut, after;
    static const char *const names[] = {"png-2-8.png", "jpeg-444.jpg"};
    bluelm_config c = {0};
    bluelm_error err;
    c.max_image_width_px = 400;
    aid_engine e = aid_engine_default(&c);
    test_bad_rows(e.engine);
    for (uint32_t i = 0; i < 2; i++) {
        char path[200];
        snprintf(path, sizeof path, "fuzz/corpus/image/%s", names[i]);
        tiny_file file = file_load(path);
        bluelm_image image = {.encoded = file.data, .encoded_bytes = file.bytes};
        bluelm_reset(e.engine);
        test_job(e.engine, &image, &whole);
        uint32_t errors = 0;
        for (size_t bytes = 0; bytes < file.bytes; bytes += 1 + bytes / 16)
            errors += (uint32_t)test_cut(e.engine, &file, bytes, &cut);
        assert_true(errors > 20);
        bluelm_reset(e.engine);
        test_job(e.engine, &image, &after);
        assert_true(aid_same(&whole, &after));

        bluelm_config less = c;
        less.max_image_width_px = 10;
        aid_engine f = aid_engine_make(&e.model, &less, NULL);
        test_error(bluelm_add_image(f.engine, &image, NULL, &err), BLUELM_E_IMAGE, &err,
                   "max_image_width_px");
        assert_int_equal(err.need, 10);
        aid_engine_free(&f);
        tiny_free(&file);
    }
    aid_engine_free(&e);
}

static void one_picture_as_one_tile_has_its_own_call(void **state)
{
    (void)state;
    static aid_answer a, b;
    static float tokens[4 * 64], again[4 * 64];
    bluelm_config c = test_config();
    bluelm_error err;
    bluelm_image image = aid_picture(30, 41, 0, 5);
    aid_engine e = aid_engine_default(&c);
    assert_int_equal(bluelm_embed_image(e.engine, &image, tokens, 256, NULL), 256);
    test_error((int)bluelm_embed_image(e.engine, &image, tokens, 255, &err), BLUELM_E_BUDGET,
               &err, "embedding");
    assert_int_equal(bluelm_embed_image(e.engine, &image, tokens, 0, NULL), BLUELM_E_BUDGET);
    /* Between two turns it disturbs nothing; with work in the queue it is refused. */
    test_turn(e.engine, question);
    aid_ask(e.engine, 4, &a);
    assert_int_equal(bluelm_embed_image(e.engine, &image, again, 256, NULL), 256);
    assert_memory_equal(tokens, again, sizeof tokens);
    aid_ask(e.engine, 4, &a);
    test_image(e.engine, &image);
    test_error((int)bluelm_embed_image(e.engine, &image, again, 256, &err), BLUELM_E_STATE,
               &err, "embed");
    bluelm_reset(e.engine);
    test_turn(e.engine, question);
    aid_ask(e.engine, 8, &b);
    assert_memory_equal(a.tokens, b.tokens + 4, 4 * sizeof *a.tokens);
    aid_engine_free(&e);
    test_drop(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seventeenth_picture_is_refused_and_nothing_lost),
        cmocka_unit_test(pictures_in_another_order_give_other_logits),
        cmocka_unit_test(every_image_token_is_read_once_in_its_place),
        cmocka_unit_test(picture_may_be_freed_once_it_is_encoded),
        cmocka_unit_test(large_picture_is_read_in_several_steps),
        cmocka_unit_test(encoded_picture_equals_its_rows),
        cmocka_unit_test(grid_is_capped_by_the_context),
        cmocka_unit_test(rows_of_a_picture_end_in_their_token),
        cmocka_unit_test(pictures_are_numbered_and_rows_of_slices_broken),
        cmocka_unit_test(tokens_of_some_towers_stand_in_line),
        cmocka_unit_test(bad_picture_is_an_error_and_leaves_no_trace),
        cmocka_unit_test(one_picture_as_one_tile_has_its_own_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
