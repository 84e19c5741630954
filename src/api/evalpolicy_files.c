/* evalpolicy_files.c - see evalpolicy_int.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/evalpolicy_int.h"
#include "api/how.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

/* ---- Prompts ------------------------------------------------------------------------------------- */

void gr_eval_prompts_clear(gr_eval_prompts *p)
{
    for (size_t i = 0; i < p->n; i++) {
        gr_group_clear(&p->p[i].row);
        json_decref(p->p[i].json);
    }
    free(p->p);
    *p = (gr_eval_prompts){ 0 };
}

static gram_status add_prompt(gr_eval_prompts *to, gr_eval_prompt *p, gram_err *err)
{
    const gram_prompt prompt = gr_group_prompt(&p->row);
    gr_eval_prompt *grown = gr_grown(to->p, to->n, &to->cap, 1, sizeof *grown);
    json_t *o = gr_api_line_json(p->row.id, &prompt);
    char *text = o ? gr_json_text(o, JSON_COMPACT) : NULL;
    gram_status rc = grown && text ? GRAM_OK : gr_nomem(err, "prompts");

    json_decref(o);
    to->p = grown ? grown : to->p;
    if (!rc) {
        to->digest = gr_digest(to->n ? to->digest : GR_DIGEST, text, strlen(text) + 1);
        if (p->given)
            to->digest = gr_digest(to->digest, p->given, strlen(p->given) + 1);
        to->p[to->n++] = *p;
    }
    free(text);
    return rc;
}

static gram_status read_given(gr_eval_prompt *p, const char *column, gr_at at)
{
    const json_t *v = column ? json_object_get(p->json, column) : NULL;

    if (!column)
        return GRAM_OK;
    if (!json_is_string(v))
        return gr_bad(&at, "key \"%s\" must be a text, the baseline's answer", column);
    p->given = json_string_value(v);
    return strlen(p->given) == json_string_length(v)
         ? GRAM_OK : gr_bad(&at, "key \"%s\": U+0000 is in the baseline's answer", column);
}

gram_status gr_eval_prompts_read(gr_eval_prompts *out, const char *path, const char *column, const gram_file_options *o,
                                 uint64_t *bad, gram_err *err)
{
    gr_reader *reader;
    gram_status rc = gr_reader_open(&reader, path, o->columns, err);
    bool end = false;

    if (rc)
        return rc;
    while (!rc && !end) {
        gr_eval_prompt p = { 0 };
        gram_err why = { 0 };
        rc = gr_reader_asked(reader, false, &p.row, &p.json, &end, &why);
        if (!rc && !end)
            rc = read_given(&p, column, gr_reader_at(reader, &why));
        if (!rc && !end)
            rc = add_prompt(out, &p, &why);
        if (!rc && !end)
            continue;
        gr_group_clear(&p.row);
        json_decref(p.json);
        if (rc == GRAM_EFORMAT && o->skip_bad) {
            ++*bad;
            if (o->warn)
                o->warn(o->arg, why.text);
            rc = GRAM_OK;
        } else if (rc)
            gr_fail(err, rc, "%s", why.text);
    }
    gr_reader_close(reader);
    return rc || out->n ? rc : gr_fail(err, GRAM_EFORMAT, "%s: there is no prompt in it", path);
}

/* ---- Lines --------------------------------------------------------------------------------------- */

/* The lines of `path`, each of the row in its place. */
static gram_status load(gr_eval_file *f, const char *path, const gr_eval_prompts *rows, size_t each, gram_err *err)
{
    gr_lines *lines;
    const char *text;
    size_t bytes;
    gram_status rc = gr_lines_open(&lines, path, err);

    if (rc)
        return rc;
    while (!(rc = gr_lines_next(lines, &text, &bytes, err)) && text) {
        size_t i = json_array_size(f->line);
        json_t *o = json_loadb(text, bytes, 0, NULL);
        const char *id = json_string_value(json_object_get(o, "id"));
        const char *want = i < rows->n * each ? rows->p[i / each].row.id : "none";
        if (!id || strcmp(id, want))
            rc = gr_fail(err, GRAM_EARG, "%s:%zu: a line of row %s, where the prompts have row %s: wanted the input of "
                         "the run before", path, i + 1, id ? id : "without an id", want);
        if (!rc && json_array_append(f->line, o))
            rc = gr_nomem(err, path);
        json_decref(o);
        if (rc)
            break;
    }
    gr_lines_close(lines);
    f->resumed = json_array_size(f->line);
    return rc;
}

gram_status gr_eval_file_open(gr_eval_file *f, const char *dir, const char *name, bool resume,
                              const gr_eval_prompts *rows, size_t each, gram_err *err)
{
    uint64_t n = 0;
    gr_buf part = { 0 };
    gram_status rc;

    *f = (gr_eval_file){ .path = gr_path_join(dir, name), .line = json_array() };
    if (!f->path || !f->line || !gr_buf_printf(&part, "%s.partial", f->path)) {
        rc = gr_nomem(err, name);
    } else if (resume && gr_path_exists(f->path)) {
        rc = load(f, f->path, rows, each, err);
        if (!rc && f->resumed < rows->n * each)
            rc = gr_fail(err, GRAM_EARG, "%s: %zu lines, and there are %zu answers to the prompts: wanted the input of "
                         "the run before", f->path, f->resumed, rows->n * each);
    } else {
        rc = resume ? gr_out_resume(&f->out, f->path, &n, err) : gr_out_open(&f->out, f->path, true, err);
        if (!rc && n)
            rc = load(f, part.p, rows, each, err);
    }
    gr_buf_clear(&part);
    return rc;
}

gram_status gr_eval_file_add(gr_eval_file *f, json_t *line, gram_err *err)
{
    gram_status rc = json_array_append(f->line, line) ? gr_nomem(err, f->path)
                                                      : gr_api_write_line(f->out, line, f->path, err);

    if (!rc)
        rc = gr_out_flush(f->out, err);
    json_decref(line);
    return rc;
}

gram_status gr_eval_file_commit(gr_eval_file *f, gram_err *err)
{
    gram_status rc = f->out ? gr_out_commit(f->out, err) : GRAM_OK;

    gr_out_close(f->out);
    f->out = NULL;
    return rc;
}

void gr_eval_file_close(gr_eval_file *f)
{
    gr_out_close(f->out);
    json_decref(f->line);
    free(f->path);
    *f = (gr_eval_file){ 0 };
}

/* ---- Settings ------------------------------------------------------------------------------------ */

/* Nothing of an earlier run may be taken for this one's by a later resume. */
static gram_status forget(const char *dir, gram_err *err)
{
    static const char *const name[] = { "policy.jsonl", "baseline.jsonl", "rows.jsonl", "numbers.json", "index.html",
                                        "policy.jsonl.partial", "baseline.jsonl.partial", "rows.jsonl.partial" };

    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char *path = gr_path_join(dir, name[i]);
        gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);
        if (!rc && gr_path_exists(path) && remove(path))
            rc = gr_fail(err, GRAM_EIO, "%s: it is of an earlier run and cannot be removed", path);
        free(path);
        if (rc)
            return rc;
    }
    return GRAM_OK;
}

gram_status gr_eval_settings(const char *dir, json_t *o, bool resume, gram_err *err)
{
    char *path = gr_path_join(dir, "run.json");
    gram_status rc = path && o ? gr_make_directory(dir, err) : gr_nomem(err, dir);

    if (!rc && !(resume && gr_path_exists(path)))
        rc = forget(dir, err);
    if (!rc)
        rc = gr_how_keep(path, o, resume, err);
    json_decref(o);
    free(path);
    return rc;
}
