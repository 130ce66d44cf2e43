/* AVX-512 attention of many queries: the picture's patches, a prompt's chunk. Keys come in
 * blocks of 64. A block's keys and values are turned once for all queries into panels of
 * int16 pairs, keys with lanes along keys, values with lanes along dimensions, and then meet
 * four queries at a time, so that the whole of it happens in the first cache.
 *
 * See avx512_weigh.h for what is rounded how. */
#include "avx512_weigh.h"

#ifdef BLM_HAVE_X86

/* Queries [first, first + count) and the block of keys that they look at. */
typedef struct blm_avx512_many {
    const blm_attend_args *a;
    uint32_t type, first, count;
    uint32_t dims;         /* head_dim, up to a multiple of 32            */
    int16_t *q;            /* [count up to fours][dims]                   */
    int32_t *k;            /* [head_dim / 2, up][64 keys]: pairs of int16 */
    int32_t *v;            /* [32 pairs of keys][dims]                    */
    float *k_scale;        /* [64], with 1 / log(2): weights are 2^score  */
    float *row_scale;      /* [64], of int8 value rows, in the panel's order of keys */
    float *v_scale;        /* [dims]                                      */
    float *q_scale;        /* [count up to fours]                         */
    float *most, *sum;     /* greatest score so far, sum of weights       */
    uint32_t begin, pairs; /* the block's first key, and half its keys, up */
} blm_avx512_many;

/* ---- Into int16 ------------------------------------------------------------------------ */

BLM_AVX512 static void blm_avx512_query_panel(const blm_avx512_many *m)
{
    const blm_attend_args *a = m->a;
    const float length =
        m->type == BLM_F32 ? BLM_AVX512_ROW_LENGTH : blm_avx512_int8_length(m->dims);
    for (uint32_t t = 0; t < m->count; t++) {
        const float *q = a->q + (m->first + t) * a->q_stride;
        blm_avx512_ask(q + 8 * a->q_stride, a->head_dim * sizeof *q);
        memset(a->out + (m->first + t) * a->out_stride, 0, a->head_dim * sizeof *q);
        m->q_scale[t] =
            blm_avx512_round_row(q, a->head_dim, length, m->q + (size_t)t * m->dims);
        m->most[t] = BLM_AVX512_NO_SCORE;
        m->sum[t] = 0;
    }
    for (uint32_t t = m->count; t % BLM_AVX512_TILE; t++) {
        memset(m->q + (size_t)t * m->dims, 0, m->dims * sizeof *m->q);
        m->q_scale[t] = m->most[t] = m->sum[t] = 0;
    }
}

/* A key's row as int16; returns what it has to be multiplied with. Int8 stays what it is. */
BLM_AVX512_INLINE float blm_avx512_key_row(const blm_avx512_many *m, uint32_t type, size_t key,
                                           int16_t *to)
{
    const blm_attend_args *a = m->a;
    const uint8_t *row = a->k + key * a->k_stride;
    if (type == BLM_F32)
        return blm_avx512_round_row((const float *)(const void *)row, a->head_dim,
                                    BLM_AVX512_ROW_LENGTH, to);
    for (uint32_t d = 0; d < a->head_dim; d += 32) {
        __m256i v = _mm256_maskz_loadu_epi8(blm_avx512_mask32(a->head_dim - d), row + d);
        _mm512_storeu_si512(to + d, _mm512_cvtepi8_epi16(v));
    }
    return blm_f32_of_f16(blm_load_u16(a->k_scale + key * a->k_scale_stride));
}

/* Fills vector `c` of the panel's four, from a block of `keys`: those that are lacking become
 * 0. The place of the values serves for the rows on their way. */
BLM_AVX512_INLINE void blm_avx512_turn_keys(const blm_avx512_many *m, uint32_t type, uint32_t c,
                                            uint32_t keys)
{
    const blm_attend_args *a = m->a;
    const uint32_t pairs = (a->head_dim + 1) / 2;
    const uint8_t *rows[16];
    for (uint32_t r = 0; r < 16; r++) {
        int16_t *row = (int16_t *)(void *)m->v + (size_t)r * m->dims;
        uint32_t j = blm_avx512_key_of(c, r), at = c * 16 + r;
        rows[r] = (const uint8_t *)row;
        m->k_scale[at] = m->row_scale[at] = 0;
        if (j >= keys) {
            memset(row, 0, m->dims * sizeof *row);
            continue;
        }
        size_t key = m->begin + (size_t)j;
        m->k_scale[at] = blm_avx512_key_row(m, type, key, row) * BLM_AVX512_TO_POWER;
        if (type == BLM_AVX512_INT8)
            m->row_scale[at] =
                blm_f32_of_f16(blm_load_u16(a->v_scale + key * a->v_scale_stride));
    }
    for (uint32_t i = 0; i < pairs; i += 4) {
        __m512i v[4];
        blm_avx512_pieces(rows, i * 4, 16, v);
        for (uint32_t k = 0; k < BLM_MIN(pairs - i, 4); k++)
            _mm512_storeu_si512(m->k + (size_t)(i + k) * BLM_AVX512_BLOCK + c * 16, v[k]);
    }
}

/* Rounds 16 columns of the block's values and puts rows 2i and 2i + 1 side by side. */
BLM_AVX512_INLINE void blm_avx512_turn_values_f32(const blm_avx512_many *m, uint32_t d,
                                                  uint32_t n, uint32_t keys)
{
    const blm_attend_args *a = m->a;
    const uint8_t *rows = a->v + (size_t)m->begin * a->v_stride;
    __m512 most = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (uint32_t j = 0; j < keys; j++) {
        __m512 x = blm_avx512_floats(BLM_F32, rows + j * a->v_stride, d, n);
        most = _mm512_max_ps(_mm512_abs_ps(x), most);
        squares = _mm512_fmadd_ps(x, x, squares);
    }
    const __m512 factor = blm_avx512_factor(most, squares, BLM_AVX512_COLUMN_LENGTH);
    _mm512_storeu_ps(m->v_scale + d, _mm512_div_ps(_mm512_set1_ps(1), factor));
    for (uint32_t j = 0; j < keys; j += 2) {
        const uint8_t *row = rows + j * a->v_stride;
        __m512 x = blm_avx512_floats(BLM_F32, row, d, n), y = _mm512_setzero_ps();
        if (j + 1 < keys) y = blm_avx512_floats(BLM_F32, row + a->v_stride, d, n);
        __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(x, factor));
        __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(y, factor));
        low = _mm512_mask_mov_epi16(low, 0xAAAAAAAAu, _mm512_slli_epi32(high, 16));
        _mm512_storeu_si512(m->v + (size_t)(j / 2) * m->dims + d, low);
    }
}

/* Int8 values stay what they are: their rows' scales go into the weights. */
BLM_AVX512_INLINE void blm_avx512_turn_values_q8(const blm_avx512_many *m, uint32_t d,
                                                 uint32_t n, uint32_t keys)
{
    const blm_attend_args *a = m->a;
    const uint8_t *rows = a->v + (size_t)m->begin * a->v_stride + d;
    const __mmask16 mask = blm_avx512_mask(n);
    _mm512_storeu_ps(m->v_scale + d, _mm512_set1_ps(1));
    for (uint32_t j = 0; j < keys; j += 2) {
        const uint8_t *row = rows + j * a->v_stride;
        __m128i x = _mm_maskz_loadu_epi8(mask, row), y = _mm_setzero_si128();
        if (j + 1 < keys) y = _mm_maskz_loadu_epi8(mask, row + a->v_stride);
        __m256i both = _mm256_set_m128i(_mm_unpackhi_epi8(x, y), _mm_unpacklo_epi8(x, y));
        _mm512_storeu_si512(m->v + (size_t)(j / 2) * m->dims + d, _mm512_cvtepi8_epi16(both));
    }
}

/* Both panels of a block. */
BLM_AVX512_INLINE void blm_avx512_turn(const blm_avx512_many *m, uint32_t type, uint32_t keys)
{
    for (uint32_t c = 0; c < BLM_AVX512_BLOCK / 16; c++)
        blm_avx512_turn_keys(m, type, c, keys);
    for (uint32_t d = 0; d < m->a->head_dim; d += 16) {
        uint32_t n = BLM_MIN(m->a->head_dim - d, 16);
        if (type == BLM_F32)
            blm_avx512_turn_values_f32(m, d, n, keys);
        else
            blm_avx512_turn_values_q8(m, d, n, keys);
    }
}

BLM_AVX512 static void blm_avx512_turn_f32(const blm_avx512_many *m, uint32_t keys)
{
    blm_avx512_turn(m, BLM_F32, keys);
}

BLM_AVX512 static void blm_avx512_turn_q8(const blm_avx512_many *m, uint32_t keys)
{
    blm_avx512_turn(m, BLM_AVX512_INT8, keys);
}

/* ---- Four queries and 64 keys -------------------------------------------------------------- */

/* s[query][keys by 16]: the products, times the scales of the keys. */
BLM_AVX512 static void blm_avx512_scores4(const blm_avx512_many *m, uint32_t t,
                                          __m512 (*s)[BLM_AVX512_TILE])
{
    const int16_t *q = m->q + (size_t)t * m->dims;
    const uint32_t pairs = (m->a->head_dim + 1) / 2;
    __m512i sum[4][4];
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        BLM_AVX512_UNROLL
        for (int c = 0; c < 4; c++)
            sum[i][c] = _mm512_setzero_si512();
    }
    for (uint32_t d = 0; d < pairs; d++) {
        const int32_t *at = m->k + (size_t)d * BLM_AVX512_BLOCK;
        __m512i key[4];
        BLM_AVX512_UNROLL
        for (int c = 0; c < 4; c++)
            key[c] = _mm512_loadu_si512(at + c * 16);
        BLM_AVX512_UNROLL
        for (uint32_t i = 0; i < 4; i++) {
            __m512i pair = blm_avx512_spread4(q + (size_t)i * m->dims + d * 2);
            BLM_AVX512_UNROLL
            for (int c = 0; c < 4; c++)
                sum[i][c] = blm_avx512_dot16(sum[i][c], key[c], pair);
        }
    }
    BLM_AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        BLM_AVX512_UNROLL
        for (int c = 0; c < 4; c++)
            s[i][c] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[i][c]),
                                    _mm512_loadu_ps(m->k_scale + c * 16));
    }
}

/* Scores of keys that a query does not see become -infinity. */
BLM_AVX512_INLINE void blm_avx512_hide(const blm_avx512_many *m, uint32_t t,
                                       __m512 (*s)[BLM_AVX512_TILE])
{
    BLM_AVX512_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t query = m->first + BLM_MIN(t + i, m->count - 1);
        blm_avx512_hide_others(blm_avx512_span_of(m->a, query, m->begin), s[i]);
    }
}

/* Scores of four queries into weights. */
BLM_AVX512 static void blm_avx512_weigh4(const blm_avx512_many *m, uint32_t t,
                                         __m512 (*s)[BLM_AVX512_TILE], blm_avx512_weights4 *w)
{
    const blm_avx512_queries q = {m->q_scale + t, m->most + t, m->sum + t,
                                  m->type == BLM_AVX512_INT8 ? m->row_scale : NULL};
    blm_avx512_weigh_block(&q, 4, s, w);
}

/* out[query][d .. d + 16 chunks) = out * fade + sum of weights and values, for `count` of
 * four queries. */
BLM_AVX512_INLINE void blm_avx512_values4(const blm_avx512_many *m, uint32_t t, uint32_t count,
                                          uint32_t d, uint32_t chunks,
                                          const blm_avx512_weights4 *w)
{
    const blm_attend_args *a = m->a;
    const __mmask16 tail = blm_avx512_mask(BLM_MIN(a->head_dim - d - (chunks - 1) * 16, 16));
    __m512i sum[BLM_AVX512_TILE][5];
    BLM_AVX512_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            sum[i][c] = _mm512_setzero_si512();
    }
    for (uint32_t j = 0; j < m->pairs; j++) {
        const int32_t *at = m->v + (size_t)j * m->dims + d;
        __m512i v[5];
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++)
            v[c] = _mm512_loadu_si512(at + c * 16);
        BLM_AVX512_UNROLL
        for (int i = 0; i < 4; i++) {
            __m512i pair = blm_avx512_spread4((const int32_t *)(const void *)w->w[i] + j);
            BLM_AVX512_UNROLL
            for (uint32_t c = 0; c < chunks; c++)
                sum[i][c] = blm_avx512_dot16(sum[i][c], v[c], pair);
        }
    }
    BLM_AVX512_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
        float *out = a->out + (m->first + BLM_MIN(t + i, m->count - 1)) * a->out_stride + d;
        const __m512 fade = _mm512_set1_ps(w->fade[i]), scale = _mm512_set1_ps(w->scale[i]);
        BLM_AVX512_UNROLL
        for (uint32_t c = 0; c < chunks; c++) {
            const __mmask16 lanes = c + 1 < chunks ? 0xFFFF : tail;
            const __mmask16 mask = i < count ? lanes : 0;
            __m512 x = _mm512_mul_ps(scale, _mm512_loadu_ps(m->v_scale + d + c * 16));
            x = _mm512_mul_ps(x, _mm512_cvtepi32_ps(sum[i][c]));
            x = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, out + c * 16), fade, x);
            _mm512_mask_storeu_ps(out + c * 16, mask, x);
        }
    }
}

/* Four queries from t with the block, by fives, fours, threes and ones of vectors. */
BLM_AVX512 static void blm_avx512_tile4(const blm_avx512_many *m, uint32_t t)
{
    const uint32_t head_dim = m->a->head_dim, count = BLM_MIN(m->count - t, 4);
    __m512 s[BLM_AVX512_TILE][BLM_AVX512_TILE];
    blm_avx512_weights4 w;
    for (uint32_t i = 0; i < 4; i++)
        blm_avx512_ask(m->a->out + (m->first + t + 4 + i) * m->a->out_stride,
                       head_dim * sizeof(float));
    blm_avx512_scores4(m, t, s);
    const blm_attend_span first = blm_avx512_span_of(m->a, m->first + t, m->begin);
    const blm_attend_span last = blm_avx512_span_of(m->a, m->first + t + count - 1, m->begin);
    if (first.end < BLM_AVX512_BLOCK || last.from) blm_avx512_hide(m, t, s);
    blm_avx512_weigh4(m, t, s, &w);
    for (uint32_t d = 0, chunks; d < head_dim; d += chunks * 16) {
        uint32_t left = (head_dim - d + 15) / 16;
        chunks = left == 5 ? 5 : left == 4 || left >= 7 ? 4 : left >= 3 ? 3 : 1;
        if (chunks == 5)
            blm_avx512_values4(m, t, count, d, 5, &w);
        else if (chunks == 4)
            blm_avx512_values4(m, t, count, d, 4, &w);
        else if (chunks == 3)
            blm_avx512_values4(m, t, count, d, 3, &w);
        else
            blm_avx512_values4(m, t, count, d, 1, &w);
    }
}

/* ---- All of it ----------------------------------------------------------------------------- */

/* Divides the outputs by the sums of weights. */
BLM_AVX512 static void blm_avx512_finish_many(const blm_avx512_many *m)
{
    const uint32_t n = m->a->head_dim;
    for (uint32_t t = 0; t < m->count; t++) {
        float *out = m->a->out + (m->first + t) * m->a->out_stride;
        const __m512 factor = _mm512_set1_ps(1 / m->sum[t]);
        for (uint32_t d = 0; d < n; d += 16)
            blm_avx512_put(out, d, n, _mm512_mul_ps(blm_avx512_get(out, d, n), factor));
    }
}

/* Asks for the share of the block at `begin` that falls to queries [t, t + 4). */
BLM_AVX512 static void blm_avx512_block_ahead4(const blm_avx512_many *m, uint32_t begin,
                                               uint32_t end, uint32_t t)
{
    const blm_attend_args *a = m->a;
    const uint32_t keys = BLM_MIN(end - begin, BLM_AVX512_BLOCK);
    const uint32_t last = BLM_MIN(t + BLM_AVX512_TILE, m->count) * keys / m->count;
    const size_t bytes = (size_t)a->head_dim * blm_avx512_size(m->type);
    for (uint32_t j = t * keys / m->count; j < last; j++) {
        blm_avx512_ask(a->k + (size_t)(begin + j) * a->k_stride, bytes);
        blm_avx512_ask(a->v + (size_t)(begin + j) * a->v_stride, bytes);
    }
}

/* One pass: at most BLM_ATTEND_PASS queries with all the keys that they see. */
static void blm_avx512_attend_pass(blm_avx512_many *m)
{
    const blm_attend_args *a = m->a;
    const uint32_t end = blm_attend_sees(a, m->first + m->count - 1).end;
    const uint32_t skip = blm_attend_sees(a, m->first).from;
    blm_avx512_query_panel(m);
    for (uint32_t keys, j = skip / BLM_AVX512_BLOCK * BLM_AVX512_BLOCK; j < end; j += keys) {
        keys = BLM_MIN(end - j, BLM_AVX512_BLOCK);
        m->begin = j;
        m->pairs = (keys + 1) / 2;
        if (m->type == BLM_F32)
            blm_avx512_turn_f32(m, keys);
        else
            blm_avx512_turn_q8(m, keys);
        for (uint32_t t = 0; t < m->count; t += BLM_AVX512_TILE) {
            uint32_t last = m->first + BLM_MIN(t + BLM_AVX512_TILE, m->count) - 1;
            blm_avx512_block_ahead4(m, j + keys, end, t);
            const blm_attend_span sees = {blm_avx512_span_of(a, m->first + t, j).from,
                                          blm_avx512_span_of(a, last, j).end};
            if (sees.from < sees.end) blm_avx512_tile4(m, t); /* else they see none of it */
        }
    }
    blm_avx512_finish_many(m);
}

BLM_PRIVATE void blm_avx512_attend_many(const blm_attend_args *a, uint32_t type)
{
    const uint32_t most = BLM_MIN(a->queries, BLM_ATTEND_PASS);
    const size_t tiles = (most + BLM_AVX512_TILE - 1) / BLM_AVX512_TILE * BLM_AVX512_TILE;
    blm_avx512_many m = {.a = a, .type = type, .dims = (a->head_dim + 31) / 32 * 32};
    m.k = (int32_t *)(void *)a->scratch;
    m.v = m.k + (size_t)m.dims / 2 * BLM_AVX512_BLOCK;
    m.v_scale = (float *)(void *)(m.v + (size_t)m.dims * BLM_AVX512_BLOCK / 2);
    m.k_scale = m.v_scale + m.dims;
    m.row_scale = m.k_scale + BLM_AVX512_BLOCK;
    m.q = (int16_t *)(void *)(m.row_scale + BLM_AVX512_BLOCK);
    m.q_scale = (float *)(void *)(m.q + tiles * m.dims);
    m.most = m.q_scale + tiles;
    m.sum = m.most + tiles;
    for (; m.first < a->queries; m.first += m.count) {
        m.count = BLM_MIN(a->queries - m.first, BLM_ATTEND_PASS);
        blm_avx512_attend_pass(&m);
    }
}

#endif
