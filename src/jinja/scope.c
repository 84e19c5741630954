/* scope.c - which variable a name means, by Jinja's own rules (idtracking.py).
 *
 * A frame belongs to the text itself, and to each body of a loop, a macro, a call, a `set` block, a filter block and a
 * `with`; an `if` has none of its own. When a frame is entered, each of its names is a parameter, is looked up in what
 * the template was given, takes the value of the frame around it, or has none, according to what the body does with it
 * first. So a `set` inside a loop lasts for one turn, and a name that the text sets below a loop is undefined in it. */
#include "jinja/jinja_int.h"

typedef struct { gr_jinja *t; jctx *j; } binder;

/* ---- Symbols ------------------------------------------------------------------------------------ */

static jsym *find(const jscope *s, const jstr *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (gr_jstr_eq(s->sym[i].name, name))
            return &s->sym[i];
    return NULL;
}

static bool known(const jscope *s, const jstr *name)
{
    for (; s; s = s->parent) {
        const jsym *sym = find(s, name);
        if (sym && sym->ref)
            return true;
    }
    return false;
}

static jsym *symbol(jctx *j, jscope *s, const jstr *name)
{
    jsym *sym = find(s, name);

    gr_jstep(j, s->n / 16 + 1);
    if (sym)
        return sym;
    s->sym = gr_jgrow(j, s->sym, s->n, &s->cap, 1, sizeof *s->sym);
    s->sym[s->n] = (jsym){ .name = name };
    return &s->sym[s->n++];
}

static void define(jctx *j, jscope *s, const jstr *name, jload load)
{
    jsym *sym = symbol(j, s, name);

    sym->ref = true;
    sym->load = load;
}

static void declare_parameter(jctx *j, jscope *s, const jstr *name)
{
    define(j, s, name, LOAD_PARAM);
    symbol(j, s, name)->stored = true;
}

static void store(jctx *j, jscope *s, const jstr *name)
{
    jsym *sym = symbol(j, s, name);

    sym->stored = true;
    if (!sym->ref)
        define(j, s, name, s->parent && known(s->parent, name) ? LOAD_ALIAS : LOAD_UNDEF);
}

static void load(jctx *j, jscope *s, const jstr *name)
{
    if (!known(s, name))
        define(j, s, name, LOAD_RESOLVE);
}

static jscope copy_scope(jctx *j, const jscope *s)
{
    jscope c = { .parent = s->parent };

    c.sym = gr_jgrow(j, NULL, 0, &c.cap, s->n + 1, sizeof *c.sym);
    if (s->n)
        memcpy(c.sym, s->sym, s->n * sizeof *c.sym);
    c.n = s->n;
    gr_jstep(j, s->n);
    return c;
}

/* A name that only some branches of an `if` set has the value from outside where they are not taken. */
static void merge_branches(jctx *j, jscope *s, const jscope *branch, size_t n)
{
    jscope was = copy_scope(j, s);

    for (size_t b = 0; b < n; b++)
        for (size_t i = 0; i < branch[b].n; i++) {
            const jsym *from = &branch[b].sym[i];
            jsym *to = symbol(j, s, from->name);
            to->ref |= from->ref;
            to->stored |= from->stored;
            if (from->load != LOAD_NOTHING)
                to->load = from->load;
        }
    for (size_t i = 0; i < s->n; i++) {
        const jsym *before = find(&was, s->sym[i].name);
        if (s->sym[i].stored && !(before && before->stored))
            s->sym[i].load = s->parent && known(s->parent, s->sym[i].name) ? LOAD_ALIAS : LOAD_RESOLVE;
    }
}

/* ---- First pass: what a frame's own nodes do ---------------------------------------------------- */

static void visit(jctx *j, jscope *s, jnode *n, bool param);

static void visit_all(jctx *j, jscope *s, const jnodes *l, bool param)
{
    for (size_t i = 0; i < l->n; i++)
        visit(j, s, l->v[i], param);
}

static void visit_if(jctx *j, jscope *s, jnode *n)
{
    const jnodes *part[] = { &n->kid, &n->kid2, &n->kid3 };
    jscope branch[GR_COUNT(part)];

    visit(j, s, n->a, false);
    for (size_t i = 0; i < GR_COUNT(part); i++) {
        branch[i] = copy_scope(j, s);
        visit_all(j, &branch[i], part[i], false);
    }
    merge_branches(j, s, branch, GR_COUNT(part));
}

static void visit_plain(jctx *j, jscope *s, jnode *n, bool param)
{
    jnode *const one[] = { n->a, n->b, n->c, n->d };

    for (size_t i = 0; i < GR_COUNT(one); i++)
        if (one[i])
            visit(j, s, one[i], param);
    visit_all(j, s, &n->kid, param);
    visit_all(j, s, &n->kid2, param);
    visit_all(j, s, &n->kid3, param);
}

static void visit(jctx *j, jscope *s, jnode *n, bool param)
{
    switch (n->kind) {
    case N_NAME:
        if (param || n->op == CTX_PARAM)
            declare_parameter(j, s, n->name);
        else if (n->op == CTX_STORE)
            store(j, s, n->name);
        else
            load(j, s, n->name);
        break;
    case N_SET:
        visit(j, s, n->b, false);
        visit(j, s, n->a, false);
        break;
    case N_NSREF:       load(j, s, n->a->name); break;
    case N_IF:          visit_if(j, s, n); break;
    case N_MACRO:       store(j, s, n->name); break;
    case N_FOR:
    case N_FILTERBLOCK: visit(j, s, n->b, false); break;
    case N_CALLBLOCK:
    case N_SETBLOCK:    visit(j, s, n->a, false); break;
    case N_WITH:        visit_all(j, s, &n->kid3, false); break;
    case N_GENERATION:  break;
    default:            visit_plain(j, s, n, param); break;
    }
}

/* ---- Which of caller, kwargs and varargs a macro reads ------------------------------------------ */

typedef struct { const char *name[3]; bool gone[3], *found[3]; } search;

static void look(search *x, const jnode *n);

static void look_all(search *x, const jnodes *l)
{
    for (size_t i = 0; i < l->n; i++)
        look(x, l->v[i]);
}

static void look(search *x, const jnode *n)
{
    const jnode *const one[] = { n->a, n->b, n->c, n->d };

    if (n->kind == N_NAME)
        for (int i = 0; i < 3; i++)
            if (gr_jstr_is(n->name, x->name[i])) {
                if (n->op == CTX_LOAD && !x->gone[i])
                    *x->found[i] = true;
                else
                    x->gone[i] = true;
            }
    for (size_t i = 0; i < GR_COUNT(one); i++)
        if (one[i])
            look(x, one[i]);
    look_all(x, &n->kid2);
    look_all(x, &n->kid3);
    look_all(x, &n->kid);
}

static void find_specials(jctx *j, jnode *m)
{
    bool caller = false, kwargs = false, varargs = false;
    search x = { { "caller", "kwargs", "varargs" }, { false }, { &caller, &kwargs, &varargs } };

    look_all(&x, &m->kid);
    for (size_t i = 0; i < m->kid2.n; i++) {
        const jstr *name = m->kid2.v[i]->name;
        kwargs &= !gr_jstr_is(name, "kwargs");
        varargs &= !gr_jstr_is(name, "varargs");
        if (gr_jstr_is(name, "caller") && caller) {
            if (i + m->kid3.n < m->kid2.n)
                gr_jfail(j, GRAM_EFORMAT, "%s: line %d: When defining macros or call blocks the special \"caller\" "
                         "argument must be omitted or be given a default.", j->name, m->line);
            caller = false;                         /* a parameter like any other */
        }
    }
    m->caller = caller;
    m->kwargs = kwargs;
    m->varargs = varargs;
}

/* ---- Second pass: names to slots, frame by frame ------------------------------------------------ */

static void bind(binder *b, jscope *s, jnode *n);

static void bind_all(binder *b, jscope *s, const jnodes *l)
{
    for (size_t i = 0; i < l->n; i++)
        bind(b, s, l->v[i]);
}

static void bind_name(binder *b, jscope *s, jnode *n)
{
    int up = 0;

    for (jscope *at = s; at; at = at->parent, up++) {
        const jsym *sym = find(at, n->name);
        if (sym && sym->ref) {
            n->up = up;
            n->slot = (int)(sym - at->sym);
            if (sym->load == LOAD_RESOLVE)
                gr_jnodes_push(b->j, &b->t->names, n);
            return;
        }
    }
    define(b->j, s, n->name, LOAD_RESOLVE);             /* only a filter's argument after `set` can come here */
    bind_name(b, s, n);
}

static jscope *inner(binder *b, jscope *parent)
{
    jscope *s = gr_jalloc(b->j, sizeof *s);

    s->parent = parent;
    return s;
}

static void bind_for(binder *b, jscope *s, jnode *n)
{
    bind(b, s, n->b);
    n->scope = inner(b, s);
    declare_parameter(b->j, n->scope, gr_jlit(b->j, "loop"));
    visit(b->j, n->scope, n->a, true);
    visit_all(b->j, n->scope, &n->kid, false);
    bind(b, n->scope, n->a);
    bind_all(b, n->scope, &n->kid);
    n->scope2 = inner(b, s);
    visit_all(b->j, n->scope2, &n->kid2, false);
    bind_all(b, n->scope2, &n->kid2);
    if (n->c) {
        n->scope3 = inner(b, s);
        visit(b->j, n->scope3, n->d, true);
        visit(b->j, n->scope3, n->c, false);
        bind(b, n->scope3, n->d);
        bind(b, n->scope3, n->c);
    }
}

/* Slots 0 to 2 of a macro are its caller, kwargs and varargs, where it reads them. */
static void bind_macro(binder *b, jscope *s, jnode *n)
{
    if (n->a)
        bind(b, s, n->a);
    find_specials(b->j, n);
    n->scope = inner(b, s);
    visit_all(b->j, n->scope, &n->kid2, false);
    if (n->caller)
        declare_parameter(b->j, n->scope, gr_jlit(b->j, "caller"));
    if (n->kwargs)
        declare_parameter(b->j, n->scope, gr_jlit(b->j, "kwargs"));
    if (n->varargs)
        declare_parameter(b->j, n->scope, gr_jlit(b->j, "varargs"));
    visit_all(b->j, n->scope, &n->kid3, false);
    visit_all(b->j, n->scope, &n->kid, false);
    bind_all(b, n->scope, &n->kid2);
    bind_all(b, n->scope, &n->kid3);
    bind_all(b, n->scope, &n->kid);
}

static void bind_block(binder *b, jscope *s, jnode *n)
{
    n->scope = inner(b, s);
    if (n->kind == N_WITH) {
        bind_all(b, s, &n->kid3);
        visit_all(b->j, n->scope, &n->kid2, false);
    } else if (n->kind == N_SETBLOCK) {
        bind(b, s, n->a);
    }
    visit_all(b->j, n->scope, &n->kid, false);
    if (n->kind == N_WITH)
        bind_all(b, n->scope, &n->kid2);
    bind_all(b, n->scope, &n->kid);
    if (n->b)
        bind(b, n->scope, n->b);
}

static void bind(binder *b, jscope *s, jnode *n)
{
    jnode *const one[] = { n->a, n->b, n->c, n->d };

    switch (n->kind) {
    case N_NAME:        bind_name(b, s, n); return;
    case N_FOR:         bind_for(b, s, n); return;
    case N_MACRO:
    case N_GENERATION:
    case N_CALLBLOCK:   bind_macro(b, s, n); return;
    case N_SETBLOCK:
    case N_FILTERBLOCK:
    case N_WITH:        bind_block(b, s, n); return;
    default:            break;
    }
    for (size_t i = 0; i < GR_COUNT(one); i++)
        if (one[i])
            bind(b, s, one[i]);
    bind_all(b, s, &n->kid);
    bind_all(b, s, &n->kid2);
    bind_all(b, s, &n->kid3);
}

void gr_jbind_names(gr_jinja *t)
{
    binder b = { t, &t->ctx };

    t->root = inner(&b, NULL);
    visit_all(b.j, t->root, &t->body, false);
    bind_all(&b, t->root, &t->body);
}
