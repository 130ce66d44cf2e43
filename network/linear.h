/* Linear layers: activations are quantised once and meet one or more weight matrices,
 * shared among the workers by rows. */
#ifndef BLM_LINEAR_H
#define BLM_LINEAR_H

#include "../kernels/kernels.h"
#include "workers.h"

/* What computes: the kernels and the workers. */
typedef struct blm_compute {
    blm_kernels kernels;
    blm_workers workers;
    uint32_t activation_bits, vision_activation_bits; /* 8 or 16, for quantised weights */
} blm_compute;

/* Scratch for products of up to max_tokens x max_cols activations. */
typedef struct blm_linear {
    blm_acts acts;
    int may_round;          /* may round factors to bf16 instead of quantising to int8; 0:
                             * the same bits however many tokens come at once. The owner's  */
    uint8_t *scratch;       /* [workers][scratch_bytes]: of the product, then Q8_0 rows    */
    uint64_t scratch_bytes; /* of one worker                                               */
    uint64_t product_bytes; /* of them for the product                                     */
} blm_linear;

typedef struct blm_product {
    const blm_tensor *w;    /* [rows][cols]                                  */
    const blm_vector *bias; /* [rows], or NULL, or with data NULL: none  */
    float *y;               /* out [tokens][rows], rows y_stride floats apart */
    size_t y_stride;
} blm_product;

/* Marks as rounded, among matrices of one part of a network, the floats that int8 activations
 * meet as Q8_0, made on the way in: with `all` every one, else those that a quantised part
 * has because their rows do not fill blocks. Returns the most columns of a matrix marked, 0
 * without. */
BLM_PRIVATE uint32_t blm_linear_round(blm_tensor *const *matrices, uint32_t count, int all);

/*   bits         of the activations
 *   max_cols     of any matrix
 *   rounded_cols of any matrix marked as rounded, or 0 */
BLM_PRIVATE void blm_linear_take(blm_linear *l, blm_arena *arena, const blm_compute *c,
                                 uint32_t bits, uint32_t max_tokens, uint32_t max_cols,
                                 uint32_t rounded_cols);

/* y = x w^T + bias for each product.
 *   x  [tokens][cols] f32, rows x_stride floats apart; no y may overlap it */
BLM_PRIVATE void blm_linear_run(const blm_linear *l, const blm_compute *c, const float *x,
                                size_t x_stride, uint32_t tokens, uint32_t cols,
                                const blm_product *products, uint32_t count);

/* x / sqrt(mean(x^2) + eps), in place: an RMS norm without weights. */
BLM_PRIVATE void blm_rms_plain(const blm_kernels *k, float eps, float *x, uint32_t n);

#endif
