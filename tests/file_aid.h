/* Files that the tests read. */
#ifndef FILE_AID_H
#define FILE_AID_H

#include "tiny_model.h"

/* A file's bytes from malloc; where it is not there, data is NULL (file_find), or the test
 * aborts (file_load). */
tiny_file file_find(const char *path);
tiny_file file_load(const char *path);

/* A reference that others made: of tests/data/OURS, or else of reference/THEIRS in the folder
 * that BLUELM_SHARED names (../shared without it), where all of them lie. */
tiny_file file_reference(const char *ours, const char *theirs, const char *name);

#endif
