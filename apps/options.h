/* The command line of `bluelm`. */
#ifndef BLUELM_APP_OPTIONS_H
#define BLUELM_APP_OPTIONS_H

#include "../bluelm.h"

#define APP_MAX_IMAGES 16

typedef struct app_options {
    const char *command;
    const char *model, *mmproj;
    const char *images[APP_MAX_IMAGES];
    uint32_t image_count;
    const char *prompt, *system;
    const char *ids, *output;
    const char *cpu;      /* --cpu: kernels to use, by name; NULL: auto */
    const char *cpus;     /* --cpus: processors for the workers; NULL: any */
    uint32_t weights;     /* --weights: 0 mapped, 1 read into huge pages */
    uint64_t arena_bytes; /* --arena; 0: what the plan needs */
    uint32_t max_tokens;
    int special, json, quiet;
    bluelm_config config;
    bluelm_sampling sampling;
} app_options;

/* Parses argv. Returns 0; or prints to stderr what is wrong and returns 2; or prints the
 * help text to stdout and returns 1. */
int app_options_parse(app_options *o, int argc, char **argv);

#endif
