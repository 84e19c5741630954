/* pretok.c - cut a text into words, step after step; each word that comes out of the last step is merged. */
#include <string.h>
#include "text/tokenizer_int.h"
#include "text/utf8.h"

const char gr_re_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* The piece with its spaces replaced and its prefix, in buf; or as it is. */
static bool prepare(const gr_pre *k, gr_str *s, bool first, gr_buf *buf)
{
    size_t n = strlen(k->prefix);
    bool has = s->n >= n && !memcmp(s->p, k->prefix, n);
    bool add;

    if (k->meta && s->n && s->p[0] == ' ')
        has = true;                             /* the space is about to become the prefix */
    add = !has && (k->when == PREFIX_ALWAYS || (k->when == PREFIX_FIRST && first));
    if (!add && !(k->meta && memchr(s->p, ' ', s->n)))
        return true;
    buf->n = 0;
    if (add && !gr_buf_add(buf, k->prefix, n))
        return false;
    for (size_t i = 0; i < s->n; ) {
        const char *space = k->meta ? memchr(s->p + i, ' ', s->n - i) : NULL;
        size_t len = space ? (size_t)(space - s->p) - i : s->n - i;
        if (!gr_buf_add(buf, s->p + i, len) || (space && !gr_buf_add(buf, k->prefix, n)))
            return false;
        i += len + (space != NULL);
    }
    *s = (gr_str){ buf->p, buf->n };
    return true;
}

/* Joins spans as the behaviour says; those left with .match set are dropped. Written over themselves. */
static void behave(gr_spans *s, gr_split_kind how)
{
    bool before = false;
    size_t n = 0;

    if (how == SPLIT_NEXT) {
        for (size_t i = s->n; i-- > 0; ) {      /* from the right; the result gathers at the end */
            gr_span m = s->p[i];
            if (m.match && !before && n > 0)
                s->p[s->n - n].start = m.start;
            else
                s->p[s->n - ++n] = (gr_span){ m.start, m.end, false };
            before = m.match;
        }
        memmove(s->p, s->p + s->n - n, n * sizeof *s->p);
        s->n = n;
        return;
    }
    for (size_t i = 0; i < s->n; i++) {
        gr_span m = s->p[i];
        bool joins = how == SPLIT_PREVIOUS ? m.match && !before : how == SPLIT_CONTIGUOUS && m.match == before;

        if (joins && n > 0)
            s->p[n - 1].end = m.end;
        else
            s->p[n++] = (gr_span){ m.start, m.end, how == SPLIT_REMOVED && m.match };
        before = m.match;
    }
    s->n = n;
}

gram_status gr_pre_run(gr_enc *e, size_t step, gr_str s, bool first)
{
    const gr_pre *k = &e->t->pre[step];
    gr_spans *span = &e->span[step];
    gram_status rc;

    if (step == e->t->n_pre)
        return gr_bpe_word(e, s.p, s.n);
    if (!prepare(k, &s, first, &e->pre[step]))
        return gr_nomem(e->err, "words");
    if (!k->split)
        return gr_pre_run(e, step + 1, s, first);
    rc = gr_pat_find(&k->pat, e->md, e->t->limits, s.p, s.n, span, e->err);
    if (rc)
        return rc;
    for (size_t i = 0; k->invert && i < span->n; i++)
        span->p[i].match = !span->p[i].match;
    behave(span, k->behaviour);
    for (size_t i = 0; !rc && i < span->n; i++)
        if (!span->p[i].match && span->p[i].end > span->p[i].start)
            rc = gr_pre_run(e, step + 1, (gr_str){ s.p + span->p[i].start, span->p[i].end - span->p[i].start },
                            first && span->p[i].start == 0);
    return rc;
}
