/* Reset, exceptions.
 *
 * C runs on the process stack and exceptions on the main one, so that one which the stack
 * itself causes can still be reported. */

    .syntax unified
    .section .vectors, "ax"
    .word board_exception_stack_top
    .word board_start + 1
    .rept 14
    .word board_trap + 1
    .endr

    .text
    .thumb
    .global board_start
    .thumb_func
board_start:
    cpsid i /* no interrupts, ever: everything is polled */
    ldr r0, =0xe000ed88 /* CPACR: floating point on */
    ldr r1, [r0]
    orr r1, r1, #0xf << 20
    str r1, [r0]
    dsb
    isb
    movs r0, #0
    vmsr fpscr, r0 /* round to nearest, keep subnormals */

    ldr r0, =board_stack_top
    msr psp, r0
    movs r0, #2 /* the process stack */
    msr control, r0
    isb

.macro fill from, to, value
    ldr r0, =\from
    ldr r1, =\to
    ldr r2, =\value
1:  cmp r0, r1
    bhs 2f
    str r2, [r0], #4
    b 1b
2:
.endm
    fill board_bss, board_bss_end, 0
    fill board_stack_low, board_stack_top, 0xa5a5a5a5 /* BOARD_PAINT */

    bl main
    bl board_end

    .thumb_func
board_trap:
    mrs r0, psp
    mrs r1, ipsr
    b board_exception
    .ltorg
