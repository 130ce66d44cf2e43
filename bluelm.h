/* bluelm: BlueLM-V-3B-style vision-language models inside one block of memory.
 *
 * The library never allocates, never calls the operating system and keeps no
 * state of its own: the caller owns one arena, the two GGUF files (mapped, in
 * flash or in memory) and, if there are several cores, the workers.
 *
 *     bluelm_memory need;
 *     bluelm_plan(&weights, &config, &need, &err);           how many bytes
 *     bluelm_init(&engine, arena, need.total_bytes, &weights, &config, port, &err);
 *     bluelm_begin_turn(engine, BLUELM_USER, &err);
 *     bluelm_add_image(engine, &image, NULL, &err);
 *     bluelm_add_text(engine, "What is this?", 13, &err);
 *     bluelm_generate(engine, 0, &err);
 *     while (bluelm_step(engine, &event, &err) > 0)
 *         if (event.type == BLUELM_EVENT_TOKEN) print(event.text, event.text_bytes);
 *
 * Functions return >= 0 on success and a negative BLUELM_E_* otherwise; every
 * bluelm_error argument may be NULL; an engine, an event and stats may not; any other pointer
 * that is NULL where something is needed is BLUELM_E_ARG. One thread at a time uses an engine.
 * Source: BlueLM-V-3B (arXiv 2411.10640).
 */
#ifndef BLUELM_H
#define BLUELM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BLUELM_VERSION_MAJOR 0
#define BLUELM_VERSION_MINOR 2

/* ---- Errors ------------------------------------------------------------- */

enum {
    BLUELM_OK = 0,
    BLUELM_E_ARG = -1,         /* an argument or config field is outside its limits      */
    BLUELM_E_BUDGET = -2,      /* the arena or one budget is too small (bytes)           */
    BLUELM_E_FORMAT = -3,      /* a model file breaks its format (at = byte offset)      */
    BLUELM_E_UNSUPPORTED = -4, /* a sound file asks for something bluelm does not run    */
    BLUELM_E_CONTEXT = -5,     /* the context has no room for it (tokens); nothing lost  */
    BLUELM_E_IMAGE = -6,       /* a picture is malformed or over the limits              */
    BLUELM_E_STATE = -7        /* the call does not fit the engine's state               */
};

/* Why, for programs to act on. The numbers stay what they are; new ones may be added. */
enum {
    BLUELM_CAUSE_OTHER = 0,     /* what code and subject say                              */
    BLUELM_CAUSE_SHORT = 1,     /* need more than have: bytes (BUDGET), tokens (CONTEXT)    */
    BLUELM_CAUSE_ABOVE = 2,     /* have is above the limit, need                           */
    BLUELM_CAUSE_BELOW = 3,     /* have is below the least, need                           */
    BLUELM_CAUSE_NEGATIVE = 4,  /* the value is -have; the least is need                   */
    BLUELM_CAUSE_NUMBER = 5,    /* have holds the bits of an f32 outside its range         */
    BLUELM_CAUSE_NULL = 6,      /* a pointer that must not be NULL                         */
    BLUELM_CAUSE_MISSING = 7,   /* the file lacks it                                       */
    BLUELM_CAUSE_MALFORMED = 8, /* the file has it, but it breaks its format               */
    BLUELM_CAUSE_UNKNOWN = 9    /* a sound file asks for what this build does not have     */
};

typedef struct bluelm_error {
    int code;         /* BLUELM_E_*                                          */
    char subject[64]; /* what it is about, e.g. "kv cache"; 0-terminated     */
    uint64_t need;    /* what was needed, or the limit                       */
    uint64_t have;    /* what there was, or the offending value              */
    uint64_t at;      /* byte offset in the file, where there is one         */
    int cause;        /* BLUELM_CAUSE_*                                      */
} bluelm_error;

/* The version that is linked, "0.2.0". Compile against its header: until 1.0 structs change. */
const char *bluelm_version(void);

/* Renders an error as one line, "kv cache: need 67108864 bytes, have 50331648 (short 16777216)".
 *   text  out, at most `bytes` bytes, always 0-terminated if bytes > 0
 * Returns the length of the whole line without its terminator; a longer one was cut. Built
 * with BLUELM_NO_ERROR_TEXT, errors have no subject: code and numbers alone. */
size_t bluelm_error_text(const bluelm_error *err, char *text, size_t bytes);

/* ---- What the engine is given -------------------------------------------- */

/* The two GGUF files, at any address and alignment, used where they lie, readable for the
 * engine's life (see bluelm_vision_release). Without an mmproj (NULL, 0) the engine takes text
 * alone, without a language model it embeds pictures, of a vocabulary alone it tokenizes. */
typedef struct bluelm_weights {
    const void *llm;
    size_t llm_bytes;
    const void *mmproj;
    size_t mmproj_bytes;
} bluelm_weights;

/* The kv_type field: int8 has one f16 scale per token and head. */
enum { BLUELM_KV_DEFAULT = 0, BLUELM_KV_INT8 = 1, BLUELM_KV_F16 = 2 };

/* The fields activation_type and vision_activation_type: what activations become before they
 * meet quantised weights. INT8: blocks of 32, one scale each; INT16: two of them, the value
 * and what rounding left of it. Float weights meet f32 activations; those of the mmproj, with
 * INT8 asked for by name, become Q8_0 on their way in: an F16 file as fast as an 8-bit one. */
enum { BLUELM_ACT_DEFAULT = 0, BLUELM_ACT_INT8 = 1, BLUELM_ACT_INT16 = 2 };

/* The tile_rule field: how a picture chooses its grid of tiles. */
enum {
    BLUELM_TILES_DEFAULT = 0, /* what the mmproj says (bluelm.tiling.rule, or by projector) */
    BLUELM_TILES_RELAXED = 1, /* BlueLM-V-3B, Algorithm 1                                   */
    BLUELM_TILES_LLAVA_NEXT = 2,
    BLUELM_TILES_INTERNVL = 3,
    BLUELM_TILES_SINGLE = 4 /* one tile, whatever the picture */
};

/* CPU features, for cpu_mask and bluelm_port.cpu_features. */
enum {
    BLUELM_CPU_SSE41 = 1 << 0,
    BLUELM_CPU_AVX2 = 1 << 1, /* with FMA and F16C */
    BLUELM_CPU_AVX512_VNNI = 1 << 2,
    BLUELM_CPU_AMX = 1 << 3,         /* bf16 tiles; with AVX-512 VNNI, BF16 and VBMI */
    BLUELM_CPU_AVX512_VBMI = 1 << 4, /* used with AVX512_VNNI or AMX */
    BLUELM_CPU_NEON = 1 << 8,
    BLUELM_CPU_NEON_DOTPROD = 1 << 9,
    BLUELM_CPU_NEON_I8MM = 1 << 10,
    BLUELM_CPU_NONE = 1 << 30 /* as cpu_mask: scalar kernels only */
};

#define BLUELM_NO_MARKS UINT32_MAX

/* A chat template of the caller's own: trusted markup around each turn. */
typedef struct bluelm_chat_texts {
    const char *before[3], *after[3]; /* by bluelm_role; NULL: nothing; at most 120 bytes each */
} bluelm_chat_texts;

/* Everything is optional: 0 is the default that the field's comment gives. */
typedef struct bluelm_config {
    /* Tokens the KV cache holds, prompt, pictures and answers together. Default: the model's
     * context_length, at most 2048. Limit: 1 .. 1048576. */
    uint32_t context_tokens;
    /* Tokens that go through the network at once while a prompt is read; more is
     * faster and takes more activations. Default 128 (best on the paper's NPU). 1 .. 2048. A
     * model whose image tokens see each other gets at least the tokens of a picture. */
    uint32_t chunk_tokens;
    /* Most tiles a picture may be cut into, thumbnail included; sizes the image
     * token store. Default: as many as the model's own tiling allows. 1 .. 256. */
    uint32_t max_tiles;
    /* Tiles the vision encoder takes at once. Default 4 (best on the paper's NPU). 1 .. 64. */
    uint32_t tiles_per_batch;
    /* Widest picture, in pixels across as it is stored; its height does not matter: it is read
     * row by row. Default 16384; at most 65535. */
    uint32_t max_image_width_px;
    /* Longest run of text between two pictures or turns, in bytes; sizes the tokenizer's
     * scratch. Default 4 x context_tokens, at least 1024. Limit: 60000. */
    uint32_t text_bytes;
    uint32_t kv_type;         /* BLUELM_KV_*; default int8                              */
    uint32_t activation_type; /* BLUELM_ACT_*, of the language model; default int8      */
    uint32_t vision_activation_type; /* of the mmproj; default int8, f32 with floats     */
    uint32_t tile_rule;       /* BLUELM_TILES_*; default: the model's                   */
    float tile_alpha;         /* alpha of the relaxed rule, 0 < alpha < 1; default: the
                                 model's, else 0.1                                      */
    uint32_t workers;         /* parts each product is cut into; default 1, at most 64.
                                 Results do not depend on it, bit for bit.              */
    uint32_t overlap_tiles;   /* 1: the next batch of tiles is cut and its patches embedded
                                 beside the blocks of this one, by the port's `start`;
                                 takes one more residual stream. Default 0.            */
    /* Most image tokens of one picture. Without an mmproj, room for pictures encoded elsewhere
     * (bluelm_add_image_rows; default none). Default: what the model's own tiling allows and the
     * context holds, for pictures of their own size (Qwen-VL) 1024. */
    uint32_t max_image_tokens;
    /* Places to go back to (bluelm_mark), each of which keeps n_vocab floats and, in families
     * whose layers have states or windows, a copy of them. Default 1, at most 16;
     * BLUELM_NO_MARKS takes none. */
    uint32_t marks;
    /* The chat template by name (bluelm_chat_template_name; "none": completion alone) or texts.
     * Default: the file's. All three stay readable for the engine's life. */
    const char *chat_template;
    const bluelm_chat_texts *chat_texts;
    const char *date; /* today, where the template has it; default: its own fixed date or none */
    uint32_t background_rgb; /* 0x1RRGGBB, under transparent pixels; 0: white            */
    uint32_t cpu_mask;        /* BLUELM_CPU_* that may be used; default all there are,
                                 BLUELM_CPU_NONE alone forces the scalar kernels        */
    /* Bytes for pictures that cannot be read by rows, interlaced PNG and progressive JPEG:
     * what bluelm_image_whole_bytes says of them. Default 0: the place of the activations
     * alone. One that needs more is BLUELM_E_BUDGET when it is added. */
    uint64_t whole_image_bytes;
    /* Caps on the parts of the arena, in bytes; default none. One that is too low fails plan. */
    uint64_t max_weights_view_bytes, max_tokenizer_bytes, max_kv_cache_bytes;
    uint64_t max_image_tokens_bytes, max_activations_bytes, max_image_decode_bytes;
    uint64_t max_total_bytes;
} bluelm_config;

/* What an engine takes, in bytes, and what it was planned for. The arena, in this order:
 *
 *   | engine | tables of the llm | tokenizer | tables of the mmproj | queue and history |
 *   | kv cache | image tokens | sampling | marks | overlay |
 *
 * overlay = the largest of vision_phase, language_phase and image_decode, never needed at the
 * same time; the first and the last hold the picture's canvases. Parts are aligned to 64. */
typedef struct bluelm_memory {
    uint64_t engine_bytes;         /* the engine itself, the input queue and the history  */
    uint64_t weights_view_bytes;   /* both files' tables, which point at their weights    */
    uint64_t tokenizer_bytes;      /* piece and merge indices, scratch for text_bytes     */
    uint64_t kv_cache_bytes;       /* keys and values of the context, windows, states     */
    uint64_t image_tokens_bytes;   /* one picture's projected tokens, f16                 */
    uint64_t sampling_bytes;       /* logits and candidates                               */
    uint64_t marks_bytes;          /* what the marks keep                                 */
    uint64_t vision_phase_bytes;   /* activations of tiles_per_batch tiles                */
    uint64_t language_phase_bytes; /* activations of chunk_tokens tokens                  */
    uint64_t image_decode_bytes;   /* reading a picture: its canvases, rows, resizers     */
    uint64_t overlay_bytes;        /* the largest of the three                            */
    uint64_t total_bytes;          /* the arena: any address, this many bytes             */
    uint64_t weights_bytes;        /* the two files, used where they lie; not in total    */
    uint32_t context_tokens, chunk_tokens, workers, activation_bits; /* as configured */
    uint32_t max_tiles, tiles_per_batch, vision_activation_bits; /* 32: f32; 0: no mmproj */
    uint32_t tokens_per_tile, tile_px;           /* tile_px: side of a tile           */
} bluelm_memory;

/* The world outside, each field optional; copied at init. */
typedef struct bluelm_port {
    void *user;
    /* Calls fn(arg, part) for every part in [0, parts), on any threads in any order, and
     * returns when all have returned. NULL: parts run one after another. */
    void (*parallel_for)(void *user, void (*fn)(void *arg, uint32_t part), void *arg,
                         uint32_t parts);
    /* With config overlap_tiles: start runs fn(arg) beside everything else, on a thread or core
     * of its own, and finish returns when it has returned; one at a time. NULL: the work is done
     * in its turn. bluelm_reset and bluelm_close wait for what was started. */
    void (*start)(void *user, void (*fn)(void *arg), void *arg);
    void (*finish)(void *user);
    uint64_t (*now_us)(void *user); /* a clock that never goes back, for bluelm_stats */
    uint32_t cpu_features;          /* BLUELM_CPU_* that only the system can tell     */
    /* What is no error but worth telling, for bluelm_error_text, at bluelm_init: a context
     * beyond the model's training, a chat template that is not known. */
    void (*log)(void *user, const bluelm_error *warning);
} bluelm_port;

typedef struct bluelm bluelm;

/* Computes the arena from the files' headers, with the code that bluelm_init lays it out by.
 * Errors: BLUELM_E_ARG, BLUELM_E_FORMAT, BLUELM_E_UNSUPPORTED, and BLUELM_E_BUDGET
 * when a cap is too low (need is filled in all the same). */
int bluelm_plan(const bluelm_weights *weights, const bluelm_config *config,
                bluelm_memory *need, bluelm_error *err);

/* Builds an engine at the start of the arena; a byte less than plan's total is BLUELM_E_BUDGET.
 *   arena   any address; the engine's until bluelm_close; NULL: one of 0 bytes
 *   config  NULL: all defaults;  port  NULL: one thread, no clock
 * A file that changes meanwhile is BLUELM_E_FORMAT. */
int bluelm_init(bluelm **engine, void *arena, size_t arena_bytes,
                const bluelm_weights *weights, const bluelm_config *config,
                const bluelm_port *port, bluelm_error *err);

/* Gives the arena back: waits for the port's `start`, lifts AddressSanitizer's poison.
 *   engine  NULL is fine;  wipe  1: zeros over all the engine used, texts and pictures too */
void bluelm_close(bluelm *engine, int wipe);

/* ---- Input ----------------------------------------------------------------- */

typedef enum bluelm_role { BLUELM_SYSTEM = 0, BLUELM_USER = 1, BLUELM_ASSISTANT = 2 } bluelm_role;

/* A picture: RGB rows, or a PNG or JPEG file in memory (then rgb is NULL). Either stays readable
 * until it is encoded: until bluelm_step reports BLUELM_EVENT_ENCODE with done == total. */
typedef struct bluelm_image {
    const uint8_t *rgb;  /* [height_px][stride_bytes], 3 bytes a pixel */
    uint32_t width_px;   /* 1 .. 65535 */
    uint32_t height_px;  /* 1 .. 65535 */
    size_t stride_bytes; /* from row to row; 0: 3 x width_px */
    const void *encoded; /* PNG or JPEG, encoded_bytes of it */
    size_t encoded_bytes;
} bluelm_image;

/* What a picture becomes: a grid of tiles, or one picture of its own size (a grid of
 * 1 x 1 whose tile has that size). */
typedef struct bluelm_tile_grid {
    uint32_t columns, rows;            /* local tiles                                 */
    uint32_t thumbnail;                /* 1: the whole picture is a tile of its own   */
    uint32_t tiles;                    /* columns x rows + thumbnail                  */
    uint32_t tile_width_px, tile_height_px;
    uint32_t thumbnail_width_px, thumbnail_height_px;
    uint32_t resized_width_px;         /* the picture on its canvas of columns x      */
    uint32_t resized_height_px;        /*   tile_width by rows x tile_height          */
    uint32_t offset_x_px, offset_y_px; /* its place there; padding around it          */
    uint32_t tile_tokens, thumbnail_tokens; /* each                                   */
    uint32_t tokens;                   /* image tokens, without the marker tokens     */
    uint32_t reduced;                  /* 1: cut down for want of room in the context */
} bluelm_tile_grid;

/* Opens a turn of the model's chat template; an open turn is closed first. The
 * text and pictures added next belong to it. Text added with no turn open is raw
 * completion text. Errors: BLUELM_E_CONTEXT, BLUELM_E_UNSUPPORTED (no template). */
int bluelm_begin_turn(bluelm *engine, bluelm_role role, bluelm_error *err);

/* Queues text. It is never parsed for special tokens: what a user types cannot become one,
 * nor a marker of the template; where those are plain words (vicuna, llava, llama-2, mistral-v1,
 * deepseek) text can imitate them. Spaces and line breaks at the ends of a turn go where the
 * model's own template drops them.
 *   utf8  `bytes` bytes; invalid UTF-8 is tokenized byte by byte
 * Errors: BLUELM_E_BUDGET (longer than config text_bytes), BLUELM_E_CONTEXT. */
int bluelm_add_text(bluelm *engine, const char *utf8, size_t bytes, bluelm_error *err);

/* Queues trusted text: special tokens, written out, become themselves. Errors: the same. */
int bluelm_add_markup(bluelm *engine, const char *utf8, size_t bytes, bluelm_error *err);

/* Queues a picture at this place of the turn, at most 16 at a time. The grid is chosen now,
 * capped by the tokens left in the context; a file is checked as far as that goes without
 * decoding it. EXIF's orientation is applied, transparency composed on background_rgb.
 *   grid  out, may be NULL
 * Returns the number of tiles, or BLUELM_E_IMAGE, BLUELM_E_ARG, BLUELM_E_CONTEXT (even the
 * least has no room), BLUELM_E_BUDGET (waiting text; memory for a picture that is decoded
 * whole), BLUELM_E_STATE (no mmproj). */
int bluelm_add_image(bluelm *engine, const bluelm_image *image, bluelm_tile_grid *grid,
                     bluelm_error *err);

/* Queues a picture whose tokens were made before, by bluelm_embed_image here or elsewhere.
 *   rows  [rows_count x columns][floats of a token] f32, line by line; stays readable until
 *         the picture's BLUELM_EVENT_ENCODE has come
 * The markup around it is the caller's. Errors: BLUELM_E_ARG (no tokens, or more than planned:
 * config max_image_tokens), BLUELM_E_CONTEXT, BLUELM_E_STATE. */
int bluelm_add_image_rows(bluelm *engine, const float *rows, uint32_t columns,
                          uint32_t rows_count, bluelm_error *err);

/* Asks for an answer once all is read that is queued: closes an open turn, opens its own. Asked
 * again behind BLUELM_END_MAX_TOKENS it goes on. What is added in mid-answer ends it, no END.
 *   max_tokens  most tokens to make; 0: until the model ends or the context is full
 * BLUELM_E_CONTEXT (no room for what opens it), BLUELM_E_STATE (nothing was added). */
int bluelm_generate(bluelm *engine, uint32_t max_tokens, bluelm_error *err);

/* ---- Work -------------------------------------------------------------------- */

typedef enum bluelm_event_type {
    BLUELM_EVENT_IDLE = 0,    /* nothing to do until input or bluelm_generate comes       */
    BLUELM_EVENT_ENCODE = 1,  /* some of a picture was read, or one layer ran over one batch
                                 of tiles; done/total in reads and tiles x layers of it   */
    BLUELM_EVENT_PREFILL = 2, /* one layer over one chunk; done/total in tokens x layers
                                 of what is queued                                        */
    BLUELM_EVENT_TOKEN = 3,   /* a token was made; text may be empty while a character is
                                 incomplete                                               */
    BLUELM_EVENT_END = 4      /* the answer is complete: see end_reason                   */
} bluelm_event_type;

enum {
    BLUELM_END_OF_TURN = 0,    /* the model ended it                        */
    BLUELM_END_MAX_TOKENS = 1, /* max_tokens were made                      */
    BLUELM_END_CONTEXT = 2,    /* the context is full; bluelm_reset or end  */
    BLUELM_END_STOP_STRING = 3 /* see bluelm_set_stop                       */
};

typedef struct bluelm_event {
    bluelm_event_type type;
    uint64_t done, total;   /* ENCODE, PREFILL                                        */
    int32_t token;          /* TOKEN                                                  */
    const char *text;       /* TOKEN, END: valid UTF-8, until the next call           */
    size_t text_bytes;
    int end_reason;         /* END: BLUELM_END_*                                      */
    int reduced;            /* ENCODE: 1 if the picture's grid is (bluelm_tile_grid)  */
} bluelm_event;

/* Does one bounded unit of work: one network layer over one batch of tiles or one chunk of the
 * prompt, or one token. Not calling it leaves the work queued; bluelm_rewind, _reset cancel it.
 * Returns 1 while there is more to do, 0 at BLUELM_EVENT_IDLE and _END, or an error. A
 * picture that cannot be decoded (BLUELM_E_IMAGE) takes the turn it belongs to and all that
 * was queued after it along; the conversation before that turn goes on. (In families whose
 * state cannot be cut back, what was read of the turn before stays, the turn open.) */
int bluelm_step(bluelm *engine, bluelm_event *event, bluelm_error *err);

/* Forgets the conversation: queue, KV cache, history, marks. Sampler and statistics stay. */
void bluelm_reset(bluelm *engine);

/* The mmproj is read while pictures are encoded and at no other time. After the first its memory
 * may be unmapped, powered down or used for something else, until it is attached again; the
 * conversation goes on, reset too, but a picture that is added is BLUELM_E_STATE meanwhile.
 * Errors: BLUELM_E_STATE (no mmproj; pictures wait to be encoded: have, their number). */
int bluelm_vision_release(bluelm *engine, bluelm_error *err);

/* The same file is there again, at any address. Its size and header are compared with what they
 * were; of the weights nothing is read. Errors: BLUELM_E_FORMAT (another file; it stays
 * released), BLUELM_E_STATE (it was not released). */
int bluelm_vision_attach(bluelm *engine, const void *mmproj, size_t mmproj_bytes,
                         bluelm_error *err);

/* Sets a mark behind all that was added so far, read or not. No token reaches over a mark.
 *   mark  0 .. config marks - 1; the place it marked before is forgotten
 * Errors: BLUELM_E_ARG, BLUELM_E_CONTEXT (the waiting text has no room), BLUELM_E_STATE. */
int bluelm_mark(bluelm *engine, uint32_t mark, bluelm_error *err);

/* Forgets all that came after a mark, queued, read or answered, and later marks; what came
 * before is not read again. It ends an answer and cancels queued work. The mark stays.
 * Errors: BLUELM_E_ARG, BLUELM_E_STATE (never set, or behind a place gone back to). */
int bluelm_rewind(bluelm *engine, uint32_t mark, bluelm_error *err);

/* ---- Sampling ------------------------------------------------------------------ */

/* All zero, or NULL, is greedy. Applied in this order: repetition penalty, top-k,
 * temperature, top-p, min-p, then one draw. */
typedef struct bluelm_sampling {
    float temperature;    /* 0: greedy                                              */
    uint32_t top_k;       /* keep the k best; 0: all                                */
    float top_p;          /* keep the best that sum to p; 0 or 1: all               */
    float min_p;          /* drop below min_p x the best's probability; 0: none     */
    float repeat_penalty; /* > 1 makes tokens of the last repeat_last rarer; 0, 1: off */
    uint32_t repeat_last; /* 0: 64                                                  */
    uint64_t seed;        /* same seed, same text                                   */
} bluelm_sampling;

/* Sets the sampler and restarts its random sequence, which nothing else does: answers draw
 * from it one after another. BLUELM_E_ARG names the field. */
int bluelm_set_sampling(bluelm *engine, const bluelm_sampling *sampling, bluelm_error *err);

/* Answers end before any of these strings, at most 8 of 1 .. 63 bytes of UTF-8; copied. Text
 * that may become one is held back: past max_tokens it comes with the next bluelm_generate.
 * The string's own tokens stay in the context. BLUELM_E_ARG. */
int bluelm_set_stop(bluelm *engine, const char *const *strings, size_t count, bluelm_error *err);

/* ---- Looking inside --------------------------------------------------------------- */

/* Tokens of a text, without BOS or EOS.
 *   tokens  out [max_tokens], may be NULL when max_tokens is 0
 *   special  1: special tokens written out become themselves
 * Returns their number; more than max_tokens: only max_tokens were written. BLUELM_E_BUDGET
 * (longer than config text_bytes), BLUELM_E_STATE (no vocabulary). */
int64_t bluelm_tokenize(bluelm *engine, const char *utf8, size_t bytes, int special,
                        int32_t *tokens, size_t max_tokens, bluelm_error *err);

/* The bytes of one token: parts of characters as they are, special tokens by their names.
 * Returns their number; more than `bytes`: only `bytes` were written. BLUELM_E_ARG, _STATE. */
int64_t bluelm_detokenize(bluelm *engine, int32_t token, char *text, size_t bytes,
                          bluelm_error *err);

/* Queues token ids as they are. BLUELM_E_ARG, BLUELM_E_CONTEXT, BLUELM_E_STATE (no llm). */
int bluelm_add_tokens(bluelm *engine, const int32_t *tokens, size_t count, bluelm_error *err);

/* Tokens of the conversation so far, read, queued and of waiting text as if nothing followed;
 * an image token is -1 - its index in its picture. Arguments and result as bluelm_tokenize. */
int64_t bluelm_context_ids(const bluelm *engine, int32_t *tokens, size_t max_tokens);

/* The logits after the last token queued, [n_vocab], once bluelm_step has reported
 * BLUELM_EVENT_IDLE; NULL before the first. n_vocab may be NULL. */
const float *bluelm_logits(const bluelm *engine, uint32_t *n_vocab);

/* Encodes one picture as one tile, to the end: stretched to the encoder's size, or in an encoder
 * that takes any to the nearest multiples of its patches. It needs no language model.
 *   tokens  out [tokens][floats of a token] f32; max_floats: its room
 * Returns the number of floats. BLUELM_E_BUDGET: need and have bytes. Queued work
 * must be finished first (BLUELM_E_STATE). */
int64_t bluelm_embed_image(bluelm *engine, const bluelm_image *image, float *tokens,
                           size_t max_floats, bluelm_error *err);

/* The same a step at a time: after bluelm_embed_begin bluelm_step encodes the picture
 * (BLUELM_EVENT_ENCODE) until it reports BLUELM_EVENT_IDLE, then bluelm_embed_rows gives the
 * rows, before anything else is asked of the engine. Errors: as bluelm_embed_image;
 * BLUELM_E_STATE from bluelm_embed_rows while there are none. */
int bluelm_embed_begin(bluelm *engine, const bluelm_image *image, bluelm_error *err);
int64_t bluelm_embed_rows(bluelm *engine, float *tokens, size_t max_floats, bluelm_error *err);

/* Chooses the grid that a picture of this size gets in an empty context, from the files'
 * headers. Returns the number of tiles, or an error as bluelm_plan or bluelm_add_image. */
int bluelm_tile_plan(const bluelm_weights *weights, const bluelm_config *config,
                     uint32_t width_px, uint32_t height_px, bluelm_tile_grid *grid,
                     bluelm_error *err);

/* Size of an encoded picture as it is shown, from its header. Returns 0 or BLUELM_E_IMAGE. */
int bluelm_image_size(const void *encoded, size_t encoded_bytes, uint32_t *width_px,
                      uint32_t *height_px, bluelm_error *err);

/* Bytes of config whole_image_bytes for a picture: 0 where it is read by rows; or an error. */
int64_t bluelm_image_whole_bytes(const void *encoded, size_t encoded_bytes, bluelm_error *err);

/* Names of the chat templates there are, from 0 on; NULL behind the last. */
const char *bluelm_chat_template_name(uint32_t index);

/* What a pair of files holds. Texts are constants of the library. */
typedef struct bluelm_info {
    const char *architecture; /* "llama" ..; "none": a vocabulary alone                  */
    const char *chat_template; /* "bluelm", "chatml" ..; "none"                          */
    const char *chat_note;     /* how it departs from the model's own template; "" if not */
    uint32_t n_vocab, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff;
    uint32_t trained_context_tokens;
    uint32_t image_token_floats; /* of bluelm_add_image_rows: n_embd, times what is deep too  */
    int32_t bos_token, eos_token, end_of_turn_token; /* ids, -1: the vocabulary has none     */
    const char *projector; /* "lfm2" ..; "none" without an mmproj, and the rest is 0     */
    const char *tile_rule; /* "relaxed" ..                                               */
    uint32_t tile_px, patch_px, vision_width, vision_layers, vision_heads, vision_ffn;
    uint32_t tokens_per_tile;
} bluelm_info;

/* Reads the headers of both. Errors as bluelm_plan. */
int bluelm_describe(const bluelm_weights *weights, bluelm_info *info, bluelm_error *err);

typedef struct bluelm_stats {
    uint64_t image_tiles, image_us;       /* tiles encoded, with decoding and resizing */
    uint64_t prefill_tokens, prefill_us;
    uint64_t decode_tokens, decode_us; /* made after an answer's first, which is prefill's */
    uint32_t context_used_tokens, context_tokens;
    uint64_t arena_bytes;
    const char *kernels; /* name of the instruction set in use */
} bluelm_stats;

void bluelm_get_stats(const bluelm *engine, bluelm_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
