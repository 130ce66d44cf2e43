/* Reads keys and tensors of a trusted GGUF file as doubles, formula by formula. Shares no code with
 * the library, so that a mistake in one is not a mistake in both. */
#include "tiny_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const uint8_t *data;
    size_t bytes, at;
} reader;

static uint64_t number(reader *r, size_t bytes)
{
    uint64_t value = 0;
    size_t i;
    if (bytes > r->bytes - r->at) abort();
    for (i = 0; i < bytes; i++)
        value |= (uint64_t)r->data[r->at + i] << (8 * i);
    r->at += bytes;
    return value;
}

static void skip(reader *r, uint64_t bytes)
{
    if (bytes > r->bytes - r->at) abort();
    r->at += (size_t)bytes;
}

static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static void skip_value(reader *r, uint32_t type)
{
    if (type == 8) {
        skip(r, number(r, 8));
    } else {
        skip(r, sizes[type]);
    }
}

static void skip_keys(reader *r, uint64_t count)
{
    while (count-- > 0) {
        uint32_t type;
        skip(r, number(r, 8));
        type = (uint32_t)number(r, 4);
        if (type == 9) {
            uint32_t element = (uint32_t)number(r, 4);
            uint64_t elements = number(r, 8);
            while (elements-- > 0)
                skip_value(r, element);
        } else {
            skip_value(r, type);
        }
    }
}

/* Moves to the value of a key. Returns its type, or -1 when there is no such key. */
static int find_key(reader *r, const char *key)
{
    uint64_t count;
    r->at = 16;
    count = number(r, 8);
    while (count-- > 0) {
        uint64_t length = number(r, 8);
        const uint8_t *text = r->data + r->at;
        skip(r, length);
        if (length == strlen(key) && memcmp(text, key, strlen(key)) == 0)
            return (int)number(r, 4);
        r->at -= (size_t)length + 8;
        skip_keys(r, 1);
    }
    return -1;
}

/* Finite ones only: no sound file holds others. */
static double half(const uint8_t *p)
{
    int bits = p[0] | p[1] << 8, exponent = bits >> 10 & 31;
    double value =
        exponent == 0 ? ldexp(bits & 1023, -24) : ldexp((bits & 1023) + 1024, exponent - 25);
    return bits >> 15 ? -value : value;
}

static double single(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return (double)value;
}

/* Value i of a block of 256: sub-block j = i / 32 has a scale and an offset of 6 bits. */
static double q4_k(const uint8_t *block, size_t i)
{
    const uint8_t *s = block + 4, *q = block + 16;
    size_t j = i / 32, pair = i / 64;
    int scale, offset, nibble = q[pair * 32 + i % 32] >> (j % 2 * 4) & 15;
    if (j < 4) {
        scale = s[j] & 63;
        offset = s[j + 4] & 63;
    } else {
        scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        offset = s[j + 4] >> 4 | s[j] >> 6 << 4;
    }
    return half(block) * scale * nibble - half(block + 2) * offset;
}

/* Value i of a block of 256: 4 low bits, 2 high bits, a scale for 16 values. */
static double q6_k(const uint8_t *block, size_t i)
{
    size_t part = i / 128, in = i % 128, quarter = in / 32, l = in % 32;
    int low = block[part * 64 + in % 64] >> (in / 64 * 4) & 15;
    int high = block[128 + part * 32 + l] >> (2 * quarter) & 3;
    int scale = (int8_t)block[192 + i / 16];
    return half(block + 208) * scale * ((low | high << 4) - 32);
}

static double value_at(const uint8_t *data, uint32_t type, size_t i)
{
    const uint8_t *b;
    switch (type) {
    case 0:
        return single((uint32_t)data[4 * i] | (uint32_t)data[4 * i + 1] << 8 |
                      (uint32_t)data[4 * i + 2] << 16 | (uint32_t)data[4 * i + 3] << 24);
    case 1:
        return half(data + 2 * i);
    case 30:
        return single((uint32_t)data[2 * i] << 16 | (uint32_t)data[2 * i + 1] << 24);
    case 2:
        b = data + i / 32 * 18;
        return half(b) * ((b[2 + i % 16] >> (i % 32 / 16 * 4) & 15) - 8);
    case 8:
        b = data + i / 32 * 34;
        return half(b) * (int8_t)b[2 + i % 32];
    case 12:
        return q4_k(data + i / 256 * 144, i % 256);
    case 14:
        return q6_k(data + i / 256 * 210, i % 256);
    default:
        abort();
    }
}

/* Bytes of `count` values, so that a short file is noticed here. */
static size_t packed_bytes(uint32_t type, size_t count)
{
    switch (type) {
    case 0:
        return count * 4;
    case 1:
    case 30:
        return count * 2;
    case 2:
        return count / 32 * 18;
    case 8:
        return count / 32 * 34;
    case 12:
        return count / 256 * 144;
    case 14:
        return count / 256 * 210;
    default:
        abort();
    }
}

/* Reads an entry of the tensor table: whether it has the name. */
static int entry(reader *r, const char *name, uint64_t ne[4], uint32_t *type, uint64_t *offset)
{
    uint64_t length = number(r, 8);
    const uint8_t *text = r->data + r->at;
    uint32_t n_dims, i;
    skip(r, length);
    n_dims = (uint32_t)number(r, 4);
    for (i = 0; i < 4; i++)
        ne[i] = i < n_dims ? number(r, 8) : 1;
    *type = (uint32_t)number(r, 4);
    *offset = number(r, 8);
    return length == strlen(name) && memcmp(text, name, strlen(name)) == 0;
}

double *test_tensor_to_double(const void *file, size_t bytes, const char *name, uint64_t ne[4])
{
    reader r = {NULL, 0, 8};
    uint64_t tensors, keys, i, offset, found_offset = 0, dims[4], found_dims[4] = {0, 0, 0, 0};
    uint32_t type, found_type = 0;
    size_t count, at;
    double *values;
    r.data = file;
    r.bytes = bytes;
    tensors = number(&r, 8);
    keys = number(&r, 8);
    skip_keys(&r, keys);
    for (i = 0; i < tensors; i++) {
        if (!entry(&r, name, dims, &type, &offset)) continue;
        memcpy(found_dims, dims, sizeof dims);
        found_type = type;
        found_offset = offset;
    }
    if (found_dims[0] == 0) return NULL;
    at = (r.at + 31) / 32 * 32 + (size_t)found_offset; /* alignment 32 alone */
    count = (size_t)(found_dims[0] * found_dims[1] * found_dims[2] * found_dims[3]);
    if (at > bytes || packed_bytes(found_type, count) > bytes - at) abort();
    values = malloc(count * sizeof *values);
    if (values == NULL) abort();
    for (i = 0; i < count; i++)
        values[i] = value_at(r.data + at, found_type, (size_t)i);
    if (ne != NULL) memcpy(ne, found_dims, sizeof found_dims);
    return values;
}

/* One number of a key; whole ones are two's complement. */
static double scalar(reader *r, uint32_t type)
{
    uint64_t bits = number(r, sizes[type]), sign = (uint64_t)1 << (8 * sizes[type] - 1);
    double value;
    switch (type) {
    case 6:
        return single((uint32_t)bits);
    case 12:
        memcpy(&value, &bits, 8);
        return value;
    case 1:
    case 3:
    case 5:
    case 11:
        return (double)(bits & (sign - 1)) - (bits & sign ? (double)sign : 0);
    default:
        return (double)bits;
    }
}

int test_key_to_double(const void *file, size_t bytes, const char *key, size_t index,
                       double *value)
{
    reader r = {NULL, 0, 0};
    int type;
    r.data = file;
    r.bytes = bytes;
    type = find_key(&r, key);
    if (type == 9) {
        type = (int)number(&r, 4);
        if (index >= number(&r, 8)) return 0;
        while (index-- > 0)
            skip_value(&r, (uint32_t)type);
    }
    if (type < 0 || type == 8) return 0;
    *value = scalar(&r, (uint32_t)type);
    return 1;
}

int test_key_is(const void *file, size_t bytes, const char *key, const char *text)
{
    reader r = {NULL, 0, 0};
    r.data = file;
    r.bytes = bytes;
    return find_key(&r, key) == 8 && number(&r, 8) == strlen(text) &&
           memcmp(r.data + r.at, text, strlen(text)) == 0;
}
