/* recipe.c - include/gram/recipe.h: libcyaml reads the file into one string a key, and the table below says what each
 * must be and where it goes. libcyaml does not tell the lines of keys, so they are looked for in the text. */
#include <cyaml/cyaml.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "base/near.h"
#include "gram/recipe.h"

#define RECIPE_MOST ((size_t)1 << 20)

enum kind { WORD, PATH, TEXT_FILE, REAL, SIZE, WIDE, INT, FLAG, CHOICE, LOSS, LABELS };
#define RUN(field)    offsetof(gram_run, field)
#define OPTION(field) offsetof(gram_run, options.field)

/* Choices are in the order of their enums. The stage and the loss come first: they set the defaults of the others. */
static const struct { const char *name; enum kind kind; size_t at; const char *choices; } key[] = {
    { "stage",        CHOICE,    RUN(stage), "pretrain|finetune" },
    { "loss",         LOSS,      OPTION(loss), "gram|generative|bt|bt-margin|bt-smooth|bt-posreg|sft-reg|purm" },
    { "model",        PATH,      RUN(model), NULL },
    { "data",         PATH,      RUN(data), NULL },
    { "out",          PATH,      RUN(out), NULL },
    { "eval-file",    PATH,      OPTION(eval_file), NULL },
    { "eval-every",   WIDE,      OPTION(eval_every), NULL },
    { "best",         FLAG,      OPTION(best), NULL },
    { "lr",           REAL,      OPTION(lr), NULL },
    { "schedule",     CHOICE,    OPTION(schedule), "cosine|linear|constant" },
    { "warmup",       REAL,      OPTION(warmup), NULL },
    { "weight-decay", REAL,      OPTION(weight_decay), NULL },
    { "clip",         REAL,      OPTION(clip), NULL },
    { "batch-rows",   SIZE,      OPTION(batch_rows), NULL },
    { "epochs",       SIZE,      OPTION(epochs), NULL },
    { "steps",        WIDE,      OPTION(steps), NULL },
    { "seed",         WIDE,      OPTION(seed), NULL },
    { "pairs",        SIZE,      OPTION(pairs), NULL },
    { "smoothing",    REAL,      OPTION(smoothing), NULL },
    { "margin-scale", REAL,      OPTION(margin_scale), NULL },
    { "posreg",       REAL,      OPTION(posreg), NULL },
    { "sft-weight",   REAL,      OPTION(sft_weight), NULL },
    { "sft-beta",     REAL,      OPTION(sft_beta), NULL },
    { "head",         CHOICE,    OPTION(head), "linear|mlp" },
    { "head-width",   SIZE,      OPTION(head_width), NULL },
    { "freeze",       FLAG,      OPTION(freeze), NULL },
    { "ties",         CHOICE,    OPTION(drop_ties), "half|drop" },
    { "lora-rank",    SIZE,      OPTION(lora_rank), NULL },
    { "lora-alpha",   REAL,      OPTION(lora_alpha), NULL },
    { "lora-dropout", REAL,      OPTION(lora_dropout), NULL },
    { "lora-targets", WORD,      OPTION(lora_targets), NULL },
    { "recompute",    CHOICE,    OPTION(recompute), "auto|on|off" },
    { "save-every",   WIDE,      OPTION(save_every), NULL },
    { "keep",         SIZE,      OPTION(keep), NULL },
    { "resume",       FLAG,      OPTION(resume), NULL },
    { "skip-bad",     FLAG,      OPTION(skip_bad), NULL },
    { "judge-prompt", TEXT_FILE, OPTION(model.judge_prompt), NULL },
    { "labels",       LABELS,    0, NULL },
    { "template",     WORD,      OPTION(model.chat_template), "chatml|llama3|llama2|mistral|qwen3|gemma" },
    { "max-tokens",   SIZE,      OPTION(model.max_tokens), NULL },
    { "truncate",     CHOICE,    OPTION(model.truncate), "error|balanced|drop" },
    { "lambda",       REAL,      OPTION(model.lambda), NULL },
    { "single-order", FLAG,      OPTION(model.single_order), NULL },
    { "dtype",        CHOICE,    OPTION(model.dtype), "f32|bf16|int8" },
    { "base",         PATH,      OPTION(model.base), NULL },
    { "threads",      INT,       OPTION(model.threads), NULL },
    { "batch-tokens", SIZE,      OPTION(model.batch_tokens), NULL },
};
enum { KEYS = GR_COUNT(key) };

struct gram_recipe {
    gram_run run;
    char *path;
    char *text;                 /* of the file */
    char *set[KEYS];            /* what was set over it; or what a path became */
    char *label_b;
    struct values { char *v[KEYS]; } *file;     /* libcyaml's */
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

static cyaml_schema_field_t field[KEYS + 1];    /* the last: key NULL */
static const cyaml_schema_value_t mapping = {
    .type = CYAML_MAPPING, .flags = CYAML_FLAG_POINTER, .data_size = sizeof(struct values), .mapping.fields = field,
};
static pthread_once_t fields_once = PTHREAD_ONCE_INIT;

static void make_fields(void)
{
    for (size_t i = 0; i < KEYS; i++) {
        field[i].key = key[i].name;
        field[i].data_offset = (uint32_t)(i * sizeof(char *));
        field[i].value.type = CYAML_STRING;
        field[i].value.flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL;
        field[i].value.data_size = sizeof(char);
        field[i].value.string.max = CYAML_UNLIMITED;
    }
}

/* ---- Where a key stands --------------------------------------------------------------------------- */

/* The line of a key, from 1: the first on which it stands before a colon, in quotes or not. 0: not found. */
static size_t line_of(const char *text, const char *name)
{
    size_t n = strlen(name), line = 1;

    for (const char *p = text; *p; p++) {
        bool begins = p == text || strchr("\n \t{,'\"", p[-1]);
        const char *end = p + n;
        if (begins && !strncmp(p, name, n)) {
            end += *end == '\'' || *end == '"';
            end += strspn(end, " \t");
            if (*end == ':')
                return line;
        }
        line += *p == '\n';
        if (*p == '#' && begins && p[1])
            p += strcspn(p + 1, "\n");
    }
    return 0;
}

/* "run.yaml:3", or "--set lr=x". */
static void place(const gram_recipe *r, size_t i, char out[512])
{
    size_t line = r->set[i] ? 0 : line_of(r->text, key[i].name);

    if (r->set[i])
        snprintf(out, 512, "--set %s=%.200s", key[i].name, r->set[i]);
    else
        snprintf(out, 512, "%.400s:%zu", r->path, line);
}

static gram_status unknown_key(const char *where, const char *name, gram_err *err)
{
    gr_near n = { .typed = name };

    for (size_t i = 0; i < KEYS; i++)
        gr_near_try(&n, key[i].name);
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

    pthread_once(&fields_once, make_fields);
    c.log_fn = hear;
    c.log_ctx = &said;
    if (strlen(r->text) != n)
        return gr_fail(err, GRAM_EFORMAT, "%s: a NUL byte at %zu: wanted text", r->path, strlen(r->text));
    e = cyaml_load_data((const uint8_t *)r->text, n, &c, &mapping, (cyaml_data_t **)&r->file, NULL);
    return e ? not_loaded(r, e, &said, err) : GRAM_OK;
}

/* ---- Values --------------------------------------------------------------------------------------- */

static const char *wanted_by(size_t i)
{
    static const char *const kind[] = {
        [WORD] = "a word", [PATH] = "a path", [TEXT_FILE] = "the path of a text",
        [REAL] = "a number that is not negative",
        [SIZE] = "a whole number", [WIDE] = "a whole number", [INT] = "a whole number", [FLAG] = "true or false",
        [LABELS] = "two labels with a comma between them",
    };

    return key[i].choices ? key[i].choices : kind[key[i].kind];
}

static gram_status wrong(const gram_recipe *r, size_t i, const char *v, gram_err *err)
{
    char where[512];

    place(r, i, where);
    return gr_fail(err, GRAM_EARG, "%s: key \"%s\": wanted %s%s, found \"%.200s\"", where, key[i].name,
                   key[i].choices ? "one of " : "", wanted_by(i), v);
}

/* The place of v in "a|b|c", or -1. */
static int choice(const char *choices, const char *v)
{
    int i = 0;

    for (const char *p = choices;; p++, i++) {
        size_t n = strcspn(p, "|");
        if (strlen(v) == n && !strncmp(p, v, n))
            return i;
        p += n;
        if (!*p)
            return -1;
    }
}

/* Digits alone: no sign, no blank, no point. */
static bool whole(const char *v, uint64_t most, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(v, &end, 10);
    return *v && strspn(v, "0123456789") == strlen(v) && !errno && *out <= most;
}

static bool real(const char *v, double *out)
{
    char *end;

    *out = strtod(v, &end);
    return end != v && !*end && *out >= 0 && isfinite(*out);
}

/* A path as the working directory sees it: of the file's own, beside the file. */
static gram_status settle_path(gram_recipe *r, size_t i, const char *v, gram_err *err)
{
    const char *slash = strrchr(r->path, '/');
    gr_buf b = { 0 };
    bool ok = true;

    if (r->set[i])
        return GRAM_OK;
    if (*v != '/' && slash)
        ok = gr_buf_add(&b, r->path, (size_t)(slash - r->path) + 1);
    if (!ok || !gr_buf_puts(&b, v)) {
        gr_buf_clear(&b);
        return gr_nomem(err, r->path);
    }
    r->set[i] = b.p;
    return GRAM_OK;
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
                       key[i].name);
    rc = gram_check_judge_prompt(text, &why);       /* the only text of its kind */
    return rc ? gr_fail(err, rc, "%s: key \"%s\": %s", r->path, key[i].name, why.text) : GRAM_OK;
}

static gram_status split_labels(gram_recipe *r, size_t i, const char *v, gram_err *err)
{
    const char *comma = strchr(v, ',');
    gram_options *o = &r->run.options.model;
    char *a;

    if (!comma || comma == v || !comma[1] || strchr(comma + 1, ','))
        return wrong(r, i, v, err);
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

/* Enums of the header are as wide as an int; ties are a bool. */
static gram_status take_choice(gram_recipe *r, size_t i, const char *v, void *to, gram_err *err)
{
    int k = choice(key[i].choices, v);

    if (k < 0)
        return wrong(r, i, v, err);
    if (key[i].kind == LOSS)
        gram_train_options_set_loss(&r->run.options, (gram_loss)k);
    else if (key[i].at == OPTION(drop_ties))
        *(bool *)to = k == 1;
    else
        memcpy(to, &k, sizeof k);
    return GRAM_OK;
}

static gram_status take(gram_recipe *r, size_t i, const char *v, gram_err *err)
{
    void *to = (char *)&r->run + key[i].at;
    uint64_t n = 0;
    double x = 0;
    gram_status rc = GRAM_OK;

    switch (key[i].kind) {
    case WORD:
        if (key[i].choices && choice(key[i].choices, v) < 0)
            return wrong(r, i, v, err);
        *(const char **)to = v;
        return GRAM_OK;
    case PATH: case TEXT_FILE:
        rc = settle_path(r, i, v, err);
        if (!rc && key[i].kind == TEXT_FILE)
            rc = read_text(r, i, err);
        *(const char **)to = rc ? NULL : r->set[i];
        return rc;
    case REAL:
        if (!real(v, &x))
            return wrong(r, i, v, err);
        *(double *)to = x;
        return GRAM_OK;
    case SIZE: case WIDE: case INT:
        if (!whole(v, key[i].kind == INT ? INT32_MAX : UINT64_MAX, &n))
            return wrong(r, i, v, err);
        if (key[i].kind == SIZE)
            *(size_t *)to = (size_t)n;
        else if (key[i].kind == WIDE)
            *(uint64_t *)to = n;
        else
            *(int *)to = (int)n;
        return GRAM_OK;
    case FLAG:
        if (strcmp(v, "true") && strcmp(v, "false"))
            return wrong(r, i, v, err);
        *(bool *)to = *v == 't';
        return GRAM_OK;
    case CHOICE: case LOSS:
        return take_choice(r, i, v, to, err);
    case LABELS:
        return split_labels(r, i, v, err);
    }
    return GRAM_OK;
}

/* YAML's ways to say nothing. */
static bool is_null(const char *v)
{
    return !*v || !strcmp(v, "~") || !strcmp(v, "null");
}

static gram_status take_all(gram_recipe *r, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < KEYS && !rc; i++) {
        const char *v = r->set[i] ? r->set[i] : r->file ? r->file->v[i] : NULL;
        if (v && !is_null(v))
            rc = take(r, i, v, err);
        if (i == 0)
            gram_train_options_init(&r->run.options, r->run.stage);
    }
    return rc;
}

/* "key=value" */
static gram_status set_one(gram_recipe *r, const char *text, gram_err *err)
{
    const char *equals = strchr(text, '=');
    char where[512], name[64];
    size_t i = 0;

    if (!equals)
        return gr_fail(err, GRAM_EARG, "--set %s: wanted KEY=VALUE", text);
    snprintf(name, sizeof name, "%.*s", (int)gr_min((size_t)(equals - text), sizeof name - 1), text);
    while (i < KEYS && strcmp(key[i].name, name))
        i++;
    if (i == KEYS) {
        snprintf(where, sizeof where, "--set %.400s", text);
        return unknown_key(where, name, err);
    }
    free(r->set[i]);                            /* of two, the last */
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
    for (size_t i = 0; i < KEYS; i++)
        free(r->set[i]);
    if (r->file)
        cyaml_free(&quiet, &mapping, r->file, 0);
    free(r->label_b);
    free(r->path);
    free(r->text);
    free(r);
}

const char *gram_recipe_key(size_t i, const char **wanted)
{
    if (i >= KEYS)
        return NULL;
    if (wanted)
        *wanted = wanted_by(i);
    return key[i].name;
}
