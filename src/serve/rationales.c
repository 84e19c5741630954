/* rationales.c - see rationales.h.
 *
 * Writing is done in turns, as chats are written; reading, which needs the scorer, between two batches, a pair a step.
 */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "serve/rationales.h"
#include "serve/serve_int.h"
#include "serve/texts.h"

/* ---- The request ---------------------------------------------------------------------------------- */

/* A name, or an object as --rationale-format reads it from a file. No path: a request reads no file of the server. */
static int read_format(gr_req *r, gr_rationales *w)
{
    static const char *const names[] = { "gram-r2", "rm-r1", "think-rm" };
    json_t *v = gr_field(r, (const char *[]){ "rationale_format", NULL });

    if (!v)
        return 0;
    if (json_is_object(v)) {
        w->how.format = w->format = gr_json_text(v, JSON_COMPACT);
        return w->format ? 0 : gr_nomem_req(r);
    }
    for (size_t i = 0; i < GR_COUNT(names) && json_is_string(v); i++)
        if (!strcmp(json_string_value(v), names[i])) {
            w->how.format = names[i];
            return 0;
        }
    return gr_refuse(r, 422, "rationale_format", "rationale_format must be gram-r2, rm-r1, think-rm or an object with "
                     "opening, closing, cue, ending");
}

static int read_length(gr_req *r, gr_rationales *w)
{
    static const char *const names[] = { "rationale_tokens", "max_tokens", "max_completion_tokens" };
    size_t most = r->opt->max_new_tokens, given = 0;
    int rc = 0;

    for (size_t i = 0; i < GR_COUNT(names) && !rc && !given; i++) {
        rc = gr_read_size(r, names[i], 0, &given);
        if (!rc && (given > most || (!given && gr_field(r, (const char *[]){ names[i], NULL }))))
            rc = gr_refuse(r, 422, names[i], "%s must be 1 to %zu, which this server writes", names[i], most);
    }
    w->how.max_tokens = given ? given : gr_min(w->how.max_tokens, most);
    return rc;
}

static int read_settings(gr_req *r, gr_rationales *w)
{
    gram_generation g;
    gram_err err;
    bool drawn;
    int rc;

    gram_generation_init(&g);
    rc = gr_read_sampling(r, &g);
    if (!rc)
        rc = gr_read_seed(r, 0, &w->how.seed, &drawn);
    if (!rc)
        rc = gr_read_size(r, "votes", w->how.votes, &w->how.votes);
    if (!rc)
        rc = gr_read_size(r, "early", 0, &w->how.early);
    if (!rc)
        rc = gr_read_number(r, "sure", w->how.sure, &w->how.sure);
    if (!rc)
        rc = gr_read_bool(r, "stream", false, &w->stream);
    if (!rc)
        rc = read_length(r, w);
    if (!rc)
        rc = read_format(r, w);
    w->how.temperature = g.temperature;
    w->how.top_p = g.top_p;
    w->how.top_k = g.top_k;
    w->how.min_p = g.min_p;
    w->how.products = GRAM_PRODUCTS_FEW;
    w->how.single_order = r->engine->options.single_order;
    return !rc && gram_rationale_options_check(&w->how, &err) ? gr_refuse_err(r, &err) : rc;
}

int gr_rationales_read(gr_req *r, gr_rationales **out)
{
    bool asked;
    gr_rationales *w;
    int rc = gr_read_bool(r, "rationale", false, &asked);

    *out = NULL;
    if (!rc && !asked)
        rc = gr_refuse_without_rationale(r);
    if (rc || !asked)
        return rc;
    if (!r->engine->reasoner_open)
        return gr_refuse(r, 501, "rationale", "this server writes no rationales");
    w = gr_req_alloc(r, 1, sizeof *w);
    if (!w)
        return r->status;
    w->r = r;
    gram_rationale_options_init(&w->how);
    *out = w;
    return read_settings(r, w);
}

/* ---- Answers -------------------------------------------------------------------------------------- */

json_t *gr_rationales_json(gr_req *r, const gr_rationales *w, size_t i)
{
    const gr_rationales_one *one = &w->one[i];
    json_t *v = gr_verdict_json(&r->job.verdict[i]), *more = json_loads(one->json, 0, NULL);
    bool ok = v && more && !json_object_update(v, more);

    if (ok && one->read[0])
        ok = !json_object_set_new(v, "read", one->read[1] ? json_pack("[s,s]", one->read[0], one->read[1])
                                                          : json_pack("[s]", one->read[0]));
    json_decref(more);
    if (ok)
        return v;
    json_decref(v);
    return NULL;
}

json_t *gr_rationales_usage(const gr_rationales *w)
{
    return gr_written_json(w->prompt_tokens, w->written);
}

void gr_rationales_clear(gr_rationales *w)
{
    for (size_t i = 0; w && w->one && i < w->n; i++) {
        free(w->one[i].json);
        free(w->one[i].read[0]);
        free(w->one[i].read[1]);
    }
    if (w)
        free(w->format);
}

/* ---- Steps ---------------------------------------------------------------------------------------- */

struct part { gr_rationales *w; size_t i; };

static size_t place(const gr_rationales *w, size_t i)
{
    return w->place ? w->place[i] : i;
}

/* Two of a list that are compared. */
static json_t *called_json(const size_t pair[2])
{
    return json_pack("[I, o]", (json_int_t)pair[0],
                     pair[1] == SIZE_MAX ? json_string("reference") : json_integer((json_int_t)pair[1]));
}

static gram_status send_part(void *arg, const gram_reasoning_part *p, gram_err *err)
{
    const struct part *to = arg;
    const gr_rationales *w = to->w;
    json_t *text = gr_lossy_json(p->bytes ? p->more : "", p->bytes);
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:s, s:o, s:b}", "id", w->r->id, "object", "rationale.chunk", "index",
                          (json_int_t)place(w, to->i), "rationale", (json_int_t)p->index, "first",
                          p->swapped ? "b" : "a", "delta", text, "ended", p->ended);

    if (o && w->called && json_object_set_new(o, "pair", called_json(w->called[to->i]))) {
        json_decref(o);
        o = NULL;
    }
    return o && gr_stream_event(w->r, o) ? GRAM_OK : gr_nomem(err, "a rationale");
}

/* Pair i has no verdict. Where it is not the only one, and is to blame itself, the others go on. */
static gram_status set_fault(gr_engine *e, gr_rationales *w, size_t i, gram_status rc, gram_err *err)
{
    bool own = rc == GRAM_ELIMIT || rc == GRAM_EARG || rc == GRAM_EUNSUPPORTED;

    e->reasoning_close(w->one[i].g);
    w->one[i].g = NULL;
    w->left--;
    if (!own || (w->n == 1 && !w->more))
        return rc;
    w->r->job.fault[i] = gr_strdup(err->text);
    return w->r->job.fault[i] ? GRAM_OK : gr_nomem(err, "a rationale");
}

/* Those that are not yet. */
static gram_status open_all(gr_engine *e, gr_rationales *w, gram_err *err)
{
    gram_status rc = w->reasoner ? GRAM_OK : e->reasoner_open(e, &w->reasoner, &w->how, err);

    for (; w->opened < w->n && !rc; w->opened++) {
        rc = e->reasoning_open(&w->one[w->opened].g, w->reasoner, &w->pair[w->opened], err);
        if (rc)
            rc = set_fault(e, w, w->opened, rc, err);
    }
    return rc;
}

/* All pairs so far are done: are there others? */
static gram_status ask_more(gr_rationales *w, gram_err *err)
{
    size_t n = w->n;
    gram_status rc = w->more(w->r, err);

    w->left = rc ? 0 : w->n - n;
    w->r->job.in_turns = false;             /* opening takes the model for itself */
    return rc;
}

/* A token of each rationale. *on: some go on. */
static gram_status write_all(gr_engine *e, gr_rationales *w, bool *on, gram_err *err)
{
    gram_status rc = GRAM_OK;

    *on = false;
    for (size_t i = 0; i < w->n && !rc; i++) {
        gr_rationales_one *one = &w->one[i];
        bool more = true;
        if (!one->g || one->written)
            continue;
        rc = e->reasoning_write(one->g, w->stream ? send_part : NULL, &(struct part){ w, i }, &more, err);
        one->written = !more;
        *on = *on || (!rc && more);
        if (rc)
            rc = set_fault(e, w, i, rc, err);
    }
    return rc;
}

static gram_status show_one(gr_engine *e, gr_rationales *w, size_t i, bool both, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (int k = 0; k < 1 + both && !rc && w->explain; k++)
        rc = e->reason_show(w->reasoner, &w->pair[i], k == 1, &w->one[i].read[k], err);
    return rc;
}

static gram_status take_verdict(gr_engine *e, gr_rationales *w, size_t i, gram_err *err)
{
    gr_rationales_one *one = &w->one[i];
    const gram_reasoned *v = e->reasoning_verdict(one->g);
    gram_status rc;

    if (v->verdict.dropped) {
        gr_fail(err, GRAM_ELIMIT, "it is longer than the model may read");
        return set_fault(e, w, i, GRAM_ELIMIT, err);
    }
    w->r->job.verdict[i] = v->verdict;
    w->written += v->written;
    w->rationales += v->n;
    w->prompt_tokens += v->verdict.tokens - v->written;
    w->r->tokens += v->verdict.tokens;
    w->r->pairs++;
    one->json = gram_reasoned_json(v, w->how.seed);
    if (!one->json)
        return gr_nomem(err, "a rationale");
    gr_metrics_reasoned(&w->r->s->metrics, v);
    rc = show_one(e, w, i, v->n > 1 && v->rationale[1].swapped, err);
    e->reasoning_close(one->g);
    one->g = NULL;
    w->left--;
    return rc;
}

/* The verdicts of the first pair that waits for them. *more: of others they are still to be read. */
static gram_status read_one(gr_engine *e, gr_rationales *w, bool *more, gram_err *err)
{
    gram_status rc = GRAM_OK;
    bool done = false, others;

    *more = false;
    for (size_t i = 0; i < w->n && !rc; i++) {
        gr_rationales_one *one = &w->one[i];
        if (!one->g || !one->written)
            continue;
        if (done) {
            *more = true;
            break;
        }
        done = true;
        rc = e->reasoning_read(one->g, &others, err);
        one->written = false;
        if (rc)
            rc = set_fault(e, w, i, rc, err);
        else if (!others)
            rc = take_verdict(e, w, i, err);
    }
    return rc;
}

/* Where no pair could be judged, and nothing was sent yet, it is a refusal. */
static gram_status send_end(gr_rationales *w, gram_err *err)
{
    size_t faults = 0;
    json_t *all;

    for (size_t i = 0; i < w->n; i++)
        faults += w->r->job.fault[i] != NULL;
    if (faults == w->n && !w->more && !gr_stream_begun(w->r))
        return gr_fail(err, GRAM_EARG, "%s", w->r->job.fault[0]);
    all = w->whole(w->r);
    if (all && gr_stream_event(w->r, all) && gr_stream_done(w->r))
        return GRAM_OK;
    return gr_nomem(err, "an answer");
}

static gram_status step(gr_engine *e, void *arg, bool *again, gram_err *err)
{
    gr_rationales *w = arg;
    gr_job *job = &w->r->job;
    bool on;
    gram_status rc;

    if (w->opened < w->n) {
        rc = open_all(e, w, err);
        job->in_turns = true;
    } else if (job->in_turns) {
        rc = write_all(e, w, &on, err);
        job->in_turns = on;
    } else {
        rc = read_one(e, w, &on, err);
        job->in_turns = !on;
    }
    if (!rc && !w->left && w->more)
        rc = ask_more(w, err);
    *again = w->left > 0;
    if (!rc && !*again && w->stream)
        rc = send_end(w, err);
    return rc;
}

/* The worker alone touches what it has opened. */
static void end(gr_engine *e, void *arg)
{
    gr_rationales *w = arg;

    for (size_t i = 0; i < w->n; i++)
        e->reasoning_close(w->one[i].g);
    e->reasoner_close(w->reasoner);
}

int gr_rationales_ask(gr_req *r, gr_rationales *w, gr_req_fn *finish)
{
    size_t rationales, room = gr_max(w->room, w->n);
    int rc;

    if (!gr_mul(room, w->how.votes, &rationales) || rationales > r->opt->max_rows)
        return gr_refuse(r, 413, "votes", "%zu rationales of %zu pairs; this server writes %zu in all for one request",
                         w->how.votes, room, r->opt->max_rows);
    rc = gr_ask(r, (gram_pair *)(uintptr_t)w->pair, NULL, room, finish);       /* its limits, and room for verdicts */
    w->one = gr_req_alloc(r, room, sizeof *w->one);
    if (rc || !w->one)
        return r->status;
    w->left = w->n;
    if (w->stream)
        rc = gr_stream_open(r);
    r->job.end = end;
    return rc ? rc : gr_ask_step(r, step, w, finish);
}
