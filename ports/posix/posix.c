#define _POSIX_C_SOURCE 200809L

#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

/* ---- Files ------------------------------------------------------------------------ */

int bluelm_posix_map(const char *path, const void **data, size_t *bytes)
{
    struct stat info;
    int fd = open(path, O_RDONLY);
    if (fd < 0) return -1;
    if (fstat(fd, &info) < 0 || S_ISDIR(info.st_mode)) {
        int saved = S_ISDIR(info.st_mode) ? EISDIR : errno;
        close(fd);
        errno = saved;
        return -1;
    }
    *bytes = (size_t)info.st_size;
    *data = "";
    if (*bytes) {
        void *map = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            int saved = errno;
            close(fd);
            errno = saved;
            return -1;
        }
        *data = map;
    }
    close(fd);
    return 0;
}

void bluelm_posix_unmap(const void *data, size_t bytes)
{
    if (bytes) munmap((void *)(uintptr_t)data, bytes);
}

/* ---- Workers ------------------------------------------------------------------------ */

/* How often a waiting thread looks before it sleeps: about 20 us. A model dispatches a job
 * every few microseconds, and a sleeping thread takes longer than that to wake. */
#define BLUELM_POSIX_SPINS 4000

struct bluelm_posix_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint32_t threads;
    pthread_t *handles;
    void (*fn)(void *arg, uint32_t part); /* of the job in progress; a thread that took a */
    void *arg;                            /* part may read them until it reports it done  */
    uint32_t parts_left;                  /* to take                                      */
    uint32_t parts_open;                  /* not yet done                                 */
    uint32_t stop;
    pthread_t aside; /* with bluelm_port.start: a job beside the workers         */
    int aside_running;
    void (*aside_fn)(void *arg);
    void *aside_arg;
};

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
        __atomic_fetch_sub(&pool->parts_open, 1, __ATOMIC_RELEASE);
        left = __atomic_load_n(&pool->parts_left, __ATOMIC_ACQUIRE);
    }
}

static int bluelm_posix_has_work(const bluelm_posix_pool *pool)
{
    return __atomic_load_n(&pool->parts_left, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&pool->stop, __ATOMIC_ACQUIRE);
}

/* Waits for a job or the end: looks for a while, then sleeps. */
static void bluelm_posix_wait(bluelm_posix_pool *pool)
{
    for (uint32_t i = 0; i < BLUELM_POSIX_SPINS; i++) {
        if (bluelm_posix_has_work(pool)) return;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }
    pthread_mutex_lock(&pool->lock);
    while (!bluelm_posix_has_work(pool))
        pthread_cond_wait(&pool->wake, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void *bluelm_posix_thread(void *arg)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)arg;
    while (!__atomic_load_n(&pool->stop, __ATOMIC_ACQUIRE)) {
        bluelm_posix_wait(pool);
        bluelm_posix_work(pool);
    }
    return NULL;
}

/* Publishes a number that threads wait for, under the lock so that none falls asleep
 * between its last look and the signal. */
static void bluelm_posix_announce(bluelm_posix_pool *pool, uint32_t *field, uint32_t value)
{
    pthread_mutex_lock(&pool->lock);
    __atomic_store_n(field, value, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static void bluelm_posix_parallel_for(void *user, void (*fn)(void *arg, uint32_t part),
                                      void *arg, uint32_t parts)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)user;
    pool->fn = fn;
    pool->arg = arg;
    __atomic_store_n(&pool->parts_open, parts, __ATOMIC_RELAXED);
    bluelm_posix_announce(pool, &pool->parts_left, parts);
    bluelm_posix_work(pool);
    for (uint32_t i = 0; __atomic_load_n(&pool->parts_open, __ATOMIC_ACQUIRE); i++)
        if (i >= BLUELM_POSIX_SPINS) sched_yield();
}

bluelm_posix_pool *bluelm_posix_pool_start(uint32_t workers)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->handles = (pthread_t *)calloc(workers ? workers : 1, sizeof *pool->handles);
    if (!pool->handles) {
        free(pool);
        return NULL;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (uint32_t i = 1; i < workers; i++) {
        int code =
            pthread_create(&pool->handles[pool->threads], NULL, bluelm_posix_thread, pool);
        if (code) {
            bluelm_posix_pool_stop(pool);
            errno = code;
            return NULL;
        }
        pool->threads++;
    }
    return pool;
}

void bluelm_posix_pool_stop(bluelm_posix_pool *pool)
{
    if (!pool) return;
    bluelm_posix_announce(pool, &pool->stop, 1);
    for (uint32_t i = 0; i < pool->threads; i++)
        pthread_join(pool->handles[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->handles);
    free(pool);
}

/* ---- Work beside the workers ------------------------------------------------------------ */

static void *bluelm_posix_aside(void *arg)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)arg;
    pool->aside_fn(pool->aside_arg);
    return NULL;
}

/* A thread for each job: they are a few seconds apart. Without one the job runs here. */
static void bluelm_posix_start(void *user, void (*fn)(void *arg), void *arg)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)user;
    pool->aside_fn = fn;
    pool->aside_arg = arg;
    pool->aside_running = !pthread_create(&pool->aside, NULL, bluelm_posix_aside, pool);
    if (!pool->aside_running) fn(arg);
}

static void bluelm_posix_finish(void *user)
{
    bluelm_posix_pool *pool = (bluelm_posix_pool *)user;
    if (pool->aside_running) pthread_join(pool->aside, NULL);
    pool->aside_running = 0;
}

/* ---- The port -------------------------------------------------------------------------- */

static uint64_t bluelm_posix_now_us(void *user)
{
    struct timespec now;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

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
