/* selftrain_recipe.c - the options of gram/selftrain.h: one table of what they may be and which stages heed them, and
 * recipes, whose keys they are beside those of training. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/keys.h"
#include "api/selftrain_int.h"
#include "base/err.h"
#include "train/options.h"

#define AT(field) offsetof(gram_selftrain_options, field)
#define MANY ((double)(1 << 20))
#define KIND(name) (1u << GR_SELF_##name)
#define WRITES (KIND(VOTE) | KIND(EVAL))
#define READS  (KIND(TRAIN) | KIND(PROVE) | KIND(PAIRS) | KIND(VOTE))

typedef struct { gram_option o; unsigned heeds; } self_option;

#define PATH_KEY(key, field, text) \
    { { .name = key, .kind = GRAM_OPTION_PATH, .at = AT(field), .help = text }, 0 }
#define PATHS_KEY(key, field, more_field, text) \
    { { .name = key, .kind = GRAM_OPTION_PATHS, .at = AT(field), .more = AT(more_field), .help = text }, 0 }
#define COLUMNS_KEY(key, field, kinds) \
    { { .name = key, .kind = GRAM_OPTION_WORD, .at = AT(field), \
        .help = "What these files call the keys that are read, as of `columns`" }, kinds }
#define SIZE_KEY(key, field, low, high, kinds, text) \
    { { .name = key, .kind = GRAM_OPTION_SIZE, .at = AT(field), .least = low, .most = high, .help = text }, kinds }
#define REAL_KEY(key, field, high, kinds, text) \
    { { .name = key, .kind = GRAM_OPTION_REAL, .at = AT(field), .most = high, .help = text }, kinds }
#define FLAG_KEY(key, field, kinds, text) \
    { { .name = key, .kind = GRAM_OPTION_FLAG, .at = AT(field), .help = text }, kinds }

static const self_option own[] = {
    PATH_KEY("model", model, "The language model that every judge starts from"),
    PATH_KEY("prover", prover, "A model that writes proofs as it is (default: one is trained on human)"),
    PATH_KEY("prover-model", prover_model, "What that one starts from (default: model)"),
    PATH_KEY("out", out, "The directory of the run"),
    PATHS_KEY("human", human, more_human, "Rows with reasons that people wrote"),
    PATHS_KEY("labelled", labelled, more_labelled, "Labelled pairs, whose reasons the prover writes"),
    PATHS_KEY("unlabelled", unlabelled, more_unlabelled, "Groups of responses or pairs, which the rounds share"),
    PATHS_KEY("eval", eval, more_eval, "Held-out labelled pairs, judged after each training"),
    COLUMNS_KEY("human-columns", human_columns, KIND(TRAIN)),
    COLUMNS_KEY("labelled-columns", labelled_columns, KIND(PROVE)),
    COLUMNS_KEY("unlabelled-columns", unlabelled_columns, KIND(PAIRS)),
    COLUMNS_KEY("eval-columns", eval_columns, KIND(EVAL)),
    SIZE_KEY("rounds", rounds, 0, 100, KIND(PAIRS), "Rounds of self-training (3)"),
    SIZE_KEY("per-round", per_round, 0, 1e12, KIND(PAIRS), "Pairs of a round at most; 0: equal shares of all (0)"),
    SIZE_KEY("votes", votes, 2, GRAM_VOTES_MOST, KIND(VOTE), "Rationales that vote on a pair, an even number (8)"),
    SIZE_KEY("eval-votes", eval_votes, 0, GRAM_VOTES_MOST, KIND(EVAL), "The same of a held-out pair; 0: as many (0)"),
    SIZE_KEY("early", early, 0, GRAM_VOTES_MOST, WRITES, "No more votes where the first N, an even number, agree; "
             "0: all vote (0)"),
    REAL_KEY("sure", sure, 1, WRITES, "With more than this probability each (0.9)"),
    SIZE_KEY("rationale-tokens", rationale_tokens, 1, MANY, WRITES, "Of one rationale (512)"),
    REAL_KEY("temperature", temperature, 100, WRITES, "At which rationales are drawn (1)"),
    REAL_KEY("top-p", top_p, 1, WRITES, "From the likeliest tokens of this mass (1)"),
    SIZE_KEY("proofs", proofs, 1, GRAM_VOTES_MOST, KIND(PROVE), "Proofs of a pair, of which the best is kept (4)"),
    SIZE_KEY("proof-tokens", proof_tokens, 1, MANY, KIND(PROVE), "Of one proof (256)"),
    REAL_KEY("proof-temperature", proof_temperature, 100, KIND(PROVE), "At which proofs are drawn (1)"),
    REAL_KEY("proof-loss", proof_loss, 1e30, KIND(PROVE), "A pair whose best proof scores less than minus this gets "
             "none (1)"),
    REAL_KEY("vote-share", rules.share, 1, KIND(LABEL), "Of the votes, for the winner, at least (0.75)"),
    REAL_KEY("probability", rules.probability, 1, KIND(LABEL), "Of the winner in both orders, at least (0.75)"),
    REAL_KEY("sound", rules.sound, 1, KIND(LABEL), "Share of a pair's rationales that obey a rule on their text (0.5)"),
    FLAG_KEY("closed", rules.closed, KIND(LABEL), "Rationales are closed by the judge itself (true)"),
    SIZE_KEY("least-tokens", rules.least_tokens, 0, MANY, KIND(LABEL), "They have so many tokens at least (20)"),
    SIZE_KEY("most-tokens", rules.most_tokens, 1, MANY, KIND(LABEL), "And at most (512)"),
    FLAG_KEY("names-label", rules.label, KIND(LABEL), "They name the winner (true)"),
    FLAG_KEY("names-both", rules.both, KIND(LABEL), "They name both answers (true)"),
    FLAG_KEY("agrees", rules.agrees, KIND(LABEL), "Their conclusion does not contradict their verdict (true)"),
    SIZE_KEY("repeats", rules.repeats, 0, MANY, KIND(LABEL), "No 8 words stand in one more often; 0: not asked (4)"),
    FLAG_KEY("final", finals, 0, "Tune the last judge on human (true)"),
    { { .name = "vote-dtype", .kind = GRAM_OPTION_CHOICE, .at = AT(dtype), .choices = "f32|bf16|int8",
        .help = "How the weights of what votes and proves are held (f32)" }, WRITES | KIND(PROVE) },
    { { .name = "products", .kind = GRAM_OPTION_CHOICE, .at = AT(products), .choices = "auto|few|tiles",
        .help = "As of gram score (auto)" }, WRITES | KIND(PROVE) },
    { { .name = "seed", .kind = GRAM_OPTION_WIDE, .at = AT(seed), .most = 1e15, .help = "Of all draws and orders (0)" },
      KIND(PROVE) | WRITES },
    FLAG_KEY("skip-bad", skip_bad, READS, "Warn about a row that cannot be read and go on (false)"),
};
enum { OWN = GR_COUNT(own) };

const gram_option *gr_selftrain_option(size_t i, gr_self_kind kind, bool *heeds)
{
    if (i >= OWN)
        return NULL;
    *heeds = own[i].heeds >> kind & 1;
    return &own[i].o;
}

void gram_selftrain_options_init(gram_selftrain_options *o)
{
    *o = (gram_selftrain_options){
        .rounds = 3, .votes = 8, .sure = 0.9, .rationale_tokens = 512, .temperature = 1, .top_p = 1, .proofs = 4,
        .proof_tokens = 256, .proof_temperature = 1, .proof_loss = 1, .finals = true
    };
    gram_denoise_options_init(&o->rules);
    for (int i = 0; i < 3; i++) {
        gram_train_options_init(&o->train[i], GRAM_STAGE_FINETUNE);
        gram_train_options_set_loss(&o->train[i], i == GRAM_SELF_PROVER ? GRAM_LOSS_PROOF : GRAM_LOSS_RATIONALE);
    }
}

/* ---- Checks --------------------------------------------------------------------------------------- */

static gram_status check_numbers(const gram_selftrain_options *o, gram_err *err)
{
    for (size_t i = 0; i < OWN; i++) {
        const gram_option *k = &own[i].o;
        const void *p = (const char *)o + k->at;
        double x = k->kind == GRAM_OPTION_REAL ? *(const double *)p : k->kind == GRAM_OPTION_SIZE
                 ? (double)*(const size_t *)p : k->least;
        char wanted[GR_WANTED];
        if (k->kind > GRAM_OPTION_SIZE || (x >= k->least && x <= k->most))
            continue;
        gr_option_wanted(k, wanted);
        return gr_fail(err, GRAM_EARG, "%s: wanted %s, found %g", k->name, wanted, x);
    }
    return GRAM_OK;
}

static gram_status missing(const char *key, const char *what, gram_err *err)
{
    return gr_fail(err, GRAM_EARG, "%s: it is missing, %s", key, what);
}

/* Files that would be of no use, and those without which nothing works. */
static gram_status check_files(const gram_selftrain_options *o, gram_err *err)
{
    if (!o->model)
        return missing("model", "the language model that every judge starts from", err);
    if (!o->out)
        return missing("out", "the directory of the run", err);
    if (!o->human && !o->prover)
        return missing("human", "the rows with reasons that the prover learns from; `prover` names a model that needs "
                       "none", err);
    if (!o->labelled && !o->human)
        return missing("labelled", "the pairs that the first judge learns from", err);
    if (o->rounds && !o->unlabelled)
        return missing("unlabelled", "the pairs of the rounds; `rounds` 0 asks for none", err);
    if (o->human_columns && !o->labelled && o->rounds)
        return gr_fail(err, GRAM_EARG, "human-columns: without `labelled` people's rows and proofs are learnt "
                       "together, and the latter have no columns of their own");
    if (o->prover && o->prover_model)
        return gr_fail(err, GRAM_EARG, "prover-model: `prover` is given, and no prover is trained");
    return GRAM_OK;
}

gram_status gr_selftrain_check(const gram_selftrain_options *o, gram_err *err)
{
    static const char *const name[] = { "prover", "judge", "final" };
    const struct { const char *key; size_t n; } votes[] = {
        { "votes", o->votes }, { "eval-votes", o->eval_votes }, { "early", o->early },
    };
    gram_status rc = check_numbers(o, err);

    if (!rc)
        rc = check_files(o, err);
    for (size_t i = 0; i < GR_COUNT(votes) && !rc; i++)
        if (votes[i].n % 2)
            rc = gr_fail(err, GRAM_EARG, "%s: wanted an even number, half of them in each order, found %zu",
                         votes[i].key, votes[i].n);
    if (!rc && o->temperature == 0 && gr_max(o->votes, o->eval_votes) > 2)
        rc = gr_fail(err, GRAM_EARG, "temperature: with 0 all rationales of an order are the same, and %zu votes would "
                     "count it several times", gr_max(o->votes, o->eval_votes));
    if (!rc && o->proof_temperature == 0 && o->proofs > 2)
        rc = gr_fail(err, GRAM_EARG, "proof-temperature: with 0 all proofs of an order are the same: wanted at most 2 "
                     "proofs, found %zu", o->proofs);
    if (!rc && o->rules.least_tokens > o->rules.most_tokens)
        rc = gr_fail(err, GRAM_EARG, "least-tokens: wanted at most most-tokens, %zu, found %zu", o->rules.most_tokens,
                     o->rules.least_tokens);
    for (int i = 0; i < 3 && !rc; i++) {
        gram_err why;
        if (gr_options_check(GRAM_STAGE_FINETUNE, &o->train[i], &why))
            rc = gr_fail(err, GRAM_EARG, "%s: %s", name[i], why.text);
    }
    return rc;
}

/* ---- Recipes -------------------------------------------------------------------------------------- */

enum { MOST = OWN + 4 * 96, NAME = 48 };

struct gram_selftrain_recipe {
    gram_selftrain_options o;
    gr_key key[MOST];
    char name[MOST][NAME];
    int which[MOST];            /* gram_self_trained; 3: all three; -1: no option of training */
    size_t n;
    gr_keys *keys;
};

/* Options of training that make sense for stages of a run: no files but texts, and nothing that ends a stage early. */
static bool is_key(const gram_option *k)
{
    static const char *const none[] = { "loss", "seed", "eval-file", "eval-every", "best", "patience", "max-minutes",
                                        "extend", "resume", "columns", "skip-bad", "reference" };
    unsigned writes = 1u << GRAM_LOSS_RATIONALE | 1u << GRAM_LOSS_PROOF;

    if (!(k->stages >> GRAM_STAGE_FINETUNE & 1) || (k->losses && !(k->losses & writes)))
        return false;
    for (size_t i = 0; i < GR_COUNT(none); i++)
        if (!strcmp(k->name, none[i]))
            return false;
    return true;
}

static void add_key(gram_selftrain_recipe *r, const char *prefix, const gram_option *k, int which)
{
    snprintf(r->name[r->n], NAME, "%s%s", prefix, k->name);
    r->key[r->n] = (gr_key){ r->name[r->n], k };
    r->which[r->n++] = which;
}

/* All trainings, votes and proofs have the same. */
static bool is_format(const gram_option *k)
{
    return k->at == offsetof(gram_train_options, rationale_format);
}

static void make_keys(gram_selftrain_recipe *r)
{
    static const char *const prefix[] = { "", "prover-", "judge-", "final-" };
    const gram_option *k;

    for (size_t i = 0; i < OWN; i++)
        add_key(r, "", &own[i].o, -1);
    for (int p = 0; p < 4; p++)
        for (size_t i = 0; (k = gram_train_option(i)); i++)
            if (is_key(k) && !(p && is_format(k)) && r->n < MOST)
                add_key(r, prefix[p], k, p ? p - 1 : 3);
}

/* One that is for all goes where it is used. */
static gram_status take_training(gram_selftrain_recipe *r, size_t i, gram_err *err)
{
    const gram_option *k = r->key[i].option;
    gram_status rc = GRAM_OK;
    gram_err why;

    for (int t = 0; t < 3 && !rc; t++) {
        gram_train_options *o = &r->o.train[t];
        bool used = !gr_option_used(k, GRAM_STAGE_FINETUNE, o, &why) || k->needs;
        if (r->which[i] != 3 && r->which[i] != t)
            continue;
        if (used)
            rc = gr_keys_take(r->keys, i, o, err);
        else if (r->which[i] == t && gr_keys_value(r->keys, i))
            rc = gr_keys_wrong(r->keys, i, why.text, err);
    }
    return rc;
}

static bool is_set(const gram_selftrain_recipe *r, size_t i)
{
    const gram_option *k = r->key[i].option;
    const void *p = (const char *)&r->o + k->at;

    return k->kind == GRAM_OPTION_SIZE ? *(const size_t *)p != 0 : *(const char *const *)p != NULL;
}

/* What would be taken and change nothing. */
static gram_status check_needs(const gram_selftrain_recipe *r, gram_err *err)
{
    static const struct { const char *key, *needs; } known[] = {
        { "sure", "early" }, { "eval-votes", "eval" }, { "eval-columns", "eval" }, { "human-columns", "human" },
        { "labelled-columns", "labelled" }, { "unlabelled-columns", "unlabelled" },
    };

    for (size_t k = 0; k < GR_COUNT(known); k++) {
        size_t i = 0, needs = 0;
        char why[96];
        while (strcmp(own[i].o.name, known[k].key))
            i++;
        while (strcmp(own[needs].o.name, known[k].needs))
            needs++;
        if (!gr_keys_value(r->keys, i) || is_set(r, needs))
            continue;
        snprintf(why, sizeof why, "wanted `%s` with it, without which it says nothing", known[k].needs);
        return gr_keys_wrong(r->keys, i, why, err);
    }
    return GRAM_OK;
}

/* Keys of a training that is none: those of one recipe must go together, and what is set over it must say something.
 * A training that is left out by `set` may leave the recipe's keys of it without use. */
static gram_status check_trained(const gram_selftrain_recipe *r, size_t i, gram_err *err)
{
    const bool none[] = { r->o.prover != NULL, false, !r->o.finals || !r->o.human };
    const char *by = r->which[i] == GRAM_SELF_PROVER ? "prover" : r->o.finals ? "human" : "final";
    size_t k = 0;
    char why[128];

    if (r->which[i] < 0 || r->which[i] > 2 || !none[r->which[i]] || !gr_keys_value(r->keys, i))
        return GRAM_OK;
    while (strcmp(own[k].o.name, by))
        k++;
    if (!gr_keys_is_set(r->keys, i) && (gr_keys_is_set(r->keys, k) || !gr_keys_value(r->keys, k)))
        return GRAM_OK;
    snprintf(why, sizeof why, r->which[i] == GRAM_SELF_PROVER ? "`prover` is given, and no prover is trained"
             : r->o.finals ? "without `human` the last judge is not tuned" : "`final` is false, and nothing is tuned");
    return gr_keys_wrong(r->keys, i, why, err);
}

static gram_status take_all(gram_selftrain_recipe *r, gram_err *err)
{
    gram_status rc = GRAM_OK;

    gram_selftrain_options_init(&r->o);
    for (size_t i = 0; i < r->n && !rc; i++)
        rc = r->which[i] < 0 ? gr_keys_take(r->keys, i, &r->o, err) : take_training(r, i, err);
    for (size_t i = 0; i < r->n && !rc; i++)
        rc = check_trained(r, i, err);
    return rc ? rc : check_needs(r, err);
}

gram_status gram_selftrain_recipe_open(gram_selftrain_recipe **out, const char *path, const char *const *set, size_t n,
                                       gram_err *err)
{
    gram_selftrain_recipe *r = gr_calloc(1, sizeof *r);
    gram_status rc;

    *out = NULL;
    if (!r)
        return gr_nomem(err, path);
    make_keys(r);
    rc = gr_keys_open(&r->keys, path, r->key, r->n, set, n, err);
    if (!rc)
        rc = take_all(r, err);
    if (rc)
        gram_selftrain_recipe_close(r);
    else
        *out = r;
    return rc;
}

const gram_selftrain_options *gram_selftrain_recipe_options(const gram_selftrain_recipe *r)
{
    return &r->o;
}

void gram_selftrain_recipe_close(gram_selftrain_recipe *r)
{
    if (!r)
        return;
    gr_keys_close(r->keys);
    free(r);
}

static char wanted_text[MOST][GR_WANTED];
static const gram_option *all[MOST];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void list_all(void)
{
    const gram_option *k;
    size_t n = 0;

    for (size_t i = 0; i < OWN; i++)
        all[n++] = &own[i].o;
    for (size_t i = 0; (k = gram_train_option(i)) && n + 1 < MOST; i++)
        if (is_key(k))
            all[n++] = k;
    for (size_t i = 0; i < n; i++)
        gr_option_wanted(all[i], wanted_text[i]);
}

const char *gram_selftrain_key(size_t i, const char **wanted, const char **help)
{
    pthread_once(&once, list_all);
    if (i >= MOST || !all[i])
        return NULL;
    if (wanted)
        *wanted = wanted_text[i];
    if (help)
        *help = all[i]->help;
    return all[i]->name;
}
