/* Model files that are broken or made to break something: cut at every byte, every byte of
 * the header changed, weights of any bits. Each file lies in a block of its exact size, so
 * that AddressSanitizer sees a byte too many. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gguf/gguf.h"
#include "engine_aid.h"
#include "hostile_aid.h"

/* ---- Helpers ----------------------------------------------------------------------- */

static aid_model test_model(void)
{
    tiny_llm_config llm = tiny_llm_default();
    tiny_vision_config vision = tiny_vision_default();
    llm.n_embd = 32, llm.n_layer = 1, llm.n_head = 2, llm.n_head_kv = 1, llm.n_ff = 32;
    llm.n_vocab = TINY_MIN_VOCAB, llm.tied = 1;
    vision.image_px = 12, vision.patch_px = 4;
    vision.width = 16, vision.n_head = 2, vision.n_layer = 1, vision.n_ff = 24;
    vision.n_embd = 32;
    return aid_model_make(&llm, &vision);
}

static hostile_job test_job(const aid_model *m)
{
    hostile_job job;
    memset(&job, 0, sizeof job);
    job.weights = m->weights;
    job.config.max_image_width_px = 1024;
    job.config.context_tokens = 64;
    job.picture_width = 20, job.picture_height = 30;
    job.max_steps = 12;
    return job;
}

/* Where the weights begin: the file's last part, whose bytes break no format. */
static size_t test_data_start(const tiny_file *file)
{
    blm_gguf g;
    size_t first = file->bytes;
    static const char *const names[] = {"token_embd.weight", "v.patch_embd.weight"};
    assert_int_equal(blm_gguf_open(&g, file->data, file->bytes, "file", NULL), 0);
    for (uint32_t i = 0; i < 2; i++) {
        blm_tensor t;
        if (blm_gguf_tensor(&g, names[i], &t, NULL) == 1) first = (size_t)(t.data - file->data);
    }
    assert_true(first < file->bytes);
    return first;
}

/* ---- Cut files ------------------------------------------------------------------------- */

static void test_cut(const aid_model *m, int vision)
{
    const tiny_file *file = vision ? &m->mmproj : &m->llm;
    hostile_job job = test_job(m);
    size_t data = test_data_start(file), refused = 0;
    /* Behind the header a cut only moves the first tensor that is not whole. */
    for (size_t bytes = 0; bytes < file->bytes; bytes += bytes < data + 64 ? 1 : 7) {
        uint8_t *cut = malloc(bytes ? bytes : 1);
        assert_non_null(cut);
        if (bytes) memcpy(cut, file->data, bytes);
        if (vision)
            job.weights.mmproj = cut, job.weights.mmproj_bytes = bytes;
        else
            job.weights.llm = cut, job.weights.llm_bytes = bytes;
        job.max_steps = bytes + 32 < file->bytes ? 0 : 12;
        int code = hostile_run(&job);
        if (bytes + 32 < file->bytes) assert_int_equal(code, BLUELM_E_FORMAT);
        refused += code < 0;
        free(cut);
    }
    assert_true(refused > data);
}

static void file_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    aid_model m = test_model();
    test_cut(&m, 0);
    test_cut(&m, 1);
    aid_model_free(&m);
}

/* ---- Changed headers ---------------------------------------------------------------------- */

/* 1 where the vocabulary's elements lie, most of a header: any value does there. */
static int test_in_vocabulary(const blm_gguf *g, size_t at)
{
    static const struct {
        const char *key;
        uint32_t type;
    } arrays[] = {{"tokenizer.ggml.tokens", BLM_GGUF_STRING},
                  {"tokenizer.ggml.scores", BLM_GGUF_F32},
                  {"tokenizer.ggml.token_type", BLM_GGUF_I32}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        blm_array a;
        if (blm_gguf_array(g, arrays[i].key, arrays[i].type, &a, NULL) != 1) continue;
        size_t first = (size_t)(a.data - g->file);
        if (at >= first && at - first < a.bytes) return 1;
    }
    return 0;
}

/* Changes each byte of the header in turn to each of some values, one of them in the
 * vocabulary. Plans them all; of those that hold, every `share`th is run. */
static void test_corrupt(aid_model *m, int vision, uint32_t share)
{
    const tiny_file *file = vision ? &m->mmproj : &m->llm;
    hostile_job job = test_job(m);
    size_t data = test_data_start(file);
    uint32_t refused = 0, held = 0;
    blm_gguf g;
    assert_int_equal(blm_gguf_open(&g, file->data, file->bytes, "file", NULL), 0);
    for (size_t at = 0; at < data; at++) {
        uint8_t before = file->data[at];
        uint32_t count = test_in_vocabulary(&g, at) ? 1 : 4;
        const uint8_t values[] = {(uint8_t)(before ^ 1), (uint8_t)(before ^ 0x80), 0, 0xFF};
        for (uint32_t i = 0; i < count; i++) {
            uint8_t value = values[count == 4 ? i : at % 4];
            if (value == before) continue;
            file->data[at] = value;
            job.max_steps = (held + i) % share ? 0 : 12;
            if (hostile_run(&job) < 0)
                refused++;
            else
                held++;
        }
        file->data[at] = before;
    }
    print_message("%u headers refused, %u held\n", (unsigned)refused, (unsigned)held);
    assert_true(refused > 1000);
    assert_true(held > 100);
}

static void header_with_any_byte_changed_does_no_harm(void **state)
{
    (void)state;
    aid_model m = test_model();
    test_corrupt(&m, 0, 16);
    test_corrupt(&m, 1, 4);
    aid_model_free(&m);
}

/* What stretches RoPE, and makes queries grow. */
static void test_stretched(tiny_writer *w, void *unused)
{
    (void)unused;
    tiny_key_string(w, "mistral3.rope.scaling.type", "yarn");
    tiny_key_f32(w, "mistral3.rope.scaling.factor", 16);
    tiny_key_f32(w, "mistral3.rope.scaling.yarn_beta_fast", 32);
    tiny_key_f32(w, "mistral3.rope.scaling.yarn_log_multiplier", 1);
    tiny_key_u32(w, "mistral3.rope.scaling.original_context_length", 64);
    tiny_key_f32(w, "mistral3.attention.temperature_scale", 0.1f);
    tiny_key_f32(w, "mistral3.final_logit_softcapping", 30);
}

/* Two layers, so that every kind that the family has is there. */
static void every_familys_header_with_any_byte_changed_does_no_harm(void **state)
{
    static const char *const names[] = {"mistral3", "qwen2vl", "qwen3",  "qwen3vl",
                                        "qwen35",   "lfm2",    "gemma3", "phi3",
                                        "granite",  "gemma4",  "phi2"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tiny_llm_config llm = tiny_llm_default();
        llm.arch = names[i];
        if (i == 0) llm.extra = test_stretched;
        llm.n_embd = llm.n_ff = 32, llm.n_vocab = TINY_MIN_VOCAB, llm.tied = 1;
        aid_model m = aid_model_make(&llm, NULL);
        hostile_job job = test_job(&m);
        job.picture_width = 0;
        if (hostile_run(&job) < 0) fail_msg("%s is refused", names[i]);
        test_corrupt(&m, 0, 64);
        aid_model_free(&m);
    }
}

/* ---- Weights of any bits --------------------------------------------------------------------- */

/* Fills all weights with one byte, 256: with any, and asks in different kinds of arithmetic. */
static void test_bits(aid_model *m, uint32_t bits)
{
    static const uint32_t ways[] = {0, 3, 5, 6};
    tiny_file *files[] = {&m->llm, &m->mmproj};
    tiny_random random = {bits};
    for (uint32_t f = 0; f < 2; f++)
        for (size_t i = test_data_start(files[f]); i < files[f]->bytes; i++)
            files[f]->data[i] = (uint8_t)(bits < 256 ? bits : tiny_next(&random));
    hostile_job job = test_job(m);
    job.picture_width = job.picture_height = 10; /* one tile */
    for (uint32_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        job.config.kv_type = ways[i] & 1 ? BLUELM_KV_F16 : BLUELM_KV_INT8;
        job.config.activation_type = ways[i] & 2 ? BLUELM_ACT_INT16 : BLUELM_ACT_INT8;
        job.config.vision_activation_type = job.config.activation_type;
        job.config.cpu_mask = ways[i] & 4 ? BLUELM_CPU_NONE : 0;
        job.sampling.temperature = ways[i] & 1 ? 1.0f : 0.0f;
        assert_int_equal(hostile_run(&job), 0);
    }
}

/* Infinities, NaNs, subnormals: the answer is a token of the vocabulary all the same. */
static void weights_of_any_bits_give_tokens(void **state)
{
    (void)state;
    static const uint32_t types[] = {TINY_F32,  TINY_F16,  TINY_Q4_0, TINY_Q8_0,
                                     TINY_Q4_K, TINY_Q6_K, TINY_BF16};
    static const uint32_t bits[] = {0, 0xFF, 0x7C, 0x7F, 0x80, 256};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        tiny_llm_config llm = tiny_llm_default();
        tiny_vision_config vision = tiny_vision_default();
        uint32_t type = types[t];
        uint32_t width = type == TINY_Q4_K || type == TINY_Q6_K ? 256 : 64;
        llm.n_embd = llm.n_ff = width, llm.n_layer = 1, llm.n_vocab = TINY_MIN_VOCAB;
        llm.embd_type = llm.attn_type = llm.ffn_type = llm.down_type = llm.output_type = type;
        vision.n_embd = vision.width = vision.n_ff = width;
        vision.n_head = 4, vision.n_layer = 1;
        vision.type = vision.down_type = type;
        aid_model m = aid_model_make(&llm, &vision);
        for (size_t b = 0; b < sizeof bits / sizeof *bits; b++)
            test_bits(&m, bits[b]);
        aid_model_free(&m);
    }
}

/* ---- Known tricks ----------------------------------------------------------------------------- */

typedef struct test_trick {
    const char *key;
    uint32_t value;
} test_trick;

/* Looks for the key in the file and overwrites its 32-bit value. */
static int test_set_u32(tiny_file *file, const char *key, uint32_t value)
{
    size_t length = strlen(key);
    for (size_t i = 0; i + length + 8 <= file->bytes; i++) {
        if (memcmp(file->data + i, key, length)) continue;
        uint32_t type = blm_load_u32(file->data + i + length);
        if (type != BLM_GGUF_U32) continue;
        for (uint32_t b = 0; b < 4; b++)
            file->data[i + length + 4 + b] = (uint8_t)(value >> (8 * b));
        return 1;
    }
    return 0;
}

/* Sizes that do not fit the tensors, or whose products wrap in 32 bits. */
static void sizes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "llama.embedding_length",           "llama.block_count",
        "llama.feed_forward_length",        "llama.attention.head_count",
        "llama.attention.head_count_kv",    "llama.rope.dimension_count",
        "clip.vision.image_size",           "clip.vision.patch_size",
        "clip.vision.embedding_length",     "clip.vision.block_count",
        "clip.vision.attention.head_count", "clip.vision.projector.scale_factor"};
    static const uint32_t values[] = {0,          1,          3,         5,          255,
                                      65535,      65536,      65537,     0x7FFFFFFF, 0x80000000,
                                      0xFFFFFFFF, 0x20000000, 0x15555556};
    uint32_t refused = 0;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            aid_model m = test_model();
            hostile_job job = test_job(&m);
            int found = test_set_u32(&m.llm, keys[k], values[v]) ||
                        test_set_u32(&m.mmproj, keys[k], values[v]);
            if (!found) fail_msg("no key %s", keys[k]);
            int code = hostile_run(&job);
            if (values[v] > 65537) assert_true(code < 0);
            refused += code < 0;
            aid_model_free(&m);
        }
    }
    /* A lone layer (twice) and a lone head for keys are what the files say; the encoder may
     * have one head as well, and stretches its positions over two other sizes. */
    assert_int_equal(refused,
                     sizeof keys / sizeof *keys * (sizeof values / sizeof *values) - 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_cut_at_any_byte_is_refused),
        cmocka_unit_test(header_with_any_byte_changed_does_no_harm),
        cmocka_unit_test(every_familys_header_with_any_byte_changed_does_no_harm),
        cmocka_unit_test(weights_of_any_bits_give_tokens),
        cmocka_unit_test(sizes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
