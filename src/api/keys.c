/* keys.c - see keys.h: libcyaml reads the file into one string a key, or a list of them. It does not tell the lines of
 * keys, so they are looked for in the text. */
#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/keys.h"
#include "base/err.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "rationale/format.h"
#include "text/chat.h"
#include "train/options.h"

#define RECIPE_MOST ((size_t)1 << 20)

/* libcyaml's: one value, or a list. */
typedef struct { char *v, **list; unsigned n; } value;

struct gr_keys {
    const gr_key *key;
    size_t n;
    char *path, *text;          /* of the file */
    char **set;                 /* [n] what was set over it, or NULL */
    value *file;                /* [n] libcyaml's */
    cyaml_schema_field_t *field;
    cyaml_schema_value_t mapping;
    void **kept;                /* strings, and lists of them, that the options point to */
    size_t n_kept, cap;
};

/* ---- libcyaml ------------------------------------------------------------------------------------- */

/* The first message says what is wrong, a later one which mapping it was in. */
struct said { char what[256], where[64]; };

static void hear(cyaml_log_t level, void *arg, const char *fmt, va_list args)
{
    struct said *s = arg;
    char text[256], *line;

    vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\n")] = '\0';
    line = strstr(text, "(line: ");
    if (line && !*s->where)
        snprintf(s->where, sizeof s->where, "%.*s", (int)strspn(line + 7, "0123456789"), line + 7);
    if (level == CYAML_LOG_ERROR && !line && !*s->what && !strstr(text, "Backtrace"))
        snprintf(s->what, sizeof s->what, "%s", !strncmp(text, "Load: ", 6) ? text + 6 : text);
}

static const cyaml_config_t quiet = { .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR, .flags = CYAML_CFG_NO_ALIAS };

static const cyaml_schema_value_t text_entry = {
    .type = CYAML_STRING, .flags = CYAML_FLAG_POINTER, .data_size = sizeof(char), .string.max = CYAML_UNLIMITED,
};

/* ---- Where a key stands --------------------------------------------------------------------------- */

/* What follows a key's colon: the first place where it stands before one, in quotes or not. NULL: not found. */
static const char *find_key(const char *text, const char *name, size_t *line)
{
    size_t n = strlen(name);

    *line = 1;
    for (const char *p = text; *p; p++) {
        bool begins = p == text || strchr("\n \t{,'\"", p[-1]);
        const char *end = p + n;
        if (begins && !strncmp(p, name, n)) {
            end += *end == '\'' || *end == '"';
            end += strspn(end, " \t");
            if (*end == ':')
                return end + 1;
        }
        *line += *p == '\n';
        if (*p == '#' && begins && p[1])
            p += strcspn(p + 1, "\n");
    }
    *line = 0;
    return NULL;
}

static size_t line_of(const char *text, const char *name)
{
    size_t line;

    find_key(text, name, &line);
    return line;
}

/* Whether the key's value is a list, "[a, b]" or lines that begin with a dash. A wrong guess is an error of libcyaml's,
 * never another value. */
static bool is_list(const char *text, const char *name)
{
    size_t line;
    const char *p = find_key(text, name, &line);

    if (!p)
        return false;
    p += strspn(p, " \t");
    if (*p == '[')
        return true;
    if (*p != '\n' && *p != '#')
        return false;
    while (*p == '#' || *p == '\n' || *p == ' ' || *p == '\t')
        p += *p == '#' ? strcspn(p, "\n") : 1;
    return p[0] == '-' && (p[1] == ' ' || p[1] == '\t');
}

/* The line where a second document begins, of which no key would be read, or 0. */
static size_t second_document(const char *text)
{
    size_t line = 1;
    bool any = false;

    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n', line++) {
        if (any && !strncmp(p, "---", 3) && strchr(" \t\n", p[3]))
            return line;
        any = any || !strchr("#%\n", p[strspn(p, " \t")]);
    }
    return 0;
}

static gram_status make_fields(gr_keys *k, gram_err *err)
{
    k->field = gr_calloc(k->n + 1, sizeof *k->field);       /* the last one ends the list */
    if (!k->field)
        return gr_nomem(err, k->path);
    for (size_t i = 0; i < k->n; i++) {
        cyaml_schema_field_t *f = &k->field[i];
        f->key = k->key[i].name;
        f->value.flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL;
        if (k->key[i].option->kind == GRAM_OPTION_PATHS && is_list(k->text, f->key)) {
            f->data_offset = (uint32_t)(i * sizeof(value) + offsetof(value, list));
            f->count_offset = (uint32_t)(i * sizeof(value) + offsetof(value, n));
            f->count_size = sizeof(unsigned);
            f->value.type = CYAML_SEQUENCE;
            f->value.data_size = sizeof(char *);
            f->value.sequence.entry = &text_entry;
            f->value.sequence.min = 1;
            f->value.sequence.max = CYAML_UNLIMITED;
        } else {
            f->data_offset = (uint32_t)(i * sizeof(value));
            f->value.type = CYAML_STRING;
            f->value.data_size = sizeof(char);
            f->value.string.max = CYAML_UNLIMITED;
        }
    }
    k->mapping = (cyaml_schema_value_t){ .type = CYAML_MAPPING, .flags = CYAML_FLAG_POINTER,
                                         .data_size = (uint32_t)(k->n * sizeof(value)), .mapping.fields = k->field };
    return GRAM_OK;
}

/* "run.yaml:3", or "set lr=x". */
static void place(const gr_keys *k, size_t i, char out[512])
{
    if (k->set[i])
        snprintf(out, 512, "set %s=%.200s", k->key[i].name, k->set[i]);
    else
        snprintf(out, 512, "%.400s:%zu", k->path, line_of(k->text, k->key[i].name));
}

static gram_status unknown_key(const gr_keys *k, const char *where, const char *name, gram_err *err)
{
    gr_near near = { .typed = name };

    for (size_t i = 0; i < k->n; i++)
        gr_near_try(&near, k->key[i].name);
    if (gr_near_best(&near))
        return gr_fail(err, GRAM_EARG, "%s: there is no key \"%s\"; did you mean \"%s\"?", where, name,
                       gr_near_best(&near));
    return gr_fail(err, GRAM_EARG, "%s: there is no key \"%s\"", where, name);
}

/* libcyaml's words become a sentence with a line. */
static gram_status not_loaded(const gr_keys *k, cyaml_err_t e, const struct said *s, gram_err *err)
{
    static const char unexpected[] = "Unexpected key: ", seen[] = "Mapping field already seen: ";
    const char *name = s->what + strlen(unexpected);
    char where[512];

    if (e == CYAML_ERR_OOM)
        return gr_nomem(err, k->path);
    if (!strncmp(s->what, unexpected, strlen(unexpected))) {
        snprintf(where, sizeof where, "%.400s:%zu", k->path, line_of(k->text, name));
        return unknown_key(k, where, name, err);
    }
    if (!strncmp(s->what, seen, strlen(seen)))
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%s\" is there twice", k->path, s->what + strlen(seen));
    if (!*s->where)
        return gr_fail(err, GRAM_EFORMAT, "%s: wanted YAML, a key with a value on each line: %s", k->path,
                       *s->what ? s->what : cyaml_strerror(e));
    return gr_fail(err, GRAM_EFORMAT, "%s: at or after line %s: wanted a key with a single value on each line: %s",
                   k->path, s->where, *s->what ? s->what : cyaml_strerror(e));
}

static gram_status load(gr_keys *k, size_t n, gram_err *err)
{
    struct said said = { "", "" };
    cyaml_config_t c = quiet;
    cyaml_err_t e;
    size_t second;
    gram_status rc;

    c.log_fn = hear;
    c.log_ctx = &said;
    if (strlen(k->text) != n)
        return gr_fail(err, GRAM_EFORMAT, "%s: a NUL byte at %zu: wanted text", k->path, strlen(k->text));
    second = second_document(k->text);
    if (second)
        return gr_fail(err, GRAM_EFORMAT, "%s:%zu: a second document begins: wanted one", k->path, second);
    rc = make_fields(k, err);
    if (rc)
        return rc;
    e = cyaml_load_data((const uint8_t *)k->text, n, &c, &k->mapping, (cyaml_data_t **)&k->file, NULL);
    return e ? not_loaded(k, e, &said, err) : GRAM_OK;
}

/* ---- What is said --------------------------------------------------------------------------------- */

/* YAML's ways to say nothing. */
static bool is_null(const char *v)
{
    return !*v || !strcmp(v, "~") || !strcmp(v, "null");
}

const char *gr_keys_value(const gr_keys *k, size_t i)
{
    const value *v = k->file ? &k->file[i] : NULL;
    const char *text = k->set[i] ? k->set[i] : !v ? NULL : v->n ? v->list[0] : v->v;

    return text && !is_null(text) ? text : NULL;
}

bool gr_keys_is_set(const gr_keys *k, size_t i)
{
    return k->set[i] != NULL;
}

gram_status gr_keys_wrong(const gr_keys *k, size_t i, const char *why, gram_err *err)
{
    char where[512];

    place(k, i, where);
    return gr_fail(err, GRAM_EARG, "%s: key \"%s\": %s", where, k->key[i].name, why);
}

gram_status gr_keys_wrong_value(const gr_keys *k, size_t i, gram_err *err)
{
    const gram_option *o = k->key[i].option;
    char wanted[GR_WANTED], why[512];

    gr_option_wanted(o, wanted);
    snprintf(why, sizeof why, "wanted %s%s, found \"%.200s\"", o->choices ? "one of " : "", wanted,
             gr_keys_value(k, i));
    return gr_keys_wrong(k, i, why, err);
}

/* Takes p over; NULL: memory ran out. */
static gram_status keep(gr_keys *k, void *p, gram_err *err)
{
    void **grown = p ? gr_grown(k->kept, k->n_kept, &k->cap, 1, sizeof *k->kept) : NULL;

    if (!grown) {
        free(p);
        return gr_nomem(err, k->path);
    }
    k->kept = grown;
    k->kept[k->n_kept++] = p;
    return GRAM_OK;
}

/* A path as the working directory sees it: of the file's own, beside the file. */
static gram_status settle(gr_keys *k, size_t i, const char *v, const char **out, gram_err *err)
{
    const char *slash = strrchr(k->path, '/');
    gr_buf b = { 0 };
    bool ok = true;
    gram_status rc;

    if (*v != '/' && slash && !k->set[i])
        ok = gr_buf_add(&b, k->path, (size_t)(slash - k->path) + 1);
    if (!ok || !gr_buf_puts(&b, v)) {
        gr_buf_clear(&b);
        return gr_nomem(err, k->path);
    }
    rc = keep(k, b.p, err);
    *out = rc ? NULL : b.p;
    return rc;
}

/* The paths of a list behind its first. */
static gram_status settle_more(gr_keys *k, size_t i, void *base, gram_err *err)
{
    const value *v = &k->file[i];
    const char **more = gr_calloc(v->n, sizeof *more);
    gram_status rc = keep(k, more, err);

    for (size_t j = 1; j < v->n && !rc; j++)
        rc = settle(k, i, v->list[j], &more[j - 1], err);
    if (!rc)
        *(const char *const **)((char *)base + k->key[i].option->more) = more;
    return rc;
}

/* The only texts of their kind are judge prompts. */
static gram_status read_text(gr_keys *k, size_t i, const char **out, gram_err *err)
{
    char *text;
    gram_err why = { 0 };
    gram_status rc = gram_read_judge_prompt(&text, *out, false, &why);

    if (rc)
        return gr_fail(err, rc, "%s: key \"%s\": %s", k->path, k->key[i].name, why.text);
    rc = keep(k, text, err);
    *out = rc ? NULL : text;
    return rc;
}

/* label_b stands behind label_a. */
static gram_status split_labels(gr_keys *k, size_t i, const char *v, const char **to, gram_err *err)
{
    const char *comma = strchr(v, ',');
    gram_status rc;

    if (!comma || comma == v || !comma[1] || strchr(comma + 1, ','))
        return gr_keys_wrong_value(k, i, err);
    rc = keep(k, gr_strndup(v, (size_t)(comma - v)), err);
    if (!rc)
        to[0] = k->kept[k->n_kept - 1];
    if (!rc)
        rc = keep(k, gr_strdup(comma + 1), err);
    if (!rc)
        to[1] = k->kept[k->n_kept - 1];
    return rc;
}

static bool is_format(const gram_option *o)
{
    return !strcmp(o->name, "rationale-format") || !strcmp(o->name, "eval-judge-format");
}

static gram_status take(gr_keys *k, size_t i, const char *v, void *base, gram_err *err)
{
    const gram_option *o = k->key[i].option;
    const char **to = (void *)((char *)base + o->at);
    gram_err why;
    gram_status rc;

    switch (o->kind) {
    case GRAM_OPTION_TEMPLATE:
        if (gr_chat_parse(v))
            return gr_option_take(o, base, v, &why) ? gr_keys_wrong(k, i, why.text, err) : GRAM_OK;
        /* fall through */
    case GRAM_OPTION_PATH: case GRAM_OPTION_PATHS: case GRAM_OPTION_TEXT:
        rc = settle(k, i, v, to, err);
        return !rc && o->kind == GRAM_OPTION_TEXT ? read_text(k, i, to, err) : rc;
    case GRAM_OPTION_LABELS:
        return split_labels(k, i, v, to, err);
    default:
        if (is_format(o) && gr_format_is_path(v))
            return settle(k, i, v, to, err);
        return gr_option_take(o, base, v, &why) ? gr_keys_wrong(k, i, why.text, err) : GRAM_OK;
    }
}

/* A text of no letters, in quotes or in a list, is a value that nothing can be; what is left out says nothing. */
static bool is_blank(const gr_keys *k, size_t i)
{
    const value *v = !k->set[i] && k->file ? &k->file[i] : NULL;
    const char *p = v && v->v && !*v->v ? find_key(k->text, k->key[i].name, &(size_t){ 0 }) : NULL;

    for (unsigned j = 0; v && j < v->n; j++)
        if (is_null(v->list[j]))
            return true;
    p = p ? p + strspn(p, " \t") : "";
    return *p == '\'' || *p == '"';
}

gram_status gr_keys_take(gr_keys *k, size_t i, void *base, gram_err *err)
{
    const char *v = gr_keys_value(k, i);
    gram_status rc = is_blank(k, i) ? gr_keys_wrong(k, i, "wanted a value, found an empty one", err)
                   : v ? take(k, i, v, base, err) : GRAM_OK;

    return rc || k->set[i] || !k->file || !k->file[i].n ? rc : settle_more(k, i, base, err);
}

/* ---- Opening -------------------------------------------------------------------------------------- */

/* "key=value" */
static gram_status set_one(gr_keys *k, const char *text, gram_err *err)
{
    const char *equals = strchr(text, '=');
    char where[512], name[64];
    size_t i = 0;

    if (!equals || !equals[1])                  /* a variable of a shell that is not set, seldom the default */
        return gr_fail(err, GRAM_EARG, "set %s: wanted KEY=VALUE", text);
    snprintf(name, sizeof name, "%.*s", (int)gr_min((size_t)(equals - text), sizeof name - 1), text);
    while (i < k->n && strcmp(k->key[i].name, name))
        i++;
    if (i == k->n) {
        snprintf(where, sizeof where, "set %.400s", text);
        return unknown_key(k, where, name, err);
    }
    free(k->set[i]);                            /* of two, the last */
    k->set[i] = gr_strdup(equals + 1);
    return k->set[i] ? GRAM_OK : gr_nomem(err, k->path);
}

gram_status gr_keys_open(gr_keys **out, const char *path, const gr_key *key, size_t n, const char *const *set,
                         size_t n_set, gram_err *err)
{
    gr_keys *k = gr_calloc(1, sizeof *k);
    size_t bytes = 0;
    gram_status rc;

    *out = NULL;
    if (!k)
        return gr_nomem(err, path);
    k->key = key;
    k->n = n;
    k->path = gr_strdup(path);
    k->set = gr_calloc(n, sizeof *k->set);
    rc = k->path && k->set ? gr_read_file(path, RECIPE_MOST, &k->text, &bytes, err) : gr_nomem(err, path);
    gr_utf8_unmark(k->text, &bytes);
    if (!rc)
        rc = load(k, bytes, err);
    for (size_t i = 0; i < n_set && !rc; i++)
        rc = set_one(k, set[i], err);
    if (rc)
        gr_keys_close(k);
    else
        *out = k;
    return rc;
}

void gr_keys_close(gr_keys *k)
{
    if (!k)
        return;
    for (size_t i = 0; k->set && i < k->n; i++)
        free(k->set[i]);
    for (size_t i = 0; i < k->n_kept; i++)
        free(k->kept[i]);
    if (k->file)
        cyaml_free(&quiet, &k->mapping, k->file, 0);
    free(k->kept);
    free(k->field);
    free(k->set);
    free(k->path);
    free(k->text);
    free(k);
}
