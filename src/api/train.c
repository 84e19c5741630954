/* train.c - include/gram/train.h over src/train. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/how.h"
#include "api/policy.h"
#include "api/reason_int.h"
#include "api/shipped.h"
#include "base/cpu.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/numeric.h"
#include "base/limits.h"
#include "comm/comm.h"
#include "eval/text.h"
#include "eval/training_page.h"
#include "file/io.h"
#include "gram/align.h"
#include "op/op.h"
#include "train/cache.h"
#include "train/check.h"
#include "train/estimate.h"
#include "train/noise.h"
#include "train/options.h"
#include "train/loop.h"


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
    return (gr_loss_rules){ o->loss, o->smoothing, o->order_weight, o->margin_scale, o->posreg, o->sft_weight,
                            o->sft_beta, o->verdict_weight, o->beta, o->gamma, o->good_weight, o->bad_weight };
}

/* The rows of a run: those to learn from, and the held-out sets, of which there is one at least, empty where no file
 * was given. */
struct rows { gr_set train, *held; const char **name; size_t n_held; char all[96]; };

static gram_status rows_init(struct rows *s, const gram_train_options *o, gram_err *err)
{
    *s = (struct rows){ .n_held = 1 };
    while (o->more_eval && o->more_eval[s->n_held - 1])
        s->n_held++;
    s->held = gr_calloc(s->n_held, sizeof *s->held);
    s->name = gr_calloc(s->n_held, sizeof(*s->name));
    if (!s->held || !s->name)
        return gr_nomem(err, "held-out rows");
    for (size_t i = 0; i < s->n_held; i++)
        s->name[i] = i ? gr_text_base(o->more_eval[i - 1]) : o->eval_file ? gr_text_base(o->eval_file)
                       : o->split > 0 ? "split by prompt" : "";
    return GRAM_OK;
}

/* Further files of held-out prompts are of the same set, whose name says so. */
static void pool(struct rows *s)
{
    if (s->n_held > 1 && s->name) {
        snprintf(s->all, sizeof s->all, "%.64s and %zu more", s->name[0], s->n_held - 1);
        s->name[0] = s->all;
    }
    s->n_held = 1;
}

static void rows_clear(struct rows *s)
{
    gr_set_clear(&s->train);
    for (size_t i = 0; s->held && i < s->n_held; i++)
        gr_set_clear(&s->held[i]);
    free(s->held);
    free(s->name);
}

/* The judge of a rationale, or the two provers of a proof; label[] becomes that of the judge. */
static gram_status open_reasons(const gram_model *m, const gram_train_options *o, gr_reason_words words[2],
                                int32_t label[2], gr_set_rules *rules, gram_err *err)
{
    bool proof = o->loss == GRAM_LOSS_PROOF;
    gram_status rc = gr_judge_turn_end(&m->judge, &rules->turn_end, err);

    rules->max_tokens = m->judge.max_tokens;
    for (int i = 0; i < 1 + proof && !rc; i++) {
        rc = gr_api_reason_words(&words[i], m, o->rationale_format, NULL, proof ? i : -1, m->judge.max_tokens, err);
        rules->words[i] = &words[i];
    }
    if (!rc && !proof)
        memcpy(label, words[0].label_id, 2 * sizeof *label);
    return rc;
}

/* Rows of more bytes than this are kept in a file, as tokens, where nobody says where. */
#define LARGE ((uint64_t)256 << 20)

/* Where the tokens of the rows of these files lie; *cache NULL: in memory. dir holds what it may point to. */
static gram_status find_cache(const char **cache, const char *data, const char *const *more,
                              const gram_train_options *o, gr_buf *dir, gram_err *err)
{
    uint64_t bytes = 0;
    gram_status rc = o->cache ? GRAM_OK : gr_set_file_bytes(data, more, &bytes, err);

    *cache = o->cache;
    if (rc || bytes <= LARGE)
        return rc;
    dir->n = 0;
    rc = gr_shipped_cache(dir, err);
    if (!rc && !gr_buf_puts(dir, "/rows"))
        rc = gr_nomem(err, "cache directory");
    *cache = rc ? NULL : dir->p;
    return rc == GRAM_ENOMEM ? rc : GRAM_OK;        /* without a cache directory they lie in memory */
}

static int by_hash(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* The hash of each row's conversation. */
static gram_status get_prompts(const gr_set *s, uint64_t *hash, gram_err *err)
{
    gr_example room = { 0 };
    const gr_example *e;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < s->n && !rc; i++) {
        rc = gr_set_get(s, i, &room, &e, err);
        hash[i] = rc ? 0 : e->prompt;
    }
    gr_room_clear(&room);
    return rc;
}

/* What a split by prompt has made of the rows. */
static gram_status say_split(const gram_train_options *o, const struct rows *s, gram_err *err)
{
    size_t n = s->held->n, prompts = 0;
    uint64_t *hash = gr_calloc(n, sizeof *hash);
    gr_buf b = { 0 };
    gram_status rc = hash ? get_prompts(s->held, hash, err) : gr_nomem(err, "held-out rows");
    bool ok = !rc;

    if (ok)
        qsort(hash, n, sizeof *hash, by_hash);
    for (size_t i = 0; i < n && ok; i++)
        prompts += i == 0 || hash[i] != hash[i - 1];
    ok = ok && gr_buf_printf(&b, "split by prompt: %zu rows of %zu prompts are held out, and %zu rows of others are "
                             "trained on", n, prompts, s->train.n);
    if (ok && o->note)
        o->note(o->arg, b.p);
    free(hash);
    gr_buf_clear(&b);
    return rc ? rc : ok ? GRAM_OK : gr_nomem(err, "held-out rows");
}

/* The held-out sets, of whose rows no tie is one: the data prefer neither, and there is nothing to be right about. */
static gram_status read_held(const char *data, const gram_train_options *o, struct rows *s, gr_set_form form,
                             gr_set_rules *rules, gr_buf *dir, gram_err *err)
{
    gram_status rc = GRAM_OK;

    rules->ties = GRAM_TIES_DROP;
    rules->held = true;
    if (o->split > 0) {
        rc = gr_set_read(s->held, form, data, o->more_data, rules, err);
        return rc ? rc : say_split(o, s, err);
    }
    for (size_t i = 0; i < s->n_held && !rc && o->eval_file; i++) {
        const char *file = i ? o->more_eval[i - 1] : o->eval_file;
        rc = find_cache(&rules->cache, file, NULL, o, dir, err);
        if (!rc)
            rc = gr_set_read(&s->held[i], form, file, NULL, rules, err);
    }
    return rc;
}

size_t gr_api_threads(const gram_train_options *o)
{
    return o->model.threads ? (size_t)o->model.threads : gr_dist_threads(o->dist);
}

static gram_status read_rows(const gram_model *m, gram_stage stage, const char *data, const gram_train_options *o,
                             struct rows *s, int32_t label[2], gram_err *err)
{
    gr_reason_words words[2] = { { .marks = { 0 } } };
    gr_set_rules rules = { .judge = &m->judge, .loss = rules_of(o), .ties = o->ties, .skip_bad = o->skip_bad,
                           .columns = o->columns,
                           .pairs = o->pairs, .seed = o->seed, .warn = o->note, .arg = o->arg, .split = o->split,
                           .threads = gr_api_threads(o), .dist = o->dist, .bound = o->cache != NULL };
    gr_buf dir = { 0 };
    bool writes = gram_loss_writes(o->loss);
    gr_set_form form = stage == GRAM_STAGE_PRETRAIN ? GR_FORM_GROUPS : writes ? GR_FORM_REASONS
                     : o->loss == GRAM_LOSS_KTO ? GR_FORM_LABELLED : GR_FORM_PAIRS;
    gram_status rc = writes ? open_reasons(m, o, words, label, &rules, err) : GRAM_OK;

    if (!rc)
        rc = find_cache(&rules.cache, data, o->more_data, o, &dir, err);
    if (gr_options_leave_ties(o))
        rules.ties = GRAM_TIES_DROP;
    if (!rc)
        rc = gr_set_read(&s->train, form, data, o->more_data, &rules, err);
    if (!rc)
        rc = read_held(data, o, s, form, &rules, &dir, err);
    gr_buf_clear(&dir);
    gr_reason_words_clear(&words[0]);
    gr_reason_words_clear(&words[1]);
    return rc;
}

/* A note "3 of 5 rows contradict another (..), 1 of 5 rows are ties", of those that there are; name: of the file that
 * they are of, "" for the training rows. */
typedef struct { uint64_t n, of; const char *what; } counted;

static gram_status say_counts(const gram_train_options *o, const char *name, const counted *part, size_t n,
                              gram_err *err)
{
    gr_buf b = { 0 };
    bool ok = true;

    for (size_t i = 0; i < n; i++)
        if (part[i].n)
            ok = ok && gr_buf_printf(&b, "%s%s%" PRIu64 " of %" PRIu64 " %s", b.n ? ", " : name,
                                     !b.n && *name ? ": " : "", part[i].n, part[i].of, part[i].what);
    if (ok && b.n)
        o->note(o->arg, b.p);
    gr_buf_clear(&b);
    return ok ? GRAM_OK : gr_nomem(err, "training rows");
}

#define ALIKE "pairs are left out, since their two answers are the same text, as given or as cut"
#define TIES_OUT "rows are ties, and left out"
#define SHORTENED "rows were shortened"
#define DOUBTED "have a soft label below 0.5, which the loss heeds, and accuracy takes their chosen answer for the " \
    "better one all the same"
#define CONTRARY "reasons are left out, since their writers preferred the other answer, or none"
#define UNSAID "annotators are left out, since they gave no score or no reasoning"
#define UNPROVED "rows are left out, since no proof of them was kept"

/* What of the rows is left out, cut or odd. */
static gram_status say_rows(const gr_set *s, const gram_train_options *o, gram_err *err)
{
    bool margins = o->loss == GRAM_LOSS_BT_MARGIN, out = gr_options_leave_ties(o);
    uint64_t rows = s->reasoned ? s->reasoned : s->n, all = rows + (out ? s->ties : 0) + s->unproved;
    uint64_t none = s->n - (out ? 0 : s->ties) - s->margins;
    const counted part[] = {
        { s->alike, s->n + s->alike, ALIKE },
        { out ? s->ties : 0, all, TIES_OUT },
        { s->truncated, s->n, s->reasoned ? "texts were shortened" : SHORTENED },
        { margins ? none : 0, s->n, "rows have no margin of their own, which is taken as 0" },
        { margins ? s->negative : 0, s->n, "rows have a negative margin, which contradicts the answer they chose" },
        { s->weightless, rows, "rows have the weight 0, and nothing is learnt from them" },
        { s->contrary, s->reasons + s->contrary, CONTRARY },
        { s->unsaid, s->reasons + s->contrary + s->unsaid, UNSAID },
        { s->unproved, all, UNPROVED },
        { s->seated, s->reasons, "reasons hold in one order alone, and are learnt in that one" },
    };

    return say_counts(o, "", part, GR_COUNT(part), err);
}

/* What of the rows of a held-out file is not judged, or not as it stands. */
static gram_status say_held(const gr_set *s, const char *name, const gram_train_options *o, gram_err *err)
{
    uint64_t rows = s->reasoned ? s->reasoned : s->n + s->dropped, all = rows + s->bad + s->ties + s->alike +
                                                                      s->unproved;
    const counted part[] = {
        { s->bad, all, "rows are bad, and skipped" },
        { s->dropped, s->reasoned ? s->n + s->dropped : all, s->reasoned ? "texts are left out as too long"
                                                                         : "rows are left out as too long" },
        { s->ties, all, TIES_OUT },
        { s->alike, all, ALIKE },
        { s->truncated, s->n, s->reasoned ? "texts were shortened" : SHORTENED },
        { s->contrary, s->reasons + s->contrary, CONTRARY },
        { s->unsaid, s->reasons + s->contrary + s->unsaid, UNSAID },
        { s->unproved, all, UNPROVED },
    };

    return say_counts(o, name, part, GR_COUNT(part), err);
}

/* What the data say against themselves. */
static gram_status count_noise(const struct rows *s, gram_stage stage, const gram_train_options *o,
                               gram_train_report *report, gram_err *err)
{
    const bool pairs = stage == GRAM_STAGE_FINETUNE && !gram_loss_writes(o->loss) && o->loss != GRAM_LOSS_KTO;
    gr_noise n = { 0 };
    uint64_t seen = 0, held = 0, doubted = 0;
    gram_status rc = GRAM_OK;

    for (size_t i = s->n_held; i-- > 0 && !rc; ) {
        rc = gr_noise_count(&s->train, &s->held[i], &n, err);
        seen += n.seen;
        doubted += n.held_doubted;
        held += s->held[i].n;
    }
    report->contradicting = n.contradicting;
    report->repeated = n.repeated;
    report->eval_seen = n.seen;
    report->eval_rows = s->held->n;
    if (rc || !o->note)
        return rc;
    rc = say_rows(&s->train, o, err);
    if (!rc)
        rc = say_counts(o, "", (counted[]){
            { n.contradicting, s->train.n, "rows contradict another (the same pair, the opposite label)" },
            { n.repeated, s->train.n, s->train.reasoned ? "texts repeat another" : "rows repeat another" },
            { gr_options_leave_ties(o) ? 0 : s->train.ties, s->train.n, "rows are ties" },
            { pairs ? n.doubted : 0, s->train.n, "rows " DOUBTED },
            { pairs ? doubted : 0, held, "held-out rows " DOUBTED },
            { seen, held, "held-out rows are training rows too" } }, 6, err);
    for (size_t i = 0; i < s->n_held && !rc; i++)
        rc = say_held(&s->held[i], s->name[i], o, err);
    return rc;
}

/* What a run leaves for people, made from what it left on the disk. */
struct finish { const char *model, *data, *out; gram_stage stage; const struct rows *rows;
                const gram_train_options *o; bool stopped; };

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

/* The held-out sets as the page wants them; *prompt holds what they point to. */
static gram_status judged_sets(const struct rows *s, gr_run_set *set, uint64_t **prompt, gram_err *err)
{
    size_t n = 0;
    uint64_t *p;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < s->n_held; i++)
        n += s->held[i].n;
    *prompt = p = gr_calloc(n, sizeof *p);
    if (!p)
        return gr_nomem(err, "held-out rows");
    for (size_t i = 0; i < s->n_held && !rc; i++) {
        set[i] = (gr_run_set){ .name = s->name[i], .rows = s->held[i].n, .prompt = p };
        rc = get_prompts(&s->held[i], p, err);
        p += s->held[i].n;
    }
    return rc;
}

/* The sets behind the first, which the report has no place for. */
static gram_status say_sets(const gram_train_options *o, const gr_run_set *set, size_t n, gram_err *err)
{
    gr_buf b = { 0 };
    bool ok = true;

    for (size_t i = 1; i < n && ok && o->note; i++) {
        const gr_run_set *s = &set[i];
        if (isnan(s->before.value) || isnan(s->after.value))
            continue;
        b.n = 0;
        ok = gr_buf_printf(&b, "%s: accuracy on %zu held-out %s, with 95 %% intervals: %.1f %% (%.1f to %.1f) "
                           "before, %.1f %% (%.1f to %.1f) after", s->name, s->rows,
                           o->loss == GRAM_LOSS_KTO ? "answers" : "pairs", 100 * s->before.value,
                           100 * s->before.low, 100 * s->before.high, 100 * s->after.value, 100 * s->after.low,
                           100 * s->after.high);
        if (ok)
            o->note(o->arg, b.p);
    }
    gr_buf_clear(&b);
    return ok ? GRAM_OK : gr_nomem(err, "held-out rows");
}

static gram_status finish(void *arg, gram_train_report *report, gram_err *err)
{
    const struct finish *f = arg;
    gr_run_set *set = gr_calloc(f->rows->n_held, sizeof *set);
    uint64_t *prompt = NULL;
    char date[32];
    gr_run_facts facts = { .stage = f->stage, .model = f->model, .data = gr_text_base(f->data), .set = set,
                           .sets = f->rows->held->n ? f->rows->n_held : 0, .opt = f->o,
                           .cpu = gr_cpu_name(gr_kern_cpu()),
                           .date = gr_api_date(date), .stopped = f->stopped };
    gr_buf page = { 0 };
    gram_status rc = set ? judged_sets(f->rows, set, &prompt, err) : gr_nomem(err, "held-out rows");

    if (!rc)
        rc = gr_eval_training(f->out, &facts, report, &page, err);
    if (!rc)
        rc = write_report(f->out, &page, err);
    if (!rc && !f->stopped)
        rc = say_sets(f->o, set, facts.sets, err);
    gr_buf_clear(&page);
    free(prompt);
    free(set);
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

/* Said before the run, not after it. */
static gram_status tell_peft(const gram_train_options *o, const char *base, gram_err *err)
{
    gr_buf b = { 0 };
    bool ok = !o->note ||
              gr_buf_printf(&b, "the adapter's base is the GGUF file %s, which PEFT does not open: for PEFT, make a "
                            "directory of it (gram convert %s --out DIR) and write its path into adapter_config.json "
                            "as base_model_name_or_path", base, base);

    if (ok && o->note)
        o->note(o->arg, b.p);
    gr_buf_clear(&b);
    return ok ? GRAM_OK : gr_nomem(err, base);
}

/* Sums of two bfloat16 are off by 2^-15, which differences of a loss would show as noise. */
static gr_multiply steps_by(const gram_train_options *o, const gr_device *d)
{
    return o->compute == GRAM_COMPUTE_BF16 ? GR_BY_BF16 : o->check_gradients ? GR_BY_F32 : gr_linear_best(d);
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
    if ((o->model.chat_template || m->file.own_chat) && m->chat == GR_CHAT_JINJA)
        r->chat_template = m->judge.chat.text;
    if (!lora && m->file.adapter && o->model.dtype == GRAM_BF16)
        return gr_fail(err, GRAM_EARG, "%s: every weight of a model with an adapter is trained in f32; bf16 was asked "
                       "for", m->name);
    if (o->compute == GRAM_COMPUTE_BF16 && !gr_linear_multiplies_bf16(m->device))
        return gr_fail(err, GRAM_EUNSUPPORTED, "compute: this CPU multiplies no bfloat16 (AVX512_BF16 or AMX is "
                       "wanted, %s found); in f32 the run would have other numbers", gr_cpu_name(gr_kern_cpu()));
    m->file.cfg = (gr_config){ 0 };
    r->mode = o->model.dtype == GRAM_BF16 ? GR_LINEAR_BF16 : lora ? GR_LINEAR_KEEP : GR_LINEAR_F32;
    rc = gr_model_open_folded(&m->model, m->device, m->file.weights, lora ? NULL : m->file.adapter, &cfg, r->mode,
                              lora ? GR_MODEL_FIXED : GR_MODEL_WRITABLE, err);
    r->model = m->model;
    if (!rc)
        gr_model_train_by(m->model, steps_by(o, m->device));
    if (o->freeze)
        r->weights = m->file.weights;
    if (!rc && gr_model_config(m->model)->new_head &&
        !(m->file.adapter && gr_adapter_has_head(m->file.adapter)))
        rc = gr_model_draw_score(m->model, o->seed, err);
    if (rc || !lora)
        return rc;
    r->weights = m->file.weights;
    rc = open_lora(&r->lora, m, o, err);
    if (!rc)
        rc = name_base(&r->base, gr_weights_path(m->file.weights), err);
    return rc || !m->file.gguf ? rc : tell_peft(o, r->base, err);
}

/* Of a policy the form of reasons is its own where it judges itself, and otherwise its judge's. */
static bool learns_to_reason(gram_stage stage, const gram_train_options *o)
{
    return stage == GRAM_STAGE_ALIGN ? !strcmp(o->align.judge, GR_JUDGE_SELF) : gram_loss_writes(o->loss);
}

/* m holds the files, the judge and the threads; its weights are opened here. */
static gram_status train_model(gram_model *m, gram_stage stage, const char *from, const char *data, const char *out,
                               const gram_train_options *o, gram_train_report *report, gram_err *err)
{
    struct rows s;
    struct finish f = { m->name, data, out, stage, &s, o, false };
    gr_training r = { .stage = stage, .opt = o, .loss = rules_of(o), .from = from, .out = out, .train = &s.train,
                      .batch_tokens = o->model.batch_tokens ? o->model.batch_tokens : GR_API_BATCH_TOKENS,
                      .label = { m->judge.label[0], m->judge.label[1] }, .finish = finish, .arg = &f };
    gr_policy *policy = NULL;
    gr_reference reference = { .t = NULL };
    gram_status rc = rows_init(&s, o, err);

    if (stage == GRAM_STAGE_ALIGN)
        pool(&s);
    r.starts = gr_how_weights(m);
    r.held = s.held;
    r.held_name = s.name;
    r.n_held = s.n_held;
    if (!rc)
        rc = gr_api_ready(m, err);
    if (!rc && (o->lora_rank > 0 || o->freeze))
        rc = same_base(o->dist, m->file.weights, err);
    if (!rc)
        rc = stage == GRAM_STAGE_ALIGN ? gr_policy_read(&policy, m, from, data, o, &s.train, s.held, err)
                                       : read_rows(m, stage, data, o, &s, r.label, err);
    if (!rc && !o->check_gradients)
        rc = gr_dist_rank(o->dist) ? GRAM_OK : gr_make_directory(out, err);
    if (!rc)
        rc = gr_device_open(&m->device, o->model.device, gr_api_threads(o), err);
    if (!rc)
        rc = gr_estimate_weights(m->file.weights, m->device, o, err);
    if (!rc)
        rc = gr_api_words(&r.card.reads, m, m->file.cfg.reward, err);
    if (!rc && o->rationale_format && learns_to_reason(stage, o)) {
        free(r.card.reads.format);
        rc = gr_format_spell(&r.card.reads.format, o->rationale_format, err);
    }
    r.program = gr_ram_held() + s.train.n * sizeof(size_t);     /* and the order of the rows */
    if (!rc)
        rc = open_weights(m, o, &r, err);
    r.device = m->device;
    if (!rc && policy)
        rc = gr_policy_open(policy, m, &r, err);
    r.needs_reference = gram_loss_is_policy(o->loss) && stage == GRAM_STAGE_FINETUNE;
    if (!rc && r.needs_reference && o->reference)
        rc = gr_reference_open(&reference, m, &r, o->reference, err);
    r.reference = reference.t;
    if (reference.other)
        r.refers = gr_how_weights(reference.other);
    *report = (gram_train_report){ .rows = s.train.n, .bad = s.train.bad, .dropped = s.train.dropped,
                                   .truncated = s.train.truncated, .ties = s.train.ties, .alike = s.train.alike,
                                   .before = { NAN, NAN, NAN }, .after = { NAN, NAN, NAN }, .loss_before = NAN,
                                   .loss_after = NAN };
    if (!rc)
        rc = count_noise(&s, stage, o, report, err);
    if (!rc)
        rc = o->check_gradients ? gr_check_gradients(&r, err) : gr_train(&r, report, err);
    if (!rc && s.train.cache && !o->cache)
        gr_cache_forget(s.train.cache);
    if (rc == GRAM_ESTOPPED && !o->check_gradients) {       /* what it has come to; without a page nothing is lost */
        f.stopped = true;
        finish(&f, report, NULL);
    }
    gr_policy_close(policy);
    gr_reference_close(&reference);
    gr_lora_close(r.lora);
    free(r.base);
    gr_card_clear(&r.card);
    rows_clear(&s);
    return rc;
}

static gram_status train_files(gram_stage stage, const char *from, const char *data, const char *out,
                               const gram_train_options *o, gram_train_report *report, gram_err *err)
{
    gram_options files = o->model;
    gram_model *m = NULL;
    gram_status rc = gr_options_check(stage, o, err);
    unsigned targets;

    files.threads = (int)gr_api_threads(o);
    if (!rc)
        rc = gr_lora_targets(&targets, o->lora_targets, err);
    if (!rc)
        rc = gr_api_open_files(&m, from, &files, o->loss, err);
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
    if (gram_dist_rank(o.dist) > 0) {
        o.progress = NULL;
        o.held = NULL;
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
    gr_numeric numeric;
    gram_status rc;

    if (!gr_numeric_enter(&numeric))
        return gr_nomem(err, "training");
    rc = train(stage, from, data, out, opt, report, err);
    gr_numeric_leave(&numeric);
    return rc;
}

gram_status gram_finetune(const char *model, const char *pairs, const char *out, const gram_train_options *opt,
                          gram_train_report *report, gram_err *err)
{
    return train_in_c(GRAM_STAGE_FINETUNE, model, pairs, out, opt, report, err);
}

gram_status gram_align(const char *policy, const char *prompts, const char *out, const gram_train_options *opt,
                       gram_train_report *report, gram_err *err)
{
    return train_in_c(GRAM_STAGE_ALIGN, policy, prompts, out, opt, report, err);
}

gram_status gram_pretrain(const char *model, const char *unlabeled, const char *out, const gram_train_options *opt,
                          gram_train_report *report, gram_err *err)
{
    return train_in_c(GRAM_STAGE_PRETRAIN, model, unlabeled, out, opt, report, err);
}
