/* The tiler's rule, from a model's mmproj file.
 *
 * Keys, all optional, with the
 * defaults of each rule:
 *
 *   bluelm.tiling.             type      relaxed  llava-next  internvl  idefics3  single
 *   rule                       string    by clip.projector_type: lfm2 -> relaxed,
 *                                        mlp -> llava-next if the file has pinpoints,
 *                                        idefics3 -> idefics3 if it has a
 *                                        preproc_image_size, any other -> single
 *   alpha                      f32       0.1      -           -         -         -
 *   max_columns, max_rows      u32       4        4           12        16        1
 *   max_local_tiles            u32       256      256         12        256       1
 *   thumbnail                  string    first    first       last      last      none
 *   thumbnail_single           bool      false    true        false     false     false
 *   fit                        string    pad      pad         stretch   stretch   pad
 *   pad_placement              string    center ("top-left")
 *   pad_color                  u32       0 (0xRRGGBB)
 *   resize_filter              string    bicubic ("bilinear")
 *
 * Limits: max_columns and max_rows 1..16, max_local_tiles 1..256, 0 < alpha < 1. The
 * tile's side is clip.vision.image_size (at most BLM_TILE_PX_LIMIT). llava-next takes
 * its candidates from clip.vision.image_grid_pinpoints (i32 pairs width, height), or
 * without them all grids up to max_columns x max_rows; idefics3 takes its longest edge
 * from clip.vision.preproc_image_size. */
#ifndef BLM_TILING_H
#define BLM_TILING_H

#include "../gguf/gguf.h"
#include "../tiler/grid.h"

/* Reads a model's tiling rule; config (may be NULL) overrides rule, alpha and the cap.
 *   mmproj  opened and checked; pinpoints keep pointing into it
 * Errors: BLUELM_E_FORMAT and BLUELM_E_UNSUPPORTED name the key (the value too where it
 * is text), BLUELM_E_ARG names the config's field. */
BLM_PRIVATE int blm_tile_rule_read(blm_tile_rule *r, const blm_gguf *mmproj,
                                   const bluelm_config *config, uint32_t tokens_per_tile,
                                   bluelm_error *err);

#endif
