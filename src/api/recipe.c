/* recipe.c - include/gram/recipe.h: the keys of a file (keys.h), and where they go in a run. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "api/keys.h"
#include "base/err.h"
#include "gram/recipe.h"
#include "train/options.h"

enum { OWN = 4, MOST = 128 };            /* keys that are no options; all keys are fewer than MOST */

/* What a run has besides its options. The stage comes first: it sets the defaults of the others. */
static const gram_option own[OWN] = {
    { .name = "stage", .kind = GRAM_OPTION_CHOICE, .at = offsetof(gram_run, stage),
      .choices = "pretrain|finetune|align" },
    { .name = "model", .kind = GRAM_OPTION_PATH, .at = offsetof(gram_run, model) },
    { .name = "data", .kind = GRAM_OPTION_PATHS, .at = offsetof(gram_run, data),
      .more = offsetof(gram_run, options.more_data) },
    { .name = "out", .kind = GRAM_OPTION_PATH, .at = offsetof(gram_run, out) },
};

static const gram_option *option(size_t i)
{
    return i < OWN ? &own[i] : gram_train_option(i - OWN);
}

struct gram_recipe {
    gram_run run;
    gr_key key[MOST];
    size_t n;
    gr_keys *keys;
};

/* What another stage, another loss or another option would have a use for is not passed over. */
static gram_status check_used(const gram_recipe *r, gram_err *err)
{
    gram_err why;

    for (size_t i = OWN; i < r->n; i++)
        if (gr_keys_value(r->keys, i) && gr_option_used(option(i), r->run.stage, &r->run.options, &why))
            return gr_keys_wrong(r->keys, i, why.text, err);
    return GRAM_OK;
}

static gram_status take_stage(gram_recipe *r, gram_err *err)
{
    const char *v = gr_keys_value(r->keys, 0);

    if (v && strcmp(v, "pretrain") && strcmp(v, "finetune") && strcmp(v, "align"))
        return gr_keys_wrong_value(r->keys, 0, err);
    r->run.stage = !v || *v == 'f' ? GRAM_STAGE_FINETUNE : *v == 'p' ? GRAM_STAGE_PRETRAIN : GRAM_STAGE_ALIGN;
    gram_train_options_init(&r->run.options, r->run.stage);
    return GRAM_OK;
}

static gram_status take_all(gram_recipe *r, gram_err *err)
{
    gram_status rc = take_stage(r, err);

    for (size_t i = 1; i < r->n && !rc; i++)
        rc = gr_keys_take(r->keys, i, i < OWN ? (void *)&r->run : &r->run.options, err);
    return rc ? rc : check_used(r, err);
}

gram_status gram_recipe_open(gram_recipe **out, const char *path, const char *const *set, size_t n, gram_err *err)
{
    gram_recipe *r = gr_calloc(1, sizeof *r);
    gram_status rc;

    *out = NULL;
    if (!r)
        return gr_nomem(err, path);
    for (const gram_option *o; (o = option(r->n)); r->n++) {
        assert(r->n < MOST);
        r->key[r->n] = (gr_key){ o->name, o };
    }
    rc = gr_keys_open(&r->keys, path, r->key, r->n, set, n, err);
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
    gr_keys_close(r->keys);
    free(r);
}

static char wanted_text[MOST][GR_WANTED];
static pthread_once_t wanted_once = PTHREAD_ONCE_INIT;

static void write_wanted(void)
{
    for (size_t i = 0; option(i); i++) {
        assert(i < MOST);
        gr_option_wanted(option(i), wanted_text[i]);
    }
}

const char *gram_recipe_key(size_t i, const char **wanted)
{
    const gram_option *k = option(i);

    pthread_once(&wanted_once, write_wanted);
    if (k && wanted)
        *wanted = wanted_text[i];
    return k ? k->name : NULL;
}
