#include "limits.h"

#include <string.h>

typedef struct bench_job {
    const uint8_t *data;
    size_t bytes;
    uint32_t threads;
    uint64_t sink[64];
} bench_job;

static void bench_run(const bluelm_port *port, uint32_t threads, void (*fn)(void *, uint32_t),
                      void *arg)
{
    if (port->parallel_for && threads > 1)
        port->parallel_for(port->user, fn, arg, threads);
    else
        fn(arg, 0);
}

#define BENCH_STREAMS 4
#define BENCH_AHEAD   2048 /* bytes; the processor's own prefetchers stop at each page */
#define BENCH_LINE    64

typedef uint64_t bench_words __attribute__((vector_size(16), aligned(1), may_alias));

/* Four streams at once with prefetches: one plain stream leaves bandwidth unused. */
static void bench_read_part(void *arg, uint32_t part)
{
    bench_job *job = (bench_job *)arg;
    size_t stream = job->bytes / job->threads / BENCH_STREAMS / BENCH_LINE * BENCH_LINE;
    const uint8_t *data = job->data + part * stream * BENCH_STREAMS;
    bench_words sums[4] = {{0}};
    for (size_t at = 0; at < stream; at += BENCH_LINE) {
        for (size_t k = 0; k < BENCH_STREAMS; k++) {
            const uint8_t *line = data + k * stream + at;
            __builtin_prefetch(line + BENCH_AHEAD);
            for (size_t i = 0; i < 4; i++)
                sums[i] += *(const bench_words *)(const void *)(line + 16 * i);
        }
    }
    sums[0] += sums[1] + sums[2] + sums[3];
    job->sink[part] = sums[0][0] + sums[0][1];
}

double bench_read_bandwidth(const bluelm_port *port, uint32_t threads, const void *data,
                            size_t bytes, uint32_t runs)
{
    bench_job job = {(const uint8_t *)data, bytes, threads, {0}};
    double best = 0;
    for (uint32_t i = 0; i < runs + 1; i++) { /* the first brings the pages in */
        uint64_t begun = port->now_us(port->user);
        bench_run(port, threads, bench_read_part, &job);
        double rate = (double)bytes * 1e6 / (double)(port->now_us(port->user) - begun);
        if (i && rate > best) best = rate;
    }
    return best;
}

#if defined(__x86_64__)

#define BENCH_DOTS 4000000u

/* Ten independent chains hide the latency; what is multiplied does not matter. */
__attribute__((target("avx512f,avx512vnni"))) static void bench_vnni_part(void *arg,
                                                                          uint32_t part)
{
    (void)arg, (void)part;
    for (uint32_t i = 0; i < BENCH_DOTS / 10; i++)
        __asm__ volatile(
            "vpdpbusd %%zmm30, %%zmm31, %%zmm0\n\tvpdpbusd %%zmm30, %%zmm31, %%zmm1\n\t"
            "vpdpbusd %%zmm30, %%zmm31, %%zmm2\n\tvpdpbusd %%zmm30, %%zmm31, %%zmm3\n\t"
            "vpdpbusd %%zmm30, %%zmm31, %%zmm4\n\tvpdpbusd %%zmm30, %%zmm31, %%zmm5\n\t"
            "vpdpbusd %%zmm30, %%zmm31, %%zmm6\n\tvpdpbusd %%zmm30, %%zmm31, %%zmm7\n\t"
            "vpdpbusd %%zmm30, %%zmm31, %%zmm8\n\tvpdpbusd %%zmm30, %%zmm31, %%zmm9" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                  "xmm9");
}

/* AVX2 has no int8 dot product: multiply-add to 16 bits, again to 32 bits, and add. */
__attribute__((target("avx2"))) static void bench_avx2_part(void *arg, uint32_t part)
{
    (void)arg, (void)part;
    for (uint32_t i = 0; i < BENCH_DOTS / 4; i++)
        __asm__ volatile(
            "vpmaddubsw %%ymm14, %%ymm15, %%ymm4\n\tvpmaddwd %%ymm13, %%ymm4, %%ymm4\n\t"
            "vpaddd %%ymm4, %%ymm0, %%ymm0\n\t"
            "vpmaddubsw %%ymm14, %%ymm15, %%ymm5\n\tvpmaddwd %%ymm13, %%ymm5, %%ymm5\n\t"
            "vpaddd %%ymm5, %%ymm1, %%ymm1\n\t"
            "vpmaddubsw %%ymm14, %%ymm15, %%ymm6\n\tvpmaddwd %%ymm13, %%ymm6, %%ymm6\n\t"
            "vpaddd %%ymm6, %%ymm2, %%ymm2\n\t"
            "vpmaddubsw %%ymm14, %%ymm15, %%ymm7\n\tvpmaddwd %%ymm13, %%ymm7, %%ymm7\n\t"
            "vpaddd %%ymm7, %%ymm3, %%ymm3" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
}

double bench_int8_peak(const bluelm_port *port, uint32_t threads, uint32_t runs,
                       const char **name)
{
    int vnni = __builtin_cpu_supports("avx512vnni") != 0;
    double best = 0, lanes = vnni ? 64 : 32;
    *name = vnni ? "AVX-512 VNNI" : "AVX2";
    if (!vnni && !__builtin_cpu_supports("avx2")) return 0;
    for (uint32_t i = 0; i < runs; i++) {
        uint64_t begun = port->now_us(port->user);
        bench_run(port, threads, vnni ? bench_vnni_part : bench_avx2_part, NULL);
        double us = (double)(port->now_us(port->user) - begun);
        double rate = lanes * BENCH_DOTS * threads * 1e6 / us;
        best = rate > best ? rate : best;
    }
    return best;
}

#else

double bench_int8_peak(const bluelm_port *port, uint32_t threads, uint32_t runs,
                       const char **name)
{
    (void)port, (void)threads, (void)runs;
    *name = "unknown";
    return 0;
}

#endif
