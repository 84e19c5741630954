/* adapter.c - see adapter.h. */
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/json.h"
#include "file/adapter.h"
#include "file/file_int.h"
#include "file/save.h"

#define CONFIG_LIMIT ((size_t)16 << 20)

/* ---- adapter_config.json -------------------------------------------------------------------------- */

static bool is_empty(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

/* Other initial values than these are made from the base, which PEFT then changes. */
static bool is_plain_start(const json_t *v)
{
    return !v || json_is_null(v) || json_is_boolean(v) ||
           (json_is_string(v) && !strcmp(json_string_value(v), "gaussian"));
}

/* What changes the result in a way that is not done here. */
static gram_status refuse(const char *name, const json_t *root, gram_err *err)
{
    static const char *const key[] = { "use_dora", "fan_in_fan_out", "alpha_pattern", "layer_replication",
                                       "trainable_token_indices", "lora_bias", "use_qalora", "target_parameters",
                                       "alora_invocation_tokens", "arrow_config", "use_bdlora",
                                       "kasa_config", "velora_config", "monteclora_config" };
    const char *kind = json_string_value(json_object_get(root, "peft_type"));
    const char *bias = json_string_value(json_object_get(root, "bias"));

    if (!kind || strcmp(kind, "LORA"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"peft_type\": wanted \"LORA\", found %s", name,
                       kind ? kind : "none");
    for (size_t i = 0; i < GR_COUNT(key); i++)
        if (!is_empty(json_object_get(root, key[i])))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%s\" is set, and is not supported", name, key[i]);
    if (bias && strcmp(bias, "none"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"bias\": wanted \"none\", found \"%s\"", name, bias);
    if (!is_plain_start(json_object_get(root, "init_lora_weights")))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"init_lora_weights\" is not true, false or \"gaussian\": such an "
                       "adapter belongs to a changed base", name);
    return GRAM_OK;
}

static gram_status read_numbers(gr_adapter_config *c, const char *name, const json_t *root, gram_err *err)
{
    const json_t *r = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha");
    const json_t *root_scale = json_object_get(root, "use_rslora"), *drop = json_object_get(root, "lora_dropout");
    json_int_t rank = json_integer_value(r);

    if (!json_is_integer(r) || rank < 1 || rank > 1 << 20)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"r\": wanted a whole number from 1 to %d", name, 1 << 20);
    c->rank = (size_t)rank;
    c->alpha = json_number_value(alpha);
    if (!json_is_number(alpha) || !(c->alpha > 0) || !(c->alpha <= 1e9))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"lora_alpha\": wanted a positive number up to 1e9", name);
    if (root_scale && !json_is_boolean(root_scale) && !json_is_null(root_scale))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"use_rslora\" is neither true nor false", name);
    c->root = json_is_true(root_scale);
    c->dropout = json_number_value(drop);
    if (drop && !json_is_null(drop) && (!json_is_number(drop) || !(c->dropout >= 0) || !(c->dropout < 1)))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"lora_dropout\": wanted a number from 0, below 1", name);
    return GRAM_OK;
}

gram_status gr_adapter_config_parse(gr_adapter_config *out, const char *name, const char *json, size_t n,
                                    gram_err *err)
{
    json_t *root;
    const char *base;
    gram_status rc = gr_json_parse(&root, name, json, n, err);

    *out = (gr_adapter_config){ 0 };
    if (rc)
        return rc;
    if (!json_is_object(root))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: wanted a JSON object, found another value", name);
    if (!rc)
        rc = refuse(name, root, err);
    if (!rc)
        rc = read_numbers(out, name, root, err);
    base = json_string_value(json_object_get(root, "base_model_name_or_path"));
    if (!rc && base && *base && !(out->base = gr_strdup(base)))
        rc = gr_nomem(err, name);
    if (rc)
        *out = (gr_adapter_config){ 0 };
    json_decref(root);
    return rc;
}

void gr_adapter_config_clear(gr_adapter_config *c)
{
    free(c->base);
    *c = (gr_adapter_config){ 0 };
}

/* Adds a list of strings, NULL-terminated. */
static bool add_list(json_t *root, const char *key, const char *const *item)
{
    json_t *list = json_array();
    bool ok = list != NULL;

    for (; *item && ok; item++)
        ok = json_array_append_new(list, json_string(*item)) == 0;
    return json_object_set_new(root, key, list) == 0 && ok;
}

static char *config_text(const gr_adapter_config *c, const char *const *targets, bool head)
{
    static const char *const score[] = { "score", NULL };
    json_t *root = json_pack("{s:s,s:b,s:b,s:b,s:f,s:s,s:i,s:{},s:s,s:b,s:b}", "bias", "none", "fan_in_fan_out", false,
                             "inference_mode", true, "init_lora_weights", true, "lora_dropout", c->dropout, "peft_type",
                             "LORA", "r", (int)c->rank, "rank_pattern", "task_type", head ? "SEQ_CLS" : "CAUSAL_LM",
                             "use_dora", false, "use_rslora", c->root);
    bool whole = c->alpha == (double)(json_int_t)c->alpha;      /* PEFT writes whole numbers without a point */
    bool ok = root && add_list(root, "target_modules", targets) &&
              (!head || add_list(root, "modules_to_save", score)) &&
              !json_object_set_new(root, "base_model_name_or_path", c->base ? json_string(c->base) : json_null()) &&
              !json_object_set_new(root, "lora_alpha",
                                   whole ? json_integer((json_int_t)c->alpha) : json_real(c->alpha));
    char *text = ok ? gr_json_text(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;

    json_decref(root);
    return text;
}

gram_status gr_adapter_config_write(const char *dir, const gr_adapter_config *c, const char *const *targets, bool head,
                                    gram_err *err)
{
    char *path = gr_path_join(dir, GR_ADAPTER_CONFIG), *text = config_text(c, targets, head);
    gram_status rc = path && text ? gr_write_file(path, text, strlen(text), err) : gr_nomem(err, dir);

    free(path);
    free(text);
    return rc;
}

/* ---- The directory --------------------------------------------------------------------------------- */

bool gr_adapter_is(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);     /* no memory that could run out and mean no */
    bool yes = fd >= 0 && faccessat(fd, GR_ADAPTER_CONFIG, F_OK, 0) == 0;

    if (fd >= 0)
        close(fd);
    return yes;
}

static gram_status open_tensors(gr_adapter *a, gram_err *err)
{
    char *path = gr_path_join(a->path, GR_ADAPTER_WEIGHTS), *pickle = gr_path_join(a->path, "adapter_model.bin");
    gram_status rc;

    if (!path || !pickle)
        rc = gr_nomem(err, a->path);
    else if (!gr_path_exists(path))
        rc = gr_fail(err, GRAM_EIO, "%s: " GR_ADAPTER_WEIGHTS " is not there%s", a->path,
                     gr_path_exists(pickle) ? " (adapter_model.bin holds Python objects and is not read)" : "");
    else
        rc = gr_st_open(&a->st, path, err);
    free(path);
    free(pickle);
    return rc;
}

gram_status gr_adapter_open(gr_adapter **out, const char *dir, gram_err *err)
{
    gr_adapter *a = gr_calloc(1, sizeof *a);
    char *path = gr_path_join(dir, GR_ADAPTER_CONFIG), *text = NULL;
    size_t n;
    gram_status rc;

    *out = NULL;
    if (a)
        a->path = gr_strdup(dir);
    rc = a && a->path && path ? gr_read_file(path, CONFIG_LIMIT, &text, &n, err) : gr_nomem(err, dir);
    if (!rc)
        rc = gr_adapter_config_parse(&a->cfg, path, text, n, err);
    if (!rc)
        rc = open_tensors(a, err);
    free(path);
    free(text);
    if (rc) {
        gr_adapter_close(a);
        return rc;
    }
    *out = a;
    return GRAM_OK;
}

void gr_adapter_close(gr_adapter *a)
{
    if (!a)
        return;
    gr_st_close(a->st);
    gr_adapter_config_clear(&a->cfg);
    free(a->path);
    free(a);
}

/* The tensor whose rows are the outputs, and with a hidden layer, the one whose rows are its units. */
static const gr_named *last_of_head(const gr_adapter *a, const gr_named **first)
{
    const gr_named *t = gr_st_find(a->st, GR_ADAPTER_STEM "score.weight");

    *first = gr_st_find(a->st, GR_ADAPTER_STEM "score.0.weight");
    return t && !*first ? t : gr_st_find(a->st, GR_ADAPTER_STEM "score.2.weight");
}

bool gr_adapter_has_head(const gr_adapter *a)
{
    const gr_named *first, *last = last_of_head(a, &first);

    return first || last;
}

gram_status gr_adapter_reward(gr_config *c, const gr_adapter *a, gram_err *err)
{
    const gr_named *first, *t = last_of_head(a, &first);
    char *mark = NULL;
    gram_status rc;
    bool purm;

    if (!t && !first)
        return GRAM_OK;
    if (!t || (!first && strstr(t->name, "score.2")))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s has no partner: of score.0.weight and score.2.weight one is "
                       "missing", a->path, t ? t->name : first->name);
    rc = gr_st_meta(gr_st_path(a->st), "gram_reward_head", &mark, err);
    if (rc)
        return rc;
    purm = mark && !strcmp(mark, GR_PURM_MARK);
    free(mark);
    if (t->n_dims != 2 || t->dim[0] != (purm ? 2u : 1u))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor %s: wanted one row, a reward, or two and "
                       "\"gram_reward_head\": \"" GR_PURM_MARK "\" in the file's metadata, found %zu rows", a->path,
                       t->name, t->n_dims ? t->dim[0] : 1);
    if (first && (first->n_dims != 2 || !first->dim[0]))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: wanted a row for each hidden unit, found %zu dimensions",
                       a->path, first->name, first->n_dims);
    c->reward = purm ? GR_REWARD_PURM : GR_REWARD_MEAN;
    c->head_width = first ? first->dim[0] : 0;
    c->words = false;
    return GRAM_OK;
}

gram_status gr_adapter_base(char **out, const gr_adapter *a, const char *given, gram_err *err)
{
    const char *base = given ? given : a->cfg.base;
    char *beside;

    *out = NULL;
    if (!base)
        return gr_fail(err, GRAM_EARG, "%s: " GR_ADAPTER_CONFIG " names no base model: --base does", a->path);
    beside = given || *base == '/' ? NULL : gr_path_join(a->path, base);
    if (!beside && !given && *base != '/')
        return gr_nomem(err, a->path);
    if (beside && gr_path_exists(beside)) {
        *out = beside;
        return GRAM_OK;
    }
    free(beside);
    if (given || gr_path_exists(base)) {
        *out = gr_strdup(base);
        return *out ? GRAM_OK : gr_nomem(err, a->path);
    }
    return gr_fail(err, GRAM_EIO, "%s: its base model %s is not there, nor beside it: --base names the directory or "
                   "file", a->path, base);
}
