/* bench_score.c - what `gram score` and `gram rank` do, timed and weighed: one line of JSON.
 *
 *     bench_score MODEL ROWS.jsonl f32|bf16|int8 [THREADS [MAX_TOKENS]]     score the rows, throw the verdicts away
 *     bench_score MODEL GROUPS.jsonl rank [THREADS]                        rank each group by all pairs, int8
 *     bench_score MODEL info                                               the sizes that a limit is reckoned from
 *
 * MAX_TOKENS cuts every order to that length (balanced). seconds is the whole call, opening apart; tokens counts
 * each order whole, computed what was left to compute after sharing; rss is the process's peak. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "gram/gram.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int die(const char *text)
{
    fprintf(stderr, "bench_score: %s\n", text);
    return 1;
}

static int info(const char *model)
{
    gram_options o = { 0 };
    gram_info i;
    gram_err err;

    if (gram_inspect(model, &o, &i, &err))
        return die(err.text);
    printf("{\"layers\": %zu, \"width\": %zu, \"q\": %zu, \"kv\": %zu, \"hidden\": %zu, \"vocabulary\": %zu, "
           "\"weight_bytes\": %llu, \"cpu\": \"%s\"}\n", i.layers, i.width, i.heads * i.head_dim,
           i.kv_heads * i.head_dim, i.hidden, i.vocabulary, (unsigned long long)i.weight_bytes, i.cpu);
    return 0;
}

static void print(const char *path, const gram_options *o, const gram_file_report *r, double opened, double seconds)
{
    struct rusage u;
    gram_info i = { 0 };

    gram_inspect(path, o, &i, NULL);
    getrusage(RUSAGE_SELF, &u);
    printf("{\"rows\": %llu, \"seconds\": %.4f, \"forward_seconds\": %.4f, \"open_seconds\": %.4f, "
           "\"sequences\": %llu, \"tokens\": %llu, \"computed\": %llu, \"rss\": %ld, \"weight_bytes\": %llu}\n",
           (unsigned long long)r->rows, seconds, r->usage.seconds, opened, (unsigned long long)r->usage.sequences,
           (unsigned long long)r->usage.tokens, (unsigned long long)r->usage.tokens_computed, u.ru_maxrss * 1024L,
           (unsigned long long)i.weight_bytes);
}

int main(int argc, char **argv)
{
    gram_options o = { .truncate = GRAM_TRUNCATE_BALANCED };
    const char *what = argc > 3 ? argv[3] : "";
    const char *tmp = getenv("TMPDIR");
    char out[512];
    gram_file_report r = { 0 };
    gram_model *m;
    gram_err err;
    gram_status rc;
    double t0 = now(), t1;

    if (argc == 3 && !strcmp(argv[2], "info"))
        return info(argv[1]);
    if (argc < 4)
        return die("MODEL ROWS.jsonl f32|bf16|int8|rank [THREADS [MAX_TOKENS]]");
    o.dtype = !strcmp(what, "int8") || !strcmp(what, "rank") ? GRAM_INT8 : !strcmp(what, "bf16") ? GRAM_BF16 : GRAM_F32;
    o.threads = argc > 4 ? atoi(argv[4]) : 0;
    o.max_tokens = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
    snprintf(out, sizeof out, "%s/bench_score.%ld.jsonl", tmp ? tmp : "/tmp", (long)getpid());
    if (gram_open(&m, argv[1], &o, &err))
        return die(err.text);
    t1 = now();
    if (!strcmp(what, "rank"))
        rc = gram_rank_file(m, argv[2], out, GRAM_RANK_ALL_PAIRS, NULL, &r, &err);
    else
        rc = gram_score_file(m, argv[2], out, NULL, &r, &err);
    remove(out);
    if (rc)
        return die(err.text);
    print(argv[1], &o, &r, t1 - t0, now() - t1);
    gram_close(m);
    return 0;
}
