/* The index over a vocabulary: which piece of text is which token, and which two pieces
 * merge in which order. Pieces and merges stay where they lie in the model file; the
 * index is two hash tables and one table of places.
 *
 * Searches are bounded whatever a file holds: no value lies further than BLM_MAX_PROBES
 * places from where its search begins. A file whose strings collide more than that is
 * hashed with another seed, BLM_INDEX_SEEDS times, and then refused. */
#ifndef BLM_PIECES_H
#define BLM_PIECES_H

#include "../arena/arena.h"
#include "../gguf/gguf.h"

/* Types of tokens as tokenizer.ggml.token_type numbers them. */
enum {
    BLM_TOKEN_NORMAL = 1,
    BLM_TOKEN_UNKNOWN = 2,
    BLM_TOKEN_CONTROL = 3,
    BLM_TOKEN_USER = 4,   /* user defined: text that is always one token   */
    BLM_TOKEN_UNUSED = 5, /* this, or any number that is not listed here   */
    BLM_TOKEN_BYTE = 6
};
#define BLM_TOKEN_MASK(type) (1u << (type))
#define BLM_TOKEN_ANY        0xffffffffu

/* How the bytes of a text are written in pieces. */
enum {
    BLM_CODE_RAW = 0,  /* as they are                                                   */
    BLM_CODE_MARK = 1, /* a space is U+2581 (SentencePiece)                             */
    BLM_CODE_BYTES = 2 /* each byte is a printable character of one or two bytes (gpt2) */
};

/* Bytes of text, perhaps with a space before them that is not there. Places count from
 * that space: place 0 is the space when prefix is 1, else the first byte of text. */
typedef struct blm_run {
    const char *text;
    uint32_t prefix; /* 0 or 1                                       */
    uint32_t places; /* prefix + bytes of text, at most 65536        */
    uint32_t coding; /* BLM_CODE_*: how pieces are written           */
} blm_run;

/* A hash table of strings that lie in the file. A slot holds a value (the token's id, or the
 * merge's place) in its low bits and as much of the string's hash as fits above it, so that
 * a search reads no strings but those it almost surely looks for. */
typedef struct blm_index {
    uint32_t *slots;
    uint32_t slot_count; /* a quarter more than values              */
    uint32_t value_mask; /* the low bits; all of them set: no value */
    uint32_t seed;       /* of the hash                             */
} blm_index;

typedef struct blm_pieces {
    uint32_t count;        /* of tokens                                           */
    uint32_t longest;      /* bytes of the longest piece                          */
    const uint8_t *data;   /* tokenizer.ggml.tokens: u64 length, bytes, ..        */
    const uint8_t *types;  /* [count] i32 little endian, NULL: all normal         */
    const uint8_t *scores; /* [count] f32 little endian, NULL: all 0              */
    const uint8_t *merges; /* tokenizer.ggml.merges: u64 length, "left right", .. */
    uint32_t *at;          /* [count] where each token lies in data, BLM_PIECE_GUARDED */
    blm_index by_text;     /* of token ids                                        */
    blm_index by_merge;    /* of places in merges; no slots: no merges            */
} blm_pieces;

/* Set in blm_pieces.at: this token is control, whatever its type in the file. */
#define BLM_PIECE_GUARDED 0x80000000u

/* Reads and checks the vocabulary's arrays and takes the index from the arena; fills it
 * when the arena has memory and room.
 *   with_merges  1: byte-level BPE, tokenizer.ggml.merges must be there
 * Errors: BLUELM_E_FORMAT (arrays missing, empty, of wrong types or lengths, or pieces made
 * to collide), BLUELM_E_UNSUPPORTED (2 GB of pieces). */
BLM_PRIVATE int blm_pieces_init(blm_pieces *p, const blm_gguf *g, blm_arena *a, int with_merges,
                                bluelm_error *err);

/* The type of a token, BLM_TOKEN_*: control where it is guarded. */
BLM_PRIVATE uint32_t blm_pieces_type(const blm_pieces *p, uint32_t token);

/* Its type as the file has it; normal where the file has no types. */
BLM_PRIVATE uint32_t blm_pieces_file_type(const blm_pieces *p, uint32_t token);

/* Makes a token control for good. */
BLM_PRIVATE void blm_pieces_guard(blm_pieces *p, uint32_t token);

/* The piece of a token as it lies in the file. */
BLM_PRIVATE blm_string blm_pieces_text(const blm_pieces *p, uint32_t token);

/* The token whose piece is written in [from, to) of a run, among the types of the mask.
 * Returns its id or -1. */
BLM_PRIVATE int32_t blm_pieces_find(const blm_pieces *p, const blm_run *run, uint32_t from,
                                    uint32_t to, uint32_t type_mask);

/* The order in which [left, right) and [right, end) of a run merge, less is sooner, for
 * byte-level BPE. Returns 1, or 0 when they do not merge. */
BLM_PRIVATE int blm_pieces_merge_rank(const blm_pieces *p, const blm_run *run, uint32_t left,
                                      uint32_t right, uint32_t end, uint32_t *rank);

/* The longest token at a place of a text, among the types of the mask and among the
 * lengths marked in `lengths` (bit n % 8 of byte n / 8), no longer than `limit` bytes.
 * Returns 1 with its length and id, or 0. */
BLM_PRIVATE int blm_pieces_longest(const blm_pieces *p, const char *text, size_t bytes,
                                   const uint8_t *lengths, uint32_t limit, uint32_t type_mask,
                                   size_t *length, int32_t *token);

/* The character that stands for a byte in byte-level BPE, and the byte of a character,
 * -1 when it stands for none. Source: GPT-2's bytes_to_unicode. */
BLM_PRIVATE uint32_t blm_char_of_byte(uint8_t byte);
BLM_PRIVATE int32_t blm_byte_of_char(uint32_t character);

#endif
