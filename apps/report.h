/* What the command prints beside the answer, to app_out. */
#ifndef BLUELM_APP_REPORT_H
#define BLUELM_APP_REPORT_H

#include "../bluelm.h"

/* The memory table, a line and a bar for each budget. */
void app_print_memory(const bluelm_memory *m);
void app_print_memory_json(const bluelm_memory *m);

/* path: NULL for a size alone. */
void app_print_grid(const char *path, uint32_t width, uint32_t height,
                    const bluelm_tile_grid *grid);
void app_print_grid_json(const bluelm_tile_grid *grid);

/* What the files hold. */
void app_print_info(const bluelm_info *info, const bluelm_weights *weights);
void app_print_info_json(const bluelm_info *info, const bluelm_weights *weights);

/* Times and tokens per second, to stderr. */
void app_print_speeds(const bluelm_stats *s, const bluelm_memory *m, uint64_t load_us);
void app_print_speeds_json(const bluelm_stats *s, uint64_t load_us);

#endif
