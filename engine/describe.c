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
    if (!weights || !info) return blm_fail_null(err, weights ? "info" : "weights");
    int code = blm_engine_count(&l, weights, NULL, err);
    const blm_language *m = &l.language;
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
        .projector = "none",
        .tile_rule = "none",
    };
    blm_layout_describe_vision(&l, info);
    return code;
}

void bluelm_get_stats(const bluelm *engine, bluelm_stats *stats)
{
    *stats = engine->stats;
    stats->context_used_tokens = engine->input.count;
    stats->context_tokens = engine->input.capacity;
    stats->kernels = engine->compute.kernels.name;
}
