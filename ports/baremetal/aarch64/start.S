/* Reset, exceptions. Runs at EL2 or EL1 as the board starts it, the rest at EL1.
 *
 * C runs on SP_EL0 and exceptions on SP_EL1, so that one which the stack itself causes can
 * still be reported. */

    .section .text.start, "ax"
    .global board_start
board_start:
    msr daifset, #15 /* no interrupts, ever: everything is polled */
    mrs x19, currentel
    lsr x19, x19, #2
    cmp x19, #2
    b.ne at_el1

    mov x0, #1 << 31 /* HCR_EL2.RW: EL1 is 64-bit */
    msr hcr_el2, x0
    mov x0, #0x33ff /* CPTR_EL2: floating point does not trap */
    msr cptr_el2, x0
    msr cntvoff_el2, xzr
    ldr x0, =0x30d00800 /* SCTLR_EL1: the bits that must be 1, all else off */
    msr sctlr_el1, x0
    mov x0, #0x3c5 /* to EL1 with its own stack, interrupts masked */
    msr spsr_el2, x0
    adr x0, at_el1
    msr elr_el2, x0
    eret

at_el1:
    mov x0, #3 << 20 /* CPACR_EL1.FPEN */
    msr cpacr_el1, x0
    ldr x0, =board_vectors
    msr vbar_el1, x0
    isb
    msr fpcr, xzr /* round to nearest, keep subnormals */

    ldr x0, =board_exception_stack_top
    mov sp, x0
    msr spsel, #0
    ldr x0, =board_stack_top
    mov sp, x0

.macro fill from, to, value
    ldr x0, =\from
    ldr x1, =\to
    ldr x2, =\value
1:  cmp x0, x1
    b.hs 2f
    str x2, [x0], #8
    b 1b
2:
.endm
    fill board_bss, board_bss_end, 0
    fill board_stack_low, board_stack_top, 0xa5a5a5a5a5a5a5a5 /* BOARD_PAINT */

    bl board_mmu_on
    ldr x0, =board_reset_level
    str x19, [x0]
    bl main
    bl board_end

/* ---- Exceptions: save the registers, tell, end ------------------------------------------ */

.macro vector kind
    .balign 128
    sub sp, sp, #288 /* board_registers */
    stp x0, x1, [sp]
    mov x0, \kind
    b save
.endm

    .section .text.vectors, "ax"
    .balign 2048
board_vectors:
    .irp kind, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vector \kind
    .endr

save:
    stp x2, x3, [sp, #16]
    stp x4, x5, [sp, #32]
    stp x6, x7, [sp, #48]
    stp x8, x9, [sp, #64]
    stp x10, x11, [sp, #80]
    stp x12, x13, [sp, #96]
    stp x14, x15, [sp, #112]
    stp x16, x17, [sp, #128]
    stp x18, x19, [sp, #144]
    stp x20, x21, [sp, #160]
    stp x22, x23, [sp, #176]
    stp x24, x25, [sp, #192]
    stp x26, x27, [sp, #208]
    stp x28, x29, [sp, #224]
    mrs x1, sp_el0
    stp x30, x1, [sp, #240]
    mrs x1, elr_el1
    mrs x2, spsr_el1
    stp x1, x2, [sp, #256]
    mrs x1, esr_el1
    mrs x2, far_el1
    stp x1, x2, [sp, #272]
    mov x1, sp
    b board_exception
