/* Numbers that are sound alone and do not go together, or lie at the ends of their range: keys
 * of a file beside each other, a configuration beside a file, the sides of a picture. Each file
 * lies in a block of its exact size, so that AddressSanitizer sees a byte too many. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine_aid.h"
#include "hostile_aid.h"

/* ---- Helpers ----------------------------------------------------------------------- */

/* Keys and a tensor that a model's own writer would not put into it. */
typedef struct test_extra {
    const char *rule;    /* bluelm.tiling.rule, or NULL                        */
    uint32_t max_pixels; /* clip.vision.image_max_pixels, or 0                 */
    uint32_t newline;    /* values of v.image_newline, or 0                    */
} test_extra;

static void test_put_extra(tiny_writer *w, void *user)
{
    const test_extra *x = user;
    static const float zeros[64];
    const uint64_t ne = x->newline;
    if (x->rule) tiny_key_string(w, "bluelm.tiling.rule", x->rule);
    if (x->max_pixels) tiny_key_u32(w, "clip.vision.image_max_pixels", x->max_pixels);
    if (x->newline) tiny_tensor(w, "v.image_newline", TINY_F32, 1, &ne, zeros);
}

static tiny_llm_config test_llm(const char *arch)
{
    tiny_llm_config llm = tiny_llm_default();
    llm.arch = arch;
    llm.n_embd = 32, llm.n_layer = 1, llm.n_ff = 32, llm.n_ctx = 1024;
    llm.n_vocab = TINY_MIN_VOCAB, llm.tied = 1;
    return llm;
}

static tiny_vision_config test_vision(tiny_projector projector, test_extra *extra)
{
    tiny_vision_config vision = tiny_vision_default();
    vision.projector = projector;
    vision.image_px = 64, vision.patch_px = 16;
    vision.width = 16, vision.n_head = 2, vision.n_layer = 1, vision.n_ff = 24;
    vision.n_embd = 32;
    vision.extra = test_put_extra, vision.extra_user = extra;
    return vision;
}

static int test_plan(const aid_model *m, bluelm_error *err)
{
    bluelm_memory need;
    return bluelm_plan(&m->weights, NULL, &need, err);
}

/* ---- Keys beside each other ------------------------------------------------------------- */

static void assert_refused(const tiny_vision_config *vision, const char *subject)
{
    const tiny_llm_config llm = test_llm("llama");
    bluelm_error err;
    aid_model m = aid_model_make(&llm, vision);
    assert_int_equal(test_plan(&m, &err), BLUELM_E_UNSUPPORTED);
    assert_string_equal(err.subject, subject);
    aid_model_free(&m);
}

/* Rules of pictures of their own size would hand an encoder that takes one size alone more
 * patches than it has memory for. */
static void rule_that_the_encoder_cannot_follow_is_refused(void **state)
{
    static const struct {
        tiny_projector projector;
        int clip; /* a class embedding fixes the size */
        test_extra extra;
    } cases[] = {
        {TINY_MLP, 1, {.rule = "dynamic"}},   {TINY_IDEFICS3, 0, {.rule = "dynamic"}},
        {TINY_INTERNVL, 0, {.rule = "lfm2"}}, {TINY_GEMMA3, 0, {.rule = "lfm2"}},
        {TINY_LFM2, 1, {.rule = "dynamic"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_extra extra = cases[i].extra;
        tiny_vision_config vision = test_vision(cases[i].projector, &extra);
        vision.clip = cases[i].clip;
        assert_refused(&vision, "mmproj: pixels that sides are multiples of");
    }
}

/* The token that ends rows is read with LLaVA's projector alone. */
static void joined_tiles_without_a_token_for_rows_are_refused(void **state)
{
    (void)state;
    test_extra extra = {.rule = "llava-next", .newline = 32};
    tiny_vision_config vision = test_vision(TINY_LFM2, &extra);
    vision.merge = 1;
    assert_refused(&vision, "mmproj: image_newline with this projector");
}

/* A class embedding has a position, which a tower without learned positions has not. */
static void class_embedding_without_positions_is_refused(void **state)
{
    (void)state;
    tiny_vision_config vision = test_vision(TINY_QWEN2VL, &(test_extra){0});
    vision.clip = 1;
    assert_refused(&vision, "mmproj: v.class_embd with this projector");
}

/* A resampler's tokens are as many whatever the picture: its patches are what there is no room
 * for. */
static void patches_of_a_picture_are_counted_too(void **state)
{
    (void)state;
    const tiny_llm_config llm = test_llm("llama");
    const tiny_vision_config vision = test_vision(TINY_RESAMPLER, &(test_extra){0});
    aid_model m = aid_model_make(&llm, &vision);
    const bluelm_config config = {.context_tokens = 64};
    aid_engine e = aid_engine_make(&m, &config, NULL);
    bluelm_image large = aid_picture(200, 100, 0, 1), small = aid_picture(24, 20, 0, 1);
    static float rows[4 * 64];
    bluelm_error err;
    assert_int_equal(bluelm_embed_image(e.engine, &large, rows, 4 * 64, &err), BLUELM_E_ARG);
    assert_non_null(strstr(err.subject, "patches"));
    assert_true(bluelm_embed_image(e.engine, &small, rows, 4 * 64, &err) > 0);
    free((void *)(uintptr_t)large.rgb);
    free((void *)(uintptr_t)small.rgb);
    aid_engine_free(&e);
    aid_model_free(&m);
}

/* Of a picture that is one tile there may be as many tokens as a tile has, not as a whole grid:
 * that is what the encoder has memory for. */
static void embedding_a_picture_larger_than_any_tile_is_refused(void **state)
{
    (void)state;
    const tiny_llm_config llm = test_llm("llama");
    test_extra extra = {.rule = "lfm2", .max_pixels = 65536};
    const tiny_vision_config vision = test_vision(TINY_LFM2, &extra);
    aid_model m = aid_model_make(&llm, &vision);
    const bluelm_config config = {.max_image_width_px = 2048, .context_tokens = 1024};
    aid_engine e = aid_engine_make(&m, &config, NULL);
    bluelm_image large = aid_picture(1000, 900, 0, 1), small = aid_picture(200, 300, 0, 1);
    static float rows[32 * 1024];
    bluelm_error err;
    assert_int_equal(bluelm_embed_image(e.engine, &large, rows, 32 * 1024, &err), BLUELM_E_ARG);
    assert_int_equal(err.have, 31 * 28);
    assert_int_equal(bluelm_embed_image(e.engine, &small, rows, 32 * 1024, &err), 32 * 6 * 9);
    free((void *)(uintptr_t)large.rgb);
    free((void *)(uintptr_t)small.rgb);
    aid_engine_free(&e);
    aid_model_free(&m);
}

/* A picture whose tokens see each other goes through in one chunk: rows that the caller made
 * are one tile, and no more of them are taken than a chunk holds. */
static void rows_that_see_each_other_and_fill_no_chunk_are_refused(void **state)
{
    (void)state;
    const tiny_llm_config llm = test_llm("gemma3");
    test_extra extra = {.rule = "relaxed"};
    const tiny_vision_config vision = test_vision(TINY_GEMMA3, &extra);
    aid_model m = aid_model_make(&llm, &vision);
    const bluelm_config config = {.chunk_tokens = 8, .context_tokens = 256};
    aid_engine e = aid_engine_make(&m, &config, NULL);
    static float rows[32 * 16];
    static aid_answer answer;
    bluelm_error err;
    assert_int_equal(bluelm_add_image_rows(e.engine, rows, 4, 4, &err), BLUELM_E_ARG);
    assert_int_equal(err.need, 8);
    assert_int_equal(err.have, 16);
    assert_int_equal(bluelm_add_text(e.engine, "abc", 3, &err), 0);
    assert_int_equal(bluelm_add_image_rows(e.engine, rows, 4, 2, &err), 0);
    aid_ask(e.engine, 4, &answer);
    assert_int_equal(answer.code, 0);
    aid_engine_free(&e);
    aid_model_free(&m);
}

/* An engine of an mmproj alone. */
static void words_without_a_vocabulary_are_refused(void **state)
{
    (void)state;
    const tiny_llm_config llm = test_llm("llama");
    const tiny_vision_config vision = test_vision(TINY_LFM2, &(test_extra){0});
    aid_model m = aid_model_make(&llm, &vision);
    int32_t ids[4];
    char text[8];
    bluelm_error err;
    m.weights.llm = NULL, m.weights.llm_bytes = 0;
    aid_engine e = aid_engine_make(&m, NULL, NULL);
    assert_int_equal(bluelm_tokenize(e.engine, "a", 1, 0, ids, 4, &err), BLUELM_E_STATE);
    assert_int_equal(bluelm_detokenize(e.engine, 0, text, 8, &err), BLUELM_E_STATE);
    assert_int_equal(bluelm_context_ids(e.engine, ids, 4), 0);
    assert_int_equal(bluelm_add_text(e.engine, "a", 1, &err), BLUELM_E_STATE);
    assert_int_equal(bluelm_generate(e.engine, 1, &err), BLUELM_E_STATE);
    assert_int_equal(bluelm_mark(e.engine, 0, &err), BLUELM_E_STATE);
    aid_engine_free(&e);
    aid_model_free(&m);
}

/* ---- Numbers of a tiling rule ------------------------------------------------------------ */

/* A key of 32 bits, or a list of candidates of one number. */
typedef struct test_tiling {
    const char *key;
    uint32_t value, listed;
} test_tiling;

static void test_put_tiling(tiny_writer *w, void *user)
{
    const test_tiling *t = user;
    if (!t->listed) {
        tiny_key_u32(w, t->key, t->value);
        return;
    }
    tiny_key_array(w, t->key, TINY_KEY_I32, t->listed);
    for (uint32_t i = 0; i < t->listed; i++)
        tiny_put_u32(&w->keys, t->value);
}

static void numbers_of_tiling_do_no_harm(void **state)
{
    static const struct {
        tiny_projector projector;
        const char *key;
        uint32_t listed;
    } keys[] = {
        {TINY_LFM2, "bluelm.tiling.max_columns", 0},
        {TINY_LFM2, "bluelm.tiling.max_rows", 0},
        {TINY_LFM2, "bluelm.tiling.max_local_tiles", 0},
        {TINY_LFM2, "bluelm.tiling.pad_color", 0},
        {TINY_IDEFICS3, "clip.vision.preproc_image_size", 0},
        {TINY_INTERNVL, "clip.vision.preproc_min_tiles", 0},
        {TINY_INTERNVL, "clip.vision.preproc_max_tiles", 0},
        {TINY_INTERNVL, "bluelm.tiling.max_local_tiles", 0},
        {TINY_QWEN2VL, "clip.vision.image_min_pixels", 0},
        {TINY_QWEN2VL, "clip.vision.image_max_pixels", 0},
        {TINY_PIXTRAL, "clip.vision.preproc_image_size", 0},
        {TINY_PIXTRAL, "clip.vision.spatial_merge_size", 0},
        {TINY_PADDLEOCR, "clip.vision.image_max_pixels", 0},
        {TINY_DOTSOCR, "clip.vision.image_size", 0},
        {TINY_MLP, "clip.vision.image_grid_pinpoints", 1},
        {TINY_MLP, "clip.vision.image_grid_pinpoints", 2},
        {TINY_MLP, "clip.vision.image_grid_pinpoints", 1000},
    };
    static const uint32_t values[] = {0,     1,     5,           64,          128,        1024,
                                      65535, 65536, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu};
    uint32_t refused = 0, held = 0;
    (void)state;
    const tiny_llm_config llm = test_llm("llama");
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            test_tiling tiling = {keys[k].key, values[v], keys[k].listed};
            tiny_vision_config vision = test_vision(keys[k].projector, NULL);
            vision.extra = test_put_tiling, vision.extra_user = &tiling;
            aid_model m = aid_model_make(&llm, &vision);
            hostile_job job = {.weights = m.weights, .max_steps = 12};
            job.config.context_tokens = 200;
            job.config.max_image_width_px = 128;
            job.picture_width = 60, job.picture_height = 20;
            if (hostile_run(&job) < 0)
                refused++;
            else
                held++;
            aid_model_free(&m);
        }
    print_message("%u refused, %u held\n", (unsigned)refused, (unsigned)held);
    assert_true(refused > 60 && held > 25);
}

/* ---- RoPE ------------------------------------------------------------------------------- */

/* A float key of a model whose positions are stretched, with the value it should have. */
typedef struct test_number {
    const char *key;
    float value;
    int positive; /* a value below 0 is refused */
} test_number;

static const test_number test_numbers[] = {
    {"mistral3.rope.scaling.factor", 16, 1},
    {"mistral3.rope.scaling.attn_factor", 1, 1},
    {"mistral3.rope.scaling.yarn_beta_fast", 32, 1},
    {"mistral3.rope.scaling.yarn_beta_slow", 1, 1},
    {"mistral3.rope.scaling.yarn_ext_factor", 1, 1},
    {"mistral3.rope.scaling.yarn_attn_factor", 1, 1},
    {"mistral3.rope.scaling.yarn_log_multiplier", 1, 0},
    {"mistral3.attention.temperature_scale", 0.1f, 1},
    {"mistral3.final_logit_softcapping", 30, 1},
};
enum { TEST_NUMBERS = sizeof test_numbers / sizeof *test_numbers };

/* Which of them has another value in a file. */
typedef struct test_stretch {
    const char *type; /* of scaling */
    size_t which;
    float value;
} test_stretch;

static void test_put_stretch(tiny_writer *w, void *user)
{
    const test_stretch *s = user;
    tiny_key_string(w, "mistral3.rope.scaling.type", s->type);
    tiny_key_u32(w, "mistral3.rope.scaling.original_context_length", 64);
    for (size_t i = 0; i < TEST_NUMBERS; i++)
        tiny_key_f32(w, test_numbers[i].key, i == s->which ? s->value : test_numbers[i].value);
}

static int test_run_stretch(test_stretch stretch, float base, float eps)
{
    tiny_llm_config llm = test_llm("mistral3");
    llm.extra = test_put_stretch, llm.extra_user = &stretch;
    llm.rope_base = base, llm.rms_eps = eps;
    aid_model m = aid_model_make(&llm, NULL);
    hostile_job job = {.weights = m.weights, .max_steps = 6};
    job.sampling.temperature = 0.5f;
    int code = hostile_run(&job);
    aid_model_free(&m);
    return code;
}

/* Turns, factors and bases of any value are refused or run: what is no number or below 0 is
 * refused. */
static void numbers_of_rope_do_no_harm(void **state)
{
    static const char *const types[] = {"yarn", "linear"};
    const float values[] = {0.0f,  -0.0f, -1.0f, 1e-45f,   1e-38f,    1.0f,
                            1e38f, 3e38f, NAN,   INFINITY, -INFINITY, 1.0001f};
    (void)state;
    for (size_t t = 0; t < 2; t++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            const int unsound = !(values[v] >= 0 && values[v] < INFINITY);
            for (size_t k = 0; k < TEST_NUMBERS; k++) {
                const test_stretch stretch = {types[t], k, values[v]};
                int code = test_run_stretch(stretch, 10000, 1e-5f);
                if (unsound && test_numbers[k].positive && (t == 0 || k < 2))
                    assert_true(code < 0);
            }
            const test_stretch plain = {types[t], TEST_NUMBERS, 0};
            assert_true(test_run_stretch(plain, values[v], 1e-5f) < 0 || !unsound);
            assert_true(test_run_stretch(plain, 10000, values[v]) < 0 || !unsound);
        }
}

/* Both kinds of factors, of a number of pairs. */
static void test_put_factors(tiny_writer *w, void *user)
{
    const uint64_t ne = *(const uint32_t *)user;
    static const float ones[64] = {1};
    tiny_tensor(w, "rope_factors_long.weight", TINY_F32, 1, &ne, ones);
    tiny_tensor(w, "rope_factors_short.weight", TINY_F32, 1, &ne, ones);
}

static void factors_of_another_number_than_pairs_are_refused(void **state)
{
    (void)state;
    tiny_llm_config llm = test_llm("phi3");
    const uint32_t pairs = llm.n_embd / llm.n_head / 2;
    for (uint32_t count = 1; count < 3 * pairs; count++) {
        llm.extra = test_put_factors, llm.extra_user = &count;
        aid_model m = aid_model_make(&llm, NULL);
        hostile_job job = {.weights = m.weights, .max_steps = 6};
        assert_int_equal(hostile_run(&job), count == pairs ? 0 : BLUELM_E_FORMAT);
        aid_model_free(&m);
    }
}

/* ---- Configuration ------------------------------------------------------------------------ */

/* Every field of 32 bits with values that are likely to be forgotten. What a plan allows runs
 * in exactly so much memory, unless that is more than a test should have. */
static void configuration_at_the_ends_of_its_fields_does_no_harm(void **state)
{
    static const size_t fields[] = {
        offsetof(bluelm_config, context_tokens),
        offsetof(bluelm_config, chunk_tokens),
        offsetof(bluelm_config, tiles_per_batch),
        offsetof(bluelm_config, max_tiles),
        offsetof(bluelm_config, max_image_tokens),
        offsetof(bluelm_config, max_image_width_px),
        offsetof(bluelm_config, text_bytes),
        offsetof(bluelm_config, workers),
        offsetof(bluelm_config, marks),
        offsetof(bluelm_config, tile_rule),
        offsetof(bluelm_config, kv_type),
        offsetof(bluelm_config, activation_type),
        offsetof(bluelm_config, vision_activation_type),
        offsetof(bluelm_config, overlap_tiles),
        offsetof(bluelm_config, background_rgb),
        offsetof(bluelm_config, cpu_mask),
    };
    static const uint32_t values[] = {
        0,    1,      2,        3,          7,           63,          64,          255,
        2048, 0xFFFF, 1u << 20, 0x1000000u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFEu, 0xFFFFFFFFu};
    uint32_t held = 0, refused = 0;
    (void)state;
    const tiny_llm_config llm = test_llm("llama");
    const tiny_vision_config vision = test_vision(TINY_LFM2, &(test_extra){0});
    aid_model m = aid_model_make(&llm, &vision);
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            hostile_job job = {.weights = m.weights, .max_steps = 20};
            job.picture_width = 20, job.picture_height = 70;
            job.config.context_tokens = 96;
            memcpy((char *)&job.config + fields[f], &values[v], sizeof values[v]);
            if (hostile_run(&job) < 0)
                refused++;
            else
                held++;
        }
    /* Bytes: what does not fit 64 bits is refused as a budget or an argument. */
    for (int i = 0; i < 2; i++) {
        hostile_job job = {.weights = m.weights, .max_steps = 8};
        job.picture_width = job.picture_height = 30;
        job.config.whole_image_bytes = i ? UINT64_MAX : UINT64_MAX - 4096;
        hostile_run(&job);
    }
    aid_model_free(&m);
    assert_true(held > 80 && refused > 60);
}

/* ---- Pictures ------------------------------------------------------------------------------- */

/* The thinnest pictures there are, under every rule, some of them joined. */
static void pictures_of_one_line_do_no_harm(void **state)
{
    static const struct {
        tiny_projector projector;
        int clip;
        test_extra extra;
    } cases[] = {
        {TINY_LFM2, 0, {.rule = "relaxed"}},
        {TINY_LFM2, 0, {.rule = "single"}},
        {TINY_LFM2, 0, {.rule = "lfm2", .max_pixels = 4096}},
        {TINY_IDEFICS3, 0, {.rule = NULL}},
        {TINY_MLP, 1, {.rule = "llava-next", .newline = 32}},
        {TINY_MLP, 1, {.rule = NULL}},
        {TINY_INTERNVL, 0, {.rule = NULL}},
        {TINY_GEMMA3, 0, {.rule = NULL}},
        {TINY_QWEN2VL, 0, {.max_pixels = 65536}},
        {TINY_PIXTRAL, 0, {.rule = NULL}},
        {TINY_PIXTRAL, 0, {.rule = "relaxed"}},
        {TINY_PADDLEOCR, 0, {.max_pixels = 65536}},
        {TINY_DOTSOCR, 0, {.max_pixels = 65536}},
    };
    static const uint32_t sizes[][2] = {{1, 1}, {1, 4096}, {4096, 1}, {2, 2000}, {2000, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++) {
            const tiny_llm_config llm = test_llm("llama");
            test_extra extra = cases[i].extra;
            tiny_vision_config vision = test_vision(cases[i].projector, &extra);
            vision.clip = cases[i].clip;
            aid_model m = aid_model_make(&llm, &vision);
            hostile_job job = {.weights = m.weights, .max_steps = 60};
            job.config.max_image_width_px = 4096;
            job.config.context_tokens = 400;
            job.picture_width = sizes[z][0], job.picture_height = sizes[z][1];
            assert_int_equal(hostile_run(&job), 0);
            aid_model_free(&m);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule_that_the_encoder_cannot_follow_is_refused),
        cmocka_unit_test(joined_tiles_without_a_token_for_rows_are_refused),
        cmocka_unit_test(class_embedding_without_positions_is_refused),
        cmocka_unit_test(embedding_a_picture_larger_than_any_tile_is_refused),
        cmocka_unit_test(patches_of_a_picture_are_counted_too),
        cmocka_unit_test(rows_that_see_each_other_and_fill_no_chunk_are_refused),
        cmocka_unit_test(words_without_a_vocabulary_are_refused),
        cmocka_unit_test(numbers_of_tiling_do_no_harm),
        cmocka_unit_test(numbers_of_rope_do_no_harm),
        cmocka_unit_test(factors_of_another_number_than_pairs_are_refused),
        cmocka_unit_test(configuration_at_the_ends_of_its_fields_does_no_harm),
        cmocka_unit_test(pictures_of_one_line_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
