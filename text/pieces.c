#include "pieces.h"

/* Slots that a search may look at. Each probe of a table that is four fifths full meets a
 * taken slot four times out of five: of a million strings one in two hundred tables has one
 * that needs more, and then another seed serves. */
#define BLM_MAX_PROBES  96u
#define BLM_INDEX_SEEDS 8u

/* ---- Bytes as pieces write them -------------------------------------------------- */

static int blm_byte_prints(uint32_t b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xff && b != 0xad);
}

BLM_PRIVATE uint32_t blm_char_of_byte(uint8_t byte)
{
    if (blm_byte_prints(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    if (byte <= 0xa0) return 0x121u + (byte - 0x7fu);
    return 0x143;
}

BLM_PRIVATE int32_t blm_byte_of_char(uint32_t character)
{
    if (character < 0x100) return blm_byte_prints(character) ? (int32_t)character : -1;
    if (character <= 0x120) return (int32_t)(character - 0x100);
    if (character <= 0x142) return (int32_t)(character - 0x121 + 0x7f);
    return character == 0x143 ? 0xad : -1;
}

/* Writes one byte of text as pieces have it. Returns the length, 1 .. 3. */
static uint32_t blm_code_byte(uint32_t coding, uint8_t byte, uint8_t out[3])
{
    if (coding == BLM_CODE_MARK && byte == ' ') {
        out[0] = 0xe2, out[1] = 0x96, out[2] = 0x81;
        return 3;
    }
    out[0] = byte;
    if (coding != BLM_CODE_BYTES) return 1;
    uint32_t c = blm_char_of_byte(byte);
    if (c < 0x80) return 1;
    out[0] = (uint8_t)(0xc0 | c >> 6);
    out[1] = (uint8_t)(0x80 | (c & 0x3f));
    return 2;
}

static uint32_t blm_code_place(const blm_run *run, uint32_t place, uint8_t out[3])
{
    uint8_t byte = place < run->prefix ? ' ' : (uint8_t)run->text[place - run->prefix];
    return blm_code_byte(run->coding, byte, out);
}

/* ---- Hashing (FNV-1a, mixed at the end: its low bits alone are poor) ------------- */

#define BLM_HASH_START 2166136261u
#define BLM_GOLDEN     0x9e3779b9u /* 2^32 / the golden ratio: steps far apart */
#define BLM_NO_SLOT    0xffffffffu

static uint32_t blm_hash_byte(uint32_t hash, uint8_t byte)
{
    return (hash ^ byte) * 16777619u;
}

static uint32_t blm_hash_bytes(uint32_t hash, const void *bytes, uint64_t count)
{
    const uint8_t *b = (const uint8_t *)bytes;
    for (uint64_t i = 0; i < count; i++)
        hash = blm_hash_byte(hash, b[i]);
    return hash;
}

static uint32_t blm_hash_run(uint32_t hash, const blm_run *run, uint32_t from, uint32_t to)
{
    uint8_t code[3];
    for (uint32_t i = from; i < to; i++)
        hash = blm_hash_bytes(hash, code, blm_code_place(run, i, code));
    return hash;
}

static uint32_t blm_hash_mix(uint32_t hash)
{
    hash ^= hash >> 15;
    hash *= 0x2c1b3c6du;
    hash ^= hash >> 12;
    hash *= 0x297a2d39u;
    return hash ^ hash >> 15;
}

/* ---- The index ------------------------------------------------------------------- */

/* A search through an index: the slots for one hash, in order. */
typedef struct blm_probe {
    const blm_index *index;
    uint32_t hash, count;
    uint32_t tag;  /* what a slot with this hash has above its value */
    uint32_t slot; /* number of the slot looked at                   */
} blm_probe;

static blm_probe blm_probe_start(const blm_index *x, uint32_t hash)
{
    blm_probe p = {x, hash, 0, blm_hash_mix(hash ^ BLM_GOLDEN) & ~x->value_mask, 0};
    return p;
}

/* Moves to the next slot. Returns 0 when there is no more to look at. */
static int blm_probe_next(blm_probe *p)
{
    if (p->count == BLM_MAX_PROBES || p->index->slot_count == 0) return 0;
    uint64_t mixed = blm_hash_mix(p->hash + p->count++ * BLM_GOLDEN);
    p->slot = (uint32_t)(mixed * p->index->slot_count >> 32);
    return 1;
}

/* Moves to the next slot whose string may have the hash. Returns 0 when there is none, and
 * the search then ended at a free slot or at the last. */
static int blm_probe_match(blm_probe *p, uint32_t *value)
{
    while (blm_probe_next(p)) {
        uint32_t entry = p->index->slots[p->slot];
        if (entry == BLM_NO_SLOT) return 0;
        *value = entry & p->index->value_mask;
        if ((entry & ~p->index->value_mask) == p->tag) return 1;
    }
    return 0;
}

/* Puts a value into the slot that a search without a match ended at. Returns 0 when that
 * is taken: too many collide. */
static int blm_probe_put(const blm_probe *p, uint32_t value)
{
    uint32_t *slot = &p->index->slots[p->slot];
    if (*slot != BLM_NO_SLOT) return 0;
    *slot = p->tag | value;
    return 1;
}

static void blm_index_clear(blm_index *x, uint32_t attempt)
{
    memset(x->slots, 0xff, (size_t)x->slot_count * sizeof *x->slots);
    x->seed = BLM_HASH_START + attempt * BLM_GOLDEN;
}

/* Sizes for values up to `last`; entries are below 2^29, as each takes 8 bytes. */
static void blm_index_size(blm_index *x, uint32_t entries, uint32_t last)
{
    x->slot_count = entries + entries / 4 + 1;
    for (x->value_mask = 1; x->value_mask <= last;)
        x->value_mask = x->value_mask * 2 + 1;
}

/* ---- Reading pieces -------------------------------------------------------------- */

/* A string of an array as it lies in the file. */
static blm_string blm_string_in(const uint8_t *data, uint32_t at)
{
    blm_string s = {(const char *)data + at + 8, blm_load_u64(data + at)};
    return s;
}

BLM_PRIVATE uint32_t blm_pieces_type(const blm_pieces *p, uint32_t token)
{
    if (p->at[token] & BLM_PIECE_GUARDED) return BLM_TOKEN_CONTROL;
    return blm_pieces_file_type(p, token);
}

BLM_PRIVATE void blm_pieces_guard(blm_pieces *p, uint32_t token)
{
    p->at[token] |= BLM_PIECE_GUARDED;
}

BLM_PRIVATE uint32_t blm_pieces_file_type(const blm_pieces *p, uint32_t token)
{
    if (p->types == NULL) return BLM_TOKEN_NORMAL;
    uint32_t type = blm_load_u32(p->types + (size_t)token * 4);
    return type >= BLM_TOKEN_NORMAL && type <= BLM_TOKEN_BYTE ? type : BLM_TOKEN_UNUSED;
}

BLM_PRIVATE blm_string blm_pieces_text(const blm_pieces *p, uint32_t token)
{
    return blm_string_in(p->data, p->at[token] & ~BLM_PIECE_GUARDED);
}

/* How many bytes of `piece` the places [from, to) are written as when they begin it;
 * UINT32_MAX when they do not. */
static uint32_t blm_run_begins(const blm_run *run, uint32_t from, uint32_t to, blm_string piece)
{
    uint32_t done = 0;
    uint8_t code[3];
    if (to - from > piece.bytes) return UINT32_MAX;
    for (uint32_t i = from; i < to; i++) {
        uint32_t length = blm_code_place(run, i, code);
        if (length > piece.bytes - done || !blm_same_bytes(piece.text + done, code, length))
            return UINT32_MAX;
        done += length;
    }
    return done;
}

/* The token equal to the places [from, to), whose hash is given. */
static int32_t blm_pieces_probe(const blm_pieces *p, uint32_t hash, const blm_run *run,
                                uint32_t from, uint32_t to, uint32_t type_mask)
{
    blm_probe probe = blm_probe_start(&p->by_text, hash);
    for (uint32_t token; blm_probe_match(&probe, &token);) {
        blm_string piece = blm_pieces_text(p, token);
        if (blm_run_begins(run, from, to, piece) == piece.bytes &&
            (type_mask & BLM_TOKEN_MASK(blm_pieces_type(p, token))) != 0)
            return (int32_t)token;
    }
    return -1;
}

BLM_PRIVATE int32_t blm_pieces_find(const blm_pieces *p, const blm_run *run, uint32_t from,
                                    uint32_t to, uint32_t type_mask)
{
    if (from >= to || to - from > p->longest) return -1;
    uint32_t hash = blm_hash_run(p->by_text.seed, run, from, to);
    return blm_pieces_probe(p, hash, run, from, to, type_mask);
}

BLM_PRIVATE int blm_pieces_longest(const blm_pieces *p, const char *text, size_t bytes,
                                   const uint8_t *lengths, uint32_t limit, uint32_t type_mask,
                                   size_t *length, int32_t *token)
{
    uint32_t end = (uint32_t)BLM_MIN(bytes, limit), hash = p->by_text.seed;
    blm_run run = {text, 0, end, BLM_CODE_RAW};
    int found = 0;
    for (uint32_t n = 1; n <= end; n++) {
        hash = blm_hash_byte(hash, (uint8_t)text[n - 1]);
        if (!(lengths[n / 8] >> (n % 8) & 1)) continue;
        int32_t id = blm_pieces_probe(p, hash, &run, 0, n, type_mask);
        if (id >= 0) *length = n, *token = id, found = 1;
    }
    return found;
}

BLM_PRIVATE int blm_pieces_merge_rank(const blm_pieces *p, const blm_run *run, uint32_t left,
                                      uint32_t right, uint32_t end, uint32_t *rank)
{
    uint32_t hash = blm_hash_run(p->by_merge.seed, run, left, right);
    hash = blm_hash_run(blm_hash_byte(hash, ' '), run, right, end);
    blm_probe probe = blm_probe_start(&p->by_merge, hash);
    for (uint32_t at; blm_probe_match(&probe, &at);) {
        blm_string pair = blm_string_in(p->merges, at);
        uint32_t first = blm_run_begins(run, left, right, pair);
        if (first >= pair.bytes || pair.text[first] != ' ') continue;
        blm_string second = {pair.text + first + 1, pair.bytes - first - 1};
        if (blm_run_begins(run, right, end, second) != second.bytes) continue;
        *rank = at;
        return 1;
    }
    return 0;
}

/* ---- Building the tables --------------------------------------------------------- */

static int blm_same_text(blm_string a, blm_string b)
{
    return a.bytes == b.bytes && blm_same_bytes(a.text, b.text, (size_t)a.bytes);
}

/* Puts one token into the table. Of equal pieces of one type the last stands. Returns 0
 * when too many collide. */
static int blm_pieces_insert(blm_pieces *p, uint32_t token)
{
    blm_string piece = blm_pieces_text(p, token);
    uint32_t hash = blm_hash_bytes(p->by_text.seed, piece.text, piece.bytes);
    blm_probe probe = blm_probe_start(&p->by_text, hash);
    for (uint32_t other; blm_probe_match(&probe, &other);) {
        if (!blm_same_text(blm_pieces_text(p, other), piece) ||
            blm_pieces_type(p, other) != blm_pieces_type(p, token))
            continue;
        p->by_text.slots[probe.slot] = probe.tag | token;
        return 1;
    }
    return blm_probe_put(&probe, token);
}

/* Puts one merge into the table: the first of equal ones stands. Its place in the file
 * is its rank as well, since both grow together. */
static int blm_merges_insert(blm_pieces *p, uint32_t at)
{
    blm_string pair = blm_string_in(p->merges, at);
    uint32_t hash = blm_hash_bytes(p->by_merge.seed, pair.text, pair.bytes);
    blm_probe probe = blm_probe_start(&p->by_merge, hash);
    for (uint32_t other; blm_probe_match(&probe, &other);)
        if (blm_same_text(blm_string_in(p->merges, other), pair)) return 1;
    return blm_probe_put(&probe, at);
}

/* Fills the table of tokens. Returns 0 when too many collide. */
static int blm_pieces_fill(blm_pieces *p, const blm_array *tokens)
{
    uint64_t at = 0, next = 0;
    blm_string piece;
    for (uint32_t token = 0; token < p->count; token++, at = next) {
        if (!blm_array_next_string(tokens, &next, &piece)) break;
        p->at[token] = (uint32_t)at;
        p->longest = BLM_MAX(p->longest, (uint32_t)piece.bytes);
        if (piece.bytes > 0 && !blm_pieces_insert(p, token)) return 0;
    }
    return 1;
}

static int blm_merges_fill(blm_pieces *p, const blm_array *merges)
{
    uint64_t at = 0, next = 0;
    blm_string pair;
    for (; blm_array_next_string(merges, &next, &pair); at = next)
        if (!blm_merges_insert(p, (uint32_t)at)) return 0;
    return 1;
}

/* Fills a table under the first seed that serves. */
static int blm_index_fill(blm_pieces *p, blm_index *x, const blm_gguf *g,
                          const blm_array *strings, bluelm_error *err)
{
    int is_text = x == &p->by_text;
    for (uint32_t attempt = 0; attempt < BLM_INDEX_SEEDS; attempt++) {
        blm_index_clear(x, attempt);
        if (is_text ? blm_pieces_fill(p, strings) : blm_merges_fill(p, strings))
            return BLUELM_OK;
    }
    return blm_gguf_fail(g, err, BLUELM_E_FORMAT, is_text ? "tokens" : "merges", "that collide",
                         BLM_MAX_PROBES, BLM_MAX_PROBES + 1, 0);
}

/* ---- Reading the keys ------------------------------------------------------------ */

/* An array of strings whose bytes 31 bits can address. */
static int blm_pieces_strings(const blm_gguf *g, const char *key, blm_array *out,
                              bluelm_error *err)
{
    int found = blm_gguf_array(g, key, BLM_GGUF_STRING, out, err);
    if (found < 0) return found;
    if (found == 0) return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "key missing", key, 1, 0, 0);
    if (out->bytes >= BLM_PIECE_GUARDED)
        return blm_gguf_fail(g, err, BLUELM_E_UNSUPPORTED, "size of key", key,
                             BLM_PIECE_GUARDED - 1, out->bytes, 0);
    return BLUELM_OK;
}

/* An array of one number per token; *data stays NULL when the key is absent. */
static int blm_pieces_numbers(const blm_pieces *p, const blm_gguf *g, const char *key,
                              uint32_t type, const uint8_t **data, bluelm_error *err)
{
    blm_array numbers;
    int found = blm_gguf_array(g, key, type, &numbers, err);
    if (found <= 0) return found;
    if (numbers.count != p->count)
        return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "length of key", key, p->count,
                             numbers.count, 0);
    *data = numbers.data;
    return BLUELM_OK;
}

BLM_PRIVATE int blm_pieces_init(blm_pieces *p, const blm_gguf *g, blm_arena *a, int with_merges,
                                bluelm_error *err)
{
    blm_array tokens, merges;
    memset(p, 0, sizeof *p);
    int code = blm_pieces_strings(g, "tokenizer.ggml.tokens", &tokens, err);
    if (code < 0) return code;
    if (tokens.count == 0)
        return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "length of key", "tokenizer.ggml.tokens",
                             1, 0, 0);
    p->count = (uint32_t)tokens.count;
    p->data = tokens.data;
    blm_index_size(&p->by_text, p->count, p->count);
    code = blm_pieces_numbers(p, g, "tokenizer.ggml.token_type", BLM_GGUF_I32, &p->types, err);
    if (code < 0) return code;
    code = blm_pieces_numbers(p, g, "tokenizer.ggml.scores", BLM_GGUF_F32, &p->scores, err);
    if (code < 0) return code;
    if (with_merges) {
        code = blm_pieces_strings(g, "tokenizer.ggml.merges", &merges, err);
        if (code < 0) return code;
        p->merges = merges.data;
        blm_index_size(&p->by_merge, (uint32_t)merges.count, (uint32_t)merges.bytes);
    }
    p->at = blm_arena_take(a, p->count, sizeof *p->at);
    p->by_text.slots = blm_arena_take(a, p->by_text.slot_count, sizeof *p->by_text.slots);
    if (with_merges)
        p->by_merge.slots =
            blm_arena_take(a, p->by_merge.slot_count, sizeof *p->by_merge.slots);
    if (p->at == NULL || p->by_text.slots == NULL || (with_merges && p->by_merge.slots == NULL))
        return BLUELM_OK;
    code = blm_index_fill(p, &p->by_text, g, &tokens, err);
    if (code == BLUELM_OK && with_merges)
        code = blm_index_fill(p, &p->by_merge, g, &merges, err);
    return code;
}
