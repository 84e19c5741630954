/* bon_shares.c - best-of-n by processes that share the rows: each writes the lines of the shares that it takes, and the
 * last makes the file and its curve of all lines, as a run that was cut off behind the last row goes on. */
#include "api/bon_int.h"
#include "api/judge_int.h"
#include "api/shards.h"

struct shared {
    gram_model *policy;
    gram_judge *judge;
    const char *in, *out;
    const gram_bon_options *opt;
    gram_bon_report sum;
};

static void add_report(gram_bon_report *to, const gram_bon_report *r)
{
    gr_file_report_add(&to->file, &r->file);
    to->answers += r->answers;
    to->tokens += r->tokens;
    to->cut += r->cut;
    to->failed += r->failed;
    to->unjudged += r->unjudged;
    gr_judge_add_cost(&to->judge, &r->judge);
    gr_judge_add_cost(&to->gold, &r->gold);
}

static gram_status share(void *arg, const gram_file_options *o, gram_err *err)
{
    struct shared *s = arg;
    gram_bon_options own = *s->opt;
    gram_bon_report one;
    gram_status rc;

    own.file = *o;
    own.json = own.report_dir = NULL;
    rc = gram_bon_file(s->policy, s->judge, s->in, s->out, &own, &one, NULL, err);
    add_report(&s->sum, &one);
    return rc;
}

/* All lines are there; nothing is written or judged again. */
static gram_status make_whole(struct shared *s, size_t shares, char **table, gram_err *err)
{
    gram_bon_options all = *s->opt;
    gram_bon_report whole;
    bool there;
    gram_status rc = gr_shards_gather(s->out, shares, false, &there, err);

    gr_shards_whole(&all.file);
    if (!rc)
        rc = gram_bon_file(s->policy, s->judge, s->in, s->out, &all, &whole, table, err);
    if (!rc)
        s->sum.curve = whole.curve;
    return rc;
}

gram_status gr_bon_shares(gram_model *policy, gram_judge *judge, const char *in, const char *out,
                          const gram_bon_options *opt, gram_bon_report *report, char **table, gram_err *err)
{
    struct shared s = { .policy = policy, .judge = judge, .in = in, .out = out, .opt = opt };
    gram_bon_options all = *opt;
    size_t shares;
    bool last = false, one;
    gram_status rc = gr_shards_one(out, &opt->file, &one, err);

    if (one)
        return gr_shards_alone(&all.file) ? gram_bon_file(policy, judge, in, out, &all, report, table, err) : GRAM_OK;
    if (!rc)
        rc = gr_shards_take(out, &opt->file, share, &s, &shares, &last, err);
    if (!rc && last)
        rc = make_whole(&s, shares, table, err);
    if (opt->file.merged)
        *opt->file.merged = !rc && last;
    *report = s.sum;
    return rc;
}
