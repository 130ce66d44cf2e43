#include "templates.h"

#include "../base/name.h"

/* Turns whose three prefixes differ in the role's word alone. */
#define BLM_ROLES(before, system, user, assistant, behind, end, trim)                          \
    {                                                                                          \
        {before system behind, NULL, end, trim}, {before user behind, NULL, end, trim},        \
            {before assistant behind, NULL, end, trim},                                        \
    }
#define BLM_CHATML(trim)                                                                       \
    BLM_ROLES("<|im_start|>", "system", "user", "assistant", "\n", "<|im_end|>\n", trim)
#define BLM_GRANITE                                                                            \
    BLM_ROLES("<|start_of_role|>", "system", "user", "assistant", "<|end_of_role|>",           \
              "<|end_of_text|>\n", BLM_TRIM_NOTHING)
#define BLM_PHI(line)                                                                          \
    BLM_ROLES("<|", "system", "user", "assistant", "|>" line, "<|end|>" line, BLM_TRIM_NOTHING)

#define BLM_DEEPSEEK                                                                           \
    {                                                                                          \
        {"", NULL, "", BLM_TRIM_NOTHING},                                                      \
            {"<\357\275\234User\357\275\234>", NULL, "", BLM_TRIM_NOTHING},                    \
            {"<\357\275\234Assistant\357\275\234>", NULL, "{eos}", BLM_TRIM_NOTHING},          \
    }

#define BLM_PADDLEOCR_START "<|begin_of_sentence|>"
#define BLM_PADDLEOCR(behind)                                                                  \
    {                                                                                          \
        {BLM_PADDLEOCR_START, NULL, "\n", BLM_TRIM_NOTHING},                                   \
            {"User: ", NULL, "\n", BLM_TRIM_NOTHING},                                          \
            {"Assistant:" behind, NULL, "{eos}", BLM_TRIM_NOTHING},                            \
    }

#define BLM_NOTE_THOUGHTS "the thoughts of earlier answers stay in the context"
#define BLM_NOTE_PICTURES "the model's own template moves the pictures of a turn to its front"
#define BLM_NOTE_SYSTEM                                                                        \
    "the default system turn is left out: a long text of its own, with a date"

/* Sources: the models' own Jinja templates, rendered; for those without, what llama.cpp
 * writes; BlueLM's model card. */
static const blm_chat_template blm_chat_templates[] = {
    {
        .name = "chatml",
        .role = BLM_CHATML(BLM_TRIM_NOTHING),
    },
    {
        .name = "chatml-bos",
        .start = "{bos}",
        .role = BLM_CHATML(BLM_TRIM_NOTHING),
    },
    {
        .name = "qwen2",
        .system_default = "You are a helpful assistant.",
        .role = BLM_CHATML(BLM_TRIM_NOTHING),
    },
    {
        .name = "qwen2.5",
        .system_default =
            "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
        .role = BLM_CHATML(BLM_TRIM_NOTHING),
    },
    {
        .name = "qwen3.5",
        .note = BLM_NOTE_THOUGHTS,
        .role = BLM_CHATML(BLM_TRIM_TURN),
        .answer = "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    },
    {
        .name = "qwen3.5-think",
        .note = BLM_NOTE_THOUGHTS,
        .role = BLM_CHATML(BLM_TRIM_TURN),
        .answer = "<|im_start|>assistant\n<think>\n",
    },
    {
        .name = "chatml-think",
        .note = BLM_NOTE_THOUGHTS,
        .role = BLM_CHATML(BLM_TRIM_NOTHING),
        .answer = "<|im_start|>assistant\n<think>\n",
    },
    {
        .name = "mimo-vl",
        .system_default = "You are MiMo, an AI assistant developed by Xiaomi.",
        .role = BLM_CHATML(BLM_TRIM_NOTHING),
    },
    {
        .name = "smollm2",
        .system_default =
            "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
        .role = BLM_CHATML(BLM_TRIM_NOTHING),
    },
    {
        .name = "smollm3",
        .note = "the system turn of facts about the model is left out",
        .role = BLM_CHATML(BLM_TRIM_NOTHING),
    },
    {
        .name = "smolvlm",
        .start = "<|im_start|>",
        .role = {{"System:", " ", "<end_of_utterance>\n", BLM_TRIM_NOTHING},
                 {"User:", " ", "<end_of_utterance>\n", BLM_TRIM_NOTHING},
                 {"Assistant:", " ", "<end_of_utterance>\n", BLM_TRIM_NOTHING}},
    },
    {
        .name = "gemma",
        .start = "{bos}",
        .role = {{"<start_of_turn>user\n", NULL, "\n\n", BLM_TRIM_NOTHING},
                 {"<start_of_turn>user\n", NULL, "<end_of_turn>\n", BLM_TRIM_PARTS},
                 {"<start_of_turn>model\n", NULL, "<end_of_turn>\n", BLM_TRIM_PARTS}},
        .user_after_system = "",
    },
    {
        .name = "gemma4",
        .note = BLM_NOTE_THOUGHTS,
        .start = "{bos}",
        .role =
            BLM_ROLES("<|turn>", "system", "user", "model", "\n", "<turn|>\n", BLM_TRIM_PARTS),
    },
    {
        .name = "gemma4-channel", /* opens and closes an empty thought before the answer */
        .note = BLM_NOTE_THOUGHTS,
        .start = "{bos}",
        .role =
            BLM_ROLES("<|turn>", "system", "user", "model", "\n", "<turn|>\n", BLM_TRIM_PARTS),
        .answer = "<|turn>model\n<|channel>thought\n<channel|>",
    },
    {
        .name = "granite",
        .role = BLM_GRANITE,
    },
    {
        .name = "granite-3.3",
        .note = "without a date in the configuration the dated default system turn is left out",
        .system_default = "Knowledge Cutoff Date: April 2024. Today's Date: {date}. You are "
                          "Granite, developed by IBM. You are a helpful AI assistant.",
        .role = BLM_GRANITE,
    },
    {
        .name = "granite-4",
        .system_default = "You are a helpful assistant. Please ensure responses are "
                          "professional, accurate, and safe.",
        .role = BLM_GRANITE,
    },
    {
        .name = "granite-vision",
        .system_default =
            "A chat between a curious user and an artificial intelligence "
            "assistant. The assistant gives helpful, detailed, and polite answers "
            "to the user's questions.",
        .role = {{"<|system|>\n", NULL, "\n", BLM_TRIM_NOTHING},
                 {"<|user|>\n", NULL, "\n", BLM_TRIM_NOTHING},
                 {"<|assistant|>\n", NULL, "{eos}", BLM_TRIM_NOTHING}},
    },
    {
        .name = "llama-2",
        .role = {{"[INST] <<SYS>>\n", NULL, "\n<</SYS>>\n\n", BLM_TRIM_NOTHING},
                 {"[INST] ", NULL, " [/INST]", BLM_TRIM_NOTHING},
                 {"", NULL, "</s>", BLM_TRIM_NOTHING}},
        .user_after_system = "",
    },
    {
        .name = "llama-2-bos", /* <s> before every user turn but the first */
        .role = {{"[INST] <<SYS>>\n", NULL, "\n<</SYS>>\n\n", BLM_TRIM_NOTHING},
                 {"<s>[INST] ", NULL, " [/INST]", BLM_TRIM_NOTHING},
                 {"", NULL, "</s>", BLM_TRIM_NOTHING}},
        .user_first = "[INST] ",
        .user_after_system = "",
    },
    {
        .name = "llama-2-strip",
        .role = {{"[INST] <<SYS>>\n", NULL, "\n<</SYS>>\n\n", BLM_TRIM_TURN},
                 {"[INST] ", NULL, " [/INST]", BLM_TRIM_TURN},
                 {"", NULL, "</s>", BLM_TRIM_TURN}},
        .user_after_system = "",
    },
    {
        .name = "llama-2-plain", /* system text without a frame */
        .role = {{"[INST] ", NULL, "\n", BLM_TRIM_NOTHING},
                 {"[INST] ", NULL, " [/INST]", BLM_TRIM_NOTHING},
                 {"", NULL, "</s>", BLM_TRIM_NOTHING}},
        .user_after_system = "",
    },
    {
        .name = "mistral-v1",
        .start = "{bos}",
        .role = {{" [INST] ", NULL, "\n\n", BLM_TRIM_NOTHING},
                 {" [INST] ", NULL, " [/INST]", BLM_TRIM_NOTHING},
                 {"", " ", "</s>", BLM_TRIM_NOTHING}},
        .user_after_system = "",
    },
    {
        .name = "mistral-v3",
        .note = "the system text comes before the first question, not before the last",
        .start = "{bos}",
        .role = {{"[INST] ", NULL, "\n\n", BLM_TRIM_NOTHING},
                 {"[INST] ", NULL, "[/INST]", BLM_TRIM_NOTHING},
                 {"", " ", "</s>", BLM_TRIM_TURN}},
        .user_after_system = "",
    },
    {
        .name = "mistral-v3-tekken",
        .note = "the system text comes before the first question, not before the last",
        .start = "{bos}",
        .role = {{"[INST]", NULL, "\n\n", BLM_TRIM_NOTHING},
                 {"[INST]", NULL, "[/INST]", BLM_TRIM_NOTHING},
                 {"", NULL, "</s>", BLM_TRIM_NOTHING}},
        .user_after_system = "",
    },
    {
        .name = "mistral-v7-tekken",
        .note = BLM_NOTE_SYSTEM,
        .start = "{bos}",
        .role = {{"[SYSTEM_PROMPT]", NULL, "[/SYSTEM_PROMPT]", BLM_TRIM_NOTHING},
                 {"[INST]", NULL, "[/INST]", BLM_TRIM_NOTHING},
                 {"", NULL, "</s>", BLM_TRIM_NOTHING}},
    },
    {
        .name = "llava-mistral",
        .note = BLM_NOTE_PICTURES,
        .role = {{"<<SYS>>\n", NULL, "\n<</SYS>>\n\n", BLM_TRIM_NOTHING},
                 {"[INST] ", NULL, " [/INST]", BLM_TRIM_NOTHING},
                 {"", " ", "</s> ", BLM_TRIM_NOTHING}},
    },
    {
        .name = "llava-mistral-old", /* ends answers in four plain characters */
        .note = BLM_NOTE_PICTURES,
        .role = {{"<<SYS>>\n", NULL, "\n<</SYS>>\n\n", BLM_TRIM_NOTHING},
                 {"[INST] ", NULL, " [/INST]", BLM_TRIM_NOTHING},
                 {"", " ", "<\\s> ", BLM_TRIM_NOTHING}},
    },
    {
        .name = "llava",
        .note = BLM_NOTE_PICTURES,
        .role = {{"", NULL, " ", BLM_TRIM_NOTHING},
                 {"USER: ", NULL, " ", BLM_TRIM_NOTHING},
                 {"ASSISTANT:", " ", " ", BLM_TRIM_NOTHING}},
    },
    {
        .name = "llava-v1",
        .system_default =
            "A chat between a curious user and an artificial intelligence "
            "assistant. The assistant gives helpful, detailed, and polite answers "
            "to the user's questions.",
        .role = {{"", NULL, " ", BLM_TRIM_NOTHING},
                 {"USER: ", NULL, " ", BLM_TRIM_NOTHING},
                 {"ASSISTANT:", " ", "</s>", BLM_TRIM_NOTHING}},
    },
    {
        .name = "vicuna",
        .role = {{"", NULL, "\n\n", BLM_TRIM_NOTHING},
                 {"USER: ", NULL, "\n", BLM_TRIM_NOTHING},
                 {"ASSISTANT:", " ", "</s>\n", BLM_TRIM_NOTHING}},
    },
    {
        .name = "moondream",
        .note =
            "the model has no place for a system text, which is dropped, and was trained with "
            "one picture before one question",
        .start = "{bos}",
        .role = {{"", NULL, "", BLM_TRIM_NOTHING},
                 {"", NULL, "", BLM_TRIM_NOTHING},
                 {"\n\nAnswer:", " ", "", BLM_TRIM_NOTHING}},
        .user_words = "\n\nQuestion: ",
        .drops_system = 1,
    },
    {
        .name = "paddleocr",
        .note = BLM_NOTE_PICTURES,
        .role = BLM_PADDLEOCR(" "),
        .user_first = BLM_PADDLEOCR_START "User: ",
    },
    {
        .name = "paddleocr-1.5",
        .note = BLM_NOTE_PICTURES,
        .role = BLM_PADDLEOCR("\n"),
        .user_first = BLM_PADDLEOCR_START "User: ",
    },
    {
        .name = "dots-ocr",
        .role = {{"<|system|>", NULL, "<|endofsystem|>\n", BLM_TRIM_NOTHING},
                 {"<|user|>", NULL, "<|endofuser|>", BLM_TRIM_NOTHING},
                 {"<|assistant|>", NULL, "<|endofassistant|>", BLM_TRIM_NOTHING}},
    },
    {
        .name = "vicuna-orca",
        .role = {{"SYSTEM: ", NULL, "\n", BLM_TRIM_NOTHING},
                 {"USER: ", NULL, "\n", BLM_TRIM_NOTHING},
                 {"ASSISTANT:", " ", "</s>\n", BLM_TRIM_NOTHING}},
    },
    {
        .name = "phi-3",
        .note = "system text is dropped, as the model's own template does; phi-3.5 keeps it",
        .start = "{bos}",
        .role = BLM_PHI("\n"),
        .drops_system = 1,
    },
    {
        .name = "phi-3.5",
        .role = BLM_PHI("\n"),
    },
    {
        .name = "phi-4-mini",
        .role = BLM_PHI(""),
    },
    {
        .name = "phi-4",
        .role = BLM_ROLES("<|im_start|>", "system", "user", "assistant", "<|im_sep|>",
                          "<|im_end|>", BLM_TRIM_NOTHING),
    },
    {
        .name = "llama-3",
        .start = "{bos}",
        .role = BLM_ROLES("<|start_header_id|>", "system", "user", "assistant",
                          "<|end_header_id|>\n\n", "<|eot_id|>", BLM_TRIM_TURN),
    },
    {
        .name = "llama-3.1", /* every conversation has a system turn, which begins with dates */
        .start = "{bos}",
        .system_default = "",
        .date_default = "26 Jul 2024",
        .role = {{"<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
                  "December 2023\nToday Date: {date}\n\n",
                  NULL, "<|eot_id|>", BLM_TRIM_TURN},
                 {"<|start_header_id|>user<|end_header_id|>\n\n", NULL, "<|eot_id|>",
                  BLM_TRIM_TURN},
                 {"<|start_header_id|>assistant<|end_header_id|>\n\n", NULL, "<|eot_id|>",
                  BLM_TRIM_TURN}},
    },
    {
        .name = "zephyr",
        .role =
            BLM_ROLES("<|", "system", "user", "assistant", "|>\n", "{eos}\n", BLM_TRIM_NOTHING),
    },
    {
        .name = "deepseek",
        .start = "{bos}",
        .role = {{"", NULL, "\n\n", BLM_TRIM_NOTHING},
                 {"User: ", NULL, "\n\n", BLM_TRIM_NOTHING},
                 {"Assistant:", " ", "{eos}", BLM_TRIM_NOTHING}},
    },
    {
        .name = "janus",
        .note = "a system text stands in for the default one, not behind it",
        .start = "{bos}",
        .system_default =
            "You are a helpful language and vision assistant. You are able to understand the "
            "visual content that the user provides, and assist the user with a variety of "
            "tasks using natural language.",
        .role = {{"", NULL, "\n\n", BLM_TRIM_NOTHING},
                 {"<|User|>: ", NULL, "\n\n", BLM_TRIM_TURN},
                 {"<|Assistant|>:", " ", "{eos}", BLM_TRIM_TURN}},
    },
    {
        .name = "deepseek-r1",
        .note = BLM_NOTE_THOUGHTS,
        .start = "{bos}",
        .role = BLM_DEEPSEEK,
        .answer = "<\357\275\234Assistant\357\275\234><think>\n",
    },
    {
        .name = "deepseek-r1-plain", /* of before its template opened the thought */
        .note = BLM_NOTE_THOUGHTS,
        .start = "{bos}",
        .role = BLM_DEEPSEEK,
    },
    {
        .name = "bluelm",
        .role = {{"[|SYSTEM|]:", NULL, "", BLM_TRIM_NOTHING},
                 {"[|Human|]:", NULL, "", BLM_TRIM_NOTHING},
                 {"[|AI|]:", NULL, "</s>", BLM_TRIM_NOTHING}},
    },
};

/* Names that models and other programs use. */
static const struct {
    const char *alias, *name;
} blm_chat_aliases[] = {
    {"lfm2", "chatml-bos"},
    {"qwen2-vl", "qwen2"},
    {"qwen2.5-vl", "qwen2"},
    {"qwen3", "chatml"},
    {"qwen3-vl", "chatml"},
    {"gemma3", "gemma"},
    {"granite-docling", "granite"},
    {"llava-1.5", "llava"},
    {"llava-1.6-mistral", "llava-mistral"},
    {"mistral-v7", "mistral-v7-tekken"},
    {"llama2", "llama-2-plain"},
    {"llama2-sys", "llama-2"},
    {"llama2-sys-bos", "llama-2-bos"},
    {"llama2-sys-strip", "llama-2-strip"},
    {"phi3", "phi-3.5"},
    {"phi4", "phi-4"},
    {"qwen3-vl-thinking", "chatml-think"},
    {"deepseek3", "deepseek-r1-plain"},
    {"llama3", "llama-3"},
    {"deepseek2", "deepseek"},
};

BLM_PRIVATE const blm_chat_template *blm_chat_at(uint32_t index)
{
    return index < BLM_COUNT_OF(blm_chat_templates) ? &blm_chat_templates[index] : NULL;
}

BLM_PRIVATE const blm_chat_template *blm_chat_named(blm_string name)
{
    for (size_t i = 0; i < BLM_COUNT_OF(blm_chat_aliases); i++)
        if (blm_string_is(name, blm_chat_aliases[i].alias)) {
            name.text = blm_chat_aliases[i].name;
            name.bytes = blm_text_bytes(name.text);
            break;
        }
    for (size_t i = 0; i < BLM_COUNT_OF(blm_chat_templates); i++)
        if (blm_string_is(name, blm_chat_templates[i].name)) return &blm_chat_templates[i];
    return NULL;
}

/* ---- Recognising a template ------------------------------------------------------ */

/* By what a Jinja text has, and one thing that it has not; line breaks in its strings are
 * written out as \n. The first rule that fits tells; "" is no template that is run here. */
static const struct {
    const char *name;
    const char *has[3];
    const char *lacks;
} blm_chat_signs[] = {
    {"bluelm", {"[|Human|]:", "[|AI|]:"}, NULL},
    {"phi-4", {"<|im_start|>", "<|im_sep|>"}, NULL},
    {"smolvlm", {"<|im_start|>", "<end_of_utterance>"}, NULL},
    {"chatml-bos", {"<|im_start|>", "bos_token", "if enable_thinking is defined %}"}, NULL},
    {"qwen3.5", {"<|im_start|>", "'<think>\\n' }}", "enable_thinking is true"}, NULL},
    {"qwen3.5-think", {"<|im_start|>", "'<think>\\n' }}"}, NULL},
    {"chatml-think", {"<|im_start|>assistant\\n<think>\\n'"}, NULL},
    {"chatml-think", {"<|im_start|>assistant\\n<think>\\n\""}, NULL},
    {"mimo-vl", {"<|im_start|>", "You are MiMo, an AI assistant developed by Xiaomi."}, NULL},
    {"smollm3", {"<|im_start|>", "Reasoning Mode"}, NULL},
    {"smollm2", {"<|im_start|>", "named SmolLM, trained by Hugging Face"}, NULL},
    {"qwen2.5", {"<|im_start|>", "You are Qwen, created by Alibaba Cloud"}, NULL},
    {"qwen2", {"<|im_start|>", "system\\nYou are a helpful assistant."}, NULL},
    {"qwen2", {"<|im_start|>", "system\nYou are a helpful assistant."}, NULL},
    {"chatml-bos", {"<|im_start|>", "bos_token"}, NULL},
    {"chatml", {"<|im_start|>"}, NULL},
    {"paddleocr-1.5", {"<|begin_of_sentence|>", "IMAGE_START", "\"Assistant:\\n\""}, NULL},
    {"paddleocr", {"<|begin_of_sentence|>", "IMAGE_START", "\"Assistant: \""}, NULL},
    {"dots-ocr", {"<|endofuser|>", "<|endofassistant|>"}, NULL},
    {"mistral-v7-tekken", {"[INST]", "[SYSTEM_PROMPT]"}, NULL},
    {"mistral-v1", {"' [INST] ' + system_message"}, NULL},
    {"mistral-v1", {" [INST]", "[AVAILABLE_TOOLS]"}, NULL},
    {"mistral-v3-tekken", {"\"[INST]\"", "[AVAILABLE_TOOLS]"}, NULL},
    {"mistral-v3", {"[INST]", "[AVAILABLE_TOOLS]"}, NULL},
    {"llava-mistral-old", {"[INST]", "<image>", "<\\s>"}, NULL},
    {"llava-mistral-old", {"[INST]", "<image>", "<\\\\s>"}, NULL},
    {"llava-mistral", {"[INST]", "<image>"}, NULL},
    {"llama-2-strip", {"[INST]", "content.strip()"}, NULL},
    {"llama-2-bos", {"[INST]", "bos_token + '[INST]"}, NULL},
    {"llama-2", {"[INST]", "<<SYS>>"}, NULL},
    {"llama-2-plain", {"[INST]"}, NULL},
    {"phi-4-mini", {"<|assistant|>", "<|end|>"}, "<|user|>"},
    {"phi-3.5", {"<|assistant|>", "<|end|>", "<|system|>"}, NULL},
    {"phi-3", {"<|assistant|>", "<|end|>"}, NULL},
    {"zephyr", {"<|user|>", "<|assistant|>", "eos_token"}, NULL},
    {"zephyr", {"<|user|>", "<|endoftext|>"}, NULL},
    {"granite-vision", {"<|user|>", "<|assistant|>", "<image>"}, NULL},
    {"gemma4-channel", {"<|turn>", "'<|channel>thought\\n<channel|>'"}, NULL},
    {"gemma4", {"<|turn>"}, NULL},
    {"gemma", {"<start_of_turn>"}, NULL},
    {"llava", {".upper() + ':", "ASSISTANT:", "<image>"}, NULL},
    {"vicuna-orca", {"USER: ", "ASSISTANT: ", "SYSTEM: "}, NULL},
    {"vicuna", {"USER: ", "ASSISTANT: "}, NULL},
    {"llama-3.1", {"<|start_header_id|>", "Cutting Knowledge Date"}, NULL},
    {"llama-3", {"<|start_header_id|>", "<|end_header_id|>"}, NULL},
    {"deepseek", {"'Assistant: ' + message['content'] + eos_token"}, NULL},
    {"janus", {"<|User|>: ", "<|Assistant|>:"}, NULL},
    {"deepseek-r1", {"<\357\275\234Assistant\357\275\234><think>\\n'"}, NULL},
    {"deepseek-r1-plain",
     {"<\357\275\234User\357\275\234>", "<\357\275\234Assistant\357\275\234>"},
     "<\357\275\234Assistant\357\275\234><think>"},
    {"granite-4",
     {"<|start_of_role|>", "ensure responses are professional, accurate, and"},
     NULL},
    {"granite-3.3", {"<|start_of_role|>", "Knowledge Cutoff Date: April 2024."}, NULL},
    {"granite", {"<|start_of_role|>"}, NULL},
};

static int blm_chat_has(blm_string text, const char *mark)
{
    size_t length = blm_text_bytes(mark);
    for (uint64_t i = 0; i + length <= text.bytes; i++)
        if (text.text[i] == *mark && blm_same_bytes(text.text + i, mark, length)) return 1;
    return 0;
}

static int blm_chat_fits(blm_string text, const char *const has[3], const char *lacks)
{
    for (int i = 0; i < 3 && has[i]; i++)
        if (!blm_chat_has(text, has[i])) return 0;
    return !lacks || !blm_chat_has(text, lacks);
}

static blm_string blm_chat_string(const char *text)
{
    return (blm_string){text, blm_text_bytes(text)};
}

BLM_PRIVATE const blm_chat_template *blm_chat_recognise(blm_string jinja)
{
    const blm_chat_template *named = blm_chat_named(jinja);
    if (named) return named;
    for (size_t i = 0; i < BLM_COUNT_OF(blm_chat_signs); i++)
        if (blm_chat_fits(jinja, blm_chat_signs[i].has, blm_chat_signs[i].lacks))
            return blm_chat_named(blm_chat_string(blm_chat_signs[i].name));
    return NULL;
}

/* Models whose files have no template, or not their authors'. */
static const struct {
    const char *architecture;
    const char *begins; /* general.name; NULL: any                      */
    const char *has;    /* tokenizer.chat_template; NULL: there is none */
    const char *name;
} blm_chat_models[] = {
    {"phi2", NULL, "vicuna", "moondream"},
    {"phi2", "moondream", NULL, "moondream"},
};

/* The template of such a model, or NULL. */
static const blm_chat_template *blm_chat_of_model(const blm_gguf *g, const blm_string *has)
{
    blm_string architecture = {"", 0}, name = {"", 0};
    blm_gguf_string(g, "general.architecture", &architecture, NULL);
    blm_gguf_string(g, "general.name", &name, NULL);
    for (size_t i = 0; i < BLM_COUNT_OF(blm_chat_models); i++) {
        const char *begins = blm_chat_models[i].begins, *text = blm_chat_models[i].has;
        if (blm_string_is(architecture, blm_chat_models[i].architecture) &&
            (!begins || blm_string_begins(name, begins)) && !has == !text &&
            (!has || blm_string_is(*has, text)))
            return blm_chat_named(blm_chat_string(blm_chat_models[i].name));
    }
    return NULL;
}

/* The template that a name asks for. */
static int blm_chat_by_name(blm_string name, int code, const blm_chat_template **chat,
                            bluelm_error *err)
{
    *chat = blm_chat_named(name);
    if (*chat || blm_string_is(name, "none")) return BLUELM_OK;
    return blm_fail_value(err, code, "llm: chat template ", name);
}

BLM_PRIVATE int blm_chat_read(const blm_gguf *g, const char *chosen,
                              const blm_chat_template **chat, bluelm_error *err)
{
    blm_string text;
    *chat = NULL;
    if (chosen) return blm_chat_by_name(blm_chat_string(chosen), BLUELM_E_ARG, chat, err);
    int found = blm_gguf_string(g, "bluelm.chat.template", &text, err);
    if (found > 0) return blm_chat_by_name(text, BLUELM_E_UNSUPPORTED, chat, err);
    if (found == 0) found = blm_gguf_string(g, "tokenizer.chat_template", &text, err);
    if (found < 0) return found;
    *chat = blm_chat_of_model(g, found ? &text : NULL);
    if (found && !*chat) *chat = blm_chat_recognise(text);
    return BLUELM_OK;
}
