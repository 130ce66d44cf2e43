/* AVX2: what goes value by value, products with float weights, and the table. */
#include "avx2.h"

#ifdef BLM_HAVE_X86

/* ---- Products with float weights ----------------------------------------------------- */

/* One row to f32, padded with zeros to a multiple of 8. Meanwhile the row four below is asked
 * for. */
BLM_AVX2_INLINE void blm_avx2_expand(uint32_t type, const uint8_t *row, uint32_t cols,
                                     float *out)
{
    const uint32_t size = type == BLM_F32 ? 4 : 2;
    uint32_t k = 0;
    for (; k + 32 <= cols; k += 32) {
        blm_avx2_ahead(row, ((uint64_t)4 * cols + k) * size, 32 * size);
        BLM_AVX2_UNROLL
        for (uint32_t i = 0; i < 32; i += 8)
            _mm256_storeu_ps(out + k + i, blm_avx2_floats(type, row, k + i, 8));
    }
    for (; k + 8 <= cols; k += 8)
        _mm256_storeu_ps(out + k, blm_avx2_floats(type, row, k, 8));
    if (k < cols) _mm256_storeu_ps(out + k, blm_avx2_floats(type, row, k, cols - k));
}

/* Four expanded rows with `tokens` (at most 3) tokens: sum[t][r], lanes along k. Twelve
 * sums, three x and one w fill the registers. */
BLM_AVX2_INLINE void blm_avx2_float_tile(const float *w, size_t w_stride, const float *const *x,
                                         uint32_t cols, uint32_t tokens, __m256 sum[3][4])
{
    uint32_t k = 0;
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        BLM_AVX2_UNROLL
        for (int r = 0; r < 4; r++)
            sum[t][r] = _mm256_setzero_ps();
    }
    for (; k < cols; k += 8) {
        __m256 v[3];
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            if (cols - k >= 8)
                v[t] = _mm256_loadu_ps(x[t] + k);
            else
                v[t] = _mm256_maskload_ps(x[t] + k, blm_avx2_mask(cols - k));
        }
        BLM_AVX2_UNROLL
        for (int r = 0; r < 4; r++) {
            __m256 row = _mm256_loadu_ps(w + (size_t)r * w_stride + k);
            BLM_AVX2_UNROLL
            for (uint32_t t = 0; t < tokens; t++)
                sum[t][r] = _mm256_fmadd_ps(row, v[t], sum[t][r]);
        }
    }
}

BLM_AVX2_INLINE void blm_avx2_float_tokens(const blm_matmul_args *a, uint64_t r, uint32_t count,
                                           size_t w_stride, uint32_t t0, uint32_t tokens)
{
    const float *x[3];
    __m256 sum[3][4];
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        x[t] = a->x->f32 + (t0 + t) * a->x->f32_stride;
    blm_avx2_float_tile((const float *)a->scratch, w_stride, x, a->x->cols, tokens, sum);
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        float y[4];
        _mm_storeu_ps(y, blm_avx2_sum4(sum[t][0], sum[t][1], sum[t][2], sum[t][3]));
        memcpy(a->y + (t0 + t) * a->y_stride + r, y, count * sizeof *y);
    }
}

BLM_AVX2_INLINE void blm_avx2_matmul_float(const blm_matmul_args *a, uint64_t row0,
                                           uint64_t row1, uint32_t type)
{
    uint32_t tokens = a->x->tokens, cols = a->x->cols;
    size_t w_stride = ((size_t)cols + 7) / 8 * 8;
    for (uint64_t r = row0; r < row1; r += 4) {
        uint32_t t = 0, count = (uint32_t)BLM_MIN(row1 - r, 4);
        const uint8_t *rows[4];
        blm_avx2_rows(a, r, row1, 4, rows);
        BLM_AVX2_UNROLL
        for (size_t i = 0; i < 4; i++)
            blm_avx2_expand(type, rows[i], cols, (float *)a->scratch + i * w_stride);
        for (; t + 3 <= tokens; t += 3)
            blm_avx2_float_tokens(a, r, count, w_stride, t, 3);
        for (; t < tokens; t++)
            blm_avx2_float_tokens(a, r, count, w_stride, t, 1);
    }
}

BLM_AVX2 void blm_avx2_matmul_f32(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul_float(a, row0, row1, BLM_F32);
}

BLM_AVX2 void blm_avx2_matmul_f16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul_float(a, row0, row1, BLM_F16);
}

BLM_AVX2 void blm_avx2_matmul_bf16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul_float(a, row0, row1, BLM_BF16);
}

/* ---- Quantising activations ---------------------------------------------------------- */

/* Loads 32 values and finds their largest magnitude; NaNs are passed over. */
BLM_AVX2_INLINE float blm_avx2_max_abs32(const float *x, __m256 *v)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 most = _mm256_setzero_ps();
    BLM_AVX2_UNROLL
    for (int j = 0; j < 4; j++) {
        v[j] = _mm256_loadu_ps(x + j * 8);
        most = _mm256_max_ps(_mm256_andnot_ps(sign, v[j]), most);
    }
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* v * inverse, to nearest even, within 127; a NaN becomes -127. */
BLM_AVX2_INLINE __m256i blm_avx2_quanta(__m256 v, float inverse)
{
    const float limit = 127;
    v = _mm256_mul_ps(v, _mm256_set1_ps(inverse));
    v = _mm256_min_ps(_mm256_set1_ps(limit), v);
    return _mm256_cvtps_epi32(_mm256_max_ps(v, _mm256_set1_ps(-limit)));
}

BLM_AVX2 void blm_avx2_quantize8(const float *x, uint32_t cols, int8_t *q, float *scale,
                                 int32_t *sum)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (uint32_t i = 0; i < cols / 32; i++, x += 32, q += 32) {
        __m256 v[4];
        __m256i n[4];
        float most = blm_avx2_max_abs32(x, v), inverse = most < 1e-30f ? 0 : 127 / most;
        scale[i] = most < 1e-30f ? 0 : most / 127;
        BLM_AVX2_UNROLL
        for (int j = 0; j < 4; j++)
            n[j] = blm_avx2_quanta(v[j], inverse);
        sum[i] = blm_avx2_sum_i32(
            _mm256_add_epi32(_mm256_add_epi32(n[0], n[1]), _mm256_add_epi32(n[2], n[3])));
        /* packing works in halves: put the fours back in order */
        __m256i a = _mm256_packs_epi32(n[0], n[1]), b = _mm256_packs_epi32(n[2], n[3]);
        a = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
        _mm256_storeu_si256((__m256i *)(void *)q, a);
    }
}

BLM_AVX2 void blm_avx2_f16_from_f32(uint16_t *out, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(out + i), half);
    }
    for (; i < n; i++)
        out[i] = blm_f16_of_f32(x[i]);
}

BLM_AVX2 void blm_avx2_f32_from_f16(float *out, const uint16_t *x, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(x + i))));
    for (; i < n; i++)
        out[i] = blm_f32_of_f16(x[i]);
}

/* ---- Rows of f32 --------------------------------------------------------------------- */

/* f32 in a file, at any address. */
BLM_AVX2_INLINE __m256 blm_avx2_get_bytes(const uint8_t *w, size_t i, size_t n)
{
    return blm_avx2_floats(BLM_F32, w, i, (uint32_t)BLM_MIN(n - i, 8));
}

BLM_AVX2 float blm_avx2_dot_f32(const float *x, const float *y, size_t n)
{
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        BLM_AVX2_UNROLL
        for (size_t j = 0; j < 4; j++) {
            __m256 v = _mm256_loadu_ps(x + i + j * 8);
            sum[j] = _mm256_fmadd_ps(v, _mm256_loadu_ps(y + i + j * 8), sum[j]);
        }
    }
    for (; i < n; i += 8)
        sum[0] = _mm256_fmadd_ps(blm_avx2_get(x, i, n), blm_avx2_get(y, i, n), sum[0]);
    return blm_avx2_sum(
        _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

BLM_AVX2 void blm_avx2_axpy_f32(float *y, float a, const float *x, size_t n)
{
    const __m256 factor = _mm256_set1_ps(a);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_fmadd_ps(factor, blm_avx2_get(x, i, n), blm_avx2_get(y, i, n));
        blm_avx2_put(y, i, n, v);
    }
}

/* One row of a memory: row = keep * row + change * k. Returns its product with q. */
BLM_AVX2_INLINE float blm_avx2_delta_row(float *row, const float *q, const float *k,
                                         __m256 keep, __m256 change, uint32_t n)
{
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        BLM_AVX2_UNROLL
        for (uint32_t j = 0; j < 2; j++) {
            uint32_t at = i + 8 * j;
            __m256 w = _mm256_mul_ps(keep, _mm256_loadu_ps(row + at));
            w = _mm256_fmadd_ps(change, _mm256_loadu_ps(k + at), w);
            _mm256_storeu_ps(row + at, w);
            sum[j] = _mm256_fmadd_ps(w, _mm256_loadu_ps(q + at), sum[j]);
        }
    }
    for (; i < n; i += 8) {
        __m256 w = _mm256_mul_ps(keep, blm_avx2_get(row, i, n));
        w = _mm256_fmadd_ps(change, blm_avx2_get(k, i, n), w);
        blm_avx2_put(row, i, n, w);
        sum[0] = _mm256_fmadd_ps(w, blm_avx2_get(q, i, n), sum[0]);
    }
    return blm_avx2_sum(_mm256_add_ps(sum[0], sum[1]));
}

BLM_AVX2 void blm_avx2_delta_step(float *memory, const float *q, const float *k, const float *v,
                                  float keep, float rate, uint32_t n, float *out)
{
    for (uint32_t j = 0; j < n; j++) {
        float *row = memory + (size_t)j * n;
        float change = rate * (v[j] - keep * blm_avx2_dot_f32(row, k, n));
        out[j] = blm_avx2_delta_row(row, q, k, _mm256_set1_ps(keep), _mm256_set1_ps(change), n);
    }
}

BLM_AVX2 void blm_avx2_add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        blm_avx2_put(x, i, n, _mm256_add_ps(blm_avx2_get(x, i, n), blm_avx2_get(y, i, n)));
}

BLM_AVX2 void blm_avx2_add_bias(float *x, const uint8_t *bias, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_add_ps(blm_avx2_get(x, i, n), blm_avx2_get_bytes(bias, i, n));
        blm_avx2_put(x, i, n, v);
    }
}

BLM_AVX2 void blm_avx2_rms_norm(const float *x, const uint8_t *w, float eps, uint32_t n,
                                float *out)
{
    float mean = blm_avx2_dot_f32(x, x, n) / (float)n;
    const __m256 factor = _mm256_set1_ps(1 / blm_sqrtf(mean + eps));
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(blm_avx2_get(x, i, n), factor);
        blm_avx2_put(out, i, n, _mm256_mul_ps(v, blm_avx2_get_bytes(w, i, n)));
    }
}

BLM_AVX2 void blm_avx2_layer_norm(const float *x, const uint8_t *w, const uint8_t *b, float eps,
                                  uint32_t n, float *out)
{
    __m256 sum = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8)
        sum = _mm256_add_ps(sum, blm_avx2_get(x, i, n));
    const __m256 mean = _mm256_set1_ps(blm_avx2_sum(sum) / (float)n);
    for (size_t i = 0; i < n; i += 8)
        blm_avx2_put(out, i, n, _mm256_sub_ps(blm_avx2_get(x, i, n), mean));
    float variance = blm_avx2_dot_f32(out, out, n) / (float)n;
    const __m256 factor = _mm256_set1_ps(1 / blm_sqrtf(variance + eps));
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(blm_avx2_get(out, i, n), factor);
        v = _mm256_fmadd_ps(v, blm_avx2_get_bytes(w, i, n), blm_avx2_get_bytes(b, i, n));
        blm_avx2_put(out, i, n, v);
    }
}

/* x times the sigmoid of an argument. */
BLM_AVX2_INLINE __m256 blm_avx2_gate(__m256 x, __m256 argument)
{
    __m256 e = blm_avx2_exp(_mm256_sub_ps(_mm256_setzero_ps(), argument));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1), e));
}

BLM_AVX2 void blm_avx2_gelu_tanh(float *x, size_t n)
{
    const __m256 slope = _mm256_set1_ps(1.59576912f), cube = _mm256_set1_ps(0.044715f);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = blm_avx2_get(x, i, n);
        __m256 bend = _mm256_fmadd_ps(_mm256_mul_ps(cube, v), v, _mm256_set1_ps(1));
        v = blm_avx2_gate(v, _mm256_mul_ps(_mm256_mul_ps(slope, v), bend));
        blm_avx2_put(x, i, n, v);
    }
}

/* x/2 (1 + erf(x / sqrt 2)), Abramowitz and Stegun 7.1.26: half the complement of erf, h, taken
 * from x where it is above 0. The factor before it is bounded: infinity times 0 is no number. */
BLM_AVX2_INLINE __m256 blm_avx2_erf_gate(__m256 x)
{
    const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    const __m256 a = _mm256_mul_ps(size, _mm256_set1_ps(0.70710678f));
    const __m256 one = _mm256_set1_ps(1);
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(_mm256_set1_ps(0.3275911f), a, one));
    __m256 h = _mm256_set1_ps(0.5307027145f);
    h = _mm256_fmadd_ps(h, t, _mm256_set1_ps(-0.7265760135f));
    h = _mm256_fmadd_ps(h, t, _mm256_set1_ps(0.7107068705f));
    h = _mm256_fmadd_ps(h, t, _mm256_set1_ps(-0.142248368f));
    h = _mm256_fmadd_ps(h, t, _mm256_set1_ps(0.127414796f));
    __m256 minus_square = _mm256_mul_ps(_mm256_sub_ps(_mm256_setzero_ps(), a), a);
    h = _mm256_mul_ps(_mm256_mul_ps(h, t), blm_avx2_exp(minus_square));
    return _mm256_fnmadd_ps(_mm256_min_ps(size, _mm256_set1_ps(64)), h,
                            _mm256_max_ps(x, _mm256_setzero_ps()));
}

BLM_AVX2 void blm_avx2_gelu_erf(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        blm_avx2_put(x, i, n, blm_avx2_erf_gate(blm_avx2_get(x, i, n)));
}

BLM_AVX2 void blm_avx2_gelu_quick(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = blm_avx2_get(x, i, n);
        blm_avx2_put(x, i, n, blm_avx2_gate(v, _mm256_mul_ps(_mm256_set1_ps(1.702f), v)));
    }
}

BLM_AVX2 void blm_avx2_silu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = blm_avx2_get(x, i, n);
        blm_avx2_put(x, i, n, blm_avx2_gate(v, v));
    }
}

BLM_AVX2 void blm_avx2_silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = blm_avx2_get(gate, i, n);
        blm_avx2_put(gate, i, n, _mm256_mul_ps(blm_avx2_gate(v, v), blm_avx2_get(up, i, n)));
    }
}

/* ---- The table ----------------------------------------------------------------------- */

BLM_PRIVATE void blm_kernels_avx2(blm_kernels *k)
{
    blm_kernels_avx2_matmul(k);
    blm_kernels_avx2_attend(k);
    k->matmul8[BLM_F32] = blm_avx2_matmul_f32;
    k->matmul8[BLM_F16] = blm_avx2_matmul_f16;
    k->matmul8[BLM_BF16] = blm_avx2_matmul_bf16;
    k->quantize8 = blm_avx2_quantize8;
    k->f16_from_f32 = blm_avx2_f16_from_f32;
    k->f32_from_f16 = blm_avx2_f32_from_f16;
    k->rms_norm = blm_avx2_rms_norm;
    k->layer_norm = blm_avx2_layer_norm;
    k->add = blm_avx2_add;
    k->add_bias = blm_avx2_add_bias;
    k->gelu_tanh = blm_avx2_gelu_tanh;
    k->gelu_erf = blm_avx2_gelu_erf;
    k->gelu_quick = blm_avx2_gelu_quick;
    k->silu = blm_avx2_silu;
    k->silu_mul = blm_avx2_silu_mul;
    k->dot_f32 = blm_avx2_dot_f32;
    k->axpy_f32 = blm_avx2_axpy_f32;
    k->delta_step = blm_avx2_delta_step;
}

#endif
