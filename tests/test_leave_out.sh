#!/bin/sh
# Parts that a build leaves out (bluelm.c lists them): what is left compiles without a warning
# and does what it does in a whole build, to the last bit; calls that need what is gone say so.
#
#     tests/test_leave_out.sh BUILD
set -u
build=${1:?usage: tests/test_leave_out.sh BUILD}
cd "$(dirname "$0")/.." || exit 1
out=$build/leave_out
model=tests/data/llama-q4_k.gguf mmproj=tests/data/mmproj-lfm2-q8_0.gguf
floats=tests/data/vision2/pixtral-f32.gguf
quantised=$(sed -n 's/^    R(ROW, \([A-Z0-9_]*\), .*/-DBLUELM_NO_TYPE_\1/p' base/tensor.h)
rm -rf "$out"
mkdir -p "$out"
failed=0
wrong() {
    echo "FAILED: $1"
    sed 's/^/    /' "$2" | head -n 20
    failed=1
}

# make_one NAME COMPILER FLAGS...
make_one() {
    name=$1
    shift
    "$@" -std=c99 -O0 -DBLUELM_NO_SIMD -Wall -Wextra -pedantic -Werror tests/programs/leave_out.c \
        -o "$out/$name" >"$out/$name.log" 2>&1 || wrong "$name does not compile" "$out/$name.log"
}

compilers=gcc
command -v clang >/dev/null && compilers='gcc clang'
for cc in $compilers; do
    make_one "$cc" "$cc" &
    for part in VISION LANGUAGE CHAT; do
        make_one "$cc-$part" "$cc" "-DBLUELM_NO_$part"
    done
    make_one "$cc-VISION-CHAT" "$cc" -DBLUELM_NO_VISION -DBLUELM_NO_CHAT
    make_one "$cc-all" "$cc" -DBLUELM_NO_LANGUAGE -DBLUELM_NO_IMAGE_DECODE \
        -DBLUELM_NO_ERROR_TEXT -DBLUELM_NO_TYPE_Q2_K
    # shellcheck disable=SC2086
    make_one "$cc-floats" "$cc" -DBLUELM_NO_LANGUAGE $quantised
    wait
    "$out/$cc" words $model >"$out/words"
    "$out/$cc" embed $mmproj >"$out/embed"
    # What a build without a part says: the whole build's lines, but for these.
    "$out/$cc-VISION" words $model >"$out/got"
    cmp -s "$out/words" "$out/got" || wrong "$cc: words without pictures" "$out/got"
    "$out/$cc-VISION" whole $model $mmproj >"$out/got"
    grep -qx 'start: left out' "$out/got" || wrong "$cc: a picture's file without pictures" "$out/got"
    "$out/$cc-LANGUAGE" words $model >"$out/got"
    grep -qx 'start: left out' "$out/got" || wrong "$cc: a language model without it" "$out/got"
    sed 's/^\(add image\|turn\): .*/\1: left out/' "$out/embed" >"$out/expected"
    for name in LANGUAGE all; do
        "$out/$cc-$name" embed $mmproj >"$out/got"
        cmp -s "$out/expected" "$out/got" || wrong "$cc: $name left out, pictures" "$out/got"
    done
    # Floats that int8 activations meet become Q8_0, which then must be there.
    "$out/$cc" embed8 $floats >"$out/embed8"
    grep -qx 'embed: ok' "$out/embed8" || wrong "$cc: floats rounded" "$out/embed8"
    "$out/$cc-floats" embed8 $floats >"$out/got"
    [ "$(cat "$out/got")" = 'start: left out' ] || wrong "$cc: floats to Q8_0 without it" "$out/got"
    "$out/$cc" embed $floats | sed 's/^\(add image\|turn\): .*/\1: left out/' >"$out/expected"
    "$out/$cc-floats" embed $floats >"$out/got"
    cmp -s "$out/expected" "$out/got" || wrong "$cc: floats without Q8_0" "$out/got"
    # The model has no template that is known, so turns fail in both, for other reasons.
    sed 's/^turn: .*/turn: left out/' "$out/words" | sed '/^turn/q' >"$out/expected"
    for name in CHAT VISION-CHAT; do
        "$out/$cc-$name" words $model >"$out/got"
        cmp -s "$out/expected" "$out/got" || wrong "$cc: $name left out, words" "$out/got"
    done
done
[ $failed -eq 0 ] && cat "$out/words" "$out/embed"
if gcc -DBLUELM_NO_VISION -DBLUELM_NO_LANGUAGE -fsyntax-only bluelm.c 2>"$out/nothing.log"; then
    wrong "nothing is left, and that compiles" "$out/nothing.log"
fi
exit $failed
