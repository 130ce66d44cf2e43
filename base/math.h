/* Mathematics without libm: the few functions the network needs, and the small float
 * formats. Errors are stated per function and tested against libm. All are total: any
 * bit pattern gives a value, never undefined behaviour. */
#ifndef BLM_MATH_H
#define BLM_MATH_H

#include "base.h"

static inline BLM_UNUSED uint32_t blm_f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline BLM_UNUSED float blm_f32_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline BLM_UNUSED uint64_t blm_f64_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline BLM_UNUSED double blm_f64_of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline BLM_UNUSED float blm_absf(float x)
{
    return blm_f32_of_bits(blm_f32_bits(x) & 0x7FFFFFFFu);
}

/* ---- f16 and bf16 -------------------------------------------------------------------- */

/* Exact. A subnormal f16 is brought to f32 by a multiplication that is exact. */
static inline BLM_UNUSED float blm_f32_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, rest = h & 1023u;
    if (exponent == 31) return blm_f32_of_bits(sign | 0x7F800000u | rest << 13);
    if (exponent == 0) {
        float x = (float)rest * 5.9604644775390625e-8f; /* 2^-24 */
        return blm_f32_of_bits(sign | blm_f32_bits(x));
    }
    return blm_f32_of_bits(sign | (exponent + 112) << 23 | rest << 13);
}

/* To nearest, even on ties; overflow is infinity; a NaN stays a (quiet) NaN. */
static inline BLM_UNUSED uint16_t blm_f16_of_f32(float x)
{
    uint32_t bits = blm_f32_bits(x), sign = bits >> 16 & 0x8000u, a = bits & 0x7FFFFFFFu;
    if (a > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (a >> 13 & 0x3FFu));
    if (a >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* 65520 and above */
    if (a < 0x33000000u) return (uint16_t)sign;              /* below 2^-25 */
    uint32_t mantissa, shift;
    if (a < 0x38800000u) { /* subnormal: count units of 2^-24 */
        mantissa = (a & 0x7FFFFFu) | 0x800000u;
        shift = 126 - (a >> 23);
    } else {
        mantissa = a - 0x38000000u; /* exponent bias 127 to 15 */
        shift = 13;
    }
    uint32_t half = mantissa >> shift, cut = mantissa & ((1u << shift) - 1);
    uint32_t middle = 1u << (shift - 1);
    if (cut > middle || (cut == middle && (half & 1))) half++;
    return (uint16_t)(sign | half);
}

static inline BLM_UNUSED float blm_f32_of_bf16(uint16_t h)
{
    return blm_f32_of_bits((uint32_t)h << 16);
}

/* To nearest, even on ties; a NaN stays a NaN. */
static inline BLM_UNUSED uint16_t blm_bf16_of_f32(float x)
{
    uint32_t bits = blm_f32_bits(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

/* Nearest integer, even on ties, for |x| <= 2^30; the caller clamps. */
static inline BLM_UNUSED int32_t blm_round_even(float x)
{
    int32_t i = (int32_t)x;
    float rest = x - (float)i;
    if (rest > 0.5f || (rest == 0.5f && (i & 1))) return i + 1;
    if (rest < -0.5f || (rest == -0.5f && (i & 1))) return i - 1;
    return i;
}

/* ---- single precision ---------------------------------------------------------------- */

/* Correctly rounded. The instruction where there is one (a builtin may call libm for
 * errno); elsewhere digit by digit in integers. Negative x gives NaN. */
static inline BLM_UNUSED float blm_sqrtf_portable(float x)
{
    uint32_t bits = blm_f32_bits(x), mantissa;
    int exponent = (int)(bits >> 23 & 255);
    if (x != x || bits == 0x7F800000u || (bits & 0x7FFFFFFFu) == 0) return x;
    if (bits >> 31) return blm_f32_of_bits(0x7FC00000u);
    mantissa = bits & 0x7FFFFFu;
    if (exponent == 0) { /* subnormal: give it its leading bit */
        for (exponent = 1; !(mantissa & 0x800000u); exponent--)
            mantissa <<= 1;
    }
    mantissa |= 0x800000u;
    exponent -= 127;
    if (exponent & 1) mantissa <<= 1, exponent--;
    /* root = floor(sqrt(mantissa * 2^25)): 24 bits of the result and one to round by */
    uint64_t rest = (uint64_t)mantissa << 25, root = 0;
    for (uint64_t bit = (uint64_t)1 << 48; bit != 0; bit >>= 2) {
        if (rest >= root + bit) {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    /* A tie would need a root with an odd last bit and no rest: impossible here. */
    uint32_t rounded = (uint32_t)((root + 1) >> 1);
    return blm_f32_of_bits(rounded + (uint32_t)(exponent / 2 + 126) * 0x800000u);
}

static inline BLM_UNUSED float blm_sqrtf(float x)
{
#if defined(__SSE__)
    float y;
    __asm__("sqrtss %1, %0" : "=x"(y) : "x"(x));
    return y;
#elif defined(__aarch64__)
    float y;
    __asm__("fsqrt %s0, %s1" : "=w"(y) : "w"(x));
    return y;
#elif defined(__ARM_FP) && (__ARM_FP & 4)
    float y;
    __asm__("vsqrt.f32 %0, %1" : "=t"(y) : "t"(x));
    return y;
#else
    return blm_sqrtf_portable(x);
#endif
}

/* e^x, relative error below 2e-7 on [-87.3, 88.7]; 0 below, infinity above. */
static inline BLM_UNUSED float blm_expf(float x)
{
    if (x != x) return x;
    if (x > 88.722839f) return blm_f32_of_bits(0x7F800000u);
    if (x < -87.336544f) return 0.0f;
    float t = x * 1.44269504f;
    int32_t n = (int32_t)(t + (t < 0 ? -0.5f : 0.5f));
    /* r = x - n ln 2 in two steps: the first constant has 9 bits, so its product is exact */
    float r = x - (float)n * 0.693359375f;
    r -= (float)n * -2.12194440e-4f;
    /* e^r on |r| <= 0.35: minimax polynomial; these constants are those of Cephes' expf */
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.3334519e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 5.0000001e-1f;
    p = p * r * r + r + 1.0f;
    /* times 2^n, in two factors: n may be 128 */
    int32_t n1 = n / 2, n2 = n - n1;
    return p * blm_f32_of_bits((uint32_t)(n1 + 127) << 23) *
           blm_f32_of_bits((uint32_t)(n2 + 127) << 23);
}

/* Natural logarithm, relative error below 2e-7; 0 gives -infinity, below 0 NaN. */
static inline BLM_UNUSED double blm_log(double x);
static inline BLM_UNUSED float blm_logf(float x)
{
    return (float)blm_log((double)x);
}

/* tanh, relative error below 4e-7. */
static inline BLM_UNUSED float blm_tanhf(float x)
{
    float a = blm_absf(x), y;
    if (x != x) return x;
    if (a < 0.55f) { /* odd series; the quotient below would cancel */
        float s = x * x;
        float p = -1.4558344e-3f * s + 3.5921280e-3f;
        p = p * s - 8.8632356e-3f;
        p = p * s + 2.1869489e-2f;
        p = p * s - 5.3968254e-2f;
        p = p * s + 1.3333333e-1f;
        p = p * s - 3.3333333e-1f;
        return x + x * s * p;
    }
    y = a > 9.1f ? 1.0f : 1.0f - 2.0f / (blm_expf(2.0f * a) + 1.0f);
    return x < 0 ? -y : y;
}

/* erf, absolute error below 3e-7, relative below 4e-7 where |x| < 1. */
static inline BLM_UNUSED float blm_erff(float x)
{
    float a = blm_absf(x), y;
    if (x != x) return x;
    if (a < 1.0f) { /* Maclaurin: 2/sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1)) */
        static const float coefficient[11] = {
            1.1283791671e+0f, -3.7612638903e-1f, 1.1283791671e-1f, -2.6866170645e-2f,
            5.2239776254e-3f, -8.5483270234e-4f, 1.2055332982e-4f, -1.4925650358e-5f,
            1.6462114366e-6f, -1.6365844692e-7f, 1.4807192816e-8f};
        float s = x * x, p = coefficient[10];
        for (int i = 9; i >= 0; i--)
            p = p * s + coefficient[i];
        return x * p;
    }
    /* Abramowitz and Stegun 7.1.26 */
    float t = 1.0f / (1.0f + 0.3275911f * a);
    float p = 1.061405429f * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    y = a > 4.0f ? 1.0f : 1.0f - p * t * blm_expf(-a * a);
    return x < 0 ? -y : y;
}

/* ---- double precision, for RoPE's tables --------------------------------------------- */

/* e^x, relative error below 1e-15 on [-700, 700]; clamped to that range. */
static inline BLM_UNUSED double blm_exp(double x)
{
    if (x != x) return x;
    x = x > 700 ? 700 : x < -700 ? -700 : x;
    double t = x * 1.4426950408889634074;
    int32_t n = (int32_t)(t + (t < 0 ? -0.5 : 0.5));
    double r = x - n * 6.93147180369123816490e-01 - n * 1.90821492927058770002e-10;
    double p = 1.0;
    for (int i = 14; i >= 1; i--)
        p = 1.0 + p * r / i;
    return p * blm_f64_of_bits((uint64_t)(n + 1023) << 52);
}

/* Natural logarithm, relative error below 1e-14; 0 gives -infinity, below 0 NaN. */
static inline BLM_UNUSED double blm_log(double x)
{
    uint64_t bits = blm_f64_bits(x);
    int n = -1023;
    if (x != x || bits == (uint64_t)0x7FF << 52) return x;
    if (x == 0) return -blm_f64_of_bits((uint64_t)0x7FF << 52);
    if (x < 0) return blm_f64_of_bits((uint64_t)0x7FF8 << 48);
    if (bits >> 52 == 0) { /* subnormal: times 2^54 */
        bits = blm_f64_bits(x * 18014398509481984.0);
        n -= 54;
    }
    n += (int)(bits >> 52);
    double m = blm_f64_of_bits((bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1023 << 52);
    if (m > 1.4142135623730951) m *= 0.5, n++;
    /* ln m = 2 atanh((m - 1) / (m + 1)) */
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
    for (int i = 25; i >= 1; i -= 2)
        sum = sum * s2 + 1.0 / i;
    return n * 0.69314718055994530942 + 2 * s * sum;
}

/* base^exponent for base > 0, relative error below 1e-13 while the result is in
 * [1e-300, 1e300]. */
static inline BLM_UNUSED double blm_pow(double base, double exponent)
{
    return blm_exp(exponent * blm_log(base));
}

/* sin (phase 0) or cos (phase 1) of x radians. The quarter turn pi/2 is taken off in
 * three parts of 33 bits, so that each product with the turn count (20 bits) is exact. */
static inline BLM_UNUSED double blm_sin_cos(double x, int phase)
{
    if (!(x >= -1.6e6 && x <= 1.6e6)) return x - x == 0 ? 0 : x - x;
    double t = x * 0.63661977236758134308;
    int32_t turns = (int32_t)(t + (t < 0 ? -0.5 : 0.5));
    double r = x - turns * 1.57079632673412561417e+00;
    r -= turns * 6.07710050630396597660e-11;
    r -= turns * 2.02226624879595063154e-21;
    int quadrant = (int)((uint32_t)(turns + phase) & 3);
    double s = r * r, term = 1, sum = 1;
    if (quadrant & 1) { /* cos r */
        for (int i = 2; i <= 18; i += 2)
            term *= -s / (i * (i - 1)), sum += term;
    } else { /* sin r */
        for (int i = 3; i <= 19; i += 2)
            term *= -s / (i * (i - 1)), sum += term;
        sum *= r;
    }
    return quadrant & 2 ? -sum : sum;
}

/* sin and cos, absolute error below 1e-14 for |x| <= 1.6e6 radians; beyond, 0. */
static inline BLM_UNUSED double blm_sin(double x)
{
    return blm_sin_cos(x, 0);
}

static inline BLM_UNUSED double blm_cos(double x)
{
    return blm_sin_cos(x, 1);
}

/* The f16 scale of a row of the int8 cache: it is rounded first and q chosen for the rounded
 * one; where rounding it down would push the largest value past 127.5 (subnormal scales),
 * the next one up. */
static inline BLM_UNUSED uint16_t blm_kv_scale(float most)
{
    float scale = most / 127;
    uint16_t half = blm_f16_of_f32(scale < 65504.0f ? scale : 65504.0f);
    if (half < 0x7BFF && blm_f32_of_f16(half) * 127.5f < most) half++;
    return half;
}

#endif
