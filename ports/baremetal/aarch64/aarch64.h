/* What start.S, link.ld, mmu.c and board.c share. */
#ifndef BLUELM_AARCH64_H
#define BLUELM_AARCH64_H

#include <stdint.h>

#define BOARD_UART 0x09000000u /* PL011 of QEMU's virt machine */

#define READ_REGISTER(name, value) __asm__ volatile("mrs %0, " #name : "=r"(value))
#define WRITE_REGISTER(name, value)                                                            \
    __asm__ volatile("msr " #name ", %0" : : "r"((uint64_t)(value)) : "memory")

/* From link.ld, besides what board.h names. */
extern unsigned char board_code[], board_code_end[];
extern unsigned char board_weights[], board_weights_end[];
extern unsigned char board_data[], board_data_end[];

/* From start.S: the exception level at reset, and the registers at an exception. */
extern uint64_t board_reset_level;

typedef struct board_registers {
    uint64_t x[31], sp, pc, pstate, syndrome, address;
} board_registers;

/* To start.S. */
void board_mmu_on(void);
__attribute__((noreturn)) void board_exception(unsigned kind, const board_registers *r);

#endif
