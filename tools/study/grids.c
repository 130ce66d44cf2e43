/* What grids three rules choose for the sizes that people's pictures have (paper, section 5.1).
 *
 *     grids [SIZES]      CSV to standard output; 1,000,000 sizes, a quarter of each population
 *
 * Populations, drawn from a printed seed:
 *   coco     photographs of a data set: 90 % of them have 167,500 to 355,840 pixels and sides in a
 *            ratio (height to width) of 0.6 to 1.5 (published of COCO's training pictures). Here
 *            logarithms of both are normal, with these as the 5th and 95th hundredths.
 *   web      JPEG files of web pages: how many lie in each tenth of a megapixel is published (HTTP
 *            Archive, 2024); ratios as of photographs.
 *   screens  screenshots of 24 telephones, tablets and computers, each as likely, half of what
 *            stands upright cut to a part of 0.3 to 1 of its height, as people cut them.
 *   camera   photographs as cameras of 5 to 50 megapixels store them: 4:3, 3:2, 16:9 or 1:1, lying or
 *            standing. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../tiler/grid.h"

#define STUDY_SEED 20241115u

/* ---- Sizes ------------------------------------------------------------------------------- */

static uint64_t study_state = STUDY_SEED;

static double study_uniform(void)
{
    study_state ^= study_state << 13;
    study_state ^= study_state >> 7;
    study_state ^= study_state << 17;
    return (double)(study_state >> 11) / 9007199254740992.0;
}

static double study_normal(void)
{
    return sqrt(-2 * log(1 - study_uniform())) * cos(6.283185307179586 * study_uniform());
}

/* exp of a normal value whose 5th and 95th hundredths are low and high. */
static double study_between(double low, double high)
{
    double middle = (log(low) + log(high)) / 2, half = (log(high) - log(low)) / 2;
    return exp(middle + half / 1.6449 * study_normal());
}

typedef struct study_size {
    uint32_t width, height;
} study_size;

static study_size study_of(double pixels, double height_to_width)
{
    double width = sqrt(pixels / height_to_width), height = width * height_to_width;
    width = fmin(fmax(width, 16), 16384);
    height = fmin(fmax(height, 16), 16384);
    return (study_size){(uint32_t)(width + 0.5), (uint32_t)(height + 0.5)};
}

static study_size study_coco(void)
{
    return study_of(study_between(167500, 355840), study_between(0.6, 1.5));
}

static study_size study_web(void)
{
    /* JPEG files of up to 0.1, 0.2 .. 0.6 megapixels; below 0.02 there are icons */
    static const double files[] = {14319104, 3930652, 2622207, 1828927, 1270873, 821690};
    double all = 0, at;
    for (size_t i = 0; i < BLM_COUNT_OF(files); i++)
        all += files[i];
    at = study_uniform() * all;
    size_t i = 0;
    while (i + 1 < BLM_COUNT_OF(files) && at >= files[i])
        at -= files[i++];
    double pixels = 1e5 * ((double)i + study_uniform());
    return study_of(fmax(pixels, 2e4), study_between(0.6, 1.5));
}

static study_size study_screen(void)
{
    static const study_size screens[] = {
        {1080, 2400}, {1080, 2340}, {720, 1600},  {1440, 3200}, {1170, 2532}, {1179, 2556},
        {1290, 2796}, {1125, 2436}, {828, 1792},  {1080, 1920}, {720, 1280},  {1260, 2800},
        {1080, 2160}, {750, 1334},  {1536, 2048}, {1640, 2360}, {1920, 1080}, {1366, 768},
        {1536, 864},  {1440, 900},  {2560, 1440}, {1280, 720},  {2560, 1600}, {3840, 2160}};
    study_size s = screens[(size_t)(study_uniform() * (double)BLM_COUNT_OF(screens))];
    if (s.height > s.width && study_uniform() < 0.5)
        s.height = (uint32_t)(s.height * (0.3 + 0.7 * study_uniform()));
    return s;
}

static study_size study_camera(void)
{
    static const double ratios[] = {4.0 / 3, 4.0 / 3, 3.0 / 2, 16.0 / 9, 1};
    double ratio = ratios[(size_t)(study_uniform() * (double)BLM_COUNT_OF(ratios))];
    double pixels = 5e6 * pow(10, study_uniform());
    return study_of(pixels, study_uniform() < 0.5 ? ratio : 1 / ratio);
}

/* ---- Rules --------------------------------------------------------------------------------- */

#define STUDY_ALPHAS 11

/* so400m's tiles of 384 px and 196 tokens, candidates up to 4 x 4; InternVL's as published: up to
 * 12 tiles, the nearest ratio. */
static blm_tile_rule study_rule(uint32_t rule, uint32_t alpha_ppm)
{
    blm_tile_rule r = {.rule = rule,
                       .alpha_ppm = alpha_ppm,
                       .tile_px = 384,
                       .max_columns = 4,
                       .max_rows = 4,
                       .min_local_tiles = 1,
                       .max_local_tiles = 16,
                       .thumbnail = BLM_THUMBNAIL_FIRST,
                       .tokens_per_tile = 196};
    if (rule == BLUELM_TILES_INTERNVL) {
        r.max_columns = r.max_rows = r.max_local_tiles = 12;
        r.fit = BLM_FIT_STRETCH;
    }
    return r;
}

typedef struct study_count {
    double tokens, kept;             /* sums: tokens; share of the pixels that the grid keeps */
    uint64_t smaller, equal, larger; /* grids of the relaxed rule at 0.1 beside this one's */
} study_count;

/* Local tiles; adds tokens and the share of pixels kept. */
static uint32_t study_choose(const blm_tile_rule *r, study_size s, study_count *count)
{
    bluelm_tile_grid grid;
    bluelm_error err;
    if (blm_tile_choose(r, s.width, s.height, UINT32_MAX, &grid, &err) < 0) {
        fprintf(stderr, "grids: %ux%u: %s\n", s.width, s.height, err.subject);
        exit(1);
    }
    double have = (double)s.width * s.height;
    double shown = (double)grid.resized_width_px * grid.resized_height_px;
    count->tokens += grid.tokens;
    count->kept += fmin(shown, have) / have;
    return grid.columns * grid.rows;
}

static void study_compare(uint32_t relaxed, uint32_t other, study_count *count)
{
    count->smaller += relaxed < other;
    count->equal += relaxed == other;
    count->larger += relaxed > other;
}

static void study_row(const char *population, const char *rule, uint32_t alpha_ppm, uint64_t n,
                      const study_count *c, int compared)
{
    printf("%s,%s,%g,%llu,%.1f,%.4f,", population, rule, alpha_ppm / 1e6, (unsigned long long)n,
           c->tokens / (double)n, c->kept / (double)n);
    if (compared)
        printf("%llu,%llu,%llu\n", (unsigned long long)c->smaller, (unsigned long long)c->equal,
               (unsigned long long)c->larger);
    else
        printf(",,\n");
}

static void study_population(const char *name, study_size (*draw)(void), uint64_t n)
{
    blm_tile_rule llava = study_rule(BLUELM_TILES_LLAVA_NEXT, 0);
    blm_tile_rule internvl = study_rule(BLUELM_TILES_INTERNVL, 0);
    blm_tile_rule relaxed[STUDY_ALPHAS];
    study_count counts[STUDY_ALPHAS] = {{0}}, of_llava = {0}, of_internvl = {0};
    for (uint32_t i = 0; i < STUDY_ALPHAS; i++)
        relaxed[i] = study_rule(BLUELM_TILES_RELAXED, i ? i * 50000 : 1);
    for (uint64_t k = 0; k < n; k++) {
        study_size s = draw();
        uint32_t tiles[STUDY_ALPHAS];
        for (uint32_t i = 0; i < STUDY_ALPHAS; i++)
            tiles[i] = study_choose(&relaxed[i], s, &counts[i]);
        study_compare(tiles[2], study_choose(&llava, s, &of_llava), &of_llava);
        study_compare(tiles[2], study_choose(&internvl, s, &of_internvl), &of_internvl);
    }
    for (uint32_t i = 0; i < STUDY_ALPHAS; i++)
        study_row(name, "relaxed", relaxed[i].alpha_ppm, n, &counts[i], 0);
    study_row(name, "llava-next", 0, n, &of_llava, 1);
    study_row(name, "internvl", 0, n, &of_internvl, 1);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        study_size (*draw)(void);
    } populations[] = {{"coco", study_coco},
                       {"web", study_web},
                       {"screens", study_screen},
                       {"camera", study_camera}};
    uint64_t sizes = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    printf("population,rule,alpha,sizes,mean_tokens,pixels_kept,relaxed_smaller,relaxed_equal,"
           "relaxed_larger\n");
    for (size_t i = 0; i < BLM_COUNT_OF(populations); i++)
        study_population(populations[i].name, populations[i].draw,
                         sizes / BLM_COUNT_OF(populations));
    return 0;
}
