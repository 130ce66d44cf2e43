#include "gguf.h"

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* ---- Keys ------------------------------------------------------------------------------ */

static void bench_put(bench_writer *w, const void *data, size_t bytes)
{
    if (fwrite(data, 1, bytes, w->file) != bytes) w->failed = 1;
}

void bench_put_u32(bench_writer *w, uint32_t v)
{
    bench_put(w, &v, sizeof v);
}

void bench_put_f32(bench_writer *w, float v)
{
    bench_put(w, &v, sizeof v);
}

void bench_put_bool(bench_writer *w, int v)
{
    uint8_t byte = v != 0;
    bench_put(w, &byte, sizeof byte);
}

static void bench_put_u64(bench_writer *w, uint64_t v)
{
    bench_put(w, &v, sizeof v);
}

void bench_put_string(bench_writer *w, const char *text)
{
    bench_put_u64(w, strlen(text));
    bench_put(w, text, strlen(text));
}

static void bench_key(bench_writer *w, const char *key, uint32_t type)
{
    bench_put_string(w, key);
    bench_put_u32(w, type);
    w->keys++;
}

void bench_key_u32(bench_writer *w, const char *key, uint32_t value)
{
    bench_key(w, key, BENCH_U32S);
    bench_put_u32(w, value);
}

void bench_key_f32(bench_writer *w, const char *key, float value)
{
    bench_key(w, key, BENCH_F32S);
    bench_put_f32(w, value);
}

void bench_key_bool(bench_writer *w, const char *key, int value)
{
    bench_key(w, key, BENCH_BOOLS);
    bench_put_bool(w, value);
}

void bench_key_string(bench_writer *w, const char *key, const char *value)
{
    bench_key(w, key, BENCH_STRINGS);
    bench_put_string(w, value);
}

void bench_key_array(bench_writer *w, const char *key, uint32_t type, uint64_t count)
{
    bench_key(w, key, 9);
    bench_put_u32(w, type);
    bench_put_u64(w, count);
}

/* ---- Weights ---------------------------------------------------------------------------- */

/* What random bytes become weights by: their scales, each so many deviations of what it
 * multiplies (nibbles deviate by 4.6, int8 by 74), and where they stand in a block. */
static const struct {
    uint32_t type;
    bench_block block;
    struct {
        int32_t at; /* -1: none */
        float part;
    } scale[2];
} bench_types[] = {
    {BENCH_F32, {1, 4}, {{-1, 0}, {-1, 0}}},
    {BENCH_F16, {1, 2}, {{-1, 0}, {-1, 0}}},
    {BENCH_Q4_0, {32, 18}, {{0, 1 / 4.6f}, {-1, 0}}},
    {BENCH_Q5_0, {32, 22}, {{0, 1 / 9.2f}, {-1, 0}}},
    {BENCH_Q5_1, {32, 24}, {{0, 1 / 9.2f}, {2, -15.5f / 9.2f}}},
    {BENCH_Q8_0, {32, 34}, {{0, 1 / 74.0f}, {-1, 0}}},
    {BENCH_Q4_K,
     {256, 144},
     {{0, 1 / 170.0f}, {2, 7.5f / 170.0f}}}, /* the mins make up for the mean */
    {BENCH_Q5_K, {256, 176}, {{0, 1 / 340.0f}, {2, 15.5f / 340.0f}}},
    {BENCH_Q6_K, {256, 210}, {{208, 1 / 1370.0f}, {-1, 0}}},
};

static uint32_t bench_type_row(uint32_t type)
{
    uint32_t row = 0;
    while (bench_types[row].type != type)
        row++;
    return row;
}

bench_block bench_block_of(uint32_t type)
{
    return bench_types[bench_type_row(type)].block;
}

uint64_t bench_tensor_bytes(const bench_tensor *t)
{
    bench_block block = bench_block_of(t->type);
    return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3] / block.values * block.bytes;
}

bench_tensor *bench_add(bench_writer *w, const char *name, uint32_t type, float value,
                        uint64_t ne0, uint64_t ne1)
{
    if (w->tensor_count == w->tensor_room) {
        w->tensor_room = 2 * w->tensor_room + 64;
        w->tensors = realloc(w->tensors, w->tensor_room * sizeof *w->tensors);
        if (!w->tensors) abort();
    }
    bench_tensor *t = &w->tensors[w->tensor_count++];
    *t = (bench_tensor){
        .ne = {ne0, ne1, 1, 1}, .n_dims = ne1 == 1 ? 1 : 2, .type = type, .value = value};
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

static uint64_t bench_random(bench_writer *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

/* f16 of a number below 2^15 in size, cut off. */
static uint16_t bench_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if ((bits & 0x7FFFFFFF) < 0x38800000) /* below 2^-14: a multiple of 2^-24 */
        return (uint16_t)(sign | (uint16_t)((value < 0 ? -value : value) * 16777216.0f));
    return (uint16_t)(sign | (((bits >> 23 & 0xFF) - 112) << 10) | ((bits >> 13) & 0x3FF));
}

static void bench_scale_blocks(const bench_tensor *t, uint8_t *data, uint64_t bytes)
{
    uint32_t row = bench_type_row(t->type), step = bench_types[row].block.bytes;
    for (uint64_t at = 0; at < bytes; at += step)
        for (int s = 0; s < 2; s++) {
            if (bench_types[row].scale[s].at < 0) continue;
            uint16_t scale = bench_f16(t->value * bench_types[row].scale[s].part);
            memcpy(data + at + bench_types[row].scale[s].at, &scale, sizeof scale);
        }
}

/* A sign and 10 bits of one octave around the deviation. */
static void bench_scale_halves(const bench_tensor *t, uint8_t *data, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += 2) {
        uint16_t half;
        memcpy(&half, data + at, sizeof half);
        half = (uint16_t)((half & 0x83FF) | (bench_f16(t->value) & 0x7C00));
        memcpy(data + at, &half, sizeof half);
    }
}

static void bench_fill(bench_writer *w, const bench_tensor *t, uint64_t *part, uint64_t bytes)
{
    if (t->type == BENCH_F32) {
        for (uint64_t i = 0; i < bytes / sizeof(float); i++)
            ((float *)(void *)part)[i] = t->value;
        return;
    }
    for (uint64_t i = 0; i < (bytes + 7) / 8; i++)
        part[i] = bench_random(w);
    (t->type == BENCH_F16 ? bench_scale_halves : bench_scale_blocks)(t, (uint8_t *)part, bytes);
}

static void bench_align(bench_writer *w)
{
    while (ftello(w->file) % 32 && fputc(0, w->file) != EOF)
        ;
}

static void bench_write_tensor(bench_writer *w, const bench_tensor *t)
{
    static uint64_t part[9 * 1024];
    uint64_t left = bench_tensor_bytes(t);
    uint64_t room = sizeof part - sizeof part % bench_block_of(t->type).bytes;
    while (left && !w->failed) {
        uint64_t bytes = left < room ? left : room;
        bench_fill(w, t, part, bytes);
        bench_put(w, part, (size_t)bytes);
        left -= bytes;
    }
    bench_align(w);
}

/* ---- The file ----------------------------------------------------------------------------- */

int bench_start(bench_writer *w, const char *path, int hollow)
{
    memset(w, 0, sizeof *w);
    w->random = 0x9E3779B97F4A7C15u;
    w->hollow = hollow;
    snprintf(w->path, sizeof w->path, "%s", path);
    snprintf(w->part, sizeof w->part, "%s.part", w->path);
    w->file = fopen(w->part, "wb");
    if (!w->file) return -1;
    bench_put(w, "GGUF", 4);
    bench_put_u32(w, 3);
    w->keys_at = (uint64_t)ftello(w->file);
    bench_put_u64(w, 0);
    bench_put_u64(w, 0);
    return 0;
}

static uint64_t bench_write_table(bench_writer *w)
{
    uint64_t offset = 0;
    for (uint32_t i = 0; i < w->tensor_count; i++) {
        const bench_tensor *t = &w->tensors[i];
        bench_put_string(w, t->name);
        bench_put_u32(w, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims; d++)
            bench_put_u64(w, t->ne[d]);
        bench_put_u32(w, t->type);
        bench_put_u64(w, offset);
        offset += (bench_tensor_bytes(t) + 31) / 32 * 32;
    }
    bench_align(w);
    return offset;
}

int bench_finish(bench_writer *w)
{
    uint64_t data_bytes = bench_write_table(w);
    if (w->hollow) {
        fflush(w->file);
        w->failed |= ftruncate(fileno(w->file), ftello(w->file) + (off_t)data_bytes) != 0;
    } else {
        for (uint32_t i = 0; i < w->tensor_count && !w->failed; i++)
            bench_write_tensor(w, &w->tensors[i]);
    }
    fseeko(w->file, (off_t)w->keys_at, SEEK_SET);
    bench_put_u64(w, w->tensor_count);
    bench_put_u64(w, w->keys);
    free(w->tensors);
    if (fclose(w->file)) w->failed = 1;
    return w->failed ? -1 : rename(w->part, w->path);
}
