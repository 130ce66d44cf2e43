#include "gguf_aid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void aid_put_f64(tiny_buffer *b, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    tiny_put_u64(b, bits);
}

/* The value 7 (true, "seven") as a value of any type but an array. */
static void put_seven(tiny_buffer *b, uint32_t type)
{
    static const uint8_t integer_bytes[AID_GGUF_TYPES] = {
        [BLM_GGUF_U8] = 1,  [BLM_GGUF_I8] = 1,  [BLM_GGUF_U16] = 2, [BLM_GGUF_I16] = 2,
        [BLM_GGUF_U32] = 4, [BLM_GGUF_I32] = 4, [BLM_GGUF_U64] = 8, [BLM_GGUF_I64] = 8};
    static const uint8_t seven[8] = {7}, one[1] = {1};
    if (integer_bytes[type]) {
        tiny_put(b, seven, integer_bytes[type]);
    } else if (type == BLM_GGUF_F32) {
        tiny_put_f32(b, 7);
    } else if (type == BLM_GGUF_F64) {
        aid_put_f64(b, 7);
    } else if (type == BLM_GGUF_BOOL) {
        tiny_put(b, one, 1);
    } else {
        tiny_put_string(b, "seven");
    }
}

const char *aid_value_key(uint32_t type)
{
    static char name[16];
    snprintf(name, sizeof name, "value.%u", (unsigned)type);
    return name;
}

const char *aid_array_key(uint32_t type)
{
    static char name[16];
    snprintf(name, sizeof name, "array.%u", (unsigned)type);
    return name;
}

void aid_put_every_type(tiny_writer *w)
{
    uint32_t type, i;
    for (type = 0; type < AID_GGUF_TYPES; type++) {
        if (type == BLM_GGUF_ARRAY) {
            tiny_key_array(w, aid_value_key(type), BLM_GGUF_U8, 0);
            continue;
        }
        tiny_key(w, aid_value_key(type), type);
        put_seven(&w->keys, type);
        tiny_key_array(w, aid_array_key(type), type, 3);
        for (i = 0; i < 3; i++)
            put_seven(&w->keys, type);
    }
}

void aid_put_entry(tiny_writer *w, const char *name, uint32_t n_dims, const uint64_t *ne,
                   uint32_t type, uint64_t offset)
{
    uint32_t i;
    tiny_put_string(&w->tensors, name);
    tiny_put_u32(&w->tensors, n_dims);
    for (i = 0; i < n_dims; i++)
        tiny_put_u64(&w->tensors, ne[i]);
    tiny_put_u32(&w->tensors, type);
    tiny_put_u64(&w->tensors, offset);
    w->tensor_count++;
}

void aid_put_data(tiny_writer *w, size_t bytes)
{
    uint8_t byte = 0x11;
    while (bytes-- > 0)
        tiny_put(&w->data, &byte, 1);
}

tiny_file aid_every_type(void)
{
    static const uint32_t types[] = {TINY_F32,  TINY_F16,  TINY_Q4_0, TINY_Q8_0,
                                     TINY_Q4_K, TINY_Q6_K, TINY_BF16};
    static float values[512 * 2];
    uint64_t ne[2] = {512, 2};
    tiny_writer w;
    uint32_t i;
    tiny_start(&w, 1);
    aid_put_every_type(&w);
    for (i = 0; i < BLM_COUNT_OF(types); i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", (unsigned)types[i]);
        tiny_tensor(&w, name, types[i], 2, ne, values);
    }
    return tiny_finish(&w);
}

unsigned aid_exercise(const blm_gguf *g)
{
    static const char *const keys[] = {"value.0", "value.8",           "value.9", "array.8",
                                       "array.6", "general.alignment", "nothing"};
    static const char *const tensors[] = {"t0", "t2", "t14", "nothing"};
    unsigned sum = 0;
    uint32_t type, u;
    size_t i;
    int flag;
    float f;
    blm_string s;
    for (i = 0; i < BLM_COUNT_OF(keys); i++) {
        blm_gguf_u32(g, keys[i], &u, NULL);
        blm_gguf_f32(g, keys[i], &f, NULL);
        blm_gguf_bool(g, keys[i], &flag, NULL);
        if (blm_gguf_string(g, keys[i], &s, NULL) > 0 && s.bytes > 0) {
            sum += (unsigned)s.text[0] + (unsigned)s.text[s.bytes - 1];
        }
        for (type = 0; type < AID_GGUF_TYPES; type++) {
            blm_array a;
            uint64_t at = 0;
            if (blm_gguf_array(g, keys[i], type, &a, NULL) <= 0) continue;
            if (a.bytes > 0) sum += a.data[0] + a.data[a.bytes - 1];
            while (type == BLM_GGUF_STRING && blm_array_next_string(&a, &at, &s)) {
                if (s.bytes > 0) sum += (unsigned)s.text[s.bytes - 1];
            }
        }
    }
    for (i = 0; i < BLM_COUNT_OF(tensors); i++) {
        blm_tensor t;
        if (blm_gguf_tensor(g, tensors[i], &t, NULL) <= 0) continue;
        sum += t.data[0] + t.data[t.row_bytes * t.ne[1] - 1];
    }
    return sum;
}

int aid_open_gguf(blm_gguf *g, const tiny_file *file, bluelm_error *err)
{
    memset(err, 0, sizeof *err);
    return blm_gguf_open(g, file->data, file->bytes, "llm", err);
}

void aid_trial_start(aid_trial *t)
{
    memset(t, 0, sizeof *t);
    tiny_start(&t->w, 1);
}

int aid_trial_open(aid_trial *t)
{
    t->file = tiny_finish(&t->w);
    return aid_open_gguf(&t->g, &t->file, &t->err);
}
