/* args.c - arguments of a call, bound to parameters as Python binds them. */
#include "jinja/jinja_int.h"

void gr_jargs_push(jctx *j, jargs *a, jval v)
{
    gr_jstep(j, 1);
    a->pos = gr_jgrow(j, a->pos, a->n, &a->cap, 1, sizeof *a->pos);
    a->pos[a->n++] = v;
}

void gr_jargs_kw(jctx *j, jargs *a, const jstr *name, jval v)
{
    for (size_t i = 0; i < a->n_kw; i++)
        if (gr_jstr_eq(a->kw[i].name, name))
            gr_jraise(j, "got multiple values for keyword argument '%s'", gr_jcstr(j, name));
    a->kw = gr_jgrow(j, a->kw, a->n_kw, &a->cap_kw, 1, sizeof *a->kw);
    a->kw[a->n_kw++] = (jkw){ name, v };
}

void gr_jbind(jctx *j, const char *fn, const jargs *a, size_t required, size_t n, const char *const *name, jval *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = i < a->n ? a->pos[i] : J_NOTHING;
    if (a->n > n)
        gr_jraise(j, "%s() takes %s %zu argument%s (%zu given)", fn, required < n ? "at most" : "exactly", n,
                  n == 1 ? "" : "s", a->n);
    for (size_t k = 0; k < a->n_kw; k++) {
        size_t i = 0;
        while (i < n && !gr_jstr_is(a->kw[k].name, name[i]))
            i++;
        if (i == n)
            gr_jraise(j, "%s() got an unexpected keyword argument '%s'", fn, gr_jcstr(j, a->kw[k].name));
        if (out[i].t != J_MISSING)
            gr_jraise(j, "%s() got multiple values for argument '%s'", fn, name[i]);
        out[i] = a->kw[k].v;
    }
    for (size_t i = 0; i < required; i++)
        if (out[i].t == J_MISSING)
            gr_jraise(j, "%s() missing 1 required positional argument: '%s'", fn, name[i]);
}
