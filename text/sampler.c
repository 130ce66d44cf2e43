#include "sampler.h"

#include "../base/math.h"

#define BLM_REPEAT_LAST_DEFAULT 64u

/* Logits are kept within this, so that differences of two stay finite. */
#define BLM_LOGIT_MAX 1e30f

/* ---- Options --------------------------------------------------------------------- */

/* 1 if low <= x <= high; never for a NaN. */
static int blm_within(float x, float low, float high)
{
    return x >= low && x <= high;
}

BLM_PRIVATE int blm_sampler_set(blm_sampler *s, const bluelm_sampling *options,
                                bluelm_error *err)
{
    static const bluelm_sampling greedy;
    const bluelm_sampling *o = options != NULL ? options : &greedy;
    const struct {
        const char *name;
        float value, high;
    } fields[] = {{"temperature", o->temperature, BLM_LOGIT_MAX},
                  {"top_p", o->top_p, 1.0f},
                  {"min_p", o->min_p, 1.0f},
                  {"repeat_penalty", o->repeat_penalty, BLM_LOGIT_MAX}};
    for (size_t i = 0; i < BLM_COUNT_OF(fields); i++)
        if (!blm_within(fields[i].value, 0.0f, fields[i].high))
            return blm_fail_number(err, fields[i].name, fields[i].value);
    s->options = *o;
    s->random = o->seed;
    if (o->top_p == 0.0f) s->options.top_p = 1.0f;
    if (o->repeat_penalty == 0.0f) s->options.repeat_penalty = 1.0f;
    if (o->repeat_last == 0) s->options.repeat_last = BLM_REPEAT_LAST_DEFAULT;
    return BLUELM_OK;
}

/* ---- Random numbers -------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea, Flood 2014): 64 good bits from any seed, one word of state.
 * Returns a number in [0, 1) with 24 bits, each exact in a float. */
static float blm_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)(uint32_t)(z >> 40) * (1.0f / 16777216.0f);
}

/* ---- Candidates ------------------------------------------------------------------ */

static float blm_sound_logit(float x)
{
    if (!(x > -BLM_LOGIT_MAX)) return -BLM_LOGIT_MAX; /* NaN as well */
    return x > BLM_LOGIT_MAX ? BLM_LOGIT_MAX : x;
}

/* Fills the candidates in order of their ids and makes recent tokens rarer. Each token is
 * computed from its logit, so that one that is there twice is penalised once. */
static void blm_candidates_fill(const blm_sampler *s, const float *logits, uint32_t n,
                                const int32_t *history, size_t count, blm_candidate *c)
{
    float penalty = s->options.repeat_penalty;
    for (uint32_t i = 0; i < n; i++) {
        c[i].token = (int32_t)i;
        c[i].value = blm_sound_logit(logits[i]);
    }
    if (penalty == 1.0f) return;
    size_t first = count > s->options.repeat_last ? count - s->options.repeat_last : 0;
    for (size_t i = first; i < count; i++) {
        if (history[i] < 0 || (uint32_t)history[i] >= n) continue;
        float x = blm_sound_logit(logits[history[i]]);
        c[history[i]].value = blm_sound_logit(x > 0.0f ? x / penalty : x * penalty);
    }
}

/* The order of candidates: the higher value, on ties the lower id. */
static int blm_better(blm_candidate a, blm_candidate b)
{
    return a.value != b.value ? a.value > b.value : a.token < b.token;
}

static void blm_candidate_sift(blm_candidate *heap, uint32_t count, uint32_t at)
{
    blm_candidate moved = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && blm_better(heap[child + 1], heap[child])) child++;
        if (!blm_better(heap[child], moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* Takes the best off a heap of `count` and puts it behind the rest, at heap[count - 1]. */
static void blm_candidate_pop(blm_candidate *heap, uint32_t count)
{
    blm_candidate best = heap[0];
    heap[0] = heap[count - 1];
    blm_candidate_sift(heap, count - 1, 0);
    heap[count - 1] = best;
}

/* Finds the `keep` best of n without sorting the rest: a heap in O(n), then one pop each.
 * They lie at the end, the best last. */
static void blm_candidates_best(blm_candidate *c, uint32_t n, uint32_t keep)
{
    for (uint32_t i = n / 2; i > 0; i--)
        blm_candidate_sift(c, n, i - 1);
    for (uint32_t i = 0; i < keep; i++)
        blm_candidate_pop(c, n - i);
}

static blm_candidate blm_candidate_max(const blm_candidate *c, uint32_t n)
{
    blm_candidate best = c[0];
    for (uint32_t i = 1; i < n; i++)
        if (blm_better(c[i], best)) best = c[i];
    return best;
}

/* Logits become weights; returns their sum. */
static double blm_candidates_weigh(blm_candidate *c, uint32_t n, float best, float temperature)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        c[i].value = blm_expf((c[i].value - best) / temperature);
        sum += (double)c[i].value;
    }
    return sum;
}

/* ---- Drawing --------------------------------------------------------------------- */

/* Draws one of n candidates with chances as their weights, leaving out those below `least`. */
static int32_t blm_draw(blm_sampler *s, const blm_candidate *c, uint32_t n, float least)
{
    double sum = 0, passed = 0;
    int32_t token = c[n - 1].token;
    for (uint32_t i = 0; i < n; i++)
        if (c[i].value >= least) sum += (double)c[i].value;
    double goal = (double)blm_random(&s->random) * sum;
    for (uint32_t i = 0; i < n; i++) {
        if (c[i].value < least) continue;
        passed += (double)c[i].value;
        token = c[i].token;
        if (passed > goal) break;
    }
    return token;
}

/* Narrows sorted weights, the best last, to the fewest that sum to top_p of all. Returns
 * how many. */
static uint32_t blm_cut_top_p(const blm_candidate *c, uint32_t n, double sum, float top_p)
{
    double goal = sum * (double)top_p, passed = 0;
    uint32_t kept = 0;
    while (kept < n) {
        passed += (double)c[n - 1 - kept++].value;
        if (passed >= goal) break;
    }
    return kept;
}

/* Nucleus of all n by top-p alone: pops only as many as it needs. The weights stand in no
 * order; the chosen come to the end, the best last. Returns how many. */
static uint32_t blm_pop_top_p(blm_candidate *c, uint32_t n, double sum, float top_p)
{
    double goal = sum * (double)top_p, passed = 0;
    uint32_t kept = 0;
    blm_candidates_best(c, n, 0);
    while (kept < n && passed < goal) {
        blm_candidate_pop(c, n - kept++);
        passed += (double)c[n - kept].value;
    }
    return kept;
}

BLM_PRIVATE int32_t blm_sample(blm_sampler *s, const float *logits, uint32_t n_vocab,
                               const int32_t *history, size_t history_count,
                               blm_candidate *scratch)
{
    const bluelm_sampling *o = &s->options;
    blm_candidate *c = scratch;
    uint32_t n = n_vocab;
    if (n == 0) return 0;
    blm_candidates_fill(s, logits, n, history, history_count, c);
    blm_candidate best = blm_candidate_max(c, n);
    if (o->temperature == 0.0f) return best.token;
    int narrowed = o->top_k > 0 && o->top_k < n;
    if (narrowed) {
        blm_candidates_best(c, n, o->top_k);
        c += n - o->top_k;
        n = o->top_k;
    }
    double sum = blm_candidates_weigh(c, n, best.value, o->temperature);
    if (o->top_p < 1.0f) {
        uint32_t kept =
            narrowed ? blm_cut_top_p(c, n, sum, o->top_p) : blm_pop_top_p(c, n, sum, o->top_p);
        c += n - kept;
        n = kept;
    }
    return blm_draw(s, c, n, o->min_p);
}
