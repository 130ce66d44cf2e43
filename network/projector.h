/* From patches to image tokens: neighbouring patches become one, and a projector takes them
 * to the width of the language model. */
#ifndef BLM_PROJECTOR_H
#define BLM_PROJECTOR_H

#include "linear.h"

/* How the patches of a picture lie in the rows of the encoder: window by window, windows row
 * by row and inside each its patches row by row. One window: plain rows of patches. */
typedef struct blm_patch_grid {
    uint32_t columns, rows;
    uint32_t
        window; /* side of a window in patches, those at the edges smaller; 0: one window */
} blm_patch_grid;

/* The row of the patch in column x of patch row y. */
BLM_PRIVATE size_t blm_patch_row(const blm_patch_grid *g, uint32_t x, uint32_t y);

enum { BLM_NORM_LAYER = 0, BLM_NORM_RMS = 1, BLM_NORM_PLAIN = 2 /* RMS without weights */ };
enum { BLM_GELU_TANH = 0, BLM_SILU = 1, BLM_GELU_QUICK = 2, BLM_GELU_ERF = 3 };
/* Patches one after the other; their mean; channel by channel, of each its patches. */
enum { BLM_MERGE_JOIN = 0, BLM_MERGE_AVERAGE = 1, BLM_MERGE_CHANNELS = 2 };

/* Applies BLM_GELU_TANH .. to n values in place. */
BLM_PRIVATE void blm_activate(const blm_kernels *k, uint32_t activation, float *x, size_t n);

/* One row's norm of either kind; bias.data may be NULL with BLM_NORM_RMS. */
typedef struct blm_norm {
    uint32_t kind; /* BLM_NORM_LAYER .. */
    float eps;
    blm_vector weight, bias; /* [width]; weight.data NULL: there is no norm, but a plain one */
} blm_norm;

BLM_PRIVATE void blm_norm_row(const blm_kernels *k, const blm_norm *norm, const float *x,
                              uint32_t width, float *out);

typedef struct blm_resampler blm_resampler; /* resampler.h */

typedef struct blm_projector {
    const char *name;                /* as files write it                                  */
    uint32_t type;                   /* its row in the table of families/                  */
    uint32_t merge;                  /* BLM_MERGE_*: what becomes of a neighbourhood       */
    uint32_t scale;                  /* side of a neighbourhood: 1, 2, 4 ..                */
    uint32_t width;                  /* of a patch                                         */
    uint32_t tokens_side, tokens;    /* of a tile of the size the file names               */
    uint32_t joined;                 /* width before the merger, or 0: there is none       */
    uint32_t merged, hidden, n_embd; /* widths: joined, between (0: one layer), out        */
    uint32_t activation;             /* between the layers                                 */
    uint32_t transposed;             /* 1: `first` lies as [merged][n_embd]                */
    float grow;                      /* of a merged row, before all else; 0: not           */
    blm_vector shift, stretch; /* [merged]: then minus the one, times the other; NULL data */
    blm_norm norm;             /* of a merged row                                    */
    blm_tensor merger;         /* [merged][joined], or data NULL                     */
    blm_tensor first, second;  /* [hidden][merged], or [n_embd][merged] alone;
                                        [n_embd][hidden], or data NULL                     */
    blm_vector merger_bias, first_bias, second_bias;
    int round_floats;      /* as the tower's                                                */
    uint32_t rounded_cols; /* most columns of a matrix marked as rounded         */
    /* In place of all that from merge on: so many tokens of any picture, 0 without; `hidden`
     * is what it is wide. NULL while the arena is only counted. */
    uint32_t queries;
    blm_resampler *resampler;
} blm_projector;

typedef struct blm_projector_work {
    float *joined;       /* [tokens][joined]                                           */
    float *merged;       /* [tokens][merged]                                           */
    float *hidden;       /* [tokens][hidden]                                           */
    float *out;          /* [tokens][row_floats]                                       */
    float *part;         /* [workers][BLM_PROJECTOR_PART], for a transposed matrix     */
    float *query, *seen; /* [queries][hidden] each: a resampler's, and [patches][hidden] the
                          * first three; part: [workers][hidden / 2] */
    uint8_t *attend;     /* [workers][attend_bytes]: scratch of its attention            */
    uint64_t attend_bytes;
    blm_linear linear;
} blm_projector_work;

#define BLM_PROJECTOR_PART 256 /* columns of a transposed matrix at a time */

/* Tokens that the projector makes of a picture of so many patches. */
static inline BLM_UNUSED uint32_t blm_projector_tokens(const blm_projector *p, uint32_t columns,
                                                       uint32_t rows)
{
    if (p->queries) return p->queries;
    return (columns + p->scale - 1) / p->scale * ((rows + p->scale - 1) / p->scale);
}

/* Takes scratch for pictures of up to `patches` patches and `tokens` tokens whose rows are
 * row_floats wide. */
BLM_PRIVATE void blm_projector_take(blm_projector_work *w, blm_arena *arena,
                                    const blm_projector *p, const blm_compute *c,
                                    uint32_t patches, uint32_t tokens, uint32_t row_floats);

/* Projects one picture into w->out: tokens row by row, their rows row_floats apart.
 *   patches  [columns * rows][width], as the grid orders them; a side that is no multiple
 *            of scale is padded with zeros on the right and below (27x27 becomes 28x28)
 * Sources: BlueLM-V-3B, token downsampler; Gemma 3, average pooling. */
BLM_PRIVATE void blm_projector_run(const blm_projector *p, const blm_projector_work *w,
                                   const blm_compute *c, const blm_patch_grid *grid,
                                   const float *patches, uint32_t row_floats);

#endif
