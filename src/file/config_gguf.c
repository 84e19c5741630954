/* config_gguf.c - the same configuration from a GGUF file: its keys begin with the architecture's name, and what
 * they leave open, the tensors say. llama.cpp's converter writes Mistral as "llama"; it permutes the rows of q and
 * k of that family (rope on neighbours) and adds Gemma's 1 to the norms. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "file/config_int.h"

struct in {
    const char *name;               /* of the file */
    const char *arch;               /* "llama" */
    const gr_gguf *g;
    char key[96];                   /* the last that full_key() made */
};

static const char *full_key(struct in *in, const char *key)
{
    snprintf(in->key, sizeof in->key, "%s.%s", in->arch, key);
    return in->key;
}

/* otherwise 0: the key must be there. */
static gram_status get_size(struct in *in, const char *key, size_t otherwise, size_t max, size_t *out, gram_err *err)
{
    uint64_t v = otherwise;
    bool there = gr_gguf_has(in->g, full_key(in, key));

    if (!there && !otherwise)
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%s\" is missing", in->name, in->key);
    if (there && !gr_gguf_u64(in->g, in->key, &v))
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%s\" is not a single whole number", in->name, in->key);
    if (v < 1 || v > max)
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%s\" is %llu, from 1 to %zu wanted", in->name, in->key,
                       (unsigned long long)v, max);
    *out = (size_t)v;
    return GRAM_OK;
}

/* A positive, finite number. */
static gram_status get_number(struct in *in, const char *key, double otherwise, double *out, gram_err *err)
{
    *out = otherwise;
    if (!gr_gguf_has(in->g, full_key(in, key)))
        return GRAM_OK;
    if (!gr_gguf_f64(in->g, in->key, out) || !(*out > 0) || !(*out <= 1e30))
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%s\" is not a positive number", in->name, in->key);
    return GRAM_OK;
}

static bool is_word(const gr_gguf *g, const char *key, const char *word)
{
    gr_str s;

    return gr_gguf_str(g, key, &s) && s.n == strlen(word) && !memcmp(s.p, word, s.n);
}

static gram_status find_arch(struct in *in, gr_config *c, gram_err *err)
{
    gr_str arch;
    uint64_t experts = 0, window = 0;
    char shown[64];

    if (is_word(in->g, "general.type", "adapter") || gr_gguf_has(in->g, "adapter.type"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: a LoRA adapter, which is no model without its base; an adapter is "
                       "read as PEFT writes it, a directory with adapter_config.json", in->name);
    if (!gr_gguf_str(in->g, "general.architecture", &arch))
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"general.architecture\" is missing", in->name);
    if (gr_arch_by_gguf(&c->architecture, arch.p, arch.n)) {
        in->arch = gr_arch_of(c->architecture)->gguf;
        if (gr_gguf_u64(in->g, full_key(in, "expert_count"), &experts) && experts > 0)     /* Mixtral is a "llama" */
            c->architecture = gr_arch_with_experts(c->architecture);
        else if (!gr_config_has(c, GR_GGUF_WINDOW | GR_GGUF_IDLE_WINDOW) &&
                 gr_gguf_u64(in->g, full_key(in, "attention.sliding_window"), &window) && window > 0)
            c->architecture = gr_arch_written(c->architecture, true);       /* OLMo 3 is written as OLMo 2 */
        return GRAM_OK;
    }
    snprintf(shown, sizeof shown, "%.*s", (int)gr_min(arch.n, sizeof shown - 1), arch.p);
    return gr_config_refuse(in->name, shown, err);
}

static gram_status read_sizes(struct in *in, gr_config *c, const gr_weights *w, gram_err *err)
{
    const gr_named *embedding = gr_weights_find(w, "token_embd.weight");
    size_t value;
    double eps;
    gram_status rc;

    if (!embedding || embedding->n_dims != 2)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"token_embd.weight\" is missing or not a matrix", in->name);
    c->vocabulary = embedding->dim[0];
    if (c->vocabulary < 1 || c->vocabulary > MAX_VOCABULARY)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"token_embd.weight\" has %zu rows, from 1 to %d wanted",
                       in->name, c->vocabulary, MAX_VOCABULARY);
    rc = get_size(in, "block_count", 0, MAX_LAYERS, &c->layers, err);
    if (!rc)
        rc = get_size(in, "embedding_length", 0, MAX_WIDTH, &c->width, err);
    if (!rc)
        rc = get_size(in, "feed_forward_length", 0, MAX_HIDDEN, &c->hidden, err);
    if (!rc)
        rc = get_size(in, "context_length", 0, MAX_CONTEXT, &c->context, err);
    if (!rc)
        rc = get_size(in, "attention.head_count", 0, MAX_HEADS, &c->heads, err);
    if (!rc)
        rc = get_size(in, "attention.head_count_kv", c->heads, MAX_HEADS, &c->kv_heads, err);
    if (!rc && !gr_gguf_has(in->g, full_key(in, "attention.key_length")) && c->width % c->heads)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no key \"%s\", and a width of %zu is not a multiple of %zu heads",
                     in->name, in->key, c->width, c->heads);
    if (!rc)
        rc = get_size(in, "attention.key_length", gr_max(c->width / c->heads, 1), MAX_HEAD_DIM, &c->head_dim, err);
    if (!rc)
        rc = get_size(in, "attention.value_length", c->head_dim, MAX_HEAD_DIM, &value, err);
    if (!rc)
        rc = get_size(in, "rope.dimension_count", c->head_dim, MAX_HEAD_DIM, &c->rope_dim, err);
    if (!rc && (value != c->head_dim || c->rope_dim > c->head_dim || c->rope_dim % 2 ||
                (c->rope_dim < c->head_dim && !gr_config_has(c, GR_HAS_LONG_ROPE))))
        rc = gr_fail(err, GRAM_EUNSUPPORTED,
                     "%s: heads of %zu for keys, %zu for values and %zu for rope are not supported, "
                     "only alike", in->name, c->head_dim, value, c->rope_dim);
    if (!rc)
        rc = get_number(in, "attention.layer_norm_rms_epsilon", 1e-6, &eps, err);
    if (rc)
        return rc;
    c->rms_eps = (float)eps;
    return gr_config_check(c, in->name, err);
}

/* llama.cpp has experts in every layer. Where they are as wide as a dense layer it reads no key of their width. */
static gram_status read_experts(struct in *in, gr_config *c, gram_err *err)
{
    bool own = gr_arch_of(c->architecture)->expert_hidden > 0;
    gram_status rc = get_size(in, "expert_count", 0, MAX_EXPERTS, &c->experts, err);

    if (!rc)
        rc = get_size(in, "expert_used_count", 0, MAX_EXPERTS, &c->chosen, err);
    if (!rc)
        rc = gr_config_check_experts(c, in->name, err);
    if (!rc)
        rc = get_size(in, "expert_feed_forward_length", own ? gr_max(c->hidden / gr_max(c->chosen, 1), 1) : c->hidden,
                      MAX_HIDDEN, &c->expert_hidden, err);
    if (!rc && !own && c->expert_hidden != c->hidden)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\" is %zu, and the experts of %s are as wide as "
                     "its feed_forward_length, %zu", in->name, in->key, c->expert_hidden, gr_arch_name(c->architecture),
                     c->hidden);
    if (rc)
        return rc;
    if (gr_config_has(c, GR_HAS_SHARED))
        rc = get_size(in, "expert_shared_feed_forward_length", c->hidden, MAX_HIDDEN, &c->hidden, err);
    if (rc)
        return rc;
    c->norm_chosen = gr_config_has(c, GR_GGUF_NORM_CHOSEN);
    c->sparse = gr_calloc(c->layers, sizeof *c->sparse);
    if (!c->sparse)
        return gr_nomem(err, in->name);
    for (size_t i = 0; i < c->layers; i++)
        c->sparse[i] = true;
    return GRAM_OK;
}

/* Keys of other architectures, which a file may have all the same: each changes what is computed. Fine at 0, and at
 * `neutral`, and in an architecture that has it. */
static const struct { const char *key; double neutral; unsigned has; } refused[] = {
    { "attn_logit_softcapping", 0, GR_HAS_CAPS }, { "final_logit_softcapping", 0, GR_HAS_CAPS },
    { "logit_scale", 1, GR_HAS_MULTIPLIERS },
    { "residual_scale", 1, GR_HAS_MULTIPLIERS }, { "embedding_scale", 1, GR_HAS_MULTIPLIERS },
    { "attention.scale", 0, GR_HAS_MULTIPLIERS }, { "attention.clamp_kqv", 0 },
    { "attention.max_alibi_bias", 0 },
    { "attention.temperature_scale", 0 }, { "attention.chunk_size", 0 }, { "expert_weights_scale", 1 },
    { "expert_shared_count", 0 }, { "expert_shared_feed_forward_length", 0, GR_HAS_SHARED },
    { "expert_group_count", 1 },
    { "expert_gating_func", 1 },            /* 1: a softmax */
    { "leading_dense_block_count", 0 },
};

/* Read here, or of what another program keeps in a file; those of `refused` too. */
static const char *const known[] = {
    "attention.causal", "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.sliding_window",
    "attention.sliding_window_pattern", "attention.value_length", "block_count", "classifier.output_labels",
    "context_length", "embedding_length", "expert_count", "expert_feed_forward_length", "expert_used_count",
    "expert_weights_norm", "feed_forward_length", "pooling_type", "rope.dimension_count", "rope.freq_base",
    "rope.freq_base_swa", "rope.scale_linear", "rope.scaling.attn_factor", "rope.scaling.factor",
    "rope.scaling.finetuned", "rope.scaling.original_context_length", "rope.scaling.type",
    "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_log_multiplier", "tensor_data_layout", "vocab_size",
};

static bool is_known(const char *key)
{
    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcmp(key, known[i]))
            return true;
    for (size_t i = 0; i < GR_COUNT(refused); i++)
        if (!strcmp(key, refused[i].key))
            return true;
    return false;
}

/* 0, 1 and false change nothing in a key that has to do with numbers. */
static bool is_neutral(const gr_gguf *g, const char *key)
{
    bool yes = true;
    double x = 2;

    return gr_gguf_f64(g, key, &x) ? (x <= 0 && x >= 0) || (x <= 1 && x >= 1) : gr_gguf_bool(g, key, &yes) && !yes;
}

/* The architecture's keys that are not known here: noted, or refused where the name has to do with numbers. */
static gram_status check_keys(struct in *in, gr_config *c, gram_err *err)
{
    size_t n = strlen(in->arch);
    gr_buf unknown = { 0 };
    gram_status rc = GRAM_OK;
    bool ok = true;
    gr_str key;

    for (size_t i = 0; !rc && gr_gguf_key(in->g, i, &key); i++) {
        if (key.n <= n || key.n >= sizeof in->key || memcmp(key.p, in->arch, n) || key.p[n] != '.')
            continue;
        snprintf(in->key, sizeof in->key, "%.*s", (int)key.n, key.p);
        if (is_known(in->key + n + 1))
            continue;
        if (gr_config_of_numbers(in->key + n + 1) && !is_neutral(in->g, in->key))
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\" is set, and what it does to the numbers is not "
                         "supported", in->name, in->key);
        else if (unknown.n < 400)           /* a line that can be read */
            ok = ok && gr_buf_printf(&unknown, "%s%s", unknown.n ? ", " : "", in->key);
    }
    if (!rc && !ok)
        rc = gr_nomem(err, in->name);
    if (!rc && unknown.n)
        rc = gr_config_note(c, err, "%s: keys that are not known here, and not used: %s", in->name, unknown.p);
    gr_buf_clear(&unknown);
    return rc;
}

static gram_status refuse_unknown(struct in *in, const gr_config *c, const gr_weights *w, gram_err *err)
{
    uint64_t experts = 0;
    double x = 0;
    bool causal = true, rope = true;

    if (!gr_config_has(c, GR_HAS_EXPERTS) && gr_gguf_u64(in->g, full_key(in, "expert_count"), &experts) && experts > 0)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: a mixture of %llu experts is not supported", in->name,
                       (unsigned long long)experts);
    for (size_t i = 0; i < GR_COUNT(refused); i++)
        if (!gr_config_has(c, refused[i].has) && gr_gguf_f64(in->g, full_key(in, refused[i].key), &x) &&
            (x > 0 || x < 0) && (x > refused[i].neutral || x < refused[i].neutral))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\" %g is not supported", in->name, in->key, x);
    if (gr_config_has(c, GR_HAS_MULTIPLIERS) && gr_gguf_bool(in->g, full_key(in, "rope.scaling.finetuned"), &rope) &&
        !rope)                              /* llama.cpp's switch of Granite's rope */
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\" false, %s without rope, is not supported", in->name,
                       in->key, in->arch);
    if (gr_gguf_bool(in->g, full_key(in, "attention.causal"), &causal) && !causal)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\" false is not supported", in->name, in->key);
    if (gr_weights_find(w, "blk.0.ffn_up.bias"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: biases in the MLP (\"blk.0.ffn_up.bias\") are not supported",
                       in->name);
    return GRAM_OK;
}

/* A window's keys are those of Mistral (written as llama) and Gemma; the converter writes one for Qwen that the
 * model was never trained with. */
static gram_status read_windows(struct in *in, gr_config *c, gram_err *err)
{
    bool by_pattern = gr_arch_of(c->architecture)->slide == GR_SLIDE_PATTERN;
    size_t pattern = 1, many = gr_gguf_count(in->g, full_key(in, "attention.sliding_window_pattern"));
    uint64_t none = 1;
    gram_status rc = GRAM_OK;

    c->sliding = gr_calloc(c->layers, sizeof *c->sliding);
    if (!c->sliding)
        return gr_nomem(err, in->name);
    if (gr_config_has(c, GR_GGUF_IDLE_WINDOW) ||
        (!gr_config_has(c, GR_GGUF_WINDOW) && !gr_gguf_has(in->g, full_key(in, "attention.sliding_window"))))
        return GRAM_OK;
    if (!gr_config_has(c, GR_GGUF_WINDOW))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\": %s with a sliding window is not supported", in->name,
                       in->key, in->arch);
    if (gr_gguf_u64(in->g, full_key(in, "attention.sliding_window"), &none) && none == 0 && !by_pattern)
        return GRAM_OK;                     /* llama.cpp's converter has a 0 for a Phi-3 without one */
    if (by_pattern || gr_gguf_has(in->g, full_key(in, "attention.sliding_window")))
        rc = get_size(in, "attention.sliding_window",     /* the first files of Gemma 2 lack it, and the caps */
                      gr_config_has(c, GR_HAS_CAPS) ? gr_arch_of(c->architecture)->otherwise.window : 0, MAX_CONTEXT,
                      &c->window, err);
    if (!rc && !by_pattern && gr_gguf_has(in->g, full_key(in, "attention.sliding_window_pattern")))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\": %s whose layers do not all slide is not supported",
                     in->name, in->key, in->arch);
    if (!rc && by_pattern && many > 0) {
        full_key(in, "attention.sliding_window_pattern");
        if (many == c->layers && gr_gguf_bools(in->g, in->key, c->sliding))
            return GRAM_OK;
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%s\" has %zu entries, %zu bools wanted", in->name, in->key, many,
                       c->layers);
    }
    if (!rc && by_pattern)
        rc = get_size(in, "attention.sliding_window_pattern", gr_arch_of(c->architecture)->slide_but, MAX_LAYERS,
                      &pattern, err);
    for (size_t i = 0; i < c->layers && !rc; i++)
        c->sliding[i] = by_pattern ? (i + 1) % pattern != 0 : c->window > 0;
    return rc;
}

/* A tensor of positive factors, one a frequency. */
static gram_status get_factors(const struct in *in, const gr_named *t, const char *name, size_t n, gram_err *err)
{
    const float *f = t ? t->data : NULL;

    if (!t || t->type != GR_F32 || t->n_dims != 1 || t->dim[0] != n)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": %zu values of F32 wanted", in->name, name, n);
    for (size_t i = 0; i < n; i++)
        if (!(f[i] > 1e-6f && f[i] < 1e9f))
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" has %g at %zu, a positive factor wanted",
                           in->name, name, (double)f[i], i);
    return GRAM_OK;
}

/* Llama 3's scaling comes as such a tensor. */
static gram_status divide_by_factors(struct in *in, gr_config *c, const gr_weights *w, gram_err *err)
{
    const gr_named *t = gr_weights_find(w, "rope_freqs.weight");
    gram_status rc = t ? get_factors(in, t, "rope_freqs.weight", c->rope_dim / 2, err) : GRAM_OK;
    uint64_t original = 0;
    const float *f;

    if (!t || rc)
        return rc;
    if (c->rope[0].kind == GR_ROPE_YARN)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"rope_freqs.weight\" beside YaRN is not supported",
                       in->name);
    f = t->data;
    for (size_t i = 0; i < c->rope_dim / 2; i++) {
        c->inv_freq[0][i] /= f[i];
        if (!gr_config_has(c, GR_HAS_TWO_ROPES))
            c->inv_freq[1][i] /= f[i];
    }
    gr_gguf_u64(in->g, full_key(in, "rope.scaling.original_context_length"), &original);
    if (c->rope[0].kind != GR_ROPE_DEFAULT || !gr_rope_recognise(&c->rope[0], f, c->rope_dim, (double)original))
        c->rope[0].kind = GR_ROPE_TABLE;
    if (!gr_config_has(c, GR_HAS_TWO_ROPES))
        c->rope[1] = c->rope[0];
    return GRAM_OK;
}

/* LongRoPE's two lists, for texts within the original context and beyond it. */
static gram_status read_far(struct in *in, gr_config *c, const gr_weights *w, gram_err *err)
{
    static const char *const name[] = { "rope_factors_short.weight", "rope_factors_long.weight" };
    float **list[] = { &c->far.shorts, &c->far.longs };
    size_t n = c->rope_dim / 2, original;
    gram_status rc = get_size(in, "rope.scaling.original_context_length", 0, MAX_CONTEXT, &original, err);

    for (size_t i = 0; i < 2 && !rc; i++) {
        const gr_named *t = gr_weights_find(w, name[i]);
        rc = get_factors(in, t, name[i], n, err);
        *list[i] = rc ? NULL : gr_calloc(n, sizeof **list[i]);
        if (!rc && !*list[i])
            rc = gr_nomem(err, in->name);
        if (!rc)
            memcpy(*list[i], t->data, n * sizeof **list[i]);
    }
    if (rc)
        return rc;
    c->rope[0].kind = GR_ROPE_LONG;
    c->rope[0].original = (double)original;
    c->rope[0].factor = (double)c->context / (double)original;
    c->rope[1] = c->rope[0];
    return gr_rope_far(c, err);
}

/* llama.cpp's YaRN, of which converters write more than it reads: what it does not read has to say the same. attn: what
 * it multiplies the usual attention factor by, and becomes the product. */
static gram_status read_yarn(struct in *in, const gr_config *c, gr_rope *r, double *attn, gram_err *err)
{
    double usual = gr_rope_mscale(r->factor, 1), x;
    const struct { const char *key; double value; } same[] = {
        { "rope.scaling.yarn_beta_fast", 32 }, { "rope.scaling.yarn_beta_slow", 1 },
        { "rope.scaling.yarn_ext_factor", 1 }, { "rope.scaling.yarn_attn_factor", usual },
        { "rope.scaling.yarn_log_multiplier", 0 },
    };
    size_t original;
    gram_status rc = get_size(in, "rope.scaling.original_context_length", c->context, MAX_CONTEXT, &original, err);

    *r = (gr_rope){ .kind = GR_ROPE_YARN, .theta = r->theta, .factor = r->factor, .low = 1, .high = 32,
                    .original = (double)original, .truncate = true };
    *attn *= usual;
    if (!rc && !(r->theta > 1))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: a base of rope of %g, more than 1 wanted for yarn", in->name, r->theta);
    for (size_t i = 0; i < GR_COUNT(same) && !rc; i++)
        if (gr_gguf_has(in->g, full_key(in, same[i].key)) &&
            (!gr_gguf_f64(in->g, in->key, &x) || !(fabs(x - same[i].value) <= 1e-6 * usual)))
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\" is not %g, and llama.cpp leaves it aside in the "
                         "architecture %s", in->name, in->key, same[i].value, in->arch);
    return rc;
}

static gram_status read_ropes(struct in *in, gr_config *c, const gr_weights *w, gram_err *err)
{
    bool two = gr_config_has(c, GR_HAS_TWO_ROPES), one = gr_config_has(c, GR_HAS_ONE_BASE);
    bool far = gr_weights_find(w, "rope_factors_long.weight") != NULL && gr_config_has(c, GR_HAS_LONG_ROPE);
    gr_rope r[2] = { { .kind = GR_ROPE_DEFAULT } };
    bool yarn;
    double old, attn;
    gr_str type = { "linear", 6 };          /* as llama.cpp takes it where nothing is said */
    gram_status rc;

    if (gr_gguf_has(in->g, full_key(in, "rope.scaling.type")) && !gr_gguf_str(in->g, in->key, &type))
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%s\" is not a string", in->name, in->key);
    yarn = type.n == 4 && !memcmp(type.p, "yarn", 4) && !gr_config_has(c, GR_HAS_LONG_ROPE);
    if (!yarn && !(type.n == 4 && !memcmp(type.p, "none", 4)) && !(type.n == 6 && !memcmp(type.p, "linear", 6)) &&
        !(far && type.n == 8 && !memcmp(type.p, "longrope", 8)))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: rope scaling \"%.*s\" is not supported; supported: none, linear, "
                       "yarn", in->name, (int)gr_min(type.n, 64), type.p);
    rc = get_number(in, "rope.scaling.attn_factor", 1, &attn, err);
    if (!rc && ((!far && !yarn) || (yarn && two)) && (attn < 1 || attn > 1))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\" %g is not supported, only 1", in->name, in->key, attn);
    if (!rc)
        rc = get_number(in, "rope.freq_base", two && !one ? 1e6 : 1e4, &r[0].theta, err);
    if (!rc)
        rc = get_number(in, "rope.scale_linear", 1, &old, err);
    if (!rc)
        rc = get_number(in, "rope.scaling.factor", old, &r[0].factor, err);
    if (rc)
        return rc;
    if (type.n == 6 && (r[0].factor > 1 || r[0].factor < 1))
        r[0].kind = GR_ROPE_LINEAR;
    if (yarn)
        rc = read_yarn(in, c, &r[0], &attn, err);
    r[1] = r[0];
    if (!rc && two) {                       /* its windows keep the short-range rope, unscaled */
        r[1].kind = GR_ROPE_DEFAULT;
        rc = get_number(in, "rope.freq_base_swa", one ? r[0].theta : 1e4, &r[1].theta, err);
        if (!rc && one && (r[1].theta < r[0].theta || r[1].theta > r[0].theta))
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%s\" %g is not \"rope.freq_base\", which llama.cpp has in "
                         "all layers of %s", in->name, in->key, r[1].theta, in->arch);
    }
    for (size_t i = 0; i < 2 && !rc; i++) {
        c->rope_scale[i] = i && two ? 1 : (float)attn;
        c->rope[i] = r[i];
        if (!far)
            rc = gr_rope_freq(&c->inv_freq[i], &r[i], c->rope_dim, err);
    }
    if (!rc && far)
        return read_far(in, c, w, err);
    return rc ? rc : divide_by_factors(in, c, w, err);
}

static gram_status read_bare(const struct in *in, gr_config *c, gram_err *err)
{
    size_t but = gr_arch_of(c->architecture)->rope_but;

    if (!but)
        return GRAM_OK;
    c->bare = gr_calloc(c->layers, sizeof *c->bare);
    if (!c->bare)
        return gr_nomem(err, in->name);
    for (size_t i = 0; i < c->layers; i++)
        c->bare[i] = (i + 1) % but == 0;
    return GRAM_OK;
}

static gram_status read_caps(struct in *in, gr_config *c, gram_err *err)
{
    const gr_arch_row *a = gr_arch_of(c->architecture);
    double x;
    gram_status rc;

    if (!gr_config_has(c, GR_HAS_CAPS))
        return GRAM_OK;
    rc = get_number(in, "attn_logit_softcapping", (double)a->otherwise.attn_cap, &x, err);
    if (!rc)
        rc = gr_config_take_cap(&c->attn_cap, x, in->name, in->key, err);
    if (!rc)
        rc = get_number(in, "final_logit_softcapping", (double)a->otherwise.logit_cap, &x, err);
    if (!rc)
        rc = gr_config_take_cap(&c->logit_cap, x, in->name, in->key, err);
    return rc;
}

/* Granite's. Of the attention's 0 is the usual one, too. */
static gram_status read_multipliers(struct in *in, gr_config *c, gram_err *err)
{
    const struct { const char *key; float *out; } each[] = {
        { "embedding_scale", &c->embed_scale }, { "attention.scale", &c->attn_scale },
        { "residual_scale", &c->branch_scale }, { "logit_scale", &c->logit_div },
    };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(each) && !rc; i++) {
        double x = 1;
        if (!gr_gguf_has(in->g, full_key(in, each[i].key)) ||
            (each[i].out == &c->attn_scale && gr_gguf_f64(in->g, in->key, &x) && x >= 0 && x <= 0))
            continue;
        rc = get_number(in, each[i].key, 1, &x, err);
        if (!rc)
            rc = gr_config_take_factor(each[i].out, x, in->name, in->key, err);
    }
    return rc;
}

static int32_t token_id(const gr_gguf *g, const char *key)
{
    uint64_t id;

    return gr_gguf_u64(g, key, &id) && id <= INT32_MAX ? (int32_t)id : -1;
}

/* llama.cpp's kinds of pooling: a model of kind 4 ranks texts by its head, and 1 to 3 make one vector of a text. */
static void read_pooling(struct in *in, gr_config *c)
{
    enum { MEAN = 1, RANK = 4 };
    uint64_t kind = 0;

    c->said.labels = -1;
    if (!gr_gguf_u64(in->g, full_key(in, "pooling_type"), &kind) || kind < MEAN)
        return;
    snprintf(c->said.by, sizeof c->said.by, "pooling type %d%s", (int)gr_min(kind, 99), kind == RANK ? ", rank" : "");
    c->said.end = kind == RANK ? GR_SAYS_HEAD : GR_SAYS_NOTHING;
    c->said.vectors = kind != RANK;
}

static void read_parts(gr_config *c, const gr_gguf *g, const gr_weights *w)
{
    c->attn_scale = gr_config_gguf_scale(c);
    gr_config_of_arch(c);
    c->norm_bias = 0;                       /* the converter has added it */
    c->rope_interleaved = gr_config_has(c, GR_GGUF_PAIRS);
    c->tied_head = !gr_weights_find(w, "output.weight");
    c->qkv_bias = gr_weights_find(w, "blk.0.attn_q.bias") != NULL;
    c->o_bias = gr_weights_find(w, "blk.0.attn_output.bias") != NULL;
    c->words = true;
    c->init_std = 0.02;
    c->pad = c->last = -1;
    c->bos = token_id(g, "tokenizer.ggml.bos_token_id");
    c->eos = token_id(g, "tokenizer.ggml.eos_token_id");
    c->prefix = "";
}

gram_status gr_config_from_gguf(gr_config *out, const gr_gguf *g, const gr_weights *w, gram_err *err)
{
    struct in in = { .name = gr_weights_path(w), .g = g };
    gram_status rc;

    *out = (gr_config){ 0 };
    rc = find_arch(&in, out, err);
    if (!rc)
        rc = refuse_unknown(&in, out, w, err);
    if (!rc)
        rc = check_keys(&in, out, err);
    if (!rc)
        rc = read_sizes(&in, out, w, err);
    if (!rc)
        rc = read_bare(&in, out, err);
    if (!rc && gr_config_has(out, GR_HAS_EXPERTS))
        rc = read_experts(&in, out, err);
    if (!rc)
        rc = read_windows(&in, out, err);
    if (!rc)
        rc = read_ropes(&in, out, w, err);
    if (!rc)
        rc = read_caps(&in, out, err);
    if (!rc) {
        read_parts(out, g, w);
        read_pooling(&in, out);
    }
    if (!rc && gr_config_has(out, GR_HAS_MULTIPLIERS))
        rc = read_multipliers(&in, out, err);
    if (rc)
        gr_config_clear(out);
    return rc;
}
