/* eval.c - what an expression is worth. */
#include "jinja/jinja_int.h"

static jval load(jctx *j, jframe *f, const jnode *n)
{
    for (int i = 0; i < n->up; i++)
        f = f->parent;
    return f->slot[n->slot].t == J_MISSING ? gr_jundef(j, gr_jcstr(j, n->name)) : f->slot[n->slot];
}

static jval sequence(jctx *j, jframe *f, const jnode *n)
{
    jval out = gr_jlist_new(j, n->kind == N_LIST ? J_LIST : J_TUPLE, n->kid.n);

    for (size_t i = 0; i < n->kid.n; i++)
        gr_jpush(j, out.l, gr_jeval(j, f, n->kid.v[i]));
    return out;
}

static jval dict(jctx *j, jframe *f, const jnode *n)
{
    jval out = gr_jdict_new(j);

    for (size_t i = 0; i < n->kid.n; i += 2) {
        jval key = gr_jeval(j, f, n->kid.v[i]);
        gr_jset(j, out.d, key, gr_jeval(j, f, n->kid.v[i + 1]));
    }
    return out;
}

static jval part(jctx *j, jframe *f, const jnode *n) { return n ? gr_jeval(j, f, n) : J_NULL; }

static jval item(jctx *j, jframe *f, const jnode *n)
{
    jval of = gr_jeval(j, f, n->a), from, to;

    if (n->b->kind != N_SLICE)
        return gr_jgetitem(j, of, gr_jeval(j, f, n->b));
    from = part(j, f, n->b->a);
    to = part(j, f, n->b->b);
    return gr_jslice(j, of, from, to, part(j, f, n->b->c));
}

void gr_jargs_eval(jctx *j, jframe *f, const jnode *n, jargs *out)
{
    for (size_t i = 0; i < n->kid.n; i++)
        gr_jargs_push(j, out, gr_jeval(j, f, n->kid.v[i]));
    if (n->c) {
        jval it = gr_jiter(j, gr_jeval(j, f, n->c)), v;
        while (gr_jnext(j, it.iter, &v))
            gr_jargs_push(j, out, v);
    }
    for (size_t i = 0; i < n->kid2.n; i++)
        gr_jargs_kw(j, out, n->kid2.v[i]->name, gr_jeval(j, f, n->kid2.v[i]->a));
    if (n->d) {
        jval more = gr_jeval(j, f, n->d);
        if (more.t != J_DICT)
            gr_jraise(j, "argument after ** must be a mapping, not %s", gr_jtype_name(more));
        for (size_t i = 0; i < more.d->n; i++) {
            if (more.d->key[i].t != J_STR)
                gr_jraise(j, "keywords must be strings");
            gr_jargs_kw(j, out, more.d->key[i].s, more.d->val[i]);
        }
    }
}

static jval call(jctx *j, jframe *f, const jnode *n)
{
    jval of = gr_jeval(j, f, n->a);
    jargs a = { 0 };

    gr_jargs_eval(j, f, n, &a);
    return gr_jcall(j, of, &a);
}

static jval apply(jctx *j, jframe *f, const jnode *n)
{
    jval v = gr_jeval(j, f, n->a);
    jargs a = { 0 };

    gr_jargs_eval(j, f, n, &a);
    return n->kind == N_FILTER ? gr_jfilter_apply(j, n->name, v, &a) : gr_jbool(gr_jtest_apply(j, n->name, v, &a));
}

static jval binary(jctx *j, jframe *f, const jnode *n)
{
    jval a = gr_jeval(j, f, n->a);

    return gr_jbinary(j, n->op, a, gr_jeval(j, f, n->b));
}

static jval concat(jctx *j, jframe *f, const jnode *n)
{
    jbuf *b = gr_jbuf_new(j);

    for (size_t i = 0; i < n->kid.n; i++)
        gr_jbuf_val(b, gr_jeval(j, f, n->kid.v[i]));
    return gr_jstrv(gr_jbuf_str(b));
}

static bool holds(jctx *j, int op, jval a, jval b)
{
    static const char *const name[] = { [OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">", [OP_GE] = ">=" };

    switch (op) {
    case OP_EQ:    return gr_jequal(j, a, b);
    case OP_NE:    return !gr_jequal(j, a, b);
    case OP_IN:    return gr_jin(j, a, b);
    case OP_NOTIN: return !gr_jin(j, a, b);
    default:       return gr_jless(j, name[op], a, b);
    }
}

static jval compare(jctx *j, jframe *f, const jnode *n)
{
    jval a = gr_jeval(j, f, n->a), b;

    for (size_t i = 0; i < n->kid.n; i++) {
        b = gr_jeval(j, f, n->kid.v[i]->a);
        if (!holds(j, n->kid.v[i]->op, a, b))
            return gr_jbool(false);
        a = b;
    }
    return gr_jbool(true);
}

static jval logic(jctx *j, jframe *f, const jnode *n)
{
    jval a = gr_jeval(j, f, n->a);

    return gr_jtrue(j, a) == (n->kind == N_OR) ? a : gr_jeval(j, f, n->b);
}

static jval eval(jctx *j, jframe *f, const jnode *n)
{
    switch (n->kind) {
    case N_CONST:   return n->val;
    case N_NAME:    return load(j, f, n);
    case N_TUPLE:
    case N_LIST:    return sequence(j, f, n);
    case N_DICT:    return dict(j, f, n);
    case N_GETATTR: return gr_jgetattr(j, gr_jeval(j, f, n->a), n->name);
    case N_GETITEM: return item(j, f, n);
    case N_CALL:    return call(j, f, n);
    case N_FILTER:
    case N_TEST:    return apply(j, f, n);
    case N_NOT:     return gr_jbool(!gr_jtrue(j, gr_jeval(j, f, n->a)));
    case N_NEG:
    case N_POS:     return gr_jnegate(j, gr_jeval(j, f, n->a), n->kind == N_POS);
    case N_AND:
    case N_OR:      return logic(j, f, n);
    case N_BINARY:  return binary(j, f, n);
    case N_CONCAT:  return concat(j, f, n);
    case N_COMPARE: return compare(j, f, n);
    case N_COND:
        if (gr_jtrue(j, gr_jeval(j, f, n->a)))
            return gr_jeval(j, f, n->b);
        return n->c ? gr_jeval(j, f, n->c) : (jval){ .t = J_UNDEF, .u = NULL };
    default: gr_jfail(j, GRAM_EFORMAT, "%s: line %d: no expression stands here", j->name, n->line);
    }
}

jval gr_jeval(jctx *j, jframe *f, const jnode *n)
{
    jval v;

    gr_jdeeper(j);
    v = eval(j, f, n);
    gr_jshallower(j);
    return v;
}
