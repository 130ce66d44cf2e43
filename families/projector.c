#include "vision.h"

/* Texts around pictures: what the models were trained with. {row} and {col} count from 1. */
static const char *const blm_markup_idefics3[BLM_MARKUP_TEXTS] = {
    "",
    "<fake_token_around_image>",
    "<fake_token_around_image><global-img>",
    "<fake_token_around_image><row_{row}_col_{col}>",
    "\n",
    "\n<fake_token_around_image><global-img>"};
static const char *const blm_markup_lfm2[BLM_MARKUP_TEXTS] = {
    "<|image_start|>",  "<|image_end|>", "", "<|img_row_{row}_col_{col}|>", "",
    "<|img_thumbnail|>"};
static const char *const blm_markup_internvl[BLM_MARKUP_TEXTS] = {"<img>", "</img>", "",
                                                                  "",      "",       ""};
static const char *const blm_markup_qwen[BLM_MARKUP_TEXTS] = {
    "<|vision_start|>", "<|vision_end|>", "", "", "", ""};
static const char *const blm_markup_omni[BLM_MARKUP_TEXTS] = {
    "<|vision_bos|>", "<|vision_eos|>", "", "", "", ""};
static const char *const blm_markup_gemma3[BLM_MARKUP_TEXTS] = {
    "\n\n<start_of_image>", "<end_of_image>\n\n", "", "", "", ""};
static const char *const blm_markup_gemma4[BLM_MARKUP_TEXTS] = {"<|image>", "<image|>", "",
                                                                "",         "",         ""};
static const char *const blm_markup_janus[BLM_MARKUP_TEXTS] = {
    "<begin_of_image>", "<end_of_image>", "", "", "", ""};

static const char *const blm_markup_minicpm[BLM_MARKUP_TEXTS] = {"<image_id>{image}</image_id>",
                                                                 "",
                                                                 "<image>",
                                                                 "<slice>",
                                                                 "",
                                                                 "<image>",
                                                                 "",
                                                                 "</slice>",
                                                                 "</image>",
                                                                 "\n"};

static const char *const blm_markup_paddleocr[BLM_MARKUP_TEXTS] = {
    "<|IMAGE_START|>", "<|IMAGE_END|>", "", "", "", ""};
static const char *const blm_markup_dotsocr[BLM_MARKUP_TEXTS] = {
    "<|img|>", "<|endofimg|>", "", "", "", ""};
static const char *const blm_markup_pixtral[BLM_MARKUP_TEXTS] = {"", "[IMG_END]",  "", "", "",
                                                                 "", "[IMG_BREAK]"};

#define BLM_PIXTRAL_TOWER(type)                                                                \
    .name = type, .norm = BLM_NORM_RMS, .gelu = BLM_GELU_ERF, .positions = BLM_POSITIONS_NONE, \
    .rope = BLM_VISION_ROPE_NEIGHBOURS, .dynamic = 1, .longest_edge = 1,                       \
    .patch_norm = "mm.input_norm", .merge = BLM_MERGE_CHANNELS, .scale = 1,                    \
    .scale_key = ".spatial_merge_size", .merger = "mm.patch_merger", .first = "mm.1",          \
    .second = "mm.2", .projector_gelu = BLM_GELU_ERF

#define BLM_QWEN_MERGER(type, texts)                                                           \
    .name = type, .rope = BLM_VISION_ROPE_HALVES, .dynamic = 1, .scale = 2,                    \
    .scale_key = ".spatial_merge_size", .first = "mm.0", .second = "mm.2",                     \
    .projector_gelu = BLM_GELU_ERF, .markup = texts

/* An lfm2 projector of other pictures than Liquid's 256 px is of BlueLM-V-3B's kind, whose demo
 * here was trained with the tanh form. */
static const blm_projector_row blm_projector_table[] = {
    [BLM_PROJECTOR_LFM2] = {.name = "lfm2",
                            .positions = BLM_POSITIONS_RESIZED,
                            .dynamic = 1,
                            .scale = 2,
                            .scale_key = ".projector.scale_factor",
                            .merged_norm_name = "mm.input_norm",
                            .merged_norm_optional = 1,
                            .merged_norm_eps = 1e-5f,
                            .first = "mm.1",
                            .second = "mm.2",
                            .projector_gelu = BLM_GELU_ERF,
                            .gelu_px = 256,
                            .markup = blm_markup_lfm2},
    [BLM_PROJECTOR_IDEFICS3] = {.name = "idefics3",
                                .scale = 2,
                                .scale_key = ".projector.scale_factor",
                                .first = "mm.model.fc",
                                .markup = blm_markup_idefics3},
    [BLM_PROJECTOR_MLP] = {.name = "mlp",
                           .features = 1,
                           .scale = 1,
                           .first = "mm.0",
                           .second = "mm.2",
                           .second_optional = 1,
                           .projector_gelu = BLM_GELU_ERF,
                           .tanh_px = 378, /* Moondream's */
                           .refused = "mm.3.weight",
                           .breaks_line = 1},
    [BLM_PROJECTOR_INTERNVL] = {.name = "internvl",
                                .gelu = BLM_GELU_ERF,
                                .scale = 2,
                                .scale_key = ".projector.scale_factor",
                                .merged_norm_name = "mm.model.mlp.0",
                                .merged_norm_eps = 1e-5f,
                                .first = "mm.model.mlp.1",
                                .second = "mm.model.mlp.3",
                                .projector_gelu = BLM_GELU_ERF,
                                .markup = blm_markup_internvl,
                                .breaks_line = 1},
    [BLM_PROJECTOR_QWEN2VL] = {BLM_QWEN_MERGER("qwen2vl_merger", blm_markup_qwen),
                               .positions = BLM_POSITIONS_NONE},
    [BLM_PROJECTOR_QWEN25VL] = {BLM_QWEN_MERGER("qwen2.5vl_merger", blm_markup_qwen),
                                .norm = BLM_NORM_RMS, .positions = BLM_POSITIONS_NONE},
    [BLM_PROJECTOR_QWEN25O] = {BLM_QWEN_MERGER("qwen2.5o", blm_markup_omni),
                               .norm = BLM_NORM_RMS, .positions = BLM_POSITIONS_NONE},
    [BLM_PROJECTOR_QWEN3VL] = {BLM_QWEN_MERGER("qwen3vl_merger", blm_markup_qwen),
                               .positions = BLM_POSITIONS_CORNERS, .deepstack = 1},
    [BLM_PROJECTOR_GEMMA3] = {.name = "gemma3",
                              .merge = BLM_MERGE_AVERAGE,
                              .scale = 4,
                              .scale_key = ".projector.scale_factor",
                              .merged_norm = BLM_NORM_RMS,
                              .merged_norm_name = "mm.soft_emb_norm",
                              .first = "mm.input_projection",
                              .transposed = 1,
                              .markup = blm_markup_gemma3},
    [BLM_PROJECTOR_PIXTRAL] = {BLM_PIXTRAL_TOWER("pixtral"), .markup = blm_markup_pixtral},
    [BLM_PROJECTOR_LIGHTONOCR] = {BLM_PIXTRAL_TOWER("lightonocr")},
    [BLM_PROJECTOR_JANUS] = {.name = "janus_pro",
                             .gelu = BLM_GELU_ERF,
                             .scale = 1,
                             .first = "mm.0",
                             .second = "mm.1",
                             .projector_gelu = BLM_GELU_ERF,
                             .markup = blm_markup_janus,
                             .breaks_line = 1},
    [BLM_PROJECTOR_GEMMA4] = {.name = "gemma4v",
                              .norm = BLM_NORM_RMS,
                              .gelu_unsaid = 1,
                              .positions = BLM_POSITIONS_AXES,
                              .rope = BLM_VISION_ROPE_APART,
                              .rope_base = 100,
                              .dynamic = 1,
                              .any_size = 1,
                              .unscaled = 1,
                              .extra = 1,
                              .value_norm = 1,
                              .signed_pixels = 1,
                              .merge = BLM_MERGE_AVERAGE,
                              .scale = 3,
                              .scale_key = ".projector.scale_factor",
                              .standardized = 1,
                              .merged_norm = BLM_NORM_PLAIN,
                              .first = "mm.input_projection",
                              .markup = blm_markup_gemma4},
    [BLM_PROJECTOR_RESAMPLER] = {.name = "resampler",
                                 .positions = BLM_POSITIONS_CELLS,
                                 .dynamic = 1,
                                 .resampler = 1,
                                 .scale = 1,
                                 .markup = blm_markup_minicpm,
                                 .breaks_line = 1},
    [BLM_PROJECTOR_PADDLEOCR] = {.name = "paddleocr",
                                 .positions = BLM_POSITIONS_MIDDLES,
                                 .rope = BLM_VISION_ROPE_HALVES,
                                 .dynamic = 1,
                                 .any_size = 1,
                                 .merge_norm = "mm.input_norm",
                                 .merge_norm_eps = 1e-5f,
                                 .scale = 2,
                                 .first = "mm.1",
                                 .second = "mm.2",
                                 .projector_gelu = BLM_GELU_ERF,
                                 .markup = blm_markup_paddleocr},
    [BLM_PROJECTOR_DOTSOCR] = {.name = "dots_ocr",
                               .norm = BLM_NORM_RMS,
                               .positions = BLM_POSITIONS_NONE,
                               .rope = BLM_VISION_ROPE_HALVES,
                               .dynamic = 1,
                               .any_size = 1,
                               .patch_norm = "mm.post_norm",
                               .merge_norm = "mm.input_norm",
                               .merge_norm_eps = 1e-6f,
                               .scale = 2,
                               .scale_key = ".projector.scale_factor",
                               .first = "mm.0",
                               .second = "mm.2",
                               .projector_gelu = BLM_GELU_ERF,
                               .markup = blm_markup_dotsocr},
    [BLM_PROJECTOR_MINICPMV46] = {.name = "minicpmv4_6",
                                  .positions = BLM_POSITIONS_CELLS,
                                  .dynamic = 1,
                                  .joint = 2,
                                  .scale = 2,
                                  .merged_norm_name = "mm.input_norm",
                                  .first = "mm.up",
                                  .second = "mm.down",
                                  .projector_gelu = BLM_GELU_ERF,
                                  .markup = blm_markup_minicpm,
                                  .breaks_line = 1},
};

BLM_PRIVATE const blm_projector_row *blm_projector_row_of(uint32_t type)
{
    return &blm_projector_table[type];
}

BLM_PRIVATE int blm_projector_name(const blm_gguf *g, blm_string *name, bluelm_error *err)
{
    *name = (blm_string){"mlp", 3}; /* files of before the key are LLaVA's */
    int found = blm_gguf_string(g, "clip.projector_type", name, err);
    if (found == 0) found = blm_gguf_string(g, "clip.vision.projector_type", name, err);
    return found < 0 ? found : BLUELM_OK;
}

BLM_PRIVATE int blm_projector_find(const blm_gguf *g, blm_projector_type *type,
                                   bluelm_error *err)
{
    blm_string name;
    int code = blm_projector_name(g, &name, err);
    if (code < 0) return code;
    for (uint32_t i = 0; i < BLM_PROJECTOR_TYPES; i++) {
        if (!blm_string_is(name, blm_projector_table[i].name)) continue;
        *type = (blm_projector_type)i;
        return BLUELM_OK;
    }
    return blm_fail_value(err, BLUELM_E_UNSUPPORTED, "mmproj: clip.projector_type ", name);
}

/* NAME.weight and, where there is one, NAME.bias, of `cols` columns. */
static int blm_projector_layer(const blm_tensor_place *at, const char *name, uint64_t cols,
                               blm_tensor *matrix, blm_vector *bias, bluelm_error *err)
{
    blm_name weight, of_bias;
    blm_name_add(blm_name_start(&weight, name), ".weight");
    blm_name_add(blm_name_start(&of_bias, name), ".bias");
    int code = blm_tensor_matrix(at, weight.text, cols, 0, matrix, err);
    if (code < 0) return code;
    if (matrix->ne[1] > (1u << 20))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: projector rows", 1u << 20, matrix->ne[1],
                        0);
    return blm_tensor_maybe_vector(at, of_bias.text, matrix->ne[1], bias, err);
}

/* Sets the widths that follow from the matrices, and marks those that are rounded. */
static int blm_projector_widths(blm_projector *p, bluelm_error *err)
{
    blm_tensor *matrices[3] = {&p->first};
    uint32_t count = 1;
    int two = p->second.data != NULL;
    uint64_t last = p->transposed ? p->first.ne[0] : two ? p->second.ne[1] : p->first.ne[1];
    if (last > (1u << 20))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: projector rows", 1u << 20, last, 0);
    p->hidden = two ? (uint32_t)p->first.ne[1] : 0;
    p->n_embd = (uint32_t)last;
    if (two) matrices[count++] = &p->second;
    if (p->joined) matrices[count++] = &p->merger;
    p->rounded_cols = p->transposed ? 0 : blm_linear_round(matrices, count, p->round_floats);
    return BLUELM_OK;
}

static int blm_projector_norm(blm_projector *p, const blm_projector_row *row,
                              const blm_tensor_place *at, float eps, bluelm_error *err)
{
    blm_name weight, bias;
    p->norm.kind = row->merged_norm;
    p->norm.eps = eps;
    if (!row->merged_norm_name) return BLUELM_OK;
    p->norm.eps = row->merged_norm_eps > 0 ? row->merged_norm_eps : eps;
    blm_name_add(blm_name_start(&weight, row->merged_norm_name), ".weight");
    blm_name_add(blm_name_start(&bias, row->merged_norm_name), ".bias");
    int present = blm_tensor_present(at, weight.text, err);
    if (present < 0 || (!present && row->merged_norm_optional)) return present;
    int code = blm_tensor_vector(at, weight.text, p->merged, &p->norm.weight, err);
    if (code < 0 || row->merged_norm == BLM_NORM_RMS) return code;
    return blm_tensor_vector(at, bias.text, p->merged, &p->norm.bias, err);
}

/* A matrix that takes merged patches to another width, where there is one: there has to be if
 * patches are merged. */
static int blm_projector_merger(blm_projector *p, const blm_projector_row *row,
                                const blm_tensor_place *at, bluelm_error *err)
{
    blm_name name;
    if (!row->merger) return BLUELM_OK;
    blm_name_add(blm_name_start(&name, row->merger), ".weight");
    int present = blm_tensor_present(at, name.text, err);
    if (present < 0 || (!present && p->scale == 1)) return present;
    int code =
        blm_projector_layer(at, row->merger, p->merged, &p->merger, &p->merger_bias, err);
    if (code < 0) return code;
    p->joined = p->merged;
    p->merged = (uint32_t)p->merger.ne[1];
    return BLUELM_OK;
}

/* The matrices after the norm. */
static int blm_projector_layers(blm_projector *p, const blm_projector_row *row,
                                const blm_tensor_place *at, bluelm_error *err)
{
    blm_name second;
    int code, present = row->second != NULL;
    if (p->transposed) {
        blm_name first;
        blm_name_add(blm_name_start(&first, row->first), ".weight");
        int found = blm_gguf_tensor(at->file, first.text, &p->first, err);
        if (found < 0) return found;
        uint64_t cols = found ? p->first.ne[0] : 0;
        return blm_tensor_matrix(at, first.text, cols, p->merged, &p->first, err);
    }
    code = blm_projector_layer(at, row->first, p->merged, &p->first, &p->first_bias, err);
    if (code < 0) return code;
    if (row->refused) {
        int norm = blm_tensor_present(at, row->refused, err);
        if (norm < 0) return norm;
        if (norm)
            return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: norms in the projector (mm.3)",
                            0, 1, 0);
    }
    if (row->second_optional) {
        blm_name_add(blm_name_start(&second, row->second), ".weight");
        present = blm_tensor_present(at, second.text, err);
    }
    if (present <= 0) return present;
    return blm_projector_layer(at, row->second, p->first.ne[1], &p->second, &p->second_bias,
                               err);
}

/* What merged rows go through before their norm. */
static int blm_projector_standard(blm_projector *p, const blm_projector_row *row,
                                  const blm_tensor_place *at, bluelm_error *err)
{
    static const char scale[] = "v.std_scale";
    if (!row->standardized) return BLUELM_OK;
    p->grow = blm_sqrtf((float)p->merged);
    int code = blm_tensor_maybe_vector(at, "v.std_bias", p->merged, &p->shift, err);
    if (code < 0 || !p->shift.data) return code;
    return blm_tensor_vector(at, scale, p->merged, &p->stretch, err);
}

BLM_PRIVATE int blm_projector_open(blm_projector *p, const blm_vision *m,
                                   const blm_projector_row *row, const blm_gguf *g,
                                   float norm_eps, bluelm_error *err)
{
    const blm_tensor_place at = {g, "", BLM_NO_LAYER};
    uint32_t side = m->tile_px / m->patch_px / BLM_MAX(row->joint, 1u);
    int code;
    p->name = row->name;
    p->round_floats = m->round_floats;
    p->merge = row->merge;
    p->activation = (!row->gelu_px || row->gelu_px == m->tile_px) && row->tanh_px != m->tile_px
                        ? row->projector_gelu
                        : BLM_GELU_TANH;
    p->transposed = row->transposed;
    p->width = m->width * BLM_MAX(m->tap_count, 1u);
    p->tokens_side = (side + p->scale - 1) / p->scale;
    p->tokens = p->tokens_side * p->tokens_side;
    p->merged = row->merge == BLM_MERGE_AVERAGE ? p->width : p->width * p->scale * p->scale;
    if (row->merge == BLM_MERGE_AVERAGE && side % p->scale)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: patches a side over the average's side",
                        p->scale, side, 0);
    if ((code = blm_projector_standard(p, row, &at, err)) < 0 ||
        (code = blm_projector_norm(p, row, &at, norm_eps, err)) < 0 ||
        (code = blm_projector_merger(p, row, &at, err)) < 0 ||
        (code = blm_projector_layers(p, row, &at, err)) < 0)
        return code;
    return blm_projector_widths(p, err);
}

BLM_PRIVATE int blm_deepstack_open(blm_projector *p, const blm_projector *main,
                                   const blm_gguf *g, uint32_t layer, float norm_eps,
                                   bluelm_error *err)
{
    const blm_tensor_place at = {g, "v.deepstack.", (int32_t)layer};
    int code;
    *p = *main;
    p->norm = (blm_norm){.kind = BLM_NORM_LAYER, .eps = norm_eps};
    if ((code = blm_tensor_vector(&at, "norm.weight", p->merged, &p->norm.weight, err)) < 0 ||
        (code = blm_tensor_vector(&at, "norm.bias", p->merged, &p->norm.bias, err)) < 0 ||
        (code = blm_projector_layer(&at, "fc1", p->merged, &p->first, &p->first_bias, err)) <
            0 ||
        (code = blm_projector_layer(&at, "fc2", p->first.ne[1], &p->second, &p->second_bias,
                                    err)) < 0 ||
        (code = blm_projector_widths(p, err)) < 0)
        return code;
    if (p->n_embd != main->n_embd)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: v.deepstack fc2 rows", main->n_embd,
                        p->n_embd, 0);
    return BLUELM_OK;
}
