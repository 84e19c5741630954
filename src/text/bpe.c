/* bpe.c - from a word to its tokens: one symbol a character, then the pair of lowest rank merges, the leftmost
 * of equals, until none is left.
 *
 * Words are short where a pre-tokenizer cuts them, so they are scanned; a SentencePiece text is one word of
 * any length, so long ones go through a heap: n log n. An entry of the heap is stale when the symbol at its
 * place no longer starts a pair of that rank. */
#include <stdlib.h>
#include <string.h>
#include "text/tokenizer_int.h"
#include "text/utf8.h"

enum { SHORT = 32, META_LEN = sizeof META - 1 };
#define NONE UINT32_MAX

int32_t gr_byte_char(unsigned char b)
{
    static const struct { int first, last, to; } moved[] = {
        { 0, 32, 256 }, { 127, 160, 256 + 33 }, { 173, 173, 256 + 67 }
    };

    for (size_t i = 0; i < GR_COUNT(moved); i++)
        if (b >= moved[i].first && b <= moved[i].last)
            return moved[i].to + b - moved[i].first;
    return b;
}

static size_t slot_of(const gr_merges *m, uint64_t pair)
{
    uint64_t h = pair * 0x9e3779b97f4a7c15u;
    size_t i = (h ^ h >> 32) & m->mask;

    while (m->slot[i].pair != pair && m->slot[i].pair != UINT64_MAX)
        i = (i + 1) & m->mask;
    return i;
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

bool gr_merges_init(gr_merges *m, size_t n)
{
    size_t size = 16;

    while (size < n * 2)
        size *= 2;
    m->slot = gr_calloc(size, sizeof *m->slot);
    m->mask = size - 1;
    for (size_t i = 0; m->slot && i < size; i++)
        m->slot[i].pair = UINT64_MAX;
    return m->slot;
}

void gr_merges_put(gr_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    uint64_t pair = pair_of(left, right);

    m->slot[slot_of(m, pair)] = (gr_merge){ pair, rank, id };
}

static const gr_merge *find(const gr_merges *m, int32_t left, int32_t right)
{
    const gr_merge *s = &m->slot[slot_of(m, pair_of(left, right))];

    return s->pair == UINT64_MAX ? NULL : s;
}

/* A merge may make a special token, which is then a word like others, as it is to the Rust library. */
gram_status gr_merges_add(gr_tok *t, const char *name, gr_str left, gr_str right, size_t rank, gr_buf *scratch,
                          gram_err *err)
{
    int32_t a = gr_vocab_model(&t->vocab, left.p, left.n), b = gr_vocab_model(&t->vocab, right.p, right.n), id;

    scratch->n = 0;
    if (!gr_buf_add(scratch, left.p, left.n) || !gr_buf_add(scratch, right.p, right.n))
        return gr_nomem(err, name);
    id = gr_vocab_model(&t->vocab, scratch->p, scratch->n);
    if (a < 0 || b < 0 || id < 0)
        return gr_fail(err, GRAM_EFORMAT, "%s: merge %zu (\"%.*s\" and \"%.*s\") uses or makes a token that is not in "
                       "the vocabulary", name, rank, (int)gr_min(left.n, 200), left.p, (int)gr_min(right.n, 200),
                       right.p);
    t->vocab.flag[id] |= WORD_PLAIN | WORD_MADE;
    gr_merges_put(&t->merges, a, b, (uint32_t)rank, id);
    return GRAM_OK;
}

gram_status gr_merges_add_line(gr_tok *t, const char *name, gr_str line, size_t rank, gr_buf *scratch, gram_err *err)
{
    const char *space = line.n ? memchr(line.p, ' ', line.n) : NULL;
    size_t left = space ? (size_t)(space - line.p) : 0;

    if (!space || memchr(space + 1, ' ', line.n - left - 1))
        return gr_fail(err, GRAM_EFORMAT, "%s: merge %zu is \"%.*s\", two tokens with one space between wanted", name,
                       rank, (int)gr_min(line.n, 200), line.n ? line.p : "");
    return gr_merges_add(t, name, (gr_str){ line.p, left }, (gr_str){ space + 1, line.n - left - 1 }, rank, scratch,
                         err);
}

/* ---- symbols ---- */

static bool add_symbol(gr_enc *e, int32_t id)
{
    gr_sym *p = gr_grown(e->sym, e->n_sym, &e->cap_sym, 1, sizeof *p);

    if (!p)
        return false;
    e->sym = p;
    e->sym[e->n_sym++].id = id;
    return true;
}

static int32_t symbol_id(const gr_tok *t, const char *s, size_t len)
{
    if (t->byte_level || len == 1)
        return t->byte_id[(unsigned char)*s];
    return gr_vocab_model(&t->vocab, s, len);
}

static bool has_fallback(const gr_tok *t, const char *s, size_t len)
{
    for (size_t k = 0; k < len; k++)
        if (t->fallback[(unsigned char)s[k]] < 0)
            return false;
    return t->byte_fallback;
}

/* An unknown character waits, so that the next can join it; bytes that stand for a character overtake it, as
 * they do in the Rust library. */
static gram_status symbols(gr_enc *e, const char *s, size_t n)
{
    const gr_tok *t = e->t;
    bool waiting = false, ok = true;

    e->n_sym = 0;
    for (size_t i = 0, len; ok && i < n; i += len) {
        int32_t id;

        len = t->byte_level ? 1 : gr_utf8_len(s[i]);
        id = symbol_id(t, s + i, len);
        if (id >= 0) {
            ok = (!waiting || add_symbol(e, t->unk)) && add_symbol(e, id);
            waiting = false;
        } else if (has_fallback(t, s + i, len)) {
            for (size_t k = 0; ok && k < len; k++)
                ok = add_symbol(e, t->fallback[(unsigned char)s[i + k]]);
        } else if (t->unk_wanted) {
            if (t->unk < 0)
                return gr_fail(e->err, GRAM_EFORMAT, "\"%.*s\" is not in the vocabulary, and neither is the unknown "
                               "token", (int)len, s + i);
            ok = !waiting || t->fuse_unk || add_symbol(e, t->unk);
            waiting = true;
        }
    }
    if (waiting)
        ok = ok && add_symbol(e, t->unk);
    return ok ? GRAM_OK : gr_nomem(e->err, "tokens");
}

/* ---- a short word ---- */

static void look_up(const gr_merges *m, gr_sym *left, const gr_sym *right)
{
    const gr_merge *g = find(m, left->id, right->id);

    left->rank = g ? g->rank : NONE;
    left->merged = g ? g->id : -1;
}

static size_t merge_short(const gr_merges *m, gr_sym *s, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        look_up(m, &s[i], &s[i + 1]);
    while (n > 1) {
        size_t best = 0;

        for (size_t i = 1; i + 1 < n; i++)
            if (s[i].rank < s[best].rank)
                best = i;
        if (s[best].rank == NONE)
            break;
        s[best].id = s[best].merged;
        n--;
        memmove(&s[best + 1], &s[best + 2], (n - best - 1) * sizeof *s);
        if (best + 1 < n)
            look_up(m, &s[best], &s[best + 1]);
        if (best > 0)
            look_up(m, &s[best - 1], &s[best]);
    }
    return n;
}

/* ---- a long one ---- */

static void sift_down(uint64_t *h, size_t n, size_t i)
{
    uint64_t x = h[i];

    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && h[c + 1] < h[c])
            c++;
        if (h[c] >= x)
            break;
        h[i] = h[c];
    }
    h[i] = x;
}

/* Each merge takes one entry and adds two at most, so 3 n is room enough. */
static void push(gr_enc *e, uint32_t at)
{
    uint64_t x = (uint64_t)e->sym[at].rank << 32 | at;
    size_t i = e->n_heap++;

    for (; i > 0 && e->heap[(i - 1) / 2] > x; i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = x;
}

static void look_up_at(gr_enc *e, uint32_t at)
{
    gr_sym *s = &e->sym[at];

    if (s->next == NONE) {
        s->rank = NONE;
        return;
    }
    look_up(&e->t->merges, s, &e->sym[s->next]);
    if (s->rank != NONE)
        push(e, at);
}

static bool heap_room(gr_enc *e, size_t n)
{
    uint64_t *p;
    size_t bytes;

    if (n <= e->cap_heap)
        return true;
    p = gr_mul(n, sizeof *p, &bytes) ? realloc(e->heap, bytes) : NULL;
    if (!p)
        return false;
    e->heap = p;
    e->cap_heap = n;
    return true;
}

/* Takes the best pair off the heap and merges it, if it is still there. */
static void merge_best(gr_enc *e)
{
    uint64_t top = e->heap[0];
    uint32_t at = (uint32_t)top, gone;
    gr_sym *s = &e->sym[at];

    e->heap[0] = e->heap[--e->n_heap];
    if (e->n_heap)
        sift_down(e->heap, e->n_heap, 0);
    if (s->rank != top >> 32)
        return;
    gone = s->next;
    s->id = s->merged;
    s->next = e->sym[gone].next;
    if (s->next != NONE)
        e->sym[s->next].prev = at;
    e->sym[gone].id = -1;
    e->sym[gone].rank = NONE;
    look_up_at(e, at);
    if (s->prev != NONE)
        look_up_at(e, s->prev);
}

static gram_status merge_long(gr_enc *e)
{
    size_t n = e->n_sym, kept = 0;

    if (!heap_room(e, 3 * n))
        return gr_nomem(e->err, "tokens");
    e->n_heap = 0;
    for (size_t i = 0; i < n; i++) {
        e->sym[i].prev = i ? (uint32_t)i - 1 : NONE;
        e->sym[i].next = i + 1 < n ? (uint32_t)i + 1 : NONE;
    }
    for (size_t i = 0; i < n; i++)
        look_up_at(e, (uint32_t)i);
    while (e->n_heap)
        merge_best(e);
    for (size_t i = 0; i < n; i++)
        if (e->sym[i].id >= 0)
            e->sym[kept++].id = e->sym[i].id;
    e->n_sym = kept;
    return GRAM_OK;
}

/* ---- the word ---- */

/* Where the first U+2581 stands after another character; n when there is none. */
static size_t next_cut(const char *s, size_t n)
{
    size_t i = 0;

    while (n - i >= META_LEN && !memcmp(s + i, META, META_LEN))
        i += META_LEN;
    if (i < n) {
        const char *hit = memmem(s + i, n - i, META, META_LEN);
        i = hit ? (size_t)(hit - s) : n;
    }
    return i;
}

/* The id of a whole word, -1 when it is none, or a special token that is no word. */
static gram_status whole_word(gr_enc *e, const char *s, size_t n, int32_t *id)
{
    const gr_tok *t = e->t;

    e->word.n = 0;
    for (size_t i = 0; t->byte_level && i < n; i++) {
        char c[4];
        if (!gr_buf_add(&e->word, c, gr_utf8_put(c, gr_byte_char((unsigned char)s[i]))))
            return gr_nomem(e->err, "tokens");
    }
    *id = t->byte_level ? gr_vocab_model(&t->vocab, e->word.p, e->word.n) : gr_vocab_model(&t->vocab, s, n);
    if (*id >= 0 && !(t->vocab.flag[*id] & WORD_PLAIN))
        *id = -1;
    return GRAM_OK;
}

/* A character that only merges is no token: its bytes stand for it. */
static gram_status add_bytes(gr_enc *e, int32_t symbol)
{
    gr_str c = gr_vocab_text(&e->t->vocab, symbol);
    const int32_t *id = &e->t->unk;

    for (size_t i = 0; i < c.n; i++) {
        if (has_fallback(e->t, c.p, c.n))
            id = &e->t->fallback[(unsigned char)c.p[i]];
        else if (i > 0)
            break;
        if (*id < 0)
            return gr_fail(e->err, GRAM_EFORMAT, "\"%.*s\" is not in the vocabulary, and neither are its bytes",
                           (int)c.n, c.p);
        if (!gr_ids_add(e->out, id, 1))
            return gr_nomem(e->err, "tokens");
    }
    return GRAM_OK;
}

/* SentencePiece cuts no words, but where no token holds U+2581 after another character, nothing merges across
 * the place between the two: the text falls into short words with the same result. */
bool gr_bpe_cuts(const gr_tok *t)
{
    if (t->byte_level || t->ignore_merges || gr_vocab_model(&t->vocab, META, META_LEN) < 0)
        return false;
    for (size_t i = 0; i <= t->merges.mask; i++) {
        gr_str s = gr_vocab_text(&t->vocab, t->merges.slot[i].pair == UINT64_MAX ? -1 : t->merges.slot[i].id);

        if (s.p && next_cut(s.p, s.n) < s.n)
            return false;
    }
    return true;
}

static gram_status one_word(gr_enc *e, const char *s, size_t n)
{
    int32_t id = -1;
    gram_status rc = e->t->ignore_merges ? whole_word(e, s, n, &id) : GRAM_OK;

    if (!rc && id >= 0)
        return gr_ids_add(e->out, &id, 1) ? GRAM_OK : gr_nomem(e->err, "tokens");
    if (!rc)
        rc = symbols(e, s, n);
    if (rc)
        return rc;
    if (e->n_sym <= SHORT)
        e->n_sym = merge_short(&e->t->merges, e->sym, e->n_sym);
    else {
        rc = merge_long(e);
        if (rc)
            return rc;
    }
    for (size_t i = 0; !rc && i < e->n_sym; i++) {
        if ((size_t)e->sym[i].id >= e->t->n_ids)
            rc = add_bytes(e, e->sym[i].id);
        else if (!gr_ids_add(e->out, &e->sym[i].id, 1))
            rc = gr_nomem(e->err, "tokens");
    }
    return rc;
}

gram_status gr_bpe_word(gr_enc *e, const char *s, size_t n)
{
    gram_status rc = GRAM_OK;

    for (size_t len; !rc && n; s += len, n -= len) {
        len = e->t->cut_meta ? next_cut(s, n) : n;
        rc = one_word(e, s, len);
    }
    return rc;
}
