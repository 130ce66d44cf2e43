/* The tiny vision encoders and their projectors. */
#include "tiny_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

tiny_vision_config tiny_vision_default(void)
{
    tiny_vision_config c;
    memset(&c, 0, sizeof c);
    c.image_px = 24, c.patch_px = 8;
    c.width = 48, c.n_head = 3, c.n_layer = 2, c.n_ff = 80, c.n_embd = 64;
    c.projector = TINY_LFM2;
    c.activation = TINY_GELU;
    c.input_norm = 1;
    c.eps = 1e-6f;
    c.seed = 2;
    return c;
}

/* What a kind of tower and projector has. */
static const struct tower_kind {
    const char *name, *merge_key;
    const char *norm, *first, *second; /* of the projector, NULL without */
    uint32_t merge;                    /* 0: the configuration's         */
    int own_class;                     /* a class token                  */
    int rms, gate, layer_scale, twin, bare_patches, no_positions, no_post;
    int extra; /* Gemma 4's norms and bounds, two tables of positions */
} tower_kinds[TINY_PROJECTORS] = {
    {"lfm2", "projector.scale_factor", NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"idefics3", "projector.scale_factor", NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"mlp", "projector.scale_factor", NULL, NULL, NULL, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"internvl", "projector.scale_factor", "mm.model.mlp.0", "mm.model.mlp.1", "mm.model.mlp.3",
     2, 1, 0, 0, 1, 0, 0, 0, 1, 0},
    {"qwen2vl_merger", "spatial_merge_size", NULL, "mm.0", "mm.2", 2, 0, 0, 0, 0, 1, 1, 1, 0,
     0},
    {"qwen2.5vl_merger", "spatial_merge_size", NULL, "mm.0", "mm.2", 2, 0, 1, 1, 0, 1, 1, 1, 0,
     0},
    {"qwen2.5o", "spatial_merge_size", NULL, "mm.0", "mm.2", 2, 0, 1, 1, 0, 1, 1, 1, 0, 0},
    {"qwen3vl_merger", "spatial_merge_size", NULL, "mm.0", "mm.2", 2, 0, 0, 0, 0, 1, 0, 0, 0,
     0},
    {"gemma3", "projector.scale_factor", NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"pixtral", "spatial_merge_size", NULL, "mm.1", "mm.2", 0, 0, 1, 1, 0, 0, 1, 1, 1, 0},
    {"lightonocr", "spatial_merge_size", NULL, "mm.1", "mm.2", 0, 0, 1, 1, 0, 0, 1, 1, 1, 0},
    {"janus_pro", "projector.scale_factor", NULL, "mm.0", "mm.1", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"gemma4v", "projector.scale_factor", NULL, "mm.input_projection", NULL, 0, 0, 1, 1, 0, 0,
     1, 0, 1, 1},
    {"resampler", "projector.scale_factor", NULL, NULL, NULL, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"minicpmv4_6", "projector.scale_factor", "mm.input_norm", "mm.up", "mm.down", 2, 0, 0, 0,
     0, 0, 0, 0, 0, 0},
    {"paddleocr", "spatial_merge_size", NULL, "mm.1", "mm.2", 2, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"dots_ocr", "projector.scale_factor", NULL, "mm.0", "mm.2", 2, 0, 1, 1, 0, 0, 0, 1, 1, 0},
};

static uint32_t merge_of(const tiny_vision_config *c)
{
    uint32_t own = tower_kinds[c->projector].merge;
    if (own != 0) return own;
    return c->merge != 0 ? c->merge : 2;
}

static uint32_t queries_of(const tiny_vision_config *c)
{
    return c->queries != 0 ? c->queries : 4;
}

static int has_class(const tiny_vision_config *c)
{
    return c->clip || tower_kinds[c->projector].own_class;
}

static void vision_layer_keys(tiny_writer *w, const tiny_vision_config *c)
{
    uint32_t i;
    if (c->window_pattern != 0) tiny_key_u32(w, "clip.vision.n_wa_pattern", c->window_pattern);
    if (c->feature_count != 0) {
        tiny_key_array(w, "clip.vision.feature_layer", TINY_KEY_I32, c->feature_count);
        for (i = 0; i < c->feature_count; i++)
            tiny_put_u32(&w->keys, (uint32_t)c->features[i]);
    }
    if (c->projector != TINY_QWEN3VL) return;
    tiny_key_array(w, "clip.vision.is_deepstack_layers", TINY_KEY_BOOL, c->n_layer);
    for (i = 0; i < c->n_layer; i++)
        tiny_put_u8(&w->keys, c->deepstack >> i & 1);
}

static void vision_keys(tiny_writer *w, const tiny_vision_config *c)
{
    char merge[64];
    static const float mean[] = {0.48f, 0.46f, 0.41f}, std[] = {0.27f, 0.26f, 0.31f};
    int i;
    tiny_key_string(w, "general.architecture", "clip");
    tiny_key_string(w, "general.type", "mmproj");
    tiny_key_u32(w, "general.alignment", w->alignment);
    tiny_key_bool(w, "clip.has_vision_encoder", !c->blind);
    tiny_key_string(w, "clip.projector_type", tower_kinds[c->projector].name);
    if (c->activation == TINY_GELU) tiny_key_bool(w, "clip.use_gelu", 1);
    if (c->activation == TINY_SILU) tiny_key_bool(w, "clip.use_silu", 1);
    tiny_key_u32(w, "clip.vision.image_size", c->image_px);
    tiny_key_u32(w, "clip.vision.patch_size", c->patch_px);
    tiny_key_u32(w, "clip.vision.embedding_length", c->width);
    tiny_key_u32(w, "clip.vision.feed_forward_length", c->n_ff);
    tiny_key_u32(w, "clip.vision.projection_dim", c->n_embd);
    tiny_key_u32(w, "clip.vision.block_count", c->n_layer);
    tiny_key_u32(w, "clip.vision.attention.head_count", c->n_head);
    tiny_key_f32(w, "clip.vision.attention.layer_norm_epsilon", c->eps);
    tiny_key_array(w, "clip.vision.image_mean", TINY_KEY_F32, 3);
    for (i = 0; i < 3; i++)
        tiny_put_f32(&w->keys, c->uneven_pixels ? mean[i] : 0.5f);
    tiny_key_array(w, "clip.vision.image_std", TINY_KEY_F32, 3);
    for (i = 0; i < 3; i++)
        tiny_put_f32(&w->keys, c->uneven_pixels ? std[i] : 0.5f);
    snprintf(merge, sizeof merge, "clip.vision.%s", tower_kinds[c->projector].merge_key);
    if (c->projector == TINY_MINICPMV46) {
        tiny_key_u32(w, merge, c->named_scale != 0 ? c->named_scale : 4);
        tiny_key_array(w, "clip.vision.wa_layer_indexes", TINY_KEY_I32, 1);
        tiny_put_u32(&w->keys, c->joint_layer);
    } else {
        tiny_key_u32(w, merge, merge_of(c));
    }
    if (c->projector == TINY_RESAMPLER) {
        tiny_key_u32(w, "clip.minicpmv_version", c->version != 0 ? c->version : 5);
        tiny_key_u32(w, "clip.minicpmv_query_num",
                     c->named_queries != 0 ? c->named_queries : queries_of(c));
    }
    vision_layer_keys(w, c);
}

/* NAME.weight and NAME.bias, both vectors */
static void layer_norm(tiny_writer *w, const char *name, uint32_t width)
{
    char n[64];
    snprintf(n, sizeof n, "%s.weight", name);
    vector(w, n, width, 1);
    snprintf(n, sizeof n, "%s.bias", name);
    vector(w, n, width, 0);
}

static void linear(tiny_writer *w, const char *name, uint32_t type, uint32_t in, uint32_t out)
{
    char n[64];
    snprintf(n, sizeof n, "%s.weight", name);
    matrix(w, n, type, in, out, 1);
    snprintf(n, sizeof n, "%s.bias", name);
    vector(w, n, out, 0);
}

/* The norm of a tower's own kind. */
static void tower_norm(tiny_writer *w, const tiny_vision_config *c, const char *name)
{
    char n[64];
    if (!tower_kinds[c->projector].rms) {
        layer_norm(w, name, c->width);
        return;
    }
    snprintf(n, sizeof n, "%s.weight", name);
    vector(w, n, c->width, 1);
}

/* Norms of heads and behind parts, and bounds: those of queries, keys and values differ in
 * odd blocks. */
static void extra_of_block(tiny_writer *w, const tiny_vision_config *c, uint32_t block)
{
    static const char *const parts[] = {"attn_q", "attn_k",   "attn_v",  "attn_out",
                                        "ffn_up", "ffn_gate", "ffn_down"};
    static const char *const ends[] = {"input_min", "input_max", "output_min", "output_max"};
    const uint64_t ne[1] = {1};
    char name[64], n[64];
    uint32_t i, end;
    vector(w, block_name(n, "v.blk", block, "attn_q_norm.weight"), c->width / c->n_head, 0.5);
    vector(w, block_name(n, "v.blk", block, "attn_k_norm.weight"), c->width / c->n_head, 0.5);
    tower_norm(w, c, block_name(n, "v.blk", block, "attn_post_norm"));
    tower_norm(w, c, block_name(n, "v.blk", block, "ffn_post_norm"));
    for (i = 0; i < 7; i++)
        for (end = 0; end < 4; end++) {
            float bound = 1.5f + (float)(i * (block % 2)) / 8 + (float)(end / 2);
            if (end % 2 == 0) bound = -bound;
            snprintf(name, sizeof name, "%s.%s", parts[i], ends[end]);
            tiny_tensor(w, block_name(n, "v.blk", block, name), TINY_F32, 1, ne, &bound);
        }
}

static void vision_block(tiny_writer *w, const tiny_vision_config *c, uint32_t block)
{
    const struct tower_kind *kind = &tower_kinds[c->projector];
    char n[64];
    tower_norm(w, c, block_name(n, "v.blk", block, "ln1"));
    if (kind->extra) extra_of_block(w, c, block);
    if (c->fused) {
        linear(w, block_name(n, "v.blk", block, "attn_qkv"), c->type, c->width, 3 * c->width);
    } else {
        linear(w, block_name(n, "v.blk", block, "attn_q"), c->type, c->width, c->width);
        linear(w, block_name(n, "v.blk", block, "attn_k"), c->type, c->width, c->width);
        linear(w, block_name(n, "v.blk", block, "attn_v"), c->type, c->width, c->width);
    }
    linear(w, block_name(n, "v.blk", block, "attn_out"), c->type, c->width, c->width);
    tower_norm(w, c, block_name(n, "v.blk", block, "ln2"));
    linear(w, block_name(n, "v.blk", block, c->old_names ? "ffn_down" : "ffn_up"), c->type,
           c->width, c->n_ff);
    linear(w, block_name(n, "v.blk", block, c->old_names ? "ffn_up" : "ffn_down"), c->down_type,
           c->n_ff, c->width);
    if (kind->gate)
        linear(w, block_name(n, "v.blk", block, "ffn_gate"), c->type, c->width, c->n_ff);
    if (kind->layer_scale) {
        vector(w, block_name(n, "v.blk", block, "ls1.weight"), c->width, 0.5);
        vector(w, block_name(n, "v.blk", block, "ls2.weight"), c->width, 0.5);
    }
}

static void deepstack(tiny_writer *w, const tiny_vision_config *c, uint32_t in)
{
    char n[64];
    uint32_t i;
    for (i = 0; i < c->n_layer; i++) {
        if (!(c->deepstack >> i & 1)) continue;
        layer_norm(w, block_name(n, "v.deepstack", i, "norm"), in);
        linear(w, block_name(n, "v.deepstack", i, "fc1"), c->type, in, in);
        linear(w, block_name(n, "v.deepstack", i, "fc2"), c->type, in, c->n_embd);
    }
}

/* Whole heads of 128 values, as many as tokens have. */
static void resampler(tiny_writer *w, const tiny_vision_config *c)
{
    uint64_t ne[2];
    uint32_t n = (c->n_embd + 127) / 128 * 128;
    ne[0] = n, ne[1] = queries_of(c);
    random_tensor(w, "resampler.query", TINY_F32, 2, ne, 0, 1);
    matrix(w, "resampler.kv.weight", c->type, c->width, n, 1);
    linear(w, "resampler.attn.q", c->type, n, n);
    linear(w, "resampler.attn.k", c->type, n, n);
    linear(w, "resampler.attn.v", c->type, n, n);
    linear(w, "resampler.attn.out", c->type, n, n);
    layer_norm(w, "resampler.ln_q", n);
    layer_norm(w, "resampler.ln_kv", n);
    layer_norm(w, "resampler.ln_post", n);
    matrix(w, "resampler.proj.weight", c->type, n, c->n_embd, 1);
}

/* Four patches become one: attention among them, a feed-forward part over all their values. */
static void joint(tiny_writer *w, const tiny_vision_config *c)
{
    layer_norm(w, "v.vit_merger.ln1", c->width);
    linear(w, "v.vit_merger.attn_q", c->type, c->width, c->width);
    linear(w, "v.vit_merger.attn_k", c->type, c->width, c->width);
    linear(w, "v.vit_merger.attn_v", c->type, c->width, c->width);
    linear(w, "v.vit_merger.attn_out", c->type, c->width, c->width);
    layer_norm(w, "v.vit_merger.ds_ln", 4 * c->width);
    linear(w, "v.vit_merger.ds_ffn_up", c->type, 4 * c->width, 4 * c->n_ff);
    linear(w, "v.vit_merger.ds_ffn_down", c->down_type, 4 * c->n_ff, c->width);
}

static void projector(tiny_writer *w, const tiny_vision_config *c)
{
    uint32_t in = c->width * merge_of(c) * merge_of(c);
    uint32_t hidden = c->hidden != 0 ? c->hidden : c->n_embd;
    const struct tower_kind *kind = &tower_kinds[c->projector];
    uint64_t ne[2];
    switch (c->projector) {
    case TINY_LFM2:
        if (c->input_norm) layer_norm(w, "mm.input_norm", in);
        linear(w, "mm.1", c->type, in, hidden);
        linear(w, "mm.2", c->type, hidden, c->n_embd);
        break;
    case TINY_IDEFICS3:
        matrix(w, "mm.model.fc.weight", c->type, in, c->n_embd, 1);
        break;
    case TINY_MLP:
        linear(w, "mm.0", c->type, in * (c->feature_count != 0 ? c->feature_count : 1), hidden);
        linear(w, "mm.2", c->type, hidden, c->n_embd);
        break;
    case TINY_GEMMA3:
        ne[0] = c->n_embd, ne[1] = c->width;
        random_tensor(w, "mm.input_projection.weight", c->type, 2, ne, 0, 1 / sqrt(c->width));
        vector(w, "mm.soft_emb_norm.weight", c->width, 1);
        break;
    case TINY_GEMMA4:
        matrix(w, "mm.input_projection.weight", c->type, c->width, c->n_embd, 1);
        vector(w, "v.std_bias", c->width, 0);
        vector(w, "v.std_scale", c->width, 1);
        break;
    case TINY_PROJECTORS:
        break;
    case TINY_RESAMPLER:
        resampler(w, c);
        break;
    case TINY_PIXTRAL:
    case TINY_LIGHTONOCR:
        if (c->input_norm) vector(w, "mm.input_norm.weight", c->width, 1);
        if (in != c->width) matrix(w, "mm.patch_merger.weight", c->type, in, c->width, 1);
        linear(w, kind->first, c->type, c->width, hidden);
        linear(w, kind->second, c->type, hidden, c->n_embd);
        break;
    case TINY_INTERNVL:
    case TINY_QWEN2VL:
    case TINY_QWEN25VL:
    case TINY_QWEN25O:
    case TINY_QWEN3VL:
    case TINY_JANUS:
    case TINY_MINICPMV46:
    case TINY_PADDLEOCR:
    case TINY_DOTSOCR:
        if (c->projector == TINY_DOTSOCR) vector(w, "mm.post_norm.weight", c->width, 1);
        if (c->projector >= TINY_PADDLEOCR) layer_norm(w, "mm.input_norm", c->width);
        if (c->projector == TINY_MINICPMV46) joint(w, c);
        if (kind->norm != NULL) layer_norm(w, kind->norm, in);
        linear(w, kind->first, c->type, in, hidden);
        linear(w, kind->second, c->type, hidden, c->n_embd);
        if (c->projector == TINY_QWEN3VL) deepstack(w, c, in);
        break;
    }
}

tiny_file tiny_mmproj(const tiny_vision_config *c)
{
    const struct tower_kind *kind = &tower_kinds[c->projector];
    uint32_t side = c->image_px / c->patch_px, i;
    tiny_writer w;
    uint64_t ne[4];
    tiny_must(c->patch_type == TINY_F32 || c->patch_type == TINY_F16, "a type of patches");
    tiny_start(&w, c->seed);
    vision_keys(&w, c);
    ne[0] = ne[1] = c->patch_px, ne[2] = 3, ne[3] = c->width;
    random_tensor(&w, "v.patch_embd.weight", c->patch_type, 4, ne, 0,
                  1 / sqrt(3.0 * c->patch_px * c->patch_px));
    if (kind->twin)
        random_tensor(&w, "v.patch_embd.weight.1", c->patch_type, 4, ne, 0,
                      1 / sqrt(3.0 * c->patch_px * c->patch_px));
    if (has_class(c)) vector(&w, "v.class_embd", c->width, 0);
    if (c->clip) layer_norm(&w, "v.pre_ln", c->width);
    if (!c->clip && !kind->bare_patches) vector(&w, "v.patch_embd.bias", c->width, 0);
    ne[0] = c->width, ne[1] = (uint64_t)side * side + (has_class(c) ? 1 : 0);
    if (kind->extra) {
        ne[1] = 16 * merge_of(c), ne[2] = 2;
        random_tensor(&w, "v.position_embd.weight", TINY_F32, 3, ne, 0, 0.3);
    } else if (!kind->no_positions)
        random_tensor(&w, "v.position_embd.weight", TINY_F32, 2, ne, 0, 0.3);
    for (i = 0; i < c->n_layer; i++)
        vision_block(&w, c, i);
    if (!c->clip && !kind->no_post) tower_norm(&w, c, "v.post_ln");
    projector(&w, c);
    if (c->extra != NULL) c->extra(&w, c->extra_user);
    return tiny_finish(&w);
}
