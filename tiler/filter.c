#include "filter.h"

BLM_PRIVATE uint32_t blm_filter_radius(uint32_t filter)
{
    static const uint8_t radius[] = {
        [BLM_FILTER_BICUBIC] = 2, [BLM_FILTER_BILINEAR] = 1, [BLM_FILTER_LANCZOS] = 3};
    return radius[filter];
}

/* x = a y + b, each rounded. */
static double blm_filter_step(double a, double y, double b)
{
    return blm_exact(blm_exact(a * y) + b);
}

/* The sine of an angle in -10..10, to the last bit or one beside it. Half turns are taken
 * off in two parts, the first of which has 33 bits: its products are exact. */
static double blm_filter_sin(double x)
{
    static const double over_factorials[] = {-1.0 / 51090942171709440000.0,
                                             1.0 / 121645100408832000.0,
                                             -1.0 / 355687428096000.0,
                                             1.0 / 1307674368000.0,
                                             -1.0 / 6227020800.0,
                                             1.0 / 39916800.0,
                                             -1.0 / 362880.0,
                                             1.0 / 5040.0,
                                             -1.0 / 120.0,
                                             1.0 / 6.0};
    double turns = (double)(int32_t)(blm_exact(x * 0.31830988618379067) + (x < 0 ? -0.5 : 0.5));
    double r = blm_exact(x - turns * 3.14159265346825122833);
    r = blm_exact(r - blm_exact(turns * 1.21542010130123844986e-10));
    double square = blm_exact(r * r), sum = over_factorials[0];
    for (size_t i = 1; i < BLM_COUNT_OF(over_factorials); i++)
        sum = blm_filter_step(sum, square, over_factorials[i]);
    double sine = blm_exact(r - blm_exact(blm_exact(square * sum) * r));
    return (int32_t)turns & 1 ? -sine : sine;
}

static double blm_filter_sinc(double x)
{
    if (x == 0.0) return 1.0;
    x = blm_exact(x * 3.14159265358979323846);
    return blm_exact(blm_filter_sin(x) / x);
}

/* The filters at a distance in filter units: a triangle, the cubic with a = -1/2, and the
 * sinc under the middle of one three times as wide. */
static double blm_filter_at(uint32_t filter, double x)
{
    if (x < 0.0) x = -x;
    if (x >= (double)blm_filter_radius(filter)) return 0.0;
    if (filter == BLM_FILTER_BILINEAR) return blm_exact(1.0 - x);
    if (filter == BLM_FILTER_LANCZOS)
        return blm_exact(blm_filter_sinc(x) * blm_filter_sinc(blm_exact(x / 3.0)));
    if (x < 1.0) {
        double slope = blm_filter_step(1.5, x, -2.5);
        return blm_filter_step(blm_exact(slope * x), x, 1.0);
    }
    double curve = blm_filter_step(blm_exact(x - 5.0), x, 8.0);
    return -0.5 * blm_filter_step(curve, x, -4.0);
}

BLM_PRIVATE void blm_axis_set(blm_axis *a, uint32_t in, uint32_t out, uint32_t filter)
{
    double stretch = blm_exact((double)in / (double)out);
    a->in = a->real = in;
    a->at = 0;
    a->out = out;
    a->filter = filter;
    a->scale = stretch;
    if (stretch < 1.0) stretch = 1.0; /* enlarging interpolates: the window stays */
    a->support = blm_exact((double)blm_filter_radius(filter) * stretch);
    a->per_source = blm_exact(1.0 / stretch);
}

BLM_PRIVATE void blm_axis_pad(blm_axis *a, uint32_t at, uint32_t real)
{
    a->at = at;
    a->real = real;
}

static double blm_axis_raw(const blm_axis *a, const blm_window *w, uint32_t source)
{
    double apart = blm_exact(blm_exact((double)source - w->center) + 0.5);
    return blm_filter_at(a->filter, blm_exact(apart * a->per_source));
}

static uint32_t blm_axis_clamp(const blm_axis *a, uint32_t source)
{
    return BLM_MIN(BLM_MAX(source, a->at), a->at + a->real);
}

BLM_PRIVATE void blm_axis_window(const blm_axis *a, uint32_t out_pixel, blm_window *w)
{
    w->center = blm_exact(((double)out_pixel + 0.5) * a->scale);
    double from = blm_exact(blm_exact(w->center - a->support) + 0.5);
    double to = blm_exact(blm_exact(w->center + a->support) + 0.5);
    uint32_t end = (uint32_t)to;
    if (end > a->in) end = a->in;
    w->first = from < 0.0 ? 0 : (uint32_t)from;
    w->count = end - w->first;
    w->from = blm_axis_clamp(a, w->first);
    w->end = blm_axis_clamp(a, end);
    w->sum = 0.0;
    w->outside = 0;
    for (uint32_t i = 0; i < w->count; i++)
        w->sum = blm_exact(w->sum + blm_axis_raw(a, w, w->first + i));
    for (uint32_t s = w->first; s < end; s++)
        if (s < w->from || s >= w->end) w->outside += blm_axis_weight(a, w, s);
}

BLM_PRIVATE int32_t blm_axis_weight(const blm_axis *a, const blm_window *w, uint32_t source)
{
    double weight = blm_axis_raw(a, w, source);
    if (w->sum != 0.0) weight = blm_exact(weight / w->sum);
    double fixed = weight * (double)(1 << BLM_WEIGHT_BITS);
    return (int32_t)(weight < 0 ? -0.5 + fixed : 0.5 + fixed);
}
