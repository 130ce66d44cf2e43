#if defined(__linux__) && defined(__x86_64__)
#define _GNU_SOURCE /* REG_RIP */
#endif

#include "amx_emulator.h"

#include "../bluelm.h"

#if defined(__linux__) && defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

/* One thread's tiles. */
typedef struct tiles {
    uint8_t config[64]; /* as ldtilecfg read it */
    int configured;
    uint64_t count;
    uint8_t data[TILES][ROWS][ROW_BYTES];
} tiles;

static __thread tiles state;

static void fail(const char *why)
{
    fprintf(stderr, "amx emulator: %s\n", why);
    abort();
}

/* ---- The configuration --------------------------------------------------------------- */

static unsigned rows_of(unsigned tile)
{
    return state.config[48 + tile];
}

static unsigned bytes_of(unsigned tile)
{
    return state.config[16 + 2 * tile] | (unsigned)state.config[17 + 2 * tile] << 8;
}

/* What makes the processor raise a general protection fault. */
static void configure(const uint8_t *from)
{
    memcpy(state.config, from, sizeof state.config);
    if (from[0] > 1) fail("unknown palette");
    for (unsigned i = 2; i < 16; i++)
        if (from[i]) fail("reserved bytes of the configuration are not 0");
    for (unsigned i = 0; i < 16; i++) {
        if (i >= TILES && (rows_of(i) || bytes_of(i))) fail("more tiles than there are");
        if (rows_of(i) > ROWS || bytes_of(i) > ROW_BYTES) fail("a tile is too large");
        if (!rows_of(i) != !bytes_of(i)) fail("a tile with rows or columns alone");
    }
    state.configured = from[0] == 1;
    memset(state.data, 0, sizeof state.data);
}

/* What makes it refuse an instruction. */
static void need(unsigned tile)
{
    if (!state.configured || tile >= TILES || !rows_of(tile)) fail("a tile is not configured");
}

/* ---- The instructions ---------------------------------------------------------------- */

static void load(unsigned tile, const uint8_t *from, int64_t stride)
{
    need(tile);
    if (state.config[1]) fail("loads that begin at a row are not emulated");
    memset(state.data[tile], 0, sizeof state.data[tile]);
    for (unsigned r = 0; r < rows_of(tile); r++)
        memcpy(state.data[tile][r], from + r * stride, bytes_of(tile));
}

static void store(unsigned tile, uint8_t *to, int64_t stride)
{
    need(tile);
    for (unsigned r = 0; r < rows_of(tile); r++)
        memcpy(to + r * stride, state.data[tile][r], bytes_of(tile));
}

static float f32_of_bf16(const uint8_t *p)
{
    uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The manual's TDPBF16PS: sums over even and over odd columns of f32 fused multiply-adds,
 * to nearest even, subnormal numbers taken and given as 0; then their sum, then what is
 * added to. Exceptions stay masked. Lanes past the tile's columns stay 0. */
__attribute__((target("avx512f"))) static void multiply(unsigned sums, unsigned left,
                                                        unsigned right)
{
    const unsigned nearest_masked_daz_ftz = 0x9FC0, before = _mm_getcsr();
    const __m512i odd_half = _mm512_set1_epi32((int)0xFFFF0000u);
    need(sums), need(left), need(right);
    if (sums == left || sums == right || left == right) fail("a tile is used twice");
    if (rows_of(left) != rows_of(sums) || bytes_of(right) != bytes_of(sums) ||
        bytes_of(left) != 4 * rows_of(right))
        fail("tiles do not fit each other");
    _mm_setcsr(nearest_masked_daz_ftz);
    for (unsigned m = 0; m < rows_of(sums); m++) {
        __m512 even = _mm512_setzero_ps(), odd = even, old;
        for (unsigned k = 0; k < rows_of(right); k++) {
            const uint8_t *pair = state.data[left][m] + 4 * k;
            __m512i b = _mm512_loadu_si512(state.data[right][k]);
            __m512 b_even = _mm512_castsi512_ps(_mm512_slli_epi32(b, 16));
            __m512 b_odd = _mm512_castsi512_ps(_mm512_and_si512(b, odd_half));
            even = _mm512_fmadd_ps(_mm512_set1_ps(f32_of_bf16(pair)), b_even, even);
            odd = _mm512_fmadd_ps(_mm512_set1_ps(f32_of_bf16(pair + 2)), b_odd, odd);
        }
        old = _mm512_loadu_ps(state.data[sums][m]);
        _mm512_storeu_ps(state.data[sums][m], _mm512_add_ps(old, _mm512_add_ps(even, odd)));
    }
    _mm_setcsr(before);
}

/* ---- Reading an instruction ---------------------------------------------------------- */

/* Three-byte VEX: C4, [~R ~X ~B mmmmm], [W ~vvvv L pp], opcode, ModRM. */
typedef struct instruction {
    unsigned prefix, opcode, mod, reg, rm, v; /* prefix 0: none, 1: 66, 2: F3, 3: F2 */
    uint8_t *address, *base;                  /* of the operand in memory            */
    int64_t index;                            /* scaled: the stride between rows     */
    size_t bytes;
} instruction;

static int64_t reg_value(const gregset_t regs, unsigned number)
{
    static const int where[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return regs[where[number]];
}

static int64_t displacement(const uint8_t *p, unsigned bytes)
{
    int32_t wide;
    if (bytes == 0) return 0;
    if (bytes == 1) return (int8_t)p[0];
    memcpy(&wide, p, sizeof wide);
    return wide;
}

/* Memory operands of 64-bit mode. */
static void read_memory(instruction *in, const uint8_t *p, const gregset_t regs)
{
    const unsigned x = !(p[1] & 0x40), b = !(p[1] & 0x20);
    const uint8_t *at = p + 5;
    unsigned far = in->mod == 1 ? 1 : in->mod == 2 ? 4 : 0;
    int64_t base;
    if (in->rm == 4) {
        const unsigned scale = *at >> 6, index = (*at >> 3 & 7) | x << 3, low = *at & 7;
        at++;
        if (low == 5 && in->mod == 0)
            far = 4, base = 0;
        else
            base = reg_value(regs, low | b << 3);
        in->index = index == 4 ? 0 : (int64_t)((uint64_t)reg_value(regs, index) << scale);
    } else if (in->rm == 5 && in->mod == 0) {
        far = 4;
        base = (int64_t)(intptr_t)(at + 4); /* from the next instruction on */
    } else {
        base = reg_value(regs, in->rm | b << 3);
    }
    base += displacement(at, far);
    in->base = (uint8_t *)(intptr_t)base;
    in->address = (uint8_t *)(intptr_t)(base + in->index);
    in->bytes = (size_t)(at + far - p);
}

static int read_instruction(instruction *in, const uint8_t *p, const gregset_t regs)
{
    memset(in, 0, sizeof *in);
    /* map 0F38, W 0, 128 bits; tiles have numbers below 8 */
    if (p[0] != 0xC4 || (p[1] & 0x1F) != 2 || (p[2] & 0x84)) return 0;
    in->prefix = p[2] & 3;
    in->v = ~p[2] >> 3 & 15;
    in->opcode = p[3];
    in->mod = p[4] >> 6;
    in->reg = (p[4] >> 3 & 7) | (p[1] & 0x80 ? 0u : 8u);
    in->rm = p[4] & 7;
    in->bytes = 5;
    if (in->mod != 3) read_memory(in, p, regs);
    return 1;
}

/* Does it; 0 for what is not emulated. */
static int execute(const instruction *in)
{
    const int memory = in->mod != 3;
    if (in->opcode == 0x5C && in->prefix == 2 && !memory) {
        multiply(in->reg, in->rm, in->v);
        return 1;
    }
    if (in->v) return 0;
    if (in->opcode == 0x49 && in->prefix == 0 && memory && in->reg == 0)
        configure(in->address);
    else if (in->opcode == 0x49 && in->prefix == 0 && !memory && !in->reg && !in->rm)
        memset(&state.config, 0, sizeof state.config), state.configured = 0;
    else if (in->opcode == 0x49 && in->prefix == 3 && !memory && in->rm == 0)
        need(in->reg), memset(state.data[in->reg], 0, sizeof state.data[in->reg]);
    else if (in->opcode == 0x4B && in->prefix == 3 && memory && in->rm == 4)
        load(in->reg, in->base, in->index);
    else if (in->opcode == 0x4B && in->prefix == 2 && memory && in->rm == 4)
        store(in->reg, in->base, in->index);
    else
        return 0;
    return 1;
}

static void refused(int number, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    greg_t *at = &user->uc_mcontext.gregs[REG_RIP];
    instruction in;
    (void)info;
    if (!read_instruction(&in, (const uint8_t *)(intptr_t)*at, user->uc_mcontext.gregs) ||
        !execute(&in)) {
        signal(number, SIG_DFL); /* and again */
        return;
    }
    state.count++;
    *at += (greg_t)in.bytes;
}

int amx_emulate(void)
{
    const unsigned has_tiles = 1u << 24;
    struct sigaction action;
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & has_tiles)) return 0;
    if (!__builtin_cpu_supports("avx512f")) return 0;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = refused;
    action.sa_flags = SA_SIGINFO;
    return sigaction(SIGILL, &action, NULL) == 0;
}

uint64_t amx_emulated_count(void)
{
    return state.count;
}

#else

int amx_emulate(void)
{
    return 0;
}

uint64_t amx_emulated_count(void)
{
    return 0;
}

#endif

uint32_t amx_features(uint32_t features)
{
    const uint32_t amx = BLUELM_CPU_AMX;
    return features & amx || !amx_emulate() ? features : features | amx;
}
