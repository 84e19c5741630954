/* config_layers.c - of a config.json what may differ from layer to layer: rope, windows, experts. See config.c. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/config_in_int.h"

/* ---- Rope ----------------------------------------------------------------------------------------- */

/* "su" and "yarn" are the names that the first Phi-3 had for longrope. */
static gram_status read_kind(const struct gr_config_in *in, json_t *o, gr_rope_kind *out, gram_err *err)
{
    json_t *type = gr_in_get(o, "rope_type") ? gr_in_get(o, "rope_type") : gr_in_get(o, "type");
    json_t *factor = gr_in_get(o, "factor");
    const char *kind = type ? json_string_value(type) : "default";
    bool far = in->row->has & GR_HAS_LONG_ROPE, own = in->row->has & GR_HAS_OWN_FORM;

    if (!kind)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"rope_type\" is not a string", in->name);
    if (!type && factor && !(json_number_value(factor) >= 1 && json_number_value(factor) <= 1))
        return gr_fail(err, GRAM_EFORMAT, "%s: rope has a \"factor\" and no \"rope_type\", which says what is scaled "
                       "by it", in->name);
    if (far && (!strcmp(kind, "su") || !strcmp(kind, "yarn")))
        kind = "longrope";
    *out = far && !strcmp(kind, "longrope") ? GR_ROPE_LONG : !strcmp(kind, "linear") ? GR_ROPE_LINEAR
         : !strcmp(kind, "llama3") ? GR_ROPE_LLAMA3 : !strcmp(kind, "dynamic") ? GR_ROPE_DYNAMIC
         : !own && !strcmp(kind, "yarn") ? GR_ROPE_YARN : GR_ROPE_DEFAULT;
    if (*out == GR_ROPE_DEFAULT && strcmp(kind, "default"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: rope type \"%s\" is not supported; supported: default, linear, "
                       "llama3, dynamic%s", in->name, kind, far ? ", longrope" : own ? "" : ", yarn");
    return GRAM_OK;
}

/* A set within the set is one for some of the layers: "full_attention". */
static gram_status check_flat(const struct gr_config_in *in, json_t *o, gram_err *err)
{
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v)
        if (json_is_object(v))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: rope of its own for some of the layers (\"%.64s\") is not "
                           "supported for %s", in->name, key, in->row->name);
    return GRAM_OK;
}

/* How many channels of a head rope turns. */
static gram_status read_partial(const struct gr_config_in *in, json_t *o, size_t head_dim, size_t *out, gram_err *err)
{
    double part;
    gram_status rc = gr_in_number(in, in->text, "partial_rotary_factor", 1, &part, err);

    if (!rc)
        rc = gr_in_number(in, o, "partial_rotary_factor", part, &part, err);
    if (rc)
        return rc;
    if (part > 1 || (part < 1 && !(in->row->has & GR_HAS_LONG_ROPE)))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"partial_rotary_factor\" %g is not supported, only 1%s", in->name,
                       part, part > 1 ? " and less" : "");
    *out = (size_t)((double)head_dim * part);
    if (*out == 0 || *out % 2)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"partial_rotary_factor\" %g makes %zu of a head's %zu channels, an "
                       "even number wanted", in->name, part, *out, head_dim);
    return GRAM_OK;
}

static gram_status read_factors(const struct gr_config_in *in, json_t *o, const char *key, size_t n, float **out,
                                gram_err *err)
{
    json_t *list = gr_in_get(o, key);

    if (!json_is_array(list) || json_array_size(list) != n)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\" has %zu entries, %zu numbers wanted, half the channels that rope "
                       "turns", in->name, key, json_array_size(list), n);
    *out = gr_calloc(n, sizeof **out);
    if (!*out)
        return gr_nomem(err, in->name);
    for (size_t i = 0; i < n; i++) {
        (*out)[i] = (float)json_number_value(json_array_get(list, i));
        if (!((*out)[i] > 1e-6f && (*out)[i] < 1e9f))       /* what is divided by it stays finite */
            return gr_fail(err, GRAM_EFORMAT, "%s: \"%s\": entry %zu is not a positive number", in->name, key, i);
    }
    return GRAM_OK;
}

/* transformers' Phi3Config has an "original_max_position_embeddings" beside the sizes, 4096 where a file has none, and
 * lets it win over the one among rope's parameters. */
static gram_status read_far(const struct gr_config_in *in, json_t *o, gr_config *c, gram_err *err)
{
    json_t *inner = gr_in_get(o, "original_max_position_embeddings");
    size_t original, n = c->rope_dim / 2;
    double attention;
    gram_status rc = gr_in_size(in, "original_max_position_embeddings", 4096, MAX_CONTEXT, &original, err);

    if (!rc && (original < 2 || (inner && !(json_number_value(inner) >= (double)original &&
                                            json_number_value(inner) <= (double)original))))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"original_max_position_embeddings\" is %zu beside the sizes, and %g in "
                       "rope's parameters", in->name, original, json_number_value(inner));
    if (!rc && (gr_in_get(o, "short_mscale") || gr_in_get(o, "long_mscale")))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"short_mscale\" and \"long_mscale\" are not supported: "
                     "transformers' Phi-3 leaves them aside, and other programs multiply by them", in->name);
    c->rope[0].original = (double)original;
    if (!rc)
        rc = gr_in_number(in, o, "factor", (double)c->context / (double)original, &c->rope[0].factor, err);
    if (!rc)
        rc = gr_in_number(in, o, "attention_factor", gr_rope_attention(c->rope[0].factor, (double)original), &attention,
                        err);
    if (!rc)
        rc = read_factors(in, o, "short_factor", n, &c->far.shorts, err);
    if (!rc)
        rc = read_factors(in, o, "long_factor", n, &c->far.longs, err);
    if (rc)
        return rc;
    c->rope_scale[0] = c->rope_scale[1] = (float)attention;
    c->rope[1] = c->rope[0];
    return gr_rope_far(c, err);
}

/* Of YaRN and of dynamic rope a key that nobody knows is taken for one that changes the numbers, as "alpha" does. */
static gram_status check_set(const struct gr_config_in *in, json_t *o, gr_rope_kind kind, gram_err *err)
{
    static const char *const known[] = {
        "rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings",
        "finetuned", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"
    };
    size_t n = kind == GR_ROPE_YARN ? GR_COUNT(known) : 5, i;
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v) {
        for (i = 0; i < n && strcmp(key, known[i]); i++)
            ;
        if (i == n && !json_is_null(v))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%.64s\" of rope is set, and what it does to the numbers is "
                           "not supported", in->name, key);
    }
    return GRAM_OK;
}

/* As transformers' _compute_yarn_parameters(). */
static gram_status read_yarn(const struct gr_config_in *in, json_t *o, gr_config *c, size_t i, gram_err *err)
{
    gr_rope *r = &c->rope[i];
    double ratio = json_is_null(json_object_get(o, "factor")) ? (double)c->context / r->original : 0, m = 1, all = 1;
    double attention;
    bool both = gr_in_get(o, "mscale") && gr_in_get(o, "mscale_all_dim");
    gram_status rc = gr_in_number(in, o, "factor", ratio, &r->factor, err);

    if (!rc)
        rc = gr_in_number(in, o, "beta_fast", 32, &r->high, err);
    if (!rc)
        rc = gr_in_number(in, o, "beta_slow", 1, &r->low, err);
    if (!rc)
        rc = gr_in_bool(in, o, "truncate", true, &r->truncate, err);
    if (!rc && !r->truncate && gr_config_has(c, GR_HAS_TWO_ROPES))     /* transformers leaves it aside there */
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"truncate\" false is not supported for %s", in->name, in->row->name);
    if (!rc)
        rc = gr_in_number(in, o, "mscale", 1, &m, err);
    if (!rc)
        rc = gr_in_number(in, o, "mscale_all_dim", 1, &all, err);
    if (!rc && !(r->theta > 1))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: \"rope_theta\" is %g, more than 1 wanted for yarn", in->name, r->theta);
    attention = both ? gr_rope_mscale(r->factor, m) / gr_rope_mscale(r->factor, all) : gr_rope_mscale(r->factor, 1);
    if (!rc)
        rc = gr_in_number(in, o, "attention_factor", attention, &attention, err);
    c->rope_scale[i] = (float)attention;
    return rc;
}

/* One set of rope parameters; o may be NULL. theta: where the set does not say. */
static gram_status read_rope(const struct gr_config_in *in, json_t *o, double theta, gr_config *c, size_t i,
                             gram_err *err)
{
    json_t *outer = gr_config_has(c, GR_HAS_TWO_ROPES) ? NULL : gr_in_get(in->text, "original_max_position_embeddings");
    gr_rope *r = &c->rope[i];
    gram_status rc;

    if (o && !json_is_object(o))
        return gr_fail(err, GRAM_EFORMAT, "%s: the rope parameters are not an object", in->name);
    rc = check_flat(in, o, err);
    if (!rc)
        rc = read_kind(in, o, &r->kind, err);
    if (!rc)
        rc = read_partial(in, o, c->head_dim, &c->rope_dim, err);
    if (!rc)
        rc = gr_in_number(in, o, "rope_theta", theta, &r->theta, err);
    if (!rc && (r->kind == GR_ROPE_YARN || r->kind == GR_ROPE_DYNAMIC))
        rc = check_set(in, o, r->kind, err);
    if (!rc && (r->kind == GR_ROPE_LINEAR || r->kind == GR_ROPE_LLAMA3 || r->kind == GR_ROPE_DYNAMIC))
        rc = gr_in_number(in, o, "factor", 0, &r->factor, err);
    if (!rc && (r->kind == GR_ROPE_LLAMA3 || r->kind == GR_ROPE_YARN))
        rc = gr_in_number(in, outer ? in->text : o, "original_max_position_embeddings", (double)c->context,
                          &r->original, err);
    if (!rc && r->kind == GR_ROPE_YARN)
        return read_yarn(in, o, c, i, err);
    if (rc || r->kind != GR_ROPE_LLAMA3)
        return rc;
    rc = gr_in_number(in, o, "low_freq_factor", 0, &r->low, err);
    if (!rc)
        rc = gr_in_number(in, o, "high_freq_factor", 0, &r->high, err);
    if (!rc && !(r->high > r->low))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: \"high_freq_factor\" %g is not above \"low_freq_factor\" %g", in->name,
                     r->high, r->low);
    return rc;
}

/* Gemma 3 and OLMo 3 have one rope for each kind of layer; `rope_scaling` of the old form is the full layers' alone.
 * transformers 5 takes an OLMo 3's `rope_theta` of the old form for the full layers alone, and 4 for all. */
static gram_status read_two_ropes(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    json_t *both = gr_in_get(in->text, "rope_parameters"), *scaling = gr_in_get(in->text, "rope_scaling");
    json_t *full = gr_in_get(both, "full_attention"), *local = gr_in_get(both, "sliding_attention");
    double theta[2], usual = in->row->otherwise.theta;
    bool one = in->row->has & GR_HAS_ONE_BASE;
    gram_status rc;

    if (one && gr_in_get(in->text, "rope_local_base_freq"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"rope_local_base_freq\" is not supported for %s", in->name,
                       in->row->name);
    if (both && !full && !local && json_object_size(both) > 0)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"rope_parameters\" has neither \"full_attention\" nor "
                       "\"sliding_attention\"", in->name);
    if (full && scaling)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"rope_scaling\" and \"rope_parameters\" are both there", in->name);
    rc = gr_in_number(in, in->text, "rope_theta", in->row->otherwise.theta, &theta[0], err);
    if (!rc)
        rc = gr_in_number(in, in->text, "rope_local_base_freq", one ? usual : 1e4, &theta[1], err);
    if (!rc && one && !(full && local) && (theta[0] < usual || theta[0] > usual))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"rope_theta\" %g, where not \"rope_parameters\" say it of both "
                     "kinds of layers: versions of transformers do not agree on those with a window", in->name,
                     theta[0]);
    if (!rc)
        rc = read_rope(in, full ? full : scaling, theta[0], c, 0, err);
    if (!rc)
        rc = read_rope(in, local, theta[1], c, 1, err);
    return rc;
}

gram_status gr_config_read_ropes(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    json_t *scaling = gr_in_get(in->text, "rope_scaling");    /* where both forms are there, transformers takes it */
    json_t *set = scaling ? scaling : gr_in_get(in->text, "rope_parameters");
    double theta;
    gram_status rc;

    c->rope_scale[0] = c->rope_scale[1] = 1;
    if (gr_config_has(c, GR_HAS_TWO_ROPES)) {
        rc = read_two_ropes(in, c, err);
    } else {
        rc = gr_in_number(in, in->text, "rope_theta", in->row->otherwise.theta, &theta, err);
        if (!rc)
            rc = read_rope(in, set, theta, c, 0, err);
        c->rope[1] = c->rope[0];
        c->rope_scale[1] = c->rope_scale[0];
    }
    for (size_t i = 0; i < 2 && !rc; i++)
        if (c->rope[i].kind != GR_ROPE_LONG)
            rc = gr_rope_freq(&c->inv_freq[i], &c->rope[i], c->rope_dim, err);
    return rc || c->rope[0].kind != GR_ROPE_LONG ? rc : read_far(in, set, c, err);
}

/* Which layers have no rope. In "no_rope_layers" a 1 stands for a layer that has one. */
gram_status gr_config_read_bare(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    json_t *list = gr_in_get(in->text, "no_rope_layers");
    size_t but = in->row->rope_but;
    gram_status rc = GRAM_OK;

    if (!but)
        return GRAM_OK;
    rc = gr_in_size(in, "no_rope_layer_interval", but, MAX_LAYERS, &but, err);
    if (rc)
        return rc;
    if (list && (!json_is_array(list) || json_array_size(list) != c->layers))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"no_rope_layers\" has %zu entries, %zu layers wanted", in->name,
                       json_array_size(list), c->layers);
    c->bare = gr_calloc(c->layers, sizeof *c->bare);
    if (!c->bare)
        return gr_nomem(err, in->name);
    for (size_t i = 0; i < c->layers; i++) {
        json_t *v = json_array_get(list, i);
        json_int_t n = json_is_boolean(v) ? json_is_true(v) : json_is_integer(v) ? json_integer_value(v) : -1;
        if (list && n != 0 && n != 1)
            return gr_fail(err, GRAM_EFORMAT, "%s: \"no_rope_layers\": entry %zu is neither 0 nor 1", in->name, i);
        c->bare[i] = list ? n == 0 : (i + 1) % but == 0;
    }
    return GRAM_OK;
}

/* ---- Windows -------------------------------------------------------------------------------------- */

static gram_status read_layer_types(const struct gr_config_in *in, gr_config *c, json_t *types, gram_err *err)
{
    if (!json_is_array(types) || json_array_size(types) != c->layers)
        return gr_fail(err, GRAM_EFORMAT, "%s: \"layer_types\" has %zu entries, %zu layers wanted", in->name,
                       json_array_size(types), c->layers);
    for (size_t i = 0; i < c->layers; i++) {
        const char *s = json_string_value(json_array_get(types, i));
        if (!s || (strcmp(s, "full_attention") && strcmp(s, "sliding_attention")))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: layer type \"%s\" is not supported; supported: full_attention, "
                           "sliding_attention", in->name, s ? s : "(not a string)");
        c->sliding[i] = *s == 's';
    }
    return GRAM_OK;
}

/* Which layers see a window of keys only, and how wide it is. */
gram_status gr_config_read_windows(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    json_t *types = gr_in_get(in->text, "layer_types");
    bool by_pattern = in->row->slide == GR_SLIDE_PATTERN, asked = in->row->slide == GR_SLIDE_ASKED;
    bool all_asked = in->row->slide == GR_SLIDE_ALL_ASKED, listed = in->row->slide == GR_SLIDE_LISTED;
    bool used = by_pattern || listed || in->row->slide == GR_SLIDE_ALL, any = false;
    json_t *from = json_object_get(in->text, "max_window_layers");
    size_t pattern = in->row->slide_but;
    gram_status rc = GRAM_OK;

    c->sliding = gr_calloc(c->layers, sizeof *c->sliding);
    if (!c->sliding)
        return gr_nomem(err, in->name);
    if (asked || all_asked)
        rc = gr_in_bool(in, in->text, "use_sliding_window", false, &used, err);
    if (!rc && used && !json_is_null(json_object_get(in->text, "sliding_window")))
        rc = gr_in_size(in, "sliding_window", in->row->otherwise.window, MAX_CONTEXT, &c->window, err);
    if (!rc && by_pattern)
        rc = gr_in_size(in, "sliding_window_pattern", pattern, MAX_LAYERS, &pattern, err);
    if (!rc && asked && from && (!json_is_integer(from) || json_integer_value(from) < 0))
        rc = gr_fail(err, GRAM_EFORMAT, "%s: \"max_window_layers\" is not a count", in->name);
    if (rc)
        return rc;
    if (c->window && !types && in->row->has & GR_HAS_SHARED)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"use_sliding_window\" without \"layer_types\": versions of "
                       "transformers have it in other layers of a %s", in->name, in->row->name);
    if (types && (by_pattern || asked || listed)) {
        rc = read_layer_types(in, c, types, err);
    } else {
        uint64_t first = from && asked ? (uint64_t)json_integer_value(from) : 28;
        for (size_t i = 0; i < c->layers; i++)
            c->sliding[i] = by_pattern ? (i + 1) % pattern != 0 : !c->window ? false : c->bare ? c->bare[i]
                                                                  : !asked || i >= first;
    }
    for (size_t i = 0; i < c->layers; i++)
        any = any || c->sliding[i];
    if (!rc && any && !c->window)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: layers slide but \"sliding_window\" is not set", in->name);
    if (!any)
        c->window = 0;
    return rc;
}

/* ---- Experts --------------------------------------------------------------------------------------- */

/* As Qwen3MoeDecoderLayer chooses: each decoder_sparse_step-th layer, but for those that are listed. Others have
 * experts in every layer. */
static gram_status read_sparse(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    bool all = !gr_arch_own_key(c->architecture, "mlp_only_layers");
    json_t *dense = all ? NULL : gr_in_get(in->text, "mlp_only_layers"), *v;
    size_t step = 1, i;
    gram_status rc = all ? GRAM_OK : gr_in_size(in, "decoder_sparse_step", 1, MAX_LAYERS, &step, err);

    if (rc)
        return rc;
    if (dense && !json_is_array(dense))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"mlp_only_layers\" is not a list", in->name);
    c->sparse = gr_calloc(c->layers, sizeof *c->sparse);
    if (!c->sparse)
        return gr_nomem(err, in->name);
    for (i = 0; i < c->layers; i++)
        c->sparse[i] = (i + 1) % step == 0;
    json_array_foreach(dense, i, v) {
        if (!json_is_integer(v))
            return gr_fail(err, GRAM_EFORMAT, "%s: \"mlp_only_layers\": entry %zu is no number of a layer", in->name,
                           i);
        if (json_integer_value(v) >= 0 && (uint64_t)json_integer_value(v) < c->layers)
            c->sparse[json_integer_value(v)] = false;
    }
    return GRAM_OK;
}

/* A shared expert stands in the place of the MLP of a layer without experts, and is as wide. */
static gram_status read_shared(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    size_t hidden;
    gram_status rc = gr_in_size(in, "shared_expert_intermediate_size", 5632, MAX_HIDDEN, &hidden, err);

    for (size_t i = 0; i < c->layers && !rc; i++)
        if (!c->sparse[i] && hidden != c->hidden)
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: layers without experts of \"intermediate_size\" %zu beside a "
                         "\"shared_expert_intermediate_size\" of %zu are not supported, only alike", in->name,
                         c->hidden, hidden);
    c->hidden = hidden;
    return rc;
}

/* transformers 4 writes "num_experts" and 5 "num_local_experts". */
gram_status gr_config_read_experts(const struct gr_config_in *in, gr_config *c, gram_err *err)
{
    const gr_arch_row *a = in->row;
    const char *key = gr_in_get(in->text, "num_local_experts") ? "num_local_experts" : "num_experts";
    json_t *old = gr_in_get(in->text, "num_experts"), *now = gr_in_get(in->text, key);
    gram_status rc;

    if (!(a->has & GR_HAS_EXPERTS))
        return GRAM_OK;
    if (now && json_is_integer(now) && json_integer_value(now) == 0)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%s\" 0: a model without experts is of another architecture",
                       in->name, key);
    if (old && now && !json_equal(old, now))
        return gr_fail(err, GRAM_EFORMAT, "%s: \"num_experts\" and \"num_local_experts\" are not the same", in->name);
    rc = gr_in_size(in, key, a->experts, MAX_EXPERTS, &c->experts, err);
    if (!rc)
        rc = gr_in_size(in, "num_experts_per_tok", a->chosen, MAX_EXPERTS, &c->chosen, err);
    c->expert_hidden = c->hidden;
    if (!rc && a->expert_hidden)
        rc = gr_in_size(in, "moe_intermediate_size", a->expert_hidden, MAX_HIDDEN, &c->expert_hidden, err);
    c->norm_chosen = true;                  /* where no key says otherwise */
    if (!rc && gr_arch_own_key(c->architecture, "norm_topk_prob"))
        rc = gr_in_bool(in, in->text, "norm_topk_prob", false, &c->norm_chosen, err);
    if (!rc)
        rc = gr_in_bool(in, in->text, "output_router_logits", false, &c->router_loss, err);
    if (!rc)
        rc = gr_config_check_experts(c, in->name, err);
    if (!rc)
        rc = read_sparse(in, c, err);
    return rc || !(a->has & GR_HAS_SHARED) ? rc : read_shared(in, c, err);
}
