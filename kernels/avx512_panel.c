/* AVX-512 products with several tokens: prefill, vision. 32 rows of a stretch of k are
 * unpacked into the worker's scratch as a panel, its lanes are rows, and all tokens pass
 * over it; nothing is added across lanes. Weights are made unsigned: w = q - zero; the sums
 * of the activations take the zero off again. */
#include "avx512_unpack.h"

#ifdef BLM_HAVE_X86

/* ---- Several tokens: the panel ------------------------------------------------------- */

/* 32 columns of 32 rows. Lane r of a vector belongs to row r or 16 + r; a vector of q holds
 * four neighbouring k of each row. */
typedef struct blm_avx512_panel {
    uint8_t q[8][2][64];
    float scale[2][16];
    float more[2][16]; /* Q4_K: the mins; Q6_K: the scales of the last 16 columns */
} blm_avx512_panel;

/* Tokens in registers at once, each with two vectors of rows: twelve independent chains keep
 * the dot-product instruction busy, whose results come four cycles later, two a cycle. */
enum { BLM_AVX512_TOKENS = 6 };

/* What stays in the second nearest cache (1 MB and more): a panel of up to 2560 columns, and
 * the activations that pass over every panel in turn. */
enum { BLM_AVX512_PANEL_BLOCKS = 80, BLM_AVX512_NEAR_BYTES = 512 << 10 };

/* Q2_K has two scales and two mins for a block of 32: fewer blocks make a panel, and the mins
 * lie behind it. */
enum { BLM_AVX512_PANEL_BLOCKS_Q2_K = 64 };

typedef struct blm_avx512_two_mins {
    float min[2][2][16]; /* [half of the block][half of the panel] */
} blm_avx512_two_mins;

typedef char
    blm_avx512_q2_k_fits[BLM_AVX512_PANEL_BLOCKS_Q2_K *
                                     (sizeof(blm_avx512_panel) + sizeof(blm_avx512_two_mins)) <=
                                 BLM_MATMUL_PANEL_BYTES
                             ? 1
                             : -1];

BLM_AVX512_INLINE uint32_t blm_avx512_panel_blocks(uint32_t type)
{
    return type == BLM_Q2_K ? BLM_AVX512_PANEL_BLOCKS_Q2_K : BLM_AVX512_PANEL_BLOCKS;
}

/* The scales of the block of 256 at byte k of 16 rows, half h of the panel. */
BLM_AVX512_INLINE void blm_avx512_fill_scales(uint32_t type, const uint8_t *const *rows,
                                              size_t k, uint32_t h, blm_avx512_panel *panel,
                                              blm_avx512_two_mins *mins)
{
    blm_avx512_k_head head;
    blm_avx512_head(type, rows, k, &head);
    BLM_AVX512_UNROLL
    for (uint32_t i = 0; i < 8; i++) {
        _mm512_storeu_ps(panel[i].scale[h], blm_avx512_k_scale(type, &head, i, 0));
        if (blm_type_is_halved(type))
            _mm512_storeu_ps(panel[i].more[h], blm_avx512_k_scale(type, &head, i, 1));
        else if (blm_type_has_min(type))
            _mm512_storeu_ps(panel[i].more[h], blm_avx512_k_min(type, &head, i, 0));
        if (type != BLM_Q2_K) continue;
        _mm512_storeu_ps(mins[i].min[0][h], blm_avx512_k_min(type, &head, i, 0));
        _mm512_storeu_ps(mins[i].min[1][h], blm_avx512_k_min(type, &head, i, 1));
    }
}

/* The 256 columns of Q4_K or Q5_K, whose nibbles begin at byte `low` and Q5_K's fifth bits at
 * byte `high` of 16 rows, half h of the panel. */
BLM_AVX512_INLINE void blm_avx512_fill_q4_k(uint32_t type, const uint8_t *const *rows,
                                            size_t low, size_t high, uint32_t h,
                                            blm_avx512_panel *panel)
{
    const __m512i four = _mm512_set1_epi8(0x0F), sixteen = _mm512_set1_epi8(16);
    __m512i v[8], bits[8];
    if (type == BLM_Q5_K) {
        blm_avx512_pieces(rows, high, 16, bits);
        blm_avx512_pieces(rows, high + 16, 16, bits + 4);
    }
    for (uint32_t i = 0; i < 8; i += 2) {
        const __m512i even = _mm512_set1_epi8((char)(1u << i));
        const __m512i odd = _mm512_set1_epi8((char)(2u << i));
        blm_avx512_pieces(rows, low + i * 16, 16, v);
        blm_avx512_pieces(rows, low + i * 16 + 16, 16, v + 4);
        BLM_AVX512_UNROLL
        for (int g = 0; g < 8; g++) {
            __m512i first = _mm512_and_si512(v[g], four);
            __m512i second = _mm512_and_si512(_mm512_srli_epi16(v[g], 4), four);
            if (type == BLM_Q5_K) {
                __mmask64 set = _mm512_test_epi8_mask(bits[g], even);
                first = _mm512_mask_add_epi8(first, set, first, sixteen);
                set = _mm512_test_epi8_mask(bits[g], odd);
                second = _mm512_mask_add_epi8(second, set, second, sixteen);
            }
            _mm512_storeu_si512(panel[i].q[g][h], first);
            _mm512_storeu_si512(panel[i + 1].q[g][h], second);
        }
    }
}

/* Four blocks of 32 of Q6_K, whose low bits begin at byte `low` and whose high pairs at byte
 * `high` of 16 rows: see scalar.c. */
BLM_AVX512_INLINE void blm_avx512_fill_q6_k_half(const uint8_t *const *rows, size_t low,
                                                 size_t high, uint32_t h,
                                                 blm_avx512_panel *panel)
{
    const __m512i nibble = _mm512_set1_epi8(0x0F), top = _mm512_set1_epi8(0x30);
    __m512i v[8], pairs[8];
    blm_avx512_pieces(rows, high, 16, pairs);
    blm_avx512_pieces(rows, high + 16, 16, pairs + 4);
    for (uint32_t i = 0; i < 2; i++) { /* blocks i and i + 2 */
        const __m128i up = _mm_cvtsi32_si128((int)(4 - i * 2));
        const __m128i down = _mm_cvtsi32_si128((int)(i * 2));
        blm_avx512_pieces(rows, low + i * 32, 16, v);
        blm_avx512_pieces(rows, low + i * 32 + 16, 16, v + 4);
        BLM_AVX512_UNROLL
        for (int g = 0; g < 8; g++) {
            __m512i first = _mm512_and_si512(_mm512_sll_epi16(pairs[g], up), top);
            __m512i third = _mm512_and_si512(_mm512_srl_epi16(pairs[g], down), top);
            first = _mm512_or_si512(_mm512_and_si512(v[g], nibble), first);
            third =
                _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(v[g], 4), nibble), third);
            _mm512_storeu_si512(panel[i].q[g][h], first);
            _mm512_storeu_si512(panel[i + 2].q[g][h], third);
        }
    }
}
/* The q of the block of 256 that holds block i, half h of the panel; those of Q4_K, Q5_K and
 * Q6_K so that nothing is read twice. */
BLM_AVX512_INLINE void blm_avx512_fill_256(uint32_t type, const uint8_t *const *rows,
                                           uint32_t i, uint32_t h, blm_avx512_panel *panel)
{
    const size_t k = (size_t)(i / 8) * blm_type_bytes(type);
    if (type == BLM_Q4_K) {
        blm_avx512_fill_q4_k(type, rows, k + 16, 0, h, panel);
    } else if (type == BLM_Q5_K) {
        blm_avx512_fill_q4_k(type, rows, k + 48, k + 16, h, panel);
    } else if (type == BLM_Q6_K) {
        blm_avx512_fill_q6_k_half(rows, k, k + 128, h, panel);
        blm_avx512_fill_q6_k_half(rows, k + 64, k + 160, h, panel + 4);
    } else {
        for (uint32_t j = 0; j < 8; j++) {
            __m512i q[8];
            blm_avx512_unpack16(type, rows, i + j, q);
            BLM_AVX512_UNROLL
            for (int g = 0; g < 8; g++)
                _mm512_storeu_si512(panel[j].q[g][h], q[g]);
        }
    }
}

/* Blocks of 32 columns in a block of the file. */
BLM_AVX512_INLINE uint32_t blm_avx512_unit(uint32_t type)
{
    return blm_avx512_in_256(type) ? 8 : 1;
}

/* Blocks [i0, i1) of 16 rows, half h of the panel. */
BLM_AVX512_INLINE void blm_avx512_fill(uint32_t type, const uint8_t *const *rows, uint32_t h,
                                       uint32_t i0, uint32_t i1, blm_avx512_panel *panel)
{
    const size_t bytes = blm_type_bytes(type);
    if (blm_avx512_in_256(type)) {
        blm_avx512_two_mins *mins =
            (blm_avx512_two_mins *)(void *)(panel + BLM_AVX512_PANEL_BLOCKS_Q2_K);
        for (uint32_t i = i0; i < i1; i += 8, panel += 8, mins += 8) {
            blm_avx512_fill_scales(type, rows, i / 8 * bytes, h, panel, mins);
            blm_avx512_fill_256(type, rows, i, h, panel);
        }
        return;
    }
    for (uint32_t i = i0; i < i1; i++, panel++) {
        __m512i q[8];
        blm_avx512_unpack16(type, rows, i, q);
        BLM_AVX512_UNROLL
        for (int g = 0; g < 8; g++)
            _mm512_storeu_si512(panel->q[g][h], q[g]);
        _mm512_storeu_ps(panel->scale[h], blm_avx512_factors(type, rows, i * bytes));
        if (blm_type_has_min(type))
            _mm512_storeu_ps(
                panel->more[h],
                _mm512_sub_ps(_mm512_setzero_ps(), blm_avx512_halves(rows, i * bytes + 2)));
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
    const int32_t zero = (int32_t)blm_avx512_zero(type);
    if (zero == 0) return 0;
    if (!blm_type_is_halved(type)) return -zero * x->sum[at];
    int32_t first = blm_avx512_sum_q16(q);
    return -zero * (part ? x->sum[at] - first : first);
}

/* Takes off the mins of the two halves of a block: each times its half of the activations. */
BLM_AVX512_INLINE void blm_avx512_block_mins(const blm_avx512_two_mins *mins, const blm_acts *x,
                                             const size_t *at, uint32_t tokens,
                                             const int8_t *const *q,
                                             __m512 sum[2][BLM_AVX512_TOKENS])
{
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        int32_t first = blm_avx512_sum_q16(q[t]), second = x->sum[at[t]] - first;
        __m512 a = _mm512_set1_ps((float)first * x->scale[at[t]]);
        __m512 b = _mm512_set1_ps((float)second * x->scale[at[t]]);
        BLM_AVX512_UNROLL
        for (uint32_t h = 0; h < 2; h++) {
            sum[h][t] = _mm512_fnmadd_ps(_mm512_loadu_ps(mins->min[0][h]), a, sum[h][t]);
            sum[h][t] = _mm512_fnmadd_ps(_mm512_loadu_ps(mins->min[1][h]), b, sum[h][t]);
        }
    }
}

/* One block of the panel with `tokens` tokens: their activations are at q[token], what goes
 * with them at x->scale[at[token]] and x->sum. A part is what shares a scale: the block, or
 * half of it. */
BLM_AVX512_INLINE void blm_avx512_block(uint32_t type, const blm_avx512_panel *w,
                                        const blm_avx512_two_mins *mins, const blm_acts *x,
                                        const size_t *at, uint32_t tokens,
                                        const int8_t *const *q,
                                        __m512 sum[2][BLM_AVX512_TOKENS])
{
    const uint32_t parts = blm_type_is_halved(type) ? 2 : 1, groups = 8 / parts;
    BLM_AVX512_UNROLL
    for (uint32_t part = 0; part < parts; part++) {
        __m512i n[2][BLM_AVX512_TOKENS];
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            int32_t offset = blm_avx512_offset(type, x, at[t], q[t], part);
            n[0][t] = n[1][t] = _mm512_set1_epi32(offset);
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
                __m512 x_scale = _mm512_set1_ps(x->scale[at[t]]);
                sum[h][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(n[h][t]),
                                            _mm512_mul_ps(scale, x_scale), sum[h][t]);
            }
        }
    }
    if (!blm_type_has_min(type)) return;
    if (type == BLM_Q2_K) {
        blm_avx512_block_mins(mins, x, at, tokens, q, sum);
        return;
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        __m512 v = _mm512_cvtepi32_ps(_mm512_set1_epi32(x->sum[at[t]]));
        v = _mm512_mul_ps(v, _mm512_set1_ps(x->scale[at[t]]));
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

/* Bytes of eight blocks of 32 columns. */
BLM_AVX512_INLINE uint32_t blm_avx512_bytes_of_8(uint32_t type)
{
    uint32_t values, bytes;
    blm_type_layout(type, &values, &bytes);
    return bytes * (256 / values);
}

/* Asks for block i of the 32 rows from r: a line of each. Only a hint, which may point
 * anywhere. */
BLM_AVX512_INLINE void blm_avx512_panel_ahead(uint32_t type, const blm_tensor *w, uint64_t r,
                                              uint32_t i)
{
    const uint32_t eight = blm_avx512_bytes_of_8(type);
    uintptr_t p = (uintptr_t)w->data + (uintptr_t)(r * w->row_bytes + (uint64_t)i * eight / 8);
    for (uint32_t j = 0; j < 32; j++, p += (uintptr_t)w->row_bytes)
        _mm_prefetch((const char *)p, _MM_HINT_T0);
}

/* Blocks [i0, i1) of `count` rows from r with `tokens` tokens from t0, of which those before
 * t1 are real: in place of others the last one is computed again. The panel's first tile
 * brings the next panel's weights near, block by block. */
BLM_AVX512_INLINE void blm_avx512_tile(uint32_t type, const blm_matmul_args *a, uint64_t r,
                                       uint64_t count, uint32_t i0, uint32_t i1, uint32_t t0,
                                       uint32_t t1, uint32_t tokens, int first)
{
    const blm_avx512_panel *w = (const blm_avx512_panel *)a->scratch;
    const blm_avx512_two_mins *mins =
        (const blm_avx512_two_mins *)(const void *)(w + BLM_AVX512_PANEL_BLOCKS_Q2_K);
    const int8_t *q[BLM_AVX512_TOKENS];
    size_t at[BLM_AVX512_TOKENS];
    __m512 sum[2][BLM_AVX512_TOKENS];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        size_t token = BLM_MIN(t0 + t, t1 - 1);
        q[t] = (const int8_t *)a->x->q + token * a->x->q_stride + (size_t)i0 * 32;
        at[t] = token * a->x->block_stride + i0;
        sum[0][t] = sum[1][t] = _mm512_setzero_ps();
    }
    for (uint32_t i = i0; i < i1; i++, w++, mins++) {
        if (first) blm_avx512_panel_ahead(type, a->w, r + 32, i);
        blm_avx512_block(type, w, mins, a->x, at, tokens, q, sum);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            q[t] += 32, at[t]++;
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        if (t0 + t >= t1) break; /* the last token, once more */
        float *y = a->y + (t0 + t) * a->y_stride + r;
        blm_avx512_add_to(y, count, i0 == 0, sum[0][t]);
        if (count > 16) blm_avx512_add_to(y + 16, count - 16, i0 == 0, sum[1][t]);
    }
}

/* Tokens [t0, t1) with blocks [i0, i1) of `count` rows from r, by sixes and fours; in the
 * last step some may be past the end. */
BLM_AVX512_INLINE void blm_avx512_tiles(uint32_t type, const blm_matmul_args *a, uint64_t r,
                                        uint64_t count, uint32_t i0, uint32_t i1, uint32_t t0,
                                        uint32_t t1)
{
    for (uint32_t t = t0; t < t1;) {
        uint32_t rest = (t1 - t) % BLM_AVX512_TOKENS;
        if (rest == 0 || rest == 5) {
            blm_avx512_tile(type, a, r, count, i0, i1, t, t1, 6, t == t0);
            t += 6;
        } else {
            blm_avx512_tile(type, a, r, count, i0, i1, t, t1, 4, t == t0);
            t += 4;
        }
    }
}

/* Where stretch s of `stretches` begins, in whole units of blocks. */
static uint32_t blm_avx512_cut(uint32_t blocks, uint32_t unit, uint32_t s, uint32_t stretches)
{
    return (uint32_t)((uint64_t)(blocks / unit) * s / stretches) * unit;
}

/* Stretches of k are the outer loop: their activations are still near when the next rows
 * come. */
BLM_AVX512_INLINE void blm_avx512_chunk(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                        uint32_t type, uint32_t t0, uint32_t t1)
{
    const uint32_t unit = blm_avx512_unit(type);
    uint32_t blocks = a->x->cols / 32;
    const uint32_t most = blm_avx512_panel_blocks(type);
    uint32_t stretches = (blocks + most - 1) / most;
    blm_avx512_panel *panel = (blm_avx512_panel *)a->scratch;
    for (uint32_t s = 0; s < stretches; s++) {
        uint32_t i0 = blm_avx512_cut(blocks, unit, s, stretches);
        uint32_t i1 = blm_avx512_cut(blocks, unit, s + 1, stretches);
        for (uint64_t r = row0; r < row1; r += 32) {
            const uint8_t *rows[32];
            blm_avx512_rows(a, r, row1, 32, rows);
            blm_avx512_fill(type, rows, 0, i0, i1, panel);
            blm_avx512_fill(type, rows + 16, 1, i0, i1, panel);
            blm_avx512_tiles(type, a, r, row1 - r, i0, i1, t0, t1);
        }
    }
}

BLM_AVX512_INLINE void blm_avx512_tokens(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                                         uint32_t type)
{
    uint32_t tokens = a->x->tokens,
             stretch = BLM_MIN(a->x->cols, blm_avx512_panel_blocks(type) * 32);
    uint32_t most = BLM_AVX512_NEAR_BYTES / stretch / BLM_AVX512_TOKENS * BLM_AVX512_TOKENS;
    for (uint32_t t = 0; t < tokens; t += most)
        blm_avx512_chunk(a, row0, row1, type, t, t + BLM_MIN(tokens - t, most));
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
    uint64_t room = blm_matmul_scratch_bytes(BLM_MATMUL_PANEL_BYTES, cols, 8) /
                    sizeof(blm_avx512_column) / 8 * 8;
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

/* ---- By type --------------------------------------------------------------------------- */

#define BLM_AVX512_FLOATS(name, number, values, bytes)                                         \
    BLM_AVX512 static void blm_avx512_some_##name(const blm_matmul_args *a, uint64_t row0,     \
                                                  uint64_t row1)                               \
    {                                                                                          \
        blm_avx512_float_tokens(a, row0, row1, number);                                        \
    }
BLM_FLOAT_TYPES(BLM_AVX512_FLOATS)
#undef BLM_AVX512_FLOATS

#define BLM_AVX512_BLOCKS(name, number, values, bytes)                                         \
    BLM_AVX512 static void blm_avx512_some_##name(const blm_matmul_args *a, uint64_t row0,     \
                                                  uint64_t row1)                               \
    {                                                                                          \
        blm_avx512_tokens(a, row0, row1, number);                                              \
    }
BLM_BLOCK_TYPES(BLM_AVX512_BLOCKS)
#undef BLM_AVX512_BLOCKS

static void blm_avx512_matmul_some(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
#define BLM_AVX512_SOME(name, number, values, bytes) [number] = blm_avx512_some_##name,
    static const blm_matmul_fn some[BLM_TYPE_LIMIT] = {BLM_TYPES(BLM_AVX512_SOME)};
#undef BLM_AVX512_SOME
    some[a->w->type](a, row0, row1);
}

BLM_PRIVATE void blm_avx512_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    if (a->x->tokens == 1)
        blm_avx512_matmul_one(a, row0, row1);
    else
        blm_avx512_matmul_some(a, row0, row1);
}

BLM_PRIVATE void blm_avx512_matmul_q4_0_vbmi(const blm_matmul_args *a, uint64_t row0,
                                             uint64_t row1)
{
    if (a->x->tokens == 1)
        blm_avx512_matmul_one_q4_0_vbmi(a, row0, row1);
    else
        blm_avx512_matmul_some(a, row0, row1);
}

BLM_PRIVATE void blm_kernels_avx512_matmul(blm_kernels *k)
{
#define BLM_AVX512_FLOATS(name, number, values, bytes)                                         \
    k->matmul8[number] = k->matmul16[number] = blm_avx512_matmul;
    BLM_FLOAT_TYPES(BLM_AVX512_FLOATS)
#undef BLM_AVX512_FLOATS
#define BLM_AVX512_BLOCKS(name, number, values, bytes) k->matmul8[number] = blm_avx512_matmul;
    BLM_BLOCK_TYPES(BLM_AVX512_BLOCKS)
#undef BLM_AVX512_BLOCKS
}

BLM_PRIVATE void blm_kernels_avx512_vbmi(blm_kernels *k)
{
    k->matmul8[BLM_Q4_0] = blm_avx512_matmul_q4_0_vbmi;
}

#endif
