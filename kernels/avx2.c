/* Kernels for x86 with AVX2, FMA and F16C.
 *
 * Products with quantised weights go two ways. One token: each weight is read once, where
 * it lies, four rows at a time; lanes run along k. Several tokens: eight rows are unpacked
 * into the worker's scratch as a panel whose lanes are rows, then all tokens pass over it,
 * four at a time; nothing is added across lanes.
 *
 * Every function carries its own target, so the file compiles under any flags. Functions
 * that take a `type` are inlined into callers that give a constant. */
#include "kernels.h"

#if defined(__x86_64__) || defined(__i386__)

#include <immintrin.h>

#define BLM_AVX2        static __attribute__((target("avx2,fma,f16c")))
#define BLM_AVX2_INLINE static inline __attribute__((always_inline, target("avx2,fma,f16c")))

/* UNROLL, before a loop over a few registers: gcc -O2 would keep their array in memory.
 * IN_ORDER, after an integer addition: gcc regroups long sums into trees, whose leaves then
 * do not fit the registers; no instruction results. */
#if defined(__clang__)
#define BLM_AVX2_UNROLL _Pragma("clang loop unroll(full)")
#define BLM_AVX2_IN_ORDER(v)
#else
#define BLM_AVX2_UNROLL      _Pragma("GCC unroll 16")
#define BLM_AVX2_IN_ORDER(v) __asm__("" : "+x"(v))
#endif

/* ---- Small pieces -------------------------------------------------------------------- */

BLM_AVX2_INLINE __m256i blm_avx2_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Four bytes from any address into every lane. */
BLM_AVX2_INLINE __m256i blm_avx2_spread4(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

BLM_AVX2_INLINE float blm_avx2_f16(const uint8_t *p)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(blm_load_u16(p))));
}

/* The first n lanes, n in 0..8. */
BLM_AVX2_INLINE __m256i blm_avx2_mask(uint32_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}

/* ((v0 + v1) + (v2 + v3)) + ((v4 + v5) + (v6 + v7)) of each of four vectors. */
BLM_AVX2_INLINE __m128 blm_avx2_sum4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

BLM_AVX2_INLINE float blm_avx2_sum(__m256 v)
{
    return _mm_cvtss_f32(blm_avx2_sum4(v, v, v, v));
}

/* e^x as blm_expf: 0 below -87.34, infinity above 88.72, NaN for NaN. */
BLM_AVX2_INLINE __m256 blm_avx2_exp(__m256 x)
{
    const __m256 lowest = _mm256_set1_ps(-87.336544f), one = _mm256_set1_ps(1);
    __m256 v = _mm256_max_ps(lowest, _mm256_min_ps(_mm256_set1_ps(89.0f), x));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(v, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), v);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.9875691e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665796e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001e-1f));
    p = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(p, r), r, r), one);
    /* times 2^n in two factors: n may be 128 */
    __m256i k = _mm256_cvtps_epi32(n), k1 = _mm256_srai_epi32(k, 1),
            k2 = _mm256_sub_epi32(k, k1);
    const __m256i bias = _mm256_set1_epi32(127);
    __m256 f1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k1, bias), 23));
    __m256 f2 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k2, bias), 23));
    p = _mm256_mul_ps(_mm256_mul_ps(p, f1), f2);
    return _mm256_and_ps(p, _mm256_cmp_ps(x, lowest, _CMP_NLT_UQ));
}

/* ---- Unpacking the file's blocks ----------------------------------------------------- */

/* 32 weights, w = scale[k / 16] q - min, q in one vector: 0..15 for the 4-bit types, signed
 * for the others. */
typedef struct blm_avx2_block {
    float scale[2], min;
} blm_avx2_block;

/* Low nibbles of 16 bytes in the lower half, high nibbles in the upper. */
BLM_AVX2_INLINE __m256i blm_avx2_nibbles(const uint8_t *p)
{
    const __m256i shift = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
    __m256i both =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_and_si256(_mm256_srlv_epi32(both, shift), _mm256_set1_epi8(15));
}

/* q of block i of a row. The places of Q4_K's and Q6_K's bits: see scalar.c. */
BLM_AVX2_INLINE __m256i blm_avx2_unpack(uint32_t type, const uint8_t *row, uint32_t i)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    if (type == BLM_Q4_0) return blm_avx2_nibbles(row + (size_t)i * 18 + 2);
    if (type == BLM_Q8_0) return blm_avx2_load(row + (size_t)i * 34 + 2);
    if (type == BLM_Q4_K) {
        __m256i v = blm_avx2_load(row + (size_t)(i / 8) * 144 + 16 + i % 8 / 2 * 32);
        return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128((int)(i % 2 * 4))),
                                nibble);
    }
    const uint8_t *b = row + (size_t)(i / 8) * 210;
    uint32_t half = i % 8 / 4, part = i % 4;
    __m256i low = blm_avx2_load(b + half * 64 + part % 2 * 32);
    __m256i high = blm_avx2_load(b + 128 + half * 32);
    low = _mm256_srl_epi16(low, _mm_cvtsi32_si128((int)(part / 2 * 4)));
    high = _mm256_srl_epi16(high, _mm_cvtsi32_si128((int)(part * 2)));
    high = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(3)), 4);
    low = _mm256_or_si256(_mm256_and_si256(low, nibble), high);
    return _mm256_sub_epi8(low, _mm256_set1_epi8(32));
}

/* The eight 6-bit scales (low half of the result) and mins of a Q4_K block: 4 + 4 in the
 * low six bits of bytes 0-7; the others have low nibbles in bytes 8-11 and their high pair
 * on top of the first. */
BLM_AVX2_INLINE __m128i blm_avx2_q4_k_scales(const uint8_t *p)
{
    const uint32_t six = 0x3F3F3F3Fu, four = 0x0F0F0F0Fu, two = 0x03030303u;
    uint32_t a = blm_load_u32(p), b = blm_load_u32(p + 4), c = blm_load_u32(p + 8);
    uint32_t scale = (c & four) | (a >> 6 & two) << 4, min = (c >> 4 & four) | (b >> 6 & two)
                                                                                   << 4;
    return _mm_setr_epi32((int)(a & six), (int)scale, (int)(b & six), (int)min);
}

BLM_AVX2_INLINE blm_avx2_block blm_avx2_scales(uint32_t type, const uint8_t *row, uint32_t i)
{
    blm_avx2_block out = {{0, 0}, 0};
    if (type == BLM_Q4_0 || type == BLM_Q8_0) {
        float d = blm_avx2_f16(row + (size_t)i * (type == BLM_Q4_0 ? 18 : 34));
        out.scale[0] = out.scale[1] = d;
        out.min = type == BLM_Q4_0 ? 8 * d : 0;
    } else if (type == BLM_Q4_K) {
        const uint8_t *b = row + (size_t)(i / 8) * 144;
        uint8_t packed[16];
        _mm_storeu_si128((__m128i *)(void *)packed, blm_avx2_q4_k_scales(b + 4));
        out.scale[0] = out.scale[1] = blm_avx2_f16(b) * (float)packed[i % 8];
        out.min = blm_avx2_f16(b + 2) * (float)packed[8 + i % 8];
    } else {
        const uint8_t *b = row + (size_t)(i / 8) * 210;
        float d = blm_avx2_f16(b + 208);
        out.scale[0] = d * (float)(int8_t)b[192 + i % 8 * 2];
        out.scale[1] = d * (float)(int8_t)b[193 + i % 8 * 2];
    }
    return out;
}

/* Up to `step` rows from r; where there are fewer, the last one again: it is computed in
 * vain, and nothing outside the tensor is read. */
BLM_AVX2_INLINE void blm_avx2_rows(const blm_matmul_args *a, uint64_t r, uint64_t row1,
                                   uint32_t step, const uint8_t **rows)
{
    for (uint32_t i = 0; i < step; i++)
        rows[i] = a->w->data + BLM_MIN(r + i, row1 - 1) * a->w->row_bytes;
}

/* ---- One token, int8 ----------------------------------------------------------------- */

/* Products of 32 weights with 32 activations, summed in fours; Q6_K's times their int8
 * scales. Pairs fit 16 bits: 2 x 15 x 127, 2 x 128 x 127. Signed weights: |w| times x with
 * w's sign, since the instruction wants one unsigned factor (x is never -128). */
BLM_AVX2_INLINE __m256i blm_avx2_products(uint32_t type, const uint8_t *row, uint32_t i,
                                          __m256i x, __m256i x_times_8)
{
    __m256i q = blm_avx2_unpack(type, row, i), pairs, factor = _mm256_set1_epi16(1);
    if (type == BLM_Q4_0)
        pairs = _mm256_sub_epi16(_mm256_maddubs_epi16(q, x), x_times_8);
    else if (type == BLM_Q4_K)
        pairs = _mm256_maddubs_epi16(q, x);
    else
        pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
    if (type == BLM_Q6_K) {
        const uint8_t *scale = row + (size_t)(i / 8) * 210 + 192 + i % 8 * 2;
        factor = _mm256_setr_m128i(_mm_set1_epi16((int8_t)scale[0]),
                                   _mm_set1_epi16((int8_t)scale[1]));
    }
    return _mm256_madd_epi16(pairs, factor);
}

/* The f16 factor of block i, in every lane. */
BLM_AVX2_INLINE __m256 blm_avx2_factor(uint32_t type, const uint8_t *row, uint32_t i)
{
    const uint8_t *d = type == BLM_Q4_0   ? row + (size_t)i * 18
                       : type == BLM_Q8_0 ? row + (size_t)i * 34
                                          : row + (size_t)(i / 8) * 210 + 208;
    return _mm256_cvtph_ps(_mm_set1_epi16((short)blm_load_u16(d)));
}

/* Four rows of Q4_0, Q8_0 or Q6_K with token 0. Lanes run along k; f32 sums in order of
 * blocks. */
BLM_AVX2_INLINE __m128 blm_avx2_stream(uint32_t type, const uint8_t *const *rows,
                                       const blm_acts *x)
{
    const int8_t *q = (const int8_t *)x->q;
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    for (uint32_t i = 0; i < x->cols / 32; i++) {
        __m256i v = blm_avx2_load(q + (size_t)i * 32);
        __m256i v8 = _mm256_maddubs_epi16(_mm256_set1_epi8(8), v);
        __m256 scale = _mm256_set1_ps(x->scale[i]);
        BLM_AVX2_UNROLL
        for (int r = 0; r < 4; r++) {
            __m256 product = _mm256_cvtepi32_ps(blm_avx2_products(type, rows[r], i, v, v8));
            __m256 factor = _mm256_mul_ps(blm_avx2_factor(type, rows[r], i), scale);
            sum[r] = _mm256_fmadd_ps(product, factor, sum[r]);
        }
    }
    return blm_avx2_sum4(sum[0], sum[1], sum[2], sum[3]);
}

/* One Q4_K block of 256 with its activations, added to sum. The eight mins meet the eight
 * scaled activation sums in one multiplication. */
BLM_AVX2_INLINE __m256 blm_avx2_q4_k_block(const uint8_t *row, uint32_t i, const int8_t *q,
                                           __m256 scale, __m256 scaled_sum, __m256 sum)
{
    const uint8_t *b = row + (size_t)i * 144;
    __m128i packed = blm_avx2_q4_k_scales(b + 4);
    __m256 d = _mm256_cvtph_ps(_mm_set1_epi16((short)blm_load_u16(b)));
    __m256 dmin = _mm256_cvtph_ps(_mm_set1_epi16((short)blm_load_u16(b + 2)));
    __m256 mins = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(packed, 8)));
    float factor[8];
    __m256 factors = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(packed));
    _mm256_storeu_ps(factor, _mm256_mul_ps(_mm256_mul_ps(factors, d), scale));
    sum = _mm256_fnmadd_ps(_mm256_mul_ps(mins, dmin), scaled_sum, sum);
    BLM_AVX2_UNROLL
    for (uint32_t j = 0; j < 8; j++) {
        __m256i v = blm_avx2_load(q + j * 32);
        __m256i product = blm_avx2_products(BLM_Q4_K, b, j, v, v);
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(product), _mm256_set1_ps(factor[j]), sum);
    }
    return sum;
}

BLM_AVX2_INLINE __m128 blm_avx2_stream_q4_k(const uint8_t *const *rows, const blm_acts *x)
{
    const int8_t *q = (const int8_t *)x->q;
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    for (uint32_t i = 0; i < x->cols / 256; i++, q += 256) {
        __m256 scale = _mm256_loadu_ps(x->scale + (size_t)i * 8);
        __m256 scaled_sum = _mm256_cvtepi32_ps(blm_avx2_load(x->sum + (size_t)i * 8));
        scaled_sum = _mm256_mul_ps(scaled_sum, scale);
        BLM_AVX2_UNROLL
        for (int r = 0; r < 4; r++)
            sum[r] = blm_avx2_q4_k_block(rows[r], i, q, scale, scaled_sum, sum[r]);
    }
    return blm_avx2_sum4(sum[0], sum[1], sum[2], sum[3]);
}

/* ---- One token, int16 ---------------------------------------------------------------- */

BLM_AVX2_INLINE __m256 blm_avx2_row16(uint32_t type, const uint8_t *row, const blm_acts *x)
{
    const int16_t *q = (const int16_t *)x->q;
    __m256 sum = _mm256_setzero_ps();
    float mins = 0;
    for (uint32_t i = 0; i < x->cols / 32; i++, q += 32) {
        __m256i w = blm_avx2_unpack(type, row, i);
        blm_avx2_block block = blm_avx2_scales(type, row, i);
        __m256i a = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(w));
        __m256i b = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(w, 1));
        a = _mm256_madd_epi16(a, blm_avx2_load(q));
        b = _mm256_madd_epi16(b, blm_avx2_load(q + 16));
        float scale = x->scale[i];
        sum =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), _mm256_set1_ps(block.scale[0] * scale), sum);
        sum =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), _mm256_set1_ps(block.scale[1] * scale), sum);
        mins += (float)x->sum[i] * scale * block.min;
    }
    return _mm256_sub_ps(sum, _mm256_setr_ps(mins, 0, 0, 0, 0, 0, 0, 0));
}

BLM_AVX2_INLINE __m128 blm_avx2_stream16(uint32_t type, const uint8_t *const *rows,
                                         const blm_acts *x)
{
    __m256 sum[4];
    BLM_AVX2_UNROLL
    for (int r = 0; r < 4; r++)
        sum[r] = blm_avx2_row16(type, rows[r], x);
    return blm_avx2_sum4(sum[0], sum[1], sum[2], sum[3]);
}

BLM_AVX2_INLINE void blm_avx2_one_token(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                        uint32_t type, uint32_t bits)
{
    for (uint64_t r = row0; r < row1; r += 4) {
        const uint8_t *rows[4];
        float y[4];
        blm_avx2_rows(a, r, row1, 4, rows);
        if (bits == 16)
            _mm_storeu_ps(y, blm_avx2_stream16(type, rows, a->x));
        else if (type == BLM_Q4_K)
            _mm_storeu_ps(y, blm_avx2_stream_q4_k(rows, a->x));
        else
            _mm_storeu_ps(y, blm_avx2_stream(type, rows, a->x));
        memcpy(a->y + r, y, (size_t)BLM_MIN(row1 - r, 4) * sizeof *y);
    }
}

/* ---- Several tokens: the panel ------------------------------------------------------- */

/* Eight rows of 32 columns. Lane r of every vector belongs to row r; a vector of q holds
 * four (int8) or two (int16) neighbouring k of each row. */
typedef struct blm_avx2_panel8 {
    int8_t q[8][32];
    float scale[2][8], min[8];
} blm_avx2_panel8;

typedef struct blm_avx2_panel16 {
    int16_t q[16][16];
    float scale[2][8], min[8];
} blm_avx2_panel16;

/* Transposes 8 x 8 words of 32 bits in place. */
BLM_AVX2_INLINE void blm_avx2_transpose(__m256i *v)
{
    __m256i a[8], b[8];
    BLM_AVX2_UNROLL
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    BLM_AVX2_UNROLL
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    BLM_AVX2_UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

BLM_AVX2_INLINE void blm_avx2_panel_scales(uint32_t type, const uint8_t *const *rows,
                                           uint32_t i, float *scale, float *min)
{
    BLM_AVX2_UNROLL
    for (int r = 0; r < 8; r++) {
        blm_avx2_block block = blm_avx2_scales(type, rows[r], i);
        scale[r] = block.scale[0];
        scale[8 + r] = block.scale[1];
        min[r] = block.min;
    }
}

BLM_AVX2_INLINE void blm_avx2_fill8(uint32_t type, const uint8_t *const *rows, uint32_t blocks,
                                    blm_avx2_panel8 *panel)
{
    for (uint32_t i = 0; i < blocks; i++, panel++) {
        __m256i v[8];
        BLM_AVX2_UNROLL
        for (int r = 0; r < 8; r++)
            v[r] = blm_avx2_unpack(type, rows[r], i);
        blm_avx2_transpose(v);
        BLM_AVX2_UNROLL
        for (int g = 0; g < 8; g++)
            _mm256_storeu_si256((__m256i *)(void *)panel->q[g], v[g]);
        blm_avx2_panel_scales(type, rows, i, panel->scale[0], panel->min);
    }
}

BLM_AVX2_INLINE void blm_avx2_fill16(uint32_t type, const uint8_t *const *rows, uint32_t blocks,
                                     blm_avx2_panel16 *panel)
{
    for (uint32_t i = 0; i < blocks; i++, panel++) {
        __m256i low[8], high[8];
        BLM_AVX2_UNROLL
        for (int r = 0; r < 8; r++) {
            __m256i q = blm_avx2_unpack(type, rows[r], i);
            low[r] = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(q));
            high[r] = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(q, 1));
        }
        blm_avx2_transpose(low);
        blm_avx2_transpose(high);
        BLM_AVX2_UNROLL
        for (int g = 0; g < 8; g++) {
            _mm256_storeu_si256((__m256i *)(void *)panel->q[g], low[g]);
            _mm256_storeu_si256((__m256i *)(void *)panel->q[g + 8], high[g]);
        }
        blm_avx2_panel_scales(type, rows, i, panel->scale[0], panel->min);
    }
}

/* What one block adds to eight outputs of a token: sum over both halves of scale x integer
 * sum, minus min x activation sum, all times the activations' scale. */
BLM_AVX2_INLINE __m256 blm_avx2_block_end(uint32_t type, __m256 sum, __m256i a, __m256i b,
                                          const float *scale, const float *min, float x_scale,
                                          int32_t x_sum)
{
    __m256 y = _mm256_cvtepi32_ps(a);
    if (type == BLM_Q4_0 || type == BLM_Q4_K) {
        __m256 offset = _mm256_mul_ps(_mm256_set1_ps((float)x_sum), _mm256_loadu_ps(min));
        y = _mm256_fmsub_ps(y, _mm256_loadu_ps(scale), offset);
    } else {
        y = _mm256_mul_ps(y, _mm256_loadu_ps(scale));
    }
    if (type == BLM_Q6_K)
        y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), _mm256_loadu_ps(scale + 8), y);
    return _mm256_fmadd_ps(y, _mm256_set1_ps(x_scale), sum);
}

/* The integer sums of one block for `tokens` tokens, a: both halves together (types with
 * one scale) or the first, b: the second. In 16 bits fit all 16 pairs of a 4-bit weight
 * (8 x 2 x 15 x 127), four pairs of a 6-bit one (4 x 2 x 32 x 127), one of an 8-bit one. */
BLM_AVX2_INLINE void blm_avx2_block8(uint32_t type, const blm_avx2_panel8 *w,
                                     const int8_t *const *x, uint32_t tokens, __m256i *a,
                                     __m256i *b)
{
    const __m256i one = _mm256_set1_epi16(1);
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        a[t] = b[t] = _mm256_setzero_si256();
    BLM_AVX2_UNROLL
    for (uint32_t g = 0; g < 8; g++) {
        __m256i q = blm_avx2_load(w->q[g]), size = _mm256_abs_epi8(q);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            __m256i v = blm_avx2_spread4(x[t] + g * 4);
            if (type == BLM_Q4_0 || type == BLM_Q4_K) {
                a[t] = _mm256_add_epi16(a[t], _mm256_maddubs_epi16(q, v));
                BLM_AVX2_IN_ORDER(a[t]);
                continue;
            }
            v = _mm256_maddubs_epi16(size, _mm256_sign_epi8(v, q));
            if (type == BLM_Q8_0)
                a[t] = _mm256_add_epi32(a[t], _mm256_madd_epi16(v, one));
            else if (g < 4)
                a[t] = _mm256_add_epi16(a[t], v);
            else
                b[t] = _mm256_add_epi16(b[t], v);
            BLM_AVX2_IN_ORDER(a[t]);
            BLM_AVX2_IN_ORDER(b[t]);
        }
    }
    if (type == BLM_Q8_0) return;
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        a[t] = _mm256_madd_epi16(a[t], one);
        if (type == BLM_Q6_K) b[t] = _mm256_madd_epi16(b[t], one);
    }
}

/* The same for int16 activations: |sum of 16 x 128 x 32767| < 2^27. */
BLM_AVX2_INLINE void blm_avx2_block16(uint32_t type, const blm_avx2_panel16 *w,
                                      const int16_t *const *x, uint32_t tokens, __m256i *a,
                                      __m256i *b)
{
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        a[t] = b[t] = _mm256_setzero_si256();
    BLM_AVX2_UNROLL
    for (uint32_t g = 0; g < 16; g++) {
        __m256i q = blm_avx2_load(w->q[g]);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            __m256i v = _mm256_madd_epi16(q, blm_avx2_spread4(x[t] + g * 2));
            if (type == BLM_Q6_K && g >= 8)
                b[t] = _mm256_add_epi32(b[t], v);
            else
                a[t] = _mm256_add_epi32(a[t], v);
            BLM_AVX2_IN_ORDER(a[t]);
            BLM_AVX2_IN_ORDER(b[t]);
        }
    }
}

/* Eight rows of the panel with `tokens` (at most 4) tokens from t0. */
BLM_AVX2_INLINE void blm_avx2_panel_tile(uint32_t type, uint32_t bits, const void *panel,
                                         const blm_acts *x, uint32_t t0, uint32_t tokens,
                                         __m256 *sum)
{
    const int8_t *q8[4];
    const int16_t *q16[4];
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        q8[t] = (const int8_t *)x->q + (t0 + t) * x->q_stride;
        q16[t] = (const int16_t *)x->q + (t0 + t) * x->q_stride;
        sum[t] = _mm256_setzero_ps();
    }
    for (uint32_t i = 0; i < x->cols / 32; i++) {
        const blm_avx2_panel8 *w8 = (const blm_avx2_panel8 *)panel + i;
        const blm_avx2_panel16 *w16 = (const blm_avx2_panel16 *)panel + i;
        const float *scale = bits == 8 ? w8->scale[0] : w16->scale[0];
        const float *min = bits == 8 ? w8->min : w16->min;
        __m256i a[4], b[4];
        if (bits == 8)
            blm_avx2_block8(type, w8, q8, tokens, a, b);
        else
            blm_avx2_block16(type, w16, q16, tokens, a, b);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            size_t at = (t0 + t) * x->block_stride + i;
            sum[t] = blm_avx2_block_end(type, sum[t], a[t], b[t], scale, min, x->scale[at],
                                        x->sum[at]);
            q8[t] += 32;
            q16[t] += 32;
        }
    }
}

BLM_AVX2_INLINE void blm_avx2_panel_tokens(const blm_matmul_args *a, uint64_t r, uint32_t count,
                                           uint32_t type, uint32_t bits, uint32_t t0,
                                           uint32_t tokens)
{
    __m256 sum[4];
    __m256i mask = blm_avx2_mask(count);
    blm_avx2_panel_tile(type, bits, a->scratch, a->x, t0, tokens, sum);
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        _mm256_maskstore_ps(a->y + (t0 + t) * a->y_stride + r, mask, sum[t]);
}

BLM_AVX2_INLINE void blm_avx2_tokens(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                     uint32_t type, uint32_t bits)
{
    uint32_t tokens = a->x->tokens, blocks = a->x->cols / 32;
    for (uint64_t r = row0; r < row1; r += 8) {
        uint32_t t = 0, count = (uint32_t)BLM_MIN(row1 - r, 8);
        const uint8_t *rows[8];
        blm_avx2_rows(a, r, row1, 8, rows);
        if (bits == 8)
            blm_avx2_fill8(type, rows, blocks, (blm_avx2_panel8 *)a->scratch);
        else
            blm_avx2_fill16(type, rows, blocks, (blm_avx2_panel16 *)a->scratch);
        for (; t + 4 <= tokens; t += 4)
            blm_avx2_panel_tokens(a, r, count, type, bits, t, 4);
        for (; t < tokens; t++)
            blm_avx2_panel_tokens(a, r, count, type, bits, t, 1);
    }
}

BLM_AVX2_INLINE void blm_avx2_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                     uint32_t type, uint32_t bits)
{
    if (a->x->tokens == 1)
        blm_avx2_one_token(a, row0, row1, type, bits);
    else
        blm_avx2_tokens(a, row0, row1, type, bits);
}

BLM_AVX2 void blm_avx2_matmul8_q4_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul(a, row0, row1, BLM_Q4_0, 8);
}

BLM_AVX2 void blm_avx2_matmul8_q8_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul(a, row0, row1, BLM_Q8_0, 8);
}

BLM_AVX2 void blm_avx2_matmul8_q4_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul(a, row0, row1, BLM_Q4_K, 8);
}

BLM_AVX2 void blm_avx2_matmul8_q6_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul(a, row0, row1, BLM_Q6_K, 8);
}

BLM_AVX2 void blm_avx2_matmul16_q4_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul(a, row0, row1, BLM_Q4_0, 16);
}

BLM_AVX2 void blm_avx2_matmul16_q8_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul(a, row0, row1, BLM_Q8_0, 16);
}

BLM_AVX2 void blm_avx2_matmul16_q4_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul(a, row0, row1, BLM_Q4_K, 16);
}

BLM_AVX2 void blm_avx2_matmul16_q6_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx2_matmul(a, row0, row1, BLM_Q6_K, 16);
}

/* ---- Products with float weights ----------------------------------------------------- */

/* Rows of floats, n of them from element `at`, n = 8 but at the end; missing ones are 0. */
BLM_AVX2_INLINE __m256 blm_avx2_floats(uint32_t type, const uint8_t *row, size_t at, uint32_t n)
{
    uint8_t rest[32] = {0};
    uint32_t size = type == BLM_F32 ? 4 : 2;
    const uint8_t *p = row + at * size;
    if (n < 8) {
        memcpy(rest, p, (size_t)n * size);
        p = rest;
    }
    if (type == BLM_F32) return _mm256_castsi256_ps(blm_avx2_load(p));
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (type == BLM_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* One row to f32, padded with zeros to a multiple of 8. */
BLM_AVX2_INLINE void blm_avx2_expand(uint32_t type, const uint8_t *row, uint32_t cols,
                                     float *out)
{
    uint32_t k = 0;
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

/* v * inverse, to nearest even, within the limit; a NaN becomes -limit. */
BLM_AVX2_INLINE __m256i blm_avx2_quanta(__m256 v, float inverse, float limit)
{
    v = _mm256_mul_ps(v, _mm256_set1_ps(inverse));
    v = _mm256_min_ps(_mm256_set1_ps(limit), v);
    return _mm256_cvtps_epi32(_mm256_max_ps(v, _mm256_set1_ps(-limit)));
}

BLM_AVX2_INLINE int32_t blm_avx2_sum_i32(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

BLM_AVX2_INLINE void blm_avx2_quantize(const float *x, uint32_t cols, void *q, float *scale,
                                       int32_t *sum, uint32_t bits)
{
    const float limit = bits == 8 ? 127 : 32767;
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (uint32_t i = 0; i < cols / 32; i++, x += 32) {
        __m256 v[4];
        __m256i n[4];
        float most = blm_avx2_max_abs32(x, v), inverse = most < 1e-30f ? 0 : limit / most;
        scale[i] = most < 1e-30f ? 0 : most / limit;
        BLM_AVX2_UNROLL
        for (int j = 0; j < 4; j++)
            n[j] = blm_avx2_quanta(v[j], inverse, limit);
        sum[i] = blm_avx2_sum_i32(
            _mm256_add_epi32(_mm256_add_epi32(n[0], n[1]), _mm256_add_epi32(n[2], n[3])));
        __m256i a = _mm256_packs_epi32(n[0], n[1]), b = _mm256_packs_epi32(n[2], n[3]);
        if (bits == 8) { /* packing works in halves: put the fours back in order */
            a = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
            _mm256_storeu_si256((__m256i *)(void *)((int8_t *)q + (size_t)i * 32), a);
        } else {
            int16_t *out = (int16_t *)q + (size_t)i * 32;
            _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permute4x64_epi64(a, 0xD8));
            _mm256_storeu_si256((__m256i *)(void *)(out + 16),
                                _mm256_permute4x64_epi64(b, 0xD8));
        }
    }
}

BLM_AVX2 void blm_avx2_quantize8(const float *x, uint32_t cols, int8_t *q, float *scale,
                                 int32_t *sum)
{
    blm_avx2_quantize(x, cols, q, scale, sum, 8);
}

BLM_AVX2 void blm_avx2_quantize16(const float *x, uint32_t cols, int16_t *q, float *scale,
                                  int32_t *sum)
{
    blm_avx2_quantize(x, cols, q, scale, sum, 16);
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

/* The rest of a row that is no multiple of 8 goes through these: n lanes, others 0. */
BLM_AVX2_INLINE __m256 blm_avx2_get(const float *x, size_t i, size_t n)
{
    if (n - i >= 8) return _mm256_loadu_ps(x + i);
    return _mm256_maskload_ps(x + i, blm_avx2_mask((uint32_t)(n - i)));
}

BLM_AVX2_INLINE void blm_avx2_put(float *x, size_t i, size_t n, __m256 v)
{
    if (n - i >= 8)
        _mm256_storeu_ps(x + i, v);
    else
        _mm256_maskstore_ps(x + i, blm_avx2_mask((uint32_t)(n - i)), v);
}

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

/* Lanes past the end take part as -infinity, whose exponential is 0. */
BLM_AVX2_INLINE __m256 blm_avx2_get_or_lowest(const float *x, size_t i, size_t n)
{
    const __m256 lowest = _mm256_set1_ps(-__builtin_inff());
    if (n - i >= 8) return _mm256_loadu_ps(x + i);
    __m256i mask = blm_avx2_mask((uint32_t)(n - i));
    return _mm256_blendv_ps(lowest, _mm256_maskload_ps(x + i, mask), _mm256_castsi256_ps(mask));
}

BLM_AVX2 void blm_avx2_softmax(float *x, uint32_t n)
{
    __m256 most = _mm256_set1_ps(-__builtin_inff()), sum = _mm256_setzero_ps();
    for (size_t i = 0; i < n; i += 8)
        most = _mm256_max_ps(blm_avx2_get_or_lowest(x, i, n), most);
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    most = _mm256_broadcastss_ps(_mm_max_ss(m, _mm_movehdup_ps(m)));
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = blm_avx2_exp(_mm256_sub_ps(blm_avx2_get_or_lowest(x, i, n), most));
        sum = _mm256_add_ps(sum, v);
        blm_avx2_put(x, i, n, v);
    }
    const __m256 factor = _mm256_set1_ps(1 / blm_avx2_sum(sum));
    for (size_t i = 0; i < n; i += 8)
        blm_avx2_put(x, i, n, _mm256_mul_ps(blm_avx2_get(x, i, n), factor));
}

/* ---- Attention ----------------------------------------------------------------------- */

enum { BLM_AVX2_QUERIES = 3, BLM_AVX2_INT8 = 1000 }; /* a type beside BLM_F32 and BLM_F16 */

/* n values (8 but at the end of a row) of a key or value from dimension d on. */
BLM_AVX2_INLINE __m256 blm_avx2_row(uint32_t type, const uint8_t *row, uint32_t d, uint32_t n)
{
    if (type != BLM_AVX2_INT8) return blm_avx2_floats(type, row, d, n);
    uint8_t rest[8] = {0};
    const uint8_t *p = row + d;
    if (n < 8) {
        memcpy(rest, p, n);
        p = rest;
    }
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* Dimensions [d, d + n) of four keys with `queries` queries from i, lanes along d. */
BLM_AVX2_INLINE void blm_avx2_score_step(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, const uint8_t *const *row,
                                         uint32_t d, uint32_t n,
                                         __m256 sum[BLM_AVX2_QUERIES][4])
{
    __m256 q[BLM_AVX2_QUERIES];
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++)
        q[t] = blm_avx2_get(a->q + (i + t) * a->q_stride, d, d + n);
    BLM_AVX2_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        __m256 key = blm_avx2_row(type, row[r], d, n);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < queries; t++)
            sum[t][r] = _mm256_fmadd_ps(key, q[t], sum[t][r]);
    }
}

/* Four keys from j: scores[query][j .. j + 3]. Past the last key the last one is taken
 * again. */
BLM_AVX2_INLINE void blm_avx2_score_tile(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, uint32_t j, uint32_t last,
                                         size_t stride)
{
    const uint8_t *row[4];
    __m256 sum[BLM_AVX2_QUERIES][4];
    float scale[4];
    uint32_t d = 0;
    BLM_AVX2_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
        size_t key = BLM_MIN(j + r, last);
        row[r] = a->k + key * a->k_stride;
        if (type == BLM_AVX2_INT8)
            scale[r] = blm_avx2_f16(a->k_scale + key * a->k_scale_stride);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < queries; t++)
            sum[t][r] = _mm256_setzero_ps();
    }
    for (; d + 8 <= a->head_dim; d += 8)
        blm_avx2_score_step(a, type, i, queries, row, d, 8, sum);
    if (d < a->head_dim) blm_avx2_score_step(a, type, i, queries, row, d, a->head_dim - d, sum);
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        __m128 score = blm_avx2_sum4(sum[t][0], sum[t][1], sum[t][2], sum[t][3]);
        if (type == BLM_AVX2_INT8) score = _mm_mul_ps(score, _mm_loadu_ps(scale));
        _mm_storeu_ps(a->scratch + t * stride + j, score);
    }
}

/* out[query][d .. d + 8 chunks) = sum over keys [j0, j1) of p[query][j] v[j], added to what
 * is there when j0 > 0. `n` lanes of the last chunk are real. */
BLM_AVX2_INLINE void blm_avx2_value_tile(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, uint32_t j0, uint32_t j1, uint32_t d,
                                         uint32_t chunks, uint32_t n, const float *p,
                                         size_t stride)
{
    __m256 sum[BLM_AVX2_QUERIES][4];
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        const float *out = a->out + (i + t) * a->out_stride;
        BLM_AVX2_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            sum[t][c] = j0 ? blm_avx2_get(out, d + c * 8, a->head_dim) : _mm256_setzero_ps();
    }
    for (uint32_t j = j0; j < j1; j++) {
        const uint8_t *row = a->v + j * a->v_stride;
        __m256 v[4];
        BLM_AVX2_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            v[c] = blm_avx2_row(type, row, d + c * 8, n);
        BLM_AVX2_UNROLL
        for (uint32_t t = 0; t < queries; t++) {
            __m256 weight = _mm256_set1_ps(p[t * stride + j]);
            BLM_AVX2_UNROLL
            for (uint32_t c = 0; c < chunks; c++)
                sum[t][c] = _mm256_fmadd_ps(weight, v[c], sum[t][c]);
        }
    }
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        float *out = a->out + (i + t) * a->out_stride;
        BLM_AVX2_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            blm_avx2_put(out, d + c * 8, a->head_dim, sum[t][c]);
    }
}

BLM_AVX2_INLINE void blm_avx2_values(const blm_attend_args *a, uint32_t type, uint32_t i,
                                     uint32_t queries, uint32_t j0, uint32_t j1, const float *p,
                                     size_t stride)
{
    uint32_t d = 0;
    while (a->head_dim - d >= 8) { /* by fours and threes: one alone waits for itself */
        uint32_t left = (a->head_dim - d) / 8;
        if (left == 4 || left == 7 || left == 8 || left >= 10) {
            blm_avx2_value_tile(a, type, i, queries, j0, j1, d, 4, 8, p, stride);
            d += 32;
        } else if (left >= 3) {
            blm_avx2_value_tile(a, type, i, queries, j0, j1, d, 3, 8, p, stride);
            d += 24;
        } else {
            blm_avx2_value_tile(a, type, i, queries, j0, j1, d, 1, 8, p, stride);
            d += 8;
        }
    }
    if (d < a->head_dim)
        blm_avx2_value_tile(a, type, i, queries, j0, j1, d, 1, a->head_dim - d, p, stride);
}

/* Queries [i, i + queries). Where each sees one key more than the one before, the keys that
 * all see are taken together, and each query's own ones after them. */
BLM_AVX2_INLINE void blm_avx2_attend_group(const blm_attend_args *a, uint32_t type, uint32_t i,
                                           uint32_t queries)
{
    uint32_t shared = a->keys + i * a->keys_step, most = shared + (queries - 1) * a->keys_step;
    size_t stride = ((size_t)most + 3) / 4 * 4;
    for (uint32_t j = 0; j < most; j += 4)
        blm_avx2_score_tile(a, type, i, queries, j, most - 1, stride);
    BLM_AVX2_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        uint32_t keys = shared + t * a->keys_step;
        float *p = a->scratch + t * stride;
        blm_avx2_softmax(p, keys);
        for (uint32_t j = 0; type == BLM_AVX2_INT8 && j < keys; j++)
            p[j] *= blm_avx2_f16(a->v_scale + j * a->v_scale_stride);
    }
    blm_avx2_values(a, type, i, queries, 0, shared, a->scratch, stride);
    for (uint32_t t = 1; t < queries && a->keys_step; t++)
        blm_avx2_values(a, type, i + t, 1, shared, shared + t * a->keys_step,
                        a->scratch + t * stride, stride);
}

BLM_AVX2_INLINE void blm_avx2_attend(const blm_attend_args *a, uint32_t type)
{
    uint32_t i = 0;
    for (; i + BLM_AVX2_QUERIES <= a->queries; i += BLM_AVX2_QUERIES)
        blm_avx2_attend_group(a, type, i, BLM_AVX2_QUERIES);
    for (; i < a->queries; i++)
        blm_avx2_attend_group(a, type, i, 1);
}

BLM_AVX2 void blm_avx2_attend_f32(const blm_attend_args *a)
{
    blm_avx2_attend(a, BLM_F32);
}

BLM_AVX2 void blm_avx2_attend_f16(const blm_attend_args *a)
{
    blm_avx2_attend(a, BLM_F16);
}

BLM_AVX2 void blm_avx2_attend_q8(const blm_attend_args *a)
{
    blm_avx2_attend(a, BLM_AVX2_INT8);
}

/* ---- The table ----------------------------------------------------------------------- */

static void blm_avx2_fill_matmul(blm_kernels *k)
{
    k->matmul8[BLM_F32] = k->matmul16[BLM_F32] = blm_avx2_matmul_f32;
    k->matmul8[BLM_F16] = k->matmul16[BLM_F16] = blm_avx2_matmul_f16;
    k->matmul8[BLM_BF16] = k->matmul16[BLM_BF16] = blm_avx2_matmul_bf16;
    k->matmul8[BLM_Q4_0] = blm_avx2_matmul8_q4_0;
    k->matmul8[BLM_Q8_0] = blm_avx2_matmul8_q8_0;
    k->matmul8[BLM_Q4_K] = blm_avx2_matmul8_q4_k;
    k->matmul8[BLM_Q6_K] = blm_avx2_matmul8_q6_k;
    k->matmul16[BLM_Q4_0] = blm_avx2_matmul16_q4_0;
    k->matmul16[BLM_Q8_0] = blm_avx2_matmul16_q8_0;
    k->matmul16[BLM_Q4_K] = blm_avx2_matmul16_q4_k;
    k->matmul16[BLM_Q6_K] = blm_avx2_matmul16_q6_k;
}

BLM_PRIVATE void blm_kernels_avx2(blm_kernels *k)
{
    k->name = "avx2";
    blm_avx2_fill_matmul(k);
    k->quantize8 = blm_avx2_quantize8;
    k->quantize16 = blm_avx2_quantize16;
    k->f16_from_f32 = blm_avx2_f16_from_f32;
    k->f32_from_f16 = blm_avx2_f32_from_f16;
    k->rms_norm = blm_avx2_rms_norm;
    k->layer_norm = blm_avx2_layer_norm;
    k->add = blm_avx2_add;
    k->add_bias = blm_avx2_add_bias;
    k->gelu_tanh = blm_avx2_gelu_tanh;
    k->gelu_quick = blm_avx2_gelu_quick;
    k->silu = blm_avx2_silu;
    k->silu_mul = blm_avx2_silu_mul;
    k->softmax = blm_avx2_softmax;
    k->dot_f32 = blm_avx2_dot_f32;
    k->axpy_f32 = blm_avx2_axpy_f32;
    k->attend_f32 = k->attend_i16 = blm_avx2_attend_f32;
    k->attend_f16 = blm_avx2_attend_f16;
    k->attend_q8 = blm_avx2_attend_q8;
}

#endif
