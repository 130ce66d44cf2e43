/* Adding a picture: its grid, its markup, its place in the queue. */
#include "engine.h"

/* Rows and columns whose markers are kept out of text: vocabularies name up to ten. */
#define BLM_GUARDED_ROWS 16

/* What stands for a number in a text: rows and columns of tiles, the picture's own. */
typedef struct blm_markup_numbers {
    uint32_t row, column, image;
} blm_markup_numbers;

static size_t blm_fill_number(uint32_t number, char *out)
{
    uint32_t power = 1;
    size_t n = 0;
    while (number / power >= 10)
        power *= 10;
    for (; power; power /= 10)
        out[n++] = (char)('0' + number / power % 10);
    return n;
}

/* Copies markup with {row}, {col} and {image} replaced. Returns the bytes written to out
 * [BLM_IMAGE_MARKUP_BYTES]: a number is no longer than its name. */
static size_t blm_fill_markup(blm_string markup, blm_markup_numbers numbers, char *out)
{
    const struct {
        const char *name;
        uint32_t bytes, number;
    } places[] = {{"{row}", 5, numbers.row},
                  {"{col}", 5, numbers.column},
                  {"{image}", 7, BLM_MIN(numbers.image, 9999999u)}};
    size_t n = 0;
    for (uint64_t i = 0; i < markup.bytes;) {
        uint32_t p = 0;
        while (p < BLM_COUNT_OF(places) &&
               (markup.bytes - i < places[p].bytes ||
                !blm_same_bytes(markup.text + i, places[p].name, places[p].bytes)))
            p++;
        if (p < BLM_COUNT_OF(places)) {
            n += blm_fill_number(places[p].number, out + n);
            i += places[p].bytes;
        } else {
            out[n++] = markup.text[i++];
        }
    }
    return n;
}

static void blm_guard_tile(blm_vocab *v, blm_string markup, uint32_t row, uint32_t column)
{
    char text[BLM_IMAGE_MARKUP_BYTES];
    const blm_markup_numbers numbers = {row, column, 0};
    blm_vocab_guard(v, text, blm_fill_markup(markup, numbers, text));
}

static void blm_guard_pictures(blm_vocab *v, const blm_image_markup *m)
{
    /* What the models' own programs put where a picture's tokens go: no text either. */
    static const char places[] = "<image><|image|><|image_pad|><|vision_pad|><|video_pad|>"
                                 "<IMG_CONTEXT><image_soft_token><start_of_image>[IMG]";
    const blm_string texts[] = {m->begin,    m->end,       m->single,
                                m->row_end,  m->thumbnail, m->line_end,
                                m->tile_end, m->whole_end, m->row_gap};
    blm_vocab_guard(v, places, sizeof places - 1);
    for (uint32_t i = 0; i < BLM_COUNT_OF(texts); i++)
        blm_guard_tile(v, texts[i], 1, 1);
    for (uint32_t row = 1; row <= BLM_GUARDED_ROWS; row++)
        for (uint32_t column = 1; column <= BLM_GUARDED_ROWS; column++)
            blm_guard_tile(v, m->tile, row, column);
}

BLM_PRIVATE void blm_layout_markup(blm_layout *l)
{
    blm_vocab *v = l->e ? &l->e->vocab : NULL;
    if (!v || !l->has_vision || !l->has_vocab) return;
    blm_guard_pictures(v, &l->markup);
    blm_image_markup_fit(&l->markup, v);
}

/* ---- Queueing ---------------------------------------------------------------------------- */

static blm_tile_tokens blm_tile_tokens_of(const bluelm *e, uint32_t width_px,
                                          uint32_t height_px)
{
    uint32_t columns, rows;
    uint32_t tokens = blm_vision_tokens(&e->vision, width_px, height_px, &columns, &rows);
    return (blm_tile_tokens){tokens, columns};
}

/* Pictures of the conversation so far: each has one first row. */
static uint32_t blm_count_pictures(const blm_input *in)
{
    uint32_t pictures = 0;
    for (uint32_t i = 0; i < in->count; i++)
        pictures += in->tokens[i] == -1;
    return pictures;
}

static int blm_add_text_around(bluelm *e, blm_string markup, blm_markup_numbers numbers,
                               bluelm_error *err)
{
    char text[BLM_IMAGE_MARKUP_BYTES];
    return blm_input_markup(&e->input, text, blm_fill_markup(markup, numbers, text), err);
}

/* Queues a tile whose image rows begin with *first, which moves on behind them: all together,
 * or row by row with a text between. */
static int blm_add_tile(bluelm *e, uint32_t *first, blm_tile_tokens tile, bluelm_error *err)
{
    const blm_string between = e->markup.line_end;
    const uint32_t run = between.bytes ? tile.columns : tile.tokens;
    int code = BLUELM_OK;
    for (uint32_t at = 0; at < tile.tokens && code >= 0; at += run) {
        if (at) code = blm_input_markup(&e->input, between.text, (size_t)between.bytes, err);
        if (code >= 0) code = blm_input_image(&e->input, *first + at, run, err);
    }
    *first += tile.tokens;
    return code;
}

static int blm_add_thumbnail(bluelm *e, const bluelm_tile_grid *grid, uint32_t place,
                             blm_markup_numbers numbers, uint32_t *first, bluelm_error *err)
{
    if (!grid->thumbnail || e->tile_rule.thumbnail != place) return BLUELM_OK;
    const blm_tile_tokens tile =
        blm_tile_tokens_of(e, grid->thumbnail_width_px, grid->thumbnail_height_px);
    int code = blm_add_text_around(e, e->markup.thumbnail, numbers, err);
    if (code >= 0) code = blm_add_tile(e, first, tile, err);
    return code < 0 ? code : blm_add_text_around(e, e->markup.whole_end, numbers, err);
}

/* Queues the tiles of the grid row by row. */
static int blm_add_rows_of_tiles(bluelm *e, const bluelm_tile_grid *grid,
                                 blm_markup_numbers numbers, uint32_t *first, bluelm_error *err)
{
    const blm_image_markup *m = &e->markup;
    const int several = grid->tiles > 1;
    const blm_tile_tokens tile =
        blm_tile_tokens_of(e, grid->tile_width_px, grid->tile_height_px);
    int code = BLUELM_OK;
    for (uint32_t i = 0; i < grid->columns * grid->rows && code >= 0; i++) {
        const int ends = (i + 1) % grid->columns == 0;
        numbers.row = i / grid->columns + 1;
        numbers.column = i % grid->columns + 1;
        code = blm_add_text_around(e, several ? m->tile : m->single, numbers, err);
        if (code >= 0) code = blm_add_tile(e, first, tile, err);
        if (code >= 0)
            code = blm_add_text_around(e, several ? m->tile_end : m->whole_end, numbers, err);
        if (code >= 0 && several && ends)
            code = blm_add_text_around(e, m->row_end, numbers, err);
        if (code >= 0 && ends && numbers.row < grid->rows)
            code = blm_add_text_around(e, m->row_gap, numbers, err);
    }
    return code;
}

/* Queues tiles as the one picture that they show: row by row through all of them, without
 * padding, behind each row the token that ends it, whose row lies behind those of all tiles. */
static int blm_add_joined(bluelm *e, const bluelm_tile_grid *grid, const bluelm_image *image,
                          bluelm_error *err)
{
    const uint32_t side = e->tile_rule.joined_side, tile = grid->tile_tokens;
    const blm_tile_box box = blm_tile_shown(&e->tile_rule, image->width_px, image->height_px,
                                            grid->columns, grid->rows);
    int code = BLUELM_OK;
    for (uint32_t y = box.row; y < box.row + box.rows; y++) {
        uint32_t first =
            grid->thumbnail_tokens + y / side * grid->columns * tile + y % side * side;
        for (uint32_t x = box.column, run; x < box.column + box.columns && code >= 0;
             x += run) {
            run = BLM_MIN(side - x % side, box.column + box.columns - x);
            code = blm_input_image(&e->input, first + x / side * tile + x % side, run, err);
        }
        if (code >= 0) code = blm_input_image(&e->input, grid->tiles * tile, 1, err);
    }
    return code;
}

/* Queues the tokens of a picture's tiles with their markup, in the model's order. */
static int blm_add_grid(bluelm *e, const bluelm_tile_grid *grid, const bluelm_image *image,
                        bluelm_error *err)
{
    const blm_image_markup *m = &e->markup;
    const blm_markup_numbers numbers = {1, 1, blm_count_pictures(&e->input)};
    uint32_t first = 0;
    int code = blm_add_text_around(e, m->begin, numbers, err);
    if (code >= 0) code = blm_add_thumbnail(e, grid, BLM_THUMBNAIL_FIRST, numbers, &first, err);
    if (code >= 0 && grid->thumbnail && e->tile_rule.joined_side)
        code = blm_add_joined(e, grid, image, err);
    else if (code >= 0)
        code = blm_add_rows_of_tiles(e, grid, numbers, &first, err);
    if (code >= 0) code = blm_add_thumbnail(e, grid, BLM_THUMBNAIL_LAST, numbers, &first, err);
    uint32_t last = e->input.count;
    if (code >= 0) code = blm_input_markup(&e->input, m->end.text, (size_t)m->end.bytes, err);
    if (code >= 0 && m->breaks_line && e->turns.open != BLM_TURN_NONE && !e->chat->user_words)
        code = blm_input_text(&e->input, "\n", 1, err);
    if (code >= 0) e->images[e->image_count].end = last;
    return code;
}

/* Whether there is memory to read the picture into its canvases. */
static int blm_check_memory(const bluelm *e, const bluelm_image *image,
                            const bluelm_tile_grid *grid, bluelm_error *err)
{
    uint64_t canvas, scratch;
    int code = blm_picture_need(&e->tile_rule, grid, image, &canvas, &scratch, err);
    if (code < 0) return code;
    if (canvas > e->canvas_bytes)
        return blm_fail(err, BLUELM_E_BUDGET, "picture canvas", canvas, e->canvas_bytes, 0);
    if (scratch > e->scratch_bytes)
        return blm_fail(err, BLUELM_E_BUDGET, "image decode (whole_image_bytes)", scratch,
                        e->scratch_bytes, 0);
    return BLUELM_OK;
}

int bluelm_add_image(bluelm *engine, const bluelm_image *image, bluelm_tile_grid *grid,
                     bluelm_error *err)
{
    bluelm_tile_grid chosen = {0};
    blm_queued_image *queued = &engine->images[engine->image_count];
    bluelm_image measured;
    int code = blm_check_queue(engine, err);
    if (code < 0 || (code = blm_engine_measure(engine, image, &measured, err)) < 0) return code;

    /* Markers count too, so a grid that does not fit is tried again with a token less. */
    blm_call before;
    blm_call_begin(&before, engine);
    uint32_t cap = blm_token_cap(engine->input.capacity, engine->vision.projector.tokens,
                                 engine->image_rows, engine->input.count);
    for (;; cap = chosen.tokens - 1) {
        engine->input = before.input;
        code = blm_tile_choose(&engine->tile_rule, measured.width_px, measured.height_px, cap,
                               &chosen, err);
        if (code < 0) break;
        code = blm_input_open(engine, err);
        blm_begin_picture(engine, &before);
        if (code >= 0 && (code = blm_add_grid(engine, &chosen, &measured, err)) >= 0)
            code = blm_input_check_room(&engine->input, err);
        if (code != BLUELM_E_CONTEXT) break;
    }
    if (code >= 0) code = blm_check_memory(engine, &measured, &chosen, err);
    const uint32_t first = before.input.count;
    const blm_turn_start start = blm_picture_start(engine, &before);
    if (blm_call_end(engine, &before, code) < 0) return code;
    queued->image = measured;
    queued->grid = chosen;
    queued->rows = NULL;
    queued->tile = blm_tile_tokens_of(engine, chosen.tile_width_px, chosen.tile_height_px);
    queued->thumbnail =
        blm_tile_tokens_of(engine, chosen.thumbnail_width_px, chosen.thumbnail_height_px);
    queued->thumbnail_first = engine->tile_rule.thumbnail == BLM_THUMBNAIL_FIRST;
    queued->first = first;
    queued->start = start;
    engine->image_count++;
    blm_end_picture(engine);
    if (grid) *grid = chosen;
    return (int)chosen.tiles;
}
