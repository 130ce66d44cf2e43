/* Whole engines over files whose framing is sound and whose contents are not: the input picks
 * a small model and edits its keys and tensors one by one. Types, values, lengths of strings
 * and arrays, dimensions and offsets change, entries go, come twice or under another's name;
 * counts and lengths always say what is there, so that what is behind an edit is reached. */
#include "../tests/hostile_aid.h"
#include "../tests/tiny_model.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { FUZZ_ENTRIES = 512, FUZZ_EDITS = 24, FUZZ_ALIGNMENT = 32 };

typedef struct fuzz_bytes {
    const uint8_t *data;
    size_t bytes;
} fuzz_bytes;

/* A key: its value is one element, or `count` of them in an array. */
typedef struct fuzz_key {
    fuzz_bytes name, value;
    uint32_t type, element; /* element: of an array */
    uint64_t count;
} fuzz_key;

typedef struct fuzz_tensor {
    fuzz_bytes name;
    uint32_t dims, type;
    uint64_t ne[4], offset;
} fuzz_tensor;

typedef struct fuzz_file {
    fuzz_key keys[FUZZ_ENTRIES];
    fuzz_tensor tensors[FUZZ_ENTRIES];
    uint32_t key_count, tensor_count;
    fuzz_bytes weights;
} fuzz_file;

/* ---- Reading a file that is sound ---------------------------------------------------------- */

typedef struct fuzz_reader {
    const uint8_t *at;
} fuzz_reader;

static uint64_t fuzz_number(fuzz_reader *r, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)*r->at++ << (8 * i);
    return value;
}

static fuzz_bytes fuzz_string(fuzz_reader *r)
{
    size_t bytes = (size_t)fuzz_number(r, 8);
    fuzz_bytes s = {r->at, bytes};
    r->at += bytes;
    return s;
}

/* Bytes of an element, 0 of a string. */
static unsigned fuzz_width(uint32_t type)
{
    static const uint8_t widths[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < 13 ? widths[type] : 4;
}

static void fuzz_skip(fuzz_reader *r, uint32_t type)
{
    if (type == 8)
        fuzz_string(r);
    else
        r->at += fuzz_width(type);
}

static void fuzz_read(fuzz_file *f, const tiny_file *file)
{
    fuzz_reader r = {file->data + 8};
    f->tensor_count = (uint32_t)fuzz_number(&r, 8);
    f->key_count = (uint32_t)fuzz_number(&r, 8);
    if (f->tensor_count > FUZZ_ENTRIES / 2 || f->key_count > FUZZ_ENTRIES / 2) abort();
    for (uint32_t i = 0; i < f->key_count; i++) {
        fuzz_key *k = &f->keys[i];
        k->name = fuzz_string(&r);
        k->type = (uint32_t)fuzz_number(&r, 4);
        k->count = 1;
        k->element = k->type;
        if (k->type == 9) {
            k->element = (uint32_t)fuzz_number(&r, 4);
            k->count = fuzz_number(&r, 8);
        }
        k->value.data = r.at;
        for (uint64_t n = 0; n < k->count; n++)
            fuzz_skip(&r, k->element);
        k->value.bytes = (size_t)(r.at - k->value.data);
    }
    for (uint32_t i = 0; i < f->tensor_count; i++) {
        fuzz_tensor *t = &f->tensors[i];
        t->name = fuzz_string(&r);
        t->dims = (uint32_t)fuzz_number(&r, 4);
        for (uint32_t d = 0; d < t->dims; d++)
            t->ne[d] = fuzz_number(&r, 8);
        t->type = (uint32_t)fuzz_number(&r, 4);
        t->offset = fuzz_number(&r, 8);
    }
    size_t header = (size_t)(r.at - file->data);
    header = (header + FUZZ_ALIGNMENT - 1) / FUZZ_ALIGNMENT * FUZZ_ALIGNMENT;
    f->weights = (fuzz_bytes){file->data + header, file->bytes - header};
}

/* ---- Writing one that need not be ---------------------------------------------------------- */

static void fuzz_put_string(tiny_buffer *b, fuzz_bytes s)
{
    tiny_put_u64(b, s.bytes);
    tiny_put(b, s.data, s.bytes);
}

static tiny_file fuzz_write(const fuzz_file *f)
{
    tiny_buffer b = {NULL, 0, 0};
    tiny_put(&b, "GGUF\3\0\0\0", 8);
    tiny_put_u64(&b, f->tensor_count);
    tiny_put_u64(&b, f->key_count);
    for (uint32_t i = 0; i < f->key_count; i++) {
        const fuzz_key *k = &f->keys[i];
        fuzz_put_string(&b, k->name);
        tiny_put_u32(&b, k->type);
        if (k->type == 9) tiny_put_u32(&b, k->element), tiny_put_u64(&b, k->count);
        tiny_put(&b, k->value.data, k->value.bytes);
    }
    for (uint32_t i = 0; i < f->tensor_count; i++) {
        const fuzz_tensor *t = &f->tensors[i];
        fuzz_put_string(&b, t->name);
        tiny_put_u32(&b, t->dims);
        for (uint32_t d = 0; d < t->dims; d++)
            tiny_put_u64(&b, d < 4 ? t->ne[d] : 1);
        tiny_put_u32(&b, t->type);
        tiny_put_u64(&b, t->offset);
    }
    while (b.bytes % FUZZ_ALIGNMENT)
        tiny_put(&b, "", 1);
    tiny_put(&b, f->weights.data, f->weights.bytes);
    tiny_file file = {malloc(b.bytes), b.bytes}; /* exactly, for AddressSanitizer */
    if (!file.data) abort();
    memcpy(file.data, b.data, b.bytes);
    free(b.data);
    return file;
}

/* ---- Edits ----------------------------------------------------------------------------------- */

typedef struct fuzz_edit {
    uint8_t which, what, value, more;
} fuzz_edit;

static uint64_t fuzz_value(const fuzz_edit *e, uint64_t now)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       2,
                                       3,
                                       7,
                                       31,
                                       32,
                                       33,
                                       255,
                                       256,
                                       65535,
                                       65536,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff,
                                       UINT64_C(1) << 32,
                                       UINT64_C(1) << 62,
                                       UINT64_MAX};
    const unsigned count = sizeof numbers / sizeof *numbers;
    if (e->value < 200) return numbers[e->value % count];
    if (e->value < 220) return now * 2;
    if (e->value < 240) return now / 2;
    return now + e->more - 128;
}

/* Room for what edits write: every value stays where it is until the file is written. */
typedef struct fuzz_room {
    uint8_t data[FUZZ_EDITS][512];
    uint32_t used;
} fuzz_room;

/* A value of another number, in the type's bytes; of a string, other bytes of another length. */
static void fuzz_set_value(fuzz_key *k, const fuzz_edit *e, fuzz_room *room)
{
    uint8_t *to = room->data[room->used++];
    uint64_t now = 0;
    if (k->element == 8) {
        const size_t bytes = e->value % 100;
        for (unsigned i = 0; i < 8; i++)
            to[i] = i ? 0 : (uint8_t)bytes;
        for (size_t i = 0; i < bytes; i++)
            to[8 + i] = (uint8_t)(e->more + i * (e->more & 3u));
        k->value = (fuzz_bytes){to, 8 + bytes};
        return;
    }
    const unsigned width = fuzz_width(k->element);
    memcpy(&now, k->value.data, k->value.bytes < width ? k->value.bytes : width);
    now = fuzz_value(e, now);
    memcpy(to, &now, width);
    k->value = (fuzz_bytes){to, width};
}

/* An array of another length: its first elements, or some of them again. */
static void fuzz_set_count(fuzz_key *k, const fuzz_edit *e, fuzz_room *room)
{
    const unsigned width = fuzz_width(k->element);
    if (!width) { /* of strings: fewer */
        fuzz_reader r = {k->value.data};
        k->count = k->count * e->value / 256;
        for (uint64_t i = 0; i < k->count; i++)
            fuzz_skip(&r, 8);
        k->value.bytes = (size_t)(r.at - k->value.data);
        return;
    }
    uint8_t *to = room->data[room->used++];
    k->count = e->value % (512 / width + 1);
    for (size_t i = 0; i < k->count * width; i++)
        to[i] = k->value.bytes ? k->value.data[i % k->value.bytes] : e->more;
    k->value = (fuzz_bytes){to, (size_t)k->count * width};
}

static void fuzz_edit_key(fuzz_file *f, const fuzz_edit *e, fuzz_room *room)
{
    if (!f->key_count) return;
    fuzz_key *k = &f->keys[e->which % f->key_count];
    switch (e->what % 6) {
    case 0: /* another type, and its number */
        k->type = k->element = e->more % 13 == 9 ? 4u : e->more % 13;
        k->count = 1;
        k->value.bytes = 0;
        fuzz_set_value(k, e, room);
        break;
    case 1:
        if (k->type == 9)
            fuzz_set_count(k, e, room);
        else
            fuzz_set_value(k, e, room);
        break;
    case 2: /* an array of one, or one of an array */
        if (k->type == 9) break;
        k->type = 9;
        break;
    case 3:
        *k = f->keys[--f->key_count];
        break;
    case 4:
        f->keys[f->key_count++] = *k;
        break;
    default:
        k->name = f->keys[e->more % f->key_count].name;
        break;
    }
}

static void fuzz_edit_tensor(fuzz_file *f, const fuzz_edit *e)
{
    static const uint8_t types[] = {0,  1,  2,  3,  6,  7,  8,  10, 11,
                                    12, 13, 14, 20, 23, 29, 30, 39, 40};
    if (!f->tensor_count) return;
    fuzz_tensor *t = &f->tensors[e->which % f->tensor_count];
    switch (e->what % 8) {
    case 0:
        t->type = types[e->value % sizeof types];
        break;
    case 1:
        t->ne[e->more % 4] = fuzz_value(e, t->ne[e->more % 4]);
        break;
    case 2:
        t->dims = e->value % 6u;
        for (uint32_t d = 0; d < 4; d++)
            if (!t->ne[d]) t->ne[d] = 1;
        break;
    case 3:
        t->offset = fuzz_value(e, t->offset) / FUZZ_ALIGNMENT * FUZZ_ALIGNMENT;
        break;
    case 4: { /* the other way round */
        uint64_t ne = t->ne[0];
        t->ne[0] = t->ne[1] ? t->ne[1] : 1;
        t->ne[1] = ne;
        break;
    }
    case 5:
        *t = f->tensors[--f->tensor_count];
        break;
    case 6:
        f->tensors[f->tensor_count++] = *t;
        break;
    default:
        t->name = f->tensors[e->more % f->tensor_count].name;
        break;
    }
}

/* ---- Models ---------------------------------------------------------------------------------- */

static const char *const fuzz_archs[] = {"llama",   "qwen2",   "qwen2vl", "qwen3",
                                         "qwen3vl", "qwen35",  "lfm2",    "gemma3",
                                         "phi3",    "granite", "gemma4",  "phi2"};

static tiny_file fuzz_llm(uint8_t choice)
{
    tiny_llm_config c = tiny_llm_default();
    c.arch = fuzz_archs[choice % (sizeof fuzz_archs / sizeof *fuzz_archs)];
    c.n_embd = 32, c.n_head = 2, c.n_head_kv = 1, c.n_ff = 32;
    c.n_vocab = 300, c.byte_bpe = choice & 16 ? 1 : 0, c.tied = choice & 32 ? 1 : 0;
    return tiny_llm(&c);
}

static tiny_file fuzz_mmproj(uint8_t choice)
{
    tiny_vision_config c = tiny_vision_default();
    c.projector = (tiny_projector)(choice % TINY_PROJECTORS);
    c.width = 16, c.n_head = 2, c.n_layer = 2, c.n_ff = 24, c.n_embd = 32;
    return tiny_mmproj(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static fuzz_file file;
    static fuzz_room room;
    if (bytes < 4) return 0;
    const int sees = data[0] & 1;
    tiny_file sound = sees ? fuzz_mmproj(data[1]) : fuzz_llm(data[1]);
    tiny_file other = fuzz_llm(0);
    memset(&file, 0, sizeof file);
    room.used = 0;
    fuzz_read(&file, &sound);
    for (size_t i = 0; i < FUZZ_EDITS && 4 + 4 * i + 4 <= bytes; i++) {
        const uint8_t *at = data + 4 + 4 * i;
        const fuzz_edit e = {at[0], at[1] / 2, at[2], at[3]};
        if (at[1] & 1)
            fuzz_edit_key(&file, &e, &room);
        else
            fuzz_edit_tensor(&file, &e);
    }
    tiny_file broken = fuzz_write(&file);
    hostile_job job;
    memset(&job, 0, sizeof job);
    job.config = (bluelm_config){.context_tokens = 40,
                                 .chunk_tokens = 7,
                                 .max_image_width_px = 64,
                                 .max_image_tokens = 256,
                                 .cpu_mask = data[2] & 1 ? BLUELM_CPU_NONE : 0};
    job.picture_width = sees ? 20 : 0, job.picture_height = 12;
    job.max_steps = 40;
    job.weights = sees ? (bluelm_weights){other.data, other.bytes, broken.data, broken.bytes}
                       : (bluelm_weights){broken.data, broken.bytes, NULL, 0};
    if (sees && data[2] & 2) job.weights.llm = NULL, job.weights.llm_bytes = 0;
    hostile_run(&job);
    tiny_free(&sound), tiny_free(&other), tiny_free(&broken);
    return 0;
}
