/* jinja_int.h - the parts of the interpreter, for the files of this folder.
 *
 *   text -> tokens (lex.c) -> nodes (parse.c, expr.c) -> names bound to slots (scope.c)
 *        -> run: statements (exec.c), expressions (eval.c) over values (value.c, str.c, ...) -> text
 *
 * Everything lives in an arena that goes at once: that of the template, or that of one rendering. An error leaves by
 * longjmp to the door (jinja.c), which is why nothing here holds what would have to be given back. */
#ifndef GR_JINJA_JINJA_INT_H
#define GR_JINJA_JINJA_INT_H

#include <setjmp.h>
#include <string.h>
#include "base/err.h"
#include "jinja/jinja.h"

enum {
    JLIMIT_DEPTH = 600,             /* nodes within nodes, calls within calls: each takes some hundred bytes of stack */
    JLIMIT_NEST = 100,              /* statements and parentheses within each other in the template's text */
    JLIMIT_RANGE = 100000,          /* as Jinja's sandbox */
    JLIMIT_STEPS = 20000000         /* evaluations, elements, writes and lines of 64 bytes: about two seconds */
};
#define JLIMIT_MEMORY ((size_t)512 << 20)
#define JLIMIT_OUTPUT ((size_t)64 << 20)

/* ---- arena.c ---- */

typedef struct jchunk jchunk;
typedef struct { jchunk *last; size_t used, cap, total, limit; } jarena;
void gr_jarena_clear(jarena *a);

/* One compilation or one rendering. */
typedef struct jframe jframe;
typedef struct jbuf jbuf;
typedef struct jctx {
    jarena mem;
    jmp_buf fail;
    gram_err *err;
    gram_status status;
    const char *name;               /* of the template */
    size_t steps, depth;
    const gr_jinja *t;
    const gr_jinja_vars *vars;
    struct jdict *given;            /* all variables, as values */
    jbuf *out;                      /* what statements write to */
    jbuf *top;                      /* the text itself; `out` is another one inside macros and blocks */
    gr_jinja_run *gen;              /* of {% generation %}, in the arena */
    size_t n_gen, cap_gen;
} jctx;

void *gr_jalloc(jctx *j, size_t n);             /* zeroed, 16-aligned */
void *gr_jgrow(jctx *j, void *p, size_t n, size_t *cap, size_t more, size_t size);
char *gr_jprintf(jctx *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void gr_jraise(jctx *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  /* a Python exception */
_Noreturn void gr_jfail(jctx *j, gram_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void gr_jstep(jctx *j, size_t n);

/* ---- values ---- */

typedef enum {
    J_MISSING,                      /* no value: an argument that was not given, a slot that was not written */
    J_UNDEF, J_NONE, J_BOOL, J_INT, J_FLOAT, J_STR, J_LIST, J_TUPLE, J_DICT, J_RANGE, J_ITER, J_VIEW, J_NS, J_MACRO,
    J_FUNC, J_METHOD, J_LOOP, J_CYCLER, J_JOINER
} jtype;

/* Text in UTF-8. mark: a byte for each of the text, 1 where it was given; NULL: `given` says it of all. */
typedef struct {
    const char *p;
    size_t n, chars;                /* chars: SIZE_MAX until counted */
    const char *mark;
    bool given;
    bool safe;                      /* what Jinja calls Markup: from |e and |safe */
} jstr;

typedef struct jval {
    jtype t;
    union {
        bool b;
        int64_t i;
        double f;
        const jstr *s;
        struct jlist *l;            /* LIST, TUPLE */
        struct jdict *d;            /* DICT, NS */
        struct jrange *range;
        struct jiter *iter;
        struct jview *view;
        struct jundef *u;           /* may be NULL: the result of an `if` without else */
        struct jmacro *macro;
        struct jloop *loop;
        struct jcycler *cycler;
        struct jjoiner *joiner;
        const struct jfunc *func;
        struct jmethod *method;
    };
} jval;

typedef struct jlist { jval *v; size_t n, cap; } jlist;
typedef struct jdict { jval *key, *val; size_t n, cap, cap_val; } jdict;
typedef struct jrange { int64_t start, stop, step; size_t n; } jrange;
int64_t gr_jrange_at(const jrange *r, size_t i);        /* i < n */
typedef struct jview { jdict *d; int what; } jview;                 /* 0 keys, 1 values, 2 items */
typedef struct jundef { const char *hint, *obj, *name; bool attr, unsafe; } jundef;
typedef struct jcycler { jval *v; size_t n, at; } jcycler;
typedef struct jjoiner { const jstr *sep; bool used; } jjoiner;

typedef struct { const jstr *name; jval v; } jkw;
typedef struct { jval *pos; size_t n; jkw *kw; size_t n_kw, cap, cap_kw; } jargs;

/* A Python iterator: one pass over its source, made as it is read. */
typedef enum { ITER_SEQ, ITER_MAP, ITER_SELECT, ITER_UNIQUE, ITER_MADE, ITER_FOR } jiter_kind;
typedef struct jiter {
    jiter_kind kind;
    const char *type;               /* what Python calls it */
    jval source;                    /* SEQ: what is walked; otherwise what the generator was made of, and once it has
                                     * begun, an iterator over that */
    size_t at, len;                 /* SEQ: len of a view or list when it began */
    bool back, begun;
    jargs args;                     /* of map, select, and of what is made at once */
    const jstr *name;               /* of the filter or test; NULL: the attribute, or the value itself */
    jval attr, fallback;
    bool reject, by_attr, nocase;
    jlist *seen;
    jval (*make)(struct jctx *j, jval source, const jargs *a);      /* MADE: a list of all */
    const struct jnode *loop;       /* FOR: the items that pass the test of a loop */
    jframe *frame;                  /* FOR: of the test */
} jiter;

typedef struct jfunc { const char *name; int id; } jfunc;
typedef jval jmethod_fn(jctx *j, jval self, const jargs *a);
typedef struct jmethod { jval self; const char *name; jmethod_fn *fn; } jmethod;

typedef struct jmacro { const struct jnode *node; jframe *frame; const jstr *name; } jmacro;
typedef struct jloop {
    jval iter;                      /* an iterator; its source has been asked for its length */
    jval current, before, after, changed;
    bool has_length;
    size_t length, depth0;
    int64_t index0;
    const struct jnode *node;       /* recursive: the loop; else NULL */
    jframe *frame;                  /* around it */
} jloop;

#define J_NOTHING ((jval){ .t = J_MISSING })
#define J_NULL ((jval){ .t = J_NONE })
static inline jval gr_jbool(bool b) { return (jval){ .t = J_BOOL, .b = b }; }
static inline jval gr_jint(int64_t i) { return (jval){ .t = J_INT, .i = i }; }
static inline jval gr_jfloat(double f) { return (jval){ .t = J_FLOAT, .f = f }; }
static inline jval gr_jstrv(const jstr *s) { return (jval){ .t = J_STR, .s = s }; }

/* value.c */
const char *gr_jtype_name(jval v);
bool gr_jtrue(jctx *j, jval v);
bool gr_jequal(jctx *j, jval a, jval b);
int gr_jorder(jctx *j, const char *op, jval a, jval b);     /* <0, 0, >0; 2: not comparable as numbers are (NaN) */
bool gr_jless(jctx *j, const char *op, jval a, jval b);     /* op one of < <= > >= */
bool gr_jin(jctx *j, jval x, jval in);
size_t gr_jlen(jctx *j, jval v);                        /* raises where Python's len() does */
bool gr_jhas_len(jval v);
jval gr_jlist_new(jctx *j, jtype t, size_t cap);
void gr_jpush(jctx *j, jlist *l, jval v);
jval gr_jdict_new(jctx *j);
void gr_jset(jctx *j, jdict *d, jval key, jval val);
bool gr_jget(jctx *j, const jdict *d, jval key, jval *val);
jval gr_jundef(jctx *j, const char *name);              /* 'NAME' is undefined */
jval gr_jundef_hint(jctx *j, const char *hint);
_Noreturn void gr_jundef_raise(jctx *j, jval v);
void gr_jneed(jctx *j, jval v);                         /* raises where v is undefined */
jval gr_jfrom_json(jctx *j, const struct json_t *o, bool given);
jval gr_jpair(jctx *j, jval a, jval b);                 /* a tuple */

/* iter.c */
bool gr_jiterable(jval v);
jval gr_jiter(jctx *j, jval v);                         /* a new iterator over v, or v itself where it is one */
bool gr_jnext(jctx *j, jiter *it, jval *v);
void gr_jbegin_map(jctx *j, jiter *it);                /* filters_seq.c: reads the arguments of a generator */
void gr_jbegin_select(jctx *j, jiter *it);
bool gr_jfor_test(jctx *j, const jiter *it, jval v);    /* exec.c */
jval gr_jto_list(jctx *j, jval v);
void gr_junpack(jctx *j, jval v, size_t n, jval *out);

/* ---- str.c ---- */

struct jbuf { char *p, *mark; size_t n, cap, cap_mark; bool any_given, any_own, safe; jctx *j; };
jbuf *gr_jbuf_new(jctx *j);
void gr_jbuf_bytes(jbuf *b, const char *p, size_t n, bool given);
void gr_jbuf_puts(jbuf *b, const char *s);              /* the template's */
void gr_jbuf_add(jbuf *b, const jstr *s);
void gr_jbuf_sub(jbuf *b, const jstr *s, size_t at, size_t n);
void gr_jbuf_val(jbuf *b, jval v);                      /* str(v) */
void gr_jbuf_repr(jbuf *b, jval v);
void gr_jbuf_char(jbuf *b, int32_t c, bool given);
const jstr *gr_jbuf_str(jbuf *b);
const jstr *gr_jstr(jctx *j, const char *p, size_t n, bool given);      /* borrows */
const jstr *gr_jlit(jctx *j, const char *s);            /* borrows; the template's */
const jstr *gr_jsub(jctx *j, const jstr *s, size_t at, size_t n);
const jstr *gr_jto_str(jctx *j, jval v);                /* Python's str() */
const jstr *gr_jjoin(jctx *j, const jstr *a, const jstr *b);
bool gr_jmark(const jstr *s, size_t i);
size_t gr_jchars(const jstr *s);                        /* code points */
size_t gr_joffset(const jstr *s, size_t chars);         /* bytes before the character of that number */
bool gr_jstr_is(const jstr *s, const char *word);
bool gr_jstr_eq(const jstr *a, const jstr *b);
const jstr *gr_jstrip(jctx *j, const jstr *s, const jstr *chars, bool left, bool right);
const jstr *gr_jescape(jctx *j, jval v);                /* HTML; safe */
const jstr *gr_jreplace(jctx *j, const jstr *s, const jstr *from, const jstr *to, int64_t max);   /* methods.c */
const jstr *gr_jpad(jctx *j, const jstr *s, int64_t width, const jstr *with, int where);
const char *gr_jcstr(jctx *j, const jstr *s);           /* NUL-terminated */
const jstr *gr_jrepr_str(jctx *j, jval v);
const char *gr_jrepr(jctx *j, jval v);                  /* for messages */

/* uni.c */
bool gr_jspace(int32_t c);
size_t gr_jget_char(const char *p, size_t n, int32_t *c);
size_t gr_jput_char(char s[4], int32_t c);
bool gr_jprintable(int32_t c);
typedef enum { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITAL, CASE_SWAP, CASE_FOLD, CASE_TITLE_FILTER } jcase;
const jstr *gr_jcase(jctx *j, const jstr *s, jcase how);
typedef enum { IS_ALPHA, IS_DIGIT, IS_DECIMAL, IS_NUMERIC, IS_ALNUM, IS_SPACE, IS_UPPER, IS_LOWER, IS_TITLE, IS_ASCII,
               IS_PRINTABLE, IS_IDENTIFIER } jclass;
bool gr_jis(const jstr *s, jclass what);

/* number.c */
void gr_jfloat_text(double f, char out[32]);            /* as Python's repr() */
jval gr_jbinary(jctx *j, int op, jval a, jval b);
jval gr_jnegate(jctx *j, jval v, bool plus);
bool gr_jparse_int(const jstr *s, int base, int64_t *out);     /* as Python's int(); false: a ValueError */
bool gr_jparse_float(const jstr *s, double *out);
int64_t gr_jindex(jctx *j, jval v);                     /* an int, or a bool; raises for others */
jval gr_jround(jctx *j, jval v, int64_t digits);

/* format.c */
const jstr *gr_jpercent(jctx *j, const jstr *f, jval args);
const jstr *gr_jformat(jctx *j, const jstr *f, const jargs *a);
/* tojson.c */
const jstr *gr_jtojson(jctx *j, jval v, const jargs *a);
/* attr.c */
jval gr_jgetattr(jctx *j, jval v, const jstr *name);
jval gr_jgetitem(jctx *j, jval v, jval key);
jval gr_jslice(jctx *j, jval v, jval from, jval to, jval step);
/* methods.c: NULL: there is none. *known: Python has one of this name that may not be called, or that is not here */
typedef enum { METHOD_NONE, METHOD_HERE, METHOD_UNSAFE, METHOD_LACKING } jmethod_kind;
jmethod_kind gr_jmethod(jval v, const jstr *name, jmethod_fn **fn, const char **static_name);
/* args.c: binds arguments to `n` parameter names as Python does; out[i] is J_MISSING where one is not given. */
void gr_jbind(jctx *j, const char *fn, const jargs *a, size_t required, size_t n, const char *const *name, jval *out);
void gr_jargs_push(jctx *j, jargs *a, jval v);
void gr_jargs_kw(jctx *j, jargs *a, const jstr *name, jval v);
/* filters.c, tests.c */
typedef jval jfilter_fn(jctx *j, jval v, const jargs *a);
jfilter_fn *gr_jfilter(const jstr *name);
typedef bool jtest_fn(jctx *j, jval v, const jargs *a);
jtest_fn *gr_jtest(const jstr *name);
jval gr_jattr_path(jctx *j, jval v, jval attribute, jval fallback);     /* "a.b.0", as make_attrgetter */
void gr_jsort(jctx *j, jval *v, jval *key, size_t n, bool reverse);
/* globals.c */
bool gr_jglobal(const char *name, jval *v);
jval gr_jcall(jctx *j, jval f, const jargs *a);

/* ---- nodes ---- */

typedef enum {
    N_CONST, N_NAME, N_TUPLE, N_LIST, N_DICT, N_GETATTR, N_GETITEM, N_SLICE, N_CALL, N_KEYWORD, N_FILTER, N_TEST, N_NOT,
    N_NEG, N_POS, N_AND, N_OR, N_BINARY, N_CONCAT, N_COMPARE, N_OPERAND, N_COND, N_NSREF,
    N_OUTPUT, N_SET, N_SETBLOCK, N_FOR, N_IF, N_WITH, N_CALLBLOCK, N_FILTERBLOCK, N_MACRO, N_GENERATION, N_BREAK,
    N_CONTINUE
} jkind;

typedef struct jnodes { struct jnode **v; size_t n, cap; } jnodes;
typedef struct jscope jscope;
typedef struct jnode {
    jkind kind;
    int op, line;                   /* op: of BINARY and OPERAND; NAME and TUPLE: CTX_* */
    bool flag;                      /* FOR: recursive; MACRO: see below */
    bool kwargs, varargs, caller;   /* MACRO, CALLBLOCK, GENERATION: what its body reads */
    struct jnode *a, *b, *c, *d;
    jnodes kid, kid2, kid3;
    const jstr *name;
    jval val;
    size_t deep;                    /* of an expression: nodes below it */
    int up, slot;                   /* NAME: the frame so many out, and the slot in it */
    jscope *scope, *scope2, *scope3;        /* FOR: body, else, test */
} jnode;
enum { CTX_LOAD, CTX_STORE, CTX_PARAM };
enum { OP_ADD = 1, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW,
       OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_NOTIN };

/* What a frame does with a name when it is entered. */
typedef enum { LOAD_NOTHING, LOAD_PARAM, LOAD_RESOLVE, LOAD_ALIAS, LOAD_UNDEF } jload;
typedef struct { const jstr *name; bool ref, stored; jload load; } jsym;
struct jscope { jscope *parent; jsym *sym; size_t n, cap; };
struct jframe { jframe *parent; const jscope *scope; jval *slot; };

struct gr_jinja {
    jctx ctx;                       /* its arena holds everything */
    jnodes body;
    jscope *root;
    jnodes names;                   /* NAME nodes that are resolved in what is given */
    jnodes calls;
};

/* lex.c */
typedef enum { T_EOF, T_DATA, T_VAR_BEGIN, T_VAR_END, T_BLOCK_BEGIN, T_BLOCK_END, T_NAME, T_STRING, T_INT, T_FLOAT,
               T_OP } jtoken_type;
typedef struct { jtoken_type t; int op, line; const jstr *s; jval val; } jtoken;    /* op: its characters, packed */
#define JOP1(a) (a)
#define JOP2(a, b) ((a) << 8 | (b))
typedef struct { jtoken *v; size_t n, cap; } jtokens;
void gr_jlex(jctx *j, const char *text, size_t n, jtokens *out);

/* parse.c, expr.c */
typedef struct {
    jctx *j;
    jtokens tok;
    size_t at;
    int nest, loops;
    size_t soft;                    /* `if` statements around, inside which Jinja looks filters up only when it runs */
    jnodes *calls;
} jparser;
void gr_jparse(jparser *p, jnodes *out);
_Noreturn void gr_jsyntax(jparser *p, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
jnode *gr_jnode(jparser *p, jkind kind, int line);
void gr_jnodes_push(jctx *j, jnodes *l, jnode *n);
jnode *gr_jparse_expr(jparser *p, bool cond);
typedef struct { bool simple, cond, parens, ns; const char *end; } jtuple_how;
jnode *gr_jparse_tuple(jparser *p, jtuple_how how);
jnode *gr_jparse_primary(jparser *p, bool ns);
jnode *gr_jparse_filter(jparser *p, jnode *node, bool inline_start);
static inline const jtoken *gr_jtok(const jparser *p) { return &p->tok.v[p->at]; }
bool gr_jtok_op(const jparser *p, int op);
bool gr_jtok_name(const jparser *p, const char *name);
bool gr_jskip_op(jparser *p, int op);
bool gr_jskip_name(jparser *p, const char *name);
void gr_jexpect_op(jparser *p, int op);
const jtoken *gr_jexpect(jparser *p, jtoken_type t);
const char *gr_jdescribe(jparser *p, const jtoken *t);
void gr_jenter(jparser *p);
static inline void gr_jleave(jparser *p) { p->nest--; }

/* scope.c */
void gr_jbind_names(gr_jinja *t);
/* eval.c, exec.c */
jval gr_jeval(jctx *j, jframe *f, const jnode *n);
void gr_jargs_eval(jctx *j, jframe *f, const jnode *call, jargs *out);
void gr_jassign(jctx *j, jframe *f, const jnode *target, jval v);
jframe *gr_jframe_new(jctx *j, jframe *parent, const jscope *scope);
void gr_jframe_enter(jctx *j, jframe *f);
void gr_jexec_root(jctx *j);
jval gr_jmacro_call(jctx *j, jmacro *m, const jargs *a);
jval gr_jloop_call(jctx *j, jloop *l, jval items);
jval gr_jfilter_apply(jctx *j, const jstr *name, jval v, const jargs *a);
bool gr_jtest_apply(jctx *j, const jstr *name, jval v, const jargs *a);
void gr_jdeeper(jctx *j);
static inline void gr_jshallower(jctx *j) { j->depth--; }

#endif
