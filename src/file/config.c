/* config.c - config.json of a Hugging Face directory, read as transformers' configuration classes read it.
 *
 * Two spellings of rope are in use: `rope_theta` and `rope_scaling` beside the sizes (transformers 4), and
 * `rope_parameters` (5), for Gemma 3 with one entry for each kind of layer. */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "file/config_in_int.h"
#include "file/file_int.h"

gram_status gr_config_refuse(const char *name, const char *architecture, gram_err *err)
{
    const char *missing = gr_arch_missing(architecture);
    char list[256];

    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: architecture \"%s\" is not supported%s%s; supported: %s", name,
                   architecture, missing ? ": it asks for " : "", missing ? missing : "",
                   gr_arch_list(list, sizeof list));
}

void gr_config_clear(gr_config *c)
{
    free(c->sliding);
    free(c->bare);
    free(c->sparse);
    free(c->inv_freq[0]);
    free(c->inv_freq[1]);
    free(c->far.freq);
    free(c->far.shorts);
    free(c->far.longs);
    free(c->mix);
    free(c->notes);
    *c = (gr_config){ 0 };
}

static uint64_t digest_array(uint64_t h, const void *p, size_t bytes)
{
    return p ? gr_digest(h, p, bytes) : gr_digest(h, &bytes, sizeof bytes);
}

uint64_t gr_config_digest(const gr_config *c)
{
    const float f[] = { c->rms_eps, c->norm_bias, c->embed_scale, c->attn_scale, c->attn_cap, c->logit_cap,
                        c->rope_scale[0], c->rope_scale[1], c->branch_scale, c->logit_div };
    const uint64_t n[] = { c->heads, c->kv_heads, c->head_dim, c->rope_dim, c->chosen, c->norm_chosen, c->geglu,
                           c->rope_interleaved, c->window, c->far.after, c->head.tanh, (uint64_t)c->pad,
                           (uint64_t)c->last, c->is_token ? (uint64_t)c->token : UINT64_MAX };
    size_t angles = c->rope_dim / 2 * sizeof **c->inv_freq;
    uint64_t h = gr_digest(gr_digest(GR_DIGEST, f, sizeof f), n, sizeof n);

    h = gr_digest(h, &c->gate.temperature, sizeof c->gate.temperature);
    h = digest_array(h, c->sliding, c->layers * sizeof *c->sliding);
    h = digest_array(h, c->bare, c->layers * sizeof *c->bare);
    h = digest_array(h, c->inv_freq[0], angles);
    h = digest_array(h, c->inv_freq[1], angles);
    h = digest_array(h, c->far.freq, angles);
    return digest_array(h, c->mix, c->head.rows * sizeof *c->mix);
}

/* ---- Values --------------------------------------------------------------------------------------- */

json_t *gr_in_get(json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);

    return json_is_null(v) ? NULL : v;
}

gram_status gr_in_size(const struct gr_config_in *in, const char *key, size_t otherwise, size_t max, size_t *out,
                            gram_err *err)
{
    json_t *v = gr_in_get(in->text, key);

    *out = otherwise;
    if (!v)
        return GRAM_OK;
    if (!json_is_integer(v))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" is not a whole number", in->name, key);
    if (json_integer_value(v) < 1 || (uint64_t)json_integer_value(v) > max)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" is %" JSON_INTEGER_FORMAT ", from 1 to %zu wanted", in->name, key,
                       json_integer_value(v), max);
    *out = (size_t)json_integer_value(v);
    return GRAM_OK;
}

gram_status gr_in_number(const struct gr_config_in *in, json_t *o, const char *key, double otherwise, double *out,
                              gram_err *err)
{
    json_t *v = gr_in_get(o, key);

    *out = v ? json_number_value(v) : otherwise;
    if (!v && !(otherwise > 0))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" is missing", in->name, key);
    if ((v && !json_is_number(v)) || !(*out > 0) || !(*out <= 1e30))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" is not a positive number", in->name, key);
    return GRAM_OK;
}

gram_status gr_in_bool(const struct gr_config_in *in, json_t *o, const char *key, bool otherwise, bool *out,
                       gram_err *err)
{
    json_t *v = gr_in_get(o, key);

    *out = v ? json_is_true(v) : otherwise;
    if (v && !json_is_boolean(v))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" is neither true nor false", in->name, key);
    return GRAM_OK;
}

/* An id, or the first of a list of them; null is none, absent is the default. */
static gram_status get_id(const struct gr_config_in *in, const char *key, int32_t otherwise, int32_t *out,
                          gram_err *err)
{
    json_t *v = json_object_get(in->top, key);

    if (!v)
        v = json_object_get(in->text, key);
    if (json_is_array(v))
        v = json_array_get(v, 0);
    else if (!v) {
        *out = otherwise;
        return GRAM_OK;
    }
    *out = -1;
    if (!v || json_is_null(v))
        return GRAM_OK;
    if (!json_is_integer(v) || json_integer_value(v) < -1 || json_integer_value(v) > INT32_MAX)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" is not a token id", in->name, key);
    *out = (int32_t)json_integer_value(v);
    return GRAM_OK;
}

gram_status gr_config_check_experts(const gr_config *c, const char *name, gram_err *err)
{
    if (c->chosen <= c->experts)
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "%s: %zu experts for a token are more than the %zu that there are", name,
                   c->chosen, c->experts);
}

size_t gr_config_most_hidden(const gr_config *c)
{
    size_t most = 0;

    for (size_t i = 0; i < c->layers; i++)
        most = gr_max(most, !gr_config_sparse(c, i) ? c->hidden : gr_max(c->expert_hidden, gr_config_shares(c, i)
                                                                                               ? c->hidden : 0));
    return most;
}

/* ---- The rest ------------------------------------------------------------------------------------- */

static gram_status read_sizes(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    const gr_arch_row *d = in->row;
    const struct { const char *key; size_t otherwise, max, *out; } size[] = {
        { "num_hidden_layers",       d->otherwise.layers,     MAX_LAYERS,     &c->layers },
        { "hidden_size",             d->otherwise.width,      MAX_WIDTH,      &c->width },
        { "num_attention_heads",     d->otherwise.heads,      MAX_HEADS,      &c->heads },
        { "intermediate_size",       d->otherwise.hidden,     MAX_HIDDEN,     &c->hidden },
        { "vocab_size",              d->otherwise.vocabulary, MAX_VOCABULARY, &c->vocabulary },
        { "max_position_embeddings", d->otherwise.context,    MAX_CONTEXT,    &c->context },
    };
    bool kv_null = json_is_null(json_object_get(in->text, "num_key_value_heads"));
    bool dim_null = json_is_null(json_object_get(in->text, "head_dim"));
    double eps;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(size) && !rc; i++)
        rc = gr_in_size(in, size[i].key, size[i].otherwise, size[i].max, size[i].out, err);
    if (!rc)
        rc = gr_in_size(in, "num_key_value_heads", kv_null || !d->otherwise.kv_heads ? c->heads : d->otherwise.kv_heads,
                      MAX_HEADS, &c->kv_heads, err);
    if (!rc)
        rc = gr_in_size(in, "head_dim", dim_null ? 0 : d->otherwise.head_dim, MAX_HEAD_DIM, &c->head_dim, err);
    if (!rc)
        rc = gr_in_number(in, in->text, "rms_norm_eps", in->row->otherwise.eps, &eps, err);
    if (rc)
        return rc;
    c->rms_eps = (float)eps;
    if (c->head_dim == 0 && c->width % c->heads)
        return gr_fail(err, GRAM_EFORMAT,
                       "%s: no \"head_dim\", and a \"hidden_size\" of %zu is not a multiple of %zu heads",
                       in->name, c->width, c->heads);
    if (c->head_dim == 0)
        c->head_dim = c->width / c->heads;
    return gr_config_check(c, in->name, err);
}

gram_status gr_config_check(gr_config *c, const char *name, gram_err *err)
{
    if (c->heads % c->kv_heads)
        return gr_fail(err, GRAM_EFORMAT, "%s: %zu heads are not a multiple of %zu key-value heads", name, c->heads,
                       c->kv_heads);
    if (c->head_dim % 2 || c->head_dim > MAX_HEAD_DIM)
        return gr_fail(err, GRAM_EFORMAT, "%s: an even head size up to %d is wanted, found %zu", name, MAX_HEAD_DIM,
                       c->head_dim);
    if (c->heads * c->head_dim > MAX_WIDTH)
        return gr_fail(err, GRAM_EFORMAT, "%s: %zu heads of %zu are more than %d channels", name, c->heads, c->head_dim,
                       MAX_WIDTH);
    if (!(c->rms_eps > 0 && c->rms_eps < 1))
        return gr_fail(err, GRAM_EFORMAT, "%s: the norms' epsilon is between 0 and 1, found %g", name,
                       (double)c->rms_eps);
    return GRAM_OK;
}

static gram_status check_activation(const struct gr_config_in *in, const char *key, const char *want, const char *also,
                                    gram_err *err)
{
    json_t *v = gr_in_get(in->text, key);
    const char *s = v ? json_string_value(v) : want;

    if (!s || (strcmp(s, want) && strcmp(s, also)))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%s\" is \"%s\", only \"%s\" is supported", in->name, key,
                       s ? s : "(not a string)", want);
    return GRAM_OK;
}

/* The first files of Gemma say "gelu" in "hidden_act", and transformers takes it for the tanh-GELU that they were
 * trained with; some of its versions read "hidden_activation" there. */
static gram_status check_activations(const struct gr_config_in *in, gram_err *err)
{
    const char *gelu = "gelu_pytorch_tanh";
    gram_status rc = GRAM_OK;

    if (!(in->row->has & GR_HAS_GEGLU))
        return check_activation(in, "hidden_act", "silu", "swish", err);
    if (in->row->has & GR_HAS_GELU_NAMED)
        rc = check_activation(in, "hidden_act", gelu, "gelu", err);
    return rc ? rc : check_activation(in, "hidden_activation", gelu, gelu, err);
}

static gram_status read_attention(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    bool bias, mlp = false;
    gram_status rc = gr_in_bool(in, in->text, "attention_bias", false, &bias, err);

    if (!rc && in->row->has & GR_HAS_MLP_BIAS_KEY)
        rc = gr_in_bool(in, in->text, "mlp_bias", false, &mlp, err);
    if (!rc && mlp)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"mlp_bias\" true is not supported", in->name);
    if (!rc && in->row->has & GR_HAS_BIAS_REFUSED)
        rc = gr_in_bool(in, in->text, "bias", true, &mlp, err);
    if (!rc && mlp)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"bias\" true is not supported", in->name);
    c->o_bias = bias && in->row->has & GR_HAS_BIAS_KEY;
    c->qkv_bias = c->o_bias || in->row->has & GR_HAS_QKV_BIAS;
    if (!rc && gr_arch_own_key(c->architecture, "qkv_bias"))
        rc = gr_in_bool(in, in->text, "qkv_bias", true, &c->qkv_bias, err);
    c->attn_scale = (float)(1 / sqrt((double)c->head_dim));
    return rc;
}

/* What config.json says where attention is scaled by a key of its own: the Gemmas. */
static gram_status read_query_scalar(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    double scalar;
    bool both_ways;
    gram_status rc = gr_in_bool(in, in->text, "use_bidirectional_attention", false, &both_ways, err);

    if (!rc && both_ways)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"use_bidirectional_attention\" true is not supported", in->name);
    if (!rc)
        rc = gr_in_number(in, in->text, "query_pre_attn_scalar", 256, &scalar, err);
    if (rc)
        return rc;
    c->attn_scale = (float)(1 / sqrt(scalar));
    return GRAM_OK;
}

/* null is none. */
static gram_status read_caps(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    const struct { const char *key; float otherwise, *out; } cap[] = {
        { "attn_logit_softcapping",  in->row->otherwise.attn_cap,  &c->attn_cap },
        { "final_logit_softcapping", in->row->otherwise.logit_cap, &c->logit_cap },
    };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(cap) && !rc; i++) {
        double x = 0;
        if (!json_is_null(json_object_get(in->text, cap[i].key)))
            rc = gr_in_number(in, in->text, cap[i].key, (double)cap[i].otherwise, &x, err);
        if (!rc)
            rc = gr_config_take_cap(cap[i].out, x, in->name, cap[i].key, err);
    }
    return rc;
}

/* Granite's. */
static gram_status read_multipliers(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    const struct { const char *key; float *out; } each[] = {
        { "embedding_multiplier", &c->embed_scale }, { "attention_multiplier", &c->attn_scale },
        { "residual_multiplier", &c->branch_scale }, { "logits_scaling", &c->logit_div },
    };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(each) && !rc; i++) {
        double x = 1;
        rc = gr_in_number(in, in->text, each[i].key, 1, &x, err);
        if (!rc)
            rc = gr_config_take_factor(each[i].out, x, in->name, each[i].key, err);
    }
    return rc;
}

gram_status gr_config_take_factor(float *out, double x, const char *name, const char *key, gram_err *err)
{
    *out = (float)x;
    if (x < 1e-6 || x > 1e6)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" is %g, from 1e-06 to 1e+06 wanted", name, key, x);
    return GRAM_OK;
}

gram_status gr_config_take_cap(float *out, double x, const char *name, const char *key, gram_err *err)
{
    *out = (float)x;
    if (x > 0 && x < 1e-3)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" is %g, at least 0.001 wanted", name, key, x);
    return GRAM_OK;
}

void gr_config_of_arch(gr_config *c)
{
    c->qk_norm = gr_config_has(c, GR_HAS_QK_NORM);
    c->qk_norm_wide = gr_config_has(c, GR_HAS_QK_NORM_WIDE);
    c->no_pre_norms = gr_config_has(c, GR_HAS_NO_PRE_NORMS);
    c->sandwich_norms = gr_config_has(c, GR_HAS_POST_NORMS);
    c->geglu = gr_config_has(c, GR_HAS_GEGLU);
    c->embed_scale = gr_config_has(c, GR_HAS_EMBED_SCALE) ? (float)sqrt((double)c->width) : 1;
    c->norm_bias = gr_config_has(c, GR_HAS_PLUS_ONE) ? 1 : 0;
    c->branch_scale = c->logit_div = 1;
}

size_t gr_reward_outputs(gr_reward_kind k)
{
    return k == GR_REWARD_NONE ? 0 : k == GR_REWARD_MEAN ? 1 : 2;
}

/* What the name of a class says of the head. The first that fits. */
static const struct { const char *part; gr_says end; const char *refused; } class_says[] = {
    { "ForProcessRewardModel",     GR_SAYS_HEAD,  "a process reward model, which judges each step of an answer" },
    { "ForTokenClassification",    GR_SAYS_HEAD,  "it judges each token" },
    { "ForQuestionAnswering",      GR_SAYS_HEAD,  "it finds the place of an answer" },
    { "ForSequenceClassification", GR_SAYS_HEAD,  NULL },
    { "RewardModel",               GR_SAYS_HEAD,  NULL },
    { "ForScore",                  GR_SAYS_HEAD,  NULL },
    { "ValueHead",                 GR_SAYS_HEAD,  NULL },
    { "ForCausalLM",               GR_SAYS_WORDS, NULL },
    { "ForConditionalGeneration",  GR_SAYS_WORDS, NULL },
};

/* transformers writes the labels' names, and nothing where there are as many as its default, two; num_labels beside
 * them is somebody's later word. */
static void read_labels(const struct gr_config_in *in, gr_config *c)
{
    json_t *names = gr_in_get(in->top, "id2label"), *number = gr_in_get(in->top, "num_labels");
    const char *mark = json_string_value(gr_in_get(in->top, "gram_reward_head"));

    c->said.labels = json_is_object(names) ? (long)json_object_size(names)
                   : json_is_integer(number) && json_integer_value(number) >= 0 &&
                     json_integer_value(number) < 1 << 24 ? (long)json_integer_value(number) : -1;
    c->said.purm = mark && !strcmp(mark, GR_PURM_MARK) && (c->said.labels < 0 || c->said.labels == 2);
}

/* What the model is said to end in: words, of which a verdict is read, or one number. */
static gram_status read_head(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    const char *name = json_string_value(json_array_get(json_object_get(in->top, "architectures"), 0));
    const char *stem = json_string_value(gr_in_get(in->top, "value_head_prefix"));
    const char *path = json_string_value(gr_in_get(in->top, "_name_or_path"));
    size_t i = 0;
    gram_status rc = gr_in_number(in, in->top, "gating_temperature", 10, &c->said.temperature, err);

    while (name && i < GR_COUNT(class_says) && !strstr(name, class_says[i].part))
        i++;
    c->said.code = name && json_object_size(gr_in_get(in->top, "auto_map")) && strcmp(name, in->row->causal) &&
                   strcmp(name, in->row->classifier) && !(in->row->has & GR_HAS_OWN_FORM);
    snprintf(c->said.by, sizeof c->said.by, "%.*s", GR_HEAD_NAME - 1, name ? name : "");
    snprintf(c->said.name, sizeof c->said.name, "%.*s", 2 * GR_HEAD_NAME - 1, path ? path : "");
    if (!rc && stem && (!*stem || strlen(stem) >= GR_HEAD_NAME / 2))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: \"value_head_prefix\": wanted a name of 1 to %d bytes, found %zu",
                     in->name, GR_HEAD_NAME / 2 - 1, strlen(stem));
    if (rc)
        return rc;
    snprintf(c->said.stem, sizeof c->said.stem, "%s", stem ? stem : "");
    c->said.labels = -1;
    c->words = true;
    if (i == GR_COUNT(class_says) || !name) {
        c->said.end = name && strstr(name, "For") ? GR_SAYS_OTHER : GR_SAYS_NOTHING;
        return GRAM_OK;
    }
    if (class_says[i].refused || (*c->prefix && class_says[i].end != GR_SAYS_WORDS))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: architecture \"%s\" is not supported: %s", in->name, name,
                       class_says[i].refused ? class_says[i].refused : "a reward model that also reads images");
    c->said.end = class_says[i].end;
    c->words = c->said.end == GR_SAYS_WORDS;
    read_labels(in, c);
    if (!c->words)                          /* until the tensors are seen */
        c->reward = c->said.purm ? GR_REWARD_PURM : GR_REWARD_MEAN;
    return rc;
}

/* Finds the architecture, and where the language model's keys are. */
static gram_status begin(struct gr_config_in *in, gr_config *c, gram_err *err)
{
    const char *type = json_string_value(json_object_get(in->top, "model_type"));
    gram_status rc;

    if (!json_is_object(in->top))
        return gr_fail(err, GRAM_EFORMAT, "%s: not a JSON object", in->name);
    if (!type)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"model_type\" is missing", in->name);
    in->text = in->top;
    c->prefix = "";
    if (gr_arch_by_outer(&c->architecture, type)) {
        in->text = gr_in_get(in->top, "text_config");
        if (!json_is_object(in->text))
            return gr_fail(err, GRAM_EFORMAT, "%s: \"text_config\" is missing", in->name);
        c->prefix = "language_model.";
    } else if (!gr_arch_by_type(&c->architecture, type)) {
        return gr_config_refuse(in->name, type, err);
    }
    in->row = gr_arch_of(c->architecture);
    rc = gr_config_check_packing(in, c, err);
    if (!rc)
        rc = gr_config_check_keys(c, in->name, in->top, in->text, err);
    return rc ? rc : read_head(in, c, err);
}

static gram_status read_config(struct gr_config_in *in, gr_config *c, gram_err *err)
{
    gram_status rc = begin(in, c, err);

    if (!rc)
        rc = read_sizes(in, c, err);
    if (!rc)
        rc = check_activations(in, err);
    if (!rc)
        rc = read_attention(in, c, err);
    if (!rc)
        gr_config_of_arch(c);
    if (!rc && gr_config_has(c, GR_HAS_QUERY_SCALAR))
        rc = read_query_scalar(in, c, err);
    if (!rc && gr_config_has(c, GR_HAS_MULTIPLIERS))
        rc = read_multipliers(in, c, err);
    if (!rc && gr_config_has(c, GR_HAS_CAPS))
        rc = read_caps(in, c, err);
    if (!rc)
        rc = gr_config_read_bare(in, c, err);
    if (!rc)
        rc = gr_config_read_experts(in, c, err);
    if (!rc)
        rc = gr_config_read_windows(in, c, err);
    if (!rc)
        rc = gr_config_read_ropes(in, c, err);
    if (!rc)
        rc = get_id(in, "bos_token_id", in->row->otherwise.bos, &c->bos, err);
    if (!rc)
        rc = get_id(in, "eos_token_id", in->row->otherwise.eos, &c->eos, err);
    if (!rc)
        rc = get_id(in, "reward_token_id", -1, &c->last, err);
    if (!rc)
        rc = get_id(in, "pad_token_id", in->row->otherwise.pad, &c->pad, err);
    if (!rc && c->last >= 0 && (strcasestr(c->said.name, "polar") || strcasestr(in->name, "polar")))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: POLAR is not supported: it reads an answer beside a reference, and "
                     "its configuration is that of a reward model that reads one alone", in->name);
    if (!rc && c->last >= 0)
        rc = gr_config_note(c, err, "%s: \"reward_token_id\": each text ends with the token %d, where the reward is "
                            "read", in->name, (int)c->last);
    if (!rc && c->last >= 0 && (size_t)c->last >= c->vocabulary)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: \"reward_token_id\" %d is beyond a vocabulary of %zu", in->name,
                     (int)c->last, c->vocabulary);
    c->init_std = json_number_value(gr_in_get(in->text, "initializer_range"));  /* 0 where it is absent or no number */
    if (!(c->init_std > 0 && c->init_std < 10))
        c->init_std = 0.02;
    if (!rc)
        rc = gr_in_bool(in, gr_in_get(in->top, "tie_word_embeddings") ? in->top : in->text, "tie_word_embeddings",
                      in->row->otherwise.tied, &c->tied_head, err);
    return rc;
}

gram_status gr_config_parse(gr_config *out, const char *name, const char *json, size_t n, gram_err *err)
{
    struct gr_config_in in = { .name = name };
    gram_status rc = gr_json_parse(&in.top, name, json, n, err);

    *out = (gr_config){ 0 };
    if (!rc)
        rc = read_config(&in, out, err);
    if (rc)
        gr_config_clear(out);
    json_decref(in.top);
    return rc;
}

gram_status gr_config_read(gr_config *out, const char *dir, gram_err *err)
{
    char *path = gr_path_join(dir, "config.json"), *text = NULL;
    size_t n;
    gram_status rc = path ? gr_read_file(path, CONFIG_LIMIT, &text, &n, err) : gr_nomem(err, dir);

    *out = (gr_config){ 0 };
    if (!rc)
        rc = gr_config_parse(out, path, text, n, err);
    free(text);
    free(path);
    return rc;
}
