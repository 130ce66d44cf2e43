/* Sound GGUF files: every type of key and tensor reads back, values that do not fit are
 * refused, and files of other programs open. Broken files are in test_gguf_broken.c, the
 * search for tensors among many in test_gguf_layers.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file_aid.h"
#include "gguf_aid.h"

#define BIT(n) (UINT64_C(1) << (n))

/* ---- Sound files ------------------------------------------------------------------- */

static void every_value_type_reads_back(void **state)
{
    tiny_file file = aid_every_type();
    bluelm_error err;
    blm_gguf g;
    uint32_t type, u;
    int flag = 0;
    float f;
    blm_string s;
    (void)state;
    assert_int_equal(aid_open_gguf(&g, &file, &err), BLUELM_OK);
    for (type = 0; type < AID_GGUF_TYPES; type++) {
        int is_float = type == BLM_GGUF_F32 || type == BLM_GGUF_F64;
        int is_int = type != BLM_GGUF_BOOL && type != BLM_GGUF_STRING &&
                     type != BLM_GGUF_ARRAY && !is_float;
        u = 0, f = 0;
        assert_int_equal(blm_gguf_u32(&g, aid_value_key(type), &u, &err),
                         is_int ? 1 : BLUELM_E_FORMAT);
        assert_int_equal(u, is_int ? 7 : 0);
        assert_int_equal(blm_gguf_f32(&g, aid_value_key(type), &f, &err),
                         is_float ? 1 : BLUELM_E_FORMAT);
        assert_true(f == (is_float ? 7.0f : 0.0f));
        assert_int_equal(blm_gguf_bool(&g, aid_value_key(type), &flag, &err),
                         type == BLM_GGUF_BOOL ? 1 : BLUELM_E_FORMAT);
        assert_int_equal(blm_gguf_string(&g, aid_value_key(type), &s, &err),
                         type == BLM_GGUF_STRING ? 1 : BLUELM_E_FORMAT);
    }
    assert_int_equal(flag, 1);
    assert_int_equal(blm_gguf_string(&g, "value.8", &s, &err), 1);
    assert_true(blm_string_is(s, "seven"));
    tiny_free(&file);
}

static void arrays_read_back_and_other_types_are_refused(void **state)
{
    static const uint32_t bytes[AID_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 13, 0, 8, 8, 8};
    tiny_file file = aid_every_type();
    bluelm_error err;
    blm_gguf g;
    uint32_t type, asked;
    (void)state;
    assert_int_equal(aid_open_gguf(&g, &file, &err), BLUELM_OK);
    for (type = 0; type < AID_GGUF_TYPES; type++) {
        for (asked = 0; asked < AID_GGUF_TYPES && type != BLM_GGUF_ARRAY; asked++) {
            blm_array a = {0, 0, NULL, 0};
            int rc = blm_gguf_array(&g, aid_array_key(type), asked, &a, &err);
            assert_int_equal(rc, type == asked ? 1 : BLUELM_E_FORMAT);
            assert_int_equal(a.count, type == asked ? 3 : 0);
            assert_int_equal(a.bytes, type == asked ? 3 * bytes[type] : 0);
            assert_int_equal(blm_gguf_array(&g, "value.8", asked, &a, &err), BLUELM_E_FORMAT);
        }
    }
    assert_int_equal(err.code, BLUELM_E_FORMAT);
    assert_string_equal(err.subject, "llm: key value.8");
    tiny_free(&file);
}

static void strings_of_an_array_come_one_by_one(void **state)
{
    tiny_file file = aid_every_type();
    bluelm_error err;
    blm_gguf g;
    blm_array a;
    blm_string s;
    uint64_t at = 0;
    int i;
    (void)state;
    assert_int_equal(aid_open_gguf(&g, &file, &err), BLUELM_OK);
    assert_int_equal(blm_gguf_array(&g, "array.8", BLM_GGUF_STRING, &a, &err), 1);
    for (i = 0; i < 3; i++) {
        assert_int_equal(blm_array_next_string(&a, &at, &s), 1);
        assert_true(blm_string_is(s, "seven"));
        assert_false(blm_string_is(s, "seve"));
        assert_false(blm_string_is(s, "sevens"));
        assert_false(blm_string_is(s, ""));
    }
    assert_int_equal(at, a.bytes);
    assert_int_equal(blm_array_next_string(&a, &at, &s), 0);
    at = a.bytes + 1;
    assert_int_equal(blm_array_next_string(&a, &at, &s), 0);
    at = a.bytes - 7; /* in the middle of a length */
    assert_int_equal(blm_array_next_string(&a, &at, &s), 0);
    at = 0;
    a.bytes = 12; /* in the middle of a string */
    assert_int_equal(blm_array_next_string(&a, &at, &s), 0);
    tiny_free(&file);
}

static void what_is_absent_is_left_untouched(void **state)
{
    tiny_file file = aid_every_type();
    bluelm_error err;
    blm_gguf g;
    blm_array a = {5, 0, NULL, 0};
    blm_string s = {NULL, 5};
    blm_tensor t;
    uint32_t u = 5;
    float f = 5;
    int flag = 5;
    (void)state;
    assert_int_equal(aid_open_gguf(&g, &file, &err), BLUELM_OK);
    t.type = 5;
    assert_int_equal(blm_gguf_u32(&g, "value", &u, &err), 0);
    assert_int_equal(blm_gguf_f32(&g, "value.66", &f, &err), 0);
    assert_int_equal(blm_gguf_bool(&g, "", &flag, &err), 0);
    assert_int_equal(blm_gguf_string(&g, "none", &s, &err), 0);
    assert_int_equal(blm_gguf_array(&g, "none", 5, &a, &err), 0);
    assert_int_equal(blm_gguf_tensor(&g, "t", &t, &err), 0);
    assert_true(u == 5 && f == 5 && flag == 5 && s.bytes == 5 && a.type == 5 && t.type == 5);
    assert_int_equal(err.code, 0);
    tiny_free(&file);
}

static void tensors_are_found_at_any_address(void **state)
{
    static const uint32_t row_bytes[BLM_TYPE_LIMIT] = {
        [BLM_F32] = 2048, [BLM_F16] = 1024, [BLM_Q4_0] = 288, [BLM_Q8_0] = 544,
        [BLM_Q4_K] = 288, [BLM_Q6_K] = 420, [BLM_BF16] = 1024};
    tiny_file file = aid_every_type();
    size_t lead;
    (void)state;
    for (lead = 0; lead < 9; lead++) {
        uint8_t *copy = malloc(lead + file.bytes), *end = copy + lead;
        bluelm_error err;
        blm_gguf g;
        uint32_t type;
        memcpy(copy + lead, file.data, file.bytes);
        assert_int_equal(blm_gguf_open(&g, copy + lead, file.bytes, "llm", &err), BLUELM_OK);
        for (type = 0; type < BLM_TYPE_LIMIT; type++) {
            char name[16];
            blm_tensor t;
            snprintf(name, sizeof name, "t%u", (unsigned)type);
            if (row_bytes[type] == 0) continue;
            assert_int_equal(blm_gguf_tensor(&g, name, &t, &err), 1);
            assert_int_equal(t.type, type);
            assert_int_equal(t.n_dims, 2);
            assert_true(t.ne[0] == 512 && t.ne[1] == 2);
            assert_int_equal(t.row_bytes, row_bytes[type]);
            assert_int_equal((size_t)(t.data - (copy + lead)) % 32, 0);
            end = (uint8_t *)(uintptr_t)t.data + 2 * t.row_bytes;
        }
        assert_ptr_equal(end, copy + lead + file.bytes); /* BF16 is the last one */
        aid_exercise(&g);
        free(copy);
    }
    tiny_free(&file);
}

static void tiny_models_open(void **state)
{
    tiny_llm_config llm = tiny_llm_default();
    tiny_vision_config vision = tiny_vision_default();
    tiny_file files[3];
    bluelm_error err;
    blm_gguf g;
    blm_tensor t;
    blm_array tokens;
    uint32_t u = 0;
    int i;
    (void)state;
    files[0] = tiny_llm(&llm);
    llm.arch = "qwen2", llm.qkv_bias = 1, llm.tied = 1, llm.byte_bpe = 1, llm.rope_freqs = 1;
    llm.head_dim = 32, llm.embd_type = TINY_Q8_0;
    files[1] = tiny_llm(&llm);
    files[2] = tiny_mmproj(&vision);
    for (i = 0; i < 3; i++) {
        assert_int_equal(aid_open_gguf(&g, &files[i], &err), BLUELM_OK);
        if (i == 2) break;
        assert_int_equal(
            blm_gguf_array(&g, "tokenizer.ggml.tokens", BLM_GGUF_STRING, &tokens, &err), 1);
        assert_int_equal(tokens.count, llm.n_vocab);
        assert_int_equal(blm_gguf_tensor(&g, "token_embd.weight", &t, &err), 1);
        assert_int_equal(t.ne[1], llm.n_vocab);
    }
    assert_int_equal(blm_gguf_u32(&g, "clip.vision.image_size", &u, &err), 1);
    assert_int_equal(u, vision.image_px);
    assert_int_equal(blm_gguf_tensor(&g, "v.patch_embd.weight", &t, &err), 1);
    assert_int_equal(t.n_dims, 4);
    for (i = 0; i < 3; i++)
        tiny_free(&files[i]);
}

static void packed_weights_unpack_to_what_was_packed(void **state)
{
    static const struct {
        uint32_t type;
        double error; /* relative */
    } cases[] = {{TINY_F32, 1e-7},  {TINY_F16, 5e-4},  {TINY_BF16, 4e-3}, {TINY_Q8_0, 1e-2},
                 {TINY_Q6_K, 3e-2}, {TINY_Q4_0, 0.12}, {TINY_Q4_K, 0.12}};
    static float values[512 * 3];
    uint64_t ne[4] = {512, 3, 0, 0}, got[4];
    tiny_random random = {77};
    size_t i, k;
    (void)state;
    for (k = 0; k < BLM_COUNT_OF(values); k++)
        values[k] = (float)tiny_normal(&random);
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        tiny_writer w;
        tiny_file file;
        double *back, wrong = 0, whole = 0;
        tiny_start(&w, 1);
        aid_put_every_type(&w);
        tiny_tensor(&w, "first", TINY_F16, 1, ne, values);
        tiny_tensor(&w, "t", cases[i].type, 2, ne, values);
        file = tiny_finish(&w);
        back = test_tensor_to_double(file.data, file.bytes, "t", got);
        assert_non_null(back);
        assert_true(got[0] == 512 && got[1] == 3 && got[2] == 1 && got[3] == 1);
        for (k = 0; k < BLM_COUNT_OF(values); k++) {
            wrong += pow(back[k] - (double)values[k], 2);
            whole += pow((double)values[k], 2);
        }
        assert_true(sqrt(wrong / whole) < cases[i].error);
        assert_null(test_tensor_to_double(file.data, file.bytes, "u", got));
        free(back);
        tiny_free(&file);
    }
}

static void a_vocabulary_without_tensors_opens_unpadded(void **state)
{
    size_t extra;
    (void)state;
    for (extra = 0; extra < 40; extra++) {
        char text[64] = "";
        aid_trial f;
        blm_tensor t;
        memset(text, 'x', extra);
        aid_trial_start(&f);
        tiny_key_string(&f.w, "k", text);
        assert_int_equal(aid_trial_open(&f), BLUELM_OK);
        assert_true(f.g.data_at <= f.g.bytes);
        assert_int_equal(blm_gguf_tensor(&f.g, "t", &t, &f.err), 0);
        tiny_free(&f.file);
    }
}

static void keys_behind_many_string_arrays_are_found(void **state)
{
    aid_trial f;
    uint32_t i, k, u;
    char name[32];
    (void)state;
    aid_trial_start(&f);
    for (i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "strings.%u", (unsigned)i);
        tiny_key_array(&f.w, name, BLM_GGUF_STRING, i * 5 % 7);
        for (k = 0; k < i * 5 % 7; k++)
            tiny_put_string(&f.w.keys, "abc");
        snprintf(name, sizeof name, "u.%u", (unsigned)i);
        tiny_key_u32(&f.w, name, i);
    }
    assert_int_equal(aid_trial_open(&f), BLUELM_OK);
    for (i = 0; i < 9; i++) {
        blm_array a;
        snprintf(name, sizeof name, "u.%u", (unsigned)i);
        assert_int_equal(blm_gguf_u32(&f.g, name, &u, &f.err), 1);
        assert_int_equal(u, i);
        snprintf(name, sizeof name, "strings.%u", (unsigned)i);
        assert_int_equal(blm_gguf_array(&f.g, name, BLM_GGUF_STRING, &a, &f.err), 1);
        assert_int_equal(a.count, i * 5 % 7);
        assert_int_equal(a.bytes, a.count * 11);
    }
    tiny_free(&f.file);
}

/* ---- Values that do not fit ------------------------------------------------------------ */

static void integers_outside_u32_are_refused(void **state)
{
    static const struct {
        uint32_t type;
        uint64_t bits;
        uint32_t bytes;
        int rc;
        uint32_t value;
    } cases[] = {
        {BLM_GGUF_U8, 255, 1, 1, 255},
        {BLM_GGUF_I8, 127, 1, 1, 127},
        {BLM_GGUF_I8, 0xFF, 1, BLUELM_E_FORMAT, 0},
        {BLM_GGUF_U16, 0xFFFF, 2, 1, 0xFFFF},
        {BLM_GGUF_I16, 0x8000, 2, BLUELM_E_FORMAT, 0},
        {BLM_GGUF_U32, 0xFFFFFFFF, 4, 1, 0xFFFFFFFF},
        {BLM_GGUF_I32, 0x7FFFFFFF, 4, 1, 0x7FFFFFFF},
        {BLM_GGUF_I32, 0xFFFFFFFF, 4, BLUELM_E_FORMAT, 0},
        {BLM_GGUF_U64, 0xFFFFFFFF, 8, 1, 0xFFFFFFFF},
        {BLM_GGUF_U64, BIT(32), 8, BLUELM_E_FORMAT, 0},
        {BLM_GGUF_I64, 5, 8, 1, 5},
        {BLM_GGUF_I64, UINT64_MAX, 8, BLUELM_E_FORMAT, 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        aid_trial f;
        uint32_t u = 0;
        aid_trial_start(&f);
        tiny_key(&f.w, "k", cases[i].type);
        tiny_put(&f.w.keys, &cases[i].bits, cases[i].bytes); /* tests run on little endian */
        assert_int_equal(aid_trial_open(&f), BLUELM_OK);
        assert_int_equal(blm_gguf_u32(&f.g, "k", &u, &f.err), cases[i].rc);
        assert_int_equal(u, cases[i].value);
        if (cases[i].rc < 0) {
            assert_string_equal(f.err.subject, "llm: key k");
            assert_int_equal(f.err.need, UINT32_MAX);
            assert_int_equal(f.err.at, 24 + 9 + 4);
        }
        tiny_free(&f.file);
    }
}

static void floats_that_are_no_finite_f32_are_refused(void **state)
{
    static const struct {
        double value;
        int rc;
    } cases[] = {{1e-3, 1},
                 {-3e38, 1},
                 {0, 1},
                 {1e-300, 1},
                 {1e300, BLUELM_E_FORMAT},
                 {-4e38, BLUELM_E_FORMAT}};
    static const uint32_t bits[] = {0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001};
    aid_trial f;
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        float got = 5;
        aid_trial_start(&f);
        tiny_key(&f.w, "k", BLM_GGUF_F64);
        aid_put_f64(&f.w.keys, cases[i].value);
        assert_int_equal(aid_trial_open(&f), BLUELM_OK);
        assert_int_equal(blm_gguf_f32(&f.g, "k", &got, &f.err), cases[i].rc);
        assert_true(got == (cases[i].rc > 0 ? (float)cases[i].value : 5));
        tiny_free(&f.file);
    }
    for (i = 0; i < 2 * BLM_COUNT_OF(bits); i++) {
        float got = 5;
        aid_trial_start(&f);
        tiny_key(&f.w, "k", i % 2 ? BLM_GGUF_F64 : BLM_GGUF_F32);
        if (i % 2) tiny_put_u32(&f.w.keys, 1);
        tiny_put_u32(&f.w.keys, i % 2 ? (bits[i / 2] | 0x7FF00000) : bits[i / 2]);
        assert_int_equal(aid_trial_open(&f), BLUELM_OK);
        assert_int_equal(blm_gguf_f32(&f.g, "k", &got, &f.err), BLUELM_E_FORMAT);
        assert_true(got == 5);
        tiny_free(&f.file);
    }
}

/* ---- Files of other programs ------------------------------------------------------------- */

static void files_of_other_programs_open(void **state)
{
    static const struct {
        const char *folder, *name, *tensor;
        uint32_t type;
        uint64_t tensors;
    } cases[] = {
        {"llm", "llama-q4_k.gguf", "blk.1.ffn_down.weight", BLM_Q4_K, 21},
        {"llm", "llama-bf16.gguf", "blk.0.attn_q.weight", BLM_BF16, 21},
        {"llm", "qwen2-f32.gguf", "blk.0.attn_q.bias", BLM_F32, 27},
        {"mmproj", "mmproj-lfm2-q8_0.gguf", "mm.1.weight", BLM_Q8_0, 43},
        {"vocab", "ggml-vocab-llama-spm.gguf", NULL, 0, 0},
        {"vocab", "ggml-vocab-gpt-2.gguf", NULL, 0, 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        tiny_file file = file_reference(".", cases[i].folder, cases[i].name);
        bluelm_error err;
        blm_gguf g;
        blm_tensor t;
        if (file.data == NULL) {
            print_message("skipped: %s is not there\n", cases[i].name);
            continue;
        }
        assert_int_equal(aid_open_gguf(&g, &file, &err), BLUELM_OK);
        assert_int_equal(g.tensor_count, cases[i].tensors);
        if (cases[i].tensor != NULL) {
            assert_int_equal(blm_gguf_tensor(&g, cases[i].tensor, &t, &err), 1);
            assert_int_equal(t.type, cases[i].type);
        }
        tiny_free(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_type_reads_back),
        cmocka_unit_test(arrays_read_back_and_other_types_are_refused),
        cmocka_unit_test(strings_of_an_array_come_one_by_one),
        cmocka_unit_test(what_is_absent_is_left_untouched),
        cmocka_unit_test(tensors_are_found_at_any_address),
        cmocka_unit_test(tiny_models_open),
        cmocka_unit_test(packed_weights_unpack_to_what_was_packed),
        cmocka_unit_test(a_vocabulary_without_tensors_opens_unpadded),
        cmocka_unit_test(keys_behind_many_string_arrays_are_found),
        cmocka_unit_test(integers_outside_u32_are_refused),
        cmocka_unit_test(floats_that_are_no_finite_f32_are_refused),
        cmocka_unit_test(files_of_other_programs_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
