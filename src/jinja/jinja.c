/* jinja.c - the door: a template compiled, and rendered. All errors below arrive here. */
#include <jansson.h>
#include <stdlib.h>
#include "jinja/jinja_int.h"

static void copy_name(gr_jinja *t, const char *name)
{
    t->ctx.name = gr_jcstr(&t->ctx, gr_jlit(&t->ctx, name));
}

static void check_utf8(jctx *j, const char *text, size_t n)
{
    for (size_t i = 0, len; i < n; i += len) {
        int32_t c;
        len = gr_jget_char(text + i, n - i, &c);
        if (len == 1 && (unsigned char)text[i] >= 0x80)
            gr_jfail(j, GRAM_EFORMAT, "%s: not UTF-8: byte 0x%02x at %zu", j->name, (unsigned char)text[i], i);
    }
}

gram_status gr_jinja_compile(gr_jinja **out, const char *name, const char *text, size_t n, gram_err *err)
{
    gr_jinja *t = calloc(1, sizeof *t);
    jparser *p;

    *out = NULL;
    if (!t)
        return gr_nomem(err, "chat template");
    t->ctx = (jctx){ .mem.limit = JLIMIT_MEMORY, .err = err };
    if (setjmp(t->ctx.fail)) {
        gram_status rc = t->ctx.status;
        gr_jinja_close(t);
        return rc;
    }
    copy_name(t, name);
    check_utf8(&t->ctx, text, n);
    p = gr_jalloc(&t->ctx, sizeof *p);
    *p = (jparser){ .j = &t->ctx, .calls = &t->calls };
    gr_jlex(&t->ctx, text, n, &p->tok);
    gr_jparse(p, &t->body);
    gr_jbind_names(t);
    t->ctx.err = NULL;
    *out = t;
    return GRAM_OK;
}

void gr_jinja_close(gr_jinja *t)
{
    if (!t)
        return;
    gr_jarena_clear(&t->ctx.mem);
    free(t);
}

static bool among(const jnodes *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (gr_jstr_is(l->v[i]->name, name))
            return true;
    return false;
}

bool gr_jinja_reads(const gr_jinja *t, const char *variable) { return among(&t->names, variable); }
bool gr_jinja_calls(const gr_jinja *t, const char *function) { return among(&t->calls, function); }

/* ---- Rendering ---------------------------------------------------------------------------------- */

static void give(jctx *j, const json_t *from, bool given)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)from, key, v)
        gr_jset(j, j->given, gr_jstrv(gr_jlit(j, key)), gr_jfrom_json(j, v, given));
}

/* Whether a run of one origin ends before byte i. */
static bool turns(const jstr *s, size_t i) { return i > 0 && gr_jmark(s, i) != gr_jmark(s, i - 1); }

static bool add_runs(gr_jinja_text *out, const jstr *s)
{
    for (size_t i = 1; i <= s->n; i++) {
        gr_jinja_run *grown;
        if (i < s->n && !turns(s, i))
            continue;
        grown = gr_grown(out->run, out->n, &out->cap, 1, sizeof *grown);
        if (!grown)
            return false;
        out->run = grown;
        out->run[out->n++] = (gr_jinja_run){ i, gr_jmark(s, i - 1) };
    }
    return true;
}

static bool add_generation(gr_jinja_text *out, const jctx *j)
{
    gr_jinja_run *grown;

    if (!j->n_gen)
        return true;
    grown = gr_grown(out->generation, out->n_generation, &out->cap_generation, j->n_gen, sizeof *grown);
    if (!grown)
        return false;
    out->generation = grown;
    memcpy(out->generation + out->n_generation, j->gen, j->n_gen * sizeof *grown);
    out->n_generation += j->n_gen;
    return true;
}

static gram_status hand_over(gr_jinja_text *out, const jctx *j)
{
    const jbuf *b = j->top;
    const jstr s = { .p = b->p, .n = b->n, .mark = b->any_given && b->any_own ? b->mark : NULL,
                     .given = b->any_given };

    if (!gr_buf_add(&out->text, b->n ? b->p : "", b->n) || !add_runs(out, &s) || !add_generation(out, j)) {
        gr_jinja_text_clear(out);
        return gr_nomem(j->err, "chat text");
    }
    return GRAM_OK;
}

gram_status gr_jinja_render(const gr_jinja *t, const gr_jinja_vars *vars, gr_jinja_text *out, gram_err *err)
{
    jctx *j = calloc(1, sizeof *j);
    gram_status rc;

    if (!j)
        return gr_nomem(err, "chat template");
    *j = (jctx){ .mem.limit = JLIMIT_MEMORY, .err = err, .name = t->ctx.name, .t = t, .vars = vars };
    if (setjmp(j->fail)) {
        rc = j->status;
    } else {
        j->given = gr_jdict_new(j).d;
        give(j, vars->own, false);
        give(j, vars->given, true);
        j->top = j->out = gr_jbuf_new(j);
        gr_jexec_root(j);
        rc = hand_over(out, j);
    }
    gr_jarena_clear(&j->mem);
    free(j);
    return rc;
}

void gr_jinja_text_clear(gr_jinja_text *t)
{
    gr_buf_clear(&t->text);
    free(t->run);
    free(t->generation);
    *t = (gr_jinja_text){ 0 };
}
