/* policy.c - see policy.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/how.h"
#include "api/policy.h"
#include "api/reason_int.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "gram/align.h"
#include "gram/rationale.h"
#include "train/options.h"

/* A judge, and whether it was said why it failed. */
struct judging { gram_judge *judge; const gram_train_options *o; bool told; };

struct gr_policy {
    const gram_train_options *o;
    gr_align_prompts train, held;
    gram_judge *judge, *eval_judge;     /* eval_judge may be judge */
    struct judging judging, eval_judging;
    const char *from;
    gram_model *sampler;                /* NULL: the policy */
    bool self;                          /* it is a judge that learns to reason */
    gr_reason_words words;              /* of which the following are */
    gr_ids ends;
    char *tag;
    gr_align_own own;
    gr_reference reference;
    gr_critic value;
    gr_align *align;
};

/* ---- Judges ------------------------------------------------------------------------------------------- */

/* Why the judge failed, of the first answer at which it did; metrics.jsonl has the share. */
static void tell_failure(struct judging *j, const gram_judged_group *out)
{
    char text[512];

    for (size_t i = 0; i < out->n && !j->told && j->o->note; i++)
        if (out->error[i]) {
            snprintf(text, sizeof text, "an answer has no reward, and nothing is learnt of such: %.400s",
                     out->error[i]);
            j->o->note(j->o->arg, text);
            j->told = true;
        }
}

static gram_status rewards(void *arg, const gr_align_prompt *p, const char *const *answer, size_t n,
                           const char *reference, double *reward, gram_err *err)
{
    const gram_group g = { .prompt = gr_group_prompt(&p->row), .response = answer, .n = n,
                           .reference = reference, .columns = p->columns };
    struct judging *j = arg;
    gram_judged_group out;
    gram_status rc = gram_judge_group(j->judge, &g, &out, err);

    if (rc)
        return rc;
    memcpy(reward, out.reward, n * sizeof *reward);
    tell_failure(j, &out);
    gram_judged_group_clear(&out);
    return GRAM_OK;
}

/* How a judge is asked: about one answer at a time, or by so many rationales. */
struct asking { const char *where; bool pointwise; size_t votes, tokens; const char *format; };

static gram_status open_judge(gram_judge **out, const struct asking *ask, gram_judge_options j,
                              const gram_train_options *o, gram_err *err)
{
    const char *file = ask->pointwise ? o->align.pointwise_prompt : NULL;
    gram_rationale_options reasons;
    gram_options model = { .threads = o->model.threads, .device = o->model.device, .dtype = GRAM_DTYPE_AUTO,
                           .note = o->model.note, .note_arg = o->model.note_arg, .pointwise = ask->pointwise,
                           .scale = ask->pointwise ? o->align.scale : NULL };
    char *prompt = NULL;
    gram_status rc = file ? gram_read_judge_prompt(&prompt, file, true, err) : GRAM_OK;

    model.judge_prompt = prompt;
    j.model = &model;
    if (ask->votes) {
        gram_rationale_options_init(&reasons);
        reasons.format = ask->format;
        reasons.votes = ask->votes;
        reasons.max_tokens = ask->tokens;
        reasons.seed = o->seed;
        j.rationale = &reasons;
    }
    if (!rc)
        rc = gram_judge_open(out, ask->where, &j, err);
    free(prompt);
    return rc;
}

/* Of the judge that is learnt from. */
static gram_status open_learnt(gr_policy *p, gram_err *err)
{
    const gram_align_options *a = &p->o->align;
    const struct asking ask = { a->judge, a->pointwise, a->votes, a->vote_tokens, p->o->rationale_format };
    gram_judge_options j = { .lambda = a->lambda };
    gram_status rc = a->scheme ? gram_scheme_parse(a->scheme, &j.scheme, err) : GRAM_OK;

    if (!rc && a->unit)
        rc = gram_unit_parse(a->unit, &j.unit, err);
    return rc ? rc : open_judge(&p->judge, &ask, j, p->o, err);
}

/* Of another one of the held-out prompts, each of which has one answer: if it compares, then with the row's. Scheme and
 * lambda are of the judge that is learnt from, which may be of another kind. */
static gram_status open_other(gr_policy *p, gram_err *err)
{
    const gram_align_options *a = &p->o->align;
    const struct asking ask = { .where = a->eval_judge ? a->eval_judge : a->judge, .votes = a->eval_votes,
                                .tokens = a->eval_vote_tokens, .format = a->eval_format };
    gram_judge_options compares = { .scheme = GRAM_SCHEME_REFERENCE };
    gram_status rc = a->unit ? gram_unit_parse(a->unit, &compares.unit, err) : GRAM_OK;

    if (!rc && !ask.votes) {
        rc = open_judge(&p->eval_judge, &ask, (gram_judge_options){ 0 }, p->o, err);
        if (rc || gram_judge_across_prompts(p->eval_judge))
            return rc;
        gram_judge_close(p->eval_judge);
        p->eval_judge = NULL;
    }
    return rc ? rc : open_judge(&p->eval_judge, &ask, compares, p->o, err);
}

static gram_status check_references(const gr_align_prompts *p, const char *what, gram_err *err)
{
    for (size_t i = 0; i < p->n; i++)
        if (!p->p[i].row.reference)
            return gr_fail(err, GRAM_EFORMAT, "row %s: %s compares each answer with one that is given, and this row "
                           "has no \"reference\"", p->p[i].row.id, what);
    return GRAM_OK;
}

/* What the judge can say of answers to one prompt, and of others. */
static gram_status check_judges(const gr_policy *p, gram_err *err)
{
    const gram_align_options *a = &p->o->align;
    bool across = gram_judge_across_prompts(p->judge), needs = gram_judge_needs_reference(p->judge);
    gram_status rc = GRAM_OK;

    if (!across && !needs && (a->global || a->algorithm == GRAM_ALGORITHM_REINFORCE))
        return gr_fail(err, GRAM_EARG, "%s: the judge compares answers to one prompt, and %s sets rewards of several "
                       "prompts against each other", a->judge, a->global ? "global" : "reinforce");
    if (!across && !needs && a->algorithm == GRAM_ALGORITHM_PPO && a->samples < 2)
        return gr_fail(err, GRAM_EARG, "%s: the judge compares answers to one prompt: wanted `samples` 2 or more, or "
                       "`scheme` reference", a->judge);
    if (a->against == GRAM_AGAINST_GREEDY && !needs)
        return gr_fail(err, GRAM_EARG, "against: wanted `scheme` reference with it, without which it says nothing");
    if (needs && a->against == GRAM_AGAINST_ROW)
        rc = check_references(&p->train, "the judge", err);
    if (rc || !p->held.n)
        return rc;
    if (gram_judge_needs_reference(p->eval_judge))
        return check_references(&p->held, "the judge of the held-out prompts", err);
    if (!gram_judge_across_prompts(p->eval_judge))
        return gr_fail(err, GRAM_EARG, "%s: it compares answers to one prompt, and a held-out prompt has one: wanted "
                       "another `eval-judge`, or `scheme` reference", a->judge);
    return GRAM_OK;
}

static gram_status open_judges(gr_policy *p, gram_err *err)
{
    const gram_align_options *a = &p->o->align;
    gram_status rc = open_learnt(p, err);
    bool another;

    p->eval_judge = p->judge;
    another = a->eval_votes || (a->eval_judge && strcmp(a->eval_judge, a->judge));
    if (!rc && a->eval_judge && !another)           /* the same, and it compares answers to one prompt */
        another = !gram_judge_across_prompts(p->judge) && !gram_judge_needs_reference(p->judge);
    if (!rc && another)
        rc = open_other(p, err);
    if (!rc && p->o->note)
        p->o->note(p->o->arg, gram_judge_about(p->judge));
    if (!rc && p->o->note && p->eval_judge != p->judge)
        p->o->note(p->o->arg, gram_judge_about(p->eval_judge));
    return rc ? rc : check_judges(p, err);
}

/* ---- Answers of another model -------------------------------------------------------------------------- */

struct written { gr_align_text *out; size_t samples; gram_err why; gram_status rc; };

static int take_answer(void *arg, const gram_answer *a)
{
    struct written *w = arg;
    gr_align_text *t = &w->out[a->prompt * w->samples + a->k];

    if (a->finish == GRAM_FINISH_FAILED)
        w->rc = gr_fail(&w->why, GRAM_EFORMAT, "an answer of the sampler: %s", a->error);
    else if (!(t->text = gr_strndup(a->text, a->bytes)))
        w->rc = gr_nomem(&w->why, "an answer");
    t->cut = a->finish == GRAM_FINISH_LENGTH;
    t->seed = a->seed;
    return w->rc != GRAM_OK;
}

static gram_status write_other(void *arg, const gr_align_prompt *const *p, size_t n, size_t samples, uint64_t seed,
                               gr_align_text *out, gram_err *err)
{
    const gr_policy *self = arg;
    gram_prompt *prompt = gr_calloc(n, sizeof *prompt);
    struct written w = { .out = out, .samples = samples };
    gram_generation g;
    gram_status rc;

    if (!prompt)
        return gr_nomem(err, "prompts");
    for (size_t i = 0; i < n; i++)
        prompt[i] = gr_group_prompt(&p[i]->row);
    gram_generation_init(&g);
    g.temperature = self->o->align.temperature;
    g.top_p = self->o->align.top_p;
    g.max_new_tokens = self->o->align.max_new;
    g.n = samples;
    g.seed = seed;
    g.products = GRAM_PRODUCTS_TILES;
    rc = gram_generate(self->sampler, prompt, n, &g, take_answer, &w, err);
    free(prompt);
    return w.rc ? gr_fail(err, w.rc, "%s", w.why.text) : rc;
}

static gram_status open_sampler(gr_policy *p, gram_err *err)
{
    const gram_options model = { .threads = p->o->model.threads, .device = p->o->model.device,
                                 .dtype = GRAM_DTYPE_AUTO, .note = p->o->model.note, .note_arg = p->o->model.note_arg };

    return p->o->align.sampler ? gram_open(&p->sampler, p->o->align.sampler, &model, err) : GRAM_OK;
}

/* ---- Prompts -------------------------------------------------------------------------------------------- */

/* How the judge writes its reasons, in so many tokens with the prompt and the tags, which take no more than bytes. */
static gram_status open_words(gr_policy *p, const gram_model *m, size_t most, gram_err *err)
{
    gr_format f;
    size_t tags = 0;
    gr_str tag;
    gram_status rc = gr_format_init(&f, gr_api_format(m, p->o->rationale_format), err);

    if (!rc)
        tags = strlen(f.opening) + strlen(f.closing) + strlen(f.cue) + 8;
    gr_format_clear(&f);
    if (!rc && most <= tags)
        rc = gr_fail(err, GRAM_EARG, "max-new-tokens: %zu leave no room for a pair", p->o->align.max_new);
    if (!rc)
        rc = gr_api_reason_words(&p->words, m, p->o->rationale_format, NULL, -1, most - tags, err);
    if (rc)
        return rc;
    tag = gr_format_tag(p->words.format.closing);
    p->tag = gr_strndup(tag.p, tag.n);
    return p->tag ? GRAM_OK : gr_nomem(err, "rationale format");
}

gram_status gr_policy_read(gr_policy **out, const gram_model *m, const char *from, const char *prompts,
                           const gram_train_options *o, gr_set *train, gr_set *held, gram_err *err)
{
    gr_policy *p = gr_calloc(1, sizeof *p);
    size_t most = m->judge.max_tokens;
    gr_align_rules rules = { .judge = &m->judge, .columns = o->columns, .skip_bad = o->skip_bad,
                             .most = most > o->align.max_new ? most - o->align.max_new : 0,
                             .truncate = o->model.truncate, .warn = o->note, .arg = o->arg };
    gram_status rc = p ? GRAM_OK : gr_nomem(err, prompts);

    *out = p;
    if (rc)
        return rc;
    p->o = o;
    p->from = from;
    if (rules.most == 0)
        return gr_fail(err, GRAM_EARG, "max-new-tokens: %zu leave no room for a prompt in %zu", o->align.max_new, most);
    p->self = !strcmp(o->align.judge, GR_JUDGE_SELF);
    if (p->self) {
        rc = open_words(p, m, rules.most, err);
        rules.words = &p->words;
    }
    if (rc)
        return rc;
    rc = gr_align_read(&p->train, prompts, o->more_data, &rules, err);
    rules.apart = true;
    if (!rc && o->eval_file)
        rc = gr_align_read(&p->held, o->eval_file, o->more_eval, &rules, err);
    if (!rc)
        rc = gr_align_set(&p->train, train, err);
    if (!rc && o->eval_file)
        rc = gr_align_set(&p->held, held, err);
    if (!rc && !p->self)
        rc = open_judges(p, err);
    return rc ? rc : open_sampler(p, err);
}

/* ---- The reference -------------------------------------------------------------------------------------- */

/* Weights that stay as they are, of the files that the policy starts from or of another model. */
static gram_status open_frozen(gr_reference *f, const gram_model *m, const gr_training *r, gram_err *err)
{
    const struct checkpoint *files = f->other ? &f->other->file : &m->file;
    gr_config cfg;
    gram_status rc = gr_config_open(&cfg, files->weights, files->adapter, &(gr_head_asked){ 0 }, err);

    if (!rc)
        rc = gr_model_open_folded(&f->model, m->device, files->weights, files->adapter, &cfg, r->mode, GR_MODEL_FIXED,
                                  err);
    if (!rc)
        gr_model_train_by(f->model, gr_linear_best(m->device));     /* as rows are judged by the policy */
    return rc;
}

gram_status gr_reference_open(gr_reference *f, gram_model *m, const gr_training *r, const char *path, gram_err *err)
{
    const gram_options files = { .threads = (int)gr_api_threads(r->opt) };
    gram_status rc = path ? gr_api_open_files(&f->other, path, &files, GRAM_LOSS_GRAM, err) : GRAM_OK;

    if (!rc && f->other)
        rc = gr_api_same_words(m, f->other, "the reference", err);
    if (!rc && (f->other || !r->lora))
        rc = open_frozen(f, m, r, err);
    else if (!rc && m->file.adapter)
        rc = gr_lora_read(&f->lora, m->model, m->file.adapter, err);
    return rc ? rc : gr_trainee_open_frozen(&f->t, f->model ? f->model : r->model, f->lora, r->device, err);
}

void gr_reference_close(gr_reference *f)
{
    gr_trainee_close(f->t);
    gr_lora_close(f->lora);
    gr_model_close(f->model);
    gram_close(f->other);
}

/* ---- The value model ------------------------------------------------------------------------------------ */

/* The parameters under names that no parameter of the policy has. */
static gram_status name_values(gr_critic *v, gram_err *err)
{
    size_t n;
    const gr_param *param = gr_trainee_params(v->t, &n);

    v->param = gr_calloc(n, sizeof *v->param);
    for (size_t i = 0; v->param && i < n; i++) {
        gr_buf name = { 0 };
        if (!gr_buf_printf(&name, "value.%s", param[i].name))
            return gr_nomem(err, "a value model");
        v->param[i] = param[i];
        v->param[i].name = name.p;
        v->n++;
    }
    return v->param ? GRAM_OK : gr_nomem(err, "a value model");
}

/* It is trained as the policy is: every weight, or adapters of the same form and another seed. */
static gram_status value_open(gr_critic *v, const gr_policy *p, const gram_model *m, const gr_training *r,
                              gram_err *err)
{
    const gram_train_options *o = p->o;
    const char *path = o->align.value ? o->align.value : p->from;
    const gram_options files = { .base = o->align.value ? NULL : o->model.base, .threads = (int)gr_api_threads(o) };
    gr_config cfg;
    gram_status rc = gr_api_open_files(&v->files, path, &files, GRAM_LOSS_BT, err);
    bool own;

    if (!rc)
        rc = gr_api_same_words(m, v->files, "a value model", err);
    if (rc)
        return rc;
    own = v->files->file.adapter && gr_adapter_has_head(v->files->file.adapter);
    cfg = v->files->file.cfg;
    v->files->file.cfg = (gr_config){ 0 };
    rc = gr_model_open_folded(&v->model, r->device, v->files->file.weights, v->files->file.adapter, &cfg, r->mode,
                              r->lora ? GR_MODEL_FIXED : GR_MODEL_WRITABLE, err);
    if (!rc)
        gr_model_train_by(v->model, gr_linear_best(r->device));
    if (!rc && gr_model_config(v->model)->new_head && !own)
        rc = gr_model_draw_score(v->model, ~o->seed, err);
    if (!rc && r->lora)
        rc = gr_lora_open(&v->lora, v->model, gr_lora_get_spec(r->lora), ~o->seed, err);
    if (!rc)
        rc = gr_trainee_open_lora(&v->t, v->model, v->lora, r->device, err);
    if (!rc)
        rc = name_values(v, err);
    for (size_t i = 0; i < v->n && o->lr > 0; i++)
        v->param[i].pace = o->align.value_lr > 0 ? o->align.value_lr / o->lr : 10;
    return rc;
}

static void value_close(gr_critic *v)
{
    for (size_t i = 0; i < v->n; i++)
        free((char *)(uintptr_t)v->param[i].name);
    free(v->param);
    gr_trainee_close(v->t);
    gr_lora_close(v->lora);
    gr_model_close(v->model);
    gram_close(v->files);
}

/* What a judge's, or the sampler's, model takes, where it is one of this process. */
static uint64_t model_bytes(const gram_model *m)
{
    return m ? gr_model_way_bytes(m->model, GR_ROWS_ALIKE) : 0;
}

static uint64_t judge_bytes(gram_judge *j)
{
    return j ? model_bytes(gram_judge_model(j)) : 0;
}

/* A path or a name may stand for another model than when the run was begun. */
static gram_status digest_judges(const gr_policy *p, uint64_t *h, gram_err *err)
{
    const gram_judge *judge[] = { p->judge, p->eval_judge };

    *h = GR_DIGEST;
    for (size_t i = 0; i < GR_COUNT(judge) && judge[0]; i++) {
        json_t *how = gr_how_judged(judge[i]);
        char *text = gr_json_text(how, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        json_decref(how);
        if (!text)
            return gr_nomem(err, "judge");
        *h = gr_digest_text(*h, text);
        free(text);
    }
    if (!judge[0])
        *h = 0;                             /* the policy is its own */
    return GRAM_OK;
}

gram_status gr_policy_open(gr_policy *p, gram_model *m, gr_training *r, gram_err *err)
{
    gr_align_facts f = { .opt = p->o, .train = &p->train, .held = &p->held,
                         .judge = { rewards, &p->judging }, .eval_judge = { rewards, &p->eval_judging },
                         .reference_judge = p->judge && gram_judge_needs_reference(p->judge),
                         .model = r->model, .lora = r->lora, .device = r->device, .tok = m->file.words.tok,
                         .ends = &m->ends, .batch_tokens = r->batch_tokens, .kv_bytes = m->text_bytes };
    gram_status rc = gr_api_find_ends(m, err);

    p->judging = (struct judging){ p->judge, p->o, false };
    p->eval_judging = (struct judging){ p->eval_judge, p->o, false };
    if (!rc && (p->o->align.kl != GRAM_KL_NONE || p->o->align.algorithm == GRAM_ALGORITHM_ONLINE_DPO))
        rc = gr_reference_open(&p->reference, m, r, p->o->reference, err);
    if (!rc && p->o->align.algorithm == GRAM_ALGORITHM_PPO)
        rc = value_open(&p->value, p, m, r, err);
    if (!rc)
        rc = digest_judges(p, &r->judged, err);
    if (rc)
        return rc;
    if (p->reference.other)
        r->refers = gr_how_weights(p->reference.other);
    f.words = &m->judge;
    if (p->self) {
        p->own = (gr_align_own){ &p->words, r->model, r->lora, r->device, r->batch_tokens, m->judge.max_tokens };
        f.judge = f.eval_judge = (gr_align_judge){ gr_align_own_rewards, &p->own };
        f.tag = p->tag;
        f.ends = &p->ends;
        if (!gr_ids_add(&p->ends, m->ends.p, m->ends.n) || !gr_ids_add(&p->ends, p->words.ends.p, p->words.ends.n))
            return gr_nomem(err, "rationale format");
    }
    if (p->sampler)
        f.sampler = (gr_align_sampler){ write_other, p, gr_how_weights(p->sampler) };
    f.reference = p->reference.t;
    f.bytes = (p->reference.model ? gr_model_bytes(p->reference.model) : 0) + judge_bytes(p->judge) +
              (p->eval_judge != p->judge ? judge_bytes(p->eval_judge) : 0) + model_bytes(p->sampler);
    if (p->value.t) {
        f.value = p->value.t;
        f.value_config = gr_model_config(p->value.model);
        f.values = p->value.param;
        f.n_values = p->value.n;
        f.value_base = p->o->align.value ? gr_how_weights(p->value.files) : 0;
        f.bytes += gr_model_bytes(p->value.model);
    }
    f.base = r->lora ? gr_weights_sample(r->weights) : GR_DIGEST;
    rc = gr_align_open(&p->align, &f, err);
    if (!rc)
        r->source = gr_align_source(p->align);
    return rc;
}

void gr_policy_close(gr_policy *p)
{
    if (!p)
        return;
    gr_align_close(p->align);
    value_close(&p->value);
    gr_reference_close(&p->reference);
    if (p->eval_judge != p->judge)
        gram_judge_close(p->eval_judge);
    gram_judge_close(p->judge);
    gram_close(p->sampler);
    gr_reason_words_clear(&p->words);
    gr_ids_clear(&p->ends);
    free(p->tag);
    gr_align_prompts_clear(&p->train);
    gr_align_prompts_clear(&p->held);
    free(p);
}
