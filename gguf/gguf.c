#include "gguf.h"

#include "../base/name.h"

#include <float.h>

/* How many bytes each part takes at least: what a count in the header must at least cost
 * in the file, so that no count makes us walk further than the file is long. */
#define BLM_GGUF_HEADER_BYTES     24u /* magic, version, tensor count, key count           */
#define BLM_GGUF_MIN_KEY_BYTES    13u /* length, type, one byte of value                   */
#define BLM_GGUF_MIN_TENSOR_BYTES 32u /* length, dimension count, one of them, type, offset */

/* One key, as it lies in the file. */
typedef struct blm_gguf_entry {
    blm_string name;
    uint32_t type;
    uint64_t value_at;
    uint64_t end; /* byte after the value */
} blm_gguf_entry;

/* One entry of the tensor table. */
typedef struct blm_gguf_info {
    blm_string name;
    uint64_t ne[4];
    uint32_t n_dims;
    uint32_t type;
    uint64_t offset;    /* from the data section               */
    uint64_t offset_at; /* byte in the file that holds `offset` */
} blm_gguf_info;

/* ---- Errors ---------------------------------------------------------------- */

BLM_COLD static int blm_gguf_fail_named(const blm_gguf *g, bluelm_error *err, int code,
                                        const char *what, blm_string name, uint64_t need,
                                        uint64_t have, uint64_t at)
{
    blm_subject subject;
    blm_subject_add(blm_subject_add(blm_subject_start(&subject, g->label), ": "), what);
    if (name.text != NULL) blm_subject_add_string(blm_subject_add(&subject, " "), name);
    return blm_fail(err, code, subject.text, need, have, at);
}

BLM_PRIVATE int blm_gguf_fail(const blm_gguf *g, bluelm_error *err, int code, const char *what,
                              const char *name, uint64_t need, uint64_t have, uint64_t at)
{
    blm_string s = {name, name ? blm_text_bytes(name) : 0};
    return blm_gguf_fail_named(g, err, code, what, s, need, have, at);
}

/* ---- Reading, one piece after another ---------------------------------------- */

/* Whether `bytes` bytes are left from `at`, which lies inside the file or at its end.
 * Everything that is read asks here first, in the checks of blm_gguf_open as in the
 * walks of the getters: they are the same code. */
static int blm_gguf_has(const blm_gguf *g, const char *what, uint64_t bytes, uint64_t at,
                        bluelm_error *err)
{
    if (bytes <= g->bytes - at) return 1;
    return blm_gguf_fail(g, err, BLUELM_E_FORMAT, what, NULL, bytes, g->bytes - at, at);
}

/* Whether `count` items of at least `item_bytes` can lie from `at` on. */
static int blm_gguf_has_items(const blm_gguf *g, const char *what, uint64_t count,
                              uint64_t item_bytes, uint64_t at, bluelm_error *err)
{
    if (count <= (g->bytes - at) / item_bytes) return 1;
    return blm_gguf_fail(g, err, BLUELM_E_FORMAT, what, NULL, count,
                         (g->bytes - at) / item_bytes, at);
}

static const uint8_t *blm_gguf_byte(const blm_gguf *g, uint64_t at)
{
    return g->file + (size_t)at;
}

/* Reads a length and that many bytes; moves *at behind them. */
static int blm_gguf_read_string(const blm_gguf *g, const char *what, uint64_t *at,
                                blm_string *out, bluelm_error *err)
{
    uint64_t bytes;
    int rc = blm_gguf_has(g, what, 8, *at, err);
    if (rc < 0) return rc;
    bytes = blm_load_u64(blm_gguf_byte(g, *at));
    rc = blm_gguf_has(g, what, bytes, *at + 8, err);
    if (rc < 0) return rc;
    out->text = (const char *)blm_gguf_byte(g, *at + 8);
    out->bytes = bytes;
    *at += 8 + bytes;
    return 1;
}

static int blm_gguf_read_name(const blm_gguf *g, const char *what, uint64_t longest,
                              uint64_t *at, blm_string *out, bluelm_error *err)
{
    uint64_t start = *at;
    int rc = blm_gguf_read_string(g, what, at, out, err);
    if (rc < 0) return rc;
    if (out->bytes > longest) {
        return blm_gguf_fail(g, err, BLUELM_E_FORMAT, what, NULL, longest, out->bytes, start);
    }
    return 1;
}

/* Bytes of one value; 0 for strings, arrays and numbers that are no type. */
static uint32_t blm_gguf_value_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < BLM_COUNT_OF(bytes) ? bytes[type] : 0;
}

/* ---- Keys ---------------------------------------------------------------------- */

static int blm_gguf_check_bools(const blm_gguf *g, blm_string name, uint64_t at, uint64_t count,
                                bluelm_error *err)
{
    uint64_t i;
    for (i = 0; i < count; i++) {
        uint8_t value = *blm_gguf_byte(g, at + i);
        if (value > 1) {
            return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "bool", name, 1, value, at + i);
        }
    }
    return 1;
}

/* Moves *at over `count` strings. */
static int blm_gguf_skip_strings(const blm_gguf *g, uint64_t count, uint64_t *at,
                                 bluelm_error *err)
{
    blm_string s;
    uint64_t i;
    int rc;
    for (i = 0; i < BLM_COUNT_OF(g->strings); i++) {
        if (g->strings[i].at == *at) { /* no array lies at 0, which means unused */
            *at = g->strings[i].end;
            return 1;
        }
    }
    rc = blm_gguf_has_items(g, "array of strings", count, 8, *at, err);
    for (i = 0; i < count && rc > 0; i++) {
        rc = blm_gguf_read_string(g, "array of strings", at, &s, err);
    }
    return rc;
}

/* Reads what stands before an array's elements; moves *at to the first. */
static int blm_gguf_read_array_head(const blm_gguf *g, blm_string name, uint64_t *at,
                                    uint32_t *type, uint64_t *count, bluelm_error *err)
{
    int rc = blm_gguf_has(g, "array", 12, *at, err);
    if (rc < 0) return rc;
    *type = blm_load_u32(blm_gguf_byte(g, *at));
    *count = blm_load_u64(blm_gguf_byte(g, *at + 4));
    if (*type == BLM_GGUF_ARRAY) {
        return blm_gguf_fail_named(g, err, BLUELM_E_UNSUPPORTED, "array of arrays", name, 0,
                                   *type, *at);
    }
    if (*type > BLM_GGUF_F64) {
        return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "array type of", name, BLM_GGUF_F64,
                                   *type, *at);
    }
    *at += 12;
    return 1;
}

static int blm_gguf_skip_array(const blm_gguf *g, blm_string name, uint64_t *at,
                               bluelm_error *err)
{
    uint32_t type, bytes;
    uint64_t count;
    int rc = blm_gguf_read_array_head(g, name, at, &type, &count, err);
    if (rc < 0) return rc;
    if (type == BLM_GGUF_STRING) return blm_gguf_skip_strings(g, count, at, err);
    bytes = blm_gguf_value_bytes(type);
    rc = blm_gguf_has_items(g, "array", count, bytes, *at, err);
    if (rc > 0) *at += count * bytes;
    return rc;
}

/* Reads the key at *at and moves behind its value. */
static int blm_gguf_next_key(const blm_gguf *g, uint64_t *at, blm_gguf_entry *key,
                             bluelm_error *err)
{
    uint32_t bytes;
    int rc = blm_gguf_read_name(g, "key", BLM_GGUF_MAX_KEY_BYTES, at, &key->name, err);
    if (rc > 0) rc = blm_gguf_has(g, "key", 4, *at, err);
    if (rc < 0) return rc;
    key->type = blm_load_u32(blm_gguf_byte(g, *at));
    if (key->type > BLM_GGUF_F64) {
        return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "type of key", key->name,
                                   BLM_GGUF_F64, key->type, *at);
    }
    *at += 4;
    key->value_at = *at;
    if (key->type == BLM_GGUF_ARRAY) {
        rc = blm_gguf_skip_array(g, key->name, at, err);
    } else if (key->type == BLM_GGUF_STRING) {
        blm_string value;
        rc = blm_gguf_read_string(g, "string", at, &value, err);
    } else {
        bytes = blm_gguf_value_bytes(key->type);
        rc = blm_gguf_has(g, "key", bytes, *at, err);
        if (rc > 0) *at += bytes;
    }
    key->end = *at;
    return rc;
}

/* What a walk to find things need not check again. */
static int blm_gguf_check_value(const blm_gguf *g, const blm_gguf_entry *key, bluelm_error *err)
{
    const uint8_t *value = blm_gguf_byte(g, key->value_at);
    if (key->type == BLM_GGUF_BOOL) {
        return blm_gguf_check_bools(g, key->name, key->value_at, 1, err);
    }
    if (key->type == BLM_GGUF_ARRAY && blm_load_u32(value) == BLM_GGUF_BOOL) {
        return blm_gguf_check_bools(g, key->name, key->value_at + 12, blm_load_u64(value + 4),
                                    err);
    }
    return 1;
}

/* Keeps the longest arrays of strings in g->strings. Returns the strings of one that it did
 * not keep, or no longer keeps. */
static uint64_t blm_gguf_remember_strings(blm_gguf *g, const blm_gguf_entry *key)
{
    uint64_t at = key->value_at + 12, loose;
    size_t i, least = 0;
    if (key->type != BLM_GGUF_ARRAY ||
        blm_load_u32(blm_gguf_byte(g, key->value_at)) != BLM_GGUF_STRING) {
        return 0;
    }
    loose = blm_load_u64(blm_gguf_byte(g, key->value_at + 4));
    for (i = 1; i < BLM_COUNT_OF(g->strings); i++) {
        const blm_gguf_span *span = &g->strings[i], *best = &g->strings[least];
        if (span->end - span->at < best->end - best->at) least = i;
    }
    if (key->end - at > g->strings[least].end - g->strings[least].at) {
        const blm_gguf_span span = {at, key->end, loose};
        loose = g->strings[least].count;
        g->strings[least] = span;
    }
    return loose;
}

static int blm_gguf_check_keys(blm_gguf *g, bluelm_error *err)
{
    uint64_t at = g->keys_at, loose = 0, i;
    for (i = 0; i < g->key_count; i++) {
        blm_gguf_entry key;
        int rc = blm_gguf_next_key(g, &at, &key, err);
        if (rc > 0) rc = blm_gguf_check_value(g, &key, err);
        if (rc < 0) return rc;
        loose += blm_gguf_remember_strings(g, &key);
        if (loose > BLM_GGUF_MAX_LOOSE_STRINGS) {
            return blm_gguf_fail_named(g, err, BLUELM_E_UNSUPPORTED, "strings up to", key.name,
                                       BLM_GGUF_MAX_LOOSE_STRINGS, loose, key.value_at);
        }
    }
    g->tensors_at = at;
    return 1;
}

/* ---- Tensors ------------------------------------------------------------------- */

/* Values and bytes of a block of every type that GGUF defines and that is likely to be
 * met, run or not. Returns 0 for any other: its size cannot be known. */
static int blm_gguf_block(uint32_t type, uint32_t *values, uint32_t *bytes)
{
    static const struct {
        uint8_t type;
        uint16_t values, bytes;
    } others[] = {
        {24, 1, 1}, /* I8     */
        {25, 1, 2}, /* I16    */
        {26, 1, 4}, /* I32    */
        {27, 1, 8}, /* I64    */
        {28, 1, 8}, /* F64    */
    };
    size_t i;
    if (blm_type_layout(type, values, bytes)) return 1;
    for (i = 0; i < BLM_COUNT_OF(others); i++) {
        if (others[i].type == type) {
            *values = others[i].values;
            *bytes = others[i].bytes;
            return 1;
        }
    }
    return 0;
}

static int blm_gguf_read_dims(const blm_gguf *g, blm_gguf_info *info, uint64_t *at,
                              bluelm_error *err)
{
    uint32_t i;
    int rc = blm_gguf_has(g, "tensor", 4, *at, err);
    if (rc < 0) return rc;
    info->n_dims = blm_load_u32(blm_gguf_byte(g, *at));
    if (info->n_dims < 1 || info->n_dims > 4) {
        return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "dimensions of", info->name, 4,
                                   info->n_dims, *at);
    }
    *at += 4;
    rc = blm_gguf_has(g, "tensor", 8 * info->n_dims, *at, err);
    if (rc < 0) return rc;
    for (i = 0; i < 4; i++) {
        info->ne[i] = i < info->n_dims ? blm_load_u64(blm_gguf_byte(g, *at + 8 * i)) : 1;
        if (info->ne[i] == 0) {
            return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "dimension of", info->name, 1,
                                       0, *at + 8 * i);
        }
    }
    *at += 8 * info->n_dims;
    return 1;
}

/* Reads the entry of the tensor table at *at and moves behind it. */
static int blm_gguf_next_tensor(const blm_gguf *g, uint64_t *at, blm_gguf_info *info,
                                bluelm_error *err)
{
    int rc = blm_gguf_read_name(g, "tensor name", BLM_GGUF_MAX_TENSOR_NAME_BYTES, at,
                                &info->name, err);
    if (rc > 0) rc = blm_gguf_read_dims(g, info, at, err);
    if (rc > 0) rc = blm_gguf_has(g, "tensor", 12, *at, err);
    if (rc < 0) return rc;
    info->type = blm_load_u32(blm_gguf_byte(g, *at));
    info->offset_at = *at + 4;
    info->offset = blm_load_u64(blm_gguf_byte(g, info->offset_at));
    *at += 12;
    return 1;
}

/* Bytes of a row and of the whole tensor. */
static int blm_gguf_sizes(const blm_gguf *g, const blm_gguf_info *info, uint64_t *row_bytes,
                          uint64_t *bytes, bluelm_error *err)
{
    uint32_t block_values, block_bytes;
    *row_bytes = *bytes = 0;
    if (!blm_gguf_block(info->type, &block_values, &block_bytes)) return 1;
    if (info->ne[0] % block_values != 0) {
        return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "row of", info->name, block_values,
                                   info->ne[0], info->offset_at);
    }
    if (!blm_mul_u64(info->ne[0] / block_values, block_bytes, row_bytes) ||
        !blm_mul_u64(*row_bytes, info->ne[1], bytes) ||
        !blm_mul_u64(*bytes, info->ne[2], bytes) || !blm_mul_u64(*bytes, info->ne[3], bytes)) {
        return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "size of", info->name, UINT64_MAX,
                                   g->bytes, info->offset_at);
    }
    return 1;
}

/* Checks that a tensor's data lies inside the file. */
static int blm_gguf_check_tensor(const blm_gguf *g, const blm_gguf_info *info,
                                 uint32_t alignment, bluelm_error *err)
{
    uint64_t room = g->bytes - g->data_at, row_bytes, bytes;
    int rc = blm_gguf_sizes(g, info, &row_bytes, &bytes, err);
    if (rc < 0) return rc;
    if (info->offset % alignment != 0) {
        return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "alignment of", info->name,
                                   alignment, info->offset, info->offset_at);
    }
    if (info->offset > room) {
        return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "offset of", info->name,
                                   info->offset, room, info->offset_at);
    }
    if (bytes > room - info->offset) {
        return blm_gguf_fail_named(g, err, BLUELM_E_FORMAT, "tensor", info->name, bytes,
                                   room - info->offset, info->offset_at);
    }
    return 1;
}

/* Walks the tensor table to its end. */
static int blm_gguf_find_tensors_end(const blm_gguf *g, uint64_t *end, bluelm_error *err)
{
    uint64_t i;
    int rc = blm_gguf_has_items(g, "tensor count", g->tensor_count, BLM_GGUF_MIN_TENSOR_BYTES,
                                g->tensors_at, err);
    *end = g->tensors_at;
    for (i = 0; i < g->tensor_count && rc > 0; i++) {
        blm_gguf_info info;
        rc = blm_gguf_next_tensor(g, end, &info, err);
    }
    return rc;
}

static int blm_gguf_read_alignment(const blm_gguf *g, uint32_t *alignment, bluelm_error *err)
{
    int rc;
    *alignment = 32;
    rc = blm_gguf_u32(g, "general.alignment", alignment, err);
    if (rc < 0) return rc;
    if (*alignment == 0 || *alignment > BLM_GGUF_MAX_ALIGNMENT ||
        (*alignment & (*alignment - 1)) != 0) {
        return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "key", "general.alignment",
                             BLM_GGUF_MAX_ALIGNMENT, *alignment, g->keys_at);
    }
    return 1;
}

static int blm_gguf_check_tensors(blm_gguf *g, bluelm_error *err)
{
    uint64_t at = g->tensors_at, end, i;
    uint32_t alignment;
    int rc = blm_gguf_find_tensors_end(g, &end, err);
    if (rc > 0) rc = blm_gguf_read_alignment(g, &alignment, err);
    if (rc < 0) return rc;
    /* Cannot overflow: end is at most the size of something in memory. */
    g->data_at = (end + alignment - 1) & ~(uint64_t)(alignment - 1);
    if (g->data_at > g->bytes) {
        if (g->tensor_count > 0) {
            return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "data section", NULL, g->data_at,
                                 g->bytes, end);
        }
        g->data_at = g->bytes; /* vocabulary-only files need not be padded */
    }
    for (i = 0; i < g->tensor_count && rc > 0; i++) {
        blm_gguf_info info;
        rc = blm_gguf_next_tensor(g, &at, &info, err);
        if (rc > 0) rc = blm_gguf_check_tensor(g, &info, alignment, err);
    }
    return rc;
}

/* ---- Opening --------------------------------------------------------------------- */

static int blm_gguf_check_count(const blm_gguf *g, const char *what, uint64_t count,
                                uint64_t limit, uint64_t at, bluelm_error *err)
{
    if (count <= limit) return 1;
    return blm_gguf_fail(g, err, BLUELM_E_UNSUPPORTED, what, NULL, limit, count, at);
}

/* Checks magic and version and reads the two counts. */
static int blm_gguf_read_header(blm_gguf *g, bluelm_error *err)
{
    static const uint8_t magic[4] = {'G', 'G', 'U', 'F'};
    uint32_t version;
    int rc = blm_gguf_has(g, "header", BLM_GGUF_HEADER_BYTES, 0, err);
    if (rc < 0) return rc;
    if (memcmp(g->file, magic, sizeof magic) != 0) {
        return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "magic of a GGUF file", NULL,
                             blm_load_u32(magic), blm_load_u32(g->file), 0);
    }
    version = blm_load_u32(g->file + 4);
    if (version < 2 || version > 3) {
        return blm_gguf_fail(g, err, BLUELM_E_UNSUPPORTED, "GGUF version", NULL, 3, version, 4);
    }
    g->tensor_count = blm_load_u64(g->file + 8);
    g->key_count = blm_load_u64(g->file + 16);
    g->keys_at = BLM_GGUF_HEADER_BYTES;
    rc = blm_gguf_has_items(g, "key count", g->key_count, BLM_GGUF_MIN_KEY_BYTES, g->keys_at,
                            err);
    if (rc > 0) {
        rc = blm_gguf_has_items(g, "tensor count", g->tensor_count, BLM_GGUF_MIN_TENSOR_BYTES,
                                g->keys_at, err);
    }
    if (rc > 0) {
        rc = blm_gguf_check_count(g, "keys", g->key_count, BLM_GGUF_MAX_KEYS, 16, err);
    }
    if (rc > 0) {
        rc = blm_gguf_check_count(g, "tensors", g->tensor_count, BLM_GGUF_MAX_TENSORS, 8, err);
    }
    return rc;
}

BLM_PRIVATE int blm_gguf_open(blm_gguf *g, const void *file, uint64_t bytes, const char *label,
                              bluelm_error *err)
{
    int rc;
    memset(g, 0, sizeof *g);
    g->label = label;
    if (file == NULL || bytes > SIZE_MAX) {
        return blm_gguf_fail(g, err, BLUELM_E_ARG, "file", NULL, SIZE_MAX, bytes, 0);
    }
    g->file = (const uint8_t *)file;
    g->bytes = bytes;
    rc = blm_gguf_read_header(g, err);
    if (rc > 0) rc = blm_gguf_check_keys(g, err);
    if (rc > 0) rc = blm_gguf_check_tensors(g, err);
    return rc < 0 ? rc : BLUELM_OK;
}

/* ---- Getters --------------------------------------------------------------------- */

static int blm_gguf_fail_key(const blm_gguf *g, const char *key, uint64_t need, uint64_t have,
                             uint64_t at, bluelm_error *err)
{
    return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "key", key, need, have, at);
}

/* Finds a key: 1, 0 when absent, BLUELM_E_FORMAT when it is there twice, since readers
 * disagree which of the two counts. */
static int blm_gguf_find(const blm_gguf *g, const char *key, blm_gguf_entry *out,
                         bluelm_error *err)
{
    uint64_t at = g->keys_at, i;
    int found = 0;
    for (i = 0; i < g->key_count; i++) {
        blm_gguf_entry entry;
        uint64_t start = at;
        int rc = blm_gguf_next_key(g, &at, &entry, err);
        if (rc < 0) return rc;
        if (!blm_string_is(entry.name, key)) continue;
        if (found) return blm_gguf_fail_key(g, key, 1, 2, start, err);
        *out = entry;
        found = 1;
    }
    return found;
}

/* Finds a key that must have one type. */
static int blm_gguf_find_typed(const blm_gguf *g, const char *key, uint32_t type,
                               blm_gguf_entry *out, bluelm_error *err)
{
    int rc = blm_gguf_find(g, key, out, err);
    if (rc > 0 && out->type != type) {
        return blm_gguf_fail_key(g, key, type, out->type, out->value_at, err);
    }
    return rc;
}

BLM_PRIVATE int blm_gguf_u32(const blm_gguf *g, const char *key, uint32_t *out,
                             bluelm_error *err)
{
    blm_gguf_entry entry;
    const uint8_t *p;
    uint64_t value;
    int rc = blm_gguf_find(g, key, &entry, err);
    if (rc <= 0) return rc;
    p = blm_gguf_byte(g, entry.value_at);
    /* Negative numbers become ones above UINT32_MAX. */
    switch (entry.type) {
    case BLM_GGUF_U8:
        value = p[0];
        break;
    case BLM_GGUF_I8:
        value = (uint64_t)(int8_t)p[0];
        break;
    case BLM_GGUF_U16:
        value = blm_load_u16(p);
        break;
    case BLM_GGUF_I16:
        value = (uint64_t)(int16_t)blm_load_u16(p);
        break;
    case BLM_GGUF_U32:
        value = blm_load_u32(p);
        break;
    case BLM_GGUF_I32:
        value = (uint64_t)(int32_t)blm_load_u32(p);
        break;
    case BLM_GGUF_U64:
    case BLM_GGUF_I64:
        value = blm_load_u64(p);
        break;
    default:
        return blm_gguf_fail_key(g, key, BLM_GGUF_U32, entry.type, entry.value_at, err);
    }
    if (value > UINT32_MAX) {
        return blm_gguf_fail_key(g, key, UINT32_MAX, value, entry.value_at, err);
    }
    *out = (uint32_t)value;
    return 1;
}

BLM_PRIVATE int blm_gguf_f32(const blm_gguf *g, const char *key, float *out, bluelm_error *err)
{
    blm_gguf_entry entry;
    const uint8_t *p;
    double value;
    int rc = blm_gguf_find(g, key, &entry, err);
    if (rc <= 0) return rc;
    p = blm_gguf_byte(g, entry.value_at);
    if (entry.type == BLM_GGUF_F32) {
        value = (double)blm_load_f32(p);
    } else if (entry.type == BLM_GGUF_F64) {
        uint64_t bits = blm_load_u64(p);
        memcpy(&value, &bits, sizeof value);
    } else {
        return blm_gguf_fail_key(g, key, BLM_GGUF_F32, entry.type, entry.value_at, err);
    }
    /* Not a number fails both comparisons. */
    if (!(value >= -(double)FLT_MAX && value <= (double)FLT_MAX)) {
        return blm_gguf_fail_key(g, key, 0, 0, entry.value_at, err);
    }
    *out = (float)value;
    return 1;
}

BLM_PRIVATE int blm_gguf_bool(const blm_gguf *g, const char *key, int *out, bluelm_error *err)
{
    blm_gguf_entry entry;
    int rc = blm_gguf_find_typed(g, key, BLM_GGUF_BOOL, &entry, err);
    if (rc > 0) *out = *blm_gguf_byte(g, entry.value_at) != 0;
    return rc;
}

BLM_PRIVATE int blm_gguf_string(const blm_gguf *g, const char *key, blm_string *out,
                                bluelm_error *err)
{
    blm_gguf_entry entry;
    uint64_t at;
    int rc = blm_gguf_find_typed(g, key, BLM_GGUF_STRING, &entry, err);
    if (rc <= 0) return rc;
    at = entry.value_at;
    return blm_gguf_read_string(g, "string", &at, out, err);
}

BLM_PRIVATE int blm_gguf_array(const blm_gguf *g, const char *key, uint32_t element_type,
                               blm_array *out, bluelm_error *err)
{
    blm_gguf_entry entry;
    uint64_t at, count;
    uint32_t type;
    int rc = blm_gguf_find_typed(g, key, BLM_GGUF_ARRAY, &entry, err);
    if (rc <= 0) return rc;
    at = entry.value_at;
    rc = blm_gguf_read_array_head(g, entry.name, &at, &type, &count, err);
    if (rc < 0) return rc;
    if (type != element_type) {
        return blm_gguf_fail_key(g, key, element_type, type, entry.value_at, err);
    }
    out->type = type;
    out->count = count;
    out->data = blm_gguf_byte(g, at);
    out->bytes = entry.end - at;
    return 1;
}

BLM_PRIVATE int blm_array_next_string(const blm_array *array, uint64_t *at, blm_string *out)
{
    uint64_t bytes;
    if (*at > array->bytes || array->bytes - *at < 8) return 0;
    bytes = blm_load_u64(array->data + (size_t)*at);
    if (bytes > array->bytes - *at - 8) return 0;
    out->text = (const char *)array->data + (size_t)(*at + 8);
    out->bytes = bytes;
    *at += 8 + bytes;
    return 1;
}

/* ---- Tensors by name ---------------------------------------------------------------- */

/* Bytes of a name up to and with the dot behind its first number: "blk.3." of
 * "blk.3.attn_q.weight". 0: it is not a layer's, or too long to remember. */
static uint32_t blm_gguf_layer_prefix(const char *name)
{
    uint32_t i, digits = 0;
    for (i = 0; name[i] != 0 && i < sizeof((blm_gguf_layer *)0)->prefix; i++) {
        if (name[i] == '.' && digits > 0) return i + 1;
        if (name[i] >= '0' && name[i] <= '9') {
            digits += digits > 0 || (i > 0 && name[i - 1] == '.');
        } else {
            digits = 0;
        }
    }
    return 0;
}

/* Walks over all tensors and keeps those of one layer. */
BLM_COLD static int blm_gguf_read_layer(const blm_gguf *g, blm_gguf_layer *layer,
                                        const char *prefix, uint32_t prefix_bytes,
                                        bluelm_error *err)
{
    uint64_t at = g->tensors_at, i;
    layer->prefix_bytes = layer->count = 0;
    layer->asked = 0;
    for (i = 0; i < g->tensor_count; i++) {
        blm_gguf_info info;
        uint64_t start = at;
        int rc = blm_gguf_next_tensor(g, &at, &info, err);
        if (rc < 0) return rc;
        if (info.name.bytes < prefix_bytes ||
            !blm_same_bytes(info.name.text, prefix, prefix_bytes)) {
            continue;
        }
        if (layer->count == BLM_GGUF_MAX_LAYER_TENSORS) {
            return blm_gguf_fail_named(g, err, BLUELM_E_UNSUPPORTED, "tensors of a layer up to",
                                       info.name, BLM_GGUF_MAX_LAYER_TENSORS, layer->count + 1u,
                                       start);
        }
        layer->at[layer->count++] = (uint32_t)(start - g->tensors_at);
    }
    memcpy(layer->prefix, prefix, prefix_bytes);
    layer->prefix_bytes = prefix_bytes;
    return 1;
}

/* Compares the tensor at *at, behind which it moves. Returns found, or 1 and its place when it
 * has the name, which must not happen twice. */
static int blm_gguf_match_tensor(const blm_gguf *g, const char *name, int found, uint64_t *at,
                                 uint64_t *place, bluelm_error *err)
{
    blm_gguf_info info;
    uint64_t start = *at;
    int rc = blm_gguf_next_tensor(g, at, &info, err);
    if (rc < 0) return rc;
    if (!blm_string_is(info.name, name)) return found;
    if (found) return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "tensor", name, 1, 2, start);
    *place = start;
    return 1;
}

static int blm_gguf_find_in_layer(const blm_gguf *g, const char *name, uint32_t prefix_bytes,
                                  uint64_t *place, bluelm_error *err)
{
    /* What is remembered of a file is no part of what callers may not change. */
    blm_gguf_layer *layer = (blm_gguf_layer *)&g->layer;
    uint32_t i;
    int found = 0;
    if (layer->prefix_bytes != prefix_bytes ||
        !blm_same_bytes(layer->prefix, name, prefix_bytes)) {
        int rc = blm_gguf_read_layer(g, layer, name, prefix_bytes, err);
        if (rc < 0) return rc;
    }
    for (i = 0; i < layer->count && found >= 0; i++) {
        uint64_t at = g->tensors_at + layer->at[i];
        int before = found;
        found = blm_gguf_match_tensor(g, name, found, &at, place, err);
        if (found > before) layer->asked |= (uint64_t)1 << i;
    }
    return found;
}

BLM_COLD static int blm_gguf_find_tensor(const blm_gguf *g, const char *name, uint64_t *place,
                                         bluelm_error *err)
{
    uint64_t at = g->tensors_at, i;
    uint32_t prefix_bytes = blm_gguf_layer_prefix(name);
    int found = 0;
    if (prefix_bytes > 0) return blm_gguf_find_in_layer(g, name, prefix_bytes, place, err);
    for (i = 0; i < g->tensor_count && found >= 0; i++) {
        found = blm_gguf_match_tensor(g, name, found, &at, place, err);
    }
    return found;
}

/* The tensor whose entry is at `at`. */
BLM_COLD static int blm_gguf_view(const blm_gguf *g, uint64_t at, blm_tensor *out,
                                  bluelm_error *err)
{
    blm_gguf_info info;
    uint32_t block_values, block_bytes;
    uint64_t row_bytes, bytes;
    int rc = blm_gguf_next_tensor(g, &at, &info, err);
    if (rc < 0) return rc;
    if (!blm_type_block(info.type, &block_values, &block_bytes)) {
        return blm_gguf_fail_named(g, err, BLUELM_E_UNSUPPORTED, "type of", info.name, 0,
                                   info.type, info.offset_at - 4);
    }
    rc = blm_gguf_sizes(g, &info, &row_bytes, &bytes, err);
    if (rc < 0) return rc;
    out->data = blm_gguf_byte(g, g->data_at + info.offset);
    out->type = info.type;
    out->n_dims = (uint16_t)(info.ne[3] > 1 ? 4 : info.ne[2] > 1 ? 3 : info.ne[1] > 1 ? 2 : 1);
    out->rounded = 0;
    out->ne[0] = info.ne[0];
    out->ne[1] = info.ne[1] * info.ne[2] * info.ne[3];
    out->row_bytes = row_bytes;
    return 1;
}

BLM_PRIVATE int blm_gguf_unasked(const blm_gguf *g, blm_string *name)
{
    for (uint32_t i = 0; i < g->layer.count; i++) {
        uint64_t at = g->tensors_at + g->layer.at[i];
        blm_gguf_info info;
        if (g->layer.asked >> i & 1) continue;
        if (blm_gguf_next_tensor(g, &at, &info, NULL) < 0) return 0;
        *name = info.name;
        return 1;
    }
    return 0;
}

BLM_PRIVATE int blm_gguf_tensor(const blm_gguf *g, const char *name, blm_tensor *out,
                                bluelm_error *err)
{
    uint64_t at;
    int found = blm_gguf_find_tensor(g, name, &at, err);
    return found <= 0 ? found : blm_gguf_view(g, at, out, err);
}
