#include "tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_U32 = 4, KEY_I32 = 5, KEY_F32 = 6, KEY_BOOL = 7, KEY_STRING = 8, KEY_ARRAY = 9 };
enum { PIECE_NORMAL = 1, PIECE_UNKNOWN = 2, PIECE_CONTROL = 3, PIECE_BYTE = 6 };

static void must(int condition)
{
    if (!condition) abort();
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

/* ---- Buffers --------------------------------------------------------------------- */

void tiny_put(tiny_buffer *b, const void *data, size_t bytes)
{
    if (bytes > b->room - b->bytes) {
        b->room = (b->room + bytes) * 2;
        b->data = realloc(b->data, b->room);
        must(b->data != NULL);
    }
    if (bytes > 0) memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
}

static void put_u8(tiny_buffer *b, uint32_t value)
{
    uint8_t byte = (uint8_t)value;
    tiny_put(b, &byte, 1);
}

static void put_u16(tiny_buffer *b, uint32_t value)
{
    put_u8(b, value & 0xFF);
    put_u8(b, value >> 8 & 0xFF);
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
        put_u8(b, 0);
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
        put_u8(b, (uint32_t)(low | high << 4));
    }
}

static void pack_q8_0(tiny_buffer *b, const float *x)
{
    uint16_t half = to_f16(fabs(extreme(x, 32)) / 127);
    double d = inverse(from_f16(half));
    int i;
    put_u16(b, half);
    for (i = 0; i < 32; i++) {
        put_u8(b, (uint32_t)clamp_round((double)x[i] * d, -127, 127) & 0xFF);
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
        put_u8(b, (uint32_t)(sc[j] | sc[j + 4] >> 4 << 6));
    for (j = 0; j < 4; j++)
        put_u8(b, (uint32_t)(m[j] | m[j + 4] >> 4 << 6));
    for (j = 4; j < 8; j++)
        put_u8(b, (uint32_t)((sc[j] & 15) | (m[j] & 15) << 4));
    for (j = 0; j < 256; j += 64) {
        for (i = 0; i < 32; i++)
            put_u8(b, q[j + i] | (uint32_t)q[j + 32 + i] << 4);
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
            put_u8(b, (q[j + i] & 15u) | (q[j + 64 + i] & 15u) << 4);
    }
    for (j = 0; j < 256; j += 128) {
        for (i = 0; i < 32; i++) {
            put_u8(b, (uint32_t)(q[j + i] >> 4 | q[j + 32 + i] >> 4 << 2 |
                                 q[j + 64 + i] >> 4 << 4 | q[j + 96 + i] >> 4 << 6));
        }
    }
    for (j = 0; j < 16; j++)
        put_u8(b, (uint32_t)sc[j] & 0xFF);
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
    tiny_key(w, key, KEY_U32);
    tiny_put_u32(&w->keys, value);
}

void tiny_key_f32(tiny_writer *w, const char *key, float value)
{
    tiny_key(w, key, KEY_F32);
    tiny_put_f32(&w->keys, value);
}

void tiny_key_bool(tiny_writer *w, const char *key, int value)
{
    tiny_key(w, key, KEY_BOOL);
    put_u8(&w->keys, value != 0);
}

void tiny_key_string(tiny_writer *w, const char *key, const char *value)
{
    tiny_key(w, key, KEY_STRING);
    tiny_put_string(&w->keys, value);
}

void tiny_key_array(tiny_writer *w, const char *key, uint32_t element_type, uint64_t count)
{
    tiny_key(w, key, KEY_ARRAY);
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
    must(file.data != NULL);
    memcpy(file.data, all.data, all.bytes);
    free(all.data);
    free(w->keys.data);
    free(w->tensors.data);
    free(w->data.data);
    memset(w, 0, sizeof *w);
    return file;
}

/* ---- Random tensors --------------------------------------------------------------------- */

/* mean + deviation * normal */
static void random_tensor(tiny_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                          const uint64_t *ne, double mean, double deviation)
{
    size_t count = 1, i;
    float *values;
    for (i = 0; i < n_dims; i++)
        count *= (size_t)ne[i];
    values = malloc(count * sizeof *values);
    must(values != NULL);
    for (i = 0; i < count; i++)
        values[i] = (float)(mean + deviation * tiny_normal(&w->random));
    tiny_tensor(w, name, type, n_dims, ne, values);
    free(values);
}

/* A matrix [in, out] that keeps the size of what goes through it, times gain. */
static void matrix(tiny_writer *w, const char *name, uint32_t type, uint32_t in, uint32_t out,
                   double gain)
{
    uint64_t ne[2];
    ne[0] = in, ne[1] = out;
    random_tensor(w, name, type, 2, ne, 0, gain / sqrt(in));
}

static void vector(tiny_writer *w, const char *name, uint32_t count, double mean)
{
    uint64_t ne[1];
    ne[0] = count;
    random_tensor(w, name, TINY_F32, 1, ne, mean, 0.1);
}

static const char *block_name(char name[64], const char *prefix, uint32_t block,
                              const char *rest)
{
    snprintf(name, 64, "%s.%u.%s", prefix, (unsigned)block, rest);
    return name;
}

/* ---- Vocabularies ---------------------------------------------------------------------- */

/* Pieces of two characters and more, best first; each can be reached by merges. U+2581 is
 * SentencePiece's space. */
#define SP "\xE2\x96\x81"
static const char *const merged_pieces[] = {
    SP "t", "he",        SP "the", "in",    SP "a",   "er",    SP "w",  "ha",
    "hat",  SP "what",   "is",     SP "is", "th",     "this",  SP "th", SP "this",
    "an",   "on",        "re",     "at",    SP "i",   SP "in", "ou",    "you",
    SP "c", SP "s",      "ee",     "see",   SP "see", "ca",    "cat",   SP "cat",
    SP SP,  SP SP SP SP, "ma",     "im",    "age",    "ag",    "image", SP "image"};
static const char *const single_pieces[] = {SP,
                                            "e",
                                            "t",
                                            "a",
                                            "o",
                                            "i",
                                            "n",
                                            "s",
                                            "r",
                                            "h",
                                            "l",
                                            "d",
                                            "u",
                                            "c",
                                            "m",
                                            "f",
                                            "y",
                                            "w",
                                            "g",
                                            "p",
                                            "b",
                                            "v",
                                            "k",
                                            "x",
                                            "q",
                                            "j",
                                            "z",
                                            "T",
                                            "W",
                                            "I",
                                            "A",
                                            "0",
                                            "1",
                                            "2",
                                            "3",
                                            "4",
                                            ".",
                                            ",",
                                            "?",
                                            "!",
                                            ":",
                                            "[",
                                            "|",
                                            "]",
                                            "<",
                                            ">",
                                            "/",
                                            "-",
                                            "\xC3\xA9",
                                            "\xE6\x97\xA5",
                                            "\xE6\x9C\xAC",
                                            "\xF0\x9F\x99\x82"};
#define MERGED (sizeof merged_pieces / sizeof merged_pieces[0])
#define SINGLE (sizeof single_pieces / sizeof single_pieces[0])

static const char *const specials[] = {"[|Human|]:", "[|AI|]:", "<img>", "</img>",
                                       "[|SYSTEM|]:"};

/* Text, score and type of one piece of the SentencePiece vocabulary. */
static int spm_piece(uint32_t id, char text[32], float *score)
{
    *score = 0;
    if (id < TINY_BYTE0) {
        static const char *const first[] = {"<unk>", "<s>", "</s>"};
        snprintf(text, 32, "%s", first[id]);
        return id == TINY_UNK ? PIECE_UNKNOWN : PIECE_CONTROL;
    }
    if (id < TINY_HUMAN) {
        snprintf(text, 32, "<0x%02X>", (unsigned)(id - TINY_BYTE0));
        return PIECE_BYTE;
    }
    if (id < TINY_PIECES) {
        snprintf(text, 32, "%s", specials[id - TINY_HUMAN]);
        return PIECE_CONTROL;
    }
    id -= TINY_PIECES;
    *score = -(float)(id + 1);
    if (id < MERGED) {
        snprintf(text, 32, "%s", merged_pieces[id]);
    } else if (id < MERGED + SINGLE) {
        snprintf(text, 32, "%s", single_pieces[id - MERGED]);
    } else {
        snprintf(text, 32, SP "pad%u", (unsigned)id);
    }
    return PIECE_NORMAL;
}

static void spm_vocabulary(tiny_writer *w, uint32_t n_vocab)
{
    char text[32];
    float score;
    uint32_t i;
    tiny_key_string(w, "tokenizer.ggml.model", "llama");
    tiny_key_string(w, "tokenizer.ggml.pre", "default");
    tiny_key_array(w, "tokenizer.ggml.tokens", KEY_STRING, n_vocab);
    for (i = 0; i < n_vocab; i++) {
        spm_piece(i, text, &score);
        tiny_put_string(&w->keys, text);
    }
    tiny_key_array(w, "tokenizer.ggml.scores", KEY_F32, n_vocab);
    for (i = 0; i < n_vocab; i++) {
        spm_piece(i, text, &score);
        tiny_put_f32(&w->keys, score);
    }
    tiny_key_array(w, "tokenizer.ggml.token_type", KEY_I32, n_vocab);
    for (i = 0; i < n_vocab; i++)
        tiny_put_u32(&w->keys, (uint32_t)spm_piece(i, text, &score));
    tiny_key_u32(w, "tokenizer.ggml.bos_token_id", TINY_BOS);
    tiny_key_u32(w, "tokenizer.ggml.eos_token_id", TINY_EOS);
    tiny_key_u32(w, "tokenizer.ggml.unknown_token_id", TINY_UNK);
    tiny_key_bool(w, "tokenizer.ggml.add_bos_token", 1);
    tiny_key_bool(w, "tokenizer.ggml.add_eos_token", 0);
}

/* The character that stands for a byte in byte-level BPE: itself where it is printable in
 * Latin-1, else the next of U+0100 and on. */
static void byte_character(uint32_t byte, char text[8])
{
    uint32_t code = 0x100, b;
    for (b = 0; b <= byte; b++) {
        int printable = (b > 32 && b < 127) || (b > 160 && b != 173);
        if (b == byte && printable) code = b;
        if (b < byte && !printable) code++;
    }
    if (code < 0x80) {
        snprintf(text, 8, "%c", (int)code);
    } else {
        snprintf(text, 8, "%c%c", (int)(0xC0 | code >> 6), (int)(0x80 | (code & 63)));
    }
}

/* Left and right of each merge, best first. U+0120 is the space. */
#define SPACE "\xC4\xA0"
static const char *const bpe_merges[][2] = {
    {SPACE, "t"}, {"h", "e"},       {SPACE "t", "he"}, {"i", "n"},   {SPACE, "a"},
    {"i", "s"},   {"h", "a"},       {"ha", "t"},       {"W", "hat"}, {SPACE, "is"},
    {"t", "h"},   {SPACE "t", "h"}, {"e", "r"},        {"a", "t"},   {"c", "at"},
    {SPACE, "c"}, {SPACE "c", "at"}};
#define MERGES (sizeof bpe_merges / sizeof bpe_merges[0])

static void bpe_piece(uint32_t id, char text[32])
{
    static const char *const ends[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    if (id < 256) {
        byte_character(id, text);
    } else if (id <= TINY_BPE_IM_END) {
        snprintf(text, 32, "%s", ends[id - 256]);
    } else if (id - TINY_BPE_IM_END - 1 < MERGES) {
        const char *const *merge = bpe_merges[id - TINY_BPE_IM_END - 1];
        snprintf(text, 32, "%s%s", merge[0], merge[1]);
    } else {
        snprintf(text, 32, "pad%u", (unsigned)id);
    }
}

static void bpe_vocabulary(tiny_writer *w, uint32_t n_vocab, const char *const *markers)
{
    char text[64];
    uint32_t i, marker_count = 0;
    while (markers && markers[marker_count])
        marker_count++;
    tiny_key_string(w, "tokenizer.ggml.model", "gpt2");
    tiny_key_string(w, "tokenizer.ggml.pre", "qwen2");
    tiny_key_array(w, "tokenizer.ggml.tokens", KEY_STRING, n_vocab);
    for (i = 0; i < n_vocab; i++) {
        uint32_t marker = i - TINY_BPE_MARKERS;
        bpe_piece(i, text);
        tiny_put_string(&w->keys, marker < marker_count ? markers[marker] : text);
    }
    tiny_key_array(w, "tokenizer.ggml.token_type", KEY_I32, n_vocab);
    for (i = 0; i < n_vocab; i++) {
        int control =
            (i >= TINY_BPE_END && i <= TINY_BPE_IM_END) || i - TINY_BPE_MARKERS < marker_count;
        tiny_put_u32(&w->keys, control ? PIECE_CONTROL : PIECE_NORMAL);
    }
    tiny_key_array(w, "tokenizer.ggml.merges", KEY_STRING, MERGES);
    for (i = 0; i < MERGES; i++) {
        snprintf(text, sizeof text, "%s %s", bpe_merges[i][0], bpe_merges[i][1]);
        tiny_put_string(&w->keys, text);
    }
    tiny_key_u32(w, "tokenizer.ggml.bos_token_id", TINY_BPE_END);
    tiny_key_u32(w, "tokenizer.ggml.eos_token_id", TINY_BPE_IM_END);
    tiny_key_bool(w, "tokenizer.ggml.add_bos_token", 0);
}

/* ---- The language model ------------------------------------------------------------------ */

tiny_llm_config tiny_llm_default(void)
{
    tiny_llm_config c;
    memset(&c, 0, sizeof c);
    c.arch = "llama";
    c.n_embd = 64, c.n_layer = 2, c.n_head = 4, c.n_head_kv = 2, c.n_ff = 96;
    c.n_ctx = 256, c.n_vocab = 384;
    c.rope_base = 10000, c.rms_eps = 1e-5f;
    c.seed = 1;
    return c;
}

static void arch_u32(tiny_writer *w, const char *arch, const char *key, uint32_t value)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    tiny_key_u32(w, name, value);
}

static void arch_f32(tiny_writer *w, const char *arch, const char *key, float value)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    tiny_key_f32(w, name, value);
}

/* What a family has beyond a Llama, or in place of it. In small models every second layer is
 * attention (lfm2, qwen35) or sees the whole context (gemma3). */
typedef struct tiny_family {
    const char *arch, *ffn_norm, *final_norm;
    int head_norms, sandwich, windows, gated, fused, scales;
    int runs, thirds; /* sections of RoPE's pairs             */
    int deepstack;    /* rows of pictures for so many layers  */
    int convolution, delta;
} tiny_family;

enum { TAPS = 3, DELTA_K_HEADS = 2, DELTA_V_HEADS = 4, DELTA_SIZE = 16, WINDOW = 16 };

static const tiny_family families[] = {
    {.arch = "llama"},
    {.arch = "qwen2vl", .runs = 1},
    {.arch = "qwen3", .head_norms = 1},
    {.arch = "qwen3vl", .head_norms = 1, .thirds = 1, .deepstack = 1},
    {.arch = "qwen35",
     .head_norms = 1,
     .thirds = 1,
     .gated = 1,
     .delta = 1,
     .ffn_norm = "post_attention_norm.weight"},
    {.arch = "lfm2", .head_norms = 1, .convolution = 1, .final_norm = "token_embd_norm.weight"},
    {.arch = "gemma3", .head_norms = 1, .sandwich = 1, .windows = 1},
    {.arch = "phi3", .fused = 1},
    {.arch = "granite", .scales = 1},
};

static const tiny_family *family_of(const tiny_llm_config *c)
{
    size_t i;
    for (i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].arch, c->arch) == 0) return &families[i];
    return &families[0]; /* any other name: as a Llama is */
}

static uint32_t rotated(const tiny_llm_config *c, uint32_t head_dim)
{
    return c->n_rot != 0 ? c->n_rot : head_dim;
}

static void family_keys(tiny_writer *w, const tiny_llm_config *c, uint32_t head_dim)
{
    const tiny_family *f = family_of(c);
    uint32_t pairs = rotated(c, head_dim) / 2, share = f->runs ? pairs / 4 : pairs / 3;
    char name[64];
    if (f->runs || f->thirds) {
        snprintf(name, sizeof name, "%s.rope.dimension_sections", c->arch);
        tiny_key_array(w, name, KEY_I32, 4);
        tiny_put_u32(&w->keys, pairs - 2 * share);
        tiny_put_u32(&w->keys, share);
        tiny_put_u32(&w->keys, share);
        tiny_put_u32(&w->keys, 0);
    }
    if (f->deepstack) arch_u32(w, c->arch, "n_deepstack_layers", (uint32_t)f->deepstack);
    if (f->windows) {
        arch_u32(w, c->arch, "attention.sliding_window", WINDOW);
        arch_u32(w, c->arch, "attention.sliding_window_pattern", 2);
    }
    if (f->scales) {
        arch_f32(w, c->arch, "embedding_scale", 3);
        arch_f32(w, c->arch, "residual_scale", 0.5f);
        arch_f32(w, c->arch, "attention.scale", 0.2f);
        arch_f32(w, c->arch, "logit_scale", 2);
    }
    if (f->convolution) arch_u32(w, c->arch, "shortconv.l_cache", TAPS);
    if (!f->delta) return;
    arch_u32(w, c->arch, "full_attention_interval", 2);
    arch_u32(w, c->arch, "ssm.conv_kernel", TAPS);
    arch_u32(w, c->arch, "ssm.state_size", DELTA_SIZE);
    arch_u32(w, c->arch, "ssm.group_count", DELTA_K_HEADS);
    arch_u32(w, c->arch, "ssm.time_step_rank", DELTA_V_HEADS);
    arch_u32(w, c->arch, "ssm.inner_size", DELTA_V_HEADS * DELTA_SIZE);
}

static void kv_heads_key(tiny_writer *w, const tiny_llm_config *c)
{
    char name[64];
    uint32_t i;
    if (!family_of(c)->convolution) {
        arch_u32(w, c->arch, "attention.head_count_kv", c->n_head_kv);
        return;
    }
    snprintf(name, sizeof name, "%s.attention.head_count_kv", c->arch);
    tiny_key_array(w, name, KEY_I32, c->n_layer);
    for (i = 0; i < c->n_layer; i++)
        tiny_put_u32(&w->keys, i % 2 ? c->n_head_kv : 0);
}

static void llm_keys(tiny_writer *w, const tiny_llm_config *c, uint32_t head_dim)
{
    tiny_key_string(w, "general.architecture", c->arch);
    tiny_key_string(w, "general.name", "tiny");
    tiny_key_u32(w, "general.alignment", w->alignment);
    arch_u32(w, c->arch, "vocab_size", c->n_vocab);
    arch_u32(w, c->arch, "context_length", c->n_ctx);
    arch_u32(w, c->arch, "embedding_length", c->n_embd);
    arch_u32(w, c->arch, "block_count", c->n_layer);
    arch_u32(w, c->arch, "feed_forward_length", c->n_ff);
    arch_u32(w, c->arch, "rope.dimension_count", rotated(c, head_dim));
    arch_u32(w, c->arch, "attention.head_count", c->n_head);
    kv_heads_key(w, c);
    if (c->head_dim != 0) {
        arch_u32(w, c->arch, "attention.key_length", head_dim);
        arch_u32(w, c->arch, "attention.value_length", head_dim);
    }
    arch_f32(w, c->arch, "attention.layer_norm_rms_epsilon", c->rms_eps);
    arch_f32(w, c->arch, "rope.freq_base", c->rope_base);
    family_keys(w, c, head_dim);
    if (!c->no_template) tiny_key_string(w, "bluelm.chat.template", "bluelm");
}

static void llm_attention(tiny_writer *w, const tiny_llm_config *c, uint32_t block,
                          uint32_t head_dim)
{
    const tiny_family *f = family_of(c);
    uint32_t q = c->n_head * head_dim, kv = c->n_head_kv * head_dim, e = c->n_embd;
    uint32_t q_rows = f->gated ? 2 * q : q;
    char n[64];
    if (f->fused) {
        matrix(w, block_name(n, "blk", block, "attn_qkv.weight"), c->attn_type, e, q + 2 * kv,
               1);
    } else {
        matrix(w, block_name(n, "blk", block, "attn_q.weight"), c->attn_type, e, q_rows, 1);
        matrix(w, block_name(n, "blk", block, "attn_k.weight"), c->attn_type, e, kv, 1);
        matrix(w, block_name(n, "blk", block, "attn_v.weight"), c->attn_type, e, kv, 1);
    }
    matrix(w, block_name(n, "blk", block, "attn_output.weight"), c->attn_type, q, e, 1);
    if (c->qkv_bias) {
        vector(w, block_name(n, "blk", block, "attn_q.bias"), q_rows, 0);
        vector(w, block_name(n, "blk", block, "attn_k.bias"), kv, 0);
        vector(w, block_name(n, "blk", block, "attn_v.bias"), kv, 0);
    }
    if (!f->head_norms) return;
    vector(w, block_name(n, "blk", block, "attn_q_norm.weight"), head_dim, 1);
    vector(w, block_name(n, "blk", block, "attn_k_norm.weight"), head_dim, 1);
}

static void llm_convolution(tiny_writer *w, const tiny_llm_config *c, uint32_t block)
{
    uint32_t e = c->n_embd;
    char n[64];
    matrix(w, block_name(n, "blk", block, "shortconv.in_proj.weight"), c->attn_type, e, 3 * e,
           1);
    matrix(w, block_name(n, "blk", block, "shortconv.conv.weight"), TINY_F32, TAPS, e, 1);
    matrix(w, block_name(n, "blk", block, "shortconv.out_proj.weight"), c->attn_type, e, e, 1);
}

static void llm_delta(tiny_writer *w, const tiny_llm_config *c, uint32_t block)
{
    uint32_t e = c->n_embd, inner = DELTA_V_HEADS * DELTA_SIZE;
    uint32_t channels = 2 * DELTA_K_HEADS * DELTA_SIZE + inner;
    char n[64];
    matrix(w, block_name(n, "blk", block, "attn_qkv.weight"), c->attn_type, e, channels, 1);
    matrix(w, block_name(n, "blk", block, "attn_gate.weight"), c->attn_type, e, inner, 1);
    matrix(w, block_name(n, "blk", block, "ssm_beta.weight"), c->attn_type, e, DELTA_V_HEADS,
           1);
    matrix(w, block_name(n, "blk", block, "ssm_alpha.weight"), c->attn_type, e, DELTA_V_HEADS,
           1);
    matrix(w, block_name(n, "blk", block, "ssm_conv1d.weight"), TINY_F32, TAPS, channels, 1);
    vector(w, block_name(n, "blk", block, "ssm_dt.bias"), DELTA_V_HEADS, 0);
    vector(w, block_name(n, "blk", block, "ssm_a"), DELTA_V_HEADS, -1);
    vector(w, block_name(n, "blk", block, "ssm_norm.weight"), DELTA_SIZE, 1);
    matrix(w, block_name(n, "blk", block, "ssm_out.weight"), c->attn_type, inner, e, 1);
}

static void llm_feed_forward(tiny_writer *w, const tiny_llm_config *c, uint32_t block)
{
    const tiny_family *f = family_of(c);
    const char *norm = f->ffn_norm != NULL ? f->ffn_norm : "ffn_norm.weight";
    uint32_t e = c->n_embd, up = f->fused ? 2 * c->n_ff : c->n_ff;
    char n[64];
    vector(w, block_name(n, "blk", block, norm), e, 1);
    if (!f->fused)
        matrix(w, block_name(n, "blk", block, "ffn_gate.weight"), c->ffn_type, e, c->n_ff, 1);
    matrix(w, block_name(n, "blk", block, "ffn_up.weight"), c->ffn_type, e, up, 1);
    matrix(w, block_name(n, "blk", block, "ffn_down.weight"), c->down_type, c->n_ff, e, 1);
    if (f->sandwich) vector(w, block_name(n, "blk", block, "post_ffw_norm.weight"), e, 1);
}

static void llm_block(tiny_writer *w, const tiny_llm_config *c, uint32_t block,
                      uint32_t head_dim)
{
    const tiny_family *f = family_of(c);
    char n[64];
    vector(w, block_name(n, "blk", block, "attn_norm.weight"), c->n_embd, 1);
    if (f->convolution && block % 2 == 0)
        llm_convolution(w, c, block);
    else if (f->delta && block % 2 == 0)
        llm_delta(w, c, block);
    else
        llm_attention(w, c, block, head_dim);
    if (f->sandwich)
        vector(w, block_name(n, "blk", block, "post_attention_norm.weight"), c->n_embd, 1);
    llm_feed_forward(w, c, block);
}

/* Factors that slow each pair of a head down, 1 for the fastest, as in llama 3. */
static void rope_factors(tiny_writer *w, uint32_t n_rot)
{
    float *values = malloc(n_rot / 2 * sizeof *values);
    uint64_t ne[1];
    uint32_t i;
    must(values != NULL);
    for (i = 0; i < n_rot / 2; i++)
        values[i] = 1 + 7 * (float)i / (float)(n_rot / 2);
    ne[0] = n_rot / 2;
    tiny_tensor(w, "rope_freqs.weight", TINY_F32, 1, ne, values);
    free(values);
}

tiny_file tiny_llm(const tiny_llm_config *c)
{
    uint32_t head_dim = c->head_dim != 0 ? c->head_dim : c->n_embd / c->n_head, i;
    const char *norm = family_of(c)->final_norm;
    tiny_writer w;
    must(c->n_vocab >= TINY_MIN_VOCAB && c->n_head > 0 && head_dim > 1);
    tiny_start(&w, c->seed);
    llm_keys(&w, c, head_dim);
    if (c->byte_bpe) {
        bpe_vocabulary(&w, c->n_vocab, c->markers);
    } else {
        spm_vocabulary(&w, c->n_vocab);
    }
    matrix(&w, "token_embd.weight", c->embd_type, c->n_embd, c->n_vocab, 4);
    vector(&w, norm != NULL ? norm : "output_norm.weight", c->n_embd, 1);
    if (!c->tied) matrix(&w, "output.weight", c->output_type, c->n_embd, c->n_vocab, 2);
    if (c->rope_freqs) rope_factors(&w, rotated(c, head_dim));
    for (i = 0; i < c->n_layer; i++)
        llm_block(&w, c, i, head_dim);
    if (c->extra != NULL) c->extra(&w, c->extra_user);
    return tiny_finish(&w);
}

/* ---- The vision encoder and projector ---------------------------------------------------- */

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
} tower_kinds[TINY_PROJECTORS] = {
    {"lfm2", "projector.scale_factor", NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"idefics3", "projector.scale_factor", NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"mlp", "projector.scale_factor", NULL, NULL, NULL, 1, 0, 0, 0, 0, 0, 0, 0, 0},
    {"internvl", "projector.scale_factor", "mm.model.mlp.0", "mm.model.mlp.1", "mm.model.mlp.3",
     2, 1, 0, 0, 1, 0, 0, 0, 1},
    {"qwen2vl_merger", "spatial_merge_size", NULL, "mm.0", "mm.2", 2, 0, 0, 0, 0, 1, 1, 1, 0},
    {"qwen2.5vl_merger", "spatial_merge_size", NULL, "mm.0", "mm.2", 2, 0, 1, 1, 0, 1, 1, 1, 0},
    {"qwen2.5o", "spatial_merge_size", NULL, "mm.0", "mm.2", 2, 0, 1, 1, 0, 1, 1, 1, 0},
    {"qwen3vl_merger", "spatial_merge_size", NULL, "mm.0", "mm.2", 2, 0, 0, 0, 0, 1, 0, 0, 0},
    {"gemma3", "projector.scale_factor", NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0},
};

static uint32_t merge_of(const tiny_vision_config *c)
{
    uint32_t own = tower_kinds[c->projector].merge;
    if (own != 0) return own;
    return c->merge != 0 ? c->merge : 2;
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
        tiny_key_array(w, "clip.vision.feature_layer", KEY_I32, c->feature_count);
        for (i = 0; i < c->feature_count; i++)
            tiny_put_u32(&w->keys, (uint32_t)c->features[i]);
    }
    if (c->projector != TINY_QWEN3VL) return;
    tiny_key_array(w, "clip.vision.is_deepstack_layers", KEY_BOOL, c->n_layer);
    for (i = 0; i < c->n_layer; i++)
        put_u8(&w->keys, c->deepstack >> i & 1);
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
    tiny_key_array(w, "clip.vision.image_mean", KEY_F32, 3);
    for (i = 0; i < 3; i++)
        tiny_put_f32(&w->keys, c->uneven_pixels ? mean[i] : 0.5f);
    tiny_key_array(w, "clip.vision.image_std", KEY_F32, 3);
    for (i = 0; i < 3; i++)
        tiny_put_f32(&w->keys, c->uneven_pixels ? std[i] : 0.5f);
    snprintf(merge, sizeof merge, "clip.vision.%s", tower_kinds[c->projector].merge_key);
    tiny_key_u32(w, merge, merge_of(c));
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

static void vision_block(tiny_writer *w, const tiny_vision_config *c, uint32_t block)
{
    const struct tower_kind *kind = &tower_kinds[c->projector];
    char n[64];
    tower_norm(w, c, block_name(n, "v.blk", block, "ln1"));
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
    case TINY_PROJECTORS:
        break;
    case TINY_INTERNVL:
    case TINY_QWEN2VL:
    case TINY_QWEN25VL:
    case TINY_QWEN25O:
    case TINY_QWEN3VL:
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
    must(c->patch_type == TINY_F32 || c->patch_type == TINY_F16);
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
    if (!kind->no_positions)
        random_tensor(&w, "v.position_embd.weight", TINY_F32, 2, ne, 0, 0.3);
    for (i = 0; i < c->n_layer; i++)
        vision_block(&w, c, i);
    if (!c->clip && !kind->no_post) tower_norm(&w, c, "v.post_ln");
    projector(&w, c);
    if (c->extra != NULL) c->extra(&w, c->extra_user);
    return tiny_finish(&w);
}
