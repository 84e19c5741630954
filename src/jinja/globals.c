/* globals.c - the functions that a template finds by name, and calls of anything. */
#include <inttypes.h>
#include <time.h>
#include "jinja/jinja_int.h"

enum { FN_RANGE, FN_DICT, FN_NAMESPACE, FN_CYCLER, FN_JOINER, FN_RAISE, FN_STRFTIME, FN_LIPSUM };
static const jfunc known[] = {
    { "range", FN_RANGE }, { "dict", FN_DICT }, { "namespace", FN_NAMESPACE }, { "cycler", FN_CYCLER },
    { "joiner", FN_JOINER }, { "raise_exception", FN_RAISE }, { "strftime_now", FN_STRFTIME }, { "lipsum", FN_LIPSUM }
};

bool gr_jglobal(const char *name, jval *v)
{
    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcmp(known[i].name, name)) {
            *v = (jval){ .t = J_FUNC, .func = &known[i] };
            return true;
        }
    return false;
}

static jval range(jctx *j, const jargs *a)
{
    jrange *r = gr_jalloc(j, sizeof *r);
    int64_t v[3] = { 0, 0, 1 };
    __int128 n;

    if (a->n_kw)
        gr_jraise(j, "range() takes no keyword arguments");
    if (a->n < 1 || a->n > 3)
        gr_jraise(j, "range expected at %s, got %zu", a->n ? "most 3 arguments" : "least 1 argument", a->n);
    for (size_t i = 0; i < a->n; i++)
        v[a->n == 1 ? 1 : i] = gr_jindex(j, a->pos[i]);
    if (v[2] == 0)
        gr_jraise(j, "range() arg 3 must not be zero");
    n = v[2] > 0 ? ((__int128)v[1] - v[0] + v[2] - 1) / v[2] : ((__int128)v[0] - v[1] - v[2] - 1) / -(__int128)v[2];
    if (n > JLIMIT_RANGE)
        gr_jraise(j, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", JLIMIT_RANGE);
    *r = (jrange){ v[0], v[1], v[2], n > 0 ? (size_t)n : 0 };
    return (jval){ .t = J_RANGE, .range = r };
}

/* dict(mapping or pairs, **named) */
static jval dict(jctx *j, const jargs *a)
{
    jval out = gr_jdict_new(j), it, item, pair[2];

    if (a->n > 1)
        gr_jraise(j, "dict expected at most 1 argument, got %zu", a->n);
    if (a->n)
        gr_jneed(j, a->pos[0]);
    if (a->n && a->pos[0].t == J_DICT) {
        for (size_t i = 0; i < a->pos[0].d->n; i++)
            gr_jset(j, out.d, a->pos[0].d->key[i], a->pos[0].d->val[i]);
    } else if (a->n) {
        it = gr_jiter(j, a->pos[0]);
        while (gr_jnext(j, it.iter, &item)) {
            gr_junpack(j, item, 2, pair);
            gr_jset(j, out.d, pair[0], pair[1]);
        }
    }
    for (size_t i = 0; i < a->n_kw; i++)
        gr_jset(j, out.d, gr_jstrv(a->kw[i].name), a->kw[i].v);
    return out;
}

static jval namespace(jctx *j, const jargs *a)
{
    jval out = dict(j, a);

    for (size_t i = 0; i < out.d->n; i++)
        if (out.d->key[i].t == J_STR && out.d->key[i].s->n && out.d->key[i].s->p[0] == '_')
            gr_jraise(j, "Chat templates cannot store underscore-prefixed attributes on a namespace, but got %s. "
                      "Please rename the attribute.", gr_jrepr(j, out.d->key[i]));
    out.t = J_NS;
    return out;
}

static jval cycler(jctx *j, const jargs *a)
{
    jcycler *c = gr_jalloc(j, sizeof *c);

    if (!a->n || a->n_kw)
        gr_jraise(j, "at least one item has to be provided");
    *c = (jcycler){ a->pos, a->n, 0 };
    return (jval){ .t = J_CYCLER, .cycler = c };
}

static jval joiner(jctx *j, const jargs *a)
{
    static const char *const name[] = { "sep" };
    jjoiner *c = gr_jalloc(j, sizeof *c);
    jval arg[1];

    gr_jbind(j, "joiner", a, 0, 1, name, arg);
    c->sep = arg[0].t == J_MISSING ? gr_jlit(j, ", ") : gr_jto_str(j, arg[0]);
    return (jval){ .t = J_JOINER, .joiner = c };
}

static jval raise_exception(jctx *j, const jargs *a)
{
    static const char *const name[] = { "message" };
    jval arg[1];

    gr_jbind(j, "raise_exception", a, 1, 1, name, arg);
    gr_jraise(j, "%s", gr_jcstr(j, gr_jto_str(j, arg[0])));
}

/* A naive local time: %z and %Z are empty. */
static jval strftime_now(jctx *j, const jargs *a)
{
    static const char *const name[] = { "format" };
    time_t now = (time_t)j->vars->now;
    jval arg[1];
    struct tm tm;
    const jstr *f;
    jbuf *b = gr_jbuf_new(j);
    char out[256];

    gr_jbind(j, "strftime_now", a, 1, 1, name, arg);
    if (arg[0].t != J_STR)
        gr_jraise(j, "strftime() argument 1 must be str, not %s", gr_jtype_name(arg[0]));
    f = arg[0].s;
    if (!(j->vars->utc ? gmtime_r(&now, &tm) : localtime_r(&now, &tm)))
        gr_jraise(j, "the time cannot be shown");
    for (size_t i = 0; i < f->n; i++) {
        char one[4] = { '%', 0, 0, 0 };
        if (f->p[i] != '%' || i + 1 == f->n) {
            gr_jbuf_sub(b, f, i, 1);
            continue;
        }
        one[1] = f->p[++i];
        if (one[1] == 'f')
            gr_jbuf_puts(b, gr_jprintf(j, "%06d", (int)((j->vars->now - (double)now) * 1e6)));
        else if (one[1] == '-' && i + 1 < f->n && (one[2] = f->p[++i]))
            gr_jbuf_bytes(b, out, strftime(out, sizeof out, one, &tm), false);
        else if (one[1] != 'z' && one[1] != 'Z')
            gr_jbuf_bytes(b, out, strftime(out, sizeof out, one, &tm), false);
    }
    return gr_jstrv(gr_jbuf_str(b));
}

static jval builtin(jctx *j, int id, const jargs *a)
{
    switch (id) {
    case FN_RANGE:     return range(j, a);
    case FN_DICT:      return dict(j, a);
    case FN_NAMESPACE: return namespace(j, a);
    case FN_CYCLER:    return cycler(j, a);
    case FN_JOINER:    return joiner(j, a);
    case FN_RAISE:     return raise_exception(j, a);
    case FN_STRFTIME:  return strftime_now(j, a);
    default: gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template calls lipsum(), which gram does not know");
    }
}

static jval join(jctx *j, jjoiner *c)
{
    const jstr *s = c->used ? c->sep : gr_jlit(j, "");

    c->used = true;
    return gr_jstrv(s);
}

jval gr_jcall(jctx *j, jval f, const jargs *a)
{
    jval out = J_NULL;

    gr_jdeeper(j);
    switch (f.t) {
    case J_FUNC:   out = builtin(j, f.func->id, a); break;
    case J_METHOD: out = f.method->fn(j, f.method->self, a); break;
    case J_MACRO:  out = gr_jmacro_call(j, f.macro, a); break;
    case J_JOINER: out = join(j, f.joiner); break;
    case J_LOOP:
        if (a->n != 1 || a->n_kw)
            gr_jraise(j, "LoopContext.__call__() takes 2 positional arguments but %zu were given", 1 + a->n + a->n_kw);
        out = gr_jloop_call(j, f.loop, a->pos[0]);
        break;
    case J_UNDEF: gr_jundef_raise(j, f);
    default: gr_jraise(j, "'%s' object is not callable", gr_jtype_name(f));
    }
    gr_jshallower(j);
    return out;
}
