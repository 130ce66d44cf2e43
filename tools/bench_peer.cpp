// llama.cpp's side of tools/bench_peer, built with its source, which compiles and starts it:
// libllama and libmtmd called directly, without sampling or chat.
//
//     bench_peer MODEL THREADS off|on f16|q8_0 CONTEXT N_VOCAB [MMPROJ WIDTH HEIGHT]
//
// Obeys the same orders, with the same tokens and the same picture, as `build/bench --serve`.
// The first line of output says who this is.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "llama.h"
#include "mtmd-helper.h"
#include "mtmd.h"

namespace {

constexpr int32_t BATCH_TOKENS = 512;
constexpr uint32_t WORDS = 16;  // of the question behind a picture

struct peer {
    llama_model *model = nullptr;
    llama_context *context = nullptr;
    mtmd_context *vision = nullptr;
    mtmd_bitmap *picture = nullptr;
    uint32_t known_tokens = 0;
    uint32_t at = 0;
};

[[noreturn]] void die(const char *what)
{
    std::fprintf(stderr, "bench_peer: llama.cpp: %s\n", what);
    std::exit(1);
}

void quiet(ggml_log_level level, const char *text, void *)
{
    if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

// The tokens of apps/bench.
std::vector<llama_token> tokens_at(const peer &p, uint32_t at, uint32_t count)
{
    std::vector<llama_token> tokens(count);
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = static_cast<llama_token>(300 + (at + i) * 7919u % p.known_tokens);
    return tokens;
}

void read(peer &p, uint32_t at, uint32_t count)
{
    std::vector<llama_token> tokens = tokens_at(p, at, count);
    for (uint32_t done = 0; done < count;) {
        int32_t part = static_cast<int32_t>(count - done);
        if (part > BATCH_TOKENS) part = BATCH_TOKENS;
        if (llama_decode(p.context, llama_batch_get_one(tokens.data() + done, part)))
            die("does not decode");
        done += static_cast<uint32_t>(part);
    }
}

void reset(peer &p)
{
    llama_memory_clear(llama_get_memory(p.context), true);
    p.at = 0;
}

mtmd_input_chunks *cut_picture(const peer &p)
{
    if (!p.vision) die("has no vision model");
    const char *marker = mtmd_default_marker();
    mtmd_input_text text = {marker, std::strlen(marker), false, true};
    const mtmd_bitmap *pictures[] = {p.picture};
    mtmd_input_chunks *chunks = mtmd_input_chunks_init();
    if (mtmd_tokenize(p.vision, chunks, &text, pictures, 1)) die("does not take the picture");
    return chunks;
}

// Returns the picture's tokens.
uint32_t encode_picture(const peer &p)
{
    mtmd_input_chunks *chunks = cut_picture(p);
    size_t tokens = 0;
    for (size_t i = 0; i < mtmd_input_chunks_size(chunks); i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, i);
        if (mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_IMAGE) continue;
        if (mtmd_encode_chunk(p.vision, chunk)) die("does not encode the picture");
        tokens += mtmd_input_chunk_get_n_tokens(chunk);
    }
    mtmd_input_chunks_free(chunks);
    return static_cast<uint32_t>(tokens);
}

// A picture, a question, and what the first token of an answer needs.
void answer(peer &p)
{
    llama_pos past = 0;
    mtmd_input_chunks *chunks = cut_picture(p);
    reset(p);
    if (mtmd_helper_eval_chunks(p.vision, p.context, chunks, 0, 0, BATCH_TOKENS, false, &past))
        die("does not read the picture");
    mtmd_input_chunks_free(chunks);
    read(p, 0, WORDS);
}

uint32_t likeliest(const peer &p)
{
    const float *logits = llama_get_logits_ith(p.context, -1);
    const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(p.model));
    int32_t best = 0;
    for (int32_t i = 1; logits && i < n_vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return static_cast<uint32_t>(best);
}

// Runs one order; what it answers beside the time.
uint32_t obey(peer &p, const std::string &order, uint32_t count)
{
    if (order == "picture") return encode_picture(p);
    if (order == "reset") {
        reset(p);
        return 0;
    }
    if (order == "answer") {
        answer(p);
        return likeliest(p);
    }
    const uint32_t end = p.at + count, step = order == "decode" ? 1 : count;
    for (; p.at < end; p.at += step)
        read(p, p.at, step);
    return likeliest(p);
}

void open_language(peer &p, char **argv)
{
    llama_model_params model = llama_model_default_params();
    model.n_gpu_layers = 0;
    p.model = llama_model_load_from_file(argv[1], model);
    if (!p.model) die("does not load the model");
    llama_context_params context = llama_context_default_params();
    context.n_ctx = static_cast<uint32_t>(std::atoi(argv[5]));
    context.n_batch = context.n_ubatch = BATCH_TOKENS;
    context.n_threads = context.n_threads_batch = std::atoi(argv[2]);
    context.flash_attn_type = std::strcmp(argv[3], "on") ? LLAMA_FLASH_ATTN_TYPE_DISABLED
                                                         : LLAMA_FLASH_ATTN_TYPE_ENABLED;
    context.type_k = context.type_v = std::strcmp(argv[4], "f16") ? GGML_TYPE_Q8_0
                                                                  : GGML_TYPE_F16;
    p.context = llama_init_from_model(p.model, context);
    if (!p.context) die("makes no context");
}

void open_vision(peer &p, char **argv)
{
    mtmd_context_params vision = mtmd_context_params_default();
    vision.use_gpu = false;
    vision.print_timings = false;
    vision.n_threads = std::atoi(argv[2]);
    vision.flash_attn_type = std::strcmp(argv[3], "on") ? LLAMA_FLASH_ATTN_TYPE_DISABLED
                                                        : LLAMA_FLASH_ATTN_TYPE_ENABLED;
    p.vision = mtmd_init_from_file(argv[7], p.model, vision);
    if (!p.vision) die("does not load the vision model");
    const uint32_t width = static_cast<uint32_t>(std::atoi(argv[8]));
    const uint32_t height = static_cast<uint32_t>(std::atoi(argv[9]));
    std::vector<unsigned char> pixels(static_cast<size_t>(3) * width * height);
    for (size_t i = 0; i < pixels.size(); i++)
        pixels[i] = static_cast<unsigned char>(static_cast<uint32_t>(i) * 2654435761u >> 24);
    p.picture = mtmd_bitmap_init(width, height, pixels.data());
}

}  // namespace

int main(int argc, char **argv)
{
    peer p;
    char order[16];
    uint32_t count;
    if (argc != 7 && argc != 10) die("usage: see tools/bench_peer");
    llama_log_set(quiet, nullptr);
    mtmd_log_set(quiet, nullptr);
    mtmd_helper_log_set(quiet, nullptr);
    llama_backend_init();
    open_language(p, argv);
    if (argc == 10) open_vision(p, argv);
    const uint32_t n_vocab = static_cast<uint32_t>(std::atoi(argv[6]));
    p.known_tokens = n_vocab < 91000 ? n_vocab - 1000 : 90000;
    std::printf("{\"release\":\"source\",\"backend\":\"%s\"}\n", llama_print_system_info());
    std::fflush(stdout);
    while (std::scanf("%15s %u", order, &count) == 2) {
        const auto begun = std::chrono::steady_clock::now();
        const uint32_t said = obey(p, order, count);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
        std::printf("%.6f %u\n", took.count(), said);
        std::fflush(stdout);
    }
    return 0;
}
