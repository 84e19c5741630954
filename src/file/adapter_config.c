/* adapter_config.c - PEFT's adapter_config.json: see adapter.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "file/adapter.h"
#include "file/file_int.h"
#include "file/save.h"

enum { MATCH_STEPS = 100000 };      /* of one pattern and one name: patterns come from strangers */

static bool is_empty(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

/* Initial values that leave the base as it was. For others PEFT changes it, and an adapter belongs to what it made. */
static bool is_plain_start(const json_t *v)
{
    static const char *const plain[] = { "gaussian", "eva", "orthogonal", "mica" };
    size_t i = 0;

    while (json_is_string(v) && i < GR_COUNT(plain) && strcmp(json_string_value(v), plain[i]))
        i++;
    return !v || json_is_null(v) || json_is_boolean(v) || (json_is_string(v) && i < GR_COUNT(plain));
}

/* What changes the result in a way that is not done here. */
static gram_status refuse(const char *name, const json_t *root, gram_err *err)
{
    static const char *const key[] = { "fan_in_fan_out", "layer_replication",
                                       "trainable_token_indices", "lora_bias", "use_qalora",
                                       "alora_invocation_tokens", "arrow_config", "use_bdlora",
                                       "kasa_config", "velora_config", "monteclora_config" };
    static const char *const known[] = {
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying",
        "eva_config", "exclude_modules", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform",
        "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core",
        "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision",
        "runtime_config", "target_modules", "target_parameters", "task_type", "use_dora", "use_rslora",
    };
    const char *kind = json_string_value(json_object_get(root, "peft_type"));
    const char *task = json_string_value(json_object_get(root, "task_type")), *name_of;
    json_t *v;

    if (task && strcmp(task, "CAUSAL_LM") && strcmp(task, "SEQ_CLS"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"task_type\": wanted \"CAUSAL_LM\" or \"SEQ_CLS\", found \"%s\"",
                       name, task);
    if (!kind || strcmp(kind, "LORA"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"peft_type\": wanted \"LORA\", found %s", name,
                       kind ? kind : "none");
    for (size_t i = 0; i < GR_COUNT(key); i++)
        if (!is_empty(json_object_get(root, key[i])))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%s\" is set, and is not supported", name, key[i]);
    json_object_foreach((json_t *)(uintptr_t)root, name_of, v) {
        size_t i = 0;
        while (i < GR_COUNT(known) && strcmp(name_of, known[i]))
            i++;
        if (i == GR_COUNT(known) && !is_empty(v))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%.64s\" is set, and is not known", name, name_of);
    }
    if (!is_plain_start(json_object_get(root, "init_lora_weights")))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"init_lora_weights\" is none of true, false, gaussian, eva, "
                       "orthogonal and mica: such an adapter belongs to a changed base", name);
    return GRAM_OK;
}

static gram_status read_flag(bool *out, const char *name, const json_t *root, const char *key, gram_err *err)
{
    const json_t *v = json_object_get(root, key);

    *out = json_is_true(v);
    if (v && !json_is_boolean(v) && !json_is_null(v))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" is neither true nor false", name, key);
    return GRAM_OK;
}

static gram_status read_numbers(gr_adapter_config *c, const char *name, const json_t *root, gram_err *err)
{
    const json_t *r = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha");
    const json_t *drop = json_object_get(root, "lora_dropout");
    json_int_t rank = json_integer_value(r);

    if (!json_is_integer(r) || rank < 1 || rank > 1 << 20)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"r\": wanted a whole number from 1 to %d", name, 1 << 20);
    c->rank = (size_t)rank;
    c->alpha = json_number_value(alpha);
    if (!json_is_number(alpha) || !(c->alpha > 0) || !(c->alpha <= 1e9))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"lora_alpha\": wanted a positive number up to 1e9", name);
    if (read_flag(&c->root, name, root, "use_rslora", err) || read_flag(&c->dora, name, root, "use_dora", err))
        return GRAM_EFORMAT;
    c->dropout = json_number_value(drop);
    if (drop && !json_is_null(drop) && (!json_is_number(drop) || !(c->dropout >= 0) || !(c->dropout < 1)))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"lora_dropout\": wanted a number from 0, below 1", name);
    return GRAM_OK;
}

static gram_status read_biases(gr_adapter_config *c, const char *name, const json_t *root, gram_err *err)
{
    static const char *const word[] = { "none", "lora_only", "all" };
    const json_t *v = json_object_get(root, "bias");
    const char *s = v && !json_is_null(v) ? json_string_value(v) : "none";

    for (size_t i = 0; s && i < GR_COUNT(word); i++)
        if (!strcmp(s, word[i])) {
            c->biases = (unsigned)i;
            return GRAM_OK;
        }
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"bias\": wanted \"none\", \"lora_only\" or \"all\", found \"%.64s\"",
                   name, s ? s : "no string");
}

/* PEFT adds "score" to modules_to_save where the task is SEQ_CLS. Embeddings and the head over the vocabulary may stand
 * there too. */
static bool says_head(const json_t *root)
{
    const char *task = json_string_value(json_object_get(root, "task_type"));
    const json_t *saved = json_object_get(root, "modules_to_save"), *one;
    bool yes = task && !strcmp(task, "SEQ_CLS");
    size_t i;

    json_array_foreach(saved, i, one) {
        const char *s = json_string_value(one);
        yes = yes || (s && (strstr(s, "score") || strstr(s, "v_head") || strstr(s, "value_head") ||
                            strstr(s, "classifier") || strstr(s, "reward")));
    }
    return yes;
}

/* ---- target_parameters and alpha_pattern ----------------------------------------------------------- */

struct gr_alpha { pcre2_code *re; double alpha; };

static gram_status read_parameters(gr_adapter_config *c, const char *name, const json_t *root, gram_err *err)
{
    const json_t *list = json_object_get(root, "target_parameters"), *one;
    size_t i;

    if (is_empty(list))
        return GRAM_OK;
    if (!json_is_array(list))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"target_parameters\": wanted a list of names", name);
    c->parameters = gr_calloc(json_array_size(list) + 1, sizeof *c->parameters);
    if (!c->parameters)
        return gr_nomem(err, name);
    json_array_foreach(list, i, one) {
        if (!json_is_string(one))
            return gr_fail(err, GRAM_EFORMAT, "%s: \"target_parameters\": wanted a list of names", name);
        c->parameters[i] = gr_strdup(json_string_value(one));
        if (!c->parameters[i])
            return gr_nomem(err, name);
    }
    return GRAM_OK;
}

/* A pattern matches as PEFT has it: the whole name, or what follows a dot in it. */
static gram_status add_alpha(gr_adapter_config *c, const char *name, const char *pattern, const json_t *v,
                             gram_err *err)
{
    struct gr_alpha *a = &c->alphas[c->n_alphas];
    PCRE2_UCHAR why[128];
    PCRE2_SIZE at;
    gr_buf re = { 0 };
    int code = 0;

    a->alpha = json_number_value(v);
    if (!json_is_number(v) || !(a->alpha > 0) || !(a->alpha <= 1e9))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"alpha_pattern\": \"%.64s\": wanted a positive number up to 1e9", name,
                       pattern);
    if (!gr_buf_printf(&re, "^(?:.*\\.)?(?:%s)$", pattern)) {
        gr_buf_clear(&re);
        return gr_nomem(err, name);
    }
    a->re = pcre2_compile((PCRE2_SPTR)re.p, re.n, PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);
    gr_buf_clear(&re);
    if (!a->re) {
        pcre2_get_error_message(code, why, sizeof why);
        return gr_fail(err, GRAM_EFORMAT, "%s: \"alpha_pattern\": \"%.64s\" is no regular expression: %s", name,
                       pattern,
                       (const char *)why);
    }
    c->n_alphas++;
    return GRAM_OK;
}

static gram_status read_alphas(gr_adapter_config *c, const char *name, json_t *root, gram_err *err)
{
    json_t *all = json_object_get(root, "alpha_pattern"), *v;
    const char *pattern;
    gram_status rc = GRAM_OK;

    if (is_empty(all))
        return GRAM_OK;
    if (!json_is_object(all))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"alpha_pattern\": wanted an object", name);
    c->alphas = gr_calloc(json_object_size(all), sizeof *c->alphas);
    if (!c->alphas)
        return gr_nomem(err, name);
    json_object_foreach(all, pattern, v)
        if (!rc)
            rc = add_alpha(c, name, pattern, v, err);
    return rc;
}

bool gr_adapter_config_targets(const gr_adapter_config *c, const char *parameter)
{
    size_t n = strlen(parameter);

    for (char *const *p = c->parameters; p && *p; p++) {
        size_t k = strlen(*p);
        if (k <= n && !strcmp(parameter + n - k, *p) && (k == n || parameter[n - k - 1] == '.'))
            return true;
    }
    return false;
}

gram_status gr_adapter_config_alpha(double *out, const gr_adapter_config *c, const char *name, gram_err *err)
{
    pcre2_match_data *md = c->n_alphas ? pcre2_match_data_create(1, NULL) : NULL;
    pcre2_match_context *limits = c->n_alphas ? pcre2_match_context_create(NULL) : NULL;
    int rc = PCRE2_ERROR_NOMATCH;

    *out = c->alpha;
    if (c->n_alphas && (!md || !limits))
        rc = PCRE2_ERROR_NOMEMORY;
    else if (limits)
        pcre2_set_match_limit(limits, MATCH_STEPS);
    for (size_t i = 0; i < c->n_alphas && rc == PCRE2_ERROR_NOMATCH; i++) {
        rc = pcre2_match(c->alphas[i].re, (PCRE2_SPTR)name, strlen(name), 0, 0, md, limits);
        if (rc >= 0)
            *out = c->alphas[i].alpha;
    }
    pcre2_match_data_free(md);
    pcre2_match_context_free(limits);
    if (rc == PCRE2_ERROR_NOMEMORY || rc == PCRE2_ERROR_HEAPLIMIT)
        return gr_nomem(err, "adapter");
    return rc >= 0 || rc == PCRE2_ERROR_NOMATCH
        ? GRAM_OK : gr_fail(err, GRAM_EFORMAT, "\"alpha_pattern\": its patterns take too long for %s", name);
}

/* ---- Reading and writing --------------------------------------------------------------------------- */

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
    if (!rc)
        rc = read_biases(out, name, root, err);
    if (!rc)
        rc = read_parameters(out, name, root, err);
    if (!rc)
        rc = read_alphas(out, name, root, err);
    out->says_head = says_head(root);
    base = json_string_value(json_object_get(root, "base_model_name_or_path"));
    if (!rc && base && *base && !(out->base = gr_strdup(base)))
        rc = gr_nomem(err, name);
    if (rc)
        gr_adapter_config_clear(out);
    json_decref(root);
    return rc;
}

void gr_adapter_config_clear(gr_adapter_config *c)
{
    for (char **p = c->parameters; p && *p; p++)
        free(*p);
    for (size_t i = 0; i < c->n_alphas; i++)
        pcre2_code_free(c->alphas[i].re);
    free(c->parameters);
    free(c->alphas);
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
              (!c->parameters || add_list(root, "target_parameters", (const char *const *)c->parameters)) &&
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
