/* The language model against its rewrite in double precision: random small models of every
 * shape, weight type, cache and activation; and what must not change its results. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../ports/posix/posix.h"
#include "amx_emulator.h"
#include "network_aid.h"
#include "network_double.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MOST     200 /* tokens of a prompt */
#define RANDOM   24  /* models             */

/* ---- Tolerances ------------------------------------------------------------------------- */

enum { FLOATS = 0, BLOCKS_32 = 1, BLOCKS_256 = 2 };

/* By the coarsest weights, then int8 or int16 activations (which float weights never meet),
 * then f16 or int8 cache: the root mean square of a prompt's errors, measured at four or
 * more of its tokens. The worst of 400 seeds is about three quarters of it. One vector alone may be
 * off by twice as much. */
static tally tallies[3][2][2] = {
    {{{"float weights, f16 cache", 6e-4, 0, 0}, {"float weights, int8 cache", 1.6e-2, 0, 0}},
     {{"the same, int16 acts", 6e-4, 0, 0}, {"the same, int16 acts", 1.6e-2, 0, 0}}},
    {{{"Q4_0 Q8_0, int8 acts, f16 cache", 2.2e-2, 0, 0},
      {"Q4_0 Q8_0, int8 acts, int8 cache", 2.4e-2, 0, 0}},
     {{"Q4_0 Q8_0, int16 acts, f16 cache", 6e-4, 0, 0},
      {"Q4_0 Q8_0, int16 acts, int8 cache", 1.6e-2, 0, 0}}},
    {{{"Q4_K Q6_K, int8 acts, f16 cache", 2.2e-2, 0, 0},
      {"Q4_K Q6_K, int8 acts, int8 cache", 2.6e-2, 0, 0}},
     {{"Q4_K Q6_K, int16 acts, f16 cache", 6e-4, 0, 0},
      {"Q4_K Q6_K, int16 acts, int8 cache", 1.6e-2, 0, 0}}},
};

/* The same with AMX, which takes both factors of a prompt's products as bf16. */
static tally bf16_tallies[2] = {{"bf16 tiles, f16 cache", 2.3e-2, 0, 0},
                                {"bf16 tiles, int8 cache", 2.4e-2, 0, 0}};

static int coarseness(uint32_t type)
{
    if (type == TINY_Q4_K || type == TINY_Q6_K) return BLOCKS_256;
    return type == TINY_Q4_0 || type == TINY_Q8_0 ? BLOCKS_32 : FLOATS;
}

static int model_class(const tiny_llm_config *c)
{
    const uint32_t types[] = {c->attn_type, c->ffn_type, c->down_type,
                              c->tied ? c->embd_type : c->output_type};
    int worst = FLOATS, k;
    size_t i;
    for (i = 0; i < COUNT(types); i++)
        if ((k = coarseness(types[i])) > worst) worst = k;
    return worst;
}

static tally *tally_of(const tiny_llm_config *c, const bluelm_config *run)
{
    if (run->cpu_mask & BLUELM_CPU_AMX && run->activation_type == BLUELM_ACT_INT8)
        return &bf16_tallies[run->kv_type != BLUELM_KV_F16];
    return &tallies[model_class(c)][run->activation_type == BLUELM_ACT_INT16]
                   [run->kv_type != BLUELM_KV_F16];
}

/* ---- A model with what its every prompt must give ------------------------------------------ */

typedef struct example {
    tiny_llm_config config;
    tiny_file file;
    size_t count; /* tokens */
    int32_t tokens[MOST];
    size_t n_vocab;
    double_llm exact;
    double *rows; /* [count][n_embd]: what double_llm_run made */
} example;

static void example_start(example *e, const tiny_llm_config *config, size_t count)
{
    tiny_random random;
    size_t i;
    random.state = config->seed ^ 0x70726F6D7074u;
    e->config = *config;
    e->file = tiny_llm(config);
    e->count = count;
    double_llm_open(&e->exact, e->file.data, e->file.bytes);
    e->n_vocab = e->exact.n_vocab;
    e->rows = malloc(count * e->exact.n_embd * sizeof *e->rows);
    assert_non_null(e->rows);
    for (i = 0; i < count; i++) {
        e->tokens[i] = (int32_t)(tiny_next(&random) % e->n_vocab);
        double_llm_token(&e->exact, e->tokens[i], e->rows + i * e->exact.n_embd);
    }
    double_llm_run(&e->exact, e->rows, count);
}

static void example_end(example *e)
{
    free(e->rows);
    double_llm_close(&e->exact);
    tiny_free(&e->file);
}

/* The error of the logits after the first `read` tokens; huge if they choose another token
 * than such an error explains: it is a deviation, and two logits have it. */
static double logits_error(const example *e, const float *logits, size_t read)
{
    double *want = malloc(e->n_vocab * sizeof *want), error;
    assert_non_null(want);
    assert_non_null(logits);
    double_llm_logits(&e->exact, e->rows + (read - 1) * e->exact.n_embd, want);
    error = relative_error(logits, want, e->n_vocab);
    if (!argmax_holds(want, e->n_vocab, argmax_f32(logits, e->n_vocab), 4 * error))
        error = HUGE_VAL;
    free(want);
    return error;
}

/* Reads the prompt in pieces of random length and checks the logits after each. */
static void check_run(const example *e, const bluelm_config *run, const bluelm_port *port,
                      tiny_random *random)
{
    tally *t = tally_of(&e->config, run);
    double squares = 0, worst = 0;
    size_t read = 0, checks = 0;
    subject s;
    if (subject_open(&s, &e->file, NULL, run, port) < 0) fail_msg("%s", s.err.subject);
    while (read < e->count) {
        size_t left = e->count - read, piece = 1 + (size_t)(tiny_next(random) % left) * 2 / 3;
        double error;
        error = logits_error(e, subject_read(&s, e->tokens + read, piece), read + piece);
        squares += error * error;
        worst = fmax(worst, error);
        read += piece;
        checks++;
    }
    if ((checks >= 4 && !tally_note(t, sqrt(squares / (double)checks))) ||
        worst > 2 * t->allowed)
        fail_msg("seed %u, %u tokens in chunks of %u, kernels %x, %u workers, worst %g",
                 (unsigned)e->config.seed, (unsigned)read, run->chunk_tokens, run->cpu_mask,
                 run->workers, worst);
    subject_close(&s);
}

static bluelm_config run_config(uint32_t kv, uint32_t activation)
{
    bluelm_config run;
    memset(&run, 0, sizeof run);
    run.kv_type = kv;
    run.activation_type = activation;
    return run;
}

/* Every cache and activation, by the scalar and by fast kernels; which of these, chunks and
 * workers by chance. */
static void check_example(const example *e, tiny_random *random)
{
    static const uint32_t chunks[] = {1, 7, 128}, workers[] = {1, 2, 3, 5};
    static const uint32_t masks[] = {0, BLUELM_CPU_AVX2};
    bluelm_port port = backward_port();
    int fast;
    uint32_t kv, act;
    for (fast = 0; fast < 2; fast++)
        for (kv = BLUELM_KV_INT8; kv <= BLUELM_KV_F16; kv++)
            for (act = BLUELM_ACT_INT8; act <= BLUELM_ACT_INT16; act++) {
                bluelm_config run = run_config(kv, act);
                run.cpu_mask = fast ? masks[tiny_next(random) % 2] : BLUELM_CPU_NONE;
                run.chunk_tokens = chunks[tiny_next(random) % COUNT(chunks)];
                run.workers = workers[tiny_next(random) % COUNT(workers)];
                check_run(e, &run, &port, random);
            }
}

/* ---- Models by chance -------------------------------------------------------------------- */

static uint32_t pick(tiny_random *r, const uint32_t *from, size_t count)
{
    return from[tiny_next(r) % count];
}

static void random_types(tiny_llm_config *c, tiny_random *r)
{
    static const uint32_t types[] = {TINY_F32,  TINY_F16,  TINY_BF16, TINY_Q4_0,
                                     TINY_Q8_0, TINY_Q4_K, TINY_Q6_K};
    size_t count = c->n_embd % 256 == 0 ? 7 : c->n_embd % 32 == 0 ? 5 : 3;
    if (tiny_next(r) % 3 == 0) count = 3; /* floats alone, whose tolerance is the closest */
    c->embd_type = pick(r, types, count);
    c->attn_type = pick(r, types, count);
    c->ffn_type = pick(r, types, count);
    c->down_type = pick(r, types, count);
    c->output_type = pick(r, types, count);
}

static tiny_llm_config random_model(uint64_t seed)
{
    static const uint32_t widths[] = {32, 64, 96, 256, 40, 54};
    static const uint32_t ffn[] = {32, 96, 160, 256, 50, 77};
    static const uint32_t dims[] = {8, 16, 20, 32, 40, 64, 6, 14, 9, 33};
    tiny_llm_config c = tiny_llm_default();
    tiny_random r;
    r.state = seed;
    c.seed = seed;
    c.arch = tiny_next(&r) % 2 ? "llama" : "qwen2";
    c.n_embd = pick(&r, widths, COUNT(widths));
    c.n_ff = pick(&r, ffn, COUNT(ffn));
    c.n_layer = 1 + (uint32_t)(tiny_next(&r) % 3);
    c.n_head_kv = 1 + (uint32_t)(tiny_next(&r) % 3);
    c.n_head = c.n_head_kv * (1 + (uint32_t)(tiny_next(&r) % 5));
    c.head_dim = pick(&r, dims, COUNT(dims));
    if (c.head_dim % 2 == 1 || tiny_next(&r) % 3 == 0) c.n_rot = c.head_dim / 4 * 2;
    c.n_vocab = TINY_MIN_VOCAB + (uint32_t)(tiny_next(&r) % 60);
    c.rope_base = tiny_next(&r) % 2 ? 10000.0f : 1e6f;
    c.rms_eps = tiny_next(&r) % 2 ? 1e-5f : 1e-2f;
    c.tied = tiny_next(&r) % 3 == 0;
    c.qkv_bias = tiny_next(&r) % 2 == 0;
    c.rope_freqs = tiny_next(&r) % 3 == 0;
    c.byte_bpe = tiny_next(&r) % 3 == 0;
    random_types(&c, &r);
    return c;
}

static void random_models_agree_with_double_precision(void **state)
{
    uint64_t first = tiny_seed(1000), seed;
    (void)state;
    for (seed = first; seed < first + RANDOM; seed++) {
        tiny_llm_config c = random_model(seed);
        tiny_random random;
        example e;
        random.state = seed + 1;
        example_start(&e, &c, 1 + (size_t)(tiny_next(&random) % MOST));
        check_example(&e, &random);
        example_end(&e);
    }
}

static void every_weight_type_agrees_with_double_precision(void **state)
{
    static const uint32_t types[] = {TINY_F32,  TINY_F16,  TINY_BF16, TINY_Q4_0,
                                     TINY_Q8_0, TINY_Q4_K, TINY_Q6_K};
    size_t i;
    (void)state;
    for (i = 0; i < 2 * COUNT(types); i++) {
        tiny_llm_config c = tiny_llm_default();
        tiny_random random;
        example e;
        c.embd_type = c.attn_type = c.ffn_type = c.down_type = c.output_type =
            types[i % COUNT(types)];
        c.arch = i % 2 ? "qwen2" : "llama";
        c.qkv_bias = i % 2;
        c.n_embd = c.n_ff = 256;
        c.seed = random.state = 50 + i;
        example_start(&e, &c, 40);
        check_example(&e, &random);
        example_end(&e);
    }
}

/* Prompts in chunks that fill tiles, with what is left over; int16 activations ask for more
 * than bf16 has, and get it. */
static void amx_agrees_with_double_precision(void **state)
{
    bluelm_port port = backward_port();
    uint64_t seed;
    (void)state;
    port.cpu_features = amx_features(bluelm_posix_port(NULL).cpu_features);
    if (!(port.cpu_features & BLUELM_CPU_AMX)) skip();
    for (seed = 3000; seed < 3012; seed++) {
        tiny_llm_config c = random_model(seed);
        tiny_random random;
        example e;
        uint32_t i;
        random.state = seed;
        example_start(&e, &c, 60 + seed % 7 * 20);
        for (i = 0; i < 4; i++) {
            bluelm_config run = run_config(i % 2 ? BLUELM_KV_F16 : BLUELM_KV_INT8,
                                           i / 2 ? BLUELM_ACT_INT16 : BLUELM_ACT_INT8);
            run.cpu_mask = BLUELM_CPU_AMX | BLUELM_CPU_AVX2;
            run.workers = 1 + (uint32_t)(seed % 3);
            run.chunk_tokens = seed % 2 ? 128 : 37;
            check_run(&e, &run, &port, &random);
        }
        example_end(&e);
    }
}

/* ---- What the results must not depend on ----------------------------------------------------- */

static tiny_llm_config mixed_model(void)
{
    tiny_llm_config c = tiny_llm_default();
    c.embd_type = TINY_F16;
    c.attn_type = TINY_Q8_0;
    c.ffn_type = TINY_Q4_0;
    c.down_type = TINY_BF16;
    c.output_type = TINY_Q8_0;
    c.n_head = 6;
    c.n_head_kv = 3;
    c.head_dim = 20;
    c.seed = 77;
    return c;
}

/* Logits after the example's prompt, read in one call; free them. */
static float *logits_of(const example *e, const bluelm_config *run, const bluelm_port *port)
{
    float *copy = malloc(e->n_vocab * sizeof *copy);
    const float *logits;
    subject s;
    assert_non_null(copy);
    assert_int_equal(subject_open(&s, &e->file, NULL, run, port), BLUELM_OK);
    logits = subject_read(&s, e->tokens, e->count);
    assert_non_null(logits);
    memcpy(copy, logits, e->n_vocab * sizeof *copy);
    subject_close(&s);
    return copy;
}

static void any_number_of_workers_gives_the_same_bits(void **state)
{
    static const uint32_t workers[] = {2, 3, 5, 64}, counts[] = {1, 29};
    static const uint32_t masks[] = {BLUELM_CPU_NONE, BLUELM_CPU_AVX2, 0};
    bluelm_posix_pool *pool = bluelm_posix_pool_start(3);
    bluelm_port threads = bluelm_posix_port(pool), backward = backward_port();
    bluelm_port none = {.cpu_features = amx_features(threads.cpu_features)};
    tiny_llm_config c = mixed_model();
    size_t i, n, m;
    example e;
    (void)state;
    assert_non_null(pool);
    threads.cpu_features = backward.cpu_features = none.cpu_features;
    for (n = 0; n < COUNT(counts); n++) {
        example_start(&e, &c, counts[n]);
        for (m = 0; m < COUNT(masks); m++) {
            bluelm_config run = run_config(0, 0);
            float *alone;
            run.cpu_mask = masks[m];
            alone = logits_of(&e, &run, &none);
            for (i = 0; i < 2 * COUNT(workers); i++) {
                float *shared;
                run.workers = workers[i / 2];
                shared = logits_of(&e, &run, i % 2 ? &backward : &threads);
                assert_memory_equal(shared, alone, e.n_vocab * sizeof *alone);
                free(shared);
            }
            free(alone);
        }
        example_end(&e);
    }
    bluelm_posix_pool_stop(pool);
}

static void chunks_of_any_size_give_the_same_bits(void **state)
{
    static const uint32_t chunks[] = {1, 2, 7, 50, 128};
    int quantised;
    (void)state;
    for (quantised = 0; quantised < 2; quantised++) {
        tiny_llm_config c = quantised ? mixed_model() : tiny_llm_default();
        bluelm_config run = run_config(BLUELM_KV_F16, 0);
        float *whole;
        size_t i;
        example e;
        example_start(&e, &c, MOST);
        run.chunk_tokens = MOST;
        whole = logits_of(&e, &run, NULL);
        for (i = 0; i < COUNT(chunks); i++) {
            float *parts;
            run.chunk_tokens = chunks[i];
            parts = logits_of(&e, &run, NULL);
            assert_memory_equal(parts, whole, e.n_vocab * sizeof *whole);
            free(parts);
        }
        free(whole);
        example_end(&e);
    }
}

/* Makes up to `most` tokens greedily behind the example's prompt. Returns how many. */
static size_t answer(subject *s, const example *e, int32_t *made, size_t most)
{
    bluelm_event event;
    size_t count = 0;
    int code;
    assert_int_equal(bluelm_add_tokens(s->engine, e->tokens, e->count, &s->err), BLUELM_OK);
    assert_int_equal(bluelm_generate(s->engine, (uint32_t)most, &s->err), BLUELM_OK);
    while ((code = bluelm_step(s->engine, &event, &s->err)) > 0)
        if (event.type == BLUELM_EVENT_TOKEN) made[count++] = event.token;
    assert_int_equal(code, 0);
    assert_int_equal(event.type, BLUELM_EVENT_END);
    return count;
}

/* Each token of an answer is the best after what was read before it, and what was read
 * while answering serves what comes next just as a prompt would. */
static void decoding_continues_as_prefill_would(void **state)
{
    static tally near = {"read while answering", 1e-3, 0, 0};
    uint64_t seed;
    (void)state;
    for (seed = 300; seed < 306; seed++) {
        tiny_llm_config c = tiny_llm_default();
        bluelm_config run = run_config(BLUELM_KV_F16, 0);
        int32_t made[20];
        size_t count, i;
        example e, longer;
        subject s;
        c.seed = seed;
        c.n_vocab = 300;
        run.chunk_tokens = 16;
        example_start(&e, &c, 21);
        assert_int_equal(subject_open(&s, &e.file, NULL, &run, NULL), BLUELM_OK);
        count = answer(&s, &e, made, COUNT(made));
        longer = e;
        longer.count = e.count + count + 1;
        memcpy(longer.tokens + e.count, made, count * sizeof *made);
        longer.tokens[e.count + count] = 7;
        longer.rows = malloc(longer.count * e.exact.n_embd * sizeof *longer.rows);
        assert_non_null(longer.rows);
        for (i = 0; i < longer.count; i++)
            double_llm_token(&e.exact, longer.tokens[i], longer.rows + i * e.exact.n_embd);
        double_llm_run(&e.exact, longer.rows, longer.count);
        for (i = 0; i < count; i++) {
            double *logits = malloc(e.n_vocab * sizeof *logits);
            assert_non_null(logits);
            double_llm_logits(&e.exact, longer.rows + (e.count + i - 1) * e.exact.n_embd,
                              logits);
            assert_true(argmax_holds(logits, e.n_vocab, (size_t)made[i], 2e-3));
            free(logits);
        }
        assert_true(tally_note(
            &near, logits_error(&longer, subject_read(&s, longer.tokens + e.count + count, 1),
                                longer.count)));
        free(longer.rows);
        subject_close(&s);
        example_end(&e);
    }
    tally_print(&near, 1);
}

static void the_answers_own_tokens_fill_the_context_to_the_last(void **state)
{
    tiny_llm_config c = tiny_llm_default();
    bluelm_config run = run_config(BLUELM_KV_F16, 0);
    example e;
    subject s;
    (void)state;
    example_start(&e, &c, 24);
    run.context_tokens = 24;
    assert_int_equal(subject_open(&s, &e.file, NULL, &run, NULL), BLUELM_OK);
    assert_true(logits_error(&e, subject_read(&s, e.tokens, 24), 24) < 1e-3);
    assert_int_equal(bluelm_add_tokens(s.engine, e.tokens, 1, &s.err), BLUELM_E_CONTEXT);
    subject_close(&s);
    example_end(&e);
}

/* The second conversation sees nothing of the first. */
static void reset_forgets_the_conversation(void **state)
{
    tiny_llm_config c = tiny_llm_default();
    example e;
    subject s;
    float *first;
    const float *again;
    (void)state;
    example_start(&e, &c, 40);
    assert_int_equal(subject_open(&s, &e.file, NULL, NULL, NULL), BLUELM_OK);
    first = malloc(e.n_vocab * sizeof *first);
    assert_non_null(first);
    memcpy(first, subject_read(&s, e.tokens, 40), e.n_vocab * sizeof *first);
    subject_read(&s, e.tokens + 5, 13);
    bluelm_reset(s.engine);
    again = subject_read(&s, e.tokens, 40);
    assert_non_null(again);
    assert_memory_equal(again, first, e.n_vocab * sizeof *first);
    free(first);
    subject_close(&s);
    example_end(&e);
}

/* ---- Keys that the small models do not set by themselves ---------------------------------------- */

static void add_linear_scaling(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_string(w, "llama.rope.scaling.type", "linear");
    tiny_key_f32(w, "llama.rope.scaling.factor", 4.0f);
}

static void linear_rope_scaling_slows_every_pair(void **state)
{
    tiny_llm_config c = tiny_llm_default();
    tiny_random random;
    example e;
    (void)state;
    c.extra = add_linear_scaling;
    random.state = 5;
    example_start(&e, &c, 100);
    check_example(&e, &random);
    example_end(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_weight_type_agrees_with_double_precision),
        cmocka_unit_test(random_models_agree_with_double_precision),
        cmocka_unit_test(linear_rope_scaling_slows_every_pair),
        cmocka_unit_test(amx_agrees_with_double_precision),
        cmocka_unit_test(any_number_of_workers_gives_the_same_bits),
        cmocka_unit_test(chunks_of_any_size_give_the_same_bits),
        cmocka_unit_test(decoding_continues_as_prefill_would),
        cmocka_unit_test(the_answers_own_tokens_fill_the_context_to_the_last),
        cmocka_unit_test(reset_forgets_the_conversation),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tally_print(&tallies[0][0][0], COUNT(tallies) * 4);
    tally_print(bf16_tallies, COUNT(bf16_tallies));
    return failed;
}
