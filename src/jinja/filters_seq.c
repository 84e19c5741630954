/* filters_seq.c - the filters that walk over a sequence. map, select and their like make elements as they are asked
 * for, as Python's generators do. */
#include "jinja/filters.h"

#define ARGS(required, ...) \
    static const char *const names_[] = { __VA_ARGS__ }; \
    jval arg[GR_COUNT(names_)]; \
    gr_jbind(j, __func__ + 3, a, required, GR_COUNT(names_), names_, arg)

static bool flag(jctx *j, jval v) { return v.t != J_MISSING && gr_jtrue(j, v); }

jval gr_jattr_path(jctx *j, jval v, jval path, jval fallback)
{
    if (path.t == J_MISSING || path.t == J_NONE)
        return v;
    if (path.t != J_STR)
        return gr_jgetitem(j, v, path);
    for (size_t from = 0; from <= path.s->n; ) {
        const char *dot = memchr(path.s->p + from, '.', path.s->n - from);
        size_t end = dot ? (size_t)(dot - path.s->p) : path.s->n;
        const jstr *part = gr_jsub(j, path.s, from, end - from);
        int64_t i;
        v = gr_jgetitem(j, v, gr_jis(part, IS_DIGIT) && gr_jparse_int(part, 10, &i) ? gr_jint(i) : gr_jstrv(part));
        if (v.t == J_UNDEF && fallback.t != J_MISSING && fallback.t != J_NONE)
            v = fallback;
        from = end + 1;
    }
    return v;
}

static jval fold(jctx *j, jval v, bool cased)
{
    return !cased && v.t == J_STR ? gr_jstrv(gr_jcase(j, v.s, CASE_LOWER)) : v;
}

/* ---- Sorting ------------------------------------------------------------------------------------ */

/* A stable merge of v[0:n), by key; both are rearranged. */
static void sort(jctx *j, jval *v, jval *key, jval *tv, jval *tk, size_t n, bool reverse)
{
    size_t half = n / 2, a = 0, b = half, k = 0;

    if (n < 2)
        return;
    gr_jdeeper(j);
    sort(j, v, key, tv, tk, half, reverse);
    sort(j, v + half, key + half, tv, tk, n - half, reverse);
    gr_jshallower(j);
    while (a < half || b < n) {
        bool right = a == half
                  || (b < n && (reverse ? gr_jless(j, "<", key[a], key[b]) : gr_jless(j, "<", key[b], key[a])));
        size_t from = right ? b++ : a++;
        gr_jstep(j, 1);
        tv[k] = v[from];
        tk[k++] = key[from];
    }
    memcpy(v, tv, n * sizeof *v);
    memcpy(key, tk, n * sizeof *key);
}

void gr_jsort(jctx *j, jval *v, jval *key, size_t n, bool reverse)
{
    sort(j, v, key, gr_jalloc(j, n * sizeof *v), gr_jalloc(j, n * sizeof *v), n, reverse);
}

/* "a.b,c": a list of what each path leads to. */
static jval sort_key(jctx *j, jval v, jval attribute, bool cased)
{
    jval key = gr_jlist_new(j, J_LIST, 1);

    if (attribute.t != J_STR) {
        gr_jpush(j, key.l, fold(j, gr_jattr_path(j, v, attribute, J_NOTHING), cased));
        return key;
    }
    for (size_t from = 0; from <= attribute.s->n; ) {
        const char *comma = memchr(attribute.s->p + from, ',', attribute.s->n - from);
        size_t end = comma ? (size_t)(comma - attribute.s->p) : attribute.s->n;
        jval path = gr_jstrv(gr_jsub(j, attribute.s, from, end - from));
        gr_jpush(j, key.l, fold(j, gr_jattr_path(j, v, path, J_NOTHING), cased));
        from = end + 1;
    }
    return key;
}

static jval do_sort(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "reverse", "case_sensitive", "attribute");
    jval list = gr_jto_list(j, v), *key = gr_jalloc(j, list.l->n * sizeof *key);

    for (size_t i = 0; i < list.l->n; i++)
        key[i] = sort_key(j, list.l->v[i], arg[2], flag(j, arg[1]));
    gr_jsort(j, list.l->v, key, list.l->n, flag(j, arg[0]));
    return list;
}

static jval do_dictsort(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "case_sensitive", "by", "reverse");
    bool by_value = arg[1].t == J_STR && gr_jstr_is(arg[1].s, "value");
    jval list, *key;

    if (!by_value && arg[1].t != J_MISSING && !(arg[1].t == J_STR && gr_jstr_is(arg[1].s, "key")))
        gr_jraise(j, "You can only sort by either \"key\" or \"value\"");
    gr_jneed(j, v);
    if (v.t != J_DICT)
        gr_jraise(j, "'%s' object has no attribute 'items'", gr_jtype_name(v));
    list = gr_jlist_new(j, J_LIST, v.d->n);
    key = gr_jalloc(j, v.d->n * sizeof *key);
    for (size_t i = 0; i < v.d->n; i++) {
        gr_jpush(j, list.l, gr_jpair(j, v.d->key[i], v.d->val[i]));
        key[i] = fold(j, by_value ? v.d->val[i] : v.d->key[i], flag(j, arg[0]));
    }
    gr_jsort(j, list.l->v, key, list.l->n, flag(j, arg[2]));
    return list;
}

static jval do_groupby(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "attribute", "default", "case_sensitive");
    jval list = gr_jto_list(j, v), *key = gr_jalloc(j, list.l->n * sizeof *key), out = gr_jlist_new(j, J_LIST, 4);
    jval group = J_NOTHING;

    for (size_t i = 0; i < list.l->n; i++)
        key[i] = fold(j, gr_jattr_path(j, list.l->v[i], arg[0], arg[1]), flag(j, arg[2]));
    gr_jsort(j, list.l->v, key, list.l->n, false);
    for (size_t i = 0; i < list.l->n; i++) {
        if (i == 0 || !gr_jequal(j, key[i - 1], key[i])) {
            group = gr_jlist_new(j, J_LIST, 2);
            gr_jpush(j, out.l, gr_jpair(j, gr_jattr_path(j, list.l->v[i], arg[0], arg[1]), group));
        }
        gr_jpush(j, group.l, list.l->v[i]);
    }
    return out;
}

static jval extreme(jctx *j, jval v, const jval arg[2], bool most)
{
    jval it = gr_jiter(j, v), item, best, key, best_key;

    if (!gr_jnext(j, it.iter, &best))
        return gr_jundef_hint(j, "No aggregated item, sequence was empty.");
    best_key = fold(j, gr_jattr_path(j, best, arg[1], J_NOTHING), flag(j, arg[0]));
    while (gr_jnext(j, it.iter, &item)) {
        key = fold(j, gr_jattr_path(j, item, arg[1], J_NOTHING), flag(j, arg[0]));
        if (most ? gr_jless(j, ">", key, best_key) : gr_jless(j, "<", key, best_key)) {
            best = item;
            best_key = key;
        }
    }
    return best;
}
static jval do_min(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "case_sensitive", "attribute");
    return extreme(j, v, arg, false);
}
static jval do_max(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "case_sensitive", "attribute");
    return extreme(j, v, arg, true);
}

/* ---- Generators --------------------------------------------------------------------------------- */

static jval generator(jctx *j, jiter_kind kind, jval over, const jargs *a, jiter **out)
{
    jiter *it = gr_jalloc(j, sizeof *it);

    it->kind = kind;
    it->type = "generator";
    it->source = over;
    it->attr = it->fallback = J_NOTHING;
    it->args = *a;
    *out = it;
    return (jval){ .t = J_ITER, .iter = it };
}

static void drop_args(jiter *it, size_t n)
{
    it->args.pos += n;
    it->args.n -= n;
    it->args.cap = it->args.cap_kw = 0;
}

/* map(attribute=..., default=...) or map(FILTER, ...) */
void gr_jbegin_map(jctx *j, jiter *it)
{
    const jargs *a = &it->args;
    bool attribute = false;

    for (size_t i = 0; i < a->n_kw; i++)
        attribute |= gr_jstr_is(a->kw[i].name, "attribute");
    if (!a->n && attribute) {
        for (size_t i = 0; i < a->n_kw; i++) {
            bool is_default = gr_jstr_is(a->kw[i].name, "default");
            if (!is_default && !gr_jstr_is(a->kw[i].name, "attribute"))
                gr_jraise(j, "Unexpected keyword argument '%s'", gr_jcstr(j, a->kw[i].name));
            *(is_default ? &it->fallback : &it->attr) = a->kw[i].v;
        }
        return;
    }
    if (!a->n)
        gr_jraise(j, "map requires a filter argument");
    if (a->pos[0].t != J_STR || !gr_jfilter(a->pos[0].s))
        gr_jraise(j, "No filter named %s.", gr_jrepr(j, a->pos[0]));
    it->name = a->pos[0].s;
    drop_args(it, 1);
}

void gr_jbegin_select(jctx *j, jiter *it)
{
    const jargs *a = &it->args;
    size_t off = it->by_attr;

    if (off && !a->n)
        gr_jraise(j, "Missing parameter for attribute name");
    if (off)
        it->attr = a->pos[0];
    if (a->n > off) {
        if (a->pos[off].t != J_STR || !gr_jtest(a->pos[off].s))
            gr_jraise(j, "No test named %s.", gr_jrepr(j, a->pos[off]));
        it->name = a->pos[off].s;
        off++;
    }
    drop_args(it, off);
}

static jval do_map(jctx *j, jval v, const jargs *a)
{
    jiter *it;

    return generator(j, ITER_MAP, v, a, &it);
}

static jval select(jctx *j, jval v, const jargs *a, bool by_attr, bool reject)
{
    jiter *it;
    jval out = generator(j, ITER_SELECT, v, a, &it);

    it->by_attr = by_attr;
    it->reject = reject;
    return out;
}
static jval do_select(jctx *j, jval v, const jargs *a) { return select(j, v, a, false, false); }
static jval do_reject(jctx *j, jval v, const jargs *a) { return select(j, v, a, false, true); }
static jval do_selectattr(jctx *j, jval v, const jargs *a) { return select(j, v, a, true, false); }
static jval do_rejectattr(jctx *j, jval v, const jargs *a) { return select(j, v, a, true, true); }

static jval do_unique(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "case_sensitive", "attribute");
    jiter *it;
    jval out = generator(j, ITER_UNIQUE, v, a, &it);

    it->attr = arg[1];
    it->nocase = !flag(j, arg[0]);
    it->seen = gr_jlist_new(j, J_LIST, 8).l;
    return out;
}

/* What Python makes element by element, and here may be made at once, for it asks no template for anything. */
static jval made(jctx *j, jval v, const jargs *a, jval (*make)(jctx *, jval, const jargs *))
{
    jiter *it;
    jval out = generator(j, ITER_MADE, v, a, &it);

    it->make = make;
    return out;
}

static jval make_items(jctx *j, jval v, const jargs *a)
{
    jview *w;

    (void)a;
    if (v.t == J_UNDEF)
        return v;
    if (v.t != J_DICT)
        gr_jraise(j, "Can only get item pairs from a mapping.");
    w = gr_jalloc(j, sizeof *w);
    *w = (jview){ v.d, 2 };
    return (jval){ .t = J_VIEW, .view = w };
}
static jval do_items(jctx *j, jval v, const jargs *a)
{
    gr_jbind(j, "items", a, 0, 0, NULL, NULL);
    return made(j, v, a, make_items);
}

static jval reversed(jctx *j, jval v)
{
    jval it = gr_jiter(j, v.t == J_ITER || v.t == J_UNDEF ? gr_jto_list(j, v) : v);

    it.iter->back = true;
    it.iter->type = v.t == J_LIST ? "list_reverseiterator" : "reversed";
    return it;
}

static jval do_reverse(jctx *j, jval v, const jargs *a)
{
    gr_jbind(j, "reverse", a, 0, 0, NULL, NULL);
    if (v.t == J_STR)
        return gr_jslice(j, v, J_NULL, J_NULL, gr_jint(-1));
    if (!gr_jiterable(v))
        gr_jraise(j, "argument must be iterable");
    if (v.t == J_ITER) {
        jval list = gr_jto_list(j, v), *e = list.l->v;
        for (size_t i = 0, n = list.l->n; i < n / 2; i++) {
            jval swap = e[i];
            e[i] = e[n - 1 - i];
            e[n - 1 - i] = swap;
        }
        return list;
    }
    return reversed(j, v);
}

/* ---- The rest ----------------------------------------------------------------------------------- */

static jval do_first(jctx *j, jval v, const jargs *a)
{
    jval it = gr_jiter(j, v), item;

    gr_jbind(j, "first", a, 0, 0, NULL, NULL);
    return gr_jnext(j, it.iter, &item) ? item : gr_jundef_hint(j, "No first item, sequence was empty.");
}

static jval do_last(jctx *j, jval v, const jargs *a)
{
    jval item, it;

    gr_jbind(j, "last", a, 0, 0, NULL, NULL);
    if (v.t == J_ITER || v.t == J_LOOP || !gr_jiterable(v))
        gr_jraise(j, "'%s' object is not reversible", gr_jtype_name(v));
    it = reversed(j, v);
    return gr_jnext(j, it.iter, &item) ? item : gr_jundef_hint(j, "No last item, sequence was empty.");
}

static jval do_list(jctx *j, jval v, const jargs *a)
{
    gr_jbind(j, "list", a, 0, 0, NULL, NULL);
    return gr_jto_list(j, v);
}

static jval do_join(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "d", "attribute");
    const jstr *d = arg[0].t == J_MISSING ? gr_jlit(j, "") : gr_jto_str(j, arg[0]);
    jbuf *b = gr_jbuf_new(j);
    jval it = gr_jiter(j, v), item;

    for (size_t i = 0; gr_jnext(j, it.iter, &item); i++) {
        if (arg[1].t != J_MISSING && arg[1].t != J_NONE)
            item = gr_jattr_path(j, item, arg[1], J_NOTHING);
        if (i)
            gr_jbuf_add(b, d);
        gr_jbuf_val(b, item);
    }
    return gr_jstrv(gr_jbuf_str(b));
}

static jval do_sum(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "attribute", "start");
    jval it = gr_jiter(j, v), item, sum = arg[1].t == J_MISSING ? gr_jint(0) : arg[1];

    if (sum.t == J_STR)
        gr_jraise(j, "sum() can't sum strings [use ''.join(seq) instead]");
    while (gr_jnext(j, it.iter, &item))
        sum = gr_jbinary(j, OP_ADD, sum, gr_jattr_path(j, item, arg[0], J_NOTHING));
    return sum;
}

static jval make_batch(jctx *j, jval v, const jargs *a)
{
    static const char *const name[] = { "linecount", "fill_with" };
    jval arg[2];
    int64_t n;
    jval out = gr_jlist_new(j, J_LIST, 4), it = gr_jiter(j, v), item, line = J_NOTHING;

    gr_jbind(j, "batch", a, 1, 2, name, arg);
    n = gr_jindex(j, arg[0]);
    while (gr_jnext(j, it.iter, &item)) {
        if (line.t == J_MISSING || (int64_t)line.l->n == n) {
            line = gr_jlist_new(j, J_LIST, 4);
            gr_jpush(j, out.l, line);
        }
        gr_jpush(j, line.l, item);
    }
    while (line.t != J_MISSING && arg[1].t != J_MISSING && arg[1].t != J_NONE && (int64_t)line.l->n < n)
        gr_jpush(j, line.l, arg[1]);
    return out;
}

static jval make_slice(jctx *j, jval v, const jargs *a)
{
    static const char *const name[] = { "slices", "fill_with" };
    jval arg[2], list = gr_jto_list(j, v), out = gr_jlist_new(j, J_LIST, 4);
    int64_t n, length = (int64_t)list.l->n, each, extra, at = 0;

    gr_jbind(j, "slice", a, 1, 2, name, arg);
    n = gr_jindex(j, arg[0]);
    if (n == 0)
        gr_jraise(j, "integer division or modulo by zero");
    each = n > 0 ? length / n : 0;
    extra = n > 0 ? length % n : 0;
    for (int64_t i = 0; i < n; i++) {
        jval part = gr_jlist_new(j, J_LIST, 4);
        int64_t end = at + each + (i < extra);
        for (; at < end; at++)
            gr_jpush(j, part.l, list.l->v[at]);
        if (i >= extra && arg[1].t != J_MISSING && arg[1].t != J_NONE)
            gr_jpush(j, part.l, arg[1]);
        gr_jpush(j, out.l, part);
    }
    return out;
}

static jval do_batch(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "linecount", "fill_with");
    return made(j, v, a, make_batch);
}
static jval do_slice(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "slices", "fill_with");
    return made(j, v, a, make_slice);
}

static const struct { const char *name; jfilter_fn *fn; } known[] = {
    { "batch", do_batch }, { "dictsort", do_dictsort }, { "first", do_first }, { "groupby", do_groupby },
    { "items", do_items }, { "join", do_join }, { "last", do_last }, { "list", do_list }, { "map", do_map },
    { "max", do_max }, { "min", do_min }, { "reject", do_reject }, { "rejectattr", do_rejectattr },
    { "reverse", do_reverse }, { "select", do_select }, { "selectattr", do_selectattr }, { "slice", do_slice },
    { "sort", do_sort }, { "sum", do_sum }, { "unique", do_unique }
};

jfilter_fn *gr_jfilter_seq(const jstr *name)
{
    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (gr_jstr_is(name, known[i].name))
            return known[i].fn;
    return NULL;
}
