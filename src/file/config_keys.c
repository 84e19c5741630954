/* config_keys.c - a configuration as the keys of a GGUF, as llama.cpp's converter writes them. What llama.cpp does not
 * compute for an architecture is refused here: it would leave a key or a tensor aside without a word. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "file/config_int.h"
#include "file/gguf_write.h"

static const char *arch_of(const gr_config *c)
{
    return gr_arch_of(c->architecture)->gguf;
}

static const char *key(char out[96], const gr_config *c, const char *name)
{
    snprintf(out, 96, "%s.%s", arch_of(c), name);
    return out;
}

float gr_config_gguf_scale(const gr_config *c)
{
    bool wide = c->layers == gr_arch_of(c->architecture)->wide_layers;

    return (float)(1 / sqrt(wide ? (double)c->width / (double)c->heads : (double)c->head_dim));
}

/* Whether the layers slide as llama.cpp has it where it reads no pattern. */
static bool slides_by_default(const gr_config *c)
{
    bool same = true;

    for (size_t i = 0; i < c->layers; i++)
        same = same && c->sliding[i] == ((i + 1) % gr_arch_of(c->architecture)->slide_but != 0);
    return same;
}

/* llama.cpp knows which layers are without rope, and no key says so. */
static bool bare_as_llamacpp(const gr_config *c)
{
    for (size_t i = 0; i < c->layers && c->bare; i++)
        if (c->bare[i] != ((i + 1) % gr_arch_of(c->architecture)->rope_but == 0))
            return false;
    return true;
}

/* llama.cpp has experts in every layer, and for each architecture one way to weigh them. */
static const char *experts_without_form(const gr_config *c)
{
    bool all = true;

    for (size_t i = 0; i < c->layers && c->experts; i++)
        all = all && c->sparse[i];
    return !all ? "layers without experts among others (mlp_only_layers, decoder_sparse_step)" :
           !c->experts || c->norm_chosen == gr_config_has(c, GR_GGUF_NORM_CHOSEN) ? NULL :
           c->norm_chosen ? "experts whose weights add up to 1 (norm_topk_prob true)" :
                            "experts whose weights do not add up to 1 (norm_topk_prob false)";
}

/* llama.cpp takes YaRN's numbers of turns to be 32 and 1, and multiplies the layers with a window by the factor of the
 * attention, too. */
static const char *yarn_without_form(const gr_config *c)
{
    const gr_rope *r = &c->rope[0];
    float usual = (float)gr_rope_mscale(r->factor, 1);

    if (r->kind != GR_ROPE_YARN)
        return NULL;
    return r->high < 32 || r->high > 32 || r->low < 1 || r->low > 1 || !r->truncate
               ? "its kind of YaRN (beta_fast, beta_slow, truncate)"
         : gr_config_has(c, GR_HAS_TWO_ROPES) && (c->rope_scale[0] < usual || c->rope_scale[0] > usual)
               ? "its attention factor of YaRN (attention_factor, mscale)" : NULL;
}

static gram_status check(const gr_config *c, const char *name, gram_err *err)
{
    const gr_arch_row *a = gr_arch_of(c->architecture);
    bool scalar = a->has & GR_HAS_QUERY_SCALAR;
    bool listed = c->rope[0].kind == GR_ROPE_LLAMA3 || c->rope[0].kind == GR_ROPE_TABLE;
    const char *what = NULL;

    if (c->o_bias && !(a->has & GR_GGUF_O_BIAS))
        what = "a bias of the attention's output";
    else if (c->window && !(a->has & GR_GGUF_WINDOW))
        what = "a sliding window";
    else if (a->slide == GR_SLIDE_LISTED && gr_config_slides_in_part(c))     /* no key lists the others */
        what = "a window in some of the layers (layer_types)";
    else if (a->slide == GR_SLIDE_PATTERN && !c->window)
        what = "attention without a sliding window";
    else if (a->has & GR_HAS_CAPS && !slides_by_default(c))
        what = "a pattern of sliding layers other than every second";
    else if (a->has & GR_HAS_CAPS && !(c->attn_cap > 0 && c->logit_cap > 0))
        what = "a model without caps on scores or logits";
    else if (a->has & GR_GGUF_TIED && c->words && !c->tied_head)
        what = "a head over words that is not the embedding";
    else if (scalar && (c->attn_scale < gr_config_gguf_scale(c) || c->attn_scale > gr_config_gguf_scale(c)))
        what = "its scale of the attention (query_pre_attn_scalar)";
    else if (a->has & GR_HAS_TWO_ROPES && c->rope[1].kind != GR_ROPE_DEFAULT)
        what = "scaled rope in the layers with a window";
    else if (a->has & GR_HAS_ONE_BASE && (c->rope[0].theta < c->rope[1].theta || c->rope[0].theta > c->rope[1].theta))
        what = "a base of rope of its own in the layers with a window";
    else if (!bare_as_llamacpp(c))
        what = "its choice of layers without rope (no_rope_layers)";
    else if (listed && !(a->has & GR_GGUF_FACTORS))
        what = "rope that is scaled as Llama 3's";
    else if (a->has & GR_GGUF_HEADS_FILL && c->heads * c->head_dim != c->width)
        what = "heads that are not as wide together as the model";
    else
        what = yarn_without_form(c) ? yarn_without_form(c) : experts_without_form(c);
    if (!what)
        return GRAM_OK;
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: %s has no form in a GGUF of the architecture %s that llama.cpp "
                   "computes", name, what, arch_of(c));
}

static void add_sizes(const gr_config *c, gr_keys *k)
{
    const struct { const char *name; size_t n; } size[] = {
        { "block_count", c->layers }, { "context_length", c->context }, { "embedding_length", c->width },
        { "feed_forward_length", c->hidden }, { "attention.head_count", c->heads },
        { "attention.head_count_kv", c->kv_heads }, { "attention.key_length", c->head_dim },
        { "attention.value_length", c->head_dim }, { "rope.dimension_count", c->rope_dim },
        { "vocab_size", c->vocabulary },
    };
    char full[96];

    for (size_t i = 0; i < GR_COUNT(size); i++)
        gr_keys_u32(k, key(full, c, size[i].name), (uint32_t)size[i].n);
}

static void add_yarn(const gr_config *c, gr_keys *k)
{
    const gr_rope *r = &c->rope[0];
    double usual = gr_rope_mscale(r->factor, 1);
    char full[96];

    gr_keys_str(k, key(full, c, "rope.scaling.type"), (gr_str){ "yarn", 4 });
    gr_keys_f32(k, key(full, c, "rope.scaling.factor"), (float)r->factor);
    gr_keys_u32(k, key(full, c, "rope.scaling.original_context_length"), (uint32_t)r->original);
    if (c->rope_scale[0] < (float)usual || c->rope_scale[0] > (float)usual)
        gr_keys_f32(k, key(full, c, "rope.scaling.attn_factor"), (float)((double)c->rope_scale[0] / usual));
}

gram_status gr_config_keys(const gr_config *c, const char *name, gr_keys *k, gram_err *err)
{
    gram_status rc = check(c, name, err);
    char full[96];

    if (rc)
        return rc;
    gr_keys_str(k, "general.architecture", (gr_str){ arch_of(c), strlen(arch_of(c)) });
    add_sizes(c, k);
    if (c->experts) {
        gr_keys_u32(k, key(full, c, "expert_count"), (uint32_t)c->experts);
        gr_keys_u32(k, key(full, c, "expert_used_count"), (uint32_t)c->chosen);
        if (gr_arch_of(c->architecture)->expert_hidden)
            gr_keys_u32(k, key(full, c, "expert_feed_forward_length"), (uint32_t)c->expert_hidden);
        if (gr_config_has(c, GR_HAS_SHARED))
            gr_keys_u32(k, key(full, c, "expert_shared_feed_forward_length"), (uint32_t)c->hidden);
    }
    gr_keys_f32(k, key(full, c, "attention.layer_norm_rms_epsilon"), c->rms_eps);
    gr_keys_f32(k, key(full, c, "rope.freq_base"), (float)c->rope[0].theta);
    if (c->rope[0].kind == GR_ROPE_LINEAR) {
        gr_keys_str(k, key(full, c, "rope.scaling.type"), (gr_str){ "linear", 6 });
        gr_keys_f32(k, key(full, c, "rope.scaling.factor"), (float)c->rope[0].factor);
    }
    if (c->rope[0].kind == GR_ROPE_YARN)
        add_yarn(c, k);
    if (c->rope[0].kind == GR_ROPE_LLAMA3)      /* the factors are a tensor; with this they lead back to the formula */
        gr_keys_u32(k, key(full, c, "rope.scaling.original_context_length"), (uint32_t)c->rope[0].original);
    if (gr_config_has(c, GR_HAS_LONG_ROPE))     /* llama.cpp's converter has it, long rope or not */
        gr_keys_u32(k, key(full, c, "rope.scaling.original_context_length"),
                    (uint32_t)(c->far.after ? c->far.after : c->context));
    if (c->far.after)
        gr_keys_f32(k, key(full, c, "rope.scaling.attn_factor"), c->rope_scale[0]);
    if (c->window)
        gr_keys_u32(k, key(full, c, "attention.sliding_window"), (uint32_t)c->window);
    if (gr_config_has(c, GR_HAS_CAPS)) {
        gr_keys_f32(k, key(full, c, "attn_logit_softcapping"), c->attn_cap);
        gr_keys_f32(k, key(full, c, "final_logit_softcapping"), c->logit_cap);
    } else if (gr_arch_of(c->architecture)->slide == GR_SLIDE_PATTERN)
        gr_keys_bools(k, key(full, c, "attention.sliding_window_pattern"), c->sliding, c->layers);
    if (gr_config_has(c, GR_HAS_MULTIPLIERS)) {
        gr_keys_f32(k, key(full, c, "attention.scale"), c->attn_scale);
        gr_keys_f32(k, key(full, c, "embedding_scale"), c->embed_scale);
        gr_keys_f32(k, key(full, c, "residual_scale"), c->branch_scale);
        gr_keys_f32(k, key(full, c, "logit_scale"), c->logit_div);
    }
    if (gr_config_has(c, GR_HAS_TWO_ROPES))
        gr_keys_f32(k, key(full, c, "rope.freq_base_swa"), (float)c->rope[1].theta);
    return GRAM_OK;
}

void gr_config_rope_factors(const gr_config *c, float *out)
{
    for (size_t i = 0; i < c->rope_dim / 2; i++)
        out[i] = (float)gr_rope_factor(&c->rope[0], i, c->rope_dim);
}
