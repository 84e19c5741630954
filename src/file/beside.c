/* beside.c - see beside.h. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/beside.h"
#include "file/io.h"

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);

    return n > k && !strcmp(name + n - k, end);
}

static bool begins_with_one_of(const char *name, const char *const *list)
{
    while (*list && strncmp(name, *list, strlen(*list)))
        list++;
    return *list != NULL;
}

/* Files of tensors, or of Python objects. */
static bool holds_weights(const char *name)
{
    return ends_in(name, ".safetensors") || ends_in(name, ".bin") || ends_in(name, ".pt") || ends_in(name, ".pth") ||
           ends_in(name, ".ckpt");
}

/* What is read, and what trainers leave: the same weights in another form, and the state of a run. */
static bool is_usual(const char *name)
{
    static const char *const usual[] = { "model.", "model-", "pytorch_model", GR_VALUE_HEAD, "adapter_model",
                                         "consolidated", "training_args", "optimizer", "scheduler", "scaler",
                                         "rng_state", "trainer_state", "tokenizer", "state.", NULL };

    return begins_with_one_of(name, usual);
}

static bool is_of_the_head(const char *name)
{
    static const char *const word[] = { "head", "reward", "score", "gating", "regression", "adapter" };

    for (size_t i = 0; i < GR_COUNT(word); i++)
        if (strcasestr(name, word[i]))
            return true;
    return false;
}

static gram_status check_file(gr_config *c, const char *dir, const char *name, bool lone_adapter, gram_err *err)
{
    if (!strcmp(name, "modules.json") && !c->head.rows && !c->is_token)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s/%s: an embedding model of sentence-transformers: it gives vectors, "
                       "and neither words nor rewards", dir, name);
    if (!holds_weights(name) || (is_usual(name) && !(lone_adapter && !strncmp(name, "adapter_model", 13))))
        return GRAM_OK;
    if (!strcmp(name, "value_head.bin") && c->head.rows)
        return GRAM_OK;                     /* the same head as Python objects */
    if (is_of_the_head(name))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s/%s: by its name it belongs to the model, and it is not read%s", dir,
                       name, ends_in(name, ".safetensors") ? "" : ": what holds Python objects may run any program; "
                       "safetensors are read");
    return gr_config_note(c, err, "%s/%s: weights that are not used", dir, name);
}

gram_status gr_beside_check(gr_config *c, const char *dir, gram_err *err)
{
    char *adapter = gr_path_join(dir, "adapter_config.json");
    bool alone = adapter && !gr_path_exists(adapter);
    DIR *d = opendir(dir);
    const char *name;
    gram_status rc = !adapter ? gr_nomem(err, dir) : !d ? gr_fail(err, GRAM_EIO, "%s: %s", dir, strerror(errno))
                                                        : GRAM_OK;

    while (!rc && !(rc = gr_next_name(d, dir, &name, err)) && name)
        rc = check_file(c, dir, name, alone, err);
    if (d)
        closedir(d);
    free(adapter);
    return rc;
}
