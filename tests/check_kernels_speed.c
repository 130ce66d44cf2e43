/* check_kernels --bench: how fast every kernel is. */
#include "../apps/bench/limits.h"
#include "../ports/posix/posix.h"
#include "check_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *only;

/* This thread's own time: the machine may have other work. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Median seconds of one call, of seven runs of at least 20 ms. */
static double seconds_of(void (*fn)(void *), void *arg)
{
    double times[7], start;
    fn(arg);
    for (int i = 0; i < 7; i++) {
        int calls = 0;
        start = now();
        do {
            fn(arg);
            calls++;
        } while (now() - start < 0.02);
        times[i] = (now() - start) / calls;
    }
    qsort(times, 7, sizeof *times, by_size);
    return times[3];
}

typedef struct bench {
    const blm_kernels *k;
    product p;
    float *y;
    blm_attend_args attend;
    int kind;
} bench;

static void bench_product_call(void *arg)
{
    bench *b = arg;
    b->p.k = b->k;
    product_run(&b->p, b->y, b->p.rows, 0, b->p.rows);
}

/* Are lines of this set with this text wanted? */
static int wanted(const blm_kernels *k, const char *what)
{
    char line[80];
    snprintf(line, sizeof line, "%s %s", k->name, what);
    return strstr(line, only) != NULL;
}

static void bench_line(const char *what, double amount, const char *unit, void (*fn)(void *),
                       bench *b, const blm_kernels *k, const blm_kernels *scalar)
{
    if (!wanted(k, what)) return;
    b->k = scalar;
    double base = seconds_of(fn, b);
    b->k = k;
    double time = k == scalar ? base : seconds_of(fn, b);
    printf("%-8s %-26s %9.2f %-7s %6.1f x scalar\n", k->name, what, amount / time * 1e-9, unit,
           base / time);
}

static void bench_products(const blm_kernels *k, const blm_kernels *scalar)
{
    static const uint32_t tokens[] = {1, 4, 128};
    for (unsigned i = 0; i < TYPES; i++) {
        for (uint32_t bits = 8; bits <= (is_float(types[i].type) ? 8u : 16u); bits += 8) {
            for (unsigned j = 0; j < BLM_COUNT_OF(tokens); j++) {
                char what[48];
                bench b = {.p = {.type = types[i].type,
                                 .bits = bits,
                                 .rows = 256,
                                 .tokens = tokens[j],
                                 .cols = 2560}};
                product_make(&b.p);
                b.y = take((size_t)b.p.rows * b.p.tokens * sizeof *b.y);
                snprintf(what, sizeof what, "matmul%u %s, %u tokens", (unsigned)bits,
                         types[i].name, (unsigned)tokens[j]);
                double bytes = (double)b.p.w.row_bytes * b.p.rows;
                double ops = 2.0 * b.p.rows * b.p.cols * b.p.tokens;
                bench_line(what, tokens[j] == 1 ? bytes : ops,
                           tokens[j] == 1 ? "GB/s" : "Gop/s", bench_product_call, &b, k,
                           scalar);
                free(b.y);
                product_free(&b.p);
            }
        }
    }
}

static void bench_attend_call(void *arg)
{
    bench *b = arg;
    attend_of(b->k, b->kind)(&b->attend);
}

static void bench_attention(const blm_kernels *k, const blm_kernels *scalar, int kind,
                            uint32_t queries, uint32_t keys, uint32_t d)
{
    char what[48];
    guarded scratch;
    cache kc, vc;
    cache_make(&kc, scalar, kind, keys, d);
    cache_make(&vc, scalar, kind, keys, d);
    bench b = {.kind = kind};
    blm_attend_args *a = &b.attend;
    a->q = take_random((size_t)queries * d);
    a->q_stride = a->out_stride = a->head_dim = d;
    a->queries = queries, a->keys = keys;
    a->k = kc.rows, a->v = vc.rows, a->k_stride = kc.stride, a->v_stride = vc.stride;
    a->k_scale = kc.scales, a->v_scale = vc.scales;
    a->k_scale_stride = a->v_scale_stride = 6;
    a->scratch = guard(&scratch, (size_t)blm_attend_scratch_bytes(queries, keys, d));
    a->out = take((size_t)queries * d * sizeof *a->out);
    snprintf(what, sizeof what, "%s %ux%u, d %u", attend_names[kind], (unsigned)queries,
             (unsigned)keys, (unsigned)d);
    bench_line(what, 4.0 * queries * keys * d, "Gop/s", bench_attend_call, &b, k, scalar);
    cache_free(&kc), cache_free(&vc);
    free((void *)(uintptr_t)a->q), free(a->out);
    unguard(&scratch, "scratch of attention");
}

enum { ROW = 4096 };

static void bench_row_call(void *arg)
{
    bench *b = arg;
    const blm_kernels *k = b->k;
    const uint8_t *w = (const uint8_t *)b->p.f32;
    int8_t *q = b->p.x.q;
    switch (b->kind) {
    case 0:
        k->quantize8(b->p.f32, ROW, q, b->p.x.scale, b->p.x.sum);
        break;
    case 1:
        k->gelu_tanh(b->y, ROW);
        break;
    case 2:
        k->silu_mul(b->y, b->p.f32, ROW);
        break;
    case 3:
        k->softmax(b->y, ROW);
        break;
    case 4:
        k->rms_norm(b->p.f32, w, 1e-5f, ROW, b->y);
        break;
    case 5:
        k->layer_norm(b->p.f32, w, w, 1e-5f, ROW, b->y);
        break;
    case 6:
        k->dequantize[BLM_Q4_0](b->p.w.data, b->y, ROW);
        break;
    default:
        k->f32_from_f16(b->y, (const uint16_t *)(const void *)w, ROW);
        break;
    }
}

static void bench_rows(const blm_kernels *k, const blm_kernels *scalar)
{
    static const char *const names[] = {"quantize8",  "gelu_tanh",   "silu_mul",
                                        "softmax",    "rms_norm",    "layer_norm",
                                        "dequantize", "f32_from_f16"};
    bench b = {.p = {.type = BLM_Q4_0, .bits = 8, .rows = 1, .tokens = 1, .cols = ROW}};
    product_make(&b.p);
    b.y = take_random(ROW);
    for (b.kind = 0; b.kind < (int)BLM_COUNT_OF(names); b.kind++)
        bench_line(names[b.kind], ROW, "Gval/s", bench_row_call, &b, k, scalar);
    free(b.y);
    product_free(&b.p);
}

/* ---- Against the machine's limits ---------------------------------------------------- */

/* Operations a second of the instructions that these kernels multiply with; 0: not known. */
static double limit_peak(const bench *b)
{
    bluelm_port clock = bluelm_posix_port(NULL);
    return 2 * bench_peak_rate(&clock, 1, BENCH_INT8, b->k->name);
}

/* Bytes a second of nothing but reading the weights of a bench. */
static double limit_read(const bench *b)
{
    bluelm_port clock = bluelm_posix_port(NULL);
    return bench_read_bandwidth(&clock, 1, b->p.w.data, b->p.w.row_bytes * b->p.rows);
}

/* The median share of a limit, of nine pairs of runs, one right after the other. */
static void limit_line(const char *what, const char *unit, bench *b, double amount,
                       double (*limit)(const bench *b))
{
    double share[9], speed[9], most[9];
    for (int i = 0; i < 9; i++) {
        most[i] = limit(b) * 1e-9;
        double begun = now();
        bench_product_call(b);
        speed[i] = amount / (now() - begun) * 1e-9;
        share[i] = 100 * speed[i] / most[i];
    }
    qsort(share, 9, sizeof *share, by_size);
    qsort(speed, 9, sizeof *speed, by_size);
    qsort(most, 9, sizeof *most, by_size);
    printf("%-8s %-26s %9.2f %-7s %6.1f %% of %.1f\n", b->k->name, what, speed[4], unit,
           share[4], most[4]);
}

static void bench_limit(const blm_kernels *k, unsigned i, uint32_t rows, uint32_t tokens)
{
    char what[48];
    bench b = {.k = k, .p = {.type = types[i].type, .bits = 8, .rows = rows, .cols = 2560}};
    snprintf(what, sizeof what, "%s %s, %u tokens", tokens == 1 ? "stream" : "peak",
             types[i].name, (unsigned)tokens);
    if (!wanted(k, what)) return;
    b.p.tokens = tokens;
    product_make(&b.p);
    b.y = take((size_t)rows * tokens * sizeof *b.y);
    double bytes = (double)b.p.w.row_bytes * rows;
    if (tokens == 1)
        limit_line(what, "GB/s", &b, bytes, limit_read);
    else
        limit_line(what, "Gop/s", &b, 2.0 * rows * b.p.cols * tokens, limit_peak);
    free(b.y);
    product_free(&b.p);
}

/* 128 tokens against the instructions that multiply; one token, with more weights than caches
 * hold, against reading them. */
static void bench_limits(const blm_kernels *k)
{
    const bench b = {.k = k};
    const int known = limit_peak(&b) > 0;
    for (unsigned i = 0; i < TYPES; i++) {
        if (known && !is_float(types[i].type)) bench_limit(k, i, 1280, 128);
        bench_limit(k, i, is_float(types[i].type) ? 32768 : 131072, 1);
    }
}

void time_kernels(const blm_kernels *k, const blm_kernels *scalar, const char *text)
{
    only = text;
    if (k != scalar) bench_limits(k);
    bench_products(k, scalar);
    for (int kind = 0; kind < ATTEND_KINDS; kind++) {
        bench_attention(k, scalar, kind, 729, 729, 72);
        bench_attention(k, scalar, kind, 1, 1024, 128);
    }
    bench_rows(k, scalar);
}
