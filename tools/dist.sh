#!/bin/sh
# Writes the whole library as two files, and beside them the port for POSIX systems:
#
#     tools/dist.sh FOLDER
#
# FOLDER/bluelm.h, FOLDER/bluelm.c, FOLDER/ports/posix/posix.[ch]. bluelm.c holds first all
# internal headers, each once and before those that include it, then all sources in
# bluelm.c's own order. Needs sh, sed and awk.
set -eu
folder=${1:?usage: tools/dist.sh FOLDER}
cd "$(dirname "$0")/.."
mkdir -p "$folder/ports/posix"
version=$(sed -n 's/^#define BLUELM_VERSION_\(MAJOR\|MINOR\|PATCH\) *\([0-9]*\)$/\2/p' bluelm.h |
    paste -s -d .)
commit=$(git describe --always --dirty 2>/dev/null || echo 'no commit')

head_of() { # WHAT
    printf '/* bluelm %s (%s): %s\n *\n' "$version" "$commit" "$1"
    sed 's/^/ * /; s/ *$//' LICENSE
    printf ' */\n'
}

amalgamate() {
    awk '
    # "kernels/../base/base.h" -> "base/base.h"
    function place(from, name) {
        sub(/[^\/]*$/, "", from)
        name = from name
        while (sub(/[^\/.]+\/\.\.\//, "", name)) {}
        return name
    }
    function own_include(line) { return line ~ /^#[ \t]*include[ \t]*"/ }
    function named(line) { split(line, part, "\""); return part[2] }

    # Prints the headers that a file includes, and those that they include before them.
    function headers(path,    line, name) {
        while ((getline line < path) > 0) {
            if (!own_include(line)) continue
            name = place(path, named(line))
            if (name == "bluelm.h" || name in seen) continue
            if (name ~ /\.h$/) seen[name] = 1
            headers(name)
            if (name ~ /\.h$/) body(name)
        }
        close(path)
    }
    # Prints a file without its includes of others.
    function body(path,    line) {
        printf "\n/* ======== %s ======== */\n\n", path
        while ((getline line < path) > 0)
            if (!own_include(line)) print line
        close(path)
    }
    # Sources where bluelm.c includes them: whatever surrounds that holds here too.
    function sources(path,    line) {
        while ((getline line < path) > 0) {
            if (own_include(line)) body(place(path, named(line)))
            else print line
        }
        close(path)
    }
    function preamble(path,    line) {
        while ((getline line < path) > 0) if (line ~ /^#define BLM_UNITY/) print line
        close(path)
    }
    BEGIN {
        preamble("bluelm.c")
        print "\n#include \"bluelm.h\""
        headers("bluelm.c")
        sources("bluelm.c")
    }' | sed '/^#define BLM_UNITY/{x;s/^/x/;/^xx/{x;d};x}'
}

{
    head_of 'the header'
    cat bluelm.h
} >"$folder/bluelm.h"
{
    head_of 'the whole library; compile it as C99 or later'
    amalgamate
} >"$folder/bluelm.c"
cp ports/posix/posix.c ports/posix/posix.h "$folder/ports/posix"
echo "$folder: bluelm $version ($commit), $(wc -l <"$folder/bluelm.c") lines"
