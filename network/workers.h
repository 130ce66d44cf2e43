/* Work cut into parts for the port's workers. */
#ifndef BLM_WORKERS_H
#define BLM_WORKERS_H

#include "../base/base.h"

typedef struct blm_workers {
    bluelm_port port;
    uint32_t count; /* parts of every job, 1 .. 64 */
} blm_workers;

/* Runs fn(arg, part) for every part in [0, count). */
BLM_PRIVATE void blm_workers_run(const blm_workers *w, void (*fn)(void *arg, uint32_t part),
                                 void *arg);

/* The share [*first, *end) of part out of parts in total items, cut at multiples of step. */
BLM_PRIVATE void blm_workers_share(uint64_t total, uint64_t step, uint32_t part, uint32_t parts,
                                   uint64_t *first, uint64_t *end);

/* The port's clock in microseconds, 0 without one. */
BLM_PRIVATE uint64_t blm_workers_now_us(const blm_workers *w);

#endif
