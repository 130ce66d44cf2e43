#!/bin/sh
# The main job on the demo model: asks the questions of demo/questions.txt about its pictures.
#   demo.sh COMMAND MODEL   (MODEL.gguf and MODEL-mmproj.gguf)
set -eu
command=$1 model=$2
tab=$(printf '\t')
"$command" plan -m "$model.gguf" --mmproj "$model-mmproj.gguf"
last=
while IFS="$tab" read -r file question expected; do
    picture=demo/$file
    if [ "$picture" != "$last" ]; then
        printf '\n'
        "$command" plan -m "$model.gguf" --mmproj "$model-mmproj.gguf" --image "$picture" | tail -n 2
        last=$picture
    fi
    printf '  %s ' "$question"
    "$command" run -m "$model.gguf" --mmproj "$model-mmproj.gguf" --image "$picture" \
        -p "$question" --threads 2 2>"${TMPDIR:-/tmp}/bluelm-demo.$$"
    printf '    right: %s | ' "$expected"
    cat "${TMPDIR:-/tmp}/bluelm-demo.$$"
done <demo/questions.txt
rm -f "${TMPDIR:-/tmp}/bluelm-demo.$$"
