#include "templates.h"

#include "../base/name.h"

/* Source: what llama.cpp writes for each template; BlueLM's model card. Entries in the
 * order of the BLM_CHAT_* numbers, from 1. */
static const blm_chat_template blm_chat_templates[BLM_CHAT_COUNT - 1] = {
    {
        .name = "chatml",
        .start = "",
        .prefix = {"<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"},
        .suffix = {"<|im_end|>\n", "<|im_end|>\n", "<|im_end|>\n"},
        .answer = "<|im_start|>assistant\n",
    },
    {
        .name = "llama-2",
        .start = "",
        .prefix = {"[INST] <<SYS>>\n", "[INST] ", ""},
        .suffix = {"\n<</SYS>>\n\n", " [/INST]", "</s>"},
        .user_after_system = "",
        .answer = "",
    },
    {
        .name = "llama-2-bos",
        .start = "",
        .prefix = {"[INST] <<SYS>>\n", "<s>[INST] ", ""},
        .suffix = {"\n<</SYS>>\n\n", " [/INST]", "</s>"},
        .user_first = "[INST] ",
        .user_after_system = "",
        .answer = "",
    },
    {
        .name = "llama-2-strip",
        .start = "",
        .prefix = {"[INST] <<SYS>>\n", "[INST] ", ""},
        .suffix = {"\n<</SYS>>\n\n", " [/INST]", "</s>"},
        .user_after_system = "",
        .answer = "",
        .trim = 1,
    },
    {
        .name = "llama-2-plain",
        .start = "",
        .prefix = {"[INST] ", "[INST] ", ""},
        .suffix = {"\n", " [/INST]", "</s>"},
        .user_after_system = "",
        .answer = "",
    },
    {
        .name = "vicuna",
        .start = "",
        .prefix = {"", "USER: ", "ASSISTANT: "},
        .suffix = {"\n\n", "\n", "</s>\n"},
        .answer = "ASSISTANT:",
    },
    {
        .name = "vicuna-orca",
        .start = "",
        .prefix = {"SYSTEM: ", "USER: ", "ASSISTANT: "},
        .suffix = {"\n", "\n", "</s>\n"},
        .answer = "ASSISTANT:",
    },
    {
        .name = "phi-3",
        .start = "",
        .prefix = {"<|system|>\n", "<|user|>\n", "<|assistant|>\n"},
        .suffix = {"<|end|>\n", "<|end|>\n", "<|end|>\n"},
        .answer = "<|assistant|>\n",
    },
    {
        .name = "llama-3",
        .start = "",
        .prefix = {"<|start_header_id|>system<|end_header_id|>\n\n",
                   "<|start_header_id|>user<|end_header_id|>\n\n",
                   "<|start_header_id|>assistant<|end_header_id|>\n\n"},
        .suffix = {"<|eot_id|>", "<|eot_id|>", "<|eot_id|>"},
        .answer = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .trim = 1,
    },
    {
        .name = "smolvlm",
        .start = "<|im_start|>",
        .prefix = {"", "User: ", "Assistant: "},
        .suffix = {"\n\n", "<end_of_utterance>\n", "<end_of_utterance>\n"},
        .answer = "Assistant:",
    },
    {
        .name = "bluelm",
        .start = "",
        .prefix = {"[|SYSTEM|]:", "[|Human|]:", "[|AI|]:"},
        .suffix = {"", "", "</s>"},
        .answer = "[|AI|]:",
    },
};

/* Names that other programs' files use. */
static const struct {
    const char *name;
    int kind;
} blm_chat_aliases[] = {
    {"llama2", BLM_CHAT_LLAMA_2_PLAIN},
    {"llama2-sys", BLM_CHAT_LLAMA_2},
    {"llama2-sys-bos", BLM_CHAT_LLAMA_2_BOS},
    {"llama2-sys-strip", BLM_CHAT_LLAMA_2_STRIP},
    {"phi3", BLM_CHAT_PHI_3},
    {"llama3", BLM_CHAT_LLAMA_3},
};

/* The kind of that name, BLM_CHAT_NONE if there is none. */
static int blm_chat_named(blm_string name)
{
    for (int i = 1; i < BLM_CHAT_COUNT; i++)
        if (blm_string_is(name, blm_chat_templates[i - 1].name)) return i;
    for (size_t i = 0; i < BLM_COUNT_OF(blm_chat_aliases); i++)
        if (blm_string_is(name, blm_chat_aliases[i].name)) return blm_chat_aliases[i].kind;
    return BLM_CHAT_NONE;
}

/* ---- Recognising a template ------------------------------------------------------ */

static int blm_chat_has(blm_string text, const char *marker)
{
    size_t length = blm_text_bytes(marker);
    for (uint64_t i = 0; i + length <= text.bytes; i++)
        if (blm_same_bytes(text.text + i, marker, length)) return 1;
    return 0;
}

/* The variants of Llama 2's. Mistral's share its [INST] but not its turns: they are told
 * apart and not run. */
static int blm_chat_recognise_inst(blm_string text)
{
    if (blm_chat_has(text, "[SYSTEM_PROMPT]") || blm_chat_has(text, "[AVAILABLE_TOOLS]") ||
        blm_chat_has(text, "' [INST] ' + system_message"))
        return BLM_CHAT_NONE;
    if (blm_chat_has(text, "content.strip()")) return BLM_CHAT_LLAMA_2_STRIP;
    if (blm_chat_has(text, "bos_token + '[INST]")) return BLM_CHAT_LLAMA_2_BOS;
    return blm_chat_has(text, "<<SYS>>") ? BLM_CHAT_LLAMA_2 : BLM_CHAT_LLAMA_2_PLAIN;
}

/* Tells the kind by the markers that a template writes, the more special ones first. */
static int blm_chat_recognise(blm_string text)
{
    if (blm_chat_has(text, "[|Human|]:") && blm_chat_has(text, "[|AI|]:"))
        return BLM_CHAT_BLUELM;
    if (blm_chat_has(text, "<|im_start|>")) {
        if (blm_chat_has(text, "<|im_sep|>")) return BLM_CHAT_NONE; /* Phi-4 */
        return blm_chat_has(text, "<end_of_utterance>") ? BLM_CHAT_SMOLVLM : BLM_CHAT_CHATML;
    }
    if (blm_chat_has(text, "[INST]")) return blm_chat_recognise_inst(text);
    if (blm_chat_has(text, "<|assistant|>") && blm_chat_has(text, "<|end|>"))
        return BLM_CHAT_PHI_3;
    if (blm_chat_has(text, "USER: ") && blm_chat_has(text, "ASSISTANT: "))
        return blm_chat_has(text, "SYSTEM: ") ? BLM_CHAT_VICUNA_ORCA : BLM_CHAT_VICUNA;
    if (blm_chat_has(text, "<|start_header_id|>") && blm_chat_has(text, "<|end_header_id|>"))
        return BLM_CHAT_LLAMA_3;
    return blm_chat_named(text);
}

BLM_PRIVATE int blm_chat_kind(const blm_gguf *g, int *kind, bluelm_error *err)
{
    blm_string text;
    *kind = BLM_CHAT_NONE;
    int found = blm_gguf_string(g, "bluelm.chat.template", &text, err);
    if (found < 0) return found;
    if (found > 0) {
        *kind = blm_chat_named(text);
        if (*kind != BLM_CHAT_NONE || blm_string_is(text, "none")) return BLUELM_OK;
        return blm_fail_value(err, BLUELM_E_UNSUPPORTED, "llm: chat template ", text, 0, 0);
    }
    found = blm_gguf_string(g, "tokenizer.chat_template", &text, err);
    if (found > 0) *kind = blm_chat_recognise(text);
    return found < 0 ? found : BLUELM_OK;
}

BLM_PRIVATE const blm_chat_template *blm_chat_get(int kind)
{
    if (kind <= BLM_CHAT_NONE || kind >= BLM_CHAT_COUNT) return NULL;
    return &blm_chat_templates[kind - 1];
}
