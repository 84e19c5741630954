/* bench_score.c - what `gram score` and `gram rank` do, timed and weighed: one line of JSON.
 *
 *     bench_score MODEL ROWS.jsonl DTYPE [THREADS [MAX_TOKENS]]            score the rows, throw the verdicts away
 *     bench_score MODEL GROUPS.jsonl rank [THREADS]                        rank each group by all pairs, int8
 *     bench_score MODEL open DTYPE [THREADS]                               open it, beside reading its weights' files
 *     bench_score MODEL info                                               the sizes that a limit is reckoned from
 *
 * DTYPE is f32, bf16, int8 or int8-fast. MAX_TOKENS cuts every order to that length (balanced). seconds is the
 * whole call, opening apart; tokens counts each order whole, computed what was left to compute after sharing; rss is
 * the process's peak. `open` reads every byte of the files into 128 KiB again and again, opens the model, and closes
 * it, in turn: the best of ROUNDS of each. The files are in the page cache then, so that no disk is measured. */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "gram/gram.h"

enum { ROUNDS = 5 };

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

static bool dtype_of(gram_dtype *out, const char *name)
{
    static const struct { const char *name; gram_dtype dtype; } known[] = {
        { "f32", GRAM_F32 }, { "bf16", GRAM_BF16 }, { "int8", GRAM_INT8 }, { "int8-fast", GRAM_INT8_FAST },
        { "rank", GRAM_INT8 },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) {
            *out = known[i].dtype;
            return true;
        }
    return false;
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

/* Seconds to read a file, or all *.safetensors of a directory; -1: that failed. */
static double read_file(const char *path)
{
    static char room[128 << 10];
    double from = now();
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0)
        n = read(fd, room, sizeof room);
    if (fd >= 0)
        close(fd);
    return n ? -1 : now() - from;
}

static double read_weights(const char *path)
{
    DIR *dir = opendir(path);
    double all = 0;

    if (!dir)
        return read_file(path);
    for (struct dirent *e; all >= 0 && (e = readdir(dir)); ) {
        const char *end = strrchr(e->d_name, '.');
        char file[4096];
        double s;
        if (!end || strcmp(end, ".safetensors"))
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        s = read_file(file);
        all = s < 0 ? -1 : all + s;
    }
    closedir(dir);
    return all > 0 ? all : -1;
}

static int open_in_turn(const char *path, const gram_options *o)
{
    double read_s = 1e9, open_s = 1e9;
    gram_model *m;
    gram_err err;

    for (int i = 0; i < ROUNDS; i++) {
        double r = read_weights(path), t = now(), opened;
        if (r < 0)
            return die("the weights could not be read");
        if (gram_open(&m, path, o, &err))
            return die(err.text);
        opened = now() - t;
        gram_close(m);
        read_s = r < read_s ? r : read_s;
        open_s = opened < open_s ? opened : open_s;
    }
    printf("{\"read_seconds\": %.4f, \"open_seconds\": %.4f, \"open_over_read\": %.3f}\n", read_s, open_s,
           open_s / read_s);
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
    bool opening = argc > 3 && !strcmp(argv[2], "open");
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
        return die("MODEL ROWS.jsonl|open f32|bf16|int8|int8-fast|rank [THREADS [MAX_TOKENS]]");
    if (!dtype_of(&o.dtype, what))
        return die("wanted f32, bf16, int8, int8-fast or rank");
    o.threads = argc > 4 ? atoi(argv[4]) : 0;
    o.max_tokens = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
    if (opening)
        return open_in_turn(argv[1], &o);
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
