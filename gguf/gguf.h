/* The reader of untrusted GGUF files (versions 2 and 3, little endian): zero copy,
 * no memory of its own. blm_gguf_open walks every key and every tensor once and checks
 * every length, count, offset, product and type against the file's size; what it
 * accepted the other functions need not check again. Source: the GGUF specification. */
#ifndef BLM_GGUF_H
#define BLM_GGUF_H

#include "../base/tensor.h"

enum {
    BLM_GGUF_U8 = 0, BLM_GGUF_I8, BLM_GGUF_U16, BLM_GGUF_I16, BLM_GGUF_U32, BLM_GGUF_I32,
    BLM_GGUF_F32, BLM_GGUF_BOOL, BLM_GGUF_STRING, BLM_GGUF_ARRAY, BLM_GGUF_U64, BLM_GGUF_I64,
    BLM_GGUF_F64
};

/* Limits on what a walk over names costs, since the reader owns no memory to index them.
 * Keys are walked over for every one that is asked for, tensors once for every layer:
 * a load is linear in the file, whatever the file.
 * Most tensors a file may have; the largest models in use have some 1,500. */
#define BLM_GGUF_MAX_TENSORS 16384u
/* Most tensors of one layer; models in use have under 40. */
#define BLM_GGUF_MAX_LAYER_TENSORS 64u
/* Most keys; files in use have under 100. */
#define BLM_GGUF_MAX_KEYS 65536u
/* Most strings in arrays, apart from the four longest arrays, which are jumped over. */
#define BLM_GGUF_MAX_LOOSE_STRINGS 65536u
/* Longest names that the specification allows. */
#define BLM_GGUF_MAX_KEY_BYTES         65535u
#define BLM_GGUF_MAX_TENSOR_NAME_BYTES 64u
/* Most that general.alignment may be: a power of two up to this. */
#define BLM_GGUF_MAX_ALIGNMENT 65536u

/* Where a long array of strings begins and ends. */
typedef struct blm_gguf_span {
    uint64_t at, end;
    uint64_t count; /* of its strings */
} blm_gguf_span;

/* The tensors of one layer: those whose names begin with "blk.3.", or whatever ends in the
 * first number between dots. Who asks for one asks for the others next. */
typedef struct blm_gguf_layer {
    char prefix[32];       /* not terminated                                        */
    uint32_t prefix_bytes; /* 0: none is known                                      */
    uint32_t count;
    uint64_t asked; /* bit i: for entry i                                             */
    uint32_t at[BLM_GGUF_MAX_LAYER_TENSORS]; /* entries, from tensors_at: the table of
                              BLM_GGUF_MAX_TENSORS is shorter than 4 GB             */
} blm_gguf_layer;

typedef struct blm_gguf {
    const uint8_t *file;
    uint64_t bytes;
    const char *label;     /* "llm" or "mmproj": begins the subject of errors   */
    uint64_t key_count;
    uint64_t keys_at;      /* byte offset of the first key                      */
    uint64_t tensor_count;
    uint64_t tensors_at;   /* byte offset of the first tensor's name            */
    uint64_t data_at;      /* byte offset of the data section                   */
    /* The arrays of strings that take longest to walk: a tokenizer's pieces, merges.
     * A walk over the keys jumps over them. */
    blm_gguf_span strings[4];
    blm_gguf_layer layer; /* asked for last; changes behind a const pointer         */
} blm_gguf;

typedef struct blm_array {
    uint32_t type;       /* of the elements: BLM_GGUF_*                  */
    uint64_t count;
    const uint8_t *data; /* the elements as they lie in the file         */
    uint64_t bytes;      /* all of them together                         */
} blm_array;

/* Checks a whole file's header. Tensor data must lie inside the file and may have any
 * type; of a type that GGUF does not define only its start can be checked. No tensors at
 * all is fine (vocabulary-only files). The file and the label stay readable for g's life.
 * Errors: BLUELM_E_ARG (no file), BLUELM_E_FORMAT (at = byte), BLUELM_E_UNSUPPORTED
 * (version; arrays of arrays; more keys, tensors or strings than the limits above). */
BLM_PRIVATE BLM_COLD int blm_gguf_open(blm_gguf *g, const void *file, uint64_t bytes,
                                       const char *label, bluelm_error *err);

/* Getters: 1 and *out filled when the key is there, 0 and *out untouched when it is
 * absent, BLUELM_E_FORMAT when it is there with a type (need = the one wanted, have) or a
 * value that does not fit (u32: any non-negative integer type that fits; f32: f32 or f64,
 * finite) or when it is there twice. */
BLM_PRIVATE int blm_gguf_u32(const blm_gguf *g, const char *key, uint32_t *out,
                             bluelm_error *err);
BLM_PRIVATE int blm_gguf_f32(const blm_gguf *g, const char *key, float *out, bluelm_error *err);
BLM_PRIVATE int blm_gguf_bool(const blm_gguf *g, const char *key, int *out, bluelm_error *err);
BLM_PRIVATE int blm_gguf_string(const blm_gguf *g, const char *key, blm_string *out,
                                bluelm_error *err);
/* element_type: BLM_GGUF_*; an array of another type is BLUELM_E_FORMAT. */
BLM_PRIVATE int blm_gguf_array(const blm_gguf *g, const char *key, uint32_t element_type,
                               blm_array *out, bluelm_error *err);

/* Steps through an array of strings: *at starts at 0 and ends at array->bytes.
 * Returns 1 and the string, or 0 at the end. */
BLM_PRIVATE int blm_array_next_string(const blm_array *array, uint64_t *at, blm_string *out);

/* Finds a tensor by name. Returns 1, 0 when absent (*out untouched), BLUELM_E_UNSUPPORTED
 * when its type is one that bluelm does not run (have = the type's number) or when its layer
 * has more tensors than the limit above,
 * BLUELM_E_FORMAT when two tensors have the name. Every ne is at least 1, ne[0] is a
 * multiple of the type's block, and row_bytes x ne[1] bytes are there. n_dims is one more than
 * the last dimension above 1. */
BLM_PRIVATE int blm_gguf_tensor(const blm_gguf *g, const char *name, blm_tensor *out,
                                bluelm_error *err);

/* The first tensor, in the layer that was asked for last, of a name that was not asked for.
 * Returns 0 when there is none. */
BLM_PRIVATE int blm_gguf_unasked(const blm_gguf *g, blm_string *name);

/* Fails with the subject "LABEL: WHAT NAME", as in "llm: tensor output.weight", of which
 * the end is cut when it is long. name may be NULL. Returns code. */
BLM_PRIVATE int blm_gguf_fail(const blm_gguf *g, bluelm_error *err, int code, const char *what,
                              const char *name, uint64_t need, uint64_t have, uint64_t at);

#endif
