/* messages.c - messages, progress and Ctrl-C. All of it goes to stderr: stdout is data. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"
#include "gram/dist.h"

static const char *command = "gram";

void cli_set_name(const char *name)
{
    command = name;
}

bool cli_from_recipe;

struct word { const char *p; size_t n; bool found; };

static bool is_option(const struct poptOption *o, void *arg)
{
    struct word *w = arg;

    w->found = o->longName && strlen(o->longName) == w->n && !strncmp(o->longName, w->p, w->n);
    return !w->found;
}

/* Whether a text begins with the name of an option of this command. */
static bool begins_option(const char *text)
{
    const cli_command *c = cli_find(command);
    struct word w = { text, strspn(text, "abcdefghijklmnopqrstuvwxyz-"), false };

    if (c)
        cli_each_option(c->opts, is_option, &w);
    return w.found;
}

const char *cli_dashes(const char *text, char *out, size_t room)
{
    size_t at = 0;

    while (*text && at + 4 < room) {
        const char *end = *text == '`' && begins_option(text + 1) ? strchr(text + 1, '`') : NULL;
        if (!end || cli_from_recipe) {
            out[at++] = *text++;
            continue;
        }
        at += (size_t)snprintf(out + at, room - at, "--%.*s", (int)(end - text - 1), text + 1);
        at = gr_min(at, room - 1);
        text = end + 1;
    }
    out[at] = '\0';
    return out;
}

static void say(const char *fmt, va_list ap)
{
    char text[4096], shown[6144];           /* sentences of the library have 1024 bytes, and a path before them */

    if (strcmp(command, "gram"))
        fprintf(stderr, "gram %s: ", command);
    else
        fputs("gram: ", stderr);
    vsnprintf(text, sizeof text, fmt, ap);
    fprintf(stderr, "%s\n", cli_dashes(text, shown, sizeof shown));
}

bool cli_is_echo(void)
{
    int rank, size;

    return gram_dist_launched(&rank, &size) && rank > 0;
}

int cli_usage(const char *fmt, ...)
{
    va_list ap;

    if (cli_is_echo())
        return CLI_USAGE;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    if (strcmp(command, "gram"))
        fprintf(stderr, "`gram %s --help` says how it is used.\n", command);
    else
        fputs("`gram --help` lists the commands.\n", stderr);
    return CLI_USAGE;
}

int cli_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    return CLI_FAILED;
}

int cli_fail_err(const gram_err *err)
{
    cli_fail("%s", err->text);
    return err->status == GRAM_EARG ? CLI_USAGE : CLI_FAILED;
}

/* ---- Ctrl-C ------------------------------------------------------------------------------------- */

static volatile sig_atomic_t stop;
static bool echo, launched, in_bytes;

/* mpirun begins to end its processes with SIGCONT; one from elsewhere only wakes a process that was stopped.
 * 0 is who is outside of a container, whose first process has no parent that it could know. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
    static const char alone[] = "\nstopping after this batch; once more to quit at once\n", transfer[] = "\nstopping\n";
    static const char one_of[] = "\nstopping after this step, if mpirun gives the time; "
                                 "`gram help finetune` says how it gives more\n";
    ssize_t ignored = 0;

    if (sig == SIGCONT && (info->si_pid == 0 || info->si_pid != getppid()))
        return;
    if (!stop && !echo)
        ignored = launched ? write(STDERR_FILENO, one_of, sizeof one_of - 1)
                : in_bytes ? write(STDERR_FILENO, transfer, sizeof transfer - 1)
                           : write(STDERR_FILENO, alone, sizeof alone - 1);
    stop = 1;
    (void)ignored, (void)context;
}

bool cli_stopping(void)
{
    return stop;
}

/* nohup, and a shell that disowns what it started, have it ignored; then it stays so. */
static bool is_ignored(int sig)
{
    struct sigaction was;

    return sigaction(sig, NULL, &was) == 0 && !(was.sa_flags & SA_SIGINFO) && was.sa_handler == SIG_IGN;
}

/* The first signal asks the run to stop; SA_RESETHAND lets the second kill. A terminal that is closed sends SIGHUP.
 * mpirun passes SIGUSR1 on to its processes and leaves them the time that they need. */
static void catch_signals(bool on)
{
    static const int sig[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCONT };
    struct sigaction sa;
    int rank, size;

    launched = gram_dist_launched(&rank, &size) && !gram_dist_is_local();
    echo = rank > 0;
    for (size_t i = 0; i < (launched ? GR_COUNT(sig) : 3); i++) {
        if (sig[i] == SIGHUP && is_ignored(SIGHUP))
            continue;
        memset(&sa, 0, sizeof sa);
        sigemptyset(&sa.sa_mask);
        sa.sa_handler = SIG_DFL;
        if (on) {
            sa.sa_sigaction = on_signal;
            sa.sa_flags = SA_SIGINFO | SA_RESTART | (sig[i] == SIGCONT ? 0 : (int)SA_RESETHAND);
        }
        sigaction(sig[i], &sa, NULL);
    }
}

/* ---- Progress ----------------------------------------------------------------------------------- */

void cli_clock(char out[24], double seconds)
{
    unsigned long s = (unsigned long)(seconds + 0.5);

    if (s >= 3600)
        snprintf(out, 24, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 24, "%lu:%02lu", s / 60, s % 60);
}

void cli_progress_start(cli_progress *p, gram_model *m, const char *unit)
{
    *p = (cli_progress){ .m = m, .unit = unit, .start = gr_now(), .terminal = !cli_quiet && isatty(STDERR_FILENO) };
    in_bytes = !strcmp(unit, "bytes");
    catch_signals(true);
}

void cli_clear_line(cli_progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

void cli_progress_end(cli_progress *p)
{
    cli_clear_line(p);
    catch_signals(false);
}

int cli_progress_fn(void *arg, uint64_t done, uint64_t total)
{
    cli_progress *p = arg;
    double t = gr_now(), spent = t - p->start, rate = spent > 0 ? (double)done / spent : 0;
    char eta[24];

    if (stop || !p->terminal || t - p->shown < 0.2)
        return stop;
    p->shown = t;
    p->drawn = true;
    fprintf(stderr, "\r%llu", (unsigned long long)done);
    if (total)
        fprintf(stderr, " of %llu", (unsigned long long)total);
    fprintf(stderr, " %s, %.2f/s, %.0f tokens/s", p->unit, rate,
            spent > 0 ? (double)gram_get_usage(p->m).tokens / spent : 0);
    if (total > done && rate > 0) {
        cli_clock(eta, (double)(total - done) / rate);
        fprintf(stderr, ", %s left", eta);
    }
    fputs("\033[K", stderr);
    fflush(stderr);
    return 0;
}

void cli_warn_fn(void *arg, const char *text)
{
    char shown[2048];

    cli_clear_line(arg);
    if (!cli_quiet)
        fprintf(stderr, "warning: %s\n", cli_dashes(text, shown, sizeof shown));
}

static void also(uint64_t n, const char *what)
{
    if (n)
        fprintf(stderr, ", %llu %s", (unsigned long long)n, what);
}

void cli_resumed(const gram_file_report *r)
{
    also(r->resumed, "of them from the run before");
    if (r->resumed && r->resumed == r->rows)
        fputs(": nothing was left to do", stderr);
}

void cli_summary(const cli_progress *p, const gram_file_report *r)
{
    char spent[24];
    int rank, size;

    if (cli_quiet)
        return;
    cli_clock(spent, r->seconds);
    if (gram_dist_launched(&rank, &size))
        fprintf(stderr, "process %d of %d: ", rank, size);
    fprintf(stderr, "%llu %.*s in %s", (unsigned long long)r->rows, (int)strlen(p->unit) - (r->rows == 1), p->unit,
            spent);             /* units are plurals in -s */
    if (r->seconds > 0)
        fprintf(stderr, " (%.2f/s, %.0f tokens/s)", (double)(r->rows - r->resumed) / r->seconds,
                (double)r->usage.tokens / r->seconds);
    if (p->m && strstr(gram_arithmetic(p->m), "bfloat16"))      /* which not every CPU gives */
        fprintf(stderr, ", in %s", gram_arithmetic(p->m));
    cli_resumed(r);
    also(r->truncated, "truncated");
    also(r->dropped, "dropped as too long");
    also(r->bad, r->bad == 1 ? "bad row skipped" : "bad rows skipped");
    fputc('\n', stderr);
}

int cli_file_status(gram_status rc, const gram_err *err, const char *out)
{
    if (rc == GRAM_ESTOPPED && out && !gr_name_is_standard(out))
        return cli_fail("stopped; what is done is in %s.partial, and the same command with --resume goes on", out);
    if (rc == GRAM_ELIMIT)
        return cli_fail("%s (--max-tokens and --truncate set how much, and what becomes of more)", err->text);
    return rc ? cli_fail_err(err) : CLI_DONE;
}

/* ---- Small things ------------------------------------------------------------------------------- */

bool cli_slurp(FILE *f, const char *path, gr_buf *out)
{
    return gr_buf_read(out, f) || (cli_fail("%s: %s", path, strerror(errno)), false);
}

void cli_bytes(char out[32], double bytes)
{
    static const char *const unit[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    size_t i = 0;

    while (bytes >= 1024 && i + 1 < GR_COUNT(unit)) {
        bytes /= 1024;
        i++;
    }
    snprintf(out, 32, i ? "%.1f %s" : "%.0f %s", bytes, unit[i]);
}

int cli_ids(const json_t *array, const char *name, size_t line, gr_ids *out)
{
    const json_t *v;
    size_t i;

    if (!json_is_array(array))
        return cli_fail("%s:%zu: wanted a JSON array of token ids", name, line);
    json_array_foreach(array, i, v) {
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id > INT32_MAX)
            return cli_fail("%s:%zu: element %zu is no token id", name, line, i);
        if (!gr_ids_add(out, &(int32_t){ (int32_t)id }, 1))
            return cli_fail("%s: out of memory", name);
    }
    return CLI_DONE;
}
