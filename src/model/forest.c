/* forest.c - see forest.h.
 *
 * The sequences are sorted, so that those with a common prefix are neighbours. A run of neighbours that agree
 * up to some depth becomes one segment as long as their common prefix; then the run is cut where the next
 * token differs and each part goes on below it. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/forest.h"

enum { ONE_BYTE = 1 << 30 };    /* beyond any token */

/* A token, and whether it is of one byte, in the number that the forest and the cache compare. */
static int32_t marked(const gr_seq *s, size_t t)
{
    return gr_seq_one_byte(s, t) ? s->token[t] ^ ONE_BYTE : s->token[t];
}

size_t gr_common_prefix(const gr_seq *a, const gr_seq *b)
{
    size_t n = gr_min(a->n, b->n), i = 0;

    while (i < n && marked(a, i) == marked(b, i))
        i++;
    return i;
}

int gr_seq_order(const gr_seq *a, const gr_seq *b)
{
    size_t i = gr_common_prefix(a, b);

    if (i < a->n && i < b->n)
        return marked(a, i) < marked(b, i) ? -1 : 1;
    return a->n < b->n ? -1 : a->n > b->n;
}

static bool is_far(const gr_forest *f, const gr_seq *s)
{
    return f->far && s->n > f->far;
}

struct ranked { const gr_seq *seq; size_t index; bool far; };

static int by_tokens(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    int order = a->far != b->far ? a->far - b->far : gr_seq_order(a->seq, b->seq);

    return order ? order : a->index < b->index ? -1 : a->index > b->index;
}

/* A run of sorted sequences that agree on their first `depth` tokens, to be placed below `parent`. */
struct run { size_t from, to, depth, parent; };

static void place(gr_forest *f, const struct ranked *r, struct run run, struct run *todo, size_t *n_todo, size_t *leaf)
{
    size_t end = gr_common_prefix(r[run.from].seq, r[run.to - 1].seq), s = run.parent;

    if (end > run.depth) {
        s = f->n_segs++;
        f->seg[s] = (gr_segment){ .parent = run.parent, .pos = run.depth, .len = end - run.depth, .row = f->rows };
        if (run.parent != GR_NO_SEGMENT)
            f->seg[run.parent].children++;
        for (size_t t = run.depth; t < end; t++, f->rows++) {
            f->token[f->rows] = marked(r[run.from].seq, t);
            f->one_byte[f->rows] = gr_seq_one_byte(r[run.from].seq, t);
            f->pos[f->rows] = (int32_t)t;
            f->angle[f->rows] = (int32_t)(t + (r[run.from].far ? f->far : 0));
        }
    }
    for (; run.from < run.to && r[run.from].seq->n == end; run.from++) {   /* these end here */
        leaf[r[run.from].index] = s;
        f->seg[s].ends = true;
    }
    for (size_t i = run.from; i < run.to; ) {
        size_t j = i + 1;
        while (j < run.to && marked(r[j].seq, end) == marked(r[i].seq, end))
            j++;
        todo[(*n_todo)++] = (struct run){ i, j, end, s };
        i = j;
    }
}

/* Places n of them. */
static void place_all(gr_forest *f, const struct ranked *r, size_t n, struct run *todo, size_t *leaf)
{
    size_t n_todo = 0;

    for (size_t i = 0; i < n; ) {                       /* each first token is a root of its own */
        size_t j = i + 1;
        while (j < n && r[j].far == r[i].far && marked(r[j].seq, 0) == marked(r[i].seq, 0))
            j++;
        todo[n_todo++] = (struct run){ i, j, 0, GR_NO_SEGMENT };
        while (n_todo > 0) {
            struct run run = todo[--n_todo];
            place(f, r, run, todo, &n_todo, leaf);
        }
        i = j;
    }
}

/* Finds the beginning of a segment in the cache, and a place for the rest. Pins what its path uses. */
static void ask_cache(gr_forest *f, gr_segment *s, gr_save save)
{
    const gr_segment *up = s->parent == GR_NO_SEGMENT ? NULL : &f->seg[s->parent];
    const int32_t *token = f->token + s->row;
    bool below_rows = up && gr_kv_pos(up->at) < s->pos; /* this pass computes what is above */
    gr_kv_at at = up ? up->at : (gr_kv_at){ NULL, f->angle[s->row] > f->pos[s->row] };

    if (up && up->save.node)                    /* but it will be there once the pass has run */
        at = (gr_kv_at){ up->save.node, up->save.first + up->save.n };
    if (!below_rows)
        s->cached = gr_kv_match(f->cache, &at, token, s->len - s->ends);
    if (gr_kv_pos(at) == s->pos + s->cached && s->cached < s->len &&
        (save == GR_SAVE_ALL || (s->children > 1 && !s->ends)))
        gr_kv_insert(f->cache, at, token + s->cached, s->len - s->cached, save == GR_SAVE_ALL, &s->save);
    s->at = below_rows ? up->at : at;
    gr_kv_pin(s->save.node ? s->save.node : s->at.node);
}

/* Leaves out the rows of tokens that the cache knows, and takes the marks off the others. */
static void close_gaps(gr_forest *f)
{
    size_t rows = 0;

    for (size_t i = 0; i < f->n_segs; i++) {
        gr_segment *s = &f->seg[i];
        size_t n = s->len - s->cached;
        memmove(f->token + rows, f->token + s->row + s->cached, n * sizeof *f->token);
        memmove(f->pos + rows, f->pos + s->row + s->cached, n * sizeof *f->pos);
        memmove(f->angle + rows, f->angle + s->row + s->cached, n * sizeof *f->angle);
        memmove(f->one_byte + rows, f->one_byte + s->row + s->cached, n * sizeof *f->one_byte);
        s->row = rows;
        rows += n;
    }
    f->rows = rows;
    for (size_t r = 0; r < rows; r++)
        f->token[r] ^= f->one_byte[r] ? ONE_BYTE : 0;
}

static void measure(gr_forest *f, const size_t *leaf)
{
    for (size_t i = 0; i < f->n_seqs; i++) {
        const gr_segment *s = &f->seg[leaf[i]];
        f->leaf_row[i] = s->row + s->len - s->cached - 1;
    }
}

/* A segment for what goes on from a place in the tree. */
static size_t place_tail(gr_forest *f, const gr_seq *seq, gr_kv_at at)
{
    size_t s = f->n_segs++, pos = gr_kv_pos(at), n = seq->n - pos;
    gr_segment *tail = &f->seg[s];

    *tail = (gr_segment){ .parent = GR_NO_SEGMENT, .pos = pos, .len = n, .row = f->rows, .ends = true, .at = at };
    for (size_t t = pos; t < seq->n; t++, f->rows++) {
        f->token[f->rows] = seq->token[t];
        f->pos[f->rows] = (int32_t)t;
        f->angle[f->rows] = (int32_t)(t + (is_far(f, seq) ? f->far : 0));
    }
    gr_kv_insert(f->cache, at, seq->token + pos, n, true, &tail->save);
    gr_kv_pin(tail->save.node ? tail->save.node : at.node);
    return s;
}

static bool is_known(const gr_forest *f, const gr_seq *seq, const gr_kv_at *known, size_t i)
{
    return known && known[i].node && gr_kv_is_far(known[i]) == is_far(f, &seq[i]);
}

/* Room for the sequences' rows and segments; what is known takes no rows. */
static bool reserve(gr_forest *f, const gr_seq *seq, const gr_kv_at *known, size_t n)
{
    size_t tokens = 0;

    for (size_t i = 0; i < n; i++) {
        tokens += seq[i].n - (is_known(f, seq, known, i) ? gr_kv_pos(known[i]) : 0);
        f->max_len = gr_max(f->max_len, seq[i].n);
    }
    f->angles = f->max_len + (f->far && f->max_len > f->far ? f->far : 0);
    f->seg = gr_calloc(2 * n, sizeof *f->seg);          /* n leaves, and fewer branchings */
    f->token = gr_calloc(tokens, sizeof *f->token);
    f->pos = gr_calloc(tokens, sizeof *f->pos);
    f->angle = gr_calloc(tokens, sizeof *f->angle);
    f->one_byte = gr_calloc(tokens, sizeof *f->one_byte);
    f->leaf_row = gr_calloc(n, sizeof *f->leaf_row);
    return f->seg && f->token && f->pos && f->angle && f->one_byte && f->leaf_row;
}

static gram_status init(gr_forest *f, const gr_seq *seq, const gr_kv_at *known, size_t n, size_t far,
                        gr_kv_tree *cache, gr_save save, gram_err *err)
{
    struct ranked *r = gr_calloc(n, sizeof *r);
    struct run *todo = gr_calloc(n + 1, sizeof *todo);  /* parts of one run are disjoint and not empty */
    size_t *leaf = gr_calloc(n, sizeof *leaf), unknown = 0;
    gram_status rc = GRAM_OK;

    *f = (gr_forest){ .n_seqs = n, .cache = cache, .far = far };
    if (!reserve(f, seq, known, n) || !r || !todo || !leaf) {
        gr_forest_clear(f, false);
        rc = gr_nomem(err, "prefix forest");
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        if (!is_known(f, seq, known, i))
            r[unknown++] = (struct ranked){ &seq[i], i, is_far(f, &seq[i]) };
    qsort(r, unknown, sizeof *r, by_tokens);
    place_all(f, r, unknown, todo, leaf);
    for (size_t i = 0; i < f->n_segs && cache; i++)
        ask_cache(f, &f->seg[i], save);
    for (size_t i = 0; i < n; i++)                      /* last, so that nothing above finds their tokens */
        if (is_known(f, seq, known, i))
            leaf[i] = place_tail(f, &seq[i], known[i]);
    close_gaps(f);
    measure(f, leaf);
out:
    free(r);
    free(todo);
    free(leaf);
    return rc;
}

gram_status gr_forest_init(gr_forest *f, const gr_seq *seq, size_t n, size_t far, gr_kv_tree *cache, gr_save save,
                           gram_err *err)
{
    return init(f, seq, NULL, n, far, cache, save, err);
}

gram_status gr_forest_go_on(gr_forest *f, const gr_seq *seq, const gr_kv_at *known, size_t n, size_t far,
                            gr_kv_tree *cache, gram_err *err)
{
    return init(f, seq, known, n, far, cache, GR_SAVE_ALL, err);
}

void gr_forest_clear(gr_forest *f, bool computed)
{
    for (size_t i = f->cache ? f->n_segs : 0; i-- > 0; ) {      /* children first */
        gr_segment *s = &f->seg[i];
        gr_kv_unpin(s->save.node ? s->save.node : s->at.node);
        if (s->save.node && !computed)
            gr_kv_take_back(f->cache, s->save);
    }
    free(f->seg);
    free(f->token);
    free(f->pos);
    free(f->angle);
    free(f->one_byte);
    free(f->leaf_row);
    *f = (gr_forest){ 0 };
}

/* Segments are in the order of their rows. */
size_t gr_forest_row(const gr_forest *f, size_t s, size_t pos)
{
    size_t at = gr_forest_segment(f, f->leaf_row[s]);

    while (pos < f->seg[at].pos)
        at = f->seg[at].parent;
    return f->seg[at].row + pos - f->seg[at].pos;
}

size_t gr_forest_segment(const gr_forest *f, size_t row)
{
    size_t lo = 0, hi = f->n_segs - 1;

    while (lo < hi) {
        size_t mid = (lo + hi + 1) / 2;
        if (f->seg[mid].row <= row)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

gram_status gr_forest_check(const gr_forest *f, size_t vocabulary, gram_err *err)
{
    for (size_t r = 0; r < f->rows; r++)
        if (f->token[r] < 0 || (size_t)f->token[r] >= vocabulary)
            return gr_fail(err, GRAM_EARG, "token %d is not in the model's vocabulary of %zu", (int)f->token[r],
                           vocabulary);
    return GRAM_OK;
}
