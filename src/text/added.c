/* added.c - cut added tokens out of a text: leftmost, then longest, by a trie over their bytes.
 *
 * A token that is not special is always found; a special one only where the caller asked. The walk from
 * each place is as long as the longest token that fits, which TOK_WORD_MAX bounds. */
#include <stdlib.h>
#include "text/tokenizer_int.h"
#include "text/utf8.h"

static uint32_t new_node(gr_trie *t, unsigned char byte, uint32_t sibling)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 256;
        gr_node *p = cap > UINT32_MAX / 2 ? NULL : realloc(t->node, cap * sizeof *p);
        if (!p)
            return 0;
        t->node = p;
        t->cap = cap;
    }
    if (t->n == 0)
        t->node[t->n++] = (gr_node){ 0 };       /* 0 means none */
    t->node[t->n] = (gr_node){ .byte = byte, .sibling = sibling };
    return (uint32_t)t->n++;
}

static uint32_t child(const gr_trie *t, uint32_t at, unsigned char byte)
{
    uint32_t c = t->node[at].child;

    while (c && t->node[c].byte != byte)
        c = t->node[c].sibling;
    return c;
}

bool gr_trie_put(gr_trie *t, const char *s, size_t n, uint32_t token)
{
    const unsigned char *p = (const unsigned char *)s;
    uint32_t at = t->root[p[0]];

    if (!at) {
        at = t->root[p[0]] = new_node(t, p[0], 0);
        if (!at)
            return false;
    }
    for (size_t i = 1; i < n; i++) {
        uint32_t next = child(t, at, p[i]);
        if (!next) {
            next = new_node(t, p[i], t->node[at].child);
            if (!next)
                return false;
            t->node[at].child = next;
        }
        at = next;
    }
    if (!t->node[at].token)         /* of two that read the same once normalised, the first one counts */
        t->node[at].token = token + 1;
    return true;
}

/* Whether a special token may stand at s, n bytes long. The raw trie alone sees the text as it was given. */
static bool may_be_special(gr_enc *e, const gr_trie *t, const gr_added *a, const char *s, size_t n)
{
    size_t at = (size_t)(s - e->text), k;

    if (!e->run || t != &e->t->raw)
        return e->special;
    while (e->at_run + 1 < e->n_runs && e->run[e->at_run].end <= at)
        e->at_run++;
    for (k = e->at_run; k < e->n_runs && (e->run[k].special || (!a->special && e->run[k].marks)); k++)
        if (at + n <= e->run[k].end)
            return true;
    return false;
}

bool gr_added_placed(const gr_enc *e, const gr_added *a)
{
    for (size_t i = 0; !a->special && e->mark && i < e->mark->n; i++)
        if (e->mark->p[i] == a->id)
            return true;
    return a->special;
}

/* The longest token that starts at s, or NULL; *len is what it covers. */
static const gr_added *longest(gr_enc *e, const gr_trie *t, const char *s, size_t n, size_t *len)
{
    const gr_added *best = NULL;
    uint32_t at = t->root[(unsigned char)s[0]];

    for (size_t i = 1; at; i++) {
        const gr_added *a = t->node[at].token ? &e->t->added[t->node[at].token - 1] : NULL;
        if (a && (!gr_added_placed(e, a) || may_be_special(e, t, a, s, i))) {
            best = a;
            *len = i;
        }
        at = i < n ? child(t, at, (unsigned char)s[i]) : 0;
    }
    return best;
}

/* The start of the character that ends before s[i]; i > 0. */
static size_t before(const char *s, size_t i)
{
    do
        i--;
    while (i > 0 && ((unsigned char)s[i] & 0xc0) == 0x80);
    return i;
}

static bool stands_alone(gr_str s, size_t start, size_t end)
{
    return (start == 0 || !gr_char_word(gr_utf8_get(s.p + before(s.p, start)))) &&
           (end == s.n || !gr_char_word(gr_utf8_get(s.p + end)));
}

/* White space that the token takes with it. `done` is where the last one ended. */
static void strip(const gr_added *a, gr_str s, size_t done, size_t *start, size_t *end)
{
    if (a->lstrip) {
        while (*start > 0 && gr_char_space(gr_utf8_get(s.p + before(s.p, *start))))
            *start = before(s.p, *start);
        *start = gr_max(*start, done);
    }
    if (a->rstrip)
        while (*end < s.n && gr_char_space(gr_utf8_get(s.p + *end)))
            *end += gr_utf8_len(s.p[*end]);
}

gram_status gr_added_split(gr_enc *e, const gr_trie *trie, gr_str s, bool first,
                           gram_status (*text)(gr_enc *e, gr_str s, bool first))
{
    size_t done = 0, len = 0;
    gram_status rc;

    for (size_t i = 0; trie->n && i < s.n; i += len) {
        const gr_added *a = NULL;
        size_t start, end;

        while (i < s.n && !(trie->root[(unsigned char)s.p[i]] && (a = longest(e, trie, s.p + i, s.n - i, &len))))
            i++;
        if (!a)
            break;
        start = i;
        end = i + len;
        if (a->single_word && !stands_alone(s, start, end))
            continue;
        strip(a, s, done, &start, &end);
        if (done < start) {
            rc = text(e, (gr_str){ s.p + done, start - done }, first && done == 0);
            if (rc)
                return rc;
        }
        if (start < end && !gr_ids_add(e->out, &a->id, 1))  /* else the one before took all of it with it */
            return gr_nomem(e->err, "tokens");
        done = gr_max(start, end);
    }
    if (done == s.n)
        return GRAM_OK;
    return text(e, (gr_str){ s.p + done, s.n - done }, first && done == 0);
}
