/* Vision towers and projectors in mmproj files: keys and tensor names. */
#ifndef BLM_FAMILIES_VISION_H
#define BLM_FAMILIES_VISION_H

#include "../network/vision.h"
#include "tensors.h"

/* Projectors by their place in the table. */
typedef enum blm_projector_type {
    BLM_PROJECTOR_LFM2,
    BLM_PROJECTOR_IDEFICS3,
    BLM_PROJECTOR_MLP,
    BLM_PROJECTOR_INTERNVL,
    BLM_PROJECTOR_QWEN2VL,
    BLM_PROJECTOR_QWEN25VL,
    BLM_PROJECTOR_QWEN25O,
    BLM_PROJECTOR_QWEN3VL,
    BLM_PROJECTOR_GEMMA3,
    BLM_PROJECTOR_PIXTRAL,
    BLM_PROJECTOR_LIGHTONOCR,
    BLM_PROJECTOR_JANUS,
    BLM_PROJECTOR_GEMMA4,
    BLM_PROJECTOR_RESAMPLER,
    BLM_PROJECTOR_PADDLEOCR,
    BLM_PROJECTOR_DOTSOCR,
    BLM_PROJECTOR_MINICPMV46,
    BLM_PROJECTOR_TYPES
} blm_projector_type;

/* One kind of tower and projector, by clip.projector_type. */
typedef struct blm_projector_row {
    const char *name;
    uint32_t norm;          /* of the tower: BLM_NORM_*                                       */
    uint32_t gelu;          /* what clip.use_gelu means: the tanh or the erf form             */
    uint32_t gelu_unsaid;   /* 1: so does a file that names no activation                     */
    uint32_t positions;     /* BLM_POSITIONS_*                                                */
    uint32_t rope;          /* BLM_VISION_ROPE_*                                          */
    uint32_t dynamic;       /* 1: takes any size                                           */
    uint32_t longest_edge;  /* 1: image_size is the longest edge of any picture            */
    uint32_t any_size;      /* 1: image_size means nothing                                 */
    float rope_base;        /* 0: 10000                                                    */
    uint32_t unscaled;      /* 1: queries are not divided by the root of their length      */
    uint32_t extra;         /* 1: layers have a blm_vision_extra                           */
    uint32_t value_norm;    /* 1: values are normed, without weights                       */
    uint32_t signed_pixels; /* 1: what is normalised to 0..1 becomes -1..1                 */
    const char *patch_norm; /* of the last block's patches; NULL: v.post_ln, if it is there */
    const char *merge_norm; /* a LayerNorm of each patch behind that, or NULL               */
    float merge_norm_eps;
    const char *merger;    /* a matrix for merged patches, before the layers; or NULL: none  */
    uint32_t joint;        /* side of the patches that become one in the tower, or 0        */
    uint32_t features;     /* 1: LLaVA's choice of layers                                   */
    uint32_t deepstack;    /* 1: v.deepstack.N may be there                                 */
    uint32_t resampler;    /* 1: queries, in place of all that follows but the texts        */
    uint32_t merge;        /* BLM_MERGE_*                                                   */
    uint32_t scale;        /* side of a merged neighbourhood, where the file does not say   */
    const char *scale_key; /* under clip.vision, or NULL: it is fixed                     */
    uint32_t merged_norm;  /* BLM_NORM_*                                                  */
    const char *merged_norm_name; /* or NULL: none                                        */
    uint32_t merged_norm_optional;
    uint32_t standardized; /* 1: merged rows grow with the root of the width, and where the
                              file has v.std_bias and v.std_scale are standardized         */
    float merged_norm_eps; /* 0: the tower's                                              */
    const char *first, *second; /* second NULL: one layer                                 */
    uint32_t second_optional, transposed;
    const char *refused;       /* a tensor that only projectors with norms have, or NULL */
    uint32_t projector_gelu;   /* BLM_GELU_*                                            */
    uint32_t gelu_px;          /* only of this image_size, else the tanh form; 0: of any */
    uint32_t tanh_px;          /* the tanh form of this image_size                       */
    const char *const *markup; /* [BLM_MARKUP_TEXTS], or NULL: none                     */
    int breaks_line;           /* as in blm_image_markup                                */
} blm_projector_row;

/* Where image_size is a bound of pictures of their own size, or nothing, a tile stands for what
 * such a picture may be: a square of so many tokens a side, or the bound. */
#define BLM_VISION_OWN_SIDE 16

/* Texts of a row's markup: begin, end, single, tile, row_end, thumbnail, line_end,
 * tile_end, whole_end, row_gap; those that are left out are empty. */
#define BLM_MARKUP_TEXTS 10

BLM_PRIVATE const blm_projector_row *blm_projector_row_of(uint32_t type);

/* clip.projector_type, or clip.vision.projector_type; files without either are LLaVA's. */
BLM_PRIVATE int blm_projector_name(const blm_gguf *g, blm_string *name, bluelm_error *err);

/* Its row in the table.
 * Errors: BLUELM_E_UNSUPPORTED names a type that the table lacks. */
BLM_PRIVATE int blm_projector_find(const blm_gguf *g, blm_projector_type *type,
                                   bluelm_error *err);

/* LLaVA-NeXT's token behind every row of a picture: 1 and its values, in a matrix of one row,
 * or 0. */
BLM_PRIVATE int blm_vision_newline(const blm_gguf *g, blm_tensor *out, bluelm_error *err);

/* Reads the mmproj's keys and tensors; tables come from the arena. With round_floats int8
 * activations meet float matrices as Q8_0. */
BLM_PRIVATE BLM_COLD int blm_vision_open(blm_vision *m, const blm_gguf *g, int round_floats,
                                         blm_arena *arena, bluelm_error *err);

/* Reads the projector of a tower whose own fields are filled in; scale is set before. */
BLM_PRIVATE BLM_COLD int blm_projector_open(blm_projector *p, const blm_vision *m,
                                            const blm_projector_row *row, const blm_gguf *g,
                                            float norm_eps, bluelm_error *err);

/* Reads a resampler in a projector's place; its tensors' table comes from the arena. */
BLM_PRIVATE BLM_COLD int blm_resampler_open(blm_projector *p, const blm_vision *m,
                                            const blm_projector_row *row, const blm_gguf *g,
                                            blm_arena *arena, float norm_eps,
                                            bluelm_error *err);

/* Reads v.deepstack.LAYER as a projector beside `main`. */
BLM_PRIVATE int blm_deepstack_open(blm_projector *p, const blm_projector *main,
                                   const blm_gguf *g, uint32_t layer, float norm_eps,
                                   bluelm_error *err);

#endif
