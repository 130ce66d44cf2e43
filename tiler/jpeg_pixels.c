#include "jpeg_parts.h"

#ifndef BLUELM_NO_IMAGE_DECODE

/* ---- Inverse DCT ---------------------------------------------------------------------------- */

/* Loeffler, Ligtenberg and Moschytz's 11 multiplications, with constants of 13 bits and 2
 * more bits kept between the passes. Sums are modulo 2^32: only a hostile file's wrap. */

static uint32_t blm_jpeg_scaled(uint32_t value, int32_t constant)
{
    return value * (uint32_t)constant;
}

/* sum / 2^shift, rounded */
static int32_t blm_jpeg_descale(uint32_t sum, uint32_t shift)
{
    return (int32_t)(sum + (1u << (shift - 1))) >> shift;
}

/* Eight values out of eight; in and out may be the same. */
static inline void blm_jpeg_idct_8(const int32_t in[8], int32_t out[8], uint32_t shift)
{
    uint32_t v[8], even[4], odd[4];
    for (int i = 0; i < 8; i++)
        v[i] = (uint32_t)in[i];

    uint32_t turn = blm_jpeg_scaled(v[2] + v[6], 4433);
    uint32_t side = turn + blm_jpeg_scaled(v[6], -15137);
    uint32_t straight = turn + blm_jpeg_scaled(v[2], 6270);
    uint32_t sum = (v[0] + v[4]) << 13, difference = (v[0] - v[4]) << 13;
    even[0] = sum + straight;
    even[1] = difference + side;
    even[2] = difference - side;
    even[3] = sum - straight;

    uint32_t all = blm_jpeg_scaled(v[7] + v[3] + v[5] + v[1], 9633);
    uint32_t a = blm_jpeg_scaled(v[7] + v[1], -7373), b = blm_jpeg_scaled(v[5] + v[3], -20995);
    uint32_t c = blm_jpeg_scaled(v[7] + v[3], -16069) + all;
    uint32_t d = blm_jpeg_scaled(v[5] + v[1], -3196) + all;
    odd[3] = blm_jpeg_scaled(v[7], 2446) + a + c;
    odd[2] = blm_jpeg_scaled(v[5], 16819) + b + d;
    odd[1] = blm_jpeg_scaled(v[3], 25172) + b + c;
    odd[0] = blm_jpeg_scaled(v[1], 12299) + a + d;

    for (int i = 0; i < 4; i++) {
        out[i] = blm_jpeg_descale(even[i] + odd[i], shift);
        out[7 - i] = blm_jpeg_descale(even[i] - odd[i], shift);
    }
}

static uint8_t blm_jpeg_clamp(int32_t value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* A column of a block. Most have nothing but their first coefficient. */
static inline void blm_jpeg_idct_column(const int16_t *block, const uint16_t *quant,
                                        int32_t *out)
{
    int32_t column[8];
    int rest = 0;
    for (int i = 1; i < 8; i++)
        rest |= block[8 * i];
    if (rest == 0) {
        int32_t flat = (int16_t)(block[0] * quant[0]) * 4;
        for (int i = 0; i < 8; i++)
            out[8 * i] = flat;
        return;
    }
    for (int i = 0; i < 8; i++) /* 16 bits, as vector instructions multiply */
        column[i] = (int16_t)(block[8 * i] * quant[8 * i]);
    blm_jpeg_idct_8(column, column, 11);
    for (int i = 0; i < 8; i++)
        out[8 * i] = column[i];
}

/* Whether a block is one level, as most are where a picture is smooth. */
static int blm_jpeg_is_flat(const int16_t *block)
{
    uint64_t four, rest = 0;
    for (int i = 4; i < 64; i += 4) {
        memcpy(&four, block + i, sizeof four);
        rest |= four;
    }
    return rest == 0 && (block[1] | block[2] | block[3]) == 0;
}

static void blm_jpeg_flat_samples(int32_t level, uint8_t *out, size_t stride)
{
    int32_t row[8] = {level};
    blm_jpeg_idct_8(row, row, 18);
    for (int y = 0; y < 8; y++, out += stride)
        memset(out, blm_jpeg_clamp(row[0] + 128), 8);
}

BLM_PRIVATE void blm_jpeg_block_samples(const int16_t *block, const uint16_t *quant,
                                        uint8_t *out, size_t stride)
{
    int32_t half[64], row[8];
    if (blm_jpeg_is_flat(block)) {
        blm_jpeg_flat_samples((int16_t)(block[0] * quant[0]) * 4, out, stride);
        return;
    }
    for (int i = 0; i < 8; i++)
        blm_jpeg_idct_column(block + i, quant + i, half + i);
    for (int y = 0; y < 8; y++, out += stride) {
        blm_jpeg_idct_8(half + 8 * y, row, 18);
        for (int i = 0; i < 8; i++)
            out[i] = blm_jpeg_clamp(row[i] + 128);
    }
}

/* ---- From a component's size to the picture's ----------------------------------------------- */

BLM_PRIVATE int blm_jpeg_stretching(const blm_jpeg *j, const blm_jpeg_component *c)
{
    int wider = 2 * c->across == j->across, higher = 2 * c->down == j->down;
    int as_wide = c->across == j->across, as_high = c->down == j->down;
    if (as_wide && as_high) return BLM_JPEG_AS_IS;
    if (as_wide && higher) return BLM_JPEG_HIGHER;
    if (c->width <= 2) return BLM_JPEG_NEAREST; /* too narrow to have neighbours */
    if (wider && as_high) return BLM_JPEG_WIDER;
    if (wider && higher) return BLM_JPEG_BOTH;
    return BLM_JPEG_NEAREST;
}

static void blm_jpeg_stretch_nearest(const blm_jpeg *j, const blm_jpeg_component *c,
                                     const uint8_t *row, uint8_t *out)
{
    uint32_t at = 0, part = 0;
    for (uint32_t x = 0; x < j->width; x++) {
        out[x] = row[at];
        part += c->across;
        if (part >= j->across) part -= j->across, at++;
    }
}

/* Each sample becomes two, of 3/4 itself and 1/4 of its neighbour. */
static void blm_jpeg_stretch_wider(const uint8_t *row, uint32_t width, uint8_t *out)
{
    out[0] = row[0];
    out[1] = (uint8_t)((3 * row[0] + row[1] + 2) >> 2);
    for (uint32_t x = 1; x + 1 < width; x++) {
        out[2 * x] = (uint8_t)((3 * row[x] + row[x - 1] + 1) >> 2);
        out[2 * x + 1] = (uint8_t)((3 * row[x] + row[x + 1] + 2) >> 2);
    }
    uint32_t last = width - 1;
    out[2 * last] = (uint8_t)((3 * row[last] + row[last - 1] + 1) >> 2);
    out[2 * last + 1] = row[last];
}

static void blm_jpeg_stretch_higher(const uint8_t *row, const uint8_t *beside, uint32_t width,
                                    int lower, uint8_t *out)
{
    for (uint32_t x = 0; x < width; x++)
        out[x] = (uint8_t)((3 * row[x] + beside[x] + (lower ? 2 : 1)) >> 2);
}

static void blm_jpeg_stretch_both(const uint8_t *row, const uint8_t *beside, uint32_t width,
                                  uint8_t *out)
{
    int32_t before = 3 * row[0] + beside[0], here = before, after = 3 * row[1] + beside[1];
    out[0] = (uint8_t)((4 * here + 8) >> 4);
    out[1] = (uint8_t)((3 * here + after + 7) >> 4);
    for (uint32_t x = 1; x + 1 < width; x++) {
        before = here;
        here = after;
        after = 3 * row[x + 1] + beside[x + 1];
        out[2 * x] = (uint8_t)((3 * here + before + 8) >> 4);
        out[2 * x + 1] = (uint8_t)((3 * here + after + 7) >> 4);
    }
    uint32_t last = width - 1;
    out[2 * last] = (uint8_t)((3 * after + here + 8) >> 4);
    out[2 * last + 1] = (uint8_t)((4 * after + 7) >> 4);
}

BLM_PRIVATE void blm_jpeg_stretch(const blm_jpeg *j, const blm_jpeg_component *c,
                                  const uint8_t *row, const uint8_t *beside, int lower,
                                  uint8_t *out)
{
    switch (blm_jpeg_stretching(j, c)) {
    case BLM_JPEG_AS_IS:
        memcpy(out, row, c->width);
        break;
    case BLM_JPEG_WIDER:
        blm_jpeg_stretch_wider(row, c->width, out);
        break;
    case BLM_JPEG_HIGHER:
        blm_jpeg_stretch_higher(row, beside, c->width, lower, out);
        break;
    case BLM_JPEG_BOTH:
        blm_jpeg_stretch_both(row, beside, c->width, out);
        break;
    default:
        blm_jpeg_stretch_nearest(j, c, row, out);
    }
}

/* ---- Colours --------------------------------------------------------------------------------- */

BLM_PRIVATE int blm_jpeg_colors(const blm_jpeg *j)
{
    const blm_jpeg_component *c = j->component;
    if (j->components == 1) return BLM_JPEG_GREY;
    if (j->components == 4)
        return j->is_adobe && j->transform != 0 ? BLM_JPEG_YCCK : BLM_JPEG_CMYK;
    if (j->is_jfif) return BLM_JPEG_YCC;
    if (j->is_adobe) return j->transform == 0 ? BLM_JPEG_RGB : BLM_JPEG_YCC;
    return c[0].id == 'R' && c[1].id == 'G' && c[2].id == 'B' ? BLM_JPEG_RGB : BLM_JPEG_YCC;
}

/* value / 2^16, rounded down; constants below are their real values times 2^16. */
static int32_t blm_jpeg_whole(int32_t value)
{
    return value >> 16;
}

static inline void blm_jpeg_rgb_of(int32_t y, int32_t cb, int32_t cr, uint8_t *rgb)
{
    cb -= 128;
    cr -= 128;
    rgb[0] = blm_jpeg_clamp(y + blm_jpeg_whole(91881 * cr + 32768));
    rgb[1] = blm_jpeg_clamp(y + blm_jpeg_whole(-22554 * cb - 46802 * cr + 32768));
    rgb[2] = blm_jpeg_clamp(y + blm_jpeg_whole(116130 * cb + 32768));
}

/* ink: inverted, as Adobe's programs store it; black likewise. Black takes its part off
 * white, and each ink its part of what is left: a b / 255, rounded. */
static void blm_jpeg_rgb_of_ink(const uint8_t ink[3], uint32_t black, uint8_t *rgb)
{
    for (int k = 0; k < 3; k++) {
        uint32_t taken = (255u - ink[k]) * black + 128;
        rgb[k] = (uint8_t)(black - ((taken >> 8) + taken) / 256);
    }
}

static void blm_jpeg_convert_inks(int colors, const uint8_t *const lines[4], uint32_t width,
                                  uint8_t *rgb)
{
    for (uint32_t x = 0; x < width; x++, rgb += 3) {
        uint8_t ink[3] = {lines[0][x], lines[1][x], lines[2][x]};
        if (colors == BLM_JPEG_YCCK) {
            blm_jpeg_rgb_of(ink[0], ink[1], ink[2], ink);
            for (int k = 0; k < 3; k++)
                ink[k] = (uint8_t)(255 - ink[k]);
        }
        blm_jpeg_rgb_of_ink(ink, lines[3][x], rgb);
    }
}

BLM_PRIVATE void blm_jpeg_convert(int colors, const uint8_t *const lines[4], uint32_t width,
                                  uint8_t *rgb)
{
    switch (colors) {
    case BLM_JPEG_GREY:
        for (uint32_t x = 0; x < width; x++)
            memset(rgb + (size_t)x * 3, lines[0][x], 3);
        break;
    case BLM_JPEG_RGB:
        for (uint32_t x = 0; x < width; x++, rgb += 3)
            rgb[0] = lines[0][x], rgb[1] = lines[1][x], rgb[2] = lines[2][x];
        break;
    case BLM_JPEG_YCC:
        for (uint32_t x = 0; x < width; x++, rgb += 3)
            blm_jpeg_rgb_of(lines[0][x], lines[1][x], lines[2][x], rgb);
        break;
    default:
        blm_jpeg_convert_inks(colors, lines, width, rgb);
    }
}

#endif
