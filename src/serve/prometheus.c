/* prometheus.c - GET /metrics in Prometheus' text format. */
#include <stdlib.h>
#include <string.h>
#include "serve/serve_int.h"

static const int status_of[GR_STATUSES] = { 200, 400, 401, 403, 404, 405, 413, 415, 422, 429, 499, 500, 501, 503, 0 };
static const double bucket[GR_LATENCY_BUCKETS] = { .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30,
                                                   60 };

void gr_metrics_count(gr_metrics *m, const gr_req *r, double seconds)
{
    size_t route = r->route ? (size_t)(r->route - gr_routes) : GR_ROUTES_MAX, status = 0, b = 0;

    while (status_of[status] && status_of[status] != r->sent)
        status++;
    m->answers[route][status]++;
    if (!r->route || strcmp(r->route->method, "POST"))
        return;                             /* the page and /metrics would only make latency look good */
    while (b < GR_LATENCY_BUCKETS && seconds > bucket[b])
        b++;
    m->latency[b]++;
    m->latency_sum += seconds;
    m->latency_n++;
    m->pairs += r->pairs;
}

void gr_metrics_reasoned(gr_metrics *m, const gram_reasoned *v)
{
    m->rationales += v->n;
    m->rationale_tokens += v->written;
    m->forced += v->forced;
    m->contradicting += v->contradicts;
}

static bool add_requests(gr_buf *b, const gr_metrics *m)
{
    bool ok = gr_buf_puts(b, "# HELP gram_requests_total Answers by path and status; 499: the client left.\n"
                             "# TYPE gram_requests_total counter\n");

    for (size_t i = 0; i <= GR_ROUTES_MAX; i++)
        for (size_t k = 0; k < GR_STATUSES; k++)
            if (m->answers[i][k])
                ok = ok && gr_buf_printf(b, "gram_requests_total{method=\"%s\",path=\"%s\",status=\"%d\"} %llu\n",
                                         i < gr_n_routes ? gr_routes[i].method : "",
                                         i < gr_n_routes ? gr_routes[i].path : "", status_of[k],
                                         (unsigned long long)m->answers[i][k]);
    return ok;
}

static bool add_latency(gr_buf *b, const gr_metrics *m)
{
    unsigned long long sum = 0;
    bool ok = gr_buf_puts(b, "# HELP gram_request_seconds From a request's first byte to its answer.\n"
                             "# TYPE gram_request_seconds histogram\n");

    for (size_t i = 0; i < GR_LATENCY_BUCKETS; i++) {
        sum += m->latency[i];
        ok = ok && gr_buf_printf(b, "gram_request_seconds_bucket{le=\"%g\"} %llu\n", bucket[i], sum);
    }
    return ok && gr_buf_printf(b, "gram_request_seconds_bucket{le=\"+Inf\"} %llu\ngram_request_seconds_sum %.9g\n"
                               "gram_request_seconds_count %llu\n", (unsigned long long)m->latency_n, m->latency_sum,
                               (unsigned long long)m->latency_n);
}

static bool add(gr_buf *b, const char *name, const char *type, const char *help, double value)
{
    return gr_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

int gr_metrics_answer(gr_req *r)
{
    const gr_metrics *m = &r->s->metrics;
    gr_queue_stats q;
    gr_buf b = { 0 };
    bool ok;

    gr_queue_read_stats(r->s->queue, &q);
    ok = add_requests(&b, m) && add_latency(&b, m)
      && add(&b, "gram_pairs_total", "counter", "Pairs judged for answered requests.", (double)m->pairs)
      && add(&b, "gram_texts_total", "counter", "Choices of chats and completions that have ended.", (double)m->texts)
      && add(&b, "gram_text_tokens_total", "counter", "Tokens written for them, also for those whose client left.",
             (double)m->text_tokens)
      && add(&b, "gram_rationales_total", "counter", "Rationales written before verdicts.", (double)m->rationales)
      && add(&b, "gram_rationale_tokens_total", "counter", "Tokens of rationales.", (double)m->rationale_tokens)
      && add(&b, "gram_rationales_forced_total", "counter", "Rationales that were closed by force.", (double)m->forced)
      && add(&b, "gram_rationales_contradicting_total", "counter", "Rationales whose verdict is another than their "
             "conclusion.", (double)m->contradicting)
      && add(&b, "gram_queue_requests", "gauge", "Requests waiting or being judged.", (double)q.jobs)
      && add(&b, "gram_queue_pairs", "gauge", "Pairs waiting or being judged.", (double)q.pairs)
      && add(&b, "gram_dropped_pairs_total", "counter", "Pairs not judged: client left, failed or late.",
             (double)q.dropped_pairs)
      && add(&b, "gram_batches_total", "counter", "Batches given to the model.", (double)q.batches)
      && add(&b, "gram_batch_pairs_total", "counter", "Pairs in those batches.", (double)q.batch_pairs)
      && add(&b, "gram_batch_failures_total", "counter", "Batches that failed.", (double)q.batch_failures)
      && add(&b, "gram_busy_seconds_total", "counter", "Time spent on batches.", q.busy_seconds)
      && add(&b, "gram_tokens_total", "counter", "Tokens read, each sequence whole.", (double)q.usage.tokens)
      && add(&b, "gram_tokens_computed_total", "counter", "Tokens computed, shared prefixes once.",
             (double)q.usage.tokens_computed)
      && add(&b, "gram_prefix_reuse_ratio", "gauge", "Share of the tokens read that needed no computing.",
             q.usage.tokens ? 1 - (double)q.usage.tokens_computed / (double)q.usage.tokens : 0)
      && add(&b, "gram_tokens_per_second", "gauge", "Of late, while there was work.", q.tokens_per_second)
      && add(&b, "process_start_time_seconds", "gauge", "Unix time.", (double)r->s->started);
    r->asset_n = b.n;
    r->asset = ok ? gr_req_strndup(r, b.p, b.n) : NULL;
    r->type = "text/plain; version=0.0.4; charset=utf-8";
    gr_buf_clear(&b);
    return r->asset ? 0 : gr_nomem_req(r);
}
