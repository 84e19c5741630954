/* map.c - see io.h. A file that another program cuts short while it is mapped raises SIGBUS, as in every program
 * that maps; our own files are never cut, they are replaced by rename. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/err.h"
#include "file/io.h"

/* A regular file open for reading. O_NONBLOCK: a FIFO is refused, not waited for. */
static gram_status open_regular(int *fd, size_t *size, const char *path, gram_err *err)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno));
    if (fstat(*fd, &st))
        gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        gr_fail(err, GRAM_EIO, "%s: a file is needed, this is %s", path,
                S_ISDIR(st.st_mode) ? "a directory" : "a device or a pipe");
    else if ((uint64_t)st.st_size > SIZE_MAX - 1)
        gr_fail(err, GRAM_EIO, "%s: too large for this machine's addresses", path);
    else {
        *size = (size_t)st.st_size;
        return GRAM_OK;
    }
    close(*fd);
    *fd = -1;
    return GRAM_EIO;
}

/* What a repository that was cloned without git-lfs has in a large file's place. */
static gram_status check_pointer(const char *path, const void *data, size_t n, gram_err *err)
{
    static const char begin[] = "version https://git-lfs.github.com/spec/";

    if (n < sizeof begin || n > 1024 || memcmp(data, begin, sizeof begin - 1))
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "%s: a Git LFS pointer stands in the file's place: `git lfs pull` fetches the "
                   "file itself", path);
}

gram_status gr_map_open(gr_map *m, const char *path, gram_err *err)
{
    gram_status rc;
    void *p;
    int fd;

    *m = (gr_map){ 0 };
    rc = open_regular(&fd, &m->size, path, err);
    if (rc)
        return rc;
    if (m->size > 0) {
        p = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            rc = gr_fail(err, errno == ENOMEM ? GRAM_ENOMEM : GRAM_EIO, "%s: not mapped: %s", path, strerror(errno));
            m->size = 0;
        } else {
            m->data = p;
        }
    }
    close(fd);
    if (!rc && m->data)
        rc = check_pointer(path, m->data, m->size, err);
    if (rc)
        gr_map_close(m);
    return rc;
}

gram_status gr_file_digest(const char *path, uint64_t *h, gram_err *err)
{
    gr_map m;
    gram_status rc = gr_map_open(&m, path, err);

    if (rc)
        return rc;
    *h = gr_digest(*h, &m.size, sizeof m.size);
    if (m.size) {
        *h = gr_digest_words(*h, m.data, m.size / 4);
        *h = gr_digest(*h, m.data + m.size / 4 * 4, m.size % 4);
    }
    gr_map_close(&m);
    return GRAM_OK;
}

void gr_map_release(const gr_map *m)
{
    if (m->data)
        (void)madvise((void *)(uintptr_t)m->data, m->size, MADV_DONTNEED);
}

void gr_map_close(gr_map *m)
{
    union { const unsigned char *from; void *to; } p = { m->data };    /* munmap() takes no const */

    if (m->data)
        munmap(p.to, m->size);
    *m = (gr_map){ 0 };
}

gram_status gr_read_file(const char *path, size_t limit, char **out, size_t *n, gram_err *err)
{
    gram_status rc;
    size_t size, got = 0;
    char *p = NULL;
    int fd;

    *out = NULL;
    *n = 0;
    rc = open_regular(&fd, &size, path, err);
    if (rc)
        return rc;
    if (size > limit) {
        rc = gr_fail(err, GRAM_EFORMAT, "%s: at most %zu bytes wanted, found %zu", path, limit, size);
        goto out;
    }
    p = malloc(size + 1);
    if (!p) {
        rc = gr_nomem(err, path);
        goto out;
    }
    while (got < size) {
        ssize_t k = read(fd, p + got, size - got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            rc = gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno));
            goto out;
        }
        if (k == 0)                         /* it shrank since fstat() */
            break;
        got += (size_t)k;
    }
    p[got] = '\0';
    rc = check_pointer(path, p, got, err);
    if (rc)
        goto out;
    *out = p;
    *n = got;
    p = NULL;
out:
    free(p);
    close(fd);
    return rc;
}

bool gr_write_all(int fd, const void *p, size_t n)
{
    const char *at = p;

    while (n > 0) {
        ssize_t k = write(fd, at, n);
        if (k < 0 && errno != EINTR)
            return false;
        at += k > 0 ? k : 0;
        n -= k > 0 ? (size_t)k : 0;
    }
    return true;
}

bool gr_path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool gr_path_named(const char *path)
{
    struct stat st;

    return !lstat(path, &st) || (errno != ENOENT && errno != ENOTDIR);
}

bool gr_path_same(const char *a, const char *b)
{
    struct stat x, y;

    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool gr_path_regular(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Standard input may be a file, too, but is not read by this name. */
gram_status gr_path_spares(const char *out, const char *in, gram_err *err)
{
    if (!gr_name_is_standard(in) && gr_path_regular(in) && gr_path_same(in, out))
        return gr_fail(err, GRAM_EARG, "%s is what is read, and would be written over", out);
    return GRAM_OK;
}

gram_status gr_make_directory(const char *path, gram_err *err)
{
    struct stat st;
    int code;

    if (!*path)
        return gr_fail(err, GRAM_EARG, "the name of a directory is empty");
    if (mkdir(path, 0777) == 0)
        return GRAM_OK;
    code = errno;
    if (code == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return GRAM_OK;
    if (code == EEXIST)
        return gr_fail(err, GRAM_EIO, "%s: a directory is needed, this is a file", path);
    return gr_fail(err, GRAM_EIO, "%s: not created: %s", path, strerror(code));
}

gram_status gr_make_directories(const char *dir, gram_err *err)
{
    char *path = gr_strdup(dir);
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    for (char *p = path; p && *p && !rc; ) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char was = *p;
        *p = '\0';
        if (*path)
            rc = gr_make_directory(path, err);
        *p = was;
    }
    free(path);
    return rc;
}

char *gr_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    gr_buf b = { 0 };

    if (gr_buf_printf(&b, n > 0 && dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name))
        return b.p;
    gr_buf_clear(&b);
    return NULL;
}

gram_status gr_next_name(DIR *d, const char *dir, const char **name, gram_err *err)
{
    const struct dirent *e;

    errno = 0;
    e = readdir(d);
    *name = e ? e->d_name : NULL;
    return e || errno == 0 ? GRAM_OK : gr_fail(err, GRAM_EIO, "%s: %s", dir, strerror(errno));
}
