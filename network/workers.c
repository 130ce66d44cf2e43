#include "workers.h"

BLM_PRIVATE void blm_workers_run(const blm_workers *w, void (*fn)(void *arg, uint32_t part),
                                 void *arg)
{
    if (w->port.parallel_for && w->count > 1) {
        w->port.parallel_for(w->port.user, fn, arg, w->count);
        return;
    }
    for (uint32_t part = 0; part < w->count; part++)
        fn(arg, part);
}

BLM_PRIVATE void blm_workers_share(uint64_t total, uint64_t step, uint32_t part, uint32_t parts,
                                   uint64_t *first, uint64_t *end)
{
    uint64_t steps = (total + step - 1) / step;
    *first = BLM_MIN(steps * part / parts * step, total);
    *end = BLM_MIN(steps * (part + 1) / parts * step, total);
}

BLM_PRIVATE uint64_t blm_workers_now_us(const blm_workers *w)
{
    return w->port.now_us ? w->port.now_us(w->port.user) : 0;
}
