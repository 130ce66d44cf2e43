/* The language model: chunks of tokens through its blocks, over its state. */
#ifndef BLM_LANGUAGE_H
#define BLM_LANGUAGE_H

#include "linear.h"
#include "model.h"
#include "positions.h"
#include "state.h"

/* Activations while a chunk goes through the network, and what is known of its tokens. */
typedef struct blm_language_work {
    uint32_t chunk_tokens, context_tokens;
    blm_position *positions; /* [chunk]                                            */
    uint32_t *sees;          /* [chunk]: a token attends to slots below this one   */
    const uint16_t **images; /* [chunk]: the row of a picture, NULL for text       */
    uint32_t *tokens;        /* [chunk]: ids, 0 for pictures; NULL but where layers have
                                embeddings of their own                            */
    float *x;                /* [chunk][n_embd]: the residual stream               */
    float *first;            /* [chunk][n_embd]: as it was before any layer, where tokens is */
    float *in;               /* [chunk][max(n_embd, heads)]: into a product        */
    float *out;              /* [chunk][n_embd]: out of a product                  */
    float *cos, *sin;        /* [n_rope][chunk][n_rot/2]                           */
    float *columns;          /* [taps - 1][channels]: of the next chunk            */
    uint8_t *attend;         /* [workers][attend_bytes]: scratch of attention      */
    uint64_t attend_bytes;
    float *part; /* what one part of a block makes, in the place of the part before:
                      attention    q (and gates) | k | v
                      convolution  b c v of each token
                      delta net    q k v | gate | beta | alpha
                      feed-forward gate | up
                      own embeddings  gate | what is made of x | a row's share  */
    blm_linear linear;
} blm_language_work;

/* A chunk on its way: tokens [position, position + count) of the conversation. */
typedef struct blm_chunk {
    const blm_language *model;
    blm_state *state;
    const blm_language_work *work;
    const blm_compute *compute;
    uint32_t position, count;
    uint32_t layer;              /* that the work in progress belongs to */
    const blm_vector *norm;      /* of the work in progress              */
    const blm_vector *norm_bias; /* of a LayerNorm; NULL, or data NULL: it is an RMS norm */
} blm_chunk;

BLM_PRIVATE void blm_language_take(blm_language_work *w, blm_arena *arena,
                                   const blm_language *m, const blm_compute *c,
                                   uint32_t chunk_tokens, uint32_t context_tokens);

/* Tells about one token of the chunk: its id, or its f16 row of a picture (which stays
 * readable until the chunk is through), its position, and the slot up to which it sees:
 * position + index + 1 for all but the pictures of a two_way model, whose tokens see up to
 * the picture's end. */
BLM_PRIVATE void blm_chunk_set_token(const blm_chunk *c, uint32_t index, uint32_t token,
                                     blm_position at);
BLM_PRIVATE void blm_chunk_set_image(const blm_chunk *c, uint32_t index, const uint16_t *row,
                                     blm_position at, uint32_t sees);

/* The chunk's first token sees the picture whose row is the second. */
BLM_PRIVATE void blm_chunk_first_sees(const blm_chunk *c);

/* Prepares the state and the rotations, after count, position and all tokens are set. */
BLM_PRIVATE void blm_chunk_begin(const blm_chunk *c);

/* One block over the chunk. After the last one the state has read the chunk. */
BLM_PRIVATE void blm_chunk_layer(blm_chunk *c, uint32_t layer);

/* Logits of the chunk's last token, [n_vocab]. */
BLM_PRIVATE void blm_chunk_logits(blm_chunk *c, float *logits);

/* One worker's tokens of the chunk. */
BLM_PRIVATE void blm_chunk_tokens(const blm_chunk *c, uint32_t part, uint32_t *first,
                                  uint32_t *end);

/* Products of work->in or work->part, [count][cols], with rows x_stride apart. */
BLM_PRIVATE void blm_chunk_linear(const blm_chunk *c, const float *x, size_t x_stride,
                                  uint32_t cols, const blm_product *products, uint32_t count);

#endif
