#!/bin/sh
# The command: what it prints and exits with, above all when something is wrong.
#
#     tests/test_cli.sh BUILD
set -u
build=${1:?usage: tests/test_cli.sh BUILD}
cd "$(dirname "$0")/.." || exit 1
case $build in /*) ;; *) build=$PWD/$build ;; esac
bluelm=$build/bluelm
model=demo/bluelm-demo.gguf mmproj=demo/bluelm-demo-mmproj.gguf
picture=demo/images/shapes.png
vocabulary=tests/data/ggml-vocab-phi-3.gguf
out=$build/cli
mkdir -p "$out"
checks=0 failures=0

if [ ! -f "$model" ] || [ ! -f "$mmproj" ] || [ ! -f "$picture" ]; then
    echo "skipped: the demo model is not there"
    exit 77
fi

# expect STATUS PATTERN COMMAND...: the status, and a line of either output that matches the
# extended pattern; - for silence.
expect() {
    status=$1 pattern=$2
    shift 2
    checks=$((checks + 1))
    "$@" >"$out/stdout" 2>"$out/stderr" </dev/null
    code=$?
    if [ $code -ne "$status" ]; then
        echo "exit status $code, not $status: $*"
    elif [ "$pattern" = - ]; then
        [ -s "$out/stdout" ] || [ -s "$out/stderr" ] || return
        echo "not silent: $*"
    elif ! grep -Eq -- "$pattern" "$out/stdout" "$out/stderr"; then
        echo "nothing says \"$pattern\": $*"
    else
        return
    fi
    failures=$((failures + 1))
    sed 's/^/    /' "$out/stdout" "$out/stderr" | head -n 20
}

# same WHAT A B
same() {
    checks=$((checks + 1))
    [ "$2" = "$3" ] && return
    failures=$((failures + 1))
    echo "$1: \"$2\" and \"$3\""
}

run="$bluelm run -m $model --mmproj $mmproj --quiet"

# ---- Wrong usage: status 2 --------------------------------------------------------

expect 0 'usage: bluelm' "$bluelm" --help
expect 0 'usage: bluelm run' "$bluelm" run -h
expect 0 '^  --ids FILE ' "$bluelm" logits -m x --help
expect 0 '^bluelm [0-9]+\.[0-9]+' "$bluelm" --version
expect 2 'usage: bluelm' "$bluelm"
expect 2 'unknown command fly' "$bluelm" fly
expect 2 'unknown option --fly' "$bluelm" run --fly
expect 2 'unexpected argument shapes' "$bluelm" run shapes
expect 2 '-m needs a value' "$bluelm" run -m
expect 2 '--ctx -1: expected a whole number' "$bluelm" run -m $model --ctx -1
expect 2 '--ctx 12x: expected a whole number' "$bluelm" run -m $model --ctx 12x
expect 2 '--ctx 4294967295: expected .* from 1 to 1048576' "$bluelm" run -m $model --ctx 4294967295
expect 2 '--ctx-size 0: expected .* from 1 to 1048576' "$bluelm" run -m $model --ctx-size 0
expect 2 '-c 0: expected .* from 1 to 1048576' "$bluelm" plan -m $model -c 0
expect 2 '--threads 0: expected .* from 1 to 64' "$bluelm" run -m $model --threads 0
expect 2 '-t 65: expected .* from 1 to 64' "$bluelm" run -m $model -t 65
expect 2 '--chunk 0: expected .* from 1 to 2048' "$bluelm" run -m $model --chunk 0
expect 2 '-n 0: expected .* from 1 to 4294967295' "$bluelm" run -m $model -n 0
expect 2 '--arena 0: expected .* from 1' "$bluelm" run -m $model --arena 0
expect 2 'info takes no --ctx' "$bluelm" info -m $model --ctx 5
expect 2 '--size 10x: expected two numbers' "$bluelm" plan -m $model --size 10x
expect 2 '--size -1x5: expected two numbers' "$bluelm" plan -m $model --size -1x5
expect 2 'info: needs -m FILE.*, or --mmproj' "$bluelm" info
expect 2 'plan: needs -m FILE.*, or --mmproj' "$bluelm" plan
expect 2 '--image : expected FILE' $run -p hello --image $picture,
expect 2 'run: needs -m FILE' "$bluelm" run -p hello
expect 2 'needs -p TEXT, -f FILE or a question' "$bluelm" run -m $model
expect 2 'needs -p TEXT, -f FILE or a question' "$bluelm" run -m $model -p -
expect 2 'takes -p or -f' "$bluelm" run -m $model -p hello -f demo/questions.txt
expect 2 'takes --system or --raw' "$bluelm" run -m $model -p hello --raw --system be
expect 2 'logits: needs --ids FILE' "$bluelm" logits -m $model -o "$out/x.f32"
expect 2 'logits: needs -o FILE' "$bluelm" logits -m $model --ids demo/questions.txt
expect 2 'embed: needs --image FILE' "$bluelm" embed -m $model --mmproj $mmproj -o "$out/x.f32"
expect 2 'needs one --image' "$bluelm" embed -m $model --mmproj $mmproj -o "$out/x.f32" \
    --image $picture,$picture
expect 2 '-n 4294967296: expected' "$bluelm" run -m $model -n 4294967296
expect 2 '--weights copied: expected map,read' "$bluelm" run -m $model --weights copied
expect 2 '--kv int9: expected int8,f16' "$bluelm" run -m $model --kv int9
expect 2 '--arena lots: expected' "$bluelm" run -m $model --arena lots
expect 2 '--arena 99999999999999999999: expected' "$bluelm" run -m $model --arena 99999999999999999999G
expect 2 '--temp warm: expected a number' "$bluelm" run -m $model --temp warm
expect 2 '--temp nan: expected a number' "$bluelm" run -m $model --temp nan
images=
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do images="$images --image $picture"; done
# shellcheck disable=SC2086
expect 2 'at most 16 pictures' "$bluelm" run -m $model $images

# ---- What fails: status 1, and a line that says which file and why --------------------

expect 1 'no/such\.gguf: No such file' "$bluelm" info -m no/such.gguf
expect 1 'no/such\.gguf: No such file' "$bluelm" info -m $model --mmproj no/such.gguf
expect 1 'no/such\.png: No such file' $run -p hello --image no/such.png
expect 1 '/dev/zero: more than [0-9]+ bytes' $run -f /dev/zero
expect 1 'demo: Is a directory' "$bluelm" info -m demo
expect 1 'no/such\.gguf: No such file' "$bluelm" info -m no/such.gguf --weights read
expect 1 'demo: Is a directory' "$bluelm" info -m $model --mmproj demo --weights read
expect 1 'demo: Is a directory' $run -p hello --image demo
: >"$out/empty.gguf"
head -c 5000 $model >"$out/cut.gguf"
head -c 1000000 $model >"$out/short.gguf"
sed 's/llama/tapir/g' $model >"$out/tapir.gguf"
expect 1 'empty\.gguf: llm.* malformed' "$bluelm" info -m "$out/empty.gguf"
expect 1 'cut\.gguf: llm.* malformed' "$bluelm" run -m "$out/cut.gguf" -p hello
expect 1 'short\.gguf: llm.* malformed' "$bluelm" run -m "$out/short.gguf" -p hello
expect 1 'llm: architecture tapir: not supported' "$bluelm" run -m "$out/tapir.gguf" -p hello
expect 1 'malformed' "$bluelm" info -m $picture
expect 1 'not supported' "$bluelm" info -m $mmproj
expect 1 'mmproj: architecture other than clip' "$bluelm" run -m $model --mmproj $model -p hello
expect 1 'pictures need an mmproj' "$bluelm" run -m $model --image $picture -p hello
expect 1 'questions\.txt: .*not a picture' $run --image demo/questions.txt -p hello
# What a file is, where it is not what was asked for, and what to do.
printf 'GIF89a\0\0\0\0' >"$out/a.gif"
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n' >"$out/lfs.gguf"
: >"$out/empty.gguf"
head -c 500000 $model >"$out/half.gguf"
expect 1 'a\.gif: .*that is a GIF: convert it' $run --image "$out/a.gif" -p hello
expect 1 'lfs\.gguf: .*git lfs pull' "$bluelm" info -m "$out/lfs.gguf"
expect 1 'empty\.gguf: .*empty' "$bluelm" info -m "$out/empty.gguf"
expect 1 'half\.gguf: .*ends early' "$bluelm" info -m "$out/half.gguf"
expect 1 'architecture clip.*--mmproj' "$bluelm" info -m $mmproj
expect 1 'pictures need an mmproj.*--mmproj FILE' "$bluelm" run -m $model --image $picture -p hello
expect 0 'warning: <__media__> stays text' $run --image $picture -p '<__media__>hello'
expect 0 '"answer":"brown square, brown triangle, ","end":"stop_string"' \
    $run --image $picture -p 'What is in the picture?' --stop red --json
head -c 4000 $picture >"$out/cut.png"
expect 1 'not a picture' $run --image "$out/cut.png" -p hello
expect 1 'max_image_width_px.*raise --max-image-width' $run --image $picture --max-image-width 50 -p hello

# An mmproj for another width: the tiny one of the fuzz corpus.
expect 1 'lfm2\.gguf: mmproj: projector width for this llm.*need 192, have 32' \
    "$bluelm" run -m $model --mmproj fuzz/corpus/gguf/lfm2.gguf -p hello

# ---- Budgets: the numbers and what to do -----------------------------------------------

expect 1 'arena: need [0-9]+ bytes, have 1048576 \(short [0-9]+\).*raise --arena' \
    $run -p hello --arena 1M
expect 1 'kv cache: need [0-9]+ bytes, have 10 \(short [0-9]+\).*lower --ctx or raise --kv-budget' \
    $run -p hello --kv-budget 10
expect 1 'activations: need [0-9]+ bytes, have 1024 .*lower --chunk' \
    $run -p hello --activations-budget 1K
expect 1 'image tokens: need [0-9]+ bytes, have 1 .*lower --max-tiles' \
    $run -p hello --image-tokens-budget 1
expect 1 'context: need [0-9]+ tokens, have 8 .*raise --ctx' \
    $run -p "a question that is longer than eight tokens are" --ctx 8
expect 1 '--cpus 0,x: expected processors' $run -p hello --cpus 0,x
expect 1 '--cpus 1023: expected processors' $run -p hello --cpus 1023
expect 1 'top_p' $run -p hello --temp 1 --top-p 2
need=$("$bluelm" plan -m $model --mmproj $mmproj --image $picture | awk '$1 == "total" { print $2 }')
expect 0 '.' $run --image $picture -p hello -n 1 --arena "$need"
expect 1 "need $need bytes, have $((need - 1)) \(short 1\)" \
    $run --image $picture -p hello -n 1 --arena $((need - 1))
expect 1 'kv cache: need' "$bluelm" plan -m $model --kv-budget 10

# ---- Precision: of either network by itself ----------------------------------------------

expect 2 '--act int4: expected int8,int16' $run -p hello --act int4
expect 2 '--vision-act f32: expected int8,int16' $run -p hello --vision-act f32
expect 2 '--background blue: expected a colour' $run -p hello --background blue
expect 0 'activations of 8 bits, of 8 in the encoder' "$bluelm" plan -m $model --mmproj $mmproj
expect 0 'activations of 16 bits, of 8 in the encoder' \
    "$bluelm" plan -m $model --mmproj $mmproj --act int16
expect 0 'activations of 8 bits, of 16 in the encoder' \
    "$bluelm" plan -m $model --mmproj $mmproj --vision-act int16
expect 0 'activations of 16 bits$' "$bluelm" plan -m $model --act int16

# ---- What works --------------------------------------------------------------------------

expect 0 'width 192' "$bluelm" info -m $model --mmproj $mmproj
expect 0 '^vision .* layers' "$bluelm" info --mmproj $mmproj
same "of a language model where there is none" "$(grep -c language "$out/stdout")" 0
expect 0 'grid 2:3' "$bluelm" plan --mmproj $mmproj --image demo/images/tall.png
expect 0 'grid [0-9]+:[0-9]+' "$bluelm" plan -m $model --mmproj $mmproj --image $picture
expect 0 '^64x256 px, grid [0-9]+:[0-9]+' "$bluelm" plan -m $model --mmproj $mmproj --size 100x100,64x256
answer=$($run --image $picture -p "How many red shapes are there?")
same "--quiet prints the answer alone" "$(echo "$answer" | wc -l)" 1
same "an answer is no accident" "$answer" \
    "$($run --image $picture -p 'How many red shapes are there?' --threads 3 --tile-batch 1)"
same "weights read" "$answer" \
    "$($run --image $picture -p 'How many red shapes are there?' --weights read)"
cpus=$(taskset -cp $$ 2>/dev/null | sed 's/.*: //')
[ -z "$cpus" ] || same "a list of processors" "$answer" \
    "$($run --image $picture -p 'How many red shapes are there?' --threads 2 --cpus "$cpus")"
same "a seed" "$($run -p 'How many?' --temp 1 --seed 7 -n 20)" \
    "$($run -p 'How many?' --temp 1 --seed 7 -n 20)"

# A question from a file, from standard input, and cut at the same place.
question="How many red shapes are there?"
echo "$question" >"$out/question"
same "-f" "$answer" "$($run --image $picture -f "$out/question")"
same "standard input" "$answer" "$($run --image $picture <"$out/question")"
same "-p -" "$answer" "$($run --image $picture -p - <"$out/question")"
same "-n -1" "$answer" "$($run --image $picture -p "$question" -n -1 -c 2048 -t 2)"
same "--stop" "$($run --image demo/images/tall.png -p 'What colour is the diamond?' --stop xyz --stop lue)" b
expect 1 'stop string.*0 is below the least 1' $run -p hello --stop ""
same "pictures by commas" "$($run --image $picture,demo/images/tall.png -p "$question")" \
    "$($run --image $picture --image demo/images/tall.png -p "$question")"
expect 0 . $run --raw -p "a red" -n 3
$run --raw -p "How many" -n 3 --image $picture >"$out/stdout" 2>"$out/stderr"
same "--raw takes pictures" $? 0

# What a model says does not steer a terminal: a seed whose answer has an escape character.
escape=$(printf '\033')
babble="$bluelm run -m $model -q -p hi --temp 50 -n 300 --seed"
seed=1
while [ $seed -lt 40 ] && ! $babble $seed | grep -q "$escape"; do seed=$((seed + 1)); done
terminal() { # COMMAND...: what a terminal shows of it
    python3 -c 'import os, pty, sys
pid, at = pty.fork()
if not pid: os.execvp(sys.argv[1], sys.argv[1:])
try:
    while True: os.write(1, os.read(at, 4096))
except OSError: pass' "$@"
}
if command -v python3 >/dev/null && [ $seed -lt 40 ]; then
    same "a terminal sees no escape" "$(terminal $babble $seed | grep -c "$escape")" 0
    same "it sees the character's number" "$(terminal $babble $seed | grep -c '\\x1b')" 1
    same "--raw-output" "$(terminal $babble $seed --raw-output | grep -c "$escape")" 1
fi

# What cannot be written is said, and the statistics follow the answer's line.
if [ -w /dev/full ]; then
    for full in "run -p hello -n 1" "run -p hello -n 1 --json" "info" "plan" "plan --json"; do
        checks=$((checks + 1))
        # shellcheck disable=SC2086
        "$bluelm" $full -m $model >/dev/full 2>"$out/stderr"
        code=$?
        [ $code -eq 1 ] && grep -q 'standard output: ' "$out/stderr" && continue
        failures=$((failures + 1))
        echo "$full >/dev/full: exit status $code: $(cat "$out/stderr")"
    done
fi
"$bluelm" run -m $model -p hello -n 4 >"$out/both" 2>&1
same "the answer's line ends before the statistics" "$(sed -n '2s/ .*//p' "$out/both")" load

# JSON, if something here can read it.
if command -v python3 >/dev/null; then
    json() { # EXPRESSION COMMAND...
        expression=$1
        shift
        checks=$((checks + 1))
        if ! "$@" 2>"$out/stderr" </dev/null |
            python3 -c "import json, sys; d = json.load(sys.stdin); assert $expression, d"; then
            failures=$((failures + 1))
            echo "no JSON with $expression: $*"
        fi
    }
    # shellcheck disable=SC2086
    {
        json "d[\"answer\"] == \"$answer\"" $run --json --image $picture \
            -p "How many red shapes are there?"
        json 'd["end"] == "max_tokens" and d["decode_tokens"] <= 3' \
            $run --json -p "How many red shapes?" --temp 9 -n 2
        json 'd["images"][0]["tiles"] >= 1 and d["memory"]["total"] > 0' \
            $run --json --image $picture -p "How many?"
        json 'd["memory"]["total"] == '"$need"' and d["images"][0]["tiles"] >= 1' \
            "$bluelm" plan -m $model --mmproj $mmproj --image $picture --json
        json '"memory" in d' "$bluelm" plan -m $model --json
        json 'd["memory"]["activation_bits"] == 16 and d["memory"]["vision_activation_bits"] == 8' \
            "$bluelm" plan -m $model --mmproj $mmproj --act int16 --json
        json 'd["n_embd"] == 192 and d["projector"] == "lfm2"' \
            "$bluelm" info -m $model --mmproj $mmproj --json
        json 'd == {"tokens": []}' "$bluelm" tokenize -m $vocabulary --json
        failed() { "$@" || [ $? -eq "${fails:-1}" ] || echo "not status ${fails:-1}"; }
        json '"no/such.gguf" in d["error"]["message"]' failed "$bluelm" info -m no/such.gguf --json
        json 'd["error"]["subject"] == "kv cache" and d["error"]["have"] == 10' \
            failed $run --json -p hello --kv-budget 10
        json 'd["error"]["code"] == -2' failed "$bluelm" plan --json -m $model --kv-budget 10
        fails=2 json '"-m" in d["error"]["message"]' failed "$bluelm" info --json
        fails=2 json '"fly" in d["error"]["message"]' failed "$bluelm" run --fly --json
    }
else
    echo "skipped: no python3 to read JSON"
fi

# Tokens of a text, which does not become markers unless it is asked for.
ids=$(printf 'Hello world' | "$bluelm" tokenize -m $vocabulary)
same "tokenize" "$ids" "15043 3186"
same "tokenize an empty text" "$(printf '' | "$bluelm" tokenize -m $vocabulary)" ""
same "tokenize --special" "$(printf '<|end|>' | "$bluelm" tokenize -m $vocabulary --special)" 32007
checks=$((checks + 1))
case " $(printf '<|end|>' | "$bluelm" tokenize -m $vocabulary) " in
*" 32007 "*) failures=$((failures + 1)) && echo "text became a control token" ;;
esac

# Logits and embeddings as files of floats.
printf '\001\000\000\000\005\000\000\000\011\000\000\000' >"$out/ids.i32"
expect 0 - "$bluelm" logits -m $model --ids "$out/ids.i32" -o "$out/logits.f32"
vocab=$("$bluelm" info -m $model | sed -n 's/.*vocabulary \([0-9]*\),.*/\1/p')
same "bytes of logits" "$(wc -c <"$out/logits.f32" | tr -d ' ')" $((4 * vocab))
expect 1 'No such file' "$bluelm" logits -m $model --ids "$out/none.i32" -o "$out/x.f32"
printf '\377\377\377\177' >"$out/wrong.i32"
expect 1 'token id: 2147483647 is above the limit' \
    "$bluelm" logits -m $model --ids "$out/wrong.i32" -o "$out/x.f32"
printf '\001\000\000' >"$out/odd.i32"
expect 1 'not a list of 32-bit ids' "$bluelm" logits -m $model --ids "$out/odd.i32" -o "$out/x.f32"
expect 1 'No such file' "$bluelm" logits -m $model --ids "$out/ids.i32" -o "$out/no/such/x.f32"
expect 0 - "$bluelm" embed -m $model --mmproj $mmproj --image $picture -o "$out/embed.f32"
same "bytes of an embedding" "$(wc -c <"$out/embed.f32" | tr -d ' ')" $((4 * 36 * 192))

expect 0 - "$bluelm" embed --mmproj $mmproj --image $picture -o "$out/alone.f32"
same "embed without a language model" "$(cmp "$out/alone.f32" "$out/embed.f32" 2>&1)" ""

# Ids, a picture's tokens, ids.
expect 0 - "$bluelm" logits -m $model --ids "$out/ids.i32" --rows "$out/embed.f32" --grid 6x6 \
    --then "$out/ids.i32" -o "$out/rows.f32"
same "bytes of logits after rows" "$(wc -c <"$out/rows.f32" | tr -d ' ')" $((4 * vocab))
expect 1 'not those of 6x5 tokens of 192 floats' "$bluelm" logits -m $model --ids "$out/ids.i32" \
    --rows "$out/embed.f32" --grid 6x5 -o "$out/x.f32"
expect 2 'takes --rows FILE .* with --grid' "$bluelm" logits -m $model --ids "$out/ids.i32" \
    --rows "$out/embed.f32" -o "$out/x.f32"
expect 2 '--grid 6: expected two numbers' "$bluelm" logits -m $model --grid 6

# A picture that the context cuts down.
expect 0 'only [0-9]+x[0-9]+ tiles?, [0-9]+ tokens, for want of room: raise --ctx' \
    $run --image demo/images/tall.png -p hello -n 1 --ctx 200
expect 0 'image tokens \(fewer, for want of room\)' "$bluelm" plan -m $model --mmproj $mmproj \
    --image demo/images/tall.png --ctx 200

# The prompt as the model sees it.
render="$bluelm render -m $model --mmproj $mmproj"
same "render" "$($render -p "Is <s> text?" --system "be brief")" \
    "<s> [|SYSTEM|]:be brief[|Human|]: Is <s> text?[|AI|]:"
same "each picture's mark and count" \
    "$($render -p hello --image $picture,$picture --ctx 900 --tiling single | grep -o '\[picture: 36 tokens\]' | wc -l | tr -d ' ')" 2
same "a template by name" "$($render -p hello --chat-template zephyr | head -n 1)" "<s> <|user|>"
same "a template of one's own" \
    "$($render -p hello --user-prefix 'Q\n' --user-suffix ' \\ ' --assistant-prefix 'A:\t')" \
    "$(printf '<s> Q\nhello \\ A:\t')"
same "render --raw" "$($render -p hello --raw)" "<s> hello"
same "render as run" "$("$bluelm" render -m $model --json -p "How many?" | tr ',' '\n' | wc -l)" \
    "$(($("$bluelm" run -m $model --json -p "How many?" -n 1 | sed 's/.*"prefill_tokens":\([0-9]*\).*/\1/') + 1))"
expect 2 '--chat-template tapir: expected a template' $run -p hello --chat-template tapir
expect 0 'qwen2' "$bluelm" run --help

# ---- Chat over a pipe ------------------------------------------------------------------------

chat="$bluelm chat -m $model --mmproj $mmproj --quiet -n 8"
# shellcheck disable=SC2086
{
    printf '%s\n' "/image $picture" "How many red shapes are there?" "What colour?" \
        /reset "/image $picture" "How many red shapes are there?" |
        $chat >"$out/chat" 2>"$out/stderr"
    same "chat ends with its input" $? 0
    same "an answer a question" "$(wc -l <"$out/chat" | tr -d ' ')" 3
    same "the same after /reset" "$(sed -n 1p "$out/chat")" "$(sed -n 3p "$out/chat")"
    same "no complaint" "$(cat "$out/stderr")" ""
    same "the same as run" "$(sed -n 1p "$out/chat")" \
        "$($run --image $picture -p 'How many red shapes are there?' -n 8)"

    # the mmproj is given back between pictures, mapped or read, and taken again
    talk="/image $picture\nHow many?\nWhat colour?\n/image $picture\nHow many?\n"
    printf "$talk" | $chat >"$out/chat" 2>"$out/stderr"
    for weights in map read; do
        printf "$talk" | $chat --release-vision --weights $weights >"$out/released" 2>"$out/stderr"
        same "chat --release-vision --weights $weights" "$(cat "$out/released")" "$(cat "$out/chat")"
        same "run --release-vision" \
            "$($run --release-vision --weights $weights --image $picture -p 'How many?')" \
            "$($run --image $picture -p 'How many?')"
    done

    # A progressive JPEG that says it is 5000x5000: decoded whole, were there room.
    cp fuzz/corpus/image/jpeg-grey-progressive.jpg "$out/large.jpg"
    printf '\023\210\023\210' | dd of="$out/large.jpg" bs=1 seek=94 conv=notrunc 2>/dev/null
    printf "/image $out/large.jpg\n" | $chat >"$out/chat" 2>"$out/stderr"
    same "the room is named" "$(grep -c 'whole_image_bytes.*raise --whole-image' "$out/stderr")" 1
    printf "/image $out/large.jpg\n" | $chat --whole-image 100M >"$out/chat" 2>"$out/stderr"
    same "and may be given" "$(cat "$out/stderr")" ""
    $chat --image "$out/large.jpg" </dev/null >"$out/chat" 2>"$out/stderr"
    same "or is known" "$(cat "$out/stderr")" ""

    printf '/image no/such.png\nHow many?\n/quit\nnever read\n' | $chat >"$out/chat" 2>"$out/stderr"
    same "a picture that is not there ends nothing" $? 0
    same "one answer" "$(wc -l <"$out/chat" | tr -d ' ')" 1
    same "it is said" "$(grep -c 'no/such.png: No such file' "$out/stderr")" 1

    # A question that does not fit, its picture too, leaves nothing behind.
    { echo "How many?" && echo "/image $picture" &&
        head -c 1200 /dev/zero | tr '\0' q && printf '\nWhat colour?\n'; } |
        $chat --ctx 400 >"$out/chat" 2>"$out/stderr"
    same "it is refused" "$(grep -c 'context: need [0-9]* tokens' "$out/stderr")" 1
    same "its picture goes with it" "$(grep -c "pictures are forgotten" "$out/stderr")" 1
    same "nothing is left behind" "$(cat "$out/chat")" \
        "$(printf 'How many?\nWhat colour?\n' | $chat --ctx 400)"

    # A line of NULs, a very long line, no line end at the end.
    { head -c 300 /dev/zero && echo && head -c 200000 /dev/zero | tr '\0' q && printf '\nHow many?'; } |
        $chat >"$out/chat" 2>"$out/stderr"
    same "odd lines end nothing" $? 0
    same "too long a line is said" "$(grep -c 'text: need 200000 bytes' "$out/stderr")" 1
    same "and the next is answered" "$(wc -l <"$out/chat" | tr -d ' ')" 1

    printf 'How many?\n/image no/such.png\nHow many?\n' | $chat --json >"$out/chat" 2>"$out/stderr"
    same "chat --json" "$(cut -c 1-9 "$out/chat" | tr '\n' ' ')" '{"answer" {"error": {"answer" '

    printf '/help\n/fly\n/image\n/usr/bin is a what?\n' | $chat >"$out/chat" 2>"$out/stderr"
    same "/help" "$(grep -c '/image FILE' "$out/stderr")" 1
    same "no such command" "$(grep -c '/fly: no such command' "$out/stderr")" 1
    same "no picture" "$(grep -c '/image: needs FILE' "$out/stderr")" 1
    same "a path is no command" "$(wc -l <"$out/chat" | tr -d ' ')" 1
}

echo "$checks checks, $failures failures"
[ $failures -eq 0 ]
