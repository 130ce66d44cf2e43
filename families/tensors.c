#include "tensors.h"

static blm_name blm_tensor_name(const blm_tensor_place *place, const char *name)
{
    blm_name full;
    blm_name_start(&full, place->prefix);
    if (place->layer >= 0)
        blm_name_add(blm_name_add_number(&full, (uint32_t)place->layer), ".");
    blm_name_add(&full, name);
    return full;
}

/* Fails with "label: name what" as the subject. */
BLM_COLD static int blm_file_fail(const blm_gguf *g, const char *name, const char *what,
                                  uint64_t need, uint64_t have, bluelm_error *err)
{
    blm_subject subject;
    blm_subject_add(blm_subject_start(&subject, g->label), ": ");
    blm_subject_add(blm_subject_add(&subject, name), what);
    return blm_fail(err, BLUELM_E_FORMAT, subject.text, need, have, 0);
}

BLM_PRIVATE int blm_tensor_matrix(const blm_tensor_place *place, const char *name,
                                  uint64_t cols, uint64_t rows, blm_tensor *out,
                                  bluelm_error *err)
{
    const blm_name full = blm_tensor_name(place, name);
    int found = blm_gguf_tensor(place->file, full.text, out, err);
    if (found < 0) return found;
    if (found == 0) return blm_file_fail(place->file, full.text, " is missing", 1, 0, err);
    if (out->ne[0] != cols)
        return blm_file_fail(place->file, full.text, " columns", cols, out->ne[0], err);
    if (out->n_dims > 2)
        return blm_file_fail(place->file, full.text, " dimensions", 2, out->n_dims, err);
    if (rows && out->ne[1] != rows)
        return blm_file_fail(place->file, full.text, " rows", rows, out->ne[1], err);
    return BLUELM_OK;
}

BLM_COLD static int blm_fail_type(const blm_tensor_place *place, const char *name,
                                  const blm_tensor *found, bluelm_error *err)
{
    const blm_name full = blm_tensor_name(place, name);
    return blm_file_fail(place->file, full.text, " type", BLM_F32, found->type, err);
}

BLM_PRIVATE int blm_tensor_vector(const blm_tensor_place *place, const char *name, uint64_t n,
                                  blm_vector *out, bluelm_error *err)
{
    blm_tensor matrix;
    int code = blm_tensor_matrix(place, name, n, 1, &matrix, err);
    if (code >= 0 && matrix.type != BLM_F32) code = blm_fail_type(place, name, &matrix, err);
    if (code >= 0) out->data = matrix.data;
    return code;
}

BLM_PRIVATE int blm_tensor_present(const blm_tensor_place *place, const char *name,
                                   bluelm_error *err)
{
    blm_tensor ignored;
    return blm_gguf_tensor(place->file, blm_tensor_name(place, name).text, &ignored, err);
}

BLM_PRIVATE int blm_tensor_maybe_vector(const blm_tensor_place *place, const char *name,
                                        uint64_t n, blm_vector *out, bluelm_error *err)
{
    out->data = NULL;
    int found = blm_tensor_present(place, name, err);
    return found == 1 ? blm_tensor_vector(place, name, n, out, err) : found;
}

BLM_PRIVATE int blm_file_whole(const blm_gguf *g, bluelm_error *err)
{
    uint32_t parts = 1;
    int code = blm_gguf_u32(g, "split.count", &parts, err);
    if (code < 0 || parts <= 1) return code < 0 ? code : BLUELM_OK;
    return blm_gguf_fail(g, err, BLUELM_E_UNSUPPORTED,
                         "one part of a split model (join them):", "split.count", 1, parts, 0);
}

BLM_PRIVATE int blm_tensors_all_known(const blm_gguf *g, bluelm_error *err)
{
    blm_string name;
    if (!blm_gguf_unasked(g, &name)) return BLUELM_OK;
    return blm_fail_value(err, BLUELM_E_UNSUPPORTED, "llm: no layer here runs tensor ", name);
}

static int blm_key_u32(const blm_gguf *g, const char *key, uint32_t low, uint32_t high,
                       uint32_t *out, bluelm_error *err)
{
    uint32_t value = 0;
    int found = blm_gguf_u32(g, key, &value, err);
    if (found != 1) return found;
    if (value < low || value > high)
        return blm_file_fail(g, key, "", value < low ? low : high, value, err);
    *out = value;
    return 1;
}

BLM_PRIVATE int blm_key_need_u32(const blm_gguf *g, const char *arch, const char *name,
                                 uint32_t low, uint32_t high, uint32_t *out, bluelm_error *err)
{
    blm_name key;
    blm_name_add(blm_name_start(&key, arch), name);
    int found = blm_key_u32(g, key.text, low, high, out, err);
    if (found == 0) return blm_file_fail(g, key.text, " is missing", 1, 0, err);
    return found < 0 ? found : BLUELM_OK;
}

BLM_PRIVATE int blm_key_maybe_u32(const blm_gguf *g, const char *arch, const char *name,
                                  uint32_t low, uint32_t high, uint32_t *out, bluelm_error *err)
{
    blm_name key;
    blm_name_add(blm_name_start(&key, arch), name);
    int found = blm_key_u32(g, key.text, low, high, out, err);
    return found < 0 ? found : BLUELM_OK;
}

BLM_PRIVATE int blm_key_maybe_list(const blm_gguf *g, const char *key, blm_array *out,
                                   bluelm_error *err)
{
    int found = blm_gguf_array(g, key, BLM_GGUF_I32, out, err);
    return found == BLUELM_E_FORMAT ? blm_gguf_array(g, key, BLM_GGUF_U32, out, err) : found;
}

BLM_PRIVATE int blm_key_maybe_f32(const blm_gguf *g, const char *arch, const char *name,
                                  float *out, bluelm_error *err)
{
    blm_name key;
    blm_name_add(blm_name_start(&key, arch), name);
    float value = 0;
    int found = blm_gguf_f32(g, key.text, &value, err);
    if (found == 1 && !(value > 0)) return blm_file_fail(g, key.text, "", 1, 0, err);
    if (found == 1) *out = value;
    return found < 0 ? found : BLUELM_OK;
}
