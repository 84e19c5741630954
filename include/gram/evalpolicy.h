/* evalpolicy.h - what a policy's answers are worth beside another's: win rate, reward, KL, length, diversity.
 *
 *     gram_evalpolicy_options o = { .generation = &g, .baseline = before };
 *     gram_evalpolicy_report r;
 *     char *table;
 *     gram_evalpolicy(after, judge, "prompts.jsonl", "eval", &o, &r, &table, &err);
 *
 * Each prompt gets one answer of the policy and one of the baseline, or n: another model's, by the same settings and
 * the same seed, or what the row holds. Answer k is compared with answer k. A judge that compares reads each pair in
 * both orders; a judge that gives numbers reads each answer once. */
#ifndef GRAM_EVALPOLICY_H
#define GRAM_EVALPOLICY_H

#include "gram/generate.h"
#include "gram/judge.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Means over the rows that have the number; NAN where no row has. low and high of what is counted (win, ties, flips,
 * cut): Wilson's 95 % interval at a number of rows that is reduced where rows share a prompt, as of gram_eval(), which
 * has a width where all rows are alike, too. Of all else the 2.5 and 97.5 % points of the mean over 2,000 bootstrap
 * samples of the prompts (rows of one prompt stand or fall together); NAN with fewer than two prompts, and of distinct.
 */
typedef struct {
    size_t answers;
    gram_interval reward;           /* of a judge that gives numbers */
    gram_interval chars, tokens;    /* code points; the token that ends an answer counts */
    gram_interval cut;              /* share that ran into max_new_tokens or the context; as tokens, not of a column */
    gram_interval repetition;       /* of an answer's runs of three words, the share that stood in it before */
    gram_interval distinct[3];      /* different runs of 1, 2, 3 words over all of them, of all answers together: texts
                                     * between white space, as they are. It falls with the number of answers, so compare
                                     * it with the other side's only */
} gram_policy_side;

/* y_i is 1 where the policy's answer wins row i, 0 where the baseline's does, 1/2 at a tie and of equal texts.
 *
 *     win      mean y_i
 *     win_lc   s(theta) of the fit of y_i by s(theta + phi x_i), x_i = tanh(d_i / sd(d)), d_i the code points of the
 *              policy's answer less those of the baseline's, sd over n - 1:
 *                  min over theta, phi of  -sum_i [ y_i log s(.) + (1 - y_i) log(1 - s(.)) ] + phi^2 / 2
 *              It is AlpacaEval 2's length-controlled win rate without the term of the instruction's difficulty, which
 *              is learnt from many models' answers, with verdicts for its y; the win rate, had the answers been equally
 *              long. The last term keeps phi finite. Where all y_i are 1, or all 0, it is that. In a bootstrap sample
 *              both are fitted anew, sd(d) stays; where all y_i are alike the interval is that of win.
 *     kl       mean over the policy's answers a of  sum_t [ log p(a_t) - log p0(a_t) ],  p of the policy and p0 of the
 *              baseline, each behind the prompt as its own template renders it, the token that ends the answer among
 *              a_t, before temperature and filters. Of answers drawn at temperature 1 without filters and penalties
 *              this is an estimate of KL(p || p0) without bias; of others the mean log-ratio of what was written */
typedef struct {
    size_t rows;                    /* answers of the policy, n to a prompt, and each with one of the baseline's */
    size_t compared;                /* of them, with a y */
    gram_interval win, win_lc;
    double length_weight;           /* phi; NAN without win_lc */
    gram_interval ties;             /* share of y = 1/2 */
    gram_interval preference;       /* of a judge that compares: P(the policy's is better), from both orders: s(margin),
                                     * or by GRAM_UNIT_PREFERENCE the mean of the two */
    gram_interval flips;            /* of a judge that compares: share of pairs whose orders named different winners */
    gram_interval gain;             /* reward less the baseline's, row by row */
    gram_interval kl, kl_token;     /* nats an answer; mean over answers of nats a token */
    gram_policy_side policy, baseline;
} gram_policy_comparison;

/* Strings and models are borrowed for the call. */
typedef struct {
    const gram_generation *generation;  /* needed. products AUTO is TILES, so that log-probabilities are those that the
                                         * baseline's are read with */
    gram_model *baseline;               /* NULL: none, or baseline_column */
    const char *baseline_column;        /* the row's key that holds the baseline's answer, a text; NULL */
    size_t samples;                     /* pairs that the page shows beside each other; 0: 8 */
    gram_file_options file;             /* resume goes on with the files of DIR; no share and no rationale */
} gram_evalpolicy_options;

typedef struct {
    uint64_t rows, bad;             /* prompts (a row of the comparison is an answer), and rows that cannot be read */
    uint64_t resumed;               /* lines of DIR that an earlier run wrote */
    uint64_t failed, unjudged;      /* rows without an answer of each side; with answers, and without a verdict */
    uint64_t no_kl;                 /* answers whose KL could not be read: too long for the baseline */
    gram_judge_cost judge;          /* of this run */
    gram_policy_comparison result;
    double seconds;
} gram_evalpolicy_report;

/* Reads prompts as gram_generate_file() does, but from no standard input, which a resume could not read again, and
 * writes into the directory DIR, which is made where it is not there:
 *
 *     run.json         what the run is made of: models, settings, judge; a resume refuses another
 *     policy.jsonl     a line for each answer as gram_generate_file() writes those of n 1, and "ids", its tokens; with
 *                      n above 1 "sample" says which it is
 *     baseline.jsonl   the same of the baseline, where it is a model
 *     rows.jsonl       {id, prompt, policy, baseline, win, preference, flip, rewards, kl, kl_token, tokens, cut}, null
 *                      where there is none, or "error" in place of all behind prompt
 *     numbers.json     gram_policy_comparison
 *     index.html       the same as a page, with answers side by side
 *
 * The files of lines appear under their names when they are whole, and are NAME.partial until then. The same rows
 * have the same bytes, also after a resume. *table, where not NULL, gets the numbers as a malloc'ed text. Without a
 * baseline there is no win rate, and a judge that compares is GRAM_EARG, as is one of scheme reference. KL is left out,
 * with a sentence in the table, where the vocabularies differ. report may be NULL. */
gram_status gram_evalpolicy(gram_model *policy, gram_judge *judge, const char *prompts, const char *dir,
                            const gram_evalpolicy_options *opt, gram_evalpolicy_report *report, char **table,
                            gram_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
