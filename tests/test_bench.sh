#!/bin/sh
# The benchmark, on models of some MB: it measures everything, and says so in JSON.
#
#     tests/test_bench.sh BUILD
set -u
build=${1:?usage: tests/test_bench.sh BUILD}
bench=$build/bench models=$build/models-small
command -v python3 >/dev/null || { echo "skipped: no python3 to read JSON" && exit 77; }
failed=0
fail() {
    echo "FAILED: $*"
    failed=1
}

# refused STATUS TEXT ARGUMENTS...
refused() {
    status=$1 text=$2
    shift 2
    said=$("$bench" "$@" 2>&1)
    code=$?
    [ $code -eq "$status" ] || fail "$*: status $code, not $status"
    case $said in *"$text"*) ;; *) fail "$*: says $said, not $text" ;; esac
}
refused 2 'usage: bench'
refused 2 'usage: bench' "$models" --runs 0
refused 2 'usage: bench' "$models" --runs 100
refused 2 'usage: bench' "$models" --threads 1,x
refused 2 'usage: bench' "$models" --threads
refused 2 'usage: bench' "$models" --fly 1
refused 2 'smolvlm-500m' "$models" --family tapir
refused 1 'q9_9' "$models" --small --llm q9_9
refused 1 'threads' "$models" --small --cpus 0-x

"$bench" "$models" --small --runs 1 --json >"$build/bench.json" || fail "status $?"
python3 - "$build/bench.json" <<'END' || fail "JSON"
import json, sys

# Figures every machine has, and how many values of them.
NAMES = {"load": 2, "prefill 128": 2, "prefill 512": 2, "decode 64 after 128": 2,
         "decode 64 after 1900": 2, "first token, 16 words": 2, "  in decode steps": 2,
         "  read bandwidth": 2, "tile of 384 px": 2, "9 tiles of 768x1536": 2,
         "its first token, 1764 + 16": 2,
         "memory: arena": 2, "  weights": 2, "dispatch, 0 us between": 1,
         "dispatch, 5 us between": 1, "dispatch, 50 us between": 1}

with open(sys.argv[1]) as file:
    result = json.load(file)
assert result["runs"] == 1
pairs = result["pairs"]
assert [(p["llm"], p["mmproj"]) for p in pairs] == [("q4_0", "q8_0"), ("q4_k", "f16")]
for pair in pairs:
    assert pair["threads"] == [1, 2] and pair["kernels"], pair
    figures = {f["name"]: f for f in pair["figures"]}
    for name, count in NAMES.items():
        values = figures[name]["values"]
        assert len(values) == 2 and sum(v is not None for v in values) == count, figures[name]
    for f in pair["figures"]:
        assert all(v is None or v > 0 for v in f["values"]), f
    assert all(s > 0 for s in figures["decode 64 after 128"]["shares"])
    prefill = figures["prefill 128"]
    assert abs(prefill["ratio"] - prefill["values"][1] / prefill["values"][0]) < 1e-3
    load = figures["load"]
    assert abs(load["ratio"] - load["values"][0] / load["values"][1]) < 1e-3
END

only=$("$bench" "$models" --small --runs 1 --llm q4_0 --threads 1 --only tile) || fail "--only"
case $only in *"tile of 384 px"*) ;; *) fail "--only tile: $only" ;; esac
case $only in *prefill*) fail "--only tile: $only" ;; esac

# Every family's files open, and what runs is planned to the byte: headers alone.
"$bench" "$models" --models >"$build/models.md" || fail "--models"
grep -q '^| SmolVLM, SmolVLM2 500M | llama | idefics3 | q8_0, q8_0 | [0-9]* | [0-9.]* |' \
    "$build/models.md" || fail "--models: $(cat "$build/models.md")"
grep 'malformed' "$build/models.md" && fail "--models"
[ -e "$models/hollow-llm.gguf" ] && fail "--models leaves files behind"

# Files that are written open in the command, with the family's template.
written=$("$bench" "$models" --small --write-models --llm q4_0) || fail "--write-models"
[ "$(echo "$written" | wc -l)" -eq 2 ] || fail "--write-models: $written"
for file in $written; do [ -s "$file" ] || fail "--write-models: $file"; done

# The sides of tools/bench_peer.
served=$(printf 'read 5\ndecode 2\nreset 0\nread 5\n' |
    "$bench" "$models" --small --serve --llm q4_0 --threads 2) || fail "--serve"
echo "$served" | head -n 1 | python3 -c 'import json, sys; json.load(sys.stdin)["kernels"]' ||
    fail "--serve: $served"
[ "$(echo "$served" | wc -l)" -eq 5 ] || fail "--serve: $served"
[ "$(echo "$served" | sed -n 's/.* //;2p')" = "$(echo "$served" | sed -n 's/.* //;5p')" ] ||
    fail "--serve: another token after the same prompt"
exit $failed
