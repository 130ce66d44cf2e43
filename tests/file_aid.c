#include "file_aid.h"

#include <stdio.h>
#include <stdlib.h>

tiny_file file_find(const char *path)
{
    tiny_file file = {NULL, 0};
    FILE *f = fopen(path, "rb");
    long bytes = 0;
    if (f == NULL) return file;
    tiny_must(fseek(f, 0, SEEK_END) == 0 && (bytes = ftell(f)) >= 0, path);
    rewind(f);
    file.bytes = (size_t)bytes;
    file.data = malloc(file.bytes ? file.bytes : 1);
    tiny_must(file.data != NULL, "no memory");
    tiny_must(fread(file.data, 1, file.bytes, f) == file.bytes, path);
    fclose(f);
    return file;
}

tiny_file file_load(const char *path)
{
    tiny_file file = file_find(path);
    tiny_must(file.data != NULL, path);
    return file;
}

tiny_file file_reference(const char *ours, const char *theirs, const char *name)
{
    const char *shared = getenv("BLUELM_SHARED");
    char path[512];
    snprintf(path, sizeof path, "tests/data/%s/%s", ours, name);
    tiny_file file = file_find(path);
    if (file.data != NULL) return file;
    snprintf(path, sizeof path, "%s/reference/%s/%s", shared != NULL ? shared : "../shared",
             theirs, name);
    return file_find(path);
}
