/* policy_page.h - what a policy's run adds to its page, from metrics.jsonl and samples.jsonl: reward against step and
 * against the distance from the reference, the held-out judge's beside it; length, entropy, time; samples. */
#ifndef GR_EVAL_POLICY_PAGE_H
#define GR_EVAL_POLICY_PAGE_H

#include "eval/page.h"

/* out: the run's directory. What is not in its files is not drawn. */
gram_status gr_policy_figures(gr_page *p, const char *out, gram_err *err);
gram_status gr_policy_samples(gr_page *p, const char *out, gram_err *err);

#endif
