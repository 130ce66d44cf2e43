/* How the bits of a block lie, where that takes more than a line: what scalar code and every
 * instruction set unpack with. Loads are little-endian, so words below have their first byte
 * lowest. */
#ifndef BLM_BLOCKS_H
#define BLM_BLOCKS_H

#include "../base/tensor.h"

/* ---- Properties of types --------------------------------------------------------------- */

/* Whether each half of 32 weights has a scale of its own. */
static inline BLM_UNUSED int blm_type_is_halved(uint32_t type)
{
    return type == BLM_Q2_K || type == BLM_Q3_K || type == BLM_Q6_K;
}

/* Whether the file has a minimum for each scale: w = scale q - min. */
static inline BLM_UNUSED int blm_type_has_min(uint32_t type)
{
    return type == BLM_Q4_1 || type == BLM_Q5_1 || type == BLM_Q2_K || type == BLM_Q4_K ||
           type == BLM_Q5_K;
}

/* ---- Scales in few bits ---------------------------------------------------------------- */

/* Eight scales and eight mins of Q4_K and Q5_K, 6 bits each, as bytes: out[0] and [1] are the
 * scales, [2] and [3] the mins. The first four of either lie in bytes 0-3 and 4-7; the last
 * four have their low nibbles in bytes 8-11 and their two high bits on top of the first
 * four's bytes. */
static inline BLM_UNUSED void blm_scales_q4_k(const uint8_t *p, uint32_t out[4])
{
    const uint32_t six = 0x3F3F3F3Fu, four = 0x0F0F0F0Fu, two = 0x03030303u;
    uint32_t a = blm_load_u32(p), b = blm_load_u32(p + 4), c = blm_load_u32(p + 8);
    out[0] = a & six;
    out[1] = (c & four) | (a >> 6 & two) << 4;
    out[2] = b & six;
    out[3] = (c >> 4 & four) | (b >> 6 & two) << 4;
}

/* Sixteen scales of Q3_K, 6 bits each, as bytes that are 32 too large: the low nibbles lie in
 * bytes 0-7 (of the first eight low in the byte, of the last eight high), pair i of the high
 * bits of byte 8 + j belongs to scale 4 i + j. */
static inline BLM_UNUSED void blm_scales_q3_k(const uint8_t *p, uint32_t out[4])
{
    const uint32_t four = 0x0F0F0F0Fu, two = 0x03030303u;
    uint32_t a = blm_load_u32(p), b = blm_load_u32(p + 4), c = blm_load_u32(p + 8);
    out[0] = (a & four) | (c & two) << 4;
    out[1] = (b & four) | (c >> 2 & two) << 4;
    out[2] = (a >> 4 & four) | (c >> 4 & two) << 4;
    out[3] = (b >> 4 & four) | (c >> 6 & two) << 4;
}

/* Eight scales of IQ4_XS, 6 bits each, as bytes that are 32 too large; p: at the two bytes of
 * high pairs, which four bytes of nibbles follow. */
static inline BLM_UNUSED void blm_scales_iq4_xs(const uint8_t *p, uint32_t out[2])
{
    const uint32_t high = blm_load_u16(p), low = blm_load_u32(p + 2);
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t nibbles = low >> (16 * i) & 0xFFFFu, pairs = high >> (8 * i) & 0xFFu;
        nibbles = (nibbles | nibbles << 8) & 0x00FF00FFu; /* spread, each to a byte */
        nibbles = (nibbles | nibbles << 4) & 0x0F0F0F0Fu;
        pairs = (pairs | pairs << 12) & 0x000F000Fu;
        pairs = (pairs | pairs << 6) & 0x03030303u;
        out[i] = nibbles | pairs << 4;
    }
}

/* Scale i of them, -32..31. */
static inline BLM_UNUSED int blm_scale_iq4_xs(const uint8_t *p, uint32_t i)
{
    uint32_t low = blm_load_u32(p + 2) >> (4 * i) & 15, high = blm_load_u16(p) >> (2 * i) & 3;
    return (int)(low | high << 4) - 32;
}

/* MXFP4's scale: 2^(e - 128), half of what the format says, as its values below are twice
 * what it says. The two smallest are no normal numbers. */
static inline BLM_UNUSED float blm_scale_mxfp4(uint8_t e)
{
    uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

/* ---- Values that nibbles stand for ----------------------------------------------------- */

/* IQ4_NL and IQ4_XS. */
#define BLM_IQ4_VALUES -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
/* MXFP4, doubled: 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives. */
#define BLM_MXFP4_VALUES 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12

#endif
