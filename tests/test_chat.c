#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../families/templates.h"
#include "engine_aid.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Opens a file with these keys (NULL: without the key) and asks for its template. */
static int template_of(const char *named, const char *jinja, const char *chosen,
                       const blm_chat_template **chat, bluelm_error *err)
{
    tiny_writer w;
    tiny_file file;
    blm_gguf g;
    int code;
    tiny_start(&w, 1);
    if (named != NULL) tiny_key_string(&w, "bluelm.chat.template", named);
    if (jinja != NULL) tiny_key_string(&w, "tokenizer.chat_template", jinja);
    file = tiny_finish(&w);
    assert_int_equal(blm_gguf_open(&g, file.data, file.bytes, "llm", err), BLUELM_OK);
    code = blm_chat_read(&g, chosen, chat, err);
    tiny_free(&file);
    return code;
}

static blm_string string_of(const char *text)
{
    return (blm_string){text, strlen(text)};
}

typedef struct turn {
    bluelm_role role;
    const char *text;
} turn;

/* The whole conversation and what asks for the next answer, as a string: pieced together
 * from the tokens of an engine that knows the markers in no other way than as bytes. */
static const char *render(const char *name, const turn *turns, size_t count)
{
    static char out[2000];
    static int32_t ids[2000];
    tiny_llm_config llm = tiny_llm_default();
    bluelm_config config = {.chat_template = name, .context_tokens = 2000};
    llm.byte_bpe = 1;
    aid_model m = aid_model_make(&llm, NULL);
    aid_engine e = aid_engine_make(&m, &config, NULL);
    size_t used = 0, i;
    for (i = 0; i < count; i++) {
        assert_int_equal(bluelm_begin_turn(e.engine, turns[i].role, NULL), 0);
        assert_int_equal(bluelm_add_text(e.engine, turns[i].text, strlen(turns[i].text), NULL),
                         0);
    }
    assert_int_equal(bluelm_generate(e.engine, 0, NULL), 0);
    int64_t n = bluelm_context_ids(e.engine, ids, COUNT(ids)), j;
    static const char *const ends[] = {"{bos}", "<|im_start|>", "<|im_end|>"};
    for (j = 0; j < n; j++) {
        if (ids[j] >= TINY_BPE_END && ids[j] <= TINY_BPE_IM_END)
            used += (size_t)sprintf(out + used, "%s", ends[ids[j] - TINY_BPE_END]);
        else
            used += (size_t)bluelm_detokenize(e.engine, ids[j], out + used, 64, NULL);
    }
    out[used] = 0;
    aid_engine_free(&e);
    aid_model_free(&m);
    return out;
}

/* What the models' templates, or llama.cpp's in their place, write for the same turns, and
 * for bluelm what BlueLM's model card says; test_prompts.c has more of most. */
static void three_turns_render_as_the_models_saw_them(void **state)
{
    static const turn turns[] = {{BLUELM_SYSTEM, "Be brief."},
                                 {BLUELM_USER, " Hi\n"},
                                 {BLUELM_ASSISTANT, "Yo. "},
                                 {BLUELM_USER, "Why?"}};
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"chatml",
         "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n"
         "<|im_start|>assistant\nYo. <|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
         "<|im_start|>assistant\n"},
        {"llama-2", "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi\n [/INST]Yo. </s>"
                    "[INST] Why? [/INST]"},
        {"llama-2-bos", "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi\n [/INST]Yo. </s>"
                        "<s>[INST] Why? [/INST]"},
        {"llama-2-strip", "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]Yo.</s>"
                          "[INST] Why? [/INST]"},
        {"llama-2-plain", "[INST] Be brief.\n Hi\n [/INST]Yo. </s>[INST] Why? [/INST]"},
        {"vicuna", "Be brief.\n\nUSER:  Hi\n\nASSISTANT: Yo. </s>\nUSER: Why?\nASSISTANT:"},
        {"moondream", "{bos}\n\nQuestion:  Hi\n\n\nAnswer: Yo. \n\nQuestion: Why?\n\nAnswer:"},
        {"paddleocr", "<|begin_of_sentence|>Be brief.\nUser:  Hi\n\nAssistant: Yo. <|im_end|>"
                      "User: Why?\nAssistant: "},
        {"paddleocr-1.5",
         "<|begin_of_sentence|>Be brief.\nUser:  Hi\n\nAssistant:\nYo. <|im_end|>"
         "User: Why?\nAssistant:\n"},
        {"dots-ocr",
         "<|system|>Be brief.<|endofsystem|>\n<|user|> Hi\n<|endofuser|><|assistant|>"
         "Yo. <|endofassistant|><|user|>Why?<|endofuser|><|assistant|>"},
        {"vicuna-orca", "SYSTEM: Be brief.\nUSER:  Hi\n\nASSISTANT: Yo. </s>\n"
                        "USER: Why?\nASSISTANT:"},
        {"phi-3", "{bos}<|user|>\n Hi\n<|end|>\n<|assistant|>\nYo. <|end|>\n"
                  "<|user|>\nWhy?<|end|>\n<|assistant|>\n"},
        {"phi-3.5", "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi\n<|end|>\n"
                    "<|assistant|>\nYo. <|end|>\n<|user|>\nWhy?<|end|>\n<|assistant|>\n"},
        {"phi-4", "<|im_start|>system<|im_sep|>Be brief.<|im_end|>"
                  "<|im_start|>user<|im_sep|> Hi\n<|im_end|>"
                  "<|im_start|>assistant<|im_sep|>Yo. <|im_end|>"
                  "<|im_start|>user<|im_sep|>Why?<|im_end|><|im_start|>assistant<|im_sep|>"},
        {"zephyr", "<|system|>\nBe brief.<|im_end|>\n<|user|>\n Hi\n<|im_end|>\n"
                   "<|assistant|>\nYo. <|im_end|>\n<|user|>\nWhy?<|im_end|>\n"
                   "<|assistant|>\n"},
        {"deepseek", "{bos}Be brief.\n\nUser:  Hi\n\n\nAssistant: Yo. <|im_end|>"
                     "User: Why?\n\nAssistant:"},
        {"granite-vision", "<|system|>\nBe brief.\n<|user|>\n Hi\n\n<|assistant|>\nYo. "
                           "<|im_end|><|user|>\nWhy?\n<|assistant|>\n"},
        {"mistral-v3", "{bos}[INST] Be brief.\n\n Hi\n[/INST] Yo.</s>[INST] Why?[/INST]"},
        {"mistral-v7-tekken", "{bos}[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST] Hi\n[/INST]"
                              "Yo. </s>[INST]Why?[/INST]"},
        {"gemma4", "{bos}<|turn>system\nBe brief.<turn|>\n<|turn>user\nHi<turn|>\n"
                   "<|turn>model\nYo.<turn|>\n<|turn>user\nWhy?<turn|>\n<|turn>model\n"},
        {"qwen3.5", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                    "<|im_start|>assistant\nYo.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
                    "<|im_start|>assistant\n<think>\n\n</think>\n\n"},
        {"chatml-think",
         "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n"
         "<|im_start|>assistant\nYo. <|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
         "<|im_start|>assistant\n<think>\n"},
        {"deepseek-r1",
         "{bos}Be brief.<\357\275\234User\357\275\234> Hi\n<\357\275\234Assistant\357\275\234>"
         "Yo. <|im_end|><\357\275\234User\357\275\234>Why?<\357\275\234Assistant\357\275\234>"
         "<think>\n"},
        {"janus", "{bos}Be brief.\n\n<|User|>: Hi\n\n<|Assistant|>: Yo.<|im_end|>"
                  "<|User|>: Why?\n\n<|Assistant|>:"},
        {"llama-3.1", "{bos}<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge "
                      "Date: December 2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|>"
                      "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                      "<|start_header_id|>assistant<|end_header_id|>\n\nYo.<|eot_id|>"
                      "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
                      "<|start_header_id|>assistant<|end_header_id|>\n\n"},
        {"llama-3", "{bos}<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
                    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                    "<|start_header_id|>assistant<|end_header_id|>\n\nYo.<|eot_id|>"
                    "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
                    "<|start_header_id|>assistant<|end_header_id|>\n\n"},
        {"smolvlm",
         "<|im_start|>System: Be brief.<end_of_utterance>\nUser:  Hi\n<end_of_utterance>\n"
         "Assistant: Yo. <end_of_utterance>\nUser: Why?<end_of_utterance>\n"
         "Assistant:"},
        {"bluelm", "[|SYSTEM|]:Be brief.[|Human|]: Hi\n[|AI|]:Yo. </s>[|Human|]:Why?[|AI|]:"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++)
        assert_string_equal(render(cases[i].name, turns, COUNT(turns)), cases[i].text);
}

static void conversations_without_a_system_turn_start_with_the_user(void **state)
{
    static const turn turns[] = {
        {BLUELM_USER, "A"}, {BLUELM_ASSISTANT, "B"}, {BLUELM_USER, "C"}};
    (void)state;
    assert_string_equal(render("llama-2", turns, 3), "[INST] A [/INST]B</s>[INST] C [/INST]");
    assert_string_equal(render("llama-2-bos", turns, 3),
                        "[INST] A [/INST]B</s><s>[INST] C [/INST]");
    assert_string_equal(render("smolvlm", turns, 1),
                        "<|im_start|>User: A<end_of_utterance>\nAssistant:");
    assert_string_equal(render("bluelm", turns, 3),
                        "[|Human|]:A[|AI|]:B</s>[|Human|]:C[|AI|]:");
}

static void a_default_system_turn_begins_conversations_without_one(void **state)
{
    static const turn turns[] = {{BLUELM_USER, "A"}, {BLUELM_ASSISTANT, "B"}};
    (void)state;
    assert_string_equal(
        render("granite-vision", turns, 1),
        "<|system|>\nA chat between a curious user and an artificial "
        "intelligence assistant. The assistant gives helpful, detailed, and "
        "polite answers to the user's questions.\n<|user|>\nA\n<|assistant|>\n");
    assert_string_equal(render("llama-3.1", turns, 1),
                        "{bos}<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge "
                        "Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
                        "<|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|>"
                        "<|start_header_id|>assistant<|end_header_id|>\n\n");
    /* Without a date there is no turn that says it. */
    assert_string_equal(render("granite-3.3", turns, 1),
                        "<|start_of_role|>user<|end_of_role|>A<|end_of_text|>\n"
                        "<|start_of_role|>assistant<|end_of_role|>");
}

/* What tells the models' Jinja texts apart, as they write it. */
static void templates_are_recognised_by_what_is_in_them(void **state)
{
    static const struct {
        const char *jinja, *name;
    } cases[] = {
        {"{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n'}}", "chatml"},
        {"{{bos_token}}{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n'}}",
         "chatml-bos"},
        {"{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful"
         " assistant.<|im_end|>\\n' }}",
         "qwen2.5"},
        {"{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nYou are a helpful "
         "assistant.<|im_end|>\n{% endif %}<|vision_start|>",
         "qwen2"},
        {"<|im_start|>{%- if enable_thinking is defined and enable_thinking is false %}"
         "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}",
         "chatml"}, /* Qwen3 */
        {"<|im_start|>{%- if enable_thinking is defined and enable_thinking is false %}"
         "{{- '<think>\\n\\n</think>\\n\\n' }}{%- else %}{{- '<think>\\n' }}{%- endif %}",
         "qwen3.5-think"},
        {"<|im_start|>{%- if enable_thinking is defined and enable_thinking is true %}"
         "{{- '<think>\\n' }}{%- else %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}",
         "qwen3.5"},
        {"<|im_start|>{% for m in messages %}{{m['role']|capitalize}}<end_of_utterance>",
         "smolvlm"},
        {"{{'<|im_start|>' + m['role'] + '<|im_sep|>'}}", "phi-4"},
        {"{{ bos_token }}{{'<|user|>' + '\\n' + m['content'] + '<|end|>' + '<|assistant|>'}}",
         "phi-3"},
        {"{{'<|system|>\\n' + m['content'] + "
         "'<|end|>\\n'}}{{'<|user|>\\n'}}{{'<|assistant|>\\n'}}",
         "phi-3.5"},
        {"{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{{ '<|assistant|>' }}",
         "phi-4-mini"},
        {"{{'<|start_header_id|>' + m['role'] + '<|end_header_id|>'}}", "llama-3"},
        {"{{- \"Cutting Knowledge Date: December 2023\\n\" }}<|start_header_id|>", "llama-3.1"},
        {"{{'USER: ' + m['content'] + ' ASSISTANT: '}}", "vicuna"},
        {"{{'SYSTEM: '}}{{'USER: ' + m['content'] + ' ASSISTANT: '}}", "vicuna-orca"},
        {"{{ m['role'].upper() + ': '}}{{ '<image>\\n' }}{{ 'ASSISTANT:' }}", "llava"},
        {"{{ '<<SYS>>' }}{{ '[INST] ' + content.strip() + ' [/INST]' }}", "llama-2-strip"},
        {"{{ '<<SYS>>' }}{{ bos_token + '[INST] ' + content + ' [/INST]' }}", "llama-2-bos"},
        {"{{ '<<SYS>>' }}{{ '[INST] ' + content + ' [/INST]' }}", "llama-2"},
        {"{{ '[INST] ' + content + ' [/INST]' }}", "llama-2-plain"},
        {"{{ '<<SYS>>' }}{{ '[INST] ' }}{{ '<image>\\n' }}", "llava-mistral"},
        {"{{ '[INST] ' }}{{ '<image>\\n' }}{{ m + '<\\s> '}}", "llava-mistral-old"},
        {"{{ ' [INST] ' + system_message + '\\n\\n' }}", "mistral-v1"},
        {"{{ '[AVAILABLE_TOOLS]' }}{{ '[INST] ' }}", "mistral-v3"},
        {"{{ '[AVAILABLE_TOOLS]' }}{{ \"[INST]\" + m }}", "mistral-v3-tekken"},
        {"{{ '[SYSTEM_PROMPT]' }}{{ '[INST]' }}", "mistral-v7-tekken"},
        {"{{ '<start_of_turn>' }}", "gemma"},
        {"{{ '<|turn>' + role }}", "gemma4"},
        {"{{ '<|turn>' + role }}{{- '<|channel>thought\\n<channel|>' -}}", "gemma4-channel"},
        {"{{- '<|start_of_role|>system<|end_of_role|>' }}", "granite"},
        {"{{- \"Knowledge Cutoff Date: April 2024.\" }}<|start_of_role|>", "granite-3.3"},
        {"{{ '<|user|>\\n' + m['content'] + eos_token }}<|assistant|>", "zephyr"},
        {"{{ '<|user|>\\n' }}<|assistant|><image>", "granite-vision"},
        {"{{ 'Assistant: ' + message['content'] + eos_token }}", "deepseek"},
        {"{{ '[|Human|]:' + m['content'] + '[|AI|]:' }}", "bluelm"},
        {"{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{% endif "
         "%}",
         "chatml-think"}, /* Qwen3-VL-Thinking, QwQ */
        {"{%- if add_generation_prompt %}{{- \"<|im_start|>assistant\\n<think>\\n\" }}",
         "chatml-think"},
        {"{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}", "chatml"},
        {"{{ bos_token }}<|im_start|>{%- if enable_thinking is defined %}{%- if "
         "enable_thinking "
         "is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- elif enable_thinking is true %}"
         "{{- '<think>\\n' }}{%- endif %}{%- endif %}",
         "chatml-bos"}, /* MiniCPM5 */
        {"{{- '<|im_start|>system\\nYou are MiMo, an AI assistant developed by "
         "Xiaomi.<|im_end|>\\n' }}",
         "mimo-vl"},
        {"{{ \"Please ensure responses are professional, accurate, and safe.\" }}"
         "<|start_of_role|>",
         "granite-4"},
        {"<|User|>: {{text}}<|Assistant|>:{% if loop.last %} {%endif%}", "janus"},
        {"{{'<\357\275\234User\357\275\234>' + m}}{{'<\357\275\234Assistant\357\275\234>"
         "<think>\\n'}}",
         "deepseek-r1"},
        {"{{'<\357\275\234User\357\275\234>' + m}}{{'<\357\275\234Assistant\357\275\234>'}}",
         "deepseek-r1-plain"},
        {"{%- set cls_token = \"<|begin_of_sentence|>\" -%}{{- \"User: \" -}}{{ "
         "\"<|IMAGE_START|>\" }}{{- \"Assistant: \" -}}",
         "paddleocr"},
        {"{%- set cls_token = \"<|begin_of_sentence|>\" -%}{{- \"User: \" -}}{{ "
         "\"<|IMAGE_START|>\" }}{{- \"Assistant:\\n\" -}}",
         "paddleocr-1.5"},
        {"{{- '<|user|>' + m.content + '<|endofuser|>' }}{{- '<|assistant|>' + m.content }}"
         "{{- '<|endofassistant|>' }}",
         "dots-ocr"},
        {"vicuna", "vicuna"},
        {"llama2-sys-bos", "llama-2-bos"},
        {"{{ '### Instruction:' }}", NULL},
        {"", NULL},
    };
    const blm_chat_template *chat;
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        chat = blm_chat_recognise(string_of(cases[i].jinja));
        const char *name = chat ? chat->name : "none";
        if (strcmp(name, cases[i].name ? cases[i].name : "none") != 0)
            fail_msg("%s: %s", cases[i].jinja, name);
    }
    assert_int_equal(template_of(NULL, cases[0].jinja, NULL, &chat, NULL), BLUELM_OK);
    assert_string_equal(chat->name, "chatml");
    assert_int_equal(template_of(NULL, NULL, NULL, &chat, NULL), BLUELM_OK);
    assert_null(chat);
}

/* Where a model's file has no template, or not its author's, the model decides. */
static void a_models_own_template_comes_before_the_files(void **state)
{
    static const struct {
        const char *architecture, *model, *jinja, *chat;
    } cases[] = {
        {"phi2", "moondream2", "vicuna", "moondream"},
        {"phi2", "a", "vicuna", "moondream"},
        {"phi2", "moondream2", NULL, "moondream"},
        {"phi2", "phi-2", NULL, NULL},
        {"phi2", "moondream2", "chatml", "chatml"},
        {"llama", "moondream2", NULL, NULL},
        {"llama", "a", "vicuna", "vicuna"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const blm_chat_template *chat = NULL;
        tiny_writer w;
        blm_gguf g;
        tiny_start(&w, 1);
        tiny_key_string(&w, "general.architecture", cases[i].architecture);
        tiny_key_string(&w, "general.name", cases[i].model);
        if (cases[i].jinja) tiny_key_string(&w, "tokenizer.chat_template", cases[i].jinja);
        tiny_file file = tiny_finish(&w);
        assert_int_equal(blm_gguf_open(&g, file.data, file.bytes, "llm", NULL), BLUELM_OK);
        assert_int_equal(blm_chat_read(&g, NULL, &chat, NULL), BLUELM_OK);
        assert_string_equal(chat ? chat->name : "none", cases[i].chat ? cases[i].chat : "none");
        tiny_free(&file);
    }
}

static void every_template_has_a_name_of_its_own(void **state)
{
    (void)state;
    const char *name;
    uint32_t i = 0;
    for (; (name = bluelm_chat_template_name(i)) != NULL; i++)
        assert_ptr_equal(blm_chat_named(string_of(name)), blm_chat_at(i));
    assert_in_range(i, 30, 100);
    assert_null(blm_chat_at(UINT32_MAX));
}

static void the_name_in_the_file_decides(void **state)
{
    bluelm_error err;
    const blm_chat_template *chat = NULL;
    (void)state;
    assert_int_equal(template_of("bluelm", "<|im_start|>", NULL, &chat, &err), BLUELM_OK);
    assert_string_equal(chat->name, "bluelm");
    assert_int_equal(template_of("none", "<|im_start|>", NULL, &chat, &err), BLUELM_OK);
    assert_null(chat);
    assert_int_equal(template_of("telepathy", "<|im_start|>", NULL, &chat, &err),
                     BLUELM_E_UNSUPPORTED);
    assert_non_null(strstr(err.subject, "telepathy"));
    assert_int_equal(
        template_of("a name much longer than any subject of an error could ever hold it", NULL,
                    NULL, &chat, &err),
        BLUELM_E_UNSUPPORTED);
    assert_in_range(strlen(err.subject), 1, 63);
}

static void the_name_that_the_user_gives_decides_first(void **state)
{
    bluelm_error err;
    const blm_chat_template *chat = NULL;
    (void)state;
    assert_int_equal(template_of("bluelm", "<|im_start|>", "gemma3", &chat, &err), BLUELM_OK);
    assert_string_equal(chat->name, "gemma");
    assert_int_equal(template_of("bluelm", NULL, "none", &chat, &err), BLUELM_OK);
    assert_null(chat);
    assert_int_equal(template_of("bluelm", NULL, "telepathy", &chat, &err), BLUELM_E_ARG);
    assert_non_null(strstr(err.subject, "telepathy"));
}

/* By the vocabulary where the file says so, else by the template. */
static void a_conversation_has_one_beginning(void **state)
{
    static const char *const names[] = {"gemma", "llama-3", "chatml-bos", "phi-3"};
    (void)state;
    for (size_t i = 0; i < 2 * COUNT(names); i++) {
        tiny_llm_config llm = tiny_llm_default();
        bluelm_config config = {.chat_template = names[i / 2]};
        int32_t ids[200], bos = i % 2 ? TINY_BPE_END : TINY_BOS;
        uint32_t found = 0;
        llm.byte_bpe = i % 2; /* SentencePiece: add_bos_token; byte-level: not */
        aid_model m = aid_model_make(&llm, NULL);
        aid_engine e = aid_engine_make(&m, &config, NULL);
        for (int i_turn = 0; i_turn < 3; i_turn++)
            assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
        int64_t count = bluelm_context_ids(e.engine, ids, COUNT(ids));
        for (int64_t j = 0; j < count; j++)
            found += ids[j] == bos;
        assert_int_equal(found, 1);
        assert_int_equal(ids[0], bos);
        aid_engine_free(&e);
        aid_model_free(&m);
    }
}

static void missing_texts_are_refused(void **state)
{
    tiny_llm_config llm = tiny_llm_default();
    bluelm_config config = {.chat_template = "gemma"};
    bluelm_error err;
    (void)state;
    aid_model m = aid_model_make(&llm, NULL);
    aid_engine e = aid_engine_make(&m, &config, NULL);
    assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
    assert_int_equal(bluelm_add_text(e.engine, NULL, 1, &err), BLUELM_E_ARG);
    assert_int_equal(bluelm_add_markup(e.engine, NULL, 1, &err), BLUELM_E_ARG);
    assert_int_equal(bluelm_add_tokens(e.engine, NULL, 1, &err), BLUELM_E_ARG);
    assert_int_equal(bluelm_set_stop(e.engine, NULL, 1, &err), BLUELM_E_ARG);
    assert_int_equal(bluelm_add_text(e.engine, NULL, 0, &err), 0);
    assert_true(bluelm_context_ids(e.engine, NULL, 9) > 0);
    aid_engine_free(&e);
    aid_model_free(&m);
}

/* Old files of LLaVA have no template. */
static void a_template_may_be_given_by_its_texts(void **state)
{
    static const bluelm_chat_texts texts = {{"", "Q: ", "A:"}, {"\n\n", "\n", "{eos}\n"}};
    static char long_text[200];
    tiny_llm_config llm = tiny_llm_default();
    bluelm_config config = {.chat_texts = &texts, .chat_template = "none"};
    bluelm_memory need;
    bluelm_error err;
    char out[100];
    int32_t ids[100];
    (void)state;
    llm.byte_bpe = 1;
    aid_model m = aid_model_make(&llm, NULL);
    aid_engine e = aid_engine_make(&m, &config, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_USER, NULL), 0);
        assert_int_equal(bluelm_add_text(e.engine, "Hi", 2, NULL), 0);
        assert_int_equal(bluelm_begin_turn(e.engine, BLUELM_ASSISTANT, NULL), 0);
        if (i == 0) assert_int_equal(bluelm_add_text(e.engine, " yo", 3, NULL), 0);
    }
    int64_t count = bluelm_context_ids(e.engine, ids, COUNT(ids));
    size_t used = 0;
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] == TINY_BPE_IM_END) out[used++] = '#';
        used += (size_t)bluelm_detokenize(e.engine, ids[i], out + used, 16, NULL);
    }
    out[used] = 0;
    assert_string_equal(out, "Q: Hi\nA: yo#<|im_end|>\nQ: Hi\nA:");
    aid_engine_free(&e);

    bluelm_chat_texts too_long = texts;
    memset(long_text, 'x', 121);
    too_long.after[BLUELM_USER] = long_text;
    config.chat_texts = &too_long;
    assert_int_equal(bluelm_plan(&m.weights, &config, &need, &err), BLUELM_E_ARG);
    assert_int_equal(err.need, 120);
    assert_int_equal(err.have, 121);
    config.chat_texts = NULL, config.date = long_text;
    assert_int_equal(bluelm_plan(&m.weights, &config, &need, &err), BLUELM_E_ARG);
    assert_non_null(strstr(err.subject, "date"));
    aid_model_free(&m);
}

static void a_template_that_is_no_string_is_refused(void **state)
{
    static const char *const keys[] = {"bluelm.chat.template", "tokenizer.chat_template"};
    const blm_chat_template *chat;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(keys); i++) {
        tiny_writer w;
        tiny_file file;
        blm_gguf g;
        tiny_start(&w, 1);
        tiny_key_u32(&w, keys[i], 7);
        file = tiny_finish(&w);
        assert_int_equal(blm_gguf_open(&g, file.data, file.bytes, "llm", NULL), BLUELM_OK);
        assert_int_equal(blm_chat_read(&g, NULL, &chat, NULL), BLUELM_E_FORMAT);
        tiny_free(&file);
    }
}

static void trimming_takes_spaces_and_line_breaks_only(void **state)
{
    (void)state;
    for (int c = -128; c < 128; c++)
        assert_int_equal(blm_chat_is_blank((char)c), c == ' ' || c == '\t' || c == '\n' ||
                                                         c == '\v' || c == '\f' || c == '\r');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_turns_render_as_the_models_saw_them),
        cmocka_unit_test(conversations_without_a_system_turn_start_with_the_user),
        cmocka_unit_test(a_default_system_turn_begins_conversations_without_one),
        cmocka_unit_test(templates_are_recognised_by_what_is_in_them),
        cmocka_unit_test(a_models_own_template_comes_before_the_files),
        cmocka_unit_test(every_template_has_a_name_of_its_own),
        cmocka_unit_test(the_name_in_the_file_decides),
        cmocka_unit_test(the_name_that_the_user_gives_decides_first),
        cmocka_unit_test(a_conversation_has_one_beginning),
        cmocka_unit_test(missing_texts_are_refused),
        cmocka_unit_test(a_template_may_be_given_by_its_texts),
        cmocka_unit_test(a_template_that_is_no_string_is_refused),
        cmocka_unit_test(trimming_takes_spaces_and_line_breaks_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
