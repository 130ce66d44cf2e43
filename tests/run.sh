#!/bin/sh
# Runs every test that was built under BUILD, and the test scripts beside this file:
#
#     tests/run.sh BUILD
#
# With PROGRAMS_ONLY=1 the scripts, which say nothing of how BUILD was built, are left out.
# One line for each with its time; the whole output of what fails. A script exits with 77
# when something it needs is not there. Exit status: 0 when nothing failed.
build=${1:?usage: tests/run.sh BUILD}
here=$(dirname "$0")
passed=0 failed=0 skipped=0
log=$build/run.log

milliseconds() { date +%s%N | sed 's/......$//'; }

# run NAME COMMAND...
run() {
    name=$1
    shift
    begun=$(milliseconds)
    "$@" >"$log" 2>&1
    code=$?
    took=$(($(milliseconds) - begun))
    took=$(printf '%d.%03d s' $((took / 1000)) $((took % 1000)))
    case $code in
    0) word=ok passed=$((passed + 1)) ;;
    77) word=skipped skipped=$((skipped + 1)) ;;
    *) word="FAILED ($code)" failed=$((failed + 1)) ;;
    esac
    printf '%-28s %12s  %s\n' "$name" "$took" "$word"
    [ $code -eq 0 ] && sed -n '/^[Ss]kip/s/^/    /p' "$log" | head -n 4
    [ $code -eq 77 ] && sed 's/^/    /' "$log"
    [ $code -eq 0 ] || [ $code -eq 77 ] || sed 's/^/    /' "$log"
}

# Programs that were built from sources that are no longer there are not run.
for source in "$here"/test_*.c "$here"/check_kernels.c; do
    program=$(basename "$source" .c)
    run "$program" "$build/tests/$program"
done
for source in "$here"/../fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    name=${name#fuzz_}
    corpus=$here/../fuzz/corpus/$name
    [ -d "$corpus" ] && run "replay_$name" "$build/fuzz/replay_$name" "$corpus"
done
for script in "$here"/test_*.sh; do
    [ -f "$script" ] && [ -z "${PROGRAMS_ONLY:-}" ] && run "$(basename "$script")" sh "$script" "$build"
done
rm -f "$log"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
