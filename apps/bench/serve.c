#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint32_t bench_likeliest(const bench_state *s)
{
    uint32_t n_vocab, best = 0;
    const float *logits = bluelm_logits(s->engine, &n_vocab);
    for (uint32_t i = 1; logits && i < n_vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Answers each line of input, "reset 0", "read N" (a prompt of N tokens) or "decode N" (one
 * by one), with the seconds it took and the likeliest next token. The tokens depend on
 * their place alone. The first line of output says who this is. */
void bench_serve(bench_state *s)
{
    char order[16];
    uint32_t count, at = 0;
    const bench_side *side = &s->sides[0];
    printf("{\"kernels\":\"%s\",\"arena_bytes\":%" PRIu64 "}\n", s->kernels,
           side->memory.total_bytes);
    fflush(stdout);
    while (scanf("%15s %" SCNu32, order, &count) == 2) {
        uint32_t step = strcmp(order, "decode") ? count : 1;
        uint64_t begun = side->port.now_us(side->port.user);
        if (!strcmp(order, "reset")) {
            bluelm_reset(s->engine);
            at = 0;
        }
        for (uint32_t end = at + count; at < end; at += step) {
            bench_add_tokens(s, step, at);
            bench_steps(s, BLUELM_EVENT_END);
        }
        uint64_t took = side->port.now_us(side->port.user) - begun;
        printf("%.6f %" PRIu32 "\n", (double)took / 1e6, bench_likeliest(s));
        fflush(stdout);
    }
}
