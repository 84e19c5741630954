/* cmd_watch.c - `gram watch`: a page with the curves of the runs in a folder. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include "cli/cli.h"
#include "serve/serve.h"

static int port = 8090;

static const struct poptOption opts[] = {
    { "port", '\0', POPT_ARG_INT, &port, 0, "Listen on port N of 127.0.0.1 (default: 8090; 0: any that is free).",
     "N" },
    CLI_TABLE_END
};

static int run(const char **arg, size_t n)
{
    gr_dashboard *w;
    gram_err err;
    sigset_t signals;
    int sig;

    if (port < 0 || port > 65535)
        return cli_usage("--port %d: wanted 0 to 65535", port);
    sigemptyset(&signals);                  /* blocked before the first thread starts, so that all inherit it */
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (gr_dashboard_start(&w, n ? arg[0] : ".", (unsigned short)port, &err))
        return cli_fail_err(&err);
    fprintf(stderr, "gram watch: http://127.0.0.1:%u\n", gr_dashboard_port(w));
    sigwait(&signals, &sig);
    gr_dashboard_stop(w);
    return CLI_DONE;
}

const cli_command cli_watch = {
    "watch", "[FOLDER]", "Show training and alignment runs while they run",
    "Serves a page, to this machine alone, over every run in FOLDER (default: the working directory) and up to three "
    "folders below it: the numbers of their metrics.jsonl as curves that grow, several runs in one drawing, and the "
    "last "
    "answers of their samples.jsonl with what they were worth. It changes no file. Ctrl-C ends it.",
    "gram watch runs/\n"
    "ssh -L 8090:127.0.0.1:8090 MACHINE gram watch runs/      # then http://127.0.0.1:8090 here",
    0, 1, opts, run
};
