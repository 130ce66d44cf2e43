/* The port for systems with POSIX threads and mmap: weights mapped from files, a pool of
 * workers, a clock. Include posix.h, compile posix.c, link with -pthread. */
#ifndef BLUELM_POSIX_H
#define BLUELM_POSIX_H

#include "../../bluelm.h"

/* Maps a file for reading. Returns 0, or -1 with errno. An empty file maps to "". */
int bluelm_posix_map(const char *path, const void **data, size_t *bytes);

/* Reads a file once, as a whole, into read-only memory of the process's own, in huge pages
 * where the system has them, and drops the system's copy: one copy either way. Worth its time
 * where files are mapped in small pages, which cost the processor look-ups, or where the system
 * may take a mapped file's pages away between questions. The memory is not shared with other
 * processes, and must be free at once. Errors as bluelm_posix_map; EIO: the file became
 * shorter; ENOTSUP: no anonymous memory. */
int bluelm_posix_read(const char *path, const void **data, size_t *bytes);

/* Gives back what either took. */
void bluelm_posix_unmap(const void *data, size_t bytes);

typedef struct bluelm_posix_pool bluelm_posix_pool;

/* Starts workers - 1 threads beside the caller's, or fewer: no more than there are processors
 * for. Parts of a job wait for no thread, so a job may have more parts than that. Returns NULL
 * with errno on failure. */
bluelm_posix_pool *bluelm_posix_pool_start(uint32_t workers);

/* The same with a processor for each thread, the caller's first, which gets its old ones back
 * when the pool is stopped: start and stop it in one thread.
 *   cpus  as "0-3,6"; NULL: any. EINVAL: not such a list, or of processors that are not
 *         there; ENOTSUP: this system binds no threads (only Linux does). */
bluelm_posix_pool *bluelm_posix_pool_start_on(uint32_t workers, const char *cpus);

/* NULL is fine. */
void bluelm_posix_pool_stop(bluelm_posix_pool *pool);

/* A port over the pool (NULL: one thread) and the monotonic clock. */
bluelm_port bluelm_posix_port(bluelm_posix_pool *pool);

#endif
