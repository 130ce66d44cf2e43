#!/bin/sh
# What the library costs a program, for each processor whose compiler is there: code with
# constants, data, and the deepest stack of a call (gcc's own account of it, an upper bound
# where calls go through pointers); then what it needs from outside.
#
#     tools/size.sh BUILD
#
# Exit status: 0 when every compiler that is there compiled it without a warning, and no row
# is above its bars: bytes of code and of stack.
set -eu
build=${1:?usage: tools/size.sh BUILD}
cd "$(dirname "$0")/.."
out=$build/size
rm -rf "$out"
mkdir -p "$out"
bare='-ffreestanding -isystem ports/baremetal/include'
scalar='-DBLUELM_NO_SIMD'
small="$scalar -DBLUELM_NO_IMAGE_DECODE -DBLUELM_NO_ERROR_TEXT"
words="$small -DBLUELM_NO_VISION"   # a language model alone
core="$words -DBLUELM_NO_CHAT"      # and no chat templates
sees="$small -DBLUELM_NO_LANGUAGE"  # pictures are embedded, and that is all

# measure ROW NAME CODE_BAR STACK_BAR FLAGS COMPILER...: writes the row into a folder of its own
measure() {
    place=$out/$1 name=$2 code_bar=$3 stack_bar=$4 flags=$5
    shift 5
    stack=-fcallgraph-info=su
    case $1 in *clang*) stack= ;; esac
    mkdir -p "$place"
    # shellcheck disable=SC2086
    if ! "$@" -std=c99 -Os -Wall -Wextra $flags $stack -c bluelm.c -o "$place/object.o" \
        2>"$place/log" || [ -s "$place/log" ]; then
        echo "$name, $flags:"
        sed 's/^/    /' "$place/log" | head -n 20
        return 1
    fi
    deepest=-
    [ -f "$place/object.ci" ] && deepest=$(awk -f tools/stack.awk "$place/object.ci" | cut -d ' ' -f 1)
    left_out=$(for flag in $flags; do echo "$flag"; done | sed -n 's/^-DBLUELM_NO_//p' | paste -s -d ' ')
    # The sections of whatever kind of object; WebAssembly has constants alone in DATA.
    $size -A "$place/object.o" | awk -v name="$name" -v out="${left_out:-nothing}" \
        -v deepest="$deepest" -v code_bar="$code_bar" -v stack_bar="$stack_bar" '
        $1 ~ /^\.?(data$|data\.[^r])/ { data += $2; next }
        $1 ~ /^\.?(bss|tbss)/ { bss += $2; next }
        $1 ~ /^\.?(text|rodata|data\.rel\.ro|CODE|DATA|srodata)/ { text += $2 }
        END { printf "%-14s %8d %6d %6d %7s  %s\n", name, text, data, bss, deepest, out
            if (text > code_bar) { print "    above its bar of " code_bar " bytes of code"; above = 1 }
            if (deepest + 0 > stack_bar) { print "    above its bar of " stack_bar " bytes of stack"; above = 1 }
            exit above }'
}

# row NAME CODE_BAR STACK_BAR FLAGS COMPILER...: where the compiler is there; as many at a time as
# there are processors
rows=10 running=0
row() {
    command -v "$5" >/dev/null || return 0
    rows=$((rows + 1)) running=$((running + 1))
    (measure $rows "$@" >"$out/$rows.row" || touch "$out/$rows.failed") &
    [ $running -lt "$processors" ] || { wait && running=0; }
}
processors=$(getconf _NPROCESSORS_ONLN)

printf '%-14s %8s %6s %6s %7s  %s\n' processor code data bss stack 'left out'
size=size
row x86-64 761856 8192 '' gcc
row x86-64 188416 5632 "$scalar" gcc
row x86-64 160768 5632 "$small" gcc
row x86-64 95232 3328 "$words" gcc
size=aarch64-linux-gnu-size
row aarch64 436224 5632 '' aarch64-linux-gnu-gcc
row aarch64 162816 5632 "$small" aarch64-linux-gnu-gcc
size=arm-none-eabi-size
m7='-mthumb -mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard'
m55='-mthumb -mcpu=cortex-m55 -mfloat-abi=hard'
row Cortex-M7 144384 4608 "$m7" arm-none-eabi-gcc
row Cortex-M7 121856 4224 "$m7 $small" arm-none-eabi-gcc
row Cortex-M7 65024 4224 "$m7 $sees" arm-none-eabi-gcc
row Cortex-M7 72704 3104 "$m7 $words" arm-none-eabi-gcc
row Cortex-M7 60416 3072 "$m7 $core" arm-none-eabi-gcc
row Cortex-M55 122368 4224 "$m55 $small" arm-none-eabi-gcc
size=riscv64-unknown-elf-size
row RISC-V-32 146944 4352 "-march=rv32imafdc -mabi=ilp32d $bare $small" riscv64-unknown-elf-gcc
row RISC-V-64 152576 5760 "-march=rv64imafdc -mabi=lp64d $bare $small" riscv64-unknown-elf-gcc
# The archive's own tools do not know WebAssembly; LLVM's do.
size=$(command -v llvm-size || command -v llvm-size-14 || true)
if [ -n "$size" ] && command -v clang >/dev/null; then
    row wasm32 238592 0 "--target=wasm32 $bare" clang
    row wasm32 200704 0 "--target=wasm32 $bare $small" clang
fi
wait
cat "$out"/*.row

if [ -f "$build/libbluelm.a" ]; then
    echo "needs from outside:"
    nm -u "$build/libbluelm.a" | awk 'NF == 2 && $1 == "U" { print "  " $2 }'
fi
! ls "$out"/*.failed >/dev/null 2>&1
