/* job.h - a file on its way: JSON Lines in, JSON Lines out, and what lets a run that was cut off go on.
 *
 * Line k of the output belongs to good row k of the input. */
#ifndef GR_API_JOB_H
#define GR_API_JOB_H

#include "api/api_int.h"
#include "api/how.h"
#include "api/overlap.h"
#include "data/rows.h"
#include "gram/rationale.h"

typedef struct {
    gram_model *m;
    gram_reasoner *reasoner;                /* of opt->rationale; NULL: none is asked for */
    const char *in;
    const gram_file_options *opt;
    gram_file_report *report;
    gr_reader *reader;
    gr_out *out;                            /* NULL while whole */
    bool whole;                             /* the output was there when the job began, whole, and no row was added */
    const char *name;                       /* of out */
    char *part;                             /* the same, where it is a share's */
    gr_spread *spread;                      /* of a PURM model's verdicts; NULL otherwise */
    gr_how how;                             /* what is noted beside out */
    char *written;                          /* the id of its line that is to be compared next */
    gr_lines *earlier;                      /* what the run before wrote, to see that it read the same rows */
    uint64_t lines;                         /* of the input, 0: not known */
    uint64_t met;                           /* lines of the run before whose rows are in the input, too */
    uint64_t failed;                        /* of these, those that hold an error */
    gram_usage before;
    double start;
} gr_job;

/* m: whose work is told of; NULL: nobody's. how: what decides the lines besides the model, how it is asked and the
 * options of files (how.h); it is taken over, NULL: out of memory. */
gram_status gr_job_open(gr_job *j, gram_model *m, const char *in, const char *out, const gram_file_options *opt,
                        struct json_t *how, gram_file_report *report, gram_err *err);
/* Where the lines of the run before are. */
const char *gr_job_earlier(const gr_job *j);
/* Ends the job: on success the output appears under its name, otherwise its partial lines stay. rc is handed back, or
 * what failed here. */
gram_status gr_job_close(gr_job *j, gram_status rc, gram_err *err);
/* A row that the run before has written: its line must bear the row's id, and the row must have the digest that it had
 * then, or this is another input. *same false: it does not bear it, and the line waits for the next row. */
gram_status gr_job_check_written(gr_job *j, const char *id, uint64_t digest, bool *same, gram_err *err);
/* A row that could not be read: counted and told of, or the end. */
gram_status gr_job_bad_row(gr_job *j, gram_status rc, const gram_err *why, gram_err *err);
/* Whether a failure is the row's own, and rows that are bad are skipped: its conversation is none that the model's
 * template or the judge prompt can write. */
bool gr_job_refuses(const gr_job *j, gram_status rc);
/* Progress asks for an end; and the sentence of it, GRAM_ESTOPPED. */
bool gr_job_stopped(const gr_job *j);
gram_status gr_job_stop(const gr_job *j, gram_err *err);
/* What was written is in the file; progress is told, which may stop the job. */
gram_status gr_job_step(gr_job *j, gram_err *err);
/* Writes o as the line of a row of this digest, and takes it over; NULL: memory ran out. */
gram_status gr_job_write(gr_job *j, uint64_t digest, struct json_t *o, gram_err *err);

/* The next prompt of the input, as gr_reader_prompt() reads it. */
typedef gram_status gr_prompt_fn(gr_reader *r, gr_group *out, bool *end, gram_err *err);
/* Of a share what follows from a prompt's place in the whole file: *before, how many come before its first, which
 * decides the seeds of the answers; and from all of the file's, where g leaves it open: the way of products, as
 * gr_api_generate() would choose it for them. */
gram_status gr_job_place(const gr_job *j, gr_prompt_fn *next, gram_generation *g, size_t *before, gram_err *err);

/* Writes o, which stays the caller's, as gr_job_write() does; name: of what is written, for errors. */
gram_status gr_api_write_line(gr_out *out, const struct json_t *o, const char *name, gram_err *err);

/* What one answer says, under the names that it has in a line of its own: completion, finish, tokens, .... */
struct json_t *gr_api_answer_json(const gram_answer *a, bool logprobs);
/* Its text, malloc'ed, in which U+0000, which no judge takes, stands as U+FFFD; NULL: out of memory. */
char *gr_api_answer_text(const gram_answer *a);
/* What a program that judges gets of a row beside its answer: the other columns, as JSON; NULL: out of memory. */
char *gr_api_columns(const struct json_t *row);
/* Adds lists of what n answers say to a line: responses for their completions. False: out of memory. */
bool gr_api_put_answers(struct json_t *o, struct json_t *const *answer, size_t n);
/* The conversation as a list of messages; NULL: out of memory. */
struct json_t *gr_api_messages_json(const gram_prompt *p);
/* The same as rows give it: a text where it is one turn of the user's, else a list of messages. */
struct json_t *gr_api_prompt_json(const gram_prompt *p);
/* {"id", "prompt", "tools"?}: how a line about a row's prompt begins; NULL: out of memory. */
struct json_t *gr_api_line_json(const char *id, const gram_prompt *p);

#endif
