/* record.h - one judged row, and the line of rows.jsonl that holds it.
 *
 *     {"file":"eval/hhh.jsonl","id":"hhh/52","subset":"harmless","preference":0.61,"p_forward":0.7,
 *      "p_swapped":0.52,"logit_margin":0.46,"consistent":true,"tokens":812,"truncated":false,"dropped":false,
 *      "prompt":"9c1f00a2b7d4e581","texts":"5f0c7de912ab3486","chars":[130,96],"cell":null,"run":"04bd5f6e90a3c712"}
 *
 * A line holds every number that the results are made from, exactly, so a run that was cut off and resumed
 * ends with the numbers of one that was not. `run` is the same in all lines: a hash of the model and the
 * settings, so that a resume does not mix two runs. */
#ifndef GR_EVAL_RECORD_H
#define GR_EVAL_RECORD_H

#include "gram/rationale.h"
#include "base/mem.h"

typedef struct {
    size_t file;                        /* index into the run's files */
    char *id, *subset;                  /* owned; subset NULL: none */
    uint64_t prompt;                    /* hash of the conversation: rows that share it are one cluster */
    uint64_t texts;                     /* gr_row_digest(), by which a changed row is known; 0: the line says none */
    double preference, p_forward, p_swapped, logit_margin;  /* as in gram_verdict, chosen being a; p of an order that
                                         * was not read is NAN: of the first where a row that is turned was read once */
    uint64_t tokens;
    uint64_t chosen_chars, rejected_chars;  /* code points */
    int cell;                           /* RM-Bench: 3 * style of chosen + style of rejected; RewardBench 2: the pair
                                         * of its item; -1 elsewhere */
    int cells;                          /* pairs that its item has in the data; 0 where rows are no items' pairs, and as
                                         * gr_eval_row_parse() reads it */
    bool consistent, truncated, dropped;
    bool rewarded, spread;              /* by a reward model; by PURM: its lines also hold "reward" and "sigma",
                                         * [chosen, rejected] */
    double reward[2], sigma[2];
    gram_reasoned *why;                 /* owned: what was written before the verdict, under "reasons"; NULL: nothing */
} gr_eval_row;
void gr_eval_row_clear(gr_eval_row *r);
bool gr_eval_both(const gr_eval_row *r);    /* read in both orders */
/* Whether the rejected answer is read first where both orders cannot be read as often: half of the rows, by a digest of
 * the question and the answers' lengths, so that it depends on no other row and nobody's first seat counts as right. */
bool gr_eval_turned(const gr_eval_row *r);

/* Appends the line, its newline included. file: the path as the run was given it. */
bool gr_eval_row_write(gr_buf *b, const gr_eval_row *r, const char *file, uint64_t run);

/* Reads a line back. name and line serve errors. *file is malloc'ed and r->file is 0. */
gram_status gr_eval_row_parse(const char *name, uint64_t line, const char *json, size_t n,
                              gr_eval_row *r, char **file, uint64_t *run, gram_err *err);

#endif
