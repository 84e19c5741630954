/* temp.h - files for as long as a table comes or goes through a pipe, which cannot be read at any place or written
 * anew. They lie in $TMPDIR, or /tmp, and without a name, so that nothing stays of a run that is killed. */
#ifndef GR_FILE_TEMP_H
#define GR_FILE_TEMP_H

#include "base/mem.h"

/* *fd: a new file without a name, to read and write; the caller closes it. */
gram_status gr_temp_open(int *fd, gram_err *err);
/* All that can be read from `from`, behind n bytes of it that were read already, to the end of `to`. name: of what is
 * read, for errors. */
gram_status gr_temp_fill(int to, const void *p, size_t n, int from, const char *name, gram_err *err);
/* "/proc/self/fd/N", by which a library that wants a name opens a file that has none. */
void gr_temp_name(char name[40], int fd);

#endif
