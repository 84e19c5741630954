/* train.c - include/gram/train.h over src/train. */
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/cpu.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/limits.h"
#include "dist/dist.h"
#include "eval/text.h"
#include "eval/training.h"
#include "file/io.h"
#include "gram/train.h"
#include "train/check.h"
#include "train/estimate.h"
#include "train/noise.h"
#include "train/run.h"

#define BATCH_TOKENS 4096

/* Of losses that have them, as published. */
#define POSREG     0.1
#define SFT_WEIGHT 0.01
#define SFT_BETA   0.1

void gram_train_options_init(gram_train_options *o, gram_stage stage)
{
    bool first = stage == GRAM_STAGE_PRETRAIN;

    *o = (gram_train_options){ .lr = first ? 1e-5 : 2e-5, .schedule = GRAM_SCHEDULE_COSINE, .warmup = 0.1,
                               .clip = 1, .batch_rows = first ? 32 : 16, .epochs = first ? 1 : 2,
                               .pairs = 1, .save_every = 50, .keep = 2, .lora_dropout = -1, .head_width = 1024 };
    gram_train_options_set_loss(o, GRAM_LOSS_GRAM);
}

void gram_train_options_set_loss(gram_train_options *o, gram_loss loss)
{
    o->loss = loss;
    o->smoothing = loss == GRAM_LOSS_GRAM ? 0.05 : loss == GRAM_LOSS_BT_SMOOTH ? 0.1 : 0;
    o->margin_scale = 1;
    o->posreg = POSREG;
    o->sft_weight = SFT_WEIGHT;
    o->sft_beta = SFT_BETA;
}

/* !(x >= 0) is also true of NaN. */
static gram_status check_options(gram_stage stage, const gram_train_options *o, gram_err *err)
{
    const struct { const char *name; double x, most; } number[] = {
        { "lr", o->lr, 1 }, { "warmup", o->warmup, 1 }, { "weight-decay", o->weight_decay, 1 },
        { "clip", o->clip, 1e30 }, { "smoothing", o->smoothing, 0.5 }, { "margin-scale", o->margin_scale, 1e30 },
        { "posreg", o->posreg, 1e30 }, { "sft-weight", o->sft_weight, 1 }, { "sft-beta", o->sft_beta, 1e30 },
    };
    const struct { const char *name; double x, usual; bool used; const char *whose; } own[] = {
        { "smoothing", o->smoothing, 0, o->loss == GRAM_LOSS_GRAM || o->loss == GRAM_LOSS_BT_SMOOTH,
          "gram and bt-smooth have" },
        { "margin-scale", o->margin_scale, 1, o->loss == GRAM_LOSS_BT_MARGIN, "bt-margin has" },
        { "posreg", o->posreg, POSREG, o->loss == GRAM_LOSS_BT_POSREG, "bt-posreg has" },
        { "sft-weight", o->sft_weight, SFT_WEIGHT, o->loss == GRAM_LOSS_SFT_REG, "sft-reg has" },
        { "sft-beta", o->sft_beta, SFT_BETA, o->loss == GRAM_LOSS_SFT_REG, "sft-reg has" },
    };

    for (size_t i = 0; i < GR_COUNT(number); i++)
        if (!(number[i].x >= 0) || number[i].x > number[i].most)
            return gr_fail(err, GRAM_EARG, "%s: wanted 0 to %g, found %g", number[i].name, number[i].most, number[i].x);
    if (!o->batch_rows || o->batch_rows > 1 << 20 || !o->epochs || o->epochs > 1 << 20 || !o->pairs ||
        o->steps > (uint64_t)1 << 40)
        return gr_fail(err, GRAM_EARG, "batch rows, epochs and pairs: wanted 1 or more and no million of them, found "
                       "%zu, %zu and %zu", o->batch_rows, o->epochs, o->pairs);
    if (!o->keep)
        return gr_fail(err, GRAM_EARG, "checkpoints to keep: wanted one or more, found none");
    if ((o->best || o->eval_every) && !o->eval_file)
        return gr_fail(err, GRAM_EARG, "%s: wanted held-out pairs to judge as well, and no such file was given",
                       o->best ? "the best weights" : "judging every so many steps");
    if ((unsigned)o->loss > GRAM_LOSS_PURM)
        return gr_fail(err, GRAM_EARG, "loss: %d is none of gram_loss", (int)o->loss);
    for (size_t i = 0; i < GR_COUNT(own); i++)
        if (own[i].x != own[i].usual && !own[i].used)
            return gr_fail(err, GRAM_EARG, "%s: %s it, and the loss is %s", own[i].name, own[i].whose,
                           gram_loss_name(o->loss));
    if ((unsigned)o->head > GRAM_HEAD_MLP || (o->head == GRAM_HEAD_MLP && !gram_loss_is_scalar(o->loss)))
        return gr_fail(err, GRAM_EARG, "head: a reward model has one, linear or mlp, and the loss %s trains a judge",
                       gram_loss_name(o->loss));
    if (o->freeze && (!gram_loss_is_scalar(o->loss) || o->loss == GRAM_LOSS_SFT_REG || o->lora_rank))
        return gr_fail(err, GRAM_EARG, "freeze: the head of a reward model is trained alone, by a loss that is of its "
                       "rewards alone, and without adapters; the loss is %s and the rank of adapters %zu",
                       gram_loss_name(o->loss), o->lora_rank);
    if (o->head == GRAM_HEAD_MLP && (!o->head_width || o->head_width > 1 << 20))
        return gr_fail(err, GRAM_EARG, "head-width: wanted 1 to %d, found %zu", 1 << 20, o->head_width);
    if (o->model.dtype != GRAM_F32 && o->model.dtype != GRAM_BF16)
        return gr_fail(err, GRAM_EARG, "training stores weights in f32 or bf16; another dtype was asked for");
    if (!o->lora_rank && (o->lora_alpha != 0 || o->lora_targets || o->lora_dropout > 0))
        return gr_fail(err, GRAM_EARG, "LoRA's alpha, targets and dropout: wanted a rank with them");
    if (isnan(o->lora_dropout) || o->lora_dropout >= 1)
        return gr_fail(err, GRAM_EARG, "lora-dropout: wanted 0 or more and less than 1, found %g", o->lora_dropout);
    if (!(o->lora_alpha >= 0 && o->lora_alpha <= 1e9) || o->lora_rank > 1 << 20)
        return gr_fail(err, GRAM_EARG, "LoRA: wanted a rank up to %d and a positive alpha up to 1e9, found %zu and %g",
                       1 << 20, o->lora_rank, o->lora_alpha);
    if (o->check_gradients && o->dist)
        return gr_fail(err, GRAM_EARG, "gradients are checked by one process alone; several were started");
    if (o->model.single_order)
        return gr_fail(err, GRAM_EARG, "training reads both orders of a pair; a single order was asked for");
    if (stage == GRAM_STAGE_PRETRAIN && o->model.truncate == GRAM_TRUNCATE_BALANCED)
        return gr_fail(err, GRAM_EARG, "truncate: stage 1 writes whole answers: wanted error or drop, found balanced");
    return GRAM_OK;
}

static gram_status check_model(const gram_model *m, const char *path, gram_loss loss, bool lora, gram_err *err)
{
    if (m->file.cfg.reward && !gram_loss_is_scalar(loss))
        return gr_fail(err, GRAM_EARG, "%s: a reward model, which has no words to judge with: wanted a language model, "
                       "or a loss such as bt", path);
    if (!*m->file.cfg.prefix || lora)
        return GRAM_OK;
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: only the text half of this model would be trained and written, and its "
                   "directory asks for both", path);
}

/* The form of a reward head that is made; one that is there has its own. */
static gram_status choose_head(gram_model *m, const char *path, const gram_train_options *o, gram_err *err)
{
    gr_config *c = &m->file.cfg;
    bool own = m->file.adapter && gr_adapter_has_head(m->file.adapter);
    size_t want = o->head == GRAM_HEAD_MLP ? o->head_width : 0;

    if (c->new_head && !own)
        c->head = gr_head_new(c->head.rows, want);
    else if (c->reward && want && want != c->head.hidden)
        return gr_fail(err, GRAM_EARG, "%s: its reward head has %zu hidden units and goes on with them; %zu were asked "
                       "for", path, c->head.hidden, want);
    return GRAM_OK;
}

static gr_loss_rules rules_of(const gram_train_options *o)
{
    return (gr_loss_rules){ o->loss, o->smoothing, o->margin_scale, o->posreg, o->sft_weight, o->sft_beta };
}

static gram_status read_sets(const gram_model *m, gram_stage stage, const char *data, const gram_train_options *o,
                             gr_set *train, gr_set *held, gram_err *err)
{
    gr_set_rules rules = { .judge = &m->judge, .loss = rules_of(o), .drop_ties = o->drop_ties,
                           .skip_bad = o->skip_bad, .pairs = o->pairs, .seed = o->seed,
                           .warn = o->note, .arg = o->arg };
    gram_status rc = (stage == GRAM_STAGE_PRETRAIN ? gr_set_read_groups : gr_set_read_pairs)(train, data, &rules, err);

    if (!rc && o->eval_file && stage == GRAM_STAGE_FINETUNE) {
        rules.drop_ties = true;             /* the data prefer neither: there is nothing to be right about */
        rc = gr_set_read_pairs(held, o->eval_file, &rules, err);
    }
    return rc;
}

/* "3 of 5 rows contradict another (..), 1 of 5 rows are ties", of those that there are. */
static gram_status say_noise(const gram_train_options *o, const gram_train_report *r, gram_err *err)
{
    const struct { uint64_t n, of; const char *what; } part[] = {
        { r->contradicting, r->rows, "rows contradict another (the same pair, the opposite label)" },
        { r->repeated, r->rows, "rows repeat another" },
        { r->ties, r->rows, "rows are ties" },
        { r->eval_seen, r->eval_rows, "held-out pairs are training rows too" },
    };
    gr_buf b = { 0 };
    bool ok = true;

    for (size_t i = 0; i < GR_COUNT(part); i++)
        if (part[i].n)
            ok = ok && gr_buf_printf(&b, "%s%" PRIu64 " of %" PRIu64 " %s", b.n ? ", " : "", part[i].n, part[i].of,
                                     part[i].what);
    if (ok && b.n)
        o->note(o->arg, b.p);
    gr_buf_clear(&b);
    return ok ? GRAM_OK : gr_nomem(err, "training rows");
}

/* What the data say against themselves. */
static gram_status count_noise(const gr_set *train, const gr_set *held, const gram_train_options *o,
                               gram_train_report *report, gram_err *err)
{
    gr_noise n;
    gram_status rc = gr_noise_count(train, held, &n, err);

    report->contradicting = n.contradicting;
    report->repeated = n.repeated;
    report->eval_seen = n.seen;
    report->eval_rows = held->n;
    return rc || !o->note ? rc : say_noise(o, report, err);
}

/* What a run leaves for people, made from what it left on the disk. */
struct finish { const char *model, *data, *out; gram_stage stage; const gr_set *held; const gram_train_options *o;
                bool stopped; };

static gram_status write_report(const char *out, const gr_buf *page, gram_err *err)
{
    char *path = gr_path_join(out, "report.html");
    gr_out *o = NULL;
    gram_status rc = path ? gr_out_open(&o, path, false, err) : gr_nomem(err, out);

    if (!rc)
        rc = gr_out_write(o, page->p, page->n, err);
    if (!rc)
        rc = gr_out_commit(o, err);
    gr_out_close(o);
    free(path);
    return rc;
}

static gram_status finish(void *arg, gram_train_report *report, gram_err *err)
{
    const struct finish *f = arg;
    uint64_t *prompt = gr_calloc(f->held->n, sizeof *prompt);
    char date[32];
    gr_run_facts facts = { .stage = f->stage, .model = f->model, .data = gr_text_base(f->data),
                           .eval_file = f->held->n ? gr_text_base(f->o->eval_file) : NULL, .opt = f->o,
                           .cpu = gr_cpu_name(gr_cpu()), .date = gr_api_date(date), .prompt = prompt,
                           .stopped = f->stopped };
    gr_buf page = { 0 };
    gram_status rc = prompt ? GRAM_OK : gr_nomem(err, "held-out rows");

    for (size_t i = 0; i < f->held->n && !rc; i++)
        prompt[i] = f->held->e[i].prompt;
    if (!rc)
        rc = gr_eval_training(f->out, &facts, report, &page, err);
    if (!rc)
        rc = write_report(f->out, &page, err);
    gr_buf_clear(&page);
    free(prompt);
    return rc;
}

/* The base of an adapter in each process; what is trained is compared when it is there. */
static gram_status same_base(gr_dist *d, const gr_weights *w, gram_err *err)
{
    uint64_t h = GR_DIGEST;

    for (size_t i = 0; d && i < gr_weights_count(w); i++) {
        const gr_named *t = gr_weights_at(w, i);
        h = gr_digest(h, t->name, strlen(t->name));
        h = gr_digest_words(h, t->data, t->bytes / 4);
        h = gr_digest(h, (const char *)t->data + t->bytes / 4 * 4, t->bytes % 4);
    }
    return gr_dist_same(d, "weights in its model's files", h, err);
}

/* The adapter that m is of, to be trained further as it was begun, or a new one. */
static gram_status open_lora(gr_lora **out, const gram_model *m, const gram_train_options *o, gram_err *err)
{
    const gr_adapter *a = m->file.adapter;
    gr_lora_spec spec = { .rank = o->lora_rank, .dropout = fmax(o->lora_dropout, 0),
                          .alpha = o->lora_alpha > 0 ? o->lora_alpha : 2.0 * (double)o->lora_rank };
    gram_status rc = gr_lora_targets(&spec.targets, o->lora_targets, err);
    const gr_lora_spec *was;

    *out = NULL;
    if (rc)
        return rc;
    if (!a)
        return gr_lora_open(out, m->model, &spec, o->seed, err);
    rc = gr_lora_read(out, m->model, a, err);
    if (rc)
        return rc;
    was = gr_lora_get_spec(*out);
    if (o->lora_dropout >= 0)
        gr_lora_set_dropout(*out, spec.dropout);
    if (was->rank == spec.rank && (o->lora_alpha == 0 || was->alpha == spec.alpha) &&
        (!o->lora_targets || was->targets == spec.targets))
        return GRAM_OK;
    rc = gr_fail(err, GRAM_EARG, "%s: this adapter has rank %zu, alpha %g and %d targets, and goes on with them; "
                 "others were asked for", a->path, was->rank, was->alpha, __builtin_popcount(was->targets));
    gr_lora_close(*out);
    *out = NULL;
    return rc;
}

/* The path that an adapter names its base by. It is to be found from any directory. */
static gram_status name_base(char **out, const char *path, gram_err *err)
{
    char full[PATH_MAX];

    *out = gr_strdup(realpath(path, full) ? full : path);
    return *out ? GRAM_OK : gr_nomem(err, path);
}

/* Takes m's configuration over. With LoRA the base is held as the file has it, which is the same numbers as in float32
 * and never more memory. */
static gram_status open_weights(gram_model *m, const gram_train_options *o, gr_training *r, gram_err *err)
{
    gr_config cfg = m->file.cfg;
    bool lora = o->lora_rank > 0;
    gram_status rc;

    if (m->file.adapter && !(lora && m->file.own_words))
        r->from = m->file.base;
    if (!lora && m->file.adapter && o->model.dtype == GRAM_BF16)
        return gr_fail(err, GRAM_EARG, "%s: every weight of a model with an adapter is trained in f32; bf16 was asked "
                       "for", m->name);
    m->file.cfg = (gr_config){ 0 };
    r->mode = o->model.dtype == GRAM_BF16 ? GR_LINEAR_BF16 : lora ? GR_LINEAR_KEEP : GR_LINEAR_F32;
    rc = gr_model_open_folded(&m->model, m->file.weights, lora ? NULL : m->file.adapter, &cfg, r->mode,
                              lora ? GR_MODEL_FIXED : GR_MODEL_WRITABLE, err);
    r->model = m->model;
    if (o->freeze)
        r->weights = m->file.weights;
    if (!rc && gr_model_config(m->model)->new_head &&
        !(m->file.adapter && gr_adapter_has_head(m->file.adapter)))
        gr_model_draw_score(m->model, o->seed);
    if (rc || !lora)
        return rc;
    r->weights = m->file.weights;
    rc = open_lora(&r->lora, m, o, err);
    return rc ? rc : name_base(&r->base, gr_weights_path(m->file.weights), err);
}

/* m holds the files, the judge and the threads; its weights are opened here. */
static gram_status train_model(gram_model *m, gram_stage stage, const char *from, const char *data, const char *out,
                               const gram_train_options *o, gram_train_report *report, gram_err *err)
{
    gr_set train = { 0 }, held = { 0 };
    struct finish f = { m->name, data, out, stage, &held, o, false };
    gr_training r = { .stage = stage, .opt = o, .loss = rules_of(o), .from = from, .out = out, .train = &train,
                      .held = &held,
                      .batch_tokens = o->model.batch_tokens ? o->model.batch_tokens : BATCH_TOKENS,
                      .label = { m->judge.label[0], m->judge.label[1] }, .finish = finish, .arg = &f };
    gram_status rc = gr_api_ready(m, err);

    if (!rc && (o->lora_rank > 0 || o->freeze))
        rc = same_base(o->dist, m->file.weights, err);
    if (!rc)
        rc = read_sets(m, stage, data, o, &train, &held, err);
    if (!rc && !o->check_gradients)
        rc = gr_dist_rank(o->dist) ? GRAM_OK : gr_make_directory(out, err);
    if (!rc)
        rc = gr_pool_open(&m->pool, o->model.threads ? (size_t)o->model.threads : gr_dist_threads(o->dist), err);
    if (!rc)
        rc = gr_estimate_weights(m->file.weights, o, err);
    r.program = gr_ram_held();
    if (!rc)
        rc = open_weights(m, o, &r, err);
    *report = (gram_train_report){ .rows = train.n, .bad = train.bad, .dropped = train.dropped,
                                   .truncated = train.truncated, .ties = train.ties,
                                   .before = { NAN, NAN, NAN }, .after = { NAN, NAN, NAN } };
    if (!rc)
        rc = count_noise(&train, &held, o, report, err);
    r.pool = m->pool;
    if (!rc)
        rc = o->check_gradients ? gr_check_gradients(&r, err) : gr_train(&r, report, err);
    if (rc == GRAM_ESTOPPED && !o->check_gradients) {       /* what it has come to; without a page nothing is lost */
        f.stopped = true;
        finish(&f, report, NULL);
    }
    gr_lora_close(r.lora);
    free(r.base);
    gr_set_clear(&train);
    gr_set_clear(&held);
    return rc;
}

static gram_status train_files(gram_stage stage, const char *from, const char *data, const char *out,
                               const gram_train_options *o, gram_train_report *report, gram_err *err)
{
    gram_model *m = NULL;
    gram_status rc = check_options(stage, o, err);

    if (!rc)
        rc = gr_api_open_files(&m, from, &o->model, o->loss, err);
    if (rc)
        return rc;
    rc = check_model(m, from, o->loss, o->lora_rank > 0, err);
    if (!rc)
        rc = choose_head(m, from, o, err);
    if (!rc)
        rc = train_model(m, stage, from, data, out, o, report, err);
    gram_close(m);
    return rc;
}

/* A failure is that of all processes; each stops by itself where one is asked to. */
static gram_status train(gram_stage stage, const char *from, const char *data, const char *out,
                         const gram_train_options *opt, gram_train_report *report, gram_err *err)
{
    gram_train_options o;
    gram_train_report unread;
    gram_err unheard;
    gram_status rc;

    gram_train_options_init(&o, stage);
    o = opt ? *opt : o;
    report = report ? report : &unread;
    err = err ? err : &unheard;
    *report = (gram_train_report){ 0 };
    if (stage == GRAM_STAGE_PRETRAIN)
        o.loss = GRAM_LOSS_GRAM;                /* which it has no use for */
    if (gram_dist_rank(o.dist) > 0) {
        o.progress = NULL;
        o.judging = NULL;
        o.note = NULL;
        o.model.note = NULL;
    } else if (!o.model.note) {
        o.model.note = o.note;
        o.model.note_arg = o.arg;
    }
    rc = train_files(stage, from, data, out, &o, report, err);
    if (rc && rc != GRAM_ESTOPPED)
        gr_dist_fail(o.dist, err);
    return rc;
}

/* Numbers are written and read with a point, whatever the program's locale is. */
static gram_status train_in_c(gram_stage stage, const char *from, const char *data, const char *out,
                              const gram_train_options *opt, gram_train_report *report, gram_err *err)
{
    locale_t mine = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0), before;
    gram_status rc;

    if (!mine)
        return gr_nomem(err, "training");
    before = uselocale(mine);
    rc = train(stage, from, data, out, opt, report, err);
    uselocale(before);
    freelocale(mine);
    return rc;
}

gram_status gram_finetune(const char *model, const char *pairs, const char *out, const gram_train_options *opt,
                          gram_train_report *report, gram_err *err)
{
    return train_in_c(GRAM_STAGE_FINETUNE, model, pairs, out, opt, report, err);
}

gram_status gram_pretrain(const char *model, const char *unlabeled, const char *out, const gram_train_options *opt,
                          gram_train_report *report, gram_err *err)
{
    return train_in_c(GRAM_STAGE_PRETRAIN, model, unlabeled, out, opt, report, err);
}
