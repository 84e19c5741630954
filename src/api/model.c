/* model.c - open, describe and close a model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/limits.h"
#include "gram/shipped.h"
#include "op/op.h"
#include "op/packed.h"
#include "reward/scale.h"

#define TEXT_BYTES ((size_t)1 << 30)
#define CACHE_TOKENS 576        /* the default cache: a judge prompt, and a question or two, in pages */

const char *gram_version(void)
{
    return GRAM_VERSION;
}

static gram_dtype dtype_of(const gram_options *o, const gr_weights *w)
{
    return o->dtype != GRAM_DTYPE_AUTO ? o->dtype : gr_weights_packed_count(w) ? GRAM_INT8 : GRAM_F32;
}

static gr_linear_mode mode_of(gram_dtype t, const gr_device *d)
{
    if (t == GRAM_INT8 || t == GRAM_INT8_FAST)
        return GR_LINEAR_INT8;
    return t == GRAM_BF16 ? GR_LINEAR_ROUNDED : gr_linear_best_f32(d);
}

/* What mode_of() comes to, in words. */
static const char *arithmetic_of(gram_dtype t)
{
    unsigned cpu = gr_kern_cpu();

    if (t == GRAM_INT8_FAST && cpu & GR_CPU_VNNI)
        return "8-bit integers, activations of one byte in the middle of texts and in tiles that write";
    if (t == GRAM_INT8 || t == GRAM_INT8_FAST)
        return "8-bit integers";
    if (t == GRAM_BF16)
        return cpu & GR_CPU_BF16 ? "bfloat16, sums in float32" : "float32, of weights held in bfloat16";
    return cpu & GR_CPU_SPLIT ? "float32 as sums of two bfloat16" : "float32";
}

const char *gram_arithmetic(const gram_model *m)
{
    if (!gr_device_is_host(m->device))
        return m->dtype == GRAM_BF16 ? "bfloat16, sums in float32" : "float32";
    return arithmetic_of(m->dtype);
}

static gram_status check_options(const gram_options *o, size_t context, const char *path, gram_err *err)
{
    if ((unsigned)o->dtype > GRAM_DTYPE_AUTO)
        return gr_fail(err, GRAM_EARG, "dtype: %d is none of gram_dtype", (int)o->dtype);
    if ((unsigned)o->truncate > GRAM_TRUNCATE_DROP)
        return gr_fail(err, GRAM_EARG, "truncate: %d is none of gram_truncate", (int)o->truncate);
    if (o->scale && !o->pointwise)
        return gr_fail(err, GRAM_EARG, "scale: it is for a judge of one answer, and pointwise is not asked for");
    if (o->scale && (o->label_a || o->label_b))
        return gr_fail(err, GRAM_EARG, "scale: its numbers are the labels, and others are given");
    if (!(o->lambda >= 0 && o->lambda <= 1e30))
        return gr_fail(err, GRAM_EARG, "lambda: wanted a number that is not negative, found %g", o->lambda);
    if (o->max_tokens > context)
        return gr_fail(err, GRAM_ELIMIT, "%s: max_tokens %zu is more than the model's context of %zu", path,
                       o->max_tokens, context);
    return GRAM_OK;
}

/* NVIDIA's reward models of this name are language models by their files, and their reward is the logit of token 0.
 * Nothing else in the files says so. */
static bool known_by_name(const char *name)
{
    return strcasestr(name, "nemotron") && strcasestr(name, "reward");
}

/* Judging with two labels that the model cannot tell apart. */
static void check_labels(gram_model *m)
{
    if (m->chat == GR_CHAT_NONE || gr_model_config(m->model)->reward || m->judge.scale ||
        !gr_model_same_rows(m->model, m->judge.label[0], m->judge.label[1]))
        return;
    gr_fail(&m->why, GRAM_EUNSUPPORTED, "%s: the rows of lm_head.weight are equal for both labels, %s and %s, so it "
            "cannot judge; if its reward is the logit of one token, `reward-token` says which",
            gr_weights_path(m->file.weights), m->judge.label_text[0], m->judge.label_text[1]);
    gr_judge_clear(&m->judge);
    m->chat = GR_CHAT_NONE;
}

/* What was asked for, and where nothing was, what judge.json says that the model was trained to read. Its words are for
 * pairs: one answer alone has others. */
static gram_options with_card(const gram_model *m, const gram_options *o)
{
    const gr_card_reads *r = &m->file.card.reads;
    gram_options all = *o;

    if (m->file.cfg.reward || o->pointwise || o->scale)
        return all;
    if (!o->judge_prompt)
        all.judge_prompt = r->prompt;
    if (!o->label_a && !o->label_b) {
        all.label_a = r->label[0];
        all.label_b = r->label[1];
    }
    return all;
}

/* Of a language model; why it cannot judge is in m->why. A number of a scale takes tokens behind the prompt. */
static gram_status open_judge(gram_model *m, const gram_options *o, gr_chat *chat /* moved */)
{
    size_t context = m->file.cfg.context, most = o->max_tokens ? o->max_tokens : context;
    gram_status rc;

    if (o->scale) {
        rc = gr_judge_init_scale(&m->judge, chat, m->file.words.tok, o->judge_prompt, o->scale, most, o->truncate,
                                 &m->why);
        if (!rc && m->judge.scale->longest < context)
            m->judge.max_tokens = gr_min(most, context - m->judge.scale->longest);
        return rc;
    }
    return (o->pointwise ? gr_judge_init_pointwise : gr_judge_init)
        (&m->judge, chat, m->file.words.tok, o->judge_prompt, o->label_a, o->label_b, most, o->truncate, &m->why);
}

/* The judge, or the reason why there can be none: a model may still be described, and its logits asked for. */
static void init_judge(gram_model *m, const gram_options *o)
{
    gr_chat chat;

    if (m->file.cfg.reward && (o->judge_prompt || o->label_a || o->label_b || o->pointwise || o->scale)) {
        gr_fail(&m->why, GRAM_EARG, "%s: a reward model reads a conversation with one answer: it has no judge prompt "
                "and no labels", gr_weights_path(m->file.weights));
        return;
    }
    if (!m->file.cfg.reward && !o->judge_prompt && !o->label_a &&
        (known_by_name(m->name) || known_by_name(m->file.cfg.said.name))) {
        gr_fail(&m->why, GRAM_EUNSUPPORTED, "%s: a language model by its files and a reward model by its name, whose "
                "reward is the logit of one token: `reward-token 0` reads it so, and `labels A,B` makes a judge of it",
                gr_weights_path(m->file.weights));
        return;
    }
    if (!m->file.words.tok) {
        gr_fail(&m->why, GRAM_EUNSUPPORTED, "%s: no tokenizer goes with the weights, so no text can be read",
                gr_weights_path(m->file.weights));
        return;
    }
    if (gr_api_chat(&chat, &m->file, o, !m->file.cfg.reward, &m->why))
        return;
    m->chat = chat.kind;
    if (m->file.cfg.reward) {
        gr_judge_init_plain(&m->judge, &chat, m->file.words.tok, m->file.cfg.pad,
                            o->max_tokens ? o->max_tokens : m->file.cfg.context, o->truncate);
        m->judge.last = m->file.cfg.last;
        if (gr_config_reads_prompt(&m->file.cfg) && gr_judge_mark_prompt(&m->judge, &m->why)) {
            gr_judge_clear(&m->judge);
            m->chat = GR_CHAT_NONE;
        }
        return;
    }
    if (open_judge(m, o, &chat))
        m->chat = GR_CHAT_NONE;
}

gram_status gr_api_ready(const gram_model *m, gram_err *err)
{
    if (m->chat != GR_CHAT_NONE)
        return GRAM_OK;
    if (err)
        *err = m->why;
    return m->why.status;
}

gram_status gr_api_kv_open(gr_kv_tree **out, const gram_model *m, size_t limit, gram_err *err)
{
    return gr_model_kv_open(out, m->model, m->device, limit, err);
}

static size_t cache_bytes(const gram_model *m)
{
    const gr_config *c = gr_model_config(m->model);

    return CACHE_TOKENS * c->layers * 2 * c->kv_heads * c->head_dim * gr_dtype_bytes(gr_model_rows(m->model));
}

/* The configuration of a model with the head that a scalar loss trains. */
static gram_status add_reward_head(struct checkpoint *file, const char *path, const gram_options *opt, gram_loss loss,
                                   gram_err *err)
{
    gr_config *c = &file->cfg;
    gr_reward_kind want = loss == GRAM_LOSS_PURM ? GR_REWARD_PURM : GR_REWARD_MEAN;
    bool words = c->words || c->tied_head || gr_weights_find(file->weights, "lm_head.weight") ||
                 gr_weights_find(file->weights, "output.weight");

    if (c->mix || c->is_token || c->gate.kind || c->head.tanh)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: a reward head of this form (%s) is read, and not trained", path,
                       c->is_token ? "a token's logit" : c->head.out);
    if (c->reward && c->reward != want)
        return gr_fail(err, GRAM_EARG, "%s: its reward head gives %zu numbers, and the loss %s wants %zu", path,
                       gr_reward_outputs(c->reward), gram_loss_name(loss), gr_reward_outputs(want));
    if (loss == GRAM_LOSS_SFT_REG && !words)
        return gr_fail(err, GRAM_EARG, "%s: the loss sft-reg also learns to write the chosen answer, and this model's "
                       "head over the vocabulary is gone", path);
    if (!c->reward && opt->note)
        opt->note(opt->note_arg, "the model has no reward head: a new one is begun");
    c->reward = want;
    if (!c->head.rows) {
        c->new_head = true;
        c->head = gr_head_new(gr_reward_outputs(want), 0);
    }
    c->words = loss == GRAM_LOSS_SFT_REG;
    return GRAM_OK;
}

static void note(const gram_options *o, const char *text)
{
    if (o->note)
        o->note(o->note_arg, text);
}

gram_status gr_api_words(gr_card_reads *out, const gram_model *m, bool reward, gram_err *err)
{
    const gr_card_reads *from = &m->file.card.reads;
    const gr_judge *j = &m->judge;
    const char *template = m->template ? m->template : from->template;
    const char *args = m->template_args ? m->template_args : from->chat_args;
    bool known = m->chat != GR_CHAT_NONE, judge = known && !reward && !j->pointwise, ok = true;

    if (judge && !j->own)
        ok = (out->prompt = gr_strdup(j->prompt)) != NULL;
    if (ok && judge && (strcmp(j->label_text[0], "A") || strcmp(j->label_text[1], "B")))
        ok = (out->label[0] = gr_strdup(j->label_text[0])) && (out->label[1] = gr_strdup(j->label_text[1]));
    if (ok && template && known && m->chat != GR_CHAT_JINJA)
        ok = (out->template = gr_strdup(gr_chat_name(m->chat))) != NULL;
    if (ok && args)
        ok = (out->chat_args = gr_strdup(args)) != NULL;
    if (ok && judge && from->format)
        ok = (out->format = gr_strdup(from->format)) != NULL;
    return ok ? GRAM_OK : gr_nomem(err, GR_CARD_FILE);
}

static bool other(const char *asked, const char *own)
{
    return asked && (!own || strcmp(asked, own));
}

/* Whether words were asked for that are not those of judge.json. */
static bool other_words(const gram_options *o, const gr_card_reads *r)
{
    return other(o->judge_prompt, r->prompt) || other(o->label_a, r->label[0]) || other(o->label_b, r->label[1]) ||
           other(o->chat_template, r->template) || other(o->chat_args, r->chat_args);
}

/* A temperature was found for one judge: with another prompt, other labels or another base it says nothing. */
static void set_temperature(gram_model *m, const gram_options *o)
{
    const gr_card *c = &m->file.card;
    bool same_base = !o->base || !c->base_file || gr_weights_file_bytes(m->file.weights) == c->base_bytes;

    if (c->temperature <= 0)
        return;
    if (other_words(o, &c->reads) || o->pointwise || o->scale || o->reward_token || o->reward_weights)
        note(o, "the temperature in judge.json is left out: it is that of the judge with its own prompt, labels and "
                "template");
    else if (!same_base)
        note(o, "the temperature in judge.json is left out: it was found over another base model");
    else
        m->temperature = c->temperature;
}

/* Labels go with a prompt that asks for them, or with a judge that was trained to give them. */
static void tell_labels(const gram_model *m, const gram_options *o)
{
    const gr_card_reads *r = &m->file.card.reads;
    const gr_judge *j = &m->judge;
    const char *const asks[] = { j->pointwise ? "Yes" : "A", j->pointwise ? "No" : "B" };
    gr_buf text = { 0 };

    if (m->chat == GR_CHAT_NONE || !j->own || j->scale || !o->label_a || !o->label_b ||
        (!other(o->label_a, r->label[0]) && !other(o->label_b, r->label[1])) ||
        (!strcmp(o->label_a, asks[0]) && !strcmp(o->label_b, asks[1])))
        return;
    if (gr_buf_printf(&text, "labels: gram's own judge prompt asks for %s or %s, and the verdict is read from %s and "
                      "%s: a judge prompt that asks for these goes with them", asks[0], asks[1], o->label_a,
                      o->label_b))
        note(o, text.p);
    gr_buf_clear(&text);
}

/* Which judge it is, where nobody named one. */
static void tell_shipped(const gram_model *m, const char *path, const gram_options *o)
{
    gr_buf text = { 0 };

    if (gr_buf_printf(&text, "the judge is %s (%s)", m->name, path) &&
        (!m->file.base || gr_buf_printf(&text, " over %s", m->file.base)) &&
        (m->temperature <= 0 || gr_buf_printf(&text, ", temperature %g", m->temperature)))
        note(o, text.p);
    gr_buf_clear(&text);
}

static gram_status check_words(const struct checkpoint *c, const char *path, gram_err *err)
{
    const gr_card_reads *r = &c->card.reads;

    if (!c->cfg.reward || (!r->prompt && !r->label[0]))
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "%s: judge.json holds a judge prompt or labels, and this is a reward model, "
                   "which reads a conversation with one answer", path);
}

gram_status gr_api_open_files(gram_model **out, const char *path, const gram_options *opt, gram_loss loss,
                              gram_err *err)
{
    gram_model *m = gr_calloc(1, sizeof *m);
    pthread_mutexattr_t again;
    gram_options all;
    gram_status rc;

    *out = NULL;
    if (!m)
        return gr_nomem(err, path);
    if (pthread_mutexattr_init(&again) || pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE) ||
        pthread_mutex_init(&m->lock, &again)) {
        free(m);
        return gr_nomem(err, path);
    }
    pthread_mutexattr_destroy(&again);
    m->lambda = opt->lambda;
    m->note = opt->note;
    m->note_arg = opt->note_arg;
    m->program = gr_ram_held();
    m->text_bytes = opt->text_bytes ? opt->text_bytes : TEXT_BYTES;
    if ((opt->chat_template && !(m->template = gr_strdup(opt->chat_template))) ||
        (opt->chat_args && !(m->template_args = gr_strdup(opt->chat_args)))) {
        rc = gr_nomem(err, path);
        goto out;
    }
    rc = gr_checkpoint_open(&m->file, path, opt, err);
    if (!rc && !(m->name = m->file.card.name ? gr_strdup(m->file.card.name) : gr_api_base_name(path)))
        rc = gr_nomem(err, path);
    if (!rc)
        rc = check_options(opt, m->file.cfg.context, path, err);
    if (!rc)
        m->dtype = dtype_of(opt, m->file.weights);
    if (!rc && gram_loss_is_scalar(loss))
        rc = add_reward_head(&m->file, path, opt, loss, err);
    else if (!rc)
        rc = check_words(&m->file, path, err);
    if (!rc && opt->lambda > 0 && m->file.cfg.reward != GR_REWARD_PURM)
        rc = gr_fail(err, GRAM_EARG, "%s: lambda %g is for a PURM head, and this is none", path, opt->lambda);
    if (rc)
        goto out;
    set_temperature(m, opt);
    all = with_card(m, opt);
    init_judge(m, &all);
    tell_labels(m, opt);
    if (m->chat == GR_CHAT_NONE && (m->why.status != GRAM_EUNSUPPORTED || opt->judge_prompt || opt->label_a ||
                                    opt->label_b || opt->scale || opt->chat_template)) {
        rc = gr_api_ready(m, err);                  /* what was asked for by name must work now */
        goto out;
    }
    *out = m;
    m = NULL;
out:
    gram_close(m);
    return rc;
}

gram_status gram_open(gram_model **out, const char *path, const gram_options *opt, gram_err *err)
{
    const gram_options defaults = { 0 };
    gram_model *m;
    gr_config cfg;
    char *shipped = NULL;
    gram_status rc;

    *out = NULL;
    opt = opt ? opt : &defaults;
    rc = path ? GRAM_OK : gram_shipped_judge(&shipped, err);
    if (rc)
        return rc;
    rc = gr_api_open_files(&m, path ? path : shipped, opt, GRAM_LOSS_GRAM, err);
    if (!rc && shipped)
        tell_shipped(m, shipped, opt);
    free(shipped);
    if (rc)
        return rc;
    rc = gr_device_open(&m->device, opt->device, (size_t)opt->threads, err);
    if (!rc)
        rc = gr_api_fits(m, opt, err);
    if (rc)
        goto out;
    cfg = m->file.cfg;                              /* the model takes it over */
    m->file.cfg = (gr_config){ 0 };
    rc = gr_model_open_folded(&m->model, m->device, m->file.weights, m->file.adapter, &cfg,
                              mode_of(m->dtype, m->device),
                              GR_MODEL_FIXED, err);
    if (!rc)
        check_labels(m);
    if (!rc)
        rc = gr_work_open(&m->scorer.work, m->model, NULL, GR_ROWS_ALIKE, m->device, err);
    if (!rc)
        rc = gr_work_open(&m->writing, m->model, NULL, GR_ROWS_FEW, m->device, err);
    if (!rc)
        rc = gr_api_kv_open(&m->cache, m, opt->prefix_cache_bytes ? opt->prefix_cache_bytes : cache_bytes(m), err);
    if (rc)
        goto out;
    m->scorer.cache = m->cache;
    m->scorer.judge = &m->judge;
    m->scorer.model = m->model;
    m->scorer.batch_tokens = opt->batch_tokens ? opt->batch_tokens : GR_API_BATCH_TOKENS;
    m->scorer.single_order = opt->single_order;
    m->scorer.temperature = m->temperature;
    if (m->dtype == GRAM_INT8_FAST && m->chat != GR_CHAT_NONE && gr_linear_has_one_byte(m->device))
        rc = gr_scorer_take_one_byte(&m->scorer, err);
    if (rc)
        goto out;
    *out = m;
    m = NULL;
out:
    gram_close(m);
    return rc;
}

void gram_close(gram_model *m)
{
    if (!m)
        return;
    gr_write_close(m->chats);
    gr_kv_close(m->chats_kv);
    gr_ids_clear(&m->ends);
    gr_kv_close(m->cache);
    gr_vocabulary_close(m->scorer.head);
    gr_work_close(m->scorer.work);
    gr_work_close(m->writing);
    gr_model_close(m->model);
    gr_device_close(m->device);
    if (m->chat != GR_CHAT_NONE)
        gr_judge_clear(&m->judge);
    gr_checkpoint_clear(&m->file);
    pthread_mutex_destroy(&m->lock);
    free(m->name);
    free(m->template);
    free(m->template_args);
    free(m);
}

/* Tensor types of the file, most bytes first come first: in the order they are met. */
static void count_types(const gr_weights *w, gram_info *out)
{
    for (size_t i = 0; i < gr_weights_count(w); i++) {
        const gr_named *t = gr_weights_at(w, i);
        size_t k = 0, n = 1;
        for (size_t d = 0; d < t->n_dims; d++)
            n *= t->dim[d];
        while (k < out->types && out->type[k].name != gr_dtype_name(t->type))
            k++;
        if (k == GR_COUNT(out->type))
            continue;
        if (k == out->types)
            out->type[out->types++].name = gr_dtype_name(t->type);
        out->type[k].count++;
        out->type[k].bytes += t->bytes;
        out->parameters += n;
    }
}

/* The same of a model in 8 bits of gram's own, which come first. */
static gram_status count_packed(const gr_weights *w, gram_info *out, gram_err *err)
{
    size_t n = gr_weights_packed_count(w);
    gram_status rc = GRAM_OK;

    if (n)
        out->type[out->types++] = (gram_type_count){ .name = "8 bits", .count = n };
    for (size_t i = 0; i < n && !rc; i++) {
        const gr_named *t = gr_weights_packed_at(w, i);
        gr_packed p;
        rc = gr_packed_read(&p, t->name, t->data, t->bytes, err);
        if (rc)
            break;
        out->type[0].bytes += t->bytes;
        out->parameters += p.O * p.K;
    }
    return rc;
}

static void describe_adapter(const struct checkpoint *c, gram_info *out)
{
    out->adapter_rank = c->adapter->cfg.rank;
    out->adapter_alpha = c->adapter->cfg.alpha;
    for (size_t i = 0; i < gr_adapter_count(c->adapter); i++) {
        const gr_tensor t = gr_named_tensor(gr_adapter_at(c->adapter, i));
        out->adapter_parameters += t.rows * t.cols;
    }
    snprintf(out->base, sizeof out->base, "%s", c->base);
}

static const char *head_name(const gr_config *c)
{
    return c->reward == GR_REWARD_NONE ? "vocabulary" : c->reward == GR_REWARD_MEAN ? "reward" : "purm";
}

double gram_temperature(const gram_model *m)
{
    return m->temperature;
}

const char *gram_head(const gram_model *m)
{
    return head_name(gr_model_config(m->model));
}

gram_status gram_inspect(const char *path, const gram_options *opt, gram_info *out, gram_err *err)
{
    const gram_options defaults = { 0 };
    struct checkpoint c;
    gr_chat chat = { 0 };
    char *shipped = NULL;
    gram_dtype dtype;
    gram_status rc = path ? GRAM_OK : gram_shipped_judge(&shipped, err);

    *out = (gram_info){ 0 };
    opt = opt ? opt : &defaults;
    if (rc)
        return rc;
    path = path ? path : shipped;
    rc = gr_cpu_check(err);
    if (!rc)
        rc = gr_checkpoint_open(&c, path, opt, err);
    if (rc) {
        free(shipped);
        return rc;
    }
    rc = check_options(opt, c.cfg.context, path, err);
    if (rc)
        goto out;
    out->architecture = gr_arch_name(c.cfg.architecture);
    dtype = dtype_of(opt, c.weights);
    if (gr_weights_packed_count(c.weights) && dtype != GRAM_INT8_FAST)
        dtype = GRAM_INT8;
    out->format = c.gguf ? "gguf" : gr_weights_packed_count(c.weights) ? "8 bits of gram convert" : "safetensors";
    if (c.words.tok && !gr_api_chat(&chat, &c, opt, false, NULL))
        out->chat_template = gr_chat_name(chat.kind);
    gr_chat_clear(&chat);
    out->tokenizer = c.words.tok ? gr_tok_kind(c.words.tok) : NULL;
    out->cpu = gr_cpu_name(gr_kern_cpu());
    out->arithmetic = arithmetic_of(dtype);
    out->file_bytes = gr_weights_file_bytes(c.weights);
    if (c.adapter)
        describe_adapter(&c, out);
    out->temperature = c.card.temperature;
    snprintf(out->judge, sizeof out->judge, "%s", c.card.name ? c.card.name : "");
    snprintf(out->path, sizeof out->path, "%s", path);
    rc = count_packed(c.weights, out, err);
    count_types(c.weights, out);
    out->weight_bytes = gr_api_weight_bytes(&c.cfg, c.weights, dtype);
    out->layers = c.cfg.layers;
    out->width = c.cfg.width;
    out->heads = c.cfg.heads;
    out->kv_heads = c.cfg.kv_heads;
    out->head_dim = c.cfg.head_dim;
    out->hidden = c.cfg.hidden;
    out->experts = c.cfg.experts;
    out->experts_chosen = c.cfg.chosen;
    out->expert_hidden = c.cfg.expert_hidden;
    for (size_t i = 0; i < c.cfg.layers; i++)
        out->expert_layers += gr_config_sparse(&c.cfg, i);
    out->vocabulary = c.cfg.vocabulary;
    out->context = c.cfg.context;
    out->window = c.cfg.window;
    out->tied_head = c.cfg.tied_head;
    gr_api_describe(out, &c.cfg, &c.card);
    out->head = head_name(&c.cfg);
    snprintf(out->head_name, sizeof out->head_name, "%s", c.cfg.head.rows ? c.cfg.head.out : "");
    out->work_bytes = gr_config_work_bytes(&c.cfg, opt->batch_tokens ? opt->batch_tokens : GR_API_BATCH_TOKENS,
                                           opt->threads ? (size_t)opt->threads : gr_cores(), GR_F32);
out:
    gr_checkpoint_clear(&c);
    free(shipped);
    return rc;
}

gram_usage gram_get_usage(const gram_model *m)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&m->lock;
    gram_usage u;

    pthread_mutex_lock(lock);
    u = m->scorer.usage;
    pthread_mutex_unlock(lock);
    return u;
}

size_t gram_vocabulary(const gram_model *m)
{
    return gr_model_config(m->model)->vocabulary;
}
