#include "positions.h"

#include "../base/math.h"

BLM_PRIVATE blm_position blm_position_text(uint32_t at)
{
    return (blm_position){at, at, at};
}

BLM_PRIVATE blm_position blm_position_image(uint32_t at, uint32_t columns, uint32_t index,
                                            int planar)
{
    if (!planar) return blm_position_text(at + index);
    return (blm_position){at, at + index / columns, at + index % columns};
}

BLM_PRIVATE uint32_t blm_position_after(uint32_t at, uint32_t columns, uint32_t rows,
                                        int planar)
{
    return at + (planar ? BLM_MAX(columns, rows) : columns * rows);
}

BLM_PRIVATE void blm_position_rotation(blm_position at, const double *frequency,
                                       const uint8_t *axis, uint32_t pairs, float magnitude,
                                       float *cos, float *sin)
{
    const uint32_t along[] = {at.t, at.h, at.w};
    for (uint32_t i = 0; i < pairs; i++) {
        double angle = (double)along[axis ? axis[i] : 0] * frequency[i];
        cos[i] = (float)blm_cos(angle);
        sin[i] = (float)blm_sin(angle);
        if (magnitude == 1.0f) continue;
        cos[i] *= magnitude;
        sin[i] *= magnitude;
    }
}
