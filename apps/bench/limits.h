/* What this machine can do at most: the limits that the benchmark's figures are shares of. */
#ifndef BLUELM_BENCH_LIMITS_H
#define BLUELM_BENCH_LIMITS_H

#include "../../bluelm.h"

/* Bytes per second that `threads` threads read from memory: the best of some loops.
 *   data  large: several times the caches */
double bench_read_bandwidth(const bluelm_port *port, uint32_t threads, const void *data,
                            size_t bytes);

/* Multiply-adds per second, best of `runs`, of the int8 dot product that bluelm's kernels use
 * here: VNNI's vpdpbusd where there is AVX-512, else AVX2's. *name says which; 0 on machines
 * that have neither. */
double bench_int8_peak(const bluelm_port *port, uint32_t threads, uint32_t runs,
                       const char **name);

#endif
