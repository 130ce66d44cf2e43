/* The whole network once more in double precision, slowly: loops over doubles, one line per
 * formula, nothing shared with the library. What the library computes is held against it.
 * Sources: LLaMA (arXiv 2302.13971), RoFormer (2104.09864), GQA (2305.13245), SigLIP
 * (2303.15343), ViT (2010.11929), BlueLM-V-3B (2411.10640). For sound files only. */
#ifndef NETWORK_DOUBLE_H
#define NETWORK_DOUBLE_H

#include <stddef.h>
#include <stdint.h>

/* y = W x + b */
typedef struct double_linear {
    double *w; /* [out][in]; NULL: not in the file */
    double *b; /* [out], or NULL                   */
    size_t in, out;
    int bounded; /* x and y are cut to these: low, high of x, of y */
    double bounds[4];
} double_linear;

typedef struct double_norm {
    double *w, *b; /* NULL: not in the file */
} double_norm;

/* A transformer block of either network; what one of them lacks is NULL. */
typedef struct double_block {
    double_norm attn_norm, ffn_norm;
    double_linear q, k, v, o, gate, up, down;
    double_linear qkv;       /* q, k and v in one, which then are NULL */
    double *scale1, *scale2; /* of what the two halves add             */
    double_norm q_norm, k_norm, mixed, fed;
} double_block;

typedef struct double_llm {
    size_t n_embd, n_layer, n_head, n_head_kv, head_dim, n_rot, n_vocab;
    int halves; /* RoPE turns (i, i + n_rot/2) and not (2i, 2i + 1) */
    double eps;
    double *rope;         /* [n_rot / 2]: radians per position                */
    double_linear embd;   /* [n_vocab][n_embd]                                */
    double_linear output; /* may be embd's values                             */
    double_norm norm;
    double_block *blocks;
} double_llm;

void double_llm_open(double_llm *m, const void *file, size_t bytes);
void double_llm_close(double_llm *m);

/* The embedding of a token, [n_embd]. */
void double_llm_token(const double_llm *m, int32_t token, double *x);

/* All blocks and the last norm, in place, over rows at positions 0 and on. As later rows
 * change nothing in earlier ones, row t is also what a prompt of t + 1 tokens ends with.
 *   x  [count][n_embd] */
void double_llm_run(const double_llm *m, double *x, size_t count);

/* logits [n_vocab] of a row that double_llm_run made. */
void double_llm_logits(const double_llm *m, const double *x, double *logits);

/* A layer's output read apart: Qwen3-VL's deepstack. */
typedef struct double_deep {
    size_t layer;
    double_norm norm;
    double_linear first, second;
} double_deep;

/* Queries that attend to patches: MiniCPM-V's. */
typedef struct double_resampler {
    size_t queries; /* 0: there is none */
    double *query;  /* [queries][q.in]  */
    double_linear kv, q, k, v, o, out;
    double_norm query_norm, kv_norm, out_norm;
} double_resampler;

/* Four patches that become one behind a layer: MiniCPM-V 4.6's. */
typedef struct double_joint {
    int there;
    size_t layer;
    double_block block; /* ffn_norm, up and down over all values of four */
} double_joint;

typedef struct double_vision {
    size_t tile_px, patch_px, width, n_head, n_layer; /* layers that are run */
    size_t merge, tokens, n_embd;                     /* tokens of a tile    */
    size_t table_side;     /* of the positions                                           */
    size_t window_pattern; /* layers whose number from 1 it divides see everything; 0: all */
    size_t taps[4], tap_count;
    int class_token, activation; /* 't' tanh GELU, 'e' erf GELU, 's' SiLU, 'q' quick GELU */
    int projector_activation;
    int place; /* of positions: 'r' rows, 's' stretched, 'c' between the
                                  * corners, 'x' columns and rows, 'f' the cell that a patch
                                  * begins in, 'n' none                                    */
    int rope, average;
    double eps, merged_eps, mean[3], std[3];
    double_linear patch, twin, first, second, merger; /* second.w NULL: one layer alone */
    double *class_embd, *positions;
    double *shift, *stretch; /* of merged patches, or NULL */
    double_norm last;        /* of patches, behind post */
    double last_eps;
    double_norm pre, post, merged;
    double_block *blocks;
    double_resampler resampler;
    double_joint joint;
    double_deep deep[4];
    size_t deep_count;
} double_vision;

void double_vision_open(double_vision *m, const void *file, size_t bytes);
void double_vision_close(double_vision *m);

/* One tile, [tile_px][tile_px][3], into image tokens [tokens][n_embd]. */
void double_vision_run(const double_vision *m, const uint8_t *rgb, double *tokens);

/* A picture of another size, into [tokens][n_embd * (1 + deep_count)]. */
void double_vision_picture(const double_vision *m, const uint8_t *rgb, size_t width_px,
                           size_t height_px, double *tokens);

#endif
