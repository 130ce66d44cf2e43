/* What it would gain to let one pass over a layer's weights serve all tiles of a batch.
 *
 *     passes [RUNS]      CSV to standard output
 *
 * A tile of so400m has 729 rows of activations. Its products run for 1, 2, 4 and 6 tiles in two
 * ways, in turns: tile after tile, as the encoder does, or all rows at once, panels of weights
 * unpacked once for all of them. Times are of the processor, not of the clock on the wall, the
 * least of RUNS (5), one thread. Both ways must give the same bits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../network/linear.h"
#include "../../ports/posix/posix.h"

enum { STUDY_ROWS = 729, STUDY_TILES = 6, STUDY_COLS = 4352, STUDY_OUT = 4304 };

typedef struct study_matrix {
    const char *name;
    uint32_t rows, cols, count; /* in a block */
} study_matrix;

/* ffn_down has 4,304 columns, no multiple of 32: 4,352 stand for them. */
static const study_matrix study_block[] = {
    {"q, k, v, o", 1152, 1152, 4}, {"ffn_up", 4304, 1152, 1}, {"ffn_down", 1152, 4352, 1}};

static void *study_take(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (!memory) {
        fprintf(stderr, "passes: out of memory\n");
        exit(1);
    }
    return memory;
}

static double study_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Q8_0: a scale of 1/1024 and values that look like noise. */
static blm_tensor study_weights(const study_matrix *m)
{
    uint64_t blocks = (uint64_t)m->rows * m->cols / 32, state = 88172645463325252u;
    uint8_t *data = study_take(blocks * 34);
    for (uint64_t i = 0; i < blocks * 34; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        data[i] = i % 34 == 0 ? 0x00 : i % 34 == 1 ? 0x14 : (uint8_t)(state >> 24);
    }
    return (blm_tensor){.data = data,
                        .type = BLM_Q8_0,
                        .n_dims = 2,
                        .ne = {m->cols, m->rows},
                        .row_bytes = m->cols / 32 * 34};
}

typedef struct study_bench {
    blm_compute compute;
    blm_linear linear;
    float *x, *y[2];
    double whole, apart; /* seconds of a block's products of all tiles: the least so far */
} study_bench;

/* The products of `tiles` tiles, `at_once` of them in a pass. Returns seconds. */
static double study_run(study_bench *b, const blm_tensor *w, uint32_t tiles, uint32_t at_once,
                        float *y)
{
    size_t in = (size_t)STUDY_ROWS * w->ne[0], out = (size_t)STUDY_ROWS * w->ne[1];
    double begun = study_seconds();
    for (uint32_t t = 0; t < tiles; t += at_once) {
        const blm_product p = {w, NULL, y + t * out, w->ne[1]};
        blm_linear_run(&b->linear, &b->compute, b->x + t * in, w->ne[0], at_once * STUDY_ROWS,
                       (uint32_t)w->ne[0], &p, 1);
    }
    return study_seconds() - begun;
}

static void study_matrix_run(study_bench *b, const study_matrix *m, uint32_t tiles,
                             uint32_t runs, double *whole, double *apart)
{
    blm_tensor w = study_weights(m);
    double least[2] = {1e9, 1e9};
    for (uint32_t run = 0; run < runs; run++) {
        for (uint32_t i = 0; i < 2; i++) { /* which goes first takes turns */
            uint32_t way = (i + run) % 2;
            double seconds = study_run(b, &w, tiles, way ? tiles : 1, b->y[way]);
            least[way] = BLM_MIN(least[way], seconds);
        }
    }
    if (memcmp(b->y[0], b->y[1], sizeof(float) * STUDY_ROWS * tiles * m->rows)) {
        fprintf(stderr, "passes: the two ways give other bits\n");
        exit(1);
    }
    *apart += least[0] * m->count;
    *whole += least[1] * m->count;
    free((void *)(uintptr_t)w.data);
}

/* Bytes that a batch's activations take when products see all its tiles: now, and then. */
static double study_activations(uint32_t tiles, int shared)
{
    const double row = 1152 * sizeof(float), ffn = 4304 * sizeof(float), acts = 4352 * 1.25;
    double once = row * 2 + BLM_MAX(3 * row, ffn) + acts; /* in, out, q k v or hidden, int8 */
    return STUDY_ROWS * (tiles * row + (shared ? tiles : 1) * once);
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {1, 2, 4, 6};
    uint32_t runs = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 5;
    study_bench b = {.compute = {.workers = {.count = 1}}};
    blm_arena arena;
    size_t bytes = (size_t)STUDY_ROWS * STUDY_TILES * STUDY_COLS * 6;
    blm_kernels_init(&b.compute.kernels, bluelm_posix_port(NULL).cpu_features, 0);
    blm_arena_start(&arena, study_take(bytes), bytes);
    blm_linear_take(&b.linear, &arena, &b.compute, 8, STUDY_ROWS * STUDY_TILES, STUDY_COLS, 0);
    b.x = study_take((size_t)STUDY_ROWS * STUDY_TILES * STUDY_COLS * sizeof(float));
    for (uint32_t i = 0; i < 2; i++)
        b.y[i] = study_take((size_t)STUDY_ROWS * STUDY_TILES * STUDY_OUT * sizeof(float));
    for (size_t i = 0; i < (size_t)STUDY_ROWS * STUDY_TILES * STUDY_COLS; i++)
        b.x[i] = (float)((int)(i * 2654435761u >> 12 & 2047) - 1024) / 512;
    printf("tiles,ms_per_tile_apart,ms_per_tile_together,gain_percent,activations_mb_apart,"
           "activations_mb_together\n");
    for (size_t i = 0; i < BLM_COUNT_OF(counts); i++) {
        double whole = 0, apart = 0;
        for (size_t j = 0; j < BLM_COUNT_OF(study_block); j++)
            study_matrix_run(&b, &study_block[j], counts[i], runs, &whole, &apart);
        printf("%u,%.2f,%.2f,%.2f,%.1f,%.1f\n", counts[i], 27e3 * apart / counts[i],
               27e3 * whole / counts[i], 100 * (apart - whole) / apart,
               study_activations(counts[i], 0) / 1e6, study_activations(counts[i], 1) / 1e6);
        fflush(stdout);
    }
    return 0;
}
