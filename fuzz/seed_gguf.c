/* Writes the corpus of the GGUF reader: fuzz/corpus/gguf is this program's output.
 *
 *     cc -std=c99 fuzz/seed_gguf.c tests/tiny_*.c -lm -o seed && ./seed fuzz/corpus/gguf */
#include "../tests/tiny_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void save(const char *folder, const char *name, tiny_file *file, size_t bytes)
{
    char path[1024];
    FILE *f;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(file->data, 1, bytes, f) != bytes || fclose(f) != 0) {
        fprintf(stderr, "cannot write %s\n", path);
        exit(1);
    }
}

static tiny_llm_config small_llm(void)
{
    tiny_llm_config c = tiny_llm_default();
    c.n_embd = 32, c.n_layer = 1, c.n_head = 2, c.n_head_kv = 1, c.n_ff = 32, c.n_ctx = 32;
    c.n_vocab = TINY_MIN_VOCAB;
    c.embd_type = c.attn_type = c.ffn_type = c.down_type = c.output_type = TINY_Q4_0;
    c.tied = 1;
    return c;
}

static tiny_vision_config small_vision(tiny_projector projector)
{
    tiny_vision_config c = tiny_vision_default();
    c.image_px = 12, c.patch_px = 4;
    c.width = 16, c.n_head = 2, c.n_layer = 1, c.n_ff = 24, c.n_embd = 32;
    c.patch_type = TINY_F16;
    c.type = c.down_type = TINY_Q8_0;
    c.projector = projector;
    return c;
}

static void save_models(const char *folder)
{
    tiny_llm_config llm = small_llm();
    tiny_vision_config vision = small_vision(TINY_LFM2);
    tiny_file file = tiny_llm(&llm);
    save(folder, "llama.gguf", &file, file.bytes);
    tiny_free(&file);
    llm.arch = "qwen2", llm.byte_bpe = 1, llm.qkv_bias = 1, llm.rope_freqs = 1;
    file = tiny_llm(&llm);
    save(folder, "qwen2.gguf", &file, file.bytes);
    tiny_free(&file);
    file = tiny_mmproj(&vision);
    save(folder, "lfm2.gguf", &file, file.bytes);
    save(folder, "lfm2_cut_in_keys.gguf", &file, 300);
    save(folder, "lfm2_cut_in_tensors.gguf", &file, 1500);
    tiny_free(&file);
    vision = small_vision(TINY_IDEFICS3);
    file = tiny_mmproj(&vision);
    save(folder, "idefics3.gguf", &file, file.bytes);
    tiny_free(&file);
}

/* Language models of two layers, one of each kind that the family has. */
static void save_families(const char *folder)
{
    static const char *const names[] = {"qwen3vl", "qwen35", "lfm2",
                                        "gemma3",  "phi3",   "gemma4"};
    size_t i;
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        tiny_llm_config llm = small_llm();
        char name[64];
        tiny_file file;
        llm.arch = names[i], llm.n_layer = 2;
        file = tiny_llm(&llm);
        snprintf(name, sizeof name, "language_%s.gguf", names[i]);
        save(folder, name, &file, file.bytes);
        tiny_free(&file);
    }
}

/* A key of every type and an array of two of each, and a tensor. */
static tiny_file every_type(void)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    static const uint8_t one[8] = {1};
    static const float values[4] = {1, 2, 3, 4};
    static const uint64_t ne[2] = {2, 2};
    tiny_writer w;
    uint32_t type, i;
    tiny_start(&w, 1);
    for (type = 0; type < sizeof sizes; type++) {
        char name[16];
        snprintf(name, sizeof name, "a%u", (unsigned)type);
        if (sizes[type] == 0) continue;
        tiny_key_array(&w, name, type, 2);
        for (i = 0; i < 2; i++)
            tiny_put(&w.keys, one, sizes[type]);
        tiny_key(&w, name + 1, type);
        tiny_put(&w.keys, one, sizes[type]);
    }
    tiny_key_array(&w, "tokenizer.ggml.tokens", TINY_KEY_STRING, 2);
    tiny_put_string(&w.keys, "x");
    tiny_put_string(&w.keys, "");
    tiny_key_string(&w, "k", "v");
    tiny_tensor(&w, "t", TINY_F32, 2, ne, values);
    return tiny_finish(&w);
}

static void save_broken(const char *folder)
{
    static const struct {
        const char *name;
        size_t at;
        uint8_t value;
    } cases[] = {{"many_keys.gguf", 22, 0x10},
                 {"many_tensors.gguf", 14, 0x10},
                 {"long_key.gguf", 31, 0x80},
                 {"version_1.gguf", 4, 1},
                 {"bad_type.gguf", 34, 13}};
    tiny_file file = every_type();
    size_t i;
    save(folder, "every_type.gguf", &file, file.bytes);
    save(folder, "header_alone.gguf", &file, 24);
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t before = file.data[cases[i].at];
        file.data[cases[i].at] = cases[i].value;
        save(folder, cases[i].name, &file, file.bytes);
        file.data[cases[i].at] = before;
    }
    tiny_free(&file);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 1;
    save_models(argv[1]);
    save_families(argv[1]);
    save_broken(argv[1]);
    return 0;
}
