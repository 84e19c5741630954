/* describe.c - what of an architecture changes a number, in words: the facts of gram_info. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "api/api_int.h"

/* A fact that goes on as long as parts are added. */
static char *begin(gram_info *out, const char *name)
{
    gram_fact *f = &out->fact[out->facts++];

    f->name = name;
    *f->value = '\0';
    return f->value;
}

__attribute__((format(printf, 2, 3))) static void part(char *value, const char *fmt, ...)
{
    size_t n = strlen(value), size = sizeof ((gram_fact *)0)->value;
    va_list ap;

    if (n > 0 && n + 2 < size)
        n += (size_t)snprintf(value + n, size - n, ", ");
    va_start(ap, fmt);
    vsnprintf(value + n, size - n, fmt, ap);
    va_end(ap);
}

static void tell_rope(gram_info *out, const gr_config *c, const char *name, size_t i)
{
    const gr_rope *r = &c->rope[i];
    char *v = begin(out, name);

    part(v, "base %g", r->theta);
    if (c->rope_dim < c->head_dim)
        part(v, "the first %zu channels of each head", c->rope_dim);
    if (r->kind == GR_ROPE_LINEAR)
        part(v, "linear, factor %g", r->factor);
    if (r->kind == GR_ROPE_LLAMA3)
        part(v, "llama3, factor %g, low %g, high %g, original %g", r->factor, r->low, r->high, r->original);
    if (r->kind == GR_ROPE_YARN)
        part(v, "yarn, factor %g, turns %g to %g, original %g", r->factor, r->low, r->high, r->original);
    if (r->kind == GR_ROPE_DYNAMIC)
        part(v, "dynamic, which changes nothing within the context");
    if (r->kind == GR_ROPE_TABLE)
        part(v, "each frequency divided by a factor of the file");
    if (r->kind == GR_ROPE_LONG)
        part(v, "longrope: short factors in texts up to %zu tokens, long ones in longer texts", c->far.after);
    if (c->rope_scale[i] < 1 || c->rope_scale[i] > 1)
        part(v, "cos and sin times %g", (double)c->rope_scale[i]);
}

static void tell_layers(gram_info *out, const gr_config *c)
{
    size_t sliding = 0, bare = 0;
    char *v;

    for (size_t i = 0; i < c->layers; i++) {
        sliding += c->window && c->sliding[i];
        bare += c->bare && c->bare[i];
    }
    if (!sliding && !bare)
        return;
    v = begin(out, "layers");
    if (sliding)
        part(v, "%zu of %zu see a window of %zu tokens", sliding, c->layers, c->window);
    if (bare)
        part(v, "%zu of %zu without rope", bare, c->layers);
}

static void tell_norms(gram_info *out, const gr_config *c)
{
    char *v = begin(out, "norms");

    part(v, "%s attention and MLP", c->no_pre_norms ? "after" : c->sandwich_norms ? "before and after" : "before");
    if (c->qk_norm)
        part(v, "of q and k, %s", c->qk_norm_wide ? "all heads as one" : "each head");
    part(v, "epsilon %g", (double)c->rms_eps);
}

/* The words of judge.json that stand around what this judge reads. */
static void tell_words(gram_info *out, const gr_card *card)
{
    const gr_card_reads *r = &card->reads;
    char *v;

    if (!gr_card_says_words(card))
        return;
    v = begin(out, "words");
    if (r->prompt)
        part(v, "a judge prompt of its own");
    if (r->label[0])
        part(v, "labels %s and %s", r->label[0], r->label[1]);
    if (r->template)
        part(v, "template %s", r->template);
    if (r->chat_args)
        part(v, "chat-args %s", r->chat_args);
    if (r->format)
        part(v, "reasons in the form %s", *r->format == '{' ? "of its own" : r->format);
}

static void tell_packing(gram_info *out, const gr_quantization *q)
{
    char *v;

    if (!q->method)
        return;
    v = begin(out, "packed");
    part(v, "%s", q->method);
    if (!q->bits) {
        part(v, "F8_E4M3");
        return;
    }
    if (q->several) {
        part(v, "whole numbers in several ways");
        return;
    }
    part(v, "%u bits", q->bits);
    if (!strcmp(q->method, "bitsandbytes"))     /* each tensor says what shares a scale */
        return;
    if (q->group)
        part(v, "a scale for %zu inputs", q->group);
    else
        part(v, "a scale for all inputs");
}

static bool is_felt(float factor) { return factor < 1 || factor > 1; }

void gr_api_describe(gram_info *out, const gr_config *c, const gr_card *card)
{
    double scale = 1 / sqrt((double)c->head_dim);
    char *v;

    tell_rope(out, c, "rope", 0);
    if (gr_config_has(c, GR_HAS_TWO_ROPES))
        tell_rope(out, c, "rope, windows", 1);
    tell_layers(out, c);
    tell_norms(out, c);
    if (gr_config_has(c, GR_HAS_SHARED)) {
        v = begin(out, "shared expert");
        part(v, "feed-forward %zu, in each layer with experts, times a sigmoid", c->hidden);
    }
    v = begin(out, "activation");
    part(v, "%s", c->geglu ? "tanh-GELU" : "SiLU");
    if (c->attn_cap > 0 || c->logit_cap > 0) {
        v = begin(out, "caps");
        if (c->attn_cap > 0)
            part(v, "scores at %g", (double)c->attn_cap);
        if (c->logit_cap > 0)
            part(v, "logits at %g", (double)c->logit_cap);
    }
    if (fabs((double)c->attn_scale / scale - 1) > 1e-6 || is_felt(c->embed_scale) || is_felt(c->branch_scale) ||
        is_felt(c->logit_div)) {
        v = begin(out, "scales");
        if (fabs((double)c->attn_scale / scale - 1) > 1e-6)
            part(v, "attention by 1 / sqrt(%g)", 1 / ((double)c->attn_scale * (double)c->attn_scale));
        if (is_felt(c->embed_scale))
            part(v, "embeddings by %g", (double)c->embed_scale);
        if (is_felt(c->branch_scale))
            part(v, "what a branch adds by %g", (double)c->branch_scale);
        if (is_felt(c->logit_div))
            part(v, "logits by 1 / %g", (double)c->logit_div);
    }
    if (c->qkv_bias || c->o_bias) {
        v = begin(out, "biases");
        part(v, "%s", c->qkv_bias && c->o_bias ? "q, k, v and the attention's output" : c->qkv_bias ? "q, k and v"
                      : "the attention's output");
    }
    tell_packing(out, &c->said.quantization);
    tell_words(out, card);
}
