/* checkpoints.c - see checkpoints.h. */
#include <dirent.h>
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

/* The newest checkpoint whose step is below `before`; false: there is none. */
static bool newest(const gr_checkpoints *c, uint64_t before, uint64_t *step)
{
    DIR *d = opendir(c->dir);
    const struct dirent *e;
    bool found = false, left;
    uint64_t s;

    while (d && (e = readdir(d)))
        if (step_of(e->d_name, &s, &left) && !left && s < before && (!found || s > *step)) {
            *step = s;
            found = true;
        }
    if (d)
        closedir(d);
    return found;
}

bool gr_checkpoints_any(const gr_checkpoints *c)
{
    uint64_t step;

    return newest(c, UINT64_MAX, &step);
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
    gram_status rc = path ? GRAM_OK : gr_nomem(err, c->dir);

    if (!rc)
        rc = gr_make_directory(c->dir, err);
    if (!rc)
        rc = gr_state_save(path, s, settings, share, err);
    free(path);
    if (rc)
        return rc;
    for (size_t i = 1; i < c->keep && newest(c, oldest, &before); i++)
        oldest = before;
    remove_outside(c, oldest, s->step);     /* a later one could not be read, or this run would have begun behind it */
    return GRAM_OK;
}

gram_status gr_checkpoints_load(const gr_checkpoints *c, gr_state *s, const char *settings,
                                const gr_share *share, gram_warn_fn *warn, void *arg, gram_err *err)
{
    uint64_t before = UINT64_MAX, step;
    gram_err why = { 0 };
    gram_status rc = GRAM_EFORMAT;

    while (rc == GRAM_EFORMAT && newest(c, before, &step)) {
        char *path = path_of(c, step);
        rc = path ? gr_state_load(path, s, settings, share, &why) : gr_nomem(&why, c->dir);
        free(path);
        before = step;
        if (rc == GRAM_EFORMAT && warn && newest(c, before, &step)) {
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
    int f = -1;

    if (keep_newest && newest(c, UINT64_MAX, &last))
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
