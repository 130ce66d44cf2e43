# The deepest stack of a call, from what gcc writes with -fcallgraph-info=su:
#
#     awk -f tools/stack.awk bluelm.ci
#
# Prints its bytes and the calls that lead there. What is called through a pointer can be any
# function that nobody calls by name, in the folder that such a pointer leads to from where it
# is called: workers run parts of the network, the network and two files of the engine kernels, other
# folders call their own, and a file of one instruction set its own. The table of kernels is
# filled by blm_kernels_*. What the port does is the port's.
function field(line, name) {
    if (!match(line, name ": \"[^\"]*\"")) return ""
    return substr(line, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
}
function folder(place) {
    return match(place, /^[a-z_]+\//) ? substr(place, 1, RLENGTH - 1) : ""
}
function file(place) {
    return match(place, /^[a-z_\/0-9]+\.[ch]/) ? substr(place, 1, RLENGTH) : ""
}
function leads_to(place, from) {
    if (from ~ /blm_kernels_init/) return "fill"
    if (file(place) ~ /^kernels\/(scalar|sse41|avx|amx|neon)/) return file(place)
    if (place ~ /^network\/workers/) return "network"
    if (place ~ /^(network\/|engine\/(rows|encode))/) return "kernels"
    if (place ~ /^engine\//) return "port"
    return folder(place)
}
/^node:/ {
    name = field($0, "title")
    label = field($0, "label")
    if (match(label, /[0-9]+ bytes/)) {
        bytes[name] = substr(label, RSTART, RLENGTH) + 0
        names[++count] = name
        split(label, part, /\\n/)
        home[name] = folder(part[2])
        source[name] = file(part[2])
    }
}
/^edge:/ {
    from = field($0, "sourcename")
    to = field($0, "targetname")
    if (to == "__indirect_call") to = "*" leads_to(field($0, "label"), from)
    else called[to] = 1
    calls[from] = calls[from] SUBSEP to
}
function shown(name) {
    sub(/^.*:/, "", name)
    return name
}
function deepest(name,    list, n, i, best, way, got) {
    if (name in known) return known[name]
    known[name] = 0 # a cycle ends here
    best = 0
    way = ""
    n = split(calls[name], list, SUBSEP)
    for (i = 1; i <= n; i++) {
        if (list[i] == "") continue
        if (list[i] ~ /^\*/) {
            got = through_pointer(substr(list[i], 2))
            if (got > best) { best = got; way = pointed[substr(list[i], 2)] }
        } else {
            got = deepest(list[i])
            if (got > best) { best = got; way = shown(list[i]) " " path[list[i]] }
        }
    }
    path[name] = way
    return known[name] = best + bytes[name]
}
function may_be(name, where) {
    if (name in called) return 0
    if (where == "fill") return name ~ /blm_kernels_/
    return home[name] == where || source[name] == where
}
function through_pointer(where,    i, got) {
    if (where in reached) return reached[where]
    reached[where] = 0
    for (i = 1; i <= count; i++) {
        if (!may_be(names[i], where)) continue
        got = deepest(names[i])
        if (got > reached[where]) {
            reached[where] = got
            pointed[where] = shown(names[i]) " " path[names[i]]
        }
    }
    return reached[where]
}
END {
    for (i = 1; i <= count; i++) {
        got = deepest(names[i])
        if (got > most) { most = got; where = names[i] }
    }
    printf "%d %s %s\n", most, shown(where), path[where]
}
