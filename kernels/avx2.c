/* Kernels for x86 with AVX2, FMA and F16C. */
#include "kernels.h"

#if defined(__x86_64__) || defined(__i386__)

BLM_PRIVATE void blm_kernels_avx2(blm_kernels *k)
{
    k->name = "avx2";
}

#endif
