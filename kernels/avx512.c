/* Kernels for x86 with AVX-512 F, BW, VL and VNNI: what works value by value, and the table.
 * Products and attention have files of their own. */
#include "avx512.h"

#if defined(__x86_64__) || defined(__i386__)

/* ---- Quantising activations ---------------------------------------------------------- */

/* 16 values times inverse, to nearest even, within +-127; a NaN becomes -127. */
BLM_AVX512_INLINE __m512i blm_avx512_quanta(__m512 v, __m512 inverse)
{
    v = _mm512_min_ps(_mm512_set1_ps(127), _mm512_mul_ps(v, inverse));
    return _mm512_cvtps_epi32(_mm512_max_ps(v, _mm512_set1_ps(-127)));
}

BLM_AVX512 static void blm_avx512_quantize8(const float *x, uint32_t cols, int8_t *q,
                                            float *scale, int32_t *sum)
{
    const __m512 zero = _mm512_setzero_ps();
    for (uint32_t i = 0; i < cols / 32; i++, x += 32, q += 32) {
        __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
        /* in this order NaNs are passed over */
        __m512 m = _mm512_max_ps(_mm512_abs_ps(b), _mm512_max_ps(_mm512_abs_ps(a), zero));
        float most = _mm512_reduce_max_ps(m);
        const __m512 inverse = _mm512_set1_ps(most < 1e-30f ? 0 : 127 / most);
        __m512i n = blm_avx512_quanta(a, inverse), n2 = blm_avx512_quanta(b, inverse);
        scale[i] = most < 1e-30f ? 0 : most / 127;
        sum[i] = _mm512_reduce_add_epi32(_mm512_add_epi32(n, n2));
        _mm_storeu_si128((__m128i *)(void *)q, _mm512_cvtepi32_epi8(n));
        _mm_storeu_si128((__m128i *)(void *)(q + 16), _mm512_cvtepi32_epi8(n2));
    }
}

/* ---- Rows to f32 --------------------------------------------------------------------- */

BLM_AVX512_INLINE void blm_avx512_dequantize(uint32_t type, const uint8_t *row, float *out,
                                             uint64_t cols)
{
    for (uint64_t i = 0; i < cols; i += 16) {
        uint32_t n = (uint32_t)BLM_MIN(cols - i, 16);
        blm_avx512_put(out, i, cols, blm_avx512_floats(type, row, i, n));
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

/* ---- Activations --------------------------------------------------------------------- */

/* x times the sigmoid of an argument. */
BLM_AVX512_INLINE __m512 blm_avx512_gate(__m512 x, __m512 argument)
{
    __m512 e = blm_avx512_exp(_mm512_sub_ps(_mm512_setzero_ps(), argument));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1), e));
}

BLM_AVX512 static void blm_avx512_gelu_tanh(float *x, size_t n)
{
    const __m512 slope = _mm512_set1_ps(1.59576912f), cube = _mm512_set1_ps(0.044715f);
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_get(x, i, n);
        __m512 bend = _mm512_fmadd_ps(_mm512_mul_ps(cube, v), v, _mm512_set1_ps(1));
        v = blm_avx512_gate(v, _mm512_mul_ps(_mm512_mul_ps(slope, v), bend));
        blm_avx512_put(x, i, n, v);
    }
}

BLM_AVX512 static void blm_avx512_gelu_quick(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_get(x, i, n);
        v = blm_avx512_gate(v, _mm512_mul_ps(_mm512_set1_ps(1.702f), v));
        blm_avx512_put(x, i, n, v);
    }
}

BLM_AVX512 static void blm_avx512_silu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_get(x, i, n);
        blm_avx512_put(x, i, n, blm_avx512_gate(v, v));
    }
}

BLM_AVX512 static void blm_avx512_silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_get(gate, i, n);
        v = _mm512_mul_ps(blm_avx512_gate(v, v), blm_avx512_get(up, i, n));
        blm_avx512_put(gate, i, n, v);
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
    k->name = "avx512";
    k->quantize8 = blm_avx512_quantize8;
    k->dequantize[BLM_F16] = blm_avx512_dequantize_f16;
    k->dequantize[BLM_BF16] = blm_avx512_dequantize_bf16;
    k->gelu_tanh = blm_avx512_gelu_tanh;
    k->gelu_quick = blm_avx512_gelu_quick;
    k->silu = blm_avx512_silu;
    k->silu_mul = blm_avx512_silu_mul;
    k->quantize_kv = blm_avx512_quantize_kv;
    k->rope = blm_avx512_rope;
    blm_kernels_avx512_matmul(k);
    blm_kernels_avx512_attend(k);
}

#endif
