/* AVX-512 products with one token: decode. Each weight is read once, where it lies, four
 * rows at a time, with requests for memory running one group of rows ahead; lanes run along
 * k. Weights are made unsigned, as the dot-product instruction wants its first factor:
 * w = q - zero. The sums of the activations take the zero off again. */
#include "avx512.h"

#if defined(__x86_64__) || defined(__i386__)

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

/* ---- One token, Q4_0 with free permutations of bytes ----------------------------------- */

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

BLM_PRIVATE BLM_AVX512_VBMI void blm_avx512_matmul_one_q4_0_vbmi(const blm_matmul_args *a,
                                                                 uint64_t row0, uint64_t row1)
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

/* ---- One token, float weights ---------------------------------------------------------- */

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

/* ---- By type --------------------------------------------------------------------------- */

BLM_PRIVATE BLM_AVX512 void blm_avx512_matmul_one(const blm_matmul_args *a, uint64_t row0,
                                                  uint64_t row1)
{
    switch (a->w->type) {
    case BLM_Q4_0:
        blm_avx512_one_token(a, row0, row1, BLM_Q4_0);
        break;
    case BLM_Q8_0:
        blm_avx512_one_token(a, row0, row1, BLM_Q8_0);
        break;
    case BLM_Q4_K:
        blm_avx512_one_token(a, row0, row1, BLM_Q4_K);
        break;
    case BLM_Q6_K:
        blm_avx512_one_token(a, row0, row1, BLM_Q6_K);
        break;
    case BLM_F32:
        blm_avx512_float_one(a, row0, row1, BLM_F32);
        break;
    case BLM_F16:
        blm_avx512_float_one(a, row0, row1, BLM_F16);
        break;
    default:
        blm_avx512_float_one(a, row0, row1, BLM_BF16);
    }
}

#endif
