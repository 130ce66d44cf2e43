#include "tensors.h"

#define BLM_NAME_BYTES 96

/* Appends text to a 0-terminated name, cutting what does not fit. */
static void blm_name_add(char *name, const char *text)
{
    size_t n = blm_text_bytes(name);
    while (*text && n + 1 < BLM_NAME_BYTES)
        name[n++] = *text++;
    name[n] = 0;
}

static void blm_name_add_number(char *name, uint32_t number)
{
    char digits[11];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    blm_name_add(name, digits + at);
}

static void blm_tensor_name(const blm_tensor_place *place, const char *name, char *out)
{
    out[0] = 0;
    blm_name_add(out, place->prefix);
    if (place->layer >= 0) {
        blm_name_add_number(out, (uint32_t)place->layer);
        blm_name_add(out, ".");
    }
    blm_name_add(out, name);
}

static int blm_tensor_fail(const blm_tensor_place *place, const char *full, const char *what,
                           uint64_t need, uint64_t have, bluelm_error *err)
{
    char subject[BLM_NAME_BYTES] = "";
    blm_name_add(subject, place->file->label);
    blm_name_add(subject, ": ");
    blm_name_add(subject, full);
    blm_name_add(subject, what);
    return blm_fail(err, BLUELM_E_FORMAT, subject, need, have, 0);
}

static int blm_tensor_find(const blm_tensor_place *place, const char *name, char *full,
                           blm_tensor *out, bluelm_error *err)
{
    blm_tensor_name(place, name, full);
    int found = blm_gguf_tensor(place->file, full, out, err);
    if (found != 0) return found;
    return blm_tensor_fail(place, full, " is missing", 1, 0, err);
}

BLM_PRIVATE int blm_tensor_matrix(const blm_tensor_place *place, const char *name,
                                  uint64_t cols, uint64_t rows, blm_tensor *out,
                                  bluelm_error *err)
{
    char full[BLM_NAME_BYTES];
    int found = blm_tensor_find(place, name, full, out, err);
    if (found < 0) return found;
    if (out->ne[0] != cols)
        return blm_tensor_fail(place, full, " columns", cols, out->ne[0], err);
    if (rows && out->ne[1] != rows)
        return blm_tensor_fail(place, full, " rows", rows, out->ne[1], err);
    if (out->n_dims > 2 && out->ne[2] * out->ne[3] != 1)
        return blm_tensor_fail(place, full, " dimensions", 2, out->n_dims, err);
    return BLUELM_OK;
}

BLM_PRIVATE int blm_tensor_vector(const blm_tensor_place *place, const char *name, uint64_t n,
                                  blm_tensor *out, bluelm_error *err)
{
    int code = blm_tensor_matrix(place, name, n, 1, out, err);
    if (code == BLUELM_OK && out->type != BLM_F32) {
        char full[BLM_NAME_BYTES];
        blm_tensor_name(place, name, full);
        return blm_tensor_fail(place, full, " type", BLM_F32, out->type, err);
    }
    return code;
}

BLM_PRIVATE int blm_tensor_present(const blm_tensor_place *place, const char *name,
                                   bluelm_error *err)
{
    char full[BLM_NAME_BYTES];
    blm_tensor ignored;
    blm_tensor_name(place, name, full);
    return blm_gguf_tensor(place->file, full, &ignored, err);
}

BLM_PRIVATE int blm_tensor_maybe_vector(const blm_tensor_place *place, const char *name,
                                        uint64_t n, blm_tensor *out, bluelm_error *err)
{
    memset(out, 0, sizeof *out);
    int found = blm_tensor_present(place, name, err);
    return found == 1 ? blm_tensor_vector(place, name, n, out, err) : found;
}

/* Builds arch + name and fails with the file's label before it when asked. */
static int blm_key_fail(const blm_gguf *g, const char *key, uint64_t need, uint64_t have,
                        bluelm_error *err)
{
    char subject[BLM_NAME_BYTES] = "";
    blm_name_add(subject, g->label);
    blm_name_add(subject, ": ");
    blm_name_add(subject, key);
    return blm_fail(err, BLUELM_E_FORMAT, subject, need, have, 0);
}

static int blm_key_u32(const blm_gguf *g, const char *key, uint32_t low, uint32_t high,
                       uint32_t *out, bluelm_error *err)
{
    uint32_t value = 0;
    int found = blm_gguf_u32(g, key, &value, err);
    if (found != 1) return found;
    if (value < low || value > high)
        return blm_key_fail(g, key, value < low ? low : high, value, err);
    *out = value;
    return 1;
}

BLM_PRIVATE int blm_key_need_u32(const blm_gguf *g, const char *arch, const char *name,
                                 uint32_t low, uint32_t high, uint32_t *out, bluelm_error *err)
{
    char key[BLM_NAME_BYTES] = "";
    blm_name_add(key, arch);
    blm_name_add(key, name);
    int found = blm_key_u32(g, key, low, high, out, err);
    if (found == 0) {
        blm_name_add(key, " is missing");
        return blm_key_fail(g, key, 1, 0, err);
    }
    return found < 0 ? found : BLUELM_OK;
}

BLM_PRIVATE int blm_key_maybe_u32(const blm_gguf *g, const char *arch, const char *name,
                                  uint32_t low, uint32_t high, uint32_t *out, bluelm_error *err)
{
    char key[BLM_NAME_BYTES] = "";
    blm_name_add(key, arch);
    blm_name_add(key, name);
    int found = blm_key_u32(g, key, low, high, out, err);
    return found < 0 ? found : BLUELM_OK;
}

BLM_PRIVATE int blm_key_maybe_f32(const blm_gguf *g, const char *arch, const char *name,
                                  float *out, bluelm_error *err)
{
    char key[BLM_NAME_BYTES] = "";
    blm_name_add(key, arch);
    blm_name_add(key, name);
    float value = 0;
    int found = blm_gguf_f32(g, key, &value, err);
    if (found == 1 && !(value > 0)) return blm_key_fail(g, key, 1, 0, err);
    if (found == 1) *out = value;
    return found < 0 ? found : BLUELM_OK;
}
