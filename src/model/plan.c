/* plan.c - see plan.h. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/plan.h"

/* Room for one more of what `list` has n of. */
#define MORE(list, n, cap) more((void **)(list), n, cap, sizeof **(list))

static bool more(void **list, size_t n, size_t *cap, size_t size)
{
    void *p = gr_grown(*list, n, cap, 1, size);

    if (p)
        *list = p;
    return p != NULL;
}

static bool add_span(gr_plan *p, gr_attn_span s)
{
    if (!MORE(&p->span, p->spans, &p->cap.span))
        return false;
    p->span[p->spans++] = s;
    return true;
}

/* Tokens [first, end) of a node, from the last page to the first: paths are collected backwards. */
static bool add_node(gr_plan *p, const gr_kv_node *node, size_t first, size_t end)
{
    const uint32_t *page = gr_kv_node_pages(node);
    bool ok = true;

    while (end > first && ok) {
        size_t start = gr_max((end - 1) / GR_PAGE * GR_PAGE, first);
        ok = add_span(p, (gr_attn_span){ GR_STORE_PAGES, page[start / GR_PAGE], (uint32_t)(start % GR_PAGE),
                                         (uint32_t)(end - start) });
        end = start;
    }
    return ok;
}

static size_t own_rows(const gr_segment *s)
{
    return s->len - s->cached;
}

static bool add_rows(gr_plan *p, const gr_segment *s)
{
    if (s->save.node)
        return add_node(p, s->save.node, s->save.first, s->save.first + own_rows(s));
    return !own_rows(s) || add_span(p, (gr_attn_span){ GR_STORE_PASS, 0, (uint32_t)s->row, (uint32_t)own_rows(s) });
}

/* The keys on the path to the end of a segment: nodes of the tree, then rows of segments. */
static bool add_path(gr_plan *p, const gr_forest *f, size_t s, size_t *first)
{
    gr_kv_at at = f->seg[s].at;
    bool ok = true;

    *first = p->spans;
    for (; s != GR_NO_SEGMENT && ok; s = f->seg[s].parent)
        ok = add_rows(p, &f->seg[s]);
    for (; at.node && ok; at = gr_kv_before(at.node))
        ok = add_node(p, at.node, 0, at.used);
    for (size_t i = *first, j = p->spans; i + 1 < j--; i++) {
        gr_attn_span swap = p->span[i];
        p->span[i] = p->span[j];
        p->span[j] = swap;
    }
    return ok;
}

static bool add_puts(gr_plan *p, const gr_segment *s)
{
    size_t first = s->save.first, end = first + own_rows(s);
    const uint32_t *page = s->save.node ? gr_kv_node_pages(s->save.node) : NULL;

    for (size_t i = first, n; page && i < end; i += n) {
        n = gr_min(GR_PAGE - i % GR_PAGE, end - i);
        if (!MORE(&p->put, p->puts, &p->cap.put))
            return false;
        p->put[p->puts++] = (gr_put){ s->row + (i - first), n, page[i / GR_PAGE], (uint32_t)(i % GR_PAGE) };
    }
    return true;
}

/* The longest come first. */
static int by_cost(const void *pa, const void *pb)
{
    const gr_attn_run *a = pa, *b = pb;
    size_t x = a->pos0 + a->n, y = b->pos0 + b->n;

    return x != y ? (x > y ? -1 : 1) : a->row < b->row ? -1 : a->row > b->row;
}

/* Runs of the rows row[0..n) (NULL: all rows, in order), each within one segment. path: where each segment's begins. */
static bool add_runs(gr_plan *p, const gr_forest *f, const size_t *row, size_t n, size_t most, const size_t *path)
{
    gr_attn_run **list = row ? &p->want_run : &p->run;
    size_t *cap = row ? &p->cap.want_run : &p->cap.run, *count = row ? &p->want_runs : &p->runs;

    for (size_t i = 0; i < n; ) {
        size_t r = row ? row[i] : i, s = gr_forest_segment(f, r), j = i + 1;
        const gr_segment *seg = &f->seg[s];
        while (j < n && j - i < most && (row ? row[j] : j) == r + (j - i) && r + (j - i) < seg->row + own_rows(seg))
            j++;
        if (!MORE(list, *count, cap))
            return false;
        (*list)[(*count)++] = (gr_attn_run){ i, j - i, (size_t)f->pos[r], path[s], path[s + 1] - path[s] };
        i = j;
    }
    return true;
}

gram_status gr_plan_forest(gr_plan *p, const gr_forest *f, const size_t *want, size_t n_want, bool longest,
                           gram_err *err)
{
    size_t *path = gr_calloc(f->n_segs + 1, sizeof *path), first;
    size_t *rows = gr_grown(p->want, 0, &p->cap.want, n_want + 1, sizeof *rows);
    int32_t *angle = rows ? realloc(p->want_angle, p->cap.want * sizeof *angle) : NULL;
    bool ok = path && rows && angle;

    p->want = rows ? rows : p->want;
    p->want_angle = angle ? angle : p->want_angle;
    p->runs = p->want_runs = p->spans = p->puts = 0;
    p->rows = f->rows;
    p->token = f->token;
    p->angle = f->angle;
    p->n_want = n_want;
    p->angles = f->angles;
    p->pages = f->cache ? gr_kv_pages(f->cache) : NULL;
    for (size_t i = 0; i < n_want && ok; i++) {
        rows[i] = want[i];
        angle[i] = f->angle[want[i]];
    }
    for (size_t s = 0; s < f->n_segs && ok; s++) {
        ok = add_path(p, f, s, &first) && add_puts(p, &f->seg[s]);
        path[s] = first;
        path[s + 1] = p->spans;
    }
    ok = ok && add_runs(p, f, NULL, f->rows, GR_ATTN_QUERIES, path) &&
         add_runs(p, f, want, n_want, longest ? GR_ATTN_QUERIES : 1, path);
    free(path);
    if (!ok)
        return gr_nomem(err, "forward pass");
    if (longest) {
        qsort(p->run, p->runs, sizeof *p->run, by_cost);
        qsort(p->want_run, p->want_runs, sizeof *p->want_run, by_cost);
    }
    return GRAM_OK;
}

void gr_plan_clear(gr_plan *p)
{
    free(p->run);
    free(p->put);
    free(p->want);
    free(p->want_angle);
    free(p->want_run);
    free(p->span);
    *p = (gr_plan){ 0 };
}

/* Segments are in pre-order, so those after a segment's path follow it, and so do their runs. */
static bool is_below(const gr_forest *f, size_t s, size_t top)
{
    while (s != GR_NO_SEGMENT && s > top)
        s = f->seg[s].parent;
    return s == top;
}

gram_status gr_seen_forest(gr_seen *s, const gr_plan *p, const gr_forest *f, bool wanted, gram_err *err)
{
    const gr_attn_run *query = wanted ? p->want_run : p->run;
    size_t queries = wanted ? p->want_runs : p->runs, n = 0;
    size_t *from = gr_grown(s->from, 0, &s->cap_from, p->runs + 1, sizeof *from);

    if (!from)
        return gr_nomem(err, "backward pass");
    s->from = from;
    for (size_t i = 0; i < p->runs; i++) {
        size_t top = gr_forest_segment(f, p->run[i].row);
        from[i] = n;
        for (size_t k = wanted ? 0 : i; k < queries; k++) {     /* of all rows, those before cannot be below */
            size_t row = wanted ? p->want[query[k].row] : query[k].row;
            if (!is_below(f, gr_forest_segment(f, row), top))
                continue;
            if (!MORE(&s->run, n, &s->cap_run))
                return gr_nomem(err, "backward pass");
            s->run[n++] = k;
        }
    }
    from[p->runs] = n;
    return GRAM_OK;
}

void gr_seen_clear(gr_seen *s)
{
    free(s->from);
    free(s->run);
    *s = (gr_seen){ 0 };
}
