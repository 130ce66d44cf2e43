/* Attention to caches of every kind. */
#include "check_kernels.h"

#include <math.h>
#include <stdlib.h>

/* The greatest error, of values about 1 in size. */
static double attend_error(const blm_attend_args *a, const cache *k, const cache *v)
{
    double worst = 0, *p = take(sizeof *p * (a->keys + a->queries * a->keys_step));
    for (uint32_t i = 0; i < a->queries; i++) {
        uint32_t keys = a->keys + i * a->keys_step, skip = a->skip + i * a->skip_step;
        uint32_t d = a->head_dim;
        double sum = 0;
        for (uint32_t j = skip; j < keys; j++) {
            double s = 0;
            for (uint32_t e = 0; e < d; e++)
                s += (double)a->q[i * a->q_stride + e] * k->values[j * d + e];
            p[j] = exp(s);
            sum += p[j];
        }
        for (uint32_t e = 0; e < d; e++) {
            double o = 0;
            for (uint32_t j = skip; j < keys; j++)
                o += p[j] / sum * v->values[j * d + e];
            worst = fmax(worst, fabs(o - (double)a->out[i * a->out_stride + e]));
        }
    }
    free(p);
    return worst;
}

/* How many queries see which keys, as blm_attend_args has it. */
typedef struct sight {
    uint32_t queries, keys, keys_step, skip, skip_step;
} sight;

static void check_sight(const blm_kernels *k, const blm_kernels *scalar, int kind,
                        const sight *see, uint32_t d)
{
    const uint32_t queries = see->queries, keys = see->keys, step = see->keys_step;
    const double allowed = kind == ATTEND_F32 || kind == ATTEND_F16 ? 3e-6 : 1e-3;
    const blm_attend_fn attend = attend_of(k, kind);
    const char *name = attend_names[kind];
    uint32_t all = keys + (queries - 1) * step;
    cache kc, vc;
    guarded g, scratch;
    cache_make(&kc, scalar, kind, all, d);
    cache_make(&vc, scalar, kind, all, d);
    blm_attend_args a = {.queries = queries, .keys = keys, .keys_step = step, .head_dim = d};
    a.skip = see->skip, a.skip_step = see->skip_step;
    a.q_stride = a.out_stride = d + 1;
    float *q = take_random((queries - 1) * a.q_stride + d);
    for (size_t i = 0; i < (queries - 1) * a.q_stride + d; i++)
        q[i] *= 2 / sqrtf((float)d);
    a.q = q;
    a.k = kc.rows, a.v = vc.rows;
    a.k_stride = kc.stride, a.v_stride = vc.stride;
    a.k_scale = kc.scales, a.v_scale = vc.scales;
    a.k_scale_stride = a.v_scale_stride = 6;
    size_t scratch_bytes = (size_t)blm_attend_scratch_bytes(queries, all, d);
    a.scratch = guard(&scratch, scratch_bytes);
    size_t n = (queries - 1) * a.out_stride + d;
    a.out = guard(&g, n * sizeof *a.out);
    attend(&a);
    double error = attend_error(&a, &kc, &vc);
    report(error <= allowed, name, "is inexact", error, d);
    float *together = a.out;
    double apart = 0;
    for (uint32_t i = 0; i < queries; i++) { /* alone, a query must get the same */
        blm_attend_args one = a;
        one.q += i * a.q_stride;
        one.queries = 1;
        one.keys = keys + i * step;
        one.skip = see->skip + i * see->skip_step;
        one.out = take(d * sizeof *one.out);
        attend(&one);
        for (uint32_t e = 0; e < d; e++)
            apart = fmax(apart, fabs((double)(one.out[e] - together[i * a.out_stride + e])));
        free(one.out);
    }
    report(apart <= (kind == ATTEND_I16 ? allowed : 0), name,
           "depends on the queries beside it", apart, queries);
    unguard(&g, name);
    unguard(&scratch, "scratch of attention");
    free(q);
    cache_free(&kc), cache_free(&vc);
}

static void check_attend(const blm_kernels *k, const blm_kernels *scalar, int kind,
                         uint32_t queries, uint32_t keys, uint32_t step, uint32_t d)
{
    const sight see = {queries, keys, step, 0, 0};
    check_sight(k, scalar, kind, &see, d);
}

/* Windows that move along, that hold still, that end where a picture ends; narrower than what
 * kernels take together, and across blocks. */
static void check_windows(const blm_kernels *k, const blm_kernels *scalar, int kind, uint32_t d)
{
    static const sight sights[] = {
        {9, 1, 1, 0, 1},    {7, 3, 1, 1, 1},     {1, 70, 0, 69, 0},  {4, 80, 0, 70, 0},
        {21, 80, 1, 10, 1}, {13, 140, 0, 60, 1}, {70, 71, 1, 63, 1}, {30, 200, 1, 130, 1},
    };
    for (unsigned i = 0; i < BLM_COUNT_OF(sights); i++)
        check_sight(k, scalar, kind, &sights[i], d);
}

void check_attention(const blm_kernels *k, const blm_kernels *scalar)
{
    static const uint32_t dims[] = {1, 2, 7, 8, 9, 15, 16, 24, 33, 64, 72, 80, 96, 128, 200};
    for (int kind = 0; kind < ATTEND_KINDS; kind++) {
        for (unsigned i = 0; i < BLM_COUNT_OF(dims); i++) {
            for (uint32_t keys = 1; keys <= 10; keys++)
                check_attend(k, scalar, kind, 1 + (keys + i) % 9, keys, keys % 2, dims[i]);
            check_attend(k, scalar, kind, 5, 67, 1, dims[i]);
            check_attend(k, scalar, kind, 4, 131, 0, dims[i]);
            check_windows(k, scalar, kind, dims[i]);
            if (i % 3 == 0) check_attend(k, scalar, kind, 21, 57, 1, dims[i]);
            if (i % 3 == 1) check_attend(k, scalar, kind, 10, 190, 1, dims[i]);
        }
    }
}
