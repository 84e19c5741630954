/* generation_config.c - the settings of a checkpoint's generation_config.json, for who asks for them.
 *
 * They mean what transformers' generate() makes of them, so a key is taken, is known to change nothing of what is
 * written, or is refused by its name, as in the server's fields (src/serve/fields.c). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "base/json.h"

#define TOP_K 50                /* transformers' where it samples and nobody says another */

struct taken { gram_generation *g; gr_buf said; const char *path; gram_err *err; };

static gram_status say(struct taken *t, const char *key, double x)
{
    return gr_buf_printf(&t->said, "%s%s %g", t->said.n ? ", " : "", key, x) ? GRAM_OK : gr_nomem(t->err, t->path);
}

static gram_status say_text(struct taken *t, const char *text)
{
    return gr_buf_printf(&t->said, "%s%s", t->said.n ? ", " : "", text) ? GRAM_OK : gr_nomem(t->err, t->path);
}

/* ---- What is not taken --------------------------------------------------------------------------- */

/* The value with which a key changes nothing. */
typedef struct { const char *key; double neutral; } rule;

static const rule other[] = {
    { "num_beams", 1 }, { "num_beam_groups", 1 }, { "typical_p", 1 }, { "epsilon_cutoff", 0 }, { "eta_cutoff", 0 },
    { "top_h", 0 }, { "no_repeat_ngram_size", 0 }, { "encoder_no_repeat_ngram_size", 0 },
    { "encoder_repetition_penalty", 1 }, { "penalty_alpha", 0 }, { "diversity_penalty", 0 }, { "guidance_scale", 1 },
    { "dola_layers", 0 }, { "min_length", 0 }, { "presence_penalty", 0 }, { "frequency_penalty", 0 },
};

/* Read here or by file/ends.c, and what decides how the same texts are computed, searched for by beams, or told. */
static const char *const idle[] = {
    "do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "min_new_tokens", "max_new_tokens",
    "max_length", "num_return_sequences", "eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id",
    "transformers_version", "_from_model_config", "_commit_hash", "_name_or_path", "use_cache", "cache_implementation",
    "cache_config", "max_cache_len", "return_legacy_cache", "prefill_chunk_size", "disable_compile", "compile_config",
    "continuous_batching_config", "low_memory", "early_stopping", "length_penalty", "renormalize_logits",
    "remove_invalid_values", "output_attentions", "output_hidden_states", "output_logits", "output_scores",
    "return_dict_in_generate", "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "assistant_confidence_threshold", "assistant_early_exit", "assistant_ensemble_weight", "assistant_lookbehind",
    "target_lookbehind", "prompt_lookup_num_tokens", "max_matching_ngram_size", "speculation_type", "use_mtp",
    "chat_format", "max_window_size", "user_token_id", "assistant_token_id", "trust_remote_code",
};

static bool is_idle(const char *key)
{
    for (size_t i = 0; i < GR_COUNT(idle); i++)
        if (!strcmp(key, idle[i]))
            return true;
    return false;
}

static bool is_neutral(const char *key, const json_t *v)
{
    for (size_t i = 0; i < GR_COUNT(other); i++)
        if (!strcmp(key, other[i].key) && json_is_number(v) && json_number_value(v) == other[i].neutral)
            return true;
    return json_is_null(v) || json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0);
}

static gram_status refuse_others(struct taken *t, const json_t *o)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)o, key, v)
        if (!is_idle(key) && !is_neutral(key, v))
            return gr_fail(t->err, GRAM_EUNSUPPORTED, "%s: %.60s may change what is written, and gram has no such "
                           "setting", t->path, key);
    return GRAM_OK;
}

/* What the options decide in any case. */
static gram_status say_others(struct taken *t, const json_t *o)
{
    const json_t *length = json_object_get(o, "max_length"), *n = json_object_get(o, "num_return_sequences");
    const json_t *new = json_object_get(o, "max_new_tokens");
    gram_status rc = GRAM_OK;

    if (length && !json_is_null(length) && !json_is_number(new))
        rc = say_text(t, "and not max_length, of prompt and answer together");
    if (!rc && json_is_number(n) && json_number_value(n) != 1)
        rc = say_text(t, "and not num_return_sequences");
    return rc;
}

/* ---- What is ------------------------------------------------------------------------------------- */

static gram_status take_number(struct taken *t, const json_t *o, const char *key, double low, double *out)
{
    const json_t *v = json_object_get(o, key);

    if (!v || json_is_null(v))
        return GRAM_OK;
    if (!json_is_number(v) || !(json_number_value(v) >= low))
        return gr_fail(t->err, GRAM_EFORMAT, "%s: %s: wanted a number of %g or more", t->path, key, low);
    *out = json_number_value(v);
    return say(t, key, *out);
}

static gram_status take_size(struct taken *t, const json_t *o, const char *key, size_t *out)
{
    double x = (double)*out;
    gram_status rc = take_number(t, o, key, 0, &x);

    if (!rc && (x != floor(x) || x > 1e9))
        return gr_fail(t->err, GRAM_EFORMAT, "%s: %s: wanted a whole number, found %g", t->path, key, x);
    *out = (size_t)x;
    return rc;
}

/* transformers is greedy unless it is told to sample, and samples from the 50 likeliest. */
static gram_status take_way(struct taken *t, const json_t *o)
{
    const json_t *sample = json_object_get(o, "do_sample"), *k = json_object_get(o, "top_k");

    if (sample && !json_is_null(sample) && !json_is_boolean(sample))
        return gr_fail(t->err, GRAM_EFORMAT, "%s: do_sample: wanted true or false", t->path);
    if (!json_is_true(sample)) {
        t->g->temperature = 0;
        return say_text(t, "do_sample false (greedy)");
    }
    if (k && !json_is_null(k))
        return GRAM_OK;
    t->g->top_k = TOP_K;
    return say_text(t, "top_k 50 (transformers' default)");
}

static gram_status take_all(struct taken *t, const json_t *o)
{
    gram_generation *g = t->g;
    gram_status rc = refuse_others(t, o);

    if (!rc)
        rc = take_number(t, o, "temperature", 0, &g->temperature);
    if (!rc)
        rc = take_size(t, o, "top_k", &g->top_k);
    if (!rc)
        rc = take_number(t, o, "top_p", 0, &g->top_p);
    if (!rc)
        rc = take_number(t, o, "min_p", 0, &g->min_p);
    if (!rc)
        rc = take_number(t, o, "repetition_penalty", 0, &g->repetition_penalty);
    if (!rc)
        rc = take_size(t, o, "min_new_tokens", &g->min_new_tokens);
    if (!rc)
        rc = take_size(t, o, "max_new_tokens", &g->max_new_tokens);
    if (!rc)
        rc = take_way(t, o);
    return rc ? rc : say_others(t, o);
}

gram_status gram_generation_from_config(gram_generation *g, const char *path, char **what, gram_err *err)
{
    char *file = gr_path_join(path, "generation_config.json"), *text = NULL;
    struct taken t = { .g = g, .path = file, .err = err };
    size_t n;
    json_error_t je;
    json_t *o = NULL;
    gram_status rc = file ? GRAM_OK : gr_nomem(err, path);

    if (!rc && !gr_path_named(file))
        rc = say_text(&t, "no generation_config.json is there: all settings are as without it");
    else if (!rc)
        rc = gr_read_file(file, (size_t)1 << 20, &text, &n, err);
    if (!rc && text) {
        o = gr_json_loadb(text, n, 0, &je);
        rc = json_is_object(o) ? take_all(&t, o)
           : gr_fail(err, GRAM_EFORMAT, "%s:%d: wanted a JSON object%s%s", file, o ? 1 : je.line, o ? "" : ": ",
                     o ? "" : je.text);
    }
    json_decref(o);
    free(text);
    free(file);
    if (!rc && what)
        *what = t.said.p;
    else
        gr_buf_clear(&t.said);
    return rc;
}
