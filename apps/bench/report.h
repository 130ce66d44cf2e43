/* The benchmark's table, and the same as JSON. */
#ifndef BLUELM_BENCH_REPORT_H
#define BLUELM_BENCH_REPORT_H

#include "bench.h"

/* One figure for each number of threads. */
typedef struct bench_row {
    char name[48];
    const char *unit;
    double value[BENCH_MAX_SIDES]; /* 0: none                                    */
    double share[BENCH_MAX_SIDES]; /* of the limit, 0: none                      */
    const char *limit;
    int better; /* 1 when more is better, -1 when less is, 0: no ratio of threads */
} bench_row;

void bench_report_begin(const bench_options *o);
void bench_report_pair(const bench_state *s);
void bench_report_row(const bench_row *row);
void bench_report_pair_end(void);
void bench_report_end(void);

#endif
