/* cmd_train.c - `gram train`: a run of `gram pretrain` or `gram finetune` as a file has it. */
#include <stdlib.h>
#include <string.h>
#include "cli/train_options.h"
#include "gram/recipe.h"

static const struct poptOption opts[] = {
    CLI_INCLUDE(cli_recipe_table, NULL),
    { "resume", 'r', POPT_ARG_NONE, &cli_resume, 0,
      "Go on from the newest whole checkpoint of the run, or begin where there is none.", NULL },
    { "quiet", 'q', POPT_ARG_NONE, &cli_quiet, 0, "Say nothing but errors.", NULL },
    CLI_DEVICES,
    CLI_TABLE_END
};

static int print_keys(void)
{
    const char *name, *wanted;

    for (size_t i = 0; (name = gram_recipe_key(i, &wanted)); i++)
        printf("%-18s%s\n", name, wanted);
    return CLI_DONE;
}

static int missing(const char *recipe, const char *key, const char *what)
{
    return cli_usage("%s: key \"%s\" is missing, %s: put it into the file, or add --set %s=PATH", recipe, key, what,
                     key);
}

static int run_recipe(const char *path, const gram_run *r)
{
    gram_train_options o = r->options;

    if (!r->model)
        return missing(path, "model", "the model to train");
    if (!r->data)
        return missing(path, "data", "the rows to train on");
    if (!r->out)
        return missing(path, "out", "the directory that the trained model goes to");
    o.resume = o.resume || cli_resume;
    if (cli_devices)
        o.model.device = NULL;          /* what this process was started for */
    return cli_train_run(r->stage, r->model, r->data, r->out, o);
}

static int run(const char **arg, size_t n)
{
    gram_recipe *r;
    const char *const *set;
    gram_err err;
    size_t n_set;
    int rc = cli_keys ? print_keys() : cli_recipe_set(n, &set, &n_set);

    if (rc || cli_keys)
        return rc;
    if (gram_recipe_open(&r, arg[0], set, n_set, &err))
        return cli_fail_err(&err);
    rc = run_recipe(arg[0], gram_recipe_run(r));
    gram_recipe_close(r);
    return rc;
}

const cli_command cli_train_recipe = {
    "train", "RECIPE.yaml", "Train as a recipe says: a file with the options of finetune or pretrain",
    "A recipe is YAML, one key and its value on each line. Its keys are the options of `gram finetune` and `gram "
    "pretrain` without the dashes, and three more: stage (pretrain, or finetune, the default), model and data. A key "
    "that is not known is an error with its line. Paths in it are relative to the recipe.\n\n"
    "Recipes for the published settings are installed in PREFIX/share/gram/recipes and lie in recipes/ of the sources; "
    "they leave out the paths, which --set gives.",
    "gram train recipes/gram-stage2.yaml --set model=./my-model --set data=pairs.jsonl --set out=judge/\n"
    "gram train run.yaml --set lr=1e-5 --resume",
    0, 1, opts, run, true
};
