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

/* Value i of 32 in nibbles: those of 16 to 31 are the high ones. */
static int nibble(const uint8_t *p, size_t i)
{
    return p[i % 16] >> (i / 16 * 4) & 15;
}

static int bit(const uint8_t *p, size_t i)
{
    return p[i / 8] >> (i % 8) & 1;
}

static const int8_t iq4_values[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};

/* Scale and offset of 6 bits of sub-block j of 8. */
static void six_bits(const uint8_t *s, size_t j, int *scale, int *offset)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *offset = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        *offset = s[j + 4] >> 4 | s[j] >> 6 << 4;
    }
}

/* Value i of a block of 256: sub-block j = i / 32 has a scale and an offset of 6 bits. */
static double q4_k(const uint8_t *block, size_t i)
{
    const uint8_t *q = block + 16;
    size_t j = i / 32, pair = i / 64;
    int scale, offset, low = q[pair * 32 + i % 32] >> (j % 2 * 4) & 15;
    six_bits(block + 4, j, &scale, &offset);
    return half(block) * scale * low - half(block + 2) * offset;
}

/* The same with 32 bytes of fifth bits before the nibbles: one byte for each i % 32. */
static double q5_k(const uint8_t *block, size_t i)
{
    size_t j = i / 32, pair = i / 64;
    int scale, offset, q = block[48 + pair * 32 + i % 32] >> (j % 2 * 4) & 15;
    q += (block[16 + i % 32] >> j & 1) * 16;
    six_bits(block + 4, j, &scale, &offset);
    return half(block) * scale * q - half(block + 2) * offset;
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

/* Value i of 256 in pairs of bits. */
static int two_bits(const uint8_t *p, size_t i)
{
    return p[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

static double q2_k(const uint8_t *block, size_t i)
{
    int scales = block[i / 16];
    return half(block + 80) * (scales & 15) * two_bits(block + 16, i) -
           half(block + 82) * (scales >> 4);
}

/* Scales of 6 bits: nibbles in bytes 0 to 7, pairs in bytes 8 to 11. */
static double q3_k(const uint8_t *block, size_t i)
{
    const uint8_t *s = block + 96;
    size_t j = i / 16;
    int scale = (s[j % 8] >> (j / 8 * 4) & 15) | (s[8 + j % 4] >> (j / 4 * 2) & 3) << 4;
    int q = two_bits(block + 32, i) - (block[i % 32] >> (i / 32) & 1 ? 0 : 4);
    return half(block + 108) * (scale - 32) * q;
}

static double iq4_xs(const uint8_t *block, size_t i)
{
    size_t j = i / 32;
    int high = (block[2] | block[3] << 8) >> (2 * j) & 3;
    int scale = (block[4 + j / 2] >> (j % 2 * 4) & 15) | high << 4;
    return half(block) * (scale - 32) * iq4_values[nibble(block + 8 + j * 16, i % 32)];
}

static double mxfp4(const uint8_t *block, size_t i)
{
    static const double sizes4[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    int q = nibble(block + 1, i);
    return ldexp(q & 8 ? -sizes4[q & 7] : sizes4[q], block[0] - 127);
}

/* Value i of the block at b. */
static double block_value(const uint8_t *b, uint32_t type, size_t i)
{
    switch (type) {
    case 0:
        return single((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
                      (uint32_t)b[3] << 24);
    case 1:
        return half(b);
    case 2:
        return half(b) * (nibble(b + 2, i) - 8);
    case 3:
        return half(b) * nibble(b + 4, i) + half(b + 2);
    case 6:
        return half(b) * (nibble(b + 6, i) + 16 * bit(b + 2, i) - 16);
    case 7:
        return half(b) * (nibble(b + 8, i) + 16 * bit(b + 4, i)) + half(b + 2);
    case 8:
        return half(b) * (int8_t)b[2 + i];
    case 10:
        return q2_k(b, i);
    case 11:
        return q3_k(b, i);
    case 12:
        return q4_k(b, i);
    case 13:
        return q5_k(b, i);
    case 14:
        return q6_k(b, i);
    case 20:
        return half(b) * iq4_values[nibble(b + 2, i)];
    case 23:
        return iq4_xs(b, i);
    case 30:
        return single((uint32_t)b[0] << 16 | (uint32_t)b[1] << 24);
    case 39:
        return mxfp4(b, i);
    default:
        abort();
    }
}

/* Values and bytes of a block. */
static size_t block_of(uint32_t type, size_t *bytes)
{
    static const struct {
        uint32_t type;
        size_t values, bytes;
    } blocks[] = {{0, 1, 4},      {1, 1, 2},      {30, 1, 2},     {2, 32, 18},
                  {3, 32, 20},    {6, 32, 22},    {7, 32, 24},    {8, 32, 34},
                  {10, 256, 84},  {11, 256, 110}, {12, 256, 144}, {13, 256, 176},
                  {14, 256, 210}, {20, 32, 18},   {23, 256, 136}, {39, 32, 17}};
    size_t i;
    for (i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        if (blocks[i].type != type) continue;
        *bytes = blocks[i].bytes;
        return blocks[i].values;
    }
    abort();
}

static double value_at(const uint8_t *data, uint32_t type, size_t i)
{
    size_t bytes, values = block_of(type, &bytes);
    return block_value(data + i / values * bytes, type, i % values);
}

/* Bytes of `count` values, so that a short file is noticed here. */
static size_t packed_bytes(uint32_t type, size_t count)
{
    size_t bytes, values = block_of(type, &bytes);
    return count / values * bytes;
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
