#!/bin/sh
# What `make install` installs can be used: by pkg-config and by CMake, from a folder that
# knows nothing of the sources, and after the whole prefix has moved.
#
#     tests/test_install.sh BUILD
set -eu
build=${1:?usage: tests/test_install.sh BUILD}
cd "$(dirname "$0")/.."
build=$(cd "$build" && pwd)
if nm -u "$build/libbluelm.a" 2>/dev/null | grep -q '__asan\|__ubsan'; then
    echo "skipped: built under sanitizers"
    exit 77
fi
model=$PWD/tests/data/ggml-vocab-phi-3.gguf
there=$build/install
rm -rf "$there"
mkdir -p "$there/program"
make --no-print-directory install BUILD="$build" PREFIX="$there/usr"
cp tests/install/* "$there/program"
cd "$there/program"

says() { # WAY COMMAND
    answer=$("$2" "$model")
    [ "$answer" = none ] || { echo "$1: says '$answer'" && exit 1; }
    echo "$1: works"
}

"$there/usr/bin/bluelm" --help >/dev/null
if command -v pkg-config >/dev/null; then
    export PKG_CONFIG_PATH="$there/usr/lib/pkgconfig"
    # shellcheck disable=SC2046
    cc -std=c99 -Wall -Wextra -Werror main.c $(pkg-config --cflags --libs bluelm-posix) -o main
    says pkg-config ./main
else
    echo "skipped: pkg-config is not there"
fi
if command -v cmake >/dev/null; then
    mv "$there/usr" "$there/moved"
    cmake -S . -B cmake -DCMAKE_PREFIX_PATH="$there/moved" >cmake.log 2>&1 &&
        cmake --build cmake >>cmake.log 2>&1 || { cat cmake.log && exit 1; }
    says CMake cmake/main
else
    echo "skipped: cmake is not there"
fi
cd "$build" && rm -rf "$there"
