/* What the parts of the benchmark share: options, the engine under test, the timed scenes. */
#ifndef BLUELM_BENCH_H
#define BLUELM_BENCH_H

#include "../../ports/posix/posix.h"
#include "families.h"

enum { BENCH_MAX_SIDES = 4, BENCH_MAX_RUNS = 99, BENCH_MAX_NAMES = 4, BENCH_WORDS = 16 };

typedef struct bench_options {
    const char *folder;
    const bench_family *family;
    const char *llms[BENCH_MAX_NAMES], *mmprojs[BENCH_MAX_NAMES]; /* pairs, by place     */
    uint32_t pair_count;
    uint32_t threads[BENCH_MAX_SIDES], side_count;
    uint32_t runs, cpu_mask, act, vision_act; /* the latter BLUELM_ACT_* */
    uint32_t context_tokens, picture_w, picture_h;
    const char *cpus;   /* for bluelm_posix_pool_start_on */
    const char *only;   /* scenes whose names hold this   */
    const char *speeds; /* what tools/model_speeds.py wrote, for --models */
    int json, read;     /* read: bluelm_posix_read, not _map */
    int pictures;       /* --mmproj was given, which --serve takes for a wish */
    enum bench_job { BENCH_TIME, BENCH_SERVE, BENCH_WRITE, BENCH_MODELS } job;
} bench_options;

/* One number of threads. */
typedef struct bench_side {
    uint32_t threads;
    bluelm_port port;
    bluelm_config config;
    bluelm_memory memory;
    void *saved; /* a copy of the arena, behind a long prompt; NULL: none */
} bench_side;

typedef struct bench_state {
    const bench_options *options;
    const char *llm, *mmproj; /* names of the pair under test; mmproj NULL: none */
    bluelm_weights weights;
    bench_side sides[BENCH_MAX_SIDES];
    uint32_t side_count;
    const char *kernels;
    bluelm *engine; /* of one side at a time, in the one arena */
    void *arena;
    size_t arena_bytes;
    uint8_t *picture; /* [rows][columns][3], as large as any scene asks for */
    size_t picture_bytes;
    bluelm_tile_grid grid; /* of the picture */
    float *tile;           /* [tile_floats]: a tile's tokens         */
    size_t tile_floats;
} bench_state;

/* Reads the command line, or prints how to use it and ends the program. */
void bench_parse(bench_options *o, int argc, char **argv);

/* Prints why and ends the program. */
void bench_die(const char *what, const bluelm_error *err);

/* Maps the files of a pair, plans each side and takes memory for it; the other gives all of
 * that back. */
void bench_open(bench_state *s, const char *llm, const char *mmproj);
void bench_close(bench_state *s);

/* Builds the engine of a side, in the place of the one before. */
void bench_init(bench_state *s, const bench_side *side);

/* Queues tokens that depend on their place alone. */
void bench_add_tokens(bench_state *s, uint32_t count, uint32_t place);

/* Steps until there is nothing to do, or until `type` was reported as finished. */
void bench_steps(bench_state *s, bluelm_event_type until);

/* Scenes: each builds the side's engine, runs, and fills in the seconds it took. */
typedef void (*bench_scene)(bench_state *s, bench_side *side, double *seconds);
void bench_load(bench_state *s, bench_side *side, double *seconds);
void bench_prefill_128(bench_state *s, bench_side *side, double *seconds);
void bench_prefill_512(bench_state *s, bench_side *side, double *seconds);
void bench_decode_128(bench_state *s, bench_side *side, double *seconds);
void bench_tile(bench_state *s, bench_side *side, double *seconds);
void bench_picture(bench_state *s, bench_side *side, double *seconds);

/* A picture, and the first token of an answer about it. */
void bench_answer(bench_state *s, bench_side *side, double *seconds);

/* An instruction of 16 words and an answer behind a picture's 1,764 tokens. In seconds:
 *   [0] from the last word to the first token   [1] for each of the 8 tokens after it
 *   [2] for each of 64 tokens behind 1,900 */
void bench_long(bench_state *s, bench_side *side, double *seconds);
enum { BENCH_DECODED = 64, BENCH_LONG_CONTEXT = 1900 };

/* Bytes: resident at most while a tile, a prompt and some tokens are run, and what of that
 * is neither weights nor arena nor the benchmark's own picture. 0 where the system does not
 * tell. */
typedef struct bench_residence {
    double peak, beyond;
} bench_residence;
bench_residence bench_measure_residence(bench_state *s, bench_side *side);

/* The files of the pair at `index` of the options, written unless they are there. */
void bench_make_pair(const bench_options *o, uint32_t index, char *llm, char *mmproj,
                     size_t bytes);

/* Answers the orders on standard input: see tools/bench_peer. */
void bench_serve(bench_state *s);

/* Prints docs/models.md. */
void bench_print_models(const bench_options *o);

#endif
