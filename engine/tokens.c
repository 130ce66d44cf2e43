/* Tokens for the caller: of a text, of the conversation, and the text of one. */
#include "engine.h"

BLM_PRIVATE int blm_fail_token(bluelm_error *err, int32_t token, uint32_t n_tokens)
{
    if (token < 0) return blm_fail_negative(err, "token id", token);
    return blm_fail(err, BLUELM_E_ARG, "token id", n_tokens - 1, (uint32_t)token, 0);
}

static int blm_check_vocab(const bluelm *e, bluelm_error *err)
{
    if (e->has_vocab) return BLUELM_OK;
    return blm_fail(err, BLUELM_E_STATE, "llm: no vocabulary", 1, 0, 0);
}

int64_t bluelm_tokenize(bluelm *engine, const char *utf8, size_t bytes, int special,
                        int32_t *tokens, size_t max_tokens, bluelm_error *err)
{
    int64_t total = 0;
    int after_special = 1, code = blm_check_vocab(engine, err);
    if (code < 0) return code;
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

int64_t bluelm_detokenize(bluelm *engine, int32_t token, char *text, size_t bytes,
                          bluelm_error *err)
{
    int code = blm_check_vocab(engine, err);
    if (code < 0) return code;
    if (bytes && !text) return blm_fail_null(err, "text");
    int64_t length = blm_token_text(&engine->vocab, token, text, bytes);
    if (length < 0) return blm_fail_token(err, token, engine->vocab.n_tokens);
    if (length) return length;
    const blm_string name = blm_pieces_text(&engine->vocab.pieces, (uint32_t)token);
    if (bytes) memcpy(text, name.text, name.bytes < bytes ? (size_t)name.bytes : bytes);
    return (int64_t)name.bytes;
}

const float *bluelm_logits(const bluelm *engine, uint32_t *n_vocab)
{
    if (n_vocab) *n_vocab = engine->language.n_vocab;
    int last = engine->logits_ready && engine->read_tokens == engine->input.count;
    return last ? engine->logits : NULL;
}
