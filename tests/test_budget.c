/* Memory is known before anything is built: the plan is exact to the byte, each part of it
 * can be capped, and what the configuration may not say is refused by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_check.h"

#define CANARY 0xC9

/* A picture and a question on an engine, to touch all of its memory. */
static void test_use(bluelm *engine, int vision)
{
    static aid_answer answer;
    bluelm_image image = aid_picture(61, 40, 0, 3);
    assert_int_equal(bluelm_begin_turn(engine, BLUELM_USER, NULL), 0);
    if (vision) test_image(engine, &image);
    test_text(engine, question);
    aid_ask(engine, 3, &answer);
    assert_int_equal(answer.code, 0);
    test_drop(&image);
}

/* The error's line must show its numbers. */
static void test_text_has_numbers(const bluelm_error *err)
{
    char line[200], need[24], have[24];
    assert_true(bluelm_error_text(err, line, sizeof line) < sizeof line);
    snprintf(need, sizeof need, "%llu", (unsigned long long)err->need);
    snprintf(have, sizeof have, "%llu", (unsigned long long)err->have);
    assert_non_null(strstr(line, err->subject));
    assert_non_null(strstr(line, need));
    assert_non_null(strstr(line, have));
}

/* ---- The arena ---------------------------------------------------------------------- */

/* Builds and uses an engine at one alignment of its block: in total bytes it must work and
 * leave what lies around alone; in one less it must be refused with both numbers. */
static void test_exact(const aid_model *m, const bluelm_config *c, size_t offset, int use)
{
    bluelm_memory need;
    bluelm_error err;
    bluelm *engine;
    bluelm_stats stats;
    assert_int_equal(bluelm_plan(&m->weights, c, &need, NULL), 0);
    size_t total = (size_t)need.total_bytes, room = total + 2 * 64 + 64;
    uint8_t *memory = malloc(room);
    assert_non_null(memory);
    memset(memory, CANARY, room);
    /* The first address of this alignment behind 64 bytes of canary. */
    uint8_t *block = memory + 64 + (offset - (size_t)(uintptr_t)memory) % 64;
    assert_int_equal((uintptr_t)block % 64, offset);

    assert_int_equal(bluelm_init(&engine, block, total - 1, &m->weights, c, NULL, &err),
                     BLUELM_E_BUDGET);
    assert_null(engine);
    assert_string_equal(err.subject, "arena");
    assert_int_equal(err.need, total);
    assert_int_equal(err.have, total - 1);
    test_text_has_numbers(&err);

    assert_int_equal(bluelm_init(&engine, block, total, &m->weights, c, NULL, &err), 0);
    assert_non_null(engine);
    if (use) test_use(engine, need.max_tiles > 0);
    bluelm_get_stats(engine, &stats);
    assert_int_equal(stats.arena_bytes, total);
    for (uint8_t *p = memory; p < block; p++)
        assert_int_equal(*p, CANARY);
    for (uint8_t *p = block + total; p < memory + room; p++)
        assert_int_equal(*p, CANARY);
    free(memory);
}

static void arena_of_exactly_the_plan_succeeds_at_every_alignment(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    for (size_t offset = 0; offset < 64; offset++)
        test_exact(&m, &c, offset, offset % 16 < 2);
    aid_model_free(&m);
}

/* Float weights meet f32 activations; INT8 asked for by name rounds both. */
static void a_float_encoder_rounds_only_when_asked_by_name(void **state)
{
    static const uint32_t types[] = {BLUELM_ACT_DEFAULT, BLUELM_ACT_INT16, BLUELM_ACT_INT8};
    static const uint32_t bits[] = {32, 32, 8};
    (void)state;
    aid_model m = aid_model_default();
    for (size_t i = 0; i < 3; i++) {
        bluelm_config c = test_config();
        bluelm_memory need;
        c.vision_activation_type = types[i];
        assert_int_equal(bluelm_plan(&m.weights, &c, &need, NULL), 0);
        assert_int_equal(need.vision_activation_bits, bits[i]);
        test_exact(&m, &c, i, 1);
    }
    aid_model_free(&m);
}

static void plan_is_exact_for_every_shape_of_engine(void **state)
{
    (void)state;
    tiny_llm_config llm = tiny_llm_default();
    tiny_vision_config vision = tiny_vision_default();
    aid_model m = aid_model_make(&llm, &vision);
    bluelm_config c = test_config();
    c.kv_type = BLUELM_KV_F16;
    c.activation_type = BLUELM_ACT_INT16;
    test_exact(&m, &c, 1, 1);
    c.vision_activation_type = BLUELM_ACT_INT16;
    c.workers = 3;
    test_exact(&m, &c, 1, 1);
    c.overlap_tiles = 1;
    test_exact(&m, &c, 2, 1);
    c = test_config();
    c.context_tokens = 100, c.chunk_tokens = 1, c.tiles_per_batch = 1, c.max_tiles = 1;
    test_exact(&m, &c, 33, 1);
    c.max_image_width_px = 400;
    test_exact(&m, &c, 63, 1);
    c = test_config();
    c.cpu_mask = BLUELM_CPU_NONE;
    test_exact(&m, &c, 7, 1);
    aid_model_free(&m);

    /* A matrix that is quantised on its way in takes scratch. */
    vision.type = TINY_Q8_0;
    vision.width = 96, vision.n_ff = 50;
    m = aid_model_make(&llm, &vision);
    c = test_config();
    c.workers = 2;
    test_exact(&m, &c, 9, 1);
    aid_model_free(&m);

    llm.arch = "qwen2", llm.byte_bpe = 1, llm.qkv_bias = 1, llm.tied = 1;
    llm.attn_type = llm.ffn_type = TINY_Q4_0, llm.embd_type = TINY_Q8_0;
    vision.projector = TINY_IDEFICS3, vision.merge = 3, vision.type = TINY_Q8_0;
    m = aid_model_make(&llm, &vision);
    c = test_config();
    test_exact(&m, &c, 5, 1);
    aid_model_free(&m);
    m = aid_model_make(&llm, NULL);
    test_exact(&m, &c, 9, 1);
    aid_model_free(&m);
}

/* Nobody unpacks panels there: of 90 KB and more, for each worker. */
static void scalar_kernels_plan_no_panels(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_memory fast, scalar;
    c.workers = 3;
    assert_int_equal(bluelm_plan(&m.weights, &c, &fast, NULL), 0);
    c.cpu_mask = BLUELM_CPU_NONE;
    assert_int_equal(bluelm_plan(&m.weights, &c, &scalar, NULL), 0);
    assert_true(fast.total_bytes - scalar.total_bytes >= 3 * 90000);
    aid_model_free(&m);
}

/* In blocks of malloc of each size, so that AddressSanitizer sees a byte too many. */
static void arena_of_every_size_below_the_plan_fails_cleanly(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_memory need;
    bluelm_error err;
    bluelm *engine;
    assert_int_equal(bluelm_plan(&m.weights, &c, &need, &err), 0);
    size_t total = (size_t)need.total_bytes;
    for (size_t bytes = 0; bytes < total;
         bytes += bytes < 256 || total - bytes < 512 ? 1 : 251) {
        uint8_t *block = malloc(bytes ? bytes : 1);
        assert_non_null(block);
        assert_int_equal(bluelm_init(&engine, block, bytes, &m.weights, &c, NULL, &err),
                         BLUELM_E_BUDGET);
        assert_null(engine);
        assert_int_equal(err.need, total);
        assert_int_equal(err.have, bytes);
        free(block);
    }
    assert_int_equal(bluelm_init(&engine, NULL, total, &m.weights, &c, NULL, &err),
                     BLUELM_E_BUDGET);
    assert_int_equal(err.have, 0);
    aid_model_free(&m);
}

static void parts_of_the_plan_sum_to_its_total(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_memory need;
    assert_int_equal(bluelm_plan(&m.weights, NULL, &need, NULL), 0);
    uint64_t sum = need.engine_bytes + need.weights_view_bytes + need.tokenizer_bytes +
                   need.kv_cache_bytes + need.image_tokens_bytes + need.sampling_bytes +
                   need.marks_bytes + need.overlay_bytes;
    assert_int_equal(need.total_bytes, sum + 63);
    uint64_t most = need.vision_phase_bytes > need.language_phase_bytes
                        ? need.vision_phase_bytes
                        : need.language_phase_bytes;
    most = need.image_decode_bytes > most ? need.image_decode_bytes : most;
    assert_int_equal(need.overlay_bytes, most);
    assert_int_equal(need.weights_bytes, m.llm.bytes + m.mmproj.bytes);
    assert_int_equal(need.context_tokens, 256); /* the model's own */
    assert_int_equal(need.chunk_tokens, 128);
    assert_int_equal(need.tiles_per_batch, 4);
    assert_int_equal(need.tokens_per_tile, 4);
    assert_int_equal(need.tile_px, 24);
    assert_int_equal(need.workers, 1);
    aid_model_free(&m);
}

/* Little above what each part takes of a small model with scalar kernels: what is more is taken
 * unseen, and whoever needs it says so here. */
static void memory_is_no_more_than_is_known(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_config c = test_config();
    bluelm_memory need;
    c.cpu_mask = BLUELM_CPU_NONE;
    assert_int_equal(bluelm_plan(&m.weights, &c, &need, NULL), 0);
    assert_in_range(need.engine_bytes, 1, 18000);
    assert_in_range(need.weights_view_bytes, 1, 2000);
    assert_in_range(need.tokenizer_bytes, 1, 20000);
    assert_in_range(need.kv_cache_bytes, 1, 36864);
    assert_in_range(need.image_tokens_bytes, 1, 8704);
    assert_in_range(need.sampling_bytes, 1, 4700);
    assert_in_range(need.marks_bytes, 1, 1800);
    assert_in_range(need.vision_phase_bytes, 1, 96000);
    assert_in_range(need.language_phase_bytes, 1, 270000);
    assert_in_range(need.image_decode_bytes, 1, 325000);
    aid_model_free(&m);
}

/* ---- Budgets --------------------------------------------------------------------------- */

typedef struct test_cap {
    const char *subject;
    size_t field; /* offset in bluelm_config */
    uint64_t need;
} test_cap;

static void test_one_cap(const aid_model *m, const test_cap *cap, uint64_t total)
{
    bluelm_config c = {0};
    bluelm_memory need;
    bluelm_error err;
    bluelm *engine;
    uint8_t *arena = malloc((size_t)total);
    assert_non_null(arena);
    assert_true(cap->need > 1);
    memcpy((char *)&c + cap->field, &cap->need, sizeof cap->need);
    assert_int_equal(bluelm_plan(&m->weights, &c, &need, &err), 0);
    assert_int_equal(bluelm_init(&engine, arena, (size_t)total, &m->weights, &c, NULL, &err),
                     0);

    uint64_t less = cap->need - 1;
    memcpy((char *)&c + cap->field, &less, sizeof less);
    memset(&need, 0, sizeof need);
    assert_int_equal(bluelm_plan(&m->weights, &c, &need, NULL), BLUELM_E_BUDGET);
    assert_int_equal(bluelm_plan(&m->weights, &c, &need, &err), BLUELM_E_BUDGET);
    assert_int_equal(need.total_bytes, total); /* filled in all the same */
    assert_string_equal(err.subject, cap->subject);
    assert_int_equal(err.need, cap->need);
    assert_int_equal(err.have, less);
    test_text_has_numbers(&err);
    memset(&err, 0, sizeof err);
    assert_int_equal(bluelm_init(&engine, arena, (size_t)total, &m->weights, &c, NULL, &err),
                     BLUELM_E_BUDGET);
    assert_string_equal(err.subject, cap->subject);
    assert_null(engine);
    free(arena);
}

static void each_budget_holds_at_need_and_fails_at_one_byte_less(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_memory n;
    assert_int_equal(bluelm_plan(&m.weights, NULL, &n, NULL), 0);
    uint64_t most = n.vision_phase_bytes > n.language_phase_bytes ? n.vision_phase_bytes
                                                                  : n.language_phase_bytes;
    const test_cap caps[] = {
        {"weights view", offsetof(bluelm_config, max_weights_view_bytes), n.weights_view_bytes},
        {"tokenizer", offsetof(bluelm_config, max_tokenizer_bytes), n.tokenizer_bytes},
        {"kv cache", offsetof(bluelm_config, max_kv_cache_bytes), n.kv_cache_bytes},
        {"image tokens", offsetof(bluelm_config, max_image_tokens_bytes), n.image_tokens_bytes},
        {"activations", offsetof(bluelm_config, max_activations_bytes), most},
        {"image decode", offsetof(bluelm_config, max_image_decode_bytes), n.image_decode_bytes},
        {"arena", offsetof(bluelm_config, max_total_bytes), n.total_bytes},
    };
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++)
        test_one_cap(&m, &caps[i], n.total_bytes);
    aid_model_free(&m);
}

/* ---- Configuration ------------------------------------------------------------------------ */

/* Fields of 32 bits and the most each may be. */
static const struct {
    const char *name;
    size_t field;
    uint32_t limit;
} test_fields[] = {
    {"context_tokens", offsetof(bluelm_config, context_tokens), 1u << 20},
    {"chunk_tokens", offsetof(bluelm_config, chunk_tokens), 2048},
    {"max_tiles", offsetof(bluelm_config, max_tiles), 256},
    {"tiles_per_batch", offsetof(bluelm_config, tiles_per_batch), 64},
    {"max_image_width_px", offsetof(bluelm_config, max_image_width_px), 65535},
    {"text_bytes", offsetof(bluelm_config, text_bytes), 60000},
    {"kv_type", offsetof(bluelm_config, kv_type), BLUELM_KV_F16},
    {"activation_type", offsetof(bluelm_config, activation_type), BLUELM_ACT_INT16},
    {"vision_activation_type", offsetof(bluelm_config, vision_activation_type),
     BLUELM_ACT_INT16},
    {"tile_rule", offsetof(bluelm_config, tile_rule), BLUELM_TILES_SINGLE},
    {"workers", offsetof(bluelm_config, workers), 64},
    {"overlap_tiles", offsetof(bluelm_config, overlap_tiles), 1},
    {"background_rgb", offsetof(bluelm_config, background_rgb), 0x1ffffff},
};

static void field_outside_its_limit_is_refused_by_name(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_memory need;
    bluelm_error err;
    for (size_t i = 0; i < sizeof test_fields / sizeof *test_fields; i++) {
        const uint32_t wrong[] = {test_fields[i].limit + 1, 0x80000000u, 0xfffffffeu};
        bluelm_config c = {0};
        memcpy((char *)&c + test_fields[i].field, &test_fields[i].limit, sizeof(uint32_t));
        assert_int_equal(bluelm_plan(&m.weights, &c, &need, &err), 0);
        for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
            memcpy((char *)&c + test_fields[i].field, &wrong[k], sizeof(uint32_t));
            assert_int_equal(bluelm_plan(&m.weights, &c, &need, NULL), BLUELM_E_ARG);
            assert_int_equal(bluelm_plan(&m.weights, &c, &need, &err), BLUELM_E_ARG);
            assert_non_null(strstr(err.subject, test_fields[i].name));
            assert_int_equal(err.need, test_fields[i].limit);
            assert_int_equal(err.have, wrong[k]);
            test_text_has_numbers(&err);
        }
    }
    aid_model_free(&m);
}

static void alpha_outside_zero_to_one_is_refused(void **state)
{
    (void)state;
    const float wrong[] = {1.0f, -0.1f, 7.0f, -1e38f};
    aid_model m = aid_model_default();
    bluelm_memory need;
    bluelm_error err;
    bluelm_config c = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        c.tile_alpha = wrong[i];
        assert_int_equal(bluelm_plan(&m.weights, &c, &need, &err), BLUELM_E_ARG);
        assert_non_null(strstr(err.subject, "tile_alpha"));
    }
    memset(&c.tile_alpha, 0xFF, sizeof c.tile_alpha); /* a NaN */
    assert_int_equal(bluelm_plan(&m.weights, &c, &need, &err), BLUELM_E_ARG);
    c.tile_alpha = 0.5f;
    assert_int_equal(bluelm_plan(&m.weights, &c, &need, &err), 0);
    aid_model_free(&m);
}

/* The largest of everything must be counted without overflow, on 32 bits as well. */
static void largest_configuration_is_planned_without_overflow(void **state)
{
    (void)state;
    aid_model m = aid_model_default();
    bluelm_memory need;
    bluelm_config c = {0};
    c.context_tokens = 1u << 20, c.chunk_tokens = 2048, c.workers = 64;
    c.tiles_per_batch = 64, c.max_tiles = 256, c.max_image_width_px = 65535;
    c.whole_image_bytes = UINT64_C(0x7FFFFFFF);
    c.kv_type = BLUELM_KV_F16;
    assert_int_equal(bluelm_plan(&m.weights, &c, &need, NULL), 0);
    assert_int_equal(need.kv_cache_bytes, UINT64_C(2) * 2 * 2 * (1u << 20) * 16 * 2);
    assert_true(need.image_decode_bytes > UINT64_C(0x7FFFFFFF));
    assert_true(need.total_bytes > need.image_decode_bytes);
    bluelm *engine;
    bluelm_error err;
    char small[64];
    assert_int_equal(bluelm_init(&engine, small, sizeof small, &m.weights, &c, NULL, &err),
                     BLUELM_E_BUDGET);
    assert_int_equal(err.need, need.total_bytes);
    aid_model_free(&m);
}

static void absent_files_are_refused(void **state)
{
    (void)state;
    bluelm_weights w = {0};
    bluelm_memory need;
    bluelm_error err;
    assert_int_equal(bluelm_plan(&w, NULL, &need, &err), BLUELM_E_ARG);
    w.llm = "";
    assert_int_equal(bluelm_plan(&w, NULL, &need, &err), BLUELM_E_FORMAT);
    assert_int_equal(strncmp(err.subject, "llm", 3), 0);
    aid_model m = aid_model_default();
    w = m.weights;
    w.mmproj = "", w.mmproj_bytes = 0;
    assert_int_equal(bluelm_plan(&w, NULL, &need, &err), BLUELM_E_FORMAT);
    assert_int_equal(strncmp(err.subject, "mmproj", 6), 0);
    aid_model_free(&m);
}

static void mmproj_of_another_width_is_refused_with_both(void **state)
{
    (void)state;
    tiny_llm_config llm = tiny_llm_default();
    tiny_vision_config vision = tiny_vision_default();
    vision.n_embd = 96;
    aid_model m = aid_model_make(&llm, &vision);
    bluelm_memory need;
    bluelm_error err;
    assert_int_equal(bluelm_plan(&m.weights, NULL, &need, &err), BLUELM_E_FORMAT);
    assert_int_equal(err.need, 64);
    assert_int_equal(err.have, 96);
    test_text_has_numbers(&err);
    aid_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_of_exactly_the_plan_succeeds_at_every_alignment),
        cmocka_unit_test(a_float_encoder_rounds_only_when_asked_by_name),
        cmocka_unit_test(plan_is_exact_for_every_shape_of_engine),
        cmocka_unit_test(scalar_kernels_plan_no_panels),
        cmocka_unit_test(arena_of_every_size_below_the_plan_fails_cleanly),
        cmocka_unit_test(parts_of_the_plan_sum_to_its_total),
        cmocka_unit_test(memory_is_no_more_than_is_known),
        cmocka_unit_test(each_budget_holds_at_need_and_fails_at_one_byte_less),
        cmocka_unit_test(field_outside_its_limit_is_refused_by_name),
        cmocka_unit_test(alpha_outside_zero_to_one_is_refused),
        cmocka_unit_test(largest_configuration_is_planned_without_overflow),
        cmocka_unit_test(absent_files_are_refused),
        cmocka_unit_test(mmproj_of_another_width_is_refused_with_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
