/* paths.h - the files that an input names: one, all of a directory, or those that a pattern matches. */
#ifndef GR_DATA_PATHS_H
#define GR_DATA_PATHS_H

#include "base/mem.h"

/* name: "-", a file, a directory, whose files of rows are meant by their endings (gr_rows_name(), not those of its own
 * directories, none that begins with '.' or '_'), or a pattern of glob(7), where no file is called so. In the order of
 * their bytes. A directory with a config.json holds a model and is refused. *path: n malloc'ed paths in a malloc'ed
 * list, for gr_paths_free(). */
gram_status gr_paths_list(const char *name, char ***path, size_t *n, gram_err *err);
/* Those of a directory alone that takes() wants of all its names; rows: it is a file of rows by its ending, and not
 * hidden. GRAM_EFORMAT: it wants none; GRAM_EIO: one is a link that leads to no file. */
typedef bool gr_paths_fn(void *arg, const char *name, bool rows);
gram_status gr_paths_in(const char *dir, gr_paths_fn *takes, void *arg, char ***path, size_t *n, gram_err *err);
void gr_paths_free(char **path, size_t n);

#endif
