/* Runs a fuzz target without a fuzzing engine: over every file of the folders and files
 * given, then over truncations and small mutations of each, always the same ones.
 *
 *     replay [--keep FILE] [--mutations COUNT] PATH...
 *
 *   --keep       writes every input to FILE before it runs, for finding what crashed
 *   --mutations  per file, 1000 if not given; 0 runs the files alone
 *
 * Linked with one fuzz/fuzz_*.c. Inputs lie in malloc'ed memory of exactly their size, so
 * that AddressSanitizer sees the first byte read past the end. A file's truncations and
 * mutations stop after half a second each, so that `make test` stays quick. */
#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define MAX_TRUNCATIONS 4000u

typedef struct replay {
    const char *keep;
    unsigned long mutations;
    uint64_t random;
    unsigned long files, truncated, mutated;
} replay;

static void die(const char *what, const char *path)
{
    fprintf(stderr, "replay: %s %s\n", what, path);
    exit(1);
}

/* splitmix64 */
static uint64_t next(replay *r)
{
    uint64_t z = (r->random += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static int time_is_left(clock_t start)
{
    return clock() - start < CLOCKS_PER_SEC / 2;
}

static void run(replay *r, const uint8_t *data, size_t bytes)
{
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
    if (exact == NULL) die("no memory for", "an input");
    if (bytes > 0) memcpy(exact, data, bytes);
    if (r->keep != NULL) {
        FILE *f = fopen(r->keep, "wb");
        if (f == NULL || fwrite(exact, 1, bytes, f) != bytes || fclose(f) != 0) {
            die("cannot write", r->keep);
        }
    }
    LLVMFuzzerTestOneInput(exact, bytes);
    free(exact);
}

/* Every length of a small file; of a large one every length near both ends and some
 * between. */
static void truncate_file(replay *r, const uint8_t *data, size_t bytes)
{
    size_t step = bytes / MAX_TRUNCATIONS + 1, length = 0;
    clock_t start = clock();
    while (length < bytes && time_is_left(start)) {
        run(r, data, length);
        r->truncated++;
        length += length < 512 || bytes - length < 64 + step ? 1 : step;
    }
}

/* One edit: a bit, a byte, a number of 4 or 8 bytes, or a part moved over another. Half of
 * them fall into the first 512 bytes, where headers are. */
static void edit(replay *r, uint8_t *data, size_t bytes)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       0x7F,
                                       0xFF,
                                       0x7FFF,
                                       0xFFFF,
                                       0x7FFFFFFF,
                                       0x80000000,
                                       0xFFFFFFFF,
                                       UINT64_C(1) << 32,
                                       UINT64_MAX >> 1,
                                       UINT64_MAX};
    size_t range = next(r) % 2 && bytes > 512 ? 512 : bytes, at = (size_t)(next(r) % range);
    uint64_t number = numbers[next(r) % (sizeof numbers / sizeof numbers[0])];
    size_t width = (size_t)1 << next(r) % 4, i;
    if (width > bytes - at) width = bytes - at;
    switch (next(r) % 4) {
    case 0:
        data[at] ^= (uint8_t)(1u << next(r) % 8);
        break;
    case 1:
        data[at] = (uint8_t)next(r);
        break;
    case 2:
        for (i = 0; i < width; i++)
            data[at + i] = (uint8_t)(number >> (8 * i));
        break;
    default:
        memmove(data + at, data + next(r) % (bytes - width + 1), width);
        break;
    }
}

static void mutate_file(replay *r, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes);
    clock_t start = clock();
    unsigned long i;
    if (copy == NULL) die("no memory for", "a mutation");
    for (i = 0; i < r->mutations && time_is_left(start); i++) {
        uint64_t edits = 1 + next(r) % 4;
        memcpy(copy, data, bytes);
        while (edits-- > 0)
            edit(r, copy, bytes);
        run(r, copy, bytes);
        r->mutated++;
    }
    free(copy);
}

static uint8_t *load(const char *path, size_t bytes)
{
    uint8_t *data = malloc(bytes > 0 ? bytes : 1);
    FILE *f = fopen(path, "rb");
    if (data == NULL || f == NULL || fread(data, 1, bytes, f) != bytes) {
        die("cannot read", path);
    }
    fclose(f);
    return data;
}

static void replay_file(replay *r, const char *path, size_t bytes)
{
    uint8_t *data = load(path, bytes);
    r->random = 1; /* a file's mutations do not depend on the others */
    run(r, data, bytes);
    r->files++;
    if (r->mutations > 0 && bytes > 0) {
        truncate_file(r, data, bytes);
        mutate_file(r, data, bytes);
    }
    free(data);
}

/* The files of one folder, not of those inside it. */
static void replay_folder(replay *r, const char *path)
{
    struct dirent *entry;
    DIR *folder = opendir(path);
    if (folder == NULL) die("cannot open", path);
    while ((entry = readdir(folder)) != NULL) {
        char name[4096];
        struct stat s;
        int length = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof name) die("too long a name in", path);
        if (stat(name, &s) == 0 && S_ISREG(s.st_mode)) {
            replay_file(r, name, (size_t)s.st_size);
        }
    }
    closedir(folder);
}

int main(int argc, char **argv)
{
    replay r = {NULL, 1000, 0, 0, 0, 0};
    int i;
    for (i = 1; i < argc; i++) {
        struct stat s;
        if (strcmp(argv[i], "--keep") == 0 && i + 1 < argc) {
            r.keep = argv[++i];
        } else if (strcmp(argv[i], "--mutations") == 0 && i + 1 < argc) {
            r.mutations = strtoul(argv[++i], NULL, 10);
        } else if (stat(argv[i], &s) != 0) {
            die("cannot find", argv[i]);
        } else if (S_ISDIR(s.st_mode)) {
            replay_folder(&r, argv[i]);
        } else {
            replay_file(&r, argv[i], (size_t)s.st_size);
        }
    }
    printf("%s: %lu files, %lu truncations, %lu mutations\n", argv[0], r.files, r.truncated,
           r.mutated);
    return r.files > 0 ? 0 : 1; /* a corpus that is not there must not pass */
}
