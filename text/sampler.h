/* Choosing the next token from logits. */
#ifndef BLM_SAMPLER_H
#define BLM_SAMPLER_H

#include "../base/base.h"

typedef struct blm_sampler {
    bluelm_sampling options; /* checked, defaults filled in */
    uint64_t random;         /* state of the random sequence */
} blm_sampler;

/* A token that may be chosen. In a sampler's scratch `value` is first a logit, then a
 * weight: e to the logit over the temperature, 1 for the best. */
typedef struct blm_candidate {
    int32_t token;
    float value;
} blm_candidate;

/* Sets the options and restarts the random sequence. On an error nothing changes.
 *   options  NULL: greedy
 * Errors: BLUELM_E_ARG names the field that is out of its range or no number. */
BLM_PRIVATE int blm_sampler_set(blm_sampler *s, const bluelm_sampling *options,
                                bluelm_error *err);

/* Chooses a token: repetition penalty, top-k, temperature, top-p, min-p, one draw. The
 * same state, logits and history give the same token; of equal logits the lower id comes
 * first. Logits that are no numbers count as minus infinity, infinite ones as very large.
 *   logits   [n_vocab], left as they are; n_vocab >= 1
 *   history  [history_count] tokens so far, the latest last; ids out of range are skipped
 *   scratch  [n_vocab]
 * Returns the token, in [0, n_vocab). */
BLM_PRIVATE int32_t blm_sample(blm_sampler *s, const float *logits, uint32_t n_vocab,
                               const int32_t *history, size_t history_count,
                               blm_candidate *scratch);

#endif
