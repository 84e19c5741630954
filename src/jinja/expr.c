/* expr.c - expressions, by Jinja's own grammar: `is` and filters bind tighter than arithmetic, ~ tighter than +. */
#include <stdarg.h>
#include <stdio.h>
#include "jinja/jinja_int.h"

/* ---- Tokens ------------------------------------------------------------------------------------- */

void gr_jsyntax(jparser *p, int line, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    gr_jfail(p->j, GRAM_EFORMAT, "%s: line %d: %s", p->j->name, line, text);
}

static const char *op_text(jparser *p, int op)
{
    return op > 0xff ? gr_jprintf(p->j, "%c%c", op >> 8, op & 0xff) : gr_jprintf(p->j, "%c", op);
}

const char *gr_jdescribe(jparser *p, const jtoken *t)
{
    static const char *const what[] = {
        [T_EOF] = "end of template", [T_DATA] = "template data / text", [T_VAR_BEGIN] = "begin of print statement",
        [T_VAR_END] = "end of print statement", [T_BLOCK_BEGIN] = "begin of statement block",
        [T_BLOCK_END] = "end of statement block", [T_NAME] = "name", [T_STRING] = "string", [T_INT] = "integer",
        [T_FLOAT] = "float"
    };

    if (t->t == T_NAME)
        return gr_jcstr(p->j, t->s);
    return t->t == T_OP ? op_text(p, t->op) : what[t->t];
}

bool gr_jtok_op(const jparser *p, int op) { return gr_jtok(p)->t == T_OP && gr_jtok(p)->op == op; }

static bool is_name(const jtoken *t, const char *name) { return t->t == T_NAME && gr_jstr_is(t->s, name); }

bool gr_jtok_name(const jparser *p, const char *name) { return is_name(gr_jtok(p), name); }

static const jtoken *look(const jparser *p)
{
    return &p->tok.v[p->at + (gr_jtok(p)->t != T_EOF)];
}

static void next(jparser *p)
{
    if (gr_jtok(p)->t != T_EOF)
        p->at++;
}

bool gr_jskip_op(jparser *p, int op)
{
    bool there = gr_jtok_op(p, op);

    if (there)
        next(p);
    return there;
}

bool gr_jskip_name(jparser *p, const char *name)
{
    bool there = gr_jtok_name(p, name);

    if (there)
        next(p);
    return there;
}

_Noreturn static void unexpected(jparser *p, const char *want)
{
    const jtoken *t = gr_jtok(p);

    if (t->t == T_EOF)
        gr_jsyntax(p, t->line, "unexpected end of template, expected '%s'.", want);
    gr_jsyntax(p, t->line, "expected token '%s', got '%s'", want, gr_jdescribe(p, t));
}

void gr_jexpect_op(jparser *p, int op)
{
    if (!gr_jskip_op(p, op))
        unexpected(p, op_text(p, op));
}

const jtoken *gr_jexpect(jparser *p, jtoken_type type)
{
    const jtoken *t = gr_jtok(p);

    if (t->t != type)
        unexpected(p, gr_jdescribe(p, &(jtoken){ .t = type, .s = gr_jlit(p->j, "name") }));
    next(p);
    return t;
}

/* ---- Nodes -------------------------------------------------------------------------------------- */

jnode *gr_jnode(jparser *p, jkind kind, int line)
{
    jnode *n = gr_jalloc(p->j, sizeof *n);

    n->kind = kind;
    n->line = line;
    return n;
}

void gr_jnodes_push(jctx *j, jnodes *l, jnode *n)
{
    l->v = gr_jgrow(j, l->v, l->n, &l->cap, 1, sizeof *l->v);
    l->v[l->n++] = n;
}

void gr_jenter(jparser *p)
{
    if (++p->nest > JLIMIT_NEST)
        gr_jfail(p->j, GRAM_ELIMIT, "%s: line %d: more than %d expressions or statements within each other", p->j->name,
                 gr_jtok(p)->line, JLIMIT_NEST);
}

/* Says how deep a finished node is: what walks over nodes later does so by recursion. */
static jnode *built(jparser *p, jnode *n)
{
    jnode *const one[] = { n->a, n->b, n->c, n->d };

    for (size_t i = 0; i < GR_COUNT(one); i++)
        n->deep = gr_max(n->deep, one[i] ? one[i]->deep + 1 : 0);
    for (size_t i = 0; i < n->kid.n; i++)
        n->deep = gr_max(n->deep, n->kid.v[i]->deep + 1);
    for (size_t i = 0; i < n->kid2.n; i++)
        n->deep = gr_max(n->deep, n->kid2.v[i]->deep + 1);
    if (n->deep > JLIMIT_DEPTH)
        gr_jfail(p->j, GRAM_ELIMIT, "%s: line %d: an expression more than %d deep", p->j->name, n->line, JLIMIT_DEPTH);
    return n;
}

static jnode *constant(jparser *p, jval v, int line)
{
    jnode *n = gr_jnode(p, N_CONST, line);

    n->val = v;
    if (v.t == J_STR)
        gr_jchars(v.s);
    return n;
}

static jnode *pair(jparser *p, jkind kind, int op, jnode *a, jnode *b)
{
    jnode *n = gr_jnode(p, kind, a->line);

    n->op = op;
    n->a = a;
    n->b = b;
    return built(p, n);
}

/* ---- Primaries ---------------------------------------------------------------------------------- */

static jnode *parse_name(jparser *p, bool ns)
{
    const jtoken *t = gr_jexpect(p, T_NAME);
    jnode *n;

    if (is_name(t, "true") || is_name(t, "True") || is_name(t, "false") || is_name(t, "False"))
        return constant(p, gr_jbool((t->s->p[0] | 32) == 't'), t->line);
    if (is_name(t, "none") || is_name(t, "None"))
        return constant(p, J_NULL, t->line);
    n = gr_jnode(p, N_NAME, t->line);
    n->name = t->s;
    if (ns && gr_jskip_op(p, '.')) {
        jnode *ref = gr_jnode(p, N_NSREF, t->line);
        ref->a = n;
        ref->name = gr_jexpect(p, T_NAME)->s;
        return ref;
    }
    return n;
}

static jnode *parse_strings(jparser *p)
{
    const jtoken *t = gr_jexpect(p, T_STRING);
    const jstr *s = t->s;

    while (gr_jtok(p)->t == T_STRING)
        s = gr_jjoin(p->j, s, gr_jexpect(p, T_STRING)->s);
    return constant(p, gr_jstrv(s), t->line);
}

static jnode *parse_list(jparser *p)
{
    jnode *n = gr_jnode(p, N_LIST, gr_jtok(p)->line);

    gr_jexpect_op(p, '[');
    while (!gr_jtok_op(p, ']')) {
        if (n->kid.n)
            gr_jexpect_op(p, ',');
        if (gr_jtok_op(p, ']'))
            break;
        gr_jnodes_push(p->j, &n->kid, gr_jparse_expr(p, true));
    }
    gr_jexpect_op(p, ']');
    return n;
}

static jnode *parse_dict(jparser *p)
{
    jnode *n = gr_jnode(p, N_DICT, gr_jtok(p)->line);

    gr_jexpect_op(p, '{');
    while (!gr_jtok_op(p, '}')) {
        if (n->kid.n)
            gr_jexpect_op(p, ',');
        if (gr_jtok_op(p, '}'))
            break;
        gr_jnodes_push(p->j, &n->kid, gr_jparse_expr(p, true));
        gr_jexpect_op(p, ':');
        gr_jnodes_push(p->j, &n->kid, gr_jparse_expr(p, true));
    }
    gr_jexpect_op(p, '}');
    return n;
}

jnode *gr_jparse_primary(jparser *p, bool ns)
{
    const jtoken *t = gr_jtok(p);
    jnode *n = NULL;

    gr_jenter(p);
    if (t->t == T_NAME) {
        n = parse_name(p, ns);
    } else if (t->t == T_STRING) {
        n = parse_strings(p);
    } else if (t->t == T_INT || t->t == T_FLOAT) {
        next(p);
        n = constant(p, t->val, t->line);
    } else if (gr_jskip_op(p, '(')) {
        n = gr_jparse_tuple(p, (jtuple_how){ .cond = true, .parens = true });
        gr_jexpect_op(p, ')');
    } else if (gr_jtok_op(p, '[')) {
        n = parse_list(p);
    } else if (gr_jtok_op(p, '{')) {
        n = parse_dict(p);
    } else {
        gr_jsyntax(p, t->line, "unexpected '%s'", gr_jdescribe(p, t));
    }
    gr_jleave(p);
    return built(p, n);
}

static bool tuple_ends(const jparser *p, const char *end)
{
    const jtoken *t = gr_jtok(p);

    return t->t == T_VAR_END || t->t == T_BLOCK_END || gr_jtok_op(p, ')') || (end && is_name(t, end));
}

jnode *gr_jparse_tuple(jparser *p, jtuple_how how)
{
    jnode *n = gr_jnode(p, N_TUPLE, gr_jtok(p)->line);
    bool tuple = false;

    for (;;) {
        if (n->kid.n)
            gr_jexpect_op(p, ',');
        if (tuple_ends(p, how.end))
            break;
        gr_jnodes_push(p->j, &n->kid, how.simple ? gr_jparse_primary(p, how.ns) : gr_jparse_expr(p, how.cond));
        if (!gr_jtok_op(p, ','))
            break;
        tuple = true;
    }
    if (tuple)
        return built(p, n);
    if (n->kid.n)
        return n->kid.v[0];
    if (!how.parens)
        gr_jsyntax(p, gr_jtok(p)->line, "Expected an expression, got '%s'", gr_jdescribe(p, gr_jtok(p)));
    return n;
}

/* ---- Postfixes ---------------------------------------------------------------------------------- */

static jnode *optional(jparser *p)
{
    return gr_jtok_op(p, ':') || gr_jtok_op(p, ']') || gr_jtok_op(p, ',') ? NULL : gr_jparse_expr(p, true);
}

static jnode *parse_subscribed(jparser *p)
{
    jnode *n = gr_jnode(p, N_SLICE, gr_jtok(p)->line);

    if (!gr_jtok_op(p, ':')) {
        n->a = gr_jparse_expr(p, true);
        if (!gr_jtok_op(p, ':'))
            return n->a;
    }
    gr_jexpect_op(p, ':');
    n->b = optional(p);
    if (gr_jskip_op(p, ':'))
        n->c = optional(p);
    return built(p, n);
}

static jnode *parse_subscript(jparser *p, jnode *of)
{
    int line = gr_jtok(p)->line;
    jnode *n, *index;

    if (gr_jskip_op(p, '.')) {
        const jtoken *t = gr_jtok(p);
        next(p);
        if (t->t != T_NAME && t->t != T_INT)
            gr_jsyntax(p, t->line, "expected name or number");
        n = gr_jnode(p, t->t == T_NAME ? N_GETATTR : N_GETITEM, line);
        n->a = of;
        n->name = t->s;
        if (t->t == T_INT)
            n->b = constant(p, t->val, line);
        return built(p, n);
    }
    gr_jexpect_op(p, '[');
    index = gr_jnode(p, N_TUPLE, line);
    while (!gr_jtok_op(p, ']')) {
        if (index->kid.n)
            gr_jexpect_op(p, ',');
        gr_jnodes_push(p->j, &index->kid, parse_subscribed(p));
    }
    gr_jexpect_op(p, ']');
    for (size_t i = 0; index->kid.n != 1 && i < index->kid.n; i++)
        if (index->kid.v[i]->kind == N_SLICE)
            gr_jsyntax(p, line, "a slice among several subscripts, which gram does not know");
    n = pair(p, N_GETITEM, 0, of, index->kid.n == 1 ? index->kid.v[0] : built(p, index));
    n->line = line;
    return n;
}

static void bad_call(jparser *p, bool fine, int line)
{
    if (!fine)
        gr_jsyntax(p, line, "invalid syntax for function call expression");
}

/* Into n: kid the positional arguments, kid2 the named ones, c what follows *, d what follows **. */
static void parse_args(jparser *p, jnode *n)
{
    int line = gr_jtok(p)->line;
    bool comma = false;

    gr_jexpect_op(p, '(');
    for (; !gr_jtok_op(p, ')'); comma = true) {
        if (comma)
            gr_jexpect_op(p, ',');
        if (gr_jtok_op(p, ')'))
            break;
        if (gr_jskip_op(p, '*')) {
            bad_call(p, !n->c && !n->d, line);
            n->c = gr_jparse_expr(p, true);
        } else if (gr_jskip_op(p, JOP2('*', '*'))) {
            bad_call(p, !n->d, line);
            n->d = gr_jparse_expr(p, true);
        } else if (gr_jtok(p)->t == T_NAME && look(p)->t == T_OP && look(p)->op == '=') {
            jnode *kw = gr_jnode(p, N_KEYWORD, line);
            bad_call(p, !n->d, line);
            kw->name = gr_jexpect(p, T_NAME)->s;
            next(p);
            kw->a = gr_jparse_expr(p, true);
            gr_jnodes_push(p->j, &n->kid2, built(p, kw));
        } else {
            bad_call(p, !n->c && !n->d && !n->kid2.n, line);
            gr_jnodes_push(p->j, &n->kid, gr_jparse_expr(p, true));
        }
    }
    gr_jexpect_op(p, ')');
}

static jnode *parse_call(jparser *p, jnode *of)
{
    jnode *n = gr_jnode(p, N_CALL, gr_jtok(p)->line);

    n->a = of;
    parse_args(p, n);
    if (of->kind == N_NAME)
        gr_jnodes_push(p->j, p->calls, of);
    return built(p, n);
}

static jnode *parse_postfix(jparser *p, jnode *n)
{
    for (;;) {
        if (gr_jtok_op(p, '.') || gr_jtok_op(p, '['))
            n = parse_subscript(p, n);
        else if (gr_jtok_op(p, '('))
            n = parse_call(p, n);
        else
            return n;
    }
}

static const jstr *dotted_name(jparser *p)
{
    const jstr *s = gr_jexpect(p, T_NAME)->s;

    while (gr_jskip_op(p, '.')) {
        s = gr_jjoin(p->j, s, gr_jlit(p->j, "."));
        s = gr_jjoin(p->j, s, gr_jexpect(p, T_NAME)->s);
    }
    return s;
}

/* What Jinja has and this has not: better refused now than when a conversation comes by. */
static void check_name(jparser *p, const char *kind, const jstr *name, bool there, int line)
{
    static const char *const lacking[] = { "filesizeformat", "pprint", "random", "striptags", "urlencode", "urlize",
                                           "wordwrap", "xmlattr" };

    if (there)
        return;
    for (size_t i = 0; i < GR_COUNT(lacking); i++)
        if (gr_jstr_is(name, lacking[i]))
            gr_jfail(p->j, GRAM_EUNSUPPORTED, "%s: line %d: the %s '%s', which gram does not know", p->j->name, line,
                     kind, lacking[i]);
    if (!p->soft)
        gr_jsyntax(p, line, "No %s named '%s'.", kind, gr_jcstr(p->j, name));
}

jnode *gr_jparse_filter(jparser *p, jnode *node, bool inline_start)
{
    for (; inline_start || gr_jtok_op(p, '|'); inline_start = false) {
        jnode *n;
        if (!inline_start)
            next(p);
        n = gr_jnode(p, N_FILTER, gr_jtok(p)->line);
        n->a = node;
        n->name = dotted_name(p);
        if (gr_jtok_op(p, '('))
            parse_args(p, n);
        check_name(p, "filter", n->name, gr_jfilter(n->name) != NULL, n->line);
        node = built(p, n);
    }
    return node;
}

static bool begins_primary(const jparser *p)
{
    const jtoken *t = gr_jtok(p);

    if (is_name(t, "else") || is_name(t, "or") || is_name(t, "and"))
        return false;
    return t->t == T_NAME || t->t == T_STRING || t->t == T_INT || t->t == T_FLOAT || gr_jtok_op(p, '[')
        || gr_jtok_op(p, '{');
}

static jnode *parse_test(jparser *p, jnode *of)
{
    jnode *n = gr_jnode(p, N_TEST, gr_jtok(p)->line);
    bool negated;

    next(p);
    negated = gr_jskip_name(p, "not");
    n->a = of;
    n->name = dotted_name(p);
    if (gr_jtok_op(p, '(')) {
        parse_args(p, n);
    } else if (begins_primary(p)) {
        if (gr_jtok_name(p, "is"))
            gr_jsyntax(p, gr_jtok(p)->line, "You cannot chain multiple tests with is");
        gr_jnodes_push(p->j, &n->kid, parse_postfix(p, gr_jparse_primary(p, false)));
    }
    check_name(p, "test", n->name, gr_jtest(n->name) != NULL, n->line);
    return negated ? pair(p, N_NOT, 0, built(p, n), NULL) : built(p, n);
}

static jnode *parse_filter_expr(jparser *p, jnode *n)
{
    for (;;) {
        if (gr_jtok_op(p, '|'))
            n = gr_jparse_filter(p, n, false);
        else if (gr_jtok_name(p, "is"))
            n = parse_test(p, n);
        else if (gr_jtok_op(p, '('))
            n = parse_call(p, n);
        else
            return n;
    }
}

/* ---- Operators ---------------------------------------------------------------------------------- */

static jnode *parse_unary(jparser *p, bool filters)
{
    jnode *n;

    gr_jenter(p);
    if (gr_jtok_op(p, '-') || gr_jtok_op(p, '+')) {
        n = gr_jnode(p, gr_jtok_op(p, '-') ? N_NEG : N_POS, gr_jtok(p)->line);
        next(p);
        n->a = parse_unary(p, false);
        built(p, n);
    } else {
        n = gr_jparse_primary(p, false);
    }
    n = parse_postfix(p, n);
    n = filters ? parse_filter_expr(p, n) : n;
    gr_jleave(p);
    return n;
}

/* A chain of operators of one rank, from left to right. */
typedef struct { int token, op; } jrank;

static jnode *chain(jparser *p, jnode *(*operand)(jparser *), const jrank *rank, size_t n)
{
    jnode *left = operand(p);

    for (size_t i = 0; i < n; i++) {
        if (!gr_jskip_op(p, rank[i].token))
            continue;
        left = pair(p, N_BINARY, rank[i].op, left, operand(p));
        i = (size_t)-1;
    }
    return left;
}

static jnode *with_filters(jparser *p) { return parse_unary(p, true); }

static jnode *parse_pow(jparser *p)
{
    static const jrank rank[] = { { JOP2('*', '*'), OP_POW } };

    return chain(p, with_filters, rank, GR_COUNT(rank));
}

static jnode *parse_mul(jparser *p)
{
    static const jrank rank[] = { { '*', OP_MUL }, { '/', OP_DIV }, { JOP2('/', '/'), OP_FLOORDIV }, { '%', OP_MOD } };

    return chain(p, parse_pow, rank, GR_COUNT(rank));
}

static jnode *parse_concat(jparser *p)
{
    jnode *first = parse_mul(p), *n;

    if (!gr_jtok_op(p, '~'))
        return first;
    n = gr_jnode(p, N_CONCAT, first->line);
    gr_jnodes_push(p->j, &n->kid, first);
    while (gr_jskip_op(p, '~'))
        gr_jnodes_push(p->j, &n->kid, parse_mul(p));
    return built(p, n);
}

static jnode *parse_add(jparser *p)
{
    static const jrank rank[] = { { '+', OP_ADD }, { '-', OP_SUB } };

    return chain(p, parse_concat, rank, GR_COUNT(rank));
}

static int compare_op(jparser *p)
{
    static const jrank rank[] = { { JOP2('=', '='), OP_EQ }, { JOP2('!', '='), OP_NE }, { '<', OP_LT },
                                  { JOP2('<', '='), OP_LE }, { '>', OP_GT }, { JOP2('>', '='), OP_GE } };

    for (size_t i = 0; i < GR_COUNT(rank); i++)
        if (gr_jskip_op(p, rank[i].token))
            return rank[i].op;
    if (gr_jskip_name(p, "in"))
        return OP_IN;
    if (gr_jtok_name(p, "not") && is_name(look(p), "in")) {
        next(p);
        next(p);
        return OP_NOTIN;
    }
    return 0;
}

static jnode *parse_compare(jparser *p)
{
    jnode *first = parse_add(p), *n = gr_jnode(p, N_COMPARE, first->line);

    n->a = first;
    for (int op; (op = compare_op(p)) != 0; ) {
        jnode *operand = gr_jnode(p, N_OPERAND, first->line);
        operand->op = op;
        operand->a = parse_add(p);
        gr_jnodes_push(p->j, &n->kid, built(p, operand));
    }
    return n->kid.n ? built(p, n) : first;
}

static jnode *parse_not(jparser *p)
{
    jnode *n;

    if (!gr_jtok_name(p, "not"))
        return parse_compare(p);
    gr_jenter(p);
    n = gr_jnode(p, N_NOT, gr_jtok(p)->line);
    next(p);
    n->a = parse_not(p);
    gr_jleave(p);
    return built(p, n);
}

static jnode *parse_logic(jparser *p, bool or)
{
    jnode *left = or ? parse_logic(p, false) : parse_not(p);

    while (gr_jskip_name(p, or ? "or" : "and"))
        left = pair(p, or ? N_OR : N_AND, 0, left, or ? parse_logic(p, false) : parse_not(p));
    return left;
}

jnode *gr_jparse_expr(jparser *p, bool cond)
{
    jnode *n;

    gr_jenter(p);
    n = parse_logic(p, true);
    while (cond && gr_jskip_name(p, "if")) {
        jnode *c = gr_jnode(p, N_COND, n->line);
        c->b = n;
        c->a = parse_logic(p, true);
        if (gr_jskip_name(p, "else"))
            c->c = gr_jparse_expr(p, true);
        n = built(p, c);
    }
    gr_jleave(p);
    return n;
}
