/* Vocabularies of the right size with plausible pieces. */
#ifndef BLUELM_BENCH_VOCABULARY_H
#define BLUELM_BENCH_VOCABULARY_H

#include "families.h"

void bench_write_vocabulary(bench_writer *w, const bench_language *l);

#endif
