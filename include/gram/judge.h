/* judge.h - rewards for the answers to a prompt, from any kind of judge: what best-of-n, RAFT and policy gradients ask.
 *
 *     gram_judge *j;
 *     gram_judged_group r;
 *     gram_group g = { .prompt = { .turn = &q, .n = 1 }, .response = answer, .n = 8 };
 *     if (gram_judge_open(&j, "judge.gguf", NULL, &err)) { puts(err.text); return 1; }
 *     if (!gram_judge_group(j, &g, &r, &err)) {
 *         for (size_t i = 0; i < 8; i++)
 *             r.error[i] ? printf("failed: %s\n", r.error[i]) : printf("%g\n", r.reward[i]);
 *         gram_judged_group_clear(&r);
 *     }
 *     gram_judge_close(j);
 *
 * A judge is one of these:
 *
 *     a model that compares       GRAM and its kin: pairs are read in both orders, always, and a scheme makes a reward
 *                                 for each answer of what the comparisons said. With `rationale` it writes its reasons
 *                                 before each verdict, and votes (gram/rationale.h)
 *     a model with a reward head  each answer is read once and gets its reward; of PURM mean - lambda u
 *     a server                    http://HOST[:PORT][/PREFIX] of a `gram serve`, or what answers POST /v1/score as it
 *                                 does, whose model is one of the two above; the same numbers come out
 *     a program                   exec:COMMAND, which reads JSON Lines and writes JSON Lines (below)
 *
 * All strings are UTF-8 and borrowed for the call. One gram_judge serves several threads: calls wait for each other. */
#ifndef GRAM_JUDGE_H
#define GRAM_JUDGE_H

#include "gram/gram.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* How a judge that compares two answers gives each of n a number. v(i,j) is by how much i beats j, in the unit below;
 * v(j,i) = -v(i,j), and v is 0 where the texts are equal. */
typedef enum {
    GRAM_SCHEME_DEFAULT,        /* all pairs; of a judge that gives numbers the only one that can be meant */
    GRAM_SCHEME_ALL_PAIRS,      /* r_i = mean over j != i of v(i,j): n(n-1)/2 comparisons. Mean 0 by itself */
    GRAM_SCHEME_REFERENCE,      /* r_i = v(i, reference): n comparisons */
    GRAM_SCHEME_TOURNAMENT,     /* a knockout of n-1 comparisons, equal ones being won by the earlier answer. The winner
                                 * has 0 and a loser v(loser, who beat it) + the reward of who beat it: only the winner
                                 * is sure */
    GRAM_SCHEME_LINEAR,         /* the same of n-1 comparisons with the best so far, one after the other */
    GRAM_SCHEME_CIRCULAR        /* r_i = mean of v(i, i+1) and v(i, i-1) around a ring: n comparisons, noisy */
} gram_scheme;

typedef enum {
    GRAM_UNIT_MARGIN,           /* v = the logit margin, both orders averaged: it does not saturate */
    GRAM_UNIT_PREFERENCE        /* v = P(i beats j) - 1/2 */
} gram_unit;

/* "all-pairs", "reference", "tournament", "linear", "circular"; "margin", "preference". GRAM_EARG for any other. */
gram_status gram_scheme_parse(const char *name, gram_scheme *out, gram_err *err);
gram_status gram_unit_parse(const char *name, gram_unit *out, gram_err *err);
const char *gram_scheme_name(gram_scheme s);
const char *gram_unit_name(gram_unit u);

/* All zeros asks for every default. Strings are copied. */
typedef struct {
    gram_scheme scheme;
    gram_unit unit;
    double lambda;              /* PURM: the reward is mean - lambda u, u as gram_overlap() has it over the group; this
                                 * one holds, and neither that of `model` nor a server's */
    const gram_options *model;  /* of a judge that is a path; NULL: defaults. single_order is refused */
    const char *key;            /* of a server: sent as a bearer token; NULL: none */
    const struct gram_rationale_options *rationale;     /* of a model that compares, which writes its reasons: how;
                                                         * NULL: it writes none. single_order is refused */
    double timeout;             /* seconds in which a program has to write its next line; 0: 600 */
} gram_judge_options;

typedef struct gram_judge gram_judge;

/* where: a path or NULL, as gram_open() takes it, "http://..." or "exec:COMMAND". A server is asked for one short
 * comparison, so that a wrong address fails here. On success *out is yours: gram_judge_close() it. opt may be NULL. */
gram_status gram_judge_open(gram_judge **out, const char *where, const gram_judge_options *opt, gram_err *err);
/* Over a model that is open; it is borrowed, and has to stay open for longer than the judge. opt->model is ignored. */
gram_status gram_judge_over(gram_judge **out, gram_model *m, const gram_judge_options *opt, gram_err *err);
void gram_judge_close(gram_judge *j);           /* NULL is fine. A program and what it started are killed */

/* True: it gives numbers that can be set against those of another prompt's answers (a head, a program; that a head was
 * trained for it is for its maker to say: Bradley-Terry fixes only differences within a prompt). False: it compares
 * within a prompt, and its rewards mean nothing across prompts. */
bool gram_judge_across_prompts(const gram_judge *j);
bool gram_judge_needs_reference(const gram_judge *j);
/* A sentence for people: what judges, how, in which unit. Lives as long as the judge. */
const char *gram_judge_about(const gram_judge *j);
/* The model behind it; NULL: a server or a program. */
gram_model *gram_judge_model(gram_judge *j);

typedef struct {
    gram_prompt prompt;
    const char *const *response;    /* [n] texts, without a token that ends them */
    size_t n;                       /* 1 to 1024; 2 at least for a judge that compares without a reference */
    const char *reference;          /* the answer to compare with, for GRAM_SCHEME_REFERENCE; NULL: none */
    const char *columns;            /* for a program: the text of a JSON object whose keys each line gets too; NULL */
} gram_group;

typedef struct {
    size_t comparisons;             /* pairs that were compared; 0 of a judge that gives numbers */
    size_t flips;                   /* of these, whose two orders named different winners */
    size_t passes;                  /* sequences read, or lines that a program answered */
    size_t tokens, tokens_computed; /* of those sequences; what was computed after sharing prefixes. Of a server the
                                     * two are equal: it does not say; of a program 0 */
    size_t truncated;               /* comparisons or reads whose text was cut to fit */
    double seconds;
} gram_judge_cost;

/* What came of a group; clear with gram_judged_group_clear(). */
typedef struct {
    double *reward;                 /* [n] higher is better; NAN exactly where error[i] is there */
    char **error;                   /* [n] NULL, or why this response has no reward: never a made-up number */
    size_t failed;                  /* how many have none */
    double *value;                  /* [n*n] v(i,j), NAN where not compared (and where one failed); NULL: the judge
                                     * compared none */
    gram_reward *head;              /* [n] of a reward head; NULL: none */
    double *overlap;                /* [n] of PURM: u; NULL: none */
    gram_judge_cost cost;
    size_t n;
} gram_judged_group;

/* The reward of each response. Responses of equal text are judged once and have one reward. A response that cannot be
 * judged (too long, refused by the judge's template, a number that is none) fails alone, and the others are judged
 * without it; of two that are too long together it is the longer one. What concerns all of them fails the call:
 * memory, a server that does not answer, a program that ended or is silent for the timeout, GRAM_EARG for a group that
 * the scheme cannot judge (no reference, fewer than two responses). The prompt's tokens are computed once a group. On
 * failure *out is empty. */
gram_status gram_judge_group(gram_judge *j, const gram_group *g, gram_judged_group *out, gram_err *err);
void gram_judged_group_clear(gram_judged_group *r);     /* all zeros is fine */

/* The program of "exec:COMMAND" is started once, by /bin/sh, when the judge is opened. For each response of a group it
 * reads one line on its standard input,
 *
 *     {"prompt": a text or a list of messages, "completion": "the answer", "index": 3, "reference": "...", ...columns}
 *
 * ("reference" only where there is one; index is the response's place in its group), and writes one line on its
 * standard output, in the same order: a number, null, {"reward": number or null} or {"error": "why"}. null, an error
 * and a line that is none of these fail the response. It has to flush each line; all lines of a group may be written to
 * it before the first is read. Standard error is the caller's. */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
