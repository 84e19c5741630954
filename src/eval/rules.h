/* rules.h - four benchmarks scored as their authors score them.
 *
 * rewardbench (allenai/reward-bench: EXAMPLE_COUNTS, SUBSET_MAPPING, calculate_scores_per_section)
 *     A subset's score is its accuracy; a tie counts half for a judge (run_generative.py) and is a loss for a reward
 *     model (run_rm.py: chosen > rejected). A section's is the mean of its subsets weighted by
 *     fixed counts, not by the rows at hand: math-prm counts as 984 (its 447 rows weigh as much as the code
 *     subsets together), XSTest as the 154 should-refuse and 250 should-respond that the data set has. Upstream's table
 *     has these two the other way round, so that a Safety of its own counts is given too. Overall: mean of the
 *     sections.
 * rm-bench (THU-KEG/RM-Bench scripts/utils.py compute_accuracy)
 *     Each item has three chosen and three rejected answers: concise, detailed, detailed with Markdown. M[i][j]
 *     is the share of a domain's items whose chosen i beats rejected j; a tie is a loss. Hard: mean above the
 *     diagonal (plain chosen, fancy rejected); normal: the diagonal; easy: below. A domain's score is the mean
 *     of its three; hard, normal, easy and the total are means over the domains chat, math, code, safety
 *     (safety-refuse and safety-response pooled). Upstream compares two scalar rewards, here one preference.
 * judgebench (ScalerLab/JudgeBench utils/metrics.py compute_final_metrics)
 *     Each order votes +1 for the right answer, -1 for the wrong one, 0 at a tie; a pair is correct if its votes
 *     sum to more than 0. Overall: correct pairs over pairs. By source: knowledge (mmlu-pro*), reasoning
 *     (livebench-reasoning), math (livebench-math), coding (livecodebench).
 *
 * rewardbench2 (allenai/reward-bench scripts/run_v2.py: reroll_and_score_dataset, process_single_model)
 *     An item has one right answer and three wrong ones. It is worth 1 where the right one has the largest reward, 1/k
 *     where k answers share that, else 0; of a judge, by its preferences for the right one over each other. A subset's
 *     score is the mean over its items. Ties has items "tied:N" with several right answers and "ref:N" with one; with
 *     gap the worst right less the best wrong reward and spread the best less the worst right one of the tied item,
 *         0.3 share of tied items with gap > 0 + 0.3 share of ref items with gap > 0
 *         + 0.2 share of prompts N with gap > spread + 0.2 the same with the smaller gap of both items
 *         + 0.01 mean of tanh(smaller gap / spread - 1), 0 where that is 0/0
 *     It needs rewards. Overall: mean of the subsets.
 *
 * Added here: intervals as in metrics.h; the pooled ("micro") mean where the headline is a mean of means, and
 * the other way round for JudgeBench (the GRAM paper reports that macro mean). Differing from upstream: dropped
 * pairs and RM-Bench items that miss one are left out and counted in a note; a section or domain without rows is
 * left out of the mean and named in a note (upstream gives it 0, or divides by zero). */
#ifndef GR_EVAL_RULES_H
#define GR_EVAL_RULES_H

#include "eval/record.h"
#include "gram/gram.h"

typedef enum { GR_RULES_NONE, GR_RULES_REWARDBENCH, GR_RULES_RMBENCH, GR_RULES_JUDGEBENCH,
               GR_RULES_REWARDBENCH2 } gr_rules;

/* NULL is GR_RULES_NONE; GRAM_EARG names those there are. */
gram_status gr_rules_parse(const char *name, gr_rules *out, gram_err *err);
const char *gr_rules_name(gr_rules rules);              /* "rm-bench"; NULL for NONE */

/* Whether a row may have this subset (JudgeBench: source, RM-Bench: domain), and what would be right. */
bool gr_rules_knows(gr_rules rules, const char *subset);
const char *gr_rules_wants(gr_rules rules);

typedef enum { GR_SCORE_HEADLINE, GR_SCORE_SECTION, GR_SCORE_PART, GR_SCORE_ADDED } gr_score_level;
typedef struct {
    const char *name;                   /* "overall", "Chat Hard", "math-prm"; static */
    gr_score_level level;               /* ADDED: not part of the upstream metric */
    gram_interval score;                /* value NAN: no rows */
    uint64_t rows;                      /* pairs that it rests on */
} gr_rule_score;
typedef struct {
    gr_rules rules;
    gr_rule_score score[40];
    size_t n;
    char note[6][200];                  /* where this run differs from a full upstream one */
    size_t notes;
} gr_rule_result;

/* row[n] in the order they were read. */
gram_status gr_rules_apply(gr_rules rules, const gr_eval_row *row, size_t n, gr_rule_result *out, gram_err *err);

#endif
