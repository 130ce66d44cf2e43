#include "vocab_aid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vocab_write_pieces(tiny_writer *w, const vocab_piece *pieces, size_t count, int types,
                        int scores)
{
    size_t i;
    tiny_key_array(w, "tokenizer.ggml.tokens", BLM_GGUF_STRING, count);
    for (i = 0; i < count; i++)
        tiny_put_string(&w->keys, pieces[i].text);
    if (types) tiny_key_array(w, "tokenizer.ggml.token_type", BLM_GGUF_I32, count);
    for (i = 0; types && i < count; i++)
        tiny_put_u32(&w->keys, pieces[i].type);
    if (scores) tiny_key_array(w, "tokenizer.ggml.scores", BLM_GGUF_F32, count);
    for (i = 0; scores && i < count; i++)
        tiny_put_f32(&w->keys, pieces[i].score);
}

void vocab_write_merges(tiny_writer *w, const char *const *merges, size_t count)
{
    size_t i;
    tiny_key_array(w, "tokenizer.ggml.merges", BLM_GGUF_STRING, count);
    for (i = 0; i < count; i++)
        tiny_put_string(&w->keys, merges[i]);
}

void vocab_start(tiny_writer *w, const char *model)
{
    tiny_start(w, 1);
    tiny_key_string(w, "tokenizer.ggml.model", model);
}

int vocab_open_file(vocab_subject *s, tiny_file file, uint32_t text_bytes)
{
    int code;
    memset(s, 0, sizeof *s);
    s->file = file;
    tiny_must(blm_gguf_open(&s->gguf, file.data, file.bytes, "llm", &s->err) >= 0, "a file");
    blm_arena_start(&s->arena, NULL, UINT64_MAX);
    code = blm_vocab_init(&s->v, &s->gguf, &s->arena, text_bytes, &s->err);
    if (code != BLUELM_OK) return code;
    s->need = s->arena.used + BLM_ARENA_ALIGN - 1;
    s->block = malloc((size_t)s->need);
    blm_arena_start(&s->arena, s->block, s->need);
    code = blm_vocab_init(&s->v, &s->gguf, &s->arena, text_bytes, &s->err);
    if (code == BLUELM_OK) tiny_must(blm_arena_ok(&s->arena), "an arena as planned");
    return code;
}

int vocab_open(vocab_subject *s, tiny_writer *w, uint32_t text_bytes)
{
    return vocab_open_file(s, tiny_finish(w), text_bytes);
}

void vocab_close(vocab_subject *s)
{
    if (s->block != NULL)
        blm_arena_start(&s->arena, s->block, s->need); /* takes the poison off */
    free(s->block);
    tiny_free(&s->file);
}

const char *vocab_ids(vocab_subject *s, const char *text, size_t bytes, int after_special)
{
    static int32_t ids[VOCAB_MAX_IDS];
    static char line[8 * VOCAB_MAX_IDS];
    size_t used = 0;
    int64_t count, i;
    count = blm_tokenize(&s->v, text, bytes, after_special, ids, VOCAB_MAX_IDS, &s->err);
    tiny_must(count >= 0 && count <= VOCAB_MAX_IDS, "room for the ids");
    line[0] = 0;
    for (i = 0; i < count; i++)
        used += (size_t)sprintf(line + used, i > 0 ? " %d" : "%d", (int)ids[i]);
    return line;
}

void vocab_expect(vocab_subject *s, const char *text, int after_special, const char *want)
{
    const char *got = vocab_ids(s, text, strlen(text), after_special);
    if (strcmp(got, want) == 0) return;
    fprintf(stderr, "%s: %s, not %s\n", text, got, want);
    abort();
}

size_t vocab_text(vocab_subject *s, const int32_t *ids, int64_t count, char *out, size_t room)
{
    size_t used = 0;
    int64_t i;
    for (i = 0; i < count; i++) {
        int64_t n = blm_token_text(&s->v, ids[i], out + used, room - used);
        tiny_must(n >= 0 && (uint64_t)n <= room - used, "room for the text");
        used += (size_t)n;
    }
    return used;
}

size_t vocab_spm_pieces(vocab_piece *out, const vocab_piece *extra, size_t count)
{
    static char names[256][8];
    static const vocab_piece head[] = {{"<unk>", 0, BLM_TOKEN_UNKNOWN},
                                       {"<s>", 0, BLM_TOKEN_CONTROL},
                                       {"</s>", 0, BLM_TOKEN_CONTROL}};
    size_t i;
    memcpy(out, head, sizeof head);
    for (i = 0; i < 256; i++) {
        sprintf(names[i], "<0x%02X>", (unsigned)i);
        out[3 + i].text = names[i];
        out[3 + i].score = 0;
        out[3 + i].type = BLM_TOKEN_BYTE;
    }
    if (count > 0) memcpy(out + SPM_FIRST, extra, count * sizeof *extra);
    return SPM_FIRST + count;
}

void vocab_open_spm(vocab_subject *s, const vocab_piece *extra, size_t count,
                    uint32_t text_bytes)
{
    static vocab_piece pieces[SPM_FIRST + 600];
    tiny_writer w;
    count = vocab_spm_pieces(pieces, extra, count);
    vocab_start(&w, "llama");
    vocab_write_pieces(&w, pieces, count, 1, 1);
    tiny_must(vocab_open(s, &w, text_bytes) == BLUELM_OK, "a vocabulary");
}

size_t vocab_bpe_pieces(vocab_piece *out, const vocab_piece *extra, size_t count)
{
    static char names[256][5];
    size_t i;
    for (i = 0; i < 256; i++) {
        memset(names[i], 0, sizeof names[i]);
        blm_utf8_encode(blm_char_of_byte((uint8_t)i), names[i]);
        out[i].text = names[i];
        out[i].score = 0;
        out[i].type = BLM_TOKEN_NORMAL;
    }
    if (count > 0) memcpy(out + BPE_FIRST, extra, count * sizeof *extra);
    return BPE_FIRST + count;
}

void vocab_open_bpe(vocab_subject *s, const char *pre, const vocab_piece *extra, size_t count,
                    const char *const *merges, size_t merge_count)
{
    static vocab_piece pieces[BPE_FIRST + 600];
    tiny_writer w;
    count = vocab_bpe_pieces(pieces, extra, count);
    vocab_start(&w, "gpt2");
    if (pre != NULL) tiny_key_string(&w, "tokenizer.ggml.pre", pre);
    vocab_write_pieces(&w, pieces, count, 1, NO_SCORES);
    vocab_write_merges(&w, merges, merge_count);
    tiny_must(vocab_open(s, &w, 4096) == BLUELM_OK, "a vocabulary");
}
