#include "limits.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

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
 * from leaving that out. The streams lie 37 lines off each other in their pages: equal places
 * in pages, and next ones too, get in each other's way. */
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

typedef struct bench_peak {
    const char *kernels; /* that use these instructions */
    const char *name[2]; /* by enum bench_limit         */
    void (*part[2])(void *arg, uint32_t part);
    double lanes[2]; /* multiply-adds in BENCH_ROUNDS'th of a part */
} bench_peak;

#if defined(__x86_64__)

#define BENCH_ROUNDS 2000000u /* of ten instructions, or ten times three: milliseconds */

/* Ten independent chains hide the latency; what is multiplied does not matter. Compilers put
 * moves between them. */
#define BENCH_TEN(op)                                                                          \
    op "0\n\t" op "1\n\t" op "2\n\t" op "3\n\t" op "4\n\t" op "5\n\t" op "6\n\t" op "7\n\t" op \
       "8\n\t" op "9\n\t"
#define BENCH_CLOBBERS                                                                         \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",   \
        "xmm11", "xmm12", "xmm13"

__attribute__((target("avx512f,avx512vnni"))) static void bench_vnni(void *arg, uint32_t part)
{
    (void)arg, (void)part;
    for (uint32_t i = 0; i < BENCH_ROUNDS; i++)
        __asm__ volatile(BENCH_TEN("vpdpbusd %%zmm10, %%zmm10, %%zmm")::: BENCH_CLOBBERS);
}

__attribute__((target("avx512f"))) static void bench_fma_avx512(void *arg, uint32_t part)
{
    (void)arg, (void)part;
    __asm__ volatile("vxorps %%xmm10, %%xmm10, %%xmm10" ::: "xmm10");
    for (uint32_t i = 0; i < BENCH_ROUNDS; i++)
        __asm__ volatile(BENCH_TEN("vfmadd231ps %%zmm10, %%zmm10, %%zmm")::: BENCH_CLOBBERS);
}

/* AVX2 has no int8 dot product: multiply-add to 16 bits, again to 32 bits, and add. */
__attribute__((target("avx2"))) static void bench_avx2(void *arg, uint32_t part)
{
    (void)arg, (void)part;
    for (uint32_t i = 0; i < 2 * BENCH_ROUNDS; i++)
        __asm__ volatile(
            "vpmaddubsw %%ymm10, %%ymm10, %%ymm5\n\tvpmaddwd %%ymm10, %%ymm5, %%ymm5\n\t"
            "vpaddd %%ymm5, %%ymm0, %%ymm0\n\t"
            "vpmaddubsw %%ymm10, %%ymm10, %%ymm6\n\tvpmaddwd %%ymm10, %%ymm6, %%ymm6\n\t"
            "vpaddd %%ymm6, %%ymm1, %%ymm1\n\t"
            "vpmaddubsw %%ymm10, %%ymm10, %%ymm7\n\tvpmaddwd %%ymm10, %%ymm7, %%ymm7\n\t"
            "vpaddd %%ymm7, %%ymm2, %%ymm2\n\t"
            "vpmaddubsw %%ymm10, %%ymm10, %%ymm8\n\tvpmaddwd %%ymm10, %%ymm8, %%ymm8\n\t"
            "vpaddd %%ymm8, %%ymm3, %%ymm3\n\t"
            "vpmaddubsw %%ymm10, %%ymm10, %%ymm9\n\tvpmaddwd %%ymm10, %%ymm9, %%ymm9\n\t"
            "vpaddd %%ymm9, %%ymm4, %%ymm4" ::
                : BENCH_CLOBBERS);
}

__attribute__((target("avx2,fma"))) static void bench_fma_avx2(void *arg, uint32_t part)
{
    (void)arg, (void)part;
    __asm__ volatile("vxorps %%xmm10, %%xmm10, %%xmm10" ::: "xmm10");
    for (uint32_t i = 0; i < BENCH_ROUNDS; i++)
        __asm__ volatile(BENCH_TEN("vfmadd231ps %%ymm10, %%ymm10, %%ymm")::: BENCH_CLOBBERS);
}

/* What ldtilecfg reads: palette 1, eight tiles of 16 rows of 64 bytes. */
typedef struct bench_tiles {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} bench_tiles;

#define BENCH_TILE_ROUNDS (BENCH_ROUNDS / 20) /* of six products, 16 cycles each */

/* Six independent sums of tiles, which are zero. */
static void bench_amx(void *arg, uint32_t part)
{
    static const bench_tiles tiles = {.palette = 1,
                                      .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                      .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    (void)arg, (void)part;
    __asm__ volatile("ldtilecfg %0" ::"m"(tiles)); /* makes them zero */
    for (uint32_t i = 0; i < BENCH_TILE_ROUNDS; i++)
        __asm__ volatile("tdpbf16ps %tmm7, %tmm6, %tmm0\n\ttdpbf16ps %tmm7, %tmm6, %tmm1\n\t"
                         "tdpbf16ps %tmm7, %tmm6, %tmm2\n\ttdpbf16ps %tmm7, %tmm6, %tmm3\n\t"
                         "tdpbf16ps %tmm7, %tmm6, %tmm4\n\ttdpbf16ps %tmm7, %tmm6, %tmm5");
    __asm__ volatile("tilerelease");
}

/* By the best kernels in use, as bluelm_stats names them. With AMX both meet in bf16. */
static const bench_peak bench_peaks[] = {
    {"amx",
     {"AMX bf16", "AMX bf16"},
     {bench_amx, bench_amx},
     {6 * 8192.0 / 20, 6 * 8192.0 / 20}},
    {"avx512", {"VNNI", "FMA"}, {bench_vnni, bench_fma_avx512}, {640, 160}},
    {"avx2", {"AVX2 int8", "FMA"}, {bench_avx2, bench_fma_avx2}, {320, 80}},
};

#else

#define BENCH_ROUNDS 1u

static const bench_peak bench_peaks[] = {{"", {"", ""}, {NULL, NULL}, {0, 0}}};

#endif

static const bench_peak *bench_peak_of(const char *kernels)
{
    for (size_t i = 0; i < sizeof bench_peaks / sizeof *bench_peaks; i++)
        if (!strcmp(bench_peaks[i].kernels, kernels)) return &bench_peaks[i];
    return NULL;
}

const char *bench_limit_name(enum bench_limit limit, const char *kernels)
{
    const bench_peak *peak = bench_peak_of(kernels);
    if (limit == BENCH_READ) return "read";
    return limit < BENCH_READ && peak ? peak->name[limit] : "";
}

double bench_peak_rate(const bluelm_port *port, uint32_t threads, enum bench_limit limit,
                       const char *kernels)
{
    const bench_peak *peak = limit < BENCH_READ ? bench_peak_of(kernels) : NULL;
    if (!peak) return 0;
    uint64_t begun = port->now_us(port->user);
    bench_run(port, threads, peak->part[limit], NULL);
    double us = (double)(port->now_us(port->user) - begun);
    return peak->lanes[limit] * BENCH_ROUNDS * threads * 1e6 / us;
}

/* ---- Dispatch ------------------------------------------------------------------------ */

static void bench_nothing(void *arg, uint32_t part)
{
    (void)arg, (void)part;
}

/* Each part waits for the other, so that two threads take part. */
static void bench_meet(void *arg, uint32_t part)
{
    uint32_t *met = (uint32_t *)arg;
    (void)part;
    __atomic_fetch_add(met, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(met, __ATOMIC_ACQUIRE) < 2) {
    }
}

static uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int bench_compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

double bench_dispatch_us(const bluelm_port *port, uint32_t gap_us, int meet)
{
    static uint64_t took[4001];
    size_t count = sizeof took / sizeof *took;
    for (size_t i = 0; i < count; i++) {
        uint32_t met = 0;
        uint64_t begun = bench_now_ns();
        while (bench_now_ns() - begun < gap_us * 1000ull) {
        }
        begun = bench_now_ns();
        port->parallel_for(port->user, meet ? bench_meet : bench_nothing, &met, 2);
        took[i] = bench_now_ns() - begun;
    }
    qsort(took, count, sizeof *took, bench_compare_u64);
    return (double)took[count / 2] / 1e3;
}
