#include "rope.h"

#include "../base/math.h"

typedef enum blm_scaling {
    BLM_SCALING_NONE,
    BLM_SCALING_LINEAR,
    BLM_SCALING_YARN,
    BLM_SCALING_LONGROPE,
    BLM_SCALINGS
} blm_scaling;

/* What the keys under ARCH.rope say. */
typedef struct blm_rope_file {
    const blm_gguf *g;
    const blm_rope_kind *kind;
    blm_scaling scaling;
    float base, local_base, scale, magnitude;
    uint32_t original_tokens; /* of context, before it was stretched */
    float fast, slow, mix;    /* yarn                                */
    blm_vector factors, long_factors;
} blm_rope_file;

static int blm_rope_f32(const blm_rope_file *f, const char *name, float *out, bluelm_error *err)
{
    return blm_key_maybe_f32(f->g, f->kind->arch, name, out, err);
}

/* Files without a type whose positions are scaled mean the linear kind. */
static int blm_rope_scaling(blm_rope_file *f, bluelm_error *err)
{
    static const char *const names[BLM_SCALINGS] = {"none", "linear", "yarn", "longrope"};
    blm_string type = {"linear", 6};
    blm_name key;
    blm_subject subject;
    blm_name_add(blm_name_start(&key, f->kind->arch), ".rope.scaling.type");
    int code = blm_gguf_string(f->g, key.text, &type, err);
    if (code < 0) return code;
    for (uint32_t i = 0; i < BLM_SCALINGS; i++) {
        if (!blm_string_is(type, names[i])) continue;
        f->scaling = (blm_scaling)i;
        return BLUELM_OK;
    }
    blm_subject_add(blm_subject_add(blm_subject_start(&subject, "llm: "), key.text), " ");
    return blm_fail_value(err, BLUELM_E_UNSUPPORTED, subject.text, type);
}

/* What the positions are divided by; scale_linear is the name of before. */
static int blm_rope_scale(blm_rope_file *f, bluelm_error *err)
{
    int code;
    f->scale = 1;
    if (f->scaling != BLM_SCALING_LINEAR && f->scaling != BLM_SCALING_YARN) return BLUELM_OK;
    if ((code = blm_rope_f32(f, ".rope.scale_linear", &f->scale, err)) < 0) return code;
    return blm_rope_f32(f, ".rope.scaling.factor", &f->scale, err);
}

/* ---- YaRN -------------------------------------------------------------------------------- */

static float blm_yarn_size(float scale, float weight)
{
    return scale <= 1 ? 1 : 0.1f * weight * blm_logf(scale) + 1;
}

/* The magnitude of what is rotated grows with the stretch, unless the file has its own. */
static int blm_yarn_read(blm_rope_file *f, bluelm_error *err)
{
    static const char weight_key[] = ".rope.scaling.yarn_log_multiplier";
    float own = 0, weight = 0;
    blm_name key;
    int code;
    f->fast = 32;
    f->slow = f->mix = 1;
    blm_name_add(blm_name_start(&key, f->kind->arch), weight_key);
    if ((code = blm_rope_f32(f, ".rope.scaling.yarn_beta_fast", &f->fast, err)) < 0 ||
        (code = blm_rope_f32(f, ".rope.scaling.yarn_beta_slow", &f->slow, err)) < 0 ||
        (code = blm_rope_f32(f, ".rope.scaling.yarn_ext_factor", &f->mix, err)) < 0 ||
        (code = blm_rope_f32(f, ".rope.scaling.yarn_attn_factor", &own, err)) < 0 ||
        (code = blm_gguf_f32(f->g, key.text, &weight, err)) < 0)
        return code;
    if (!(f->base > 1.0001f))
        return blm_fail(err, BLUELM_E_FORMAT, "llm: rope.freq_base of yarn", 2, 1, 0);
    f->magnitude = own > 0 ? own : blm_yarn_size(f->scale, 1);
    if (!(own > 0) && weight > 0) f->magnitude /= blm_yarn_size(f->scale, weight);
    return BLUELM_OK;
}

/* The pair that rotates `rotations` times within the original context; a fraction. */
static double blm_yarn_pair(const blm_rope_file *f, uint32_t n_rot, float rotations)
{
    double most = (double)f->original_tokens / ((double)rotations * 6.283185307179586);
    return n_rot * blm_log(most) / (2 * blm_log((double)f->base));
}

/* How much of a pair's frequency is kept as it is: all of what rotates fast, nothing of
 * what rotates slowly, and a ramp between them. */
static double blm_yarn_kept(const blm_rope_file *f, uint32_t n_rot, uint32_t pair)
{
    double low = blm_yarn_pair(f, n_rot, f->fast), high = blm_yarn_pair(f, n_rot, f->slow);
    double first = BLM_MAX(low, 0.0), last = BLM_MIN(high, (double)(n_rot - 1));
    first = (double)(uint32_t)BLM_MIN(first, (double)n_rot);
    last = BLM_MAX(last, 0.0);
    last = (double)(uint32_t)last + ((double)(uint32_t)last < last);
    double ramp = ((double)pair - first) / BLM_MAX(last - first, 0.001);
    ramp = 1 - BLM_MIN(BLM_MAX(ramp, 0.0), 1.0);
    return ramp * (double)f->mix;
}

/* ---- Factors ----------------------------------------------------------------------------- */

/* Factors that divide the frequencies, if any: those of llama 3, or two kinds of longrope, of
 * which the long ones are for contexts beyond the original one. */
static int blm_rope_factors(blm_rope_file *f, blm_language *m, bluelm_error *err)
{
    const blm_tensor_place at = {f->g, "", BLM_NO_LAYER};
    uint32_t pairs = m->n_rot / 2;
    int code;
    if ((code = blm_tensor_maybe_vector(&at, "rope_freqs.weight", pairs, &f->factors, err)) <
            0 ||
        f->factors.data)
        return code;
    if ((code = blm_tensor_maybe_vector(&at, "rope_factors_short.weight", pairs, &f->factors,
                                        err)) < 0 ||
        (code = blm_tensor_maybe_vector(&at, "rope_factors_long.weight", pairs,
                                        &f->long_factors, err)) < 0)
        return code;
    if (f->scaling == BLM_SCALING_LONGROPE && !f->factors.data)
        return blm_fail(err, BLUELM_E_FORMAT,
                        "llm: rope_factors_short.weight of longrope is missing", 1, 0, 0);
    if (f->factors.data && !f->long_factors.data)
        m->trained_context_tokens = BLM_MIN(m->trained_context_tokens, f->original_tokens);
    return BLUELM_OK;
}

/* ---- Tables ------------------------------------------------------------------------------ */

/* base^(-2i / n_rot), divided by factors, slowed down as the scaling says. */
static void blm_rope_table(const blm_rope_file *f, uint32_t n_rot, const blm_vector *factors,
                           double *out)
{
    for (uint32_t i = 0; i < n_rot / 2; i++) {
        double own = blm_pow((double)f->base, -2.0 * i / n_rot);
        if (factors->data) own /= (double)blm_load_f32(factors->data + i * sizeof(float));
        out[i] = own / (double)f->scale;
        if (f->scaling != BLM_SCALING_YARN) continue;
        double kept = blm_yarn_kept(f, n_rot, i);
        out[i] = out[i] * (1 - kept) + own * kept;
    }
}

/* The second table is that of windowed layers, or of those in which nothing rotates. */
static void blm_rope_tables(blm_language *m, const blm_rope_file *f, blm_arena *arena)
{
    uint32_t pairs = m->n_rot / 2;
    int local = f->kind->local;
    m->n_rope = local || f->kind->some_rest ? 2 : 1;
    m->rope_frequency = (double *)blm_arena_take(arena, pairs, m->n_rope * sizeof(double));
    if (m->rope_frequency) {
        blm_rope_table(f, m->n_rot, &f->factors, m->rope_frequency);
        for (uint32_t i = 0; m->n_rope == 2 && i < pairs; i++)
            m->rope_frequency[pairs + i] =
                local ? blm_pow((double)f->local_base, -2.0 * i / m->window_n_rot) : 0;
    }
    if (!f->long_factors.data) return;
    m->rope_long_frequency = (double *)blm_arena_take(arena, pairs, sizeof(double));
    if (m->rope_long_frequency)
        blm_rope_table(f, m->n_rot, &f->long_factors, m->rope_long_frequency);
}

/* Whether the file says that nothing rotates. */
static int blm_rope_rests(const blm_rope_file *f, int *rests, bluelm_error *err)
{
    int finetuned = 1;
    blm_name key;
    if (!f->kind->may_rest) return BLUELM_OK;
    blm_name_add(blm_name_start(&key, f->kind->arch), ".rope.scaling.finetuned");
    int code = blm_gguf_bool(f->g, key.text, &finetuned, err);
    *rests = !finetuned;
    return code;
}

/* The axis of each pair: the array of sections counts pairs for t, h, w. */
static int blm_rope_axes(blm_language *m, const blm_gguf *g, const blm_rope_kind *kind,
                         blm_arena *arena, bluelm_error *err)
{
    uint32_t pairs = m->n_rot / 2, count[3];
    blm_array array;
    blm_name key;
    blm_subject subject;
    blm_name_add(blm_name_start(&key, kind->arch), ".rope.dimension_sections");
    blm_subject_add(blm_subject_start(&subject, "llm: "), key.text);
    int found = blm_key_maybe_list(g, key.text, &array, err);
    if (found < 0) return found;
    if (found == 0 || array.count < 3)
        return blm_fail(err, BLUELM_E_FORMAT, blm_subject_add(&subject, " elements")->text, 3,
                        found ? array.count : 0, 0);
    for (uint32_t i = 0; i < 3; i++) {
        count[i] = blm_load_u32(array.data + 4 * (size_t)i);
        if (count[i] > pairs)
            return blm_fail(err, BLUELM_E_FORMAT, subject.text, pairs, count[i], 0);
    }
    m->rope_axis = (uint8_t *)blm_arena_take(arena, pairs, 1);
    for (uint32_t i = 0; m->rope_axis && i < pairs; i++) {
        uint32_t axis = i % 3;
        if (kind->sections == BLM_SECTIONS_RUNS)
            axis = i < count[0] ? 0 : i - count[0] < count[1] ? 1 : 2;
        else if (i >= 3 * count[axis])
            axis = 0;
        m->rope_axis[i] = (uint8_t)axis;
    }
    return BLUELM_OK;
}

BLM_PRIVATE int blm_rope_read(blm_language *m, const blm_gguf *g, const blm_rope_kind *kind,
                              blm_arena *arena, bluelm_error *err)
{
    blm_rope_file f = {
        .g = g, .kind = kind, .base = 10000, .local_base = 10000, .magnitude = 1};
    float attention = 1; /* of the magnitude */
    int code, rests = 0;
    f.original_tokens = m->trained_context_tokens;
    if ((code = blm_rope_scaling(&f, err)) < 0 ||
        (code = blm_rope_f32(&f, ".rope.freq_base", &f.base, err)) < 0 ||
        (code = blm_rope_f32(&f, ".rope.freq_base_swa", &f.local_base, err)) < 0 ||
        (code = blm_key_maybe_u32(g, kind->arch, ".rope.scaling.original_context_length", 1,
                                  UINT32_MAX, &f.original_tokens, err)) < 0 ||
        (code = blm_rope_f32(&f, ".rope.scaling.attn_factor", &attention, err)) < 0 ||
        (code = blm_rope_scale(&f, err)) < 0 ||
        (f.scaling == BLM_SCALING_YARN && (code = blm_yarn_read(&f, err)) < 0) ||
        (code = blm_rope_factors(&f, m, err)) < 0 ||
        (code = blm_rope_rests(&f, &rests, err)) < 0)
        return code;
    m->rope_magnitude = f.magnitude * attention;
    if (kind->some_rest && m->rope_magnitude != 1) /* what rests would grow with the rest */
        return blm_fail(err, BLUELM_E_UNSUPPORTED, "llm: rope.scaling of resting layers", 0, 1,
                        0);
    m->original_context_tokens = f.original_tokens;
    blm_rope_tables(m, &f, arena);
    if (rests && m->rope_frequency)
        memset(m->rope_frequency, 0, m->n_rot / 2 * m->n_rope * sizeof(double));
    return kind->sections ? blm_rope_axes(m, g, kind, arena, err) : BLUELM_OK;
}
