#!/bin/sh
# The demo keeps its word: every question of demo/questions.txt is answered as the file says,
# and the drawing of a picture's tiles is a PNG of the size that the tiles give.
#
#     tests/test_demo.sh BUILD
set -u
build=${1:?usage: tests/test_demo.sh BUILD}
model=demo/bluelm-demo
cd "$(dirname "$0")/.." || exit 1
[ -x "$build/grid_png" ] || { echo "skipped: no $build/grid_png (make builds it)" && exit 77; }
failed=0 questions=0
fail() {
    echo "FAILED: $*"
    failed=1
}
ask() { "$build/bluelm" run -m $model.gguf --mmproj $model-mmproj.gguf --image "$1" -p "$2" -q; }

tab=$(printf '\t')
while IFS="$tab" read -r file question expected; do
    questions=$((questions + 1))
    answer=$(ask "demo/$file" "$question" </dev/null)
    [ "$answer" = "$expected" ] || fail "$file: $question $answer, not $expected"
done <demo/questions.txt
[ $questions -ge 6 ] || fail "only $questions questions"

# drawn PICTURE WIDTHxHEIGHT: small pictures are shown larger, padding is drawn too
drawn() {
    "$build/grid_png" $model.gguf $model-mmproj.gguf "$1" "$build/drawn.png" || fail "$1: not drawn"
    shown=$("$build/bluelm" plan -m $model.gguf --mmproj $model-mmproj.gguf \
        --image "$build/drawn.png" | sed -n 's/.*drawn.png: \([0-9x]*\) px.*/\1/p')
    [ "$shown" = "$2" ] || fail "$1: drawn with $shown pixels, not $2"
    # its checksums and its data are sound
    ask "$build/drawn.png" "What is it?" >"$build/drawn.log" 2>&1 || fail "$(cat "$build/drawn.log")"
}
drawn demo/images/shapes.png 576x576
drawn demo/images/tall.png 384x576
"$build/grid_png" $model.gguf $model-mmproj.gguf demo/questions.txt "$build/drawn.png" 2>"$build/drawn.log"
[ $? -eq 1 ] || fail "text is not a picture: not status 1"
grep -q 'questions.txt' "$build/drawn.log" || fail "a failure names no file"
"$build/grid_png" 2>"$build/drawn.log"
[ $? -eq 2 ] || fail "no arguments: not status 2"
rm -f "$build/drawn.png" "$build/drawn.log"
exit $failed
