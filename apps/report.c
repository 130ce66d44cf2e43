#include "report.h"

#include <inttypes.h>
#include <string.h>

#include "output.h"

typedef struct app_field {
    const char *name;
    uint64_t value;
} app_field;

#define APP_COUNT(array) (sizeof(array) / sizeof *(array))

/* A line with a bar of up to 40 characters. */
static void app_memory_line(const app_field *f, uint64_t total)
{
    static const char full[] = "########################################";
    int width = total ? (int)((40 * f->value + total - 1) / total) : 0;
    fprintf(app_out(), "  %-22s %14" PRIu64 "  %.*s\n", f->name, f->value,
            width > 40 ? 40 : width, full);
}

void app_print_memory(const bluelm_memory *m)
{
    const app_field fields[] = {
        {"engine", m->engine_bytes},
        {"weights view", m->weights_view_bytes},
        {"tokenizer", m->tokenizer_bytes},
        {"kv cache", m->kv_cache_bytes},
        {"image tokens", m->image_tokens_bytes},
        {"sampling", m->sampling_bytes},
        {"marks", m->marks_bytes},
        {"overlay, largest of:", m->overlay_bytes},
        {"  vision phase", m->vision_phase_bytes},
        {"  language phase", m->language_phase_bytes},
        {"  image decode", m->image_decode_bytes},
        {"total", m->total_bytes},
    };
    fprintf(app_out(), "arena, in bytes\n");
    for (size_t i = 0; i < APP_COUNT(fields); i++)
        app_memory_line(&fields[i], m->total_bytes);
    fprintf(app_out(), "  %-22s %14" PRIu64 "  used where they lie\n", "weights",
            m->weights_bytes);
    fprintf(app_out(), "for %u tokens of context, chunks of %u, %u worker%s", m->context_tokens,
            m->chunk_tokens, m->workers, m->workers == 1 ? "" : "s");
    if (m->max_tiles)
        fprintf(app_out(), ", %u tiles of %u px and %u tokens in batches of %u", m->max_tiles,
                m->tile_px, m->tokens_per_tile, m->tiles_per_batch);
    fprintf(app_out(), "\nactivations of %u bits", m->activation_bits);
    if (m->max_tiles) fprintf(app_out(), ", of %u in the encoder", m->vision_activation_bits);
    if (m->vision_activation_bits == 32) fprintf(app_out(), " (faster with --vision-act int8)");
    fprintf(app_out(), "\n");
}

/* ---- JSON ------------------------------------------------------------------------------- */

/* The fields of an object, without its braces. */
static void app_print_fields(const app_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf(app_out(), "%s\"%s\":%" PRIu64, i ? "," : "", fields[i].name, fields[i].value);
}

void app_print_memory_json(const bluelm_memory *m)
{
    const app_field fields[] = {
        {"engine", m->engine_bytes},
        {"weights_view", m->weights_view_bytes},
        {"tokenizer", m->tokenizer_bytes},
        {"kv_cache", m->kv_cache_bytes},
        {"image_tokens", m->image_tokens_bytes},
        {"sampling", m->sampling_bytes},
        {"marks", m->marks_bytes},
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
        {"activation_bits", m->activation_bits},
        {"vision_activation_bits", m->vision_activation_bits},
    };
    fputs("\"memory\":{", app_out());
    app_print_fields(fields, APP_COUNT(fields));
    fputs("}", app_out());
}

void app_print_grid(const char *path, uint32_t width, uint32_t height,
                    const bluelm_tile_grid *g)
{
    fprintf(app_out(), "%s%s%ux%u px, grid %u:%u%s, %u tile%s, %u image tokens%s\n",
            path ? path : "", path ? ": " : "", width, height, g->columns, g->rows,
            g->thumbnail ? " and a thumbnail" : "", g->tiles, g->tiles == 1 ? "" : "s",
            g->tokens, g->reduced ? " (fewer, for want of room)" : "");
    fprintf(app_out(), "  resized to %ux%u at %u,%u on a canvas of %ux%u\n",
            g->resized_width_px, g->resized_height_px, g->offset_x_px, g->offset_y_px,
            g->columns * g->tile_width_px, g->rows * g->tile_height_px);
}

void app_print_grid_json(const bluelm_tile_grid *g)
{
    const app_field fields[] = {
        {"columns", g->columns},
        {"rows", g->rows},
        {"thumbnail", g->thumbnail},
        {"tiles", g->tiles},
        {"tile_width_px", g->tile_width_px},
        {"tile_height_px", g->tile_height_px},
        {"tokens", g->tokens},
        {"reduced", g->reduced},
    };
    fputs("{", app_out());
    app_print_fields(fields, APP_COUNT(fields));
    fputs("}", app_out());
}

static double app_per_second(uint64_t count, uint64_t us)
{
    return us ? (double)count * 1e6 / (double)us : 0.0;
}

void app_print_speeds(const bluelm_stats *s, const bluelm_memory *m, uint64_t load_us)
{
    fprintf(stderr, "load %.1f ms", (double)load_us / 1e3);
    if (s->image_tiles)
        fprintf(stderr, " | image %" PRIu64 " tiles in %.1f ms%s", s->image_tiles,
                (double)s->image_us / 1e3,
                m->vision_activation_bits == 32 ? " (faster with --vision-act int8)" : "");
    fprintf(stderr,
            " | prefill %" PRIu64 " tokens, %.1f/s | decode %" PRIu64
            " tokens, %.1f/s | context %u of %u | arena %" PRIu64 " bytes | %s\n",
            s->prefill_tokens, app_per_second(s->prefill_tokens, s->prefill_us),
            s->decode_tokens, app_per_second(s->decode_tokens, s->decode_us),
            s->context_used_tokens, s->context_tokens, s->arena_bytes, s->kernels);
}

void app_print_speeds_json(const bluelm_stats *s, uint64_t load_us)
{
    const app_field fields[] = {
        {"load_us", load_us},
        {"image_tiles", s->image_tiles},
        {"image_us", s->image_us},
        {"prefill_tokens", s->prefill_tokens},
        {"prefill_us", s->prefill_us},
        {"decode_tokens", s->decode_tokens},
        {"decode_us", s->decode_us},
        {"context_used_tokens", s->context_used_tokens},
        {"arena_bytes", s->arena_bytes},
    };
    app_print_fields(fields, APP_COUNT(fields));
    fprintf(app_out(), ",\"kernels\":\"%s\"", s->kernels);
}

static void app_print_language(const bluelm_info *i, const bluelm_weights *w)
{
    fprintf(app_out(),
            "language model  %s, %zu bytes: %u layers, width %u, %u heads of %u (%u for keys "
            "and values),\n                feed-forward %u, vocabulary %u, trained for %u "
            "tokens, chat template %s\n",
            i->architecture, w->llm_bytes, i->n_layer, i->n_embd, i->n_head, i->head_dim,
            i->n_head_kv, i->n_ff, i->n_vocab, i->trained_context_tokens, i->chat_template);
    if (i->chat_note[0])
        fprintf(app_out(), "                (the template: %s)\n", i->chat_note);
}

void app_print_info(const bluelm_info *i, const bluelm_weights *w)
{
    if (w->llm) app_print_language(i, w);
    if (w->mmproj)
        fprintf(app_out(),
                "vision          %zu bytes: %u layers, width %u, %u heads, feed-forward %u, "
                "tiles of %u px,\n                patches of %u px, projector %s, %u tokens a "
                "tile, tiling %s\n",
                w->mmproj_bytes, i->vision_layers, i->vision_width, i->vision_heads,
                i->vision_ffn, i->tile_px, i->patch_px, i->projector, i->tokens_per_tile,
                i->tile_rule);
}

void app_print_info_json(const bluelm_info *i, const bluelm_weights *w)
{
    const app_field fields[] = {
        {"llm_bytes", w->llm_bytes},
        {"mmproj_bytes", w->mmproj_bytes},
        {"n_vocab", i->n_vocab},
        {"n_embd", i->n_embd},
        {"n_layer", i->n_layer},
        {"image_token_floats", i->image_token_floats},
        {"n_head", i->n_head},
        {"n_head_kv", i->n_head_kv},
        {"head_dim", i->head_dim},
        {"n_ff", i->n_ff},
        {"trained_context_tokens", i->trained_context_tokens},
        {"tile_px", i->tile_px},
        {"patch_px", i->patch_px},
        {"vision_width", i->vision_width},
        {"vision_layers", i->vision_layers},
        {"vision_heads", i->vision_heads},
        {"vision_ffn", i->vision_ffn},
        {"tokens_per_tile", i->tokens_per_tile},
    };
    fprintf(app_out(),
            "{\"architecture\":\"%s\",\"chat_template\":\"%s\",\"projector\":\"%s\","
            "\"tile_rule\":\"%s\",\"bos_token\":%" PRId32 ",\"eos_token\":%" PRId32
            ",\"end_of_turn_token\":%" PRId32 ",\"chat_note\":",
            i->architecture, i->chat_template, i->projector, i->tile_rule, i->bos_token,
            i->eos_token, i->end_of_turn_token);
    app_print_json_string(i->chat_note, strlen(i->chat_note));
    fputs(",", app_out());
    app_print_fields(fields, APP_COUNT(fields));
    fputs("}", app_out());
}
