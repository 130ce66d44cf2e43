#!/bin/sh
# What the library costs a program: code and data, the deepest stack frames, what it needs from outside.
#   size.sh BUILD
set -eu
build=$1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for flags in "-Os" "-Os -DBLUELM_NO_IMAGE_DECODE" "-O2"; do
    # shellcheck disable=SC2086
    ${CC:-cc} -std=c99 $flags -fstack-usage -c bluelm.c -o "$out/bluelm.o"
    printf '%-32s ' "$flags"
    size "$out/bluelm.o" | awk 'NR == 2 { printf "code and constants %d bytes, data %d, bss %d\n", $1, $2, $3 }'
done
echo "largest stack frames (-O2), bytes:"
find "$out" -name '*.su' -exec sort -t "$(printf '\t')" -k2 -nr {} + |
    awk -F '\t' 'NR <= 6 { n = split($1, part, ":"); printf "  %6d  %s (%s)\n", $2, part[n], $3 }'
echo "needs from outside:"
nm -u "$build/libbluelm.a" | awk 'NF == 2 && $1 == "U" { print "  " $2 }'
