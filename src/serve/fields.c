/* fields.c - fields that may change what is computed, and that the path does not read.
 *
 * To leave such a field unread would answer another question than was asked. Where it says what holds anyway (null, and
 * the values below) it is fine; else it is refused by its name. Fields that change nothing (user, priority, metadata)
 * are read by nobody. Scores in the shape of another server may come with fields of its own that are not listed here;
 * on all other paths every field is refused which is neither read nor listed. web/openapi.json lists the same, and
 * tests/e2e/serve_openapi.py holds the two together. */
#include <string.h>
#include "base/utf8.h"
#include "serve/req.h"

/* What goes as if it were not there: 0, 1, - for -1, f and t for false and true, [ { " for what is empty; words: texts
 * that say what holds anyway, with a blank between them. */
typedef struct { const char *name, *neutral, *words; } rule;

/* The fields of every path that gives scores. */
static const rule scoring[] = {
    { "truncate_prompt_tokens", "-", NULL },        /* what does not fit is refused anyway */
    { "max_tokens_per_doc", "0", NULL },
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

/* Of those in the shape of another server: what only gram's own read, and what these servers have. */
static const rule plain[] = {
    { "rationale", "f", NULL },             { "criteria", "\"", NULL },
    { "instruction", "\"", NULL },          { "max_tokens_per_query", "0", NULL },
    { "rank_fields", "[", NULL },           /* of a document that is an object, "text" is read */
    { "embed_dtype", "", "float32" },       { "endianness", "", "native little" },  /* in base64 */
    { "task", "", "classify score" },       /* the others pool what is no reward */
};

/* Of gram's own: what only other texts have than rationales. */
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

/* Of every path that renders a conversation up to its answer. */
static const rule template[] = {
    { "chat_template", "", NULL },          { "chat_template_kwargs", "{", NULL },
    { "add_generation_prompt", "t", NULL }, { "continue_final_message", "f", NULL },
    { "documents", "[", NULL },             { "add_special_tokens", "f", NULL },
};

static const rule chat[] = {
    { "tools", "[", NULL },                 { "tool_choice", "", "none" },
    { "functions", "[", NULL },             { "function_call", "", "none" },
    { "echo", "f", NULL },                  { "mm_processor_kwargs", "{", NULL },
    { "best_of", "1", NULL },               { "reasoning_effort", "", NULL },
    { "audio", "", NULL },                  { "prediction", "", NULL },
    { "web_search_options", "", NULL },     { "verbosity", "", NULL },
};

static const rule completion[] = {
    { "suffix", "\"", NULL },               { "prompt_embeds", "", NULL },
    { "add_special_tokens", "t", NULL },
};

/* ---- What is read ---- */

static const char *const read_writing[] = {
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "repeat_penalty", "presence_penalty",
    "frequency_penalty", "seed", "n", "stream", "stream_options", "response_format", "max_tokens",
    "max_completion_tokens", "min_tokens", "stop", "stop_token_ids", "logprobs",
};
static const char *const read_chat[] = { "messages", "top_logprobs" };
static const char *const read_completion[] = { "prompt", "echo", "best_of" };

/* Rationales have all of these, and nothing else has. */
static const char *const read_rationale[] = {
    "votes", "rationale_tokens", "rationale_format", "early", "sure", "temperature", "top_p", "top_k", "min_p", "seed",
    "max_tokens", "max_completion_tokens", "stream",
};
static const char *const read_score[] = {
    "rationale", "prompt", "a", "b", "chosen", "rejected", "response_a", "response_b", "pairs", "criteria", "tools",
    "explain",
};
static const char *const read_rank[] = {
    "rationale", "prompt", "responses", "method", "reference", "criteria", "tools", "partial",
};
static const char *const read_reward[] = {
    "rationale", "prompt", "responses", "response", "reference", "labels", "label", "criteria", "tools", "partial",
};
static const char *const read_template[] = { "messages", "tools" };
static const char *const read_text[] = {
    "content", "prompt", "text", "parse_special", "add_special", "add_special_tokens",
};
static const char *const read_tokens[] = { "tokens" };

/* Changes neither a text nor a number on any path; model is told of in the answer. */
static const char *const idle[] = {
    "model", "request_id", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "parallel_tool_calls", "priority", "cache_salt", "cache_prompt", "id_slot",
    "timings_per_token", "rid",
};

#define LIST(x) { x, GR_COUNT(x) }
static const struct path {
    struct { const char *const *name; size_t n; } read[2];      /* none: other fields go */
    struct { const rule *rule; size_t n; } rules[3];
} paths[] = {
    [GR_READS_FOREIGN] = { .rules = { LIST(plain), LIST(scoring) } },
    [GR_READS_SCORE] = { { LIST(read_score), LIST(read_rationale) },
                         { LIST(scoring), LIST(rationale), LIST(writing) } },
    [GR_READS_RANK] = { { LIST(read_rank), LIST(read_rationale) }, { LIST(scoring), LIST(rationale), LIST(writing) } },
    [GR_READS_REWARD] = { { LIST(read_reward), LIST(read_rationale) },
                          { LIST(scoring), LIST(rationale), LIST(writing) } },
    [GR_READS_CHAT] = { { LIST(read_chat), LIST(read_writing) }, { LIST(template), LIST(chat), LIST(writing) } },
    [GR_READS_COMPLETION] = { { LIST(read_completion), LIST(read_writing) }, { LIST(completion), LIST(writing) } },
    [GR_READS_TEMPLATE] = { { LIST(read_template) }, { LIST(template) } },
    [GR_READS_TEXT] = { { LIST(read_text) }, { { NULL, 0 } } },
    [GR_READS_TOKENS] = { { LIST(read_tokens) }, { { NULL, 0 } } },
};

/* ---- What is not ---- */

static bool is_word(const char *words, const char *s)
{
    size_t n = strlen(s), k;

    for (; *words; words += k + (words[k] != '\0')) {
        k = strcspn(words, " ");
        if (k == n && !memcmp(words, s, n))
            return true;
    }
    return false;
}

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
    return json_is_null(v) || (r->words && json_is_string(v) && is_word(r->words, json_string_value(v)));
}

static bool is_listed(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, list[i]))
            return true;
    return false;
}

static bool is_known(const struct path *p, const char *name)
{
    bool known = is_listed(name, idle, GR_COUNT(idle));

    for (size_t i = 0; i < GR_COUNT(p->read); i++)
        known = known || is_listed(name, p->read[i].name, p->read[i].n);
    for (size_t i = 0; i < GR_COUNT(p->rules); i++)
        for (size_t k = 0; k < p->rules[i].n; k++)
            known = known || !strcmp(name, p->rules[i].rule[k].name);
    return known;
}

static int refuse_unknown(gr_req *r, const struct path *p)
{
    const char *name;
    json_t *v;

    json_object_foreach(r->in, name, v) {
        if (json_is_null(v) || is_known(p, name))
            continue;
        snprintf(r->at, sizeof r->at, "%.40s", name);
        r->at[gr_utf8_bad(r->at, strlen(r->at))] = '\0';        /* it may be cut inside of a character */
        return gr_refuse(r, 422, r->at, "%s is not known here, and might change the result: leave it out", r->at);
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

int gr_refuse_unread(gr_req *r, gr_reads which)
{
    const struct path *p = &paths[which];
    int rc = 0;

    for (size_t i = 0; i < GR_COUNT(p->rules) && !rc; i++)
        rc = refuse_in(r, r->in, p->rules[i].rule, p->rules[i].n);
    return rc || !p->read[0].n ? rc : refuse_unknown(r, p);
}

/* A pair is a row, which may have columns that nobody reads, but what says how it is judged is the request's. */
int gr_refuse_unread_pair(gr_req *r, const json_t *pair)
{
    static const rule whole[] = {
        { "rationale", "f", NULL },         { "votes", "", NULL },          { "rationale_tokens", "", NULL },
        { "rationale_format", "", NULL },   { "early", "", NULL },          { "sure", "", NULL },
        { "explain", "f", NULL },           { "tools", "[", NULL },
    };

    for (size_t i = 0; i < GR_COUNT(whole); i++) {
        json_t *v = json_object_get(pair, whole[i].name);
        if (v && !is_neutral(&whole[i], v))
            return gr_refuse(r, 422, whole[i].name, "%s is read beside \"pairs\", for all of them, and not in a pair",
                             whole[i].name);
    }
    return refuse_in(r, pair, scoring, GR_COUNT(scoring));
}

int gr_refuse_without_rationale(gr_req *r)
{
    for (size_t i = 0; i < GR_COUNT(read_rationale); i++) {
        const json_t *v = json_object_get(r->in, read_rationale[i]);
        if (v && !json_is_null(v) && !json_is_false(v))
            return gr_refuse(r, 422, read_rationale[i], "%s goes with \"rationale\": true", read_rationale[i]);
    }
    return 0;
}
