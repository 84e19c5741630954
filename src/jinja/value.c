/* value.c - what values are to Python: true, equal, less, contained, how long. */
#include <inttypes.h>
#include <math.h>
#include <jansson.h>
#include "jinja/jinja_int.h"

const char *gr_jtype_name(jval v)
{
    static const char *const name[] = {
        [J_MISSING] = "Undefined", [J_UNDEF] = "Undefined", [J_NONE] = "NoneType", [J_BOOL] = "bool", [J_INT] = "int",
        [J_FLOAT] = "float", [J_STR] = "str", [J_LIST] = "list", [J_TUPLE] = "tuple", [J_DICT] = "dict",
        [J_RANGE] = "range", [J_ITER] = "generator", [J_VIEW] = "dict_items", [J_NS] = "TemplateNamespace",
        [J_MACRO] = "Macro", [J_FUNC] = "function", [J_METHOD] = "builtin_function_or_method", [J_LOOP] = "LoopContext",
        [J_CYCLER] = "Cycler", [J_JOINER] = "Joiner"
    };
    static const char *const view[] = { "dict_keys", "dict_values", "dict_items" };

    if (v.t == J_STR && v.s->safe)
        return "Markup";
    if (v.t == J_ITER)
        return v.iter->type;
    return v.t == J_VIEW ? view[v.view->what] : name[v.t];
}

/* ---- Undefined ---------------------------------------------------------------------------------- */

jval gr_jundef(jctx *j, const char *name)
{
    jundef *u = gr_jalloc(j, sizeof *u);

    u->name = name;
    return (jval){ .t = J_UNDEF, .u = u };
}

jval gr_jundef_hint(jctx *j, const char *hint)
{
    jundef *u = gr_jalloc(j, sizeof *u);

    u->hint = hint;
    return (jval){ .t = J_UNDEF, .u = u };
}

void gr_jundef_raise(jctx *j, jval v)
{
    const jundef *u = v.u;

    if (!u)
        gr_jraise(j, "the inline if-expression evaluated to false and no else section was defined.");
    if (u->hint)
        gr_jraise(j, "%s", u->hint);
    if (!u->obj)
        gr_jraise(j, "'%s' is undefined", u->name);
    if (!u->attr)
        gr_jraise(j, "%s has no element %s", u->obj, u->name);
    gr_jraise(j, "'%s' has no attribute %s", u->obj, u->name);
}

void gr_jneed(jctx *j, jval v)
{
    if (v.t == J_UNDEF)
        gr_jundef_raise(j, v);
}

/* ---- Lists and dicts ---------------------------------------------------------------------------- */

jval gr_jlist_new(jctx *j, jtype t, size_t cap)
{
    jlist *l = gr_jalloc(j, sizeof *l);

    l->v = gr_jgrow(j, NULL, 0, &l->cap, cap, sizeof *l->v);
    return (jval){ .t = t, .l = l };
}

void gr_jpush(jctx *j, jlist *l, jval v)
{
    gr_jstep(j, 1);
    l->v = gr_jgrow(j, l->v, l->n, &l->cap, 1, sizeof *l->v);
    l->v[l->n++] = v;
}

jval gr_jpair(jctx *j, jval a, jval b)
{
    jval pair = gr_jlist_new(j, J_TUPLE, 2);

    gr_jpush(j, pair.l, a);
    gr_jpush(j, pair.l, b);
    return pair;
}

jval gr_jdict_new(jctx *j) { return (jval){ .t = J_DICT, .d = gr_jalloc(j, sizeof(jdict)) }; }

static void check_key(jctx *j, jval key)
{
    if (key.t == J_LIST || key.t == J_DICT)
        gr_jraise(j, "unhashable type: '%s'", gr_jtype_name(key));
    if (key.t == J_TUPLE)
        for (size_t i = 0; i < key.l->n; i++)
            check_key(j, key.l->v[i]);
}

static size_t find(jctx *j, const jdict *d, jval key)
{
    check_key(j, key);
    gr_jstep(j, d->n / 4);
    for (size_t i = 0; i < d->n; i++)
        if (key.t == J_STR ? d->key[i].t == J_STR && gr_jstr_eq(key.s, d->key[i].s) : gr_jequal(j, key, d->key[i]))
            return i;
    return d->n;
}

static void put(jctx *j, jdict *d, jval key, jval val)
{
    gr_jstep(j, 1);
    d->key = gr_jgrow(j, d->key, d->n, &d->cap, 1, sizeof *d->key);
    d->val = gr_jgrow(j, d->val, d->n, &d->cap_val, 1, sizeof *d->val);
    d->key[d->n] = key;
    d->val[d->n++] = val;
}

void gr_jset(jctx *j, jdict *d, jval key, jval val)
{
    size_t i = find(j, d, key);

    if (i < d->n)
        d->val[i] = val;
    else
        put(j, d, key, val);
}

bool gr_jget(jctx *j, const jdict *d, jval key, jval *val)
{
    size_t i = find(j, d, key);

    if (i < d->n)
        *val = d->val[i];
    return i < d->n;
}

/* A role that is one of the words for it belongs to the form of a conversation, not to its text: '<|' + role + '|>' is
 * a token that the template writes. */
static bool is_role(const char *key, const json_t *v)
{
    static const char *const known[] = { "system", "user", "assistant", "tool", "developer", "function", "model",
                                         "ipython", "environment", "observation", "tool_response", "context" };

    for (size_t i = 0; json_is_string(v) && !strcmp(key, "role") && i < GR_COUNT(known); i++)
        if (!strcmp(json_string_value(v), known[i]))
            return true;
    return false;
}

jval gr_jfrom_json(jctx *j, const json_t *o, bool given)
{
    const char *key;
    json_t *item;
    jval v = J_NULL;

    gr_jdeeper(j);
    switch (o ? json_typeof(o) : JSON_NULL) {
    case JSON_OBJECT:
        v = gr_jdict_new(j);
        json_object_foreach((json_t *)(uintptr_t)o, key, item)
            put(j, v.d, gr_jstrv(gr_jstr(j, key, strlen(key), given)),
                gr_jfrom_json(j, item, given && !is_role(key, item)));
        break;
    case JSON_ARRAY:
        v = gr_jlist_new(j, J_LIST, json_array_size(o));
        for (size_t i = 0; i < json_array_size(o); i++)
            gr_jpush(j, v.l, gr_jfrom_json(j, json_array_get(o, i), given));
        break;
    case JSON_STRING:
        v = gr_jstrv(gr_jstr(j, json_string_value(o), json_string_length(o), given));
        break;
    case JSON_INTEGER: v = gr_jint(json_integer_value(o)); break;
    case JSON_REAL:    v = gr_jfloat(json_real_value(o)); break;
    case JSON_TRUE:
    case JSON_FALSE:   v = gr_jbool(json_is_true(o)); break;
    case JSON_NULL:    break;
    }
    gr_jshallower(j);
    return v;
}

/* ---- len(), bool() ------------------------------------------------------------------------------ */

bool gr_jhas_len(jval v)
{
    return v.t == J_UNDEF || v.t == J_STR || v.t == J_LIST || v.t == J_TUPLE || v.t == J_DICT || v.t == J_RANGE
        || v.t == J_VIEW || v.t == J_LOOP;
}

static size_t loop_length(jctx *j, jloop *l)
{
    if (!l->has_length) {
        jval rest = gr_jlist_new(j, J_LIST, 0), v;
        while (gr_jnext(j, l->iter.iter, &v))
            gr_jpush(j, rest.l, v);
        l->iter = gr_jiter(j, rest);
        l->length = rest.l->n + (size_t)(l->index0 + 1) + (l->after.t != J_MISSING);
        l->has_length = true;
    }
    return l->length;
}

size_t gr_jlen(jctx *j, jval v)
{
    switch (v.t) {
    case J_UNDEF: return 0;
    case J_STR:
        gr_jstep(j, v.s->chars == SIZE_MAX ? v.s->n / 16 : 0);
        return gr_jchars(v.s);
    case J_LIST:
    case J_TUPLE: return v.l->n;
    case J_DICT:  return v.d->n;
    case J_RANGE: return v.range->n;
    case J_VIEW:  return v.view->d->n;
    case J_LOOP:  return loop_length(j, v.loop);
    default: gr_jraise(j, "object of type '%s' has no len()", gr_jtype_name(v));
    }
}

bool gr_jtrue(jctx *j, jval v)
{
    switch (v.t) {
    case J_MISSING:
    case J_NONE:  return false;
    case J_BOOL:  return v.b;
    case J_INT:   return v.i != 0;
    case J_FLOAT: return v.f != 0;
    default:      return !gr_jhas_len(v) || gr_jlen(j, v) > 0;
    }
}

/* ---- Comparing ---------------------------------------------------------------------------------- */

static bool is_number(jval v) { return v.t == J_BOOL || v.t == J_INT || v.t == J_FLOAT; }
static int64_t whole(jval v) { return v.t == J_BOOL ? v.b : v.i; }
static double real(jval v) { return v.t == J_FLOAT ? v.f : (double)whole(v); }

/* Exact between integers and doubles, as Python is. 2: one of them is not a number. */
static int order_numbers(jval a, jval b)
{
    int back = 1;

    if (a.t != J_FLOAT && b.t != J_FLOAT)
        return (whole(a) > whole(b)) - (whole(a) < whole(b));
    if (isnan(real(a)) || isnan(real(b)))
        return 2;
    if (a.t == J_FLOAT && b.t == J_FLOAT)
        return (a.f > b.f) - (a.f < b.f);
    if (a.t == J_FLOAT) {
        jval swap = a;
        a = b;
        b = swap;
        back = -1;
    }
    if (b.f >= 0x1p63 || b.f < -0x1p63)
        return b.f > 0 ? -back : back;
    if (whole(a) != (int64_t)b.f)
        return whole(a) < (int64_t)b.f ? -back : back;
    return b.f > trunc(b.f) ? -back : b.f < trunc(b.f) ? back : 0;
}

static bool equal_dicts(jctx *j, const jdict *a, const jdict *b)
{
    jval v;

    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!gr_jget(j, b, a->key[i], &v) || !gr_jequal(j, a->val[i], v))
            return false;
    return true;
}

static bool equal_seqs(jctx *j, jval a, jval b)
{
    jval x = a.t == J_RANGE ? gr_jto_list(j, a) : a, y = b.t == J_RANGE ? gr_jto_list(j, b) : b;
    bool same = x.l->n == y.l->n;

    for (size_t i = 0; same && i < x.l->n; i++)
        same = gr_jequal(j, x.l->v[i], y.l->v[i]);
    return same;
}

bool gr_jequal(jctx *j, jval a, jval b)
{
    bool same = false;

    if (is_number(a) && is_number(b))
        return order_numbers(a, b) == 0;
    if (a.t != b.t)
        return false;
    gr_jdeeper(j);
    switch (a.t) {
    case J_MISSING:
    case J_UNDEF:
    case J_NONE:  same = true; break;
    case J_STR:
        gr_jstep(j, gr_min(a.s->n, b.s->n) / 64);
        same = gr_jstr_eq(a.s, b.s);
        break;
    case J_LIST:
    case J_TUPLE:
    case J_RANGE: same = a.l == b.l || equal_seqs(j, a, b); break;
    case J_DICT:  same = a.d == b.d || equal_dicts(j, a.d, b.d); break;
    case J_METHOD: same = a.method->fn == b.method->fn && gr_jequal(j, a.method->self, b.method->self); break;
    default:      same = a.d == b.d; break;             /* the same object */
    }
    gr_jshallower(j);
    return same;
}

static int order_strs(const jstr *a, const jstr *b)
{
    size_t n = gr_min(a->n, b->n);
    int c = n ? memcmp(a->p, b->p, n) : 0;              /* UTF-8 sorts as its characters do */

    return c ? (c > 0) - (c < 0) : (a->n > b->n) - (a->n < b->n);
}

int gr_jorder(jctx *j, const char *op, jval a, jval b)
{
    int c = 0;

    gr_jneed(j, a);
    gr_jneed(j, b);
    if (is_number(a) && is_number(b))
        return order_numbers(a, b);
    if (a.t == J_STR && b.t == J_STR)
        return order_strs(a.s, b.s);
    if (a.t != b.t || (a.t != J_LIST && a.t != J_TUPLE))
        gr_jraise(j, "'%s' not supported between instances of '%s' and '%s'", op, gr_jtype_name(a), gr_jtype_name(b));
    gr_jdeeper(j);
    for (size_t i = 0; i < gr_min(a.l->n, b.l->n) && !c; i++)
        if (!gr_jequal(j, a.l->v[i], b.l->v[i])) {
            c = gr_jorder(j, op, a.l->v[i], b.l->v[i]);
            break;
        }
    gr_jshallower(j);
    return c ? c : (a.l->n > b.l->n) - (a.l->n < b.l->n);
}

bool gr_jless(jctx *j, const char *op, jval a, jval b)
{
    int c = gr_jorder(j, op, a, b);

    if (c == 2)
        return false;
    return op[0] == '<' ? c < 0 || (op[1] && c == 0) : c > 0 || (op[1] && c == 0);
}

static bool in_str(jctx *j, jval x, const jstr *s)
{
    if (x.t != J_STR)
        gr_jraise(j, "'in <string>' requires string as left operand, not %s", gr_jtype_name(x));
    gr_jstep(j, s->n / 16);
    return !x.s->n || memmem(s->p, s->n, x.s->p, x.s->n);
}

bool gr_jin(jctx *j, jval x, jval in)
{
    jval it, v;

    if (in.t == J_STR)
        return in_str(j, x, in.s);
    if (in.t == J_DICT)
        return gr_jget(j, in.d, x, &v);
    if (!gr_jiterable(in))
        gr_jraise(j, "argument of type '%s' is not iterable", gr_jtype_name(in));
    it = gr_jiter(j, in);
    while (gr_jnext(j, it.iter, &v))
        if (gr_jequal(j, x, v))
            return true;
    return false;
}
