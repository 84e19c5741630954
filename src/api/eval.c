/* eval.c - gram_eval() over src/eval: a model as its scorer, and the facts of the run. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "api/how.h"
#include "api/reason_int.h"
#include "api/shards.h"
#include "base/cpu.h"
#include "base/digest.h"
#include "base/err.h"
#include "eval/compare.h"
#include "eval/eval.h"
#include "eval/folder.h"
#include "file/card.h"
#include "file/fetch.h"
#include "reward/scale.h"

/* What judges: the model, or the model and its reasons. */
struct judge { gram_model *m; gram_reasoner *reasoner; gr_buf words; };

/* Of what compares: a judge of one answer has no orders. */
static bool reads_once(const gram_model *m)
{
    return m->scorer.single_order && !m->judge.plain && !m->judge.pointwise;
}

static gram_status score(void *arg, const gram_pair *pair, size_t n, gram_verdict *out, gram_reasoned *why,
                         gram_err *err)
{
    const struct judge *j = arg;
    gram_err first;
    size_t bad;
    gram_status rc;

    rc = j->reasoner ? gram_reason(j->reasoner, pair, n, why, &bad, &first)
                     : gr_api_score(j->m, pair, n, out, &bad, &first);
    for (size_t i = 0; i < n && !rc && j->reasoner; i++)
        out[i] = why[i].verdict;
    return !rc ? GRAM_OK : bad < n && n > 1 ? gr_fail(err, rc, "pair %zu: %s", bad, first.text)
         : gr_fail(err, rc, "%s", first.text);      /* of one the caller says which row it is */
}

gram_status gr_reason_describe(const gram_rationale_options *o, const gr_reason_words *w, gr_buf *out, gram_err *err)
{
    uint64_t h = gr_digest(GR_DIGEST, w->judge.prompt, strlen(w->judge.prompt) + 1);
    const char *const tag[] = { w->format.opening, w->format.closing, w->format.cue, w->label[0], w->label[1] };

    for (size_t i = 0; i < GR_COUNT(tag); i++)
        h = gr_digest(h, tag[i], strlen(tag[i]) + 1);
    return gr_buf_printf(out, "%zu votes of at most %zu tokens, temperature %g, top_p %g, top_k %zu, min_p %g, seed %"
                         PRIu64 ", early %zu (%g), products %s, format %016" PRIx64, o->votes, o->max_tokens,
                         o->temperature, o->top_p, o->top_k, o->min_p, o->seed, o->early, o->sure,
                         gram_products_name(o->products), h) &&
           (!(o->votes % 2 || o->early % 2) || gr_buf_puts(out, ", an odd one in either order"))
               ? GRAM_OK : gr_nomem(err, "evaluation");
}

const char *gr_api_date(char text[32])
{
    time_t t = time(NULL);
    struct tm tm;

    return gmtime_r(&t, &tm) && strftime(text, 32, "%Y-%m-%d %H:%M UTC", &tm) ? text : NULL;
}

/* The facts of a run, and the texts that they borrow. */
typedef struct { char digest[17], date[32], chat[32]; gr_eval_facts facts; } facts_of;

static void collect(facts_of *f, gram_model *m)
{
    static const char *const dtypes[] = { "f32", "bf16", "int8", "int8-fast" };
    static const char *const truncates[] = { "error", "balanced", "drop" };

    snprintf(f->digest, sizeof f->digest, "%016" PRIx64,
             m->judge.plain ? GR_DIGEST : gr_digest(GR_DIGEST, m->judge.prompt, strlen(m->judge.prompt)));
    if (m->chat == GR_CHAT_JINJA)       /* a run is resumed with the template and the variables that it began with */
        snprintf(f->chat, sizeof f->chat, "jinja %016" PRIx64, m->judge.chat.digest);
    else
        snprintf(f->chat, sizeof f->chat, "%s", gr_chat_name(m->chat));
    f->facts = (gr_eval_facts){
        .model = m->name, .weights = gr_how_weights(m), .dtype = dtypes[m->dtype],
        .cpu = gr_device_is_host(m->device) ? gr_cpu_name(gr_kern_cpu()) : gr_device_name(m->device),
        .arithmetic = gram_arithmetic(m),
        .chat_template = f->chat,
        .truncate = truncates[m->judge.truncate], .date = gr_api_date(f->date),
        .prompt_hash = m->judge.plain ? NULL : f->digest, .lambda = m->lambda, .temperature = m->temperature,
        .label_a = m->judge.label_text[0], .label_b = m->judge.label_text[1], .max_tokens = m->judge.max_tokens,
        .single_order = reads_once(m), .batch_tokens = m->scorer.batch_tokens
    };
    if (m->judge.scale) {
        const size_t range[] = { m->judge.scale->low, m->judge.scale->n };
        f->facts.weights = gr_digest(f->facts.weights, range, sizeof range);
    }
}

/* The judge of a run, with its reasons where they are asked for; close_judge() also where it fails. */
static gram_status open_judge(struct judge *j, gram_model *m, const gram_eval_options *opt, facts_of *f, gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);

    *j = (struct judge){ .m = m };
    if (rc)
        return rc;
    collect(f, m);
    if (opt && opt->file.rationale) {
        rc = gram_reasoner_open(&j->reasoner, m, opt->file.rationale, err);
        if (!rc)
            rc = gr_reason_describe(opt->file.rationale, &j->reasoner->words, &j->words, err);
        f->facts.rationale = j->words.p;
    }
    return rc;
}

static void close_judge(struct judge *j)
{
    gram_reasoner_close(j->reasoner);
    gr_buf_clear(&j->words);
}

/* The base as the card says it: of an adapter over one file. */
static gram_status say_base(gr_card *c, const struct checkpoint *file, gram_err *err)
{
    char hex[GR_SHA256_TEXT];
    gram_status rc;

    if (!file->base || !gr_path_regular(file->base))
        return GRAM_OK;
    rc = gr_file_sha256(hex, &c->base_bytes, file->base, err);
    if (rc)
        return rc;
    c->base_file = gr_api_base_name(file->base);
    c->base_sha256 = gr_strdup(hex);
    return c->base_file && c->base_sha256 ? GRAM_OK : gr_nomem(err, "judge.json");
}

static const char *named(const gr_card *c)
{
    return c->name ? c->name : "no judge by name";
}

/* The card at `path`, where there is one, which must be of this judge over this base: its words would go with the
 * temperature of another. */
static gram_status read_card(gr_card *c, const gram_model *m, const char *path, gram_err *err)
{
    const gr_card *own = &m->file.card;
    char *text = NULL;
    size_t n;
    gram_status rc = gr_path_exists(path) ? gr_read_file(path, GR_CARD_MOST, &text, &n, err) : GRAM_OK;

    *c = (gr_card){ 0 };
    if (rc || !text)
        return rc;
    rc = gr_card_parse(c, path, text, n, err);
    free(text);
    if (!rc && strcmp(named(c), named(own)))
        rc = gr_fail(err, GRAM_EARG, "%s: it names %s, and the temperature is that of a judge whose judge.json names "
                     "%s: wanted its own, or a new file", path, named(c), named(own));
    else if (!rc && c->base_file && c->base_bytes != gr_weights_file_bytes(m->file.weights))
        rc = gr_fail(err, GRAM_EARG, "%s: its base is %s of %llu bytes, and the judge was asked over another: wanted a "
                     "new file", path, c->base_file, (unsigned long long)c->base_bytes);
    if (rc)
        gr_card_clear(c);
    return rc;
}

/* Whether judge.json at `path` can hold a temperature of this judge, asked like this. */
static gram_status can_say(const gram_model *m, const char *path, const gram_eval_options *opt, gram_err *err)
{
    gr_card card;
    gram_status rc = read_card(&card, m, path, err);

    if (rc)
        return rc;
    gr_card_clear(&card);
    if (opt->file.rationale)
        return gr_fail(err, GRAM_EARG, "a temperature is that of a verdict without reasons: `fit-temperature` goes "
                       "with no `rationale`");
    if (m->judge.pointwise)
        return gr_fail(err, GRAM_EARG, "%s: it holds the temperature of a judge of pairs, and one answer at a time is "
                       "judged here", path);
    if (m->template && m->chat == GR_CHAT_JINJA)
        return gr_fail(err, GRAM_EARG, "%s: it cannot hold the chat template %s: as chat_template.jinja in the judge's "
                       "directory it is found without being named", path, m->template);
    return GRAM_OK;
}

/* judge.json at `path` with the temperature that was found and the words that it was found with; what it says of other
 * things stays, and where there is none yet it says what the judge's own says. */
static gram_status write_card(gram_model *m, const char *path, const gram_temperature_fit *fit, gram_err *err)
{
    const gr_card *own = &m->file.card;
    gr_card c;
    gram_status rc = read_card(&c, m, path, err);

    if (!rc && !gr_path_exists(path) && ((own->name && !(c.name = gr_strdup(own->name))) ||
                                         (own->about && !(c.about = gr_strdup(own->about)))))
        rc = gr_nomem(err, path);
    gr_card_forget_words(&c);
    if (!rc)
        rc = gr_api_words(&c.reads, m, gr_model_config(m->model)->reward, err);
    if (!rc && !c.base_file)
        rc = say_base(&c, &m->file, err);
    c.temperature = fit->temperature;
    if (!rc)
        rc = gr_card_write(path, &c, fit, err);
    gr_card_clear(&c);
    return rc;
}

/* ---- Shares of the rows --------------------------------------------------------------------------- */

typedef struct {
    const char *const *file, *rows;
    size_t n;
    const gram_eval_options *opt;
    const gr_eval_facts *facts;
    struct judge *judge;
    gram_eval_summary *sum;
    bool lines;                 /* and no numbers yet */
} shared;

static gram_status run_all(const shared *s, const gram_eval_options *opt, char **table_out, gram_err *err)
{
    return gr_eval_run(s->file, s->n, opt, s->facts, score, s->judge, s->sum, table_out, err);
}

/* The lines of one share, into its file. */
static gram_status eval_share(void *arg, const gram_file_options *o, gram_err *err)
{
    const shared *s = arg;
    gram_eval_options one = *s->opt;
    gram_eval_summary sum = { 0 };
    char *name = NULL;
    gram_status rc = gr_shard_check(o, s->rows, err);

    if (!rc)
        rc = gr_shard_name(s->rows, o->share, o->shares, &name, err);
    if (!rc)
        rc = gr_shard_again(name, o->resume, err);
    one.file = *o;
    one.rows = name;
    one.report_dir = one.json = one.fit_temperature = NULL;
    if (!rc)
        rc = gr_eval_run(s->file, s->n, &one, s->facts, score, s->judge, &sum, NULL, err);
    s->sum->rows += sum.rows;
    s->sum->bad += sum.bad;
    s->sum->resumed += sum.resumed;
    s->sum->seconds += sum.seconds;
    free(name);
    return rc;
}

/* What goes on with all rows, which are there, and says nothing of them again. */
static gram_eval_options of_all(const gram_eval_options *opt)
{
    gram_eval_options all = *opt;

    gr_shards_whole(&all.file);
    return all;
}

/* Of o->workers: the shares that this process takes; where it ends the last, the numbers of all rows, from their
 * lines. A run that goes on with rows that were merged has none to take. */
static gram_status eval_shares(shared *s, char **table_out, gram_err *err)
{
    gram_eval_options all = of_all(s->opt);
    gram_file_options work = s->opt->file;
    bool merged = false, any = true;
    gram_status rc = GRAM_OK;

    if (!work.workers)
        return eval_share(s, &work, err);
    work.merged = &merged;
    if (work.resume && gr_path_exists(s->rows))
        rc = gr_shards_any(s->rows, &any, err);
    if (!rc)
        rc = gr_shards_work(s->rows, &work, any ? eval_share : NULL, s, err);
    if (s->opt->file.merged)
        *s->opt->file.merged = merged;
    all.rows = s->rows;
    return rc || !merged || s->lines ? rc : run_all(s, &all, table_out, err);
}

/* All rows; those that runs over shares have written are taken over where this one goes on. */
static gram_status eval_whole(shared *s, char **table_out, gram_err *err)
{
    bool there = false;
    gram_status rc = GRAM_OK;

    if (s->rows && s->opt->file.resume)
        rc = gr_shards_gather(s->rows, 0, gr_path_exists(s->rows), &there, err);
    if (!rc)
        rc = run_all(s, s->opt, table_out, err);
    return !rc && there ? gr_shards_remove(s->rows, err) : rc;
}

/* Of all rows, or of a share of them. */
static gram_status eval_rows(shared *s, char **table_out, gram_err *err)
{
    const gram_file_options *o = s->opt ? &s->opt->file : NULL;
    bool shares = o && (o->shares || o->workers);
    char *rows = NULL;
    gram_status rc = s->opt ? gr_eval_rows_path(s->opt, &rows, err) : GRAM_OK;

    if (!rc && shares && (!rows || gr_name_is_standard(rows)))
        rc = gr_fail(err, GRAM_EARG, "runs that share the rows join them by their lines: name a file for these, for "
                     "the JSON or for the report");
    if (!rc && shares && s->opt->report_dir)
        rc = gr_make_directory(s->opt->report_dir, err);
    s->rows = rows;
    if (!rc)
        rc = shares ? eval_shares(s, table_out, err) : eval_whole(s, table_out, err);
    free(rows);
    return rc;
}

gram_status gram_eval(gram_model *m, const char *const *file, size_t n, const gram_eval_options *opt,
                      gram_eval_summary *out, char **table_out, gram_err *err)
{
    struct judge j;
    facts_of f;
    gram_eval_summary sum = { 0 };
    shared s = { .file = file, .n = n, .opt = opt, .facts = &f.facts, .judge = &j, .sum = &sum };
    const char *to = opt ? opt->fit_temperature : NULL;
    gram_status rc = to ? can_say(m, to, opt, err) : GRAM_OK;

    if (table_out)
        *table_out = NULL;
    if (rc)
        return rc;
    rc = open_judge(&j, m, opt, &f, err);
    if (!rc)
        rc = eval_rows(&s, table_out, err);
    if (!rc && out)
        *out = sum;
    if (!rc && to && sum.fit.pairs)
        rc = write_card(m, to, &sum.fit, err);
    if (rc && table_out) {
        free(*table_out);
        *table_out = NULL;
    }
    close_judge(&j);
    return rc;
}

static gram_status eval_files(void *arg, const char *const *file, size_t n, const gram_eval_options *opt,
                              gram_eval_summary *out, gram_err *err)
{
    shared one = *(const shared *)arg;

    one.file = file;
    one.n = n;
    one.opt = opt;
    one.sum = out;
    return eval_rows(&one, NULL, err);
}

/* The process that merges the rows of the last benchmark knows that those of all are merged, since each of the others
 * has told its end there, and before that of all that it did. */
static gram_status eval_folder(shared *s, const char *folder, char **table_out, gram_err *err)
{
    gram_eval_options one = *s->opt, all = of_all(s->opt);
    bool merged = false;
    gram_status rc;

    one.file.merged = &merged;
    rc = gr_eval_folder(folder, &one, s->facts, eval_files, s, table_out, err);
    if (!rc && merged)
        rc = gr_eval_folder(folder, &all, s->facts, eval_files, s, table_out, err);
    if (all.file.merged)
        *all.file.merged = !rc && merged;
    return rc;
}

gram_status gram_eval_folder(gram_model *m, const char *folder, const gram_eval_options *opt, char **table_out,
                             gram_err *err)
{
    static const gram_eval_options none;
    struct judge j;
    facts_of f;
    shared s = { .opt = opt ? opt : &none, .facts = &f.facts, .judge = &j, .lines = true };
    gram_status rc;

    if (table_out)
        *table_out = NULL;
    if (s.opt->fit_temperature)
        return gr_fail(err, GRAM_EARG, "%s: a temperature is fitted on files of pairs, not on a folder of benchmarks",
                       folder);
    if ((s.opt->file.shares || s.opt->file.workers) && !s.opt->report_dir)
        return gr_fail(err, GRAM_EARG, "%s: runs that share the rows of a folder join them by their lines, which stand "
                       "in the report's folder: name one", folder);
    rc = open_judge(&j, m, opt, &f, err);
    if (!rc)
        rc = eval_folder(&s, folder, table_out, err);
    close_judge(&j);
    return rc;
}

gram_status gram_eval_compare(const char *a, const char *b, const char *json, const char *rows,
                              gram_eval_comparison *out, char **table_out, gram_err *err)
{
    return gr_eval_compare(a, b, json, rows, out, table_out, err);
}
