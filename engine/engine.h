/* The engine: everything that lives in the arena, and the state of the conversation. */
#ifndef BLM_ENGINE_H
#define BLM_ENGINE_H

#include "../families/language.h"
#include "../families/markup.h"
#include "../families/templates.h"
#include "../families/tiling.h"
#include "../families/vision.h"
#include "../text/sampler.h"
#include "../text/stop.h"
#include "../text/utf8.h"
#include "../tiler/picture.h"
#include "../tiler/resize.h"
#include "input.h"

#define BLM_MAX_QUEUED_IMAGES      16
#define BLM_TOKEN_TEXT_BYTES       512 /* of one token; what a longer one has beyond is cut   */
#define BLM_TOKEN_TEXT_ROOM        BLM_UTF8_ROOM(BLM_TOKEN_TEXT_BYTES)
#define BLM_DYNAMIC_TOKENS_DEFAULT 1024 /* of a picture of its own size           */
#define BLM_MARKUP_BYTES           512 /* what a template adds to a turn's text                */

#define BLM_TURN_NONE (-1)

/* Where a turn begins: behind `tokens` tokens of the conversation and `waiting_bytes` of the
 * text that waited then. */
typedef struct blm_turn_start {
    uint32_t tokens, waiting_bytes;
    int last; /* the role of the turn before, or BLM_TURN_NONE */
} blm_turn_start;

/* Where the conversation stands in the chat template. */
typedef struct blm_turns {
    int open;             /* the open turn's bluelm_role, or BLM_TURN_NONE    */
    int last;             /* of the turn closed last, or BLM_TURN_NONE        */
    int begun;            /* what comes before the first turn is there        */
    int empty;            /* nothing was added to the open turn yet           */
    int part_empty;       /* and no text since its last picture               */
    int wordless;         /* and no text at all                               */
    blm_turn_start start; /* of the open turn                      */
} blm_turns;

/* A place in the conversation to go back to. Its logits and the state of layers that cannot
 * be cut back are copied when it is read. */
typedef struct blm_mark {
    int set;        /* it marks a place                                        */
    int saved;      /* the tokens before it are read, and what they left is kept */
    uint32_t count; /* tokens of the conversation before it                    */
    int after_special;
    blm_turns turns;
    int logits_ready;
    float *logits;  /* [n_vocab]                                                 */
    uint8_t *state; /* [blm_state_snapshot_bytes], none where the state is plain */
} blm_mark;

/* The image tokens of one tile. */
typedef struct blm_tile_tokens {
    uint32_t tokens, columns; /* row by row */
} blm_tile_tokens;

/* A picture in the queue. Its tokens lie in input.tokens with markers between the tiles. */
typedef struct blm_queued_image {
    bluelm_image image;
    bluelm_tile_grid grid;
    const float *rows; /* its image tokens, made before: nothing is to be encoded        */
    blm_tile_tokens tile, thumbnail; /* of a local tile, and of the thumbnail              */
    int thumbnail_first;             /* of the tiles, if there is one                      */
    uint32_t first, end;  /* indices of its first marker and behind its last image token   */
    blm_turn_start start; /* of its turn                                                   */
} blm_queued_image;

/* How far a picture is encoded. */
typedef struct blm_encoding {
    blm_picture picture; /* on its way into canvases                        */
    int begun, read;     /* it is being read, it is complete in its canvases   */
    uint32_t read_steps; /* steps that did nothing but read                  */
    uint32_t first_tile; /* of the batch in progress                       */
    uint32_t first_row;  /* of its image tokens                             */
    uint32_t layer;      /* next to run over it                            */
    int started;         /* the batch is embedded                          */
    int done;            /* all image tokens are in image_tokens           */
    blm_vision_batch batch;
    blm_vision_batch ahead; /* the next batch, with overlap_tiles        */
    uint32_t ahead_first;   /* its first tile                                 */
    int ahead_running;      /* the port has it                           */
} blm_encoding;

/* The mmproj as it was given, and what the one that is attached later has to equal. */
typedef struct blm_mmproj {
    const uint8_t *file;
    uint64_t bytes;
    uint64_t header_bytes, header_hash; /* all before the weights           */
    int released;                       /* no byte of it may be read        */
} blm_mmproj;

/* The first piece of the arena; every pointer leads into the arena or into the files. */
struct bluelm {
    bluelm_config config; /* defaults filled in */
    blm_arena arena;      /* which this lies in */
    blm_compute compute;
    int has_vision, has_language, has_vocab; /* the last alone only tokenizes           */

    blm_vocab vocab;
    const blm_chat_template *chat; /* NULL: the model has none */
    blm_chat_template own_chat;    /* of config.chat_texts     */
    blm_language language;
    blm_vision vision;
    blm_tile_rule tile_rule;
    blm_image_markup markup;
    blm_mmproj mmproj;

    blm_state state;
    blm_language_work language_work;
    blm_vision_work vision_work;
    blm_vision_work ahead_work; /* for a batch embedded ahead, by one thread         */
    blm_compute ahead_compute;
    uint8_t *canvas;  /* [canvas_bytes]: tiles of the picture that is encoded   */
    uint8_t *scratch; /* [scratch_bytes] behind it: what reading the picture takes */
    uint64_t canvas_bytes, scratch_bytes;
    uint16_t *image_tokens;    /* [image_rows][n_embd] f16: of one picture, in token order  */
    uint32_t row_values;       /* of an image token                                   */
    uint32_t image_rows;       /* most image tokens of a picture                        */
    uint32_t tile_rows;        /* and of one tile                                       */
    uint32_t max_patches;      /* of one tile                                           */
    float *logits;             /* [n_vocab]                                            */
    blm_candidate *candidates; /* [n_vocab]                                         */

    blm_input input;
    blm_queued_image *images; /* [BLM_MAX_QUEUED_IMAGES]; the head is images[0]      */
    uint32_t image_count;
    blm_encoding encoding;
    int embedding;              /* encoding is of embed_job, not of images[0]            */
    blm_queued_image embed_job; /* bluelm_embed_begin's picture                            */
    blm_tile_rule embed_rule;

    blm_chunk chunk;      /* count 0: none in progress                              */
    uint32_t chunk_layer; /* next to run over it                                    */
    uint32_t read_tokens; /* of input.tokens in the KV cache                        */
    uint32_t batch_start; /* read_tokens when the queue was last empty: progress    */
    uint32_t *positions;  /* [context + 1]: where each token read would stand as text */
    int logits_ready;     /* for the last token read                                */
    blm_mark *marks;      /* [config.marks]                                         */

    blm_turns turns;
    int generating;
    uint32_t made_tokens, max_new_tokens;
    blm_sampler sampler;
    blm_utf8_stream stream;
    blm_stops stops;
    char *token_text; /* [BLM_STOP_BYTES + 1 + BLM_TOKEN_TEXT_ROOM]: of the event given last */

    bluelm_stats stats;
};

/* An engine in the making: what the layout of the arena finds out. It is the caller's, so it
 * has what plans need and nothing more. */
typedef struct blm_layout {
    bluelm *e; /* being built, NULL while the arena is counted */
    blm_arena *arena;
    const bluelm_weights *weights;
    const bluelm_port *port;
    bluelm_config config; /* defaults filled in */
    bluelm_memory memory;
    int has_vision, has_language, has_vocab;
    const blm_chat_template *chat; /* NULL while the caller's own is counted */
    uint32_t n_tokens;             /* of the vocabulary */
    int32_t bos, eos, eot;
    blm_language language;
#ifndef BLUELM_NO_VISION
    blm_vision vision;
    blm_tile_rule tile_rule;
    blm_image_markup markup;
#endif
    uint32_t row_values;
    uint32_t max_patches; /* of one tile                   */
    uint32_t image_rows;  /* most image tokens of a picture */
    uint32_t tile_rows;   /* and of one tile               */
} blm_layout;

/* Lays the engine out in the arena (counting when it has no base) and opens the files: the one
 * layout that plan and init share. */
BLM_PRIVATE int blm_engine_layout(blm_layout *l, blm_arena *arena,
                                  const bluelm_weights *weights, const bluelm_config *config,
                                  const bluelm_port *port, bluelm_error *err);

/* The same, counted alone. */
BLM_PRIVATE BLM_COLD int blm_engine_count(blm_layout *l, const bluelm_weights *weights,
                                          const bluelm_config *config, bluelm_error *err);

/* What bluelm_init does after bluelm_plan: builds the engine in an arena that is large enough.
 * Errors: BLUELM_E_FORMAT when it does not come out as planned. */
BLM_PRIVATE BLM_COLD int blm_engine_build(bluelm **engine, void *arena, size_t arena_bytes,
                                          uint64_t planned_bytes, const bluelm_weights *weights,
                                          const bluelm_config *config, const bluelm_port *port,
                                          bluelm_error *err);

/* Of BLUELM_ACT_*. */
static inline BLM_UNUSED uint32_t blm_activation_bits(uint32_t activation_type)
{
    return activation_type == BLUELM_ACT_INT16 ? 16 : 8;
}

/* Bytes taken since *mark, which moves on. */
BLM_PRIVATE uint64_t blm_layout_part(const blm_arena *arena, uint64_t *mark);

/* The language model's: its file, with tables and vocabulary; what it remembers, and bytes of
 * a snapshot of what cannot be cut back; its activations. */
BLM_PRIVATE BLM_COLD int blm_layout_llm(blm_layout *l, uint64_t *mark, bluelm_error *err);
BLM_PRIVATE BLM_COLD void blm_layout_state(blm_layout *l, uint64_t *snapshot_bytes);
BLM_PRIVATE BLM_COLD void blm_layout_language(blm_layout *l, const blm_compute *c);

/* The encoder's: its file; how many tokens a picture and a tile can have, left as they are
 * without an encoder; its texts in the words of the vocabulary, whose markers become control;
 * its places in the overlay; what the engine takes over; what it says of itself. */
BLM_PRIVATE int blm_layout_open_vision(blm_layout *l, bluelm_error *err);
BLM_PRIVATE void blm_layout_picture_tokens(const blm_layout *l, uint32_t *most,
                                           uint32_t *of_tile);
BLM_PRIVATE void blm_layout_markup(blm_layout *l);
BLM_PRIVATE BLM_COLD void blm_layout_vision(blm_layout *l, blm_compute *c);
BLM_PRIVATE void blm_layout_hand_over_vision(const blm_layout *l);
BLM_PRIVATE void blm_layout_describe_vision(const blm_layout *l, bluelm_info *info);

/* Most image tokens for a picture that comes when `used` tokens of the context are taken: an
 * eighth of the context is left for words, but for a tile. At least 1. */
BLM_PRIVATE uint32_t blm_token_cap(uint32_t context, uint32_t tile_tokens, uint32_t image_rows,
                                   uint32_t used);

/* Fills in a picture's size and stride and checks all there is to check before it is
 * decoded. Errors as bluelm_add_image. */
BLM_PRIVATE int blm_engine_measure(const bluelm *e, const bluelm_image *image,
                                   bluelm_image *out, bluelm_error *err);

/* Puts config.chat_texts in the place of the file's template. Errors: BLUELM_E_ARG (a text of
 * it, or config.date, is too long). */
BLM_PRIVATE int blm_layout_own_chat(blm_layout *l, bluelm_error *err);

/* Makes control of the tokens that are markers of the chat template. */
BLM_PRIVATE void blm_guard_turns(blm_vocab *v, const blm_chat_template *t);

/* Fills in defaults and checks limits: of fields that do not depend on the model, and of
 * those whose defaults come from it. Errors: BLUELM_E_ARG names the field. */
BLM_PRIVATE int blm_config_resolve(bluelm_config *c, bluelm_error *err);
BLM_PRIVATE int blm_config_resolve_context(bluelm_config *c, const blm_language *m,
                                           bluelm_error *err);

/* Parts of a call that adds input, which works between blm_call_begin and blm_call_end; when
 * `code` is an error, end puts everything back as it was and returns it. */
typedef struct blm_call {
    blm_input input;
    blm_turns turns;
    int generating;
    blm_utf8_stream stream;
    blm_stop_held held;
    uint32_t text_end;             /* of the waiting text without the spaces that end it */
    char spaces[BLM_MARKUP_BYTES]; /* behind it: closing a turn writes markup over them  */
} blm_call;

BLM_PRIVATE void blm_call_begin(blm_call *before, bluelm *e);
BLM_PRIVATE int blm_call_end(bluelm *e, const blm_call *before, int code);

/* What the chat template says to what is added. Where the waiting text ends without what the
 * template trims; whether the open turn's words come to nothing, or begin behind `c`; before
 * words; before an answer, where another's turn is open. Around a picture: begin may be called
 * again when the input was put back to what it was before. */
BLM_PRIVATE uint32_t blm_turn_text_end(const bluelm *e);
BLM_PRIVATE int blm_turn_drops_words(const bluelm *e);
BLM_PRIVATE int blm_turn_trims(const bluelm *e, char c);
BLM_PRIVATE int blm_turn_begin_words(bluelm *e, bluelm_error *err);
BLM_PRIVATE int blm_turn_answer(bluelm *e, bluelm_error *err);
BLM_PRIVATE void blm_begin_picture(bluelm *e, const blm_call *before);
BLM_PRIVATE void blm_end_picture(bluelm *e);

/* Room for one more picture in the queue, or an error; where the turn begins that a picture
 * belongs to, without an open turn the picture. */
BLM_PRIVATE int blm_check_queue(const bluelm *e, bluelm_error *err);
BLM_PRIVATE blm_turn_start blm_picture_start(const bluelm *e, const blm_call *before);

/* Forgets what is held of an answer's text. */
BLM_PRIVATE void blm_stream_clear(bluelm *e);

/* Begins input: ends an answer that is being made, and begins the conversation. */
BLM_PRIVATE int blm_input_open(bluelm *e, bluelm_error *err);

/* One layer over one batch of tiles of the picture at the head of the queue. */
BLM_PRIVATE int blm_step_encode(bluelm *e, bluelm_event *event, bluelm_error *err);

/* A picture whose tokens the caller made: they are taken over at once. */
BLM_PRIVATE int blm_step_given(bluelm *e, bluelm_event *event);

/* As blm_step_encode for bluelm_embed_begin's picture. */
BLM_PRIVATE int blm_step_embed(bluelm *e, bluelm_event *event, bluelm_error *err);
BLM_PRIVATE void blm_embed_end(bluelm *e);

/* Remembers what file the encoder is from. */
BLM_PRIVATE void blm_mmproj_keep(blm_mmproj *kept, const blm_gguf *g);

/* Waits for the batch that the port has. */
BLM_PRIVATE void blm_encode_finish_ahead(bluelm *e);

/* Forgets what comes after the first `count` tokens, queued or read. Of what was read the
 * caller sees to the state and the logits. */
BLM_PRIVATE void blm_engine_cut(bluelm *e, uint32_t count);

/* After a picture's failure: forgets its turn and all that follows. */
BLM_PRIVATE void blm_engine_drop_turn(bluelm *e, const blm_turn_start *start);

/* Takes `count` marks and what they keep from the arena. */
BLM_PRIVATE blm_mark *blm_marks_take(blm_arena *arena, uint32_t count, uint32_t n_vocab,
                                     uint64_t state_bytes);

/* The first place behind what is read, at most `end`, where a mark waits to be kept. */
BLM_PRIVATE uint32_t blm_marks_stop(const bluelm *e, uint32_t end);

/* Whether a mark waits to be kept at the place reached now, and keeping logits and state for
 * those that do at the place reached now. */
BLM_PRIVATE int blm_marks_here(const bluelm *e);
BLM_PRIVATE void blm_marks_save(bluelm *e);

/* Fails for an id that the vocabulary of n_tokens does not have. */
BLM_PRIVATE int blm_fail_token(bluelm_error *err, int32_t token, uint32_t n_tokens);

/* Clears the conversation. */
BLM_PRIVATE void blm_engine_clear(bluelm *e);

#endif
