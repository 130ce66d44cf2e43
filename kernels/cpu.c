/* What the processor can do. x86 is asked directly; elsewhere the port tells. */
#include "kernels.h"

#ifdef BLM_HAVE_X86

typedef struct blm_cpuid {
    uint32_t a, b, c, d;
} blm_cpuid;

static blm_cpuid blm_cpu_ask(uint32_t leaf, uint32_t subleaf)
{
    blm_cpuid r;
    __asm__("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
    return r;
}

/* Which register files the operating system saves. Spelt in bytes: old assemblers and
 * targets without xsave do not know the name. */
static uint32_t blm_cpu_saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

BLM_PRIVATE uint32_t blm_cpu_features(uint32_t port_features)
{
    const uint32_t fma = 1u << 12, sse41 = 1u << 19, osxsave = 1u << 27, avx = 1u << 28;
    const uint32_t f16c = 1u << 29, avx_all = fma | osxsave | avx | f16c, avx2 = 1u << 5;
    const uint32_t avx512_f = 1u << 16, avx512_bw = 1u << 30, avx512_vl = 1u << 31;
    const uint32_t avx512_all = avx512_f | avx512_bw | avx512_vl, vnni = 1u << 11;
    const uint32_t ymm_state = 6, zmm_state = 0xE6; /* the latter with opmasks */
    const uint32_t vbmi = 1u << 1, bf16 = 1u << 5;
    uint32_t found = 0;
    if (blm_cpu_ask(0, 0).a < 7) return 0;
    uint32_t basic = blm_cpu_ask(1, 0).c;
    blm_cpuid more = blm_cpu_ask(7, 0);
    if (basic & sse41) found |= BLUELM_CPU_SSE41;
    if ((basic & avx_all) != avx_all || !(more.b & avx2)) return found;
    uint32_t saved = blm_cpu_saved_state();
    if ((saved & ymm_state) == ymm_state) found |= BLUELM_CPU_AVX2;
    if ((saved & zmm_state) == zmm_state && (more.b & avx512_all) == avx512_all &&
        (more.c & vnni))
        found |= BLUELM_CPU_AVX512_VNNI;
    if ((found & BLUELM_CPU_AVX512_VNNI) && (more.c & vbmi)) found |= BLUELM_CPU_AVX512_VBMI;
    /* the port answers for the tiles, not for what else their kernels use */
    if ((found & BLUELM_CPU_AVX512_VBMI) && (blm_cpu_ask(7, 1).a & bf16))
        found |= port_features & BLUELM_CPU_AMX;
    return found;
}

#else

BLM_PRIVATE uint32_t blm_cpu_features(uint32_t port_features)
{
    const uint32_t arm = BLUELM_CPU_NEON | BLUELM_CPU_NEON_DOTPROD | BLUELM_CPU_NEON_I8MM;
#ifdef BLM_HAVE_NEON
    port_features |= BLUELM_CPU_NEON; /* part of the architecture */
#endif
    return port_features & arm;
}

#endif
