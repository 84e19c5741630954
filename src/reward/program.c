/* program.c - see program.h. Both pipes are served at once, so that neither side waits for the other with a full pipe
 * between them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "reward/program.h"

enum { LINE_MOST = 1 << 20, GRACE = 20 };           /* bytes; ms */

extern char **environ;

struct gr_program {
    pid_t pid;
    int to, from;
    double timeout;
    bool broken;                /* its lines can no longer be told apart */
    char *command;
    gr_buf read;                /* what came and is no whole line yet */
};

/* ---- Start and end -------------------------------------------------------------------------------- */

static int spawn(gr_program *p, int in, int out)
{
    char *const argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, p->command, NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t all, none;
    int e;

    sigfillset(&all);
    sigemptyset(&none);
    e = posix_spawn_file_actions_init(&files);
    if (e)
        return e;
    e = posix_spawnattr_init(&attr);
    if (!e) {                               /* handlers and masks of ours are none of its business */
        if (!(e = posix_spawn_file_actions_adddup2(&files, in, 0)) &&
            !(e = posix_spawn_file_actions_adddup2(&files, out, 1)) &&
            !(e = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                           POSIX_SPAWN_SETSIGMASK)) &&
            !(e = posix_spawnattr_setpgroup(&attr, 0)) && !(e = posix_spawnattr_setsigdefault(&attr, &all)) &&
            !(e = posix_spawnattr_setsigmask(&attr, &none)))
            e = posix_spawn(&p->pid, "/bin/sh", &files, &attr, argv, environ);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&files);
    return e;
}

gram_status gr_program_open(gr_program **out, const char *command, double timeout, gram_err *err)
{
    gr_program *p = gr_calloc(1, sizeof *p);
    int in[2] = { -1, -1 }, back[2] = { -1, -1 }, e = 0;

    *out = NULL;
    if (!p)
        return gr_nomem(err, "a program");
    *p = (gr_program){ .to = -1, .from = -1, .timeout = timeout, .command = gr_strdup(command) };
    if (!p->command) {
        gr_program_close(p);
        return gr_nomem(err, "a program");
    }
    if (pipe2(in, O_CLOEXEC) || pipe2(back, O_CLOEXEC) || fcntl(in[1], F_SETFL, O_NONBLOCK) ||
        fcntl(back[0], F_SETFL, O_NONBLOCK))
        e = errno;
    if (!e)
        e = spawn(p, in[0], back[1]);
    if (in[0] >= 0)
        close(in[0]);
    if (back[1] >= 0)
        close(back[1]);
    p->to = in[1];
    p->from = back[0];
    if (e) {
        gr_program_close(p);
        return gr_fail(err, GRAM_EIO, "exec:%s: %s", command, strerror(e));
    }
    *out = p;
    return GRAM_OK;
}

void gr_program_close(gr_program *p)
{
    if (!p)
        return;
    if (p->to >= 0)
        close(p->to);
    if (p->from >= 0)
        close(p->from);
    if (p->pid > 0) {
        kill(-p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    gr_buf_clear(&p->read);
    free(p->command);
    free(p);
}

/* ---- Lines ---------------------------------------------------------------------------------------- */

/* write() into a pipe without a reader raises SIGPIPE, which would end a process that does not expect it: in this
 * thread it waits, and is taken away. */
static ssize_t write_quietly(int fd, const char *p, size_t n)
{
    sigset_t pipe_set, before, pending;
    ssize_t k;
    int e;

    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
    k = write(fd, p, n);
    e = errno;
    if (k < 0 && e == EPIPE && !sigismember(&pending, SIGPIPE)) {
        const struct timespec now = { 0, 0 };
        while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = e;
    return k;
}

/* It wrote its last line: how it ended. */
static gram_status ended(gr_program *p, size_t i, size_t n, gram_err *err)
{
    int status = 0;
    pid_t pid;

    kill(-p->pid, SIGKILL);                 /* what closed its output and goes on */
    while ((pid = waitpid(p->pid, &status, 0)) < 0 && errno == EINTR)
        ;
    p->pid = 0;
    if (pid > 0 && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        return gr_fail(err, GRAM_EIO, "exec:%s: it was ended by signal %d after %zu of %zu lines", p->command,
                       WTERMSIG(status), i, n);
    if (pid > 0 && WIFEXITED(status))
        return gr_fail(err, GRAM_EIO, "exec:%s: it ended with status %d after %zu of %zu lines", p->command,
                       WEXITSTATUS(status), i, n);
    return gr_fail(err, GRAM_EIO, "exec:%s: it closed its output after %zu of %zu lines", p->command, i, n);
}

struct asking {
    gr_program *p;
    const char *text;
    size_t left;                /* of text, to be written */
    size_t i, n;                /* lines read, and wanted */
    gr_program_line *tell;
    void *arg;
    gram_status told;           /* of the first tell() that failed */
    gram_err *err;
};

static void take_lines(struct asking *a)
{
    gr_buf *b = &a->p->read;
    const char *end;
    size_t at = 0;

    while (a->i < a->n && b->n > at && (end = memchr(b->p + at, '\n', b->n - at))) {
        size_t n = (size_t)(end - (b->p + at));
        if (!a->told)
            a->told = a->tell(a->arg, a->i, (gr_str){ b->p + at, n - (n > 0 && end[-1] == '\r') }, a->err);
        a->i++;
        at += n + 1;
    }
    if (at)
        memmove(b->p, b->p + at, b->n -= at);
}

static gram_status read_some(struct asking *a)
{
    char part[16384];
    ssize_t k = read(a->p->from, part, sizeof part);

    if (k < 0)
        return errno == EINTR || errno == EAGAIN ? GRAM_OK
             : gr_fail(a->err, GRAM_EIO, "exec:%s: %s", a->p->command, strerror(errno));
    if (k == 0)
        return ended(a->p, a->i, a->n, a->err);
    if (!gr_buf_add(&a->p->read, part, (size_t)k))
        return gr_nomem(a->err, "a program's line");
    if (a->p->read.n > LINE_MOST)
        return gr_fail(a->err, GRAM_EIO, "exec:%s: a line of more than %d bytes", a->p->command, LINE_MOST);
    return GRAM_OK;
}

static gram_status write_some(struct asking *a)
{
    ssize_t k = write_quietly(a->p->to, a->text, a->left);

    if (k < 0 && errno == EPIPE)            /* it reads no more: what it still says, or how it ended, comes next */
        a->left = 0;
    else if (k < 0 && errno != EINTR && errno != EAGAIN)
        return gr_fail(a->err, GRAM_EIO, "exec:%s: %s", a->p->command, strerror(errno));
    if (k > 0) {
        a->text += k;
        a->left -= (size_t)k;
    }
    return GRAM_OK;
}

static gram_status serve(struct asking *a)
{
    gr_program *p = a->p;
    double since = gr_now();
    gram_status rc = GRAM_OK;

    while (!rc && !a->told && (a->i < a->n || a->left)) {
        struct pollfd fd[2] = { { p->from, POLLIN, 0 }, { a->left ? p->to : -1, POLLOUT, 0 } };
        size_t before = a->i;
        double wait = p->timeout - (gr_now() - since);
        int k = poll(fd, 2, wait > 1 ? 1000 : wait > 0 ? (int)(wait * 1000) + 1 : 0);
        if (k < 0 && errno != EINTR)
            rc = gr_fail(a->err, GRAM_EIO, "exec:%s: %s", p->command, strerror(errno));
        else if (k == 0 && wait <= 0)
            rc = gr_fail(a->err, GRAM_EIO, "exec:%s: %zu of %zu lines are there, and no other came for %g seconds "
                                           "(does "
                         "it flush each line?)", p->command, a->i, a->n, p->timeout);
        if (!rc && k > 0 && fd[1].revents)
            rc = write_some(a);
        if (!rc && k > 0 && fd[0].revents)
            rc = read_some(a);
        take_lines(a);
        if (a->i > before)
            since = gr_now();
    }
    return rc;
}

/* What it wrote without being asked, a greeting or a line too many, would be taken for an answer, or something was. It
 * may still be on its way for a moment. */
static gram_status check_silent(struct asking *a, int ms)
{
    struct pollfd fd = { a->p->from, POLLIN, 0 };
    gram_status rc = a->p->read.n == 0 && poll(&fd, 1, ms) > 0 && (fd.revents & POLLIN) ? read_some(a) : GRAM_OK;

    if (!rc && a->p->read.n)
        rc = gr_fail(a->err, GRAM_EIO, "exec:%s: wanted a line for each that it is given, and it wrote more: %.*s",
                     a->p->command, (int)gr_min(a->p->read.n, 120), a->p->read.p);
    return rc;
}

gram_status gr_program_ask(gr_program *p, const char *text, size_t bytes, size_t n, gr_program_line *tell, void *arg,
                           gram_err *err)
{
    struct asking a = { p, text, bytes, 0, n, tell, arg, GRAM_OK, err };
    gram_status rc;

    if (p->broken)
        return gr_fail(err, GRAM_EIO, "exec:%s: it failed before, and was given up", p->command);
    rc = check_silent(&a, 0);
    if (!rc)
        rc = serve(&a);
    if (!rc && !a.told)
        rc = check_silent(&a, GRACE);
    p->broken = rc || a.told;
    return rc ? rc : a.told;
}
