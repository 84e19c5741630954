/* options.c - see options.h. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "train/options_int.h"

/* What weighs the terms of these losses, as published. */
#define POSREG     0.1
#define SFT_WEIGHT 0.01
#define SFT_BETA   0.1

const gram_option *gram_train_option(size_t i)
{
    return i < gr_option_rows ? &gr_option_row[i] : NULL;
}

const gram_option *gr_option_find(const char *name)
{
    for (size_t i = 0; i < gr_option_rows; i++)
        if (!strcmp(gr_option_row[i].name, name))
            return &gr_option_row[i];
    return NULL;
}

static const void *of(const gram_option *k, const gram_train_options *o)
{
    return (const char *)o + k->at;
}

static double number_of(const gram_option *k, const gram_train_options *o)
{
    const void *p = of(k, o);

    switch (k->kind) {
    case GRAM_OPTION_REAL: return *(const double *)p;
    case GRAM_OPTION_SIZE: return (double)*(const size_t *)p;
    case GRAM_OPTION_WIDE: return (double)*(const uint64_t *)p;
    case GRAM_OPTION_INT: case GRAM_OPTION_CHOICE: return *(const int *)p;
    case GRAM_OPTION_FLAG: return *(const bool *)p;
    default: return *(const char *const *)p != NULL;
    }
}

static bool is_text(const gram_option *k)
{
    return k->kind >= GRAM_OPTION_WORD;
}

/* ---- Text ----------------------------------------------------------------------------------------- */

static void wanted_number(const gram_option *k, char *out, size_t room)
{
    size_t at = (size_t)snprintf(out, room, "a %snumber%s", k->kind == GRAM_OPTION_REAL ? "" : "whole ",
                                 k->above ? " above 0" : "");

    if (!k->above)
        at += (size_t)snprintf(out + at, room - at, " from %g", k->least);
    if (k->below)
        snprintf(out + at, room - at, ", below %g", k->most);
    else if (k->most < ANY && k->kind == GRAM_OPTION_REAL)
        snprintf(out + at, room - at, " to %g", k->most);
    else if (k->most < ANY)
        snprintf(out + at, room - at, " to %.0f", k->most);
}

void gr_option_wanted(const gram_option *k, char out[GR_WANTED])
{
    static const char *const kind[] = {
        [GRAM_OPTION_FLAG] = "true or false", [GRAM_OPTION_WORD] = "a word", [GRAM_OPTION_PATH] = "a path",
        [GRAM_OPTION_PATHS] = "a path, or a list of them", [GRAM_OPTION_TEXT] = "the path of a text",
        [GRAM_OPTION_LABELS] = "two labels with a comma between them",
        [GRAM_OPTION_TEMPLATE] = "a path, or chatml|llama3|llama2|mistral|qwen3|gemma",
    };

    if (k->choices)
        snprintf(out, GR_WANTED, "%s", k->choices);
    else if (k->kind < GRAM_OPTION_FLAG)
        wanted_number(k, out, GR_WANTED);
    else
        snprintf(out, GR_WANTED, "%s", kind[k->kind]);
}

static gram_status wrong(const gram_option *k, const char *text, gram_err *err)
{
    char wanted[GR_WANTED];

    gr_option_wanted(k, wanted);
    return gr_fail(err, GRAM_EARG, "wanted %s%s, found \"%.200s\"", k->choices ? "one of " : "", wanted, text);
}

/* The place of a word in "a|b|c", or -1. */
static int choice(const char *choices, const char *word)
{
    int i = 0;

    for (const char *p = choices;; p++, i++) {
        size_t n = strcspn(p, "|");
        if (strlen(word) == n && !strncmp(p, word, n))
            return i;
        p += n;
        if (!*p)
            return -1;
    }
}

/* Not of NaN. */
static bool within(const gram_option *k, double x)
{
    return (k->above ? x > 0 : x >= k->least) && (k->below ? x < k->most : x <= k->most);
}

/* Digits alone: no sign, no blank, no point. */
static bool whole(const gram_option *k, const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text && strspn(text, "0123456789") == strlen(text) && !errno && within(k, (double)*out);
}

static bool real(const gram_option *k, const char *text, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return end != text && !*end && isfinite(*out) && within(k, *out);
}

gram_status gr_option_take(const gram_option *k, gram_train_options *o, const char *text, gram_err *err)
{
    void *to = (char *)o + k->at;
    uint64_t n = 0;
    double x;
    int i = k->choices ? choice(k->choices, text) : 0;

    if (i < 0)
        return wrong(k, text, err);
    switch (k->kind) {
    case GRAM_OPTION_REAL:
        if (!real(k, text, &x))
            return wrong(k, text, err);
        *(double *)to = x;
        return GRAM_OK;
    case GRAM_OPTION_SIZE: case GRAM_OPTION_WIDE: case GRAM_OPTION_INT:
        if (!whole(k, text, &n))
            return wrong(k, text, err);
        if (k->kind == GRAM_OPTION_SIZE)
            *(size_t *)to = (size_t)n;
        else if (k->kind == GRAM_OPTION_WIDE)
            *(uint64_t *)to = n;
        else
            *(int *)to = (int)n;
        return GRAM_OK;
    case GRAM_OPTION_FLAG:
        if (strcmp(text, "true") && strcmp(text, "false"))
            return wrong(k, text, err);
        *(bool *)to = *text == 't';
        return GRAM_OK;
    case GRAM_OPTION_CHOICE:                /* enums of the header are as wide as an int */
        memcpy(to, &i, sizeof i);
        if (k->at == AT(align.algorithm))
            gram_train_options_set_algorithm(o, (gram_algorithm)i);
        if (k->at == AT(loss))
            gram_train_options_set_loss(o, (gram_loss)i);
        return GRAM_OK;
    default:
        *(const char **)to = text;
        return GRAM_OK;
    }
}

gram_status gram_train_options_set(gram_train_options *o, const char *name, const char *value, gram_err *err)
{
    const gram_option *k = gr_option_find(name);
    gram_err why;
    gram_status rc;

    if (!k || k->kind >= GRAM_OPTION_TEXT)
        return gr_fail(err, GRAM_EARG, "%s: no option of training that is set by one word", name);
    rc = gr_option_take(k, o, value, &why);
    return rc ? gr_fail(err, rc, "%s: %s", name, why.text) : GRAM_OK;
}

/* 15 digits where they say the same number: 0.1 and not 0.10000000000000001. */
static bool print_real(gr_buf *b, double x)
{
    char text[40];

    snprintf(text, sizeof text, "%.15g", x);
    return strtod(text, NULL) == x ? gr_buf_puts(b, text) : gr_buf_printf(b, "%.17g", x);
}

bool gr_option_print(gr_buf *b, const gram_option *k, const gram_train_options *o)
{
    const void *p = of(k, o);
    const char *word = k->choices;

    switch (k->kind) {
    case GRAM_OPTION_REAL:
        return print_real(b, *(const double *)p);
    case GRAM_OPTION_SIZE:
        return gr_buf_printf(b, "%zu", *(const size_t *)p);
    case GRAM_OPTION_WIDE:
        return gr_buf_printf(b, "%" PRIu64, *(const uint64_t *)p);
    case GRAM_OPTION_INT:
        return gr_buf_printf(b, "%d", *(const int *)p);
    case GRAM_OPTION_FLAG:
        return gr_buf_puts(b, *(const bool *)p ? "true" : "false");
    case GRAM_OPTION_CHOICE:
        for (int i = *(const int *)p; i > 0; i--)
            word += strcspn(word, "|") + 1;
        return gr_buf_add(b, word, strcspn(word, "|"));
    default:
        return !*(const char *const *)p || gr_buf_puts(b, *(const char *const *)p);
    }
}

/* ---- Defaults ------------------------------------------------------------------------------------- */

void gram_train_options_init(gram_train_options *o, gram_stage stage)
{
    *o = (gram_train_options){ .lora_dropout = -1 };
    for (size_t i = 0; i < gr_option_rows; i++) {
        const char *usual = gr_option_row[i].usual[stage];
        if (usual && *usual && !gr_option_row[i].losses && !strchr(usual, ';'))
            gr_option_take(&gr_option_row[i], o, usual, NULL);
    }
    o->pairs = 1;
    o->head_width = 1024;
    gram_train_options_set_loss(o, GRAM_LOSS_GRAM);
    if (stage == GRAM_STAGE_ALIGN)
        gram_train_options_set_algorithm(o, GRAM_ALGORITHM_RLOO);
}

void gram_train_options_set_loss(gram_train_options *o, gram_loss loss)
{
    o->loss = loss;
    o->smoothing = loss == GRAM_LOSS_GRAM || loss == GRAM_LOSS_RATIONALE ? 0.05
                 : loss == GRAM_LOSS_BT_SMOOTH || loss == GRAM_LOSS_CDPO ? 0.1 : 0;
    o->beta = loss == GRAM_LOSS_SIMPO ? 2 : 0.1;
    o->gamma = o->good_weight = o->bad_weight = 1;
    if (gram_loss_is_policy(loss))
        o->lr = 1e-6;
    o->order_weight = 0;
    o->margin_scale = 1;
    o->posreg = POSREG;
    o->sft_weight = SFT_WEIGHT;
    o->sft_beta = SFT_BETA;
    o->verdict_weight = 1;
}

const char *gram_algorithm_name(gram_algorithm a)
{
    static const char *const name[] = { "raft", "raft++", "reinforce-rej", "rloo", "grpo", "dr-grpo", "reinforce",
                                        "remax", "online-dpo", "ppo" };

    return (size_t)a < GR_COUNT(name) ? name[a] : "unknown";
}

void gram_train_options_set_algorithm(gram_train_options *o, gram_algorithm algorithm)
{
    gram_align_options *a = &o->align;
    bool ppo = algorithm == GRAM_ALGORITHM_PPO;

    a->algorithm = algorithm;
    a->ratio = algorithm == GRAM_ALGORITHM_RAFT ? GRAM_RATIO_NONE : GRAM_RATIO_TOKEN;
    a->per = algorithm == GRAM_ALGORITHM_GRPO ? GRAM_PER_ANSWER
           : algorithm == GRAM_ALGORITHM_DR_GRPO ? GRAM_PER_LENGTH : GRAM_PER_TOKEN;
    a->kl = algorithm == GRAM_ALGORITHM_RLOO || ppo ? GRAM_KL_K1 : GRAM_KL_NONE;
    a->rollout = algorithm == GRAM_ALGORITHM_RAFT || ppo ? 64 : 16;
    a->updates = algorithm == GRAM_ALGORITHM_RAFT ? 2 : ppo ? 4 : 1;
    a->whiten = ppo ? GRAM_WHITEN_YES : GRAM_WHITEN_NO;
    o->lr = algorithm == GRAM_ALGORITHM_RAFT ? 1e-5 : 1e-6;
    a->samples = algorithm == GRAM_ALGORITHM_ONLINE_DPO ? 2 : ppo ? 1 : 8;
    o->beta = algorithm == GRAM_ALGORITHM_ONLINE_DPO ? 0.1 : 0.05;
    if (algorithm == GRAM_ALGORITHM_ONLINE_DPO)
        o->lr = 5e-7;
}

bool gr_option_is_usual(const gram_option *k, gram_stage stage, const gram_train_options *o)
{
    gram_train_options usual;

    gram_train_options_init(&usual, stage);
    if (k->at != AT(loss))
        gram_train_options_set_loss(&usual, o->loss);
    if (stage == GRAM_STAGE_ALIGN && k->at != AT(align.algorithm))
        gram_train_options_set_algorithm(&usual, o->align.algorithm);
    return number_of(k, o) == number_of(k, &usual);
}

/* ---- Checks --------------------------------------------------------------------------------------- */

/* "gram and bt-smooth" */
static void name_losses(unsigned losses, char out[128])
{
    size_t at = 0;

    out[0] = '\0';
    for (int i = 0; i <= GRAM_LOSS_KTO && at < 128; i++)
        if (losses >> i & 1) {
            bool last = !(losses >> (i + 1));
            at += (size_t)snprintf(out + at, 128 - at, "%s%s", !at ? "" : last ? " and " : ", ",
                                   gram_loss_name((gram_loss)i));
        }
}

gram_status gram_train_option_used(const gram_train_options *o, gram_stage stage, const char *name, gram_err *err)
{
    const gram_option *k = gr_option_find(name);
    gram_err why;
    gram_status rc = k ? gr_option_used(k, stage, o, &why) : gr_fail(&why, GRAM_EARG, "no option of training");

    return rc ? gr_fail(err, rc, "%s: %s", name, why.text) : GRAM_OK;
}

gram_status gr_option_used(const gram_option *k, gram_stage stage, const gram_train_options *o, gram_err *err)
{
    static const char *const name[GRAM_STAGES] = { "pretrain", "finetune", "align" };
    const gram_option *needed = k->needs ? gr_option_find(k->needs) : NULL;
    char losses[128];

    if (!(k->stages >> stage & 1))
        return gr_fail(err, GRAM_EARG, "it is an option of the stage %s, and this run is of the stage %s",
                       name[k->stages & STAGE2 ? 1 : k->stages & STAGE1 ? 0 : 2], name[stage]);
    if (stage == GRAM_STAGE_ALIGN && k->algorithms && !(k->algorithms >> o->align.algorithm & 1))
        return gr_fail(err, GRAM_EARG, "the algorithm %s has no use for it", gram_algorithm_name(o->align.algorithm));
    if (stage == GRAM_STAGE_FINETUNE && k->losses && !(k->losses >> o->loss & 1)) {
        name_losses(k->losses, losses);
        return gr_fail(err, GRAM_EARG, "it is an option of the loss%s %s, and the loss is %s",
                       k->losses & (k->losses - 1) ? "es" : "", losses, gram_loss_name(o->loss));
    }
    if (needed && number_of(needed, o) == 0 && !(needed->at == AT(eval_file) && o->split > 0))
        return gr_fail(err, GRAM_EARG, "wanted `%s`%s with it, without which it says nothing", needed->name,
                       needed->at == AT(head) ? " mlp" : needed->at == AT(align.cut) ? " penalty" : "");
    return GRAM_OK;
}

bool gr_options_leave_ties(const gram_train_options *o)
{
    return o->ties == GRAM_TIES_DROP || gram_loss_is_policy(o->loss) || gram_loss_writes(o->loss) || o->align.judge;
}

static gram_status check_one(const gram_option *k, gram_stage stage, const gram_train_options *o, gram_err *err)
{
    char wanted[GR_WANTED];
    double x = number_of(k, o);
    int n = 0;
    gram_err why;

    for (const char *p = k->choices; p && *p; p += strcspn(p, "|"), p += *p == '|')
        n++;
    if (k->kind == GRAM_OPTION_CHOICE && !(x >= 0 && x < n))
        return gr_fail(err, GRAM_EARG, "%s: %g is none of its values", k->name, x);
    if (gr_option_is_usual(k, stage, o))
        return GRAM_OK;
    gr_option_wanted(k, wanted);
    if (k->kind < GRAM_OPTION_FLAG && !(within(k, x) && isfinite(x)))
        return gr_fail(err, GRAM_EARG, "%s: wanted %s, found %g", k->name, wanted, x);
    if (gr_option_used(k, stage, o, &why))
        return gr_fail(err, GRAM_EARG, "%s: %s", k->name, why.text);
    return GRAM_OK;
}

gram_status gr_options_check(gram_stage stage, const gram_train_options *o, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < gr_option_rows && !rc; i++)
        rc = check_one(&gr_option_row[i], stage, o, err);
    if (rc)
        return rc;
    if (o->freeze && o->lora_rank)
        return gr_fail(err, GRAM_EARG, "freeze: the head is trained alone, without adapters, and `lora-rank` is %zu",
                       o->lora_rank);
    if (o->zero == 2 && (o->freeze || o->lora_rank))
        return gr_fail(err, GRAM_EARG, "zero: 2 shares out the gradients of all weights, and `%s` trains few of them",
                       o->freeze ? "freeze" : "lora-rank");
    if (o->split > 0 && o->eval_file)
        return gr_fail(err, GRAM_EARG, "split-by-prompt: it takes the held-out rows from the training rows, and "
                       "`eval-file` names others: wanted one of the two");
    if (o->model.dtype == GRAM_INT8 || o->model.dtype == GRAM_INT8_FAST)
        return gr_fail(err, GRAM_EARG, "dtype: training stores weights in f32 or bf16, found %s",
                       o->model.dtype == GRAM_INT8 ? "int8" : "int8-fast");
    if (o->check_gradients && o->compute != GRAM_COMPUTE_F32)
        return gr_fail(err, GRAM_EARG, "compute: gradients are checked in f32, found bf16, whose rounding hides what "
                       "is looked for");
    if (o->check_gradients && o->dist)
        return gr_fail(err, GRAM_EARG, "gradients are checked by one process alone; several were started");
    if (o->model.single_order)
        return gr_fail(err, GRAM_EARG, "training reads both orders of a pair; a single order was asked for");
    if (o->model.lambda != 0 || o->model.reward_token || o->model.reward_weights)
        return gr_fail(err, GRAM_EARG, "%s: it is for scoring, and training has no use for it",
                       o->model.lambda != 0 ? "lambda" : o->model.reward_token ? "reward-token" : "reward-weights");
    if (stage != GRAM_STAGE_FINETUNE && o->model.truncate == GRAM_TRUNCATE_BALANCED)
        return gr_fail(err, GRAM_EARG, "truncate: %s: wanted error or drop, found balanced",
                       stage == GRAM_STAGE_ALIGN ? "a policy answers whole prompts" : "stage 1 writes whole answers");
    if (gram_loss_is_policy(o->loss) && o->model.truncate == GRAM_TRUNCATE_BALANCED)
        return gr_fail(err, GRAM_EARG, "truncate: %s learns to write whole answers: wanted error or drop, found "
                       "balanced", gram_loss_name(o->loss));
    return stage == GRAM_STAGE_ALIGN ? gr_options_check_align(o, err) : GRAM_OK;
}

bool gr_option_tells(const gram_option *k, gram_stage stage, const gram_train_options *o)
{
    double x = number_of(k, o);
    bool nothing = x == 0 && k->kind != GRAM_OPTION_REAL && k->kind != GRAM_OPTION_CHOICE;

    if (k->kind >= GRAM_OPTION_PATH || gr_option_used(k, stage, o, NULL) || k->at == AT(resume) ||
        (k->at == AT(epochs) && o->steps))
        return false;
    if (k->kind < GRAM_OPTION_FLAG && !within(k, x))
        return false;
    return !(gr_option_is_usual(k, stage, o) && (k->shared || nothing));
}

bool gr_options_settings(gr_buf *b, gram_stage stage, const gram_train_options *o)
{
    bool ok = true;

    for (size_t i = 0; i < gr_option_rows && ok; i++) {
        const gram_option *k = &gr_option_row[i];
        if (k->alike && !gr_option_used(k, stage, o, NULL) && (!is_text(k) || number_of(k, o)))
            ok = gr_buf_printf(b, "%s=", k->name) && gr_option_print(b, k, o) && gr_buf_puts(b, "\n");
    }
    return ok;
}
