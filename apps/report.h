/* What the command prints beside the answer. */
#ifndef BLUELM_APP_REPORT_H
#define BLUELM_APP_REPORT_H

#include <stdio.h>

#include "../bluelm.h"

/* One line that is written over: "encoding tiles 45 %". NULL ends it. */
void app_progress(const char *what, uint64_t done, uint64_t total);

/* The memory table, a line and a bar for each budget. */
void app_print_memory(const bluelm_memory *m);
void app_print_memory_json(const bluelm_memory *m);

void app_print_grid(const char *path, uint32_t width, uint32_t height,
                    const bluelm_tile_grid *grid);
void app_print_grid_json(const bluelm_tile_grid *grid);

/* Times and tokens per second, to stderr. */
void app_print_speeds(const bluelm_stats *s, uint64_t load_us);
void app_print_speeds_json(const bluelm_stats *s, uint64_t load_us);

/* A text as a JSON string, with its quotes. */
void app_print_json_string(const char *text, size_t bytes);

#endif
