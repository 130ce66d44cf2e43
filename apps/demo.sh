#!/bin/sh
# The main job on the demo model: asks the questions of demo/questions.txt about its pictures,
# and draws the tiles each is cut into over it, as BUILD/demo/PICTURE.png.
#   demo.sh BUILD MODEL   (MODEL.gguf and MODEL-mmproj.gguf)
set -eu
build=$1 model=$2
tab=$(printf '\t')
mkdir -p "$build/demo"
"$build/bluelm" plan -m "$model.gguf" --mmproj "$model-mmproj.gguf"
last=
while IFS="$tab" read -r file question expected; do
    picture=demo/$file
    if [ "$picture" != "$last" ]; then
        drawn=$build/demo/${file##*/}
        printf '\n'
        "$build/bluelm" plan -m "$model.gguf" --mmproj "$model-mmproj.gguf" --image "$picture" | tail -n 2
        "$build/grid_png" "$model.gguf" "$model-mmproj.gguf" "$picture" "$drawn"
        printf '%s shows its tiles\n' "$drawn"
        last=$picture
    fi
    printf '  %s ' "$question"
    "$build/bluelm" run -m "$model.gguf" --mmproj "$model-mmproj.gguf" --image "$picture" \
        -p "$question" --threads 2 2>"${TMPDIR:-/tmp}/bluelm-demo.$$"
    printf '    right: %s | ' "$expected"
    cat "${TMPDIR:-/tmp}/bluelm-demo.$$"
done <demo/questions.txt
rm -f "${TMPDIR:-/tmp}/bluelm-demo.$$"
