/* The vision encoder: a SigLIP-style vision transformer over a batch of tiles. */
#ifndef BLM_VISION_H
#define BLM_VISION_H

#include "../arena/overlay.h"
#include "../tiler/grid.h"
#include "../tiler/resize.h"
#include "projector.h"

typedef struct blm_vision_layer { /* one pre-norm block; all point into the GGUF     */
    blm_tensor ln1, ln1_bias;     /* [width] f32                                     */
    blm_tensor q, k, v, o;        /* [width][width]                                  */
    blm_tensor q_bias, k_bias, v_bias, o_bias; /* [width] f32, or data NULL           */
    blm_tensor ln2, ln2_bias;
    blm_tensor up, up_bias;     /* [ffn][width], [ffn]                             */
    blm_tensor down, down_bias; /* [width][ffn], [width]                           */
} blm_vision_layer;

typedef struct blm_vision {
    uint32_t tile_px, patch_px, patches_side, patches; /* 384, 14, 27, 729            */
    uint32_t width, n_head, head_dim, ffn, n_layer;    /* layers that are run         */
    uint32_t class_token; /* 1: CLIP's class embedding goes before the patches        */
    uint32_t rows;        /* patches + class_token                                    */
    uint32_t activation;  /* of the feed-forward part: BLM_VISION_GELU ..             */
    uint32_t narrow_cols; /* most columns of a block's matrix marked as narrow        */
    float norm_eps, mean[3], std[3];
    blm_tensor patch_embd, patch_bias; /* [width][3 patch patch], [width]             */
    blm_tensor class_embd;             /* [width] f32, or data NULL                   */
    blm_tensor position_embd;          /* [rows][width]                               */
    blm_tensor pre_ln, pre_ln_bias, post_ln, post_ln_bias; /* data NULL without       */
    blm_vision_layer *layers; /* [n_layer]                                   */
    blm_projector projector;
} blm_vision;

enum { BLM_VISION_GELU = 0, BLM_VISION_SILU = 1, BLM_VISION_GELU_QUICK = 2 };

/* Activations of one batch of tiles. Everything but the residual stream belongs to one
 * tile at a time: a batch costs little more than a tile. */
typedef struct blm_vision_work {
    float *x;        /* [tiles_per_batch][rows][width]: the residual stream         */
    uint8_t *pixels; /* [tile_px][tile_px][3]                                       */
    void *resize;    /* scratch of the tiler                                        */
    uint64_t resize_bytes;
    float *in;        /* [rows][max(width, patch values)]: into a product            */
    float *out;       /* [rows][width]: out of a product                             */
    float *q, *k, *v; /* [rows][width] each                                          */
    float *hidden;    /* [rows][ffn], in the place of q, k, v                        */
    uint8_t *attend;  /* [workers][attend_bytes]: scratch of attention               */
    uint64_t attend_bytes;
    blm_linear linear;
    blm_projector_work projector;
} blm_vision_work;

/* A batch on its way. */
typedef struct blm_vision_batch {
    const blm_vision *model;
    const blm_vision_work *work;
    const blm_compute *compute;
    uint32_t tiles;
    float *x;       /* of the tile in progress */
    uint32_t layer; /* in progress             */
} blm_vision_batch;

BLM_PRIVATE void blm_vision_take(blm_vision_work *w, blm_arena *arena, const blm_vision *m,
                                 const blm_compute *c, uint32_t tiles_per_batch);

/* Takes what blm_vision_embed needs and nothing more: for a batch that is embedded beside
 * the blocks of another. */
BLM_PRIVATE void blm_vision_take_ahead(blm_vision_work *w, blm_arena *arena,
                                       const blm_vision *m, const blm_compute *c,
                                       uint32_t tiles_per_batch);

/* Embeds the patches of work->pixels as tile `index` of the batch. */
BLM_PRIVATE void blm_vision_embed(blm_vision_batch *b, uint32_t index);

/* One transformer block over every tile of the batch. */
BLM_PRIVATE void blm_vision_run_layer(blm_vision_batch *b, uint32_t layer);

/* Final norm, downsampler and projector of one tile: f16 image tokens, [tokens][n_embd],
 * whose f32 values stay in work->projector.out until the next tile. */
BLM_PRIVATE void blm_vision_finish(blm_vision_batch *b, uint32_t index, uint16_t *tokens);

#endif
