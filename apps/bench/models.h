/* Random-weight model files of the shapes that people run, for timing. */
#ifndef BLUELM_BENCH_MODELS_H
#define BLUELM_BENCH_MODELS_H

#include <stdint.h>

/* GGUF's numbers of the weight types. */
enum { BENCH_F32 = 0, BENCH_F16 = 1, BENCH_Q4_0 = 2, BENCH_Q8_0 = 8, BENCH_Q4_K = 12 };

/* Shape of a llama-architecture model, whose matrices have one type, and how many layers of
 * SigLIP so400m-patch14-384 go before it. */
typedef struct bench_shape {
    uint32_t n_embd, n_layer, n_head, n_ff, n_vocab;
    uint32_t vision_layers;
} bench_shape;

/* BlueLM-V-3B's: a language model of 3.05 B parameters, an encoder of 0.43 B. */
extern const bench_shape bench_3b;

/* To try the benchmark itself. */
extern const bench_shape bench_small;

/* Values in the matrices that every token passes: all but the embedding table. */
uint64_t bench_llm_linear_values(const bench_shape *s);

/* Multiply-adds of one tile: in BlueLM-V-3B 300 G in patch embedding and linear layers, 33 G
 * in attention, 4 G in the projector. */
uint64_t bench_tile_products(const bench_shape *s);

/* Writes the file unless it is there. Returns 0, or -1 with errno. */
int bench_make_llm(const char *path, const bench_shape *s, uint32_t type);
int bench_make_mmproj(const char *path, const bench_shape *s, uint32_t type);

#endif
