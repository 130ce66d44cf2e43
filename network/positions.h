/* Where tokens stand, for RoPE. A token's place in the sequence (its slot) is not its
 * position: the tokens of a picture may lie in a plane, and what follows goes on behind it. */
#ifndef BLM_POSITIONS_H
#define BLM_POSITIONS_H

#include "../base/base.h"

/* In time, and in a picture down and across; text has the three equal. */
typedef struct blm_position {
    uint32_t t, h, w;
} blm_position;

BLM_PRIVATE blm_position blm_position_text(uint32_t at);

/* Token `index`, in raster order, of a picture of `columns` tokens a row that begins at
 * `at`.
 *   planar  blm_language.planar; without, the tokens follow each other like text */
BLM_PRIVATE blm_position blm_position_image(uint32_t at, uint32_t columns, uint32_t index,
                                            int planar);

/* Where the text behind such a picture of `rows` goes on. */
BLM_PRIVATE uint32_t blm_position_after(uint32_t at, uint32_t columns, uint32_t rows,
                                        int planar);

/* Angles of one token: cos and sin [pairs] of axis x frequency, times magnitude.
 *   axis  [pairs] 0 t, 1 h, 2 w; NULL: all t */
BLM_PRIVATE void blm_position_rotation(blm_position at, const double *frequency,
                                       const uint8_t *axis, uint32_t pairs, float magnitude,
                                       float *cos, float *sin);

#endif
