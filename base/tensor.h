/* A matrix in a model file, and how its types pack values into blocks. */
#ifndef BLM_TENSOR_H
#define BLM_TENSOR_H

#include "base.h"

/* GGUF's numbers for the types bluelm runs. */
enum {
    BLM_F32 = 0,
    BLM_F16 = 1,
    BLM_Q4_0 = 2, /* 32 values in 18 bytes  */
    BLM_Q8_0 = 8, /* 32 values in 34 bytes  */
    BLM_Q4_K = 12, /* 256 values in 144 bytes */
    BLM_Q6_K = 14, /* 256 values in 210 bytes */
    BLM_BF16 = 30,
    BLM_TYPE_LIMIT = 31
};

typedef struct blm_tensor {
    const uint8_t *data; /* in the file, any alignment; NULL: the tensor is absent */
    uint32_t type;       /* BLM_F32 ..                                             */
    uint32_t n_dims;
    uint64_t ne[4];      /* ne[0] runs fastest: the row length; unused ones are 1  */
    uint64_t row_bytes;  /* bytes of ne[0] values                                  */
    int narrow;          /* 1: float values that int8 activations meet as Q8_0     */
} blm_tensor;

static inline BLM_UNUSED int blm_type_is_float(uint32_t type)
{
    return type == BLM_F32 || type == BLM_F16 || type == BLM_BF16;
}

/* Values and bytes of one block of a type. Returns 1, or 0 for a type that is not run. */
static inline BLM_UNUSED int blm_type_block(uint32_t type, uint32_t *values, uint32_t *bytes)
{
    *values = 1;
    switch (type) {
    case BLM_F32: *bytes = 4; return 1;
    case BLM_F16:
    case BLM_BF16: *bytes = 2; return 1;
    case BLM_Q4_0: *values = 32, *bytes = 18; return 1;
    case BLM_Q8_0: *values = 32, *bytes = 34; return 1;
    case BLM_Q4_K: *values = 256, *bytes = 144; return 1;
    case BLM_Q6_K: *values = 256, *bytes = 210; return 1;
    default: *bytes = 0; return 0;
    }
}

#endif
