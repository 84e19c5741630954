/* selftrain.h - GRAM-R2's self-training: a judge that writes its reasons learns from pairs that nobody labelled.
 *
 *     gram_selftrain_recipe *r;
 *     gram_selftrain_report report;
 *     if (gram_selftrain_recipe_open(&r, "run.yaml", NULL, 0, &err)) { puts(err.text); return 1; }
 *     if (!gram_selftrain(gram_selftrain_recipe_options(r), NULL, &report, &err))
 *         gram_selftrain_report_clear(&report);
 *     gram_selftrain_recipe_close(r);
 *
 * The stages, each with its place below OUT:
 *
 *     00-prover/            learns from people's reasons to write why a labelled pair's better answer is better
 *     01-proofs.jsonl       its proofs for the labelled pairs (-2, -3, ...: of further files)
 *     02-judge/             the first judge, which learns these as its reasons
 *     round-1/pairs.jsonl   the round's share of the unlabelled pairs
 *     round-1/votes.jsonl   what the judge before wrote and voted of them
 *     round-1/labels.jsonl  the pairs whose vote every rule lets stand, with that label; dropped.jsonl the others with
 *                           the rules that they broke, rules.json the table
 *     round-1/proofs.jsonl  proofs of the voted labels
 *     round-1/judge/        a judge that learns all reasons so far, from the same start as the first
 *     ...
 *     final/                the last judge after people's reasons once more
 *     eval/                 each judge on held-out pairs, where there are some
 *     report.html, rounds.json
 *
 * A stage's output has its name when it is whole, and OUT/stages/ holds what it was made with: the settings that it
 * heeds and digests of what it read. Killed at any moment, the same call goes on where it was and ends with the same
 * bytes. Where a recipe, an input or an output is not what it was, the call fails with the key or the file's name;
 * nothing is mixed. docs/rationale.md says what the paper leaves open and what is done. */
#ifndef GRAM_SELFTRAIN_H
#define GRAM_SELFTRAIN_H

#include "gram/rationale.h"
#include "gram/train.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* What a voted label has to be like, in the order in which pairs are asked. The rules on the text ask each rationale,
 * and hold for a pair of which the share `sound` of the rationales obeys them. */
typedef enum {
    GRAM_RULE_JUDGED,       /* there is a verdict: the pair fits, its answers differ, the vote is no tie */
    GRAM_RULE_SHARE,        /* the share of rationales that prefer the winner is vote-share or more */
    GRAM_RULE_PROBABILITY,  /* the winner's mean probability is that or more in both orders */
    GRAM_RULE_CLOSED,       /* the rationale was closed by the judge itself */
    GRAM_RULE_LENGTH,       /* it has least-tokens to most-tokens tokens */
    GRAM_RULE_LABEL,        /* it names the winner */
    GRAM_RULE_BOTH,         /* it names both answers */
    GRAM_RULE_AGREES,       /* its conclusion does not contradict its verdict */
    GRAM_RULE_REPEATS       /* no 8 words stand in it more than `repeats` times */
} gram_rule;
#define GRAM_RULES 9
const char *gram_rule_name(gram_rule rule);     /* "judged", "vote-share", ... */

typedef struct {
    double share, probability, sound;       /* 0.75, 0.75, 0.5 */
    size_t least_tokens, most_tokens;       /* 20, 512 */
    size_t repeats;                         /* 4; 0: not asked */
    bool   closed, label, both, agrees;     /* whether the rule is asked: all are */
} gram_denoise_options;
void gram_denoise_options_init(gram_denoise_options *o);

typedef enum { GRAM_SELF_PROVER, GRAM_SELF_JUDGE, GRAM_SELF_FINAL } gram_self_trained;

/* Every number means what it says; gram_selftrain_options_init() fills in the defaults. Lists end with NULL, and may be
 * NULL. */
typedef struct {
    const char *model;                      /* where the judges start from, and the prover without prover_model */
    const char *prover;                     /* a model that proves as it is; NULL: one is trained on `human` */
    const char *prover_model;
    const char *out;                        /* a directory */
    const char *human, *const *more_human;              /* rows with people's reasons */
    const char *labelled, *const *more_labelled;        /* labelled pairs without; NULL: the first judge learns human */
    const char *unlabelled, *const *more_unlabelled;    /* groups of responses, or pairs, whose labels are not looked at
                                             * but to say how often the vote was right */
    const char *eval, *const *more_eval;    /* held-out labelled pairs, judged after each training; NULL: none */
    const char *human_columns, *labelled_columns, *unlabelled_columns, *eval_columns;   /* as in gram_file_options */
    size_t rounds;                          /* 3 */
    size_t per_round;                       /* pairs of a round, at most; 0: all pairs in equal shares */
    size_t votes, eval_votes;               /* 8; 0: as many as votes */
    size_t early;                           /* as in gram_rationale_options: 0 */
    double sure;
    size_t rationale_tokens;                /* 512 */
    double temperature, top_p;              /* 1, 1 */
    size_t proofs, proof_tokens;            /* 4, 256 */
    double proof_temperature, proof_loss;   /* 1; a pair whose best proof scores less than -proof_loss has none: 1 */
    gram_denoise_options rules;
    bool finals;                            /* whether the last judge is tuned on `human`: true */
    gram_dtype dtype;                       /* of what votes and proves: f32 */
    gram_products products;
    uint64_t seed;                          /* of all draws and orders: 0 */
    bool skip_bad;
    gram_train_options train[3];            /* [gram_self_trained]; their files, seed and loss are this call's to say */
} gram_selftrain_options;
void gram_selftrain_options_init(gram_selftrain_options *o);

/* ---- Recipes -------------------------------------------------------------------------------------- */

typedef struct gram_selftrain_recipe gram_selftrain_recipe;
/* As gram_recipe_open(). The options of training are keys for all three trainings, and with "prover-", "judge-" or
 * "final-" before them for one. */
gram_status gram_selftrain_recipe_open(gram_selftrain_recipe **out, const char *path, const char *const *set, size_t n,
                                       gram_err *err);
const gram_selftrain_options *gram_selftrain_recipe_options(const gram_selftrain_recipe *r);
void gram_selftrain_recipe_close(gram_selftrain_recipe *r);     /* NULL is fine */
/* The i-th key, what its value may be and what it is for; NULL at the end. Those with a prefix are not among them. */
const char *gram_selftrain_key(size_t i, const char **wanted, const char **help);

/* ---- A run ---------------------------------------------------------------------------------------- */

typedef struct {
    const char *stage;              /* "round-1/votes.jsonl"; NULL: nothing is new, and only a stop is asked for */
    size_t number, stages;          /* from 1 */
    size_t round, rounds;           /* round 0: before the first, rounds + 1: behind the last */
    const char *unit;               /* "rows" or "steps" */
    uint64_t done, total;           /* of them; total 0: not known */
    double tokens_per_s, left;      /* NAN: not known; left: seconds of this stage */
    double loss;                    /* of a step of training; NAN */
    double seconds;                 /* since the stage began, in this call */
    bool begins, skipped, ended;    /* skipped: its output is whole already */
} gram_selftrain_progress;
/* Non-zero stops: what is done is kept, and the call returns GRAM_ESTOPPED. */
typedef int gram_selftrain_fn(void *arg, const gram_selftrain_progress *p);
typedef struct {
    gram_selftrain_fn *progress;    /* may be NULL */
    gram_warn_fn *note, *warn;      /* sentences for a person; bad rows that are skipped; may be NULL */
    void *arg;
} gram_selftrain_calls;

/* Of the pairs a rule was asked of, those it let go. known, right: of them with a label and a vote, and voted as the
 * label says. */
typedef struct { uint64_t n, known, right; } gram_rule_count;
typedef struct {
    uint64_t pairs, known;          /* of the round; with a label */
    uint64_t broke[GRAM_RULES];     /* pairs that break the rule, alone or with others */
    gram_rule_count dropped[GRAM_RULES];    /* for which it is the first that they break */
    gram_rule_count kept, lost;     /* lost: dropped by any */
    uint64_t rationales, forced, contradicts, tokens;
} gram_voted_labels;
typedef struct {
    uint64_t rows, proved;          /* of the round's proofs, and those with a rationale */
    double score;                   /* the mean of these; NAN */
    gram_voted_labels labels;       /* nothing in round 0 */
    gram_interval accuracy;         /* of the round's judge on the held-out pairs; NAN */
    uint64_t eval_rows;
} gram_selftrain_round;
typedef struct {
    gram_selftrain_round *round;    /* [rounds + 1] */
    size_t rounds;
    gram_interval final;            /* accuracy after people's reasons; NAN: was not tuned or judged */
    char judge[1024];               /* the path of the last one, cut where it is longer */
} gram_selftrain_report;
/* calls and report may be NULL; on success the report is to be cleared. GRAM_EARG names what of the options cannot be
 * meant. */
gram_status gram_selftrain(const gram_selftrain_options *o, const gram_selftrain_calls *calls,
                           gram_selftrain_report *report, gram_err *err);
void gram_selftrain_report_clear(gram_selftrain_report *r);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
