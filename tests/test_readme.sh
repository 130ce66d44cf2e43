#!/bin/sh
# The README keeps its word: its program, built in each of the ways it gives, word for word,
# answers on the demo model; `bluelm plan` prints what it shows.
#
#     tests/test_readme.sh BUILD
set -u
build=${1:?usage: tests/test_readme.sh BUILD}
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
build=$(cd "$build" && pwd)
model=$root/demo/bluelm-demo.gguf mmproj=$root/demo/bluelm-demo-mmproj.gguf
picture=$root/demo/images/shapes.png question="What colour is the square?"

skip() {
    echo "skipped: $*"
    exit 77
}
grep -q '^```c$' README.md || skip "README.md has no C program"
[ -f "$model" ] && [ -f "$mmproj" ] || skip "the demo model is not there"
nm -u "$build/libbluelm.a" | grep -q '__asan\|__ubsan' && skip "built under sanitizers"

# A folder that looks like a fresh checkout that was built.
there=$build/readme
rm -rf "$there"
mkdir -p "$there"
ln -s "$root"/* "$there"
rm -f "$there/build"
ln -s "$build" "$there/build"
sed -n '/^```c$/,/^```$/p' README.md | sed '/^```$/q' | sed '/^```/d' >"$there/example.c"
cd "$there" || exit 1

expected=$("$build/bluelm" run -m "$model" --mmproj "$mmproj" --image "$picture" \
    -p "$question" --quiet)
failed=0
ways=0
answers() { # WAY
    answer=$(./a.out "$model" "$mmproj" "$picture" "$question")
    code=$?
    ways=$((ways + 1))
    rm -f a.out
    if [ $code -eq 0 ] && [ "$answer" = "$expected" ] && [ -n "$answer" ]; then return; fi
    echo "$1: exit status $code, answer \"$answer\", not \"$expected\""
    failed=1
}

# The commands between backquotes that compile it.
sed -n 's/.*`\(cc [^`]*example\.c[^`]*\)`.*/\1/p' README.md >commands
while read -r command; do
    sh -c "$command -Wall -Wextra" >log 2>&1 || { cat log && failed=1; }
    [ -s log ] && echo "$command: has something to say" && cat log && failed=1
    answers "$command"
done <commands
[ $ways -ge 2 ] || { echo "README.md gives $ways commands that build example.c" && failed=1; }

# The way without a command: bluelm.c in the program's own source.
sed 's/"bluelm\.h"/"bluelm.c"/' example.c >unity.c
cc -O0 unity.c ports/posix/posix.c -pthread || failed=1
answers "bluelm.c included"

# Wrong use and a broken file end with a line, not a crash.
cc -O1 example.c ports/posix/posix.c build/libbluelm.a -pthread
./a.out >log 2>&1
[ $? -eq 2 ] || { echo "no arguments: not status 2" && failed=1; }
answer=$(./a.out "$model" "$model" "$picture" "$question")
[ $? -eq 1 ] || { echo "not an mmproj: not status 1" && failed=1; }
case $answer in mmproj:*) ;; *) echo "not an mmproj: $answer" && failed=1 ;; esac

# What the README shows of `bluelm plan`.
sed -n '/^arena, in bytes/,/^```$/p' README.md | sed '/^```$/d' >shown
build/bluelm plan -m "$model" --mmproj "$mmproj" --image demo/images/tall.png | diff shown - ||
    { echo "README.md shows another plan" && failed=1; }
cd "$root" && rm -rf "$there"
exit $failed
