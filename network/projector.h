/* From patches to image tokens: the 2x2 token downsampler and the projector. */
#ifndef BLM_PROJECTOR_H
#define BLM_PROJECTOR_H

#include "linear.h"

typedef enum blm_projector_type {
    BLM_PROJECTOR_LFM2 = 0,     /* downsample, optional LayerNorm, Linear, GELU, Linear */
    BLM_PROJECTOR_IDEFICS3 = 1, /* downsample, Linear without bias                      */
    BLM_PROJECTOR_MLP = 2       /* Linear, GELU, Linear on every patch (LLaVA)          */
} blm_projector_type;

typedef struct blm_projector {
    blm_projector_type type;
    uint32_t scale;                  /* side of a merged neighbourhood: 1, 2, 4 ..     */
    uint32_t patches_side;           /* patches come as patches_side x patches_side    */
    uint32_t width;                  /* of a patch's embedding                         */
    uint32_t tokens_side, tokens;    /* after downsampling                             */
    uint32_t merged, hidden, n_embd; /* widths: scale^2 width, between, out            */
    blm_tensor norm, norm_bias;      /* [merged] f32, or data NULL                     */
    blm_tensor first, first_bias;    /* [hidden][merged] (idefics3: [n_embd][merged])  */
    blm_tensor second, second_bias;  /* [n_embd][hidden]                               */
    uint32_t narrow_cols;            /* most columns of a matrix marked as narrow      */
} blm_projector;

typedef struct blm_projector_work {
    float *merged; /* [tokens][merged] */
    float *hidden; /* [tokens][hidden] */
    float *out;    /* [tokens][n_embd] */
    blm_linear linear;
} blm_projector_work;

BLM_PRIVATE void blm_projector_take(blm_projector_work *w, blm_arena *arena,
                                    const blm_projector *p, const blm_compute *c);

/* Projects one tile into w->out, [tokens][n_embd].
 *   patches  [patches_side^2][width]; a side that is no multiple of scale is padded with
 *            zeros on the right and below (27x27 becomes 28x28)
 * Source: BlueLM-V-3B, token downsampler. */
BLM_PRIVATE void blm_projector_run(const blm_projector *p, const blm_projector_work *w,
                                   const blm_compute *c, const float *patches);

#endif
