#include "jpeg_parts.h"

#ifndef BLUELM_NO_IMAGE_DECODE

/* ---- Inverse DCT ------------------------------------------------------------------------- */

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

/* Eight values, each `step` from the one before, become eight others in their place. Those
 * from the `used`-th on are zeros: it is a constant where it is called, which leaves sums
 * out. Without loops, so that a compiler keeps all of it in registers. */
static inline void blm_jpeg_idct_8(int32_t *p, size_t step, int used, uint32_t shift)
{
    uint32_t v0 = (uint32_t)p[0], v1 = (uint32_t)p[step];
    uint32_t v2 = (uint32_t)p[2 * step], v3 = (uint32_t)p[3 * step];
    uint32_t v4 = used > 4 ? (uint32_t)p[4 * step] : 0,
             v5 = used > 4 ? (uint32_t)p[5 * step] : 0;
    uint32_t v6 = used > 4 ? (uint32_t)p[6 * step] : 0,
             v7 = used > 4 ? (uint32_t)p[7 * step] : 0;

    uint32_t turn = blm_jpeg_scaled(v2 + v6, 4433);
    uint32_t side = turn + blm_jpeg_scaled(v6, -15137);
    uint32_t straight = turn + blm_jpeg_scaled(v2, 6270);
    uint32_t sum = (v0 + v4) << 13, difference = (v0 - v4) << 13;
    uint32_t even0 = sum + straight, even1 = difference + side;
    uint32_t even2 = difference - side, even3 = sum - straight;

    uint32_t all = blm_jpeg_scaled(v7 + v3 + v5 + v1, 9633);
    uint32_t a = blm_jpeg_scaled(v7 + v1, -7373), b = blm_jpeg_scaled(v5 + v3, -20995);
    uint32_t c = blm_jpeg_scaled(v7 + v3, -16069) + all;
    uint32_t d = blm_jpeg_scaled(v5 + v1, -3196) + all;
    uint32_t odd0 = blm_jpeg_scaled(v1, 12299) + a + d;
    uint32_t odd1 = blm_jpeg_scaled(v3, 25172) + b + c;
    uint32_t odd2 = blm_jpeg_scaled(v5, 16819) + b + d;
    uint32_t odd3 = blm_jpeg_scaled(v7, 2446) + a + c;

    p[0] = blm_jpeg_descale(even0 + odd0, shift);
    p[step] = blm_jpeg_descale(even1 + odd1, shift);
    p[2 * step] = blm_jpeg_descale(even2 + odd2, shift);
    p[3 * step] = blm_jpeg_descale(even3 + odd3, shift);
    p[4 * step] = blm_jpeg_descale(even3 - odd3, shift);
    p[5 * step] = blm_jpeg_descale(even2 - odd2, shift);
    p[6 * step] = blm_jpeg_descale(even1 - odd1, shift);
    p[7 * step] = blm_jpeg_descale(even0 - odd0, shift);
}

static uint8_t blm_jpeg_clamp(int32_t value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* A block of one level, as most are where a picture is smooth. */
static void blm_jpeg_flat_samples(int32_t level, uint8_t *out, size_t stride)
{
    int32_t row[8] = {level * 4};
    blm_jpeg_idct_8(row, 1, 4, 18);
    for (int y = 0; y < 8; y++, out += stride)
        memset(out, blm_jpeg_clamp(row[0] + 128), 8);
}

/* Which quarters of a block hold other than zeros: right of the fourth column, below the
 * fourth row, and the first besides the level. */
typedef struct blm_jpeg_extent {
    uint64_t right, below, first;
} blm_jpeg_extent;

static blm_jpeg_extent blm_jpeg_extent_of(const int16_t *block)
{
    blm_jpeg_extent e = {0, 0, 0};
    uint64_t left, right;
    for (int y = 0; y < 8; y++) {
        memcpy(&left, block + 8 * y, sizeof left);
        memcpy(&right, block + 8 * y + 4, sizeof right);
        e.right |= right;
        if (y >= 4) e.below |= left | right;
        if (y >= 1 && y < 4) e.first |= left;
    }
    e.first |= (uint64_t)(block[1] != 0 || block[2] != 0 || block[3] != 0);
    return e;
}

BLM_PRIVATE void blm_jpeg_block_samples(const int16_t *block, const uint16_t *quant,
                                        uint8_t *out, size_t stride)
{
    int32_t v[64];
    const blm_jpeg_extent e = blm_jpeg_extent_of(block);
    if (!e.right && !e.below && !e.first) {
        blm_jpeg_flat_samples((int16_t)(block[0] * quant[0]), out, stride);
        return;
    }
    for (int i = 0; i < 64; i++) /* 16 bits, as vector instructions multiply */
        v[i] = (int16_t)(block[i] * quant[i]);
    for (int x = 0; x < (e.right ? 8 : 4); x++) {
        if (e.below)
            blm_jpeg_idct_8(v + x, 8, 8, 11);
        else
            blm_jpeg_idct_8(v + x, 8, 4, 11);
    }
    for (int y = 0; y < 8; y++, out += stride) {
        if (e.right)
            blm_jpeg_idct_8(v + 8 * y, 1, 8, 18);
        else
            blm_jpeg_idct_8(v + 8 * y, 1, 4, 18);
        for (int x = 0; x < 8; x++)
            out[x] = blm_jpeg_clamp(v[8 * y + x] + 128);
    }
}

/* ---- From a component's size to the picture's -------------------------------------------- */

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

BLM_PRIVATE int blm_jpeg_looks_beside(const blm_jpeg *j, const blm_jpeg_component *c)
{
    int stretching = blm_jpeg_stretching(j, c);
    return stretching == BLM_JPEG_HIGHER || stretching == BLM_JPEG_BOTH;
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

/* ---- Colours ----------------------------------------------------------------------------- */

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
