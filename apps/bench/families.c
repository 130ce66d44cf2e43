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
#define GEMMA4_CHAT                                                                            \
    "{{ bos_token }}{% for message in messages %}{{ '<|turn>' + message['role'] + '\n' + "     \
    "message['content'] | trim + '<turn|>\n' }}{% endfor %}"                                   \
    "{% if add_generation_prompt %}{{ '<|turn>model\n' }}{% endif %}"
#define VICUNA                                                                                 \
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'USER: ' + "            \
    "message['content'] + ' ' }}{% else %}{{ 'ASSISTANT: ' + message['content'] + '</s>' }}"   \
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"

#define GRANITE_VISION                                                                         \
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\n' }}"        \
    "{% else %}{{ '<|assistant|>\n' }}{% endif %}{{ message['content'] + '\n' }}"              \
    "{% endfor %}{# <image> stands in the content #}{{ '<|assistant|>\n' }}"
#define PHI3                                                                                   \
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"           \
    "{{ '<|user|>\n' + message['content'] + '<|end|>\n<|assistant|>\n' }}{% else %}"           \
    "{{ message['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"

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

#define SHAPE(embd, layers, heads, kv_heads, head, ffn)                                        \
    .n_embd = embd, .n_layer = layers, .n_head = heads, .n_head_kv = kv_heads,                 \
    .head_dim = head, .n_ff = ffn

#define BLUELM                                                                                 \
    .arch = "llama", .features = BENCH_FFN_NORM | BENCH_UNTIED | BENCH_PURE,                   \
    .n_vocab = 100096, .context = 4096, .eps = 1e-5f, LLAMA_WORDS
static const bench_language bench_bluelm = {BLUELM, SHAPE(2560, 32, 20, 20, 128, 6912)};
static const bench_language bench_small_language = {BLUELM, SHAPE(256, 2, 4, 4, 64, 512)};

#define SMOLLM2                                                                                \
    .arch = "llama", .features = BENCH_FFN_NORM | BENCH_UNTIED, .eps = 1e-5f, SMOL_WORDS
static const bench_language bench_smollm2_135m = {SMOLLM2, SHAPE(576, 30, 9, 3, 64, 1536),
                                                  .context = 8192, .rope_base = 1e5f};
static const bench_language bench_smollm2_360m = {SMOLLM2, SHAPE(960, 32, 15, 5, 64, 2560),
                                                  .context = 8192, .rope_base = 1e5f};
static const bench_language bench_smollm2_1_7b = {SMOLLM2, SHAPE(2048, 24, 32, 32, 64, 8192),
                                                  .context = 16384, .rope_base = 273768.0f};

#define QWEN(name, what, words, length, base)                                                  \
    .arch = name, .features = BENCH_FFN_NORM | (what), .n_vocab = words, .context = length,    \
    .rope_base = base, .eps = 1e-6f, QWEN_WORDS
#define QWEN2 QWEN("qwen2", BENCH_BIASES | BENCH_UNTIED, 151674, 32768, 1e6f)
#define QWEN3 QWEN("qwen3", BENCH_HEAD_NORMS, 151936, 40960, 1e6f)
#define QWEN2VL(length)                                                                        \
    QWEN("qwen2vl", BENCH_BIASES, 151936, length, 1e6f), .sections = {16, 24, 24, 0}
#define QWEN3VL                                                                                \
    QWEN("qwen3vl", BENCH_HEAD_NORMS, 151936, 262144, 5e6f), .sections = {24, 20, 20, 0},      \
                                                             .deepstack_layers = 3
static const bench_language bench_qwen2_5_0_5b = {QWEN2, SHAPE(896, 24, 14, 2, 64, 4864)};
static const bench_language bench_qwen2_5_1_5b = {QWEN2, SHAPE(1536, 28, 12, 2, 128, 8960)};
static const bench_language bench_qwen3_8b = {
    QWEN("qwen3", BENCH_HEAD_NORMS | BENCH_UNTIED, 151748, 40960, 1e6f),
    SHAPE(4096, 36, 32, 8, 128, 12288)};
static const bench_language bench_qwen3_0_6b = {QWEN3, SHAPE(1024, 28, 16, 8, 128, 3072)};
static const bench_language bench_qwen2_vl_2b = {QWEN2VL(32768),
                                                 SHAPE(1536, 28, 12, 2, 128, 8960)};
static const bench_language bench_qwen2_5_vl_3b = {QWEN2VL(128000),
                                                   SHAPE(2048, 36, 16, 2, 128, 11008)};
static const bench_language bench_qwen3_vl_2b = {QWEN3VL, SHAPE(2048, 28, 16, 8, 128, 6144)};
static const bench_language bench_qwen3_vl_4b = {QWEN3VL, SHAPE(2560, 36, 32, 8, 128, 9728)};

#define QWEN35                                                                                 \
    .arch = "qwen35", .features = BENCH_HEAD_NORMS | BENCH_POST_NORM | BENCH_GATED_QUERIES,    \
    .n_vocab = 248320, .context = 262144, .rope_base = 1e7f, .eps = 1e-6f,                     \
    .sections = {11, 11, 10, 0}, .full_interval = 4, .state_size = 128, .delta_heads = 16,     \
    .rope_dim = 64, .words = BENCH_BYTE_WORDS, .pre = "qwen35",                                \
    .specials = "<|endoftext|>,<|im_start|>,<|im_end|>,<|vision_start|>,<|vision_end|>,"       \
                "<|vision_pad|>,<|image_pad|>,<|video_pad|>,<think>,</think>",                 \
    .eos = "<|im_end|>", .chat = CHATML
static const bench_language bench_qwen3_5_0_8b = {QWEN35, SHAPE(1024, 24, 8, 2, 256, 3584)};
static const bench_language bench_qwen3_5_2b = {QWEN35, SHAPE(2048, 24, 8, 2, 256, 6144)};

#define MISTRAL                                                                                \
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"         \
    "{{ '[SYSTEM_PROMPT]' + message['content'] + '[/SYSTEM_PROMPT]' }}{% elif "                \
    "message['role'] == 'user' %}{{ '[INST]' + message['content'] + '[/INST]' }}{% else %}"    \
    "{{ message['content'] + '</s>' }}{% endif %}{% endfor %}"
static const bench_language bench_ministral3_3b = {
    SHAPE(3072, 26, 32, 8, 128, 9216),
    .arch = "mistral3",
    .features = BENCH_FFN_NORM,
    .n_vocab = 131072,
    .context = 262144,
    .rope_base = 1e6f,
    .eps = 1e-5f,
    .words = BENCH_BYTE_WORDS,
    .pre = "tekken",
    .specials = "<unk>,<s>,</s>,[INST],[/INST],[SYSTEM_PROMPT],[/SYSTEM_PROMPT],[IMG],"
                "[IMG_BREAK],[IMG_END]",
    .bos = "<s>",
    .eos = "</s>",
    .chat = MISTRAL};

#define LFM2                                                                                   \
    .arch = "lfm2", .features = BENCH_HEAD_NORMS | BENCH_FFN_NORM, .n_vocab = 65536,           \
    .context = 128000, .rope_base = 1e6f, .eps = 1e-5f,                                        \
    .attention_layers = 1 << 2 | 1 << 5 | 1 << 8 | 1 << 10 | 1 << 12 | 1 << 14,                \
    .words = BENCH_BYTE_WORDS, .pre = "lfm2",                                                  \
    .specials = "<|pad|>,<|startoftext|>,<|endoftext|>,<|im_start|>,<|im_end|>,<image>,"       \
                "<|image_start|>,<|image_end|>,<|img_thumbnail|>,<|img_row_%u_col_%u|>:10",    \
    .bos = "<|startoftext|>", .eos = "<|im_end|>", .chat = "{{bos_token}}" CHATML
static const bench_language bench_lfm2_350m = {LFM2, SHAPE(1024, 16, 16, 8, 64, 4608)};
static const bench_language bench_lfm2_1_2b = {LFM2, SHAPE(2048, 16, 32, 8, 64, 8192)};

static const bench_language bench_gemma3_4b = {
    SHAPE(2560, 34, 8, 4, 256, 10240),
    .arch = "gemma3",
    .features = BENCH_HEAD_NORMS | BENCH_FFN_NORM | BENCH_POST_NORM | BENCH_POST_FFN_NORM,
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

#define GEMMA4(width, layers, kv_heads, ffn, every)                                            \
    SHAPE(width, layers, 8, kv_heads, 512, ffn),                                               \
        .global_every = every, .arch = "gemma4",                                               \
        .features = BENCH_HEAD_NORMS | BENCH_FFN_NORM | BENCH_POST_NORM | BENCH_POST_FFN_NORM, \
        .n_vocab = 262144, .context = 131072, .rope_base = 1e6f, .eps = 1e-6f, .window = 512,  \
        .head_local = 256, .own = 256, .logit_cap = 30, .words = BENCH_GEMMA4_WORDS,           \
        .pre = "gemma4",                                                                       \
        .specials = "<pad>,<eos>,<bos>,<unk>,<mask>,<|turn>,<turn|>,<|image>,<image|>,"        \
                    "<|image|>,<|channel>,<channel|>",                                         \
        .bos = "<bos>", .eos = "<eos>", .chat = GEMMA4_CHAT
static const bench_language bench_gemma4_e2b = {GEMMA4(1536, 35, 1, 6144, 5), .sharing = 20,
                                                .sharing_ff = 12288};
static const bench_language bench_gemma4_e4b = {GEMMA4(2560, 42, 2, 10240, 6), .sharing = 18,
                                                .sharing_ff = 10240};

static const bench_language bench_granite_2b = {
    SHAPE(2048, 40, 32, 8, 64, 8192),
    .arch = "granite",
    .features = BENCH_FFN_NORM,
    .n_vocab = 49156,
    .context = 131072,
    .rope_base = 3e5f,
    .eps = 1e-5f,
    .scales = {12, 0.22f, 0.015625f, 8},
    .words = BENCH_BYTE_WORDS,
    .pre = "refact",
    .specials = "<|end_of_text|>,<|system|>,<|user|>,<|assistant|>,<image>",
    .bos = "<|end_of_text|>",
    .eos = "<|end_of_text|>",
    .chat = GRANITE_VISION};

static const bench_language bench_phi3_mini = {
    SHAPE(3072, 32, 32, 32, 96, 8192),
    .arch = "phi3",
    .features = BENCH_FFN_NORM | BENCH_UNTIED | BENCH_JOINED,
    .n_vocab = 32064,
    .context = 4096,
    .eps = 1e-5f,
    .window = 2047,
    .words = BENCH_LLAMA_WORDS,
    .pre = "default",
    .specials = "<unk>,<s>,</s>,<|endoftext|>,<|assistant|>,<|system|>,<|end|>,<|user|>",
    .bos = "<s>",
    .eos = "<|endoftext|>",
    .chat = PHI3};

static const bench_language bench_phi2 = {SHAPE(2048, 24, 32, 32, 64, 8192),
                                          .arch = "phi2",
                                          .features = BENCH_UNTIED | BENCH_ONE_NORM,
                                          .n_vocab = 51200,
                                          .context = 2048,
                                          .eps = 1e-5f,
                                          .rope_dim = 32,
                                          .words = BENCH_BYTE_WORDS,
                                          .pre = "gpt-2",
                                          .specials = "<|endoftext|>",
                                          .bos = "<|endoftext|>",
                                          .eos = "<|endoftext|>",
                                          .chat = "vicuna"};

static const bench_language bench_ernie_0_3b = {
    SHAPE(1024, 18, 16, 2, 128, 3072),
    .arch = "paddleocr",
    .features = BENCH_FFN_NORM,
    .n_vocab = 103424,
    .context = 131072,
    .rope_base = 5e5f,
    .eps = 1e-5f,
    .sections = {16, 24, 24, 0},
    .words = BENCH_LLAMA_WORDS,
    .pre = "default",
    .specials = "<unk>,<s>,</s>,<|begin_of_sentence|>,<|IMAGE_START|>,<|IMAGE_END|>,"
                "<|IMAGE_PLACEHOLDER|>",
    .bos = "<s>",
    .eos = "</s>",
    .chat = "paddleocr-1.5"};

static const bench_language bench_dots_1_7b = {
    SHAPE(1536, 28, 12, 2, 128, 8960),
    .arch = "qwen2",
    .features = BENCH_FFN_NORM | BENCH_BIASES | BENCH_UNTIED,
    .n_vocab = 151936,
    .context = 131072,
    .rope_base = 1e6f,
    .eps = 1e-6f,
    .words = BENCH_BYTE_WORDS,
    .pre = "qwen2",
    .specials = "<|endoftext|>,<|img|>,<|imgpad|>,<|endofimg|>,<|user|>,<|endofuser|>,"
                "<|assistant|>,<|endofassistant|>",
    .eos = "<|endoftext|>",
    .chat = "dots-ocr"};

static const bench_language bench_llama_7b = {SHAPE(4096, 32, 32, 32, 128, 11008),
                                              .arch = "llama",
                                              .features = BENCH_FFN_NORM | BENCH_UNTIED,
                                              .n_vocab = 32000,
                                              .context = 4096,
                                              .eps = 1e-5f,
                                              LLAMA_WORDS,
                                              .chat = VICUNA};

/* ---- Encoders and projectors ------------------------------------------------------------------- */

#define SO400M(patch, layers)                                                                  \
    .features = BENCH_SIGLIP, TOWER(patch, 1152, layers, 16, 4304), .eps = 1e-6f
#define SIGLIP_BASE .features = BENCH_SIGLIP, TOWER(16, 768, 12, 12, 3072), .eps = 1e-6f

/* Patches, width, layers, heads, width of the feed-forward part. */
#define TOWER(patch, wide, layers, heads, ffn)                                                 \
    .patch_px = patch, .width = wide, .n_layer = layers, .n_head = heads, .n_ff = ffn
#define CLIP_FEATURES                                                                          \
    BENCH_CLASS | BENCH_PRE_NORM | BENCH_POSITIONS | BENCH_APART | BENCH_NORM_BIAS |           \
        BENCH_QUICK_GELU
#define QWEN2_TOWER .image_px = 560, .merge = 2, .pixels = BENCH_CLIP, .eps = 1e-6f
#define QWEN3_TOWER                                                                            \
    "qwen3vl_merger", .image_px = 768, .merge = 2, .eps = 1e-6f,                               \
                      .features = BENCH_POST_LN | BENCH_POSITIONS | BENCH_PATCH_BIAS |         \
                                  BENCH_TWO_KERNELS | BENCH_FUSED | BENCH_NORM_BIAS

static const bench_tower bench_bluelm_tower = {"lfm2", SO400M(14, 27), .image_px = 384,
                                               .merge = 2};
static const bench_tower bench_small_tower = {"lfm2", SO400M(14, 1), .image_px = 384,
                                              .merge = 2};
static const bench_tower bench_minicpm_v = {"resampler", SO400M(14, 27), .image_px = 448,
                                            .merge = 1,  .hidden = 64,   .table = 70};
static const bench_tower bench_minicpm_v46 = {"minicpmv4_6", SO400M(14, 27),  .image_px = 448,
                                              .merge = 2,    .hidden = 17216, .table = 70};
static const bench_tower bench_smolvlm_base = {"idefics3", SIGLIP_BASE, .image_px = 512,
                                               .merge = 4};
static const bench_tower bench_smolvlm_so400m = {"idefics3", SO400M(14, 27), .image_px = 384,
                                                 .merge = 3};
static const bench_tower bench_lfm2_base = {"lfm2", SIGLIP_BASE, .image_px = 256, .merge = 2,
                                            .hidden = 2560};
static const bench_tower bench_lfm2_so400m = {"lfm2", SO400M(16, 26), .image_px = 256,
                                              .merge = 2, .hidden = 2560};
static const bench_tower bench_gemma3 = {"gemma3", SO400M(14, 27), .image_px = 896, .merge = 4};
static const bench_tower bench_gemma4 = {"gemma4v",
                                         TOWER(16, 768, 16, 12, 3072),
                                         .image_px = 768,
                                         .merge = 3,
                                         .pixels = BENCH_PLAIN,
                                         .eps = 1e-6f,
                                         .features = BENCH_GEMMA4 | BENCH_POSITIONS};
static const bench_tower bench_granite = {"mlp",      SO400M(14, 27),         .image_px = 384,
                                          .merge = 1, .taps = {4, 8, 16, 27}, .grid_tiles = 10};
static const bench_tower bench_intern_vit = {"internvl",
                                             TOWER(14, 1024, 24, 16, 4096),
                                             .image_px = 448,
                                             .merge = 2,
                                             .features = BENCH_CLASS | BENCH_POSITIONS |
                                                         BENCH_PATCH_BIAS | BENCH_APART |
                                                         BENCH_NORM_BIAS | BENCH_LAYER_SCALE,
                                             .pixels = BENCH_IMAGENET,
                                             .eps = 1e-6f};
static const bench_tower bench_qwen3_vl = {QWEN3_TOWER, TOWER(16, 1024, 24, 16, 4096),
                                           .deepstack = {6, 12, 18}};
static const bench_tower bench_qwen3_5_small = {QWEN3_TOWER, TOWER(16, 768, 12, 12, 3072)};
static const bench_tower bench_qwen3_5 = {QWEN3_TOWER, TOWER(16, 1024, 24, 16, 4096)};
static const bench_tower bench_qwen2_vl = {
    "qwen2vl_merger", QWEN2_TOWER, TOWER(14, 1280, 32, 16, 5120),
    .features =
        BENCH_POST_LN | BENCH_TWO_KERNELS | BENCH_APART | BENCH_NORM_BIAS | BENCH_QUICK_GELU};
static const bench_tower bench_qwen2_5_vl = {
    "qwen2.5vl_merger", QWEN2_TOWER, TOWER(14, 1280, 32, 16, 3420), .window_pattern = 8,
    .features = BENCH_POST_LN | BENCH_TWO_KERNELS | BENCH_APART | BENCH_GATED};
#define PIXTRAL_TOWER                                                                          \
    TOWER(14, 1024, 24, 16, 4096), .image_px = 1540, .merge = 2, .features = BENCH_BARE,       \
                                   .pixels = BENCH_CLIP, .eps = 1e-5f
static const bench_tower bench_pixtral = {"pixtral", PIXTRAL_TOWER};
static const bench_tower bench_lightonocr = {"lightonocr", PIXTRAL_TOWER};
static const bench_tower bench_clip_l = {
    "mlp",       TOWER(14, 1024, 23, 16, 4096), .image_px = 336,
    .merge = 1,  .features = CLIP_FEATURES,     .pixels = BENCH_CLIP,
    .eps = 1e-5f};

static const bench_tower bench_moondream = {"mlp", SO400M(14, 28), .image_px = 378, .merge = 1,
                                            .hidden = 8192};
static const bench_tower bench_paddleocr = {"paddleocr", SO400M(14, 27), .image_px = 384,
                                            .merge = 2};
static const bench_tower bench_dotsocr = {"dots_ocr",
                                          TOWER(14, 1536, 42, 12, 4224),
                                          .image_px = 384,
                                          .merge = 2,
                                          .features = BENCH_BARE | BENCH_PATCH_BIAS,
                                          .pixels = BENCH_CLIP,
                                          .eps = 1e-5f};

/* ---- Families ------------------------------------------------------------------------------------ */

#define NONE     "none known"
#define SIDES    "sides far apart get no more tokens than others"
#define SLICES   "slices of more than 8 to 1 are cut to that"
#define OWN_SIZE "1,024 tokens at most unless asked; no video; " SIDES

/* The first is the benchmark's default. Types: of the files that are downloaded most. */
static const bench_family bench_families[] = {
    {"bluelm-3b", "BlueLM-V-3B", &bench_bluelm, &bench_bluelm_tower, "q4_0,q4_k", "q8_0,f16",
     "no file was published: the shapes are the paper's"},
    {"small", NULL, &bench_small_language, &bench_small_tower, "q4_0,q4_k", "q8_0,f16", NULL},
    {"smolvlm-256m", "SmolVLM, SmolVLM2 256M", &bench_smollm2_135m, &bench_smolvlm_base, "q8_0",
     "q8_0", NONE},
    {"smolvlm-500m", "SmolVLM, SmolVLM2 500M", &bench_smollm2_360m, &bench_smolvlm_base, "q8_0",
     "q8_0", NONE},
    {"smolvlm-2.2b", "SmolVLM, SmolVLM2 2.2B", &bench_smollm2_1_7b, &bench_smolvlm_so400m,
     "q4_k_m", "q8_0", NONE},
    {"lfm2-vl-450m", "LFM2-VL 450M", &bench_lfm2_350m, &bench_lfm2_base, "q8_0", "q8_0", SIDES},
    {"lfm2-vl-1.6b", "LFM2-VL 1.6B", &bench_lfm2_1_2b, &bench_lfm2_so400m, "q4_0", "q8_0",
     SIDES},
    {"internvl3-1b", "InternVL2.5, InternVL3 1B", &bench_qwen2_5_0_5b, &bench_intern_vit,
     "q8_0", "q8_0", NONE},
    {"internvl3-2b", "InternVL3 2B", &bench_qwen2_5_1_5b, &bench_intern_vit, "q4_k_m", "q8_0",
     NONE},
    {"internvl3.5-1b", "InternVL3.5 1B", &bench_qwen3_0_6b, &bench_intern_vit, "q8_0", "q8_0",
     NONE},
    {"qwen2-vl-2b", "Qwen2-VL 2B", &bench_qwen2_vl_2b, &bench_qwen2_vl, "q4_k_m", "q8_0",
     OWN_SIZE},
    {"qwen2.5-vl-3b", "Qwen2.5-VL 3B", &bench_qwen2_5_vl_3b, &bench_qwen2_5_vl, "q4_k_m",
     "q8_0", OWN_SIZE},
    {"qwen3-vl-2b", "Qwen3-VL 2B", &bench_qwen3_vl_2b, &bench_qwen3_vl, "q4_k_m", "q8_0",
     OWN_SIZE},
    {"qwen3-vl-4b", "Qwen3-VL 4B", &bench_qwen3_vl_4b, &bench_qwen3_vl, "q4_k_m", "q8_0",
     OWN_SIZE},
    {"qwen3.5-0.8b", "Qwen3.5 0.8B", &bench_qwen3_5_0_8b, &bench_qwen3_5_small, "q4_k_m", "f16",
     OWN_SIZE "; the thoughts of earlier answers stay"},
    {"qwen3.5-2b", "Qwen3.5 2B", &bench_qwen3_5_2b, &bench_qwen3_5, "q4_k_m", "f16",
     OWN_SIZE "; the thoughts of earlier answers stay"},
    {"gemma3-4b", "Gemma 3 4B", &bench_gemma3_4b, &bench_gemma3, "q4_k_m", "f16",
     "pan and scan, which its processor leaves off"},
    {"gemma4-e2b", "Gemma 4 E2B", &bench_gemma4_e2b, &bench_gemma4, "q4_k_m", "q8_0",
     "280 tokens a picture at most; no sound; the thoughts of earlier answers stay"},
    {"gemma4-e4b", "Gemma 4 E4B", &bench_gemma4_e4b, &bench_gemma4, "q4_k_m", "q8_0",
     "280 tokens a picture at most; no sound; the thoughts of earlier answers stay"},
    {"granite-vision", "Granite-Vision 3.2 2B", &bench_granite_2b, &bench_granite, "q4_k_m",
     "f16", "turns follow its documented form; its template was not at hand"},
    {"phi-3", "LLaVA-Phi-3 mini (phi3)", &bench_phi3_mini, &bench_clip_l, "q4_k_m", "f16",
     "system text is dropped, as its template does"},
    {"ministral-3-3b", "Ministral-3 3B", &bench_ministral3_3b, &bench_pixtral, "q4_k_m", "f16",
     "1,024 tokens at most unless asked; its default system text is not written"},
    {"lightonocr-1b", "LightOnOCR 1B", &bench_qwen3_0_6b, &bench_lightonocr, "q8_0", "q8_0",
     "1,024 tokens at most unless asked"},
    {"moondream2", "Moondream2", &bench_phi2, &bench_moondream, "f16", "f16",
     "one square alone: what its author cuts out of larger pictures beside it the file cannot "
     "take"},
    {"paddleocr-vl", "PaddleOCR-VL 0.9B", &bench_ernie_0_3b, &bench_paddleocr, "q8_0", "f16",
     "1,024 tokens at most unless asked; pictures stay where a turn has them"},
    {"dots.ocr", "dots.ocr 1.7B", &bench_dots_1_7b, &bench_dotsocr, "q8_0", "f16",
     "1,024 tokens at most unless asked"},
    {"minicpm-v-4.5", "MiniCPM-V 4.5 8B", &bench_qwen3_8b, &bench_minicpm_v, "q4_k_m", "f16",
     SLICES "; no video"},
    {"minicpm-v-4.6", "MiniCPM-V 4.6", &bench_qwen3_5_0_8b, &bench_minicpm_v46, "q4_k_m", "f16",
     SLICES
     "; no video; a line break behind a picture is assumed: its template was not at hand"},
    {"llava-1.5-7b", "LLaVA-1.5 7B", &bench_llama_7b, &bench_clip_l, "q4_k_m", "f16", NONE},
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

int bench_family_is_default(const bench_family *f)
{
    return f == bench_family_at(0) || f == bench_family_named("small");
}
