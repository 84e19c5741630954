/* format.h - how a judge writes its reasons and its verdict.
 *
 *     prompt | opening | rationale | closing | cue | label | ending
 *     ...      <think>\n  ...        \n</think> \n\n<answer>\n  A   \n</answer>
 *
 * White space around a rationale is not part of it; what stands around it is the format's. */
#ifndef GR_RATIONALE_FORMAT_H
#define GR_RATIONALE_FORMAT_H

#include "base/mem.h"
#include "gram/rationale.h"

typedef struct {
    char *opening, *closing, *cue, *ending;     /* owned; opening and ending may be "" */
    char *label[2];                             /* NULL: the caller's */
    char *prompt;
    bool asks;                                  /* the prompt is the format's own, which its file names */
} gr_format;

/* name: "gram-r2", "rm-r1", "think-rm", the path of a JSON object or its text; NULL: "gram-r2". */
gram_status gr_format_init(gr_format *f, const char *name, gram_err *err);
bool gr_format_is_path(const char *name);
/* The same form wherever a file is: such a name, or the JSON object, malloc'ed; NULL: gram-r2. */
gram_status gr_format_spell(char **out, const char *name, gram_err *err);
void gr_format_clear(gr_format *f);

/* s without the white space at its ends. */
gr_str gr_format_trim(gr_str s);
/* A tag without the white space around it: by this a written rationale ends. */
gr_str gr_format_tag(const char *tag);
/* gram_rationale_parse(). The rationale lies in text; label[]: what the labels are. */
gr_str gr_format_parse(const gr_format *f, const char *const label[2], gr_str text, int *verdict);

/* Which seat a rationale's conclusion names as the better one, 0 or 1; -1: none, or both. The conclusion is what
 * follows the last "Conclusion", or else the last paragraph. An answer is named as Response, Answer or Assistant and
 * its label or number; where both are, the one that is said to be better counts. */
int gr_conclusion(const char *const label[2], gr_str rationale);
/* Whether the rationale names the answer of this seat anywhere. */
bool gr_names_answer(const char *const label[2], gr_str rationale, int seat);

/* A rationale that names the answers by {first} and {second}, the row's places, in place of "@Response 1", "Response
 * A", "Answer 2" and the like, where A and B are the labels; added to *out. named[]: how often each. *seated: words are
 * left that hold in one order alone ("the former", "the first response"). */
gram_status gr_reason_unseat(gr_str text, const char *const label[2], gr_buf *out, size_t named[2], bool *seated,
                             gram_err *err);
/* And back, for an order in which the row's first answer sits in this seat: "Response A" and "Response B". */
gram_status gr_reason_seat(gr_str text, const char *const label[2], int first_seat, gr_buf *out, gram_err *err);

/* What a model that proves a preference reads: the prompt with the better response named. prompt NULL: the project's
 * own. "{label}" in the prompt is where its label goes; one without it gets a line at its end. *out is malloc'ed. */
gram_status gr_format_prove_prompt(const char *prompt, const char *label, char **out, gram_err *err);

#endif
