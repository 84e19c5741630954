/* iter.c - walking over values, as Python's iterators do: once, and making each element when it is asked for. */
#include "jinja/jinja_int.h"

bool gr_jiterable(jval v)
{
    return v.t == J_UNDEF || v.t == J_STR || v.t == J_LIST || v.t == J_TUPLE || v.t == J_DICT || v.t == J_RANGE
        || v.t == J_ITER || v.t == J_VIEW || v.t == J_LOOP;
}

jval gr_jiter(jctx *j, jval v)
{
    jiter *it;

    if (v.t == J_ITER)
        return v;
    if (!gr_jiterable(v))
        gr_jraise(j, "'%s' object is not iterable", gr_jtype_name(v));
    it = gr_jalloc(j, sizeof *it);
    it->kind = ITER_SEQ;
    it->type = "iterator";
    it->source = v;
    it->len = v.t == J_STR ? v.s->n : v.t == J_LOOP ? 0 : gr_jlen(j, v);
    return (jval){ .t = J_ITER, .iter = it };
}

/* Python walks over Markup as over any str. */
static jval character(jctx *j, const jstr *s, size_t at, size_t n)
{
    jstr plain = *s;

    plain.safe = false;
    plain.p += at;
    plain.mark = s->mark ? s->mark + at : NULL;
    plain.n = n;
    plain.chars = 1;
    return gr_jstrv(memcpy(gr_jalloc(j, sizeof plain), &plain, sizeof plain));
}

static bool next_char(jctx *j, jiter *it, jval *v)
{
    const jstr *s = it->source.s;
    size_t at = it->at;
    int32_t c;

    if (at >= s->n)
        return false;
    if (it->back) {
        size_t end = s->n - at;
        at = end - 1;
        while (at > 0 && ((unsigned char)s->p[at] & 0xc0) == 0x80)
            at--;
        *v = character(j, s, at, end - at);
        it->at += end - at;
        return true;
    }
    it->at += gr_jget_char(s->p + at, s->n - at, &c);
    *v = character(j, s, at, it->at - at);
    return true;
}

static jval element(jctx *j, jval of, size_t i)
{
    switch (of.t) {
    case J_LIST:
    case J_TUPLE: return of.l->v[i];
    case J_DICT:  return of.d->key[i];
    case J_RANGE: return gr_jint(gr_jrange_at(of.range, i));
    default:      return of.view->what == 0 ? of.view->d->key[i] : of.view->what == 1 ? of.view->d->val[i]
                       : gr_jpair(j, of.view->d->key[i], of.view->d->val[i]);
    }
}

/* A loop is its own iterator: what is left of it, each with the loop itself. */
static bool next_of_loop(jctx *j, jloop *l, jval self, jval *v)
{
    jval item = l->after;

    if (item.t == J_MISSING && !gr_jnext(j, l->iter.iter, &item))
        return false;
    l->after = J_NOTHING;
    l->index0++;
    l->before = l->current;
    l->current = item;
    *v = gr_jpair(j, item, self);
    return true;
}

static bool next_of_seq(jctx *j, jiter *it, jval *v)
{
    if (it->source.t == J_UNDEF)
        return false;
    if (it->source.t == J_STR)
        return next_char(j, it, v);
    if (it->source.t == J_LOOP)
        return next_of_loop(j, it->source.loop, it->source, v);
    if (it->at >= it->len)
        return false;
    *v = element(j, it->source, it->back ? it->len - 1 - it->at : it->at);
    it->at++;
    return true;
}

static bool chosen(jctx *j, const jiter *it, jval v)
{
    if (it->by_attr)
        v = gr_jattr_path(j, v, it->attr, J_NOTHING);
    return (it->name ? gr_jtest_apply(j, it->name, v, &it->args) : gr_jtrue(j, v)) != it->reject;
}

static bool seen(jctx *j, jiter *it, jval v)
{
    jval key = gr_jattr_path(j, v, it->attr, J_NOTHING);

    if (it->nocase && key.t == J_STR)
        key = gr_jstrv(gr_jcase(j, key.s, CASE_LOWER));
    gr_jstep(j, it->seen->n);
    for (size_t i = 0; i < it->seen->n; i++)
        if (gr_jequal(j, it->seen->v[i], key))
            return true;
    if (key.t == J_LIST || key.t == J_DICT)
        gr_jraise(j, "unhashable type: '%s'", gr_jtype_name(key));
    gr_jpush(j, it->seen, key);
    return false;
}

/* A generator looks at nothing before it is asked for its first element, not even at its arguments. */
static void begin(jctx *j, jiter *it)
{
    it->begun = true;
    if (it->kind == ITER_MADE) {
        it->source = gr_jiter(j, it->make(j, it->source, &it->args));
        return;
    }
    if ((it->kind == ITER_MAP || it->kind == ITER_SELECT) && !gr_jtrue(j, it->source)) {
        it->source = gr_jiter(j, gr_jlist_new(j, J_LIST, 0));
        return;
    }
    if (it->kind == ITER_MAP)
        gr_jbegin_map(j, it);
    else if (it->kind == ITER_SELECT)
        gr_jbegin_select(j, it);
    it->source = gr_jiter(j, it->source);
}

static bool next_made(jctx *j, jiter *it, jval *v)
{
    while (gr_jnext(j, it->source.iter, v)) {
        if (it->kind == ITER_SELECT && !chosen(j, it, *v))
            continue;
        if (it->kind == ITER_UNIQUE && seen(j, it, *v))
            continue;
        if (it->kind == ITER_FOR && !gr_jfor_test(j, it, *v))
            continue;
        if (it->kind == ITER_MAP)
            *v = it->name ? gr_jfilter_apply(j, it->name, *v, &it->args)
                          : gr_jattr_path(j, *v, it->attr, it->fallback);
        return true;
    }
    return false;
}

bool gr_jnext(jctx *j, jiter *it, jval *v)
{
    bool more;

    gr_jdeeper(j);
    if (it->kind != ITER_SEQ && !it->begun)
        begin(j, it);
    more = it->kind == ITER_SEQ ? next_of_seq(j, it, v) : next_made(j, it, v);
    gr_jshallower(j);
    return more;
}

jval gr_jto_list(jctx *j, jval v)
{
    jval list = gr_jlist_new(j, J_LIST, gr_jhas_len(v) && v.t != J_LOOP ? gr_min(gr_jlen(j, v), 4096) : 0);
    jval it = gr_jiter(j, v), item;

    while (gr_jnext(j, it.iter, &item))
        gr_jpush(j, list.l, item);
    return list;
}

void gr_junpack(jctx *j, jval v, size_t n, jval *out)
{
    jval it, extra;
    size_t got = 0;

    if (!gr_jiterable(v))
        gr_jraise(j, "cannot unpack non-iterable %s object", gr_jtype_name(v));
    it = gr_jiter(j, v);
    while (got < n && gr_jnext(j, it.iter, &out[got]))
        got++;
    if (got < n)
        gr_jraise(j, "not enough values to unpack (expected %zu, got %zu)", n, got);
    if (gr_jnext(j, it.iter, &extra))
        gr_jraise(j, "too many values to unpack (expected %zu)", n);
}
