/* What the files that make the tiny models share (tiny_writer.c, tiny_vocab.c, tiny_llm.c,
 * tiny_mmproj.c); tests include tiny_model.h. */
#ifndef TINY_PARTS_H
#define TINY_PARTS_H

#include "tiny_model.h"

void tiny_put_u8(tiny_buffer *b, uint32_t value);

/* ---- Random tensors (tiny_writer.c) --------------------------------------------------- */

/* mean + deviation * normal */
void random_tensor(tiny_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                   const uint64_t *ne, double mean, double deviation);

/* A matrix [in, out] that keeps the size of what goes through it, times gain. */
void matrix(tiny_writer *w, const char *name, uint32_t type, uint32_t in, uint32_t out,
            double gain);
void vector(tiny_writer *w, const char *name, uint32_t count, double mean);

/* PREFIX.BLOCK.REST, written into name and returned. */
const char *block_name(char name[64], const char *prefix, uint32_t block, const char *rest);

/* ---- Keys of a vocabulary (tiny_vocab.c) ------------------------------------------------ */

void tiny_spm_vocabulary(tiny_writer *w, uint32_t n_vocab);
/* markers: control tokens from TINY_BPE_MARKERS on, a NULL ends them; may be NULL */
void tiny_bpe_vocabulary(tiny_writer *w, uint32_t n_vocab, const char *const *markers);

#endif
