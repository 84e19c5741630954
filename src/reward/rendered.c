/* rendered.c - see rendered.h. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "reward/rendered.h"

/* ---- What the template writes ------------------------------------------------------------------- */

/* Words that no template writes by itself. */
static const char user[] = "Qa7uSerZ", answer[] = "Wb7aNswerZ", again[] = "Ec7aGainZ", system_text[] = "Rd7sYstemZ";

/* Around the contents of one turn after the other; each is owned, and "" where there is none. */
typedef struct {
    char *bos;                  /* the token that all begins with */
    char *pre, *header;         /* pre USER header: a question that waits for its answer */
    char *past, *end;           /* pre USER past ANSWER end; past is header, but that some templates write thoughts */
    char *next, *then;          /* pre USER next ANSWER then USER header */
    char *sys, *turn;           /* sys SYSTEM turn USER header; NULL: the template takes no system turn */
} marks;

static void clear(marks *m)
{
    char *all[] = { m->bos, m->pre, m->header, m->past, m->end, m->next, m->then, m->sys, m->turn };

    for (size_t i = 0; i < GR_COUNT(all); i++)
        free(all[i]);
}

/* The text between two words; NULL word: from the beginning, or to the end. NULL: out of memory, or they are not both
 * there, once and in this order. */
static char *between(const gr_buf *b, const char *left, const char *right)
{
    const char *p = b->p, *end = b->p + b->n;

    if (left && !(p = memmem(b->p, b->n, left, strlen(left))))
        return NULL;
    p += left ? strlen(left) : 0;
    if (right && !(end = memmem(p, (size_t)(b->p + b->n - p), right, strlen(right))))
        return NULL;
    return gr_strndup(p, (size_t)(end - p));
}

static gram_status probe(const gr_chat *c, const gram_message *turn, size_t n, gr_chat_text *out, gram_err *err)
{
    *out = (gr_chat_text){ 0 };
    return strcmp(turn[n - 1].role, "assistant") ? gr_chat_render(c, turn, n, NULL, out, err)
                                                 : gr_chat_render_answered(c, turn, n, NULL, out, err);
}

/* "" where the template begins with none. */
static gram_status find_bos(const gr_chat *c, char **out, gram_err *err)
{
    const gram_message turn = { .role = "user", .content = user };
    const char *bos = c->bos ? c->bos : "";
    size_t n = strlen(bos);
    gr_chat_text t;
    gram_status rc = probe(c, &turn, 1, &t, err);
    bool begins = !rc && t.n && t.piece[0].special && t.piece[0].n >= n && !memcmp(t.text.p, bos, n);

    *out = rc ? NULL : gr_strndup(bos, begins ? n : 0);
    gr_chat_text_clear(&t);
    return rc ? rc : *out ? GRAM_OK : gr_nomem(err, "template");
}

static gram_status find_marks(const gr_chat *c, marks *m, gram_err *err)
{
    const gram_message turn[] = { { .role = "user", .content = user }, { .role = "assistant", .content = answer },
                                  { .role = "user", .content = again } };
    const gram_message told[] = { { .role = "system", .content = system_text }, turn[0] };
    gr_chat_text t;
    gram_status rc = probe(c, turn, 1, &t, err);

    if (!rc) {
        m->pre = between(&t.text, NULL, user);
        m->header = between(&t.text, user, NULL);
    }
    gr_chat_text_clear(&t);
    rc = rc ? rc : probe(c, turn, 2, &t, err);
    if (!rc) {
        m->past = between(&t.text, user, answer);
        m->end = between(&t.text, answer, NULL);
        gr_chat_text_clear(&t);
        rc = probe(c, turn, 3, &t, err);
    }
    if (!rc) {
        m->next = between(&t.text, user, answer);
        m->then = between(&t.text, answer, again);
        gr_chat_text_clear(&t);
    }
    if (!rc && !probe(c, told, 2, &t, NULL)) {              /* templates may refuse a system turn, or fold it */
        m->sys = between(&t.text, NULL, system_text);
        m->turn = m->sys ? between(&t.text, system_text, user) : NULL;
        gr_chat_text_clear(&t);
    }
    if (!rc)
        rc = find_bos(c, &m->bos, err);
    if (!rc && (!m->pre || !m->header || !m->past || !m->end || !m->next || !m->then || !m->header[0]))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "what the checkpoint's chat template writes around a question and its "
                     "answer was not found: send messages");
    return rc;
}

/* ---- Taking a text apart ------------------------------------------------------------------------ */

typedef struct { struct found { const char *role; gr_str content; } *turn; size_t n, cap; } turns;

static bool begins(gr_str s, const char *mark)
{
    size_t n = strlen(mark);

    return s.n >= n && !memcmp(s.p, mark, n);
}

static gr_str after(gr_str s, size_t n)
{
    return (gr_str){ s.p + n, s.n - n };
}

static bool add_turn(turns *t, const char *role, const char *p, size_t n)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 8;
        struct found *more = realloc(t->turn, cap * sizeof *more);
        if (!more)
            return false;
        t->turn = more;
        t->cap = cap;
    }
    t->turn[t->n++] = (struct found){ role, { p, n } };
    return true;
}

/* Where the first of some marks is, and how long it is; NULL: none. */
static const char *find_first(gr_str s, const char *const *mark, size_t n, size_t *len)
{
    const char *first = NULL;

    for (size_t i = 0; i < n; i++) {
        const char *p = mark[i][0] ? memmem(s.p, s.n, mark[i], strlen(mark[i])) : NULL;
        if (p && (!first || p < first || (p == first && strlen(mark[i]) > *len))) {
            first = p;
            *len = strlen(mark[i]);
        }
    }
    return first;
}

/* The answer, up to the end of its turn, of which white space at the text's end may be missing. */
static size_t answer_bytes(gr_str s, const char *end)
{
    for (size_t n = strlen(end); n > 0; n--) {
        if (s.n >= n && !memcmp(s.p + s.n - n, end, n))
            return s.n - n;
        if (end[n - 1] != '\n' && end[n - 1] != ' ')
            break;
    }
    return s.n;
}

/* Behind the mark that a user's content begins after. */
static bool take_apart(const marks *m, gr_str s, turns *t)
{
    const char *const headers[] = { m->header, m->past, m->next }, *const then[] = { m->then };

    for (;;) {
        size_t len = 0;
        const char *p = find_first(s, headers, GR_COUNT(headers), &len);
        if (!p || !add_turn(t, "user", s.p, (size_t)(p - s.p)))
            return false;
        s = after(s, (size_t)(p - s.p) + len);
        if (s.n == 0)
            return true;                    /* the answer is to come */
        p = find_first(s, then, 1, &len);
        if (!p)
            return add_turn(t, "assistant", s.p, answer_bytes(s, m->end));
        if (!add_turn(t, "assistant", s.p, (size_t)(p - s.p)))
            return false;
        s = after(s, (size_t)(p - s.p) + len);
    }
}

/* The turns as messages whose strings lie behind them. */
static gram_message *build(const turns *t)
{
    size_t bytes = t->n * sizeof(gram_message);
    gram_message *out;
    char *p;

    for (size_t i = 0; i < t->n; i++)
        bytes += t->turn[i].content.n + 1;
    out = malloc(bytes);
    if (!out)
        return NULL;
    p = (char *)(out + t->n);
    for (size_t i = 0; i < t->n; i++) {
        gr_str s = t->turn[i].content;
        memcpy(p, s.p, s.n);
        p[s.n] = '\0';
        out[i] = (gram_message){ .role = t->turn[i].role, .content = p };
        p += s.n + 1;
    }
    return out;
}

static bool is_blank(gr_str s)
{
    while (s.n && strchr(" \n\r\t", s.p[s.n - 1]))
        s.n--;
    return s.n == 0;
}

/* Whether the template makes this text of the turns: up to where the answer begins, and with its answer as far as that
 * was written. */
static gram_status is_made_of(const gr_chat *c, gr_str s, const marks *m, const gram_message *turn, size_t n,
                              bool *made, gram_err *err)
{
    bool answered = !strcmp(turn[n - 1].role, "assistant");
    gr_chat_text t;
    gr_str got;
    gram_status rc = probe(c, turn, n, &t, err);

    if (rc)
        return rc;
    got = after((gr_str){ t.text.p, t.text.n }, begins((gr_str){ t.text.p, t.text.n }, m->bos) ? strlen(m->bos) : 0);
    if (answered)
        got.n -= gr_min(got.n, strlen(m->end));
    *made = s.n >= got.n && !memcmp(s.p, got.p, got.n);
    s = *made ? after(s, got.n) : s;
    *made = *made && (answered ? is_blank((gr_str){ s.p, answer_bytes(s, m->end) }) : s.n == 0);
    gr_chat_text_clear(&t);
    return GRAM_OK;
}

/* mark less the white space around it. */
static gr_str bare(const char *mark)
{
    static const char blank[] = " \n\r\t";
    size_t lead = strspn(mark, blank);
    gr_str s = { mark + lead, strlen(mark + lead) };

    while (s.n && strchr(blank, s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Whether a turn's text holds a mark of the template: it is another turn, which the marks found here do not tell, or
 * was written to look like one. */
static bool holds_marks(const marks *m, gr_str s)
{
    size_t n = 0;
    gr_str mark[4];

    while (m->end[n] && m->end[n] == m->then[n])            /* what follows is the next turn's own */
        n++;
    mark[0] = bare(m->end);
    mark[1] = bare(m->then + n);
    mark[2] = bare(m->header);
    mark[3] = bare(m->past);
    for (size_t i = 0; i < GR_COUNT(mark); i++)
        if (mark[i].n && memmem(s.p, s.n, mark[i].p, mark[i].n))
            return true;
    return false;
}

/* One way to read the text: after `front`, with the system turn that may stand in it. */
static gram_status try_front(const gr_chat *c, const marks *m, gr_str s, bool told, turns *t, gram_message **turn,
                             bool *made, gram_err *err)
{
    const char *front = told ? m->sys : m->pre, *p;
    size_t bos = begins((gr_str){ front, strlen(front) }, m->bos) ? strlen(m->bos) : 0;
    gr_str rest = s;
    gram_status rc;

    *made = false;
    t->n = 0;
    front += bos;
    if (!begins(rest, front))
        return GRAM_OK;
    rest = after(rest, strlen(front));
    if (told) {
        p = memmem(rest.p, rest.n, m->turn, strlen(m->turn));
        if (!p || !add_turn(t, "system", rest.p, (size_t)(p - rest.p)))
            return GRAM_OK;
        rest = after(rest, (size_t)(p - rest.p) + strlen(m->turn));
    }
    if (!take_apart(m, rest, t))
        return GRAM_OK;
    for (size_t i = 0; i < t->n; i++)
        if (holds_marks(m, t->turn[i].content))
            return GRAM_OK;
    *turn = build(t);
    if (!*turn)
        return gr_nomem(err, "conversation");
    rc = is_made_of(c, s, m, *turn, t->n, made, err);
    if (rc == GRAM_EARG || rc == GRAM_EUNSUPPORTED)         /* turns that the template refuses made no text */
        rc = GRAM_OK;
    if (rc || !*made) {
        free(*turn);
        *turn = NULL;
    }
    return rc;
}

gram_status gr_rendered_turns(const gr_chat *c, gr_str text, gram_message **turn, size_t *n, gram_err *err)
{
    marks m = { 0 };
    turns t = { 0 };
    bool made = false;
    gram_status rc = find_marks(c, &m, err);

    *turn = NULL;
    if (rc)
        goto out;
    if (begins(text, m.bos))
        text = after(text, strlen(m.bos));
    rc = try_front(c, &m, text, false, &t, turn, &made, err);
    if (!rc && !made && m.sys && m.turn && m.turn[0])
        rc = try_front(c, &m, text, true, &t, turn, &made, err);
    *n = t.n;
    if (!rc && !made)
        rc = gr_fail(err, GRAM_EARG, "the model's own chat template makes this text of no conversation, so the "
                     "question and the answer cannot be found in it: send messages");
out:
    clear(&m);
    free(t.turn);
    return rc;
}

/* ---- Ids ---------------------------------------------------------------------------------------- */

/* As the template would have written it: special tokens are looked for in all but an answer that is known. */
static bool put_text(gr_chat_text *out, const gram_text *t)
{
    if (t->answer_end <= t->answer)
        return gr_chat_text_add(out, true, t->text, t->bytes);
    return gr_chat_text_add(out, true, t->text, t->answer)
        && gr_chat_text_add(out, false, t->text + t->answer, t->answer_end - t->answer)
        && gr_chat_text_add(out, true, t->text + t->answer_end, t->bytes - t->answer_end);
}

static gram_status take_ids(const gr_judge *j, const gram_text *text, gr_ids *out, gram_err *err)
{
    for (size_t i = 0; i < text->n_ids; i++)
        if (text->id[i] < 0 || (size_t)text->id[i] >= gr_tok_vocabulary(j->tok))
            return gr_fail(err, GRAM_EARG, "token %zu: id %d is not in the vocabulary", i, (int)text->id[i]);
    return gr_ids_add(out, text->id, text->n_ids) ? GRAM_OK : gr_nomem(err, "token ids");
}

static gram_status encode(const gr_judge *j, const gram_text *text, gr_ids *ids, gram_err *err)
{
    gr_chat_text t = { .program = true };
    char *bos;
    gram_status rc = find_bos(&j->chat, &bos, err);

    if (rc)
        return rc;
    if (text->answer > text->answer_end || text->answer_end > text->bytes) {
        rc = gr_fail(err, GRAM_EARG, "the answer: wanted bytes of the text's %zu, found %zu to %zu", text->bytes,
                     text->answer, text->answer_end);
        goto out;
    }
    if (!begins((gr_str){ text->text, text->bytes }, bos) && !gr_chat_text_add(&t, true, bos, strlen(bos)))
        rc = gr_nomem(err, "text");
    if (!rc && !put_text(&t, text))
        rc = gr_nomem(err, "text");
    if (!rc)
        rc = gr_chat_encode(j->tok, &t, ids, err);
out:
    gr_chat_text_clear(&t);
    free(bos);
    return rc;
}

gram_status gr_rendered_ids(const gr_judge *j, const gram_text *text, gr_judged *out, gram_err *err)
{
    gr_ids *ids = &out->order[0];
    gram_status rc;

    *out = (gr_judged){ 0 };
    rc = text->id ? take_ids(j, text, ids, err) : encode(j, text, ids, err);
    if (!rc && ids->n == 0)
        rc = gr_fail(err, GRAM_EARG, "the text is empty");
    if (!rc)
        rc = gr_judge_end(j, ids, err);
    if (!rc && ids->n > j->max_tokens && j->truncate != GRAM_TRUNCATE_DROP)
        rc = gr_fail(err, GRAM_ELIMIT, "the text takes %zu tokens, and at most %zu may be read", ids->n, j->max_tokens);
    out->dropped = !rc && ids->n > j->max_tokens;
    if (rc)
        gr_judged_clear(out);
    return rc;
}
