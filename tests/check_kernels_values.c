/* What kernels do to rows of values besides products and attention, and math.h. */
#include "check_kernels.h"

#include <math.h>
#include <stdlib.h>

/* ---- Quantising ---------------------------------------------------------------------- */

/* Values that sit on rounding ties, are tiny, huge, equal, or zero. */
static float awkward(uint32_t kind)
{
    switch (kind % 6) {
    case 0:
        return 0;
    case 1:
        return (float)((int)(random_u32() % 255) - 127) * 0.5f;
    case 2:
        return random_f32() * 1e-36f;
    case 3:
        return random_f32() * 1e36f;
    case 4:
        return random_u32() % 2 ? 3.0f : -3.0f;
    default:
        return random_f32();
    }
}

static void check_quantize(const blm_kernels *k, const blm_kernels *scalar)
{
    for (uint32_t n = 1; n <= 24; n++) {
        guarded gq, gs, gm;
        uint32_t cols = n * 32, good = 1;
        float *x = take(cols * sizeof *x);
        for (uint32_t i = 0; i < cols; i++)
            x[i] = awkward(n);
        if (n % 6 == 1) x[0] = 63.5f;
        int8_t *q = guard(&gq, cols), *q2 = take(cols);
        float *scale = guard(&gs, n * sizeof *scale), *scale2 = take(n * sizeof *scale);
        int32_t *sum = guard(&gm, n * sizeof *sum), *sum2 = take(n * sizeof *sum);
        k->quantize8(x, cols, q, scale, sum);
        scalar->quantize8(x, cols, q2, scale2, sum2);
        report(!memcmp(q, q2, cols) && !memcmp(scale, scale2, n * sizeof *scale) &&
                   !memcmp(sum, sum2, n * sizeof *sum),
               "quantize", "differs from scalar", 8, n);
        for (uint32_t b = 0; b < n; b++) {
            int64_t total = 0;
            for (uint32_t i = 0; i < 32; i++) {
                int v = q[b * 32 + i];
                double error = fabs((double)x[b * 32 + i] - v * (double)scale[b]);
                good &= error <= 0.508 * (double)scale[b] + 1.01e-30 && abs(v) <= 127;
                total += v;
            }
            good &= total == sum[b];
        }
        report((int)good, "quantize", "is not to nearest", 8, n);
        unguard(&gq, "quantize q");
        unguard(&gs, "quantize scale");
        unguard(&gm, "quantize sum");
        free(x), free(q2), free(scale2), free(sum2);
    }
}

/* int16 activations: both rows as scalar makes them, together 2^-16 of a block's largest away. */
static void check_acts16(const blm_kernels *k, const blm_kernels *scalar)
{
    for (uint32_t cols = 1; cols <= 800; cols += 1 + random_u32() % 40) {
        enum { TOKENS = 2 };
        float *f32 = take(TOKENS * (cols + 1) * sizeof *f32);
        int good = 1, same = 1;
        blm_acts x[2];
        void *blocks[2];
        for (uint32_t i = 0; i < TOKENS * (cols + 1); i++)
            f32[i] = awkward(cols);
        for (int i = 0; i < 2; i++) {
            blm_arena arena;
            blm_arena_start(&arena, NULL, UINT64_MAX);
            blm_acts_take(&x[i], &arena, TOKENS, cols, 16);
            uint64_t bytes = arena.wanted + BLM_ARENA_MARGIN;
            blocks[i] = take((size_t)bytes);
            blm_arena_start(&arena, blocks[i], bytes);
            blm_acts_take(&x[i], &arena, TOKENS, cols, 16);
            x[i].tokens = TOKENS, x[i].cols = cols;
            x[i].f32 = f32, x[i].f32_stride = cols + 1;
            blm_acts_quantize(i ? scalar : k, &x[i], 0, TOKENS);
            blm_arena_release(&arena);
        }
        for (uint32_t row = 0; row < 2 * TOKENS; row++)
            for (uint32_t j = 0; j < cols; j++) {
                size_t at = row * x[0].q_stride + j, block = row * x[0].block_stride + j / 32;
                same &= x[0].q[at] == x[1].q[at] && x[0].sum[block] == x[1].sum[block] &&
                        x[0].scale[block] == x[1].scale[block];
            }
        for (uint32_t t = 0; t < TOKENS; t++)
            for (uint32_t j = 0; j < cols; j++) {
                const float *scale = x[0].scale + 2 * t * x[0].block_stride + j / 32;
                const int8_t *q = x[0].q + 2 * t * x[0].q_stride + j;
                double value = (double)scale[0] * q[0] +
                               (double)scale[x[0].block_stride] * q[x[0].q_stride];
                double error = fabs((double)f32[t * (cols + 1) + j] - value);
                good &= error <= (double)scale[0] * 127 / 64000 + 1.01e-30;
            }
        report(same, "int16 activations", "differ from scalar", cols, 0);
        report(good, "int16 activations", "are no nearer", cols, 0);
        free(f32), free(blocks[0]), free(blocks[1]);
    }
}

static void check_quantize_kv(const blm_kernels *k, const blm_kernels *scalar)
{
    for (uint32_t n = 1; n <= 140; n++) {
        guarded g;
        uint16_t scale, scale2;
        int good = 1;
        float *x = take(n * sizeof *x), most = 0, factor = n % 7 ? 1 : 1e-5f;
        if (n % 7 == 3) factor = 1e8f; /* past the largest scale: clamped, not wrapped */
        int8_t *q = guard(&g, n), *q2 = take(n);
        for (uint32_t i = 0; i < n; i++) {
            x[i] = random_f32() * factor;
            most = BLM_MAX(most, fabsf(x[i]));
        }
        k->quantize_kv(x, n, q, &scale);
        scalar->quantize_kv(x, n, q2, &scale2);
        report(scale == scale2 && !memcmp(q, q2, n), "quantize_kv", "differs from scalar", n,
               0);
        double step = (double)blm_f32_of_f16(scale);
        for (uint32_t i = 0; i < n; i++) {
            double held = fmax(-127 * step, fmin(127 * step, (double)x[i]));
            good &= fabs(held - q[i] * step) <= 0.57 * step + 4e-6;
        }
        good &= step <= (double)most / 127 * 1.001 + 6e-8;
        report(good, "quantize_kv", "is not to nearest", n, step);
        unguard(&g, "quantize_kv");
        free(x), free(q2);
    }
}

/* Middles between neighbours, and just beside them.
 *   all  the values of every f16 */
static void check_f16_between(const blm_kernels *k, const float *all)
{
    for (uint32_t n = 1; n < 40; n++) {
        guarded gh;
        float x[40];
        uint16_t want[40], *h = guard(&gh, n * 2);
        int good = 1;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t a = random_u32() % 0x7BFF;
            float middle = 0.5f * (all[a] + all[a + 1]);
            int side = (int)(random_u32() % 3) - 1;
            x[i] = side < 0   ? nextafterf(middle, 0)
                   : side > 0 ? nextafterf(middle, 1e6f)
                              : middle;
            want[i] = (uint16_t)(side < 0 ? a : side > 0 ? a + 1 : a + (a & 1));
        }
        if (n > 4) {
            x[0] = 65519.9f, want[0] = 0x7BFF, x[1] = -65520.0f, want[1] = 0xFC00;
            x[2] = 2.9e-8f, want[2] = 0, x[3] = -1e-30f, want[3] = 0x8000;
        }
        k->f16_from_f32(h, x, n);
        for (uint32_t i = 0; i < n; i++)
            good &= h[i] == want[i];
        report(good, "f16_from_f32", "between two f16", n, 0);
        unguard(&gh, "f16_from_f32");
    }
}

static void check_f16(const blm_kernels *k)
{
    enum { ALL = 65536 };
    guarded g, g2;
    uint16_t *in = take(ALL * sizeof *in), *back = guard(&g2, ALL * sizeof *back);
    float *out = guard(&g, ALL * sizeof *out);
    int good = 1, same = 1;
    for (uint32_t i = 0; i < ALL; i++)
        in[i] = (uint16_t)i;
    k->f32_from_f16(out, in, ALL);
    k->f16_from_f32(back, out, ALL);
    for (uint32_t i = 0; i < ALL; i++) {
        uint8_t bytes[2] = {(uint8_t)i, (uint8_t)(i >> 8)};
        double expected = f16_value(bytes);
        if (isnan(expected)) {
            good &= isnan(out[i]) != 0;
            same &= (back[i] & 0x7C00) == 0x7C00 && (back[i] & 0x3FF);
        } else {
            good &= (double)out[i] == expected && !signbit(out[i]) == !signbit(expected);
            same &= back[i] == in[i];
        }
    }
    report(good, "f32_from_f16", "of every bit pattern", 0, 0);
    report(same, "f16_from_f32", "of every f16", 0, 0);
    check_f16_between(k, out);
    free(in);
    unguard(&g, "f32_from_f16");
    unguard(&g2, "f16_from_f32");
}

/* ---- Element by element -------------------------------------------------------------- */

enum { GELU_TANH, GELU_ERF, GELU_QUICK, SILU, ACTIVATIONS };

static double activation_value(int which, double x)
{
    switch (which) {
    case GELU_TANH:
        return x / 2 * (1 + tanh(sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
    case GELU_ERF:
        return x / 2 * (1 + erf(x / sqrt(2)));
    case GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    default:
        return x / (1 + exp(-x));
    }
}

/* Tolerance 1e-6 of |x|: the error of a sigmoid or erf, which lie in [0, 1]. */
static void check_activations(const blm_kernels *k)
{
    static const char *const names[] = {"gelu_tanh", "gelu_erf", "gelu_quick", "silu"};
    void (*const fn[])(float *, size_t) = {k->gelu_tanh, k->gelu_erf, k->gelu_quick, k->silu};
    static const float sizes[] = {1, 8, 300, 1e20f, 9e37f};
    for (int which = 0; which < ACTIVATIONS; which++) {
        for (uint32_t n = 1; n < 50; n++) {
            guarded g;
            float x[50], *y = guard(&g, n * sizeof *y);
            double worst = 0;
            for (uint32_t i = 0; i < n; i++)
                y[i] = x[i] = random_f32() * sizes[n % BLM_COUNT_OF(sizes)];
            fn[which](y, n);
            for (uint32_t i = 0; i < n; i++) {
                double error = fabs((double)y[i] - activation_value(which, (double)x[i]));
                worst = fmax(worst, isnan(error) ? 1 : error / (fabs((double)x[i]) + 1e-9));
            }
            report(worst <= 1e-6, names[which], "is inexact", worst, n);
            unguard(&g, names[which]);
        }
    }
    for (uint32_t n = 1; n < 50; n++) {
        guarded g;
        float x[50], *up = take_random(n), *y = guard(&g, n * sizeof *y);
        double worst = 0;
        for (uint32_t i = 0; i < n; i++)
            y[i] = x[i] = random_f32() * 9;
        k->silu_mul(y, up, n);
        for (uint32_t i = 0; i < n; i++)
            worst = fmax(worst, fabs((double)y[i] -
                                     activation_value(SILU, (double)x[i]) * (double)up[i]));
        report(worst <= 2e-5, "silu_mul", "is inexact", worst, n);
        unguard(&g, "silu_mul");
        free(up);
    }
}

static void check_adds(const blm_kernels *k, uint32_t n)
{
    guarded g;
    float *x = take_random(n), *y = take_random(n), *z = guard(&g, n * sizeof *z);
    uint8_t *odd = take(n * 4 + 1);
    int good = 1;
    memcpy(odd + 1, y, n * 4);
    memcpy(z, x, n * 4);
    k->add(z, y, n);
    for (uint32_t i = 0; i < n; i++)
        good &= z[i] == x[i] + y[i];
    memcpy(z, x, n * 4);
    k->add_bias(z, odd + 1, n);
    for (uint32_t i = 0; i < n; i++)
        good &= z[i] == x[i] + y[i];
    memcpy(z, x, n * 4);
    k->axpy_f32(z, 0.37f, y, n);
    for (uint32_t i = 0; i < n; i++)
        good &= fabs((double)z[i] - ((double)x[i] + (double)0.37f * (double)y[i])) <= 1e-6;
    double sum = 0, size = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)y[i];
        size += fabs((double)x[i] * (double)y[i]);
    }
    good &= fabs((double)k->dot_f32(x, y, n) - sum) <= 2e-6 * size;
    report(good, "add, add_bias, axpy_f32 or dot_f32", "is inexact", n, 0);
    unguard(&g, "add");
    free(x), free(y), free(odd);
}

/* One step of the delta rule against double precision; the numbers are near 1, so that 1e-5
 * of them covers n rounding errors. */
static void check_delta(const blm_kernels *k, uint32_t n)
{
    guarded g, go;
    float *memory = guard(&g, (size_t)n * n * sizeof *memory),
          *out = guard(&go, n * sizeof *out);
    float *before = take_random(n * n), *q = take_random(n), *key = take_random(n);
    float *v = take_random(n);
    const double keep = 0.875, rate = 0.75;
    double worst = 0;
    memcpy(memory, before, (size_t)n * n * sizeof *memory);
    k->delta_step(memory, q, key, v, (float)keep, (float)rate, n, out);
    for (uint32_t j = 0; j < n; j++) {
        double known = 0, got = 0;
        for (uint32_t i = 0; i < n; i++)
            known += keep * (double)before[j * n + i] * (double)key[i];
        for (uint32_t i = 0; i < n; i++) {
            double change = rate * ((double)v[j] - known) * (double)key[i];
            double want = keep * (double)before[j * n + i] + change;
            worst = fmax(worst, fabs(want - (double)memory[j * n + i]));
            got += want * (double)q[i];
        }
        worst = fmax(worst, fabs(got - (double)out[j]) / n);
    }
    report(worst <= 1e-5, "delta_step", "is inexact", worst, n);
    unguard(&g, "delta_step");
    unguard(&go, "delta_step");
    free(before), free(q), free(key), free(v);
}

/* Tolerance 5e-6 of the largest output. */
static void check_norms(const blm_kernels *k, uint32_t n, int in_place)
{
    guarded g;
    float *x = take_random(n), *y = guard(&g, n * sizeof *y);
    uint8_t *w = take(n * 4 + 1), *b = take(n * 4 + 1);
    double sum = 0, square = 0, variance = 0, worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        float wi = random_f32(), bi = random_f32();
        x[i] += 0.5f;
        memcpy(w + 1 + i * 4, &wi, 4);
        memcpy(b + 1 + i * 4, &bi, 4);
        sum += (double)x[i];
        square += (double)x[i] * (double)x[i];
    }
    for (uint32_t i = 0; i < n; i++)
        variance += ((double)x[i] - sum / n) * ((double)x[i] - sum / n) / n;
    if (in_place) memcpy(y, x, n * 4);
    k->rms_norm(in_place ? y : x, w + 1, 1e-5f, n, y);
    for (uint32_t i = 0; i < n; i++) {
        double e = (double)x[i] / sqrt(square / n + 1e-5) * (double)blm_load_f32(w + 1 + i * 4);
        worst = fmax(worst, fabs(e - (double)y[i]));
    }
    report(worst <= 5e-6, "rms_norm", "is inexact", worst, n);
    if (in_place) memcpy(y, x, n * 4);
    worst = 0;
    k->layer_norm(in_place ? y : x, w + 1, b + 1, 1e-5f, n, y);
    for (uint32_t i = 0; i < n; i++) {
        double e = ((double)x[i] - sum / n) / sqrt(variance + 1e-5);
        e = e * (double)blm_load_f32(w + 1 + i * 4) + (double)blm_load_f32(b + 1 + i * 4);
        worst = fmax(worst, fabs(e - (double)y[i]));
    }
    report(worst <= (n == 1 ? 1e-4 : 2e-5), "layer_norm", "is inexact", worst, n);
    unguard(&g, "norm");
    free(x), free(w), free(b);
}

/* Tolerance 1e-6 of each probability. */
static void check_softmax(const blm_kernels *k, uint32_t n, float size)
{
    guarded g;
    float *x = take_random(n), *y = guard(&g, n * sizeof *y);
    double most = -1e300, sum = 0, worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        y[i] = x[i] *= size;
        most = fmax(most, (double)x[i]);
    }
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)x[i] - most);
    k->softmax(y, n);
    for (uint32_t i = 0; i < n; i++) {
        double e = exp((double)x[i] - most) / sum;
        worst = fmax(worst, fabs((double)y[i] - e) / (e + 1e-30));
    }
    report(worst <= 2e-6 + 1e-7 * (double)size, "softmax", "is inexact", worst, n);
    unguard(&g, "softmax");
    free(x);
}

static void check_rope(const blm_kernels *k, uint32_t pairs, int halves)
{
    guarded g;
    float *x = take_random(pairs * 2), *c = take(pairs * 4u), *s = take(pairs * 4u);
    float *y = guard(&g, pairs * 2 * sizeof *y);
    double worst = 0;
    for (uint32_t i = 0; i < pairs; i++) {
        double angle = (double)random_f32() * 9;
        c[i] = (float)cos(angle);
        s[i] = (float)sin(angle);
    }
    memcpy(y, x, pairs * 8u);
    k->rope(y, c, s, pairs * 2, halves);
    for (uint32_t i = 0; i < pairs; i++) {
        uint32_t a = halves ? i : 2 * i, b = halves ? i + pairs : 2 * i + 1;
        double xa = (double)x[a], xb = (double)x[b], ci = (double)c[i], si = (double)s[i];
        worst = fmax(worst, fabs((double)y[a] - (xa * ci - xb * si)));
        worst = fmax(worst, fabs((double)y[b] - (xa * si + xb * ci)));
    }
    report(worst <= 1e-6, "rope", halves ? "halves" : "pairs", worst, pairs);
    unguard(&g, "rope");
    free(x), free(c), free(s);
}

void check_values(const blm_kernels *k, const blm_kernels *scalar)
{
    check_quantize(k, scalar);
    check_acts16(k, scalar);
    check_quantize_kv(k, scalar);
    check_f16(k);
    check_activations(k);
    for (uint32_t n = 1; n < 70; n++) {
        check_adds(k, n);
        if (n < 40) check_delta(k, n);
        check_norms(k, n, n & 1);
        check_softmax(k, n, n % 4 ? 3.0f : 60.0f);
        check_rope(k, n, 0);
        check_rope(k, n, 1);
    }
    check_norms(k, 1152, 0);
    check_softmax(k, 729, 3.0f);
}

/* ---- Inputs that are no numbers ------------------------------------------------------ */

/* Nothing is asked of the results but that they come, within bounds, and (under UBSan)
 * without undefined behaviour. */
void check_not_numbers(const blm_kernels *k)
{
    enum { N = 64 };
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, -0.0f, 1};
    guarded g;
    int8_t q[N];
    int32_t sum[2];
    uint16_t half;
    float scale[2], y[N], *x = guard(&g, N * sizeof *x);
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t which = 0; which < 12; which++) {
            for (uint32_t i = 0; i < N; i++)
                y[i] = x[i] = odd[random_u32() % BLM_COUNT_OF(odd)];
            switch (which) {
            case 0:
                k->quantize8(x, N, q, scale, sum);
                break;
            case 1:
                k->quantize_kv(x, N, q, &half);
                break;
            case 2:
                k->softmax(x, N);
                break;
            case 3:
                k->gelu_tanh(x, N);
                break;
            case 4:
                k->gelu_erf(x, N);
                break;
            case 5:
                k->gelu_quick(x, N);
                break;
            case 6:
                k->silu(x, N);
                break;
            case 7:
                k->silu_mul(x, y, N);
                break;
            case 8:
                k->rms_norm(x, (const uint8_t *)y, 1e-5f, N, x);
                break;
            case 9:
                k->layer_norm(x, (const uint8_t *)y, (const uint8_t *)y, 1e-5f, N, x);
                break;
            case 10:
                k->rope(x, y, y, N, (int)(round & 1));
                break;
            default:
                x[0] = k->dot_f32(x, y, N);
                break;
            }
        }
    }
    unguard(&g, "numbers that are none");
}

/* ---- math.h against libm ------------------------------------------------------------- */

static void check_relative(const char *what, double limit, double got, double expected)
{
    double error = fabs(got - expected) / (fabs(expected) + 1e-300);
    report(error <= limit, what, "against libm", error, expected);
}

static void check_float_functions(void)
{
    for (int i = 0; i < 20000; i++) {
        float u = (float)random_u32() / 4294967296.0f, x = u * 175.9f - 87.3f, y = u * 20 - 10;
        check_relative("blm_expf", 2e-7, (double)blm_expf(x), exp((double)x));
        check_relative("blm_tanhf", 4e-7, (double)blm_tanhf(y), tanh((double)y));
        check_relative("blm_tanhf", 4e-7, (double)blm_tanhf(y / 15), tanh((double)(y / 15)));
        report(fabs((double)blm_erff(y / 2) - erf((double)(y / 2))) <= 3e-7, "blm_erff",
               "against libm", (double)y, 0);
        check_relative("blm_erff", 4e-7, (double)blm_erff(y / 10), erf((double)(y / 10)));
        check_relative("blm_logf", 2e-7, (double)blm_logf(u + 1e-9f), log((double)(u + 1e-9f)));
        uint32_t bits = random_u32() & 0x7FFFFFFFu;
        float z = blm_f32_of_bits(bits), root = sqrtf(z);
        if (isnan(z)) continue;
        report(blm_sqrtf(z) == root, "blm_sqrtf", "against libm", (double)z, 0);
        report(blm_sqrtf_portable(z) == root, "blm_sqrtf_portable", "against libm", (double)z,
               0);
    }
    report(blm_expf(-200) == 0 && isinf(blm_expf(89)) && blm_expf(0) == 1, "blm_expf", "edges",
           0, 0);
    report(isnan(blm_expf(NAN)) && isnan(blm_tanhf(NAN)) && isnan(blm_erff(NAN)) &&
               isnan(blm_sqrtf(NAN)) && isnan(blm_sqrtf_portable(-1)),
           "NaN", "edges", 0, 0);
    report(blm_tanhf(99) == 1 && blm_tanhf(-99) == -1 && blm_erff(99) == 1, "tanh, erf",
           "edges", 0, 0);
    report(blm_sqrtf_portable(4) == 2 && blm_sqrtf(0) == 0, "sqrt", "edges", 0, 0);
    for (uint32_t i = 0; i < 200; i++) {
        int v = (int)i - 100;
        report(blm_round_even((float)v * 0.25f) == (int)nearbyint(v * 0.25), "round", "", v, 0);
    }
    for (uint32_t i = 0; i < 65536; i++) {
        float x = blm_f32_of_bf16((uint16_t)i);
        if (!isnan(x)) report(blm_bf16_of_f32(x) == i, "bf16", "round trip", i, 0);
    }
    report(blm_bf16_of_f32(1.00390625f) == 0x3F80 && blm_bf16_of_f32(1.01171875f) == 0x3F82 &&
               isnan(blm_f32_of_bf16(blm_bf16_of_f32(NAN))),
           "bf16", "ties to even", 0, 0);
}

static void check_double_functions(void)
{
    for (int i = 0; i < 20000; i++) {
        double u = random_u32() / 4294967296.0, x = u * 2e6 - 1e6, y = u * 40 - 20;
        if (i % 2) x = y;
        if (i % 100 == 0) x = i * 50 * 1.5707963267948966; /* where sin or cos vanishes */
        report(fabs(blm_sin(x) - sin(x)) <= 1e-14, "blm_sin", "against libm", x, 0);
        report(fabs(blm_cos(x) - cos(x)) <= 1e-14, "blm_cos", "against libm", x, 0);
        check_relative("blm_exp", 1e-15, blm_exp(y), exp(y));
        check_relative("blm_exp", 1e-15, blm_exp(y * 35), exp(y * 35));
        report(fabs(blm_log(u + 1e-12) - log(u + 1e-12)) <=
                   1e-14 * fabs(log(u + 1e-12)) + 1e-16,
               "blm_log", "against libm", u, 0);
        check_relative("blm_pow", 1e-13, blm_pow(500000 * u + 1, -u), pow(500000 * u + 1, -u));
    }
    report(blm_log(1) == 0 && isinf(blm_log(0)) && isnan(blm_log(-1)) &&
               isinf(blm_log((double)INFINITY)),
           "blm_log", "edges", 0, 0);
    report(isnan(blm_sin((double)NAN)) && blm_sin(1e9) == 0 && blm_cos(0) == 1, "blm_sin",
           "edges", 0, 0);
}

void check_math(void)
{
    check_float_functions();
    check_double_functions();
}
