/* What this machine can do at most: the limits that the benchmark's figures are shares of. */
#ifndef BLUELM_BENCH_LIMITS_H
#define BLUELM_BENCH_LIMITS_H

#include "../../bluelm.h"

enum bench_limit { BENCH_INT8, BENCH_FLOAT, BENCH_READ, BENCH_NO_LIMIT };

/* Bytes per second that `threads` threads read from memory: the best of some loops.
 *   data  large: several times the caches */
double bench_read_bandwidth(const bluelm_port *port, uint32_t threads, const void *data,
                            size_t bytes);

/* Multiply-adds per second of the instructions that kernels of that name use for int8 or
 * float products; 0: not known. */
double bench_peak_rate(const bluelm_port *port, uint32_t threads, enum bench_limit limit,
                       const char *kernels);
const char *bench_limit_name(enum bench_limit limit, const char *kernels);

/* Microseconds, a median of thousands, to run a job of two empty parts after so much work of
 * the caller's own.
 *   meet  1: the parts end when both have begun, so that two threads must take part */
double bench_dispatch_us(const bluelm_port *port, uint32_t gap_us, int meet);

#endif
