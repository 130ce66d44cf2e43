#include "vision.h"

static int blm_vision_triple(const blm_gguf *g, const char *key, float out[3],
                             bluelm_error *err)
{
    blm_array values = {0};
    int found = blm_gguf_array(g, key, BLM_GGUF_F32, &values, err);
    if (found < 0) return found;
    if (found && values.count != 3)
        return blm_fail(err, BLUELM_E_FORMAT, key, 3, values.count, 0);
    for (uint32_t i = 0; i < 3; i++)
        out[i] = found ? blm_load_f32(values.data + i * sizeof(float)) : 0.5f;
    return BLUELM_OK;
}

static int blm_vision_pixels_scale(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    int code;
    if ((code = blm_vision_triple(g, "clip.vision.image_mean", m->mean, err)) < 0 ||
        (code = blm_vision_triple(g, "clip.vision.image_std", m->std, err)) < 0)
        return code;
    for (uint32_t i = 0; i < 3; i++)
        if (!(m->std[i] > 1e-6f && m->std[i] < 1e6f && blm_absf(m->mean[i]) < 1e6f))
            return blm_fail(err, BLUELM_E_FORMAT, "mmproj: clip.vision.image_mean, image_std",
                            1, 0, 0);
    return BLUELM_OK;
}

static int blm_vision_activation(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    int gelu = 0, silu = 0, code;
    if ((code = blm_gguf_bool(g, "clip.use_gelu", &gelu, err)) < 0 ||
        (code = blm_gguf_bool(g, "clip.use_silu", &silu, err)) < 0)
        return code;
    m->activation = gelu ? BLM_VISION_GELU : silu ? BLM_VISION_SILU : BLM_VISION_GELU_QUICK;
    return BLUELM_OK;
}

static int blm_vision_sizes(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    static const char vision[] = "clip.vision";
    int code;
    m->norm_eps = 1e-6f;
    if ((code = blm_key_need_u32(g, vision, ".image_size", 1, 4096, &m->tile_px, err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".patch_size", 1, 256, &m->patch_px, err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".embedding_length", 1, 16384, &m->width, err)) <
            0 ||
        (code = blm_key_need_u32(g, vision, ".feed_forward_length", 1, 1u << 18, &m->ffn,
                                 err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".block_count", 1, 1024, &m->n_layer, err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".attention.head_count", 1, 1024, &m->n_head,
                                 err)) < 0 ||
        (code = blm_key_maybe_f32(g, vision, ".attention.layer_norm_epsilon", &m->norm_eps,
                                  err)) < 0)
        return code;
    if (m->width % m->n_head)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: width over heads leaves a rest",
                        m->n_head, m->width % m->n_head, 0);
    if (m->patch_px > m->tile_px)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: patch_size above image_size", m->tile_px,
                        m->patch_px, 0);
    m->head_dim = m->width / m->n_head;
    m->patches_side = m->tile_px / m->patch_px;
    m->patches = m->patches_side * m->patches_side;
    if (m->patches > (1u << 16))
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: patches per tile", 1u << 16,
                        m->patches, 0);
    return BLUELM_OK;
}

/* v.patch_embd.weight lies as [width][3][patch][patch]: a matrix of one patch a row. */
static int blm_vision_patch_matrix(blm_vision *m, const blm_tensor_place *at, bluelm_error *err)
{
    blm_tensor *t = &m->patch_embd;
    int found = blm_gguf_tensor(at->file, "v.patch_embd.weight", t, err);
    if (found < 0) return found;
    if (!found)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: v.patch_embd.weight is missing", 1, 0,
                        0);
    uint64_t values = 3 * (uint64_t)m->patch_px * m->patch_px;
    uint32_t block_values, block_bytes;
    blm_type_block(t->type, &block_values, &block_bytes);
    if (t->ne[0] != m->patch_px || t->ne[1] != m->patch_px || t->ne[2] != 3 ||
        t->ne[3] != m->width)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: v.patch_embd.weight values",
                        values * m->width, t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3], 0);
    if (block_values != 1)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: v.patch_embd.weight type", 0,
                        t->type, 0);
    t->row_bytes = values * block_bytes;
    t->ne[0] = values;
    t->ne[1] = m->width;
    t->ne[2] = t->ne[3] = 1;
    t->n_dims = 2;
    return blm_tensor_maybe_vector(at, "v.patch_embd.bias", m->width, &m->patch_bias, err);
}

static int blm_vision_norm_pair(const blm_tensor_place *at, const char *weight,
                                const char *bias, uint32_t n, blm_tensor *w, blm_tensor *b,
                                bluelm_error *err)
{
    int code = blm_tensor_vector(at, weight, n, w, err);
    return code < 0 ? code : blm_tensor_vector(at, bias, n, b, err);
}

/* Old files name ffn_up and ffn_down the other way round; the shapes tell. */
static int blm_vision_feed_forward(blm_vision_layer *l, const blm_vision *m,
                                   const blm_tensor_place *at, bluelm_error *err)
{
    static const char *const now[] = {"ffn_up.weight", "ffn_up.bias", "ffn_down.weight",
                                      "ffn_down.bias"};
    static const char *const old[] = {"ffn_down.weight", "ffn_down.bias", "ffn_up.weight",
                                      "ffn_up.bias"};
    const char *const *names = now;
    bluelm_error ignored;
    int code;
    if (m->ffn != m->width &&
        blm_tensor_matrix(at, "ffn_up.weight", m->ffn, m->width, &l->up, &ignored) >= 0)
        names = old;
    if ((code = blm_tensor_matrix(at, names[0], m->width, m->ffn, &l->up, err)) < 0 ||
        (code = blm_tensor_maybe_vector(at, names[1], m->ffn, &l->up_bias, err)) < 0 ||
        (code = blm_tensor_matrix(at, names[2], m->ffn, m->width, &l->down, err)) < 0)
        return code;
    return blm_tensor_maybe_vector(at, names[3], m->width, &l->down_bias, err);
}

static int blm_vision_layer_read(blm_vision_layer *l, blm_vision *m, const blm_gguf *g,
                                 uint32_t index, bluelm_error *err)
{
    const blm_tensor_place at = {g, "v.blk.", (int32_t)index};
    const char *const names[4][2] = {{"attn_q.weight", "attn_q.bias"},
                                     {"attn_k.weight", "attn_k.bias"},
                                     {"attn_v.weight", "attn_v.bias"},
                                     {"attn_out.weight", "attn_out.bias"}};
    blm_tensor *const matrices[6] = {&l->q, &l->k, &l->v, &l->o, &l->up, &l->down};
    blm_tensor *const biases[4] = {&l->q_bias, &l->k_bias, &l->v_bias, &l->o_bias};
    uint32_t w = m->width;
    int code;
    if ((code = blm_vision_norm_pair(&at, "ln1.weight", "ln1.bias", w, &l->ln1, &l->ln1_bias,
                                     err)) < 0 ||
        (code = blm_vision_norm_pair(&at, "ln2.weight", "ln2.bias", w, &l->ln2, &l->ln2_bias,
                                     err)) < 0)
        return code;
    for (uint32_t i = 0; i < 4; i++)
        if ((code = blm_tensor_matrix(&at, names[i][0], w, w, matrices[i], err)) < 0 ||
            (code = blm_tensor_maybe_vector(&at, names[i][1], w, biases[i], err)) < 0)
            return code;
    if ((code = blm_vision_feed_forward(l, m, &at, err)) < 0) return code;
    m->narrow_cols = BLM_MAX(m->narrow_cols, blm_linear_narrow(matrices, 6));
    return BLUELM_OK;
}

/* Norms before and after the blocks, each of which a file may leave out. */
static int blm_vision_outer_norms(blm_vision *m, const blm_tensor_place *at, bluelm_error *err)
{
    int pre = blm_tensor_present(at, "v.pre_ln.weight", err);
    int post = blm_tensor_present(at, "v.post_ln.weight", err);
    int code = BLM_MIN(pre, post);
    if (code >= 0 && pre)
        code = blm_vision_norm_pair(at, "v.pre_ln.weight", "v.pre_ln.bias", m->width,
                                    &m->pre_ln, &m->pre_ln_bias, err);
    if (code >= 0 && post)
        code = blm_vision_norm_pair(at, "v.post_ln.weight", "v.post_ln.bias", m->width,
                                    &m->post_ln, &m->post_ln_bias, err);
    return code;
}

BLM_PRIVATE int blm_vision_open(blm_vision *m, const blm_gguf *g, blm_arena *arena,
                                bluelm_error *err)
{
    const blm_tensor_place at = {g, "", BLM_NO_LAYER};
    blm_string arch = {"", 0};
    int code;
    memset(m, 0, sizeof *m);
    if ((code = blm_gguf_string(g, "general.architecture", &arch, err)) < 0) return code;
    if (!blm_string_is(arch, "clip"))
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: architecture other than clip", 0, 0,
                        0);
    if ((code = blm_vision_sizes(m, g, err)) < 0 ||
        (code = blm_vision_activation(m, g, err)) < 0 ||
        (code = blm_vision_pixels_scale(m, g, err)) < 0 ||
        (code = blm_vision_patch_matrix(m, &at, err)) < 0 ||
        (code = blm_tensor_maybe_vector(&at, "v.class_embd", m->width, &m->class_embd, err)) <
            0 ||
        (code = blm_projector_open(&m->projector, g, m->patches_side, m->width, err)) < 0)
        return code;
    m->class_token = m->class_embd.data != NULL;
    m->rows = m->patches + m->class_token;
    /* LLaVA takes the output of the last block but one. */
    if (m->projector.type == BLM_PROJECTOR_MLP && m->n_layer > 1) m->n_layer--;
    if ((code = blm_tensor_matrix(&at, "v.position_embd.weight", m->width, m->rows,
                                  &m->position_embd, err)) < 0 ||
        (code = blm_vision_outer_norms(m, &at, err)) < 0)
        return code;

    m->layers = (blm_vision_layer *)blm_arena_take(arena, m->n_layer, sizeof(blm_vision_layer));
    for (uint32_t i = 0; i < m->n_layer; i++) {
        blm_vision_layer layer;
        if ((code = blm_vision_layer_read(&layer, m, g, i, err)) < 0) return code;
        if (m->layers) m->layers[i] = layer;
    }
    return BLUELM_OK;
}
