/* bon.h - best-of-n: n answers to each prompt, the one that a judge prefers, and what more answers would have given.
 *
 *     gram_bon_options o = { .generation = &g, .gold = gold };
 *     gram_bon_report r;
 *     char *table;
 *     gram_bon_file(policy, judge, "prompts.jsonl", "winners.jsonl", &o, &r, &table, &err);
 *
 * For the answers to one prompt call gram_generate() and gram_judge_group(), as examples/bon.c does. */
#ifndef GRAM_BON_H
#define GRAM_BON_H

#include "gram/generate.h"
#include "gram/judge.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The value of the best of n by key, as expected over all subsets of n of the N answers, without bias; those whose keys
 * tie are as likely as each other to be the best. NAN unless 1 <= n <= N and all keys are numbers. O(N (n + log N)). */
double gram_best_of(const double *key, const double *value, size_t N, size_t n);

/* Means over the prompts with 95 % intervals by bootstrap over the prompts (NAN with fewer than two of them). Of a
 * judge that compares all pairs, a reward is the margin over the mean of the N answers, so at n = 1 it is 0. */
typedef struct {
    size_t n;
    double kl;                      /* log n - (n-1)/n: how far best-of-n can be from the policy, in nats */
    gram_interval proxy;            /* the judge's reward of its choice */
    gram_interval gold;             /* the gold reward of the judge's choice; this and what follows: NAN without gold */
    gram_interval gain;             /* the same less that of a random answer to the same prompt */
    gram_interval random, longest, oracle;  /* gold of a random answer, of the longest, of the best by gold itself */
} gram_bon_point;

#define GRAM_BON_POINTS 12
typedef struct {
    gram_bon_point point[GRAM_BON_POINTS];      /* at 1, 2, 4, ... and the largest n */
    size_t points;
    size_t prompts;                 /* rows that the curve is made of, */
    size_t left_out;                /* and those left out: fewer answers with a reward than the largest n */
    bool gold;
} gram_bon_curve;

/* All zeros asks for every default. Strings are borrowed for the call. */
typedef struct {
    const gram_generation *generation;  /* needed with a policy; n of it is the number of answers */
    gram_judge *gold;               /* what the judge's choices are measured by; NULL: none, or gold_column */
    const char *gold_column;        /* without a policy: the row's key that holds a number for each response; NULL */
    size_t most;                    /* without a policy: the largest n of the curve, over rows with as many responses;
                                     * 0: as many as each row has */
    bool seconds;                   /* each line's cost says how long it took: then two runs differ */
    const char *json;               /* where the curve goes; NULL: nowhere */
    const char *report_dir;         /* gets index.html, with a plot; NULL: no page */
    gram_file_options file;
} gram_bon_options;

typedef struct {
    gram_file_report file;          /* rows: those whose line was written */
    uint64_t answers, tokens, cut;  /* written in this run, their tokens, those that ran into their length */
    uint64_t failed;                /* rows without a winner: their line has an "error"; of the run before, too */
    uint64_t unjudged;              /* responses without a reward, in rows that have a winner */
    gram_judge_cost judge, gold;    /* of this run */
    gram_bon_curve curve;
} gram_bon_report;

/* Reads rows of JSON Lines. With a policy a row is a prompt, as for gram_generate_file(), and gets generation->n
 * answers; one that has "responses" is a bad row. Without (policy NULL) a row is a group with at least two "responses",
 * as for gram_rank_file(). Where the judge compares by reference, the row's "reference" is taken, or with a policy its
 * greedy answer. Writes a line for each row in the order of the input:
 *
 *     id, prompt, responses; of a policy finish, tokens, logprob, logprob_tempered, seed
 *     rewards       [n], null where there is none; errors: [{index, message}] of those, where there are any
 *     gold          [n] where it is asked for
 *     winner        the index of the largest reward, the first of equal ones, and completion, its text
 *     reference     where there is one
 *     cost          {written, comparisons, passes, tokens, tokens_computed}: tokens that the policy wrote, and what the
 *                   judge read
 *
 * or an "error" in place of the winner. The same rows have the same bytes, also after a resume. *table, where not NULL,
 * gets the curve as a malloc'ed text. Over a share of the rows there are lines alone and *table is NULL; of workers the
 * one that ends last makes the curve. opt and report may be NULL. */
gram_status gram_bon_file(gram_model *policy, gram_judge *judge, const char *in, const char *out,
                          const gram_bon_options *opt, gram_bon_report *report, char **table, gram_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
