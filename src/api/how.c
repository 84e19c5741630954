/* how.c - see how.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/how.h"
#include "api/judge_int.h"
#include "api/reason_int.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "file/io.h"
#include "reward/scale.h"

enum { MOST = 1 << 20, DIGEST = 17 };     /* bytes of the JSON; of a digest with its newline */

/* An adapter is read whole. */
uint64_t gr_how_weights(const gram_model *m)
{
    const gr_config *c = m->model ? gr_model_config(m->model) : &m->file.cfg;     /* of words alone all zeros */
    uint64_t h = gr_weights_sample(m->file.weights), config = gr_config_digest(c);

    for (size_t i = 0; m->file.adapter && i < gr_adapter_count(m->file.adapter); i++) {
        const gr_named *t = gr_adapter_at(m->file.adapter, i);
        h = gr_digest_text(h, t->name);
        h = gr_digest(h, t->data, t->bytes);
    }
    return gr_digest(h, &config, sizeof config);
}

json_t *gr_how_model(const gram_model *m)
{
    return m ? json_sprintf("%s %016" PRIx64 " %d", m->name, gr_how_weights(m), (int)m->dtype) : json_null();
}

json_t *gr_how_judge(const gram_model *m)
{
    const gr_judge *j = &m->judge;
    uint64_t prompt = j->prompt ? gr_digest(GR_DIGEST, j->prompt, strlen(j->prompt)) : 0;
    json_t *scale = j->scale ? json_sprintf("%zu-%zu", j->scale->low, j->scale->low + j->scale->n - 1) : json_null();

    return json_pack("{s:o, s:o, s:s?, s:s?, s:o, s:I, s:i, s:b, s:f, s:f}",
                     "judge prompt", json_sprintf("%016" PRIx64, prompt),
                     "chat template", json_sprintf("%s %016" PRIx64, gr_chat_name(m->chat), j->chat.digest),
                     "label A", j->label_text[0], "label B", j->label_text[1], "scale", scale,
                     "max tokens", (json_int_t)j->max_tokens, "truncate", (int)j->truncate,
                     "single order", m->scorer.single_order, "lambda", m->lambda, "temperature", m->temperature);
}

uint64_t gr_how_words(const gr_reason_words *w)
{
    const gr_format *f = &w->format;
    const char *const text[] = { f->opening, f->closing, f->cue, f->ending, w->label[0], w->label[1], w->judge.prompt };
    uint64_t h = GR_DIGEST;

    for (size_t i = 0; i < GR_COUNT(text); i++)
        h = gr_digest_text(h, text[i]);
    return h;
}

void gram_fingerprint(const gram_model *m, char out[17])
{
    uint64_t weights = gr_how_weights(m), h = gr_digest(GR_DIGEST, &weights, sizeof weights);
    int dtype = (int)m->dtype;
    json_t *asks = gr_how_judge(m);
    char *text = gr_json_text(asks, JSON_COMPACT | JSON_REAL_PRECISION(17));

    h = gr_digest(h, &dtype, sizeof dtype);
    snprintf(out, 17, "%016" PRIx64, gr_digest_text(h, text ? text : ""));
    free(text);
    json_decref(asks);
}

json_t *gr_how_judged(const gram_judge *j)
{
    return j ? json_pack("{s:s, s:o, s:o, s:o, s:s*}", "is", j->about, "model", gr_how_model(j->m),
                         "asks", j->m ? gr_how_judge(j->m) : json_null(), "format",
                         j->reasoner ? json_sprintf("%016" PRIx64, gr_how_words(&j->reasoner->words)) : json_null(),
                         "model of the server", j->served)
             : json_null();
}

json_t *gr_how_generation(const gram_generation *g)
{
    json_t *stop = json_array(), *ids = json_array();
    bool ok = stop && ids;

    for (size_t i = 0; i < g->n_stop; i++)
        ok = !json_array_append_new(stop, json_string(g->stop[i])) && ok;
    for (size_t i = 0; i < g->n_stop_ids; i++)
        ok = !json_array_append_new(ids, json_integer(g->stop_ids[i])) && ok;
    if (!ok) {
        json_decref(stop);
        json_decref(ids);
        return NULL;
    }
    return json_pack("{s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:s, s:o, s:o}", "temperature", g->temperature,
                     "top_k", (json_int_t)g->top_k, "top_p", g->top_p, "min_p", g->min_p, "repetition_penalty",
                     g->repetition_penalty, "presence_penalty", g->presence_penalty, "frequency_penalty",
                     g->frequency_penalty, "min_new_tokens", (json_int_t)g->min_new_tokens, "max_new_tokens",
                     (json_int_t)g->max_new_tokens, "seed", (json_int_t)g->seed, "products",
                     gram_products_name(g->products), "stop", stop, "stop_ids", ids);
}

#define WHOLE "whole"

static gram_status differ(const char *key, const json_t *before, const json_t *now, const char *path, const char *what,
                          const char *other, gram_err *err)
{
    char *a = gr_json_text(before, JSON_ENCODE_ANY | JSON_COMPACT);
    char *b = gr_json_text(now, JSON_ENCODE_ANY | JSON_COMPACT);
    gram_status rc = gr_fail(err, GRAM_EARG, "%s: %s has %s %s, and %s %s", path, what, key, a ? a : "of no kind",
                             other, b ? b : "of no kind");

    free(a);
    free(b);
    return rc;
}

gram_status gr_how_compare(const json_t *was, const json_t *is, const char *path, const char *what, const char *other,
                           gram_err *err)
{
    const char *key;
    gram_status rc = GRAM_OK;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)is, key, v) {
        const json_t *before = json_object_get(was, key);
        if (before && json_equal(before, v))
            continue;
        rc = json_is_object(before) && json_is_object(v) ? gr_how_compare(before, v, path, what, other, err)
                                                         : differ(key, before, v, path, what, other, err);
        if (rc)
            return rc;
    }
    json_object_foreach((json_t *)(uintptr_t)was, key, v)
        if (!json_object_get(is, key) && strcmp(key, WHOLE))
            return differ(key, v, NULL, path, what, other, err);
    return GRAM_OK;
}

/* ---- Beside an output ------------------------------------------------------------------------------ */

static char *path_of(const char *name)
{
    gr_buf b = { 0 };

    if (gr_buf_printf(&b, "%s.how", name))
        return b.p;
    gr_buf_clear(&b);
    return NULL;
}

/* The JSON that the file begins with; *end: where it ends. */
static gram_status read_head(json_t **how, int fd, const char *path, off_t *end, gram_err *err)
{
    char *text = gr_calloc(MOST, 1);
    ssize_t n = text ? pread(fd, text, MOST, 0) : 0;
    gram_status rc = !text ? gr_nomem(err, path) : n < 0 ? gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno))
                           : GRAM_OK;
    json_error_t e;

    *how = rc ? NULL : json_loadb(text, (size_t)n, JSON_DISABLE_EOF_CHECK, &e);
    if (!rc && !*how)
        rc = gr_fail(err, GRAM_EIO, "%s: it does not say in JSON how lines were made", path);
    if (*how)
        *end = e.position;
    free(text);
    return rc;
}

/* *how NULL where there is no such file. */
static gram_status read_path(json_t **how, const char *path, gram_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end;
    gram_status rc;

    *how = NULL;
    if (fd < 0)
        return errno == ENOENT ? GRAM_OK : gr_fail(err, GRAM_EIO, "%s: %s", path, strerror(errno));
    rc = read_head(how, fd, path, &end, err);
    close(fd);
    return rc;
}

gram_status gr_how_read(json_t **how, const char *name, gram_err *err)
{
    char *path = path_of(name);
    gram_status rc = path ? read_path(how, path, err) : gr_nomem(err, name);

    if (!path)
        *how = NULL;
    free(path);
    return rc;
}

gram_status gr_how_keep(const char *path, const json_t *how, bool resume, gram_err *err)
{
    char *json = gr_json_text(how, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_t *was = NULL;
    gr_buf text = { 0 };
    gram_status rc = json && gr_buf_printf(&text, "%s\n", json) ? GRAM_OK : gr_nomem(err, path);

    if (!rc && resume)
        rc = read_path(&was, path, err);
    if (!rc && was)
        rc = gr_how_compare(was, how, path, "the run that is to be resumed", "this one", err);
    else if (!rc)
        rc = gr_write_file(path, text.p, text.n, err);
    json_decref(was);
    gr_buf_clear(&text);
    free(json);
    return rc;
}

static gram_status failed(const gr_how *h, gram_err *err)
{
    return gr_fail(err, GRAM_EIO, "%s: %s", h->path, strerror(errno));
}

/* The file, and how many digests it holds. */
static gram_status open_digests(gr_how *h, int flags, gram_err *err)
{
    json_t *head = NULL;
    struct stat st;
    gram_status rc;

    h->fd = open(h->path, flags | O_CLOEXEC);
    if (h->fd < 0 || fstat(h->fd, &st))
        return failed(h, err);
    rc = read_head(&head, h->fd, h->path, &h->begin, err);
    json_decref(head);
    h->begin++;                                 /* its newline */
    if (!rc && st.st_size >= h->begin)
        h->n = (uint64_t)(st.st_size - h->begin) / DIGEST;
    return rc;
}

gram_status gr_how_begin(gr_how *h, const char *name, const json_t *how, uint64_t *lines, gram_err *err)
{
    gram_status rc;

    *h = (gr_how){ .path = path_of(name), .fd = -1 };
    if (!h->path)
        return gr_nomem(err, name);
    if (*lines && !gr_path_exists(h->path))
        return gr_fail(err, GRAM_EARG, "%s: it is missing, and says what the lines of %s.partial were made of: without "
                       "it nothing goes on from them", h->path, name);
    rc = gr_how_keep(h->path, how, *lines > 0, err);
    if (!rc)
        rc = open_digests(h, O_RDWR | O_APPEND, err);
    if (rc)
        return rc;
    *lines = h->n = gr_min(h->n, *lines);
    return ftruncate(h->fd, h->begin + (off_t)h->n * DIGEST) ? failed(h, err) : GRAM_OK;
}

gram_status gr_how_add(gr_how *h, uint64_t digest, gram_err *err)
{
    char text[DIGEST + 1];

    snprintf(text, sizeof text, "%016" PRIx64 "\n", digest);
    h->n++;
    return gr_write_all(h->fd, text, DIGEST) ? GRAM_OK : failed(h, err);
}

gram_status gr_how_next(gr_how *h, uint64_t *digest, gram_err *err)
{
    char text[DIGEST + 1] = "";
    ssize_t n = pread(h->fd, text, DIGEST, h->begin + (off_t)h->read++ * DIGEST);

    if (n < 0)
        return failed(h, err);
    if (strspn(text, "0123456789abcdef") != DIGEST - 1 || text[DIGEST - 1] != '\n')
        return gr_fail(err, GRAM_EIO, "%s: digest %" PRIu64 ": wanted 16 hexadecimal digits in a line", h->path,
                       h->read);
    *digest = strtoull(text, NULL, 16);
    return GRAM_OK;
}

void gr_how_close(gr_how *h)
{
    if (h->path && h->fd >= 0)
        close(h->fd);
    free(h->path);
    *h = (gr_how){ .fd = -1 };
}

gram_status gr_how_join(gr_how *h, const char *name, gram_err *err)
{
    gr_how from = { .path = path_of(name), .fd = -1 };
    gram_status rc = !from.path ? gr_nomem(err, name)
                   : gr_path_exists(from.path) ? open_digests(&from, O_RDONLY, err) : GRAM_OK;
    uint64_t digest;

    while (!rc && from.read < from.n) {
        rc = gr_how_next(&from, &digest, err);
        if (!rc)
            rc = gr_how_add(h, digest, err);
    }
    gr_how_close(&from);
    return rc;
}

/* ---- Beside what is whole -------------------------------------------------------------------------- */

/* The digest of the output's bytes and the number of its lines, as one text; NULL: it is not read. */
static json_t *whole_text(const char *name, uint64_t lines)
{
    uint64_t digest = GR_DIGEST;

    return gr_file_digest(name, &digest, NULL) ? NULL : json_sprintf("%016" PRIx64 " %" PRIu64, digest, lines);
}

/* What NAME.how says, less its digests, where the output is what a run noted as whole; NULL otherwise. */
static json_t *read_whole(const char *name, uint64_t *lines)
{
    json_t *how, *is = NULL;
    const char *was;

    if (!gr_path_regular(name) || gr_how_read(&how, name, NULL) || !how)
        return NULL;
    was = json_string_value(json_object_get(how, WHOLE));
    if (was && strlen(was) > DIGEST) {
        *lines = strtoull(was + DIGEST, NULL, 10);
        is = whole_text(name, *lines);
    }
    if (!is || !json_equal(is, json_object_get(how, WHOLE))) {
        json_decref(how);
        how = NULL;
    }
    json_decref(is);
    return how;
}

bool gr_how_is_whole(const char *name)
{
    json_t *how = read_whole(name, &(uint64_t){ 0 });

    json_decref(how);
    return how;
}

gram_status gr_how_open_whole(gr_how *h, const char *name, const json_t *how, bool *whole, gram_err *err)
{
    uint64_t lines = 0;
    json_t *was = read_whole(name, &lines);
    gram_status rc;

    *h = (gr_how){ .fd = -1 };
    *whole = was;
    if (!was)
        return GRAM_OK;
    h->path = path_of(name);
    rc = h->path ? gr_how_compare(was, how, h->path, "the run that made what is to be resumed", "this one", err)
                 : gr_nomem(err, name);
    json_decref(was);
    if (!rc)
        rc = open_digests(h, O_RDWR | O_APPEND, err);
    if (!rc && h->n < lines)
        rc = gr_fail(err, GRAM_EIO, "%s: digests of %" PRIu64 " rows, and %s has %" PRIu64 " lines", h->path, h->n,
                     name, lines);
    if (!rc && ftruncate(h->fd, h->begin + (off_t)lines * DIGEST))     /* of lines that were begun behind them */
        rc = failed(h, err);
    h->n = lines;
    return rc;
}

/* The file anew: the JSON with what is whole, and the digests as they are. */
static gram_status write_whole(gr_how *h, json_t *head, gr_out *to, gram_err *err)
{
    char *text = gr_json_text(head, JSON_INDENT(2) | JSON_REAL_PRECISION(17)), block[64 * DIGEST];
    gram_status rc = text ? gr_out_line(to, text, strlen(text), err) : gr_nomem(err, h->path);

    for (uint64_t at = 0, n; at < h->n && !rc; at += n) {
        n = gr_min(h->n - at, (uint64_t)64);
        if (pread(h->fd, block, n * DIGEST, h->begin + (off_t)at * DIGEST) != (ssize_t)(n * DIGEST))
            rc = gr_fail(err, GRAM_EIO, "%s: it is not read", h->path);
        else
            rc = gr_out_write(to, block, n * DIGEST, err);
    }
    free(text);
    return rc ? rc : gr_out_commit(to, err);
}

static bool note_whole(gr_how *h, const char *name)
{
    json_t *head = NULL, *whole = NULL;
    gr_out *to = NULL;
    off_t end;
    bool ok = !read_head(&head, h->fd, h->path, &end, NULL) && (whole = whole_text(name, h->n)) &&
              !json_object_set(head, WHOLE, whole) && !gr_out_open(&to, h->path, false, NULL) &&
              !write_whole(h, head, to, NULL);

    gr_out_close(to);
    json_decref(whole);
    json_decref(head);
    return ok;
}

void gr_how_end(gr_how *h, const char *name, bool resumes)
{
    if (!resumes || !note_whole(h, name))
        gr_how_forget(name);
}

void gr_how_forget(const char *name)
{
    char *path = path_of(name);

    if (path)
        unlink(path);
    free(path);
}
