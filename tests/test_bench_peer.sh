#!/bin/sh
# tools/bench_peer with stand-ins for both sides:
#
#     tests/test_bench_peer.sh BUILD
#
# - it times what was asked for, in turns, and its figures are medians and their ratios;
# - it refuses arguments out of range, and says what to do when something is missing.
set -u
build=$(cd "${1:?usage: tests/test_bench_peer.sh BUILD}" && pwd)
tool=$(cd "$(dirname "$0")/.." && pwd)/tools/bench_peer
python=$(python3 -c 'import sys; print(sys.executable)') ||
    { echo "skipped: no python3" && exit 77; }
case $(uname -sm) in
"Linux x86_64") package=linux-x64 ;;
"Linux aarch64") package=linux-arm64 ;;
*) echo "skipped: node-llama-cpp has no package for $(uname -sm)" && exit 77 ;;
esac

there=$build/bench_peer
rm -rf "$there"
mkdir -p "$there/bin" "$there/side"
failed=0
fail() {
    echo "FAILED: $*"
    failed=1
}

# side NAME HELLO SECONDS...: a stand-in that answers successive readings, after the one that
# ends loading and the one that warms up, with SECONDS, and decodes 64 tokens in 4 s.
side() {
    name=$1 hello=$2
    shift 2
    cat >"$there/side/$name" <<END
#!/bin/sh
echo '$hello'
set -- 9 9 $*
while read -r order count; do
    echo "$name \$order \$count" >>"$there/orders"
    case \$order in
    reset) echo "0 0" ;;
    read) echo "\$1 7" && shift ;;
    decode) echo "4 7" ;;
    esac
done
END
    chmod +x "$there/side/$name"
}
side bench '{"kernels":"stand-in","arena_bytes":1000000}' 4 1 2
side node '{"release":"v0","backend":"stand-in","node":"v0","node_bytes":1}' 4 8 4
cp "$there/side/bench" "$there/bench"
cp "$there/side/node" "$there/bin/node"
installed=$there/peer/node_modules/@node-llama-cpp/$package
mkdir -p "$installed"
version=$(sed -n 's/^VERSION = "\([^"]*\)".*/\1/p' "$tool")
echo "{\"version\": \"$version\"}" >"$installed/package.json"

# With a PATH that has no npm, so that nothing is ever fetched.
peer() { PATH="$there/bin" "$python" "$tool" "$@" 2>&1; }

# Rates 32, 128, 64 and 32, 16, 32: medians 64 and 32.
peer "$there" --json --threads 1 --flash on --runs 3 --figures prefill-128 >"$there/out"
"$python" - "$there/out" <<'END' || fail "figures"
import json, sys
result, = json.load(open(sys.argv[1]))["comparisons"]
prefill, load, *memory = result["figures"]
assert (prefill["bluelm"], prefill["peer"], prefill["ratio"]) == (64, 32, 2), prefill
assert prefill["runs"] == {"bluelm": [32, 128, 64], "peer": [32, 16, 32]}, prefill
assert prefill["same_token"] == 3 and load["name"] == "load", (prefill, load)
assert len(memory) == 3 and memory[0]["bluelm"] > 0, memory
END
turns=$(grep 'read 128' "$there/orders" | cut -d' ' -f1 | tail -n +3 | tr '\n' ' ')
[ "$turns" = "bench node node bench bench node " ] || fail "turns: $turns"

# A decoding figure reads its context once: 1,900 tokens, then 64 in each run.
rm "$there/orders"
peer "$there" --threads 2 --flash off --runs 2 --figures decode-1900 >"$there/out"
grep -q 'decode-1900, token/s *16 *16 *1.000' "$there/out" || fail "table: $(cat "$there/out")"
[ "$(grep -c 'node read 1900' "$there/orders")" = 1 ] || fail "the context was not read once"
[ "$(grep -c 'node decode 64' "$there/orders")" = 2 ] || fail "not two runs"

# refused STATUS TEXT ARGUMENTS...
refused() {
    status=$1 text=$2
    shift 2
    said=$(peer "$@")
    code=$?
    [ $code -eq "$status" ] || fail "$*: status $code, not $status"
    case $said in *"$text"*) ;; *) fail "$*: says $said, not $text" ;; esac
}
refused 2 "'0' is not in 1 .. 64" "$there" --threads 0
refused 2 "'99' is not in 1 .. 10" "$there" --runs 99
refused 2 "'decode-7' is none of" "$there" --figures prefill-128,decode-7
refused 2 "--cache q8_0 needs --flash on" "$there" --cache q8_0
refused 1 "make $there/bin/bench" "$there/bin"

# A side that ends, no npm, no node.
printf '#!/bin/sh\n' >"$there/bin/node"
refused 1 "llama.cpp ended before its time" "$there" --threads 1 --flash on
rm -r "$there/peer"
refused 1 "npm is not there: install it, or copy $there/peer" "$there"
rm "$there/bin/node"
refused 1 "node is not there: install Node.js" "$there"

rm -rf "$there"
exit $failed
