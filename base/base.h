/* What every module starts from: fixed-size types, linkage, byte access, checked
 * arithmetic and the one way to fail. Depends on bluelm.h alone. */
#ifndef BLM_BASE_H
#define BLM_BASE_H

#include "../bluelm.h"

#include <string.h> /* memcpy, memmove, memset, memcmp: all of libc that is used */

/* Model files are little endian, and the weights in them are used where they lie. */
#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bluelm runs on little-endian processors only"
#endif
#endif

#define BLM_UNUSED __attribute__((unused))

/* Internal functions are static in the unity build, which need not use every one of them,
 * and hidden otherwise. */
#ifdef BLM_UNITY
#define BLM_PRIVATE static BLM_UNUSED
#else
#define BLM_PRIVATE __attribute__((visibility("hidden")))
#endif

#define BLM_MIN(a, b)   ((a) < (b) ? (a) : (b))
#define BLM_MAX(a, b)   ((a) > (b) ? (a) : (b))
#define BLM_COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* What a build leaves out is declared all the same. gcc asks for this at the end of the file
 * alone, so that it cannot be put back before. */
#if defined(BLM_UNITY) &&                                                                      \
    (defined(BLUELM_NO_VISION) || defined(BLUELM_NO_LANGUAGE) || defined(BLUELM_NO_CHAT))
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-const-variable"
#endif

/* Little-endian loads from any address: model files promise no alignment, and the
 * compiler turns these into single loads. */
static inline BLM_UNUSED uint16_t blm_load_u16(const void *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline BLM_UNUSED void blm_store_u16(void *p, uint16_t v)
{
    uint8_t *b = (uint8_t *)p;
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
}

static inline BLM_UNUSED uint32_t blm_load_u32(const void *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline BLM_UNUSED uint64_t blm_load_u64(const void *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint64_t)blm_load_u32(b) | (uint64_t)blm_load_u32(b + 4) << 32;
}

static inline BLM_UNUSED float blm_load_f32(const void *p)
{
    uint32_t bits = blm_load_u32(p);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* *out = a + b and a * b; return 0 on overflow, 1 otherwise. */
static inline BLM_UNUSED int blm_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    *out = a + b;
    return *out >= a;
}

static inline BLM_UNUSED int blm_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    *out = a * b;
    return a == 0 || *out / a == b;
}

/* Length of a 0-terminated text. The empty statement keeps the compiler from seeing a
 * strlen, which a program without libc does not have. */
static inline BLM_UNUSED size_t blm_text_bytes(const char *text)
{
    size_t bytes = 0;
    for (; text[bytes]; bytes++)
        __asm__ volatile("");
    return bytes;
}

/* 1 if the bytes are the same. The empty statement keeps compilers from seeing that only
 * that is asked, for which clang calls bcmp. */
static inline BLM_UNUSED int blm_same_bytes(const void *a, const void *b, size_t bytes)
{
    int order = memcmp(a, b, bytes);
    __asm__ volatile("" : "+r"(order));
    return order == 0;
}

typedef struct blm_string {
    const char *text; /* not terminated */
    uint64_t bytes;
} blm_string;

/* Whether s equals the 0-terminated text. */
static inline BLM_UNUSED int blm_string_is(blm_string s, const char *text)
{
    size_t bytes = blm_text_bytes(text);
    return s.bytes == bytes && blm_same_bytes(s.text, text, bytes);
}

/* Whether s begins with the 0-terminated text. */
static inline BLM_UNUSED int blm_string_begins(blm_string s, const char *text)
{
    uint64_t i = 0;
    while (i < s.bytes && text[i] != 0 && s.text[i] == text[i])
        i++;
    return text[i] == 0;
}

/* Kept out of its callers: it is rare, and they are many. */
#define BLM_COLD __attribute__((noinline, cold))

/* Fills err (which may be NULL) and returns code. The subject is cut to fit. */
BLM_PRIVATE BLM_COLD int blm_fail(bluelm_error *err, int code, const char *subject,
                                  uint64_t need, uint64_t have, uint64_t at);

/* The same with numbers of 32 bits, which most are: on processors whose registers are no
 * wider a call takes half of the code. */
BLM_PRIVATE BLM_COLD int blm_fail_short(bluelm_error *err, int code, const char *subject,
                                        uint32_t need, uint32_t have);

/* Without texts an error is its code and numbers. */
#ifdef BLUELM_NO_ERROR_TEXT
#define BLM_SUBJECT(text) ((void)(text), "")
#else
#define BLM_SUBJECT(text) (text)
#endif

/* Chosen by the compiler. In parentheses the function is meant. */
#define blm_fail(err, code, subject, need, have, at)                                           \
    (sizeof(need) <= 4 && sizeof(have) <= 4 && __builtin_constant_p(at) && !(at)               \
         ? blm_fail_short(err, code, BLM_SUBJECT(subject), (uint32_t)(need), (uint32_t)(have)) \
         : (blm_fail)(err, code, BLM_SUBJECT(subject), need, have, at))

/* Fails with BLUELM_E_ARG: a value below 0, a number that is outside its range, a pointer
 * that is NULL. */
BLM_PRIVATE BLM_COLD int blm_fail_negative(bluelm_error *err, const char *subject,
                                           int64_t value);
BLM_PRIVATE BLM_COLD int blm_fail_number(bluelm_error *err, const char *subject, float value);
BLM_PRIVATE BLM_COLD int blm_fail_null(bluelm_error *err, const char *subject);

/* a * b, or UINT64_MAX where that does not fit. */
static inline BLM_UNUSED uint64_t blm_mul_sat_u64(uint64_t a, uint64_t b)
{
    uint64_t product;
    return blm_mul_u64(a, b, &product) ? product : UINT64_MAX;
}

/* a + b, or UINT64_MAX where that does not fit: for the numbers of an error. */
static inline BLM_UNUSED uint64_t blm_sum_u64(uint64_t a, uint64_t b)
{
    return a + b < a ? UINT64_MAX : a + b;
}

#endif
