/* tojson.c - json.dumps() as transformers gives it to templates: ensure_ascii false, no HTML escapes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include "jinja/jinja_int.h"

typedef struct { jctx *j; jbuf *out; bool ascii, sort; const jstr *indent, *comma, *colon; size_t level; } writer;

static void write_str(writer *w, const jstr *s)
{
    size_t done = 0, len;
    char esc[32];

    gr_jbuf_puts(w->out, "\"");
    for (size_t i = 0; i < s->n; i += len) {
        int32_t c;
        len = gr_jget_char(s->p + i, s->n - i, &c);
        if (c >= 0x20 && c != '"' && c != '\\' && !(w->ascii && c > 0x7e))
            continue;
        if (c == '"' || c == '\\')
            snprintf(esc, sizeof esc, "\\%c", (int)c);
        else if (c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\f')
            snprintf(esc, sizeof esc, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c == '\b' ? 'b'
                                            : 'f');
        else if (c > 0xffff)
            snprintf(esc, sizeof esc, "\\u%04x\\u%04x", 0xd800 + (unsigned)((c - 0x10000) >> 10),
                     0xdc00 + (unsigned)((c - 0x10000) & 0x3ff));
        else if (c == 0x7f)
            continue;                           /* as it is, with ensure_ascii too */
        else
            snprintf(esc, sizeof esc, "\\u%04x", (unsigned)c);
        gr_jbuf_sub(w->out, s, done, i - done);
        gr_jbuf_bytes(w->out, esc, strlen(esc), gr_jmark(s, i));
        done = i + len;
    }
    gr_jbuf_sub(w->out, s, done, s->n - done);
    gr_jbuf_puts(w->out, "\"");
}

static void write_float(writer *w, double f)
{
    char num[32];

    if (isnan(f))
        gr_jbuf_puts(w->out, "NaN");
    else if (isinf(f))
        gr_jbuf_puts(w->out, f > 0 ? "Infinity" : "-Infinity");
    else {
        gr_jfloat_text(f, num);
        gr_jbuf_puts(w->out, num);
    }
}

static void new_line(writer *w)
{
    if (!w->indent)
        return;
    gr_jbuf_puts(w->out, "\n");
    for (size_t i = 0; i < w->level; i++)
        gr_jbuf_add(w->out, w->indent);
}

static void write_key(writer *w, jval key)
{
    if (key.t == J_STR)
        write_str(w, key.s);
    else if (key.t == J_BOOL)
        gr_jbuf_puts(w->out, key.b ? "\"true\"" : "\"false\"");
    else if (key.t == J_NONE)
        gr_jbuf_puts(w->out, "\"null\"");
    else if (key.t == J_INT)
        gr_jbuf_puts(w->out, gr_jprintf(w->j, "\"%" PRId64 "\"", key.i));
    else if (key.t == J_FLOAT) {
        gr_jbuf_puts(w->out, "\"");
        write_float(w, key.f);
        gr_jbuf_puts(w->out, "\"");
    } else {
        gr_jraise(w->j, "keys must be str, int, float, bool or None, not %s", gr_jtype_name(key));
    }
}

static void write_val(writer *w, jval v);

static void write_dict(writer *w, const jdict *d)
{
    jval *key = gr_jalloc(w->j, d->n * sizeof *key), *val = gr_jalloc(w->j, d->n * sizeof *val);

    for (size_t i = 0; i < d->n; i++) {
        key[i] = d->key[i];
        val[i] = gr_jpair(w->j, d->key[i], d->val[i]);
    }
    if (w->sort)
        gr_jsort(w->j, val, key, d->n, false);
    gr_jbuf_puts(w->out, "{");
    w->level++;
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            gr_jbuf_add(w->out, w->comma);
        new_line(w);
        write_key(w, val[i].l->v[0]);
        gr_jbuf_add(w->out, w->colon);
        write_val(w, val[i].l->v[1]);
    }
    w->level--;
    if (d->n)
        new_line(w);
    gr_jbuf_puts(w->out, "}");
}

static void write_list(writer *w, const jlist *l)
{
    gr_jbuf_puts(w->out, "[");
    w->level++;
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            gr_jbuf_add(w->out, w->comma);
        new_line(w);
        write_val(w, l->v[i]);
    }
    w->level--;
    if (l->n)
        new_line(w);
    gr_jbuf_puts(w->out, "]");
}

static void write_val(writer *w, jval v)
{
    gr_jdeeper(w->j);
    switch (v.t) {
    case J_NONE:  gr_jbuf_puts(w->out, "null"); break;
    case J_BOOL:  gr_jbuf_puts(w->out, v.b ? "true" : "false"); break;
    case J_INT:   gr_jbuf_puts(w->out, gr_jprintf(w->j, "%" PRId64, v.i)); break;
    case J_FLOAT: write_float(w, v.f); break;
    case J_STR:   write_str(w, v.s); break;
    case J_LIST:
    case J_TUPLE: write_list(w, v.l); break;
    case J_DICT:  write_dict(w, v.d); break;
    default: gr_jraise(w->j, "Object of type %s is not JSON serializable", gr_jtype_name(v));
    }
    gr_jshallower(w->j);
}

const jstr *gr_jtojson(jctx *j, jval v, const jargs *a)
{
    static const char *const name[] = { "ensure_ascii", "indent", "separators", "sort_keys" };
    jval arg[4], pair[2];
    writer w = { .j = j, .out = gr_jbuf_new(j) };

    gr_jbind(j, "tojson", a, 0, 4, name, arg);
    w.ascii = gr_jtrue(j, arg[0]);
    w.sort = gr_jtrue(j, arg[3]);
    if (arg[1].t == J_STR)
        w.indent = arg[1].s;
    else if (arg[1].t != J_MISSING && arg[1].t != J_NONE)
        w.indent = gr_jpad(j, gr_jlit(j, ""), gr_jindex(j, arg[1]), gr_jlit(j, " "), 1);
    w.comma = gr_jlit(j, w.indent ? "," : ", ");
    w.colon = gr_jlit(j, ": ");
    if (arg[2].t != J_MISSING && arg[2].t != J_NONE) {
        gr_junpack(j, arg[2], 2, pair);
        if (pair[0].t != J_STR || pair[1].t != J_STR)
            gr_jraise(j, "tojson() separators must be two strings");
        w.comma = pair[0].s;
        w.colon = pair[1].s;
    }
    write_val(&w, v);
    return gr_jbuf_str(w.out);
}
