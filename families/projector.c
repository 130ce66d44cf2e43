#include "vision.h"

static int blm_projector_kind(blm_projector *p, const blm_gguf *g, bluelm_error *err)
{
    static const char *const names[] = {"lfm2", "idefics3", "mlp"};
    blm_string name = {"mlp", 3};
    int found = blm_gguf_string(g, "clip.projector_type", &name, err);
    if (found < 0) return found;
    for (uint32_t i = 0; i < BLM_COUNT_OF(names); i++) {
        if (blm_string_is(name, names[i])) {
            p->type = (blm_projector_type)i;
            return BLUELM_OK;
        }
    }
    return blm_fail_value(err, BLUELM_E_UNSUPPORTED, "mmproj: clip.projector_type ", name, 0,
                          0);
}

/* Two matrices with biases around a GELU; the sides of `hidden` and n_embd are the file's. */
static int blm_projector_two_layers(blm_projector *p, const blm_tensor_place *at,
                                    const char *const names[4], bluelm_error *err)
{
    int code;
    if ((code = blm_tensor_matrix(at, names[0], p->merged, 0, &p->first, err)) < 0 ||
        (code = blm_tensor_maybe_vector(at, names[1], p->first.ne[1], &p->first_bias, err)) <
            0 ||
        (code = blm_tensor_matrix(at, names[2], p->first.ne[1], 0, &p->second, err)) < 0 ||
        (code = blm_tensor_maybe_vector(at, names[3], p->second.ne[1], &p->second_bias, err)) <
            0)
        return code;
    return BLUELM_OK;
}

static int blm_projector_tensors(blm_projector *p, const blm_gguf *g, bluelm_error *err)
{
    static const char *const lfm2[] = {"mm.1.weight", "mm.1.bias", "mm.2.weight", "mm.2.bias"};
    static const char *const mlp[] = {"mm.0.weight", "mm.0.bias", "mm.2.weight", "mm.2.bias"};
    const blm_tensor_place at = {g, "", BLM_NO_LAYER};
    int code;
    switch (p->type) {
    case BLM_PROJECTOR_IDEFICS3:
        return blm_tensor_matrix(&at, "mm.model.fc.weight", p->merged, 0, &p->first, err);
    case BLM_PROJECTOR_MLP:
        return blm_projector_two_layers(p, &at, mlp, err);
    case BLM_PROJECTOR_LFM2:
    default:
        if ((code = blm_tensor_maybe_vector(&at, "mm.input_norm.weight", p->merged, &p->norm,
                                            err)) < 0 ||
            (p->norm.data && (code = blm_tensor_vector(&at, "mm.input_norm.bias", p->merged,
                                                       &p->norm_bias, err)) < 0))
            return code;
        return blm_projector_two_layers(p, &at, lfm2, err);
    }
}

BLM_PRIVATE int blm_projector_open(blm_projector *p, const blm_gguf *g, uint32_t patches_side,
                                   uint32_t width, bluelm_error *err)
{
    memset(p, 0, sizeof *p);
    int code = blm_projector_kind(p, g, err);
    if (code < 0) return code;
    p->patches_side = patches_side;
    p->width = width;
    p->scale = p->type == BLM_PROJECTOR_MLP ? 1 : 2;
    if (p->type != BLM_PROJECTOR_MLP &&
        (code = blm_key_maybe_u32(g, "clip.vision.projector", ".scale_factor", 1, 16, &p->scale,
                                  err)) < 0)
        return code;
    p->tokens_side = (patches_side + p->scale - 1) / p->scale;
    p->tokens = p->tokens_side * p->tokens_side;
    p->merged = width * p->scale * p->scale;
    if ((code = blm_projector_tensors(p, g, err)) < 0) return code;
    uint64_t last = p->second.data ? p->second.ne[1] : p->first.ne[1];
    if (p->first.ne[1] == 0 || p->first.ne[1] > (1u << 20) || last == 0 || last > (1u << 20))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: projector rows", 1u << 20,
                        BLM_MAX(p->first.ne[1], last), 0);
    p->hidden = (uint32_t)p->first.ne[1];
    p->n_embd = (uint32_t)last;
    blm_tensor *const matrices[] = {&p->first, &p->second};
    p->narrow_cols = blm_linear_narrow(matrices, p->second.data ? 2 : 1);
    return BLUELM_OK;
}
