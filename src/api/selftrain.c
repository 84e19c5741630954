/* selftrain.c - gram_selftrain(): the stages in their order, each by a call of the library over the files of the ones
 * before. What a stage heeds and reads goes into its record (stage.h) beside the call that does the work. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/selftrain_int.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/numeric.h"
#include "rationale/format.h"

static gram_status add_data(gr_self_run *r, const char *path, gram_err *err)
{
    const char **grown = realloc(r->data, (r->n_data + 2) * sizeof *grown);

    if (!grown)
        return gr_nomem(err, path);
    r->data = grown;
    r->data[r->n_data++] = path;
    r->data[r->n_data] = NULL;
    return GRAM_OK;
}

/* ---- Training ------------------------------------------------------------------------------------- */

/* From a model and data[n]; people's rows have columns of their own. */
typedef struct { const char *model; const char *const *data; gram_train_options o; } training;

static gram_status train(gr_self_run *r, const char *out, const void *arg, gram_err *err)
{
    const training *t = arg;

    (void)r;
    return gram_finetune(t->model, t->data[0], out, &t->o, NULL, err);
}

/* What this run made is known by what it was made of. */
static gram_status reads_model(gr_self_run *r, gr_run_stage *s, const char *what, const char *model, const char *base,
                               gram_err *err)
{
    const gram_selftrain_options *o = r->o;

    return model == o->model || model == o->prover_model || model == o->prover
               ? gr_run_stage_reads_model(s, what, model, base, &r->digests, err)
               : gr_run_stage_reads(s, what, model, &r->digests, err);
}

static gram_status train_stage(gr_self_run *r, const char *name, size_t round, gram_self_trained which,
                               const char *model, const char *const *data, bool human, gram_err *err)
{
    training t = { model, data, r->o->train[which] };
    gr_run_stage s = { .dir = r->o->out, .name = name, .output = gr_self_path(r, "%s", name) };
    gram_status rc;

    t.o.loss = which == GRAM_SELF_PROVER ? GRAM_LOSS_PROOF : GRAM_LOSS_RATIONALE;
    t.o.rationale_format = r->o->train[GRAM_SELF_JUDGE].rationale_format;
    t.o.seed = r->o->seed;
    t.o.skip_bad = r->o->skip_bad;
    t.o.columns = human ? r->o->human_columns : NULL;
    t.o.more_data = data + 1;
    t.o.resume = true;
    t.o.model.base = model == r->o->model || model == r->o->prover_model ? t.o.model.base : NULL;
    rc = gr_self_heed_training(r, &s, &t.o, false, err);
    if (!rc)
        rc = reads_model(r, &s, "the model", model, t.o.model.base, err);
    if (!rc)
        rc = gr_self_reads(r, &s, human ? "human" : "the proofs", data[0], data + 1, err);
    t.o.progress = gr_self_on_step;
    t.o.note = gr_self_on_note;
    t.o.arg = r;
    return gr_self_do(r, &s, rc, round, "steps", train, &t, err);
}

/* A list of the first file and the others, NULL at its end; to be freed. */
static const char **list_of(const char *first, const char *const *more)
{
    size_t n = gr_self_files(first, more);
    const char **list = gr_calloc(n + 1, sizeof *list);

    for (size_t i = 0; list && i < n; i++)
        list[i] = gr_self_file(first, more, i);
    return list;
}

/* On people's reasons: the prover, and the last judge. */
static gram_status train_on_human(gr_self_run *r, const char *name, size_t round, gram_self_trained which,
                                  const char *model, gram_err *err)
{
    const char **data = list_of(r->o->human, r->o->more_human);
    gram_status rc = data ? train_stage(r, name, round, which, model, data, true, err) : gr_nomem(err, name);

    free(data);
    return rc;
}

/* ---- Files by a model ------------------------------------------------------------------------------ */

/* One that is in OUT knows its base. */
static gram_status open_model(gr_self_run *r, const char *path, gram_self_trained like, gram_err *err)
{
    gram_options o = r->o->train[like].model;

    o.dtype = r->o->dtype;
    if (path != r->o->prover)
        o.base = NULL;
    o.note = gr_self_on_note;
    o.note_arg = r;
    return gram_open(&r->m, path, &o, err);
}

static void close_model(gr_self_run *r)
{
    gram_close(r->m);
    r->m = NULL;
}

static gram_file_options file_options(gr_self_run *r, const char *columns, const gram_rationale_options *why)
{
    return (gram_file_options){ .resume = true, .skip_bad = r->o->skip_bad, .progress = gr_self_on_rows,
                                .warn = gr_self_on_warn, .arg = r, .columns = columns, .rationale = why };
}

/* What writes rationales; n of them. */
static gram_rationale_options how(const gr_self_run *r, size_t n)
{
    const gram_selftrain_options *o = r->o;
    gram_rationale_options w;

    gram_rationale_options_init(&w);
    w.format = o->train[GRAM_SELF_JUDGE].rationale_format;
    w.votes = n;
    w.max_tokens = o->rationale_tokens;
    w.temperature = o->temperature;
    w.top_p = o->top_p;
    w.seed = o->seed;
    w.products = o->products;
    w.early = o->early;
    w.sure = o->sure;
    return w;
}

typedef struct { const char *in, *columns; } reading;

static gram_status prove(gr_self_run *r, const char *out, const void *arg, gram_err *err)
{
    const reading *in = arg;
    const gram_file_options f = file_options(r, in->columns, NULL);
    gram_prove_options p;
    gram_status rc = open_model(r, r->prover, GRAM_SELF_PROVER, err);

    gram_prove_options_init(&p);
    p.k = r->o->proofs;
    p.max_tokens = r->o->proof_tokens;
    p.temperature = r->o->proof_temperature;
    p.least = -r->o->proof_loss;
    p.seed = r->o->seed;
    p.products = r->o->products;
    p.format = r->o->train[GRAM_SELF_JUDGE].rationale_format;
    if (!rc)
        rc = gram_prove_file(r->m, in->in, out, &p, &f, NULL, err);
    close_model(r);
    return rc;
}

static gram_status prove_stage(gr_self_run *r, const char *name, size_t round, const char *in, const char *columns,
                               gram_err *err)
{
    const reading what = { in, columns };
    gr_run_stage s = { .dir = r->o->out, .name = name, .output = gr_self_path(r, "%s", name) };
    const char *out = s.output;
    double score = 0;
    gram_selftrain_round *n = &r->report.round[round];
    gram_status rc = gr_self_heed(r, &s, GR_SELF_PROVE, err);

    if (!rc)
        rc = gr_self_heed_training(r, &s, &r->o->train[GRAM_SELF_PROVER], true, err);
    if (!rc)
        rc = reads_model(r, &s, "the prover", r->prover, r->o->train[GRAM_SELF_PROVER].model.base, err);
    if (!rc)
        rc = gr_self_reads(r, &s, "the rows", in, NULL, err);
    rc = gr_self_do(r, &s, rc, round, "rows", prove, &what, err);
    score = n->proved ? n->score * (double)n->proved : 0;
    if (!rc)
        rc = gr_selftrain_count_proofs(out, n, &score, err);
    n->score = n->proved ? score / (double)n->proved : NAN;
    return rc ? rc : add_data(r, out, err);
}

static gram_status vote(gr_self_run *r, const char *out, const void *arg, gram_err *err)
{
    const reading *in = arg;
    const gram_rationale_options w = how(r, r->o->votes);
    const gram_file_options f = file_options(r, NULL, &w);
    gram_status rc = open_model(r, r->judge, GRAM_SELF_JUDGE, err);

    if (!rc)
        rc = gram_score_file(r->m, in->in, out, &f, NULL, err);
    close_model(r);
    return rc;
}

static gram_status judge_reads(gr_self_run *r, gr_run_stage *s, gr_self_kind kind, gram_err *err)
{
    gram_status rc = gr_self_heed(r, s, kind, err);

    if (!rc)
        rc = gr_self_heed_training(r, s, &r->o->train[GRAM_SELF_JUDGE], true, err);
    return rc ? rc : gr_run_stage_reads(s, "the judge", r->judge, &r->digests, err);
}

static gram_status vote_stage(gr_self_run *r, size_t round, const char *pairs, gram_err *err)
{
    const reading what = { pairs, NULL };
    char name[64];
    gr_run_stage s = { .dir = r->o->out, .name = name };
    gram_status rc;

    snprintf(name, sizeof name, "round-%zu/votes.jsonl", round);
    s.output = gr_self_path(r, "%s", name);
    rc = judge_reads(r, &s, GR_SELF_VOTE, err);
    if (!rc)
        rc = gr_run_stage_reads(&s, "the rows", pairs, &r->digests, err);
    return gr_self_do(r, &s, rc, round, "rows", vote, &what, err);
}

/* ---- Held-out pairs -------------------------------------------------------------------------------- */

typedef struct { const char *folder, *numbers; } evaluation;

/* `out` is its rows, which come last and say nothing of the day. */
static gram_status evaluate(gr_self_run *r, const char *out, const void *arg, gram_err *err)
{
    const evaluation *e = arg;
    const gram_rationale_options w = how(r, r->o->eval_votes ? r->o->eval_votes : r->o->votes);
    const gram_eval_options o = { .file = file_options(r, r->o->eval_columns, &w), .json = e->numbers,
                                  .report_dir = e->folder, .rows = out };
    const char **file = list_of(r->o->eval, r->o->more_eval);
    gram_status rc = file ? open_model(r, r->judge, GRAM_SELF_JUDGE, err) : gr_nomem(err, "held-out pairs");

    if (!rc)
        rc = gram_eval(r->m, file, gr_self_files(r->o->eval, r->o->more_eval), &o, NULL, NULL, err);
    close_model(r);
    free(file);
    return rc;
}

/* Nothing where there are no held-out pairs. */
static gram_status eval_stage(gr_self_run *r, const char *of, size_t round, gram_interval *out, uint64_t *rows,
                              gram_err *err)
{
    char name[64];
    const char *all = gr_self_path(r, "eval");
    evaluation e = { gr_self_path(r, "eval/%s", of), gr_self_path(r, "eval/%s/numbers.json", of) };
    gr_run_stage s = { .dir = r->o->out, .name = name, .output = gr_self_path(r, "eval/%s/rows.jsonl", of) };
    gram_status rc;

    snprintf(name, sizeof name, "eval/%s", of);
    *out = (gram_interval){ NAN, NAN, NAN };
    if (!r->o->eval)
        return GRAM_OK;
    rc = all && e.folder && e.numbers ? gr_make_directory(all, err) : gr_nomem(err, name);
    if (!rc)
        rc = gr_make_directory(e.folder, err);
    if (!rc)
        rc = judge_reads(r, &s, GR_SELF_EVAL, err);
    if (!rc && !r->o->eval_votes)
        gr_run_stage_printf(&s, "votes", "%zu", r->o->votes);
    if (!rc)
        rc = gr_self_reads(r, &s, "eval", r->o->eval, r->o->more_eval, err);
    rc = gr_self_do(r, &s, rc, round, "rows", evaluate, &e, err);
    return rc ? rc : gr_selftrain_read_eval(e.numbers, out, rows, err);
}

/* ---- A round --------------------------------------------------------------------------------------- */

static gram_status pairs(gr_self_run *r, const char *out, const void *arg, gram_err *err)
{
    (void)r, (void)out;
    return gr_selftrain_pairs(arg, err);
}

static gram_status labels(gr_self_run *r, const char *out, const void *arg, gram_err *err)
{
    const gr_self_round *round = arg;

    (void)out;
    return gr_selftrain_labels(round, &r->report.round[round->round].labels, err);
}

static gram_status pairs_stage(gr_self_run *r, const gr_self_round *round, const char *out, gram_err *err)
{
    char name[64];
    gr_run_stage s = { .dir = r->o->out, .name = name, .output = out };
    gram_status rc = gr_self_heed(r, &s, GR_SELF_PAIRS, err);

    snprintf(name, sizeof name, "round-%zu/pairs.jsonl", round->round);
    if (!rc)
        rc = gr_self_reads(r, &s, "unlabelled", r->o->unlabelled, r->o->more_unlabelled, err);
    return gr_self_do(r, &s, rc, round->round, "rows", pairs, round, err);
}

static gram_status labels_stage(gr_self_run *r, const gr_self_round *round, const char *out, gram_err *err)
{
    char name[64];
    gr_run_stage s = { .dir = r->o->out, .name = name, .output = out };
    gram_status rc = gr_self_heed(r, &s, GR_SELF_LABEL, err);

    snprintf(name, sizeof name, "round-%zu/labels.jsonl", round->round);
    gr_run_stage_printf(&s, "labels", "%s,%s", r->label[0], r->label[1]);
    for (int i = 0; i < 2 && !rc; i++) {
        const char *in = gr_self_path(r, "round-%zu/%s", round->round, i ? "votes.jsonl" : "pairs.jsonl");
        rc = in ? gr_run_stage_reads(&s, i ? "the votes" : "the pairs", in, &r->digests, err)
                : gr_nomem(err, name);
    }
    rc = gr_self_do(r, &s, rc, round->round, "rows", labels, round, err);
    return rc ? rc : gr_selftrain_read_rules(round->folder, &r->report.round[round->round].labels, err);
}

static gram_status judge_stage(gr_self_run *r, const char *name, size_t round, gram_err *err)
{
    gram_status rc = train_stage(r, name, round, GRAM_SELF_JUDGE, r->o->model, r->data, !r->o->labelled, err);

    r->judge = gr_self_path(r, "%s", name);
    return rc || r->judge ? rc : gr_nomem(err, name);
}

static gram_status do_round(gr_self_run *r, size_t n, gram_err *err)
{
    char name[64], of[64];
    gr_self_round round = { r->o, &r->calls, n, gr_self_path(r, "round-%zu", n), { r->label[0], r->label[1] } };
    gram_selftrain_round *out = &r->report.round[n];
    const char *in = gr_self_path(r, "round-%zu/pairs.jsonl", n), *to = gr_self_path(r, "round-%zu/labels.jsonl", n);
    gram_status rc = round.folder && in && to ? gr_make_directory(round.folder, err) : gr_nomem(err, r->o->out);

    snprintf(of, sizeof of, "round-%zu", n);
    if (!rc)
        rc = pairs_stage(r, &round, in, err);
    if (!rc)
        rc = vote_stage(r, n, in, err);
    if (!rc)
        rc = labels_stage(r, &round, to, err);
    snprintf(name, sizeof name, "round-%zu/proofs.jsonl", n);
    if (!rc)
        rc = prove_stage(r, name, n, to, NULL, err);
    snprintf(name, sizeof name, "round-%zu/judge", n);
    if (!rc)
        rc = judge_stage(r, name, n, err);
    return rc ? rc : eval_stage(r, of, n, &out->accuracy, &out->eval_rows, err);
}

/* ---- All of them ------------------------------------------------------------------------------------ */

static gram_status make_prover(gr_self_run *r, gram_err *err)
{
    const char *start = r->o->prover_model ? r->o->prover_model : r->o->model;
    gram_status rc;

    r->prover = r->o->prover;
    if (r->prover)
        return GRAM_OK;
    rc = train_on_human(r, "00-prover", 0, GRAM_SELF_PROVER, start, err);
    r->prover = gr_self_path(r, "00-prover");
    return rc || r->prover ? rc : gr_nomem(err, r->o->out);
}

/* What the first judge learns from: proofs of the labelled pairs, or people's reasons themselves. */
static gram_status first_data(gr_self_run *r, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < gr_self_files(r->o->labelled, r->o->more_labelled) && !rc; i++) {
        char name[64] = "01-proofs.jsonl";
        if (i)
            snprintf(name, sizeof name, "01-proofs-%zu.jsonl", i + 1);
        rc = prove_stage(r, name, 0, gr_self_file(r->o->labelled, r->o->more_labelled, i), r->o->labelled_columns, err);
    }
    for (size_t i = 0; !r->o->labelled && i < gr_self_files(r->o->human, r->o->more_human) && !rc; i++)
        rc = add_data(r, gr_self_file(r->o->human, r->o->more_human, i), err);
    return rc;
}

static bool tunes(const gram_selftrain_options *o) { return o->finals && o->human; }

static gram_status tune(gr_self_run *r, gram_err *err)
{
    uint64_t rows;
    gram_status rc;

    if (!tunes(r->o))
        return GRAM_OK;
    rc = train_on_human(r, "final", r->o->rounds + 1, GRAM_SELF_FINAL, r->judge, err);
    r->judge = gr_self_path(r, "final");
    if (!rc && !r->judge)
        rc = gr_nomem(err, r->o->out);
    return rc ? rc : eval_stage(r, "final", r->o->rounds + 1, &r->report.final, &rows, err);
}

static gram_status run_all(gr_self_run *r, gram_err *err)
{
    gram_selftrain_round *zero = r->report.round;
    gram_status rc = make_prover(r, err);

    if (!rc)
        rc = first_data(r, err);
    if (!rc)
        rc = judge_stage(r, "02-judge", 0, err);
    if (!rc)
        rc = eval_stage(r, "02-judge", 0, &zero->accuracy, &zero->eval_rows, err);
    for (size_t n = 1; n <= r->o->rounds && !rc; n++) {
        r->report.rounds = n - 1;
        if (r->worked)                  /* otherwise there is one already, of more rounds perhaps */
            rc = gr_selftrain_write_report(r->o, &r->report, err);
        if (!rc)
            rc = do_round(r, n, err);
    }
    r->report.rounds = r->o->rounds;
    if (!rc)
        rc = tune(r, err);
    return rc ? rc : gr_selftrain_write_report(r->o, &r->report, err);
}

static size_t count_stages(const gram_selftrain_options *o)
{
    size_t eval = o->eval != NULL;

    return !o->prover + gr_self_files(o->labelled, o->more_labelled) + 1 + eval + o->rounds * (5 + eval) +
           (tunes(o) ? 1 + eval : 0);
}

/* A text as long as all that the model reads would be refused when the first judge is trained. */
static gram_status check_room(const gram_selftrain_options *o, size_t context, gram_err *err)
{
    bool same = !o->prover && !o->prover_model;

    if (o->rationale_tokens >= context || (same && o->proof_tokens >= context))
        return gr_fail(err, GRAM_EARG, "%s: wanted fewer than the %zu tokens that %s reads in all, found %zu",
                       o->rationale_tokens >= context ? "rationale-tokens" : "proof-tokens", context, o->model,
                       o->rationale_tokens >= context ? o->rationale_tokens : o->proof_tokens);
    return GRAM_OK;
}

/* What the run takes, as far as it can be known before. */
static gram_status say_size(gr_self_run *r, gram_err *err)
{
    const gram_train_options *t = &r->o->train[GRAM_SELF_JUDGE];
    const double mib = 1 << 20;
    size_t models = !r->o->prover + 1 + r->o->rounds + tunes(r->o);
    double bytes, at_once;
    uint64_t room;
    gram_info info;
    gr_buf b = { 0 };
    bool ok;
    gram_status rc = gram_inspect(r->o->model, &t->model, &info, err);

    if (!rc)
        rc = check_room(r->o, info.context, err);
    if (rc || !r->calls.note)
        return rc;
    bytes = (double)info.parameters * (t->model.dtype == GRAM_BF16 ? 2 : 4);
    at_once = 3 * (double)(t->keep + 1) * bytes;        /* the checkpoints that are kept, and the one being written */
    ok = gr_buf_printf(&b, "%zu stages, of which %zu train a model", r->now.stages, models);
    if (ok && t->lora_rank)
        ok = gr_buf_printf(&b, "'s adapter, some MiB each; memory: about %.0f MiB for the weights, and what a batch "
                           "takes", bytes / mib);
    else if (ok)
        ok = gr_buf_printf(&b, " of %.0f MiB; disk: %.0f MiB at the end, and %.0f MiB more while one is trained; "
                           "memory: at least %.0f MiB while it is", bytes / mib, (double)models * bytes / mib,
                           at_once / mib, (double)info.parameters * 16 / mib);
    if (ok && gr_disk_free(r->o->out, &room))
        ok = gr_buf_printf(&b, " (there are %.0f MiB of disk and %.0f MiB of memory); each stage says its own before "
                           "it begins", (double)room / mib, (double)gr_ram() / mib);
    if (ok)
        r->calls.note(r->calls.arg, b.p);
    gr_buf_clear(&b);
    return ok ? GRAM_OK : gr_nomem(err, r->o->out);
}

static gram_status open_run(gr_self_run *r, gram_err *err)
{
    const gram_selftrain_options *o = r->o;
    const gram_options *m = &o->train[GRAM_SELF_JUDGE].model;
    const char *const usual[] = { m->label_a ? m->label_a : "A", m->label_b ? m->label_b : "B" };
    const size_t votes[] = { o->votes, o->eval_votes ? o->eval_votes : o->votes };
    gram_status rc = gr_selftrain_check(o, err);

    for (size_t i = 0; i < GR_COUNT(votes) && !rc; i++) {           /* now, and not when the first judge is trained */
        const gram_rationale_options w = how(r, votes[i]);
        rc = gram_rationale_options_check(&w, err);
    }
    if (!rc)
        rc = gr_format_init(&r->format, o->train[GRAM_SELF_JUDGE].rationale_format, err);
    for (int i = 0; i < 2; i++)
        r->label[i] = r->format.label[i] ? r->format.label[i] : usual[i];
    r->report.round = gr_calloc(o->rounds + 1, sizeof *r->report.round);
    if (!rc && !r->report.round)
        rc = gr_nomem(err, "a report");
    for (size_t i = 0; !rc && i <= o->rounds; i++) {
        r->report.round[i].score = NAN;
        r->report.round[i].accuracy = (gram_interval){ NAN, NAN, NAN };
    }
    r->report.final = (gram_interval){ NAN, NAN, NAN };
    r->now.stages = count_stages(o);
    return rc ? rc : gr_make_directory(o->out, err);
}

gram_status gram_selftrain(const gram_selftrain_options *o, const gram_selftrain_calls *calls,
                           gram_selftrain_report *report, gram_err *err)
{
    gr_self_run r = { .o = o };
    gr_numeric numeric;
    gram_err own;
    gram_status rc;

    err = err ? err : &own;
    if (calls)
        r.calls = *calls;
    if (!gr_numeric_enter(&numeric))
        return gr_nomem(err, "self-training");
    rc = open_run(&r, err);
    if (!rc)
        rc = say_size(&r, err);
    if (!rc)
        rc = run_all(&r, err);
    if (!rc && r.judge)
        snprintf(r.report.judge, sizeof r.report.judge, "%s", r.judge);
    for (size_t i = 0; i < r.n_kept; i++)
        free(r.kept[i]);
    free(r.kept);
    free(r.data);
    gr_digests_clear(&r.digests);
    gr_format_clear(&r.format);
    gr_numeric_leave(&numeric);
    if (rc || !report)
        gram_selftrain_report_clear(&r.report);
    if (report)
        *report = r.report;
    return rc;
}

void gram_selftrain_report_clear(gram_selftrain_report *r)
{
    free(r->round);
    *r = (gram_selftrain_report){ .round = NULL };
}
