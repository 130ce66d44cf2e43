#!/bin/sh
# What the library costs a program, for each processor whose compiler is there: code with
# constants, data, and the deepest stack of a call (gcc's own account of it, an upper bound
# where calls go through pointers); then what it needs from outside.
#
#     tools/size.sh BUILD
#
# Exit status: 0 when every compiler that is there compiled it without a warning.
set -eu
build=${1:?usage: tools/size.sh BUILD}
cd "$(dirname "$0")/.."
out=$build/size
mkdir -p "$out"
failed=0
bare='-ffreestanding -isystem ports/baremetal/include'
scalar='-DBLUELM_NO_SIMD'
small="$scalar -DBLUELM_NO_IMAGE_DECODE -DBLUELM_NO_ERROR_TEXT"

# row NAME FLAGS COMPILER...
row() {
    name=$1 flags=$2
    shift 2
    command -v "$1" >/dev/null || return 0
    stack=-fcallgraph-info=su
    case $1 in *clang*) stack= ;; esac
    rm -f "$out"/object.*
    # shellcheck disable=SC2086
    if ! "$@" -std=c99 -Os -Wall -Wextra $flags $stack -c bluelm.c -o "$out/object.o" \
        2>"$out/log" || [ -s "$out/log" ]; then
        echo "$name, $flags:"
        sed 's/^/    /' "$out/log" | head -n 20
        failed=1
        return 0
    fi
    deepest=-
    [ -f "$out/object.ci" ] && deepest=$(awk -f tools/stack.awk "$out/object.ci" | cut -d ' ' -f 1)
    left_out=$(for flag in $flags; do echo "$flag"; done | sed -n 's/^-DBLUELM_NO_//p' | paste -s -d ' ')
    # The sections of whatever kind of object; WebAssembly has constants alone in DATA.
    $size -A "$out/object.o" | awk -v name="$name" -v out="${left_out:-nothing}" \
        -v deepest="$deepest" '
        $1 ~ /^\.?(data$|data\.[^r])/ { data += $2; next }
        $1 ~ /^\.?(bss|tbss)/ { bss += $2; next }
        $1 ~ /^\.?(text|rodata|data\.rel\.ro|CODE|DATA|srodata)/ { text += $2 }
        END { printf "%-14s %8d %6d %6d %7s  %s\n", name, text, data, bss, deepest, out }'
}

printf '%-14s %8s %6s %6s %7s  %s\n' processor code data bss stack 'left out'
size=size
row x86-64 '' gcc
row x86-64 "$scalar" gcc
row x86-64 "$small" gcc
size=aarch64-linux-gnu-size
row aarch64 '' aarch64-linux-gnu-gcc
row aarch64 "$small" aarch64-linux-gnu-gcc
size=arm-none-eabi-size
m7='-mthumb -mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard'
m55='-mthumb -mcpu=cortex-m55 -mfloat-abi=hard'
row Cortex-M7 "$m7" arm-none-eabi-gcc
row Cortex-M7 "$m7 $small" arm-none-eabi-gcc
row Cortex-M55 "$m55 $small" arm-none-eabi-gcc
size=riscv64-unknown-elf-size
row RISC-V-32 "-march=rv32imafdc -mabi=ilp32d $bare $small" riscv64-unknown-elf-gcc
row RISC-V-64 "-march=rv64imafdc -mabi=lp64d $bare $small" riscv64-unknown-elf-gcc
# The archive's own tools do not know WebAssembly; LLVM's do.
size=$(command -v llvm-size || command -v llvm-size-14 || true)
if [ -n "$size" ] && command -v clang >/dev/null; then
    row wasm32 "--target=wasm32 $bare" clang
    row wasm32 "--target=wasm32 $bare $small" clang
fi

if [ -f "$build/libbluelm.a" ]; then
    echo "needs from outside:"
    nm -u "$build/libbluelm.a" | awk 'NF == 2 && $1 == "U" { print "  " $2 }'
fi
exit $failed
