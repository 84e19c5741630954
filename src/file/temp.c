/* temp.c - see temp.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "file/io.h"
#include "file/temp.h"

static const char *directory(void)
{
    const char *dir = getenv("TMPDIR");

    return dir && *dir ? dir : "/tmp";
}

gram_status gr_temp_open(int *fd, gram_err *err)
{
    gr_buf name = { 0 };
    gram_status rc = gr_buf_printf(&name, "%s/gram-XXXXXX", directory()) ? GRAM_OK : gr_nomem(err, directory());

    *fd = rc ? -1 : mkstemp(name.p);
    if (!rc && *fd < 0)
        rc = gr_fail(err, GRAM_EIO, "%s: no file for what goes through a pipe: %s", directory(), strerror(errno));
    if (!rc)
        unlink(name.p);
    gr_buf_clear(&name);
    return rc;
}

static gram_status put(int fd, const char *p, size_t n, gram_err *err)
{
    return gr_write_all(fd, p, n) ? GRAM_OK :
           gr_fail(err, GRAM_EIO, "%s: not written: %s (what goes through a pipe as a table lies there; TMPDIR names "
                   "another place)", directory(), strerror(errno));
}

gram_status gr_temp_fill(int to, const void *p, size_t n, int from, const char *name, gram_err *err)
{
    char block[1 << 14];
    gram_status rc = put(to, p, n, err);

    while (!rc) {
        ssize_t k = read(from, block, sizeof block);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            rc = gr_fail(err, GRAM_EIO, "%s: %s", name, strerror(errno));
        else if (k == 0)
            break;
        else
            rc = put(to, block, (size_t)k, err);
    }
    return rc;
}

void gr_temp_name(char name[40], int fd)
{
    snprintf(name, 40, "/proc/self/fd/%d", fd);
}
