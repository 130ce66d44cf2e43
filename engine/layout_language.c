/* The language model's part of the layout. */
#include "engine.h"

/* ---- File -------------------------------------------------------------------------------- */

/* Tells the port, once: while the engine is built. */
static void blm_layout_warn(const blm_layout *l, int code, const char *subject, uint64_t need,
                            uint64_t have)
{
    bluelm_error warning;
    if (!l->e || !l->port || !l->port->log) return;
    blm_fail(&warning, code, subject, need, have, 0);
    l->port->log(l->port->user, &warning);
}

/* What runs, but may not be what was meant. */
BLM_COLD static void blm_layout_doubts(const blm_layout *l, const blm_gguf *g)
{
    const uint32_t trained = l->language.trained_context_tokens;
    blm_string text;
    if (l->has_language && l->config.context_tokens > trained)
        blm_layout_warn(l, BLUELM_E_ARG, "context_tokens beyond the model's training",
                        trained, l->config.context_tokens);
    if (!l->chat && !l->config.chat_template &&
        blm_gguf_string(g, "tokenizer.chat_template", &text, NULL) > 0)
        blm_layout_warn(l, BLUELM_E_UNSUPPORTED, "llm: tokenizer.chat_template", 0, 0);
}

/* The network, and the chat template. */
static int blm_layout_read_language(blm_layout *l, const blm_gguf *g, bluelm_error *err)
{
    int code;
    l->has_language = g->tensor_count != 0;
    if ((l->has_language && (code = blm_language_open(&l->language, g, l->arena, err)) < 0) ||
        (code = blm_config_resolve_context(&l->config, &l->language, err)) < 0 ||
        (code = blm_chat_read(g, l->config.chat_template, &l->chat, err)) < 0)
        return code;
    l->row_values = l->language.n_embd * (1 + l->language.n_deepstack);
    code = blm_layout_own_chat(l, err);
    if (code >= 0) blm_layout_doubts(l, g);
    return code;
}

/* Not within its caller: a vocabulary takes room on the stack. */
BLM_COLD static int blm_layout_vocab(blm_layout *l, const blm_gguf *llm, bluelm_error *err)
{
    blm_vocab counted, *v = l->e ? &l->e->vocab : &counted;
    int code = blm_vocab_init(v, llm, l->arena, l->config.text_bytes + BLM_MARKUP_BYTES, err);
    l->n_tokens = v->n_tokens;
    l->bos = v->bos;
    l->eos = v->eos;
    l->eot = v->eot;
    if (code < 0) return code;
    if (l->has_language && l->n_tokens > l->language.n_vocab)
        return blm_fail(err, BLUELM_E_FORMAT, "llm: tokenizer.ggml.tokens beyond token_embd",
                        l->language.n_vocab, l->n_tokens, 0);
    if (l->e) blm_guard_turns(v, l->chat);
    return BLUELM_OK;
}

BLM_PRIVATE BLM_COLD int blm_layout_llm(blm_layout *l, uint64_t *mark, bluelm_error *err)
{
    const bluelm_weights *weights = l->weights;
    blm_gguf g;
    int code;
    l->bos = l->eos = l->eot = -1;
    if (!weights->llm && weights->mmproj) /* pictures alone are encoded */
        return blm_config_resolve_context(&l->config, &l->language, err);
    if (!weights->llm) return blm_fail_null(err, "weights.llm");
    l->has_vocab = 1;
    if ((code = blm_gguf_open(&g, weights->llm, weights->llm_bytes, "llm", err)) < 0 ||
        (code = blm_layout_read_language(l, &g, err)) < 0)
        return code;
    l->memory.weights_view_bytes = blm_layout_part(l->arena, mark);
    code = blm_layout_vocab(l, &g, err);
    l->memory.tokenizer_bytes = blm_layout_part(l->arena, mark);
    return code;
}

/* ---- Pieces ------------------------------------------------------------------------------ */

BLM_PRIVATE BLM_COLD void blm_layout_state(blm_layout *l, uint64_t *snapshot_bytes)
{
    blm_state counted, *state = l->e ? &l->e->state : &counted;
    const blm_language *m = l->e ? &l->e->language : &l->language;
    *snapshot_bytes = 0;
    if (!l->has_language) return;
    if (l->e) l->e->language = l->language; /* which the state keeps a pointer to */
    blm_state_take(state, l->arena, m, l->config.kv_type, l->config.context_tokens,
                   l->config.chunk_tokens);
    if (!blm_state_is_plain(state)) *snapshot_bytes = blm_state_snapshot_bytes(state);
}

BLM_PRIVATE BLM_COLD void blm_layout_language(blm_layout *l, const blm_compute *c)
{
    blm_language_work work;
    blm_language_take(l->e ? &l->e->language_work : &work, l->arena, &l->language, c,
                      l->config.chunk_tokens, l->config.context_tokens);
}
