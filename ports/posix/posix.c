#define _POSIX_C_SOURCE 200809L
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_setaffinity, syscall */
#endif

#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

/* ---- Files ------------------------------------------------------------------------ */

/* Bytes of a huge page: of most 64-bit processors. */
#define BLUELM_POSIX_HUGE ((size_t)2 << 20)

/* Closes a file and keeps errno, for a caller that then returns the code. */
static int bluelm_posix_close(int fd, int code)
{
    int saved = errno;
    close(fd);
    errno = saved;
    return code;
}

/* Opens a file for reading. Returns its descriptor, or -1 with errno. */
static int bluelm_posix_open(const char *path, size_t *bytes)
{
    struct stat info;
    int fd = open(path, O_RDONLY);
    if (fd < 0) return -1;
    if (fstat(fd, &info) < 0) return bluelm_posix_close(fd, -1);
    *bytes = (size_t)info.st_size;
    errno = S_ISDIR(info.st_mode) ? EISDIR : EFBIG;
    if (S_ISDIR(info.st_mode) || (uintmax_t)info.st_size > SIZE_MAX / 2)
        return bluelm_posix_close(fd, -1);
    return fd;
}

int bluelm_posix_map(const char *path, const void **data, size_t *bytes)
{
    int fd = bluelm_posix_open(path, bytes);
    if (fd < 0) return -1;
    *data = "";
    if (*bytes) {
        void *map = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) return bluelm_posix_close(fd, -1);
        *data = map;
    }
    return bluelm_posix_close(fd, 0);
}

void bluelm_posix_give_back(const void *data, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)data;
    uintptr_t first = (begin + page - 1) / page * page, end = (begin + bytes) / page * page;
    int saved = errno;
#if defined(MADV_DONTNEED)
    if (first < end) madvise((void *)first, end - first, MADV_DONTNEED);
#else
    (void)first, (void)end;
#endif
    errno = saved;
}

void bluelm_posix_unmap(const void *data, size_t bytes)
{
    if (bytes) munmap((void *)(uintptr_t)data, bytes);
}

#if defined(MAP_ANONYMOUS)

/* Whole pages that begin where a huge one can. What is left at the end, less than a huge
 * page, is small pages: nothing is taken beyond `bytes`. */
static uint8_t *bluelm_posix_take_huge(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), used = (bytes + page - 1) / page * page;
    uint8_t *block = (uint8_t *)mmap(NULL, used + BLUELM_POSIX_HUGE, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return NULL;
    size_t before = BLUELM_POSIX_HUGE - (uintptr_t)block % BLUELM_POSIX_HUGE;
    munmap(block, before);
    if (before < BLUELM_POSIX_HUGE) munmap(block + before + used, BLUELM_POSIX_HUGE - before);
#if defined(MADV_HUGEPAGE)
    madvise(block + before, used, MADV_HUGEPAGE); /* or small ones, where there are no others */
#endif
    return block + before;
}

/* Reads all of a file, and lets go of the system's own copy as it goes: of no more than a part
 * are there two. */
static int bluelm_posix_read_all(int fd, uint8_t *data, size_t bytes)
{
    const size_t most = 4 * BLUELM_POSIX_HUGE;
    for (size_t at = 0; at < bytes;) {
        size_t part = bytes - at < most - at % most ? bytes - at : most - at % most;
        ssize_t got = read(fd, data + at, part);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = EIO; /* shorter than it was */
        if (got <= 0) return -1;
        at += (size_t)got;
#if defined(POSIX_FADV_DONTNEED)
        if (at % most == 0 || at == bytes) posix_fadvise(fd, 0, (off_t)at, POSIX_FADV_DONTNEED);
#endif
    }
    return 0;
}

int bluelm_posix_read(const char *path, const void **data, size_t *bytes)
{
    int fd = bluelm_posix_open(path, bytes);
    if (fd < 0) return -1;
    *data = "";
    if (!*bytes) return bluelm_posix_close(fd, 0);
    uint8_t *block = bluelm_posix_take_huge(*bytes);
    if (!block) return bluelm_posix_close(fd, -1);
    if (bluelm_posix_read_all(fd, block, *bytes) || mprotect(block, *bytes, PROT_READ)) {
        int saved = errno;
        munmap(block, *bytes);
        errno = saved;
        return bluelm_posix_close(fd, -1);
    }
    *data = block;
    return bluelm_posix_close(fd, 0);
}

#else

int bluelm_posix_read(const char *path, const void **data, size_t *bytes)
{
    (void)path, (void)data, (void)bytes;
    errno = ENOTSUP;
    return -1;
}

#endif

/* ---- Clock ----------------------------------------------------------------------------- */

static uint64_t bluelm_posix_now_us(void *user)
{
    struct timespec now;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* ---- Processors ------------------------------------------------------------------------ */

#if defined(__linux__)

/* Which processors a thread runs on. */
typedef cpu_set_t bluelm_posix_cpus;

#define BLUELM_POSIX_CPU_LIMIT ((uint32_t)CPU_SETSIZE)

static int bluelm_posix_cpus_get(bluelm_posix_cpus *cpus)
{
    return sched_getaffinity(0, sizeof *cpus, cpus);
}

static int bluelm_posix_cpus_set(const bluelm_posix_cpus *cpus)
{
    return sched_setaffinity(0, sizeof *cpus, cpus);
}

static void bluelm_posix_cpus_add(bluelm_posix_cpus *cpus, uint32_t cpu)
{
    CPU_SET(cpu, cpus);
}

static int bluelm_posix_cpus_has(const bluelm_posix_cpus *cpus, uint32_t cpu)
{
    return CPU_ISSET(cpu, cpus) != 0;
}

#else /* POSIX cannot bind threads: all processors there are, and no choice of them */

typedef uint32_t bluelm_posix_cpus;

#define BLUELM_POSIX_CPU_LIMIT 1024u

static int bluelm_posix_cpus_get(bluelm_posix_cpus *cpus)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    *cpus = count > 0 ? (uint32_t)count : 1;
    return 0;
}

static int bluelm_posix_cpus_set(const bluelm_posix_cpus *cpus)
{
    (void)cpus;
    errno = ENOTSUP;
    return -1;
}

static void bluelm_posix_cpus_add(bluelm_posix_cpus *cpus, uint32_t cpu)
{
    if (*cpus <= cpu) *cpus = cpu + 1;
}

static int bluelm_posix_cpus_has(const bluelm_posix_cpus *cpus, uint32_t cpu)
{
    return cpu < *cpus;
}

#endif

static uint32_t bluelm_posix_cpus_count(const bluelm_posix_cpus *cpus)
{
    uint32_t count = 0;
    for (uint32_t cpu = 0; cpu < BLUELM_POSIX_CPU_LIMIT; cpu++)
        count += bluelm_posix_cpus_has(cpus, cpu) ? 1 : 0;
    return count;
}

/* Binds the calling thread to the index-th of the processors. */
static int bluelm_posix_cpus_set_one(const bluelm_posix_cpus *cpus, uint32_t index)
{
    bluelm_posix_cpus one;
    uint32_t cpu = 0;
    while (!bluelm_posix_cpus_has(cpus, cpu) || index-- > 0)
        cpu++;
    memset(&one, 0, sizeof one);
    bluelm_posix_cpus_add(&one, cpu);
    return bluelm_posix_cpus_set(&one);
}

/* A number below BLUELM_POSIX_CPU_LIMIT at *text, which moves behind it. */
static int bluelm_posix_cpu_number(const char **text, uint32_t *number)
{
    const char *at = *text;
    *number = 0;
    for (; *at >= '0' && *at <= '9' && *number < BLUELM_POSIX_CPU_LIMIT; at++)
        *number = 10 * *number + (uint32_t)(*at - '0');
    if (at == *text || *number >= BLUELM_POSIX_CPU_LIMIT) return -1;
    *text = at;
    return 0;
}

/* "0-3,6" */
static int bluelm_posix_cpus_parse(const char *list, bluelm_posix_cpus *cpus)
{
    uint32_t first, last;
    errno = EINVAL;
    memset(cpus, 0, sizeof *cpus);
    for (;; list++) {
        if (bluelm_posix_cpu_number(&list, &first)) return -1;
        last = first;
        if (*list == '-' && (list++, bluelm_posix_cpu_number(&list, &last))) return -1;
        if (last < first) return -1;
        for (uint32_t cpu = first; cpu <= last; cpu++)
            bluelm_posix_cpus_add(cpus, cpu);
        if (*list != ',') return *list ? -1 : 0;
    }
}

/* ---- Workers ------------------------------------------------------------------------ */

/* A thread that waits looks all the time at first: jobs come every few microseconds, and
 * waking a thread takes more than ten. Then it lets others run between its looks, and at
 * last it sleeps. */
enum { BLUELM_POSIX_LOOK_US = 50, BLUELM_POSIX_SLEEP_US = 1000 };

/* What threads sleep for. Both fields change under the pool's lock. */
typedef struct bluelm_posix_bell {
    pthread_cond_t cond;
    uint32_t sleepers; /* who were not yet rung for */
    uint32_t rings;
} bluelm_posix_bell;

struct bluelm_posix_pool {
    void (*fn)(void *arg, uint32_t part); /* of the job in progress; a thread that took a */
    void *arg;                            /* part may read them until it reports it done  */
    uint32_t parts_left;                  /* to take                                      */
    char apart[64];                       /* who looks at one does not disturb the other  */
    uint32_t parts_open;                  /* not yet done                                 */
    char apart_too[64];
    uint32_t stop;
    bluelm_posix_bell job, done;
    pthread_mutex_t lock;
    uint32_t threads;
    pthread_t *handles;
    int bound;                      /* threads have a processor each, of            */
    bluelm_posix_cpus cpus;         /* these                                        */
    bluelm_posix_cpus callers_cpus; /* where the caller's thread ran before         */
    uint32_t busy;                  /* with a job that some thread waits for            */
    pthread_t aside;                /* with bluelm_port.start: a job beside the workers */
    pthread_mutex_t aside_lock;     /* of what follows                                  */
    int aside_running;
    void (*aside_fn)(void *arg);
    void *aside_arg;
};

/* Nobody sleeps through a ring: who rings has changed what ready() looks at and then looks
 * for sleepers; who goes to sleep counts as a sleeper and then looks at it once more. All
 * four are sequentially consistent, so one of the two sees the other. */
static void bluelm_posix_ring(bluelm_posix_pool *pool, bluelm_posix_bell *bell)
{
    if (!__atomic_load_n(&bell->sleepers, __ATOMIC_SEQ_CST)) return;
    pthread_mutex_lock(&pool->lock);
    bell->rings++;
    __atomic_store_n(&bell->sleepers, 0, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&bell->cond);
    pthread_mutex_unlock(&pool->lock);
}

static void bluelm_posix_sleep(bluelm_posix_pool *pool, bluelm_posix_bell *bell,
                               int (*ready)(const bluelm_posix_pool *pool))
{
    pthread_mutex_lock(&pool->lock);
    uint32_t rings = bell->rings;
    __atomic_fetch_add(&bell->sleepers, 1, __ATOMIC_SEQ_CST);
    while (!ready(pool) && rings == bell->rings)
        pthread_cond_wait(&bell->cond, &pool->lock);
    if (rings == bell->rings) __atomic_fetch_sub(&bell->sleepers, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&pool->lock);
}

static void bluelm_posix_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void bluelm_posix_wait(bluelm_posix_pool *pool, bluelm_posix_bell *bell,
                              int (*ready)(const bluelm_posix_pool *pool))
{
    uint64_t begun = bluelm_posix_now_us(NULL);
    while (!ready(pool)) {
        for (uint32_t i = 0; i < 64 && !ready(pool); i++)
            bluelm_posix_pause();
        uint64_t waited = bluelm_posix_now_us(NULL) - begun;
        if (waited > BLUELM_POSIX_SLEEP_US) {
            bluelm_posix_sleep(pool, bell, ready);
            begun = bluelm_posix_now_us(NULL);
        } else if (waited > BLUELM_POSIX_LOOK_US) {
            sched_yield();
        }
    }
}

static int bluelm_posix_has_work(const bluelm_posix_pool *pool)
{
    return __atomic_load_n(&pool->parts_left, __ATOMIC_SEQ_CST) ||
           __atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST);
}

static int bluelm_posix_is_done(const bluelm_posix_pool *pool)
{
    return !__atomic_load_n(&pool->parts_open, __ATOMIC_SEQ_CST);
}

/* Takes parts until none is left. The caller's thread does all of them if the others
 * sleep: nobody waits for a thread that took nothing. */
static void bluelm_posix_work(bluelm_posix_pool *pool)
{
    uint32_t left = __atomic_load_n(&pool->parts_left, __ATOMIC_ACQUIRE);
    while (left) {
        if (!__atomic_compare_exchange_n(&pool->parts_left, &left, left - 1, 0,
                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            continue;
        pool->fn(pool->arg, left - 1);
        if (__atomic_sub_fetch(&pool->parts_open, 1, __ATOMIC_SEQ_CST) == 0)
            bluelm_posix_ring(pool, &pool->done);
        left = __atomic_load_n(&pool->parts_left, __ATOMIC_ACQUIRE);
    }
}

static void *bluelm_posix_thread(void *arg)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)arg;
    while (!__atomic_load_n(&pool->stop, __ATOMIC_ACQUIRE)) {
        bluelm_posix_wait(pool, &pool->job, bluelm_posix_has_work);
        bluelm_posix_work(pool);
    }
    return NULL;
}

/* The workers have one job at a time. A thread that comes while they work for another does its
 * parts itself: parts wait for no thread, and it would only stand by otherwise. */
static void bluelm_posix_parallel_for(void *user, void (*fn)(void *arg, uint32_t part),
                                      void *arg, uint32_t parts)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)user;
    if (__atomic_exchange_n(&pool->busy, 1, __ATOMIC_ACQUIRE)) {
        for (uint32_t part = 0; part < parts; part++)
            fn(arg, part);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    __atomic_store_n(&pool->parts_open, parts, __ATOMIC_RELAXED);
    __atomic_store_n(&pool->parts_left, parts, __ATOMIC_SEQ_CST);
    bluelm_posix_ring(pool, &pool->job);
    bluelm_posix_work(pool);
    bluelm_posix_wait(pool, &pool->done, bluelm_posix_is_done);
    __atomic_store_n(&pool->busy, 0, __ATOMIC_RELEASE);
}

/* ---- Work beside the workers ------------------------------------------------------------ */

static void *bluelm_posix_aside(void *arg)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)arg;
    if (pool->bound) bluelm_posix_cpus_set(&pool->cpus); /* any of them, not the caller's */
    pool->aside_fn(pool->aside_arg);
    return NULL;
}

/* A thread for each job: they are a few seconds apart. Without one, and where another engine's
 * job has it, the job runs here. */
static void bluelm_posix_start(void *user, void (*fn)(void *arg), void *arg)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)user;
    int started = 0;
    pthread_mutex_lock(&pool->aside_lock);
    if (!pool->aside_running) {
        pool->aside_fn = fn;
        pool->aside_arg = arg;
        started = !pthread_create(&pool->aside, NULL, bluelm_posix_aside, pool);
        pool->aside_running = started;
    }
    pthread_mutex_unlock(&pool->aside_lock);
    if (!started) fn(arg);
}

/* Waits for the job there is, whoever started it: with that, his own is done too. */
static void bluelm_posix_finish(void *user)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)user;
    pthread_mutex_lock(&pool->aside_lock);
    if (pool->aside_running) pthread_join(pool->aside, NULL);
    pool->aside_running = 0;
    pthread_mutex_unlock(&pool->aside_lock);
}

/* ---- The pool's life ----------------------------------------------------------------- */

/* Where the threads run, and how many of them: more than processors would only wait for
 * each other. */
static int bluelm_posix_pool_place(bluelm_posix_pool *pool, const char *cpus, uint32_t *workers)
{
    if (bluelm_posix_cpus_get(&pool->callers_cpus)) return -1;
    pool->cpus = pool->callers_cpus;
    if (cpus && bluelm_posix_cpus_parse(cpus, &pool->cpus)) return -1;
    uint32_t count = bluelm_posix_cpus_count(&pool->cpus);
    if (*workers > count) *workers = count;
    pool->bound = cpus != NULL;
    return 0;
}

/* A new thread runs where the one that starts it does. */
static int bluelm_posix_pool_add_thread(bluelm_posix_pool *pool)
{
    if (pool->bound && bluelm_posix_cpus_set_one(&pool->cpus, pool->threads + 1)) return -1;
    int code = pthread_create(&pool->handles[pool->threads], NULL, bluelm_posix_thread, pool);
    if (code) {
        errno = code;
        return -1;
    }
    pool->threads++;
    return 0;
}

static int bluelm_posix_pool_set_up(bluelm_posix_pool *pool, uint32_t workers, const char *cpus)
{
    if (bluelm_posix_pool_place(pool, cpus, &workers)) return -1;
    pool->handles = (pthread_t *)calloc(workers ? workers : 1, sizeof *pool->handles);
    if (!pool->handles) return -1;
    for (uint32_t i = 1; i < workers; i++)
        if (bluelm_posix_pool_add_thread(pool)) return -1;
    return pool->bound ? bluelm_posix_cpus_set_one(&pool->cpus, 0) : 0;
}

bluelm_posix_pool *bluelm_posix_pool_start_on(uint32_t workers, const char *cpus)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_init(&pool->aside_lock, NULL);
    pthread_cond_init(&pool->job.cond, NULL);
    pthread_cond_init(&pool->done.cond, NULL);
    if (bluelm_posix_pool_set_up(pool, workers, cpus)) {
        int saved = errno;
        bluelm_posix_pool_stop(pool);
        errno = saved;
        return NULL;
    }
    return pool;
}

bluelm_posix_pool *bluelm_posix_pool_start(uint32_t workers)
{
    return bluelm_posix_pool_start_on(workers, NULL);
}

void bluelm_posix_pool_stop(bluelm_posix_pool *pool)
{
    if (!pool) return;
    bluelm_posix_finish(pool);
    __atomic_store_n(&pool->stop, 1, __ATOMIC_SEQ_CST);
    bluelm_posix_ring(pool, &pool->job);
    for (uint32_t i = 0; i < pool->threads; i++)
        pthread_join(pool->handles[i], NULL);
    if (pool->bound) bluelm_posix_cpus_set(&pool->callers_cpus);
    pthread_cond_destroy(&pool->job.cond);
    pthread_cond_destroy(&pool->done.cond);
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->aside_lock);
    free(pool->handles);
    free(pool);
}

/* ---- The port -------------------------------------------------------------------------- */

#if defined(__x86_64__) && defined(__linux__)
/* Linux keeps room for a thread's tiles only in a process that asked for it; to ask again
 * does no harm. Kernels that would not save tiles do not know the question. */
static uint32_t bluelm_posix_amx(void)
{
    const long ask = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    const unsigned bf16 = 1u << 22, tiles = 1u << 24;
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & bf16) || !(d & tiles)) return 0;
    return syscall(SYS_arch_prctl, ask, tile_data) == 0 ? BLUELM_CPU_AMX : 0;
}
#endif

/* What the system knows of the processor and the library cannot find out by itself. */
static uint32_t bluelm_posix_cpu_features(void)
{
#if defined(__aarch64__) && defined(__linux__)
    unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
    uint32_t features = BLUELM_CPU_NEON;
    if (caps & (1ul << 20)) /* HWCAP_ASIMDDP */
        features |= BLUELM_CPU_NEON_DOTPROD;
    if (caps2 & (1ul << 13)) /* HWCAP2_I8MM */
        features |= BLUELM_CPU_NEON_I8MM;
    return features;
#elif defined(__x86_64__) && defined(__linux__)
    return bluelm_posix_amx();
#else
    return 0;
#endif
}

bluelm_port bluelm_posix_port(bluelm_posix_pool *pool)
{
    bluelm_port port = {0};
    port.user = pool;
    port.parallel_for = pool ? bluelm_posix_parallel_for : NULL;
    port.start = pool ? bluelm_posix_start : NULL;
    port.finish = pool ? bluelm_posix_finish : NULL;
    port.now_us = bluelm_posix_now_us;
    port.cpu_features = bluelm_posix_cpu_features();
    return port;
}
