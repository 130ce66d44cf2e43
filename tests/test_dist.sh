#!/bin/sh
# The two files that `make dist` writes are the library: README's program, in an empty folder
# with just them and the port, answers as the command does, whatever compiles it and how; and
# with each part left out that can be left out, it says so.
#
#     tests/test_dist.sh BUILD
set -u
build=${1:?usage: tests/test_dist.sh BUILD}
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
build=$(cd "$build" && pwd)
demo=$root/demo
model=$demo/bluelm-demo.gguf mmproj=$demo/bluelm-demo-mmproj.gguf
picture=$demo/images/shapes.png question="What colour is the square?"
if nm -u "$build/libbluelm.a" 2>/dev/null | grep -q '__asan\|__ubsan'; then
    echo "skipped: built under sanitizers"
    exit 77
fi
there=$build/dist
rm -rf "$there"
mkdir -p "$there"
tools/dist.sh "$there"
failed=0
wrong() {
    echo "$1:"
    echo "$2" | sed 's/^/    /' | head -n 20
    failed=1
}
grep -q 'MIT License' "$there/bluelm.c" && grep -q 'MIT License' "$there/bluelm.h" ||
    wrong "license" "is not in both"
sed -n '/^```c$/,/^```$/p' README.md | sed '/^```$/q' | sed '/^```/d' >"$there/example.c"
expected=$("$build/bluelm" run -m "$model" --mmproj "$mmproj" --image "$picture" \
    -p "$question" --quiet)
cd "$there" || exit 1

# Compiles in the background.
make_one() { # NAME COMMAND...
    name=$1
    shift
    "$@" -Wall -Wextra -Werror example.c bluelm.c ports/posix/posix.c -pthread -o "$name.out" \
        >"$name.log" 2>&1 &
}

# What became of it: its answer must be one of the kind.
says() { # NAME STATUS PATTERN
    if [ -s "$1.log" ] || [ ! -f "$1.out" ]; then
        wrong "$1 does not compile" "$(cat "$1.log")"
        return
    fi
    answer=$("./$1.out" "$model" "$mmproj" "$picture" "$question")
    code=$?
    rm -f "$1.out"
    # shellcheck disable=SC2254
    case $code:$answer in
    $2:$3) echo "$1: $answer" ;;
    *) wrong "$1" "exit status $code, answer '$answer'" ;;
    esac
}

compilers=gcc
command -v clang >/dev/null && compilers="gcc clang"
for cc in $compilers; do
    make_one "$cc-O0" "$cc" -O0
    make_one "$cc-Os" "$cc" -Os
    wait
    make_one "$cc-native" "$cc" -O2 -march=native
    make_one "$cc-c99" "$cc" -std=c99 -D_POSIX_C_SOURCE=200809L -O1
    wait
    for name in O0 Os native c99; do
        says "$cc-$name" 0 "$expected"
    done
done

left_out() { # PART...
    for part in "$@"; do
        make_one "without-$part" gcc -O1 "-DBLUELM_NO_$part"
    done
    wait
}
left_out IMAGE_DECODE SIMD ERROR_TEXT
for part in VISION LANGUAGE CHAT; do
    make_one "without-$part" gcc -O0 -DBLUELM_NO_SIMD "-DBLUELM_NO_$part"
done
wait
for part in VISION LANGUAGE CHAT; do
    says "without-$part" 1 '*built without*'
done
says without-IMAGE_DECODE 1 '*built without*'
says without-SIMD 0 "$expected"
says without-ERROR_TEXT 0 "$expected"
cd "$root" && rm -rf "$there"
exit $failed
