/* The command line of `bluelm`: tables of commands and options. */
#ifndef BLUELM_APP_OPTIONS_H
#define BLUELM_APP_OPTIONS_H

#include "../bluelm.h"

#define APP_MAX_IMAGES 16
#define APP_MAX_STOPS  8

/* A picture asked for: a file, or for `plan` a size alone. */
typedef struct app_image {
    const char *path; /* NULL: a size */
    uint32_t width_px, height_px;
} app_image;

typedef struct app_options {
    const char *command;
    const char *model, *mmproj;
    app_image images[APP_MAX_IMAGES];
    uint32_t image_count;
    const char *prompt, *prompt_file, *system;
    const char *ids, *rows, *then, *output;
    uint32_t grid_columns, grid_rows; /* of --rows */
    const char *cpus;                 /* processors for the workers; NULL: any */
    uint32_t cpu;         /* kernels to use, by their place in --cpu's list; 0: auto */
    uint32_t weights;     /* 0 mapped, 1 read into huge pages */
    uint64_t arena_bytes; /* 0: what the plan needs */
    uint32_t max_tokens;  /* 0: until the model ends */
    uint32_t raw, raw_output, special, json, quiet;
    uint32_t release_vision;          /* the mmproj goes once pictures are encoded */
    const char *stops[APP_MAX_STOPS]; /* texts before which an answer ends */
    uint32_t stop_count;
    bluelm_config config;
    bluelm_chat_texts texts; /* of a template of one's own; all NULL: none */
    bluelm_sampling sampling;
} app_options;

typedef struct app_session app_session;

typedef struct app_command {
    const char *name, *summary;
    int (*run)(app_session *s, const app_options *o);
    const char *needs; /* options it cannot do without: all of a,b, one of a|b */
} app_command;

/* Commands in the order of the bits that the table of options has for them. */
enum {
    APP_RUN = 1 << 0,
    APP_CHAT = 1 << 1,
    APP_PLAN = 1 << 2,
    APP_INFO = 1 << 3,
    APP_TOKENIZE = 1 << 4,
    APP_LOGITS = 1 << 5,
    APP_EMBED = 1 << 6,
    APP_RENDER = 1 << 7
};

/* Parses argv. Returns the command; or prints what was asked for, or what is wrong, and
 * returns NULL with the exit status. */
const app_command *app_options_parse(app_options *o, const app_command *commands,
                                     uint32_t count, int argc, char **argv, int *status);

/* The name that --cpu gave; NULL: auto. */
const char *app_cpu_name(const app_options *o);

#endif
