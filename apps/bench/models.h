/* Random-weight model files of the shapes that people run, for timing. */
#ifndef BLUELM_BENCH_MODELS_H
#define BLUELM_BENCH_MODELS_H

#include <stdint.h>

/* GGUF's numbers of the weight types. */
enum { BENCH_F32 = 0, BENCH_F16 = 1, BENCH_Q4_0 = 2, BENCH_Q8_0 = 8, BENCH_Q4_K = 12 };

/* Shape of a llama-architecture model; every matrix has one type. */
typedef struct bench_llm_shape {
    uint32_t n_embd, n_layer, n_head, n_ff, n_vocab;
} bench_llm_shape;

/* BlueLM-V-3B's language model: 3.05 B parameters. */
extern const bench_llm_shape bench_llm_3b;

/* Values in the matrices that every token passes: all but the embedding table. */
uint64_t bench_llm_linear_values(const bench_llm_shape *s);

/* Multiply-adds of one tile through SigLIP so400m-patch14-384, 333 G with patch embedding and
 * attention, and through the projector, 4 G. */
uint64_t bench_tile_products(uint32_t n_embd);

/* Writes the file unless it is there. Returns 0, or -1 with errno. */
int bench_make_llm(const char *path, const bench_llm_shape *s, uint32_t type);
int bench_make_mmproj(const char *path, uint32_t n_embd, uint32_t type);

#endif
