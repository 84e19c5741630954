/* recipe.c - include/gram/recipe.h: libcyaml reads the file into one string a key, or a list of them where a key takes
 * several files, and the table of options says what each must be and where it goes. libcyaml does not tell the lines of
 * keys, so they are looked for in the text. */
#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "base/suggest.h"
#include "gram/recipe.h"
#include "text/chat.h"
#include "train/options.h"

#define RECIPE_MOST ((size_t)1 << 20)

enum { OWN = 4, MOST = 96 };            /* keys that are no options; all keys are fewer than MOST */

/* What a run has besides its options. The stage comes first: it sets the defaults of the others. */
static const gram_option own[OWN] = {
    { .name = "stage", .kind = GRAM_OPTION_CHOICE, .at = offsetof(gram_run, stage),
      .choices = "pretrain|finetune|align" },
    { .name = "model", .kind = GRAM_OPTION_PATH, .at = offsetof(gram_run, model) },
    { .name = "data", .kind = GRAM_OPTION_PATHS, .at = offsetof(gram_run, data),
      .more = offsetof(gram_run, options.more_data) },
    { .name = "out", .kind = GRAM_OPTION_PATH, .at = offsetof(gram_run, out) },
};

static const gram_option *key(size_t i)
{
    return i < OWN ? &own[i] : gram_train_option(i - OWN);
}

/* libcyaml's: one value, or a list. */
struct values { char *v[MOST], **list[MOST]; unsigned n[MOST]; };

struct gram_recipe {
    gram_run run;
    char *path;
    char *text;                 /* of the file */
    char *set[MOST];            /* what was set over it; or what a path became */
    char **more[MOST];          /* of a list, the paths behind the first, and NULL */
    bool given[MOST], over[MOST];       /* over: by `set` */
    char *label_b;
    struct values *file;
    cyaml_schema_field_t field[MOST];
    cyaml_schema_value_t mapping;
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

static void make_fields(gram_recipe *r)
{
    const gram_option *k;

    for (size_t i = 0; (k = key(i)); i++) {
        bool list = k->kind == GRAM_OPTION_PATHS && is_list(r->text, k->name);
        cyaml_schema_field_t *f = &r->field[i];
        f->key = k->name;
        f->value.flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL;
        if (list) {
            f->data_offset = (uint32_t)(offsetof(struct values, list) + i * sizeof(char **));
            f->count_offset = (uint32_t)(offsetof(struct values, n) + i * sizeof(unsigned));
            f->count_size = sizeof(unsigned);
            f->value.type = CYAML_SEQUENCE;
            f->value.data_size = sizeof(char *);
            f->value.sequence.entry = &text_entry;
            f->value.sequence.min = 1;
            f->value.sequence.max = CYAML_UNLIMITED;
        } else {
            f->data_offset = (uint32_t)(i * sizeof(char *));
            f->value.type = CYAML_STRING;
            f->value.data_size = sizeof(char);
            f->value.string.max = CYAML_UNLIMITED;
        }
    }
    r->mapping = (cyaml_schema_value_t){ .type = CYAML_MAPPING, .flags = CYAML_FLAG_POINTER,
                                         .data_size = sizeof(struct values), .mapping.fields = r->field };
}

/* "run.yaml:3", or "set lr=x". */
static void place(const gram_recipe *r, size_t i, char out[512])
{
    if (r->over[i])
        snprintf(out, 512, "set %s=%.200s", key(i)->name, r->set[i]);
    else
        snprintf(out, 512, "%.400s:%zu", r->path, line_of(r->text, key(i)->name));
}

static gram_status unknown_key(const char *where, const char *name, gram_err *err)
{
    gr_near n = { .typed = name };

    for (size_t i = 0; key(i); i++)
        gr_near_try(&n, key(i)->name);
    if (gr_near_best(&n))
        return gr_fail(err, GRAM_EARG, "%s: there is no key \"%s\"; did you mean \"%s\"?", where, name,
                       gr_near_best(&n));
    return gr_fail(err, GRAM_EARG, "%s: there is no key \"%s\"", where, name);
}

/* libcyaml's words become a sentence with a line. */
static gram_status not_loaded(const gram_recipe *r, cyaml_err_t e, const struct said *s, gram_err *err)
{
    static const char unexpected[] = "Unexpected key: ", seen[] = "Mapping field already seen: ";
    const char *name = s->what + strlen(unexpected);
    char where[512];

    if (e == CYAML_ERR_OOM)
        return gr_nomem(err, r->path);
    if (!strncmp(s->what, unexpected, strlen(unexpected))) {
        snprintf(where, sizeof where, "%.400s:%zu", r->path, line_of(r->text, name));
        return unknown_key(where, name, err);
    }
    if (!strncmp(s->what, seen, strlen(seen)))
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%s\" is there twice", r->path, s->what + strlen(seen));
    if (!*s->where)
        return gr_fail(err, GRAM_EFORMAT, "%s: wanted YAML, a key with a value on each line: %s", r->path,
                       *s->what ? s->what : cyaml_strerror(e));
    return gr_fail(err, GRAM_EFORMAT, "%s: at or after line %s: wanted a key with a single value on each line: %s",
                   r->path, s->where, *s->what ? s->what : cyaml_strerror(e));
}

static gram_status load(gram_recipe *r, size_t n, gram_err *err)
{
    struct said said = { "", "" };
    cyaml_config_t c = quiet;
    cyaml_err_t e;

    c.log_fn = hear;
    c.log_ctx = &said;
    if (strlen(r->text) != n)
        return gr_fail(err, GRAM_EFORMAT, "%s: a NUL byte at %zu: wanted text", r->path, strlen(r->text));
    make_fields(r);
    e = cyaml_load_data((const uint8_t *)r->text, n, &c, &r->mapping, (cyaml_data_t **)&r->file, NULL);
    return e ? not_loaded(r, e, &said, err) : GRAM_OK;
}

/* ---- Values --------------------------------------------------------------------------------------- */

static gram_status wrong(const gram_recipe *r, size_t i, const char *why, gram_err *err)
{
    char where[512];

    place(r, i, where);
    return gr_fail(err, GRAM_EARG, "%s: key \"%s\": %s", where, key(i)->name, why);
}

/* A path as the working directory sees it: of the file's own, beside the file. */
static gram_status settle(const gram_recipe *r, const char *v, char **out, gram_err *err)
{
    const char *slash = strrchr(r->path, '/');
    gr_buf b = { 0 };
    bool ok = true;

    if (*v != '/' && slash)
        ok = gr_buf_add(&b, r->path, (size_t)(slash - r->path) + 1);
    if (!ok || !gr_buf_puts(&b, v)) {
        gr_buf_clear(&b);
        return gr_nomem(err, r->path);
    }
    *out = b.p;
    return GRAM_OK;
}

static gram_status settle_path(gram_recipe *r, size_t i, const char *v, gram_err *err)
{
    return r->set[i] ? GRAM_OK : settle(r, v, &r->set[i], err);
}

/* The paths of a list behind its first. */
static gram_status settle_more(gram_recipe *r, size_t i, gram_err *err)
{
    size_t n = r->file->n[i];
    gram_status rc = GRAM_OK;

    r->more[i] = gr_calloc(n, sizeof *r->more[i]);
    if (!r->more[i])
        return gr_nomem(err, r->path);
    for (size_t k = 1; k < n && !rc; k++)
        rc = settle(r, r->file->list[i][k], &r->more[i][k - 1], err);
    *(const char *const **)((char *)&r->run + key(i)->more + (i < OWN ? 0 : offsetof(gram_run, options))) =
        (const char *const *)r->more[i];
    return rc;
}

static gram_status read_text(gram_recipe *r, size_t i, gram_err *err)
{
    char *text;
    size_t n;
    gram_err why;
    gram_status rc = gr_read_file(r->set[i], RECIPE_MOST, &text, &n, err);

    if (rc)
        return rc;
    free(r->set[i]);
    r->set[i] = text;
    if (n == 0 || strlen(text) != n)
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%s\": its file is empty or holds a NUL byte", r->path,
                       key(i)->name);
    rc = gram_check_judge_prompt(text, &why);       /* the only text of its kind */
    return rc ? gr_fail(err, rc, "%s: key \"%s\": %s", r->path, key(i)->name, why.text) : GRAM_OK;
}

static gram_status wrong_value(const gram_recipe *r, size_t i, const char *v, gram_err *err)
{
    char wanted[96], why[512];

    gr_option_wanted(key(i), wanted);
    snprintf(why, sizeof why, "wanted %s%s, found \"%.200s\"", key(i)->choices ? "one of " : "", wanted, v);
    return wrong(r, i, why, err);
}

static gram_status take_stage(gram_recipe *r, const char *v, gram_err *err)
{
    if (strcmp(v, "pretrain") && strcmp(v, "finetune") && strcmp(v, "align"))
        return wrong_value(r, 0, v, err);
    r->run.stage = *v == 'p' ? GRAM_STAGE_PRETRAIN : *v == 'f' ? GRAM_STAGE_FINETUNE : GRAM_STAGE_ALIGN;
    return GRAM_OK;
}

static gram_status split_labels(gram_recipe *r, size_t i, const char *v, gram_err *err)
{
    const char *comma = strchr(v, ',');
    gram_options *o = &r->run.options.model;
    char *a;

    if (!comma || comma == v || !comma[1] || strchr(comma + 1, ','))
        return wrong_value(r, i, v, err);
    r->label_b = gr_strdup(comma + 1);
    a = gr_strndup(v, (size_t)(comma - v));
    if (!a || !r->label_b) {
        free(a);
        return gr_nomem(err, r->path);
    }
    free(r->set[i]);
    r->set[i] = a;
    o->label_a = a;
    o->label_b = r->label_b;
    return GRAM_OK;
}

static gram_status take(gram_recipe *r, size_t i, const char *v, gram_err *err)
{
    const gram_option *k = key(i);
    const char **to = (void *)((char *)&r->run + k->at + (i < OWN ? 0 : offsetof(gram_run, options)));
    gram_err why;
    gram_status rc = GRAM_OK;

    r->given[i] = true;
    if (i == 0)
        return take_stage(r, v, err);
    switch (k->kind) {
    case GRAM_OPTION_TEMPLATE:
        if (gr_chat_parse(v))
            return gr_option_take(k, &r->run.options, v, &why) ? wrong(r, i, why.text, err) : GRAM_OK;
        /* fall through */
    case GRAM_OPTION_PATH: case GRAM_OPTION_PATHS: case GRAM_OPTION_TEXT:
        rc = settle_path(r, i, v, err);
        if (!rc && k->kind == GRAM_OPTION_TEXT)
            rc = read_text(r, i, err);
        *to = rc ? NULL : r->set[i];
        return rc;
    case GRAM_OPTION_LABELS:
        return split_labels(r, i, v, err);
    default:
        return gr_option_take(k, &r->run.options, v, &why) ? wrong(r, i, why.text, err) : GRAM_OK;
    }
}

/* YAML's ways to say nothing. */
static bool is_null(const char *v)
{
    return !*v || !strcmp(v, "~") || !strcmp(v, "null");
}

static gram_status take_key(gram_recipe *r, size_t i, gram_err *err)
{
    const char *v = r->set[i] ? r->set[i] : r->file ? r->file->v[i] : NULL;
    bool list = !r->set[i] && r->file && r->file->n[i] > 0;
    gram_status rc = GRAM_OK;

    if (list)
        v = r->file->list[i][0];
    if (v && !is_null(v))
        rc = take(r, i, v, err);
    return rc || !list ? rc : settle_more(r, i, err);
}

/* What another stage, another loss or another option would have a use for is not passed over. */
static gram_status check_used(const gram_recipe *r, gram_err *err)
{
    gram_err why;

    for (size_t i = OWN; key(i); i++)
        if (r->given[i] && gr_option_used(key(i), r->run.stage, &r->run.options, &why))
            return wrong(r, i, why.text, err);
    return GRAM_OK;
}

static gram_status take_all(gram_recipe *r, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; key(i) && !rc; i++) {
        rc = take_key(r, i, err);
        if (i == 0)
            gram_train_options_init(&r->run.options, r->run.stage);
    }
    return rc ? rc : check_used(r, err);
}

/* "key=value" */
static gram_status set_one(gram_recipe *r, const char *text, gram_err *err)
{
    const char *equals = strchr(text, '=');
    char where[512], name[64];
    size_t i = 0;

    if (!equals)
        return gr_fail(err, GRAM_EARG, "set %s: wanted KEY=VALUE", text);
    snprintf(name, sizeof name, "%.*s", (int)gr_min((size_t)(equals - text), sizeof name - 1), text);
    while (key(i) && strcmp(key(i)->name, name))
        i++;
    if (!key(i)) {
        snprintf(where, sizeof where, "set %.400s", text);
        return unknown_key(where, name, err);
    }
    free(r->set[i]);                            /* of two, the last */
    r->over[i] = true;
    r->set[i] = gr_strdup(equals + 1);
    return r->set[i] ? GRAM_OK : gr_nomem(err, r->path);
}

gram_status gram_recipe_open(gram_recipe **out, const char *path, const char *const *set, size_t n, gram_err *err)
{
    gram_recipe *r = gr_calloc(1, sizeof *r);
    size_t bytes;
    gram_status rc;

    *out = NULL;
    if (!r)
        return gr_nomem(err, path);
    r->run.stage = GRAM_STAGE_FINETUNE;
    r->path = gr_strdup(path);
    rc = r->path ? gr_read_file(path, RECIPE_MOST, &r->text, &bytes, err) : gr_nomem(err, path);
    if (!rc)
        rc = load(r, bytes, err);
    for (size_t i = 0; i < n && !rc; i++)
        rc = set_one(r, set[i], err);
    if (!rc)
        rc = take_all(r, err);
    if (rc) {
        gram_recipe_close(r);
        return rc;
    }
    *out = r;
    return GRAM_OK;
}

const gram_run *gram_recipe_run(const gram_recipe *r)
{
    return &r->run;
}

void gram_recipe_close(gram_recipe *r)
{
    if (!r)
        return;
    for (size_t i = 0; key(i); i++) {
        free(r->set[i]);
        for (char **p = r->more[i]; p && *p; p++)
            free(*p);
        free(r->more[i]);
    }
    if (r->file)
        cyaml_free(&quiet, &r->mapping, r->file, 0);
    free(r->label_b);
    free(r->path);
    free(r->text);
    free(r);
}

static char wanted_text[MOST][96];
static pthread_once_t wanted_once = PTHREAD_ONCE_INIT;

static void write_wanted(void)
{
    for (size_t i = 0; key(i); i++)
        gr_option_wanted(key(i), wanted_text[i]);
}

const char *gram_recipe_key(size_t i, const char **wanted)
{
    const gram_option *k = key(i);

    pthread_once(&wanted_once, write_wanted);
    if (k && wanted)
        *wanted = wanted_text[i];
    return k ? k->name : NULL;
}
