#!/bin/sh
# The demo on QEMU's boards, without an operating system:
#
#     tests/test_board.sh BUILD
#
# On mps2-an500, a Cortex-M7:
# - the logits of a question about a picture are the host's to the last bit;
# - a stack that is too small traps, is reported, and the machine ends by itself.
# On aarch64's virt machine:
# - started at EL1, it gives the answer that the host's command gives, with plain NEON and
#   with the extensions that it finds;
# - started at EL2 with scalar kernels, its logits are the host's to the last bit;
# - a stack that is too small traps, is reported, and the machine ends by itself.
# BUILD holds the host's command. Exit status: 0, 1, or 77 without the board's tools.
set -eu
build=$(cd "${1:?usage: tests/test_board.sh BUILD}" && pwd)
cd "$(dirname "$0")/.."
work=$build/board
unset MAKEFLAGS MFLAGS # this has variables of its own

for tool in aarch64-linux-gnu-gcc qemu-system-aarch64 arm-none-eabi-gcc qemu-system-arm; do
    command -v $tool >/dev/null || { echo "skipped: no $tool (make deps-board)"; exit 77; }
done

fail() {
    echo "FAILED: $*"
    exit 1
}

# field LINE NUMBER: of demo/questions.txt
field() { sed -n "$1p" demo/questions.txt | cut -f"$2"; }

# of KIND FILE: what follows "KIND: " on the console
of() { tr -d '\r' <"$2" | sed -n "s/^$1: //p"; }

# Copies, because training may export the model anew in between.
mkdir -p "$work"
cp demo/bluelm-demo.gguf "$work/llm.gguf"
cp demo/bluelm-demo-mmproj.gguf "$work/mmproj.gguf"
files="MODEL=$work/llm.gguf MMPROJ=$work/mmproj.gguf"

board() { make -s -C ports/baremetal/aarch64 run BUILD="$work/aarch64" LIMIT_S=120 $files "$@"; }
m7() { make -s -C ports/baremetal/cortex-m7 run BUILD="$work/cortex-m7" LIMIT_S=120 $files "$@"; }

# same_logits LINE BOARD: the console's and those of the host, both with scalar kernels
same_logits() {
    make -s -C ports/baremetal/host run BUILD="$work/host" $files LINE="$1" CPU=scalar >"$work/host.txt"
    expected=$(of logits "$work/host.txt")
    logits=$(of logits "$work/$2/console.txt")
    [ -n "$logits" ] && [ "$logits" = "$expected" ] || fail "$2: logits $logits, on the host $expected"
    [ "$(of answer "$work/host.txt")" = "$(of answer "$work/$2/console.txt")" ] ||
        fail "$2: another answer than on the host"
}

# same_answer LINE: the console's and the command's
same_answer() {
    expected=$("$build/bluelm" run -m "$work/llm.gguf" --mmproj "$work/mmproj.gguf" --quiet \
        --cpu scalar -n 64 --image "demo/$(field "$1" 1)" -p "$(field "$1" 2)")
    answer=$(of answer "$work/aarch64/console.txt")
    [ "$answer" = "$expected" ] || fail "the board says '$answer', the host '$expected'"
}

m7 LINE=2 || fail "Cortex-M7: did not come to its end"
same_logits 2 cortex-m7
if m7 LINE=2 STACK_BYTES=2048; then
    fail "Cortex-M7: ran on a stack of 2048 bytes"
fi
grep -q 'exception: .*the stack is too small' "$work/cortex-m7/console.txt" ||
    fail "Cortex-M7: too small a stack was not reported"

board LINE=1 || fail "did not come to its end"
same_answer 1
grep -q 'kernels: neon' "$work/aarch64/console.txt" || fail "did not use NEON"

board LINE=1 CORE=max || fail "with all of Arm's extensions, did not come to its end"
same_answer 1
grep -q 'kernels: i8mm' "$work/aarch64/console.txt" || fail "did not find the extensions"

board LINE=5 LEVEL=2 CPU=scalar || fail "started at EL2, did not come to its end"
grep -q 'started at EL2' "$work/aarch64/console.txt" || fail "did not start at EL2"
same_answer 5
same_logits 5 aarch64

if board LINE=1 STACK_BYTES=2048; then
    fail "ran on a stack of 2048 bytes"
fi
grep -q 'exception: .*the stack is too small' "$work/aarch64/console.txt" ||
    fail "too small a stack was not reported"
