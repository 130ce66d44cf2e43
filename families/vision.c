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

BLM_COLD static int blm_vision_pixels_scale(blm_vision *m, const blm_projector_row *row,
                                            const blm_gguf *g, bluelm_error *err)
{
    int code;
    if ((code = blm_vision_triple(g, "clip.vision.image_mean", m->mean, err)) < 0 ||
        (code = blm_vision_triple(g, "clip.vision.image_std", m->std, err)) < 0)
        return code;
    for (uint32_t i = 0; i < 3; i++)
        if (!(m->std[i] > 1e-6f && m->std[i] < 1e6f && blm_absf(m->mean[i]) < 1e6f))
            return blm_fail(err, BLUELM_E_FORMAT, "mmproj: clip.vision.image_mean, image_std",
                            1, 0, 0);
    for (uint32_t i = 0; row->signed_pixels && i < 3; i++) {
        m->std[i] /= 2; /* 2 (x - mean) / std - 1 */
        m->mean[i] += m->std[i];
    }
    return BLUELM_OK;
}

static int blm_vision_activation(blm_vision *m, const blm_projector_row *row, const blm_gguf *g,
                                 bluelm_error *err)
{
    int gelu = 0, silu = 0, code;
    if ((code = blm_gguf_bool(g, "clip.use_gelu", &gelu, err)) < 0 ||
        (code = blm_gguf_bool(g, "clip.use_silu", &silu, err)) < 0)
        return code;
    if (!silu && row->gelu_unsaid) gelu = 1;
    m->activation = gelu ? row->gelu : silu ? BLM_SILU : BLM_GELU_QUICK;
    return BLUELM_OK;
}

static int blm_vision_check_sizes(const blm_vision *m, bluelm_error *err)
{
    if (m->width % m->n_head)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: width over heads leaves a rest",
                        m->n_head, m->width % m->n_head, 0);
    if (m->patch_px > m->tile_px)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: patch_size above image_size", m->tile_px,
                        m->patch_px, 0);
    if (m->patches > (1u << 16))
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: patches per tile", 1u << 16,
                        m->patches, 0);
    if (m->joint && m->tile_px / m->patch_px % (m->joint * m->projector.scale))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: patches a side, a multiple of",
                        m->joint * m->projector.scale, m->tile_px / m->patch_px, 0);
    if (m->rope && m->head_dim % 4)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: head size, a multiple of", 4,
                        m->head_dim, 0);
    return BLUELM_OK;
}

BLM_COLD static int blm_vision_own_sizes(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    static const char key[] = "clip.rope.freq_base";
    float base = 10000;
    int code = blm_gguf_f32(g, key, &base, err);
    if (code < 0) return code;
    if (!(base > 9999 && base < 10001))
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: clip.rope.freq_base", 10000,
                        base > 0 && base < 1e9f ? (uint64_t)base : 0, 0);
    m->tile_px = BLM_MIN(m->tile_px, BLM_VISION_OWN_SIDE * m->projector.scale * m->patch_px);
    return BLUELM_OK;
}

/* Where image_size means nothing. */
static int blm_vision_any_size(blm_vision *m, bluelm_error *err)
{
    const uint32_t most = 4096 / BLM_VISION_OWN_SIDE, align = m->projector.scale * m->patch_px;
    if (align > most)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: pixels of a merged patch", most, align,
                        0);
    m->tile_px = BLM_VISION_OWN_SIDE * align;
    return BLUELM_OK;
}

BLM_COLD static int blm_vision_sizes(blm_vision *m, const blm_projector_row *row,
                                     const blm_gguf *g, float *eps, bluelm_error *err)
{
    static const char vision[] = "clip.vision";
    uint32_t *scale = &m->projector.scale;
    int code;
    *eps = 1e-6f;
    *scale = row->scale;
    if ((!row->any_size &&
         (code = blm_key_need_u32(g, vision, ".image_size", 1, 4096, &m->tile_px, err)) < 0) ||
        (code = blm_key_need_u32(g, vision, ".patch_size", 1, 256, &m->patch_px, err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".embedding_length", 1, 16384, &m->width, err)) <
            0 ||
        (code = blm_key_need_u32(g, vision, ".block_count", 1, 1024, &m->n_layer, err)) < 0 ||
        (code = blm_key_need_u32(g, vision, ".attention.head_count", 1, 1024, &m->n_head,
                                 err)) < 0 ||
        (code = blm_key_maybe_f32(g, vision, ".attention.layer_norm_epsilon", eps, err)) < 0 ||
        (row->scale_key &&
         (code = blm_key_maybe_u32(g, vision, row->scale_key, 1, 16, scale, err)) < 0))
        return code;
    if (row->longest_edge && (code = blm_vision_own_sizes(m, g, err)) < 0) return code;
    if (row->any_size && (code = blm_vision_any_size(m, err)) < 0) return code;
    m->head_dim = m->width / m->n_head;
    m->rope_base = row->rope_base > 0 ? row->rope_base : 10000.0f;
    m->value_norm = row->value_norm;
    m->attention_scale =
        row->unscaled || !m->head_dim ? 1.0f : 1.0f / blm_sqrtf((float)m->head_dim);
    m->patches = m->tile_px / m->patch_px * (m->tile_px / m->patch_px);
    m->rope = row->rope;
    m->positions = row->positions;
    m->dynamic = row->dynamic;
    m->joint = row->joint;
    m->in_line = row->joint != 0;
    m->align_px = row->dynamic ? m->patch_px * *scale * BLM_MAX(m->joint, 1u) : m->tile_px;
    return blm_vision_check_sizes(m, err);
}

/* ---- Which layers ------------------------------------------------------------------------ */

/* The layer whose output an index of clip.vision.feature_layer names: 0 is what the first
 * reads; below 0 it counts from the last. */
static int blm_vision_feature(blm_vision *m, const blm_array *layers, uint32_t i,
                              bluelm_error *err)
{
    int32_t value = (int32_t)blm_load_u32(layers->data + i * sizeof(uint32_t));
    int64_t state = value < 0 ? (int64_t)m->n_layer + 1 + value : value;
    if (state < 0 || state > m->n_layer)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: clip.vision.feature_layer", m->n_layer,
                        (uint32_t)value, i);
    m->taps[i] = (uint32_t)state;
    return BLUELM_OK;
}

/* Runs as many layers as clip.vision.feature_layer reads. Without it LLaVA takes the output of
 * the last layer but one; files of CLIP, whose towers have an even number of layers, often
 * leave that last one out. */
BLM_COLD static int blm_vision_features(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    static const char key[] = "clip.vision.feature_layer";
    blm_array layers = {0};
    uint32_t most = 0;
    int found = blm_key_maybe_list(g, key, &layers, err);
    if (found < 0) return found;
    if (!found) {
        if (m->n_layer > 1 && !(m->class_token && m->n_layer % 2)) m->n_layer--;
        return BLUELM_OK;
    }
    if (layers.count < 1 || layers.count > BLM_VISION_MAX_TAPS)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: clip.vision.feature_layer values",
                        BLM_VISION_MAX_TAPS, layers.count, 0);
    m->tap_count = (uint32_t)layers.count;
    for (uint32_t i = 0; i < m->tap_count; i++) {
        int code = blm_vision_feature(m, &layers, i, err);
        if (code < 0) return code;
        most = BLM_MAX(most, m->taps[i]);
    }
    if (most == 0)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: clip.vision.feature_layer", 1, 0,
                        0);
    m->n_layer = most;
    return BLUELM_OK;
}

/* Files of before n_wa_pattern list the blocks that have no windows: every n-th. */
static int blm_vision_full_blocks(const blm_gguf *g, uint32_t *pattern, bluelm_error *err)
{
    static const char key[] = "clip.vision.fullatt_block_indexes";
    blm_array blocks;
    int found = blm_key_maybe_list(g, key, &blocks, err);
    if (found <= 0) return found;
    uint32_t every = blocks.count ? blm_load_u32(blocks.data) : UINT32_MAX;
    for (uint64_t i = 0; i < blocks.count && every <= 1024; i++)
        if (blm_load_u32(blocks.data + 4 * i) != every + i * (every + 1))
            return blm_fail(err, BLUELM_E_UNSUPPORTED, key, every + i * (every + 1),
                            blm_load_u32(blocks.data + 4 * i), i);
    if (every > 1024) return blm_fail(err, BLUELM_E_FORMAT, key, 1024, every, 0);
    *pattern = every + 1;
    return BLUELM_OK;
}

/* Marks layers outside every n-th as windowed: Qwen2.5-VL's windows are of 4 x 4 tokens. */
static int blm_vision_windows(blm_vision *m, const blm_projector_row *row, const blm_gguf *g,
                              uint32_t *pattern, bluelm_error *err)
{
    *pattern = 0;
    if (!row->rope) return BLUELM_OK;
    int code = blm_vision_full_blocks(g, pattern, err);
    if (code >= 0)
        code = blm_key_maybe_u32(g, "clip.vision", ".n_wa_pattern", 0, 1024, pattern, err);
    if (*pattern) m->window = 4 * m->projector.scale;
    return code;
}

/* ---- Tensors ----------------------------------------------------------------------------- */

/* v.patch_embd.weight lies as [width][3][patch][patch]: a matrix of one patch a row. */
BLM_COLD static int blm_vision_patch_matrix(const blm_vision *m, const blm_tensor_place *at,
                                            const char *name, blm_tensor *t, bluelm_error *err)
{
    blm_name subject;
    uint64_t values = 3 * (uint64_t)m->patch_px * m->patch_px;
    uint32_t block_values, block_bytes;
    int found = blm_gguf_tensor(at->file, name, t, err);
    if (found < 0) return found;
    blm_name_add(blm_name_start(&subject, "mmproj: "), name);
    if (!found)
        return blm_fail(err, BLUELM_E_FORMAT, blm_name_add(&subject, " is missing")->text, 1, 0,
                        0);
    blm_type_block(t->type, &block_values, &block_bytes);
    if (t->ne[0] != m->patch_px || t->ne[1] != 3 * (uint64_t)m->patch_px * m->width)
        return blm_fail(err, BLUELM_E_FORMAT, blm_name_add(&subject, " values")->text,
                        values * m->width, t->ne[0] * t->ne[1], 0);
    if (block_values != 1)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, blm_name_add(&subject, " type")->text, 0,
                        t->type, 0);
    t->row_bytes = values * block_bytes;
    t->ne[0] = values;
    t->ne[1] = m->width;
    t->n_dims = 2;
    return BLUELM_OK;
}

/* The patch kernel, and where pictures come in pairs (a still one twice) its twin. */
BLM_COLD static int blm_vision_patches_read(blm_vision *m, const blm_tensor_place *at,
                                            bluelm_error *err)
{
    static const char twin[] = "v.patch_embd.weight.1";
    int code = blm_vision_patch_matrix(m, at, "v.patch_embd.weight", &m->patch_embd, err);
    int present = code < 0 ? code : blm_tensor_present(at, twin, err);
    if (present > 0) present = blm_vision_patch_matrix(m, at, twin, &m->patch_embd_1, err);
    if (present < 0) return present;
    if ((code = blm_tensor_maybe_vector(at, "v.patch_embd.bias", m->width, &m->patch_bias,
                                        err)) < 0 ||
        (code = blm_tensor_maybe_vector(at, "v.class_embd", m->width, &m->class_embd, err)) < 0)
        return code;
    m->class_token = m->class_embd.data != NULL;
    if (!m->class_token) return BLUELM_OK;
    if (m->positions == BLM_POSITIONS_NONE)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: v.class_embd with this projector",
                        0, 1, 0);
    /* A class token's position is no cell of a table that could be stretched. */
    m->positions = BLM_POSITIONS_ROWS;
    m->dynamic = 0;
    m->align_px = m->tile_px;
    return BLUELM_OK;
}

/* The largest whole number whose square is at most n <= 2^32. */
static uint32_t blm_vision_root(uint64_t n)
{
    uint32_t root = 0;
    for (uint32_t bit = 1u << 16; bit; bit >>= 1)
        if ((uint64_t)(root + bit) * (root + bit) <= n) root += bit;
    return root;
}

/* Two tables of as many rows, for columns and rows, which lie behind each other: as many as a
 * picture of the tile's size has at least. */
static int blm_vision_axes(blm_vision *m, const blm_tensor_place *at, const char *name,
                           bluelm_error *err)
{
    blm_tensor *t = &m->position_embd;
    const uint64_t least = 2 * (uint64_t)(m->tile_px / m->patch_px);
    int found = blm_gguf_tensor(at->file, name, t, err);
    if (found < 0) return found;
    if (!found || t->ne[0] != m->width)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: v.position_embd.weight columns",
                        m->width, found ? t->ne[0] : 0, 0);
    if (t->ne[1] < least || t->ne[1] % 2 || t->ne[1] > (1u << 20))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: v.position_embd.weight rows",
                        t->ne[1] < least ? least : 1u << 20, t->ne[1], 0);
    m->positions_side = (uint32_t)(t->ne[1] / 2);
    return BLUELM_OK;
}

BLM_COLD static int blm_vision_positions(blm_vision *m, const blm_tensor_place *at,
                                         bluelm_error *err)
{
    static const char name[] = "v.position_embd.weight";
    blm_tensor *t = &m->position_embd;
    if (m->positions == BLM_POSITIONS_NONE) return BLUELM_OK;
    if (m->positions == BLM_POSITIONS_ROWS)
        return blm_tensor_matrix(at, name, m->width, (uint64_t)m->patches + m->class_token, t,
                                 err);
    if (m->positions == BLM_POSITIONS_AXES) return blm_vision_axes(m, at, name, err);
    int code = blm_tensor_matrix(at, name, m->width, 0, t, err);
    if (code < 0) return code;
    m->positions_side = t->ne[1] <= (1u << 20) ? blm_vision_root(t->ne[1]) : 0;
    if ((uint64_t)m->positions_side * m->positions_side != t->ne[1])
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: v.position_embd.weight rows, no square",
                        m->patches, t->ne[1], 0);
    return BLUELM_OK;
}

/* PREFIX.weight and, unless it is an RMS norm, PREFIX.bias. */
static int blm_vision_norm_read(const blm_tensor_place *at, const char *prefix, uint32_t n,
                                blm_norm *norm, bluelm_error *err)
{
    blm_name weight, bias;
    blm_name_add(blm_name_start(&weight, prefix), ".weight");
    blm_name_add(blm_name_start(&bias, prefix), ".bias");
    int code = blm_tensor_vector(at, weight.text, n, &norm->weight, err);
    if (code < 0 || norm->kind == BLM_NORM_RMS) return code;
    return blm_tensor_vector(at, bias.text, n, &norm->bias, err);
}

/* Old files name ffn_up and ffn_down the other way round; the shapes tell. The shapes also
 * tell how wide it is: Qwen2-VL's files write another number. */
BLM_COLD static int blm_vision_feed_forward_read(blm_vision_layer *l, blm_vision *m,
                                                 const blm_tensor_place *at, bluelm_error *err)
{
    static const char *const now[] = {"ffn_up.weight", "ffn_up.bias", "ffn_down.weight",
                                      "ffn_down.bias"};
    static const char *const old[] = {"ffn_down.weight", "ffn_down.bias", "ffn_up.weight",
                                      "ffn_up.bias"};
    const char *const *names = now;
    bluelm_error ignored;
    int code, gate = blm_tensor_present(at, "ffn_gate.weight", err);
    if (gate < 0) return gate;
    if (blm_tensor_matrix(at, now[0], m->width, m->ffn, &l->up, &ignored) < 0 &&
        blm_tensor_matrix(at, old[0], m->width, m->ffn, &l->up, &ignored) >= 0)
        names = old;
    if ((code = blm_tensor_matrix(at, names[0], m->width, m->ffn, &l->up, err)) < 0)
        return code;
    if (l->up.ne[1] > (1u << 18))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: feed-forward width", 1u << 18,
                        l->up.ne[1], 0);
    m->ffn = (uint32_t)l->up.ne[1];
    if ((code = blm_tensor_maybe_vector(at, names[1], m->ffn, &l->up_bias, err)) < 0 ||
        (code = blm_tensor_matrix(at, names[2], m->ffn, m->width, &l->down, err)) < 0 ||
        (code = blm_tensor_maybe_vector(at, names[3], m->width, &l->down_bias, err)) < 0)
        return code;
    if (!gate) return BLUELM_OK;
    m->gated = 1;
    if ((code = blm_tensor_matrix(at, "ffn_gate.weight", m->width, m->ffn, &l->gate, err)) < 0)
        return code;
    return blm_tensor_maybe_vector(at, "ffn_gate.bias", m->ffn, &l->gate_bias, err);
}

/* Queries, keys and values that lie as one matrix: its thirds. */
BLM_COLD static int blm_vision_fused(blm_vision_layer *l, uint32_t w,
                                     const blm_tensor_place *at, bluelm_error *err)
{
    blm_tensor *const matrices[] = {&l->q, &l->k, &l->v};
    blm_vector *const biases[] = {&l->q_bias, &l->k_bias, &l->v_bias};
    blm_tensor fused;
    blm_vector bias;
    int code = blm_tensor_matrix(at, "attn_qkv.weight", w, 3 * (uint64_t)w, &fused, err);
    if (code < 0) return code;
    code = blm_tensor_maybe_vector(at, "attn_qkv.bias", 3 * (uint64_t)w, &bias, err);
    if (code < 0) return code;
    fused.ne[1] = w;
    for (uint32_t i = 0; i < 3; i++, fused.data += w * fused.row_bytes) {
        *matrices[i] = fused;
        *biases[i] = bias;
        if (bias.data) bias.data += w * sizeof(float);
    }
    return BLUELM_OK;
}

BLM_COLD static int blm_vision_attention_read(blm_vision_layer *l, uint32_t w, int normed,
                                              const blm_tensor_place *at, bluelm_error *err)
{
    static const char *const names[4][2] = {{"attn_q.weight", "attn_q.bias"},
                                            {"attn_k.weight", "attn_k.bias"},
                                            {"attn_v.weight", "attn_v.bias"},
                                            {"attn_out.weight", "attn_out.bias"}};
    blm_tensor *const matrices[] = {&l->q, &l->k, &l->v, &l->o};
    blm_vector *const biases[] = {&l->q_bias, &l->k_bias, &l->v_bias, &l->o_bias};
    int code, fused = blm_tensor_present(at, "attn_qkv.weight", err);
    int norm = fused < 0 ? fused : blm_tensor_present(at, "attn_q_norm.weight", err);
    if (norm < 0) return norm;
    if (norm && !normed)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: norms of queries (attn_q_norm)", 0,
                        1, 0);
    if (fused && (code = blm_vision_fused(l, w, at, err)) < 0) return code;
    for (uint32_t i = fused ? 3 : 0; i < 4; i++)
        if ((code = blm_tensor_matrix(at, names[i][0], w, w, matrices[i], err)) < 0 ||
            (code = blm_tensor_maybe_vector(at, names[i][1], w, biases[i], err)) < 0)
            return code;
    return BLUELM_OK;
}

static int blm_vision_layer_read(blm_vision_layer *l, blm_vision *m,
                                 const blm_projector_row *row, const blm_norm *norm,
                                 const blm_gguf *g, uint32_t index, bluelm_error *err)
{
    const blm_tensor_place at = {g, "v.blk.", (int32_t)index};
    blm_tensor *const matrices[7] = {&l->q, &l->k, &l->v, &l->o, &l->up, &l->down, &l->gate};
    uint32_t w = m->width;
    int code;
    memset(l, 0, sizeof *l);
    l->ln1 = l->ln2 = *norm;
    if ((code = blm_vision_norm_read(&at, "ln1", w, &l->ln1, err)) < 0 ||
        (code = blm_vision_norm_read(&at, "ln2", w, &l->ln2, err)) < 0 ||
        (code = blm_vision_attention_read(l, w, row->extra != 0, &at, err)) < 0 ||
        (code = blm_tensor_maybe_vector(&at, "ls1.weight", w, &l->scale1, err)) < 0 ||
        (code = blm_tensor_maybe_vector(&at, "ls2.weight", w, &l->scale2, err)) < 0 ||
        (code = blm_vision_feed_forward_read(l, m, &at, err)) < 0)
        return code;
    m->quantised |= !blm_type_is_float(l->q.type);
    m->rounded_cols = BLM_MAX(
        m->rounded_cols, blm_linear_round(matrices, l->gate.data ? 7 : 6, m->round_floats));
    return BLUELM_OK;
}

/* Norms before and after the blocks, each of which a file may leave out. */
BLM_COLD static int blm_vision_outer_norms(blm_vision *m, const blm_norm *norm,
                                           const blm_projector_row *row,
                                           const blm_tensor_place *at, bluelm_error *err)
{
    const char *last = row->patch_norm ? row->patch_norm : "v.post_ln";
    blm_name name;
    blm_name_add(blm_name_start(&name, last), ".weight");
    int pre = blm_tensor_present(at, "v.pre_ln.weight", err);
    int post = blm_tensor_present(at, name.text, err);
    int code = BLM_MIN(pre, post);
    m->pre_ln = m->post_ln = *norm;
    if (code >= 0 && pre)
        code = blm_vision_norm_read(at, "v.pre_ln", m->width, &m->pre_ln, err);
    if (code >= 0 && post) code = blm_vision_norm_read(at, last, m->width, &m->post_ln, err);
    if (code < 0 || !row->merge_norm) return code;
    m->merge_ln = (blm_norm){.kind = BLM_NORM_LAYER, .eps = row->merge_norm_eps};
    return blm_vision_norm_read(at, row->merge_norm, m->width, &m->merge_ln, err);
}

/* ---- Deepstack --------------------------------------------------------------------------- */

/* Whether a layer's output is read apart: clip.vision.is_deepstack_layers, else the tensors. */
static int blm_vision_has_deepstack(const blm_gguf *g, const blm_array *flags, uint32_t layer,
                                    bluelm_error *err)
{
    const blm_tensor_place at = {g, "v.deepstack.", (int32_t)layer};
    if (!flags->data) return blm_tensor_present(&at, "norm.weight", err);
    return layer < flags->count && flags->data[layer] != 0;
}

BLM_COLD static int blm_vision_deepstack_read(blm_vision *m, const blm_gguf *g,
                                              blm_arena *arena, float eps, bluelm_error *err)
{
    blm_array flags = {0};
    uint32_t count = 0;
    int code = blm_gguf_array(g, "clip.vision.is_deepstack_layers", BLM_GGUF_BOOL, &flags, err);
    for (uint32_t i = 0; code >= 0 && i < m->n_layer; i++)
        if ((code = blm_vision_has_deepstack(g, &flags, i, err)) > 0) count++;
    if (code < 0 || !count) return code < 0 ? code : BLUELM_OK;
    m->deepstack = (blm_projector *)blm_arena_take(arena, count, sizeof(blm_projector));
    for (uint32_t i = 0; i < m->n_layer; i++) {
        blm_projector p;
        code = blm_vision_has_deepstack(g, &flags, i, err);
        if (code == 0) continue;
        if (code < 0 || (code = blm_deepstack_open(&p, &m->projector, g, i, eps, err)) < 0)
            return code;
        m->deepstack_hidden = BLM_MAX(m->deepstack_hidden, p.hidden);
        m->deepstack_rounded_cols = BLM_MAX(m->deepstack_rounded_cols, p.rounded_cols);
        if (m->deepstack) m->deepstack[m->deepstack_count] = p;
        m->deepstack_count++;
        if (m->layers) m->layers[i].deepstack = m->deepstack_count;
    }
    return BLUELM_OK;
}

/* ---- Patches that become one ----------------------------------------------------------- */

/* Behind which layer, and that the file's patches become tokens as the row says. */
static int blm_vision_joint_keys(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    static const char at[] = "clip.vision.wa_layer_indexes";
    const uint32_t merge = m->joint * m->projector.scale;
    uint32_t named = merge;
    blm_array layers = {0};
    int code =
        blm_key_maybe_u32(g, "clip.vision", ".projector.scale_factor", 1, 16, &named, err);
    if (code < 0) return code;
    if (named != merge)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: clip.vision.projector.scale_factor",
                        merge, named, 0);
    if ((code = blm_key_maybe_list(g, at, &layers, err)) < 0) return code;
    m->joint_layer = layers.count ? blm_load_u32(layers.data) : 0;
    if (m->joint_layer >= m->n_layer)
        return blm_fail(err, BLUELM_E_FORMAT, at, m->n_layer - 1, m->joint_layer, 0);
    if (m->class_token)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: v.class_embd with this projector",
                        0, 1, 0);
    m->window = m->joint;
    return BLUELM_OK;
}

static int blm_vision_joint_ffn(blm_vision *m, blm_vision_layer *l, const blm_tensor_place *at,
                                bluelm_error *err)
{
    const uint32_t wide = m->joint * m->joint * m->width;
    int code = blm_tensor_matrix(at, "ds_ffn_up.weight", wide, 0, &l->up, err);
    if (code < 0) return code;
    if (l->up.ne[1] < 1 || l->up.ne[1] > (1u << 18))
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: feed-forward width", 1u << 18,
                        l->up.ne[1], 0);
    m->joint_ffn = (uint32_t)l->up.ne[1];
    if ((code = blm_tensor_maybe_vector(at, "ds_ffn_up.bias", m->joint_ffn, &l->up_bias, err)) <
            0 ||
        (code = blm_tensor_matrix(at, "ds_ffn_down.weight", m->joint_ffn, m->width, &l->down,
                                  err)) < 0)
        return code;
    return blm_tensor_maybe_vector(at, "ds_ffn_down.bias", m->width, &l->down_bias, err);
}

BLM_COLD static int blm_vision_joint_read(blm_vision *m, const blm_norm *norm,
                                          const blm_gguf *g, blm_arena *arena,
                                          bluelm_error *err)
{
    const blm_tensor_place at = {g, "v.vit_merger.", BLM_NO_LAYER};
    blm_vision_layer l;
    blm_tensor *const matrices[] = {&l.q, &l.k, &l.v, &l.o, &l.up, &l.down};
    const uint32_t wide = m->joint * m->joint * m->width;
    int code;
    memset(&l, 0, sizeof l);
    l.ln1 = l.ln2 = *norm;
    l.windowed = 1;
    if ((code = blm_vision_joint_keys(m, g, err)) < 0 ||
        (code = blm_vision_norm_read(&at, "ln1", m->width, &l.ln1, err)) < 0 ||
        (code = blm_vision_norm_read(&at, "ds_ln", wide, &l.ln2, err)) < 0 ||
        (code = blm_vision_attention_read(&l, m->width, 0, &at, err)) < 0 ||
        (code = blm_vision_joint_ffn(m, &l, &at, err)) < 0)
        return code;
    m->rounded_cols = BLM_MAX(
        m->rounded_cols, blm_linear_round(matrices, BLM_COUNT_OF(matrices), m->round_floats));
    m->joining = (blm_vision_layer *)blm_arena_take(arena, 1, sizeof l);
    if (m->joining) *m->joining = l;
    return BLUELM_OK;
}

/* ---- All of it --------------------------------------------------------------------------- */

/* NAME.input_min and the like: one number each; *held tells whether there was any. */
static int blm_vision_clamp_read(blm_clamp *c, const char *name, const blm_tensor_place *at,
                                 uint32_t *held, bluelm_error *err)
{
    static const char *const ends[] = {".input_min", ".input_max", ".output_min",
                                       ".output_max"};
    float *const values[] = {&c->in_low, &c->in_high, &c->out_low, &c->out_high};
    for (uint32_t i = 0; i < BLM_COUNT_OF(ends); i++) {
        blm_name full;
        blm_vector value;
        blm_name_add(blm_name_start(&full, name), ends[i]);
        int code = blm_tensor_maybe_vector(at, full.text, 1, &value, err);
        if (code < 0) return code;
        *values[i] = value.data ? blm_load_f32(value.data) : i % 2 ? 3.4e38f : -3.4e38f;
        if (value.data) *held = 1;
    }
    if (c->in_low <= c->in_high && c->out_low <= c->out_high) return BLUELM_OK;
    return blm_fail(err, BLUELM_E_FORMAT, "mmproj: bounds of a matrix (input_min ..)", 0, 0,
                    (uint64_t)at->layer);
}

/* What only layers of some towers have. */
static int blm_vision_extra_read(blm_vision_extra *e, const blm_vision *m, const blm_norm *norm,
                                 const blm_gguf *g, uint32_t index, bluelm_error *err)
{
    static const char *const matrices[BLM_CLAMPS] = {
        [BLM_CLAMP_Q] = "attn_q",     [BLM_CLAMP_K] = "attn_k",  [BLM_CLAMP_V] = "attn_v",
        [BLM_CLAMP_O] = "attn_out",   [BLM_CLAMP_UP] = "ffn_up", [BLM_CLAMP_GATE] = "ffn_gate",
        [BLM_CLAMP_DOWN] = "ffn_down"};
    const blm_tensor_place at = {g, "v.blk.", (int32_t)index};
    int code, scaled = blm_tensor_present(&at, "out_scale.weight", err);
    memset(e, 0, sizeof *e);
    e->mixed = e->fed = *norm;
    if (scaled < 0) return scaled;
    if (scaled)
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: a layer's out_scale", 0, 1, index);
    if ((code = blm_vision_norm_read(&at, "attn_post_norm", m->width, &e->mixed, err)) < 0 ||
        (code = blm_vision_norm_read(&at, "ffn_post_norm", m->width, &e->fed, err)) < 0 ||
        (code = blm_tensor_vector(&at, "attn_q_norm.weight", m->head_dim, &e->q_norm, err)) <
            0 ||
        (code = blm_tensor_vector(&at, "attn_k_norm.weight", m->head_dim, &e->k_norm, err)) < 0)
        return code;
    for (uint32_t i = 0; i < BLM_CLAMPS && code >= 0; i++)
        code = blm_vision_clamp_read(&e->clamps[i], matrices[i], &at, &e->clamped, err);
    return code;
}

/* Not within its caller: what a layer has takes room on the stack. */
BLM_COLD static int blm_vision_extras_read(blm_vision *m, const blm_norm *norm,
                                           const blm_gguf *g, blm_arena *arena,
                                           bluelm_error *err)
{
    m->extras = (blm_vision_extra *)blm_arena_take(arena, m->n_layer, sizeof(blm_vision_extra));
    for (uint32_t i = 0; i < m->n_layer; i++) {
        blm_vision_extra extra;
        int code = blm_vision_extra_read(&extra, m, norm, g, i, err);
        if (code < 0) return code;
        if (m->extras) m->extras[i] = extra;
    }
    return BLUELM_OK;
}

/* Not within its caller: a layer's tensors take room on the stack. */
BLM_COLD static int blm_vision_layers_read(blm_vision *m, const blm_projector_row *row,
                                           const blm_norm *norm, uint32_t pattern,
                                           const blm_gguf *g, blm_arena *arena,
                                           bluelm_error *err)
{
    m->layers = (blm_vision_layer *)blm_arena_take(arena, m->n_layer, sizeof(blm_vision_layer));
    for (uint32_t i = 0; i < m->n_layer; i++) {
        blm_vision_layer layer;
        int code = blm_vision_layer_read(&layer, m, row, norm, g, i, err);
        if (code < 0) return code;
        layer.windowed = pattern && (i + 1) % pattern != 0;
        if (m->layers) m->layers[i] = layer;
    }
    return BLUELM_OK;
}

BLM_PRIVATE int blm_vision_newline(const blm_gguf *g, blm_tensor *out, bluelm_error *err)
{
    static const char *const names[] = {"v.image_newline", "model.image_newline"};
    int found = 0;
    for (uint32_t i = 0; i < BLM_COUNT_OF(names) && !found; i++)
        found = blm_gguf_tensor(g, names[i], out, err);
    return found;
}

static int blm_vision_newline_read(blm_vision *m, const blm_gguf *g, bluelm_error *err)
{
    int found = blm_vision_newline(g, &m->newline, err);
    if (found <= 0) return found;
    if (m->newline.ne[0] != m->projector.n_embd)
        return blm_fail(err, BLUELM_E_FORMAT, "mmproj: image_newline values",
                        m->projector.n_embd, m->newline.ne[0], 0);
    return BLUELM_OK;
}

/* A file of one piece that holds a vision tower, whatever else it holds. */
static int blm_vision_is_one(const blm_gguf *g, bluelm_error *err)
{
    blm_string arch = {"", 0};
    int code, sees = 1;
    if ((code = blm_file_whole(g, err)) < 0 ||
        (code = blm_gguf_string(g, "general.architecture", &arch, err)) < 0 ||
        (code = blm_gguf_bool(g, "clip.has_vision_encoder", &sees, err)) < 0)
        return code;
    if (!blm_string_is(arch, "clip"))
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "mmproj: architecture other than clip", 0, 0,
                        0);
    if (!sees)
        return blm_fail(err, BLUELM_E_UNSUPPORTED,
                        "mmproj: no vision encoder (clip.has_vision_encoder)", 1, 0, 0);
    return BLUELM_OK;
}

BLM_PRIVATE int blm_vision_open(blm_vision *m, const blm_gguf *g, int round_floats,
                                blm_arena *arena, bluelm_error *err)
{
    const blm_tensor_place at = {g, "", BLM_NO_LAYER};
    blm_projector_type type = BLM_PROJECTOR_MLP;
    blm_norm norm = {0};
    uint32_t pattern;
    int code;
    memset(m, 0, sizeof *m);
    m->round_floats = round_floats;
    if ((code = blm_vision_is_one(g, err)) < 0) return code;
    if ((code = blm_projector_find(g, &type, err)) < 0) return code;
    const blm_projector_row *row = blm_projector_row_of(type);
    m->projector.type = type;
    norm.kind = row->norm;
    if ((code = blm_vision_sizes(m, row, g, &norm.eps, err)) < 0 ||
        (code = blm_vision_activation(m, row, g, err)) < 0 ||
        (code = blm_vision_pixels_scale(m, row, g, err)) < 0 ||
        (code = blm_vision_patches_read(m, &at, err)) < 0 ||
        (row->features && (code = blm_vision_features(m, g, err)) < 0) ||
        (code = blm_vision_windows(m, row, g, &pattern, err)) < 0 ||
        (code = row->resampler
                    ? blm_resampler_open(&m->projector, m, row, g, arena, norm.eps, err)
                    : blm_projector_open(&m->projector, m, row, g, norm.eps, err)) < 0 ||
        (code = blm_vision_positions(m, &at, err)) < 0 ||
        (code = blm_vision_outer_norms(m, &norm, row, &at, err)) < 0 ||
        (code = blm_vision_layers_read(m, row, &norm, pattern, g, arena, err)) < 0 ||
        (row->extra && (code = blm_vision_extras_read(m, &norm, g, arena, err)) < 0) ||
        (row->joint && (code = blm_vision_joint_read(m, &norm, g, arena, err)) < 0) ||
        (row->features && (code = blm_vision_newline_read(m, g, err)) < 0) ||
        (row->deepstack && (code = blm_vision_deepstack_read(m, g, arena, norm.eps, err)) < 0))
        return code;
    m->row_floats = m->projector.n_embd * (1 + m->deepstack_count);
    return BLUELM_OK;
}
