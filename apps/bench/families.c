#include "families.h"

#include <string.h>

/* ---- Chat templates, as far as they tell one from another ----------------------------------- */

#define CHATML                                                                                 \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "                \
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"     \
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
#define SMOLVLM                                                                                \
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if "          \
    "message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}{% for "   \
    "line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}{% elif "     \
    "line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"     \
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
#define GEMMA                                                                                  \
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'] + "    \
    "'\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"                      \
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
#define VICUNA                                                                                 \
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'USER: ' + "            \
    "message['content'] + ' ' }}{% else %}{{ 'ASSISTANT: ' + message['content'] + '</s>' }}"   \
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"

/* ---- Language models: shapes as their authors publish them ------------------------------------ */

#define SMOL_WORDS                                                                             \
    .words = BENCH_BYTE_WORDS, .pre = "smollm", .n_vocab = 49280,                              \
    .specials = "<|endoftext|>,<|im_start|>,<|im_end|>,<fake_token_around_image>,<image>,"     \
                "<global-img>,<row_%u_col_%u>:6,<end_of_utterance>",                           \
    .bos = "<|im_start|>", .eos = "<end_of_utterance>", .chat = SMOLVLM
#define QWEN_WORDS                                                                             \
    .words = BENCH_BYTE_WORDS, .pre = "qwen2",                                                 \
    .specials = "<|endoftext|>,<|im_start|>,<|im_end|>,<|vision_start|>,<|vision_end|>,"       \
                "<|vision_pad|>,<|image_pad|>,<|video_pad|>,<img>,</img>,<IMG_CONTEXT>,"       \
                "<think>,</think>",                                                            \
    .eos = "<|im_end|>", .chat = CHATML
#define LLAMA_WORDS                                                                            \
    .words = BENCH_LLAMA_WORDS, .pre = "default", .specials = "<unk>,<s>,</s>", .bos = "<s>",  \
    .eos = "</s>"
#define QWEN2 .arch = "qwen2", .features = BENCH_BIASES | BENCH_FFN_NORM | BENCH_UNTIED
#define QWEN3 BENCH_HEAD_NORMS | BENCH_FFN_NORM

static const bench_language bench_bluelm = {.arch = "llama",
                                            .features =
                                                BENCH_FFN_NORM | BENCH_UNTIED | BENCH_PURE,
                                            .n_embd = 2560,
                                            .n_layer = 32,
                                            .n_head = 20,
                                            .n_head_kv = 20,
                                            .head_dim = 128,
                                            .n_ff = 6912,
                                            .n_vocab = 100096,
                                            .context = 4096,
                                            .eps = 1e-5f,
                                            LLAMA_WORDS};

static const bench_language bench_small_language = {.arch = "llama",
                                                    .features = BENCH_FFN_NORM | BENCH_UNTIED |
                                                                BENCH_PURE,
                                                    .n_embd = 256,
                                                    .n_layer = 2,
                                                    .n_head = 4,
                                                    .n_head_kv = 4,
                                                    .head_dim = 64,
                                                    .n_ff = 512,
                                                    .n_vocab = 100096,
                                                    .context = 4096,
                                                    .eps = 1e-5f,
                                                    LLAMA_WORDS};

static const bench_language bench_smollm2_135m = {.arch = "llama",
                                                  .features = BENCH_FFN_NORM | BENCH_UNTIED,
                                                  .n_embd = 576,
                                                  .n_layer = 30,
                                                  .n_head = 9,
                                                  .n_head_kv = 3,
                                                  .head_dim = 64,
                                                  .n_ff = 1536,
                                                  .context = 8192,
                                                  .rope_base = 1e5f,
                                                  .eps = 1e-5f,
                                                  SMOL_WORDS};

static const bench_language bench_smollm2_360m = {.arch = "llama",
                                                  .features = BENCH_FFN_NORM | BENCH_UNTIED,
                                                  .n_embd = 960,
                                                  .n_layer = 32,
                                                  .n_head = 15,
                                                  .n_head_kv = 5,
                                                  .head_dim = 64,
                                                  .n_ff = 2560,
                                                  .context = 8192,
                                                  .rope_base = 1e5f,
                                                  .eps = 1e-5f,
                                                  SMOL_WORDS};

static const bench_language bench_smollm2_1_7b = {.arch = "llama",
                                                  .features = BENCH_FFN_NORM | BENCH_UNTIED,
                                                  .n_embd = 2048,
                                                  .n_layer = 24,
                                                  .n_head = 32,
                                                  .n_head_kv = 32,
                                                  .head_dim = 64,
                                                  .n_ff = 8192,
                                                  .context = 16384,
                                                  .rope_base = 273768.0f,
                                                  .eps = 1e-5f,
                                                  SMOL_WORDS};

static const bench_language bench_qwen2_5_0_5b = {
    QWEN2,          .n_embd = 896, .n_layer = 24,     .n_head = 14,     .n_head_kv = 2,
    .head_dim = 64, .n_ff = 4864,  .n_vocab = 151674, .context = 32768, .rope_base = 1e6f,
    .eps = 1e-6f,   QWEN_WORDS};

static const bench_language bench_qwen2_5_1_5b = {
    QWEN2,           .n_embd = 1536, .n_layer = 28,     .n_head = 12,     .n_head_kv = 2,
    .head_dim = 128, .n_ff = 8960,   .n_vocab = 151674, .context = 32768, .rope_base = 1e6f,
    .eps = 1e-6f,    QWEN_WORDS};

static const bench_language bench_qwen3_0_6b = {.arch = "qwen3",
                                                .features = QWEN3,
                                                .n_embd = 1024,
                                                .n_layer = 28,
                                                .n_head = 16,
                                                .n_head_kv = 8,
                                                .head_dim = 128,
                                                .n_ff = 3072,
                                                .n_vocab = 151936,
                                                .context = 40960,
                                                .rope_base = 1e6f,
                                                .eps = 1e-6f,
                                                QWEN_WORDS};

static const bench_language bench_lfm2_350m = {
    .arch = "lfm2",
    .features = BENCH_HEAD_NORMS | BENCH_FFN_NORM,
    .n_embd = 1024,
    .n_layer = 16,
    .n_head = 16,
    .n_head_kv = 8,
    .head_dim = 64,
    .n_ff = 4608,
    .n_vocab = 65536,
    .context = 128000,
    .rope_base = 1e6f,
    .eps = 1e-5f,
    .attention_layers = 1 << 2 | 1 << 5 | 1 << 8 | 1 << 10 | 1 << 12 | 1 << 14,
    .words = BENCH_BYTE_WORDS,
    .pre = "lfm2",
    .specials = "<|pad|>,<|startoftext|>,<|endoftext|>,<|im_start|>,<|im_end|>,<image>,"
                "<|image_start|>,<|image_end|>,<|img_thumbnail|>,<|img_row_%u_col_%u|>:10",
    .bos = "<|startoftext|>",
    .eos = "<|im_end|>",
    .chat = "{{bos_token}}" CHATML};

static const bench_language bench_lfm2_1_2b = {
    .arch = "lfm2",
    .features = BENCH_HEAD_NORMS | BENCH_FFN_NORM,
    .n_embd = 2048,
    .n_layer = 16,
    .n_head = 32,
    .n_head_kv = 8,
    .head_dim = 64,
    .n_ff = 8192,
    .n_vocab = 65536,
    .context = 128000,
    .rope_base = 1e6f,
    .eps = 1e-5f,
    .attention_layers = 1 << 2 | 1 << 5 | 1 << 8 | 1 << 10 | 1 << 12 | 1 << 14,
    .words = BENCH_BYTE_WORDS,
    .pre = "lfm2",
    .specials = "<|pad|>,<|startoftext|>,<|endoftext|>,<|im_start|>,<|im_end|>,<image>,"
                "<|image_start|>,<|image_end|>,<|img_thumbnail|>,<|img_row_%u_col_%u|>:10",
    .bos = "<|startoftext|>",
    .eos = "<|im_end|>",
    .chat = "{{bos_token}}" CHATML};

static const bench_language bench_qwen3_vl_2b = {.arch = "qwen3vl",
                                                 .features = QWEN3,
                                                 .n_embd = 2048,
                                                 .n_layer = 28,
                                                 .n_head = 16,
                                                 .n_head_kv = 8,
                                                 .head_dim = 128,
                                                 .n_ff = 6144,
                                                 .n_vocab = 151936,
                                                 .context = 262144,
                                                 .rope_base = 5e6f,
                                                 .eps = 1e-6f,
                                                 .sections = {24, 20, 20, 0},
                                                 .deepstack_layers = 3,
                                                 QWEN_WORDS};

static const bench_language bench_qwen3_vl_4b = {.arch = "qwen3vl",
                                                 .features = QWEN3,
                                                 .n_embd = 2560,
                                                 .n_layer = 36,
                                                 .n_head = 32,
                                                 .n_head_kv = 8,
                                                 .head_dim = 128,
                                                 .n_ff = 9728,
                                                 .n_vocab = 151936,
                                                 .context = 262144,
                                                 .rope_base = 5e6f,
                                                 .eps = 1e-6f,
                                                 .sections = {24, 20, 20, 0},
                                                 .deepstack_layers = 3,
                                                 QWEN_WORDS};

static const bench_language bench_qwen2_vl_2b = {.arch = "qwen2vl",
                                                 .features = BENCH_BIASES | BENCH_FFN_NORM,
                                                 .n_embd = 1536,
                                                 .n_layer = 28,
                                                 .n_head = 12,
                                                 .n_head_kv = 2,
                                                 .head_dim = 128,
                                                 .n_ff = 8960,
                                                 .n_vocab = 151936,
                                                 .context = 32768,
                                                 .rope_base = 1e6f,
                                                 .eps = 1e-6f,
                                                 .sections = {16, 24, 24, 0},
                                                 QWEN_WORDS};

static const bench_language bench_qwen2_5_vl_3b = {.arch = "qwen2vl",
                                                   .features = BENCH_BIASES | BENCH_FFN_NORM,
                                                   .n_embd = 2048,
                                                   .n_layer = 36,
                                                   .n_head = 16,
                                                   .n_head_kv = 2,
                                                   .head_dim = 128,
                                                   .n_ff = 11008,
                                                   .n_vocab = 151936,
                                                   .context = 128000,
                                                   .rope_base = 1e6f,
                                                   .eps = 1e-6f,
                                                   .sections = {16, 24, 24, 0},
                                                   QWEN_WORDS};

static const bench_language bench_gemma3_4b = {
    .arch = "gemma3",
    .features = BENCH_HEAD_NORMS | BENCH_FFN_NORM | BENCH_POST_NORM | BENCH_POST_FFN_NORM,
    .n_embd = 2560,
    .n_layer = 34,
    .n_head = 8,
    .n_head_kv = 4,
    .head_dim = 256,
    .n_ff = 10240,
    .n_vocab = 262144,
    .context = 131072,
    .rope_base = 1e6f,
    .eps = 1e-6f,
    .window = 1024,
    .rope_factor = 8,
    .words = BENCH_GEMMA_WORDS,
    .pre = "default",
    .specials = "<pad>,<eos>,<bos>,<unk>,<mask>,<start_of_turn>,<end_of_turn>,"
                "<start_of_image>,<end_of_image>,<image_soft_token>",
    .bos = "<bos>",
    .eos = "<end_of_turn>",
    .chat = GEMMA};

#define QWEN35                                                                                 \
    .arch = "qwen35", .features = BENCH_HEAD_NORMS | BENCH_POST_NORM | BENCH_GATED_QUERIES,    \
    .n_layer = 24, .n_head = 8, .n_head_kv = 2, .head_dim = 256, .n_vocab = 248320,            \
    .context = 262144, .rope_base = 1e7f, .eps = 1e-6f, .sections = {11, 11, 10, 0},           \
    .full_interval = 4, .state_size = 128, .delta_heads = 16, .rope_dim = 64,                  \
    .words = BENCH_BYTE_WORDS, .pre = "qwen35",                                                \
    .specials = "<|endoftext|>,<|im_start|>,<|im_end|>,<|vision_start|>,<|vision_end|>,"       \
                "<|vision_pad|>,<|image_pad|>,<|video_pad|>,<think>,</think>",                 \
    .eos = "<|im_end|>", .chat = CHATML

static const bench_language bench_qwen3_5_0_8b = {QWEN35, .n_embd = 1024, .n_ff = 3584};
static const bench_language bench_qwen3_5_2b = {QWEN35, .n_embd = 2048, .n_ff = 6144};

static const bench_language bench_llama_7b = {.arch = "llama",
                                              .features = BENCH_FFN_NORM | BENCH_UNTIED,
                                              .n_embd = 4096,
                                              .n_layer = 32,
                                              .n_head = 32,
                                              .n_head_kv = 32,
                                              .head_dim = 128,
                                              .n_ff = 11008,
                                              .n_vocab = 32000,
                                              .context = 4096,
                                              .eps = 1e-5f,
                                              LLAMA_WORDS,
                                              .chat = VICUNA};

/* ---- Encoders and projectors ------------------------------------------------------------------- */

#define SO400M                                                                                 \
    .features = BENCH_SIGLIP, .patch_px = 14, .width = 1152, .n_layer = 27, .n_head = 16,      \
    .n_ff = 4304, .eps = 1e-6f
#define SIGLIP_BASE                                                                            \
    .features = BENCH_SIGLIP, .patch_px = 16, .width = 768, .n_layer = 12, .n_head = 12,       \
    .n_ff = 3072, .eps = 1e-6f

static const bench_tower bench_bluelm_tower = {"lfm2", SO400M, .image_px = 384, .merge = 2};
static const bench_tower bench_small_tower = {"lfm2",          .features = BENCH_SIGLIP,
                                              .patch_px = 14,  .width = 1152,
                                              .n_layer = 1,    .n_head = 16,
                                              .n_ff = 4304,    .eps = 1e-6f,
                                              .image_px = 384, .merge = 2};
static const bench_tower bench_smolvlm_base = {"idefics3", SIGLIP_BASE, .image_px = 512,
                                               .merge = 4};
static const bench_tower bench_smolvlm_so400m = {"idefics3", SO400M, .image_px = 384,
                                                 .merge = 3};
static const bench_tower bench_intern_vit = {"internvl",
                                             .features = BENCH_CLASS | BENCH_POSITIONS |
                                                         BENCH_PATCH_BIAS | BENCH_APART |
                                                         BENCH_NORM_BIAS | BENCH_LAYER_SCALE,
                                             .image_px = 448,
                                             .patch_px = 14,
                                             .width = 1024,
                                             .n_layer = 24,
                                             .n_head = 16,
                                             .n_ff = 4096,
                                             .merge = 2,
                                             .pixels = BENCH_IMAGENET,
                                             .eps = 1e-6f};
static const bench_tower bench_lfm2_base = {"lfm2", SIGLIP_BASE, .image_px = 256, .merge = 2,
                                            .hidden = 2560};
static const bench_tower bench_lfm2_so400m = {"lfm2",          .features = BENCH_SIGLIP,
                                              .patch_px = 16,  .width = 1152,
                                              .n_layer = 26,   .n_head = 16,
                                              .n_ff = 4304,    .eps = 1e-6f,
                                              .image_px = 256, .merge = 2,
                                              .hidden = 2560};

#define QWEN3_TOWER                                                                            \
    .features = BENCH_POST_LN | BENCH_POSITIONS | BENCH_PATCH_BIAS | BENCH_TWO_KERNELS |       \
                BENCH_FUSED | BENCH_NORM_BIAS,                                                 \
    .image_px = 768, .patch_px = 16, .merge = 2, .eps = 1e-6f
static const bench_tower bench_qwen3_vl = {"qwen3vl_merger",        QWEN3_TOWER,  .width = 1024,
                                           .n_layer = 24,           .n_head = 16, .n_ff = 4096,
                                           .deepstack = {6, 12, 18}};
static const bench_tower bench_qwen3_5_small = {"qwen3vl_merger", QWEN3_TOWER,  .width = 768,
                                                .n_layer = 12,    .n_head = 12, .n_ff = 3072};
static const bench_tower bench_qwen3_5 = {"qwen3vl_merger", QWEN3_TOWER,  .width = 1024,
                                          .n_layer = 24,    .n_head = 16, .n_ff = 4096};
static const bench_tower bench_qwen2_vl = {"qwen2vl_merger",
                                           .features = BENCH_POST_LN | BENCH_TWO_KERNELS |
                                                       BENCH_APART | BENCH_NORM_BIAS |
                                                       BENCH_QUICK_GELU,
                                           .image_px = 560,
                                           .patch_px = 14,
                                           .width = 1280,
                                           .n_layer = 32,
                                           .n_head = 16,
                                           .n_ff = 5120,
                                           .merge = 2,
                                           .pixels = BENCH_CLIP,
                                           .eps = 1e-6f};
static const bench_tower bench_qwen2_5_vl = {
    "qwen2.5vl_merger",
    .features = BENCH_POST_LN | BENCH_TWO_KERNELS | BENCH_APART | BENCH_GATED,
    .image_px = 560,
    .patch_px = 14,
    .width = 1280,
    .n_layer = 32,
    .n_head = 16,
    .n_ff = 3420,
    .merge = 2,
    .window_pattern = 8,
    .pixels = BENCH_CLIP,
    .eps = 1e-6f};
static const bench_tower bench_gemma3 = {"gemma3", SO400M, .image_px = 896, .merge = 4};
static const bench_tower bench_clip_l = {"mlp",
                                         .features = BENCH_CLASS | BENCH_PRE_NORM |
                                                     BENCH_POSITIONS | BENCH_APART |
                                                     BENCH_NORM_BIAS | BENCH_QUICK_GELU,
                                         .image_px = 336,
                                         .patch_px = 14,
                                         .width = 1024,
                                         .n_layer = 23,
                                         .n_head = 16,
                                         .n_ff = 4096,
                                         .merge = 1,
                                         .pixels = BENCH_CLIP,
                                         .eps = 1e-5f};

/* ---- Families ------------------------------------------------------------------------------------ */

/* The first is the benchmark's default. Types: of the files that are downloaded most. */
static const bench_family bench_families[] = {
    {"bluelm-3b", "BlueLM-V-3B", &bench_bluelm, &bench_bluelm_tower, "q4_0,q4_k", "q8_0,f16"},
    {"small", NULL, &bench_small_language, &bench_small_tower, "q4_0,q4_k", "q8_0,f16"},
    {"smolvlm-256m", "SmolVLM, SmolVLM2 256M", &bench_smollm2_135m, &bench_smolvlm_base, "q8_0",
     "q8_0"},
    {"smolvlm-500m", "SmolVLM, SmolVLM2 500M", &bench_smollm2_360m, &bench_smolvlm_base, "q8_0",
     "q8_0"},
    {"smolvlm-2.2b", "SmolVLM, SmolVLM2 2.2B", &bench_smollm2_1_7b, &bench_smolvlm_so400m,
     "q4_k_m", "q8_0"},
    {"lfm2-vl-450m", "LFM2-VL 450M", &bench_lfm2_350m, &bench_lfm2_base, "q8_0", "q8_0"},
    {"lfm2-vl-1.6b", "LFM2-VL 1.6B", &bench_lfm2_1_2b, &bench_lfm2_so400m, "q4_0", "q8_0"},
    {"internvl3-1b", "InternVL2.5, InternVL3 1B", &bench_qwen2_5_0_5b, &bench_intern_vit,
     "q8_0", "q8_0"},
    {"internvl3-2b", "InternVL3 2B", &bench_qwen2_5_1_5b, &bench_intern_vit, "q4_k_m", "q8_0"},
    {"internvl3.5-1b", "InternVL3.5 1B", &bench_qwen3_0_6b, &bench_intern_vit, "q8_0", "q8_0"},
    {"qwen2-vl-2b", "Qwen2-VL 2B", &bench_qwen2_vl_2b, &bench_qwen2_vl, "q4_k_m", "q8_0"},
    {"qwen2.5-vl-3b", "Qwen2.5-VL 3B", &bench_qwen2_5_vl_3b, &bench_qwen2_5_vl, "q4_k_m",
     "q8_0"},
    {"qwen3-vl-2b", "Qwen3-VL 2B", &bench_qwen3_vl_2b, &bench_qwen3_vl, "q4_k_m", "q8_0"},
    {"qwen3-vl-4b", "Qwen3-VL 4B", &bench_qwen3_vl_4b, &bench_qwen3_vl, "q4_k_m", "q8_0"},
    {"qwen3.5-0.8b", "Qwen3.5 0.8B", &bench_qwen3_5_0_8b, &bench_qwen3_5_small, "q4_k_m",
     "f16"},
    {"qwen3.5-2b", "Qwen3.5 2B", &bench_qwen3_5_2b, &bench_qwen3_5, "q4_k_m", "f16"},
    {"gemma3-4b", "Gemma 3 4B", &bench_gemma3_4b, &bench_gemma3, "q4_k_m", "f16"},
    {"llava-1.5-7b", "LLaVA-1.5 7B", &bench_llama_7b, &bench_clip_l, "q4_k_m", "f16"},
};

const bench_family *bench_family_at(uint32_t index)
{
    return index < sizeof bench_families / sizeof *bench_families ? &bench_families[index]
                                                                  : NULL;
}

const bench_family *bench_family_named(const char *name)
{
    const bench_family *f;
    for (uint32_t i = 0; (f = bench_family_at(i)); i++)
        if (!strcmp(f->name, name)) return f;
    return NULL;
}
