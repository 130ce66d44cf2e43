/* Vision towers and projectors of every kind against references made by others (the smallest
 * in tests/data, the rest in the folder that BLUELM_SHARED names, else ../shared), and what
 * must not matter to them: workers, batches, the room that scratch was taken for. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../families/markup.h"
#include "../families/vision.h"
#include "../ports/posix/posix.h"
#include "file_aid.h"
#include "network_aid.h"
#include "network_double.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ANY_SIZE 4096 /* bytes more than a plan, for alignment */

/* ---- A tower and its scratch -------------------------------------------------------------- */

typedef struct tower {
    tiny_file file;
    blm_vision model;
    blm_vision_work work;
    blm_compute compute;
    int round_floats;
    void *memory;
    bluelm_error err;
} tower;

static int tower_read(tower *t, blm_arena *arena)
{
    blm_gguf g;
    int code = blm_gguf_open(&g, t->file.data, t->file.bytes, "mmproj", &t->err);
    return code < 0 ? code : blm_vision_open(&t->model, &g, t->round_floats, arena, &t->err);
}

static void tower_lay_out(tower *t, blm_arena *arena, uint32_t tiles, uint32_t max_patches)
{
    if (tower_read(t, arena) < 0)
        fail_msg("%s: need %u, have %u", t->err.subject, (unsigned)t->err.need,
                 (unsigned)t->err.have);
    if (!max_patches) max_patches = t->model.patches;
    blm_vision_take(&t->work, arena, &t->model, &t->compute, tiles, max_patches);
}

/* Opens a file for batches of `tiles`. max_patches 0: those of the file's own size. */
static void tower_open(tower *t, tiny_file file, const bluelm_config *run, uint32_t tiles,
                       uint32_t max_patches)
{
    blm_arena arena;
    uint64_t need;
    memset(t, 0, sizeof *t);
    t->file = file;
    t->compute.workers.count = run->workers ? run->workers : 1;
    t->compute.workers.port = backward_port();
    t->round_floats = run->vision_activation_type == BLUELM_ACT_INT8;
    t->compute.vision_activation_bits =
        run->vision_activation_type == BLUELM_ACT_INT16 ? 16 : 8;
    blm_kernels_init(&t->compute.kernels, bluelm_posix_port(NULL).cpu_features, run->cpu_mask);
    blm_arena_start(&arena, NULL, UINT64_MAX);
    tower_lay_out(t, &arena, tiles, max_patches);
    need = arena.wanted + BLM_ARENA_MARGIN;
    t->memory = malloc((size_t)need);
    assert_non_null(t->memory);
    blm_arena_start(&arena, t->memory, need);
    tower_lay_out(t, &arena, tiles, max_patches);
    assert_true(blm_arena_ok(&arena));
    assert_int_equal(arena.wanted + BLM_ARENA_MARGIN, need);
    blm_arena_release(&arena);
}

static void tower_close(tower *t)
{
    free(t->memory);
}

/* Encodes `tiles` pictures of one size as one batch.
 *   rgb   [tiles][height][width][3]
 * Returns f16 rows, [tiles][tokens][row_floats], to be freed, and the floats of a tile. */
static uint16_t *tower_run(tower *t, const uint8_t *rgb, uint32_t width, uint32_t height,
                           uint32_t tiles, size_t *floats)
{
    blm_vision_batch b;
    uint32_t columns, rows, i;
    uint16_t *out;
    memset(&b, 0, sizeof b);
    b.model = &t->model;
    b.work = &t->work;
    b.compute = &t->compute;
    blm_vision_begin(&b, width, height, tiles);
    *floats = (size_t)blm_vision_tokens(&t->model, width, height, &columns, &rows) *
              t->model.row_floats;
    assert_int_equal(b.tokens, columns * rows);
    out = malloc(tiles * *floats * sizeof *out);
    assert_non_null(out);
    for (i = 0; i < tiles; i++)
        blm_vision_embed(&b, i, rgb + (size_t)i * width * height * 3, (size_t)width * 3);
    for (i = 0; i < t->model.n_layer; i++)
        blm_vision_run_layer(&b, i);
    for (i = 0; i < tiles; i++)
        blm_vision_finish(&b, i, out + i * *floats);
    return out;
}

/* ---- References ---------------------------------------------------------------------------- */

typedef struct reference {
    const char *name, *kind;
    int quantised;
    uint32_t sizes[3][2];
    const char *exact; /* NULL: "exact" */
} reference;

static const reference references[] = {
    {"internvl-f32", "internvl", 0, {{112, 112}}, NULL},
    {"internvl-q8_0", "internvl", 1, {{112, 112}}, NULL},
    {"internvl-448-q8_0", "internvl", 1, {{448, 448}}, NULL},
    {"lfm2-f32", "lfm2", 0, {{128, 128}, {288, 160}, {96, 416}}, NULL},
    {"lfm2-q8_0", "lfm2", 1, {{256, 256}, {320, 192}, {160, 384}}, NULL},
    {"qwen2vl-f16", "qwen2vl_merger", 0, {{112, 112}, {224, 84}}, NULL},
    {"qwen2.5vl-f32", "qwen2.5vl_merger", 0, {{224, 224}, {308, 168}}, NULL},
    {"qwen2.5vl-q8_0", "qwen2.5vl_merger", 1, {{112, 112}, {140, 308}}, NULL},
    {"qwen3vl-f32", "qwen3vl_merger", 0, {{128, 128}, {288, 160}}, NULL},
    {"qwen3vl-q8_0", "qwen3vl_merger", 1, {{192, 192}, {160, 320}}, NULL},
    {"qwen3vl-nodeep-f16", "qwen3vl_merger", 0, {{224, 96}}, NULL},
    {"gemma3-f32", "gemma3", 0, {{112, 112}}, NULL},
    {"gemma3-f16", "gemma3", 0, {{224, 224}}, NULL},
    {"llava15-n1", "mlp", 0, {{112, 112}}, NULL},
    {"llava15-n1-key", "mlp", 0, {{112, 112}}, NULL},
    {"llava15-all-key", "mlp", 0, {{112, 112}}, NULL},
    {"llava15-f32", "mlp", 0, {{112, 112}}, NULL},
    {"granite-vision-f16", "mlp", 0, {{112, 112}}, NULL},
    {"pixtral-f32", "pixtral", 0, {{112, 84}}, "peer"},
    {"gemma4v-f16", "gemma4v", 0, {{96, 72}, {48, 144}}, NULL},
    {"gemma4v-q8_0", "gemma4v", 1, {{96, 72}, {48, 144}}, NULL},
};

static tiny_file read_file(const char *name)
{
    return file_reference("vision2", "vision2/mmproj", name);
}

/* A picture, NULL data without one. */
static tiny_file read_picture(uint32_t width, uint32_t height)
{
    char name[64];
    snprintf(name, sizeof name, "pic-%ux%u.rgb", (unsigned)width, (unsigned)height);
    return read_file(name);
}

/* What is allowed against HF's float64: deepstack is kept in half precision, int8
 * activations, which by name round floats too. llama.cpp itself rounds the kernel of patches to f16. */
static double allowed(const reference *r, const tower *t, const bluelm_config *run)
{
    if (t->round_floats) return 2.5e-2;
    if (r->exact) return 1e-3;
    if (r->quantised && run->vision_activation_type != BLUELM_ACT_INT16) return 2e-2;
    if (r->quantised) return 3e-4;
    return t->model.deepstack_count ? 3e-4 : 2e-6;
}

static double error_of(const reference *r, tower *t, uint32_t width, uint32_t height)
{
    char name[96];
    tiny_file rgb = read_picture(width, height), exact;
    size_t floats, i;
    uint16_t *rows;
    const float *got = t->work.projector.out;
    float *want;
    double error;
    snprintf(name, sizeof name, "%s.%ux%u.%s.f32", r->name, (unsigned)width, (unsigned)height,
             r->exact ? r->exact : "exact");
    exact = read_file(name);
    assert_true(rgb.data != NULL && exact.data != NULL);
    assert_int_equal(rgb.bytes, (size_t)width * height * 3);
    rows = tower_run(t, rgb.data, width, height, 1, &floats);
    assert_int_equal(exact.bytes, floats * sizeof(float));
    want = malloc(floats * sizeof *want);
    assert_non_null(want);
    memcpy(want, exact.data, exact.bytes);
    for (i = 0; i < floats; i++)
        assert_int_equal(rows[i], blm_f16_of_f32(got[i]));
    error = relative_error_f32(got, want, floats);
    free(rows), free(want);
    tiny_free(&rgb), tiny_free(&exact);
    return error;
}

/* The rewrite in double precision that random models are held to, held to the reference. */
static void check_rewrite(const reference *r, const tiny_file *file)
{
    uint32_t width = r->sizes[0][0], height = r->sizes[0][1];
    tiny_file rgb = read_picture(width, height), exact;
    int tanh = strcmp(r->kind, "lfm2") == 0 || strcmp(r->kind, "mlp") == 0;
    double_vision m;
    double *tokens, error;
    char name[96];
    float *want;
    if (width * height > 120000) { /* slow */
        tiny_free(&rgb);
        return;
    }
    snprintf(name, sizeof name, "%s.%ux%u.%s.f32", r->name, (unsigned)width, (unsigned)height,
             r->exact ? r->exact : "exact");
    exact = read_file(name);
    assert_true(rgb.data != NULL && exact.data != NULL);
    tokens = malloc(exact.bytes / sizeof(float) * sizeof *tokens);
    want = malloc(exact.bytes);
    assert_true(tokens != NULL && want != NULL);
    memcpy(want, exact.data, exact.bytes);
    double_vision_open(&m, file->data, file->bytes);
    double_vision_picture(&m, rgb.data, width, height, tokens);
    error = relative_error(want, tokens, exact.bytes / sizeof(float));
    printf("  rewrite: %.2g\n", error);
    assert_true(error <= (r->exact ? 1e-3 : tanh ? 3e-4 : 1e-7));
    double_vision_close(&m);
    free(tokens), free(want);
    tiny_free(&rgb), tiny_free(&exact);
}

static uint32_t patch_of(const reference *r)
{
    if (strstr(r->name, "gemma4v")) return 8;
    return strstr(r->name, "lfm2") || strstr(r->name, "qwen3") ? 16 : 14;
}

static uint32_t patches_of(const reference *r, uint32_t patch_px)
{
    uint32_t most = 0, i;
    for (i = 0; i < 3; i++) {
        uint32_t patches = r->sizes[i][0] / patch_px * (r->sizes[i][1] / patch_px);
        if (patches > most) most = patches;
    }
    return most;
}

static void tower_agrees_with_its_reference(void **state)
{
    const reference *r = (const reference *)*state;
    char name[64];
    tiny_file file;
    uint32_t patch = patch_of(r), i;
    snprintf(name, sizeof name, "%s.gguf", r->name);
    file = read_file(name);
    if (file.data == NULL) {
        print_message("%s is not here\n", name);
        skip();
    }
    check_rewrite(r, &file);
    for (i = 0; i < 6; i++) {
        static const char *const types[] = {"default", "int8", "int16"};
        bluelm_config run;
        uint32_t size;
        tower t;
        memset(&run, 0, sizeof run);
        run.vision_activation_type = i / 2; /* BLUELM_ACT_DEFAULT, INT8, INT16 */
        run.cpu_mask = i % 2 ? 0 : BLUELM_CPU_NONE;
        run.workers = 1 + i;
        tower_open(&t, file, &run, 1, patches_of(r, patch));
        assert_string_equal(t.model.projector.name, r->kind);
        for (size = 0; size < 3 && r->sizes[size][0]; size++) {
            double error = error_of(r, &t, r->sizes[size][0], r->sizes[size][1]);
            printf("  %ux%u, %s acts, %s: %.2g\n", (unsigned)r->sizes[size][0],
                   (unsigned)r->sizes[size][1], types[i / 2], i % 2 ? "fastest" : "scalar",
                   error);
            assert_true(error <= allowed(r, &t, &run));
        }
        tower_close(&t);
    }
    tiny_free(&file);
}

/* ---- Random towers -------------------------------------------------------------------------- */

static tally tallies[] = {
    {"float weights", 2e-6, 0, 0},
    {"deepstack in half precision", 3e-4, 0, 0},
    {"quantised weights, int8 acts", 2.5e-2, 0, 0},
    {"quantised weights, int16 acts", 3e-4, 0, 0},
    {"floats rounded, int8 acts", 2.5e-2, 0, 0},
};

static uint32_t pick(tiny_random *r, const uint32_t *from, size_t count)
{
    return from[tiny_next(r) % count];
}

/* Whose feed-forward part is gated, and whose blocks may have windows. */
static int gated_of(tiny_projector projector)
{
    return projector == TINY_QWEN25VL || projector == TINY_QWEN25O || projector == TINY_DOTSOCR;
}

static int pixtral_of(tiny_projector projector)
{
    return projector == TINY_PIXTRAL || projector == TINY_LIGHTONOCR;
}

static tiny_vision_config random_tower(tiny_projector projector, uint64_t seed)
{
    static const uint32_t widths[] = {32, 64, 96, 160}, ffn[] = {80, 50, 272, 64, 33};
    static const uint32_t heads[] = {1, 2, 4}, types[] = {TINY_F32, TINY_F16, TINY_Q8_0};
    static const uint32_t sides[] = {4, 8, 12};
    tiny_vision_config c = tiny_vision_default();
    tiny_random r;
    r.state = seed;
    c.seed = seed;
    c.projector = projector;
    c.patch_px = 4 + (uint32_t)(tiny_next(&r) % 5);
    c.image_px = c.patch_px * pick(&r, sides, COUNT(sides));
    if (projector == TINY_LFM2 && tiny_next(&r) % 4 == 0) c.image_px = 256, c.patch_px = 32;
    if (projector == TINY_MLP && tiny_next(&r) % 4 == 0) c.image_px = 378, c.patch_px = 63;
    c.width = pick(&r, widths, COUNT(widths));
    c.n_head = pick(&r, heads, COUNT(heads));
    c.n_layer = 2 + (uint32_t)(tiny_next(&r) % 3);
    c.n_ff = pick(&r, ffn, COUNT(ffn));
    c.n_embd = projector == TINY_GEMMA3 ? 288 : projector == TINY_RESAMPLER ? 256 : 64;
    c.queries = 1 + (uint32_t)(seed % 7);
    c.joint_layer = (uint32_t)(seed % 2);
    c.hidden = (uint32_t)(tiny_next(&r) % 2) * 96;
    c.type = pick(&r, types, COUNT(types));
    c.down_type = c.type;
    c.patch_type = (uint32_t)(tiny_next(&r) % 2);
    c.merge = projector == TINY_GEMMA3 ? 4 : 2;
    if (pixtral_of(projector)) c.merge = 1 + (uint32_t)(seed % 3), c.input_norm = c.merge != 1;
    c.activation = gated_of(projector) ? TINY_SILU : (tiny_activation)(tiny_next(&r) % 3);
    c.fused = (int)(tiny_next(&r) % 2);
    c.old_names = c.n_ff != c.width && tiny_next(&r) % 4 == 0;
    if (projector == TINY_GEMMA4) c.fused = c.old_names = 0;
    c.uneven_pixels = 1;
    if (gated_of(projector)) c.window_pattern = (uint32_t)(tiny_next(&r) % 4);
    if (projector == TINY_QWEN3VL) c.deepstack = (uint32_t)(tiny_next(&r) % 4);
    if (projector == TINY_MLP && tiny_next(&r) % 2) {
        c.feature_count = 1 + (uint32_t)(tiny_next(&r) % 2);
        c.features[0] = (int32_t)c.n_layer - 1;
        c.features[1] = -1 - (int32_t)c.n_layer; /* what the first layer reads */
    }
    if (projector == TINY_MLP) c.clip = (int)(tiny_next(&r) % 2);
    return c;
}

/* The error of one random picture: of the tile's size, or of any a dynamic tower takes. */
static double random_error(tower *t, const tiny_vision_config *c, uint64_t seed)
{
    uint32_t width = c->image_px, height = c->image_px, i;
    size_t floats;
    uint16_t *rows;
    uint8_t *rgb;
    double *want, error;
    double_vision exact;
    tiny_random r;
    r.state = seed;
    if (t->model.dynamic && tiny_next(&r) % 4) {
        uint32_t most = t->model.joint ? 2 : 1; /* within the patches that there is room for */
        width = t->model.align_px * (1 + (uint32_t)(tiny_next(&r) % (10 / most)));
        height = t->model.align_px * (1 + (uint32_t)(tiny_next(&r) % (7 / most)));
    }
    rgb = malloc((size_t)width * height * 3);
    assert_non_null(rgb);
    for (i = 0; i < width * height * 3; i++)
        rgb[i] = (uint8_t)tiny_next(&r);
    rows = tower_run(t, rgb, width, height, 1, &floats);
    want = malloc(floats * sizeof *want);
    assert_non_null(want);
    double_vision_open(&exact, t->file.data, t->file.bytes);
    double_vision_picture(&exact, rgb, width, height, want);
    error = relative_error(t->work.projector.out, want, floats);
    double_vision_close(&exact);
    free(rgb), free(rows), free(want);
    return error;
}

static void check_random(tiny_projector projector, uint64_t seed)
{
    tiny_vision_config c = random_tower(projector, seed);
    tiny_file file = tiny_mmproj(&c);
    uint32_t i;
    for (i = 0; i < 6; i++) {
        bluelm_config run;
        tower t;
        size_t kind;
        memset(&run, 0, sizeof run);
        run.vision_activation_type = i / 2; /* BLUELM_ACT_DEFAULT, INT8, INT16 */
        run.cpu_mask = i % 2 ? 0 : BLUELM_CPU_NONE;
        run.workers = 1 + i;
        tower_open(&t, file, &run, 1, 400);
        kind = t.round_floats        ? 4
               : c.type == TINY_Q8_0 ? (run.vision_activation_type == BLUELM_ACT_INT16 ? 3 : 2)
                                     : t.model.deepstack_count != 0;
        if (!tally_note(&tallies[kind], random_error(&t, &c, seed)))
            fail_msg("%s, seed %u", t.model.projector.name, (unsigned)seed);
        tower_close(&t);
    }
    tiny_free(&file);
}

static void random_towers_agree_with_double_precision(void **state)
{
    uint64_t first = tiny_seed(7000), seed;
    uint32_t projector;
    (void)state;
    for (projector = 0; projector < TINY_PROJECTORS; projector++)
        for (seed = first; projector != TINY_IDEFICS3 && seed < first + 10; seed++)
            check_random((tiny_projector)projector, seed);
    tally_print(tallies, COUNT(tallies));
}

/* ---- What must not matter ------------------------------------------------------------------ */

/* Three different pictures of one size. */
static uint8_t *three_pictures(uint32_t width, uint32_t height)
{
    size_t bytes = (size_t)width * height * 3, i;
    uint8_t *rgb = malloc(3 * bytes);
    assert_non_null(rgb);
    for (i = 0; i < 3 * bytes; i++)
        rgb[i] = (uint8_t)(i * 2654435761u >> 24);
    return rgb;
}

static void check_batches(const tiny_file *file, uint32_t width, uint32_t height,
                          uint32_t patches)
{
    uint8_t *rgb = three_pictures(width, height);
    bluelm_config run;
    uint16_t *one[3], *all;
    size_t floats, i;
    tower t;
    memset(&run, 0, sizeof run);
    tower_open(&t, *file, &run, 1, patches);
    for (i = 0; i < 3; i++)
        one[i] = tower_run(&t, rgb + i * width * height * 3, width, height, 1, &floats);
    tower_close(&t);
    run.workers = 3;
    tower_open(&t, *file, &run, 4, t.model.dynamic ? patches + 100 : patches);
    all = tower_run(&t, rgb, width, height, 3, &floats);
    for (i = 0; i < 3; i++) {
        if (memcmp(all + i * floats, one[i], floats * sizeof *all) != 0)
            fail_msg("%s: tile %u", t.model.projector.name, (unsigned)i);
        free(one[i]);
    }
    free(all), free(rgb);
    tower_close(&t);
}

static void batches_and_workers_change_no_bit(void **state)
{
    uint32_t projector, type;
    (void)state;
    for (projector = 0; projector < TINY_PROJECTORS; projector++)
        for (type = 0; type < 2; type++) {
            tiny_vision_config c = random_tower((tiny_projector)projector, 40 + type);
            uint32_t side = c.image_px / c.patch_px;
            tiny_file file;
            c.type = c.down_type = type ? TINY_Q8_0 : TINY_F32;
            c.deepstack = projector == TINY_QWEN3VL ? 2 : 0;
            c.window_pattern = gated_of(projector) ? 2 : 0;
            file = tiny_mmproj(&c);
            check_batches(&file, c.image_px, c.image_px, side * side);
            tiny_free(&file);
        }
}

static void batches_of_published_sizes_change_no_bit(void **state)
{
    size_t i, seen = 0;
    (void)state;
    for (i = 0; i < COUNT(references); i++) {
        const reference *r = &references[i];
        uint32_t size = r->sizes[1][0] ? 1 : 0;
        uint32_t width = r->sizes[size][0], height = r->sizes[size][1];
        uint32_t patch = patch_of(r);
        char name[64];
        tiny_file file;
        if (width * height > 120000) continue; /* slow, and of a kind seen before */
        snprintf(name, sizeof name, "%s.gguf", r->name);
        file = read_file(name);
        if (file.data == NULL) continue;
        check_batches(&file, width, height, patches_of(r, patch));
        tiny_free(&file);
        seen++;
    }
    print_message("%u files\n", (unsigned)seen);
    if (seen == 0) skip();
}

/* ---- Files that ask for what is not there -------------------------------------------------- */

typedef struct wish {
    tiny_projector projector;
    const char *key; /* a number, a tensor of four values, or "" */
    uint32_t value;
    int32_t feature; /* of clip.vision.feature_layer, 99: no key */
    const char *subject;
} wish;

static void add_wish(tiny_writer *w, void *user)
{
    const wish *asked = (const wish *)user;
    static const float ones[4] = {1, 1, 1, 1};
    static const uint64_t ne[1] = {4};
    if (strncmp(asked->key, "clip.", 5) == 0 || strncmp(asked->key, "split.", 6) == 0)
        tiny_key_u32(w, asked->key, asked->value);
    if (strncmp(asked->key, "mm.", 3) == 0 || strncmp(asked->key, "v.", 2) == 0)
        tiny_tensor(w, asked->key, TINY_F32, 1, ne, ones);
}

static void what_is_not_there_is_refused_by_name(void **state)
{
    static const wish wishes[] = {
        {TINY_QWEN25VL, "clip.vision.n_wa_pattern", 1025, 99, "clip.vision.n_wa_pattern"},
        {TINY_QWEN25VL, "clip.use_silu", 1, 99, "clip.use_silu"},
        {TINY_QWEN25O, "split.count", 2, 99, "one part of a split model"},
        {TINY_MLP, "audio", 0, 99, "no vision encoder"},
        {TINY_MLP, "mm.3.weight", 0, 99, "mm.3"},
        {TINY_INTERNVL, "v.blk.0.attn_q_norm.weight", 0, 99, "attn_q_norm"},
        {TINY_PIXTRAL, "clip.rope.freq_base", 500, 99, "clip.rope.freq_base"},
        {TINY_PIXTRAL, "clip.vision.spatial_merge_size", 17, 99, "spatial_merge_size"},
        {TINY_RESAMPLER, "version", 2, 99, "clip.minicpmv_version"},
        {TINY_RESAMPLER, "queries", 5, 99, "clip.minicpmv_query_num"},
        {TINY_GEMMA4, "v.blk.0.out_scale.weight", 0, 99, "out_scale"},
        {TINY_MINICPMV46, "scale", 2, 99, "clip.vision.projector.scale_factor"},
        {TINY_MINICPMV46, "layer", 2, 99, "clip.vision.wa_layer_indexes"},
        {TINY_MINICPMV46, "size", 24, 99, "patches a side, a multiple of"},
        {TINY_MLP, "", 0, 3, "clip.vision.feature_layer"},
        {TINY_MLP, "", 0, -4, "clip.vision.feature_layer"},
        {TINY_MLP, "", 0, 0, "clip.vision.feature_layer"},
        {TINY_MLP, "", 0, -2147483647, "clip.vision.feature_layer"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(wishes); i++) {
        tiny_vision_config c = tiny_vision_default();
        wish asked = wishes[i];
        bluelm_error err;
        blm_arena arena;
        blm_vision m;
        tiny_file file;
        blm_gguf g;
        c.projector = asked.projector;
        c.version = strcmp(asked.key, "version") == 0 ? asked.value : 0;
        c.named_queries = strcmp(asked.key, "queries") == 0 ? asked.value : 0;
        c.named_scale = strcmp(asked.key, "scale") == 0 ? asked.value : 0;
        c.joint_layer = strcmp(asked.key, "layer") == 0 ? asked.value : 0;
        if (c.projector == TINY_MINICPMV46)
            c.image_px = strcmp(asked.key, "size") == 0 ? asked.value : 32;
        c.extra = add_wish;
        c.extra_user = &asked;
        c.blind = strcmp(asked.key, "audio") == 0;
        c.feature_count = asked.feature != 99;
        c.features[0] = asked.feature;
        file = tiny_mmproj(&c);
        blm_arena_start(&arena, NULL, UINT64_MAX);
        assert_int_equal(blm_gguf_open(&g, file.data, file.bytes, "mmproj", &err), BLUELM_OK);
        assert_true(blm_vision_open(&m, &g, 0, &arena, &err) < 0);
        if (strstr(err.subject, asked.subject) == NULL) fail_msg("%s", err.subject);
        tiny_free(&file);
    }
}

/* The first of a tower's numbers that is `from` becomes `to`. */
static void change_number(tiny_file *file, float from, float to)
{
    size_t at = 0;
    while (memcmp(file->data + at, &from, sizeof from) != 0) {
        at += 4;
        assert_true(at + sizeof from <= file->bytes);
    }
    memcpy(file->data + at, &to, sizeof to);
}

/* Bounds of products, the lower of which must not be above the upper; merged patches that are
 * too large for a tile. */
static void numbers_of_gemma_4_must_fit(void **state)
{
    static const struct {
        float bound;
        uint32_t patch_px, merge;
        int code;
        const char *subject;
    } cases[] = {
        {-1.0f, 8, 3, BLUELM_OK, ""},
        {9.0f, 8, 3, BLUELM_E_FORMAT, "mmproj: bounds of a matrix (input_min ..)"},
        {-1.0f, 32, 9, BLUELM_E_FORMAT, "mmproj: pixels of a merged patch"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        tiny_vision_config c = tiny_vision_default();
        bluelm_error err;
        blm_arena arena;
        blm_vision m;
        tiny_file file;
        blm_gguf g;
        c.projector = TINY_GEMMA4;
        c.patch_px = cases[i].patch_px, c.merge = cases[i].merge, c.image_px = 288;
        c.n_head = 4;
        file = tiny_mmproj(&c);
        change_number(&file, -1.5f, cases[i].bound);
        blm_arena_start(&arena, NULL, UINT64_MAX);
        assert_int_equal(blm_gguf_open(&g, file.data, file.bytes, "mmproj", &err), BLUELM_OK);
        assert_int_equal(blm_vision_open(&m, &g, 0, &arena, &err), cases[i].code);
        if (cases[i].code < 0) assert_string_equal(err.subject, cases[i].subject);
        tiny_free(&file);
    }
}

/* Full blocks of files that list them: every third, or no such rule. */
static void add_full_blocks(tiny_writer *w, void *user)
{
    const uint32_t *blocks = user;
    tiny_key_array(w, "clip.vision.fullatt_block_indexes", TINY_KEY_I32, 2);
    tiny_put_u32(&w->keys, blocks[0]);
    tiny_put_u32(&w->keys, blocks[1]);
}

static void a_list_of_full_blocks_is_every_nth(void **state)
{
    static uint32_t lists[][2] = {{2, 5}, {1, 2}, {0x80000000, 0}};
    static const int codes[] = {BLUELM_OK, BLUELM_E_UNSUPPORTED, BLUELM_E_FORMAT};
    size_t i, l;
    (void)state;
    for (i = 0; i < COUNT(lists); i++) {
        tiny_vision_config c = tiny_vision_default();
        blm_vision_layer *layers;
        bluelm_error err;
        blm_arena arena;
        blm_vision m;
        tiny_file file;
        blm_gguf g;
        void *block = malloc(1 << 20);
        assert_non_null(block);
        c.projector = TINY_QWEN25VL, c.n_layer = 6, c.n_head = 2, c.activation = TINY_SILU;
        c.extra = add_full_blocks, c.extra_user = lists[i];
        file = tiny_mmproj(&c);
        blm_arena_start(&arena, block, 1 << 20);
        assert_int_equal(blm_gguf_open(&g, file.data, file.bytes, "mmproj", &err), BLUELM_OK);
        assert_int_equal(blm_vision_open(&m, &g, 0, &arena, &err), codes[i]);
        layers = m.layers;
        for (l = 0; codes[i] == BLUELM_OK && l < 6; l++)
            assert_int_equal(layers[l].windowed, l % 3 != 2);
        blm_arena_release(&arena);
        free(block);
        tiny_free(&file);
    }
}

/* Where the weights begin. */
static size_t header_bytes(const tiny_file *file)
{
    blm_gguf g;
    blm_tensor t;
    assert_int_equal(blm_gguf_open(&g, file->data, file->bytes, "mmproj", NULL), BLUELM_OK);
    assert_int_equal(blm_gguf_tensor(&g, "v.patch_embd.weight", &t, NULL), 1);
    return (size_t)(t.data - file->data);
}

/* A tower that the changed file still describes encodes a tile. Returns whether it does. */
static int tower_survives(const tiny_file *file)
{
    static uint8_t rgb[3 * 256 * 256];
    bluelm_config run;
    blm_arena counting;
    size_t floats;
    tower t;
    memset(&t, 0, sizeof t);
    t.file = *file;
    blm_arena_start(&counting, NULL, UINT64_MAX);
    if (tower_read(&t, &counting) < 0) {
        assert_true(t.err.subject[0] != 0);
        return 0;
    }
    if (t.model.patches > 100 || t.model.tile_px > 256 || t.model.row_floats > 4096) return 1;
    memset(&run, 0, sizeof run);
    tower_open(&t, *file, &run, 1, 0);
    free(tower_run(&t, rgb, t.model.tile_px, t.model.tile_px, 1, &floats));
    tower_close(&t);
    return 1;
}

static void header_with_any_byte_changed_does_no_harm(void **state)
{
    unsigned refused = 0, held = 0;
    uint32_t projector;
    (void)state;
    for (projector = 0; projector < TINY_PROJECTORS; projector++) {
        tiny_vision_config c = tiny_vision_default();
        tiny_random r = {projector};
        tiny_file file;
        size_t at, bytes;
        c.projector = (tiny_projector)projector;
        c.image_px = 16, c.patch_px = 4;
        c.width = 16, c.n_head = 2, c.n_layer = 2, c.n_ff = 24, c.n_embd = 32;
        c.merge = projector == TINY_GEMMA3 ? 4 : 2;
        c.deepstack = 1;
        c.window_pattern = 2;
        c.feature_count = 2, c.features[0] = 0, c.features[1] = 2;
        file = tiny_mmproj(&c);
        bytes = header_bytes(&file);
        for (at = 0; at < bytes; at++) {
            uint8_t before = file.data[at];
            file.data[at] = (uint8_t)(before ^ (1 + tiny_next(&r) % 255));
            *(tower_survives(&file) ? &held : &refused) += 1;
            file.data[at] = before;
        }
        tiny_free(&file);
    }
    print_message("%u headers refused, %u held\n", refused, held);
    assert_true(refused > 1000);
    assert_true(held > 100);
}

/* ---- Texts around pictures ------------------------------------------------------------------- */

static int is(blm_string got, const char *want)
{
    return got.bytes == strlen(want) && memcmp(got.text, want, strlen(want)) == 0;
}

/* A key of the file goes before the projector's own text. */
static void add_begin(tiny_writer *w, void *user)
{
    tiny_key_string(w, "bluelm.image.begin", (const char *)user);
}

static void pictures_stand_in_their_familys_texts(void **state)
{
    static const struct {
        tiny_projector projector;
        const char *begin, *end, *tile, *thumbnail;
    } texts[] = {
        {TINY_LFM2, "<|image_start|>", "<|image_end|>", "<|img_row_{row}_col_{col}|>",
         "<|img_thumbnail|>"},
        {TINY_MLP, "", "", "", ""},
        {TINY_IDEFICS3, "", "<fake_token_around_image>",
         "<fake_token_around_image><row_{row}_col_{col}>",
         "\n<fake_token_around_image><global-img>"},
        {TINY_INTERNVL, "<img>", "</img>", "", ""},
        {TINY_QWEN2VL, "<|vision_start|>", "<|vision_end|>", "", ""},
        {TINY_QWEN25VL, "<|vision_start|>", "<|vision_end|>", "", ""},
        {TINY_QWEN25O, "<|vision_bos|>", "<|vision_eos|>", "", ""},
        {TINY_QWEN3VL, "<|vision_start|>", "<|vision_end|>", "", ""},
        {TINY_GEMMA3, "\n\n<start_of_image>", "<end_of_image>\n\n", "", ""},
        {TINY_PIXTRAL, "", "[IMG_END]", "", ""},
        {TINY_LIGHTONOCR, "", "", "", ""},
        {TINY_JANUS, "<begin_of_image>", "<end_of_image>", "", ""},
        {TINY_GEMMA4, "<|image>", "<image|>", "", ""},
        {TINY_RESAMPLER, "<image_id>{image}</image_id>", "", "<slice>", "<image>"},
        {TINY_PADDLEOCR, "<|IMAGE_START|>", "<|IMAGE_END|>", "", ""},
        {TINY_DOTSOCR, "<|img|>", "<|endofimg|>", "", ""},
        {TINY_MINICPMV46, "<image_id>{image}</image_id>", "", "<slice>", "<image>"},
    };
    static char own[] = "[IMG]";
    size_t i;
    (void)state;
    for (i = 0; i < 2 * COUNT(texts); i++) {
        tiny_vision_config c = tiny_vision_default();
        blm_projector_type type;
        blm_projector p;
        blm_image_markup m;
        bluelm_error err;
        tiny_file file;
        blm_gguf g;
        c.projector = texts[i / 2].projector;
        if (i % 2) c.extra = add_begin, c.extra_user = own;
        file = tiny_mmproj(&c);
        assert_int_equal(blm_gguf_open(&g, file.data, file.bytes, "mmproj", &err), BLUELM_OK);
        assert_int_equal(blm_projector_find(&g, &type, &err), BLUELM_OK);
        memset(&p, 0, sizeof p);
        p.type = type;
        assert_int_equal(blm_image_markup_read(&m, &g, &p, &err), BLUELM_OK);
        assert_true(is(m.begin, i % 2 ? own : texts[i / 2].begin));
        assert_true(is(m.end, texts[i / 2].end));
        assert_true(is(m.tile, texts[i / 2].tile));
        assert_true(is(m.thumbnail, texts[i / 2].thumbnail));
        assert_true(is(m.line_end, c.projector == TINY_PIXTRAL ? "[IMG_BREAK]" : ""));
        int slices = c.projector == TINY_RESAMPLER || c.projector == TINY_MINICPMV46;
        assert_true(is(m.tile_end, slices ? "</slice>" : ""));
        assert_true(is(m.whole_end, slices ? "</image>" : ""));
        assert_true(is(m.row_gap, slices ? "\n" : ""));
        tiny_free(&file);
    }
}

int main(void)
{
    static const struct CMUnitTest more[] = {
        cmocka_unit_test(random_towers_agree_with_double_precision),
        cmocka_unit_test(batches_and_workers_change_no_bit),
        cmocka_unit_test(batches_of_published_sizes_change_no_bit),
        cmocka_unit_test(what_is_not_there_is_refused_by_name),
        cmocka_unit_test(numbers_of_gemma_4_must_fit),
        cmocka_unit_test(a_list_of_full_blocks_is_every_nth),
        cmocka_unit_test(header_with_any_byte_changed_does_no_harm),
        cmocka_unit_test(pictures_stand_in_their_familys_texts),
    };
    struct CMUnitTest tests[COUNT(references) + COUNT(more)];
    size_t i;
    memset(tests, 0, sizeof tests);
    for (i = 0; i < COUNT(references); i++) {
        tests[i].name = references[i].name;
        tests[i].test_func = tower_agrees_with_its_reference;
        tests[i].initial_state = (void *)(uintptr_t)&references[i];
    }
    memcpy(tests + COUNT(references), more, sizeof more);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
