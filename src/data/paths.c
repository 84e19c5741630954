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

/* In their order; nothing where rc is a failure. */
static gram_status hand_over(list *l, gram_status rc, char ***path, size_t *n)
{
    if (rc) {
        gr_paths_free(l->path, l->n);
        *l = (list){ 0 };
    } else {
        qsort(l->path, l->n, sizeof *l->path, by_bytes);
    }
    *path = l->path;
    *n = l->n;
    return rc;
}

gram_status gr_paths_in(const char *dir, gr_paths_fn *takes, void *arg, char ***path, size_t *n, gram_err *err)
{
    list l = { 0 };
    DIR *d = opendir(dir);
    const char *name;
    size_t stem;
    gram_status rc = d ? GRAM_OK : gr_fail(err, GRAM_EIO, "%s: %s", dir, strerror(errno));

    while (!rc && !(rc = gr_next_name(d, dir, &name, err)) && name) {
        char *one = gr_path_join(dir, name);
        bool there = one && gr_path_exists(one);            /* a link may lead nowhere, and its rows would be missing */
        bool rows = one && *name != '.' && (!there || gr_path_regular(one)) && gr_rows_name(name, &stem);
        if (one && !takes(arg, name, rows)) {
            free(one);
        } else if (one && !there) {
            rc = gr_fail(err, GRAM_EIO, "%s: it leads to no file", one);
            free(one);
        } else {
            rc = add(&l, one, err);
        }
    }
    if (d)
        closedir(d);
    if (!rc && l.n == 0)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no file of rows (.jsonl, .json, .ndjson, .csv, .tsv, these with .gz or "
                     ".zst, .parquet, .arrow, .arrows, .feather)", dir);
    return hand_over(&l, rc, path, n);
}

static bool takes_visible(void *arg, const char *name, bool rows)
{
    (void)arg;
    return rows && *name != '_';
}

static gram_status of_directory(const char *name, char ***path, size_t *n, gram_err *err)
{
    char *config = gr_path_join(name, "config.json");
    bool model = config && gr_path_exists(config);

    *path = NULL;
    *n = 0;
    if (!config)
        return gr_nomem(err, "list of files");
    free(config);
    if (model)
        return gr_fail(err, GRAM_EFORMAT, "%s: wanted rows, found the directory of a model", name);
    return gr_paths_in(name, takes_visible, NULL, path, n, err);
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
    bool there = !gr_name_is_standard(name) && !stat(name, &st);
    gram_status rc;

    if (there && S_ISDIR(st.st_mode))
        return of_directory(name, path, n, err);
    rc = !there && strpbrk(name, "*?[") ? of_pattern(&l, name, err) : add(&l, gr_strdup(name), err);
    return hand_over(&l, rc, path, n);
}
