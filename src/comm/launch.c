/* launch.c - what starts the processes of a run on one machine, in the place of mpirun: see comm.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/err.h"
#include "comm/comm_int.h"

/* What a process gets besides what this one has, and what is no longer said to it. */
static const char *const told[] = { GR_LOCAL_ENV, GR_LOCAL_START, "GRAM_DEVICE" };

struct start {
    size_t n;
    int fd[GR_LOCAL_MOST][GR_LOCAL_MOST];   /* [i][k]: process i's end of its socket to process k */
    char **env[GR_LOCAL_MOST];              /* NULL at the end; the first `own` strings are to be freed */
    size_t own[GR_LOCAL_MOST];
    pid_t pid[GR_LOCAL_MOST];               /* 0: it has ended, or was not started */
};

extern char **environ;

static bool add(struct start *s, size_t i, const char *name, const char *value)
{
    gr_buf b = { 0 };

    if (!gr_buf_printf(&b, "%s=%s", name, value)) {
        gr_buf_clear(&b);
        return false;
    }
    s->env[i][s->own[i]++] = b.p;
    return true;
}

/* The environment of process i. */
static bool make_env(struct start *s, size_t i, const char *start, const char *device)
{
    size_t n = 0, at;
    gr_buf b = { 0 };
    bool ok;

    while (environ[n])
        n++;
    s->env[i] = gr_calloc(n + GR_COUNT(told) + 1, sizeof *s->env[i]);
    ok = s->env[i] && gr_buf_printf(&b, "%zu/%zu", i, s->n);
    for (size_t k = 0; k < s->n && ok; k++)
        ok = k == i || gr_buf_printf(&b, " %d", s->fd[i][k]);
    ok = ok && add(s, i, told[0], b.p) && add(s, i, told[1], start) && (!device || add(s, i, told[2], device));
    gr_buf_clear(&b);
    at = s->own[i];
    for (size_t k = 0; k < n && ok; k++) {
        bool again = false;
        for (size_t t = 0; t < GR_COUNT(told); t++) {
            size_t length = strlen(told[t]);
            again = again || ((t < 2 || device) && !strncmp(environ[k], told[t], length) && environ[k][length] == '=');
        }
        if (!again)
            s->env[i][at++] = environ[k];
    }
    return ok;
}

static gram_status connect_all(struct start *s, gram_err *err)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < i; k++) {
            int pair[2];
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
                return gr_fail(err, GRAM_EIO, "processes: %s", strerror(errno));
            s->fd[i][k] = pair[0];
            s->fd[k][i] = pair[1];
        }
    return GRAM_OK;
}

static void disconnect(struct start *s)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->n; k++)
            if (s->fd[i][k] >= 0)
                close(s->fd[i][k]);
}

/* In the new process, where nothing that takes a lock may be called. It has a group of its own: Ctrl-C is for the one
 * that started it, which passes it on once. */
static void become(const struct start *s, size_t i, const char *program, char *const *argv, const sigset_t *mask,
                   pid_t parent)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    for (size_t k = 0; k < s->n; k++)
        if (k != i)
            fcntl(s->fd[i][k], F_SETFD, 0);
    pthread_sigmask(SIG_SETMASK, mask, NULL);
    execve(program, argv, s->env[i]);
    _exit(127);
}

/* The exit status of what ended first without being well; 0: all were. */
static int wait_for_all(struct start *s, const sigset_t *signals)
{
    const struct timespec tick = { 0, GR_SECOND_NS / 20 };
    size_t left = s->n;
    int status = 0;

    while (left > 0) {
        int sig = sigtimedwait(signals, NULL, &tick), how;
        for (size_t i = 0; i < s->n; i++) {
            if (s->pid[i] && sig > 0 && sig != SIGCHLD)
                kill(s->pid[i], sig);
            if (!s->pid[i] || waitpid(s->pid[i], &how, WNOHANG) != s->pid[i])
                continue;
            s->pid[i] = 0;
            left--;
            if (!status)
                status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
        }
    }
    return status;
}

static gram_status start_all(struct start *s, const char *program, char *const *argv, const sigset_t *mask,
                             gram_err *err)
{
    pid_t parent = getpid();

    for (size_t i = 0; i < s->n; i++) {
        s->pid[i] = fork();
        if (s->pid[i] == 0)
            become(s, i, program, argv, mask, parent);
        if (s->pid[i] > 0)
            continue;
        s->pid[i] = 0;
        gr_fail(err, GRAM_EIO, "process %zu of %zu was not started: %s", i, s->n, strerror(errno));
        for (size_t k = 0; k < i; k++) {
            kill(s->pid[k], SIGKILL);
            waitpid(s->pid[k], NULL, 0);
        }
        return GRAM_EIO;
    }
    return GRAM_OK;
}

static gram_status run(struct start *s, const char *program, char *const *argv, int *status, gram_err *err)
{
    static const int passed_on[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD };
    const struct sigaction usual = { .sa_handler = SIG_DFL };
    struct sigaction was;
    sigset_t signals, mask;
    gram_status rc;

    sigaction(SIGCHLD, &usual, &was);       /* where it is ignored, nobody is told that a process has ended */
    sigemptyset(&signals);
    for (size_t i = 0; i < GR_COUNT(passed_on); i++)
        sigaddset(&signals, passed_on[i]);
    pthread_sigmask(SIG_BLOCK, &signals, &mask);
    rc = start_all(s, program, argv, &mask, err);
    disconnect(s);
    if (!rc)
        *status = wait_for_all(s, &signals);
    sigaction(SIGCHLD, &was, NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return rc;
}

gram_status gr_dist_run(const char *program, char *const *argv, const char *const *device, size_t n, int *status,
                        gram_err *err)
{
    struct start *s = gr_calloc(1, sizeof *s);
    char name[48];
    gram_status rc;

    *status = 1;
    if (!s)
        return gr_nomem(err, "processes");
    if (n < 2 || n > GR_LOCAL_MOST) {
        free(s);
        return gr_fail(err, GRAM_EARG, "processes: wanted 2 to %d of them, found %zu", GR_LOCAL_MOST, n);
    }
    s->n = n;
    memset(s->fd, 0xff, sizeof s->fd);      /* -1 */
    snprintf(name, sizeof name, "%ld-%lld", (long)getpid(), (long long)gr_dist_until(0).tv_sec);
    rc = connect_all(s, err);
    for (size_t i = 0; i < n && !rc; i++)
        if (!make_env(s, i, name, device ? device[i] : NULL))
            rc = gr_nomem(err, "processes");
    if (rc)
        disconnect(s);
    else
        rc = run(s, program, argv, status, err);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < s->own[i]; k++)
            free(s->env[i][k]);
        free(s->env[i]);
    }
    free(s);
    return rc;
}
