/* QEMU's mps2-an500: CMSDK UART, the FPGA's microsecond counter, end by semihosting.
 * Source: Arm Application Note AN500; Armv7-M Architecture Reference Manual (DDI 0403). */
#include "../../../bluelm.h"
#include "../board.h"
#include "../console.h"

#define BOARD_REGISTER(address) (*(volatile uint32_t *)(address))

void board_exception(uint32_t sp, uint32_t number);

/* ---- Console ------------------------------------------------------------------------- */

#define UART_DATA      BOARD_REGISTER(0x40004000)
#define UART_STATE     BOARD_REGISTER(0x40004004)
#define UART_CONTROL   BOARD_REGISTER(0x40004008)
#define UART_DIVIDER   BOARD_REGISTER(0x40004010)
#define UART_SEND_FULL 1u
#define UART_SEND_ON   1u

static void board_send(char c)
{
    while (UART_STATE & UART_SEND_FULL)
        ;
    UART_DATA = (unsigned char)c;
}

void board_put(char c)
{
    if (!(UART_CONTROL & UART_SEND_ON)) {
        UART_DIVIDER = 217; /* 115200 baud of 25 MHz */
        UART_CONTROL = UART_SEND_ON;
    }
    if (c == '\n') board_send('\r');
    board_send(c);
}

void board_print_name(void)
{
    console_text("bluelm on QEMU's mps2-an500, a Cortex-M7");
}

/* ---- Clock --------------------------------------------------------------------------- */

/* Counts once in PRESCALE + 1 clocks of 25 MHz; wraps after 71 minutes. */
#define FPGA_COUNTER  BOARD_REGISTER(0x40028018)
#define FPGA_PRESCALE BOARD_REGISTER(0x4002801c)

uint64_t board_now_us(void *unused)
{
    (void)unused;
    if (FPGA_PRESCALE != 24) FPGA_PRESCALE = 24;
    return FPGA_COUNTER;
}

/* ---- Processor ----------------------------------------------------------------------- */

uint32_t board_cpu_features(void)
{
    return 0;
}

/* ---- End ----------------------------------------------------------------------------- */

/* Asks the debugger, here QEMU, to end: SYS_EXIT with "the program ended" or "an error". */
void board_end(int status)
{
    register uint32_t call __asm__("r0") = 0x18;
    register uint32_t reason __asm__("r1") = status ? 0x20023 : 0x20026;
    __asm__ volatile("bkpt 0xab" : "+r"(call) : "r"(reason) : "memory");
    for (;;)
        __asm__ volatile("wfi");
}

/* ---- Exceptions ---------------------------------------------------------------------- */

#define FAULT_STATUS  BOARD_REGISTER(0xe000ed28) /* of memory, bus and usage faults */
#define FAULT_HARD    BOARD_REGISTER(0xe000ed2c)
#define FAULT_ADDRESS BOARD_REGISTER(0xe000ed38) /* of the last bus fault that has one */

static void board_print_register(const char *name, uint32_t value)
{
    console_text(name);
    console_hex(value, 8);
}

/* A frame of 8 words lies at sp, unless it was the stack that had no room for it. */
void board_exception(uint32_t sp, uint32_t number)
{
    static const char *const names[] = {"r0 ", "r1 ", "r2 ", "r3 ", "r12", "lr ", "pc ", "psr"};
    const uint32_t low = (uint32_t)(uintptr_t)board_stack_low;
    const uint32_t top = (uint32_t)(uintptr_t)board_stack_top;
    const int has_frame = sp >= low && sp + 32 <= top;
    console_text("\nexception: ");
    console_number(number, 0);
    if (!has_frame) console_text(", the stack is too small");
    board_print_register("\n sp  ", sp);
    board_print_register("  fault ", FAULT_STATUS);
    board_print_register("  hard ", FAULT_HARD);
    board_print_register("  at ", FAULT_ADDRESS);
    for (unsigned i = 0; has_frame && i < 8; i++) {
        console_text(i % 4 ? "  " : "\n ");
        console_text(names[i]);
        board_print_register(" ", ((const uint32_t *)(uintptr_t)sp)[i]);
    }
    console_text("\n");
    board_end(1);
}
