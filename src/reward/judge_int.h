/* judge_int.h - what the files of a judge share: judge.c the prompt, judge_pair.c the pairs. */
#ifndef GR_REWARD_JUDGE_INT_H
#define GR_REWARD_JUDGE_INT_H

#include "reward/judge.h"

/* What the placeholders of a judge prompt stand for. */
enum { INPUT, ANSWER_A, ANSWER_B, CRITERIA, HOLES };

/* What the model reads, as chat pieces. */
gram_status gr_judge_render(const gr_judge *j, const gr_judge_words *w, const gr_str part[HOLES], gr_chat_text *out,
                            gram_err *err);

#endif
