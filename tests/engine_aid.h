/* Whole engines over tiny models, for the tests: built, asked, and their answers written
 * down. What should not happen while a test is being set up aborts (tiny_must). */
#ifndef ENGINE_AID_H
#define ENGINE_AID_H

#include "../bluelm.h"
#include "tiny_model.h"

/* A model's files in memory. */
typedef struct aid_model {
    tiny_file llm, mmproj; /* mmproj.data may be NULL */
    bluelm_weights weights;
} aid_model;

/* vision NULL: text alone. */
aid_model aid_model_make(const tiny_llm_config *llm, const tiny_vision_config *vision);
aid_model aid_model_default(void);
void aid_model_free(aid_model *m);

/* Rewrites a model of F32 tensors so that under greedy sampling script[i + 1] follows
 * script[i], whatever came before. No token may be in the script twice. */
void aid_model_script(aid_model *m, const int32_t *script, uint32_t count);

/* An engine in a block of malloc of exactly the planned size. */
typedef struct aid_engine {
    bluelm *engine;
    void *arena;
    bluelm_memory memory;
    aid_model model; /* empty unless the engine has one of its own */
} aid_engine;

aid_engine aid_engine_make(const aid_model *m, const bluelm_config *config,
                           const bluelm_port *port);
void aid_engine_free(aid_engine *e);

/* Engines with the default model for their own, which goes with them: as it is, and scripted
 * (aid_model_script). */
aid_engine aid_engine_default(const bluelm_config *config);
aid_engine aid_engine_scripted(const bluelm_config *config, const int32_t *script,
                               uint32_t count);

#define AID_MAX_TOKENS 2048

typedef struct aid_answer {
    int32_t tokens[AID_MAX_TOKENS];
    uint32_t count;
    char text[8 * AID_MAX_TOKENS];
    size_t text_bytes;
    int end_reason;
    int code; /* what the last bluelm_step returned */
    uint32_t encode_steps, prefill_steps;
    uint64_t encode_total, prefill_total; /* of the last event of each kind */
    bluelm_error err;
} aid_answer;

/* Steps until there is nothing to do, and writes down what came. Checks on the way that
 * progress only grows and ends at its total, and that all text is valid UTF-8. */
void aid_run(bluelm *engine, aid_answer *a);

/* bluelm_generate, then aid_run. */
void aid_ask(bluelm *engine, uint32_t max_tokens, aid_answer *a);

/* 1 if both answers have the same tokens, text and end. */
int aid_same(const aid_answer *a, const aid_answer *b);

/* 1 if the text is valid UTF-8: written apart from the library's decoder. */
int aid_utf8_valid(const char *text, size_t bytes);

/* A picture of random RGB rows from malloc, stride_bytes 0: tight. Free image.rgb. */
bluelm_image aid_picture(uint32_t width, uint32_t height, size_t stride_bytes, uint64_t seed);

#endif
