/* Conversations through the whole engine against what the models' own templates make of
 * them (tests/data/prompts.txt). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_aid.h"
#include "file_aid.h"

#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define PROMPT_MAX 4000

/* How a template of the file is named here, and how many of its conversations come out as
 * the model's own: those of its projector's breaks have a line break behind each picture. */
typedef struct prompt_case {
    const char *theirs, *ours;
    int breaks, conversations, equal;
} prompt_case;

static const prompt_case cases[] = {
    {"smolvlm", "smolvlm", 0, 6, 6},
    {"llava-1.5-hf", "llava", 1, 6, 4}, /* pictures to the front */
    {"internvl3-hf", "chatml", 1, 6, 6},
    {"qwen2vl", "qwen2-vl", 0, 6, 6},
    {"qwen3vl", "qwen3-vl", 0, 6, 6},
    {"lfm2-vl", "lfm2", 0, 6, 6},
    {"lfm2.5-vl", "lfm2", 0, 6, 6},
    {"gemma3", "gemma3", 0, 6, 6},
    {"granite-docling", "granite-docling", 0, 6, 6},
    {"phi-4-mini", "phi-4-mini", 1, 6, 6},
    {"llava-1.6-mistral-old", "llava-mistral-old", 1, 6, 4}, /* the same */
    {"llava-1.6-mistral", "llava-1.6-mistral", 1, 6, 4},     /* the same */
    {"llava-v1", "llava-v1", 1, 6, 6},
    {"vicuna-llama.cpp", "vicuna", 1, 6, 6},
    {"phi-3-mini", "phi-3", 1, 6, 6},
    {"granite-3.0", "granite", 1, 6, 6},
    {"mistral-7b-v0.2", "mistral-v1", 1, 6, 6},
    {"qwen2.5", "qwen2.5", 1, 6, 6},
    {"qwen3", "qwen3", 1, 6, 6},
    {"qwen3.5", "qwen3.5-think", 0, 6, 6},
    {"lfm2.5", "lfm2", 1, 6, 6},
    {"phi-3.5-mini", "phi-3.5", 1, 6, 6},
    {"granite-3.3", "granite-3.3", 1, 6, 6},
    {"mistral-nemo", "mistral-v3-tekken", 1, 6, 5}, /* system text to the last question */
    {"mistral-small-3.2", "mistral-v7-tekken", 0, 1, 1},
    {"ministral-3", "mistral-v7-tekken", 0, 6, 1}, /* its default system turn */
    {"gemma4", "gemma4-channel", 0, 6, 6},
    {"moondream2", "moondream", 1, 4, 4},
};

/* ---- The file ---------------------------------------------------------------------- */

typedef struct prompt_file {
    char *lines[1500];
    size_t count;
    const char *markers[64];
    tiny_file file;
} prompt_file;

static prompt_file prompts_load(void)
{
    prompt_file p;
    size_t markers = 0;
    memset(&p, 0, sizeof p);
    p.file = file_load("tests/data/prompts.txt");
    for (char *at = (char *)p.file.data, *end; *at; at = end + 1) {
        end = strchr(at, '\n');
        assert_non_null(end);
        *end = 0;
        assert_true(p.count < COUNT(p.lines));
        p.lines[p.count++] = at;
        if (at[0] == 'M') p.markers[markers++] = at + 2;
        assert_true(markers < COUNT(p.markers));
        if (end + 1 == (char *)p.file.data + p.file.bytes) break;
    }
    return p;
}

/* A text as it was; a picture is the byte 1. */
static size_t unescape(const char *line, char *out)
{
    size_t used = 0;
    for (; *line; line++) {
        if (*line == '\\')
            line++;
        else {
            out[used++] = *line;
            continue;
        }
        out[used++] = *line == 'n' ? '\n' : *line == 'p' ? 1 : *line;
    }
    out[used] = 0;
    return used;
}

/* ---- The engine --------------------------------------------------------------------- */

typedef struct prompt_engine {
    aid_model model;
    aid_engine e;
    const char *const *markers;
    const char *bos;
    uint32_t picture_tokens;
} prompt_engine;

static prompt_engine prompt_engine_make(const prompt_case *c, const prompt_file *p,
                                        const char *bos)
{
    prompt_engine s;
    tiny_llm_config llm = tiny_llm_default();
    tiny_vision_config vision = tiny_vision_default();
    bluelm_config config;
    llm.byte_bpe = 1, llm.markers = p->markers, llm.no_template = 1;
    if (c->breaks) vision.projector = TINY_MLP;
    memset(&config, 0, sizeof config);
    config.chat_template = c->ours;
    config.date = "2026-01-01";
    config.context_tokens = 4096;
    config.tile_rule = BLUELM_TILES_SINGLE;
    s.model = aid_model_make(&llm, &vision);
    s.e = aid_engine_make(&s.model, &config, NULL);
    s.markers = p->markers;
    s.bos = bos;
    s.picture_tokens = s.e.memory.tokens_per_tile;
    return s;
}

/* The conversation in the queue as a text; a picture is the byte 1. */
static void render(prompt_engine *s, char *out)
{
    static int32_t ids[4096];
    int64_t count = bluelm_context_ids(s->e.engine, ids, COUNT(ids));
    size_t used = 0;
    uint32_t image = 0;
    assert_in_range(count, 0, COUNT(ids));
    for (int64_t i = 0; i < count; i++) {
        int32_t id = ids[i];
        if (id < 0) {
            if (image++ % s->picture_tokens == 0) out[used++] = 1;
        } else if (id == TINY_BPE_END) {
            used += (size_t)sprintf(out + used, "%s", s->bos);
        } else if (id == TINY_BPE_IM_START || id == TINY_BPE_IM_END) {
            used += (size_t)sprintf(out + used,
                                    id == TINY_BPE_IM_END ? "<|im_end|>" : "<|im_start|>");
        } else if (id >= TINY_BPE_MARKERS) {
            used += (size_t)sprintf(out + used, "%s", s->markers[id - TINY_BPE_MARKERS]);
        } else {
            used += (size_t)bluelm_detokenize(s->e.engine, id, out + used, 64, NULL);
        }
    }
    out[used] = 0;
}

/* Feeds one conversation, its texts in pieces of `cut` bytes. Returns the line of its
 * prompt. */
static size_t feed(prompt_engine *s, const prompt_file *p, size_t line, size_t cut)
{
    static const char roles[] = "sua";
    char text[PROMPT_MAX];
    bluelm_image picture = aid_picture(24, 24, 0, 1);
    bluelm_reset(s->e.engine);
    for (line++; p->lines[line][0] != 'P'; line++) {
        char kind = p->lines[line][0];
        const char *role = strchr(roles, kind);
        if (role) {
            assert_int_equal(bluelm_begin_turn(s->e.engine, (bluelm_role)(role - roles), NULL),
                             0);
        } else if (kind == 'i') {
            assert_true(bluelm_add_image(s->e.engine, &picture, NULL, NULL) > 0);
        } else {
            size_t bytes = unescape(p->lines[line] + 2, text);
            for (size_t i = 0; i < bytes; i += cut)
                assert_int_equal(bluelm_add_text(s->e.engine, text + i,
                                                 bytes - i < cut ? bytes - i : cut, NULL),
                                 0);
        }
    }
    assert_int_equal(bluelm_generate(s->e.engine, 0, NULL), 0);
    free((void *)(uintptr_t)picture.rgb);
    return line;
}

/* Compares the conversations of a template, from its line on. Returns how many are equal. */
static int compare(prompt_engine *s, const prompt_file *p, size_t line, const prompt_case *c)
{
    char want[PROMPT_MAX], got[PROMPT_MAX];
    int equal = 0, conversations = 0;
    for (line++; line < p->count && p->lines[line][0] == 'C'; line++) {
        size_t prompt = feed(s, p, line, 1000);
        render(s, got);
        unescape(p->lines[prompt] + 2, want);
        int same = strcmp(got, want) == 0;
        if (!same && c->equal == c->conversations)
            print_message("%s, %s:\n%s\nnot\n%s\n", c->theirs, p->lines[line], got, want);
        feed(s, p, line, 1); /* the same, a byte at a time */
        render(s, want);
        assert_string_equal(got, want);
        equal += same;
        conversations++;
        line = prompt;
    }
    assert_int_equal(conversations, c->conversations);
    return equal;
}

static void prompts_equal_those_of_the_models_own_templates(void **state)
{
    (void)state;
    prompt_file p = prompts_load();
    size_t next = 0;
    for (size_t i = 0; i < p.count; i++) {
        char name[64], bos[64];
        if (p.lines[i][0] != 'T') continue;
        assert_int_equal(sscanf(p.lines[i] + 2, "%63s %63s", name, bos), 2);
        assert_true(next < COUNT(cases));
        const prompt_case *c = &cases[next++];
        assert_string_equal(c->theirs, name);
        prompt_engine s = prompt_engine_make(c, &p, bos);
        int equal = compare(&s, &p, i, c);
        print_message("%-22s %-18s %d of %d\n", name, c->ours, equal, c->conversations);
        assert_int_equal(equal, c->equal);
        aid_engine_free(&s.e);
        aid_model_free(&s.model);
    }
    assert_int_equal(next, COUNT(cases));
    tiny_free(&p.file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_equal_those_of_the_models_own_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
