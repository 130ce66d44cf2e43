/* QEMU's aarch64 virt machine: PL011 console, generic timer, power-off by PSCI. */
#include "../../../bluelm.h"
#include "../board.h"
#include "../console.h"
#include "aarch64.h"

uint64_t board_reset_level;

/* ---- Console ------------------------------------------------------------------------- */

#define UART_DATA      (*(volatile uint32_t *)(BOARD_UART + 0x00))
#define UART_FLAGS     (*(volatile uint32_t *)(BOARD_UART + 0x18))
#define UART_SEND_FULL (1u << 5)

static void board_send(char c)
{
    while (UART_FLAGS & UART_SEND_FULL)
        ;
    UART_DATA = (unsigned char)c;
}

void board_put(char c)
{
    if (c == '\n') board_send('\r');
    board_send(c);
}

void board_print_name(void)
{
    console_text("bluelm on QEMU's aarch64 virt machine, started at EL");
    console_number(board_reset_level, 0);
}

/* ---- Clock --------------------------------------------------------------------------- */

uint64_t board_now_us(void *unused)
{
    uint64_t count, hertz;
    (void)unused;
    __asm__ volatile("isb"); /* or the counter may be read early */
    READ_REGISTER(cntvct_el0, count);
    READ_REGISTER(cntfrq_el0, hertz);
    return count / hertz * 1000000 + count % hertz * 1000000 / hertz;
}

/* ---- Processor ----------------------------------------------------------------------- */

/* Source: Arm Architecture Reference Manual (DDI 0487), ID_AA64ISAR0_EL1.DP in bits 47-44,
 * ID_AA64ISAR1_EL1.I8MM in bits 55-52; 0 is without. The second is spelt by its number: it
 * is newer than some assemblers' names. */
uint32_t board_cpu_features(void)
{
    uint64_t isar0, isar1;
    READ_REGISTER(id_aa64isar0_el1, isar0);
    READ_REGISTER(s3_0_c0_c6_1, isar1);
    return BLUELM_CPU_NEON | (isar0 >> 44 & 15 ? BLUELM_CPU_NEON_DOTPROD : 0u) |
           (isar1 >> 52 & 15 ? BLUELM_CPU_NEON_I8MM : 0u);
}

/* ---- End ----------------------------------------------------------------------------- */

/* The machine's firmware is called by hvc from a system that started at EL1, by smc from
 * one that had EL2 to itself. The status is in the console's last line alone.
 * Source: Arm Power State Coordination Interface (DEN 0022), SYSTEM_OFF. */
void board_end(int status)
{
    register uint64_t function __asm__("x0") = 0x84000008;
    (void)status;
    if (board_reset_level == 2)
        __asm__ volatile("smc #0" : "+r"(function) : : "memory");
    else
        __asm__ volatile("hvc #0" : "+r"(function) : : "memory");
    for (;;)
        __asm__ volatile("wfi");
}

/* ---- Exceptions ---------------------------------------------------------------------- */

/* The cause in ESR_EL1's upper bits. */
static const char *board_cause(uint64_t syndrome)
{
    switch (syndrome >> 26) {
    case 0x07:
        return "floating point is off";
    case 0x0e:
        return "illegal state";
    case 0x20:
    case 0x21:
        return "instruction abort";
    case 0x22:
        return "misaligned pc";
    case 0x24:
    case 0x25:
        return "data abort";
    case 0x26:
        return "misaligned sp";
    case 0x3c:
        return "breakpoint";
    default:
        return "undefined instruction or other";
    }
}

static void board_print_register(const char *name, uint64_t value)
{
    console_text(name);
    console_hex(value, 16);
}

void board_exception(unsigned kind, const board_registers *r)
{
    static const char *const kinds[] = {"synchronous", "IRQ", "FIQ", "SError"};
    uintptr_t low = (uintptr_t)board_stack_low;
    console_text("\nexception: ");
    console_text(kinds[kind % 4]);
    console_text(", ");
    console_text(board_cause(r->syndrome));
    if (r->sp < low || (r->address < low && low - r->address < 65536))
        console_text(", the stack is too small");
    board_print_register("\n pc ", r->pc);
    board_print_register("  sp ", r->sp);
    board_print_register("  at ", r->address);
    board_print_register("\nesr ", r->syndrome);
    board_print_register(" psr ", r->pstate);
    for (unsigned i = 0; i < 31; i++) {
        console_text(i % 3 ? "  x" : "\n x");
        console_number(i, 0);
        board_print_register(i < 10 ? "  " : " ", r->x[i]);
    }
    console_text("\n");
    board_end(1);
}
