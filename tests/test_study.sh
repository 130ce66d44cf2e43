#!/bin/sh
# The study's tables and plots are what its CSV files say, its links lead somewhere, and its
# pictures of numbers are sound XML.
#
#     tests/test_study.sh BUILD
set -u
build=${1:?usage: tests/test_study.sh BUILD}
cd "$(dirname "$0")/.." || exit 1
command -v python3 >/dev/null || {
    echo "skipped: no python3"
    exit 77
}
out=$build/study-docs
rm -rf "$out"
mkdir -p "$out"
cp -r docs/study docs/study.md "$out/"
failures=0

STUDY_DOCS=$out python3 -B tools/study/study.py "$build" --render || exit 1
for file in study.md study; do
    if ! diff -r "docs/$file" "$out/$file" >"$out/diff"; then
        echo "docs/$file is not what make study ARGS=--render writes:"
        head -n 10 "$out/diff"
        failures=$((failures + 1))
    fi
done
for link in $(sed -n 's/.*](\(study\/[^)]*\)).*/\1/p' docs/study.md); do
    [ -f "docs/$link" ] && python3 -c "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])" "docs/$link" && continue
    echo "docs/study.md: $link is not there, or no XML"
    failures=$((failures + 1))
done
echo "$failures failures"
[ $failures -eq 0 ]
