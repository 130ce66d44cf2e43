/* Pictures against the rewrite in double precision: the encoder and projectors of random
 * small models, and the way from a chat with pictures to the logits behind it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/engine.h"
#include "../ports/posix/posix.h"
#include "amx_emulator.h"
#include "network_aid.h"
#include "network_double.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RANDOM   40  /* models                    */
#define MOST     256 /* tokens of a conversation  */

/* ---- Pictures ------------------------------------------------------------------------------ */

typedef struct picture {
    uint32_t width, height;
    uint8_t *rgb; /* [height][width][3] */
    bluelm_image image;
} picture;

/* Waves and noise, so that every tile differs from every other. */
static picture make_picture(uint32_t width, uint32_t height, uint64_t seed)
{
    tiny_random r;
    picture p;
    uint32_t x, y, c;
    r.state = seed;
    memset(&p, 0, sizeof p);
    p.width = width;
    p.height = height;
    p.rgb = malloc((size_t)width * height * 3);
    assert_non_null(p.rgb);
    for (y = 0; y < height; y++)
        for (x = 0; x < width; x++)
            for (c = 0; c < 3; c++)
                p.rgb[3 * ((size_t)y * width + x) + c] =
                    (uint8_t)(128 + 90 * sin(0.11 * (1 + c) * x + 0.07 * y + (double)seed) +
                              37 * tiny_uniform(&r));
    p.image.rgb = p.rgb;
    p.image.width_px = width;
    p.image.height_px = height;
    return p;
}

/* The square of side px whose corner is at (x, y). */
static uint8_t *crop(const picture *p, uint32_t px, uint32_t x, uint32_t y)
{
    uint8_t *out = malloc((size_t)px * px * 3);
    uint32_t row;
    assert_non_null(out);
    for (row = 0; row < px; row++)
        memcpy(out + (size_t)row * px * 3, p->rgb + 3 * ((size_t)(y + row) * p->width + x),
               (size_t)px * 3);
    return out;
}

/* ---- One tile -------------------------------------------------------------------------------- */

enum { FLOATS = 0, INT8 = 1, INT16 = 2, BF16 = 3 };

static tally tallies[] = {
    {"float weights", 1e-6, 0, 0},
    {"quantised weights, int8 acts", 2e-2, 0, 0},
    {"quantised weights, int16 acts", 1e-4, 0, 0},
    {"bf16 tiles", 2e-2, 0, 0},
};

static tally chat_tallies[] = {
    {"behind pictures, f16 cache", 6e-4, 0, 0},
    {"behind pictures, int8 cache", 1.6e-2, 0, 0},
};

static int quantised(uint32_t type)
{
    return type != TINY_F32 && type != TINY_F16 && type != TINY_BF16;
}

static tiny_file language_for(const tiny_vision_config *v)
{
    tiny_llm_config c = tiny_llm_default();
    c.n_embd = v->n_embd;
    c.n_head = c.n_head_kv = 2;
    c.head_dim = 8;
    c.n_ff = 32;
    c.n_layer = 1;
    return tiny_llm(&c);
}

/* The error of one picture of the tile's own size, whose rows lie apart. */
static double tile_error(subject *s, const double_vision *exact, uint64_t seed)
{
    uint32_t px = (uint32_t)exact->tile_px;
    picture wide = make_picture(px + 5, px, seed);
    uint8_t *rgb = crop(&wide, px, 0, 0);
    size_t floats = exact->tokens * exact->n_embd;
    float *got = malloc(floats * sizeof *got);
    double *want = malloc(floats * sizeof *want), error;
    assert_true(got != NULL && want != NULL);
    wide.image.width_px = px;
    wide.image.stride_bytes = 3 * (size_t)(px + 5);
    assert_int_equal(bluelm_embed_image(s->engine, &wide.image, got, floats, &s->err), floats);
    double_vision_run(exact, rgb, want);
    error = relative_error(got, want, floats);
    free(got), free(want), free(rgb), free(wide.rgb);
    return error;
}

static void check_vision(const tiny_vision_config *v, const bluelm_config *run)
{
    int floats = !quantised(v->type) && !quantised(v->down_type);
    tally *t = &tallies[run->cpu_mask & BLUELM_CPU_AMX                    ? BF16
                        : floats                                          ? FLOATS
                        : run->vision_activation_type == BLUELM_ACT_INT16 ? INT16
                                                                          : INT8];
    tiny_file llm = language_for(v), mmproj = tiny_mmproj(v);
    bluelm_port port = backward_port();
    double_vision exact;
    subject s;
    if (run->cpu_mask & BLUELM_CPU_AMX)
        port.cpu_features = amx_features(bluelm_posix_port(NULL).cpu_features);
    double_vision_open(&exact, mmproj.data, mmproj.bytes);
    if (subject_open(&s, &llm, &mmproj, run, &port) < 0) fail_msg("%s", s.err.subject);
    if (!tally_note(t, tile_error(&s, &exact, v->seed)))
        fail_msg("seed %u, kernels %x, %u workers", (unsigned)v->seed, run->cpu_mask,
                 run->workers);
    subject_close(&s);
    double_vision_close(&exact);
    tiny_free(&llm);
    tiny_free(&mmproj);
}

static uint32_t pick(tiny_random *r, const uint32_t *from, size_t count)
{
    return from[tiny_next(r) % count];
}

static tiny_vision_config random_vision(uint64_t seed)
{
    /* Tile and patch: 3x3, 5x5 and 7x7 patches, a rest that fills no patch, one patch. */
    static const uint32_t sides[][2] = {{24, 8},  {25, 5},  {28, 4}, {29, 7},
                                        {60, 12}, {20, 10}, {9, 9},  {38, 9}};
    static const uint32_t widths[] = {32, 48, 64, 40, 96}, ffn[] = {80, 50, 272, 64, 33};
    static const uint32_t heads[] = {1, 2, 4, 8}, outs[] = {32, 64, 40};
    static const uint32_t types[] = {TINY_F32, TINY_F16, TINY_BF16, TINY_Q4_0, TINY_Q8_0};
    tiny_vision_config c = tiny_vision_default();
    tiny_random r;
    size_t side;
    r.state = seed;
    c.seed = seed;
    side = (size_t)(tiny_next(&r) % COUNT(sides));
    c.image_px = sides[side][0];
    c.patch_px = sides[side][1];
    c.width = pick(&r, widths, COUNT(widths));
    c.n_head = pick(&r, heads, COUNT(heads));
    c.n_layer = 1 + (uint32_t)(tiny_next(&r) % 3);
    c.n_ff = pick(&r, ffn, COUNT(ffn));
    c.n_embd = pick(&r, outs, COUNT(outs));
    c.hidden = (uint32_t)(tiny_next(&r) % 2) * 96;
    c.type = pick(&r, types, COUNT(types));
    c.down_type = pick(&r, types, COUNT(types));
    c.patch_type = (uint32_t)(tiny_next(&r) % 2);
    c.projector = (tiny_projector)(tiny_next(&r) % 3);
    c.merge = c.projector == TINY_IDEFICS3 ? 1 + (uint32_t)(tiny_next(&r) % 4) : 0;
    c.activation = (tiny_activation)(tiny_next(&r) % 3);
    c.input_norm = (int)(tiny_next(&r) % 2);
    c.clip = tiny_next(&r) % 4 == 0;
    c.old_names = c.n_ff != c.width && tiny_next(&r) % 4 == 0;
    c.uneven_pixels = (int)(tiny_next(&r) % 2);
    c.eps = tiny_next(&r) % 2 ? 1e-6f : 1e-2f;
    /* LLaVA leaves out the last block: of one block nothing would be left. */
    if (c.projector == TINY_MLP && c.n_layer == 1) c.n_layer = 2;
    return c;
}

static void random_encoders_agree_with_double_precision(void **state)
{
    static const uint32_t workers[] = {1, 2, 3, 5};
    uint64_t first = tiny_seed(2000), seed;
    (void)state;
    for (seed = first; seed < first + RANDOM; seed++) {
        tiny_vision_config v = random_vision(seed);
        uint32_t i;
        for (i = 0; i < 5; i++) {
            bluelm_config run;
            memset(&run, 0, sizeof run);
            run.cpu_mask = i == 4  ? BLUELM_CPU_AMX | BLUELM_CPU_AVX2
                           : i % 2 ? 0
                                   : BLUELM_CPU_NONE;
            run.vision_activation_type = i / 2 % 2 ? BLUELM_ACT_INT16 : BLUELM_ACT_DEFAULT;
            run.workers = workers[seed % COUNT(workers)];
            check_vision(&v, &run);
        }
    }
}

/* ---- Several tiles ------------------------------------------------------------------------------ */

/* Reads one picture behind nothing else; the logits after it. */
static const float *read_picture(subject *s, const picture *p, bluelm_tile_grid *grid)
{
    uint32_t n_vocab;
    assert_true(bluelm_add_image(s->engine, &p->image, grid, &s->err) > 0);
    assert_int_equal(subject_drain(s), 0);
    return bluelm_logits(s->engine, &n_vocab);
}

static void tiles_encode_to_the_same_bits_in_batches_of_any_size(void **state)
{
    static const uint32_t batches[] = {1, 2, 3, 4, 8}, workers[] = {1, 2, 3, 5, 2};
    bluelm_posix_pool *pool = bluelm_posix_pool_start(2);
    bluelm_port port = bluelm_posix_port(pool);
    tiny_vision_config v = tiny_vision_default();
    tiny_file llm = language_for(&v), mmproj;
    picture p = make_picture(70, 50, 5);
    uint16_t *tokens = NULL;
    float *logits = NULL;
    size_t i, bytes = 0;
    (void)state;
    v.type = TINY_Q8_0;
    v.down_type = TINY_F16;
    mmproj = tiny_mmproj(&v);
    for (i = 0; i < COUNT(batches); i++) {
        bluelm_config run;
        bluelm_tile_grid grid;
        const float *got;
        subject s;
        memset(&run, 0, sizeof run);
        run.tiles_per_batch = batches[i];
        run.workers = workers[i];
        assert_int_equal(subject_open(&s, &llm, &mmproj, &run, &port), BLUELM_OK);
        got = read_picture(&s, &p, &grid);
        assert_non_null(got);
        assert_int_equal(grid.tiles, 3 * 2 + 1);
        if (i == 0) {
            bytes = (size_t)grid.tokens * v.n_embd * sizeof *tokens;
            tokens = malloc(bytes);
            logits = malloc(s.engine->language.n_vocab * sizeof *logits);
            assert_true(tokens != NULL && logits != NULL);
            memcpy(tokens, s.engine->image_tokens, bytes);
            memcpy(logits, got, s.engine->language.n_vocab * sizeof *logits);
        }
        assert_memory_equal(s.engine->image_tokens, tokens, bytes);
        assert_memory_equal(got, logits, s.engine->language.n_vocab * sizeof *logits);
        subject_close(&s);
    }
    free(tokens), free(logits), free(p.rgb);
    tiny_free(&llm);
    tiny_free(&mmproj);
    bluelm_posix_pool_stop(pool);
}

/* ---- A conversation ---------------------------------------------------------------------------- */

/* What the network is to read, one row after another. */
typedef struct transcript {
    const double_llm *llm;
    const double_vision *vision;
    bluelm *engine; /* for its tokenizer, which has tests of its own */
    double *rows;   /* [MOST][n_embd] */
    size_t count;
} transcript;

static void expect_token(transcript *t, int32_t token)
{
    assert_true(t->count < MOST);
    double_llm_token(t->llm, token, t->rows + t->count++ * t->llm->n_embd);
}

/* Text behind a special token or a picture. */
static void expect_text(transcript *t, const char *text)
{
    int32_t tokens[64];
    int64_t count = bluelm_tokenize(t->engine, text, strlen(text), 0, tokens, 64, NULL), i;
    assert_in_range(count, 1, 64);
    for (i = 0; i < count; i++)
        expect_token(t, tokens[i]);
}

/* Takes the tile's pixels. */
static void expect_tile(transcript *t, uint8_t *rgb)
{
    assert_true(t->count + t->vision->tokens <= MOST);
    double_vision_run(t->vision, rgb, t->rows + t->count * t->llm->n_embd);
    t->count += t->vision->tokens;
    free(rgb);
}

/* The whole picture made one tile; the resizer has tests of its own. */
static void expect_thumbnail(transcript *t, const picture *p)
{
    uint32_t px = (uint32_t)t->vision->tile_px;
    const blm_tile_rule rule = {.rule = BLUELM_TILES_SINGLE,
                                .tile_px = px,
                                .fit = BLM_FIT_STRETCH,
                                .max_columns = 1,
                                .max_rows = 1,
                                .min_local_tiles = 1,
                                .max_local_tiles = 1,
                                .tokens_per_tile = 1};
    bluelm_image image = p->image;
    bluelm_tile_grid grid;
    blm_picture reading;
    uint64_t canvas, bytes;
    image.stride_bytes = 3 * (size_t)p->width;
    assert_int_equal(blm_tile_choose(&rule, p->width, p->height, 1, &grid, NULL), 1);
    assert_int_equal(blm_picture_need(&rule, &grid, &image, &canvas, &bytes, NULL), 0);
    assert_int_equal(canvas, (uint64_t)px * px * 3);
    uint8_t *rgb = malloc((size_t)canvas), *scratch = malloc((size_t)bytes);
    assert_true(rgb != NULL && scratch != NULL);
    assert_int_equal(
        blm_picture_begin(&reading, &rule, &grid, &image, rgb, canvas, scratch, bytes, NULL),
        0);
    while (blm_picture_read(&reading, 1000, NULL) > 0)
        continue;
    free(scratch);
    expect_tile(t, rgb);
}

/* A picture as big as its grid, with the markers that add_markers gives. */
static void expect_picture(transcript *t, const picture *p, int thumbnail)
{
    uint32_t px = (uint32_t)t->vision->tile_px, row, column;
    int several = p->width / px * (p->height / px) > 1;
    expect_token(t, TINY_IMG);
    if (several && thumbnail == BLM_THUMBNAIL_FIRST) {
        expect_token(t, TINY_AI);
        expect_thumbnail(t, p);
    }
    for (row = 0; row < p->height / px; row++) {
        for (column = 0; column < p->width / px; column++) {
            char place[24];
            snprintf(place, sizeof place, "%u-%u", (unsigned)row + 1, (unsigned)column + 1);
            if (several) {
                expect_token(t, TINY_SYSTEM);
                expect_text(t, place);
            } else {
                expect_token(t, TINY_HUMAN);
            }
            expect_tile(t, crop(p, px, column * px, row * px));
        }
        if (several) expect_text(t, "|");
    }
    if (several && thumbnail == BLM_THUMBNAIL_LAST) {
        expect_token(t, TINY_AI);
        expect_thumbnail(t, p);
    }
    expect_token(t, TINY_IMG_END);
}

static void add_markers(tiny_writer *w, void *user)
{
    tiny_key_string(w, "bluelm.image.begin", "<img>");
    tiny_key_string(w, "bluelm.image.end", "</img>");
    tiny_key_string(w, "bluelm.image.single", "[|Human|]:");
    tiny_key_string(w, "bluelm.image.tile", "[|SYSTEM|]:{row}-{col}");
    tiny_key_string(w, "bluelm.image.row_end", "|");
    tiny_key_string(w, "bluelm.image.thumbnail", "[|AI|]:");
    tiny_key_string(w, "bluelm.tiling.rule", "relaxed");
    tiny_key_string(w, "bluelm.tiling.thumbnail", (const char *)user);
}

/* A way to hold the same conversation. */
typedef struct manner {
    tiny_projector projector;
    const char *thumbnail;
    uint32_t chunk, batch, kv;
    int hasty; /* steps between the calls, before all is read */
} manner;

typedef struct chat {
    subject s;
    transcript t;
    const manner *how;
    int thumbnail;
    int32_t made[8];
    size_t made_count;
} chat;

/* A few units of work between two calls, or none. */
static void linger(chat *c)
{
    bluelm_event event;
    int i;
    for (i = 0; i < c->how->hasty; i++)
        assert_true(bluelm_step(c->s.engine, &event, &c->s.err) >= 0);
}

static void say(chat *c, const char *text)
{
    assert_int_equal(bluelm_add_text(c->s.engine, text, strlen(text), &c->s.err), BLUELM_OK);
    expect_text(&c->t, text);
    linger(c);
}

static void show(chat *c, const picture *p)
{
    bluelm_tile_grid grid;
    uint32_t px = (uint32_t)c->t.vision->tile_px;
    assert_true(bluelm_add_image(c->s.engine, &p->image, &grid, &c->s.err) > 0);
    assert_int_equal(grid.columns, p->width / px);
    assert_int_equal(grid.rows, p->height / px);
    expect_picture(&c->t, p, c->thumbnail);
    linger(c);
}

/* The last row's logits and their error, before anything is made. */
static void check_logits(chat *c, const float *logits)
{
    tally *t = &chat_tallies[c->how->kv != BLUELM_KV_F16];
    size_t n = c->t.llm->n_vocab, bytes = c->t.count * c->t.llm->n_embd * sizeof(double);
    double *rows = malloc(bytes), *want = malloc(n * sizeof *want), error;
    assert_true(rows != NULL && want != NULL);
    memcpy(rows, c->t.rows, bytes);
    double_llm_run(c->t.llm, rows, c->t.count);
    double_llm_logits(c->t.llm, rows + (c->t.count - 1) * c->t.llm->n_embd, want);
    error = relative_error(logits, want, n);
    assert_true(tally_note(t, error));
    assert_true(argmax_holds(want, n, argmax_f32(logits, n), 4 * error));
    free(rows), free(want);
}

/* Asks for an answer, checks the logits behind the prompt, takes what is made. */
static void ask(chat *c)
{
    bluelm_event event;
    uint32_t n_vocab;
    int code, checked = 0;
    assert_int_equal(bluelm_generate(c->s.engine, COUNT(c->made), &c->s.err), BLUELM_OK);
    expect_token(&c->t, TINY_AI);
    c->made_count = 0;
    while ((code = bluelm_step(c->s.engine, &event, &c->s.err)) > 0) {
        if (event.type == BLUELM_EVENT_PREFILL && event.done == event.total) {
            check_logits(c, bluelm_logits(c->s.engine, &n_vocab));
            checked++;
        }
        if (event.type == BLUELM_EVENT_TOKEN) c->made[c->made_count++] = event.token;
    }
    assert_int_equal(code, 0);
    assert_int_equal(checked, 1);
}

/* Two turns, three pictures: of six tiles, of one, of two. */
static void converse(const manner *how)
{
    tiny_vision_config v = tiny_vision_default();
    tiny_llm_config l = tiny_llm_default();
    picture wide = make_picture(3 * 24, 2 * 24, 1), one = make_picture(24, 24, 2);
    picture tall = make_picture(24, 2 * 24, 3);
    char thumbnail[8];
    tiny_file llm = tiny_llm(&l), mmproj;
    bluelm_config run;
    double_llm exact;
    double_vision vision;
    size_t i;
    chat c;
    snprintf(thumbnail, sizeof thumbnail, "%s", how->thumbnail);
    v.projector = how->projector;
    v.extra = add_markers;
    v.extra_user = thumbnail;
    mmproj = tiny_mmproj(&v);
    double_llm_open(&exact, llm.data, llm.bytes);
    double_vision_open(&vision, mmproj.data, mmproj.bytes);
    memset(&run, 0, sizeof run);
    run.chunk_tokens = how->chunk;
    run.tiles_per_batch = how->batch;
    run.kv_type = how->kv;
    /* Nothing lies between the two phases' activations in the overlay. */
    run.max_image_width_px = 1024;
    memset(&c, 0, sizeof c);
    c.how = how;
    c.thumbnail = thumbnail[0] == 'f'   ? BLM_THUMBNAIL_FIRST
                  : thumbnail[0] == 'l' ? BLM_THUMBNAIL_LAST
                                        : BLM_THUMBNAIL_NONE;
    if (subject_open(&c.s, &llm, &mmproj, &run, NULL) < 0) fail_msg("%s", c.s.err.subject);
    c.t.engine = c.s.engine;
    c.t.llm = &exact;
    c.t.vision = &vision;
    c.t.rows = malloc(MOST * exact.n_embd * sizeof *c.t.rows);
    assert_non_null(c.t.rows);

    assert_int_equal(bluelm_begin_turn(c.s.engine, BLUELM_USER, &c.s.err), BLUELM_OK);
    expect_token(&c.t, TINY_BOS);
    expect_token(&c.t, TINY_HUMAN);
    say(&c, "see this");
    show(&c, &wide);
    say(&c, "what is it?");
    ask(&c);
    assert_int_equal(bluelm_begin_turn(c.s.engine, BLUELM_USER, &c.s.err), BLUELM_OK);
    for (i = 0; i < c.made_count; i++)
        expect_token(&c.t, c.made[i]);
    expect_token(&c.t, TINY_EOS);
    expect_token(&c.t, TINY_HUMAN);
    linger(&c);
    show(&c, &one);
    show(&c, &tall);
    ask(&c);

    subject_close(&c.s);
    free(c.t.rows), free(wide.rgb), free(one.rgb), free(tall.rgb);
    double_llm_close(&exact);
    double_vision_close(&vision);
    tiny_free(&llm);
    tiny_free(&mmproj);
}

static void chats_with_pictures_agree_with_double_precision(void **state)
{
    static const manner manners[] = {
        {TINY_LFM2, "first", 128, 4, BLUELM_KV_F16, 0},
        {TINY_LFM2, "first", 7, 3, BLUELM_KV_F16, 1},
        {TINY_LFM2, "last", 1, 2, BLUELM_KV_F16, 0},
        {TINY_LFM2, "last", 128, 1, BLUELM_KV_F16, 3},
        {TINY_IDEFICS3, "none", 16, 8, BLUELM_KV_F16, 0},
        {TINY_MLP, "last", 7, 4, BLUELM_KV_F16, 1},
        {TINY_LFM2, "first", 128, 4, BLUELM_KV_INT8, 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(manners); i++)
        converse(&manners[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_encoders_agree_with_double_precision),
        cmocka_unit_test(tiles_encode_to_the_same_bits_in_batches_of_any_size),
        cmocka_unit_test(chats_with_pictures_agree_with_double_precision),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tally_print(tallies, COUNT(tallies));
    tally_print(chat_tallies, COUNT(chat_tallies));
    return failed;
}
