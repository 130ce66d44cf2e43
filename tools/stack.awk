# The deepest stack of a call, from what gcc writes with -fcallgraph-info=su:
#
#     awk -f tools/stack.awk bluelm.ci
#
# Prints its bytes and the calls that lead there. What is called through a pointer can be any
# function that nobody calls by name; a pointer leads to another one at most once (workers'
# parts, then kernels).
function field(line, name) {
    if (!match(line, name ": \"[^\"]*\"")) return ""
    return substr(line, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
}
/^node:/ {
    name = field($0, "title")
    label = field($0, "label")
    if (match(label, /[0-9]+ bytes/)) {
        bytes[name] = substr(label, RSTART, RLENGTH) + 0
        names[++count] = name
    }
}
/^edge:/ {
    from = field($0, "sourcename")
    to = field($0, "targetname")
    calls[from] = calls[from] SUBSEP to
    if (to != "__indirect_call") called[to] = 1
}
function shown(name) {
    sub(/^.*:/, "", name)
    return name
}
function deepest(name, pointers,    key, list, n, i, best, way, got) {
    key = name SUBSEP pointers
    if (key in known) return known[key]
    known[key] = 0 # a cycle ends here
    best = 0
    way = ""
    n = split(calls[name], list, SUBSEP)
    for (i = 1; i <= n; i++) {
        if (list[i] == "") continue
        if (list[i] == "__indirect_call") {
            if (pointers == 0) continue
            got = through_pointer(pointers - 1)
            if (got > best) { best = got; way = pointed[pointers - 1] }
        } else {
            got = deepest(list[i], pointers)
            if (got > best) { best = got; way = shown(list[i]) " " path[list[i] SUBSEP pointers] }
        }
    }
    path[key] = way
    return known[key] = best + bytes[name]
}
function through_pointer(pointers,    i, got) {
    if (pointers in reached) return reached[pointers]
    reached[pointers] = 0
    for (i = 1; i <= count; i++) {
        if ((names[i] in called) || shown(names[i]) ~ /^bluelm_/) continue
        got = deepest(names[i], pointers)
        if (got > reached[pointers]) {
            reached[pointers] = got
            pointed[pointers] = shown(names[i]) " " path[names[i] SUBSEP pointers]
        }
    }
    return reached[pointers]
}
END {
    for (i = 1; i <= count; i++) {
        got = deepest(names[i], 2)
        if (got > most) { most = got; where = names[i] }
    }
    printf "%d %s %s\n", most, shown(where), path[where SUBSEP 2]
}
