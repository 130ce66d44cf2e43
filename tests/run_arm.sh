#!/bin/sh
# Tests built for aarch64, under QEMU, on a processor with every extension and on one with
# none; and the demo's answer, which every set of kernels must give as this machine does; as
# many at a time as there are processors:
#
#     ARM_TESTS="NAME..." tests/run_arm.sh ARM_BUILD BUILD [CPU NAME | CPU demo KERNELS]
#
# Exit status: 0 when nothing failed.
set -u
usage='usage: tests/run_arm.sh ARM_BUILD BUILD'
arm=${1:?$usage} build=${2:?$usage}
cd "$(dirname "$0")/.."
shift 2

# run CPU NAME
run() {
    log=$arm/run.$1.$2.log word=ok
    qemu-aarch64 -cpu "$1" "$arm/tests/$2" >"$log" 2>&1 || word="FAILED
$(sed 's/^/    /' "$log")"
    printf '%-12s %-24s %s\n' "$1" "$2" "$word"
    [ "$word" = ok ]
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
    expected=$(ask scalar "$build/bluelm") word=ok
    [ "$answer" = "$expected" ] || word="FAILED, not '$expected'"
    printf '%-12s %-24s %s: %s\n' "$1" "demo, $2" "$word" "$answer"
    [ "$word" = ok ]
}

case $# in
3) same "$1" "$3" && exit ;;
2) run "$1" "$2" && exit ;;
0)
    {
        for cpu in max cortex-a53; do
            for name in ${ARM_TESTS:?the names of the tests that were built}; do
                echo "$cpu $name"
            done
        done
        if [ -f demo/bluelm-demo.gguf ]; then
            for kernels in scalar neon dotprod i8mm; do
                echo "max demo $kernels"
            done
            echo "cortex-a53 demo neon"
        else
            echo "no demo model: its answer is not compared" >&2
        fi
    } | xargs -L 1 -P "$(getconf _NPROCESSORS_ONLN)" sh "tests/run_arm.sh" "$arm" "$build"
    exit
    ;;
esac
exit 1
