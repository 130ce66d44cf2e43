#include "files.h"

#include <stdlib.h>
#include <string.h>

#include "../ports/posix/posix.h"
#include "output.h"

int app_map(app_file *file, const char *path)
{
    file->path = path;
    return bluelm_posix_map(path, &file->data, &file->bytes) < 0 ? app_fail_errno(path) : 0;
}

const char *app_begins_as(const app_file *file)
{
    static const struct {
        uint32_t at;
        const char *bytes, *advice;
    } kinds[] = {
        {0, "version https://git-lfs",
         "that is a Git LFS pointer: git lfs pull fetches the file"},
        {0, "<!DOCTYPE", "that is a web page: download the file itself"},
        {0, "<html", "that is a web page: download the file itself"},
        {8, "{\"", "that is safetensors: convert it to GGUF"},
        {0, "PK\3\4", "that is a zip archive or PyTorch's file: unpack or convert it"},
        {0, "lmgg", "that is a GGML file from before GGUF: convert it"},
        {0, "tjgg", "that is a GGML file from before GGUF: convert it"},
        {0, "\x1f\x8b", "that is a gzip archive: unpack it"},
        {0, "GGUF", "that is a GGUF file"},
        {0, "GIF8", "that is a GIF: convert it to PNG or JPEG"},
        {8, "WEBP", "that is a WebP: convert it to PNG or JPEG"},
        {4, "ftypavif", "that is an AVIF: convert it to PNG or JPEG"},
        {4, "ftyphei", "that is a HEIC: convert it to JPEG"},
        {4, "ftypmif1", "that is a HEIF: convert it to JPEG"},
        {0, "BM", "that is a BMP: convert it to PNG"},
        {0, "II*", "that is a TIFF: convert it to PNG"},
        {0, "%PDF", "that is a PDF: render it to PNG"},
        {0, "<svg", "that is an SVG: render it to PNG"},
        {0, "\x89PNG", "that is a PNG"},
        {0, "\xff\xd8\xff", "that is a JPEG"},
    };
    if (!file->bytes) return "that file is empty";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const size_t length = strlen(kinds[i].bytes);
        if (file->bytes >= kinds[i].at + length &&
            !memcmp((const char *)file->data + kinds[i].at, kinds[i].bytes, length))
            return kinds[i].advice;
    }
    return NULL;
}

void app_unmap(const app_file *file)
{
    bluelm_posix_unmap(file->data, file->bytes);
}

int app_text_add(app_text *t, const char *data, size_t bytes)
{
    char *grown = realloc(t->data, t->bytes + bytes + 1);
    if (!grown) return app_fail("text", "out of memory");
    memcpy(grown + t->bytes, data, bytes);
    t->data = grown;
    t->bytes += bytes;
    t->data[t->bytes] = 0;
    return 0;
}

int app_text_add_stream(app_text *t, FILE *stream, const char *name)
{
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof part, stream)) > 0) {
        if (t->bytes + n > APP_MAX_FILE_BYTES)
            return app_fail_with(name, "more than %u bytes", APP_MAX_FILE_BYTES);
        if (app_text_add(t, part, n)) return 1;
    }
    return ferror(stream) ? app_fail_errno(name) : 0;
}

int app_text_add_file(app_text *t, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return app_fail_errno(path);
    int code = app_text_add_stream(t, file, path);
    fclose(file);
    return code;
}

int app_write_floats(const char *path, const float *values, size_t count)
{
    FILE *out = fopen(path, "wb");
    if (!out) return app_fail_errno(path);
    size_t written = fwrite(values, sizeof *values, count, out);
    if (fclose(out) || written != count) return app_fail_errno(path);
    return 0;
}

/* ---- Pictures --------------------------------------------------------------------- */

int app_open_picture(app_picture *p, const char *path)
{
    bluelm_error err;
    if (app_map(&p->file, path)) return 1;
    if (bluelm_image_size(p->file.data, p->file.bytes, &p->width, &p->height, &err) < 0)
        return app_fail_advice(
            path, &err, strstr(err.subject, "neither PNG") ? app_begins_as(&p->file) : NULL);
    return 0;
}

void app_close_picture(app_picture *p)
{
    app_unmap(&p->file);
    *p = (app_picture){0};
}

int app_open_pictures(const app_options *o, app_picture *pictures, bluelm_config *config)
{
    uint32_t widest = 0;
    for (uint32_t i = 0; i < o->image_count; i++) {
        app_picture *p = &pictures[i];
        p->width = o->images[i].width_px;
        p->height = o->images[i].height_px;
        if (!o->images[i].path) continue;
        if (app_open_picture(p, o->images[i].path)) return 1;
        int64_t whole = bluelm_image_whole_bytes(p->file.data, p->file.bytes, NULL);
        if (whole > (int64_t)config->whole_image_bytes)
            config->whole_image_bytes = (uint64_t)whole;
        /* A photo may be stored on its side. */
        uint32_t side = p->width > p->height ? p->width : p->height;
        widest = side > widest ? side : widest;
    }
    if (!config->max_image_width_px) config->max_image_width_px = widest ? widest : 1;
    return 0;
}

void app_close_pictures(app_picture *pictures, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        app_close_picture(&pictures[i]);
}
