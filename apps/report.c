#include "report.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

void app_progress(const char *what, uint64_t done, uint64_t total)
{
    static int open_line;
    if (!isatty(STDERR_FILENO)) return;
    if (what) {
        fprintf(stderr, "\r%s %3u %%", what, (unsigned)(total ? 100 * done / total : 100));
        open_line = 1;
    } else if (open_line) {
        fputs("\r                              \r", stderr);
        open_line = 0;
    }
}

static void app_memory_line(const char *name, uint64_t bytes, uint64_t total)
{
    static const char full[] = "########################################";
    int width = total ? (int)((40 * bytes + total - 1) / total) : 0;
    printf("  %-22s %14" PRIu64 "  %.*s\n", name, bytes, width > 40 ? 40 : width, full);
}

void app_print_memory(const bluelm_memory *m)
{
    printf("arena, in bytes\n");
    app_memory_line("engine", m->engine_bytes, m->total_bytes);
    app_memory_line("weights view", m->weights_view_bytes, m->total_bytes);
    app_memory_line("tokenizer", m->tokenizer_bytes, m->total_bytes);
    app_memory_line("kv cache", m->kv_cache_bytes, m->total_bytes);
    app_memory_line("image tokens", m->image_tokens_bytes, m->total_bytes);
    app_memory_line("sampling", m->sampling_bytes, m->total_bytes);
    app_memory_line("overlay, largest of:", m->overlay_bytes, m->total_bytes);
    app_memory_line("  vision phase", m->vision_phase_bytes, m->total_bytes);
    app_memory_line("  language phase", m->language_phase_bytes, m->total_bytes);
    app_memory_line("  image decode", m->image_decode_bytes, m->total_bytes);
    app_memory_line("total", m->total_bytes, m->total_bytes);
    printf("  %-22s %14" PRIu64 "  used where they lie\n", "weights", m->weights_bytes);
    printf("for %u tokens of context, chunks of %u, %u worker%s", m->context_tokens,
           m->chunk_tokens, m->workers, m->workers == 1 ? "" : "s");
    if (m->max_tiles)
        printf(", %u tiles of %u px and %u tokens in batches of %u", m->max_tiles, m->tile_px,
               m->tokens_per_tile, m->tiles_per_batch);
    printf("\n");
}

void app_print_memory_json(const bluelm_memory *m)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        {"engine", m->engine_bytes},
        {"weights_view", m->weights_view_bytes},
        {"tokenizer", m->tokenizer_bytes},
        {"kv_cache", m->kv_cache_bytes},
        {"image_tokens", m->image_tokens_bytes},
        {"sampling", m->sampling_bytes},
        {"vision_phase", m->vision_phase_bytes},
        {"language_phase", m->language_phase_bytes},
        {"image_decode", m->image_decode_bytes},
        {"overlay", m->overlay_bytes},
        {"total", m->total_bytes},
        {"weights_bytes", m->weights_bytes},
        {"context_tokens", m->context_tokens},
        {"chunk_tokens", m->chunk_tokens},
        {"max_tiles", m->max_tiles},
        {"tiles_per_batch", m->tiles_per_batch},
        {"tokens_per_tile", m->tokens_per_tile},
        {"tile_px", m->tile_px},
        {"workers", m->workers},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        printf("%s\"%s\":%" PRIu64, i ? "," : "\"memory\":{", fields[i].name, fields[i].value);
    printf("}");
}

void app_print_grid(const char *path, uint32_t width, uint32_t height,
                    const bluelm_tile_grid *g)
{
    printf("%s: %ux%u px, grid %u:%u%s, %u tile%s, %u image tokens\n", path, width, height,
           g->columns, g->rows, g->thumbnail ? " and a thumbnail" : "", g->tiles,
           g->tiles == 1 ? "" : "s", g->tokens);
    printf("  resized to %ux%u at %u,%u on a canvas of %ux%u\n", g->resized_width_px,
           g->resized_height_px, g->offset_x_px, g->offset_y_px, g->columns * g->tile_px,
           g->rows * g->tile_px);
}

void app_print_grid_json(const bluelm_tile_grid *g)
{
    printf("{\"columns\":%u,\"rows\":%u,\"thumbnail\":%u,\"tiles\":%u,\"tokens\":%u}",
           g->columns, g->rows, g->thumbnail, g->tiles, g->tokens);
}

static double app_per_second(uint64_t count, uint64_t us)
{
    return us ? (double)count * 1e6 / (double)us : 0.0;
}

void app_print_speeds(const bluelm_stats *s, uint64_t load_us)
{
    fprintf(stderr, "load %.1f ms", (double)load_us / 1e3);
    if (s->image_tiles)
        fprintf(stderr, " | image %" PRIu64 " tiles in %.1f ms", s->image_tiles,
                (double)s->image_us / 1e3);
    fprintf(stderr,
            " | prefill %" PRIu64 " tokens, %.1f/s | decode %" PRIu64
            " tokens, %.1f/s | context %u of %u | arena %" PRIu64 " bytes | %s\n",
            s->prefill_tokens, app_per_second(s->prefill_tokens, s->prefill_us),
            s->decode_tokens, app_per_second(s->decode_tokens, s->decode_us),
            s->context_used_tokens, s->context_tokens, s->arena_bytes, s->kernels);
}

void app_print_speeds_json(const bluelm_stats *s, uint64_t load_us)
{
    printf("\"load_us\":%" PRIu64 ",\"image_tiles\":%" PRIu64 ",\"image_us\":%" PRIu64
           ",\"prefill_tokens\":%" PRIu64 ",\"prefill_us\":%" PRIu64
           ",\"decode_tokens\":%" PRIu64 ",\"decode_us\":%" PRIu64
           ",\"context_used_tokens\":%u,\"arena_bytes\":%" PRIu64
           ",\"arena_high_water_bytes\":%" PRIu64 ",\"kernels\":\"%s\"",
           load_us, s->image_tiles, s->image_us, s->prefill_tokens, s->prefill_us,
           s->decode_tokens, s->decode_us, s->context_used_tokens, s->arena_bytes,
           s->arena_high_water_bytes, s->kernels);
}

void app_print_json_string(const char *text, size_t bytes)
{
    putchar('"');
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}
