/* jinja.h - run a chat template as transformers runs it.
 *
 * A template is a program in Jinja 2, written by strangers. It is compiled once, and rendered for each conversation
 * with what Jinja calls an ImmutableSandboxedEnvironment: trim_blocks and lstrip_blocks are on, a last line end is
 * taken away, nothing can be changed but a namespace, and break, continue, {% generation %}, raise_exception(),
 * strftime_now() and transformers' own tojson are there. The text is equal, byte for byte, to what Python's Jinja 2 and
 * transformers make of it; what Jinja has and this has not is refused by its name when the template is compiled
 * (docs/templates.md).
 *
 * Each byte of the text is known by where it came from: from the template, or from the conversation. A tokenizer can so
 * find special tokens where the template writes them and nowhere else.
 *
 * A template cannot hang or swell: steps, depth, memory and output are limited, and each limit ends in a sentence. */
#ifndef GR_JINJA_JINJA_H
#define GR_JINJA_JINJA_H

#include <stdbool.h>
#include "base/mem.h"

struct json_t;
typedef struct gr_jinja gr_jinja;

/* name: what errors call the template. The text is copied. */
gram_status gr_jinja_compile(gr_jinja **out, const char *name, const char *text, size_t n, gram_err *err);
void gr_jinja_close(gr_jinja *t);                       /* NULL is fine */
/* Whether the template looks this name up in what it is given, and whether it calls this one ("strftime_now"). */
bool gr_jinja_reads(const gr_jinja *t, const char *variable);
bool gr_jinja_calls(const gr_jinja *t, const char *function);

/* What a template is given: both are objects, and NULL is an empty one. */
typedef struct {
    const struct json_t *given;     /* messages, tools, ...: their strings come from the conversation */
    const struct json_t *own;       /* bos_token, ...: these belong to the template */
    double now;                     /* seconds since 1970 that strftime_now() reads */
    bool utc;                       /* `now` is shown in UTC; otherwise in local time */
} gr_jinja_vars;

/* A run of bytes of one origin, up to `end`. */
typedef struct { size_t end; bool given; } gr_jinja_run;
typedef struct {
    gr_buf text;
    gr_jinja_run *run;              /* in order; together they cover the text */
    size_t n, cap;
    gr_jinja_run *generation;       /* `end` of what {% generation %} blocks wrote, begun (given) and ended in turn */
    size_t n_generation, cap_generation;
} gr_jinja_text;

/* Adds nothing to *out where it fails. GRAM_EARG: the template raised an exception, or what would be one in Python, and
 * err->text is its message alone, as Python prints it. */
gram_status gr_jinja_render(const gr_jinja *t, const gr_jinja_vars *vars, gr_jinja_text *out, gram_err *err);
void gr_jinja_text_clear(gr_jinja_text *t);

#endif
