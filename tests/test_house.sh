#!/usr/bin/env bash
# Rooms know only the rooms below them (docs/DESIGN.md, section 3): every #include of the
# library, the apps and the ports is held against the arrows.
set -u
cd "$(dirname "$0")/.."

# room: what it may include besides itself and bluelm.h
allowed() {
    case $1 in
    base) echo "" ;;
    arena | kernels | gguf | tiler) echo "base arena" ;;
    text) echo "base arena gguf" ;;
    network) echo "base arena kernels tiler" ;;
    families) echo "base arena kernels gguf tiler text network" ;;
    engine) echo "base arena kernels gguf tiler text network families" ;;
    apps) echo "ports" ;;
    ports) echo "" ;;
    esac
}

bad=0 seen=0
for file in $(find base arena kernels gguf tiler text network families engine apps ports -name '*.[ch]'); do
    room=${file%%/*}
    folder=${file%/*}
    for name in $(sed -n 's/^#include "\(.*\)".*/\1/p' "$file"); do
        seen=$((seen + 1))
        target=$(realpath -m --relative-to=. "$folder/$name")
        case $target in
        bluelm.h | bluelm.c) continue ;;
        */*) there=${target%%/*} ;;
        *) there=$target ;;
        esac
        [ "$there" = "$room" ] && continue
        case " $(allowed "$room") " in
        *" $there "*) ;;
        *) echo "$file includes $target: $room may not know $there" && bad=$((bad + 1)) ;;
        esac
    done
done
# A walk that finds next to nothing proves nothing.
[ "$seen" -gt 100 ] || { echo "only $seen includes found"; exit 1; }
echo "$seen includes, $bad against the arrows"
[ "$bad" -eq 0 ]
