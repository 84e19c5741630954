/* checkpoints.c - see checkpoints.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "file/io.h"
#include "train/checkpoints.h"

#define NAME "step-%06" PRIu64 ".safetensors"

gram_status gr_checkpoints_init(gr_checkpoints *c, const char *out, size_t keep, gram_err *err)
{
    *c = (gr_checkpoints){ gr_path_join(out, "checkpoints"), NULL, keep };
    c->mark = c->dir ? gr_path_join(c->dir, "ended") : NULL;
    return c->mark ? GRAM_OK : gr_nomem(err, out);
}

void gr_checkpoints_clear(gr_checkpoints *c)
{
    free(c->dir);
    free(c->mark);
    c->dir = c->mark = NULL;
}

static char *path_of(const gr_checkpoints *c, uint64_t step)
{
    char name[48];

    snprintf(name, sizeof name, NAME, step);
    return gr_path_join(c->dir, name);
}

/* The step of a checkpoint's name; false for any other file. A write that was killed leaves a longer
 * name. */
static bool step_of(const char *name, uint64_t *step, bool *left)
{
    int end = 0;

    if (sscanf(name, "step-%" SCNu64 ".safetensors%n", step, &end) != 1 || end == 0)
        return false;
    *left = name[end] == '.' && strstr(name + end, ".tmp");
    return *left || name[end] == '\0';
}

/* The newest checkpoint whose step is below `before`. A directory that cannot be read is an error: only one that is not
 * there holds none. */
static gram_status newest(const gr_checkpoints *c, uint64_t before, bool *found, uint64_t *step, gram_err *err)
{
    DIR *d = opendir(c->dir);
    const char *name;
    uint64_t s;
    bool left;
    gram_status rc;

    *found = false;
    if (!d)
        return errno == ENOENT ? GRAM_OK : gr_fail(err, GRAM_EIO, "%s: %s", c->dir, strerror(errno));
    while (!(rc = gr_next_name(d, c->dir, &name, err)) && name)
        if (step_of(name, &s, &left) && !left && s < before && (!*found || s > *step)) {
            *step = s;
            *found = true;
        }
    closedir(d);
    return rc;
}

gram_status gr_checkpoints_any(const gr_checkpoints *c, bool *any, gram_err *err)
{
    uint64_t step;

    return newest(c, UINT64_MAX, any, &step, err);
}

/* Removes checkpoints before `oldest` and after `last`, and what killed writes left. */
static void remove_outside(const gr_checkpoints *c, uint64_t oldest, uint64_t last)
{
    DIR *d = opendir(c->dir);
    const struct dirent *e;
    uint64_t s;
    bool left;

    while (d && (e = readdir(d)))
        if (step_of(e->d_name, &s, &left) && (left || s < oldest || s > last))
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

gram_status gr_checkpoints_save(const gr_checkpoints *c, const gr_state *s, const char *settings,
                                const gr_share *share, gram_err *err)
{
    char *path = path_of(c, s->step);
    uint64_t oldest = s->step, before;
    bool found = true;
    gram_status rc = path ? GRAM_OK : gr_nomem(err, c->dir);

    if (!rc)
        rc = gr_make_directory(c->dir, err);
    if (!rc)
        rc = gr_state_save(path, s, settings, share, err);
    free(path);
    for (size_t i = 1; !rc && found && i < c->keep; i++) {
        rc = newest(c, oldest, &found, &before, err);
        if (!rc && found)
            oldest = before;
    }
    if (!rc)
        remove_outside(c, oldest, s->step); /* a later one could not be read, or this run would have begun behind it */
    return rc;
}

gram_status gr_checkpoints_load(const gr_checkpoints *c, gr_state *s, const char *settings,
                                const gr_share *share, gram_warn_fn *warn, void *arg, gram_err *err)
{
    uint64_t step, before;
    gram_err why = { 0 };
    bool found;
    gram_status rc = newest(c, UINT64_MAX, &found, &step, err), listed;

    if (rc)
        return rc;
    rc = GRAM_EFORMAT;
    while (rc == GRAM_EFORMAT && found) {
        char *path = path_of(c, step);
        rc = path ? gr_state_load(path, s, settings, share, &why) : gr_nomem(&why, c->dir);
        free(path);
        if (rc != GRAM_EFORMAT)
            break;
        before = step;
        listed = newest(c, before, &found, &step, err);
        if (listed)
            return listed;
        if (found && warn) {
            gram_err text;
            gr_fail(&text, rc, "%s; the checkpoint before it is taken", why.text);
            warn(arg, text.text);
        }
    }
    return rc ? gr_fail(err, rc, "%s", why.text) : GRAM_OK;
}

void gr_checkpoints_end(const gr_checkpoints *c, bool keep_newest)
{
    uint64_t last = UINT64_MAX;
    bool found = false;
    int f = -1;

    if (keep_newest && newest(c, UINT64_MAX, &found, &last, NULL))
        return;                             /* which one is the newest is not known: all stay */
    if (found)
        f = open(c->mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    else
        unlink(c->mark);
    remove_outside(c, last, last);
    if (f >= 0)
        close(f);
    else
        rmdir(c->dir);                      /* somebody's own file in it is no reason to fail */
}

bool gr_checkpoints_ended(const gr_checkpoints *c)
{
    return gr_path_exists(c->mark);
}

void gr_checkpoints_reopen(const gr_checkpoints *c)
{
    unlink(c->mark);
}
