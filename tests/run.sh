#!/bin/sh
# Runs every test that was built under BUILD, and the test scripts beside this file, as many
# at a time as there are processors (JOBS=N: N); or the one that is named:
#
#     tests/run.sh BUILD [NAME]
#
# With PROGRAMS_ONLY=1 the scripts, which say nothing of how BUILD was built, are left out.
# One line for each with its time, in the order in which they end; the whole output of what
# fails. A script exits with 77 when something it needs is not there. Exit status: 0 when
# nothing failed.
build=${1:?usage: tests/run.sh BUILD [NAME]}
here=$(dirname "$0")
ends=$build/run # what became of each, and what it said

milliseconds() { date +%s%N | sed 's/......$//'; }

# report NAME CODE MILLISECONDS
report() {
    case $2 in
    0) word=ok ;;
    77) word=skipped ;;
    *) word="FAILED ($2)" ;;
    esac
    printf '%-28s %12s  %s\n' "$1" "$(printf '%d.%03d s' $(($3 / 1000)) $(($3 % 1000)))" "$word"
    case $2 in
    0) sed -n '/^[Ss]kip/s/^/    /p' "$ends/$1.log" | head -n 4 ;;
    *) sed 's/^/    /' "$ends/$1.log" ;;
    esac
    echo "$word" >"$ends/$1.end"
}

# one NAME
one() {
    name=$1
    case $name in
    replay_*) set -- "$build/fuzz/$name" "$here/../fuzz/corpus/${name#replay_}" ;;
    *.sh) set -- sh "$here/$name" "$build" ;;
    *) set -- "$build/tests/$name" ;;
    esac
    mkdir -p "$ends"
    begun=$(milliseconds)
    "$@" >"$ends/$name.log" 2>&1
    code=$?
    said=$(report "$name" $code $(($(milliseconds) - begun)))
    echo "$said" # at once: another one may end now
    [ $code -eq 0 ] || [ $code -eq 77 ]
}

# Those that take longest come first. Programs that were built from sources that are no longer
# there are not run.
names() {
    [ -n "${PROGRAMS_ONLY:-}" ] || (cd "$here" && ls test_*.sh)
    echo check_kernels
    for corpus in "$here"/../fuzz/corpus/*/; do
        corpus=$(basename "$corpus")
        [ -f "$here/../fuzz/fuzz_$corpus.c" ] && echo "replay_$corpus"
    done
    (cd "$here" && ls test_*.c) | sed 's/\.c$//'
}

if [ -n "${2:-}" ]; then
    one "$2"
    exit
fi
rm -rf "$ends"
names | xargs -n 1 -P "${JOBS:-$(getconf _NPROCESSORS_ONLN)}" sh "$0" "$build"
status=$?
count() { cat "$ends"/*.end | grep -c "^$1"; }
echo "$(count ok) passed, $(count FAILED) failed, $(count skipped) skipped"
[ $status -eq 0 ] && rm -rf "$ends"
exit $status
