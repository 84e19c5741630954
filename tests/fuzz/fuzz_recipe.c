/* fuzz_recipe.c - any bytes as a recipe: an error, or a run whose stage and strings are there. */
#include <string.h>
#include "fuzz_file.h"
#include "gram/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    const gram_run *run;
    gram_recipe *r;
    gram_err err;

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
