/* What the tests of whole engines do in one line each: configurations, parts of a turn, and
 * checks that fail the test, so that cmocka.h comes before this header. */
#ifndef ENGINE_CHECK_H
#define ENGINE_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/engine.h"
#include "engine_aid.h"

static const char question[] = "what is this?";

/* Small budgets and no decode buffer. */
static inline bluelm_config test_config(void)
{
    bluelm_config c = {0};
    c.max_image_width_px = 1024;
    return c;
}

static inline void test_text(bluelm *e, const char *text)
{
    assert_int_equal(bluelm_add_text(e, text, strlen(text), NULL), 0);
}

static inline void test_turn(bluelm *e, const char *text)
{
    assert_int_equal(bluelm_begin_turn(e, BLUELM_USER, NULL), 0);
    test_text(e, text);
}

static inline void test_image(bluelm *e, const bluelm_image *image)
{
    assert_true(bluelm_add_image(e, image, NULL, NULL) > 0);
}

/* The main job: a picture, a question, an answer. */
static inline void test_job(bluelm *e, const bluelm_image *image, aid_answer *answer)
{
    assert_int_equal(bluelm_begin_turn(e, BLUELM_USER, NULL), 0);
    test_image(e, image);
    test_text(e, question);
    aid_ask(e, 12, answer);
    assert_int_equal(answer->code, 0);
    assert_true(answer->count > 0);
}

static inline void test_drop(const bluelm_image *image)
{
    free((void *)(uintptr_t)image->rgb);
}

/* Every error is one line that begins with its subject and shows its numbers. */
static inline void test_error(int code, int expected, const bluelm_error *err,
                              const char *subject)
{
    char line[200], number[24];
    if (code != expected) {
        bluelm_error_text(err, line, sizeof line);
        fail_msg("returned %d, not %d: %s", code, expected, line);
    }
    assert_int_equal(err->code, expected);
    assert_non_null(strstr(err->subject, subject));
    assert_true(bluelm_error_text(err, line, sizeof line) < sizeof line);
    assert_int_equal(strncmp(line, err->subject, strlen(err->subject)), 0);
    if (err->cause == BLUELM_CAUSE_NUMBER || err->cause == BLUELM_CAUSE_NULL) return;
    if (err->need == 0 && err->have == 0) return;
    snprintf(number, sizeof number, "%llu", (unsigned long long)err->need);
    assert_non_null(strstr(line, number));
    snprintf(number, sizeof number, "%llu", (unsigned long long)err->have);
    assert_non_null(strstr(line, number));
}

static inline void test_same_logits(const bluelm *a, const bluelm *b)
{
    uint32_t n = 0, m = 0;
    const float *x = bluelm_logits(a, &n), *y = bluelm_logits(b, &m);
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n * sizeof *x);
}

static inline uint32_t test_type(const bluelm *e, int32_t token)
{
    return blm_pieces_type(&e->vocab.pieces, (uint32_t)token);
}

#endif
