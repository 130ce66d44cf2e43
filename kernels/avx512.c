/* Kernels for x86 with AVX-512 F, BW, VL and VNNI: what works value by value, and the table.
 * Products and attention have files of their own. */
#include "avx512.h"

#ifdef BLM_HAVE_X86

/* ---- Quantising activations ---------------------------------------------------------- */

BLM_AVX512_INLINE __m256 blm_avx512_upper(__m512 v)
{
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
}

/* Lane j of the result is the largest lane of v[j]. */
BLM_AVX512_INLINE __m128 blm_avx512_max_of_4(const __m512 *v)
{
    __m512 a = _mm512_max_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    __m512 b = _mm512_max_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    a = _mm512_max_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
    __m256 c = _mm256_max_ps(_mm512_castps512_ps256(a), blm_avx512_upper(a));
    return _mm_max_ps(_mm256_castps256_ps128(c), _mm256_extractf128_ps(c, 1));
}

/* Lane j of the result is the sum of v[j]'s lanes. */
BLM_AVX512_INLINE __m128i blm_avx512_sum_of_4(const __m512i *v)
{
    __m512i a =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    __m512i b =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    a = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    __m256i c = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
}

/* 16 values times inverse, to nearest even; a NaN becomes -127. */
BLM_AVX512_INLINE __m512i blm_avx512_quanta(__m512 v, __m512 inverse)
{
    v = _mm512_mul_ps(v, inverse);
    return _mm512_cvtps_epi32(_mm512_max_ps(v, _mm512_set1_ps(-127)));
}

/* Four blocks share their reductions; where there are fewer, the last one is taken again. */
BLM_AVX512 static void blm_avx512_quantize8(const float *x, uint32_t cols, int8_t *q,
                                            float *scale, int32_t *sum)
{
    for (uint32_t left = cols / 32; left > 0;
         left -= BLM_MIN(left, 4), x += 128, q += 128, scale += 4, sum += 4) {
        const __mmask8 mask = (__mmask8)((1u << BLM_MIN(left, 4)) - 1);
        __m512 low[4], high[4], most[4];
        __m512i total[4];
        float inverse[4];
        BLM_AVX512_UNROLL
        for (uint32_t j = 0; j < 4; j++) {
            low[j] = _mm512_loadu_ps(x + 32 * BLM_MIN(j, left - 1));
            high[j] = _mm512_loadu_ps(x + 32 * BLM_MIN(j, left - 1) + 16);
            /* in this order NaNs are passed over */
            most[j] = _mm512_max_ps(_mm512_abs_ps(low[j]), _mm512_setzero_ps());
            most[j] = _mm512_max_ps(_mm512_abs_ps(high[j]), most[j]);
        }
        const __m128 limit = _mm_set1_ps(127), m = blm_avx512_max_of_4(most);
        const __mmask8 some = _mm_cmp_ps_mask(m, _mm_set1_ps(1e-30f), _CMP_GE_OQ);
        _mm_storeu_ps(inverse, _mm_maskz_div_ps(some, limit, m));
        _mm_mask_storeu_ps(scale, mask, _mm_maskz_div_ps(some, m, limit));
        BLM_AVX512_UNROLL
        for (uint32_t j = 0; j < 4; j++) {
            const __m512 by = _mm512_set1_ps(inverse[j]);
            __m512i a = blm_avx512_quanta(low[j], by), b = blm_avx512_quanta(high[j], by);
            total[j] = _mm512_add_epi32(a, b);
            if (j < left) {
                _mm_storeu_si128((__m128i *)(void *)(q + 32 * j), _mm512_cvtepi32_epi8(a));
                _mm_storeu_si128((__m128i *)(void *)(q + 32 * j + 16), _mm512_cvtepi32_epi8(b));
            }
        }
        _mm_mask_storeu_epi32(sum, mask, blm_avx512_sum_of_4(total));
    }
}

/* ---- Rows to f32 --------------------------------------------------------------------- */

BLM_AVX512_INLINE void blm_avx512_dequantize(uint32_t type, const uint8_t *row, float *out,
                                             uint64_t cols)
{
    for (size_t i = 0; i < cols; i += 16) {
        uint32_t n = (uint32_t)BLM_MIN(cols - i, 16);
        blm_avx512_put(out, i, (size_t)cols, blm_avx512_floats(type, row, i, n));
    }
}

BLM_AVX512 static void blm_avx512_dequantize_f16(const uint8_t *row, float *out, uint64_t cols)
{
    blm_avx512_dequantize(BLM_F16, row, out, cols);
}

BLM_AVX512 static void blm_avx512_dequantize_bf16(const uint8_t *row, float *out, uint64_t cols)
{
    blm_avx512_dequantize(BLM_BF16, row, out, cols);
}

/* ---- Sums ---------------------------------------------------------------------------- */

/* y: floats as the file has them, at any address. */
BLM_AVX512 static void blm_avx512_add_bias(float *x, const uint8_t *y, size_t n)
{
    for (; n >= 16; n -= 16, x += 16, y += 64)
        _mm512_storeu_ps(x, _mm512_add_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(y)));
    __m512 v = blm_avx512_floats(BLM_F32, y, 0, (uint32_t)n);
    blm_avx512_put(x, 0, n, _mm512_add_ps(blm_avx512_get(x, 0, n), v));
}

static void blm_avx512_add(float *x, const float *y, size_t n)
{
    blm_avx512_add_bias(x, (const uint8_t *)y, n);
}

/* ---- Norms --------------------------------------------------------------------------- */

/* sum + (x - mean)^power for the first n of 16 values, power 1 or 2. */
BLM_AVX512_INLINE __m512 blm_avx512_moment_step(const float *x, size_t n, __m512 mean,
                                                uint32_t power, __m512 sum)
{
    __m512 v = _mm512_maskz_sub_ps(blm_avx512_mask(n), blm_avx512_get(x, 0, n), mean);
    return power == 1 ? _mm512_add_ps(sum, v) : _mm512_fmadd_ps(v, v, sum);
}

/* The sum of (x - mean)^power over a row, in four partial sums. */
BLM_AVX512_INLINE float blm_avx512_moment(const float *x, uint32_t n, __m512 mean,
                                          uint32_t power)
{
    __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                     _mm512_setzero_ps()};
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        BLM_AVX512_UNROLL
        for (size_t j = 0; j < 4; j++)
            sum[j] = blm_avx512_moment_step(x + i + 16 * j, 16, mean, power, sum[j]);
    }
    for (; i < n; i += 16)
        sum[0] = blm_avx512_moment_step(x + i, BLM_MIN(n - i, 16), mean, power, sum[0]);
    sum[0] = _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
    return _mm512_reduce_add_ps(sum[0]);
}

BLM_AVX512 static void blm_avx512_layer_norm(const float *x, const uint8_t *w, const uint8_t *b,
                                             float eps, uint32_t n, float *out)
{
    const __m512 mean =
        _mm512_set1_ps(blm_avx512_moment(x, n, _mm512_setzero_ps(), 1) / (float)n);
    const float variance = blm_avx512_moment(x, n, mean, 2) / (float)n;
    const __m512 factor = _mm512_set1_ps(1 / blm_sqrtf(variance + eps));
    for (size_t i = 0; i < n; i += 16) {
        uint32_t count = (uint32_t)BLM_MIN(n - i, 16);
        __m512 v = _mm512_mul_ps(_mm512_sub_ps(blm_avx512_get(x, i, n), mean), factor);
        v = _mm512_fmadd_ps(v, blm_avx512_floats(BLM_F32, w, i, count),
                            blm_avx512_floats(BLM_F32, b, i, count));
        blm_avx512_put(out, i, n, v);
    }
}

/* ---- Activations --------------------------------------------------------------------- */

/* x / (1 + 2^t). The polynomial is 2^t on |t| <= 1/2, to 1e-7. */
BLM_AVX512_INLINE __m512 blm_avx512_gate(__m512 x, __m512 t)
{
    /* in this order a NaN stays one */
    t = _mm512_min_ps(_mm512_set1_ps(150), _mm512_max_ps(_mm512_set1_ps(-150), t));
    __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_sub_ps(t, n), one = _mm512_set1_ps(1), p = _mm512_set1_ps(1.32647271e-3f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.67151265e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.55073374e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.40222421e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.93146978e-1f));
    p = _mm512_scalef_ps(_mm512_fmadd_ps(p, r, one), n);
    return _mm512_div_ps(x, _mm512_add_ps(p, one));
}

/* x sigmoid(slope (x + cube x^3)); cube may be 0. */
BLM_AVX512_INLINE __m512 blm_avx512_activate(__m512 x, float slope, float cube)
{
    const float to_base_2 = -1.44269504f;
    __m512 factor = _mm512_set1_ps(to_base_2 * slope);
    if (cube != 0) {
        const __m512 bend = _mm512_set1_ps(to_base_2 * slope * cube);
        factor = _mm512_fmadd_ps(_mm512_mul_ps(x, x), bend, factor);
    }
    return blm_avx512_gate(x, _mm512_mul_ps(x, factor));
}

BLM_AVX512_INLINE void blm_avx512_activate_row(float *x, size_t n, float slope, float cube)
{
    for (; n >= 16; n -= 16, x += 16)
        _mm512_storeu_ps(x, blm_avx512_activate(_mm512_loadu_ps(x), slope, cube));
    blm_avx512_put(x, 0, n, blm_avx512_activate(blm_avx512_get(x, 0, n), slope, cube));
}

BLM_AVX512 static void blm_avx512_gelu_tanh(float *x, size_t n)
{
    blm_avx512_activate_row(x, n, 1.59576912f, 0.044715f);
}

/* x/2 (1 + erf(x / sqrt 2)), Abramowitz and Stegun 7.1.26: half the complement of erf, h, taken
 * from x where it is above 0. The factor before it is bounded: infinity times 0 is no number. */
BLM_AVX512_INLINE __m512 blm_avx512_erf_gate(__m512 x)
{
    const __m512 size = _mm512_abs_ps(x), one = _mm512_set1_ps(1);
    const __m512 a = _mm512_mul_ps(size, _mm512_set1_ps(0.70710678f));
    __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(_mm512_set1_ps(0.3275911f), a, one));
    __m512 h = _mm512_set1_ps(0.5307027145f);
    h = _mm512_fmadd_ps(h, t, _mm512_set1_ps(-0.7265760135f));
    h = _mm512_fmadd_ps(h, t, _mm512_set1_ps(0.7107068705f));
    h = _mm512_fmadd_ps(h, t, _mm512_set1_ps(-0.142248368f));
    h = _mm512_fmadd_ps(h, t, _mm512_set1_ps(0.127414796f));
    __m512 minus_square = _mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), a), a);
    h = _mm512_mul_ps(_mm512_mul_ps(h, t), blm_avx512_exp(minus_square));
    return _mm512_fnmadd_ps(_mm512_min_ps(size, _mm512_set1_ps(64)), h,
                            _mm512_max_ps(x, _mm512_setzero_ps()));
}

BLM_AVX512 static void blm_avx512_gelu_erf(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16)
        blm_avx512_put(x, i, n, blm_avx512_erf_gate(blm_avx512_get(x, i, n)));
}

BLM_AVX512 static void blm_avx512_gelu_quick(float *x, size_t n)
{
    blm_avx512_activate_row(x, n, 1.702f, 0);
}

BLM_AVX512 static void blm_avx512_silu(float *x, size_t n)
{
    blm_avx512_activate_row(x, n, 1, 0);
}

BLM_AVX512 static void blm_avx512_silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_activate(blm_avx512_get(gate, i, n), 1, 0);
        blm_avx512_put(gate, i, n, _mm512_mul_ps(v, blm_avx512_get(up, i, n)));
    }
}

/* ---- Heads: RoPE, rows of the cache ---------------------------------------------------- */

BLM_AVX512 static void blm_avx512_quantize_kv(const float *x, uint32_t n, int8_t *q,
                                              uint16_t *scale)
{
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) /* in this order NaNs are passed over */
        most = _mm512_max_ps(_mm512_abs_ps(blm_avx512_get(x, i, n)), most);
    *scale = blm_kv_scale(_mm512_reduce_max_ps(most));
    const __m512 inverse = _mm512_set1_ps(*scale == 0 ? 0 : 1 / blm_f32_of_f16(*scale));
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_mul_ps(blm_avx512_get(x, i, n), inverse);
        v = _mm512_max_ps(_mm512_min_ps(_mm512_set1_ps(127), v), _mm512_set1_ps(-127));
        _mm512_mask_cvtepi32_storeu_epi8(q + i, blm_avx512_mask(BLM_MIN(n - i, 16)),
                                         _mm512_cvtps_epi32(v));
    }
}

/* Neighbouring pairs: x times its cosines, and its neighbours times the sines, taken off in
 * even lanes and added in odd ones. */
BLM_AVX512_INLINE void blm_avx512_rope_pairs(float *x, const float *cos, const float *sin,
                                             uint32_t n_rot)
{
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (size_t i = 0; i < n_rot; i += 16) {
        const __mmask16 half = blm_avx512_mask(BLM_MIN(n_rot - i, 16) / 2);
        __m512 c = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(half, cos + i / 2));
        __m512 s = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(half, sin + i / 2));
        __m512 v = blm_avx512_get(x, i, n_rot), other = _mm512_permute_ps(v, 0xB1);
        blm_avx512_put(x, i, n_rot, _mm512_fmaddsub_ps(v, c, _mm512_mul_ps(other, s)));
    }
}

BLM_AVX512 static void blm_avx512_rope(float *x, const float *cos, const float *sin,
                                       uint32_t n_rot, int halves)
{
    const size_t pairs = n_rot / 2;
    if (!halves) {
        blm_avx512_rope_pairs(x, cos, sin, n_rot);
        return;
    }
    for (size_t i = 0; i < pairs; i += 16) {
        __m512 a = blm_avx512_get(x, i, pairs), b = blm_avx512_get(x + pairs, i, pairs);
        __m512 c = blm_avx512_get(cos, i, pairs), s = blm_avx512_get(sin, i, pairs);
        blm_avx512_put(x, i, pairs, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        blm_avx512_put(x + pairs, i, pairs, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}

/* ---- The table ----------------------------------------------------------------------- */

BLM_PRIVATE void blm_kernels_avx512(blm_kernels *k)
{
    k->quantize8 = blm_avx512_quantize8;
    k->add = blm_avx512_add;
    k->add_bias = blm_avx512_add_bias;
    k->layer_norm = blm_avx512_layer_norm;
    k->dequantize[BLM_F16] = blm_avx512_dequantize_f16;
    k->dequantize[BLM_BF16] = blm_avx512_dequantize_bf16;
    k->gelu_tanh = blm_avx512_gelu_tanh;
    k->gelu_erf = blm_avx512_gelu_erf;
    k->gelu_quick = blm_avx512_gelu_quick;
    k->silu = blm_avx512_silu;
    k->silu_mul = blm_avx512_silu_mul;
    k->quantize_kv = blm_avx512_quantize_kv;
    k->rope = blm_avx512_rope;
    blm_kernels_avx512_matmul(k);
    blm_kernels_avx512_attend(k);
}

#endif
