#!/bin/sh
# Grids and resizing are exact under any compiler flags short of -ffast-math: the tests that
# hold them to their authors' bytes, built as gnu17 (which lets a compiler fuse products and
# sums) for this very machine.
#
#     tests/test_flags.sh BUILD
set -u
build=${1:?usage: tests/test_flags.sh BUILD}
cd "$(dirname "$0")/.." || exit 1
mkdir -p "$build"
failed=0
for cc in gcc clang; do
    command -v $cc >/dev/null || { echo "skipped: no $cc"; continue; }
    for test in test_tiles_reference test_resize; do
        program=$build/${test}_flags
        $cc -std=gnu17 -O2 -march=native -D_POSIX_C_SOURCE=200809L tests/$test.c \
            tests/file_aid.c tests/tiny_writer.c tiler/*.c base/*.c -lcmocka -lm -o "$program" || exit 1
        if "$program" >"$program.log" 2>&1; then
            echo "ok: $cc, $test"
        else
            cat "$program.log"
            echo "FAILED: $cc -std=gnu17 -O2 -march=native, $test"
            failed=1
        fi
    done
done
exit $failed
