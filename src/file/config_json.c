/* config_json.c - a configuration as the config.json that transformers reads, in the spelling that both of its
 * generations take (rope_theta and rope_scaling beside the sizes). What its classes cannot say is refused. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <jansson.h>
#include "base/err.h"
#include "base/json.h"
#include "file/config_int.h"

/* The number with the fewest digits that is the same float32: 1e-05 where the float is 9.99999975e-06. */
static json_t *real(double x)
{
    char text[32];

    for (int digits = 6; digits <= FLT_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)(float)x);
        if (strtof(text, NULL) == (float)x)     /* strtof() reads the C locale's point, as jansson does */
            break;
    }
    return json_real(strtod(text, NULL));
}

static json_t *id(int32_t token)
{
    return token < 0 ? json_null() : json_integer(token);
}

static json_t *factors(const float *f, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(list, real((double)f[i])))
            return json_decref(list), NULL;
    return list;
}

static json_t *yarn(const gr_rope *r, float attention)
{
    return json_pack("{s:s, s:o, s:I, s:o, s:o, s:b, s:o}", "rope_type", "yarn", "factor", real(r->factor),
                     "original_max_position_embeddings", (json_int_t)r->original, "beta_fast", real(r->high),
                     "beta_slow", real(r->low), "truncate", r->truncate, "attention_factor", real((double)attention));
}

static json_t *scaling(const gr_config *c)
{
    const gr_rope *r = &c->rope[0];

    if (r->kind == GR_ROPE_LONG)
        return json_pack("{s:s, s:o, s:o, s:o}", "rope_type", "longrope", "short_factor",
                         factors(c->far.shorts, c->rope_dim / 2), "long_factor",
                         factors(c->far.longs, c->rope_dim / 2), "attention_factor", real((double)c->rope_scale[0]));
    if (r->kind == GR_ROPE_LINEAR || r->kind == GR_ROPE_DYNAMIC)
        return json_pack("{s:s, s:o}", "rope_type", r->kind == GR_ROPE_LINEAR ? "linear" : "dynamic", "factor",
                         real(r->factor));
    if (r->kind == GR_ROPE_YARN)
        return yarn(r, c->rope_scale[0]);
    if (r->kind != GR_ROPE_LLAMA3)
        return json_null();
    return json_pack("{s:s, s:o, s:o, s:o, s:I}", "rope_type", "llama3", "factor", real(r->factor), "low_freq_factor",
                     real(r->low), "high_freq_factor", real(r->high), "original_max_position_embeddings",
                     (json_int_t)r->original);
}

/* The share of a head that rope turns: what it is multiplied by is rounded down. */
static double part_of(size_t some, size_t all)
{
    double part = (double)some / (double)all;

    return (size_t)((double)all * part) == some ? part : ((double)some + 0.25) / (double)all;
}

bool gr_config_slides_in_part(const gr_config *c)
{
    size_t n = 0;

    while (n < c->layers && c->sliding[n])
        n++;
    return c->window && n < c->layers;
}

static json_t *layer_types(const gr_config *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->layers; i++)
        if (json_array_append_new(list, json_string(c->sliding[i] ? "sliding_attention" : "full_attention")))
            return json_decref(list), NULL;
    return list;
}

static json_t *rope_layers(const gr_config *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->layers; i++)
        if (json_array_append_new(list, json_integer(!c->bare[i])))
            return json_decref(list), NULL;
    return list;
}

/* ---- What the classes can say --------------------------------------------------------------------- */

/* The row of the class that it is written for. */
static const gr_arch_row *row_of(const gr_config *c)
{
    return gr_arch_of(gr_arch_written(c->architecture, c->window > 0));
}

static gram_status check(const gr_config *c, const char *name, gram_err *err)
{
    const gr_arch_row *a = row_of(c);
    bool qkv = c->qkv_bias, o = c->o_bias;

    if (gr_arch_own_key(c->architecture, "qkv_bias") ? o :
        a->has & GR_HAS_QKV_BIAS ? !qkv || o : a->has & GR_HAS_BIAS_KEY ? qkv != o : qkv || o)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: biases %s q, k and v and %s the output of the attention: "
                       "transformers' %s has no such form", name, qkv ? "of" : "not of", o ? "of" : "not of",
                       a->causal);
    if (a->slide == GR_SLIDE_ALL_ASKED && gr_config_slides_in_part(c))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: layers without a window beside others with one: transformers' %s "
                       "has no such form", name, a->causal);
    if (a->has & GR_HAS_TWO_ROPES && c->rope[1].kind != GR_ROPE_DEFAULT)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: scaled rope in the layers with a window is not written in a "
                       "config.json of %s", name, a->name);
    if (c->rope[0].kind == GR_ROPE_TABLE)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"rope_freqs.weight\" holds factors that are not those of "
                       "llama3's scaling, and config.json has no place for a list", name);
    return GRAM_OK;
}

/* ---- The text ------------------------------------------------------------------------------------- */

/* query_pre_attn_scalar: a whole number wherever one gives the same scale. */
static json_t *query_scalar(float scale)
{
    double x = 1 / ((double)scale * (double)scale);

    return (float)(1 / sqrt(rint(x))) == scale ? json_integer((json_int_t)rint(x)) : json_real(x);
}

static json_t *cap(float x)
{
    return x > 0 ? real((double)x) : json_null();
}

static int set_sizes(json_t *o, const gr_config *c)
{
    const struct { const char *key; size_t n; } size[] = {
        { "hidden_size", c->width }, { "intermediate_size", c->hidden }, { "num_hidden_layers", c->layers },
        { "num_attention_heads", c->heads }, { "num_key_value_heads", c->kv_heads }, { "head_dim", c->head_dim },
        { "vocab_size", c->vocabulary }, { "max_position_embeddings", c->context },
    };
    int bad = 0;

    for (size_t i = 0; i < GR_COUNT(size); i++)
        bad |= json_object_set_new(o, size[i].key, json_integer((json_int_t)size[i].n));
    return bad;
}

/* mlp_only_layers says all of it. */
static json_t *dense_layers(const gr_config *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->layers; i++)
        if (!c->sparse[i] && json_array_append_new(list, json_integer((json_int_t)i)))
            return json_decref(list), NULL;
    return list;
}

static int set_experts(json_t *o, const gr_config *c)
{
    const char *count = c->architecture == GR_ARCH_MIXTRAL ? "num_local_experts" : "num_experts";
    int bad = 0;

    if (!c->experts)
        return 0;
    bad |= json_object_set_new(o, count, json_integer((json_int_t)c->experts));
    bad |= json_object_set_new(o, "num_experts_per_tok", json_integer((json_int_t)c->chosen));
    if (gr_arch_of(c->architecture)->expert_hidden)
        bad |= json_object_set_new(o, "moe_intermediate_size", json_integer((json_int_t)c->expert_hidden));
    if (gr_config_has(c, GR_HAS_SHARED))
        bad |= json_object_set_new(o, "shared_expert_intermediate_size", json_integer((json_int_t)c->hidden));
    if (gr_arch_own_key(c->architecture, "qkv_bias"))
        bad |= json_object_set_new(o, "qkv_bias", json_boolean(c->qkv_bias));
    if (gr_arch_own_key(c->architecture, "norm_topk_prob"))
        bad |= json_object_set_new(o, "norm_topk_prob", json_boolean(c->norm_chosen));
    if (gr_arch_own_key(c->architecture, "mlp_only_layers")) {
        bad |= json_object_set_new(o, "decoder_sparse_step", json_integer(1));
        bad |= json_object_set_new(o, "mlp_only_layers", dense_layers(c));
    }
    bad |= json_object_set_new(o, "output_router_logits", json_boolean(c->router_loss));
    return bad;
}

static int set_attention(json_t *o, const gr_config *c)
{
    const gr_arch_row *a = row_of(c);
    int bad = json_object_set_new(o, c->geglu && !(a->has & GR_HAS_GELU_NAMED) ? "hidden_activation" : "hidden_act",
                                  json_string(c->geglu ? "gelu_pytorch_tanh" : "silu"));

    if (c->far.after)
        bad |= json_object_set_new(o, "original_max_position_embeddings", json_integer((json_int_t)c->far.after));
    if (c->rope_dim < c->head_dim)
        bad |= json_object_set_new(o, "partial_rotary_factor", json_real(part_of(c->rope_dim, c->head_dim)));
    if (a->has & GR_HAS_TWO_ROPES && !(a->has & GR_HAS_ONE_BASE))
        bad |= json_object_set_new(o, "rope_local_base_freq", real(c->rope[1].theta));
    if (a->has & GR_HAS_QUERY_SCALAR) {
        bad |= json_object_set_new(o, "query_pre_attn_scalar", query_scalar(c->attn_scale));
        bad |= json_object_set_new(o, "attn_logit_softcapping", cap(c->attn_cap));
        bad |= json_object_set_new(o, "final_logit_softcapping", cap(c->logit_cap));
    }
    if (a->has & GR_HAS_MULTIPLIERS) {
        bad |= json_object_set_new(o, "embedding_multiplier", real((double)c->embed_scale));
        bad |= json_object_set_new(o, "attention_multiplier", real((double)c->attn_scale));
        bad |= json_object_set_new(o, "residual_multiplier", real((double)c->branch_scale));
        bad |= json_object_set_new(o, "logits_scaling", real((double)c->logit_div));
    }
    if (c->bare)
        bad |= json_object_set_new(o, "no_rope_layers", rope_layers(c));
    if (a->has & GR_HAS_BIAS_KEY)
        bad |= json_object_set_new(o, "attention_bias", json_boolean(c->o_bias));
    if (a->has & GR_HAS_MLP_BIAS_KEY)
        bad |= json_object_set_new(o, "mlp_bias", json_false());
    if (a->slide == GR_SLIDE_ASKED || a->slide == GR_SLIDE_ALL_ASKED)
        bad |= json_object_set_new(o, "use_sliding_window", json_boolean(c->window > 0));
    if (a->slide != GR_SLIDE_NONE)
        bad |= json_object_set_new(o, "sliding_window", c->window ? json_integer((json_int_t)c->window) : json_null());
    if (a->slide == GR_SLIDE_ASKED || a->slide == GR_SLIDE_PATTERN ||
        (a->slide == GR_SLIDE_LISTED && gr_config_slides_in_part(c)))
        bad |= json_object_set_new(o, "layer_types", layer_types(c));
    return bad;
}

/* OLMo 3 has transformers 5's form: of the older one the two generations do not understand the same. */
static int set_ropes(json_t *o, const gr_config *c)
{
    json_t *full = scaling(c);
    int bad;

    if (!(row_of(c)->has & GR_HAS_ONE_BASE)) {
        bad = json_object_set_new(o, "rope_theta", real(c->rope[0].theta));
        return bad | json_object_set_new(o, "rope_scaling", full);
    }
    if (json_is_null(full))
        full = json_pack("{s:s}", "rope_type", "default");
    bad = json_object_set_new(full, "rope_theta", real(c->rope[0].theta));
    return bad | json_object_set_new(o, "rope_parameters", json_pack(
        "{s:o, s:{s:s, s:o}}", "full_attention", full, "sliding_attention", "rope_type", "default", "rope_theta",
        real(c->rope[1].theta)));
}

gram_status gr_config_json(const gr_config *c, const char *name, const char *dtype, gr_buf *out, gram_err *err)
{
    gram_status rc = check(c, name, err);
    const gr_arch_row *a = row_of(c);
    json_t *o = rc ? NULL : json_pack("{s:[s], s:s, s:s}", "architectures", a->causal, "model_type", a->model_type,
                                      "torch_dtype", dtype);
    char *text = NULL;
    int bad = 0;

    if (rc)
        return rc;
    bad |= set_sizes(o, c);
    bad |= json_object_set_new(o, "rms_norm_eps", real((double)c->rms_eps));
    bad |= set_ropes(o, c);
    bad |= set_attention(o, c);
    bad |= set_experts(o, c);
    bad |= json_object_set_new(o, "tie_word_embeddings", json_boolean(c->tied_head));
    bad |= json_object_set_new(o, "bos_token_id", id(c->bos));
    bad |= json_object_set_new(o, "eos_token_id", id(c->eos));
    if (c->last >= 0)
        bad |= json_object_set_new(o, "reward_token_id", id(c->last));
    if (a->otherwise.pad > 0)               /* which may be beyond the vocabulary */
        bad |= json_object_set_new(o, "pad_token_id", id(c->pad));
    if (!bad)
        text = gr_json_text(o, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (!text || !gr_buf_puts(out, text) || !gr_buf_puts(out, "\n"))
        rc = gr_nomem(err, name);
    free(text);
    json_decref(o);
    return rc;
}
