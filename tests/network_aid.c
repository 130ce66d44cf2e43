#include "network_aid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int subject_open(subject *s, const tiny_file *llm, const tiny_file *mmproj,
                 const bluelm_config *config, const bluelm_port *port)
{
    bluelm_weights weights;
    bluelm_memory need;
    int code;
    memset(s, 0, sizeof *s);
    memset(&weights, 0, sizeof weights);
    weights.llm = llm->data;
    weights.llm_bytes = llm->bytes;
    if (mmproj != NULL) {
        weights.mmproj = mmproj->data;
        weights.mmproj_bytes = mmproj->bytes;
    }
    code = bluelm_plan(&weights, config, &need, &s->err);
    if (code < 0) return code;
    s->arena = malloc((size_t)need.total_bytes);
    return bluelm_init(&s->engine, s->arena, (size_t)need.total_bytes, &weights, config, port,
                       &s->err);
}

void subject_close(subject *s)
{
    free(s->arena);
    s->arena = NULL;
    s->engine = NULL;
}

int subject_drain(subject *s)
{
    bluelm_event event;
    int code;
    while ((code = bluelm_step(s->engine, &event, &s->err)) > 0)
        ;
    return code;
}

const float *subject_read(subject *s, const int32_t *tokens, size_t count)
{
    uint32_t n_vocab;
    if (bluelm_add_tokens(s->engine, tokens, count, &s->err) < 0 || subject_drain(s) < 0)
        return NULL;
    return bluelm_logits(s->engine, &n_vocab);
}

double relative_error(const float *got, const double *want, size_t count)
{
    double apart = 0, size = 0;
    size_t i;
    for (i = 0; i < count; i++) {
        apart += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += want[i] * want[i];
    }
    return isfinite(apart) && size > 0 ? sqrt(apart / size) : HUGE_VAL;
}

double relative_error_f32(const float *got, const float *want, size_t count)
{
    double *wide = malloc(count * sizeof *wide), error;
    size_t i;
    if (wide == NULL) abort();
    for (i = 0; i < count; i++)
        wide[i] = (double)want[i];
    error = relative_error(got, wide, count);
    free(wide);
    return error;
}

size_t argmax_f32(const float *x, size_t count)
{
    size_t best = 0, i;
    for (i = 1; i < count; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

size_t argmax_double(const double *x, size_t count)
{
    size_t best = 0, i;
    for (i = 1; i < count; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

int argmax_holds(const double *exact, size_t count, size_t chosen, double error)
{
    double squares = 0;
    size_t i;
    for (i = 0; i < count; i++)
        squares += exact[i] * exact[i];
    return exact[argmax_double(exact, count)] - exact[chosen] <=
           error * sqrt(squares / (double)count);
}

int tally_note(tally *t, double error)
{
    t->checks++;
    if (error > t->worst) t->worst = error;
    if (error <= t->allowed) return 1;
    printf("%s: error %.3g, allowed %.3g\n", t->name, error, t->allowed);
    return 0;
}

void tally_print(const tally *t, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++)
        printf("  %-34s worst %.3g  allowed %.3g  (%u checks)\n", t[i].name, t[i].worst,
               t[i].allowed, t[i].checks);
}

static void backward_for(void *user, void (*fn)(void *arg, uint32_t part), void *arg,
                         uint32_t parts)
{
    (void)user;
    while (parts-- > 0)
        fn(arg, parts);
}

bluelm_port backward_port(void)
{
    bluelm_port port;
    memset(&port, 0, sizeof port);
    port.parallel_for = backward_for;
    return port;
}
