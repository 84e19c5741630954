/* exec.c - statements. Each frame holds the names of one body; see scope.c for which those are. */
#include "jinja/jinja_int.h"

typedef enum { GO_ON, BREAK, CONTINUE } jump;
static jump run(jctx *j, jframe *f, const jnodes *body);

/* ---- Frames ------------------------------------------------------------------------------------- */

jframe *gr_jframe_new(jctx *j, jframe *parent, const jscope *scope)
{
    jframe *f = gr_jalloc(j, sizeof *f);

    *f = (jframe){ parent, scope, gr_jalloc(j, scope->n * sizeof *f->slot) };
    return f;
}

static jval resolve(jctx *j, const jstr *name)
{
    jval v = J_NOTHING;

    gr_jstep(j, 1);
    if (!gr_jget(j, j->given, gr_jstrv(name), &v))
        gr_jglobal(gr_jcstr(j, name), &v);
    return v;
}

static jval outer(const jframe *f, const jstr *name)
{
    for (f = f->parent; f; f = f->parent)
        for (size_t i = 0; i < f->scope->n; i++)
            if (f->scope->sym[i].ref && gr_jstr_eq(f->scope->sym[i].name, name))
                return f->slot[i];
    return J_NOTHING;
}

void gr_jframe_enter(jctx *j, jframe *f)
{
    gr_jstep(j, f->scope->n);
    for (size_t i = 0; i < f->scope->n; i++) {
        const jsym *s = &f->scope->sym[i];
        if (s->load == LOAD_RESOLVE)
            f->slot[i] = resolve(j, s->name);
        else if (s->load == LOAD_ALIAS)
            f->slot[i] = outer(f, s->name);
        else if (s->load == LOAD_UNDEF)
            f->slot[i] = J_NOTHING;
    }
}

static jval *slot_of(jframe *f, const char *name)
{
    for (size_t i = 0; i < f->scope->n; i++)
        if (gr_jstr_is(f->scope->sym[i].name, name))
            return &f->slot[i];
    return NULL;
}

void gr_jassign(jctx *j, jframe *f, const jnode *target, jval v)
{
    jval ns, *part;

    switch (target->kind) {
    case N_NAME:
        for (int i = 0; i < target->up; i++)
            f = f->parent;
        f->slot[target->slot] = v;
        break;
    case N_NSREF:
        ns = gr_jeval(j, f, target->a);
        if (ns.t != J_NS)
            gr_jraise(j, "cannot assign attribute on non-namespace object");
        if (target->name->p[0] == '_')
            gr_jraise(j, "Chat templates cannot store underscore-prefixed attributes on a namespace, but got '%s'. "
                      "Please rename the attribute.", gr_jcstr(j, target->name));
        gr_jset(j, ns.d, gr_jstrv(target->name), v);
        break;
    default:
        part = gr_jalloc(j, target->kid.n * sizeof *part);
        gr_junpack(j, v, target->kid.n, part);
        for (size_t i = 0; i < target->kid.n; i++)
            gr_jassign(j, f, target->kid.v[i], part[i]);
    }
}

/* What the body writes, as a text of its own. */
static const jstr *capture(jctx *j, jframe *f, const jnodes *body)
{
    jbuf *was = j->out;
    const jstr *s;

    j->out = gr_jbuf_new(j);
    run(j, f, body);
    s = gr_jbuf_str(j->out);
    j->out = was;
    return s;
}

/* ---- Loops -------------------------------------------------------------------------------------- */

bool gr_jfor_test(jctx *j, const jiter *it, jval v)
{
    gr_jassign(j, it->frame, it->loop->d, v);
    return gr_jtrue(j, gr_jeval(j, it->frame, it->loop->c));
}

/* The items that pass the loop's test, which runs when one is asked for. */
static jval filtered(jctx *j, jframe *f, const jnode *n, jval items)
{
    jiter *it = gr_jalloc(j, sizeof *it);

    it->kind = ITER_FOR;
    it->type = "generator";
    it->source = items;
    it->loop = n;
    it->frame = gr_jframe_new(j, f, n->scope3);
    gr_jframe_enter(j, it->frame);
    return (jval){ .t = J_ITER, .iter = it };
}

static jump loop(jctx *j, jframe *f, const jnode *n, jval items, size_t depth0)
{
    jloop *l = gr_jalloc(j, sizeof *l);
    jval self = { .t = J_LOOP, .loop = l };
    jframe *body = gr_jframe_new(j, f, n->scope);
    bool none = true;

    if (n->c)
        items = filtered(j, f, n, items);
    *l = (jloop){ .index0 = -1, .depth0 = depth0, .frame = f, .node = n->flag ? n : NULL };
    l->has_length = gr_jhas_len(items) && items.t != J_LOOP;
    l->length = l->has_length ? gr_jlen(j, items) : 0;
    l->iter = gr_jiter(j, items);
    for (;;) {
        jval v = l->after;
        jump how;
        if (v.t == J_MISSING && !gr_jnext(j, l->iter.iter, &v))
            break;
        l->after = J_NOTHING;
        l->index0++;
        l->before = l->current;
        l->current = v;
        gr_jframe_enter(j, body);
        body->slot[0] = self;                       /* bind_for() declares it first */
        gr_jassign(j, body, n->a, v);
        how = run(j, body, &n->kid);
        if (how == BREAK)
            break;
        if (how == GO_ON)
            none = false;
    }
    if (none && n->kid2.n) {
        jframe *other = gr_jframe_new(j, f, n->scope2);
        gr_jframe_enter(j, other);
        return run(j, other, &n->kid2);
    }
    return GO_ON;
}

jval gr_jloop_call(jctx *j, jloop *l, jval items)
{
    jbuf *was = j->out;
    const jstr *s;

    if (!l->node)
        gr_jraise(j, "The loop must have the 'recursive' marker to be called recursively.");
    j->out = gr_jbuf_new(j);
    loop(j, l->frame, l->node, items, l->depth0 + 1);
    s = gr_jbuf_str(j->out);
    j->out = was;
    return gr_jstrv(s);
}

/* ---- Macros ------------------------------------------------------------------------------------- */

static jval macro(jctx *j, jframe *f, const jnode *n)
{
    jmacro *m = gr_jalloc(j, sizeof *m);

    *m = (jmacro){ n, f, n->name };
    return (jval){ .t = J_MACRO, .macro = m };
}

static jval take_kw(jargs *a, const jstr *name, bool *found)
{
    for (size_t i = 0; i < a->n_kw; i++)
        if (gr_jstr_eq(a->kw[i].name, name)) {
            jval v = a->kw[i].v;
            memmove(&a->kw[i], &a->kw[i + 1], (a->n_kw - i - 1) * sizeof *a->kw);
            a->n_kw--;
            *found = true;
            return v;
        }
    return J_NOTHING;
}

/* Named arguments that no parameter takes. */
static void extra_kwargs(jctx *j, const jmacro *m, jframe *f, const jargs *kw)
{
    const char *name = m->name ? gr_jprintf(j, "'%s'", gr_jcstr(j, m->name)) : "None";
    jval all;

    if (m->node->kwargs) {
        all = gr_jdict_new(j);
        for (size_t i = 0; i < kw->n_kw; i++)
            gr_jset(j, all.d, gr_jstrv(kw->kw[i].name), kw->kw[i].v);
        *slot_of(f, "kwargs") = all;
    } else if (kw->n_kw) {
        for (size_t i = 0; i < kw->n_kw; i++)
            if (gr_jstr_is(kw->kw[i].name, "caller"))
                gr_jraise(j, "macro %s was invoked with two values for the special caller argument. This is most "
                          "likely a bug.", name);
        gr_jraise(j, "macro %s takes no keyword argument '%s'", name, gr_jcstr(j, kw->kw[0].name));
    }
}

static void bind_specials(jctx *j, const jmacro *m, jframe *f, const jargs *a, jargs *kw)
{
    const jnode *n = m->node;
    bool found = false;
    jval v;

    if (n->caller) {
        v = take_kw(kw, gr_jlit(j, "caller"), &found);
        if (v.t == J_MISSING || v.t == J_NONE)
            v = gr_jundef_hint(j, "No caller defined");
        *slot_of(f, "caller") = v;
    }
    extra_kwargs(j, m, f, kw);
    if (n->varargs) {
        v = gr_jlist_new(j, J_TUPLE, 4);
        for (size_t i = n->kid2.n; i < a->n; i++)
            gr_jpush(j, v.l, a->pos[i]);
        *slot_of(f, "varargs") = v;
    } else if (a->n > n->kid2.n) {
        gr_jraise(j, "macro %s takes not more than %zu argument(s)",
                  m->name ? gr_jprintf(j, "'%s'", gr_jcstr(j, m->name)) : "None", n->kid2.n);
    }
}

jval gr_jmacro_call(jctx *j, jmacro *m, const jargs *a)
{
    const jnode *n = m->node;
    jframe *f = gr_jframe_new(j, m->frame, n->scope);
    jargs kw = *a;
    bool found;
    size_t params = n->kid2.n;

    kw.kw = gr_jalloc(j, a->n_kw * sizeof *kw.kw);
    if (a->n_kw)
        memcpy(kw.kw, a->kw, a->n_kw * sizeof *kw.kw);
    for (size_t i = 0; i < params; i++)
        f->slot[n->kid2.v[i]->slot] = i < a->n ? a->pos[i] : take_kw(&kw, n->kid2.v[i]->name, &found);
    bind_specials(j, m, f, a, &kw);
    gr_jframe_enter(j, f);
    for (size_t i = 0; i < params; i++) {
        jval *slot = &f->slot[n->kid2.v[i]->slot];
        if (slot->t != J_MISSING)
            continue;
        if (i + n->kid3.n >= params)
            *slot = gr_jeval(j, f, n->kid3.v[i + n->kid3.n - params]);
        else
            *slot = gr_jundef_hint(j, gr_jprintf(j, "parameter '%s' was not provided",
                                                 gr_jcstr(j, n->kid2.v[i]->name)));
    }
    return gr_jstrv(capture(j, f, &n->kid));
}

/* Python joins what such blocks give, and joins texts alone. */
static void put_text(jctx *j, jval v)
{
    if (v.t != J_STR)
        gr_jraise(j, "sequence item 0: expected str instance, %s found", gr_jtype_name(v));
    gr_jbuf_add(j->out, v.s);
}

static void call_block(jctx *j, jframe *f, const jnode *n)
{
    jval of = gr_jeval(j, f, n->a->a), out;
    jargs a = { 0 };

    gr_jargs_eval(j, f, n->a, &a);
    gr_jargs_kw(j, &a, gr_jlit(j, "caller"), macro(j, f, n));
    out = gr_jcall(j, of, &a);
    put_text(j, out);
}

/* {% generation %}: a macro that is called where it stands. */
static void generation(jctx *j, jframe *f, const jnode *n)
{
    jmacro m = { n, f, NULL };
    jval text = gr_jmacro_call(j, &m, &(jargs){ 0 });

    if (j->out == j->top) {
        j->gen = gr_jgrow(j, j->gen, j->n_gen, &j->cap_gen, 2, sizeof *j->gen);
        j->gen[j->n_gen++] = (gr_jinja_run){ j->out->n, true };
        j->gen[j->n_gen++] = (gr_jinja_run){ j->out->n + text.s->n, false };
    }
    gr_jbuf_add(j->out, text.s);
}

/* ---- The other statements ----------------------------------------------------------------------- */

static jval filter(jctx *j, jframe *f, const jnode *n, jval v)
{
    jargs a = { 0 };

    if (!n)
        return v;
    v = filter(j, f, n->a, v);
    gr_jargs_eval(j, f, n, &a);
    return gr_jfilter_apply(j, n->name, v, &a);
}

static void block(jctx *j, jframe *f, const jnode *n)
{
    jframe *inner = gr_jframe_new(j, f, n->scope);
    jval v;

    gr_jframe_enter(j, inner);
    v = filter(j, inner, n->b, gr_jstrv(capture(j, inner, &n->kid)));
    if (n->kind == N_SETBLOCK)
        gr_jassign(j, f, n->a, v);
    else
        put_text(j, v);
}

static jump with(jctx *j, jframe *f, const jnode *n)
{
    jframe *inner = gr_jframe_new(j, f, n->scope);

    gr_jframe_enter(j, inner);
    for (size_t i = 0; i < n->kid2.n; i++)
        gr_jassign(j, inner, n->kid2.v[i], gr_jeval(j, f, n->kid3.v[i]));
    return run(j, inner, &n->kid);
}

static jump branch(jctx *j, jframe *f, const jnode *n)
{
    if (gr_jtrue(j, gr_jeval(j, f, n->a)))
        return run(j, f, &n->kid);
    for (size_t i = 0; i < n->kid2.n; i++)
        if (gr_jtrue(j, gr_jeval(j, f, n->kid2.v[i]->a)))
            return run(j, f, &n->kid2.v[i]->kid);
    return run(j, f, &n->kid3);
}

static jump statement(jctx *j, jframe *f, const jnode *n)
{
    switch (n->kind) {
    case N_OUTPUT:
        for (size_t i = 0; i < n->kid.n; i++)
            gr_jbuf_val(j->out, gr_jeval(j, f, n->kid.v[i]));
        return GO_ON;
    case N_SET:         gr_jassign(j, f, n->a, gr_jeval(j, f, n->b)); return GO_ON;
    case N_SETBLOCK:
    case N_FILTERBLOCK: block(j, f, n); return GO_ON;
    case N_IF:          return branch(j, f, n);
    case N_WITH:        return with(j, f, n);
    case N_FOR:
        if (n->flag) {
            jloop first = { .frame = f, .node = n, .depth0 = (size_t)-1 };
            gr_jbuf_val(j->out, gr_jloop_call(j, &first, gr_jeval(j, f, n->b)));
            return GO_ON;
        }
        return loop(j, f, n, gr_jeval(j, f, n->b), 0);
    case N_MACRO:       gr_jassign(j, f, n->a, macro(j, f, n)); return GO_ON;
    case N_CALLBLOCK:   call_block(j, f, n); return GO_ON;
    case N_GENERATION:  generation(j, f, n); return GO_ON;
    case N_BREAK:       return BREAK;
    case N_CONTINUE:    return CONTINUE;
    default: gr_jfail(j, GRAM_EFORMAT, "%s: line %d: no statement stands here", j->name, n->line);
    }
}

static jump run(jctx *j, jframe *f, const jnodes *body)
{
    jump how = GO_ON;

    gr_jdeeper(j);
    for (size_t i = 0; i < body->n && how == GO_ON; i++)
        how = statement(j, f, body->v[i]);
    gr_jshallower(j);
    return how;
}

void gr_jexec_root(jctx *j)
{
    jframe *f = gr_jframe_new(j, NULL, j->t->root);

    gr_jframe_enter(j, f);
    run(j, f, &j->t->body);
}
