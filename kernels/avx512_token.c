/* AVX-512 products with one token: decode. Each weight is read once, where it lies, with
 * requests for memory running ahead. Sixteen blocks of 32 at a time come down to sixteen
 * integers, exactly, and from there on lanes are blocks; what they give with sixteen rows is
 * turned, so that lanes are rows, and added block by block. Weights are made unsigned, as the
 * dot-product instruction wants its first factor: w = q - zero. The sums of the activations
 * take the zero off again. */
#include "avx512.h"

#ifdef BLM_HAVE_X86

/* How far ahead of the weights memory is asked for, in bytes. */
enum { BLM_AVX512_STREAM_AHEAD = 7168 };

/* Asks for `bytes` of what follows b at that distance: known ones, and those of a row's end. */
BLM_AVX512_INLINE void blm_avx512_ahead(const uint8_t *b, uint32_t bytes)
{
    const uint8_t *p = (const uint8_t *)((uintptr_t)b + BLM_AVX512_STREAM_AHEAD);
    BLM_AVX512_UNROLL
    for (uint32_t at = 0; at < bytes; at += 64)
        blm_avx512_ask((const void *)((uintptr_t)p + at), 1);
}

BLM_AVX512_INLINE void blm_avx512_end_ahead(const uint8_t *b, uint32_t bytes)
{
    blm_avx512_ask((const void *)((uintptr_t)b + BLM_AVX512_STREAM_AHEAD), bytes);
}

/* ---- Sums of rows ---------------------------------------------------------------------- */

/* Rows that are put together at once. */
enum { BLM_AVX512_ROWS = 16 };

/* The strips of a stretch of float weights. */
typedef float blm_avx512_strips[BLM_AVX512_ROWS][BLM_AVX512_LANES];

/* What sixteen blocks give with each of the rows. */
typedef float blm_avx512_given[BLM_AVX512_ROWS][BLM_AVX512_LANES];

/* Turns sixteen rows of sixteen into columns. */
BLM_AVX512_INLINE void blm_avx512_turn16(float (*rows)[16], __m512 *out)
{
    __m512 t[4][4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512 a = _mm512_loadu_ps(rows[4 * i]), b = _mm512_loadu_ps(rows[4 * i + 1]);
        __m512 c = _mm512_loadu_ps(rows[4 * i + 2]), d = _mm512_loadu_ps(rows[4 * i + 3]);
        __m512 ab = _mm512_unpacklo_ps(a, b), cd = _mm512_unpacklo_ps(c, d);
        t[i][0] = _mm512_shuffle_ps(ab, cd, 0x44);
        t[i][1] = _mm512_shuffle_ps(ab, cd, 0xEE);
        ab = _mm512_unpackhi_ps(a, b), cd = _mm512_unpackhi_ps(c, d);
        t[i][2] = _mm512_shuffle_ps(ab, cd, 0x44);
        t[i][3] = _mm512_shuffle_ps(ab, cd, 0xEE);
    }
    BLM_AVX512_UNROLL
    for (int e = 0; e < 4; e++) {
        __m512 a = _mm512_shuffle_f32x4(t[0][e], t[1][e], 0x44);
        __m512 b = _mm512_shuffle_f32x4(t[0][e], t[1][e], 0xEE);
        __m512 c = _mm512_shuffle_f32x4(t[2][e], t[3][e], 0x44);
        __m512 d = _mm512_shuffle_f32x4(t[2][e], t[3][e], 0xEE);
        out[e] = _mm512_shuffle_f32x4(a, c, 0x88);
        out[4 + e] = _mm512_shuffle_f32x4(a, c, 0xDD);
        out[8 + e] = _mm512_shuffle_f32x4(b, d, 0x88);
        out[12 + e] = _mm512_shuffle_f32x4(b, d, 0xDD);
    }
}

/* The sums of rows from the strips of all stretches. */
BLM_AVX512_INLINE __m512 blm_avx512_sum_rows(blm_avx512_strips *strips, uint32_t stretches)
{
    __m512 all = _mm512_setzero_ps();
    for (uint32_t s = 0; s < stretches; s++) {
        __m512 strip[BLM_AVX512_LANES];
        blm_avx512_turn16(strips[s], strip);
        BLM_AVX512_UNROLL
        for (int p = 1; p < BLM_AVX512_LANES; p++)
            strip[0] = _mm512_add_ps(strip[0], strip[p]);
        all = s ? _mm512_add_ps(all, strip[0]) : strip[0];
    }
    return all;
}

/* y of `count` rows. */
BLM_AVX512 static void blm_avx512_put_strips(float *y, uint64_t count,
                                             blm_avx512_strips *strips, uint32_t stretches)
{
    _mm512_mask_storeu_ps(y, blm_avx512_mask(BLM_MIN(count, BLM_AVX512_ROWS)),
                          blm_avx512_sum_rows(strips, stretches));
}

/* ---- Sixteen blocks: activations ------------------------------------------------------- */

/* Of 16 blocks that follow each other, the one whose sum the products of a type leave in lane p:
 * see blm_avx512_totals. */
static inline uint32_t blm_avx512_block_of(uint32_t type, uint32_t p)
{
    if (type == BLM_Q4_K || type == BLM_Q5_K) return p / 2 % 2 * 8 + p / 4 * 2 + p % 2;
    if (type == BLM_Q6_K) return p / 8 * 8 + p % 4 * 2 + p / 4 % 2;
    if (type == BLM_Q2_K || type == BLM_Q3_K) return p;
    return p % 4 * 4 + p / 4;
}

/* Of what the products of a type make of sixteen blocks, n, four lanes for each of four blocks
 * or halves of blocks in a vector, the sums of the blocks: lane p holds block
 * blm_avx512_block_of(type, p); where halves have scales of their own, of the first and of
 * the last halves. */
BLM_AVX512_INLINE __m512i blm_avx512_add_lanes(const __m512i *n)
{
    __m512i a =
        _mm512_add_epi32(_mm512_unpacklo_epi32(n[0], n[1]), _mm512_unpackhi_epi32(n[0], n[1]));
    __m512i b =
        _mm512_add_epi32(_mm512_unpacklo_epi32(n[2], n[3]), _mm512_unpackhi_epi32(n[2], n[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

BLM_AVX512_INLINE void blm_avx512_totals(uint32_t type, const __m512i *n, __m512i *total)
{
    total[0] = blm_avx512_add_lanes(n);
    if (!blm_type_is_halved(type)) return;
    __m512i last = blm_avx512_add_lanes(n + 4);
    total[1] = _mm512_shuffle_i32x4(total[0], last, 0xDD);
    total[0] = _mm512_shuffle_i32x4(total[0], last, 0x88);
}

/* Whether a vector of weights is two whole blocks, in order of k. */
BLM_AVX512_INLINE int blm_avx512_by_two(uint32_t type)
{
    return type == BLM_Q5_0 || type == BLM_Q5_1 || type == BLM_Q8_0;
}

/* Four blocks out of vectors of two whole ones. */
BLM_AVX512_INLINE __m512i blm_avx512_join_halves(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
}

/* Sixteen blocks of activations: q as the products of a type take them; by lane, for first
 * and last halves where these differ, -zero times the sums of q, and what the mins are to be
 * multiplied with. */
typedef struct blm_avx512_acts {
    __m512i q[8], offset[2];
    __m512 mins[2];
} blm_avx512_acts;

/* Puts pieces of 16 activations, which come in order of k, beside each other as the type's
 * weights lie. */
BLM_AVX512_INLINE void blm_avx512_arrange(uint32_t type, __m512i *v)
{
    if (blm_avx512_by_two(type) || type == BLM_Q6_K) return;
    BLM_AVX512_UNROLL
    for (int s = 0; s < 8; s += 4) {
        if (type == BLM_Q2_K || type == BLM_Q3_K) { /* blocks i and i + 4 */
            __m512i a = v[s], b = v[s + 1];
            v[s] = _mm512_shuffle_i32x4(a, v[s + 2], 0x44);
            v[s + 1] = _mm512_shuffle_i32x4(a, v[s + 2], 0xEE);
            v[s + 2] = _mm512_shuffle_i32x4(b, v[s + 3], 0x44);
            v[s + 3] = _mm512_shuffle_i32x4(b, v[s + 3], 0xEE);
            continue;
        }
        __m512i a = _mm512_shuffle_i32x4(v[s], v[s + 1], 0x88);     /* first halves of four */
        __m512i b = _mm512_shuffle_i32x4(v[s], v[s + 1], 0xDD);     /* last halves          */
        __m512i c = _mm512_shuffle_i32x4(v[s + 2], v[s + 3], 0x88); /* of the next four     */
        __m512i d = _mm512_shuffle_i32x4(v[s + 2], v[s + 3], 0xDD);
        if (type == BLM_Q4_K || type == BLM_Q5_K) { /* even blocks, then odd ones */
            v[s] = _mm512_shuffle_i32x4(a, c, 0x88);
            v[s + 1] = _mm512_shuffle_i32x4(b, d, 0x88);
            v[s + 2] = _mm512_shuffle_i32x4(a, c, 0xDD);
            v[s + 3] = _mm512_shuffle_i32x4(b, d, 0xDD);
        } else {
            v[s] = a, v[s + 1] = b, v[s + 2] = c, v[s + 3] = d;
        }
    }
}

/* The products of weights w of one type, in the order in which activations are arranged; with
 * `eight` those of the first eight blocks alone. */
BLM_AVX512_INLINE void blm_avx512_multiply(uint32_t type, int eight, const __m512i *w,
                                           const __m512i *q, __m512i *n)
{
    const __m512i zero = _mm512_setzero_si512();
    if (blm_type_is_halved(type)) {
        BLM_AVX512_UNROLL
        for (int i = 0; i < 8; i++)
            n[i] = eight && i > 3 ? zero : _mm512_dpbusd_epi32(zero, w[i], q[i]);
        return;
    }
    const int fours = eight ? 2 : 4;
    n[2] = n[3] = zero;
    BLM_AVX512_UNROLL
    for (int g = 0; g < fours; g++) {
        n[g] = _mm512_dpbusd_epi32(zero, w[2 * g], q[2 * g]);
        if (blm_avx512_by_two(type))
            n[g] = blm_avx512_join_halves(
                n[g], _mm512_dpbusd_epi32(zero, w[2 * g + 1], q[2 * g + 1]));
        else
            n[g] = _mm512_dpbusd_epi32(n[g], w[2 * g + 1], q[2 * g + 1]);
    }
}

/* The first n of 64 bytes; n may lie outside 0..64. */
BLM_AVX512_INLINE __mmask64 blm_avx512_bytes(int64_t n)
{
    return n >= 64 ? ~(__mmask64)0 : n <= 0 ? 0 : ((__mmask64)1 << n) - 1;
}

/* Blocks [i, i + 16) of a token, zeros after the last one. */
BLM_AVX512_INLINE void blm_avx512_acts_of_16(uint32_t type, const blm_acts *x, uint32_t i,
                                             blm_avx512_acts *out)
{
    const uint32_t left = BLM_MIN(x->cols / 32 - i, BLM_AVX512_LANES);
    const int8_t *q = x->q + (size_t)i * 32;
    __m512i v[8], ones[8], n[8], sum[2];
    BLM_AVX512_UNROLL
    for (int g = 0; g < 8; g++) {
        v[g] =
            _mm512_maskz_loadu_epi8(blm_avx512_bytes((int64_t)left * 32 - g * 64), q + g * 64);
        ones[g] = _mm512_set1_epi8(1);
    }
    blm_avx512_arrange(type, v);
    BLM_AVX512_UNROLL
    for (int g = 0; g < 8; g++)
        out->q[g] = v[g];
    blm_avx512_multiply(type, 0, ones, v, n);
    blm_avx512_totals(type, n, sum);
    BLM_AVX512_UNROLL
    for (int h = 0; h < 1 + blm_type_is_halved(type); h++) {
        out->offset[h] =
            _mm512_mullo_epi32(sum[h], _mm512_set1_epi32(-(int32_t)blm_avx512_zero(type)));
        out->mins[h] = _mm512_cvtepi32_ps(sum[h]);
        if (blm_avx512_in_256(type)) /* whose mins are taken off */
            out->mins[h] = _mm512_sub_ps(_mm512_setzero_ps(), out->mins[h]);
    }
}

/* ---- Sixteen blocks: weights ----------------------------------------------------------- */

/* Adds `size` to byte j of the lower half of v where bit j of the word at b is set, and of the
 * upper half by the word at next. */
BLM_AVX512_INLINE __m512i blm_avx512_add_bits(__m512i v, const uint8_t *b, const uint8_t *next,
                                              char size)
{
    const __mmask64 set = blm_load_u32(b) | (uint64_t)blm_load_u32(next) << 32;
    return _mm512_mask_add_epi8(v, set, v, _mm512_set1_epi8(size));
}

BLM_AVX512_INLINE __m512i blm_avx512_bytes32(const uint8_t *b, const uint8_t *next)
{
    __m512i v = _mm512_castsi256_si512(blm_avx512_load32(b));
    return _mm512_inserti64x4(v, blm_avx512_load32(next), 1);
}

/* Blocks of 32 in a row: where the first of them is, and how many there are. In place of one
 * past the end the last one is read, in vain. Or blocks of several rows, that far from b. */
typedef struct blm_avx512_run {
    const uint8_t *b;
    uint32_t left;
    const size_t *at;
} blm_avx512_run;

BLM_AVX512_INLINE const uint8_t *blm_avx512_run_at(uint32_t type, blm_avx512_run r, uint32_t i)
{
    if (r.at) return r.b + r.at[i];
    return r.b + (r.left < BLM_AVX512_LANES ? BLM_MIN(i, r.left - 1) : i) *
                     (size_t)blm_type_bytes(type);
}

/* The 16 bytes that end blocks i to i + 3. */
BLM_AVX512_INLINE __m512i blm_avx512_four_ends(uint32_t type, blm_avx512_run r, uint32_t i)
{
    const size_t at = blm_type_bytes(type) - 16;
    __m512i v = _mm512_castsi128_si512(blm_avx512_load16(blm_avx512_run_at(type, r, i) + at));
    v = _mm512_inserti32x4(v, blm_avx512_load16(blm_avx512_run_at(type, r, i + 1) + at), 1);
    v = _mm512_inserti32x4(v, blm_avx512_load16(blm_avx512_run_at(type, r, i + 2) + at), 2);
    return _mm512_inserti32x4(v, blm_avx512_load16(blm_avx512_run_at(type, r, i + 3) + at), 3);
}

BLM_AVX512_INLINE __m512i blm_avx512_low_nibbles(__m512i v)
{
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

BLM_AVX512_INLINE __m512i blm_avx512_high_nibbles(__m512i v)
{
    return blm_avx512_low_nibbles(_mm512_srli_epi16(v, 4));
}

/* What nibbles of a type stand for. */
BLM_AVX512_INLINE __m512i blm_avx512_values_of(uint32_t type, __m512i nibbles)
{
    if (type == BLM_IQ4_NL || type == BLM_IQ4_XS) return blm_avx512_iq4(nibbles);
    if (type == BLM_MXFP4) return blm_avx512_mxfp4(nibbles);
    return nibbles;
}

/* The q of the 16 bytes of nibbles of four blocks, first halves and last ones. */
BLM_AVX512_INLINE void blm_avx512_unpack_four(uint32_t type, __m512i v, __m512i *w)
{
    w[0] = blm_avx512_values_of(type, blm_avx512_low_nibbles(v));
    w[1] = blm_avx512_values_of(type, blm_avx512_high_nibbles(v));
}

/* Two blocks, at b and at next, of a type that is taken by two. */
BLM_AVX512_INLINE __m512i blm_avx512_unpack_two(uint32_t type, const uint8_t *b,
                                                const uint8_t *next)
{
    const __m512i shift = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    const uint32_t at = type == BLM_Q5_0 ? 6 : 8;
    if (type == BLM_Q8_0)
        return _mm512_xor_si512(blm_avx512_bytes32(b + 2, next + 2), _mm512_set1_epi8(-128));
    __m512i v = _mm512_broadcast_i32x4(blm_avx512_load16(b + at));
    v = _mm512_mask_broadcast_i32x4(v, 0xFF00, blm_avx512_load16(next + at));
    v = blm_avx512_low_nibbles(_mm512_srlv_epi64(v, shift));
    return blm_avx512_add_bits(v, b + at - 4, next + at - 4, 16);
}

/* Adds `size` to the bytes of w that have one of the given bits set in v. */
BLM_AVX512_INLINE __m512i blm_avx512_add_where(__m512i w, __m512i v, __m512i bits, char size)
{
    return _mm512_mask_add_epi8(w, _mm512_test_epi8_mask(v, bits), w, _mm512_set1_epi8(size));
}

/* A block of 256 of Q4_K or Q5_K: even blocks of 32, in low nibbles, then odd ones; of each
 * four first halves and four last ones. */
BLM_AVX512_INLINE void blm_avx512_unpack_q4_k(uint32_t type, const uint8_t *b, __m512i *w)
{
    const uint8_t *p = b + (type == BLM_Q5_K ? 48 : 16);
    __m512i v = _mm512_loadu_si512(p), last = _mm512_loadu_si512(p + 64);
    BLM_AVX512_UNROLL
    for (int h = 0; h < 2; h++) {
        __m512i both =
            h ? _mm512_shuffle_i32x4(v, last, 0xDD) : _mm512_shuffle_i32x4(v, last, 0x88);
        w[h] = blm_avx512_low_nibbles(both);
        w[2 + h] = blm_avx512_high_nibbles(both);
        if (type != BLM_Q5_K) continue;
        const __m512i bits = _mm512_broadcast_i32x4(blm_avx512_load16(b + 16 + 16 * h));
        const __m512i even = _mm512_set_epi64(
            0x4040404040404040, 0x4040404040404040, 0x1010101010101010, 0x1010101010101010,
            0x0404040404040404, 0x0404040404040404, 0x0101010101010101, 0x0101010101010101);
        w[h] = blm_avx512_add_where(w[h], bits, even, 16);
        w[2 + h] = blm_avx512_add_where(w[2 + h], bits, _mm512_add_epi8(even, even), 16);
    }
}

/* A block of 256 of Q2_K or Q3_K: blocks i and i + 4, i = 0..3. Of Q3_K the third bits come
 * first, of block i bit i of 32 bytes. */
BLM_AVX512_INLINE void blm_avx512_unpack_q2_k(uint32_t type, const uint8_t *b, __m512i *w)
{
    const __m512i v = _mm512_loadu_si512(b + (type == BLM_Q3_K ? 32 : 16));
    const __m512i one =
        _mm512_mask_mov_epi32(_mm512_set1_epi8(1), 0xFF00, _mm512_set1_epi8(16));
    __m512i bits = _mm512_setzero_si512();
    if (type == BLM_Q3_K) bits = _mm512_broadcast_i64x4(blm_avx512_load32(b));
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m128i pair = _mm_cvtsi32_si128(2 * i), bit = _mm_cvtsi32_si128(i);
        w[i] = _mm512_and_si512(_mm512_srl_epi16(v, pair), _mm512_set1_epi8(3));
        if (type == BLM_Q3_K)
            w[i] = blm_avx512_add_where(w[i], bits, _mm512_sll_epi16(one, bit), 4);
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

/* Blocks g, g + 1, .. of a run, unsigned: of those by two four, else two vectors. */
BLM_AVX512_INLINE void blm_avx512_unpack_run(uint32_t type, blm_avx512_run r, uint32_t i,
                                             __m512i *w)
{
    if (!blm_avx512_by_two(type)) {
        blm_avx512_unpack_four(type, blm_avx512_four_ends(type, r, i), w);
        return;
    }
    w[0] = blm_avx512_unpack_two(type, blm_avx512_run_at(type, r, i),
                                 blm_avx512_run_at(type, r, i + 1));
    w[1] = blm_avx512_unpack_two(type, blm_avx512_run_at(type, r, i + 2),
                                 blm_avx512_run_at(type, r, i + 3));
}

/* A block of 256, unsigned. */
BLM_AVX512_INLINE void blm_avx512_unpack_256(uint32_t type, const uint8_t *b, __m512i *w)
{
    if (type == BLM_Q4_K || type == BLM_Q5_K) {
        blm_avx512_unpack_q4_k(type, b, w);
    } else if (type == BLM_IQ4_XS) {
        blm_avx512_unpack_four(type, _mm512_loadu_si512(b + 8), w);
        blm_avx512_unpack_four(type, _mm512_loadu_si512(b + 72), w + 2);
    } else if (type == BLM_Q6_K) {
        BLM_AVX512_UNROLL
        for (int j = 0; j < 4; j++)
            w[j] = blm_avx512_q6_k_64(b, j);
    } else {
        blm_avx512_unpack_q2_k(type, b, w);
    }
}

/* ---- Sixteen blocks: factors ----------------------------------------------------------- */

/* The f16 at one place of sixteen blocks, by lane. Put together outside the
 * vector units, which have enough to do. */
BLM_AVX512_INLINE __m512 blm_avx512_lane_halves(uint32_t type, blm_avx512_run r, uint32_t at)
{
    uint64_t four[4] = {0};
    BLM_AVX512_UNROLL
    for (uint32_t p = 0; p < BLM_AVX512_LANES; p++)
        four[p / 4] |= (uint64_t)blm_load_u16(
                           blm_avx512_run_at(type, r, blm_avx512_block_of(type, p)) + at)
                       << p % 4 * 16;
    return _mm512_cvtph_ps(_mm256_setr_epi64x((long long)four[0], (long long)four[1],
                                              (long long)four[2], (long long)four[3]));
}

/* MXFP4's scales by lane: see blm_scale_mxfp4. */
BLM_AVX512_INLINE __m512 blm_avx512_lane_powers(blm_avx512_run r)
{
    uint32_t four[4] = {0};
    BLM_AVX512_UNROLL
    for (uint32_t p = 0; p < BLM_AVX512_LANES; p++)
        four[p / 4] |=
            (uint32_t)*blm_avx512_run_at(BLM_MXFP4, r, blm_avx512_block_of(BLM_MXFP4, p))
            << p % 4 * 8;
    __m128i bytes = _mm_setr_epi32((int)four[0], (int)four[1], (int)four[2], (int)four[3]);
    __m512i e = _mm512_cvtepu8_epi32(bytes);
    __m512i bits = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    __mmask16 tiny = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
    bits = _mm512_mask_sllv_epi32(bits, tiny, _mm512_set1_epi32(0x00200000), e);
    return _mm512_castsi512_ps(bits);
}

/* The f16 at `at` in the blocks of 256 at b and next, where their lanes are. */
BLM_AVX512_INLINE __m512 blm_avx512_two_f16(uint32_t type, const uint8_t *b,
                                            const uint8_t *next, size_t at)
{
    const int in_turn = !blm_type_is_halved(type); /* by two lanes, else by eight */
    __m256i d = _mm256_set1_epi16((short)blm_load_u16(b + at));
    d = _mm256_mask_mov_epi16(d, in_turn ? 0xCCCC : 0xFF00,
                              _mm256_set1_epi16((short)blm_load_u16(next + at)));
    return _mm512_cvtph_ps(d);
}

/* IQ4_XS's scales as numbers, by lane. */
BLM_AVX512_INLINE __m512i blm_avx512_numbers_iq4_xs(const uint8_t *b, const uint8_t *next)
{
    const __m512i four =
        _mm512_setr_epi32(0, 16, 0, 16, 4, 20, 4, 20, 8, 24, 8, 24, 12, 28, 12, 28);
    const __mmask16 last = 0xCCCC;
    __m512i low = _mm512_set1_epi32((int)blm_load_u32(b + 4));
    __m512i high = _mm512_set1_epi32(blm_load_u16(b + 2));
    low = _mm512_mask_set1_epi32(low, last, (int)blm_load_u32(next + 4));
    high = _mm512_mask_set1_epi32(high, last, blm_load_u16(next + 2));
    low = _mm512_srlv_epi32(low, four);
    high = _mm512_srlv_epi32(high, _mm512_srli_epi32(four, 1));
    low = _mm512_and_si512(low, _mm512_set1_epi32(15));
    high = _mm512_slli_epi32(_mm512_and_si512(high, _mm512_set1_epi32(3)), 4);
    return _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32));
}

/* The 16 scales of a block of 256 as bytes. */
BLM_AVX512_INLINE __m128i blm_avx512_scales_256(uint32_t type, const uint8_t *b)
{
    if (type != BLM_Q3_K) return blm_avx512_load16(b + (type == BLM_Q6_K ? 192 : 0));
    const __m128i four = _mm_set1_epi8(15), top = _mm_set1_epi8(0x30);
    const int high = (int)blm_load_u32(b + 104); /* as blm_scales_q3_k says */
    __m128i low = _mm_loadl_epi64((const __m128i *)(const void *)(b + 96));
    low = _mm_and_si128(_mm_unpacklo_epi64(low, _mm_srli_epi16(low, 4)), four);
    __m128i v = _mm_sllv_epi32(_mm_set1_epi32(high), _mm_setr_epi32(4, 2, 0, 0));
    v = _mm_and_si128(_mm_srlv_epi32(v, _mm_setr_epi32(0, 0, 0, 2)), top);
    return _mm_sub_epi8(_mm_or_si128(low, v), _mm_set1_epi8(32));
}

/* Scales of halves by lane, as bytes: of first halves, then of last ones. */
BLM_AVX512_INLINE void blm_avx512_lane_scales(uint32_t type, const uint8_t *b,
                                              const uint8_t *next, __m128i *out)
{
    const __m128i order =
        type == BLM_Q6_K ? _mm_setr_epi8(0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15)
                         : _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    __m128i v = _mm_shuffle_epi8(blm_avx512_scales_256(type, b), order);
    __m128i w = _mm_shuffle_epi8(blm_avx512_scales_256(type, next), order);
    out[0] = _mm_unpacklo_epi64(v, w);
    out[1] = _mm_unpackhi_epi64(v, w);
}

/* What the sixteen blocks of 32 at b and next are multiplied with, by lane and half, and their
 * mins. */
BLM_AVX512_INLINE void blm_avx512_factors_256(uint32_t type, const uint8_t *b,
                                              const uint8_t *next, __m512 *scale, __m512 *mins)
{
    const size_t at = type == BLM_Q6_K   ? 208
                      : type == BLM_Q3_K ? 108
                      : type == BLM_Q2_K ? 80
                                         : 0;
    const __m512 d = blm_avx512_two_f16(type, b, next, at);
    __m512 dmin = _mm512_setzero_ps();
    __m128i v[2];
    if (blm_type_has_min(type)) dmin = blm_avx512_two_f16(type, b, next, at + 2);
    if (type == BLM_IQ4_XS) {
        scale[0] = _mm512_mul_ps(_mm512_cvtepi32_ps(blm_avx512_numbers_iq4_xs(b, next)), d);
    } else if (!blm_type_is_halved(type)) {
        __m128i even = blm_avx512_q4_k_scales(b), odd = blm_avx512_q4_k_scales(next);
        v[0] = _mm_unpacklo_epi16(even, odd);
        v[1] = _mm_unpackhi_epi16(even, odd);
        scale[0] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(v[0])), d);
        mins[0] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(v[1])), dmin);
    } else {
        blm_avx512_lane_scales(type, b, next, v);
        BLM_AVX512_UNROLL
        for (int h = 0; h < 2; h++) {
            __m512i q = _mm512_cvtepi8_epi32(v[h]);
            if (type == BLM_Q2_K) {
                __m512i high = _mm512_srli_epi32(_mm512_cvtepu8_epi32(v[h]), 4);
                mins[h] = _mm512_mul_ps(_mm512_cvtepi32_ps(high), dmin);
                q = _mm512_and_si512(q, _mm512_set1_epi32(15));
            }
            scale[h] = _mm512_mul_ps(_mm512_cvtepi32_ps(q), d);
        }
    }
}

/* ---- Rows of quantised weights --------------------------------------------------------- */

/* What sixteen blocks give, by lane: a run, or the blocks of 256 at b and next. */
BLM_AVX512_INLINE __m512 blm_avx512_products(uint32_t type, const __m512i *n,
                                             const __m512 *scale, const __m512 *mins,
                                             const blm_avx512_acts *x)
{
    const uint32_t parts = blm_type_is_halved(type) ? 2 : 1;
    __m512 c = _mm512_setzero_ps();
    __m512i total[2];
    blm_avx512_totals(type, n, total);
    BLM_AVX512_UNROLL
    for (uint32_t h = 0; h < parts; h++) {
        if (!blm_type_has_min(type)) total[h] = _mm512_add_epi32(total[h], x->offset[h]);
        c = blm_avx512_part(h, total[h], scale[h], c);
    }
    BLM_AVX512_UNROLL
    for (uint32_t h = 0; h < parts; h++)
        if (blm_type_has_min(type)) c = _mm512_fmadd_ps(mins[h], x->mins[h], c);
    return c;
}

/* Of a run of up to sixteen blocks. */
BLM_AVX512_INLINE void blm_avx512_step_run(uint32_t type, uint32_t acts, blm_avx512_run r,
                                           const blm_avx512_acts *x, __m512 *c)
{
    __m512i w[8], n[4];
    __m512 scale, mins = _mm512_setzero_ps();
    BLM_AVX512_UNROLL
    for (uint32_t g = 0; g < 4; g++)
        blm_avx512_unpack_run(type, r, 4 * g, w + 2 * g);
    scale = type == BLM_MXFP4 ? blm_avx512_lane_powers(r) : blm_avx512_lane_halves(type, r, 0);
    if (blm_type_has_min(type)) mins = blm_avx512_lane_halves(type, r, 2);
    BLM_AVX512_UNROLL
    for (uint32_t d = 0; d < acts; d++) {
        blm_avx512_multiply(type, 0, w, x[d].q, n);
        c[d] = blm_avx512_products(type, n, &scale, &mins, x + d);
    }
}

/* Of the blocks of 256 at b and next; with `eight` the second is read in vain. */
BLM_AVX512_INLINE void blm_avx512_step_256(uint32_t type, uint32_t acts, int eight,
                                           const uint8_t *b, const uint8_t *next,
                                           const blm_avx512_acts *x, __m512 *c)
{
    __m512i w[8], n[8];
    __m512 scale[2], mins[2];
    blm_avx512_unpack_256(type, b, w);
    if (!eight) blm_avx512_unpack_256(type, next, w + 4);
    blm_avx512_factors_256(type, b, next, scale, mins);
    BLM_AVX512_UNROLL
    for (uint32_t d = 0; d < acts; d++) {
        blm_avx512_multiply(type, eight, w, x[d].q, n);
        c[d] = blm_avx512_products(type, n, scale, mins, x + d);
    }
}

/* The ends of rows, up to eight blocks that do not fill sixteen: a step takes those of several
 * rows, which follow each other. */
typedef struct blm_avx512_ends {
    uint32_t rest, rows;               /* blocks of a row; rows of a step, or 0: no ends */
    size_t at[BLM_AVX512_LANES];       /* of a step's blocks, from the first row's       */
    int32_t from[8][BLM_AVX512_LANES]; /* of a block of rows, among what steps give      */
} blm_avx512_ends;

/* Places of the blocks of a step of which `rows` rows are real: in place of others the last. */
static void blm_avx512_places(uint32_t type, uint32_t rest, uint64_t rows, size_t row_bytes,
                              size_t *at)
{
    for (uint32_t i = 0; i < BLM_AVX512_LANES; i++)
        at[i] = (size_t)BLM_MIN(i / rest, rows - 1) * row_bytes +
                i % rest * (size_t)blm_type_bytes(type);
}

BLM_AVX512_INLINE void blm_avx512_take_ends(uint32_t type, const blm_matmul_args *a,
                                            blm_avx512_ends *e)
{
    uint32_t lane[BLM_AVX512_LANES];
    e->rest = a->x->cols / 32 % BLM_AVX512_LANES;
    e->rows = 0;
    if (e->rest == 0 || e->rest > 8 || blm_avx512_in_256(type)) return;
    e->rows = BLM_AVX512_LANES / e->rest;
    blm_avx512_places(type, e->rest, e->rows, (size_t)a->w->row_bytes, e->at);
    for (uint32_t p = 0; p < BLM_AVX512_LANES; p++)
        lane[blm_avx512_block_of(type, p)] = p;
    for (uint32_t b = 0; b < e->rest; b++)
        for (uint32_t r = 0; r < BLM_AVX512_ROWS; r++)
            e->from[b][r] =
                (int32_t)(r / e->rows * BLM_AVX512_LANES + lane[r % e->rows * e->rest + b]);
}

/* A product with one token, whose activations are one row, or two (int16). */
typedef struct blm_avx512_token {
    blm_avx512_acts *x;      /* of each sixteen blocks, row beside row */
    blm_avx512_given *given; /* the same, with rows of weights         */
    uint32_t blocks, count;  /* count: of sixteens, the last of which may not be whole */
    const blm_avx512_ends *ends;
} blm_avx512_token;

/* The last blocks of a token, once for each row of a step. */
BLM_AVX512_INLINE void blm_avx512_acts_of_ends(uint32_t type, const blm_acts *row,
                                               const blm_avx512_ends *e, blm_avx512_acts *out)
{
    int8_t q[BLM_AVX512_LANES * 32] = {0};
    const blm_acts again = {.cols = sizeof q, .q = q};
    const int8_t *end = row->q + row->cols - e->rest * 32;
    for (uint32_t i = 0; i < e->rows; i++)
        memcpy(q + i * e->rest * 32, end, e->rest * 32);
    blm_avx512_acts_of_16(type, &again, 0, out);
}

BLM_AVX512_INLINE blm_avx512_token blm_avx512_begin(uint32_t type, uint32_t acts,
                                                    const blm_matmul_args *a,
                                                    const blm_avx512_ends *ends)
{
    blm_avx512_token m = {.x = (blm_avx512_acts *)a->scratch, .blocks = a->x->cols / 32};
    m.count = (m.blocks + 15) / 16;
    m.given = (blm_avx512_given *)(void *)(m.x + acts * m.count);
    m.ends = ends;
    memset(m.given, 0, acts * m.count * sizeof *m.given);
    for (uint32_t d = 0; d < acts; d++) {
        blm_acts row = *a->x;
        row.q += d * row.q_stride;
        row.scale += d * row.block_stride;
        row.sum += d * row.block_stride;
        for (uint32_t i = 0; i < m.count; i++)
            blm_avx512_acts_of_16(type, &row, i * BLM_AVX512_LANES, m.x + acts * i + d);
        if (ends->rows)
            blm_avx512_acts_of_ends(type, &row, ends, m.x + acts * (m.count - 1) + d);
    }
    return m;
}

/* What sixteen blocks i of row r of those at hand give. */
BLM_AVX512_INLINE void blm_avx512_put_given(const blm_avx512_token *m, uint32_t acts,
                                            uint32_t i, uint32_t r, const __m512 *c)
{
    BLM_AVX512_UNROLL
    for (uint32_t d = 0; d < acts; d++)
        _mm512_storeu_ps(m->given[acts * i + d][r], c[d]);
}

/* Row r of those at hand. */
BLM_AVX512_INLINE void blm_avx512_row(uint32_t type, uint32_t acts, const blm_avx512_token *m,
                                      const uint8_t *b, uint32_t r)
{
    const size_t block = blm_type_bytes(type);
    const size_t bytes = block * (blm_avx512_in_256(type) ? 2 : BLM_AVX512_LANES);
    const uint32_t rest = m->blocks % BLM_AVX512_LANES;
    __m512 c[2];
    uint32_t i = 0;
    for (; i < m->blocks / BLM_AVX512_LANES; i++, b += bytes) {
        const blm_avx512_run run = {b, BLM_AVX512_LANES, NULL};
        blm_avx512_ahead(b, (uint32_t)bytes);
        if (blm_avx512_in_256(type))
            blm_avx512_step_256(type, acts, 0, b, b + block, m->x + acts * i, c);
        else
            blm_avx512_step_run(type, acts, run, m->x + acts * i, c);
        blm_avx512_put_given(m, acts, i, r, c);
    }
    if (!rest) return;
    blm_avx512_end_ahead(b, (uint32_t)(rest * bytes / BLM_AVX512_LANES));
    if (m->ends->rows) return; /* later, several at once */
    const blm_avx512_run run = {b, rest, NULL};
    if (blm_avx512_in_256(type))
        blm_avx512_step_256(type, acts, 1, b, b, m->x + acts * i, c);
    else
        blm_avx512_step_run(type, acts, run, m->x + acts * i, c);
    blm_avx512_put_given(m, acts, i, r, c);
}

/* The ends of `count` rows from r. */
BLM_AVX512_INLINE void blm_avx512_end_rows(uint32_t type, uint32_t acts,
                                           const blm_avx512_token *m, const blm_matmul_args *a,
                                           uint64_t r, uint64_t count)
{
    const uint32_t whole = m->blocks / BLM_AVX512_LANES, step = m->ends->rows;
    const size_t row_bytes = (size_t)a->w->row_bytes;
    const uint8_t *b =
        a->w->data + r * row_bytes + (size_t)whole * BLM_AVX512_LANES * blm_type_bytes(type);
    size_t at[BLM_AVX512_LANES];
    for (uint32_t i = 0; i * step < count; i++, b += step * row_bytes) {
        const uint64_t left = count - i * step;
        blm_avx512_run run = {b, BLM_AVX512_LANES, m->ends->at};
        __m512 c[2];
        if (left < step) {
            blm_avx512_places(type, m->ends->rest, left, row_bytes, at);
            run.at = at;
        }
        blm_avx512_step_run(type, acts, run, m->x + acts * whole, c);
        blm_avx512_put_given(m, acts, whole, i, c);
    }
}

/* Adds the first `left` of sixteen blocks to the sums of rows, in order, each times the scale of
 * its activations. */
BLM_AVX512_INLINE __m512 blm_avx512_add_given(uint32_t type, blm_avx512_given rows,
                                              const float *scale, uint32_t left, __m512 sum)
{
    uint32_t lane[BLM_AVX512_LANES];
    __m512 c[BLM_AVX512_LANES];
    blm_avx512_turn16(rows, c);
    BLM_AVX512_UNROLL
    for (uint32_t p = 0; p < BLM_AVX512_LANES; p++)
        lane[blm_avx512_block_of(type, p)] = p;
    BLM_AVX512_UNROLL
    for (uint32_t b = 0; b < BLM_AVX512_LANES; b++)
        if (b < left) sum = _mm512_fmadd_ps(c[lane[b]], _mm512_set1_ps(scale[b]), sum);
    return sum;
}

/* The same of the ends of rows. */
BLM_AVX512_INLINE __m512 blm_avx512_add_ends(const blm_avx512_ends *e, blm_avx512_given steps,
                                             const float *scale, __m512 sum)
{
    for (uint32_t b = 0; b < e->rest; b++) {
        const __m512i from = _mm512_loadu_si512(e->from[b]);
        sum =
            _mm512_fmadd_ps(_mm512_i32gather_ps(from, steps, 4), _mm512_set1_ps(scale[b]), sum);
    }
    return sum;
}

/* y of `count` rows. With two rows of activations the sum of both. */
BLM_AVX512_INLINE void blm_avx512_put_sums(uint32_t type, uint32_t acts,
                                           const blm_avx512_token *m, const blm_acts *x,
                                           float *y, uint64_t count)
{
    const uint32_t whole = m->blocks / BLM_AVX512_LANES, rest = m->blocks % BLM_AVX512_LANES;
    blm_avx512_given *given = m->given;
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (uint32_t d = 0; d < acts; d++) {
        const float *scale = x->scale + d * x->block_stride;
        for (uint32_t i = 0; i < whole; i++, scale += BLM_AVX512_LANES)
            sum[d] = blm_avx512_add_given(type, given[acts * i + d], scale, BLM_AVX512_LANES,
                                          sum[d]);
        if (m->ends->rows)
            sum[d] = blm_avx512_add_ends(m->ends, given[acts * whole + d], scale, sum[d]);
        else if (rest)
            sum[d] = blm_avx512_add_given(type, given[acts * whole + d], scale, rest, sum[d]);
    }
    if (acts == 2) sum[0] = _mm512_add_ps(sum[0], sum[1]);
    _mm512_mask_storeu_ps(y, blm_avx512_mask(BLM_MIN(count, BLM_AVX512_ROWS)), sum[0]);
}

BLM_AVX512_INLINE void blm_avx512_one_token(const blm_matmul_args *a, uint64_t row0,
                                            uint64_t row1, uint32_t type, uint32_t acts)
{
    blm_avx512_ends ends;
    blm_avx512_take_ends(type, a, &ends);
    const blm_avx512_token m = blm_avx512_begin(type, acts, a, &ends);
    for (uint64_t r = row0; r < row1; r += BLM_AVX512_ROWS) {
        const uint64_t count = BLM_MIN(row1 - r, BLM_AVX512_ROWS);
        for (uint32_t i = 0; i < count; i++)
            blm_avx512_row(type, acts, &m, a->w->data + (r + i) * a->w->row_bytes, i);
        if (ends.rows) blm_avx512_end_rows(type, acts, &m, a, r, count);
        blm_avx512_put_sums(type, acts, &m, a->x, a->y + r, count);
    }
}

/* ---- Q4_0 with free permutations of bytes ---------------------------------------------- */

/* Sixteen blocks of Q4_0, in four groups of four: 288 bytes, which take five loads. */
enum { BLM_AVX512_Q4_0_BYTES = 18 * BLM_AVX512_LANES };

/* The first n bytes at p, at most 64, and zeros. They straddle cache lines: the empty assembly
 * keeps gcc from reading them again for every use. */
BLM_AVX512_INLINE __m512i blm_avx512_load_once(const uint8_t *p, int64_t n)
{
    __m512i v =
        n >= 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8(blm_avx512_bytes(n), p);
    __asm__("" : "+v"(v));
    return v;
}

/* The 16 f16 factors of the blocks in v, block c of group g in place 4c + g: it is word
 * 36g + 9c. */
BLM_AVX512_VBMI_INLINE __m512 blm_avx512_q4_0_factors(const __m512i *v)
{
    const __m512i word = _mm512_setr_epi64(0x006C004800240000, 0x00750051002D0009,
                                           0x007E005A00360012, 0x00870063003F001B, 0, 0, 0, 0);
    __m512i d = _mm512_permutex2var_epi16(v[0], word, v[1]);
    d = _mm512_mask_permutexvar_epi16(d, 0x0444, word, v[2]);
    d = _mm512_mask_permutexvar_epi16(d, 0x4888, word, v[3]);
    d = _mm512_mask_permutexvar_epi16(d, 0x8000, word, v[4]);
    return _mm512_cvtph_ps(_mm512_castsi512_si256(d));
}

/* The q of group g, low nibbles and high ones. */
BLM_AVX512_VBMI_INLINE void blm_avx512_q4_0_group(const __m512i *v, int g, __m512i *w)
{
    const __m512i first = /* byte i of block c: 18c + 2 + i */
        _mm512_setr_epi64(0x0908070605040302, 0x11100F0E0D0C0B0A, 0x1B1A191817161514,
                          0x232221201F1E1D1C, 0x2D2C2B2A29282726, 0x3534333231302F2E,
                          0x3F3E3D3C3B3A3938, 0x4746454443424140);
    const __m512i place = _mm512_add_epi8(first, _mm512_set1_epi8((char)(8 * g)));
    const __m512i both = _mm512_permutex2var_epi8(v[g], place, v[g + 1]);
    w[0] = blm_avx512_low_nibbles(both);
    w[1] = blm_avx512_high_nibbles(both);
}

/* What sixteen blocks, or the first `bytes`, give with each row of activations. What a
 * block gives with a group lies in four lanes side by side, each at most 8 * 15 * 127: lanes
 * are added in pairs as int16, which they fit. */
BLM_AVX512_VBMI_INLINE void blm_avx512_q4_0_step(uint32_t acts, const uint8_t *at,
                                                 int64_t bytes, const blm_avx512_acts *x,
                                                 __m512 *c)
{
    const __m512i one = _mm512_set1_epi16(1), zero = _mm512_setzero_si512();
    __m512i v[5], n[2][4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 5; i++)
        v[i] = blm_avx512_load_once(at + i * 64, bytes - i * 64);
    BLM_AVX512_UNROLL
    for (int g = 0; g < 4; g++) {
        __m512i w[2];
        blm_avx512_q4_0_group(v, g, w);
        BLM_AVX512_UNROLL
        for (uint32_t d = 0; d < acts; d++) {
            n[d][g] = _mm512_dpbusd_epi32(zero, w[0], x[d].q[2 * g]);
            n[d][g] = _mm512_dpbusd_epi32(n[d][g], w[1], x[d].q[2 * g + 1]);
        }
    }
    const __m512 factors = blm_avx512_q4_0_factors(v);
    BLM_AVX512_UNROLL
    for (uint32_t d = 0; d < acts; d++) {
        __m512i a = _mm512_madd_epi16(_mm512_packs_epi32(n[d][0], n[d][1]), one);
        __m512i b = _mm512_madd_epi16(_mm512_packs_epi32(n[d][2], n[d][3]), one);
        a = _mm512_dpwssd_epi32(x[d].offset[0], _mm512_packs_epi32(a, b), one);
        c[d] = blm_avx512_part(0, a, factors, factors);
    }
}

BLM_AVX512_VBMI_INLINE void blm_avx512_q4_0_row(uint32_t acts, const blm_avx512_token *m,
                                                const uint8_t *b, const uint8_t *end,
                                                uint32_t r)
{
    __m512 c[2];
    uint32_t i = 0;
    for (; end - b >= BLM_AVX512_Q4_0_BYTES; i++, b += BLM_AVX512_Q4_0_BYTES) {
        blm_avx512_ahead(b, BLM_AVX512_Q4_0_BYTES);
        blm_avx512_q4_0_step(acts, b, BLM_AVX512_Q4_0_BYTES, m->x + acts * i, c);
        blm_avx512_put_given(m, acts, i, r, c);
    }
    if (b == end) return;
    blm_avx512_end_ahead(b, (uint32_t)(end - b));
    blm_avx512_q4_0_step(acts, b, end - b, m->x + acts * i, c);
    blm_avx512_put_given(m, acts, i, r, c);
}

BLM_AVX512_VBMI_INLINE void blm_avx512_q4_0_token(const blm_matmul_args *a, uint64_t row0,
                                                  uint64_t row1, uint32_t acts)
{
    const blm_avx512_ends none = {0};
    const blm_avx512_token m = blm_avx512_begin(BLM_Q4_0, acts, a, &none);
    for (uint64_t r = row0; r < row1; r += BLM_AVX512_ROWS) {
        for (uint32_t i = 0; i < BLM_MIN(row1 - r, BLM_AVX512_ROWS); i++) {
            const uint8_t *row = a->w->data + (r + i) * a->w->row_bytes;
            blm_avx512_q4_0_row(acts, &m, row, row + a->w->row_bytes, i);
        }
        blm_avx512_put_sums(BLM_Q4_0, acts, &m, a->x, a->y + r, row1 - r);
    }
}

BLM_PRIVATE BLM_AVX512_VBMI void blm_avx512_matmul_one_q4_0_vbmi(const blm_matmul_args *a,
                                                                 uint64_t row0, uint64_t row1)
{
    blm_avx512_q4_0_token(a, row0, row1, 1);
}

BLM_PRIVATE BLM_AVX512_VBMI void blm_avx512_matmul_pair_q4_0_vbmi(const blm_matmul_args *a,
                                                                  uint64_t row0, uint64_t row1)
{
    blm_avx512_q4_0_token(a, row0, row1, 2);
}

/* ---- Float weights --------------------------------------------------------------------- */

/* The strips of row r of those at hand. */
BLM_AVX512_INLINE void blm_avx512_float_row(uint32_t type, const uint8_t *row, const float *x,
                                            uint32_t cols, blm_avx512_stretches stretches,
                                            blm_avx512_strips *strips, uint32_t r)
{
    const uint32_t size = type == BLM_F32 ? 4 : 2;
    for (uint32_t s = 0, k = 0; s < stretches.all; s++) {
        const uint32_t end = BLM_MIN(blm_avx512_cut(stretches, s + 1) * 16, cols);
        __m512 sum = _mm512_setzero_ps();
        for (; end - k >= 64; k += 64) {
            blm_avx512_ahead(row + (size_t)k * size, 64 * size);
            BLM_AVX512_UNROLL
            for (uint32_t i = 0; i < 64; i += 16)
                sum = _mm512_fmadd_ps(blm_avx512_floats(type, row, k + i, 16),
                                      _mm512_loadu_ps(x + k + i), sum);
        }
        for (; k < end; k += 16) {
            const uint32_t n = BLM_MIN(end - k, 16);
            sum = _mm512_mask3_fmadd_ps(blm_avx512_floats(type, row, k, n),
                                        blm_avx512_get(x, k, cols), sum, blm_avx512_mask(n));
        }
        _mm512_storeu_ps(strips[s][r], sum);
    }
}

BLM_AVX512_INLINE void blm_avx512_float_one(const blm_matmul_args *a, uint64_t row0,
                                            uint64_t row1, uint32_t type)
{
    const blm_avx512_stretches s = blm_avx512_stretches_of_columns(a->x->cols);
    blm_avx512_strips *strips = (blm_avx512_strips *)a->scratch;
    memset(strips, 0, s.all * sizeof *strips);
    for (uint64_t r = row0; r < row1; r += BLM_AVX512_ROWS) {
        for (uint32_t i = 0; i < BLM_MIN(row1 - r, BLM_AVX512_ROWS); i++) {
            const uint8_t *row = a->w->data + (r + i) * a->w->row_bytes;
            blm_avx512_float_row(type, row, a->x->f32, a->x->cols, s, strips, i);
        }
        blm_avx512_put_strips(a->y + r, row1 - r, strips, s.all);
    }
}

/* ---- By type --------------------------------------------------------------------------- */

#define BLM_AVX512_FLOATS(name, number, values, bytes)                                         \
    BLM_AVX512 static void blm_avx512_one_##name(const blm_matmul_args *a, uint64_t row0,      \
                                                 uint64_t row1)                                \
    {                                                                                          \
        blm_avx512_float_one(a, row0, row1, number);                                           \
    }
BLM_FLOAT_TYPES(BLM_AVX512_FLOATS)
#undef BLM_AVX512_FLOATS

#define BLM_AVX512_BLOCKS(name, number, values, bytes)                                         \
    BLM_AVX512 static void blm_avx512_one_##name(const blm_matmul_args *a, uint64_t row0,      \
                                                 uint64_t row1)                                \
    {                                                                                          \
        blm_avx512_one_token(a, row0, row1, number, 1);                                        \
    }                                                                                          \
    BLM_AVX512 static void blm_avx512_pair_##name(const blm_matmul_args *a, uint64_t row0,     \
                                                  uint64_t row1)                               \
    {                                                                                          \
        blm_avx512_one_token(a, row0, row1, number, 2);                                        \
    }
BLM_BLOCK_TYPES(BLM_AVX512_BLOCKS)
#undef BLM_AVX512_BLOCKS

BLM_PRIVATE void blm_avx512_matmul_one(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
#define BLM_AVX512_ONE(name, number, values, bytes) [number] = blm_avx512_one_##name,
    static const blm_matmul_fn one[BLM_TYPE_LIMIT] = {BLM_TYPES(BLM_AVX512_ONE)};
#undef BLM_AVX512_ONE
    one[a->w->type](a, row0, row1);
}

BLM_PRIVATE void blm_avx512_matmul_pair(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
#define BLM_AVX512_PAIR(name, number, values, bytes) [number] = blm_avx512_pair_##name,
    static const blm_matmul_fn pair[BLM_TYPE_LIMIT] = {BLM_BLOCK_TYPES(BLM_AVX512_PAIR)};
#undef BLM_AVX512_PAIR
    pair[a->w->type](a, row0, row1);
}

#endif
