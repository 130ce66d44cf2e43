#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../gguf/gguf.h"
#include "tiny_model.h"

#define TYPE_COUNT 13u /* of GGUF's value types */
#define BIT(n)     (UINT64_C(1) << (n))

/* ---- Helpers ------------------------------------------------------------------- */

static void put_f64(tiny_buffer *b, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    tiny_put_u64(b, bits);
}

/* The value 7 (true, "seven") as a value of any type but an array. */
static void put_seven(tiny_buffer *b, uint32_t type)
{
    static const uint8_t seven[8] = {7}, one[1] = {1};
    switch (type) {
    case BLM_GGUF_U8:
    case BLM_GGUF_I8:
        tiny_put(b, seven, 1);
        break;
    case BLM_GGUF_U16:
    case BLM_GGUF_I16:
        tiny_put(b, seven, 2);
        break;
    case BLM_GGUF_U32:
    case BLM_GGUF_I32:
        tiny_put(b, seven, 4);
        break;
    case BLM_GGUF_U64:
    case BLM_GGUF_I64:
        tiny_put(b, seven, 8);
        break;
    case BLM_GGUF_F32:
        tiny_put_f32(b, 7);
        break;
    case BLM_GGUF_F64:
        put_f64(b, 7);
        break;
    case BLM_GGUF_BOOL:
        tiny_put(b, one, 1);
        break;
    case BLM_GGUF_STRING:
        tiny_put_string(b, "seven");
        break;
    default:
        abort();
    }
}

static const char *value_key(uint32_t type)
{
    static char name[16];
    snprintf(name, sizeof name, "value.%u", (unsigned)type);
    return name;
}

static const char *array_key(uint32_t type)
{
    static char name[16];
    snprintf(name, sizeof name, "array.%u", (unsigned)type);
    return name;
}

/* A key of every type, and an array of 3 of every type but arrays; "value.9" is an array. */
static void put_every_type(tiny_writer *w)
{
    uint32_t type, i;
    for (type = 0; type < TYPE_COUNT; type++) {
        if (type == BLM_GGUF_ARRAY) {
            tiny_key_array(w, value_key(type), BLM_GGUF_U8, 0);
            continue;
        }
        tiny_key(w, value_key(type), type);
        put_seven(&w->keys, type);
        tiny_key_array(w, array_key(type), type, 3);
        for (i = 0; i < 3; i++)
            put_seven(&w->keys, type);
    }
}

/* Adds a tensor's entry with no data of its own. */
static void put_entry(tiny_writer *w, const char *name, uint32_t n_dims, const uint64_t *ne,
                      uint32_t type, uint64_t offset)
{
    uint32_t i;
    tiny_put_string(&w->tensors, name);
    tiny_put_u32(&w->tensors, n_dims);
    for (i = 0; i < n_dims; i++)
        tiny_put_u64(&w->tensors, ne[i]);
    tiny_put_u32(&w->tensors, type);
    tiny_put_u64(&w->tensors, offset);
    w->tensor_count++;
}

static void put_data(tiny_writer *w, size_t bytes)
{
    uint8_t byte = 0x11;
    while (bytes-- > 0)
        tiny_put(&w->data, &byte, 1);
}

/* Keys of all types and tensors of all types that are run. */
static tiny_file every_type(void)
{
    static const uint32_t types[] = {TINY_F32,  TINY_F16,  TINY_Q4_0, TINY_Q8_0,
                                     TINY_Q4_K, TINY_Q6_K, TINY_BF16};
    static float values[512 * 2];
    uint64_t ne[2] = {512, 2};
    tiny_writer w;
    uint32_t i;
    tiny_start(&w, 1);
    put_every_type(&w);
    for (i = 0; i < BLM_COUNT_OF(types); i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", (unsigned)types[i]);
        tiny_tensor(&w, name, types[i], 2, ne, values);
    }
    return tiny_finish(&w);
}

/* Calls everything there is on an opened file and touches what it returns. */
static unsigned exercise(const blm_gguf *g)
{
    static const char *const keys[] = {"value.0", "value.8",           "value.9", "array.8",
                                       "array.6", "general.alignment", "nothing"};
    static const char *const tensors[] = {"t0", "t2", "t14", "nothing"};
    unsigned sum = 0;
    uint32_t type, u;
    size_t i;
    int flag;
    float f;
    blm_string s;
    for (i = 0; i < BLM_COUNT_OF(keys); i++) {
        blm_gguf_u32(g, keys[i], &u, NULL);
        blm_gguf_f32(g, keys[i], &f, NULL);
        blm_gguf_bool(g, keys[i], &flag, NULL);
        if (blm_gguf_string(g, keys[i], &s, NULL) > 0 && s.bytes > 0) {
            sum += (unsigned)s.text[0] + (unsigned)s.text[s.bytes - 1];
        }
        for (type = 0; type < TYPE_COUNT; type++) {
            blm_array a;
            uint64_t at = 0;
            if (blm_gguf_array(g, keys[i], type, &a, NULL) <= 0) continue;
            if (a.bytes > 0) sum += a.data[0] + a.data[a.bytes - 1];
            while (type == BLM_GGUF_STRING && blm_array_next_string(&a, &at, &s)) {
                if (s.bytes > 0) sum += (unsigned)s.text[s.bytes - 1];
            }
        }
    }
    for (i = 0; i < BLM_COUNT_OF(tensors); i++) {
        blm_tensor t;
        if (blm_gguf_tensor(g, tensors[i], &t, NULL) <= 0) continue;
        sum += t.data[0] + t.data[t.row_bytes * t.ne[1] - 1];
    }
    return sum;
}

static int open_file(blm_gguf *g, const tiny_file *file, bluelm_error *err)
{
    memset(err, 0, sizeof *err);
    return blm_gguf_open(g, file->data, file->bytes, "llm", err);
}

/* ---- Sound files ------------------------------------------------------------------- */

static void every_value_type_reads_back(void **state)
{
    tiny_file file = every_type();
    bluelm_error err;
    blm_gguf g;
    uint32_t type, u;
    int flag = 0;
    float f;
    blm_string s;
    (void)state;
    assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
    for (type = 0; type < TYPE_COUNT; type++) {
        int is_float = type == BLM_GGUF_F32 || type == BLM_GGUF_F64;
        int is_int = type != BLM_GGUF_BOOL && type != BLM_GGUF_STRING &&
                     type != BLM_GGUF_ARRAY && !is_float;
        u = 0, f = 0;
        assert_int_equal(blm_gguf_u32(&g, value_key(type), &u, &err),
                         is_int ? 1 : BLUELM_E_FORMAT);
        assert_int_equal(u, is_int ? 7 : 0);
        assert_int_equal(blm_gguf_f32(&g, value_key(type), &f, &err),
                         is_float ? 1 : BLUELM_E_FORMAT);
        assert_true(f == (is_float ? 7.0f : 0.0f));
        assert_int_equal(blm_gguf_bool(&g, value_key(type), &flag, &err),
                         type == BLM_GGUF_BOOL ? 1 : BLUELM_E_FORMAT);
        assert_int_equal(blm_gguf_string(&g, value_key(type), &s, &err),
                         type == BLM_GGUF_STRING ? 1 : BLUELM_E_FORMAT);
    }
    assert_int_equal(flag, 1);
    assert_int_equal(blm_gguf_string(&g, "value.8", &s, &err), 1);
    assert_true(blm_string_is(s, "seven"));
    tiny_free(&file);
}

static void arrays_read_back_and_other_types_are_refused(void **state)
{
    static const uint32_t bytes[TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 13, 0, 8, 8, 8};
    tiny_file file = every_type();
    bluelm_error err;
    blm_gguf g;
    uint32_t type, asked;
    (void)state;
    assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
    for (type = 0; type < TYPE_COUNT; type++) {
        for (asked = 0; asked < TYPE_COUNT && type != BLM_GGUF_ARRAY; asked++) {
            blm_array a = {0, 0, NULL, 0};
            int rc = blm_gguf_array(&g, array_key(type), asked, &a, &err);
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
    tiny_file file = every_type();
    bluelm_error err;
    blm_gguf g;
    blm_array a;
    blm_string s;
    uint64_t at = 0;
    int i;
    (void)state;
    assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
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
    tiny_file file = every_type();
    bluelm_error err;
    blm_gguf g;
    blm_array a = {5, 0, NULL, 0};
    blm_string s = {NULL, 5};
    blm_tensor t;
    uint32_t u = 5;
    float f = 5;
    int flag = 5;
    (void)state;
    assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
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
    tiny_file file = every_type();
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
        exercise(&g);
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
        assert_int_equal(open_file(&g, &files[i], &err), BLUELM_OK);
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
        put_every_type(&w);
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
        bluelm_error err;
        tiny_writer w;
        tiny_file file;
        blm_gguf g;
        blm_tensor t;
        memset(text, 'x', extra);
        tiny_start(&w, 1);
        tiny_key_string(&w, "k", text);
        file = tiny_finish(&w);
        assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
        assert_true(g.data_at <= g.bytes);
        assert_int_equal(blm_gguf_tensor(&g, "t", &t, &err), 0);
        tiny_free(&file);
    }
}

static void keys_behind_many_string_arrays_are_found(void **state)
{
    tiny_writer w;
    tiny_file file;
    bluelm_error err;
    blm_gguf g;
    uint32_t i, k, u;
    char name[32];
    (void)state;
    tiny_start(&w, 1);
    for (i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "strings.%u", (unsigned)i);
        tiny_key_array(&w, name, BLM_GGUF_STRING, i * 5 % 7);
        for (k = 0; k < i * 5 % 7; k++)
            tiny_put_string(&w.keys, "abc");
        snprintf(name, sizeof name, "u.%u", (unsigned)i);
        tiny_key_u32(&w, name, i);
    }
    file = tiny_finish(&w);
    assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
    for (i = 0; i < 9; i++) {
        blm_array a;
        snprintf(name, sizeof name, "u.%u", (unsigned)i);
        assert_int_equal(blm_gguf_u32(&g, name, &u, &err), 1);
        assert_int_equal(u, i);
        snprintf(name, sizeof name, "strings.%u", (unsigned)i);
        assert_int_equal(blm_gguf_array(&g, name, BLM_GGUF_STRING, &a, &err), 1);
        assert_int_equal(a.count, i * 5 % 7);
        assert_int_equal(a.bytes, a.count * 11);
    }
    tiny_free(&file);
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
        bluelm_error err;
        tiny_writer w;
        tiny_file file;
        blm_gguf g;
        uint32_t u = 0;
        tiny_start(&w, 1);
        tiny_key(&w, "k", cases[i].type);
        tiny_put(&w.keys, &cases[i].bits, cases[i].bytes); /* tests run on little endian */
        file = tiny_finish(&w);
        assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
        assert_int_equal(blm_gguf_u32(&g, "k", &u, &err), cases[i].rc);
        assert_int_equal(u, cases[i].value);
        if (cases[i].rc < 0) {
            assert_string_equal(err.subject, "llm: key k");
            assert_int_equal(err.need, UINT32_MAX);
            assert_int_equal(err.at, 24 + 9 + 4);
        }
        tiny_free(&file);
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
    bluelm_error err;
    tiny_writer w;
    tiny_file file;
    blm_gguf g;
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        float f = 5;
        tiny_start(&w, 1);
        tiny_key(&w, "k", BLM_GGUF_F64);
        put_f64(&w.keys, cases[i].value);
        file = tiny_finish(&w);
        assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
        assert_int_equal(blm_gguf_f32(&g, "k", &f, &err), cases[i].rc);
        assert_true(f == (cases[i].rc > 0 ? (float)cases[i].value : 5));
        tiny_free(&file);
    }
    for (i = 0; i < 2 * BLM_COUNT_OF(bits); i++) {
        float f = 5;
        tiny_start(&w, 1);
        tiny_key(&w, "k", i % 2 ? BLM_GGUF_F64 : BLM_GGUF_F32);
        if (i % 2) tiny_put_u32(&w.keys, 1);
        tiny_put_u32(&w.keys, i % 2 ? (bits[i / 2] | 0x7FF00000) : bits[i / 2]);
        file = tiny_finish(&w);
        assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
        assert_int_equal(blm_gguf_f32(&g, "k", &f, &err), BLUELM_E_FORMAT);
        assert_true(f == 5);
        tiny_free(&file);
    }
}

/* ---- Broken files ------------------------------------------------------------------------ */

static void no_file_is_an_argument_error(void **state)
{
    uint8_t byte = 0;
    bluelm_error err;
    blm_gguf g;
    (void)state;
    assert_int_equal(blm_gguf_open(&g, NULL, 100, "llm", &err), BLUELM_E_ARG);
    assert_int_equal(blm_gguf_open(&g, &byte, 0, "llm", &err), BLUELM_E_FORMAT);
    assert_int_equal(blm_gguf_open(&g, &byte, 1, "llm", NULL), BLUELM_E_FORMAT);
}

static void a_broken_header_field_is_refused(void **state)
{
    static const struct {
        size_t at, bytes;
        uint64_t value;
        int rc;
        const char *subject;
    } cases[] = {
        {4, 4, 2, BLUELM_OK, ""},
        {0, 4, 0x47475546, BLUELM_E_FORMAT, "llm: magic of a GGUF file"},
        {3, 1, 'f', BLUELM_E_FORMAT, "llm: magic of a GGUF file"},
        {4, 4, 1, BLUELM_E_UNSUPPORTED, "llm: GGUF version"},
        {4, 4, 4, BLUELM_E_UNSUPPORTED, "llm: GGUF version"},
        {4, 4, 0x03000000, BLUELM_E_UNSUPPORTED, "llm: GGUF version"}, /* big endian */
        {8, 8, 8, BLUELM_E_FORMAT, NULL},                              /* of 7 tensors */
        {8, 8, BIT(60), BLUELM_E_FORMAT, "llm: tensor count"},
        {8, 8, UINT64_MAX, BLUELM_E_FORMAT, "llm: tensor count"},
        {16, 8, 26, BLUELM_E_FORMAT, NULL}, /* of 25 keys */
        {16, 8, BIT(60), BLUELM_E_FORMAT, "llm: key count"},
        {16, 8, UINT64_MAX / 13 + 2, BLUELM_E_FORMAT, "llm: key count"},
        {16, 8, UINT64_MAX, BLUELM_E_FORMAT, "llm: key count"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        tiny_file file = every_type();
        bluelm_error err;
        blm_gguf g;
        memcpy(file.data + cases[i].at, &cases[i].value, cases[i].bytes);
        assert_int_equal(open_file(&g, &file, &err), cases[i].rc);
        assert_int_equal(err.code, cases[i].rc);
        if (cases[i].subject != NULL) assert_string_equal(err.subject, cases[i].subject);
        tiny_free(&file);
    }
}

/* The bytes of one key, from its name's length on, are the whole header. */
static void a_broken_key_is_refused(void **state)
{
#define KEY_K "\1\0\0\0\0\0\0\0k"
    static const struct {
        const char *bytes;
        size_t count;
        int rc;
        const char *subject;
        uint64_t at;
    } cases[] = {
#define CASE(bytes, rc, subject, at) {bytes, sizeof bytes - 1, rc, subject, at}
        CASE(KEY_K "\0\0\0\0\7", BLUELM_OK, "", 0),
        CASE("\2\0\0\0\0\0\0\0k\0\0\0\0", BLUELM_E_FORMAT, "llm: key", 34),
        CASE("\5\0\0\0\0\0\0\0k\0\0\0\0", BLUELM_E_FORMAT, "llm: key", 37),
        CASE("\6\0\0\0\0\0\0\0k\0\0\0\0", BLUELM_E_FORMAT, "llm: key", 32),
        CASE("\1\0\0\0\0\0\0\x80k\0\0\0\0\7", BLUELM_E_FORMAT, "llm: key", 32),
        CASE("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFk\0\0\0\0", BLUELM_E_FORMAT, "llm: key", 32),
        CASE("\xF8\xFF\xFF\xFF\xFF\xFF\xFF\xFFk\0\0\0\0", BLUELM_E_FORMAT, "llm: key", 32),
        CASE(KEY_K "\x0D\0\0\0\7\0\0\0", BLUELM_E_FORMAT, "llm: type of key k", 33),
        CASE(KEY_K "\xFF\xFF\xFF\xFF\7\0\0\0", BLUELM_E_FORMAT, "llm: type of key k", 33),
        CASE(KEY_K "\4\0\0\0\7\0\0", BLUELM_E_FORMAT, "llm: key", 37),
        CASE(KEY_K "\7\0\0\0\2", BLUELM_E_FORMAT, "llm: bool k", 37),
        CASE(KEY_K "\7\0\0\0\xFF", BLUELM_E_FORMAT, "llm: bool k", 37),
        CASE("\3\0\0\0\0\0\0\0a\0b"
             "\7\0\0\0\2",
             BLUELM_E_FORMAT, "llm: bool a?b", 39),
        CASE(KEY_K "\x0C\0\0\0\0\0\0\0\0\0\0", BLUELM_E_FORMAT, "llm: key", 37),
        /* strings: no length, one too long, lengths that wrap or look negative */
        CASE(KEY_K "\x8\0\0\0\1\0\0\0\0\0\0", BLUELM_E_FORMAT, "llm: string", 37),
        CASE(KEY_K "\x8\0\0\0\1\0\0\0\0\0\0\0", BLUELM_E_FORMAT, "llm: string", 45),
        CASE(KEY_K "\x8\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFx", BLUELM_E_FORMAT, "llm: string",
             45),
        CASE(KEY_K "\x8\0\0\0\0\0\0\0\0\0\0\x80x", BLUELM_E_FORMAT, "llm: string", 45),
        CASE(KEY_K "\x8\0\0\0\0\0\0\0\1\0\0\0x", BLUELM_E_FORMAT, "llm: string", 45),
        /* arrays: cut head, bad types, counts that are too large or wrap times their size */
        CASE(KEY_K "\x9\0\0\0\0\0\0\0\0\0\0\0\0\0\0", BLUELM_E_FORMAT, "llm: array", 37),
        CASE(KEY_K "\x9\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", BLUELM_OK, "", 0),
        CASE(KEY_K "\x9\0\0\0\x9\0\0\0\0\0\0\0\0\0\0\0", BLUELM_E_UNSUPPORTED,
             "llm: array of arrays k", 37),
        CASE(KEY_K "\x9\0\0\0\x0D\0\0\0\0\0\0\0\0\0\0\0", BLUELM_E_FORMAT,
             "llm: array type of k", 37),
        CASE(KEY_K "\x9\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0x", BLUELM_E_FORMAT, "llm: array", 49),
        CASE(KEY_K "\x9\0\0\0\x6\0\0\0\0\0\0\0\0\0\0\x40xxxx", BLUELM_E_FORMAT, "llm: array",
             49),
        CASE(KEY_K "\x9\0\0\0\x6\0\0\0\1\0\0\0\0\0\0\x40xxxx", BLUELM_E_FORMAT, "llm: array",
             49),
        CASE(KEY_K "\x9\0\0\0\xA\0\0\0\1\0\0\0\0\0\0\x20xxxxxxxx", BLUELM_E_FORMAT,
             "llm: array", 49),
        CASE(KEY_K "\x9\0\0\0\7\0\0\0\2\0\0\0\0\0\0\0\1\2", BLUELM_E_FORMAT, "llm: bool k", 50),
        CASE(KEY_K "\x9\0\0\0\x8\0\0\0\1\0\0\0\0\0\0\x20xxxxxxxx", BLUELM_E_FORMAT,
             "llm: array of strings", 49),
        CASE(KEY_K "\x9\0\0\0\x8\0\0\0\2\0\0\0\0\0\0\0"
                   "\2\0\0\0\0\0\0\0ab"
                   "\1\0\0\0\0\0",
             BLUELM_E_FORMAT, "llm: array of strings", 59),
        CASE(KEY_K "\x9\0\0\0\x8\0\0\0\1\0\0\0\0\0\0\0"
                   "\2\0\0\0\0\0\0\x80"
                   "ab",
             BLUELM_E_FORMAT, "llm: array of strings", 57),
#undef CASE
    };
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        bluelm_error err;
        tiny_writer w;
        tiny_file file;
        blm_gguf g;
        tiny_start(&w, 1);
        tiny_put(&w.keys, cases[i].bytes, cases[i].count);
        w.key_count = 1;
        file = tiny_finish(&w);
        if (open_file(&g, &file, &err) != cases[i].rc || err.at != cases[i].at) {
            print_message("case %u: %s %d\n", (unsigned)i, err.subject, (int)err.at);
        }
        assert_int_equal(err.code, cases[i].rc);
        assert_string_equal(err.subject, cases[i].subject);
        assert_int_equal(err.at, cases[i].at);
        tiny_free(&file);
    }
}

#define DATA_BYTES 4096u

static int open_one_tensor(uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset,
                           bluelm_error *err)
{
    tiny_writer w;
    tiny_file file;
    blm_gguf g;
    int rc;
    tiny_start(&w, 1);
    put_entry(&w, "t", n_dims, ne, type, offset);
    put_data(&w, DATA_BYTES);
    file = tiny_finish(&w);
    rc = open_file(&g, &file, err);
    if (rc == BLUELM_OK) {
        blm_tensor t;
        uint32_t values, block_bytes;
        int found = blm_gguf_tensor(&g, "t", &t, err);
        int runs = blm_type_block(type, &values, &block_bytes);
        assert_int_equal(found, runs ? 1 : BLUELM_E_UNSUPPORTED);
        if (found == 1) {
            uint64_t bytes = t.row_bytes * t.ne[1];
            assert_true(t.data >= file.data + file.bytes - DATA_BYTES);
            assert_true(t.data + bytes <= file.data + file.bytes);
        } else {
            assert_int_equal(err->have, type);
        }
    }
    tiny_free(&file);
    return rc;
}

static void a_tensor_outside_its_file_is_refused(void **state)
{
    static const struct {
        uint32_t n_dims;
        uint64_t ne[4];
        uint32_t type;
        uint64_t offset;
        int rc;
    } cases[] = {
        {1, {1024, 0, 0, 0}, 0, 0, BLUELM_OK},
        {1, {1025, 0, 0, 0}, 0, 0, BLUELM_E_FORMAT},
        {1, {1016, 0, 0, 0}, 0, 32, BLUELM_OK},
        {1, {1017, 0, 0, 0}, 0, 32, BLUELM_E_FORMAT},
        {4, {8, 8, 8, 2}, 0, 0, BLUELM_OK},
        {4, {8, 8, 8, 3}, 0, 0, BLUELM_E_FORMAT},
        {1, {1, 0, 0, 0}, 0, DATA_BYTES, BLUELM_E_FORMAT},
        {1, {1, 0, 0, 0}, 0, DATA_BYTES + 32, BLUELM_E_FORMAT},
        {1, {1, 0, 0, 0}, 0, 16, BLUELM_E_FORMAT}, /* not aligned */
        {1, {1, 0, 0, 0}, 0, UINT64_MAX - 31, BLUELM_E_FORMAT},
        {1, {1, 0, 0, 0}, 0, BIT(63), BLUELM_E_FORMAT},
        /* dimensions */
        {0, {0, 0, 0, 0}, 0, 0, BLUELM_E_FORMAT},
        {1, {0, 0, 0, 0}, 0, 0, BLUELM_E_FORMAT},
        {4, {1, 1, 1, 0}, 0, 0, BLUELM_E_FORMAT},
        /* rows that are no whole blocks */
        {2, {32, 2, 0, 0}, 2, 0, BLUELM_OK},
        {2, {16, 2, 0, 0}, 2, 0, BLUELM_E_FORMAT},
        {2, {33, 2, 0, 0}, 8, 0, BLUELM_E_FORMAT},
        {2, {256, 28, 0, 0}, 12, 0, BLUELM_OK},
        {2, {256, 29, 0, 0}, 12, 0, BLUELM_E_FORMAT},
        {1, {128, 0, 0, 0}, 14, 0, BLUELM_E_FORMAT},
        /* sizes that wrap round 64 bits, to 0 or to a little */
        {2, {BIT(32), BIT(32), 0, 0}, 0, 0, BLUELM_E_FORMAT},
        {1, {BIT(62), 0, 0, 0}, 0, 0, BLUELM_E_FORMAT},
        {1, {BIT(62) + 1, 0, 0, 0}, 0, 0, BLUELM_E_FORMAT},
        {1, {UINT64_MAX, 0, 0, 0}, 0, 0, BLUELM_E_FORMAT},
        {4, {BIT(16), BIT(16), BIT(16), BIT(16)}, 1, 0, BLUELM_E_FORMAT},
        {2, {BIT(63), 2, 0, 0}, 2, 0, BLUELM_E_FORMAT},
        {1, {BIT(63) + 32, 0, 0, 0}, 2, 0, BLUELM_E_FORMAT},
        {3, {32, BIT(63), 2, 0}, 8, 0, BLUELM_E_FORMAT},
        {3, {3, UINT64_MAX / 3, 2, 0}, 1, 0, BLUELM_E_FORMAT},
        {3, {8, BIT(32), BIT(27), 0}, 0, 0, BLUELM_E_FORMAT},
        {4, {8, BIT(20), BIT(20), BIT(19)}, 0, 0, BLUELM_E_FORMAT},
        /* known, though not run: Q4_1 is 32 values in 20 bytes */
        {2, {32, 204, 0, 0}, 3, 0, BLUELM_OK},
        {2, {32, 205, 0, 0}, 3, 0, BLUELM_E_FORMAT},
        {2, {31, 2, 0, 0}, 3, 0, BLUELM_E_FORMAT},
        /* unknown: only the start can be checked */
        {2, {BIT(40), BIT(40), 0, 0}, 29, 64, BLUELM_OK},
        {2, {BIT(40), BIT(40), 0, 0}, 0xFFFFFFFF, DATA_BYTES, BLUELM_OK},
        {2, {BIT(40), BIT(40), 0, 0}, 29, DATA_BYTES + 32, BLUELM_E_FORMAT},
        {2, {BIT(40), BIT(40), 0, 0}, 29, 8, BLUELM_E_FORMAT},
    };
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        bluelm_error err;
        int rc =
            open_one_tensor(cases[i].n_dims, cases[i].ne, cases[i].type, cases[i].offset, &err);
        if (rc != cases[i].rc) print_message("case %u: %s\n", (unsigned)i, err.subject);
        assert_int_equal(rc, cases[i].rc);
    }
}

static void a_tensor_with_five_dimensions_is_refused(void **state)
{
    static const uint64_t ne[5] = {1, 1, 1, 1, 1};
    bluelm_error err;
    (void)state;
    assert_int_equal(open_one_tensor(5, ne, 0, 0, &err), BLUELM_E_FORMAT);
    assert_string_equal(err.subject, "llm: dimensions of t");
}

static void names_are_bounded(void **state)
{
    static const uint64_t ne[1] = {1};
    size_t tensor_name, key_name;
    char *name = malloc(65537 + 1);
    (void)state;
    for (tensor_name = 64; tensor_name < 66; tensor_name++) {
        for (key_name = 65535; key_name < 65537; key_name++) {
            bluelm_error err;
            tiny_writer w;
            tiny_file file;
            blm_gguf g;
            int sound = tensor_name == 64 && key_name == 65535;
            memset(name, 'k', 65537);
            tiny_start(&w, 1);
            name[key_name] = 0;
            tiny_key_u32(&w, name, 1);
            name[tensor_name] = 0;
            put_entry(&w, name, 1, ne, 0, 0);
            put_data(&w, 4);
            file = tiny_finish(&w);
            assert_int_equal(open_file(&g, &file, &err), sound ? BLUELM_OK : BLUELM_E_FORMAT);
            tiny_free(&file);
        }
    }
    free(name);
}

static void alignment_must_be_a_power_of_two(void **state)
{
    static const struct {
        uint32_t alignment;
        int rc;
    } cases[] = {{1, BLUELM_OK},
                 {8, BLUELM_OK},
                 {64, BLUELM_OK},
                 {65536, BLUELM_OK},
                 {0, BLUELM_E_FORMAT},
                 {3, BLUELM_E_FORMAT},
                 {48, BLUELM_E_FORMAT},
                 {131072, BLUELM_E_FORMAT},
                 {0x80000000, BLUELM_E_FORMAT},
                 {0xFFFFFFFF, BLUELM_E_FORMAT}};
    static const uint64_t ne[1] = {2};
    size_t i;
    (void)state;
    for (i = 0; i < BLM_COUNT_OF(cases); i++) {
        bluelm_error err;
        tiny_writer w;
        tiny_file file;
        blm_gguf g;
        blm_tensor t;
        tiny_start(&w, 1);
        if (cases[i].rc == BLUELM_OK) w.alignment = cases[i].alignment;
        tiny_key_u32(&w, "general.alignment", cases[i].alignment);
        put_entry(&w, "t", 1, ne, 0, 0);
        put_data(&w, 8);
        file = tiny_finish(&w);
        assert_int_equal(open_file(&g, &file, &err), cases[i].rc);
        if (cases[i].rc == BLUELM_OK) {
            assert_int_equal(blm_gguf_tensor(&g, "t", &t, &err), 1);
            assert_ptr_equal(t.data, file.data + file.bytes - 8);
        } else {
            assert_string_equal(err.subject, "llm: key general.alignment");
        }
        tiny_free(&file);
    }
}

static void an_alignment_of_another_type_is_refused(void **state)
{
    bluelm_error err;
    tiny_writer w;
    tiny_file file;
    blm_gguf g;
    (void)state;
    tiny_start(&w, 1);
    tiny_key_string(&w, "general.alignment", "32");
    file = tiny_finish(&w);
    assert_int_equal(open_file(&g, &file, &err), BLUELM_E_FORMAT);
    tiny_free(&file);
}

static void what_is_there_twice_is_refused_when_asked_for(void **state)
{
    static const uint64_t ne[1] = {2};
    bluelm_error err;
    tiny_writer w;
    tiny_file file;
    blm_gguf g;
    blm_tensor t;
    uint32_t u;
    (void)state;
    tiny_start(&w, 1);
    tiny_key_u32(&w, "a", 1);
    tiny_key_u32(&w, "b", 2);
    tiny_key_u32(&w, "a", 1);
    put_entry(&w, "t", 1, ne, 0, 0);
    put_entry(&w, "u", 1, ne, 0, 0);
    put_entry(&w, "t", 1, ne, 0, 0);
    put_data(&w, 8);
    file = tiny_finish(&w);
    assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
    assert_int_equal(blm_gguf_u32(&g, "b", &u, &err), 1);
    assert_int_equal(blm_gguf_tensor(&g, "u", &t, &err), 1);
    assert_int_equal(blm_gguf_u32(&g, "a", &u, &err), BLUELM_E_FORMAT);
    assert_string_equal(err.subject, "llm: key a");
    assert_int_equal(blm_gguf_tensor(&g, "t", &t, &err), BLUELM_E_FORMAT);
    assert_string_equal(err.subject, "llm: tensor t");
    tiny_free(&file);
}

static void more_tensors_or_keys_than_the_limits_are_refused(void **state)
{
    static const uint64_t ne[1] = {1};
    uint32_t over, i;
    (void)state;
    for (over = 0; over < 2; over++) {
        bluelm_error err;
        tiny_writer w;
        tiny_file file;
        blm_gguf g;
        tiny_start(&w, 1);
        for (i = 0; i < BLM_GGUF_MAX_TENSORS + over; i++)
            put_entry(&w, "", 1, ne, 0, 0);
        put_data(&w, 4);
        file = tiny_finish(&w);
        assert_int_equal(open_file(&g, &file, &err), over ? BLUELM_E_UNSUPPORTED : BLUELM_OK);
        tiny_free(&file);
        tiny_start(&w, 1);
        for (i = 0; i < BLM_GGUF_MAX_KEYS + over; i++)
            tiny_key_u32(&w, "", 1);
        file = tiny_finish(&w);
        assert_int_equal(open_file(&g, &file, &err), over ? BLUELM_E_UNSUPPORTED : BLUELM_OK);
        tiny_free(&file);
    }
}

/* ---- Work ------------------------------------------------------------------------------- */

static double test_seconds(clock_t begun)
{
    return (double)(clock() - begun) / CLOCKS_PER_SEC;
}

/* A file of so many layers that lie mixed, the first tensor of each at the start. */
static tiny_file test_layers(uint32_t layers, uint32_t tensors)
{
    static const uint64_t ne[1] = {1};
    tiny_writer w;
    uint32_t i;
    tiny_start(&w, 1);
    for (i = 0; i < layers * tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.a_tensor_with_a_long_name.%u",
                 (unsigned)(i % layers), (unsigned)(i / layers));
        put_entry(&w, name, 1, ne, 0, 0);
    }
    put_data(&w, 4);
    return tiny_finish(&w);
}

/* Looks for all tensors of all layers, and for as many that are not there. */
static void test_find_layers(const blm_gguf *g, uint32_t layers, uint32_t tensors)
{
    uint32_t layer, i;
    for (layer = 0; layer < layers; layer++) {
        for (i = 0; i < 2 * tensors; i++) {
            char name[64];
            blm_tensor t;
            snprintf(name, sizeof name, "blk.%u.a_tensor_with_a_long_name.%u", (unsigned)layer,
                     (unsigned)i);
            assert_int_equal(blm_gguf_tensor(g, name, &t, NULL), i < tensors);
        }
    }
}

/* As many tensors and layers as there may be. To open the file takes three walks over them;
 * finding each by a walk of its own would take several times what is allowed here. */
static void tensors_are_found_with_one_walk_a_layer(void **state)
{
    const uint32_t tensors = 16, layers = BLM_GGUF_MAX_TENSORS / tensors;
    tiny_file file = test_layers(layers, tensors);
    double open = 1e9, find;
    bluelm_error err;
    clock_t begun;
    blm_gguf g;
    int i;
    (void)state;
    for (i = 0; i < 5; i++) {
        begun = clock();
        assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
        open = BLM_MIN(open, test_seconds(begun));
    }
    begun = clock();
    test_find_layers(&g, layers, tensors);
    find = test_seconds(begun);
    print_message("open %.4f s, find %.3f s\n", open, find);
    assert_true(find < 4 * layers * open);
    tiny_free(&file);
}

/* In whatever order they are asked for, and wherever the names end. */
static void tensors_of_layers_are_found_in_any_order(void **state)
{
    static const char *const names[] = {
        "blk.1.a", "blk.10.a", "blk.1.b",   "v.blk.1.a", "blk.1", "blk.1.", "blk.",
        "1.a",     "blk.1a.a", "a.1.b.2.c", "a.12.b.1",  "..1.a", "blk..a"};
    static const char *const absent[] = {"blk.1.c",  "blk.2.a", "v.blk.10.a",
                                         "blk.11.a", "b",       ""};
    uint64_t ne[1] = {1};
    bluelm_error err;
    tiny_writer w;
    tiny_file file;
    blm_gguf g;
    uint32_t i, k;
    (void)state;
    tiny_start(&w, 1);
    for (i = 0; i < BLM_COUNT_OF(names); i++) {
        ne[0] = i + 1;
        put_entry(&w, names[i], 1, ne, 0, 0);
    }
    put_data(&w, 4 * BLM_COUNT_OF(names));
    file = tiny_finish(&w);
    assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
    for (i = 0; i < BLM_COUNT_OF(names); i++) {
        for (k = 0; k < BLM_COUNT_OF(names); k++) {
            blm_tensor t;
            assert_int_equal(blm_gguf_tensor(&g, names[i], &t, NULL), 1);
            assert_int_equal(t.ne[0], i + 1);
            assert_int_equal(blm_gguf_tensor(&g, absent[k % BLM_COUNT_OF(absent)], &t, NULL),
                             0);
            assert_int_equal(blm_gguf_tensor(&g, names[k], &t, NULL), 1);
            assert_int_equal(t.ne[0], k + 1);
        }
    }
    tiny_free(&file);
}

static void a_layer_of_more_tensors_than_the_limit_is_refused(void **state)
{
    uint32_t over;
    (void)state;
    for (over = 0; over < 2; over++) {
        tiny_file file = test_layers(2, BLM_GGUF_MAX_LAYER_TENSORS + over);
        bluelm_error err;
        blm_gguf g;
        blm_tensor t;
        assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
        assert_int_equal(blm_gguf_tensor(&g, "blk.1.a_tensor_with_a_long_name.0", &t, &err),
                         over ? BLUELM_E_UNSUPPORTED : 1);
        if (over) assert_int_equal(err.need, BLM_GGUF_MAX_LAYER_TENSORS);
        tiny_free(&file);
    }
}

/* The four longest arrays are jumped over, whatever they hold; of the others a walk must read
 * every string. */
static void more_loose_strings_than_the_limit_are_refused(void **state)
{
    uint32_t over;
    (void)state;
    for (over = 0; over < 2; over++) {
        const uint32_t loose = BLM_GGUF_MAX_LOOSE_STRINGS / 2;
        bluelm_error err;
        tiny_writer w;
        tiny_file file;
        blm_gguf g;
        uint32_t i, k, u;
        tiny_start(&w, 1);
        for (i = 0; i < 6; i++) {
            uint32_t count = i < 4 ? loose + 1 + i : loose + (i == 5 ? over : 0);
            char name[16];
            snprintf(name, sizeof name, "s%u", (unsigned)((i + 3) % 6));
            tiny_key_array(&w, name, BLM_GGUF_STRING, count);
            for (k = 0; k < count; k++)
                tiny_put_string(&w.keys, i < 4 ? "x" : "");
        }
        tiny_key_u32(&w, "u", 7);
        file = tiny_finish(&w);
        assert_int_equal(open_file(&g, &file, &err), over ? BLUELM_E_UNSUPPORTED : BLUELM_OK);
        if (!over) assert_int_equal(blm_gguf_u32(&g, "u", &u, &err), 1);
        tiny_free(&file);
    }
}

static void a_truncated_file_is_refused_at_every_byte(void **state)
{
    tiny_file file = every_type();
    size_t bytes;
    (void)state;
    for (bytes = 0; bytes < file.bytes; bytes++) {
        uint8_t *cut = malloc(bytes + 1); /* so that nothing is NULL */
        bluelm_error err;
        blm_gguf g;
        memcpy(cut + 1, file.data, bytes);
        assert_int_equal(blm_gguf_open(&g, cut + 1, bytes, "llm", &err), BLUELM_E_FORMAT);
        free(cut);
    }
    tiny_free(&file);
}

static void no_byte_of_the_header_can_do_harm(void **state)
{
    static const uint8_t values[] = {0, 1, 2, 9, 13, 0x20, 0x7F, 0x80, 0xFE, 0xFF};
    tiny_file file = every_type();
    bluelm_error err;
    blm_gguf g;
    size_t at, i, header;
    unsigned opened = 0, refused = 0, sum = 0;
    (void)state;
    assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
    header = (size_t)g.data_at;
    for (at = 0; at < header; at++) {
        for (i = 0; i < BLM_COUNT_OF(values) + 8; i++) {
            uint8_t *byte = file.data + at, before = *byte;
            *byte = (uint8_t)(i < 8 ? before ^ 1u << i : values[i - 8]);
            if (open_file(&g, &file, &err) == BLUELM_OK) {
                sum += exercise(&g);
                opened++;
            } else {
                assert_true(err.code < 0 && err.subject[0] != 0);
                refused++;
            }
            *byte = before;
        }
    }
    assert_true(opened > 0 && refused > 0 && sum > 0);
    tiny_free(&file);
}

static void a_hostile_name_in_an_error_is_cut_and_kept_printable(void **state)
{
    bluelm_error err;
    char text[128];
    blm_gguf g = {0};
    (void)state;
    g.label = "mmproj";
    blm_gguf_fail(&g, &err, BLUELM_E_FORMAT, "tensor",
                  "a.name.that.is.much.too.long.for.the.sixty.four.bytes.of.a.subject", 1, 2,
                  3);
    assert_string_equal(err.subject,
                        "mmproj: tensor a.name.that.is.much.too.long.for.the.sixty.four.");
    blm_gguf_fail(&g, &err, BLUELM_E_FORMAT, "tensor", "\x1B[2J", 0, 0, 0);
    bluelm_error_text(&err, text, sizeof text);
    assert_string_equal(text, "mmproj: tensor ?[2J: malformed");
    assert_int_equal(blm_gguf_fail(&g, NULL, BLUELM_E_ARG, "x", NULL, 0, 0, 0), BLUELM_E_ARG);
}

/* ---- Files of other programs ------------------------------------------------------------- */

static tiny_file load(const char *folder, const char *name)
{
    const char *shared = getenv("BLUELM_SHARED");
    tiny_file file = {NULL, 0};
    char path[512];
    long bytes;
    FILE *f;
    snprintf(path, sizeof path, "%s/reference/%s/%s", shared ? shared : "../shared", folder,
             name);
    f = fopen(path, "rb");
    if (f == NULL) return file;
    if (fseek(f, 0, SEEK_END) == 0 && (bytes = ftell(f)) > 0) {
        file.data = malloc((size_t)bytes);
        rewind(f);
        file.bytes = fread(file.data, 1, (size_t)bytes, f);
    }
    fclose(f);
    return file;
}

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
        tiny_file file = load(cases[i].folder, cases[i].name);
        bluelm_error err;
        blm_gguf g;
        blm_tensor t;
        if (file.data == NULL) {
            printf("skipped: %s is not there\n", cases[i].name);
            skip();
        }
        assert_int_equal(open_file(&g, &file, &err), BLUELM_OK);
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
        cmocka_unit_test(no_file_is_an_argument_error),
        cmocka_unit_test(a_broken_header_field_is_refused),
        cmocka_unit_test(a_broken_key_is_refused),
        cmocka_unit_test(a_tensor_outside_its_file_is_refused),
        cmocka_unit_test(a_tensor_with_five_dimensions_is_refused),
        cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(alignment_must_be_a_power_of_two),
        cmocka_unit_test(an_alignment_of_another_type_is_refused),
        cmocka_unit_test(what_is_there_twice_is_refused_when_asked_for),
        cmocka_unit_test(more_tensors_or_keys_than_the_limits_are_refused),
        cmocka_unit_test(tensors_are_found_with_one_walk_a_layer),
        cmocka_unit_test(tensors_of_layers_are_found_in_any_order),
        cmocka_unit_test(a_layer_of_more_tensors_than_the_limit_is_refused),
        cmocka_unit_test(more_loose_strings_than_the_limit_are_refused),
        cmocka_unit_test(a_truncated_file_is_refused_at_every_byte),
        cmocka_unit_test(no_byte_of_the_header_can_do_harm),
        cmocka_unit_test(a_hostile_name_in_an_error_is_cut_and_kept_printable),
        cmocka_unit_test(files_of_other_programs_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
