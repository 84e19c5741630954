/* bench_train.c - steps of training, timed and weighed: one line of JSON.
 *
 *     bench_train HF_DIR two|full THREADS STEPS [bf16] [half] < IDS
 *
 * IDS are lines of token ids with a space between them; all of them are one step's batch, computed together. two: the
 * verdict at each sequence's last position, a loss of two labels; full: each token but the first, over the whole
 * vocabulary. A step is forward, backward, the norm of all gradients, clipping to 1 and AdamW, over every weight in
 * float32; bf16: as --compute bf16 multiplies; half: with moments of --optim-state bf16. The best step counts, the
 * first of which is not timed; passes is what forward and backward take of it, zeros, norm and adamw the
 * processor's seconds, of all threads, before and behind them; rss is the process's peak. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include "file/config.h"
#include "op/op.h"
#include "optim/optim.h"
#include "reward/loss.h"
#include "train/grad.h"

enum { LABEL_A = 49, LABEL_B = 50 };        /* any two rows of the head cost the same */

struct bench {
    gr_weights *weights;
    gr_model *model;
    gr_device *device;
    gr_trainee *t;
    gr_adamw adam;
    gr_grad grad;                           /* of the full vocabulary */
    gr_example *row;
    const gr_example **each;
    gr_seq *seq;
    size_t n, tokens, targets, computed;
};

static double clock_of(clockid_t which)
{
    struct timespec t;

    clock_gettime(which, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void)
{
    return clock_of(CLOCK_MONOTONIC);
}

static double processor(void)
{
    return clock_of(CLOCK_PROCESS_CPUTIME_ID);
}

static void need(bool ok, const char *text)
{
    if (ok)
        return;
    fprintf(stderr, "bench_train: %s\n", text);
    exit(1);
}

static void read_rows(struct bench *b)
{
    char *line = NULL;
    size_t cap = 0;

    while (getline(&line, &cap, stdin) > 0) {
        gr_ids ids = { 0 };
        char *at = line, *end;
        for (long id = strtol(at, &end, 10); end != at; id = strtol(at, &end, 10)) {
            int32_t token = (int32_t)id;
            need(gr_ids_add(&ids, &token, 1), "out of memory");
            at = end;
        }
        if (!ids.n)
            continue;
        b->row = realloc(b->row, (b->n + 1) * sizeof *b->row);
        need(b->row != NULL, "out of memory");
        b->row[b->n++] = (gr_example){ .seq = { ids }, .asked = 1, .target = 1, .weight = 1 };
        b->tokens += ids.n;
        b->targets += ids.n - 1;
    }
    free(line);
    need(b->n > 0, "no token ids on standard input");
    b->each = calloc(b->n, sizeof *b->each);
    b->seq = calloc(b->n, sizeof *b->seq);
    need(b->each && b->seq, "out of memory");
    for (size_t i = 0; i < b->n; i++) {
        b->each[i] = &b->row[i];
        b->seq[i] = (gr_seq){ b->row[i].seq[0].p, b->row[i].seq[0].n };
    }
}

static void open_all(struct bench *b, const char *dir, size_t threads, bool rounds, bool half)
{
    gr_config cfg;
    gr_param *p;
    gram_err err;
    size_t n;

    need(!gr_weights_open_dir(&b->weights, dir, &err), err.text);
    need(!gr_config_read(&cfg, dir, &err), err.text);
    need(!gr_device_open(&b->device, NULL, threads, &err), err.text);
    need(!gr_model_open_writable(&b->model, b->device, b->weights, &cfg, &err), err.text);
    need(!rounds || gr_linear_multiplies_bf16(b->device), "this CPU multiplies no bfloat16");
    if (rounds)
        gr_model_train_by(b->model, GR_BY_BF16);
    need(!gr_trainee_open(&b->t, b->model, b->device, &err), err.text);
    p = gr_trainee_params(b->t, &n);
    need(!gr_adamw_init_part(&b->adam, p, n, &(gr_adamw_cut){ .parts = 1, .half = half }, &err), err.text);
    b->grad = (gr_grad){ .t = b->t, .cfg = gr_model_config(b->model), .device = b->device, .write = true };
}

static double dot(const float *a, const float *b, size_t n)
{
    double s = 0;

    for (size_t i = 0; i < n; i++)
        s += (double)a[i] * b[i];
    return s;
}

static double two_labels(struct bench *b)
{
    size_t C = b->grad.cfg->width;
    const float *hidden, *row[] = { gr_trainee_head(b->t, LABEL_A), gr_trainee_head(b->t, LABEL_B) };
    float *dhidden = calloc(b->n * C, sizeof *dhidden);
    double loss = 0, dd;
    gram_err err;
    gr_forest f;

    need(dhidden && !gr_forest_init(&f, b->seq, b->n, 0, NULL, GR_SAVE_SHARED, &err), "the sequences do not fit");
    b->computed = f.rows;
    need(!gr_trainee_forward(b->t, &f, f.leaf_row, b->n, &hidden, &err), err.text);
    for (size_t i = 0; i < b->n; i++) {
        float *da = gr_trainee_head_grad(b->t) + LABEL_A * C, *db = gr_trainee_head_grad(b->t) + LABEL_B * C;
        const float *h = hidden + i * C;
        loss += gr_loss_pair(dot(h, row[0], C) - dot(h, row[1], C), 1, &dd) / (double)b->n;
        dd /= (double)b->n;
        for (size_t c = 0; c < C; c++) {
            dhidden[i * C + c] = (float)dd * (row[0][c] - row[1][c]);
            da[c] += (float)dd * h[c];
            db[c] -= (float)dd * h[c];
        }
    }
    need(!gr_trainee_backward(b->t, dhidden, &err), err.text);
    gr_forest_clear(&f, true);
    free(dhidden);
    return loss;
}

static double vocabulary(struct bench *b)
{
    gr_sum sum = { 0 };
    gram_err err;

    need(!gr_grad_add(&b->grad, b->each, b->n, (double)b->targets, true, &sum, &err), err.text);
    b->computed = sum.computed;
    return sum.loss;
}

/* Seconds of a step, or the least of several. */
struct times { double step, passes, zeros, norm, adamw; };

static struct times step(struct bench *b, bool two, uint64_t i, double *loss)
{
    struct times t;
    double start = now(), cpu = processor(), norm;

    gr_trainee_zero(b->t);
    t.zeros = processor() - cpu;
    gr_trainee_drop(b->t, 0, i);
    t.passes = now();
    *loss = (two ? two_labels : vocabulary)(b);
    t.passes = now() - t.passes;
    cpu = processor();
    norm = gr_grad_norm(&b->adam, b->device);
    t.norm = processor() - cpu;
    cpu = processor();
    gr_adamw_step(&b->adam, 1e-6, norm > 1 ? 1 / norm : 1, b->device);
    t.adamw = processor() - cpu;
    t.step = now() - start;
    return t;
}

static void keep_least(struct times *best, const struct times *t)
{
    *best = (struct times){ fmin(best->step, t->step), fmin(best->passes, t->passes), fmin(best->zeros, t->zeros),
                            fmin(best->norm, t->norm), fmin(best->adamw, t->adamw) };
}

int main(int argc, char **argv)
{
    struct bench b = { 0 };
    struct times best = { 1e30, 1e30, 1e30, 1e30, 1e30 };
    bool two = argc > 2 && !strcmp(argv[2], "two");
    bool half = argc > 5 && !strcmp(argv[argc - 1], "half"), rounds = argc > 5 && !strcmp(argv[5], "bf16");
    double loss = 0;
    struct rusage u;

    need(argc == 5 + half + rounds && (two || !strcmp(argv[2], "full")),
         "HF_DIR two|full THREADS STEPS [bf16] [half] < IDS");
    read_rows(&b);
    open_all(&b, argv[1], (size_t)atoi(argv[3]), rounds, half);
    for (int i = 0; i <= atoi(argv[4]); i++) {
        struct times t = step(&b, two, (uint64_t)i, &loss);
        if (i > 0)
            keep_least(&best, &t);
    }
    getrusage(RUSAGE_SELF, &u);
    printf("{\"sequences\": %zu, \"tokens\": %zu, \"targets\": %zu, \"computed\": %zu, \"seconds\": %.4f, "
           "\"passes\": %.4f, \"zeros\": %.4f, \"norm\": %.4f, \"adamw\": %.4f, \"loss\": %.6f, \"rss\": %ld}\n",
           b.n, b.tokens, b.targets, b.computed, best.step, best.passes, best.zeros, best.norm, best.adamw, loss,
           u.ru_maxrss * 1024L);
    return 0;
}
