/* Compares the kernels of every instruction set of this machine with a double-precision
 * rewrite and, where results must be equal bit for bit, with the scalar ones.
 *
 *     check_kernels [--seed N] [--bench] [--only TEXT]
 *
 * Inputs are random, extreme and misaligned, sizes run through all tails, outputs lie
 * between canaries, and every buffer ends where its contract ends, so that a build with
 * AddressSanitizer sees reads past it. --bench prints speeds instead, --only of it those
 * lines that hold the text. Exit code: 1 when a check failed. */
#include "../ports/posix/posix.h"
#include "amx_emulator.h"
#include "check_kernels.h"

#include <stdio.h>
#include <stdlib.h>

static void check_set(const blm_kernels *k, const blm_kernels *scalar)
{
    unsigned long before = check.failed;
    check.set_name = k->name;
    check_products(k);
    check_values(k, scalar);
    check_attention(k, scalar);
    check_not_numbers(k);
    printf("%s: %s\n", k->name, check.failed == before ? "passed" : "FAILED");
}

/* The mask is what config.cpu_mask says it is. */
static void check_masks(void)
{
    blm_kernels k;
    check.set_name = "table";
    blm_kernels_init(&k, 0, (uint32_t)BLUELM_CPU_NONE);
    report(strcmp(k.name, "scalar") == 0, "mask", "BLUELM_CPU_NONE is scalar", 0, 0);
    blm_kernels_init(&k, 0, BLUELM_CPU_NEON_I8MM);
    report(strcmp(k.name, "scalar") == 0, "mask", "only what the machine has", 0, 0);
    blm_kernels_init(&k, 0, BLUELM_CPU_AVX512_VBMI);
    report(strcmp(k.name, "scalar") == 0, "mask", "VBMI alone is no set", 0, 0);
    for (unsigned i = 0; i < TYPES; i++)
        report(k.matmul8[types[i].type] && k.dequantize[types[i].type], "table", "is complete",
               i, 0);
}

static const uint32_t sets[] = {
    BLUELM_CPU_SSE41,        BLUELM_CPU_AVX2,
    BLUELM_CPU_AVX512_VNNI,  BLUELM_CPU_AVX512_VNNI | BLUELM_CPU_AVX512_VBMI,
    BLUELM_CPU_AMX,          BLUELM_CPU_NEON,
    BLUELM_CPU_NEON_DOTPROD, BLUELM_CPU_NEON_I8MM};

/* Whether VBMI is asked for where it changes nothing: no set of its own then. */
static int without_vbmi(uint32_t set, uint32_t features)
{
    return (set & BLUELM_CPU_AVX512_VBMI) && !(features & BLUELM_CPU_AVX512_VBMI);
}

/* What the port reports; where it has no AMX, tile instructions are emulated (but not timed). */
static uint32_t system_features(int emulate)
{
    const uint32_t reported = bluelm_posix_port(NULL).cpu_features;
    const uint32_t features = emulate ? amx_features(reported) : reported;
    if (features != reported) printf("amx: emulated, as this machine has none\n");
    return features;
}

int main(int argc, char **argv)
{
    int want_bench = 0;
    uint64_t seed = 1;
    const char *only = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) {
            want_bench = 1;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 10);
        } else {
            printf("usage: check_kernels [--seed N] [--bench] [--only TEXT]\n");
            return 2;
        }
    }
    printf("seed %llu\n", (unsigned long long)seed);
    check.random_state = seed * 0x9E3779B97F4A7C15u + 1;
    blm_kernels scalar, k;
    blm_kernels_init(&scalar, 0, (uint32_t)BLUELM_CPU_NONE);
    if (!want_bench) {
        check.set_name = "math";
        check_math();
        check_masks();
        check_set(&scalar, &scalar);
    } else {
        time_kernels(&scalar, &scalar, only);
    }
    const uint32_t features = system_features(!want_bench);
    for (unsigned i = 0; i < BLM_COUNT_OF(sets); i++) {
        blm_kernels_init(&k, features, sets[i]);
        if (!strcmp(k.name, scalar.name)) continue; /* not this machine, or not written */
        if (without_vbmi(sets[i], blm_cpu_features(features))) continue;
        if (want_bench) {
            time_kernels(&k, &scalar, only);
            continue;
        }
        check_set(&k, &scalar);
    }
    if (!want_bench) printf("%lu passed, %lu failed\n", check.passed, check.failed);
    return check.failed != 0;
}
