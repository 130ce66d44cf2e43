/* The port for systems with POSIX threads and mmap: weights mapped from files, a pool of
 * workers, a clock. Include posix.h, compile posix.c, link with -pthread. */
#ifndef BLUELM_POSIX_H
#define BLUELM_POSIX_H

#include "../../bluelm.h"

/* Maps a file for reading. Returns 0, or -1 with errno. An empty file maps to "". */
int bluelm_posix_map(const char *path, const void **data, size_t *bytes);
void bluelm_posix_unmap(const void *data, size_t bytes);

typedef struct bluelm_posix_pool bluelm_posix_pool;

/* Starts workers - 1 threads beside the caller's. Returns NULL with errno on failure. */
bluelm_posix_pool *bluelm_posix_pool_start(uint32_t workers);
void bluelm_posix_pool_stop(bluelm_posix_pool *pool);

/* A port over the pool (NULL: one thread) and the monotonic clock. */
bluelm_port bluelm_posix_port(bluelm_posix_pool *pool);

#endif
