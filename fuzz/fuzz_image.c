/* Encoded pictures: the input is a file. Reads what it says of itself, checks it, and
 * decodes all its rows in the memory it says it needs; a byte less is too little. A PNG's
 * checksums are put right first, or no change to its data would get past them. */
#include "../tests/png_aid.h"
#include "../tiler/image.h"

#include <stdlib.h>

#define FUZZ_MOST (8u << 20) /* bytes that a picture may need */
#define FUZZ_ROWS 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void fuzz_require(int truth)
{
    if (!truth) abort();
}

static void fuzz_rows(blm_image_decoder *d)
{
    size_t bytes = (size_t)d->facts.stored_width_px * 3;
    uint8_t *row = (uint8_t *)malloc(bytes);
    bluelm_error err;
    if (!row) return;
    for (uint32_t y = 0; y < d->facts.stored_height_px && y < FUZZ_ROWS; y++) {
        int status = blm_image_row(d, row, &err);
        if (status == 0) continue;
        fuzz_require(status == BLUELM_E_IMAGE && err.code == status && err.subject[0] != 0);
        fuzz_require(blm_image_row(d, row, &err) == status);
        break;
    }
    free(row);
}

static void fuzz_decode(const uint8_t *file, size_t bytes, uint64_t need)
{
    blm_image_decoder d;
    bluelm_error err;
    uint8_t *memory = (uint8_t *)malloc((size_t)need);
    if (!memory) return;
    int status = blm_image_begin(&d, file, bytes, NULL, memory, need - 1, &err);
    fuzz_require(status == BLUELM_E_BUDGET && err.need == need);
    status = blm_image_begin(&d, file, bytes, NULL, memory, need, &err);
    fuzz_require(status == 0 || (err.code == status && err.subject[0] != 0));
    if (status == 0) fuzz_rows(&d);
    free(memory);
}

static void fuzz_file(const uint8_t *file, size_t bytes)
{
    blm_image_facts facts;
    bluelm_error err;
    uint64_t need;
    int info = blm_image_info(file, bytes, &facts, &err);
    int measured = blm_image_need(file, bytes, &need, NULL);
    int checked = blm_image_check(file, bytes, NULL);
    fuzz_require(info == measured && (info == 0 || checked < 0));
    if (info < 0) {
        fuzz_require(err.code == info && err.subject[0] != 0);
        return;
    }
    fuzz_require(facts.orientation >= 1 && facts.orientation <= 8);
    fuzz_require(facts.whole_picture || need <= blm_image_scratch_bytes(facts.stored_width_px));
    if (need <= FUZZ_MOST) fuzz_decode(file, bytes, need);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *file = (uint8_t *)malloc(bytes ? bytes : 1);
    if (!file) return 0;
    if (bytes) memcpy(file, data, bytes);
    if (bytes && file[0] == 0x89) png_mend(file, bytes);
    fuzz_file(file, bytes);
    free(file);
    return 0;
}
