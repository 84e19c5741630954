/* bar.h - the progress of a training run: a bar where stderr is a terminal, a dozen lines where it is not.
 *
 *     heldout.jsonl, 120 rows, at step 20: accuracy 0.580, loss 0.6863, the best so far
 *     [###--------]  24/80  loss 0.686  acc 0.61  412 tok/s  2:31 left
 *
 * Loss, accuracy and speed are means of the last ten steps, since those of one batch jump. */
#ifndef CLI_BAR_H
#define CLI_BAR_H

#include "cli/cli.h"
#include "gram/train.h"

#define CLI_BAR_RECENT 10

typedef struct {
    cli_progress p;
    gram_train_step recent[CLI_BAR_RECENT];
    size_t steps;                       /* seen in this call */
    uint64_t first;                     /* the first of them, and the second it was done in */
    double first_at;
    double judging_at, judging_took;    /* when a held-out set was begun; how long all of them take */
    double judging_now;                 /* and those that were judged since the last step */
} cli_bar;
void cli_bar_start(cli_bar *b);
void cli_bar_end(cli_bar *b);           /* the line is cleared, Ctrl-C kills again */
/* arg: the cli_bar */
gram_train_fn cli_bar_step;
gram_progress_fn cli_bar_judging;
gram_held_fn cli_bar_held;
gram_warn_fn cli_bar_note;

#endif
