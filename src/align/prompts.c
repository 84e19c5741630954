/* prompts.c - the prompts of a policy's run, rendered once; see align.h. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "align/align.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

void gr_align_prompt_clear(gr_align_prompt *p)
{
    gr_group_clear(&p->row);
    gr_ids_clear(&p->ids);
    gr_ids_clear(&p->other);
    free(p->columns);
}

void gr_align_prompts_clear(gr_align_prompts *p)
{
    for (size_t i = 0; i < p->n; i++)
        gr_align_prompt_clear(&p->p[i]);
    free(p->p);
    *p = (gr_align_prompts){ 0 };
}

static bool room_for_one(gr_align_prompts *s)
{
    gr_align_prompt *grown = gr_grown(s->p, s->n, &s->cap, 1, sizeof *grown);

    s->p = grown ? grown : s->p;
    return grown;
}

/* Takes the row over, but not its JSON. */
static gram_status add(gr_align_prompts *s, gr_group *row, const json_t *json, const gr_align_rules *r, gram_err *err)
{
    gr_align_prompt p = { .row = *row, .columns = gr_json_text(json, JSON_COMPACT) };
    gram_status rc = p.columns ? gr_chat_ids(&r->judge->chat, r->judge->tok, p.row.turn, p.row.n_turns, p.row.tools,
                                             &p.ids, err)
                               : gr_nomem(err, "prompts");

    if (!rc && p.ids.n > r->most && r->truncate == GRAM_TRUNCATE_DROP) {
        s->dropped++;
    } else if (!rc && p.ids.n > r->most) {
        rc = gr_fail(err, GRAM_EFORMAT, "row %s: a prompt of %zu tokens, of which %zu leave room for an answer; "
                     "`truncate drop` leaves such rows out", p.row.id, p.ids.n, r->most);
    } else if (!rc && room_for_one(s)) {
        s->digest = gr_digest(s->n ? s->digest : GR_DIGEST, p.ids.p, p.ids.n * sizeof *p.ids.p);
        s->digest = gr_digest(s->digest, p.columns, strlen(p.columns) + 1);
        s->p[s->n++] = p;
        return GRAM_OK;
    } else if (!rc) {
        rc = gr_nomem(err, "prompts");
    }
    gr_align_prompt_clear(&p);
    return rc;
}

gram_status gr_align_bad_row(gr_align_prompts *out, const gr_align_rules *r, gram_status rc, const gram_err *why,
                             gram_err *err)
{
    if (rc != GRAM_EFORMAT || !r->skip_bad)
        return gr_fail(err, rc, "%s", why->text);
    out->bad++;
    if (r->warn)
        r->warn(r->arg, why->text);
    return GRAM_OK;
}

static gram_status read_file(gr_align_prompts *out, const char *path, const gr_align_rules *r, gram_err *err)
{
    gr_reader *reader;
    bool end = false;
    gram_status rc = r->words ? gr_align_read_pairs(out, path, r, err) : GRAM_OK;

    if (rc || r->words)
        return rc;
    rc = gr_reader_open(&reader, path, r->columns, err);

    if (rc)
        return rc;
    while (!rc && !end) {
        gr_group row = { 0 };
        json_t *json = NULL;
        gram_err why;
        rc = gr_reader_asked(reader, false, &row, &json, &end, &why);
        if (!rc && !end) {
            rc = add(out, &row, json, r, &why);
            json_decref(json);
            if (rc && rc != GRAM_ENOMEM) {
                gram_err said = why;
                rc = gr_fail(&why, GRAM_EFORMAT, "%s:%" PRIu64 ": %s", path, gr_reader_line(reader), said.text);
            }
        }
        if (rc)
            rc = gr_align_bad_row(out, r, rc, &why, err);
    }
    gr_reader_close(reader);
    return rc;
}

gram_status gr_align_read(gr_align_prompts *out, const char *path, const char *const *more, const gr_align_rules *r,
                          gram_err *err)
{
    gram_status rc;

    *out = (gr_align_prompts){ .apart = r->words && r->apart };
    rc = read_file(out, path, r, err);
    for (; more && *more && !rc; more++)
        rc = read_file(out, *more, r, err);
    if (!rc && out->n == 0)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no prompt to answer: %" PRIu64 " bad rows, %" PRIu64 " too long", path,
                     out->bad, out->dropped);
    if (rc)
        gr_align_prompts_clear(out);
    return rc;
}

gram_status gr_align_set(const gr_align_prompts *p, gr_set *out, gram_err *err)
{
    *out = (gr_set){ .bad = p->bad, .dropped = p->dropped, .ties = p->ties,
                     .reasoned = p->apart ? (p->n + p->dropped) / 2 : 0 };
    for (size_t i = 0; i < p->n; i++) {
        const gr_align_prompt *one = &p->p[i];      /* a pair is the same in either order */
        uint64_t text = one->row.n ? gr_group_digest(&one->row)
                                   : gr_digest(GR_DIGEST, one->ids.p, one->ids.n * sizeof *one->ids.p);
        gr_example e = { .weight = 1, .text = { text, 0 } };
        gram_status rc = gr_ids_add(&e.seq[0], p->p[i].ids.p, p->p[i].ids.n) ? gr_set_add(out, &e, err)
                                                                            : gr_nomem(err, "prompts");
        if (rc) {
            gr_ids_clear(&e.seq[0]);
            gr_set_clear(out);
            return rc;
        }
    }
    out->digest ^= p->digest;           /* references too */
    return GRAM_OK;
}
