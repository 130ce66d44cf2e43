/* The port for systems with POSIX threads: a pool that loses no job and no wake-up, on the
 * processors it was given; files mapped and read. */
#if defined(__linux__)
#define _GNU_SOURCE /* sched_getaffinity, sched_getcpu */
#endif

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../ports/posix/posix.h"

#define MAX_PARTS 8

static uint32_t random_state = 1;

static uint32_t test_random(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % below;
}

static void test_spend(uint64_t us)
{
    bluelm_port clock = bluelm_posix_port(NULL);
    uint64_t begun = clock.now_us(NULL);
    while (clock.now_us(NULL) - begun < us) {
    }
}

/* ---- The pool ------------------------------------------------------------------------ */

typedef struct test_job {
    uint32_t count[MAX_PARTS];
    uint32_t us[MAX_PARTS]; /* how long each part takes             */
    uint32_t meet;          /* parts that must all run at one time  */
    uint32_t met;
    int cpu[MAX_PARTS];
} test_job;

static void test_part(void *arg, uint32_t part)
{
    test_job *job = (test_job *)arg;
    __atomic_fetch_add(&job->met, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&job->met, __ATOMIC_SEQ_CST) < job->meet)
        sched_yield();
    test_spend(job->us[part]);
#if defined(__linux__)
    job->cpu[part] = sched_getcpu();
#endif
    job->count[part]++;
}

static void test_parts_ran_once(const test_job *job, uint32_t parts)
{
    for (uint32_t p = 0; p < MAX_PARTS; p++)
        assert_int_equal(job->count[p], p < parts);
}

static void every_part_runs_once(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers < 6; workers++) {
        bluelm_posix_pool *pool = bluelm_posix_pool_start(workers);
        assert_non_null(pool);
        bluelm_port port = bluelm_posix_port(pool);
        for (uint32_t i = 0; i < 2000; i++) {
            test_job job = {.meet = 0};
            uint32_t parts = 1 + i % MAX_PARTS;
            for (uint32_t p = 0; p < parts; p++)
                job.us[p] = i % 4 ? 0 : test_random(5);
            port.parallel_for(port.user, test_part, &job, parts);
            test_parts_ran_once(&job, parts);
        }
        uint64_t then = port.now_us(port.user);
        assert_true(port.now_us(port.user) >= then);
        bluelm_posix_pool_stop(pool);
    }
    bluelm_posix_pool_stop(NULL);
}

/* Threads fall asleep after a millisecond: jobs come, and parts end, just before it, just
 * after it, and between a thread's last look and its sleep. Two parts that wait for each
 * other end only if nobody sleeps on. */
static void nobody_sleeps_through_a_job(void **state)
{
    (void)state;
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) skip();
    bluelm_posix_pool *pool = bluelm_posix_pool_start(2);
    assert_non_null(pool);
    bluelm_port port = bluelm_posix_port(pool);
    alarm(120);
    for (uint32_t i = 0; i < 1000; i++) {
        test_job job = {.meet = 2};
        uint64_t gap = 970 + test_random(60), part = i % 4 ? 0 : 970 + test_random(60);
        job.us[i % 2] = (uint32_t)part;
        test_spend(gap);
        port.parallel_for(port.user, test_part, &job, 2);
        test_parts_ran_once(&job, 2);
    }
    alarm(0);
    bluelm_posix_pool_stop(pool);
}

/* ---- One pool, several threads --------------------------------------------------------- */

enum { TEST_CALLERS = 3, TEST_ASIDE_ROUNDS = 200 };

typedef struct test_caller {
    bluelm_port port;
    uint32_t rounds, seed;
    uint32_t wrong; /* parts that did not run once */
    uint32_t asides;
} test_caller;

static void test_count_aside(void *arg)
{
    test_caller *caller = (test_caller *)arg;
    test_spend(caller->seed % 50);
    caller->asides++;
}

/* What an engine asks of its port, in a thread of its own. */
static void *test_call(void *arg)
{
    test_caller *caller = (test_caller *)arg;
    for (uint32_t i = 0; i < caller->rounds; i++) {
        test_job job = {.meet = 0};
        uint32_t parts = 1 + (i + caller->seed) % MAX_PARTS;
        int beside = i % 10 == 0;
        if (beside) caller->port.start(caller->port.user, test_count_aside, caller);
        if (i % 97 == caller->seed) test_spend(1100); /* the workers fall asleep */
        caller->port.parallel_for(caller->port.user, test_part, &job, parts);
        for (uint32_t p = 0; p < MAX_PARTS; p++)
            caller->wrong += job.count[p] != (p < parts);
        if (beside) caller->port.finish(caller->port.user);
        if (beside && caller->asides != i / 10 + 1) caller->wrong++;
    }
    return NULL;
}

static void threads_share_a_pool(void **state)
{
    (void)state;
    bluelm_posix_pool *pool = bluelm_posix_pool_start(3);
    assert_non_null(pool);
    pthread_t threads[TEST_CALLERS];
    test_caller callers[TEST_CALLERS];
    alarm(120);
    for (uint32_t i = 0; i < TEST_CALLERS; i++) {
        const test_caller caller = {bluelm_posix_port(pool), 10 * TEST_ASIDE_ROUNDS, i, 0, 0};
        callers[i] = caller;
        assert_int_equal(pthread_create(&threads[i], NULL, test_call, &callers[i]), 0);
    }
    for (uint32_t i = 0; i < TEST_CALLERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(callers[i].wrong, 0);
        assert_int_equal(callers[i].asides, TEST_ASIDE_ROUNDS);
    }
    alarm(0);
    bluelm_posix_pool_stop(pool);
}

static void test_slow(void *arg)
{
    test_spend(20000);
    __atomic_store_n((uint32_t *)arg, 1, __ATOMIC_RELEASE);
}

static void stopping_waits_for_work_beside(void **state)
{
    (void)state;
    uint32_t done = 0;
    bluelm_posix_pool *pool = bluelm_posix_pool_start(2);
    assert_non_null(pool);
    bluelm_port port = bluelm_posix_port(pool);
    port.start(port.user, test_slow, &done);
    bluelm_posix_pool_stop(pool);
    assert_int_equal(__atomic_load_n(&done, __ATOMIC_ACQUIRE), 1);
}

/* ---- Processors -------------------------------------------------------------------------- */

static void wrong_lists_of_processors_are_refused(void **state)
{
    (void)state;
    static const char *const lists[] = {"",
                                        " ",
                                        "x",
                                        "-",
                                        "0-",
                                        "-1",
                                        "0,",
                                        ",0",
                                        "0,,0",
                                        "1-0",
                                        "0-x",
                                        "0 ",
                                        "0;1",
                                        "0x",
                                        "99999",
                                        "1023",
                                        "99999999999999999999"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        errno = 0;
        assert_null(bluelm_posix_pool_start_on(1, lists[i]));
        assert_true(errno == EINVAL || errno == ENOTSUP);
    }
}

#if defined(__linux__)

/* The processors this process may use, as a list. */
static uint32_t test_cpus(cpu_set_t *cpus, char *list, size_t bytes)
{
    uint32_t count = 0;
    size_t at = 0;
    assert_int_equal(sched_getaffinity(0, sizeof *cpus, cpus), 0);
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE && at + 8 < bytes; cpu++) {
        if (!CPU_ISSET(cpu, cpus)) continue;
        at += (size_t)snprintf(list + at, bytes - at, count ? ",%u" : "%u", (unsigned)cpu);
        count++;
    }
    return count;
}

static void threads_have_a_processor_each(void **state)
{
    (void)state;
    cpu_set_t before, bound, after;
    char list[4096];
    uint32_t count = test_cpus(&before, list, sizeof list);
    uint32_t workers = count < MAX_PARTS ? count : MAX_PARTS;
    bluelm_posix_pool *pool = bluelm_posix_pool_start_on(workers, list);
    assert_non_null(pool);
    bluelm_port port = bluelm_posix_port(pool);
    assert_int_equal(sched_getaffinity(0, sizeof bound, &bound), 0);
    assert_int_equal(CPU_COUNT(&bound), 1);
    for (uint32_t i = 0; i < 50; i++) {
        test_job job = {.meet = workers};
        port.parallel_for(port.user, test_part, &job, workers);
        test_parts_ran_once(&job, workers);
        for (uint32_t p = 0; p < workers; p++)
            for (uint32_t q = 0; q < p; q++)
                assert_int_not_equal(job.cpu[p], job.cpu[q]);
    }
    bluelm_posix_pool_stop(pool);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
}

static void test_note_cpus(void *arg)
{
    assert_int_equal(sched_getaffinity(0, sizeof(cpu_set_t), (cpu_set_t *)arg), 0);
}

/* More workers than processors, all of which are one; work beside them may use all. */
static void workers_share_few_processors(void **state)
{
    (void)state;
    cpu_set_t cpus, aside;
    char list[4096], one[16];
    test_cpus(&cpus, list, sizeof list);
    snprintf(one, sizeof one, "%d", atoi(list));
    bluelm_posix_pool *pool = bluelm_posix_pool_start_on(5, one);
    assert_non_null(pool);
    bluelm_port port = bluelm_posix_port(pool);
    for (uint32_t i = 0; i < 500; i++) {
        test_job job = {.meet = 0};
        port.parallel_for(port.user, test_part, &job, MAX_PARTS);
        test_parts_ran_once(&job, MAX_PARTS);
        for (uint32_t p = 0; p < MAX_PARTS; p++)
            assert_int_equal(job.cpu[p], atoi(list));
    }
    bluelm_posix_pool_stop(pool);
    pool = bluelm_posix_pool_start_on(2, list);
    assert_non_null(pool);
    port = bluelm_posix_port(pool);
    port.start(port.user, test_note_cpus, &aside);
    port.finish(port.user);
    assert_true(CPU_EQUAL(&cpus, &aside));
    bluelm_posix_pool_stop(pool);
}

#else

static void threads_have_a_processor_each(void **state)
{
    (void)state;
    assert_null(bluelm_posix_pool_start_on(1, "0"));
    assert_int_equal(errno, ENOTSUP);
}

static void workers_share_few_processors(void **state)
{
    (void)state;
    skip();
}

#endif

/* ---- Files --------------------------------------------------------------------------- */

/* A file of so many bytes, each of which tells its place. */
static void test_write_file(const char *path, size_t bytes)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    for (size_t i = 0; i < bytes; i++)
        putc((int)(i * 2654435761u >> 13 & 255), out);
    assert_int_equal(fclose(out), 0);
}

static void a_file_read_is_the_file_mapped(void **state)
{
    (void)state;
    const size_t huge = (size_t)2 << 20;
    const size_t sizes[] = {0,        1,    4095,     4096,         4097,
                            huge - 1, huge, huge + 1, 5 * huge + 7, 8 * huge};
    char path[] = "/tmp/bluelm-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const void *mapped, *read;
        size_t mapped_bytes, read_bytes;
        test_write_file(path, sizes[i]);
        assert_int_equal(bluelm_posix_map(path, &mapped, &mapped_bytes), 0);
        assert_int_equal(bluelm_posix_read(path, &read, &read_bytes), 0);
        assert_int_equal(mapped_bytes, sizes[i]);
        assert_int_equal(read_bytes, sizes[i]);
        assert_memory_equal(mapped, read, sizes[i]);
        assert_true(sizes[i] == 0 || (uintptr_t)read % huge == 0);
        bluelm_posix_unmap(mapped, mapped_bytes);
        bluelm_posix_unmap(read, read_bytes);
    }
    remove(path);
}

#if defined(__linux__)
/* Pages of the process that are in memory. */
static long test_resident_pages(void)
{
    long all = 0, resident = 0;
    FILE *in = fopen("/proc/self/statm", "r");
    assert_non_null(in);
    assert_int_equal(fscanf(in, "%ld %ld", &all, &resident), 2);
    fclose(in);
    return resident;
}
#else
static long test_resident_pages(void)
{
    return 0;
}
#endif

static uint32_t test_sum(const void *data, size_t bytes)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum += ((const uint8_t *)data)[i];
    return sum;
}

static void pages_given_back_come_again(void **state)
{
    (void)state;
    const size_t bytes = (size_t)16 << 20;
    const long page = sysconf(_SC_PAGESIZE), pages = (long)bytes / page;
    char path[] = "/tmp/bluelm-test-XXXXXX";
    int fd = mkstemp(path);
    const void *data;
    size_t mapped;
    assert_true(fd >= 0);
    close(fd);
    test_write_file(path, bytes);
    assert_int_equal(bluelm_posix_map(path, &data, &mapped), 0);
    uint32_t sum = test_sum(data, mapped);
    long before = test_resident_pages();
    bluelm_posix_give_back((const char *)data + 1, mapped - 2);
    long after = test_resident_pages();
    if (before) assert_in_range(before - after, pages / 2, pages);
    assert_int_equal(test_sum(data, mapped), sum);
    bluelm_posix_give_back(data, 0);
    bluelm_posix_give_back((const char *)data + 1, 1);
    bluelm_posix_unmap(data, mapped);
    remove(path);
}

static void files_that_cannot_be_read_say_why(void **state)
{
    (void)state;
    const void *data;
    size_t bytes;
    assert_int_equal(bluelm_posix_map("no/such/file", &data, &bytes), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(bluelm_posix_read("no/such/file", &data, &bytes), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(bluelm_posix_map("/", &data, &bytes), -1);
    assert_int_equal(errno, EISDIR);
    assert_int_equal(bluelm_posix_read("/", &data, &bytes), -1);
    assert_int_equal(errno, EISDIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_runs_once),
        cmocka_unit_test(nobody_sleeps_through_a_job),
        cmocka_unit_test(threads_share_a_pool),
        cmocka_unit_test(stopping_waits_for_work_beside),
        cmocka_unit_test(wrong_lists_of_processors_are_refused),
        cmocka_unit_test(threads_have_a_processor_each),
        cmocka_unit_test(workers_share_few_processors),
        cmocka_unit_test(a_file_read_is_the_file_mapped),
        cmocka_unit_test(pages_given_back_come_again),
        cmocka_unit_test(files_that_cannot_be_read_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
