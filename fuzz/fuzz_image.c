/* Encoded pictures: the input is a file. Decodes it with a small limit in the memory it
 * says it needs, and in little. A PNG's checksums are put right first, or no change to its
 * data would get past them. */
#include "../tiler/image.h"

#include <stdlib.h>

#define FUZZ_PIXELS 40000
#define FUZZ_MOST   (1u << 20) /* bytes; a narrow JPEG may need more */
#define FUZZ_LITTLE 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void fuzz_require(int truth)
{
    if (!truth) abort();
}

static int fuzz_decode(const bluelm_image *in, uint64_t room, uint32_t width, uint32_t height)
{
    bluelm_image out;
    bluelm_error err;
    uint8_t *memory = (uint8_t *)malloc((size_t)room + 1);
    if (!memory) return -1;
    int status = blm_image_decode(in, FUZZ_PIXELS, memory, room, &out, &err);
    if (status == 0) {
        fuzz_require(out.rgb == memory && out.width_px == width && out.height_px == height);
        volatile uint8_t last = memory[(size_t)width * height * 3 - 1];
        (void)last;
    } else {
        fuzz_require(err.code == status && err.subject[0] != 0);
    }
    free(memory);
    return status;
}

/* Makes the checksum of every chunk right. */
static void fuzz_mend_png(uint8_t *file, size_t bytes)
{
    size_t at = 8;
    while (bytes >= 20 && at <= bytes - 12) {
        uint32_t length = (uint32_t)file[at] << 24 | (uint32_t)file[at + 1] << 16 |
                          (uint32_t)file[at + 2] << 8 | file[at + 3];
        if (length > bytes - at - 12) return;
        uint32_t crc = 0xFFFFFFFF;
        for (size_t i = at + 4; i < at + 8 + length; i++) {
            crc ^= file[i];
            for (int k = 0; k < 8; k++)
                crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
        }
        at += 8 + (size_t)length;
        for (int k = 0; k < 4; k++)
            file[at++] = (uint8_t)(~crc >> (24 - 8 * k));
    }
}

static void fuzz_file(const uint8_t *data, size_t bytes)
{
    bluelm_image in = {NULL, 0, 0, 0, data, bytes};
    blm_image_facts facts;
    uint64_t need;
    int info = blm_image_info(data, bytes, &facts, NULL);
    uint32_t width = facts.width_px, height = facts.height_px;
    int measured = blm_image_need(data, bytes, &need, NULL);
    fuzz_require(info == 0 || measured < 0);
    /* What is refused anyway is refused before it touches memory. */
    if (measured < 0 || (uint64_t)width * height > FUZZ_PIXELS || need > FUZZ_MOST)
        need = FUZZ_LITTLE;
    fuzz_decode(&in, need + 15, width, height); /* 15: aligning a JPEG */
    int status = fuzz_decode(&in, FUZZ_LITTLE, width, height);
    fuzz_require(status < 0 || need <= FUZZ_LITTLE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *file = (uint8_t *)malloc(bytes ? bytes : 1);
    if (!file) return 0;
    if (bytes) memcpy(file, data, bytes);
    if (bytes && file[0] == 0x89) fuzz_mend_png(file, bytes);
    fuzz_file(file, bytes);
    free(file);
    return 0;
}
