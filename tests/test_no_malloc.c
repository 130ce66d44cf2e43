/* Nothing is allocated: once the program has its arena, every function that gives out memory
 * ends it, while an engine is planned, built, asked about encoded pictures, and reset. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_aid.h"
#include "file_aid.h"

#if defined(__SANITIZE_ADDRESS__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif

static volatile int test_forbidden;
static volatile uint32_t test_allocations;

/* ---- This program's allocator --------------------------------------------------------- */

#ifndef TEST_SANITIZED

/* Takes the place of libc's: pieces of one array, given out and never taken back. Before
 * each lies its size. */
#define POOL_BYTES ((size_t)96 << 20)

static union {
    uint8_t bytes[POOL_BYTES];
    long double align;
} test_pool;
static size_t test_used;

void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *realloc(void *p, size_t bytes);
void *aligned_alloc(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes);
int posix_memalign(void **p, size_t alignment, size_t bytes);
void free(void *p);

static void test_allocates(void)
{
    test_allocations++;
    if (test_forbidden) abort();
}

static void *test_give(size_t alignment, size_t bytes)
{
    alignment = alignment < 16 ? 16 : alignment;
    size_t at = (test_used + 16 + alignment - 1) & ~(alignment - 1);
    test_allocates();
    if (at > POOL_BYTES || bytes > POOL_BYTES - at) return NULL;
    memcpy(test_pool.bytes + at - sizeof bytes, &bytes, sizeof bytes);
    test_used = at + bytes;
    return test_pool.bytes + at;
}

void *malloc(size_t bytes)
{
    return test_give(16, bytes);
}

void *calloc(size_t count, size_t bytes)
{
    if (bytes && count > SIZE_MAX / bytes) return NULL;
    void *p = test_give(16, count * bytes); /* which nobody used before */
    return p;
}

void *realloc(void *old, size_t bytes)
{
    size_t kept = 0;
    uint8_t *p = (uint8_t *)test_give(16, bytes);
    if (old) memcpy(&kept, (uint8_t *)old - sizeof kept, sizeof kept);
    if (p && old) memcpy(p, old, kept < bytes ? kept : bytes);
    return p;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return test_give(alignment, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    return test_give(alignment, bytes);
}

int posix_memalign(void **p, size_t alignment, size_t bytes)
{
    *p = test_give(alignment, bytes);
    return *p ? 0 : ENOMEM;
}

void free(void *p)
{
    if (p) test_allocates();
}

#endif

/* ---- The job --------------------------------------------------------------------------------- */

typedef struct test_job {
    bluelm_weights weights;
    bluelm_image images[2];
    void *arena;
    size_t arena_bytes;
    uint32_t tokens, tiles;
    int code;
} test_job;

/* All that a program does with the library; no test function in it, they may allocate. */
static void test_work(test_job *j)
{
    static char line[200];
    bluelm_memory need;
    bluelm_event event;
    bluelm_error err;
    bluelm_stats stats;
    bluelm *e;
    bluelm_sampling sampling = {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .seed = 1};
    if ((j->code = bluelm_plan(&j->weights, NULL, &need, &err)) < 0) return;
    if ((j->code = bluelm_init(&e, j->arena, j->arena_bytes, &j->weights, NULL, NULL, &err)) <
        0)
        return;
    for (int round = 0; round < 2; round++) {
        bluelm_set_sampling(e, &sampling, &err);
        bluelm_begin_turn(e, BLUELM_USER, &err);
        for (uint32_t i = 0; i < 2 && j->code >= 0; i++)
            j->code = bluelm_add_image(e, &j->images[i], NULL, &err);
        bluelm_add_text(e, "what is this?", 13, &err);
        if (j->code < 0 || (j->code = bluelm_generate(e, 16, &err)) < 0) return;
        while ((j->code = bluelm_step(e, &event, &err)) > 0)
            j->tokens += event.type == BLUELM_EVENT_TOKEN;
        if (j->code < 0) return;
        bluelm_get_stats(e, &stats);
        j->tiles = (uint32_t)stats.image_tiles;
        bluelm_reset(e);
    }
    bluelm_add_image(e, &(bluelm_image){0}, NULL, &err);
    bluelm_error_text(&err, line, sizeof line);
}

/* On the weights given, with a JPEG and a PNG. */
static void test_without_malloc(const bluelm_weights *weights)
{
    static test_job job;
    bluelm_memory need;
    tiny_file jpeg = file_load("fuzz/corpus/image/jpeg-420-progressive.jpg");
    tiny_file png = file_load("fuzz/corpus/image/png-6-16-interlaced.png");
    memset(&job, 0, sizeof job);
    job.weights = *weights;
    job.images[0].encoded = jpeg.data, job.images[0].encoded_bytes = jpeg.bytes;
    job.images[1].encoded = png.data, job.images[1].encoded_bytes = png.bytes;
    assert_int_equal(bluelm_plan(weights, NULL, &need, NULL), 0);
    job.arena_bytes = (size_t)need.total_bytes;
    job.arena = malloc(job.arena_bytes);
    assert_non_null(job.arena);
    uint32_t before = test_allocations;
    assert_true(before > 0); /* the functions above are those in use */
    test_forbidden = 1;
    test_work(&job);
    test_forbidden = 0;
    assert_int_equal(test_allocations, before);
    assert_int_equal(job.code, 0);
    assert_true(job.tokens > 0);
    assert_true(job.tiles > 2);
    free(job.arena);
    tiny_free(&jpeg);
    tiny_free(&png);
}

static int test_skipped(void)
{
#ifdef TEST_SANITIZED
    print_message("skipped: AddressSanitizer has the allocator\n");
    return 1;
#else
    return 0;
#endif
}

static void tiny_model_answers_without_allocating(void **state)
{
    (void)state;
    if (test_skipped()) skip();
    aid_model m = aid_model_default();
    test_without_malloc(&m.weights);
    aid_model_free(&m);
}

static void demo_model_answers_without_allocating(void **state)
{
    (void)state;
    if (test_skipped()) skip();
    tiny_file llm = file_find("demo/bluelm-demo.gguf");
    tiny_file mmproj = file_find("demo/bluelm-demo-mmproj.gguf");
    if (!llm.data || !mmproj.data) {
        print_message("skipped: the demo model is not there\n");
        skip();
    }
    bluelm_weights weights = {llm.data, llm.bytes, mmproj.data, mmproj.bytes};
    test_without_malloc(&weights);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_model_answers_without_allocating),
        cmocka_unit_test(demo_model_answers_without_allocating),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
