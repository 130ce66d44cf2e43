/* The writer of the tiny models: random numbers, buffers, values packed as tensor types, GGUF
 * files, and tensors of random values. */
#include "tiny_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tiny_must(int truth, const char *what)
{
    if (truth) return;
    fprintf(stderr, "tests: %s\n", what);
    abort();
}

void tiny_free(tiny_file *file)
{
    free(file->data);
    file->data = NULL;
    file->bytes = 0;
}

/* ---- Random numbers ------------------------------------------------------------- */

/* splitmix64 */
uint64_t tiny_next(tiny_random *r)
{
    uint64_t z = (r->state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

double tiny_uniform(tiny_random *r)
{
    return (double)(tiny_next(r) >> 11) * (1.0 / 9007199254740992.0);
}

/* The sum of twelve uniforms, so that no libm takes part. */
double tiny_normal(tiny_random *r)
{
    double sum = -6;
    int i;
    for (i = 0; i < 12; i++)
        sum += tiny_uniform(r);
    return sum;
}

uint64_t tiny_seed(uint64_t seed)
{
    const char *given = getenv("BLUELM_SEED");
    if (given != NULL) seed = strtoull(given, NULL, 10);
    printf("seed %llu\n", (unsigned long long)seed);
    return seed;
}

/* ---- Buffers --------------------------------------------------------------------- */

void tiny_put(tiny_buffer *b, const void *data, size_t bytes)
{
    if (bytes > b->room - b->bytes) {
        b->room = (b->room + bytes) * 2;
        b->data = realloc(b->data, b->room);
        tiny_must(b->data != NULL, "no memory");
    }
    if (bytes > 0) memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
}

void tiny_put_u8(tiny_buffer *b, uint32_t value)
{
    uint8_t byte = (uint8_t)value;
    tiny_put(b, &byte, 1);
}

static void put_u16(tiny_buffer *b, uint32_t value)
{
    tiny_put_u8(b, value & 0xFF);
    tiny_put_u8(b, value >> 8 & 0xFF);
}

void tiny_put_u32(tiny_buffer *b, uint32_t value)
{
    put_u16(b, value & 0xFFFF);
    put_u16(b, value >> 16);
}

void tiny_put_u64(tiny_buffer *b, uint64_t value)
{
    tiny_put_u32(b, (uint32_t)value);
    tiny_put_u32(b, (uint32_t)(value >> 32));
}

void tiny_put_f32(tiny_buffer *b, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    tiny_put_u32(b, bits);
}

void tiny_put_string(tiny_buffer *b, const char *text)
{
    tiny_put_u64(b, strlen(text));
    tiny_put(b, text, strlen(text));
}

static void pad(tiny_buffer *b, size_t alignment)
{
    while (b->bytes % alignment != 0)
        tiny_put_u8(b, 0);
}

/* ---- Packing values ---------------------------------------------------------------- */

/* To the nearest half, ties to even; what is too large becomes infinite. */
static uint16_t to_f16(double value)
{
    uint16_t sign = (uint16_t)(signbit(value) ? 0x8000 : 0);
    double size = fabs(value);
    int exponent, step;
    if (size >= 65520) return sign | 0x7C00;
    if (size == 0) return sign;
    frexp(size, &exponent); /* size = 0.1xx * 2^exponent */
    step = exponent < -13 ? -24 : exponent - 11;
    size = nearbyint(ldexp(size, -step));
    if (step == -24) return (uint16_t)(sign | (uint16_t)size);
    return (uint16_t)(sign | (uint16_t)(((step + 24) << 10) + (int)size));
}

static double from_f16(uint16_t half)
{
    int exponent = half >> 10 & 31;
    double value =
        exponent == 0 ? ldexp(half & 1023, -24) : ldexp((half & 1023) + 1024, exponent - 25);
    return half & 0x8000 ? -value : value;
}

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static int clamp_round(double value, int least, int most)
{
    value = nearbyint(value);
    return value < least ? least : value > most ? most : (int)value;
}

static double inverse(double value)
{
    return value != 0 ? 1 / value : 0;
}

/* The value of largest size, with its sign. */
static double extreme(const float *x, size_t count)
{
    size_t i, best = 0;
    for (i = 1; i < count; i++) {
        if (fabsf(x[i]) > fabsf(x[best])) best = i;
    }
    return (double)x[best];
}

static void pack_q4_0(tiny_buffer *b, const float *x)
{
    uint16_t half = to_f16(extreme(x, 32) / -8);
    double d = inverse(from_f16(half));
    int i;
    put_u16(b, half);
    for (i = 0; i < 16; i++) {
        int low = clamp_round((double)x[i] * d + 8, 0, 15);
        int high = clamp_round((double)x[i + 16] * d + 8, 0, 15);
        tiny_put_u8(b, (uint32_t)(low | high << 4));
    }
}

static void pack_q8_0(tiny_buffer *b, const float *x)
{
    uint16_t half = to_f16(fabs(extreme(x, 32)) / 127);
    double d = inverse(from_f16(half));
    int i;
    put_u16(b, half);
    for (i = 0; i < 32; i++) {
        tiny_put_u8(b, (uint32_t)clamp_round((double)x[i] * d, -127, 127) & 0xFF);
    }
}

/* Scale and offset of each of the 8 sub-blocks of 32: x = d sc q - dmin m. */
static void fit_q4_k(const float *x, uint16_t *d, uint16_t *dmin, int sc[8], int m[8])
{
    double scale[8], offset[8], most_scale = 0, most_offset = 0;
    int i, j;
    for (j = 0; j < 8; j++) {
        double low = 0, high = 0;
        for (i = 0; i < 32; i++) {
            low = fmin(low, (double)x[32 * j + i]);
            high = fmax(high, (double)x[32 * j + i]);
        }
        scale[j] = (high - low) / 15;
        offset[j] = -low;
        most_scale = fmax(most_scale, scale[j]);
        most_offset = fmax(most_offset, offset[j]);
    }
    *d = to_f16(most_scale / 63);
    *dmin = to_f16(most_offset / 63);
    for (j = 0; j < 8; j++) {
        sc[j] = clamp_round(scale[j] * inverse(from_f16(*d)), 0, 63);
        m[j] = clamp_round(offset[j] * inverse(from_f16(*dmin)), 0, 63);
    }
}

static void pack_q4_k(tiny_buffer *b, const float *x)
{
    uint16_t d, dmin;
    uint8_t q[256];
    int sc[8], m[8], i, j;
    fit_q4_k(x, &d, &dmin, sc, m);
    for (i = 0; i < 256; i++) {
        double up = (double)x[i] + from_f16(dmin) * m[i / 32];
        q[i] = (uint8_t)clamp_round(up * inverse(from_f16(d) * sc[i / 32]), 0, 15);
    }
    put_u16(b, d);
    put_u16(b, dmin);
    /* 6 bits each: four scales and four offsets with the high bits of the other four */
    for (j = 0; j < 4; j++)
        tiny_put_u8(b, (uint32_t)(sc[j] | sc[j + 4] >> 4 << 6));
    for (j = 0; j < 4; j++)
        tiny_put_u8(b, (uint32_t)(m[j] | m[j + 4] >> 4 << 6));
    for (j = 4; j < 8; j++)
        tiny_put_u8(b, (uint32_t)((sc[j] & 15) | (m[j] & 15) << 4));
    for (j = 0; j < 256; j += 64) {
        for (i = 0; i < 32; i++)
            tiny_put_u8(b, q[j + i] | (uint32_t)q[j + 32 + i] << 4);
    }
}

static void pack_q6_k(tiny_buffer *b, const float *x)
{
    uint16_t half;
    uint8_t q[256];
    double scale[16], most = 0;
    int sc[16], i, j;
    for (j = 0; j < 16; j++) {
        scale[j] = extreme(x + 16 * j, 16) / -32;
        if (fabs(scale[j]) > fabs(most)) most = scale[j];
    }
    half = to_f16(most / -128);
    for (j = 0; j < 16; j++)
        sc[j] = clamp_round(scale[j] * inverse(from_f16(half)), -128, 127);
    for (i = 0; i < 256; i++) {
        double d = inverse(from_f16(half) * sc[i / 16]);
        q[i] = (uint8_t)clamp_round((double)x[i] * d + 32, 0, 63);
    }
    for (j = 0; j < 256; j += 128) {
        for (i = 0; i < 64; i++)
            tiny_put_u8(b, (q[j + i] & 15u) | (q[j + 64 + i] & 15u) << 4);
    }
    for (j = 0; j < 256; j += 128) {
        for (i = 0; i < 32; i++) {
            tiny_put_u8(b, (uint32_t)(q[j + i] >> 4 | q[j + 32 + i] >> 4 << 2 |
                                      q[j + 64 + i] >> 4 << 4 | q[j + 96 + i] >> 4 << 6));
        }
    }
    for (j = 0; j < 16; j++)
        tiny_put_u8(b, (uint32_t)sc[j] & 0xFF);
    put_u16(b, half);
}

static size_t block_values(uint32_t type)
{
    switch (type) {
    case TINY_Q4_0:
    case TINY_Q8_0:
        return 32;
    case TINY_Q4_K:
    case TINY_Q6_K:
        return 256;
    default:
        return 1;
    }
}

static void pack(tiny_buffer *b, uint32_t type, const float *x)
{
    switch (type) {
    case TINY_F32:
        tiny_put_f32(b, *x);
        break;
    case TINY_F16:
        put_u16(b, to_f16((double)*x));
        break;
    case TINY_BF16:
        put_u16(b, to_bf16(*x));
        break;
    case TINY_Q4_0:
        pack_q4_0(b, x);
        break;
    case TINY_Q8_0:
        pack_q8_0(b, x);
        break;
    case TINY_Q4_K:
        pack_q4_k(b, x);
        break;
    case TINY_Q6_K:
        pack_q6_k(b, x);
        break;
    default:
        abort();
    }
}

/* ---- The writer ----------------------------------------------------------------------- */

void tiny_start(tiny_writer *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->version = 3;
    w->alignment = 32;
    w->random.state = seed;
}

void tiny_key(tiny_writer *w, const char *key, uint32_t type)
{
    tiny_put_string(&w->keys, key);
    tiny_put_u32(&w->keys, type);
    w->key_count++;
}

void tiny_key_u32(tiny_writer *w, const char *key, uint32_t value)
{
    tiny_key(w, key, TINY_KEY_U32);
    tiny_put_u32(&w->keys, value);
}

void tiny_key_f32(tiny_writer *w, const char *key, float value)
{
    tiny_key(w, key, TINY_KEY_F32);
    tiny_put_f32(&w->keys, value);
}

void tiny_key_bool(tiny_writer *w, const char *key, int value)
{
    tiny_key(w, key, TINY_KEY_BOOL);
    tiny_put_u8(&w->keys, value != 0);
}

void tiny_key_string(tiny_writer *w, const char *key, const char *value)
{
    tiny_key(w, key, TINY_KEY_STRING);
    tiny_put_string(&w->keys, value);
}

void tiny_key_array(tiny_writer *w, const char *key, uint32_t element_type, uint64_t count)
{
    tiny_key(w, key, TINY_KEY_ARRAY);
    tiny_put_u32(&w->keys, element_type);
    tiny_put_u64(&w->keys, count);
}

void tiny_tensor(tiny_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                 const uint64_t *ne, const float *values)
{
    size_t count = 1, i;
    if (ne[0] % block_values(type) != 0) type = TINY_F16;
    pad(&w->data, w->alignment);
    tiny_put_string(&w->tensors, name);
    tiny_put_u32(&w->tensors, n_dims);
    for (i = 0; i < n_dims; i++) {
        tiny_put_u64(&w->tensors, ne[i]);
        count *= (size_t)ne[i];
    }
    tiny_put_u32(&w->tensors, type);
    tiny_put_u64(&w->tensors, w->data.bytes);
    w->tensor_count++;
    for (i = 0; i < count; i += block_values(type))
        pack(&w->data, type, values + i);
}

tiny_file tiny_finish(tiny_writer *w)
{
    tiny_buffer all = {NULL, 0, 0};
    tiny_file file;
    tiny_put(&all, "GGUF", 4);
    tiny_put_u32(&all, w->version);
    tiny_put_u64(&all, w->tensor_count);
    tiny_put_u64(&all, w->key_count);
    tiny_put(&all, w->keys.data, w->keys.bytes);
    tiny_put(&all, w->tensors.data, w->tensors.bytes);
    if (w->tensor_count > 0) pad(&all, w->alignment);
    tiny_put(&all, w->data.data, w->data.bytes);
    file.bytes = all.bytes;
    file.data = malloc(all.bytes);
    tiny_must(file.data != NULL, "no memory");
    memcpy(file.data, all.data, all.bytes);
    free(all.data);
    free(w->keys.data);
    free(w->tensors.data);
    free(w->data.data);
    memset(w, 0, sizeof *w);
    return file;
}

/* ---- Random tensors --------------------------------------------------------------------- */

void random_tensor(tiny_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                   const uint64_t *ne, double mean, double deviation)
{
    size_t count = 1, i;
    float *values;
    for (i = 0; i < n_dims; i++)
        count *= (size_t)ne[i];
    values = malloc(count * sizeof *values);
    tiny_must(values != NULL, "no memory");
    for (i = 0; i < count; i++)
        values[i] = (float)(mean + deviation * tiny_normal(&w->random));
    tiny_tensor(w, name, type, n_dims, ne, values);
    free(values);
}

void matrix(tiny_writer *w, const char *name, uint32_t type, uint32_t in, uint32_t out,
            double gain)
{
    uint64_t ne[2];
    ne[0] = in, ne[1] = out;
    random_tensor(w, name, type, 2, ne, 0, gain / sqrt(in));
}

void vector(tiny_writer *w, const char *name, uint32_t count, double mean)
{
    uint64_t ne[1];
    ne[0] = count;
    random_tensor(w, name, TINY_F32, 1, ne, mean, 0.1);
}

const char *block_name(char name[64], const char *prefix, uint32_t block, const char *rest)
{
    snprintf(name, 64, "%s.%u.%s", prefix, (unsigned)block, rest);
    return name;
}
