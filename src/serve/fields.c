/* fields.c - fields of other servers that change what is computed, and that this one does not know.
 *
 * To leave such a field unread would answer another question than was asked. Where it says what holds anyway (null, and
 * the values below) it is fine; else it is refused by its name. Fields that change nothing (user, priority, metadata)
 * are read by nobody. What texts are written for has so many fields elsewhere, and new ones each year, that there every
 * field is refused which is neither read nor listed here. web/openapi.json lists the same, and
 * tests/e2e/serve_openapi.py holds the two together. */
#include <string.h>
#include "base/utf8.h"
#include "serve/req.h"

/* What goes as if it were not there: 0, 1, - for -1, f and t for false and true, [ { " for what is empty. */
typedef struct { const char *name, *neutral; const char *word; } rule;

/* The fields of every path that gives scores. */
static const rule scoring[] = {
    { "truncate_prompt_tokens", "-", NULL },        /* what does not fit is refused anyway */
    { "max_tokens_per_doc", "", NULL },
    { "max_length", "", NULL },
    { "max_chunks_per_doc", "", NULL },
    { "chat_template", "", NULL },
    { "chat_template_kwargs", "{", NULL },
    { "add_generation_prompt", "f", NULL },
    { "continue_final_message", "f", NULL },
    { "dimensions", "1", NULL },
    { "normalize", "f", NULL },
    { "lora_path", "\"", NULL },
    { "score_template", "", NULL },
    { "system", "\"", NULL },             { "history", "[", NULL },       /* a turn of it is a message of the prompt */
    { "judge_prompt", "", NULL },          { "single_order", "f", NULL },  /* the server's own, which it starts with */
    { "pointwise", "f", NULL },            { "scale", "", NULL },
    { "lambda", "0", NULL },
};

/* Of all of them but those that judge by criteria and can write reasons. */
static const rule plain[] = { { "rationale", "f", NULL }, { "criteria", "\"", NULL } };

/* Of the paths that do: what only other texts have. */
static const rule rationale[] = {
    { "n", "1", NULL },                     { "best_of", "1", NULL },
    { "stop", "[", NULL },                  { "stop_token_ids", "[", NULL },
    { "min_tokens", "0", NULL },            { "repetition_penalty", "1", NULL },
    { "repeat_penalty", "1", NULL },        { "presence_penalty", "0", NULL },
    { "frequency_penalty", "0", NULL },     { "echo", "f", NULL },
    { "logprobs", "f", NULL },
};

/* Of every path that writes texts. */
static const rule writing[] = {
    { "logit_bias", "{", NULL },            { "length_penalty", "1", NULL },
    { "typical_p", "1", NULL },             { "mirostat", "0", NULL },
    { "ignore_eos", "f", NULL },            { "bad_words", "[", NULL },
    { "use_beam_search", "f", NULL },       { "allowed_token_ids", "", NULL },
    { "guided_json", "", NULL },            { "guided_regex", "", NULL },
    { "guided_choice", "", NULL },          { "guided_grammar", "", NULL },
    { "structured_outputs", "", NULL },     { "structural_tag", "", NULL },
    { "json_schema", "", NULL },            { "grammar", "\"", NULL },
    { "regex", "", NULL },                  { "ebnf", "", NULL },
    { "prompt_logprobs", "f", NULL },       { "logits_processors", "[", NULL },
    { "truncate_prompt_tokens", "-", NULL },{ "lora_path", "\"", NULL },
    { "skip_special_tokens", "t", NULL },   { "include_stop_str_in_output", "f", NULL },
    { "dry_multiplier", "0", NULL },        { "xtc_probability", "0", NULL },
    { "dynatemp_range", "0", NULL },        { "no_repeat_ngram_size", "0", NULL },
    { "return_tokens_as_token_ids", "f", NULL }, { "return_token_ids", "f", NULL },
    { "spaces_between_special_tokens", "t", NULL }, { "vllm_xargs", "{", NULL },
    { "n_probs", "0", NULL },               { "tfs_z", "1", NULL },
};

static const rule chat[] = {
    { "tools", "[", NULL },                 { "tool_choice", "", "none" },
    { "functions", "[", NULL },             { "function_call", "", "none" },
    { "chat_template", "", NULL },          { "chat_template_kwargs", "{", NULL },
    { "add_generation_prompt", "t", NULL }, { "continue_final_message", "f", NULL },
    { "documents", "[", NULL },             { "echo", "f", NULL },
    { "best_of", "1", NULL },               { "reasoning_effort", "", NULL },
    { "audio", "", NULL },                  { "prediction", "", NULL },
    { "web_search_options", "", NULL },     { "verbosity", "", NULL },
    { "add_special_tokens", "f", NULL },    { "mm_processor_kwargs", "{", NULL },
};

static const rule completion[] = {
    { "suffix", "\"", NULL },               { "prompt_embeds", "", NULL },
    { "add_special_tokens", "t", NULL },
};

/* What the paths that write texts read, */
static const char *const read_writing[] = {
    "model", "request_id", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "repeat_penalty",
    "presence_penalty", "frequency_penalty", "seed", "n", "stream", "stream_options", "response_format", "max_tokens",
    "max_completion_tokens", "min_tokens", "stop", "stop_token_ids", "logprobs",
};
static const char *const read_chat[] = { "messages", "top_logprobs" };
static const char *const read_completion[] = { "prompt", "echo", "best_of" };
/* and what changes neither a text nor a number there. */
static const char *const idle[] = {
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "parallel_tool_calls", "priority", "cache_salt", "cache_prompt", "id_slot", "timings_per_token", "rid",
};

static bool is_neutral(const rule *r, const json_t *v)
{
    for (const char *p = r->neutral; *p; p++)
        switch (*p) {
        case '0': if (json_is_number(v) && json_number_value(v) == 0) return true; break;
        case '1': if (json_is_number(v) && json_number_value(v) == 1) return true; break;
        case '-': if (json_is_number(v) && json_number_value(v) == -1) return true; break;
        case 'f': if (json_is_false(v)) return true; break;
        case 't': if (json_is_true(v)) return true; break;
        case '[': if (json_is_array(v) && json_array_size(v) == 0) return true; break;
        case '{': if (json_is_object(v) && json_object_size(v) == 0) return true; break;
        case '"': if (json_is_string(v) && json_string_length(v) == 0) return true; break;
        }
    return json_is_null(v) || (r->word && json_is_string(v) && !strcmp(json_string_value(v), r->word));
}

static bool is_listed(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, list[i]))
            return true;
    return false;
}

static bool has_rule(const char *name, const rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, rules[i].name))
            return true;
    return false;
}

/* A field that neither is in a list of the paths that write texts nor has a rule there. */
static int refuse_unknown(gr_req *r, const char *const *own, size_t n_own, const rule *rules, size_t n_rules)
{
    const char *name;
    json_t *v;

    json_object_foreach(r->in, name, v) {
        if (json_is_null(v) || is_listed(name, read_writing, GR_COUNT(read_writing)) || is_listed(name, own, n_own) ||
            is_listed(name, idle, GR_COUNT(idle)) || has_rule(name, writing, GR_COUNT(writing)) ||
            has_rule(name, rules, n_rules))
            continue;
        snprintf(r->at, sizeof r->at, "%.40s", name);
        r->at[gr_utf8_bad(r->at, strlen(r->at))] = '\0';        /* it may be cut inside of a character */
        return gr_refuse(r, 422, r->at, "%s is not known here, and might change what is written: leave it out", r->at);
    }
    return 0;
}

static int refuse_in(gr_req *r, const json_t *o, const rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_t *v = json_object_get(o, rules[i].name);
        if (v && !is_neutral(&rules[i], v))
            return gr_refuse(r, 422, rules[i].name, "%s is not supported, and would change the result: leave it out",
                             rules[i].name);
    }
    return 0;
}

static int refuse(gr_req *r, const rule *rules, size_t n)
{
    return refuse_in(r, r->in, rules, n);
}

int gr_refuse_unread_score(gr_req *r)
{
    return refuse(r, scoring, GR_COUNT(scoring));
}

int gr_refuse_unread_pair(gr_req *r, const json_t *pair)
{
    return refuse_in(r, pair, scoring, GR_COUNT(scoring));
}

int gr_refuse_unread(gr_req *r)
{
    int rc = refuse(r, plain, GR_COUNT(plain));

    return rc ? rc : gr_refuse_unread_score(r);
}

int gr_refuse_unread_rationale(gr_req *r)
{
    int rc = refuse(r, rationale, GR_COUNT(rationale));

    return rc ? rc : gr_refuse_unread_writing(r);
}

int gr_refuse_unread_writing(gr_req *r)
{
    return refuse(r, writing, GR_COUNT(writing));
}

int gr_refuse_unread_chat(gr_req *r)
{
    int rc = refuse(r, chat, GR_COUNT(chat));

    return rc ? rc : refuse_unknown(r, read_chat, GR_COUNT(read_chat), chat, GR_COUNT(chat));
}

int gr_refuse_unread_completion(gr_req *r)
{
    int rc = refuse(r, completion, GR_COUNT(completion));

    return rc ? rc : refuse_unknown(r, read_completion, GR_COUNT(read_completion), completion, GR_COUNT(completion));
}
