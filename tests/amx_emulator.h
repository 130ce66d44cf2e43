/* Runs AMX tile instructions on machines that have none: the processor refuses them, and a
 * handler of SIGILL reads the refused instruction and does what Intel's manual says it does.
 * So what is tested is the machine code that runs elsewhere, encodings and the
 * configuration of tiles included. */
#ifndef AMX_EMULATOR_H
#define AMX_EMULATOR_H

#include <stdint.h>

/* From now on tile instructions work in this process: returns 1, or 0 where they cannot be
 * emulated (not Linux on x86-64 with AVX-512, or a processor that has some of them). */
int amx_emulate(void);

/* The features that a port reports, and AMX: emulated if it is not among them. cmocka takes
 * signals over before each test, so call it within. */
uint32_t amx_features(uint32_t features);

/* Tile instructions emulated so far in this thread. */
uint64_t amx_emulated_count(void);

#endif
