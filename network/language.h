/* The language model: Llama-family decoders over the KV cache. */
#ifndef BLM_LANGUAGE_H
#define BLM_LANGUAGE_H

#include "kvcache.h"
#include "linear.h"

typedef struct blm_layer {             /* one decoder block; all point into the GGUF      */
    blm_tensor attn_norm;              /* [n_embd] f32                                    */
    blm_tensor q, k, v, o;             /* [n_head*head, n_embd], 2x [n_kv*head, n_embd], .. */
    blm_tensor q_bias, k_bias, v_bias; /* f32; data NULL without                        */
    blm_tensor ffn_norm;               /* [n_embd] f32                                    */
    blm_tensor gate, up, down;         /* [n_ff, n_embd] x2, [n_embd, n_ff]               */
} blm_layer;

typedef struct blm_language {
    uint32_t n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_vocab;
    uint32_t n_rot, rope_halves, trained_context_tokens;
    float norm_eps;
    blm_tensor token_embd;  /* [n_vocab, n_embd] */
    blm_tensor output_norm; /* [n_embd] f32      */
    blm_tensor output;      /* [n_vocab, n_embd], or token_embd */
    blm_layer *layers;      /* [n_layer]         */
    double *rope_frequency; /* [n_rot / 2]: radians per position */
} blm_language;

/* Activations while a chunk goes through the network. */
typedef struct blm_language_work {
    uint32_t chunk_tokens, context_tokens;
    float *x;         /* [chunk][n_embd]: the residual stream              */
    float *in;        /* [chunk][max(n_embd, n_head*head)]: into a product */
    float *out;       /* [chunk][n_embd]: out of a product                 */
    float *q, *k, *v; /* [chunk][n_head*head], 2x [chunk][n_head_kv*head]  */
    float *gate, *up; /* [chunk][n_ff], in the place of q, k, v            */
    float *cos, *sin; /* [chunk][n_rot/2]                                  */
    uint8_t *attend;  /* [workers][attend_bytes]: scratch of attention     */
    uint64_t attend_bytes;
    blm_linear linear;
} blm_language_work;

/* A chunk on its way: tokens [position, position + count) of the conversation. */
typedef struct blm_chunk {
    const blm_language *model;
    const blm_kv_cache *kv;
    const blm_language_work *work;
    const blm_compute *compute;
    uint32_t position, count;
    uint32_t layer; /* that the work in progress belongs to */
} blm_chunk;

BLM_PRIVATE void blm_language_take(blm_language_work *w, blm_arena *arena,
                                   const blm_language *m, const blm_compute *c,
                                   uint32_t chunk_tokens, uint32_t context_tokens);

/* Writes one token's embedding into the chunk: from its id, or f16 from a picture. */
BLM_PRIVATE void blm_chunk_set_token(const blm_chunk *c, uint32_t index, uint32_t token);
BLM_PRIVATE void blm_chunk_set_image(const blm_chunk *c, uint32_t index,
                                     const uint16_t *embedding);

/* Prepares the positions, after count and position are set. */
BLM_PRIVATE void blm_chunk_begin(const blm_chunk *c);

/* One decoder block over the chunk; stores its keys and values.
 * h = x + o(attention(norm(x))), x = h + down(silu(gate(norm(h))) * up(norm(h))) */
BLM_PRIVATE void blm_chunk_layer(blm_chunk *c, uint32_t layer);

/* Logits of the chunk's last token, [n_vocab]. */
BLM_PRIVATE void blm_chunk_logits(const blm_chunk *c, float *logits);

#endif
