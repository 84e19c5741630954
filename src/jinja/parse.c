/* parse.c - statements. What needs other files or other extensions (include, import, extends, block, do, trans) is
 * refused by its name, as is autoescape, which would change what every filter gives. */
#include "jinja/jinja_int.h"

static void body(jparser *p, jnodes *out, const char *const *end);
static jnode *statement(jparser *p);

static bool at_end(const jparser *p, const char *const *end)
{
    for (; end && *end; end++)
        if (gr_jtok_name(p, *end))
            return true;
    return false;
}

/* The nodes up to a tag of `end`, which is left to be read, its name first. end NULL: to the end of the text. */
static void body(jparser *p, jnodes *out, const char *const *end)
{
    jnode *output = NULL;

    for (const jtoken *t; (t = gr_jtok(p))->t != T_EOF; ) {
        jnode *n;
        if (t->t != T_DATA && t->t != T_VAR_BEGIN) {
            output = NULL;
            gr_jexpect(p, T_BLOCK_BEGIN);
            if (at_end(p, end))
                return;
            gr_jnodes_push(p->j, out, statement(p));
            gr_jexpect(p, T_BLOCK_END);
            continue;
        }
        p->at++;
        if (t->t == T_DATA) {
            n = gr_jnode(p, N_CONST, t->line);
            n->val = gr_jstrv(t->s);
        } else {
            n = gr_jparse_tuple(p, (jtuple_how){ .cond = true });
            gr_jexpect(p, T_VAR_END);
        }
        if (!output) {
            output = gr_jnode(p, N_OUTPUT, t->line);
            gr_jnodes_push(p->j, out, output);
        }
        gr_jnodes_push(p->j, &output->kid, n);
    }
    if (end)
        gr_jsyntax(p, gr_jtok(p)->line, "Unexpected end of template. Jinja was looking for the following tags: '%s'.",
                   end[0]);
}

/* What stands between a tag and its end, both tags' names read. */
static void block(jparser *p, jnodes *out, const char *const *end)
{
    gr_jskip_op(p, ':');
    gr_jexpect(p, T_BLOCK_END);
    body(p, out, end);
}

static void block_to(jparser *p, jnodes *out, const char *end)
{
    const char *const one[] = { end, NULL };

    block(p, out, one);
    gr_jskip_name(p, end);
}

static void store(jparser *p, jnode *target, int how)
{
    if (target->kind == N_NAME)
        target->op = how;
    else if (target->kind == N_TUPLE)
        for (size_t i = 0; i < target->kid.n; i++)
            store(p, target->kid.v[i], how);
    else if (target->kind != N_NSREF)
        gr_jsyntax(p, target->line, "can't assign to '%s'", target->kind == N_CONST ? "const" : target->kind == N_LIST
                   ? "list" : target->kind == N_DICT ? "dict" : "expression");
    if (target->kind == N_NAME && how == CTX_STORE && p->loops && gr_jstr_is(target->name, "loop"))
        gr_jsyntax(p, target->line, "Can't assign to special loop variable in for-loop target");
}

static jnode *assign_target(jparser *p, const char *end, bool ns)
{
    jnode *n = gr_jparse_tuple(p, (jtuple_how){ .simple = true, .ns = ns, .end = end });

    store(p, n, CTX_STORE);
    return n;
}

static jnode *name_target(jparser *p, int how)
{
    const jtoken *t = gr_jexpect(p, T_NAME);
    jnode *n = gr_jnode(p, N_NAME, t->line);

    n->name = t->s;
    n->op = how;
    return n;
}

static jnode *parse_set(jparser *p, int line)
{
    jnode *target = assign_target(p, NULL, true), *n;

    if (gr_jskip_op(p, '=')) {
        n = gr_jnode(p, N_SET, line);
        n->a = target;
        n->b = gr_jparse_tuple(p, (jtuple_how){ .cond = true });
        return n;
    }
    n = gr_jnode(p, N_SETBLOCK, line);
    n->a = target;
    n->b = gr_jparse_filter(p, NULL, false);
    block_to(p, &n->kid, "endset");
    return n;
}

/* A target of its own for the loop's test, whose names live in another frame. */
static jnode *copy_target(jparser *p, const jnode *from)
{
    jnode *n = gr_jnode(p, from->kind, from->line);

    n->name = from->name;
    n->op = from->op;
    n->a = from->a;
    for (size_t i = 0; i < from->kid.n; i++)
        gr_jnodes_push(p->j, &n->kid, copy_target(p, from->kid.v[i]));
    return n;
}

static jnode *parse_for(jparser *p, int line)
{
    static const char *const ends[] = { "endfor", "else", NULL };
    jnode *n = gr_jnode(p, N_FOR, line);

    p->loops++;
    n->a = assign_target(p, "in", false);
    if (!gr_jskip_name(p, "in"))
        gr_jsyntax(p, line, "expected token 'in', got '%s'", gr_jdescribe(p, gr_jtok(p)));
    n->b = gr_jparse_tuple(p, (jtuple_how){ .end = "recursive" });
    if (gr_jskip_name(p, "if")) {
        n->c = gr_jparse_expr(p, true);
        n->d = copy_target(p, n->a);
    }
    n->flag = gr_jskip_name(p, "recursive");
    block(p, &n->kid, ends);
    if (!gr_jskip_name(p, "endfor")) {
        gr_jskip_name(p, "else");
        block_to(p, &n->kid2, "endfor");
    }
    p->loops--;
    return n;
}

static jnode *parse_if(jparser *p, int line)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    jnode *first = gr_jnode(p, N_IF, line), *n = first;

    p->soft++;
    for (;;) {
        n->a = gr_jparse_tuple(p, (jtuple_how){ 0 });
        block(p, &n->kid, ends);
        if (gr_jtok_name(p, "elif")) {
            n = gr_jnode(p, N_IF, gr_jtok(p)->line);
            gr_jskip_name(p, "elif");
            gr_jnodes_push(p->j, &first->kid2, n);
            continue;
        }
        if (gr_jskip_name(p, "else"))
            block_to(p, &first->kid3, "endif");
        else
            gr_jskip_name(p, "endif");
        p->soft--;
        return first;
    }
}

static jnode *parse_with(jparser *p, int line)
{
    jnode *n = gr_jnode(p, N_WITH, line);

    while (gr_jtok(p)->t != T_BLOCK_END) {
        jnode *target;
        if (n->kid2.n)
            gr_jexpect_op(p, ',');
        target = assign_target(p, NULL, false);
        store(p, target, CTX_PARAM);
        gr_jexpect_op(p, '=');
        gr_jnodes_push(p->j, &n->kid2, target);
        gr_jnodes_push(p->j, &n->kid3, gr_jparse_expr(p, true));
    }
    block_to(p, &n->kid, "endwith");
    return n;
}

/* kid2: the parameters; kid3: the defaults of the last of them. */
static void signature(jparser *p, jnode *n)
{
    gr_jexpect_op(p, '(');
    while (!gr_jtok_op(p, ')')) {
        if (n->kid2.n)
            gr_jexpect_op(p, ',');
        gr_jnodes_push(p->j, &n->kid2, name_target(p, CTX_PARAM));
        if (gr_jskip_op(p, '='))
            gr_jnodes_push(p->j, &n->kid3, gr_jparse_expr(p, true));
        else if (n->kid3.n)
            gr_jsyntax(p, n->line, "non-default argument follows default argument");
    }
    gr_jexpect_op(p, ')');
}

static jnode *parse_macro(jparser *p, int line)
{
    jnode *n = gr_jnode(p, N_MACRO, line);
    int loops = p->loops;

    n->a = name_target(p, CTX_STORE);
    n->name = n->a->name;
    signature(p, n);
    p->loops = 0;                           /* break and continue do not reach out of a macro */
    block_to(p, &n->kid, "endmacro");
    p->loops = loops;
    return n;
}

static jnode *parse_call_block(jparser *p, int line)
{
    jnode *n = gr_jnode(p, N_CALLBLOCK, line);
    int loops = p->loops;

    if (gr_jtok_op(p, '('))
        signature(p, n);
    n->a = gr_jparse_expr(p, true);
    if (n->a->kind != N_CALL)
        gr_jsyntax(p, line, "expected call");
    p->loops = 0;
    block_to(p, &n->kid, "endcall");
    p->loops = loops;
    return n;
}

static jnode *parse_print(jparser *p, int line)
{
    jnode *n = gr_jnode(p, N_OUTPUT, line);

    while (gr_jtok(p)->t != T_BLOCK_END) {
        if (n->kid.n)
            gr_jexpect_op(p, ',');
        gr_jnodes_push(p->j, &n->kid, gr_jparse_expr(p, true));
    }
    return n;
}

static jnode *parse_filter_block(jparser *p, int line)
{
    jnode *n = gr_jnode(p, N_FILTERBLOCK, line);

    n->b = gr_jparse_filter(p, NULL, true);
    block_to(p, &n->kid, "endfilter");
    return n;
}

static jnode *parse_generation(jparser *p, int line)
{
    jnode *n = gr_jnode(p, N_GENERATION, line);
    int loops = p->loops;

    p->loops = 0;
    block_to(p, &n->kid, "endgeneration");
    p->loops = loops;
    return n;
}

static jnode *parse_jump(jparser *p, int line, bool stop)
{
    if (!p->loops)
        gr_jsyntax(p, line, "'%s' outside loop", stop ? "break" : "continue");
    return gr_jnode(p, stop ? N_BREAK : N_CONTINUE, line);
}
static jnode *parse_break(jparser *p, int line) { return parse_jump(p, line, true); }
static jnode *parse_continue(jparser *p, int line) { return parse_jump(p, line, false); }

static void refuse(jparser *p, const jtoken *t)
{
    static const char *const lacking[] = { "include", "import", "from", "extends", "block", "autoescape" };

    for (size_t i = 0; i < GR_COUNT(lacking); i++)
        if (gr_jstr_is(t->s, lacking[i]))
            gr_jfail(p->j, GRAM_EUNSUPPORTED, "%s: line %d: the statement '%s', which gram does not know", p->j->name,
                     t->line, lacking[i]);
    gr_jsyntax(p, t->line, "Encountered unknown tag '%s'.", gr_jcstr(p->j, t->s));
}

static jnode *statement(jparser *p)
{
    static const struct { const char *name; jnode *(*parse)(jparser *, int); } known[] = {
        { "set", parse_set }, { "for", parse_for }, { "if", parse_if }, { "with", parse_with },
        { "macro", parse_macro }, { "call", parse_call_block }, { "filter", parse_filter_block },
        { "print", parse_print }, { "generation", parse_generation }, { "break", parse_break },
        { "continue", parse_continue }
    };
    const jtoken *t = gr_jtok(p);
    jnode *n = NULL;

    if (t->t != T_NAME)
        gr_jsyntax(p, t->line, "tag name expected");
    gr_jenter(p);
    for (size_t i = 0; i < GR_COUNT(known) && !n; i++)
        if (gr_jskip_name(p, known[i].name))
            n = known[i].parse(p, t->line);
    if (!n)
        refuse(p, t);
    gr_jleave(p);
    return n;
}

void gr_jparse(jparser *p, jnodes *out)
{
    body(p, out, NULL);
}
