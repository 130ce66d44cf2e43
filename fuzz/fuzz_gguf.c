/* Fuzz target: the GGUF reader. Opens the bytes as a file of each kind, asks for everything
 * a model could ask for, and touches the ends of all that is returned. */
#include "../gguf/gguf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char *const blm_fuzz_keys[] = {
    "general.architecture",
    "general.alignment",
    "llama.block_count",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.rope.freq_base",
    "tokenizer.ggml.model",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.add_bos_token",
    "clip.has_vision_encoder",
    "clip.projector_type",
    "clip.vision.image_size",
    "clip.vision.image_mean",
    "k",
    "",
};

static const char *const blm_fuzz_tensors[] = {
    "token_embd.weight",
    "output_norm.weight",
    "blk.0.attn_q.weight",
    "blk.0.ffn_down.weight",
    "v.patch_embd.weight",
    "v.blk.0.ln1.weight",
    "mm.1.weight",
    "t",
    "",
};

/* Reads the first and the last byte, which must lie inside the file. */
static unsigned blm_fuzz_touch(const blm_gguf *g, const void *data, uint64_t bytes)
{
    const uint8_t *p = (const uint8_t *)data;
    if (p < g->file || p > g->file + g->bytes) abort();
    if (bytes > (uint64_t)(g->file + g->bytes - p)) abort();
    return bytes > 0 ? (unsigned)p[0] + p[bytes - 1] : 0;
}

static void blm_fuzz_must_be_error(int rc, const bluelm_error *err)
{
    char text[128];
    if (rc >= 0) return;
    if (err->code != rc) abort();
    bluelm_error_text(err, text, sizeof text);
}

static unsigned blm_fuzz_array(const blm_gguf *g, const char *key, uint32_t type)
{
    blm_array a;
    blm_string s;
    uint64_t at = 0, count = 0;
    unsigned sum = 0;
    if (blm_gguf_array(g, key, type, &a, NULL) <= 0) return 0;
    sum += blm_fuzz_touch(g, a.data, a.bytes);
    if (type != BLM_GGUF_STRING) return sum;
    while (blm_array_next_string(&a, &at, &s)) {
        sum += blm_fuzz_touch(g, s.text, s.bytes);
        count++;
    }
    if (count != a.count || at != a.bytes) abort();
    return sum;
}

static unsigned blm_fuzz_key(const blm_gguf *g, const char *key)
{
    bluelm_error err;
    blm_string s;
    uint32_t u, type;
    unsigned sum = 0;
    float f = 0;
    int flag = 0, rc;
    rc = blm_gguf_u32(g, key, &u, &err);
    blm_fuzz_must_be_error(rc, &err);
    rc = blm_gguf_f32(g, key, &f, &err);
    blm_fuzz_must_be_error(rc, &err);
    if (rc > 0 && !(f - f == 0)) abort(); /* finite */
    rc = blm_gguf_bool(g, key, &flag, &err);
    blm_fuzz_must_be_error(rc, &err);
    if (flag != 0 && flag != 1) abort();
    rc = blm_gguf_string(g, key, &s, &err);
    blm_fuzz_must_be_error(rc, &err);
    if (rc > 0) sum += blm_fuzz_touch(g, s.text, s.bytes);
    for (type = 0; type <= BLM_GGUF_F64 + 1; type++)
        sum += blm_fuzz_array(g, key, type);
    return sum;
}

static unsigned blm_fuzz_tensor(const blm_gguf *g, const char *name)
{
    bluelm_error err;
    blm_tensor t;
    uint32_t values, block_bytes;
    int rc = blm_gguf_tensor(g, name, &t, &err);
    blm_fuzz_must_be_error(rc, &err);
    if (rc <= 0) return 0;
    if (!blm_type_block(t.type, &values, &block_bytes) || t.ne[0] % values != 0) abort();
    if (t.row_bytes != t.ne[0] / values * block_bytes) abort();
    return blm_fuzz_touch(g, t.data, t.row_bytes * t.ne[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const labels[] = {"llm", "mmproj"};
    static volatile unsigned sink; /* so that no read is left out */
    unsigned sum = 0;
    size_t i, label;
    for (label = 0; label < BLM_COUNT_OF(labels); label++) {
        bluelm_error err;
        blm_gguf g;
        int rc = blm_gguf_open(&g, data, bytes, labels[label], &err);
        blm_fuzz_must_be_error(rc, &err);
        if (rc < 0) continue;
        for (i = 0; i < BLM_COUNT_OF(blm_fuzz_keys); i++) {
            sum += blm_fuzz_key(&g, blm_fuzz_keys[i]);
        }
        for (i = 0; i < BLM_COUNT_OF(blm_fuzz_tensors); i++) {
            sum += blm_fuzz_tensor(&g, blm_fuzz_tensors[i]);
        }
    }
    sink = sum;
    (void)sink;
    return 0;
}
