// llama.cpp's side of tools/bench_peer, which starts it: the addon of node-llama-cpp called
// directly, without sampling or chat.
//
//     node bench_peer.cjs FOLDER_OF_ADDON MODEL THREADS off|on f16|q8_0
//
// Obeys the same orders, with the same tokens, as `build/bench --serve`: "reset 0", "read N"
// (a prompt of N tokens), "decode N" (one by one); answers each with the seconds it took and
// the likeliest next token. The first line of output says who this is.
"use strict";
const fs = require("fs");
const path = require("path");
const readline = require("readline");

const CONTEXT_TOKENS = 2560;
const BATCH_TOKENS = 512;
const [given, file, threads, flash, cache] = process.argv.slice(2);
const folder = path.resolve(given);
const addon = require(path.join(folder, "llama-addon.node"));

// The CPU backend that ggml chose among those in the folder is the one that is mapped.
function loadedBackend() {
    const maps = fs.readFileSync("/proc/self/maps", "utf8");
    return (maps.match(/libggml-cpu[^/\s]*\.so/) || ["none"])[0];
}

function describe(nodeBytes) {
    const made = JSON.parse(fs.readFileSync(path.join(folder, "_nlcBuildMetadata.json")));
    return {
        release: made.buildOptions.llamaCpp.release,
        backend: loadedBackend(),
        system: addon.systemInfo(),
        node: process.version,
        node_bytes: nodeBytes,
    };
}

async function start() {
    const nodeBytes = process.memoryUsage().rss;
    addon.setLogger((level, message) => process.stderr.write(message));
    addon.setLoggerLogLevel(2); // errors alone
    addon.loadBackends(folder);
    await addon.init();
    const model = new addon.AddonModel(file, {gpuLayers: 0, useMmap: true});
    if (!await model.init()) throw new Error(`llama.cpp does not load ${file}`);
    const type = addon.getGgmlType(cache.toUpperCase());
    if (type === undefined) throw new Error(`llama.cpp has no type ${cache}`);
    const context = new addon.AddonContext(model, {
        contextSize: CONTEXT_TOKENS, batchSize: BATCH_TOKENS, sequences: 1,
        threads: Number(threads), flashAttention: flash === "on",
        kvCacheKeyType: type, kvCacheValueType: type,
    });
    if (!await context.init()) throw new Error("llama.cpp makes no context");
    if (context.getThreads() !== Number(threads)) throw new Error("other threads than asked");
    const sampler = new addon.AddonSampler(model);
    sampler.applyConfig({temperature: 0});
    return {context, sampler, hello: describe(nodeBytes)};
}

// The tokens of apps/bench.
function tokensAt(at, count) {
    return new Uint32Array(count).map((_, i) => 300 + (at + i) * 7919 % 90000);
}

// Logits are asked for at the last token alone. Returns their index in the batch.
async function read(context, at, count) {
    const end = at + count;
    let logits;
    for (let part; at < end; at += part) {
        part = Math.min(BATCH_TOKENS, end - at);
        context.initBatch(part);
        logits = context.addToBatch(0, at, tokensAt(at, part),
            Uint32Array.from(at + part === end ? [part - 1] : []));
        await context.decodeBatch();
    }
    return logits[0];
}

async function main() {
    const {context, sampler, hello} = await start();
    process.stdout.write(JSON.stringify(hello) + "\n");
    let at = 0;
    for await (const line of readline.createInterface({input: process.stdin})) {
        const [order, number] = line.split(" ");
        const end = at + Number(number);
        const begun = performance.now();
        let likeliest = 0, logits;
        if (order === "reset") {
            context.disposeSequence(0);
            at = 0;
        } else {
            const step = order === "decode" ? 1 : end - at;
            for (; at < end; at += step) logits = await read(context, at, step);
        }
        const seconds = (performance.now() - begun) / 1000;
        if (logits !== undefined) likeliest = await context.sampleToken(logits, sampler);
        process.stdout.write(`${seconds.toFixed(6)} ${likeliest}\n`);
    }
    process.exit(0);
}

main().catch((error) => {
    console.error(`bench_peer: ${error.message}`);
    process.exit(1);
});
