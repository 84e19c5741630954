/* set_int.h - what the files of a set share. */
#ifndef GR_TRAIN_SET_INT_H
#define GR_TRAIN_SET_INT_H

#include "data/rows.h"
#include "train/set.h"

/* The examples of a row's reasons; prompt: hash of its conversation. GRAM_EFORMAT says what is wrong with the row. */
gram_status gr_set_add_reasons(gr_set *s, const gr_row *row, const gr_set_rules *rules, uint64_t prompt, gram_err *err);

#endif
