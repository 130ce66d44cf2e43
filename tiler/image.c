#include "image.h"

#include "jpeg.h"
#include "png.h"

#ifdef BLUELM_NO_IMAGE_DECODE

static int blm_image_left_out(bluelm_error *err)
{
    return blm_fail(err, BLUELM_E_UNSUPPORTED, "encoded pictures (built without)", 0, 0, 0);
}

BLM_PRIVATE int blm_image_info(const void *encoded, size_t bytes, blm_image_facts *facts,
                               bluelm_error *err)
{
    (void)encoded, (void)bytes;
    memset(facts, 0, sizeof *facts);
    return blm_image_left_out(err);
}

BLM_PRIVATE int blm_image_check(const void *encoded, size_t bytes, bluelm_error *err)
{
    (void)encoded, (void)bytes;
    return blm_image_left_out(err);
}

BLM_PRIVATE uint64_t blm_image_scratch_bytes(uint32_t max_width_px)
{
    (void)max_width_px;
    return 0;
}

BLM_PRIVATE int blm_image_need(const void *encoded, size_t bytes, uint64_t *need,
                               bluelm_error *err)
{
    (void)encoded, (void)bytes;
    *need = 0;
    return blm_image_left_out(err);
}

BLM_PRIVATE int blm_image_begin(blm_image_decoder *d, const void *encoded, size_t bytes,
                                const uint8_t *background_rgb, void *memory,
                                uint64_t memory_bytes, bluelm_error *err)
{
    (void)encoded, (void)bytes, (void)background_rgb, (void)memory, (void)memory_bytes;
    memset(d, 0, sizeof *d);
    return blm_image_left_out(err);
}

BLM_PRIVATE int blm_image_row(blm_image_decoder *d, uint8_t *row_rgb, bluelm_error *err)
{
    (void)d, (void)row_rgb;
    return blm_image_left_out(err);
}

#else

#define BLM_IMAGE_ALIGN 16 /* of the decoders' states */

/* What decodes one kind of file. */
typedef struct blm_image_format {
    int kind;
    const char *signature;
    size_t signature_bytes;
    int (*facts)(const uint8_t *file, size_t bytes, blm_image_facts *facts, bluelm_error *err);
    int (*check)(const uint8_t *file, size_t bytes, bluelm_error *err);
    int (*need)(const uint8_t *file, size_t bytes, uint64_t *need, bluelm_error *err);
    int (*begin)(void *memory, const uint8_t *file, size_t bytes,
                 const uint8_t background_rgb[3], bluelm_error *err);
    int (*row)(void *state, uint8_t *row_rgb, bluelm_error *err);
} blm_image_format;

static const blm_image_format blm_image_formats[] = {
    {BLM_IMAGE_PNG, "\x89PNG\r\n\x1A\n", 8, blm_png_facts, blm_png_check, blm_png_need,
     blm_png_begin, blm_png_row},
    {BLM_IMAGE_JPEG, "\xFF\xD8\xFF", 3, blm_jpeg_facts, blm_jpeg_check, blm_jpeg_need,
     blm_jpeg_begin, blm_jpeg_row},
};

/* What the file begins as, or NULL with the error filled. */
static const blm_image_format *blm_image_format_of(const void *encoded, size_t bytes,
                                                   bluelm_error *err)
{
    for (size_t i = 0; encoded && i < BLM_COUNT_OF(blm_image_formats); i++) {
        const blm_image_format *f = &blm_image_formats[i];
        if (bytes >= f->signature_bytes &&
            blm_same_bytes(encoded, f->signature, f->signature_bytes))
            return f;
    }
    blm_fail(err, BLUELM_E_IMAGE, "picture is neither PNG nor JPEG", 0, 0, 0);
    return NULL;
}

BLM_PRIVATE int blm_image_check_sides(uint32_t width, uint32_t height, bluelm_error *err)
{
    if (width >= 1 && width <= 65535 && height >= 1 && height <= 65535) return 0;
    uint32_t side = width >= 1 && width <= 65535 ? height : width;
    return blm_fail(err, BLUELM_E_IMAGE, "picture side", 65535, side, 0);
}

BLM_PRIVATE int blm_image_info(const void *encoded, size_t bytes, blm_image_facts *facts,
                               bluelm_error *err)
{
    memset(facts, 0, sizeof *facts);
    const blm_image_format *f = blm_image_format_of(encoded, bytes, err);
    if (!f) return BLUELM_E_IMAGE;
    int status = f->facts((const uint8_t *)encoded, bytes, facts, err);
    if (status < 0) return status;
    int turned = facts->orientation >= 5;
    facts->kind = f->kind;
    facts->width_px = turned ? facts->stored_height_px : facts->stored_width_px;
    facts->height_px = turned ? facts->stored_width_px : facts->stored_height_px;
    return 0;
}

BLM_PRIVATE int blm_image_check(const void *encoded, size_t bytes, bluelm_error *err)
{
    const blm_image_format *f = blm_image_format_of(encoded, bytes, err);
    return f ? f->check((const uint8_t *)encoded, bytes, err) : BLUELM_E_IMAGE;
}

BLM_PRIVATE uint64_t blm_image_scratch_bytes(uint32_t max_width_px)
{
    if (max_width_px == 0) return 0;
    return BLM_IMAGE_ALIGN - 1 +
           BLM_MAX(blm_png_scratch_bytes(max_width_px), blm_jpeg_scratch_bytes(max_width_px));
}

BLM_PRIVATE int blm_image_need(const void *encoded, size_t bytes, uint64_t *need,
                               bluelm_error *err)
{
    *need = 0;
    const blm_image_format *f = blm_image_format_of(encoded, bytes, err);
    if (!f) return BLUELM_E_IMAGE;
    int status = f->need((const uint8_t *)encoded, bytes, need, err);
    if (status == 0) *need += BLM_IMAGE_ALIGN - 1;
    return status;
}

BLM_PRIVATE int blm_image_begin(blm_image_decoder *d, const void *encoded, size_t bytes,
                                const uint8_t *background_rgb, void *memory,
                                uint64_t memory_bytes, bluelm_error *err)
{
    static const uint8_t white[3] = {255, 255, 255};
    uint64_t need;
    memset(d, 0, sizeof *d);
    d->failed = blm_image_info(encoded, bytes, &d->facts, err);
    if (d->failed == 0) d->failed = blm_image_need(encoded, bytes, &need, err);
    if (d->failed < 0) return d->failed;
    if (!memory) memory_bytes = 0;
    if (memory_bytes < need) {
        d->failed = blm_fail(err, BLUELM_E_BUDGET, "image decode", need, memory_bytes, 0);
        return d->failed;
    }
    d->state = (uint8_t *)memory + ((0 - (uintptr_t)memory) & (BLM_IMAGE_ALIGN - 1));
    d->format = blm_image_format_of(encoded, bytes, err);
    d->failed = d->format->begin(d->state, (const uint8_t *)encoded, bytes,
                                 background_rgb ? background_rgb : white, err);
    return d->failed;
}

BLM_PRIVATE int blm_image_row(blm_image_decoder *d, uint8_t *row_rgb, bluelm_error *err)
{
    if (d->failed < 0)
        return blm_fail(err, d->failed, "picture that failed before", 0, 0, d->next_row);
    if (d->next_row == d->facts.stored_height_px)
        return blm_fail(err, BLUELM_E_STATE, "rows of a picture", 0, 0, 0);
    d->failed = d->format->row(d->state, row_rgb, err);
    if (d->failed == 0) d->next_row++;
    return d->failed;
}

#endif
