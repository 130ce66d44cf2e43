#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../text/sampler.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define DRAWS    20000

static blm_candidate scratch[100096];

static blm_sampler sampler(bluelm_sampling options)
{
    blm_sampler s;
    assert_int_equal(blm_sampler_set(&s, &options, NULL), BLUELM_OK);
    return s;
}

static bluelm_sampling warm(float temperature)
{
    bluelm_sampling o;
    memset(&o, 0, sizeof o);
    o.temperature = temperature;
    o.seed = 7;
    return o;
}

/* How often each of n tokens comes in DRAWS draws. */
static void count_draws(bluelm_sampling options, const float *logits, uint32_t n,
                        const int32_t *history, size_t history_count, int *counts)
{
    blm_sampler s = sampler(options);
    int i;
    memset(counts, 0, n * sizeof *counts);
    for (i = 0; i < DRAWS; i++) {
        int32_t token = blm_sample(&s, logits, n, history, history_count, scratch);
        assert_in_range(token, 0, n - 1);
        counts[token]++;
    }
}

/* Counts agree with chances within five standard deviations. */
static void expect_chances(const int *counts, const double *chances, uint32_t n)
{
    uint32_t i;
    for (i = 0; i < n; i++) {
        double mean = chances[i] * DRAWS, slack = 5 * sqrt(mean * (1 - chances[i])) + 1e-9;
        if (fabs(counts[i] - mean) > slack)
            fail_msg("token %u: %d draws, expected %.1f +- %.1f", i, counts[i], mean, slack);
    }
}

static void softmax(const double *logits, uint32_t n, double *chances)
{
    double sum = 0;
    uint32_t i;
    for (i = 0; i < n; i++)
        sum += chances[i] = exp(logits[i]);
    for (i = 0; i < n; i++)
        chances[i] /= sum;
}

static void greedy_takes_the_best_and_the_first_of_equals(void **state)
{
    static const float logits[] = {1, 3, -2, 3, 2.5f};
    blm_sampler s = sampler(warm(0));
    (void)state;
    assert_int_equal(blm_sample(&s, logits, 5, NULL, 0, scratch), 1);
    assert_int_equal(blm_sampler_set(&s, NULL, NULL), BLUELM_OK);
    assert_int_equal(blm_sample(&s, logits, 5, NULL, 0, scratch), 1);
    assert_int_equal(blm_sample(&s, logits, 1, NULL, 0, scratch), 0);
}

static void draws_follow_the_softmax_at_the_temperature(void **state)
{
    static const float logits[] = {0.5f, 2, 1, -1};
    const double halved[] = {0.25, 1, 0.5, -0.5};
    double chances[4];
    int counts[4];
    (void)state;
    softmax(halved, 4, chances);
    count_draws(warm(2), logits, 4, NULL, 0, counts);
    expect_chances(counts, chances, 4);
}

static void top_k_keeps_the_k_best(void **state)
{
    static const float logits[] = {0, 2, 1, 2, 1.5f, -3};
    const double kept[] = {2, 2, 1.5};
    double chances[3], all[6] = {0};
    int counts[6];
    bluelm_sampling o = warm(1);
    (void)state;
    softmax(kept, 3, chances);
    all[1] = chances[0], all[3] = chances[1], all[4] = chances[2];
    o.top_k = 3;
    count_draws(o, logits, 6, NULL, 0, counts);
    expect_chances(counts, all, 6);
    o.top_k = 1;
    count_draws(o, logits, 6, NULL, 0, counts);
    assert_int_equal(counts[1], DRAWS); /* the first of equals */
}

static void top_p_keeps_the_fewest_that_reach_p(void **state)
{
    /* chances 0.1 0.4 0.2 0.3 */
    const float logits[] = {logf(0.1f), logf(0.4f), logf(0.2f), logf(0.3f)};
    const double two[] = {0, 0.4 / 0.7, 0, 0.3 / 0.7}, three[] = {0, 4 / 9., 2 / 9., 3 / 9.};
    const double one[] = {0, 1, 0, 0}, all[] = {0.1, 0.4, 0.2, 0.3};
    bluelm_sampling o = warm(1);
    int counts[4], round;
    (void)state;
    for (round = 0; round < 2; round++) {
        o.top_k = round == 0 ? 0 : 4; /* 4 of 4 is no cut */
        o.top_p = 0.69f;
        count_draws(o, logits, 4, NULL, 0, counts);
        expect_chances(counts, two, 4);
        o.top_p = 0.71f;
        count_draws(o, logits, 4, NULL, 0, counts);
        expect_chances(counts, three, 4);
        o.top_p = 1e-30f;
        count_draws(o, logits, 4, NULL, 0, counts);
        expect_chances(counts, one, 4);
        o.top_p = 1;
        count_draws(o, logits, 4, NULL, 0, counts);
        expect_chances(counts, all, 4);
    }
}

static void top_p_counts_among_what_top_k_left_after_the_temperature(void **state)
{
    /* at temperature 2 these are 0.1 0.4 0.2 0.3; of the best three 0.4/0.9, 0.3/0.9 */
    const float logits[] = {2 * logf(0.1f), 2 * logf(0.4f), 2 * logf(0.2f), 2 * logf(0.3f)};
    const double two[] = {0, 4 / 7., 0, 3 / 7.}, three[] = {0, 4 / 9., 2 / 9., 3 / 9.};
    bluelm_sampling o = warm(2);
    int counts[4];
    (void)state;
    o.top_k = 3;
    o.top_p = 0.75f; /* 0.7 / 0.9 = 0.777: two reach it, of all four they would not */
    count_draws(o, logits, 4, NULL, 0, counts);
    expect_chances(counts, two, 4);
    o.top_p = 0.79f;
    count_draws(o, logits, 4, NULL, 0, counts);
    expect_chances(counts, three, 4);
}

static void min_p_drops_what_is_far_below_the_best(void **state)
{
    const float logits[] = {logf(0.1f), logf(0.4f), logf(0.2f), logf(0.3f)};
    const double three[] = {0, 4 / 9., 2 / 9., 3 / 9.}, one[] = {0, 1, 0, 0};
    bluelm_sampling o = warm(1);
    int counts[4];
    (void)state;
    o.min_p = 0.4f; /* 0.1 / 0.4 is below it, 0.2 / 0.4 not */
    count_draws(o, logits, 4, NULL, 0, counts);
    expect_chances(counts, three, 4);
    o.min_p = 1;
    count_draws(o, logits, 4, NULL, 0, counts);
    expect_chances(counts, one, 4);
}

static void recent_tokens_become_rarer_once_each(void **state)
{
    static const float logits[] = {1.0f, 1.5f, -1.0f, -1.2f};
    static const int32_t history[] = {2, 1, 1, 1, -5, 4, INT32_MAX};
    const double penalised[] = {1.0, 0.75, -1.0, -1.2}, further[] = {1.0, 0.75, -2.0, -1.2};
    bluelm_sampling o = warm(1);
    blm_sampler s;
    double chances[4];
    int counts[4];
    (void)state;
    o.repeat_penalty = 2;
    o.repeat_last = 6;
    count_draws(o, logits, 4, history, COUNT(history), counts);
    softmax(penalised, 4, chances);
    expect_chances(counts, chances, 4);
    o.repeat_last = 0; /* 64: all of them */
    count_draws(o, logits, 4, history, COUNT(history), counts);
    softmax(further, 4, chances);
    expect_chances(counts, chances, 4);
    o.temperature = 0;
    s = sampler(o);
    assert_int_equal(blm_sample(&s, logits, 4, history, COUNT(history), scratch), 0);
    o.repeat_penalty = 1;
    s = sampler(o);
    assert_int_equal(blm_sample(&s, logits, 4, history, COUNT(history), scratch), 1);
}

static void the_last_64_tokens_count_when_nothing_is_said(void **state)
{
    static const float logits[] = {2, 1.9f};
    int32_t history[65] = {0};
    bluelm_sampling o = warm(0);
    blm_sampler s;
    size_t i;
    (void)state;
    for (i = 1; i < COUNT(history); i++)
        history[i] = 7;
    o.repeat_penalty = 1.5f;
    s = sampler(o);
    assert_int_equal(blm_sample(&s, logits, 2, history, 64, scratch), 1);
    assert_int_equal(blm_sample(&s, logits, 2, history, 65, scratch), 0);
}

static void the_same_seed_gives_the_same_tokens(void **state)
{
    float logits[500];
    int32_t first[100], again[100], other[100];
    tiny_random r = {tiny_seed(60)};
    bluelm_sampling o = warm(0.9f);
    blm_sampler s;
    int i, round;
    (void)state;
    for (i = 0; i < 500; i++)
        logits[i] = (float)tiny_normal(&r);
    o.top_p = 0.95f;
    for (round = 0; round < 3; round++) {
        int32_t *out = round == 0 ? first : round == 1 ? again : other;
        o.seed = round < 2 ? 1234 : 1235;
        s = sampler(o);
        for (i = 0; i < 100; i++)
            out[i] = blm_sample(&s, logits, 500, out, (size_t)i, scratch);
    }
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
}

static void the_logits_are_left_as_they_are(void **state)
{
    float logits[] = {3, 1, 2}, before[3];
    int32_t history[] = {0, 1};
    bluelm_sampling o = warm(0.5f);
    blm_sampler s;
    (void)state;
    memcpy(before, logits, sizeof logits);
    o.repeat_penalty = 1.3f, o.top_k = 2, o.top_p = 0.9f, o.min_p = 0.1f;
    s = sampler(o);
    blm_sample(&s, logits, 3, history, 2, scratch);
    assert_memory_equal(before, logits, sizeof logits);
}

/* With the whole chain a large vocabulary agrees with sorting it. */
static void a_large_vocabulary_is_cut_as_if_it_were_sorted(void **state)
{
    static float logits[COUNT(scratch)];
    static const uint32_t top_k[] = {1, 40, 1000, 99999, 100096, 0};
    const uint32_t n = COUNT(scratch);
    tiny_random r = {tiny_seed(70)};
    uint32_t i, j;
    (void)state;
    for (i = 0; i < n; i++)
        logits[i] = (float)(tiny_next(&r) % 2000) / 100; /* many equals */
    for (i = 0; i < COUNT(top_k); i++) {
        bluelm_sampling o = warm(1);
        blm_sampler s;
        int draw;
        o.top_k = top_k[i];
        o.top_p = 0.8f;
        s = sampler(o);
        for (draw = 0; draw < 5; draw++) {
            int32_t token = blm_sample(&s, logits, n, NULL, 0, scratch);
            uint32_t better = 0;
            double above = 0, sum = 0;
            for (j = 0; j < n; j++) {
                int is_better = logits[j] > logits[token] ||
                                (logits[j] == logits[token] && j < (uint32_t)token);
                better += (uint32_t)is_better;
                above += is_better ? exp((double)logits[j]) : 0;
                sum += exp((double)logits[j]);
            }
            if (top_k[i] > 0) assert_true(better < top_k[i]);
            /* what is better alone does not reach p of all */
            if (top_k[i] == 0 || top_k[i] >= n) assert_true(above < 0.8 * sum * 1.0001);
        }
    }
}

static void logits_that_are_no_numbers_still_give_a_token(void **state)
{
    volatile float zero = 0;
    const float nan_value = zero / zero, inf = 1 / zero;
    const float rows[][4] = {{nan_value, nan_value, nan_value, nan_value},
                             {-inf, -inf, -inf, -inf},
                             {inf, inf, 0, -inf},
                             {nan_value, 1, inf, -inf},
                             {3.4e38f, -3.4e38f, 3.4e38f, 1},
                             {nan_value, -inf, 0, nan_value}};
    static const int want[] = {0, 0, 0, 2, 0, 2};
    static const int32_t history[] = {0, 1, 2, 3};
    const float temperatures[] = {0, 1e-38f, 1, 1e30f};
    size_t i, t, k;
    (void)state;
    for (i = 0; i < COUNT(rows); i++) {
        blm_sampler s = sampler(warm(0));
        assert_int_equal(blm_sample(&s, rows[i], 4, NULL, 0, scratch), want[i]);
        for (t = 0; t < COUNT(temperatures); t++) {
            for (k = 0; k < 5; k++) {
                bluelm_sampling o = warm(temperatures[t]);
                o.top_k = (uint32_t)k;
                o.top_p = k % 2 ? 0.5f : 0;
                o.min_p = k % 3 ? 0.1f : 0;
                o.repeat_penalty = k % 2 ? 1e30f : 1e-30f;
                s = sampler(o);
                assert_in_range(blm_sample(&s, rows[i], 4, history, 4, scratch), 0, 3);
            }
        }
    }
    { /* minus infinity has no chance */
        int counts[4];
        count_draws(warm(1), rows[5], 4, NULL, 0, counts);
        assert_int_equal(counts[2], DRAWS);
    }
}

static void options_out_of_range_are_refused_by_name(void **state)
{
    volatile float zero = 0;
    const float nan_value = zero / zero, inf = 1 / zero;
    const float bad[] = {nan_value, inf, -inf, -0.1f};
    static const char *const names[] = {"temperature", "top_p", "min_p", "repeat_penalty"};
    size_t i, j;
    (void)state;
    for (i = 0; i < COUNT(names); i++) {
        for (j = 0; j < COUNT(bad) + 1; j++) {
            bluelm_sampling o = warm(0.5f);
            bluelm_error err;
            blm_sampler s = sampler(o), before = s;
            float value = j < COUNT(bad) ? bad[j] : 1.5f;
            if (j == COUNT(bad) && (i == 0 || i == 3)) continue; /* 1.5 is fine there */
            if (i == 0) o.temperature = value;
            if (i == 1) o.top_p = value;
            if (i == 2) o.min_p = value;
            if (i == 3) o.repeat_penalty = value;
            assert_int_equal(blm_sampler_set(&s, &o, &err), BLUELM_E_ARG);
            assert_string_equal(err.subject, names[i]);
            assert_int_equal(s.random, before.random);
            assert_true(s.options.temperature == 0.5f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_best_and_the_first_of_equals),
        cmocka_unit_test(draws_follow_the_softmax_at_the_temperature),
        cmocka_unit_test(top_k_keeps_the_k_best),
        cmocka_unit_test(top_p_keeps_the_fewest_that_reach_p),
        cmocka_unit_test(top_p_counts_among_what_top_k_left_after_the_temperature),
        cmocka_unit_test(min_p_drops_what_is_far_below_the_best),
        cmocka_unit_test(recent_tokens_become_rarer_once_each),
        cmocka_unit_test(the_last_64_tokens_count_when_nothing_is_said),
        cmocka_unit_test(the_same_seed_gives_the_same_tokens),
        cmocka_unit_test(the_logits_are_left_as_they_are),
        cmocka_unit_test(a_large_vocabulary_is_cut_as_if_it_were_sorted),
        cmocka_unit_test(logits_that_are_no_numbers_still_give_a_token),
        cmocka_unit_test(options_out_of_range_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
