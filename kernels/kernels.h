/* The arithmetic of the network: one table of functions, filled by portable C and then
 * overwritten, entry by entry, by what the machine's instruction sets do better.
 *
 * Every function is pure: it writes its outputs, reads its inputs and keeps nothing.
 * Output and input may be the same array only where a comment says "in place". Results
 * do not depend, bit for bit, on how rows, tokens or queries are shared among workers:
 * an element is computed by the same sequence of operations whoever its neighbours are.
 * A token's products have the same bits alone and among others. No input, infinities and NaNs
 * included, makes a kernel touch memory that its contract does not name. */
#ifndef BLM_KERNELS_H
#define BLM_KERNELS_H

#include "../arena/arena.h"
#include "../base/tensor.h"
#include "../base/math.h"

/* The families of instruction sets that are compiled. AMX: by compilers that know the assembly
 * of tiles. */
#ifndef BLUELM_NO_SIMD
#if defined(__x86_64__) || defined(__i386__)
#define BLM_HAVE_X86 1
#endif
#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define BLM_HAVE_AMX 1
#endif
#if defined(__aarch64__) && defined(__ARM_NEON)
#define BLM_HAVE_NEON 1
#endif
#endif

#define BLM_BLOCK        32   /* activations that share one scale */
#define BLM_ATTEND_GROUP 4    /* queries that attend works on at once        */
#define BLM_ATTEND_PASS  1024 /* queries that meet a block of keys in one go */
#define BLM_ATTEND_BLOCK 64   /* keys of a block                             */

/* Activations on their way into matrix products: as f32, and for quantised weights also as
 * integers in blocks of 32, x = q * scale, q within +-127. With 16 bits a token has two such
 * rows, one after the other, that add up to it: the value, and what rounding left of it. */
typedef struct blm_acts {
    uint32_t tokens;
    uint32_t cols;    /* the last block of q is filled up with zeros             */
    const float *f32; /* [tokens][cols], rows f32_stride floats apart            */
    size_t f32_stride;
    uint32_t bits; /* 8, 16; 0: there is no q. rows = tokens * bits / 8       */
    int8_t *q;     /* [rows][whole blocks], rows q_stride elements apart      */
    size_t q_stride;
    float *scale; /* [rows][blocks], rows block_stride apart                 */
    int32_t *sum; /* [rows][blocks]: sum of q over the block                 */
    size_t block_stride;
} blm_acts;

/* Takes q, scale and sum for up to max_tokens x max_cols from the arena and sets the
 * strides; rows start 64-byte aligned. bits 0 takes nothing. tokens, cols and f32 are the
 * caller's to set. */
BLM_PRIVATE void blm_acts_take(blm_acts *x, blm_arena *arena, uint32_t max_tokens,
                               uint32_t max_cols, uint32_t bits);

typedef struct blm_matmul_args {
    const blm_tensor *w; /* [rows][cols] in the file's own layout, any alignment    */
    const blm_acts *x;   /* cols = w->ne[0]                                         */
    float *y;            /* y[t * y_stride + r] = sum_k w[r][k] x[t][k]             */
    size_t y_stride;     /* floats from token to token                              */
    void *scratch;       /* of this worker: blm_matmul_scratch_bytes, 64-byte aligned */
} blm_matmul_args;

/* Computes rows [row0, row1) of y for all tokens; row1 <= w->ne[1]. */
typedef void (*blm_matmul_fn)(const blm_matmul_args *a, uint64_t row0, uint64_t row1);

/* Panels of 32 rows: 80 blocks of AVX-512's take 102,400 bytes, AMX and its tokens more. The
 * same for all sets but scalar, so that a plan does not depend on the machine. */
#define BLM_MATMUL_PANEL_BYTES 104448

/* Tokens with int16 activations that go through a product at once, and rows of the matrix. */
#define BLM_MATMUL16_TOKENS 128
#define BLM_MATMUL16_ROWS   64

/* Bytes of scratch one worker needs for products of rows of up to `cols` values: for one row
 * unpacked, or for a panel; with int16 activations also for the products of both their rows.
 *   panel_bytes  blm_kernels.panel_bytes
 *   bits         of the activations */
static inline BLM_UNUSED uint64_t blm_matmul_scratch_bytes(uint64_t panel_bytes, uint64_t cols,
                                                           uint32_t bits)
{
    uint64_t both = 2 * BLM_MATMUL16_TOKENS * BLM_MATMUL16_ROWS * sizeof(float);
    uint64_t product = BLM_MAX(24 * ((cols + 255) / 256 * 256) + 1024, panel_bytes);
    return product + (bits == 16 ? both : 0);
}

/* Attention of one head for some queries over one run of keys and values.
 * out[i] = sum_j softmax_j(q[i] . k[j]) v[j], skip + i * skip_step <= j < keys + i * keys_step
 * A key or value row is head_dim values: f32 or f16, or int8 with one f16 scale. Sums go by
 * blocks of BLM_ATTEND_BLOCK keys from row 0 on: whoever wants the same bits for a query among
 * others has row 0 lie where blocks begin. Every query sees a key; rows that are skipped may be
 * read. */
typedef struct blm_attend_args {
    const float *q;                   /* [queries][head_dim], already times 1/sqrt(head_dim)  */
    size_t q_stride;                  /* floats from query to query                           */
    uint32_t queries;                 /* any number; a GQA group may go in one call           */
    uint32_t keys;                    /* that query 0 sees, >= 1                              */
    uint32_t keys_step;               /* 0: every query sees them; 1: causal, one more each   */
    uint32_t skip;                    /* first keys that query 0 does not see, < keys         */
    uint32_t skip_step;               /* 0, or 1: each query skips one more                   */
    uint32_t head_dim;                /* any                                                  */
    const uint8_t *k, *v;             /* row 0                                                */
    size_t k_stride, v_stride;        /* bytes from row to row                             */
    const uint8_t *k_scale, *v_scale; /* attend_q8: f16 of row 0, little endian     */
    size_t k_scale_stride, v_scale_stride; /* bytes                                 */
    const uint8_t *k_next, *v_next; /* row 0 of what is attended to next, or NULL; a hint */
    float *scratch;                 /* blm_attend_scratch_bytes(), 64-byte aligned */
    float *out;                     /* [queries][head_dim]                                  */
    size_t out_stride;              /* floats from query to query                           */
} blm_attend_args;

/* Keys [from, end): none where from is not below end. */
typedef struct blm_attend_span {
    uint32_t from, end;
} blm_attend_span;

/* What query i sees. */
static inline BLM_UNUSED blm_attend_span blm_attend_sees(const blm_attend_args *a, uint32_t i)
{
    return (blm_attend_span){a->skip + i * a->skip_step, a->keys + i * a->keys_step};
}

/* What all of queries [i, i + count) see. */
static inline BLM_UNUSED blm_attend_span blm_attend_shared(const blm_attend_args *a, uint32_t i,
                                                           uint32_t count)
{
    return (blm_attend_span){blm_attend_sees(a, i + count - 1).from, blm_attend_sees(a, i).end};
}

/* What a query sees besides that, before or behind it. */
static inline BLM_UNUSED blm_attend_span blm_attend_own(blm_attend_span sees,
                                                        blm_attend_span shared, int behind)
{
    if (behind) return (blm_attend_span){BLM_MAX(shared.from, shared.end), sees.end};
    return (blm_attend_span){sees.from, BLM_MIN(shared.from, sees.end)};
}

static inline BLM_UNUSED void blm_attend_clear(const blm_attend_args *a, uint32_t i,
                                               uint32_t count)
{
    for (uint32_t t = 0; t < count; t++)
        memset(a->out + (i + t) * a->out_stride, 0, a->head_dim * sizeof *a->out);
}

typedef void (*blm_attend_fn)(const blm_attend_args *a);

/* Bytes of scratch for attention of up to `queries` queries over up to `keys` keys (of the
 * last query): scores of a few queries, or queries and one block of keys and values in int16. */
static inline BLM_UNUSED uint64_t blm_attend_scratch_bytes(uint64_t queries, uint64_t keys,
                                                           uint64_t head_dim)
{
    uint64_t scores = (keys + 15) / 16 * 16 * BLM_ATTEND_GROUP * sizeof(float);
    uint64_t at_once = (BLM_MIN(queries, BLM_ATTEND_PASS) + 15) / 16 * 16;
    uint64_t dims = (head_dim + 31) / 32 * 32,
             floats = dims + 2 * BLM_ATTEND_BLOCK + 3 * at_once;
    uint64_t words = dims * at_once + 2 * dims * BLM_ATTEND_BLOCK;
    return BLM_MAX(scores, words * sizeof(int16_t) + floats * sizeof(float));
}

typedef struct blm_kernels {
    const char *name;     /* of the best instruction set in use: "scalar" ... "amx" */
    uint32_t panel_bytes; /* scratch that matmul unpacks panels into; 0: none does  */

    /* Products, by the weights' type, of x's q, scale and sum with x->bits 8. A block of 32 of
     * a row gives one number: scale times its integer sum, rounded, and where halves have
     * scales of their own, or there are mins, the sum with each of these products, rounded. A
     * row's sum begins with 0 and goes from its first block to its last, each times the
     * scale of its activations, rounded once. So do those of all sets but neon and scalar. For
     * F32, F16 and BF16 weights they read x->f32 and any cols will do; for the others cols is a
     * multiple of the type's block.
     * matmul_bf16 reads x->f32 alone, whatever the weights, and rounds both factors to bf16
     * (to nearest even): an error of up to 2^-7 of sum |w x| beside that of the sum. A set
     * has it for all types or for none. matmul_pair, where a set has it, is what blm_matmul16
     * calls for one token: for the two rows that int16 activations are, together. */
    blm_matmul_fn matmul8[BLM_TYPE_LIMIT];
    blm_matmul_fn matmul_pair[BLM_TYPE_LIMIT];
    blm_matmul_fn matmul_bf16[BLM_TYPE_LIMIT];

    /* One row of any type to f32, by type: a token's embedding.
     *   row  cols values, any alignment;  cols: a multiple of the type's block */
    void (*dequantize[BLM_TYPE_LIMIT])(const uint8_t *row, float *out, uint64_t cols);

    /* One row of activations into blocks of 32: scale = max|x| / 127, q rounded to nearest,
     * even on ties. A block below 1e-30 becomes zero. cols: a multiple of 32. */
    void (*quantize8)(const float *x, uint32_t cols, int8_t *q, float *scale, int32_t *sum);

    /* One key or value row for the int8 cache: *scale is f16, q rounded to nearest. */
    void (*quantize_kv)(const float *x, uint32_t n, int8_t *q, uint16_t *scale);

    /* Rows of f16 (arena, native order) from and to f32, to nearest even. */
    void (*f16_from_f32)(uint16_t *out, const float *x, size_t n);
    void (*f32_from_f16)(float *out, const uint16_t *x, size_t n);

    /* out = x / sqrt(mean(x^2) + eps) * w. In place too. w: f32 in the file, any alignment */
    void (*rms_norm)(const float *x, const uint8_t *w, float eps, uint32_t n, float *out);
    /* out = (x - mean) / sqrt(variance + eps) * w + b. In place too. w, b: as above */
    void (*layer_norm)(const float *x, const uint8_t *w, const uint8_t *b, float eps,
                       uint32_t n, float *out);

    void (*add)(float *x, const float *y, size_t n);           /* x += y                 */
    void (*add_bias)(float *x, const uint8_t *bias, size_t n); /* x += f32 in the file   */

    /* Activations, in place. */
    void (*gelu_tanh)(float *x, size_t n);  /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    void (*gelu_erf)(float *x, size_t n);   /* x/2 (1 + erf(x / sqrt(2)))               */
    void (*gelu_quick)(float *x, size_t n); /* x sigmoid(1.702 x)                       */
    void (*silu)(float *x, size_t n);       /* x sigmoid(x)                             */
    void (*silu_mul)(float *gate, const float *up, size_t n); /* gate = silu(gate) * up */

    void (*softmax)(float *x, uint32_t n); /* in place; n >= 1 */

    /* Turns the first n_rot values of a head in place: (a, b) becomes
     * (a cos - b sin, a sin + b cos), for pairs (2i, 2i+1), or with `halves`
     * (i, i + n_rot/2); cos and sin: [n_rot / 2]. n_rot is even. */
    void (*rope)(float *x, const float *cos, const float *sin, uint32_t n_rot, int halves);

    float (*dot_f32)(const float *x, const float *y, size_t n);
    void (*axpy_f32)(float *y, float a, const float *x, size_t n); /* y += a x */

    /* One token through one head's memory of n values for each of n keys (Gated DeltaNet):
     *   row *= keep;  row += rate * (v[j] - row . k) * k;  out[j] = row . q
     * for row j of memory [n][n], j < n. */
    void (*delta_step)(float *memory, const float *q, const float *k, const float *v,
                       float keep, float rate, uint32_t n, float *out);

    blm_attend_fn attend_f32; /* rows at least 4-byte aligned */
    blm_attend_fn attend_i16; /* the same; may round what it multiplies to int16 */
    blm_attend_fn attend_f16; /* rows at least 2-byte aligned */
    blm_attend_fn attend_q8;  /* may round the other factors to int16 */
} blm_kernels;

/* Fills the table for this machine.
 *   port_features  BLUELM_CPU_* that the port reports
 *   mask           as config.cpu_mask: 0 all, BLUELM_CPU_NONE scalar, else those named */
BLM_PRIVATE BLM_COLD void blm_kernels_init(blm_kernels *k, uint32_t port_features,
                                           uint32_t mask);

/* Quantises tokens [token0, token1) of x->f32 into q, scale and sum, as x->bits says. */
BLM_PRIVATE void blm_acts_quantize(const blm_kernels *k, const blm_acts *x, uint32_t token0,
                                   uint32_t token1);

/* The product with x->bits 16: rows [row0, row1) of y for all tokens, as a blm_matmul_fn. An
 * element is the sum of two products with x->bits 8. */
BLM_PRIVATE void blm_matmul16(const blm_kernels *k, const blm_matmul_args *a, uint64_t row0,
                              uint64_t row1);

/* BLUELM_CPU_* this machine has: found by itself on x86, from the port elsewhere. */
BLM_PRIVATE uint32_t blm_cpu_features(uint32_t port_features);

/* The instruction sets, each of which overwrites the entries it improves; kernels.c has the
 * table that names them. */
BLM_PRIVATE void blm_kernels_scalar(blm_kernels *k);
#ifdef BLM_HAVE_X86
BLM_PRIVATE void blm_kernels_sse41(blm_kernels *k);
BLM_PRIVATE void blm_kernels_avx2(blm_kernels *k);
BLM_PRIVATE void blm_kernels_avx512(blm_kernels *k);
BLM_PRIVATE void blm_kernels_avx512_vbmi(blm_kernels *k); /* after avx512 */
#endif
#ifdef BLM_HAVE_NEON
BLM_PRIVATE void blm_kernels_neon(blm_kernels *k);
BLM_PRIVATE void blm_kernels_dotprod(blm_kernels *k); /* after neon    */
BLM_PRIVATE void blm_kernels_i8mm(blm_kernels *k);    /* after dotprod */
#endif
#ifdef BLM_HAVE_AMX
BLM_PRIVATE void blm_kernels_amx(blm_kernels *k); /* after avx512 */
#endif

#endif
