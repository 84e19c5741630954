/* rendered.h - conversations that come as the text which a chat template made of them.
 *
 * Such a text is final. A model with a reward head reads it as it stands: special tokens written in it are special
 * tokens, nothing is put in or taken out, but for the BOS token that the checkpoint's template begins with, which
 * clients often leave to the server: it stands there once. As everywhere, the reward is read at the last token that is
 * not the padding.
 *
 * A judge needs the question and the answer apart. They are found by the marks that the checkpoint's own template puts
 * around probes, and only where the template makes exactly this text of what was found. */
#ifndef GR_REWARD_RENDERED_H
#define GR_REWARD_RENDERED_H

#include "reward/judge.h"

/* The ids of a text, in out->order[0]. Too long: as gr_judge_pair(), but that such a text is never cut. */
gram_status gr_rendered_ids(const gr_judge *j, const gram_text *text, gr_judged *out, gram_err *err);

/* The turns that the text was made of; *turn is malloc'ed with its strings behind it. The last one is the user's where
 * the text ends with the header of an answer, else the answer: as far as the text goes, where it was cut off. Fails
 * with GRAM_EARG where the template makes this text of no conversation, or a turn holds marks of the template without
 * being one more turn. Marks that were written so that they make a whole turn are taken for one: in one text they
 * cannot be told apart. */
gram_status gr_rendered_turns(const gr_chat *c, gr_str text, gram_message **turn, size_t *n, gram_err *err);

#endif
