/* text.c - see text.h. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "rationale/text.h"

bool gr_reason_text_add(gr_reason_text *t, gr_byte_kind kind, const char *s, size_t n)
{
    char run[64];

    memset(run, kind, sizeof run);
    for (size_t left = n; left; left -= gr_min(left, sizeof run))
        if (!gr_buf_add(&t->kind, run, gr_min(left, sizeof run)))
            return false;
    return gr_buf_add(&t->text, s, n);
}

void gr_reason_text_clear(gr_reason_text *t)
{
    gr_buf_clear(&t->text);
    gr_buf_clear(&t->kind);
}

static bool add_tag(gr_reason_text *t, const char *tag)
{
    return gr_reason_text_add(t, GR_OWN, tag, strlen(tag));
}

gram_status gr_reason_text_ids(const gr_reason_words *w, const gr_reason_text *t, gr_ids *out, gram_err *err)
{
    size_t n_runs = 0, n = t->text.n;
    gr_tok_run *run;
    gram_status rc;

    for (size_t i = 0; i < n; i++)
        n_runs += i == 0 || t->kind.p[i] != t->kind.p[i - 1];
    run = gr_calloc(n_runs, sizeof *run);
    if (!run)
        return gr_nomem(err, "a rationale");
    n_runs = 0;
    for (size_t i = 0; i < n; i++)
        if (i + 1 == n || t->kind.p[i + 1] != t->kind.p[i])
            run[n_runs++] = (gr_tok_run){ i + 1, t->kind.p[i] == GR_OWN, t->kind.p[i] == GR_PROMPT };
    rc = gr_tok_encode_marked(w->judge.tok, t->text.p ? t->text.p : "", n, run, n_runs, &w->marks, out, err);
    free(run);
    return rc;
}

/* ---- What does not depend on the pair ------------------------------------------------------------- */

/* The added tokens in a tag, and the one special token that a closing tag may be. */
static gram_status find_marks(gr_reason_words *w, gr_str tag, bool closing, gram_err *err)
{
    const gr_tok *tok = w->judge.tok;
    gr_ids ids = { 0 };
    gram_status rc = tag.n ? gr_tok_encode_behind(tok, tag.p, tag.n, true, &ids, err) : GRAM_OK;

    for (size_t i = 0; i < ids.n && !rc; i++)
        if (gr_tok_is_added(tok, ids.p[i]) && !gr_tok_is_special(tok, ids.p[i]) &&
            !gr_ids_add(&w->marks, &ids.p[i], 1))
            rc = gr_nomem(err, "rationale format");
    if (!rc && closing && ids.n == 1 && gr_tok_is_special(tok, ids.p[0]) && !gr_ids_add(&w->ends, ids.p, 1))
        rc = gr_nomem(err, "rationale format");
    gr_ids_clear(&ids);
    return rc;
}

/* The rationale closed, and a label behind its cue. */
static gram_status encode_labelled(const gr_reason_words *w, const gr_reason_text *like, gr_str rationale, int label,
                                   gr_ids *out, gram_err *err)
{
    gr_str body = gr_format_trim(rationale);
    gr_reason_text t = { 0 };
    gram_status rc = GRAM_OK;

    if (!gr_buf_add(&t.text, like->text.p, like->text.n) || !gr_buf_add(&t.kind, like->kind.p, like->kind.n) ||
        !gr_reason_text_add(&t, GR_FOREIGN, body.p, body.n) || !add_tag(&t, w->format.closing) ||
        !add_tag(&t, w->format.cue) || !add_tag(&t, w->label[label]))
        rc = gr_nomem(err, "a rationale");
    if (!rc)
        rc = gr_reason_text_ids(w, &t, out, err);
    gr_reason_text_clear(&t);
    return rc;
}

/* *out gets what both labels' texts begin with, id[] the one token that each has more. */
static gram_status find_verdict(const gr_reason_words *w, const gr_reason_text *like, gr_str rationale, gr_ids *out,
                                int32_t id[2], gram_err *err)
{
    gr_ids with[2] = { { 0 } };
    size_t same = 0;
    gram_status rc = GRAM_OK;

    for (int i = 0; i < 2 && !rc; i++)
        rc = encode_labelled(w, like, rationale, i, &with[i], err);
    while (!rc && same < gr_min(with[0].n, with[1].n) && with[0].p[same] == with[1].p[same])
        same++;
    for (int i = 0; i < 2 && !rc; i++)
        if (with[i].n != same + 1)
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "label \"%s\": wanted one token behind \"%s%s\", found %zu",
                         w->label[i],
                         w->format.closing, w->format.cue, with[i].n - same);
        else
            id[i] = with[i].p[same];
    if (!rc && !gr_ids_add(out, with[0].p, same))
        rc = gr_nomem(err, "a rationale");
    gr_ids_clear(&with[0]);
    gr_ids_clear(&with[1]);
    return rc;
}

static gram_status find_labels(gr_reason_words *w, gram_err *err)
{
    static const char words[] = "The better one is clear.";
    gr_reason_text none = { 0 };
    gr_ids ids = { 0 };
    gram_status rc = GRAM_OK;

    if (!strcmp(w->label[0], w->label[1]))
        return gr_fail(err, GRAM_EUNSUPPORTED, "labels: wanted two texts that differ, found \"%s\" twice", w->label[0]);
    if (!add_tag(&none, w->format.opening))
        rc = gr_nomem(err, "rationale format");
    if (!rc)
        rc = find_verdict(w, &none, (gr_str){ words, sizeof words - 1 }, &ids, w->label_id, err);
    gr_ids_clear(&ids);
    gr_reason_text_clear(&none);
    return rc;
}

gram_status gr_reason_words_init(gr_reason_words *w, gr_format *format, gr_chat *chat, const gr_tok *tok,
                                 const char *prompt, const char *const labels[2], size_t max_tokens,
                                 gram_truncate truncate, gram_err *err)
{
    gram_status rc;

    *w = (gr_reason_words){ .format = *format };
    *format = (gr_format){ 0 };
    rc = gr_judge_init_writing(&w->judge, chat, tok, prompt ? prompt : w->format.prompt, max_tokens, truncate, err);
    for (int i = 0; i < 2 && !rc; i++)
        w->label[i] = w->format.label[i] ? w->format.label[i] : labels[i];
    if (!rc)
        rc = find_marks(w, gr_format_tag(w->format.opening), false, err);
    if (!rc)
        rc = find_marks(w, gr_format_tag(w->format.closing), true, err);
    if (!rc)
        rc = find_marks(w, gr_format_tag(w->format.cue), false, err);
    if (!rc)
        rc = find_marks(w, gr_format_tag(w->format.ending), false, err);
    if (!rc)
        rc = find_labels(w, err);
    if (rc)
        gr_reason_words_clear(w);
    return rc;
}

void gr_reason_words_clear(gr_reason_words *w)
{
    gr_judge_clear(&w->judge);
    gr_format_clear(&w->format);
    gr_ids_clear(&w->marks);
    gr_ids_clear(&w->ends);
    *w = (gr_reason_words){ 0 };
}

gram_status gr_reason_verdict_ids(const gr_reason_words *w, const gr_reason_text *like, gr_str rationale, gr_ids *out,
                                  gram_err *err)
{
    int32_t id[2];
    gram_status rc = find_verdict(w, like, rationale, out, id, err);

    if (!rc && (id[0] != w->label_id[0] || id[1] != w->label_id[1]))
        return gr_fail(err, GRAM_EUNSUPPORTED, "the labels are other tokens behind this rationale than behind others");
    return rc;
}

/* ---- Prompts ------------------------------------------------------------------------------------- */

/* The judge prompt with its holes filled, each byte with its kind. */
static bool fill(const gr_judge_words *w, const gr_buf part[4], gr_reason_text *out)
{
    size_t at = 0;

    for (size_t i = 0; i < w->n_holes; i++) {
        const gr_buf *b = &part[w->hole[i].which];
        if (!gr_reason_text_add(out, GR_PROMPT, w->text + at, w->hole[i].at - at) ||
            !gr_reason_text_add(out, GR_FOREIGN, b->p, b->n))
            return false;
        at = w->hole[i].at + w->hole[i].n;
    }
    return gr_reason_text_add(out, GR_PROMPT, w->text + at, strlen(w->text + at));
}

/* The chat's text: what the template wrote is its own, and where it holds the filled prompt as it stands (less white
 * space at its ends), that one's kinds hold. A template that rewrites its turns makes all of them foreign. */
static gram_status lay_out(const gr_judge_text *from, gr_reason_text *out, gram_err *err)
{
    const gr_chat_text *chat = &from->chat;
    gr_reason_text filled = { 0 };
    gr_str user;
    char *at;
    gram_status rc = fill(from->words, from->part, &filled) ? GRAM_OK : gr_nomem(err, "a judge prompt");

    for (size_t i = 0; i < chat->n && !rc; i++)
        if (!gr_reason_text_add(out, chat->piece[i].special ? GR_OWN : GR_FOREIGN, chat->text.p + chat->piece[i].start,
                                chat->piece[i].n))
            rc = gr_nomem(err, "a judge prompt");
    if (!rc) {
        user = gr_format_trim((gr_str){ filled.text.p, filled.text.n });
        at = user.n && out->text.n ? memmem(out->text.p, out->text.n, user.p, user.n) : NULL;
        if (at)
            memcpy(out->kind.p + (at - out->text.p), filled.kind.p + (user.p - filled.text.p), user.n);
    }
    gr_reason_text_clear(&filled);
    return rc;
}

/* What is missing of the opening: some templates end the header of an answer with it. */
static bool open_rationale(const gr_reason_words *w, gr_reason_text *t)
{
    const char *opening = w->format.opening;
    size_t n = strlen(opening), tag = (size_t)(gr_format_tag(opening).p - opening) + gr_format_tag(opening).n;

    for (size_t have = n; n && have >= tag; have--)
        if (t->text.n >= have && !memcmp(t->text.p + t->text.n - have, opening, have))
            return gr_reason_text_add(t, GR_OWN, opening + have, n - have);
    return add_tag(t, opening);
}

gram_status gr_reason_prompt(const gr_reason_words *w, const gram_pair *pair, bool both, gr_reason_prompts *out,
                             gram_err *err)
{
    gr_judge_text text[2];
    gram_status rc = gr_judge_texts(&w->judge, pair, both, text, err);

    *out = (gr_reason_prompts){ 0 };
    if (rc)
        return rc;
    out->truncated = text[0].truncated;
    out->dropped = text[0].dropped;
    for (int i = 0; i < (both ? 2 : 1) && !rc && !out->dropped; i++) {
        rc = lay_out(&text[i], &out->order[i], err);
        out->header[i] = out->order[i].text.n;
        if (!rc && !open_rationale(w, &out->order[i]))
            rc = gr_nomem(err, "a judge prompt");
    }
    gr_judge_text_clear(&text[0]);
    gr_judge_text_clear(&text[1]);
    if (rc)
        gr_reason_prompts_clear(out);
    return rc;
}

void gr_reason_prompts_clear(gr_reason_prompts *p)
{
    gr_reason_text_clear(&p->order[0]);
    gr_reason_text_clear(&p->order[1]);
    *p = (gr_reason_prompts){ 0 };
}

/* ---- What is learnt ------------------------------------------------------------------------------- */

/* Ids of the first `header` bytes that the whole begins with, too. */
static gram_status find_asked(const gr_reason_words *w, const gr_reason_text *prompt, size_t header,
                              gr_reason_written *out, gram_err *err)
{
    const gr_reason_text front = { { prompt->text.p, header, 0 }, { prompt->kind.p, header, 0 } };
    gr_ids ids = { 0 };
    gram_status rc = gr_reason_text_ids(w, &front, &ids, err);

    for (out->asked = 0; !rc && out->asked < gr_min(ids.n, out->ids.n) && ids.p[out->asked] == out->ids.p[out->asked]; )
        out->asked++;
    gr_ids_clear(&ids);
    return rc;
}

static gram_status whole_ids(const gr_reason_words *w, const gr_reason_text *like, gr_str body, int label, int32_t end,
                             gr_ids *out, gram_err *err)
{
    gr_str words = gr_format_trim(body);
    gr_reason_text t = { 0 };
    bool ok = gr_buf_add(&t.text, like->text.p, like->text.n) && gr_buf_add(&t.kind, like->kind.p, like->kind.n) &&
              gr_reason_text_add(&t, GR_FOREIGN, words.p, words.n);
    gram_status rc;

    if (label >= 0)
        ok = ok && add_tag(&t, w->format.closing) && add_tag(&t, w->format.cue) && add_tag(&t, w->label[label]) &&
             add_tag(&t, w->format.ending);
    rc = ok ? gr_reason_text_ids(w, &t, out, err) : gr_nomem(err, "a rationale");
    gr_reason_text_clear(&t);
    if (!rc && end >= 0 && !gr_ids_add(out, &end, 1))
        rc = gr_nomem(err, "a rationale");
    return rc;
}

/* The one place in which the text differs from the one with the other label. */
static gram_status find_label_place(const gr_reason_words *w, const gr_reason_text *like, gr_str body, int label,
                                    int32_t end, gr_reason_written *out, gram_err *err)
{
    gr_ids other = { 0 };
    size_t differ = 0;
    gram_status rc = whole_ids(w, like, body, 1 - label, end, &other, err);

    for (size_t i = 0; i < other.n && other.n == out->ids.n && !rc; i++)
        if (other.p[i] != out->ids.p[i]) {
            differ++;
            out->verdict = i;
        }
    if (!rc && (differ != 1 || out->ids.p[out->verdict] != w->label_id[label] ||
                other.p[out->verdict] != w->label_id[1 - label]))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "the label is not one token of its own between \"%s\" and \"%s\"",
                     w->format.cue, w->format.ending);
    gr_ids_clear(&other);
    return rc;
}

gram_status gr_reason_write_out(const gr_reason_words *w, const gr_reason_prompts *p, int order, gr_str body, int label,
                                int32_t end, gr_reason_written *out, gram_err *err)
{
    const gr_reason_text *like = &p->order[order];
    gram_status rc;

    *out = (gr_reason_written){ 0 };
    rc = whole_ids(w, like, body, label, end, &out->ids, err);
    if (!rc)
        rc = find_asked(w, like, p->header[order], out, err);
    if (!rc && label >= 0)
        rc = find_label_place(w, like, body, label, end, out, err);
    if (rc)
        gr_ids_clear(&out->ids);
    return rc;
}
