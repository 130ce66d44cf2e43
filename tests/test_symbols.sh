#!/bin/sh
# What the library asks of the program around it and leaves in it, for every way to build
# it: nothing but four functions of libc, no data that changes, no name of anybody else's.
#
#     tests/test_symbols.sh BUILD
set -eu
build=${1:?usage: tests/test_symbols.sh BUILD}
root=$(cd "$(dirname "$0")/.." && pwd)
out=$build/symbols
mkdir -p "$out"
out=$(cd "$out" && pwd)
build=$(cd "$build" && pwd)
cd "$root"
warnings="-Wall -Wextra -pedantic -Wconversion -Wshadow -Wvla -Wdouble-promotion
          -Wstrict-prototypes -Wmissing-prototypes -Werror"
failed=0

if nm -u "$build/libbluelm.a" 2>/dev/null | grep -q '__asan\|__ubsan'; then
    echo "skipped: a build under sanitizers calls them"
    exit 77
fi

wrong() {
    echo "$1:"
    echo "$2" | sed 's/^/    /'
    failed=1
}

# The library file by file, in the order in which bluelm.c includes it.
objects=$(sed -n "s|^#include \"\(.*\)\.c\"|$build/obj/\1.o|p" bluelm.c)

# Objects of one way to build, joined into one so that they resolve each other.
join='ld -r'
check() { # NAME OBJECT...
    name=$1
    shift
    # shellcheck disable=SC2086
    $join "$@" -o "$out/joined.o"
    # The last two are the compiler's own: position-independent code, and 64-bit division
    # where there are 32.
    undefined=$(nm -u "$out/joined.o" | awk '{ print $2 }' |
        grep -vx 'memcpy\|memmove\|memset\|memcmp\|_GLOBAL_OFFSET_TABLE_\|__u\?\(div\|mod\|divmod\)[dt]i[34]' || true)
    [ -z "$undefined" ] || wrong "$name needs" "$undefined"
    mutable=$(objdump -t "$out/joined.o" |
        sed -n 's/^[0-9a-f]* .\{7\} \([^ \t]*\)[ \t][0-9a-f]* \(.*\)$/\1 \2/p' |
        grep '^\(\.data\|\.bss\|\.tdata\|\.tbss\|\*COM\*\)' |
        grep -v '^\.data\.rel\.ro' | grep -v '^\(\.[a-z.]*\) \1$' || true)
    [ -z "$mutable" ] || wrong "$name has data that changes" "$mutable"
    foreign=$(nm -g --defined-only "$out/joined.o" | awk 'NF == 3 { print $3 }' |
        grep -v '^bluelm_\|^blm_\|^__x86\.get_pc_thunk\.' || true) # the compiler's own
    [ -z "$foreign" ] || wrong "$name defines" "$foreign"
    echo "$name: $(nm -g --defined-only "$out/joined.o" | wc -l) global symbols"
    rm -f "$out/joined.o"
}

# Compiles bluelm.c in the background, unless the object is newer than all sources.
#   $1 the object's name; the rest is the command
unity() {
    object=$out/$1.o
    shift
    if [ -f "$object" ] && [ -z "$(find . -path ./build -prune -o -name '*.[ch]' \
        -newer "$object" -print | head -n 1)" ]; then
        return
    fi
    rm -f "$object"
    "$@" -std=c99 -c bluelm.c -o "$object" >"$object.log" 2>&1 || echo "fails: $*" >>"$object.log" &
}

# What unity compiled.
built() { # NAME DESCRIPTION
    if [ -f "$out/$1.o" ]; then
        check "$2" "$out/$1.o"
    else
        wrong "$2 does not compile" "$(head -n 40 "$out/$1.o.log")"
    fi
}

has_32=false
echo 'int main(void) { return 0; }' >"$out/empty.c"
gcc -m32 "$out/empty.c" -o "$out/empty" 2>/dev/null && has_32=true

# shellcheck disable=SC2086
{
    unity gcc_O0 gcc -O0 -Wall -Wextra -Werror # its intrinsics are macros there
    unity gcc_O3 gcc -O3 $warnings
    unity gcc_O1_bare gcc -O1 -fPIC -DBLUELM_NO_IMAGE_DECODE $warnings
    $has_32 && unity gcc_32 gcc -m32 -O2 $warnings
    command -v clang >/dev/null && unity clang_O3 clang -O3 $warnings
    command -v clang >/dev/null && unity clang_Os clang -Os -march=native -ffast-math $warnings
    wait
}
check "libbluelm.a" "$build/obj/bluelm.o"
check "file by file" $objects
built gcc_O0 "gcc -O0"
built gcc_O3 "gcc -O3"
built gcc_O1_bare "gcc -O1 -fPIC without pictures"
if $has_32; then
    join='gcc -m32 -r -nostdlib'
    built gcc_32 "gcc -m32 -O2"
    join='ld -r'
else
    echo "skipped: gcc does not build for 32 bits"
fi
if command -v clang >/dev/null; then
    built clang_O3 "clang -O3"
    built clang_Os "clang -Os -march=native -ffast-math"
else
    echo "skipped: clang is not there"
fi

# ---- What is refused ---------------------------------------------------------------

if gcc -std=c99 -U__BYTE_ORDER__ -D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__ -fsyntax-only bluelm.c \
    >"$out/big_endian.log" 2>&1 || ! grep -q 'little-endian processors only' "$out/big_endian.log"; then
    wrong "a big-endian processor is not refused" "$(head -n 5 "$out/big_endian.log")"
fi

# ---- Three ways to build a program --------------------------------------------------

cat >"$out/program.c" <<'END'
#include <stdio.h>
#include <stdlib.h>

#include PROGRAM_INCLUDE

int main(void)
{
    static const char text[] = "Hello world";
    FILE *f = fopen("tests/data/ggml-vocab-phi-3.gguf", "rb");
    static char file[1 << 20];
    bluelm_memory need;
    bluelm *engine;
    int32_t ids[8];
    bluelm_weights weights = {file, f ? fread(file, 1, sizeof file, f) : 0, NULL, 0};
    if (f) fclose(f);
    if (bluelm_plan(&weights, NULL, &need, NULL) < 0) return 1;
    void *arena = malloc((size_t)need.total_bytes);
    if (!arena ||
        bluelm_init(&engine, arena, (size_t)need.total_bytes, &weights, NULL, NULL, NULL) < 0)
        return 1;
    int64_t count = bluelm_tokenize(engine, text, sizeof text - 1, 0, ids, 8, NULL);
    printf("%d %d %d\n", (int)count, (int)ids[0], (int)ids[1]);
    free(arena);
    return 0;
}
END

runs() { # NAME COMMAND...
    name=$1
    shift
    "$@" -o "$out/program" || { wrong "$name" "does not build: $*" && return; }
    answer=$("$out/program" || true)
    [ "$answer" = "2 15043 3186" ] || wrong "$name" "answers $answer"
    echo "$name: works"
}

# shellcheck disable=SC2086
runs "program with the archive" gcc -std=c99 -O1 $warnings -I. \
    '-DPROGRAM_INCLUDE="bluelm.h"' "$out/program.c" "$build/libbluelm.a"
runs "program that includes bluelm.c" gcc -std=c99 -O0 -w -I. '-DPROGRAM_INCLUDE="bluelm.c"' \
    "$out/program.c"
# shellcheck disable=SC2086
runs "program with the sources" gcc -std=c99 -O1 -I. '-DPROGRAM_INCLUDE="bluelm.h"' \
    "$out/program.c" $objects
if command -v g++ >/dev/null; then
    cp "$out/program.c" "$out/program.cpp"
    runs "program in C++" g++ -std=c++11 -O1 -Wall -Wextra -pedantic -Wshadow -Wconversion \
        -Werror -I. '-DPROGRAM_INCLUDE="bluelm.h"' "$out/program.cpp" "$build/libbluelm.a"
else
    echo "skipped: g++ is not there"
fi
rm -f "$out/program"
exit $failed
