/* From patches to a fixed number of image tokens: learned queries attend to the patches, which
 * carry their row and column as sines. Source: MiniCPM-V's resampler. */
#ifndef BLM_RESAMPLER_H
#define BLM_RESAMPLER_H

#include "projector.h"

#define BLM_RESAMPLER_HEAD 128 /* values of a head */

struct blm_resampler {     /* all point into the GGUF                           */
    blm_tensor query;      /* [queries][hidden]                                 */
    blm_tensor kv;         /* [hidden][width]: of a patch                       */
    blm_tensor q, k, v, o; /* [hidden][hidden]                                  */
    blm_tensor out;        /* [n_embd][hidden]                                  */
    blm_vector q_bias, k_bias, v_bias, o_bias; /* [hidden], or data NULL                 */
    blm_norm query_norm, kv_norm, out_norm;
};

/* As blm_projector_take and blm_projector_run, for p->queries tokens of at most `patches`
 * patches. */
BLM_PRIVATE void blm_resampler_take(blm_projector_work *w, blm_arena *arena,
                                    const blm_projector *p, const blm_compute *c,
                                    uint32_t patches, uint32_t row_floats);

BLM_PRIVATE void blm_resampler_run(const blm_projector *p, const blm_projector_work *w,
                                   const blm_compute *c, const blm_patch_grid *grid,
                                   const float *patches, uint32_t row_floats);

#endif
