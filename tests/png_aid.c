#include "png_aid.h"

#include <string.h>

static uint32_t png_crc(const uint8_t *p, size_t bytes)
{
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    }
    return ~crc;
}

static void png_store_u32(uint8_t *at, uint32_t value)
{
    for (int k = 0; k < 4; k++)
        at[k] = (uint8_t)(value >> (24 - 8 * k));
}

void png_put(png_file *f, const void *data, size_t bytes)
{
    if (bytes) memcpy(f->data + f->bytes, data, bytes);
    f->bytes += bytes;
}

void png_put_u32(png_file *f, uint32_t value)
{
    png_store_u32(f->data + f->bytes, value);
    f->bytes += 4;
}

void png_open_chunk(png_file *f, const char *type)
{
    f->chunk = f->bytes;
    png_put_u32(f, 0);
    png_put(f, type, 4);
}

void png_close_chunk(png_file *f)
{
    size_t bytes = f->bytes - f->chunk - 8;
    png_store_u32(f->data + f->chunk, (uint32_t)bytes);
    png_put_u32(f, png_crc(f->data + f->chunk + 4, bytes + 4));
}

void png_begin(png_file *f, uint32_t width, uint32_t height, const char form[5])
{
    f->bytes = 0;
    png_put(f, "\x89PNG\r\n\x1a\n", 8);
    png_open_chunk(f, "IHDR");
    png_put_u32(f, width);
    png_put_u32(f, height);
    png_put(f, form, 5);
    png_close_chunk(f);
}

void png_mend(uint8_t *file, size_t bytes)
{
    size_t at = 8;
    while (bytes >= 20 && at <= bytes - 12) {
        uint32_t length = (uint32_t)file[at] << 24 | (uint32_t)file[at + 1] << 16 |
                          (uint32_t)file[at + 2] << 8 | file[at + 3];
        if (length > bytes - at - 12) return;
        png_store_u32(file + at + 8 + length, png_crc(file + at + 4, 4 + (size_t)length));
        at += 12 + (size_t)length;
    }
}
