/* PNG files chunk by chunk, for the tests of pictures. */
#ifndef PNG_AID_H
#define PNG_AID_H

#include <stddef.h>
#include <stdint.h>

/* A file that grows in the caller's memory, which is large enough. */
typedef struct png_file {
    uint8_t *data;
    size_t bytes, chunk; /* chunk: where the open one begins */
} png_file;

void png_put(png_file *f, const void *data, size_t bytes);
void png_put_u32(png_file *f, uint32_t value);
void png_open_chunk(png_file *f, const char *type);
void png_close_chunk(png_file *f); /* writes its length and its checksum */

/* The signature, and IHDR.
 *   form  depth, colour type, compression, filter, interlacing: a byte each */
void png_begin(png_file *f, uint32_t width, uint32_t height, const char form[5]);

/* Makes the checksum of every chunk of a file right. */
void png_mend(uint8_t *file, size_t bytes);

#endif
