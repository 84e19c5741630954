/* paths.c - see paths.h. */
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/err.h"
#include "data/paths.h"
#include "file/io.h"
#include "file/table.h"

typedef struct {
    char **path;
    size_t n, cap;
} list;

void gr_paths_free(char **path, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(path[i]);
    free(path);
}

/* Takes path over; NULL: memory ran out for it. */
static gram_status add(list *l, char *path, gram_err *err)
{
    char **grown = path ? gr_grown(l->path, l->n, &l->cap, 1, sizeof *grown) : NULL;

    if (!grown) {
        free(path);
        return gr_nomem(err, "list of files");
    }
    l->path = grown;
    l->path[l->n++] = path;
    return GRAM_OK;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static gram_status of_directory(list *l, const char *name, gram_err *err)
{
    DIR *d = opendir(name);
    struct dirent *e;
    gram_status rc = GRAM_OK;

    if (!d)
        return gr_fail(err, GRAM_EIO, "%s: %s", name, strerror(errno));
    while (!rc && (e = readdir(d))) {
        size_t stem;
        char *path;
        if (*e->d_name == '.' || *e->d_name == '_' || !gr_rows_name(e->d_name, &stem))
            continue;
        if (!strcmp(e->d_name, "config.json")) {
            rc = gr_fail(err, GRAM_EFORMAT, "%s: wanted rows, found the directory of a model", name);
            break;
        }
        path = gr_path_join(name, e->d_name);
        if (path && !gr_path_regular(path)) {
            free(path);
            continue;
        }
        rc = add(l, path, err);
    }
    closedir(d);
    if (!rc && l->n == 0)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no file of rows (.jsonl, .json, .ndjson, .csv, .tsv, these with .gz or .zst, "
                     "or .parquet)", name);
    return rc;
}

static gram_status of_pattern(list *l, const char *name, gram_err *err)
{
    glob_t g;
    int why = glob(name, GLOB_NOSORT, NULL, &g);
    gram_status rc = GRAM_OK;

    if (why == GLOB_NOMATCH)
        return gr_fail(err, GRAM_EIO, "%s: no file matches", name);
    if (why)
        return why == GLOB_NOSPACE ? gr_nomem(err, name) : gr_fail(err, GRAM_EIO, "%s: %s", name, strerror(errno));
    for (size_t i = 0; i < g.gl_pathc && !rc; i++)
        rc = add(l, gr_strdup(g.gl_pathv[i]), err);
    globfree(&g);
    return rc;
}

gram_status gr_paths_list(const char *name, char ***path, size_t *n, gram_err *err)
{
    list l = { 0 };
    struct stat st;
    bool there = strcmp(name, "-") && !stat(name, &st);
    gram_status rc = there && S_ISDIR(st.st_mode) ? of_directory(&l, name, err)
                   : !there && strpbrk(name, "*?[") ? of_pattern(&l, name, err) : add(&l, gr_strdup(name), err);

    *path = NULL;
    *n = 0;
    if (rc) {
        gr_paths_free(l.path, l.n);
        return rc;
    }
    qsort(l.path, l.n, sizeof *l.path, by_bytes);
    *path = l.path;
    *n = l.n;
    return GRAM_OK;
}
