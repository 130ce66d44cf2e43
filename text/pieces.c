#include "pieces.h"

/* Places in the tables that a search may look at. A table four fifths full needs a few
 * hundred at worst; a file made so that thousands of pieces collide is refused. */
#define BLM_MAX_PROBES 4096u

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

/* The slot where a search begins. */
static uint32_t blm_hash_slot(uint32_t hash, uint32_t slot_count)
{
    hash ^= hash >> 15;
    hash *= 0x2c1b3c6du;
    hash ^= hash >> 12;
    hash *= 0x297a2d39u;
    hash ^= hash >> 15;
    return (uint32_t)((uint64_t)hash * slot_count >> 32);
}

static uint32_t blm_next_slot(uint32_t slot, uint32_t slot_count)
{
    return slot + 1 == slot_count ? 0 : slot + 1;
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
    if (p->types == NULL) return BLM_TOKEN_NORMAL;
    uint32_t type = blm_load_u32(p->types + (size_t)token * 4);
    return type >= BLM_TOKEN_NORMAL && type <= BLM_TOKEN_BYTE ? type : BLM_TOKEN_UNUSED;
}

BLM_PRIVATE blm_string blm_pieces_text(const blm_pieces *p, uint32_t token)
{
    return blm_string_in(p->data, p->at[token]);
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
    uint32_t slot = blm_hash_slot(hash, p->slot_count);
    for (uint32_t i = 0; i < BLM_MAX_PROBES; i++) {
        uint32_t token = p->slots[slot];
        if (token == BLM_NO_SLOT) return -1;
        blm_string piece = blm_pieces_text(p, token);
        if (blm_run_begins(run, from, to, piece) == piece.bytes &&
            (type_mask & BLM_TOKEN_MASK(blm_pieces_type(p, token))) != 0)
            return (int32_t)token;
        slot = blm_next_slot(slot, p->slot_count);
    }
    return -1;
}

BLM_PRIVATE int32_t blm_pieces_find(const blm_pieces *p, const blm_run *run, uint32_t from,
                                    uint32_t to, uint32_t type_mask)
{
    if (from >= to || to - from > p->longest) return -1;
    uint32_t hash = blm_hash_run(BLM_HASH_START, run, from, to);
    return blm_pieces_probe(p, hash, run, from, to, type_mask);
}

BLM_PRIVATE int blm_pieces_longest(const blm_pieces *p, const char *text, size_t bytes,
                                   const uint8_t *lengths, uint32_t limit, uint32_t type_mask,
                                   size_t *length, int32_t *token)
{
    uint32_t end = (uint32_t)BLM_MIN(bytes, limit), hash = BLM_HASH_START;
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
    if (p->merge_slot_count == 0) return 0;
    uint32_t hash = blm_hash_run(BLM_HASH_START, run, left, right);
    hash = blm_hash_run(blm_hash_byte(hash, ' '), run, right, end);
    uint32_t slot = blm_hash_slot(hash, p->merge_slot_count);
    for (uint32_t i = 0; i < BLM_MAX_PROBES && p->merge_slots[slot] != BLM_NO_SLOT; i++) {
        blm_string pair = blm_string_in(p->merges, p->merge_slots[slot]);
        uint32_t first = blm_run_begins(run, left, right, pair);
        if (first < pair.bytes && pair.text[first] == ' ') {
            blm_string second = {pair.text + first + 1, pair.bytes - first - 1};
            if (blm_run_begins(run, right, end, second) == second.bytes) {
                *rank = p->merge_slots[slot];
                return 1;
            }
        }
        slot = blm_next_slot(slot, p->merge_slot_count);
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
    uint32_t hash = blm_hash_bytes(BLM_HASH_START, piece.text, piece.bytes);
    uint32_t slot = blm_hash_slot(hash, p->slot_count);
    for (uint32_t i = 0; i < BLM_MAX_PROBES; i++) {
        uint32_t other = p->slots[slot];
        if (other == BLM_NO_SLOT || (blm_same_text(blm_pieces_text(p, other), piece) &&
                                     blm_pieces_type(p, other) == blm_pieces_type(p, token))) {
            p->slots[slot] = token;
            return 1;
        }
        slot = blm_next_slot(slot, p->slot_count);
    }
    return 0;
}

/* Puts one merge into the table: the first of equal ones stands. Its place in the file
 * is its rank as well, since both grow together. */
static int blm_merges_insert(blm_pieces *p, uint32_t at)
{
    blm_string pair = blm_string_in(p->merges, at);
    uint32_t hash = blm_hash_bytes(BLM_HASH_START, pair.text, pair.bytes);
    uint32_t slot = blm_hash_slot(hash, p->merge_slot_count);
    for (uint32_t i = 0; i < BLM_MAX_PROBES; i++) {
        uint32_t other = p->merge_slots[slot];
        if (other == BLM_NO_SLOT) {
            p->merge_slots[slot] = at;
            return 1;
        }
        if (blm_same_text(blm_string_in(p->merges, other), pair)) return 1;
        slot = blm_next_slot(slot, p->merge_slot_count);
    }
    return 0;
}

static int blm_pieces_fill(blm_pieces *p, const blm_gguf *g, const blm_array *tokens,
                           bluelm_error *err)
{
    uint64_t at = 0, next = 0;
    blm_string piece;
    memset(p->slots, 0xff, (size_t)p->slot_count * sizeof *p->slots);
    for (uint32_t token = 0; token < p->count; token++, at = next) {
        if (!blm_array_next_string(tokens, &next, &piece)) break;
        p->at[token] = (uint32_t)at;
        p->longest = BLM_MAX(p->longest, (uint32_t)piece.bytes);
        if (piece.bytes > 0 && !blm_pieces_insert(p, token))
            return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "tokens", "that collide",
                                 BLM_MAX_PROBES, token, 0);
    }
    return BLUELM_OK;
}

static int blm_merges_fill(blm_pieces *p, const blm_gguf *g, const blm_array *merges,
                           bluelm_error *err)
{
    uint64_t at = 0, next = 0;
    blm_string pair;
    memset(p->merge_slots, 0xff, (size_t)p->merge_slot_count * sizeof *p->merge_slots);
    for (; blm_array_next_string(merges, &next, &pair); at = next) {
        if (!blm_merges_insert(p, (uint32_t)at))
            return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "merges", "that collide",
                                 BLM_MAX_PROBES, at, 0);
    }
    return BLUELM_OK;
}

/* ---- Reading the keys ------------------------------------------------------------ */

/* An array of strings whose bytes 32 bits can address. */
static int blm_pieces_strings(const blm_gguf *g, const char *key, blm_array *out,
                              bluelm_error *err)
{
    int found = blm_gguf_array(g, key, BLM_GGUF_STRING, out, err);
    if (found < 0) return found;
    if (found == 0) return blm_gguf_fail(g, err, BLUELM_E_FORMAT, "key missing", key, 1, 0, 0);
    if (out->bytes >= BLM_NO_SLOT)
        return blm_gguf_fail(g, err, BLUELM_E_UNSUPPORTED, "size of key", key, BLM_NO_SLOT - 1,
                             out->bytes, 0);
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

/* A quarter more slots than entries; entries are below 2^29, as each takes 8 bytes. */
static uint32_t blm_slots_for(uint32_t entries)
{
    return entries + entries / 4 + 1;
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
    p->slot_count = blm_slots_for(p->count);
    code = blm_pieces_numbers(p, g, "tokenizer.ggml.token_type", BLM_GGUF_I32, &p->types, err);
    if (code < 0) return code;
    code = blm_pieces_numbers(p, g, "tokenizer.ggml.scores", BLM_GGUF_F32, &p->scores, err);
    if (code < 0) return code;
    if (with_merges) {
        code = blm_pieces_strings(g, "tokenizer.ggml.merges", &merges, err);
        if (code < 0) return code;
        p->merges = merges.data;
        p->merge_slot_count = blm_slots_for((uint32_t)merges.count);
    }
    p->at = blm_arena_take(a, p->count, sizeof *p->at);
    p->slots = blm_arena_take(a, p->slot_count, sizeof *p->slots);
    if (with_merges) p->merge_slots = blm_arena_take(a, p->merge_slot_count, sizeof *p->slots);
    if (p->at == NULL || p->slots == NULL || (with_merges && p->merge_slots == NULL))
        return BLUELM_OK;
    code = blm_pieces_fill(p, g, &tokens, err);
    if (code == BLUELM_OK && with_merges) code = blm_merges_fill(p, g, &merges, err);
    return code;
}
