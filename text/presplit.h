/* Cutting text into words before byte-level BPE. The rules are the regular expressions
 * of the models' own tokenizers, each written as a scanner that reads every character
 * a bounded number of times. Source: the models' tokenizer.json files. */
#ifndef BLM_PRESPLIT_H
#define BLM_PRESPLIT_H

#include "unicode.h"

typedef struct blm_presplit {
    const char *name;      /* as tokenizer.ggml.pre says it                          */
    const uint8_t *stages; /* passes over the text, each cuts finer; 0 ends them    */
    uint8_t ignore_merges; /* a word that is a token becomes it, whatever the merges */
    uint8_t add_bos;       /* what the absent key add_bos_token means                */
} blm_presplit;

/* The rule of that name (not terminated), or NULL. */
BLM_PRIVATE const blm_presplit *blm_presplit_find(const char *name, uint64_t bytes);

/* Whether pieces behind this rule are written as SentencePiece writes them: Gemma 4. */
BLM_PRIVATE int blm_presplit_marked(const blm_presplit *rule);

/* Marks where words begin: bit i % 8 of starts[i / 8] for a word at byte i.
 *   text    `bytes` bytes, any; a byte that is no valid UTF-8 counts as a symbol
 *   starts  out [bytes / 8 + 1] */
BLM_PRIVATE void blm_presplit_run(const blm_presplit *rule, const char *text, uint32_t bytes,
                                  uint8_t *starts);

/* The first marked byte at or after `at`, or `bytes`. */
BLM_PRIVATE uint32_t blm_presplit_next(const uint8_t *starts, uint32_t at, uint32_t bytes);

#endif
