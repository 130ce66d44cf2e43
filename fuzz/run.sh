#!/bin/sh
# Builds fuzz targets with clang's libFuzzer under AddressSanitizer and
# UndefinedBehaviorSanitizer and runs each over a copy of its corpus:
#
#     fuzz/run.sh BUILD SECONDS [NAME...]
#
# NAME is that of fuzz/fuzz_NAME.c; without one, all of them. An input may take FUZZ_TIMEOUT
# seconds (2). What crashes is left in BUILD/NAME-crash-*, finds in BUILD/corpus/NAME. Exit
# status: 0 when nothing crashed.
set -u
build=${1:?usage: fuzz/run.sh BUILD SECONDS [NAME...]}
seconds=${2:?usage: fuzz/run.sh BUILD SECONDS [NAME...]}
shift 2
cd "$(dirname "$0")/.." || exit 1
mkdir -p "$build"
[ $# -gt 0 ] || set -- $(cd fuzz && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
clang=${CLANG:-clang}
flags='-std=c99 -D_POSIX_C_SOURCE=200809L -g -O1 -fsanitize=address,undefined
       -fno-sanitize-recover=all'
failed=0

# Objects of the library and of the tests' models, covered but without a main.
objects=
for source in base/*.c arena/*.c kernels/*.c gguf/*.c tiler/*.c text/*.c network/*.c families/*.c engine/*.c \
    tests/tiny_*.c tests/hostile_aid.c tests/png_aid.c; do
    object=$build/$(echo "$source" | tr / _).o
    objects="$objects $object"
    [ "$object" -nt "$source" ] && continue
    # shellcheck disable=SC2086
    $clang $flags -fsanitize=fuzzer-no-link -c "$source" -o "$object" || exit 1
done

for name in "$@"; do
    # shellcheck disable=SC2086
    $clang $flags -fsanitize=fuzzer "fuzz/fuzz_$name.c" $objects -lm -o "$build/fuzz_$name" ||
        exit 1
    mkdir -p "$build/corpus/$name"
    cp -n "fuzz/corpus/$name"/* "$build/corpus/$name"/ 2>/dev/null
    echo "fuzz_$name: $seconds seconds"
    if "$build/fuzz_$name" -max_total_time="$seconds" -timeout="${FUZZ_TIMEOUT:-2}" -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$build/$name-" "$build/corpus/$name" \
        >"$build/$name.log" 2>&1; then
        grep 'stat::number_of_executed_units\|stat::new_units_added' "$build/$name.log"
    else
        failed=1
        tail -n 60 "$build/$name.log"
    fi
done
exit $failed
