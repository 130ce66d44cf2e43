/* Runs model files that nobody vouches for, as far as they go, for the fuzzer and the tests.
 * Aborts when the library contradicts itself; memory errors are the sanitizers' to find. */
#ifndef HOSTILE_AID_H
#define HOSTILE_AID_H

#include "../bluelm.h"

typedef struct hostile_job {
    bluelm_weights weights;
    bluelm_config config;
    uint32_t picture_width, picture_height; /* 0: no picture                          */
    uint32_t max_steps;                     /* 0: plan alone                          */
    bluelm_sampling sampling;
} hostile_job;

/* Plans, describes, and where the plan holds and is small builds an engine in exactly so
 * much memory and asks it about a picture. Returns what bluelm_plan returned. */
int hostile_run(const hostile_job *job);

#endif
