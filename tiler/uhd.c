#include "uhd.h"

/* ---- The grid ------------------------------------------------------------------------ */

/* How far a grid's shape is from a picture's: the larger over the smaller, above / below >= 1.
 * Of two grids the authors take the one where its logarithm is less. */
typedef struct blm_uhd_apart {
    uint64_t above, below;
} blm_uhd_apart;

static blm_uhd_apart blm_uhd_measure(const uint32_t sides[2], uint32_t columns, uint32_t rows)
{
    uint64_t wide = (uint64_t)sides[0] * rows, tall = (uint64_t)sides[1] * columns;
    return (blm_uhd_apart){BLM_MAX(wide, tall), BLM_MIN(wide, tall)};
}

/* As far apart as the other, but the authors' doubles make it nearer. */
static int blm_uhd_rounds_nearer(uint32_t columns, uint32_t rows, const uint32_t than[2])
{
    static const uint8_t nearer[][4] = {{3, 2, 2, 3}, {6, 1, 3, 2}, {8, 1, 4, 2}};
    for (uint32_t i = 0; i < BLM_COUNT_OF(nearer); i++)
        if (nearer[i][0] == columns && nearer[i][1] == rows && nearer[i][2] == than[0] &&
            nearer[i][3] == than[1])
            return 1;
    return 0;
}

/* Of as many slices the narrow grids come first. */
static void blm_uhd_consider(const uint32_t sides[2], uint32_t slices, uint32_t best[2])
{
    for (uint32_t columns = 1; columns <= slices; columns++) {
        uint32_t rows = slices / columns;
        if (rows * columns != slices) continue;
        const blm_uhd_apart a = blm_uhd_measure(sides, columns, rows);
        const blm_uhd_apart b = blm_uhd_measure(sides, best[0], best[1]);
        uint64_t mine = a.above * b.below, its = b.above * a.below;
        if (best[0] &&
            (mine > its || (mine == its && !blm_uhd_rounds_nearer(columns, rows, best))))
            continue;
        best[0] = columns;
        best[1] = rows;
    }
}

BLM_PRIVATE void blm_uhd_grid(const blm_tile_rule *r, const uint32_t sides[2], uint32_t most,
                              uint32_t grid[2])
{
    uint64_t tile = (uint64_t)r->tile_px * r->tile_px;
    uint64_t tiles = ((uint64_t)sides[0] * sides[1] + tile - 1) / tile;
    uint32_t about = (uint32_t)BLM_MIN(tiles, most);
    grid[0] = grid[1] = 0;
    if (about <= 1) return;
    for (uint32_t slices = about - 1; slices <= about + 1; slices++)
        if (slices > 1 && slices <= most) blm_uhd_consider(sides, slices, grid);
}

/* ---- Sizes ----------------------------------------------------------------------------- */

static uint32_t blm_uhd_limit(const blm_tile_rule *r)
{
    uint32_t most = BLM_MIN(BLM_UHD_SIDES * r->tile_px, BLM_DYNAMIC_PX_LIMIT);
    uint32_t limit = most / r->align_px * r->align_px;
    return BLM_MAX(limit, r->align_px);
}

BLM_PRIVATE void blm_uhd_whole(const blm_tile_rule *r, const uint32_t sides[2],
                               uint32_t size[2])
{
    double ratio = blm_exact((double)sides[0] / (double)sides[1]);
    uint32_t height = (uint32_t)blm_exact((double)r->tile_px / blm_tile_sqrt(ratio));
    uint32_t width = (uint32_t)blm_exact((double)height * ratio);
    size[0] = blm_tile_nearest(width, r->align_px);
    size[1] = blm_tile_nearest(height, r->align_px);
    for (uint32_t i = 0; i < 2; i++)
        size[i] = BLM_MIN(BLM_MAX(size[i], r->align_px), blm_uhd_limit(r));
}

BLM_PRIVATE void blm_uhd_slice(const blm_tile_rule *r, const uint32_t sides[2],
                               const uint32_t grid[2], uint32_t size[2])
{
    uint32_t part[2];
    for (uint32_t i = 0; i < 2; i++)
        part[i] = BLM_MAX(blm_tile_nearest(sides[i], grid[i]) / grid[i], 1u);
    blm_uhd_whole(r, part, size);
}

/* Before sides are rounded the area is a tile's, and the longer side its limit at most;
 * rounding adds half of align_px to each, or raises the shorter one to align_px. */
BLM_PRIVATE uint64_t blm_uhd_most_pixels(const blm_tile_rule *r)
{
    uint64_t tile = r->tile_px, half = (r->align_px + 1) / 2;
    uint64_t most = (tile + half) * (tile + half) + half * tile * BLM_UHD_SIDES;
    most = BLM_MAX(most, (uint64_t)r->align_px * blm_uhd_limit(r));
    return most / ((uint64_t)r->align_px * r->align_px) * r->align_px * r->align_px;
}
