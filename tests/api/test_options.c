/* test_options.c - the table of training options: each of them moves a number, or is refused; what some of them mean to
 * the last digit; and what is out of their range. */
#include <dirent.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "check.h"
#include "file/io.h"
#include "file/weights.h"
#include "gram/recipe.h"
#include "train/metrics_file.h"
#include "train/options.h"

/* ---- Each moves a number --------------------------------------------------------------------------- */

static char *labelled, *model_b, *pairs, *groups, *bad, *against, *judge, *other, *reasons, *none;
static int runs;

/* What a run leaves to look at, a digest each. */
typedef struct {
    gram_status rc;
    uint64_t weights, metrics, counts, files, notes;
    gram_train_report report;
} outcome;

struct watch { uint64_t notes, stop_at; };

static int on_step(void *arg, const gram_train_step *s)
{
    return s->step == ((struct watch *)arg)->stop_at;
}

static void on_note(void *arg, const char *text)
{
    struct watch *w = arg;

    if (!strstr(text, "disk:"))             /* how much is free changes by itself */
        w->notes = gr_digest(w->notes, text, strlen(text));
}

static uint64_t digest_file(const char *dir, const char *name, uint64_t h)
{
    char *path = gr_path_join(dir, name), *text;
    size_t n;

    if (gr_path_exists(path)) {
        CHECK_OK(gr_read_file(path, 1 << 24, &text, &n, &check_err));
        h = gr_digest(h, text, n);
        free(text);
    }
    free(path);
    return h;
}

/* All numbers of metrics.jsonl but times and speeds. */
static uint64_t digest_metrics(const char *dir)
{
    gr_metric *m;
    size_t n;
    uint64_t h = GR_DIGEST;

    CHECK_OK(gr_metrics_read(dir, &m, &n, &check_err));
    for (size_t i = 0; i < n; i++) {
        const double x[] = { (double)m[i].step, m[i].held, (double)m[i].set, m[i].loss, m[i].lr, m[i].grad_norm };
        h = gr_digest(h, x, sizeof x);
    }
    free(m);
    return h;
}

/* The names in a directory, in whatever order. */
static uint64_t digest_names(const char *dir, const char *sub)
{
    char *path = gr_path_join(dir, sub);
    DIR *d = opendir(path);
    const struct dirent *e;
    uint64_t sum = 0;

    while (d && (e = readdir(d)))
        if (*e->d_name != '.')
            sum += gr_digest(GR_DIGEST, e->d_name, strlen(e->d_name));
    if (d)
        closedir(d);
    free(path);
    return sum;
}

static outcome look(gram_status rc, const gram_train_report *r, const struct watch *w, const char *dir)
{
    const uint64_t count[] = { r->steps, r->rows, r->bad, r->dropped, r->ties, r->early, r->eval_rows, r->finished };
    outcome out = { .rc = rc, .notes = w->notes, .report = *r, .metrics = digest_metrics(dir),
                    .counts = gr_digest(GR_DIGEST, count, sizeof count), .weights = GR_DIGEST };

    out.weights = digest_file(dir, "adapter_model.safetensors", digest_file(dir, "model.safetensors", out.weights));
    out.files = digest_names(dir, ".") + 3 * digest_names(dir, "checkpoints") + 5 * digest_names(dir, "best");
    return out;
}

/* A run of the tiny model with these settings over a few of our own; in `dir`, or a new one. */
static outcome run(const char *const *set, size_t n, uint64_t stop_at, const char *dir)
{
    const char *all[40] = { "model=tests/golden/train/judge", "lr=3e-3", "batch-rows=3", "steps=4", "threads=1" };
    char name[40], out[600], data[600], prompt[600];
    struct watch w = { GR_DIGEST, stop_at };
    gram_train_report report = { 0 };
    gram_recipe *r;
    gram_status rc;
    size_t k = 5;

    snprintf(name, sizeof name, "run%d", runs++);
    snprintf(out, sizeof out, "out=%s/%s", check_tmpdir(), dir ? dir : name);
    snprintf(data, sizeof data, "data=%s", pairs);
    snprintf(prompt, sizeof prompt, "judge-prompt=%s", judge);      /* short, to be quick */
    all[k++] = out;
    all[k++] = data;
    all[k++] = prompt;
    for (size_t i = 0; i < n; i++)
        all[k++] = set[i];
    CHECK_OK(gram_recipe_open(&r, none, all, k, &check_err));
    {
        const gram_run *run = gram_recipe_run(r);
        gram_train_options o = run->options;
        o.progress = on_step;
        o.note = on_note;
        o.arg = &w;
        rc = (run->stage == GRAM_STAGE_PRETRAIN ? gram_pretrain : gram_finetune)(run->model, run->data, run->out, &o,
                                                                                 &report, &check_err);
        outcome result = look(rc, &report, &w, run->out);
        gram_recipe_close(r);
        return result;
    }
}

enum { RC, WEIGHTS, METRICS, COUNTS, FILES, NOTES, EITHER };

static bool differs(const outcome *a, const outcome *b, int what)
{
    switch (what) {
    case RC: return a->rc != b->rc;
    case WEIGHTS: return !a->rc && !b->rc && a->weights != b->weights;
    case METRICS: return !a->rc && !b->rc && a->metrics != b->metrics;
    case COUNTS: return a->counts != b->counts;
    case FILES: return a->files != b->files;
    case EITHER: return differs(a, b, RC) || differs(a, b, METRICS);
    default: return a->notes != b->notes;
    }
}

/* The option's value, what stands beside it in both runs, and what must differ between them. */
struct move { const char *name, *value, *with[5]; int what; uint64_t stop_at; };

/* Held-out rows with the labels turned round: the more is learnt, the worse they are judged. PATHS are filled in. */
#define HELD    "eval-file=AGAINST"
#define STAGE1  "stage=pretrain", "data=GROUPS"

static const struct move move[] = {
    { "loss", "bt", { "judge-prompt=~" }, WEIGHTS, 0 },
    { "smoothing", "0.2", { NULL }, METRICS, 0 },
    { "order-weight", "3", { NULL }, METRICS, 0 },
    { "margin-scale", "3", { "judge-prompt=~", "loss=bt-margin" }, METRICS, 0 },
    { "posreg", "0.5", { "judge-prompt=~", "loss=bt-posreg" }, METRICS, 0 },
    { "sft-weight", "0.5", { "judge-prompt=~", "loss=sft-reg" }, METRICS, 0 },
    { "sft-beta", "1", { "judge-prompt=~", "loss=sft-reg" }, METRICS, 0 },
    { "verdict-weight", "3", { "data=REASONS", "loss=rationale" }, METRICS, 0 },
    { "rationale-format", "rm-r1", { "data=REASONS", "loss=rationale" }, METRICS, 0 },
    { "beta", "3", { "judge-prompt=~", "loss=dpo", "lr=3e-3" }, METRICS, 0 },
    { "gamma", "3", { "judge-prompt=~", "loss=simpo", "lr=3e-3" }, METRICS, 0 },
    { "good-weight", "3", { "judge-prompt=~", "loss=kto", "data=LABELLED" }, METRICS, 0 },
    { "bad-weight", "3", { "judge-prompt=~", "loss=kto", "data=LABELLED" }, METRICS, 0 },
    { "reference", "MODEL_B", { "judge-prompt=~", "loss=dpo" }, METRICS, 0 },
    { "head", "mlp", { "judge-prompt=~", "loss=bt" }, WEIGHTS, 0 },
    { "head-width", "8", { "judge-prompt=~", "loss=bt", "head=mlp" }, WEIGHTS, 0 },
    { "freeze", "true", { "judge-prompt=~", "loss=bt" }, WEIGHTS, 0 },
    { "ties", "drop", { NULL }, COUNTS, 0 },
    { "pairs", "2", { STAGE1 }, COUNTS, 0 },
    { "lr", "1e-3", { NULL }, METRICS, 0 },
    { "schedule", "linear", { NULL }, METRICS, 0 },
    { "warmup", "0.9", { NULL }, METRICS, 0 },
    { "weight-decay", "0.5", { NULL }, WEIGHTS, 0 },
    { "clip", "1e-9", { NULL }, WEIGHTS, 0 },
    { "batch-rows", "2", { NULL }, METRICS, 0 },
    { "epochs", "3", { "steps=~" }, COUNTS, 0 },
    { "steps", "3", { NULL }, COUNTS, 0 },
    { "seed", "5", { NULL }, METRICS, 0 },
    { "lora-rank", "2", { NULL }, FILES, 0 },
    { "lora-alpha", "3", { "lora-rank=2" }, WEIGHTS, 0 },
    { "lora-dropout", "0.5", { "lora-rank=2" }, WEIGHTS, 0 },
    { "lora-targets", "q", { "lora-rank=2" }, WEIGHTS, 0 },
    { "recompute", "on", { NULL }, NOTES, 0 },
    { "zero", "2", { "lora-rank=2" }, RC, 0 },          /* refused; sums of several passes may have other bits */
    { "optim-state", "bf16", { NULL }, WEIGHTS, 0 },
    { "compute", "bf16", { NULL }, EITHER, 0 },         /* refused by a CPU that has no such products */
    { "eval-file", "AGAINST", { NULL }, METRICS, 0 },
    { "eval-every", "1", { HELD }, METRICS, 0 },
    { "best", "true", { HELD, "eval-every=1", "steps=12" }, WEIGHTS, 0 },
    { "patience", "1", { HELD, "eval-every=1", "steps=12" }, COUNTS, 0 },
    { "max-minutes", "1e-9", { NULL }, RC, 0 },
    { "save-every", "1", { NULL }, FILES, 3 },
    { "keep", "1", { "save-every=1" }, FILES, 3 },
    { "extend", "true", { NULL }, FILES, 0 },
    { "resume", "true", { NULL }, RC, 0 },              /* in a directory that holds a model */
    { "columns", "prompt=question", { NULL }, RC, 0 },      /* which no row has */
    { "split-by-prompt", "0.4", { NULL }, METRICS, 0 },
    { "cache", "/dev/null/rows", { NULL }, RC, 0 },     /* no directory */
    { "skip-bad", "true", { "data=BAD" }, RC, 0 },
    { "judge-prompt", "OTHER", { NULL }, METRICS, 0 },
    { "labels", "C,D", { NULL }, METRICS, 0 },
    { "chat-args", "[1]", { NULL }, RC, 0 },            /* no object */
    { "template", "gemma", { NULL }, RC, 0 },           /* which the model has no tokens for */
    { "max-tokens", "20", { NULL }, RC, 0 },
    { "truncate", "drop", { "max-tokens=20" }, RC, 0 }, /* every row is too long: another sentence's status */
    { "dtype", "bf16", { NULL }, WEIGHTS, 0 },
    { "base", "/nowhere", { NULL }, RC, 0 },
    { "batch-tokens", "16", { NULL }, NOTES, 0 },
};

/* "eval-file=AGAINST" with the path that the word stands for. */
static char *filled(const char *name, const char *text)
{
    const struct { const char *word, *path; } path[] = { { "AGAINST", against }, { "GROUPS", groups }, { "BAD", bad },
                                                         { "OTHER", other },
                                                         { "REASONS", reasons }, { "LABELLED", labelled },
                                                         { "MODEL_B", model_b } };
    gr_buf b = { 0 };

    assert_true(!name || gr_buf_printf(&b, "%s=", name));
    for (size_t i = 0; i < GR_COUNT(path); i++) {
        const char *at = strstr(text, path[i].word);
        if (at) {
            assert_true(gr_buf_add(&b, text, (size_t)(at - text)) && gr_buf_puts(&b, path[i].path));
            return b.p;
        }
    }
    assert_true(gr_buf_puts(&b, text));
    return b.p;
}

static void check_move(const struct move *m)
{
    char *set[6];
    size_t n = 0;
    outcome before, after;
    const char *dir = strcmp(m->name, "resume") ? NULL : "whole";

    while (n < 5 && m->with[n]) {
        set[n] = filled(NULL, m->with[n]);
        n++;
    }
    set[n] = filled(m->name, m->value);
    if (dir)
        run((const char *const *)set, n, 0, dir);
    before = run((const char *const *)set, n, m->stop_at, dir);
    after = run((const char *const *)set, n + 1, m->stop_at, dir);
    if (!differs(&before, &after, m->what))
        fail_msg("%s=%s: nothing that is looked at moves: status %d and %d: %s", m->name, m->value, (int)before.rc,
                 (int)after.rc, check_err.text);
    for (size_t i = 0; i <= n; i++)
        free(set[i]);
}

/* How many threads there are is seen by no number, by design. */
static void every_option_moves_a_number(void **state)
{
    const gram_option *o;
    size_t n = 0;

    (void)state;
    for (; (o = gram_train_option(n)); n++) {
        bool known = !strcmp(o->name, "threads") || !strcmp(o->name, "device") ||
                     o->stages == 1u << GRAM_STAGE_ALIGN;           /* test_align.c */
        for (size_t i = 0; i < GR_COUNT(move); i++)
            if (!strcmp(move[i].name, o->name)) {
                known = true;
                check_move(&move[i]);
            }
        if (!known)
            fail_msg("%s: no number is looked at for it here", o->name);
    }
    assert_true(n > 40 && n + 4 < 128);      /* recipe.c has room for so many keys */
}

/* ---- What they mean -------------------------------------------------------------------------------- */

/* AdamW's first step moves a weight by lr g / (g + eps): below the clip's norm of 1e-9 no g is larger, so by a tenth
 * of lr at most; with the norm at 1 the largest moves by lr. Rounding of w is below 1e-3 of lr. */
static void clip_is_the_norm_that_is_asked_for(void **state)
{
    const char *const clipped[] = { "steps=1", "warmup=0", "clip=1e-9" }, *const plain[] = { "steps=1", "warmup=0" };
    const double lr = 3e-3;

    (void)state;
    for (int k = 0; k < 2; k++) {
        const char *name = k ? "plain" : "clipped";
        char *dir = check_tmppath(name);
        gr_weights *was, *is;
        double most = 0;
        outcome o = run(k ? plain : clipped, k ? 2 : 3, 0, name);
        assert_int_equal(o.rc, GRAM_OK);
        CHECK_OK(gr_weights_open_dir(&was, "tests/golden/train/judge", &check_err));
        CHECK_OK(gr_weights_open_dir(&is, dir, &check_err));
        for (size_t i = 0; i < gr_weights_count(is); i++) {
            const gr_named *a = gr_weights_at(is, i), *b = gr_weights_find(was, a->name);
            const float *x = a->data, *y = b->data;
            for (size_t j = 0; j < a->bytes / sizeof *x; j++)
                most = fmax(most, fabs((double)x[j] - y[j]));
        }
        if (k ? most < 0.99 * lr : !(most <= lr * (1e-9 / (1e-9 + 1e-8)) + 1e-3 * lr && most > 0))
            fail_msg("%s: the largest change is %g of the rate", name, most / lr);
        gr_weights_close(was), gr_weights_close(is);
        free(dir);
    }
}

/* The loss of one batch against its formula, at rewards that the written model gives: lr is 0. */
static double margin_loss(const char *dir, double scale)
{
    static const struct { const char *a, *b; double margin; bool tie; } row[] = {
        { "zz", "aaa", 0.5, false }, { "zzz", "aa", NAN, false }, { "z", "a", 2, true }
    };
    char *path = check_tmppath(dir);
    const gram_message q = { .role = "user", .content = "q" };
    gram_model *m;
    double sum = 0;

    CHECK_OK(gram_open(&m, path, NULL, &check_err));
    for (size_t i = 0; i < GR_COUNT(row); i++) {
        gram_pair pair = { .prompt = { &q, 1 }, .a = row[i].a, .b = row[i].b };
        gram_verdict v;
        double d, t = row[i].tie ? 0.5 : 1;
        CHECK_OK(gram_score(m, &pair, 1, &v, &check_err));
        d = v.logit_margin - (row[i].tie || isnan(row[i].margin) ? 0 : scale * row[i].margin);
        sum += log1p(exp(-d)) + (1 - t) * d;
    }
    gram_close(m);
    free(path);
    return sum / GR_COUNT(row);
}

/* A margin is scaled; a row without one and a tie have none. Losses are float32 rewards apart. */
static void margins_are_scaled_and_a_tie_has_none(void **state)
{
    char *rows = check_write("margins.jsonl",
        "{\"prompt\":\"q\",\"chosen\":\"zz\",\"rejected\":\"aaa\",\"margin\":0.5}\n"
        "{\"prompt\":\"q\",\"chosen\":\"zzz\",\"rejected\":\"aa\"}\n"
        "{\"prompt\":\"q\",\"chosen\":\"z\",\"rejected\":\"a\",\"tie\":true,\"margin\":2}\n"), data[600];

    (void)state;
    snprintf(data, sizeof data, "data=%s", rows);
    for (int k = 0; k < 2; k++) {
        const char *const set[] = { data, "judge-prompt=~", "loss=bt-margin", "lr=0", "steps=1",
                                    k ? "margin-scale=3" : "margin-scale=1" };
        const char *dir = k ? "margin3" : "margin1";
        outcome o = run(set, GR_COUNT(set), 0, dir);
        double want = o.rc ? NAN : margin_loss(dir, k ? 3 : 1);
        if (!(fabs(o.report.loss - want) < 1e-5))
            fail_msg("%s: loss %.9g, wanted %.9g: %s", set[5], o.report.loss, want, o.rc ? check_err.text : "");
    }
    free(rows);
}

/* 0.1 of 15 steps are two steps of warm-up, not one; of 20 they are two as well. */
static void warm_up_is_rounded_up(void **state)
{
    static const struct { const char *steps; double share[3]; } want[] = {
        { "steps=15", { 0.5, 1, 1 } }, { "steps=20", { 0.5, 1, 1 } }, { "steps=10", { 1, 1, 0.96984631039295421 } },
    };

    (void)state;
    for (size_t k = 0; k < GR_COUNT(want); k++) {
        const char *const set[] = { want[k].steps, "warmup=0.1" };
        char name[20], *dir;
        gr_metric *m;
        size_t n;
        snprintf(name, sizeof name, "warm%zu", k);
        assert_int_equal(run(set, 2, 0, name).rc, GRAM_OK);
        dir = check_tmppath(name);
        CHECK_OK(gr_metrics_read(dir, &m, &n, &check_err));
        for (size_t i = 0; i < 3; i++)
            if (fabs(m[i].lr - 3e-3 * want[k].share[i]) > 1e-9)     /* the file has 9 digits */
                fail_msg("%s: the rate of step %zu is %g", want[k].steps, i + 1, m[i].lr);
        free(m), free(dir);
    }
}

/* ---- What is refused ------------------------------------------------------------------------------- */

/* Each number just outside of its range, and what is no number, by name, with what was wanted and what was found. */
/* What the help calls the default under a loss or an algorithm: "0.05; bt-smooth and cdpo 0.1". */
static void said_default(char out[32], const char *usual, const char *name)
{
    snprintf(out, 32, "%.*s", (int)strcspn(usual, ";"), usual);
    for (const char *p = usual; (p = strchr(p, ';')); ) {
        char part[64], *value, *word, *rest;
        snprintf(part, sizeof part, "%.*s", (int)strcspn(p + 1, ";"), p + 1);
        p++;
        value = strrchr(part, ' ');
        *value = '\0';
        for (word = strtok_r(part, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
            if (!strcmp(word, name))
                snprintf(out, 32, "%s", value + 1);
    }
}

static void check_defaults(gram_stage stage, const gram_train_options *o, const char *name)
{
    const gram_option *k;

    for (size_t i = 0; (k = gram_train_option(i)); i++) {
        const char *usual = k->usual[stage];
        char want[32];
        gr_buf b = { 0 };
        bool kin = !strcmp(k->name, "lr") && stage == GRAM_STAGE_FINETUNE && gram_loss_is_policy(o->loss);
        bool chosen = !strcmp(k->name, "loss") || !strcmp(k->name, "algorithm");
        if (!usual || !*usual || kin || chosen || gr_option_used(k, stage, o, NULL))
            continue;                       /* the rate of dpo's kin stands in the sentence */
        said_default(want, usual, name);
        assert_true(gr_buf_puts(&b, "") && gr_option_print(&b, k, o));
        if (k->choices ? strcmp(b.p, want) != 0 : strtod(b.p, NULL) != strtod(want, NULL))
            fail_msg("%s: --%s is %s, and its help says %s", name, k->name, b.p, want);
        gr_buf_clear(&b);
    }
}

static void defaults_are_what_the_help_says(void **state)
{
    gram_train_options o;

    (void)state;
    for (int a = 0; a <= GRAM_ALGORITHM_PPO; a++) {
        gram_train_options_init(&o, GRAM_STAGE_ALIGN);
        gram_train_options_set_algorithm(&o, (gram_algorithm)a);
        check_defaults(GRAM_STAGE_ALIGN, &o, gram_algorithm_name((gram_algorithm)a));
    }
    for (int l = 0; l <= GRAM_LOSS_KTO; l++) {
        gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
        gram_train_options_set_loss(&o, (gram_loss)l);
        o.loss = (gram_loss)l;
        check_defaults(GRAM_STAGE_FINETUNE, &o, gram_loss_name((gram_loss)l));
    }
    gram_train_options_init(&o, GRAM_STAGE_PRETRAIN);
    check_defaults(GRAM_STAGE_PRETRAIN, &o, "pretrain");
}

static void what_is_out_of_range_is_named(void **state)
{
    static const char *const never[] = { "-1", "nan", "inf", "x", "", " 1", "1 ", "0x10", "1e400" };
    const gram_option *k;

    (void)state;
    for (size_t i = 0; (k = gram_train_option(i)); i++) {
        gram_train_options o;
        char most[40], head[64];
        gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
        if (k->kind > GRAM_OPTION_CHOICE)
            continue;
        snprintf(most, sizeof most, "%.0f", k->most * 2);
        snprintf(head, sizeof head, "%s: wanted ", k->name);
        for (size_t v = 0; v < GR_COUNT(never) + 1; v++) {
            const char *value = v < GR_COUNT(never) ? never[v] : most;
            if ((v == 5 || v == 7) && k->kind == GRAM_OPTION_REAL)
                continue;                   /* strtod reads these, and they mean what they say */
            if (v == GR_COUNT(never) && (k->kind >= GRAM_OPTION_FLAG || k->most >= 1e30))
                continue;
            if (!gram_train_options_set(&o, k->name, value, &check_err))
                fail_msg("%s: \"%s\" was taken", k->name, value);
            if (strncmp(check_err.text, head, strlen(head)) || !strstr(check_err.text, value))
                fail_msg("%s: \"%s\": %s", k->name, value, check_err.text);
        }
    }
}

/* Options that say nothing here are refused where somebody gave them, by default or not; the calls refuse what is not
 * the default. */
static void what_has_no_use_is_refused(void **state)
{
    static const struct { gram_stage stage; gram_loss loss; const char *name, *value, *say; } bad_use[] = {
        { GRAM_STAGE_PRETRAIN, GRAM_LOSS_GRAM, "ties", "drop", "of the stage finetune" },
        { GRAM_STAGE_PRETRAIN, GRAM_LOSS_GRAM, "smoothing", "0.1", "of the stage finetune" },
        { GRAM_STAGE_FINETUNE, GRAM_LOSS_GRAM, "pairs", "2", "of the stage pretrain" },
        { GRAM_STAGE_FINETUNE, GRAM_LOSS_BT, "smoothing", "0.1",
          "of the losses gram, bt-smooth, rationale and cdpo" },
        { GRAM_STAGE_FINETUNE, GRAM_LOSS_GRAM, "head", "mlp", "and the loss is gram" },
        { GRAM_STAGE_FINETUNE, GRAM_LOSS_SFT_REG, "freeze", "true", "and the loss is sft-reg" },
        { GRAM_STAGE_FINETUNE, GRAM_LOSS_BT, "head-width", "7", "`head` mlp" },
        { GRAM_STAGE_FINETUNE, GRAM_LOSS_BT, "lora-alpha", "7", "`lora-rank`" },
        { GRAM_STAGE_FINETUNE, GRAM_LOSS_BT, "lora-targets", "q", "`lora-rank`" },
        { GRAM_STAGE_PRETRAIN, GRAM_LOSS_GRAM, "best", "true", "`eval-file`" },
        { GRAM_STAGE_PRETRAIN, GRAM_LOSS_GRAM, "patience", "3", "`eval-every`" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad_use); i++) {
        gram_train_options o;
        gram_train_options_init(&o, bad_use[i].stage);
        if (bad_use[i].loss)
            gram_train_options_set_loss(&o, bad_use[i].loss);
        assert_int_equal(gram_train_option_used(&o, bad_use[i].stage, bad_use[i].name, &check_err), GRAM_EARG);
        CHECK_OK(gram_train_options_set(&o, bad_use[i].name, bad_use[i].value, &check_err));
        assert_int_equal((bad_use[i].stage == GRAM_STAGE_PRETRAIN ? gram_pretrain : gram_finetune)
                         ("nowhere", pairs, "nowhere-out", &o, NULL, &check_err), GRAM_EARG);
        if (!strstr(check_err.text, bad_use[i].say) || strstr(check_err.text, bad_use[i].name) != check_err.text)
            fail_msg("%s: %s", bad_use[i].name, check_err.text);
    }
}

/* A policy's texts are not cut: said before the model is looked for, and not at the first row that is too long. */
static void a_policy_learns_whole_answers(void **state)
{
    static const gram_loss what[] = { GRAM_LOSS_DPO, GRAM_LOSS_IPO, GRAM_LOSS_SIMPO, GRAM_LOSS_KTO, GRAM_LOSS_BT };
    gram_train_options o;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(what); i++) {
        gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
        gram_train_options_set_loss(&o, what[i]);
        o.model.truncate = GRAM_TRUNCATE_BALANCED;
        assert_true(gram_finetune("nowhere", pairs, "nowhere-out", &o, NULL, &check_err) != GRAM_OK);
        assert_int_equal(strstr(check_err.text, "wanted error or drop, found balanced") != NULL, i < 4);
    }
}

/* The tiny model a few steps on: another one with the same vocabulary. */
static int make_model_b(void)
{
    gram_train_options o;

    gram_train_options_init(&o, GRAM_STAGE_PRETRAIN);
    o.steps = 2;
    o.lr = 1e-2;
    o.model.threads = 1;
    CHECK_OK(gram_pretrain("tests/golden/train/judge", groups, model_b, &o, NULL, &check_err));
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    none = check_write("none.yaml", "# everything is set over it\n{}\n");
    pairs = check_write("pairs.jsonl",
        "{\"prompt\":\"q1\",\"chosen\":\"zzzz\",\"rejected\":\"aa\",\"margin\":1}\n"
        "{\"prompt\":\"q2\",\"chosen\":\"zzz\",\"rejected\":\"aaaa\"}\n"
        "{\"prompt\":\"q3\",\"chosen\":\"zzzzz\",\"rejected\":\"aaa\",\"margin\":2}\n"
        "{\"prompt\":\"q4\",\"chosen\":\"zz\",\"rejected\":\"a\",\"tie\":true}\n"
        "{\"prompt\":\"q5\",\"chosen\":\"zzzz\",\"rejected\":\"aa\"}\n");
    against = check_write("against.jsonl", "{\"prompt\":\"q6\",\"chosen\":\"aa\",\"rejected\":\"zzz\"}\n"
                                          "{\"prompt\":\"q7\",\"chosen\":\"aaaa\",\"rejected\":\"zzzz\"}\n");
    bad = check_write("bad.jsonl", "{\"prompt\":\"q1\",\"chosen\":\"z\",\"rejected\":\"a\"}\n{\"prompt\":3}\n");
    groups = check_write("groups.jsonl",
        "{\"prompt\":\"a\",\"responses\":[\"one two\",\"two\",\"three four\",\"four\"]}\n"
        "{\"prompt\":\"b\",\"responses\":[\"two one\",\"one\",\"four two\",\"x\"]}\n");
    judge = check_write("judge.txt", "Q {input}\nA {response_a}\nB {response_b}\nBetter:");
    reasons = check_write("reasons.jsonl",
        "{\"prompt\":\"q1\",\"chosen\":\"zz\",\"rejected\":\"a\",\"rationale\":\"{first} is long, {second} short.\"}\n"
        "{\"prompt\":\"q2\",\"chosen\":\"z\",\"rejected\":\"aa\",\"rationale\":\"{second} is long, {first} "
        "short.\"}\n");
    other = check_write("other.txt", "{input}\n{response_a}\n{response_b}\n?");
    labelled = check_write("labelled.jsonl", "{\"prompt\":\"q1\",\"completion\":\"zzzz\",\"label\":true}\n"
                                             "{\"prompt\":\"q2\",\"completion\":\"aa\",\"label\":false}\n"
                                             "{\"prompt\":\"q3\",\"completion\":\"aaa\",\"label\":0}\n");
    model_b = check_tmppath("model-b");
    return make_model_b();
}

static int tear_down(void **state)
{
    (void)state;
    free(labelled), free(model_b), free(none), free(pairs), free(against), free(bad), free(groups), free(judge);
    free(other);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_moves_a_number),
        cmocka_unit_test(clip_is_the_norm_that_is_asked_for),
        cmocka_unit_test(margins_are_scaled_and_a_tie_has_none),
        cmocka_unit_test(warm_up_is_rounded_up),
        cmocka_unit_test(defaults_are_what_the_help_says),
        cmocka_unit_test(what_is_out_of_range_is_named),
        cmocka_unit_test(what_has_no_use_is_refused),
        cmocka_unit_test(a_policy_learns_whole_answers),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
