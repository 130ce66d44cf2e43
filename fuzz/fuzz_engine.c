/* Whole engines over hostile files: the input is eight bytes of options and a GGUF file,
 * which takes the place of the language model or of the mmproj beside a sound one. The
 * corpus is made of that of the GGUF reader, e.g.
 *
 *     (printf '\021\100\0\1\0\50\36\140'; cat fuzz/corpus/gguf/lfm2.gguf) \
 *         > fuzz/corpus/engine/lfm2_scalar */
#include "../tests/hostile_aid.h"
#include "../tests/tiny_model.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* As small as they come, and of the width of the corpus's files. */
static tiny_file fuzz_llm(void)
{
    tiny_llm_config c = tiny_llm_default();
    c.n_embd = 32, c.n_layer = 1, c.n_head = 2, c.n_head_kv = 1, c.n_ff = 32;
    c.n_vocab = TINY_MIN_VOCAB, c.tied = 1;
    return tiny_llm(&c);
}

static tiny_file fuzz_mmproj(void)
{
    tiny_vision_config c = tiny_vision_default();
    c.image_px = 12, c.patch_px = 4;
    c.width = 16, c.n_head = 2, c.n_layer = 1, c.n_ff = 24, c.n_embd = 32;
    return tiny_mmproj(&c);
}

static hostile_job fuzz_options(const uint8_t *option)
{
    hostile_job job;
    memset(&job, 0, sizeof job);
    job.config.max_image_width_px = 1024;
    job.config.kv_type = option[0] >> 2 & 1 ? BLUELM_KV_F16 : BLUELM_KV_INT8;
    job.config.activation_type = option[0] >> 3 & 1 ? BLUELM_ACT_INT16 : BLUELM_ACT_INT8;
    job.config.vision_activation_type = job.config.activation_type;
    job.config.cpu_mask = option[0] >> 4 & 1 ? BLUELM_CPU_NONE : 0;
    job.config.context_tokens = option[1];
    job.config.chunk_tokens = option[2];
    job.config.tile_rule = option[3] % 5;
    job.config.tiles_per_batch = option[3] / 5 % 5;
    job.config.workers = option[4] % 4;
    job.config.max_tiles = option[4] / 4;
    job.picture_width = option[5] % 65;
    job.picture_height = 1 + option[6] % 64;
    job.sampling.temperature = option[7] & 1 ? 1.0f : 0.0f;
    job.max_steps = 8 + option[7] / 8;
    return job;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static tiny_file llm, mmproj;
    if (bytes < 8) return 0;
    if (!llm.data) llm = fuzz_llm(), mmproj = fuzz_mmproj();
    hostile_job job = fuzz_options(data);
    int hostile_vision = data[0] & 1, vision = hostile_vision || (data[0] & 2);
    const bluelm_weights weights = {hostile_vision ? llm.data : data + 8,
                                    hostile_vision ? llm.bytes : bytes - 8,
                                    hostile_vision ? data + 8
                                    : vision       ? mmproj.data
                                                   : NULL,
                                    hostile_vision ? bytes - 8
                                    : vision       ? mmproj.bytes
                                                   : 0};
    job.weights = weights;
    if (!vision) job.picture_width = 0;
    hostile_run(&job);
    return 0;
}
