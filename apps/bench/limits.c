#include "limits.h"

#include <string.h>

typedef struct bench_job {
    const uint8_t *data;
    size_t bytes;
    uint32_t threads, streams;
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

/* ---- Reading ------------------------------------------------------------------------- */

#define BENCH_LINE  64
#define BENCH_PAGE  4096
#define BENCH_AHEAD 8192 /* bytes on their way; a core's own prefetchers stop at each page */

typedef uint64_t bench_words __attribute__((vector_size(16), aligned(1), may_alias));

/* Reads the lines of data once, at `streams` places in turns. Returns what keeps a compiler
 * from leaving that out. The streams lie 37 lines off each other in their pages: equal places in pages, and next
 * ones too, get in each other's way. */
static uint64_t bench_read(const uint8_t *data, size_t bytes, uint32_t streams)
{
    bench_words a = {0}, b = {0}, c = {0}, d = {0};
    size_t pages = bytes / streams / BENCH_PAGE;
    size_t stream = pages ? (pages - 1) * BENCH_PAGE + 37 * BENCH_LINE : 0;
    for (size_t at = 0; at < stream; at += BENCH_LINE) {
        for (size_t k = 0; k < streams; k++) {
            const uint8_t *line = data + k * stream + at;
            const bench_words *words = (const bench_words *)(const void *)line;
            __builtin_prefetch(line + BENCH_AHEAD / streams);
            a ^= words[0];
            b ^= words[1];
            c ^= words[2];
            d ^= words[3];
        }
    }
    a ^= b ^ c ^ d;
    return a[0] ^ a[1];
}

static void bench_read_part(void *arg, uint32_t part)
{
    bench_job *job = (bench_job *)arg;
    size_t bytes = job->bytes / job->threads;
    job->sink[part] = bench_read(job->data + part * bytes, bytes, job->streams);
}

/* Which number of streams is best differs from machine to machine, and with what the other
 * cores do. */
double bench_read_bandwidth(const bluelm_port *port, uint32_t threads, const void *data,
                            size_t bytes)
{
    static const uint32_t streams[] = {1, 2, 4, 8};
    double best = 0;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        bench_job job = {(const uint8_t *)data, bytes, threads, streams[i], {0}};
        uint64_t begun = port->now_us(port->user);
        bench_run(port, threads, bench_read_part, &job);
        double rate = (double)bytes * 1e6 / (double)(port->now_us(port->user) - begun);
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- Multiplying ----------------------------------------------------------------------- */

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
