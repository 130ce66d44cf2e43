/* What files of language models say: keys that change the network are heeded, and what is
 * not run is refused by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../families/language.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

typedef struct opened {
    tiny_file file;
    blm_gguf gguf;
    blm_language m;
    blm_arena arena;
    void *block;
    bluelm_error err;
} opened;

static tiny_llm_config family(const char *arch, tiny_extra extra)
{
    tiny_llm_config c = tiny_llm_default();
    c.arch = arch;
    c.n_layer = 3;
    c.n_vocab = TINY_MIN_VOCAB;
    c.extra = extra;
    return c;
}

/* Opens a model in memory of exactly what counting said; returns the code. */
static int open_file(opened *o)
{
    int code;
    assert_int_equal(blm_gguf_open(&o->gguf, o->file.data, o->file.bytes, "llm", NULL), 0);
    blm_arena_start(&o->arena, NULL, UINT64_MAX);
    code = blm_language_open(&o->m, &o->gguf, &o->arena, &o->err);
    o->block = malloc((size_t)o->arena.wanted + BLM_ARENA_MARGIN);
    assert_non_null(o->block);
    blm_arena_start(&o->arena, o->block, o->arena.wanted + BLM_ARENA_MARGIN);
    assert_int_equal(blm_language_open(&o->m, &o->gguf, &o->arena, &o->err), code);
    assert_true(blm_arena_ok(&o->arena));
    return code;
}

static int open_family(opened *o, const char *arch, tiny_extra extra)
{
    tiny_llm_config c = family(arch, extra);
    memset(o, 0, sizeof *o);
    o->file = tiny_llm(&c);
    return open_file(o);
}

static void close_file(opened *o)
{
    blm_arena_release(&o->arena);
    free(o->block);
    tiny_free(&o->file);
}

/* ---- Refused ------------------------------------------------------------------------------- */

static void add_dynamic(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_string(w, "qwen3.rope.scaling.type", "dynamic");
}

static void add_longrope(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_string(w, "phi3.rope.scaling.type", "longrope");
}

static void add_both_ways(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_bool(w, "qwen3.attention.causal", 0);
}

static void add_cap(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_f32(w, "gemma3.attn_logit_softcapping", 50);
}

static void add_part(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_u32(w, "split.count", 3);
}

static void add_sinks(tiny_writer *w, void *user)
{
    static const float ones[] = {1, 1, 1, 1};
    static const uint64_t ne[] = {4};
    (void)user;
    tiny_tensor(w, "blk.1.attn_sinks.weight", TINY_F32, 1, ne, ones);
}

static void add_experts(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_u32(w, "llama.expert_count", 8);
}

static void what_is_not_run_is_refused_by_name(void **state)
{
    static const struct {
        const char *arch;
        tiny_extra extra;
        const char *subject;
        uint64_t have;
    } cases[] = {
        {"mamba", NULL, "llm: architecture mamba", 0},
        {"qwen3", add_dynamic, "llm: qwen3.rope.scaling.type dynamic", 0},
        {"llama", add_experts, "llm: llama.expert_count", 8},
        {"qwen3", add_both_ways, "llm: qwen3.attention.causal", 0},
        {"gemma3", add_cap, "llm: gemma3.attn_logit_softcapping", 1},
        {"llama", add_part, "llm: one part of a split model (join them): split.count", 3},
        {"granite", add_sinks, "llm: no layer here runs tensor blk.1.attn_sinks.weight", 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        opened o;
        assert_int_equal(open_family(&o, cases[i].arch, cases[i].extra), BLUELM_E_UNSUPPORTED);
        assert_string_equal(o.err.subject, cases[i].subject);
        assert_int_equal(o.err.have, cases[i].have);
        close_file(&o);
    }
}

static void longrope_needs_its_factors(void **state)
{
    opened o;
    (void)state;
    assert_int_equal(open_family(&o, "phi3", add_longrope), BLUELM_E_FORMAT);
    assert_string_equal(o.err.subject, "llm: rope_factors_short.weight of longrope is missing");
    close_file(&o);
}

/* Every size of a mixer must be there: the key is renamed, then the model refused. */
static void missing_keys_are_named(void **state)
{
    static const struct {
        const char *arch, *key, *subject;
    } cases[] = {
        {"qwen2vl", "qwen2vl.rope.dimension_sections",
         "llm: qwen2vl.rope.dimension_sections elements"},
        {"lfm2", "lfm2.shortconv.l_cache", "llm: lfm2.shortconv.l_cache is missing"},
        {"qwen35", "qwen35.ssm.state_size", "llm: qwen35.ssm.state_size is missing"},
        {"qwen35", "qwen35.ssm.inner_size", "llm: qwen35.ssm.inner_size is missing"},
        {"gemma3", "blk.1.post_ffw_norm.weight", "llm: blk.1.post_ffw_norm.weight is missing"},
        {"qwen3", "blk.2.attn_k_norm.weight", "llm: blk.2.attn_k_norm.weight is missing"},
        {"gemma4", "blk.1.post_norm.weight", "llm: blk.1.post_norm.weight is missing"},
        {"gemma4", "per_layer_model_proj.weight",
         "llm: per_layer_model_proj.weight is missing"},
    };
    size_t i, at;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        tiny_llm_config c = family(cases[i].arch, NULL);
        size_t length = strlen(cases[i].key);
        opened o;
        memset(&o, 0, sizeof o);
        o.file = tiny_llm(&c);
        for (at = 0; memcmp(o.file.data + at, cases[i].key, length) != 0; at++)
            assert_true(at + length < o.file.bytes);
        o.file.data[at + length - 1] = '?';
        assert_int_equal(open_file(&o), BLUELM_E_FORMAT);
        assert_string_equal(o.err.subject, cases[i].subject);
        close_file(&o);
    }
}

/* Numbers of Gemma 4's keys that do not fit each other: a value is changed where it lies. */
static void sizes_of_layers_must_fit(void **state)
{
    static const struct {
        const char *key;
        uint32_t value;
        int code;
        const char *subject;
        uint64_t need, have;
    } cases[] = {
        {"gemma4.attention.shared_kv_layers", 4, BLUELM_E_FORMAT,
         "llm: gemma4.attention.shared_kv_layers", 3, 4},
        {"gemma4.attention.shared_kv_layers", 3, BLUELM_E_FORMAT,
         "llm: gemma4.attention.shared_kv_layers: none before layer", 1, 1},
        {"gemma4.attention.key_length_swa", 32, BLUELM_E_FORMAT,
         "llm: gemma4.attention.key_length_swa", 16, 32},
        {"gemma4.attention.value_length_swa", 4, BLUELM_E_UNSUPPORTED,
         "llm: gemma4.attention.value_length_swa", 8, 4},
        {"gemma4.rope.dimension_count_swa", 7, BLUELM_E_FORMAT,
         "llm: gemma4.rope.dimension_count_swa is odd", 8, 7},
        {"gemma4.feed_forward_length", 0, BLUELM_E_FORMAT, "llm: gemma4.feed_forward_length", 1,
         0},
        {"gemma4.embedding_length_per_layer_input", 31, BLUELM_E_FORMAT,
         "llm: per_layer_token_embd.weight columns", 124, 128},
    };
    size_t i, at;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        tiny_llm_config c = family("gemma4", NULL);
        size_t length = strlen(cases[i].key), byte;
        opened o;
        memset(&o, 0, sizeof o);
        c.n_layer = 4;
        o.file = tiny_llm(&c);
        for (at = 0; memcmp(o.file.data + at, cases[i].key, length) != 0; at++)
            assert_true(at + length < o.file.bytes);
        for (byte = 0; byte < 4; byte++)
            o.file.data[at + length + 4 + byte] = (uint8_t)(cases[i].value >> (8 * byte));
        assert_int_equal(open_file(&o), cases[i].code);
        assert_string_equal(o.err.subject, cases[i].subject);
        assert_int_equal(o.err.need, cases[i].need);
        assert_int_equal(o.err.have, cases[i].have);
        close_file(&o);
    }
}

/* What shares keys and values takes no room for its own, and its heads may be smaller. */
static void layers_that_share_store_nothing(void **state)
{
    tiny_llm_config c = family("gemma4", NULL);
    blm_arena counting;
    blm_state s;
    opened o;
    (void)state;
    memset(&o, 0, sizeof o);
    c.n_layer = 4; /* two of each kind, of which the last ones share */
    o.file = tiny_llm(&c);
    assert_int_equal(open_file(&o), BLUELM_OK);
    assert_int_equal(o.m.n_storing, 2);
    assert_true(o.m.n_window == 1 && o.m.n_context == 1);
    assert_true(o.m.layers[2].ordinal == 0 && o.m.layers[3].ordinal == 0);
    assert_true(!o.m.layers[2].mix.attention.k.data && o.m.layers[1].mix.attention.k.data);
    assert_int_equal(o.m.layers[0].head_dim * 2, o.m.layers[1].head_dim);
    memset(&s, 0, sizeof s);
    blm_arena_start(&counting, NULL, UINT64_MAX);
    blm_state_take(&s, &counting, &o.m, BLUELM_KV_F16, 64, 16);
    assert_true(s.context.n_layer == 1 && s.window.n_layer == 1);
    assert_int_equal(s.window.head_dim * 2, s.context.head_dim);
    close_file(&o);
}

/* ---- Heeded ---------------------------------------------------------------------------------- */

enum { PAIRS = 8 }; /* of the default model's heads */

static void add_factors(tiny_writer *w, void *user)
{
    float values[PAIRS];
    uint64_t ne[1] = {PAIRS};
    uint32_t i;
    (void)user;
    for (i = 0; i < PAIRS; i++)
        values[i] = 1 + (float)i;
    tiny_tensor(w, "rope_factors_short.weight", TINY_F32, 1, ne, values);
    tiny_key_u32(w, "phi3.rope.scaling.original_context_length", 64);
    tiny_key_f32(w, "phi3.rope.scaling.attn_factor", 1.25f);
}

/* Up to the original context; the file was trained for more, with other factors. */
static void short_factors_hold_for_the_original_context(void **state)
{
    opened o;
    uint32_t i;
    (void)state;
    assert_int_equal(open_family(&o, "phi3", add_factors), 0);
    assert_int_equal(o.m.trained_context_tokens, 64);
    assert_true(o.m.rope_magnitude == 1.25f);
    assert_true(o.m.rope_long_frequency == NULL);
    for (i = 0; i < PAIRS; i++) {
        double want = pow(10000, -2.0 * i / (2 * PAIRS)) / (1 + i);
        assert_true(fabs(o.m.rope_frequency[i] - want) < 1e-9 * want);
    }
    close_file(&o);
}

static void add_both_factors(tiny_writer *w, void *user)
{
    float values[PAIRS];
    uint64_t ne[1] = {PAIRS};
    uint32_t i;
    add_factors(w, user);
    for (i = 0; i < PAIRS; i++)
        values[i] = 2 + 3 * (float)i;
    tiny_tensor(w, "rope_factors_long.weight", TINY_F32, 1, ne, values);
    tiny_key_string(w, "phi3.rope.scaling.type", "longrope");
}

/* With the long factors a model holds what it was trained for. */
static void long_factors_are_for_contexts_beyond_the_original(void **state)
{
    opened o;
    uint32_t i;
    (void)state;
    assert_int_equal(open_family(&o, "phi3", add_both_factors), 0);
    assert_int_equal(o.m.trained_context_tokens, tiny_llm_default().n_ctx);
    assert_int_equal(o.m.original_context_tokens, 64);
    for (i = 0; i < PAIRS; i++) {
        double plain = pow(10000, -2.0 * i / (2 * PAIRS));
        assert_true(fabs(o.m.rope_frequency[i] * (1 + i) / plain - 1) < 1e-9);
        assert_true(fabs(o.m.rope_long_frequency[i] * (2 + 3 * i) / plain - 1) < 1e-9);
    }
    close_file(&o);
}

static void add_stretch(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_string(w, "smollm3.rope.scaling.type", "yarn");
    tiny_key_f32(w, "smollm3.rope.scaling.factor", 2);
}

/* Every fourth layer of a SmolLM3 turns nothing. Were its magnitude stretched, theirs would
 * be too. */
static void in_some_layers_nothing_turns(void **state)
{
    tiny_llm_config c = family("smollm3", NULL);
    opened o;
    uint32_t i;
    (void)state;
    memset(&o, 0, sizeof o);
    c.n_layer = 9;
    o.file = tiny_llm(&c);
    assert_int_equal(open_file(&o), 0);
    assert_int_equal(o.m.n_rope, 2);
    for (i = 0; i < c.n_layer; i++)
        assert_int_equal(o.m.layers[i].rope, i == 3 || i == 7);
    for (i = 0; i < PAIRS; i++) {
        assert_true(o.m.rope_frequency[i] > 0);
        assert_true(o.m.rope_frequency[PAIRS + i] == 0);
    }
    close_file(&o);
    assert_int_equal(open_family(&o, "smollm3", add_stretch), BLUELM_E_UNSUPPORTED);
    assert_string_equal(o.err.subject, "llm: rope.scaling of resting layers");
    close_file(&o);
}

static void add_plain_factor(tiny_writer *w, void *user)
{
    tiny_key_f32(w, (const char *)user, 4);
}

/* A factor without a type is a linear one; so is one under the key's old name. */
static void a_factor_alone_scales_positions(void **state)
{
    static char names[][32] = {"llama.rope.scaling.factor", "llama.rope.scale_linear"};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(names); i++) {
        tiny_llm_config c = family("llama", add_plain_factor);
        opened o;
        memset(&o, 0, sizeof o);
        c.extra_user = names[i];
        o.file = tiny_llm(&c);
        assert_int_equal(open_file(&o), 0);
        assert_true(fabs(o.m.rope_frequency[0] - 0.25) < 1e-12);
        close_file(&o);
    }
}

static void add_yarn(tiny_writer *w, void *user)
{
    tiny_key_string(w, "qwen3.rope.scaling.type", "yarn");
    tiny_key_f32(w, "qwen3.rope.scaling.factor", 4);
    tiny_key_u32(w, "qwen3.rope.scaling.original_context_length", 1000);
    if (!user) return;
    tiny_key_f32(w, "qwen3.rope.scaling.yarn_beta_fast", 8);
    tiny_key_f32(w, "qwen3.rope.scaling.yarn_beta_slow", 2);
    tiny_key_f32(w, "qwen3.rope.scaling.yarn_log_multiplier", 1);
}

/* YaRN's paper: a pair that turns r times within the original context keeps its frequency for
 * r > fast, is slowed down by the factor for r < slow, and between them a ramp over the pairs
 * mixes both; what turns grows by 0.1 ln(factor) + 1, or by what the file says instead. */
static void yarn_slows_what_turns_slowly(void **state)
{
    static char other[] = "other";
    int k;
    (void)state;
    for (k = 0; k < 2; k++) {
        tiny_llm_config c = family("qwen3", add_yarn);
        double fast = k ? 8 : 32, slow = k ? 2 : 1, base, low, high;
        opened o;
        uint32_t i, mixed = 0;
        memset(&o, 0, sizeof o);
        if (k) c.extra_user = other;
        o.file = tiny_llm(&c);
        assert_int_equal(open_file(&o), 0);
        base = (double)c.rope_base;
        low = floor(PAIRS * log(1000 / (fast * 2 * acos(-1))) / log(base));
        high = ceil(PAIRS * log(1000 / (slow * 2 * acos(-1))) / log(base));
        for (i = 0; i < PAIRS; i++) {
            double plain = pow(base, -(double)i / PAIRS);
            double ramp = fmin(1, fmax(0, (i - low) / (high - low)));
            double want = plain * (1 - ramp) + plain / 4 * ramp;
            mixed += ramp > 0 && ramp < 1;
            assert_true(fabs(o.m.rope_frequency[i] / want - 1) < 1e-9);
        }
        assert_true(mixed > 0);
        assert_true(fabs((double)o.m.rope_magnitude - (k ? 1 : 1 + 0.1 * log(4))) < 1e-6);
        close_file(&o);
    }
}

static void add_temperature(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_f32(w, "mistral3.attention.temperature_scale", 0.1f);
    tiny_key_u32(w, "mistral3.rope.scaling.original_context_length", 50);
    tiny_key_f32(w, "mistral3.final_logit_softcapping", 30);
    tiny_key_bool(w, "mistral3.rope.scaling.finetuned", 0); /* Granite's alone */
}

static void queries_grow_where_the_file_says_so(void **state)
{
    opened o;
    (void)state;
    assert_int_equal(open_family(&o, "mistral3", add_temperature), 0);
    assert_true(o.m.temperature == 0.1f);
    assert_int_equal(o.m.temperature_tokens, 50);
    assert_true(o.m.logit_cap == 30);
    assert_true(o.m.rope_frequency[0] == 1);
    close_file(&o);
    assert_int_equal(open_family(&o, "llama", NULL), 0);
    assert_true(o.m.temperature_tokens == 0 && o.m.logit_cap == 0);
    close_file(&o);
}

static void add_still(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_bool(w, "granite.rope.scaling.finetuned", 0);
}

static void granite_may_have_no_rope(void **state)
{
    opened o;
    (void)state;
    assert_int_equal(open_family(&o, "granite", add_still), 0);
    assert_true(o.m.rope_frequency[0] == 0 && o.m.rope_frequency[1] == 0);
    close_file(&o);
    assert_int_equal(open_family(&o, "granite", NULL), 0);
    assert_true(o.m.rope_frequency[0] == 1);
    close_file(&o);
}

/* Biases that only some files have. */
static void add_biases(tiny_writer *w, void *user)
{
    static const char *const names[] = {"blk.1.attn_output.bias", "blk.1.ffn_gate.bias",
                                        "blk.1.ffn_up.bias", "blk.1.ffn_down.bias",
                                        "output.bias"};
    static const uint64_t sizes[] = {64, 96, 96, 64, TINY_MIN_VOCAB};
    static float values[TINY_MIN_VOCAB];
    size_t i;
    (void)user;
    for (i = 0; i < COUNT(names); i++)
        tiny_tensor(w, names[i], TINY_F32, 1, &sizes[i], values);
}

static void every_bias_of_a_file_is_added(void **state)
{
    const blm_layer *l;
    opened o;
    (void)state;
    assert_int_equal(open_family(&o, "llama", add_biases), 0);
    l = &o.m.layers[1];
    assert_true(l->mix.attention.o_bias.data && l->gate_bias.data && l->up_bias.data);
    assert_true(l->down_bias.data && o.m.output_bias.data);
    l = &o.m.layers[0];
    assert_true(!l->mix.attention.o_bias.data && !l->gate_bias.data && !l->down_bias.data);
    close_file(&o);
}

static void add_window(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_u32(w, "lfm2.attention.sliding_window", 16);
}

/* In lfm2 every attention layer is windowed when the file has a window; the convolutions are
 * not attention. */
static void a_window_is_for_the_layers_that_attend(void **state)
{
    opened o;
    (void)state;
    assert_int_equal(open_family(&o, "lfm2", add_window), 0);
    assert_int_equal(o.m.window, 16);
    assert_int_equal(o.m.n_window, 1);
    assert_int_equal(o.m.n_context, 0);
    assert_int_equal(o.m.n_convolution, 2);
    assert_true(o.m.layers[1].windowed && o.m.layers[1].rope == 0);
    close_file(&o);
}

static void add_recurrent(tiny_writer *w, void *user)
{
    static const uint8_t recurrent[] = {0, 0, 0};
    (void)user;
    tiny_key_array(w, "qwen35.attention.recurrent_layers", TINY_KEY_BOOL, COUNT(recurrent));
    tiny_put(&w->keys, recurrent, sizeof recurrent);
}

/* The array goes before the interval: layers 0 and 2 have no attention's tensors. */
static void an_array_of_layers_goes_before_the_interval(void **state)
{
    opened o;
    (void)state;
    assert_int_equal(open_family(&o, "qwen35", add_recurrent), BLUELM_E_FORMAT);
    assert_string_equal(o.err.subject, "llm: blk.0.attn_qkv.weight rows");
    close_file(&o);
}

static void add_ahead(tiny_writer *w, void *user)
{
    (void)user;
    tiny_key_u32(w, "qwen35.nextn_predict_layers", 1);
}

static void layers_that_guess_ahead_are_not_run(void **state)
{
    opened o;
    (void)state;
    assert_int_equal(open_family(&o, "qwen35", add_ahead), 0);
    assert_int_equal(o.m.n_layer, 2);
    assert_int_equal(o.m.n_delta, 1);
    assert_int_equal(o.m.n_context, 1);
    close_file(&o);
}

/* Pairs in runs for t, h, w, or every third; what is left over turns by t. */
static void pairs_turn_by_the_axis_of_their_section(void **state)
{
    static const uint8_t runs[PAIRS] = {0, 0, 0, 0, 1, 1, 2, 2};
    static const uint8_t thirds[PAIRS] = {0, 1, 2, 0, 1, 2, 0, 0};
    opened o;
    (void)state;
    assert_int_equal(open_family(&o, "qwen2vl", NULL), 0);
    assert_memory_equal(o.m.rope_axis, runs, PAIRS);
    assert_true(o.m.planar);
    close_file(&o);
    assert_int_equal(open_family(&o, "qwen3vl", NULL), 0);
    assert_memory_equal(o.m.rope_axis, thirds, PAIRS);
    assert_int_equal(o.m.n_deepstack, 1);
    close_file(&o);
    assert_int_equal(open_family(&o, "qwen3", NULL), 0);
    assert_true(o.m.rope_axis == NULL && !o.m.planar);
    close_file(&o);
}

/* ---- Positions ---------------------------------------------------------------------------------- */

static void a_picture_in_a_plane_takes_its_longer_side(void **state)
{
    blm_position p = blm_position_image(5, 6, 15, 1);
    (void)state;
    assert_true(p.t == 5 && p.h == 5 + 2 && p.w == 5 + 3);
    assert_int_equal(blm_position_after(5, 6, 9, 1), 14);
    assert_int_equal(blm_position_after(5, 9, 6, 1), 14);
    p = blm_position_image(5, 6, 15, 0);
    assert_true(p.t == 20 && p.h == 20 && p.w == 20);
    assert_int_equal(blm_position_after(5, 6, 9, 0), 59);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_run_is_refused_by_name),
        cmocka_unit_test(longrope_needs_its_factors),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(sizes_of_layers_must_fit),
        cmocka_unit_test(layers_that_share_store_nothing),
        cmocka_unit_test(short_factors_hold_for_the_original_context),
        cmocka_unit_test(long_factors_are_for_contexts_beyond_the_original),
        cmocka_unit_test(in_some_layers_nothing_turns),
        cmocka_unit_test(a_factor_alone_scales_positions),
        cmocka_unit_test(yarn_slows_what_turns_slowly),
        cmocka_unit_test(queries_grow_where_the_file_says_so),
        cmocka_unit_test(granite_may_have_no_rope),
        cmocka_unit_test(every_bias_of_a_file_is_added),
        cmocka_unit_test(a_window_is_for_the_layers_that_attend),
        cmocka_unit_test(an_array_of_layers_goes_before_the_interval),
        cmocka_unit_test(layers_that_guess_ahead_are_not_run),
        cmocka_unit_test(pairs_turn_by_the_axis_of_their_section),
        cmocka_unit_test(a_picture_in_a_plane_takes_its_longer_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
