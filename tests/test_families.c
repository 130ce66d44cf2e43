/* Every family of language models against what a float64 rewrite that is not part of this
 * project computed, with pictures between texts where the family takes them; the same bits
 * however tokens are cut into chunks and shared among workers; and the way back to a
 * snapshot. Some models lie in tests/data/families; the rest in the folder that BLUELM_SHARED names,
 * else ../shared. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../families/language.h"
#include "file_aid.h"
#include "network_aid.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- Files ----------------------------------------------------------------------------- */

static tiny_file read_file(const char *name)
{
    return file_reference("families", "llm2", name);
}

/* Little-endian f32 as they lie in a file, or NULL; *count is how many. */
static float *read_floats(const char *name, size_t *count)
{
    tiny_file file = read_file(name);
    float *values;
    size_t i;
    if (file.data == NULL) return NULL;
    *count = file.bytes / 4;
    values = malloc(file.bytes);
    assert_non_null(values);
    for (i = 0; i < *count; i++)
        values[i] = blm_load_f32(file.data + 4 * i);
    tiny_free(&file);
    return values;
}

/* The model, or the test is skipped. */
static tiny_file model_file(const char *model)
{
    char name[64];
    tiny_file file;
    snprintf(name, sizeof name, "%s.gguf", model);
    file = read_file(name);
    if (file.data == NULL) {
        print_message("%s is not here: skipped\n", name);
        skip();
    }
    return file;
}

/* ---- A model, its state and its scratch in one arena --------------------------------------- */

typedef struct way {
    uint32_t kv_type, activation_bits, cpu_mask, chunk_tokens, workers;
} way;

static const way plain_way = {BLUELM_KV_F16, 8, 0, 128, 1};

typedef struct reader {
    way how;
    blm_gguf file;
    blm_language m;
    blm_state state;
    blm_language_work work;
    blm_compute compute;
    void *arena;
    blm_arena block;
    float *logits;
} reader;

enum { CONTEXT = 256 };

static void take_all(reader *r, blm_arena *arena)
{
    bluelm_error err;
    if (blm_language_open(&r->m, &r->file, arena, &err) < 0) fail_msg("%s", err.subject);
    blm_state_take(&r->state, arena, &r->m, r->how.kv_type, CONTEXT, r->how.chunk_tokens);
    blm_language_take(&r->work, arena, &r->m, &r->compute, r->how.chunk_tokens, CONTEXT);
    r->logits = (float *)blm_arena_take(arena, r->m.n_vocab, sizeof(float));
}

/* In an arena of exactly what counting said. */
static void open_reader(reader *r, const tiny_file *file, const way *how)
{
    memset(r, 0, sizeof *r);
    r->how = *how;
    blm_kernels_init(&r->compute.kernels, 0, how->cpu_mask);
    r->compute.workers.port = backward_port();
    r->compute.workers.count = how->workers;
    r->compute.activation_bits = how->activation_bits;
    r->compute.vision_activation_bits = how->activation_bits;
    assert_int_equal(blm_gguf_open(&r->file, file->data, file->bytes, "llm", NULL), BLUELM_OK);
    blm_arena_start(&r->block, NULL, UINT64_MAX);
    take_all(r, &r->block);
    r->arena = malloc((size_t)r->block.wanted + BLM_ARENA_MARGIN);
    assert_non_null(r->arena);
    blm_arena_start(&r->block, r->arena, r->block.wanted + BLM_ARENA_MARGIN);
    take_all(r, &r->block);
    assert_true(blm_arena_ok(&r->block));
    blm_state_reset(&r->state);
}

static void close_reader(reader *r)
{
    blm_arena_release(&r->block);
    free(r->arena);
}

/* ---- Texts and pictures ---------------------------------------------------------------------- */

enum { MOST = 200, COLUMNS = 6, ROWS = 9, PICTURE = COLUMNS * ROWS };

typedef struct text {
    size_t count, picture; /* the slot of the picture's first token, count without */
    int32_t tokens[MOST];  /* -1 within the picture                                */
    uint16_t *rows;        /* of the picture, f16                                  */
    float *exact;
    size_t n_vocab;
} text;

static void free_text(text *t)
{
    free(t->rows);
    free(t->exact);
}

static void add_tokens(text *t, const char *name)
{
    tiny_file file = read_file(name);
    size_t i;
    assert_non_null(file.data);
    assert_true(t->count + file.bytes / 4 <= MOST);
    for (i = 0; i < file.bytes / 4; i++)
        t->tokens[t->count++] = (int32_t)blm_load_u32(file.data + 4 * i);
    tiny_free(&file);
}

static text read_text(const char *model, unsigned count)
{
    char name[64];
    text t;
    memset(&t, 0, sizeof t);
    snprintf(name, sizeof name, "tokens_%u.i32", count);
    add_tokens(&t, name);
    t.picture = t.count;
    snprintf(name, sizeof name, "%s.%u.exact.f32", model, count);
    t.exact = read_floats(name, &t.n_vocab);
    assert_non_null(t.exact);
    return t;
}

/* Five ids, a picture, twelve ids; rows is NULL where the family has no such reference. */
static text read_picture_text(const char *model)
{
    char name[64];
    size_t floats = 0, i;
    float *rows;
    text t;
    memset(&t, 0, sizeof t);
    snprintf(name, sizeof name, "%s.image.rows.f32", model);
    rows = read_floats(name, &floats);
    if (rows == NULL) return t;
    t.rows = malloc(floats * sizeof *t.rows);
    assert_non_null(t.rows);
    for (i = 0; i < floats; i++)
        t.rows[i] = blm_f16_of_f32(rows[i]);
    free(rows);
    add_tokens(&t, "image_before.i32");
    t.picture = t.count;
    for (i = 0; i < PICTURE; i++)
        t.tokens[t.count++] = -1;
    add_tokens(&t, "image_after.i32");
    snprintf(name, sizeof name, "%s.image.exact.f32", model);
    t.exact = read_floats(name, &t.n_vocab);
    assert_non_null(t.exact);
    return t;
}

static void set_item(const reader *r, const blm_chunk *c, uint32_t index, const text *t)
{
    uint32_t slot = c->position + index, from = (uint32_t)t->picture, at = slot;
    size_t row = r->m.n_embd * (1 + (size_t)r->m.n_deepstack);
    if (slot >= from && slot < from + PICTURE) {
        uint32_t sees = r->m.two_way ? from + PICTURE : slot + 1;
        blm_chunk_set_image(c, index, t->rows + (slot - from) * row,
                            blm_position_image(from, COLUMNS, slot - from, r->m.planar), sees);
        return;
    }
    if (slot >= from)
        at = blm_position_after(from, COLUMNS, ROWS, r->m.planar) + slot - from - PICTURE;
    blm_chunk_set_token(c, index, (uint32_t)t->tokens[slot], blm_position_text(at));
}

/* Reads on from where the state is up to slot `end`, up to `most` tokens at a time. */
static const float *read_on(reader *r, const text *t, size_t end, uint32_t most)
{
    while (r->state.tokens < end) {
        uint32_t i, left = (uint32_t)end - r->state.tokens;
        blm_chunk c = {&r->m, &r->state, &r->work, &r->compute, 0, 0, 0, NULL, NULL};
        c.position = r->state.tokens;
        c.count = left < most ? left : most;
        for (i = 0; i < c.count; i++)
            set_item(r, &c, i, t);
        blm_chunk_begin(&c);
        for (i = 0; i < r->m.n_layer; i++)
            blm_chunk_layer(&c, i);
        blm_chunk_logits(&c, r->logits);
    }
    return r->logits;
}

/* ---- Against the references -------------------------------------------------------------------- */

typedef struct family {
    const char *name;
    int quantised;
} family;

static double error_of(const float *got, const text *t)
{
    double *exact = malloc(t->n_vocab * sizeof *exact), error;
    size_t i;
    assert_non_null(exact);
    for (i = 0; i < t->n_vocab; i++)
        exact[i] = (double)t->exact[i];
    error = relative_error(got, exact, t->n_vocab);
    free(exact);
    return error;
}

static void check_text(const family *f, const tiny_file *file, const text *t, const way *how)
{
    static const double allowed[] = {8e-4, 3e-2, 1e-3};
    int kind = f->quantised ? how->activation_bits == 16 ? 2 : 1 : 0;
    const float *logits;
    double error;
    reader r;
    open_reader(&r, file, how);
    logits = read_on(&r, t, t->count, how->chunk_tokens);
    error = error_of(logits, t);
    printf("  %.2g", error);
    assert_int_equal(r.m.n_vocab, t->n_vocab);
    if (error > allowed[kind])
        fail_msg("%s: error %g, allowed %g", f->name, error, allowed[kind]);
    assert_int_equal(argmax_f32(logits, t->n_vocab), argmax_f32(t->exact, t->n_vocab));
    close_reader(&r);
}

/* By the fastest and the scalar kernels; with 16-bit activations, too. */
static void check_ways(const family *f, const tiny_file *file, const text *t)
{
    way how = plain_way;
    check_text(f, file, t, &how);
    how.cpu_mask = BLUELM_CPU_NONE;
    check_text(f, file, t, &how);
    how.activation_bits = 16;
    check_text(f, file, t, &how);
}

static void family_agrees_with_its_reference(void **state)
{
    static const unsigned counts[] = {1, 17, 200};
    const family *f = (const family *)*state;
    tiny_file file = model_file(f->name);
    text t;
    size_t i;
    printf("  fastest, scalar, scalar with int16:");
    for (i = 0; i < COUNT(counts); i++) {
        t = read_text(f->name, counts[i]);
        check_ways(f, &file, &t);
        free_text(&t);
    }
    t = read_picture_text(f->name);
    if (t.rows != NULL) {
        printf("  picture:");
        check_ways(f, &file, &t);
    }
    printf("\n");
    free_text(&t);
    tiny_free(&file);
}

/* The engine tells the network about a picture's tokens what read_on does. */
static void the_engine_reads_pictures_alike(void **state)
{
    const family *f = (const family *)*state;
    tiny_file file = model_file(f->name);
    text t = read_picture_text(f->name);
    size_t values = 0, behind = t.picture + PICTURE;
    char name[64];
    float *rows;
    bluelm_config run;
    const float *logits;
    double error;
    subject s;
    if (t.rows == NULL) {
        tiny_free(&file);
        return;
    }
    snprintf(name, sizeof name, "%s.image.rows.f32", f->name);
    rows = read_floats(name, &values);
    memset(&run, 0, sizeof run);
    run.kv_type = BLUELM_KV_F16;
    run.max_image_tokens = PICTURE;
    run.chunk_tokens = 16;
    if (subject_open(&s, &file, NULL, &run, NULL) < 0) fail_msg("%s", s.err.subject);
    assert_int_equal(bluelm_add_tokens(s.engine, t.tokens, t.picture, NULL), BLUELM_OK);
    assert_int_equal(bluelm_add_image_rows(s.engine, rows, COLUMNS, ROWS, NULL), BLUELM_OK);
    logits = subject_read(&s, t.tokens + behind, t.count - behind);
    assert_non_null(logits);
    error = error_of(logits, &t);
    if (error > (f->quantised ? 3e-2 : 8e-4)) fail_msg("%s: error %g", f->name, error);
    subject_close(&s);
    free(rows);
    free_text(&t);
    tiny_free(&file);
}

/* What the first token sees and when it was read: with a picture right behind it, alone, or
 * before other words that were taken back. */
enum { AT_ONCE, ALONE, TAKEN_BACK, FIRSTS };

static float *first_logits(const tiny_file *file, const text *t, const float *rows, int how)
{
    bluelm_config run;
    const float *logits;
    float *copy;
    subject s;
    memset(&run, 0, sizeof run);
    run.kv_type = BLUELM_KV_F16;
    run.max_image_tokens = PICTURE;
    run.marks = 1;
    if (subject_open(&s, file, NULL, &run, NULL) < 0) fail_msg("%s", s.err.subject);
    assert_int_equal(bluelm_add_tokens(s.engine, t->tokens, 1, NULL), BLUELM_OK);
    if (how == TAKEN_BACK) assert_int_equal(bluelm_mark(s.engine, 0, NULL), BLUELM_OK);
    if (how != AT_ONCE) assert_int_equal(subject_drain(&s), BLUELM_OK);
    if (how == TAKEN_BACK) {
        assert_int_equal(bluelm_add_image_rows(s.engine, rows + 7, COLUMNS, ROWS - 1, NULL),
                         BLUELM_OK);
        assert_non_null(subject_read(&s, t->tokens, 1));
        assert_int_equal(bluelm_rewind(s.engine, 0, NULL), BLUELM_OK);
    }
    assert_int_equal(bluelm_add_image_rows(s.engine, rows, COLUMNS, ROWS, NULL), BLUELM_OK);
    logits = subject_read(&s, t->tokens + 1, t->count - 1);
    assert_non_null(logits);
    copy = malloc(t->n_vocab * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, logits, t->n_vocab * sizeof *copy);
    subject_close(&s);
    return copy;
}

static void the_first_token_sees_the_picture_behind_it(void **state)
{
    const family *f = (const family *)*state;
    tiny_file file = model_file(f->name);
    float *got[FIRSTS], *rows;
    size_t values = 0;
    char name[64];
    double error;
    int i;
    text t;
    memset(&t, 0, sizeof t);
    snprintf(name, sizeof name, "%s.first.exact.f32", f->name);
    t.exact = read_floats(name, &t.n_vocab);
    if (t.exact == NULL) { /* in this family it does not */
        tiny_free(&file);
        return;
    }
    snprintf(name, sizeof name, "%s.image.rows.f32", f->name);
    rows = read_floats(name, &values);
    assert_non_null(rows);
    add_tokens(&t, "image_before.i32");
    t.count = 1;
    add_tokens(&t, "image_after.i32");
    for (i = 0; i < FIRSTS; i++)
        got[i] = first_logits(&file, &t, rows, i);
    error = error_of(got[AT_ONCE], &t);
    if (error > 8e-4) fail_msg("%s: error %g", f->name, error);
    for (i = 0; i < FIRSTS; i++)
        assert_memory_equal(got[i], got[AT_ONCE], t.n_vocab * sizeof *got[i]);
    for (i = 0; i < FIRSTS; i++)
        free(got[i]);
    free(rows);
    free_text(&t);
    tiny_free(&file);
}

/* ---- However they are cut ----------------------------------------------------------------------- */

/* Logits of a text in chunks of one size; free them. */
static float *logits_in(const tiny_file *file, const text *t, const way *how, uint32_t chunk)
{
    way cut = *how;
    float *copy;
    reader r;
    cut.chunk_tokens = chunk;
    open_reader(&r, file, &cut);
    copy = malloc(r.m.n_vocab * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, read_on(&r, t, t->count, chunk), r.m.n_vocab * sizeof *copy);
    close_reader(&r);
    return copy;
}

/* Each token is computed alike in any company. */
static void check_chunks(const tiny_file *file, const text *t, const way *how, uint32_t least)
{
    static const uint32_t chunks[] = {1, 7, 100};
    float *whole = logits_in(file, t, how, MOST);
    size_t i;
    for (i = 0; i < COUNT(chunks); i++) {
        float *cut;
        if (chunks[i] < least) continue;
        cut = logits_in(file, t, how, chunks[i]);
        assert_memory_equal(cut, whole, t->n_vocab * sizeof *cut);
        free(cut);
    }
    free(whole);
}

static void chunks_change_no_bit(void **state)
{
    static const uint32_t masks[] = {BLUELM_CPU_NONE, BLUELM_CPU_SSE41, BLUELM_CPU_AVX2,
                                     BLUELM_CPU_AVX512_VNNI, 0};
    size_t i;
    const family *f = (const family *)*state;
    tiny_file file = model_file(f->name);
    text t = read_text(f->name, 200);
    way how = plain_way;
    for (i = 0; i < COUNT(masks); i++) { /* the better an instruction set, the later */
        how.cpu_mask = masks[i];
        how.kv_type = BLUELM_KV_F16;
        check_chunks(&file, &t, &how, 1);
        how.kv_type = BLUELM_KV_INT8;
        check_chunks(&file, &t, &how, 1);
    }
    free_text(&t);
    t = read_picture_text(f->name);
    if (t.rows != NULL) { /* a picture whose tokens see each other lies within one chunk */
        reader r;
        open_reader(&r, &file, &how);
        check_chunks(&file, &t, &how, r.m.two_way ? 100 : 1);
        close_reader(&r);
    }
    free_text(&t);
    tiny_free(&file);
}

static void workers_change_no_bit(void **state)
{
    static const uint32_t workers[] = {3, 64}, chunks[] = {1, 64};
    const family *f = (const family *)*state;
    tiny_file file = model_file(f->name);
    text t = read_text(f->name, 200);
    size_t i, j;
    for (j = 0; j < COUNT(chunks); j++) {
        float *alone = logits_in(&file, &t, &plain_way, chunks[j]);
        for (i = 0; i < COUNT(workers); i++) {
            way how = plain_way;
            float *shared;
            how.workers = workers[i];
            shared = logits_in(&file, &t, &how, chunks[j]);
            assert_memory_equal(shared, alone, t.n_vocab * sizeof *alone);
            free(shared);
        }
        free(alone);
    }
    free_text(&t);
    tiny_free(&file);
}

/* ---- The way back --------------------------------------------------------------------------------- */

/* Reads `mark` tokens, saves, reads on, comes back and reads the same again. */
static void check_way_back(const tiny_file *file, const text *t, const way *how, size_t mark,
                           size_t end)
{
    size_t bytes, logits;
    uint8_t *memory;
    float *before;
    reader r;
    open_reader(&r, file, how);
    bytes = (size_t)blm_state_snapshot_bytes(&r.state);
    logits = r.m.n_vocab * sizeof *before;
    memory = malloc(bytes);
    before = malloc(logits);
    assert_true(memory != NULL && before != NULL);
    assert_int_equal(bytes == sizeof(uint32_t), blm_state_is_plain(&r.state));
    read_on(&r, t, mark, how->chunk_tokens);
    blm_state_save(&r.state, memory);
    memcpy(before, read_on(&r, t, end, how->chunk_tokens), logits);
    read_on(&r, t, t->count, how->chunk_tokens);
    blm_state_restore(&r.state, memory);
    assert_int_equal(r.state.tokens, mark);
    assert_memory_equal(read_on(&r, t, end, how->chunk_tokens), before, logits);
    close_reader(&r);
    free(memory);
    free(before);
}

static void a_snapshot_brings_back_every_bit(void **state)
{
    static const size_t marks[][2] = {{50, 80}, {1, 3}, {31, 90}, {0, 20}, {150, 170}};
    const family *f = (const family *)*state;
    tiny_file file = model_file(f->name);
    text t = read_text(f->name, 200);
    size_t i;
    for (i = 0; i < COUNT(marks); i++) {
        way how = plain_way;
        how.chunk_tokens = i % 2 ? 8 : 50;
        check_way_back(&file, &t, &how, marks[i][0], marks[i][1]);
        how.kv_type = BLUELM_KV_INT8;
        check_way_back(&file, &t, &how, marks[i][0], marks[i][1]);
    }
    free_text(&t);
    tiny_free(&file);
}

/* The second conversation sees nothing of the first. */
static void reset_forgets_all(void **state)
{
    const family *f = (const family *)*state;
    tiny_file file = model_file(f->name);
    text t = read_text(f->name, 200);
    float *first;
    reader r;
    open_reader(&r, &file, &plain_way);
    first = malloc(t.n_vocab * sizeof *first);
    assert_non_null(first);
    memcpy(first, read_on(&r, &t, 60, 20), t.n_vocab * sizeof *first);
    read_on(&r, &t, 200, 128);
    blm_state_reset(&r.state);
    assert_memory_equal(read_on(&r, &t, 60, 20), first, t.n_vocab * sizeof *first);
    close_reader(&r);
    free(first);
    free_text(&t);
    tiny_free(&file);
}

int main(void)
{
    static family families[] = {
        {"qwen3-f32", 0},   {"qwen3-q4_0", 1},   {"qwen3-tied-f32", 0}, {"qwen3-tied-q8_0", 1},
        {"qwen3vl-f32", 0}, {"qwen3vl-q8_0", 1}, {"qwen2vl-f32", 0},    {"qwen2vl-q4_0", 1},
        {"lfm2-f32", 0},    {"lfm2-q4_0", 1},    {"gemma3-f32", 0},     {"gemma3-q4_0", 1},
        {"qwen35-f32", 0},  {"qwen35-q8_0", 1},  {"phi3-f32", 0},       {"phi3-q8_0", 1},
        {"granite-f32", 0}, {"granite-q4_0", 1}, {"gemma4-q8_0", 1},    {"phi2-f16", 0},
    };
    static const struct {
        const char *name;
        CMUnitTestFunction test;
    } proofs[] = {
        {"agrees with its reference", family_agrees_with_its_reference},
        {"the engine reads pictures alike", the_engine_reads_pictures_alike},
        {"the first token sees the picture behind it",
         the_first_token_sees_the_picture_behind_it},
        {"chunks change no bit", chunks_change_no_bit},
        {"workers change no bit", workers_change_no_bit},
        {"a snapshot brings back every bit", a_snapshot_brings_back_every_bit},
        {"reset forgets all", reset_forgets_all},
    };
    static char names[COUNT(families) * COUNT(proofs)][64];
    struct CMUnitTest tests[COUNT(families) * COUNT(proofs)];
    size_t i, j, count = 0;
    memset(tests, 0, sizeof tests);
    for (i = 0; i < COUNT(families); i++)
        for (j = 0; j < COUNT(proofs); j++, count++) {
            snprintf(names[count], sizeof names[count], "%s: %s", families[i].name,
                     proofs[j].name);
            tests[count].name = names[count];
            tests[count].test_func = proofs[j].test;
            tests[count].initial_state = &families[i];
        }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
