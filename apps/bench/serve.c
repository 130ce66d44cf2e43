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

/* Runs one order. Returns what it answers beside the time. */
static uint32_t bench_obey(bench_state *s, const char *order, uint32_t count)
{
    static uint32_t at;
    bench_side *side = &s->sides[0];
    double seconds;
    if (!strcmp(order, "reset")) {
        bluelm_reset(s->engine);
        at = 0;
        return 0;
    }
    if (!strcmp(order, "picture")) {
        bench_picture(s, side, &seconds);
        return s->grid.tokens;
    }
    if (!strcmp(order, "answer")) {
        bench_answer(s, side, &seconds);
        return bench_likeliest(s);
    }
    uint32_t step = strcmp(order, "decode") ? count : 1;
    for (uint32_t end = at + count; at < end; at += step) {
        bench_add_tokens(s, step, at);
        bench_steps(s, BLUELM_EVENT_END);
    }
    return bench_likeliest(s);
}

/* Answers each line of input, "reset 0", "read N" (a prompt of N tokens), "decode N" (one by
 * one), "picture 0" (encodes it) or "answer 0" (a picture's first token), with the seconds it
 * took and the likeliest next token, or the picture's tokens. Tokens depend on their place
 * alone. The first line of output says who this is. */
void bench_serve(bench_state *s)
{
    const bench_options *o = s->options;
    const bench_side *side = &s->sides[0];
    char order[16];
    uint32_t count;
    printf("{\"kernels\":\"%s\",\"arena_bytes\":%" PRIu64 ",\"n_vocab\":%" PRIu32
           ",\"context_tokens\":%" PRIu32 ",\"picture\":[%" PRIu32 ",%" PRIu32 "]}\n",
           s->kernels, side->memory.total_bytes, o->family->language->n_vocab,
           o->context_tokens, o->picture_w, o->picture_h);
    fflush(stdout);
    while (scanf("%15s %" SCNu32, order, &count) == 2) {
        uint64_t begun = side->port.now_us(side->port.user);
        uint32_t said = bench_obey(s, order, count);
        uint64_t took = side->port.now_us(side->port.user) - begun;
        printf("%.6f %" PRIu32 "\n", (double)took / 1e6, said);
        fflush(stdout);
    }
}
