/* job.c - see job.h. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "api/job.h"
#include "api/reason_int.h"
#include "api/shards.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "file/table.h"
#include "rationale/prove.h"

static const gram_file_options no_options;

/* The rows, and the name of the output. A share of an earlier run under this name is checked line by line as if it were
 * to be gone on with, or it goes, so that a run that fails leaves none for a merge to take. */
static gram_status take_share(gr_job *j, gram_err *err)
{
    const gram_file_options *o = j->opt;
    gram_status rc = gr_shard_check(o, j->name, err);

    if (!rc)
        rc = gr_reader_share(j->reader, o->share, o->shares, err);
    if (!rc)
        rc = gr_shard_name(j->name, o->share, o->shares, &j->part, err);
    if (!rc)
        rc = gr_shard_again(j->part, o->resume, err);
    j->name = j->part;
    return rc;
}

/* Adds to what the command says of itself all else that decides what this job writes, which is gone on with or merged
 * with its like alone. */
static gram_status describe(const gr_job *j, json_t *how, gram_err *err)
{
    const gram_file_options *o = j->opt;
    gr_buf words = { 0 };
    json_t *judge = j->m ? gr_how_judge(j->m) : json_object();
    json_int_t lines = (json_int_t)gr_reader_lines(j->reader), share = (json_int_t)o->share;
    uint64_t digest = gr_reader_digest(j->reader);
    gram_status rc = j->reasoner ? gr_reason_describe(o->rationale, &j->reasoner->words, &words, err) : GRAM_OK;

    if (!rc && (!judge || json_object_update(how, judge) || json_object_set_new(how, "model", gr_how_model(j->m)) ||
                json_object_set_new(how, "columns", o->columns ? json_string(o->columns) : json_null()) ||
                json_object_set_new(how, "reasons", words.p ? json_string(words.p) : json_null()) ||
                (o->shares && json_object_set_new(how, "lines", json_integer(lines))) ||
                (o->shares && json_object_set_new(how, "digest of the lines", json_sprintf("%016" PRIx64, digest))) ||
                (o->shares && json_object_set_new(how, "share", json_integer(share)))))
        rc = gr_nomem(err, j->in);
    json_decref(judge);
    gr_buf_clear(&words);
    return rc;
}

static gram_status note_how(gr_job *j, const json_t *how, gram_err *err)
{
    uint64_t resumed = j->report->resumed;
    gram_status rc = gr_how_begin(&j->how, j->name, how, &j->report->resumed, err);

    if (!rc && j->report->resumed < resumed)            /* the machine stopped before all digests were on the disk */
        rc = gr_out_keep(j->out, j->report->resumed, err);
    return rc;
}

static gram_status begin(gr_job *j, const json_t *how, gram_err *err)
{
    gram_status rc = j->opt->resume ? gr_out_resume(&j->out, j->name, &j->report->resumed, err)
                                    : gr_out_open(&j->out, j->name, true, err);

    if (!rc)
        rc = gr_out_rows(j->out, err);
    if (!rc && !gr_out_in_place(j->out))
        rc = note_how(j, how, err);
    return rc;
}

/* Whether a run before has made all of the output, and what was noted of its rows then. CSV says neither what is a
 * number nor what is missing, so that its lines are not read again. */
static gram_status find_whole(gr_job *j, const json_t *how, gram_err *err)
{
    gr_table_kind kind = gr_table_kind_of(j->name);
    gram_status rc = GRAM_OK;

    if (j->opt->resume && !j->opt->shares && !gr_out_begun(j->name) && kind != GR_TABLE_CSV && kind != GR_TABLE_TSV)
        rc = gr_how_open_whole(&j->how, j->name, how, &j->whole, err);
    if (!rc && j->whole)
        j->report->resumed = j->how.n;
    return rc;
}

/* What is whole becomes the beginning of an output that rows are added to. */
static gram_status go_on(gr_job *j, gram_err *err)
{
    gr_lines *before = NULL;
    const char *line;
    size_t n;
    gram_status rc = GRAM_OK;

    if (gr_table_kind_of(j->name))
        rc = gr_fail(err, GRAM_EARG, "%s: it is whole, %s has more rows, and none is added to a table: a run that does "
                     "not resume judges all of them", j->name, j->in);
    if (!rc)
        rc = gr_out_open(&j->out, j->name, true, err);
    if (!rc)
        rc = gr_out_rows(j->out, err);
    if (!rc)
        rc = gr_lines_open(&before, j->name, err);
    while (!rc && !(rc = gr_lines_next(before, &line, &n, err)) && line)
        rc = gr_out_line(j->out, line, n, err);
    gr_lines_close(before);
    j->whole = rc;
    return rc;
}

const char *gr_job_earlier(const gr_job *j)
{
    return j->whole ? j->name : gr_out_partial(j->out);
}

gram_status gr_job_open(gr_job *j, gram_model *m, const char *in, const char *out, const gram_file_options *opt,
                        json_t *how, gram_file_report *report, gram_err *err)
{
    gram_status rc = m ? gr_api_ready(m, err) : GRAM_OK;

    *j = (gr_job){ .m = m, .in = in, .name = out, .opt = opt ? opt : &no_options, .report = report,
                   .before = m ? gram_get_usage(m) : (gram_usage){ 0 } };
    *report = (gram_file_report){ 0 };
    j->start = gr_now();
    if (!rc && !how)
        rc = gr_nomem(err, in);
    if (!rc && j->opt->rationale)
        rc = gram_reasoner_open(&j->reasoner, m, j->opt->rationale, err);
    if (!rc)
        rc = gr_reader_open(&j->reader, in, j->opt->columns, err);
    if (!rc && !gr_name_is_standard(out))
        rc = gr_reader_spares(j->reader, out, err);
    if (!rc && j->opt->shares)
        rc = take_share(j, err);
    if (!rc && j->opt->progress)
        j->lines = gr_reader_total(j->reader);
    if (!rc && !gr_name_is_standard(j->name))
        rc = describe(j, how, err);
    if (!rc)
        rc = find_whole(j, how, err);
    if (!rc && !j->whole)
        rc = begin(j, how, err);
    if (!rc && report->resumed)
        rc = gr_lines_open(&j->earlier, gr_job_earlier(j), err);
    json_decref(how);
    return rc;
}

/* As too long; a proof has other reasons, too. */
static bool is_dropped(const json_t *v)
{
    const char *why = json_string_value(v);

    return json_is_true(v) || (why && !strcmp(why, GR_TOO_LONG));
}

/* The next line that the run before wrote: its id into j->written. */
static gram_status next_written(gr_job *j, gram_err *err)
{
    const char *line, *found;
    size_t n;
    json_t *o;
    gram_status rc = gr_lines_next(j->earlier, &line, &n, err);

    if (rc || !line)
        return rc;
    if (j->spread)
        rc = gr_spread_add(j->spread, line, n, err);
    if (rc)
        return rc;
    o = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    found = json_string_value(json_object_get(o, "id"));
    j->report->truncated += json_is_true(json_object_get(o, "truncated"));
    j->report->dropped += is_dropped(json_object_get(o, "dropped"));
    j->failed += json_object_get(o, "error") != NULL;
    j->written = gr_strdup(found ? found : "without an id");
    json_decref(o);
    return j->written ? GRAM_OK : gr_nomem(err, j->in);
}

gram_status gr_job_check_written(gr_job *j, const char *id, uint64_t digest, bool *same, gram_err *err)
{
    uint64_t then = 0;
    gram_status rc = j->written ? GRAM_OK : next_written(j, err);

    *same = !rc && (!j->written || !strcmp(j->written, id));
    if (rc)
        return rc;
    if (!*same)
        return gr_fail(err, GRAM_EARG, "%s:%" PRIu64 ": row %s, but line %" PRIu64 " of what is to be resumed is of "
                       "row %s: wanted the input of the run before", gr_reader_at(j->reader, NULL).name,
                       gr_reader_line(j->reader), id, gr_lines_number(j->earlier), j->written);
    rc = gr_how_next(&j->how, &then, err);
    if (!rc && then != digest)
        rc = gr_fail(err, GRAM_EARG, "%s:%" PRIu64 ": row %s says something else than when line %" PRIu64 " of what is "
                     "to be resumed was made of it: wanted the input of the run before",
                     gr_reader_at(j->reader, NULL).name, gr_reader_line(j->reader), id, gr_lines_number(j->earlier));
    j->met++;
    free(j->written);
    j->written = NULL;
    return rc;
}

/* PURM's lines are written anew with what follows from all of them; those of the run until now stay until then. */
static gram_status write_spread(gr_job *j, gram_err *err)
{
    gr_out *whole = NULL;
    gram_status rc;

    if (gr_out_in_place(j->out))
        return gr_spread_write(j->spread, j->m->lambda, j->out, err);
    rc = gr_out_open(&whole, j->name, false, err);
    if (!rc)
        rc = gr_out_rows(whole, err);
    if (!rc)
        rc = gr_spread_write(j->spread, j->m->lambda, whole, err);
    if (!rc)
        rc = gr_out_commit(whole, err);
    gr_out_close(whole);
    if (!rc) {
        gr_how_end(&j->how, j->name, j->opt->resume);
        gr_out_drop(j->out);
        j->out = NULL;
    }
    return rc;
}

/* A share is no whole: the merge makes it. */
static gram_status commit(gr_job *j, gram_err *err)
{
    bool in_place = gr_out_in_place(j->out);
    gram_status rc = gr_out_commit(j->out, err);

    if (!rc && !in_place && !j->opt->shares)
        gr_how_end(&j->how, j->name, j->opt->resume);
    return rc;
}

/* Ends the job: on success the output appears under its name, otherwise its partial lines stay. */
gram_status gr_job_close(gr_job *j, gram_status rc, gram_err *err)
{
    gram_usage u = j->m ? gram_get_usage(j->m) : (gram_usage){ 0 };

    if (!rc && j->met < j->report->resumed)
        rc = gr_fail(err, GRAM_EARG, "%s: it ends after %llu rows of the %llu lines that are to be resumed: wanted the "
                     "input of the run before", j->in, (unsigned long long)j->met,
                     (unsigned long long)j->report->resumed);
    if (!rc && j->spread && j->out)
        rc = write_spread(j, err);
    if (!rc && j->out)
        rc = commit(j, err);
    else if (j->out)
        gr_out_flush(j->out, NULL);
    gr_out_close(j->out);
    gr_lines_close(j->earlier);
    gr_how_close(&j->how);
    free(j->written);
    gr_reader_close(j->reader);
    free(j->part);
    gram_reasoner_close(j->reasoner);
    j->report->rows += j->report->resumed;
    j->report->seconds = gr_now() - j->start;
    j->report->usage = (gram_usage){ u.sequences - j->before.sequences, u.tokens - j->before.tokens,
                                     u.tokens_computed - j->before.tokens_computed, u.seconds - j->before.seconds };
    return rc;
}

/* A row that could not be read: counted and told of, or the end. */
gram_status gr_job_bad_row(gr_job *j, gram_status rc, const gram_err *why, gram_err *err)
{
    if (rc != GRAM_EFORMAT || !j->opt->skip_bad)
        return gr_fail(err, rc, "%s", why->text);
    j->report->bad++;
    if (j->opt->warn)
        j->opt->warn(j->opt->arg, why->text);
    return GRAM_OK;
}

bool gr_job_refuses(const gr_job *j, gram_status rc)
{
    return j->opt->skip_bad && (rc == GRAM_EARG || rc == GRAM_EUNSUPPORTED);
}

bool gr_job_stopped(const gr_job *j)
{
    return j->opt->progress && j->opt->progress(j->opt->arg, gr_reader_done(j->reader), j->lines);
}

gram_status gr_job_stop(const gr_job *j, gram_err *err)
{
    return gr_fail(err, GRAM_ESTOPPED, "%s: stopped after line %llu", gr_reader_at(j->reader, NULL).name,
                   (unsigned long long)gr_reader_line(j->reader));
}

gram_status gr_job_step(gr_job *j, gram_err *err)
{
    gram_status rc = j->out ? gr_out_flush(j->out, err) : GRAM_OK;

    return !rc && gr_job_stopped(j) ? gr_job_stop(j, err) : rc;
}

/* A line of JSON Lines, its doubles with all their digits; malloc'ed. NULL: out of memory. */
static char *line_of(const json_t *o)
{
    return gr_json_text(o, JSON_COMPACT | JSON_REAL_PRECISION(17));
}

gram_status gr_api_write_line(gr_out *out, const json_t *o, const char *name, gram_err *err)
{
    char *text = line_of(o);
    gram_status rc = text ? gr_out_line(out, text, strlen(text), err) : gr_nomem(err, name);

    free(text);
    return rc;
}

gram_status gr_job_write(gr_job *j, uint64_t digest, json_t *o, gram_err *err)
{
    char *text = line_of(o);
    gram_status rc = !text ? gr_nomem(err, "output line") : j->whole ? go_on(j, err) : GRAM_OK;
    bool held = !rc && j->spread && gr_out_in_place(j->out);       /* what is out there cannot be written anew */

    if (!rc && j->spread)
        rc = gr_spread_add(j->spread, text, strlen(text), err);
    if (!rc && j->how.path)
        rc = gr_how_add(&j->how, digest, err);
    if (!rc && !held)
        rc = gr_out_line(j->out, text, strlen(text), err);
    free(text);
    json_decref(o);
    return rc;
}

/* ---- Conversations ------------------------------------------------------------------------------- */

static json_t *message_json(const gram_message *m)
{
    json_t *o = m->extra ? json_loads(m->extra, 0, NULL) : json_object();

    if (!o || json_object_set_new(o, "role", json_string(m->role)) ||
        (!json_object_get(o, "content") && json_object_set_new(o, "content", json_string(m->content)))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

json_t *gr_api_messages_json(const gram_prompt *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->n; i++)
        if (json_array_append_new(list, message_json(&p->turn[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

json_t *gr_api_prompt_json(const gram_prompt *p)
{
    if (p->n == 1 && !strcmp(p->turn->role, "user") && !p->turn->extra)
        return json_string(p->turn->content);
    return gr_api_messages_json(p);
}

json_t *gr_api_line_json(const char *id, const gram_prompt *p)
{
    json_t *o = json_pack("{s:s, s:o}", "id", id, "prompt", gr_api_prompt_json(p));

    if (o && ((p->tools && json_object_set_new(o, "tools", json_loads(p->tools, 0, NULL))) ||
              (p->criteria && json_object_set_new(o, "criteria", json_string(p->criteria))))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

char *gr_api_columns(const json_t *row)
{
    static const char *const own[] = { "prompt", "messages", "responses", "completions", "answers", "completion",
                                       "index", "reference" };
    json_t *o = json_copy((json_t *)(uintptr_t)row);
    char *text;

    for (size_t i = 0; i < GR_COUNT(own); i++)
        json_object_del(o, own[i]);
    text = gr_json_text(o, JSON_COMPACT);
    json_decref(o);
    return text;
}
