/* The tiler's rule, from a model's mmproj file.
 *
 * What a file asks for follows from clip.projector_type (clip.vision.projector_type where a
 * file holds two towers): the table in tiling.c. Keys of clip.vision that matter:
 *
 *   image_size                 side of a tile (LFM2-VL's tiles are of 512 whatever it says)
 *   image_grid_pinpoints       llava-next's candidates: i32 pairs width, height
 *   preproc_image_size         idefics3's longest edge; 4 x image_size without it
 *   preproc_min_tiles, _max_tiles           internvl: 1, 12
 *   image_min_pixels, image_max_pixels      of a picture of its own size
 *   patch_size, spatial_merge_size (or projector.scale_factor, else 2)
 *                              their product is what its sides are multiples of
 *   image_mean                 the colour around a picture that is padded to a square
 *
 * Besides, all optional, with the defaults of each rule:
 *
 *   bluelm.tiling.             relaxed  llava-next  internvl  idefics3  lfm2      single
 *   rule                       the rule by name; "dynamic" too, and "uhd", whose defaults are
 *                              9 local tiles, a thumbnail first, stretch, bicubic
 *   alpha                      0.1      -           -         -         -         -
 *   max_columns, max_rows      4        4           as tiles  16        as tiles  1
 *   max_local_tiles            256      256         12        256       10        1
 *   thumbnail                  first    first       last      last      last      none
 *   thumbnail_single           false    true        false     false     false     false
 *   fit                        pad      pad         stretch   stretch   stretch   pad
 *   pad_placement              center ("top-left")
 *   pad_color                  0 (0xRRGGBB)
 *   resize_filter              bicubic  bicubic     bicubic   lanczos   bilinear  bicubic
 *
 * fit may be "pad", "stretch" or "pad-square"; resize_filter "bicubic", "bilinear" or
 * "lanczos". Limits: max_columns and max_rows 1..16, max_local_tiles 1..256, 0 < alpha < 1,
 * counted in millionths. */
#ifndef BLM_TILING_H
#define BLM_TILING_H

#include "../gguf/gguf.h"
#include "../tiler/grid.h"

/* Reads a model's tiling rule; config (may be NULL) overrides rule and alpha and gives
 * the caps max_tiles and max_image_tokens.
 *   mmproj           opened and checked; pinpoints keep pointing into it
 *   tokens_per_tile  that the projector makes of image_size x image_size
 * Errors: BLUELM_E_FORMAT and BLUELM_E_UNSUPPORTED name the key (the value too where it
 * is text), BLUELM_E_ARG names the config's field. */
BLM_PRIVATE BLM_COLD int blm_tile_rule_read(blm_tile_rule *r, const blm_gguf *mmproj,
                                            const bluelm_config *config,
                                            uint32_t tokens_per_tile, bluelm_error *err);

/* "relaxed" and so on: the rule as bluelm.tiling.rule names it. */
BLM_PRIVATE const char *blm_tile_rule_name(uint32_t rule);

#endif
