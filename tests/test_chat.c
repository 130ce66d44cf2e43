#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../families/templates.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Opens a file with these keys (NULL: without the key) and asks for its kind. */
static int kind_of(const char *named, const char *jinja, int *kind, bluelm_error *err)
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
    code = blm_chat_kind(&g, kind, err);
    tiny_free(&file);
    return code;
}

typedef struct turn {
    bluelm_role role;
    const char *text;
} turn;

static blm_string trimmed(blm_string s)
{
    while (s.bytes > 0 && blm_chat_is_blank(s.text[0]))
        s.text++, s.bytes--;
    while (s.bytes > 0 && blm_chat_is_blank(s.text[s.bytes - 1]))
        s.bytes--;
    return s;
}

/* The whole conversation and what asks for the next answer, as a string. */
static const char *render(const char *name, const turn *turns, size_t count)
{
    static char out[1000];
    const blm_chat_template *t;
    size_t used, i;
    int kind, before = -1;
    assert_int_equal(kind_of(name, NULL, &kind, NULL), BLUELM_OK);
    t = blm_chat_get(kind);
    assert_non_null(t);
    assert_string_equal(t->name, name);
    used = (size_t)sprintf(out, "%s", t->start);
    for (i = 0; i < count; i++) {
        blm_string content = {turns[i].text, strlen(turns[i].text)};
        if (t->trim) content = trimmed(content);
        used +=
            (size_t)sprintf(out + used, "%s%.*s%s", blm_chat_prefix(t, turns[i].role, before),
                            (int)content.bytes, content.text, t->suffix[turns[i].role]);
        before = (int)turns[i].role;
    }
    sprintf(out + used, "%s", t->answer);
    return out;
}

/* What llama.cpp's llm_chat_apply_template writes for the same turns, and for bluelm what
 * BlueLM's model card says. */
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
        {"vicuna-orca", "SYSTEM: Be brief.\nUSER:  Hi\n\nASSISTANT: Yo. </s>\n"
                        "USER: Why?\nASSISTANT:"},
        {"phi-3", "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi\n<|end|>\n"
                  "<|assistant|>\nYo. <|end|>\n<|user|>\nWhy?<|end|>\n<|assistant|>\n"},
        {"llama-3", "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
                    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                    "<|start_header_id|>assistant<|end_header_id|>\n\nYo.<|eot_id|>"
                    "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
                    "<|start_header_id|>assistant<|end_header_id|>\n\n"},
        {"smolvlm", "<|im_start|>Be brief.\n\nUser:  Hi\n<end_of_utterance>\n"
                    "Assistant: Yo. <end_of_utterance>\nUser: Why?<end_of_utterance>\n"
                    "Assistant:"},
        {"bluelm", "[|SYSTEM|]:Be brief.[|Human|]: Hi\n[|AI|]:Yo. </s>[|Human|]:Why?[|AI|]:"},
    };
    size_t i;
    (void)state;
    assert_int_equal(COUNT(cases), BLM_CHAT_COUNT - 1); /* every kind is here */
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

static void templates_are_recognised_by_their_markers(void **state)
{
    static const struct {
        const char *jinja;
        int kind;
    } cases[] = {
        {"{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n'}}", BLM_CHAT_CHATML},
        {"<|im_start|>{% for m in messages %}{{m['role']|capitalize}}<end_of_utterance>",
         BLM_CHAT_SMOLVLM},
        {"{{'<|im_start|>' + m['role'] + '<|im_sep|>'}}", BLM_CHAT_NONE},
        {"{{ bos_token }}{{'<|user|>' + '\n' + m['content'] + '<|end|>' + '<|assistant|>'}}",
         BLM_CHAT_PHI_3},
        {"{{'<|start_header_id|>' + m['role'] + '<|end_header_id|>'}}", BLM_CHAT_LLAMA_3},
        {"{{'USER: ' + m['content'] + ' ASSISTANT: '}}", BLM_CHAT_VICUNA},
        {"{{'SYSTEM: '}}{{'USER: ' + m['content'] + ' ASSISTANT: '}}", BLM_CHAT_VICUNA_ORCA},
        {"{{ '<<SYS>>' }}{{ '[INST] ' + content.strip() + ' [/INST]' }}",
         BLM_CHAT_LLAMA_2_STRIP},
        {"{{ '<<SYS>>' }}{{ bos_token + '[INST] ' + content + ' [/INST]' }}",
         BLM_CHAT_LLAMA_2_BOS},
        {"{{ '<<SYS>>' }}{{ '[INST] ' + content + ' [/INST]' }}", BLM_CHAT_LLAMA_2},
        {"{{ '[INST] ' + content + ' [/INST]' }}", BLM_CHAT_LLAMA_2_PLAIN},
        {"{{ '[AVAILABLE_TOOLS]' }}{{ '[INST]' }}", BLM_CHAT_NONE}, /* Mistral */
        {"{{ '[|Human|]:' + m['content'] + '[|AI|]:' }}", BLM_CHAT_BLUELM},
        {"vicuna", BLM_CHAT_VICUNA},
        {"llama2-sys-bos", BLM_CHAT_LLAMA_2_BOS},
        {"{{ '<start_of_turn>' }}", BLM_CHAT_NONE},
        {"", BLM_CHAT_NONE},
        {NULL, BLM_CHAT_NONE},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        int kind = -1;
        assert_int_equal(kind_of(NULL, cases[i].jinja, &kind, NULL), BLUELM_OK);
        if (kind != cases[i].kind) fail_msg("%s: %d", cases[i].jinja, kind);
    }
    assert_null(blm_chat_get(BLM_CHAT_NONE));
    assert_null(blm_chat_get(BLM_CHAT_COUNT));
    assert_null(blm_chat_get(-1));
}

static void the_name_in_the_file_decides(void **state)
{
    bluelm_error err;
    int kind = -1;
    (void)state;
    assert_int_equal(kind_of("bluelm", "<|im_start|>", &kind, &err), BLUELM_OK);
    assert_int_equal(kind, BLM_CHAT_BLUELM);
    assert_int_equal(kind_of("none", "<|im_start|>", &kind, &err), BLUELM_OK);
    assert_int_equal(kind, BLM_CHAT_NONE);
    assert_int_equal(kind_of("telepathy", "<|im_start|>", &kind, &err), BLUELM_E_UNSUPPORTED);
    assert_non_null(strstr(err.subject, "telepathy"));
    assert_int_equal(
        kind_of("a name much longer than any subject of an error could ever hold it", NULL,
                &kind, &err),
        BLUELM_E_UNSUPPORTED);
    assert_in_range(strlen(err.subject), 1, 63);
}

static void a_template_that_is_no_string_is_refused(void **state)
{
    static const char *const keys[] = {"bluelm.chat.template", "tokenizer.chat_template"};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(keys); i++) {
        tiny_writer w;
        tiny_file file;
        blm_gguf g;
        int kind;
        tiny_start(&w, 1);
        tiny_key_u32(&w, keys[i], 7);
        file = tiny_finish(&w);
        assert_int_equal(blm_gguf_open(&g, file.data, file.bytes, "llm", NULL), BLUELM_OK);
        assert_int_equal(blm_chat_kind(&g, &kind, NULL), BLUELM_E_FORMAT);
        tiny_free(&file);
    }
}

static void trimming_takes_spaces_and_line_breaks_only(void **state)
{
    (void)state;
    for (int c = -128; c < 128; c++)
        assert_int_equal(blm_chat_is_blank((char)c),
                         c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f' || c == '\r');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_turns_render_as_the_models_saw_them),
        cmocka_unit_test(conversations_without_a_system_turn_start_with_the_user),
        cmocka_unit_test(templates_are_recognised_by_their_markers),
        cmocka_unit_test(the_name_in_the_file_decides),
        cmocka_unit_test(a_template_that_is_no_string_is_refused),
        cmocka_unit_test(trimming_takes_spaces_and_line_breaks_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
