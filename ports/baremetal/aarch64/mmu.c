/* One flat map, each address to itself, in blocks of 2 MiB: what link.ld calls code can be
 * run, weights and constants read, the rest written; only the console is there below RAM.
 * So a NULL pointer, a write into the weights and a stack that grew too deep all trap.
 * Runs before the caches do: compiled with -mstrict-align.
 * Source: Arm Architecture Reference Manual (DDI 0487), chapter D8. */
#include "../board.h"
#include "aarch64.h"

#define MMU_TABLE       3u /* descriptor types */
#define MMU_BLOCK       1u
#define MMU_DEVICE      (0u << 2)           /* index into MAIR_EL1 */
#define MMU_NORMAL      (1u << 2 | 3u << 8) /* and shareable */
#define MMU_READ_ONLY   (1u << 7)
#define MMU_ACCESSED    (1u << 10)
#define MMU_NEVER_RUN   (3ull << 53)
#define MMU_BLOCK_BYTES (1ull << 21)

/* Of the 4 GiB that 32 bits reach: a table with an entry for each, and one for each of the
 * two that are used, 512 blocks in it. */
static uint64_t mmu_root[4] __attribute__((aligned(4096)));
static uint64_t mmu_low[512] __attribute__((aligned(4096)));
static uint64_t mmu_ram[512] __attribute__((aligned(4096)));

static void mmu_map(uintptr_t from, uintptr_t to, uint64_t attributes)
{
    for (uintptr_t at = from & ~(MMU_BLOCK_BYTES - 1); at < to; at += MMU_BLOCK_BYTES) {
        uint64_t *table = at >> 30 ? mmu_ram : mmu_low;
        table[at >> 21 & 511] = at | attributes | MMU_ACCESSED | MMU_BLOCK;
    }
}

void board_mmu_on(void)
{
    mmu_root[0] = (uintptr_t)mmu_low | MMU_TABLE;
    mmu_root[1] = (uintptr_t)mmu_ram | MMU_TABLE;
    mmu_map(BOARD_UART, BOARD_UART + 1, MMU_DEVICE | MMU_NEVER_RUN);
    mmu_map((uintptr_t)board_code, (uintptr_t)board_code_end, MMU_NORMAL | MMU_READ_ONLY);
    mmu_map((uintptr_t)board_weights, (uintptr_t)board_weights_end,
            MMU_NORMAL | MMU_READ_ONLY | MMU_NEVER_RUN);
    mmu_map((uintptr_t)board_data, (uintptr_t)board_data_end, MMU_NORMAL | MMU_NEVER_RUN);
    mmu_map((uintptr_t)board_arena_low, (uintptr_t)board_arena_top, MMU_NORMAL | MMU_NEVER_RUN);

    WRITE_REGISTER(mair_el1, 0xff04); /* 0: device, 1: write-back */
    /* 32-bit addresses, 4 KiB tables, write-back and shareable, no upper half. */
    WRITE_REGISTER(tcr_el1, 32 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23);
    WRITE_REGISTER(ttbr0_el1, (uintptr_t)mmu_root);
    __asm__ volatile("dsb sy\n ic iallu\n tlbi vmalle1\n dsb sy\n isb" ::: "memory");
    /* MMU, data cache, stack alignment check, instruction cache; the rest must be 1. */
    WRITE_REGISTER(sctlr_el1, 0x30d00800 | 1 << 0 | 1 << 2 | 1 << 3 | 1 << 12);
    __asm__ volatile("isb" ::: "memory");
}
