/* A matrix in a model file, and how its types pack values into blocks. */
#ifndef BLM_TENSOR_H
#define BLM_TENSOR_H

#include "base.h"

/* Every type that bluelm runs: name, GGUF's number, values and bytes of a block. How the bits
 * of a block lie: kernels/blocks.h and kernels/scalar.c. A macro ROW(name, number, values,
 * bytes) is applied to each; R says to which: BLM_ROW to all, BLM_ROW_IF_KEPT to those that the
 * build does not leave out with -DBLUELM_NO_TYPE_Q2_K and the like. */
#define BLM_FLOAT_ROWS(ROW)                                                                    \
    ROW(F32, 0, 1, 4)                                                                          \
    ROW(F16, 1, 1, 2)                                                                          \
    ROW(BF16, 30, 1, 2)

#define BLM_BLOCK_ROWS(R, ROW)                                                                 \
    R(ROW, Q4_0, 2, 32, 18)                                                                    \
    R(ROW, Q4_1, 3, 32, 20)                                                                    \
    R(ROW, Q5_0, 6, 32, 22)                                                                    \
    R(ROW, Q5_1, 7, 32, 24)                                                                    \
    R(ROW, Q8_0, 8, 32, 34)                                                                    \
    R(ROW, Q2_K, 10, 256, 84)                                                                  \
    R(ROW, Q3_K, 11, 256, 110)                                                                 \
    R(ROW, Q4_K, 12, 256, 144)                                                                 \
    R(ROW, Q5_K, 13, 256, 176)                                                                 \
    R(ROW, Q6_K, 14, 256, 210)                                                                 \
    R(ROW, IQ4_NL, 20, 32, 18)                                                                 \
    R(ROW, IQ4_XS, 23, 256, 136)                                                               \
    R(ROW, MXFP4, 39, 32, 17)

/* The types of floats, which always stay; of blocks, which one may leave out; and all. */
#define BLM_FLOAT_TYPES(ROW) BLM_FLOAT_ROWS(ROW)
#define BLM_BLOCK_TYPES(ROW) BLM_BLOCK_ROWS(BLM_ROW_IF_KEPT, ROW)
#define BLM_TYPES(ROW)       BLM_FLOAT_TYPES(ROW) BLM_BLOCK_TYPES(ROW)

/* BLUELM_NO_TYPE_x is 1 or nothing where it is defined: then the comma in BLM_LEFT_OUT_1 moves
 * BLM_NO_ROW to the second place. */
#define BLM_ROW(ROW, ...) ROW(__VA_ARGS__)
#define BLM_NO_ROW(ROW, ...)
#define BLM_LEFT_OUT_1                 ~, BLM_NO_ROW
#define BLM_LEFT_OUT_                  ~, BLM_NO_ROW
#define BLM_SECOND(first, second, ...) second
#define BLM_SECOND_OF(...)             BLM_SECOND(__VA_ARGS__)
#define BLM_KEEP_UNLESS_(flag)         BLM_SECOND_OF(BLM_LEFT_OUT_##flag, BLM_ROW, ~)
#define BLM_KEEP_UNLESS(flag)          BLM_KEEP_UNLESS_(flag)
#define BLM_ROW_IF_KEPT(ROW, name, ...)                                                        \
    BLM_KEEP_UNLESS(BLUELM_NO_TYPE_##name)(ROW, name, __VA_ARGS__)

/* BLM_F32 = 0 and so on, those left out too. A switch over a blm_type has no default: the
 * compiler then names the type that it forgot. */
#define BLM_TYPE_NUMBER(name, number, values, bytes) BLM_##name = number,
typedef enum blm_type {
    BLM_FLOAT_TYPES(BLM_TYPE_NUMBER) BLM_BLOCK_ROWS(BLM_ROW, BLM_TYPE_NUMBER)
} blm_type;
#undef BLM_TYPE_NUMBER

enum { BLM_TYPE_LIMIT = 40 }; /* of the numbers: the length of tables by type */

typedef struct blm_tensor {
    const uint8_t *data; /* in the file, any alignment; NULL: the tensor is absent */
    uint32_t type;       /* BLM_F32 ..                                             */
    uint16_t n_dims;
    uint16_t rounded; /* 1: float values that int8 activations meet as Q8_0     */
    uint64_t ne[2];   /* values of a row; rows, those of further dimensions too */
    uint64_t row_bytes;
} blm_tensor;

/* A vector of F32 values in a model file: a norm, a bias. */
typedef struct blm_vector {
    const uint8_t *data; /* any alignment; NULL: the vector is absent */
} blm_vector;

/* Rows [first, first + rows) of a matrix, as they lie in it. */
static inline BLM_UNUSED blm_tensor blm_tensor_rows(const blm_tensor *w, uint64_t first,
                                                    uint64_t rows)
{
    blm_tensor part = *w;
    part.data += (size_t)(first * w->row_bytes);
    part.ne[1] = rows;
    return part;
}

static inline BLM_UNUSED int blm_type_is_float(uint32_t type)
{
#define BLM_TYPE_CASE(name, number, values, bytes) case number:
    switch (type) {
        BLM_FLOAT_TYPES(BLM_TYPE_CASE) return 1;
    default:
        return 0;
    }
#undef BLM_TYPE_CASE
}

#define BLM_TYPE_CASE(name, number, block_values, block_bytes)                                 \
    case number:                                                                               \
        *values = block_values, *bytes = block_bytes;                                          \
        return 1;

/* Values and bytes of one block of a type. Returns 1, or 0 for a type that is not run. */
static inline BLM_UNUSED int blm_type_block(uint32_t type, uint32_t *values, uint32_t *bytes)
{
    switch (type) {
        BLM_TYPES(BLM_TYPE_CASE)
    default:
        *values = 1, *bytes = 0;
        return 0;
    }
}

/* The same, but 1 also for a type that was left out of the build. */
static inline BLM_UNUSED int blm_type_layout(uint32_t type, uint32_t *values, uint32_t *bytes)
{
    switch (type) {
        BLM_FLOAT_TYPES(BLM_TYPE_CASE)
        BLM_BLOCK_ROWS(BLM_ROW, BLM_TYPE_CASE)
    default:
        *values = 1, *bytes = 0;
        return 0;
    }
}

#undef BLM_TYPE_CASE

/* Bytes of a block; of a constant type a constant. */
static inline BLM_UNUSED uint32_t blm_type_bytes(uint32_t type)
{
    uint32_t values, bytes;
    blm_type_layout(type, &values, &bytes);
    return bytes;
}

#endif
