/* checkpoint.c - the files of a model: a Hugging Face directory, or one GGUF. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "api/api_int.h"
#include "api/shipped.h"
#include "base/err.h"
#include "base/json.h"
#include "file/gguf_tok.h"
#include "file/tok_facts.h"

#define TOKENIZER_MOST ((size_t)512 << 20)      /* Gemma's tokenizer.json has 33 MB */

static bool is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *gr_api_base_name(const char *path)
{
    size_t n = strlen(path), from;

    while (n > 1 && path[n - 1] == '/')
        n--;
    for (from = n; from > 0 && path[from - 1] != '/'; )
        from--;
    return gr_strndup(path + from, n - from);
}

static gram_status has_tokenizer(bool *yes, const char *dir, gram_err *err)
{
    char *json = gr_path_join(dir, "tokenizer.json"), *model = gr_path_join(dir, "tokenizer.model");
    bool ok = json && model;

    *yes = ok && (gr_path_named(json) || gr_path_named(model));
    free(json);
    free(model);
    return ok ? GRAM_OK : gr_nomem(err, dir);
}

/* What stands in front of a text, and the BOS that is named. */
static void words_of_facts(gram_tokenizer *t, const gr_tok_facts *facts)
{
    t->bos = facts->bos ? gr_tok_find(t->tok, facts->bos) : -1;
    if (!gr_tok_front(t->tok, &t->front))
        t->front = facts->add_bos ? t->bos : -1;
}

static gram_status tokenizer_of_dir(gram_tokenizer *out, const gr_tok_facts *facts, const char *dir, gram_err *err)
{
    char *path = gr_path_join(dir, "tokenizer.json"), *text = NULL;
    gr_tok_lists l = { 0 };
    size_t n = 0;
    gram_status rc = path ? GRAM_OK : gr_nomem(err, dir);

    *out = (gram_tokenizer){ 0 };
    if (!rc && !gr_path_named(path)) {
        rc = gr_dir_tok_model(&l, dir, 0, err);
        if (!rc)
            rc = gr_tok_from_spec(&out->tok, dir, &l.spec, err);
        gr_tok_lists_clear(&l);
    } else if (!rc) {
        rc = gr_read_file(path, TOKENIZER_MOST, &text, &n, err);
        if (!rc)
            rc = gr_tok_from_json(&out->tok, path, text, n, err);
    }
    if (!rc)
        rc = gr_tok_facts_check(facts, out->tok, dir, err);
    if (rc) {
        gr_tok_close(out->tok);
        out->tok = NULL;
    } else {
        words_of_facts(out, facts);
    }
    free(path);
    free(text);
    return rc;
}

static gram_status tokenizer_of_gguf(gram_tokenizer *out, const gr_weights *w, gram_err *err)
{
    gr_gguf_tok t;
    gram_status rc = gr_gguf_tok_read(&t, w, err);

    *out = (gram_tokenizer){ 0 };
    if (!rc)
        rc = gr_tok_from_spec(&out->tok, gr_weights_path(w), &t.lists.spec, err);
    if (!rc) {
        out->bos = t.bos;
        out->front = t.add_bos ? t.bos : -1;
    }
    gr_gguf_tok_clear(&t);
    return rc;
}

/* The card of `path`, and the adapter and base there, or, of a whole model, neither. */
static gram_status find_base(gr_card *card, gr_adapter **a, char **base, const char *path, const char *given,
                             gram_err *err)
{
    bool is = false, base_is = false;
    gram_status rc;

    *a = NULL;
    *base = NULL;
    rc = gr_card_read(card, path, err);
    if (!rc)
        rc = gr_adapter_is(&is, path, err);
    if (!rc && is) {
        rc = gr_adapter_open(a, path, err);
        if (!rc)
            rc = gr_shipped_base(base, *a, card, given, err);
        if (!rc)
            rc = gr_adapter_is(&base_is, *base, err);
        if (!rc && base_is)
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: its base model %s is an adapter too: gram merge makes a model of "
                         "that", path, *base);
    } else if (!rc && given) {
        rc = gr_fail(err, GRAM_EARG, "%s: no LoRA adapter (it has no adapter_config.json, and is no GGUF of the type "
                     "adapter), so there is no place for the base model %s", path, given);
    }
    if (rc) {
        gr_card_clear(card);
        gr_adapter_close(*a);
        free(*base);
        *a = NULL;
        *base = NULL;
    }
    return rc;
}

gram_status gr_checkpoint_tokenizer(gram_tokenizer *out, const char *path, const char *given, gram_err *err)
{
    gr_weights *w;
    gr_adapter *a;
    gr_card card;
    char *base = NULL;
    bool has = true, adapter;
    gram_status rc = gr_adapter_is(&adapter, path, err);

    *out = (gram_tokenizer){ 0 };
    if (!rc && adapter)
        rc = has_tokenizer(&has, path, err);
    if (!rc && (!has || given)) {
        rc = find_base(&card, &a, &base, path, given, err);
        if (!rc) {
            gr_card_clear(&card);
            gr_adapter_close(a);
        }
    }
    if (rc)
        return rc;
    if (!has)
        path = base;
    if (is_dir(path)) {
        gr_tok_facts facts;
        rc = gr_tok_facts_read(&facts, path, err);
        if (!rc)
            rc = tokenizer_of_dir(out, &facts, path, err);
        gr_tok_facts_clear(&facts);
    } else {
        rc = gr_weights_open_gguf(&w, path, err);
        if (!rc) {
            rc = tokenizer_of_gguf(out, w, err);
            gr_weights_close(w);
        }
    }
    free(base);
    return rc;
}

static gram_status words_of_dir(struct checkpoint *c, const char *dir, gram_err *err)
{
    gr_tok_facts f;
    bool has;
    gram_status rc = gr_tok_facts_read(&f, dir, err);

    if (!rc)
        rc = has_tokenizer(&has, dir, err);
    if (!rc && has)
        rc = tokenizer_of_dir(&c->words, &f, dir, err);
    if (rc) {
        gr_tok_facts_clear(&f);
        return rc;
    }
    c->chat = f.chat;
    c->bos = f.bos;
    c->tokens = f.tokens;
    f.chat = (gr_templates){ 0 };
    f.bos = f.tokens = NULL;
    gr_tok_facts_clear(&f);
    return GRAM_OK;
}

/* The special tokens that a GGUF names, under the names that chat templates know them by. */
static gram_status tokens_of_gguf(struct checkpoint *c, const gr_gguf *g, gram_err *err)
{
    static const char *const name[][2] = {
        { "bos_token", "bos" }, { "eos_token", "eos" }, { "unk_token", "unknown" }, { "sep_token", "seperator" },
        { "pad_token", "padding" }, { "cls_token", "cls" }, { "mask_token", "mask" }
    };
    json_t *tokens = json_object();
    bool ok = tokens != NULL;

    for (size_t i = 0; i < GR_COUNT(name) && ok && c->words.tok; i++) {
        char key[64];
        uint64_t id;
        gr_str s;
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name[i][1]);
        if (!gr_gguf_u64(g, key, &id) || id >= gr_tok_vocabulary(c->words.tok))
            continue;
        s = gr_tok_text(c->words.tok, (int32_t)id);
        ok = !json_object_set_new(tokens, name[i][0], json_stringn(s.p, s.n));
    }
    c->tokens = ok ? gr_json_text(tokens, JSON_COMPACT) : NULL;
    json_decref(tokens);
    return c->tokens ? GRAM_OK : gr_nomem(err, "special tokens");
}

static gram_status facts_of_gguf(struct checkpoint *c, gram_err *err)
{
    const gr_gguf *g = gr_weights_gguf(c->weights);
    gram_status rc = gr_templates_of_gguf(&c->chat, g, gr_weights_path(c->weights), err);
    gr_str s;

    if (!rc)
        rc = tokens_of_gguf(c, g, err);
    if (!rc && c->words.tok && c->cfg.bos >= 0 && (size_t)c->cfg.bos < gr_tok_vocabulary(c->words.tok)) {
        s = gr_tok_text(c->words.tok, c->cfg.bos);
        if (!(c->bos = gr_strndup(s.p, s.n)))
            return gr_nomem(err, "chat template");
    }
    return rc;
}

/* The tokenizer and the chat template of a directory, or of the GGUF that was opened. Without a tokenizer there are
 * still logits. */
static gram_status read_words(struct checkpoint *c, const char *dir, gram_err *err)
{
    gram_status rc = GRAM_OK;

    if (dir)
        return words_of_dir(c, dir, err);
    if (!gr_gguf_tok_none(c->weights))
        rc = tokenizer_of_gguf(&c->words, c->weights, err);
    return rc ? rc : facts_of_gguf(c, err);
}

/* A chat template that lies beside an adapter is the adapter's, though the tokenizer is the base's. */
static gram_status read_own_chat(struct checkpoint *c, const char *path, gram_err *err)
{
    gr_tok_facts f;
    gram_status rc;

    if (!c->adapter || c->own_words)
        return GRAM_OK;
    rc = gr_tok_facts_read(&f, path, err);
    if (!rc && c->words.tok)
        rc = gr_tok_facts_check(&f, c->words.tok, path, err);
    if (!rc && f.chat.named) {
        gr_templates_clear(&c->chat);
        c->chat = f.chat;
        f.chat = (gr_templates){ 0 };
        c->own_chat = true;
    }
    gr_tok_facts_clear(&f);
    return rc;
}

static void set_facts(struct checkpoint *c)
{
    c->facts = (gr_chat_facts){ .jinja = c->chat.jinja, .jinja_tools = c->chat.tools, .source = c->chat.source,
                                .names = c->chat.names, .bos = c->bos, .tokens = c->tokens };
}

/* What the files have to say to a person, line by line. */
static void say(gr_config *c, const gram_options *opt)
{
    for (char *line = c->notes, *end; line && opt->note; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        opt->note(opt->note_arg, line);
    }
    free(c->notes);
    c->notes = NULL;
}

/* An adapter of gram's says beside which weights it was trained; others of the same shapes give other numbers. */
static gram_status note_base(struct checkpoint *c, gram_err *err)
{
    char *path = c->adapter->st ? gr_path_join(c->adapter->path, GR_ADAPTER_WEIGHTS) : NULL, *was = NULL, is[24];
    gram_status rc = path ? gr_st_meta(path, GR_ADAPTER_BESIDE, &was, err)
                          : c->adapter->st ? gr_nomem(err, c->adapter->path) : GRAM_OK;

    snprintf(is, sizeof is, "%016" PRIx64, gr_weights_digest(c->weights));
    if (!rc && was && strcmp(was, is))
        rc = gr_config_note(&c->cfg, err, "%s was trained beside other weights than those of %s, or beside the same in "
                            "another form", c->adapter->path, gr_weights_path(c->weights));
    free(was);
    free(path);
    return rc;
}

gram_status gr_checkpoint_open(struct checkpoint *c, const char *path, const gram_options *opt, gram_err *err)
{
    const gr_head_asked asked = { opt->reward_token, opt->reward_weights };
    const char *model;
    gram_status rc;

    *c = (struct checkpoint){ 0 };
    if (opt->threads < 0 || opt->threads > 1024)
        return gr_fail(err, GRAM_EARG, "threads: wanted 0 to 1024, found %d", opt->threads);
    rc = find_base(&c->card, &c->adapter, &c->base, path, opt->base, err);
    if (rc)
        return rc;
    model = c->base ? c->base : path;
    c->gguf = !is_dir(model);
    rc = c->gguf ? gr_weights_open_gguf(&c->weights, model, err)
                 : gr_weights_open_dir_by(&c->weights, model, (size_t)opt->threads, err);
    if (!rc)
        rc = gr_config_open(&c->cfg, c->weights, c->adapter, &asked, err);
    if (!rc && c->adapter)
        rc = note_base(c, err);
    if (!rc && c->adapter)
        rc = has_tokenizer(&c->own_words, path, err);
    if (!rc)
        rc = read_words(c, c->own_words ? path : c->gguf ? NULL : model, err);
    if (!rc)
        rc = read_own_chat(c, path, err);
    if (rc) {
        gr_checkpoint_clear(c);
        return rc;
    }
    say(&c->cfg, opt);
    set_facts(c);
    c->facts.architecture = gr_arch_name(c->cfg.architecture);
    return GRAM_OK;
}

gram_status gr_checkpoint_words(struct checkpoint *c, const char *path, const char *given, gram_err *err)
{
    const char *words = path;
    gram_status rc;

    *c = (struct checkpoint){ .cfg.bos = -1 };
    rc = find_base(&c->card, &c->adapter, &c->base, path, given, err);
    if (!rc && c->adapter)
        rc = has_tokenizer(&c->own_words, path, err);
    if (c->base && !c->own_words)
        words = c->base;
    c->gguf = !is_dir(words);
    if (!rc && c->gguf)
        rc = gr_weights_open_gguf(&c->weights, words, err);
    if (!rc)
        rc = read_words(c, c->gguf ? NULL : words, err);
    if (!rc)
        rc = read_own_chat(c, path, err);
    if (rc)
        gr_checkpoint_clear(c);
    else
        set_facts(c);
    return rc;
}

gram_status gr_checkpoint_write_card(const struct checkpoint *c, const char *out, gram_err *err)
{
    gr_card card = c->card;
    char *path;
    gram_status rc;

    card.base_file = NULL;
    if (!card.name && !card.about && card.temperature <= 0 && !gr_card_says_words(&card))
        return GRAM_OK;
    path = gr_path_join(out, GR_CARD_FILE);
    rc = path ? gr_card_write(path, &card, NULL, err) : gr_nomem(err, out);
    free(path);
    return rc;
}

void gr_checkpoint_clear(struct checkpoint *c)
{
    gr_tok_close(c->words.tok);
    gr_config_clear(&c->cfg);
    gr_weights_close(c->weights);
    gr_adapter_close(c->adapter);
    gr_card_clear(&c->card);
    free(c->base);
    gr_templates_clear(&c->chat);
    free(c->tokens);
    free(c->bos);
    *c = (struct checkpoint){ 0 };
}
