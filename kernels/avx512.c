/* Kernels for x86 with AVX-512 F, BW, VL and VNNI.
 *
 * Products with quantised weights go two ways. One token: each weight is read once, where
 * it lies, four rows at a time; lanes run along k. Several tokens: 32 rows of a stretch of
 * k are unpacked into the worker's scratch as a panel that stays in the nearest cache, its
 * lanes are rows, and all tokens pass over it; nothing is added across lanes. Weights are
 * made unsigned, as the dot-product instruction wants its first factor: w = q - zero. The
 * sums of the activations take the zero off again.
 *
 * Every function carries its own target, so the file compiles under any flags. Functions
 * that take a `type` are inlined into callers that give a constant. */
#include "kernels.h"

#if defined(__x86_64__) || defined(__i386__)

#include <immintrin.h>

#define BLM_AVX512_TARGET "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c"
#define BLM_AVX512        static __attribute__((target(BLM_AVX512_TARGET)))
#define BLM_AVX512_INLINE                                                                      \
    static inline __attribute__((always_inline, target(BLM_AVX512_TARGET)))

#define BLM_AVX512_VBMI static __attribute__((target(BLM_AVX512_TARGET ",avx512vbmi")))
#define BLM_AVX512_VBMI_INLINE                                                                 \
    static inline __attribute__((always_inline, target(BLM_AVX512_TARGET ",avx512vbmi")))

/* Before a loop over a few registers: gcc -O2 would keep their array in memory. */
#if defined(__clang__)
#define BLM_AVX512_UNROLL _Pragma("clang loop unroll(full)")
#else
#define BLM_AVX512_UNROLL _Pragma("GCC unroll 16")
#endif

/* ---- Small pieces -------------------------------------------------------------------- */

BLM_AVX512_INLINE __m128i blm_avx512_load16(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

BLM_AVX512_INLINE __m256i blm_avx512_load32(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Four bytes from any address into every lane. */
BLM_AVX512_INLINE __m512i blm_avx512_spread4(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

/* The first n lanes, n in 0..16. */
BLM_AVX512_INLINE __mmask16 blm_avx512_mask(uint64_t n)
{
    return (__mmask16)((1u << n) - 1);
}

/* Elements [i, n) of a row, at most 16 of them; lanes past the end are 0. */
BLM_AVX512_INLINE __m512 blm_avx512_get(const float *x, size_t i, size_t n)
{
    if (n - i >= 16) return _mm512_loadu_ps(x + i);
    return _mm512_maskz_loadu_ps(blm_avx512_mask(n - i), x + i);
}

BLM_AVX512_INLINE void blm_avx512_put(float *x, size_t i, size_t n, __m512 v)
{
    if (n - i >= 16)
        _mm512_storeu_ps(x + i, v);
    else
        _mm512_mask_storeu_ps(x + i, blm_avx512_mask(n - i), v);
}

/* n values (16 but at the end of a row) of floats in memory, or int8, from element `at`. */
enum { BLM_AVX512_INT8 = 1000 }; /* a type beside BLM_F32, BLM_F16 and BLM_BF16 */

BLM_AVX512_INLINE __m512 blm_avx512_floats(uint32_t type, const uint8_t *row, size_t at,
                                           uint32_t n)
{
    const __mmask16 mask = blm_avx512_mask(n);
    if (type == BLM_F32)
        return n == 16 ? _mm512_loadu_ps(row + at * 4)
                       : _mm512_maskz_loadu_ps(mask, row + at * 4);
    if (type == BLM_AVX512_INT8) {
        __m128i q =
            n == 16 ? blm_avx512_load16(row + at) : _mm_maskz_loadu_epi8(mask, row + at);
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
    }
    const uint8_t *p = row + at * 2;
    __m256i half = n == 16 ? blm_avx512_load32(p) : _mm256_maskz_loadu_epi16(mask, p);
    if (type == BLM_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* Lane i of the result is the sum of v[i], the same additions for each. */
BLM_AVX512_INLINE __m512 blm_avx512_sum16(const __m512 *v)
{
    __m512 r[4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m512 *a = v + i * 4;
        __m512 s =
            _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
        __m512 t =
            _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
        __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(s), _mm512_castps_pd(t));
        __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(s), _mm512_castps_pd(t));
        r[i] = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    }
    __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(r[0], r[1], 0x88),
                             _mm512_shuffle_f32x4(r[0], r[1], 0xDD));
    __m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(r[2], r[3], 0x88),
                             _mm512_shuffle_f32x4(r[2], r[3], 0xDD));
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}

/* The same for four. */
BLM_AVX512_INLINE __m128 blm_avx512_sum4(const __m512 *v)
{
    __m256 s[4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512 high = _mm512_shuffle_f32x4(v[i], v[i], 0xEE);
        s[i] = _mm512_castps512_ps256(_mm512_add_ps(v[i], high));
    }
    __m256 t = _mm256_hadd_ps(_mm256_hadd_ps(s[0], s[1]), _mm256_hadd_ps(s[2], s[3]));
    return _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));
}

/* The sums of four rows, of which `count` are real. */
BLM_AVX512_INLINE void blm_avx512_put4(float *y, uint64_t count, const __m512 *sum)
{
    __mmask8 mask = (__mmask8)blm_avx512_mask(BLM_MIN(count, 4));
    _mm_mask_storeu_ps(y, mask, blm_avx512_sum4(sum));
}

/* e^x as blm_expf: 0 below -87.34, infinity above 88.72, NaN for NaN. */
BLM_AVX512_INLINE __m512 blm_avx512_exp(__m512 x)
{
    const __m512 lowest = _mm512_set1_ps(-87.336544f), one = _mm512_set1_ps(1);
    __m512 v = _mm512_max_ps(lowest, _mm512_min_ps(_mm512_set1_ps(89.0f), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(v, _mm512_set1_ps(1.44269504f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), v);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665796e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r), one);
    p = _mm512_scalef_ps(p, n);
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, lowest, _CMP_NLT_UQ), p);
}

/* Up to `step` rows from r; where there are fewer, the last one again: it is computed in
 * vain, and nothing outside the tensor is read. */
BLM_AVX512_INLINE void blm_avx512_rows(const blm_matmul_args *a, uint64_t r, uint64_t row1,
                                       uint32_t step, const uint8_t **rows)
{
    for (uint32_t i = 0; i < step; i++)
        rows[i] = a->w->data + BLM_MIN(r + i, row1 - 1) * a->w->row_bytes;
}

/* Asks for what lies one group of four rows ahead; only a hint, which may point anywhere. */
BLM_AVX512_INLINE void blm_avx512_ahead(const uint8_t *p, uint64_t row_bytes)
{
    _mm_prefetch((const char *)((uintptr_t)p + (uintptr_t)(4 * row_bytes)), _MM_HINT_T0);
}

/* The same for a whole block of a K type. */
BLM_AVX512_INLINE void blm_avx512_block_ahead(const uint8_t *b, uint32_t bytes,
                                              uint64_t row_bytes)
{
    BLM_AVX512_UNROLL
    for (uint32_t at = 0; at < bytes; at += 64)
        blm_avx512_ahead(b + at, row_bytes);
}

/* ---- One token, quantised weights ---------------------------------------------------- */

/* A value for each of two blocks of 32, in the eight lanes that hold their sums. */
BLM_AVX512_INLINE __m512 blm_avx512_pair(float first, float second)
{
    return _mm512_mask_mov_ps(_mm512_set1_ps(first), 0xFF00, _mm512_set1_ps(second));
}

/* Two blocks of Q4_0 or Q8_0 side by side, b and next: q in order of k, and their f16
 * factors. Q4_0's high nibbles are left where they are, 16 times too large. */
typedef struct blm_avx512_weights {
    __m512i q;
    __m512 factor;
} blm_avx512_weights;

BLM_AVX512_INLINE blm_avx512_weights blm_avx512_two_blocks(uint32_t type, const uint8_t *b,
                                                           const uint8_t *next)
{
    const __m512i nibbles =
        _mm512_setr_epi64(0x0F0F0F0F0F0F0F0F, 0x0F0F0F0F0F0F0F0F, (long long)0xF0F0F0F0F0F0F0F0,
                          (long long)0xF0F0F0F0F0F0F0F0, 0x0F0F0F0F0F0F0F0F, 0x0F0F0F0F0F0F0F0F,
                          (long long)0xF0F0F0F0F0F0F0F0, (long long)0xF0F0F0F0F0F0F0F0);
    __m256i d = _mm256_set1_epi16((short)blm_load_u16(b));
    d = _mm256_mask_mov_epi16(d, 0xFF00, _mm256_set1_epi16((short)blm_load_u16(next)));
    blm_avx512_weights out = {_mm512_setzero_si512(), _mm512_cvtph_ps(d)};
    if (type == BLM_Q8_0) {
        __m512i v = _mm512_castsi256_si512(blm_avx512_load32(b + 2));
        v = _mm512_inserti64x4(v, blm_avx512_load32(next + 2), 1);
        out.q = _mm512_xor_si512(v, _mm512_set1_epi8(-128));
    } else {
        __m512i v = _mm512_broadcast_i32x4(blm_avx512_load16(b + 2));
        v = _mm512_mask_broadcast_i32x4(v, 0xFF00, blm_avx512_load16(next + 2));
        out.q = _mm512_and_si512(v, nibbles);
    }
    return out;
}

/* 64 activations, or the last 32 with nothing after them: q, the scales of their blocks,
 * and -zero times their sums in fours; fit for the weights above. */
typedef struct blm_avx512_acts {
    __m512i q, offset;
    __m512 scale;
} blm_avx512_acts;

BLM_AVX512_INLINE blm_avx512_acts blm_avx512_acts64(uint32_t type, const blm_acts *x,
                                                    uint32_t i, int whole)
{
    const float t = 0.0625f; /* what Q4_0's high nibbles are too large by */
    const __m512 sixteenth = _mm512_setr_ps(1, 1, 1, 1, t, t, t, t, 1, 1, 1, 1, t, t, t, t);
    const __m512i eight = _mm512_set1_epi64(0x0808080808080808);
    const __m512i high = _mm512_set1_epi8(-128);
    const int8_t *q = (const int8_t *)x->q + (size_t)i * 32;
    __m512i zero = type == BLM_Q4_0   ? _mm512_mask_mov_epi32(eight, 0xF0F0, high)
                   : type == BLM_Q8_0 ? high
                                      : _mm512_set1_epi8(32);
    blm_avx512_acts out;
    out.q = whole ? _mm512_loadu_si512(q) : _mm512_zextsi256_si512(blm_avx512_load32(q));
    out.scale = blm_avx512_pair(x->scale[i], whole ? x->scale[i + 1] : 0);
    if (type == BLM_Q4_0) out.scale = _mm512_mul_ps(out.scale, sixteenth);
    __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), zero, out.q);
    out.offset = _mm512_sub_epi32(_mm512_setzero_si512(), sums);
    return out;
}

BLM_AVX512_INLINE __m512 blm_avx512_multiply(blm_avx512_weights w, blm_avx512_acts x,
                                             __m512 sum)
{
    __m512 product = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(x.offset, w.q, x.q));
    return _mm512_fmadd_ps(product, _mm512_mul_ps(w.factor, x.scale), sum);
}

/* Four rows of Q4_0 or Q8_0 from block `first` on. */
BLM_AVX512_INLINE void blm_avx512_stream(uint32_t type, const uint8_t *const *rows,
                                         const blm_acts *x, uint32_t first, __m512 *sum)
{
    const uint32_t size = type == BLM_Q4_0 ? 18 : 34, blocks = x->cols / 32;
    for (uint32_t i = first; i < blocks; i += 2) {
        const int whole = i + 1 < blocks;
        const blm_avx512_acts v = blm_avx512_acts64(type, x, i, whole);
        BLM_AVX512_UNROLL
        for (int r = 0; r < 4; r++) {
            const uint8_t *b = rows[r] + (size_t)i * size, *next = whole ? b + size : b;
            blm_avx512_ahead(b, (uint64_t)blocks * size);
            if (type == BLM_Q8_0) blm_avx512_ahead(next, (uint64_t)blocks * size);
            sum[r] = blm_avx512_multiply(blm_avx512_two_blocks(type, b, next), v, sum[r]);
        }
    }
}

/* The eight 6-bit scales (low half of the result) and mins of a Q4_K block: 4 + 4 in the
 * low six bits of bytes 0-7; the others have low nibbles in bytes 8-11 and their high pair
 * on top of the first. */
BLM_AVX512_INLINE __m128i blm_avx512_q4_k_scales(const uint8_t *p)
{
    const uint32_t six = 0x3F3F3F3Fu, four = 0x0F0F0F0Fu, two = 0x03030303u;
    uint32_t a = blm_load_u32(p), b = blm_load_u32(p + 4), c = blm_load_u32(p + 8);
    uint32_t scale = (c & four) | (a >> 6 & two) << 4;
    uint32_t min = (c >> 4 & four) | (b >> 6 & two) << 4;
    return _mm_setr_epi32((int)(a & six), (int)scale, (int)(b & six), (int)min);
}

BLM_AVX512_INLINE __m512 blm_avx512_spread_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)blm_load_u16(p)));
}

/* The f16 at p in the lower half, the next one in the upper. */
BLM_AVX512_INLINE __m512 blm_avx512_two_halves(const uint8_t *p)
{
    __m256i first = _mm256_set1_epi16((short)blm_load_u16(p));
    __m256i second = _mm256_set1_epi16((short)blm_load_u16(p + 2));
    return _mm512_cvtph_ps(_mm256_mask_mov_epi16(first, 0xFF00, second));
}

/* One Q4_K block of 256 and its activations, added to sum. Scales and mins lie in lanes
 * 0-7 and 8-15 of one vector; x_scale holds the activations' scales in the lower and, times
 * the sums and negated, in the upper half. */
BLM_AVX512_INLINE __m512 blm_avx512_q4_k_block(const uint8_t *b, const int8_t *q,
                                               __m512 x_scale, __m512 sum)
{
    const __m512i low = _mm512_set1_epi32(0x0F0F0F0F);
    const __m512i nibbles = _mm512_mask_slli_epi32(low, 0xFF00, low, 4);
    const __m512i pick = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m512 factors = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(blm_avx512_q4_k_scales(b + 4)));
    factors = _mm512_mul_ps(_mm512_mul_ps(factors, blm_avx512_two_halves(b)), x_scale);
    sum = _mm512_mask_add_ps(sum, 0xFF00, sum, factors);
    BLM_AVX512_UNROLL
    for (int j = 0; j < 4; j++) {
        __m512i w = _mm512_broadcast_i64x4(blm_avx512_load32(b + 16 + j * 32));
        w = _mm512_and_si512(w, nibbles);
        __m512i v =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, _mm512_loadu_si512(q + j * 64));
        __m512i lanes = _mm512_add_epi32(pick, _mm512_set1_epi32(j * 2));
        sum =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), _mm512_permutexvar_ps(lanes, factors), sum);
    }
    return sum;
}

BLM_AVX512_INLINE void blm_avx512_stream_q4_k(const uint8_t *const *rows, const blm_acts *x,
                                              __m512 *sum)
{
    const float t = 0.0625f; /* high nibbles stay where they are, 16 times too large */
    const int8_t *q = (const int8_t *)x->q;
    for (uint32_t i = 0; i < x->cols / 256; i++, q += 256) {
        __m256 scale = _mm256_loadu_ps(x->scale + (size_t)i * 8);
        __m256 x_sum = _mm256_cvtepi32_ps(blm_avx512_load32(x->sum + (size_t)i * 8));
        __m256 mins = _mm256_mul_ps(_mm256_sub_ps(_mm256_setzero_ps(), x_sum), scale);
        scale = _mm256_mul_ps(scale, _mm256_setr_ps(1, t, 1, t, 1, t, 1, t));
        __m512d both = _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_castps_pd(scale)),
                                          _mm256_castps_pd(mins), 1);
        BLM_AVX512_UNROLL
        for (int r = 0; r < 4; r++) {
            const uint8_t *b = rows[r] + (size_t)i * 144;
            blm_avx512_block_ahead(b, 144, (uint64_t)x->cols / 256 * 144);
            sum[r] = blm_avx512_q4_k_block(b, q, _mm512_castpd_ps(both), sum[r]);
        }
    }
}

/* 64 of the 256 weights of a Q6_K block, 0..63: low nibbles of 64 bytes, then their high
 * nibbles; the upper bits come in pairs from 32 bytes, pair after pair. */
BLM_AVX512_INLINE __m512i blm_avx512_q6_k_64(const uint8_t *b, int j)
{
    const __m512i shift = _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2);
    __m512i low = _mm512_loadu_si512(b + j / 2 * 64);
    __m512i high = _mm512_broadcast_i64x4(blm_avx512_load32(b + 128 + j / 2 * 32));
    if (j & 1) {
        low = _mm512_srli_epi64(low, 4);
        high = _mm512_srli_epi64(high, 4);
    }
    high = _mm512_and_si512(_mm512_srlv_epi64(high, shift), _mm512_set1_epi8(3));
    low = _mm512_and_si512(low, _mm512_set1_epi8(15));
    return _mm512_or_si512(low, _mm512_slli_epi64(high, 4));
}

BLM_AVX512_INLINE void blm_avx512_stream_q6_k(const uint8_t *const *rows, const blm_acts *x,
                                              __m512 *sum)
{
    const __m512i pick = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (uint32_t i = 0; i < x->cols / 256; i++) {
        __m512 scale = _mm512_castps256_ps512(_mm256_loadu_ps(x->scale + (size_t)i * 8));
        __m512 factors[4];
        scale = _mm512_permutexvar_ps(twice, scale);
        BLM_AVX512_UNROLL
        for (int r = 0; r < 4; r++) {
            const uint8_t *b = rows[r] + (size_t)i * 210;
            blm_avx512_block_ahead(b, 210, (uint64_t)x->cols / 256 * 210);
            __m512i s = _mm512_cvtepi8_epi32(blm_avx512_load16(b + 192));
            factors[r] = _mm512_mul_ps(_mm512_cvtepi32_ps(s), blm_avx512_spread_f16(b + 208));
            factors[r] = _mm512_mul_ps(factors[r], scale);
        }
        BLM_AVX512_UNROLL
        for (int j = 0; j < 4; j++) {
            blm_avx512_acts v = blm_avx512_acts64(BLM_Q6_K, x, i * 8 + (uint32_t)j * 2, 1);
            __m512i lanes = _mm512_add_epi32(pick, _mm512_set1_epi32(j * 4));
            BLM_AVX512_UNROLL
            for (int r = 0; r < 4; r++) {
                __m512i q = blm_avx512_q6_k_64(rows[r] + (size_t)i * 210, j);
                q = _mm512_dpbusd_epi32(v.offset, q, v.q);
                sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(q),
                                         _mm512_permutexvar_ps(lanes, factors[r]), sum[r]);
            }
        }
    }
}

BLM_AVX512_INLINE void blm_avx512_one_token(const blm_matmul_args *a, uint64_t row0,
                                            uint64_t row1, uint32_t type)
{
    for (uint64_t r = row0; r < row1; r += 4) {
        const uint8_t *rows[4];
        __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                         _mm512_setzero_ps()};
        blm_avx512_rows(a, r, row1, 4, rows);
        if (type == BLM_Q4_K)
            blm_avx512_stream_q4_k(rows, a->x, sum);
        else if (type == BLM_Q6_K)
            blm_avx512_stream_q6_k(rows, a->x, sum);
        else
            blm_avx512_stream(type, rows, a->x, 0, sum);
        blm_avx512_put4(a->y + r, row1 - r, sum);
    }
}

/* 128 activations, for four blocks of Q4_0 side by side: those that meet low nibbles, those
 * that meet high ones, and scales and offsets as above, four lanes to a block. */
typedef struct blm_avx512_acts4 {
    __m512i low, high, offset;
    __m512 scale;
} blm_avx512_acts4;

BLM_AVX512_INLINE blm_avx512_acts4 blm_avx512_acts128(const blm_acts *x, uint32_t i)
{
    const __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i eight = _mm512_set1_epi8(8);
    const int8_t *q = (const int8_t *)x->q + (size_t)i * 32;
    __m512i a = _mm512_loadu_si512(q), b = _mm512_loadu_si512(q + 64);
    __m512 scale = _mm512_castps128_ps512(_mm_loadu_ps(x->scale + i));
    blm_avx512_acts4 out;
    out.low = _mm512_shuffle_i32x4(a, b, 0x88);
    out.high = _mm512_shuffle_i32x4(a, b, 0xDD);
    out.scale = _mm512_permutexvar_ps(spread, scale);
    __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), eight, out.low);
    sums = _mm512_dpbusd_epi32(sums, eight, out.high);
    out.offset = _mm512_sub_epi32(_mm512_setzero_si512(), sums);
    return out;
}

/* Four blocks of Q4_0, 72 bytes: most of them, factors included, come in one load and are
 * put in place by permutations. */
BLM_AVX512_VBMI_INLINE __m512 blm_avx512_four_blocks(const uint8_t *b, blm_avx512_acts4 x,
                                                     __m512 sum)
{
    const __m512i place =
        _mm512_setr_epi64(0x0908070605040302, 0x11100F0E0D0C0B0A, 0x1B1A191817161514,
                          0x232221201F1E1D1C, 0x2D2C2B2A29282726, 0x3534333231302F2E, 0, 0);
    const __m512i factors =
        _mm512_setr_epi64(0x0100010001000100, 0x1312131213121312, 0x2524252425242524,
                          0x3736373637363736, 0, 0, 0, 0);
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i v = _mm512_loadu_si512(b);
    __m512i d = _mm512_permutexvar_epi8(factors, v);
    v = _mm512_permutexvar_epi8(place, v);
    v = _mm512_mask_broadcast_i32x4(v, 0xF000, blm_avx512_load16(b + 56));
    __m512i n = _mm512_dpbusd_epi32(x.offset, _mm512_and_si512(v, nibble), x.low);
    v = _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble);
    n = _mm512_dpbusd_epi32(n, v, x.high);
    __m512 factor = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_castsi512_si256(d)), x.scale);
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(n), factor, sum);
}

BLM_AVX512_VBMI void blm_avx512_one_token_q4_0(const blm_matmul_args *a, uint64_t row0,
                                               uint64_t row1)
{
    const uint32_t blocks = a->x->cols / 32;
    for (uint64_t r = row0; r < row1; r += 4) {
        const uint8_t *rows[4];
        __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                         _mm512_setzero_ps()};
        uint32_t i = 0;
        blm_avx512_rows(a, r, row1, 4, rows);
        for (; i + 4 <= blocks; i += 4) {
            const blm_avx512_acts4 v = blm_avx512_acts128(a->x, i);
            BLM_AVX512_UNROLL
            for (int j = 0; j < 4; j++) {
                const uint8_t *b = rows[j] + (size_t)i * 18;
                blm_avx512_ahead(b, a->w->row_bytes);
                blm_avx512_ahead(b + 36, a->w->row_bytes);
                sum[j] = blm_avx512_four_blocks(b, v, sum[j]);
            }
        }
        blm_avx512_stream(BLM_Q4_0, rows, a->x, i, sum);
        blm_avx512_put4(a->y + r, row1 - r, sum);
    }
}

/* ---- Several tokens: the panel ------------------------------------------------------- */

/* 32 columns of 32 rows. Lane r of a vector belongs to row r or 16 + r; a vector of q holds
 * four neighbouring k of each row. */
typedef struct blm_avx512_panel {
    uint8_t q[8][2][64];
    float scale[2][16];
    float more[2][16]; /* Q4_K: the mins; Q6_K: the scales of the last 16 columns */
} blm_avx512_panel;

/* Blocks unpacked at once: 30 KB, which leaves activations some of the nearest cache. */
enum { BLM_AVX512_PANEL_BLOCKS = 24, BLM_AVX512_TOKENS = 4 };

/* 16 bytes of 16 rows, or the first `bytes` and zeros: vector c holds bytes 4c .. 4c + 3 of
 * every row. */
BLM_AVX512_INLINE void blm_avx512_pieces(const uint8_t *const *rows, size_t at, uint32_t bytes,
                                         __m512i *v)
{
    __m128i piece[16];
    BLM_AVX512_UNROLL
    for (int r = 0; r < 16; r++)
        piece[r] = bytes == 16 ? blm_avx512_load16(rows[r] + at)
                               : _mm_maskz_loadu_epi8(blm_avx512_mask(bytes), rows[r] + at);
    BLM_AVX512_UNROLL
    for (int r = 0; r < 4; r++) {
        v[r] = _mm512_castsi128_si512(piece[r]);
        v[r] = _mm512_inserti32x4(v[r], piece[r + 4], 1);
        v[r] = _mm512_inserti32x4(v[r], piece[r + 8], 2);
        v[r] = _mm512_inserti32x4(v[r], piece[r + 12], 3);
    }
    __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpacklo_epi32(v[2], v[3]);
    __m512i c = _mm512_unpackhi_epi32(v[0], v[1]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi64(a, b);
    v[1] = _mm512_unpackhi_epi64(a, b);
    v[2] = _mm512_unpacklo_epi64(c, d);
    v[3] = _mm512_unpackhi_epi64(c, d);
}

/* The f16 at one place of 16 rows. */
BLM_AVX512_INLINE __m512 blm_avx512_halves(const uint8_t *const *rows, size_t at)
{
    uint16_t h[16];
    BLM_AVX512_UNROLL
    for (int r = 0; r < 16; r++)
        h[r] = blm_load_u16(rows[r] + at);
    return _mm512_cvtph_ps(_mm256_setr_epi16(
        (short)h[0], (short)h[1], (short)h[2], (short)h[3], (short)h[4], (short)h[5],
        (short)h[6], (short)h[7], (short)h[8], (short)h[9], (short)h[10], (short)h[11],
        (short)h[12], (short)h[13], (short)h[14], (short)h[15]));
}

/* Block i of 16 rows, q unsigned. The places of Q4_K's and Q6_K's bits: see scalar.c. */
BLM_AVX512_INLINE void blm_avx512_unpack16(uint32_t type, const uint8_t *const *rows,
                                           uint32_t i, __m512i *q)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    if (type == BLM_Q4_0) {
        blm_avx512_pieces(rows, (size_t)i * 18 + 2, 16, q);
        BLM_AVX512_UNROLL
        for (int c = 0; c < 4; c++) {
            q[c + 4] = _mm512_and_si512(_mm512_srli_epi16(q[c], 4), nibble);
            q[c] = _mm512_and_si512(q[c], nibble);
        }
        return;
    }
    size_t k = (size_t)(i / 8) * (type == BLM_Q4_K ? 144 : 210);
    uint32_t half = i % 8 / 4, part = i % 4;
    size_t at = type == BLM_Q8_0   ? (size_t)i * 34 + 2
                : type == BLM_Q4_K ? k + 16 + i % 8 / 2 * 32
                                   : k + half * 64 + part % 2 * 32;
    __m512i high[8];
    __m128i shift = _mm_cvtsi32_si128((int)(type == BLM_Q4_K ? i % 2 * 4 : part / 2 * 4));
    __m128i high_shift = _mm_cvtsi32_si128((int)part * 2);
    blm_avx512_pieces(rows, at, 16, q);
    blm_avx512_pieces(rows, at + 16, 16, q + 4);
    if (type == BLM_Q6_K) {
        blm_avx512_pieces(rows, k + 128 + half * 32, 16, high);
        blm_avx512_pieces(rows, k + 144 + half * 32, 16, high + 4);
    }
    BLM_AVX512_UNROLL
    for (int c = 0; c < 8; c++) {
        if (type == BLM_Q8_0)
            q[c] = _mm512_xor_si512(q[c], _mm512_set1_epi8(-128));
        else
            q[c] = _mm512_and_si512(_mm512_srl_epi16(q[c], shift), nibble);
        if (type == BLM_Q6_K) {
            high[c] =
                _mm512_and_si512(_mm512_srl_epi16(high[c], high_shift), _mm512_set1_epi8(3));
            q[c] = _mm512_or_si512(q[c], _mm512_slli_epi16(high[c], 4));
        }
    }
}

/* The 16 small scales of one Q4_K or Q6_K block for 16 rows, four to a lane: vector c
 * holds numbers 4c .. 4c + 3. */
BLM_AVX512_INLINE void blm_avx512_small_scales(uint32_t type, const uint8_t *const *rows,
                                               uint32_t block, __m512i *v)
{
    uint8_t unpacked[16][16];
    const uint8_t *at[16];
    if (type == BLM_Q6_K) {
        blm_avx512_pieces(rows, (size_t)block * 210 + 192, 16, v);
        return;
    }
    for (int r = 0; r < 16; r++) {
        __m128i scales = blm_avx512_q4_k_scales(rows[r] + (size_t)block * 144 + 4);
        _mm_storeu_si128((__m128i *)(void *)unpacked[r], scales);
        at[r] = unpacked[r];
    }
    blm_avx512_pieces(at, 0, 16, v);
}

/* Byte j of every lane, as a number. */
BLM_AVX512_INLINE __m512 blm_avx512_byte(uint32_t type, __m512i v, uint32_t j)
{
    v = _mm512_sll_epi32(v, _mm_cvtsi32_si128((int)(24 - j * 8)));
    v = type == BLM_Q6_K ? _mm512_srai_epi32(v, 24) : _mm512_srli_epi32(v, 24);
    return _mm512_cvtepi32_ps(v);
}

/* Scales of blocks [i0, i1) of Q4_K or Q6_K for 16 rows, half h of the panel. */
BLM_AVX512_INLINE void blm_avx512_fill_k(uint32_t type, const uint8_t *const *rows, uint32_t h,
                                         uint32_t i0, uint32_t i1, blm_avx512_panel *panel)
{
    __m512 d = _mm512_setzero_ps(), dmin = d;
    __m512i v[4] = {_mm512_setzero_si512()};
    for (uint32_t i = i0; i < i1; i++, panel++) {
        uint32_t j = i % 8;
        if (i == i0 || j == 0) {
            size_t at = (size_t)(i / 8) * (type == BLM_Q4_K ? 144 : 210);
            blm_avx512_small_scales(type, rows, i / 8, v);
            d = blm_avx512_halves(rows, at + (type == BLM_Q4_K ? 0 : 208));
            dmin = type == BLM_Q4_K ? blm_avx512_halves(rows, at + 2) : d;
        }
        __m512 a = type == BLM_Q4_K ? blm_avx512_byte(type, v[j / 4], j % 4)
                                    : blm_avx512_byte(type, v[j / 2], j % 2 * 2);
        __m512 b = type == BLM_Q4_K ? blm_avx512_byte(type, v[2 + j / 4], j % 4)
                                    : blm_avx512_byte(type, v[j / 2], j % 2 * 2 + 1);
        _mm512_storeu_ps(panel->scale[h], _mm512_mul_ps(a, d));
        _mm512_storeu_ps(panel->more[h], _mm512_mul_ps(b, dmin));
    }
}

/* Blocks [i0, i1) of 16 rows, half h of the panel. */
BLM_AVX512_INLINE void blm_avx512_fill(uint32_t type, const uint8_t *const *rows, uint32_t h,
                                       uint32_t i0, uint32_t i1, blm_avx512_panel *panel)
{
    if (type == BLM_Q4_K || type == BLM_Q6_K) blm_avx512_fill_k(type, rows, h, i0, i1, panel);
    for (uint32_t i = i0; i < i1; i++, panel++) {
        __m512i q[8];
        blm_avx512_unpack16(type, rows, i, q);
        BLM_AVX512_UNROLL
        for (int g = 0; g < 8; g++)
            _mm512_storeu_si512(panel->q[g][h], q[g]);
        if (type == BLM_Q4_0 || type == BLM_Q8_0) {
            size_t at = (size_t)i * (type == BLM_Q4_0 ? 18 : 34);
            _mm512_storeu_ps(panel->scale[h], blm_avx512_halves(rows, at));
        }
    }
}

/* The sum of 16 activations: as bytes above -128, added by the instruction for distances. */
BLM_AVX512_INLINE int32_t blm_avx512_sum_q16(const int8_t *q)
{
    __m128i v = _mm_xor_si128(blm_avx512_load16(q), _mm_set1_epi8(-128));
    v = _mm_sad_epu8(v, _mm_setzero_si128());
    v = _mm_add_epi32(v, _mm_unpackhi_epi64(v, v));
    return _mm_cvtsi128_si32(v) - 16 * 128;
}

/* -zero times the sum of the activations that share a scale with q: of block `at`, of which
 * Q6_K has a first and a last half. */
BLM_AVX512_INLINE int32_t blm_avx512_offset(uint32_t type, const blm_acts *x, size_t at,
                                            const int8_t *q, uint32_t part)
{
    if (type == BLM_Q4_0) return -8 * x->sum[at];
    if (type == BLM_Q8_0) return -128 * x->sum[at];
    if (type == BLM_Q4_K) return 0;
    int32_t first = blm_avx512_sum_q16(q);
    return -32 * (part ? x->sum[at] - first : first);
}

/* One block of the panel with `tokens` tokens from t0, whose q are at x_q[token]. A part is
 * what shares a scale: the block, or half of it. */
BLM_AVX512_INLINE void blm_avx512_block(uint32_t type, const blm_avx512_panel *w,
                                        const blm_acts *x, uint32_t t0, uint32_t tokens,
                                        uint32_t i, const int8_t *const *q,
                                        __m512 sum[2][BLM_AVX512_TOKENS])
{
    const uint32_t parts = type == BLM_Q6_K ? 2 : 1, groups = 8 / parts;
    BLM_AVX512_UNROLL
    for (uint32_t part = 0; part < parts; part++) {
        __m512i n[2][BLM_AVX512_TOKENS];
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            size_t at = (t0 + t) * x->block_stride + i;
            n[0][t] = n[1][t] = _mm512_set1_epi32(blm_avx512_offset(type, x, at, q[t], part));
        }
        BLM_AVX512_UNROLL
        for (uint32_t g = part * groups; g < (part + 1) * groups; g++) {
            __m512i a = _mm512_loadu_si512(w->q[g][0]), b = _mm512_loadu_si512(w->q[g][1]);
            BLM_AVX512_UNROLL
            for (uint32_t t = 0; t < tokens; t++) {
                __m512i v = blm_avx512_spread4(q[t] + g * 4);
                n[0][t] = _mm512_dpbusd_epi32(n[0][t], a, v);
                n[1][t] = _mm512_dpbusd_epi32(n[1][t], b, v);
            }
        }
        BLM_AVX512_UNROLL
        for (uint32_t h = 0; h < 2; h++) {
            __m512 scale = _mm512_loadu_ps(part ? w->more[h] : w->scale[h]);
            BLM_AVX512_UNROLL
            for (uint32_t t = 0; t < tokens; t++) {
                __m512 x_scale = _mm512_set1_ps(x->scale[(t0 + t) * x->block_stride + i]);
                sum[h][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(n[h][t]),
                                            _mm512_mul_ps(scale, x_scale), sum[h][t]);
            }
        }
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens && type == BLM_Q4_K; t++) {
        size_t at = (t0 + t) * x->block_stride + i;
        __m512 v = _mm512_set1_ps((float)x->sum[at] * x->scale[at]);
        sum[0][t] = _mm512_fnmadd_ps(_mm512_loadu_ps(w->more[0]), v, sum[0][t]);
        sum[1][t] = _mm512_fnmadd_ps(_mm512_loadu_ps(w->more[1]), v, sum[1][t]);
    }
}

/* Adds v (16 rows from y on, `count` of them real) to what earlier stretches of k gave. */
BLM_AVX512_INLINE void blm_avx512_add_to(float *y, uint64_t count, int first, __m512 v)
{
    const __mmask16 mask = blm_avx512_mask(BLM_MIN(count, 16));
    if (!first) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y), v);
    _mm512_mask_storeu_ps(y, mask, v);
}

/* Blocks [i0, i1) of `count` rows from r with `tokens` tokens from t0. */
BLM_AVX512_INLINE void blm_avx512_tile(uint32_t type, const blm_matmul_args *a, uint64_t r,
                                       uint64_t count, uint32_t i0, uint32_t i1, uint32_t t0,
                                       uint32_t tokens)
{
    const blm_avx512_panel *w = (const blm_avx512_panel *)a->scratch;
    const int8_t *q[BLM_AVX512_TOKENS];
    __m512 sum[2][BLM_AVX512_TOKENS];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        q[t] = (const int8_t *)a->x->q + (t0 + t) * a->x->q_stride + (size_t)i0 * 32;
        sum[0][t] = sum[1][t] = _mm512_setzero_ps();
    }
    for (uint32_t i = i0; i < i1; i++, w++) {
        blm_avx512_block(type, w, a->x, t0, tokens, i, q, sum);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            q[t] += 32;
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        float *y = a->y + (t0 + t) * a->y_stride + r;
        blm_avx512_add_to(y, count, i0 == 0, sum[0][t]);
        if (count > 16) blm_avx512_add_to(y + 16, count - 16, i0 == 0, sum[1][t]);
    }
}

BLM_AVX512_INLINE void blm_avx512_tokens(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                         uint32_t type)
{
    uint32_t tokens = a->x->tokens, blocks = a->x->cols / 32;
    uint64_t room = blm_matmul_scratch_bytes(a->x->cols) / sizeof(blm_avx512_panel);
    uint32_t most = (uint32_t)BLM_MIN(room, BLM_AVX512_PANEL_BLOCKS);
    uint32_t stretches = (blocks + most - 1) / most;
    for (uint64_t r = row0; r < row1; r += 32) {
        const uint8_t *rows[32];
        blm_avx512_rows(a, r, row1, 32, rows);
        for (uint32_t s = 0; s < stretches; s++) {
            uint32_t i0 = (uint32_t)((uint64_t)blocks * s / stretches), t = 0;
            uint32_t i1 = (uint32_t)((uint64_t)blocks * (s + 1) / stretches);
            blm_avx512_panel *panel = (blm_avx512_panel *)a->scratch;
            blm_avx512_fill(type, rows, 0, i0, i1, panel);
            blm_avx512_fill(type, rows + 16, 1, i0, i1, panel);
            for (; t + BLM_AVX512_TOKENS <= tokens; t += BLM_AVX512_TOKENS)
                blm_avx512_tile(type, a, r, row1 - r, i0, i1, t, BLM_AVX512_TOKENS);
            for (; t < tokens; t++)
                blm_avx512_tile(type, a, r, row1 - r, i0, i1, t, 1);
        }
    }
}

BLM_AVX512_INLINE void blm_avx512_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                         uint32_t type)
{
    if (a->x->tokens == 1)
        blm_avx512_one_token(a, row0, row1, type);
    else
        blm_avx512_tokens(a, row0, row1, type);
}

BLM_AVX512 void blm_avx512_matmul8_q4_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx512_matmul(a, row0, row1, BLM_Q4_0);
}

BLM_AVX512 void blm_avx512_matmul8_q4_0_vbmi(const blm_matmul_args *a, uint64_t row0,
                                             uint64_t row1)
{
    if (a->x->tokens == 1)
        blm_avx512_one_token_q4_0(a, row0, row1);
    else
        blm_avx512_tokens(a, row0, row1, BLM_Q4_0);
}

BLM_AVX512 void blm_avx512_matmul8_q8_0(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx512_matmul(a, row0, row1, BLM_Q8_0);
}

BLM_AVX512 void blm_avx512_matmul8_q4_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx512_matmul(a, row0, row1, BLM_Q4_K);
}

BLM_AVX512 void blm_avx512_matmul8_q6_k(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx512_matmul(a, row0, row1, BLM_Q6_K);
}

/* ---- Products with float weights ----------------------------------------------------- */

/* 32 rows of one column. */
typedef struct blm_avx512_column {
    float w[2][16];
} blm_avx512_column;

enum { BLM_AVX512_PANEL_COLUMNS = 256, BLM_AVX512_FLOAT_TOKENS = 8 }; /* 32 KB */

/* Columns [k0, k1) of 16 rows, half h of the panel, which may be written up to a multiple of
 * eight columns. */
BLM_AVX512_INLINE void blm_avx512_fill_float(uint32_t type, const uint8_t *const *rows,
                                             uint32_t h, uint32_t k0, uint32_t k1,
                                             blm_avx512_column *panel)
{
    const uint32_t size = type == BLM_F32 ? 4 : 2, step = 16 / size;
    for (uint32_t k = k0; k < k1; k += step, panel += step) {
        __m512i v[4];
        if (k1 - k >= step)
            blm_avx512_pieces(rows, (size_t)k * size, 16, v);
        else
            blm_avx512_pieces(rows, (size_t)k * size, (k1 - k) * size, v);
        BLM_AVX512_UNROLL
        for (int c = 0; c < 4; c++) {
            if (type == BLM_F32) {
                _mm512_storeu_si512(panel[c].w[h], v[c]);
                continue;
            }
            __m512i even = _mm512_slli_epi32(v[c], 16), odd = v[c]; /* BF16 is cut f32 */
            if (type == BLM_F16) {
                __m256i high = _mm512_cvtepi32_epi16(_mm512_srli_epi32(v[c], 16));
                even = _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(v[c])));
                odd = _mm512_castps_si512(_mm512_cvtph_ps(high));
            } else {
                odd = _mm512_and_si512(odd, _mm512_set1_epi32((int)0xFFFF0000u));
            }
            _mm512_storeu_si512(panel[2 * c].w[h], even);
            _mm512_storeu_si512(panel[2 * c + 1].w[h], odd);
        }
    }
}

/* Columns [k0, k1) of `count` rows from r with `tokens` tokens from t0. */
BLM_AVX512_INLINE void blm_avx512_float_tile(const blm_matmul_args *a, uint64_t r,
                                             uint64_t count, uint32_t k0, uint32_t k1,
                                             uint32_t t0, uint32_t tokens)
{
    const blm_avx512_column *panel = (const blm_avx512_column *)a->scratch;
    const float *x[BLM_AVX512_FLOAT_TOKENS];
    __m512 sum[2][BLM_AVX512_FLOAT_TOKENS];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        x[t] = a->x->f32 + (t0 + t) * a->x->f32_stride + k0;
        sum[0][t] = sum[1][t] = _mm512_setzero_ps();
    }
    for (size_t k = 0; k < k1 - k0; k++) {
        __m512 v = _mm512_loadu_ps(panel[k].w[0]), w = _mm512_loadu_ps(panel[k].w[1]);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            __m512 value = _mm512_set1_ps(x[t][k]);
            sum[0][t] = _mm512_fmadd_ps(v, value, sum[0][t]);
            sum[1][t] = _mm512_fmadd_ps(w, value, sum[1][t]);
        }
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        float *y = a->y + (t0 + t) * a->y_stride + r;
        blm_avx512_add_to(y, count, k0 == 0, sum[0][t]);
        if (count > 16) blm_avx512_add_to(y + 16, count - 16, k0 == 0, sum[1][t]);
    }
}

BLM_AVX512_INLINE void blm_avx512_float_tokens(const blm_matmul_args *a, uint64_t row0,
                                               uint64_t row1, uint32_t type)
{
    uint32_t tokens = a->x->tokens, cols = a->x->cols;
    uint64_t room = blm_matmul_scratch_bytes(cols) / sizeof(blm_avx512_column) / 8 * 8;
    uint32_t most = (uint32_t)BLM_MIN(room, BLM_AVX512_PANEL_COLUMNS);
    blm_avx512_column *panel = (blm_avx512_column *)a->scratch;
    for (uint64_t r = row0; r < row1; r += 32) {
        const uint8_t *rows[32];
        blm_avx512_rows(a, r, row1, 32, rows);
        for (uint32_t k = 0; k < cols; k += most) {
            uint32_t end = k + BLM_MIN(cols - k, most), t = 0;
            blm_avx512_fill_float(type, rows, 0, k, end, panel);
            blm_avx512_fill_float(type, rows + 16, 1, k, end, panel);
            for (; t + BLM_AVX512_FLOAT_TOKENS <= tokens; t += BLM_AVX512_FLOAT_TOKENS)
                blm_avx512_float_tile(a, r, row1 - r, k, end, t, BLM_AVX512_FLOAT_TOKENS);
            for (; t < tokens; t++)
                blm_avx512_float_tile(a, r, row1 - r, k, end, t, 1);
        }
    }
}

BLM_AVX512_INLINE void blm_avx512_float_one(const blm_matmul_args *a, uint64_t row0,
                                            uint64_t row1, uint32_t type)
{
    uint32_t cols = a->x->cols;
    for (uint64_t r = row0; r < row1; r += 4) {
        const uint8_t *rows[4];
        __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                         _mm512_setzero_ps()};
        blm_avx512_rows(a, r, row1, 4, rows);
        for (uint32_t k = 0; k < cols; k += 16) {
            uint32_t n = BLM_MIN(cols - k, 16);
            __m512 x = blm_avx512_get(a->x->f32, k, cols);
            BLM_AVX512_UNROLL
            for (int i = 0; i < 4; i++) {
                uint32_t size = type == BLM_F32 ? 4 : 2;
                blm_avx512_ahead(rows[i] + (size_t)k * size, (uint64_t)cols * size);
                sum[i] = _mm512_fmadd_ps(blm_avx512_floats(type, rows[i], k, n), x, sum[i]);
            }
        }
        blm_avx512_put4(a->y + r, row1 - r, sum);
    }
}

BLM_AVX512_INLINE void blm_avx512_matmul_float(const blm_matmul_args *a, uint64_t row0,
                                               uint64_t row1, uint32_t type)
{
    if (a->x->tokens == 1)
        blm_avx512_float_one(a, row0, row1, type);
    else
        blm_avx512_float_tokens(a, row0, row1, type);
}

BLM_AVX512 void blm_avx512_matmul_f32(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx512_matmul_float(a, row0, row1, BLM_F32);
}

BLM_AVX512 void blm_avx512_matmul_f16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx512_matmul_float(a, row0, row1, BLM_F16);
}

BLM_AVX512 void blm_avx512_matmul_bf16(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    blm_avx512_matmul_float(a, row0, row1, BLM_BF16);
}

/* ---- Quantising activations ---------------------------------------------------------- */

/* 16 values times inverse, to nearest even, within +-127; a NaN becomes -127. */
BLM_AVX512_INLINE __m512i blm_avx512_quanta(__m512 v, __m512 inverse)
{
    v = _mm512_min_ps(_mm512_set1_ps(127), _mm512_mul_ps(v, inverse));
    return _mm512_cvtps_epi32(_mm512_max_ps(v, _mm512_set1_ps(-127)));
}

BLM_AVX512 void blm_avx512_quantize8(const float *x, uint32_t cols, int8_t *q, float *scale,
                                     int32_t *sum)
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

/* ---- Activations, softmax ------------------------------------------------------------ */

/* x times the sigmoid of an argument. */
BLM_AVX512_INLINE __m512 blm_avx512_gate(__m512 x, __m512 argument)
{
    __m512 e = blm_avx512_exp(_mm512_sub_ps(_mm512_setzero_ps(), argument));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1), e));
}

BLM_AVX512 void blm_avx512_gelu_tanh(float *x, size_t n)
{
    const __m512 slope = _mm512_set1_ps(1.59576912f), cube = _mm512_set1_ps(0.044715f);
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_get(x, i, n);
        __m512 bend = _mm512_fmadd_ps(_mm512_mul_ps(cube, v), v, _mm512_set1_ps(1));
        v = blm_avx512_gate(v, _mm512_mul_ps(_mm512_mul_ps(slope, v), bend));
        blm_avx512_put(x, i, n, v);
    }
}

BLM_AVX512 void blm_avx512_gelu_quick(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_get(x, i, n);
        v = blm_avx512_gate(v, _mm512_mul_ps(_mm512_set1_ps(1.702f), v));
        blm_avx512_put(x, i, n, v);
    }
}

BLM_AVX512 void blm_avx512_silu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_get(x, i, n);
        blm_avx512_put(x, i, n, blm_avx512_gate(v, v));
    }
}

BLM_AVX512 void blm_avx512_silu_mul(float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_get(gate, i, n);
        v = _mm512_mul_ps(blm_avx512_gate(v, v), blm_avx512_get(up, i, n));
        blm_avx512_put(gate, i, n, v);
    }
}

/* Lanes past the end take part as -infinity, whose exponential is 0. */
BLM_AVX512_INLINE __m512 blm_avx512_get_or_lowest(const float *x, size_t i, size_t n)
{
    const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
    if (n - i >= 16) return _mm512_loadu_ps(x + i);
    return _mm512_mask_loadu_ps(lowest, blm_avx512_mask(n - i), x + i);
}

BLM_AVX512 void blm_avx512_softmax(float *x, uint32_t n)
{
    __m512 most = _mm512_set1_ps(-__builtin_inff()), sum = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16)
        most = _mm512_max_ps(blm_avx512_get_or_lowest(x, i, n), most);
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (size_t i = 0; i < n; i += 16) {
        __m512 v = blm_avx512_exp(_mm512_sub_ps(blm_avx512_get_or_lowest(x, i, n), most));
        sum = _mm512_add_ps(sum, v);
        blm_avx512_put(x, i, n, v);
    }
    const __m512 factor = _mm512_set1_ps(1 / _mm512_reduce_add_ps(sum));
    for (size_t i = 0; i < n; i += 16)
        blm_avx512_put(x, i, n, _mm512_mul_ps(blm_avx512_get(x, i, n), factor));
}

/* ---- Attention ----------------------------------------------------------------------- */

enum { BLM_AVX512_QUERIES = 4, BLM_AVX512_MOST_CHUNKS = 5 };

/* Dimensions [d, d + n) of 16 / queries keys with `queries` queries from i, lanes along d. */
BLM_AVX512_INLINE void blm_avx512_score_step(const blm_attend_args *a, uint32_t type,
                                             uint32_t i, uint32_t queries,
                                             const uint8_t *const *row, uint32_t d, uint32_t n,
                                             __m512 *sum)
{
    const uint32_t keys = 16 / queries;
    __m512 q[BLM_AVX512_QUERIES];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++)
        q[t] = blm_avx512_get(a->q + (i + t) * a->q_stride, d, d + n);
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < keys; r++) {
        __m512 key = blm_avx512_floats(type, row[r], d, n);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < queries; t++)
            sum[t * keys + r] = _mm512_fmadd_ps(key, q[t], sum[t * keys + r]);
    }
}

/* 16 / queries keys from j: scores[query][j ...]. Past the last key the last one is taken
 * again. */
BLM_AVX512_INLINE void blm_avx512_score_tile(const blm_attend_args *a, uint32_t type,
                                             uint32_t i, uint32_t queries, uint32_t j,
                                             uint32_t last, size_t stride)
{
    const uint32_t keys = 16 / queries;
    const uint8_t *row[16];
    __m512 sum[16];
    uint32_t d = 0;
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < 16; r++)
        sum[r] = _mm512_setzero_ps();
    BLM_AVX512_UNROLL
    for (uint32_t r = 0; r < keys; r++)
        row[r] = a->k + BLM_MIN(j + r, last) * a->k_stride;
    for (; d + 16 <= a->head_dim; d += 16)
        blm_avx512_score_step(a, type, i, queries, row, d, 16, sum);
    if (d < a->head_dim)
        blm_avx512_score_step(a, type, i, queries, row, d, a->head_dim - d, sum);
    __m512 scores = blm_avx512_sum16(sum);
    float *out = a->scores + j;
    if (queries == 1) {
        _mm512_storeu_ps(out, scores);
    } else {
        _mm_storeu_ps(out, _mm512_castps512_ps128(scores));
        _mm_storeu_ps(out + stride, _mm512_extractf32x4_ps(scores, 1));
        _mm_storeu_ps(out + 2 * stride, _mm512_extractf32x4_ps(scores, 2));
        _mm_storeu_ps(out + 3 * stride, _mm512_extractf32x4_ps(scores, 3));
    }
}

/* Multiplies p[query][j] with the f16 scale of row j. */
BLM_AVX512_INLINE void blm_avx512_apply_scales(float *p, size_t stride, uint32_t queries,
                                               uint32_t keys, const uint8_t *scale,
                                               size_t scale_stride)
{
    for (uint32_t j = 0; j < keys; j += 16) {
        uint16_t half[16] = {0};
        for (uint32_t r = 0; r < 16 && j + r < keys; r++)
            half[r] = blm_load_u16(scale + (j + r) * scale_stride);
        __m512 factor = _mm512_cvtph_ps(blm_avx512_load32(half));
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < queries; t++) {
            float *at = p + t * stride + j;
            _mm512_storeu_ps(at, _mm512_mul_ps(_mm512_loadu_ps(at), factor));
        }
    }
}

/* out[query][d .. d + 16 chunks) = sum over keys [j0, j1) of p[query][j] v[j], added to what
 * is there when j0 > 0. `n` lanes of the last chunk are real. */
BLM_AVX512_INLINE void blm_avx512_value_tile(const blm_attend_args *a, uint32_t type,
                                             uint32_t i, uint32_t queries, uint32_t j0,
                                             uint32_t j1, uint32_t d, uint32_t chunks,
                                             uint32_t n, const float *p, size_t stride)
{
    __m512 sum[BLM_AVX512_QUERIES][BLM_AVX512_MOST_CHUNKS];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        const float *out = a->out + (i + t) * a->out_stride;
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            sum[t][c] = j0 ? blm_avx512_get(out, d + c * 16, a->head_dim) : _mm512_setzero_ps();
    }
    for (uint32_t j = j0; j < j1; j++) {
        const uint8_t *row = a->v + j * a->v_stride;
        __m512 v[BLM_AVX512_MOST_CHUNKS];
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            v[c] = blm_avx512_floats(type, row, d + c * 16, c + 1 < chunks ? 16 : n);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < queries; t++) {
            __m512 weight = _mm512_set1_ps(p[t * stride + j]);
            BLM_AVX512_UNROLL
            for (uint32_t c = 0; c < chunks; c++)
                sum[t][c] = _mm512_fmadd_ps(weight, v[c], sum[t][c]);
        }
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < queries; t++) {
        float *out = a->out + (i + t) * a->out_stride;
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            blm_avx512_put(out, d + c * 16, a->head_dim, sum[t][c]);
    }
}

/* All dimensions, by fives, fours, threes and ones: one alone waits for itself. */
BLM_AVX512_INLINE void blm_avx512_values(const blm_attend_args *a, uint32_t type, uint32_t i,
                                         uint32_t queries, uint32_t j0, uint32_t j1,
                                         const float *p, size_t stride)
{
    for (uint32_t d = 0; d < a->head_dim;) {
        uint32_t left = (a->head_dim - d + 15) / 16;
        uint32_t chunks = left == 5 ? 5 : left == 4 || left >= 7 ? 4 : left >= 3 ? 3 : 1;
        uint32_t n = BLM_MIN(a->head_dim - d - (chunks - 1) * 16, 16);
        if (chunks == 5)
            blm_avx512_value_tile(a, type, i, queries, j0, j1, d, 5, n, p, stride);
        else if (chunks == 4)
            blm_avx512_value_tile(a, type, i, queries, j0, j1, d, 4, n, p, stride);
        else if (chunks == 3)
            blm_avx512_value_tile(a, type, i, queries, j0, j1, d, 3, n, p, stride);
        else
            blm_avx512_value_tile(a, type, i, queries, j0, j1, d, 1, n, p, stride);
        d += chunks * 16;
    }
}

/* Queries [i, i + queries). Where each sees one key more than the one before, the keys that
 * all see are taken together, and each query's own ones after them. */
BLM_AVX512_INLINE void blm_avx512_attend_group(const blm_attend_args *a, uint32_t type,
                                               uint32_t i, uint32_t queries)
{
    uint32_t shared = a->keys + i * a->keys_step, most = shared + (queries - 1) * a->keys_step;
    size_t stride = ((size_t)most + 15) / 16 * 16;
    for (uint32_t j = 0; j < most; j += 16 / queries)
        blm_avx512_score_tile(a, type, i, queries, j, most - 1, stride);
    if (type == BLM_AVX512_INT8)
        blm_avx512_apply_scales(a->scores, stride, queries, most, a->k_scale,
                                a->k_scale_stride);
    for (uint32_t t = 0; t < queries; t++)
        blm_avx512_softmax(a->scores + t * stride, shared + t * a->keys_step);
    if (type == BLM_AVX512_INT8)
        blm_avx512_apply_scales(a->scores, stride, queries, most, a->v_scale,
                                a->v_scale_stride);
    blm_avx512_values(a, type, i, queries, 0, shared, a->scores, stride);
    for (uint32_t t = 1; t < queries && a->keys_step; t++)
        blm_avx512_values(a, type, i + t, 1, shared, shared + t * a->keys_step,
                          a->scores + t * stride, stride);
}

BLM_AVX512_INLINE void blm_avx512_attend(const blm_attend_args *a, uint32_t type)
{
    uint32_t i = 0;
    for (; i + BLM_AVX512_QUERIES <= a->queries; i += BLM_AVX512_QUERIES)
        blm_avx512_attend_group(a, type, i, BLM_AVX512_QUERIES);
    for (; i < a->queries; i++)
        blm_avx512_attend_group(a, type, i, 1);
}

BLM_AVX512 void blm_avx512_attend_f32(const blm_attend_args *a)
{
    blm_avx512_attend(a, BLM_F32);
}

BLM_AVX512 void blm_avx512_attend_f16(const blm_attend_args *a)
{
    blm_avx512_attend(a, BLM_F16);
}

BLM_AVX512 void blm_avx512_attend_q8(const blm_attend_args *a)
{
    blm_avx512_attend(a, BLM_AVX512_INT8);
}

/* ---- The table ----------------------------------------------------------------------- */

BLM_PRIVATE void blm_kernels_avx512(blm_kernels *k)
{
    k->name = "avx512";
    k->matmul8[BLM_F32] = k->matmul16[BLM_F32] = blm_avx512_matmul_f32;
    k->matmul8[BLM_F16] = k->matmul16[BLM_F16] = blm_avx512_matmul_f16;
    k->matmul8[BLM_BF16] = k->matmul16[BLM_BF16] = blm_avx512_matmul_bf16;
    k->matmul8[BLM_Q4_0] = blm_avx512_matmul8_q4_0;
    k->matmul8[BLM_Q8_0] = blm_avx512_matmul8_q8_0;
    k->matmul8[BLM_Q4_K] = blm_avx512_matmul8_q4_k;
    k->matmul8[BLM_Q6_K] = blm_avx512_matmul8_q6_k;
    if (blm_cpu_has_vbmi()) k->matmul8[BLM_Q4_0] = blm_avx512_matmul8_q4_0_vbmi;
    k->quantize8 = blm_avx512_quantize8;
    k->gelu_tanh = blm_avx512_gelu_tanh;
    k->gelu_quick = blm_avx512_gelu_quick;
    k->silu = blm_avx512_silu;
    k->silu_mul = blm_avx512_silu_mul;
    k->softmax = blm_avx512_softmax;
    k->attend_f32 = blm_avx512_attend_f32;
    k->attend_f16 = blm_avx512_attend_f16;
    k->attend_q8 = blm_avx512_attend_q8;
}

#endif
