/* The part of cmocka that the tests use, for machines that have no cmocka: a cross-compiled
 * test finds this file instead. A failed assertion ends the program. */
#ifndef BLUELM_TEST_CMOCKA_H
#define BLUELM_TEST_CMOCKA_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*CMUnitTestFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    int (*setup_func)(void **state); /* not called: no test has one */
    int (*teardown_func)(void **state);
    void *initial_state;
};

static jmp_buf cross_skip;

#define cmocka_unit_test(f)                                                                    \
    {                                                                                          \
#f, f, NULL, NULL, NULL                                                                \
    }
#define print_message         printf
#define skip()                longjmp(cross_skip, 1)
#define fail()                cross_check(0, "fail", __FILE__, __LINE__)
#define fail_msg(...)         (printf(__VA_ARGS__), cross_check(0, "fail", __FILE__, __LINE__))
#define cross_assert(c, text) cross_check((c) != 0, text, __FILE__, __LINE__)

#define assert_true(a)             cross_assert(a, #a)
#define assert_false(a)            cross_assert(!(a), "not " #a)
#define assert_null(a)             cross_assert((a) == NULL, #a " == NULL")
#define assert_non_null(a)         cross_assert((a) != NULL, #a " != NULL")
#define assert_int_equal(a, b)     cross_assert((uint64_t)(a) == (uint64_t)(b), #a " == " #b)
#define assert_int_not_equal(a, b) cross_assert((uint64_t)(a) != (uint64_t)(b), #a " != " #b)
#define assert_ptr_equal(a, b)     cross_assert((a) == (b), #a " == " #b)
#define assert_in_range(a, low, high)                                                          \
    cross_assert(cross_within((uint64_t)(a), (uint64_t)(low), (uint64_t)(high)), #a)
#define assert_string_equal(a, b)        cross_assert(!strcmp(a, b), #a " equals " #b)
#define assert_memory_equal(a, b, n)     cross_assert(!memcmp(a, b, n), #a " equals " #b)
#define assert_memory_not_equal(a, b, n) cross_assert(memcmp(a, b, n), #a " differs from " #b)

static __attribute__((unused)) int cross_within(uint64_t a, uint64_t low, uint64_t high)
{
    return a >= low && a <= high;
}

static __attribute__((unused)) void cross_check(int good, const char *what, const char *file,
                                                int line)
{
    if (good) return;
    printf("FAILED %s:%d: %s\n", file, line, what);
    exit(1);
}

static int cross_run(const struct CMUnitTest *tests, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *state = tests[i].initial_state;
        if (setjmp(cross_skip)) {
            printf("skipped %s\n", tests[i].name);
            continue;
        }
        tests[i].test_func(&state);
    }
    return 0;
}

#define cmocka_run_group_tests(tests, setup, teardown)                                         \
    ((void)(setup), (void)(teardown), cross_run(tests, sizeof(tests) / sizeof(tests)[0]))

#endif
