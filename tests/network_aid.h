/* What the tests of the network share: an engine with its arena, reading to the end, and
 * the distance from the double-precision rewrite. */
#ifndef NETWORK_AID_H
#define NETWORK_AID_H

#include <stddef.h>
#include <stdint.h>

#include "../bluelm.h"
#include "tiny_model.h"

typedef struct subject {
    bluelm *engine;
    void *arena;
    bluelm_error err; /* of the last call below that failed */
} subject;

/* Plans, allocates and initialises. mmproj may be NULL. Returns bluelm_init's code; close in
 * any case. */
int subject_open(subject *s, const tiny_file *llm, const tiny_file *mmproj,
                 const bluelm_config *config, const bluelm_port *port);
void subject_close(subject *s);

/* Steps until nothing is left to do. Returns 0 or an error. */
int subject_drain(subject *s);

/* Adds tokens and reads them. Returns the logits, or NULL (err says why). */
const float *subject_read(subject *s, const int32_t *tokens, size_t count);

/* |got - want| / |want|, Euclidean; huge when anything is not finite. */
double relative_error(const float *got, const double *want, size_t count);
double relative_error_f32(const float *got, const float *want, size_t count);

size_t argmax_f32(const float *x, size_t count);
size_t argmax_double(const double *x, size_t count);

/* Whether `chosen` is the best of the exact logits, or so near it that an error of that
 * relative size may swap the two: within error x the logits' root mean square. */
int argmax_holds(const double *exact, size_t count, size_t chosen, double error);

/* Worst error of each kind of computation, with what is allowed. */
typedef struct tally {
    const char *name;
    double allowed, worst;
    unsigned checks;
} tally;

/* Notes an error. Returns whether it is allowed, and prints it if it is not. */
int tally_note(tally *t, double error);
void tally_print(const tally *t, size_t count);

/* A port that runs parts one after another, last first. */
bluelm_port backward_port(void);

#endif
