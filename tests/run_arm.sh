#!/bin/sh
# Tests built for aarch64, under QEMU, on a processor with every extension and on one with
# none; and the demo's answer, which every set of kernels must give as this machine does:
#
#     tests/run_arm.sh ARM_BUILD BUILD
#
# Exit status: 0 when nothing failed.
set -u
arm=${1:?usage: tests/run_arm.sh ARM_BUILD BUILD} build=${2:?usage: tests/run_arm.sh ARM_BUILD BUILD}
cd "$(dirname "$0")/.."
log=$arm/run.log failed=0

# run CPU NAME COMMAND...
run() {
    printf '%-12s %-24s ' "$1" "$2"
    cpu=$1
    shift 2
    if qemu-aarch64 -cpu "$cpu" "$@" >"$log" 2>&1; then
        echo ok
    else
        failed=1
        echo FAILED
        sed 's/^/    /' "$log"
    fi
}

# ask KERNELS COMMAND...: the first question's answer
ask() {
    kernels=$1
    shift
    "$@" run -m demo/bluelm-demo.gguf --mmproj demo/bluelm-demo-mmproj.gguf --quiet -n 32 \
        --cpu "$kernels" --image "demo/$(head -n 1 demo/questions.txt | cut -f1)" \
        -p "$(head -n 1 demo/questions.txt | cut -f2)"
}

# same CPU KERNELS
same() {
    answer=$(ask "$2" qemu-aarch64 -cpu "$1" "$arm/bluelm" 2>&1)
    word=ok
    [ "$answer" = "$expected" ] || { word="FAILED, not '$expected'" failed=1; }
    printf '%-12s %-24s %s: %s\n' "$1" "demo, $2" "$word" "$answer"
}

for cpu in max cortex-a53; do
    for name in check_kernels test_resize test_tiler test_network; do
        run $cpu $name "$arm/tests/$name"
    done
done
[ -f demo/bluelm-demo.gguf ] || { echo "no demo model: its answer is not compared"; exit $failed; }
expected=$(ask scalar "$build/bluelm")
for kernels in scalar neon dotprod i8mm; do
    same max $kernels
done
same cortex-a53 neon
exit $failed
