/* reference.c - the log-probabilities of the answers of dpo and its kin under the reference: computed once, before the
 * first step, and kept in OUT/reference.jsonl, where a run that goes on finds them.
 *
 *     {"rows":"9f0c..."}                         a digest of all rows, of the reference and of what else the run is
 *     {"chosen":-41.2,"rejected":-38.9}          of each; kto: of the answer, and of the one to another prompt */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "file/io.h"
#include "train/loop_int.h"

#define LARGEST ((size_t)1 << 32)

/* The rows of every set, one behind the other, and of them those that the next micro-batch can take. */
struct all {
    const struct loop *l;
    size_t n, count, most;
    uint64_t digest;
    const gr_example **e;       /* [most] */
    gr_example *room;           /* [most] */
};

static gram_status all_open(struct all *a, const struct loop *l, gram_err *err)
{
    *a = (struct all){ .l = l, .n = l->r->train->n, .digest = l->r->train->digest };
    for (size_t k = 0; k < l->r->n_held; k++) {
        a->n += l->r->held[k].n;
        a->digest = a->digest * 3 ^ l->r->held[k].digest;
    }
    a->most = gr_min(a->n, l->r->batch_tokens / 2 + 1);     /* a row has two tokens or more */
    a->e = gr_calloc(a->most, sizeof(*a->e));
    a->room = gr_calloc(a->most, sizeof *a->room);
    a->digest = gr_digest(a->digest, l->settings, strlen(l->settings));     /* they name whose weights these are */
    return a->e && a->room ? GRAM_OK : gr_nomem(err, "training rows");
}

static void all_clear(struct all *a)
{
    for (size_t i = 0; a->room && i < a->most; i++)
        gr_room_clear(&a->room[i]);
    free(a->room);
    free(a->e);
}

/* The set of row i, which becomes its place there. */
static const gr_set *set_of(const struct all *a, size_t *i)
{
    const gr_set *s = a->l->r->train;

    for (size_t k = 0; *i >= s->n; k++) {
        *i -= s->n;
        s = &a->l->r->held[k];
    }
    return s;
}

static double *ref_of(const struct all *a, size_t i)
{
    const gr_set *s = set_of(a, &i);

    return gr_set_ref(s, i);
}

static gram_status look_from(struct all *a, size_t first, gram_err *err)
{
    size_t tokens = 0;
    gram_status rc = GRAM_OK;

    for (a->count = 0; a->count < gr_min(a->most, a->n - first) && tokens <= a->l->r->batch_tokens && !rc; ) {
        size_t i = first + a->count;
        const gr_set *s = set_of(a, &i);
        rc = gr_set_get(s, i, &a->room[a->count], &a->e[a->count], err);
        if (!rc)
            tokens += gr_example_tokens(a->e[a->count++]);
    }
    return rc;
}

static gram_status compute(struct loop *l, struct all *a, gram_err *err)
{
    gr_grad g = l->grad;
    gram_status rc = GRAM_OK;

    g.head = NULL;
    if (l->r->reference)
        g.t = l->r->reference;
    for (size_t i = 0, k; i < a->n && !rc; i += k) {
        rc = look_from(a, i, err);
        k = rc ? 1 : gr_grad_fits(a->e, a->count, l->r->batch_tokens);
        if (!rc)
            rc = gr_grad_reference(&g, a->e, k, err);
        if (!rc)
            rc = gr_dist_check(l->share.d, err);
    }
    gr_grad_clear(&g);
    gr_trainee_release(g.t);
    return rc;
}

static gram_status write(const char *path, const struct all *a, gram_err *err)
{
    gr_buf b = { 0 };
    bool ok = gr_buf_printf(&b, "{\"rows\":\"%016" PRIx64 "\"}\n", a->digest);
    gram_status rc;

    for (size_t i = 0; i < a->n && ok; i++)
        ok = gr_buf_printf(&b, "{\"chosen\":%.17g,\"rejected\":%.17g}\n", ref_of(a, i)[0],
                           ref_of(a, i)[1]);
    rc = ok ? gr_write_file(path, b.p, b.n, err) : gr_nomem(err, path);
    gr_buf_clear(&b);
    return rc;
}

/* Whether the file has them all, of these rows; otherwise they are computed again. */
static bool read_line(const char *line, size_t n, double ref[2])
{
    json_t *o = json_loadb(line, n, 0, NULL);
    const json_t *w = json_object_get(o, "chosen"), *l = json_object_get(o, "rejected");
    bool ok = json_is_number(w) && json_is_number(l);

    if (ok) {
        ref[0] = json_number_value(w);
        ref[1] = json_number_value(l);
    }
    json_decref(o);
    return ok;
}

static bool read_all(const char *path, const struct all *a)
{
    char *text = NULL, want[40], *at, *end;
    size_t bytes, i = 0;
    bool ok = gr_path_exists(path) && !gr_read_file(path, LARGEST, &text, &bytes, NULL);

    snprintf(want, sizeof want, "{\"rows\":\"%016" PRIx64 "\"}\n", a->digest);
    ok = ok && bytes > strlen(want) && !memcmp(text, want, strlen(want));
    at = ok ? text + strlen(want) : NULL;
    for (; ok && i < a->n; i++, at = end + 1) {
        end = memchr(at, '\n', bytes - (size_t)(at - text));
        ok = end && read_line(at, (size_t)(end - at), ref_of(a, i));
    }
    free(text);
    return ok;
}

gram_status gr_run_refer(struct loop *l, gram_err *err)
{
    char *path = gr_path_join(l->r->out, "reference.jsonl");
    struct all a;
    gram_status rc = all_open(&a, l, err);

    if (!rc && !path)
        rc = gr_nomem(err, l->r->out);
    if (!rc && !(l->r->opt->resume && !l->share.d && read_all(path, &a))) {
        rc = compute(l, &a, err);
        if (!rc && gr_run_is_first(l))
            rc = write(path, &a, err);
    }
    all_clear(&a);
    free(path);
    return rc;
}
