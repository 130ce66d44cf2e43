#include "tokenizer.h"

/* ---- Special tokens in text ------------------------------------------------------ */

static int blm_bit(const uint8_t *bits, uint32_t i)
{
    return bits[i / 8] >> (i % 8) & 1;
}

static void blm_set_bit(uint8_t *bits, uint32_t i)
{
    bits[i / 8] = (uint8_t)(bits[i / 8] | 1u << (i % 8));
}

static void blm_specials_add(blm_specials *set, blm_string piece)
{
    if (piece.bytes == 0 || piece.bytes > BLM_SPECIAL_MAX) return;
    set->longest = BLM_MAX(set->longest, (uint32_t)piece.bytes);
    blm_set_bit(set->first, (uint8_t)piece.text[0]);
    blm_set_bit(set->lengths, (uint32_t)piece.bytes);
}

/* Notes all tokens of the set's types. */
static void blm_specials_fill(blm_specials *set, const blm_pieces *p)
{
    for (uint32_t token = 0; token < p->count; token++)
        if (set->type_mask & BLM_TOKEN_MASK(blm_pieces_type(p, token)))
            blm_specials_add(set, blm_pieces_text(p, token));
}

/* Phi-3's tokenizer strips what follows its special tokens, but for three of them. */
static int blm_strips_right(const blm_vocab *v, int32_t token)
{
    blm_string piece = blm_pieces_text(&v->pieces, (uint32_t)token);
    return v->strip_right && !blm_string_is(piece, "<unk>") && !blm_string_is(piece, "<s>") &&
           !blm_string_is(piece, "<|endoftext|>");
}

static int blm_is_blank(char c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

/* The first special of a set in a text, the longest where several begin. */
static int blm_specials_find(const blm_vocab *v, const blm_specials *set, const char *text,
                             size_t bytes, size_t *at, size_t *length, int32_t *token)
{
    for (size_t i = 0; set->longest > 0 && i < bytes; i++) {
        if (!blm_bit(set->first, (uint8_t)text[i])) continue;
        if (!blm_pieces_longest(&v->pieces, text + i, bytes - i, set->lengths, set->longest,
                                set->type_mask, length, token))
            continue;
        *at = i;
        if (blm_strips_right(v, *token))
            while (i + *length < bytes && blm_is_blank(text[i + *length]))
                ++*length;
        return 1;
    }
    return 0;
}

BLM_PRIVATE int blm_vocab_find_special(const blm_vocab *v, const char *text, size_t bytes,
                                       size_t *at, size_t *length, int32_t *token)
{
    return blm_specials_find(v, &v->markup, text, bytes, at, length, token);
}

/* ---- Keys ------------------------------------------------------------------------ */

/* Reads an optional token id. One beyond the vocabulary is BLUELM_E_FORMAT. */
static int blm_vocab_id(const blm_vocab *v, const blm_gguf *g, const char *key, int32_t *id,
                        bluelm_error *err)
{
    uint32_t value;
    int found = blm_gguf_u32(g, key, &value, err);
    if (found <= 0) return found;
    if (value >= v->n_tokens)
        return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "key", key, v->n_tokens - 1, value, 0);
    *id = (int32_t)value;
    return BLUELM_OK;
}

/* SentencePiece files may leave out the ids that all of them share: 0 unknown, 1 bos,
 * 2 eos. They hold where the tokens there are of the right type. */
static void blm_vocab_default_ids(blm_vocab *v)
{
    const blm_pieces *p = &v->pieces;
    if (v->split != NULL || p->types == NULL || v->n_tokens < 3) return;
    if (v->unknown < 0 && blm_pieces_file_type(p, 0) == BLM_TOKEN_UNKNOWN) v->unknown = 0;
    if (v->bos < 0 && blm_pieces_file_type(p, 1) == BLM_TOKEN_CONTROL) v->bos = 1;
    if (v->eos < 0 && blm_pieces_file_type(p, 2) == BLM_TOKEN_CONTROL) v->eos = 2;
}

static int blm_vocab_ids(blm_vocab *v, const blm_gguf *g, bluelm_error *err)
{
    int code = BLUELM_OK;
    v->bos = v->eos = v->eot = v->eom = v->unknown = v->padding = -1;
    const struct {
        const char *key;
        int32_t *id;
    } keys[] = {
        {"tokenizer.ggml.bos_token_id", &v->bos},
        {"tokenizer.ggml.eos_token_id", &v->eos},
        {"tokenizer.ggml.eot_token_id", &v->eot},
        {"tokenizer.ggml.eom_token_id", &v->eom},
        {"tokenizer.ggml.unknown_token_id", &v->unknown},
    };
    for (size_t i = 0; i < BLM_COUNT_OF(keys) && code >= 0; i++)
        code = blm_vocab_id(v, g, keys[i].key, keys[i].id, err);
    if (code < 0) return code;
    /* Nothing uses the padding token, and files exist that say 2^32 - 1 for none. */
    uint32_t padding;
    code = blm_gguf_u32(g, "tokenizer.ggml.padding_token_id", &padding, err);
    if (code > 0 && padding < v->n_tokens) v->padding = (int32_t)padding;
    if (code < 0) return code;
    blm_vocab_default_ids(v);
    return BLUELM_OK;
}

static int blm_vocab_flags(blm_vocab *v, const blm_gguf *g, bluelm_error *err)
{
    v->add_bos = v->split == NULL || v->split->add_bos;
    v->add_eos = 0;
    v->add_space_prefix = v->split == NULL;
    int code = blm_gguf_bool(g, "tokenizer.ggml.add_bos_token", &v->add_bos, err);
    if (code >= 0) code = blm_gguf_bool(g, "tokenizer.ggml.add_eos_token", &v->add_eos, err);
    if (code >= 0)
        code = blm_gguf_bool(g, "tokenizer.ggml.add_space_prefix", &v->add_space_prefix, err);
    if (code < 0) return code;
    /* Gemma 4 needs its bos, and there are files whose key denies it. */
    if (v->split != NULL && v->marked) v->add_bos = 1;
    /* Byte-level BPE knows no prefix, whatever the key says. */
    if (v->split != NULL) v->add_space_prefix = 0;
    if (v->bos < 0) v->add_bos = 0;
    if (v->eos < 0) v->add_eos = 0;
    return BLUELM_OK;
}

/* Fails naming a value of a key, cut to what the subject can hold. */
static int blm_vocab_refuse(const blm_gguf *g, const char *what, blm_string value,
                            bluelm_error *err)
{
    char name[48];
    size_t length = (size_t)BLM_MIN(value.bytes, sizeof name - 1);
    memcpy(name, value.text, length);
    name[length] = 0;
    return blm_gguf_fail(g, err, BLUELM_E_UNSUPPORTED, what, name, 0, 0, 0);
}

/* Which kind of tokenizer, and its pre-splitting rule. */
static int blm_vocab_kind(blm_vocab *v, const blm_gguf *g, bluelm_error *err)
{
    blm_string model, pre = {"default", 7};
    int found = blm_gguf_string(g, "tokenizer.ggml.model", &model, err);
    if (found < 0) return found;
    if (found == 0)
        return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "key missing", "tokenizer.ggml.model", 1,
                             0, 0);
    v->split = blm_string_is(model, "gemma4") ? blm_presplit_find("gemma4", 6) : NULL;
    v->marked = !v->split || blm_presplit_marked(v->split);
    if (v->split || blm_string_is(model, "llama")) return BLUELM_OK;
    if (!blm_string_is(model, "gpt2")) return blm_vocab_refuse(g, "tokenizer", model, err);
    found = blm_gguf_string(g, "tokenizer.ggml.pre", &pre, err);
    if (found < 0) return found;
    v->split = blm_presplit_find(pre.text, pre.bytes);
    if (!v->split) return blm_vocab_refuse(g, "tokenizer.ggml.pre", pre, err);
    v->marked = blm_presplit_marked(v->split);
    return BLUELM_OK;
}

static char blm_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

/* Phi-3 files are known by their general.name alone. */
static int blm_vocab_is_phi3(const blm_gguf *g)
{
    blm_string name;
    if (blm_gguf_string(g, "general.name", &name, NULL) <= 0) return 0;
    for (uint64_t i = 0; i + 4 <= name.bytes; i++) {
        char folded[5];
        size_t length = (size_t)BLM_MIN(name.bytes - i, 5);
        for (size_t j = 0; j < length; j++)
            folded[j] = blm_lower(name.text[i + j]);
        blm_string s = {folded, length};
        if (blm_string_begins(s, "phi3") || blm_string_begins(s, "phi-3")) return 1;
    }
    return 0;
}

/* ---- Control tokens, whatever their types say ------------------------------------ */

/* Control tokens that end a turn. The first of BLM_EOT_PIECES that a vocabulary has stands
 * for a missing eot_token_id. Source: what llama.cpp counts as end of generation. */
#define BLM_EOT_PIECES 11
static const char *const blm_end_pieces[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<turn|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "<end_of_utterance>",
    "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>",
    "<|eom_id|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<|tool_response>",
    "<|endofassistant|>", /* dots.ocr's */
    "[EOT]",
    "[EOS]",
    "<eos>",
    "</s>",
};

static int32_t blm_vocab_piece(const blm_vocab *v, const char *text, size_t bytes,
                               uint32_t type_mask)
{
    blm_run run = {text, 0, (uint32_t)bytes, BLM_CODE_RAW};
    if (bytes > v->pieces.longest) return -1;
    return blm_pieces_find(&v->pieces, &run, 0, (uint32_t)bytes, type_mask);
}

static void blm_vocab_guard_token(blm_vocab *v, int32_t token)
{
    if (token < 0) return;
    blm_pieces_guard(&v->pieces, (uint32_t)token);
    blm_specials_add(&v->markup, blm_pieces_text(&v->pieces, (uint32_t)token));
}

/* The tokens that ids and well-known names tell. A file that has types and calls such a
 * name normal text means it, unless its template uses it. */
static void blm_vocab_guard_known(blm_vocab *v)
{
    uint32_t types = BLM_TOKEN_MASK(BLM_TOKEN_USER);
    if (v->pieces.types == NULL) {
        types |= BLM_TOKEN_MASK(BLM_TOKEN_NORMAL);
        blm_vocab_guard_token(v, blm_vocab_piece(v, "<s>", 3, types));
    }
    for (size_t i = 0; i < BLM_COUNT_OF(blm_end_pieces); i++)
        blm_vocab_guard_token(
            v, blm_vocab_piece(v, blm_end_pieces[i], blm_text_bytes(blm_end_pieces[i]), types));
    blm_vocab_guard_token(v, v->bos);
    blm_vocab_guard_token(v, v->eos);
    blm_vocab_guard_token(v, v->eot);
    blm_vocab_guard_token(v, v->eom);
}

/* The token that is a marker written out at the start of a text: in angle or square
 * brackets, perhaps with a colon behind. Returns its bytes, 0 if there is none. */
static size_t blm_vocab_marker(const blm_vocab *v, const char *text, size_t bytes,
                               int32_t *token)
{
    if (*text != '<' && *text != '[') return 0;
    for (bytes = BLM_MIN(bytes, BLM_SPECIAL_MAX); bytes > 2; bytes--) {
        char last = text[bytes - 1];
        if (last != '>' && last != ']' && last != ':') continue;
        *token = blm_vocab_piece(v, text, bytes, BLM_TOKEN_ANY);
        if (*token >= 0) return bytes;
    }
    return 0;
}

BLM_PRIVATE void blm_vocab_guard(blm_vocab *v, const char *text, size_t bytes)
{
    int32_t token;
    if (v->pieces.by_text.slots == NULL) return; /* counting */
    for (size_t i = 0, length; i < bytes; i += length) {
        length = blm_vocab_marker(v, text + i, bytes - i, &token);
        if (length)
            blm_vocab_guard_token(v, token);
        else
            length = 1;
    }
}

/* ---- The end of an answer -------------------------------------------------------- */

static void blm_vocab_find_eot(blm_vocab *v)
{
    for (size_t i = 0; i < BLM_EOT_PIECES && v->eot < 0; i++)
        v->eot = blm_vocab_piece(v, blm_end_pieces[i], blm_text_bytes(blm_end_pieces[i]),
                                 BLM_TOKEN_MASK(BLM_TOKEN_CONTROL));
}

BLM_PRIVATE int blm_vocab_is_end(const blm_vocab *v, int32_t token)
{
    if (token < 0 || (uint32_t)token >= v->n_tokens) return 0;
    if (token == v->eos || token == v->eot || token == v->eom) return 1;
    if (blm_pieces_type(&v->pieces, (uint32_t)token) != BLM_TOKEN_CONTROL) return 0;
    blm_string piece = blm_pieces_text(&v->pieces, (uint32_t)token);
    for (size_t i = 0; i < BLM_COUNT_OF(blm_end_pieces); i++)
        if (blm_string_is(piece, blm_end_pieces[i])) return 1;
    return 0;
}

/* ---- Building -------------------------------------------------------------------- */

BLM_PRIVATE int blm_vocab_init(blm_vocab *v, const blm_gguf *g, blm_arena *a,
                               uint32_t text_bytes, bluelm_error *err)
{
    memset(v, 0, sizeof *v);
    if (text_bytes == 0 || text_bytes >= BLM_MERGE_MAX)
        return blm_fail(err, BLUELM_E_ARG, "text_bytes", BLM_MERGE_MAX - 1, text_bytes, 0);
    v->text_bytes = text_bytes;
    int code = blm_vocab_kind(v, g, err);
    if (code == BLUELM_OK) code = blm_pieces_init(&v->pieces, g, a, v->split != NULL, err);
    if (code != BLUELM_OK) return code;
    v->n_tokens = v->pieces.count;
    code = blm_vocab_ids(v, g, err);
    if (code == BLUELM_OK) code = blm_vocab_flags(v, g, err);
    if (code != BLUELM_OK) return code;
    v->strip_right = blm_vocab_is_phi3(g);
    int room = blm_merger_init(&v->merger, a, text_bytes + 1);
    v->word_starts = blm_arena_take(a, text_bytes / 8 + 1, 1);
    if (!room || v->word_starts == NULL || v->pieces.by_text.slots == NULL) return BLUELM_OK;
    v->user.type_mask = BLM_TOKEN_MASK(BLM_TOKEN_USER);
    v->markup.type_mask = BLM_TOKEN_MASK(BLM_TOKEN_USER) | BLM_TOKEN_MASK(BLM_TOKEN_CONTROL) |
                          BLM_TOKEN_MASK(BLM_TOKEN_UNKNOWN);
    blm_vocab_guard_known(v);
    blm_specials_fill(&v->user, &v->pieces);
    blm_specials_fill(&v->markup, &v->pieces);
    blm_vocab_find_eot(v);
    return BLUELM_OK;
}

/* ---- Text to tokens -------------------------------------------------------------- */

/* Where tokens go: all are counted, those that fit are written. */
typedef struct blm_token_sink {
    int32_t *out;
    size_t max_out;
    int64_t count;
} blm_token_sink;

static void blm_emit(blm_token_sink *sink, int32_t token)
{
    if ((uint64_t)sink->count < sink->max_out) sink->out[sink->count] = token;
    sink->count++;
}

/* The token of one byte, -1 if the vocabulary has none. SentencePiece vocabularies write
 * it <0x0A>; where types are missing such tokens pass for normal. */
static int32_t blm_byte_token(const blm_vocab *v, uint8_t byte)
{
    static const char digits[] = "0123456789ABCDEF";
    char name[6] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
    blm_run run = {name, 0, 6, BLM_CODE_RAW};
    uint32_t type = v->pieces.types == NULL ? BLM_TOKEN_NORMAL : BLM_TOKEN_BYTE;
    return blm_pieces_find(&v->pieces, &run, 0, 6, BLM_TOKEN_MASK(type));
}

/* A symbol that is no token: its bytes, or the unknown token, once per symbol, where the
 * vocabulary lacks one of them. A prefix that is no token vanishes. */
static void blm_emit_bytes(const blm_vocab *v, const blm_run *run, uint32_t from, uint32_t to,
                           blm_token_sink *sink)
{
    int64_t count = sink->count;
    for (uint32_t i = BLM_MAX(from, run->prefix); i < to; i++) {
        int32_t token = -1;
        if (v->marked)
            token = blm_byte_token(v, (uint8_t)run->text[i - run->prefix]);
        else
            token =
                blm_pieces_find(&v->pieces, run, i, i + 1, BLM_TOKEN_MASK(BLM_TOKEN_NORMAL));
        if (token >= 0) {
            blm_emit(sink, token);
            continue;
        }
        if (v->unknown < 0) continue;
        sink->count = count; /* what was written there is overwritten or out of range */
        blm_emit(sink, v->unknown);
        return;
    }
}

/* Merges [from, to) of a run and gives out its tokens. */
static void blm_emit_merged(blm_vocab *v, const blm_run *run, uint32_t from, uint32_t to,
                            blm_token_sink *sink)
{
    uint32_t types = v->marked ? BLM_MERGED_TYPES : BLM_TOKEN_MASK(BLM_TOKEN_NORMAL);
    blm_merger_run(&v->merger, &v->pieces, run, from, to);
    uint32_t next;
    for (uint32_t at = from; at < to; at = next) {
        next = at + blm_merger_length(&v->merger, at);
        int32_t token = blm_pieces_find(&v->pieces, run, at, next, types);
        if (token >= 0)
            blm_emit(sink, token);
        else
            blm_emit_bytes(v, run, at, next, sink);
    }
}

static void blm_emit_words(blm_vocab *v, const blm_run *run, blm_token_sink *sink)
{
    blm_presplit_run(v->split, run->text, run->places, v->word_starts);
    uint32_t end;
    for (uint32_t at = 0; at < run->places; at = end) {
        end = blm_presplit_next(v->word_starts, at + 1, run->places);
        int32_t token = -1;
        if (v->split->ignore_merges || (v->marked && run->text[at] == '\n'))
            token = blm_pieces_find(&v->pieces, run, at, end, BLM_TOKEN_MASK(BLM_TOKEN_NORMAL));
        if (token >= 0)
            blm_emit(sink, token);
        else
            blm_emit_merged(v, run, at, end, sink);
    }
}

/* Text between user-defined tokens. */
static void blm_emit_text(blm_vocab *v, const char *text, size_t bytes, int after_special,
                          blm_token_sink *sink)
{
    if (bytes == 0) return;
    blm_run run = {text, 0, (uint32_t)bytes, v->marked ? BLM_CODE_MARK : BLM_CODE_BYTES};
    if (v->split != NULL) {
        blm_emit_words(v, &run, sink);
        return;
    }
    run.prefix = after_special && v->add_space_prefix;
    run.places += run.prefix;
    blm_emit_merged(v, &run, 0, run.places, sink);
}

BLM_PRIVATE int64_t blm_tokenize(blm_vocab *v, const char *text, size_t bytes,
                                 int after_special, int32_t *out, size_t max_out,
                                 bluelm_error *err)
{
    blm_token_sink sink = {out, max_out, 0};
    if (bytes > v->text_bytes)
        return blm_fail(err, BLUELM_E_BUDGET, "text", bytes, v->text_bytes, 0);
    while (bytes > 0) {
        size_t at = bytes, length = 0;
        int32_t token = -1;
        int found = blm_specials_find(v, &v->user, text, bytes, &at, &length, &token);
        blm_emit_text(v, text, at, after_special, &sink);
        if (found) blm_emit(&sink, token);
        after_special = found;
        text += at + length;
        bytes -= at + length;
    }
    return sink.count;
}

BLM_PRIVATE BLM_UNUSED int32_t blm_vocab_lookup(const blm_vocab *v, const char *text,
                                                size_t bytes)
{
    return blm_vocab_piece(v, text, bytes, BLM_TOKEN_ANY);
}

/* ---- Tokens to text -------------------------------------------------------------- */

/* Where text goes: all of it is counted, what fits is written. */
typedef struct blm_text_sink {
    char *out;
    size_t room;
    int64_t count;
} blm_text_sink;

static void blm_put(blm_text_sink *sink, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++, sink->count++)
        if ((uint64_t)sink->count < sink->room) sink->out[sink->count] = bytes[i];
}

static int32_t blm_hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = blm_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of a piece like <0x0A>, -1 if it is not written so. */
static int32_t blm_piece_byte(blm_string piece)
{
    if (piece.bytes != 6 || !blm_string_begins(piece, "<0x") || piece.text[5] != '>') return -1;
    int32_t high = blm_hex_digit(piece.text[3]), low = blm_hex_digit(piece.text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* SentencePiece: U+2581 is a space. */
static void blm_put_marked(blm_text_sink *sink, blm_string piece)
{
    for (uint64_t i = 0; i < piece.bytes; i++) {
        blm_string rest = {piece.text + i, piece.bytes - i};
        int mark = blm_string_begins(rest, "\xe2\x96\x81");
        blm_put(sink, mark ? " " : rest.text, 1);
        if (mark) i += 2;
    }
}

/* Byte-level BPE: each character is a byte; one that stands for none is left as it is. */
static void blm_put_byte_chars(blm_text_sink *sink, blm_string piece)
{
    size_t bytes = (size_t)piece.bytes, length;
    for (size_t i = 0; i < bytes; i += length) {
        uint32_t character;
        length = blm_utf8_decode(piece.text + i, bytes - i, &character);
        int32_t byte = blm_byte_of_char(character);
        char raw = (char)byte;
        if (byte >= 0)
            blm_put(sink, &raw, 1);
        else
            blm_put(sink, piece.text + i, length);
    }
}

BLM_PRIVATE int64_t blm_token_text(const blm_vocab *v, int32_t token, char *out, size_t bytes)
{
    blm_text_sink sink = {out, bytes, 0};
    if (token < 0 || (uint32_t)token >= v->n_tokens) return BLUELM_E_ARG;
    uint32_t type = blm_pieces_file_type(&v->pieces, (uint32_t)token);
    blm_string piece = blm_pieces_text(&v->pieces, (uint32_t)token);
    if (type == BLM_TOKEN_NORMAL) type = blm_pieces_type(&v->pieces, (uint32_t)token);
    int may_be_byte = type == BLM_TOKEN_BYTE || (v->pieces.types == NULL && v->marked);
    int32_t byte = may_be_byte ? blm_piece_byte(piece) : -1;
    char raw = (char)byte;
    if (type == BLM_TOKEN_CONTROL || type == BLM_TOKEN_UNKNOWN || type == BLM_TOKEN_UNUSED)
        return 0;
    if (byte >= 0)
        blm_put(&sink, &raw, 1);
    else if (v->marked)
        blm_put_marked(&sink, piece);
    else if (type == BLM_TOKEN_USER)
        blm_put(&sink, piece.text, (size_t)piece.bytes);
    else
        blm_put_byte_chars(&sink, piece);
    return sink.count;
}
