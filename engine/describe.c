/* What a pair of files holds, and what the engine did. */
#include "engine.h"

#define BLM_TEXT_OF(x)    #x
#define BLM_VERSION(a, b) BLM_TEXT_OF(a) "." BLM_TEXT_OF(b) ".0"

const char *bluelm_version(void)
{
    return BLM_VERSION(BLUELM_VERSION_MAJOR, BLUELM_VERSION_MINOR);
}

int bluelm_describe(const bluelm_weights *weights, bluelm_info *info, bluelm_error *err)
{
    blm_layout l;
    blm_arena counting;
    if (!weights || !info) return blm_fail_null(err, weights ? "info" : "weights");
    blm_arena_start(&counting, NULL, UINT64_MAX);
    int code = blm_engine_layout(&l, &counting, weights, NULL, NULL, err);
    const blm_language *m = &l.language;
    const blm_vision *v = &l.vision;
    *info = (bluelm_info){
        .architecture = l.has_language ? m->architecture : "none",
        .chat_template = l.chat ? l.chat->name : "none",
        .chat_note = l.chat && l.chat->note ? l.chat->note : "",
        .n_vocab = l.has_language ? m->n_vocab : l.n_tokens,
        .n_embd = m->n_embd,
        .n_layer = m->n_layer,
        .n_head = m->n_head,
        .n_head_kv = m->n_head_kv,
        .head_dim = m->head_dim,
        .n_ff = m->n_ff,
        .trained_context_tokens = m->trained_context_tokens,
        .image_token_floats = m->n_embd * (1 + m->n_deepstack),
        .bos_token = l.bos,
        .eos_token = l.eos,
        .end_of_turn_token = l.eot >= 0 ? l.eot : l.eos,
        .projector = l.has_vision ? v->projector.name : "none",
        .tile_rule = l.has_vision ? blm_tile_rule_name(l.tile_rule.rule) : "none",
        .tile_px = v->tile_px,
        .patch_px = v->patch_px,
        .vision_width = v->width,
        .vision_layers = v->n_layer,
        .vision_heads = v->n_head,
        .vision_ffn = v->ffn,
        .tokens_per_tile = v->projector.tokens,
    };
    return code;
}

int bluelm_tile_plan(const bluelm_weights *weights, const bluelm_config *config,
                     uint32_t width_px, uint32_t height_px, bluelm_tile_grid *grid,
                     bluelm_error *err)
{
    blm_layout l;
    blm_arena counting;
    if (!weights || !grid) return blm_fail_null(err, weights ? "grid" : "weights");
    blm_arena_start(&counting, NULL, UINT64_MAX);
    int code = blm_engine_layout(&l, &counting, weights, config, NULL, err);
    if (code < 0 && code != BLUELM_E_BUDGET) return code;
    if (!l.has_vision) return blm_fail(err, BLUELM_E_STATE, "pictures need an mmproj", 1, 0, 0);
    uint32_t cap =
        blm_token_cap(l.config.context_tokens, l.vision.projector.tokens, l.image_rows, 0);
    return blm_tile_choose(&l.tile_rule, width_px, height_px, cap, grid, err);
}

const float *bluelm_logits(const bluelm *engine, uint32_t *n_vocab)
{
    *n_vocab = engine->language.n_vocab;
    int last = engine->logits_ready && engine->read_tokens == engine->input.count;
    return last ? engine->logits : NULL;
}

BLM_PRIVATE int blm_fail_token(bluelm_error *err, int32_t token, uint32_t n_tokens)
{
    if (token < 0) return blm_fail_negative(err, "token id", token);
    return blm_fail(err, BLUELM_E_ARG, "token id", n_tokens - 1, (uint32_t)token, 0);
}

int64_t bluelm_detokenize(bluelm *engine, int32_t token, char *text, size_t bytes,
                          bluelm_error *err)
{
    int64_t length = blm_token_text(&engine->vocab, token, text, bytes);
    if (length < 0) blm_fail_token(err, token, engine->vocab.n_tokens);
    if (length) return length;
    const blm_string name = blm_pieces_text(&engine->vocab.pieces, (uint32_t)token);
    if (bytes) memcpy(text, name.text, name.bytes < bytes ? (size_t)name.bytes : bytes);
    return (int64_t)name.bytes;
}

void bluelm_get_stats(const bluelm *engine, bluelm_stats *stats)
{
    *stats = engine->stats;
    stats->context_used_tokens = engine->input.count;
    stats->context_tokens = engine->input.capacity;
    stats->kernels = engine->compute.kernels.name;
}

int64_t bluelm_tokenize(bluelm *engine, const char *utf8, size_t bytes, int special,
                        int32_t *tokens, size_t max_tokens, bluelm_error *err)
{
    int64_t total = 0;
    int after_special = 1;
    if (bytes && !utf8) return blm_fail_null(err, "text");
    if (max_tokens && !tokens) return blm_fail_null(err, "tokens");
    for (;;) {
        size_t at = bytes, length = 0, room = (size_t)BLM_MIN((uint64_t)total, max_tokens);
        int32_t token = -1;
        int found = special && bytes &&
                    blm_vocab_find_special(&engine->vocab, utf8, bytes, &at, &length, &token);
        int64_t count = blm_tokenize(&engine->vocab, utf8, found ? at : bytes, after_special,
                                     tokens ? tokens + room : NULL, max_tokens - room, err);
        if (count < 0) return count;
        total += count;
        if (!found) return total;
        if ((uint64_t)total < max_tokens) tokens[total] = token;
        total++;
        after_special = 1;
        utf8 += at + length;
        bytes -= at + length;
    }
}
