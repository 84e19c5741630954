/* attr.c - a.b, a["b"] and a[1:2], as Jinja's sandbox looks things up. */
#include <inttypes.h>
#include "jinja/jinja_int.h"

/* What Jinja's object_type_repr() says of v. */
static const char *object_name(jctx *j, jval v)
{
    const char *module = v.t == J_NS ? "transformers.utils.chat_template_utils." : v.t == J_MACRO || v.t == J_LOOP
                       ? "jinja2.runtime." : v.t == J_CYCLER || v.t == J_JOINER ? "jinja2.utils."
                       : v.t == J_STR && v.s->safe ? "markupsafe." : "";

    return v.t == J_NONE ? "None" : gr_jprintf(j, "%s%s object", module, gr_jtype_name(v));
}

static jval lacks(jctx *j, jval v, jval name)
{
    jundef *u = gr_jalloc(j, sizeof *u);

    u->obj = object_name(j, v);
    u->name = gr_jrepr(j, name);
    u->attr = name.t == J_STR;
    return (jval){ .t = J_UNDEF, .u = u };
}

static jval unsafe(jctx *j, jval v, const jstr *name)
{
    return gr_jundef_hint(j, gr_jprintf(j, "access to attribute '%s' of '%s' object is unsafe.", gr_jcstr(j, name),
                                        gr_jtype_name(v)));
}

/* ---- Attributes --------------------------------------------------------------------------------- */

static jval loop_next(jctx *j, jloop *l)
{
    if (l->after.t == J_MISSING && !gr_jnext(j, l->iter.iter, &l->after))
        l->after = J_NOTHING;
    return l->after;
}

static bool loop_attr(jctx *j, jval v, const jstr *name, jval *out)
{
    jloop *l = v.loop;
    static const struct { const char *name; int64_t add; } at[] = { { "index0", 0 }, { "index", 1 } };
    static const struct { const char *name; int64_t add; } left[] = { { "revindex0", -1 }, { "revindex", 0 } };

    for (size_t i = 0; i < 2; i++) {
        if (gr_jstr_is(name, at[i].name))
            *out = gr_jint(l->index0 + at[i].add);
        else if (gr_jstr_is(name, left[i].name))
            *out = gr_jint((int64_t)gr_jlen(j, v) - l->index0 + left[i].add);
        else
            continue;
        return true;
    }
    if (gr_jstr_is(name, "first"))
        *out = gr_jbool(l->index0 == 0);
    else if (gr_jstr_is(name, "last"))
        *out = gr_jbool(loop_next(j, l).t == J_MISSING);
    else if (gr_jstr_is(name, "length"))
        *out = gr_jint((int64_t)gr_jlen(j, v));
    else if (gr_jstr_is(name, "depth") || gr_jstr_is(name, "depth0"))
        *out = gr_jint((int64_t)l->depth0 + (name->n == 5));
    else if (gr_jstr_is(name, "previtem"))
        *out = l->index0 == 0 ? gr_jundef_hint(j, "there is no previous item") : l->before;
    else if (gr_jstr_is(name, "nextitem"))
        *out = loop_next(j, l).t == J_MISSING ? gr_jundef_hint(j, "there is no next item") : l->after;
    else
        return false;
    return true;
}

static bool macro_attr(jctx *j, const jmacro *m, const jstr *name, jval *out)
{
    if (gr_jstr_is(name, "name"))
        *out = m->name ? gr_jstrv(m->name) : J_NULL;
    else if (gr_jstr_is(name, "caller"))
        *out = gr_jbool(m->node->caller);
    else if (gr_jstr_is(name, "catch_kwargs"))
        *out = gr_jbool(m->node->kwargs);
    else if (gr_jstr_is(name, "catch_varargs"))
        *out = gr_jbool(m->node->varargs);
    else if (gr_jstr_is(name, "arguments")) {
        *out = gr_jlist_new(j, J_TUPLE, m->node->kid2.n);
        for (size_t i = 0; i < m->node->kid2.n; i++)
            gr_jpush(j, out->l, gr_jstrv(m->node->kid2.v[i]->name));
    } else {
        return false;
    }
    return true;
}

static bool property(jctx *j, jval v, const jstr *name, jval *out)
{
    switch (v.t) {
    case J_NS:     return gr_jget(j, v.d, gr_jstrv(name), out);
    case J_LOOP:   return loop_attr(j, v, name, out);
    case J_MACRO:  return macro_attr(j, v.macro, name, out);
    case J_CYCLER:
        if (!gr_jstr_is(name, "current"))
            return false;
        *out = v.cycler->v[v.cycler->at];
        return true;
    case J_RANGE:
        if (gr_jstr_is(name, "start"))
            *out = gr_jint(v.range->start);
        else if (gr_jstr_is(name, "stop"))
            *out = gr_jint(v.range->stop);
        else if (gr_jstr_is(name, "step"))
            *out = gr_jint(v.range->step);
        else
            return false;
        return true;
    default: return false;
    }
}

static bool is_dunder(const jstr *name)
{
    return name->n > 4 && !memcmp(name->p, "__", 2) && !memcmp(name->p + name->n - 2, "__", 2);
}

/* A Python attribute of v; false: it has none of this name. */
static bool attribute(jctx *j, jval v, const jstr *name, jval *out)
{
    jmethod *m;
    jmethod_fn *fn = NULL;
    const char *called = NULL;

    if (v.t != J_NS && is_dunder(name)) {
        *out = unsafe(j, v, name);              /* all of these are there or might be, and none may be seen */
        return true;
    }
    if (property(j, v, name, out))
        return true;
    switch (gr_jmethod(v, name, &fn, &called)) {
    case METHOD_NONE:   return false;
    case METHOD_UNSAFE: *out = unsafe(j, v, name); return true;
    case METHOD_LACKING:
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template uses %s.%s, which gram does not know", gr_jtype_name(v),
                 gr_jcstr(j, name));
    case METHOD_HERE:   break;
    }
    m = gr_jalloc(j, sizeof *m);
    *m = (jmethod){ v, called, fn };
    *out = (jval){ .t = J_METHOD, .method = m };
    return true;
}

jval gr_jgetattr(jctx *j, jval v, const jstr *name)
{
    jval out;

    if (v.t == J_UNDEF && is_dunder(name))
        return unsafe(j, v, name);
    gr_jneed(j, v);
    if (attribute(j, v, name, &out) || (v.t == J_DICT && gr_jget(j, v.d, gr_jstrv(name), &out)))
        return out;
    return lacks(j, v, gr_jstrv(name));
}

/* ---- Items -------------------------------------------------------------------------------------- */

static bool at_index(jctx *j, jval v, int64_t i, jval *out)
{
    int64_t n = (int64_t)gr_jlen(j, v);

    i += i < 0 ? n : 0;
    if (i < 0 || i >= n)
        return false;
    if (v.t == J_STR) {
        size_t at = gr_joffset(v.s, (size_t)i), end;
        int32_t c;
        gr_jstep(j, at / 64);
        end = at + gr_jget_char(v.s->p + at, v.s->n - at, &c);
        *out = gr_jstrv(gr_jsub(j, v.s, at, end - at));
    } else {
        *out = v.t == J_RANGE ? gr_jint(gr_jrange_at(v.range, (size_t)i)) : v.l->v[i];
    }
    return true;
}

jval gr_jgetitem(jctx *j, jval v, jval key)
{
    jval out;
    bool seq = v.t == J_STR || v.t == J_LIST || v.t == J_TUPLE || v.t == J_RANGE;

    gr_jneed(j, v);
    if (v.t == J_DICT && key.t != J_LIST && key.t != J_DICT && gr_jget(j, v.d, key, &out))
        return out;
    if (seq && (key.t == J_INT || key.t == J_BOOL) && at_index(j, v, gr_jindex(j, key), &out))
        return out;
    if (key.t == J_STR && attribute(j, v, key.s, &out))
        return out;
    return lacks(j, v, key);
}

/* Where a slice begins and ends, as Python's slice.indices(). */
static int64_t bound(jctx *j, jval v, int64_t n, bool back, int64_t otherwise)
{
    int64_t i;

    if (v.t == J_NONE)
        return otherwise;
    if (v.t != J_INT && v.t != J_BOOL)
        gr_jraise(j, "slice indices must be integers or None or have an __index__ method");
    i = gr_jindex(j, v);
    if (i < 0)
        i = i < -n ? (back ? -1 : 0) : i + n;
    else if (i >= n)
        i = back ? n - 1 : n;
    return i;
}

static jval slice_str(jctx *j, const jstr *s, int64_t from, int64_t step, int64_t n)
{
    jbuf *b;

    if (step == 1) {
        size_t at = gr_joffset(s, (size_t)from), end = gr_joffset(s, (size_t)(from + n));
        gr_jstep(j, end / 64);
        return gr_jstrv(gr_jsub(j, s, at, n ? end - at : 0));
    }
    b = gr_jbuf_new(j);
    b->safe = s->safe;
    for (int64_t k = 0; k < n; k++) {
        size_t at = gr_joffset(s, (size_t)(from + k * step));
        int32_t c;
        gr_jstep(j, 1 + (gr_jchars(s) == s->n ? 0 : at / 8));
        gr_jbuf_sub(b, s, at, gr_jget_char(s->p + at, s->n - at, &c));
    }
    return gr_jstrv(gr_jbuf_str(b));
}

/* Its elements are integers; what lies between two of them may be none. */
int64_t gr_jrange_at(const jrange *r, size_t i)
{
    return (int64_t)((uint64_t)r->start + (uint64_t)r->step * i);
}

static int64_t whole(jctx *j, __int128 x)
{
    if (x < INT64_MIN || x > INT64_MAX)
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template computes an integer of more than 64 bits");
    return (int64_t)x;
}

static jval slice_range(jctx *j, const jrange *from, int64_t a, int64_t b, int64_t by, size_t n)
{
    jrange *r = gr_jalloc(j, sizeof *r);
    __int128 step = from->step;

    *r = (jrange){ whole(j, from->start + step * a), whole(j, from->start + step * b), whole(j, step * by), n };
    return (jval){ .t = J_RANGE, .range = r };
}

jval gr_jslice(jctx *j, jval v, jval from, jval to, jval step)
{
    int64_t n, by = 1, said = 1, a, b, count;
    jval out;

    gr_jneed(j, v);
    if (v.t == J_DICT)
        gr_jraise(j, "unhashable type: 'slice'");
    if (v.t != J_STR && v.t != J_LIST && v.t != J_TUPLE && v.t != J_RANGE)
        gr_jraise(j, "'%s' object is not subscriptable", gr_jtype_name(v));
    n = (int64_t)gr_jlen(j, v);
    if (step.t != J_NONE) {
        if (step.t != J_INT && step.t != J_BOOL)
            gr_jraise(j, "slice indices must be integers or None or have an __index__ method");
        said = gr_jindex(j, step);          /* beyond every text and list it no longer matters which it is */
        by = said > INT32_MAX ? INT32_MAX : said < -INT32_MAX ? -INT32_MAX : said;
    }
    if (by == 0)
        gr_jraise(j, "slice step cannot be zero");
    a = bound(j, from, n, by < 0, by < 0 ? n - 1 : 0);
    b = bound(j, to, n, by < 0, by < 0 ? -1 : n);
    count = by > 0 ? (b > a ? (b - a - 1) / by + 1 : 0) : (a > b ? (a - b - 1) / -by + 1 : 0);
    if (v.t == J_STR)
        return slice_str(j, v.s, count ? a : 0, by, count);
    if (v.t == J_RANGE)
        return slice_range(j, v.range, a, b, said, (size_t)count);
    out = gr_jlist_new(j, v.t, (size_t)count);
    for (int64_t k = 0; k < count; k++)
        gr_jpush(j, out.l, v.l->v[a + k * by]);
    return out;
}
