/* AVX-512 products with several tokens: prefill, vision. 32 rows of a stretch of k are
 * unpacked into the worker's scratch as a panel, its lanes are rows, and all tokens pass
 * over it, block after block; nothing is added across lanes. Weights are made unsigned:
 * w = q - zero; the sums of the activations take the zero off again. */
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

/* What stays in the second nearest cache (1 MB and more) beside a panel: the activations that
 * pass over every panel in turn. */
enum { BLM_AVX512_NEAR_BYTES = 704 << 10 };

/* Of Q2_K mins lie behind the panel. */
typedef struct blm_avx512_two_mins {
    float min[2][2][16]; /* [half of the block][half of the panel] */
} blm_avx512_two_mins;

/* Of `blocks` blocks of 32 columns: what makes a panel of 32 rows, which of Q2_K has two scales
 * and two mins a block. */
enum { BLM_AVX512_PANEL_BLOCKS = 80, BLM_AVX512_PANEL_BLOCKS_Q2_K = 64 };

typedef char blm_avx512_panel_fits
    [BLM_AVX512_PANEL_BLOCKS * sizeof(blm_avx512_panel) <= BLM_MATMUL_PANEL_BYTES ? 1 : -1];
typedef char
    blm_avx512_q2_k_fits[BLM_AVX512_PANEL_BLOCKS_Q2_K *
                                     (sizeof(blm_avx512_panel) + sizeof(blm_avx512_two_mins)) <=
                                 BLM_MATMUL_PANEL_BYTES
                             ? 1
                             : -1];

BLM_AVX512_INLINE blm_avx512_two_mins *blm_avx512_mins_of(blm_avx512_panel *panel)
{
    return (blm_avx512_two_mins *)(void *)(panel + BLM_AVX512_PANEL_BLOCKS_Q2_K);
}

/* Eight blocks of the panel from the block of 256 at byte k of 16 rows: scales and mins of its
 * half h. */
BLM_AVX512_INLINE void blm_avx512_fill_scales(uint32_t type, const uint8_t *const *rows,
                                              size_t k, uint32_t h, blm_avx512_panel *to,
                                              blm_avx512_two_mins *mins)
{
    blm_avx512_k_head head;
    blm_avx512_head(type, rows, k, &head);
    BLM_AVX512_UNROLL
    for (uint32_t i = 0; i < 8; i++, to++, mins++) {
        _mm512_storeu_ps(to->scale[h], blm_avx512_k_scale(type, &head, i, 0));
        if (blm_type_is_halved(type))
            _mm512_storeu_ps(to->more[h], blm_avx512_k_scale(type, &head, i, 1));
        else if (blm_type_has_min(type))
            _mm512_storeu_ps(to->more[h], blm_avx512_k_min(type, &head, i, 0));
        if (type != BLM_Q2_K) continue;
        _mm512_storeu_ps(mins->min[0][h], blm_avx512_k_min(type, &head, i, 0));
        _mm512_storeu_ps(mins->min[1][h], blm_avx512_k_min(type, &head, i, 1));
    }
}

/* The q of the same blocks of Q4_K or Q5_K, whose nibbles begin at byte `low` and Q5_K's fifth
 * bits at byte `high`. */
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
        blm_avx512_panel *to = panel + i, *next = to + 1;
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
            _mm512_storeu_si512(to->q[g][h], first);
            _mm512_storeu_si512(next->q[g][h], second);
        }
    }
}

/* Four blocks of 32 of Q6_K whose low bits begin at byte `low` and whose high pairs begin at
 * byte `high` of 16 rows: see scalar.c. */
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
        blm_avx512_panel *to = panel + i, *after = to + 2;
        blm_avx512_pieces(rows, low + i * 32, 16, v);
        blm_avx512_pieces(rows, low + i * 32 + 16, 16, v + 4);
        BLM_AVX512_UNROLL
        for (int g = 0; g < 8; g++) {
            __m512i first = _mm512_and_si512(_mm512_sll_epi16(pairs[g], up), top);
            __m512i third = _mm512_and_si512(_mm512_srl_epi16(pairs[g], down), top);
            first = _mm512_or_si512(_mm512_and_si512(v[g], nibble), first);
            third =
                _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(v[g], 4), nibble), third);
            _mm512_storeu_si512(to->q[g][h], first);
            _mm512_storeu_si512(after->q[g][h], third);
        }
    }
}

/* The q of block i of 16 rows, half h of a panel. */
BLM_AVX512_INLINE void blm_avx512_fill_q(uint32_t type, const uint8_t *const *rows, uint32_t i,
                                         uint32_t h, blm_avx512_panel *panel)
{
    __m512i q[8];
    blm_avx512_unpack16(type, rows, i, q);
    BLM_AVX512_UNROLL
    for (int g = 0; g < 8; g++)
        _mm512_storeu_si512(panel->q[g][h], q[g]);
}

/* The q of the block of 256 that begins with block i of 16 rows, half h of eight blocks of the
 * panel; those of Q4_K, Q5_K and Q6_K so that nothing is read twice. */
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
        for (uint32_t n = 0; n < 8; n++)
            blm_avx512_fill_q(type, rows, i + n, h, panel + n);
    }
}

/* Blocks [i, end) of 16 rows, half h of the panel. */
BLM_AVX512_INLINE void blm_avx512_fill(uint32_t type, const uint8_t *const *rows, uint32_t h,
                                       uint32_t i, uint32_t end, blm_avx512_panel *panel)
{
    const size_t bytes = blm_type_bytes(type);
    blm_avx512_two_mins *mins = blm_avx512_mins_of(panel);
    for (; blm_avx512_in_256(type) && i < end; i += 8, panel += 8, mins += 8) {
        blm_avx512_fill_scales(type, rows, i / 8 * bytes, h, panel, mins);
        blm_avx512_fill_256(type, rows, i, h, panel);
    }
    for (; i < end; i++, panel++) {
        blm_avx512_fill_q(type, rows, i, h, panel);
        _mm512_storeu_ps(panel->scale[h], blm_avx512_factors(type, rows, i * bytes));
        if (blm_type_has_min(type))
            _mm512_storeu_ps(
                panel->more[h],
                _mm512_sub_ps(_mm512_setzero_ps(), blm_avx512_halves(rows, i * bytes + 2)));
    }
}

#define BLM_AVX512_FILL(name, number, values, bytes)                                           \
    BLM_AVX512 static void blm_avx512_fill_##name(const uint8_t *const *rows, uint32_t i,      \
                                                  uint32_t end, blm_avx512_panel *panel)       \
    {                                                                                          \
        for (uint32_t h = 0; h < 2; h++)                                                       \
            blm_avx512_fill(number, rows + 16 * h, h, i, end, panel);                          \
    }
BLM_BLOCK_TYPES(BLM_AVX512_FILL)
#undef BLM_AVX512_FILL

/* Blocks [i, end) of 32 rows. */
static void blm_avx512_fill_panel(uint32_t type, const uint8_t *const *rows, uint32_t i,
                                  uint32_t end, blm_avx512_panel *panel)
{
#define BLM_AVX512_FILL(name, number, values, bytes) [number] = blm_avx512_fill_##name,
    static void (*const fill[BLM_TYPE_LIMIT])(const uint8_t *const *, uint32_t, uint32_t,
                                              blm_avx512_panel *) = {
        BLM_BLOCK_TYPES(BLM_AVX512_FILL)};
#undef BLM_AVX512_FILL
    fill[type](rows, i, end, panel);
}

/* The sum of 16 activations: as bytes above -128, added by the instruction for distances. */
BLM_AVX512_INLINE int32_t blm_avx512_sum_q16(const int8_t *q)
{
    __m128i v = _mm_xor_si128(blm_avx512_load16(q), _mm_set1_epi8(-128));
    v = _mm_sad_epu8(v, _mm_setzero_si128());
    v = _mm_add_epi32(v, _mm_unpackhi_epi64(v, v));
    return _mm_cvtsi128_si32(v) - 16 * 128;
}

/* What tiles need to know of a type, known when they are compiled: whether halves of a block
 * have scales of their own, and whether there are mins. */
typedef struct blm_avx512_kind {
    int halved, mins;
} blm_avx512_kind;

/* Tokens of a tile: their rows of activations and what goes with these. */
typedef struct blm_avx512_tokens {
    const int8_t *q[BLM_AVX512_TOKENS];
    const float *scale[BLM_AVX512_TOKENS];
    const int32_t *sum[BLM_AVX512_TOKENS];
} blm_avx512_tokens;

/* -zero times the sum of the activations that share a scale in block i of token t: Q6_K's has
 * a first and a last half. */
BLM_AVX512_INLINE int32_t blm_avx512_offset(blm_avx512_kind kind, int32_t zero,
                                            const blm_avx512_tokens *x, uint32_t t, size_t i,
                                            uint32_t part)
{
    if (kind.mins) return 0; /* instead of a zero */
    if (!kind.halved) return -zero * x->sum[t][i];
    int32_t first = blm_avx512_sum_q16(x->q[t] + i * 32);
    return -zero * (part ? x->sum[t][i] - first : first);
}

/* Takes off the mins of block i: of both halves times the block's activations, or of each times
 * its own. */
BLM_AVX512_INLINE void blm_avx512_block_mins(blm_avx512_kind kind, const blm_avx512_panel *w,
                                             const blm_avx512_two_mins *mins,
                                             const blm_avx512_tokens *x, size_t i, uint32_t t,
                                             __m512 *c)
{
    const int32_t all = x->sum[t][i];
    const int32_t first = kind.halved ? blm_avx512_sum_q16(x->q[t] + i * 32) : all;
    const __m512 a = _mm512_cvtepi32_ps(_mm512_set1_epi32(first));
    const __m512 b = _mm512_cvtepi32_ps(_mm512_set1_epi32(all - first));
    BLM_AVX512_UNROLL
    for (uint32_t h = 0; h < 2; h++) {
        const float *min = kind.halved ? mins->min[0][h] : w->more[h];
        c[h] = _mm512_fnmadd_ps(_mm512_loadu_ps(min), a, c[h]);
        if (kind.halved) c[h] = _mm512_fnmadd_ps(_mm512_loadu_ps(mins->min[1][h]), b, c[h]);
    }
}

/* The integer sums of part `part` of block i of a row, which is *w of the panel, with `tokens`
 * tokens. A part is what shares a scale: the block, or half of it. */
BLM_AVX512_INLINE void blm_avx512_part_sums(blm_avx512_kind kind, int32_t zero,
                                            const blm_avx512_panel *w,
                                            const blm_avx512_tokens *x, size_t i,
                                            uint32_t tokens, uint32_t part, __m512i (*n)[2])
{
    const uint32_t groups = kind.halved ? 4 : 8;
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        n[t][0] = n[t][1] = _mm512_set1_epi32(blm_avx512_offset(kind, zero, x, t, i, part));
    BLM_AVX512_UNROLL
    for (uint32_t g = part * groups; g < (part + 1) * groups; g++) {
        __m512i a = _mm512_loadu_si512(w->q[g][0]), b = _mm512_loadu_si512(w->q[g][1]);
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            __m512i v = blm_avx512_spread4(x->q[t] + i * 32 + g * 4);
            n[t][0] = _mm512_dpbusd_epi32(n[t][0], a, v);
            n[t][1] = _mm512_dpbusd_epi32(n[t][1], b, v);
        }
    }
}

/* Block i of a row, which is *w of the panel, with `tokens` tokens. */
BLM_AVX512_INLINE void blm_avx512_block(blm_avx512_kind kind, int32_t zero,
                                        const blm_avx512_panel *w,
                                        const blm_avx512_two_mins *mins,
                                        const blm_avx512_tokens *x, size_t i, uint32_t tokens,
                                        __m512 (*sum)[2])
{
    const uint32_t parts = kind.halved ? 2 : 1;
    __m512 c[BLM_AVX512_TOKENS][2];
    BLM_AVX512_UNROLL
    for (uint32_t part = 0; part < parts; part++) {
        __m512i n[BLM_AVX512_TOKENS][2];
        blm_avx512_part_sums(kind, zero, w, x, i, tokens, part, n);
        BLM_AVX512_UNROLL
        for (uint32_t h = 0; h < 2; h++) {
            const __m512 scale = _mm512_loadu_ps(part ? w->more[h] : w->scale[h]);
            BLM_AVX512_UNROLL
            for (uint32_t t = 0; t < tokens; t++)
                c[t][h] = blm_avx512_part(part, n[t][h], scale, c[t][h]);
        }
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        const __m512 scale = _mm512_set1_ps(x->scale[t][i]);
        if (kind.mins) blm_avx512_block_mins(kind, w, mins, x, i, t, c[t]);
        sum[t][0] = _mm512_fmadd_ps(c[t][0], scale, sum[t][0]);
        sum[t][1] = _mm512_fmadd_ps(c[t][1], scale, sum[t][1]);
    }
}

/* Adds v (16 rows from y on, `count` of them real) to what earlier stretches of k gave. */
BLM_AVX512_INLINE void blm_avx512_add_to(float *y, uint64_t count, int first, __m512 v)
{
    const __mmask16 mask = blm_avx512_mask(BLM_MIN(count, 16));
    if (!first) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y), v);
    _mm512_mask_storeu_ps(y, mask, v);
}

/* After a strip: its sums are added to those of the strips before. */
BLM_AVX512_INLINE void blm_avx512_join(int first, uint32_t tokens, float (*total)[8][16],
                                       __m512 (*sum)[8])
{
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        BLM_AVX512_UNROLL
        for (uint32_t h = 0; h < 2; h++) {
            if (!first) sum[h][t] = _mm512_add_ps(_mm512_loadu_ps(total[h][t]), sum[h][t]);
            _mm512_storeu_ps(total[h][t], sum[h][t]);
        }
    }
}

/* Bytes of eight blocks of 32 columns. */
static uint32_t blm_avx512_bytes_of_8(uint32_t type)
{
    uint32_t values, bytes;
    blm_type_block(type, &values, &bytes);
    return bytes * (256 / values);
}

/* Some of the work: blocks [i0, i1) of rows r .. r + count with tokens [t0, t1). */
typedef struct blm_avx512_work {
    const blm_matmul_args *a;
    uint64_t r, count;
    uint32_t i0, i1, t0, t1;
    uint32_t eight; /* bytes of eight blocks of a row  */
} blm_avx512_work;

/* Asks for block i of the 32 rows after those at work: a line of each. Only a hint, which may
 * point anywhere. */
BLM_AVX512_INLINE void blm_avx512_panel_ahead(const blm_avx512_work *m, uint32_t i)
{
    const uintptr_t stride = (uintptr_t)m->a->w->row_bytes;
    uintptr_t p = (uintptr_t)m->a->w->data + (uintptr_t)(m->r + 32) * stride +
                  (uintptr_t)i * m->eight / 8;
    for (uint32_t j = 0; j < 32; j++, p += stride)
        _mm_prefetch((const char *)p, _MM_HINT_T0);
}

/* Tokens t0 and on, of which those before t1 are real: in place of others the last one. */
BLM_AVX512_INLINE blm_avx512_tokens blm_avx512_tokens_at(const blm_acts *x, uint32_t t0,
                                                         uint32_t t1, uint32_t tokens)
{
    blm_avx512_tokens out;
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        const size_t token = BLM_MIN(t0 + t, t1 - 1);
        out.q[t] = x->q + token * x->q_stride;
        out.scale[t] = x->scale + token * x->block_stride;
        out.sum[t] = x->sum + token * x->block_stride;
    }
    return out;
}

/* Up to 32 rows of y as two vectors, `count` of them real. */
BLM_AVX512_INLINE void blm_avx512_get_rows(const float *y, uint64_t count, __m512 *v)
{
    v[0] = _mm512_maskz_loadu_ps(blm_avx512_mask(BLM_MIN(count, 16)), y);
    v[1] = _mm512_setzero_ps();
    if (count > 16)
        v[1] = _mm512_maskz_loadu_ps(blm_avx512_mask(BLM_MIN(count - 16, 16)), y + 16);
}

BLM_AVX512_INLINE void blm_avx512_put_rows(float *y, uint64_t count, const __m512 *v)
{
    _mm512_mask_storeu_ps(y, blm_avx512_mask(BLM_MIN(count, 16)), v[0]);
    if (count > 16)
        _mm512_mask_storeu_ps(y + 16, blm_avx512_mask(BLM_MIN(count - 16, 16)), v[1]);
}

/* Adds the panel's blocks, with `tokens` tokens from t0, to what the blocks before gave. The
 * panel's first tile brings the next panel's weights near, block by block. */
BLM_AVX512_INLINE void blm_avx512_tile(blm_avx512_kind kind, const blm_avx512_work *m,
                                       uint32_t t0, uint32_t tokens)
{
    const blm_avx512_panel *w = (const blm_avx512_panel *)m->a->scratch;
    const blm_avx512_two_mins *mins = blm_avx512_mins_of((blm_avx512_panel *)m->a->scratch);
    const blm_avx512_tokens x = blm_avx512_tokens_at(m->a->x, t0, m->t1, tokens);
    const int32_t zero = (int32_t)blm_avx512_zero(m->a->w->type);
    const size_t y_stride = m->a->y_stride;
    float *y = m->a->y + t0 * y_stride + m->r;
    __m512 sum[BLM_AVX512_TOKENS][2];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        sum[t][0] = sum[t][1] = _mm512_setzero_ps();
        if (m->i0 > 0 && t0 + t < m->t1)
            blm_avx512_get_rows(y + t * y_stride, m->count, sum[t]);
    }
    for (uint32_t i = m->i0; i < m->i1; i++, w++, mins++) {
        if (t0 == m->t0) blm_avx512_panel_ahead(m, i);
        blm_avx512_block(kind, zero, w, mins, &x, i, tokens, sum);
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) /* past the end the last token, once more */
        if (t0 + t < m->t1) blm_avx512_put_rows(y + t * y_stride, m->count, sum[t]);
}

/* All tokens of the work, by sixes and fours; in the last step some may be past the end. */
BLM_AVX512_INLINE void blm_avx512_tiles(blm_avx512_kind kind, const blm_avx512_work *m)
{
    for (uint32_t t = m->t0; t < m->t1;) {
        uint32_t rest = (m->t1 - t) % BLM_AVX512_TOKENS;
        if (rest == 0 || rest == 5) {
            blm_avx512_tile(kind, m, t, 6);
            t += 6;
        } else {
            blm_avx512_tile(kind, m, t, 4);
            t += 4;
        }
    }
}

BLM_AVX512 static void blm_avx512_tiles_plain(const blm_avx512_work *m)
{
    blm_avx512_tiles((blm_avx512_kind){0, 0}, m);
}

BLM_AVX512 static void blm_avx512_tiles_mins(const blm_avx512_work *m)
{
    blm_avx512_tiles((blm_avx512_kind){0, 1}, m);
}

BLM_AVX512 static void blm_avx512_tiles_halved(const blm_avx512_work *m)
{
    blm_avx512_tiles((blm_avx512_kind){1, 0}, m);
}

BLM_AVX512 static void blm_avx512_tiles_halved_mins(const blm_avx512_work *m)
{
    blm_avx512_tiles((blm_avx512_kind){1, 1}, m);
}

/* Tokens [t0, t1). Stretches of k, of about the same length, are the outer loop: their
 * activations are still near when the next rows come. */
static void blm_avx512_chunk(const blm_matmul_args *a, uint64_t row0, uint64_t row1,
                             uint32_t t0, uint32_t t1)
{
    static void (*const tiles[2][2])(const blm_avx512_work *) = {
        {blm_avx512_tiles_plain, blm_avx512_tiles_mins},
        {blm_avx512_tiles_halved, blm_avx512_tiles_halved_mins}};
    const uint32_t type = a->w->type, blocks = a->x->cols / 32;
    const uint32_t most =
        type == BLM_Q2_K ? BLM_AVX512_PANEL_BLOCKS_Q2_K : BLM_AVX512_PANEL_BLOCKS;
    const uint32_t all = (blocks + most - 1) / most;
    const uint32_t step = ((blocks + 7) / 8 + all - 1) / all * 8;
    blm_avx512_work m = {.a = a, .t0 = t0, .t1 = t1, .eight = blm_avx512_bytes_of_8(type)};
    for (; m.i0 < blocks; m.i0 = m.i1) {
        m.i1 = BLM_MIN(m.i0 + step, blocks);
        for (m.r = row0; m.r < row1; m.r += 32) {
            const uint8_t *rows[32];
            m.count = row1 - m.r;
            blm_avx512_rows(a, m.r, row1, 32, rows);
            blm_avx512_fill_panel(type, rows, m.i0, m.i1, (blm_avx512_panel *)a->scratch);
            tiles[blm_type_is_halved(type)][blm_type_has_min(type)](&m);
        }
    }
}

static void blm_avx512_matmul_blocks(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    const uint32_t tokens = a->x->tokens;
    const uint32_t near = BLM_MIN(a->x->cols, BLM_AVX512_PANEL_BLOCKS * 32);
    const uint32_t most = BLM_AVX512_NEAR_BYTES / near / BLM_AVX512_TOKENS * BLM_AVX512_TOKENS;
    for (uint32_t t = 0; t < tokens; t += most)
        blm_avx512_chunk(a, row0, row1, t, t + BLM_MIN(tokens - t, most));
}

/* ---- Products with float weights ----------------------------------------------------- */

/* 32 rows of one column; columns lie in the panel strip by strip. */
typedef struct blm_avx512_column {
    float w[2][16];
} blm_avx512_column;

enum { BLM_AVX512_FLOAT_TOKENS = 8 };

/* The panel's `count` columns and behind them the sums of the strips gone by. */
typedef struct blm_avx512_float_work {
    const blm_matmul_args *a;
    uint64_t r, rows;
    uint32_t k0, count;
    blm_avx512_column *panel;
    float (*total)[8][16];
} blm_avx512_float_work;

/* The place of column i of n, strip by strip. */
static inline uint32_t blm_avx512_place(uint32_t n, uint32_t i)
{
    const uint32_t strip = i % BLM_AVX512_LANES, longer = n % BLM_AVX512_LANES;
    return strip * (n / BLM_AVX512_LANES) + BLM_MIN(strip, longer) + i / BLM_AVX512_LANES;
}

/* The panel's columns of 16 rows, half h of it. */
BLM_AVX512_INLINE void blm_avx512_fill_float(uint32_t type, const blm_avx512_float_work *m,
                                             const uint8_t *const *rows, uint32_t h)
{
    const uint32_t size = type == BLM_F32 ? 4 : 2, step = 16 / size;
    for (uint32_t k = 0; k < m->count; k += step) {
        const uint32_t left = BLM_MIN(m->count - k, step);
        __m512i v[8];
        if (left == step)
            blm_avx512_pieces(rows, (size_t)(m->k0 + k) * size, 16, v);
        else
            blm_avx512_pieces(rows, (size_t)(m->k0 + k) * size, left * size, v);
        for (int c = 3; c >= 0 && type != BLM_F32; c--) {
            __m512i even = _mm512_slli_epi32(v[c], 16), odd = v[c]; /* BF16 is cut f32 */
            if (type == BLM_F16) {
                __m256i high = _mm512_cvtepi32_epi16(_mm512_srli_epi32(v[c], 16));
                even = _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(v[c])));
                odd = _mm512_castps_si512(_mm512_cvtph_ps(high));
            } else {
                odd = _mm512_and_si512(odd, _mm512_set1_epi32((int)0xFFFF0000u));
            }
            v[2 * c + 1] = odd;
            v[2 * c] = even;
        }
        for (uint32_t c = 0; c < left; c++)
            _mm512_storeu_si512(m->panel[blm_avx512_place(m->count, k + c)].w[h], v[c]);
    }
}

/* The panel with `tokens` tokens from t0. */
BLM_AVX512_INLINE void blm_avx512_float_tile(const blm_avx512_float_work *m, uint32_t t0,
                                             uint32_t tokens)
{
    const blm_avx512_column *w = m->panel;
    const float *x[BLM_AVX512_FLOAT_TOKENS];
    __m512 sum[2][8];
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        x[t] = m->a->x->f32 + (t0 + t) * m->a->x->f32_stride + m->k0;
    for (uint32_t p = 0; p < BLM_AVX512_LANES; p++) {
        BLM_AVX512_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            sum[0][t] = sum[1][t] = _mm512_setzero_ps();
        for (size_t k = p; k < m->count; k += BLM_AVX512_LANES, w++) {
            __m512 v = _mm512_loadu_ps(w->w[0]), last = _mm512_loadu_ps(w->w[1]);
            BLM_AVX512_UNROLL
            for (uint32_t t = 0; t < tokens; t++) {
                __m512 value = _mm512_set1_ps(x[t][k]);
                sum[0][t] = _mm512_fmadd_ps(v, value, sum[0][t]);
                sum[1][t] = _mm512_fmadd_ps(last, value, sum[1][t]);
            }
        }
        blm_avx512_join(p == 0, tokens, m->total, sum);
    }
    BLM_AVX512_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        float *y = m->a->y + (t0 + t) * m->a->y_stride + m->r;
        blm_avx512_add_to(y, m->rows, m->k0 == 0, sum[0][t]);
        if (m->rows > 16) blm_avx512_add_to(y + 16, m->rows - 16, m->k0 == 0, sum[1][t]);
    }
}

BLM_AVX512 static void blm_avx512_float_tiles(const blm_avx512_float_work *m)
{
    const uint32_t tokens = m->a->x->tokens;
    uint32_t t = 0;
    for (; t + BLM_AVX512_FLOAT_TOKENS <= tokens; t += BLM_AVX512_FLOAT_TOKENS)
        blm_avx512_float_tile(m, t, BLM_AVX512_FLOAT_TOKENS);
    for (; t < tokens; t++)
        blm_avx512_float_tile(m, t, 1);
}

BLM_AVX512_INLINE void blm_avx512_float_tokens(const blm_matmul_args *a, uint64_t row0,
                                               uint64_t row1, uint32_t type)
{
    const uint32_t cols = a->x->cols;
    const blm_avx512_stretches s = blm_avx512_stretches_of_columns(cols);
    blm_avx512_float_work m = {.a = a, .panel = (blm_avx512_column *)a->scratch};
    m.total =
        (float(*)[BLM_AVX512_FLOAT_TOKENS][16])(void *)(m.panel + BLM_AVX512_PANEL_COLUMNS);
    for (m.r = row0; m.r < row1; m.r += 32) {
        const uint8_t *rows[32];
        m.rows = row1 - m.r;
        blm_avx512_rows(a, m.r, row1, 32, rows);
        for (uint32_t i = 0; i < s.all; i++) {
            m.k0 = blm_avx512_cut(s, i) * BLM_AVX512_LANES;
            m.count = BLM_MIN(blm_avx512_cut(s, i + 1) * BLM_AVX512_LANES, cols) - m.k0;
            for (uint32_t h = 0; h < 2; h++)
                blm_avx512_fill_float(type, &m, rows + 16 * h, h);
            blm_avx512_float_tiles(&m);
        }
    }
}

#define BLM_AVX512_FLOATS(name, number, values, bytes)                                         \
    BLM_AVX512 static void blm_avx512_some_##name(const blm_matmul_args *a, uint64_t row0,     \
                                                  uint64_t row1)                               \
    {                                                                                          \
        blm_avx512_float_tokens(a, row0, row1, number);                                        \
    }
BLM_FLOAT_TYPES(BLM_AVX512_FLOATS)
#undef BLM_AVX512_FLOATS

/* ---- By type --------------------------------------------------------------------------- */

static void blm_avx512_matmul_some(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
#define BLM_AVX512_SOME(name, number, values, bytes) [number] = blm_avx512_some_##name,
    static const blm_matmul_fn some[BLM_TYPE_LIMIT] = {BLM_FLOAT_TYPES(BLM_AVX512_SOME)};
#undef BLM_AVX512_SOME
    const blm_matmul_fn fn = some[a->w->type];
    (fn ? fn : blm_avx512_matmul_blocks)(a, row0, row1);
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
#define BLM_AVX512_FLOATS(name, number, values, bytes) k->matmul8[number] = blm_avx512_matmul;
    BLM_FLOAT_TYPES(BLM_AVX512_FLOATS)
#undef BLM_AVX512_FLOATS
#define BLM_AVX512_BLOCKS(name, number, values, bytes)                                         \
    k->matmul8[number] = blm_avx512_matmul;                                                    \
    k->matmul_pair[number] = blm_avx512_matmul_pair;
    BLM_BLOCK_TYPES(BLM_AVX512_BLOCKS)
#undef BLM_AVX512_BLOCKS
}

BLM_PRIVATE void blm_kernels_avx512_vbmi(blm_kernels *k)
{
    k->matmul8[BLM_Q4_0] = blm_avx512_matmul_q4_0_vbmi;
    k->matmul_pair[BLM_Q4_0] = blm_avx512_matmul_pair_q4_0_vbmi;
}

#endif
