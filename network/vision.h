/* The vision encoder: a vision transformer over a batch of pictures of one size, tiles or
 * whole pictures. */
#ifndef BLM_VISION_H
#define BLM_VISION_H

#include "../arena/overlay.h"
#include "../tiler/resize.h"
#include "projector.h"

#define BLM_VISION_MAX_TAPS 8 /* layers whose outputs the projector reads together */

typedef struct blm_vision_layer { /* one pre-norm block; all point into the GGUF     */
    blm_norm ln1, ln2;
    blm_tensor q, k, v, o; /* [width][width]                                  */
    blm_vector q_bias, k_bias, v_bias, o_bias; /* [width], or data NULL               */
    blm_vector scale1, scale2; /* [width]: of what attention and feed-forward add */
    blm_tensor gate, up, down; /* [ffn][width] x2, [width][ffn]; without a gate its
                                 * data is NULL                                            */
    blm_vector gate_bias, up_bias, down_bias; /* or data NULL                          */
    uint32_t windowed;  /* 1: patches attend inside their window alone             */
    uint32_t deepstack; /* 1 + which of the model's deepstack reads its output, or 0 */
} blm_vision_layer;

/* What the values into and out of a product are cut to. */
typedef struct blm_clamp {
    float in_low, in_high, out_low, out_high;
} blm_clamp;

enum {
    BLM_CLAMP_Q,
    BLM_CLAMP_K,
    BLM_CLAMP_V,
    BLM_CLAMP_O,
    BLM_CLAMP_UP,
    BLM_CLAMP_GATE,
    BLM_CLAMP_DOWN,
    BLM_CLAMPS
};

/* What layers of some towers have besides (Gemma 4). */
typedef struct blm_vision_extra {
    blm_norm mixed, fed;       /* of what attention and feed-forward give            */
    blm_vector q_norm, k_norm; /* [head_dim]: RMS, of every head                      */
    uint32_t clamped;          /* 1: clamps hold                                     */
    blm_clamp clamps[BLM_CLAMPS];
} blm_vision_extra;

/* Where a patch's learned position comes from. */
enum {
    BLM_POSITIONS_ROWS = 0,    /* a row for each, the class token's before them         */
    BLM_POSITIONS_RESIZED = 1, /* a square table stretched over the picture, bilinear,
                                * between the middles of outer cells, smoothed where it
                                * shrinks                                               */
    BLM_POSITIONS_CORNERS = 2, /* the same between the outer cells, not smoothed        */
    BLM_POSITIONS_NONE = 3,
    BLM_POSITIONS_AXES = 4,   /* a row for its column, and one for its row, of two tables */
    BLM_POSITIONS_CELLS = 5,  /* the same table, of each patch the cell that it begins in */
    BLM_POSITIONS_MIDDLES = 6 /* as BLM_POSITIONS_RESIZED, but not smoothed */
};

/* Which values of a head rotate together by a patch's row and column. */
enum {
    BLM_VISION_ROPE_NONE = 0,
    BLM_VISION_ROPE_HALVES = 1,     /* i and i + half of them, rows and columns alike     */
    BLM_VISION_ROPE_NEIGHBOURS = 2, /* 2i and 2i + 1, columns half a step slower: Pixtral */
    BLM_VISION_ROPE_APART = 3 /* each half by itself, by columns, then by rows: Gemma 4   */
};

typedef struct blm_vision {
    uint32_t tile_px, patch_px; /* 384, 14: the size the file names                   */
    uint32_t patches;           /* of a tile: 729                                     */
    uint32_t dynamic;           /* 1: takes any size of multiples of align_px         */
    uint32_t align_px;
    uint32_t width, n_head, head_dim, ffn, n_layer; /* layers that are run         */
    uint32_t class_token;    /* 1: CLIP's class embedding goes before the patches        */
    uint32_t activation;     /* of the feed-forward part: BLM_GELU_TANH ..               */
    uint32_t window;         /* side of a window in patches, or 0                        */
    uint32_t rope;           /* BLM_VISION_ROPE_*: of queries and keys                   */
    uint32_t positions;      /* BLM_POSITIONS_*                                          */
    uint32_t positions_side; /* of the table that is stretched; rows of each of two     */
    float rope_base;
    float attention_scale;
    uint32_t value_norm;   /* 1: RMS of every head's value, without weights               */
    uint32_t gated;        /* 1: a layer has a gate                               */
    uint32_t joint;        /* side of the patches that become one on the way, or 0: none     */
    uint32_t joint_layer;  /* behind this layer                                           */
    uint32_t joint_ffn;    /* width of the joint's feed-forward part                      */
    uint32_t in_line;      /* 1: a picture's tokens stand one after another, where those of
                            * others lie in a plane                                     */
    int quantised;         /* a block has matrices that are no floats                       */
    int round_floats;      /* int8 activations meet float matrices as Q8_0                  */
    uint32_t rounded_cols; /* most columns of a block's matrix marked as rounded       */
    float mean[3], std[3];
    blm_tensor patch_embd;     /* [width][3 patch patch]                                  */
    blm_vector patch_bias;     /* [width]                                                 */
    blm_tensor patch_embd_1;   /* its twin for the second of two pictures, or data NULL */
    blm_vector class_embd;     /* [width], or data NULL                       */
    blm_tensor position_embd;  /* [rows][width]                               */
    blm_norm pre_ln, post_ln;  /* weight.data NULL without                    */
    blm_norm merge_ln;         /* the same: of each patch, behind post_ln      */
    blm_vision_layer *layers;  /* [n_layer]                                   */
    blm_vision_extra *extras;  /* [n_layer] or NULL                           */
    blm_vision_layer *joining; /* [1] where there is a joint: attention within the patches that
                                * become one, a feed-forward part that makes one of them:
                                * ln2 [joint^2 width], up [joint_ffn][joint^2 width],
                                * down [width][joint_ffn]                             */
    uint32_t taps[BLM_VISION_MAX_TAPS]; /* hidden states joined for the projector     */
    uint32_t tap_count;                 /* 0: it reads the last one alone             */
    blm_projector projector;
    blm_projector *deepstack; /* [deepstack_count]                                    */
    uint32_t deepstack_count;
    uint32_t deepstack_hidden; /* the widest hidden part and rounded matrix of them   */
    uint32_t deepstack_rounded_cols;
    uint32_t row_floats; /* of a token: n_embd * (1 + deepstack_count)           */
    blm_tensor newline;  /* [n_embd]: a token between the rows of joined tiles; or NULL data */
} blm_vision;

/* Activations of one batch of tiles. Everything but the residual stream, and what layers
 * leave for the end, belongs to one tile at a time: a batch costs little more than a tile. */
typedef struct blm_vision_work {
    float *x;         /* [tiles_per_batch][rows][width]: the residual stream                  */
    float *taps;      /* [tiles_per_batch][patches][tap_count * width]                   */
    uint16_t *aside;  /* [tiles_per_batch][tokens][deepstack_count * n_embd] f16         */
    float *rotations; /* [coordinates][2][head_dim / 4]: cos and sin, of rows and columns;
                       * [coordinates][4][head_dim / 4]: of rows, then of columns         */
    float *rotation;  /* [workers][head_dim]: those of one patch                        */
    float *in;        /* [rows][max(width, patch values)]: into a product            */
    float *out;       /* [rows][width]: out of a product                             */
    float *q, *k, *v; /* [rows][width] each                                          */
    float *hidden, *gate; /* [rows][ffn], in the place of q, k, v                    */
    float *joined;        /* [rows / joint^2][joint_ffn], in the same place              */
    blm_linear joint_linear;
    uint8_t *attend; /* [workers][attend_bytes]: scratch of attention               */
    uint64_t attend_bytes;
    blm_linear linear;
    blm_projector_work projector;
} blm_vision_work;

/* A batch on its way. */
typedef struct blm_vision_batch {
    const blm_vision *model; /* these three are the caller's to set */
    const blm_vision_work *work;
    const blm_compute *compute;
    uint32_t tiles;
    blm_patch_grid grid; /* of every tile                         */
    uint32_t rows;       /* patches, and the class token; fewer behind a joint */
    uint32_t tokens;     /* of a tile                             */
    float *x;            /* of the tile in progress               */
    const uint8_t *rgb;  /* its pixels                            */
    size_t stride_bytes;
    const blm_vision_layer *layer; /* in progress                  */
    const blm_vision_extra *extra; /* of it, or NULL               */
    const blm_norm *norm;          /* in progress                  */
    const blm_vector *scale;       /* of what is added             */
} blm_vision_batch;

/* Tokens of a picture of that size, with their columns and rows. */
BLM_PRIVATE uint32_t blm_vision_tokens(const blm_vision *m, uint32_t width_px,
                                       uint32_t height_px, uint32_t *columns, uint32_t *rows);

/* Takes scratch for batches of up to tiles_per_batch pictures of up to max_patches patches
 * each; m->patches at least, where the model takes one size alone. */
BLM_PRIVATE void blm_vision_take(blm_vision_work *w, blm_arena *arena, const blm_vision *m,
                                 const blm_compute *c, uint32_t tiles_per_batch,
                                 uint32_t max_patches);

/* Takes what blm_vision_embed needs and nothing more: for a batch that is embedded beside
 * the blocks of another, whose x then takes the place of the other's. */
BLM_PRIVATE void blm_vision_take_ahead(blm_vision_work *w, blm_arena *arena,
                                       const blm_vision *m, const blm_compute *c,
                                       uint32_t tiles_per_batch, uint32_t max_patches);

/* The weights lie at another address: what pointed into a file at `from` points to the same
 * place of the same file at `to`. */
BLM_PRIVATE void blm_vision_move(blm_vision *m, const void *from, const void *to);

/* Begins a batch of pictures of one size: the tile's, or with a dynamic model multiples of
 * align_px, of as many patches at most as scratch was taken for. */
BLM_PRIVATE void blm_vision_begin(blm_vision_batch *b, uint32_t width_px, uint32_t height_px,
                                  uint32_t tiles);

/* Embeds the patches of tile `index` of the batch.
 *   rgb  [height_px][width_px][3], rows stride_bytes apart */
BLM_PRIVATE void blm_vision_embed(blm_vision_batch *b, uint32_t index, const uint8_t *rgb,
                                  size_t stride_bytes);

/* One transformer block over every tile of the batch. */
BLM_PRIVATE void blm_vision_run_layer(blm_vision_batch *b, uint32_t layer);

/* Final norm, downsampler and projector of one tile: f16 image tokens, [tokens][row_floats],
 * main and then each deepstack, whose f32 values stay in work->projector.out until the next
 * tile. */
BLM_PRIVATE void blm_vision_finish(blm_vision_batch *b, uint32_t index, uint16_t *f16_rows);

#endif
