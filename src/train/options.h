/* options.h - the table of training options in train.h, and what is made of it: defaults, values from text and back,
 * whether an option is used beside the others, and what a resume must agree on. */
#ifndef GR_TRAIN_OPTIONS_H
#define GR_TRAIN_OPTIONS_H

#include "base/mem.h"
#include "gram/train.h"

const gram_option *gr_option_find(const char *name);    /* NULL: there is none */
/* "a number from 0 to 1", "true or false", "cosine|linear|constant" */
enum { GR_WANTED = 160 };       /* bytes of it */
void gr_option_wanted(const gram_option *k, char out[GR_WANTED]);
/* The value from text, which is borrowed where the option is one. The sentence does not name the option. Paths, texts
 * and labels are the caller's to settle: they are taken as they come. */
gram_status gr_option_take(const gram_option *k, gram_train_options *o, const char *text, gram_err *err);
/* The way back; false without memory. What has no value, such as a path that is not given, adds nothing. */
bool gr_option_print(gr_buf *b, const gram_option *k, const gram_train_options *o);
bool gr_option_is_usual(const gram_option *k, gram_stage stage, const gram_train_options *o);   /* its default */
/* Fails where the stage, the loss or the other options have no use for it; the sentence does not name it. */
gram_status gr_option_used(const gram_option *k, gram_stage stage, const gram_train_options *o, gram_err *err);

/* Whether its value says something of a run, to whoever reads its page: it is used, is no path, and is not one of the
 * defaults that stand for nothing. */
bool gr_option_tells(const gram_option *k, gram_stage stage, const gram_train_options *o);

/* Whether rows that the data call a tie are left out of what is learnt. */
bool gr_options_leave_ties(const gram_train_options *o);
/* Everything that the table says of options, and then what takes two of them to say. */
gram_status gr_options_check(gram_stage stage, const gram_train_options *o, gram_err *err);
#define GR_JUDGE_SELF "self"
/* What takes two options to say of a policy. */
gram_status gr_options_check_align(const gram_train_options *o, gram_err *err);
/* A line "name=value" for each option that a resume must agree on. */
bool gr_options_settings(gr_buf *b, gram_stage stage, const gram_train_options *o);

#endif
