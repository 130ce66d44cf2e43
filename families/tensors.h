/* Finds a network's tensors and numbers in a GGUF file and checks their shapes. */
#ifndef BLM_TENSORS_H
#define BLM_TENSORS_H

#include "../base/name.h"
#include "../gguf/gguf.h"

#define BLM_NO_LAYER (-1)

/* Where a tensor is looked for: prefix "blk." and layer 3 give "blk.3.NAME". */
typedef struct blm_tensor_place {
    const blm_gguf *file;
    const char *prefix; /* "" or e.g. "v.blk." */
    int32_t layer;      /* BLM_NO_LAYER: prefix and name alone */
} blm_tensor_place;

/* A weight matrix of [rows][cols] of any type that is run; rows 0: any number.
 * Errors: BLUELM_E_FORMAT when it is absent (need 1, have 0) or has another shape
 * (need and have are the side that differs). */
BLM_PRIVATE int blm_tensor_matrix(const blm_tensor_place *place, const char *name,
                                  uint64_t cols, uint64_t rows, blm_tensor *out,
                                  bluelm_error *err);

/* A vector of n F32 values: norms and biases. */
BLM_PRIVATE int blm_tensor_vector(const blm_tensor_place *place, const char *name, uint64_t n,
                                  blm_vector *out, bluelm_error *err);

/* 1 if the file has a tensor of that name, 0 if not, or an error. */
BLM_PRIVATE int blm_tensor_present(const blm_tensor_place *place, const char *name,
                                   bluelm_error *err);

/* As blm_tensor_vector, but out->data is NULL and 0 is returned when it is absent. */
BLM_PRIVATE int blm_tensor_maybe_vector(const blm_tensor_place *place, const char *name,
                                        uint64_t n, blm_vector *out, bluelm_error *err);

/* Fails when the file is a part of a model that was split: parts are joined before they run. */
BLM_PRIVATE int blm_file_whole(const blm_gguf *g, bluelm_error *err);

/* Fails when the layer whose tensors were asked for last holds others: without them it would
 * compute something else. BLUELM_E_UNSUPPORTED names one. */
BLM_PRIVATE int blm_tensors_all_known(const blm_gguf *g, bluelm_error *err);

/* A whole number that must be there, within [low, high]. The key is arch + name. */
BLM_PRIVATE int blm_key_need_u32(const blm_gguf *g, const char *arch, const char *name,
                                 uint32_t low, uint32_t high, uint32_t *out, bluelm_error *err);

/* As blm_key_need_u32; *out keeps its value when the key is absent. */
BLM_PRIVATE int blm_key_maybe_u32(const blm_gguf *g, const char *arch, const char *name,
                                  uint32_t low, uint32_t high, uint32_t *out,
                                  bluelm_error *err);

/* An array of whole numbers of 32 bits, with a sign or without: 1, 0 when the key is absent. */
BLM_PRIVATE int blm_key_maybe_list(const blm_gguf *g, const char *key, blm_array *out,
                                   bluelm_error *err);

/* A positive number; *out keeps its value when the key is absent. */
BLM_PRIVATE int blm_key_maybe_f32(const blm_gguf *g, const char *arch, const char *name,
                                  float *out, bluelm_error *err);

#endif
