/* tests.c - the tests, which follow an `is`. */
#include "jinja/jinja_int.h"

static void no_args(jctx *j, const jargs *a)
{
    if (a->n || a->n_kw)
        gr_jraise(j, "a test of this kind takes 1 positional argument but %zu were given", 1 + a->n + a->n_kw);
}

static jval one(jctx *j, const jargs *a)
{
    if (a->n != 1 || a->n_kw)
        gr_jraise(j, "a test of this kind takes 2 positional arguments but %zu were given", 1 + a->n + a->n_kw);
    return a->pos[0];
}

static bool hashable(jctx *j, jval v)
{
    if (v.t == J_LIST || v.t == J_DICT)
        gr_jraise(j, "unhashable type: '%s'", gr_jtype_name(v));
    return true;
}

static bool is_class(jctx *j, jval v, jclass what)
{
    const jstr *s = gr_jto_str(j, v);

    gr_jstep(j, s->n / 16);
    return gr_jis(s, what);
}

#define PLAIN(name, expression) \
    static bool is_##name(jctx *j, jval v, const jargs *a) \
    { \
        no_args(j, a); \
        return expression; \
    }
PLAIN(defined, v.t != J_UNDEF)
PLAIN(undefined, v.t == J_UNDEF)
PLAIN(none, v.t == J_NONE)
PLAIN(boolean, v.t == J_BOOL)
PLAIN(true, v.t == J_BOOL && v.b)
PLAIN(false, v.t == J_BOOL && !v.b)
PLAIN(integer, v.t == J_INT)
PLAIN(float, v.t == J_FLOAT)
PLAIN(string, v.t == J_STR)
PLAIN(mapping, v.t == J_DICT)
PLAIN(number, v.t == J_INT || v.t == J_FLOAT || v.t == J_BOOL)
PLAIN(iterable, gr_jiterable(v))
/* An undefined value has a length, and is asked for __getitem__ where Python looks for it: on its class. */
PLAIN(sequence, v.t == J_UNDEF || v.t == J_STR || v.t == J_LIST || v.t == J_TUPLE || v.t == J_DICT || v.t == J_RANGE)
PLAIN(callable, v.t == J_UNDEF || v.t == J_MACRO || v.t == J_FUNC || v.t == J_METHOD || v.t == J_LOOP
                || v.t == J_JOINER)
PLAIN(escaped, v.t == J_STR && v.s->safe)
PLAIN(lower, is_class(j, v, IS_LOWER))
PLAIN(upper, is_class(j, v, IS_UPPER))
PLAIN(filter, hashable(j, v) && v.t == J_STR && gr_jfilter(v.s))
PLAIN(test, hashable(j, v) && v.t == J_STR && gr_jtest(v.s))

static bool remainder_is(jctx *j, jval v, jval by, int64_t want)
{
    return gr_jequal(j, gr_jbinary(j, OP_MOD, v, by), gr_jint(want));
}

static bool is_odd(jctx *j, jval v, const jargs *a)
{
    no_args(j, a);
    return remainder_is(j, v, gr_jint(2), 1);
}
static bool is_even(jctx *j, jval v, const jargs *a)
{
    no_args(j, a);
    return remainder_is(j, v, gr_jint(2), 0);
}
static bool is_divisibleby(jctx *j, jval v, const jargs *a) { return remainder_is(j, v, one(j, a), 0); }
static bool is_in(jctx *j, jval v, const jargs *a) { return gr_jin(j, v, one(j, a)); }
static bool is_eq(jctx *j, jval v, const jargs *a) { return gr_jequal(j, v, one(j, a)); }
static bool is_ne(jctx *j, jval v, const jargs *a) { return !gr_jequal(j, v, one(j, a)); }
static bool is_gt(jctx *j, jval v, const jargs *a) { return gr_jless(j, ">", v, one(j, a)); }
static bool is_ge(jctx *j, jval v, const jargs *a) { return gr_jless(j, ">=", v, one(j, a)); }
static bool is_lt(jctx *j, jval v, const jargs *a) { return gr_jless(j, "<", v, one(j, a)); }
static bool is_le(jctx *j, jval v, const jargs *a) { return gr_jless(j, "<=", v, one(j, a)); }

/* The same object. Of numbers and texts Python may keep one or several, so only what is sure is answered. */
static bool is_sameas(jctx *j, jval v, const jargs *a)
{
    jval b = one(j, a);

    if (v.t != b.t)
        return false;
    if (v.t == J_NONE || v.t == J_BOOL)
        return v.t == J_NONE || v.b == b.b;
    if (v.t == J_INT || v.t == J_FLOAT || v.t == J_STR)
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template asks whether two of type %s are the same object",
                 gr_jtype_name(v));
    return v.l == b.l;
}

static const struct { const char *name; jtest_fn *fn; } known[] = {
    { "odd", is_odd }, { "even", is_even }, { "divisibleby", is_divisibleby }, { "defined", is_defined },
    { "undefined", is_undefined }, { "filter", is_filter }, { "test", is_test }, { "none", is_none },
    { "boolean", is_boolean }, { "false", is_false }, { "true", is_true }, { "integer", is_integer },
    { "float", is_float }, { "lower", is_lower }, { "upper", is_upper }, { "string", is_string },
    { "mapping", is_mapping }, { "number", is_number }, { "sequence", is_sequence }, { "iterable", is_iterable },
    { "callable", is_callable }, { "sameas", is_sameas }, { "escaped", is_escaped }, { "in", is_in }, { "==", is_eq },
    { "eq", is_eq }, { "equalto", is_eq }, { "!=", is_ne }, { "ne", is_ne }, { ">", is_gt }, { "gt", is_gt },
    { "greaterthan", is_gt }, { "ge", is_ge }, { ">=", is_ge }, { "<", is_lt }, { "lt", is_lt }, { "lessthan", is_lt },
    { "<=", is_le }, { "le", is_le }
};

jtest_fn *gr_jtest(const jstr *name)
{
    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (gr_jstr_is(name, known[i].name))
            return known[i].fn;
    return NULL;
}

bool gr_jtest_apply(jctx *j, const jstr *name, jval v, const jargs *a)
{
    jtest_fn *fn = gr_jtest(name);

    if (!fn)
        gr_jraise(j, "No test named '%s' found.", gr_jcstr(j, name));
    gr_jstep(j, 1);
    return fn(j, v, a);
}
