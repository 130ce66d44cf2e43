/* GGUF files with keys and tensors of every type, and broken ones, for the tests of their
 * reader. */
#ifndef GGUF_AID_H
#define GGUF_AID_H

#include "../gguf/gguf.h"
#include "tiny_model.h"

#define AID_GGUF_TYPES 13u /* of GGUF's value types */

void aid_put_f64(tiny_buffer *b, double value);

/* The names of aid_put_every_type's keys, in static memory. */
const char *aid_value_key(uint32_t type);
const char *aid_array_key(uint32_t type);

/* A key of every type, and an array of 3 of every type but arrays; "value.9" is an array.
 * Numbers are 7, truth values true, strings "seven". */
void aid_put_every_type(tiny_writer *w);

/* Adds a tensor's entry with no data of its own. */
void aid_put_entry(tiny_writer *w, const char *name, uint32_t n_dims, const uint64_t *ne,
                   uint32_t type, uint64_t offset);
void aid_put_data(tiny_writer *w, size_t bytes);

/* Keys of all types and tensors t0, t1, ... of types that are run, 512 x 2. */
tiny_file aid_every_type(void);

/* Calls everything there is on an opened file and touches what it returns. */
unsigned aid_exercise(const blm_gguf *g);

/* blm_gguf_open under the label "llm". */
int aid_open_gguf(blm_gguf *g, const tiny_file *file, bluelm_error *err);

/* A file that a test writes, how it was opened, and the error if it was not. */
typedef struct aid_trial {
    tiny_writer w;
    tiny_file file;
    blm_gguf g;
    bluelm_error err;
} aid_trial;

void aid_trial_start(aid_trial *t);
int aid_trial_open(aid_trial *t); /* what blm_gguf_open returned; free t->file */

#endif
