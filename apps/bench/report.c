#include "report.h"

#include <stdio.h>

static struct {
    const bench_options *options;
    int pairs, rows; /* printed so far, of this pair */
} bench_report;

void bench_report_begin(const bench_options *o)
{
    bench_report.options = o;
    if (o->json) printf("{\"runs\":%u,\"pairs\":[", (unsigned)o->runs);
}

static void bench_print_header(const bench_state *s)
{
    printf("%s%s: llm %s, mmproj %s, weights %s; kernels %s; medians of %u\n%-34s",
           bench_report.pairs ? "\n" : "", s->options->family->name, s->llm, s->mmproj,
           s->options->read ? "read" : "mapped", s->kernels, (unsigned)s->options->runs, "");
    for (uint32_t i = 0; i < s->side_count; i++)
        printf("%10u thread%s  %-14s", (unsigned)s->sides[i].threads,
               s->sides[i].threads == 1 ? " " : "s", "share");
    if (s->side_count > 1)
        printf("  %u:%u", (unsigned)s->sides[s->side_count - 1].threads,
               (unsigned)s->sides[0].threads);
    puts("");
}

void bench_report_pair(const bench_state *s)
{
    if (bench_report.options->json) {
        printf("%s{\"family\":\"%s\",\"llm\":\"%s\",\"mmproj\":\"%s\",\"weights\":\"%s\","
               "\"kernels\":\"%s\","
               "\"threads\":[",
               bench_report.pairs ? "," : "", s->options->family->name, s->llm, s->mmproj,
               s->options->read ? "read" : "map", s->kernels);
        for (uint32_t i = 0; i < s->side_count; i++)
            printf("%s%u", i ? "," : "", (unsigned)s->sides[i].threads);
        printf("],\"figures\":[");
    } else {
        bench_print_header(s);
    }
    bench_report.pairs++;
    bench_report.rows = 0;
    fflush(stdout);
}

/* How many times better the last number of threads is than the first; 0: no such thing. */
static double bench_row_ratio(const bench_row *row)
{
    uint32_t last = bench_report.options->side_count - 1;
    if (!last || !row->better || row->value[0] <= 0 || row->value[last] <= 0) return 0;
    return row->better > 0 ? row->value[last] / row->value[0]
                           : row->value[0] / row->value[last];
}

static void bench_print_numbers(const char *name, const double *values)
{
    printf(",\"%s\":[", name);
    for (uint32_t i = 0; i < bench_report.options->side_count; i++) {
        fputs(i ? "," : "", stdout);
        if (values[i] > 0)
            printf("%.6g", values[i]);
        else
            printf("null");
    }
    printf("]");
}

static void bench_print_json(const bench_row *row)
{
    double ratio = bench_row_ratio(row);
    printf("%s{\"name\":\"%s\",\"unit\":\"%s\"", bench_report.rows ? "," : "", row->name,
           row->unit);
    bench_print_numbers("values", row->value);
    bench_print_numbers("shares", row->share);
    printf(",\"of\":\"%s\"", row->limit ? row->limit : "");
    if (ratio > 0) printf(",\"ratio\":%.4f", ratio);
    printf("}");
}

static void bench_print_text(const bench_row *row)
{
    double ratio = bench_row_ratio(row);
    printf("%-34s", row->name);
    for (uint32_t i = 0; i < bench_report.options->side_count; i++) {
        char share[24] = "";
        if (row->share[i] > 0)
            snprintf(share, sizeof share, "%5.1f %% %s", 100 * row->share[i], row->limit);
        if (row->value[i] > 0)
            printf("%10.4g %-8s %-14s", row->value[i], row->unit, share);
        else
            printf("%10s %-8s %-14s", "", "", "");
    }
    if (ratio > 0) printf("%6.3f", ratio);
    puts("");
}

void bench_report_row(const bench_row *row)
{
    if (bench_report.options->json)
        bench_print_json(row);
    else
        bench_print_text(row);
    bench_report.rows++;
    fflush(stdout);
}

void bench_report_pair_end(void)
{
    if (bench_report.options->json) printf("]}");
}

void bench_report_end(void)
{
    if (bench_report.options->json) puts("]}");
}
