/* The port for systems with POSIX threads and mmap: weights mapped from files, a pool of
 * workers, a clock. Include posix.h, compile posix.c, link with -pthread. */
#ifndef BLUELM_POSIX_H
#define BLUELM_POSIX_H

#include "../../bluelm.h"

/* Maps a file for reading. Returns 0, or -1 with errno. An empty file maps to "". Nobody may
 * shorten the file or write to it as long as it is mapped: what is read beyond its new end
 * raises SIGBUS, which ends the program. Replace models by renaming a new file over the old
 * one; where files may change under way, read them (the command: --weights read). */
int bluelm_posix_map(const char *path, const void **data, size_t *bytes);

/* Reads a file once, as a whole, into read-only memory of the process's own, in huge pages
 * where the system has them, and drops the system's copy: one copy either way. Worth its time
 * where files are mapped in small pages, which cost the processor look-ups, or where the system
 * may take a mapped file's pages away between questions. The memory is not shared with other
 * processes, and must be free at once. Errors as bluelm_posix_map; EIO: the file became
 * shorter; ENOTSUP: no anonymous memory. */
int bluelm_posix_read(const char *path, const void **data, size_t *bytes);

/* Gives the system back the pages of a part of a mapped file that is not needed for a while,
 * as the mmproj between two pictures; what is read there again comes from the file again. Whole
 * pages alone are given back. Only for what bluelm_posix_map gave: memory from
 * bluelm_posix_read has no file to come back from, and would be zeros. */
void bluelm_posix_give_back(const void *data, size_t bytes);

/* Gives back what either took. */
void bluelm_posix_unmap(const void *data, size_t bytes);

/* Threads that work for the engine, or for several: one job at a time, and an engine that
 * comes while they work for another does its own meanwhile. */
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

/* Waits for work that was started beside the workers. No other thread may be in a step of an
 * engine that uses the pool. NULL is fine. */
void bluelm_posix_pool_stop(bluelm_posix_pool *pool);

/* A port over the pool (NULL: one thread) and the monotonic clock. */
bluelm_port bluelm_posix_port(bluelm_posix_pool *pool);

#endif
