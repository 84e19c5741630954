/* how.c - the fields of a request that say how its texts are written, by their names in OpenAI's and vLLM's API.
 *
 * What is not given is neutral; no checkpoint's generation_config.json is read. */
#include <string.h>
#include <sys/random.h>
#include "serve/texts.h"

enum { STOPS = 16 };

static int read_stops(gr_req *r, gram_generation *g)
{
    json_t *v = json_object_get(r->in, "stop");
    size_t n = json_is_array(v) ? json_array_size(v) : v && !json_is_null(v);
    const char **stop = gr_req_alloc(r, STOPS, sizeof *stop);

    if (!stop)
        return r->status;
    if (n > STOPS)
        return gr_refuse(r, 422, "stop", "stop holds %zu strings; this server takes %d", n, STOPS);
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        if (one && one == r->odd)
            return gr_refuse(r, 422, "stop", "stop: string %zu holds %s, so no text can have it", i, r->odd_why);
        stop[i] = json_string_value(one);
        if (!stop[i] || !stop[i][0])
            return gr_refuse(r, 422, "stop", "stop must be a string or a list of strings, none of them empty");
    }
    g->stop = stop;
    g->n_stop = n;
    return 0;
}

int gr_read_seed(gr_req *r, int64_t otherwise, uint64_t *out, bool *drawn)
{
    json_t *v = json_object_get(r->in, "seed");
    bool given = v && !json_is_null(v);
    int64_t seed = given ? json_integer_value(v) : otherwise;

    if (given && !json_is_integer(v))
        return gr_refuse(r, 422, "seed", "seed must be a whole number; below 0 it is drawn");
    *out = (uint64_t)seed;
    *drawn = seed < 0;
    if (seed < 0 && getrandom(out, sizeof *out, 0) != sizeof *out)
        return gr_refuse(r, 503, "seed", "no seed could be drawn; give one");
    if (seed < 0)
        *out &= ((uint64_t)1 << 52) - 1;    /* it is told, and JavaScript and jq keep whole numbers below 2^53 alone */
    return 0;
}

/* low, high: what may be; NULL-ended names, of which the first is the field's. */
static int read_between(gr_req *r, const char *const *names, double low, double high, const char *wanted, double *out)
{
    json_t *v = gr_field(r, names);

    if (!v)
        return 0;
    if (!json_is_number(v))
        return gr_refuse(r, 422, names[0], "%s must be a number", names[0]);
    *out = json_number_value(v);
    return *out >= low && *out <= high ? 0 : gr_refuse(r, 422, names[0], "%s must be %s", names[0], wanted);
}

int gr_read_sampling(gr_req *r, gram_generation *g)
{
    const struct { const char *names[3]; double low, high; const char *wanted; double *out; } field[] = {
        { { "temperature" }, 0, 100, "0 to 100", &g->temperature },
        { { "top_p" }, 1e-9, 1, "above 0 and at most 1", &g->top_p },
        { { "min_p" }, 0, 1, "0 to 1", &g->min_p },
        { { "repetition_penalty", "repeat_penalty" }, 0.01, 100, "0.01 to 100", &g->repetition_penalty },
        { { "presence_penalty" }, -100, 100, "-100 to 100", &g->presence_penalty },
        { { "frequency_penalty" }, -100, 100, "-100 to 100", &g->frequency_penalty },
    };
    json_t *k = json_object_get(r->in, "top_k");
    int rc = 0;

    for (size_t i = 0; i < GR_COUNT(field) && !rc; i++)
        rc = read_between(r, field[i].names, field[i].low, field[i].high, field[i].wanted, field[i].out);
    if (!rc && !(json_is_integer(k) && json_integer_value(k) == -1))    /* vLLM's word for all of them */
        rc = gr_read_size(r, "top_k", 0, &g->top_k);
    return rc;
}

static int read_stream(gr_req *r, gr_texts *st)
{
    json_t *o = gr_field(r, (const char *[]){ "stream_options", NULL }), *usage = json_object_get(o, "include_usage");
    int rc = gr_read_bool(r, "stream", false, &st->stream);

    if (rc)
        return rc;
    if (o && (!json_is_object(o) || (usage && !json_is_null(usage) && !json_is_boolean(usage))))
        return gr_refuse(r, 422, "stream_options", "stream_options must be an object, and its include_usage true or "
                         "false");
    if (json_is_true(json_object_get(o, "continuous_usage_stats")))
        return gr_refuse(r, 422, "stream_options", "stream_options: continuous_usage_stats is not supported; usage is "
                         "told at the end");
    if (o && !st->stream)
        return gr_refuse(r, 422, "stream_options", "stream_options goes with \"stream\": true");
    st->usage = json_is_true(usage);
    return 0;
}

/* How long the answer may get, and what ends it. */
static int read_length(gr_req *r, const gr_texts *st, gram_generation *g)
{
    static const char *const max_names[] = { "max_completion_tokens", "max_tokens", NULL };
    json_t *max = gr_field(r, max_names), *ids = json_object_get(r->in, "stop_token_ids");
    size_t most = r->opt->max_new_tokens;
    int32_t *id = NULL;
    int rc = gr_read_size(r, "min_tokens", 0, &g->min_new_tokens);

    if (rc)
        return rc;
    if (max && (!json_is_integer(max) || json_integer_value(max) < !st->echo))
        return gr_refuse(r, 422, "max_tokens", "max_tokens must be a whole number, 1 or more%s",
                         st->echo ? ", or 0 for the prompt alone" : "");
    if (max && (size_t)json_integer_value(max) > most)      /* an answer cut at less would not be the one asked for */
        return gr_refuse(r, 422, "max_tokens", "max_tokens must be at most %zu, this server's --max-new-tokens", most);
    g->max_new_tokens = max ? (size_t)json_integer_value(max) : most;
    if (g->min_new_tokens > g->max_new_tokens)
        return gr_refuse(r, 422, "min_tokens", "min_tokens must be at most the %zu tokens that are written",
                         g->max_new_tokens);
    if (ids && !json_is_null(ids) && !(json_is_array(ids) && !json_array_size(ids)))
        rc = gr_read_ids(r, ids, "stop_token_ids", &id, &g->n_stop_ids);
    g->stop_ids = id;
    return rc ? rc : read_stops(r, g);
}

int gr_read_writing(gr_req *r, gr_texts *st)
{
    json_t *format = json_object_get(r->in, "response_format");
    const char *kind = json_string_value(json_object_get(format, "type"));
    gram_generation *g = &st->how;
    int rc;

    gram_generation_init(g);
    rc = gr_read_sampling(r, g);
    if (!rc)
        rc = gr_read_seed(r, -1, &g->seed, &st->drawn);     /* who asks again for want of another text gets one */
    if (!rc)
        rc = gr_read_size(r, "n", 1, &g->n);
    if (!rc)
        rc = read_stream(r, st);
    if (!rc)
        rc = gr_check_names(r, "max_completion_tokens", "max_tokens");
    if (!rc)
        rc = gr_check_names(r, "repetition_penalty", "repeat_penalty");
    if (rc)
        return rc;
    if (g->n < 1 || g->n > GR_TEXTS_MOST)
        return gr_refuse(r, 422, "n", "n must be 1 to %d", GR_TEXTS_MOST);
    if (json_is_object(format) ? !kind || strcmp(kind, "text") : format && !json_is_null(format))
        return gr_refuse(r, 422, "response_format", "response_format must be of type text");
    st->told = g->n;
    return read_length(r, st, g);
}
