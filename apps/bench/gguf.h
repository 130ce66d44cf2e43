/* Writes GGUF files of random weights: keys first, then a list of tensors, then their data. */
#ifndef BLUELM_BENCH_GGUF_H
#define BLUELM_BENCH_GGUF_H

#include <stdint.h>
#include <stdio.h>

/* GGUF's numbers of the weight types that are written. */
enum {
    BENCH_F32 = 0,
    BENCH_F16 = 1,
    BENCH_Q4_0 = 2,
    BENCH_Q5_0 = 6,
    BENCH_Q5_1 = 7,
    BENCH_Q8_0 = 8,
    BENCH_Q4_K = 12,
    BENCH_Q5_K = 13,
    BENCH_Q6_K = 14
};

/* Values and bytes of one block of a type. */
typedef struct bench_block {
    uint32_t values, bytes;
} bench_block;
bench_block bench_block_of(uint32_t type);

typedef struct bench_tensor {
    char name[64];
    uint64_t ne[4];
    uint32_t n_dims, type;
    float value; /* standard deviation of a matrix's weights; a vector's constant */
} bench_tensor;

uint64_t bench_tensor_bytes(const bench_tensor *t);

typedef struct bench_writer {
    FILE *file;
    char path[512], part[520]; /* written as `part`, renamed when it is whole */
    uint64_t keys, keys_at;    /* counted; where the counts are written at the end */
    bench_tensor *tensors;
    uint32_t tensor_count, tensor_room;
    uint64_t random;
    int hollow, failed; /* hollow: the data are a hole in the file, to plan with alone */
} bench_writer;

/* Returns 0, or -1 with errno. */
int bench_start(bench_writer *w, const char *path, int hollow);
int bench_finish(bench_writer *w);

void bench_key_u32(bench_writer *w, const char *key, uint32_t value);
void bench_key_f32(bench_writer *w, const char *key, float value);
void bench_key_bool(bench_writer *w, const char *key, int value);
void bench_key_string(bench_writer *w, const char *key, const char *value);

/* An array of so many elements, which the next calls write. */
enum { BENCH_U32S = 4, BENCH_I32S = 5, BENCH_F32S = 6, BENCH_BOOLS = 7, BENCH_STRINGS = 8 };
void bench_key_array(bench_writer *w, const char *key, uint32_t type, uint64_t count);
void bench_put_u32(bench_writer *w, uint32_t v);
void bench_put_f32(bench_writer *w, float v);
void bench_put_bool(bench_writer *w, int v);
void bench_put_string(bench_writer *w, const char *text);

bench_tensor *bench_add(bench_writer *w, const char *name, uint32_t type, float value,
                        uint64_t ne0, uint64_t ne1);

#endif
