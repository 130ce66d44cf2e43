#include "input.h"

/* How many tokens the end of a text may come apart into when more text joins on: those of
 * a long word. Text that is refused for less is only counted again. */
#define BLM_JOIN_TOKENS 64u

BLM_PRIVATE blm_input blm_input_begin(blm_input *in)
{
    return *in;
}

BLM_PRIVATE int blm_input_end(blm_input *in, const blm_input *before, int code)
{
    if (code < 0) {
        *in = *before;
        return code;
    }
    if (in->text_from)
        memmove(in->text, in->text + in->text_from, in->text_bytes - in->text_from);
    in->text_bytes -= in->text_from;
    in->content_from -= BLM_MIN(in->content_from, in->text_from);
    in->text_from = 0;
    return code;
}

BLM_PRIVATE int blm_input_text(blm_input *in, const char *text, size_t bytes, bluelm_error *err)
{
    if (bytes > in->text_capacity - in->text_bytes)
        return blm_fail(err, BLUELM_E_BUDGET, "text", blm_sum_u64(in->text_bytes, bytes),
                        in->text_capacity, 0);
    if (bytes) memcpy(in->text + in->text_bytes, text, bytes);
    in->text_bytes += (uint32_t)bytes;
    return BLUELM_OK;
}

BLM_PRIVATE void blm_input_cut(blm_input *in, uint32_t text_bytes)
{
    in->text_bytes = text_bytes;
    in->counted_bytes = 0;
}

BLM_PRIVATE int blm_input_markup(blm_input *in, const char *text, size_t bytes,
                                 bluelm_error *err)
{
    while (bytes) {
        size_t at = bytes, length = 0;
        int32_t token = -1;
        int found = blm_vocab_find_special(in->vocab, text, bytes, &at, &length, &token);
        int code = blm_input_text(in, text, found ? at : bytes, err);
        if (code < 0 || !found) return code;
        if ((code = blm_input_tokens(in, token, 1, err)) < 0) return code;
        text += at + length;
        bytes -= at + length;
    }
    return BLUELM_OK;
}

static int blm_input_no_room(const blm_input *in, uint64_t added, bluelm_error *err)
{
    return blm_fail(err, BLUELM_E_CONTEXT, "context", in->count + added, in->capacity, 0);
}

BLM_PRIVATE int blm_input_tokens(blm_input *in, int32_t token, uint32_t count,
                                 bluelm_error *err)
{
    int code = blm_input_flush(in, err);
    if (code < 0) return code;
    if (count > in->capacity - in->count) return blm_input_no_room(in, count, err);
    for (uint32_t i = 0; i < count; i++)
        in->tokens[in->count++] = token;
    in->after_special = 1;
    return BLUELM_OK;
}

BLM_PRIVATE int blm_input_image(blm_input *in, uint32_t first, uint32_t count,
                                bluelm_error *err)
{
    int code = blm_input_tokens(in, 0, count, err);
    for (uint32_t i = 0; i < count && code >= 0; i++)
        in->tokens[in->count - count + i] = -1 - (int32_t)(first + i);
    return code;
}

static int64_t blm_input_tokenize(const blm_input *in, bluelm_error *err)
{
    return blm_tokenize(in->vocab, in->text + in->text_from, in->text_bytes - in->text_from,
                        in->after_special, in->tokens + in->count, in->capacity - in->count,
                        err);
}

BLM_PRIVATE int64_t blm_input_ids(const blm_input *in, int32_t *out, size_t max_out)
{
    size_t ready = BLM_MIN(in->count, max_out);
    if (ready) memcpy(out, in->tokens, ready * sizeof *out);
    int64_t waiting =
        blm_tokenize(in->vocab, in->text + in->text_from, in->text_bytes - in->text_from,
                     in->after_special, out ? out + ready : NULL, max_out - ready, NULL);
    return waiting < 0 ? waiting : (int64_t)in->count + waiting;
}

/* Tokens that the waiting text comes to at most. Each byte makes one, and one more where a
 * user-defined token lets a space begin behind it. What was counted before may come out
 * otherwise where more text joins on: about the join, in any vocabulary that is no trap;
 * should it be more, the call that turns the text into tokens finds the context full. */
static uint64_t blm_input_bound(const blm_input *in)
{
    uint32_t bytes = in->text_bytes - in->text_from;
    if (in->counted_bytes == 0 || in->counted_bytes > bytes) return 2 * (uint64_t)bytes + 1;
    return (uint64_t)in->counted_tokens + BLM_JOIN_TOKENS +
           2 * (uint64_t)(bytes - in->counted_bytes);
}

BLM_PRIVATE int blm_input_check_room(blm_input *in, bluelm_error *err)
{
    uint32_t room = in->capacity - in->count;
    if (blm_input_bound(in) <= room) return BLUELM_OK;
    int64_t count = blm_input_tokenize(in, err);
    if (count < 0) return (int)count;
    if (count > (int64_t)room) return blm_input_no_room(in, (uint64_t)count, err);
    in->counted_bytes = in->text_bytes - in->text_from;
    in->counted_tokens = (uint32_t)count;
    return BLUELM_OK;
}

BLM_PRIVATE int blm_input_flush(blm_input *in, bluelm_error *err)
{
    if (in->text_from == in->text_bytes) return BLUELM_OK;
    int64_t count = blm_input_tokenize(in, err);
    if (count < 0) return (int)count;
    if (count > (int64_t)(in->capacity - in->count))
        return blm_input_no_room(in, (uint64_t)count, err);
    in->count += (uint32_t)count;
    in->text_from = in->content_from = in->text_bytes;
    in->counted_bytes = 0;
    in->after_special = 0;
    return BLUELM_OK;
}
