/* fuzz_recipe.c - any bytes as a recipe of either kind: an error, or a run whose stage and strings are there. */
#include <string.h>
#include "fuzz_file.h"
#include "gram/recipe.h"
#include "gram/selftrain.h"

static void self_train(const char *path)
{
    const gram_selftrain_options *o;
    gram_selftrain_recipe *r;
    gram_err err;

    if (gram_selftrain_recipe_open(&r, path, NULL, 0, &err)) {
        fuzz_touch(err.text, strlen(err.text));
        return;
    }
    o = gram_selftrain_recipe_options(r);
    if (o->human)
        fuzz_touch(o->human, strlen(o->human) + 1);
    for (size_t i = 0; o->more_human && o->more_human[i]; i++)
        fuzz_touch(o->more_human[i], strlen(o->more_human[i]) + 1);
    gram_selftrain_recipe_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    const gram_run *run;
    gram_recipe *r;
    gram_err err;

    self_train(path);
    if (gram_recipe_open(&r, path, NULL, 0, &err)) {
        fuzz_touch(err.text, strlen(err.text));
        return 0;
    }
    run = gram_recipe_run(r);
    if (run->stage != GRAM_STAGE_PRETRAIN && run->stage != GRAM_STAGE_FINETUNE)
        abort();
    for (size_t i = 0; i < 3; i++) {
        const char *s = i == 0 ? run->model : i == 1 ? run->data : run->options.lora_targets;
        if (s)
            fuzz_touch(s, strlen(s) + 1);
    }
    gram_recipe_close(r);
    return 0;
}
