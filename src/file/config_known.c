/* config_known.c - the keys of a config.json: those that are read or do no harm, and those that change what the model
 * computes in a way that is not done here. A key of neither kind is noted, or refused where its name says that it has
 * to do with numbers. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <jansson.h>
#include "base/err.h"
#include "file/config_int.h"

/* Read elsewhere, or of training, of generation, and of the book-keeping of transformers and of trainers. */
static const char *const known[] = {
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_flash_attn_2_enabled", "_name_or_path",
    "activation_dropout", "add_cross_attention", "architectures", "attention_bias", "attention_dropout",
    "attn_implementation", "auto_map", "bad_words_ids", "base_model_name_or_path", "begin_suppress_tokens",
    "bos_token_id", "cache_implementation", "chunk_size_feed_forward", "classifier_dropout", "classifier_from_token",
    "cross_attention_hidden_size", "custom_pipelines", "decoder_start_token_id", "diversity_penalty", "do_sample",
    "dtype", "early_stopping", "embd_pdrop", "encoder_no_repeat_ngram_size", "eos_token_id",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
    "gating_hidden_dim", "gating_n_hidden", "gating_temperature", "gradient_checkpointing", "gram_reward_head",
    "head_dim", "hidden_act", "hidden_activation", "hidden_dropout", "hidden_dropout_prob", "hidden_size", "id2label",
    "inference", "initializer_factor", "initializer_range", "intermediate_size", "is_causal", "is_composition",
    "is_decoder", "is_encoder_decoder", "keys_to_ignore_at_inference", "label2id", "layer_types", "length_penalty",
    "license",
    "max_length", "max_position_embeddings", "max_sequence_length", "max_window_layers", "min_length", "mlp_bias",
    "model_max_length", "model_type", "name_or_path", "no_repeat_ngram_size", "num_attention_heads", "num_beam_groups",
    "num_beams", "num_hidden_layers", "num_key_value_heads", "num_labels", "num_objectives", "num_return_sequences",
    "original_max_position_embeddings", "output_attentions", "output_hidden_states", "output_scores", "pad_token_id",
    "partial_rotary_factor", "prefix", "pretraining_tp", "problem_type", "pruned_heads", "quantization_config",
    "query_pre_attn_scalar", "remove_invalid_values", "repetition_penalty", "resid_pdrop", "return_dict",
    "return_dict_in_generate", "reward_token_id",
    "rms_norm_eps", "rope_local_base_freq", "rope_parameters", "rope_scaling", "rope_theta",
    "score_bias", "score_dim", "score_type", "sep_token_id", "sliding_window", "sliding_window_pattern",
    "sliding_window_size",
    "_sliding_window_pattern", "summary_dropout_prob", "suppress_tokens", "task_specific_params", "temperature",
    "text_config", "tf_legacy_loss", "tie_encoder_decoder", "tie_word_embeddings", "tokenizer_class", "top_k", "top_p",
    "torch_dtype", "torchscript", "transformers.js_config", "transformers_version", "trust_remote_code", "typical_p",
    "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_cache", "use_flash_attn", "use_return_dict",
    "use_sliding_window", "value_head_prefix", "vocab_size",
};

/* Fine where they are null, false, 0, "", empty, or the number here; and in an architecture that has what they say. */
static const struct { const char *name; double neutral; unsigned has; } refused[] = {
    { "attn_logit_softcapping", 0, GR_HAS_CAPS }, { "final_logit_softcapping", 0, GR_HAS_CAPS },
    { "logit_softcapping", 0 },
    { "attention_multiplier", 0, GR_HAS_MULTIPLIERS }, { "embedding_multiplier", 1, GR_HAS_MULTIPLIERS },
    { "residual_multiplier", 1, GR_HAS_MULTIPLIERS }, { "logits_scaling", 1, GR_HAS_MULTIPLIERS },
    { "logit_scale", 1 }, { "clip_qkv", 0 }, { "alibi", 0 }, { "use_alibi", 0 },
    { "num_experts", 0 }, { "num_local_experts", 0 }, { "n_routed_experts", 0 }, { "use_mrope", 0 },
    { "use_bidirectional_attention", 0 }, { "qk_layernorm", 0 }, { "use_qk_norm", 0 }, { "no_rope_layers", 0 },
    { "attention_chunk_size", 0 }, { "do_normalize", 0 }, { "normalize_reward", 0 }, { "num_quantiles", 0 },
};

/* In the name of a key that nobody here knows. */
static const char *const of_numbers[] = { "softcap", "multiplier", "scale", "scaling", "clip", "expert", "normaliz",
                                          "bidirectional", "alibi", "temperature" };

static bool is_neutral(const json_t *v, double neutral)
{
    double x = json_number_value(v);

    return !v || json_is_null(v) || json_is_false(v) || (json_is_true(v) && neutral >= 1) ||
           (json_is_number(v) && ((x <= 0 && x >= 0) || (x <= neutral && x >= neutral))) ||
           (json_is_string(v) && !*json_string_value(v)) || (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0);
}

bool gr_config_of_numbers(const char *key)
{
    for (size_t i = 0; i < GR_COUNT(of_numbers); i++)
        if (strcasestr(key, of_numbers[i]))
            return true;
    return false;
}

static bool is_known(const char *key)
{
    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcmp(key, known[i]))
            return true;
    return false;
}

static gram_status refuse(const char *name, const char *key, gram_err *err)
{
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"%s\" is set, and what it does to the numbers is not supported", name,
                   key);
}

/* OpenRLHF writes the rewards' mean and deviation over its training rows, and uses them only when asked. */
static gram_status note_mean(gr_config *c, const char *name, json_t *o, gram_err *err)
{
    const json_t *mean = json_object_get(o, "mean"), *std = json_object_get(o, "std");

    if (!json_is_number(mean) && !json_is_number(std))
        return GRAM_OK;
    return gr_config_note(c, err, "%s: \"mean\" and \"std\" of the rewards are left out of account: rewards are as the "
                          "head gives them", name);
}

/* Of the keys here the only one whose false changes the numbers: each token would see those behind it. */
static gram_status check_causal(const char *name, json_t *o, gram_err *err)
{
    const json_t *v = json_object_get(o, "is_causal");

    if (!v || json_is_null(v) || json_is_true(v))
        return GRAM_OK;
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: \"is_causal\" is not true: attention in both directions is not "
                   "supported", name);
}

gram_status gr_config_check_keys(gr_config *c, const char *name, json_t *top, json_t *text, gram_err *err)
{
    gr_buf unknown = { 0 };
    const char *key;
    json_t *v;
    gram_status rc = check_causal(name, text, err);
    bool ok = true;

    (void)top;                              /* around a text_config stand the keys of the images */
    json_object_foreach(text, key, v) {
        size_t i = 0;
        if (gr_arch_own_key(c->architecture, key))
            continue;
        while (i < GR_COUNT(refused) && strcmp(key, refused[i].name))
            i++;
        if (i < GR_COUNT(refused) && !gr_config_has(c, refused[i].has) && !is_neutral(v, refused[i].neutral))
            rc = refuse(name, key, err);
        if (i < GR_COUNT(refused) || is_known(key) || !strcmp(key, "mean") || !strcmp(key, "std"))
            continue;
        if (gr_config_of_numbers(key) && !is_neutral(v, 1))
            rc = refuse(name, key, err);
        if (unknown.n < 400)                /* a line that can be read */
            ok = ok && gr_buf_printf(&unknown, "%s%.64s", unknown.n ? ", " : "", key);
    }
    if (!rc && !ok)
        rc = gr_nomem(err, name);
    if (!rc && unknown.n)
        rc = gr_config_note(c, err, "%s: keys that are not known here, and not used: %s", name, unknown.p);
    if (!rc)
        rc = note_mean(c, name, text, err);
    gr_buf_clear(&unknown);
    return rc;
}
