/* Products of many tokens by AMX tiles of bf16: the encoder's, whose tokens always come
 * together. A prompt's may come one by one, and must give the same bits then: the products of
 * AVX-512 are theirs. One instruction multiplies 16 tokens x 32
 * columns with 32 columns x 16 rows into 16 x 16 sums of f32, so a sum runs over the whole
 * row: weights are scaled while they are unpacked and nothing is scaled afterwards. With
 * int8 tiles each block of 32 columns would have its own scale: every 8 cycles of
 * multiplying, 16 vectors of sums to store, load, convert, scale and add.
 *
 * Tokens are the left factor and weights the right one, whose layout (pairs of columns, row
 * by row) is what avx512_unpack.h unpacks into; the sums come out as y has them.
 *
 *     for each 128 tokens
 *         for each 256 columns            tokens to bf16: 64 KB, next to the nearest cache
 *             for each 32 rows            weights to bf16: 16 KB, in the nearest cache
 *                 for each 32 tokens      four tiles of sums, from y and back to y
 *                     for each 32 columns two tiles of tokens, two of weights
 *
 * While one panel of 32 rows is multiplied, a little of the next one is unpacked after
 * every step: that keeps the vector units busy beside the tile unit, which takes 64 cycles
 * for a step. */
#include "avx512_unpack.h"

#ifdef BLM_HAVE_AMX

#define BLM_AMX_TARGET BLM_AVX512_TARGET ",avx512vbmi,avx512bf16"
#define BLM_AMX        __attribute__((target(BLM_AMX_TARGET)))
#define BLM_AMX_INLINE static inline __attribute__((always_inline, target(BLM_AMX_TARGET)))

/* ---- Tile instructions --------------------------------------------------------------- */

/* In assembly: compilers' own functions for these want flags, and gcc 12's do not say that
 * they read memory. No compiler uses tiles by itself. Strides are in bytes. */
#define BLM_AMX_CONFIGURE(tiles) __asm__ volatile("ldtilecfg %0" ::"m"(tiles))
#define BLM_AMX_RELEASE()        __asm__ volatile("tilerelease")
#define BLM_AMX_ZERO(t)          __asm__ volatile("tilezero {%%tmm" #t "|tmm" #t "}" ::)
#define BLM_AMX_LOAD(t, from, stride)                                                          \
    __asm__ volatile("tileloadd {(%0,%1,1), %%tmm" #t "|tmm" #t ", [%0+%1*1]}" ::"r"(from),    \
                     "r"((size_t)(stride))                                                     \
                     : "memory")
#define BLM_AMX_STORE(t, to, stride)                                                           \
    __asm__ volatile("tilestored {%%tmm" #t ", (%0,%1,1)|[%0+%1*1], tmm" #t "}" ::"r"(to),     \
                     "r"((size_t)(stride))                                                     \
                     : "memory")
#define BLM_AMX_MULTIPLY(sums, left, right)                                                    \
    __asm__ volatile("tdpbf16ps {%%tmm" #right ", %%tmm" #left ", %%tmm" #sums "|tmm" #sums    \
                     ", tmm" #left ", tmm" #right "}" ::)

/* What ldtilecfg reads. */
typedef struct blm_amx_tiles {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} blm_amx_tiles;

/* ---- Scratch ------------------------------------------------------------------------- */

enum { BLM_AMX_TOKENS = 128, BLM_AMX_COLUMNS = 256, BLM_AMX_STEPS = BLM_AMX_COLUMNS / 32 };

/* A tile of tokens: [token][column]. Of weights: [pair of columns][row][column of the pair]. */
typedef uint16_t blm_amx_tile[16][32];

/* Scales of one block of 16 rows: w = q * scale + offset, where q is too large by what the
 * comments below tell; Q6_K has others for the last 16 columns. */
typedef struct blm_amx_scales {
    float scale[2][16], offset[2][16];
} blm_amx_scales;

typedef struct blm_amx_scratch {
    blm_amx_tile x[BLM_AMX_TOKENS / 16][BLM_AMX_STEPS];
    blm_amx_tile w[2][BLM_AMX_STEPS][2]; /* [panel in use, next one][step][first, last rows] */
    blm_amx_scales scales[BLM_AMX_STEPS];
    float y[32][32]; /* sums of fewer than 32 tokens or rows */
} blm_amx_scratch;

typedef char blm_amx_scratch_fits[sizeof(blm_amx_scratch) <= BLM_MATMUL_PANEL_BYTES ? 1 : -1];

/* ---- Tokens to bf16 ------------------------------------------------------------------ */

/* 32 floats to nearest even; the first in the lower half. */
BLM_AMX_INLINE __m512i blm_amx_bf16(__m512 first, __m512 last)
{
    return (__m512i)_mm512_cvtne2ps_pbh(last, first);
}

/* Columns [k0, k1) of `tokens` tokens from t0; what is missing from whole tiles is 0. */
BLM_AMX static void blm_amx_take_tokens(const blm_acts *a, uint32_t t0, uint32_t tokens,
                                        uint32_t k0, uint32_t k1, blm_amx_scratch *s)
{
    for (uint32_t t = 0; t < (tokens + 15) / 16 * 16; t++) {
        const float *x = a->f32 + (size_t)(t0 + BLM_MIN(t, tokens - 1)) * a->f32_stride;
        const uint32_t end = t < tokens ? k1 : k0;
        blm_amx_tile *tile = s->x[t / 16];
        for (uint32_t k = k0; k < k1; k += 32, tile++) {
            __m512 first = _mm512_setzero_ps(), last = first;
            if (k < end) first = blm_avx512_get(x, k, end);
            if (k + 16 < end) last = blm_avx512_get(x, k + 16, end);
            _mm512_storeu_si512((*tile)[t % 16], blm_amx_bf16(first, last));
        }
    }
}

/* ---- Weights to bf16 ----------------------------------------------------------------- */

/* A byte put into a float of this size becomes that float plus the byte: with 128 one that
 * is below 128 into bits 16 to 23, with 32768 any into bits 8 to 15. */
BLM_AMX_INLINE float blm_amx_magic(uint32_t type)
{
    return blm_avx512_zero(type) == 128 ? 32768.0f : 128.0f;
}

/* Scale and offset of part p for 16 rows. The q of unpack16 are `zero` too large; that and the
 * magic number come off in the offset, exactly, as a scale has no more than 19 bits. */
BLM_AMX_INLINE void blm_amx_put_scale(uint32_t type, blm_amx_scales *s, uint32_t p,
                                      __m512 scale, float zero)
{
    const __m512 excess = _mm512_set1_ps(-blm_amx_magic(type) - zero);
    _mm512_storeu_ps(s->scale[p], scale);
    _mm512_storeu_ps(s->offset[p], _mm512_mul_ps(scale, excess));
}

/* Whether the magic number and zero come off before the scaling: where mins are offsets, and
 * leave no room in them, where a scale has more bits, or where one may be as large as a float. */
BLM_AMX_INLINE int blm_amx_takes_off_first(uint32_t type)
{
    return blm_type_has_min(type) || type == BLM_Q3_K || type == BLM_IQ4_NL ||
           type == BLM_IQ4_XS || type == BLM_MXFP4;
}

/* Scale of part p, and what is to be added after it. */
BLM_AMX_INLINE void blm_amx_put(uint32_t type, blm_amx_scales *s, uint32_t p, __m512 scale,
                                __m512 more)
{
    if (!blm_amx_takes_off_first(type)) {
        blm_amx_put_scale(type, s, p, scale, (float)blm_avx512_zero(type));
        return;
    }
    _mm512_storeu_ps(s->scale[p], scale);
    _mm512_storeu_ps(s->offset[p], more);
}

/* Of the block of 256 at byte k of 16 rows. */
BLM_AMX_INLINE void blm_amx_scales_256(uint32_t type, const uint8_t *const *rows, size_t k,
                                       blm_amx_scales *s)
{
    const uint32_t parts = blm_type_is_halved(type) ? 2 : 1;
    blm_avx512_k_head head;
    blm_avx512_head(type, rows, k, &head);
    for (uint32_t i = 0; i < 8 * parts; i++) {
        __m512 more = _mm512_setzero_ps();
        if (blm_type_has_min(type))
            more = _mm512_sub_ps(more, blm_avx512_k_min(type, &head, i / parts, i % parts));
        blm_amx_put(type, s + i / parts, i % parts,
                    blm_avx512_k_scale(type, &head, i / parts, i % parts), more);
    }
}

/* Of blocks [i0, i0 + count) of 16 rows; of one block of 256, which is a stretch. */
BLM_AMX_INLINE void blm_amx_take_scales(uint32_t type, const uint8_t *const *rows, uint32_t i0,
                                        uint32_t count, blm_amx_scales *s)
{
    const size_t bytes = blm_type_bytes(type);
    if (blm_avx512_in_256(type)) {
        blm_amx_scales_256(type, rows, i0 / 8 * bytes, s);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const size_t at = (i0 + i) * bytes;
        __m512 more = _mm512_setzero_ps();
        if (blm_type_has_min(type)) more = blm_avx512_halves(rows, at + 2);
        blm_amx_put(type, s + i, 0, blm_avx512_factors(type, rows, at), more);
    }
}

/* Block i of 16 rows. */
BLM_AMX_INLINE void blm_amx_take_block(uint32_t type, const uint8_t *const *rows, uint32_t i,
                                       const blm_amx_scales *s, blm_amx_tile *tile)
{
    /* lane l is column l % 2 of a pair and row l / 2, or 8 + l / 2 */
    const __m512i row = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i byte = _mm512_setr_epi32(0x00000000, 0x01010101, 0x04040404, 0x05050505,
                                           0x08080808, 0x09090909, 0x0C0C0C0C, 0x0D0D0D0D,
                                           0x10101010, 0x11111111, 0x14141414, 0x15151515,
                                           0x18181818, 0x19191919, 0x1C1C1C1C, 0x1D1D1D1D);
    const __mmask64 place =
        blm_avx512_zero(type) == 128 ? 0x2222222222222222 : 0x4444444444444444;
    const __m512i magic = _mm512_castps_si512(_mm512_set1_ps(blm_amx_magic(type)));
    const __m512 first = _mm512_set1_ps(blm_amx_magic(type) + (float)blm_avx512_zero(type));
    __m512 scale[2], offset[2];
    __m512i q[8];
    blm_avx512_unpack16(type, rows, i, q);
    BLM_AVX512_UNROLL
    for (int pair = 0; pair < 16; pair++) {
        __m512 w[2];
        BLM_AVX512_UNROLL
        for (int h = 0; h < 2; h++) {
            if (pair == 0 || (pair == 8 && blm_type_is_halved(type))) {
                __m512i half = _mm512_add_epi32(row, _mm512_set1_epi32(h * 8));
                scale[h] = _mm512_permutexvar_ps(half, _mm512_loadu_ps(s->scale[pair / 8]));
                offset[h] = _mm512_permutexvar_ps(half, _mm512_loadu_ps(s->offset[pair / 8]));
            }
            __m512i from =
                _mm512_add_epi8(byte, _mm512_set1_epi8((char)(h * 32 + pair % 2 * 2)));
            __m512i v = _mm512_mask_permutexvar_epi8(magic, place, from, q[pair / 2]);
            w[h] = _mm512_castsi512_ps(v);
            if (blm_amx_takes_off_first(type)) w[h] = _mm512_sub_ps(w[h], first);
            w[h] = _mm512_fmadd_ps(w[h], scale[h], offset[h]);
        }
        _mm512_storeu_si512((*tile)[pair], blm_amx_bf16(w[0], w[1]));
    }
}

/* Columns [k, k + 32), or up to k1 and zeros, of 16 rows of f16 or bf16, whose pairs of
 * columns are lanes as they come. */
BLM_AMX_INLINE void blm_amx_take_halves(uint32_t type, const uint8_t *const *rows, uint32_t k,
                                        uint32_t k1, blm_amx_tile *tile)
{
    for (uint32_t pair = 0; pair < 16; pair += 4, k += 8) {
        __m512i v[4] = {_mm512_setzero_si512()};
        v[1] = v[2] = v[3] = v[0];
        if (k + 8 <= k1)
            blm_avx512_pieces(rows, (size_t)k * 2, 16, v);
        else if (k < k1)
            blm_avx512_pieces(rows, (size_t)k * 2, (k1 - k) * 2, v);
        BLM_AVX512_UNROLL
        for (int c = 0; c < 4; c++) {
            if (type == BLM_F16)
                v[c] = blm_amx_bf16(_mm512_cvtph_ps(_mm512_castsi512_si256(v[c])),
                                    _mm512_cvtph_ps(_mm512_extracti64x4_epi64(v[c], 1)));
            _mm512_storeu_si512((*tile)[pair + (uint32_t)c], v[c]);
        }
    }
}

/* 16 bytes, or fewer and zeros, of four rows. */
BLM_AMX_INLINE __m512i blm_amx_four(const uint8_t *const *rows, size_t at, __mmask16 mask)
{
    __m512i v = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(mask, rows[0] + at));
    v = _mm512_inserti32x4(v, _mm_maskz_loadu_epi8(mask, rows[2] + at), 1);
    v = _mm512_inserti32x4(v, _mm_maskz_loadu_epi8(mask, rows[4] + at), 2);
    return _mm512_inserti32x4(v, _mm_maskz_loadu_epi8(mask, rows[6] + at), 3);
}

/* The same of f32. */
BLM_AMX_INLINE void blm_amx_take_floats(const uint8_t *const *rows, uint32_t k, uint32_t k1,
                                        blm_amx_tile *tile)
{
    for (uint32_t pair = 0; pair < 16; pair += 2, k += 4) {
        const size_t at = (size_t)BLM_MIN(k, k1) * 4;
        const __mmask16 mask = blm_avx512_mask(k < k1 ? BLM_MIN(k1 - k, 4) * 4 : 0);
        __m512 w[2][2]; /* [pair][rows] */
        BLM_AVX512_UNROLL
        for (int h = 0; h < 2; h++) {
            __m512i even = blm_amx_four(rows + h * 8, at, mask);
            __m512i odd = blm_amx_four(rows + h * 8 + 1, at, mask);
            w[0][h] = _mm512_castsi512_ps(_mm512_unpacklo_epi64(even, odd));
            w[1][h] = _mm512_castsi512_ps(_mm512_unpackhi_epi64(even, odd));
        }
        _mm512_storeu_si512((*tile)[pair], blm_amx_bf16(w[0][0], w[0][1]));
        _mm512_storeu_si512((*tile)[pair + 1], blm_amx_bf16(w[1][0], w[1][1]));
    }
}

/* ---- A panel, bit by bit ------------------------------------------------------------- */

/* Columns [k0, k1) of 32 rows on their way into scratch. A unit of the work is a tile, or
 * the scales of 16 rows before their first tile. */
typedef struct blm_amx_panel {
    const uint8_t *rows[32];
    uint32_t type, k0, k1;
    uint32_t steps; /* tiles of 32 columns */
    uint32_t units, done;
    uint64_t ahead_rows;  /* of the panel after this one, whose bytes are asked for early */
    const uint8_t *ahead; /* its first row                                                */
    size_t ahead_bytes, row_bytes;
    blm_amx_tile (*w)[2];
    blm_amx_scales *scales;
} blm_amx_panel;

/* A share of the next panel's rows, half h of it, with the step-th tile of this one. */
BLM_AMX_INLINE void blm_amx_prefetch(const blm_amx_panel *p, uint32_t h, uint32_t step)
{
    uint64_t first = h * 16 + 16 * step / p->steps, end = h * 16 + 16 * (step + 1) / p->steps;
    for (uint64_t r = first; r < BLM_MIN(end, p->ahead_rows); r++)
        for (size_t at = 0; at < p->ahead_bytes; at += 64)
            __builtin_prefetch(p->ahead + r * p->row_bytes + at, 0, 2);
}

/* Units up to `until`. */
BLM_AMX_INLINE void blm_amx_fill(uint32_t type, blm_amx_panel *p, uint32_t until)
{
    for (; p->done < until; p->done++) {
        const uint32_t h = p->done / (p->steps + 1), unit = p->done % (p->steps + 1);
        const uint8_t *const *rows = p->rows + h * 16;
        const uint32_t k = p->k0 + (unit - 1) * 32;
        if (unit == 0) {
            if (!blm_type_is_float(type))
                blm_amx_take_scales(type, rows, p->k0 / 32, p->steps, p->scales);
            continue;
        }
        blm_amx_prefetch(p, h, unit - 1);
        blm_amx_tile *tile = &p->w[unit - 1][h];
        if (type == BLM_F32)
            blm_amx_take_floats(rows, k, p->k1, tile);
        else if (type == BLM_F16 || type == BLM_BF16)
            blm_amx_take_halves(type, rows, k, p->k1, tile);
        else
            blm_amx_take_block(type, rows, k / 32, p->scales + unit - 1, tile);
    }
}

/* Every type has a way: nothing is quantised for these products. */
#define BLM_AMX_FILL(name, number, values, bytes)                                              \
    BLM_AMX static void blm_amx_fill_##name(blm_amx_panel *p, uint32_t until)                  \
    {                                                                                          \
        blm_amx_fill(number, p, until);                                                        \
    }
BLM_TYPES(BLM_AMX_FILL)
#undef BLM_AMX_FILL

static void blm_amx_fill_to(blm_amx_panel *p, uint32_t until)
{
#define BLM_AMX_FILL(name, number, values, bytes) [number] = blm_amx_fill_##name,
    static void (*const fill[BLM_TYPE_LIMIT])(blm_amx_panel *,
                                              uint32_t) = {BLM_TYPES(BLM_AMX_FILL)};
#undef BLM_AMX_FILL
    if (p->done < until) fill[p->type](p, until);
}

/* ---- The product --------------------------------------------------------------------- */

/* Rows [row0, row1) for some tokens: panels of 32 rows, for each stretch of columns. */
typedef struct blm_amx_product {
    const blm_matmul_args *a;
    blm_amx_scratch *s;
    uint64_t row0, row1, panels, stretches;
    uint32_t t0, tokens;
} blm_amx_product;

/* Where panel j, counted over all stretches, has its rows and columns. */
static void blm_amx_place(const blm_amx_product *m, uint64_t j, uint64_t *row, uint32_t *k0,
                          uint32_t *k1)
{
    *row = m->row0 + j % m->panels * 32;
    *k0 = (uint32_t)(j / m->panels) * BLM_AMX_COLUMNS;
    *k1 = *k0 + BLM_MIN(m->a->x->cols - *k0, BLM_AMX_COLUMNS);
}

/* Bytes of a row before column k, at which a block begins or which is the last. */
static size_t blm_amx_offset(const blm_tensor *w, uint32_t k)
{
    uint32_t values, bytes;
    blm_type_block(w->type, &values, &bytes);
    return (size_t)k / values * bytes;
}

/* Begins panel j; there is none at the end: no units. */
BLM_AMX static void blm_amx_begin(const blm_amx_product *m, uint64_t j, blm_amx_panel *p)
{
    const blm_tensor *w = m->a->w;
    uint64_t row;
    uint32_t k0, k1;
    p->units = p->done = 0;
    if (j == m->panels * m->stretches) return;
    blm_amx_place(m, j, &row, &p->k0, &p->k1);
    blm_avx512_rows(m->a, row, m->row1, 32, p->rows);
    p->type = w->type;
    p->steps = (p->k1 - p->k0 + 31) / 32;
    p->units = 2 * (p->steps + 1);
    p->w = m->s->w[j % 2];
    p->scales = m->s->scales;
    p->ahead_rows = 0;
    if (j + 1 == m->panels * m->stretches) return;
    blm_amx_place(m, j + 1, &row, &k0, &k1);
    p->row_bytes = (size_t)w->row_bytes;
    p->ahead = w->data + row * w->row_bytes + blm_amx_offset(w, k0);
    p->ahead_bytes = blm_amx_offset(w, k1) - blm_amx_offset(w, k0);
    p->ahead_rows = BLM_MIN(m->row1 - row, 32);
}

/* Sums between y and 32 x 32 of scratch, where there are fewer tokens or rows. */
BLM_AMX static void blm_amx_borrow(float (*s)[32], float *y, size_t y_stride, uint32_t tokens,
                                   uint64_t rows, int back)
{
    for (uint32_t t = 0; t < tokens; t++, y += y_stride)
        for (uint32_t r = 0; r < rows; r += 16) {
            const __mmask16 mask = blm_avx512_mask(BLM_MIN(rows - r, 16));
            if (back)
                _mm512_mask_storeu_ps(y + r, mask, _mm512_loadu_ps(s[t] + r));
            else
                _mm512_storeu_ps(s[t] + r, _mm512_maskz_loadu_ps(mask, y + r));
        }
}

/* Adds the product of one or two tiles of tokens with a panel to the sums at y (or writes
 * it there: `fresh`), and fills some of the next panel: of `all` steps that will go by,
 * `gone` went before. */
BLM_AMX static void blm_amx_multiply(blm_amx_tile (*x)[BLM_AMX_STEPS], uint32_t groups,
                                     blm_amx_tile (*w)[2], uint32_t steps, float *y,
                                     size_t y_stride, int fresh, blm_amx_panel *next,
                                     uint32_t gone, uint32_t all)
{
    const size_t bytes = y_stride * sizeof(float);
    float *below = groups == 2 ? y + 16 * y_stride : y;
    if (fresh) {
        BLM_AMX_ZERO(0);
        BLM_AMX_ZERO(1);
        BLM_AMX_ZERO(2);
        BLM_AMX_ZERO(3);
    } else {
        BLM_AMX_LOAD(0, y, bytes);
        BLM_AMX_LOAD(1, y + 16, bytes);
        BLM_AMX_LOAD(2, below, bytes); /* with one tile of tokens in vain */
        BLM_AMX_LOAD(3, below + 16, bytes);
    }
    for (uint32_t i = 0; i < steps; i++) {
        BLM_AMX_LOAD(6, w[i][0], 64);
        BLM_AMX_LOAD(4, x[0][i], 64);
        BLM_AMX_MULTIPLY(0, 4, 6);
        BLM_AMX_LOAD(7, w[i][1], 64);
        BLM_AMX_MULTIPLY(1, 4, 7);
        if (groups == 2) {
            BLM_AMX_LOAD(5, x[1][i], 64);
            BLM_AMX_MULTIPLY(2, 5, 6);
            BLM_AMX_MULTIPLY(3, 5, 7);
        }
        blm_amx_fill_to(next, next->units * (gone + i + 1) / all);
    }
    BLM_AMX_STORE(0, y, bytes);
    BLM_AMX_STORE(1, y + 16, bytes);
    if (groups == 2) {
        BLM_AMX_STORE(2, below, bytes);
        BLM_AMX_STORE(3, below + 16, bytes);
    }
}

/* Panel j, which lies in scratch, with all tokens, while the next one is filled. */
BLM_AMX static void blm_amx_run_panel(const blm_amx_product *m, uint64_t j, blm_amx_panel *next)
{
    uint64_t row;
    uint32_t k0, k1;
    blm_amx_scratch *s = m->s;
    blm_amx_place(m, j, &row, &k0, &k1);
    const uint64_t rows = BLM_MIN(m->row1 - row, 32);
    const uint32_t steps = (k1 - k0 + 31) / 32, all = (m->tokens + 31) / 32 * steps;
    for (uint32_t t = 0; t < m->tokens; t += 32) {
        const uint32_t tokens = BLM_MIN(m->tokens - t, 32), groups = (tokens + 15) / 16;
        const uint32_t gone = t / 32 * steps;
        float *y = m->a->y + (size_t)(m->t0 + t) * m->a->y_stride + row;
        if (tokens == groups * 16 && rows == 32) {
            blm_amx_multiply(s->x + t / 16, groups, s->w[j % 2], steps, y, m->a->y_stride,
                             k0 == 0, next, gone, all);
            continue;
        }
        if (k0) blm_amx_borrow(s->y, y, m->a->y_stride, tokens, rows, 0);
        blm_amx_multiply(s->x + t / 16, groups, s->w[j % 2], steps, s->y[0], 32, k0 == 0, next,
                         gone, all);
        blm_amx_borrow(s->y, y, m->a->y_stride, tokens, rows, 1);
    }
}

BLM_AMX static void blm_amx_run(blm_amx_product *m)
{
    blm_amx_panel panel;
    blm_amx_begin(m, 0, &panel);
    blm_amx_fill_to(&panel, panel.units);
    for (uint64_t j = 0; j < m->panels * m->stretches; j++) {
        if (j % m->panels == 0) {
            uint64_t row;
            uint32_t k0, k1;
            blm_amx_place(m, j, &row, &k0, &k1);
            blm_amx_take_tokens(m->a->x, m->t0, m->tokens, k0, k1, m->s);
        }
        blm_amx_begin(m, j + 1, &panel);
        blm_amx_run_panel(m, j, &panel);
    }
}

/* ---- The table ----------------------------------------------------------------------- */

/* Tokens in runs of about the same length, at most 128. */
static void blm_amx_matmul(const blm_matmul_args *a, uint64_t row0, uint64_t row1)
{
    static const blm_amx_tiles whole = {.palette = 1,
                                        .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                        .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    const uint32_t tokens = a->x->tokens, runs = (tokens + BLM_AMX_TOKENS - 1) / BLM_AMX_TOKENS;
    const uint32_t run = ((tokens + runs - 1) / runs + 31) / 32 * 32;
    blm_amx_product m = {.a = a,
                         .s = (blm_amx_scratch *)a->scratch,
                         .row0 = row0,
                         .row1 = row1,
                         .panels = (row1 - row0 + 31) / 32,
                         .stretches = (a->x->cols + BLM_AMX_COLUMNS - 1) / BLM_AMX_COLUMNS};
    BLM_AMX_CONFIGURE(whole);
    for (m.t0 = 0; m.t0 < tokens; m.t0 += run) {
        m.tokens = BLM_MIN(tokens - m.t0, run);
        blm_amx_run(&m);
    }
    BLM_AMX_RELEASE();
}

BLM_PRIVATE void blm_kernels_amx(blm_kernels *k)
{
#define BLM_AMX_ENTRY(name, number, values, bytes) k->matmul_bf16[number] = blm_amx_matmul;
    BLM_TYPES(BLM_AMX_ENTRY)
#undef BLM_AMX_ENTRY
}

#endif
