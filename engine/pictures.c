/* What is known of a picture before it is decoded. */
#include "engine.h"

static int blm_check_rows(const bluelm_image *image, bluelm_error *err)
{
    uint64_t row_bytes = 3 * (uint64_t)image->width_px, all;
    uint32_t side = BLM_MAX(image->width_px, image->height_px);
    if (image->width_px == 0 || image->height_px == 0 || side > BLM_PICTURE_LIMIT)
        return blm_fail_side(err, "picture's side in pixels",
                             image->width_px && image->height_px ? side : 0);
    if (image->stride_bytes && image->stride_bytes < row_bytes)
        return blm_fail(err, BLUELM_E_ARG, "picture's stride_bytes", row_bytes,
                        image->stride_bytes, 0);
    if (!blm_mul_u64(image->stride_bytes, image->height_px, &all) || all > SIZE_MAX / 2)
        return blm_fail(err, BLUELM_E_ARG, "picture's stride_bytes",
                        SIZE_MAX / 2 / image->height_px, image->stride_bytes, 0);
    return BLUELM_OK;
}

BLM_PRIVATE int blm_engine_measure(const bluelm *e, const bluelm_image *image,
                                   bluelm_image *out, bluelm_error *err)
{
    blm_image_facts facts;
    uint32_t width;
    int code;
    if (!image) return blm_fail_null(err, "image");
    if (!image->rgb && !image->encoded) return blm_fail_null(err, "image.rgb, image.encoded");
    *out = *image;
    if (!e->has_vision)
        return blm_fail(err, BLUELM_E_STATE, "pictures need an mmproj", 1, 0, 0);
    if (e->mmproj.released)
        return blm_fail(err, BLUELM_E_STATE, "vision encoder is released", 1, 0, 0);
    if (image->rgb) {
        if (!out->stride_bytes) out->stride_bytes = 3 * (size_t)image->width_px;
        width = image->width_px;
        code = blm_check_rows(out, err);
    } else {
        if ((code = blm_image_info(image->encoded, image->encoded_bytes, &facts, err)) < 0 ||
            (code = blm_image_check(image->encoded, image->encoded_bytes, err)) < 0)
            return code;
        out->width_px = facts.width_px;
        out->height_px = facts.height_px;
        width = facts.stored_width_px;
    }
    if (code >= 0 && width > e->config.max_image_width_px)
        code = blm_fail(err, BLUELM_E_IMAGE, "picture's width (max_image_width_px)",
                        e->config.max_image_width_px, width, 0);
    return code;
}

int bluelm_image_size(const void *encoded, size_t encoded_bytes, uint32_t *width_px,
                      uint32_t *height_px, bluelm_error *err)
{
    blm_image_facts facts;
    if (!width_px || !height_px) return blm_fail_null(err, "width_px, height_px");
    if (!encoded) return blm_fail_null(err, "encoded");
    int code = blm_image_info(encoded, encoded_bytes, &facts, err);
    *width_px = facts.width_px;
    *height_px = facts.height_px;
    return code;
}

int64_t bluelm_image_whole_bytes(const void *encoded, size_t encoded_bytes, bluelm_error *err)
{
    blm_image_facts facts;
    uint64_t need;
    if (!encoded) return blm_fail_null(err, "encoded");
    int code = blm_image_info(encoded, encoded_bytes, &facts, err);
    if (code < 0 || (code = blm_image_need(encoded, encoded_bytes, &need, err)) < 0)
        return code;
    return facts.whole_picture ? (int64_t)need : 0;
}
