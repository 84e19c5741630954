/* recipe.h - a training run written down: a YAML file with a key for each option of train.h.
 *
 *     gram_recipe *r;
 *     if (gram_recipe_open(&r, "run.yaml", NULL, 0, &err)) { puts(err.text); return 1; }
 *     const gram_run *run = gram_recipe_run(r);
 *     gram_finetune(run->model, run->data, run->out, &run->options, NULL, &err);
 *     gram_recipe_close(r);
 */
#ifndef GRAM_RECIPE_H
#define GRAM_RECIPE_H

#include "gram/train.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct {
    gram_stage stage;               /* which of gram_pretrain(), gram_finetune() and gram_align() it is for */
    const char *model, *data, *out; /* NULL where neither the file nor `set` says; needed to run */
    gram_train_options options;     /* the stage's and the loss's defaults, and what the file says over them */
} gram_run;

typedef struct gram_recipe gram_recipe;
/* The file is a mapping of keys to single values, each key once. Paths in it are relative to the file. set[n] are
 * "key=value", which go before what the file says and whose paths are relative to the working directory. A key that is
 * not known fails with its line and the nearest one, a value with its line and what is wanted. */
gram_status gram_recipe_open(gram_recipe **out, const char *path, const char *const *set, size_t n, gram_err *err);
const gram_run *gram_recipe_run(const gram_recipe *r);      /* lives as long as r */
void gram_recipe_close(gram_recipe *r);                     /* NULL is fine */

/* The i-th key and what its value may be ("a number", "true or false", "cosine|linear|constant"); NULL at the end. */
const char *gram_recipe_key(size_t i, const char **wanted);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
